"""How metadata databases are named and opened, what PostgreSQL does of its own, and what errors say."""

import contextlib
import json
import os
import sqlite3
import stat
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event

import pytest

from etlkit.database import explained, parse_url, shown
from etlkit.errors import MetadataError
from etlkit.runs import clear_run
from etlkit.scheduler_lock import scheduled_by, scheduling
from etlkit.store import Conflict, Store
from tests.engine import DAY, START, World, make_dag
from tests.servers import PASSWORD, postgres

CANARY = "kanari9"


@pytest.fixture
def server():
    return postgres()


@pytest.fixture
def url(server):
    return server.url(server.create_database("own"))


@pytest.fixture
def open_store(url):
    """Opens a Store of the same PostgreSQL database, and closes it in the end."""
    opened = []

    def open_it():
        opened.append(Store(url))
        return opened[-1]

    yield open_it
    for store in opened:
        store.close()


# --- SQLite's files ---------------------------------------------------------------------------------------------------


@pytest.fixture
def lenient():
    """The umask under which files are made that everybody may read and write."""
    before = os.umask(0)
    yield
    os.umask(before)


def test_a_new_file_is_its_owners_alone_with_all_that_lies_beside_it(lenient, tmp_path):
    with contextlib.closing(Store(f"sqlite:///{tmp_path}/etl.db")) as store:
        store.set_pool("other", 1)
        files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert files == dict.fromkeys(("etl.db", "etl.db-wal", "etl.db-shm"), 0o600)


def test_a_file_that_is_there_keeps_its_mode(lenient, tmp_path):
    file = tmp_path / "etl.db"
    file.touch(0o664)
    Store(f"sqlite:///{file}").close()
    assert stat.S_IMODE(file.stat().st_mode) == 0o664


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("sqlite://", "memory"),
        ("sqlite:///:memory:", "memory"),
        ("sqlite:////tmp/etl.db?timeout=5", "/tmp/etl.db"),
        (f"postgresql://etl:{CANARY}@db.example.org:5433/etl", "postgresql://etl:***@db.example.org:5433/etl"),
        (f"postgresql+psycopg2://etl:{CANARY}@h/etl?sslpassword={CANARY}", "postgresql://etl:***@h/etl"),
        (f"postgres://etl@h/etl?password={CANARY}&sslmode=require", "postgresql://etl@h/etl"),
        ("postgresql:///etl?host=/run/postgresql&port=5433", "postgresql:///etl?host=%2Frun%2Fpostgresql&port=5433"),
    ],
)
def test_a_database_is_shown_without_its_secrets(url, name):
    assert shown(parse_url(url)) == name


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (CANARY, "Could not parse"),
        (f"postgresql://etl:p@{CANARY}@h/etl", "its host contains an @; write characters such as @"),
        (f"postgresql://etl:p@x:{CANARY}@h/etl", "its port is not a number; write characters such as @"),
        (f"mysql://etl:{CANARY}@h/etl", "etlkit knows sqlite and postgresql, not mysql"),
    ],
)
def test_what_names_no_database_is_refused_without_its_secrets(url, reason):
    with pytest.raises(MetadataError, match=r"\[database\] sql_alchemy_conn names no database") as refusal:
        Store(url)
    assert reason in str(refusal.value)
    assert CANARY not in str(refusal.value)


def test_without_psycopg_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    with pytest.raises(MetadataError, match=r"PostgreSQL needs psycopg; run: pip install 'etlkit\[cluster\]'"):
        Store("postgresql://h/etl")


# --- no connection ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"password": CANARY}, "refuses the user or the password; correct"),
        ({"password": ""}, "wants a password; add it"),
        ({"user": "nobody"}, "refuses the user or the password; correct"),
        ({"host": "/nowhere"}, "cannot be reached; start the server, or correct"),
        ({"port": 1}, "cannot be reached; start the server, or correct"),
    ],
)
def test_a_server_that_lets_nobody_in(server, wrong, reason):
    with pytest.raises(MetadataError, match=r"^metadata database postgresql://") as refusal:
        Store(server._replace(**wrong).url("postgres"))
    text = str(refusal.value)
    assert reason in text
    assert "\n" not in text
    assert PASSWORD not in text and CANARY not in text


def test_a_database_that_does_not_exist(server):
    with pytest.raises(MetadataError, match="does not exist; create it on the server: createdb"):
        Store(server.url("nowhere"))


def test_a_server_without_room(server, url):
    store = Store(url)
    store.run_sql("ALTER DATABASE own CONNECTION LIMIT 0")
    store.run_sql("CREATE ROLE guest LOGIN PASSWORD 'guest'")
    try:
        with pytest.raises(MetadataError, match="has no connection left"):
            Store(server._replace(user="guest", password="guest").url("own"))
    finally:
        store.run_sql("DROP ROLE guest")
        store.close()


def test_a_connection_that_is_lost_undoes_the_transaction(open_store):
    store, killer = open_store(), open_store()
    pid = store.cursor.connection.info.backend_pid
    lost = "lost its connection; what was not committed is undone"
    with pytest.raises(MetadataError, match=lost), store.transaction():
        store.set_pool("p", 1)
        killer.run_sql("SELECT pg_terminate_backend(:pid)", {"pid": pid})
        store.set_pool("q", 1)
    with pytest.raises(MetadataError, match=lost):
        store.pools()
    assert killer.pools() == {"default_pool": 128}


def test_a_scheduler_whose_connection_is_lost_can_be_started_again(url, open_store):
    dag = make_dag(edges="a", schedule="@daily", catchup=True)
    world, killer = World(dag, url=url), open_store()
    world.run_until(START + DAY)
    pid = world.store.cursor.connection.info.backend_pid
    killer.run_sql("SELECT pg_terminate_backend(:pid)", {"pid": pid})
    with pytest.raises(MetadataError, match="lost its connection"):
        world.run_until(START + 2 * DAY)
    again = World(dag, url=url, now=START + DAY)
    again.run_until(START + 3 * DAY)
    assert [run.state for run in again.runs()] == ["success"] * 3


# --- while it is used -------------------------------------------------------------------------------------------------


def test_a_statement_that_failed_leaves_nothing_even_if_somebody_caught_its_error(open_store):
    store = open_store()
    with pytest.raises(MetadataError, match="a statement failed, so nothing was written"), store.transaction():
        store.set_pool("p", 1)
        with pytest.raises(MetadataError, match=r'relation "nowhere" does not exist$'):
            store.run_sql("SELECT * FROM nowhere")
    assert "p" not in store.pools()


def test_a_writer_that_waits_in_vain_says_who_is_in_the_way(open_store):
    one, two = open_store(), open_store()
    two.run_sql("SET lock_timeout = '10ms'")
    with one.transaction():
        one.set_pool("p", 1)
        with pytest.raises(MetadataError, match="held by another process"), two.transaction():
            two.set_pool("p", 2)
    assert two.pools()["p"] == 1


def test_of_two_who_wait_for_each_other_one_is_told_to_try_again(open_store):
    one, two = open_store(), open_store()
    first_step = Event()

    def q_then_p():
        with two.transaction():
            two.set_pool("q", 2)
            first_step.set()
            two.set_pool("p", 2)

    with ThreadPoolExecutor(1) as thread:

        def p_then_q():
            with one.transaction():
                one.set_pool("p", 1)
                other = thread.submit(q_then_p)
                assert first_step.wait(60)
                one.set_pool("q", 1)
            return other

        results = [outcome(p_then_q)]
        results += [outcome(results[0].result)] if isinstance(results[0], Future) else []
    assert [type(result) for result in results if isinstance(result, Exception)] == [Conflict]
    assert one.pools() in ({"default_pool": 128, "p": n, "q": n} for n in (1, 2))


def outcome(action):
    try:
        return action()
    except MetadataError as error:
        return error


def test_a_server_that_is_read_only_says_so(open_store):
    store = open_store()
    store.run_sql("SET default_transaction_read_only = on")
    with pytest.raises(MetadataError, match="is read-only; name the primary"), store.transaction():
        store.set_pool("p", 1)


def test_a_full_disk_says_so():
    import psycopg

    error = psycopg.errors.DiskFull("could not extend file")
    assert str(explained(error, "db")) == (
        "metadata database db cannot grow: the server's disk is full; free some space and start again, nothing was lost"
    )


def test_the_session_counts_in_utc_whatever_the_server_thinks(open_store):
    store = open_store()
    store.run_sql("ALTER DATABASE own SET TimeZone = 'Asia/Seoul'")
    assert open_store().run_sql("SHOW TimeZone").fetchone() == ("UTC",)


def test_a_run_that_is_cleared_inside_the_pass_that_ends_it_goes_on(url, open_store):
    dag = make_dag(edges="a")
    world, other = World(dag, url=url), open_store()
    run, is_over = world.trigger(), world.store.is_over

    def over_just_after_a_clear(run_pk):
        """The pass has begun, and PostgreSQL lets others write all the same."""
        world.store.is_over = is_over
        clear_run(other, dag, world.row(run), now=START)
        return is_over(run_pk)

    world.store.is_over = over_just_after_a_clear
    world.run_until(START + DAY)
    assert (world.row(run).state, world.tries(run)) == ("success", {"a": 2})


# --- who schedules ----------------------------------------------------------------------------------------------------


def test_one_schedules_at_a_time_and_is_named(open_store):
    one, two = open_store(), open_store()
    with scheduling(one, "a test"):
        assert "(a test)" in scheduled_by(two)
        with pytest.raises(MetadataError, match=r"is scheduled by process \d+ on .* \(a test\)"), scheduling(two, "b"):
            pass
    assert scheduled_by(two) is None
    with scheduling(two, "b"):
        assert "(b)" in scheduled_by(one)


def test_those_who_share_it_keep_out_who_wants_it_alone(open_store):
    one, two, alone = open_store(), open_store(), open_store()
    with scheduling(one, "a", shared=True):
        with scheduling(two, "b", shared=True):
            with pytest.raises(MetadataError, match=r"by .*\(a\), .*\(b\); wait"), scheduling(alone, "c"):
                pass
            assert scheduled_by(alone).count("process") == 2
        with pytest.raises(MetadataError, match=r"by .*\(a\); wait"), scheduling(alone, "c"):
            pass
    refused = pytest.raises(MetadataError, match=r"by .*\(c\); wait")
    with scheduling(alone, "c"), refused, scheduling(one, "a", shared=True):
        pass


def test_a_holder_whose_connection_is_lost_has_lost_the_right(open_store):
    one, two = open_store(), open_store()
    pid = one.cursor.connection.info.backend_pid
    with scheduling(one, "a test"):
        two.run_sql("SELECT pg_terminate_backend(:pid, 60000)", {"pid": pid})
        with scheduling(two, "b"):
            pass


def test_another_database_of_the_server_is_not_meant(server, open_store):
    store, other = open_store(), Store(server.url(server.create_database("other")))
    with scheduling(store, "a test"), scheduling(other, "b"):
        assert "(a test)" in scheduled_by(store)
    other.close()


# --- errors of no known kind -----------------------------------------------------------------------------------------


def test_an_error_of_no_known_kind_is_one_line():
    assert str(explained(sqlite3.OperationalError("no such\ntable: x"), "etl.db")) == (
        "metadata database etl.db: no such table: x"
    )
    assert json.dumps(str(explained(ValueError("odd"), "etl.db"))) == '"metadata database etl.db: odd"'


def test_a_sqlite_file_of_another_program_is_left_alone(tmp_path):
    path = tmp_path / "shop.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE customers (name TEXT)")
    with pytest.raises(MetadataError, match=r"it has tables of another program \(customers\); use another database"):
        Store(f"sqlite:///{path}")
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("customers",)]
