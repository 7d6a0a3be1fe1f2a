"""New York's weather, one day at a time: each day's mean, lowest and highest temperature at three airports.

    extract    the day's raw hourly readings, into the table `readings`: one row per airport and hour
    transform  reduces them to one row per airport
    load       merges that into the table `daily_weather`: one row per airport and date

Every task can be run again without harm. `merge` keeps one row per key, the newest, so a reading that arrives twice
counts once, and a day that is loaded twice changes nothing. What tasks hand to each other is small: the readings stay
in the warehouse.
"""

from datetime import timedelta

import pendulum

from etlkit import DAG, task
from etlkit.sources import DailyWeather
from etlkit.warehouse import merge

READINGS = """
    CREATE TABLE IF NOT EXISTS readings (
        airport VARCHAR, observed_at TIMESTAMPTZ, temp DOUBLE PRECISION, updated_at TIMESTAMPTZ,
        PRIMARY KEY (airport, observed_at)
    )
"""

DAILY_WEATHER = """
    CREATE TABLE IF NOT EXISTS daily_weather (
        airport VARCHAR, date DATE,
        mean DOUBLE PRECISION, low DOUBLE PRECISION, high DOUBLE PRECISION, hours INTEGER, updated_at TIMESTAMPTZ,
        PRIMARY KEY (airport, date)
    )
"""

# A mean of floats may be a hair off, in each database another; so it is rounded as a decimal number.
REDUCE = """
    SELECT
        airport, $day::DATE AS date,
        round(avg(temp)::DECIMAL(12, 6), 1)::DOUBLE PRECISION AS mean, min(temp) AS low, max(temp) AS high,
        count(temp) AS hours, max(updated_at) AS updated_at
    FROM readings
    WHERE timezone('America/New_York', observed_at)::DATE = $day::DATE
    GROUP BY airport
    ORDER BY airport
"""


def weather(source: DailyWeather) -> DAG:
    """The pipeline, reading from `source`. A day is New York's, from midnight to midnight there."""
    with DAG(
        "weather",
        description="New York's temperatures by day",
        schedule="@daily",
        start_date=pendulum.datetime(2013, 1, 1, tz="America/New_York"),
        catchup=True,
        default_args={"retries": 2, "retry_delay": timedelta(minutes=30)},
        tags=["example"],
    ) as dag:

        @task
        def extract(ds, warehouse):
            readings = [(r.airport, r.observed_at, r.temp, r.updated_at) for r in source.extract(ds)]
            warehouse.execute(READINGS)
            report = merge(warehouse, "readings", readings, key=["airport", "observed_at"], order_by="updated_at")
            print(report)
            return {"read": report.new, "duplicates": report.duplicates}

        @task
        def transform(extracted, ds, warehouse):
            print(f"{ds}: {extracted['read']} readings, {extracted['duplicates']} of them twice")
            return warehouse.execute(REDUCE, {"day": ds}).fetchall()

        @task
        def load(days, warehouse):
            warehouse.execute(DAILY_WEATHER)
            print(merge(warehouse, "daily_weather", days, key=["airport", "date"], order_by="updated_at"))

        load(transform(extract()))
    return dag


weather_dag = weather(DailyWeather())
