"""The states of runs and task instances, and which may follow which.

Names are Airflow's. `TASK_TRANSITIONS` and `RUN_TRANSITIONS` are the whole truth: the store refuses a change that is
not in them, the picture in the notebook is drawn from them, and the tests walk through them one by one.

A task instance that is not decided yet has no state, which is written `None`.

>>> sorted(str(state) for state in TASK_TRANSITIONS[TaskInstanceState.UP_FOR_RETRY])
['None', 'failed', 'removed', 'scheduled', 'skipped']
>>> check_transition("load", TaskInstanceState.SUCCESS, TaskInstanceState.RUNNING)
Traceback (most recent call last):
etlkit.errors.StateError: task instance load cannot go from 'success' to 'running'
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from enum import StrEnum

from etlkit.errors import StateError


class TaskInstanceState(StrEnum):
    """What has become of one task in one run."""

    SCHEDULED = "scheduled"
    """Its rule is met; it waits for a slot."""
    QUEUED = "queued"
    """It has a slot and was given to the executor."""
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"
    SKIPPED = "skipped"
    UPSTREAM_FAILED = "upstream_failed"
    """Never started: its rule can no longer be met because something upstream failed."""
    UP_FOR_RETRY = "up_for_retry"
    """Failed, and will be tried again when its retry delay is over."""
    UP_FOR_RESCHEDULE = "up_for_reschedule"
    """A sensor that gave its slot back until its next poke."""
    REMOVED = "removed"
    """Its task is no longer in the DAG."""


class DagRunState(StrEnum):
    """What has become of one run of a DAG."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"


class DagRunType(StrEnum):
    """Why a run exists; the first part of its run_id."""

    SCHEDULED = "scheduled"
    MANUAL = "manual"
    BACKFILL = "backfill"
    ASSET_TRIGGERED = "asset_triggered"

    def run_id(self, suffix: str) -> str:
        """Airflow's form of a run id: `<type>__<run_after>`."""
        return f"{self.value}__{suffix}"


S = TaskInstanceState

FINISHED: frozenset[TaskInstanceState] = frozenset({S.SUCCESS, S.FAILED, S.SKIPPED, S.UPSTREAM_FAILED, S.REMOVED})
"""States from which only a `clear` leads away."""

ACTIVE: frozenset[TaskInstanceState] = frozenset({S.QUEUED, S.RUNNING})
"""States that hold a slot."""

TASK_TRANSITIONS: Mapping[TaskInstanceState | None, frozenset[TaskInstanceState | None]] = {
    None: frozenset({S.SCHEDULED, S.SKIPPED, S.UPSTREAM_FAILED, S.FAILED, S.REMOVED}),
    S.SCHEDULED: frozenset({S.QUEUED, S.SKIPPED, S.FAILED, S.REMOVED, None}),
    # Back to scheduled: its executor was lost before it began.
    S.QUEUED: frozenset({S.RUNNING, S.SCHEDULED, S.SKIPPED, S.FAILED, S.REMOVED, None}),
    # Back to scheduled: its process was lost and the attempt is made again. To None: cleared while it ran.
    S.RUNNING: frozenset(
        {S.SUCCESS, S.FAILED, S.SKIPPED, S.UP_FOR_RETRY, S.UP_FOR_RESCHEDULE, S.SCHEDULED, S.REMOVED, None}
    ),
    S.UP_FOR_RETRY: frozenset({S.SCHEDULED, S.SKIPPED, S.FAILED, S.REMOVED, None}),
    S.UP_FOR_RESCHEDULE: frozenset({S.SCHEDULED, S.SKIPPED, S.FAILED, S.REMOVED, None}),
    # Finished: a clear makes them undecided again.
    S.SUCCESS: frozenset({None}),
    S.FAILED: frozenset({None}),
    S.SKIPPED: frozenset({None}),
    S.UPSTREAM_FAILED: frozenset({None}),
    S.REMOVED: frozenset({None}),
}

# The same names as plain strings: what is written in the database, and what the scheduler's inner loops compare.
SCHEDULED, QUEUED, RUNNING, SUCCESS, FAILED, SKIPPED, UPSTREAM_FAILED, UP_FOR_RETRY, UP_FOR_RESCHEDULE, REMOVED = (
    state.value for state in TaskInstanceState
)

R = DagRunState

RUN_TRANSITIONS: Mapping[DagRunState, frozenset[DagRunState]] = {
    R.QUEUED: frozenset({R.RUNNING, R.FAILED}),
    R.RUNNING: frozenset({R.SUCCESS, R.FAILED, R.QUEUED}),
    R.SUCCESS: frozenset({R.QUEUED}),
    R.FAILED: frozenset({R.QUEUED}),
}


def check_transition(what: object, old: str | None, new: str | None) -> None:
    """Raise StateError unless `TASK_TRANSITIONS` lets the task instance `what` go from `old` to `new`."""
    if new not in TASK_TRANSITIONS[old]:  # type: ignore[index]
        raise StateError(f"task instance {what}", old, new)


_legal_paths: set[tuple[str | None, ...]] = set()


def check_path(what: object, path: tuple[str | None, ...]) -> None:
    """Raise StateError unless every step of `path` is allowed; legal paths are few and remembered."""
    if path not in _legal_paths:
        for old, new in itertools.pairwise(path):
            check_transition(what, old, new)
        _legal_paths.add(path)


def sources_of(new: TaskInstanceState | None) -> tuple[TaskInstanceState | None, ...]:
    """The states from which a task instance may become `new`: the WHERE of the store's UPDATE.

    >>> [str(s) for s in sources_of(TaskInstanceState.SUCCESS)]
    ['running']
    """
    return tuple(old for old, allowed in TASK_TRANSITIONS.items() if new in allowed)
