"""What new rows may come in, and what is refused: each in one line that says where, with nothing written."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pytest

from etlkit.errors import EtlkitError, SchemaMismatch, SourceError, WarehouseError
from etlkit.warehouse import merge
from tests.warehouses import only_duckdb, only_postgres

JAN1 = date(2013, 1, 1)
HEADER = b"airport,date,tmin,updated_at\n"
LINE = b"EWR,2013-01-01,26.5,2013-01-02 00:00:00\n"
EWR = ("EWR", JAN1, 26.5, datetime.fromisoformat("2013-01-02"))
NAMES = ("airport", "date", "tmin", "updated_at")


def load(con, new_rows):
    return merge(con, "daily", new_rows, key=["airport", "date"], order_by="updated_at")


@pytest.fixture
def refused(engine, con):
    """The one line of the error, once it is sure that nothing was written."""

    def refusal(new_rows, kind: type[EtlkitError]) -> str:
        return the_refusal(engine, con, new_rows, kind)

    return refusal


def the_refusal(engine, con, new_rows, kind: type[EtlkitError]) -> str:
    old = con.execute("SELECT * FROM daily").fetchall()
    with pytest.raises(kind) as caught:
        load(con, new_rows)
    assert con.execute("SELECT * FROM daily").fetchall() == old
    assert engine.tables(con) == [("daily",)]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def file(directory: Path, name: str, content: bytes) -> Path:
    path = directory / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


# -- what they may come in ---------------------------------------------------------------------------------------

RECORD = dict(zip(NAMES, EWR, strict=True))
AS_TEXT = {**RECORD, "date": "2013-01-01", "updated_at": "2013-01-02T00:00:00"}


@pytest.mark.parametrize(
    "new_rows",
    [
        pytest.param([EWR], id="tuples"),
        pytest.param([list(EWR)], id="lists"),
        pytest.param((EWR,), id="tuple of tuples"),
        pytest.param([("EWR", "2013-01-01", Decimal("26.5"), "2013-01-02 00:00:00")], id="tuples from JSON"),
        pytest.param(pd.DataFrame([RECORD]), id="DataFrame"),
        pytest.param(pd.DataFrame([RECORD])[["tmin", "date", "updated_at", "airport"]], id="DataFrame, other order"),
        pytest.param(pa.Table.from_pylist([RECORD]), id="Arrow table"),
        pytest.param(lambda: pa.Table.from_pylist([RECORD]).to_reader(), id="Arrow reader, read once"),
        pytest.param(
            "SELECT 'EWR' AS airport, '2013-01-01' AS date, 26.5 AS tmin, TIMESTAMP '2013-01-02' AS updated_at;",
            id="query",
        ),
        pytest.param("SELECT * FROM (VALUES ('EWR', DATE '2013-01-01', 26.5, '2013-01-02'))"
                     " AS v(airport, date, tmin, updated_at) -- that is all", id="query with a comment"),
    ],
)  # fmt: skip
def test_objects_and_queries(con, new_rows):
    assert load(con, new_rows() if callable(new_rows) else new_rows).inserted == 1
    assert EWR in con.execute("SELECT * FROM daily").fetchall()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("new.csv", HEADER + LINE),
        ("new.CSV", HEADER + LINE),
        ("no newline at the end.csv", HEADER + LINE.rstrip()),
        ("crlf.csv", (HEADER + LINE).replace(b"\n", b"\r\n")),
        ("bom.csv", b"\xef\xbb\xbf" + HEADER + LINE),
        ("other order.csv", b"tmin,airport,updated_at,DATE\n26.5,EWR,2013-01-02 00:00:00,2013-01-01\n"),
        ("new.csv.gz", HEADER + LINE),
        ("new.tsv", (HEADER + LINE).replace(b",", b"\t")),
        ("new.json", json.dumps([AS_TEXT]).encode()),
        ("new.jsonl", json.dumps(AS_TEXT).encode() + b"\n"),
        ("new.ndjson.gz", json.dumps(AS_TEXT).encode()),
        ("it's [1] * new?.csv", HEADER + LINE),
    ],
)
def test_files(con, tmp_path, name, content):
    path = file(tmp_path, name, content)
    assert load(con, path).inserted == 1
    assert load(con, str(path)).unchanged == 1
    assert EWR in con.execute("SELECT * FROM daily").fetchall()


def test_a_parquet_file(con, tmp_path):
    pd.DataFrame([RECORD, RECORD]).to_parquet(tmp_path / "new.parquet")
    assert load(con, tmp_path / "new.parquet").duplicates == 1
    assert EWR in con.execute("SELECT * FROM daily").fetchall()


@only_duckdb
def test_a_relation_of_this_connection_and_of_another_on_the_same_database(con):
    rows = "SELECT * REPLACE ('EWR' AS airport) FROM daily WHERE tmin > 30"
    assert load(con, con.sql(rows)).inserted == 1
    assert load(con, con.cursor().sql(rows.replace("EWR", "PHL"))).inserted == 1


@only_postgres
def test_a_relation_of_duckdb(con):
    with duckdb.connect() as other:
        rows = other.sql("SELECT 'EWR' AS airport, DATE '2013-01-01' AS date, 26.5 AS tmin, NULL AS updated_at")
        assert load(con, rows).inserted == 1


def test_new_rows_from_the_table_itself(con):
    rows = "SELECT airport, date, tmin - 1 AS tmin, TIMESTAMP '2014-01-01' AS updated_at FROM daily"
    assert load(con, rows).replaced == 2


def test_a_csv_file_with_a_header_alone_has_no_rows(con, tmp_path):
    assert load(con, file(tmp_path, "new.csv", HEADER)).new == 0


def test_an_empty_dataframe_has_no_rows(con):
    assert load(con, pd.DataFrame(columns=list(NAMES))).new == 0


def test_a_registered_view_is_gone_afterwards(con, refused):
    load(con, pd.DataFrame([RECORD]))
    refused(pd.DataFrame([{**RECORD, "tmin": "warm"}]), SchemaMismatch)
    load(con, pd.DataFrame([RECORD]))


# -- types -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("INTEGER", "3.0::DOUBLE"),
        ("TINYINT", "127::BIGINT"),
        ("INTEGER", "NULL::DOUBLE"),
        ("INTEGER", "NULL::DATE"),
        ("DOUBLE", "3::TINYINT"),
        ("FLOAT", "0.1::DOUBLE"),
        ("DECIMAL(5,2)", "(0.1 + 0.2)::DOUBLE"),
        ("DATE", "TIMESTAMP '2013-01-01'"),
        ("DATE", "'2013-01-01'"),
        ("TIMESTAMP", "DATE '2013-01-01'"),
        ("TIMESTAMP", "TIMESTAMP_NS '2013-01-01 00:00:00.000001'"),
        ("TIMESTAMPTZ", "'2013-01-01T05:00:00Z'"),
        ("TIMESTAMPTZ", "'2013-01-01 05:00:00.5-05:00'"),
        ("ENUM ('a', 'b')", "'b'"),
        ("VARCHAR", "'a'::ENUM ('a')"),
        ("UUID", "'0189d8c5-0000-7000-8000-000000000000'"),
        ("JSON", """'{"a": 1}'"""),
        ("INTEGER[]", "[1::BIGINT, NULL]"),
        ("STRUCT(a INTEGER)", "{'a': 1::BIGINT}"),
        ("BLOB", "'\\xAA'::BLOB"),
    ],
)
def test_values_that_a_column_takes_of_duckdb(column, value):
    con = duckdb.connect()
    con.execute(f"CREATE TABLE t (k INTEGER, v {column})")
    merge(con, "t", f"SELECT 1 AS k, {value} AS v", key="k", order_by="k")
    assert con.execute(f"SELECT v IS NOT DISTINCT FROM ({value})::{column} FROM t").fetchone() == (True,)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("INTEGER", "3.5"),
        ("INTEGER", "'3'"),
        ("INTEGER", "true"),
        ("INTEGER", "'nan'::DOUBLE"),
        ("TINYINT", "128"),
        ("UINTEGER", "-1"),
        ("DOUBLE", "'warm'"),
        ("FLOAT", "1e300::DOUBLE"),
        ("DECIMAL(5,2)", "1000.0"),
        ("VARCHAR", "3"),
        ("BOOLEAN", "1"),
        ("DATE", "TIMESTAMP '2013-01-01 05:00:00'"),
        ("DATE", "'2013-13-01'"),
        ("TIMESTAMP", "TIMESTAMPTZ '2013-01-01 05:00:00+00'"),
        ("TIMESTAMP", "TIMESTAMP_NS '2013-01-01 00:00:00.000000001'"),
        ("TIMESTAMPTZ", "TIMESTAMP '2013-01-01 05:00:00'"),
        ("TIMESTAMPTZ", "'2013-01-01 05:00:00'"),
        ("TIMESTAMPTZ", "'2013-01-01'"),
        ("ENUM ('a', 'b')", "'c'"),
        ("UUID", "'nobody'"),
        ("JSON", "'{'"),
        ("TINYINT[]", "[1000]"),
        ("DATE", "[1]"),
    ],
)
def test_values_that_it_does_not_take_of_duckdb(column, value):
    con = duckdb.connect()
    con.execute(f"CREATE TABLE t (k INTEGER, v {column})")
    rows = f"SELECT 1 AS k, NULL AS v UNION ALL SELECT 2, {value} ORDER BY k"
    with pytest.raises(SchemaMismatch, match=r"column 'v' of \"t\" is .*, but row 2 of the new rows has "):
        merge(con, "t", rows, key="k", order_by="k")
    assert con.execute("SELECT count(*) FROM t").fetchone() == (0,)


def test_the_message_about_a_type(con, refused):
    message = refused(pd.DataFrame([RECORD, {**RECORD, "tmin": 300}]).astype({"tmin": "str"}), SchemaMismatch)
    assert message == (
        "column 'tmin' of \"daily\" is DOUBLE, but row 1 of the new rows has VARCHAR 26.5; convert it first"
    )


def test_an_aware_datetime_is_an_instant(empty):
    con = empty
    con.execute("SET TimeZone = 'America/New_York'")
    con.execute("CREATE TABLE t (k INTEGER, seen TIMESTAMPTZ)")
    merge(con, "t", [(1, datetime(2013, 1, 1, 5, tzinfo=UTC)), (2, None)], key="k", order_by="seen")
    merge(con, "t", [(2, "2013-01-01T00:00:00-05:00")], key="k", order_by="seen")
    assert con.execute("SELECT DISTINCT CAST(EXTRACT(epoch FROM seen) AS INTEGER) FROM t").fetchall() == [(1357016400,)]


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_an_instant_in_a_file_must_have_its_offset(empty, tmp_path, suffix):
    con = empty
    con.execute("CREATE TABLE t (k INTEGER, seen TIMESTAMPTZ)")
    good, bad = "2013-01-01T05:00:00+00:00", "2013-01-01T05:00:00"
    for value in (good, bad):
        content = f"k,seen\n1,{value}\n" if suffix == "csv" else json.dumps({"k": 1, "seen": value})
        path = file(tmp_path, f"new.{suffix}", content.encode())
        if value == good:
            merge(con, "t", path, key="k", order_by="seen")
        else:
            with pytest.raises(SchemaMismatch, match="'seen'"):
                merge(con, "t", path, key="k", order_by="seen")
    assert con.execute("SELECT CAST(EXTRACT(epoch FROM seen) AS INTEGER) FROM t").fetchall() == [(1357016400,)]


# -- what is refused ---------------------------------------------------------------------------------------------

GZIPPED = gzip.compress(HEADER + LINE * 2000)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.csv", b"", "is empty"),
        ("empty.json", b"", "is empty"),
        ("empty.parquet", b"", "is empty"),
        ("value.csv", HEADER + LINE + b"EWR,2013-01-02,warm,\n", ", line 3, column 'tmin': 'warm' is not a DOUBLE"),
        ("value.csv.gz", HEADER + LINE + b"EWR,2013-02-30,1,\n", ", line 3, column 'date': '2013-02-30' is not a DATE"),
        ("cut.csv", HEADER + LINE + b"EWR,2013-01-02", ", line 3: Expected Number of Columns: 4 Found: 2"),
        ("long.csv", HEADER + LINE + b"EWR,2013-01-02,1,,7\n", ", line 3: Expected Number of Columns: 4 Found: 5"),
        ("quote.csv", HEADER + LINE + b'"EWR,2013-01-02,1,\n', ", line 3: Value with unterminated quote found."),
        ("latin.csv", HEADER + LINE + b"\xe9,2013-01-02,1,\n", ", line 3: Invalid unicode"),
        ("twice.csv", b"airport,date,date\n", ", line 1: the column 'date' is named twice"),
        ("other.csv", b"a;b\n1;2\n", 'lack airport, date, tmin, updated_at and have extra a;b'),
        ("not.csv.gz.csv", GZIPPED, ", line 1: 'utf-8' codec"),
        ("cut.json", json.dumps([AS_TEXT])[:-9].encode(), "cannot be read: Malformed JSON"),
        ("cut.jsonl", json.dumps(AS_TEXT).encode() + b'\n{"airport', "cannot be read: Malformed JSON"),
        ("value.json", json.dumps([{**AS_TEXT, "tmin": "warm"}]).encode(), 'Failed to cast value to numerical: "warm"'),
        ("extra.jsonl", (json.dumps(AS_TEXT) + "\n" + json.dumps({**AS_TEXT, "z": 1})).encode(), "have extra z"),
        ("list.json", b"[1, 2]", "lack airport"),
        ("not.parquet", b"PAR1 and then nothing", "cannot be read: "),
        ("picture.png", b"x", "is of an unknown kind"),
    ],
)  # fmt: skip
def test_files_that_are_refused(refused, tmp_path, name, content, message):
    path = file(tmp_path, name, content)
    assert message in refused(path, EtlkitError)


def test_gzip_that_was_cut_or_is_none(refused, tmp_path):
    (tmp_path / "cut.csv.gz").write_bytes(GZIPPED[: len(GZIPPED) // 2])
    (tmp_path / "none.csv.gz").write_bytes(HEADER + LINE)
    assert "cut.csv.gz" in refused(tmp_path / "cut.csv.gz", SourceError)
    assert "none.csv.gz, line 1: Not a gzipped file" in refused(tmp_path / "none.csv.gz", SourceError)


def test_a_parquet_file_that_was_cut(refused, tmp_path):
    path = tmp_path / "new.parquet"
    pd.DataFrame([RECORD]).to_parquet(path)
    path.write_bytes(path.read_bytes()[:-20])
    assert "cannot be read: " in refused(path, SourceError)


def test_the_error_of_a_file_says_where(con, tmp_path):
    path = file(tmp_path, "new.csv", HEADER + LINE + b"EWR,2013-01-02,warm,\n")
    with pytest.raises(SourceError) as caught:
        load(con, path)
    error = caught.value
    assert (error.source, error.line, error.column, error.value) == (str(path), 3, "tmin", "warm")
    assert isinstance(error.__cause__, duckdb.Error)


@pytest.mark.parametrize(
    ("new_rows", "kind", "message"),
    [
        ([("EWR", JAN1, 1.0)], SchemaMismatch, "new row 1 is 3 values; give 4, in the table's order: airport, date"),
        ([EWR, 7], SchemaMismatch, "new row 2 is a int"),
        ([{"airport": "EWR"}], SchemaMismatch, "new row 1 is a dict"),
        ([EWR, ("EWR", JAN1, "warm", None)], SchemaMismatch, "column 'tmin' of the new rows is not of one type: "),
        ([("EWR", JAN1, 2**80, None)], SchemaMismatch, "column 'tmin' of the new rows is not of one type: "),
        (7, WarehouseError, "new rows cannot be a int; pass a DataFrame"),
        ({"airport": ["EWR"]}, WarehouseError, "new rows cannot be a dict"),
        ("no/such/file.csv", SourceError, "no/such/file.csv is missing"),
        (Path(), SourceError, ". is a directory"),
        ("SELECT * FROM nowhere", SourceError, "the query for the new rows cannot be read: "),
        ("DROP TABLE daily", SourceError, "new rows come from one SELECT"),
        ("SELECT 1; DROP TABLE daily", SourceError, "new rows come from one SELECT"),
        ("SELECT 1) AS a; DROP TABLE daily; SELECT (1", SourceError, ""),
        ("WITH gone AS (DELETE FROM daily RETURNING *) SELECT * FROM gone", SourceError, ""),
        ("", SourceError, "new rows come from one SELECT"),
        ("SELEC 1", SourceError, "syntax error"),
        ("SELECT 'x' AS airport, date, CAST(airport AS INTEGER) AS tmin, updated_at FROM daily", SourceError,
         "the query for the new rows cannot be read: "),
    ],
)  # fmt: skip
def test_what_cannot_be_new_rows(refused, new_rows, kind, message):
    assert message in refused(new_rows, kind)


# -- what a query of PostgreSQL gives ----------------------------------------------------------------------------


@only_postgres
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("integer", "3.0::float8"),
        ("smallint", "127::bigint"),
        ("integer", "NULL"),
        ("integer", "3.0"),
        ("float8", "3::smallint"),
        ("real", "0.1::float8"),
        ("numeric(5, 2)", "(0.1::float8 + 0.2::float8)"),
        ("numeric", "12345678901234567890.123456789012345678901234567890"),
        ("date", "TIMESTAMP '2013-01-01'"),
        ("date", "'2013-01-01'"),
        ("timestamp", "DATE '2013-01-01'"),
        ("timestamptz", "'2013-01-01T05:00:00Z'"),
        ("timestamptz", "'2013-01-01 05:00:00.5-05:00'"),
        ("mood", "'good'"),
        ("text", "'good'::mood"),
        ("varchar(3)", "'abc'"),
        ("text", "'a'::varchar(3)"),
        ("uuid", "'0189d8c5-0000-7000-8000-000000000000'"),
        ("jsonb", """'{"a": 1}'"""),
        ("json", """'{"a": 1}'::jsonb"""),
        ("integer[]", "ARRAY[1::bigint, NULL]"),
        ("bytea", "'\\xAA'::bytea"),
        ("inet", "'10.0.0.1'"),
        ("positive", "5"),
    ],
)
def test_values_that_a_column_takes_of_postgres(empty, column, value):
    empty.execute("CREATE TYPE mood AS ENUM ('good', 'bad'); CREATE DOMAIN positive AS integer CHECK (VALUE > 0)")
    empty.execute(f"CREATE TABLE t (k INTEGER, v {column})")
    merge(empty, "t", f"SELECT 1 AS k, {value} AS v", key="k", order_by="k")
    stored = f"SELECT v::text IS NOT DISTINCT FROM (({value})::{column})::text FROM t"
    assert empty.execute(stored).fetchone() == (True,)


@only_postgres
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("integer", "3.5"),
        ("integer", "'3'"),
        ("integer", "true"),
        ("integer", "'nan'::float8"),
        ("integer", "'nan'::numeric"),
        ("bigint", "9223372036854775808::float8"),
        ("smallint", "32768"),
        ("float8", "'warm'"),
        ("real", "1e300::float8"),
        ("numeric(5, 2)", "1000.0"),
        ("text", "3"),
        ("boolean", "1"),
        ("varchar(3)", "'abcd'"),
        ("date", "TIMESTAMP '2013-01-01 05:00:00'"),
        ("date", "'2013-13-01'"),
        ("timestamp", "TIMESTAMPTZ '2013-01-01 05:00:00+00'"),
        ("timestamp(0)", "TIMESTAMP '2013-01-01 05:00:00.5'"),
        ("timestamptz", "TIMESTAMP '2013-01-01 05:00:00'"),
        ("timestamptz", "'2013-01-01 05:00:00'"),
        ("timestamptz", "'2013-01-01'"),
        ("mood", "'fair'"),
        ("uuid", "'nobody'"),
        ("jsonb", "'{'"),
        ("smallint[]", "ARRAY[100000]"),
        ("inet", "'nowhere'"),
        ("positive", "-5.0"),
        ("date", "ARRAY[1]"),
    ],
)
def test_values_that_it_does_not_take_of_postgres(empty, column, value):
    empty.execute("CREATE TYPE mood AS ENUM ('good', 'bad'); CREATE DOMAIN positive AS integer CHECK (VALUE > 0)")
    empty.execute(f"CREATE TABLE t (k INTEGER, v {column})")
    with pytest.raises(
        SchemaMismatch, match=r"column 'v' of \"t\" is .*, but (row 1|a row) of the new rows has "
    ) as caught:
        merge(empty, "t", f"SELECT 1 AS k, {value} AS v", key="k", order_by="k")
    assert "\n" not in str(caught.value)
    assert empty.execute("SELECT count(*) FROM t").fetchone() == (0,)


@only_postgres
@pytest.mark.parametrize(
    ("column", "value", "stored"),
    [
        ("integer", 3.0, "3"),
        ("numeric", Decimal("0.10"), "0.10"),
        ("numeric(40, 2)", 7, "7.00"),
        ("numeric(5, 2)", 0.1, "0.10"),
        ("float8", float("inf"), "Infinity"),
        ("boolean", True, "true"),
        ("text", "a\\b\t\n'\"é", "a\\b\t\n'\"é"),
        ("text", "", ""),
        ("text", "\\N", "\\N"),
        ("bytea", b"\x00\xaa", "\\x00aa"),
        ("integer[]", [1, None, 3], "{1,NULL,3}"),
        ("text[]", ["a,b", '"', ""], '{"a,b","\\"",""}'),
        ("jsonb", '{"a": [1]}', '{"a": [1]}'),
        ("time", "05:00", "05:00:00"),
        ("interval", "1 month 2 days", "1 mon 2 days"),
        ("inet", "10.0.0.1", "10.0.0.1/32"),
        ("mood", "good", "good"),
        ("positive", 5.0, "5"),
        ("timestamptz", datetime(2013, 1, 1, 5, tzinfo=UTC), "2013-01-01 05:00:00+00"),
    ],
)
def test_values_from_outside_come_into_postgres_as_they_are(empty, column, value, stored):
    empty.execute("CREATE TYPE mood AS ENUM ('good', 'bad'); CREATE DOMAIN positive AS integer CHECK (VALUE > 0)")
    empty.execute("SET TimeZone = 'UTC'")
    empty.execute(f"CREATE TABLE t (k INTEGER, v {column})")
    merge(empty, "t", [(1, value), (2, None)], key="k", order_by="k")
    assert empty.execute("SELECT v::text FROM t ORDER BY k").fetchall() == [(stored,), (None,)]


@only_postgres
@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("varchar(3)", "abcd", 'value too long for type character varying(3) (line 1, column v: "abcd")'),
        ("inet", "nowhere", 'invalid input syntax for type inet: "nowhere" (line 1, column v: "nowhere")'),
        ("numeric", "warm", 'invalid input syntax for type numeric: "warm" (line 1, column v: "warm")'),
        ("positive", -5, 'violates check constraint "positive_check"'),
        ("text", "a\0b", "cannot be read: "),
    ],
)
def test_what_only_postgres_can_refuse(empty, column, value, message):
    empty.execute("CREATE DOMAIN positive AS integer CHECK (VALUE > 0)")
    empty.execute(f"CREATE TABLE t (k INTEGER, v {column})")
    with pytest.raises(SourceError) as caught:
        merge(empty, "t", [(1, value)], key="k", order_by="k")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert empty.execute("SELECT count(*) FROM t").fetchone() == (0,)
