"""A merge that is stopped at any statement, by an exception or by kill -9, leaves the old table or the new one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from itertools import product
from pathlib import Path

import duckdb
import pytest

from etlkit.errors import MergeError, SourceError
from etlkit.warehouse import checks, merge, plan
from etlkit.warehouse.duck import DuckDB

OPTIONS = {"key": "k", "order_by": "ts", "output_checks": [checks.unique("k")], "input_checks": [checks.row_count(1)]}
ROWS = "SELECT i AS k, 2 AS ts, 'new' AS note FROM range(5, 15) AS r(i)"
WAYS = list(product(["staging", "incremental"], ["delete-insert", "drop-rename"]))
OLD = [(k, 1, "old") for k in range(10)]
NEW = [(k, 1, "old") for k in range(5)] + [(k, 2, "new") for k in range(5, 15)]


def make(path: str | Path) -> duckdb.DuckDBPyConnection:
    con = duckdb.connect(str(path))
    con.execute("CREATE TABLE t (k INTEGER PRIMARY KEY, ts INTEGER NOT NULL, note VARCHAR)")
    con.execute("CREATE INDEX by_ts ON t (ts)")
    con.execute("COMMENT ON COLUMN t.note IS 'kept'")
    con.execute("INSERT INTO t SELECT i, 1, 'old' FROM range(10) AS r(i)")
    return con


def look(con: duckdb.DuckDBPyConnection) -> tuple[list[tuple], list[list[tuple]]]:
    """The table's rows, and everything else that is in the database."""
    rows = con.execute("FROM t ORDER BY k").fetchall()
    catalog = [
        con.execute("SELECT sql, comment FROM duckdb_tables()").fetchall(),
        con.execute("SELECT sql FROM duckdb_indexes()").fetchall(),
        con.execute("SELECT column_name, comment FROM duckdb_columns() WHERE NOT internal").fetchall(),
        con.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall(),
    ]
    return rows, catalog


def number_of_statements(strategy: str, swap: str) -> int:
    with make(":memory:") as con:
        return len(plan(con, "t", ROWS, strategy=strategy, swap=swap, **OPTIONS))


class Stop:
    """A listener that does something before the statement with this number."""

    def __init__(self, number: int, then) -> None:
        self.left, self.then = number, then

    def __call__(self, statement) -> None:
        if self.left == 0:
            self.then(statement)
        self.left -= 1


def fail(statement) -> None:
    raise RuntimeError(f"stopped before {statement.step}")


@pytest.mark.parametrize(("strategy", "swap"), WAYS)
def test_an_exception_before_any_statement(strategy, swap):
    with make(":memory:") as con:
        old = look(con)
        count = number_of_statements(strategy, swap)
        for number in range(count):
            with pytest.raises(MergeError, match="the table is as it was: stopped before") as caught:
                merge(con, "t", ROWS, strategy=strategy, swap=swap, on_statement=Stop(number, fail), **OPTIONS)
            assert isinstance(caught.value.__cause__, RuntimeError)
            assert caught.value.sql == plan(con, "t", ROWS, strategy=strategy, swap=swap, **OPTIONS)[number].sql
            assert look(con) == old
        assert count >= 18
        merge(con, "t", ROWS, strategy=strategy, swap=swap, **OPTIONS)
        assert look(con) == (NEW, old[1])


@pytest.mark.parametrize(("strategy", "swap"), WAYS)
def test_an_error_of_the_database_in_any_statement(strategy, swap, monkeypatch):
    """Each statement in turn fails inside DuckDB, which then has an aborted transaction to be rolled back."""
    execute = DuckDB.execute
    with make(":memory:") as con:
        old = look(con)
        for statement in plan(con, "t", ROWS, strategy=strategy, swap=swap, **OPTIONS):

            def broken(database, sql, *, bad=statement.sql):
                return execute(database, "SELECT error('broken')" if sql == bad else sql)

            with monkeypatch.context() as patch, pytest.raises((MergeError, SourceError), match="broken"):
                patch.setattr(DuckDB, "execute", broken)
                merge(con, "t", ROWS, strategy=strategy, swap=swap, **OPTIONS)
            assert look(con) == old
        merge(con, "t", ROWS, strategy=strategy, swap=swap, **OPTIONS)
        assert look(con) == (NEW, old[1])


def test_ctrl_c_rolls_back_and_stays_ctrl_c():
    def interrupt(statement):
        raise KeyboardInterrupt

    with make(":memory:") as con:
        old = look(con)
        with pytest.raises(KeyboardInterrupt):
            merge(con, "t", ROWS, on_statement=Stop(12, interrupt), **OPTIONS)
        assert look(con) == old
        con.execute("BEGIN")  # no transaction is open
        con.execute("COMMIT")


def kill(statement) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize(("strategy", "swap"), WAYS)
def test_kill_9_before_any_statement(strategy, swap, tmp_path):
    """Real processes, each killed at another statement; the last one right after the merge."""
    count = number_of_statements(strategy, swap)
    paths = [tmp_path / f"{number}.duckdb" for number in range(count + 1)]
    with make(tmp_path / "original.duckdb") as con:
        catalog = look(con)[1]
    for path in paths:
        shutil.copyfile(tmp_path / "original.duckdb", path)
    command = [sys.executable, __file__, strategy, swap]
    done = subprocess.run([*command, *map(str, paths)], check=True, capture_output=True, text=True)
    assert done.stdout.split() == [str(-signal.SIGKILL)] * len(paths)
    for path in paths:
        with duckdb.connect(path) as con:
            assert look(con) == (NEW if path == paths[-1] else OLD, catalog)


def merge_and_be_killed(strategy: str, swap: str, path: str, number: int) -> None:
    con = duckdb.connect(path)
    merge(con, "t", ROWS, strategy=strategy, swap=swap, on_statement=Stop(number, kill), **OPTIONS)
    kill(None)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of a file")
@pytest.mark.parametrize(("strategy", "swap"), [WAYS[0], WAYS[-1]])
@pytest.mark.parametrize("rows", [50_000, 500_000])
def test_a_full_disk(strategy, swap, rows, tmp_path):
    """In a process whose files may not grow, so that writing fails: in the COMMIT, or before when there is more."""
    make(tmp_path / "w.duckdb").close()
    script = f"""
import duckdb, resource
from etlkit.warehouse import merge
con = duckdb.connect({str(tmp_path / "w.duckdb")!r})
limit = 2 ** 19
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    merge(con, "t", "SELECT i AS k, 2 AS ts, hash(i)::VARCHAR AS note FROM range({rows}) AS r(i)",
        key="k", order_by="ts", strategy={strategy!r}, swap={swap!r})
except Exception as error:
    print(type(error).__name__, error)
print(con.execute("SELECT count(*) FROM t").fetchone()[0])
"""
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    error, count = done.stdout.strip().splitlines()
    assert error.startswith('MergeError merge into "t" failed at ')
    assert "and the table is as it was: " in error
    assert error.endswith("; there is no room to write; free some space and run the merge again")
    assert count == "10"
    with duckdb.connect(tmp_path / "w.duckdb") as con:
        assert look(con)[0] == OLD


if __name__ == "__main__":
    strategy, swap, *paths = sys.argv[1:]
    for number, path in enumerate(paths):
        if not (child := os.fork()):
            merge_and_be_killed(strategy, swap, path, number)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
