"""Operators: what a task does. One module a kind, as in Airflow's `airflow.providers.standard.operators`.

=======================  ===========================================================================================
`python`                 `PythonOperator`, `BranchPythonOperator`, `ShortCircuitOperator`
`bash`                   `BashOperator`
`sql`                    `SQLExecuteQueryOperator`: SQL on the warehouse, or where a Connection says; also as
                         `DuckDBOperator`, `SqliteOperator` and `PostgresOperator`
`empty`                  `EmptyOperator`: does nothing, and holds arrows together
`branch`                 `BaseBranchOperator`, to write a branch of one's own
`date_time`              `BranchDateTimeOperator`: one way within some time, another outside of it
`weekday`                `BranchDayOfWeekOperator`: one way on some days of the week, another on the rest; `WeekDay`
`latest_only`            `LatestOnlyOperator`: skips what is after it unless the run is the newest
`trigger_dagrun`         `TriggerDagRunOperator`: starts a run of another DAG
=======================  ===========================================================================================

An operator of your own is a subclass of `etlkit.dag.BaseOperator` with an `execute(self, context)`.
"""

from etlkit.operators.bash import BashOperator
from etlkit.operators.branch import BaseBranchOperator
from etlkit.operators.date_time import BranchDateTimeOperator
from etlkit.operators.empty import DummyOperator, EmptyOperator
from etlkit.operators.latest_only import LatestOnlyOperator
from etlkit.operators.python import BranchPythonOperator, PythonOperator, ShortCircuitOperator
from etlkit.operators.sql import DuckDBOperator, PostgresOperator, SQLExecuteQueryOperator, SqliteOperator
from etlkit.operators.trigger_dagrun import TriggerDagRunOperator
from etlkit.operators.weekday import BranchDayOfWeekOperator, WeekDay

__all__ = [
    "BaseBranchOperator",
    "BashOperator",
    "BranchDateTimeOperator",
    "BranchDayOfWeekOperator",
    "BranchPythonOperator",
    "DuckDBOperator",
    "DummyOperator",
    "EmptyOperator",
    "LatestOnlyOperator",
    "PostgresOperator",
    "PythonOperator",
    "SQLExecuteQueryOperator",
    "ShortCircuitOperator",
    "SqliteOperator",
    "TriggerDagRunOperator",
    "WeekDay",
]
