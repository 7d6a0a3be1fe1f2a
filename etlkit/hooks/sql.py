"""What the hooks of all SQL databases have."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

from etlkit.hooks.base import BaseHook

if TYPE_CHECKING:
    import pandas as pd

Parameters = Mapping[str, Any] | Sequence[Any]


class DbApiHook(BaseHook):
    """A hook of a database with a Python driver (PEP 249).

    Values belong into `parameters`, where the driver binds them, never into the text: `placeholder` is how the text
    shows their places. Every call opens a connection, and closes it when it is done.
    """

    placeholder: ClassVar[str] = "?"

    def errors(self) -> type[Exception]:
        """The class of the driver's errors."""
        raise NotImplementedError

    def begin(self, connection: Any, autocommit: bool) -> None:
        """Open a transaction, or with `autocommit` see to it that there is none."""
        raise NotImplementedError

    def cursor(self, connection: Any) -> Any:
        """What executes statements on a connection."""
        return connection.cursor()

    def run(
        self,
        sql: str | Sequence[str],
        autocommit: bool = False,
        parameters: Parameters | None = None,
        handler: Callable[[Any], Any] | None = None,
        return_last: bool = True,
    ) -> Any:
        """Execute a statement, or several in order, in one transaction; HookError, and nothing changed, if one fails.

        `handler` makes a result of the cursor after each statement; without one the result is None. Of several
        statements the last one's result is given, or with `return_last=False` a list of all. With `autocommit` each
        statement is on its own, for those that cannot be in a transaction.
        """
        statements = [sql] if isinstance(sql, str) else list(sql)
        results = []
        with contextlib.closing(self.get_conn()) as connection, self._transaction(connection, autocommit):
            for statement in statements:
                cursor = self._execute(connection, statement, parameters)
                results.append(handler(cursor) if handler else None)
        if isinstance(sql, str) or return_last:
            return results[-1] if results else None
        return results

    def get_records(self, sql: str | Sequence[str], parameters: Parameters | None = None) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        return self.run(sql, parameters=parameters, handler=lambda cursor: cursor.fetchall())

    def get_first(self, sql: str | Sequence[str], parameters: Parameters | None = None) -> tuple[Any, ...] | None:
        """The first row of a query, or None."""
        return self.run(sql, parameters=parameters, handler=lambda cursor: cursor.fetchone())

    def get_df(self, sql: str | Sequence[str], parameters: Parameters | None = None) -> pd.DataFrame:
        """The rows of a query as a pandas DataFrame."""
        return self.run(sql, parameters=parameters, handler=self._data_frame)

    def insert_rows(
        self,
        table: str,
        rows: Iterable[Sequence[Any]],
        target_fields: Sequence[str] | None = None,
        commit_every: int = 0,
    ) -> int:
        """Insert rows into a table, whose name may be `schema.table`; returns how many there were.

        `target_fields` are the columns to fill, in the order of the values. All rows are one transaction, or with
        `commit_every` each that many are.
        """
        remaining, count = iter(rows), 0
        fields = f" ({', '.join(map(quoted, target_fields))})" if target_fields else ""
        into = f"INSERT INTO {'.'.join(map(quoted, table.split('.')))}{fields}"
        with contextlib.closing(self.get_conn()) as connection:
            while batch := [tuple(row) for row in islice(remaining, commit_every or None)]:
                places = ", ".join([self.placeholder] * len(batch[0]))
                with self._transaction(connection):
                    self._execute(connection, f"{into} VALUES ({places})", batch, many=True)
                count += len(batch)
        return count

    def test_connection(self) -> str:
        self.get_first("SELECT 1")
        return "the database answers"

    def _execute(self, connection: Any, statement: str, parameters: Any, many: bool = False) -> Any:
        cursor = self.cursor(connection)
        execute = cursor.executemany if many else cursor.execute
        try:
            execute(*([statement] if parameters is None else [statement, parameters]))
        except self.errors() as error:
            raise self.refusal(f"its SQL failed: {error} [{statement}]") from error
        return cursor

    @contextlib.contextmanager
    def _transaction(self, connection: Any, autocommit: bool = False) -> Iterator[None]:
        self.begin(connection, autocommit)
        if autocommit:
            yield
            return
        try:
            yield
        except BaseException:
            connection.rollback()
            raise
        try:
            connection.commit()
        except self.errors() as error:  # a constraint that is checked at the end
            raise self.refusal(f"its transaction failed, and nothing was changed: {error}") from error

    def _data_frame(self, cursor: Any) -> pd.DataFrame:
        import pandas as pd

        return pd.DataFrame.from_records(
            cursor.fetchall(), columns=[column[0] for column in cursor.description], coerce_float=True
        )


def quoted(name: str) -> str:
    """A name as SQL takes it, whatever is in it.

    >>> quoted('the "first" day')
    '"the ""first"" day"'
    """
    return '"' + name.replace('"', '""') + '"'
