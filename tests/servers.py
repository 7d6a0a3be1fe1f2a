"""Real servers for tests, started in temporary folders by whoever runs the tests.

A test that needs one calls `postgres()` or `redis()`: all tests of a process share the server, which ends when the
process does. Where none can be started the test is skipped with the reason; in CI it fails.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import TypeVar

import pytest

from etlkit.errors import EtlkitError
from etlkit.guard import Guard
from etlkit.servers import Postgres, Redis, start_postgres, start_redis

PASSWORD = "p@ss:w/rd é"  # a secret that needs quoting everywhere

Server = TypeVar("Server", Postgres, Redis)


def postgres() -> Postgres:
    """A PostgreSQL server of this process."""
    return _started(_start_postgres)


def redis() -> Redis:
    """A Redis server of this process."""
    return _started(_start_redis)


def _started(start: Callable[[], Server | str]) -> Server:
    server = start()
    if isinstance(server, str):
        (pytest.fail if os.environ.get("CI") else pytest.skip)(server)
    return server


@functools.cache
def _guard() -> Guard:
    return Guard()


@functools.cache
def _start_postgres() -> Postgres | str:
    try:
        import psycopg  # noqa: F401

        return start_postgres(_guard(), user="etl", password=PASSWORD)
    except (EtlkitError, ImportError) as error:
        return f"no PostgreSQL: {error}"


@functools.cache
def _start_redis() -> Redis | str:
    try:
        return start_redis(_guard())
    except (EtlkitError, ImportError) as error:
        return f"no Redis: {error}"
