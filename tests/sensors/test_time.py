"""Waiting for a time of day."""

from datetime import UTC, datetime, time
from zoneinfo import ZoneInfo

import pytest

from etlkit.dag import DAG
from etlkit.errors import DagError
from etlkit.sensors import TimeSensor
from tests.one_run import OneRun


@pytest.mark.parametrize(
    ("start", "zone", "end"),
    [
        ("2013-01-02T01:00:00Z", "UTC", datetime(2013, 1, 2, 6, 30, tzinfo=UTC)),
        ("2013-01-02T07:00:00Z", "UTC", datetime(2013, 1, 2, 7, tzinfo=UTC)),
        ("2013-01-02T01:00:00Z", "America/New_York", datetime(2013, 1, 2, 1, tzinfo=UTC)),
        ("2013-01-02T06:00:00Z", "America/New_York", datetime(2013, 1, 2, 11, 30, tzinfo=UTC)),
    ],
)
@pytest.mark.parametrize("mode", ["poke", "reschedule"])
def test_it_waits_until_the_time_of_the_day_on_which_it_began(start, zone, end, mode):
    with DAG("d", start_date=datetime(2013, 1, 1, tzinfo=ZoneInfo(zone))) as dag:
        TimeSensor(task_id="wait", target_time=time(6, 30), mode=mode, poke_interval=1800)
    assert OneRun(dag, start=start).tasks["wait"].end_date == end


def test_what_is_no_time_of_day():
    with pytest.raises(DagError, match="target_time must be a time of day, not '06:30'"):
        TimeSensor(task_id="wait", target_time="06:30")
