"""Tasks that run SQL on DuckDB."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from etlkit.dag import BaseOperator
from etlkit.errors import WarehouseError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection, Statement

Parameters = Mapping[str, Any] | Sequence[Any]


def fetch_all_handler(cursor: Any) -> list[tuple[Any, ...]] | None:
    """All rows of a statement's result, or None if it has no result."""
    return cursor.fetchall() if cursor.description is not None else None


def fetch_one_handler(cursor: Any) -> tuple[Any, ...] | None:
    """The first row of a statement's result, or None if there is none."""
    return cursor.fetchone() if cursor.description is not None else None


class SQLExecuteQueryOperator(BaseOperator):
    """Runs `sql`: one or several statements, a list of them, or a rendered `.sql` file, all in one transaction.

    - `database`: the path of a DuckDB file; None is the warehouse of the run.
    - `parameters`: values for `$name` (a dict) or `?` (a list). They are bound, never pasted into the text.
    - `handler`: what is made of a statement's result; None drops it. The task's result is that of the last statement,
      or a list of all if `sql` is a list or `return_last` is False.
    - `autocommit`: each statement on its own, for those that cannot be in a transaction.
    - `split_statements`: False refuses a text that holds more than one statement.

    A statement that fails undoes those before it; WarehouseError says which one it was.

    >>> import duckdb
    >>> load = SQLExecuteQueryOperator(
    ...     task_id="load",
    ...     sql="CREATE TABLE day (airport TEXT, tmin DOUBLE); INSERT INTO day VALUES ($airport, $tmin); FROM day",
    ...     parameters={"airport": "JFK", "tmin": 26.1},
    ... )
    >>> load.execute({"warehouse": duckdb.connect()})
    [('JFK', 26.1)]
    """

    template_fields: ClassVar[Sequence[str]] = ("sql", "parameters", "database")
    template_ext: ClassVar[Sequence[str]] = (".sql",)
    ui_color: ClassVar[str] = "#cdaaed"

    def __init__(
        self,
        *,
        sql: str | Sequence[str],
        database: str | None = None,
        parameters: Parameters | None = None,
        handler: Callable[[Any], Any] | None = fetch_all_handler,
        return_last: bool = True,
        autocommit: bool = False,
        split_statements: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.sql, self.database, self.parameters = sql, database, parameters
        self.handler, self.return_last = handler, return_last
        self.autocommit, self.split_statements = autocommit, split_statements
        self._connection: DuckDBPyConnection | None = None

    def execute(self, context: Mapping[str, Any]) -> Any:
        with self._connected(context) as self._connection:
            statements = self._statements(self._connection)
            with contextlib.nullcontext() if self.autocommit else self._transaction(self._connection):
                results = [self._run(self._connection, statements, i) for i in range(len(statements))]
        return results[-1] if isinstance(self.sql, str) and self.return_last else results

    def on_kill(self) -> None:
        if self._connection is not None:
            self._connection.interrupt()

    @contextlib.contextmanager
    def _connected(self, context: Mapping[str, Any]) -> Iterator[DuckDBPyConnection]:
        if self.database is None:
            yield context["warehouse"]
            return
        import duckdb

        try:
            connection = duckdb.connect(self.database)
        except duckdb.Error as error:
            raise WarehouseError(
                f"task {self.task_id!r}: {self.database} cannot be opened: {one_line(error)}"
            ) from error
        with contextlib.closing(connection):
            yield connection

    @contextlib.contextmanager
    def _transaction(self, connection: DuckDBPyConnection) -> Iterator[None]:
        import duckdb

        try:
            connection.begin()
            yield
            connection.commit()
        except BaseException as error:
            # Where BEGIN or COMMIT failed there is none to roll back.
            with contextlib.suppress(duckdb.TransactionException):
                connection.rollback()
            if isinstance(error, duckdb.Error):
                raise WarehouseError(f"task {self.task_id!r}: its transaction failed: {one_line(error)}") from error
            raise

    def _statements(self, connection: DuckDBPyConnection) -> list[Statement]:
        """The statements to run, as DuckDB takes the text apart."""
        import duckdb

        texts = [self.sql] if isinstance(self.sql, str) else self.sql
        try:
            parts = [connection.extract_statements(text) for text in texts]
        except duckdb.Error as error:
            raise WarehouseError(f"task {self.task_id!r}: its SQL cannot be read: {one_line(error)}") from error
        if not any(parts):
            raise WarehouseError(f"task {self.task_id!r} has no SQL to run; its sql is {self.sql!r}")
        if not self.split_statements and max(map(len, parts)) > 1:
            raise WarehouseError(f"task {self.task_id!r}: one text holds several statements; set split_statements=True")
        statements = [statement for part in parts for statement in part]
        ends = [s.query.strip() for s in statements if s.type == duckdb.StatementType.TRANSACTION]
        if ends and not self.autocommit:
            raise WarehouseError(
                f"task {self.task_id!r} opens and ends the transaction itself; "
                f"take {ends[0].rstrip(';')} out of its SQL, or set autocommit=True"
            )
        if isinstance(self.parameters, Mapping):
            unused = self.parameters.keys() - set().union(*(statement.named_parameters for statement in statements))
            if unused:
                raise WarehouseError(f"task {self.task_id!r}: no statement of its SQL has a parameter ${min(unused)}")
        return statements

    def _run(self, connection: DuckDBPyConnection, statements: list[Statement], i: int) -> Any:
        import duckdb

        text = " ".join(statements[i].query.split())
        self.log.info("runs %s", text)
        try:
            cursor = connection.execute(statements[i], self._values(statements[i]))
            return self.handler(cursor) if self.handler else None
        except duckdb.Error as error:
            which = f"statement {i + 1} of {len(statements)} failed"
            undone = "" if self.autocommit else ", and what came before it was undone"
            raise WarehouseError(f"task {self.task_id!r}: {which}{undone}: {one_line(error)} [{text}]") from error

    def _values(self, statement: Statement) -> Any:
        if isinstance(self.parameters, Mapping):
            return {name: value for name, value in self.parameters.items() if name in statement.named_parameters}
        return self.parameters if statement.named_parameters else None


DuckDBOperator = SQLExecuteQueryOperator
"""The same under the name of the one database that it runs on."""


def one_line(error: Exception) -> str:
    """What a database says, in one line, without its drawing of where."""
    return " ".join(str(error).partition("\n\nLINE ")[0].split())
