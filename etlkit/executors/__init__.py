"""Executors: what runs the tasks that the scheduler has queued."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from etlkit.config import conf

if TYPE_CHECKING:
    from etlkit.executors.base import Executor

MODULES = {
    "SequentialExecutor": "etlkit.executors.sequential",
    "LocalExecutor": "etlkit.executors.local",
    "CeleryExecutor": "etlkit.executors.celery",
}
"""Where the executors are that [core] executor may name; each is imported when it is asked for."""


def from_settings() -> Executor:
    """The executor that [core] executor names; ConfigError if there is none of that name.

    >>> from_settings()    # doctest: +ELLIPSIS
    <etlkit.executors.sequential.SequentialExecutor object at ...>
    """
    name = conf.get("core", "executor")
    return getattr(import_module(MODULES[name]), name)()
