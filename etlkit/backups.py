"""Copies of the metadata database, and the way back.

A SQLite file is copied by SQLite's own online backup, while others go on using it; a PostgreSQL by `pg_dump`, and back
by `pg_restore`. A copy appears under its name once it is whole and was checked. Variables and Connections are in it as
they are stored, encrypted: keep the key that opens them too. The rest is not, so only its owner may read a copy.

>>> import tempfile
>>> from etlkit.store import Store
>>> folder = Path(tempfile.mkdtemp())
>>> url = f"sqlite:///{folder}/etl.db"
>>> Store(url).close()
>>> backup(url, folder / "monday.db")
>>> restore(url, folder / "monday.db", now=datetime(2013, 1, 8, tzinfo=UTC)).kept.name
'etl.db.before-restore-20130108T000000Z'
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import sqlite3
import stat
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

from etlkit import models
from etlkit.database import BUSY_SECONDS, check_not_newer, explained, make_private, parse_url
from etlkit.errors import MetadataError
from etlkit.masking import masker
from etlkit.scheduler_lock import SchedulerLock, ServerLock
from etlkit.store import Store


class Restored(NamedTuple):
    """What a restore did: the version of the tables that are there now, and where those before are kept, if any."""

    version: str
    kept: Path | None


def backup(url: str, file: Path) -> None:
    """Copy the metadata database at `url` into a new `file`.

    MetadataError, and no file, if `file` exists or cannot be written, if there is no such database, if it is damaged,
    or if it is a PostgreSQL and there is no `pg_dump` on the PATH.
    """
    database = parse_url(url)
    _check_new(file)
    if database.get_backend_name() == "postgresql":
        _dump(database, file)
    else:
        with _opened(_file_of(database)) as live:
            _copy(live, file)


def restore(url: str, file: Path, *, now: datetime) -> Restored:
    """Make the metadata database at `url` what it was when `file` was made by `backup`.

    What it held is kept: beside a SQLite file, or beside `file` for a PostgreSQL, in a name that ends in `now`.
    MetadataError, and nothing is changed, if `file` is no backup, is damaged or from a newer etlkit, or if a process
    schedules the database.
    """
    database = parse_url(url)
    if not file.is_file():
        raise MetadataError(f"there is no backup {file}")
    stamp = f".before-restore-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    if database.get_backend_name() == "postgresql":
        return _restore_dump(database, file, _free(f"{file}{stamp}"))
    return _restore_file(database, file, stamp)


def _check_new(file: Path) -> None:
    if file.exists():
        raise MetadataError(f"{file} exists already; name another file, or move it away")
    if not file.absolute().parent.is_dir():
        raise MetadataError(f"{file} cannot be written: there is no folder {file.absolute().parent}")


def _free(name: str) -> Path:
    """A path of this name, with a number if there is one already."""
    paths = map(Path, itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2))))
    return next(path for path in paths if not path.exists())


@contextlib.contextmanager
def _new_file(file: Path) -> Iterator[Path]:
    """A path to write to, which becomes `file` when the block ends well and is deleted when it does not."""
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        yield unfinished
        unfinished.replace(file)
    except OSError as error:
        raise MetadataError(f"{file} cannot be written: {error.strerror or error}") from error
    finally:
        unfinished.unlink(missing_ok=True)


# --- SQLite -----------------------------------------------------------------------------------------------------------


def _file_of(database: sa.URL) -> Path:
    if not database.database:
        raise MetadataError("a metadata database in memory has no backups; it goes with its process")
    return Path(database.database)


@contextlib.contextmanager
def _opened(path: Path, timeout: float = BUSY_SECONDS) -> Iterator[sqlite3.Connection]:
    """A SQLite file that is there, as it is; what SQLite refuses inside the block is a MetadataError."""
    uri = f"{path.absolute().as_uri()}?mode=rw"
    try:
        with contextlib.closing(sqlite3.connect(uri, uri=True, isolation_level=None, timeout=timeout)) as connection:
            yield connection
    except sqlite3.Error as error:
        raise explained(error, str(path)) from error


def _copy(source: sqlite3.Connection, file: Path) -> None:
    """Copy a whole database into a new file of its own, and check the copy."""
    with _new_file(file) as unfinished:
        make_private(unfinished)
        with _opened(unfinished) as copy:
            _pour(source, copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, without a write-ahead log beside it
            _check(copy, file)


def _pour(source: sqlite3.Connection, target: sqlite3.Connection) -> None:
    """Replace all that `target` holds, as one transaction."""

    def give_up(status: int, _remaining: int, _total: int) -> None:
        if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):  # after the time-out of the connection
            raise MetadataError("the metadata database is held by another process and stayed so; try again")

    source.backup(target, progress=give_up)


def _check(copy: sqlite3.Connection, name: Path) -> str:
    """Which version the tables of a copy have; MetadataError if it is damaged or no metadata database."""
    found = copy.execute("PRAGMA quick_check").fetchone()[0]
    if found != "ok":
        raise MetadataError(f"{name} is damaged: {found}")
    if not copy.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone():
        raise MetadataError(f"{name} holds no metadata database of etlkit")
    return copy.execute("SELECT version_num FROM alembic_version").fetchone()[0]


def _restore_file(database: sa.URL, file: Path, stamp: str) -> Restored:
    live = _file_of(database)
    kept = _free(f"{live}{stamp}")
    with _opened(file) as source, SchedulerLock(live, "etlkit db restore"):
        version = _check(source, file)
        check_not_newer(version, str(file))
        if not live.exists():
            _copy(source, live)
            return Restored(version, None)
        if _is_sound(live):
            with _opened(live, float(str(database.query.get("timeout", BUSY_SECONDS)))) as present:
                _copy(present, kept)
                _pour(source, present)  # others who have it open see all of it or nothing
        else:
            _take_the_place(live, source, kept)
    return Restored(version, kept)


def _is_sound(path: Path) -> bool:
    """Whether SQLite can read the file; what it cannot, it could not write into either."""
    with _opened(path) as connection:
        try:
            return connection.execute("PRAGMA quick_check").fetchone()[0] == "ok"
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorname.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
                return False
            raise


def _take_the_place(live: Path, source: sqlite3.Connection, kept: Path) -> None:
    """Move a damaged file aside, with what belongs to it, and put a copy in its place."""
    fresh = Path(f"{kept}.new")
    _copy(source, fresh)
    fresh.chmod(stat.S_IMODE(live.stat().st_mode))  # whoever could open the database still can
    for ending in ("-wal", "-shm", ""):
        part = Path(f"{live}{ending}")
        if part.exists():
            part.replace(f"{kept}{ending}")
    fresh.replace(live)


# --- PostgreSQL -------------------------------------------------------------------------------------------------------


def _dump(database: sa.URL, file: Path) -> None:
    tables = [f"--table={table}" for table in models.metadata.tables]
    with _new_file(file) as unfinished:
        _run("pg_dump", "--format=custom", "--file", str(unfinished), *tables, database=database)


def _restore_dump(database: sa.URL, file: Path, kept: Path) -> Restored:
    version = _version_in_dump(file)
    check_not_newer(version, str(file))
    store = Store(database.render_as_string(hide_password=False), tables=False)
    with contextlib.closing(store), ServerLock(store, "etlkit db restore"):
        empty = store.version() is None
        if not empty:
            _dump(database, kept)
        _run("pg_restore", "--clean", "--if-exists", "--single-transaction", str(file), database=database)
        store.touched()
    return Restored(version, None if empty else kept)


def _version_in_dump(file: Path) -> str:
    said = _run("pg_restore", "--data-only", "--table=alembic_version", "--file=-", str(file))
    row = re.search(r"^COPY .*\n(.+)$", said, re.MULTILINE)
    if row is None:
        raise MetadataError(f"{file} holds no metadata database of etlkit")
    return row[1]


def _run(program: str, *options: str, database: sa.URL | None = None) -> str:
    """Run one of PostgreSQL's programs, on a database if one is given; what it prints.

    The password goes by the environment: `ps` shows everybody what a program was called with.
    """
    path = shutil.which(program)
    if path is None:
        raise MetadataError(f"this needs {program}, which is not on the PATH; install PostgreSQL's client programs")
    environ, where = dict(os.environ), []
    if database is not None:
        from psycopg.conninfo import make_conninfo

        named = dict(database.get_dialect()().create_connect_args(database)[1])
        environ["PGPASSWORD"] = named.pop("password", "")
        where = ["--no-owner", "--no-privileges", "--no-password", "--dbname", make_conninfo(**named)]
    command, private = [path, *where, *options], 0o077  # what it writes is for its owner's eyes only
    done = subprocess.run(
        command, env=environ, umask=private, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise MetadataError(masker.mask(" ".join(done.stderr.split())) or f"{program} ended with {done.returncode}")
    return done.stdout
