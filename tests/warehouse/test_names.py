"""Whatever a name or a value holds, it is a name or a value: quotes, semicolons, keywords and Hangul do no harm."""

from __future__ import annotations

import pytest

from etlkit.warehouse import checks, merge
from etlkit.warehouse.sql import quoted

WAYS = [
    {"strategy": "staging", "swap": "delete-insert"},
    {"strategy": "incremental", "swap": "drop-rename"},
]
NAMES = [
    "plain",
    "with space",
    'quo"te',
    "apos'trophe",
    "semi;colon",
    '"; DROP TABLE witness; --',
    "select",
    "table",
    "날씨",
    "dots.in.it",
    "(paren",
    "new\nline",
    "percent%s ? $1 {table} {0}",
    "back\\slash",
    "CamelCase",
    "is_new",
    "place",
    "row",
    "value",
    "rows",
    "x__staging",
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", NAMES)
def test_names_of_tables_columns_and_values(engine, empty, name, way):
    """One name for everything: schema, table, key column, index, and the data itself."""
    con = empty
    con.execute("CREATE TABLE witness AS SELECT 1 AS one")
    con.execute(f"CREATE SCHEMA {quoted(name)}")
    con.execute(f"CREATE TABLE {quoted(name, name)} ({quoted(name)} VARCHAR PRIMARY KEY, ts INTEGER, other VARCHAR)")
    con.execute(f"CREATE INDEX {quoted(name + ' index')} ON {quoted(name, name)} (ts)")
    options = {
        "key": name,
        "order_by": "ts",
        "input_checks": [checks.not_null("ts"), checks.unique("ts")],
        "output_checks": [checks.row_count(2)],
        **way,
    }
    assert merge(con, (name, name), [(name, 1, "; --"), ("b", 2, name)], **options).inserted == 2
    assert merge(con, (name, name), [(name, 4, "'"), ("b", 3, '"')], **options).replaced == 2
    assert con.execute(f"SELECT * FROM {quoted(name, name)} ORDER BY ts").fetchall() == [("b", 3, '"'), (name, 4, "'")]
    indexes = {
        "duckdb": "SELECT index_name FROM duckdb_indexes()",
        "postgres": "SELECT indexname FROM pg_indexes WHERE schemaname !~ '^pg_' AND indexname !~ 'pkey$'",
    }
    assert con.execute(indexes[engine.name]).fetchall() == [(name + " index",)]
    assert con.execute("SELECT * FROM witness").fetchall() == [(1,)]


@pytest.mark.parametrize("name", NAMES)
def test_a_text_that_is_a_tables_whole_name(empty, name):
    empty.execute(f"CREATE TABLE {quoted(name)} (k INTEGER, ts INTEGER)")
    assert merge(empty, name, [(1, 1), (1, 2)], key="k", order_by="ts").after == 1


def test_schema_and_catalog_in_a_text(empty, way):
    con = empty
    con.execute('CREATE SCHEMA "내 스키마"')
    con.execute('CREATE TABLE "내 스키마".t (k INTEGER, ts INTEGER)')
    assert merge(con, "내 스키마.t", [(1, 1)], key="k", order_by="ts", **way).table == '"내 스키마"."t"'
    (catalog,) = con.execute("SELECT current_database()").fetchone()
    assert merge(con, f"{catalog}.내 스키마.t", [(1, 2)], key="k", order_by="ts", **way).replaced == 1


def test_a_csv_whose_header_needs_quotes(empty, tmp_path):
    path = tmp_path / "new.csv"
    path.write_text('"it\'s ""k"", really",날짜\na,1\n', encoding="utf-8")
    con = empty
    con.execute("""CREATE TABLE t ("it's ""k"", really" VARCHAR, 날짜 INTEGER)""")
    merge(con, "t", path, key='it\'s "k", really', order_by="날짜")
    assert con.execute("SELECT * FROM t").fetchall() == [("a", 1)]
