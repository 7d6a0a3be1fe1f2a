"""What a task waits for in the run before its own; through the scheduler in test_scheduler.py."""

import pytest

from etlkit.backfill import create_backfill, plan_backfill
from etlkit.past import past_blocks
from etlkit.runs import insert_run
from etlkit.states import DagRunType
from etlkit.store import Store
from tests.engine import DAY, Do, World, at, make_dag


@pytest.fixture
def store():
    store = Store()
    yield store
    store.close()


def add_run(store, dag, day, run_type=DagRunType.SCHEDULED, **states):
    """A run of a day in January 2013 whose tasks are in the states told."""
    with store.transaction():
        run = insert_run(
            store,
            dag,
            run_type,
            logical_date=at(day),
            data_interval=(at(day), at(day) + DAY),
            run_after=at(day) + DAY,
            now=at(20),
        )
        for task_id, state in states.items():
            store.run_sql(
                "UPDATE task_instance SET state = :state WHERE dag_run_id = :run AND task_id = :task_id",
                {"state": state, "run": run.id, "task_id": task_id},
            )
    return run


def dag_of(*, catchup=True, start_date=at(1), task_start=None, **kwargs):  # noqa: B008
    tasks = [Do("a", start_date=task_start, **kwargs), Do("b"), Do("c")]
    return make_dag(edges="a >> b >> c", tasks=tasks, schedule="@daily", catchup=catchup, start_date=start_date)


def blocks(store, dag, run):
    return past_blocks(store, run, dag.get_task("a"))


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ("success", ""),
        ("skipped", ""),
        ("failed", "depends_on_past: it is failed in "),
        ("upstream_failed", "depends_on_past: it is upstream_failed in "),
        ("running", "depends_on_past: it is running in "),
        (None, "depends_on_past: it is not finished in "),
    ],
)
def test_the_task_itself_must_have_ended_well(store, state, text):
    dag = dag_of(depends_on_past=True)
    before = add_run(store, dag, 1, a=state, b="failed")
    run = add_run(store, dag, 2)
    assert blocks(store, dag, run) == (text and text + before.run_id)


@pytest.mark.parametrize(
    ("states", "text"),
    [
        ({"a": "success", "b": "success", "c": "failed"}, ""),
        ({"a": "success", "b": "skipped"}, ""),
        ({"a": "success", "b": "failed"}, "wait_for_downstream: b is failed in "),
        ({"a": "success"}, "wait_for_downstream: b is not finished in "),
        ({"a": "failed", "b": "success"}, "depends_on_past: it is failed in "),
    ],
)
def test_wait_for_downstream_asks_for_what_is_directly_below_too(store, states, text):
    dag = dag_of(wait_for_downstream=True)
    before = add_run(store, dag, 1, **states)
    assert blocks(store, dag, add_run(store, dag, 2)) == (text and text + before.run_id)


def test_a_task_that_does_not_mind_the_past_is_never_held(store):
    dag = dag_of()
    add_run(store, dag, 1, a="failed")
    assert blocks(store, dag, add_run(store, dag, 2)) == ""


def test_the_first_run_waits_for_nothing(store):
    dag = dag_of(depends_on_past=True)
    assert blocks(store, dag, add_run(store, dag, 1)) == ""


def test_the_run_before_is_the_next_earlier_one_whenever_it_was_made(store):
    dag = dag_of(depends_on_past=True)
    run = add_run(store, dag, 4)
    add_run(store, dag, 2, a="failed")
    add_run(store, dag, 3, a="success")
    add_run(store, dag, 5, a="failed")
    assert blocks(store, dag, run) == ""


@pytest.mark.parametrize(("catchup", "held"), [(True, False), (False, True)])
def test_a_manual_run_counts_only_without_catch_up(store, catchup, held):
    dag = dag_of(depends_on_past=True, catchup=catchup)
    add_run(store, dag, 1, a="success")
    add_run(store, dag, 2, DagRunType.MANUAL, a="failed")
    assert bool(blocks(store, dag, add_run(store, dag, 3))) == held


@pytest.mark.parametrize(
    "dates", [{"task_start": at(2)}, {"start_date": at(2)}, {"start_date": at(2), "task_start": at(1)}]
)
def test_a_run_before_the_start_does_not_count_while_the_dag_catches_up(store, dates):
    dag = dag_of(depends_on_past=True, **dates)
    add_run(store, dag, 1, DagRunType.BACKFILL, a="failed")
    run = add_run(store, dag, 2, a="failed")
    assert blocks(store, dag, run) == ""
    assert blocks(store, dag, add_run(store, dag, 3)) != ""


def test_a_task_that_the_run_before_did_not_have_waits_for_nothing(store):
    add_run(store, make_dag(edges="b"), 1, b="failed")
    dag = dag_of(wait_for_downstream=True)
    assert blocks(store, dag, add_run(store, dag, 2)) == ""


def test_the_first_run_of_a_backfill_waits_for_nothing_and_the_second_for_the_first():
    dag = dag_of(depends_on_past=True)
    world = World(dag, now=at(1), paused=True)
    add_run(world.store, dag, 1, a="failed")
    plan = plan_backfill(dag, at(2), at(4), reprocess="failed", existing=world.runs(), now=at(20))
    create_backfill(world.store, dag, plan, max_active_runs=5, now=at(20))
    first, second, _ = (run for run in world.runs() if run.run_type == "backfill")
    assert blocks(world.store, dag, first) == ""
    assert blocks(world.store, dag, second) == f"depends_on_past: it is not finished in {first.run_id}"
    world.clock.jump(at(20))
    world.run_until(at(20))
    assert [run.state for run in world.runs() if run.run_type == "backfill"] == ["success"] * 3


def test_it_asks_only_for_the_tasks_it_minds(store):
    """However big the run before, what is read of it does not grow."""
    tasks = [Do("a", wait_for_downstream=True), *(Do(f"t{n}") for n in range(200))]
    dag = make_dag(edges="a >> t0", tasks=tasks, schedule="@daily", catchup=True)
    add_run(store, dag, 1, a="success", t0="success")
    run = add_run(store, dag, 2)
    read = []
    states_of_tasks = store.states_of_tasks
    store.states_of_tasks = lambda pk, ids: read.append(found := states_of_tasks(pk, ids)) or found
    assert blocks(store, dag, run) == ""
    assert read == [{"a": ["success"], "t0": ["success"]}]
