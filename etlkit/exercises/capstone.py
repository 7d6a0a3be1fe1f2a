"""Notebook 12: a pipeline of one's own, run through what happens to pipelines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from etlkit.dag import DAG
from etlkit.exercises.capstone_parts import (
    LOAD_FLIGHTS,
    LOAD_READINGS,
    MISSING,
    READINGS,
    SUMMARIES,
    all_faults,
    corrected,
    delays_text,
    january,
    load_flights,
    load_readings,
    nonsense,
    readings_of,
    summaries,
    unchecked_summaries,
    weather_text,
)
from etlkit.exercises.definition import Belief, Exercise, Step, Timeline
from etlkit.exercises.stage import Lab, utc
from etlkit.sources import WeatherApi
from etlkit.summaries import Summary, summary_tasks
from etlkit.taskflow import task

NEW_YORK = ZoneInfo("America/New_York")


def pipeline(api_url: str) -> DAG:
    start = datetime(2013, 1, 1, tzinfo=NEW_YORK)
    with DAG(
        "flights_and_weather", schedule="@daily", start_date=start, max_active_runs=1, default_args={"retries": 3}
    ) as dag:

        @task
        def load_weather(data_interval_start: datetime, warehouse: Any) -> None:
            load_readings(warehouse, readings_of(api_url, data_interval_start.astimezone(NEW_YORK).date()))

        @task(task_id="load_flights")
        def load_days_flights(data_interval_start: datetime, warehouse: Any) -> None:
            load_flights(warehouse, data_interval_start.astimezone(NEW_YORK).date())

        built = summary_tasks(summaries())
        load_weather() >> built["daily_weather"]
        load_days_flights() >> built["daily_delays"]
    return dag


def pipeline_start(api_url: str) -> DAG:
    with DAG("flights_and_weather", schedule="@daily", start_date=datetime(2013, 1, 1, tzinfo=NEW_YORK)) as dag:

        @task
        def load_weather() -> None: ...

        load_weather()
    return dag


# --- what people believe ----------------------------------------------------------------------------------------------


def loading(api_url: str, load: Callable[[Any, Any, date], None]) -> DAG:
    """The pipeline, with another way to load the readings that come with a day's answer."""

    def load_weather(warehouse: Any, data_interval_start: datetime) -> None:
        day = data_interval_start.astimezone(NEW_YORK).date()
        warehouse.execute(READINGS)
        load(warehouse, readings_of(api_url, day), day)

    dag = pipeline(api_url)
    dag.get_task("load_weather").python_callable = load_weather  # type: ignore[attr-defined]
    return dag


def append(warehouse: Any, rows: Any, day: date) -> None:
    warehouse.execute("CREATE TABLE IF NOT EXISTS heap AS FROM readings")
    warehouse.from_arrow(rows).insert_into("heap")


def keep_own_day(warehouse: Any, rows: Any, day: date) -> None:
    of_day = f"timezone('America/New_York', observed_at)::DATE = '{day}'"
    load_readings(warehouse, warehouse.from_arrow(rows).filter(of_day).to_arrow_table())


def keep_newer(warehouse: Any, rows: Any, day: date) -> None:
    ((newest,),) = warehouse.execute("SELECT coalesce(max(updated_at), '2000-01-01') FROM readings").fetchall()
    load_readings(warehouse, warehouse.from_arrow(rows).filter(f"updated_at > '{newest}'").to_arrow_table())


def with_summaries(dag: DAG, others: list[Summary]) -> DAG:
    for summary in others:
        dag.get_task(summary.name).config = others  # type: ignore[attr-defined]
    return dag


def appending(api_url: str) -> DAG:
    heap = [Summary(each.name, each.sql.replace("FROM readings", "FROM heap")) for each in summaries()]
    return with_summaries(loading(api_url, append), heap)


def by_label(api_url: str) -> DAG:
    dag = pipeline(api_url)

    def load_weather(warehouse: Any, ds: str) -> None:
        load_readings(warehouse, readings_of(api_url, date.fromisoformat(ds)))

    def load_days_flights(warehouse: Any, ds: str) -> None:
        load_flights(warehouse, date.fromisoformat(ds))

    dag.get_task("load_weather").python_callable = load_weather  # type: ignore[attr-defined]
    dag.get_task("load_flights").python_callable = load_days_flights  # type: ignore[attr-defined]
    return dag


def without_retries(api_url: str) -> DAG:
    dag = pipeline(api_url)
    for each in dag.tasks:
        each.retries = 0
    return dag


# --- what happens to pipelines ----------------------------------------------------------------------------------------

Action = Callable[[Lab, DAG], object]


def time_passes(lab: Lab, dag: DAG) -> None:
    """The step's moment has come; there is nothing else to do."""


def trigger_twice(lab: Lab, dag: DAG) -> None:
    lab.trigger(dag)
    lab.advance(minutes=1)
    lab.trigger(dag)


def backfill_newest_first(lab: Lab, dag: DAG) -> None:
    lab.backfill(dag, "2013-01-05", "2013-01-07", reverse=True)


def happens(day: int, what: str, action: Action = time_passes, **faults: Any) -> Step:
    """What happens to a day of January by noon of the next: what somebody does then, and the faults of the service."""
    return Step(f"2013-01-{day + 1:02} 12:00", what, (action, faults))


def outage(day: int) -> Step:
    return happens(day, f"asked for the {day}th, the service did not answer twice", outages={january(day): 2})


def broken_answer(day: int) -> Step:
    return happens(day, f"the answer about the {day}th broke off in the middle", truncated={january(day): 1})


def correction(day: int) -> Step:
    what = f"with the {day}th came another temperature of LGA on the {day - 1}th"
    return happens(day, what, revisions={january(day): [corrected(day - 1)]})


def broken_sensor(day: int) -> Step:
    return happens(day, "a sensor at JFK reported 9999 °F", revisions={january(day): [nonsense(day)]})


def late(day: int) -> Step:
    arrival = january(day + 1)
    return happens(day + 1, f"the readings of the {day}th came with the next day's", late={january(day): arrival})


def double_trigger(day: int) -> Step:
    return happens(day, "somebody triggers it, and a minute later again", trigger_twice)


def backfill(day: int) -> Step:
    return happens(day, "5 to 7 January are backfilled, the newest first", backfill_newest_first)


NORMAL = happens(10, "the 10th is over")


def play_pipeline(make: Callable[[str], DAG], timeline: Timeline) -> Iterator[str]:
    """The two summary tables after each step, on a service that has the faults of these steps."""
    with Lab(start="2013-01-11 05:00") as lab, WeatherApi(**all_faults(timeline), clock=lab.clock) as api:
        dag = make(api.url)
        lab.add(dag)
        for step in timeline.steps:
            lab.run_until(utc(step.at))
            step.given[0](lab, dag)
            lab.advance(hours=6)
            yield f"{weather_text(lab.warehouse)}\n{delays_text(lab.warehouse)}"


def hidden(name: str, *steps: Step) -> Timeline:
    """A timeline that the learner has not seen."""
    return Timeline(name, steps, hidden=True)


PIPELINE = Exercise(
    id="12-pipeline",
    tier="target",
    kind="function",
    asked="Write a function `pipeline(api_url)` that makes a DAG. Daily in New York from 1 January 2013, without"
    " catch-up, it\nloads the weather of the run's day, `GET {api_url}?date=2013-01-10`, and the flights of that day,"
    " from the data set.\nIt keeps two summary tables in the warehouse:\n"
    "  daily_weather(airport, date, temp, hours): the mean temperature, rounded to one digit, and how many it is made"
    " of\n  daily_delays(airport, date, flights, delay, temp): how many flights, cancelled ones too; their mean"
    " departure\n    delay, rounded to one digit; and the temperature as in daily_weather, NULL where there is none\n"
    "Days are New York's. No mean outside -60 to 140 °F may reach a table; what was there before stays. Services"
    " fail, and\ndata comes late, twice, or corrected.",
    play=play_pipeline,
    timelines=(
        Timeline("an ordinary day", (NORMAL,)),
        hidden("an outage", NORMAL, outage(11), broken_answer(12)),
        hidden("a double trigger", NORMAL, double_trigger(11)),
        hidden("an out-of-order backfill", NORMAL, backfill(11)),
        hidden("late data", NORMAL, correction(11), late(12)),
        hidden("a broken sensor", NORMAL, broken_sensor(11)),
        hidden("a bad week", NORMAL, outage(11), double_trigger(12), backfill(13), late(14)),
    ),
    start=pipeline_start,
    solution=pipeline,
    why="Raw rows are kept by key, the newest version of each; the summaries are made anew from all of them, and"
    " checked before they are shown. So it does not matter when a row comes, how often, or in which order.",
    beliefs=(
        Belief(
            "services-answer",
            "a service answers when it is asked. Not always: a task that may be tried again survives an outage.",
            without_retries,
        ),
        Belief(
            "label-is-the-day",
            "`ds` is the day to load. It is the run's label, and a run by hand is labelled with the moment at which"
            " somebody asked for it; its data interval is the last one that was over.",
            by_label,
        ),
        Belief(
            "loads-happen-once",
            "a day is loaded once, so its rows may be appended. A trigger by hand, a retry or a backfill loads it"
            " again.",
            appending,
        ),
        Belief(
            "time-goes-forward",
            "what is newer than all that is there is new, and the rest is known. A backfill brings old days, and in any"
            " order.",
            lambda api_url: loading(api_url, keep_newer),
        ),
        Belief(
            "an-answer-is-about-its-day",
            "what comes with a day's answer is about that day. Late and corrected readings come with another day's.",
            lambda api_url: loading(api_url, keep_own_day),
        ),
        Belief(
            "checks-are-for-tests",
            "data that comes from a service is right. A check before a table is shown keeps yesterday's table instead"
            " of nonsense.",
            lambda api_url: with_summaries(pipeline(api_url), unchecked_summaries()),
        ),
    ),
    hints=(
        "Begin with the raw tables: what is the key of a reading? `merge` keeps one row per key.",
        "Take the day from `data_interval_start`, not from the clock.",
        "`summary_tasks` makes a task of each summary; `output_checks` run before a table is shown.",
        "What happens to your pipeline if the service raises an error?",
    ),
    misconceptions=(6, 9),
)

PREDICTIONS: list[Any] = []
EXERCISES = [LOAD_READINGS, LOAD_FLIGHTS, SUMMARIES, PIPELINE, MISSING]
