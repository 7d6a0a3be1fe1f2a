"""Sensors: tasks that wait until something is so. One module a kind, as in Airflow.

=======================  ===========================================================================================
`base`                   `BaseSensorOperator`, to write one's own; `PokeReturnValue`
`python`                 `PythonSensor`: until a function returns something true
`date_time`              `DateTimeSensor`: until an instant
`time_delta`             `TimeDeltaSensor`: until so long after the run's data interval
`filesystem`             `FileSensor`: until a file is there
`bash`                   `BashSensor`: until a command ends with exit code 0
=======================  ===========================================================================================
"""
