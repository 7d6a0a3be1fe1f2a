"""Manual runs: which date they are about, or none, and what they are called."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from etlkit import xcom
from etlkit.dag import DAG
from etlkit.errors import DagError
from etlkit.operators.python import PythonOperator
from etlkit.runs import runs_on, trigger_run
from etlkit.timetables import CronTriggerTimetable
from tests.engine import START, Do, World, at, make_dag

MORNING = datetime(2013, 1, 5, 9, 30, tzinfo=UTC)


def told(context):
    """What a task is told about its date."""
    names = ("logical_date", "ds", "ts", "data_interval_start", "data_interval_end", "prev_data_interval_end_success")
    return [name for name in names if name in context and name in list(context)]


def date_of(run):
    return run.logical_date, run.data_interval_start, run.data_interval_end


@pytest.fixture
def world():
    return World(make_dag(tasks=[Do("t", told)], schedule="@daily", end_date=START), now=MORNING)


def value(world, run):
    return xcom.loads(world.store.pull_xcom(run.id, "t", "return_value")[0][1])


def test_a_manual_run_is_about_the_last_whole_interval_and_not_about_today(world):
    run = world.trigger()
    assert date_of(run) == (MORNING, at(4), at(5))
    assert (run.run_id, run.run_after) == ("manual__2013-01-05T09:30:00+00:00", MORNING)
    world.tick()
    assert len(value(world, run)) == 6


def test_under_a_trigger_timetable_it_is_about_its_instant():
    schedule = CronTriggerTimetable("@daily", timezone="UTC")
    world = World(make_dag(edges="t", schedule=schedule, end_date=START), now=MORNING)
    assert date_of(world.trigger()) == (MORNING, MORNING, MORNING)


def test_a_run_can_be_about_no_date(world):
    run = world.trigger(logical_date=None)
    assert (*date_of(run), run.run_after) == (None, None, None, MORNING)
    world.tick()
    assert (world.row(run).state, value(world, run)) == ("success", [])


def test_runs_about_no_date_do_not_get_in_each_others_way(world):
    runs = [world.trigger(logical_date=None) for _ in range(3)]
    assert [run.run_id for run in runs] == [f"manual__2013-01-05T09:30:00+00:00{end}" for end in ("", "__2", "__3")]
    assert world.trigger(logical_date=None, run_id="mine").run_id == "mine"
    with pytest.raises(DagError, match="DAG 'd' already has a run called 'mine'; clear that one, or give another"):
        world.trigger(logical_date=None, run_id="mine")


def test_a_run_without_a_date_waits_for_no_run_before_it_and_no_run_waits_for_it():
    world = World(make_dag(tasks=[Do("t", depends_on_past=True)], schedule="@daily", catchup=True), now=at(3))
    undated = world.trigger(logical_date=None)
    world.run_until(at(4))
    assert world.row(undated).state == "success"
    assert [run.state for run in world.runs()] == ["success"] * 4


def test_without_a_date_a_task_has_no_value_for_a_parameter_that_needs_one():
    def needs(ds):
        return ds

    def does_without(ds=None, dag_run=None):
        return [ds, dag_run.run_type]

    with DAG("d") as dag:
        PythonOperator(task_id="needs", python_callable=needs)
        PythonOperator(task_id="t", python_callable=does_without)
    world = World(dag)
    run = world.trigger(logical_date=None)
    world.tick()
    assert world.states() == {"needs": "failed", "t": "success"}
    assert (
        "'ds' is not in the context of a run that was triggered without a logical date" in world.tasks()["needs"].error
    )
    assert value(world, run) == [None, "manual"]


@pytest.mark.parametrize(
    ("run_id", "message"),
    [
        ("scheduled__2013-01-05", "cannot have the id 'scheduled__2013-01-05': it is kept for scheduled runs"),
        ("backfill__1", "it is kept for backfill runs; choose another"),
        ("", "cannot have the id '': it is empty"),
    ],
)
def test_a_manual_run_cannot_be_called_like_one_of_another_type(world, run_id, message):
    with pytest.raises(DagError, match=message):
        world.trigger(run_id=run_id)
    assert world.runs() == []
    assert trigger_run(world.store, world.dags["d"], now=MORNING, run_id="manual__x").run_id == "manual__x"


# --- which run is meant -----------------------------------------------------------------------------------------------


def test_a_day_is_that_of_the_zone_however_long_it_is():
    zone, dag = ZoneInfo("America/New_York"), make_dag(edges="t", schedule=None)
    world = World(dag, now=datetime(2013, 12, 1, tzinfo=UTC))
    day = datetime(2013, 11, 3, tzinfo=zone)  # a day of 25 hours
    moments = [day.astimezone(UTC) + timedelta(hours=hours) for hours in (-1, 1, 24, 25)]
    for moment in moments:
        trigger_run(world.store, dag, now=world.clock.now(), logical_date=moment)

    def found(moment):
        return [run.logical_date for run in runs_on(world.store, dag.dag_id, moment.astimezone(UTC), zone)]

    assert found(day) == moments[1:3]
    assert found(moments[2]) == [moments[2]]
    assert found(day.replace(hour=5)) == [], "not a day"


def test_the_newest_runs_come_oldest_first():
    dag = make_dag(edges="t", schedule=None)
    world = World(dag, now=MORNING)
    for day in (1, 2, 3):
        trigger_run(world.store, dag, now=MORNING, logical_date=at(day))
    assert [run.logical_date for run in world.store.runs(last=2)] == [at(2), at(3)]
    assert [run.logical_date for run in world.store.runs(dates=(at(2), at(3)))] == [at(2)]
    assert [run.logical_date for run in world.store.runs("other", last=2)] == []
