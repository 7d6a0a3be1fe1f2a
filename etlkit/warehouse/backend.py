"""What a merge asks of a database, whichever it is: one class each, in `duck` and `postgres`.

The recipe is the same SQL everywhere. Here is what differs: how rows are told apart and ordered, how a table is locked,
how new rows come in, and what a table that takes another one's place must be given.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from importlib import import_module
from typing import Any, ClassVar

from etlkit.errors import WarehouseError
from etlkit.warehouse.conversions import conversions
from etlkit.warehouse.rows import Source
from etlkit.warehouse.sql import Column, Result, Statement, Table, quoted

BACKENDS = {"duckdb": ("etlkit.warehouse.duck", "DuckDB"), "psycopg": ("etlkit.warehouse.postgres", "Postgres")}
"""The driver that made a connection, and the class that knows its database."""


@contextmanager
def backend(con: Any) -> Iterator[Backend]:
    """The database behind a connection, or behind a hook, which connects for as long as the block lasts."""
    if hasattr(con, "get_conn"):
        with closing(con.get_conn()) as connection, backend(connection) as database:
            yield database
        return
    driver = type(con).__module__.partition(".")[0].lstrip("_")
    if driver not in BACKENDS:
        raise WarehouseError(
            f"a {type(con).__name__} is not a warehouse; pass a DuckDB connection, as of connect(path), a psycopg one"
            " to PostgreSQL, or the hook of either"
        )
    module, name = BACKENDS[driver]
    yield getattr(import_module(module), name)(con)


class Backend(ABC):
    """A connection to a warehouse, and the questions that a merge asks it."""

    name: ClassVar[str]
    Error: ClassVar[type[Exception]]  #: the root of the driver's errors
    row_id: ClassVar[str]  #: the pseudo-column that tells two equal rows apart
    cast: ClassVar[str] = "CAST"  #: converts a value; what cannot be converted is NULL or an error

    def __init__(self, con: Any) -> None:
        self.con = con

    # -- statements ----------------------------------------------------------------------------------------------

    @abstractmethod
    def execute(self, sql: str) -> Result:
        """Run one statement and return its first rows; for a change, that is the number of rows it changed."""

    def run(self, statement: Statement, counts: dict[str, int]) -> None:
        """Run one statement, keep what it counts, and raise what it objects to."""
        result = self.execute(statement.sql) if statement.rows is None else self.load(statement)
        if statement.counts:
            counts[statement.counts] = result.rows[0][0]
        if statement.objection and (error := statement.objection(result)):
            raise error

    def load(self, statement: Statement) -> Result:
        """Run a statement that takes the rows which the statement brings along."""
        raise NotImplementedError

    @abstractmethod
    def in_transaction(self) -> bool:
        """Whether the caller has a transaction open."""

    @contextmanager
    def own_transaction(self, what: str) -> Iterator[None]:
        """While the block lasts, BEGIN and COMMIT are ours; WarehouseError if the caller has a transaction open."""
        if self.in_transaction():
            raise WarehouseError(
                f"the connection has a transaction open; commit or roll it back first: {what} is its own"
            )
        yield

    def begin(self) -> list[Statement]:
        """The statements that open the transaction."""
        return [Statement("begin", "BEGIN TRANSACTION")]

    @abstractmethod
    def roll_back(self) -> None:
        """End the transaction, if it has not ended by itself."""

    @abstractmethod
    def lock(self, table: Table) -> Statement:
        """The statement that keeps all other writers out until the transaction ends."""

    @abstractmethod
    def hint(self, error: Exception) -> str:
        """What to do about an error, if that is known, as the end of a sentence."""

    # -- new rows ------------------------------------------------------------------------------------------------

    @abstractmethod
    def open_rows(self, new_rows: Any, table: Table) -> AbstractContextManager[Source]:
        """The new rows as something that can be read while the block lasts."""

    def read(self, source: Source, table: Table) -> Iterator[Statement]:
        """The statements that read the new rows once, and refuse what does not fit the table."""
        new = table.helper("new")
        rows = f"CREATE TEMP TABLE {new} AS\nSELECT {_renamed(source, table)}\nFROM {source.sql}"
        yield Statement("read new rows", rows, counts="new", fault=lambda error: self._unreadable(source, error))
        yield from conversions(self, table, new, source.columns)

    @abstractmethod
    def matches(self, value: str, pattern: str) -> str:
        """The condition that a part of a text matches a regular expression."""

    @abstractmethod
    def is_bad_value(self, error: Exception) -> bool:
        """Whether an error says that a value cannot be converted."""

    def sort_key(self, column: Column) -> str:
        """What a column is ordered by: on every server the same, and different for different values."""
        return quoted(column.name)

    def _unreadable(self, source: Source, error: Exception) -> Exception | None:
        return source.fault(error) if isinstance(error, self.Error) else None

    # -- the catalog ---------------------------------------------------------------------------------------------

    @abstractmethod
    def ask(self, sql: str, values: Any = ()) -> list[tuple[Any, ...]]:
        """All rows of a query with the driver's own marks for its values."""

    @abstractmethod
    def find(self, table: str | Sequence[str]) -> Table:
        """The table that a name means: `"daily"`, `"schema.daily"`, or a sequence of parts.

        Names are taken literally, without quotes; a text that is a table's whole name is that table, dots and all.
        """

    @abstractmethod
    def refuse_unfit(self, table: Table) -> None:
        """Refuse a table that cannot be merged into safely, or beside which a helper table's name is taken."""

    @abstractmethod
    def before_rename(self, table: Table) -> list[Statement]:
        """The statements that make an empty table like `table`; refused when DROP and RENAME would break something."""

    @abstractmethod
    def after_rename(self, table: Table) -> list[Statement]:
        """The statements that give the new table its name, and back what belonged to the old one."""

    def readings(self, table: str | Sequence[str]) -> list[tuple[str, ...]]:
        """What a name may mean, the likeliest first."""
        return [(table,), tuple(table.rsplit(".", 2))] if isinstance(table, str) else [tuple(table)]


def _renamed(source: Source, table: Table) -> str:
    """The columns of the table, as the source may spell them in another case."""
    spelt = {column.name.lower(): column.name for column in source.columns}
    pairs = [(quoted(spelt[name.lower()]), quoted(name)) for name in table.names]
    return ", ".join(given if given == name else f"{given} AS {name}" for given, name in pairs)
