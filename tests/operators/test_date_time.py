"""Branching by the present instant, or that of the run."""

from datetime import UTC, datetime, time
from zoneinfo import ZoneInfo

import pytest

from etlkit.dag import DAG
from etlkit.errors import DagError
from etlkit.operators import BranchDateTimeOperator, EmptyOperator
from tests.one_run import OneRun


def branch(lower, upper, **arguments):
    return BranchDateTimeOperator(
        task_id="choose",
        target_lower=lower,
        target_upper=upper,
        follow_task_ids_if_true="yes",
        follow_task_ids_if_false=["no"],
        **arguments,
    )


def way(lower, upper, *, zone=UTC, start="2013-01-02T12:00:00Z", logical_date=None, **arguments):
    with DAG("d", start_date=datetime(2013, 1, 1, tzinfo=zone)) as dag:
        branch(lower, upper, **arguments) >> [EmptyOperator(task_id="yes"), EmptyOperator(task_id="no")]
    states = OneRun(dag, start=start, logical_date=logical_date).states
    return next(name for name in ("yes", "no") if states[name] == "success")


def at(*args):
    return datetime(2013, 1, *args, tzinfo=UTC)


@pytest.mark.parametrize(
    ("lower", "upper", "taken"),
    [
        (at(1), at(3), "yes"),
        (at(2, 12), at(2, 12), "yes"),
        (at(2, 13), None, "no"),
        (None, at(2, 11), "no"),
        (at(1), None, "yes"),
        (time(12), time(12), "yes"),
        (time(12, 1), None, "no"),
        (None, time(11, 59), "no"),
        (time(11), time(2), "yes"),
        (time(22), time(13), "no"),
        (at(3), time(13), "no"),
    ],
)
def test_both_bounds_are_included_and_either_may_be_missing(lower, upper, taken):
    assert way(lower, upper) == taken


def test_times_of_day_are_those_of_the_dags_zone():
    new_york = ZoneInfo("America/New_York")
    assert way(time(18), time(22), zone=new_york, start="2013-01-03T01:00:00Z") == "yes"
    assert way(time(18), time(22), start="2013-01-03T01:00:00Z") == "no"


def test_what_is_compared_may_be_the_date_of_the_run():
    assert way(at(5), at(6), use_task_logical_date=True, logical_date=at(5)) == "yes"
    assert way(at(5), at(6), logical_date=at(5)) == "no"


def test_bounds_that_are_none():
    with pytest.raises(DagError, match="needs a target_lower"):
        branch(None, None)
    with pytest.raises(DagError, match=r"target_upper .* has no time zone"):
        branch(None, datetime(2013, 1, 1))  # noqa: DTZ001
    with pytest.raises(DagError, match="target_lower must be a datetime"):
        branch("06:00", None)
