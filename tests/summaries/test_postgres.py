"""Summary tables in PostgreSQL: the same configuration, order, checks and swap, on a real server."""

from __future__ import annotations

import threading

import psycopg
import pytest

from etlkit.connections import Connection
from etlkit.errors import CheckFailed, SummaryError, WarehouseError
from etlkit.hooks import PostgresHook
from etlkit.masking import masker
from etlkit.summaries import Summary, SummaryOperator, build_summaries, build_summary
from etlkit.warehouse import checks
from tests.servers import postgres
from tests.warehouses import ENGINES

engine = ENGINES["postgres"]
DAILY = Summary(
    "daily",
    "SELECT airport, date, min(temp) AS tmin FROM weather GROUP BY airport, date; -- of each day",
    key=["airport", "date"],
    doc="It's the day's minimum.",
    input_checks={"weather": [checks.row_count(1), checks.not_null("temp")]},
    output_checks=[checks.every("tmin > -100")],
)
COLDEST = Summary("coldest", "SELECT airport, min(tmin) AS tmin FROM daily GROUP BY airport", key="airport")
BOTH = [COLDEST, DAILY]


@pytest.fixture
def con():
    with engine.fresh() as con:
        con.execute("CREATE TABLE weather (airport TEXT, date DATE, temp FLOAT8)")
        add_hours(con, ("JFK", "2013-01-01", 26.1), ("JFK", "2013-01-01", 25.0), ("LGA", "2013-01-01", 27.0))
        yield con


def add_hours(con, *hours):
    with con.cursor() as cursor:
        cursor.executemany("INSERT INTO weather VALUES (%s, %s, %s)", hours)


def rows(con, table):
    return con.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()


def look(con):
    """Everything that is in the database."""
    names = sorted(name for (name,) in engine.tables(con))
    return {name: (rows(con, name), engine.said(con, name)) for name in names}


def test_tables_are_built_in_order(con):
    assert str(build_summaries(con, BOTH)) == "daily    2 rows (new)\ncoldest  2 rows (new)"
    add_hours(con, ("EWR", "2013-01-02", 20.0))
    assert str(build_summaries(con, BOTH)) == "daily    3 rows (before: 2)\ncoldest  3 rows (before: 2)"
    assert rows(con, "coldest") == [("EWR", 20.0), ("JFK", 25.0), ("LGA", 27.0)]
    assert build_summary(con, BOTH, "coldest").before == 3
    assert set(look(con)) == {"weather", "daily", "coldest"}


def test_what_was_said_of_a_table_stays(con):
    build_summaries(con, [DAILY])
    con.execute("CREATE INDEX by_tmin ON daily (tmin); GRANT SELECT ON daily TO PUBLIC")
    con.execute("COMMENT ON INDEX by_tmin IS 'for the coldest'")
    said = engine.said(con, "daily")
    add_hours(con, ("EWR", "2013-01-01", 20.0))
    build_summaries(con, [DAILY])
    assert engine.said(con, "daily") == said
    assert "It's the day's minimum." in str(said)


def test_the_columns_may_change_and_schemas_have_names(con):
    con.execute('CREATE SCHEMA "my mart"')
    odd = 'my mart.say "hi"; DROP TABLE weather'
    for sql, expected in (("SELECT 1 AS x", (1,)), ("SELECT count(*) AS n, 'é' AS é FROM weather", (3, "é"))):
        build_summaries(con, [Summary(odd, sql)])
        assert rows(con, '"my mart"."say ""hi""; DROP TABLE weather"') == [expected]


def test_a_failing_check_keeps_yesterdays_table(con):
    build_summaries(con, BOTH)
    before = look(con)
    for hour, message in (
        (("EWR", "2013-01-01", None), r"not_null\(temp\) does not hold in \"weather\""),
        (("EWR", "2013-01-01", -200.0), r"every\(tmin > -100\) does not hold in \"daily\""),
    ):
        add_hours(con, hour)
        with pytest.raises(CheckFailed, match=message):
            build_summaries(con, BOTH)
        con.execute("DELETE FROM weather WHERE airport = 'EWR'")
        assert look(con) == before


def test_an_exception_before_any_statement(con):
    script = build_summaries(con, [DAILY])[0].sql
    add_hours(con, ("EWR", "2013-01-01", 20.0))
    before, count = look(con), len(build_summary(con, [Summary("other", DAILY.sql)], "other").sql)
    con.execute("DROP TABLE other")
    assert count < len(script)
    for number in range(len(script)):
        left = iter(range(number))

        def fail(statement, left=left):
            if next(left, None) is None:
                raise RuntimeError(f"stopped before {statement.step}")

        with pytest.raises(SummaryError, match="and its table is as it was: stopped before"):
            build_summaries(con, [DAILY], on_statement=fail)
        assert look(con) == before
    build_summaries(con, [DAILY])
    assert look(con) != before


def test_nobody_sees_a_table_half_built_nor_writes_into_it(con):
    build_summaries(con, [DAILY])
    add_hours(con, ("EWR", "2013-01-01", 20.0))
    other, seen = engine.another(con), []
    other.execute("SET lock_timeout = '1ms'")

    def look_on(statement):
        if statement.step in ("build", "check result"):
            seen.append(len(rows(other, "daily")))
            with pytest.raises(psycopg.errors.LockNotAvailable):
                other.execute("DELETE FROM daily")

    build_summaries(con, [DAILY], on_statement=look_on)
    assert set(seen) == {2}
    assert len(rows(other, "daily")) == 3
    other.close()


def test_one_who_reads_all_the_while_finds_a_table_at_any_moment(con):
    build_summaries(con, [DAILY])
    counts, done = set(), threading.Event()
    other = engine.another(con)

    def read():
        while not (counts and done.is_set()):
            counts.add(other.execute("SELECT count(*) FROM daily").fetchone()[0])

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(5):
        build_summaries(con, [DAILY])
    done.set()
    reader.join()
    other.close()
    assert counts == {2}


@pytest.mark.parametrize(
    ("summaries", "message"),
    [
        ([Summary("a", "SELECT * FROM wether")], "neither a table nor a summary; did you mean 'weather'?"),
        ([Summary("v", "SELECT 1 AS x")], "there is a view of this name"),
        ([Summary("keyed", "SELECT 1 AS x")], "the table of this name has a PRIMARY KEY constraint"),
        ([Summary("daily", "SELECT 1 AS x")], "cannot give way while view v depends on it; drop that first"),
        ([Summary("a", "SELECT * FROM v"), Summary("daily", "SELECT 1 AS x")], "'daily' through a view or macro"),
        ([Summary("a", "SELECT * FROM f()"), Summary("daily", "SELECT 1 AS x")], "'daily' through a view or macro"),
    ],
)
def test_what_is_refused_before_anything_is_built(con, summaries, message):
    con.execute("CREATE TABLE daily AS SELECT 1 AS x; CREATE VIEW v AS SELECT * FROM daily")
    con.execute("CREATE TABLE keyed (k INTEGER PRIMARY KEY)")
    con.execute("CREATE FUNCTION f() RETURNS SETOF daily LANGUAGE sql AS 'SELECT * FROM daily'")
    before = look(con)
    with pytest.raises(SummaryError) as caught:
        build_summaries(con, [Summary("first", "SELECT 1 AS a"), *summaries])
    assert message in str(caught.value)
    assert look(con) == before


def test_a_query_that_does_not_fit_its_tables(con):
    with pytest.raises(SummaryError, match=r"failed at 'build', and its table is as it was: .*\"tmax\" does not exist"):
        build_summaries(con, [Summary("a", "SELECT tmax FROM weather")])


def test_by_a_connection_that_does_not_commit_by_itself_and_by_a_hook(con, monkeypatch):
    server = postgres()
    with server.connect(engine.database) as other:
        build_summaries(other, BOTH)
        other.execute("SELECT 1")
        with pytest.raises(WarehouseError, match="has a transaction open"):
            build_summaries(other, BOTH)
    assert len(rows(con, "daily")) == 2
    parts = {"host": server.host, "port": server.port, "login": server.user, "password": server.password}
    connection = Connection("mart", "postgres", schema=engine.database, **parts)
    assert build_summaries(PostgresHook(connection=connection), BOTH)[0].before == 2
    monkeypatch.setenv("ETLKIT_CONN_MART", connection.as_json())
    task = SummaryOperator(task_id="a", summary="daily", config=BOTH, conn_id="mart")
    assert task.execute({}) == {"rows": 2, "before": 2}
    masker.forget()
