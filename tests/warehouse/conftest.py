"""A small table of daily temperatures, and the two ways each to merge into it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import duckdb
import pytest

DAILY = """CREATE TABLE daily (
    airport VARCHAR, date DATE, tmin DOUBLE CHECK (tmin < 200), updated_at TIMESTAMP, PRIMARY KEY (airport, date)
)"""
WAYS = [
    pytest.param({"strategy": strategy, "swap": swap}, id=f"{strategy}-{swap}")
    for strategy, swap in product(["staging", "incremental"], ["delete-insert", "drop-rename"])
]


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as con:
        con.execute(DAILY)
        con.execute("INSERT INTO daily VALUES ('JFK', '2013-01-01', 30, '2013-01-02'), ('LGA', '2013-01-01', 31, NULL)")
        yield con


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> dict[str, str]:
    """A strategy and a swap."""
    return request.param
