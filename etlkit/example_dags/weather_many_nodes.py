r"""The weather pipeline for many workers: tasks run at the same time, in several processes or on several computers.

While one process may write to a DuckDB file, no other can open it. There are three ways out, a DAG each, and all leave
the same tables `readings` and `daily_weather`:

    weather_one_slot   DuckDB; every task opens the file, and they take turns in the pool `duckdb`, which has one slot
    weather_files      DuckDB; a day becomes files, written by any worker, and `load`, alone in the pool, merges them
    weather_postgres   PostgreSQL, into which many may write: the tasks are those of weather_one_slot

The year that there is weather for is over, so nothing is due by itself: run them by a backfill. Once before:

    etlkit pools set duckdb 1 "one process at a time has the file"
    etlkit connections add weather_duckdb --conn-type duckdb --conn-host /data/weather.duckdb
    etlkit variables set weather_files /data/weather
    etlkit connections add weather_postgres --conn-type postgres --conn-host HOST --conn-schema DATABASE \
        --conn-login USER --conn-password -
    etlkit dags backfill weather_postgres -s 2013-01-01 -e 2013-01-31

The file and the folder must be on a disk that all workers have in common. PostgreSQL need not.
"""

from contextlib import closing
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import pendulum

from etlkit import DAG, Variable, task
from etlkit.example_dags.weather import DAILY_WEATHER, READINGS, REDUCE
from etlkit.hooks import BaseHook
from etlkit.sources import DailyWeather
from etlkit.warehouse import connect, merge

NEW_YORK = "America/New_York"


def days_of_2013(dag_id: str) -> DAG:
    """A DAG with a run for each day of the year, when somebody asks for it."""
    return DAG(
        dag_id,
        description="New York's temperatures by day, loaded by many workers",
        schedule="@daily",
        start_date=pendulum.datetime(2013, 1, 1, tz=NEW_YORK),
        end_date=pendulum.datetime(2013, 12, 30, tz=NEW_YORK),
        catchup=False,
        default_args={"retries": 2, "retry_delay": timedelta(seconds=10)},
        tags=["example"],
    )


def readings_of(day: str) -> list[tuple]:
    """What the source has of a day, in the columns of `readings`."""
    return [(r.airport, r.observed_at, r.temp, r.updated_at) for r in DailyWeather().extract(day)]


# A merge locks its table, so it should be short: an incremental one touches only the keys that come.
INCREMENTAL: Literal["incremental"] = "incremental"


def merge_readings(warehouse: Any, rows: Any) -> None:
    """Merge into `readings`; the report goes into the task's log."""
    key = ["airport", "observed_at"]
    print(merge(warehouse, "readings", rows, key=key, order_by="updated_at", strategy=INCREMENTAL))


def merge_days(warehouse: Any, rows: Any) -> None:
    """Merge into `daily_weather`; the report goes into the task's log."""
    key = ["airport", "date"]
    print(merge(warehouse, "daily_weather", rows, key=key, order_by="updated_at", strategy=INCREMENTAL))


def through_one_warehouse(dag_id: str, conn_id: str, pool: str) -> DAG:
    """Every task works in the warehouse, through a connection that it opens and closes."""
    with days_of_2013(dag_id) as dag:
        # PostgreSQL may fail one of two who create a table at the same time, in spite of IF NOT EXISTS.
        @task(pool=pool, max_active_tis_per_dag=1)
        def create_tables():
            BaseHook.get_hook(conn_id).run([READINGS, DAILY_WEATHER])

        @task(pool=pool)
        def extract(ds):
            merge_readings(BaseHook.get_hook(conn_id), readings_of(ds))

        @task(pool=pool)
        def transform(ds):
            hook = BaseHook.get_hook(conn_id)
            # Each driver has its own mark for the place of a value.
            return hook.get_records(REDUCE.replace("$day", hook.placeholder), parameters=[ds, ds])

        @task(pool=pool)
        def load(days):
            merge_days(BaseHook.get_hook(conn_id), days)

        days = transform()
        create_tables() >> extract() >> days
        load(days)
    return dag


def through_files(dag_id: str, conn_id: str, pool: str) -> DAG:
    """Extract and transform have a warehouse of their own, in memory, and leave files; load is the one writer."""
    with days_of_2013(dag_id) as dag:

        @task
        def extract(ds):
            with closing(connect()) as memory:
                memory.execute(READINGS)
                merge_readings(memory, readings_of(ds))
                return written(memory.sql("FROM readings ORDER BY ALL"), "readings", ds)

        @task
        def transform(readings, ds):
            with closing(connect()) as memory:
                memory.read_parquet(readings).create_view("readings")
                return written(memory.sql(REDUCE, params={"day": ds}), "daily_weather", ds)

        @task(pool=pool)
        def load(readings, days):
            hook = BaseHook.get_hook(conn_id)
            hook.run([READINGS, DAILY_WEATHER])
            merge_readings(hook, Path(readings))
            merge_days(hook, Path(days))

        readings = extract()
        load(readings, transform(readings))
    return dag


def written(rows, table: str, day: str) -> str:
    """The file of a table and a day, in the folder `weather_files`: all of it, or the one before, whatever happens."""
    folder = Path(Variable.get("weather_files"), table)
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder, prefix=".") as unfinished:
        rows.write_parquet(f"{unfinished}/rows.parquet")
        file = Path(unfinished, "rows.parquet").replace(folder / f"{day}.parquet")
    return str(file)


weather_one_slot = through_one_warehouse("weather_one_slot", "weather_duckdb", pool="duckdb")
weather_files = through_files("weather_files", "weather_duckdb", pool="duckdb")
weather_postgres = through_one_warehouse("weather_postgres", "weather_postgres", pool="default_pool")
