"""What a merge costs: time and peak memory, each against SQL that does the same.

Run it with `python -m tests.benchmarks.merge`. Every job is a process of its own, which opens a fresh copy of one
database file, so that nothing is warm and the peak of its memory is its own. The jobs are run in turn, a round of all
jobs at a time; a ratio is that of two jobs of the same round, and its median over the rounds is what counts.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import duckdb

from .measure import Ratio, machine

ROWS = 10_000_000
KEY = ("station", "observed_at")


class Cost(NamedTuple):
    seconds: float
    megabytes: float


def make_database(path: Path, rows: int) -> None:
    """`hourly`: one row per station and hour; `new_rows`: 1 % as many, half of them for keys that are there."""
    with duckdb.connect(str(path)) as con:
        con.execute(
            f"""CREATE TABLE hourly AS SELECT
                'K' || lpad((i % 1000)::VARCHAR, 3, '0') AS station,
                TIMESTAMP '2013-01-01' + INTERVAL 1 HOUR * (i // 1000) AS observed_at,
                (hash(i) % 1000) / 10.0::DOUBLE AS temperature,
                (hash(i + 1) % 100)::DOUBLE AS humidity,
                (hash(i + 2) % 360)::INTEGER AS wind_direction,
                observed_at + INTERVAL 20 MINUTE AS updated_at
            FROM range({rows}) AS numbers(i)"""
        )
        con.execute(
            f"""CREATE TABLE new_rows AS SELECT
                station,
                observed_at + INTERVAL 1 HOUR * CASE WHEN hash(station, observed_at) % 2 = 0 THEN 0 ELSE {rows} END
                    AS observed_at,
                temperature + 1 AS temperature, humidity, wind_direction, updated_at + INTERVAL 1 DAY AS updated_at
            FROM hourly WHERE hash(observed_at, station, 7) % 100 = 0"""
        )


COPY = "CREATE TABLE copy AS FROM hourly"
TIES = "updated_at DESC, temperature DESC, humidity DESC, wind_direction DESC"
PICK = f"""DELETE FROM staging WHERE rowid IN (
    SELECT rowid FROM staging
    WHERE (station, observed_at) IN (
        SELECT station, observed_at FROM staging GROUP BY station, observed_at HAVING count(*) > 1)
    QUALIFY ROW_NUMBER() OVER (PARTITION BY station, observed_at ORDER BY {TIES}) > 1)"""
STAGING_AS_TAUGHT = [
    "CREATE TEMP TABLE staging AS FROM hourly",
    "INSERT INTO staging FROM new_rows",
    "DELETE FROM hourly",
    f"""INSERT INTO hourly SELECT * EXCLUDE place FROM (
        SELECT *, ROW_NUMBER() OVER (PARTITION BY station, observed_at ORDER BY {TIES}) AS place FROM staging
    ) WHERE place = 1""",
    "DROP TABLE staging",
]
STAGING_RENAMED = [
    "CREATE TEMP TABLE staging AS FROM hourly",
    "INSERT INTO staging FROM new_rows",
    PICK,
    "CREATE TABLE next AS FROM staging",
    "DROP TABLE hourly",
    "ALTER TABLE next RENAME TO hourly",
    "DROP TABLE staging",
]
STAGING = [
    "CREATE TEMP TABLE staging AS FROM hourly",
    "INSERT INTO staging FROM new_rows",
    PICK,
    "DELETE FROM hourly",
    "INSERT INTO hourly FROM staging",
    "DROP TABLE staging",
]
INCREMENTAL = [
    "CREATE TEMP TABLE staging AS FROM hourly SEMI JOIN new_rows USING (station, observed_at)",
    "INSERT INTO staging FROM new_rows",
    PICK,
    "DELETE FROM hourly USING staging"
    " WHERE hourly.station = staging.station AND hourly.observed_at = staging.observed_at",
    "INSERT INTO hourly FROM staging",
    "DROP TABLE staging",
]


def by_hand(*script: str) -> Callable[[duckdb.DuckDBPyConnection], None]:
    """A job that runs SQL in one transaction."""

    def job(con: duckdb.DuckDBPyConnection) -> None:
        for statement in ("BEGIN", *script, "COMMIT"):
            con.execute(statement)

    return job


def by_merge(**options: str) -> Callable[[duckdb.DuckDBPyConnection], None]:
    """A job that calls `merge`."""

    def job(con: duckdb.DuckDBPyConnection) -> None:
        from etlkit.warehouse import merge

        merge(con, "hourly", "FROM new_rows", key=KEY, order_by="updated_at", **options)

    return job


JOBS = {  # what is compared stands side by side, and so runs right after each other
    "incremental by hand": by_hand(*INCREMENTAL),
    "incremental": by_merge(strategy="incremental"),
    "copy": by_hand(COPY),
    "staging by hand, as taught": by_hand(*STAGING_AS_TAUGHT),
    "staging": by_merge(strategy="staging"),
    "staging by hand": by_hand(*STAGING),
    "staging by hand, renamed": by_hand(*STAGING_RENAMED),
    "staging, renamed": by_merge(strategy="staging", swap="drop-rename"),
}


def merges(rows: int = ROWS, rounds: int = 5) -> list[Ratio]:
    """The lines of the benchmark table."""
    return list(ratios(measure(rows, rounds)))


def measure(rows: int, rounds: int) -> dict[str, list[Cost]]:
    """What each job cost in each round."""
    with tempfile.TemporaryDirectory() as directory:
        original, copy = Path(directory, "original.duckdb"), Path(directory, "copy.duckdb")
        make_database(original, rows)
        costs: dict[str, list[Cost]] = {name: [] for name in JOBS}
        for _ in range(rounds):
            for name in JOBS:
                shutil.copyfile(original, copy)
                costs[name].append(_in_a_process(name, copy))
    return costs


def ratios(costs: dict[str, list[Cost]]) -> Iterator[Ratio]:
    """Each job against the one that it is measured by."""

    def median(job: str, field: str) -> float:
        return statistics.median(getattr(cost, field) for cost in costs[job])

    def ratio(what: str, job: str, base: str, field: str, target: float) -> Ratio:
        pairs = zip(costs[job], costs[base], strict=True)
        value = statistics.median(getattr(a, field) / getattr(b, field) for a, b in pairs)
        detail = f"{median(job, field):.2f} {field} against {median(base, field):.2f}"
        return Ratio(what, value, target, detail)

    best = min("staging by hand", "staging by hand, as taught", key=lambda job: median(job, "seconds"))
    yield ratio("merge, staging, against the best SQL by hand", "staging", best, "seconds", 1.1)
    yield ratio("the same with drop-rename", "staging, renamed", "staging by hand, renamed", "seconds", 1.1)
    yield ratio("merge, incremental, against CREATE TABLE AS", "incremental", "copy", "seconds", 0.6)
    for job in ("staging", "incremental"):
        yield ratio(f"peak memory of merge, {job}, against SQL by hand", job, f"{job} by hand", "megabytes", 1.2)


def _in_a_process(job: str, database: Path) -> Cost:
    command = [sys.executable, "-m", "tests.benchmarks.merge", "--job", job, "--database", str(database)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return Cost(**json.loads(done.stdout))


def _run_job(name: str, database: str) -> None:
    import etlkit.warehouse  # noqa: F401  (its import is not what is measured)

    with duckdb.connect(database) as con:
        start = perf_counter()
        JOBS[name](con)
        seconds = perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"seconds": seconds, "megabytes": peak / (1024 if sys.platform == "linux" else 1024**2)}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--job", help=argparse.SUPPRESS)
    parser.add_argument("--database", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        _run_job(options.job, options.database)
        return
    print(f"{machine()}, DuckDB {duckdb.__version__}")
    costs = measure(options.rows, options.rounds)
    for name, runs in costs.items():
        cost = Cost(*map(statistics.median, zip(*runs, strict=True)))
        print(f"{name:28} {cost.seconds:7.2f} s {cost.megabytes:8.0f} MB")
    print(*ratios(costs), sep="\n")


if __name__ == "__main__":
    main()
