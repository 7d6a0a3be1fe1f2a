"""Time limits: they end what hangs, one inside another, and leave no alarm behind."""

import contextlib
import signal
import threading

import pytest

from etlkit.time_limit import time_limit

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no SIGALRM here")


def hang():
    threading.Event().wait(30)


@pytest.fixture(autouse=True)
def nothing_left_behind():
    before = signal.getsignal(signal.SIGALRM)
    yield
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert signal.getsignal(signal.SIGALRM) is before


def test_what_ends_in_time_is_left_alone():
    with time_limit(30, TimeoutError):
        pass


def test_what_hangs_is_ended():
    told = []
    limit = time_limit(0.01, lambda: TimeoutError("too long"), lambda: told.append("now"))
    with pytest.raises(TimeoutError, match="too long"), limit:
        hang()
    assert told == ["now"]


def test_the_error_leaves_a_block_that_caught_it():
    with pytest.raises(TimeoutError), time_limit(0.01, TimeoutError), contextlib.suppress(TimeoutError):
        hang()


def test_the_outer_limit_goes_on_counting():
    with pytest.raises(TimeoutError, match="outer"), time_limit(0.05, lambda: TimeoutError("outer")):
        with pytest.raises(TimeoutError, match="inner"), time_limit(0.001, lambda: TimeoutError("inner")):
            hang()
        with time_limit(30, TimeoutError):
            pass
        hang()


def test_there_is_no_limit_in_another_thread():
    ended = []

    def work():
        with time_limit(1e-6, TimeoutError):
            ended.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert ended


def test_of_two_limits_the_one_that_is_over_first_ends_the_block():
    outer = time_limit(0.01, lambda: TimeoutError("outer"))
    with pytest.raises(TimeoutError, match="outer"), outer, time_limit(1, lambda: TimeoutError("inner")):
        hang()
