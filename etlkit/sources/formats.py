"""From bytes to a table: CSV, JSON and Parquet, read whole or refused."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, NoReturn

from etlkit.errors import nearest
from etlkit.sources.base import Source
from etlkit.sources.columns import Columns, Where, arrow_types, check_names, fitted, typed
from etlkit.sources.refusal import refusal

if TYPE_CHECKING:
    import pyarrow as pa

ENDINGS = {".csv": "csv", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}


@dataclass(frozen=True, kw_only=True)
class Document(Source):
    """What files and web pages have in common: bytes in some format, and what is known of it.

    `columns` maps names to SQL types (or Arrow's). CSV and JSON need it, since nothing else says what their values are;
    for Parquet it picks columns and checks their types. `modified` is the column with the modification time. `format`
    ("csv", "json", "jsonl" or "parquet") is needed where the name's ending does not say it.

    For CSV there are also `delimiter`, `encoding`, the `null_values` that stand for a missing value, and
    `final_newline`: a last line without a line end is refused, since 38.9 cut off after the 3 is a number too. Turn it
    off for a source that never ends its last line.
    """

    columns: Columns | None = None
    modified: str | None = None
    format: str | None = None
    delimiter: str = ","
    encoding: str = "utf-8"
    null_values: Sequence[str] = ("",)
    final_newline: bool = True

    def table(self, name: str, data: bytes) -> pa.Table:
        """The rows in `data`; `name` is for its ending and for messages."""
        ending = PurePosixPath(name.removesuffix(".gz")).suffix.lower()
        kind = self.format or ENDINGS.get(ending, ending)
        if kind not in PARSERS:
            raise refusal(name, f"{kind!r} is no format known here", f"say format=, one of {', '.join(PARSERS)}")
        data = _gunzip(name, data) if name.endswith(".gz") or data.startswith(b"\x1f\x8b") else data
        if not data:
            raise refusal(name, "it is empty, without even a header", "see whether what writes it failed")
        return PARSERS[kind](self, name, data)

    def text(self, name: str, data: bytes) -> str:
        try:
            return data.decode(self.encoding).removeprefix("\ufeff")
        except LookupError as error:
            raise refusal(name, str(error), "name one that Python knows, such as encoding='utf-8'") from error
        except UnicodeDecodeError as error:
            what = f"byte 0x{data[error.start]:02x} is not {self.encoding}"
            todo = "name the encoding it was written in, such as encoding='cp1252'"
            raise refusal(name, what, todo, at=("line", data.count(b"\n", 0, error.start) + 1)) from error

    def types(self, name: str) -> dict[str, pa.DataType]:
        if self.columns is None:
            raise refusal(name, "text says nothing of types", "name the columns: columns={'temp': 'DOUBLE', ...}")
        return arrow_types(self.columns, name)


def parse_csv(document: Document, name: str, data: bytes) -> pa.Table:
    """CSV by RFC 4180 with a header line; blank lines are skipped."""
    text, types = document.text(name, data), document.types(name)
    if document.final_newline and not text.endswith(("\n", "\r")):
        what, todo = "no line end, so the file may be cut off", "get it again; if it is whole, say final_newline=False"
        raise refusal(name, what, todo, at=("line", text.count("\n") + 1))
    (_, header), *records = _csv_records(text, document.delimiter, name)
    check_names(header, list(types), name)
    for line, record in records:
        if len(record) != len(header):
            what = f"{len(record)} fields where the header has {len(header)}"
            raise refusal(name, what, "complete the line, or quote the field that holds a delimiter", at=("line", line))
    nulls = set(document.null_values)

    def values(column: str) -> list[str | None]:
        place = header.index(column)
        return [None if record[place] in nulls else record[place] for _, record in records]

    return typed(types, values, name, lambda row: ("line", records[row][0]), from_text=True)


def _csv_records(text: str, delimiter: str, name: str) -> list[tuple[int, list[str]]]:
    """The records and the line that each begins on: a quoted field may hold line ends."""
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    records, line = [], 1
    try:
        for record in lines:
            if record:
                records.append((line, record))
            line = lines.line_num + 1
    except csv.Error as error:
        raise refusal(name, f"{error}", "close the quotes, and double those inside", at=("line", line)) from error
    if not records:
        raise refusal(name, "only blank lines, without a header", "see whether what writes it failed")
    return records


def parse_json(document: Document, name: str, data: bytes) -> pa.Table:
    """One list of objects."""
    try:
        items = json.loads(document.text(name, data), parse_constant=_not_json)
    except ValueError as error:
        raise refusal(name, f"not JSON ({error})", "get it again if it is cut off") from error
    if not isinstance(items, list):
        raise refusal(name, "not a list of objects", "say format='jsonl' if each line is an object")
    return _objects(document, name, items, lambda row: ("item", row + 1))


def parse_jsonl(document: Document, name: str, data: bytes) -> pa.Table:
    """One object a line (JSON Lines, NDJSON); blank lines are skipped."""
    items, numbers = [], []
    for number, line in enumerate(document.text(name, data).split("\n"), start=1):
        if line.strip():
            try:
                items.append(json.loads(line, parse_constant=_not_json))
            except ValueError as error:
                todo = "get it again if it is cut off"
                raise refusal(name, f"not JSON ({error})", todo, at=("line", number)) from error
            numbers.append(number)
    return _objects(document, name, items, lambda row: ("line", numbers[row]))


def _not_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not in JSON; a missing value is null")


def _objects(document: Document, name: str, items: list[Any], where: Where) -> pa.Table:
    """The table of the objects. An absent key is not a null: it may be a misspelt one."""
    types = document.types(name)
    for row, item in enumerate(items):
        if not isinstance(item, dict):
            raise refusal(
                name, f"{type(item).__name__} instead of an object", 'a row is {"column": value, ...}', at=where(row)
            )
        if absent := [column for column in types if column not in item]:
            what = f"no {absent[0]!r}{nearest(absent[0], list(item))}"
            raise refusal(name, what, "write null for a missing value", at=where(row), column=absent[0])
    return typed(types, lambda column: [item[column] for item in items], name, where)


def parse_parquet(document: Document, name: str, data: bytes) -> pa.Table:
    """Parquet, which carries its types; stated ones must agree with them."""
    import pyarrow as pa
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(pa.BufferReader(data))
    except (pa.ArrowException, OSError) as error:
        raise refusal(name, f"not a whole Parquet file ({error})", "get it again") from error
    return fitted(table, document.columns, name)


PARSERS: dict[str, Callable[[Document, str, bytes], pa.Table]] = {
    "csv": parse_csv,
    "json": parse_json,
    "jsonl": parse_jsonl,
    "parquet": parse_parquet,
}


def _gunzip(name: str, data: bytes) -> bytes:
    try:
        return gzip.decompress(data)
    except EOFError as error:
        raise refusal(name, "the gzip data break off before their end", "get it again") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        todo = "get it again; if it is not compressed, take .gz off its name"
        raise refusal(name, f"not whole gzip data ({error})", todo) from error
