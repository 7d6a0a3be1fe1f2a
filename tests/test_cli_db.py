"""`etlkit db …` and the commands that use the metadata database, on a SQLite file and on a PostgreSQL."""

import os
import shutil

import pytest

from etlkit.cli import cli
from etlkit.scheduler_lock import scheduled_by
from etlkit.store import Store
from tests.servers import PASSWORD, postgres

SMALL = """
from datetime import UTC, datetime
from etlkit import DAG, task

with DAG("small", start_date=datetime(2013, 1, 1, tzinfo=UTC), schedule="@daily", catchup=False):
    @task
    def say(ds=None):
        print("it is", ds)
        return ds
    say()
"""

SETTING = "ETLKIT__DATABASE__SQL_ALCHEMY_CONN"


@pytest.fixture(params=["sqlite", "postgresql"])
def small(etlkit, request, monkeypatch):
    """The DAG `small`; `small.url` is the metadata database, which has no tables yet."""
    etlkit.dag_file("small.py", SMALL)
    etlkit.url = f"sqlite:///{etlkit.home}/etlkit.db"
    if request.param == "postgresql":
        server = postgres()
        etlkit.url = server.url(server.create_database("cli"))
        monkeypatch.setenv(SETTING, etlkit.url)
        etlkit.environ[SETTING] = etlkit.url
    return etlkit


@pytest.fixture
def pg_dump():
    if shutil.which("pg_dump") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("pg_dump is not on the PATH")


def name(small):
    return small("db", "path").stdout.strip()


def load(small, day):
    small.json("dags", "backfill", "small", "-s", f"2013-01-{day:02}", "-e", f"2013-01-{day:02}")


def loaded(small):
    return sorted(run["logical_date"][8:10] for run in small.json("dags", "list-runs", "small"))


def test_every_command_of_a_day(small):
    load(small, 1)
    assert loaded(small) == ["01"]
    assert small("dags", "pause", "small").exit_code == 0
    assert small("dags", "trigger", "small").exit_code == 0
    (row,) = small.json("dags", "list")
    assert row["is_paused"] is True
    assert "paused" in small("dags", "why", "small").stdout
    assert [row["state"] for row in small.json("tasks", "states-for-dag-run", "small", "2013-01-01")] == ["success"]
    assert "it is 2013-01-01" in small("logs", "show", "small", "say", "2013-01-01").stdout


def test_migrate_creates_and_then_finds_nothing_to_do(small):
    assert small("db", "migrate").stdout == f"metadata database {name(small)} is ready: its tables have version 0002\n"
    assert (
        small("db", "migrate").stdout
        == f"metadata database {name(small)} was up to date: its tables have version 0002\n"
    )
    store = Store(small.url)
    store.run_sql("UPDATE alembic_version SET version_num = '9999'")
    store.close()
    for words in (["db", "migrate"], ["db", "check"], ["dags", "list-runs", "small"]):
        assert "have version 9999, this etlkit knows up to 0002; update etlkit" in small.refused(*words)


def test_check(small):
    load(small, 1)
    assert small("db", "check").stdout == (
        f"metadata database {name(small)} is in order: "
        "1 DAGs, 1 runs, tables of version 0002; nobody schedules it now\n"
    )
    assert small.json("db", "check") == [
        {"database": name(small), "version": "0002", "integrity": "ok", "dags": 1, "runs": 1, "scheduler": None}
    ]
    assert PASSWORD not in name(small)


def test_one_scheduler_at_a_time_which_check_names(small):
    assert small("db", "init").exit_code == 0
    process = small.start("scheduler")
    store = Store(small.url)
    small.wait_for(lambda: scheduled_by(store))
    assert f"scheduled by process {process.pid}" in small("db", "check").stdout
    for words in (["scheduler"], ["db", "reset", "--yes"]):
        assert f"is scheduled by process {process.pid}" in small(*words).stderr
    process.kill()
    process.communicate()
    small.started.remove(process)
    small.wait_for(lambda: scheduled_by(store) is None)
    store.close()
    load(small, 1)


def test_backup_and_restore(small, pg_dump):
    load(small, 1)
    copy = small.home / "monday.db"
    assert small("db", "backup", copy).stdout == f"metadata database {name(small)} is copied to {copy}\n"
    assert small.refused("db", "backup", copy).startswith(f"{copy} exists already")
    load(small, 2)
    said = small("db", "restore", copy).stdout
    assert said.startswith(f"metadata database {name(small)} is what {copy} held; what it held before is in ")
    assert loaded(small) == ["01"]
    assert small("db", "restore", said.split()[-1]).exit_code == 0
    assert loaded(small) == ["01", "02"]
    assert "there is no backup" in small.refused("db", "restore", small.home / "missing")


def test_a_restore_waits_for_nobody_who_schedules(small, pg_dump):
    load(small, 1)
    copy = small.home / "monday.db"
    small("db", "backup", copy)
    process, store = small.start("scheduler"), Store(small.url)
    small.wait_for(lambda: scheduled_by(store))
    assert f"is scheduled by process {process.pid}" in small.refused("db", "restore", copy)
    store.close()


def test_clean(small):
    for day in (1, 2):
        load(small, day)
    words = ("db", "clean", "--before", "2999-01-01")
    everything = (
        "2 runs, 2 task instances, 0 earlier tries, 2 XComs, 0 decisions, 2 backfills, 0 events of assets, 2 logs\n"
    )
    assert small(*words, "--dag-id", "other").stdout.startswith("deleted 0 runs, 0 task instances")
    assert small(*words, "--dry-run").stdout == f"would delete {everything}"
    assert loaded(small) == ["01", "02"]
    assert small("db", "clean", "--before", "2013-01-01").stdout.startswith("deleted 0 runs")
    assert small(*words).stdout == f"deleted {everything}"
    assert loaded(small) == []
    assert list((small.home / "logs").rglob("attempt=*.log")) == []
    assert "Missing option '--before'" in small.refused("db", "clean")


def test_reset(small):
    load(small, 1)
    assert small("db", "reset", "--yes").exit_code == 0
    assert loaded(small) == []


@pytest.mark.parametrize("command", ["check", "backup", "clean"])
def test_what_only_looks_makes_no_database(etlkit, command):
    words = {"backup": [etlkit.home / "monday.db"], "clean": ["--before", "2013-01-01"]}.get(command, [])
    assert "there is no metadata database" in etlkit.refused("db", command, *words)
    assert list(etlkit.home.glob("*.db")) == []


@pytest.mark.parametrize(
    "words", [["db", "check"], ["db", "migrate"], ["db", "backup", "x"], ["dags", "list-runs", "small"], ["scheduler"]]
)
def test_a_server_that_cannot_be_reached_is_one_line_without_the_password(etlkit, monkeypatch, words):
    etlkit.dag_file("small.py", SMALL)
    monkeypatch.chdir(etlkit.home)
    monkeypatch.setenv(SETTING, postgres()._replace(host="/nowhere").url("etl"))
    line = etlkit.refused(*words)
    assert "/nowhere" in line
    assert PASSWORD not in line


def test_settings_and_single_tasks_on_every_database(small):
    small("variables", "set", "airports", '["JFK"]', "--json")
    small("variables", "set", "api_key", "26115rows")
    small("connections", "add", "web", "--conn-uri", "http://anna:26115@example.org")
    small("pools", "set", "narrow", 1)
    assert [row["value"] for row in small.json("variables", "list")] == [["JFK"], "***"]
    assert small.json("connections", "get", "web")["password"] == "***"
    assert [row["pool"] for row in small.json("pools", "list")] == ["default_pool", "narrow"]
    assert small("rotate-fernet-key").stdout.startswith("3 values")
    assert small("variables", "get", "api_key", "--include-secrets").stdout == "26115rows\n"
    assert small.json("tasks", "run", "small", "say", "2013-01-01")["state"] == "success"
    assert small("dags", "state", "small", "2013-01-01").stdout == "success\n"
    assert len(small.json("tasks", "clear", "small", "-y")) == 1
    assert small("tasks", "state", "small", "say", "2013-01-01").stdout == "None\n"
    assert small.json("tasks", "run", "small", "say", "2013-01-01")["try_number"] == 2
    assert small("pools", "delete", "narrow").exit_code == 0
    assert small("dags", "delete", "small", "-y").stdout == "DAG 'small' is forgotten, with 1 runs and 2 logs\n"
    assert small.json("dags", "list-runs", "small") == []


def test_names_of_every_database_are_completed(small):
    from etlkit.cli.completion import run_ids, variable_keys

    small("variables", "set", "airport", "JFK")
    load(small, 1)
    with cli.make_context("etlkit", ["version"]) as context:
        context.params["dag_id"] = "small"
        assert variable_keys(context, None, "air") == ["airport"]
        assert run_ids(context, None, "back") == ["backfill__2013-01-02T00:00:00+00:00"]
