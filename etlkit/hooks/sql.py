"""What the hooks of all SQL databases have."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

from etlkit.connections import Connection
from etlkit.hooks.base import BaseHook

if TYPE_CHECKING:
    import pandas as pd

Parameters = Mapping[str, Any] | Sequence[Any]

COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
OF_TRANSACTIONS = re.compile(r"(BEGIN|START|COMMIT|END|ROLLBACK|ABORT)\b", re.IGNORECASE)
DRAWING = re.compile(r"\n+LINE \d+:.*", re.DOTALL)  # where in the text the database saw a fault


class DbApiHook(BaseHook):
    """A hook of a database with a Python driver (PEP 249).

    Values belong into `parameters`, where the driver binds them, never into the text: `placeholder` is how the text
    shows their places. Every call opens a connection, and closes it when it is done. `database` is another file or
    database than the Connection names.
    """

    placeholder: ClassVar[str] = "?"

    def __init__(
        self, conn_id: str | None = None, *, connection: Connection | None = None, database: str | None = None
    ) -> None:
        super().__init__(conn_id, connection=connection)
        self.database = database

    def errors(self) -> type[Exception]:
        """The class of the driver's errors."""
        raise NotImplementedError

    def begin(self, connection: Any, autocommit: bool) -> None:
        """Open a transaction, or with `autocommit` see to it that there is none."""
        raise NotImplementedError

    def cursor(self, connection: Any) -> Any:
        """What executes statements on a connection."""
        return connection.cursor()

    def cancel(self, connection: Any) -> None:
        """Stop the statement that runs on a connection, from another thread or a signal."""
        connection.interrupt()

    def split(self, sql: str) -> list[str]:
        """The statements of a text, as the database takes it apart; comments alone are none."""
        raise NotImplementedError

    def names_of_values(self, statement: str) -> set[str]:
        """The names, or numbers, of the values that a statement takes."""
        raise NotImplementedError

    def run(
        self,
        sql: str | Sequence[str],
        autocommit: bool = False,
        parameters: Parameters | None = None,
        handler: Callable[[Any], Any] | None = None,
        split_statements: bool = False,
        return_last: bool = True,
    ) -> Any:
        """Execute a statement, or several in order, in one transaction; HookError, and nothing changed, if one fails.

        `handler` makes a result of the cursor after each statement; without one the result is None. The results of a
        list are a list. With `split_statements` a text may hold several statements, of which each gets those of the
        `parameters` that it takes; its result is that of the last one, or with `return_last=False` a list of all. With
        `autocommit` each statement is on its own, for those that cannot be in a transaction.
        """
        with contextlib.closing(self.get_conn()) as connection:
            return self.run_on(
                connection,
                sql,
                autocommit,
                parameters,
                handler,
                split_statements=split_statements,
                return_last=return_last,
            )

    def run_on(
        self,
        connection: Any,
        sql: str | Sequence[str],
        autocommit: bool = False,
        parameters: Parameters | None = None,
        handler: Callable[[Any], Any] | None = None,
        *,
        split_statements: bool = False,
        return_last: bool = True,
    ) -> Any:
        """`run` on a connection that is open, and stays open."""
        texts = [sql] if isinstance(sql, str) else list(sql)
        statements = [part for text in texts for part in self.split(text)] if split_statements else texts
        if not autocommit:
            self._refuse_transactions(statements)
        values = self._values(statements, parameters) if split_statements else [parameters] * len(statements)
        results = []
        with self._transaction(connection, autocommit):
            for number, (statement, bound) in enumerate(zip(statements, values, strict=True), 1):
                failed = _failure(number, len(statements), autocommit)
                cursor = self._execute(connection, statement, bound, failed=failed)
                results.append(handler(cursor) if handler else None)
        if handler is None:
            return None
        return results[-1] if isinstance(sql, str) and (return_last or not split_statements) else results

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

    def _refuse_transactions(self, statements: Sequence[str]) -> None:
        for statement in statements:
            if found := OF_TRANSACTIONS.match(COMMENT.sub("", statement).strip()):
                raise self.refusal(
                    f"its SQL opens and ends the transaction; take out {found[1].upper()}, or set autocommit=True"
                )

    def _values(self, statements: Sequence[str], parameters: Parameters | None) -> list[Parameters | None]:
        """For each statement, the values that it takes; a name that none takes is refused."""
        if parameters is None:
            return [None] * len(statements)
        taken = [self.names_of_values(statement) for statement in statements]
        if not isinstance(parameters, Mapping):
            return [parameters if names else None for names in taken]
        if unused := parameters.keys() - set().union(*taken):
            raise self.refusal(f"no statement of its SQL has a parameter {min(unused)}")
        picked = [{name: value for name, value in parameters.items() if name in names} for names in taken]
        return [values or None for values in picked]

    def _execute(
        self, connection: Any, statement: str, parameters: Any, many: bool = False, failed: str = "its SQL failed"
    ) -> Any:
        cursor = self.cursor(connection)
        execute = cursor.executemany if many else cursor.execute
        try:
            execute(*([statement] if parameters is None else [statement, parameters]))
        except self.errors() as error:
            raise self.refusal(f"{failed}: {DRAWING.sub('', str(error))} [{statement}]") from error
        return cursor

    @contextlib.contextmanager
    def _transaction(self, connection: Any, autocommit: bool = False) -> Iterator[None]:
        with self._refusing("its transaction cannot begin"):
            self.begin(connection, autocommit)
        if autocommit:
            yield
            return
        try:
            yield
        except BaseException:
            connection.rollback()
            raise
        with self._refusing("its transaction failed, and nothing was changed"):  # such as for a deferred constraint
            connection.commit()

    @contextlib.contextmanager
    def _refusing(self, what: str) -> Iterator[None]:
        try:
            yield
        except self.errors() as error:
            raise self.refusal(f"{what}: {error}") from error

    def _data_frame(self, cursor: Any) -> pd.DataFrame:
        import pandas as pd

        return pd.DataFrame.from_records(
            cursor.fetchall(), columns=[column[0] for column in cursor.description], coerce_float=True
        )


def words(sql: str) -> str:
    """What is in a text besides comments.

    >>> words("SELECT 1; -- one")
    'SELECT 1'
    """
    return COMMENT.sub("", sql).strip("; \t\r\n")


def _failure(number: int, count: int, autocommit: bool) -> str:
    if count == 1:
        return "its SQL failed"
    return f"statement {number} of {count} failed" + ("" if autocommit else ", and what came before it was undone")


def quoted(name: str) -> str:
    """A name as SQL takes it, whatever is in it.

    >>> quoted('the "first" day')
    '"the ""first"" day"'
    """
    return '"' + name.replace('"', '""') + '"'
