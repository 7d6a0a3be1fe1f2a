"""One task instance, from queued to finished, in any process.

`TaskRunner.run(work)` takes the task instance (so that nobody else runs it), builds its context, executes it, and
writes down how it ended. Taking and ending are one transaction each; between them no transaction is open, however long
the task takes. An attempt ends only if it still holds the task instance: its try number and a token that only it knows
are part of the UPDATE, so a message delivered twice or a worker that was thought dead changes nothing.

How an attempt ends is read off what `execute` does:

=====================================  ==========================================================================
returns                                success; the value becomes the XCom `return_value` unless it is None
raises `AirflowSkipException`          skipped
raises `AirflowRescheduleException`    up_for_reschedule: a sensor that gives its slot back
raises `DownstreamTasksSkipped`        success, and the tasks it names are skipped
raises `AirflowFailException`,
`AirflowSensorTimeout`                 failed, without retries
raises anything else                   up_for_retry while tries are left, else failed
=====================================  ==========================================================================
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import cached_property
from typing import Any, NamedTuple

from etlkit import xcom
from etlkit.asset_context import AssetReader, InletEvents, OutletEvents, new_events
from etlkit.asset_events import Source, record_events
from etlkit.clock import Clock
from etlkit.config import conf
from etlkit.connections import Connections, learn_secrets
from etlkit.dag import DAG, BaseOperator, Callback, XComArg, current_context
from etlkit.errors import (
    AirflowException,
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    DagError,
    DownstreamTasksSkipped,
    XComError,
)
from etlkit.events import clock_text
from etlkit.logs import LogKey, LogStore, install_handler
from etlkit.macros import Lookup, Macros
from etlkit.mapping import is_mappable, items_of
from etlkit.masking import masker, one_line
from etlkit.other_dags import OtherDags
from etlkit.params import NOTSET, run_params
from etlkit.showing import as_html
from etlkit.states import (
    ACTIVE,
    FAILED,
    QUEUED,
    RUNNING,
    SCHEDULED,
    SKIPPED,
    SUCCESS,
    UP_FOR_RESCHEDULE,
    UP_FOR_RETRY,
    DagRunType,
)
from etlkit.store import LOST, RunRow, Store, TaskRow, this_process
from etlkit.templates import DATED, rendered
from etlkit.time_limit import time_limit
from etlkit.variables import Variables

log = logging.getLogger("etlkit.task")

SHORTEST_WAIT = timedelta(seconds=1)
"""Until a sensor that wants to go on at once does so: else it would for ever, within one instant."""


def _new_tokens() -> None:
    """Tokens that no other process has, one for each attempt; a process that is forked must not go on with these."""
    global _tokens
    prefix = secrets.token_hex(8)
    _tokens = (f"{prefix}-{number}" for number in itertools.count(1))


_tokens: Iterator[str]
_new_tokens()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_tokens)


class KnownItems(dict[str, Sequence[Any]]):
    """Results that tasks are mapped over, read once for all instances of a run in one process."""

    def __reduce__(self) -> Any:
        return KnownItems, ()  # another process reads its own

    def pull(self, store: Store, run_pk: int, task: BaseOperator) -> Sequence[Any]:
        """The items of the result of `task`; of a mapped task, what its instances returned. XComError without any."""
        if task.task_id not in self:
            found = store.pull_xcom(run_pk, task.task_id, "return_value")
            if task.expansion is not None:
                self[task.task_id] = [xcom.loads(text) for index, text in found if index >= 0]
            else:
                self[task.task_id] = items_of(xcom.loads(found[0][1]) if found else None)
        return self[task.task_id]


@dataclass(slots=True)
class Work:
    """One attempt to make: which task instance, and what is needed to run it."""

    task_pk: int
    dag: DAG
    run: RunRow
    task: BaseOperator
    map_index: int
    try_number: int
    max_tries: int
    rescheduled_since: datetime | None = None
    """When this try first began, if a sensor goes on after giving its slot back."""
    known_items: KnownItems = field(default_factory=lambda: KnownItems())
    """What finished tasks of the run hold to map over, by task id."""
    token: str = ""
    """What proves that the attempt still holds its task instance; set when it begins."""
    start: datetime | None = None
    """When the attempt began."""

    @property
    def log_key(self) -> LogKey:
        """Which log the attempt writes."""
        return LogKey(self.run.dag_id, self.run.run_id, self.task.task_id, self.map_index, self.try_number)

    @property
    def key(self) -> tuple[int, int]:
        """What an attempt is told apart by: its task instance, and which try it is."""
        return self.task_pk, self.try_number


class Result(NamedTuple):
    """How an attempt ended. `state` is None if it had lost its task instance: then nothing was changed."""

    work: Work
    state: str | None
    start: datetime | None = None
    end: datetime | None = None
    not_before: datetime | None = None
    rescheduled_since: datetime | None = None
    skips: Sequence[str] = ()
    error: str | None = None
    started_runs: Sequence[RunRow] = ()
    """The runs of other DAGs that it started."""
    lost: bool = False
    """Whether its process died: then only its executor says so, and the database still has it queued or running."""


def result_of(work: Work, row: TaskRow) -> Result | None:
    """How an attempt ended, as the database has it; None while it is queued or running.

    Its state is None if the task instance is at another attempt, or undecided again.
    """
    queued_again = row.state == QUEUED and row.try_number == work.try_number and row.rescheduled_since is None
    if row.try_number > work.try_number or row.state in (None, SCHEDULED) or queued_again:
        return Result(work, None)
    if row.state in ACTIVE:
        return None
    since = row.rescheduled_since if row.state == UP_FOR_RESCHEDULE else None
    return Result(work, row.state, row.start_date, row.end_date, row.not_before, since, row.skips or (), row.error)


class Outcome(NamedTuple):
    """What `execute` led to, before it is written down."""

    state: str
    value: Any = None
    skips: Sequence[str] = ()
    record: Mapping[str, Sequence[str]] | None = None
    not_before: datetime | None = None
    error: BaseException | None = None
    retry: bool = True


class Executed(NamedTuple):
    """An attempt between its execution and its end: its context, what that led to, and the XComs it will leave."""

    context: Context
    outcome: Outcome
    values: Mapping[str, str]


CALLBACKS = {
    SUCCESS: "on_success_callback",
    FAILED: "on_failure_callback",
    UP_FOR_RETRY: "on_retry_callback",
    SKIPPED: "on_skipped_callback",
}
"""The callbacks that each end of an attempt calls; `on_failure_callback` is not called while tries are left."""


class TaskRunner:
    """Runs attempts against one Store and one Clock.

    `warehouse` gives the DuckDB connection that tasks find as `context["warehouse"]`; it is called when that is asked
    for.
    """

    def __init__(
        self, store: Store, clock: Clock, logs: LogStore | None = None, warehouse: Callable[[], Any] | None = None
    ) -> None:
        self.store, self.clock = store, clock
        self.logs = logs or LogStore()
        self.warehouse = warehouse
        self.find_dag: Callable[[str], DAG] | None = None
        """Finds other DAGs by their ids, for tasks that start them or wait for them; a scheduler gives its own."""
        self.hostname, self.pid = this_process()
        install_handler()
        learn_secrets(store)

    def run(self, work: Work) -> Result:
        """Make one attempt, from taking the task instance to its end."""
        with self.store.transaction():
            begun = self.begin(work)
        return self.carry_out(begun) if begun is not None else Result(work, None)

    def begin(self, work: Work, path: tuple[str | None, ...] = (QUEUED,)) -> Work | None:
        """Take the task instance, inside the caller's transaction; None if somebody else has it.

        `path` is as in `Store.start_attempt`.
        """
        token, start, goes_on = next(_tokens), self.clock.now(), work.rescheduled_since is not None
        taken = self.store.start_attempt(
            work.task_pk, work.try_number, token, start, self.hostname, self.pid, path, goes_on=goes_on
        )
        if not taken:
            return None
        if work.try_number > 1 and work.rescheduled_since is None:
            self.store.delete_xcoms(work.run.id, work.task.task_id, work.map_index)
        work.token, work.start = token, start
        return work

    def carry_out(self, work: Work) -> Result:
        """Execute what was begun; returns how it ended once that is committed and its callbacks were called."""
        with self.logs.open(work.log_key):
            return self._conclude(self._execute(work))

    def execute(self, work: Work) -> Executed:
        """The first half of `carry_out` alone: nothing is written down yet."""
        with self.logs.open(work.log_key):
            return self._execute(work)

    def conclude(self, executed: Executed) -> Result:
        """The second half: the attempt ends now."""
        with self.logs.open(executed.context.ti._work.log_key):
            return self._conclude(executed)

    def _execute(self, work: Work) -> Executed:
        ti = TaskInstance(self, work)
        context = Context(ti)
        masker.learn(work.run.conf)  # whoever triggered the run did so in another process
        outcome, values = packed(work.task, self._attempt(work, context))
        if work.task.outlets and outcome.state == SUCCESS:
            outcome = self._announce(work, ti, outcome)
        executed = Executed(context, outcome, values)
        if isinstance(outcome.error, KeyboardInterrupt):
            self._conclude(executed)
            raise outcome.error
        return executed

    def _conclude(self, executed: Executed) -> Result:
        context, outcome, values = executed
        ti, work = context.ti, context.ti._work
        try:
            result = self._finish(work, ti, outcome, values)
        except DagError as error:  # what it wanted to start cannot be started any more, so nothing was written
            log.error("%s", error)
            ti.started_runs.clear()
            outcome = Outcome(FAILED, error=error)
            result = self._finish(work, ti, outcome, {})
        if result.state is not None:
            self._call_back(work.task, context, result, outcome)
        return result

    def _attempt(self, work: Work, context: Context) -> Outcome:
        """Execute the task and read off how it ended."""
        task = work.task
        token = current_context.set(context)
        try:
            if task.on_execute_callback:
                run_callbacks(task.on_execute_callback, context)
            if work.map_index >= 0 or task.expansion is not None:
                task = task.unmapped(work.map_index, context)
            task = context.task = rendered(task, context)
            with _time_limit(task):
                if task.pre_execute_hook is not None:
                    task.pre_execute_hook(context)
                task.pre_execute(context)
                value = task.execute(context)
                if task.post_execute_hook is not None:
                    task.post_execute_hook(context, value)
                task.post_execute(context, value)
            if task.map_index_template is not None:
                context.ti.rendered_map_index = instance_name(task, context)
            # A simulated clock cannot interrupt: a task that slept past its limit is caught when it returns.
            if task.execution_timeout is not None and self.clock.now() - context.ti.start_date > task.execution_timeout:
                raise time_out(task)
            return Outcome(SUCCESS, value)
        except BaseException as error:  # whatever a task raises ends the task, and not the scheduler
            outcome = outcome_of(error)
            if task.map_index_template is not None:
                # A name would help, but it may need what the task did not get to.
                with contextlib.suppress(Exception):
                    context.ti.rendered_map_index = instance_name(task, context)
            if outcome.error is not None:
                log.error("%s", masker.format_exception(without_our_frames(error)).rstrip())
            return outcome
        finally:
            current_context.reset(token)

    def _announce(self, work: Work, ti: TaskInstance, outcome: Outcome) -> Outcome:
        """Let the events of its outlets be written when the attempt ends; it has failed if they cannot be."""
        try:
            events = new_events(work.task.outlets, ti.outlet_events)
        except XComError as error:
            log.error("%s", error)
            return Outcome(FAILED, error=error)
        source = Source(ti.dag_id, ti.task_id, ti.run_id, ti.map_index)
        ti.at_end.append(lambda now: record_events(self.store, events, source, now))
        return outcome

    def _finish(self, work: Work, ti: TaskInstance, outcome: Outcome, values: Mapping[str, str]) -> Result:
        """Write down how the attempt ended, with the values it leaves, in one transaction."""
        now = self.clock.now()
        state, not_before = outcome.state, outcome.not_before
        if state == FAILED and outcome.retry and work.try_number <= work.max_tries:
            state = UP_FOR_RETRY
            not_before = now + work.task.next_retry_delay(work.try_number)
        error_line = one_line(outcome.error) if outcome.error is not None else None
        since = ti.first_start_date if state == UP_FOR_RESCHEDULE else None
        if since is not None and not_before is not None and not_before <= now:
            not_before = now + SHORTEST_WAIT
        ti.state, ti.end_date = state, now
        more = values or ti.at_end or ti.rendered_map_index is not None or state == UP_FOR_RETRY
        with self.store.transaction() if more else NOTHING:
            held = self.store.finish_attempt(
                work.task_pk,
                try_number=work.try_number,
                token=work.token,
                state=state,
                now=now,
                not_before=not_before,
                rescheduled_since=since,
                skips=outcome.skips,
                error=error_line,
            )
            if held:
                for key, value in values.items():
                    self.store.push_xcom(work.run.id, work.task.task_id, work.map_index, key, value, now)
                if ti.at_end and state in (SUCCESS, UP_FOR_RESCHEDULE):
                    for write in ti.at_end:
                        write(now)
                if ti.rendered_map_index is not None:
                    self.store.name_task_instance(work.task_pk, ti.rendered_map_index)
        if not held:
            log.warning("%s was taken away from this attempt; what it did is not counted", work.task.task_id)
            return Result(work, None)
        return Result(work, state, ti.start_date, now, not_before, since, outcome.skips, error_line, ti.started_runs)

    def end_for(self, work: Work, error: BaseException) -> Result:
        """Write down that an attempt has failed whose own process cannot do so any more, and call its callbacks.

        If it had ended by itself that counts; if it had not even begun it is lost.
        """
        row = self.store.task_instance(work.task_pk)
        if (ended := result_of(work, row)) is not None:
            return ended
        if row.state == QUEUED:
            return Result(work, None, lost=True)
        work.token, work.start = self.store.token(work.task_pk), row.start_date
        ti, outcome = TaskInstance(self, work), Outcome(FAILED, error=error)
        with self.logs.open(work.log_key):
            log.error("%s", error)
            result = self._finish(work, ti, outcome, {})
            if result.state is not None:
                self._call_back(work.task, Context(ti), result, outcome)
        return result

    def note_lost(self, work: Work, *, failed: bool) -> None:
        """Write into the log of an attempt that its process died; if the task has `failed`, call its callbacks."""
        ti = TaskInstance(self, work)
        with self.logs.open(work.log_key):
            log.error("%s", LOST)
            if failed:
                ti.state = FAILED
                error = AirflowException(LOST)
                self._call_back(work.task, Context(ti), Result(work, FAILED), Outcome(FAILED, error=error))

    def run_context(self, dag: DAG, run: RunRow, reason: str) -> Mapping[str, Any]:
        """What the callbacks of a DAG are told: the context of the task that decided how the run ended, and why.

        That is one that failed, else the last to end. Of a DAG without tasks there is only what belongs to the run.
        """
        tasks = [row for row in self.store.task_instances(run.id) if row.task_id in dag.task_dict]
        known = {**run._asdict(), "dag_run": DagRun(run), "reason": reason}
        if not tasks:
            return {**known, **lookups(self.store), "dag": dag, "store": self.store}
        last = max(tasks, key=lambda row: (row.state == FAILED, row.end_date or run.run_after, row.id))
        task, try_number = dag.task_dict[last.task_id], max(last.try_number, 1)
        work = Work(last.id, dag, run, task, last.map_index, try_number, last.max_tries)
        work.start = last.start_date or run.start_date
        context = Context(TaskInstance(self, work))
        context.ti.state, context.ti.end_date = last.state or "", last.end_date
        context.known.update({name: value for name, value in known.items() if name not in context})
        context.known["dag_run"] = known["dag_run"]
        return context

    def _call_back(self, task: BaseOperator, context: Context, result: Result, outcome: Outcome) -> None:
        callbacks = getattr(task, CALLBACKS[result.state]) if result.state in CALLBACKS else ()
        if callbacks:
            context.known["exception"] = outcome.error
            run_callbacks(callbacks, context)


def instance_name(task: BaseOperator, context: Context) -> str:
    """What its `map_index_template` calls the instance of a mapped task that is running."""
    return masker.mask(str(task.render_template(task.map_index_template, context)))


def outcome_of(error: BaseException) -> Outcome:
    """How an attempt ends that raised `error`: the table at the top of this module.

    >>> outcome_of(AirflowSkipException("nothing new")).state
    'skipped'
    """
    match error:
        case AirflowSkipException():
            log.info("skipped: %s", error)
            return Outcome(SKIPPED)
        case DownstreamTasksSkipped():
            return Outcome(SUCCESS, skips=error.tasks, record=error.record)
        case AirflowRescheduleException():
            return Outcome(UP_FOR_RESCHEDULE, not_before=error.reschedule_date.astimezone(UTC))
        case AirflowFailException() | AirflowSensorTimeout():
            return Outcome(FAILED, error=error, retry=False)
        case _:
            return Outcome(FAILED, error=error)


def packed(task: BaseOperator, outcome: Outcome) -> tuple[Outcome, dict[str, str]]:
    """The outcome and the XComs it leaves behind; one whose values cannot travel has failed."""
    if outcome.value is None and outcome.record is None and not task.mapped_over:
        return outcome, {}
    try:
        return outcome, xcoms_of(task, outcome)
    except Exception as error:  # an XComError, or what the value's own methods raise
        log.error("%s", one_line(error))
        return Outcome(FAILED, error=error), {}


def xcoms_of(task: BaseOperator, outcome: Outcome) -> dict[str, str]:
    """The XComs an outcome leaves behind, as JSON by key."""
    values: dict[str, Any] = {}
    if task.mapped_over and task.expansion is None and outcome.state == SUCCESS:
        check_mappable(task, outcome.value)
    if outcome.record is not None:
        values["skipmixin_key"] = outcome.record
    if outcome.value is not None and task.do_xcom_push:
        if task.multiple_outputs:
            if not isinstance(outcome.value, Mapping):
                kind = type(outcome.value).__name__
                raise XComError(f"task {task.task_id!r} has multiple_outputs and must return a dict, not {kind}")
            if odd := [key for key in outcome.value if not isinstance(key, str)]:
                raise XComError(f"task {task.task_id!r} has multiple_outputs: its keys must be strings, not {odd[0]!r}")
            values.update(outcome.value)
        values["return_value"] = outcome.value
    return {key: xcom.dumps(value) for key, value in values.items()}


def check_mappable(task: BaseOperator, value: Any) -> None:
    """XComError unless other tasks can be mapped over the result `value`: a list or dict that is not too long."""
    if not is_mappable(value):
        kind = type(value).__name__
        raise XComError(f"another task is mapped over {task.task_id!r}, so it must return a list or dict, not {kind}")
    most = conf.get("core", "max_map_length")
    if len(value) > most:
        raise XComError(
            f"another task is mapped over {task.task_id!r}, which returned {len(value)} items; "
            f"[core] max_map_length is {most}: hand on larger items, or raise it"
        )


def run_callbacks(callbacks: Sequence[Callback], context: Mapping[str, Any]) -> None:
    """Call each with the context, which is the current one meanwhile; one that fails is logged and changes nothing."""
    token = current_context.set(context)
    try:
        for callback in callbacks:
            try:
                callback(context)
            except (Exception, SystemExit):
                log.exception("callback %s failed; the task's state stays", getattr(callback, "__name__", callback))
    finally:
        current_context.reset(token)


def time_out(task: BaseOperator) -> AirflowTaskTimeout:
    """What ends a task that ran too long."""
    return AirflowTaskTimeout(f"{task.task_id} ran longer than its execution_timeout of {task.execution_timeout}")


NOTHING: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
"""What is around one statement, which is a transaction of its own, and around a task without a time limit."""


def _time_limit(task: BaseOperator) -> contextlib.AbstractContextManager[None]:
    """Ends the block, with AirflowTaskTimeout, when it runs longer than the task's `execution_timeout`.

    Where that is impossible a hanging task is ended by whoever runs its process.
    """
    if task.execution_timeout is None:
        return NOTHING
    return time_limit(task.execution_timeout.total_seconds(), lambda: time_out(task), task.on_kill)


CARRIERS = ("etlkit.runtime", "etlkit.operators", "etlkit.sensors", "etlkit.taskflow")
"""Modules that only carry an attempt to the task's own code."""


def without_our_frames(error: BaseException) -> BaseException:
    """The exception with a traceback that begins in the task's own code; without the runtime's if there is none."""
    frames = []
    frame = error.__traceback__
    while frame is not None:
        frames.append((frame, frame.tb_frame.f_globals.get("__name__", "")))
        frame = frame.tb_next
    own = [frame for frame, module in frames if not module.startswith(CARRIERS)]
    others = [frame for frame, module in frames if module != __name__]
    return error.with_traceback(next(iter(own or others), error.__traceback__))


# --- what a task sees -------------------------------------------------------------------------------------------------


class TaskInstance(OtherDags):
    """The attempt that is running, as its task sees it: `context["ti"]`."""

    rendered_map_index: str | None = None
    """What the `map_index_template` calls it."""

    def __init__(self, runner: TaskRunner, work: Work) -> None:
        self._runner, self._work = runner, work
        assert work.start is not None
        self.start_date, self.first_start_date = work.start, work.rescheduled_since or work.start
        self.end_date: datetime | None = None
        self.state: str = RUNNING
        self.map_index = work.map_index
        self.try_number, self.max_tries = work.try_number, work.max_tries
        self.at_end, self.started_runs = [], []

    @cached_property
    def outlet_events(self) -> OutletEvents:
        """What the task says about the events of its outlets."""
        return OutletEvents()

    @property
    def hostname(self) -> str:
        return self._runner.hostname

    @property
    def pid(self) -> int:
        return self._runner.pid

    @property
    def store(self) -> Store:
        """The metadata database that the attempt is kept in."""
        return self._runner.store

    @property
    def task(self) -> BaseOperator:
        return self._work.task

    @property
    def task_id(self) -> str:
        return self._work.task.task_id

    @property
    def dag_id(self) -> str:
        return self._work.run.dag_id

    @property
    def run_id(self) -> str:
        return self._work.run.run_id

    @property
    def log_url(self) -> str | None:
        """The web page of this try; None where [api] base_url is not set."""
        from etlkit.notify import log_url

        return log_url(self._work.run, self)

    @property
    def duration(self) -> float | None:
        """Seconds of the clock between start and end, when it has ended."""
        return (self.end_date - self.start_date).total_seconds() if self.end_date else None

    @property
    def log_text(self) -> str:
        """What this try has logged so far."""
        return self._runner.logs.read(self._work.log_key)

    def items(self, result: XComArg) -> Sequence[Any]:
        """What the result of a task holds to map over; in a mapped group, of the instance with this map index."""
        if result.operator.shares_instances_with(self.task):
            return items_of(self.xcom_pull(result.operator.task_id, map_indexes=self.map_index))
        return self._work.known_items.pull(self.store, self._work.run.id, result.operator)

    def xcom_push(self, key: str, value: Any) -> None:
        """Store `value` under `key`, at once; XComError if it cannot travel."""
        store, text = self._runner.store, xcom.dumps(value)
        with store.transaction():
            store.push_xcom(self._work.run.id, self.task_id, self.map_index, key, text, self._runner.clock.now())

    def xcom_pull(
        self,
        task_ids: str | Sequence[str] | None = None,
        dag_id: str | None = None,
        key: str = "return_value",
        include_prior_dates: bool = False,
        *,
        map_indexes: Any = NOTSET,
        default: Any = None,
        run_id: str | None = None,
    ) -> Any:
        """What tasks pushed under `key`: one value for one task id, one flat list for several.

        Without `task_ids`, this task's own. Of a mapped task these are the values of all instances, a list unless it
        is one value; `map_indexes` picks an instance, or several in that order; None one that is not mapped. `run_id`
        (and `dag_id`) look into another run. `include_prior_dates` adds the values of all runs with earlier logical
        dates, oldest first, or takes the newest where an instance is picked. Nothing pushed gives `default`.
        """
        one_task = task_ids is None or isinstance(task_ids, str)
        one_index = map_indexes is None or isinstance(map_indexes, int)
        indexes = [-1 if map_indexes is None else map_indexes] if one_index else map_indexes
        pulled: list[Any] = []
        for task_id in [task_ids or self.task_id] if one_task else task_ids:  # type: ignore[union-attr]
            found = self._pull(task_id, key, run_id, dag_id, include_prior_dates)  # type: ignore[arg-type]
            if indexes is NOTSET:
                pulled += [xcom.loads(text) for _, text in found] or [default]
            else:
                by_index = dict(found)
                pulled += [xcom.loads(by_index[index]) if index in by_index else default for index in indexes]
        one_value = one_index or (indexes is NOTSET and len(pulled) == 1)
        return pulled[0] if one_task and one_value else pulled

    def _pull(
        self, task_id: str, key: str, run_id: str | None, dag_id: str | None, prior: bool
    ) -> list[tuple[int, str]]:
        store, run = self._runner.store, self._work.run
        if run_id is not None or dag_id is not None:
            other = store.run(dag_id or run.dag_id, run_id or run.run_id)
            if other is None:
                return []
            run = other
        return store.pull_xcom_until(run, task_id, key) if prior else store.pull_xcom(run.id, task_id, key)

    def __repr__(self) -> str:
        return f"<TaskInstance {self.dag_id}.{self.task_id} {self.run_id} try {self.try_number} {self.state}>"


RunType = Enum("DagRunType", {member.name: member.value for member in DagRunType}, type=str)  # type: ignore[misc]
"""The run's type as a task sees it: equal to "manual", and printed as Airflow prints it, DagRunType.MANUAL."""


class DagRun:
    """The run that a task belongs to, as the task sees it: `context["dag_run"]`."""

    def __init__(self, run: RunRow) -> None:
        self._run = run
        for name in ("dag_id", "run_id", "state", "conf", "queued_at"):
            setattr(self, name, getattr(run, name))
        self.run_type = RunType(run.run_type)
        for name in ("logical_date", "data_interval_start", "data_interval_end", "run_after", "start_date", "end_date"):
            setattr(self, name, as_pendulum(getattr(run, name)))

    def __repr__(self) -> str:
        return f"<DagRun {self._run.dag_id} {self._run.run_id}>"

    def _repr_html_(self) -> str:
        run = self._run
        instants = (run.logical_date, run.data_interval_start, run.data_interval_end, run.start_date, run.end_date)
        head = ("state", "logical date", "data interval from", "to", "started", "ended", "conf")
        texts = [clock_text(moment) if moment else "" for moment in instants]
        conf = json.dumps(masker.masked(run.conf), ensure_ascii=False) if run.conf else ""
        return as_html(f"{run.dag_id} {run.run_id} (times in UTC)", [head, (run.state, *texts, conf)])


class Context(Mapping):
    """What a task is told about its run, by Airflow's names; each value is worked out when first asked for."""

    def __init__(self, ti: TaskInstance) -> None:
        self.ti = ti
        self.task = ti.task
        self.known: dict[str, Any] = {}
        self._computed = CONTEXT_VALUES if self.run.logical_date is not None else UNDATED_VALUES

    def __getitem__(self, name: str) -> Any:
        if name not in self.known:
            try:
                compute = self._computed[name]
            except KeyError:
                undated = "of a run that was triggered without a logical date" if name in DATED else "of a task"
                raise KeyError(f"{name!r} is not in the context {undated}") from None
            self.known[name] = compute(self)
        return self.known[name]

    def __setitem__(self, name: str, value: Any) -> None:
        """Add something for templates that are rendered later: a `map_index_template`."""
        self.known[name] = value

    def __contains__(self, name: object) -> bool:
        return name in self.known or name in self._computed

    def __iter__(self) -> Iterator[str]:
        return iter({**self._computed, **self.known})

    def __len__(self) -> int:
        return len({**self._computed, **self.known})

    @property
    def run(self) -> RunRow:
        return self.ti._work.run

    @cached_property
    def previous_success(self) -> RunRow | None:
        """The run with the newest logical date before this one's that succeeded."""
        run: RunRow | None = self.run
        while run is not None and run.logical_date is not None:
            run = self.ti.store.previous_run(run, scheduled_only=False)
            if run is not None and run.state == "success":
                return run
        return None

    def __repr__(self) -> str:
        return f"<Context of {self.ti!r}>"


def as_pendulum(value: datetime | None) -> Any:
    """An instant as a `pendulum.DateTime`, which is what Airflow hands to tasks."""
    if value is None:
        return None
    import pendulum

    return pendulum.instance(value)


def _warehouse(context: Context) -> Any:
    warehouse = context.ti._runner.warehouse
    if warehouse is None:
        raise KeyError("this run has no warehouse; give the Lab one, or set [core] warehouse")
    return warehouse()


def _previous(name: str) -> Callable[[Context], Any]:
    return lambda context: as_pendulum(getattr(context.previous_success, name, None))


def lookups(store: Store) -> dict[str, Any]:
    """`var` and `conn`: the Variables and Connections of a metadata database, each looked up when it is used."""
    variables = Variables(store)
    var = {
        "value": Lookup(variables.get, NOTSET),
        "json": Lookup(lambda key: variables.get(key, deserialize_json=True), NOTSET),
    }
    return {"var": var, "conn": Lookup(Connections(store).get)}


CONTEXT_VALUES: dict[str, Callable[[Context], Any]] = {
    "dag": lambda c: c.ti._work.dag,
    "task": lambda c: c.task,
    "ti": lambda c: c.ti,
    "task_instance": lambda c: c.ti,
    "dag_run": lambda c: DagRun(c.run),
    "run_id": lambda c: c.run.run_id,
    "logical_date": lambda c: as_pendulum(c.run.logical_date),
    "data_interval_start": lambda c: as_pendulum(c.run.data_interval_start),
    "data_interval_end": lambda c: as_pendulum(c.run.data_interval_end),
    "ds": lambda c: c["logical_date"].strftime("%Y-%m-%d"),
    "ds_nodash": lambda c: c["logical_date"].strftime("%Y%m%d"),
    "ts": lambda c: c["logical_date"].isoformat(),
    "ts_nodash": lambda c: c["logical_date"].strftime("%Y%m%dT%H%M%S"),
    "ts_nodash_with_tz": lambda c: c["logical_date"].isoformat().replace("-", "").replace(":", ""),
    "conf": lambda c: c.run.conf,
    "params": lambda c: run_params(c.ti._work.dag.params, c.task.params, conf=c.run.conf),
    "prev_start_date_success": _previous("start_date"),
    "prev_end_date_success": _previous("end_date"),
    "prev_data_interval_start_success": _previous("data_interval_start"),
    "prev_data_interval_end_success": _previous("data_interval_end"),
    "task_instance_key_str": lambda c: f"{c.run.dag_id}__{c.ti.task_id}__{c.get('ds_nodash', c.run.run_id)}",
    "map_index_template": lambda c: c.task.map_index_template,
    "outlets": lambda c: list(c.task.outlets),
    "inlets": lambda c: list(c.task.inlets),
    "outlet_events": lambda c: c.ti.outlet_events,
    "inlet_events": lambda c: InletEvents(AssetReader(c.ti.store, DagRun), c.task.inlets),
    "triggering_asset_events": lambda c: AssetReader(c.ti.store, DagRun).triggering_events(c.run),
    "macros": lambda c: Macros(c.ti._runner.clock),
    "var": lambda c: lookups(c.ti.store)["var"],
    "conn": lambda c: lookups(c.ti.store)["conn"],
    "clock": lambda c: c.ti._runner.clock,
    "warehouse": _warehouse,
    "exception": lambda c: None,
}
"""Every name in a task's context and how its value is found. `clock` and `warehouse` are etlkit's own; the rest is
Airflow's."""

UNDATED_VALUES = {name: compute for name, compute in CONTEXT_VALUES.items() if name not in DATED}
"""The same for a run without a logical date."""
