"""The outbox: messages wait here for the network, so that no task does.

`Outbox.post` takes a letter and returns at once. A thread sends what waits for one address, in order, and ends when
nothing does. An address that gives no answer, breaks (5xx) or asks for patience (429 with Retry-After) is asked again
after each of `PAUSES`. Then the letter is lost, and so is one that finds no room. Losses are counted, and the first of
a row is logged.

The pauses are real time, also for a task on a simulated clock: the world outside knows no other. When the process ends,
what waits has `LAST_WORDS` more seconds.

>>> box = Outbox("a friend")
>>> box.post(lambda: Answer(200))
True
>>> box.flush(5.0), box.delivered, box.lost
(0, 1, 0)
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from http.client import HTTPException
from typing import NamedTuple

from etlkit.clock import Clock, SystemClock, wall_seconds
from etlkit.masking import mask

log = logging.getLogger("etlkit.outbox")

PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds before each further try, where the address does not say how long to wait."""

ROOM = 100
"""How many letters may wait for one address."""

LAST_WORDS = 5.0
"""Seconds that the end of the process waits for letters to be sent."""


class Answer(NamedTuple):
    """What an address answered: an HTTP status, None if there was no answer; and when it wants to be asked again."""

    status: int | None
    text: str = ""
    retry_after: float | None = None

    @property
    def accepted(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def worth_another_try(self) -> bool:
        return self.status is None or self.status == 429 or self.status >= 500

    def __str__(self) -> str:
        what = "there was no answer:" if self.status is None else f"the answer was {self.status}"
        return " ".join(mask(f"{what} {self.text}").split())[:200]


Letter = Callable[[], Answer]
"""Sends one message and says what was answered; an OSError or HTTPException is no answer."""


class Outbox:
    """Letters on their way to one address; `name` is what the log calls it.

    `delivered` and `lost` are counts of letters; `room` is how many may wait. The clock measures the pauses.
    """

    def __init__(self, name: str, clock: Clock | None = None, room: int = ROOM) -> None:
        self.name, self.room, self.clock = name, room, clock or SystemClock()
        self.delivered = self.lost = 0
        self._lost_in_a_row = 0
        self._waiting: deque[Letter] = deque()
        self._changed = threading.Condition()
        self._sending = False

    def post(self, letter: Letter) -> bool:
        """Take a letter and return at once; False if there is no room, so that it is lost."""
        with self._changed:
            has_room = len(self._waiting) < self.room
            if has_room:
                if not self._sending:
                    threading.Thread(target=self._send_all, name=f"outbox for {self.name}", daemon=True).start()
                    self._sending = True
                self._waiting.append(letter)
        if not has_room:
            self._lose(f"{self.room} others wait already")
        return has_room

    @property
    def waiting(self) -> int:
        """How many letters are not yet delivered or lost."""
        return len(self._waiting)

    def flush(self, wall_seconds: float) -> int:
        """Return when no letter waits any more, or after so many seconds; how many still wait."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting, wall_seconds)
            return self.waiting

    def _send_all(self) -> None:
        """What the thread does."""
        while letter := self._next():
            try:
                answer = self._send(letter)
            except Exception as error:  # a letter that cannot be sent at all must not hold up those behind it
                answer = Answer(None, f"{type(error).__name__}: {error}")
            self._note(answer)
            with self._changed:
                self._waiting.popleft()
                self._changed.notify_all()

    def _next(self) -> Letter | None:
        """The letter that has waited longest; None ends the thread, and the next letter starts another."""
        with self._changed:
            self._sending = bool(self._waiting)
            return self._waiting[0] if self._waiting else None

    def _send(self, letter: Letter) -> Answer:
        """The last answer to a letter."""
        answer = ask(letter)
        for pause in PAUSES:
            if not answer.worth_another_try:
                break
            self.clock.sleep(pause if answer.retry_after is None else answer.retry_after)
            answer = ask(letter)
        return answer

    def _note(self, answer: Answer) -> None:
        if not answer.accepted:
            self._lose(str(answer))
            return
        with self._changed:
            self.delivered += 1
            lost, self._lost_in_a_row = self._lost_in_a_row, 0
        if lost:
            log.warning("%s takes messages again; lost meanwhile: %d", self.name, lost)

    def _lose(self, reason: str) -> None:
        with self._changed:
            self.lost += 1
            self._lost_in_a_row += 1
            is_first = self._lost_in_a_row == 1
        if is_first:
            log.warning("a message to %s was lost, and further ones are only counted: %s", self.name, reason)

    def close(self, wall_seconds: float) -> None:
        """Flush, and log what was lost beyond what the log says already."""
        left = self.flush(wall_seconds)
        if left or self._lost_in_a_row > 1:
            log.warning("messages to %s that were lost: %d, of them %d at the end", self.name, self.lost + left, left)


def ask(letter: Letter) -> Answer:
    """The answer to one try."""
    try:
        return letter()
    except (OSError, HTTPException) as error:
        return Answer(None, f"{type(error).__name__}: {getattr(error, 'reason', None) or error}")


_outboxes: dict[str, Outbox] = {}


def outbox_for(address: str, name: str) -> Outbox:
    """The process's outbox for an address, which is never shown: it may be a secret."""
    return _outboxes.setdefault(address, Outbox(name))


def flush(wall_seconds: float = LAST_WORDS) -> int:
    """Return when all letters of this process were sent or lost, or after so many seconds; how many still wait."""
    left = _remaining(wall_seconds)
    return sum(outbox.flush(left()) for outbox in list(_outboxes.values()))


def _remaining(seconds: float) -> Callable[[], float]:
    end = wall_seconds() + seconds
    return lambda: max(end - wall_seconds(), 0.0)


@atexit.register
def _close_all() -> None:
    left = _remaining(LAST_WORDS)
    for outbox in list(_outboxes.values()):
        outbox.close(left())


if hasattr(os, "register_at_fork"):  # a forked process has none of the threads, and its parent sends the letters
    os.register_at_fork(after_in_child=_outboxes.clear)
