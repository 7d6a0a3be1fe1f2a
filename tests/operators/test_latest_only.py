"""Running only what is newest."""

from datetime import UTC, datetime, timedelta

import pytest

from etlkit.dag import DAG
from etlkit.lab import Lab
from etlkit.operators.empty import EmptyOperator
from etlkit.operators.latest_only import LatestOnlyOperator
from etlkit.timetables import CronTriggerTimetable, EventsTimetable

START = datetime(2013, 1, 1, tzinfo=UTC)


def dag_of(schedule, **kwargs):
    with DAG("d", schedule=schedule, start_date=START, catchup=True, **kwargs) as dag:
        latest = LatestOnlyOperator(task_id="latest")
        latest >> EmptyOperator(task_id="a") >> EmptyOperator(task_id="c", trigger_rule="all_done")
        latest >> EmptyOperator(task_id="b")
    return dag


def states(lab, task_id):
    return [
        next(row.state for row in lab.store.task_instances(run.id) if row.task_id == task_id)
        for run in sorted(lab.store.runs("d"), key=lambda run: run.run_after)
    ]


@pytest.mark.parametrize("schedule", ["@daily", timedelta(days=1), CronTriggerTimetable("@daily", timezone="UTC")])
def test_a_catch_up_runs_the_newest_alone(schedule):
    lab = Lab(start="2013-01-05T12:00")
    lab.add(dag_of(schedule)).run_until()
    assert set(states(lab, "latest")) == {"success"}
    *earlier, last = states(lab, "a")
    assert (set(earlier), last) == ({"skipped"}, "success")
    assert states(lab, "b") == states(lab, "a")
    assert set(states(lab, "c")) == {"success"}
    lab.advance(days=1)
    assert states(lab, "a")[-2:] == ["success", "success"]


def test_a_run_by_hand_is_always_the_newest():
    lab = Lab(start="2013-01-05T12:00")
    lab.add(dag_of("@daily")).run_until()
    assert states(lab, "a") == ["skipped", "skipped", "skipped", "success"]
    by_hand = lab.trigger(logical_date="2012-12-01")
    assert by_hand.state == "success"
    assert states(lab, "a") == ["success", "skipped", "skipped", "skipped", "success"]


def test_the_last_run_of_a_schedule_is_the_newest():
    lab = Lab(start="2013-02-01")
    events = EventsTimetable([START, START + timedelta(days=3)])
    lab.add(dag_of(events)).run_until()
    assert states(lab, "a") == ["skipped", "success"]
