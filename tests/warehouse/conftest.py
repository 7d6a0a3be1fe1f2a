"""A small table of daily temperatures on each database, and the two ways each to merge into it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest

from tests.warehouses import ENGINES

DAILY = """CREATE TABLE daily (
    airport VARCHAR, date DATE, tmin DOUBLE PRECISION CHECK (tmin < 200), updated_at TIMESTAMP,
    PRIMARY KEY (airport, date)
)"""
WAYS = [
    pytest.param({"strategy": strategy, "swap": swap}, id=f"{strategy}-{swap}")
    for strategy, swap in product(["staging", "incremental"], ["delete-insert", "drop-rename"])
]


@pytest.fixture(params=ENGINES.values(), ids=list(ENGINES))
def engine(request: pytest.FixtureRequest) -> Any:
    """DuckDB or PostgreSQL; a test that is about one of them says so (`only_duckdb`, `only_postgres`)."""
    return request.param


@pytest.fixture
def empty(engine: Any) -> Iterator[Any]:
    """A connection to an empty database."""
    with engine.fresh() as con:
        yield con


@pytest.fixture
def con(empty: Any) -> Any:
    empty.execute(DAILY)
    empty.execute("INSERT INTO daily VALUES ('JFK', '2013-01-01', 30, '2013-01-02'), ('LGA', '2013-01-01', 31, NULL)")
    return empty


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> dict[str, str]:
    """A strategy and a swap."""
    return request.param
