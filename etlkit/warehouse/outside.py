"""New rows for a database that cannot read them: a DuckDB in memory reads them, and refuses what does not fit.

So a file or DataFrame is refused in the same words whatever database it is for. Values go on as texts, which both
databases read and write alike. A type that DuckDB does not have is left to the other one to read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import duckdb

from etlkit.warehouse import rows
from etlkit.warehouse.duck import DuckDB
from etlkit.warehouse.rows import Source
from etlkit.warehouse.sql import Column, Table, quoted

BATCH = 10_000
AS_THEY_ARE = {"list", "array", "blob"}  # the two databases write them differently


@contextmanager
def opened(new_rows: Any, table: Table) -> Iterator[Source]:
    """The new rows as a Source with `rows`, while the block lasts; the types of `table` say their `twin` in DuckDB."""
    with duckdb.connect() as reader:
        reader.execute("SET TimeZone = 'UTC'")
        if isinstance(new_rows, duckdb.DuckDBPyRelation):  # of another DuckDB
            new_rows = new_rows.to_arrow_reader()
        with rows.opened(reader, new_rows, _twin(table, {})) as source:
            given = {column.name.lower(): column.type for column in source.columns}
            yield replace(source, rows=partial(_fitted, DuckDB(reader), source, _twin(table, given)))


def _twin(table: Table, given: Mapping[str, Any]) -> Table:
    """The table with DuckDB's types; a column whose type DuckDB does not have has that of the new rows, or text."""

    def twin(column: Column) -> Column:
        other = given.get(column.name.lower(), "VARCHAR")
        return Column(column.name, duckdb.sqltype(str(column.type.twin or other)))

    return replace(table, columns=tuple(map(twin, table.columns)))


def _fitted(reader: DuckDB, source: Source, table: Table) -> Iterator[Sequence[Any]]:
    """Read all rows, refuse what does not fit, and hand them over."""
    for statement in reader.read(source, table):
        try:
            reader.run(statement, {})
        except duckdb.Error as error:
            raise (statement.fault and statement.fault(error)) or error from error
    values = ", ".join(map(_value, table.columns))
    cursor = reader.con.execute(f"SELECT {values} FROM {table.helper('new')}")
    while batch := cursor.fetchmany(BATCH):
        yield from batch


def _value(column: Column) -> str:
    name = quoted(column.name)
    return name if column.type.id in AS_THEY_ARE else f"CAST({name} AS VARCHAR)"
