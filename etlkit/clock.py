"""Where time comes from.

Everything in etlkit that needs the time is handed a `Clock`. Two exist: `SystemClock` is the wall clock;
`SimulatedClock` stands still until it is told to jump, so that a month of scheduling takes milliseconds and always
gives the same answer. Only this module may ask the operating system for the time or wait: a lint rule keeps it so.

All instants are timezone-aware datetimes in UTC. Seconds measured on the wall are called `wall_seconds`, so that they
are never mixed up with simulated ones.

>>> from datetime import datetime, timedelta, timezone
>>> clock = SimulatedClock(datetime(2013, 1, 1, tzinfo=timezone.utc))
>>> clock.sleep_until(clock.now() + timedelta(days=31))    # returns at once
>>> clock.now().isoformat()
'2013-02-01T00:00:00+00:00'
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta


class Clock:
    """What a clock can do: tell the time, and wait for a later one."""

    def now(self) -> datetime:
        """The present instant, aware, in UTC."""
        raise NotImplementedError

    def sleep_until(self, instant: datetime, wake: threading.Event | None = None) -> None:
        """Return when it is `instant` or later, or sooner when another thread sets `wake`."""
        raise NotImplementedError

    def sleep(self, seconds: float) -> None:
        """Wait `seconds` of this clock's time: real ones on a `SystemClock`, none at all on a `SimulatedClock`."""
        self.sleep_until(self.now() + timedelta(seconds=seconds))


class SystemClock(Clock):
    """The computer's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def sleep_until(self, instant: datetime, wake: threading.Event | None = None) -> None:
        wake = wake or threading.Event()
        # Short naps: a laptop that was suspended, or whose clock was set, must not oversleep.
        while (left := (instant - self.now()).total_seconds()) > 0:
            if wake.wait(min(left, 60.0)):
                return


class SimulatedClock(Clock):
    """A clock that stands still until it jumps, and never goes back.

    `start` is an aware datetime. `sleep_until` is a jump: whoever owns the clock calls it only when nothing is
    runnable and nothing is in flight, so no moment at which something would have happened is passed over.
    """

    def __init__(self, start: datetime) -> None:
        if start.tzinfo is None:
            raise ValueError(f"SimulatedClock needs a start with a time zone, not {start!r}; add tzinfo=timezone.utc")
        self._now = start.astimezone(UTC)

    def now(self) -> datetime:
        return self._now

    def sleep_until(self, instant: datetime, wake: threading.Event | None = None) -> None:
        self._now = max(self._now, instant.astimezone(UTC))

    def jump(self, instant: datetime) -> None:
        """Set the time to `instant`; ValueError if that is in the past.

        >>> clock = SimulatedClock(datetime(2013, 1, 2, tzinfo=UTC))
        >>> clock.jump(datetime(2013, 1, 1, tzinfo=UTC))
        Traceback (most recent call last):
        ValueError: the clock shows 2013-01-02T00:00:00+00:00 and cannot go back to 2013-01-01T00:00:00+00:00
        """
        if instant < self._now:
            raise ValueError(f"the clock shows {self._now.isoformat()} and cannot go back to {instant.isoformat()}")
        self._now = instant.astimezone(UTC)

    def __repr__(self) -> str:
        return f"SimulatedClock({self._now.isoformat()})"


def wall_seconds() -> float:
    """Seconds on a clock that only measures differences, for durations that a person waits through."""
    return time.perf_counter()
