"""Tasks that run SQL on DuckDB."""

import signal
import threading

import duckdb
import pytest

from etlkit.dag import DAG
from etlkit.errors import WarehouseError
from etlkit.operators.python import PythonOperator
from etlkit.operators.sql import DuckDBOperator, SQLExecuteQueryOperator, fetch_one_handler
from tests.one_run import OneRun


@pytest.fixture
def con():
    con = duckdb.connect()
    con.execute("CREATE TABLE t (a INTEGER, b VARCHAR)")
    yield con
    con.close()


def run(con, sql, **kwargs):
    return SQLExecuteQueryOperator(task_id="a", sql=sql, **kwargs).execute({"warehouse": con})


def rows(con):
    return con.execute("FROM t ORDER BY ALL").fetchall()


def test_the_result_is_that_of_the_last_statement(con):
    assert run(con, "SELECT 1; SELECT 2, 'x'; -- the end") == [(2, "x")]
    assert run(con, "SELECT 1; SELECT 2", return_last=False) == [[(1,)], [(2,)]]
    assert run(con, ["SELECT 1", "SELECT 2; SELECT 3"]) == [[(1,)], [(2,)], [(3,)]]
    assert run(con, "SELECT 1 UNION ALL SELECT 2 ORDER BY 1", handler=fetch_one_handler) == (1,)
    assert run(con, "SELECT 1", handler=None) is None
    assert run(con, "SELECT 1", handler=lambda cursor: cursor.description[0][0]) == "1"


def test_values_are_bound(con):
    nasty = "'; DROP TABLE t; --"
    run(con, "INSERT INTO t VALUES ($a, $b); UPDATE t SET a = $a + 1; SELECT 1", parameters={"a": 1, "b": nasty})
    assert rows(con) == [(2, nasty)]
    run(con, "DELETE FROM t; INSERT INTO t VALUES (?, ?)", parameters=[7, "적재"])
    assert rows(con) == [(7, "적재")]


@pytest.mark.parametrize(
    ("sql", "parameters", "message"),
    [
        (
            "INSERT INTO t VALUES (1, 'x'); INSERT INTO nope VALUES (1)",
            None,
            "statement 2 of 2 failed, and what came before",
        ),
        ("INSERT INTO t VALUES (1, 'x'); SELECT 'x'::INTEGER", None, "Could not convert string 'x' to INT32"),
        ("INSERT INTO t VALUES (1, 'x'); SELEC 1", None, "task 'a': its SQL cannot be read: Parser Error"),
        ("INSERT INTO t VALUES (1, $b)", {"b": "x", "c": 1}, r"no statement of its SQL has a parameter c"),
        ("INSERT INTO t VALUES (1, 'x'); SELECT $b", None, "statement 2 of 2 failed"),
        ("INSERT INTO t VALUES (1, 'x'); SELECT ?, ?", [1], "statement 2 of 2 failed"),
        (
            "INSERT INTO t VALUES (1, 'x'); BEGIN",
            None,
            "task 'a': its SQL opens and ends the transaction; take out BEGIN",
        ),
        ("INSERT INTO t VALUES (1, 'x'); COMMIT; FROM t", None, "take out COMMIT, or set autocommit=True"),
        ("", None, "task 'a' has no SQL to run; its sql is ''"),
        ("-- nothing", None, "has no SQL to run"),
        ([], None, r"has no SQL to run; its sql is \[\]"),
    ],
)
def test_what_fails_says_where_and_leaves_nothing(con, sql, parameters, message):
    with pytest.raises(WarehouseError, match=message) as error:
        run(con, sql, parameters=parameters)
    assert "\n" not in str(error.value)
    assert rows(con) == []
    assert run(con, "SELECT 1") == [(1,)]


def test_the_message_as_a_whole(con):
    with pytest.raises(WarehouseError) as error:
        run(con, "SELECT 1;\nINSERT INTO nope\nVALUES (1);")
    assert str(error.value).startswith(
        "task 'a': statement 2 of 2 failed, and what came before it was undone: Catalog Error: Table with name nope"
    )
    assert str(error.value).endswith("[INSERT INTO nope VALUES (1);]")
    assert isinstance(error.value.__cause__, duckdb.CatalogException)


def test_a_handler_that_fails_undoes_everything(con):
    with pytest.raises(ZeroDivisionError):
        run(con, "INSERT INTO t VALUES (1, 'x')", handler=lambda cursor: 1 / 0)
    assert rows(con) == []


def test_autocommit_keeps_what_came_before(con):
    with pytest.raises(WarehouseError, match="statement 2 of 2 failed: Catalog Error"):
        run(con, "INSERT INTO t VALUES (1, 'x'); FROM nope", autocommit=True)
    assert rows(con) == [(1, "x")]


def test_inside_a_transaction_of_the_caller(con):
    con.begin()
    with pytest.raises(
        WarehouseError, match=r"its transaction cannot begin: .*cannot start a transaction within a transaction"
    ):
        run(con, "INSERT INTO t VALUES (1, 'x')")


def test_one_statement_if_told_so(con):
    assert run(con, "SELECT 1;", split_statements=False) == [(1,)]
    assert run(con, "SELECT 1; SELECT 2", split_statements=False, return_last=False) == [(2,)]  # by the driver


def test_a_database_of_its_own(tmp_path):
    path = str(tmp_path / "own.duckdb")
    DuckDBOperator(task_id="a", sql="CREATE TABLE t AS SELECT 42 AS a", database=path).execute({})
    assert DuckDBOperator(task_id="a", sql="FROM t", database=path).execute({}) == [(42,)]
    (tmp_path / "none").write_text("not a database, by far; not a database, by far")
    with pytest.raises(WarehouseError, match=r"task 'a': .*none is not a DuckDB database") as error:
        DuckDBOperator(task_id="a", sql="FROM t", database=str(tmp_path / "none")).execute({})
    assert "\n" not in str(error.value)


def test_a_query_can_be_stopped(con):
    task = SQLExecuteQueryOperator(task_id="a", sql="SELECT count(*) FROM range(10000000000) a, range(100) b")
    stopper = threading.Timer(0.1, task.on_kill)
    stopper.start()
    with pytest.raises(WarehouseError, match="INTERRUPT"):
        task.execute({"warehouse": con})
    stopper.join()
    task.on_kill()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no SIGALRM here")
def test_in_a_run():
    with DAG("d") as dag:
        n = PythonOperator(task_id="n", python_callable=lambda: 3)
        make = SQLExecuteQueryOperator(
            task_id="make", sql="CREATE TABLE t AS FROM range($n)", parameters={"n": n.output}
        )
        read = SQLExecuteQueryOperator(task_id="read", sql="SELECT count(*), sum(range) FROM t")
        slow = SQLExecuteQueryOperator(
            task_id="slow",
            sql="CREATE TABLE s AS SELECT count(*) FROM range(10000000000) a, range(100) b",
            execution_timeout=0.2,
        )
        make >> read >> slow
    done = OneRun(dag)
    assert done.value("read") == [(3, 3)]
    assert done.states["slow"] == "failed"
    assert done.lab.warehouse.execute("SELECT table_name FROM duckdb_tables()").fetchall() == [("t",)]
