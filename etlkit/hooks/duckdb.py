"""DuckDB files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from etlkit.clock import Clock
from etlkit.connections import Connection
from etlkit.errors import WarehouseError
from etlkit.hooks.sql import DRAWING, DbApiHook

if TYPE_CHECKING:
    import duckdb


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
        self.clock = clock

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
        from etlkit.warehouse.files import PATIENCE, connect

        connection = self.connection
        path = self.database or connection.host or connection.schema or ":memory:"
        extra = connection.extra_dejson
        patience, read_only = float(extra.get("timeout", PATIENCE)), bool(extra.get("read_only", False))
        try:
            return connect(path, read_only=read_only, patience=patience, clock=self.clock)
        except WarehouseError as error:
            raise self.refusal(error) from error

    def _data_frame(self, cursor: Any) -> Any:
        return cursor.df()
