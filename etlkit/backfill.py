"""Backfills: running a DAG for dates that have passed, with the same code that loads the future.

A backfill is planned first and made after. `plan_backfill` is pure: it says for every logical date in a range what
would happen, and the plan prints in words. `create_backfill` makes it so, in one transaction. From then on the runs are
the scheduler's: it starts them in the order of the plan, at most `max_active_runs` at once, and marks the backfill
complete after the last one. All of it is in the database: a scheduler that starts anew goes on where the last one
stopped.

>>> from datetime import UTC
>>> from etlkit.dag import DAG, BaseOperator
>>> with DAG("weather", schedule="@daily", start_date=datetime(2013, 1, 1, tzinfo=UTC)) as dag:
...     _ = BaseOperator("load")
>>> now = datetime(2013, 2, 1, 12, tzinfo=UTC)
>>> print(plan_backfill(dag, datetime(2013, 1, 1, tzinfo=UTC), datetime(2013, 1, 3, tzinfo=UTC), now=now))
Backfill of 'weather': logical dates 2013-01-01 00:00:00 to 2013-01-03 00:00:00, both included, oldest first
  create  2013-01-01 00:00:00 to 2013-01-03 00:00:00 (3 runs)
3 to create, 0 to run again, 0 left alone

What happens to a logical date depends on the run it has already, and on `reprocess`:

==================  ==================  ==================  ==================
the run there is    none                failed              completed
==================  ==================  ==================  ==================
(no run)            create              create              create
failed              skip                rerun               rerun
success             skip                skip                rerun
queued, running     skip (in flight)    skip (in flight)    skip (in flight)
==================  ==================  ==================  ==================

So a backfill that is repeated does only what is missing. The DAG's own start and end dates and its catch-up do not
matter here, and neither does its being paused: somebody asked for these runs.

Source: `airflow backfill create` of Airflow 3.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from etlkit.dag import DAG
from etlkit.errors import BackfillError, DagError, ParamValidationError, TimetableError
from etlkit.events import clock_text
from etlkit.runs import check_run_params, insert_run
from etlkit.showing import as_html
from etlkit.states import DagRunState, DagRunType
from etlkit.store import BackfillRow, RunRow, Store
from etlkit.timetables import DagRunInfo, as_utc

RERUN_STATES: Mapping[str | None, frozenset[str]] = {
    "none": frozenset(),
    "failed": frozenset({DagRunState.FAILED}),
    "completed": frozenset({DagRunState.FAILED, DagRunState.SUCCESS}),
    None: frozenset(),
}
"""Which finished runs each `reprocess` runs again; None is Airflow's "not said", and re-runs nothing."""

ALREADY_EXISTS, IN_FLIGHT = "already exists", "in flight"


class Action(StrEnum):
    """What a backfill does with one logical date."""

    CREATE = "create"
    RERUN = "rerun"
    SKIP = "skip"


class PlannedRun(NamedTuple):
    """One logical date of a plan: its place from 1 on, the run the timetable wants, and what is done about it."""

    sort_ordinal: int
    info: DagRunInfo
    action: Action
    reason: str | None = None
    """Why it is skipped: "already exists" or "in flight"."""
    run: RunRow | None = None
    """The run that is there already."""

    @property
    def logical_date(self) -> datetime:
        return self.info.logical_date


@dataclass(frozen=True)
class BackfillPlan:
    """What a backfill would do, date by date in the order in which the runs would start; print it to read it."""

    dag_id: str
    schedule: str
    from_date: datetime
    to_date: datetime
    reprocess: str | None
    reverse: bool
    items: tuple[PlannedRun, ...] = ()

    @property
    def dates(self) -> list[datetime]:
        """The logical dates that would run: Airflow's dry run.

        For `reprocess=None` Airflow lists the finished runs too, although it then leaves them alone; so does this.
        """
        left_alone = {IN_FLIGHT} if self.reprocess is None else {IN_FLIGHT, ALREADY_EXISTS}
        return [item.logical_date for item in self.items if item.reason not in left_alone]

    def count(self, action: Action) -> int:
        """How many logical dates get `action`."""
        return sum(item.action == action for item in self.items)

    @property
    def nothing_to_do(self) -> bool:
        """Whether every date is left alone."""
        return self.count(Action.SKIP) == len(self.items)

    def against(self, existing: Iterable[RunRow]) -> BackfillPlan:
        """The same dates, decided anew against the runs that there are now."""
        runs = {run.logical_date: run for run in existing if run.dag_id == self.dag_id}
        items = (decided(i.sort_ordinal, i.info, runs.get(i.logical_date), self.reprocess) for i in self.items)
        return replace(self, items=tuple(items))

    def __str__(self) -> str:
        order = "newest first" if self.reverse else "oldest first"
        between = f"{clock_text(self.from_date)} to {clock_text(self.to_date)}"
        head = f"Backfill of {self.dag_id!r}: logical dates {between}, both included, {order}"
        lines = (f"  {action:6}  {dates}{f': {reason}' if reason else ''}" for action, dates, reason in self._groups)
        return "\n".join([head, *lines, self.summary])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head, *_ = str(self).split("\n", 1)
        return as_html(f"{head}\n{self.summary}", [("what is done", "logical dates", "why"), *self._groups])

    @property
    def _groups(self) -> list[tuple[str, str, str]]:
        """Neighbours to which the same thing happens: what, to which dates, and why."""
        groups = itertools.groupby(self.items, key=lambda item: (item.action, item.reason))
        return [(str(action), _dates_text(list(group)), reason or "") for (action, reason), group in groups]

    @property
    def summary(self) -> str:
        """How many runs it makes, in one line, or why it makes none."""
        if not self.items:
            return f"no runs: the schedule {self.schedule!r} has no logical date in this range whose interval is over"
        create, rerun, skip = (self.count(action) for action in Action)
        if self.nothing_to_do:
            again = "" if self.reprocess == "completed" else "; reprocess='completed' would run the finished ones again"
            return f"nothing to do: all {skip} runs are there already{again}"
        return f"{create} to create, {rerun} to run again, {skip} left alone"


def _dates_text(group: list[PlannedRun]) -> str:
    """The logical dates of neighbours of a plan: the first, the last, and how many."""
    first, last = clock_text(group[0].logical_date), clock_text(group[-1].logical_date)
    return f"{first} to {last} ({len(group)} runs)" if len(group) > 1 else first


def plan_backfill(
    dag: DAG,
    from_date: datetime,
    to_date: datetime,
    *,
    reprocess: str | None = "none",
    reverse: bool = False,
    existing: Iterable[RunRow] = (),
    now: datetime,
) -> BackfillPlan:
    """What a backfill of the logical dates from `from_date` to `to_date`, both included, would do.

    Only runs whose data interval is over before `now` count. `existing` are the runs there are (`store.runs(dag_id)`).
    `reverse` puts the newest first. BackfillError, with the next step, if this DAG or range cannot be backfilled.
    """
    first, last, now = (_instant(*pair) for pair in (("from_date", from_date), ("to_date", to_date), ("now", now)))
    _check(dag, first, last, reprocess, reverse, now)
    # An interval that is over began before now, so there is no need to walk on to a far end of the range.
    infos = dag.timetable.iter_dagrun_infos_between(first, min(last, now))
    past = [info for info in infos if info.data_interval.end < now]
    if reverse:
        past.reverse()
    items = tuple(PlannedRun(place, info, Action.CREATE) for place, info in enumerate(past, start=1))
    return BackfillPlan(dag.dag_id, dag.timetable.summary, first, last, reprocess, reverse, items).against(existing)


def decided(sort_ordinal: int, info: DagRunInfo, run: RunRow | None, reprocess: str | None) -> PlannedRun:
    """What happens to one logical date whose run, if it has one, is `run`: the table at the top of this module."""
    if run is None:
        return PlannedRun(sort_ordinal, info, Action.CREATE)
    if run.state in RERUN_STATES[reprocess]:
        return PlannedRun(sort_ordinal, info, Action.RERUN, run=run)
    finished = run.state in (DagRunState.SUCCESS, DagRunState.FAILED)
    return PlannedRun(sort_ordinal, info, Action.SKIP, ALREADY_EXISTS if finished else IN_FLIGHT, run)


def _instant(name: str, value: datetime) -> datetime:
    try:
        return as_utc(value, name)
    except TimetableError as error:
        raise BackfillError(f"backfill: {error}") from None


def _check(dag: DAG, first: datetime, last: datetime, reprocess: str | None, reverse: bool, now: datetime) -> None:
    """Raise BackfillError for the first thing that is wrong, in Airflow's order."""
    waits = next((task.task_id for task in dag.tasks if task.depends_on_past), "")
    allowed = dag.allowed_run_types
    refusals = (
        (
            reprocess not in RERUN_STATES,
            f"reprocess is {reprocess!r}; use 'none' (only missing runs), 'failed' or 'completed'",
        ),
        (
            not dag.timetable.periodic,
            f"its schedule {dag.timetable.summary} names no dates to go back to; trigger it, or give it a cron",
        ),
        (
            allowed is not None and DagRunType.BACKFILL not in allowed,
            f"it allows only runs of type {', '.join(sorted(allowed or ()))}; add 'backfill' to its allowed_run_types",
        ),
        (
            first > last,
            f"from_date {clock_text(first)} is after to_date {clock_text(last)}; exchange them (newest first: reverse)",
        ),
        (
            first >= now,
            f"all dates from {clock_text(first)} on are in the future (it is {clock_text(now)}); choose past ones",
        ),
        (
            bool(waits) and reverse,
            f"task {waits!r} has depends_on_past and needs the run before it first; leave out reverse",
        ),
        (
            bool(waits) and reprocess in (None, "none"),
            f"task {waits!r} has depends_on_past and would wait for ever after a failed run; "
            "use reprocess='failed' or 'completed'",
        ),
    )
    for refused, reason in refusals:
        if refused:
            raise BackfillError(f"DAG {dag.dag_id!r} cannot be backfilled: {reason}")


# --- doing it ---------------------------------------------------------------------------------------------------------


def create_backfill(
    store: Store,
    dag: DAG,
    plan: BackfillPlan,
    *,
    max_active_runs: int = 10,
    conf: Mapping[str, Any] | None = None,
    now: datetime,
) -> int:
    """Make the runs of a plan, for the scheduler to start; returns the number of the backfill.

    Whole or not at all, in one transaction. The dates are those of the plan; what is done with each is decided anew, so
    that a run made since the plan was printed is not made twice. A run that is run again has all its tasks cleared,
    becomes a backfill run, and gets `conf` if one is given. A backfill with nothing to do is complete at once.

    BackfillError if the plan has no dates or is of another DAG, if a backfill of the DAG is not complete yet, or if
    `max_active_runs` or `conf` cannot be.
    """
    _check_request(dag, plan, max_active_runs, conf)
    with store.transaction():
        store.alone(f"backfills of {dag.dag_id}")
        for other in store.open_backfills(dag.dag_id):
            raise BackfillError(
                f"DAG {dag.dag_id!r} has a backfill that is not complete, number {other.id}; wait for it, or cancel it"
            )
        plan = plan.against(store.runs(dag.dag_id))
        backfill_id = store.create_backfill(
            dag.dag_id, plan.from_date, plan.to_date, plan.reprocess or "none", max_active_runs, now
        )
        rows = [_carry_out(store, dag, item, backfill_id, conf, now) for item in plan.items]
        store.add_to_backfill(backfill_id, rows)
        if plan.nothing_to_do:
            store.complete_backfill(backfill_id, now)
        store.touched()
    return backfill_id


def _check_request(dag: DAG, plan: BackfillPlan, max_active_runs: int, conf: Mapping[str, Any] | None) -> None:
    if plan.dag_id != dag.dag_id:
        raise BackfillError(f"this is a plan for DAG {plan.dag_id!r}; make one for {dag.dag_id!r} with plan_backfill")
    if not plan.items:
        raise BackfillError(f"DAG {dag.dag_id!r} cannot be backfilled: {plan.summary}; choose another range")
    if not isinstance(max_active_runs, int) or isinstance(max_active_runs, bool) or max_active_runs < 1:
        raise BackfillError(
            f"a backfill's max_active_runs must be a whole number of 1 or more, not {max_active_runs!r}"
        )
    try:
        check_run_params(dag, conf)
    except (DagError, ParamValidationError) as error:
        raise BackfillError(str(error)) from None


def _carry_out(
    store: Store, dag: DAG, item: PlannedRun, backfill_id: int, conf: Mapping[str, Any] | None, now: datetime
) -> dict[str, Any]:
    """Do what the plan says for one date; the row that records it."""
    run_pk = None
    if item.action == Action.CREATE:
        run_pk = _create_run(store, dag, item.info, backfill_id, conf, now).id
    elif item.run is not None and item.action == Action.RERUN:
        run_pk = item.run.id
        tasks = store.task_instances(run_pk)
        retries = {task_id: task.retries for task_id, task in dag.task_dict.items()}
        store.clear([(task.id, retries.get(task.task_id, 0)) for task in tasks], now)
        store.set_run_state(run_pk, item.run.state, DagRunState.QUEUED, now)
        store.adopt_run(run_pk, backfill_id, conf)
    return {
        "dag_run_id": run_pk,
        "logical_date": item.logical_date,
        "action": item.action.value,
        "reason": item.reason,
        "sort_ordinal": item.sort_ordinal,
    }


def _create_run(
    store: Store, dag: DAG, info: DagRunInfo, backfill_id: int, conf: Mapping[str, Any] | None, now: datetime
) -> RunRow:
    plain = DagRunType.BACKFILL.run_id(info.run_after.isoformat())
    # A DAG whose schedule was changed may have used the plain name for a run of another logical date.
    for run_id in (plain, f"{plain}__{backfill_id}"):
        run = insert_run(
            store,
            dag,
            DagRunType.BACKFILL,
            logical_date=info.logical_date,
            data_interval=info.data_interval,
            run_after=info.run_after,
            now=now,
            conf=conf,
            run_id=run_id,
            backfill_id=backfill_id,
        )
        if run is not None:
            return run
    raise BackfillError(f"DAG {dag.dag_id!r} already has runs called {plain} and {run_id}; nothing was created")


# --- while it runs ----------------------------------------------------------------------------------------------------


class BackfillProgress(NamedTuple):
    """How many runs of a backfill are in each state; dates that it left alone do not count.

    >>> print(BackfillProgress(queued=3, running=1, success=2))
    2 of 6 runs finished (2 success), 1 running, 3 queued
    """

    queued: int = 0
    running: int = 0
    success: int = 0
    failed: int = 0

    @property
    def done(self) -> int:
        """How many runs are finished."""
        return self.success + self.failed

    @property
    def total(self) -> int:
        """How many runs there are."""
        return sum(self)

    def __str__(self) -> str:
        ended = ", ".join(f"{getattr(self, s)} {s}" for s in ("success", "failed") if getattr(self, s))
        open_ = "".join(f", {getattr(self, s)} {s}" for s in ("running", "queued") if getattr(self, s))
        return f"{self.done} of {self.total} runs finished" + (f" ({ended})" if ended else "") + open_


def backfill_progress(store: Store, backfill_id: int) -> BackfillProgress:
    """How far a backfill is; BackfillError if there is none of this number."""
    _existing(store, backfill_id)
    return BackfillProgress(**store.backfill_states(backfill_id))


def pause_backfill(store: Store, backfill_id: int, paused: bool = True) -> None:
    """Start no more runs of a backfill, or go on with `paused=False`; what runs goes on.

    BackfillError if there is none of this number, or it is complete.
    """
    with store.transaction():
        _not_complete(store, backfill_id)
        store.set_backfill_paused(backfill_id, paused)


def cancel_backfill(store: Store, backfill_id: int, *, now: datetime) -> list[RunRow]:
    """Give a backfill up: its queued runs fail without having run, those that run go on; returns the failed ones.

    Their tasks keep having no state. The backfill is complete then; one with `reprocess="failed"` takes it up again.
    BackfillError if there is none of this number, or it is complete.
    """
    with store.transaction():
        _not_complete(store, backfill_id)
        queued = store.runs(backfill_id=backfill_id, states=[DagRunState.QUEUED])
        for run in queued:
            store.set_run_state(run.id, DagRunState.QUEUED, DagRunState.FAILED, now)
        store.complete_backfill(backfill_id, now)
        store.touched()
    return queued


def _existing(store: Store, backfill_id: int) -> BackfillRow:
    found = store.backfill(backfill_id)
    if found is None:
        known = ", ".join(str(backfill.id) for backfill in store.backfills()[-5:])
        raise BackfillError(f"there is no backfill {backfill_id}; the latest are: {known or 'none'}")
    return found


def _not_complete(store: Store, backfill_id: int) -> BackfillRow:
    found = _existing(store, backfill_id)
    if found.completed_at is not None:
        raise BackfillError(
            f"backfill {backfill_id} of DAG {found.dag_id!r} is complete since {clock_text(found.completed_at)}; "
            "to run dates again, make another one"
        )
    return found
