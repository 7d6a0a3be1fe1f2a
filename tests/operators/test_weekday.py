"""Branching and waiting by the day of the week."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from etlkit.dag import DAG
from etlkit.errors import DagError
from etlkit.operators import BranchDayOfWeekOperator, EmptyOperator, WeekDay
from etlkit.sensors import DayOfWeekSensor
from tests.one_run import OneRun

BERLIN = ZoneInfo("Europe/Berlin")


def way(week_day, *, use_task_logical_date=False, zone=UTC, start="2013-01-02", **trigger):
    with DAG("d", start_date=datetime(2013, 1, 1, tzinfo=zone)) as dag:
        BranchDayOfWeekOperator(
            task_id="choose",
            week_day=week_day,
            follow_task_ids_if_true="yes",
            follow_task_ids_if_false="no",
            use_task_logical_date=use_task_logical_date,
        ) >> [EmptyOperator(task_id="yes"), EmptyOperator(task_id="no")]
    states = OneRun(dag, start=start, **trigger).states
    return next(name for name in ("yes", "no") if states[name] == "success")


@pytest.mark.parametrize(
    ("days", "taken"),
    [
        ("Wednesday", "yes"),
        ("wednesday", "yes"),
        (WeekDay.WEDNESDAY, "yes"),
        ({"Monday", "Tuesday"}, "no"),
        ({WeekDay.TUESDAY, "WEDNESDAY"}, "yes"),
        (["Thursday"], "no"),
    ],
)
def test_the_day_is_the_present_one(days, taken):
    assert way(days) == taken  # 2013-01-02


def test_the_day_may_be_that_of_the_run():
    saturday = datetime(2013, 1, 5, tzinfo=UTC)
    assert way("Saturday", use_task_logical_date=True, logical_date=saturday) == "yes"
    assert way("Saturday", logical_date=saturday) == "no"
    assert way("Wednesday", use_task_logical_date=True, logical_date=None) == "yes"


def test_it_is_a_day_in_the_zone_of_the_dag():
    midnight = datetime(2013, 1, 5, tzinfo=BERLIN)  # Friday evening in UTC
    assert way("Saturday", use_task_logical_date=True, zone=BERLIN, logical_date=midnight) == "yes"
    assert way("Thursday", zone=BERLIN, start="2013-01-02T23:30:00Z") == "yes"


@pytest.mark.parametrize(
    ("days", "message"),
    [
        ("Satuday", "'Satuday' is no day of the week; did you mean 'Saturday'"),
        (3, "3 is no day of the week; write Monday"),
        ([], "is empty"),
    ],
)
def test_what_is_no_day(days, message):
    with pytest.raises(DagError, match=message):
        DayOfWeekSensor(task_id="wait", week_day=days)


def test_waiting_for_a_day():
    with DAG("d", start_date=datetime(2013, 1, 1, tzinfo=UTC)) as dag:
        DayOfWeekSensor(task_id="wait", week_day={"Saturday", "Sunday"}, mode="reschedule", poke_interval=3600)
    assert OneRun(dag).tasks["wait"].end_date == datetime(2013, 1, 5, tzinfo=UTC)
