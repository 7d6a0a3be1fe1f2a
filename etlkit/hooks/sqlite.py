"""SQLite files."""

from __future__ import annotations

import re
import sqlite3
from typing import Any, ClassVar
from urllib.parse import quote

from etlkit.connections import Connection
from etlkit.hooks.sql import COMMENT, DbApiHook, words

QUOTED = re.compile(rf"'[^']*'|\"[^\"]*\"|{COMMENT.pattern}", re.DOTALL)
VALUE = re.compile(r"\?|[:@$](\w+)")


class SqliteHook(DbApiHook):
    """A hook of a SQLite file: the Connection's host, or the path of its URI, `sqlite:////data/flights.db`.

    `extra` may hold `timeout` (seconds to wait for another writer, 5) and `mode` ("ro" opens the file read-only, "rw"
    only if it exists).

    >>> hook = SqliteHook(connection=Connection("memory", "sqlite", host=":memory:"))
    >>> hook.get_records("SELECT upper(?)", parameters=["jfk"])
    [('JFK',)]
    """

    conn_type: ClassVar[str] = "sqlite"
    default_conn_name: ClassVar[str] = "sqlite_default"

    def __init__(
        self, sqlite_conn_id: str | None = None, *, connection: Connection | None = None, database: str | None = None
    ) -> None:
        super().__init__(sqlite_conn_id, connection=connection, database=database)

    def errors(self) -> type[Exception]:
        return sqlite3.Error

    def begin(self, connection: Any, autocommit: bool) -> None:
        connection.isolation_level = None  # left alone, the driver would begin at the first INSERT only
        if not autocommit:
            connection.execute("BEGIN")

    def split(self, sql: str) -> list[str]:
        statements = [""]
        for piece in sql.split(";"):
            statements[-1] += f"{piece};"
            if sqlite3.complete_statement(statements[-1]):  # not inside a text, a comment or a trigger
                statements.append("")
        return [statement.strip() for statement in statements if words(statement)]

    def names_of_values(self, statement: str) -> set[str]:
        return {name or "?" for name in VALUE.findall(QUOTED.sub("", statement))}

    def get_conn(self) -> sqlite3.Connection:
        connection = self.connection
        path = self.database or connection.host or connection.schema or ":memory:"
        extra = connection.extra_dejson
        mode = "memory" if path == ":memory:" else extra.get("mode", "rwc")
        try:
            return sqlite3.connect(f"file:{quote(path)}?mode={mode}", uri=True, timeout=float(extra.get("timeout", 5)))
        except (sqlite3.Error, ValueError) as error:
            raise self.refusal(f"{path} cannot be opened: {error}; see whether its folder exists") from error
