"""The timeline of data intervals and runs."""

import re
from datetime import UTC, datetime

import pytest

from etlkit import viz
from etlkit.errors import EtlkitError
from etlkit.lab import Lab
from etlkit.timetables import CronDataIntervalTimetable
from etlkit.viz.timescale import TimeScale
from tests.engine import DAY, HOUR, MINUTE, SECOND, START, make_dag
from tests.viz.drawn import clashes, texts
from tests.viz.samples import NEW_YORK, a_weekend


@pytest.fixture
def lab():
    dag = make_dag("weather", "a", schedule="@daily", catchup=True)
    with Lab(start="2013-01-02 09:00") as lab:
        yield lab.add(dag).run_until("2013-01-03 14:00")


def test_a_run_about_a_day_happens_when_the_day_is_over_and_catch_up_is_late(lab):
    lab.backfill("weather", "2012-12-30", "2012-12-30")
    lab.trigger()
    assert str(lab.timeline()).splitlines() == [
        "weather: times in UTC, now 2013-01-03 14:00",
        "logical date      data interval                         length  run",
        "2012-12-30 00:00  2012-12-30 00:00 to 2012-12-31 00:00  1 d     ran 2013-01-03 14:00  ✓ success  backfill",
        "2013-01-01 00:00  2013-01-01 00:00 to 2013-01-02 00:00  1 d     "
        "ran 2013-01-02 09:00  ✓ success  scheduled, 9 h late",
        "2013-01-02 00:00  2013-01-02 00:00 to 2013-01-03 00:00  1 d     ran 2013-01-03 00:00  ✓ success  scheduled",
        "2013-01-03 14:00  2013-01-02 00:00 to 2013-01-03 00:00  1 d     ran 2013-01-03 14:00  ✓ success  manual",
        "2013-01-03 00:00  2013-01-03 00:00 to 2013-01-04 00:00  1 d     due 2013-01-04 00:00",
    ]


def test_more_runs_to_come_can_be_shown(lab):
    assert [line.split()[0] for line in str(lab.timeline(last=0, coming=3)).splitlines()[2:]] == [
        "2013-01-03",
        "2013-01-04",
        "2013-01-05",
    ]


def test_a_date_that_has_a_run_already_is_not_to_come(lab):
    lab.trigger(logical_date="2013-01-03")
    assert str(lab.timeline()).splitlines()[-1].startswith("2013-01-04")


def test_a_schedule_that_is_over_has_none_to_come():
    dag = make_dag("d", "a", schedule="@daily", end_date=START, catchup=True)
    with Lab(start=START + 3 * DAY) as lab:
        assert len(str(lab.add(dag).run_until().timeline()).splitlines()) == 3


@pytest.mark.parametrize(
    ("month", "day", "hours", "said"), [(3, 10, "23 h", "1 h forward"), (11, 3, "25 h", "1 h back")]
)
def test_the_weekend_on_which_the_clock_changes_can_be_read(month, day, hours, said):
    picture = viz.timeline(a_weekend(month, day), zone=NEW_YORK)
    lines = str(picture).splitlines()
    assert [re.split("  +", line)[2] for line in lines[2:-1]] == ["1 d", hours, "1 d", "1 d", "1 d"]
    assert lines[-1] == f"the clock goes {said} on 2024-{month:02}-{day:02}"
    assert f"to come, {hours}" in texts(picture)
    assert any(text.startswith("clock ") for text in texts(picture))


def test_too_many_runs_are_refused():
    infos = list(a_weekend(3, 10)) * 40
    with pytest.raises(EtlkitError, match="runs are too many for one picture, which shows 120; choose some"):
        viz.timeline(infos)


# --- ticks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [SECOND, MINUTE, 50 * MINUTE, HOUR, DAY, 9 * DAY, 60 * DAY, 900 * DAY, 9000 * DAY])
def test_whatever_the_length_there_are_some_ticks_and_not_too_many(length):
    scale = TimeScale([START, START + length], 0, 8)
    assert 3 <= len(scale.ticks()) <= 24
    assert scale.ticks() == sorted(scale.ticks())


def test_ticks_stand_at_full_hours_of_the_wall_clock_though_it_changes():
    start = datetime(2024, 3, 10, 5, tzinfo=UTC)  # midnight in New York, two hours before the clock goes forward
    scale = TimeScale([start, start + DAY], 0, 4, NEW_YORK)
    assert {tick.hour % 3 for tick in scale.ticks()} == {0}
    assert [tick.utcoffset().total_seconds() / 3600 for tick in scale.ticks()[:2]] == [-5, -4]


def test_one_instant_is_a_scale_too():
    scale = TimeScale([START], 1, 2)
    assert scale.x(START) == 1


def test_the_day_of_a_time_stands_below_its_tick_also_at_the_right_end():
    timetable = CronDataIntervalTimetable("0 2 * * *", "UTC")
    first, last = datetime(2020, 8, 10, 2, tzinfo=UTC), datetime(2020, 8, 13, 2, tzinfo=UTC)
    picture = viz.timeline(timetable.iter_dagrun_infos_between(first, last))
    places = [(text.get_text(), text.get_position()[0]) for text in picture.axes[0].texts]
    midnights = [x for text, x in places if text == "00:00"]
    assert [x for text, x in places if text.endswith("August 2020")] == midnights
    assert clashes(picture) == []
