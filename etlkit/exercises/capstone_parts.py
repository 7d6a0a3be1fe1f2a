"""Notebook 12, the parts of a pipeline: raw tables that bear repetition, and summaries that are checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import date
from typing import Any

from etlkit import datasets
from etlkit.errors import CheckFailed
from etlkit.exercises.definition import Belief, Exercise, Step, Timeline
from etlkit.exercises.stage import connected, utc
from etlkit.sources import HttpSource, Revision, WeatherApi
from etlkit.summaries import Summary, build_summaries
from etlkit.warehouse import checks, merge

COLUMNS = {"airport": "VARCHAR", "observed_at": "TIMESTAMPTZ", "temp": "DOUBLE", "updated_at": "TIMESTAMPTZ"}
READINGS = """
    CREATE TABLE IF NOT EXISTS readings (
        airport VARCHAR, observed_at TIMESTAMPTZ, temp DOUBLE, updated_at TIMESTAMPTZ,
        PRIMARY KEY (airport, observed_at)
    )
"""
FLIGHTS = "CREATE TABLE IF NOT EXISTS flights (airport VARCHAR, date DATE, delay DOUBLE)"
FLIGHTS_FILE = str(datasets.path("flights"))


def readings_of(api_url: str, day: date) -> Any:
    """What the service answers about a day, as an Arrow table."""
    return HttpSource(f"{api_url}?date={day}", columns=COLUMNS, format="json").read()


# --- what happens to a day --------------------------------------------------------------------------------------------


def january(day: int) -> str:
    """A day of January 2013.

    >>> january(9)
    '2013-01-09'
    """
    return f"2013-01-{day:02}"


def corrected(day: int) -> Revision:
    """Another temperature of LGA, for an hour of that day."""
    return Revision("LGA", utc(f"{january(day)} 19:00"), 20.0)


def nonsense(day: int) -> Revision:
    """A broken sensor's temperature of JFK, for an hour of that day."""
    return Revision("JFK", utc(f"{january(day)} 19:00"), 9999.0)


def all_faults(timeline: Timeline) -> dict[str, Any]:
    """The faults of a service that has those of all steps; a step's `given` ends with its own."""
    faults: dict[str, Any] = {}
    for step in timeline.steps:
        for name, days in step.given[-1].items():
            faults.setdefault(name, {}).update(days)
    return faults


def table_lines(con: Any, query: str, form: str, table: str) -> str:
    """A query's rows as lines of that form; for a table that is not there, or not so, what the database says."""
    import duckdb

    try:
        rows = con.execute(query).fetchall()
    except duckdb.Error as error:
        return f"{table}: {str(error).splitlines()[0]}"
    lines = (form.format(*("NULL" if value is None else value for value in row)) for row in rows)
    return "\n".join(lines) or f"{table} is empty"


# --- readings ---------------------------------------------------------------------------------------------------------

Load = Callable[[Any, Any], None]


def load_readings(con: Any, rows: Any) -> None:
    con.execute(READINGS)
    merge(con, "readings", rows, key=["airport", "observed_at"], order_by="updated_at")


def load_readings_start(con: Any, rows: Any) -> None: ...


def append_readings(con: Any, rows: Any) -> None:
    con.execute("CREATE TABLE IF NOT EXISTS readings AS FROM rows LIMIT 0")
    con.execute("INSERT INTO readings FROM rows")


def add_missing_readings(con: Any, rows: Any) -> None:
    con.execute(READINGS)
    con.execute("INSERT OR IGNORE INTO readings FROM rows")


def last_come_wins(con: Any, rows: Any) -> None:
    con.execute(READINGS)
    con.execute("INSERT OR REPLACE INTO readings FROM rows")


def answers(day: int, what: str, **faults: Any) -> Step:
    """The service answers about a day."""
    return Step(january(day), what, (day, faults))


TENTH = answers(10, "the answer about 10 January is loaded")
TENTH_AGAIN = answers(10, "the answer about 10 January is loaded again")
ELEVENTH = answers(
    11, "the answer about 11 January corrects a reading of the 10th", revisions={january(11): [corrected(10)]}
)
IN_ONE = answers(12, "the answer about 12 January holds one hour twice", revisions={january(12): [corrected(12)]})


def play_readings(load: Load, timeline: Timeline) -> Iterator[str]:
    """The readings by day after each answer."""
    query = """
        SELECT timezone('America/New_York', observed_at)::DATE AS day, count(*), round(avg(temp), 2)
        FROM readings GROUP BY day ORDER BY day
    """
    with WeatherApi(**all_faults(timeline)) as api, connected() as con:
        for step in timeline.steps:
            load(con, readings_of(api.url, date(2013, 1, step.given[0])))
            yield table_lines(con, query, "{}: {} readings, mean {} °F", "readings")


LOAD_READINGS = Exercise(
    id="12-readings",
    tier="enough",
    kind="function",
    asked="Write a function `load_readings(con, rows)`. `con` is a DuckDB connection, `rows` an Arrow table with an"
    " answer of\nthe weather service: airport, observed_at, temp, updated_at. It keeps them in a table `readings` with"
    " these columns,\nwhich it makes if there is none. The table has one row per airport and observed_at, the one that"
    " was updated last,\nwhatever comes again, and in which order.",
    play=play_readings,
    timelines=(
        Timeline("a day, and again", (TENTH, TENTH_AGAIN)),
        Timeline("a correction", (TENTH, ELEVENTH), hidden=True),
        Timeline("two versions in one answer", (IN_ONE,), hidden=True),
        Timeline("an old answer again", (TENTH, ELEVENTH, TENTH_AGAIN), hidden=True),
    ),
    start=load_readings_start,
    solution=load_readings,
    why="A reading is known by its airport and its hour. `merge` keeps one row per key, the greatest `updated_at`, so"
    " the order in which answers come does not matter.",
    beliefs=(
        Belief(
            "once-is-once",
            "an answer is loaded once, so it may be appended. A retry or a backfill loads it again.",
            append_readings,
        ),
        Belief(
            "what-is-there-stays",
            "a reading that is there is right, so only missing ones are needed. Readings are corrected later.",
            add_missing_readings,
        ),
        Belief(
            "last-come-is-newest",
            "what comes last is newest. An old answer can be loaded again; the newest is what was updated last.",
            last_come_wins,
        ),
    ),
    hints=(
        "What says of two rows that they are about the same reading? And which of them is newer?",
        "`merge(con, table, rows, key=[...], order_by=...)` does what is asked.",
    ),
    misconceptions=(9,),
)

# --- flights ----------------------------------------------------------------------------------------------------------

LoadDay = Callable[[Any, date], None]


def load_flights(con: Any, day: date) -> None:
    con.execute(FLIGHTS)
    con.execute("BEGIN")
    con.execute("DELETE FROM flights WHERE date = ?", [day])
    con.execute(
        "INSERT INTO flights SELECT origin, ?, dep_delay FROM read_parquet(?) WHERE month = ? AND day = ?",
        [day, FLIGHTS_FILE, day.month, day.day],
    )
    con.execute("COMMIT")


def load_flights_start(con: Any, day: date) -> None: ...


def flights_where(condition: str, clear: str = "DELETE FROM flights WHERE date = $day") -> LoadDay:
    """A loader of the flights for which a condition holds, after a statement that makes room for them."""

    def load(con: Any, day: date) -> None:
        con.execute(FLIGHTS)
        con.execute(clear, {"day": day} if "$day" in clear else None)
        con.execute(
            f"INSERT INTO flights SELECT origin, $day, dep_delay FROM read_parquet($file) WHERE {condition}",
            {"day": day, "file": FLIGHTS_FILE},
        )

    return load


OF_DAY = "make_date(year, month, day) = $day"


def play_flights(load: LoadDay, timeline: Timeline) -> Iterator[str]:
    """The flights by day after each load."""
    query = "SELECT date, count(*), round(avg(delay), 2) FROM flights GROUP BY date ORDER BY date"
    with connected() as con:
        for step in timeline.steps:
            load(con, date(2013, 1, step.given))
            yield table_lines(con, query, "{}: {} flights, mean delay {} minutes", "flights")


LOAD_FLIGHTS = Exercise(
    id="12-flights",
    tier="enough",
    kind="function",
    asked="Write a function `load_flights(con, day)`. It brings the flights of a day, a date, from the file\n"
    '`datasets.path("flights")` into a table flights(airport, date, delay) of the DuckDB connection `con`, and makes'
    " the\ntable if there is none. Every flight that was planned is a row: the airport it was to leave from, the day in"
    " New\nYork, and `dep_delay` in minutes, which is NULL for a flight that was cancelled. A day may be loaded again.",
    play=play_flights,
    timelines=(
        Timeline("a day", (Step("1", "10 January is loaded", 10),)),
        Timeline(
            "two days, one of them twice",
            (
                Step("1", "10 January is loaded", 10),
                Step("2", "11 January is loaded", 11),
                Step("3", "10 January is loaded again", 10),
            ),
            hidden=True,
        ),
    ),
    start=load_flights_start,
    solution=load_flights,
    why="The day is replaced as a whole, as flights come by the day and have no key of their own here. Between BEGIN"
    " and COMMIT nobody sees the table without it.",
    beliefs=(
        Belief(
            "loads-happen-once",
            "a day is loaded once, so it may be appended. A retry or a backfill loads it again.",
            flights_where(OF_DAY, "SELECT 1"),
        ),
        Belief(
            "start-afresh",
            "an empty table is a safe start. A load that brings one day must leave the others.",
            flights_where(OF_DAY, "DELETE FROM flights"),
        ),
        Belief(
            "day-is-utc",
            "the day of an instant in UTC is the day. In New York the evening's flights are already tomorrow's in UTC.",
            flights_where("timezone('UTC', time_hour)::DATE = $day"),
        ),
        Belief(
            "cancelled-is-no-flight",
            "a row without a value is no row. A cancelled flight was planned, and counts; only its delay is unknown.",
            flights_where(f"{OF_DAY} AND dep_delay IS NOT NULL"),
        ),
    ),
    hints=(
        "What must be gone before the day's rows are inserted?",
        "The file has the columns year, month and day, of New York; `time_hour` is an instant.",
    ),
    misconceptions=(9,),
)

# --- summaries --------------------------------------------------------------------------------------------------------


def summaries() -> list[Summary]:
    return [
        Summary(
            "daily_weather",
            """SELECT airport, timezone('America/New_York', observed_at)::DATE AS date,
                      round(avg(temp), 1) AS temp, count(temp) AS hours
               FROM readings GROUP BY ALL""",
            key=["airport", "date"],
            output_checks=[checks.every("temp BETWEEN -60 AND 140"), checks.every("hours <= 25")],
        ),
        Summary(
            "daily_delays",
            """SELECT flights.airport, flights.date, count(*) AS flights, round(avg(delay), 1) AS delay,
                      any_value(temp) AS temp
               FROM flights LEFT JOIN daily_weather USING (airport, date) GROUP BY ALL""",
            key=["airport", "date"],
            output_checks=[checks.row_count(1)],
        ),
    ]


def summaries_start() -> list[Summary]:
    return []


def changed_summaries(before: str, after: str) -> Callable[[], list[Summary]]:
    """The summaries with a piece of their SQL replaced."""

    def make() -> list[Summary]:
        return [
            Summary(each.name, each.sql.replace(before, after), each.key, {}, each.output_checks)
            for each in summaries()
        ]

    return make


def unchecked_summaries() -> list[Summary]:
    return [Summary(each.name, each.sql) for each in summaries()]


def weather_text(con: Any) -> str:
    """The table `daily_weather`, a line a row."""
    query = "SELECT date, airport, temp, hours FROM daily_weather ORDER BY ALL"
    return table_lines(con, query, "{} {}: {} °F, {} hours", "daily_weather")


def delays_text(con: Any) -> str:
    """The table `daily_delays`, a line a row."""
    query = "SELECT date, airport, flights, delay, temp FROM daily_delays ORDER BY ALL"
    return table_lines(con, query, "{} {}: {} flights, {} minutes late, {} °F", "daily_delays")


def arrives(day: int, what: str, weather: bool = True, **faults: Any) -> Step:
    """A day's flights arrive, with or without its weather."""
    return Step(january(day), what, (day, weather, faults))


def play_summaries(make: Callable[[], list[Summary]], timeline: Timeline) -> Iterator[str]:
    """The summary tables, built anew after each step."""
    with WeatherApi(**all_faults(timeline)) as api, connected(READINGS) as con:
        for step in timeline.steps:
            day = date(2013, 1, step.given[0])
            load_flights(con, day)
            if step.given[1]:
                load_readings(con, readings_of(api.url, day))
            with suppress(CheckFailed):  # it leaves the old table, and that is what is looked at
                build_summaries(con, make())
            yield f"{weather_text(con)}\n{delays_text(con)}"


SUMMARIES = Exercise(
    id="12-summaries",
    tier="target",
    kind="function",
    asked="Write a function `summaries()` that gives a list of two `Summary`. They are built from the tables"
    " readings(airport,\nobserved_at, temp, updated_at) and flights(airport, date, delay):\n"
    "  daily_weather(airport, date, temp, hours): the mean temperature of a New York day, rounded to one digit, and how"
    "\n    many temperatures it is made of\n"
    "  daily_delays(airport, date, flights, delay, temp): how many flights, cancelled ones too; their mean delay,"
    " rounded\n    to one digit; and the temperature as in daily_weather, NULL where there is none\n"
    "No mean temperature outside -60 to 140 °F may reach a table: then the old table stays.",
    play=play_summaries,
    timelines=(
        Timeline("an ordinary day", (arrives(10, "the 10th is there, flights and weather"),)),
        Timeline(
            "no weather",
            (
                arrives(10, "the 10th is there, flights and weather"),
                arrives(11, "of the 11th there are flights only", weather=False),
            ),
            hidden=True,
        ),
        Timeline(
            "a broken sensor",
            (
                arrives(10, "the 10th is there, flights and weather"),
                arrives(11, "a sensor at JFK reported 9999 °F", revisions={january(11): [nonsense(11)]}),
            ),
            hidden=True,
        ),
    ),
    start=summaries_start,
    solution=summaries,
    why="`daily_delays` starts from the flights and asks what weather there is; so a day without weather is there. The"
    " checks look at each new table before it takes the old one's place.",
    beliefs=(
        Belief(
            "day-is-utc",
            "the date of an instant is its date in UTC. New York's day begins at 05:00 UTC in winter.",
            changed_summaries("timezone('America/New_York', observed_at)", "timezone('UTC', observed_at)"),
        ),
        Belief(
            "missing-is-zero",
            "what is missing is zero. A cancelled flight has no delay; as zero it makes the mean look better.",
            changed_summaries("avg(delay)", "avg(coalesce(delay, 0))"),
        ),
        Belief(
            "join-keeps-all",
            "a join keeps every row. An inner join drops the flights of a day without weather.",
            changed_summaries("LEFT JOIN", "JOIN"),
        ),
        Belief(
            "checks-are-for-tests",
            "data that comes from a service is right. A check before a table is shown keeps yesterday's table instead"
            " of nonsense.",
            unchecked_summaries,
        ),
    ),
    hints=(
        "`timezone('America/New_York', observed_at)::DATE` is the day of a reading.",
        "Which join keeps flights that have no weather?",
        '`output_checks=[checks.every("temp BETWEEN -60 AND 140")]` looks at the new table before it is shown.',
    ),
)

# --- what is missing --------------------------------------------------------------------------------------------------

MISSING_QUERY = """
WITH days AS (SELECT DISTINCT airport, date FROM flights),
     there AS (
         SELECT airport, timezone('America/New_York', observed_at)::DATE AS date, count(temp) AS hours
         FROM readings GROUP BY ALL
     )
SELECT date, airport,
       date_diff('hour', timezone('America/New_York', date::TIMESTAMP),
                         timezone('America/New_York', date + INTERVAL 1 DAY)) - coalesce(hours, 0) AS missing
FROM days LEFT JOIN there USING (airport, date)
WHERE missing > 0
"""
NOTHING_MISSING = "SELECT date, airport, 0 AS missing FROM flights LIMIT 0"
ALWAYS_24 = """
SELECT date, airport, 24 - coalesce(hours, 0) AS missing
FROM (SELECT DISTINCT airport, date FROM flights) LEFT JOIN (
    SELECT airport, timezone('America/New_York', observed_at)::DATE AS date, count(temp) AS hours
    FROM readings GROUP BY ALL
) USING (airport, date)
WHERE missing > 0
"""


def of_day(day: str, what: str, weather: bool = True) -> Step:
    """A day's flights arrive, with or without its weather."""
    return Step(day, what, (date.fromisoformat(day), weather))


def play_missing(query: str, timeline: Timeline) -> Iterator[str]:
    """What the query finds to be missing after each step."""
    ordered = f"SELECT date, airport, missing FROM ({query.strip().rstrip(';')}) ORDER BY ALL"
    with WeatherApi() as api, connected(READINGS) as con:
        for step in timeline.steps:
            day, weather = step.given
            load_flights(con, day)
            if weather:
                load_readings(con, readings_of(api.url, day))
            yield table_lines(con, ordered, "{} {}: missing {}", "the answer")


MISSING = Exercise(
    id="12-missing",
    tier="stretch",
    kind="SQL",
    asked="Write a query that finds the holes. Tables: readings(airport, observed_at, temp, updated_at) and"
    " flights(airport, date,\ndelay). For each airport and day that has flights: date, airport, and `missing`, the"
    " number of hours of that New York\nday without a temperature. Only where some are missing.",
    play=play_missing,
    timelines=(
        Timeline(
            "two days",
            (
                of_day("2013-01-06", "6 January is there; LGA was silent for an hour"),
                of_day("2013-01-07", "7 January is there"),
            ),
        ),
        Timeline(
            "no weather",
            (of_day("2013-01-08", "of 8 January there are flights only", weather=False),),
            hidden=True,
        ),
        Timeline(
            "the clocks change",
            (
                of_day("2013-03-10", "10 March is there: the clocks went forward"),
                of_day("2013-11-03", "3 November is there: the clocks went back"),
            ),
            hidden=True,
        ),
    ),
    start=NOTHING_MISSING,
    solution=MISSING_QUERY,
    why="What is missing cannot be found where it is missing: so the query starts from the days that must be there. How"
    " long a day is, the time zone says.",
    beliefs=(
        Belief(
            "what-is-missing-shows",
            "a table shows what it lacks. A day without any reading has no row to be counted in.",
            MISSING_QUERY.replace("LEFT JOIN", "JOIN"),
        ),
        Belief(
            "24-hours",
            "a day has 24 hours. In New York one has 23 and one has 25, when the clocks change.",
            ALWAYS_24,
        ),
    ),
    hints=(
        "Which table tells what must be there?",
        "How many hours lie between one midnight in New York and the next?",
    ),
    misconceptions=(8,),
)
