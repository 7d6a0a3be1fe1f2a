"""Notebook 06: one row per key, whatever comes twice, breaks off, or is tried again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

from etlkit.dag import DAG
from etlkit.exercises.definition import Belief, Choice, Exercise, Prediction, Seen, Step, Timeline
from etlkit.exercises.stage import Fragile, Killed, Lab, connected, table_text, utc
from etlkit.operators.python import PythonOperator

# --- the newest row of each key ---------------------------------------------------------------------------------------

READINGS = "CREATE TABLE readings (airport VARCHAR, hour INTEGER, temp DOUBLE, updated_at TIMESTAMP, arrival INTEGER)"
COLUMNS = "airport, hour, temp"
NEWEST = """
    SELECT airport, hour, temp
    FROM readings
    QUALIFY row_number() OVER (PARTITION BY airport, hour ORDER BY updated_at DESC, arrival DESC) = 1
"""
DISTINCT = "SELECT DISTINCT airport, hour, temp FROM readings"
GREATEST = "SELECT airport, hour, max(temp) AS temp FROM readings GROUP BY airport, hour"
RANKED = NEWEST.replace("row_number()", "rank()").replace(", arrival DESC", "")
OLDEST = NEWEST.replace(" DESC", "")


def readings(at: str, what: str, *rows: tuple[str, int, float, str]) -> Step:
    """Readings that arrive: airport, hour, temperature and the time of the change."""
    return Step(at, what, [(*row[:3], f"2013-01-01 {row[3]}") for row in rows])


def play_newest(query: str, timeline: Timeline) -> Iterator[str]:
    """What a query answers as readings arrive, each with the number of its arrival."""
    arrived = 0
    with connected(READINGS) as con:
        for step in timeline.steps:
            for row in step.given:
                arrived += 1
                con.execute("INSERT INTO readings VALUES (?, ?, ?, ?, ?)", [*row, arrived])
            yield table_text(con, f"SELECT {COLUMNS} FROM ({query.strip().rstrip(';')}) ORDER BY ALL")


TWO_HOURS = Timeline(
    "two hours",
    (readings("1", "two hours of an airport", ("EWR", 9, 39.0, "09:51"), ("EWR", 10, 40.0, "10:51")),),
    None,
    True,
)
NEWEST_ROW = Exercise(
    id="06-newest",
    tier="enough",
    kind="SQL",
    asked="Write a query on readings(airport, hour, temp, updated_at, arrival) that gives airport, hour and temp: one"
    " row for\neach airport and hour, the one that was updated last.\nOf two that were updated at the same time, it"
    " is the one with the higher `arrival`.",
    play=play_newest,
    timelines=(
        Timeline(
            "a correction",
            (
                readings("1", "a reading each", ("EWR", 9, 39.0, "09:51"), ("JFK", 9, 41.0, "09:51")),
                readings("2", "JFK's comes again, the same", ("JFK", 9, 41.0, "09:51")),
                readings("3", "JFK's is corrected, to a lower value", ("JFK", 9, 40.0, "12:00")),
                readings("4", "EWR's is corrected, to a higher one", ("EWR", 9, 43.0, "12:00")),
            ),
        ),
        Timeline(
            "out of order, and a tie",
            (
                readings("1", "a correction comes before what it corrects", ("LGA", 9, 38.0, "12:00")),
                readings("2", "what it corrects", ("LGA", 9, 44.0, "09:51")),
                readings("3", "another of 12:00", ("LGA", 9, 37.0, "12:00")),
            ),
            hidden=True,
        ),
        TWO_HOURS,
    ),
    start="SELECT airport, hour, temp FROM readings WHERE arrival = 1",
    solution=NEWEST,
    why="row_number() counts 1, 2, 3 within each key, and never gives two rows the same number.",
    beliefs=(
        Belief(
            "distinct-is-enough",
            "DISTINCT removes duplicates. Only rows that are equal in every column; a correction is another row, and"
            " stays beside the old one.",
            DISTINCT,
        ),
        Belief(
            "greatest-is-newest",
            "max() gives the newest value. It gives the greatest; a correction may be lower.",
            GREATEST,
        ),
        Belief(
            "rank-is-row-number",
            "rank() is as good as row_number(). Rows that are tied have the same rank, and both stay.",
            RANKED,
        ),
        Belief(
            "first-wins",
            "the first row is the right one, and later ones are copies. Later ones are corrections.",
            OLDEST,
        ),
    ),
    hints=(
        "`row_number() OVER (PARTITION BY ... ORDER BY ...)` numbers the rows of each key.",
        "In which order must they be numbered, so that number 1 is the row to keep? And if two are tied?",
    ),
)

# --- in any order -----------------------------------------------------------------------------------------------------

NEWEST_READINGS = "CREATE TABLE readings (airport VARCHAR, hour INTEGER, temp DOUBLE, updated_at TIMESTAMP,"
NEWEST_READINGS += " PRIMARY KEY (airport, hour))"


def load_newest(con: Any, rows: list[tuple[str, int, float, str]]) -> None:
    con.executemany(
        """
        INSERT INTO readings VALUES (?, ?, ?, ?)
        ON CONFLICT DO UPDATE SET temp = excluded.temp, updated_at = excluded.updated_at
        WHERE excluded.updated_at > updated_at OR (excluded.updated_at = updated_at AND excluded.temp > temp)
        """,
        rows,
    )


def load_newest_start(con: Any, rows: list[tuple[str, int, float, str]]) -> None: ...


def load_last(con: Any, rows: list[tuple[str, int, float, str]]) -> None:
    con.executemany("INSERT OR REPLACE INTO readings VALUES (?, ?, ?, ?)", rows)


def load_first(con: Any, rows: list[tuple[str, int, float, str]]) -> None:
    con.executemany("INSERT OR IGNORE INTO readings VALUES (?, ?, ?, ?)", rows)


def load_newer(con: Any, rows: list[tuple[str, int, float, str]]) -> None:
    con.executemany(
        """
        INSERT INTO readings VALUES (?, ?, ?, ?)
        ON CONFLICT DO UPDATE SET temp = excluded.temp, updated_at = excluded.updated_at
        WHERE excluded.updated_at > updated_at
        """,
        rows,
    )


def play_deliveries(load: Callable[..., object], timeline: Timeline) -> Iterator[str]:
    """The table after each delivery."""
    with connected(NEWEST_READINGS) as con:
        for step in timeline.steps:
            load(con, list(map(tuple, step.given)))
            yield table_text(con, f"SELECT {COLUMNS} FROM readings ORDER BY ALL")


ANY_ORDER = Exercise(
    id="06-any-order",
    tier="stretch",
    kind="function",
    asked="Write a function `load_newest(con, rows)`. It brings a delivery of rows (airport, hour, temp, updated_at)"
    " into the\ntable readings(airport, hour, temp, updated_at), whose primary key is airport and hour. The table"
    " keeps the row of\neach key that was updated last; of two that were updated at the same time, the one with the"
    " higher temperature.\nDeliveries come late, twice and out of order, and one delivery may have two rows of one"
    " key.",
    play=play_deliveries,
    timelines=(
        Timeline(
            "a correction",
            (
                readings("1", "a reading each", ("EWR", 9, 39.0, "09:51"), ("JFK", 9, 41.0, "09:51")),
                readings("2", "JFK's is corrected", ("JFK", 9, 40.0, "12:00")),
                readings("3", "the first delivery comes again", ("EWR", 9, 39.0, "09:51"), ("JFK", 9, 41.0, "09:51")),
            ),
        ),
        Timeline(
            "the newer one comes first",
            (
                readings("1", "a correction", ("LGA", 9, 38.0, "12:00")),
                readings("2", "what it corrects", ("LGA", 9, 44.0, "09:51")),
            ),
            hidden=True,
        ),
        Timeline(
            "two of one time",
            (
                readings("1", "two at once", ("LGA", 9, 38.0, "12:00"), ("LGA", 9, 39.0, "12:00")),
                readings("2", "another of that time", ("LGA", 9, 37.0, "12:00")),
            ),
            hidden=True,
        ),
        TWO_HOURS,
    ),
    start=load_newest_start,
    solution=load_newest,
    why="Which row stays is decided by the rows alone, ties too. Then the order in which they come cannot matter.",
    beliefs=(
        Belief(
            "last-to-come-wins",
            "the row that comes last is the newest. A retry or a backfill brings old rows later.",
            load_last,
        ),
        Belief(
            "first-to-come-stays",
            "a row that is there is right, and what comes again is a copy. It may be a correction.",
            load_first,
        ),
        Belief(
            "ties-do-not-matter",
            "of two rows of one time it does not matter which stays. Then the order of arrival decides, and the same"
            " rows give different tables.",
            load_newer,
        ),
    ),
    hints=(
        "INSERT ... ON CONFLICT DO UPDATE SET ... WHERE ...: the WHERE says when the new row, `excluded`, may win.",
        "Write down what makes a row win, ties too, without a word about when it came.",
    ),
)

# --- a swap that can be killed ----------------------------------------------------------------------------------------

DAILY = "CREATE TABLE daily (day DATE, airport VARCHAR, temp DOUBLE)"
OLD, NEW = [("EWR", 30.0), ("JFK", 31.0), ("LGA", 32.0)], [("EWR", 40.0), ("JFK", 41.0)]
DAY = "2013-01-01"


def replace_day(con: Any, day: str, rows: list[tuple[str, float]]) -> None:
    con.execute("BEGIN")
    con.execute("DELETE FROM daily WHERE day = ?", [day])
    con.executemany("INSERT INTO daily VALUES (?, ?, ?)", [(day, *row) for row in rows])
    con.execute("COMMIT")


def replace_day_start(con: Any, day: str, rows: list[tuple[str, float]]) -> None:
    con.execute("SELECT 1")


def replace_without_transaction(con: Any, day: str, rows: list[tuple[str, float]]) -> None:
    con.execute("DELETE FROM daily WHERE day = ?", [day])
    con.executemany("INSERT INTO daily VALUES (?, ?, ?)", [(day, *row) for row in rows])


def insert_before_delete(con: Any, day: str, rows: list[tuple[str, float]]) -> None:
    con.executemany("INSERT INTO daily VALUES (?, ?, ?)", [(day, *row) for row in rows])
    kept = ", ".join(str(temp) for _, temp in rows)
    con.execute(f"DELETE FROM daily WHERE day = ? AND temp NOT IN ({kept})", [day])


def commit_too_early(con: Any, day: str, rows: list[tuple[str, float]]) -> None:
    con.execute("BEGIN")
    con.execute("DELETE FROM daily WHERE day = ?", [day])
    con.execute("COMMIT")
    con.executemany("INSERT INTO daily VALUES (?, ?, ?)", [(day, *row) for row in rows])


def play_kills(replace: Callable[..., object], timeline: Timeline) -> Iterator[str]:
    """Replace a day while the process is killed before some statement; what others then find of the day."""
    for step in timeline.steps:
        with connected(DAILY) as con:
            con.executemany("INSERT INTO daily VALUES (?, ?, ?)", [(DAY, *row) for row in OLD])
            with contextlib.suppress(Killed):
                replace(Fragile(con, step.given), DAY, NEW)
            found = con.cursor().execute("SELECT airport, temp FROM daily ORDER BY ALL").fetchall()
            wanted = (NEW,) if step.given == NEVER else (OLD, NEW)
            yield "the whole day, as it should be" if found in wanted else f"torn or wrong: {found}"


NEVER = 0
KILLS = tuple(Step(f"statement {n}", "the process is killed just before it", n) for n in range(1, 7))
SWAP = Exercise(
    id="06-swap",
    tier="target",
    kind="function",
    asked="Write a function `replace_day(con, day, rows)`. It replaces what the table daily(day, airport, temp) has"
    " of a day\nby the rows (airport, temp). The process may be killed at any moment: others must then find the old"
    " day or the new one,\nnever a part of it. Use `con.execute` and `con.executemany`.",
    play=play_kills,
    timelines=(
        Timeline("nothing happens", (Step("run 1", "nobody kills it", NEVER),)),
        Timeline("killed once", KILLS[:2]),
        Timeline("killed anywhere", KILLS, hidden=True),
    ),
    start=replace_day_start,
    solution=replace_day,
    why="What lies between BEGIN and COMMIT happens as a whole or not at all. A process that is killed never commits.",
    beliefs=(
        Belief(
            "quick-enough",
            "DELETE and INSERT follow each other so closely that nothing comes between. A kill does, and so does a"
            " reader.",
            replace_without_transaction,
        ),
        Belief(
            "insert-first-is-safe",
            "if the new rows go in first, nothing can be lost. Nothing is lost, but a kill in between leaves old and"
            " new side by side.",
            insert_before_delete,
        ),
        Belief(
            "a-transaction-each",
            "a transaction around the DELETE is enough. Both must be in the same one.",
            commit_too_early,
        ),
    ),
    hints=(
        "What does a reader find if the process ends between your two statements?",
        '`con.execute("BEGIN")` and `con.execute("COMMIT")`.',
    ),
)

# --- tried again ------------------------------------------------------------------------------------------------------

STAGING = "CREATE TABLE staging (airport VARCHAR, temp DOUBLE)"
TARGET = "CREATE TABLE target (airport VARCHAR, temp DOUBLE)"


def stage(con: Any, rows: list[tuple[str, float]], publish: Callable[[], None]) -> None:
    con.execute("DELETE FROM staging")
    con.executemany("INSERT INTO staging VALUES (?, ?)", rows)
    publish()


def stage_start(con: Any, rows: list[tuple[str, float]], publish: Callable[[], None]) -> None:
    publish()


def stage_trusting_retries(con: Any, rows: list[tuple[str, float]], publish: Callable[[], None]) -> None:
    con.executemany("INSERT INTO staging VALUES (?, ?)", rows)
    publish()


def stage_and_tidy_up(con: Any, rows: list[tuple[str, float]], publish: Callable[[], None]) -> None:
    con.executemany("INSERT INTO staging VALUES (?, ?)", rows)
    publish()
    con.execute("DELETE FROM staging")


def play_retries(stage: Callable[..., None], timeline: Timeline) -> Iterator[str]:
    """A run a step, whose task publishes with success after so many failures; the rows that have been published."""
    with Lab(start="2013-01-01") as lab:
        lab.warehouse.execute(f"{STAGING}; {TARGET}")
        for number, step in enumerate(timeline.steps):
            failures = iter(range(step.given))

            def publish(failures: Iterator[int] = failures) -> None:
                if next(failures, None) is not None:
                    raise ConnectionError("the connection broke")
                lab.warehouse.execute("INSERT INTO target FROM staging")

            rows = [("EWR", 30.0 + number), ("JFK", 40.0 + number)]
            with DAG("staging") as dag:
                arguments = [lab.warehouse, rows, publish]
                PythonOperator(task_id="load", python_callable=stage, op_args=arguments, retries=2)
            lab.add(dag).trigger()
            lab.advance(hours=1)
            yield table_text(lab.warehouse, "FROM target ORDER BY ALL")


RETRIES = Exercise(
    id="06-retry",
    tier="target",
    kind="function",
    asked="Write a function `stage(con, rows, publish)`, the code of a task with two retries. It puts the rows"
    " (airport, temp)\ninto the table `staging`, and calls `publish()`, which adds all of `staging` to the table"
    " `target`. `publish` may fail;\nthen the task is tried again. In the end each run's rows must be in `target`"
    " once. Leave `target` to `publish`.",
    play=play_retries,
    timelines=(
        Timeline("all goes well", (Step("run 1", "nothing fails", 0), Step("run 2", "nothing fails", 0))),
        Timeline(
            "a try fails", (Step("run 1", "publish fails once", 1), Step("run 2", "it fails twice", 2)), hidden=True
        ),
    ),
    start=stage_start,
    solution=stage,
    why="A try begins where the last one broke off, not where the first one began. So it makes its own clean start.",
    beliefs=(
        Belief(
            "retries-are-safe",
            "retries are safe, since a failed try leaves nothing behind. What it had inserted is there, and the next"
            " try inserts it again.",
            stage_trusting_retries,
        ),
        Belief(
            "tidy-up-at-the-end",
            "tidying up at the end is enough. A try that fails does not get there; tidy up at the start.",
            stage_and_tidy_up,
        ),
    ),
    hints=(
        "What is in `staging` when the second try begins?",
        "Who can be sure to empty it: the try that fails, or the next?",
    ),
    misconceptions=(9,),
)


def see_retry() -> Seen:
    with Lab(start=utc("2013-01-01")) as lab:
        lab.warehouse.execute(STAGING)

        def load(ti: Any) -> None:
            lab.warehouse.execute("INSERT INTO staging VALUES ('EWR', 30), ('JFK', 40)")
            if ti.try_number == 1:
                raise ConnectionError("the connection broke")

        with DAG("retry", default_args={"retries": 1, "retry_delay": timedelta(minutes=5)}) as dag:
            PythonOperator(task_id="load", python_callable=load)
        lab.add(dag).trigger()
        lab.advance(hours=1)
        (count,) = lab.warehouse.execute("SELECT count(*) FROM staging").fetchone()  # type: ignore[misc]
        return Seen(count, f"{lab.trace(task='load')}\nrows in staging: {count}")


PREDICTIONS = [
    Prediction(
        "06-retry-rows",
        "A task inserts two rows into a staging table, and then its connection breaks. It is tried again, with success."
        " How many rows are there?",
        {
            "a": Choice("2", 2, "retries are safe: a failed try leaves nothing behind."),
            "b": Choice("4", 4, "what the failed try had written stays, which is so."),
        },
        see_retry,
        "A failed try is not undone. A task must be written so that it can begin again.",
        (9,),
    ),
]
EXERCISES = [NEWEST_ROW, SWAP, RETRIES, ANY_ORDER]
