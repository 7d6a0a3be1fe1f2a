"""DuckDB files."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from etlkit.clock import Clock, SystemClock
from etlkit.connections import Connection
from etlkit.errors import HookError, WarehouseError
from etlkit.hooks.sql import DRAWING, DbApiHook

if TYPE_CHECKING:
    import duckdb

PATIENCE, PAUSE = 30.0, 0.1
"""How many seconds to wait for a file that another process has open, and between two looks."""


class DuckDBHook(DbApiHook):
    """A hook of a DuckDB file: the Connection's host, or the path of its URI, `duckdb:////data/warehouse.duckdb`.

    While one process may write to a DuckDB file, no other process can open it. A hook waits for its turn for as long
    as `extra` says in `timeout` (seconds, 30), and opens the file for reading alone if that has `read_only`. Within a
    process any number of connections may be open. `clock` measures the wait: the computer's, as the other process does
    not live in simulated time.

    >>> hook = DuckDBHook(connection=Connection("memory", "duckdb", host=":memory:"))
    >>> hook.get_first("SELECT $airport", parameters={"airport": "JFK"})
    ('JFK',)
    """

    conn_type: ClassVar[str] = "duckdb"
    default_conn_name: ClassVar[str] = "duckdb_default"

    def __init__(
        self,
        duckdb_conn_id: str | None = None,
        *,
        connection: Connection | None = None,
        database: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(duckdb_conn_id, connection=connection, database=database)
        self.clock = clock or SystemClock()

    def errors(self) -> type[Exception]:
        import duckdb

        return duckdb.Error

    def begin(self, connection: Any, autocommit: bool) -> None:
        if not autocommit:
            connection.begin()

    def cursor(self, connection: Any) -> Any:
        return connection  # connection.cursor() would be a second connection, outside of the transaction

    def split(self, sql: str) -> list[str]:
        return [statement.query for statement in self._parsed(sql)]

    def names_of_values(self, statement: str) -> set[str]:
        return {name for parsed in self._parsed(statement) for name in parsed.named_parameters}

    def _parsed(self, sql: str) -> list[duckdb.Statement]:
        import duckdb

        try:
            with duckdb.connect() as parser:
                return parser.extract_statements(sql)
        except duckdb.Error as error:
            raise self.refusal(f"its SQL cannot be read: {DRAWING.sub('', str(error))}") from error

    def get_conn(self) -> duckdb.DuckDBPyConnection:
        from etlkit.warehouse import connect

        connection = self.connection
        path = self.database or connection.host or connection.schema or ":memory:"
        extra = connection.extra_dejson
        patience = float(extra.get("timeout", PATIENCE))
        deadline = self.clock.now() + timedelta(seconds=patience)
        while True:
            try:
                return connect(path, read_only=bool(extra.get("read_only", False)))
            except WarehouseError as error:
                if not _is_held(error):
                    raise self.refusal(error) from error
                if self.clock.now() >= deadline:
                    raise self._gives_up(error, patience) from error
            self.clock.sleep(PAUSE)

    def _gives_up(self, error: WarehouseError, patience: float) -> HookError:
        return self.refusal(
            f"{error}. Waited {patience:g} seconds for it. Tasks that write to one file can take turns in a pool of one"
            " slot; for several writers at once use PostgreSQL"
        )

    def _data_frame(self, cursor: Any) -> Any:
        return cursor.df()


def _is_held(error: WarehouseError) -> bool:
    return "lock" in str(error.__cause__).lower()
