"""`etlkit demo`: a real pipeline, end to end, in a few seconds.

The scheduler runs the DAG of `etlkit.example_dags.weather` for January 2013, one run a day, on a simulated clock. On
the way the source is out once and a reading is revised late; at the end a week is loaded again. Every number printed is
the answer to a query on the two databases that are left in the folder.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pendulum

from etlkit.clock import wall_seconds
from etlkit.dag import DAG
from etlkit.errors import EtlkitError
from etlkit.example_dags import weather
from etlkit.lab import Lab
from etlkit.sources import DailyWeather, Revision

NEW_YORK = "America/New_York"
START, END = pendulum.datetime(2013, 1, 1, tz=NEW_YORK), pendulum.datetime(2013, 2, 1, tz=NEW_YORK)
OUTAGES: dict[date | str, int] = {"2013-01-08": 1}
REVISIONS: dict[date | str, list[Revision]] = {
    "2013-01-15": [Revision("JFK", datetime(2013, 1, 15, 19, tzinfo=UTC), 41.0)]
}
WEEK = pendulum.datetime(2013, 1, 14, tz=NEW_YORK), pendulum.datetime(2013, 1, 20, tz=NEW_YORK)

METADATA, WAREHOUSE, CHART, LOGS = "etlkit.db", "warehouse.duckdb", "weather.png", "logs"
OURS = {
    METADATA,
    f"{METADATA}-wal",
    f"{METADATA}-shm",
    f"{METADATA}.scheduler-lock",
    WAREHOUSE,
    f"{WAREHOUSE}.wal",
    CHART,
    LOGS,
}
"""What a demo leaves behind, also one that was killed."""

Fact = tuple[str, Any, str]
"""What is counted, the count, and a remark."""


def main(folder: str | Path = "etlkit-demo") -> None:
    """Run the demo into `folder`, which is made anew, and print what happened, where it is, and what to do next.

    EtlkitError if the folder holds files that no demo made.
    """
    folder = Path(folder)
    _make_anew(folder)
    print("New York's weather of January 2013, from the source to the warehouse\n")
    began = wall_seconds()
    dag = weather.weather(DailyWeather(outages=OUTAGES, revisions=REVISIONS))
    database = f"sqlite:///{folder / METADATA}"
    with Lab(START, database=database, warehouse=folder / WAREHOUSE, logs=folder / LOGS) as lab:
        lab.add(dag).run_until(END)
        print(f"The scheduler ran {' >> '.join(dag.topological_order())} once a day, at midnight,")
        print(f"on a simulated clock: a month in {wall_seconds() - began:.1f} s.\n")
        for fact in (*_what_ran(lab), *_what_was_read(lab), *_what_is_there(lab)):
            _print_fact(fact)
        _load_again(lab, dag)
        _draw(lab, folder / CHART)
    _print_places(folder)
    _print_next_steps()


def _make_anew(folder: Path) -> None:
    """An empty folder; what is deleted is only what an earlier demo left."""
    if folder.is_file():
        raise EtlkitError(f"{folder} is a file; name a folder: etlkit demo FOLDER")
    if folder.exists():
        others = sorted({path.name for path in folder.iterdir()} - OURS)
        if others:
            raise EtlkitError(
                f"{folder} holds {others[0]!r}, which no demo made; name a new folder: etlkit demo FOLDER"
            )
        shutil.rmtree(folder)
    folder.mkdir(parents=True)


# --- the facts, each the answer to a query ----------------------------------------------------------------------------


def _what_ran(lab: Lab) -> Iterator[Fact]:
    ask = lab.store.run_sql
    states = ask("SELECT state, count(*) FROM dag_run GROUP BY state ORDER BY state").fetchall()
    yield "runs", sum(count for _, count in states), ", ".join(f"{count} {state}" for state, count in states)
    tasks, tries = ask("SELECT count(*), sum(try_number) FROM task_instance").fetchone()
    yield "tries", tries, f"of {tasks} tasks"
    retried = ask(
        """SELECT t.task_id, substr(r.logical_date, 1, 10), h.error, t.state, t.start_date, h.end_date
           FROM task_instance_history h JOIN task_instance t ON t.id = h.task_instance_id
           JOIN dag_run r ON r.id = t.dag_run_id ORDER BY h.id"""
    )
    for task_id, day, error, state, *times in retried:
        again, failed = map(datetime.fromisoformat, times)
        minutes = (again - failed) // timedelta(minutes=1)
        for line in textwrap.wrap(f"{task_id} of {day}: {error}", width=49):
            yield "", "", line
        yield "", "", f"tried again {minutes} minutes later: {state}"


def _what_was_read(lab: Lab) -> Iterator[Fact]:
    counts = "SELECT sum(value ->> 'read'), sum(value ->> 'duplicates') FROM xcom WHERE task_id = 'extract'"
    read, duplicates = lab.store.run_sql(counts).fetchone()
    yield "rows read", read, "hourly readings at three airports"
    airport, hour, temp = lab.warehouse.execute(
        f"""SELECT airport, strftime(timezone('{NEW_YORK}', observed_at), '%Y-%m-%d %H:%M'), temp
            FROM readings ORDER BY updated_at - observed_at DESC LIMIT 1"""
    ).fetchone()  # type: ignore[misc]
    yield "duplicates removed", duplicates, f"{airport} at {hour}, revised to {temp} °F"


def _what_is_there(lab: Lab) -> Iterator[Fact]:
    rows, airports, days = lab.warehouse.execute(
        "SELECT count(*), count(DISTINCT airport), count(DISTINCT date) FROM daily_weather"
    ).fetchone()  # type: ignore[misc]
    yield "rows in the table", rows, f"one for each of {airports} airports and {days} days"
    for name, order in (("coldest day", "low"), ("warmest day", "high DESC")):
        extreme = f"SELECT {order.split()[0]}, date, airport FROM daily_weather ORDER BY {order}, date, airport LIMIT 1"
        temp, day, airport = lab.warehouse.execute(extreme).fetchone()  # type: ignore[misc]
        yield name, f"{temp} °F", f"{day} at {airport}"


def _load_again(lab: Lab, dag: DAG) -> None:
    """Backfill a week that is there already, and count the rows that are not as they were."""
    rows = "SELECT * FROM daily_weather"
    before = set(lab.warehouse.execute(rows).fetchall())
    plan = lab.backfill(dag, *WEEK, reprocess="completed")
    after = set(lab.warehouse.execute(rows).fetchall())
    first, last = (day.to_date_string() for day in WEEK)
    _print_fact(("loaded again", f"{len(plan.dates)} days", f"{first} to {last}, by a backfill"))
    _print_fact(("rows changed by it", len(before ^ after), f"of {len(after)}"))


def _draw(lab: Lab, file: Path) -> None:
    from etlkit import viz

    days = lab.warehouse.execute("SELECT airport, date, mean, low, high FROM daily_weather").fetchall()
    viz.temperatures(days, "New York's airports by day, January 2013").savefig(file, dpi=150)


# --- on the terminal --------------------------------------------------------------------------------------------------


def _print_fact(fact: Fact) -> None:
    name, value, remark = fact
    number = f"{value:,}" if isinstance(value, int) else value
    print(f"  {name:<18} {number:>8}  {remark}".rstrip())


def _print_places(folder: Path) -> None:
    places = {
        CHART: "the chart",
        WAREHOUSE: "DuckDB: tables daily_weather, readings",
        METADATA: "SQLite: runs, tries, XComs, decisions",
        LOGS: "what each try printed",
    }
    print("\nLook at")
    width = max(len(str(folder / name)) for name in places)
    for name, what in places.items():
        print(f"  {folder / name!s:<{width}}  {what}")


def _print_next_steps() -> None:
    program, dags = _program(), _shortest(Path(weather.__file__).parent)
    print("\nWhat to do next")
    if Path("notebooks/00_start_here.ipynb").exists():
        print("  make lab")
    print(f"  {program} dags show weather -S {dags}")
    print(f"  {program} dags test weather 2013-01-15 -S {dags}")


def _program() -> str:
    """How to call `etlkit` from here: as it is on PATH, or beside this Python."""
    if shutil.which("etlkit"):
        return "etlkit"
    return str(_shortest(Path(sys.executable).parent / "etlkit"))


def _shortest(path: Path) -> Path:
    """`path` from the working directory if it lies below, else in full."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
