"""What is PostgreSQL's own: locks that wait, what depends on a table, collations, privileges, connections."""

from __future__ import annotations

import threading
from datetime import date

import psycopg
import pytest
from psycopg.rows import dict_row

from etlkit.connections import Connection
from etlkit.errors import MergeError, WarehouseError
from etlkit.hooks import DuckDBHook, PostgresHook, SqliteHook
from etlkit.masking import masker
from etlkit.summaries import Summary, build_summaries
from etlkit.warehouse import check, checks, merge, plan
from tests.servers import postgres
from tests.warehouses import only_postgres

pytestmark = only_postgres
BY = {"key": "k", "order_by": "ts"}


@pytest.fixture
def con(empty):
    empty.execute("CREATE TABLE t (k INTEGER PRIMARY KEY, ts INTEGER)")
    empty.execute("INSERT INTO t VALUES (1, 1)")
    return empty


def rows(con, name="t"):
    return con.execute(f"SELECT * FROM {name} ORDER BY 1").fetchall()


def refused(con, table="t", new_rows=(), **options) -> str:
    with pytest.raises(WarehouseError) as caught:
        merge(con, table, list(new_rows), **{**BY, **options})
    assert "\n" not in str(caught.value)
    return str(caught.value)


# -- connections and transactions --------------------------------------------------------------------------------


def test_a_connection_that_does_not_commit_by_itself(engine, con):
    """The merge commits; afterwards the connection is as it was."""
    other = postgres().connect(engine.database)
    assert merge(other, "t", [(2, 1)], **BY).inserted == 1
    check(other, "t", checks.row_count(2, 2))
    assert plan(other, "t", "SELECT 1 AS k, 2 AS ts", **BY)
    assert (other.autocommit, other.info.transaction_status.name) == (False, "IDLE")
    assert rows(con) == [(1, 1), (2, 1)]
    other.execute("SELECT 1")
    assert "has a transaction open" in refused(other)
    other.close()


def test_a_hook_is_as_good_as_a_connection(engine, con, tmp_path):
    server = postgres()
    parts = {"host": server.host, "port": server.port, "login": server.user, "password": server.password}
    hook = PostgresHook(connection=Connection("pg", "postgres", schema=engine.database, **parts))
    assert merge(hook, "t", [(1, 2)], **BY).replaced == 1
    check(hook, "t", checks.unique("k"))
    assert hook.get_records("SELECT * FROM t") == [(1, 2)]
    local = DuckDBHook(connection=Connection("local", "duckdb", host=str(tmp_path / "w.duckdb")))
    local.run("CREATE TABLE t (k INTEGER, ts INTEGER)")
    assert merge(local, "t", [(1, 2)], **BY).inserted == 1
    lite = SqliteHook(connection=Connection("lite", "sqlite", host=str(tmp_path / "w.sqlite")))
    assert "a Connection is not a warehouse; pass a DuckDB connection" in refused(lite)
    masker.forget()


def test_a_connection_that_is_lost(engine, con, way):
    other = engine.another(con)
    server_process = other.info.backend_pid

    def cut(statement):
        if statement.step == "pick":
            con.execute("SELECT pg_terminate_backend(%s, 5000)", [server_process])

    with pytest.raises(MergeError, match=r"failed at 'pick'.*the connection is lost; connect and run the merge again"):
        merge(other, "t", [(1, 2)], on_statement=cut, **BY, **way)
    assert rows(con) == [(1, 1)]


def test_a_read_only_database(engine, con):
    other = postgres().connect(engine.database, autocommit=True, options="-c default_transaction_read_only=on")
    assert "is read-only" in refused(other)
    other.close()


def test_a_connection_whose_rows_are_no_tuples(engine, con, way):
    other = postgres().connect(engine.database, autocommit=True, row_factory=dict_row, cursor_factory=psycopg.RawCursor)
    assert merge(other, "t", [(1, 2)], **BY, **way).replaced == 1
    assert merge(other, "t", "SELECT 1 AS k, 3.0 AS ts", **BY, **way).replaced == 1
    check(other, "t", checks.row_count(1, 1))
    assert build_summaries(other, [Summary("total", "SELECT count(*) AS n FROM t")])[0].rows == 1
    assert other.execute("SELECT * FROM t").fetchall() == [{"k": 1, "ts": 3}]
    other.close()


def test_a_server_that_is_too_old(con, monkeypatch):
    monkeypatch.setattr("etlkit.warehouse.postgres.OLDEST", 990000)
    assert refused(con) == "a merge needs PostgreSQL 99 or newer, which this server is not"


# -- other connections -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sql", ["UPDATE t SET ts = 9", "INSERT INTO t VALUES (3, 9)", "DELETE FROM t"])
def test_others_read_the_old_table_and_cannot_write_meanwhile(engine, con, way, sql):
    other = engine.another(con)
    other.execute("SET lock_timeout = '1ms'")
    seen = []

    def interfere(statement):
        if statement.step == "pick":
            seen.extend(rows(other))
            with pytest.raises(psycopg.errors.LockNotAvailable):
                other.execute(sql)

    merge(con, "t", [(1, 3), (2, 3)], on_statement=interfere, **BY, **way)
    assert seen == [(1, 1)]
    assert rows(other) == [(1, 3), (2, 3)]
    other.close()


def test_of_two_merges_at_once_the_second_waits_and_both_count(engine, con, way):
    other = engine.another(con)
    second = threading.Thread(target=merge, args=(other, "t", [(1, 5), (3, 5)]), kwargs={**BY, **way})
    waits = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s AND wait_event_type = 'Lock'"
    watcher = engine.another(con)

    def start(statement):
        if statement.step == "pick":
            second.start()
            while watcher.execute(waits, [other.info.backend_pid]).fetchone() == (0,):
                pass

    merge(con, "t", [(1, 9), (2, 9)], on_statement=start, **BY, **way)
    second.join()
    assert rows(con) == [(1, 9), (2, 9), (3, 5)]
    assert not engine.tables(con)[1:]
    for each in (other, watcher):
        each.close()


def test_waiting_ends(engine, con, way):
    """After the time that the connection says, or else half a minute."""
    other = engine.another(con)
    other.execute("BEGIN; LOCK TABLE t")
    con.execute("SET lock_timeout = '1ms'")
    with pytest.raises(MergeError, match=r"failed at 'lock'.*; another connection is using it; run the merge again"):
        merge(con, "t", [(1, 3)], **BY, **way)
    other.execute("ROLLBACK")
    bounds = [[each.sql for each in plan(one, "t", [], **BY) if "lock_timeout" in each.sql] for one in (con, other)]
    assert bounds == [[], ["SET LOCAL lock_timeout = '30s'"]]
    other.close()


def test_an_old_reader_keeps_its_snapshot(engine, con):
    reader = engine.another(con)
    reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    assert rows(reader) == [(1, 1)]
    merge(con, "t", [(1, 3), (2, 3)], **BY)
    assert rows(reader) == [(1, 1)]
    reader.close()


# -- tables ------------------------------------------------------------------------------------------------------


def test_which_table_a_name_means(con, way):
    con.execute("CREATE SCHEMA other")
    con.execute('CREATE TABLE other."T" (k INTEGER PRIMARY KEY, ts INTEGER)')
    con.execute("CREATE TABLE other.only (k INTEGER PRIMARY KEY, ts INTEGER)")
    con.execute("SET search_path = public, other")
    assert merge(con, "T", [(1, 2)], **BY, **way).table == '"other"."T"'
    assert merge(con, "t", [(1, 2)], **BY, **way).table == '"t"'
    assert merge(con, "only", [(1, 2)], **BY, **way).table == '"other"."only"'
    assert merge(con, "ONLY", [(1, 3)], **BY, **way).replaced == 1
    assert con.execute("SELECT schemaname FROM pg_tables WHERE tablename = 'only'").fetchall() == [("other",)]


def test_a_temporary_table(con, way):
    con.execute("CREATE TEMP TABLE t (k INTEGER PRIMARY KEY, ts INTEGER)")
    merge(con, "t", [(7, 1), (7, 2)], **BY, **way)
    assert rows(con) == [(7, 2)]
    assert rows(con, "public.t") == [(1, 1)]


def test_a_partitioned_table(con):
    con.execute("CREATE TABLE p (k INTEGER, ts INTEGER, PRIMARY KEY (k)) PARTITION BY RANGE (k)")
    con.execute("CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (5)")
    con.execute("CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (5) TO (10)")
    assert merge(con, "p", [(1, 1), (7, 1), (7, 2)], **BY).inserted == 2
    assert rows(con, "p2") == [(7, 2)]
    assert "would lose its partitions" in refused(con, "p", swap="drop-rename")
    assert "would lose its place below p; use" in refused(con, "p1", swap="drop-rename")


def test_text_is_ordered_by_its_bytes_in_every_language(con, way):
    """The linguistic order would put "a" before "B"; a column that has no order goes by its text."""
    con.execute('CREATE TABLE w (k INTEGER, ts INTEGER, note TEXT COLLATE "en-x-icu", extra JSON)')
    merge(con, "w", [(1, 1, "a", None), (1, 1, "B", None), (2, 1, "é", "[1]"), (2, 1, "é", "[2]")], **BY, **way)
    assert rows(con, "w") == [(1, 1, "a", None), (2, 1, "é", [2])]


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false);"
         " CREATE TABLE x (k TEXT COLLATE loose, ts INTEGER)", "by which PostgreSQL takes different keys for equal"),
        ("CREATE TABLE x (k INTEGER GENERATED ALWAYS AS IDENTITY, ts INTEGER)", "make it GENERATED BY DEFAULT"),
        ('CREATE TABLE x (k INTEGER, "K" INTEGER, ts INTEGER)', "has the columns 'K' and 'k', which differ in case"),
        ("CREATE TABLE x (k INTEGER PRIMARY KEY, ts INTEGER);"
         " CREATE TABLE child (p INTEGER REFERENCES x ON DELETE CASCADE)", "would change rows of child (ON DELETE CAS"),
        ("CREATE TABLE x (k INTEGER, ts INTEGER); CREATE TABLE child () INHERITS (x)", "shows the rows of child too"),
        ("CREATE TABLE x (k INTEGER, ts INTEGER); CREATE TABLE x__next (k INTEGER)", '"x__next", which is taken'),
        ("CREATE VIEW x AS SELECT * FROM t", "'x' is a view"),
    ],
)  # fmt: skip
def test_tables_that_cannot_be_merged_into(con, sql, message):
    con.execute(sql)
    assert message in refused(con, "x")


def test_names_that_leave_no_room(con):
    for length, fits in ((54, True), (55, False)):
        name = "n" * length
        con.execute(f"CREATE TABLE {name} (k INTEGER, ts INTEGER)")
        if fits:
            assert merge(con, name, [(1, 1)], **BY).inserted == 1
        else:
            assert "which is too long; shorten the table's" in refused(con, name)


def test_rows_that_this_user_does_not_see(con):
    con.execute("ALTER TABLE t ENABLE ROW LEVEL SECURITY; ALTER TABLE t FORCE ROW LEVEL SECURITY")
    con.execute("DROP ROLE IF EXISTS clerk; CREATE ROLE clerk; GRANT ALL ON t TO clerk; SET ROLE clerk")
    assert "no table is called 't' here; there is 'public.t'" in refused(con)
    con.execute("RESET ROLE; GRANT ALL ON SCHEMA public TO clerk; SET ROLE clerk")
    assert "row-level security" in refused(con)
    con.execute("RESET ROLE; DROP OWNED BY clerk; DROP ROLE clerk")


def test_rows_that_others_refer_to(con):
    con.execute("CREATE TABLE child (p INTEGER REFERENCES t)")
    con.execute("INSERT INTO child VALUES (1)")
    message = refused(con, new_rows=[(1, 2)])
    assert "failed at 'swap', and the table is as it was: " in message
    assert message.endswith("DEFERRABLE INITIALLY DEFERRED, so that it is looked at when the new rows are there")
    con.execute("ALTER TABLE child ALTER CONSTRAINT child_p_fkey DEFERRABLE INITIALLY DEFERRED")
    assert merge(con, "t", [(1, 2)], **BY).replaced == 1
    assert "would lose constraint child_p_fkey on table child" in refused(con, swap="drop-rename")


# -- drop and rename ---------------------------------------------------------------------------------------------


def test_the_table_keeps_all_that_was_said_of_it(engine, con, way):
    con.execute("DROP ROLE IF EXISTS reader; DROP ROLE IF EXISTS keeper; CREATE ROLE reader; CREATE ROLE keeper")
    con.execute(
        """CREATE UNLOGGED TABLE "my t(" (
            id SERIAL UNIQUE, k VARCHAR CONSTRAINT "the key" PRIMARY KEY, ts TIMESTAMP NOT NULL DEFAULT now(),
            price NUMERIC(5, 2) CONSTRAINT dear CHECK (price > 0), tags VARCHAR[], parent INTEGER REFERENCES t,
            doubled NUMERIC(6, 2) GENERATED ALWAYS AS (price * 2) STORED,
            EXCLUDE USING btree (price WITH =)
        ) WITH (fillfactor = 70)"""
    )
    con.execute(
        """CREATE INDEX "by (price" ON "my t("((price + 1), ts) WHERE price > 1;
        CREATE UNIQUE INDEX once ON "my t(" (lower(k));
        COMMENT ON TABLE "my t(" IS 'it''s kept';
        COMMENT ON COLUMN "my t(".price IS 'in $; not €';
        COMMENT ON INDEX once IS 'of a kind';
        COMMENT ON CONSTRAINT "the key" ON "my t(" IS 'natural';
        GRANT SELECT, INSERT ON "my t(" TO reader; GRANT UPDATE ON "my t(" TO keeper WITH GRANT OPTION;
        GRANT UPDATE (price) ON "my t(" TO PUBLIC;
        ALTER TABLE "my t(" OWNER TO keeper;
        ALTER DEFAULT PRIVILEGES GRANT DELETE ON TABLES TO PUBLIC"""
    )
    before = engine.said(con, "my t(")
    merge(con, "my t(", [(7, "a", "2013-01-01 00:00:00", 9.5, ["x"], 1)], **BY, **way)
    merge(con, "my t(", [(8, "b", "2013-01-01 00:00:00", 8.5, ["x"], 1)], **BY, **way)
    after = engine.said(con, "my t(")
    assert [sorted(map(str, part)) for part in after[1:]] == [sorted(map(str, part)) for part in before[1:]]
    assert granted(after) == granted(before)
    assert after[0][0][:2] + after[0][0][3:] == before[0][0][:2] + before[0][0][3:]
    con.execute("INSERT INTO \"my t(\" (k) VALUES ('c')")
    assert con.execute('SELECT id, doubled FROM "my t(" ORDER BY k').fetchall() == [(7, 19), (8, 17), (1, None)]
    con.execute(
        'ALTER DEFAULT PRIVILEGES REVOKE DELETE ON TABLES FROM PUBLIC; DROP TABLE "my t(";'
        " DROP ROLE keeper; DROP ROLE reader"
    )


def granted(said):
    """The privileges in any order."""
    return sorted(said[0][0][2].strip("{}").split(","))


@pytest.mark.parametrize(
    ("sql", "what"),
    [
        ("CREATE VIEW dear AS SELECT * FROM t", "view dear"),
        ("CREATE MATERIALIZED VIEW dear AS SELECT k FROM t", "materialized view dear"),
        ("CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
         " CREATE TRIGGER watch AFTER INSERT ON t EXECUTE FUNCTION f()", "trigger watch on table t"),
        ("CREATE RULE silent AS ON INSERT TO t DO ALSO NOTHING", "rule silent on table t"),
        ("CREATE POLICY all_of_it ON t", "policy all_of_it on table t"),
        ("CREATE STATISTICS s ON k, ts FROM t", "statistics object s"),
        ("ALTER TABLE t ADD id INTEGER GENERATED BY DEFAULT AS IDENTITY", "sequence t_id_seq"),
        ("CREATE FUNCTION n() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM t; END", "function n()"),
    ],
)  # fmt: skip
def test_what_a_drop_would_lose_is_refused(con, sql, what):
    con.execute(sql)
    order = {"new_rows": [(1, 2, 3)] if "IDENTITY" in sql else [(1, 2)]}
    assert refused(con, swap="drop-rename", **order) == (
        f"DROP and RENAME of \"t\" would lose {what}; use swap='delete-insert'"
    )
    if what != "rule silent on table t":  # which makes a helper of every INSERT
        assert merge(con, "t", order["new_rows"], **BY).replaced == 1


def test_dates_as_they_are_everywhere(con, way):
    con.execute("SET DateStyle = 'German, DMY'; SET IntervalStyle = 'sql_standard'")
    con.execute("CREATE TABLE d (k DATE, ts INTERVAL)")
    merge(con, "d", [(date(2013, 2, 1), "1 month 3 days")], **BY, **way)
    assert con.execute("SELECT k = DATE '2013-02-01', ts = INTERVAL '1 month 3 days' FROM d").fetchone() == (True, True)
