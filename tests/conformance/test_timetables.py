"""Which runs a schedule gives: the answers of Apache Airflow 3.3.2, recorded in cases/timetables.json.

A case of op "walk" asks for the next run `steps` times, each time handing back the run before. Where Airflow raised,
the kit must raise too, after the same runs; it may do so earlier, when the timetable is made.

Deliberate differences, none of them in the recorded cases:

===================================================  ==========================================================
Airflow                                              the kit, and why
===================================================  ==========================================================
takes a cron that never fires; manual runs work      refuses it when the DAG is made: it is a typing error
takes random fields ("R * * * *")                    refuses them: two processes would not see the same ticks
takes a negative `interval`                          refuses it: the interval would end before it starts
takes relativedelta(day=31) and repeats one tick     stops with an error, rather than giving one run for ever
looks 50 years ahead for a cron's next date          looks 130 years ahead, as far as a year field can name
AssertionError: cron of every hour, catch-up off,    gives the interval before that: an hour of errors after each
now just after a clock change                        clock change helps nobody
a walk that fails cuts a backfill short, with a log  raises: a backfill that leaves out days must not look whole
===================================================  ==========================================================
"""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from dateutil.relativedelta import relativedelta

import etlkit.timetables
from etlkit.errors import TimetableError
from etlkit.timetables import DataInterval, TimeRestriction, timetable_for


def cases(name):
    return json.loads((Path(__file__).parent / "cases" / name).read_text(encoding="utf-8"))["cases"]


CASES = cases("timetables.json")
RANGES = [case for case in cases("backfill.json") if "dry_run" in case and not case["existing_runs"]]


def instant(text):
    return text and datetime.fromisoformat(text)


def delta(spec):
    return relativedelta(**spec["rel"]) if "rel" in spec else timedelta(**spec)


def scheduled(schedule, zone="UTC"):
    """What DAG(schedule=...) resolves to with Airflow 3's default settings."""
    schedule = delta(schedule) if isinstance(schedule, dict) else schedule
    return timetable_for(schedule, zone, create_cron_data_intervals=False)


def build(spec):
    """The timetable of a case, made the way a DAG's author would."""
    spec = dict(spec)
    kind = spec.pop("type")
    if kind == "schedule":
        return scheduled(spec["schedule"], spec.get("dag_timezone") or "UTC")
    for name in {"delta", "interval"} & spec.keys():
        spec[name] = delta(spec[name])
    if isinstance(spec.get("run_immediately"), dict):
        spec["run_immediately"] = delta(spec["run_immediately"])
    if "event_dates" in spec:
        spec["event_dates"] = [instant(date).replace(tzinfo=UTC) for date in spec["event_dates"]]
    return getattr(etlkit.timetables, kind)(*spec.pop("crons", ()), **spec)


def walk(case):
    """The runs of a case, and whether they ended by None ("exhausted"), by an error ("error") or went on (None)."""
    runs, last = [], case.get("last_data_interval")
    last = last and DataInterval(*map(instant, last))
    try:
        timetable = build(case["timetable"])
        for step in range(case["steps"]):
            now = instant(case["nows"][step] if case.get("nows") else case["now"])
            restriction = TimeRestriction(instant(case["start_date"]), instant(case["end_date"]), case["catchup"], now)
            info = timetable.next_dagrun_info(last_automated_data_interval=last, restriction=restriction)
            if info is None:
                return runs, "exhausted"
            last = info.data_interval
            runs.append([date.isoformat() for date in (info.logical_date, *last, info.run_after)])
    except TimetableError:
        return runs, "error"
    return runs, None


@pytest.mark.parametrize("case", [c for c in CASES if c["op"] == "walk"], ids=lambda case: case["id"])
def test_walk(case):
    expected = [
        [run[k] for k in ("logical_date", "data_interval_start", "data_interval_end", "run_after")]
        for run in case["runs"]
    ]
    assert walk(case) == (expected, "error" if case.get("error") else "exhausted" if case["exhausted"] else None)


@pytest.mark.parametrize("case", [c for c in CASES if c["op"] == "manual"], ids=lambda case: case["id"])
def test_manual(case):
    interval = build(case["timetable"]).infer_manual_data_interval(run_after=instant(case["run_after"]))
    assert [date.isoformat() for date in interval] == [case["data_interval_start"], case["data_interval_end"]]


@pytest.mark.parametrize("case", [c for c in CASES if c.get("resolved_type")], ids=lambda case: case["id"])
def test_class(case):
    if not case.get("error"):
        assert type(build(case["timetable"])).__name__ == case["resolved_type"]


def backfilled(schedule):
    """The timetable of a backfill case, whose file says what its keys mean."""
    match schedule:
        case {"ct": cron, "tz": zone}:
            interval = delta(schedule.get("interval") or {})
            return etlkit.timetables.CronTriggerTimetable(cron, timezone=zone, interval=interval)
        case {"cdi": cron, "tz": zone}:
            return etlkit.timetables.CronDataIntervalTimetable(cron, zone)
        case {"ddi": length}:
            return etlkit.timetables.DeltaDataIntervalTimetable(delta(length))
        case {"delta": length}:
            return scheduled(length)
    return scheduled(schedule)


@pytest.mark.parametrize("case", RANGES, ids=lambda case: case["id"])
def test_backfill_range(case):
    first, last = instant(case["backfill"]["from_date"]), instant(case["backfill"]["to_date"])
    infos = backfilled(case["schedule"]).iter_dagrun_infos_between(first, last)
    dates = [info.logical_date.isoformat() for info in infos if info.data_interval.end < instant(case["now"])]
    assert dates[:: -1 if case["backfill"]["reverse"] else 1] == case["dry_run"]
