"""Ctrl-C that lets the task that is running come to its end."""

from __future__ import annotations

import signal
import threading
from typing import Any

import click

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopping:
    """`with Stopping() as stopping:` the first Ctrl-C (or SIGTERM) only sets `stopping.asked`; the next one interrupts.

    An attempt that is cut off counts as failed, so a person who wants to go on later lets it end.
    """

    def __init__(self, said: str = "stopping when the task that is running has ended; again to stop at once") -> None:
        self.asked, self._said = threading.Event(), said

    def __enter__(self) -> Stopping:
        self._before = {number: signal.signal(number, self._ask) for number in SIGNALS}
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._restore()

    def _ask(self, _number: int, _frame: Any) -> None:
        self.asked.set()
        self._restore()
        click.echo(self._said, err=True)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
