"""ExternalTaskSensor: waiting for other DAGs, at the same date or another."""

from datetime import datetime, timedelta

import pytest

from etlkit.dag import TaskGroup
from etlkit.errors import AirflowSkipException, DagError
from etlkit.operators import PythonOperator
from etlkit.sensors import ExternalTaskSensor
from tests.engine import DAY, HOUR, Do, World, at, make_dag

BROKEN = ValueError("no data")


def make_world(*tasks, other=None, **kwargs):
    """A DAG `d` with the one sensor `wait`, and a DAG `other` of some tasks."""
    told = {"external_dag_id": "other", "poke_interval": 60, "timeout": 7200, "mode": "reschedule", **kwargs}
    sensor = ExternalTaskSensor(task_id="wait", **told)
    return World(make_dag(tasks=[sensor]), other or make_dag("other", tasks=tasks or [Do("load")]), now=at(5))


def end_of(world, date=None):
    """How the sensor ends whose run is of a date (the present unless told)."""
    world.trigger(logical_date=date or at(5))
    world.run_until(world.clock.now() + DAY)
    return world.tasks()["wait"]


def run_other(world, date=None):
    world.trigger("other", logical_date=date or at(5))
    world.run_until(world.clock.now())


@pytest.mark.parametrize("mode", ["poke", "reschedule"])
def test_it_waits_for_the_run_of_the_same_date(mode):
    world = make_world(mode=mode, external_task_id=None)
    run_other(world)
    assert end_of(world).state == "success"
    world = make_world(mode=mode)
    run_other(world, at(4))
    assert end_of(world).state == "failed"


@pytest.mark.parametrize("which", [{}, {"external_task_id": "load"}, {"external_task_ids": ["load", "check"]}])
def test_it_goes_on_as_soon_as_what_it_waits_for_is_done(which):
    world = make_world(Do("load"), Do("check"), **which)
    world.trigger()
    world.run_until(at(5) + HOUR)
    assert world.states()["wait"] == "up_for_reschedule"
    world.trigger("other", logical_date=at(5))
    world.run_until(at(5) + HOUR + timedelta(minutes=1))
    task = world.tasks()["wait"]
    assert (task.state, task.try_number) == ("success", 1)


def test_only_what_it_names_counts():
    world = make_world(Do("load"), Do("check", BROKEN), external_task_id="load")
    run_other(world)
    assert end_of(world).state == "success"
    world = make_world(Do("load"), Do("check", BROKEN), external_task_ids=["load", "check"])
    run_other(world)
    assert end_of(world).state == "failed"


def test_all_instances_of_a_mapped_task_count():
    for numbers, expected in (([1, 2], "success"), ([1, 0], "failed")):
        with make_dag("other") as other:
            PythonOperator.partial(task_id="load", python_callable=lambda n: 1 / n).expand(
                op_args=[[n] for n in numbers]
            )
        world = make_world(other=other, external_task_id="load")
        run_other(world)
        assert end_of(world).state == expected


def test_a_group_is_all_of_its_tasks():
    for step, expected in ((None, "success"), (BROKEN, "failed")):
        with make_dag("other") as other:
            with TaskGroup("loads"):
                Do("one"), Do("two", step)
            Do("check", BROKEN)
        world = make_world(other=other, external_task_group_id="loads")
        run_other(world)
        assert end_of(world).state == expected


def test_a_failed_state_fails_it_at_once():
    world = make_world(Do("load", BROKEN), external_task_id="load", failed_states=["failed"])
    run_other(world)
    task = end_of(world)
    assert (task.state, task.end_date) == ("failed", at(5))
    assert task.error == "AirflowException: what it waits for in DAG 'other' is failed"


@pytest.mark.parametrize(
    ("step", "states"),
    [
        (BROKEN, {"failed_states": ["failed"], "soft_fail": True}),
        (AirflowSkipException("none"), {"skipped_states": ["skipped"]}),
    ],
)
def test_it_may_be_skipped(step, states):
    world = make_world(Do("load", step), external_task_id="load", **states)
    run_other(world)
    assert end_of(world).state == "skipped"


def test_it_may_wait_for_a_failure():
    world = make_world(Do("load", BROKEN), allowed_states=["failed"], failed_states=["success"])
    run_other(world)
    assert end_of(world).state == "success"


@pytest.mark.parametrize(
    "where",
    [
        {"execution_delta": DAY},
        {"execution_date_fn": lambda date: date - DAY},
        {"execution_date_fn": lambda date, ds: datetime.fromisoformat(f"{ds}T00:00+00:00") - DAY},
    ],
)
def test_it_may_look_at_another_date(where):
    world = make_world(**where)
    run_other(world, at(4))
    assert end_of(world).state == "success"


def test_it_may_look_at_several_dates():
    world = make_world(execution_date_fn=lambda date: [date - DAY, date - 2 * DAY])
    run_other(world, at(4))
    world.trigger()
    world.run_until(at(5) + HOUR)
    assert world.states()["wait"] == "up_for_reschedule"
    run_other(world, at(3))
    assert world.run_until(at(6)).states()["wait"] == "success"


def test_a_date_without_a_zone_fails_it():
    world = make_world(execution_date_fn=lambda date: date.replace(tzinfo=None))
    assert "has no time zone" in end_of(world).error


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"external_dag_id": "othr"}, "no DAG is called 'othr'; did you mean 'other'?"),
        ({"external_task_id": "lod"}, "has no task 'lod'; did you mean 'load'?"),
        ({"external_task_group_id": "g"}, "has no task group 'g'"),
    ],
)
def test_it_can_ask_whether_what_it_waits_for_exists(where, message):
    task = end_of(make_world(check_existence=True, **where))
    assert (task.state, task.end_date) == ("failed", at(5))
    assert message in task.error


def test_fields_may_be_templates():
    world = make_world(external_dag_id="{{ params.dag }}", external_task_id="{{ 'load' }}", params={"dag": "other"})
    run_other(world)
    assert end_of(world).state == "success"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"external_task_id": "a", "external_task_ids": ["b"]},
            "give only one of external_task_id and external_task_ids",
        ),
        ({"external_task_id": "a", "external_task_group_id": "b"}, "give only one of"),
        ({"execution_delta": DAY, "execution_date_fn": min}, "give only one of execution_delta and execution_date_fn"),
        ({"execution_delta": 5}, "execution_delta must be a timedelta"),
        ({"allowed_states": ["skipped"]}, "cannot be 'skipped'"),  # a run is never skipped
        ({"failed_states": ["success"]}, "a state may be in one of"),
        ({"deferrable": True}, "deferrable=True cannot be"),
    ],
)
def test_what_cannot_be_is_refused(arguments, message):
    with pytest.raises(DagError, match=message):
        ExternalTaskSensor(task_id="wait", external_dag_id="other", **arguments)
