"""The timeline that explains scheduling: which stretch of time each run is about, and when it happens."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from etlkit.errors import EtlkitError
from etlkit.showing import aligned
from etlkit.states import DagRunType
from etlkit.store import RunRow
from etlkit.timetables import DagRunInfo
from etlkit.viz.looks import (
    BLUE,
    INK,
    MARGIN,
    NORMAL,
    ORANGE,
    PALE,
    SMALL,
    SOFT,
    TINY,
    TITLE,
    WIDEST,
    Key,
    Mark,
    Picture,
    cells,
    empty_sheet,
    sheet,
    shortened,
    signed,
    state_entries,
    symbols,
    text_width,
    widest,
    write,
)
from etlkit.viz.timescale import AXIS, TimeScale, lasted, local_text

MOST_RUNS = 120

ROW, DENSE = 0.25, 0.16
"""Inches from one run to the next: as a rule, and where there are more than 30."""

FILL = "#CDE5F5"
"""The colour of a data interval whose run there is."""

FORM, DAY = "%Y-%m-%d %H:%M", "%Y-%m-%d"


class Span(NamedTuple):
    """One run on the timeline: what it is about, when it may run and when it did; None for what has not happened."""

    logical_date: datetime | None
    start: datetime | None
    end: datetime | None
    due: datetime
    kind: str = "to come"
    state: str | None = None
    made: datetime | None = None
    ran: datetime | None = None

    @classmethod
    def of(cls, run: RunRow | DagRunInfo) -> Span:
        """From a run that there is, or one that a timetable wants."""
        if isinstance(run, DagRunInfo):
            return cls(run.logical_date, run.data_interval.start, run.data_interval.end, run.run_after)
        about = (run.logical_date, run.data_interval_start, run.data_interval_end)
        return cls(*about, run.run_after, run.run_type, run.state, run.queued_at, run.start_date)

    @property
    def length(self) -> timedelta | None:
        """How long its data interval is."""
        return self.end - self.start if self.start and self.end else None

    @property
    def late(self) -> timedelta:
        """How much later than its schedule allowed it was made: what catch-up catches up with."""
        scheduled = self.kind == DagRunType.SCHEDULED and self.made is not None
        return max(self.made - self.due, timedelta(0)) if scheduled else timedelta(0)  # type: ignore[operator]

    @property
    def at(self) -> datetime:
        """When it ran, or when it is due."""
        return self.ran or self.due

    @property
    def moments(self) -> list[datetime]:
        found = (self.logical_date, self.start, self.end, self.at)
        return [moment for moment in found if moment is not None]


def timeline(
    runs: Iterable[RunRow | DagRunInfo], title: str = "", *, now: datetime | None = None, zone: tzinfo = UTC
) -> Picture:
    """A line for each run: a bar for its data interval, ● for its logical date, and a cell where it runs.

    `runs` are runs of the store, and what a timetable gives for those to come. Times are those of `zone`; an hour is as
    wide on every day, so where the clock changes the bars are longer or shorter.

    >>> from zoneinfo import ZoneInfo
    >>> from etlkit.timetables import CronDataIntervalTimetable
    >>> new_york = ZoneInfo("America/New_York")
    >>> daily = CronDataIntervalTimetable("@daily", new_york)
    >>> friday, tuesday = datetime(2024, 3, 8, 12, tzinfo=UTC), datetime(2024, 3, 11, 12, tzinfo=UTC)
    >>> print(timeline(daily.iter_dagrun_infos_between(friday, tuesday), "weekend", zone=new_york))
    weekend: times in America/New_York
    logical date  data interval             length  run
    2024-03-09    2024-03-09 to 2024-03-10  1 d     due 2024-03-10
    2024-03-10    2024-03-10 to 2024-03-11  23 h    due 2024-03-11
    2024-03-11    2024-03-11 to 2024-03-12  1 d     due 2024-03-12
    the clock goes 1 h forward on 2024-03-10
    """
    spans = [Span.of(run) for run in runs]
    if not spans:
        return empty_sheet(title, "no runs, and none to come")
    if len(spans) > MOST_RUNS:
        raise EtlkitError(f"{len(spans):,} runs are too many for one picture, which shows {MOST_RUNS}; choose some")
    return _Timeline(spans, now, zone).drawn(title)


class _Timeline:
    """The measures of one timeline."""

    def __init__(self, spans: Sequence[Span], now: datetime | None, zone: tzinfo) -> None:
        self.spans, self.now, self.zone = spans, now, zone
        self.row = ROW if len(spans) <= 30 else DENSE
        self.size = NORMAL if self.row == ROW else TINY
        moments = [moment for span in spans for moment in span.moments] + ([now] if now else [])
        self.form = DAY if all(self._midnight(m) for span in spans for m in span.moments) else FORM
        self.labels = [self.text(span.logical_date) if span.logical_date else "no date" for span in spans]
        self.notes = [self.note(span) for span in spans]
        left = MARGIN + widest(self.labels, self.size) + 0.2
        right = WIDEST - max(widest(self.notes, SMALL, 1.7), 0.9) - 0.36
        self.scale = TimeScale(moments, left, right, zone)
        self.changes = list(clock_changes(self.scale.start, self.scale.end, zone))

    def _midnight(self, moment: datetime) -> bool:
        local = moment.astimezone(self.zone)
        return local.time() == local.time().min

    def text(self, moment: datetime, form: str = "") -> str:
        return local_text(moment.astimezone(self.zone), form or self.form)

    def note(self, span: Span) -> str:
        """What stands beside a run: why it exists, how late it was made, and its length where lengths differ."""
        parts = [span.kind]
        parts += [f"{lasted(span.late)} late"] if span.late else []
        parts += [as_long_as(span.length)] if span.length is not None and self.uneven else []
        return ", ".join(parts)

    @property
    def uneven(self) -> bool:
        return len({span.length for span in self.spans if span.length is not None}) > 1

    def drawn(self, title: str) -> Picture:
        key = Key(self.entries, WIDEST - 2 * MARGIN)
        top = (TITLE if title else MARGIN) + 0.17 * (bool(self.now) + bool(self.changes))
        rows = self.row * len(self.spans) + 0.08
        height = top + rows + AXIS + 0.1 + key.height + 0.1
        picture, axes = sheet(WIDEST, height, self.words(title), title)
        y = height - top
        self.scale.draw(axes, y, y - rows)
        self.lines(axes, y, y - rows)
        for number, span in enumerate(self.spans):
            self.span(axes, number, span, y - 0.04 - self.row * (number + 0.5))
        key.draw(axes, MARGIN, 0.1 + key.height)
        return picture

    def lines(self, axes: Axes, top: float, bottom: float) -> None:
        """The present, and where the clock changes, each with its name in a line of its own above."""
        y = top + 0.09
        if self.changes:
            for moment, by in self.changes:
                self.line(axes, moment, top, bottom, ORANGE, (0, (2, 2)))
                if len(self.changes) < 3:
                    sign = "forward" if by > timedelta(0) else "back"
                    self.named(axes, moment, y, f"clock {sign} {lasted(abs(by))}")
            y += 0.17
        if self.now:
            self.line(axes, self.now, top, bottom, INK, "-")
            self.named(axes, self.now, y, f"now: {self.text(self.now, FORM)}")

    def line(self, axes: Axes, moment: datetime, top: float, bottom: float, color: str, dashes: object) -> None:
        x = self.scale.x(moment)
        axes.plot([x, x], [bottom, top], color=color, lw=1.2, ls=dashes, zorder=1.5)

    def named(self, axes: Axes, moment: datetime, y: float, name: str) -> None:
        half = text_width(name, SMALL) / 2
        x = min(max(self.scale.x(moment), MARGIN + half), WIDEST - MARGIN - half)
        write(axes, x, y, name, SMALL, INK, ha="center")

    def span(self, axes: Axes, number: int, span: Span, y: float) -> None:
        write(axes, self.scale.left - 0.14, y, self.labels[number], self.size, ha="right")
        write(axes, self.scale.right + 0.22, y, shortened(self.notes[number], 1.75, SMALL), min(SMALL, self.size), SOFT)
        axes.plot([self.scale.left, self.scale.right], [y, y], color=PALE, lw=0.8, zorder=0)
        if span.start and span.end:
            self.bar(axes, span, self.scale.x(span.start), self.scale.x(span.end), y)
        if span.logical_date:
            symbols(axes, "●", [(self.scale.x(span.logical_date), y)], self.row * 26, BLUE)
        self.run(axes, span, self.scale.x(span.at), y)

    def bar(self, axes: Axes, span: Span, x: float, end: float, y: float) -> None:
        """The data interval, and dots from its end to its run."""
        tall = self.row * 0.5
        dashes, fill = ("--", "white") if span.state is None else ("-", FILL)
        place = (x, y - tall / 2)
        axes.add_patch(Rectangle(place, end - x, tall, edgecolor=BLUE, facecolor=fill, ls=dashes, lw=0.8, zorder=2))
        axes.plot([end, self.scale.x(span.at)], [y, y], color=BLUE, lw=1.1, ls=":", zorder=2)

    def run(self, axes: Axes, span: Span, x: float, y: float) -> None:
        """The run's sign, which begins at its instant."""
        side = self.row * 0.62
        if span.state is None:
            symbols(axes, "▷", [(x + side / 2, y)], self.row * 36, INK)
        else:
            cells(axes, {span.state: [(x + side / 2 + 0.01, y)]}, side, self.row * 30)

    @property
    def entries(self) -> list[tuple[Mark, str]]:
        """What the marks mean."""

        def bar(axes: Axes, x: float, y: float) -> None:
            axes.add_patch(Rectangle((x - 0.1, y - 0.06), 0.2, 0.12, edgecolor=BLUE, facecolor=FILL, lw=0.8))

        def dots(axes: Axes, x: float, y: float) -> None:
            axes.plot([x - 0.1, x + 0.1], [y, y], color=BLUE, lw=1.1, ls=":")

        entries: list[tuple[Mark, str]] = [
            (bar, "data interval"),
            (lambda axes, x, y: symbols(axes, "●", [(x, y)], 6.5, BLUE), "logical date"),
            (dots, "from the interval's end to its run"),
        ]
        if any(span.state is None for span in self.spans):
            entries.append((lambda axes, x, y: symbols(axes, "▷", [(x, y)], 9, INK), "run to come"))
        states = state_entries(span.state for span in self.spans if span.state is not None)
        return entries + [(mark, f"run: {text}") for mark, text in states]

    def words(self, title: str) -> str:
        now = f", now {self.text(self.now, FORM)}" if self.now else ""
        head = f"times in {self.zone}{now}"
        rows = [("logical date", "data interval", "length", "run")]
        rows += [self.row_in_words(*of) for of in zip(self.labels, self.spans, strict=True)]
        changes = (
            f"the clock goes {lasted(abs(by))} {'forward' if by > timedelta(0) else 'back'} on {self.text(at, DAY)}"
            for at, by in self.changes
        )
        return "\n".join([f"{title}: {head}" if title else head, aligned(rows), *changes])

    def row_in_words(self, label: str, span: Span) -> tuple[str, str, str, str]:
        interval = f"{self.text(span.start)} to {self.text(span.end)}" if span.start and span.end else "none"
        length = as_long_as(span.length) if span.length is not None else ""
        if span.state is None:
            return label, interval, length, f"due {self.text(span.due)}"
        happened = f"ran {self.text(span.ran)}" if span.ran else f"due {self.text(span.due)}"
        late = f", {lasted(span.late)} late" if span.late else ""
        return label, interval, length, f"{happened}  {signed(span.state)}  {span.kind}{late}"


def as_long_as(length: timedelta) -> str:
    """How long an interval is: in hours if it is about a day, as on the day that the clock changes.

    >>> as_long_as(timedelta(hours=25)), as_long_as(timedelta(days=1)), as_long_as(timedelta(days=31))
    ('25 h', '1 d', '31 d')
    """
    odd_day = timedelta(days=1) < length < timedelta(days=2)
    return f"{length / timedelta(hours=1):g} h" if odd_day else lasted(length)


def clock_changes(start: datetime, end: datetime, zone: tzinfo) -> Iterable[tuple[datetime, timedelta]]:
    """The instants within a stretch of time at which the clock of a zone changes, and by how much.

    >>> from zoneinfo import ZoneInfo
    >>> year = datetime(2024, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)
    >>> for at, by in clock_changes(*year, ZoneInfo("America/New_York")):
    ...     print(at, by / timedelta(hours=1))
    2024-03-10 07:00:00+00:00 1.0
    2024-11-03 06:00:00+00:00 -1.0
    """

    def offset(moment: datetime) -> timedelta:
        return moment.astimezone(zone).utcoffset() or timedelta(0)

    days = range((end - start).days + 1)
    marks = [start.astimezone(UTC) + timedelta(days=day) for day in days] + [end.astimezone(UTC)]
    for before, after in itertools.pairwise(marks):
        by = offset(after) - offset(before)
        if by:
            while after - before > timedelta(minutes=1):
                middle = before + (after - before) / 2
                before, after = (middle, after) if offset(middle) == offset(before) else (before, middle)
            yield after.replace(second=0, microsecond=0), by
