"""Every kind of metadata database, empty."""

import functools

import pytest

from etlkit.cli.database import empty
from etlkit.store import Store
from tests.servers import postgres

KINDS = ("memory", "file", "postgresql")


@pytest.fixture(params=KINDS)
def url(request, tmp_path):
    """An empty database of each kind."""
    return _empty(request.param, tmp_path)


@pytest.fixture(params=KINDS[1:])
def shared_url(request, tmp_path):
    """An empty database of each kind that several connections can share."""
    return _empty(request.param, tmp_path)


@pytest.fixture(params=KINDS[1:])
def new_url(request, tmp_path):
    """A database of each such kind that has no tables yet."""
    if request.param == "file":
        return f"sqlite:///{tmp_path}/etl.db"
    return postgres().url(postgres().create_database("new"))


@pytest.fixture
def open_store():
    """Opens a Store, and closes it in the end."""
    opened = []

    def open_it(url):
        opened.append(Store(url))
        return opened[-1]

    yield open_it
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store, url):
    """The Store of an empty database of each kind."""
    return open_store(url)


def _empty(kind, folder):
    return {"memory": "sqlite://", "file": f"sqlite:///{folder}/etl.db"}.get(kind) or _emptied_postgres()


def _emptied_postgres():
    """All tests of a process share one database: to empty it is faster than to make another."""
    url = _shared_postgres()
    store = Store(url)
    empty(store)
    store.close()
    return url


@functools.cache
def _shared_postgres():
    return postgres().url(postgres().create_database("shared"))
