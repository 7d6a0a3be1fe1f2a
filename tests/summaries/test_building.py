"""Building summary tables: what comes out, that nothing half done stays, and what is refused."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etlkit.errors import CheckFailed, SummaryError, WarehouseError
from etlkit.summaries import Summary, build_summaries, build_summary
from etlkit.warehouse import checks, connect
from etlkit.warehouse.duck import DuckDB

DAILY = Summary(
    "daily",
    "SELECT airport, date, min(temp) AS tmin FROM weather GROUP BY ALL",
    key=["airport", "date"],
    doc="It's the day's minimum.",
    input_checks={"weather": [checks.row_count(1), checks.not_null("temp")]},
    output_checks=[checks.every("tmin > -100")],
)
COLDEST = Summary("coldest", "SELECT airport, min(tmin) AS tmin FROM daily GROUP BY airport", key="airport")
BOTH = [COLDEST, DAILY]
HOURS = "CREATE TABLE weather (airport VARCHAR, date DATE, temp DOUBLE)"


def add_hours(con, *hours):
    con.executemany("INSERT INTO weather VALUES (?, ?, ?)", hours)


def make(path=":memory:"):
    con = connect(path)
    con.execute(HOURS)
    add_hours(con, ("JFK", "2013-01-01", 26.1), ("JFK", "2013-01-01", 25.0), ("LGA", "2013-01-01", 27.0))
    return con


@pytest.fixture
def con():
    with make() as con:
        yield con


def rows(con, table):
    return con.execute(f"FROM {table} ORDER BY ALL").fetchall()


def look(con):
    """Everything that is in the database."""
    tables = [name for (name,) in con.execute("SELECT table_name FROM duckdb_tables() ORDER BY 1").fetchall()]
    catalog = [
        con.execute("SELECT table_name, sql, comment FROM duckdb_tables() ORDER BY 1").fetchall(),
        con.execute("SELECT sql FROM duckdb_indexes() ORDER BY 1").fetchall(),
        con.execute("SELECT column_name, comment FROM duckdb_columns() WHERE NOT internal ORDER BY 1").fetchall(),
    ]
    return {table: rows(con, table) for table in tables}, catalog


# --- what comes out ---------------------------------------------------------------------------------------------------


def test_tables_are_built_in_order(con):
    first = build_summaries(con, BOTH)
    assert [(report.name, report.before, report.rows) for report in first] == [("daily", None, 2), ("coldest", None, 2)]
    add_hours(con, ("EWR", "2013-01-01", 20.0), ("JFK", "2013-01-02", 19.0))
    second = build_summaries(con, BOTH)
    assert str(second) == "daily    4 rows (before: 2)\ncoldest  3 rows (before: 2)"
    assert str(second[1]) == "coldest  3 rows (before: 2)"
    assert rows(con, "coldest") == [("EWR", 20.0), ("JFK", 19.0), ("LGA", 27.0)]
    assert look(con)[0].keys() == {"weather", "daily", "coldest"}


def test_the_report_has_the_sql(con):
    build_summaries(con, [DAILY])
    [report] = build_summaries(con, [DAILY])
    assert [statement.step for statement in report.sql] == [
        *("begin", "lock", "count", "check inputs", "check inputs", "build", "count"),
        *("check result", "check result", "check result", "swap", "swap", "swap", "swap", "commit"),
    ]
    assert 'CREATE TABLE "daily__next" AS\nSELECT airport' in str(report.sql)
    # What is printed can be run.
    con.execute("DELETE FROM daily")
    con.execute(str(report.sql))
    assert len(rows(con, "daily")) == 2


def test_one_alone(con):
    with pytest.raises(
        SummaryError, match="summary 'coldest': it reads 'daily', which is neither a table nor a summary"
    ):
        build_summary(con, BOTH, "coldest")
    assert build_summary(con, BOTH, "daily").rows == 2
    assert build_summary(con, BOTH, "coldest").rows == 2
    with pytest.raises(SummaryError, match="there is no summary 'dialy'; did you mean 'daily'"):
        build_summary(con, BOTH, "dialy")


def test_the_columns_may_change(con):
    build_summaries(con, [DAILY])
    build_summaries(con, [Summary("daily", "SELECT count(*) AS hours FROM weather")])
    assert rows(con, "daily") == [(3,)]


def test_indexes_and_comments_stay(con):
    build_summaries(con, [DAILY])
    con.execute("CREATE INDEX by_tmin ON daily (tmin)")
    con.execute("COMMENT ON COLUMN daily.tmin IS 'in degrees Fahrenheit'")
    _, catalog = before = look(con)
    add_hours(con, ("EWR", "2013-01-01", 20.0))
    build_summaries(con, [DAILY])
    after = look(con)
    assert after[1] == catalog
    assert after[0] != before[0]
    assert "It's the day's minimum." in str(catalog)


def test_schemas_odd_names_and_queries(con):
    con.execute('CREATE SCHEMA "my mart"; CREATE SCHEMA raw; CREATE TABLE raw.a AS SELECT 1 AS x')
    odd = 'say "hi"; DROP TABLE weather'
    summaries = [
        Summary(
            "my mart.도시", 'SELECT * FROM "SAY ""hi""; drop table WEATHER" -- all', doc="'; DROP TABLE weather; --"
        ),
        Summary(odd, "WITH a AS (FROM raw.a) SELECT *, ';' AS semi FROM a; -- the end;"),
        Summary("a", "FROM raw.a"),
        Summary("select", "PIVOT weather ON airport USING min(temp)"),
        Summary("Main.range", "FROM range(3)"),
        Summary("tables", "SELECT count(*) AS n FROM information_schema.tables"),
    ]
    for _ in range(2):
        reports = build_summaries(con, summaries)
        assert [report.name for report in reports] == [odd, "my mart.도시", "a", "select", "Main.range", "tables"]
    assert rows(con, '"my mart"."도시"') == [(1, ";")]
    assert len(rows(con, "weather")) == 3


def test_files(con, tmp_path):
    con.execute(f"COPY weather TO '{tmp_path}/hours.csv'")
    assert build_summaries(con, [Summary("a", f"FROM '{tmp_path}/hours.csv'")])[0].rows == 3
    assert build_summaries(con, [Summary("a", f"FROM read_csv('{tmp_path}/*.csv')")])[0].rows == 3
    with pytest.raises(SummaryError, match="summary 'a' failed at 'build', and its table is as it was: "):
        build_summaries(con, [Summary("a", f"FROM '{tmp_path}/no.csv'")])
    assert len(rows(con, "a")) == 3


def test_other_databases_and_temporary_tables(con):
    con.execute("ATTACH ':memory:' AS lake; CREATE TABLE lake.hours AS SELECT 1 AS a; CREATE SCHEMA lake.s")
    con.execute("CREATE TABLE lake.s.hours AS SELECT 2 AS a; CREATE TEMP TABLE mine AS SELECT 3 AS a")
    names = ["lake.hours", "lake.main.hours", "lake.s.hours", "memory.main.weather", "mine"]
    build_summaries(con, [Summary(f"s{number}", f"SELECT count(*) FROM {name}") for number, name in enumerate(names)])
    assert [rows(con, f"s{number}") for number in range(5)] == [[(1,)], [(1,)], [(1,)], [(3,)], [(1,)]]


# --- checks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hour", "message"),
    [
        (("JFK", "2013-01-02", None), "check not_null(temp) does not hold in \"weather\": rows=1, airport='JFK'"),
        ((None, "2013-01-02", 1.0), 'check not_null(airport, date) does not hold in "daily": rows=1, airport=None'),
        (("JFK", "2013-01-02", -300.0), "check every(tmin > -100) does not hold in \"daily\": rows=1, airport='JFK'"),
    ],
)
def test_a_failed_check_keeps_yesterdays_table(con, hour, message):
    build_summaries(con, BOTH)
    before = look(con)
    add_hours(con, hour)
    with pytest.raises(CheckFailed, match=re.escape(message)):
        build_summaries(con, BOTH)
    con.execute("DELETE FROM weather WHERE date = '2013-01-02'")
    assert look(con) == before


def test_a_check_of_an_empty_source(con):
    con.execute("DELETE FROM weather")
    with pytest.raises(CheckFailed, match=r"check row_count\(1\) does not hold in \"weather\": rows=0"):
        build_summaries(con, BOTH)
    assert look(con)[0] == {"weather": []}


def test_a_key_that_is_not_unique(con):
    with pytest.raises(
        CheckFailed, match=r'unique\(airport\) does not hold in "t": duplicated=1, rows=2, airport=\'JFK\''
    ):
        build_summaries(con, [Summary("t", "SELECT airport FROM weather", key="airport")])


def test_tables_before_the_one_that_fails_are_new(con):
    build_summaries(con, BOTH)
    add_hours(con, ("EWR", "2013-01-01", 20.0))
    broken = Summary("coldest", COLDEST.sql, output_checks=[checks.row_count(1, 2)])
    after = Summary("after", "FROM coldest")
    with pytest.raises(CheckFailed):
        build_summaries(con, [after, broken, DAILY])
    assert [len(rows(con, table)) for table in ("daily", "coldest")] == [3, 2]
    assert "after" not in look(con)[0]


# --- faults -----------------------------------------------------------------------------------------------------------


def prepare(con):
    """Summaries of yesterday with an index and a comment, and a new hour."""
    build_summaries(con, BOTH)
    con.execute("CREATE INDEX by_tmin ON daily (tmin); COMMENT ON COLUMN daily.tmin IS 'in Fahrenheit'")
    add_hours(con, ("EWR", "2013-01-01", 20.0))
    return look(con)


class Stop:
    """A listener that does something before the statement with this number."""

    def __init__(self, number, then):
        self.left, self.then = number, then

    def __call__(self, statement):
        if self.left == 0:
            self.then(statement)
        self.left -= 1


def fail(statement):
    raise RuntimeError(f"stopped before {statement.step}")


def number_of_statements():
    with make() as con:
        prepare(con)
        return len(build_summary(con, BOTH, "daily").sql)


def test_an_exception_before_any_statement(con):
    old = prepare(con)
    count = number_of_statements()
    for number in range(count):
        with pytest.raises(SummaryError, match="and its table is as it was: stopped before") as caught:
            build_summaries(con, BOTH, on_statement=Stop(number, fail))
        assert isinstance(caught.value.__cause__, RuntimeError)
        assert (caught.value.summary, bool(caught.value.sql)) == ("daily", True)
        assert look(con) == old
    with pytest.raises(SummaryError) as caught:
        build_summaries(con, BOTH, on_statement=Stop(count, fail))
    assert caught.value.summary == "coldest"
    assert len(rows(con, "daily")) == 3  # a summary is a transaction of its own
    assert rows(con, "coldest") == old[0]["coldest"]


def test_an_error_of_the_database_in_any_statement(monkeypatch):
    """Each statement in turn fails inside DuckDB, which then has an aborted transaction to be rolled back."""
    execute = DuckDB.execute
    with make() as con:
        old = prepare(con)
        for number in range(number_of_statements()):
            left = [number]

            def broken(database, sql, left=left):
                left[0] -= 1
                return execute(database, "SELECT error('broken')" if left[0] == -1 else sql)

            with monkeypatch.context() as patch, pytest.raises(SummaryError, match="broken"):
                patch.setattr(DuckDB, "execute", broken)
                build_summaries(con, BOTH)
            assert look(con) == old


def test_ctrl_c_rolls_back_and_stays_ctrl_c(con):
    def interrupt(statement):
        raise KeyboardInterrupt

    old = prepare(con)
    with pytest.raises(KeyboardInterrupt):
        build_summaries(con, BOTH, on_statement=Stop(11, interrupt))
    assert look(con) == old
    con.execute("BEGIN; COMMIT")  # no transaction is open


def kill(statement):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_kill_9_before_any_statement(tmp_path):
    """Real processes, each killed at another statement; the last one right after the building."""
    count = number_of_statements()
    with make(tmp_path / "original.duckdb") as con:
        old = prepare(con)
    paths = [tmp_path / f"{number}.duckdb" for number in range(count + 1)]
    for path in paths:
        shutil.copyfile(tmp_path / "original.duckdb", path)
    done = subprocess.run([sys.executable, __file__, *map(str, paths)], check=True, capture_output=True, text=True)
    assert done.stdout.split() == [str(-signal.SIGKILL)] * len(paths)
    for path in paths[:-1]:
        with connect(path) as con:
            assert look(con) == old
    with connect(paths[-1]) as con:
        tables, catalog = look(con)
    assert (len(tables["daily"]), catalog) == (3, old[1])


def test_nobody_sees_a_table_half_built(tmp_path):
    """Another connection reads at every statement: the old table, until it is the new one."""
    with make(tmp_path / "w.duckdb") as con:
        prepare(con)
        other = con.cursor()
        seen = []
        build_summary(con, BOTH, "daily", on_statement=lambda statement: seen.append(len(rows(other, "daily"))))
        assert set(seen) == {2}
        assert len(rows(other, "daily")) == 3


def test_nobody_writes_into_a_table_that_is_being_replaced(con):
    prepare(con)
    other, refusals = con.cursor(), []

    def write(statement):
        if statement.step == "build":
            with pytest.raises(duckdb.TransactionException) as caught:
                other.execute("INSERT INTO daily VALUES ('XXX', '2013-01-01', 1)")
            refusals.append(caught.value)

    build_summary(con, BOTH, "daily", on_statement=write)
    assert len(refusals) == 1
    assert ("XXX",) not in con.execute("SELECT airport FROM daily").fetchall()


def test_one_who_wrote_first_but_commits_later_is_refused(con):
    prepare(con)
    other = con.cursor()
    other.execute("BEGIN; DELETE FROM daily")
    build_summary(con, BOTH, "daily")
    with pytest.raises(duckdb.TransactionException):
        other.execute("COMMIT")
    assert len(rows(con, "daily")) == 3


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("summaries", "message"),
    [
        (
            [Summary("a", "FROM wether")],
            "it reads 'wether', which is neither a table nor a summary; did you mean 'weather'?",
        ),
        ([Summary("a", "FROM no.weather")], "it reads 'no.weather', which is neither a table nor a summary"),
        ([Summary("a", "FROM no.main.weather")], "it reads 'no.main.weather', which is neither"),
        ([Summary("a", "FROM weather", reads="nothing")], "it reads 'nothing', which is neither"),
        (
            [Summary("b", "SELECT 1"), Summary("a", "FROM memory.main.b")],
            "reads the summary 'main.b' as 'memory.main.b'",
        ),
        ([Summary("a", "FROM weather WHERE")], "the SQL cannot be read: "),
        ([Summary("v", "SELECT 1")], "there is a view of this name; drop it, or give the summary another name"),
        ([Summary("keyed", "SELECT 1")], "the table of this name has a PRIMARY KEY constraint, so it was not built as"),
        (
            [Summary("a", "FROM v"), Summary("daily", "SELECT 1")],
            "it reads the summary 'daily' through a view or macro",
        ),
        ([Summary("a", "SELECT f(1)"), Summary("daily", "SELECT 1")], "through a view or macro, which hides in which"),
        ([Summary("a", "FROM t()"), Summary("daily", "SELECT 1")], "order to build them; say so: reads: [daily]"),
        (
            [Summary("a", "FROM deep JOIN weather USING (date)"), Summary("daily", "SELECT 1")],
            "reads the summary 'daily'",
        ),
    ],
)
def test_what_is_refused_before_anything_is_built(con, summaries, message):
    con.execute("CREATE TABLE daily AS SELECT DATE '2013-01-01' AS date; CREATE VIEW v AS FROM daily")
    con.execute("CREATE VIEW deep AS SELECT v.date FROM v JOIN weather USING (date)")
    con.execute("CREATE TABLE keyed (a INTEGER PRIMARY KEY); CREATE MACRO f(x) AS (SELECT max(date) FROM daily)")
    con.execute("CREATE MACRO t() AS TABLE FROM v")
    before = look(con)
    with pytest.raises(SummaryError) as caught:
        build_summaries(con, [Summary("first", "SELECT 1 AS a"), *summaries])
    assert f"summary {caught.value.summary!r}: " in str(caught.value)
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert look(con) == before


def test_a_view_of_another_schema_hides_the_tables_of_that_schema(con):
    con.execute(
        "CREATE SCHEMA raw; CREATE TABLE raw.daily AS SELECT 1 AS a; USE raw; CREATE VIEW v AS FROM daily; USE main"
    )
    build_summaries(con, [Summary("a", "FROM raw.v"), Summary("daily", "SELECT 2 AS b")])
    assert rows(con, "a") == [(1,)]


def test_a_view_whose_tables_are_told(con):
    con.execute("CREATE TABLE daily AS SELECT 1 AS a; CREATE VIEW v AS FROM daily")
    build_summaries(con, [Summary("a", "FROM v", reads="daily"), Summary("daily", "SELECT 2 AS a")])
    assert rows(con, "a") == [(2,)]


def test_a_query_that_does_not_fit_its_tables(con):
    with pytest.raises(
        SummaryError, match=r"summary 'a' failed at 'build', and its table is as it was: .*\"tmax\""
    ) as caught:
        build_summaries(con, [Summary("a", "SELECT tmax FROM weather")])
    assert (caught.value.step, caught.value.sql) == ("build", 'CREATE TABLE "a__next" AS\nSELECT tmax FROM weather')


def test_an_open_transaction_and_what_is_no_warehouse(con):
    con.execute("BEGIN")
    with pytest.raises(WarehouseError, match="the connection has a transaction open"):
        build_summaries(con, BOTH)
    with pytest.raises(WarehouseError, match="a str is not a warehouse"):
        build_summaries("warehouse.duckdb", BOTH)


# --- the order --------------------------------------------------------------------------------------------------------

WAYS_TO_READ = (
    "SELECT v FROM {}",
    'SELECT v FROM "{}"',
    "SELECT v FROM main.{}",
    "WITH {0}_ AS (FROM {0}) SELECT v FROM {0}_",
    "SELECT (SELECT min(v) FROM {}) AS v",
    "SELECT u.v FROM (SELECT * FROM {}) AS u",
)
NAMES = [f"t{number}" for number in range(6)]


@st.composite
def acyclic(draw):
    """Summaries in any order, each of which reads the source and some of those that are before it in another order."""
    order = draw(st.permutations(NAMES))[: draw(st.integers(1, len(NAMES)))]
    summaries = []
    for position, name in enumerate(order):
        read = draw(st.sets(st.sampled_from(order[:position]))) if position else set()
        ways = (draw(st.sampled_from(WAYS_TO_READ)).format(other) for other in sorted(read))
        queries = " UNION ALL ".join(["SELECT v FROM source", *(f"({way})" for way in ways)])
        summaries.append(Summary(name, f"SELECT min(v) AS v FROM ({queries})"))
    return draw(st.permutations(summaries))


@settings(deadline=None, max_examples=30)
@given(acyclic())
def test_every_table_sees_its_inputs_new(summaries):
    """The smallest version that a table has seen is today's, so nothing before it was yesterday's."""
    with duckdb.connect() as con:
        con.execute("CREATE TABLE source AS SELECT 1 AS v")
        for today in (1, 2):
            con.execute(f"UPDATE source SET v = {today}")
            reports = build_summaries(con, summaries)
            assert {report.name for report in reports} == {summary.name for summary in summaries}
            assert all(rows(con, summary.name) == [(today,)] for summary in summaries)


if __name__ == "__main__":
    for number, path in enumerate(map(Path, sys.argv[1:])):
        if not (child := os.fork()):
            build_summary(connect(path), BOTH, "daily", on_statement=Stop(number, kill))
            kill(None)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
