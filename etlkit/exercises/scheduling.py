"""Notebook 03: when a run starts, what it is about, and what the DAG's dates mean."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from etlkit.config import settings
from etlkit.dag import DAG
from etlkit.exercises.definition import Belief, Choice, Exercise, Prediction, Seen, Step, Timeline
from etlkit.exercises.stage import Lab, days_run, intervals_run, listing, one_task, short, utc, watching
from etlkit.operators.empty import EmptyOperator
from etlkit.timetables import CronDataIntervalTimetable, CronTriggerTimetable

Interval = tuple[datetime, datetime]

NEW_YORK = ZoneInfo("America/New_York")
FIRST = utc("2013-01-01")
DAY_BEFORE = CronTriggerTimetable("@daily", timezone="UTC", interval=timedelta(days=1))
AIRFLOW_3 = {
    "ETLKIT__SCHEDULER__CREATE_CRON_DATA_INTERVALS": "False",
    "ETLKIT__SCHEDULER__CREATE_DELTA_DATA_INTERVALS": "False",
}
DEFAULTS = {
    "ETLKIT__SCHEDULER__CREATE_CRON_DATA_INTERVALS": "True",
    "ETLKIT__SCHEDULER__CREATE_DELTA_DATA_INTERVALS": "True",
}


def new_york(day: str) -> datetime:
    """The midnight in New York with which a day begins."""
    return datetime.fromisoformat(day).replace(tzinfo=NEW_YORK)


def at(*times: str, what: str = "the clock shows this") -> tuple[Step, ...]:
    """Steps that only let time pass."""
    return tuple(Step(time, what, time) for time in times)


# --- a run starts when its interval is over ---------------------------------------------------------------------------


def five_days() -> DAG:
    start, end = datetime(2013, 1, 1, tzinfo=UTC), datetime(2013, 1, 5, tzinfo=UTC)
    with DAG("five_days", schedule="@daily", start_date=start, end_date=end, catchup=True) as dag:
        EmptyOperator(task_id="load")
    return dag


def five_days_start() -> DAG:
    with DAG("five_days") as dag:
        EmptyOperator(task_id="load")
    return dag


def days_loaded(lab: Lab) -> str:
    """The days of the successful runs by their data intervals; one that is no day in UTC is shown in full."""
    intervals = [
        (run.data_interval_start, run.data_interval_end)
        for run in lab.store.runs()
        if run.state == "success" and run.data_interval_start and run.data_interval_end
    ]
    return listing(
        short(start)[:10]
        if short(start).endswith("00:00") and end - start == timedelta(days=1)
        else f"{short(start)} to {short(end)}"
        for start, end in sorted(intervals)
    )


FIRST_RUN = Exercise(
    id="03-first-run",
    tier="enough",
    kind="DAG",
    asked="Write a function `five_days()` that makes a DAG. It loads the five days 1 to 5 January 2013 (UTC), each"
    " once, and no other.\nIt may be switched on before the first day or after it.",
    play=watching(days_loaded),
    timelines=(
        Timeline("switched on in time", at("2013-01-01 12:00", "2013-01-02 12:00", "2013-01-06 12:00"), "2013-01-01"),
        Timeline("switched on early", at("2013-01-06 12:00", "2013-01-09"), "2012-12-30", hidden=True),
        Timeline(
            "switched on at 09:00 on 4 January", at("2013-01-04 12:00", "2013-01-09"), "2013-01-04 09:00", hidden=True
        ),
    ),
    start=five_days_start,
    solution=five_days,
    why="`start_date` and `end_date` bound the days that runs are about. The run about 5 January starts on the 6th,"
    " when that day is over, and belongs to it all the same.",
    beliefs=(
        Belief(
            "on-its-date",
            "a run happens on the date it is about, so `start_date` is when the first run starts. It is the other way:"
            " `start_date` is the first day to load, and its run starts when that day is over.",
            lambda: one_task(start_date=utc("2013-01-02"), end_date=utc("2013-01-06"), catchup=True),
        ),
        Belief(
            "end-is-last-start",
            "`end_date` is when the last run starts. It is the last day that is loaded, one day before that.",
            lambda: one_task(start_date=utc("2013-01-01"), end_date=utc("2013-01-06"), catchup=True),
        ),
        Belief(
            "makes-up-by-itself",
            "a DAG that is switched on late makes up for the days it missed. It does so only with `catchup=True`.",
            lambda: one_task(start_date=utc("2013-01-01"), end_date=utc("2013-01-05")),
        ),
    ),
    hints=(
        "Which day is the run about that starts on 2 January at midnight?",
        "`start_date` and `end_date` are compared with the day that a run is about, not with the time it starts.",
        "What does the DAG do about days that passed before it was switched on? `catchup` decides.",
    ),
    misconceptions=(1, 4),
)


# --- what "@daily" means ----------------------------------------------------------------------------------------------


def whole_days() -> DAG:
    schedule = CronDataIntervalTimetable("@daily", timezone="UTC")
    with DAG("whole_days", schedule=schedule, start_date=datetime(2013, 1, 1, tzinfo=UTC), catchup=True) as dag:
        EmptyOperator(task_id="load")
    return dag


def whole_days_start() -> DAG:
    with DAG("whole_days", start_date=datetime(2013, 1, 1, tzinfo=UTC), catchup=True) as dag:
        EmptyOperator(task_id="load")
    return dag


def play_settings(make: Callable[[], DAG], timeline: Timeline) -> Iterator[str]:
    """Make the DAG under each step's settings, and run it for two days."""
    for step in timeline.steps:
        with settings(step.given), Lab(start="2013-01-01") as lab:
            lab.add(make()).run_until("2013-01-03 12:00")
            yield intervals_run(lab)


WHOLE_DAY = Exercise(
    id="03-whole-day",
    tier="target",
    kind="function",
    asked="Write a function `whole_days()` that makes a DAG whose runs load whole days (UTC) from 1 January 2013 on,"
    " with catch-up.\nIt must do so with our settings and with the defaults of Airflow 3.",
    play=play_settings,
    timelines=(
        Timeline("our settings", (Step("ours", "create_cron_data_intervals = True", DEFAULTS),)),
        Timeline("Airflow 3's defaults", (Step("Airflow 3", "create_cron_data_intervals = False", AIRFLOW_3),)),
    ),
    start=whole_days_start,
    solution=whole_days,
    why="A timetable says what it means. `@daily` is a name for a cron, and a setting decides whether its runs have a"
    " data interval.",
    beliefs=(
        Belief(
            "daily-is-a-day",
            "`@daily` always means an interval of 24 hours. By Airflow 3's defaults a run of it is about an instant:"
            " its interval has no length, and a query between start and end finds no rows.",
            lambda: one_task(start_date=utc("2013-01-01"), catchup=True),
        ),
        Belief(
            "interval-by-hand",
            "a trigger timetable with `interval=timedelta(days=1)` is the same. Its runs do have intervals, but it"
            " starts at the start date, about the day before.",
            lambda: one_task(schedule=DAY_BEFORE, start_date=FIRST, catchup=True),
        ),
    ),
    hints=(
        "Compare `data_interval_start` and `data_interval_end` of a run under both settings.",
        "`schedule` takes a timetable too. Which of them has data intervals in its name?",
    ),
    misconceptions=(2,),
)


# --- start_date is not when it first runs -----------------------------------------------------------------------------


def steady(now: datetime) -> DAG:
    with DAG("steady", schedule="@daily", start_date=datetime(2013, 1, 1, tzinfo=UTC)) as dag:
        EmptyOperator(task_id="load")
    return dag


def steady_start(now: datetime) -> DAG:
    with DAG("steady") as dag:
        EmptyOperator(task_id="load")
    return dag


def play_reading_again(make: Callable[[datetime], DAG], timeline: Timeline) -> Iterator[str]:
    """Every six hours the DAG file is read again, as a scheduler does; after each step the days that were loaded."""
    with Lab(start="2012-12-31 06:00") as lab:
        for step in timeline.steps:
            while lab.now < utc(step.given):
                lab.add(dag := make(lab.now)).advance(hours=6)
            yield f"{days_run(lab)}; next run {lab.next_run(dag)}"


START_DATE = Exercise(
    id="03-start-date",
    tier="target",
    kind="function",
    asked="Write a function `steady(now)` that makes a daily DAG (UTC) whose first day is 1 January 2013.\n"
    "The scheduler reads a DAG file again and again; so the function is called every six hours, with the time it is.",
    play=play_reading_again,
    timelines=(
        Timeline("the first days", at("2013-01-01 12:00", "2013-01-02 12:00", "2013-01-03 12:00")),
        Timeline("a week", at("2013-01-08"), hidden=True),
    ),
    start=steady_start,
    solution=steady,
    why="The file is read many times, and each time it must describe the same DAG. A date that moves with the clock"
    " moves the next run along.",
    beliefs=(
        Belief(
            "start-is-now",
            "`start_date` is when a DAG first runs, so now is fine. A run starts one interval after `start_date`; as"
            " the file is read again, that moment moves away for ever.",
            lambda now: one_task(start_date=now),
        ),
        Belief(
            "start-is-yesterday",
            "a `start_date` that is always yesterday is as good as a fixed one. It moves too: what the DAG loads first"
            " depends on when somebody looked.",
            lambda now: one_task(start_date=now - timedelta(days=1)),
        ),
    ),
    hints=(
        "When does the first run start, if `start_date` is now? And what is `start_date` by then?",
        "Do you need `now` at all?",
    ),
    misconceptions=(3,),
)


# --- catch-up ---------------------------------------------------------------------------------------------------------


def runs_at_once(catchup: bool, hours: int) -> int:
    days = hours // 24
    return days if catchup else min(days, 1)


def runs_at_once_start(catchup: bool, hours: int) -> Any:
    return ...


def runs_none_old(catchup: bool, hours: int) -> int:
    return hours // 24 if catchup else 0


def runs_the_begun_day_too(catchup: bool, hours: int) -> int:
    days = -(-hours // 24)
    return days if catchup else min(days, 1)


def play_switching_on(count: Callable[[bool, int], int], timeline: Timeline) -> Iterator[str]:
    """How many runs are foretold for each step."""
    for step in timeline.steps:
        yield f"{count(*step.given)!r}"


def switched_on(catchup: bool, *hours: int) -> tuple[Step, ...]:
    """Steps that switch a DAG on, so many hours after its start date."""
    return tuple(Step(f"after {each} h", f"switched on with catchup={catchup}", (catchup, each)) for each in hours)


CATCH_UP = Exercise(
    id="03-catch-up",
    tier="target",
    kind="function",
    asked="Write a function `runs_at_once(catchup, hours)`. A daily DAG (UTC) has its `start_date` at a midnight, and"
    " is switched\non for the first time so many hours later.\nHow many runs does the scheduler start at once?",
    play=play_switching_on,
    timelines=(
        Timeline("with catch-up", switched_on(True, 12, 24, 84)),
        Timeline("without catch-up", switched_on(False, 12, 24, 84)),
        Timeline("a month late", (*switched_on(True, 0, 743), *switched_on(False, 0, 743)), hidden=True),
    ),
    start=runs_at_once_start,
    solution=runs_at_once,
    why="With catch-up, a run for each day that is over. Without it still one: for the newest day that is over.",
    beliefs=(
        Belief(
            "nothing-old",
            "`catchup=False` runs nothing old. It runs the newest interval that is over, at once, however long ago the"
            " DAG should have begun.",
            runs_none_old,
        ),
        Belief(
            "begun-counts",
            "the day that has begun gets its run too. That one starts when the day is over.",
            runs_the_begun_day_too,
        ),
    ),
    hints=(
        "Try it: `Lab(start=...)` at several times, `lab.add(dag).run_until()`, and count `lab.runs()`.",
        "How many whole days lie between the two instants? And how many of them does `catchup=False` leave?",
    ),
    misconceptions=(4,),
)


# --- cron and timedelta -----------------------------------------------------------------------------------------------


def half_hours(start_date: datetime) -> DAG:
    with DAG("half_hours", schedule="*/30 * * * *", start_date=start_date, catchup=True) as dag:
        EmptyOperator(task_id="load")
    return dag


def half_hours_start(start_date: datetime) -> DAG:
    with DAG("half_hours", start_date=start_date, catchup=True) as dag:
        EmptyOperator(task_id="load")
    return dag


def play_start_dates(make: Callable[[datetime], DAG], timeline: Timeline) -> Iterator[str]:
    """The times at which runs start in the first two hours, for each step's start date."""
    for step in timeline.steps:
        with Lab(start=step.given) as lab:
            lab.add(make(utc(step.given))).advance(hours=2)
            yield listing(short(run.start_date)[11:] for run in lab.store.runs())


HALF_HOURS = Exercise(
    id="03-half-hours",
    tier="enough",
    kind="function",
    asked="Write a function `half_hours(start_date)` that makes a DAG with this start date, with catch-up.\n"
    "Its runs must start at every full and every half hour of the clock.",
    play=play_start_dates,
    timelines=(
        Timeline("a full hour", (Step("09:00", "the start date", "2013-01-01 09:00"),)),
        Timeline("ten past", (Step("09:10", "the start date", "2013-01-01 09:10"),)),
        Timeline("before midnight", (Step("23:35", "the start date", "2013-01-01 23:35"),), hidden=True),
    ),
    start=half_hours_start,
    solution=half_hours,
    why="A cron names times on the clock. A timedelta is counted from the start date, and keeps its minutes for ever.",
    beliefs=(
        Belief(
            "delta-is-cron",
            "`timedelta(minutes=30)` equals `*/30 * * * *`. They agree only if the start date happens to lie on a half"
            " hour: a timedelta is counted from there.",
            lambda start_date: one_task(schedule=timedelta(minutes=30), start_date=start_date, catchup=True),
        ),
        Belief(
            "thirty-means-every",
            "`30 * * * *` means every 30 minutes. It means at minute 30 of every hour; every 30 minutes is `*/30`.",
            lambda start_date: one_task(schedule="30 * * * *", start_date=start_date, catchup=True),
        ),
    ),
    hints=(
        "From where is a timedelta counted? Move the start date by ten minutes and see.",
        "`*/30` in the first field of a cron means: every minute that can be divided by 30.",
    ),
    misconceptions=(7,),
)


# --- a run by hand ----------------------------------------------------------------------------------------------------


def covers(triggered_at: datetime) -> Interval:
    end = triggered_at.replace(hour=0, minute=0, second=0, microsecond=0)
    return end - timedelta(days=1), end


def covers_start(triggered_at: datetime) -> Interval:
    return triggered_at, triggered_at


def covers_today(triggered_at: datetime) -> Interval:
    start = triggered_at.replace(hour=0, minute=0)
    return start, start + timedelta(days=1)


def covers_24_hours(triggered_at: datetime) -> Interval:
    return triggered_at - timedelta(days=1), triggered_at


def covers_until_now(triggered_at: datetime) -> Interval:
    return triggered_at.replace(hour=0, minute=0), triggered_at


def play_triggers(covers: Callable[[datetime], Interval], timeline: Timeline) -> Iterator[str]:
    """The interval that is foretold for each trigger."""
    for step in timeline.steps:
        start, end = covers(utc(step.at))
        yield f"{short(start)} to {short(end)}"


MANUAL = Exercise(
    id="03-manual",
    tier="target",
    kind="function",
    asked="Write a function `covers(triggered_at)`. Somebody triggers a daily DAG (UTC) by hand at that instant."
    " Return the\nstart and the end of the data interval that the run gets.",
    play=play_triggers,
    timelines=(
        Timeline("in the morning", (Step("2013-01-05 09:30", "triggered by hand"),)),
        Timeline(
            "at the edges of the day",
            (Step("2013-01-05 00:00", "triggered by hand"), Step("2013-01-05 23:59", "triggered by hand")),
            hidden=True,
        ),
    ),
    start=covers_start,
    solution=covers,
    why="A run by hand gets the newest interval that is over, as if it were the scheduled one.",
    beliefs=(
        Belief(
            "covers-today",
            "a manual run covers today. Today is not over; the run gets the newest interval that is, which is"
            " yesterday.",
            covers_today,
        ),
        Belief(
            "covers-until-now",
            "a manual run covers today so far. Its interval is one of the schedule's, and those are whole days.",
            covers_until_now,
        ),
        Belief(
            "covers-24-hours",
            "a manual run covers the last 24 hours. Its interval is one of the schedule's: midnight to midnight.",
            covers_24_hours,
        ),
    ),
    hints=(
        "Try it: `Lab(start=...)`, `lab.trigger()`, and look at `lab.runs()`.",
        "Which day was the last to be over?",
    ),
    misconceptions=(6,),
)


# --- the clock changes ------------------------------------------------------------------------------------------------


def new_york_days(first_day: str) -> DAG:
    start = datetime.fromisoformat(first_day).replace(tzinfo=ZoneInfo("America/New_York"))
    with DAG("new_york_days", schedule="@daily", start_date=start, catchup=True) as dag:
        EmptyOperator(task_id="load")
    return dag


def new_york_days_start(first_day: str) -> DAG:
    with DAG("new_york_days", catchup=True) as dag:
        EmptyOperator(task_id="load")
    return dag


def play_first_days(make: Callable[[str], DAG], timeline: Timeline) -> Iterator[str]:
    """The intervals of the three days from each step's day on, on New York's clock."""
    for step in timeline.steps:
        with Lab(start=f"{step.given}T00:00-05:00") as lab:
            lab.add(make(step.given)).advance(days=3, hours=2)
            yield intervals_run(lab, NEW_YORK)


NEW_YORK_DAYS = Exercise(
    id="03-clock-change",
    tier="stretch",
    kind="function",
    asked="Write a function `new_york_days(first_day)`, called with a text such as '2013-03-08'. It makes a DAG, with"
    " catch-up,\nwhose runs load whole days of New York from this one on: midnight to midnight there, all the year.",
    play=play_first_days,
    timelines=(
        Timeline("winter", (Step("2013-01-01", "the first day", "2013-01-01"),)),
        Timeline("clocks go forward", (Step("2013-03-09", "the first day", "2013-03-09"),)),
        Timeline("clocks go back", (Step("2013-11-02", "the first day", "2013-11-02"),), hidden=True),
    ),
    start=new_york_days_start,
    solution=new_york_days,
    why="A cron is read on the clock of the start date's time zone. A day there has 23 hours when the clocks go forward"
    " and 25 when they go back; the intervals follow.",
    beliefs=(
        Belief(
            "midnight-is-midnight",
            "midnight is the same everywhere. A cron is read in the time zone of `start_date`; in UTC it cuts New"
            " York's day at seven or eight in the evening.",
            lambda first_day: one_task(start_date=utc(first_day), catchup=True),
        ),
        Belief(
            "five-hours-behind",
            "New York is five hours behind UTC. In summer it is four, and a schedule with a fixed difference cuts each"
            " day an hour late.",
            lambda first_day: one_task(schedule="0 5 * * *", start_date=utc(first_day), catchup=True),
        ),
        Belief(
            "24-hours",
            "a day has 24 hours. On two days of the year it has 23 or 25, and after the first of them every interval"
            " begins at the wrong hour.",
            lambda first_day: one_task(schedule=timedelta(days=1), start_date=new_york(first_day), catchup=True),
        ),
    ),
    hints=(
        "In which time zone is a cron read?",
        '`zoneinfo.ZoneInfo("America/New_York")` is a time zone; a datetime takes it as `tzinfo`.',
        "Look at the length of the interval of 10 March 2013.",
    ),
    misconceptions=(8,),
)


# --- predictions ------------------------------------------------------------------------------------------------------


def see_days() -> Seen:
    with Lab(start="2013-01-01") as lab:
        lab.add(one_task(start_date=FIRST, catchup=True)).run_until("2013-01-03 12:00")
        return Seen(days_run(lab), intervals_run(lab))


def see_lengths() -> Seen:
    with settings(AIRFLOW_3), Lab(start="2013-01-01") as lab:
        lab.add(one_task(start_date=FIRST, catchup=True)).run_until("2013-01-02 12:00")
        last = lab.store.runs()[-1]
        hours = (last.data_interval_end - last.data_interval_start) // timedelta(hours=1)  # type: ignore[operator]
        return Seen(hours, intervals_run(lab))


def see_moving_start() -> Seen:
    with Lab(start="2013-01-01 06:00") as lab:
        next_runs = []
        for _ in range(8):
            lab.add(dag := one_task(start_date=lab.now))
            next_runs.append(f"{short(lab.now)}  next run {lab.next_run(dag)}")
            lab.advance(hours=12)
        return Seen(len(lab.store.runs()), "\n".join(next_runs))


def see_late_start() -> Seen:
    with Lab(start="2013-01-31 12:00") as lab:
        lab.add(one_task(start_date=FIRST, catchup=False)).run_until()
        return Seen(len(lab.store.runs()), intervals_run(lab))


def see_half_hours() -> Seen:
    start = utc("2013-01-01 09:10")
    with Lab(start=start) as lab:
        lab.add(one_task(schedule=timedelta(minutes=30), start_date=start, catchup=True)).advance(hours=2)
        return Seen(short(lab.store.runs()[0].start_date)[11:], intervals_run(lab))


def see_trigger() -> Seen:
    with Lab(start="2013-01-05 09:30") as lab:
        lab.add(one_task(start_date=FIRST)).trigger()
        run = lab.store.runs()[-1]
        return Seen(f"{run.data_interval_start:%d}", f"{run.run_type}: {intervals_run(lab).splitlines()[-1]}")


def see_clock_change() -> Seen:
    start = datetime(2013, 3, 9, tzinfo=NEW_YORK)
    with Lab(start=start) as lab:
        lab.add(one_task(start_date=start, catchup=True)).advance(days=3)
        run = lab.store.runs()[1]
        hours = (run.data_interval_end - run.data_interval_start) // timedelta(hours=1)  # type: ignore[operator]
        return Seen(hours, intervals_run(lab, NEW_YORK))


PREDICTIONS = [
    Prediction(
        "03-when",
        "A daily DAG starts with 1 January 2013, with catch-up. It is 3 January, noon. Which days has it run for?",
        {
            "a": Choice(
                "1, 2 and 3 January", "2013-01-01, 2013-01-02, 2013-01-03", "a run happens on the date it is about."
            ),
            "b": Choice(
                "1 and 2 January", "2013-01-01, 2013-01-02", "a run starts when what it is about is over, which is so."
            ),
            "c": Choice("2 and 3 January", "2013-01-02, 2013-01-03", "a run is named after the day it starts on."),
        },
        see_days,
        "The run about a day starts when the day is over: only then is all of its data there.",
        (1,),
    ),
    Prediction(
        "03-daily",
        "The same DAG under the defaults of Airflow 3. How many hours does the data interval of a run have?",
        {
            "a": Choice("24", 24, "`@daily` always means an interval of 24 hours."),
            "b": Choice("0", 0, "a setting decides whether a cron makes intervals, which is so."),
        },
        see_lengths,
        "`@daily` names a cron. By Airflow 3's defaults its runs are about an instant, and a query from start to end of"
        " the interval finds no rows.",
        (2,),
    ),
    Prediction(
        "03-start-now",
        "A daily DAG has start_date = now, and its file is read again every twelve hours. How many runs in four days?",
        {
            "a": Choice("4", 4, "`start_date` is when it first runs, and then it goes on from there."),
            "b": Choice("3", 3, "it only begins a day late."),
            "c": Choice("0", 0, "each reading moves the first run away, which is so."),
        },
        see_moving_start,
        "The first run starts one interval after `start_date`. The next reading of the file moves both.",
        (3,),
    ),
    Prediction(
        "03-late",
        "A daily DAG from 1 January, with catchup=False, is switched on on 31 January at noon. How many runs at once?",
        {
            "a": Choice("30", 30, "`start_date` is made up for in any case."),
            "b": Choice("1", 1, "the newest interval that is over is run, which is so."),
            "c": Choice("0", 0, "`catchup=False` runs nothing old."),
        },
        see_late_start,
        "Without catch-up all days before the newest are passed over; yesterday is run, at once.",
        (4,),
    ),
    Prediction(
        "03-ten-past",
        "schedule=timedelta(minutes=30), start_date at 09:10. When does the first run start?",
        {
            "a": Choice("at 09:30", "09:30", "`timedelta(minutes=30)` equals `*/30 * * * *`."),
            "b": Choice("at 09:40", "09:40", "a timedelta is counted from the start date, which is so."),
            "c": Choice("at 09:10", "09:10", "`start_date` is when it first runs."),
        },
        see_half_hours,
        "A timedelta knows nothing of clocks. It is counted from the start date.",
        (7,),
    ),
    Prediction(
        "03-by-hand",
        "A daily DAG is triggered by hand on 5 January at 09:30. Which day is the run about?",
        {
            "a": Choice("5 January", "05", "a manual run covers today."),
            "b": Choice("4 January", "04", "it gets the newest interval that is over, which is so."),
            "c": Choice("6 January", "06", "it is made ahead for the next day."),
        },
        see_trigger,
        "A run by hand looks for the newest interval that is over.",
        (6,),
    ),
    Prediction(
        "03-spring",
        "Clocks go forward in New York on 10 March 2013. How long is the interval of a daily DAG there on that day?",
        {
            "a": Choice("24 hours", 24, "a cron is clock time, so a day always has 24 hours."),
            "b": Choice("23 hours", 23, "an interval is as long as the day really was, which is so."),
            "c": Choice("25 hours", 25, "clocks that go forward make the day longer."),
        },
        see_clock_change,
        "From midnight to midnight on the wall, 23 hours passed. A query with a fixed 24 hours takes one of the next"
        " day.",
        (8,),
    ),
]

EXERCISES = [FIRST_RUN, HALF_HOURS, WHOLE_DAY, START_DATE, CATCH_UP, MANUAL, NEW_YORK_DAYS]
