"""What the merge must know about DuckDB; what is the same in every SQL database is in `recipe.py`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import duckdb

from etlkit.errors import WarehouseError, nearest
from etlkit.warehouse.backend import Backend
from etlkit.warehouse.rows import Source, described, opened
from etlkit.warehouse.sql import EXAMPLES, Column, Result, Statement, Table, literal, quoted

IDENTIFIER = r'(?:"(?:[^"]|"")*"|[^\s".(]+)'
HINTS = {
    "conflict": "another connection is writing to it; run the merge again",
    "No space left": "there is no room to write; free some space and run the merge again",
    "File too large": "there is no room to write; free some space and run the merge again",
}
NAME = rf"{IDENTIFIER}(?:\.{IDENTIFIER})*"


class DuckDB(Backend):
    """A DuckDB connection, and the questions that a merge asks it."""

    name = "DuckDB"
    Error = duckdb.Error
    row_id = "rowid"
    cast = "TRY_CAST"

    def execute(self, sql: str) -> Result:
        cursor = self.con.execute(sql)
        return Result(tuple(column[0] for column in cursor.description or ()), cursor.fetchmany(EXAMPLES))

    def in_transaction(self) -> bool:
        """Whether the caller has a transaction open, which gives two statements the same transaction id.

        Trying BEGIN would tell too, but abort that transaction.
        """
        try:
            return self._ask("SELECT txid_current()") == self._ask("SELECT txid_current()")
        except duckdb.TransactionException:  # aborted, and waiting for its ROLLBACK
            return True

    def roll_back(self) -> None:
        """End the transaction; a COMMIT that failed has ended it, and so has an error that shut the database."""
        try:
            self.con.rollback()
        except duckdb.Error as error:
            if not any(sign in str(error) for sign in ("no transaction is active", "has been invalidated")):
                raise

    def open_rows(self, new_rows: Any, table: Table) -> AbstractContextManager[Source]:
        return opened(self.con, new_rows, table)

    def matches(self, value: str, pattern: str) -> str:
        return f"regexp_matches({value}, {literal(pattern)})"

    def is_bad_value(self, error: Exception) -> bool:
        return isinstance(error, duckdb.ConversionException)

    def lock(self, table: Table) -> Statement:
        """The statement that keeps all other writers out until the transaction ends: their COMMIT fails.

        DuckDB has no LOCK TABLE, and does not see that two transactions insert the same key, or that one drops the
        table that the other writes to. It does see a change of the table's definition: here, of its comment to what it
        is already. It must be the first statement, so that nothing was read before it.
        """
        found = self._all(
            "SELECT comment FROM duckdb_tables() WHERE database_name = ? AND schema_name = ? AND table_name = ?",
            *table.full,
        )
        return Statement("lock", f"COMMENT ON TABLE {table.sql} IS {_comment(found[0][0])}")

    def hint(self, error: Exception) -> str:
        return next((f"; {hint}" for sign, hint in HINTS.items() if sign in str(error)), "")

    def find(self, table: str | Sequence[str]) -> Table:
        readings = self.readings(table)
        for parts in readings:
            if found := self._look_up(parts):
                self._refuse_hidden(found)
                return found
        raise WarehouseError(self._not_found(readings[-1]))

    def refuse_unfit(self, table: Table) -> None:
        if self._ask("SELECT readonly FROM duckdb_databases() WHERE database_name = ?", table.catalog):
            raise WarehouseError(f"{table.sql} cannot be changed: its database was opened read-only")
        if any(column.name.lower() == self.row_id for column in table.columns):
            raise WarehouseError(f"{table.sql} has a column 'rowid', which hides the one that DuckDB has; rename it")
        if " COLLATE " in table.definition:
            raise WarehouseError(
                f"{table.sql} has a COLLATE, by which DuckDB takes different keys for equal; remove it"
            )
        taken = (
            "SELECT table_name FROM information_schema.tables WHERE list_contains(?, table_name)"
            " AND (table_catalog = 'temp' OR (table_catalog = ? AND table_schema = ?))"
        )
        if found := self._all(taken, table.helpers(), table.catalog, table.schema):
            raise WarehouseError(
                f"the merge needs the name {quoted(*found[0])}, which is taken; drop or rename that one"
            )

    # -- drop-rename: a table like the old one -------------------------------------------------------------------

    def before_rename(self, table: Table) -> list[Statement]:
        self._refuse_drop(table)
        begin = re.compile(rf"^(CREATE (?:TEMP )?TABLE ){NAME}")
        create = begin.sub(lambda match: match[1] + table.next, table.definition.rstrip(";"))
        return [Statement("swap", create)]

    def after_rename(self, table: Table) -> list[Statement]:
        """Indexes and comments are given back; the rest is in the table's definition."""
        where = "WHERE database_name = ? AND schema_name = ? AND table_name = ?"
        indexes = self._all(f"SELECT sql FROM duckdb_indexes() {where} ORDER BY index_oid", *table.full)
        noted = self._all(f"SELECT comment FROM duckdb_tables() {where} AND comment IS NOT NULL", *table.full)
        notes = self._all(
            f"SELECT column_name, comment FROM duckdb_columns() {where} AND comment IS NOT NULL ORDER BY column_index",
            *table.full,
        )
        on = re.compile(rf"^(CREATE (?:UNIQUE )?INDEX {IDENTIFIER} ON ){NAME}")
        texts = [
            f"ALTER TABLE {table.next} RENAME TO {quoted(table.name)}",
            *(on.sub(lambda match: match[1] + table.sql, sql.rstrip(";")) for (sql,) in indexes),
            *(f"COMMENT ON TABLE {table.sql} IS {_comment(text)}" for (text,) in noted),
            *(f"COMMENT ON COLUMN {table.sql}.{quoted(name)} IS {_comment(text)}" for name, text in notes),
        ]
        return [Statement("swap", text) for text in texts]

    def _refuse_drop(self, table: Table) -> None:
        """DuckDB's RENAME leaves a foreign key pointing at the old name, and its DROP takes the triggers along."""
        foreign = self._all(
            "SELECT table_name FROM duckdb_constraints() WHERE constraint_type = 'FOREIGN KEY'"
            " AND database_name = ? AND schema_name = ? AND ? IN (table_name, referenced_table)",
            *table.full,
        )
        triggers = self._all(
            "SELECT trigger_name FROM duckdb_triggers() WHERE database_name = ? AND schema_name = ? AND table_name = ?",
            *table.full,
        )
        kept = [f"the foreign key of {quoted(*row)}" for row in foreign] + [
            f"trigger {quoted(*row)}" for row in triggers
        ]
        if kept:
            raise WarehouseError(f"DROP and RENAME of {table.sql} would lose {kept[0]}; use swap='delete-insert'")

    # -- the catalog ---------------------------------------------------------------------------------------------

    def _look_up(self, parts: Sequence[str]) -> Table | None:
        if not 1 <= len(parts) <= 3:
            return None
        catalog, schema, name = (None,) * (3 - len(parts)) + tuple(parts)
        found = self._all(
            "SELECT database_name, schema_name, table_name, sql FROM duckdb_tables()"
            " WHERE lower(table_name) = lower(?) AND lower(schema_name) = lower(coalesce(?, current_schema()))"
            " AND lower(database_name) = lower(coalesce(?, current_database()))",
            name, schema, catalog,
        )  # fmt: skip
        if not found:
            return None
        *full, definition = found[0]
        return Table(full[0], full[1], tuple(full[-len(parts) :]), self._columns(full), definition)

    def _columns(self, full: Sequence[str]) -> tuple[Column, ...]:
        """The columns that can be written; a generated one is computed."""
        types = {column.name: column.type for column in described(self.con, quoted(*full))}
        found = self._all(
            "SELECT column_name, is_nullable FROM duckdb_columns()"
            " WHERE database_name = ? AND schema_name = ? AND table_name = ? AND NOT is_generated"
            " ORDER BY column_index",
            *full,
        )
        return tuple(Column(name, types[name], nullable) for name, nullable in found)

    def _refuse_hidden(self, table: Table) -> None:
        hiding = "SELECT 1 FROM information_schema.tables WHERE table_catalog = 'temp' AND lower(table_name) = lower(?)"
        if len(table.path) < 3 and table.catalog != "temp" and self._all(hiding, table.name):
            full = ".".join(table.full)
            raise WarehouseError(f"a temporary table or view hides {table.sql}; drop it, or say {full!r}")

    def _not_found(self, parts: Sequence[str]) -> str:
        name = ".".join(parts)
        kinds = dict(self._all("SELECT table_name, table_type FROM information_schema.tables"))
        if kinds.get(parts[-1]) == "VIEW":
            return f"{name!r} is a view; a merge changes a table"
        return f"no table is called {name!r}{nearest(parts[-1], list(kinds)) or '; create it first: CREATE TABLE'}"

    def ask(self, sql: str, values: Any = ()) -> list[tuple[Any, ...]]:
        return self.con.execute(sql, values).fetchall()

    def _all(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        return self.ask(sql, values)

    def _ask(self, sql: str, *values: object) -> Any:
        return self._all(sql, *values)[0][0]


def _comment(text: str | None) -> str:
    return "NULL" if text is None else literal(text)
