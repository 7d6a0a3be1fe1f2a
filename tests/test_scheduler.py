"""The scheduler with its real parts, on a simulated clock: which runs it makes, and what becomes of their tasks."""

from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from etlkit.dag import DAG
from etlkit.errors import (
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSkipException,
    DagNotFound,
    DownstreamTasksSkipped,
    DuplicateDagIdFound,
    MetadataError,
)
from etlkit.events import Listener, RunEvent, TaskEvent
from etlkit.frontier import Frontier
from etlkit.past import past_blocks
from etlkit.timetables import CronTriggerTimetable
from tests.engine import DAY, HOUR, MINUTE, SECOND, Do, HandExecutor, Poke, World, at, make_dag, run_once

# --- runs: which, and when --------------------------------------------------------------------------------------------


def notes_dag(**kwargs):
    """The daily DAG of the notes: from 2020-08-10 02:00, every day at 02:00."""
    start = at(10, 2, month=8, year=2020)
    return make_dag("notes", "a", schedule="0 2 * * *", start_date=start, **{"catchup": True, **kwargs})


SWITCHED_ON = at(13, 20, month=8, year=2020)
THREE_DATES = [at(day, 2, month=8, year=2020) for day in (10, 11, 12)]


def test_a_daily_dag_first_seen_three_and_a_half_days_later_runs_three_times():
    world = World(notes_dag(), now=SWITCHED_ON).run_until(SWITCHED_ON)
    assert world.dates("notes") == THREE_DATES
    assert {run.state for run in world.runs("notes")} == {"success"}
    assert [run.data_interval_end for run in world.runs("notes")] == [date + DAY for date in THREE_DATES]


def test_a_daily_dag_unpaused_three_and_a_half_days_later_runs_three_times():
    world = World(notes_dag(), now=at(1, month=8, year=2020), paused=True).run_until(SWITCHED_ON)
    assert world.runs("notes") == []
    world.pause("notes", False)
    world.run_until(SWITCHED_ON)
    assert world.dates("notes") == THREE_DATES


def test_the_run_of_a_day_starts_when_the_day_is_over():
    world = World(notes_dag(), now=at(10, 2, month=8, year=2020))
    over = at(11, 2, month=8, year=2020)
    world.run_until(over - SECOND)
    assert world.runs("notes") == []
    world.run_until(over)
    run = world.only_run("notes")
    assert (run.logical_date, run.start_date, run.run_id) == (THREE_DATES[0], over, f"scheduled__{over.isoformat()}")


def test_without_catch_up_only_the_newest_missed_interval_is_run():
    world = World(notes_dag(catchup=False), now=SWITCHED_ON).run_until(SWITCHED_ON + 2 * DAY)
    assert world.dates("notes") == [at(day, 2, month=8, year=2020) for day in (12, 13, 14)]


def test_without_catch_up_intervals_missed_in_a_pause_are_left_out():
    world = World(notes_dag(catchup=False), now=SWITCHED_ON).run_until(SWITCHED_ON)
    world.pause("notes")
    world.run_until(SWITCHED_ON + 3 * DAY)
    world.pause("notes", False)
    world.run_until(SWITCHED_ON + 4 * DAY)
    assert [date.day for date in world.dates("notes")] == [12, 15, 16]


def test_with_catch_up_intervals_missed_in_a_pause_are_run():
    world = World(notes_dag(), now=SWITCHED_ON).run_until(SWITCHED_ON)
    world.pause("notes")
    world.run_until(SWITCHED_ON + 3 * DAY)
    world.pause("notes", False)
    world.run_until(SWITCHED_ON + 3 * DAY)
    assert [date.day for date in world.dates("notes")] == [10, 11, 12, 13, 14, 15]


@pytest.mark.parametrize("catchup", [True, False])
def test_a_start_date_in_the_future_never_runs(catchup):
    world = World(make_dag(schedule="@daily", start_date=at(1, year=2014), catchup=catchup)).run_until(at(1, year=2014))
    assert world.runs() == []
    assert world.run_until(at(2, year=2014)).dates() == [at(1, year=2014)]


def test_nothing_runs_after_the_end_date():
    world = World(make_dag(schedule="@daily", catchup=True, end_date=at(3))).run_until(at(20))
    assert world.dates() == [at(1), at(2), at(3)]
    assert world.scheduler.next_event() is None


def test_catching_up_runs_in_order_within_max_active_runs():
    hands = HandExecutor()
    world = World(make_dag(edges="a", schedule="@daily", catchup=True, max_active_runs=2), now=at(6), executor=hands)
    seen = []
    for _ in range(5):
        world.tick()
        seen.append([run.logical_date.day for run in world.runs() if run.state in ("queued", "running")])
        hands.end()
    world.tick()
    assert seen == [[1, 2], [3, 4], [5], [], []]
    assert world.dates() == [at(day) for day in range(1, 6)]
    assert {run.state for run in world.runs()} == {"success"}


def test_room_for_one_run_more_is_used_at_once():
    hands = HandExecutor()
    world = World(make_dag(edges="a", schedule="@daily", catchup=True, max_active_runs=2), now=at(6), executor=hands)
    world.tick()
    ((_, second, _),) = [key for key in hands.held if key[1] != world.runs()[0].run_id]
    hands.ended.append(hands.runner.run(hands.held.pop(("d", second, "a"))))
    world.tick()
    assert [(run.logical_date.day, run.state) for run in world.runs()] == [
        (1, "running"),
        (2, "success"),
        (3, "running"),
    ]


def test_once_runs_once_and_never_again():
    world = World(make_dag(schedule="@once", edges="a", start_date=at(2))).run_until(at(1, year=2014))
    assert len(world.runs()) == 1
    world.restart()
    assert len(world.run_until(at(1, year=2015)).runs()) == 1


def test_continuous_runs_again_and_again_and_time_goes_on():
    world = World(make_dag(schedule="@continuous", edges="a")).run_until(at(1) + 10 * SECOND)
    assert [run.start_date for run in world.runs()] == [at(1) + n * SECOND for n in range(1, 11)]
    assert [run.data_interval_end for run in world.runs()[:-1]] == [run.data_interval_start for run in world.runs()[1:]]
    assert {run.state for run in world.runs()} == {"success"}


def test_continuous_waits_for_its_run():
    hands = HandExecutor()
    world = World(make_dag(schedule="@continuous", edges="a"), executor=hands).tick()
    world.clock.jump(at(2))
    assert len(world.tick().runs()) == 1
    world.clock.jump(at(3))
    assert len(world.tick().runs()) == 1
    hands.end()
    world.tick()
    world.clock.jump(world.scheduler.next_event())
    assert [(run.state, run.data_interval_start.day) for run in world.tick().runs()] == [("success", 1), ("running", 2)]


def test_a_manual_run_at_half_past_nine_is_of_the_last_whole_day():
    world = World(make_dag(edges="a", schedule="@daily"), now=at(5, 9, 30), paused=True)
    run = world.trigger()
    assert (run.data_interval_start, run.data_interval_end) == (at(4), at(5))
    assert (run.logical_date, run.run_id) == (at(5, 9, 30), f"manual__{at(5, 9, 30).isoformat()}")


def test_a_manual_run_does_not_move_the_schedule():
    world = World(make_dag(edges="a", schedule="@daily", catchup=True), now=at(1, 12))
    world.trigger()
    world.run_until(at(3))
    assert sorted(world.dates()) == [at(1), at(1, 12), at(2)]


def test_a_date_that_was_run_by_hand_is_not_run_again():
    world = World(make_dag(edges="a", schedule="@daily", catchup=True))
    world.trigger(logical_date=at(2))
    world.run_until(at(4))
    assert [(run.logical_date.day, run.run_type) for run in world.runs()] == [
        (2, "manual"),
        (1, "scheduled"),
        (3, "scheduled"),
    ]


def test_a_month_of_an_hourly_dag_gives_the_same_trace_twice():
    def month():
        flaky = Do("flaky", ValueError("first"), None, retries=1)
        hourly = make_dag("hourly", "flaky >> b, flaky >> c", tasks=[flaky], schedule="@hourly", catchup=True)
        daily = make_dag("daily", "a >> b", schedule="@daily", catchup=True)
        world = World(hourly, daily).run_until(at(1, month=2))
        assert len(world.runs("hourly")) == 31 * 24
        assert len(world.runs("daily")) == 31
        return str(world.trace)

    assert month() == month()


def test_two_dags_share_the_one_slot_by_the_time_of_their_runs():
    one = make_dag("one", "a1 >> a2", schedule="0 1 * * *", catchup=True)
    two = make_dag("two", "b1 >> b2", schedule="0 2 * * *", catchup=True)
    world = World(one, two, now=at(3, 12)).run_until(at(3, 12))
    assert len(world.runs("one")) == len(world.runs("two")) == 2
    # Weight first (two tasks hang on the first of each), then the run's time.
    assert world.order()[:4] == ["a1", "b1", "a1", "b1"]
    assert {run.state for run in [*world.runs("one"), *world.runs("two")]} == {"success"}


@pytest.mark.parametrize(("month", "day", "hours"), [(3, 10, 23), (11, 3, 25)])
def test_a_day_on_which_the_clocks_change_is_one_run_of_its_true_length(month, day, hours):
    new_york = ZoneInfo("America/New_York")
    start = datetime(2013, month, day - 1, tzinfo=new_york)
    dag = make_dag(edges="a", schedule="@daily", start_date=start, catchup=True)
    world = World(dag, now=start.astimezone(UTC)).run_until(start.astimezone(UTC) + 4 * DAY)
    lengths = [(run.data_interval_end - run.data_interval_start) / HOUR for run in world.runs()]
    assert lengths[:3] == [24, hours, 24]
    assert {run.data_interval_start.astimezone(new_york).hour for run in world.runs()} == {0}
    assert all(run.start_date == run.data_interval_end for run in world.runs())


def test_a_cron_in_the_hour_that_does_not_exist_still_runs_once_a_day():
    zone = ZoneInfo("Europe/Berlin")
    start = datetime(2013, 3, 29, tzinfo=zone)
    dag = make_dag(
        edges="a", schedule=CronTriggerTimetable("30 2 * * *", timezone=zone), start_date=start, catchup=True
    )
    world = World(dag, now=start.astimezone(UTC)).run_until(start.astimezone(UTC) + 5 * DAY)
    days = [run.run_after.astimezone(zone).day for run in world.runs()]
    assert days == [29, 30, 31, 1, 2]


def test_every_run_is_started_at_the_moment_it_is_due_not_later():
    world = World(make_dag(edges="a", schedule="17 * * * *", catchup=True)).run_until(at(2))
    assert all(run.start_date == run.end_date == run.run_after for run in world.runs())


def test_run_until_stops_at_the_end_and_takes_it_with_it():
    world = World(make_dag(edges="a", schedule="@daily", catchup=True)).run_until(at(2))
    assert (len(world.runs()), world.clock.now()) == (1, at(2))
    assert world.scheduler.next_event() == at(3)


# --- pausing and starting anew ----------------------------------------------------------------------------------------


def test_a_paused_dag_ends_what_runs_and_starts_nothing():
    hands = HandExecutor()
    world = World(make_dag(edges="a >> b, c"), executor=hands)
    run = world.trigger()
    world.tick()
    world.pause()
    hands.end("a")
    world.tick()
    assert world.states() == {"a": "success", "b": None, "c": "queued"}
    hands.end()
    assert world.tick().states() == {"a": "success", "b": None, "c": "success"}
    assert world.row(run).state == "running"
    world.pause(paused=False)
    world.tick()
    hands.end()
    assert world.tick().row(run).state == "success"


def test_a_task_that_was_ready_before_the_pause_waits_too():
    hands = HandExecutor(slots=1)
    world = World(make_dag(edges="a, b"), executor=hands)
    world.trigger()
    world.tick()
    world.pause()
    hands.end()
    world.tick()
    assert hands.tasks == []
    world.pause(paused=False)
    assert world.tick().executor.tasks == ["b"]


def test_a_run_triggered_in_a_pause_waits_for_its_end():
    world = World(make_dag(edges="a"), paused=True)
    world.trigger()
    assert world.run_until(at(2)).only_run().state == "queued"
    world.pause(paused=False)
    assert world.run_until(at(2)).only_run().state == "success"


def test_a_retry_whose_moment_came_in_a_pause_is_made_after_it():
    dag = make_dag(tasks=[Do("a", ValueError, None, retries=1, retry_delay=HOUR)])
    world = World(dag)
    world.trigger()
    world.run_until(at(1, 0, 30))
    world.pause()
    assert world.run_until(at(1, 5)).states() == {"a": "up_for_retry"}
    world.pause(paused=False)
    assert world.run_until(at(1, 5)).states() == {"a": "success"}


def test_a_run_time_out_that_came_in_a_pause_is_noticed_after_it():
    hands = HandExecutor()
    world = World(make_dag(edges="a >> b", dagrun_timeout=HOUR), executor=hands)
    world.trigger()
    world.tick()
    world.pause()
    world.clock.jump(at(1, 2))
    assert world.tick().only_run().state == "running"
    world.pause(paused=False)
    assert world.tick().only_run().state == "failed"


def test_a_pause_of_one_dag_leaves_the_other_alone():
    world = World(
        make_dag("one", "a", schedule="@daily", catchup=True), make_dag("two", "a", schedule="@daily", catchup=True)
    )
    world.pause("one")
    world.run_until(at(3))
    assert (len(world.runs("one")), len(world.runs("two"))) == (0, 2)


def test_a_scheduler_that_starts_anew_goes_on_where_the_old_one_stopped():
    fails = Do("fails", ValueError, None, retries=1, retry_delay=DAY)
    world = World(make_dag(edges="fails >> after", tasks=[fails], schedule="@daily", catchup=True))
    world.run_until(at(2, 12))
    assert world.restart() == []
    world.run_until(at(5))
    assert world.dates() == [at(day) for day in (1, 2, 3, 4)]
    assert [world.states(run)["after"] for run in world.runs()] == ["success", "success", "success", None]
    assert world.story("running", "fails")[1] == (at(3), "fails")


def test_the_same_dag_may_be_added_twice_and_another_of_its_name_may_not():
    dag = make_dag()
    world = World(dag)
    world.add(dag)
    with pytest.raises(DuplicateDagIdFound):
        world.add(make_dag())


def test_a_dag_that_nobody_knows_is_named_with_the_nearest():
    with pytest.raises(DagNotFound, match="'weather'"):
        World(make_dag("weather")).scheduler.remove_dag("wether")


def test_a_run_of_a_dag_that_is_gone_waits_until_it_is_back():
    dag = make_dag(edges="a")
    world = World(dag)
    world.trigger()
    world.scheduler.remove_dag("d")
    assert world.run_until(at(2)).only_run().state == "queued"
    world.add(dag)
    assert world.run_until(at(2)).only_run().state == "success"


# --- a DAG that is edited ---------------------------------------------------------------------------------------------


def test_a_task_added_while_a_run_is_under_way_is_run_too():
    hands = HandExecutor()
    world = World(make_dag(edges="a"), executor=hands)
    run = world.trigger()
    world.tick()
    world.replace(make_dag(edges="a >> b, c"))
    world.tick()
    assert sorted(hands.tasks) == ["a", "c"]
    hands.end()
    world.tick()
    hands.end()
    assert world.tick().states() == {"a": "success", "b": "success", "c": "success"}
    assert world.row(run).state == "success"


def test_a_task_taken_out_while_a_run_is_under_way_is_removed_and_holds_up_nothing():
    hands = HandExecutor()
    world = World(make_dag(edges="a >> b >> c"), executor=hands)
    world.trigger()
    world.tick()
    world.replace(make_dag(edges="a >> c"))
    hands.end()
    world.tick()
    hands.end()
    assert world.tick().states() == {"a": "success", "b": "removed", "c": "success"}
    assert world.only_run().state == "success"


def test_an_attempt_of_a_task_that_was_taken_out_changes_nothing():
    hands = HandExecutor()
    world = World(make_dag(edges="a, b"), executor=hands)
    world.trigger()
    world.tick()
    begun = hands.held["d", world.only_run().run_id, "b"]
    with world.store.transaction():
        assert hands.runner.begin(begun)
    world.replace(make_dag(edges="a"))
    world.tick()
    hands.ended.append(hands.runner.carry_out(begun))
    del hands.held["d", world.only_run().run_id, "b"]
    hands.end()
    assert world.tick().states() == {"a": "success", "b": "removed"}
    assert world.only_run().state == "success"


def test_a_task_that_comes_back_is_run():
    hands = HandExecutor()
    world = World(make_dag(edges="a >> b"), executor=hands)
    world.trigger()
    world.tick()
    world.replace(make_dag(edges="a"))
    assert world.tick().states() == {"a": "queued", "b": "removed"}
    world.replace(make_dag(edges="a >> b"))
    world.tick()
    hands.end()
    world.tick()
    hands.end()
    assert world.tick().states() == {"a": "success", "b": "success"}


def test_finished_runs_keep_what_an_edit_takes_out():
    world = World(make_dag(edges="a, b", schedule="@daily", catchup=True)).run_until(at(2))
    world.replace(make_dag(edges="b, c", schedule="@daily", catchup=True))
    world.run_until(at(3))
    assert [sorted(world.tasks(run)) for run in world.runs()] == [["a", "b"], ["b", "c"]]


def test_a_run_without_tasks_succeeds():
    world = run_once(DAG("d", start_date=at(1)))
    assert (world.only_run().state, world.tasks()) == ("success", {})


# --- retries ----------------------------------------------------------------------------------------------------------


def test_a_retry_waits_on_the_clock_and_holds_nobody_up():
    flaky = Do("flaky", ValueError("no"), None, retries=1, retry_delay=5 * MINUTE)
    world = run_once(make_dag(edges="flaky >> after, other >> last", tasks=[flaky]))
    assert world.story("running", "flaky") == [(at(1), "flaky"), (at(1, 0, 5), "flaky")]
    assert world.story("success", "last") == [(at(1), "last")]
    assert (world.tries()["flaky"], world.only_run().state) == (2, "success")


def test_a_slot_is_free_while_a_task_waits_for_its_retry():
    hands = HandExecutor(slots=1)
    dag = make_dag(tasks=[Do("a", ValueError, None, retries=1, retry_delay=HOUR), Do("b")])
    world = World(dag, executor=hands)
    world.trigger()
    world.tick()
    hands.end("a")
    assert world.tick().executor.tasks == ["b"]


def test_the_delays_of_a_back_off_double_up_to_their_bound():
    flaky = Do(
        "flaky",
        ValueError,
        retries=5,
        retry_delay=MINUTE,
        retry_exponential_backoff=True,
        max_retry_delay=5 * MINUTE,
    )
    world = run_once(make_dag(tasks=[flaky]))
    moments = [moment for moment, _ in world.story("running")]
    assert [(b - a) / MINUTE for a, b in pairwise(moments)] == [1, 2, 4, 5, 5]
    assert (world.states(), world.tries()) == ({"flaky": "failed"}, {"flaky": 6})


def test_a_back_off_may_multiply_by_another_number():
    flaky = Do("flaky", ValueError, retries=3, retry_delay=MINUTE, retry_exponential_backoff=3)
    moments = [moment for moment, _ in run_once(make_dag(tasks=[flaky])).story("running")]
    assert [(b - a) / MINUTE for a, b in pairwise(moments)] == [1, 3, 9]


def test_a_retry_without_delay_is_made_in_the_same_instant():
    world = run_once(make_dag(tasks=[Do("a", ValueError, ValueError, None, retries=2, retry_delay=0)]))
    assert world.story("running") == [(at(1), "a")] * 3


def test_a_retry_stands_in_line_by_its_priority():
    flaky = Do("flaky", ValueError, None, retries=1, retry_delay=MINUTE, priority_weight=5)
    hands = HandExecutor(slots=1)
    world = World(make_dag(tasks=[flaky, *(Do(f"low{n}") for n in range(3))]), executor=hands)
    world.trigger()
    world.tick()
    hands.end("flaky")
    assert world.tick().executor.tasks == ["low0"]
    world.clock.jump(at(1, 0, 1))
    world.tick()
    hands.end()
    assert world.tick().executor.tasks == ["flaky"]


def test_each_try_is_kept_with_its_times_and_its_error():
    flaky = Do("flaky", ValueError("one"), KeyError("two"), None, retries=2, retry_delay=MINUTE)
    world = run_once(make_dag(tasks=[flaky]))
    tries = world.store.history(world.only_run().id)
    assert [(number, state, error) for _, _, number, state, _, _, error in tries] == [
        (1, "failed", "ValueError: one"),
        (2, "failed", "KeyError: 'two'"),
    ]
    assert [start for *_, start, _, _ in tries] == [at(1), at(1, 0, 1)]
    last = world.tasks()["flaky"]
    assert (last.try_number, last.start_date, last.end_date, last.error) == (3, at(1, 0, 2), at(1, 0, 2), None)


def test_what_will_not_get_better_is_not_tried_again():
    world = run_once(
        make_dag(tasks=[Do("a", AirflowFailException("no"), retries=5), Do("b", AirflowSkipException, retries=5)])
    )
    assert (world.states(), world.tries()) == ({"a": "failed", "b": "skipped"}, {"a": 1, "b": 1})


def test_a_cleared_task_gets_its_retries_anew():
    bad = Do("bad", *[ValueError] * 5, None, retries=2, retry_delay=0)
    world = run_once(make_dag(edges="bad >> after", tasks=[bad]))
    assert (world.states(), world.tries()["bad"]) == ({"bad": "failed", "after": "upstream_failed"}, 3)
    world.clear(world.only_run())
    world.run_until(at(2, year=2014))
    assert (world.states(), world.tries()["bad"]) == ({"bad": "success", "after": "success"}, 6)
    assert [number for _, _, number, *_ in world.store.history(world.only_run().id)] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("when", ["up_for_retry", "scheduled"])
def test_a_try_is_kept_once_however_often_the_task_is_cleared(when):
    hands = HandExecutor(slots=1)
    world = World(make_dag(tasks=[Do("a", ValueError, None, retries=1, retry_delay=MINUTE), Do("b")]), executor=hands)
    run = world.trigger()
    world.tick()
    hands.end("a")
    world.tick()
    if when == "scheduled":
        world.clock.jump(at(1, 0, 1))
        world.tick()
    assert world.states()["a"] == when
    world.clear(run, "a")
    world.clear(run, "a")
    assert [number for _, _, number, *_ in world.store.history(run.id)] == [1]


def test_a_task_cleared_while_it_waits_for_its_retry_is_run_at_once():
    world = World(make_dag(tasks=[Do("a", ValueError, None, retries=1, retry_delay=DAY)]))
    run = world.trigger()
    world.run_until(at(1, 1))
    world.clear(run)
    assert world.run_until(at(1, 1)).states() == {"a": "success"}


# --- failing, skipping, ruling out ------------------------------------------------------------------------------------


def fails_and_skips(edges, **rules):
    """A DAG in which `bad` fails, `skip` is skipped and `good` succeeds, above tasks with the trigger rules told."""
    tasks = [Do("good"), Do("bad", ValueError), Do("skip", AirflowSkipException)]
    return make_dag(edges=edges, tasks=[*tasks, *(Do(name, trigger_rule=rule) for name, rule in rules.items())])


@pytest.mark.parametrize(
    ("rule", "good", "bad", "skip", "all_three"),
    [
        ("all_success", "success", "upstream_failed", "skipped", "upstream_failed"),
        ("all_failed", "skipped", "success", "skipped", "skipped"),
        ("all_done", "success", "success", "success", "success"),
        ("all_done_min_one_success", "success", "upstream_failed", "skipped", "skipped"),
        ("all_skipped", "skipped", "skipped", "success", "skipped"),
        ("one_success", "success", "upstream_failed", "skipped", "success"),
        ("one_failed", "skipped", "success", "skipped", "success"),
        ("one_done", "success", "success", "skipped", "success"),
        ("none_failed", "success", "upstream_failed", "success", "upstream_failed"),
        ("none_failed_min_one_success", "success", "upstream_failed", "skipped", "upstream_failed"),
        ("none_skipped", "success", "success", "skipped", "skipped"),
        ("always", "success", "success", "success", "success"),
    ],
)
def test_every_rule_end_to_end(rule, good, bad, skip, all_three):
    edges = "good >> after_good, bad >> after_bad, skip >> after_skip, good >> both, bad >> both, skip >> both"
    names = ("after_good", "after_bad", "after_skip", "both")
    states = run_once(fails_and_skips(edges, **dict.fromkeys(names, rule))).states()
    assert tuple(states[name] for name in names) == (good, bad, skip, all_three)


def test_a_rule_that_is_decided_early_does_not_wait():
    hands = HandExecutor()
    dag = make_dag(
        edges="bad >> alarm, slow >> alarm, bad >> never, slow >> never",
        tasks=[Do("bad", ValueError), Do("slow"), Do("alarm", trigger_rule="one_failed"), Do("never")],
    )
    world = World(dag, executor=hands)
    world.trigger()
    world.tick()
    hands.end("bad")
    assert world.tick().states() == {"bad": "failed", "slow": "queued", "alarm": "queued", "never": "upstream_failed"}


def test_what_ends_without_running_has_no_try_and_no_start():
    world = run_once(fails_and_skips("bad >> a >> b, skip >> c"))
    for name, state in (("a", "upstream_failed"), ("b", "upstream_failed"), ("c", "skipped")):
        task = world.tasks()[name]
        assert (task.state, task.try_number, task.start_date, task.end_date) == (state, 0, None, at(1))


@pytest.mark.parametrize(
    ("edges", "rules", "state"),
    [
        ("bad >> tidy", {"tidy": "all_done"}, "success"),
        ("bad >> after, good >> last", {}, "failed"),
        ("good >> bad", {}, "failed"),
        ("skip >> after", {}, "success"),
        ("bad >> a >> tidy", {"tidy": "all_done"}, "success"),
    ],
)
def test_the_leaves_make_the_state_of_the_run(edges, rules, state):
    keep = {name for edge in edges.split(",") for name in edge.replace(">>", " ").split()} | rules.keys()
    dag = fails_and_skips(edges, **rules).partial_subset(keep)
    assert run_once(dag).only_run().state == state


def choose(*skipped):
    return DownstreamTasksSkipped(skipped, {"skipped": skipped})


def test_a_branch_skips_what_it_did_not_choose_and_the_rules_do_the_rest():
    join = Do("join", trigger_rule="none_failed_min_one_success")
    dag = make_dag(
        edges="branch >> a >> a2 >> join, branch >> b >> b2 >> join", tasks=[Do("branch", choose("b")), join]
    )
    world = run_once(dag)
    assert world.states() == {
        "branch": "success",
        **dict.fromkeys(["a", "a2", "join"], "success"),
        **dict.fromkeys(["b", "b2"], "skipped"),
    }
    assert world.only_run().state == "success"


def test_a_short_circuit_skips_everything_after_it_whatever_the_rules():
    dag = make_dag(
        edges="check >> a >> b, check >> c, other >> b",
        tasks=[Do("check", choose("a", "b", "c")), Do("b", trigger_rule="all_done")],
    )
    assert run_once(dag).states() == {
        "check": "success",
        "other": "success",
        **dict.fromkeys("abc", "skipped"),
    }


@pytest.mark.parametrize("anew", [False, True])
def test_a_skipped_branch_that_is_cleared_is_skipped_again(anew):
    world = run_once(make_dag(edges="branch >> a >> a2, branch >> b", tasks=[Do("branch", choose("a"))]))
    world.clear(world.only_run(), "a", "a2")
    assert world.states() == {"branch": "success", "a": None, "a2": None, "b": "success"}
    if anew:
        world.restart()
    world.run_until(at(1, year=2015))
    assert world.states() == {"branch": "success", "a": "skipped", "a2": "skipped", "b": "success"}


def test_a_branch_that_is_cleared_with_its_tasks_chooses_anew():
    branch = Do("branch", choose("a"), choose("b"))
    world = run_once(make_dag(edges="branch >> a, branch >> b", tasks=[branch]))
    assert world.states() == {"branch": "success", "a": "skipped", "b": "success"}
    world.clear(world.only_run(), "branch", downstream=True)
    world.run_until(at(1, year=2015))
    assert world.states() == {"branch": "success", "a": "success", "b": "skipped"}


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_branch_survives_a_new_scheduler_after_any_pass(cut):
    world = World(make_dag(edges="branch >> a >> a2, branch >> b >> b2", tasks=[Do("branch", choose("a"))]))
    world.trigger()
    for _ in range(cut):
        world.scheduler.tick()
    world.restart()
    world.run_until(at(2))
    assert world.states() == {"branch": "success", "a": "skipped", "a2": "skipped", "b": "success", "b2": "success"}
    assert world.tries() == {"branch": 1, "a": 0, "a2": 0, "b": 1, "b2": 1}


def test_fail_fast_skips_what_has_not_begun():
    dag = make_dag(edges="bad >> after, first >> bad, other >> o2", tasks=[Do("bad", ValueError)], fail_fast=True)
    world = run_once(dag)
    assert (world.states()["after"], world.states()["bad"], world.states()["o2"]) == ("skipped", "failed", "skipped")
    assert world.only_run().state == "success"  # as in Airflow: the leaves were skipped, and that is no failure


def test_fail_fast_ends_what_runs():
    hands = HandExecutor()
    world = World(make_dag(tasks=[Do("bad", ValueError), Do("slow"), Do("queued")], fail_fast=True), executor=hands)
    world.trigger()
    world.tick()
    slow = hands.held.pop(next(key for key in hands.held if key[2] == "slow"))
    with world.store.transaction():
        hands.runner.begin(slow)
    hands.end("bad")
    world.tick()
    assert world.states() == {"bad": "failed", "slow": "failed", "queued": "skipped"}
    assert world.only_run().state == "failed"
    hands.ended.append(hands.runner.carry_out(slow))
    hands.end("queued")
    assert world.tick().states() == {"bad": "failed", "slow": "failed", "queued": "skipped"}


def test_fail_fast_waits_for_the_last_retry():
    dag = make_dag(tasks=[Do("bad", ValueError, retries=1, retry_delay=MINUTE), Do("good")], fail_fast=True)
    world = run_once(dag)
    assert (world.states(), world.tries()["bad"]) == ({"bad": "failed", "good": "success"}, 2)


def test_fail_fast_holds_for_a_new_scheduler_too():
    hands = HandExecutor(slots=1)
    world = World(make_dag(tasks=[Do("bad", ValueError), Do("other")], fail_fast=True), executor=hands)
    world.trigger()
    world.tick()
    hands.end("bad")
    world.restart()
    assert world.run_until(at(2)).states() == {"bad": "failed", "other": "skipped"}


# --- who goes first ---------------------------------------------------------------------------------------------------


def test_weights_decide_the_order_and_what_hangs_on_a_task_adds_to_it():
    world = run_once(make_dag(edges="short, long1 >> long2 >> long3", tasks=[Do("urgent", priority_weight=9)]))
    assert world.order() == ["urgent", "long1", "long2", "short", "long3"]


@pytest.mark.parametrize(("rule", "order"), [("absolute", "bca"), ("upstream", "bca"), ("downstream", "abc")])
def test_weight_rules(rule, order):
    kwargs = {"weight_rule": rule}
    dag = make_dag(
        edges="a >> a2 >> a3, b, c",
        tasks=[Do("a", **kwargs), Do("b", priority_weight=3, **kwargs), Do("c", priority_weight=2, **kwargs)],
    )
    assert [name for name in run_once(dag).order() if name in "abc"] == list(order)


def test_the_older_run_goes_first_among_equals():
    world = World(make_dag(edges="a", schedule="@daily", catchup=True, max_active_runs=5), now=at(4)).run_until(at(4))
    assert [run.end_date for run in world.runs()] == [at(4)] * 3
    runs = [
        event.run_id for event in world.trace.events if getattr(event, "task_id", "") == "a" and event.new == "running"
    ]
    assert runs == [run.run_id for run in world.runs()]


def test_parallelism_bounds_what_is_active_over_all_dags():
    hands = HandExecutor()
    world = World(make_dag("one", "a, b, c"), make_dag("two", "a, b, c"), executor=hands, parallelism=4)
    world.trigger("one")
    world.trigger("two")
    sizes = []
    while world.tick().executor.held:
        sizes.append(len(hands.held))
        hands.end(hands.tasks[0])
    assert max(sizes) == 4
    assert {run.state for run in [*world.runs("one"), *world.runs("two")]} == {"success"}


def test_max_active_tasks_bounds_each_run():
    hands = HandExecutor()
    dag = make_dag(edges="a, b, c", schedule="@daily", catchup=True, max_active_tasks=2)
    world = World(dag, now=at(3), executor=hands)
    world.tick()
    assert [key[1:] for key in hands.held] == [(run.run_id, task) for run in world.runs() for task in "ab"]
    hands.end("a")
    world.tick()
    assert sorted(hands.tasks) == ["b", "b", "c", "c"]


def test_max_active_tis_per_dag_bounds_a_task_over_all_runs():
    hands = HandExecutor()
    dag = make_dag(tasks=[Do("one_at_a_time", max_active_tis_per_dag=1), Do("free")], schedule="@daily", catchup=True)
    world = World(dag, now=at(4), executor=hands)
    days = []
    while world.tick().executor.held:
        days.append(sum(task == "one_at_a_time" for task in hands.tasks))
        hands.end()
    assert days == [1, 1, 1]


def test_a_task_held_up_by_its_own_limit_does_not_block_its_run():
    """The one that steps aside for a limit of its own leaves the slot of its run to the next in line."""
    hands = HandExecutor()
    tasks = [Do("x", max_active_tis_per_dag=1, priority_weight=5), Do("y"), Do("z", priority_weight=9)]
    dag = make_dag(tasks=tasks, schedule="@daily", catchup=True, max_active_tasks=1)
    world = World(dag, now=at(3), executor=hands)
    world.tick()
    assert hands.tasks == ["z", "z"]
    hands.end()
    world.tick()
    assert hands.tasks == ["x", "y"]


def test_a_pool_gives_out_its_slots_and_no_more():
    hands = HandExecutor()
    tasks = [Do("big", pool="narrow", pool_slots=2, priority_weight=9), *(Do(f"t{n}", pool="narrow") for n in range(3))]
    world = World(make_dag(tasks=[*tasks, Do("elsewhere")]), executor=hands)
    with world.store.transaction():
        world.store.set_pool("narrow", 2)
    world.trigger()
    world.tick()
    assert sorted(hands.tasks) == ["big", "elsewhere"]
    hands.end("big")
    assert sorted(world.tick().executor.tasks) == ["elsewhere", "t0", "t1"]


def test_a_task_that_is_too_big_for_what_is_free_lets_smaller_ones_pass():
    hands = HandExecutor()
    tasks = [
        Do("first", pool="p", priority_weight=9),
        Do("big", pool="p", pool_slots=2, priority_weight=5),
        Do("small", pool="p"),
    ]
    world = World(make_dag(tasks=tasks), executor=hands)
    with world.store.transaction():
        world.store.set_pool("p", 2)
    world.trigger()
    assert world.tick().executor.tasks == ["first", "small"]
    hands.end()
    assert world.tick().executor.tasks == ["big"]


def test_a_task_of_an_unknown_pool_waits_until_there_is_one():
    world = World(make_dag(tasks=[Do("a", pool="nowhere"), Do("b")]))
    world.trigger()
    assert world.run_until(at(2)).states() == {"a": "scheduled", "b": "success"}
    with world.store.transaction():
        world.store.set_pool("nowhere", 1)
    assert world.run_until(at(2)).states() == {"a": "success", "b": "success"}


def test_priority_counts_between_pools_too():
    world = World(make_dag(tasks=[Do("low", pool="p"), Do("high", priority_weight=9)]))
    with world.store.transaction():
        world.store.set_pool("p", 5)
    world.trigger()
    assert world.run_until(at(2)).order() == ["high", "low"]


def test_a_pool_that_grows_lets_the_next_in():
    hands = HandExecutor()
    world = World(make_dag(tasks=[Do(f"t{n}", pool="p") for n in range(3)]), executor=hands)
    with world.store.transaction():
        world.store.set_pool("p", 1)
    world.trigger()
    assert world.tick().executor.tasks == ["t0"]
    with world.store.transaction():
        world.store.set_pool("p", 2)
    assert world.tick().executor.tasks == ["t0", "t1"]


# --- the run before ---------------------------------------------------------------------------------------------------


def daily_with_past(*tasks, edges="", **kwargs):
    return make_dag(edges=edges, tasks=tasks, schedule="@daily", catchup=True, **kwargs)


def fails_on(*days):
    def step(context):
        if context["logical_date"].day in days:
            raise ValueError("no data")

    return step


def skips_on(*days):
    def step(context):
        if context["logical_date"].day in days:
            raise AirflowSkipException("nothing new")

    return step


def by_day(world, task_id):
    return {run.logical_date.day: world.states(run).get(task_id, "none") for run in world.runs()}


def test_a_task_that_depends_on_past_waits_for_ever_behind_a_failure():
    world = World(daily_with_past(Do("a", fails_on(3), depends_on_past=True), edges="a >> b"), now=at(6)).run_until(
        at(6)
    )
    assert by_day(world, "a") == {1: "success", 2: "success", 3: "failed", 4: None, 5: None}
    assert [run.state for run in world.runs()] == ["success", "success", "failed", "running", "running"]


def test_clearing_the_failure_lets_the_later_runs_go():
    bad = [3]
    task = Do("a", lambda context: fails_on(*bad)(context), depends_on_past=True)
    world = World(daily_with_past(task), now=at(6)).run_until(at(6))
    bad.clear()
    world.clear(world.runs()[2])
    world.run_until(at(6))
    assert set(by_day(world, "a").values()) == {"success"}
    assert [moment for moment, _ in world.story("running")] == [at(6)] * 6


def test_of_a_wide_dag_that_depends_on_past_each_task_is_looked_at_a_few_times(monkeypatch):
    asked = []
    monkeypatch.setattr(
        "etlkit.scheduler.past_blocks", lambda store, run, task: asked.append(task) or past_blocks(store, run, task)
    )
    tasks = [Do(f"t{n}", depends_on_past=True) for n in range(40)]
    world = World(make_dag(tasks=tasks, schedule="@daily", catchup=True), now=at(4)).run_until(at(4))
    assert [run.state for run in world.runs()] == ["success"] * 3
    assert len(asked) <= 3 * 40 * 3


def test_depends_on_past_runs_one_day_after_the_other():
    hands = HandExecutor()
    world = World(daily_with_past(Do("a", depends_on_past=True)), now=at(4), executor=hands)
    seen = []
    while world.tick().executor.held:
        seen.append([key[1] for key in hands.held])
        hands.end()
    assert seen == [[run.run_id] for run in world.runs()]


def test_a_skipped_past_is_good_enough():
    hands = HandExecutor()
    tasks = [Do("skip", AirflowSkipException), Do("a", depends_on_past=True), Do("slow")]
    world = World(daily_with_past(*tasks, edges="skip >> a", max_active_runs=2), now=at(3), executor=hands)
    world.tick()
    hands.end("skip")
    world.tick()
    assert by_day(world, "a") == {1: "skipped", 2: "skipped"}


def test_a_past_that_was_skipped_by_its_rule_frees_the_next_run_at_once():
    hands = HandExecutor()
    first_only = Do("skip", skips_on(1))
    tasks = [first_only, Do("a", depends_on_past=True), Do("slow")]
    world = World(daily_with_past(*tasks, edges="skip >> a"), now=at(3), executor=hands)
    world.tick()
    second = world.runs()[1].run_id
    hands.ended.append(hands.runner.run(hands.held.pop(("d", second, "skip"))))
    assert "a" not in world.tick().executor.tasks
    hands.end("skip")
    world.tick()
    assert by_day(world, "a") == {1: "skipped", 2: "queued"}


def test_wait_for_downstream_waits_for_what_is_directly_below():
    hands = HandExecutor()
    world = World(daily_with_past(Do("a", wait_for_downstream=True), edges="a >> b >> c"), now=at(3), executor=hands)
    world.tick()
    seen = []
    while hands.held:
        seen.append(sorted((key[1] == world.runs()[1].run_id, key[2]) for key in hands.held))
        hands.end()
        world.tick()
    assert seen == [[(False, "a")], [(False, "b")], [(False, "c"), (True, "a")], [(True, "b")], [(True, "c")]]


def test_a_manual_run_counts_as_the_run_before_only_without_catch_up():
    for catchup, state in ((True, "success"), (False, None)):
        dag = make_dag(
            tasks=[Do("a", fails_on(2), depends_on_past=True)], schedule="@daily", catchup=catchup, start_date=at(3)
        )
        world = World(dag, now=at(2, 12))
        world.trigger(logical_date=at(2, 12))
        world.run_until(at(4))
        assert by_day(world, "a") == {2: "failed", 3: state}


# --- dates of tasks ---------------------------------------------------------------------------------------------------


def test_a_task_has_instances_only_between_its_own_dates():
    tasks = [Do("a"), Do("late", start_date=at(3)), Do("early", end_date=at(2))]
    world = World(daily_with_past(*tasks, edges="a >> late >> last"), now=at(5)).run_until(at(5))
    assert by_day(world, "late") == {1: "none", 2: "none", 3: "success", 4: "success"}
    assert by_day(world, "early") == {1: "success", 2: "success", 3: "none", 4: "none"}
    assert {run.state for run in world.runs()} == {"success"}


def test_a_run_whose_tasks_have_no_instances_succeeds():
    world = World(daily_with_past(Do("late", start_date=at(9))), now=at(2)).run_until(at(2))
    assert (world.only_run().state, world.tasks()) == ("success", {})


# --- time-outs --------------------------------------------------------------------------------------------------------


def test_a_run_that_takes_too_long_fails_and_its_open_tasks_are_skipped():
    dag = make_dag(edges="a >> b", tasks=[Do("a", ValueError, retries=5, retry_delay=HOUR)], dagrun_timeout=90 * MINUTE)
    world = run_once(dag)
    assert (world.states(), world.tries()["a"]) == ({"a": "skipped", "b": "skipped"}, 2)
    assert (world.only_run().state, world.only_run().end_date) == ("failed", at(1, 1, 30))


def test_a_task_that_runs_when_its_run_times_out_is_not_counted():
    hands = HandExecutor()
    world = World(make_dag(edges="a >> b", dagrun_timeout=HOUR), executor=hands)
    world.trigger()
    world.tick()
    ((_, work),) = hands.held.items()
    with world.store.transaction():
        hands.runner.begin(work)
    world.clock.jump(at(1, 1))
    assert world.tick().states() == {"a": "skipped", "b": "skipped"}
    hands.held.clear()
    hands.ended.append(hands.runner.carry_out(work))
    assert world.tick().states() == {"a": "skipped", "b": "skipped"}
    assert world.only_run().state == "failed"


def test_the_time_of_a_run_counts_from_its_start_and_anew_after_a_clear():
    dag = make_dag(tasks=[Do("a", ValueError, None, retries=1, retry_delay=HOUR)], dagrun_timeout=90 * MINUTE)
    world = run_once(dag, now=at(1))
    assert world.only_run().state == "success"
    world.clock.jump(at(1, year=2014) + DAY)
    world.clear(world.only_run())
    assert world.run_until(at(3, year=2014)).only_run().state == "success"


def test_a_run_that_succeeds_in_time_is_left_alone():
    world = run_once(make_dag(edges="a", dagrun_timeout=HOUR))
    assert (world.only_run().state, world.only_run().end_date) == ("success", at(1))


# --- callbacks and listeners ------------------------------------------------------------------------------------------


def test_the_callbacks_of_a_run_are_called_once_with_its_end_state():
    calls = []
    dag = make_dag(
        edges="a",
        on_success_callback=[lambda context: calls.append(("good", context["run_id"], context["reason"]))] * 2,
        on_failure_callback=lambda context: calls.append(("bad", context["dag_run"].run_id, context["reason"])),
    )
    run_id = run_once(dag).only_run().run_id
    assert calls == [("good", run_id, "success")] * 2


@pytest.mark.parametrize(("task", "timeout", "reason"), [(ValueError, None, "task_failure"), (None, HOUR, "timed_out")])
def test_the_callback_of_a_failed_run_is_told_why(task, timeout, reason):
    calls = []

    def note(context):
        calls.append((context["reason"], context["dag_run"].state, context["dag"].dag_id))

    steps = [task] if task else [ValueError]
    retries = 0 if task else 1
    dag = make_dag(
        tasks=[Do("a", *steps, retries=retries, retry_delay=DAY)], on_failure_callback=note, dagrun_timeout=timeout
    )
    run_once(dag)
    assert calls == [(reason, "failed", "d")]


def test_the_callback_of_a_run_does_not_wait_for_the_next_task():
    told = []
    quick = make_dag("quick", "a", on_success_callback=lambda context: told.append("callback"))
    slow = make_dag("slow", tasks=[Do("b", lambda context: told.append("next task"))])
    world = World(quick, slow)
    world.trigger("quick")
    world.trigger("slow")
    world.run_until(at(2))
    assert told == ["callback", "next task"]


def test_a_callback_that_fails_changes_nothing(caplog):
    def crash(context):
        raise SystemExit("down with it")

    tasks = [
        Do("a", on_success_callback=crash, on_execute_callback=crash),
        Do("b", ValueError, on_failure_callback=crash),
    ]
    world = run_once(make_dag(tasks=tasks, on_failure_callback=crash))
    assert (world.states(), world.only_run().state) == ({"a": "success", "b": "failed"}, "failed")
    assert caplog.text.count("SystemExit: down with it") == 4


class Crash(Listener):
    def on_task(self, event):
        raise RuntimeError("the listener is broken")

    on_run = on_tick = on_task


def test_a_listener_that_crashes_is_logged_and_the_others_hear_all_the_same(caplog):
    world = run_once(make_dag(edges="a"), listeners=[Crash()])
    assert world.only_run().state == "success"
    assert [event.new for event in world.trace.events if isinstance(event, RunEvent)] == [
        "running",
        "success",
    ]
    assert "the listener is broken" in caplog.text


def test_listeners_hear_every_state_in_order_and_after_it_was_committed():
    seen = []

    class Reads(Listener):
        def on_task(self, event):
            (row,) = world.store.task_instances(world.only_run().id)
            seen.append((event.old, event.new, event.try_number, row.state))

    flaky = Do("a", ValueError, None, retries=1, retry_delay=MINUTE)
    world = World(make_dag(tasks=[flaky]), listeners=[Reads()])
    world.trigger()
    world.run_until(at(2))
    assert [step[:3] for step in seen] == [
        (None, "scheduled", 1),
        ("scheduled", "queued", 1),
        ("queued", "running", 1),
        ("running", "up_for_retry", 1),
        ("up_for_retry", "scheduled", 2),
        ("scheduled", "queued", 2),
        ("queued", "running", 2),
        ("running", "success", 2),
    ]
    assert None not in [row for *_, row in seen]


# --- sensors ----------------------------------------------------------------------------------------------------------


def test_a_sensor_that_pokes_keeps_its_slot_and_waits_on_the_clock():
    until = Poke("until", lambda now: now >= at(1, 2), poke_interval=30 * MINUTE)
    world = run_once(make_dag(edges="until >> after, other", tasks=[until]))
    assert until.pokes == [at(1), at(1, 0, 30), at(1, 1), at(1, 1, 30), at(1, 2)]
    assert world.story("success", "after") == [(at(1, 2), "after")]
    assert world.story("running", "other")[0][0] == at(1, 2)


def test_a_sensor_that_reschedules_gives_its_slot_back_and_stays_one_try():
    until = Poke("until", lambda now: now >= at(1, 2), poke_interval=30 * MINUTE, mode="reschedule")
    world = run_once(make_dag(edges="until >> after, other", tasks=[until]))
    assert until.pokes == [at(1), at(1, 0, 30), at(1, 1), at(1, 1, 30), at(1, 2)]
    assert world.story("running", "other") == [(at(1), "other")]
    assert (world.tries()["until"], world.states()["after"]) == (1, "success")
    assert world.story("up_for_reschedule") == [(moment, "until") for moment in until.pokes[:-1]]
    assert world.store.history(world.only_run().id) == []


@pytest.mark.parametrize("mode", ["poke", "reschedule"])
@pytest.mark.parametrize(("soft_fail", "state"), [(False, "failed"), (True, "skipped")])
def test_a_sensor_that_waited_long_enough_is_not_tried_again(mode, soft_fail, state):
    never = Poke(
        "never", lambda now: False, poke_interval=HOUR, timeout=3 * HOUR, mode=mode, soft_fail=soft_fail, retries=2
    )
    world = run_once(make_dag(tasks=[never]))
    assert (world.states(), world.tries()) == ({"never": state}, {"never": 1})
    assert world.tasks()["never"].end_date == at(1, 3)


def test_the_time_out_of_a_rescheduled_sensor_counts_through_a_restart():
    never = Poke("never", lambda now: False, poke_interval=HOUR, timeout=3 * HOUR, mode="reschedule")
    world = World(make_dag(tasks=[never]))
    world.trigger()
    world.run_until(at(1, 1, 30))
    world.restart()
    assert world.run_until(at(2)).tasks()["never"].end_date == at(1, 3)
    assert len(never.pokes) == 4


def test_the_retry_of_a_sensor_begins_its_time_out_anew():
    def poke(now):
        if now == at(1, 1):
            raise ValueError("the source is down")
        return False

    sensor = Poke("s", poke, poke_interval=HOUR, timeout=2 * HOUR, mode="reschedule", retries=1, retry_delay=HOUR)
    world = run_once(make_dag(tasks=[sensor]))
    assert world.tasks()["s"].end_date == at(1, 4)
    assert (world.states(), world.tries()) == ({"s": "failed"}, {"s": 2})


def test_a_sensor_that_asks_for_this_very_instant_does_not_stop_the_clock():
    class Eager(Do):
        def execute(self, context):
            if context["clock"].now() < at(1, 0, 0, 30):
                raise AirflowRescheduleException(context["clock"].now())

    world = run_once(make_dag(tasks=[Eager("eager")]))
    assert world.tasks()["eager"].end_date == at(1, 0, 0, 30)


# --- interruptions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("retries", [0, 1])
def test_an_interrupt_in_a_task_stops_the_scheduler_and_it_can_go_on(retries):
    a = Do("a", KeyboardInterrupt, None, retries=retries, retry_delay=0)
    world = World(make_dag(edges="a >> b, c", tasks=[a]))
    world.trigger()
    with pytest.raises(KeyboardInterrupt):
        world.run_until(at(2))
    world.run_until(at(2))
    expected = {"a": "success", "b": "success"} if retries else {"a": "failed", "b": "upstream_failed"}
    assert world.states() == {**expected, "c": "success"}


def test_a_task_that_could_not_be_written_down_is_made_again(monkeypatch):
    world = World(make_dag(edges="a >> b"))
    world.trigger()
    finish, failures = world.store.finish_attempt, iter([MetadataError("the disk is full")])

    def full_once(*args, **kwargs):
        for error in failures:
            raise error
        return finish(*args, **kwargs)

    monkeypatch.setattr(world.store, "finish_attempt", full_once)
    with pytest.raises(MetadataError, match="disk is full"):
        world.run_until(at(2))
    world.run_until(at(2))
    assert (world.states(), world.tries()) == ({"a": "success", "b": "success"}, {"a": 2, "b": 1})


def test_a_task_whose_process_dies_again_and_again_fails_and_that_is_told():
    calls = []
    task = Do(
        "a",
        retries=9,
        on_failure_callback=lambda context: calls.append((context["ti"].try_number, str(context["exception"]))),
    )
    world = World(make_dag(edges="a >> b", tasks=[task]), executor=HandExecutor())
    world.trigger()
    for life in range(4):
        world.tick()
        ((_, work),) = world.executor.held.items()
        with world.store.transaction():
            world.executor.runner.begin(work)
        assert (world.states()["a"], calls) == ("running", [])
        world.clock.jump(at(1, life + 1))
        assert [lost.task_id for lost in world.restart(HandExecutor())] == ["a"]
    world.tick()
    assert world.states() == {"a": "failed", "b": "upstream_failed"}
    assert (world.only_run().state, world.tasks()["a"].end_date) == ("failed", at(1, 4))
    assert calls == [(4, "its process died, or was killed")]
    (told,) = (event for event in world.trace.events if event.new == "failed" and isinstance(event, TaskEvent))
    assert (told.task_id, told.try_number, told.reason) == ("a", 4, "its process died, or was killed")
    world.restart()
    assert (world.run_until(at(2)).states()["a"], len(calls)) == ("failed", 1)


class Speechless(Exception):
    def __str__(self):
        raise AttributeError("nothing to say")


@pytest.mark.parametrize("raised", [Speechless(), SystemExit(3), BaseException("odd"), RecursionError("deep")])
def test_whatever_a_task_raises_the_scheduler_lives(raised):
    world = run_once(make_dag(edges="a >> b, c", tasks=[Do("a", raised)]))
    assert world.states() == {"a": "failed", "b": "upstream_failed", "c": "success"}


# --- what a pass costs ------------------------------------------------------------------------------------------------


def count_statements(world):
    """How many statements the database executes from now on: a list that holds the number."""
    counted = [0]

    def count(_statement):
        counted[0] += 1

    world.store.cursor.connection.set_trace_callback(count)
    return counted


@pytest.mark.parametrize("shape", ["chain", "wide"])
def test_statements_per_task_do_not_grow_with_the_dag(shape):
    def per_task(size):
        names = [f"t{n}" for n in range(size)]
        world = World(make_dag(edges=" >> ".join(names) if shape == "chain" else ", ".join(names)))
        world.trigger()
        world.scheduler.tick()
        counted = count_statements(world)
        world.run_until(at(2))
        assert world.only_run().state == "success"
        return counted[0] / size

    assert per_task(1000) == pytest.approx(per_task(10), rel=0.2)


def test_statements_per_run_do_not_grow_with_the_days():
    world = World(make_dag(edges="a >> b >> c", schedule="@daily", catchup=True))
    world.run_until(at(3))
    counted = count_statements(world)
    world.run_until(at(4))
    one_day = counted[0]
    world.run_until(at(1, month=6))
    counted[0] = 0
    world.run_until(at(2, month=6))
    assert counted[0] == one_day


def test_decisions_per_task_do_not_grow_with_the_dag(monkeypatch):
    asked = []
    decide = Frontier.verdict
    monkeypatch.setattr(Frontier, "verdict", lambda self, i: asked.append(i) or decide(self, i))
    for size in (10, 300):
        asked.clear()
        run_once(make_dag(edges=" >> ".join(f"t{n}" for n in range(size))))
        assert len(asked) <= 2 * size


def test_the_callback_of_a_run_knows_its_dates_and_the_task_that_decided():
    told = []

    def note(context):
        ti = context["ti"]
        told.append(
            (context["ds"], context["dag_run"].state, ti.task_id, ti.state, context["reason"], context["state"])
        )

    bad = make_dag("bad", tasks=[Do("a", ValueError), Do("b")], on_failure_callback=note)
    good = make_dag("good", tasks=[Do("a"), Do("b")], edges="a >> b", on_success_callback=note)
    run_once(bad)
    run_once(good)
    assert told == [
        ("2013-01-01", "failed", "a", "failed", "task_failure", "failed"),
        ("2013-01-01", "success", "b", "success", "success", "success"),
    ]


def test_the_callback_of_a_run_without_tasks_knows_its_run():
    told = []
    dag = make_dag(tasks=[], edges="", on_success_callback=lambda context: told.append(context["dag_run"].state))
    run_once(dag)
    assert told == ["success"]
