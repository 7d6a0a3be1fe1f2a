"""Opening a database file: what goes wrong is one line that says what to do."""

from __future__ import annotations

import sqlite3
import struct
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from etlkit.clock import SimulatedClock
from etlkit.errors import WarehouseError
from etlkit.warehouse import connect, merge

MASK = 2**64 - 1


def refused(path, **options) -> str:
    with pytest.raises(WarehouseError) as caught:
        connect(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def path(tmp_path) -> Path:
    with connect(tmp_path / "w.duckdb") as con:
        con.execute("CREATE TABLE t (k INTEGER, ts INTEGER)")
    return tmp_path / "w.duckdb"


def test_a_file_is_created_and_opened_again(path):
    with connect(str(path)) as con:
        merge(con, "t", [(1, 1)], key="k", order_by="ts")
    with connect(path, read_only=True) as con:
        assert con.execute("FROM t").fetchall() == [(1, 1)]


@pytest.mark.parametrize("content", [b"", b"hi", b"airport,date\n" * 1000])
def test_what_is_not_a_database(tmp_path, content):
    path = tmp_path / "w.duckdb"
    path.write_bytes(content)
    assert refused(path) == f"{path} is not a DuckDB database; give another path, or move that file away"
    assert path.read_bytes() == content


def test_a_database_of_sqlite(tmp_path):
    with sqlite3.connect(tmp_path / "w.db") as con:
        con.execute("CREATE TABLE t (k)")
    con.close()
    assert "is not a DuckDB database" in refused(tmp_path / "w.db")


def test_directories(tmp_path):
    assert f"there is no directory {tmp_path / 'no'}; create it" in refused(tmp_path / "no" / "w.duckdb")
    assert "is a directory; give a file" in refused(tmp_path)


def test_a_damaged_file(path):
    content = path.read_bytes()
    path.write_bytes(content[:2000] + b"?" * 10 + content[2010:])
    assert f"{path} cannot be opened: " in refused(path)


def checksum(block: bytes) -> int:
    """DuckDB's, of the block that follows it: a product that is mixed in for each eight bytes."""
    result = 5381
    for (word,) in struct.iter_unpack("<Q", block):
        result ^= word * 0xBF58476D1CE4E5B9 & MASK
    return result


def test_a_file_of_a_newer_version(path):
    content = path.read_bytes()
    version, header = slice(12, 20), slice(8, 4096)
    assert struct.unpack("<Q", content[:8])[0] == checksum(content[header])
    content = content[: version.start] + struct.pack("<Q", 99_999) + content[version.stop :]
    path.write_bytes(struct.pack("<Q", checksum(content[header])) + content[8:])
    assert refused(path) == f"{path} was written by a newer DuckDB; run: pip install --upgrade duckdb"


def test_a_file_that_another_process_holds(path):
    script = f"import duckdb; con = duckdb.connect({str(path)!r}); print(); input()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        for read_only in (False, True):
            message = refused(path, read_only=read_only)
            assert f"is held by another process (PID {holder.pid}): " in message
            assert "close it there" in message
        holder.communicate(b"\n")
    connect(path).close()


def test_an_empty_file_is_one_that_another_process_is_making(tmp_path):
    class Making(SimulatedClock):
        def sleep_until(self, instant, wake=None):
            super().sleep_until(instant, wake)
            path.unlink()
            duckdb.connect(str(path)).close()

    path, clock = tmp_path / "warehouse.duckdb", Making(datetime(2013, 1, 1, tzinfo=UTC))
    path.touch()
    assert "is not a DuckDB database" in refused(path)
    connect(path, patience=1, clock=clock).close()


def test_patience_is_for_files_that_are_held_alone(path):
    clock = SimulatedClock(datetime(2013, 1, 1, tzinfo=UTC))
    for wrong in (path.parent, path.parent / "no" / "w.duckdb"):
        with pytest.raises(WarehouseError):
            connect(wrong, patience=5, clock=clock)
    assert clock.now() == datetime(2013, 1, 1, tzinfo=UTC)


def test_a_file_that_is_open_in_this_process_with_other_settings(path):
    with connect(path):
        assert "is already open in this process with other settings" in refused(path, read_only=True)


def test_read_only_creates_nothing(tmp_path):
    assert "does not exist, and read_only=True creates nothing" in refused(tmp_path / "w.duckdb", read_only=True)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other permissions")
@pytest.mark.parametrize(
    ("mode", "read_only", "outcome"),
    [
        (0o444, False, "may not be written by you; open it with read_only=True, or change its permissions"),
        (0o444, True, "opened"),
        (0o000, False, "cannot be read: Permission denied"),
    ],
)
def test_a_file_that_may_not_be_written_or_read(path, mode, read_only, outcome):
    """In a process that gives up the rights of root, if it has them."""
    for directory in (path.parent, *path.parent.parents[:-2]):
        directory.chmod(directory.stat().st_mode | 0o555)
    path.chmod(mode)
    script = f"""
import os
from etlkit.warehouse import connect
if os.geteuid() == 0:
    os.setuid(65534)
try:
    connect({str(path)!r}, read_only={read_only}).execute("FROM t")
    print("opened")
except Exception as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.strip().removeprefix(f"{path} ") == outcome


def test_the_original_error_is_chained(path):
    with connect(path), pytest.raises(WarehouseError) as caught:
        connect(path, read_only=True)
    assert isinstance(caught.value.__cause__, duckdb.Error)
