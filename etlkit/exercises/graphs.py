"""Notebook 02: what waits for what, when the file's own code runs, and how finely to cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise
from typing import Any

from etlkit.dag import DAG, BaseOperator
from etlkit.exercises.definition import Belief, Choice, Exercise, Prediction, Seen, Step, Timeline
from etlkit.exercises.stage import Lab, listing, states
from etlkit.operators.python import PythonOperator
from etlkit.taskflow import task

# --- arrows -----------------------------------------------------------------------------------------------------------

TASKS = ("weather", "flights", "join", "report", "archive")


def wire(weather: Any, flights: Any, join: Any, report: Any, archive: Any) -> None:
    [weather, flights] >> join >> [report, archive]


def wire_start(weather: Any, flights: Any, join: Any, report: Any, archive: Any) -> None:
    weather >> join


def wire_in_a_line(weather: Any, flights: Any, join: Any, report: Any, archive: Any) -> None:
    weather >> flights >> join >> report >> archive


def wire_backwards(weather: Any, flights: Any, join: Any, report: Any, archive: Any) -> None:
    [report, archive] >> join >> [weather, flights]


def play_arrows(wire: Callable[..., object], timeline: Timeline) -> Iterator[str]:
    """Run the DAG; the task that a step names fails. Which tasks could have run together, and which did not run."""
    for step in timeline.steps:

        def work(task_id: str, failing: str | None = step.given) -> None:
            if task_id == failing:
                raise RuntimeError("this one fails")

        with DAG("arrows") as dag:
            tasks = [PythonOperator(task_id=name, python_callable=work, op_args=[name]) for name in TASKS]
            wire(*tasks)
        with Lab(start="2013-01-01") as lab:
            lab.add(dag).trigger()
            waves = " | ".join(listing(sorted(wave)) for wave in dag.topological_generations())
            idle = [name for name, state in states(lab).items() if state not in ("success", "failed")]
            yield f"in waves: {waves}" + (f"\ndid not run: {listing(sorted(idle, key=TASKS.index))}" if idle else "")


ARROWS = Exercise(
    id="02-arrows",
    tier="enough",
    kind="function",
    asked="Write a function `wire(weather, flights, join, report, archive)` that draws the arrows between five tasks.\n"
    "`weather` and `flights` need nothing, `join` needs both, `report` and `archive` need `join`. What can run at the"
    " same\ntime should be able to.",
    play=play_arrows,
    timelines=(
        Timeline(
            "one run",
            (Step("run 1", "all tasks succeed", None), Step("run 2", "`flights` fails", "flights")),
        ),
        Timeline("another run", (Step("run 3", "`report` fails", "report"),), hidden=True),
    ),
    start=wire_start,
    solution=wire,
    why="An arrow goes from what is needed to what needs it. A list stands for several ends of an arrow.",
    beliefs=(
        Belief(
            "one-line",
            "tasks run one after the other anyway, so one line will do. Then `flights` waits for `weather` though it"
            " needs nothing of it, and fails to run when that fails.",
            wire_in_a_line,
        ),
        Belief(
            "arrow-to-the-need",
            "an arrow points at what is needed. It points the way the data goes: `extract >> load`.",
            wire_backwards,
        ),
    ),
    hints=("`a >> b` says: a first, then b.", "`[a, b] >> c` draws two arrows."),
    misconceptions=(13,),
)

# --- a DAG file is read again and again -------------------------------------------------------------------------------


def cities(fetch: Callable[[], str]) -> DAG:
    with DAG("cities") as dag:

        @task
        def extract() -> str:
            return fetch()

        extract()
    return dag


def cities_start(fetch: Callable[[], str]) -> DAG:
    with DAG("cities") as dag:

        @task
        def extract() -> None: ...

        extract()
    return dag


def fetch_at_the_top(fetch: Callable[[], str]) -> DAG:
    data = fetch()
    return cities(lambda: data)


def fetch_cached(fetch: Callable[[], str]) -> DAG:
    return cities(cache(fetch))


def play_readings(make: Callable[[Any], DAG], timeline: Timeline) -> Iterator[str]:
    """How often the service was asked, and what the last run got."""
    calls: list[str] = []

    def fetch() -> str:
        calls.append(f"answer {len(calls) + 1}")
        return calls[-1]

    with Lab(start="2013-01-01") as lab:
        lab.add(make(fetch))
        got: Any = "nothing"
        for step in timeline.steps:
            if step.given == "read":
                lab.add(make(fetch)).advance(minutes=1)
            else:
                lab.advance(minutes=1).trigger()
                rows = lab.store.run_sql("SELECT value FROM xcom ORDER BY dag_run_id DESC LIMIT 1").fetchall()
                got = rows[0][0] if rows else "nothing"
            yield f"the service was asked {len(calls)} times; the last run got {got}"


READ, RUN = "the file is read again", "a run"
PARSING = Exercise(
    id="02-parsing",
    tier="target",
    kind="function",
    asked="Write a function `cities(fetch)` that makes a DAG with one task, `extract`, which returns what `fetch()`"
    " returns.\n`fetch` asks a slow service: it must be asked once a run, and never because a file is read.",
    play=play_readings,
    timelines=(
        Timeline(
            "read three times, then run",
            (*(Step(f"00:0{n}", READ, "read") for n in (1, 2, 3)), Step("00:04", RUN, "run")),
        ),
        Timeline(
            "two runs between two readings",
            (Step("00:01", RUN, "run"), Step("00:02", RUN, "run"), Step("00:03", READ, "read")),
            hidden=True,
        ),
    ),
    start=cities_start,
    solution=cities,
    why="The file's own code runs whenever the file is read, every few seconds, runs or no runs. A task's code runs"
    " when the task does.",
    beliefs=(
        Belief(
            "top-level-runs-once",
            "code in a DAG file runs once a run. It runs each time the file is read; and a run gets what was true"
            " then.",
            fetch_at_the_top,
        ),
        Belief(
            "cache-helps",
            "a cache makes it harmless. Runs then share an answer until the file is read again, and on another worker"
            " they have another.",
            fetch_cached,
        ),
    ),
    hints=("Which lines of your function run when the function is called?", "Call `fetch` inside the task."),
    misconceptions=(11,),
)

# --- how finely to cut ------------------------------------------------------------------------------------------------


def grain(airports: list[str], extract: Callable[[str], None]) -> DAG:
    with DAG("grain", default_args={"retries": 2}) as dag:
        for airport in airports:
            PythonOperator(task_id=f"extract_{airport}", python_callable=extract, op_args=[airport])
    return dag


def grain_start(airports: list[str], extract: Callable[[str], None]) -> DAG:
    with DAG("grain", default_args={"retries": 2}) as dag:
        PythonOperator(task_id="extract", python_callable=lambda: None)
    return dag


def one_task_for_all(airports: list[str], extract: Callable[[str], None]) -> DAG:
    def extract_all() -> None:
        for airport in airports:
            extract(airport)

    with DAG("grain", default_args={"retries": 2}) as dag:
        PythonOperator(task_id="extract", python_callable=extract_all)
    return dag


def one_after_the_other(airports: list[str], extract: Callable[[str], None]) -> DAG:
    dag = grain(airports, extract)
    tasks: list[BaseOperator] = list(dag.task_dict.values())
    for first, second in pairwise(tasks):
        first >> second
    return dag


def play_grain(make: Callable[..., DAG], timeline: Timeline) -> Iterator[str]:
    """Run it while one airport fails so many times; each call and its time."""
    for step in timeline.steps:
        with Lab(start="2013-01-01") as lab:
            calls: list[str] = []
            airports, failing, times = step.given
            lab.add(make(list(airports), failing_at_first(lab, calls, failing, times))).trigger()
            lab.advance(hours=1)
            yield listing(sorted(calls))


def failing_at_first(lab: Lab, calls: list[str], failing: str, times: int) -> Callable[[str], None]:
    """A source that does not answer for one airport so many times, and notes each call and its time."""
    failures = iter(range(times))

    def extract(airport: str) -> None:
        calls.append(f"{airport} at {lab.now:%H:%M}")
        if airport == failing and next(failures, None) is not None:
            raise ConnectionError(f"{airport} does not answer")

    return extract


THREE = ("EWR", "JFK", "LGA")
GRAIN = Exercise(
    id="02-grain",
    tier="stretch",
    kind="function",
    asked="Write a function `grain(airports, extract)` that makes a DAG. It calls `extract(airport)` for each airport,"
    " with\ntwo retries. If one airport does not answer, only that one is asked again, and the others do not wait for"
    " it.",
    play=play_grain,
    timelines=(
        Timeline(
            "EWR",
            (Step("run 1", "all answer", (THREE, "EWR", 0)), Step("run 2", "EWR fails once", (THREE, "EWR", 1))),
        ),
        Timeline("LGA", (Step("run 3", "LGA fails twice", (THREE, "LGA", 2)),), hidden=True),
        Timeline(
            "other airports", (Step("run 4", "`airports` is BOS and PHL", (("BOS", "PHL"), "BOS", 0)),), hidden=True
        ),
    ),
    start=grain_start,
    solution=grain,
    why="A retry repeats a whole task. What should be repeated alone is a task of its own.",
    beliefs=(
        Belief(
            "loop-in-a-task",
            "a loop in one task is the same. A retry repeats the task from its beginning, and airports that had"
            " answered are asked again.",
            one_task_for_all,
        ),
        Belief(
            "orderly-is-safer",
            "one after the other is safer. Then airports wait for one that fails, though they need nothing of it.",
            one_after_the_other,
        ),
    ),
    hints=("What does a retry repeat?", "A `for` loop in the `with DAG` block can make a task for each airport."),
)


def see_parsing() -> Seen:
    calls: list[str] = []

    def fetch() -> str:
        calls.append("asked")
        return "data"

    lines = []
    with Lab(start="2013-01-01") as lab:
        for _ in range(60):
            lab.add(fetch_at_the_top(fetch)).advance(minutes=1)
            lines.append(f"{lab.now:%H:%M}  the file was read; the service was asked {len(calls)} times")
        runs = len(lab.store.runs())
    return Seen(len(calls), "\n".join([*lines[:2], "...", lines[-1], f"runs: {runs}"]))


def see_wide_graph() -> Seen:
    with DAG("arrows") as dag:
        wire_in_a_line(*(PythonOperator(task_id=name, python_callable=print) for name in TASKS))
    waves = dag.topological_generations()
    return Seen(len(waves), "\n".join(f"wave {n}: {listing(wave)}" for n, wave in enumerate(waves, 1)))


PREDICTIONS = [
    Prediction(
        "02-one-line",
        "weather >> flights >> join >> report >> archive: five tasks of a minute each, workers enough. How many"
        " minutes?",
        {
            "a": Choice("3", 3, "the scheduler sees which tasks need nothing of each other."),
            "b": Choice("5", 5, "an arrow is the only thing the scheduler knows, which is so."),
            "c": Choice("1", 1, "workers enough means all at once."),
        },
        see_wide_graph,
        "Each wave waits for the one before. An arrow that no data needs costs time.",
        (13,),
    ),
    Prediction(
        "02-no-run",
        "A DAG file asks a service at its top level. It is read once a minute for an hour, and no run is due."
        " How often is the service asked?",
        {
            "a": Choice("never", 0, "code in a DAG file runs once a run."),
            "b": Choice("once", 1, "a file that did not change is not run again."),
            "c": Choice("60 times", 60, "code in a DAG file runs whenever it is read, which is so."),
        },
        see_parsing,
        "Reading a file is running it.",
        (11,),
    ),
]
EXERCISES = [ARROWS, PARSING, GRAIN]
