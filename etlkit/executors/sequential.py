"""One task at a time, in this process: for lessons, tests and debugging."""

from __future__ import annotations

from collections import deque

from etlkit.executors.base import Executor
from etlkit.runtime import Result, TaskRunner, Work


class SequentialExecutor(Executor):
    """Runs each attempt inside `poll`, one per call; its one slot makes priorities visible."""

    in_process = True

    def __init__(self) -> None:
        self._queue: deque[Work] = deque()

    def start(self, runner: TaskRunner) -> None:
        self._runner = runner

    def free_slots(self) -> int:
        return 1 - len(self._queue)

    def submit(self, work: Work) -> None:
        self._queue.append(work)

    def poll(self) -> list[Result]:
        return [self._runner.carry_out(self._queue.popleft())] if self._queue else []

    @property
    def in_flight(self) -> int:
        return len(self._queue)

    def forget(self) -> None:
        self._queue.clear()
