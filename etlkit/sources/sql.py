"""Rows of a query."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime
from types import ModuleType
from typing import TYPE_CHECKING, Any

from etlkit.sources.base import Source
from etlkit.sources.columns import Columns, arrow_types, check_names, fitted, typed
from etlkit.sources.refusal import refusal

if TYPE_CHECKING:
    import pyarrow as pa

# PEP 249: how a driver marks the place of a value.
PLACEHOLDERS = {"qmark": "?", "format": "%s", "pyformat": "%s"}


@dataclass(frozen=True)
class SqlSource(Source):
    """Rows of a query on a DuckDB or DB-API connection (SQLite, PostgreSQL, ...).

    `parameters` are bound to the query's placeholders. `columns` picks columns and states their types; without it they
    are the database's (DuckDB), or what the values are.

    `modified_since` lets the database choose the rows: ``WHERE modified >= cursor``, and those where it is NULL, since
    a row without a modification time would otherwise stay away without a word; it is an error instead. SQLite keeps
    times as texts or numbers of any form, so there a datetime is compared after reading.

    >>> import duckdb
    >>> SqlSource(duckdb.connect(), "SELECT 'EWR' AS airport, 39.02::DOUBLE AS temp").read().to_pylist()
    [{'airport': 'EWR', 'temp': 39.02}]
    """

    connection: Any = field(repr=False)
    query: str
    _: KW_ONLY
    parameters: Sequence[Any] = field(default=(), repr=False)
    columns: Columns | None = None
    modified: str | None = None

    def __str__(self) -> str:
        words = " ".join(self.query.split())
        return f"query {words if len(words) <= 60 else words[:57] + '...'!r}"

    def read(self) -> pa.Table:
        return self._run(self.query, self.parameters)

    def _candidates(self, cursor: Any) -> pa.Table:
        driver = self._driver()
        mark = PLACEHOLDERS.get(driver.paramstyle)
        if cursor is None or mark is None or (driver.__name__ == "sqlite3" and isinstance(cursor, datetime)):
            return self.read()
        query = self.query.strip().rstrip(";")
        if mark == "%s" and not self.parameters:  # with the cursor as a parameter it has to be
            query = query.replace("%", "%%")
        column = '"' + str(self.modified).replace('"', '""') + '"'
        where = f"{column} >= {mark} OR {column} IS NULL"
        return self._run(f"SELECT * FROM ({query}\n) AS extracted WHERE {where}", [*self.parameters, cursor])

    def _run(self, sql: str, parameters: Sequence[Any]) -> pa.Table:
        driver = self._driver()
        fetch = _fetch_duckdb if driver.__name__ == "duckdb" else _fetch_dbapi
        try:
            return fetch(self, sql, parameters)
        except driver.Error as error:
            reason = re.split(r"\n+LINE \d+:", str(error))[0]  # what follows shows the query once more
            raise refusal(self, reason, "correct the query") from error

    def _driver(self) -> ModuleType:
        """The module that made the connection; by PEP 249 it has `Error` and `paramstyle`."""
        module = sys.modules[type(self.connection).__module__.partition(".")[0].lstrip("_")]
        if not hasattr(module, "paramstyle"):
            raise refusal(self, f"{module.__name__} makes no DB-API connections", "hand in a driver's, or DuckDB's")
        return module


def _fetch_duckdb(source: SqlSource, sql: str, parameters: Sequence[Any]) -> pa.Table:
    from duckdb import StatementType

    if [statement.type for statement in source.connection.extract_statements(sql)] != [StatementType.SELECT]:
        raise refusal(source, "it is not one query", "give a single SELECT")
    return fitted(source.connection.sql(sql, params=list(parameters)).to_arrow_table(), source.columns, source)


def _fetch_dbapi(source: SqlSource, sql: str, parameters: Sequence[Any]) -> pa.Table:
    with closing(source.connection.cursor()) as cursor:
        # Without parameters a % is itself, with an empty list it would have to be doubled.
        cursor.execute(*([sql, parameters] if parameters else [sql]))
        if cursor.description is None:
            raise refusal(source, "it is not a query", "give a single SELECT")
        names = [column[0] for column in cursor.description]
        records = cursor.fetchall()
    types: Mapping[str, Any] = arrow_types(source.columns, source) if source.columns else dict.fromkeys(names)
    check_names(names, list(types), source)

    def values(name: str) -> list[Any]:
        place = names.index(name)
        return [record[place] for record in records]

    table = typed(types, values, source, lambda row: ("row", row + 1))
    return table if source.columns else fitted(table, None, source)
