"""Runs and tasks tried out: real ones, by the real scheduler, on a database in memory that nobody keeps."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple, TextIO

from etlkit import xcom
from etlkit.cli.database import is_there, open_store
from etlkit.cli.schedulers import OnDemandScheduler, open_warehouse
from etlkit.clock import Clock, SimulatedClock, SystemClock
from etlkit.connections import Connections
from etlkit.dag import DAG
from etlkit.errors import DagError
from etlkit.events import clock_text
from etlkit.executors.sequential import SequentialExecutor
from etlkit.logs import LogKey, LogStore
from etlkit.runs import trigger_run
from etlkit.runtime import TaskRunner, Work
from etlkit.states import FINISHED
from etlkit.states import TaskInstanceState as S
from etlkit.store import RunRow, Store, TaskRow
from etlkit.variables import Variables


def try_dag(dag: DAG, logical_date: datetime | None, conf: Mapping[str, Any] | None) -> tuple[RunRow, list[TaskRow]]:
    """Run `dag` once, for a logical date or now; the run and its task instances as they end.

    The clock is simulated: it starts now, or at the logical date if that is later, and jumps over every wait.
    """
    now = SystemClock().now()
    store, clock = Store("sqlite://"), SimulatedClock(max(now, logical_date or now))
    scheduler = OnDemandScheduler(store, clock, SequentialExecutor(), runner=_runner(store, clock))
    scheduler.add_dag(dag)
    _make_pools(store, dag)
    run = trigger_run(store, dag, now=clock.now(), logical_date=logical_date or clock.now(), conf=conf)
    scheduler.settle()
    while (moment := scheduler.next_event()) is not None:
        clock.sleep_until(moment)
        scheduler.settle()
    return store.runs(dag.dag_id)[0], store.task_instances(run.id)


class TriedTask(NamedTuple):
    """How the last try of a task ended, and what it returned."""

    run: RunRow
    task: TaskRow
    return_value: Any


def try_task(dag: DAG, task_id: str, logical_date: datetime, conf: Mapping[str, Any] | None) -> TriedTask:
    """Run one task of a run that has no other: what is upstream has not run, and trigger rules do not count.

    DagError if the date is in the future, or if the task has no instance on that date.
    """
    task, now = dag.get_task(task_id), SystemClock().now()
    if logical_date > now:
        raise DagError(
            f"{clock_text(logical_date)} is in the future (it is {clock_text(now)}): "
            "a task runs for a date that has begun; give an earlier one"
        )
    store, clock = Store("sqlite://"), SimulatedClock(now)
    runner = _runner(store, clock)
    run = trigger_run(store, dag, now=now, logical_date=logical_date, conf=conf)
    instances = [row for row in store.task_instances(run.id) if row.task_id == task.task_id]
    if not instances:
        raise DagError(
            f"task {task_id!r} has no instance on {clock_text(logical_date)}: see its start_date and end_date"
        )
    last = _all_tries(runner, dag, run, instances[0])
    values = store.pull_xcom(run.id, task_id, "return_value")
    return TriedTask(run, last, xcom.loads(values[0][1]) if values else None)


def _all_tries(runner: TaskRunner, dag: DAG, run: RunRow, row: TaskRow) -> TaskRow:
    """Make attempts of one task instance until none is left to make, jumping over the time between them."""
    store, clock = runner.store, runner.clock
    while row.state not in FINISHED:
        clock.sleep_until(row.not_before or clock.now())
        with store.transaction():
            store.set_task_states({row.id: (row.state, S.SCHEDULED, S.QUEUED)}, clock.now())
        goes_on = row.rescheduled_since is not None
        runner.run(
            Work(
                task_pk=row.id,
                dag=dag,
                run=run,
                task=dag.get_task(row.task_id),
                map_index=row.map_index,
                try_number=row.try_number + (not goes_on),
                max_tries=row.max_tries,
                rescheduled_since=row.rescheduled_since,
            )
        )
        row = store.task_instance(row.id)
    return row


def _runner(store: Store, clock: Clock) -> TaskRunner:
    if is_there():
        _copy_settings(open_store(), store)
    return TaskRunner(store, clock, EchoedLogs(), open_warehouse)


def _copy_settings(real: Store, store: Store) -> None:
    """Let tasks find the Variables and Connections of the real database."""
    Variables(store).load(Variables(real).export(include_secrets=True))
    Connections(store).load(Connections(real).export(include_secrets=True))


def _make_pools(store: Store, dag: DAG) -> None:
    """Pools are in the real database; here each that a task names has room for it."""
    needed: dict[str, int] = {}
    for task in dag.tasks:
        needed[task.pool] = max(needed.get(task.pool, 128), task.pool_slots)
    with store.transaction():
        for name, slots in needed.items():
            store.set_pool(name, slots)


class EchoedLogs(LogStore):
    """Logs kept in memory, and shown on stderr as they come, each line after the name of its task."""

    def stream(self, key: LogKey) -> TextIO:
        name = key.task_id if key.map_index < 0 else f"{key.task_id}[{key.map_index}]"
        return Echo(super().stream(key), f"{name} try {key.try_number}: ")


class Echo(io.StringIO):
    """A text stream that copies what is written to stderr."""

    def __init__(self, stream: TextIO, prefix: str) -> None:
        self._stream, self._prefix = stream, prefix
        self._at_start = True

    def write(self, text: str) -> int:
        for line in text.splitlines(keepends=True):
            sys.stderr.write(self._prefix * self._at_start + line)
            self._at_start = line.endswith("\n")
        return self._stream.write(text)
