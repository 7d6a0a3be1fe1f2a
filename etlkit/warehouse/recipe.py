"""The recipe that keeps one row per key, as SQL.

1. **copy** the table to a staging table;
2. **append** the new records, duplicates and all;
3. **pick** one row per key: of `ROW_NUMBER() OVER (PARTITION BY key ORDER BY timestamp DESC)`, keep number 1;
4. **swap**: the staging table's rows take the place of the table's.

`strategy` says how much of the table goes through these steps:

- ``staging``      all of it, as it is taught;
- ``incremental``  only the rows whose keys are among the new rows: the same result for a fraction of the work.

`swap` says how step 4 is done:

- ``delete-insert``  DELETE the old rows, INSERT the picked ones;
- ``drop-rename``    fill a new table, DROP the old one, RENAME the new one to its name.

**Which row wins** is decided by the rows alone, never by the order in which they came: the newest by `order_by`, NULL
being older than anything; among equals, the one with the greatest values in the table's other columns, taken in their
order. So the same rows give the same table, whether they come at once, in parts, twice or out of order, and a new row
replaces an old one only when it is newer by this rule.

All of it is one transaction, which nobody else can write into: it begins by locking the table. A table that is not
unique by its key is cleaned by ``staging``, which says how many rows it removed, and refused by ``incremental``, which
sees only a part of it; a NULL in a key is refused by both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from etlkit.errors import SchemaMismatch, WarehouseError, nearest
from etlkit.warehouse.backend import Backend
from etlkit.warehouse.checks import Check, not_null, unique
from etlkit.warehouse.rows import Source
from etlkit.warehouse.sql import Statement, Table, columns, quoted

STRATEGIES = ("staging", "incremental")
Strategy = Literal["staging", "incremental"]
Swap = Literal["delete-insert", "drop-rename"]


@dataclass(frozen=True)
class Recipe:
    """What one merge is asked to do, once it makes sense for the table."""

    database: Backend
    table: Table
    key: tuple[str, ...]
    order_by: tuple[str, ...]
    strategy: Strategy
    swap: Swap
    input_checks: tuple[Check, ...] = ()
    output_checks: tuple[Check, ...] = ()

    def __post_init__(self) -> None:
        for name, value, known in (("strategy", self.strategy, STRATEGIES), ("swap", self.swap, tuple(SWAPS))):
            if value not in known:
                raise WarehouseError(f"{name} {value!r} is unknown; it is {' or '.join(map(repr, known))}")
        for name, given in (("key", self.key), ("order_by", self.order_by)):
            if not given:
                raise WarehouseError(f"{name} is empty; name at least one column of {self.table.sql}")
            if unknown := [column for column in given if column not in self.table.names]:
                hint = nearest(unknown[0], self.table.names)
                raise SchemaMismatch(f"{name}: {self.table.sql} has no column {unknown[0]!r}{hint}")

    @property
    def is_new(self) -> str:
        """The staging table's own column, which tells new rows from old: a name that the table does not have."""
        taken = {name.lower() for name in self.table.names}
        return quoted(next(name for n in range(len(taken) + 1) if (name := "is_new" + "_" * n) not in taken))

    def same_key(self, one: str, other: str) -> str:
        """The condition that a row of `one` and a row of `other` have the same key."""
        return " AND ".join(f"{one}.{quoted(name)} = {other}.{quoted(name)}" for name in self.key)


def statements(recipe: Recipe, source: Source) -> Iterator[Statement]:
    """All statements of a merge, in order, from BEGIN to COMMIT."""
    yield from recipe.database.begin()
    yield recipe.database.lock(recipe.table)
    yield from _read(recipe, source)
    yield from _copy_append_pick(recipe)
    yield from _count(recipe)
    yield from SWAPS[recipe.swap](recipe)
    yield Statement("count", f"SELECT count(*) FROM {recipe.table.sql}", counts="after")
    yield Statement("clean up", f"DROP TABLE {recipe.table.helper('staging')}")
    yield Statement("clean up", f"DROP TABLE {recipe.table.helper('new')}")
    yield Statement("commit", "COMMIT")


def _read(r: Recipe, source: Source) -> Iterator[Statement]:
    """Read the new rows once, and refuse what does not fit before the table is touched."""
    table, new = r.table.sql, r.table.helper("new")
    yield Statement("count", f"SELECT count(*) FROM {table}", counts="before")
    yield from r.database.read(source, r.table)
    for check in (not_null(*r.key), *r.input_checks):
        yield check.on(new, "check new rows", "the new rows")
    keys = f"SELECT DISTINCT {columns(r.key)} FROM {new}"
    yield Statement("count", f"SELECT count(*) FROM ({keys}) AS keys", counts="keys")
    if nullable := [column.name for column in r.table.columns if column.nullable and column.name in r.key]:
        yield not_null(*nullable).on(table, "check table")


def _copy_append_pick(r: Recipe) -> Iterator[Statement]:
    """Steps 1 to 3. Only keys that have several rows need to be ordered, which is what makes step 3 fast."""
    table, new, staging = r.table.sql, r.table.helper("new"), r.table.helper("staging")
    names, key = columns(r.table.names), columns(r.key)
    affected = "" if r.strategy == "staging" else f"\nWHERE ({key}) IN (SELECT {key} FROM {new})"
    copy = f"CREATE TEMP TABLE {staging} AS\nSELECT {names}, false AS {r.is_new}\nFROM {table}{affected}"
    yield Statement("copy", copy, counts="copied")
    if r.strategy == "incremental":
        yield unique(*r.key).on(staging, "check table", f"{table} (strategy='staging' would clean it)")
    yield Statement("append", f"INSERT INTO {staging}\nSELECT {names}, true\nFROM {new}")
    yield Statement("pick", _pick(r, staging))


def _pick(r: Recipe, staging: str) -> str:
    key = columns(r.key)
    by_name = {column.name: column for column in r.table.columns}
    others = [name for name in r.table.names if name not in r.order_by and name not in r.key]
    ranks = [r.database.sort_key(by_name[name]) for name in (*r.order_by, *others)]
    newest_first = ", ".join(f"{rank} DESC NULLS LAST" for rank in ranks)
    row_id = r.database.row_id
    return f"""DELETE FROM {staging} WHERE {row_id} IN (
    SELECT {row_id} FROM (
        SELECT {row_id}, ROW_NUMBER() OVER (
            PARTITION BY {key}
            ORDER BY {newest_first}, {r.is_new}
        ) AS place
        FROM {staging}
        WHERE ({key}) IN (SELECT {key} FROM {staging} GROUP BY {key} HAVING count(*) > 1)
    ) AS ranked
    WHERE place > 1
)"""


def _count(r: Recipe) -> Iterator[Statement]:
    """How many picked rows are new, and how many keys the table did not have."""
    table, new, staging = r.table.sql, r.table.helper("new"), r.table.helper("staging")
    yield Statement("count", f"SELECT count(*) FROM {staging} WHERE {r.is_new}", counts="changed")
    if r.strategy == "staging":
        keys = f"SELECT count(*) FROM (SELECT DISTINCT {columns(r.key)} FROM {new}) AS {new}"
        absent = f"{keys}\nWHERE NOT EXISTS (SELECT 1 FROM {table} WHERE {r.same_key(table, new)})"
        yield Statement("count", absent, counts="inserted")


def _delete_insert(r: Recipe) -> Iterator[Statement]:
    """Incremental leaves rows alone that stay as they are."""
    table, staging, names = r.table.sql, r.table.helper("staging"), columns(r.table.names)
    insert = f"INSERT INTO {table} ({names})\nSELECT {names}\nFROM {staging}"
    if r.strategy == "staging":
        yield from (check.on(staging, "check result", table) for check in r.output_checks)
        yield Statement("swap", f"DELETE FROM {table}")
        yield Statement("swap", insert)
    else:
        replaced = f"{r.same_key(table, staging)} AND {staging}.{r.is_new}"
        yield Statement("swap", f"DELETE FROM {table}\nUSING {staging}\nWHERE {replaced}")
        yield Statement("swap", f"{insert}\nWHERE {r.is_new}")
        yield from (check.on(table, "check result") for check in r.output_checks)


def _drop_rename(r: Recipe) -> Iterator[Statement]:
    """The new table is complete, and checked, before the old one is dropped."""
    table, staging, names = r.table.sql, r.table.helper("staging"), columns(r.table.names)
    insert = f"INSERT INTO {r.table.next} ({names})\nSELECT {names}\nFROM"
    yield from r.database.before_rename(r.table)
    if r.strategy == "incremental":
        rest = f"WHERE NOT EXISTS (SELECT 1 FROM {staging} WHERE {r.same_key(table, staging)})"
        yield Statement("swap", f"{insert} {table}\n{rest}")
    yield Statement("swap", f"{insert} {staging}")
    yield from (check.on(r.table.next, "check result", table) for check in r.output_checks)
    yield Statement("swap", f"DROP TABLE {table}")
    yield from r.database.after_rename(r.table)


SWAPS = {"delete-insert": _delete_insert, "drop-rename": _drop_rename}
