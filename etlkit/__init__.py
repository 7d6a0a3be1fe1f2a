"""etlkit: Apache Airflow's ideas, run for real on a laptop.

Names come from `airflow.sdk` wherever Airflow has the thing, so what is written here is what is written at work::

    from etlkit import DAG, dag, task, Lab

Importing etlkit is instant: every name below is looked up in its module when it is first used.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from etlkit._version import __version__

_HOME = {
    "dag": "DAG BaseOperator TaskGroup XComArg Label chain cross_downstream",
    "params": "Param ParamsDict",
    "taskflow": "dag task task_group setup teardown get_current_context",
    "asset_definitions": "asset",
    "assets": "Asset AssetAll AssetAny AssetOrTimeSchedule Metadata",
    "rules": "TriggerRule",
    "states": "TaskInstanceState DagRunState DagRunType",
    "clock": "Clock SystemClock SimulatedClock",
    "lab": "Lab",
    "cluster": "Cluster",
    "executors.celery": "CeleryExecutor",
    "executors.local": "LocalExecutor",
    "executors.simulated": "SimulatedExecutor Nodes",
    "simulation": "what_if",
    "dag_files": "load_dag_file",
    "dag_folder": "DagFolder",
    "variables": "Variable",
    "connections": "Connection",
    "warehouse": "merge",
    "errors": "EtlkitError AirflowException AirflowSkipException AirflowFailException",
    "sensors": "BaseSensorOperator PokeReturnValue",
}
_MODULES = frozenset(
    {
        *("datasets", "errors", "exercises", "hooks", "operators", "rules", "sensors", "sources", "timetables", "viz"),
        "warehouse",
    }
)
_WHERE = {name: module for module, names in _HOME.items() for name in names.split()}

if TYPE_CHECKING:
    from etlkit.asset_definitions import asset
    from etlkit.assets import Asset, AssetAll, AssetAny, AssetOrTimeSchedule, Metadata
    from etlkit.clock import Clock, SimulatedClock, SystemClock
    from etlkit.cluster import Cluster
    from etlkit.connections import Connection
    from etlkit.dag import DAG, BaseOperator, Label, TaskGroup, XComArg, chain, cross_downstream
    from etlkit.dag_files import load_dag_file
    from etlkit.dag_folder import DagFolder
    from etlkit.errors import AirflowException, AirflowFailException, AirflowSkipException, EtlkitError
    from etlkit.executors.celery import CeleryExecutor
    from etlkit.executors.local import LocalExecutor
    from etlkit.executors.simulated import Nodes, SimulatedExecutor
    from etlkit.lab import Lab
    from etlkit.params import Param, ParamsDict
    from etlkit.rules import TriggerRule
    from etlkit.sensors import BaseSensorOperator, PokeReturnValue
    from etlkit.simulation import what_if
    from etlkit.states import DagRunState, DagRunType, TaskInstanceState
    from etlkit.taskflow import dag, get_current_context, setup, task, task_group, teardown
    from etlkit.variables import Variable
    from etlkit.warehouse import merge

__all__ = ["__version__", *_WHERE]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        value = getattr(import_module(f"etlkit.{_WHERE[name]}"), name)
    elif name in _MODULES:
        value = import_module(f"etlkit.{name}")
    else:
        raise AttributeError(f"module 'etlkit' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE, *_MODULES})


class _Package(ModuleType):
    """The package, whose `dag` stays the decorator: the import of the module `etlkit.dag` would put itself there."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "dag" or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
