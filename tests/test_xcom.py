"""What may travel between tasks, and that it comes back as what it was."""

import enum
import math
from datetime import UTC, date, datetime, timedelta

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etlkit import xcom
from etlkit.config import Config, conf
from etlkit.errors import XComError

PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
MOMENTS = (
    st.datetimes(timezones=st.just(UTC))
    | st.dates()
    | st.timedeltas(min_value=timedelta(-9999), max_value=timedelta(9999))
)
HASHABLE = st.recursive(
    PLAIN | MOMENTS, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=4
)
KEYS = st.text() | st.sampled_from(sorted(xcom.MARKS))
VALUES = st.recursive(
    HASHABLE,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3) | st.sets(HASHABLE, max_size=3)
    ),
    max_leaves=8,
)


def same(one, other):
    """Equal, and of the same types all the way down."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


@given(VALUES)
def test_what_was_pushed_is_what_is_pulled(value):
    try:
        text = xcom.dumps(value, limit=1_000_000)
    except XComError as error:
        assert "surrogates" in str(error)
        return
    assert same(xcom.loads(text), value)


class Colour(enum.StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "comes_back"),
    [
        ({1: "a", None: "b"}, {"1": "a", "None": "b"}),
        (numpy.float64(1.5), 1.5),
        (numpy.int64(7), 7),
        ([numpy.bool_(True), numpy.float32(0.5)], [True, 0.5]),
        (Colour.RED, "red"),
        ({"__tuple__": [1]}, {"__tuple__": [1]}),
        ({"__datetime__": "soon"}, {"__datetime__": "soon"}),
        ({"__dict__": {"__set__": []}}, {"__dict__": {"__set__": []}}),
        ({frozenset({1}), frozenset()}, {frozenset({1}), frozenset()}),
        (datetime(2024, 5, 6, 7, 8, 9, 10, tzinfo=UTC), datetime(2024, 5, 6, 7, 8, 9, 10, tzinfo=UTC)),
        ((date(2024, 5, 6), timedelta(days=1, microseconds=1)), (date(2024, 5, 6), timedelta(days=1, microseconds=1))),
    ],
)
def test_how_values_come_back(value, comes_back):
    assert same(xcom.loads(xcom.dumps(value)), comes_back)


def circle():
    ring = []
    ring.append(ring)
    return ring


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (object(), "builtins.object cannot be an XCom"),
        (lambda: 1, "function cannot be an XCom"),
        (b"abc", "bytes cannot be an XCom.*pass its path"),
        (math.nan, "nan cannot be an XCom"),
        ({"a": [math.inf]}, "inf cannot be an XCom"),
        (numpy.float64("nan"), "nan cannot be an XCom"),
        (numpy.arange(3), "ndarray cannot be an XCom"),
        (circle(), "contains itself"),
        ("half a character: \ud83d", "cannot be an XCom: .*surrogates"),
        ([10**5000], "cannot be an XCom: .*digits"),
        ({"a": {"b": object()}}, "object cannot be an XCom"),
    ],
)
def test_what_cannot_travel_says_why_in_one_line(value, words):
    with pytest.raises(XComError, match=words) as caught:
        xcom.dumps(value)
    assert "\n" not in str(caught.value)


def test_the_limit_counts_bytes_and_not_characters():
    assert xcom.dumps("é" * 4, limit=10) == '"éééé"'
    with pytest.raises(XComError, match=r"an XCom of 12 bytes is more than the 10 allowed.*pass its path"):
        xcom.dumps("é" * 5, limit=10)


def test_the_limit_is_a_setting():
    conf.use(Config(environ={"ETLKIT__CORE__XCOM_MAX_BYTES": "10"}))
    try:
        with pytest.raises(XComError, match="more than the 10 allowed"):
            xcom.dumps("x" * 9)
        assert xcom.dumps("x" * 8)
    finally:
        conf.use(None)


def test_the_default_limit():
    assert xcom.dumps("x" * 49_342)
    with pytest.raises(XComError, match="49,345 bytes"):
        xcom.dumps("x" * 49_343)
