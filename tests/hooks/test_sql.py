"""What the hooks of all SQL databases do, on each of them; PostgreSQL is a real server."""

import contextlib
import threading
from datetime import date

import pandas as pd
import pytest

from etlkit.connections import Connection
from etlkit.errors import HookError
from etlkit.hooks import DuckDBHook, PostgresHook, SqliteHook
from etlkit.masking import masker
from tests.servers import postgres


def duckdb_hook(folder):
    return DuckDBHook(connection=Connection("db", "duckdb", host=str(folder / "x.duckdb")))


def sqlite_hook(folder):
    return SqliteHook(connection=Connection("db", "sqlite", host=str(folder / "x.db")))


def postgres_hook(folder):
    server = postgres()
    return PostgresHook(
        connection=Connection(
            "db",
            "postgres",
            host=server.host,
            port=server.port,
            login=server.user,
            password=server.password,
            schema=server.create_database("hooks"),
        )
    )


@pytest.fixture(params=[duckdb_hook, sqlite_hook, postgres_hook], ids=["duckdb", "sqlite", "postgres"])
def hook(request, tmp_path):
    hook = request.param(tmp_path)
    hook.run("CREATE TABLE daily (airport VARCHAR(3) PRIMARY KEY, tmin DOUBLE PRECISION CHECK (tmin < 200))")
    hook.insert_rows("daily", [("JFK", 30.5), ("LGA", None)])
    yield hook
    masker.forget()


def all_rows(hook):
    return hook.get_records("SELECT * FROM daily ORDER BY airport")


BEFORE = [("JFK", 30.5), ("LGA", None)]


def refused(call, *arguments, **named):
    with pytest.raises(HookError) as error:
        call(*arguments, **named)
    assert error.value.conn_id == "db"
    message = str(error.value)
    assert message.startswith("connection 'db': ")
    assert "\n" not in message
    return message


def test_records_and_first(hook):
    assert all_rows(hook) == BEFORE
    assert hook.get_first("SELECT airport FROM daily ORDER BY airport") == ("JFK",)
    assert hook.get_first("SELECT airport FROM daily WHERE 1 = 0") is None
    assert hook.get_records("SELECT airport FROM daily WHERE 1 = 0") == []


def test_values_are_bound(hook):
    odd = "x'; DROP TABLE daily; --"
    found = hook.get_first(f"SELECT CAST({hook.placeholder} AS VARCHAR)", [odd])
    assert found == (odd,)
    assert all_rows(hook) == BEFORE


def test_a_percent_sign_is_only_one_without_values(hook):
    assert hook.get_first("SELECT airport FROM daily WHERE airport LIKE 'J%'") == ("JFK",)


def test_a_data_frame(hook):
    frame = hook.get_df(f"SELECT * FROM daily WHERE airport <> {hook.placeholder} ORDER BY airport", ["EWR"])
    expected = pd.DataFrame({"airport": ["JFK", "LGA"], "tmin": [30.5, None]})
    pd.testing.assert_frame_equal(frame, expected, check_dtype=False)
    assert frame["tmin"].dtype == float
    assert hook.get_df("SELECT airport FROM daily WHERE 1 = 0").columns.tolist() == ["airport"]


def test_several_statements_are_one_transaction(hook):
    message = refused(
        hook.run,
        [
            "CREATE TABLE other (x INTEGER)",
            "INSERT INTO daily VALUES ('EWR', 1)",
            "INSERT INTO daily VALUES ('BOS', 200)",
        ],
    )
    assert "statement 3 of 3 failed, and what came before it was undone: " in message
    assert message.endswith("[INSERT INTO daily VALUES ('BOS', 200)]")
    assert all_rows(hook) == BEFORE
    assert "other" in refused(hook.get_records, "SELECT * FROM other")


def test_with_autocommit_each_statement_is_on_its_own(hook):
    refused(hook.run, ["INSERT INTO daily VALUES ('EWR', 1)", "INSERT INTO daily VALUES ('BOS', 200)"], autocommit=True)
    assert all_rows(hook) == [("EWR", 1.0), *BEFORE]
    hook.run("VACUUM", autocommit=True)


def first(cursor):
    return cursor.fetchone() if cursor.description else None


def test_results_of_several_statements(hook):
    assert hook.run(["SELECT 1", "SELECT 2"], handler=first) == [(1,), (2,)]
    assert hook.run("SELECT 1; SELECT 2; -- end", handler=first, split_statements=True) == (2,)
    assert hook.run("SELECT 1; SELECT 2", handler=first, split_statements=True, return_last=False) == [(1,), (2,)]
    assert hook.get_records(["SELECT 1", "SELECT 2"]) == [[(1,)], [(2,)]]
    assert hook.run("SELECT 1") is None
    assert hook.run([], handler=first) == []


ODD = "SELECT 'a;b''c' AS \"d;e\" -- f;g\n; /* h; 'i */ SELECT 2;; ;-- nothing\n"


def test_where_a_text_is_split(hook):
    assert hook.run(ODD, handler=first, split_statements=True, return_last=False) == [("a;b'c",), (2,)]
    assert hook.split("") == hook.split(" ; -- none") == []
    assert len(hook.split(ODD)) == 2


@pytest.mark.parametrize("unclosed", ["SELECT 'a; SELECT 1", 'SELECT "a; SELECT 1'])
def test_a_text_that_never_ends_changes_nothing(hook, unclosed):
    refused(hook.run, f"DELETE FROM daily; {unclosed}", split_statements=True)
    assert all_rows(hook) == BEFORE


NAMED = {"duckdb": "$name", "sqlite": ":name", "postgres": "%(name)s"}


def test_each_statement_gets_the_values_that_it_takes(hook):
    sql = f"DELETE FROM daily WHERE airport = {NAMED[hook.conn_type]}; SELECT airport FROM daily"
    assert hook.run(sql, parameters={"name": "JFK"}, handler=first, split_statements=True) == ("LGA",)
    sql = f"DELETE FROM daily; INSERT INTO daily VALUES ({hook.placeholder}, {hook.placeholder}); SELECT * FROM daily"
    assert hook.run(sql, parameters=["EWR", 1], handler=first, split_statements=True) == ("EWR", 1.0)
    assert "no statement of its SQL has a parameter nobody" in refused(
        hook.run, sql, parameters={"nobody": 1}, split_statements=True
    )


@pytest.mark.parametrize("word", ["COMMIT", "begin", "/* then */ END", "ROLLBACK"])
def test_sql_that_ends_the_transaction_is_refused(hook, word):
    message = refused(hook.run, f"DELETE FROM daily; {word}", split_statements=True)
    assert "opens and ends the transaction; take out" in message
    assert all_rows(hook) == BEFORE


def test_a_statement_can_be_stopped(hook):
    endless = {
        "duckdb": "SELECT count(*) FROM range(10000000000) a, range(100) b",
        "postgres": "SELECT pg_sleep(100)",
        "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
    }
    with contextlib.closing(hook.get_conn()) as connection:
        stopper = threading.Timer(0.1, hook.cancel, [connection])
        stopper.start()
        refused(hook.run_on, connection, endless[hook.conn_type])
        stopper.join()
    assert all_rows(hook) == BEFORE


def test_another_database_than_the_connection_names(hook, tmp_path):
    other = "postgres" if hook.conn_type == "postgres" else str(tmp_path / "other.db")
    elsewhere = type(hook)(connection=hook.connection, database=other)
    assert "daily" in refused(elsewhere.get_records, "SELECT * FROM daily")


def test_a_handler_that_fails_undoes_what_was_done(hook):
    with pytest.raises(ZeroDivisionError):
        hook.run("INSERT INTO daily VALUES ('EWR', 1)", handler=lambda cursor: 1 / 0)
    assert all_rows(hook) == BEFORE


def test_inserting_rows(hook):
    assert (
        hook.insert_rows("daily", ([str(i), i / 10] for i in range(250)), ["airport", "tmin"], commit_every=100) == 250
    )
    assert hook.get_first("SELECT COUNT(*) FROM daily") == (252,)
    assert hook.insert_rows("daily", []) == 0
    assert hook.insert_rows("daily", [(20.0, "EWR")], target_fields=["tmin", "airport"]) == 1


def test_a_row_that_does_not_fit_undoes_the_others(hook):
    refused(hook.insert_rows, "daily", [("A", 1), ("B", 2), ("C", 200)])
    assert all_rows(hook) == BEFORE
    refused(hook.insert_rows, "daily", [("A", 1), ("B", 2), ("C", 3), ("D", 200)], commit_every=2)
    assert [row[0] for row in all_rows(hook)] == ["A", "B", "JFK", "LGA"]


def test_names_are_quoted(hook):
    hook.run('CREATE TABLE "select ""it"";" ("from" INTEGER)')
    assert hook.insert_rows('select "it";', [(5,)], ["from"]) == 1
    assert hook.get_records('SELECT "from" FROM "select ""it"";"') == [(5,)]


def test_the_drivers_own_connection(hook):
    connection = hook.get_conn()
    cursor = connection.cursor()
    cursor.execute("SELECT airport FROM daily ORDER BY airport")
    assert cursor.fetchall() == [("JFK",), ("LGA",)]
    connection.close()


def test_no_connection_is_left_open(hook):
    for _ in range(110):  # more than PostgreSQL's max_connections
        hook.get_first("SELECT 1")
    refused(hook.get_first, "SELECT nonsense")


def test_testing_it(hook):
    assert hook.test_connection() == "the database answers"
    assert hook.connection.test_connection() == (True, "the database answers")


def test_types_come_back(hook):
    assert hook.get_first("SELECT CAST('2013-01-31' AS DATE)") in [(date(2013, 1, 31),), (2013,)]  # SQLite has no dates
