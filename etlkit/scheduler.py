"""The scheduler: from what is known now to what runs next.

It is an onion. `run_until` owns time: it lets passes happen until nothing more can happen at this instant, then moves
the clock to the next instant at which something will. `tick` is one pass at one instant:

1. `_create_due_runs`     a DAG's next run is due, or its assets are there: insert it, with its task instances
2. `_start_queued_runs`   as many queued runs become running as `max_active_runs` allows
3. `_wake_up`             retries, reschedules and run time-outs whose moment has come
4. `_decide`              trigger rules: which tasks may run, which end without running
5. `_enqueue`             who gets a slot: pools, limits, priority
6. `_finish_runs`         runs whose tasks are all final

These are one transaction. Then the executor is given what was queued, and asked what has ended (`_collect`).

What the scheduler keeps in memory is a cache of the database and nothing more: it can be dropped at any time and is
built anew by `_reload`, which is also how a scheduler starts after a crash (`recover`). The cost of a pass grows with
what has changed since the last one, not with how many DAGs, runs and tasks there are.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
from collections.abc import Container, Hashable, Iterable, Sequence
from datetime import datetime, timedelta

from etlkit.active_runs import ActiveRun, RunQueue, ScheduledDag
from etlkit.asset_events import give_events, queued, register_assets, take
from etlkit.claims import Claims
from etlkit.clock import Clock
from etlkit.config import conf
from etlkit.dag import DAG, BaseOperator
from etlkit.errors import DagNotFound, DuplicateDagIdFound, XComError
from etlkit.events import Listener, Listeners, RunEvent, TaskEvent
from etlkit.executors.base import Executor
from etlkit.past import past_blocks
from etlkit.rules import explain
from etlkit.runs import free_run_id, insert_run, instance_rows, task_rows
from etlkit.runtime import Result, TaskRunner, Work, result_of, run_callbacks
from etlkit.slots import Slots
from etlkit.states import (
    ACTIVE,
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
    DagRunType,
)
from etlkit.store import LOST, Conflict, RunRow, Store, TaskRow
from etlkit.timetables import DagRunInfo

log = logging.getLogger("etlkit.scheduler")

LONGEST_WAIT = 1.0
"""Wall seconds after which a scheduler that waits for attempts looks at everything else again."""


class Scheduler:
    """Runs DAGs on a Clock, through an Executor, remembering everything in a Store.

    `parallelism` bounds the task instances that are queued or running over all DAGs ([core] parallelism). Listeners are
    told of every change once it is committed. `claims` say which DAGs are its own, where several schedulers share a
    database.
    """

    # What is kept in memory: all of it follows from the database.
    _active: dict[int, ActiveRun]
    _queues: dict[Hashable, RunQueue]
    _startable: dict[int, RunQueue]
    _due: list[tuple[datetime, str]]
    _timers: list[tuple[datetime, int, int, int | None]]
    _waiting_for_room: set[str]
    _assets_changed: bool
    _touched: dict[int, ActiveRun]
    _done: set[int]
    _timed_out: set[int]
    _paths: dict[int, tuple[str | None, ...]]
    _events: list[TaskEvent | RunEvent]
    _finished: list[tuple[ActiveRun, str, str]]
    _found: list[Work]
    _own: dict[str, ScheduledDag]

    def __init__(
        self,
        store: Store,
        clock: Clock,
        executor: Executor,
        *,
        runner: TaskRunner | None = None,
        listeners: Iterable[Listener] = (),
        parallelism: int | None = None,
        claims: Claims | None = None,
    ) -> None:
        self.store, self.clock, self.executor = store, clock, executor
        self.claims = claims or Claims()
        self.runner = runner or TaskRunner(store, clock)
        self.listeners = Listeners(listeners)
        self.runner.find_dag = self.runner.find_dag or (lambda dag_id: self.entry(dag_id).dag)
        self.parallelism = conf.get("core", "parallelism") if parallelism is None else parallelism
        self.dags: dict[str, ScheduledDag] = {}
        self._stale, self._cut_short = True, False
        self._given_up: list[TaskRow] = []
        self._forget()
        executor.start(self.runner)

    # --- what it looks after ---

    def add_dag(self, dag: DAG, *, paused: bool = False) -> None:
        """Look after `dag`; `paused` holds only if the database has never seen it.

        CycleError if it has a cycle, DagError if the executor cannot run its tasks.
        """
        known = self.dags.get(dag.dag_id)
        if known is not None and known.dag is not dag:
            raise DuplicateDagIdFound(dag.dag_id, [d.fileloc for d in (known.dag, dag) if d.fileloc])
        entry = ScheduledDag(dag)
        self.executor.accept(dag)
        with self.store.transaction():
            self.store.register_dag(
                dag.dag_id, paused=paused, fileloc=dag.fileloc, schedule=dag.timetable.summary, now=self.clock.now()
            )
            register_assets(self.store, dag)
        self.dags[dag.dag_id] = entry
        self._stale = True

    def remove_dag(self, dag_id: str) -> None:
        """Look after it no more; its history stays."""
        self.entry(dag_id)
        del self.dags[dag_id]
        self._stale = True

    def entry(self, dag_id: str) -> ScheduledDag:
        """What the scheduler knows of one DAG; DagNotFound with the nearest name."""
        if dag_id not in self.dags:
            raise DagNotFound(dag_id, list(self.dags))
        return self.dags[dag_id]

    def recover(self) -> list[TaskRow]:
        """Take over after a crash: attempts whose process died are made again; returns them.

        Call it before the first tick, and only when no other scheduler uses the database. Attempts that are made
        elsewhere go on: whether one of those is lost the executor says.
        """
        lost = [] if self.executor.detached else self.store.lost_attempts()
        if lost:
            now = self.clock.now()
            with self.store.transaction():
                self._given_up += [task for task in lost if self._make_again(task, now) == FAILED]
            self._stale = True
        return lost

    def _make_again(self, task: TaskRow, now: datetime) -> str:
        """Let a lost attempt be made again, inside the caller's transaction; the state of its task instance now.

        It uses up no retry, unless the task was lost [scheduler] max_lost_attempts times before: then it has failed.
        """
        if task.state == RUNNING and task.lost_attempts >= conf.get("scheduler", "max_lost_attempts"):
            self.store.fail_lost_attempt(task, now)
            return FAILED
        self.store.repeat_lost_attempt(task, now)
        return SCHEDULED

    def _tell_given_up(self, now: datetime) -> None:
        """Tell listeners and callbacks of the tasks that failed because their processes died too often."""
        given_up, self._given_up = self._given_up, []
        for task in given_up:
            run = self._active.get(task.dag_run_id)
            if run is None:
                continue
            for position in [k for k, row in run.tasks.items() if row.id == task.id]:
                work = run.work(position)
                work.try_number, work.start = task.try_number, task.start_date
                self._attempt_event(work, RUNNING, FAILED, now, LOST)
                self.runner.note_lost(work, failed=True)

    # --- time ---

    def run_until(self, end: datetime) -> None:
        """Let everything happen that happens before or at `end`; then the clock shows `end`."""
        self.settle()
        while (moment := self.next_event()) is not None and moment <= end:
            self.clock.sleep_until(moment)
            self.settle()
        self.clock.sleep_until(end)
        self.settle()

    def settle(self) -> None:
        """Let passes happen until nothing more can happen at this instant."""
        while self.tick() or self.executor.wait(self._seconds_to_next_event()):
            pass

    def _seconds_to_next_event(self) -> float:
        """How long attempts may be waited for: until something else is to be done, and LONGEST_WAIT at most."""
        moment = self.next_event()
        left = (moment - self.clock.now()).total_seconds() if moment is not None else LONGEST_WAIT
        return min(max(left, 0.0), LONGEST_WAIT)

    def wind_up(self) -> None:
        """Start nothing more: let what runs in processes of its own come to its end, and others have the DAGs."""
        while not self.executor.detached and self.executor.wait(LONGEST_WAIT):
            if self.claims.is_due(now := self.clock.now()):
                self.claims.renew(now, (), self.executor.dags_in_flight())
            self.collect()
        self.claims.release(self.clock.now())

    def rest_until(self, moment: datetime, wake: threading.Event | None = None) -> None:
        """Let real time pass: until `moment`, or a while, or until there is something to look at.

        That is an attempt that may have ended, another process that changed a database which can say so, or `wake`.
        """
        seconds = min((moment - self.clock.now()).total_seconds(), LONGEST_WAIT)
        if seconds <= 0 or self.executor.wait(seconds):
            return
        if self.store.is_sqlite:
            self.clock.sleep_until(moment, wake)
        else:
            self.store.wait_for_news(seconds)

    def next_event(self) -> datetime | None:
        """The next instant at which something will happen by itself; None if never."""
        moments = [heap[0][0] for heap in (self._timers, self._due) if heap]
        ends = self.executor.next_event()
        return min(moments if ends is None else [*moments, ends], default=None)

    @property
    def waiting(self) -> int:
        """How many tasks are ready, and wait for a slot."""
        return self._slots.waiting

    @property
    def is_idle(self) -> bool:
        """Whether there is no run to do, now or by a schedule later."""
        return not (self._active or self._due or any(queue.waiting for queue in self._queues.values()))

    # --- one pass ---

    def tick(self) -> bool:
        """One pass at the clock's present instant; True if anything changed, so that another pass may change more."""
        now = self.clock.now()
        if self.claims.shared:
            self._renew_claims(now)
        has_work = not self._stale and self._has_work(now)
        looks_itself = has_work and self.store.exclusive  # in its transaction, where what it sees holds
        if not looks_itself and (self.store.changed_elsewhere() or self._stale):
            has_work = self._reloaded(now) and self._has_work(now)
        changes = self._changes
        try:
            works = self._pass(now) if has_work else ()
            if self._found:
                self._hand_over()
            for work in works:
                self.executor.submit(work)
            self._publish(now)
            self._take_results()
        except BaseException:
            # Such as Ctrl-C: what an executor in this process was at is lost, and only the database knows what holds.
            self._stale, self._cut_short = True, self.executor.in_process
            raise
        self._publish(now)
        if self.listeners:
            self.listeners.on_tick(now)
        return self._changes != changes

    def collect(self) -> None:
        """Note what has ended, and start nothing."""
        self._take_results()
        self._publish(self.clock.now())

    def _take_results(self) -> None:
        for result in self.executor.poll():
            self._collect(result)

    def _renew_claims(self, now: datetime) -> None:
        """Show the other schedulers, if there are any, that this one is alive, and see which DAGs are its own."""
        if self.claims.is_due(now):
            self._slots.used_by_others = {}  # the next pass asks anew
            self._stale |= self.claims.renew(now, self.dags, self.executor.dags_in_flight())

    def _has_work(self, now: datetime) -> bool:
        """Whether a pass would do anything; asked often, so it only looks at the heads of the queues."""
        return bool(
            self._touched
            or (self._due and self._due[0][0] <= now)
            or (self._timers and self._timers[0][0] <= now)
            or (self._slots.any_free() and self.executor.free_slots() > 0)
            or self._startable
            or self._assets_changed
        )

    def _pass(self, now: datetime) -> list[Work]:
        """The six steps, as one transaction; the attempts to submit once it is committed."""
        try:
            with self.store.transaction():
                if self.store.exclusive and self.store.changed_elsewhere():  # before this had its turn to write
                    raise Conflict("somebody else changed the database")
                if self.claims.shared:
                    self.claims.check()
                self._create_due_runs(now)
                if self._assets_changed:
                    self._create_asset_runs(now)
                if self._startable:
                    self._start_queued_runs(now)
                self._wake_up(now)
                self._decide(now)
                works = self._enqueue(now)
                if self.executor.in_process:
                    self._begin(works)
                self.store.set_task_states(self._paths, now)
                if self._done:
                    self._finish_runs(now)
            self._paths.clear()
            return works
        except BaseException as error:
            # Nothing of this pass was written, so nothing of it may stay in memory.
            self._forget()
            self._stale = True
            if isinstance(error, Conflict):
                self._look_again(error)
                return []
            raise

    def _look_again(self, error: Conflict) -> None:
        """Somebody else was first: the next pass decides anew."""
        log.info("%s; looking again", error)
        self._changes += 1

    def _publish(self, now: datetime) -> None:
        """Tell listeners and run the DAG callbacks of what was committed."""
        if not (self._events or self._finished):
            return
        events, finished = self._events, self._finished
        self._events, self._finished = [], []
        for event in events:
            if isinstance(event, TaskEvent):
                self.listeners.on_task(event)
            else:
                self.listeners.on_run(event)
        for run, state, reason in finished:
            callbacks = run.dag.on_failure_callback if state == FAILED else run.dag.on_success_callback
            if callbacks:
                row = run.row._replace(state=state, end_date=now)
                run_callbacks(callbacks, self.runner.run_context(run.dag, row, reason))

    def _hand_over(self) -> None:
        """Let the executor look after attempts that were found under way."""
        found, self._found = self._found, []
        for work in found:
            self.executor.adopt(work)

    # --- 1: due runs ---

    def _create_due_runs(self, now: datetime) -> None:
        while self._due and self._due[0][0] <= now:
            entry = self._own[heapq.heappop(self._due)[1]]
            if self._runs_of(entry).active >= entry.dag.max_active_runs:
                self._waiting_for_room.add(entry.dag.dag_id)
                continue
            info = entry.next_run(now)
            if info is not None and info.run_after <= now:
                self._create_scheduled_run(entry, info, now)
            self._expect_next_run(entry, now)

    def _create_scheduled_run(self, entry: ScheduledDag, info: DagRunInfo, now: datetime) -> None:
        run = insert_run(
            self.store,
            entry.dag,
            DagRunType.SCHEDULED,
            logical_date=info.logical_date,
            data_interval=info.data_interval,
            run_after=info.run_after,
            now=now,
        )
        entry.last_interval = info.data_interval
        self._changes += 1
        if run is not None:  # None: a backfill or a person already made a run of this date
            self._queue_run(run)
            self._run_event(run, None, "queued", now)

    def _create_asset_runs(self, now: datetime) -> None:
        """A run for each DAG that has new events of the assets it waits for."""
        self._assets_changed = False
        for dag_id, updated in queued(self.store).items():
            entry = self._own.get(dag_id)
            if entry is None or entry.paused or not entry.is_started_by(updated):
                continue
            if self._runs_of(entry).active >= entry.dag.max_active_runs:
                continue  # looked at again when one of them ends
            moment = take(self.store, dag_id)
            if moment is None:
                raise Conflict(f"somebody else made the run of {dag_id} for its assets")
            self._create_asset_run(entry, moment, now, ", ".join(sorted(key.name for key in updated)))

    def _create_asset_run(self, entry: ScheduledDag, moment: datetime, now: datetime, names: str) -> None:
        kind = DagRunType.ASSET_TRIGGERED
        run_id = free_run_id(self.store, entry.dag, moment, kind)
        run = insert_run(
            self.store,
            entry.dag,
            kind,
            logical_date=None,
            data_interval=None,
            run_after=moment,
            now=now,
            run_id=run_id,
        )
        if run is None:
            raise Conflict(f"somebody else made the run {run_id} of {entry.dag.dag_id}")
        give_events(self.store, run.dag_id, run.id)
        self._queue_run(run)
        self._run_event(run, None, "queued", now, f"new events of {names}")

    def _expect_next_run(self, entry: ScheduledDag, now: datetime) -> None:
        """Note when the DAG's next run is due."""
        info = None if entry.paused else entry.next_run(now)
        if info is not None:
            moment = info.run_after
            if entry.dag.timetable.starts_at_once:
                # "At once" would make runs about no time at all, for ever inside one instant.
                moment = max(moment, now + timedelta(seconds=conf.get("scheduler", "scheduler_idle_sleep_time")))
            heapq.heappush(self._due, (moment, entry.dag.dag_id))

    # --- 2: queued runs ---

    def _runs_of(self, entry: ScheduledDag) -> RunQueue:
        return self._queues[entry.dag.dag_id]

    def _queue_for(self, run: RunRow) -> RunQueue:
        """The queue whose limit counts for a run: its backfill's while that is not complete, else its DAG's."""
        return self._queues.get(run.backfill_id) or self._queues[run.dag_id]

    def _queue_run(self, run: RunRow) -> None:
        self._queue_for(run).waiting.append(run)
        self._look_at_queue(run)

    def _look_at_queue(self, run: RunRow) -> None:
        """The queue of `run` may have a run to start: one was added, or one finished."""
        queue = self._queue_for(run)
        if queue.may_start():
            self._startable[id(queue)] = queue

    def _start_queued_runs(self, now: datetime) -> None:
        startable = self._startable
        self._startable = {}
        for queue in startable.values():
            while queue.may_start():
                run = queue.waiting.popleft()
                self.store.set_run_state(run.id, "queued", "running", now)
                self._run_event(run, "queued", "running", now)
                self._activate(run._replace(state="running", start_date=now), self.store.task_instances(run.id), now)

    def _activate(self, row: RunRow, tasks: Sequence[TaskRow], now: datetime) -> None:
        """Begin to look after the tasks of a running run."""
        entry = self._own[row.dag_id]
        run = ActiveRun(row, entry, self._reconciled(entry, row, tasks, now))
        self._active[row.id] = entry.runs[row.id] = run
        self._queue_for(row).running += 1
        self._changes += 1
        self._touch(run)
        if run.deadline is not None:
            self._set_timer(run.deadline, run, None)
        for position, task in run.tasks.items():
            if task.state in ACTIVE:
                self._slots.hold(run, position)
                if not self.executor.in_process:
                    self._found.append(run.work(position))
            elif task.state == SCHEDULED and not self._is_held(run):
                self._slots.join(run, position)
            elif task.state in (UP_FOR_RETRY, UP_FOR_RESCHEDULE):
                self._set_timer(task.not_before or now, run, position)
            elif task.state == SUCCESS and task.skips:
                run.rule_out(task.skips, task.map_index)

    def _reconciled(
        self, entry: ScheduledDag, row: RunRow, tasks: Sequence[TaskRow], now: datetime
    ) -> Sequence[TaskRow]:
        """The run's task instances, after its DAG may have changed: new and returned ones open, lost ones removed."""
        states = {task.state for task in tasks}
        if {
            task.task_id for task in tasks if task.map_index < 0
        } == entry.dag.task_dict.keys() and REMOVED not in states:
            return tasks
        fitting = entry.fitting(tasks)
        known = {task.task_id for task in tasks if task.id in fitting}
        missing = [] if known == entry.dag.task_dict.keys() else task_rows(entry.dag, row)
        missing = [new for new in missing if new["task_id"] not in known]
        living = {task.task_id for task in tasks if task.id in fitting and task.state != REMOVED}
        paths = {task.id: path for task in tasks if (path := self._edited(task, task.id in fitting, living))}
        if missing or paths:
            self.store.create_task_instances(row.id, missing)
            self.store.set_task_states(paths, now)
            tasks = self.store.task_instances(row.id)
            fitting = entry.fitting(tasks)
        return [task for task in tasks if task.id in fitting]

    @staticmethod
    def _edited(task: TaskRow, fits: bool, living: Container[str]) -> tuple[str | None, ...]:
        """The states that a task instance goes through because its task left the DAG, or came back.

        An instance of a mapped task that has others left was one too many, and does not come back.
        """
        if (task.state == REMOVED) != fits or (task.state == REMOVED and task.task_id in living):
            return ()
        if task.state == REMOVED:
            return REMOVED, None
        return (task.state, None, REMOVED) if task.state in FINISHED else (task.state, REMOVED)

    # --- 3: timers ---

    def _set_timer(self, moment: datetime, run: ActiveRun, position: int | None) -> None:
        heapq.heappush(self._timers, (moment, next(self._sequence), run.row.id, position))

    def _wake_up(self, now: datetime) -> None:
        while self._timers and self._timers[0][0] <= now:
            _, _, run_pk, position = heapq.heappop(self._timers)
            run = self._active.get(run_pk)
            if run is None or self._is_held(run):
                continue  # when the pause ends, everything is read anew, timers too
            if position is None:
                self._end_open_tasks(run, now, f"dagrun_timeout of {run.dag.dagrun_timeout} passed", running=SKIPPED)
                self._timed_out.add(run_pk)
            elif run.frontier.states[position] in (UP_FOR_RETRY, UP_FOR_RESCHEDULE):
                self._make_ready(run, position, now, "its delay is over")

    def _end_open_tasks(
        self, run: ActiveRun, now: datetime, reason: str, *, running: str, spare: Container[int] = ()
    ) -> list[int]:
        """End all open tasks but those in `spare`: what runs becomes `running`, the rest is skipped.

        Returns the positions that this may decide.
        """
        candidates: list[int] = []
        for position in run.tasks:
            state = run.frontier.states[position]
            if state not in FINISHED and position not in spare:
                candidates += self._settle(run, position, running if state == RUNNING else SKIPPED, now, reason)
        return candidates

    # --- 4: trigger rules ---

    def _decide(self, now: datetime) -> None:
        """Trigger rules, and all that follows from them, in the runs in which something changed."""
        touched = self._touched
        self._touched = {}
        settled_in = []
        for run in touched.values():
            if run.row.id not in self._active or self._is_held(run):
                continue
            candidates, run.candidates = run.candidates, []
            still_open = run.open
            if run.failed_fast:
                candidates += self._fail_fast(run, now)
            if run.ruled_out:
                candidates += self._skip_ruled_out(run, now)
            runnable, settled = run.frontier.decide(candidates)
            for position, state in settled:
                self._note(run, position, None, state, now, self._rule_in_words(run, position))
                run.open -= 1
            for position in runnable:
                self._make_ready_unless_held_by_past(run, position, now)
            if run.open < still_open:
                settled_in.append(run)
            if not run.open:
                self._done.add(run.row.id)
        for run in settled_in:  # looked at in the next pass, when this one is written down
            self._touch_next_runs(run)

    def _fail_fast(self, run: ActiveRun, now: datetime) -> list[int]:
        """A task of a `fail_fast` DAG failed: end all others but teardowns; the positions that this may decide."""
        run.failed_fast = False
        teardowns = {i for i, task in enumerate(run.index.tasks) if task.is_teardown}
        return self._end_open_tasks(run, now, "fail_fast: another task failed", running=FAILED, spare=teardowns)

    def _skip_ruled_out(self, run: ActiveRun, now: datetime) -> list[int]:
        """Skip what a branch or short circuit decided against; the positions that this may decide."""
        candidates: list[int] = []
        for position in sorted(run.ruled_out):
            if run.frontier.states[position] not in FINISHED | ACTIVE:
                candidates += self._settle(run, position, SKIPPED, now, "a branch or short circuit went past it")
        run.ruled_out.clear()
        return candidates

    def _is_held(self, run: ActiveRun) -> bool:
        """Whether its DAG is paused; a backfill goes on all the same, since somebody asked for it."""
        return run.entry.paused and run.row.backfill_id is None

    def _make_ready_unless_held_by_past(self, run: ActiveRun, position: int, now: datetime) -> None:
        task = run.index.tasks[position]
        if task.depends_on_past and past_blocks(self.store, run.row, task):
            run.held_by_past.add(position)
        else:
            run.held_by_past.discard(position)
            make_ready = self._expand if position in run.index.sources else self._make_ready
            make_ready(run, position, now, self._rule_in_words(run, position))

    def _expand(self, run: ActiveRun, position: int, now: datetime, reason: str) -> None:
        """A mapped task may run: give it as many instances as there are items, and let them stand in line."""
        task = run.index.tasks[position]
        assert task.expansion is not None
        try:
            length = task.expansion.length(lambda result: run.known_items.pull(self.store, run.row.id, result.operator))
        except XComError as error:
            self._settle_open_instances(run, position, now, str(error))
            return
        known = len(run.index.instances.get(position, ()))
        if length > known:
            new = instance_rows(task, range(known, length))
            rows = self.store.expand_task_instance(run.row.id, task.task_id, new)
            run.expand(position, rows[known:])
        decided_alone: list[int] = []
        for k in run.frontier.open_instances(position):
            if not run.tasks[k].map_index < length or not length:  # nothing to map over, or less than when it was made
                state = SKIPPED if run.tasks[k].map_index <= 0 else REMOVED
                decided_alone += self._settle(run, k, state, now, f"it is mapped over {length} items")
            elif position in run.index.groups:
                decided_alone.append(k)
            else:
                self._make_ready(run, k, now, reason)
        if decided_alone:  # in the next pass, and what waits in the group for this task to be expanded
            run.candidates += [*decided_alone, *run.index.edges[position]]
            self._changes += 1
            self._touch(run)

    def _settle_open_instances(self, run: ActiveRun, position: int, now: datetime, reason: str) -> None:
        """What a mapped task is mapped over cannot be mapped over: it has failed."""
        for k in run.frontier.open_instances(position):
            run.candidates += self._settle(run, k, FAILED, now, reason)
        self._touch(run)

    def _make_ready(self, run: ActiveRun, position: int, now: datetime, reason: str) -> None:
        """Let a task stand in line for a slot."""
        self._note(run, position, run.frontier.states[position], SCHEDULED, now, reason)
        run.frontier.states[position] = SCHEDULED
        self._slots.join(run, position)

    def _settle(self, run: ActiveRun, position: int, state: str, now: datetime, reason: str) -> list[int]:
        """Give one open task a final state without running it; the positions that this may decide."""
        old = run.frontier.states[position]
        if old in ACTIVE:
            self._slots.give_back(run, position)
        self._note(run, position, old, state, now, reason)
        run.open -= 1
        if not run.open:
            self._done.add(run.row.id)
        return list(run.frontier.finish(position, state))

    # --- 5: slots ---

    def _enqueue(self, now: datetime) -> list[Work]:
        """Give the free slots to the ready tasks that come first."""
        works = []
        if self.claims.shared and self._slots.any_free():
            self._slots.used_by_others = self.claims.slots_of_others(held=True)
        for run, position in self._slots.take(self.executor.free_slots()):
            self._note(run, position, SCHEDULED, QUEUED, now)
            run.frontier.states[position] = QUEUED
            works.append(run.work(position))
        return works

    def _begin(self, works: list[Work]) -> None:
        """Begin attempts that an executor in this process makes at once, together with what was decided of them."""
        for work in works:
            if self.runner.begin(work, self._paths.pop(work.task_pk)) is None:
                raise Conflict(f"task {work.task.task_id} of {work.run.run_id} is not as it was any more")
            if self.listeners:
                self._attempt_event(work, QUEUED, RUNNING, work.start)

    # --- 6: finished runs ---

    def _finish_runs(self, now: datetime) -> None:
        for run_pk in sorted(self._done):
            run = self._active.get(run_pk)
            if run is not None and not run.open:
                state = run.frontier.run_state() or FAILED
                reason = "success" if state == SUCCESS else "task_failure"
                if run_pk in self._timed_out:
                    state, reason = FAILED, "timed_out"
                self._finish_run(run, state, reason, now)
        self._done.clear()

    def _finish_run(self, run: ActiveRun, state: str, reason: str, now: datetime) -> None:
        if not self.store.is_over(run.row.id):
            raise Conflict(f"run {run.row.run_id} has open tasks again")  # somebody cleared them just now
        self.store.set_run_state(run.row.id, "running", state, now)
        self._run_event(run.row, "running", state, now, "" if reason == state else reason)
        self._touch_next_runs(run)
        del self._active[run.row.id], run.entry.runs[run.row.id]
        queue = self._queue_for(run.row)
        queue.running -= 1
        self._look_at_queue(run.row)
        self._finished.append((run, state, reason))
        self._timed_out.discard(run.row.id)
        if run.row.backfill_id is not None and not queue.active:
            self.store.complete_backfill(run.row.backfill_id, now)
        if run.row.dag_id in self._waiting_for_room:
            self._waiting_for_room.discard(run.row.dag_id)
            self._expect_next_run(run.entry, now)
        if run.dag.timetable.asset_condition is not None:
            self._assets_changed = True  # there may be room for another run

    # --- what ended ---

    def _collect(self, result: Result) -> None:
        """Note how an attempt ended; the runtime has already written it down."""
        if result.lost:
            self._collect(self._after_loss(result.work))
            return
        run = self._active.get(result.work.run.id)
        position = None if run is None else run.position_of(result.work)
        self._changes += 1
        if result.work.task.outlets:
            self._assets_changed = True
        for started in result.started_runs:
            if started.dag_id in self._queues:  # else it is read with its DAG's
                self._queue_run(started)
                self._run_event(started, None, "queued", self.clock.now(), f"{result.work.task.task_id} started it")
        if run is None and not self._stale and result.work.run.dag_id not in self._own:
            return  # another scheduler has the DAG now
        if result.state is None or run is None or position is None:
            # It was cleared, timed out, taken over or taken out of its DAG while it ran: read again what holds now.
            self._stale = True
            return
        if not run.waits_for(result.work, position):
            return  # read from the database already
        self._slots.give_back(run, position)
        if self.listeners and result.start is not None:
            if not self.executor.in_process:
                self._attempt_event(result.work, QUEUED, RUNNING, result.start)
            self._attempt_event(result.work, RUNNING, result.state, result.end, result.error or "")
        if result.state == SCHEDULED:
            run.tasks[position] = self.store.task_instance(result.work.task_pk)
            run.frontier.states[position] = SCHEDULED
            self._slots.join(run, position)
        elif result.not_before is None:
            self._ended(run, position, result)
        else:
            run.frontier.states[position] = result.state
            run.tasks[position] = run.tasks[position]._replace(
                try_number=result.work.try_number, rescheduled_since=result.rescheduled_since
            )
            self._set_timer(result.not_before, run, position)

    def _after_loss(self, work: Work) -> Result:
        """What becomes of an attempt whose process died: it is made again, or has failed, or had ended before."""
        now = self.clock.now()
        try:
            with self.store.transaction():
                self.claims.check()
                task = self.store.task_instance(work.task_pk, held=True)
                ended = result_of(work, task)
                if ended is not None:
                    return ended
                state = self._make_again(task, now)
        except Conflict:
            return Result(work, None)  # others see to it
        start = task.start_date if task.state == RUNNING else None
        if start is not None:
            work.start = start
            self.runner.note_lost(work, failed=state == FAILED)
        return Result(work, state, start, now, error=LOST)

    def _ended(self, run: ActiveRun, position: int, result: Result) -> None:
        """A task reached a final state by running: see what that decides."""
        assert result.state is not None
        run.open -= 1
        run.candidates += run.frontier.finish(position, result.state)
        run.rule_out(result.skips, result.work.map_index)
        self._touch(run)
        self._touch_next_runs(run, result.work.task)
        if run.dag.fail_fast and result.state == FAILED:
            run.failed_fast = True

    def _touch(self, run: ActiveRun) -> None:
        self._touched[run.row.id] = run

    def _touch_next_runs(self, run: ActiveRun, ended: BaseOperator | None = None) -> None:
        """Look again at the next run of the same DAG, whose tasks may wait for this one's: of a task that `ended`, it
        and those just before it.

        The run before a scheduled one may be a scheduled one only, so manual ones in between are passed over.
        """
        if not run.entry.minds_the_past or run.row.logical_date is None:
            return
        dated = [(other.row.logical_date, other) for other in run.entry.runs.values() if other.row.logical_date]
        later = sorted(
            ((date, other) for date, other in dated if date > run.row.logical_date), key=lambda pair: pair[0]
        )
        for _, other in later:
            if waiting := other.held_by(ended):
                other.candidates += waiting
                self._touch(other)
            if other.row.run_type != DagRunType.MANUAL:
                break

    # --- memory ---

    def _forget(self) -> None:
        """Drop everything that was read from the database or follows from it."""
        self._changes = getattr(self, "_changes", 0)
        self._sequence = itertools.count()
        self._active = {}
        self._queues = {}
        self._startable = {}
        self._due = []
        self._timers = []
        self._waiting_for_room = set()
        self._assets_changed = False
        self._touched = {}
        self._done = set()
        self._timed_out = set()
        self._paths = {}
        self._events = []
        self._finished = []
        self._found = []
        self._own = {}
        self._slots = Slots({}, self.parallelism)

    def _reloaded(self, now: datetime) -> bool:
        """Whether everything was read anew; not if somebody changed it meanwhile, or others have the DAGs."""
        try:
            self._reload(now)
        except Conflict as error:
            self._found.clear()
            self._look_again(error)
        return not self._stale

    def _reload(self, now: datetime) -> None:
        """Read from the database all that is open; what was in memory before is forgotten."""
        if self._cut_short:
            self.executor.forget()
            self.recover()
            self._cut_short = False
        events, finished = self._events, self._finished
        self._forget()
        self._events, self._finished = events, finished
        self._stale = True  # until everything was read
        with self.store.transaction():
            self.store.changed_elsewhere()  # what was changed while this waited for its turn is read now
            self.claims.check()
            self._read_settings()
            mine = list(self._own) if self.claims.shared else None
            tasks = self.store.running_task_instances(mine)
            for run in self.store.open_runs(mine):
                if run.dag_id not in self._own:
                    continue
                if run.state == "queued":
                    self._queue_run(run)
                else:
                    self._activate(run, tasks.get(run.id, []), now)
        for entry in self._own.values():
            self._expect_next_run(entry, now)
            self._assets_changed |= entry.dag.timetable.asset_condition is not None
        if self._given_up:
            self._tell_given_up(now)
        self._stale = False

    def _read_settings(self) -> None:
        """Read what people set, and where each DAG's schedule stands."""
        self._slots = Slots(self.store.pools(), self.parallelism)
        self._own = {dag_id: entry for dag_id, entry in self.dags.items() if self.claims.owns(dag_id)}
        paused = self.store.paused()
        for dag_id, entry in self._own.items():
            entry.forget()
            entry.paused = paused.get(dag_id, False)
            last = self.store.last_scheduled_run(dag_id)
            entry.last_interval = last.data_interval if last else None
            self._queues[dag_id] = RunQueue(entry.dag.max_active_runs, open=not entry.paused)
        for backfill in self.store.open_backfills():
            self._queues[backfill.id] = RunQueue(backfill.max_active_runs, open=not backfill.is_paused)

    def _note(self, run: ActiveRun, position: int, old: str | None, new: str, now: datetime, reason: str = "") -> None:
        """One step of one task instance, to be written when the pass ends."""
        pk = run.tasks[position].id
        self._paths[pk] = (*self._paths.get(pk, (old,)), new)
        self._changes += 1
        if self.listeners:
            task, row = run.tasks[position], run.row
            try_number = task.try_number + (new in (SCHEDULED, QUEUED) and task.rescheduled_since is None)
            key = (row.dag_id, row.run_id, task.task_id, task.map_index, try_number)
            self._events.append(TaskEvent(now, *key, old, new, reason))

    def _attempt_event(self, work: Work, old: str, new: str, at: datetime | None, reason: str = "") -> None:
        assert at is not None
        self._events.append(TaskEvent(at, *work.log_key, old, new, reason))

    def _run_event(self, run: RunRow, old: str | None, new: str, now: datetime, reason: str = "") -> None:
        self._changes += 1
        if self.listeners:
            self._events.append(RunEvent(now, run.dag_id, run.run_id, old, new, reason))

    def _rule_in_words(self, run: ActiveRun, position: int) -> str:
        if not self.listeners:
            return ""
        task = run.index.tasks[position]
        if position not in run.index.places:  # else one rule decides about all instances of a task
            position = run.index.position[task.task_id]
        if not run.index.upstream[run.index.home(position)]:
            return ""
        return explain(task.trigger_rule, run.frontier.counts(position))
