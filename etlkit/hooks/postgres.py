"""PostgreSQL, and what speaks its protocol."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

from etlkit.connections import Connection
from etlkit.hooks.sql import DbApiHook, words

if TYPE_CHECKING:
    import psycopg

DEFAULTS: dict[str, dict[str, Any]] = {
    "postgres": {"connect_timeout": 10},
    # Redshift calls its encoding UNICODE, which psycopg does not know, and has no DEALLOCATE ALL.
    "redshift": {"connect_timeout": 10, "port": 5439, "client_encoding": "utf8", "prepare_threshold": None},
}
"""What a Connection of each type means when it does not say."""

VALUE = re.compile(r"%(%|(?:\((\w+)\))?[sbt])")  # a percent sign in the text itself is doubled


class PostgresHook(DbApiHook):
    """A hook of a PostgreSQL database, or of Amazon Redshift (conn_type `redshift`), through psycopg 3.

    The Connection's schema is the database's name, unless `database` is given; its extra goes to libpq as it is:
    `{"sslmode": "require", "application_name": "etl"}`. Values are `%s` or `%(name)s` in the text.
    """

    conn_type: ClassVar[str] = "postgres"
    default_conn_name: ClassVar[str] = "postgres_default"
    placeholder: ClassVar[str] = "%s"

    def __init__(
        self, postgres_conn_id: str | None = None, *, database: str | None = None, connection: Connection | None = None
    ) -> None:
        super().__init__(postgres_conn_id, connection=connection, database=database)

    def errors(self) -> type[Exception]:
        import psycopg

        return psycopg.Error

    def begin(self, connection: Any, autocommit: bool) -> None:
        connection.autocommit = autocommit

    def cancel(self, connection: Any) -> None:
        connection.cancel()

    def split(self, sql: str) -> list[str]:
        from sqlglot import TokenError, tokenize
        from sqlglot.tokens import TokenType

        try:
            ends = [token.start for token in tokenize(sql, read="postgres") if token.token_type == TokenType.SEMICOLON]
        except TokenError as error:
            raise self.refusal(f"its SQL cannot be read: {error}") from error
        parts = [sql[start:end].lstrip(";") for start, end in pairwise([0, *ends, len(sql)])]
        return [part.strip() for part in parts if words(part)]

    def names_of_values(self, statement: str) -> set[str]:
        return {name or "%s" for sign, name in VALUE.findall(statement) if sign != "%"}

    def get_conn(self) -> psycopg.Connection[Any]:
        try:
            import psycopg
        except ImportError:
            raise self.refusal("PostgreSQL needs psycopg; run: pip install 'etlkit[cluster]'") from None
        connection = self.connection
        named = {
            "host": connection.host,
            "port": connection.port,
            "user": connection.login,
            "password": connection.password,
            "dbname": self.database or connection.schema,
        }
        given = {name: value for name, value in named.items() if value not in (None, "")}
        try:
            defaults = DEFAULTS.get(connection.conn_type, DEFAULTS["postgres"])
            return psycopg.connect(**{**defaults, **given, **connection.extra_dejson})
        except psycopg.Error as error:
            raise self.refusal(f"no connection: {error}") from error
