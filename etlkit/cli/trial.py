"""Runs and tasks tried out: real ones, by the real scheduler, on a database in memory that nobody keeps."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TextIO

from etlkit import xcom
from etlkit.child_output import collect
from etlkit.cli.database import is_there, open_store, runs_meant
from etlkit.cli.options import in_zone_of
from etlkit.cli.schedulers import OnDemandScheduler, open_warehouse
from etlkit.clock import Clock, SimulatedClock, SystemClock
from etlkit.connections import Connections
from etlkit.dag import DAG, BaseOperator, current_context
from etlkit.errors import DagError
from etlkit.events import clock_text
from etlkit.executors.sequential import SequentialExecutor
from etlkit.logs import LogKey, LogStore
from etlkit.runs import trigger_run
from etlkit.runtime import Context, TaskInstance, TaskRunner, Work
from etlkit.states import FINISHED
from etlkit.states import TaskInstanceState as S
from etlkit.store import RunRow, Store, TaskRow
from etlkit.templates import rendered
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


def try_task(
    dag: DAG, task_id: str, logical_date: datetime, conf: Mapping[str, Any] | None, map_index: int = -1
) -> TriedTask:
    """Run one task of a run that has no other: what is upstream has not run, and trigger rules do not count.

    Of a mapped task the instance `map_index`, by default the first. DagError if the date is in the future, or if the
    task has no such instance on that date.
    """
    task, now = dag.get_task(task_id), SystemClock().now()
    refuse_future(logical_date, now)
    store, clock = Store("sqlite://"), SimulatedClock(now)
    runner = _runner(store, clock)
    run = trigger_run(store, dag, now=now, logical_date=logical_date, conf=conf)
    instances = [row for row in store.task_instances(run.id) if row.task_id == task.task_id]
    last = _all_tries(runner, dag, run, _meant(instances, task, logical_date, map_index))
    values = store.pull_xcom(run.id, task_id, "return_value")
    return TriedTask(run, last, xcom.loads(values[0][1]) if values else None)


def refuse_future(logical_date: datetime, now: datetime) -> None:
    """DagError if a date has not begun."""
    if logical_date > now:
        raise DagError(
            f"{clock_text(logical_date)} is in the future (it is {clock_text(now)}): "
            "a task runs for a date that has begun; give an earlier one"
        )


def _meant(instances: Sequence[TaskRow], task: BaseOperator, logical_date: datetime, map_index: int) -> TaskRow:
    """The instance to run; DagError, saying why, if there is none."""
    if not instances:
        raise DagError(
            f"task {task.task_id!r} has no instance on {clock_text(logical_date)}: see its start_date and end_date"
        )
    if task.expansion is not None and instances[0].map_index < 0:
        raise DagError(f"task {task.task_id!r} is mapped over what other tasks return; try the whole: dags test")
    found = [row for row in instances if row.map_index == map_index or map_index < 0]
    if not found:
        there = f"it has 0 to {instances[-1].map_index}" if instances[-1].map_index >= 0 else "it is not mapped"
        raise DagError(f"task {task.task_id!r} has no instance {map_index}: {there}")
    return found[0]


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


def render_task(dag: DAG, task_id: str, run: str, map_index: int) -> dict[str, Any]:
    """The template fields of a task in a run, or in a manual run of a date; nothing is remembered.

    TemplateError if one cannot be rendered, DagError if it is not clear which task or run is meant.
    """
    task, runner = dag.get_task(task_id), None
    if is_there():
        store = open_store()
        found = runs_meant(store, dag.dag_id, run, dag)
        runner = TaskRunner(store, SystemClock(), LogStore(), open_warehouse) if found else None
    if runner is None:
        runner = _runner(Store("sqlite://"), SystemClock())
        found = [_undone_run(runner.store, dag, run)]
    if len(found) > 1:
        raise DagError(f"DAG {dag.dag_id!r} has {len(found)} runs of {run}; name one by its run_id")
    if task.expansion is not None and map_index < 0:
        raise DagError(f"task {task_id!r} is mapped; say which of its instances: --map-index 0")
    return _rendered_fields(runner, found[0], dag, task, map_index)


def _undone_run(store: Store, dag: DAG, date: str) -> RunRow:
    """A manual run of a date, in a database that nobody keeps."""
    try:
        moment = in_zone_of(dag, datetime.fromisoformat(date))
    except ValueError:
        raise DagError(f"DAG {dag.dag_id!r} has no run {date!r}; give a run_id, or a date such as 2013-01-31") from None
    return trigger_run(store, dag, now=SystemClock().now(), logical_date=moment)


def _rendered_fields(runner: TaskRunner, run: RunRow, dag: DAG, task: BaseOperator, map_index: int) -> dict[str, Any]:
    work = Work(0, dag, run, task, map_index, 1, task.retries, None, start=runner.clock.now())
    context = Context(TaskInstance(runner, work))
    token = current_context.set(context)
    try:
        done = rendered(task.unmapped(map_index, context) if map_index >= 0 else task, context)
    finally:
        current_context.reset(token)
    return {name: getattr(done, name) for name in done.template_fields}


def _runner(store: Store, clock: Clock) -> TaskRunner:
    if is_there():
        _copy_settings(open_store(), store)
    collect()
    runner = TaskRunner(store, clock, EchoedLogs(), open_warehouse)
    runner.find_dag = _out_of_reach
    return runner


def _out_of_reach(dag_id: str) -> DAG:
    raise DagError(f"DAG {dag_id!r} is out of reach: what is tried out runs alone, on a database in memory")


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
    """Logs that are shown on stderr, too, as they come, each line after the name of its task."""

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

    def close(self) -> None:
        self._stream.close()
        super().close()
