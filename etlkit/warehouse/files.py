"""Opening a DuckDB file, with one line that says what to do when it cannot be opened."""

from __future__ import annotations

import re
from datetime import timedelta
from os import PathLike
from pathlib import Path

import duckdb

from etlkit.clock import Clock, SystemClock
from etlkit.errors import WarehouseError

MAGIC = slice(8, 12)  # where a DuckDB file says b"DUCK"

PATIENCE, PAUSE = 30.0, 0.1
"""How many seconds a task waits for a file that another process has open, and how many pass between two looks."""

REASONS = {
    "Conflicting lock": "is held by another process{pid}: while one process may write to a DuckDB file, no other can"
    " open it; close it there, or open it read-only in both",
    "Permission denied": "may not be written by you; open it with read_only=True, or change its permissions",
    "read-only": "does not exist, and read_only=True creates nothing",
    "different configuration": "is already open in this process with other settings; close that connection first",
    "newer version": "was written by a newer DuckDB; run: pip install --upgrade duckdb",
    "No space left": "cannot be opened, as the disk is full; free some space",
}


def connect(
    path: str | PathLike[str] = ":memory:",
    *,
    read_only: bool = False,
    patience: float = 0.0,
    clock: Clock | None = None,
) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB database file, which is created if it is missing, or an in-memory database.

    While one process may write to a file, no other can open it: `patience` says how many seconds to wait for one's
    turn. `clock` measures them: the computer's, as the other process does not live in simulated time.

    Raises WarehouseError, in one line, for what is not a DuckDB file, may not be written, is held by another process,
    was written by a newer version, or lies in a directory that does not exist.

    >>> connect().execute("SELECT 42").fetchone()
    (42,)
    >>> connect("no/such/directory/weather.duckdb")
    Traceback (most recent call last):
        ...
    etlkit.errors.WarehouseError: no/such/directory/weather.duckdb: there is no directory no/such/directory; create it
    """
    clock = clock or SystemClock()
    deadline = clock.now() + timedelta(seconds=patience)
    while True:
        try:
            return _connected(path, read_only)
        except WarehouseError as error:
            if not patience or not _is_held(error, Path(path)):
                raise
            if clock.now() >= deadline:
                raise WarehouseError(f"{error}. Waited {patience:g} seconds for it. {TAKE_TURNS}") from error.__cause__
        clock.sleep(PAUSE)


TAKE_TURNS = (
    "Tasks that write to one file can take turns in a pool of one slot; for several writers at once use PostgreSQL"
)


def _connected(path: str | PathLike[str], read_only: bool) -> duckdb.DuckDBPyConnection:
    if str(path) != ":memory:":
        _refuse_other_files(Path(path))
    try:
        return duckdb.connect(str(path), read_only=read_only)
    except duckdb.Error as error:
        raise WarehouseError(f"{path} {_reason(error)}") from error


def _is_held(error: WarehouseError, path: Path) -> bool:
    """Whether another process has the file, or is about to: one that is empty was made a moment ago."""
    return "lock" in str(error.__cause__).lower() or (path.is_file() and not path.stat().st_size)


def _refuse_other_files(path: Path) -> None:
    """DuckDB would take an SQLite file for one to open with an extension, which it fetches from the network."""
    if not path.parent.is_dir():
        raise WarehouseError(f"{path}: there is no directory {path.parent}; create it")
    if path.is_dir():
        raise WarehouseError(f"{path} is a directory; give a file, such as {path / 'warehouse.duckdb'}")
    if path.exists() and _start(path)[MAGIC] != b"DUCK":
        raise WarehouseError(f"{path} is not a DuckDB database; give another path, or move that file away")


def _start(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAGIC.stop)
    except OSError as error:
        raise WarehouseError(f"{path} cannot be read: {error.strerror}") from error


def _reason(error: duckdb.Error) -> str:
    text = str(error)
    pid = re.search(r"\(PID (\d+)\)", text)
    for sign, reason in REASONS.items():
        if sign in text:
            return reason.format(pid=f" (PID {pid[1]})" if pid else "")
    return f"cannot be opened: {text.splitlines()[0]}"
