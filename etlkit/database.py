"""The databases that can hold the metadata: how each is opened, how its tables are made, what its errors mean.

======================  ================================================================================
`sqlite://`             a database in memory, gone with the process
`sqlite:///etl.db`      a file: one machine, many readers and one writer at a time
`postgresql://…/etl`    a server: several processes and machines
======================  ================================================================================

>>> shown(parse_url("postgresql://etl:secret@db.example.org/etlkit"))
'postgresql://etl:***@db.example.org/etlkit'
>>> parse_url("mysql://db.example.org/etlkit")
Traceback (most recent call last):
etlkit.errors.MetadataError: [database] sql_alchemy_conn names no database that can be used: etlkit knows sqlite and \
postgresql, not mysql
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import StaticPool

from etlkit import models
from etlkit.errors import MetadataError

BUSY_SECONDS = 30
"""How long a writer waits for another one before it gives up, unless the URL says so: `sqlite:///etl.db?timeout=5`."""

STOPPED_SECONDS = 15
"""How long a PostgreSQL server lets a transaction stand still: who was stopped in one would hold up all others."""

CONNECT_SECONDS = 10
"""How long a PostgreSQL server may take to answer, unless the URL says so: `postgresql://…/etl?connect_timeout=30`."""


class Conflict(MetadataError):
    """Somebody else changed a row first; read again and decide again. Nothing was written."""


class Unreachable(MetadataError):
    """There is no connection to the server, and what was not committed is undone; later there may be one."""


PAUSES = (1, 2, 4, 8, 15)
"""Seconds before each new try to reach a server that is away."""


def parse_url(text: str) -> sa.URL:
    """The URL of a database; MetadataError, without the password, if it is none or not of a database that etlkit knows.

    Drivers of PostgreSQL other than psycopg 3 are read as that one.
    """
    wrong = "[database] sql_alchemy_conn names no database that can be used: "
    try:
        url = sa.make_url(text)
    except sa.exc.ArgumentError as error:
        raise MetadataError(f"{wrong}{error}") from None
    except ValueError:  # its text would show what was taken for the port
        raise MetadataError(f"{wrong}its port is not a number; {QUOTING}") from None
    if "@" in (url.host or ""):
        raise MetadataError(f"{wrong}its host contains an @; {QUOTING}")
    backend = "postgresql" if url.get_backend_name() == "postgres" else url.get_backend_name()
    if backend not in ENGINES:
        raise MetadataError(f"{wrong}etlkit knows {' and '.join(ENGINES)}, not {backend}")
    if url.database == ":memory:":
        return url.set(database="")
    return url.set(drivername="postgresql+psycopg") if backend == "postgresql" else url


QUOTING = "write characters such as @ : / in a password as %40 %3A %2F"


def shown(url: sa.URL) -> str:
    """A database as it may be shown: a file's path, or a URL without password and options."""
    if url.get_backend_name() == "sqlite":
        return url.database or "memory"
    query = {name: value for name, value in url.query.items() if name in ("host", "port")}
    return url.set(drivername=url.get_backend_name(), query=query).render_as_string(hide_password=True)


def make_engine(url: sa.URL) -> sa.Engine:
    """A SQLAlchemy engine whose connections leave BEGIN and COMMIT to the Store."""
    return ENGINES[url.get_backend_name()](url)


def _sqlite_engine(url: sa.URL) -> sa.Engine:
    if not url.database:
        # Whatever thread the garbage collector runs in may close a database that nobody has any more.
        one = {"check_same_thread": False}
        engine = sa.create_engine(url, poolclass=StaticPool, paramstyle="named", connect_args=one)
    else:
        folder = Path(url.database).parent
        if not folder.is_dir():
            raise MetadataError(f"{url.database}: there is no folder {folder}; create it first")
        patience = {} if "timeout" in url.query else {"timeout": BUSY_SECONDS}
        engine = sa.create_engine(url, paramstyle="named", connect_args=patience)

        @sa.event.listens_for(engine, "do_connect")
        def before_it_is_made(_dialect: object, _record: object, args: Sequence[Any], given: Mapping[str, Any]) -> None:
            if not given.get("uri"):  # there it may say that the file is only to be read
                make_private(args[0])

    @sa.event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys = ON")
        if url.database:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")

    return engine


def make_private(path: str | Path) -> None:
    """Make an empty file that its owner alone may read, for a database to be: confs and XComs are stored as they are.

    A file that is there keeps its mode. SQLite gives the files beside a database the mode that this one has.
    """
    with contextlib.suppress(OSError):  # it is there; or it cannot be made, and SQLite says why
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def _postgres_engine(url: sa.URL) -> sa.Engine:
    defaults = {"connect_timeout": CONNECT_SECONDS, "application_name": "etlkit"}
    given = {name: value for name, value in defaults.items() if name not in url.query}
    try:
        engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", connect_args=given)
    except ImportError:
        raise MetadataError(
            "a metadata database on PostgreSQL needs psycopg; run: pip install 'etlkit[cluster]'"
        ) from None

    @sa.event.listens_for(engine, "connect")
    def configure(connection: Any, _record: object) -> None:
        connection.autocommit = True
        connection.execute(
            f"SET TIME ZONE 'UTC'; SET lock_timeout = '{BUSY_SECONDS}s';"
            f"SET idle_in_transaction_session_timeout = '{STOPPED_SECONDS}s'"
        )

    return engine


ENGINES: Mapping[str, Callable[[sa.URL], sa.Engine]] = {"sqlite": _sqlite_engine, "postgresql": _postgres_engine}
"""How each kind of database is opened."""


def create_tables(connection: sa.Connection) -> None:
    """Create the tables in an empty database; MetadataError if they are of another version or another program."""
    version = tables_version(connection)
    if version is None:
        with changing_tables(connection):
            version = tables_version(connection) or _create_tables(connection)  # somebody else may have been first
    check_version(version, connection)


def _create_tables(connection: sa.Connection) -> str:
    name = shown(connection.engine.url)
    taken = sorted(sa.inspect(connection).get_table_names())
    if connection.dialect.name != "sqlite":  # a server's database may be shared; a file is one program's own
        taken = [table for table in taken if table in models.metadata.tables]
    if taken:
        raise MetadataError(f"{name}: it has tables of another program ({', '.join(taken)}); use another database")
    models.metadata.create_all(connection)
    connection.execute(models.alembic_version.insert().values(version_num=models.SCHEMA_VERSION))
    connection.execute(models.pool.insert().values(name="default_pool", slots=128, description="Default pool"))
    return models.SCHEMA_VERSION


def tables_version(connection: sa.Connection) -> str | None:
    """Which version the tables have; None if there are none."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.scalar(sa.select(models.alembic_version.c.version_num)) or "unknown"


def check_version(version: str, connection: sa.Connection) -> None:
    """MetadataError unless tables of this version are those that this etlkit knows."""
    name = shown(connection.engine.url)
    if version < models.SCHEMA_VERSION:
        raise MetadataError(
            f"{name}: its tables have version {version}, this etlkit needs {models.SCHEMA_VERSION}; "
            "bring them up to date: etlkit db migrate"
        )
    check_not_newer(version, name)


def check_not_newer(version: str, name: str) -> None:
    """MetadataError if tables of this version are from a later etlkit."""
    if version > models.SCHEMA_VERSION:
        raise MetadataError(
            f"{name}: its tables have version {version}, this etlkit knows up to {models.SCHEMA_VERSION}; "
            "update etlkit, or use another database"
        )


@contextlib.contextmanager
def changing_tables(connection: sa.Connection) -> Iterator[None]:
    """The transaction in which tables are made or changed: one process at a time, and whole or not at all."""
    for sql in CHANGING_TABLES[connection.dialect.name]:
        connection.exec_driver_sql(sql)
    try:
        yield
        connection.exec_driver_sql("COMMIT")
    except BaseException:
        connection.connection.rollback()
        raise


CHANGING_TABLES: Mapping[str, Sequence[str]] = {
    "sqlite": ("BEGIN IMMEDIATE",),
    "postgresql": ("BEGIN", "SELECT pg_advisory_xact_lock(hashtext('etlkit tables'))"),
}


SQLITE_ADVICE: Mapping[str, str] = {
    "SQLITE_NOTADB": "is not a database; name another file, or move this one away",
    "SQLITE_CORRUPT": "is damaged; restore a backup, or move it away to start anew",
    "SQLITE_READONLY": "is read-only; make it and its folder writable",
    "SQLITE_CANTOPEN": "cannot be opened; check that the folder exists and is writable",
    "SQLITE_BUSY": "is held by another process and stayed so; stop that process or try again",
    "SQLITE_LOCKED": "is locked by another connection; try again",
    "SQLITE_FULL": "cannot grow: the disk is full; free some space and start again, nothing was lost",
    "SQLITE_IOERR": "cannot be read or written; check the disk",
}
"""What to do about SQLite's errors, by how their names begin."""

LOST = "lost its connection; what was not committed is undone, start again when the server is back"
STARTING = "is starting; try again in a moment"
AWAY = "cannot be reached; start the server, or correct [database] sql_alchemy_conn"
CLOSED = "takes no connections now; have its owner allow them, or try again later"
NO_ROOM = "has no connection left; close some, or raise the server's max_connections"

POSTGRES_ADVICE: Mapping[str, str] = {
    "08": LOST,
    "25006": "is read-only; name the primary server, not a standby",
    "40": "was changed by somebody else at the same moment; nothing was written, try again",
    "42501": "does not let this user do that; have the owner of the database GRANT it",
    "53100": "cannot grow: the server's disk is full; free some space and start again, nothing was lost",
    "53300": NO_ROOM,
    "55P03": "is held by another process and stayed so; stop that process or try again",
    "57P": LOST,
}
"""What to do about PostgreSQL's errors, by how their SQLSTATE begins."""

CONNECTION_ADVICE: Mapping[str, str] = {
    "authentication failed": "refuses the user or the password; correct [database] sql_alchemy_conn",
    "pg_hba.conf": "lets nobody in from here as this user; add a line to its pg_hba.conf",
    'role "': "does not know the user; correct [database] sql_alchemy_conn",
    "no password supplied": "wants a password; add it to [database] sql_alchemy_conn",
    "does not exist": "does not exist; create it on the server: createdb",
    "too many": NO_ROOM,
    "connection slots": NO_ROOM,
    "starting up": STARTING,
    "not currently accepting": CLOSED,
    "shutting down": LOST,
    "connection is closed": LOST,
    "connection is lost": LOST,
    "server closed the connection": LOST,
    **dict.fromkeys(
        ("connection failed", "connection is bad", "resolve host", "timeout"),
        AWAY,
    ),
}
"""What to do about errors of the connection, which have no SQLSTATE, by the words in them."""


def explained(error: Exception, name: str) -> MetadataError:
    """A database driver's error as one line that says what to do.

    Conflict if another try may succeed at once; Unreachable if it may later, when the server is back.
    """
    original = getattr(error, "orig", None) or error
    said = getattr(getattr(original, "diag", None), "message_primary", None)  # PostgreSQL adds lines of explanation
    text = " ".join((said or str(original)).split())
    code = getattr(original, "sqlite_errorname", None) or getattr(original, "sqlstate", None) or ""
    for sign, advice in {**SQLITE_ADVICE, **POSTGRES_ADVICE}.items() if code else ():
        if code.startswith(sign):
            kind = Conflict if sign == "40" else _kind_of(advice)
            return kind(f"metadata database {name} {advice}")
    for words, advice in CONNECTION_ADVICE.items() if not code else ():
        if words in text:
            return _kind_of(advice)(f"metadata database {name} {advice} ({text})")
    return MetadataError(f"metadata database {name}: {text}")


def _kind_of(advice: str) -> type[MetadataError]:
    return Unreachable if advice in (LOST, STARTING, AWAY, CLOSED, NO_ROOM) else MetadataError
