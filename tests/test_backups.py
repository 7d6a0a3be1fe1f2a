"""Backups of the metadata database: whole or not at all, while it is used, and back again."""

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from etlkit import models
from etlkit.backups import backup, restore
from etlkit.errors import MetadataError
from etlkit.runs import trigger_run
from etlkit.scheduler_lock import scheduling
from etlkit.store import Store
from etlkit.variables import Variables
from tests.engine import START, at, make_dag
from tests.servers import PASSWORD, postgres

NOW = at(8)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """A database that does not exist yet, or is empty."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/etl.db"
    if shutil.which("pg_dump") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("pg_dump is not on the PATH")
    server = postgres()
    return server.url(server.create_database("backups"))


@pytest.fixture
def file(tmp_path):
    return tmp_path / "monday.db"


@pytest.fixture
def open_store(url):
    """Opens a Store of the database, and closes it in the end."""
    opened = []

    def open_it(**kwargs):
        opened.append(Store(url, **kwargs))
        return opened[-1]

    yield open_it
    for store in opened:
        store.close()


def trigger(store, *run_ids):
    for run_id in run_ids:
        trigger_run(store, make_dag(edges="a >> b"), now=START, run_id=run_id, logical_date=None)


def ids(store):
    return [run.run_id for run in sorted(store.runs(), key=lambda run: run.id)]


def test_there_and_back_again(url, open_store, file, tmp_path):
    store = open_store()
    trigger(store, "before")
    backup(url, file)
    trigger(store, "after")
    version, kept = restore(url, file, now=NOW)
    assert version == models.SCHEMA_VERSION
    store = open_store()
    assert ids(store) == ["before"]
    trigger(store, "another")  # numbers of rows go on where they were
    assert [task.task_id for task in store.task_instances(store.run("d", "another").id)] == ["a", "b"]
    assert kept.name == ("etl.db" if store.is_sqlite else "monday.db") + ".before-restore-20130108T000000Z"
    restore(url, kept, now=NOW)
    assert ids(open_store()) == ["before", "after"]
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_a_backup_is_one_file_that_nobody_else_needs(tmp_path, file):
    url = f"sqlite:///{tmp_path}/etl.db"
    store = Store(url)
    trigger(store, "r")  # still in the write-ahead log
    backup(url, file)
    store.close()
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    shutil.move(file, moved / "copy.db")
    with closing(sqlite3.connect(f"file:{moved}/copy.db?mode=ro&immutable=1", uri=True)) as connection:
        assert connection.execute("SELECT run_id FROM dag_run").fetchall() == [("r",)]
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_it_can_be_restored_into_a_database_that_is_not_there(url, open_store, file, tmp_path):
    store = open_store()
    trigger(store, "r")
    backup(url, file)
    store.close()
    if store.is_sqlite:
        for path in tmp_path.glob("etl.db*"):
            path.unlink()
    else:
        postgres().create_database("backups")
    assert restore(url, file, now=NOW) == (models.SCHEMA_VERSION, None)
    assert ids(open_store()) == ["r"]


def test_others_who_have_it_open_see_what_was_restored(url, open_store, file):
    store = open_store()
    trigger(store, "before")
    backup(url, file)
    trigger(store, "after")
    store.changed_elsewhere()
    restore(url, file, now=NOW)
    assert store.changed_elsewhere()
    assert ids(store) == ["before"]
    trigger(store, "on")
    assert ids(open_store()) == ["before", "on"]


def test_an_existing_file_stays(url, open_store, file):
    open_store()
    file.write_text("mine")
    with pytest.raises(MetadataError, match=r"monday\.db exists already; name another file"):
        backup(url, file)
    assert file.read_text() == "mine"


def test_a_folder_that_does_not_exist(url, open_store, tmp_path):
    open_store()
    with pytest.raises(MetadataError, match=r"monday\.db cannot be written: there is no folder .*nowhere"):
        backup(url, tmp_path / "nowhere" / "monday.db")


def test_who_schedules_is_left_alone(url, open_store, file):
    store = open_store()
    trigger(store, "before")
    backup(url, file)
    trigger(store, "after")
    with scheduling(store, "a test"), pytest.raises(MetadataError, match=r"is scheduled by process .* \(a test\)"):
        restore(url, file, now=NOW)
    assert ids(store) == ["before", "after"]
    assert len(list(file.parent.glob("*before-restore*"))) == 0


def test_what_is_no_backup_changes_nothing(url, open_store, tmp_path):
    store = open_store()
    trigger(store, "r")
    text, other = tmp_path / "text", tmp_path / "other.db"
    text.write_text("airport,temp\n" * 500)
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE weather (temp)")
    for file in (text, other):
        with pytest.raises(MetadataError, match=r"not a database|holds no metadata database|not appear to be a valid"):
            restore(url, file, now=NOW)
    with pytest.raises(MetadataError, match="there is no backup"):
        restore(url, tmp_path / "missing", now=NOW)
    assert ids(store) == ["r"]


def test_a_backup_from_a_newer_etlkit_is_refused(url, open_store, file, monkeypatch):
    store = open_store()
    backup(url, file)
    monkeypatch.setattr(models, "SCHEMA_VERSION", "0000")
    with pytest.raises(MetadataError, match=r"monday\.db: its tables have version 0002, this etlkit knows up to 0000"):
        restore(url, file, now=NOW)
    assert store.pools() == {"default_pool": 128}


def test_secrets_are_in_it_as_they_are_stored(url, open_store, file):
    Variables(open_store()).set("api_token", "kanari-secret-9")
    backup(url, file)
    assert b"kanari-secret-9" not in file.read_bytes()
    assert b"kanari-secret-9" not in subprocess.run(["strings", file], capture_output=True, check=False).stdout


# --- SQLite -----------------------------------------------------------------------------------------------------------


def mode(path):
    return oct(stat.S_IMODE(path.stat().st_mode))


def test_only_its_owner_may_read_a_copy(url, open_store, file):
    trigger(open_store(), "r")
    backup(url, file)
    assert mode(file) == mode(restore(url, file, now=NOW).kept) == "0o600"


@pytest.fixture
def sqlite_url(tmp_path):
    return f"sqlite:///{tmp_path}/etl.db"


@pytest.mark.parametrize("damage", ["not a database", "a page of zeros", "cut off"])
def test_a_damaged_database_is_moved_aside_for_its_backup(sqlite_url, file, tmp_path, damage):
    store = Store(sqlite_url)
    trigger(store, "r")
    backup(sqlite_url, file)
    store.close()
    database = tmp_path / "etl.db"
    with database.open("r+b") as opened:
        if damage == "not a database":
            opened.write(b"nothing" * 20)
        elif damage == "a page of zeros":
            opened.seek(4096 * 3)
            opened.write(bytes(4096 * 3))
        else:
            opened.truncate(4096 * 5)
    damaged = database.read_bytes()
    database.chmod(0o640)  # for a group of people who use it
    with pytest.raises(MetadataError):
        backup(sqlite_url, tmp_path / "tuesday.db")
    assert not (tmp_path / "tuesday.db").exists()
    kept = restore(sqlite_url, file, now=NOW).kept
    assert kept.read_bytes() == damaged
    assert mode(database) == "0o640"
    store = Store(sqlite_url)
    assert ids(store) == ["r"]
    store.close()


def test_a_database_that_is_not_there_is_not_made(tmp_path, file):
    with pytest.raises(MetadataError, match=r"etl\.db cannot be opened"):
        backup(f"sqlite:///{tmp_path}/etl.db", file)
    assert list(tmp_path.iterdir()) == []


def test_a_database_in_memory_has_no_backups(file):
    with pytest.raises(MetadataError, match="in memory has no backups"):
        backup("sqlite://", file)


def test_another_program_s_database_is_not_overwritten(sqlite_url, file, tmp_path):
    Store(sqlite_url).close()
    backup(sqlite_url, file)
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        connection.execute("CREATE TABLE weather (temp)")
    before = (tmp_path / "other.db").read_bytes()
    with pytest.raises(MetadataError, match="holds no metadata database of etlkit"):
        restore(f"sqlite:///{tmp_path}/other.db", file, now=NOW)
    assert (tmp_path / "other.db").read_bytes() == before


def test_a_full_disk_leaves_no_half_of_a_backup(sqlite_url, tiny_disk):
    store = Store(sqlite_url)
    with store.transaction():
        for number in range(100):
            store.register_dag(f"d{number}", paused=False, fileloc="x" * 8000, schedule="", now=NOW)
    with pytest.raises(MetadataError, match="the disk is full"):
        backup(sqlite_url, tiny_disk / "monday.db")
    assert list(tiny_disk.iterdir()) == []
    store.close()


def test_a_backup_is_whole_while_others_write(sqlite_url, file):
    store = Store(sqlite_url)
    script = """if True:
        import sys
        from etlkit.store import Store
        store = Store(sys.argv[1])
        for number in range(10000):
            with store.transaction():
                store.set_pool("one", number)
                store.set_pool("two", number)
            if number == 10:
                print("going", flush=True)
    """
    with subprocess.Popen([sys.executable, "-c", script, sqlite_url], stdout=subprocess.PIPE) as writer:
        assert writer.stdout.readline() == b"going\n"
        backup(sqlite_url, file)
        assert writer.poll() is None, "it wrote too little"
        writer.kill()
    copy = Store(f"sqlite:///{file}")
    pools = copy.pools()
    assert pools["one"] == pools["two"] >= 10
    for each in (copy, store):
        each.close()


def test_a_database_that_another_process_holds_is_not_restored(tmp_path, sqlite_url, file):
    store = Store(sqlite_url)
    backup(sqlite_url, file)
    with store.transaction(), pytest.raises(MetadataError, match="is held by another process and stayed so"):
        restore(f"{sqlite_url}?timeout=0.05", file, now=NOW)
    assert store.pools() == {"default_pool": 128}
    store.close()


# --- PostgreSQL -------------------------------------------------------------------------------------------------------


def test_without_pg_dump_it_says_what_to_install(monkeypatch, file, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MetadataError, match="needs pg_dump, which is not on the PATH; install PostgreSQL's client"):
        backup("postgresql://etl:secret@h/etl", file)


def test_a_server_that_cannot_be_reached_is_one_line_without_the_password(file):
    with pytest.raises(MetadataError, match=r"connection to server .* failed") as refusal:
        backup(postgres()._replace(host="/nowhere").url("etl"), file)
    assert PASSWORD not in str(refusal.value)
    assert not file.exists()


def test_other_tables_of_the_same_database_are_not_touched(file, tmp_path):
    server = postgres()
    url = server.url(server.create_database("backups"))
    Store(url).close()
    with server.connect("backups", autocommit=True) as connection:
        connection.execute("CREATE TABLE weather AS SELECT 1 AS temp")
        backup(url, file)
        connection.execute("UPDATE weather SET temp = 2")
        restore(url, file, now=NOW)
        assert connection.execute("SELECT temp FROM weather").fetchall() == [(2,)]


def test_programs_are_not_called_with_the_password(monkeypatch, file, tmp_path):
    fake = tmp_path / "pg_dump"
    fake.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/called\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(MetadataError, match="cannot be written"):  # it made no file
        backup("postgresql://etl:s3cr3t@h/etl", file)
    assert "s3cr3t" not in (tmp_path / "called").read_text()
    assert "host=h" in Path(tmp_path / "called").read_text()
