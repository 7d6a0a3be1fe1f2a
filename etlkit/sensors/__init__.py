"""Sensors: tasks that wait until something is so. One module a kind, as in Airflow.

=======================  ===========================================================================================
`base`                   `BaseSensorOperator`, to write one's own; `PokeReturnValue`
`python`                 `PythonSensor`: until a function returns something true
`date_time`              `DateTimeSensor`: until an instant
`time_delta`             `TimeDeltaSensor`: until so long after the run's data interval
`time`                   `TimeSensor`: until a time of day
`weekday`                `DayOfWeekSensor`: until a day of the week
`filesystem`             `FileSensor`: until a file is there
`bash`                   `BashSensor`: until a command ends with exit code 0
`external_task`          `ExternalTaskSensor`: until another DAG has done the same date
=======================  ===========================================================================================
"""

from etlkit.sensors.base import BaseSensorOperator, PokeReturnValue
from etlkit.sensors.bash import BashSensor
from etlkit.sensors.date_time import DateTimeSensor
from etlkit.sensors.external_task import ExternalTaskSensor
from etlkit.sensors.filesystem import FileSensor
from etlkit.sensors.python import PythonSensor
from etlkit.sensors.time import TimeSensor
from etlkit.sensors.time_delta import TimeDeltaSensor
from etlkit.sensors.weekday import DayOfWeekSensor

__all__ = [
    "BaseSensorOperator",
    "BashSensor",
    "DateTimeSensor",
    "DayOfWeekSensor",
    "ExternalTaskSensor",
    "FileSensor",
    "PokeReturnValue",
    "PythonSensor",
    "TimeDeltaSensor",
    "TimeSensor",
]
