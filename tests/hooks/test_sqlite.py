"""SQLite files as connections name them."""

import sqlite3

import pytest

from etlkit.connections import Connection
from etlkit.errors import HookError
from etlkit.hooks import SqliteHook


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "odd name?#%.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t AS SELECT 42 AS x")
    connection.close()
    return path


def opened(**parts):
    return SqliteHook(connection=Connection("x", "sqlite", **parts))


def test_the_path_is_the_host_or_the_path_of_the_uri(file):
    for connection in (
        Connection("x", "sqlite", host=str(file)),
        Connection.from_uri(Connection("x", "sqlite", schema=str(file)).get_uri(), "x"),
    ):
        assert SqliteHook(connection=connection).get_first("SELECT x FROM t") == (42,)


def test_opening_modes(file, tmp_path):
    reader = opened(host=str(file), extra={"mode": "ro"})
    assert reader.get_first("SELECT x FROM t") == (42,)
    with pytest.raises(HookError, match="readonly"):
        reader.run("DROP TABLE t")
    missing = tmp_path / "missing.db"
    with pytest.raises(HookError, match="cannot be opened"):
        opened(host=str(missing), extra={"mode": "rw"}).get_conn()
    assert not missing.exists()


def test_another_writer_is_waited_for_so_long_and_no_longer(file):
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(HookError, match="database is locked"):
        opened(host=str(file), extra={"timeout": 0.01}).run("DELETE FROM t")
    other.close()
    opened(host=str(file)).run("DELETE FROM t")


def test_options_that_mean_nothing(file):
    with pytest.raises(HookError, match="cannot be opened: no such access mode: x"):
        opened(host=str(file), extra={"mode": "x"}).get_conn()
