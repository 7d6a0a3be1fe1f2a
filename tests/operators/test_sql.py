"""Tasks that run SQL, on the warehouse of the run and on the databases that Connections name."""

import signal
import threading
from datetime import date
from decimal import Decimal

import duckdb
import pytest

from etlkit import xcom
from etlkit.config import conf
from etlkit.connections import Connection
from etlkit.dag import DAG
from etlkit.errors import AirflowNotFoundException, WarehouseError
from etlkit.masking import masker
from etlkit.operators import PostgresOperator, SqliteOperator
from etlkit.operators.python import PythonOperator
from etlkit.operators.sql import DuckDBOperator, SQLExecuteQueryOperator, fetch_one_handler
from tests.one_run import OneRun
from tests.servers import postgres


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


# -- on the database that a Connection names ---------------------------------------------------------------------

PLACES = {"duckdb": "$least", "sqlite": ":least", "postgres": "%(least)s"}


@pytest.fixture(params=PLACES)
def conn_id(request, tmp_path, monkeypatch):
    """The id of a Connection to an empty database, which the environment holds; DuckDB, SQLite or PostgreSQL."""
    kind = request.param
    parts = {"host": str(tmp_path / f"x.{kind}")}
    if kind == "postgres":
        server = postgres()
        parts = {"host": server.host, "port": server.port, "login": server.user, "password": server.password,
                 "schema": server.create_database("operators")}  # fmt: skip
    monkeypatch.setenv(f"ETLKIT_CONN_{kind.upper()}", Connection(kind, kind, **parts).as_json())
    conf.use(None)
    yield kind
    conf.use(None)
    masker.forget()


LOAD = """
-- all in one file; a semicolon ; in a comment is none
CREATE TABLE daily (airport VARCHAR(9), day DATE, tmin DECIMAL(5, 2));
INSERT INTO daily VALUES ('{{ params.airport }}', '{{ ds }}', 26.50), ('a;b', '{{ ds }}', 30);
SELECT airport, tmin, '{{ ds }}' AS day FROM daily WHERE tmin > {{ params.place }} ORDER BY airport DESC
"""


def test_a_sql_file_in_a_run(conn_id, tmp_path):
    """A rendered `.sql` file, bound values, and rows as an XCom that the next task reads."""
    (tmp_path / "load.sql").write_text(LOAD, encoding="utf-8")
    with DAG("d", template_searchpath=str(tmp_path)) as dag:
        load = SQLExecuteQueryOperator(
            task_id="load",
            conn_id="{{ params.conn_id }}",
            sql="load.sql",
            params={"airport": "JFK", "place": PLACES[conn_id], "conn_id": conn_id},
            parameters={"least": 20},
        )
        read = PythonOperator(task_id="read", python_callable=lambda rows: rows[0][1] + 1, op_args=[load.output])
        broken = SQLExecuteQueryOperator(
            task_id="broken", conn_id=conn_id, sql="DELETE FROM daily; INSERT INTO nowhere VALUES (1)"
        )
        count = SQLExecuteQueryOperator(
            task_id="count", conn_id=conn_id, sql="SELECT count(*) FROM daily", trigger_rule="all_done"
        )
        read >> broken >> count
    done = OneRun(dag)
    assert done.value("load") == [("a;b", 30, "2013-01-02"), ("JFK", 26.5, "2013-01-02")]
    assert done.value("read") == 31
    assert "statement 2 of 2 failed, and what came before it was undone: " in done.error("broken")
    assert done.value("count") == [(2,)]


def test_what_an_xcom_cannot_carry_becomes_what_it_can():
    con = duckdb.connect()
    odd = "SELECT 1.5::DECIMAL(3, 1), 10::DECIMAL(38, 0), TIME '05:06:07', '0189d8c5-0000-7000-8000-000000000000'::UUID"
    expected = (1.5, 10, "05:06:07", "0189d8c5-0000-7000-8000-000000000000")
    assert run(con, odd) == [expected]
    assert run(con, odd, handler=fetch_one_handler) == expected
    assert xcom.loads(xcom.dumps(run(con, f"{odd}, DATE '2013-01-31', NULL"))) == [(*expected, date(2013, 1, 31), None)]
    assert isinstance(run(con, odd, handler=lambda cursor: cursor.fetchone()[0]), Decimal)


def test_autocommit_by_connection(conn_id):
    def execute(sql, **kwargs):
        return SQLExecuteQueryOperator(task_id="a", conn_id=conn_id, sql=sql, **kwargs).execute({})

    with pytest.raises(WarehouseError, match="task 'a': statement 2 of 2 failed: "):
        execute("CREATE TABLE t (a INTEGER); SELECT nonsense", autocommit=True)
    assert execute("SELECT count(*) FROM t") == [(0,)]
    execute("VACUUM", autocommit=True)
    with pytest.raises(WarehouseError, match="has no SQL to run"):
        execute("-- nothing;")


def test_the_names_that_airflow_gave_them(tmp_path, monkeypatch):
    monkeypatch.setenv("ETLKIT_CONN_SQLITE_DEFAULT", f"sqlite:///{tmp_path / 'x.db'}")
    monkeypatch.setenv("ETLKIT_CONN_LITE", f"sqlite:///{tmp_path / 'y.db'}")
    conf.use(None)
    SqliteOperator(task_id="a", sql="CREATE TABLE t (a INTEGER)").execute({})
    assert (tmp_path / "x.db").exists()
    SqliteOperator(task_id="a", sql="CREATE TABLE t (a INTEGER)", sqlite_conn_id="lite").execute({})
    assert (tmp_path / "y.db").exists()
    assert PostgresOperator(task_id="a", sql="SELECT 1").conn_id == "postgres_default"
    with DAG("d"):
        mapped = SqliteOperator.partial(task_id="m", sqlite_conn_id="lite").expand(sql=["SELECT 1", "SELECT 2"])
    assert mapped.task_id == "m"
    conf.use(None)


def test_connections_that_are_of_no_use(monkeypatch):
    monkeypatch.setenv("ETLKIT_CONN_WEB", "http://example.org")
    conf.use(None)
    with pytest.raises(WarehouseError, match="task 'a': connection 'web' is not that of an SQL database"):
        SQLExecuteQueryOperator(task_id="a", sql="SELECT 1", conn_id="web").execute({})
    with pytest.raises(AirflowNotFoundException, match="missing"):
        SQLExecuteQueryOperator(task_id="a", sql="SELECT 1", conn_id="missing").execute({})
    conf.use(None)


@pytest.mark.parametrize("conn_id", ["postgres"], indirect=True)
def test_a_function_whose_body_holds_semicolons(conn_id):
    body = "CREATE FUNCTION n() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT 2; END"
    SQLExecuteQueryOperator(task_id="a", conn_id=conn_id, sql=body, split_statements=False).execute({})
    dollars = "CREATE FUNCTION m() RETURNS int LANGUAGE sql AS $$ SELECT 1; SELECT 3; $$; SELECT n() + m()"
    assert SQLExecuteQueryOperator(task_id="a", conn_id=conn_id, sql=dollars).execute({}) == [(5,)]
