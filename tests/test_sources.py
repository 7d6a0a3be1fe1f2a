"""Sources: read whole, or refused in one line that says where and what to do."""

import gzip
import json
import os
import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from etlkit import datasets
from etlkit.errors import SourceError
from etlkit.sources import DailyWeather, FileSource, HttpSource, Revision, Source, SqlSource

NAIVE = datetime.fromisoformat("2013-01-01T02:00:00")
COLUMNS = {"airport": "VARCHAR", "hour": "INTEGER", "temp": "DOUBLE", "updated_at": "TIMESTAMPTZ"}
HEADER = "airport,hour,temp,updated_at\n"
ROWS = [
    {"airport": "EWR", "hour": 1, "temp": 39.02, "updated_at": datetime(2013, 1, 1, 6, 51, tzinfo=UTC)},
    {"airport": "JFK", "hour": 1, "temp": None, "updated_at": datetime(2013, 1, 1, 7, 51, tzinfo=UTC)},
]
CSV = HEADER + "EWR,1,39.02,2013-01-01T06:51:00Z\nJFK,1,,2013-01-01 07:51:00+00:00\n"
JSON_ROWS = [row | {"updated_at": row["updated_at"].isoformat()} for row in ROWS]
JSONL = "".join(json.dumps(row) + "\n" for row in JSON_ROWS)


def parquet(rows=ROWS, columns=COLUMNS) -> bytes:
    types = {
        "VARCHAR": pa.string(),
        "INTEGER": pa.int32(),
        "DOUBLE": pa.float64(),
        "TIMESTAMPTZ": pa.timestamp("us", "UTC"),
    }
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, pa.schema([(n, types[t]) for n, t in columns.items()])), sink)
    return sink.getvalue().to_pybytes()


CONTENTS = {
    "rows.csv": CSV.encode(),
    "bom.csv": b"\xef\xbb\xbf" + CSV.encode(),
    "crlf.csv": CSV.replace("\n", "\r\n").encode(),
    "blank.csv": CSV.replace("\n", "\n\n").encode(),
    "rows.csv.gz": gzip.compress(CSV.encode(), mtime=0),
    "rows.json": json.dumps(JSON_ROWS, indent=1).encode(),
    "rows.jsonl": JSONL.encode(),
    "rows.ndjson": JSONL.encode(),
    "rows.jsonl.gz": gzip.compress(JSONL.encode(), mtime=0),
    "rows.parquet": parquet(),
}


@pytest.fixture
def write(tmp_path):
    def write(name, content, columns=COLUMNS, **kwargs):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return FileSource(path, columns=columns, **kwargs)

    return write


def refusal(source: Source) -> SourceError:
    """The error that reading raises, after a look at what every one of them has to be."""
    with pytest.raises(SourceError) as caught:
        source.read()
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(source))
    assert "; " in str(caught.value), "it does not say what to do"
    return caught.value


# --- full refresh from files ---


@pytest.mark.parametrize("name", CONTENTS)
def test_every_format_gives_the_same_rows(write, name):
    table = write(name, CONTENTS[name]).read()
    assert table.to_pylist() == ROWS
    assert [str(t) for t in table.schema.types] == ["string", "int32", "double", "timestamp[us, tz=UTC]"]


def test_the_format_can_be_said_where_the_name_does_not_tell_it(write):
    assert write("rows.txt", CSV, format="csv").read().num_rows == 2
    assert write("rows", gzip.compress(CSV.encode()), format="csv").read().num_rows == 2, (
        "gzip is known by its first bytes"
    )


def test_columns_are_picked_by_name(write):
    picked = {"temp": "DOUBLE", "airport": "VARCHAR"}
    expected = [{"temp": 39.02, "airport": "EWR"}, {"temp": None, "airport": "JFK"}]
    for name, content in CONTENTS.items():
        assert write(name, content, picked).read().to_pylist() == expected


def test_a_header_alone_is_a_table_without_rows(write):
    table = write("rows.csv", HEADER).read()
    assert (table.num_rows, table.column_names) == (0, list(COLUMNS))
    assert write("rows.json", "[]").read().schema == table.schema
    assert write("rows.jsonl", "\n").read().schema == table.schema


def test_csv_dialects(write):
    text = 'name;size\n"M;ller ""Q""\nAG";NA\nz;1\n'
    source = write(
        "a.csv", text.encode("cp1252"), {"name": "VARCHAR", "size": "BIGINT"}, delimiter=";", null_values=["NA"]
    )
    expected = [{"name": 'M;ller "Q"\nAG', "size": None}, {"name": "z", "size": 1}]
    assert source.read().to_pylist() == expected
    umlaut = write("b.csv", "name\nMüller\n".encode("cp1252"), {"name": "VARCHAR"}, encoding="cp1252")
    assert umlaut.read()["name"].to_pylist() == ["Müller"]


def test_names_and_values_are_only_names_and_values(write, tmp_path):
    name, value = 'a"; DROP TABLE x; --', "기온'; SELECT 1"
    table = write(
        "기온 'x' [1].csv",
        f'"{name.replace(chr(34), chr(34) * 2)}",select\n{value},2\n',
        {name: "VARCHAR", "select": "INTEGER"},
    )
    assert table.read().to_pylist() == [{name: value, "select": 2}]


def test_every_sql_type_can_be_read_from_text(write):
    columns = {
        "v": "varchar", "d": "DOUBLE", "f": "FLOAT", "b": "BIGINT", "i": "INTEGER", "s": "SMALLINT", "o": "BOOLEAN",
        "y": "DATE", "t": "TIMESTAMP", "z": "TIMESTAMP WITH TIME ZONE", "m": "DECIMAL(10, 2)", "a": pa.int8(),
    }  # fmt: skip
    text = (
        ",".join(columns) + "\nx,1.5,2.5,3,4,5,true,2013-01-08,2013-01-01 02:00:00,2013-01-08T01:02:03-05:00,1.50,6\n"
    )
    (row,) = write("a.csv", text, columns).read().to_pylist()
    assert row == {
        "v": "x", "d": 1.5, "f": 2.5, "b": 3, "i": 4, "s": 5, "o": True, "y": date(2013, 1, 8),
        "t": NAIVE, "z": datetime(2013, 1, 8, 6, 2, 3, tzinfo=UTC), "m": Decimal("1.50"), "a": 6,
    }  # fmt: skip


def test_decimals_in_json_are_exact(write):
    columns = {"price": "DECIMAL(10, 2)"}
    table = write("a.jsonl", '{"price": "1.10"}\n{"price": 2}\n{"price": null}\n', columns).read()
    assert table["price"].to_pylist() == [Decimal("1.10"), Decimal(2), None]
    assert "1.1 is not decimal128(10, 2)" in str(refusal(write("a.jsonl", '{"price": 1.1}\n', columns)))
    assert "'1.105' is not decimal128(10, 2)" in str(refusal(write("a.jsonl", '{"price": "1.105"}\n', columns)))


def test_the_packaged_weather():
    columns = {"origin": "VARCHAR", "temp": "DOUBLE", "time_hour": "TIMESTAMPTZ"}
    table = FileSource(datasets.path("weather"), columns=columns).read()
    assert (table.num_rows, table["temp"].null_count) == (26_115, 1)
    assert FileSource(datasets.path("flights")).read().num_rows == 336_776


def test_a_folder_is_all_its_files_in_order(tmp_path):
    for name, row in (("b.csv", "JFK"), ("a.csv", "EWR"), (".hidden.csv", "XXX"), ("notes.txt", "no")):
        (tmp_path / name).write_text(f"airport\n{row}\n")
    source = FileSource(tmp_path, columns={"airport": "VARCHAR"}, pattern="*.csv")
    assert source.read()["airport"].to_pylist() == ["EWR", "JFK"]
    assert "no file in it matches '*.json'" in str(refusal(replace(source, pattern="*.json")))


def test_files_of_a_folder_must_agree(tmp_path):
    (tmp_path / "a.parquet").write_bytes(parquet())
    (tmp_path / "b.parquet").write_bytes(parquet([{"airport": "EWR"}], {"airport": "VARCHAR"}))
    assert "its columns are not those of a.parquet" in str(refusal(FileSource(tmp_path)))
    assert FileSource(tmp_path, columns={"airport": "VARCHAR"}).read().num_rows == 3


def test_duckdb_reads_what_a_source_gives(write):
    rows = write("rows.csv", CSV).read()
    assert duckdb.execute("SELECT airport, hour, temp FROM rows ORDER BY airport").fetchall() == [
        ("EWR", 1, 39.02),
        ("JFK", 1, None),
    ]
    assert rows.num_rows == 2


# --- bad input from files ---

EWR = "EWR,1,39.02,2013-01-01T06:51:00Z\n"
OBJECT = json.dumps(JSON_ROWS[0])


class Bad(NamedTuple):
    """A file that must be refused, and what the error says of it."""

    name: str
    content: str | bytes
    says: str
    line: int | None = None
    column: str | None = None
    value: object = None


BAD = {
    "empty": Bad("a.csv", b"", "it is empty"),
    "empty inside gzip": Bad("a.csv.gz", gzip.compress(b""), "it is empty"),
    "blank lines only": Bad("a.csv", "\n\n", "only blank lines"),
    "cut off in the last line": Bad("a.csv", HEADER + EWR + "JFK,1,3", "no line end", line=3),
    "cut off in a whole-looking line": Bad("a.csv", HEADER + EWR[:-1], "no line end", line=2),
    "too few fields": Bad("a.csv", HEADER + EWR + "JFK,1\n", "2 fields where the header has 4", line=3),
    "too many fields": Bad("a.csv", HEADER + EWR[:-1] + ",x\n", "5 fields where the header has 4", line=2),
    "open quote": Bad("a.csv", HEADER + EWR + '"JFK,1,2,2013-01-01T06:51:00Z\n', "unexpected end of data", line=3),
    "open quote in the last field": Bad("a.csv", HEADER + 'EWR,1,2,"2013\n', "unexpected end of data", line=2),
    "quote inside": Bad("a.csv", HEADER + '"E"R,1,2,2013-01-01T06:51:00Z\n', "',' expected after '\"'", line=2),
    "a word for a number": Bad(
        "a.csv",
        HEADER + EWR + EWR.replace("39.02", "cold"),
        "'cold' is not DOUBLE",
        line=3,
        column="temp",
        value="cold",
    ),
    "a fraction for a whole number": Bad(
        "a.csv", HEADER + EWR.replace(",1,", ",1.5,"), "is not INTEGER", line=2, column="hour", value="1.5"
    ),
    "a number too big": Bad(
        "a.csv", HEADER + EWR.replace(",1,", ",3000000000,"), "not INTEGER", line=2, column="hour", value="3000000000"
    ),
    "a decimal comma": Bad(
        "a.csv", HEADER + EWR.replace("39.02", '"39,02"'), "'39,02' is not DOUBLE", line=2, column="temp", value="39,02"
    ),
    "a blank for a number": Bad(
        "a.csv", HEADER + EWR.replace("39.02", " "), "' ' is not DOUBLE", line=2, column="temp", value=" "
    ),
    "NA for a number": Bad(
        "a.csv", HEADER + EWR.replace("39.02", "NA"), "'NA' is not DOUBLE", line=2, column="temp", value="NA"
    ),
    "an instant without zone": Bad(
        "a.csv",
        HEADER + "EWR,1,1,2013-01-01 06:51:00\n",
        "is not TIMESTAMPTZ",
        line=2,
        column="updated_at",
        value="2013-01-01 06:51:00",
    ),
    "a day that is none": Bad(
        "a.csv",
        HEADER + EWR.replace("01-01", "02-30"),
        "is not TIMESTAMPTZ",
        line=2,
        column="updated_at",
        value="2013-02-30T06:51:00Z",
    ),
    "after a field of two lines": Bad(
        "a.csv",
        HEADER + EWR.replace("EWR", '"E\nW"') + "JFK,x,1,\n",
        "'x' is not INTEGER",
        line=4,
        column="hour",
        value="x",
    ),
    "after a blank line": Bad(
        "a.csv", HEADER + "\n\nJFK,x,1,\n", "'x' is not INTEGER", line=4, column="hour", value="x"
    ),
    "a column missing": Bad(
        "a.csv", "airport,our,temp,updated_at\n" + EWR, "no column 'hour'; did you mean 'our'", column="hour"
    ),
    "a column twice": Bad(
        "a.csv", "airport,hour,temp,hour,updated_at\n", "more than one column is called 'hour'", column="hour"
    ),
    "another encoding": Bad("a.csv", (HEADER + EWR + "Zürich").encode("cp1252"), "byte 0xfc is not utf-8", line=3),
    "cut off gzip": Bad("a.csv.gz", gzip.compress(CSV.encode())[:-20], "break off before their end"),
    "gzip without its checksum": Bad("a.csv.gz", gzip.compress(CSV.encode())[:-8], "break off"),
    "gzip with another checksum": Bad("a.csv.gz", gzip.compress(CSV.encode())[:-8] + bytes(8), "not whole gzip"),
    "gzip in name only": Bad("a.csv.gz", CSV, "not whole gzip data"),
    "an unknown ending": Bad("a.xls", CSV, "'.xls' is no format known here"),
    "JSON cut off": Bad("a.json", json.dumps(JSON_ROWS)[:-9], "not JSON"),
    "JSON of another shape": Bad("a.json", OBJECT, "not a list of objects; say format='jsonl'"),
    "JSON with NaN": Bad("a.json", "[NaN]", "NaN is not in JSON"),
    "JSON lines cut off": Bad("a.jsonl", JSONL[:-9], "not JSON", line=2),
    "JSON lines with a number": Bad("a.jsonl", OBJECT + "\n7\n", "int instead of an object", line=2),
    "an absent key": Bad(
        "a.jsonl", "\n" + OBJECT.replace('"temp"', '"tmp"'), "no 'temp'; did you mean 'tmp'", line=2, column="temp"
    ),
    "text for a number": Bad(
        "a.jsonl", OBJECT.replace("39.02", '"39.02"'), "'39.02' is not DOUBLE", line=1, column="temp", value="39.02"
    ),
    "true for a number": Bad(
        "a.jsonl", OBJECT.replace("39.02", "true"), "True is not DOUBLE", line=1, column="temp", value=True
    ),
    "a fraction in JSON": Bad(
        "a.json", f"[{OBJECT.replace(': 1,', ': 1.5,')}]", "1.5 is not INTEGER", line=1, column="hour", value=1.5
    ),
    "an object for a text": Bad(
        "a.json",
        f"[{OBJECT.replace(chr(34) + 'EWR' + chr(34), '{}')}]",
        "{} is not VARCHAR",
        line=1,
        column="airport",
        value={},
    ),
    "a number for an instant": Bad(
        "a.json",
        '[{"airport": "E", "hour": 1, "temp": 1, "updated_at": 5}]',
        "5 is not TIMESTAMPTZ",
        line=1,
        column="updated_at",
        value=5,
    ),
    "Parquet cut off": Bad("a.parquet", parquet()[:-20], "not a whole Parquet file"),
    "Parquet without a column": Bad(
        "a.parquet", parquet([{"hour": 1}], {"hour": "INTEGER"}), "no column 'airport'", column="airport"
    ),
    "Parquet of another type": Bad(
        "a.parquet", parquet(columns=COLUMNS | {"hour": "DOUBLE"}), "it is double, not INTEGER", column="hour"
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_in_one_line(write, case):
    bad = BAD[case]
    error = refusal(write(bad.name, bad.content))
    assert bad.says in str(error)
    assert (error.line, error.column, error.value) == (bad.line, bad.column, bad.value)
    if bad.line:
        assert f" {bad.line}" in str(error).removeprefix(error.source)


def test_a_missing_file_is_named_with_its_neighbour(write, tmp_path):
    write("weather.csv", CSV)
    assert "it does not exist; did you mean 'weather.csv'" in str(refusal(FileSource(tmp_path / "wether.csv")))
    assert "it does not exist" in str(refusal(FileSource(tmp_path / "nowhere" / "a.csv")))


def test_a_file_that_cannot_be_opened_is_named(write, tmp_path):
    write("a.csv", CSV)
    assert "it cannot be read (Not a directory)" in str(refusal(FileSource(tmp_path / "a.csv" / "b.csv")))


def test_what_the_reader_was_told_is_refused_too(write):
    assert "text says nothing of types" in str(refusal(write("a.csv", CSV, None)))
    assert "unknown type 'DUOBLE'; did you mean 'DOUBLE'" in str(refusal(write("a.csv", CSV, {"temp": "DUOBLE"})))
    assert "unknown encoding: utf-9" in str(refusal(write("a.csv", CSV, encoding="utf-9")))
    assert "'exel' is no format known here" in str(refusal(write("a.csv", CSV, format="exel")))


def test_a_last_line_without_end_can_be_allowed(write):
    assert write("a.csv", CSV[:-1], final_newline=False).read().to_pylist() == ROWS


def test_a_long_value_is_shortened_in_the_message_only(write):
    error = refusal(write("a.csv", f"temp\n{'x' * 9_999}\n", {"temp": "DOUBLE"}))
    assert (len(str(error)) < 300, len(error.value)) == (True, 9_999)


# --- incremental update ---

T = [datetime(2013, 1, 1, hour, tzinfo=UTC) for hour in range(9)]


def csv_of(*rows):
    return "key,updated_at\n" + "".join(f"{key},{time.isoformat()}\n" for key, time in rows)


INCREMENTAL = {"columns": {"key": "VARCHAR", "updated_at": "TIMESTAMPTZ"}, "modified": "updated_at"}


def keys(batch):
    return batch.rows["key"].to_pylist()


def test_incremental_updates_lose_no_row_that_ties_with_the_cursor(write):
    first = write("a.csv", csv_of(("a", T[1]), ("b", T[2])), **INCREMENTAL).modified_since(None)
    assert (keys(first), first.cursor) == (["a", "b"], T[2])
    second = write("a.csv", csv_of(("a", T[1]), ("b", T[2]), ("c", T[2])), **INCREMENTAL).modified_since(first.cursor)
    assert (keys(second), second.cursor) == (["b", "c"], T[2]), "c came later with the same time; b is read again"
    third = write("a.csv", csv_of(("a", T[4]), ("b", T[2]), ("c", T[2]), ("d", T[3])), **INCREMENTAL)
    assert (sorted(keys(third.modified_since(T[2]))), third.modified_since(T[2]).cursor) == (["a", "b", "c", "d"], T[4])


def test_nothing_new_keeps_the_cursor_and_the_columns(write):
    source = write("a.csv", csv_of(("a", T[1])), **INCREMENTAL)
    batch = source.modified_since(T[5])
    assert (batch.rows.num_rows, batch.cursor, batch.rows.schema) == (0, T[5], source.read().schema)
    empty = write("a.csv", csv_of(), **INCREMENTAL)
    assert (empty.modified_since(None).cursor, empty.modified_since(T[1]).cursor) == (None, T[1])


def test_a_cursor_may_be_text(write):
    source = write("a.csv", csv_of(("a", T[1]), ("b", T[2])), **INCREMENTAL)
    assert keys(source.modified_since("2013-01-01T02:00:00Z")) == ["b"]
    assert source.modified_since("2013-01-01T08:00:00+00:00").cursor == T[8]


@pytest.mark.parametrize("cursor", ["yesterday", "2013-01-01T02:00:00", NAIVE, 7.5, object()])
def test_a_cursor_that_cannot_be_compared_is_refused(write, cursor):
    source = write("a.csv", csv_of(("a", T[1])), **INCREMENTAL)
    with pytest.raises(SourceError, match="cannot be compared with timestamp"):
        source.modified_since(cursor)


def test_rows_without_a_modification_time_are_refused(write):
    source = write("a.csv", csv_of(("a", T[1])) + "b,\n", **INCREMENTAL)
    with pytest.raises(SourceError, match="column 'updated_at': 1 rows have no modification time"):
        source.modified_since(None)


def test_the_modification_column_must_be_there(write):
    source = write("a.csv", csv_of(("a", T[1])), **INCREMENTAL | {"modified": "updatet_at"})
    with pytest.raises(SourceError, match="no column 'updatet_at'; did you mean 'updated_at'"):
        source.modified_since(None)


def test_a_file_without_such_a_column_goes_by_its_own_time(write):
    columns = {"key": "VARCHAR"}
    source = write("b.csv", "key\nb\n", columns)
    os.utime(source.path, ns=(0, 1_000_000_000_000_000_999))
    cursor = source.modified_since(None).cursor
    assert cursor == datetime(2001, 9, 9, 1, 46, 40, tzinfo=UTC)
    assert keys(source.modified_since(cursor)) == ["b"], "it may have been written again within the same tick"
    assert source.modified_since(cursor + timedelta(microseconds=1)).rows.num_rows == 0


def test_a_folder_gives_its_new_files(tmp_path):
    for n, name in enumerate(["c.csv", "a.csv", "b.csv"]):
        (tmp_path / name).write_text(f"key\n{name[0]}\n")
        os.utime(tmp_path / name, (T[n].timestamp(),) * 2)
    source = FileSource(tmp_path, columns={"key": "VARCHAR"})
    assert (keys(source.modified_since(None)), source.modified_since(None).cursor) == (["a", "b", "c"], T[2])
    assert keys(source.modified_since(T[1])) == ["a", "b"]
    assert keys(source.modified_since("2013-01-01T02:00:00Z")) == ["b"]
    nothing = source.modified_since(T[3])
    assert (nothing.rows.num_rows, nothing.rows.column_names, nothing.cursor) == (0, ["key"], T[3])
    with pytest.raises(SourceError, match="has no time zone"):
        source.modified_since(NAIVE)
    with pytest.raises(SourceError, match="'yesterday' is no ISO time"):
        source.modified_since("yesterday")


def test_a_source_of_ones_own_needs_only_read():
    class Two(Source):
        modified = "n"

        def read(self):
            return pa.table({"n": [-2, 0, 0]})

    batch = Two().modified_since(-1)
    assert (batch.rows["n"].to_pylist(), batch.cursor) == ([0, 0], 0)


# --- the web ---


class Handler(BaseHTTPRequestHandler):
    """Answers by path; what was asked is kept in the server's `asked`."""

    def log_message(self, *args):
        pass

    def answer(self, body, status=200, length=None):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.server.asked.append((self.path, self.headers.get("Authorization")))
        path = urlsplit(self.path).path
        if path == "/slow.csv":
            self.server.done.wait(30)
        elif path == "/moved.csv":
            self.send_response(302)
            self.send_header("Location", "/rows.csv")
            self.end_headers()
        elif path == "/chunked.csv":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"5\r\nkey,u")  # and no last chunk
        elif path == "/short.csv":
            self.answer(CSV.encode(), length=999)
        elif path == "/empty.csv":
            self.answer(b"", status=204)
        elif path == "/since.csv":
            since = datetime.fromisoformat(
                parse_qs(urlsplit(self.path).query).get("updated_since", [T[0].isoformat()])[0]
            )
            self.answer(csv_of(*[(str(n), time) for n, time in enumerate(T) if time >= since]).encode())
        elif path.lstrip("/") in CONTENTS:
            self.answer(CONTENTS[path.lstrip("/")])
        else:
            self.answer(b"no", status=404)


@pytest.fixture(scope="module")
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.asked, server.done = True, [], threading.Event()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    server.address = f"http://127.0.0.1:{server.server_port}"
    yield server
    server.done.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("name", CONTENTS)
def test_every_format_comes_from_the_web(server, name):
    assert HttpSource(f"{server.address}/{name}?page=1", columns=COLUMNS).read().to_pylist() == ROWS


def test_redirects_are_followed_without_the_headers(server):
    source = HttpSource(f"{server.address}/moved.csv", columns=COLUMNS, headers={"Authorization": "s3cret"})
    assert source.read().num_rows == 2
    assert server.asked[-2:] == [("/moved.csv", "s3cret"), ("/rows.csv", None)]


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("none.csv", "HTTP 404 Not Found"),
        ("empty.csv", "HTTP 204 No Content"),
        ("short.csv", f"the body broke off after {len(CSV)} bytes with {999 - len(CSV)} to come"),
        ("chunked.csv", "the body broke off after"),
    ],
)
def test_an_answer_that_is_not_whole_is_refused(server, path, says):
    error = refusal(HttpSource(f"{server.address}/{path}", columns=COLUMNS))
    assert says in str(error)


def test_a_server_that_says_nothing_is_given_up(server):
    assert "no byte in 0.05 seconds" in str(
        refusal(HttpSource(f"{server.address}/slow.csv", columns=COLUMNS, timeout=0.05))
    )


def test_a_server_that_is_not_there_is_named(server):
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as closed:
        port = closed.server_port
    error = refusal(HttpSource(f"http://127.0.0.1:{port}/rows.csv", columns=COLUMNS))
    assert "no answer" in str(error)


def test_only_the_web_is_read():
    assert "this is no web address" in str(refusal(HttpSource("file:///etc/passwd", format="csv", columns=COLUMNS)))


@pytest.mark.parametrize("path", ["none.csv?token=s3cret", "bad.csv?token=s3cret"])
def test_secrets_stay_out_of_messages(server, path):
    source = HttpSource(
        f"{server.address}/{path}", columns=COLUMNS | {"x": "DATE"}, headers={"Authorization": "s3cret"}
    )
    assert "s3cret" not in f"{refusal(source)} {source!r} {source}"
    assert server.asked[-1][1] == "s3cret"


def test_a_login_in_the_address_is_refused_without_showing_it(server):
    source = HttpSource(f"http://ann:s3cret@127.0.0.1:{server.server_port}/rows.csv", columns=COLUMNS)
    assert "the address holds a login" in str(error := refusal(source))
    assert "s3cret" not in f"{error} {source!r}"


def test_a_malformed_address_is_not_even_chained(server):
    error = refusal(HttpSource(f"{server.address}/rows.csv?a b=s3cret", columns=COLUMNS))
    assert "the address is malformed" in str(error)
    assert (error.__cause__, error.__suppress_context__) == (None, True), "its own message quotes the address"


def test_the_cursor_travels_to_a_service_that_can_filter(server):
    source = HttpSource(f"{server.address}/since.csv?v=2", since_parameter="updated_since", **INCREMENTAL)
    first = source.modified_since(None)
    assert (len(keys(first)), server.asked[-1][0]) == (9, "/since.csv?v=2")
    second = source.modified_since(first.cursor - timedelta(hours=1))
    assert keys(second) == ["7", "8"]
    assert server.asked[-1][0] == "/since.csv?v=2&updated_since=2013-01-01T07%3A00%3A00%2B00%3A00"


def test_a_service_that_cannot_filter_is_filtered_here(server):
    source = HttpSource(f"{server.address}/rows.csv", since_parameter="since", columns=COLUMNS, modified="updated_at")
    assert source.modified_since(ROWS[1]["updated_at"]).rows.to_pylist() == ROWS[1:]


def test_a_page_without_modification_times_is_read_in_full_only(server):
    with pytest.raises(SourceError, match="name it: modified="):
        HttpSource(f"{server.address}/rows.csv", columns=COLUMNS).modified_since(None)


# --- databases ---


@pytest.fixture
def duck():
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'Asia/Seoul'")
        connection.execute('CREATE TABLE readings (key VARCHAR, "updated at" TIMESTAMPTZ, n BIGINT)')
        connection.executemany(
            "INSERT INTO readings VALUES (?, ?, ?)", [("a", T[1], 1), ("b", T[2], None), ("c", T[2], 3)]
        )
        yield connection


@pytest.fixture
def lite():
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE readings (key TEXT, updated_at TEXT, n INTEGER)")
        rows = [("a", "2013-01-01 01:00:00+00:00", 1), ("b", "2013-01-01T02:00:00Z", None), ("c", T[2].isoformat(), 3)]
        connection.executemany("INSERT INTO readings VALUES (?, ?, ?)", rows)
        yield connection


def test_a_duckdb_query(duck):
    source = SqlSource(duck, "SELECT * FROM readings ORDER BY key")
    assert source.read().to_pylist()[1] == {"key": "b", "updated at": T[2], "n": None}
    assert [str(t) for t in source.read().schema.types] == ["string", "timestamp[us, tz=UTC]", "int64"]
    assert SqlSource(duck, "FROM readings WHERE n > ?", parameters=[2], columns={"n": "DOUBLE"}).read().to_pylist() == [
        {"n": 3.0}
    ]


def test_a_duckdb_query_since(duck):
    source = SqlSource(
        duck, "SELECT * FROM readings WHERE n IS DISTINCT FROM ? -- all\n;", parameters=[9], modified="updated at"
    )
    first = source.modified_since(None)
    assert (sorted(keys(first)), first.cursor) == (["a", "b", "c"], T[2])
    assert sorted(keys(source.modified_since(first.cursor))) == ["b", "c"]
    duck.execute("INSERT INTO readings VALUES ('d', NULL, 1)")
    with pytest.raises(SourceError, match="1 rows have no modification time"):
        source.modified_since(first.cursor)


def test_a_sqlite_query(lite):
    assert SqlSource(lite, "SELECT key, n FROM readings").read().to_pylist()[1] == {"key": "b", "n": None}
    source = SqlSource(lite, "SELECT * FROM readings", columns={"key": "VARCHAR", "updated_at": "TIMESTAMPTZ"})
    assert source.read()["updated_at"].to_pylist() == [T[1], T[2], T[2]]


def test_sqlite_compares_instants_not_their_texts(lite):
    source = SqlSource(lite, "SELECT key, updated_at FROM readings", **INCREMENTAL)
    batch = source.modified_since(T[2])
    assert (keys(batch), batch.cursor) == (["b", "c"], T[2]), (
        "as text, one of the two forms would come before the other"
    )


def test_sqlite_chooses_by_numbers_and_texts_itself(lite):
    source = SqlSource(lite, "SELECT key, n FROM readings WHERE n IS NOT NULL;", modified="n")
    statements = []
    lite.set_trace_callback(statements.append)
    assert (keys(source.modified_since(2)), source.modified_since(2).cursor) == (["c"], 3)
    assert all(">= 2" in statement for statement in statements)


def test_values_that_sqlite_lets_in_are_refused(lite):
    lite.execute("INSERT INTO readings VALUES ('d', 'x', 'many')")
    error = refusal(SqlSource(lite, "SELECT n FROM readings", columns={"n": "BIGINT"}))
    assert "row 4, column 'n': 'many' is not BIGINT" in str(error)
    assert "values of several types" in str(refusal(SqlSource(lite, "SELECT n FROM readings")))


@pytest.mark.parametrize("kind", ["duck", "lite"])
@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("SELECT * FROM reading", "reading"),
        ("SELEC 1", "syntax error"),
        ("CREATE TABLE other (a INTEGER)", "query; give a single SELECT"),
        ("SELECT 1; SELECT 2", "one"),
        ("SELECT 1 AS a, 2 AS a", "more than one column is called 'a'"),
    ],
)
def test_a_bad_query_is_refused(request, kind, query, says):
    assert says in str(refusal(SqlSource(request.getfixturevalue(kind), query)))


def test_a_duckdb_column_of_another_kind_is_refused(duck):
    query = "SELECT 1 AS n, TIMESTAMP '2013-01-01 00:00:00' AS t, 3000000000 AS big"
    for column, wanted, says in (
        ("n", "VARCHAR", "it is int32, not VARCHAR"),
        ("n", "TIMESTAMPTZ", "it is int32, not TIMESTAMPTZ"),
        ("t", "TIMESTAMPTZ", "it is timestamp[us], not TIMESTAMPTZ"),
        ("big", "INTEGER", "not every value is INTEGER"),
    ):
        assert says in str(refusal(SqlSource(duck, query, columns={column: wanted})))


def test_only_connections_are_asked():
    assert "builtins makes no DB-API connections" in str(refusal(SqlSource("warehouse.duckdb", "SELECT 1")))


def test_a_connection_and_its_parameters_stay_out_of_messages(lite):
    source = SqlSource(lite, "SELECT ? AS a FROM nowhere", parameters=["s3cret"])
    assert "s3cret" not in f"{refusal(source)} {source!r}"


# --- the weather, day by day ---

DAY = date(2013, 1, 8)


def test_a_day_is_a_new_york_day():
    readings = DailyWeather().extract(DAY)
    assert [r.airport for r in readings] == ["EWR"] * 24 + ["JFK"] * 24 + ["LGA"] * 24
    assert (readings[0].observed_at, readings[23].observed_at) == (
        datetime(2013, 1, 8, 5, tzinfo=UTC),
        datetime(2013, 1, 9, 4, tzinfo=UTC),
    )
    assert all(r.updated_at - r.observed_at == timedelta(minutes=51) for r in readings)


@pytest.mark.parametrize(("day", "rows"), [("2013-03-10", 23), ("2013-11-03", 24)])
def test_days_on_which_the_clocks_change(day, rows):
    observed = [r.observed_at for r in DailyWeather().extract(day) if r.airport == "JFK"]
    assert (len(observed), len(set(observed))) == (rows, rows)


def test_the_days_are_the_file(monkeypatch):
    source = DailyWeather()
    readings = [r for n in range(364) for r in source.extract(date(2013, 1, 1) + timedelta(n))]
    table = datasets.weather()
    assert sorted((r.airport, r.observed_at, r.temp or 0) for r in readings) == sorted(
        zip(table.origin, table.time_hour.dt.to_pydatetime(), table.temp.fillna(0), strict=True)
    )


def test_every_way_to_say_a_day_gives_the_same():
    source = DailyWeather()
    midnight = datetime(2013, 1, 8, 5, tzinfo=UTC)  # in New York
    assert source.extract(DAY) == source.extract("2013-01-08") == source.extract(midnight)
    assert source.extract(midnight - timedelta(seconds=1)) == source.extract("2013-01-07")
    with pytest.raises(SourceError, match="has no time zone"):
        source.extract(NAIVE)


def test_a_day_that_is_not_there_is_refused():
    with pytest.raises(SourceError, match="no weather for 2013-12-31; there is some from 2013-01-01 to 2013-12-30"):
        DailyWeather().extract("2013-12-31")


def test_an_outage_lasts_as_often_as_asked():
    source = DailyWeather(outages={DAY: 2})
    assert len(source.extract("2013-01-07")) == 72
    for _ in range(2):
        with pytest.raises(SourceError, match="does not answer for 2013-01-08; try again"):
            source.extract(DAY)
    assert source.extract(DAY) == source.extract(DAY) == DailyWeather().extract(DAY)
    with pytest.raises(SourceError):
        DailyWeather(outages={"2013-01-08": 1}).extract(DAY)


def test_a_revision_arrives_as_a_duplicate_with_a_later_time():
    hour = datetime(2013, 1, 8, 19, tzinfo=UTC)
    source = DailyWeather(revisions={DAY: [Revision("JFK", hour, 50.0)]})
    *readings, revised = source.extract(DAY)
    assert readings == DailyWeather().extract(DAY)
    (original,) = [r for r in readings if (r.airport, r.observed_at) == ("JFK", hour)]
    assert revised == original._replace(temp=50.0, updated_at=datetime(2013, 1, 9, 4, 59, tzinfo=UTC))
    assert all(revised.updated_at > r.updated_at for r in readings)
    assert source.extract(DAY) == [*readings, revised], "the same again"


def test_a_revision_may_come_days_later():
    source = DailyWeather(revisions={"2013-01-10": [Revision("EWR", datetime(2013, 1, 8, 19, tzinfo=UTC), 50.0)]})
    late = source.extract("2013-01-10")[-1]
    assert (late.observed_at.day, late.updated_at.isoformat()) == (8, "2013-01-11T04:59:00+00:00")
    assert len(source.extract(DAY)) == 72


def test_a_revision_of_nothing_is_refused():
    source = DailyWeather(revisions={DAY: [Revision("JFK", datetime(2013, 1, 8, 19, 30, tzinfo=UTC), 50.0)]})
    with pytest.raises(SourceError, match="no reading of JFK at 2013-01-08 19:30"):
        source.extract(DAY)


def test_readings_load_into_duckdb():
    readings = DailyWeather().extract(DAY)
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE raw (airport VARCHAR, observed_at TIMESTAMPTZ, temp DOUBLE)")
        connection.executemany("INSERT INTO raw VALUES (?, ?, ?)", [r[:3] for r in readings])
        loaded = connection.execute("SELECT count(*), min(temp), max(temp) FROM raw").fetchone()
    table = datasets.weather().query("month == 1 and day == 8")
    assert loaded == (72, table.temp.min(), table.temp.max())
