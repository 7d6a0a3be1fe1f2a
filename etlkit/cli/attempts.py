"""One attempt of one task, in the metadata database: what `etlkit tasks run` does."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from etlkit.active_runs import ActiveRun
from etlkit.cli.database import find_run, paused_at_first, runs_meant
from etlkit.cli.options import in_zone_of
from etlkit.cli.schedulers import OnDemandScheduler, make_scheduler
from etlkit.cli.trial import EchoedLogs, refuse_future
from etlkit.clock import SystemClock
from etlkit.config import conf
from etlkit.dag import DAG
from etlkit.errors import DagError
from etlkit.runs import trigger_run
from etlkit.runtime import Result, Work
from etlkit.scheduler_lock import scheduling
from etlkit.states import FINISHED, QUEUED, SCHEDULED
from etlkit.store import RunRow, Store, TaskRow
from etlkit.upkeep import delete_run
from etlkit.why import Blocker, why

PAST = frozenset({"depends_on_past", "wait_for_downstream"})
WAITING = PAST | {"upstream", "retry", "reschedule", "next_pass"}
"""Kinds of blockers that a person may want to ignore."""


class OneTaskScheduler(OnDemandScheduler):
    """Decides what follows in one run, its DAG paused or not, and lets one task instance of it run, once."""

    run_pk: int
    task_id: str
    map_index: int
    result: Result | None = None
    """How the attempt ended, once it has."""

    def _is_held(self, run: ActiveRun) -> bool:
        return run.row.id != self.run_pk

    def _look_at_queue(self, run: RunRow) -> None:
        """No other run starts."""

    def _enqueue(self, now: datetime) -> list[Work]:
        run, meant = self._active.get(self.run_pk), (self.task_id, self.map_index)
        if run is None or self.result is not None:
            return []
        ready = (k for k, row in run.tasks.items() if (row.task_id, row.map_index) == meant and self._may_go(run, k))
        position = next(ready, None)
        if position is None:
            return []
        self._slots.hold(run, position)
        self._note(run, position, SCHEDULED, QUEUED, now)
        run.frontier.states[position] = QUEUED
        return [run.work(position)]

    def _may_go(self, run: ActiveRun, position: int) -> bool:
        """Whether it is ready, and its pool has room for it."""
        row = run.tasks[position]
        return run.frontier.states[position] == SCHEDULED and self._slots.free(row.pool) >= row.pool_slots

    def _collect(self, result: Result) -> None:
        self.result = result
        super()._collect(result)


def run_task(
    store: Store, dag: DAG, task_id: str, run: str, map_index: int, *, ignored: Iterable[str] = (), force: bool = False
) -> tuple[RunRow, TaskRow]:
    """Make one attempt of a task in the run that `run` means, or in a new manual run of that date; both as they end.

    DagError if the task may not run; a run that was made for it is then gone again.
    """
    dag.get_task(task_id)
    with scheduling(store, f"etlkit tasks run {dag.dag_id} {task_id}"):
        found = runs_meant(store, dag.dag_id, run, dag)
        row = None if found else _new_run(store, dag, run)
        try:
            row = row or find_run(store, dag.dag_id, run, dag)
            task = run_once(store, dag, row, task_id, map_index, ignored=ignored, force=force)
        except DagError:
            if not found and row is not None:
                delete_run(store, row)
            raise
    return row, task


def _new_run(store: Store, dag: DAG, date: str) -> RunRow | None:
    """A manual run of a date; None if it is no date. DagError if that is in the future."""
    try:
        moment = in_zone_of(dag, datetime.fromisoformat(date))
    except ValueError:
        return None
    now = SystemClock().now()
    refuse_future(moment, now)
    return trigger_run(store, dag, now=now, logical_date=moment)


def run_once(
    store: Store, dag: DAG, run: RunRow, task_id: str, map_index: int, *, ignored: Iterable[str] = (), force: bool
) -> TaskRow:
    """Make one attempt of a task instance and see what follows from it; the task instance as it is then.

    `ignored` are kinds of blockers that do not count. `force` runs again what is finished. DagError if it may not run;
    the caller holds the right to schedule.
    """
    logs = EchoedLogs(conf.get("logging", "base_log_folder"))
    scheduler = make_scheduler(OneTaskScheduler, store, logs=logs)
    scheduler.run_pk, scheduler.task_id, scheduler.map_index = run.id, task_id, map_index
    scheduler.add_dag(dag, paused=paused_at_first(dag))
    now = scheduler.clock.now()
    if force:
        _clear(store, dag, run, task_id, map_index, now)
    _begin(store, run, now)
    if ignored:
        _ignore(store, dag, run, task_id, map_index, frozenset(ignored), now)
    scheduler.settle()
    if scheduler.result is None:
        raise DagError(_refusal(store, dag, run, task_id, map_index, now))
    return store.task_instance(scheduler.result.work.task_pk)


def _instances(store: Store, run: RunRow, task_id: str, map_index: int) -> list[TaskRow]:
    """The task instance meant; all of a mapped task if none is named."""
    rows = [row for row in store.task_instances(run.id) if row.task_id == task_id]
    return rows if map_index < 0 else [row for row in rows if row.map_index == map_index]


def _clear(store: Store, dag: DAG, run: RunRow, task_id: str, map_index: int, now: datetime) -> None:
    """Make the task instance undecided again, if it is finished, and its run too."""
    finished = [row for row in _instances(store, run, task_id, map_index) if row.state in FINISHED]
    with store.transaction():
        store.hold(run.id)
        store.clear([(row.id, dag.get_task(task_id).retries) for row in finished], now)
        row = store.run(run.dag_id, run.run_id)
        if finished and row is not None and row.state in ("success", "failed"):
            store.set_run_state(run.id, row.state, "queued", now)


def _begin(store: Store, run: RunRow, now: datetime) -> None:
    """Start the run, if it waits for that."""
    with store.transaction():
        row = store.run(run.dag_id, run.run_id)
        if row is not None and row.state == "queued":
            store.set_run_state(run.id, "queued", "running", now)


def _ignore(
    store: Store, dag: DAG, run: RunRow, task_id: str, map_index: int, ignored: frozenset[str], now: datetime
) -> None:
    """Make the task instance ready if nothing keeps it from running but what is ignored."""
    kinds = {blocker.kind for blocker in _blockers(store, dag, run, task_id, map_index, now)}
    rows = _instances(store, run, task_id, map_index)
    if not kinds <= ignored or len(rows) != 1 or rows[0].state in (SCHEDULED, *FINISHED):
        return
    if dag.get_task(task_id).expansion is not None and rows[0].map_index < 0:
        raise DagError(f"{task_id} is mapped over what is not there yet; run the tasks before it first")
    with store.transaction():
        store.set_task_states({rows[0].id: (rows[0].state, SCHEDULED)}, now)


def _blockers(store: Store, dag: DAG, run: RunRow, task_id: str, map_index: int, now: datetime) -> list[Blocker]:
    """What keeps the task instance from running, but for a pause: somebody asked for it."""
    answer = why(store, dag, task_id=task_id, run_id=run.run_id, map_index=map_index, now=now)
    return [blocker for blocker in answer if blocker.kind != "paused"]


def _refusal(store: Store, dag: DAG, run: RunRow, task_id: str, map_index: int, now: datetime) -> str:
    """Why the task instance did not run, and what to do about it."""
    rows = _instances(store, run, task_id, map_index)
    if map_index < 0 and rows and rows[-1].map_index >= 0:
        last = max(row.map_index for row in rows)
        return f"{task_id} is mapped; say which of its instances: --map-index 0 to {last}"
    blockers = _blockers(store, dag, run, task_id, map_index, now)
    reasons = "; ".join(map(str, blockers))
    kinds = {blocker.kind for blocker in blockers}
    advice = " with --force" if kinds & FINISHED else " with --ignore-dependencies" if kinds <= WAITING else ""
    return f"{task_id} did not run in {run.run_id}: {reasons}" + (f"; it runs all the same{advice}" if advice else "")
