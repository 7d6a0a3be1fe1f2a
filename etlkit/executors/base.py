"""What the scheduler asks of an executor."""

from __future__ import annotations

from etlkit.runtime import Result, TaskRunner, Work


class Executor:
    """Runs attempts: `start`, then `submit` and `poll` as often as needed, then `stop`.

    The scheduler marks a task instance queued and commits before it submits it. The executor says what became of it
    only by `poll`; a task instance that it never speaks of again is found when the scheduler starts anew.
    """

    in_process = False
    """Whether an attempt begins the moment it is submitted: then the scheduler's own transaction begins it."""

    def start(self, runner: TaskRunner) -> None:
        """Get ready; `runner` runs attempts in this process, and says with which database, clock and logs."""

    def free_slots(self) -> int:
        """How many more attempts it takes now."""
        raise NotImplementedError

    def submit(self, work: Work) -> None:
        """Take one attempt; returns at once."""
        raise NotImplementedError

    def poll(self) -> list[Result]:
        """The attempts that ended since the last poll."""
        raise NotImplementedError

    @property
    def in_flight(self) -> int:
        """How many attempts were submitted and have not been polled."""
        raise NotImplementedError

    def forget(self) -> None:
        """Drop what was submitted and has not begun: after an interruption the scheduler submits it anew."""

    def stop(self) -> None:
        """Finish what runs and let go of everything."""
