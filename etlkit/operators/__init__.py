"""Operators: what a task does. One module a kind, as in Airflow's `airflow.providers.standard.operators`.

=======================  ===========================================================================================
`python`                 `PythonOperator`, `BranchPythonOperator`, `ShortCircuitOperator`
`bash`                   `BashOperator`
`sql`                    `SQLExecuteQueryOperator`: SQL on DuckDB
`empty`                  `EmptyOperator`: does nothing, and holds arrows together
`branch`                 `BaseBranchOperator`, to write a branch of one's own
`latest_only`            `LatestOnlyOperator`: skips what is after it unless the run is the newest
=======================  ===========================================================================================

An operator of your own is a subclass of `etlkit.dag.BaseOperator` with an `execute(self, context)`.
"""
