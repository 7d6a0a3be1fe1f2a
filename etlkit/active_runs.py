"""What the scheduler keeps in memory of a DAG, of a queue of runs, and of one running run.

All of it follows from the database and can be dropped at any time.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Container, Iterable, Sequence
from datetime import datetime
from functools import cached_property

from etlkit.assets import AssetKey
from etlkit.dag import DAG, BaseOperator
from etlkit.frontier import Frontier, TaskIndex
from etlkit.runtime import KnownItems, Work
from etlkit.states import ACTIVE, FAILED, FINISHED, QUEUED, RUNNING, DagRunType
from etlkit.store import RunRow, TaskRow
from etlkit.timetables import DagRunInfo, DataInterval

log = logging.getLogger("etlkit.scheduler")


class ScheduledDag:
    """A DAG that the scheduler looks after, and where its schedule stands."""

    def __init__(self, dag: DAG) -> None:
        self.dag = dag
        self.index = TaskIndex(dag)
        self.forget()

    def forget(self) -> None:
        """Start anew, as before the database was read."""
        self.paused = False
        self.last_interval: DataInterval | None = None
        """The data interval of the newest run of the schedule: where it goes on from."""
        self.runs: dict[int, ActiveRun] = {}

    def fitting(self, tasks: Iterable[TaskRow]) -> set[int]:
        """The ids of the task instances that the DAG has, as it is now.

        A mapped task has those with a map index, or none and the one that stands for all.
        """
        now, expanded = self.dag.task_dict, {task.task_id for task in tasks if task.map_index >= 0}
        return {
            task.id
            for task in tasks
            if task.task_id in now
            and (task.map_index >= 0) == (task.task_id in expanded and now[task.task_id].expansion is not None)
        }

    @cached_property
    def minds_the_past(self) -> bool:
        """Whether any of its tasks waits for the run before."""
        return any(task.depends_on_past for task in self.dag.tasks)

    def is_started_by(self, updated: Container[AssetKey]) -> bool:
        """Whether new events of these assets are what its schedule waits for."""
        condition, allowed = self.dag.timetable.asset_condition, self.dag.allowed_run_types
        may = allowed is None or DagRunType.ASSET_TRIGGERED in allowed
        return may and condition is not None and condition.is_met(updated)

    def next_run(self, now: datetime) -> DagRunInfo | None:
        """The run that the timetable places after the last one, as seen from `now`.

        None if the timetable fails, as a person's own may: that is logged, and the other DAGs go on.
        """
        allowed = self.dag.allowed_run_types
        if allowed is not None and DagRunType.SCHEDULED not in allowed:
            return None
        try:
            info = self.dag.timetable.next_dagrun_info(
                last_automated_data_interval=self.last_interval, restriction=self.dag.restriction(now)
            )
            if info is not None and not (isinstance(info, DagRunInfo) and info.run_after.tzinfo):
                raise TypeError(f"next_dagrun_info must give a DagRunInfo with a time zone, or None, not {info!r}")
            return info
        except Exception:
            log.exception("DAG %s is not scheduled: its timetable failed", self.dag.dag_id)
            return None


class RunQueue:
    """Queued runs that may start while fewer than `limit` of their kind are running: a DAG's own, or a backfill's."""

    def __init__(self, limit: int, *, open: bool = True) -> None:
        self.limit, self.open = limit, open
        self.waiting: deque[RunRow] = deque()
        self.running = 0

    @property
    def active(self) -> int:
        """How many are queued or running."""
        return len(self.waiting) + self.running

    def may_start(self) -> bool:
        """Whether the first in the queue may start now."""
        return self.open and bool(self.waiting) and self.running < self.limit


class ActiveRun:
    """A running run as the scheduler sees it: its row, and its task instances by position in the graph."""

    def __init__(self, row: RunRow, entry: ScheduledDag, tasks: Sequence[TaskRow]) -> None:
        self.row, self.entry, self.dag = row, entry, entry.dag
        self.tasks: dict[int, TaskRow]
        self.frontier, self.tasks = Frontier.of(entry.index, tasks)
        self.index = self.frontier.index
        states = [task.state for task in self.tasks.values()]
        self.open = sum(state not in FINISHED for state in states)
        self.active = 0
        self.candidates = self.frontier.undecided()
        self.ruled_out: set[int] = set()
        """Positions that a branch or short circuit decided against."""
        self.held_by_past: set[int] = set()
        self.failed_fast = self.dag.fail_fast and FAILED in states
        """Whether a task of a `fail_fast` DAG failed, and the others are still to be ended."""
        self.known_items = KnownItems()

    @property
    def deadline(self) -> datetime | None:
        """When `dagrun_timeout` ends it."""
        timeout = self.dag.dagrun_timeout
        return self.row.start_date + timeout if timeout is not None and self.row.start_date else None

    def position_of(self, work: Work) -> int | None:
        """Where the task instance of `work` is; None if there is none any more."""
        position = self.index.position.get(work.task.task_id)
        if work.map_index < 0 or position is None:
            return position
        instances = self.index.instances.get(position, ())
        return instances[work.map_index] if work.map_index < len(instances) else None

    def rule_out(self, task_ids: Iterable[str], map_index: int) -> None:
        """A branch or short circuit decided against these tasks; a mapped one against instances of its own index."""
        for task_id in task_ids:
            position = self.index.position.get(task_id)
            if position is not None and map_index < 0:
                self.ruled_out.update(self.index.instances_of(position))
            elif position is not None:
                self.ruled_out.update(self.index.instances.get(position, ())[map_index : map_index + 1])

    def held_by(self, ended: BaseOperator | None) -> list[int]:
        """The positions that the run before holds back, or of these only what minds a task that `ended` there.

        That is the task itself, by `depends_on_past`, and by `wait_for_downstream` what is directly before it.
        """
        minding = None if ended is None else {ended.task_id, *ended.upstream_task_ids}
        tasks = self.index.tasks
        return sorted(k for k in self.held_by_past if minding is None or tasks[k].task_id in minding)

    def expand(self, position: int, rows: Sequence[TaskRow]) -> None:
        """A mapped task has these instances now, besides those that it had; the one that stood for all is gone."""
        self.open += len(rows) - (self.tasks.pop(position, None) is not None)
        self.tasks.update(zip(self.frontier.expand(position, [row.state for row in rows]), rows, strict=True))
        self.index = self.frontier.index

    def waits_for(self, work: Work, position: int) -> bool:
        """Whether `work` is the attempt that the task at `position` is at, and not one from before a clear."""
        state = self.frontier.states[position]
        if state not in ACTIVE:
            return False
        task = self.tasks[position]
        begins = state == QUEUED and task.rescheduled_since is None
        return work.try_number == task.try_number + begins

    def work(self, position: int) -> Work:
        """The next attempt of a task, or the one that it is at: a new try, or the same one if a sensor goes on."""
        task = self.tasks[position]
        is_running = self.frontier.states[position] == RUNNING  # the row may be from before the attempt ended
        goes_on = task.rescheduled_since is not None or is_running
        return Work(
            task_pk=task.id,
            dag=self.dag,
            run=self.row,
            task=self.index.tasks[position],
            map_index=task.map_index,
            try_number=task.try_number + (not goes_on),
            max_tries=task.max_tries,
            rescheduled_since=task.rescheduled_since,
            known_items=self.known_items,
            start=task.start_date if is_running else None,
        )
