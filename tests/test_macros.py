"""What templates can call; whole templates are in conformance/test_templates.py."""

from datetime import UTC, datetime

import pytest

from etlkit import macros
from etlkit.clock import SimulatedClock
from etlkit.errors import AirflowNotFoundException
from etlkit.macros import Lookup, Macros
from etlkit.params import NOTSET

NOON = datetime(2013, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("ds", "days", "expected"),
    [
        ("2013-01-31", 1, "2013-02-01"),
        ("2012-02-29", 366, "2013-03-01"),
        ("2013-01-01", -1, "2012-12-31"),
        ("2013-1-2", 1, "2013-01-03"),
        ("anything", 0, "anything"),
    ],
)
def test_ds_add(ds, days, expected):
    assert macros.ds_add(ds, days) == expected


def test_a_text_that_is_no_date_is_an_error():
    for call in (lambda: macros.ds_add("20130131", 1), lambda: macros.ds_format("x", "%Y", "%Y")):
        with pytest.raises(ValueError, match="does not match format"):
            call()


def test_ds_format():
    assert macros.ds_format("31.01.2013", "%d.%m.%Y", "%Y-%m-%d") == "2013-01-31"
    assert macros.ds_format_locale("2013-01-31", "%Y-%m-%d", "EEEE d MMMM", "ko_KR") == "목요일 31 1월"
    assert macros.ds_format_locale("2013-01-31", "%Y-%m-%d", "yyyy") == "2013"


def test_differences_go_by_the_clock_that_was_given():
    clock = SimulatedClock(NOON)
    told = Macros(clock).datetime_diff_for_humans
    assert told(datetime(2013, 1, 28, 12, tzinfo=UTC)) == "3 days ago"
    assert told(datetime(2013, 2, 1, 12, tzinfo=UTC)) == "in 1 day"
    assert told(NOON, datetime(2013, 1, 30, 12, tzinfo=UTC)) == "1 day after"
    clock.sleep(86_400)
    assert told(NOON) == "1 day ago"


def test_lookup():
    def find(name):
        if name == "airport":
            return "JFK"
        raise AirflowNotFoundException(f"nothing is called {name!r}")

    stored = Lookup(find, NOTSET)
    assert (stored.airport, stored.get("airport"), stored.get("nope", "x"), stored.get("nope", None)) == (
        "JFK",
        "JFK",
        "x",
        None,
    )
    assert stored.get("nope") is NOTSET
    assert Lookup(find).get("nope") is None
    with pytest.raises(AirflowNotFoundException, match="nothing is called 'nope'"):
        _ = stored.nope
    assert not hasattr(stored, "__html__")
