"""Shows in the metadata database that an attempt is alive, while its task keeps the process busy.

The attempt itself runs in the main thread and knows nothing of this. When the database says that the attempt has lost
its task instance (somebody cleared it, or took its process for dead), going on would be work for nothing: the task is
interrupted, where the system can do that.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NamedTuple

from etlkit.clock import Clock, wall_seconds
from etlkit.dag import current_context
from etlkit.errors import AirflowTaskTerminated, MetadataError
from etlkit.runtime import Work
from etlkit.states import RUNNING
from etlkit.store import Store

log = logging.getLogger("etlkit.worker")

INTERRUPT = getattr(signal, "SIGUSR2", None)
"""The signal that interrupts a task; Windows has none."""


class _Beating(NamedTuple):
    """An attempt that is running, the clock it lives by, and when it began, in wall seconds."""

    work: Work
    clock: Clock
    began: float


class Heartbeat:
    """One thread that beats for the attempt that this process is at, every `seconds` on the wall.

    `open_store` makes it a connection of its own when an attempt first lasts that long. Use it in the main thread.
    """

    def __init__(self, open_store: Callable[[], Store], seconds: float) -> None:
        self._open_store, self.seconds = open_store, seconds
        self._store: Store | None = None
        self._attempt: _Beating | None = None
        self._lost: _Beating | None = None
        self._interrupted: _Beating | None = None
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._can_interrupt = INTERRUPT is not None and threading.current_thread() is threading.main_thread()
        if self._can_interrupt:
            signal.signal(INTERRUPT, self._interrupt)  # type: ignore[arg-type]

    @contextlib.contextmanager
    def of(self, work: Work, clock: Clock) -> Iterator[None]:
        """Beat for an attempt while the block lasts."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
            self._thread.start()
        self._attempt = _Beating(work, clock, wall_seconds())
        try:
            yield
        finally:
            self._attempt = None

    def stop(self) -> None:
        """End the thread, and close its connection."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        wait = self.seconds
        while not self._stopped.wait(wait):
            wait = self._look()
        self._close()

    def _look(self) -> float:
        """Beat if it is time to; the seconds until the next look."""
        attempt = self._attempt
        left = attempt.began + self.seconds - wall_seconds() if attempt else self.seconds
        if attempt is None or left > 0:
            return left
        if attempt is self._interrupted:
            return self.seconds
        try:
            self._store = self._store or self._open_store()
            held = self._store.beat(attempt.work.task_pk, attempt.work.token, attempt.clock.now())
            if not held and self._attempt is attempt and self._can_interrupt:
                self._lost = attempt
                os.kill(os.getpid(), INTERRUPT)  # type: ignore[arg-type]
        except MetadataError as error:
            log.warning("no heartbeat: %s", error)
            self._close()
        return self.seconds

    def _close(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        """In the main thread: end the task that is running there."""
        attempt, context = self._attempt, current_context.get()
        if attempt is not self._lost or attempt is None or context is None or context["ti"].state != RUNNING:
            return  # it has just ended by itself: its callbacks may still be at work, or the process at the next one
        self._lost, self._interrupted = None, attempt  # once: the next would hit what is made of the first
        context["task"].on_kill()
        raise AirflowTaskTerminated(
            f"{attempt.work.task.task_id} was interrupted: it was cleared, ended or taken over meanwhile"
        )
