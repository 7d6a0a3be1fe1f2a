"""When a DAG runs, and which stretch of time each run is about.

A schedule is an endless row of *ticks*: the instants that a cron expression names, or every so-and-so long. A
timetable turns ticks into runs, in one of two ways:

* **data intervals** (`CronDataIntervalTimetable`, `DeltaDataIntervalTimetable`): a run covers the time from one tick
  to the next, so it can start only when that time is over. *A run for day D starts when D is over*: the data of D are
  complete only then. Its label, the *logical date*, is the start of the interval.
* **triggers** (`CronTriggerTimetable`, `DeltaTriggerTimetable`): a run starts at each tick and covers nothing, or the
  `interval` before the tick if one is given. This is what cron itself does.

A DAG that loads one day's data, starts on 10 August at 02:00, has catch-up on and is switched on in the evening of
the 13th gets three runs at once. The run labelled 13 August comes when that day is over, on the 14th at 02:00:

>>> from datetime import UTC, datetime
>>> daily = CronDataIntervalTimetable("0 2 * * *", "UTC")
>>> start, switched_on = datetime(2020, 8, 10, 2, tzinfo=UTC), datetime(2020, 8, 13, 20, tzinfo=UTC)
>>> for run in daily.iter_dagrun_infos_between(start, switched_on):
...     print(f"{run.logical_date:%d %b} starts {run.run_after:%d %b %H:%M}", run.run_after <= switched_on)
10 Aug starts 11 Aug 02:00 True
11 Aug starts 12 Aug 02:00 True
12 Aug starts 13 Aug 02:00 True
13 Aug starts 14 Aug 02:00 False

Nothing here asks what time it is. With catch-up off, what to run depends on the present, so the present is handed in:
`TimeRestriction(earliest, latest, catchup=False, now=...)`. Every instant that comes out is a plain `datetime` in UTC;
what goes in may be in any time zone but must name one.

**Time zones and clock changes.** Cron names wall-clock times, and twice a year the wall clock jumps. Two rules, both
Airflow's:

1. A time that the clock skips is moved on by the length of the gap; of a time that comes twice, the second counts.
2. A cron whose hour field is `*` goes by elapsed time instead, so that the repeated hour has its own runs.

So intervals follow each other without gap or overlap over a clock change too, with two exceptions that are Airflow's
own: a cron with several ticks within the skipped time, such as `*/30 0-3 * * *`, and one whose hour field is `*` where
the clock changes by half an hour (Lord Howe) or on a day between its ticks.

The day that the clock goes forward in New York has 23 hours, and its interval too:

>>> new_york = CronDataIntervalTimetable("@daily", "America/New_York")
>>> sunday = new_york.infer_manual_data_interval(run_after=datetime(2024, 3, 11, 12, tzinfo=UTC))
>>> str(sunday.start), str(sunday.end), str(sunday.end - sunday.start)
('2024-03-10 05:00:00+00:00', '2024-03-11 04:00:00+00:00', '23:00:00')

Names, arguments and answers are those of `airflow.timetables` (3.3); a timetable written for Airflow works here
once its imports are changed.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeAlias
from zoneinfo import ZoneInfo, available_timezones

from etlkit.errors import TimetableError, nearest

if TYPE_CHECKING:
    from croniter import croniter
    from dateutil.relativedelta import relativedelta

    from etlkit.assets import BaseAsset

    Delta: TypeAlias = timedelta | relativedelta

__all__ = [
    "ContinuousTimetable",
    "CronDataIntervalTimetable",
    "CronTriggerTimetable",
    "DagRunInfo",
    "DataInterval",
    "DeltaDataIntervalTimetable",
    "DeltaTriggerTimetable",
    "EventsTimetable",
    "MultipleCronTriggerTimetable",
    "NullTimetable",
    "OnceTimetable",
    "TimeRestriction",
    "Timetable",
    "as_utc",
    "cron_presets",
    "parse_timezone",
    "timetable_for",
]

cron_presets: dict[str, str] = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@quarterly": "0 0 1 */3 *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
"""Names for common crons. `@once` and `@continuous` are no crons: see `timetable_for`."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


# ---------------------------------------------------------------- instants


def as_utc(when: datetime, what: str = "date") -> datetime:
    """The same instant as a plain `datetime` in UTC; `what` names it in the error if it has no time zone.

    >>> as_utc(datetime(2024, 1, 1, 9, tzinfo=ZoneInfo("Asia/Seoul")))
    datetime.datetime(2024, 1, 1, 0, 0, tzinfo=datetime.timezone.utc)
    >>> as_utc(datetime(2024, 1, 1), "start_date")
    Traceback (most recent call last):
    etlkit.errors.TimetableError: start_date 2024-01-01 00:00:00 has no time zone; give it one, for example tzinfo=UTC
    """
    if type(when) is datetime and when.tzinfo is UTC:
        return when
    if not isinstance(when, datetime):
        raise TimetableError(f"{what} {when!r} is not a datetime; write for example datetime(2024, 1, 31, tzinfo=UTC)")
    if when.utcoffset() is None:
        raise TimetableError(f"{what} {when} has no time zone; give it one, for example tzinfo=UTC")
    utc = when.astimezone(UTC)
    return datetime.combine(utc.date(), utc.time(), UTC)  # without what pendulum or pandas add to a datetime


def parse_timezone(timezone: str | tzinfo) -> tzinfo:
    """The time zone of an IANA name such as "Asia/Seoul"; a tzinfo of any library is taken over.

    >>> parse_timezone("Asia/Seoul")
    zoneinfo.ZoneInfo(key='Asia/Seoul')
    >>> parse_timezone("Asia/Soul")
    Traceback (most recent call last):
    etlkit.errors.TimetableError: no time zone is called 'Asia/Soul'; did you mean 'Asia/Seoul'?
    """
    # pendulum's and zoneinfo's zones carry their name as `key`, pytz's as `zone`: equal zones become equal objects
    name = timezone if isinstance(timezone, str) else getattr(timezone, "key", None) or getattr(timezone, "zone", None)
    if name is None and isinstance(timezone, tzinfo):
        return timezone
    if not isinstance(name, str):
        raise TimetableError(f"{timezone!r} is not a time zone; give a name such as 'Asia/Seoul', or a tzinfo")
    return UTC if name.upper() == "UTC" else _zone(name)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown; not a name at all; a folder of the time zone database
        near = nearest(name, sorted(available_timezones())) or "; names are like 'Asia/Seoul' or 'UTC'"
        raise TimetableError(f"no time zone is called {name!r}{near}") from None


# ---------------------------------------------------------------- what goes in and comes out


class DataInterval(NamedTuple):
    """The stretch of time that a run is about, in UTC: from `start` on, up to but not including `end`."""

    start: datetime
    end: datetime

    @classmethod
    def exact(cls, at: datetime) -> DataInterval:
        """An interval of no length, for a run that is about no stretch of time."""
        return cls(at, at)


class DagRunInfo(NamedTuple):
    """A run that a timetable wants: it may start from `run_after` on and is about `data_interval`."""

    run_after: datetime
    data_interval: DataInterval

    @classmethod
    def exact(cls, at: datetime) -> DagRunInfo:
        """A run at an instant, about that instant."""
        return cls(at, DataInterval.exact(at))

    @classmethod
    def interval(cls, start: datetime, end: datetime) -> DagRunInfo:
        """A run about the time from `start` to `end`, possible as soon as that is over."""
        return cls(end, DataInterval(start, end))

    @property
    def logical_date(self) -> datetime:
        """The label of the run, Airflow's name for it: the *start* of what it is about, not when it runs."""
        return self.data_interval.start


class TimeRestriction(NamedTuple):
    """What the DAG allows: `start_date` and `end_date` (both included, None for no bound) and `catchup`.

    With `catchup=False`, runs that are older than the newest possible one are left out. Which that is depends on the
    present, `now`. Airflow's timetables look at the clock instead.
    """

    earliest: datetime | None
    latest: datetime | None
    catchup: bool
    now: datetime | None = None

    def in_utc(self) -> TimeRestriction:
        """The same with plain UTC instants; TimetableError for one that has no time zone."""
        return TimeRestriction(
            self.earliest and as_utc(self.earliest, "earliest date"),
            self.latest and as_utc(self.latest, "latest date"),
            self.catchup,
            self.now and as_utc(self.now, "present time"),
        )

    def present(self) -> datetime:
        """`now`, or TimetableError if it was not handed in."""
        if self.now is None:
            raise TimetableError("without catch-up or a start date, a timetable needs TimeRestriction(..., now=...)")
        return self.now


# ---------------------------------------------------------------- ticks


class Ticks(Protocol):
    """An endless row of instants, all in UTC."""

    @property
    def arguments(self) -> list[str]:
        """What a timetable shows of these ticks between its parentheses."""

    def after(self, at: datetime) -> datetime:
        """The first tick later than `at`."""

    def before(self, at: datetime) -> datetime:
        """The last tick earlier than `at`."""

    def at_or_after(self, at: datetime) -> datetime:
        """`at` if it is a tick, else the first one later."""

    def at_or_before(self, at: datetime) -> datetime:
        """`at` if it is a tick, else the last one earlier."""

    def newest_complete(self, now: datetime, anchor: datetime) -> datetime:
        """The start of the newest interval that is over by `now`, on the row that passes through `anchor`."""


@dataclass(frozen=True)
class CronTicks:
    """The instants that a cron expression names on the wall clock of a time zone.

    Five fields (minute, hour, day of month, month, day of week), or six with the seconds last. A day of month *and* a
    day of week together mean either of them, as in cron.

    >>> ticks = CronTicks("0 6 * * mon-fri", ZoneInfo("Asia/Seoul"))
    >>> str(ticks.after(datetime(2024, 3, 1, 12, tzinfo=UTC)))  # a Friday; Monday 06:00 in Seoul is Sunday in UTC
    '2024-03-03 21:00:00+00:00'
    """

    expression: str
    zone: tzinfo

    def __post_init__(self) -> None:
        _tick(self.expression, UTC, _EPOCH, "after")  # an expression that cannot be read or never fires raises here

    def __str__(self) -> str:
        return self.expression

    @property
    def arguments(self) -> list[str]:
        return [repr(self.expression), f"timezone={str(self.zone)!r}"]

    def after(self, at: datetime) -> datetime:
        return _tick(self.expression, self.zone, at, "after")

    def before(self, at: datetime) -> datetime:
        return _tick(self.expression, self.zone, at, "before")

    def at_or_after(self, at: datetime) -> datetime:
        following = self.after(at)
        return at if self.before(following) == at else following

    def at_or_before(self, at: datetime) -> datetime:
        preceding = self.before(at)
        return at if self.after(preceding) == at else preceding

    def newest_complete(self, now: datetime, anchor: datetime) -> datetime:
        return self.before(self.at_or_before(now))


Side: TypeAlias = Literal["after", "before"]


@lru_cache(maxsize=4096)  # a walk along the ticks asks for each of them two or three times
def _tick(expression: str, zone: tzinfo, at: datetime, side: Side) -> datetime:
    wall = at.astimezone(zone).replace(tzinfo=None)
    try:
        found = _search(expression, wall, side)
    except OverflowError:
        found = None
    if found is None:
        raise TimetableError(f"cron {expression!r} names no date {side} {at:%Y-%m-%d}; correct its date fields")
    if _parse(expression).expanded[1] == ["*"]:  # every hour: by elapsed time
        return at + (found - wall)
    return _second_reading(found, zone)


def _search(expression: str, wall: datetime, side: Side) -> datetime | None:
    """The nearest wall-clock time that the fields name, or None."""
    from croniter import CroniterBadDateError

    if times := _times_of_day(expression):
        return _nearest_time_of_day(times, wall, side)
    cron = copy(_parse(expression))  # a croniter remembers its place: one of our own, so that threads do not meet
    search = cron.get_next if side == "after" else cron.get_prev
    try:
        return search(datetime, start_time=wall)
    except CroniterBadDateError:
        return None


def _nearest_time_of_day(times: list[timedelta], wall: datetime, side: Side) -> datetime:
    """What `_search` finds for a cron that is the same every day, ten times faster."""
    midnight = wall.replace(hour=0, minute=0, second=0, microsecond=0)
    if side == "after":
        days, index = divmod(bisect_right(times, wall - midnight), len(times))
    else:
        days, index = divmod(bisect_left(times, wall - midnight) - 1, len(times))
    return midnight + timedelta(days) + times[index]


@lru_cache(maxsize=256)
def _times_of_day(expression: str) -> list[timedelta]:
    """The times since midnight of a cron that is the same every day; nothing for any other."""
    cron = _parse(expression)
    minutes, hours, *rest = cron.expanded
    if rest != [["*"]] * 3 or cron.nth_weekday_of_month:
        return []
    minutes = range(60) if minutes == ["*"] else minutes
    hours = range(24) if hours == ["*"] else hours
    return sorted({timedelta(hours=hour, minutes=minute) for hour in hours for minute in minutes})


@lru_cache(maxsize=256)
def _parse(expression: str) -> croniter:
    from croniter import CroniterError, croniter

    if re.search(r"(^|[\s,])r", expression, re.IGNORECASE):
        raise TimetableError(f"cron {expression!r} has a random field, which would differ each time; write a number")
    try:
        return croniter(expression, _EPOCH, max_years_between_matches=130)  # a seventh field names years, to 2099
    except (CroniterError, TypeError, AttributeError) as error:
        raise TimetableError(f"cron {expression!r} cannot be read: {error}") from None


def _second_reading(wall: datetime, zone: tzinfo) -> datetime:
    """The instant of a wall-clock time: of one that comes twice the second, of one that is skipped a gap later.

    Both are the later of the two instants that `datetime.fold` tells apart (PEP 495).
    """
    if zone is UTC:
        return wall.replace(tzinfo=UTC)
    return max(wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))


@dataclass(frozen=True)
class DeltaTicks:
    """Instants at equal distances: a timedelta, or a relativedelta such as one month.

    Adding months is done step by step, as Airflow does it, so the day of the month drifts to the shortest one passed:

    >>> from dateutil.relativedelta import relativedelta
    >>> ticks, at = DeltaTicks(relativedelta(months=1)), datetime(2024, 1, 31, tzinfo=UTC)
    >>> f"{ticks.after(at):%d %b}", f"{ticks.after(ticks.after(at)):%d %b}"
    ('29 Feb', '29 Mar')
    """

    delta: Delta

    def __post_init__(self) -> None:
        _require_delta(self.delta)
        if _EPOCH + self.delta <= _EPOCH:
            raise TimetableError(f"a schedule every {self.delta!r} does not go forward; give a length above zero")

    def __str__(self) -> str:
        return str(self.delta)

    @property
    def arguments(self) -> list[str]:
        return [repr(self.delta)]

    def after(self, at: datetime) -> datetime:
        following = at + self.delta
        if following <= at:  # relativedelta(day=31) is the last day of the month, over and over
            raise TimetableError(f"a schedule every {self.delta!r} gets stuck at {at}; a cron can name days")
        return following

    def before(self, at: datetime) -> datetime:
        return at - self.delta

    def at_or_after(self, at: datetime) -> datetime:
        return at  # any instant can be on the row: it starts where the DAG starts

    at_or_before = at_or_after

    def newest_complete(self, now: datetime, anchor: datetime) -> datetime:
        return self.before(self._latest_boundary(now, anchor))

    def _latest_boundary(self, now: datetime, anchor: datetime) -> datetime:
        """Multiples of a fixed length are counted from 1970, Airflow's choice; months only have the anchor to go by."""
        if isinstance(self.delta, timedelta) or not (self.delta.months or self.delta.years):
            return now - (now - _EPOCH) % (_EPOCH + self.delta - _EPOCH)
        boundary = anchor
        while (following := self.after(boundary)) <= now:
            boundary = following
        return boundary


def _require_delta(delta: Any) -> None:
    """TimetableError for what cannot be added to a date."""
    try:
        later = _EPOCH + delta
    except (TypeError, OverflowError):
        later = None
    if not isinstance(later, datetime):
        raise TimetableError(
            f"{delta!r} is not a length of time; give a timedelta or relativedelta, or a cron as a string"
        )


# ---------------------------------------------------------------- the timetables


class Timetable:
    """Base of all timetables, and what to subclass for one's own: two methods, both without side effects.

    >>> class NewYear(Timetable):
    ...     def next_dagrun_info(self, *, last_automated_data_interval, restriction):
    ...         last = last_automated_data_interval
    ...         year = last.end.year + 1 if last else restriction.earliest.year + 1
    ...         at = datetime(year, 1, 1, tzinfo=UTC)
    ...         return None if restriction.latest and at > restriction.latest else DagRunInfo.exact(at)
    ...     def infer_manual_data_interval(self, *, run_after):
    ...         return DataInterval.exact(run_after)
    >>> between = datetime(2024, 6, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)
    >>> [info.logical_date.year for info in NewYear().iter_dagrun_infos_between(*between)]
    [2025, 2026]
    """

    description: str = ""
    """One sentence for people."""
    periodic: bool = True
    """Whether the runs form a row in time; not so for None, @once and @continuous."""
    can_be_scheduled: bool = True
    """Whether the scheduler may ever create a run; not so for None."""
    active_runs_limit: int | None = None
    """The most `max_active_runs` that a DAG on this timetable may have, None for any."""
    starts_at_once: bool = False
    """Whether the next run is due as soon as one has ended."""
    asset_condition: BaseAsset | None = None
    """The assets whose new events make runs too, or alone; None for none: see `etlkit.assets`."""

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        """The run that follows the one about `last_automated_data_interval` (None: the first), or None for no more.

        The answer may lie in the future: the scheduler waits until its `run_after`. Manual runs do not count as last.
        TimetableError for an instant without time zone, a missing `now`, or a schedule that has no more dates.
        """
        raise NotImplementedError(f"{type(self).__name__} must define next_dagrun_info")

    def infer_manual_data_interval(self, *, run_after: datetime) -> DataInterval:
        """What a run is about that a person starts at `run_after`."""
        raise NotImplementedError(f"{type(self).__name__} must define infer_manual_data_interval")

    def validate(self) -> None:
        """Called once when the DAG is loaded; raise TimetableError here if a timetable of your own is misconfigured."""

    @property
    def summary(self) -> str:
        """A few words for tables and pages: the cron expression, say."""
        return type(self).__name__

    def iter_dagrun_infos_between(self, earliest: datetime, latest: datetime) -> Iterator[DagRunInfo]:
        """Walk the runs from `earliest` to `latest`, both included, whatever the DAG's own dates and catch-up say.

        This is how Airflow's backfill picks its runs. What lies in the range is the logical date; for a trigger with
        an `interval`, it is the tick. Runs of the future come too: the caller stops or filters at its own present.
        """
        restriction = TimeRestriction(earliest, latest, catchup=True).in_utc()
        last: DagRunInfo | None = None
        while info := self.next_dagrun_info(
            last_automated_data_interval=last and last.data_interval, restriction=restriction
        ):
            if info == last:
                raise TimetableError(f"{self!r} gives the run of {info.logical_date} twice; let it go forward")
            yield info
            last = info

    def __eq__(self, other: object) -> bool:
        return vars(self) == vars(other) if type(self) is type(other) else NotImplemented

    def __hash__(self) -> int:
        return hash((type(self), self.summary))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self._arguments())})"

    def _arguments(self) -> list[str]:
        return [f"{name}={value!r}" for name, value in vars(self).items()]


class _Aperiodic(Timetable):
    """What the timetables without a row of ticks have in common: a manual run is about the instant it is started."""

    periodic = False

    def infer_manual_data_interval(self, *, run_after: datetime) -> DataInterval:
        return DataInterval.exact(as_utc(run_after, "run_after"))


class NullTimetable(_Aperiodic):
    """`schedule=None`: only people and other DAGs start runs."""

    description = "never; started by hand or by another DAG"
    can_be_scheduled = False

    @property
    def summary(self) -> str:
        return "None"

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        return None


class OnceTimetable(_Aperiodic):
    """`schedule="@once"`: one run, at the start date or, without one, now."""

    description = "once, as soon as possible"

    @property
    def summary(self) -> str:
        return "@once"

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        if last_automated_data_interval is not None:
            return None
        allowed = restriction.in_utc()
        at = allowed.earliest or allowed.present()
        return None if allowed.latest and at > allowed.latest else DagRunInfo.exact(at)


class ContinuousTimetable(_Aperiodic):
    """`schedule="@continuous"`: a run as soon as the one before has ended, about the time since that one started.

    Airflow wants `max_active_runs=1` with it; `active_runs_limit` says so.
    """

    description = "again and again, one run at a time"
    active_runs_limit = 1
    starts_at_once = True

    @property
    def summary(self) -> str:
        return "@continuous"

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        allowed, last = restriction.in_utc(), _in_utc(last_automated_data_interval)
        now = allowed.present()
        start = allowed.earliest or now
        end = max(start, now)
        if last and last.end <= now:
            start, end = last.end, now
        elif last:  # the last run lies in the future, with the start date: once more as long as that one
            end = start + (last.end - last.start)
        return None if allowed.latest and end > allowed.latest else DagRunInfo.interval(start, end)

    def iter_dagrun_infos_between(self, earliest: datetime, latest: datetime) -> Iterator[DagRunInfo]:
        """Nothing: these runs have no dates until they happen."""
        return iter(())


class _DataIntervalTimetable(Timetable):
    """A run covers the time from one tick to the next and starts at its end."""

    def __init__(self, ticks: Ticks) -> None:
        self.ticks = ticks
        self.description = f"for each interval of {ticks}, when it is over"

    @property
    def summary(self) -> str:
        return str(self.ticks)

    def _arguments(self) -> list[str]:
        return self.ticks.arguments

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        allowed, last = restriction.in_utc(), _in_utc(last_automated_data_interval)
        possible = list(self._earliest_start(allowed))
        if last:  # on the row of this schedule, even if the last run was on another
            possible.append(self.ticks.at_or_before(last.end))
        if not possible:
            return None
        start = max(possible)
        if last and start <= last.start:
            start = self._past(last, start)
        if allowed.latest and start > allowed.latest:
            return None
        return DagRunInfo.interval(start, self.ticks.after(start))

    def _earliest_start(self, allowed: TimeRestriction) -> Iterator[datetime]:
        if allowed.earliest:
            yield self.ticks.at_or_after(allowed.earliest)
        if not allowed.catchup:
            yield self.ticks.newest_complete(allowed.present(), allowed.earliest or allowed.present())

    def _past(self, last: DataInterval, start: datetime) -> datetime:
        """One tick on: the last run, of a schedule that was changed since, already has this start as its label."""
        start = self.ticks.after(start)
        if start <= last.start:
            raise TimetableError(
                f"{self!r} does not get past {last.start}, where the clock change repeats a tick; name the hours in it"
            )
        return start

    def infer_manual_data_interval(self, *, run_after: datetime) -> DataInterval:
        """The last interval that is over at `run_after`."""
        end = self.ticks.at_or_before(as_utc(run_after, "run_after"))
        return DataInterval(self.ticks.before(end), end)


class CronDataIntervalTimetable(_DataIntervalTimetable):
    """A run about each stretch of time between two ticks of a cron, started when it is over.

    `schedule="@daily"` makes one of these unless `create_cron_data_intervals` is off. With catch-up off, the first run
    is about the newest interval that is over.
    """

    def __init__(self, cron: str, timezone: str | tzinfo) -> None:
        super().__init__(_cron_ticks(cron, timezone))


class DeltaDataIntervalTimetable(_DataIntervalTimetable):
    """A run about each stretch of time as long as `delta`, from the start date on, started when it is over.

    Without a start date and without catch-up, a fixed length is counted from 1970-01-01 UTC.
    """

    def __init__(self, delta: Delta) -> None:
        super().__init__(DeltaTicks(delta))


class _TriggerTimetable(Timetable):
    """A run starts at each tick and is about the `interval` before it, by default of no length."""

    def __init__(self, ticks: Ticks, interval: Delta) -> None:
        _require_delta(interval)
        if _EPOCH + interval < _EPOCH:
            raise TimetableError(f"an interval of {interval!r} ends before it starts; give a length of zero or more")
        self.ticks, self.interval = ticks, interval
        self.description = f"at each tick of {ticks}"

    @property
    def summary(self) -> str:
        return str(self.ticks)

    def _arguments(self) -> list[str]:
        return self.ticks.arguments + ([f"interval={self.interval!r}"] if self.interval else [])

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        allowed, last = restriction.in_utc(), _in_utc(last_automated_data_interval)
        at = max(self._earliest_ticks(allowed, last))
        return None if allowed.latest and at > allowed.latest else DagRunInfo(at, self._before(at))

    def _earliest_ticks(self, allowed: TimeRestriction, last: DataInterval | None) -> Iterator[datetime]:
        """Each bound's own first tick. With catch-up, a start date counts for the first run only."""
        if last:
            yield self.ticks.after(last.end)
        elif allowed.earliest is None:
            yield self._first_tick(allowed.present())
        if allowed.earliest and not (last and allowed.catchup):
            yield self.ticks.at_or_after(allowed.earliest)
        if not allowed.catchup:
            yield self.ticks.at_or_before(allowed.present())

    def _first_tick(self, now: datetime) -> datetime:
        """Where a DAG without start date begins."""
        return self.ticks.at_or_before(now)

    def _before(self, at: datetime) -> DataInterval:
        return DataInterval(at - self.interval, at)

    def infer_manual_data_interval(self, *, run_after: datetime) -> DataInterval:
        """The `interval` before `run_after`."""
        return self._before(as_utc(run_after, "run_after"))


class CronTriggerTimetable(_TriggerTimetable):
    """A run at each tick of a cron, as cron itself does it; Airflow 3's default for a bare cron string.

    `run_immediately` decides where a DAG without start date begins: True at the tick just past; a timedelta at that
    tick if it is no longer ago than this; None or False at that tick if it is no longer ago than a tenth of the way to
    the next one or five minutes, whichever is more (Airflow's rule, in spite of the name). Otherwise at the next tick.

    >>> at_six = CronTriggerTimetable("0 6 * * *", timezone="UTC", interval=timedelta(days=1))
    >>> info = at_six.next_dagrun_info(
    ...     last_automated_data_interval=None,
    ...     restriction=TimeRestriction(datetime(2024, 3, 1, tzinfo=UTC), None, catchup=True),
    ... )
    >>> str(info.logical_date), str(info.run_after)
    ('2024-02-29 06:00:00+00:00', '2024-03-01 06:00:00+00:00')
    """

    def __init__(
        self,
        cron: str,
        *,
        timezone: str | tzinfo,
        interval: Delta = timedelta(0),
        run_immediately: bool | timedelta | None = False,
    ) -> None:
        super().__init__(_cron_ticks(cron, timezone), interval)
        self.run_immediately = run_immediately

    def _first_tick(self, now: datetime) -> datetime:
        past, coming = self.ticks.at_or_before(now), self.ticks.at_or_after(now)
        patience = self.run_immediately
        if not isinstance(patience, timedelta):
            patience = now - past if patience else max((coming - past) / 10, timedelta(minutes=5))
        return past if now - past <= patience else coming

    def _arguments(self) -> list[str]:
        return super()._arguments() + ([f"run_immediately={self.run_immediately!r}"] if self.run_immediately else [])


class DeltaTriggerTimetable(_TriggerTimetable):
    """A run every `delta`, from the start date on. With catch-up off, at most one missed run is made up for, now."""

    def __init__(self, delta: Delta, *, interval: Delta = timedelta(0)) -> None:
        super().__init__(DeltaTicks(delta), interval)


class MultipleCronTriggerTimetable(Timetable):
    """A run at each tick of any of several crons; ticks at the same time make one run."""

    def __init__(
        self,
        *crons: str,
        timezone: str | tzinfo,
        interval: Delta = timedelta(0),
        run_immediately: bool | timedelta | None = False,
    ) -> None:
        if not crons:
            raise TimetableError("MultipleCronTriggerTimetable needs at least one cron")
        self.timetables = [
            CronTriggerTimetable(cron, timezone=timezone, interval=interval, run_immediately=run_immediately)
            for cron in crons
        ]
        self.description = ", ".join(timetable.description for timetable in self.timetables)

    @property
    def summary(self) -> str:
        return ", ".join(timetable.summary for timetable in self.timetables)

    def _arguments(self) -> list[str]:
        _, *shared = self.timetables[0]._arguments()
        return [repr(timetable.summary) for timetable in self.timetables] + shared

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        """The first of what the crons propose; with catch-up off, the newest of those that are already due."""
        answers = [
            timetable.next_dagrun_info(
                last_automated_data_interval=last_automated_data_interval, restriction=restriction
            )
            for timetable in self.timetables
        ]
        infos = sorted((info for info in answers if info), key=lambda info: info.logical_date)
        due = [] if restriction.catchup else [i for i in infos if i.logical_date <= restriction.in_utc().present()]
        return due[-1] if due else next(iter(infos), None)

    def infer_manual_data_interval(self, *, run_after: datetime) -> DataInterval:
        return self.timetables[0].infer_manual_data_interval(run_after=run_after)  # all have the same interval


class EventsTimetable(Timetable):
    """A run at each of some dates, such as match days.

    With `restrict_to_events`, a manual run is about the last event, or the first when none has been, instead of the
    instant it is started at. `presorted=True` promises that the dates are in order already.
    """

    def __init__(
        self,
        event_dates: Iterable[datetime],
        restrict_to_events: bool = False,
        presorted: bool = False,
        description: str | None = None,
    ) -> None:
        dates = [as_utc(date, "event date") for date in event_dates]
        self.event_dates = dates if presorted else sorted(dates)
        self.restrict_to_events = restrict_to_events
        self.description = description or f"at {len(dates)} dates"

    @property
    def summary(self) -> str:
        return f"{len(self.event_dates)} events"

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        """The first event that the restriction allows; with catch-up off, none that is past already."""
        allowed, last = restriction.in_utc(), _in_utc(last_automated_data_interval)
        lower_bounds = [allowed.earliest] if allowed.earliest else []
        lower_bounds += [] if allowed.catchup else [allowed.present()]
        first = bisect_left(self.event_dates, max(lower_bounds)) if lower_bounds else 0
        first = max(first, bisect_right(self.event_dates, last.end) if last else 0)
        at = next(iter(self.event_dates[first : first + 1]), None)
        return None if at is None or (allowed.latest and at > allowed.latest) else DagRunInfo.exact(at)

    def infer_manual_data_interval(self, *, run_after: datetime) -> DataInterval:
        at = as_utc(run_after, "run_after")
        if self.restrict_to_events and self.event_dates:
            at = self.event_dates[max(0, bisect_right(self.event_dates, at) - 1)]
        return DataInterval.exact(at)


def _in_utc(interval: DataInterval | None) -> DataInterval | None:
    return interval and DataInterval(as_utc(interval.start, "interval start"), as_utc(interval.end, "interval end"))


def _cron_ticks(cron: str, timezone: str | tzinfo) -> CronTicks:
    if not isinstance(cron, str):
        raise TimetableError(f"{cron!r} is not a cron expression; write one such as '0 6 * * *'")
    expression = cron_presets.get(cron.lower(), cron)
    if cron in _OTHER_PRESETS:
        raise TimetableError(f"{cron!r} is not a cron; use {_OTHER_PRESETS[cron].__name__}()")
    if expression.startswith("@"):
        raise TimetableError(f"no schedule is called {cron!r}{nearest(cron, [*cron_presets, *_OTHER_PRESETS])}")
    return CronTicks(expression, parse_timezone(timezone))


# ---------------------------------------------------------------- what schedule= means

_OTHER_PRESETS: dict[str, type[Timetable]] = {"@once": OnceTimetable, "@continuous": ContinuousTimetable}


def timetable_for(
    schedule: Timetable | str | Delta | None,
    timezone: str | tzinfo,
    *,
    create_cron_data_intervals: bool = True,
    create_delta_data_intervals: bool | None = None,
) -> Timetable:
    """The timetable that `DAG(schedule=...)` means.

    None, "@once", "@continuous", a preset or a cron, a timedelta or relativedelta, or a timetable, which is kept. The
    two switches are Airflow's settings of that name: on, a cron or delta makes data intervals; off, triggers, which is
    Airflow 3's default. Deltas follow the cron switch unless they have their own.

    >>> timetable_for("@daily", "Asia/Seoul")
    CronDataIntervalTimetable('0 0 * * *', timezone='Asia/Seoul')
    >>> timetable_for("@daily", "Asia/Seoul", create_cron_data_intervals=False)
    CronTriggerTimetable('0 0 * * *', timezone='Asia/Seoul')
    >>> timetable_for("@dayly", "Asia/Seoul")
    Traceback (most recent call last):
    etlkit.errors.TimetableError: no schedule is called '@dayly'; did you mean '@daily'?
    """
    if isinstance(schedule, Timetable):
        return schedule
    if schedule is None:
        return NullTimetable()
    if isinstance(schedule, str):
        if schedule in _OTHER_PRESETS:
            return _OTHER_PRESETS[schedule]()
        if create_cron_data_intervals:
            return CronDataIntervalTimetable(schedule, timezone)
        return CronTriggerTimetable(schedule, timezone=timezone)
    if create_delta_data_intervals is None:
        create_delta_data_intervals = create_cron_data_intervals
    return DeltaDataIntervalTimetable(schedule) if create_delta_data_intervals else DeltaTriggerTimetable(schedule)
