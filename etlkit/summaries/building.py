"""Building summary tables: each beside the old one, checked, and then in its place, in one transaction.

The statements of one summary, in order:

1. **check inputs**: the tables that the query reads;
2. **build**: `CREATE TABLE daily__next AS` the query;
3. **check result**: the new table, while the old one is still there;
4. **swap**: DROP the old one, RENAME the new one to its name, and give it back the old one's indexes and comments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from etlkit.errors import EtlkitError, SummaryError, nearest
from etlkit.summaries.catalog import CATALOGS, Catalog
from etlkit.summaries.config import Config, Summary, read_config
from etlkit.summaries.order import Name, in_order, inputs, split, without_end
from etlkit.warehouse.backend import Backend, backend
from etlkit.warehouse.checks import Check, not_null, unique
from etlkit.warehouse.sql import Script, Statement, literal, quoted

Listener = Callable[[Statement], object]


@dataclass(frozen=True)
class SummaryReport:
    """A summary table that was built: its rows, those of the old one (None if there was none), and the SQL that ran."""

    name: str
    before: int | None
    rows: int
    sql: Script

    def __str__(self) -> str:
        return f"{self.name}  {self._counts()}"

    def _counts(self) -> str:
        noun = "row" if self.rows == 1 else "rows"
        return f"{self.rows:,} {noun} ({'new' if self.before is None else f'before: {self.before:,}'})"


class Reports(tuple[SummaryReport, ...]):
    """The reports of several summaries, in the order in which they were built."""

    __slots__ = ()

    def __str__(self) -> str:
        width = max((len(report.name) for report in self), default=0)
        return "\n".join(f"{report.name:<{width}}  {report._counts()}" for report in self)


def build_summaries(con: Any, config: Config, *, on_statement: Listener | None = None) -> Reports:
    """Build all summaries of a configuration in the warehouse, each after those that it reads.

    Everything that can be known to be wrong is refused before the first is built: circles, tables that are neither
    there nor a summary, dependencies that a view or macro hides. Then each is a transaction of its own. If one fails,
    its old table stays and those after it are not built; those before it are new. `on_statement` is called with each
    Statement before it runs; what it raises stops the building.

    Raises CheckFailed (a check that does not hold) and SummaryError (anything else; it carries the step and the SQL).

    >>> from etlkit.warehouse import connect
    >>> con = connect()
    >>> _ = con.execute("CREATE TABLE weather AS SELECT 26.1 AS temp")
    >>> [report] = build_summaries(con, [Summary("daily", "SELECT min(temp) AS tmin FROM weather")])
    >>> print(report.sql)
    -- begin
    BEGIN TRANSACTION;
    <BLANKLINE>
    -- build
    CREATE TABLE "daily__next" AS
    SELECT min(temp) AS tmin FROM weather;
    <BLANKLINE>
    -- count
    SELECT count(*) FROM "daily__next";
    <BLANKLINE>
    -- swap
    ALTER TABLE "daily__next" RENAME TO "daily";
    <BLANKLINE>
    -- commit
    COMMIT;
    """
    summaries = read_config(config)
    with _catalog(con) as catalog:
        ordered = in_order(summaries, catalog.schema)
        for summary in ordered:
            refuse_unfit(catalog, summary, summaries, coming=summaries)
        return Reports(_build(catalog, summary, on_statement) for summary in ordered)


def build_summary(con: Any, config: Config, name: str, *, on_statement: Listener | None = None) -> SummaryReport:
    """Build one summary of a configuration, from tables that are there; see `build_summaries`."""
    summaries = read_config(config)
    found = [summary for summary in summaries if summary.name == name]
    if not found:
        raise SummaryError(f"there is no summary {name!r}{nearest(name, [each.name for each in summaries])}")
    with _catalog(con) as catalog:
        refuse_unfit(catalog, found[0], summaries)
        return _build(catalog, found[0], on_statement)


@contextmanager
def _catalog(con: Any) -> Iterator[Catalog]:
    with backend(con) as database, database.own_transaction("a summary"):
        yield CATALOGS[database.name](database)


# --- what is refused before anything is built -------------------------------------------------------------------------


def refuse_unfit(
    catalog: Catalog, summary: Summary, summaries: Sequence[Summary], coming: Sequence[Summary] = ()
) -> None:
    """SummaryError if a summary reads what is neither there nor `coming`, or would destroy what is not its own."""
    by_name = {catalog.resolved(split(other.name)): other for other in summaries}
    soon = {catalog.resolved(split(other.name)) for other in coming}
    read = inputs(summary)
    for name in read:
        if catalog.resolved(name) not in soon:
            _refuse_unknown(catalog, summary, name, by_name)
    _refuse_hidden(catalog, summary, {catalog.resolved(name) for name in read}, by_name)
    if catalog.kind(summary.name) == "VIEW":
        raise summary.refused("there is a view of this name; drop it, or give the summary another name")
    for what in catalog.dependents(summary.name):
        raise summary.refused(f"the table of this name cannot give way while {what} depends on it; drop that first")
    for what in catalog.losses(summary.name):
        raise summary.refused(
            f"the table of this name has a {what}, so it was not built as a summary, and that would be lost; "
            "drop the table, or give the summary another name"
        )


def _refuse_unknown(catalog: Catalog, summary: Summary, name: Name, by_name: dict[Name, Summary]) -> None:
    written, short = ".".join(name), catalog.without_database(name)
    if short != name and catalog.resolved(short) in by_name:  # the order of building does not know the database
        raise summary.refused(f"it reads the summary {'.'.join(short)!r} as {written!r}; leave the database out")
    if not catalog.has(name):
        hint = nearest(name[-1], [known[-1] for known in (*catalog.kinds, *by_name)])
        raise summary.refused(f"it reads {written!r}, which is neither a table nor a summary{hint}")


def _refuse_hidden(catalog: Catalog, summary: Summary, shown: set[Name], by_name: dict[Name, Summary]) -> None:
    for name in sorted(catalog.behind(summary.sql) - shown):
        if name in by_name:
            raise summary.refused(
                f"it reads the summary {by_name[name].name!r} through a view or macro, which hides in which order to "
                f"build them; say so: reads: [{by_name[name].name}]"
            )


# --- building ---------------------------------------------------------------------------------------------------------


def _build(catalog: Catalog, summary: Summary, on_statement: Listener | None) -> SummaryReport:
    """Build one summary, or roll back and raise: an error of the kit as it is, anything else as SummaryError."""
    script, counts = Script(_statements(catalog, summary)), dict[str, int]()
    statement = script[0]
    try:
        for statement in script:
            if on_statement:
                on_statement(statement)
            catalog.database.run(statement, counts)
    except BaseException as error:
        catalog.database.roll_back()
        if isinstance(error, EtlkitError) or not isinstance(error, Exception):
            raise
        raise _failed(catalog.database, summary, statement, error) from error
    return SummaryReport(summary.name, counts.get("before"), counts["rows"], script)


def _failed(database: Backend, summary: Summary, statement: Statement, error: Exception) -> SummaryError:
    reason = (str(error) or type(error).__name__).splitlines()[0] + database.hint(error)
    message = f"summary {summary.name!r} failed at {statement.step!r}, and its table is as it was: {reason}"
    return SummaryError(message, summary=summary.name, step=statement.step, sql=statement.sql)


def _statements(catalog: Catalog, summary: Summary) -> Iterator[Statement]:
    """All statements that build one summary, from BEGIN to COMMIT."""
    table, exists = catalog.table(summary.name), catalog.kind(summary.name) is not None
    yield from catalog.database.begin()
    if exists:
        yield catalog.database.lock(table)
        yield Statement("count", f"SELECT count(*) FROM {table.sql}", counts="before")
    for name, checks in summary.input_checks.items():
        yield from (check.on(quoted(*split(name)), "check inputs") for check in checks)
    yield Statement("build", f"CREATE TABLE {table.next} AS\n{without_end(summary.sql)}")
    yield Statement("count", f"SELECT count(*) FROM {table.next}", counts="rows")
    yield from (check.on(table.next, "check result", table.sql) for check in _output_checks(summary))
    if exists:
        yield Statement("swap", f"DROP TABLE {table.sql}")
        yield from catalog.database.after_rename(table)
    else:
        yield Statement("swap", f"ALTER TABLE {table.next} RENAME TO {quoted(table.name)}")
    if summary.doc:
        yield Statement("swap", f"COMMENT ON TABLE {table.sql} IS {literal(summary.doc.strip())}")
    yield Statement("commit", "COMMIT")


def _output_checks(summary: Summary) -> list[Check]:
    key = [not_null(*summary.key), unique(*summary.key)] if summary.key else []
    return [*key, *summary.output_checks]
