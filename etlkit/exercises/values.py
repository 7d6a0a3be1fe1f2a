"""Notebook 05: what goes between tasks, what stays outside, and what templates put in."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

from etlkit.dag import DAG, get_current_context
from etlkit.exercises.definition import Belief, Choice, Exercise, Prediction, Seen, Step, Timeline
from etlkit.exercises.stage import Lab, errors, listing, states, utc
from etlkit.operators.python import PythonOperator
from etlkit.taskflow import task

FIRST = utc("2013-01-01")
SMALL = 1_000
"""Bytes that an XCom of a lesson may have."""
READINGS = "CREATE TABLE readings (airport VARCHAR, temp DOUBLE)"
STAGING = "CREATE TABLE staging (airport VARCHAR, temp DOUBLE)"

# --- too big for an XCom ----------------------------------------------------------------------------------------------


def hand_over(fetch: Callable[[], list[Any]], disk: Callable[[], Path]) -> DAG:
    with DAG("hand_over") as dag:

        @task
        def extract(warehouse: Any) -> str:
            warehouse.execute("DELETE FROM staging")
            warehouse.executemany("INSERT INTO staging VALUES (?, ?)", fetch())
            return "staging"

        @task
        def load(table: str, warehouse: Any) -> None:
            warehouse.execute(f"INSERT INTO readings FROM {table}")

        load(extract())
    return dag


def hand_over_start(fetch: Callable[[], list[Any]], disk: Callable[[], Path]) -> DAG:
    with DAG("hand_over") as dag:

        @task
        def extract(warehouse: Any) -> None: ...

        @task
        def load(warehouse: Any) -> None: ...

        extract() >> load()
    return dag


def hand_over_by_xcom(fetch: Callable[[], list[Any]], disk: Callable[[], Path]) -> DAG:
    with DAG("hand_over") as dag:

        @task
        def extract() -> list[Any]:
            return fetch()

        @task
        def load(rows: list[Any], warehouse: Any) -> None:
            warehouse.executemany("INSERT INTO readings VALUES (?, ?)", rows)

        load(extract())
    return dag


def hand_over_by_file(fetch: Callable[[], list[Any]], disk: Callable[[], Path]) -> DAG:
    with DAG("hand_over") as dag:

        @task
        def extract() -> str:
            (disk() / "rows.csv").write_text("\n".join(f"{airport},{temp}" for airport, temp in fetch()))
            return "rows.csv"

        @task
        def load(file: str, warehouse: Any) -> None:
            rows = [line.split(",") for line in (disk() / file).read_text().splitlines()]
            warehouse.executemany("INSERT INTO readings VALUES (?, ?)", rows)

        load(extract())
    return dag


def play_hand_overs(make: Callable[..., DAG], timeline: Timeline) -> Iterator[str]:
    """A run that fetches so many rows, on workers with one disk or with a disk each."""
    for step in timeline.steps:
        rows, one_disk = step.given
        with tempfile.TemporaryDirectory() as folder, Lab(start=FIRST) as lab:
            workers = count()

            def disk(folder: str = folder, workers: Iterator[int] = workers, one_disk: bool = one_disk) -> Path:
                path = Path(folder) / ("disk" if one_disk else f"disk {next(workers)}")
                path.mkdir(exist_ok=True)
                return path

            lab.warehouse.execute(f"{READINGS}; {STAGING}")
            dag, another = (make(lambda rows=rows: [("JFK", float(n)) for n in range(rows)], disk) for _ in range(2))
            lab.add(dag)
            before = watch_load(dag, dag if one_disk else another, lab)
            lab.trigger()
            found = lab.warehouse.execute("SELECT count(*) FROM readings").fetchall()[0][0]
            biggest = lab.store.run_sql("SELECT coalesce(max(length(value)), 0) FROM xcom").fetchone()[0]
            size = "small" if biggest <= SMALL else "too big for the metadata database"
            yield f"{found - sum(before[-1:])} rows loaded by `load`; XComs {size}; {_failures(lab, folder)}"


def watch_load(dag: DAG, of_its_worker: DAG, lab: Lab) -> list[int]:
    """Let `load` run the code of the DAG as its worker has read it; how many rows there were before each try."""
    load, its_own = dag.get_task("load"), of_its_worker.get_task("load")
    before: list[int] = []

    def look(context: Any) -> None:
        before.append(lab.warehouse.execute("SELECT count(*) FROM readings").fetchall()[0][0])

    if isinstance(load, PythonOperator) and isinstance(its_own, PythonOperator):
        load.python_callable = its_own.python_callable
    load.on_execute_callback = (look,)
    return before


def _failures(lab: Lab, folder: str) -> str:
    """Which tasks failed, and with what; the folder's name, which changes by chance, is left out."""
    return f"failed: {errors(lab).replace(folder, 'worker') or 'none'}"


HAND_OVER = Exercise(
    id="05-hand-over",
    tier="target",
    kind="function",
    asked="Write a function `hand_over(fetch, disk)` that makes a DAG with the tasks `extract >> load`. `extract` calls"
    " `fetch()`,\nwhich gives rows (airport, temp); `load` puts them into the table `readings` of the warehouse."
    " `disk()` is a folder of\nthe worker that the task runs on. The warehouse has an empty table `staging` of the"
    " same columns. No XCom may have\n"
    f"more than {SMALL:,} bytes.",
    play=play_hand_overs,
    timelines=(
        Timeline(
            "small and big",
            (Step("run 1", "3 rows", (3, True)), Step("run 2", "200 rows", (200, True))),
        ),
        Timeline(
            "two workers",
            (Step("run 3", "3 rows; each worker has a disk and a process of its own", (3, False)),),
            hidden=True,
        ),
        Timeline("a year", (Step("run 4", "2000 rows", (2_000, True)),), hidden=True),
    ),
    start=hand_over_start,
    solution=hand_over,
    why="The rows go where every worker can reach them, and the XCom says where. It is a note, not a parcel.",
    beliefs=(
        Belief(
            "xcom-carries-data",
            "XCom can carry the data. Every value is stored in the metadata database, which the scheduler needs for"
            " its own work; what is too big is refused.",
            hand_over_by_xcom,
        ),
        Belief(
            "disk-is-shared",
            "a file is where I left it. The next task may run on another worker, which has another disk.",
            hand_over_by_file,
        ),
    ),
    hints=(
        "What can both tasks reach, on whichever worker they run?",
        "`extract` fills the table `staging` and returns its name.",
    ),
    misconceptions=(12,),
)

# --- templates --------------------------------------------------------------------------------------------------------


RETURNED = "SELECT x.value FROM xcom x JOIN dag_run r ON r.id = x.dag_run_id WHERE r.run_type = :run_type"


def play_template(template: str, timeline: Timeline) -> Iterator[str]:
    """What a template becomes in each step's run."""
    for step in timeline.steps:
        with DAG("paths", schedule="@daily", start_date=FIRST) as dag:
            PythonOperator(task_id="load", python_callable=lambda path: path, op_args=[template])
        with Lab(start=step.at) as lab:
            lab.add(dag)
            run, run_type = step.given
            run(lab, dag)
            rows = lab.store.run_sql(RETURNED, {"run_type": run_type}).fetchall()
            yield rows[0][0].strip('"') if rows else errors(lab)


def on_time(lab: Lab, dag: DAG) -> None:
    lab.run_until()


def by_hand(lab: Lab, dag: DAG) -> None:
    lab.trigger(dag)


def one_old_day(lab: Lab, dag: DAG) -> None:
    lab.backfill(dag, "2013-01-02", "2013-01-02")


TEMPLATE = Exercise(
    id="05-template",
    tier="enough",
    kind="value",
    asked="Write a template, as text, for the file that a run of a daily DAG loads: 'weather/2013/01/02.csv' for the"
    " day that\nbegins with the run's data interval.",
    play=play_template,
    timelines=(
        Timeline(
            "two days",
            (
                Step("2013-01-03 00:00", "the run about 2 January, on time", (on_time, "scheduled")),
                Step("2013-01-04 00:00", "the run about 3 January, on time", (on_time, "scheduled")),
            ),
        ),
        Timeline(
            "by hand and in a backfill",
            (
                Step("2013-01-05 09:30", "triggered by hand: about 4 January", (by_hand, "manual")),
                Step("2013-01-09 12:00", "2 January is backfilled", (one_old_day, "backfill")),
            ),
            hidden=True,
        ),
    ),
    start="weather/2013/01/02.csv",
    solution="weather/{{ data_interval_start.strftime('%Y/%m/%d') }}.csv",
    why="A template is rendered for each run, from that run's own dates.",
    beliefs=(
        Belief(
            "end-names-the-day",
            "the day of a run is the day its interval ends. Then it has just begun; it is the day its interval starts.",
            "weather/{{ data_interval_end.strftime('%Y/%m/%d') }}.csv",
        ),
        Belief(
            "logical-date-is-enough",
            "the logical date is always the start of the interval. Not of a run by hand: it is the time of the"
            " trigger.",
            "weather/{{ logical_date.strftime('%Y/%m/%d') }}.csv",
        ),
        Belief(
            "text-is-rendered-by-python",
            "Python fills braces in by itself. `{ds}` is for an f-string, and when the file is read there is no run"
            " yet; `{{ ds }}` is for the template.",
            "weather/{ds}.csv",
        ),
    ),
    hints=(
        "`{{ data_interval_start }}` is a date and has its methods: strftime('%Y').",
        "Which of a run's dates are the same for a run by hand as for a scheduled one?",
    ),
)

# --- mapping ----------------------------------------------------------------------------------------------------------


def for_each_airport(airports: Callable[[], list[str]], read: Callable[[str], int]) -> DAG:
    with DAG("mapped") as dag:
        names = PythonOperator(task_id="names", python_callable=airports)
        PythonOperator.partial(task_id="read", python_callable=read).expand(
            op_args=names.output.map(lambda name: [name])
        )
    return dag


def for_each_airport_start(airports: Callable[[], list[str]], read: Callable[[str], int]) -> DAG:
    with DAG("mapped") as dag:
        PythonOperator(task_id="names", python_callable=airports)
    return dag


def one_task_for_each_when_read(airports: Callable[[], list[str]], read: Callable[[str], int]) -> DAG:
    with DAG("mapped") as dag:
        for name in airports():
            PythonOperator(task_id=f"read_{name}", python_callable=read, op_args=[name])
    return dag


def one_task_for_three(airports: Callable[[], list[str]], read: Callable[[str], int]) -> DAG:
    with DAG("mapped") as dag:
        for name in ("EWR", "JFK", "LGA"):
            PythonOperator(task_id=f"read_{name}", python_callable=read, op_args=[name])
    return dag


def one_task_for_all(airports: Callable[[], list[str]], read: Callable[[str], int]) -> DAG:
    def read_all() -> None:
        for name in airports():
            read(name)

    with DAG("mapped") as dag:
        PythonOperator(task_id="read", python_callable=read_all)
    return dag


def play_mapping(make: Callable[..., DAG], timeline: Timeline) -> Iterator[str]:
    """Which airports were read, in how many tasks, when they are others in the run than when the file was read."""
    for step in timeline.steps:
        in_file, in_run = step.given
        now, done, tasks = list(in_file), list[str](), set[tuple[str, int]]()

        def airports(now: list[str] = now) -> list[str]:
            return list(now)

        def read(name: str, done: list[str] = done, tasks: set[tuple[str, int]] = tasks) -> None:
            ti = get_current_context()["ti"]
            tasks.add((ti.task_id, ti.map_index))
            done.append(name)

        with Lab(start=FIRST) as lab:
            lab.add(make(airports, read))
            now[:] = in_run
            lab.trigger()
            yield f"read: {listing(sorted(done))}; in tasks of their own: {len(tasks)}"


MAPPING = Exercise(
    id="05-mapping",
    tier="stretch",
    kind="function",
    asked="Write a function `for_each_airport(airports, read)` that makes a DAG. In each run it calls `read(name)` in"
    " a task of\nits own for each of the names that `airports()` gives in that run. How many there are is not known"
    " before.",
    play=play_mapping,
    timelines=(
        Timeline(
            "three, and other three",
            (
                Step(
                    "run 1", "EWR, JFK, LGA, as when the file was read", (["EWR", "JFK", "LGA"], ["EWR", "JFK", "LGA"])
                ),
                Step("run 2", "JFK alone is left", (["EWR", "JFK", "LGA"], ["JFK"])),
            ),
        ),
        Timeline("more and none", (Step("run 3", "none is left", (["EWR"], [])),), hidden=True),
        Timeline("a new one", (Step("run 4", "SFO has come", (["EWR", "JFK"], ["EWR", "JFK", "SFO"])),), hidden=True),
    ),
    start=for_each_airport_start,
    solution=for_each_airport,
    why="`expand` makes the task instances in the run, from what a task gave. A loop in the file makes tasks when the"
    " file is read.",
    beliefs=(
        Belief(
            "loop-is-enough",
            "a loop in the file does it. It runs when the file is read, and the run may have other names.",
            one_task_for_each_when_read,
        ),
        Belief("three-is-three", "there are three airports, and there will be. The list is data.", one_task_for_three),
        Belief(
            "loop-in-the-task",
            "a loop inside one task does it too. Then one airport that fails makes all of them be read again, and none"
            " can run beside another.",
            one_task_for_all,
        ),
    ),
    hints=("`PythonOperator.partial(...).expand(...)`, or `read.expand(name=names())` with @task.",),
)


def see_metadata_grow() -> Seen:
    lines, first, last = [], 0, 0
    for kilobytes in (1, 10, 40, 100):
        with Lab(start=FIRST) as lab:
            with DAG("parcel") as dag:
                PythonOperator(task_id="extract", python_callable=lambda size=kilobytes: "x" * (size * 1000))
            lab.add(dag).trigger()
            last = lab.store.run_sql("SELECT coalesce(sum(length(value)), 0) FROM xcom").fetchone()[0]
            first = first or last
            state = states(lab)["extract"]
            lines.append(f"{kilobytes:>4} KB returned, {last:>6} bytes in the metadata database: {state}")
    return Seen("refused" if last == 0 else "stored", "\n".join(lines))


PREDICTIONS = [
    Prediction(
        "05-parcel",
        "Tasks return texts of 1, 10, 40 and 100 KB. What becomes of the biggest?",
        {
            "a": Choice("it goes to the next task, without a trace", "gone", "an XCom passes from memory to memory."),
            "b": Choice("it is stored in the metadata database", "stored", "XCom can carry the data."),
            "c": Choice(
                "it is refused",
                "refused",
                "there is a limit, as the metadata database is no place for data, which is so.",
            ),
        },
        see_metadata_grow,
        "Every XCom is a row in the metadata database. Pass the name of a table or the path of a file instead.",
        (12,),
    ),
]
EXERCISES = [TEMPLATE, HAND_OVER, MAPPING]
