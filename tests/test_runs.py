"""Making runs and making them run again."""

from datetime import datetime, timedelta, timezone

import pytest

from etlkit.errors import DagError, TaskNotFound
from etlkit.runs import clear_run, insert_run, trigger_run
from etlkit.states import DagRunType
from etlkit.store import Store
from tests.engine import DAY, Do, World, at, make_dag, run_once


@pytest.fixture
def store():
    store = Store()
    yield store
    store.close()


def test_a_run_comes_with_an_instance_of_each_task_in_order(store):
    dag = make_dag(edges="a >> b, c >> b", tasks=[Do("b", retries=3, pool="p", pool_slots=2)])
    run = trigger_run(store, dag, now=at(1))
    rows = [(t.task_id, t.state, t.try_number, t.max_tries, t.pool, t.pool_slots) for t in store.task_instances(run.id)]
    assert rows == [
        ("a", None, 0, 0, "default_pool", 1),
        ("c", None, 0, 0, "default_pool", 1),
        ("b", None, 0, 3, "p", 2),
    ]


@pytest.mark.parametrize(
    ("schedule", "start", "end"),
    [
        ("@daily", at(4), at(5)),
        ("0 6 * * *", at(4, 6), at(5, 6)),
        (timedelta(hours=2), at(5, 7, 30), at(5, 9, 30)),
        (None, at(5, 9, 30), at(5, 9, 30)),
    ],
)
def test_the_interval_of_a_run_by_hand_is_the_last_whole_one(store, schedule, start, end):
    run = trigger_run(store, make_dag(edges="a", schedule=schedule), now=at(5, 9, 30))
    assert (run.data_interval_start, run.data_interval_end) == (start, end)
    assert (run.logical_date, run.run_type, run.state, run.queued_at) == (
        at(5, 9, 30),
        "manual",
        "queued",
        at(5, 9, 30),
    )


def test_a_run_by_hand_may_have_a_date_an_id_and_a_conf(store):
    zone = timezone(timedelta(hours=9))
    run = trigger_run(
        store,
        make_dag(schedule="@daily"),
        now=at(20),
        logical_date=datetime(2013, 1, 5, 9, tzinfo=zone),
        run_id="mine",
        conf={"n": [1, None]},
    )
    assert (run.logical_date, run.run_id, run.conf, run.data_interval_end) == (at(5), "mine", {"n": [1, None]}, at(5))


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"logical_date": datetime(2013, 1, 5)}, "has no time zone"),  # noqa: DTZ001
        ({"logical_date": "2013-01-05"}, "must be a datetime"),
        ({"conf": {"at": at(1)}}, "the conf of a run of 'd' must be JSON: Object of type datetime"),
        ({"conf": {"x": float("nan")}}, "must be JSON"),
        ({"conf": [1]}, r"must be a dict, not \[1\]"),
    ],
)
def test_what_no_run_can_be_made_of_is_refused_and_nothing_is_made(store, kwargs, words):
    with pytest.raises(DagError, match=words):
        trigger_run(store, make_dag(edges="a"), now=at(1), **kwargs)
    assert store.runs() == []


def test_a_date_or_id_that_is_taken_is_refused_and_says_which(store):
    dag = make_dag(edges="a")
    trigger_run(store, dag, now=at(1), run_id="mine")
    with pytest.raises(DagError, match=r"already has a run of 2013-01-01T00:00:00\+00:00"):
        trigger_run(store, dag, now=at(1))
    with pytest.raises(DagError, match="or called 'mine'"):
        trigger_run(store, dag, now=at(2), run_id="mine")
    assert len(store.runs()) == 1


def test_a_type_of_run_that_the_dag_does_not_allow_is_refused(store):
    with pytest.raises(DagError, match="'d' allows only runs of type scheduled, not manual"):
        trigger_run(store, make_dag(allowed_run_types=["scheduled"]), now=at(1))
    assert store.runs() == []


@pytest.mark.parametrize(
    ("run_type", "tasks"), [("scheduled", ["a"]), ("manual", ["a"]), ("backfill", ["a", "early", "late"])]
)
def test_dates_of_tasks_bound_every_run_but_a_backfills(store, run_type, tasks):
    dag = make_dag(tasks=[Do("a"), Do("early", end_date=at(4)), Do("late", start_date=at(6))])
    with store.transaction():
        run = insert_run(
            store, dag, DagRunType(run_type), logical_date=at(5), data_interval=None, run_after=at(5), now=at(5)
        )
    assert sorted(task.task_id for task in store.task_instances(run.id)) == tasks


def test_the_dates_of_a_task_are_both_included(store):
    dag = make_dag(tasks=[Do("a", start_date=at(5), end_date=at(5))])
    days = []
    for day in (4, 5, 6):
        run = trigger_run(store, dag, now=at(day))
        days.append(len(store.task_instances(run.id)))
    assert days == [0, 1, 0]


# --- clearing ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def world():
    """A finished run in which `bad` failed and what follows it did not run."""
    return run_once(make_dag(edges="a >> bad >> c >> d, a >> e", tasks=[Do("bad", ValueError)]))


@pytest.mark.parametrize(
    ("kwargs", "cleared"),
    [
        ({}, "a bad c d e"),
        ({"only_failed": True}, "bad c d"),
        ({"task_ids": ["c"]}, "c"),
        ({"task_ids": ["c"], "downstream": True}, "c d"),
        ({"task_ids": ["c"], "upstream": True}, "a bad c"),
        ({"task_ids": ["bad", "e"], "downstream": True, "only_failed": True}, "bad c d"),
        ({"task_ids": []}, ""),
    ],
)
def test_what_is_cleared_is_what_was_asked_for(world, kwargs, cleared):
    run = world.only_run()
    rows = clear_run(world.store, world.dags["d"], run, now=world.clock.now(), **kwargs)
    assert sorted(task.task_id for task in rows) == cleared.split()
    assert sorted(name for name, state in world.states().items() if state is None) == cleared.split()
    assert world.row(run).state == ("queued" if cleared else "failed")


def test_a_task_that_does_not_exist_is_named_with_the_nearest(world):
    with pytest.raises(TaskNotFound, match="did you mean 'bad'"):
        clear_run(world.store, world.dags["d"], world.only_run(), now=at(1), task_ids=["bat"])
    assert None not in world.states().values()


def test_a_run_may_be_cleared_twice_by_the_same_row(world):
    run = world.only_run()
    for _ in range(2):
        clear_run(world.store, world.dags["d"], run, now=world.clock.now(), task_ids=["bad"])
    assert world.row(run).state == "queued"


def test_a_run_that_ended_since_its_row_was_read_is_queued_again():
    world = World(make_dag(edges="a"))
    old_row = world.trigger()
    world.run_until(at(2))
    clear_run(world.store, world.dags["d"], old_row, now=at(2))
    assert world.run_until(at(3)).tries() == {"a": 2}
    assert world.only_run().state == "success"


def test_a_run_that_is_gone_cannot_be_cleared(world):
    run = world.only_run()
    world.store.run_sql("DELETE FROM dag_run")
    with pytest.raises(DagError, match=r"no run .* any more"):
        clear_run(world.store, world.dags["d"], run, now=at(1))


def test_what_was_cleared_runs_again_and_the_rest_keeps_its_tries(world):
    world.dags["d"].get_task("bad").steps = (None,)
    world.clear(world.only_run(), only_failed=True)
    world.run_until(world.clock.now() + DAY)
    assert world.tries() == {"a": 1, "bad": 2, "c": 1, "d": 1, "e": 1}
    assert (set(world.states().values()), world.only_run().state) == ({"success"}, "success")
