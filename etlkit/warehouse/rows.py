"""New rows, whatever they come in, as something that SQL can read: `FROM <source>`.

- a DataFrame, an Arrow table or a relation is read through a temporary view;
- a list of tuples (or lists), in the order of the table's columns, becomes an Arrow table;
- a path, or a text that ends like one (`.csv`, `.tsv`, `.json`, `.jsonl`, `.ndjson`, each also with `.gz`, or
  `.parquet`), is read with `read_csv`, `read_json` or `read_parquet`;
- any other text is a query.

A file is read strictly, as the table's types: what cannot be read whole is refused whole, with its line.
"""

from __future__ import annotations

import csv
import gzip
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import duckdb

from etlkit.errors import SchemaMismatch, SourceError, WarehouseError
from etlkit.warehouse.sql import Column, Table, literal, quoted

DELIMITERS = {".csv": ",", ".tsv": "\t"}
JSON = (".json", ".jsonl", ".ndjson")
FILE = re.compile(r"\.(parquet|(csv|tsv|json|jsonl|ndjson)(\.gz)?)$", re.IGNORECASE)
CSV_FAULT = re.compile(r"CSV Error on Line: (?P<line>\d+)\nOriginal Line: .*\s+(?P<reason>.*)")
BAD_VALUE = re.compile(r"column \"(?P<column>.*)\"\. Could not convert string \"(?P<value>.*)\" to '(?P<type>.*)'")


@dataclass(frozen=True)
class Source:
    """`sql` is what follows FROM; `name` is what errors call it; `columns` is what it reads.

    `rows` gives them where the database that they are for cannot read them by itself.
    """

    sql: str
    name: str
    columns: tuple[Column, ...] = ()
    rows: Callable[[], Iterable[Sequence[Any]]] | None = None

    def fault(self, error: Exception) -> SourceError:
        """DuckDB's complaint about the data as one line: where it is, and what is wrong."""
        text = str(error).partition("Error: ")[2] or str(error)
        fault = CSV_FAULT.match(text)
        if not fault:
            return SourceError(f"{self.name} cannot be read: {text.splitlines()[0]}", source=self.name)
        line, reason = int(fault["line"]), fault["reason"]
        if bad := BAD_VALUE.search(reason):
            message = f"{self.name}, line {line}, column {bad['column']!r}: {bad['value']!r} is not a {bad['type']}"
            return SourceError(message, source=self.name, line=line, column=bad["column"], value=bad["value"])
        return SourceError(f"{self.name}, line {line}: {reason}", source=self.name, line=line)


@contextmanager
def opened(con: duckdb.DuckDBPyConnection, new_rows: Any, table: Table) -> Iterator[Source]:
    """The new rows as a Source, while the block lasts; objects become a temporary view."""
    if isinstance(new_rows, str | PathLike):
        is_file = isinstance(new_rows, PathLike) or FILE.search(new_rows)
        source = _file(con, Path(new_rows), table.columns) if is_file else _query(con, str(new_rows))
        yield _complete(con, source)
        return
    rows = _arrow(new_rows, table.columns) if isinstance(new_rows, list | tuple) else new_rows
    view = f"{table.name}__source"
    try:
        con.register(view, rows)
    except duckdb.InvalidInputException as error:
        kinds = "a DataFrame, Arrow table, relation, list of tuples, query or path"
        raise WarehouseError(f"new rows cannot be a {type(rows).__name__}; pass {kinds}") from error
    try:
        yield _complete(con, Source(quoted(view), "the new rows"))
    finally:
        con.unregister(view)


def described(con: duckdb.DuckDBPyConnection, relation: str) -> tuple[Column, ...]:
    """The names and types of what `FROM relation` reads, without reading it."""
    found = con.sql(f"SELECT * FROM {relation}")
    return tuple(map(Column, found.columns, found.types))


def _complete(con: duckdb.DuckDBPyConnection, source: Source) -> Source:
    try:
        return replace(source, columns=described(con, source.sql))
    except duckdb.Error as error:
        raise source.fault(error) from error


def _query(con: duckdb.DuckDBPyConnection, query: str) -> Source:
    try:
        statements = con.extract_statements(query)
    except duckdb.ParserException as error:
        raise Source(query, "the query for the new rows").fault(error) from error
    if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
        raise SourceError(f"new rows come from one SELECT; this is not one: {query!r}")
    return Source(f"({statements[0].query.strip().rstrip(';')}\n)", "the query for the new rows")


def _file(con: duckdb.DuckDBPyConnection, path: Path, table: Sequence[Column]) -> Source:
    if not path.is_file():
        raise SourceError(f"{path} is {'a directory' if path.is_dir() else 'missing'}; give a file", source=str(path))
    if not path.stat().st_size:
        raise SourceError(f"{path} is empty; was it written to the end?", source=str(path))
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    name = literal(re.sub(r"[\[*?]", r"[\g<0>]", str(path)))  # DuckDB takes a path for a pattern
    if suffix == ".parquet":
        return Source(f"read_parquet({name})", str(path))
    if suffix in DELIMITERS:
        return _csv(path, name, DELIMITERS[suffix], table)
    if suffix in JSON:
        return _json(con, path, name, table)
    raise SourceError(f"{path} is of an unknown kind; new rows are read from CSV, Parquet or JSON", source=str(path))


def _csv(path: Path, name: str, delimiter: str, table: Sequence[Column]) -> Source:
    """The header is read here, so that DuckDB need not guess at anything."""
    opener: Any = gzip.open if path.suffix.lower() == ".gz" else open
    try:
        with opener(path, "rb") as file:
            header = next(csv.reader([file.readline().decode("utf-8-sig")], delimiter=delimiter), [])
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{path}, line 1: {error}", source=str(path), line=1) from error
    if twice := {column for column in header if header.count(column) > 1}:
        raise SourceError(f"{path}, line 1: the column {min(twice)!r} is named twice", source=str(path), line=1)
    dialect = f"auto_detect = false, header = true, delim = {literal(delimiter)}, quote = '\"', escape = '\"'"
    return Source(f"read_csv({name}, {dialect}, columns = {_types(header, table)})", str(path))


def _json(con: duckdb.DuckDBPyConnection, path: Path, name: str, table: Sequence[Column]) -> Source:
    """All records are looked at for their names, so that an extra one is not lost."""
    found = _complete(con, Source(f"read_json({name}, sample_size = -1)", str(path))).columns
    types = _types([column.name for column in found], table)
    return Source(f"read_json({name}, columns = {types})", str(path))


def _types(names: Sequence[str], table: Sequence[Column]) -> str:
    """Which type to read each column as: the table's, but an instant as text, to see whether it has its offset."""
    types = {column.name.lower(): str(column.type) for column in table if not column.type.id.endswith("time zone")}
    pairs = (f"{literal(name)}: {literal(types.get(name.lower(), 'VARCHAR'))}" for name in names)
    return f"{{{', '.join(pairs)}}}"


def _arrow(rows: Sequence[Any], table: Sequence[Column]) -> Any:
    """Tuples as an Arrow table, which refuses a column of mixed types."""
    import pyarrow as pa

    for number, row in enumerate(rows, 1):
        if not isinstance(row, list | tuple) or len(row) != len(table):
            shape = f"{len(row)} values" if isinstance(row, list | tuple) else f"a {type(row).__name__}"
            wanted = ", ".join(column.name for column in table)
            raise SchemaMismatch(f"new row {number} is {shape}; give {len(table)}, in the table's order: {wanted}")
    values = list(zip(*rows, strict=True)) or [()] * len(table)
    arrays = {}
    for column, array in zip(table, values, strict=True):
        try:
            arrays[column.name] = pa.array(array)
        except (pa.ArrowException, OverflowError) as error:
            raise SchemaMismatch(f"column {column.name!r} of the new rows is not of one type: {error}") from error
    return pa.table(arrays)
