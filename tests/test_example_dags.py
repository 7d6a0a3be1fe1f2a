"""The example DAGs do what they say, on real data."""

import json
import os
import re
from pathlib import Path

import pytest

from etlkit import DAG, Cluster, Connection, Lab, LocalExecutor, datasets, example_dags, task
from etlkit.dag_files import load_dag_file
from etlkit.example_dags import weather_many_nodes
from etlkit.example_dags.weather import weather
from etlkit.hooks import BaseHook
from etlkit.servers import wait_until
from etlkit.sources import DailyWeather, Revision
from etlkit.warehouse import connect
from tests.engine import at
from tests.servers import postgres, redis

FILES = sorted(path for path in Path(example_dags.__file__).parent.glob("*.py") if path.stem != "__init__")
ROWS = "SELECT airport, CAST(date AS VARCHAR), mean, low, high, hours FROM daily_weather ORDER BY date, airport"


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_an_example_is_a_dag_file_that_loads(file, own_imports):
    assert load_dag_file(file)


def run(until, start="2013-01-01 05:00", **faults):
    """A lab in which the weather pipeline ran until then."""
    return Lab(start=start).add(weather(DailyWeather(**faults))).run_until(until)


def rows(lab):
    return lab.warehouse.execute(ROWS).fetchall()


def reduced(frame):
    """What the pipeline should make of the data set, by another way."""
    by_day = frame.groupby([frame["month"], frame["day"], "origin"])["temp"]
    stats = by_day.agg(["mean", "min", "max", "count"]).sort_index()
    return [
        (airport, f"2013-{month:02}-{day:02}", pytest.approx(mean, abs=0.0501), low, high, count)
        for (month, day, airport), (mean, low, high, count) in zip(stats.index, stats.values.tolist(), strict=True)
    ]


def test_weather_is_the_data_reduced_by_day_and_airport():
    january = datasets.weather().query("month == 1 and day <= 12")
    assert rows(run("2013-01-13 05:00")) == reduced(january)


def test_weather_knows_that_a_day_may_have_23_hours():
    lab = Lab(start="2013-03-12").add(weather(DailyWeather()))
    lab.pause()
    lab.backfill("weather", "2013-03-10", "2013-03-11")
    assert rows(lab) == reduced(datasets.weather().query("month == 3 and day == 10"))
    assert {hours for *_, hours in rows(lab)} == {23}


def test_weather_is_tried_again_and_gives_up_after_three_tries():
    lab = run("2013-01-04 05:00", outages={"2013-01-02": 3})
    states = lab.task_instances()[["state", "try_number"]].values.tolist()
    assert states[3:6] == [["failed", 3], ["upstream_failed", 0], ["upstream_failed", 0]]
    assert [day for _, day, *_ in rows(lab)] == ["2013-01-01"] * 3 + ["2013-01-03"] * 3
    lab.clear(run="2013-01-02")
    assert lab.runs()["state"].tolist() == ["success"] * 3
    assert rows(lab) == rows(run("2013-01-04 05:00"))


def test_weather_keeps_the_newest_of_two_readings():
    lab = run("2013-01-03 05:00", revisions={"2013-01-02": [Revision("JFK", at(2, 19), 80.0)]})
    assert lab.xcoms().query("task_id == 'extract'")["value"].tolist() == [
        {"read": 67, "duplicates": 0},
        {"read": 73, "duplicates": 1},
    ]
    assert {airport: high for airport, day, _, _, high, _ in rows(lab) if day == "2013-01-02"}["JFK"] == 80.0


def test_weather_may_run_in_any_order_and_again():
    forwards = run("2013-01-08 05:00")
    backwards = Lab(start="2013-01-08 06:00").add(weather(DailyWeather()), paused=True)
    backwards.backfill("weather", "2013-01-01", "2013-01-08", reverse=True)
    assert rows(backwards) == rows(forwards)
    backwards.backfill("weather", "2013-01-01", "2013-01-08", reprocess="completed")
    assert rows(backwards) == rows(forwards)


# --- by many workers --------------------------------------------------------------------------------------------------

DAYS = "2013-03-10", "2013-03-11"
"""Days that many workers load; the first has 23 hours."""


def tables(ask):
    return [ask(f"SELECT * FROM {name} ORDER BY 1, 2") for name in ("readings", "daily_weather")]


@pytest.fixture(scope="module")
def by_one_worker():
    with Lab(start="2013-12-31").add(weather(DailyWeather()), paused=True) as lab:
        lab.backfill("weather", *DAYS)
        return tables(lambda query: lab.warehouse.execute(query).fetchall())


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Where the DAGs of many workers find their warehouses."""

    def connection(name, value):
        monkeypatch.setenv(f"ETLKIT_CONN_{name}", value)

    monkeypatch.setenv("ETLKIT_VAR_WEATHER_FILES", str(tmp_path / "files"))
    connection("WEATHER_DUCKDB", json.dumps({"conn_type": "duckdb", "host": str(tmp_path / "weather.duckdb")}))
    return connection


WAYS = {dag.dag_id: dag for dag in load_dag_file(weather_many_nodes.__file__)}
WAREHOUSES = dict(zip(WAYS, ("weather_duckdb", "weather_duckdb", "weather_postgres"), strict=True))
"""The Connection that each way loads through."""


@pytest.mark.parametrize("way", WAYS)
def test_many_workers_leave_the_tables_that_one_leaves(way, places, by_one_worker):
    if way == "weather_postgres":
        places("WEATHER_POSTGRES", postgres().url(postgres().create_database("weather")))
    with Lab(start="2014-01-02", executor=LocalExecutor(3)) as lab:
        lab.add(WAYS[way]).set_pool("duckdb", 1).backfill(way, *DAYS)
        attempts = lab.sql("SELECT state, try_number, pid FROM task_instance")
    assert set(zip(attempts["state"], attempts["try_number"], strict=True)) == {("success", 1)}
    assert os.getpid() not in set(attempts["pid"])
    assert tables(BaseHook.get_hook(WAREHOUSES[way]).get_records) == by_one_worker


@pytest.fixture(scope="module")
def cluster():
    postgres(), redis()  # skips or fails if there are no servers
    with Cluster(workers=2) as cluster:
        cluster.add_dag_file(weather_many_nodes.__file__)
        cluster.store.set_pool("duckdb", 1)
        cluster.variables.set("weather_files", str(cluster.folder / "files"))
        url = cluster.postgres.url(cluster.postgres.create_database("weather"))
        cluster.connections.set(Connection.from_uri(url, "weather_postgres"))
        yield cluster


@pytest.mark.parametrize("way", WAYS)
def test_many_workers_of_celery_leave_them_too(way, cluster, by_one_worker):
    cluster.connections.set(Connection("weather_duckdb", "duckdb", host=str(cluster.folder / f"{way}.duckdb")))
    cluster.backfill(way, *DAYS)
    assert cluster.wait(way) == {"success": 2}
    assert tables(cluster.connections.get(WAREHOUSES[way]).get_hook().get_records) == by_one_worker


def test_a_day_by_many_workers_may_be_loaded_again(places, by_one_worker):
    with Lab(start="2014-01-02").add(WAYS["weather_files"]).set_pool("duckdb", 1) as lab:
        lab.backfill("weather_files", *DAYS, reverse=True)
        lab.backfill("weather_files", *DAYS, reprocess="completed")
    assert tables(BaseHook.get_hook("weather_duckdb").get_records) == by_one_worker


def test_tasks_that_find_the_file_open_wait_for_their_turn(by_one_worker):
    dag = load_dag_file(Path(weather_many_nodes.__file__).with_name("weather.py"))[0]
    with Lab(start="2013-12-31", executor=LocalExecutor(2)).add(dag, paused=True) as lab:
        lab.backfill(dag, *DAYS)
        assert set(lab.task_instances(all_tries=True)["state"]) == {"success"}
        assert tables(lambda query: lab.warehouse.execute(query).fetchall()) == by_one_worker


def test_two_workers_at_one_file_and_the_second_is_refused(tmp_path):
    file, opened, tried = (tmp_path / name for name in ("weather.duckdb", "opened", "tried"))
    with DAG("two") as two:

        @task
        def first():
            with connect(file):
                opened.touch()
                assert wait_until(tried.exists, 60)

        @task
        def second():
            assert wait_until(opened.exists, 60)
            try:
                connect(file).close()
            finally:
                tried.touch()

        first(), second()
    with Lab(start="2014-01-02", executor=LocalExecutor(2)) as lab:
        lab.add(two).trigger()
        errors = lab.task_instances().set_index("task_id")["error"]
    assert errors["first"] is None
    assert re.match(r"WarehouseError: .*weather\.duckdb is held by another process \(PID \d+\)", errors["second"])
