"""Clocks: one that jumps and never goes back, and one that waits."""

import ast
import threading
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import etlkit
from etlkit.clock import Clock, SimulatedClock, SystemClock, wall_seconds
from tests.engine import DAY, HOUR, at


@given(st.lists(st.datetimes(timezones=st.just(UTC)), max_size=8))
def test_a_simulated_clock_never_goes_back(moments):
    clock, shown = SimulatedClock(at(1)), at(1)
    for moment in moments:
        clock.sleep_until(moment)
        assert clock.now() == max(shown, moment)
        shown = clock.now()


def test_a_jump_into_the_past_is_refused():
    clock = SimulatedClock(at(2))
    clock.jump(at(2))
    with pytest.raises(ValueError, match="cannot go back"):
        clock.jump(at(1))
    assert clock.now() == at(2)


def test_a_simulated_clock_speaks_utc():
    clock = SimulatedClock(datetime(2013, 1, 1, 9, tzinfo=timezone(9 * HOUR)))
    assert (clock.now(), clock.now().tzinfo, repr(clock)) == (at(1), UTC, "SimulatedClock(2013-01-01T00:00:00+00:00)")
    clock.sleep_until(datetime(2013, 1, 2, 9, tzinfo=timezone(9 * HOUR)))
    assert (clock.now(), clock.now().tzinfo) == (at(2), UTC)


def test_a_simulated_clock_needs_a_zone():
    with pytest.raises(ValueError, match=r"add tzinfo=timezone\.utc"):
        SimulatedClock(datetime(2013, 1, 1))  # noqa: DTZ001


def test_sleeping_is_jumping():
    clock = SimulatedClock(at(1))
    clock.sleep(3600)
    assert clock.now() == at(1, 1)


def test_the_system_clock_tells_the_time_of_the_computer_in_utc():
    before = datetime.now(UTC)  # noqa: TID251 (that is what is compared)
    now = SystemClock().now()
    assert before <= now <= before + timedelta(minutes=1)
    assert now.tzinfo == UTC


def test_the_system_clock_waits_no_longer_than_told():
    clock, began = SystemClock(), wall_seconds()
    clock.sleep(0.02)
    assert 0.02 <= wall_seconds() - began < 5
    clock.sleep_until(clock.now() - DAY)
    assert wall_seconds() - began < 5


def test_the_system_clock_is_woken():
    wake, began = threading.Event(), wall_seconds()
    threading.Timer(0.02, wake.set).start()
    SystemClock().sleep_until(SystemClock().now() + DAY, wake)
    assert wall_seconds() - began < 5


def test_a_clock_of_ones_own_must_say_how():
    with pytest.raises(NotImplementedError):
        Clock().now()
    with pytest.raises(NotImplementedError):
        Clock().sleep_until(at(1))


def test_only_the_clock_asks_the_computer_for_the_time():
    """What the lint rule forbids cannot be had by another way of writing it either."""
    for file in Path(etlkit.__file__).parent.rglob("*.py"):
        if file.name == "clock.py":
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in (
                "now",
                "utcnow",
                "today",
                "time",
                "sleep",
                "monotonic",
            ):
                assert ast.unparse(node.value) not in ("datetime", "datetime.datetime", "date", "time", "pendulum"), (
                    f"{file.name}:{node.lineno}"
                )
