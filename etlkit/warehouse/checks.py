"""Data checks: what must hold of a table, each as a query for the rows that break it.

A check holds when its query returns no row. The same checks serve as input checks (on the new rows), as output checks
(on the table that a merge made, while the old one is still there) and on their own:

>>> import duckdb
>>> con = duckdb.connect()
>>> _ = con.execute("CREATE TABLE daily AS SELECT 'JFK' AS airport, -9.0 AS tmin, -12.0 AS tmax")
>>> check(con, "daily", row_count(1, 3), unique("airport"), not_null("tmin"))
>>> check(con, "daily", every("tmin <= tmax"))
Traceback (most recent call last):
    ...
etlkit.errors.CheckFailed: check every(tmin <= tmax) does not hold in "daily": rows=1, airport='JFK', tmin=..., tmax=...
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from etlkit.errors import CheckFailed
from etlkit.warehouse.sql import Result, Statement, columns, quoted


@dataclass(frozen=True)
class Check:
    """A name, and a function from a table's quoted name to the query for the rows that break the check."""

    name: str
    query: Callable[[str], str]

    def on(self, table: str, step: str, what: str | None = None) -> Statement:
        """The statement that checks `table` (a quoted name), which the error calls `what`."""

        def objection(result: Result) -> CheckFailed | None:
            if not result.rows:
                return None
            found = ", ".join(f"{name}={value!r}" for name, value in result.example().items())
            message = f"check {self.name} does not hold in {what or table}: {found}"
            return CheckFailed(message, check=self.name, found=result.rows)

        return Statement(step, self.query(table), objection=objection)


def row_count(minimum: int = 0, maximum: int | None = None) -> Check:
    """The table has at least `minimum` and at most `maximum` rows."""
    outside = f"count(*) < {int(minimum)}" + (f" OR count(*) > {int(maximum)}" if maximum is not None else "")
    bounds = f"{minimum}" if maximum is None else f"{minimum}, {maximum}"
    return Check(f"row_count({bounds})", lambda table: f"SELECT count(*) AS rows FROM {table}\nHAVING {outside}")


def unique(*key: str) -> Check:
    """No two rows have the same `key` (one column or several)."""
    names = columns(key)
    counts = f"SELECT count(*) OVER () AS duplicated, count(*) AS rows, {names}"
    return Check(
        f"unique({', '.join(key)})",
        lambda table: f"{counts}\nFROM {table}\nGROUP BY {names} HAVING count(*) > 1\nLIMIT 1",
    )


def not_null(*names: str) -> Check:
    """None of these columns is NULL in any row."""
    nulls = " OR ".join(f"{quoted(name)} IS NULL" for name in names)
    return Check(f"not_null({', '.join(names)})", lambda table: _rows_where(table, nulls))


def every(condition: str) -> Check:
    """An SQL condition holds in every row; as in SQL's own CHECK, NULL (not known) does not break it."""
    return Check(f"every({condition})", lambda table: _rows_where(table, f"NOT ({condition})"))


def no_rows(query: str) -> Check:
    """A query of your own for the rows that break the check; `{table}` in it is the table under check.

    >>> print(no_rows("SELECT airport FROM {table} GROUP BY airport HAVING count(*) < 24").query("daily"))
    SELECT airport FROM daily GROUP BY airport HAVING count(*) < 24
    """
    return Check(f"no_rows({query})", lambda table: query.replace("{table}", table))


def is_true(query: str) -> Check:
    """A query of your own for one value, which must be true; `{table}` in it is the table under check.

    >>> print(is_true("SELECT avg(tmin) < 60 FROM {table}").query("daily"))
    SELECT holds FROM (SELECT (SELECT avg(tmin) < 60 FROM daily) AS holds) AS answer
    WHERE holds IS NOT TRUE
    """
    value = f"SELECT holds FROM (SELECT ({query}) AS holds) AS answer\nWHERE holds IS NOT TRUE"
    return Check(f"is_true({query})", lambda table: value.replace("{table}", table))


def check(con: Any, table: str | tuple[str, ...], *checks: Check) -> None:
    """Check a table of the warehouse; the first check that does not hold is raised as CheckFailed."""
    from etlkit.warehouse.backend import backend

    with backend(con) as database, nullcontext() if database.in_transaction() else database.own_transaction("a check"):
        name = database.find(table).sql
        for each in checks:
            database.run(each.on(name, "check"), {})


def _rows_where(table: str, broken: str) -> str:
    return f"SELECT count(*) OVER () AS rows, * FROM {table}\nWHERE {broken}\nLIMIT 1"
