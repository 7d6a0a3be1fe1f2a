"""PostgreSQL's types: which kind each is, and which type of DuckDB holds the same values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

KINDS = {
    "bool": ("boolean", "BOOLEAN"),
    "int2": ("smallint", "SMALLINT"),
    "int4": ("integer", "INTEGER"),
    "int8": ("bigint", "BIGINT"),
    "float4": ("float", "FLOAT"),
    "float8": ("double", "DOUBLE"),
    "numeric": ("decimal", None),  # unless it says its digits
    "text": ("varchar", "VARCHAR"),
    "varchar": ("varchar", "VARCHAR"),
    "bpchar": ("varchar", "VARCHAR"),
    "bytea": ("blob", "BLOB"),
    "date": ("date", "DATE"),
    "timestamp": ("timestamp", "TIMESTAMP"),
    "timestamptz": ("timestamp with time zone", "TIMESTAMPTZ"),
    "time": ("time", "TIME"),
    "timetz": ("time with time zone", "TIMETZ"),
    "interval": ("interval", "INTERVAL"),
    "uuid": ("uuid", "UUID"),
    "json": ("json", "JSON"),
    "jsonb": ("json", "JSON"),
}
"""By its name in the catalog: the kind of a type, as `conversions` names it, and its twin in DuckDB, if it has one."""

UNSORTED = {"json", "xml", "point", "line", "lseg", "box", "path", "polygon", "circle"}
"""Types whose values PostgreSQL cannot put in order."""

DUCKDB_DIGITS = 38
TYPES = """SELECT format_type(t.oid, given.modifier), b.typname, t.typcollation <> 0, e.typname,
    CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE given.modifier END,
    (SELECT array_agg(enumlabel::text ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = b.oid)
FROM unnest(%s::oid[], %s::int[]) WITH ORDINALITY AS given (oid, modifier, place)
JOIN pg_type AS t ON t.oid = given.oid
JOIN pg_type AS b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
LEFT JOIN pg_type AS e ON e.oid = b.typelem AND b.typcategory = 'A'
ORDER BY place"""


@dataclass(frozen=True)
class Type:
    """A type as SQL writes it, its name in the catalog, its kind, whether it has a collation, its twin in DuckDB."""

    sql: str
    name: str
    id: str
    collated: bool
    twin: str | None

    def __str__(self) -> str:
        return self.sql


def types(cursor: Any, given: Sequence[tuple[int, int]]) -> list[Type]:
    """Types by what the protocol calls them: an id and a modifier (the 3 of `varchar(3)`)."""
    found = cursor.execute(TYPES, ([oid for oid, _ in given], [modifier for _, modifier in given])).fetchall()
    return [_type(*row) for row in found]


def _type(sql: str, name: str, collated: bool, element: str | None, modifier: int, labels: list[str] | None) -> Type:
    kind, twin = KINDS.get(name, ("other", None))
    if labels:
        kind, twin = "enum", "ENUM (" + ", ".join("'" + label.replace("'", "''") + "'" for label in labels) + ")"
    elif element:
        twin = KINDS.get(element, ("", None))[1]
        kind, twin = "list", twin and f"{twin}[]"
    elif name == "numeric":
        twin = _decimal(modifier)
    return Type(sql, name, kind, collated, twin)


def _decimal(modifier: int) -> str | None:
    """The modifier of numeric(5, 2) is 4 + (5 << 16 | 2); that of a numeric with any number of digits is -1."""
    digits, places = (modifier - 4) >> 16, (modifier - 4) & 0x7FF
    return f"DECIMAL({digits}, {places})" if modifier >= 0 and places <= digits <= DUCKDB_DIGITS else None
