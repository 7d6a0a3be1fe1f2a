"""Which values a column takes: those of its own type, and those of a related type that convert without loss.

An INTEGER column takes 3.0 (what pandas makes of integers beside a missing one) but neither 3.5 nor the text '3'; a
DATE column takes a timestamp at midnight and the text '2013-01-31'. An instant (TIMESTAMP WITH TIME ZONE) is not taken
for a local time, nor a local time for an instant: a text must say its offset, so that no session's time zone is put in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from etlkit.errors import EtlkitError, SchemaMismatch, nearest
from etlkit.warehouse.sql import Column, Result, Statement, Table, quoted

if TYPE_CHECKING:
    from etlkit.warehouse.backend import Backend

SIGNED = {"tinyint", "smallint", "integer", "bigint", "hugeint", "bignum"}
INTEGERS = SIGNED | {f"u{name}" for name in SIGNED}
FRACTIONS = {"float", "double", "decimal"}
LOCAL_TIMES = {"date", "timestamp", "timestamp_s", "timestamp_ms", "timestamp_ns"}
NESTED = {"list", "array", "struct", "map"}

TAKES = {
    **dict.fromkeys(INTEGERS | FRACTIONS, INTEGERS | FRACTIONS),
    **dict.fromkeys(LOCAL_TIMES, LOCAL_TIMES | {"varchar"}),
    **{name: {name} for name in NESTED},
    "timestamp with time zone": {"varchar"},
    "time": {"varchar"},
    "time with time zone": {"varchar"},
    "interval": {"varchar"},
    "uuid": {"varchar"},
    "enum": {"varchar", "enum"},
    "varchar": {"varchar", "enum"},  # DuckDB's JSON is a kind of VARCHAR
    "json": {"varchar", "json"},
    "other": {"varchar"},  # what only one database has is read from its text
}
"""By a type's name in DuckDB, which stands for that of any database: the types of the values that it takes."""
EXACT = INTEGERS | LOCAL_TIMES | NESTED  # converting back must give the same value; fractions may be rounded
OFFSET = r":\d\d.*(Z|[+-]\d\d)"


def refuse_names(table: Table, given: Sequence[Column]) -> None:
    """Raise SchemaMismatch when columns are missing or extra; their order does not matter, nor does their case."""
    known, have = table.names, [column.name for column in given]
    twice = [name for place, name in enumerate(have) if not _without([name], have[:place])]
    missing, extra = _without(known, have), [*_without(have, known), *twice]
    if missing or extra:
        parts = [f"{word} {', '.join(names)}" for word, names in (("lack", missing), ("have extra", extra)) if names]
        hint = nearest(extra[0], missing) if extra else ""
        raise SchemaMismatch(f"the new rows for {table.sql} {' and '.join(parts)}{hint}")


def conversions(database: Backend, table: Table, staged: str, given: Sequence[Column]) -> Iterator[Statement]:
    """Statements that refuse values which do not fit, and give the staged new rows the types of the table."""
    types = {column.name.lower(): column.type for column in given}
    different = [column for column in table.columns if types[column.name.lower()] != column.type]
    for column in different:
        yield from _refusal(database, table, staged, column, types[column.name.lower()])
    for column in different:
        name = quoted(column.name)
        convert = f"ALTER TABLE {staged} ALTER {name} TYPE {column.type} USING CAST({name} AS {column.type})"
        yield Statement("check new rows", convert)


def _refusal(database: Backend, table: Table, staged: str, column: Column, have: Any) -> Iterator[Statement]:
    is_of = f"column {column.name!r} of {table.sql} is {column.type}, but"

    def objection(result: Result) -> EtlkitError | None:
        if not result.rows:
            return None
        row, value = result.rows[0]
        return SchemaMismatch(f"{is_of} row {row} of the new rows has {have} {value}; convert it first")

    def fault(error: Exception) -> EtlkitError | None:
        if not database.is_bad_value(error):
            return None
        reason = str(error).splitlines()[0]
        return SchemaMismatch(f"{is_of} a row of the new rows has {have} that does not fit: {reason}; convert it first")

    if misfit := _misfit(database, column.type, have):
        values = f"SELECT ROW_NUMBER() OVER () AS row, {quoted(column.name)} AS value FROM {staged}"
        example = f"SELECT row, CAST(value AS VARCHAR) FROM ({values}) AS numbered\nWHERE {misfit}\nLIMIT 1"
        yield Statement("check new rows", example, objection=objection, fault=fault)


def _misfit(database: Backend, want: Any, have: Any) -> str:
    """The SQL condition of a `value` of the type `have` that a column of the type `want` does not take.

    Where the database has no cast that gives NULL, what cannot be converted at all is an error of this condition.
    """
    if have.id == "null":
        return ""
    if have.id not in TAKES.get(want.id, ()):
        return "value IS NOT NULL"
    converted = f"{database.cast}(value AS {want})"
    exact = have.id == want.id if have.id == "varchar" else want.id in EXACT
    lost = f"CAST({converted} AS {have}) IS DISTINCT FROM value" if exact else f"{converted} IS NULL"
    if want.id.endswith("time zone"):
        lost += f" OR NOT {database.matches('value', OFFSET)}"
    return f"value IS NOT NULL AND ({lost})"


def _without(names: Sequence[str], others: Sequence[str]) -> list[str]:
    known = {name.lower() for name in others}
    return [name for name in names if name.lower() not in known]
