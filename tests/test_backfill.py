"""Backfills: what is planned and refused, and that the real scheduler runs what was planned, in order and to the end.

What Airflow answers case by case is in conformance/test_backfill.py.
"""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etlkit.backfill import (
    Action,
    BackfillProgress,
    backfill_progress,
    cancel_backfill,
    create_backfill,
    pause_backfill,
    plan_backfill,
)
from etlkit.clock import SimulatedClock
from etlkit.dag import DAG, BaseOperator
from etlkit.errors import BackfillError, MetadataError
from etlkit.events import RunEvent, Trace
from etlkit.executors.base import Executor
from etlkit.executors.sequential import SequentialExecutor
from etlkit.runs import clear_run, insert_run, trigger_run
from etlkit.scheduler import Scheduler
from etlkit.states import DagRunType
from etlkit.store import Store
from etlkit.timetables import CronTriggerTimetable, DeltaTriggerTimetable

DAY = timedelta(days=1)


def march(day, hour=0):
    return datetime(2024, 3, day, hour, tzinfo=UTC)


NOON = march(20, 12)
OVER = {"start_date": march(1) - 60 * DAY, "end_date": march(1) - 60 * DAY}
"""Dates of a DAG whose schedule has ended, so that every run in a test is the backfill's."""


class Record(BaseOperator):
    """Notes which day it ran for, and fails on the days in `bad`."""

    def __init__(self, *, days=None, bad=(), **kwargs):
        self.days, self.bad = [] if days is None else days, bad
        super().__init__(**kwargs)

    def execute(self, context):
        self.days.append(context["logical_date"].day)
        if context["logical_date"].day in self.bad:
            raise ValueError("no data")
        return context["conf"]


def daily(days=None, *, bad=(), dag_id="daily", schedule="@daily", depends_on_past=False, **kwargs):
    """A DAG of two tasks in a row, of which the first records its days."""
    with DAG(dag_id, schedule=schedule, **{**OVER, **kwargs}) as dag:
        first = Record(task_id="extract", days=days, bad=bad, depends_on_past=depends_on_past)
        _ = first >> Record(task_id="load")
    return dag


class World:
    """A scheduler with all that it needs, which can be dropped and started anew on the same database."""

    def __init__(self, url="sqlite://", now=NOON):
        self.url, self.clock, self.dags = url, SimulatedClock(now), []
        self.start()

    def start(self, executor=None):
        self.store, self.trace = Store(self.url), Trace()
        self.scheduler = Scheduler(self.store, self.clock, executor or SequentialExecutor(), listeners=[self.trace])
        for dag in self.dags:
            self.scheduler.add_dag(dag)

    def restart(self):
        """What a crash leaves: the database alone."""
        self.store.close()
        self.start()
        return self.scheduler.recover()

    def add(self, dag, **kwargs):
        self.dags.append(dag)
        self.scheduler.add_dag(dag, **kwargs)
        return dag

    def plan(self, dag, first, last, **kwargs):
        return plan_backfill(dag, first, last, existing=self.store.runs(dag.dag_id), now=self.clock.now(), **kwargs)

    def backfill(self, dag, first, last, *, max_active_runs=10, conf=None, **kwargs):
        plan = self.plan(dag, first, last, **kwargs)
        return create_backfill(self.store, dag, plan, max_active_runs=max_active_runs, conf=conf, now=self.clock.now())

    def existing(self, dag, day, state):
        """A scheduled run of a day, as an earlier life of the scheduler left it."""
        now = self.clock.now()
        with self.store.transaction():
            run = insert_run(
                self.store,
                dag,
                DagRunType.SCHEDULED,
                logical_date=march(day),
                data_interval=(march(day), march(day + 1)),
                run_after=march(day + 1),
                now=now,
            )
            if state != "queued":
                self.store.set_run_state(run.id, "queued", "running", now)
            if state in ("success", "failed"):
                steps = (None, "scheduled", "queued", "running", state)
                self.store.set_task_states({task.id: steps for task in self.store.task_instances(run.id)}, now)
                self.store.set_run_state(run.id, "running", state, now)
        self.store.touched()

    def states(self, dag):
        """The state of each run, by the day of its logical date."""
        runs = sorted(self.store.runs(dag.dag_id), key=lambda run: run.logical_date)
        return {run.logical_date.day: run.state for run in runs}

    def tick_until(self, condition):
        for _ in range(200):
            if condition():
                return
            self.scheduler.tick()
        raise AssertionError("it never came to that")


@pytest.fixture
def world():
    world = World()
    yield world
    world.store.close()


# --- planning ---


def test_a_plan_says_in_words_what_it_would_do(world):
    dag = daily()
    for day, state in {2: "success", 3: "failed", 4: "running", 5: "queued"}.items():
        world.existing(dag, day, state)
    assert str(world.plan(dag, march(1), march(8), reprocess="failed")) == (
        "Backfill of 'daily': logical dates 2024-03-01 00:00:00 to 2024-03-08 00:00:00, both included, oldest first\n"
        "  create  2024-03-01 00:00:00\n"
        "  skip    2024-03-02 00:00:00: already exists\n"
        "  rerun   2024-03-03 00:00:00\n"
        "  skip    2024-03-04 00:00:00 to 2024-03-05 00:00:00 (2 runs): in flight\n"
        "  create  2024-03-06 00:00:00 to 2024-03-08 00:00:00 (3 runs)\n"
        "4 to create, 1 to run again, 3 left alone"
    )


def test_a_reversed_plan_lists_the_newest_first(world):
    plan = world.plan(daily(), march(1), march(3), reverse=True)
    assert [item.logical_date for item in plan.items] == [march(3), march(2), march(1)]
    assert [item.sort_ordinal for item in plan.items] == [1, 2, 3]
    assert "newest first" in str(plan) and "2024-03-03 00:00:00 to 2024-03-01 00:00:00 (3 runs)" in str(plan)


def test_the_range_may_reach_into_the_future_and_ends_with_the_last_interval_that_is_over(world):
    plan = world.plan(daily(), march(18), datetime(9999, 1, 1, tzinfo=UTC))
    assert plan.dates == [march(18), march(19)]


def test_a_plan_needs_no_database_and_changes_none(world):
    world.plan(daily(), march(1), march(3))
    assert world.store.runs() == world.store.backfills() == []


def test_runs_of_other_dags_do_not_matter(world):
    other = daily(dag_id="other")
    world.existing(other, 1, "success")
    plan = plan_backfill(daily(), march(1), march(1), existing=world.store.runs(), now=NOON)
    assert plan.items[0].action is Action.CREATE


def test_a_plan_with_nothing_to_do_says_so_and_what_would_do_more(world):
    dag = daily()
    world.existing(dag, 1, "success")
    assert str(world.plan(dag, march(1), march(1))).endswith(
        "nothing to do: all 1 runs are there already; reprocess='completed' would run the finished ones again"
    )


def test_a_plan_of_no_dates_says_so_and_makes_nothing(world):
    dag = daily(schedule="@monthly")
    plan = world.plan(dag, march(2), march(3))
    assert str(plan).endswith(
        "no runs: the schedule '0 0 1 * *' has no logical date in this range whose interval is over"
    )
    with pytest.raises(BackfillError, match=r"'daily' cannot be backfilled: no runs: .*; choose another range"):
        create_backfill(world.store, dag, plan, now=NOON)


REFUSED = {
    "from_date is after to_date": ("from_date .* is after to_date .*; exchange them", {}, march(5), march(4), {}),
    "the future": ("are in the future .*; choose past ones", {}, march(21), march(25), {}),
    "no time zone": ("from_date 2024-03-01 00:00:00 has no time zone", {}, datetime(2024, 3, 1), march(5), {}),  # noqa: DTZ001
    "a date, not an instant": ("to_date .* is not a datetime", {}, march(1), date(2024, 3, 5), {}),
    "no such choice": ("reprocess is 'all'; use 'none'", {}, march(1), march(5), {"reprocess": "all"}),
    "no schedule": ("schedule None names no dates .*; trigger it", {"schedule": None}, march(1), march(5), {}),
    "@once": ("schedule @once names no dates", {"schedule": "@once"}, march(1), march(5), {}),
    "@continuous": ("schedule @continuous names no dates", {"schedule": "@continuous"}, march(1), march(5), {}),
    "not allowed": (
        "allows only runs of type manual; add 'backfill'",
        {"allowed_run_types": ["manual"]},
        march(1),
        march(5),
        {},
    ),
    "backwards over the past": (
        "'extract' has depends_on_past .*; leave out reverse",
        {"depends_on_past": True},
        march(1),
        march(5),
        {"reprocess": "failed", "reverse": True},
    ),
    "a failed past for ever": (
        "'extract' has depends_on_past .*; use reprocess='failed' or 'completed'",
        {"depends_on_past": True},
        march(1),
        march(5),
        {},
    ),
}


@pytest.mark.parametrize("message, dag, first, last, how", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_backfilled_is_refused_in_one_line(message, dag, first, last, how):
    with pytest.raises(BackfillError, match=message) as caught:
        plan_backfill(daily(**dag), first, last, now=NOON, **how)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "message, how",
    [
        ("max_active_runs must be a whole number of 1 or more, not 0", {"max_active_runs": 0}),
        ("max_active_runs must be .*, not True", {"max_active_runs": True}),
        ("the conf of a run of .* must be JSON", {"conf": {"at": NOON}}),
        ("the conf of a run of .* must be a dict", {"conf": ["not", "a", "dict"]}),
    ],
)
def test_what_cannot_be_created_is_refused_and_leaves_nothing(world, message, how):
    with pytest.raises(BackfillError, match=message):
        world.backfill(daily(), march(1), march(2), **how)
    assert world.store.runs() == world.store.backfills() == []


def test_a_plan_is_for_its_own_dag(world):
    plan = world.plan(daily(), march(1), march(2))
    with pytest.raises(BackfillError, match="plan for DAG 'daily'; make one for 'other'"):
        create_backfill(world.store, daily(dag_id="other"), plan, now=NOON)


# --- creating ---


def test_a_backfill_makes_its_runs_whole_or_not_at_all():
    class FullDisk(Store):
        def create_task_instances(self, run_pk, rows):
            if run_pk == 3:
                raise MetadataError("metadata database cannot grow: the disk is full")
            super().create_task_instances(run_pk, rows)

    store, dag = FullDisk("sqlite://"), daily()
    with pytest.raises(MetadataError, match="disk is full"):
        create_backfill(store, dag, plan_backfill(dag, march(1), march(5), now=NOON), now=NOON)
    assert store.runs() == store.backfills() == []
    store.close()


def test_one_dag_has_one_backfill_at_a_time(world):
    dag, other = daily(), daily(dag_id="other")
    number = world.backfill(dag, march(1), march(2))
    with pytest.raises(BackfillError, match=f"not complete, number {number}; wait for it, or cancel it"):
        world.backfill(dag, march(5), march(6))
    assert world.backfill(other, march(5), march(6)) == number + 1
    assert len(world.store.runs("daily")) == 2


def test_a_run_made_since_the_plan_was_printed_is_left_alone(world):
    dag = daily()
    plan = world.plan(dag, march(1), march(3))
    world.existing(dag, 2, "success")
    create_backfill(world.store, dag, plan, now=NOON)
    assert [run.run_type for run in world.store.runs("daily")] == ["backfill", "scheduled", "backfill"]
    rows = world.store.run_sql("SELECT action, reason FROM backfill_dag_run ORDER BY sort_ordinal").fetchall()
    assert rows == [("create", None), ("skip", "already exists"), ("create", None)]


def test_a_rerun_clears_every_task_and_keeps_what_it_was(world):
    dag = world.add(daily())
    world.backfill(dag, march(1), march(1), conf={"from": "first"})
    world.scheduler.settle()
    (before,) = world.store.runs("daily")
    world.backfill(dag, march(1), march(1), reprocess="completed")
    (after,) = world.store.runs("daily")
    assert (after.id, after.run_id, after.conf) == (before.id, before.run_id, {"from": "first"})
    assert (after.state, after.run_type, after.backfill_id) == ("queued", "backfill", 2)
    tasks = world.store.task_instances(after.id)
    assert [(task.state, task.try_number, task.max_tries) for task in tasks] == [(None, 1, 1)] * 2
    assert world.store.pull_xcom(after.id, "extract", "return_value") == []
    world.scheduler.settle()
    assert [task.try_number for task in world.store.task_instances(after.id)] == [2, 2]


def test_conf_goes_to_new_runs_and_to_those_run_again(world):
    dag = world.add(daily())
    world.existing(dag, 1, "failed")
    world.backfill(dag, march(1), march(2), reprocess="failed", conf={"n": 5})
    assert [run.conf for run in world.store.runs("daily")] == [{"n": 5}, {"n": 5}]
    world.scheduler.settle()
    assert world.store.pull_xcom(1, "extract", "return_value") == [(-1, '{"n": 5}')]


def test_a_date_gets_its_run_although_the_name_is_taken(world):
    """Under a daily interval the run of 1 March is named after the 2nd; under a trigger so is the run of the 2nd."""
    intervals = daily(schedule="@daily")
    triggers = daily(schedule=CronTriggerTimetable("@daily", timezone="UTC"))
    for dag, day in ((intervals, 1), (triggers, 2)):
        number = world.backfill(dag, march(day), march(day))
        cancel_backfill(world.store, number, now=NOON)
    assert world.states(triggers).keys() == {1, 2}
    assert len({run.run_id for run in world.store.runs("daily")}) == 2


# --- running ---


def starts(world):
    """The days of the runs that started, in order, and the most that were active at once."""
    day = {run.run_id: run.logical_date.day for run in world.store.runs()}
    runs = [event for event in world.trace.events if isinstance(event, RunEvent) and event.new != "queued"]
    active, most = 0, 0
    for event in runs:
        active += 1 if event.new == "running" else -1
        most = max(most, active)
    return [day[event.run_id] for event in runs if event.new == "running"], most


@pytest.mark.parametrize("reverse", [False, True])
def test_runs_start_in_the_order_of_the_plan_and_end_before_the_next_when_one_may_be_active(world, reverse):
    days = []
    dag = world.add(daily(days))
    world.backfill(dag, march(1), march(5), reverse=reverse, max_active_runs=1)
    world.scheduler.settle()
    order = [5, 4, 3, 2, 1] if reverse else [1, 2, 3, 4, 5]
    assert (days, starts(world)) == (order, (order, 1))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("limit", [2, 3, 10])
def test_no_more_runs_are_active_than_allowed(world, reverse, limit):
    dag = world.add(daily(max_active_runs=1))  # the DAG's own limit is for its own runs
    world.backfill(dag, march(1), march(7), reverse=reverse, max_active_runs=limit)
    world.scheduler.settle()
    order = list(range(1, 8))[:: -1 if reverse else 1]
    assert starts(world) == (order, min(limit, 7))
    assert set(world.states(dag).values()) == {"success"}


def test_a_rerun_takes_its_place_in_the_order(world):
    dag = world.add(daily())
    world.existing(dag, 3, "failed")
    world.backfill(dag, march(1), march(5), reprocess="failed", max_active_runs=1, reverse=True)
    world.scheduler.settle()
    assert starts(world)[0] == [5, 4, 3, 2, 1]


def test_a_failed_run_does_not_stop_the_others_and_is_repeated_by_failed(world):
    days, bad = [], {2}
    dag = world.add(daily(days, bad=bad))
    number = world.backfill(dag, march(1), march(3))
    world.scheduler.settle()
    assert world.states(dag) == {1: "success", 2: "failed", 3: "success"}
    assert str(backfill_progress(world.store, number)) == "3 of 3 runs finished (2 success, 1 failed)"
    days.clear(), bad.clear()
    world.backfill(dag, march(1), march(3), reprocess="failed")
    world.scheduler.settle()
    assert (days, set(world.states(dag).values())) == ([2], {"success"})


def test_depends_on_past_holds_within_a_backfill(world):
    days = []
    dag = world.add(daily(days, depends_on_past=True))
    world.backfill(dag, march(1), march(4), reprocess="completed", max_active_runs=4)
    world.scheduler.settle()
    assert days == [1, 2, 3, 4]


def test_a_finished_backfill_is_complete_and_repeating_it_does_nothing(world):
    days = []
    dag = world.add(daily(days))
    first = world.backfill(dag, march(1), march(3))
    assert world.store.backfill(first).completed_at is None
    world.scheduler.settle()
    assert world.store.backfill(first).completed_at == NOON
    before = world.store.runs()
    plan = world.plan(dag, march(1), march(3))
    assert plan.nothing_to_do and plan.dates == [] and "nothing to do" in str(plan)
    second = create_backfill(world.store, dag, plan, now=NOON)
    world.scheduler.settle()
    assert (world.store.runs(), sorted(days)) == (before, [1, 2, 3])
    assert world.store.backfill(second).completed_at == NOON
    assert backfill_progress(world.store, second) == BackfillProgress()


def test_a_paused_dag_is_backfilled_all_the_same(world):
    dag = world.add(daily(), paused=True)
    world.scheduler.settle()
    world.backfill(dag, march(1), march(3))
    world.scheduler.settle()
    assert world.states(dag) == {1: "success", 2: "success", 3: "success"}


def test_the_schedule_goes_on_beside_a_backfill_and_makes_no_run_twice(world):
    dag = world.add(daily(start_date=march(15), end_date=None, catchup=True, max_active_runs=2))
    number = world.backfill(dag, march(12), march(17))
    world.scheduler.run_until(march(22))
    assert world.states(dag) == dict.fromkeys(range(12, 22), "success")
    of_backfill = [run.logical_date.day for run in world.store.runs(backfill_id=number)]
    assert of_backfill == [12, 13, 14, 15, 16, 17]


def test_the_schedule_goes_on_from_the_last_run_although_a_backfill_took_it_over(world):
    """A delta trigger without catch-up makes a run of "now" when it knows of none before."""
    dag = world.add(daily(schedule=DeltaTriggerTimetable(DAY), start_date=march(20), end_date=None, catchup=False))
    world.scheduler.run_until(march(21, 13))
    before = world.store.runs("daily")
    world.backfill(dag, before[0].logical_date, before[-1].logical_date, reprocess="completed")
    world.scheduler.run_until(march(21, 20))
    assert [run.run_id for run in world.store.runs("daily")] == [run.run_id for run in before]
    assert {run.run_type for run in world.store.runs("daily")} == {"backfill"}


def test_progress_counts_the_runs_by_state(world):
    dag = world.add(daily(bad={1}))
    world.existing(dag, 3, "success")
    number = world.backfill(dag, march(1), march(5), max_active_runs=1)
    assert backfill_progress(world.store, number) == BackfillProgress(queued=4)
    world.tick_until(lambda: backfill_progress(world.store, number).done == 1)
    progress = backfill_progress(world.store, number)
    assert (progress.done, progress.total, progress.failed) == (1, 4, 1)
    world.scheduler.settle()
    assert backfill_progress(world.store, number) == BackfillProgress(success=3, failed=1)


# --- pausing, cancelling, crashing ---


def half_way(world, dag, **kwargs):
    """A backfill of eight days, two at a time, of which two are done."""
    number = world.backfill(dag, march(1), march(8), max_active_runs=2, **kwargs)
    world.tick_until(lambda: backfill_progress(world.store, number).done == 2)
    assert backfill_progress(world.store, number).queued > 2
    return number


def test_a_paused_backfill_starts_no_run_and_goes_on_when_it_is_unpaused(world):
    dag = world.add(daily())
    number = half_way(world, dag)
    pause_backfill(world.store, number)
    active = backfill_progress(world.store, number).running
    world.scheduler.run_until(march(21))
    assert backfill_progress(world.store, number) == BackfillProgress(queued=6 - active, success=2 + active)
    pause_backfill(world.store, number, paused=False)
    world.scheduler.settle()
    assert backfill_progress(world.store, number) == BackfillProgress(success=8)
    assert world.store.backfill(number).completed_at == march(21)


def test_a_cancelled_backfill_finishes_what_runs_and_fails_what_is_queued(world):
    days = []
    dag = world.add(daily(days))
    number = half_way(world, dag)
    running = {run.logical_date.day for run in world.store.runs(states=["running"])}
    cancelled = cancel_backfill(world.store, number, now=NOON)
    assert world.store.backfill(number).completed_at == NOON
    world.scheduler.run_until(march(21))
    ran = {1, 2} | running
    assert world.states(dag) == {day: "success" if day in ran else "failed" for day in range(1, 9)}
    assert {run.logical_date.day for run in cancelled} == set(range(1, 9)) - ran
    assert world.store.backfill(number).completed_at == NOON
    days.clear()
    world.backfill(dag, march(1), march(8), reprocess="failed")
    world.scheduler.settle()
    assert set(days) == set(range(1, 9)) - ran
    assert set(world.states(dag).values()) == {"success"}


@pytest.mark.parametrize("act", [pause_backfill, lambda store, n: cancel_backfill(store, n, now=NOON)])
def test_only_a_backfill_that_is_there_and_not_complete_is_paused_or_cancelled(world, act):
    dag = world.add(daily())
    with pytest.raises(BackfillError, match="there is no backfill 7; the latest are: none"):
        act(world.store, 7)
    number = world.backfill(dag, march(1), march(1))
    world.scheduler.settle()
    with pytest.raises(BackfillError, match=r"is complete since 2024-03-20 12:00:00; .* make another"):
        act(world.store, number)


def test_progress_of_no_backfill_is_refused(world):
    with pytest.raises(BackfillError, match="there is no backfill 1"):
        backfill_progress(world.store, 1)


def test_a_cleared_run_of_a_complete_backfill_runs_again(world):
    days = []
    dag = world.add(daily(days))
    world.backfill(dag, march(1), march(2))
    world.scheduler.settle()
    clear_run(world.store, dag, world.store.runs("daily")[1], now=NOON)
    world.clock.jump(march(21))
    world.scheduler.settle()
    assert (sorted(days), world.states(dag)) == ([1, 2, 2], {1: "success", 2: "success"})
    assert world.store.backfill(1).completed_at == NOON


def test_a_new_scheduler_finishes_the_backfill_of_one_that_is_gone(tmp_path):
    days = []
    world = World(f"sqlite:///{tmp_path / 'etl.db'}")
    dag = world.add(daily(days))
    number = half_way(world, dag, reverse=True)
    world.restart()
    world.scheduler.settle()
    assert backfill_progress(world.store, number) == BackfillProgress(success=8)
    assert sorted(days) == list(range(1, 9)), "nothing was run twice"
    assert days[2:] == sorted(days[2:], reverse=True), "and the order was kept"
    world.store.close()


class Killed(BaseException):
    """Stands for kill -9: nobody catches it, and nothing is written after it."""


class DiesWithWork(SequentialExecutor):
    """Dies at its third attempt: the task instance is running, and its process is gone."""

    left = 2

    def poll(self):
        if self.in_flight:
            self.left -= 1
            if self.left < 0:
                raise Killed
        return super().poll()


class DiesBeforeWork(Executor):
    """Takes everything and is never heard of again: the task instances stay queued."""

    def __init__(self):
        self.lost = 0

    def free_slots(self):
        return 3 - self.lost

    def submit(self, work):
        self.lost += 1

    def poll(self):
        if self.lost:
            raise Killed
        return []

    @property
    def in_flight(self):
        return self.lost


@pytest.mark.parametrize("executor", [DiesWithWork, DiesBeforeWork])
def test_tasks_that_died_with_their_process_are_made_again(tmp_path, executor):
    world = World(f"sqlite:///{tmp_path / 'etl.db'}")
    world.start(executor())
    dag = world.add(daily())
    number = world.backfill(dag, march(1), march(6), max_active_runs=3)
    with pytest.raises(Killed):
        world.scheduler.settle()
    assert world.restart()
    world.scheduler.settle()
    assert backfill_progress(world.store, number) == BackfillProgress(success=6)
    assert world.store.backfill(number).completed_at == NOON
    world.store.close()


# --- for any range and any past ---

PAST = st.dictionaries(st.integers(1, 9), st.sampled_from(["success", "failed", "running", "queued"]))
RANGES = st.tuples(st.integers(1, 9), st.integers(1, 9)).map(sorted)


def after_backfill(past, span, reprocess, reverse, limit):
    """The runs of the days in `span` after a backfill over `past`, and what a repetition would do."""
    world = World()
    dag = world.add(daily())
    for day, state in past.items():
        world.existing(dag, day, state)
    world.backfill(dag, march(span[0]), march(span[1]), reprocess=reprocess, reverse=reverse, max_active_runs=limit)
    world.scheduler.settle()
    again = world.plan(dag, march(span[0]), march(span[1]))
    runs = [(run.logical_date, run.state) for run in world.store.runs("daily")]
    world.store.close()
    return sorted(runs), again


@settings(max_examples=60, deadline=None)
@given(PAST, RANGES, st.sampled_from(["none", "failed", "completed"]), st.integers(1, 4))
def test_afterwards_each_date_has_one_run_whichever_way_it_went(past, span, reprocess, limit):
    runs, again = after_backfill(past, span, reprocess, False, limit)
    assert [date for date, _ in runs] == sorted({march(d) for d in {*past, *range(span[0], span[1] + 1)}})
    asked = {march(day) for day in range(span[0], span[1] + 1)}
    left_failed = set() if reprocess != "none" else {march(day) for day, state in past.items() if state == "failed"}
    assert {date for date, state in runs if date in asked and state != "success"} == left_failed & asked
    assert again.nothing_to_do
    assert after_backfill(past, span, reprocess, True, limit)[0] == runs


# --- catch-up: the schedule's own way to load the past ---


def scheduled_days(world, **kwargs):
    dag = world.add(daily(**kwargs))
    world.scheduler.run_until(march(23))
    return list(world.states(dag))


def test_catchup_runs_every_interval_since_the_start(world):
    assert scheduled_days(world, start_date=march(15), end_date=None, catchup=True) == list(range(15, 23))


def test_without_catchup_only_the_newest_interval_that_is_over_is_run(world):
    assert scheduled_days(world, start_date=march(15), end_date=None, catchup=False) == [19, 20, 21, 22]


def test_the_end_date_stops_the_schedule(world):
    assert scheduled_days(world, start_date=march(15), end_date=march(17), catchup=True) == [15, 16, 17]


def test_a_start_in_the_future_waits_for_it(world):
    assert scheduled_days(world, start_date=march(21), end_date=None, catchup=True) == [21, 22]
    assert scheduled_days(world, dag_id="later", start_date=march(30), end_date=None, catchup=True) == []


def test_a_backfill_loads_what_catchup_would_have_loaded(world):
    scheduled_days(world, dag_id="caught_up", start_date=march(15), end_date=march(20), catchup=True)
    dag = world.add(daily(dag_id="backfilled"))
    world.backfill(dag, march(15), march(20))
    world.scheduler.settle()
    loaded = [
        [(run.logical_date, run.data_interval_start, run.data_interval_end, run.state) for run in world.store.runs(d)]
        for d in ("caught_up", "backfilled")
    ]
    assert loaded[0] == loaded[1]


def test_a_manual_run_of_another_moment_does_not_count_as_the_date(world):
    dag = world.add(daily())
    trigger_run(world.store, dag, now=NOON, logical_date=march(2, 10))
    assert world.plan(dag, march(1), march(3)).count(Action.CREATE) == 3
