"""Timetables: the rules in words, the bad input, and what must hold for any schedule.

What Airflow answers case by case is in conformance/test_timetables.py.
"""

import pickle
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from itertools import islice, pairwise, takewhile
from zoneinfo import ZoneInfo

import pendulum
import pytest
from dateutil.relativedelta import relativedelta
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from etlkit.errors import EtlkitError, TimetableError
from etlkit.timetables import (
    ContinuousTimetable,
    CronDataIntervalTimetable,
    CronTriggerTimetable,
    DagRunInfo,
    DataInterval,
    DeltaDataIntervalTimetable,
    DeltaTriggerTimetable,
    EventsTimetable,
    MultipleCronTriggerTimetable,
    NullTimetable,
    OnceTimetable,
    TimeRestriction,
    Timetable,
    _parse,
    as_utc,
    cron_presets,
    parse_timezone,
    timetable_for,
)

DAY = timedelta(days=1)
MIDNIGHT_UTC = CronDataIntervalTimetable("@daily", "UTC")


def utc(*args):
    return datetime(*args, tzinfo=UTC)


def walk(timetable, start, *, end=None, catchup=True, now=None, last=None):
    """The runs one after the other, as the scheduler asks for them."""
    restriction = TimeRestriction(start, end, catchup, now)
    while info := timetable.next_dagrun_info(last_automated_data_interval=last, restriction=restriction):
        yield info
        last = info.data_interval


def first(timetable, start, **kwargs):
    return next(walk(timetable, start, **kwargs), None)


def due(runs, now):
    """The runs that a scheduler has created by `now`."""
    return list(takewhile(lambda info: info.run_after <= now, runs))


# ---------------------------------------------------------------- a run for day D starts when D is over


@pytest.mark.parametrize(
    "timetable", [CronDataIntervalTimetable("0 2 * * *", "UTC"), DeltaDataIntervalTimetable(DAY)], ids=repr
)
def test_start_on_the_10th_switched_on_on_the_13th_gives_three_runs(timetable):
    runs = due(walk(timetable, utc(2020, 8, 10, 2)), now=utc(2020, 8, 13, 20))
    assert [run.logical_date for run in runs] == [utc(2020, 8, day, 2) for day in (10, 11, 12)]
    assert [run.run_after for run in runs] == [utc(2020, 8, day, 2) for day in (11, 12, 13)]


def test_the_run_of_a_day_is_not_due_a_second_before_the_day_is_over():
    assert due(walk(MIDNIGHT_UTC, utc(2024, 3, 1)), now=utc(2024, 3, 1, 23, 59, 59)) == []
    assert len(due(walk(MIDNIGHT_UTC, utc(2024, 3, 1)), now=utc(2024, 3, 2))) == 1


def test_a_trigger_runs_at_once_and_is_about_nothing_or_the_interval_before():
    at = utc(2024, 3, 1)
    assert first(CronTriggerTimetable("@daily", timezone="UTC"), at) == DagRunInfo(at, DataInterval(at, at))
    day_before = CronTriggerTimetable("@daily", timezone="UTC", interval=DAY)
    assert first(day_before, at) == DagRunInfo(at, DataInterval(at - DAY, at))
    assert first(day_before, at).logical_date == at - DAY


def test_a_start_date_in_the_future_waits():
    assert first(MIDNIGHT_UTC, utc(2030, 1, 1, 12), catchup=False, now=utc(2024, 3, 1)).run_after == utc(2030, 1, 3)


def test_an_end_date_is_included_and_ends_the_walk():
    dates = [run.logical_date for run in walk(MIDNIGHT_UTC, utc(2024, 3, 1), end=utc(2024, 3, 3))]
    assert dates == [utc(2024, 3, 1), utc(2024, 3, 2), utc(2024, 3, 3)]


def test_end_before_start_gives_nothing():
    assert first(MIDNIGHT_UTC, utc(2024, 3, 2), end=utc(2024, 3, 1)) is None


@pytest.mark.parametrize(
    ("timetable", "logical_date", "run_after"),
    [
        (MIDNIGHT_UTC, utc(2024, 6, 14), utc(2024, 6, 15)),
        (CronTriggerTimetable("@daily", timezone="UTC"), utc(2024, 6, 15), utc(2024, 6, 15)),
        (DeltaDataIntervalTimetable(DAY), utc(2024, 6, 14), utc(2024, 6, 15)),
        (DeltaTriggerTimetable(DAY), utc(2024, 6, 15, 12, 30), utc(2024, 6, 15, 12, 30)),
        (DeltaDataIntervalTimetable(relativedelta(months=1)), utc(2024, 5, 1), utc(2024, 6, 1)),
        (OnceTimetable(), utc(2024, 1, 1), utc(2024, 1, 1)),
        (EventsTimetable([utc(2024, 6, 1), utc(2024, 7, 1)]), utc(2024, 7, 1), utc(2024, 7, 1)),
    ],
    ids=repr,
)
def test_without_catch_up_the_walk_begins_with_the_newest_run(timetable, logical_date, run_after):
    info = first(timetable, utc(2024, 1, 1), catchup=False, now=utc(2024, 6, 15, 12, 30))
    assert (info.logical_date, info.run_after) == (logical_date, run_after)


def test_after_an_outage_catch_up_makes_up_and_without_it_only_the_newest_is_run():
    last = DataInterval(utc(2024, 6, 1), utc(2024, 6, 2))
    now = utc(2024, 6, 8, 12)
    assert len(due(walk(MIDNIGHT_UTC, utc(2024, 1, 1), last=last), now)) == 6
    made_up = due(walk(MIDNIGHT_UTC, utc(2024, 1, 1), last=last, catchup=False, now=now), now)
    assert [run.logical_date for run in made_up] == [utc(2024, 6, 7)]


def test_without_start_date_data_intervals_with_catch_up_never_run_and_triggers_start_at_the_next_tick():
    assert first(MIDNIGHT_UTC, None) is None
    trigger = CronTriggerTimetable("@daily", timezone="UTC")
    assert first(trigger, None, now=utc(2024, 6, 15, 12)).run_after == utc(2024, 6, 16)


def test_an_interval_of_months_that_ends_now_is_over():
    monthly = DeltaDataIntervalTimetable(relativedelta(months=1))
    run = first(monthly, utc(2024, 1, 1), catchup=False, now=utc(2024, 6, 1))
    assert run.data_interval == (utc(2024, 5, 1), utc(2024, 6, 1))


@pytest.mark.parametrize(
    ("run_immediately", "hour", "day"),
    [
        (True, 23, 15),
        (False, 2, 15),  # two hours are less than a tenth of a day
        (None, 3, 16),
        (timedelta(hours=5), 4, 15),
        (timedelta(hours=5), 6, 16),
    ],
)
def test_run_immediately_decides_whether_the_tick_just_past_still_counts(run_immediately, hour, day):
    timetable = CronTriggerTimetable("@daily", timezone="UTC", run_immediately=run_immediately)
    assert first(timetable, None, now=utc(2024, 6, 15, hour)).run_after == utc(2024, 6, day)


def test_five_minutes_after_a_tick_are_never_too_late():
    every_ten_minutes = CronTriggerTimetable("*/10 * * * *", timezone="UTC")
    assert first(every_ten_minutes, None, now=utc(2024, 6, 15, 12, 5)).run_after == utc(2024, 6, 15, 12)
    assert first(every_ten_minutes, None, now=utc(2024, 6, 15, 12, 6)).run_after == utc(2024, 6, 15, 12, 10)


@pytest.mark.parametrize("hour", [0, 6])
def test_a_changed_schedule_goes_on_after_the_last_run_on_its_own_row(hour):
    six_hourly = DataInterval(utc(2024, 6, 15, hour), utc(2024, 6, 15, hour + 6))
    assert first(MIDNIGHT_UTC, utc(2024, 1, 1), last=six_hourly).data_interval == (utc(2024, 6, 16), utc(2024, 6, 17))


def test_a_start_date_moved_later_holds_back_data_intervals_but_not_a_trigger_that_has_run():
    last, later = DataInterval.exact(utc(2024, 6, 15)), utc(2024, 7, 1)
    assert first(MIDNIGHT_UTC, later, last=last).logical_date == later
    assert first(CronTriggerTimetable("@daily", timezone="UTC"), later, last=last).logical_date == utc(2024, 6, 16)


# ---------------------------------------------------------------- manual runs


@pytest.mark.parametrize(
    ("timetable", "start", "end"),
    [
        (MIDNIGHT_UTC, utc(2024, 6, 14), utc(2024, 6, 15)),  # not today: today is not over
        (CronTriggerTimetable("@daily", timezone="UTC"), utc(2024, 6, 15, 9, 30), utc(2024, 6, 15, 9, 30)),
        (
            CronTriggerTimetable("@daily", timezone="UTC", interval=DAY),
            utc(2024, 6, 14, 9, 30),
            utc(2024, 6, 15, 9, 30),
        ),
        (DeltaDataIntervalTimetable(DAY), utc(2024, 6, 14, 9, 30), utc(2024, 6, 15, 9, 30)),
        (DeltaTriggerTimetable(DAY), utc(2024, 6, 15, 9, 30), utc(2024, 6, 15, 9, 30)),
        (
            MultipleCronTriggerTimetable("@daily", "@hourly", timezone="UTC", interval=DAY),
            utc(2024, 6, 14, 9, 30),
            utc(2024, 6, 15, 9, 30),
        ),
        (NullTimetable(), utc(2024, 6, 15, 9, 30), utc(2024, 6, 15, 9, 30)),
        (OnceTimetable(), utc(2024, 6, 15, 9, 30), utc(2024, 6, 15, 9, 30)),
        (ContinuousTimetable(), utc(2024, 6, 15, 9, 30), utc(2024, 6, 15, 9, 30)),
        (EventsTimetable([utc(2024, 6, 1), utc(2024, 7, 1)]), utc(2024, 6, 15, 9, 30), utc(2024, 6, 15, 9, 30)),
        (
            EventsTimetable([utc(2024, 6, 1), utc(2024, 7, 1)], restrict_to_events=True),
            utc(2024, 6, 1),
            utc(2024, 6, 1),
        ),
        (
            EventsTimetable([utc(2024, 7, 1), utc(2024, 8, 1)], restrict_to_events=True),
            utc(2024, 7, 1),
            utc(2024, 7, 1),
        ),
    ],
    ids=repr,
)
def test_what_a_manual_run_is_about(timetable, start, end):
    assert timetable.infer_manual_data_interval(run_after=utc(2024, 6, 15, 9, 30)) == DataInterval(start, end)


# ---------------------------------------------------------------- clock changes


def wall(info, zone):
    return f"{info.logical_date.astimezone(ZoneInfo(zone)):%H:%M %Z}"


def test_a_skipped_wall_clock_time_moves_on_by_the_gap():
    runs = islice(walk(CronTriggerTimetable("30 2 * * *", timezone="America/New_York"), utc(2024, 3, 9)), 3)
    assert [wall(run, "America/New_York") for run in runs] == ["02:30 EST", "03:30 EDT", "02:30 EDT"]


def test_of_a_repeated_wall_clock_time_the_second_counts():
    runs = islice(walk(CronTriggerTimetable("30 1 * * *", timezone="America/New_York"), utc(2024, 11, 2)), 3)
    assert [wall(run, "America/New_York") for run in runs] == ["01:30 EDT", "01:30 EST", "01:30 EST"]


def test_an_hourly_cron_runs_in_both_of_the_repeated_hours():
    runs = islice(walk(CronTriggerTimetable("@hourly", timezone="America/New_York"), utc(2024, 11, 3, 4)), 4)
    assert [wall(run, "America/New_York") for run in runs] == ["00:00 EDT", "01:00 EDT", "01:00 EST", "02:00 EST"]


def test_a_delta_does_not_care_about_the_wall_clock():
    runs = islice(walk(DeltaTriggerTimetable(DAY), utc(2024, 3, 9, 5)), 3)
    assert [wall(run, "America/New_York") for run in runs] == ["00:00 EST", "00:00 EST", "01:00 EDT"]


def test_airflow_leaves_a_gap_after_two_ticks_in_the_skipped_hour():
    timetable = CronDataIntervalTimetable("*/30 0-3 * * *", "Europe/London")
    _, before, after = islice(walk(timetable, utc(2024, 3, 31)), 3)
    assert (before.data_interval.end, after.data_interval.start) == (utc(2024, 3, 31, 1), utc(2024, 3, 31, 1, 30))


def test_an_hourly_cron_stops_with_an_error_where_the_clock_moves_by_half_an_hour():
    runs = CronDataIntervalTimetable("15 * * * *", "Australia/Lord_Howe").iter_dagrun_infos_between
    with pytest.raises(TimetableError, match="does not get past 2024-10-05 15:45"):
        list(runs(utc(2024, 10, 5, 12), utc(2024, 10, 6)))


def test_catch_up_off_has_an_answer_just_after_a_clock_change_too():
    first_of_month = CronDataIntervalTimetable("* * 1 * *", "America/New_York")
    run = first(first_of_month, utc(2024, 1, 1), catchup=False, now=utc(2024, 3, 10, 7, 30))
    assert run.run_after <= utc(2024, 3, 10, 7, 30)
    assert run.data_interval.end - run.data_interval.start == timedelta(minutes=1)


# ---------------------------------------------------------------- calendar


@pytest.mark.parametrize(
    ("cron", "dates"),
    [
        ("0 0 31 * *", ["01-31", "03-31", "05-31"]),
        ("0 0 29 2 *", ["2024-02-29", "2028-02-29"]),
        ("0 0 L * *", ["01-31", "02-29", "03-31"]),
        ("0 0 1 * mon", ["01-01", "01-08", "01-15", "01-22", "01-29", "02-01", "02-05"]),
        ("0 0 * * 5#3", ["01-19", "02-16", "03-15"]),
        (
            "0 0 * * 0#1,1#1,2#1,3#1,4#1,5#1,6#1",
            ["01-01", "01-02", "01-03", "01-04", "01-05", "01-06", "01-07", "02-01"],
        ),
        ("0 0 ? * sat-sun", ["01-06", "01-07", "01-13"]),
        ("30 0 * * * 15", ["01-01T00:30:15", "01-02T00:30:15"]),
        ("0 0 1 jan * 0 2024-2026", ["01-01", "2025-01-01", "2026-01-01"]),
        ("@quarterly", ["01-01", "04-01", "07-01"]),
    ],
)
def test_cron_fields(cron, dates):
    runs = islice(walk(CronTriggerTimetable(cron, timezone="UTC"), utc(2024, 1, 1)), len(dates))
    full = [date if date.startswith("20") else f"2024-{date}" for date in dates]
    assert [run.run_after for run in runs] == [datetime.fromisoformat(date).replace(tzinfo=UTC) for date in full]


def test_months_are_added_step_by_step_and_drift():
    runs = islice(walk(DeltaTriggerTimetable(relativedelta(months=1)), utc(2024, 1, 31)), 3)
    assert [run.run_after for run in runs] == [utc(2024, 1, 31), utc(2024, 2, 29), utc(2024, 3, 29)]


# ---------------------------------------------------------------- the other timetables


def test_null_never_runs_by_itself():
    assert first(NullTimetable(), utc(2024, 1, 1)) is None
    assert not NullTimetable.can_be_scheduled


def test_once_runs_at_the_start_date_or_now_and_never_again():
    runs = walk(OnceTimetable(), utc(2024, 1, 1), now=utc(2024, 6, 1))
    assert list(runs) == [DagRunInfo.exact(utc(2024, 1, 1))]
    assert first(OnceTimetable(), None, now=utc(2024, 6, 1)) == DagRunInfo.exact(utc(2024, 6, 1))


def test_continuous_covers_the_time_since_the_run_before():
    assert ContinuousTimetable.active_runs_limit == 1
    run = first(ContinuousTimetable(), utc(2024, 1, 1), now=utc(2024, 1, 2))
    assert run.data_interval == (utc(2024, 1, 1), utc(2024, 1, 2))
    run = first(ContinuousTimetable(), utc(2024, 1, 1), now=utc(2024, 1, 5), last=run.data_interval)
    assert run.data_interval == (utc(2024, 1, 2), utc(2024, 1, 5))
    assert list(ContinuousTimetable().iter_dagrun_infos_between(utc(2024, 1, 1), utc(2024, 1, 5))) == []


def test_several_crons_make_one_run_when_they_meet():
    both = MultipleCronTriggerTimetable("0 0 * * *", "0 */12 * * *", timezone="UTC")
    dates = [run.run_after for run in islice(walk(both, utc(2024, 5, 30, 10)), 3)]
    assert dates == [utc(2024, 5, 30, 12), utc(2024, 5, 31), utc(2024, 5, 31, 12)]


def test_several_crons_without_catch_up_take_the_newest_that_is_due():
    both = MultipleCronTriggerTimetable("0 6 * * *", "0 18 * * *", timezone="UTC")
    for hour in (6, 12):
        runs = walk(both, utc(2024, 1, 1), catchup=False, now=utc(2024, 6, 15, hour))
        assert [run.run_after for run in islice(runs, 2)] == [utc(2024, 6, 15, 6), utc(2024, 6, 15, 18)]


def test_events_run_once_each_in_order():
    events = EventsTimetable([utc(2024, 3, 1), utc(2024, 2, 1), utc(2024, 2, 1)])
    assert [run.run_after for run in walk(events, utc(2024, 1, 1))] == [utc(2024, 2, 1), utc(2024, 3, 1)]
    assert first(EventsTimetable([]), utc(2024, 1, 1)) is None


class Weekdays(Timetable):
    """Each weekday's data on the next weekday, with the arguments and helpers of Airflow's own example."""

    def infer_manual_data_interval(self, run_after):
        return DataInterval(start=run_after - DAY, end=run_after)

    def next_dagrun_info(self, *, last_automated_data_interval, restriction):
        day = last_automated_data_interval.start + DAY if last_automated_data_interval else restriction.earliest
        while day.weekday() >= 5:
            day += DAY
        if restriction.latest is not None and day > restriction.latest:
            return None
        return DagRunInfo.interval(start=day, end=day + DAY)


def test_a_timetable_of_ones_own_needs_two_methods():
    runs = Weekdays().iter_dagrun_infos_between(utc(2024, 6, 6), utc(2024, 6, 11))
    assert [f"{run.logical_date:%a %d}" for run in runs] == ["Thu 06", "Fri 07", "Mon 10", "Tue 11"]
    assert timetable_for(Weekdays(), "UTC") == Weekdays()
    assert (Weekdays().summary, repr(Weekdays())) == ("Weekdays", "Weekdays()")


def test_a_timetable_of_ones_own_that_stands_still_is_stopped():
    class Stuck(Weekdays):
        def next_dagrun_info(self, *, last_automated_data_interval, restriction):
            return DagRunInfo.exact(restriction.earliest)

    with pytest.raises(TimetableError, match="twice"):
        list(Stuck().iter_dagrun_infos_between(utc(2024, 6, 6), utc(2024, 6, 11)))


@pytest.mark.parametrize("method", ["next_dagrun_info", "infer_manual_data_interval"])
def test_a_timetable_of_ones_own_without_a_method_names_it(method):
    arguments = {"next_dagrun_info": {"last_automated_data_interval": None, "restriction": None}}
    with pytest.raises(NotImplementedError, match=f"Timetable must define {method}"):
        getattr(Timetable(), method)(**arguments.get(method, {"run_after": utc(2024, 1, 1)}))


# ---------------------------------------------------------------- ranges, as backfill uses them


def test_a_range_includes_both_ends():
    runs = MIDNIGHT_UTC.iter_dagrun_infos_between(utc(2024, 3, 1), utc(2024, 3, 3))
    assert [run.logical_date.day for run in runs] == [1, 2, 3]


def test_a_range_of_a_delta_starts_where_it_is_told_to():
    runs = DeltaTriggerTimetable(DAY).iter_dagrun_infos_between(utc(2024, 3, 1, 5), utc(2024, 3, 3))
    assert [run.run_after for run in runs] == [utc(2024, 3, 1, 5), utc(2024, 3, 2, 5)]


# ---------------------------------------------------------------- what schedule= means


SEOUL = ZoneInfo("Asia/Seoul")
MONTH = relativedelta(months=1)


@pytest.mark.parametrize(
    ("schedule", "with_intervals", "without"),
    [
        (None, NullTimetable(), NullTimetable()),
        ("@once", OnceTimetable(), OnceTimetable()),
        ("@continuous", ContinuousTimetable(), ContinuousTimetable()),
        ("@daily", CronDataIntervalTimetable("0 0 * * *", SEOUL), CronTriggerTimetable("0 0 * * *", timezone=SEOUL)),
        ("@Daily", CronDataIntervalTimetable("0 0 * * *", SEOUL), CronTriggerTimetable("0 0 * * *", timezone=SEOUL)),
        ("5 4 * * *", CronDataIntervalTimetable("5 4 * * *", SEOUL), CronTriggerTimetable("5 4 * * *", timezone=SEOUL)),
        (DAY, DeltaDataIntervalTimetable(DAY), DeltaTriggerTimetable(DAY)),
        (MONTH, DeltaDataIntervalTimetable(MONTH), DeltaTriggerTimetable(MONTH)),
        (MIDNIGHT_UTC, MIDNIGHT_UTC, MIDNIGHT_UTC),
    ],
)
def test_schedule(schedule, with_intervals, without):
    assert timetable_for(schedule, "Asia/Seoul") == with_intervals
    assert timetable_for(schedule, SEOUL, create_cron_data_intervals=False) == without


def test_deltas_may_have_a_switch_of_their_own():
    assert timetable_for(DAY, "UTC", create_delta_data_intervals=False) == DeltaTriggerTimetable(DAY)
    assert timetable_for(
        DAY, "UTC", create_cron_data_intervals=False, create_delta_data_intervals=True
    ) == DeltaDataIntervalTimetable(DAY)


@pytest.mark.parametrize("preset", cron_presets)
def test_presets_are_crons(preset):
    assert timetable_for(preset, "UTC").summary == cron_presets[preset]


TIMETABLES = [
    NullTimetable(),
    OnceTimetable(),
    ContinuousTimetable(),
    CronDataIntervalTimetable("0 6 * * *", "Asia/Seoul"),
    CronTriggerTimetable("0 6 * * *", timezone="Asia/Seoul"),
    CronTriggerTimetable("0 6 * * *", timezone="UTC", interval=DAY, run_immediately=True),
    MultipleCronTriggerTimetable("0 6 * * *", "0 8 * * *", timezone="UTC", interval=relativedelta(months=1)),
    DeltaDataIntervalTimetable(DAY),
    DeltaTriggerTimetable(DAY, interval=timedelta(hours=1)),
]


@pytest.mark.parametrize("timetable", TIMETABLES, ids=repr)
def test_repr_is_the_call_that_makes_an_equal_one(timetable):
    import datetime as datetime_module

    text = repr(timetable).replace("=+", "=")  # relativedelta writes months=+1
    again = eval(text, globals() | {"datetime": datetime_module})
    assert again == timetable
    assert hash(again) == hash(timetable)
    assert [other for other in TIMETABLES if other == timetable] == [timetable]


@pytest.mark.parametrize("timetable", [*TIMETABLES, EventsTimetable([utc(2024, 1, 1)])], ids=repr)
def test_a_timetable_travels_to_other_processes_and_can_be_shown(timetable):
    assert pickle.loads(pickle.dumps(timetable)) == timetable
    assert timetable.summary
    assert timetable.description
    assert timetable.validate() is None


def test_a_timetable_equals_nothing_of_another_kind():
    assert CronDataIntervalTimetable("@daily", "UTC") != CronTriggerTimetable("@daily", timezone="UTC")
    assert MIDNIGHT_UTC != "0 0 * * *"


# ---------------------------------------------------------------- time zones and instants


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        ("Asia/Seoul", ZoneInfo("Asia/Seoul")),
        (pendulum.timezone("Asia/Seoul"), ZoneInfo("Asia/Seoul")),
        ("utc", UTC),
        (ZoneInfo("UTC"), UTC),
        (pendulum.UTC, UTC),
        (timezone(timedelta(hours=9)), timezone(timedelta(hours=9))),
    ],
)
def test_time_zones_of_any_library(zone, expected):
    assert parse_timezone(zone) is expected or parse_timezone(zone) == expected


@pytest.mark.parametrize(
    "given", [pendulum.datetime(2024, 3, 1, tz="Asia/Seoul"), datetime(2024, 3, 1, tzinfo=ZoneInfo("Asia/Seoul"))]
)
def test_what_comes_out_is_a_plain_datetime_in_utc(given):
    info = first(CronDataIntervalTimetable("@daily", "Asia/Seoul"), given)
    for instant in (as_utc(given), info.logical_date, info.run_after, *info.data_interval):
        assert type(instant) is datetime
        assert instant.tzinfo is UTC
    assert info.logical_date == given


def test_importing_timetables_is_quick_because_croniter_waits_for_the_first_cron():
    code = "import sys, etlkit.timetables; print({'croniter', 'dateutil', 'pendulum', 'pandas'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


# ---------------------------------------------------------------- bad input

NAIVE = datetime(2024, 1, 1)  # noqa: DTZ001

BAD_INPUT = {
    "a cron that never fires": (
        lambda: timetable_for("0 0 30 2 *", "UTC"),
        "cron '0 0 30 2 *' names no date after 1970-01-01; correct its date fields",
    ),
    "a cron with a month too many": (
        lambda: timetable_for("0 0 1 13 *", "UTC"),
        "cron '0 0 1 13 *' cannot be read: [0 0 1 13 *] is not acceptable, out of range",
    ),
    "a cron with too few fields": (
        lambda: timetable_for("0 0", "UTC"),
        "cron '0 0' cannot be read: Exactly 5, 6 or 7 columns has to be specified for iterator expression.",
    ),
    "a cron with nonsense": (
        lambda: CronTriggerTimetable("a b c d e", timezone="UTC"),
        "cron 'a b c d e' cannot be read: [a b c d e] is not acceptable",
    ),
    "an empty cron": (
        lambda: timetable_for("", "UTC"),
        "cron '' cannot be read: Exactly 5, 6 or 7 columns has to be specified for iterator expression.",
    ),
    "a random cron": (
        lambda: timetable_for("R * * * *", "UTC"),
        "cron 'R * * * *' has a random field, which would differ each time; write a number",
    ),
    "a cron that is no text": (
        lambda: CronDataIntervalTimetable(5, "UTC"),
        "5 is not a cron expression; write one such as '0 6 * * *'",
    ),
    "several crons, none given": (
        lambda: MultipleCronTriggerTimetable(timezone="UTC"),
        "MultipleCronTriggerTimetable needs at least one cron",
    ),
    "a cron of a year that is over": (
        lambda: first(CronTriggerTimetable("0 0 1 1 * 0 2020", timezone="UTC"), utc(2024, 1, 1)),
        "cron '0 0 1 1 * 0 2020' names no date after 2024-01-01; correct its date fields",
    ),
    "a cron at the end of all dates": (
        lambda: first(MIDNIGHT_UTC, utc(9999, 12, 31)),
        "cron '0 0 * * *' names no date after 9999-12-31; correct its date fields",
    ),
    "an unknown preset": (
        lambda: timetable_for("@weakly", "UTC"),
        "no schedule is called '@weakly'; did you mean '@weekly'?",
    ),
    "@once where only a cron will do": (
        lambda: CronTriggerTimetable("@once", timezone="UTC"),
        "'@once' is not a cron; use OnceTimetable()",
    ),
    "a schedule of no known kind": (
        lambda: timetable_for(5, "UTC"),
        "5 is not a length of time; give a timedelta or relativedelta, or a cron as a string",
    ),
    "a zero delta": (
        lambda: timetable_for(timedelta(0), "UTC"),
        "a schedule every datetime.timedelta(0) does not go forward; give a length above zero",
    ),
    "a negative delta": (
        lambda: DeltaTriggerTimetable(relativedelta(months=-1)),
        "a schedule every relativedelta(months=-1) does not go forward; give a length above zero",
    ),
    "a delta that stands still": (
        lambda: list(islice(walk(DeltaTriggerTimetable(relativedelta(day=31)), utc(2024, 1, 31)), 2)),
        "a schedule every relativedelta(day=31) gets stuck at 2024-01-31 00:00:00+00:00; a cron can name days",
    ),
    "a negative interval": (
        lambda: CronTriggerTimetable("@daily", timezone="UTC", interval=-DAY),
        "an interval of datetime.timedelta(days=-1) ends before it starts; give a length of zero or more",
    ),
    "an interval that is no length": (
        lambda: CronTriggerTimetable("@daily", timezone="UTC", interval="1d"),
        "'1d' is not a length of time; give a timedelta or relativedelta, or a cron as a string",
    ),
    "an unknown time zone": (
        lambda: timetable_for("@daily", "Asia/Soul"),
        "no time zone is called 'Asia/Soul'; did you mean 'Asia/Seoul'?",
    ),
    "a time zone with no near name": (
        lambda: parse_timezone("!!"),
        "no time zone is called '!!'; names are like 'Asia/Seoul' or 'UTC'",
    ),
    "a path as time zone": (
        lambda: parse_timezone("/etc/passwd"),
        "no time zone is called '/etc/passwd'; names are like 'Asia/Seoul' or 'UTC'",
    ),
    "a time zone that is a number": (
        lambda: parse_timezone(9),
        "9 is not a time zone; give a name such as 'Asia/Seoul', or a tzinfo",
    ),
    "a naive start": (
        lambda: first(MIDNIGHT_UTC, NAIVE),
        "earliest date 2024-01-01 00:00:00 has no time zone; give it one, for example tzinfo=UTC",
    ),
    "a naive end": (
        lambda: first(DeltaTriggerTimetable(DAY), utc(2024, 1, 1), end=NAIVE),
        "latest date 2024-01-01 00:00:00 has no time zone; give it one, for example tzinfo=UTC",
    ),
    "a naive present": (
        lambda: first(MIDNIGHT_UTC, None, catchup=False, now=NAIVE),
        "present time 2024-01-01 00:00:00 has no time zone; give it one, for example tzinfo=UTC",
    ),
    "a naive last interval": (
        lambda: first(MIDNIGHT_UTC, utc(2024, 1, 1), last=DataInterval.exact(NAIVE)),
        "interval start 2024-01-01 00:00:00 has no time zone; give it one, for example tzinfo=UTC",
    ),
    "a naive manual run": (
        lambda: MIDNIGHT_UTC.infer_manual_data_interval(run_after=NAIVE),
        "run_after 2024-01-01 00:00:00 has no time zone; give it one, for example tzinfo=UTC",
    ),
    "a naive event": (
        lambda: EventsTimetable([NAIVE]),
        "event date 2024-01-01 00:00:00 has no time zone; give it one, for example tzinfo=UTC",
    ),
    "a naive range": (
        lambda: list(MIDNIGHT_UTC.iter_dagrun_infos_between(NAIVE, utc(2024, 1, 2))),
        "earliest date 2024-01-01 00:00:00 has no time zone; give it one, for example tzinfo=UTC",
    ),
    "a date that is text": (
        lambda: as_utc("2024-01-01", "start_date"),
        "start_date '2024-01-01' is not a datetime; write for example datetime(2024, 1, 31, tzinfo=UTC)",
    ),
    "no present without catch-up": (
        lambda: first(MIDNIGHT_UTC, utc(2024, 1, 1), catchup=False),
        "without catch-up or a start date, a timetable needs TimeRestriction(..., now=...)",
    ),
}


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input_is_refused_in_one_line_that_says_what_to_do(name):
    make, message = BAD_INPUT[name]
    with pytest.raises(TimetableError, match=f"^{re.escape(message)}$") as caught:
        make()
    assert isinstance(caught.value, EtlkitError)
    assert isinstance(caught.value, ValueError)  # what Airflow raises, for code written for it


# ---------------------------------------------------------------- what holds for any schedule

ZONES = [
    "UTC",
    "Asia/Seoul",
    "Asia/Kolkata",
    "America/New_York",
    "Europe/London",
    "Australia/Lord_Howe",
    "America/Havana",
]
numbers = {"minute": st.integers(0, 59), "hour": st.integers(0, 23), "weekday": st.integers(0, 6)}
zones = st.sampled_from(ZONES)
starts = st.datetimes(datetime(2024, 1, 1), datetime(2025, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
spans = st.timedeltas(timedelta(0), timedelta(days=40))


def field(values, size):
    return st.just("*") | st.lists(values, min_size=1, max_size=size, unique=True).map(lambda v: ",".join(map(str, v)))


def one_tick_an_hour_at_most(minute, hours, weekdays):
    """Crons on which Airflow's intervals have neither gaps nor overlaps, even over a clock change."""
    return f"{minute} {hours} * * {weekdays}"


named_hours = st.builds(
    one_tick_an_hour_at_most,
    numbers["minute"],
    field(numbers["hour"], 6).filter(lambda hours: hours != "*"),
    field(numbers["weekday"], 3),
)
any_cron = st.builds(
    "{} {} {} * {}".format,
    field(numbers["minute"], 4),
    field(numbers["hour"], 4),
    field(st.integers(1, 28), 3),
    field(numbers["weekday"], 3),
)
deltas = st.timedeltas(timedelta(minutes=1), timedelta(days=30))
exactly = settings(derandomize=True, deadline=None, max_examples=150)


@exactly
@given(named_hours, zones, starts)
def test_intervals_of_a_cron_tile_time(cron, zone, start):
    check_tiling(CronDataIntervalTimetable(cron, zone), start)


@exactly
@given(st.sampled_from(["0 * * * *", "17 * * * *", "*/5 * * * *", "*/7 * * * *"]), zones, starts)
def test_intervals_of_an_hourly_cron_tile_time(cron, zone, start):
    assume(zone != "Australia/Lord_Howe")  # whose clock changes by half an hour: see the test of that
    check_tiling(CronDataIntervalTimetable(cron, zone), start)


@exactly
@given(deltas | st.integers(1, 14).map(lambda months: relativedelta(months=months)), starts)
def test_intervals_of_a_delta_tile_time_from_the_start_date(delta, start):
    assert check_tiling(DeltaDataIntervalTimetable(delta), start)[0].logical_date == start


def check_tiling(timetable, start):
    runs = list(islice(walk(timetable, start), 30))
    assert runs[0].logical_date >= start
    assert all(run.data_interval.start < run.data_interval.end == run.run_after for run in runs)
    assert all(run.data_interval.end == following.data_interval.start for run, following in pairwise(runs))
    return runs


@exactly
@given(any_cron, starts)
def test_ticks_are_the_minutes_that_the_fields_name(cron, start):
    minutes, hours, days, _, weekdays = cron.split()
    among = {name: set(map(int, text.split(","))) if text != "*" else None for name, text in
             {"minute": minutes, "hour": hours, "day": days, "weekday": weekdays}.items()}  # fmt: skip

    def named(at):
        day, weekday = among["day"], among["weekday"]
        on_day, on_weekday = day is None or at.day in day, weekday is None or at.isoweekday() % 7 in weekday
        on_date = on_day or on_weekday if day and weekday else on_day and on_weekday
        on_time = (among["hour"] is None or at.hour in among["hour"]) and (
            among["minute"] is None or at.minute in among["minute"]
        )
        return on_date and on_time

    ceiling = start.replace(second=0, microsecond=0)
    ceiling += timedelta(minutes=1) if ceiling < start else timedelta(0)
    expected = next(at for i in range(40 * 1440) if named(at := ceiling + timedelta(minutes=i)))
    assert first(CronTriggerTimetable(cron, timezone="UTC"), start).run_after == expected


@exactly
@given(any_cron, zones, starts, spans, st.booleans())
def test_a_walk_goes_forward_and_no_run_starts_before_its_interval_is_over(cron, zone, start, span, catchup):
    for timetable in (CronTriggerTimetable(cron, timezone=zone, interval=DAY), CronDataIntervalTimetable(cron, zone)):
        runs = list(islice(walk(timetable, start, catchup=catchup, now=start + span), 8))
        assert all(run.data_interval.start <= run.data_interval.end <= run.run_after for run in runs)
        assert all(run.logical_date < following.logical_date for run, following in pairwise(runs))


@exactly
@given(named_hours, zones, starts, spans)
def test_without_catch_up_the_first_run_is_the_newest_that_is_due_with_it(cron, zone, start, span):
    for timetable in (CronTriggerTimetable(cron, timezone=zone), CronDataIntervalTimetable(cron, zone)):
        now = start + span
        with_catch_up = due(walk(timetable, start), now)
        without = first(timetable, start, catchup=False, now=now)
        assert without == (with_catch_up[-1] if with_catch_up else first(timetable, start))


@exactly
@given(deltas, starts, spans)
def test_without_catch_up_a_delta_gives_no_run_that_is_more_than_two_lengths_old(delta, start, span):
    now = start + span
    info = first(DeltaDataIntervalTimetable(delta), start, catchup=False, now=now)
    assert info.logical_date == start or now - 2 * delta < info.logical_date <= now - delta
    assert first(DeltaTriggerTimetable(delta), start, catchup=False, now=now).run_after == now


@exactly
@given(named_hours, zones, starts, spans)
def test_a_manual_run_is_about_the_last_interval_that_the_walk_has_completed(cron, zone, start, span):
    timetable = CronDataIntervalTimetable(cron, zone)
    now = start + span + timedelta(days=15)  # a week's cron has had two ticks
    manual = timetable.infer_manual_data_interval(run_after=now)
    assert manual == due(walk(timetable, start), now)[-1].data_interval


@exactly
@given(named_hours, zones, starts, spans, spans)
def test_two_ranges_next_to_each_other_give_the_runs_of_the_whole(cron, zone, start, one, two):
    timetable = CronDataIntervalTimetable(cron, zone)
    middle, end = start + one, start + one + two
    parts = [
        *timetable.iter_dagrun_infos_between(start, middle),
        *timetable.iter_dagrun_infos_between(middle + timedelta(microseconds=1), end),
    ]
    assert parts == list(timetable.iter_dagrun_infos_between(start, end))


def test_a_search_leaves_the_parsed_cron_alone_so_that_threads_may_share_it():
    parsed = _parse("7 3 9 * *")
    before = dict(vars(parsed))
    assert first(CronTriggerTimetable("7 3 9 * *", timezone="UTC"), utc(2024, 1, 1)).run_after == utc(2024, 1, 9, 3, 7)
    assert vars(_parse("7 3 9 * *")) == before


@exactly
@given(named_hours, zones, starts)
def test_asking_twice_gives_the_same_answer(cron, zone, start):
    timetable = CronDataIntervalTimetable(cron, zone)
    runs = list(islice(walk(timetable, start), 5))
    assert runs == list(islice(walk(CronDataIntervalTimetable(cron, zone), start), 5))
    assert runs[3] == first(timetable, start, last=runs[2].data_interval)
