"""Notebook 01: loading again without harm, taking only what is new, and summing up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from etlkit.errors import CheckFailed
from etlkit.exercises.definition import Belief, Choice, Exercise, Prediction, Seen, Step, Timeline
from etlkit.exercises.stage import connected, listing, table_text, utc
from etlkit.summaries import Summary, build_summaries
from etlkit.warehouse import checks

# --- load twice -------------------------------------------------------------------------------------------------------

DAILY = "CREATE TABLE daily (day DATE, airport VARCHAR, temp DOUBLE)"
FIRST_DAY = ("2013-01-01", [("EWR", 38.0), ("JFK", 39.0)])
CORRECTED = ("2013-01-01", [("EWR", 38.0), ("JFK", 37.0)])
SHORTER = ("2013-01-01", [("EWR", 38.0)])
SECOND_DAY = ("2013-01-02", [("EWR", 28.0), ("JFK", 29.0)])


def load_day(con: Any, day: str, rows: list[tuple[str, float]]) -> None:
    con.execute("BEGIN")
    con.execute("DELETE FROM daily WHERE day = ?", [day])
    con.executemany("INSERT INTO daily VALUES (?, ?, ?)", [(day, airport, temp) for airport, temp in rows])
    con.execute("COMMIT")


def load_day_start(con: Any, day: str, rows: list[tuple[str, float]]) -> None: ...


def load_by_append(con: Any, day: str, rows: list[tuple[str, float]]) -> None:
    con.executemany("INSERT INTO daily VALUES (?, ?, ?)", [(day, *row) for row in rows])


def load_afresh(con: Any, day: str, rows: list[tuple[str, float]]) -> None:
    con.execute("DELETE FROM daily")
    load_by_append(con, day, rows)


def load_unless_there(con: Any, day: str, rows: list[tuple[str, float]]) -> None:
    there = set(con.execute("SELECT airport FROM daily WHERE day = ?", [day]).fetchall())
    if new := [row for row in rows if row[:1] not in there]:
        load_by_append(con, day, new)


def play_loads(load: Callable[[Any, str, list[Any]], None], timeline: Timeline) -> Iterator[str]:
    """The table after each load."""
    with connected(DAILY) as con:
        for step in timeline.steps:
            load(con, *step.given)
            yield table_text(con, "SELECT * FROM daily ORDER BY ALL")


LOAD_TWICE = Exercise(
    id="01-load-twice",
    tier="enough",
    kind="function",
    asked="Write a function `load_day(con, day, rows)`. It brings the rows (airport, temp) of a day into the table\n"
    "daily(day, airport, temp) of the DuckDB connection `con`. Loading a day again must leave the table as if it had"
    " been\nloaded once, with the rows that came last.",
    play=play_loads,
    timelines=(
        Timeline(
            "two days, one of them twice",
            (
                Step("1", "1 January is loaded", FIRST_DAY),
                Step("2", "2 January is loaded", SECOND_DAY),
                Step("3", "1 January is loaded again", FIRST_DAY),
            ),
        ),
        Timeline(
            "a day that comes back changed",
            (
                Step("1", "1 January is loaded", FIRST_DAY),
                Step("2", "it is loaded again, JFK corrected", CORRECTED),
                Step("3", "it is loaded again, without JFK", SHORTER),
            ),
            hidden=True,
        ),
    ),
    start=load_day_start,
    solution=load_day,
    why="Whatever was there of that day goes, and nothing else. Between BEGIN and COMMIT nobody sees the table without"
    " the day.",
    beliefs=(
        Belief(
            "once-is-once",
            "a load happens once, so it may append. Loads are repeated, after a failure or by hand, and every"
            " repetition doubles the rows.",
            load_by_append,
        ),
        Belief(
            "start-afresh",
            "an empty table is a safe start. It is for a full refresh; a load that brings one day must not delete the"
            " others.",
            load_afresh,
        ),
        Belief(
            "what-is-there-stays",
            "a row that is there is right, so only missing ones need loading. Data is corrected later, and the newer"
            " delivery must win.",
            load_unless_there,
        ),
    ),
    hints=(
        "What must be gone before the rows of the day are inserted?",
        "DELETE ... WHERE day = ?, then INSERT.",
        "The second delivery may have fewer rows than the first.",
    ),
    misconceptions=(9,),
)

# --- take what is new -------------------------------------------------------------------------------------------------

Row = tuple[str, datetime]


def changed(rows: list[Row], cursor: datetime | None, now: datetime) -> tuple[list[Row], datetime | None]:
    new = [row for row in rows if cursor is None or row[1] >= cursor]
    return new, max((updated_at for _, updated_at in new), default=cursor)


def changed_start(rows: list[Row], cursor: datetime | None, now: datetime) -> tuple[list[Row], datetime | None]:
    return [], None


def changed_after(rows: list[Row], cursor: datetime | None, now: datetime) -> tuple[list[Row], datetime | None]:
    new = [row for row in rows if cursor is None or row[1] > cursor]
    return new, max((updated_at for _, updated_at in new), default=cursor)


def changed_since_the_last_look(
    rows: list[Row], cursor: datetime | None, now: datetime
) -> tuple[list[Row], datetime | None]:
    return [row for row in rows if cursor is None or row[1] >= cursor], now


def changed_ever(rows: list[Row], cursor: datetime | None, now: datetime) -> tuple[list[Row], datetime | None]:
    return rows, None


def play_updates(update: Callable[..., Any], timeline: Timeline) -> Iterator[str]:
    """Which rows have been seen, and which were read though they are older than the cursor had to be."""
    source: list[Row] = []
    seen: set[str] = set()
    cursor, newest = None, None
    for step in timeline.steps:
        source += [(name, utc(f"2013-01-01 {time}")) for name, time in step.given]
        new, cursor = update(list(source), cursor, utc(f"2013-01-01 {step.at}"))
        needless = [name for name, updated_at in new if newest and updated_at < newest]
        seen |= {name for name, _ in new}
        newest = max((updated_at for _, updated_at in source), default=None)
        yield f"in the table: {listing(sorted(seen))}; read without need: {listing(needless)}"


CURSOR = Exercise(
    id="01-cursor",
    tier="target",
    kind="function",
    asked="Write a function `changed(rows, cursor, now)`: the incremental update. `rows` are all rows of the source,\n"
    "(name, updated_at); `cursor` is what your function returned last time, at first None. Return the rows to read"
    " now,\nand the next cursor. No row may be lost, and rows older than the newest that was read are not read again.",
    play=play_updates,
    timelines=(
        Timeline(
            "three looks",
            (
                Step("09:00", "a and b are there", (("a", "08:10"), ("b", "08:40"))),
                Step("10:00", "c has come, changed at 09:20", (("c", "09:20"),)),
                Step("11:00", "nothing has come", ()),
            ),
        ),
        Timeline(
            "two rows of one time",
            (
                Step("09:00", "a is there", (("a", "08:40"),)),
                Step("10:00", "b has come, changed at 08:40 too", (("b", "08:40"),)),
            ),
            hidden=True,
        ),
        Timeline(
            "a row that was long on its way",
            (
                Step("09:00", "a is there", (("a", "08:10"),)),
                Step("10:00", "b has come, changed at 08:55", (("b", "08:55"),)),
            ),
            hidden=True,
        ),
        Timeline(
            "rows in no order",
            (
                Step("09:00", "b and a are there, the newer one first", (("b", "08:40"), ("a", "08:10"))),
                Step("10:00", "nothing has come", ()),
            ),
            hidden=True,
        ),
    ),
    start=changed_start,
    solution=changed,
    why="The cursor is the newest time that was read, by the source's own clock. `>=` reads the rows of that very time"
    " once more, and a merge that keeps one row per key drops them.",
    beliefs=(
        Belief(
            "newer-is-enough",
            "newer than the cursor is enough, `>`. Two rows can have one time, and the second may come later: it is"
            " lost for ever.",
            changed_after,
        ),
        Belief(
            "cursor-is-now",
            "the cursor is the time of the last look. A row that was changed before it and arrives after it is never"
            " read.",
            changed_since_the_last_look,
        ),
        Belief(
            "everything-is-safe",
            "reading everything each time loses nothing. True, and it is the full refresh: it costs more every day.",
            changed_ever,
        ),
    ),
    hints=(
        "From which of the times that you know can you be sure that all rows before it have been read?",
        "Which is right, `>` or `>=`? Think of two rows with the same time.",
    ),
)

# --- sum up -----------------------------------------------------------------------------------------------------------

READINGS = "CREATE TABLE readings (airport VARCHAR, observed_at TIMESTAMPTZ, temp DOUBLE)"
MEAN_TEMPERATURES = """
    SELECT airport,
           timezone('America/New_York', observed_at)::DATE AS day,
           round(avg(temp), 1) AS mean,
           count(temp) AS hours
    FROM readings
    GROUP BY ALL
"""
IN_UTC = MEAN_TEMPERATURES.replace("timezone('America/New_York', observed_at)", "observed_at")
NOTHING_IS_ZERO = MEAN_TEMPERATURES.replace("avg(temp)", "avg(coalesce(temp, 0))")
ROWS_ARE_VALUES = MEAN_TEMPERATURES.replace("count(temp)", "count(*)")


def play_query(query: str, timeline: Timeline) -> Iterator[str]:
    """What a query answers after each step's rows were added: the names of its columns, and its rows."""
    with connected(READINGS) as con:
        for step in timeline.steps:
            con.executemany("INSERT INTO readings VALUES (?, ?, ?)", step.given)
            result = f"FROM ({query.strip().rstrip(';')})"
            names = [name for name, *_ in con.execute(f"DESCRIBE {result}").fetchall()]
            yield "  ".join(names) + "\n" + table_text(con, f"{result} ORDER BY ALL")


SUMMARY = Exercise(
    id="01-summary",
    tier="target",
    kind="SQL",
    asked="Write a query on readings(airport, observed_at, temp). Its result has a row for each airport and day of New"
    " York:\nairport, day, mean (the mean temperature, rounded to one digit), hours (how many temperatures it is made"
    " of).\n`observed_at` is an instant; `temp` may be NULL.",
    play=play_query,
    timelines=(
        Timeline(
            "readings come in",
            (
                Step(
                    "1",
                    "two readings of a morning",
                    [("JFK", "2013-01-01 12:00+00", 39.0), ("JFK", "2013-01-01 13:00+00", 40.0)],
                ),
                Step("2", "one of 02:00 UTC on 2 January", [("JFK", "2013-01-02 02:00+00", 35.0)]),
                Step("3", "one without a temperature", [("JFK", "2013-01-01 14:00+00", None)]),
            ),
        ),
        Timeline(
            "a night in July",
            (
                Step("1", "04:30 UTC on 2 July", [("EWR", "2013-07-02 04:30+00", 70.0)]),
                Step("2", "03:30 UTC on 2 July", [("EWR", "2013-07-02 03:30+00", 72.0)]),
            ),
            hidden=True,
        ),
        Timeline(
            "a day without any temperature",
            (Step("1", "a reading without a temperature", [("LGA", "2013-01-01 12:00+00", None)]),),
            hidden=True,
        ),
    ),
    start="SELECT airport FROM readings",
    solution=MEAN_TEMPERATURES,
    why="avg and count leave NULL out by themselves, and the day is cut on New York's clock.",
    beliefs=(
        Belief(
            "day-is-utc",
            "the date of an instant is the date of the day. It depends on where: at 02:00 UTC New York is still in"
            " the day before.",
            IN_UTC,
        ),
        Belief(
            "missing-is-zero",
            "a missing value counts as zero. It pulls the mean down; nothing is known.",
            NOTHING_IS_ZERO,
        ),
        Belief(
            "rows-are-values",
            "count(*) counts the values. It counts rows, those with NULL as well; count(temp) counts temperatures.",
            ROWS_ARE_VALUES,
        ),
    ),
    hints=(
        "timezone('America/New_York', observed_at) is what a clock in New York shows.",
        "What do avg(temp) and count(temp) make of NULL? Try it.",
    ),
)

# --- checked before it is seen ----------------------------------------------------------------------------------------

HOURS = "CREATE TABLE readings (airport VARCHAR, day DATE, hour INTEGER, temp DOUBLE, PRIMARY KEY (airport, day, hour))"
MEANS = "SELECT airport, day, round(avg(temp), 1) AS mean, count(temp) AS hours FROM readings GROUP BY ALL"
NOT_EMPTY, WHOLE = checks.row_count(1), checks.every("hours = 3")
POSSIBLE = checks.every("temp BETWEEN -60 AND 130")


def checked() -> Summary:
    return Summary(
        "daily",
        "SELECT airport, day, round(avg(temp), 1) AS mean, count(temp) AS hours FROM readings GROUP BY ALL",
        input_checks={"readings": [checks.row_count(1), checks.every("temp BETWEEN -60 AND 130")]},
        output_checks=[checks.every("hours = 3")],
    )


def checked_start() -> Summary:
    return Summary("daily", "SELECT DISTINCT airport, day FROM readings")


def unchecked() -> Summary:
    return Summary("daily", MEANS)


def left_out() -> Summary:
    whole = f"{MEANS} HAVING count(temp) = 3 AND min(temp) >= -60 AND max(temp) <= 130"
    return Summary("daily", whole, input_checks={"readings": [NOT_EMPTY]})


def checked_by_its_mean() -> Summary:
    possible = checks.every("mean BETWEEN -60 AND 130")
    return Summary("daily", MEANS, input_checks={"readings": [NOT_EMPTY]}, output_checks=[WHOLE, possible])


def checked_by_row() -> Summary:
    return Summary("daily", MEANS, input_checks={"readings": [POSSIBLE]}, output_checks=[WHOLE])


def play_building(summary: Callable[[], Summary], timeline: Timeline) -> Iterator[str]:
    """The table after each attempt to build it; None is given when the raw table came empty."""
    with connected(HOURS) as con:
        for step in timeline.steps:
            if step.given is None:
                con.execute("DELETE FROM readings")
            else:
                con.executemany("INSERT OR REPLACE INTO readings VALUES (?, ?, ?, ?)", step.given)
            try:
                build_summaries(con, [summary()])
            except CheckFailed:
                state = "a check failed; "
            else:
                state = ""
            there = con.execute("FROM duckdb_tables() WHERE table_name = 'daily'").fetchall()
            yield state + (table_text(con, "FROM daily ORDER BY ALL") if there else "no table")


def of_day(day: int, *temps: float | None) -> list[tuple[Any, ...]]:
    """JFK's readings of a day in January: at 6, at 12 and at 18 o'clock."""
    return [("JFK", f"2013-01-{day:02}", hour, temp) for hour, temp in zip((6, 12, 18), temps, strict=False)]


CHECKED = Exercise(
    id="01-checks",
    tier="stretch",
    kind="function",
    asked="Write a function `checked()` that gives a Summary with the name `daily`. From readings(airport, day,"
    " hour, temp)\nit makes a row for each airport and day: airport, day, mean (rounded to one digit), hours (how many"
    " temperatures).\nA day is whole with three temperatures, and each is possible: from -60 to 130 °F. If any day is"
    " not whole, any temperature\nnot possible, or there is no reading at all, a check must fail, so that the old table"
    " stays.",
    play=play_building,
    timelines=(
        Timeline(
            "a day comes in parts",
            (
                Step("1", "1 January, whole", of_day(1, 30.0, 38.0, 34.0)),
                Step("2", "2 January, without the evening", of_day(2, 31.0, 39.0)),
                Step("3", "2 January, whole", of_day(2, 31.0, 39.0, 35.0)),
            ),
        ),
        Timeline(
            "a sensor breaks",
            (
                Step("1", "1 January, whole", of_day(1, 30.0, 38.0, 34.0)),
                Step("2", "2 January, with 200 °F at noon", of_day(2, 31.0, 200.0, 35.0)),
                Step("3", "2 January, corrected", of_day(2, 31.0, 39.0, 35.0)),
            ),
            hidden=True,
        ),
        Timeline(
            "a raw table that came empty",
            (
                Step("1", "1 January, whole", of_day(1, 30.0, 38.0, 34.0)),
                Step("2", "the raw table is empty", None),
            ),
            hidden=True,
        ),
    ),
    start=checked_start,
    solution=checked,
    why="What must hold of each reading is checked before the table is built, and what must hold of a day in the table"
    " that was. An empty table breaks no rule about its rows, so that there are any is a rule of its own.",
    beliefs=(
        Belief(
            "it-ran-so-it-is-right",
            "a query that ran has given the right table. It ran over what was there: half a day, a broken sensor,"
            " nothing at all.",
            unchecked,
        ),
        Belief(
            "leave-out-what-is-bad",
            "leaving out what is not whole is as good as a check. The table then lacks a day, and nothing says so; a"
            " check that fails does.",
            left_out,
        ),
        Belief(
            "the-mean-tells",
            "a possible mean shows that the temperatures are possible. One impossible value hides among the others;"
            " check the readings.",
            checked_by_its_mean,
        ),
        Belief(
            "no-row-no-fault",
            "if every row is right, the table is. A table without rows breaks no rule about rows.",
            checked_by_row,
        ),
    ),
    hints=(
        "input_checks={'readings': [...]} look at what is read, output_checks=[...] at what was built.",
        "checks.every(condition) is about each row. Which check is about how many rows there are?",
        "Where would you see one temperature of 200 °F: in the readings, or in the means?",
    ),
)


def see_second_load() -> Seen:
    with connected(DAILY) as con:
        for _ in range(2):
            load_by_append(con, *FIRST_DAY)
        text = table_text(con, "SELECT * FROM daily ORDER BY ALL")
        return Seen(len(text.splitlines()), text)


PREDICTIONS = [
    Prediction(
        "01-twice",
        "A task inserts a day's two rows. It is run twice for that day. How many rows are in the table?",
        {
            "a": Choice("2", 2, "a row that is there is not inserted again."),
            "b": Choice("4", 4, "INSERT inserts, whatever is there, which is so."),
            "c": Choice("none: the second run fails", 0, "a table refuses what it has already."),
        },
        see_second_load,
        "INSERT does not look. Only a table with a key refuses, and only a load that replaces can be repeated.",
        (9,),
    ),
]
EXERCISES = [LOAD_TWICE, CURSOR, SUMMARY, CHECKED]
