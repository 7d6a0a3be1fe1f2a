"""What happens while pipelines run, as frozen records, and the listeners that are told of it.

A listener is anything that watches and does not decide: the trace, a progress bar, metrics, Slack. `Listener` is a base
class of no-ops, and so the list of everything that can be heard. A listener that crashes is logged and harms nothing.

>>> class Print(Listener):
...     def on_task(self, event):
...         print(event)
>>> from datetime import datetime, timezone
>>> hub = Listeners([Print()])
>>> hub.on_task(TaskEvent(datetime(2013, 1, 2, tzinfo=timezone.utc), "weather", "r", "load", -1, 1, None, "scheduled"))
2013-01-02 00:00:00 weather.load: scheduled
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

log = logging.getLogger("etlkit.listeners")


class TaskEvent(NamedTuple):
    """A task instance went from state `old` to `new` at `at`; `reason` says why, where that is not plain."""

    at: datetime
    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    try_number: int
    old: str | None
    new: str | None
    reason: str = ""

    def __str__(self) -> str:
        task = self.task_id if self.map_index < 0 else f"{self.task_id}[{self.map_index}]"
        reason = f" ({self.reason})" if self.reason else ""
        return f"{clock_text(self.at)} {self.dag_id}.{task}: {self.new or 'no state'}{reason}"


class RunEvent(NamedTuple):
    """A run of a DAG was created (`old` is None) or went from state `old` to `new` at `at`."""

    at: datetime
    dag_id: str
    run_id: str
    old: str | None
    new: str
    reason: str = ""

    def __str__(self) -> str:
        reason = f" ({self.reason})" if self.reason else ""
        return f"{clock_text(self.at)} {self.dag_id} {self.run_id}: {self.new}{reason}"


def clock_text(instant: datetime) -> str:
    """An instant as people read it in a trace: UTC, to the second, and finer only when there is more to tell."""
    text = instant.strftime("%Y-%m-%d %H:%M:%S")
    return f"{text}.{instant.microsecond:06d}".rstrip("0") if instant.microsecond else text


class Listener:
    """Hears what happens; override what you want to hear. Each method is called after the change was committed."""

    def on_run(self, event: RunEvent) -> None:
        """A run was created, started or finished."""

    def on_task(self, event: TaskEvent) -> None:
        """A task instance changed its state."""

    def on_tick(self, at: datetime) -> None:
        """The scheduler finished one pass."""


class Listeners(Listener):
    """Tells several listeners; one that crashes is logged, and the others and the scheduler go on."""

    def __init__(self, listeners: Iterable[Listener] = ()) -> None:
        self.listeners = list(listeners)

    def __bool__(self) -> bool:
        return bool(self.listeners)

    def add(self, listener: Listener) -> None:
        """Tell `listener` too from now on."""
        self.listeners.append(listener)

    def on_run(self, event: RunEvent) -> None:
        self._tell("on_run", event)

    def on_task(self, event: TaskEvent) -> None:
        self._tell("on_task", event)

    def on_tick(self, at: datetime) -> None:
        self._tell("on_tick", at)

    def _tell(self, method: str, event: Any) -> None:
        for listener in self.listeners:
            try:
                getattr(listener, method)(event)
            except Exception:
                log.exception("listener %r failed on %s; it harms nothing else", listener, event)


class Trace(Listener):
    """Remembers every event in order, and prints them as a story."""

    def __init__(self) -> None:
        self.events: list[TaskEvent | RunEvent] = []

    def on_run(self, event: RunEvent) -> None:
        self.events.append(event)

    def on_task(self, event: TaskEvent) -> None:
        self.events.append(event)

    def __str__(self) -> str:
        return "\n".join(str(event) for event in self.events)

    __repr__ = __str__
