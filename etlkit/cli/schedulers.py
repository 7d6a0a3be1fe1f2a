"""The scheduler as commands run it: on the computer's own clock, with logs and the warehouse in files."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from etlkit.active_runs import ScheduledDag
from etlkit.clock import SystemClock
from etlkit.config import conf
from etlkit.events import Listener
from etlkit.executors.sequential import SequentialExecutor
from etlkit.logs import LogStore
from etlkit.runtime import TaskRunner
from etlkit.scheduler import Scheduler
from etlkit.store import Store

if TYPE_CHECKING:
    import duckdb

Kind = TypeVar("Kind", bound=Scheduler)


class OnDemandScheduler(Scheduler):
    """Makes no run by the schedule: it goes on only with runs that are in the database."""

    def _expect_next_run(self, entry: ScheduledDag, now: datetime) -> None:
        """Nothing is due by itself."""


def make_scheduler(
    kind: type[Kind], store: Store, listeners: Iterable[Listener] = (), logs: LogStore | None = None
) -> Kind:
    """A scheduler for the database that `store` is; what a killed process left half done is made again.

    The caller holds the right to schedule on it.
    """
    clock = SystemClock()
    runner = TaskRunner(store, clock, logs or LogStore(conf.get("logging", "base_log_folder")), open_warehouse)
    scheduler = kind(store, clock, SequentialExecutor(), runner=runner, listeners=listeners)
    scheduler.recover()
    return scheduler


def open_warehouse() -> duckdb.DuckDBPyConnection:
    """The DuckDB file of [core] warehouse, opened once; its folder ETLKIT_HOME is made on first use."""
    path = conf.get("core", "warehouse")
    if path.parent == conf.current.home:
        path.parent.mkdir(parents=True, exist_ok=True)
    return _opened(path)


@cache
def _opened(path: Path) -> duckdb.DuckDBPyConnection:
    from etlkit.warehouse import connect

    connection = connect(path)
    connection.execute("SET TimeZone = 'UTC'")  # else instants would read differently on every machine
    return connection
