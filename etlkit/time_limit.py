"""A limit to how long something may take on the wall, whatever code is running by then.

>>> with time_limit(0.01, lambda: TimeoutError("too long")):
...     while True: pass
Traceback (most recent call last):
TimeoutError: too long
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from etlkit.clock import wall_seconds


@contextlib.contextmanager
def time_limit(
    seconds: float, too_long: Callable[[], BaseException], on_expiry: Callable[[], object] = lambda: None
) -> Iterator[None]:
    """Raise `too_long()` inside the block when it runs longer than `seconds`, and call `on_expiry` first.

    The error also leaves a block that caught it. Works by SIGALRM, so only in the main thread of a process on Linux and
    macOS; elsewhere there is no limit. Inside another limit's block, the one that is over first ends the block.
    """
    if not (hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()):
        yield
        return
    if 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= seconds:  # that of an outer block comes first
        yield
        return
    expired = over = False

    def stop(_signum: int, _frame: FrameType | None) -> None:
        nonlocal expired
        if over:
            return  # the block had ended: what comes after it must not be cut off
        expired = True
        on_expiry()
        raise too_long()

    begin, handler = wall_seconds(), signal.signal(signal.SIGALRM, stop)
    # A limit of zero would switch the timer off instead of firing at once.
    outer, _ = signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-6))
    try:
        yield
    except Exception as error:
        # Compiled code may turn what the handler raised into an error of its own, as DuckDB does.
        if expired:
            raise too_long() from error
        raise
    else:
        if expired:  # the block caught it and went on to its end
            raise too_long()
    finally:
        over = True
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if outer:
            signal.setitimer(signal.ITIMER_REAL, max(outer - (wall_seconds() - begin), 1e-6))
