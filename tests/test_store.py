"""What is peculiar to SQLite as the metadata database; what every database must do is in conformance/test_store.py."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest

from etlkit.errors import MetadataError
from etlkit.store import Store
from tests.engine import at

NOW = at(1)


@pytest.fixture
def open_store():
    """Opens a Store, and closes it in the end."""
    opened = []

    def open_it(url="sqlite://"):
        opened.append(Store(url))
        return opened[-1]

    yield open_it
    for store in opened:
        store.close()


@pytest.fixture
def url(tmp_path):
    """The URL of a file that does not exist yet."""
    return f"sqlite:///{tmp_path}/etl.db"


def test_a_disk_that_fills_up_undoes_the_transaction_and_says_so(open_store, url):
    store = open_store(url)
    pages = store.run_sql("PRAGMA page_count").fetchone()[0]
    store.run_sql(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(MetadataError, match=r"etl\.db cannot grow: the disk is full"), store.transaction():
        store.set_pool("p", 3)
        for n in range(100):
            store.register_dag(f"d{n}", paused=False, fileloc="x" * 1000, schedule="@daily", now=NOW)
    assert (store.pools(), store.paused()) == ({"default_pool": 128}, {})
    store.run_sql(f"PRAGMA max_page_count = {pages * 100}")
    with store.transaction():
        store.set_pool("p", 3)
    assert store.pools()["p"] == 3


def test_a_file_is_written_ahead_and_checks_its_references(open_store, url):
    store = open_store(url)
    pragmas = {
        name: store.run_sql(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous", "foreign_keys")
    }
    assert pragmas == {"journal_mode": "wal", "synchronous": 1, "foreign_keys": 1}
    with pytest.raises(MetadataError, match="FOREIGN KEY"):
        row = {"task_id": "a", "map_index": -1, "max_tries": 0, "pool": "p", "pool_slots": 1}
        store.create_task_instances(99, [row])


def test_a_writer_that_waits_in_vain_says_who_is_in_the_way(open_store, url):
    one, two = (open_store(f"{url}?timeout=0.01") for _ in range(2))
    with one.transaction():
        assert two.pools() == {"default_pool": 128}  # a reader does not wait
        with pytest.raises(MetadataError, match="held by another process"), two.transaction():
            pass
    with two.transaction():
        two.set_pool("p", 1)


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path):
    file = tmp_path / "weather.csv"
    file.write_text("airport,temp\n" * 500)
    with pytest.raises(MetadataError, match=r"weather\.csv is not a database"):
        Store(f"sqlite:///{file}")
    assert file.read_text() == "airport,temp\n" * 500


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(MetadataError, match=r"there is no folder .*nowhere"):
        Store(f"sqlite:///{tmp_path}/nowhere/etl.db")


def test_a_database_in_memory_is_alone(open_store):
    one, two = open_store(), open_store()
    with one.transaction():
        one.set_pool("p", 1)
    assert "p" not in two.pools()
    assert isinstance(one.cursor.connection, sqlite3.Connection)


def test_a_store_in_memory_may_be_let_go_of_in_any_thread():
    with ThreadPoolExecutor(1) as thread:
        thread.submit(Store("sqlite://").close).result()
