"""One scheduler at a time on a metadata database, unless they share it.

Two schedulers that do not know of each other would both believe that an attempt which the other is making was lost. So
whoever schedules holds a lock: on a file beside a SQLite database, or an advisory lock in PostgreSQL. The operating
system, or the server, keeps the lock and lets go of it the moment its holder ends, however it ends; so having the lock
also means that every attempt still marked as running is lost, and `Scheduler.recover` may be called. Readers, and those
who only trigger or pause, need no lock. Schedulers that know of each other, by `etlkit.claims`, share one.

>>> import tempfile
>>> database = Path(tempfile.mkdtemp()) / "etl.db"
>>> with SchedulerLock(database, "a lesson"), SchedulerLock(database, "another one"):   # doctest: +ELLIPSIS
...     pass
Traceback (most recent call last):
etlkit.errors.MetadataError: metadata database ...etl.db is scheduled by process ... (a lesson); ...
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import IO, Any

from etlkit.clock import SystemClock
from etlkit.errors import MetadataError
from etlkit.store import Store, this_process

if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[bytes]) -> None:
        file.seek(1 << 20)  # beyond the holder's name: Windows lets nobody read a locked range
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        file.seek(0)
else:
    import fcntl

    def _lock(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def scheduling(store: Store, purpose: str, *, shared: bool = False) -> contextlib.AbstractContextManager[Any]:
    """`with scheduling(store, purpose):` the right to schedule what `store` remembers, while the block lasts.

    MetadataError, naming the holder, if another process has it. A database in memory is its Store's alone. On a
    PostgreSQL the right may be `shared` with others who share it: `etlkit.claims` is how they keep out of each other's
    way.
    """
    if store.in_memory:
        return contextlib.nullcontext()
    if not store.is_sqlite:
        return ServerLock(store, purpose, shared=shared)
    return SchedulerLock(str(store.url.database), purpose)


def scheduled_by(store: Store) -> str | None:
    """Which process holds the right to schedule what `store` remembers; None if none does."""
    if store.in_memory:
        return None
    return who_schedules(str(store.url.database)) if store.is_sqlite else _session_that_schedules(store)


def lock_file(database: str | Path) -> Path:
    """The file that is locked: beside the database itself, whatever links lead to it.

    >>> lock_file("/data/etl.db").name
    'etl.db.scheduler-lock'
    """
    return Path(f"{Path(database).resolve()}.scheduler-lock")


ATTEMPTS, PAUSE = 5, 0.02
"""How often, and after how many seconds, the lock is tried again: somebody may just be asking who has it."""


class SchedulerLock:
    """`with SchedulerLock(database, purpose):` the right to schedule the SQLite file `database`.

    MetadataError, naming the holder, if another process has it, or if there can be no file beside the database. The
    file stays when the lock is given back: deleting it could take it away from the next holder.
    """

    def __init__(self, database: str | Path, purpose: str) -> None:
        self.database, self.purpose = database, purpose
        self.path = lock_file(database)

    def __enter__(self) -> SchedulerLock:
        try:
            self._file = self.path.open("a+b", buffering=0)
        except OSError as error:
            raise self._impossible(error) from None
        if not self._taken():
            holder = _signature(self._file)
            self._file.close()
            raise MetadataError(
                f"metadata database {self.database} is scheduled by {holder}; wait until it ends, or stop it"
            )
        try:
            self._file.truncate(0)
            self._file.write(f"process {os.getpid()} ({self.purpose})".encode())
        except OSError as error:
            self._file.close()
            raise self._impossible(error) from None
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._file.truncate(0)
        self._file.close()

    def _impossible(self, error: OSError) -> MetadataError:
        reason = f"{self.path} cannot be written: {error.strerror or error}"
        return MetadataError(f"metadata database {self.database} cannot be scheduled: {reason}")

    def _taken(self) -> bool:
        for attempt in range(ATTEMPTS):
            if attempt:
                SystemClock().sleep(PAUSE)
            with contextlib.suppress(OSError):
                _lock(self._file)
                return True
        return False


def who_schedules(database: str | Path) -> str | None:
    """Which process holds the right to schedule `database`; None if none does."""
    try:
        with lock_file(database).open("r+b") as file:
            try:
                _lock(file)
            except OSError:
                return _signature(file)
    except FileNotFoundError:
        pass
    return None


def _signature(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "replace") or "another process"


LOCK_ID = 20130101, 1
"""PostgreSQL's advisory locks are pairs of numbers of one's own choice, for each database anew."""


class ServerLock:
    """The same right on PostgreSQL: a lock that the server keeps for the connection of `store`.

    Who loses the connection loses the lock, and cannot schedule any more either.
    """

    def __init__(self, store: Store, purpose: str, *, shared: bool = False) -> None:
        self.store, self.purpose = store, purpose
        self._kind = "_shared" if shared else ""

    def __enter__(self) -> ServerLock:
        if not self.store.run_sql(f"SELECT pg_try_advisory_lock{self._kind}{LOCK_ID}").fetchone()[0]:
            holder = _session_that_schedules(self.store) or "another process"
            raise MetadataError(
                f"metadata database {self.store.name} is scheduled by {holder}; wait until it ends, or stop it"
            )
        host, pid = this_process()
        self._sign(f"process {pid} on {host} ({self.purpose})")
        return self

    def __exit__(self, *exc_info: object) -> None:
        try:
            self._sign("etlkit")
            self.store.run_sql(f"SELECT pg_advisory_unlock{self._kind}{LOCK_ID}")
        except MetadataError:
            if not self.store.cursor.connection.closed:
                raise  # else the connection is lost, and the lock with it

    def _sign(self, name: str) -> None:
        """What PostgreSQL shows as the name of this connection: at most 63 bytes of it."""
        self.store.run_sql("SELECT set_config('application_name', :name, false)", {"name": name})


def _session_that_schedules(store: Store) -> str | None:
    """Who has the lock, or all who share it."""
    rows = store.run_sql(
        f"""SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid)
            WHERE locktype = 'advisory' AND (classid, objid) = {LOCK_ID} AND granted
              AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
            ORDER BY backend_start"""
    ).fetchall()
    return ", ".join(name or "another process" for (name,) in rows) or None
