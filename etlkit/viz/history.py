"""The pictures of what is in the metadata database: each takes a store, a DAG and its runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, tzinfo
from itertools import islice
from typing import Any

from etlkit import tables
from etlkit.dag import DAG
from etlkit.states import QUEUED, RUNNING, SCHEDULED
from etlkit.store import RunRow, Store, instant
from etlkit.viz.dag_graph import graph
from etlkit.viz.interval_timeline import timeline
from etlkit.viz.looks import Picture, most_telling
from etlkit.viz.run_calendar import calendar
from etlkit.viz.run_gantt import Attempt, gantt
from etlkit.viz.run_grid import grid
from etlkit.why import AboutDag


def run_labels(runs: Iterable[RunRow], zone: tzinfo) -> list[str]:
    """What runs are called in a picture: their days in `zone` if that tells them apart, else their times.

    A run without a logical date is called by its run_id, and so are two whose times look the same: those of the hour
    that comes twice when the clock goes back.
    """
    runs = list(runs)
    for form in ("%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S"):
        labels = [run.logical_date.astimezone(zone).strftime(form) if run.logical_date else run.run_id for run in runs]
        if len(set(labels)) == len(runs):
            return labels
    return [run.run_id for run in runs]


def run_title(dag: DAG, run: RunRow) -> str:
    """A DAG's name and which of its runs is shown."""
    return f"{dag.dag_id} {run.run_id}"


def graph_of_run(store: Store, dag: DAG, run: RunRow | None) -> Picture:
    """The DAG with the states of a run; without a run, the DAG alone. Of a mapped task, the most telling state."""
    if run is None:
        return graph(dag)
    states: dict[str, list[str | None]] = defaultdict(list)
    for row in store.task_instances(run.id):
        states[row.task_id].append(row.state)
    return graph(dag, {task_id: most_telling(found) for task_id, found in states.items()}, run_title(dag, run))


def grid_of_runs(store: Store, dag: DAG, runs: Sequence[RunRow]) -> Picture:
    """The states of the tasks of some runs."""
    cells = [
        (label, task.task_id, task.state, task.try_number)
        for run, label in zip(runs, run_labels(runs, dag.timezone), strict=True)
        for task in store.task_instances(run.id)
    ]
    return grid(cells, title=dag.dag_id)


def gantt_of_run(store: Store, dag: DAG, run: RunRow | None, *, now: datetime, slots: int | None = None) -> Picture:
    """The tries of a run on the DAG's clock; `slots` is how many there are for all runs."""
    if run is None:
        return gantt([], dag.dag_id)
    order = {task_id: place for place, task_id in enumerate(dag.topological_order())}
    found = sorted(attempts(store, run), key=lambda one: order.get(one.task.partition("[")[0], len(order)))
    return gantt(found, run_title(dag, run), slots=slots, now=now, zone=dag.timezone)


def attempts(store: Store, run: RunRow) -> list[Attempt]:
    """The tries of a run from its recorded decisions; from its tries alone, which do not tell of waiting, without."""
    decisions = store.run_sql(
        """SELECT task_id, map_index, try_number, new, at FROM decision
           WHERE dag_id = :dag_id AND run_id = :run_id AND task_id IS NOT NULL ORDER BY id""",
        {"dag_id": run.dag_id, "run_id": run.run_id},
    ).fetchall()
    if decisions:
        return list(attempts_of((*row[:4], instant(row[4])) for row in decisions))
    rows = tables.tries(store, run).itertuples()
    return [
        Attempt(_name(row.task_id, row.map_index), row.try_number, row.state, None, None, *_instants(row))
        for row in rows
    ]


def _instants(row: Any) -> list[datetime | None]:
    """When a try began and ended."""
    ends = (row.start_date, row.end_date)
    return [None if moment != moment or moment is None else moment.to_pydatetime() for moment in ends]


STEPS = {SCHEDULED: "ready", QUEUED: "queued", RUNNING: "start"}
"""What an attempt begins with, and the instant that each change of state tells."""


def attempts_of(changes: Iterable[Sequence[Any]]) -> Iterator[Attempt]:
    """The tries that a story tells, in the order in which they begin.

    `changes` are (task_id, map_index, try_number, new state, instant), in order.
    """
    stories: dict[str, list[Attempt]] = {}
    for task_id, map_index, try_number, new, at in changes:
        name = _name(task_id, map_index)
        of_task = stories.setdefault(name, [])
        began = bool(of_task) and of_task[-1].end is None
        if new in STEPS:
            if not began:
                of_task.append(Attempt(name, try_number, new))
            of_task[-1] = of_task[-1]._replace(state=new, try_number=try_number, **{STEPS[new]: at})
        elif began:
            of_task[-1] = of_task[-1]._replace(state=new, end=at)
        elif new is not None:
            of_task.append(Attempt(name, try_number, new, end=at))
    return iter(sorted((one for of in stories.values() for one in of), key=lambda one: min(one.moments)))


def _name(task_id: str, map_index: int) -> str:
    return task_id if map_index < 0 else f"{task_id}[{map_index}]"


def timeline_of_runs(store: Store, dag: DAG, runs: Sequence[RunRow], *, now: datetime, coming: int = 1) -> Picture:
    """Some runs and the next ones, `coming` of them, on the DAG's clock."""
    next_runs = islice(AboutDag(store, dag, now, None).coming_runs(dag.restriction(now)), coming)
    return timeline([*runs, *next_runs], dag.dag_id, now=now, zone=dag.timezone)


def calendar_of_runs(dag: DAG, runs: Sequence[RunRow]) -> Picture:
    """The days of some runs, by their logical dates on the DAG's clock."""
    days = [(run.logical_date.astimezone(dag.timezone).date(), run.state) for run in runs if run.logical_date]
    return calendar(days, dag.dag_id)
