"""What the scheduler asks of an executor."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from etlkit.dag import DAG
from etlkit.runtime import Result, TaskRunner, Work


class Executor:
    """Runs attempts: `start`, then `submit`, `poll` and `wait` as often as needed, then `stop`.

    The scheduler marks a task instance queued and commits before it submits it. The executor says what became of it
    only by `poll`. An attempt whose process died is a `Result` that is `lost`: the scheduler has it made again.
    """

    in_process = False
    """Whether an attempt begins the moment it is submitted: then the scheduler's own transaction begins it."""

    detached = False
    """Whether attempts go on when the scheduler dies: then none is made again that the executor does not call lost."""

    folder: Path | None = None
    """A private folder, if attempts are made by other processes of this machine: for what they share with this one."""

    warehouse: Path | None = None
    """The DuckDB file that these processes open for tasks; None: that of [core] warehouse."""

    def accept(self, dag: DAG) -> None:
        """Make sure that the tasks of a DAG can be run; DagError, in one line, if they cannot."""

    def refresh(self) -> None:
        """What lies in no file may have changed: a notebook goes on with another cell."""

    @property
    def summary(self) -> str:
        """Where tasks run, in a few words; empty if that is this process."""
        return ""

    def start(self, runner: TaskRunner) -> None:
        """Get ready; `runner` runs attempts in this process, and says with which database, clock and logs."""

    def free_slots(self) -> int:
        """How many more attempts it takes now."""
        raise NotImplementedError

    def submit(self, work: Work) -> None:
        """Take one attempt; returns at once."""
        raise NotImplementedError

    def adopt(self, work: Work) -> None:
        """Look after an attempt that the database has as queued, or as running if `work.start` is set.

        One that is known changes nothing. What an earlier scheduler queued is submitted anew: should it be made all the
        same, then once. What it left running is lost, unless attempts are `detached`.
        """

    def poll(self) -> list[Result]:
        """The attempts that ended since the last poll; returns at once."""
        raise NotImplementedError

    def wait(self, seconds: float) -> bool:
        """Block until there may be something to poll, for at most so many wall seconds.

        False, at once, if nothing is in flight that could end while the clock stands still.
        """
        return self.in_flight > 0

    def next_event(self) -> datetime | None:
        """When an attempt will end by the scheduler's clock, if the executor itself decides that; None if it does not.

        Only simulated nodes know.
        """
        return None

    @property
    def in_flight(self) -> int:
        """How many attempts were submitted and have not been polled."""
        raise NotImplementedError

    def dags_in_flight(self) -> set[str]:
        """The ids of the DAGs whose attempts are in processes of this scheduler's own: no other can be given them."""
        return set()

    def forget(self) -> None:
        """Drop what was submitted and has not begun: after an interruption the scheduler submits it anew."""

    def stop(self, *, at_once: bool = False) -> None:
        """Finish what runs and let go of everything; `at_once` ends what runs in processes of this one's own."""
