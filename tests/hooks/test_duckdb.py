"""DuckDB's single writer: the second one waits for its turn, for so long and no longer."""

import subprocess
import sys

import duckdb
import pytest

from etlkit.clock import SimulatedClock, wall_seconds
from etlkit.connections import Connection
from etlkit.errors import HookError
from etlkit.hooks import DuckDBHook

HOLDER = """
import duckdb, sys
connection = duckdb.connect(sys.argv[1])
connection.execute("CREATE TABLE IF NOT EXISTS t AS SELECT 42 AS x")
print("held", flush=True)
sys.stdin.read()
connection.close()
"""


@pytest.fixture
def file(tmp_path):
    return tmp_path / "warehouse.duckdb"


@pytest.fixture
def holder(file):
    """Another process that has the file open for writing, until its standard input ends."""
    command = [sys.executable, "-c", HOLDER, str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.stdin.close()


class Waiting(SimulatedClock):
    """A clock that counts how often it is waited on, and lets something happen the third time."""

    def __init__(self, happens=lambda: None):
        from datetime import UTC, datetime

        super().__init__(datetime(2013, 1, 1, tzinfo=UTC))
        self.happens, self.naps = happens, 0

    def sleep_until(self, instant, wake=None):
        super().sleep_until(instant, wake)
        self.naps += 1
        if self.naps == 3:
            self.happens()


def hook(file, clock, **extra):
    return DuckDBHook(connection=Connection("warehouse", "duckdb", host=str(file), extra=extra), clock=clock)


def test_a_second_writer_gives_up_in_time_and_says_why(file, holder):
    clock = Waiting()
    with pytest.raises(HookError) as error:
        hook(file, clock, timeout=5).get_conn()
    assert clock.naps == pytest.approx(50, abs=1)
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(f"connection 'warehouse': {file} is held by another process (PID {holder.pid})")
    for words in ("no other can open it", "Waited 5 seconds", "pool of one slot", "PostgreSQL"):
        assert words in message


def test_a_second_writer_gets_its_turn(file, holder):
    def let_go():
        holder.stdin.close()
        holder.wait()

    clock = Waiting(let_go)
    assert hook(file, clock).get_first("SELECT x FROM t") == (42,)
    assert clock.naps == 3


def test_the_wait_is_bounded_by_the_computers_clock(file, holder):
    start = wall_seconds()
    works, message = Connection("warehouse", "duckdb", host=str(file), extra={"timeout": 0.2}).test_connection()
    assert (works, "Waited 0.2 seconds" in message) == (False, True)
    assert 0.2 <= wall_seconds() - start < 5


def test_a_hook_lets_go_of_the_file(file):
    hook(file, Waiting()).run("CREATE TABLE t AS SELECT 42 AS x")
    command = [sys.executable, "-c", HOLDER, str(file)]
    assert subprocess.run(command, input="", capture_output=True, text=True).stdout == "held\n"


def test_within_a_process_several_may_be_open(file):
    with duckdb.connect(str(file)) as connection:
        connection.execute("CREATE TABLE t AS SELECT 42 AS x")
        assert hook(file, Waiting()).get_first("SELECT x FROM t") == (42,)


def test_reading_only(file):
    hook(file, Waiting()).run("CREATE TABLE t AS SELECT 42 AS x")
    reader = hook(file, Waiting(), read_only=True)
    assert reader.get_first("SELECT x FROM t") == (42,)
    with pytest.raises(HookError, match="read-only"):
        reader.run("DROP TABLE t")


@pytest.mark.parametrize(("uri", "path"), [("duckdb:///{}", "{}"), ("duckdb://", None)])
def test_the_path_of_a_uri(file, uri, path):
    connection = Connection.from_uri(uri.format(file), "warehouse")
    with DuckDBHook(connection=connection).get_conn() as opened:
        (found,) = opened.execute("SELECT path FROM duckdb_databases() WHERE NOT internal").fetchone()
    assert found == (path and path.format(file))


def test_what_is_not_waited_for(tmp_path):
    clock = Waiting()
    (tmp_path / "x.csv").write_text("airport,tmin\n")
    with pytest.raises(HookError, match=r"connection 'warehouse': .*x.csv is not a DuckDB database"):
        hook(tmp_path / "x.csv", clock).get_conn()
    with pytest.raises(HookError, match="there is no directory"):
        hook(tmp_path / "no" / "x.duckdb", clock).get_conn()
    assert clock.naps == 0
