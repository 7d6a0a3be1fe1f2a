"""A scheduler that runs what somebody asked for, and the warehouse that its tasks have."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING

from etlkit.config import conf
from etlkit.scheduler import ScheduledDag, Scheduler

if TYPE_CHECKING:
    import duckdb


class OnDemandScheduler(Scheduler):
    """Makes no run by the schedule: it goes on only with runs that are in the database."""

    def _expect_next_run(self, entry: ScheduledDag, now: datetime) -> None:
        """Nothing is due by itself."""


@cache
def open_warehouse() -> duckdb.DuckDBPyConnection:
    """The DuckDB file of [core] warehouse, opened once; its folder ETLKIT_HOME is made on first use."""
    from etlkit.warehouse import connect

    path = conf.get("core", "warehouse")
    if path.parent == conf.current.home:
        path.parent.mkdir(parents=True, exist_ok=True)
    return connect(path)
