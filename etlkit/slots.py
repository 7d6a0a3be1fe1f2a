"""Who goes first: the ready tasks in line for the slots of their pools.

A task that is ready joins the line of its pool. All lines are ordered by total priority weight, then by the run's
`run_after`, then by the order of the tasks, and the first of all whose pool has a free slot is next. It gets a slot
when its pool has `pool_slots` free, its run has fewer than `max_active_tasks` active, and the task's own limits allow
it: `max_active_tis_per_dag` over all runs, `max_active_tis_per_dagrun` in its own. A task held up by its run or by
those steps aside until one of its fellows gives a slot back, so that the line never has to be searched.
"""

from __future__ import annotations

import heapq
import itertools
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from etlkit.states import SCHEDULED

if TYPE_CHECKING:
    from etlkit.active_runs import ActiveRun
    from etlkit.dag import BaseOperator


class Place(NamedTuple):
    """A place in line; compares as the line is ordered."""

    minus_weight: int
    run_after: Any
    run_pk: int
    position: int
    run: ActiveRun


class Slots:
    """Lines and free slots of all pools. `pools` maps each name to its number of slots."""

    def __init__(self, pools: Mapping[str, int], parallelism: int) -> None:
        self.pools, self.parallelism = pools, parallelism
        self.used: dict[str, int] = defaultdict(int)
        self.used_by_others: Mapping[str, int] = {}
        """What tasks of other schedulers on the same database have."""
        self.active = 0
        self._lines: dict[tuple[str, int], list[Place]] = defaultdict(list)
        self._aside: dict[Hashable, dict[tuple[str, int], list[Place]]] = {}
        self._active_per_task: dict[Hashable, int] = defaultdict(int)

    def join(self, run: ActiveRun, position: int) -> None:
        """The task at `position` is ready: put it in line."""
        self._line_up(Place(-run.index.weights[position], run.row.run_after, run.row.id, position, run))

    def _line_up(self, place: Place) -> None:
        heapq.heappush(self._lines[line_of(place)], place)

    @property
    def waiting(self) -> int:
        """How many tasks stand in line, or aside."""
        aside = (line for lines in self._aside.values() for line in lines.values())
        return sum(map(len, itertools.chain(self._lines.values(), aside)))

    def any_free(self) -> bool:
        """Whether some line moves, as far as its pool says."""
        return self.active < self.parallelism and self._next_line() is not None

    def free(self, pool: str) -> int:
        """The free slots of a pool; none if there is no such pool."""
        return self.pools.get(pool, 0) - self.used[pool] - self.used_by_others.get(pool, 0)

    def take(self, most: int) -> Iterator[tuple[ActiveRun, int]]:
        """Give slots to those who come first, at most `most` of them."""
        while most > 0 and self.active < self.parallelism and (line := self._next_line()) is not None:
            place = heapq.heappop(line)
            run, position = place.run, place.position
            if run.frontier.states[position] == SCHEDULED:  # it was not cleared or skipped while it stood in line
                if limit := self._limit_reached(run, position):
                    heapq.heappush(self._aside.setdefault(limit, {}).setdefault(line_of(place), []), place)
                else:
                    most -= 1
                    self.hold(run, position)
                    yield run, position
            if self._aside:
                self._call_back(run, position)

    def _next_line(self) -> list[Place] | None:
        """The line whose first comes before the first of all others that move."""
        first: list[Place] | None = None
        for (pool, need), line in self._lines.items():
            if line and self.free(pool) >= need and (first is None or line[0] < first[0]):
                first = line
        return first

    def _limit_reached(self, run: ActiveRun, position: int) -> Hashable:
        """The limit of its run or DAG that keeps the task from starting, if one does."""
        if run.active >= run.dag.max_active_tasks:
            return run.row.id
        if not run.index.limited[position]:
            return None
        limits = limits_of_task(run, run.index.tasks[position])
        return next((key for key, most in limits if self._active_per_task[key] >= most), None)

    def _call_back(self, run: ActiveRun, position: int) -> None:
        """A task left its place or its slot: of those aside for the same limits, the first of each line may be next."""
        task_id = run.index.tasks[position].task_id
        for limit in (run.row.id, (run.row.dag_id, task_id), (run.row.id, task_id)):
            lines = self._aside.get(limit, {})
            for line, waiting in list(lines.items()):
                if self._limit_reached(waiting[0].run, waiting[0].position) != limit:
                    self._line_up(heapq.heappop(waiting))
                    if not waiting:
                        del lines[line]
            if limit in self._aside and not lines:
                del self._aside[limit]

    def hold(self, run: ActiveRun, position: int) -> None:
        """Count the task as active."""
        self._count(run, position, 1)

    def give_back(self, run: ActiveRun, position: int) -> None:
        """The task is active no more; let the first of those it held up back into line."""
        self._count(run, position, -1)
        if self._aside:
            self._call_back(run, position)

    def _count(self, run: ActiveRun, position: int, change: int) -> None:
        task = run.index.tasks[position]
        self.used[task.pool] += change * task.pool_slots
        self.active += change
        run.active += change
        if run.index.limited[position]:
            for key, _ in limits_of_task(run, task):
                self._active_per_task[key] += change


def line_of(place: Place) -> tuple[str, int]:
    """The line that a place is in: that of its pool, of those who need as many slots."""
    task = place.run.index.tasks[place.position]
    return task.pool, task.pool_slots


def limits_of_task(run: ActiveRun, task: BaseOperator) -> Sequence[tuple[Hashable, int]]:
    """The task's own limits: under what its active instances are counted, and how many there may be."""
    limits = (
        ((run.row.dag_id, task.task_id), task.max_active_tis_per_dag),
        ((run.row.id, task.task_id), task.max_active_tis_per_dagrun),
    )
    return [(key, most) for key, most in limits if most is not None]
