"""What the merge must know about PostgreSQL; what is the same in every SQL database is in `recipe.py`.

A query for the new rows runs in PostgreSQL. Everything else (DataFrames, tuples, files, DuckDB's relations) is read by
a DuckDB in memory, which refuses what does not fit as it does for its own tables, and comes in by COPY.

`drop-rename` keeps columns, defaults, generated columns, constraints (its own foreign keys too), indexes, comments,
privileges, owner, storage parameters and UNLOGGED. It refuses a table on which something else depends: views, foreign
keys of other tables, triggers, rules, policies, publications, extended statistics, functions. It does not keep the
tablespace, the statistics targets of columns, REPLICA IDENTITY and CLUSTER. `delete-insert` leaves all of that alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from etlkit.errors import SourceError, WarehouseError, nearest
from etlkit.warehouse import outside
from etlkit.warehouse import postgres_catalog as catalog
from etlkit.warehouse.backend import Backend
from etlkit.warehouse.postgres_types import UNSORTED, types
from etlkit.warehouse.rows import FILE, Source
from etlkit.warehouse.sql import EXAMPLES, Column, Result, Statement, Table, columns, literal, quoted

PATIENCE = "30s"
OLDEST = 120000  # as the server numbers its versions; Redshift calls itself 8.0
NAME_BYTES = 63  # PostgreSQL cuts longer names without an error
BUSY = "another connection is using it; run the merge again"
HINTS: dict[type[Exception], str] = {
    psycopg.errors.LockNotAvailable: BUSY,
    psycopg.errors.DeadlockDetected: BUSY,
    psycopg.errors.SerializationFailure: BUSY,
    psycopg.errors.DiskFull: "there is no room to write; free some space and run the merge again",
    psycopg.errors.ForeignKeyViolation: "rows of another table refer to it; make that foreign key DEFERRABLE INITIALLY"
    " DEFERRED, so that it is looked at when the new rows are there",
    psycopg.errors.InsufficientPrivilege: "ask the owner of the table for it",
}
BAD_VALUES = ("22", "0A", "23514")  # errors of data, values that a type does not have, CHECKs of a domain


class Postgres(Backend):
    """A psycopg connection to PostgreSQL, and the questions that a merge asks it."""

    name = "PostgreSQL"
    Error = psycopg.Error
    row_id = "ctid"

    con: psycopg.Connection[Any]

    def execute(self, sql: str) -> Result:
        # Never prepared: the helper tables have the same names each time, but not the same columns.
        cursor = self._cursor().execute(sql, prepare=False)
        if cursor.description is None:
            return Result((), [(cursor.rowcount,)])
        return Result(tuple(column.name for column in cursor.description), cursor.fetchmany(EXAMPLES))

    def load(self, statement: Statement) -> Result:
        assert statement.rows is not None
        rows = iter(statement.rows())
        cursor = self._cursor()
        with cursor.copy(statement.sql) as copy:
            for row in rows:
                copy.write_row(row)
        return Result((), [(cursor.rowcount,)])

    def in_transaction(self) -> bool:
        return self.con.info.transaction_status != TransactionStatus.IDLE

    @contextmanager
    def own_transaction(self, what: str) -> Iterator[None]:
        if self.con.info.server_version < OLDEST:
            raise WarehouseError(f"{what} needs PostgreSQL {OLDEST // 10000} or newer, which this server is not")
        with super().own_transaction(what):
            before, self.con.autocommit = self.con.autocommit, True  # else psycopg would send a BEGIN of its own
            try:
                yield
            finally:
                if not self.con.closed:
                    self.con.autocommit = before

    def begin(self) -> list[Statement]:
        """Wait for other connections, but not for ever, unless this one says how long it waits for a lock."""
        bounded = self._setting("lock_timeout") != "0"
        wait = [] if bounded else [Statement("begin", f"SET LOCAL lock_timeout = {literal(PATIENCE)}")]
        return [*super().begin(), *wait]

    def roll_back(self) -> None:
        """End the transaction; the server has ended that of a connection that was lost."""
        if not self.con.closed:
            self.con.rollback()

    def lock(self, table: Table) -> Statement:
        """Others can read, and wait when they want to write; it is the first statement that reads nothing."""
        return Statement("lock", f"LOCK TABLE {table.sql} IN SHARE ROW EXCLUSIVE MODE")

    def hint(self, error: Exception) -> str:
        known = next((hint for kind, hint in HINTS.items() if isinstance(error, kind)), "")
        if self.con.closed:
            known = "the connection is lost; connect and run the merge again"
        return f"; {known}" if known else ""

    # -- new rows ------------------------------------------------------------------------------------------------

    @contextmanager
    def open_rows(self, new_rows: Any, table: Table) -> Iterator[Source]:
        if isinstance(new_rows, str) and not FILE.search(new_rows):
            yield self._query(new_rows)
            return
        with outside.opened(new_rows, table) as source:
            yield source

    def read(self, source: Source, table: Table) -> Iterator[Statement]:
        new = table.helper("new")
        if source.rows is None:
            yield from super().read(source, table)
        else:
            like = f"SELECT {columns(table.names)}\nFROM {table.sql}\nWITH NO DATA"
            yield Statement("read new rows", f"CREATE TEMP TABLE {new} AS\n{like}")
            yield Statement(
                "read new rows", f"COPY {new} FROM STDIN", counts="new", rows=source.rows,
                fault=lambda error: self._unreadable(source, error),
            )  # fmt: skip
        yield Statement("read new rows", f"ANALYZE {new}")  # so that the planner knows how few they are

    def matches(self, value: str, pattern: str) -> str:
        return f"({value} ~ {literal(pattern)})"

    def is_bad_value(self, error: Exception) -> bool:
        return isinstance(error, psycopg.Error) and (error.sqlstate or "").startswith(BAD_VALUES)

    def sort_key(self, column: Column) -> str:
        """Text is ordered by its bytes, as in DuckDB, whatever the language of the server."""
        name = quoted(column.name)
        if column.type.name in UNSORTED:
            return f'CAST({name} AS text) COLLATE "C"'
        return f'{name} COLLATE "C"' if column.type.collated else name

    def _unreadable(self, source: Source, error: Exception) -> Exception | None:
        """COPY says which row it was."""
        where = getattr(getattr(error, "diag", None), "context", None)
        if where and where.startswith("COPY "):
            return SourceError(f"{source.name}: {_line(error)} ({where.partition(', ')[2]})", source=source.name)
        return super()._unreadable(source, error)

    def _query(self, query: str) -> Source:
        """A query, of which PostgreSQL tells the columns; as a part of another it can be nothing but one SELECT."""
        name = "the query for the new rows"
        source = Source(f"({query.strip().rstrip(';')}\n) AS new_rows", name)
        try:
            # Values in binary need the protocol that takes a single statement.
            cursor = self._cursor().execute(f"SELECT * FROM {source.sql} LIMIT 0", binary=True)
        except psycopg.Error as error:
            if isinstance(error, psycopg.errors.SyntaxError):
                raise SourceError(
                    f"new rows come from one SELECT; this is not one: {query!r}: {_line(error)}"
                ) from error
            raise source.fault(error) from error
        result = cursor.pgresult
        assert result is not None
        kinds = types(self._cursor(), [(result.ftype(i), result.fmod(i)) for i in range(result.nfields)])
        names = [column.name for column in cursor.description or ()]
        return Source(source.sql, name, tuple(map(Column, names, kinds)))

    # -- the catalog ---------------------------------------------------------------------------------------------

    def find(self, table: str | Sequence[str]) -> Table:
        readings = self.readings(table)
        for parts in readings:
            if found := self._look_up(parts):
                return found
        raise WarehouseError(self._not_found(readings[-1]))

    def refuse_unfit(self, table: Table) -> None:
        if self._setting("transaction_read_only") == "on":
            raise WarehouseError(f"{table.sql} cannot be changed: its database is read-only")
        helper = max(table.helpers(), key=len)
        if len(helper.encode()) > NAME_BYTES:
            raise WarehouseError(f"the merge needs the name {quoted(helper)}, which is too long; shorten the table's")
        self._refuse_taken(table)
        for condition, fault in catalog.UNFIT:
            if found := self.ask(condition, (table.definition,)):
                raise WarehouseError(f"{table.sql} {fault.format(*found[0])}")

    def _refuse_taken(self, table: Table) -> None:
        if found := self.ask(catalog.TAKEN, (table.helpers(), table.definition)):
            raise WarehouseError(
                f"the merge needs the name {quoted(*found[0])}, which is taken; drop or rename that one"
            )

    def before_rename(self, table: Table) -> list[Statement]:
        """Without indexes, which are cheaper to make once the table is filled."""
        if found := self.ask(catalog.LOST, (table.definition,)):
            raise WarehouseError(f"DROP and RENAME of {table.sql} would lose {found[0][0]}; use swap='delete-insert'")
        ((kind, parameters),) = self.ask(catalog.STORAGE, (table.definition,))
        like = f"(LIKE {table.sql} INCLUDING ALL EXCLUDING INDEXES EXCLUDING STATISTICS)"
        create = f"CREATE {kind}TABLE {table.next} {like}{parameters}"
        return [Statement("swap", text) for text in [create, *self._texts(catalog.HANDED_OVER, table)]]

    def after_rename(self, table: Table) -> list[Statement]:
        rename = f"ALTER TABLE {table.next} RENAME TO {quoted(table.name)}"
        return [Statement("swap", text) for text in [rename, *self._texts(catalog.GIVEN_BACK, table)]]

    def _texts(self, queries: Sequence[str], table: Table) -> list[str]:
        names = {"table": table.definition, "next": table.next}
        return [text for query in queries for (text,) in self.ask(query, names)]

    def _look_up(self, parts: Sequence[str]) -> Table | None:
        if not 1 <= len(parts) <= 3:
            return None
        database, schema, name = (None,) * (3 - len(parts)) + tuple(parts)
        found = self.ask(catalog.FIND, {"catalog": database, "schema": schema, "name": name})
        if not found:
            return None
        *full, is_current = found[0]
        path = full[-len(parts) :] if is_current or len(parts) > 1 else full[1:]  # a new table must come beside it
        definition = quoted(*full[1:])
        return Table(full[0], full[1], tuple(path), self._columns(definition), definition)

    def _columns(self, table: str) -> tuple[Column, ...]:
        """The columns that can be written; a generated one is computed."""
        found = self.ask(catalog.COLUMNS, (table,))
        kinds = types(self._cursor(), [(oid, modifier) for _, _, oid, modifier in found])
        return tuple(Column(name, kind, nullable) for (name, nullable, *_), kind in zip(found, kinds, strict=True))

    def _not_found(self, parts: Sequence[str]) -> str:
        name, last = ".".join(parts), parts[-1]
        others = {other: (schema, kind) for other, schema, kind in self.ask(catalog.OTHERS)}
        schema, kind = others.get(last, ("", ""))
        if kind in ("v", "m"):
            return f"{name!r} is a view; a merge changes a table"
        if schema:
            return f"no table is called {name!r} here; there is {f'{schema}.{last}'!r}"
        return f"no table is called {name!r}{nearest(last, list(others)) or '; create it first: CREATE TABLE'}"

    def ask(self, sql: str, values: Any = ()) -> list[tuple[Any, ...]]:
        return self._cursor().execute(sql, values or None).fetchall()

    def _cursor(self) -> psycopg.Cursor[Any]:
        """One that gives tuples and binds %s, whatever the caller's own cursors do."""
        return psycopg.Cursor(self.con, row_factory=tuple_row)

    def _setting(self, name: str) -> Any:
        return self.ask(f"SHOW {name}")[0][0]


def _line(error: Exception) -> str:
    return str(error).splitlines()[0]
