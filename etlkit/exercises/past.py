"""Notebook 04: one code for the past and the future, and the right way to repair a history."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from etlkit.dag import DAG
from etlkit.exercises.definition import Belief, Choice, Exercise, Prediction, Seen, Step, Timeline
from etlkit.exercises.stage import Lab, listing, short, utc
from etlkit.operators.python import PythonOperator

FIRST = utc("2013-01-01")

# --- the interval, not now --------------------------------------------------------------------------------------------


def day_to_load(context: Mapping[str, Any]) -> str:
    return context["data_interval_start"].strftime("%Y-%m-%d")


def day_to_load_start(context: Mapping[str, Any]) -> str:
    return "2013-01-01"


def day_by_the_clock(context: Mapping[str, Any]) -> str:
    return context["clock"].now().strftime("%Y-%m-%d")


def day_it_ends(context: Mapping[str, Any]) -> str:
    return context["data_interval_end"].strftime("%Y-%m-%d")


def day_before_now(context: Mapping[str, Any]) -> str:
    return (context["clock"].now() - timedelta(days=1)).strftime("%Y-%m-%d")


def play_partitions(day_of: Callable[[Any], str], timeline: Timeline) -> Iterator[str]:
    """Which days each step's runs loaded, in order; whatever the clock shows, simulated or not, is called today."""
    loaded: list[str] = []
    with Lab(start="2013-01-09 12:00") as lab:

        def load(**context: Any) -> None:
            loaded.append(day_text(day_of(context), lab.now))

        with DAG("partitions", schedule="@daily", start_date=FIRST) as dag:
            PythonOperator(task_id="load", python_callable=load)
        lab.add(dag).run_until()
        for step in timeline.steps:
            loaded.clear()
            step.given(lab, dag)
            yield f"loaded: {listing(loaded)}"


def day_text(day: Any, now: datetime) -> str:
    """The day, if it is one in the past; what the clock shows is today, and what is no day is shown as it is.

    >>> [day_text(day, utc("2013-01-09")) for day in ("2013-01-08", "2013-01-09", "x", None)]
    ['2013-01-08', 'today', "'x'", 'None']
    """
    try:
        date = datetime.fromisoformat(str(day)).date()
    except ValueError:
        return repr(day)
    return "today" if date >= now.date() else str(day)


def backfill_three(lab: Lab, dag: DAG) -> None:
    lab.backfill(dag, "2013-01-01", "2013-01-03")


def a_day_later(lab: Lab, dag: DAG) -> None:
    lab.advance(days=1)


def clear_the_latest(lab: Lab, dag: DAG) -> None:
    if lab.store.runs():
        lab.clear()


WHICH_DAY = Exercise(
    id="04-which-day",
    tier="enough",
    kind="function",
    asked="Write a function `day_to_load(context)`. It is called by a task of a daily DAG (UTC) and says which day"
    " the run loads,\nas a text such as '2013-01-02'. It must be right whenever the run happens: on time, late, or"
    " for the second time.",
    play=play_partitions,
    timelines=(
        Timeline("a backfill", (Step("2013-01-09 12:00", "1 to 3 January are backfilled", backfill_three),)),
        Timeline(
            "a backfill, a day, and again",
            (
                Step("2013-01-09 12:00", "1 to 3 January are backfilled", backfill_three),
                Step("2013-01-10 12:00", "a day passes", a_day_later),
                Step("2013-01-11 12:00", "another day passes", a_day_later),
                Step("2013-01-11 12:00", "the latest run is cleared", clear_the_latest),
            ),
            hidden=True,
        ),
    ),
    start=day_to_load_start,
    solution=day_to_load,
    why="A run carries its data interval with it. The clock only says when somebody got round to it.",
    beliefs=(
        Belief(
            "now-is-fine",
            "`datetime.now()` in a task is fine. A backfill of three days runs three times today, and makes three"
            " identical partitions.",
            day_by_the_clock,
        ),
        Belief(
            "day-before-now",
            "the day to load is always yesterday. Only for a run that is on time.",
            day_before_now,
        ),
        Belief(
            "end-is-the-day",
            "the end of the interval is the day it is about. The end is already the next day's first instant.",
            day_it_ends,
        ),
    ),
    hints=(
        "Which entries of `context` are the same when the run is made again?",
        'Look at context["data_interval_start"] and context["data_interval_end"].',
    ),
    misconceptions=(10,),
)

# --- catch-up, backfill, clear ----------------------------------------------------------------------------------------

WEEK = [f"2013-01-0{n}" for n in range(1, 8)]


def repair(lab: Lab, dag: DAG) -> None:
    lab.backfill(dag, "2013-01-01", "2013-01-07", reprocess="failed")


def repair_start(lab: Lab, dag: DAG) -> None:
    lab.run_until()


def repair_by_backfill(lab: Lab, dag: DAG) -> None:
    lab.backfill(dag, "2013-01-01", "2013-01-07")


def repair_by_clearing(lab: Lab, dag: DAG) -> None:
    for run in lab.store.runs():
        if run.state == "failed":
            lab.clear(dag, run=run.run_id)


def repair_all_again(lab: Lab, dag: DAG) -> None:
    lab.backfill(dag, "2013-01-01", "2013-01-07", reprocess="completed")


def play_repairs(repair: Callable[[Lab, DAG], object], timeline: Timeline) -> Iterator[str]:
    """Make a history, each day of which ran or failed or is missing; repair it; and the tries and state of each day."""
    for step in timeline.steps:
        failing = set(step.given["failed"])

        def load(ds: str, failing: set[str] = failing) -> None:
            if ds in failing:
                raise ConnectionError("the source does not answer")

        with DAG("history", schedule="@daily", start_date=FIRST, end_date=FIRST) as dag:
            PythonOperator(task_id="load", python_callable=load)
        with Lab(start="2013-01-08 12:00") as lab:
            lab.add(dag)
            for day in [*step.given["ran"], *step.given["failed"]]:
                lab.backfill(dag, day, day)
            failing.clear()
            repair(lab, dag)
            yield history(lab)


def history(lab: Lab) -> str:
    """Each day of the week, the state of its run and the tries it took."""
    rows = lab.store.run_sql(
        """SELECT substr(r.logical_date, 1, 10), r.state, t.try_number
           FROM dag_run r JOIN task_instance t ON t.dag_run_id = r.id ORDER BY 1, r.id"""
    ).fetchall()
    found = {day: f"{state}, tries: {tries}" for day, state, tries in rows}
    return "\n".join(f"{day} {found.get(day, 'no run')}" for day in WEEK)


def past_week(at: str, what: str, ran: list[str], failed: list[str]) -> Step:
    """A history of the week, in which these days ran and those failed; the others are missing."""
    return Step(at, what, {"ran": ran, "failed": failed})


REPAIR = Exercise(
    id="04-repair",
    tier="target",
    kind="function",
    asked="Write a function `repair(lab, dag)`. The days 1 to 7 January should all have been loaded, but some runs"
    " failed and\nsome days never ran. The source answers again. Make every day right, and run nothing a second time"
    " that was right.\nThe DAG's end_date has passed, so that its schedule makes no run.",
    play=play_repairs,
    timelines=(
        Timeline(
            "two histories",
            (
                past_week("history 1", "2 January failed, the others are right", WEEK[:1] + WEEK[2:], WEEK[1:2]),
                past_week("history 2", "6 and 7 January never ran", WEEK[:5], []),
            ),
        ),
        Timeline(
            "both at once",
            (past_week("history 3", "2 January failed, 6 and 7 never ran", [WEEK[0], *WEEK[2:5]], WEEK[1:2]),),
            hidden=True,
        ),
    ),
    start=repair_start,
    solution=repair,
    why="A backfill makes the runs that are missing; `reprocess` says which of those that are there it makes again.",
    beliefs=(
        Belief(
            "backfill-does-all",
            "a backfill puts everything right. By itself it makes missing runs only, and leaves those that are there,"
            " failed ones too.",
            repair_by_backfill,
        ),
        Belief(
            "clear-does-all",
            "clearing is the same as a backfill. It makes runs again that are there; a day that never ran has none.",
            repair_by_clearing,
        ),
        Belief(
            "again-costs-nothing",
            "running it all again is simplest. It is right in the end, and what was right ran twice: on a year's"
            " history that is a year of work.",
            repair_all_again,
        ),
    ),
    hints=(
        "What does `print(lab.backfill(dag, ..., dry_run=True))` say it would do?",
        "`reprocess` is one of 'none', 'failed', 'completed'.",
    ),
    misconceptions=(5,),
)


# --- two at a time, newest first --------------------------------------------------------------------------------------


def load_past(lab: Lab, dag: DAG, first: str, last: str) -> None:
    lab.backfill(dag, first, last, reverse=True, max_active_runs=2)


def load_past_start(lab: Lab, dag: DAG, first: str, last: str) -> None:
    lab.backfill(dag, last, last)


def load_past_oldest_first(lab: Lab, dag: DAG, first: str, last: str) -> None:
    lab.backfill(dag, first, last, max_active_runs=2)


def load_past_by_the_dag(lab: Lab, dag: DAG, first: str, last: str) -> None:
    lab.backfill(dag, first, last, reverse=True)


def load_past_to_the_day_after(lab: Lab, dag: DAG, first: str, last: str) -> None:
    lab.backfill(dag, first, f"{utc(last) + timedelta(days=1):%Y-%m-%d}", reverse=True, max_active_runs=2)


def play_archive(load_past: Callable[[Lab, DAG, str, str], object], timeline: Timeline) -> Iterator[str]:
    """When the runs about each day began, if an archive needs an hour to fetch a day."""
    for step in timeline.steps:

        def load(ti: Any) -> None:
            if ti.try_number == 1:
                raise ConnectionError("the archive fetches the day; it takes an hour")

        with DAG("archive", schedule="@daily", start_date=FIRST, max_active_runs=2) as dag:
            PythonOperator(task_id="load", python_callable=load, retries=1, retry_delay=timedelta(hours=1))
        with Lab(start="2013-01-20 12:00") as lab:
            lab.add(dag, paused=True)
            load_past(lab, dag, *step.given)
            lab.advance(days=1)
            began = sorted((run.start_date, run.id, run.logical_date) for run in lab.store.runs() if run.start_date)
            yield "\n".join(f"{short(start)[11:]} {short(date)[:10]}" for start, _, date in began) or "no run"


TWO_AT_A_TIME = Exercise(
    id="04-two-at-a-time",
    tier="stretch",
    kind="function",
    asked="Write a function `load_past(lab, dag, first, last)`, called with two days such as '2013-01-05'. It loads the"
    " days from\nthe first to the last, both included, the newest first. An archive takes an hour to fetch a day and"
    " serves two at once:\nnever have more than two runs going. The DAG says max_active_runs=2, and is paused.",
    play=play_archive,
    timelines=(
        Timeline("four days", (Step("1 to 4 January", "they are asked for", ("2013-01-01", "2013-01-04")),)),
        Timeline("one day", (Step("5 January", "it is asked for", ("2013-01-05", "2013-01-05")),), hidden=True),
    ),
    start=load_past_start,
    solution=load_past,
    why="A backfill has a limit and an order of its own, and its range includes both ends.",
    beliefs=(
        Belief(
            "order-by-itself",
            "the newest days come first by themselves. A backfill goes from the oldest to the newest unless it is told"
            " to reverse.",
            load_past_oldest_first,
        ),
        Belief(
            "dag-limits-backfills",
            "the DAG's max_active_runs holds for backfills too. A backfill has its own, 10 unless you say otherwise.",
            load_past_by_the_dag,
        ),
        Belief(
            "end-is-excluded",
            "the end of the range is left out, as in Python's `range`. Both ends of a backfill are included.",
            load_past_to_the_day_after,
        ),
    ),
    hints=(
        "Look at the arguments of `lab.backfill`: `help(lab.backfill)`.",
        "Which argument turns the order round, and which says how many runs may go at once?",
    ),
)


def see_three_ways() -> Seen:
    answers = []
    for way in (repair_by_backfill, repair_by_clearing):
        timeline = Timeline("", (past_week("", "", [WEEK[0]], [WEEK[1]]),))
        text = next(iter(play_repairs(way, timeline)))
        answers.append(text)
    runs = [sum("no run" not in line for line in text.splitlines()) for text in answers]
    return Seen(tuple(runs), f"backfill of the week:\n{answers[0]}\nclear of what failed:\n{answers[1]}")


def see_now() -> Seen:
    timeline = WHICH_DAY.timelines[0]
    (text,) = play_partitions(day_by_the_clock, timeline)
    return Seen(len(set(text.removeprefix("loaded: ").split(", "))), f"backfill of 1 to 3 January, {text}")


PREDICTIONS = [
    Prediction(
        "04-now",
        "A task loads the day that `datetime.now()` says. 1 to 3 January are backfilled. How many different days come"
        " out?",
        {
            "a": Choice("3", 3, "`datetime.now()` in a task is fine."),
            "b": Choice("1", 1, "the clock shows today, whichever day the run is about, which is so."),
        },
        see_now,
        "Three runs, three times the same partition. The interval belongs to the run, the clock does not.",
        (10,),
    ),
    Prediction(
        "04-three-ways",
        "1 January ran, 2 January failed, 3 to 7 January never ran. One person backfills the week, another clears what"
        " failed.\nHow many days have a run then, with each of them?",
        {
            "a": Choice("7 and 7", (7, 7), "catch-up, backfill and clear are one thing."),
            "b": Choice("7 and 2", (7, 2), "a backfill makes runs, a clear repeats them, which is so."),
            "c": Choice("2 and 2", (2, 2), "neither makes a run that the scheduler did not make."),
        },
        see_three_ways,
        "Catch-up makes runs the schedule missed, a backfill those you name, and a clear none: it repeats what is"
        " there. And the backfill left 2 January failed.",
        (5,),
    ),
]
EXERCISES = [WHICH_DAY, REPAIR, TWO_AT_A_TIME]
