"""Tasks that run SQL: on the run's warehouse, or on whatever database a Connection names."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

from etlkit.dag import BaseOperator
from etlkit.errors import HookError, WarehouseError

if TYPE_CHECKING:
    from etlkit.hooks.sql import DbApiHook

Parameters = Mapping[str, Any] | Sequence[Any]

PLAIN: dict[type, Callable[[Any], Any]] = {
    Decimal: lambda value: int(value) if value == value.to_integral_value() else float(value),
    UUID: str,
    time: time.isoformat,
}
"""What databases answer with and an XCom cannot carry, and what it carries instead."""


def fetch_all_handler(cursor: Any) -> list[tuple[Any, ...]] | None:
    """All rows of a statement's result, or None if it has no result; decimals become numbers as JSON has them."""
    return [_plain(row) for row in cursor.fetchall()] if cursor.description is not None else None


def fetch_one_handler(cursor: Any) -> tuple[Any, ...] | None:
    """The first row of a statement's result, or None if there is none; decimals become numbers as JSON has them."""
    row = cursor.fetchone() if cursor.description is not None else None
    return None if row is None else _plain(row)


def _plain(row: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(PLAIN[type(value)](value) if type(value) in PLAIN else value for value in row)


class SQLExecuteQueryOperator(BaseOperator):
    """Runs `sql`: one or several statements, a list of them, or a rendered `.sql` file, all in one transaction.

    - `conn_id`: the Connection of a DuckDB, SQLite or PostgreSQL database; None is the warehouse of the run.
    - `database`: another file or database than that Connection names; alone, the path of a DuckDB file.
    - `parameters`: values, which are bound, never pasted into the text. Their places are `$name` (a dict) or `?` (a
      list) in DuckDB, `:name` or `?` in SQLite, `%(name)s` or `%s` in PostgreSQL.
    - `handler`: what is made of a statement's result; None drops it. The task's result is that of the last statement,
      or a list of all if `sql` is a list or `return_last` is False.
    - `autocommit`: each statement on its own, for those that cannot be in a transaction.
    - `split_statements`: False hands a text to the driver whole, for a function whose body holds semicolons.

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

    template_fields: ClassVar[Sequence[str]] = ("sql", "parameters", "conn_id", "database")
    template_ext: ClassVar[Sequence[str]] = (".sql",)
    ui_color: ClassVar[str] = "#cdaaed"

    def __init__(
        self,
        *,
        sql: str | Sequence[str],
        conn_id: str | None = None,
        database: str | None = None,
        parameters: Parameters | None = None,
        handler: Callable[[Any], Any] | None = fetch_all_handler,
        return_last: bool = True,
        autocommit: bool = False,
        split_statements: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.sql, self.conn_id, self.database, self.parameters = sql, conn_id, database, parameters
        self.handler, self.return_last = handler, return_last
        self.autocommit, self.split_statements = autocommit, split_statements
        self._hook: DbApiHook | None = None
        self._connection: Any = None

    def get_db_hook(self) -> DbApiHook:
        """The hook of the database."""
        from etlkit.connections import Connection
        from etlkit.hooks.sql import DbApiHook

        connection = Connection(self.task_id, "duckdb") if self.conn_id is None else Connection.get(self.conn_id)
        hook = connection.get_hook(hook_params={"database": self.database} if self.database else None)
        if not isinstance(hook, DbApiHook):
            raise WarehouseError(f"task {self.task_id!r}: connection {self.conn_id!r} is not that of an SQL database")
        return hook

    def execute(self, context: Mapping[str, Any]) -> Any:
        try:
            self._hook = hook = self.get_db_hook()
            with self._connected(hook, context) as self._connection:
                if not any(map(hook.split, [self.sql] if isinstance(self.sql, str) else self.sql)):
                    raise WarehouseError(f"task {self.task_id!r} has no SQL to run; its sql is {self.sql!r}")
                self.log.info("runs %s", self.sql)
                return hook.run_on(
                    self._connection, self.sql, self.autocommit, self.parameters, self.handler,
                    split_statements=self.split_statements, return_last=self.return_last,
                )  # fmt: skip
        except HookError as error:
            raise WarehouseError(f"task {self.task_id!r}: {error.reason}") from error.__cause__ or error

    def on_kill(self) -> None:
        if self._hook is not None and self._connection is not None:
            self._hook.cancel(self._connection)

    @contextlib.contextmanager
    def _connected(self, hook: DbApiHook, context: Mapping[str, Any]) -> Iterator[Any]:
        """The warehouse of the run, which stays open, or a connection for as long as this takes."""
        if self.conn_id is None and self.database is None:
            yield context["warehouse"]
        else:
            with contextlib.closing(hook.get_conn()) as connection:
                yield connection


DuckDBOperator = SQLExecuteQueryOperator
"""The same under the name of the database that it runs on when no Connection is named."""


class SqliteOperator(SQLExecuteQueryOperator):
    """SQL on the SQLite file of a Connection, as Airflow's operator of this name."""

    def __init__(self, *, sqlite_conn_id: str = "sqlite_default", **kwargs: Any) -> None:
        super().__init__(conn_id=sqlite_conn_id, **kwargs)


class PostgresOperator(SQLExecuteQueryOperator):
    """SQL on the PostgreSQL database of a Connection, as Airflow's operator of this name."""

    def __init__(self, *, postgres_conn_id: str = "postgres_default", **kwargs: Any) -> None:
        super().__init__(conn_id=postgres_conn_id, **kwargs)
