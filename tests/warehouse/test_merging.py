"""What a merge does to a table, in every strategy and with every swap."""

from __future__ import annotations

from datetime import date, datetime

import duckdb
import pytest

from etlkit.errors import CheckFailed, MergeError, SchemaMismatch, WarehouseError
from etlkit.warehouse import MergeReport, merge, plan
from tests.warehouses import only_duckdb

JAN1 = date(2013, 1, 1)
KEY = ["airport", "date"]


def jan(day: int) -> datetime:
    """A day of January 2013, as a TIMESTAMP column has it: without a time zone."""
    return datetime.fromisoformat(f"2013-01-{day:02}")


def run(con, new_rows, way=None, **options) -> MergeReport:
    return merge(con, "daily", new_rows, **{"key": KEY, "order_by": "updated_at", **(way or {}), **options})


def table(con, name="daily"):
    return sorted(con.execute(f"SELECT * FROM {name}").fetchall(), key=str)


@pytest.mark.parametrize("nulls", ["nulls_first", "nulls_last"])
def test_the_newest_row_of_each_key_stays(engine, con, way, nulls):
    if engine.name == "duckdb":
        con.execute(f"SET default_null_order = '{nulls}'")
    report = run(
        con,
        [
            ("JFK", JAN1, 29.0, jan(3)),  # newer than the table's
            ("JFK", JAN1, 28.0, jan(1)),  # older than both
            ("LGA", JAN1, 27.0, jan(3)),  # the table's has no timestamp, which is older than any
            ("EWR", JAN1, 26.0, None),
        ],
        way,
    )
    assert table(con) == [
        ("EWR", JAN1, 26.0, None),
        ("JFK", JAN1, 29.0, jan(3)),
        ("LGA", JAN1, 27.0, jan(3)),
    ]
    assert (report.before, report.new, report.duplicates) == (2, 4, 1)
    assert (report.replaced, report.inserted, report.unchanged, report.removed, report.after) == (2, 1, 0, 0, 3)


def test_an_older_row_changes_nothing(con, way):
    old = table(con)
    report = run(con, [("JFK", JAN1, 99.0, jan(1))], way)
    assert table(con) == old
    assert (report.replaced, report.inserted, report.unchanged) == (0, 0, 1)


def test_twice_is_once(con, way):
    rows = [("JFK", JAN1, 29.0, jan(3)), ("EWR", JAN1, 26.0, None)]
    run(con, rows, way)
    once = table(con)
    report = run(con, rows, way)
    assert table(con) == once
    assert (report.replaced, report.inserted, report.unchanged) == (0, 0, 2)


def test_many_rows_again_are_not_taken_for_newer_ones(engine, empty, way):
    numbers = {"duckdb": "range(0, 20000)", "postgres": "generate_series(0, 19999)"}[engine.name]
    empty.execute(f"CREATE TABLE t AS SELECT i AS k, 1 AS ts FROM {numbers} AS r(i)")
    report = merge(empty, "t", "SELECT * FROM t ORDER BY k DESC", key="k", order_by="ts", **way)
    assert (report.unchanged, report.replaced, report.after) == (20000, 0, 20000)


def test_no_new_rows(con, way):
    old = table(con)
    report = run(con, [], way)
    assert table(con) == old
    assert (report.before, report.new, report.after) == (2, 0, 2)


def test_into_an_empty_table(con, way):
    con.execute("DELETE FROM daily")
    report = run(con, [("EWR", JAN1, 1.0, None), ("EWR", JAN1, 2.0, None)], way)
    assert table(con) == [("EWR", JAN1, 2.0, None)]
    assert (report.before, report.inserted, report.duplicates, report.after) == (0, 1, 1, 1)


def test_ties_go_to_the_greatest_row_whatever_the_order_they_come_in(engine, way):
    """Equal timestamps: the other columns decide, in the table's order, NULL last; being new decides nothing."""
    rows = [("a", 1, None, 9), ("a", 1, "x", 1), ("a", 1, "x", 2), ("a", 1, "w", 9)]
    for order in (rows, rows[::-1]):
        with engine.fresh() as con:
            con.execute("CREATE TABLE t (k VARCHAR, ts INTEGER, name VARCHAR, n INTEGER)")
            for row in order:
                merge(con, "t", [row], key="k", order_by="ts", **way)
            assert table(con, "t") == [("a", 1, "x", 2)]


def test_several_order_columns(con, way):
    con.execute("CREATE TABLE t (k INTEGER, year INTEGER, month INTEGER)")
    merge(con, "t", [(1, 2012, 12), (1, 2013, 1), (1, 2013, None)], key="k", order_by=("year", "month"), **way)
    assert table(con, "t") == [(1, 2013, 1)]


def test_columns_in_another_order_and_case(con, way):
    run(con, "SELECT 5.0 AS \"TMIN\", 'EWR' AS airport, NULL AS Updated_At, DATE '2013-01-01' AS date", way)
    assert ("EWR", JAN1, 5.0, None) in table(con)


def test_the_table_and_columns_may_be_spelt_in_another_case(con):
    report = merge(con, "DAILY", [("EWR", JAN1, 5.0, None)], key=["Airport", "DATE"], order_by="UPDATED_AT")
    assert (report.table, report.inserted) == ('"daily"', 1)


def test_a_row_as_old_as_the_tables_does_not_win_by_being_new(con, way):
    """...nor lose by it: only the values count."""
    run(con, [("JFK", JAN1, 29.0, jan(2))], way)
    assert ("JFK", JAN1, 30.0, jan(2)) in table(con)
    run(con, [("JFK", JAN1, 31.0, jan(2))], way)
    assert ("JFK", JAN1, 31.0, jan(2)) in table(con)


# -- tables that already break their key -------------------------------------------------------------------------


@pytest.fixture
def unclean(con):
    con.execute(
        "CREATE TABLE t AS SELECT * FROM (VALUES ('a', 1, 'old'), ('a', 2, 'new'), ('b', 1, 'b')) AS v(k, ts, name)"
    )
    return con


def test_staging_cleans_a_table_that_is_not_unique_and_says_so(unclean):
    report = merge(unclean, "t", [("c", 1, "c")], key="k", order_by="ts")
    assert table(unclean, "t") == [("a", 2, "new"), ("b", 1, "b"), ("c", 1, "c")]
    assert (report.before, report.removed, report.inserted, report.replaced, report.after) == (3, 1, 1, 0, 3)


def test_staging_counts_right_when_an_unclean_key_is_replaced(unclean):
    report = merge(unclean, "t", [("a", 3, "newest")], key="k", order_by="ts")
    assert table(unclean, "t") == [("a", 3, "newest"), ("b", 1, "b")]
    assert (report.before, report.removed, report.inserted, report.replaced, report.after) == (3, 1, 0, 1, 2)


def test_incremental_refuses_a_key_that_is_not_unique(unclean):
    old = table(unclean, "t")
    with pytest.raises(CheckFailed, match=r"unique\(k\) does not hold in \"t\" .*staging.*k='a'"):
        merge(unclean, "t", [("a", 3, "newest")], key="k", order_by="ts", strategy="incremental")
    assert table(unclean, "t") == old


def test_a_null_key_in_the_table_is_refused(unclean, way):
    unclean.execute("INSERT INTO t VALUES (NULL, 1, 'x'), (NULL, 2, 'y')")
    with pytest.raises(CheckFailed, match=r'not_null\(k\) does not hold in "t": rows=2'):
        merge(unclean, "t", [("c", 1, "c")], key="k", order_by="ts", **way)
    assert unclean.execute("SELECT count(*) FROM t").fetchone() == (5,)


# -- refused before anything is written --------------------------------------------------------------------------


def test_null_keys_are_refused_with_their_number_and_an_example(con, way):
    old = table(con)
    rows = [("JFK", JAN1, 1.0, None), (None, JAN1, 2.0, None), ("LGA", None, 3.0, None)]
    with pytest.raises(CheckFailed) as caught:
        run(con, rows, way)
    assert "not_null(airport, date) does not hold in the new rows: rows=2, airport=None" in str(caught.value)
    assert caught.value.check == "not_null(airport, date)"
    assert table(con) == old


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT 'JFK' AS airport, 1.0 AS tmin, NULL AS updated_at", "lack date$"),
        ("SELECT *, 1 AS tmax FROM daily", "have extra tmax; did you mean 'tmin'|have extra tmax$"),
        (
            "SELECT airport, date, tmin AS tmni, updated_at FROM daily",
            "lack tmin and have extra tmni; did you mean 'tmin'",
        ),
        ("SELECT *, 1 AS TMIN FROM daily", "have extra (TMIN|tmin)"),
    ],
)
def test_missing_and_extra_columns(con, way, query, message):
    old = table(con)
    with pytest.raises(SchemaMismatch, match=message):
        run(con, query, way)
    assert table(con) == old


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"key": ["airport", "dat"]}, "key: \"daily\" has no column 'dat'; did you mean 'date'"),
        ({"order_by": "updated"}, "order_by: \"daily\" has no column 'updated'; did you mean 'updated_at'"),
        ({"key": []}, "key is empty"),
        ({"order_by": ()}, "order_by is empty"),
        ({"strategy": "full"}, "strategy 'full' is unknown; it is 'staging' or 'incremental'"),
        ({"swap": "rename"}, "swap 'rename' is unknown; it is 'delete-insert' or 'drop-rename'"),
    ],
)
def test_arguments_that_mean_nothing(con, options, message):
    with pytest.raises(WarehouseError) as caught:
        run(con, [], **options)
    assert message in str(caught.value)


def test_a_table_that_is_not_there(con):
    with pytest.raises(WarehouseError, match=r"no table is called 'dialy'; did you mean 'daily'\?"):
        merge(con, "dialy", [], key=KEY, order_by="updated_at")


def test_a_view_is_not_a_table(con):
    con.execute("CREATE VIEW latest AS SELECT * FROM daily")
    with pytest.raises(WarehouseError, match="'latest' is a view"):
        merge(con, "latest", [], key=KEY, order_by="updated_at")


def test_what_is_not_a_connection():
    with pytest.raises(WarehouseError, match="a str is not a warehouse"):
        merge("warehouse.duckdb", "daily", [], key=KEY, order_by="updated_at")


@pytest.mark.parametrize("broken", [False, True])
def test_an_open_transaction_is_refused_and_left_alone(engine, con, broken):
    con.execute("BEGIN")
    con.execute("DELETE FROM daily WHERE airport = 'LGA'")
    if broken:
        with pytest.raises(engine.ConstraintError):
            con.execute("INSERT INTO daily SELECT * FROM daily")
    with pytest.raises(WarehouseError, match="has a transaction open"):
        run(con, [])
    if broken:
        con.execute("ROLLBACK")
    else:
        con.execute("COMMIT")  # the caller's own work goes on
        assert len(table(con)) == 1


def test_a_name_that_is_taken(con):
    con.execute("CREATE TEMP TABLE daily__staging AS SELECT * FROM daily")
    with pytest.raises(WarehouseError, match='needs the name "daily__staging", which is taken'):
        run(con, [])


@only_duckdb
def test_a_hidden_table_is_refused(con):
    con.execute("CREATE TEMP VIEW daily AS SELECT 1 AS airport")
    with pytest.raises(WarehouseError, match=r"hides \"daily\"; drop it, or say 'memory\.main\.daily'"):
        run(con, [])
    report = merge(con, "memory.main.daily", [("EWR", JAN1, 1.0, None)], key=KEY, order_by="updated_at")
    assert report.inserted == 1


@only_duckdb
def test_collations_are_refused(con):
    con.execute("CREATE TABLE t (k VARCHAR COLLATE NOCASE, ts INTEGER)")
    with pytest.raises(WarehouseError, match="COLLATE"):
        merge(con, "t", [("a", 1)], key="k", order_by="ts")


@only_duckdb
def test_a_column_called_rowid_is_refused(con):
    con.execute("CREATE TABLE t (k VARCHAR, rowid INTEGER)")
    with pytest.raises(WarehouseError, match="'rowid'"):
        merge(con, "t", [("a", 1)], key="k", order_by="rowid")


def test_a_read_only_database(tmp_path, way):
    with duckdb.connect(tmp_path / "w.duckdb") as con:
        con.execute("CREATE TABLE t (k INTEGER, ts INTEGER)")
    with (
        duckdb.connect(tmp_path / "w.duckdb", read_only=True) as con,
        pytest.raises(WarehouseError, match="opened read-only"),
    ):
        merge(con, "t", [(1, 1)], key="k", order_by="ts", **way)


# -- failures ----------------------------------------------------------------------------------------------------


def test_a_constraint_of_the_table_stops_the_merge(engine, con, way):
    old = table(con)
    with pytest.raises(
        MergeError, match=r"merge into \"daily\" failed at 'swap', and the table is as it was"
    ) as caught:
        run(con, [("EWR", JAN1, 500.0, None)], way)
    assert caught.value.step == "swap"
    assert caught.value.sql.startswith("INSERT INTO")
    assert caught.value.counts["new"] == 1
    assert isinstance(caught.value.__cause__, engine.ConstraintError)
    assert "\n" not in str(caught.value)
    assert table(con) == old


@pytest.fixture
def shared(tmp_path):
    """A file with a table without constraints, which DuckDB itself would let two connections fill with one key."""
    with duckdb.connect(tmp_path / "w.duckdb") as con:
        con.execute("CREATE TABLE t (k INTEGER, ts INTEGER)")
        con.execute("INSERT INTO t VALUES (1, 1)")
        con.execute("COMMENT ON TABLE t IS 'shared'")
        yield con


@pytest.mark.parametrize("step", ["count", "commit"])
@pytest.mark.parametrize("sql", ["UPDATE t SET ts = 9", "INSERT INTO t VALUES (2, 9)", "DELETE FROM t"])
def test_no_other_connection_can_write_meanwhile(shared, way, step, sql):
    other = shared.cursor()
    refused = []

    def interfere(statement):
        if statement.step == step and not refused:
            with pytest.raises(duckdb.TransactionException) as caught:
                other.execute(sql)
            refused.append(caught)

    merge(shared, "t", [(1, 3), (2, 3)], key="k", order_by="ts", on_statement=interfere, **way)
    assert refused
    assert table(shared, "t") == [(1, 3), (2, 3)]
    assert shared.execute("SELECT comment FROM duckdb_tables()").fetchone() == ("shared",)


def test_what_another_connection_has_begun_to_write_does_not_get_in(shared, way):
    other = shared.cursor()
    other.execute("BEGIN")
    other.execute("INSERT INTO t VALUES (2, 9)")
    merge(shared, "t", [(2, 3)], key="k", order_by="ts", **way)
    with pytest.raises(duckdb.TransactionException):
        other.execute("COMMIT")
    assert table(shared, "t") == [(1, 1), (2, 3)]


def test_of_two_merges_at_once_one_fails_and_can_be_tried_again(shared, way):
    other = shared.cursor()
    again = {"key": "k", "order_by": "ts", **way}

    def interfere(statement):
        if statement.step == "copy":
            with pytest.raises(MergeError, match=r"failed at 'lock'.*run the merge again"):
                merge(other, "t", [(2, 9)], **again)

    merge(shared, "t", [(2, 3)], on_statement=interfere, **again)
    assert merge(other, "t", [(2, 9)], **again).replaced == 1
    assert table(shared, "t") == [(1, 1), (2, 9)]


def test_an_old_reader_keeps_its_snapshot_while_keys_are_replaced_again_and_again(tmp_path, way):
    """DuckDB once took a key that the same transaction deleted, or that a reader still sees, for a duplicate."""
    with duckdb.connect(tmp_path / "w.duckdb") as con:
        con.execute("CREATE TABLE t (k INTEGER PRIMARY KEY, u INTEGER UNIQUE, ts INTEGER)")
        con.execute("INSERT INTO t SELECT i, i, 0 FROM range(5000) AS r(i)")
        con.execute("CHECKPOINT")
        reader = con.cursor()
        reader.execute("BEGIN")
        reader.execute("SELECT sum(ts) FROM t")
        for ts in (1, 2, 3):
            report = merge(con, "t", f"SELECT k, u, {ts} AS ts FROM t WHERE k % 5 = 0", key="k", order_by="ts", **way)
            assert report.replaced == 1000
        assert reader.execute("SELECT sum(ts) FROM t").fetchone() == (0,)
        assert con.execute("SELECT sum(ts), count(*) FROM t").fetchone() == (3000, 5000)


def test_unique_values_may_change_places(con, way):
    """Two rows exchange a value that must be unique; both are deleted before either is inserted."""
    con.execute("CREATE TABLE t (k INTEGER PRIMARY KEY, u INTEGER UNIQUE, ts INTEGER)")
    con.execute("INSERT INTO t VALUES (1, 10, 0), (2, 20, 0)")
    merge(con, "t", [(1, 20, 1), (2, 10, 1)], key="k", order_by="ts", **way)
    assert table(con, "t") == [(1, 20, 1), (2, 10, 1)]


# -- what is kept ------------------------------------------------------------------------------------------------


@only_duckdb
def test_the_table_keeps_all_that_was_said_of_it(con, way):
    con.execute("CREATE SEQUENCE ids")
    con.execute(
        """CREATE TABLE "my t(" (
            id INTEGER DEFAULT nextval('ids'), k VARCHAR PRIMARY KEY, ts TIMESTAMP NOT NULL, size ENUM ('s', 'l'),
            price DECIMAL(5, 2) CHECK (price > 0), tags VARCHAR[],
            doubled DECIMAL(6, 2) GENERATED ALWAYS AS (price * 2), UNIQUE (id)
        )"""
    )
    con.execute('CREATE INDEX "by (price" ON "my t("((price + 1), size)')
    con.execute('CREATE UNIQUE INDEX by_id ON "my t("(id)')
    con.execute("COMMENT ON TABLE \"my t(\" IS 'it''s kept'")
    con.execute("COMMENT ON COLUMN \"my t(\".price IS 'in $; not €'")
    con.execute('CREATE VIEW "dear" AS SELECT * FROM "my t(" WHERE price > 5')

    def said():
        of = "WHERE table_name = 'my t('"
        return [
            con.execute(f"SELECT sql, comment FROM duckdb_tables() {of}").fetchall(),
            con.execute(f"SELECT sql FROM duckdb_indexes() {of} ORDER BY index_name").fetchall(),
            con.execute(f"SELECT column_name, comment FROM duckdb_columns() {of}").fetchall(),
            con.execute(
                f"SELECT constraint_name, constraint_text FROM duckdb_constraints() {of} ORDER BY 1"
            ).fetchall(),
        ]

    before = said()
    row = (7, "a", jan(1), "l", 9.5, ["x"])
    merge(con, "my t(", [row], key="k", order_by="ts", **way)
    assert said() == before
    assert [len(part) for part in before] == [1, 2, 7, 5]
    assert [str(value) for value in con.execute("FROM dear").fetchone()][-1] == "19.00"
    with pytest.raises(duckdb.ConstraintException):
        con.execute("INSERT INTO \"my t(\" (id, k, ts) VALUES (7, 'b', now()::TIMESTAMP)")


@only_duckdb
def test_drop_rename_refuses_what_it_would_break(con):
    con.execute("CREATE TABLE parent (k INTEGER PRIMARY KEY, ts INTEGER)")
    con.execute("CREATE TABLE child (k INTEGER PRIMARY KEY, p INTEGER REFERENCES parent (k), ts INTEGER)")
    con.execute("CREATE TABLE log (n INTEGER)")
    con.execute("CREATE TRIGGER watch AFTER INSERT ON daily INSERT INTO log VALUES (1)")
    for name, order in (("parent", "ts"), ("child", "ts")):
        with pytest.raises(WarehouseError, match=r"would lose the foreign key of \"child\"; use swap='delete-insert'"):
            merge(con, name, [], key="k", order_by=order, swap="drop-rename")
    with pytest.raises(WarehouseError, match='would lose trigger "watch"'):
        run(con, [], swap="drop-rename")
    merge(con, "parent", [(1, 1)], key="k", order_by="ts")
    assert merge(con, "child", [(1, 1, 1)], key="k", order_by="ts").inserted == 1


@only_duckdb
def test_a_table_of_another_database_and_a_temporary_one(con, tmp_path, way):
    con.execute(f"ATTACH '{tmp_path / 'other.duckdb'}' AS other")
    con.execute("CREATE SCHEMA other.s")
    for kind, name in (("TABLE", "other.s.t"), ("TEMP TABLE", "temp.main.t")):
        con.execute(f"CREATE {kind} {name} (k INTEGER PRIMARY KEY, ts INTEGER)")
        con.execute(f"CREATE INDEX i ON {name}(ts)")
        merge(con, name, [(1, 1), (1, 2)], key="k", order_by="ts", **way)
        assert table(con, name) == [(1, 2)]
        assert con.execute("SELECT database_name FROM duckdb_indexes()").fetchall()[-1] == (name.split(".")[0],)


# -- what is shown -----------------------------------------------------------------------------------------------


def test_the_report_shows_the_statements_that_ran_and_reads_well(con, way):
    seen = []
    report = run(con, [("EWR", JAN1, 1.0, None)], way, on_statement=seen.append)
    assert list(report.sql) == seen
    assert seen[0].sql == "BEGIN TRANSACTION"
    assert seen[-1].sql == "COMMIT"
    assert [step for step in ("copy", "append", "pick", "swap") if step in {each.step for each in seen}] == [
        "copy",
        "append",
        "pick",
        "swap",
    ]
    assert "  inserted            1\n" in str(report)
    assert str(report).startswith(f'"daily": {way["strategy"]}, {way["swap"]}')


def test_the_plan_is_what_would_run_and_runs_nothing(con, way):
    old = table(con)
    rows = "SELECT 'EWR' AS airport, DATE '2013-01-01' AS date, 1.0 AS tmin, NULL AS updated_at"
    options = {"key": KEY, "order_by": "updated_at", **way}
    script = plan(con, "daily", rows, **options)
    assert table(con) == old
    assert str(script) == str(merge(con, "daily", rows, **options).sql)


def test_the_printed_sql_does_the_same_when_it_is_run_by_hand(con, way):
    """Every statement of the plan, fed to a second database with the same table."""
    rows = "SELECT 'JFK' AS airport, DATE '2013-01-01' AS date, 1.0 AS tmin, TIMESTAMP '2013-01-31' AS updated_at"
    script = plan(con, "daily", rows, key=KEY, order_by="updated_at", **way)
    con.execute(str(script))
    assert ("JFK", JAN1, 1.0, jan(31)) in table(con)
    assert len(table(con)) == 2


def test_nothing_is_left_behind(engine, con, way):
    run(con, [("EWR", JAN1, 1.0, None)], way)
    assert engine.tables(con) == [("daily",)]
