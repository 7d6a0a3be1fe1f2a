"""Pictures of every kind, from nothing at all to as much as a picture takes."""

import random
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from etlkit import viz
from etlkit.dag import DAG, Label
from etlkit.operators import EmptyOperator
from etlkit.states import DagRunState, TaskInstanceState
from etlkit.store import RunRow
from etlkit.timetables import CronDataIntervalTimetable, CronTriggerTimetable
from etlkit.warehouse.merging import MergeReport
from etlkit.warehouse.sql import Script
from tests.engine import DAY, HOUR, MINUTE, START, make_dag

LONG = "extract_the_hourly_readings_of_every_airport_" * 5
HANGUL = "날씨_읽어오기"
SUNDAY = datetime(2024, 3, 10, 8, tzinfo=UTC)
NEW_YORK = ZoneInfo("America/New_York")

DAYS = [
    ("JFK", date(2013, 1, 2), 28.0, 21.9, 34.0),
    ("EWR", date(2013, 1, 1), 36.0, 28.0, 41.0),
    ("JFK", date(2013, 1, 1), 37.0, 26.1, 39.9),
    ("EWR", date(2013, 1, 2), 29.0, 24.1, 34.0),
]


def names(count, name="load"):
    """Task ids: of one task the name itself."""
    return [name] if count == 1 else [f"{name}_{i}" for i in range(count)]


def a_dag(count, name="load", seed=1, labels=False):
    """A DAG of so many tasks with random edges, all of them drawn from left to right."""
    chance, ids = random.Random(seed), names(count, name)
    with DAG(name) as dag:
        tasks = [EmptyOperator(task_id=task_id) for task_id in ids]
        for i, tail in enumerate(tasks):
            for head in tasks[i + 1 :]:
                if chance.random() < 3 / count:
                    tail >> Label("if there is something new") >> head if labels else tail >> head
    return dag


def states_of(dag):
    return dict(zip(dag.task_dict, [*TaskInstanceState, None] * len(dag.task_dict), strict=False))


def cells(runs, tasks, name="load"):
    chance = random.Random(2)
    labels = [f"{date(2013, 1, 1) + timedelta(days=i)}" for i in range(runs)]
    states = [*TaskInstanceState, None]
    return [
        (run, task, chance.choice(states), chance.choice([1, 1, 2])) for run in labels for task in names(tasks, name)
    ]


def attempts(count, name="load"):
    """Tries of so many tasks that wait, run, fail and are made again."""
    found = []
    for i, task in enumerate(names(count, name)):
        ready = START + i * 5 * MINUTE
        moments = [ready, ready + MINUTE, ready + 2 * MINUTE, ready + (2 + i % 7) * MINUTE]
        found.append(viz.Attempt(task, 1, "up_for_retry" if i % 3 else "success", *moments))
        if i % 3:
            again = [moment + HOUR for moment in moments]
            found.append(viz.Attempt(task, 2, "failed", *again))
    return found


def a_run(day, *, kind="scheduled", state="success", late=timedelta(0)):
    start = START + day * DAY
    due = start + DAY
    made = due + late
    return RunRow(day, "d", f"{kind}__{day}", kind, state, start, start, due, due, made, made, made + HOUR, {}, None)


def some_runs(count):
    states, kinds = list(DagRunState), ("scheduled", "backfill", "manual")
    return [a_run(i, kind=kinds[i % 3], state=states[i % 4], late=i % 5 * DAY + 13 * MINUTE) for i in range(count)]


def a_weekend(month, day, zone=NEW_YORK):
    daily = CronDataIntervalTimetable("@daily", zone)
    noon = datetime(2024, month, day, 12, tzinfo=UTC)
    return daily.iter_dagrun_infos_between(noon - 2 * DAY, noon + 3 * DAY)


def a_report(before=0, new=0, duplicates=0, replaced=0, inserted=0, removed=0, table='"daily"'):
    after = before + inserted - removed
    return MergeReport(
        table, "staging", "delete-insert", before, new, duplicates, replaced, inserted, removed, after, Script()
    )


def queues(count):
    """The queues of so many clusters, over days, with thousands of moments."""
    chance = random.Random(count)
    return {f"{LONG}{i}": [(90.0 * k * (i + 1), chance.randrange(5000)) for k in range(3000)] for i in range(count)}


def scaled():
    """One node with up to 1024 slots, and up to 1024 nodes with 1, 4 and 16 slots."""
    up = [viz.Scaled(1, 4**i, 10**6 / 4**i, i, i * 4**i) for i in range(6)]
    out = [viz.Scaled(4**i, k, 1.1 * 10**6 / 4**i / k, 4**i, 4**i) for i in range(1, 6) for k in (1, 4, 16)]
    return [*out, *up]


PICTURES = {
    "graph": lambda: viz.graph(make_dag("d", "a >> b")),
    "graph: no tasks": lambda: viz.graph(DAG("empty")),
    "graph: one task": lambda: viz.graph(make_dag("d", "a"), {"a": "success"}),
    "graph: 30 tasks": lambda: viz.graph(a_dag(30)),
    "graph: 30 tasks in states": lambda: viz.graph(dag := a_dag(30), states_of(dag)),
    "graph: 30 tasks in a row": lambda: viz.graph(make_dag("d", " >> ".join(names(30)))),
    "graph: long names": lambda: viz.graph(a_dag(12, LONG[:240]), {}),
    "graph: Hangul": lambda: viz.graph(a_dag(8, HANGUL)),
    "graph: labels": lambda: viz.graph(a_dag(8, labels=True)),
    "grid": lambda: viz.grid([("2013-01-01", "a", "success", 1)]),
    "grid: no runs": lambda: viz.grid([]),
    "grid: 60 runs of 30 tasks": lambda: viz.grid(cells(60, 30), "weather"),
    "grid: 120 runs": lambda: viz.grid(cells(120, 3), "weather"),
    "grid: long names": lambda: viz.grid(cells(31, 5, LONG), LONG),
    "grid: Hangul": lambda: viz.grid(cells(5, 3, HANGUL), HANGUL),
    "grid: run ids": lambda: viz.grid([(f"manual__{LONG}{i}", "a", "failed", 3) for i in range(3)]),
    "gantt": lambda: viz.gantt(attempts(1), "weather"),
    "gantt: nothing began": lambda: viz.gantt([], "weather"),
    "gantt: no time passed": lambda: viz.gantt([viz.Attempt("a", 1, "success", *[START] * 4)]),
    "gantt: 30 tasks": lambda: viz.gantt(attempts(30), "weather", slots=4, zone=NEW_YORK),
    "gantt: long names": lambda: viz.gantt(attempts(4, LONG), LONG),
    "gantt: Hangul": lambda: viz.gantt(attempts(4, HANGUL), HANGUL, slots=2),
    "timeline": lambda: viz.timeline(some_runs(1)),
    "timeline: no runs": lambda: viz.timeline([], "weather"),
    "timeline: 14 runs": lambda: viz.timeline(some_runs(14), "weather", now=START + 20 * DAY),
    "timeline: 60 runs": lambda: viz.timeline(some_runs(60), "weather", now=START + 60 * DAY, zone=NEW_YORK),
    "timeline: forward": lambda: viz.timeline(
        a_weekend(3, 10), zone=NEW_YORK, now=datetime(2024, 3, 10, 8, tzinfo=UTC)
    ),
    "timeline: back": lambda: viz.timeline(a_weekend(11, 3), zone=NEW_YORK),
    "timeline: triggers": lambda: viz.timeline(
        CronTriggerTimetable("0 */6 * * *", timezone="UTC").iter_dagrun_infos_between(START, START + DAY)
    ),
    "calendar": lambda: viz.calendar([(date(2013, 2, 28), "failed")], "weather"),
    "calendar: no runs": lambda: viz.calendar([]),
    "calendar: a year": lambda: viz.calendar([(date(2013, 1, 1) + i * DAY, "success") for i in range(365)], LONG),
    "queue depth": lambda: viz.queue_depth({"4 × 1": [(0, 3), (1, 2), (60, 1), (61, 0)]}, "weather"),
    "queue depth: nothing": lambda: viz.queue_depth({}, "weather"),
    "queue depth: no time": lambda: viz.queue_depth({"4 × 1": [(0, 0)]}),
    "queue depth: twelve": lambda: viz.queue_depth(queues(12), LONG),
    "queue depth: Hangul": lambda: viz.queue_depth({HANGUL: [(0, 10**6), (10**9, 0)]}, HANGUL),
    "scaling": lambda: viz.scaling([viz.Scaled(1, 1, 480), viz.Scaled(1, 4, 120), viz.Scaled(4, 1, 150, 2, 1)], "w"),
    "scaling: nothing": lambda: viz.scaling([], "weather"),
    "scaling: one": lambda: viz.scaling([viz.Scaled(3, 2, 10)]),
    "scaling: many": lambda: viz.scaling(scaled(), LONG),
    "trigger rules": viz.trigger_rules,
    "trigger rules: no cases": lambda: viz.trigger_rules(upstream=[()]),
    "trigger rules: five tasks": lambda: viz.trigger_rules(
        upstream=[["success", "failed", None, "skipped", "running"]]
    ),
    "state machine": viz.state_machine,
    "state machine: run": lambda: viz.state_machine("run"),
    "merge counts": lambda: viz.merge_counts(a_report(1000, 73, 1, 20, 40, 5), a_report(table=LONG), title=HANGUL),
    "merge counts: none": viz.merge_counts,
    "temperatures": lambda: viz.temperatures(DAYS),
    "temperatures: no days": lambda: viz.temperatures([]),
}
"""Of each kind the smallest, the empty, the biggest, and names that are hard to draw."""
