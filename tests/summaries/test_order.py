"""What a query reads, compared with what DuckDB itself finds in it, and the order that follows."""

from __future__ import annotations

import random
import re

import duckdb
import pytest

from etlkit.errors import SummaryError
from etlkit.summaries import Summary, in_order, inputs, tables_read
from etlkit.summaries.order import without_end

QUERIES = {
    "SELECT * FROM weather": "weather",
    "from Weather w select w.a": "Weather",
    'FROM "weather" -- from nowhere': "weather",
    "TABLE weather": "weather",
    "SELECT 1 /* FROM weather */": "",
    "SELECT 'FROM weather', \"a\" FROM other": "other",
    "VALUES (1)": "",
    "FROM raw.weather": "raw.weather",
    "SELECT weather.a FROM raw.weather": "raw.weather",
    "FROM memory.main.weather": "memory.main.weather",
    "FROM weather, other": "other weather",
    "FROM weather JOIN other USING (a) POSITIONAL JOIN raw.weather": "other raw.weather weather",
    "FROM weather UNION ALL FROM other": "other weather",
    "FROM weather, LATERAL (SELECT o.a AS z FROM other AS o WHERE o.a = weather.a)": "other weather",
    "SELECT (SELECT max(a) FROM other) FROM weather": "other weather",
    "FROM weather WHERE a IN (SELECT a FROM other) AND EXISTS (FROM raw.weather)": "other raw.weather weather",
    "FROM (SELECT * FROM (FROM weather))": "weather",
    "FROM weather TABLESAMPLE 10%": "weather",
    "SELECT * EXCLUDE (a) FROM weather QUALIFY row_number() OVER (ORDER BY a) = 1": "weather",
    "SELECT list_transform([1], lambda x: x + 1), unnest([1]) FROM weather": "weather",
    "FROM range(5), generate_series(1, 2)": "",
    "WITH cold AS (FROM weather) FROM cold, other": "other weather",
    "WITH Cold AS (FROM weather) FROM cOLD": "weather",
    "WITH cold AS MATERIALIZED (FROM weather) FROM cold": "weather",
    "WITH weather AS (FROM other) FROM weather": "other",
    "WITH weather AS (FROM weather) FROM weather": "weather",
    "WITH b AS (FROM a), a AS (FROM weather) FROM b, a": "a weather",
    "WITH a AS (FROM weather), b AS (FROM a) FROM b": "weather",
    "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r, weather WHERE n < 5) FROM r": "weather",
    "WITH a AS (FROM weather), b AS (WITH weather AS (SELECT 1) FROM weather) FROM a, b": "weather",
    "WITH t AS (SELECT 1) FROM (WITH u AS (FROM t) FROM u), other": "other",
    "FROM weather UNION (WITH q AS (FROM other) FROM q)": "other weather",
    "WITH weather AS (SELECT 1) FROM raw.weather": "raw.weather",
    "SELECT (WITH z AS (FROM other) SELECT max(a) FROM z) FROM weather": "other weather",
    'FROM "도시 ""x"" y"': '도시 "x" y',
}
PIVOTS = {
    "PIVOT weather ON b USING sum(a)": "weather",
    "UNPIVOT weather ON a INTO NAME n VALUE v": "weather",
    "FROM (PIVOT weather ON b USING sum(a))": "weather",
    "WITH c AS (FROM weather) PIVOT c ON b USING sum(a)": "weather",
    "WITH p AS (PIVOT weather ON b USING sum(a)) FROM p": "weather",
    "FROM weather PIVOT (sum(a) FOR b IN ('x'))": "weather",
}


def read(sql):
    return " ".join(sorted(".".join(name) for name in tables_read(sql)))


@pytest.mark.parametrize(("sql", "expected"), [*QUERIES.items(), *PIVOTS.items()])
def test_the_tables_that_a_query_reads(sql, expected):
    assert read(sql) == expected


def test_duckdb_finds_the_same():
    with duckdb.connect() as con:
        con.execute("CREATE TABLE weather AS SELECT 1 AS a; CREATE TABLE other AS SELECT 1 AS a; CREATE SCHEMA raw")
        con.execute("CREATE TABLE raw.weather AS SELECT 1 AS a")
        for sql in QUERIES:
            sql = sql.replace("USING (a)", "ON true")  # which DuckDB's own function does not manage
            found = {name.replace('"', "") for name in con.get_table_names(sql)}
            assert {name[-1].replace('"', "") for name in tables_read(sql)} == found, sql


@pytest.mark.parametrize(
    ("sql", "rest"),
    [
        ("SELECT 1", "SELECT 1"),
        ("SELECT 1 ;; ", "SELECT 1"),
        ("SELECT 1; -- the end;", "SELECT 1"),
        ("-- the begin\nSELECT ';' -- the end", "-- the begin\nSELECT ';'"),
        ("SELECT 'it''s;' AS \"도시;\" /* ; */;", "SELECT 'it''s;' AS \"도시;\""),
        ("SELECT $$a;b$$;", "SELECT $$a;b$$"),
    ],
)
def test_the_end_of_a_query_is_left_out(sql, rest):
    assert without_end(sql) == rest
    assert tables_read(sql) == []


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT a FROM\nweather WHERE WHERE", "the SQL cannot be read: line 2, near 'WHERE': "),
        ("SELECT 'a", "the SQL cannot be read: "),
        ("SELEC 1", "the SQL cannot be read: "),
        (";", "the SQL must be one query, such as SELECT ... FROM ..."),
        ("-- nothing", "the SQL must be one query"),
        ("SELECT 1; SELECT 2", "the SQL must be one query"),
        ("DROP TABLE weather", "the SQL must be one query"),
        ("CREATE TABLE a AS SELECT 1", "the SQL must be one query"),
        ("INSERT INTO a FROM weather", "the SQL must be one query"),
        ("SELECT 1; DROP TABLE weather", "the SQL must be one query"),
        ("DESCRIBE weather", "the SQL must be one query"),
    ],
)
def test_what_is_no_query_is_refused(sql, reason):
    with pytest.raises(SummaryError, match=re.escape(reason)) as caught:
        tables_read(sql)
    assert caught.value.sql == sql
    with pytest.raises(SummaryError, match=re.escape(f"summary 'daily': {reason}")) as caught:
        inputs(Summary("daily", sql))
    assert (caught.value.summary, len(str(caught.value).splitlines())) == ("daily", 1)


def ordered(*pairs, schema="main"):
    return [summary.name for summary in in_order([Summary(name, sql) for name, sql in pairs], schema)]


def test_a_table_comes_after_those_that_it_reads():
    assert ordered(("c", "FROM b, a"), ("b", "FROM a"), ("a", "FROM weather")) == ["a", "b", "c"]
    assert ordered(("a", "FROM weather"), ("b", "FROM weather"), ("c", "FROM weather")) == ["a", "b", "c"]


def test_schemas_and_case():
    assert ordered(("b", "FROM MAIN.A"), ("a", "SELECT 1")) == ["a", "b"]
    assert ordered(("b", "FROM a"), ("main.a", "SELECT 1")) == ["main.a", "b"]
    assert ordered(("b", "FROM a"), ("mart.a", "SELECT 1")) == ["b", "mart.a"]
    assert ordered(("b", "FROM a"), ("mart.a", "SELECT 1"), schema="mart") == ["mart.a", "b"]
    assert ordered(("weather", "FROM raw.weather")) == ["weather"]
    assert ordered(("도시 b", 'FROM "도시 A"'), ("도시 a", "SELECT 1")) == ["도시 a", "도시 b"]


def test_what_a_view_hides_can_be_told():
    summaries = [Summary("b", "FROM view", reads=["a"]), Summary("a", "SELECT 1")]
    assert [summary.name for summary in in_order(summaries)] == ["a", "b"]


@pytest.mark.parametrize(
    ("pairs", "circle"),
    [
        ([("a", "FROM a")], "a reads a"),
        ([("a", "FROM b"), ("b", "FROM main.A")], "a reads b, b reads a"),
        ([("x", "SELECT 1"), ("a", "FROM x, c"), ("b", "FROM a"), ("c", "FROM b")], "a reads c, c reads b, b reads a"),
    ],
)
def test_a_circle_is_refused_and_named(pairs, circle):
    with pytest.raises(SummaryError) as caught:
        ordered(*pairs)
    assert str(caught.value) == f"summaries read each other in a circle: {circle}"


def test_input_checks_are_of_what_is_read():
    summary = Summary("daily", "FROM raw.weather, other", input_checks={"Main.other": [], "raw.Weather": []})
    assert inputs(summary) == [("other",), ("raw", "weather")]
    with pytest.raises(
        SummaryError, match="summary 'daily': input_checks name 'weather', but the query reads other, raw"
    ):
        inputs(Summary("daily", "FROM raw.weather, other", input_checks={"weather": []}))
    with pytest.raises(SummaryError, match="but the query reads no table"):
        inputs(Summary("daily", "SELECT 1", input_checks={"weather": []}))


def test_a_long_chain_in_any_order():
    names = [f"t{number}" for number in range(200)]
    pairs = [(name, f"FROM {before}") for before, name in zip(["source", *names], names, strict=False)]
    random.Random(1).shuffle(pairs)
    assert ordered(*pairs) == names
