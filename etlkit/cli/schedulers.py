"""The scheduler as commands run it: on the computer's own clock, with logs and the warehouse in files."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from etlkit import worker, xcom
from etlkit.active_runs import ScheduledDag
from etlkit.child_output import collect
from etlkit.claims import Claims
from etlkit.cli.database import paused_at_first
from etlkit.clock import SystemClock
from etlkit.config import conf
from etlkit.dag import DAG
from etlkit.errors import DagNotFound
from etlkit.events import Listener
from etlkit.executors import from_settings
from etlkit.executors.base import Executor
from etlkit.logs import LogStore
from etlkit.operators.trigger_dagrun import XCOM_RUN_ID
from etlkit.runtime import Result, TaskRunner
from etlkit.scheduler import Scheduler
from etlkit.store import Store

if TYPE_CHECKING:
    import duckdb

Kind = TypeVar("Kind", bound=Scheduler)

OPEN = "SELECT dag_id, run_id FROM dag_run WHERE state IN ('queued', 'running') AND backfill_id IS NULL"

STARTED = """SELECT DISTINCT r.dag_id, x.value FROM xcom x JOIN dag_run r ON r.id = x.dag_run_id
             WHERE x.key = :key AND (r.state IN ('queued', 'running') OR r.end_date >= :began)"""
"""What tasks say of the runs they started, in runs that are open or ended since a moment."""


class OnDemandScheduler(Scheduler):
    """Makes no run by the schedule: it goes on only with runs that are in the database, and those that tasks start.

    What tasks start runs even if its DAG is paused, since somebody asked for it; in the database the DAG stays paused.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._started: set[str] = set()
        super().__init__(*args, **kwargs)
        self._began = self.clock.now()

    def _expect_next_run(self, entry: ScheduledDag, now: datetime) -> None:
        """Nothing is due by itself."""

    def _create_asset_runs(self, now: datetime) -> None:
        """Nor by assets: their events wait for the scheduler."""
        self._assets_changed = False

    def _collect(self, result: Result) -> None:
        self._stale |= any(run.dag_id not in self.dags for run in result.started_runs)
        super()._collect(result)

    def _reload(self, now: datetime) -> None:
        """Take up the DAGs too of which tasks have started runs, whatever process they were in."""
        for dag_id in sorted(self._started_by_tasks()):
            dag = self.runner.find_dag(dag_id)  # type: ignore[misc]
            self.add_dag(dag, paused=paused_at_first(dag))
            self._started.add(dag_id)
        super()._reload(now)

    def _started_by_tasks(self) -> set[str]:
        """Other DAGs with open runs that tasks of these started, in runs which are open or ended since this began."""
        rows = self.store.run_sql(OPEN).fetchall()
        others = [(dag_id, run_id) for dag_id, run_id in rows if dag_id not in self.dags]
        if not others:
            return set()
        told = self.store.run_sql(STARTED, {"key": XCOM_RUN_ID, "began": self._began}).fetchall()
        started = {xcom.loads(value) for dag_id, value in told if dag_id in self.dags}
        return {dag_id for dag_id, run_id in others if run_id in started}

    def _read_settings(self) -> None:
        super()._read_settings()
        for dag_id in self._started:
            self.entry(dag_id).paused, self._queues[dag_id].open = False, True

    @cached_property
    def _other_dags(self) -> dict[str, DAG]:
        """The DAGs of the DAG folder, and of the files that those it looks after come from."""
        from etlkit.cli.loading import load_dags

        files = {Path(entry.dag.fileloc) for entry in self.dags.values() if entry.dag.fileloc}
        return {dag_id: dag for source in (None, *files) for dag_id, dag in load_dags(source).dags.items()}

    def reach(self, dag_id: str) -> DAG:
        """Another DAG, for a task that starts it or waits for it; DagNotFound with the nearest name."""
        if dag_id in self.dags:
            return self.entry(dag_id).dag
        if dag_id not in self._other_dags:
            raise DagNotFound(dag_id, list(self._other_dags))
        return self._other_dags[dag_id]


def make_scheduler(
    kind: type[Kind],
    store: Store,
    listeners: Iterable[Listener] = (),
    logs: LogStore | None = None,
    *,
    executor: Executor | None = None,
    claims: Claims | None = None,
) -> Kind:
    """A scheduler for the database that `store` is; what a killed process left half done is made again.

    The caller holds the right to schedule on it, alone unless there are `claims`. Tasks are run by the `executor`, else
    by the one that [core] executor names.
    """
    clock = SystemClock()
    collect()
    runner = TaskRunner(store, clock, logs or LogStore(conf.get("logging", "base_log_folder")), open_warehouse)
    scheduler = kind(
        store, clock, executor or from_settings(), runner=runner, listeners=listeners, claims=claims or Claims()
    )
    if isinstance(scheduler, OnDemandScheduler):
        runner.find_dag = scheduler.reach
    if not scheduler.claims.shared:  # else it has no DAG yet, and takes over what it finds with each that it gets
        scheduler.recover()
    return scheduler


@cache
def open_warehouse() -> duckdb.DuckDBPyConnection:
    """The DuckDB file of [core] warehouse, opened once; its folder ETLKIT_HOME is made on first use."""
    return worker.open_warehouse()
