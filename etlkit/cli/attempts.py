"""One attempt of one task, in the metadata database: what `etlkit tasks run` does."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from etlkit.active_runs import ActiveRun
from etlkit.cli.database import find_run, paused_at_first, runs_meant
from etlkit.cli.options import in_zone_of
from etlkit.cli.schedulers import OnDemandScheduler, make_scheduler
from etlkit.cli.trial import EchoedLogs, refuse_future
from etlkit.clock import SystemClock
from etlkit.config import conf
from etlkit.dag import DAG
from etlkit.errors import DagError
from etlkit.executors.sequential import SequentialExecutor
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


class Target(NamedTuple):
    """A task instance of a run, or with `map_index` -1 that of a task that is not mapped."""

    store: Store
    dag: DAG
    run: RunRow
    task_id: str
    map_index: int

    def instances(self) -> list[TaskRow]:
        """Its row; the rows of all instances if the task is mapped and none was named."""
        rows = [row for row in self.store.task_instances(self.run.id) if row.task_id == self.task_id]
        return [row for row in rows if row.map_index == self.map_index or self.map_index < 0]

    def blockers(self, now: datetime) -> list[Blocker]:
        """What keeps it from running, but for a pause: somebody asked for it."""
        run_id = self.run.run_id
        answer = why(self.store, self.dag, task_id=self.task_id, run_id=run_id, map_index=self.map_index, now=now)
        return [blocker for blocker in answer if blocker.kind != "paused"]

    def run_state(self) -> str | None:
        """The state of its run at this moment."""
        row = self.store.run(self.run.dag_id, self.run.run_id)
        return row and row.state


class OneTaskScheduler(OnDemandScheduler):
    """Decides what follows in one run, its DAG paused or not, and lets one task instance of it run, once."""

    target: Target
    result: Result | None = None
    """How the attempt ended, once it has."""

    def _is_held(self, run: ActiveRun) -> bool:
        return run.row.id != self.target.run.id

    def _look_at_queue(self, run: RunRow) -> None:
        """No other run starts."""

    def _enqueue(self, now: datetime) -> list[Work]:
        run = self._active.get(self.target.run.id)
        if run is None or self.result is not None:
            return []
        meant = self.target.task_id, self.target.map_index
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
    """Make one attempt of a task in the run that `run` means, or in a new manual run of that date; both are returned.

    `ignored` are kinds of blockers that do not count; `force` runs again what is finished. DagError if the task may not
    run; a run that was made for it is then gone again.
    """
    dag.get_task(task_id)
    with scheduling(store, f"etlkit tasks run {dag.dag_id} {task_id}"):
        found = runs_meant(store, dag.dag_id, run, dag)
        row = (None if found else _new_run(store, dag, run)) or find_run(store, dag.dag_id, run, dag)
        try:
            task = _attempt(Target(store, dag, row, task_id, map_index), frozenset(ignored), force)
        except DagError:
            if not found:
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


def _attempt(target: Target, ignored: frozenset[str], force: bool) -> TaskRow:
    """Let the scheduler run the task instance and see what follows from it; DagError if it may not run."""
    logs = EchoedLogs(conf.get("logging", "base_log_folder"))
    scheduler = make_scheduler(OneTaskScheduler, target.store, logs=logs, executor=SequentialExecutor())
    scheduler.target = target
    scheduler.add_dag(target.dag, paused=paused_at_first(target.dag))
    now = scheduler.clock.now()
    if force:
        _clear(target, now)
    if target.run_state() == "queued":
        with target.store.transaction():
            target.store.set_run_state(target.run.id, "queued", "running", now)
    if ignored:
        _make_ready(target, ignored, now)
    scheduler.settle()
    if scheduler.result is None:
        raise DagError(_refusal(target, now))
    return target.store.task_instance(scheduler.result.work.task_pk)


def _clear(target: Target, now: datetime) -> None:
    """Make the task instance undecided again, if it is finished, and its run too."""
    store, retries = target.store, target.dag.get_task(target.task_id).retries
    finished = [row.id for row in target.instances() if row.state in FINISHED]
    with store.transaction():
        store.hold(target.run.id)
        store.clear([(pk, retries) for pk in finished], now)
        state = target.run_state()
        if finished and state in ("success", "failed"):
            store.set_run_state(target.run.id, state, "queued", now)


def _make_ready(target: Target, ignored: frozenset[str], now: datetime) -> None:
    """Put the task instance into line if nothing keeps it from running but what is ignored."""
    kinds, rows = {blocker.kind for blocker in target.blockers(now)}, target.instances()
    if not kinds <= ignored or len(rows) != 1 or rows[0].state in (SCHEDULED, *FINISHED):
        return
    if target.dag.get_task(target.task_id).expansion is not None and rows[0].map_index < 0:
        raise DagError(f"{target.task_id} is mapped over what is not there yet; run the tasks before it first")
    with target.store.transaction():
        target.store.set_task_states({rows[0].id: (rows[0].state, SCHEDULED)}, now)


def _refusal(target: Target, now: datetime) -> str:
    """Why the task instance did not run, and what to do about it."""
    last = max((row.map_index for row in target.instances()), default=-1)
    if target.map_index < 0 <= last:
        return f"{target.task_id} is mapped; say which of its instances: --map-index 0 to {last}"
    blockers = target.blockers(now)
    kinds = {blocker.kind for blocker in blockers}
    advice = " with --force" if kinds & FINISHED else " with --ignore-dependencies" if kinds <= WAITING else ""
    reasons = "; ".join([*map(str, blockers), *([f"it runs all the same{advice}"] if advice else [])])
    return f"{target.task_id} did not run in {target.run.run_id}: {reasons}"
