"""A merge that is stopped at any statement, by an exception or by kill -9, leaves the old table or the new one."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
from itertools import product

import duckdb
import pytest

from etlkit.errors import MergeError, SourceError
from etlkit.warehouse import checks, merge, plan
from etlkit.warehouse.backend import backend
from tests.warehouses import ENGINES

OPTIONS = {"key": "k", "order_by": "ts", "output_checks": [checks.unique("k")], "input_checks": [checks.row_count(1)]}
QUERY = {
    "duckdb": "SELECT i AS k, 2 AS ts, 'new' AS note FROM range(5, 15) AS r(i)",
    "postgres": "SELECT i AS k, 2 AS ts, 'new' AS note FROM generate_series(5, 14) AS r(i)",
}
ROWS = [(k, 2, "new") for k in range(5, 15)]
WAYS = list(product(["staging", "incremental"], ["delete-insert", "drop-rename"]))
OLD = [(k, 1, "old") for k in range(10)]
NEW = [(k, 1, "old") for k in range(5)] + [(k, 2, "new") for k in range(5, 15)]


def fill(con) -> None:
    con.execute("CREATE TABLE t (k INTEGER PRIMARY KEY, ts INTEGER NOT NULL, note VARCHAR)")
    con.execute("CREATE INDEX by_ts ON t (ts)")
    con.execute("COMMENT ON COLUMN t.note IS 'kept'")
    con.execute("INSERT INTO t VALUES " + ", ".join(map(str, OLD)))


@pytest.fixture
def con(empty):
    fill(empty)
    return empty


def look(engine, con) -> tuple[list[tuple], list[list[tuple]]]:
    """The table's rows, and everything else that is in the database."""
    return con.execute("SELECT * FROM t ORDER BY k").fetchall(), [*engine.said(con, "t"), engine.tables(con)]


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


@pytest.mark.parametrize("kind", ["query", "rows"])
@pytest.mark.parametrize(("strategy", "swap"), WAYS)
def test_an_exception_before_any_statement(engine, con, strategy, swap, kind):
    options = {"strategy": strategy, "swap": swap, **OPTIONS}
    new_rows = QUERY[engine.name] if kind == "query" else ROWS
    old = look(engine, con)
    script = plan(con, "t", new_rows, **options)
    for number, statement in enumerate(script):
        with pytest.raises(MergeError, match="the table is as it was: stopped before") as caught:
            merge(con, "t", new_rows, on_statement=Stop(number, fail), **options)
        assert isinstance(caught.value.__cause__, RuntimeError)
        assert caught.value.sql == statement.sql
        assert look(engine, con) == old
    assert len(script) >= 18
    merge(con, "t", new_rows, **options)
    assert look(engine, con) == (NEW, old[1])


@pytest.mark.parametrize(("strategy", "swap"), WAYS)
def test_an_error_of_the_database_in_any_statement(engine, con, strategy, swap, monkeypatch):
    """Each statement in turn fails inside the database, which then has an aborted transaction to be rolled back."""
    options = {"strategy": strategy, "swap": swap, **OPTIONS}
    with backend(con) as database:
        kind = type(database)
    execute, old = kind.execute, look(engine, con)
    for statement in plan(con, "t", QUERY[engine.name], **options):

        def broken(database, sql, *, bad=statement.sql):
            return execute(database, "SELECT broken" if sql == bad else sql)

        with monkeypatch.context() as patch, pytest.raises((MergeError, SourceError), match="broken"):
            patch.setattr(kind, "execute", broken)
            merge(con, "t", QUERY[engine.name], **options)
        assert look(engine, con) == old
    merge(con, "t", QUERY[engine.name], **options)
    assert look(engine, con) == (NEW, old[1])


def test_ctrl_c_rolls_back_and_stays_ctrl_c(engine, con):
    def interrupt(statement):
        raise KeyboardInterrupt

    old = look(engine, con)
    with pytest.raises(KeyboardInterrupt):
        merge(con, "t", ROWS, on_statement=Stop(12, interrupt), **OPTIONS)
    assert look(engine, con) == old
    con.execute("BEGIN")  # no transaction is open
    con.execute("COMMIT")


def kill(statement) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize(("strategy", "swap"), WAYS)
def test_kill_9_before_any_statement(engine, con, strategy, swap, tmp_path):
    """Real processes, each killed at another statement; the last one right after the merge."""
    count = len(plan(con, "t", ROWS, strategy=strategy, swap=swap, **OPTIONS))
    addresses = engine.addresses(tmp_path, count + 1)
    for address in addresses:
        with engine.open(address) as fresh:
            fill(fresh)
            (_, catalog) = look(engine, fresh)
    command = [sys.executable, "-m", "tests.warehouse.test_faults", engine.name, strategy, swap]
    done = subprocess.run([*command, *addresses], check=True, capture_output=True, text=True)
    assert done.stdout.split() == [str(-signal.SIGKILL)] * len(addresses)
    for address in addresses:
        with engine.open(address) as after:
            rows, seen = look(engine, after)
            assert rows == (NEW if address == addresses[-1] else OLD)
            assert [len(part) for part in seen] == [len(part) for part in catalog]


def merge_and_be_killed(engine, strategy: str, swap: str, address: str, number: int) -> None:
    merge(engine.open(address), "t", ROWS, strategy=strategy, swap=swap, on_statement=Stop(number, kill), **OPTIONS)
    kill(None)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of a file")
@pytest.mark.parametrize(("strategy", "swap"), [WAYS[0], WAYS[-1]])
@pytest.mark.parametrize("rows", [50_000, 500_000])
def test_a_full_disk(strategy, swap, rows, tmp_path):
    """In a process whose files may not grow, so that writing fails: in the COMMIT, or before when there is more."""
    with duckdb.connect(tmp_path / "w.duckdb") as con:
        fill(con)
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
        assert con.execute("FROM t ORDER BY k").fetchall() == OLD


if __name__ == "__main__":
    for module in ("pandas", "psycopg", "pyarrow.dataset", "etlkit.warehouse.postgres"):
        importlib.import_module(module)  # once, and not in every child
    engine, strategy, swap, *addresses = sys.argv[1:]
    for number, address in enumerate(addresses):
        if not (child := os.fork()):
            merge_and_be_killed(ENGINES[engine], strategy, swap, address, number)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
