"""Columns of stated types: a value that is not of its column's type is refused, never bent into it."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any

from etlkit.errors import nearest
from etlkit.sources.refusal import refusal

if TYPE_CHECKING:
    import pyarrow as pa

Columns = Mapping[str, "str | pa.DataType"]
Where = Callable[[int], tuple[str, int]]  # from a row's index to its place in the source, such as ("line", 17)

# Python's types for each kind of column, in JSON and from database drivers. An instant is an ISO text or a datetime.
PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "floating": (int, float),
    "boolean": (bool,),
    "decimal": (int, Decimal, str),
    "date": (str, date),
    "timestamp": (str, date),
    "timestamptz": (str, date),
}

# What Arrow's own exceptions are, and Python's, when a value is not of a type.
UNFIT = (ValueError, TypeError, OverflowError, NotImplementedError)

# Kinds of columns that a kind takes without changing a value; itself goes without saying.
TAKES = {"floating": {"integer", "decimal"}, "decimal": {"integer"}, "timestamp": {"date"}}


@cache
def sql_types() -> dict[str, pa.DataType]:
    """SQL's names of types, as DuckDB prints them, and Arrow's types."""
    import pyarrow as pa

    return {
        "VARCHAR": pa.string(),
        "DOUBLE": pa.float64(),
        "FLOAT": pa.float32(),
        "BIGINT": pa.int64(),
        "INTEGER": pa.int32(),
        "SMALLINT": pa.int16(),
        "BOOLEAN": pa.bool_(),
        "DATE": pa.date32(),
        "TIMESTAMP": pa.timestamp("us"),
        "TIMESTAMPTZ": pa.timestamp("us", "UTC"),
        "TIMESTAMP WITH TIME ZONE": pa.timestamp("us", "UTC"),
    }


def arrow_types(columns: Columns, source: object) -> dict[str, pa.DataType]:
    """Each column's Arrow type.

    >>> arrow_types({"temp": "DOUBLE", "price": "DECIMAL(10,2)"}, "prices.csv")
    {'temp': DataType(double), 'price': Decimal128Type(decimal128(10, 2))}
    """
    return {name: _arrow_type(name, given, source) for name, given in columns.items()}


def _arrow_type(name: str, given: str | pa.DataType, source: object) -> pa.DataType:
    import pyarrow as pa

    if isinstance(given, pa.DataType):
        return given
    known = sql_types()
    if found := known.get(given.upper()):
        return found
    if decimal := re.fullmatch(r"DECIMAL\((\d+), *(\d+)\)", given.upper()):
        return pa.decimal128(int(decimal[1]), int(decimal[2]))
    what = f"unknown type {given!r}{nearest(given.upper(), list(known))}"
    raise refusal(source, what, f"the types are {', '.join(known)}, DECIMAL(p,s)", column=name)


def check_names(there: Sequence[str], wanted: Sequence[str], source: object) -> None:
    """Refuse a source that lacks a wanted column, or has it twice."""
    if missing := [name for name in wanted if name not in there]:
        what = f"no column {', '.join(map(repr, missing))}{nearest(missing[0], there)}"
        raise refusal(source, what, f"it has {', '.join(there)}", column=missing[0])
    if twice := [name for name in wanted if there.count(name) > 1]:
        raise refusal(source, f"more than one column is called {twice[0]!r}", "rename one", column=twice[0])


def typed(
    types: Mapping[str, pa.DataType | None],
    values: Callable[[str], Sequence[Any]],
    source: object,
    where: Where,
    *,
    from_text: bool = False,
) -> pa.Table:
    """The table of Python values, which `values` gives by column name; a type None is what the values are."""
    import pyarrow as pa

    return pa.table({n: _column(n, values(n), types[n], source, where, from_text) for n in types})


def _column(
    name: str, values: Sequence[Any], wanted: pa.DataType | None, source: object, where: Where, from_text: bool
) -> pa.Array:
    try:
        return array(values, wanted, from_text)
    except UNFIT as error:
        row = next((row for row, value in enumerate(values) if not _fits(value, wanted, from_text)), None)
        if row is None:  # each is something, but they are not the same
            what, todo = f"values of several types ({error})", "state one: columns={...}"
            raise refusal(source, what, todo, column=name) from error
        what, todo = f"{reprlib.repr(values[row])} is not {_sql_name(wanted)}", "correct it, or state another type"
        raise refusal(source, what, todo, at=where(row), column=name, value=values[row]) from error


def _fits(value: Any, wanted: pa.DataType | None, from_text: bool) -> bool:
    try:
        array([value], wanted, from_text)
    except UNFIT:
        return False
    return True


def array(values: Sequence[Any], wanted: pa.DataType | None, from_text: bool) -> pa.Array:
    """The values as an array of the wanted type, or one of `UNFIT`."""
    import pyarrow as pa

    if wanted is None:
        return pa.array(values)
    kind = _kind(wanted)
    if not from_text:
        _check_python_types(values, kind)
    if from_text or kind in ("date", "timestamp", "timestamptz", "decimal"):
        # Arrow is strict with text, where it would take a naive datetime for UTC.
        texts = [None if v is None else v.isoformat() if isinstance(v, date) else str(v) for v in values]
        return pa.array(texts, pa.string()).cast(wanted)
    return pa.array(values, wanted)


def _check_python_types(values: Sequence[Any], kind: str) -> None:
    allowed = PYTHON_TYPES.get(kind, (object,))
    for value in values:
        is_bool = isinstance(value, bool) and kind != "boolean"  # to Python, True is a number
        if value is not None and (is_bool or not isinstance(value, allowed)):
            raise TypeError(f"{value!r} is not {kind}")


def fitted(table: pa.Table, columns: Columns | None, source: object) -> pa.Table:
    """The table with the stated columns and types; all of its own when none are stated. Instants come out in UTC."""
    types = arrow_types(columns, source) if columns else {f.name: _in_utc(f.type) for f in table.schema}
    check_names(table.column_names, list(types), source)
    import pyarrow as pa

    return pa.table({name: _cast(table[name], wanted, name, source) for name, wanted in types.items()})


def _in_utc(there: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    return pa.timestamp(there.unit, "UTC") if _kind(there) == "timestamptz" else there


def _cast(column: pa.ChunkedArray, wanted: pa.DataType, name: str, source: object) -> pa.ChunkedArray:
    if column.type == wanted:
        return column
    there, kind = _kind(column.type), _kind(wanted)
    if there != kind and there not in TAKES.get(kind, ()):
        raise refusal(source, f"it is {column.type}, not {_sql_name(wanted)}", "state the type it has", column=name)
    try:
        return column.cast(wanted)
    except UNFIT as error:
        what = f"not every value is {_sql_name(wanted)} ({error})"
        raise refusal(source, what, "state a wider type", column=name) from error


def _kind(there: pa.DataType) -> str:
    """The key of `PYTHON_TYPES` that a type belongs to; any other type's kind is its name."""
    from pyarrow import types

    if types.is_dictionary(there):
        there = there.value_type
    if types.is_timestamp(there):
        return "timestamptz" if there.tz else "timestamp"
    if types.is_large_string(there):
        return "string"
    kinds = ("string", "integer", "floating", "boolean", "decimal", "date")
    return next((kind for kind in kinds if getattr(types, f"is_{kind}")(there)), str(there))


def _sql_name(wanted: pa.DataType | None) -> str:
    return next((name for name, there in sql_types().items() if there == wanted), str(wanted))
