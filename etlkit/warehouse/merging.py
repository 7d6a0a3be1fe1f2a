"""`merge` brings new rows into a table that keeps one row per key; `plan` shows the SQL and runs nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from etlkit.errors import EtlkitError, MergeError
from etlkit.showing import as_html
from etlkit.warehouse.backend import backend
from etlkit.warehouse.checks import Check
from etlkit.warehouse.conversions import refuse_names
from etlkit.warehouse.recipe import Recipe, Strategy, Swap, statements
from etlkit.warehouse.sql import Script, Statement

Names = str | Sequence[str]
Listener = Callable[[Statement], object]


@dataclass(frozen=True)
class MergeReport:
    """What a merge did: counts of rows, and `sql`, the statements that it ran.

    `after == before + inserted - removed`, and `new == duplicates + inserted + replaced + unchanged`.
    """

    table: str
    strategy: Strategy
    swap: Swap
    before: int  #: rows in the table before
    new: int  #: new rows that were handed in
    duplicates: int  #: new rows beyond one per key
    replaced: int  #: rows of the table that gave way to a newer one
    inserted: int  #: keys that the table did not have
    removed: int  #: rows beyond one per key that the table itself had (`staging` removes them)
    after: int  #: rows in the table after
    sql: Script

    @property
    def unchanged(self) -> int:
        """Keys among the new rows for which the table has the newest row already."""
        return self.new - self.duplicates - self.replaced - self.inserted

    def __str__(self) -> str:
        lines = (f"  {name:<10} {rows:>10,}" for name, rows in self.counts.items())
        return "\n".join([f"{self.table}: {self.strategy}, {self.swap}", *lines])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = [("rows", "number"), *((name, f"{rows:,}") for name, rows in self.counts.items())]
        return as_html(f"{self.table}: {self.strategy}, {self.swap}", rows, right={1})

    @property
    def counts(self) -> dict[str, int]:
        """The numbers of rows by what they are called."""
        names = ("before", "new", "duplicates", "replaced", "inserted", "unchanged", "removed", "after")
        return {name: getattr(self, name) for name in names}


def merge(
    con: Any,
    table: Names,
    new_rows: Any,
    *,
    key: Names,
    order_by: Names,
    strategy: Strategy = "staging",
    swap: Swap = "delete-insert",
    input_checks: Sequence[Check] = (),
    output_checks: Sequence[Check] = (),
    on_statement: Listener | None = None,
) -> MergeReport:
    """Merge new rows into a table so that it keeps one row per key, in one transaction.

    `con` is a connection to DuckDB, one of psycopg to PostgreSQL, or the hook of either. `recipe` describes the four
    steps, the strategies, the swaps, and which row wins; `rows` says what `new_rows` can be. `key` and `order_by` are a
    column or several; `order_by` says what is newer. `table` is a name, taken literally ("daily", "schema.daily"), or
    its parts as a tuple. `on_statement` is called with each Statement before it runs; what it raises stops the merge.

    The merge is a transaction of its own: afterwards the table is the old one or the new one, whatever happens. On a
    connection with an open transaction it is refused, as DuckDB cannot undo a part of one. Other connections read the
    old table meanwhile, and cannot write to it: DuckDB refuses what they write, PostgreSQL lets them wait, two merges
    too. There a DROP waits for those who read, for 30 seconds or as long as the connection's `lock_timeout` says.

    Raises SchemaMismatch (columns or values that do not fit), SourceError (new rows that cannot be read whole),
    CheckFailed (a check, a NULL in a key, a table that is not unique by its key) and MergeError (anything else, such as
    a constraint or a full disk; it carries the step, the SQL and the counts so far).

    >>> import duckdb
    >>> con = duckdb.connect()
    >>> _ = con.execute("CREATE TABLE daily (airport VARCHAR, date DATE, tmin DOUBLE, updated_at TIMESTAMPTZ)")
    >>> rows = [
    ...     ("JFK", "2013-01-01", 26.1, "2013-01-02T06:00Z"),
    ...     ("JFK", "2013-01-01", 25.0, "2013-01-03T06:00Z"),
    ...     ("LGA", "2013-01-01", 27.0, "2013-01-02T06:00Z"),
    ... ]
    >>> print(merge(con, "daily", rows, key=["airport", "date"], order_by="updated_at"))
    "daily": staging, delete-insert
      before              0
      new                 3
      duplicates          1
      replaced            0
      inserted            2
      unchanged           0
      removed             0
      after               2
    >>> con.execute("SELECT airport, tmin FROM daily ORDER BY airport").fetchall()
    [('JFK', 25.0), ('LGA', 27.0)]
    >>> merge(con, "daily", rows, key=["airport", "date"], order_by="updated_at", strategy="incremental").unchanged
    2
    """
    checks = tuple(input_checks), tuple(output_checks)
    with _recipe(con, table, key, order_by, strategy, swap, *checks) as recipe, _script(recipe, new_rows) as script:
        counts = _run(recipe, script, on_statement)
    return _report(recipe, counts, script)


def plan(
    con: Any,
    table: Names,
    new_rows: Any,
    *,
    key: Names,
    order_by: Names,
    strategy: Strategy = "staging",
    swap: Swap = "delete-insert",
    input_checks: Sequence[Check] = (),
    output_checks: Sequence[Check] = (),
) -> Script:
    """The SQL that `merge` with the same arguments would run; nothing is run.

    >>> import duckdb
    >>> con = duckdb.connect()
    >>> _ = con.execute("CREATE TABLE daily (airport VARCHAR PRIMARY KEY, tmin DOUBLE, updated_at TIMESTAMP)")
    >>> script = plan(con, "daily", [], key="airport", order_by="updated_at")
    >>> print(*(statement for statement in script if statement.step in ("copy", "append", "pick", "swap")), sep="\\n")
    -- copy
    CREATE TEMP TABLE "daily__staging" AS
    SELECT "airport", "tmin", "updated_at", false AS "is_new"
    FROM "daily";
    -- append
    INSERT INTO "daily__staging"
    SELECT "airport", "tmin", "updated_at", true
    FROM "daily__new";
    -- pick
    DELETE FROM "daily__staging" WHERE rowid IN (
        SELECT rowid FROM (
            SELECT rowid, ROW_NUMBER() OVER (
                PARTITION BY "airport"
                ORDER BY "updated_at" DESC NULLS LAST, "tmin" DESC NULLS LAST, "is_new"
            ) AS place
            FROM "daily__staging"
            WHERE ("airport") IN (SELECT "airport" FROM "daily__staging" GROUP BY "airport" HAVING count(*) > 1)
        ) AS ranked
        WHERE place > 1
    );
    -- swap
    DELETE FROM "daily";
    -- swap
    INSERT INTO "daily" ("airport", "tmin", "updated_at")
    SELECT "airport", "tmin", "updated_at"
    FROM "daily__staging";
    """
    checks = tuple(input_checks), tuple(output_checks)
    with _recipe(con, table, key, order_by, strategy, swap, *checks) as recipe, _script(recipe, new_rows) as script:
        return script


@contextmanager
def _recipe(con: Any, name: Names, key: Names, order_by: Names, *options: Any) -> Iterator[Recipe]:
    """What is asked for; while the block lasts, the connection has no transaction but the merge's own."""
    with backend(con) as database, database.own_transaction("a merge"):
        table = database.find(name)
        yield Recipe(database, table, table.spelt(key), table.spelt(order_by), *options)


@contextmanager
def _script(recipe: Recipe, new_rows: Any) -> Iterator[Script]:
    """The statements of the merge; they can run while the block lasts."""
    recipe.database.refuse_unfit(recipe.table)
    with recipe.database.open_rows(new_rows, recipe.table) as source:
        refuse_names(recipe.table, source.columns)
        yield Script(statements(recipe, source))


def _run(recipe: Recipe, script: Script, on_statement: Listener | None) -> dict[str, int]:
    """Run all statements, or roll back and raise: an error of the kit as it is, anything else as MergeError."""
    counts: dict[str, int] = {}
    statement = script[0]
    try:
        for statement in script:
            if on_statement:
                on_statement(statement)
            recipe.database.run(statement, counts)
    except BaseException as error:
        recipe.database.roll_back()
        if isinstance(error, EtlkitError) or not isinstance(error, Exception):
            raise
        if statement.fault and (fault := statement.fault(error)):
            raise fault from error
        raise _failed(recipe, statement, counts, error) from error
    return counts


def _failed(recipe: Recipe, statement: Statement, counts: Mapping[str, int], error: Exception) -> MergeError:
    reason = (str(error) or type(error).__name__).splitlines()[0]
    reason += recipe.database.hint(error)
    message = f"merge into {recipe.table.sql} failed at {statement.step!r}, and the table is as it was: {reason}"
    return MergeError(message, step=statement.step, sql=statement.sql, counts=counts)


def _report(recipe: Recipe, counts: Mapping[str, int], script: Script) -> MergeReport:
    """The counts that the statements returned, and those that follow: `incremental` has one old row per known key."""
    inserted = counts.get("inserted", counts["keys"] - counts["copied"])
    return MergeReport(
        table=recipe.table.sql,
        strategy=recipe.strategy,
        swap=recipe.swap,
        before=counts["before"],
        new=counts["new"],
        duplicates=counts["new"] - counts["keys"],
        replaced=counts["changed"] - inserted,
        inserted=inserted,
        removed=counts["before"] + inserted - counts["after"],
        after=counts["after"],
        sql=script,
    )
