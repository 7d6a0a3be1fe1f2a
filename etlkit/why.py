"""Why not? What keeps a DAG, a run or a task from going on, in words.

`why` asks the database and the DAG, changes nothing, and answers with a list of `Blocker`: what kind it is, the
sentence for a person, and the instant at which it ends by itself, if there is one. Something that is not finished
always has an answer. The questions are the scheduler's own: rules come from `etlkit.frontier`, the past from
`etlkit.past`, schedules from the timetable.

>>> from datetime import UTC, datetime
>>> from etlkit.dag import DAG, BaseOperator
>>> with DAG("weather", schedule="@daily", start_date=datetime(2013, 1, 1, tzinfo=UTC)) as dag:
...     _ = BaseOperator("load")
>>> print(why(Store("sqlite://"), dag, now=datetime(2013, 1, 1, 18, tzinfo=UTC)))
weather:
- the data interval 2013-01-01 00:00:00 to 2013-01-02 00:00:00 is not over; its run starts when it is

What there is to wait for is the tables below: `NEXT_RUN` for a run that does not exist yet, `QUEUED_RUN` for one that
does not start, `TASK` for a task instance in each state. Each entry is a function of what is known that returns a
Blocker or None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from etlkit.asset_events import missing_assets
from etlkit.assets import AssetTriggeredTimetable, BaseAsset
from etlkit.config import conf
from etlkit.dag import DAG, BaseOperator
from etlkit.errors import DagError, DagNotFound, nearest
from etlkit.events import clock_text
from etlkit.frontier import Frontier, TaskIndex
from etlkit.masking import one_line
from etlkit.past import past_blocks
from etlkit.rules import TRIGGER_RULES, WAIT
from etlkit.showing import as_html
from etlkit.states import (
    FAILED,
    FINISHED,
    QUEUED,
    REMOVED,
    RUNNING,
    SCHEDULED,
    SKIPPED,
    SUCCESS,
    UP_FOR_RESCHEDULE,
    UP_FOR_RETRY,
    UPSTREAM_FAILED,
)
from etlkit.store import LOST, BackfillRow, RunRow, SlotHolder, Store, TaskRow
from etlkit.timetables import DagRunInfo, DataInterval, TimeRestriction, as_utc

MOST_TASKS, MOST_RUNS, MOST_NAMES = 10, 3, 3
"""How many waiting tasks an answer about a run tells of, how many running runs one about a DAG; names in a sentence."""


class Blocker(NamedTuple):
    """One thing that is waited for: its kind, the sentence that says it, and when it ends by itself (None: unknown)."""

    kind: str
    text: str
    until: datetime | None = None

    def __str__(self) -> str:
        return self.text


class Why(list[Blocker]):
    """The blockers of `subject`, most telling first; printed one a line."""

    def __init__(self, subject: str, blockers: Iterable[Blocker]) -> None:
        super().__init__(blockers)
        self.subject = subject

    @property
    def kinds(self) -> list[str]:
        """The kind of each blocker."""
        return [blocker.kind for blocker in self]

    @property
    def until(self) -> datetime | None:
        """The first instant at which one of them ends by itself."""
        return min((blocker.until for blocker in self if blocker.until is not None), default=None)

    def __str__(self) -> str:
        return "\n".join([f"{self.subject}:", *(f"- {blocker}" for blocker in self)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        untils = [f"{clock_text(blocker.until)} UTC" if blocker.until else "" for blocker in self]
        rows = zip(map(str, self), untils, strict=True)
        return as_html(self.subject, [("what is waited for", "ends by itself"), *rows])


def why(
    store: Store,
    dag: DAG | str,
    *,
    task_id: str | None = None,
    run_id: str | None = None,
    map_index: int = -1,
    now: datetime,
    scheduler_running: bool | None = None,
    parallelism: int | None = None,
) -> Why:
    """What keeps a DAG's next run, a run (`run_id`), or a task (`task_id`) of it from going on.

    A task without a run means the one in the DAG's first open run. `dag` is a DAG, or the id of one that is in the
    database but not loaded. `scheduler_running` is False if the caller knows that no scheduler is alive; `parallelism`
    is that scheduler's, by default [core] parallelism.

    DagNotFound, TaskNotFound or DagError, with the nearest name, for an id that there is not.
    """
    if isinstance(dag, str):
        return Why(dag, [_not_loaded(store, dag)])
    about = AboutDag(store, dag, now, parallelism)
    run = about.run(run_id) if run_id is not None else about.run_of(task_id) if task_id is not None else None
    if task_id is None:
        answer = Why(run.name, run_blockers(run)) if run else Why(dag.dag_id, dag_blockers(about))
    elif run is None:
        answer = Why(f"{dag.dag_id}.{dag.get_task(task_id).task_id}", [no_run(about), *next_run_blockers(about)])
    else:
        task = run.task(task_id, map_index)
        answer = Why(task.name, task_blockers(task))
    if scheduler_running is False and FINISHED.isdisjoint(answer.kinds):
        answer.insert(0, Blocker("scheduler", "no scheduler is running, and nothing happens without one; start it"))
    return answer


def _not_loaded(store: Store, dag_id: str) -> Blocker:
    known = store.paused()
    if dag_id not in known:
        raise DagNotFound(dag_id, list(known))
    return Blocker(
        "not_loaded", f"no DAG file that loads has {dag_id!r}; look for an import error, or a file that is gone"
    )


# --- what is known ----------------------------------------------------------------------------------------------------


class AboutDag:
    """What the database knows of a DAG, each thing read when it is first needed."""

    timetable_error = ""
    """What its timetable failed with, once it has."""

    def __init__(self, store: Store, dag: DAG, now: datetime, parallelism: int | None = None) -> None:
        self.store, self.dag, self.now = store, dag, now
        self.parallelism = conf.get("core", "parallelism") if parallelism is None else parallelism

    @cached_property
    def paused(self) -> bool:
        return self.store.paused().get(self.dag.dag_id, False)

    @cached_property
    def backfills(self) -> dict[int | None, BackfillRow]:
        """The DAG's backfills that are not complete."""
        return {backfill.id: backfill for backfill in self.store.open_backfills(self.dag.dag_id)}

    @cached_property
    def open_runs(self) -> list[RunRow]:
        """Its queued and running runs, in the order in which they may start."""
        return [run for run in self.store.open_runs() if run.dag_id == self.dag.dag_id]

    def queue(self, backfill_id: int | None) -> list[RunRow]:
        """The open runs that share a limit: those of an open backfill, or (None) all the others."""
        of_backfill = {run.id: run.backfill_id for run in self.open_runs if run.backfill_id in self.backfills}
        return [run for run in self.open_runs if of_backfill.get(run.id) == backfill_id]

    @cached_property
    def index(self) -> TaskIndex:
        return TaskIndex(self.dag)

    @cached_property
    def slot_holders(self) -> list[SlotHolder]:
        """The task instances of all DAGs that are queued or running."""
        return self.store.slot_holders()

    @cached_property
    def last_run(self) -> RunRow | None:
        """The schedule's latest run."""
        return self.store.last_scheduled_run(self.dag.dag_id)

    @cached_property
    def next_run(self) -> DagRunInfo | None:
        """The next run that the schedule makes."""
        return next(self.coming_runs(self.dag.restriction(self.now)), None)

    @property
    def has_dates(self) -> bool:
        """Whether its schedule makes runs by time."""
        timetable = self.dag.timetable
        return timetable.can_be_scheduled and not isinstance(timetable, AssetTriggeredTimetable)

    @cached_property
    def missing_assets(self) -> BaseAsset | None:
        """What still needs new events for the next run, if it is scheduled on assets."""
        return missing_assets(self.store, self.dag)

    @property
    def ended(self) -> bool:
        """Whether there would be a next run if it were not for the end_date."""
        unending = self.dag.restriction(self.now)._replace(latest=None)
        return self.next_run is None and next(self.coming_runs(unending), None) is not None

    def coming_runs(self, restriction: TimeRestriction) -> Iterator[DagRunInfo]:
        """What the timetable places after the last run; a date that has a run already is passed over."""
        last = self.last_interval
        while info := self._next_after(last, restriction):
            if info.data_interval == last or not self.store.run_at(self.dag.dag_id, info.logical_date):
                yield info
            last = info.data_interval

    def _next_after(self, last: DataInterval | None, restriction: TimeRestriction) -> DagRunInfo | None:
        try:
            return self.dag.timetable.next_dagrun_info(last_automated_data_interval=last, restriction=restriction)
        except Exception as error:  # a person's own may fail; the scheduler leaves its DAG out
            self.timetable_error = one_line(error)
            return None

    @property
    def last_interval(self) -> DataInterval | None:
        return self.last_run.data_interval if self.last_run else None

    @property
    def next_due(self) -> datetime | None:
        """When the scheduler makes the next run, if nothing else holds it."""
        due = self.next_run and self.next_run.run_after
        ended = self.last_run and self.last_run.end_date
        if due and ended and self.dag.timetable.starts_at_once:
            return max(due, ended + timedelta(seconds=conf.get("scheduler", "scheduler_idle_sleep_time")))
        return due

    def run(self, run_id: str) -> AboutRun:
        """What is known of one run; DagError if there is none."""
        row = self.store.run(self.dag.dag_id, run_id)
        if row is None:
            known = [run.run_id for run in self.store.runs(self.dag.dag_id)]
            hint = nearest(run_id, known) or f"; the latest is {known[-1]!r}" if known else "; it has no runs yet"
            raise DagError(f"DAG {self.dag.dag_id!r} has no run {run_id!r}{hint}")
        return AboutRun(self, row)

    def run_of(self, task_id: str) -> AboutRun | None:
        """The first open run in which the task is not finished; else the first open run."""
        runs = [AboutRun(self, row) for row in self.open_runs[:MOST_TASKS]]
        waiting = (run for run in runs if any(t.task_id == task_id and t.state not in FINISHED for t in run.rows))
        return next(waiting, runs[0] if runs else None)


class AboutRun:
    """What the database knows of one run of a DAG."""

    def __init__(self, about: AboutDag, row: RunRow) -> None:
        self.about, self.row, self.dag, self.now = about, row, about.dag, about.now
        self.name = f"{row.dag_id} {row.run_id}"

    @property
    def backfill(self) -> BackfillRow | None:
        """The backfill that decides when it starts."""
        return self.about.backfills.get(self.row.backfill_id)

    @cached_property
    def held_by_pause(self) -> bool:
        """Whether its DAG is paused and it minds: the runs of a backfill do not, once they have started."""
        asked_for = self.backfill is not None or (self.row.backfill_id is not None and self.row.state == RUNNING)
        return self.about.paused and not asked_for

    @cached_property
    def rows(self) -> list[TaskRow]:
        return self.about.store.task_instances(self.row.id)

    @cached_property
    def _placed(self) -> tuple[Frontier, dict[int, TaskRow]]:
        return Frontier.of(self.about.index, [row for row in self.rows if row.task_id in self.dag.task_dict])

    @property
    def frontier(self) -> Frontier:
        """The states over the graph."""
        return self._placed[0]

    @property
    def placed(self) -> dict[int, TaskRow]:
        """The task instances by their positions in the frontier."""
        return self._placed[1]

    @property
    def timed_out(self) -> bool:
        """Whether it ended because its `dagrun_timeout` passed."""
        row, limit = self.row, self.dag.dagrun_timeout
        ended = row.state == FAILED and row.start_date and row.end_date
        return bool(limit is not None and ended and row.end_date - row.start_date >= limit)  # type: ignore[operator]

    def task(self, task_id: str, map_index: int = -1) -> AboutTask:
        """What is known of one task of it; of a mapped one, the first instance that waits unless told which.

        TaskNotFound if neither the DAG nor the run has the task, DagError if it has no such instance.
        """
        rows = {row.map_index: row for row in self.rows if row.task_id == task_id}
        if not rows or task_id in self.dag.task_dict:
            self.dag.get_task(task_id)
        if map_index < 0:
            waiting = (row for row in rows.values() if row.state not in FINISHED)
            return AboutTask(self, task_id, next(waiting, next(iter(rows.values()), None)))
        if rows and map_index not in rows:
            there = f"0 to {max(rows)}" if max(rows) >= 0 else "none: it is not mapped, or not yet"
            raise DagError(f"task {task_id!r} has no instance {map_index} in {self.row.run_id}; it has {there}")
        return AboutTask(self, task_id, rows.get(map_index))


class AboutTask:
    """What the database knows of one task of a run; `row` is None if it has no instance in it."""

    def __init__(self, run: AboutRun, task_id: str, row: TaskRow | None) -> None:
        self.run, self.task_id, self.row, self.now = run, task_id, row, run.now
        self.name = f"{run.row.dag_id}.{instance_name(row) if row else task_id} in {run.row.run_id}"

    @property
    def instance(self) -> TaskRow:
        """Its row, where the caller knows that there is one."""
        assert self.row is not None
        return self.row

    @property
    def task(self) -> BaseOperator:
        return self.run.dag.task_dict[self.task_id]

    @property
    def home(self) -> int:
        """The position of its task."""
        return self.run.about.index.position[self.task_id]

    @property
    def position(self) -> int:
        """Where its rule is asked: at its task, or in a mapped group at the instance."""
        instances = self.run.frontier.index.instances.get(self.home, ())
        if (
            self.home in self.run.about.index.groups
            and self.row is not None
            and 0 <= self.row.map_index < len(instances)
        ):
            return instances[self.row.map_index]
        return self.home

    @property
    def upstream(self) -> dict[str, str | None]:
        """The states of what its rule looks at: the tasks directly before it, and the setups it works within."""
        index = self.run.about.index
        return self._states([*index.upstream[self.home], *index.setups.get(self.home, ())])

    @property
    def scope(self) -> dict[str, str | None]:
        """Of a teardown, the states of what comes between its setups and itself and is not directly before it."""
        return self._states(self.run.about.index.scopes.get(self.home, ()))

    def _states(self, positions: Iterable[int]) -> dict[str, str | None]:
        index, states, placed = self.run.frontier.index, self.run.frontier.states, self.run.placed
        instances = [k for i in positions for k in index.seen_from(self.position, i)]
        return {instance_name(placed[k]) if k in placed else index.ids[k]: states[k] for k in instances}

    @property
    def fellows(self) -> list[SlotHolder]:
        """The task instances of its run that hold a slot."""
        run = (self.run.row.dag_id, self.run.row.run_id)
        return [holder for holder in self.run.about.slot_holders if (holder.dag_id, holder.run_id) == run]


# --- a run that does not exist yet ------------------------------------------------------------------------------------


def paused(about: AboutDag) -> Blocker | None:
    """The DAG is switched off."""
    return Blocker("paused", f"DAG {about.dag.dag_id!r} is paused; unpause it") if about.paused else None


def no_schedule(about: AboutDag) -> Blocker | None:
    """Only people and other DAGs start it."""
    if about.dag.timetable.can_be_scheduled:
        return None
    return Blocker("no_schedule", f"its schedule is {about.dag.timetable.summary}: it runs only when it is triggered")


def assets(about: AboutDag) -> Blocker | None:
    """Assets that it is scheduled on have no new events."""
    condition, missing = about.dag.timetable.asset_condition, about.missing_assets
    if condition is None or missing is None:
        return None
    waited_for = {asset.key for asset in missing.assets()}
    there = sorted({asset.name for asset in condition.assets() if asset.key not in waited_for})
    return Blocker("assets", f"it waits for new events of {missing}" + (f"; {listed(there)} came" if there else ""))


def start_date(about: AboutDag) -> Blocker | None:
    """Its first interval has not begun."""
    start = about.dag.start_date
    if start is None or start <= about.now or not about.has_dates:
        return None
    return Blocker("start_date", f"its start_date {clock_text(as_utc(start))} is in the future", start)


def no_more_runs(about: AboutDag) -> Blocker | None:
    """The schedule has ended, or cannot begin."""
    dag = about.dag
    if not about.has_dates or about.next_run is not None:
        return None
    if about.timetable_error:
        return Blocker("timetable", f"its timetable failed with {about.timetable_error}; correct it")
    if dag.end_date is not None and about.ended:
        return Blocker("end_date", f"its end_date {clock_text(as_utc(dag.end_date))} allows no further run")
    if dag.start_date is None and about.last_run is None:
        return Blocker("start_date", "it catches up but has no start_date to begin at; give it one")
    return Blocker("no_more_runs", f"its schedule {dag.timetable.summary} has no further run")


def interval(about: AboutDag) -> Blocker | None:
    """A run for day D starts when D is over."""
    info, due = about.next_run, about.next_due
    if info is None or due is None or due <= about.now:
        return None
    start, end = info.data_interval
    if start < end == due:
        text = f"the data interval {clock_text(start)} to {clock_text(end)} is not over; its run starts when it is"
    else:
        text = f"its next run is due at {clock_text(due)}"
    return Blocker("interval", text, due)


def max_active_runs(about: AboutDag) -> Blocker | None:
    """The next run is due, but there are as many as may be."""
    due, active, limit = about.next_due, about.queue(None), about.dag.max_active_runs
    by_time = due is not None and due <= about.now
    by_assets = about.dag.timetable.asset_condition is not None and about.missing_assets is None
    if not (by_time or by_assets) or len(active) < limit:
        return None
    names = listed(f"{run.run_id} ({run.state})" for run in active)
    return Blocker("max_active_runs", f"the DAG's max_active_runs of {limit} is reached by {names}")


NEXT_RUN = (paused, no_schedule, assets, start_date, no_more_runs, interval, max_active_runs)
"""Why a DAG has no new run."""


def no_run(about: AboutDag) -> Blocker:
    """There is nothing that the task could run in."""
    return Blocker("no_run", f"DAG {about.dag.dag_id!r} has no run that is queued or running")


# --- a queued run -----------------------------------------------------------------------------------------------------


def dag_paused(run: AboutRun) -> Blocker | None:
    """Its DAG is switched off; a backfill's runs start all the same."""
    return paused(run.about) if run.held_by_pause else None


def backfill_paused(run: AboutRun) -> Blocker | None:
    """Somebody paused the backfill that it belongs to."""
    if run.backfill is None or not run.backfill.is_paused:
        return None
    return Blocker("backfill_paused", f"backfill {run.backfill.id} is paused; unpause it")


def run_limit(run: AboutRun) -> Blocker | None:
    """As many runs of its DAG, or of its backfill, are active or go first as may be active."""
    backfill = run.backfill
    limit = backfill.max_active_runs if backfill else run.dag.max_active_runs
    queue = run.about.queue(backfill.id if backfill else None)
    running = [r.run_id for r in queue if r.state == RUNNING]
    before = [r.run_id for r in queue if r.state == QUEUED]
    before = before[: before.index(run.row.run_id)]
    if len(running) + len(before) < limit:
        return None
    whose = f"backfill {backfill.id}'s" if backfill else "the DAG's"
    text = f"{whose} max_active_runs is {limit}: {listed(running)} running"
    text += f", and {len(before)} queued before it" if before else ""
    if _later_runs_wait(run, queue):
        text += "; these may wait for this one (depends_on_past): raise max_active_runs, and it goes first"
    return Blocker("max_active_runs", text)


def _later_runs_wait(run: AboutRun, queue: Sequence[RunRow]) -> bool:
    """Whether all that run are later ones of tasks that mind the run before: a circle, once this one was cleared."""
    date, running = run.row.logical_date, [r.logical_date for r in queue if r.state == RUNNING]
    minds_past = any(task.depends_on_past for task in run.dag.tasks)
    return minds_past and date is not None and all(other is not None and other > date for other in running)


QUEUED_RUN = (dag_paused, backfill_paused, run_limit)
"""Why a run does not start."""


# --- a task instance --------------------------------------------------------------------------------------------------


def upstream(task: AboutTask) -> Blocker | None:
    """Its trigger rule waits for tasks before it."""
    if task.run.frontier.verdict(task.position) is not WAIT:
        return None
    above = {**task.upstream, **task.scope}
    open_ = [_with_state(*item) for item in above.items() if item[1] not in FINISHED]
    return Blocker("upstream", f"{rule_in_words(task.task)} waits for {listed(open_)}")


def depends_on_past(task: AboutTask) -> Blocker | None:
    """It, or what is below it, did not end well in the run before."""
    text = past_blocks(task.run.about.store, task.run.row, task.task)
    return Blocker(text.partition(":")[0], f"{text}, and must end well there first") if text else None


def task_held(task: AboutTask) -> Blocker | None:
    """Its DAG is switched off."""
    return dag_paused(task.run)


def pool(task: AboutTask) -> Blocker | None:
    """Its pool does not exist, is too small, or is full."""
    name, need = task.task.pool, task.task.pool_slots
    slots = task.run.about.store.pools().get(name)
    if slots is None:
        return Blocker("no_pool", f"there is no pool {name!r}; create it, or name another in the task")
    if need > slots:
        return Blocker("pool_too_small", f"it needs {need} slots, and pool {name!r} has {slots}; enlarge the pool")
    holders = [holder for holder in task.run.about.slot_holders if holder.pool == name]
    free = slots - sum(holder.pool_slots for holder in holders)
    if need <= free:
        return None
    text = f"pool {name!r} has {max(free, 0)} of {slots} slots free and it needs {need}; held by {_names(holders)}"
    return Blocker("pool_full", text)


def max_active_tasks(task: AboutTask) -> Blocker | None:
    """As many tasks of its run are active as may be."""
    limit, active = task.run.dag.max_active_tasks, task.fellows
    if len(active) < limit:
        return None
    return Blocker("max_active_tasks", f"the DAG's max_active_tasks of {limit} is reached by {_names(active)}")


def max_active_tis_per_dag(task: AboutTask) -> Blocker | None:
    """As many instances of it are active, over all runs, as may be."""
    limit, same = task.task.max_active_tis_per_dag, (task.run.row.dag_id, task.task_id)
    active = [holder for holder in task.run.about.slot_holders if (holder.dag_id, holder.task_id) == same]
    if limit is None or len(active) < limit:
        return None
    text = f"the task's max_active_tis_per_dag of {limit} is reached by {_names(active)}"
    return Blocker("max_active_tis_per_dag", text)


def max_active_tis_per_dagrun(task: AboutTask) -> Blocker | None:
    """As many instances of it are active in its run as may be."""
    limit = task.task.max_active_tis_per_dagrun
    active = [holder for holder in task.fellows if holder.task_id == task.task_id]
    if limit is None or len(active) < limit:
        return None
    text = f"the task's max_active_tis_per_dagrun of {limit} is reached by {_names(active)}"
    return Blocker("max_active_tis_per_dagrun", text)


def parallelism(task: AboutTask) -> Blocker | None:
    """As many tasks are active over all DAGs as may be."""
    limit, active = task.run.about.parallelism, task.run.about.slot_holders
    if len(active) < limit:
        return None
    return Blocker("parallelism", f"[core] parallelism of {limit} is reached by {_names(active)}")


def executor(task: AboutTask) -> Blocker | None:
    """It was given to the executor, which has not begun it."""
    since, queue = _since(task.instance.queued_at), task.task.queue
    of_queue = f" that takes tasks of queue {queue!r}" if queue != conf.get("operators", "default_queue") else ""
    return Blocker("executor", f"queued{since}: the executor has it and begins it when a worker{of_queue} is free")


def running(task: AboutTask) -> Blocker | None:
    """It is at work."""
    return Blocker(RUNNING, f"it is running{_since(task.instance.start_date)} (try {task.instance.try_number})")


def retry(task: AboutTask) -> Blocker | None:
    """It failed, and its delay is not over."""
    row = task.instance
    if row.not_before is None or row.not_before <= task.now:
        return None
    failed = f"try {row.try_number} of {row.max_tries + 1} failed" + (f" ({row.error})" if row.error else "")
    return Blocker("retry", f"{failed}; the next begins at {clock_text(row.not_before)}", row.not_before)


def reschedule(task: AboutTask) -> Blocker | None:
    """It is a sensor that gave its slot back."""
    moment = task.instance.not_before
    if moment is None or moment <= task.now:
        return None
    return Blocker("reschedule", f"its condition does not hold yet; it looks again at {clock_text(moment)}", moment)


def succeeded(task: AboutTask) -> Blocker | None:
    """It is finished."""
    return Blocker(SUCCESS, f"it succeeded{_at(task.instance.end_date)} (try {task.instance.try_number})")


def failed(task: AboutTask) -> Blocker | None:
    """It is finished, and how it failed."""
    row = task.instance
    reason = row.error or by_fail_fast(task) or "it left no error"
    if reason == LOST and row.lost_attempts:
        reason += f", {row.lost_attempts + 1} times"
    return Blocker(FAILED, f"it failed{_at(row.end_date)} (try {row.try_number}): {reason}; clear it to run it again")


def skipped(task: AboutTask) -> Blocker | None:
    """It is finished without having run, and who decided that."""
    reasons = (reason(task) for reason in SKIP_REASONS)
    reason = next(filter(None, reasons), "it was marked so")
    return Blocker(SKIPPED, f"it was skipped{_at(task.instance.end_date)}: {reason}")


def upstream_failed(task: AboutTask) -> Blocker | None:
    """It is finished without having run, because of what is before it."""
    bad = [_with_state(*item) for item in task.upstream.items() if item[1] in (FAILED, UPSTREAM_FAILED)]
    because = f"{rule_in_words(task.task)} cannot be met: {listed(bad)}" if bad else "something before it failed"
    return Blocker(UPSTREAM_FAILED, f"{because}; clear what failed")


def removed(task: AboutTask) -> Blocker:
    """The DAG has it no more, or there is less to map over than there was."""
    if task.task_id in task.run.dag.task_dict:
        return Blocker(REMOVED, "there are fewer items to map over than when this instance was made")
    state = f"; it was {task.instance.state} here" if task.instance.state not in (None, REMOVED) else ""
    return Blocker(REMOVED, f"DAG {task.run.row.dag_id!r} has no task {task.task_id!r} any more{state}")


TASK: Mapping[str | None, Sequence[Callable[[AboutTask], Blocker | None]]] = {
    None: (upstream, depends_on_past, task_held),
    SCHEDULED: (pool, max_active_tasks, max_active_tis_per_dag, max_active_tis_per_dagrun, parallelism),
    QUEUED: (executor,),
    RUNNING: (running,),
    UP_FOR_RETRY: (retry, task_held),
    UP_FOR_RESCHEDULE: (reschedule, task_held),
    SUCCESS: (succeeded,),
    FAILED: (failed,),
    SKIPPED: (skipped,),
    UPSTREAM_FAILED: (upstream_failed,),
    REMOVED: (removed,),
}
"""Why a task instance of a running run is where it is, by its state."""


def by_branch(task: AboutTask) -> str:
    """A branch or short circuit before it named it."""
    deciders = [row.task_id for row in task.run.rows if row.skips and task.task_id in row.skips]
    return f"{listed(deciders)} decided that it does not run" if deciders else ""


def by_itself(task: AboutTask) -> str:
    """It began, and raised AirflowSkipException."""
    began = task.instance.start_date is not None and task.instance.not_before is None
    return f"it decided so itself in try {task.instance.try_number}; see its log" if began else ""


def by_time_out(task: AboutTask) -> str:
    """The run took too long, and ended it with itself."""
    ended_it = task.run.timed_out and task.instance.end_date == task.run.row.end_date
    return f"the run's dagrun_timeout of {task.run.dag.dagrun_timeout} passed" if ended_it else ""


def by_fail_fast(task: AboutTask) -> str:
    """Another task failed, and the DAG is fail_fast."""
    bad = [row.task_id for row in task.run.rows if row.state == FAILED and row.task_id != task.task_id]
    return f"the DAG is fail_fast, and {listed(bad)} failed" if bad and task.run.dag.fail_fast else ""


def by_rule(task: AboutTask) -> str:
    """Its trigger rule can no longer be met."""
    states = [_with_state(*item) for item in task.upstream.items()]
    return f"{rule_in_words(task.task)} cannot be met: {listed(states)}" if states else ""


SKIP_REASONS = (by_branch, by_time_out, by_itself, by_fail_fast, by_rule)
"""Who may have skipped a task; the first that applies did."""


# --- putting it together ----------------------------------------------------------------------------------------------

About = TypeVar("About", AboutDag, AboutRun, AboutTask)


def checked(checks: Iterable[Callable[[About], Blocker | None]], about: About, otherwise: str) -> list[Blocker]:
    """What the checks find; if that is nothing, then only the scheduler's next pass is waited for."""
    blockers = [blocker for check in checks if (blocker := check(about)) is not None]
    return blockers or [Blocker("next_pass", otherwise)]


def next_run_blockers(about: AboutDag) -> list[Blocker]:
    """Why the DAG's next run does not exist."""
    return checked(NEXT_RUN, about, "its next run is due; the scheduler makes it at its next pass")


def dag_blockers(about: AboutDag) -> Iterator[Blocker]:
    """What its first open runs wait for, in the DAG's own queue and each backfill's, and why there is no new run."""
    for number in (None, *about.backfills):
        queue = about.queue(number)
        active, queued = ([run for run in queue if run.state == state] for state in (RUNNING, QUEUED))
        for run in [*active[:MOST_RUNS], *queued[:1]]:
            for blocker in run_blockers(AboutRun(about, run)):
                yield blocker._replace(text=f"{run.run_id}: {blocker.text}")
    yield from next_run_blockers(about)


def run_blockers(run: AboutRun) -> Iterator[Blocker]:
    """Why a run does not start, or what its tasks wait for, or how it ended."""
    row = run.row
    if row.state == QUEUED:
        yield from checked(QUEUED_RUN, run, "nothing holds it: the scheduler starts it at its next pass")
    elif row.state == RUNNING:
        waiting = [task for task in run.rows if task.state not in FINISHED]
        done = len(run.rows) - len(waiting)
        yield Blocker(RUNNING, f"it is running{_since(row.start_date)}; {done} of {len(run.rows)} tasks are finished")
        if held := dag_paused(run):
            yield held
        yield from islice(_roots_of_waiting(run, waiting), MOST_TASKS)
    else:
        reason = f": its dagrun_timeout of {run.dag.dagrun_timeout} passed" if run.timed_out else ""
        bad = [instance_name(task) for task in run.rows if task.state == FAILED]
        reason = reason or (f": {listed(bad)} failed" if bad and row.state == FAILED else "")
        yield Blocker(row.state, f"it ended{_at(row.end_date)} as {row.state}{reason}")


def _roots_of_waiting(run: AboutRun, waiting: Iterable[TaskRow]) -> Iterator[Blocker]:
    """What the waiting tasks of a running run wait for, other than for each other."""
    for row in waiting:
        for blocker in task_blockers(AboutTask(run, row.task_id, row)):
            if blocker.kind not in ("upstream", "paused"):
                yield blocker._replace(text=f"{instance_name(row)}: {blocker.text}")


def task_blockers(task: AboutTask) -> Iterator[Blocker]:
    """Why a task instance does not go on, or how it ended."""
    run, state = task.run.row, task.row.state if task.row else None
    if task.row is None:
        yield _no_instance(task)
    elif task.task_id not in task.run.dag.task_dict:
        yield removed(task)
    elif state in FINISHED or run.state == RUNNING:
        yield from checked(TASK[state], task, OTHERWISE.get(state, "nothing holds it: it goes on at the next pass"))
    elif run.state == QUEUED:
        yield Blocker("run_queued", f"its run {run.run_id} has not started")
        yield from run_blockers(task.run)
    else:
        text = f"its run {run.run_id} ended{_at(run.end_date)} as {run.state} before it ran; clear the run to run it"
        yield Blocker("run_over", text)


OTHERWISE: Mapping[str | None, str] = {
    SCHEDULED: "it is ready; it goes when the executor has a slot free and no ready task of more weight goes first",
}


def _no_instance(task: AboutTask) -> Blocker:
    """The run has no instance of a task of the DAG: its own dates, or it is newer than the run."""
    date, first, last = task.run.row.logical_date, task.task.start_date, task.task.end_date
    if date and first and date < first:
        return Blocker("own_dates", f"it has no instance in this run: its start_date is {clock_text(as_utc(first))}")
    if date and last and date > last:
        return Blocker("own_dates", f"it has no instance in this run: its end_date is {clock_text(as_utc(last))}")
    return Blocker("new_task", "it came to the DAG after this run was made; an open run gets it at the next pass")


# --- words ------------------------------------------------------------------------------------------------------------


def rule_in_words(task: BaseOperator) -> str:
    """A task's trigger rule with what it wants.

    >>> rule_in_words(BaseOperator("t", trigger_rule="none_failed"))
    'none_failed (every upstream task is finished and none failed; skipped is fine)'
    """
    meaning = (TRIGGER_RULES[task.trigger_rule].__doc__ or "").partition("\n")[0].rstrip(".")
    return f"{task.trigger_rule} ({meaning[:1].lower()}{meaning[1:]})" if meaning else task.trigger_rule


def listed(names: Iterable[Any]) -> str:
    """Names as part of a sentence, the first few of many.

    >>> listed("abcdefg"), listed([])
    ('a, b, c and 4 more', 'none')
    """
    names = [str(name) for name in names]
    rest = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return (", ".join(names[:MOST_NAMES]) or "none") + rest


def _names(holders: Iterable[SlotHolder]) -> str:
    return listed(f"{holder.dag_id}.{instance_name(holder)} in {holder.run_id}" for holder in holders)


def instance_name(instance: TaskRow | SlotHolder) -> str:
    """A task instance as people write it: `load`, or `load[3]` of a mapped task."""
    return f"{instance.task_id}[{instance.map_index}]" if instance.map_index >= 0 else instance.task_id


def _with_state(task_id: str, state: str | None) -> str:
    return f"{task_id} ({state or 'no state'})"


def _since(moment: datetime | None) -> str:
    return f" since {clock_text(moment)}" if moment else ""


def _at(moment: datetime | None) -> str:
    return f" at {clock_text(moment)}" if moment else ""
