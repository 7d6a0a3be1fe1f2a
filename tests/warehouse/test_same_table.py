"""Any sequence of batches, in any order, repeated or split, gives the same table with every strategy and swap."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etlkit.warehouse import merge
from tests.warehouses import ENGINES


class Reading(NamedTuple):
    airport: str
    hour: int
    seen: int | None
    wind: float | None
    note: str | None


READINGS = st.builds(
    Reading,
    airport=st.sampled_from(["JFK", "LGA", "EWR"]),
    hour=st.integers(0, 1),
    seen=st.none() | st.integers(0, 2),
    wind=st.none() | st.sampled_from([-1.5, 0.0, 2.25, float("inf")]),
    note=st.none() | st.sampled_from(["", "a", "B", "é", "날씨", "'; --"]),
)
BATCHES = st.lists(st.lists(READINGS, max_size=6), max_size=4)
DDL = "airport VARCHAR, hour INTEGER, seen INTEGER, wind DOUBLE PRECISION, note VARCHAR"
WAYS = list(product(["staging", "incremental"], ["delete-insert", "drop-rename"]))


def newness(reading: Reading) -> tuple[object, ...]:
    """What decides between two rows of a key: NULL below any value; text by its bytes."""
    note = None if reading.note is None else reading.note.encode()
    return tuple((value is not None, value) if value is not None else (False,) for value in (*reading[2:4], note))


def oracle(batches: list[list[Reading]]) -> set[Reading]:
    """The same in plain Python: the greatest row of each key."""
    newest: dict[tuple[str, int], Reading] = {}
    for reading in (reading for batch in batches for reading in batch):
        key = reading[:2]
        if key not in newest or newness(reading) > newness(newest[key]):
            newest[key] = reading
    return set(newest.values())


def merged(engine, batches: list[list[Reading]], strategy: str, swap: str, constraint: str) -> set[Reading]:
    with engine.fresh() as con:
        con.execute(f"CREATE TABLE t ({DDL}{constraint})")
        known: set[tuple[str, int]] = set()
        for batch in batches:
            before = set(con.execute("SELECT * FROM t").fetchall())
            report = merge(con, "t", batch, key=["airport", "hour"], order_by="seen", strategy=strategy, swap=swap)
            after = set(con.execute("SELECT * FROM t").fetchall())
            keys = {row[:2] for row in batch}
            assert (report.before, report.new, report.after) == (len(before), len(batch), len(after))
            assert report.duplicates == len(batch) - len(keys)
            assert report.inserted == len(keys - known)
            assert report.replaced == len(before - after)
            assert report.removed == 0
            known |= keys
        return {Reading(*row) for row in con.execute("SELECT * FROM t").fetchall()}


@pytest.mark.parametrize("engine", ENGINES.values(), ids=list(ENGINES))
def test_every_way_gives_the_oracles_table(engine):
    @settings(max_examples=engine.examples, deadline=None, derandomize=True)
    @given(batches=BATCHES, data=st.data())
    def holds(batches, data):
        expected = oracle(batches)
        rows = data.draw(st.permutations([row for batch in batches for row in batch]))
        cut = data.draw(st.integers(0, len(rows)))
        again = data.draw(st.sampled_from([[], *batches]))
        constraint = data.draw(st.sampled_from(["", ", PRIMARY KEY (airport, hour)"]))
        for way in WAYS:
            assert merged(engine, batches, *way, constraint) == expected
        way = data.draw(st.sampled_from(WAYS))
        assert merged(engine, [rows[:cut], rows[cut:], again, again], *way, constraint) == expected

    holds()
