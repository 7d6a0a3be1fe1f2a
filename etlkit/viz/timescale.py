"""Time from left to right on a sheet, with ticks that people count in and labels that keep clear of each other.

Places are instants, so an hour is as wide on the day the clock changes as on any other; the labels are what the clock
on the wall of `zone` shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import NamedTuple

from matplotlib.axes import Axes

from etlkit.viz.looks import LINE, SMALL, SOFT, shortened, text_width, write


class Step(NamedTuple):
    """A distance between ticks: a stretch of time, a number of days or of months; and how ticks are labelled."""

    length: timedelta
    form: str
    days: int = 0
    months: int = 0


def _steps() -> Iterator[Step]:
    for millis in (1, 5, 20, 100, 250, 500):
        yield Step(timedelta(milliseconds=millis), "%H:%M:%S.%f")
    for seconds in (1, 2, 5, 15, 30):
        yield Step(timedelta(seconds=seconds), "%H:%M:%S")
    for minutes in (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720):
        yield Step(timedelta(minutes=minutes), "%H:%M")
    for days in (1, 2, 7, 14):
        yield Step(timedelta(days=days), "%-d %b", days=days)
    for months in (1, 2, 3, 6):
        yield Step(timedelta(days=28 * months), "%b", months=months)
    for years in (1, 2, 5, 10, 50, 100, 1000):
        yield Step(timedelta(days=365 * years), "%Y", months=12 * years)


STEPS = tuple(_steps())

ANY_DAY = datetime(2000, 9, 26, 20, 56, 38, tzinfo=UTC)
"""A moment whose labels are among the widest."""

AXIS = 0.42
"""Inches that the two lines of labels take."""

ASIDE = 1.2
"""Inches to the right of the scale that its labels may take."""


def local_text(moment: datetime, form: str) -> str:
    """A moment by a form of `strftime`, in which %f has three digits and %-d works everywhere.

    >>> local_text(datetime(2013, 1, 2, 3, 4, 5, 6000, tzinfo=UTC), "%-d %b %H:%M:%S.%f")
    '2 Jan 03:04:05.006'
    """
    return moment.strftime(form.replace("%-d", str(moment.day)).replace("%f", f"{moment.microsecond // 1000:03}"))


def lasted(length: timedelta) -> str:
    """A stretch of time in its two largest units.

    >>> [lasted(timedelta(**of)) for of in ({"days": 1}, {"minutes": 65}, {"milliseconds": 250}, {})]
    ['1 d', '1 h 5 min', '0.25 s', '0 s']
    """
    if length < timedelta(minutes=1):
        return f"{round(length.total_seconds(), 3):g} s"
    rest, parts = round(length.total_seconds()), []
    for unit, seconds in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        number, rest = divmod(rest, seconds)
        parts += [f"{number} {unit}"] if number else []
    return " ".join(parts[:2])


class TimeScale:
    """Instants from `start` to `end` between `left` and `right`, in inches."""

    def __init__(self, moments: Iterable[datetime], left: float, right: float, zone: tzinfo = UTC) -> None:
        self.left, self.right, self.zone = left, right, zone
        moments = list(moments)
        self.start, self.end = min(moments), max(moments)
        if self.start == self.end:
            self.end += timedelta(seconds=1)
        self.step = next(filter(self._fits, STEPS), STEPS[-1])

    def _fits(self, step: Step) -> bool:
        """Whether the labels of a step have room beside each other."""
        label = text_width(local_text(ANY_DAY, step.form), SMALL) + 0.22
        return (self.end - self.start) / step.length < (self.right - self.left) / label

    def x(self, moment: datetime) -> float:
        """Where an instant is."""
        return self.left + (moment - self.start) / (self.end - self.start) * (self.right - self.left)

    def ticks(self) -> list[datetime]:
        """The instants that get a label, in the zone."""
        first, last = self.start.astimezone(self.zone), self.end.astimezone(self.zone)
        if self.step.days or self.step.months:
            days = _by_calendar(self.step, first.date(), last.date())
            ticks: Iterator[datetime] = (datetime.combine(day, time(), self.zone) for day in days)
        else:
            ticks = _by_clock(self.step.length, first, last)
        return [tick for tick in ticks if self.start <= tick.astimezone(UTC) <= self.end]

    def draw(self, axes: Axes, top: float, bottom: float) -> None:
        """Draw the ticks as lines from `top` to `bottom`, and their labels below."""
        ticks, free = self.ticks(), self.left - 1
        for tick in ticks:
            x, label = self.x(tick), local_text(tick, self.step.form)
            half = text_width(label, SMALL) / 2
            axes.plot([x, x], [bottom, top], color=LINE, lw=0.7, zorder=0)
            if x - half > free:
                write(axes, x, bottom - 0.11, label, SMALL, SOFT, ha="center")
                free = x + half + 0.06
        self._periods(axes, ticks, bottom - 0.28)
        axes.plot([self.left, self.right], [bottom, bottom], color=SOFT, lw=0.8)
        write(axes, self.right + 0.12, bottom + 0.01, shortened(str(self.zone), ASIDE - 0.2, SMALL), SMALL, SOFT)

    def _periods(self, axes: Axes, ticks: list[datetime], y: float) -> None:
        """What the labels are within, where it changes: the day of a time, the year of a day; each below its tick."""
        form = "" if self.step.form == "%Y" else "%Y" if self.step.days or self.step.months else "%-d %B %Y"
        places: list[tuple[float, float, str]] = []
        for tick in ticks or [self.start.astimezone(self.zone)]:
            label = local_text(tick, form)
            if label and (not places or places[-1][2] != label):
                half = text_width(label, SMALL, "bold") / 2
                x = min(max(self.x(tick), half + 0.05), self.right + ASIDE - half)
                if places and places[-1][0] + places[-1][1] + 0.1 > x - half:
                    if len(places) > 1:
                        continue
                    places.pop()  # the first one is in the middle of its day; the change tells more
                places.append((x, half, label))
        for x, _, label in places:
            write(axes, x, y, label, SMALL, SOFT, ha="center", weight="bold")


def _by_calendar(step: Step, first: date, last: date) -> Iterator[date]:
    """The first days of each so many months, or each so many days; weeks begin on Monday."""
    if step.months:
        for month in range(first.year * 12, (last.year + 1) * 12):
            if month % step.months == 0 and month // 12 <= 9998:
                yield date(month // 12, month % 12 + 1, 1)
        return
    for day in range(first.toordinal(), last.toordinal() + 1):
        if (day - 1) % step.days == 0:  # the first day of all was a Monday
            yield date.fromordinal(day)


def _by_clock(length: timedelta, first: datetime, last: datetime) -> Iterator[datetime]:
    """Every so long from midnight on; steps of hours by the clock on the wall, shorter ones by elapsed time."""
    zone, hours = first.tzinfo, length // timedelta(hours=1)
    for number in range(first.toordinal(), last.toordinal() + 1):
        midnight = datetime.combine(date.fromordinal(number), time(), zone)
        if hours:
            walls = (midnight + timedelta(hours=hour) for hour in range(0, 24, hours))
            yield from (wall for wall in walls if wall.astimezone(UTC).astimezone(zone).hour == wall.hour)
        else:
            yield from (at.astimezone(zone) for at in _elapsed(length, midnight, first, last))


def _elapsed(length: timedelta, midnight: datetime, first: datetime, last: datetime) -> Iterator[datetime]:
    """Every so long from a midnight to the next, of those the ones from `first` to `last`."""
    base, tomorrow = midnight.astimezone(UTC), (midnight + timedelta(days=1)).astimezone(UTC)
    number = max(-((base - first) // length), 0)
    while (moment := base + number * length) < tomorrow and moment <= last:
        yield moment
        number += 1
