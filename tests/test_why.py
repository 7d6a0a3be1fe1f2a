"""Why not: each blocker, with the real scheduler brought into the state that it tells of."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etlkit.asset_events import NewEvent, Source, record_events
from etlkit.assets import Asset, AssetOrTimeSchedule
from etlkit.backfill import cancel_backfill, create_backfill, pause_backfill, plan_backfill
from etlkit.dag import DAG
from etlkit.errors import (
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSkipException,
    DagError,
    DagNotFound,
    DownstreamTasksSkipped,
    TaskNotFound,
)
from etlkit.lab import Lab
from etlkit.states import FINISHED
from etlkit.timetables import CronTriggerTimetable, Timetable
from etlkit.why import NEXT_RUN, QUEUED_RUN, SKIP_REASONS, TASK, Blocker, Why, why
from tests.engine import HOUR, MINUTE, Do, HandExecutor, World, at, make_dag

BROKEN = ValueError("no data")


def ask(world, task_id=None, run=None, *, dag_id="d", **kwargs):
    """What `why` answers now; `run` is a run, or none."""
    return why(
        world.store,
        world.dags[dag_id],
        task_id=task_id,
        run_id=run and run.run_id,
        now=world.clock.now(),
        **kwargs,
    )


def the_only(answer, kind):
    """The one blocker of an answer, which is of this kind."""
    assert answer.kinds == [kind], str(answer)
    return answer[0]


def backfill(world, first, last, **kwargs):
    plan = plan_backfill(world.dags["d"], at(first), at(last), now=world.clock.now())
    return create_backfill(world.store, world.dags["d"], plan, now=world.clock.now(), **kwargs)


def waiting_world(*tasks, edges="", executor=None, **kwargs):
    """A triggered run of `tasks`, with all done that can be done at this instant."""
    world = World(make_dag(edges=edges, tasks=tasks, **kwargs), now=at(5), executor=executor)
    world.trigger()
    return world.tick()


# --- the answer ---


def test_an_answer_prints_one_line_a_blocker_and_knows_the_first_end():
    answer = Why(
        "d.load", [Blocker("paused", "the DAG is paused"), Blocker("retry", "at 10", at(2)), Blocker("x", "y", at(1))]
    )
    assert str(answer) == "d.load:\n- the DAG is paused\n- at 10\n- y"
    assert (answer.kinds, answer.until) == (["paused", "retry", "x"], at(1))
    assert Why("d", []).until is None


def test_asking_changes_nothing():
    world = waiting_world(Do("a", BROKEN, retries=1), edges="a >> b")
    before = world.store.run_sql("SELECT total_changes()").fetchone()
    for task_id in (None, "a", "b"):
        ask(world, task_id), ask(world, task_id, world.only_run())
    assert world.store.run_sql("SELECT total_changes()").fetchone() == before


def test_every_state_of_a_task_has_its_row_in_the_table():
    from etlkit.states import TaskInstanceState

    assert TASK.keys() == {None, *TaskInstanceState}
    for check in (*NEXT_RUN, *QUEUED_RUN, *SKIP_REASONS, *(check for checks in TASK.values() for check in checks)):
        assert check.__doc__


# --- no run yet ---


def test_an_interval_that_is_open():
    world = World(make_dag(schedule="@daily", catchup=True), now=at(1, 18))
    world.run_until(at(3, 7))
    blocker = the_only(ask(world), "interval")
    assert blocker.text == (
        "the data interval 2013-01-03 00:00:00 to 2013-01-04 00:00:00 is not over; its run starts when it is"
    )
    assert blocker.until == world.scheduler.next_event() == at(4)


def test_a_tick_that_is_to_come():
    world = World(make_dag(schedule=CronTriggerTimetable("@daily", timezone="UTC"), catchup=True), now=at(1, 18))
    world.run_until(at(3, 7))
    blocker = the_only(ask(world), "interval")
    assert blocker.text == "its next run is due at 2013-01-04 00:00:00"
    assert blocker.until == world.scheduler.next_event()


def test_continuous_runs_have_a_pause_between_them():
    world = World(make_dag("d", "a", schedule="@continuous"), now=at(2)).run_until(at(2, 0, 0, 5))
    blocker = the_only(ask(world), "interval")
    assert blocker.until == world.scheduler.next_event() == at(2, 0, 0, 6)


def test_a_paused_dag():
    world = World(make_dag(schedule="@daily", catchup=True), now=at(5, 18), paused=True).tick()
    assert the_only(ask(world), "paused").text == "DAG 'd' is paused; unpause it"
    world.pause(paused=False)
    world.run_until(at(5, 18))
    world.pause()
    assert ask(world.tick()).kinds == ["paused", "interval"]


@pytest.mark.parametrize("schedule", [None])
def test_no_schedule(schedule):
    world = World(make_dag(schedule=schedule), now=at(5)).tick()
    assert the_only(ask(world), "no_schedule").text == "its schedule is None: it runs only when it is triggered"


def test_a_start_in_the_future_is_told_in_utc():
    start = datetime(2013, 1, 8, 9, tzinfo=ZoneInfo("Asia/Seoul"))
    world = World(make_dag(schedule="@daily", catchup=True, start_date=start), now=at(5)).tick()
    first, second = ask(world)
    assert first == ("start_date", "its start_date 2013-01-08 00:00:00 is in the future", start)
    assert (second.kind, second.until) == ("interval", world.scheduler.next_event())


def test_a_start_in_the_future_does_not_matter_without_a_schedule():
    world = World(make_dag(start_date=at(8)), now=at(5)).tick()
    the_only(ask(world), "no_schedule")


def test_an_end_that_has_passed():
    world = World(make_dag(schedule="@daily", catchup=True, end_date=at(2)), now=at(1)).run_until(at(9))
    assert len(world.runs()) == 2
    assert the_only(ask(world), "end_date").text == "its end_date 2013-01-02 00:00:00 allows no further run"


def test_a_schedule_that_is_used_up():
    world = World(make_dag(schedule="@once", end_date=at(9)), now=at(5)).run_until(at(6))
    assert the_only(ask(world), "no_more_runs").text == "its schedule @once has no further run"


def test_a_schedule_that_does_not_know_where_to_begin():
    world = World(make_dag(schedule="@daily", catchup=True, start_date=None), now=at(5)).run_until(at(9))
    assert "catches up but has no start_date" in the_only(ask(world), "start_date").text


def make_event(world, asset):
    with world.store.transaction():
        record_events(world.store, [NewEvent(asset)], Source(), world.clock.now())
        world.store.touched()


def test_assets_that_have_no_new_events():
    orders, prices, rates = (Asset(name) for name in ("orders", "prices", "rates"))
    world = World(make_dag(schedule=(orders & prices) | rates, start_date=at(8)), now=at(5))
    assert the_only(ask(world), "assets").text == "it waits for new events of (orders & prices) | rates"
    make_event(world, orders)
    assert the_only(ask(world), "assets").text == "it waits for new events of prices | rates; orders came"
    make_event(world, prices)
    assert the_only(ask(world), "next_pass").text.startswith("its next run is due")
    assert "assets" in ask(world.tick()).kinds


def test_assets_or_a_date():
    daily = CronTriggerTimetable("0 6 * * *", timezone="UTC")
    schedule = AssetOrTimeSchedule(timetable=daily, assets=Asset("orders"))
    world = World(make_dag(schedule=schedule, catchup=True), now=at(1)).tick()
    assert [(blocker.kind, blocker.until) for blocker in ask(world)] == [("assets", None), ("interval", at(1, 6))]


def test_as_many_runs_as_may_be_when_the_assets_are_there():
    orders = Asset("orders")
    world = World(make_dag(tasks=[Do("a", pool="nowhere")], schedule=orders, max_active_runs=1), now=at(5))
    for _ in range(2):
        make_event(world, orders)
        world.tick()
    (run,) = world.runs()
    assert ask(world)[-1].text == f"the DAG's max_active_runs of 1 is reached by {run.run_id} (running)"


def test_as_many_runs_as_may_be():
    stuck = Do("a", pool="nowhere")
    world = World(make_dag(tasks=[stuck], schedule="@daily", catchup=True, max_active_runs=2)).run_until(at(9))
    first, second = (run.run_id for run in world.runs())
    blocker = ask(world)[-1]
    assert (blocker.kind, blocker.until) == ("max_active_runs", None)
    assert blocker.text == f"the DAG's max_active_runs of 2 is reached by {first} (running), {second} (running)"


def test_a_run_that_is_due_needs_a_pass():
    world = World(make_dag(schedule="@daily", catchup=True), now=at(2))
    assert the_only(ask(world), "next_pass").text == "its next run is due; the scheduler makes it at its next pass"


def test_a_date_that_has_a_run_already_is_passed_over():
    world = World(make_dag(schedule="@daily", catchup=True), now=at(5, 12)).tick()
    world.trigger(logical_date=at(5))
    world.tick()
    assert the_only(ask(world), "interval").until == at(7)


def test_no_scheduler():
    world = World(make_dag(schedule="@daily"), now=at(5, 18)).tick()
    assert ask(world, scheduler_running=False).kinds == ["scheduler", "interval"]
    assert ask(world, scheduler_running=True).kinds == ["interval"]
    done = waiting_world(Do("a"))
    assert ask(done, "a", done.only_run(), scheduler_running=False).kinds == ["success"]


def test_a_dag_that_is_not_loaded():
    world = World(make_dag(schedule="@daily"))
    assert "look for an import error" in the_only(why(world.store, "d", now=at(1)), "not_loaded").text
    with pytest.raises(DagNotFound, match="no DAG is called 'e'"):
        why(world.store, "e", now=at(1))


# --- a run ---


def test_a_queued_run_of_a_paused_dag():
    world = World(make_dag(edges="a"), now=at(5), paused=True)
    run = world.trigger()
    world.tick()
    the_only(ask(world, run=run), "paused")
    assert ask(world, "a").kinds == ["run_queued", "paused"]
    assert ask(world).kinds == ["paused", "paused", "no_schedule"]


def test_a_queued_run_behind_as_many_as_may_be():
    world = World(make_dag(tasks=[Do("a", pool="nowhere")], max_active_runs=1), now=at(5))
    runs = [world.trigger(logical_date=at(day)) for day in (1, 2, 3)]
    assert the_only(ask(world, run=runs[0]), "next_pass").text.startswith("nothing holds it")
    assert the_only(ask(world, run=runs[1]), "max_active_runs").text == (
        "the DAG's max_active_runs is 1: none running, and 1 queued before it"
    )
    world.tick()
    assert the_only(ask(world, run=runs[1]), "max_active_runs").text == (
        f"the DAG's max_active_runs is 1: {runs[0].run_id} running"
    )
    assert the_only(ask(world, run=runs[2]), "max_active_runs").text.endswith(" running, and 1 queued before it")


def test_a_queued_run_of_a_backfill():
    world = World(make_dag(tasks=[Do("a", pool="nowhere")], schedule="@daily", end_date=at(1)), now=at(9), paused=True)
    number = backfill(world, 1, 4, max_active_runs=1)
    world.tick()
    runs = world.runs()
    blocker = the_only(ask(world, run=runs[2]), "max_active_runs")
    assert blocker.text == f"backfill 1's max_active_runs is 1: {runs[0].run_id} running, and 1 queued before it"
    pause_backfill(world.store, number)
    assert ask(world.tick(), run=runs[1]).kinds == ["backfill_paused", "max_active_runs"]
    assert ask(world, run=runs[1])[0].text == "backfill 1 is paused; unpause it"


def test_a_run_of_a_backfill_that_is_over_waits_like_the_dags_own():
    world = World(make_dag(edges="a", schedule="@daily", end_date=at(1)), now=at(9), paused=True)
    backfill(world, 1, 1)
    world.tick()
    world.clear(world.only_run())
    the_only(ask(world.tick(), run=world.only_run()), "paused")


def test_a_running_run_tells_what_its_tasks_wait_for_but_not_that_they_wait_for_each_other():
    world = waiting_world(Do("a"), Do("b", BROKEN, retries=1), Do("c", pool="nowhere"), edges="b >> d >> e, a")
    run = world.only_run()
    answer = ask(world, run=run)
    assert answer.kinds == ["running", "retry", "no_pool"]
    assert answer[0].text == "it is running since 2013-01-05 00:00:00; 1 of 5 tasks are finished"
    assert answer[1].text.startswith("b: try 1 of 2 failed") and answer[2].text.startswith("c: ")
    of_dag = ask(world)
    assert of_dag.kinds == [*answer.kinds, "no_schedule"]
    assert of_dag[1].text == f"{run.run_id}: {answer[1].text}"


def test_a_running_run_with_very_many_waiting_tasks_tells_of_a_few():
    world = waiting_world(*(Do(f"t{i}", pool="nowhere") for i in range(50)))
    assert ask(world, run=world.only_run()).kinds == ["running"] + 10 * ["no_pool"]


@pytest.mark.parametrize(
    "dag, kind, text",
    [
        ({"tasks": [Do("a")]}, "success", "it ended at 2013-01-05 00:00:00 as success"),
        ({"tasks": [Do("a", BROKEN)]}, "failed", "it ended at 2013-01-05 00:00:00 as failed: a failed"),
        (
            {"tasks": [Do("a", pool="nowhere")], "dagrun_timeout": HOUR},
            "failed",
            "it ended at 2013-01-05 01:00:00 as failed: its dagrun_timeout of 1:00:00 passed",
        ),
    ],
)
def test_a_finished_run(dag, kind, text):
    world = World(make_dag(**dag), now=at(5))
    world.trigger()
    world.run_until(at(6))
    assert the_only(ask(world, run=world.only_run()), kind).text == text


def test_a_run_that_there_is_not():
    world = World(make_dag())
    with pytest.raises(DagError, match="DAG 'd' has no run 'x'; it has no runs yet"):
        why(world.store, world.dags["d"], run_id="x", now=at(1))
    run = world.trigger()
    with pytest.raises(DagError, match=r"has no run 'manual__2013'; .*'manual__2013-01-01T00:00:00\+00:00'"):
        why(world.store, world.dags["d"], run_id="manual__2013", now=at(1))
    assert ask(world, run=run)


def test_a_cleared_run_behind_later_ones_that_wait_for_it_says_the_way_out():
    tasks = [Do("a", ValueError, None, depends_on_past=True)]
    dag = make_dag(tasks=tasks, schedule="@daily", catchup=True, max_active_runs=2)
    world = World(dag, now=at(2)).run_until(at(5))
    first, *later = world.runs()
    assert [run.state for run in (first, *later)] == ["failed", "running", "running"]
    world.clear(first)
    world.run_until(at(6))
    text = the_only(ask(world, run=first), "max_active_runs").text
    assert text.endswith("these may wait for this one (depends_on_past): raise max_active_runs, and it goes first")
    world.replace(make_dag(tasks=[Do("a", depends_on_past=True)], schedule="@daily", catchup=True, max_active_runs=3))
    world.run_until(at(7))
    assert {run.state for run in world.runs()} == {"success"}, "it was the way out"


def test_a_pause_is_told_once_however_many_tasks_it_holds():
    world = World(make_dag(edges="a, b, c", tasks=[Do("d", BROKEN, retries=1)]), now=at(2))
    run = world.trigger()
    world.tick()
    world.pause()
    assert ask(world, run=run).kinds.count("paused") == 1


# --- a task that does not start ---


def test_a_task_without_a_run():
    world = World(make_dag(edges="a", schedule="@daily"), now=at(5, 18)).tick()
    assert ask(world, "a").kinds == ["no_run", "interval"]
    with pytest.raises(TaskNotFound, match="no task 'b'"):
        ask(world, "b")


def test_a_task_is_asked_for_in_the_first_run_in_which_it_waits():
    world = World(make_dag(tasks=[Do("a", None, BROKEN, retries=1), Do("b", pool="nowhere")]), now=at(5))
    first, second = world.trigger(logical_date=at(1)), world.trigger(logical_date=at(2))
    world.tick()
    assert ask(world, "b").subject == f"d.b in {first.run_id}"
    assert ask(world, "a").kinds == ["success"] and ask(world, "a").subject == f"d.a in {first.run_id}"
    world.clear(second, "a")
    assert ask(world, "a").subject == f"d.a in {second.run_id}"


def test_upstream_tasks_are_named_with_their_states():
    world = waiting_world(Do("a", BROKEN, retries=1), Do("b"), edges="a >> d, b >> d, c >> d, a >> e >> d")
    assert the_only(ask(world, "d"), "upstream").text == (
        "all_success (every upstream task succeeded) waits for a (up_for_retry), e (no state)"
    )


@pytest.mark.parametrize("rule", ["all_done", "one_failed", "none_failed", "all_done_min_one_success"])
def test_each_rule_is_told_in_its_own_words(rule):
    world = waiting_world(Do("a", BROKEN, retries=1), Do("b", trigger_rule=rule), edges="a >> b")
    text = the_only(ask(world, "b"), "upstream").text
    assert text.startswith(f"{rule} (") and text.endswith(") waits for a (up_for_retry)")


def test_a_setup_that_is_not_done():
    dag = make_dag(tasks=[Do("s", BROKEN, retries=1)], edges="s >> load >> work >> t")
    dag.get_task("t").as_teardown(setups=dag.get_task("s"))
    world = World(dag, now=at(5))
    world.trigger()
    text = the_only(ask(world.tick(), "work"), "upstream").text
    assert text.endswith(" waits for load (no state), s (up_for_retry)")


def test_the_run_before():
    task = Do("a", lambda c: 1 / (c["logical_date"].day - 1), depends_on_past=True)
    world = World(make_dag(tasks=[task], schedule="@daily", catchup=True)).run_until(at(4, 12))
    first, second, third = world.runs()
    assert the_only(ask(world, "a", second), "depends_on_past").text == (
        f"depends_on_past: it is failed in {first.run_id}, and must end well there first"
    )
    assert f"it is not finished in {second.run_id}" in the_only(ask(world, "a", third), "depends_on_past").text


def test_what_is_downstream_in_the_run_before():
    tasks = [Do("a", wait_for_downstream=True), Do("b", BROKEN)]
    world = World(make_dag(tasks=tasks, edges="a >> b", schedule="@daily", catchup=True)).run_until(at(3, 12))
    first, second = world.runs()
    assert the_only(ask(world, "a", second), "wait_for_downstream").text == (
        f"wait_for_downstream: b is failed in {first.run_id}, and must end well there first"
    )


def test_a_task_whose_run_is_held_by_a_pause():
    world = waiting_world(Do("a", BROKEN, retries=1, retry_delay=60), edges="a >> b")
    world.pause()
    world.run_until(at(6))
    the_only(ask(world, "a"), "paused")
    assert ask(world, "b").kinds == ["upstream", "paused"]


def test_a_task_of_a_running_backfill_is_not_held_by_a_pause():
    tasks = [Do("a", BROKEN, retries=1)]
    world = World(make_dag(tasks=tasks, schedule="@daily", end_date=at(1)), now=at(9), paused=True)
    backfill(world, 1, 1)
    the_only(ask(world.tick(), "a"), "retry")


def test_a_task_before_the_next_pass():
    world = World(make_dag(edges="a"), now=at(5), executor=HandExecutor())
    run = world.trigger()
    with world.store.transaction():
        world.store.set_run_state(run.id, "queued", "running", at(5))
    assert the_only(ask(world, "a"), "next_pass").text == "nothing holds it: it goes on at the next pass"


def test_a_task_outside_its_own_dates():
    tasks = [Do("late", start_date=at(9)), Do("early", end_date=at(2)), Do("a", pool="nowhere")]
    world = waiting_world(*tasks)
    assert the_only(ask(world, "late"), "own_dates").text.endswith("its start_date is 2013-01-09 00:00:00")
    assert the_only(ask(world, "early"), "own_dates").text.endswith("its end_date is 2013-01-02 00:00:00")


def test_a_task_that_came_later_and_one_that_is_gone():
    world = waiting_world(Do("a", pool="nowhere"), Do("gone", pool="nowhere"), Do("done"))
    run = world.only_run()
    world.dags["d"] = make_dag(tasks=[Do("a", pool="nowhere"), Do("new", pool="nowhere")])
    the_only(ask(world, "new", run), "new_task")
    assert (
        the_only(ask(world, "done", run), "removed").text == "DAG 'd' has no task 'done' any more; it was success here"
    )
    world.replace(world.dags["d"])
    world.tick()
    the_only(ask(world, "new", run), "no_pool")
    assert the_only(ask(world, "gone", run), "removed").text == "DAG 'd' has no task 'gone' any more"
    with pytest.raises(TaskNotFound):
        ask(world, "never", run)


# --- a task that is ready ---


def test_a_pool_that_does_not_exist():
    world = waiting_world(Do("a", pool="nowhere"))
    assert (
        the_only(ask(world, "a"), "no_pool").text
        == "there is no pool 'nowhere'; create it, or name another in the task"
    )


def in_pool(*tasks, slots=2):
    """A run whose tasks stand in line for a pool."""
    world = World(make_dag(tasks=tasks), now=at(5), executor=HandExecutor())
    with world.store.transaction():
        world.store.set_pool("small", slots)
    world.trigger()
    return world.tick()


def test_a_pool_that_is_too_small():
    world = in_pool(Do("a", pool="small", pool_slots=3))
    assert the_only(ask(world, "a"), "pool_too_small").text == (
        "it needs 3 slots, and pool 'small' has 2; enlarge the pool"
    )


def test_a_pool_that_is_full():
    first, second = Do("a", pool="small", pool_slots=2, priority_weight=9), Do("b", pool="small")
    world = in_pool(first, second)
    run = world.only_run().run_id
    assert the_only(ask(world, "b"), "pool_full").text == (
        f"pool 'small' has 0 of 2 slots free and it needs 1; held by d.a in {run}"
    )
    world.executor.end("a")
    the_only(ask(world.tick(), "b"), "executor")


def test_a_pool_with_too_few_slots_left():
    world = in_pool(Do("a", pool="small", priority_weight=9), Do("b", pool="small", pool_slots=2))
    assert "has 1 of 2 slots free and it needs 2" in the_only(ask(world, "b"), "pool_full").text


def test_a_pool_with_just_enough_slots_left_does_not_hold():
    world = in_pool(Do("a", pool="small", priority_weight=9), Do("b", priority_weight=8), Do("c", pool="small"))
    assert the_only(ask(world, "c"), "executor")
    world.restart(HandExecutor(slots=2))
    assert [holder.task_id for holder in world.tick().store.slot_holders()] == ["a", "b"]
    assert the_only(ask(world, "c"), "next_pass").text.startswith("it is ready; it goes when the executor has a slot")


def test_as_many_tasks_of_a_run_as_may_be():
    tasks = [Do("a", priority_weight=9), Do("b")]
    world = waiting_world(*tasks, max_active_tasks=1, executor=HandExecutor())
    run = world.only_run().run_id
    assert the_only(ask(world, "b"), "max_active_tasks").text == (
        f"the DAG's max_active_tasks of 1 is reached by d.a in {run}"
    )


def test_as_many_of_a_task_as_may_be():
    world = World(make_dag(tasks=[Do("a", max_active_tis_per_dag=1)]), now=at(5), executor=HandExecutor())
    first, second = world.trigger(logical_date=at(1)), world.trigger(logical_date=at(2))
    world.tick()
    assert the_only(ask(world, "a", second), "max_active_tis_per_dag").text == (
        f"the task's max_active_tis_per_dag of 1 is reached by d.a in {first.run_id}"
    )


def test_as_many_tasks_of_all_dags_as_may_be():
    world = World(make_dag("one", "a"), make_dag("two", "a"), now=at(5), executor=HandExecutor(), parallelism=1)
    first, second = world.trigger("one"), world.trigger("two")
    world.tick()
    blocker = the_only(ask(world, "a", second, dag_id="two", parallelism=1), "parallelism")
    assert blocker.text == f"[core] parallelism of 1 is reached by one.a in {first.run_id}"


def test_an_executor_that_has_not_begun():
    world = waiting_world(Do("a"), executor=HandExecutor())
    assert the_only(ask(world, "a"), "executor").text.startswith(
        "queued since 2013-01-05 00:00:00: the executor has it"
    )
    world = waiting_world(Do("a", queue="big"), executor=HandExecutor())
    assert the_only(ask(world, "a"), "executor").text.endswith("a worker that takes tasks of queue 'big' is free")


def test_a_task_at_work_seen_from_inside():
    seen = []
    world = World(make_dag(tasks=[Do("a", lambda c: seen.append(ask(world, "a")))], edges="a >> b"), now=at(5))
    world.trigger()
    world.tick()
    assert the_only(seen[0], "running").text == "it is running since 2013-01-05 00:00:00 (try 1)"


def test_a_retry():
    world = waiting_world(Do("a", BROKEN, retries=2, retry_delay=90))
    blocker = the_only(ask(world, "a"), "retry")
    assert blocker.text == "try 1 of 3 failed (ValueError: no data); the next begins at 2013-01-05 00:01:30"
    assert blocker.until == world.scheduler.next_event() == at(5, 0, 1, 30)


def test_a_sensor_between_two_looks():
    world = waiting_world(Do("a", AirflowRescheduleException(at(5, 3))))
    blocker = the_only(ask(world, "a"), "reschedule")
    assert blocker.text == "its condition does not hold yet; it looks again at 2013-01-05 03:00:00"
    assert blocker.until == world.scheduler.next_event() == at(5, 3)


@pytest.mark.parametrize("error, over", [(BROKEN, at(5, 1)), (AirflowRescheduleException(at(5, 3)), at(5, 3))])
def test_a_delay_that_is_over_needs_a_pass(error, over):
    world = waiting_world(Do("a", error, retries=1, retry_delay=HOUR))
    world.clock.jump(over)
    the_only(ask(world, "a"), "next_pass")


# --- a task that is finished ---


def test_a_task_that_succeeded():
    world = waiting_world(Do("a"))
    assert the_only(ask(world, "a", world.only_run()), "success").text == "it succeeded at 2013-01-05 00:00:00 (try 1)"


def test_a_task_that_failed_with_an_error():
    world = waiting_world(Do("a", AirflowFailException("bad password")))
    assert the_only(ask(world, "a", world.only_run()), "failed").text == (
        "it failed at 2013-01-05 00:00:00 (try 1): AirflowFailException: bad password; clear it to run it again"
    )


def test_a_task_that_failed_because_its_process_was_lost_too_often():
    class Dies(HandExecutor):
        def submit(self, work):
            with self.runner.store.transaction():
                self.runner.begin(work)

    world = World(make_dag(edges="a"), now=at(5), executor=Dies())
    run = world.trigger()
    for _ in range(4):
        world.tick()
        world.restart(Dies())
    world.tick()
    assert "its process died, or was killed, 4 times" in the_only(ask(world, "a", run), "failed").text


def test_a_task_whose_run_took_too_long():
    world = World(make_dag(tasks=[Do("a"), Do("b", BROKEN, retries=1)], dagrun_timeout=HOUR), now=at(5))
    world.trigger()
    world.run_until(at(5, 0, 1))
    world.clock.jump(at(5, 2))
    world.tick()
    run = world.only_run()
    assert the_only(ask(world, "b", run), "skipped").text.endswith(": the run's dagrun_timeout of 1:00:00 passed")
    the_only(ask(world, "a", run), "success")


def test_a_task_that_was_at_work_when_another_failed():
    world = waiting_world(Do("a"), Do("b", BROKEN), fail_fast=True, executor=HandExecutor())
    with world.store.transaction():
        world.scheduler.runner.begin(world.executor.held["d", world.only_run().run_id, "a"])
    world.store.touched()
    world.executor.end("b")
    world.tick()
    text = the_only(ask(world, "a", world.only_run()), "failed").text
    assert (
        text == "it failed at 2013-01-05 00:00:00 (try 1): the DAG is fail_fast, and b failed; clear it to run it again"
    )


SKIPPED = {
    "a branch": (
        [Do("a", DownstreamTasksSkipped(["b"], {}))],
        "a decided that it does not run",
        {},
    ),
    "itself": (
        [Do("a"), Do("b", AirflowSkipException("nothing new"))],
        "it decided so itself in try 1; see its log",
        {},
    ),
    "its rule": (
        [Do("a", AirflowSkipException("nothing new"))],
        "all_success (every upstream task succeeded) cannot be met: a (skipped)",
        {},
    ),
    "fail_fast": (
        [Do("a"), Do("c", BROKEN, priority_weight=99), Do("b")],
        "the DAG is fail_fast, and c failed",
        {"fail_fast": True},
    ),
}


@pytest.mark.parametrize("tasks, reason, kwargs", SKIPPED.values(), ids=SKIPPED)
def test_a_task_that_was_skipped_by(tasks, reason, kwargs):
    world = waiting_world(*tasks, edges="a >> b", **kwargs)
    blocker = the_only(ask(world, "b", world.only_run()), "skipped")
    assert blocker.text == f"it was skipped at 2013-01-05 00:00:00: {reason}"


def test_a_task_that_was_marked_skipped_by_hand():
    world = waiting_world(Do("a", pool="nowhere"))
    run = world.only_run()
    with world.store.transaction():
        world.store.set_task_states({world.tasks(run)["a"].id: ("scheduled", "skipped")}, at(5))
    assert the_only(ask(world, "a", run), "skipped").text.endswith(": it was marked so")


def test_a_task_that_never_ran_because_of_a_failure():
    world = waiting_world(Do("a", BROKEN), Do("c"), edges="a >> b, c >> b, b >> d")
    run = world.only_run()
    assert the_only(ask(world, "b", run), "upstream_failed").text == (
        "all_success (every upstream task succeeded) cannot be met: a (failed); clear what failed"
    )
    assert "b (upstream_failed)" in the_only(ask(world, "d", run), "upstream_failed").text


def test_a_task_whose_run_was_given_up():
    world = World(make_dag(edges="a", schedule="@daily", end_date=at(1)), now=at(9))
    cancel_backfill(world.store, backfill(world, 1, 1), now=at(9))
    world.tick()
    run = world.only_run()
    assert the_only(ask(world, "a", run), "run_over").text == (
        f"its run {run.run_id} ended at 2013-01-09 00:00:00 as failed before it ran; clear the run to run it"
    )


# --- for any DAG ---


def sense(context):
    """A sensor that sees what it waits for at noon."""
    if context["clock"].now() < at(6, 12):
        raise AirflowRescheduleException(at(6, 12))


STEPS = st.sampled_from([None, BROKEN, AirflowSkipException("no"), sense, AirflowFailException("x")])
RULES = st.sampled_from(["all_success", "all_done", "one_failed", "none_failed", "one_success", "none_skipped"])


@st.composite
def dags(draw):
    """Any small DAG: retries, sensors, pools that are there or not, and runs that wait for each other."""
    size = draw(st.integers(1, 6))
    kwargs = {"schedule": draw(st.sampled_from(["@daily", "@hourly", None])), "catchup": draw(st.booleans())}
    with DAG("d", start_date=at(5, 20), max_active_runs=draw(st.integers(1, 2)), **kwargs) as dag:
        tasks = [
            Do(
                f"t{i}",
                *draw(st.lists(STEPS, max_size=2)),
                retries=draw(st.integers(0, 1)),
                retry_delay=draw(st.sampled_from([MINUTE, 5 * HOUR])),
                depends_on_past=draw(st.booleans()),
                pool=draw(st.sampled_from(["default_pool", "default_pool", "default_pool", "two", "nowhere"])),
                pool_slots=draw(st.sampled_from([1, 1, 1, 3])),
                trigger_rule=draw(RULES),
            )
            for i in range(size)
        ]
        for i, task in enumerate(tasks):
            for other in tasks[i + 1 :]:
                if draw(st.booleans()):
                    _ = task >> other
    return dag


def unfinished(world):
    """Every task instance of an open run that is not finished."""
    open_runs = world.store.runs(states=["queued", "running"])
    return [
        (run, task_id) for run in open_runs for task_id, state in world.states(run).items() if state not in FINISHED
    ]


def at_rest(world):
    """Every answer there is to give now; the scheduler is at rest, so nothing may wait for it alone."""
    open_runs = world.store.runs(states=["queued", "running"])
    answers = [ask(world, task_id, run) for run, task_id in unfinished(world)]
    answers += [ask(world, run=run) for run in open_runs] + [ask(world)]
    for answer in answers:
        assert answer.kinds and "next_pass" not in answer.kinds, f"the scheduler is at rest: {answer}"
    return answers


@settings(max_examples=60, deadline=None)
@given(dags(), st.integers(0, 6), st.booleans())
def test_what_is_not_finished_always_has_a_blocker_and_the_next_event_is_the_first_to_end(dag, events, backfilled):
    world = World(dag, now=at(6))
    with world.store.transaction():
        world.store.set_pool("two", 2)
    world.trigger(logical_date=at(5, 21))
    if backfilled and dag.timetable.periodic and not any(task.depends_on_past for task in dag.tasks):
        backfill(world, 1, 4, max_active_runs=2)
    world.run_until(at(6))
    for _ in range(events):
        if (moment := world.scheduler.next_event()) is not None:
            world.run_until(moment)
    moments = [b.until for answer in at_rest(world) for b in answer if b.kind in ("retry", "reschedule", "interval")]
    assert min(moments, default=None) == world.scheduler.next_event()
    world.pause()
    world.run_until(at(7))
    at_rest(world)
    world.store.close()


# --- cost ---


def test_a_question_about_one_task_reads_the_database_a_few_times():
    world = waiting_world(*(Do(f"t{i}", pool="nowhere") for i in range(200)))
    statements = []
    world.store.cursor.connection.set_trace_callback(statements.append)
    ask(world, "t7", world.only_run())
    assert len(statements) <= 8


def test_a_timetable_that_fails_is_told():
    class Broken(Timetable):
        def next_dagrun_info(self, *, last_automated_data_interval, restriction):
            raise ZeroDivisionError("no more days")

    with Lab(start=at(1)) as lab:
        lab.add(make_dag(schedule=Broken())).run_until(at(2))
        assert lab.why().kinds == ["timetable"]
        assert str(lab.why()[0]) == "its timetable failed with ZeroDivisionError: no more days; correct it"
        assert repr(lab).splitlines()[-1].split()[-1] == "none"
