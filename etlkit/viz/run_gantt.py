"""The Gantt chart of one run: who waited, who ran, for how long, and how many slots that took."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from etlkit.errors import EtlkitError
from etlkit.showing import aligned
from etlkit.viz.looks import (
    INK,
    MARGIN,
    NORMAL,
    PALE,
    SMALL,
    SOFT,
    STATES,
    TITLE,
    WIDEST,
    Key,
    Mark,
    Picture,
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

MOST_ROWS = 200

ROW, BAR, STRIP, ASIDE = 0.25, 0.165, 0.5, 1.2
"""Inches from one task to the next, that a bar is high, for the strip of the slots, and for the notes beside."""

TERMINAL = 40
"""Columns for the time in the text twin."""


class Attempt(NamedTuple):
    """One try of a task, for `gantt`: how it ended, and the instants at which it was ready, queued, began and ended.

    What has not happened is None. `state` is the task instance's state after it: "up_for_retry" for a failed try that
    will be made again, "running" while it runs.
    """

    task: str
    try_number: int
    state: str | None
    ready: datetime | None = None
    queued: datetime | None = None
    start: datetime | None = None
    end: datetime | None = None

    @property
    def moments(self) -> list[datetime]:
        return [moment for moment in self[3:] if moment is not None]

    @property
    def waited(self) -> tuple[datetime, datetime] | None:
        """From when until when it waited for a slot or a worker, if that is known."""
        since = self.ready or self.queued
        return (since, self.start) if since and self.start and since < self.start else None


def gantt(
    attempts: Iterable[Attempt],
    title: str = "",
    *,
    slots: int | None = None,
    now: datetime | None = None,
    zone: tzinfo = UTC,
) -> Picture:
    """One run: a line for each task, a bar for each try, and below how many slots were in use at each moment.

    `slots` is how many there are; `now` is where the bars of tries that still run end. Times are those of `zone`.

    >>> from datetime import timedelta
    >>> noon = datetime(2013, 1, 2, 12, tzinfo=UTC)
    >>> later = lambda minutes: noon + timedelta(minutes=minutes)
    >>> tries = [Attempt("extract", 1, "success", noon, noon, noon, later(10))]
    >>> print(gantt([*tries, Attempt("load", 1, "failed", later(10), later(10), later(15), later(20))], "weather"))
    weather: 2 Jan 2013 12:00:00 to 12:20:00 UTC, 20 min
    extract  1  ████████████████████                      10 min                ✓ success
    load     1                      ░░░░░░░░░░██████████  5 min   waited 5 min  ✗ failed
    at most 1 slot in use
    """
    bars = [bar for bar in map(Attempt._make, attempts) if bar.moments]
    if not bars:
        return empty_sheet(title, "nothing has begun yet")
    tasks = list(dict.fromkeys(bar.task for bar in bars))
    if len(tasks) > MOST_ROWS:
        raise EtlkitError(f"{len(tasks):,} tasks are too many for one picture, which shows {MOST_ROWS}; choose some")
    ends = [moment for bar in bars for moment in bar.moments]
    ends += [now] if now is not None and any(bar.start and not bar.end for bar in bars) else []
    bars = [bar._replace(end=max(ends)) if bar.start and not bar.end else bar for bar in bars]
    return _Gantt(tasks, bars, slots, zone).drawn(title)


class _Gantt:
    """The measures of one chart."""

    def __init__(self, tasks: Sequence[str], bars: Sequence[Attempt], slots: int | None, zone: tzinfo) -> None:
        self.tasks, self.bars, self.slots, self.zone = tasks, bars, slots, zone
        self.left = MARGIN + max(widest(tasks), text_width("slots in use", SMALL)) + 0.12
        self.scale = TimeScale((m for bar in bars for m in bar.moments), self.left, WIDEST - ASIDE, zone)
        self.use = slots_in_use(bars)
        self.most = max((number for _, number in self.use), default=0)

    def drawn(self, title: str) -> Picture:
        key = Key(self.entries, WIDEST - 2 * MARGIN)
        top = TITLE if title else MARGIN
        rows = ROW * len(self.tasks) + 0.06
        strip = STRIP + 0.1 if self.most else 0
        height = top + rows + AXIS + strip + 0.15 + key.height + 0.1
        picture, axes = sheet(WIDEST, height, self.words(title), title)
        y = height - top
        self.scale.draw(axes, y, y - rows)
        for line, task in enumerate(self.tasks):
            self.row(axes, task, y - 0.03 - ROW * (line + 0.5))
        if self.most:
            self.strip(axes, y - rows - AXIS - 0.08)
        key.draw(axes, MARGIN, 0.1 + key.height)
        return picture

    def row(self, axes: Axes, task: str, y: float) -> None:
        write(axes, self.left - 0.1, y, shortened(task, self.left - MARGIN - 0.12), ha="right")
        axes.plot([self.left, self.scale.right], [y, y], color=PALE, lw=0.8, zorder=0)
        bars = [bar for bar in self.bars if bar.task == task]
        for bar in bars:
            self.bar(axes, bar, y)
        ran = [bar.end - bar.start for bar in bars if bar.start and bar.end]
        if ran:
            number = f" ×{len(ran)}" if len(ran) > 1 else ""
            write(axes, self.scale.right + 0.2, y, lasted(sum(ran[1:], ran[0])) + number, SMALL, SOFT)

    def bar(self, axes: Axes, bar: Attempt, y: float) -> None:
        """A thin line while it waits for a slot, a thicker one while it is queued, a bar while it runs."""
        look = STATES[bar.state]
        if bar.start is None or bar.end is None:
            symbols(axes, look.symbol, [(self.scale.x(bar.moments[-1]), y)], NORMAL, INK)
            return
        for since, until, tall, fill in (
            (bar.ready, bar.queued or bar.start, 0.03, SOFT),
            (bar.queued, bar.start, 0.08, STATES["queued"].fill),
        ):
            if since is not None and since < until:
                self.box(axes, since, until, y, tall, fill)
        x, right = self.box(axes, bar.start, bar.end, y, BAR, look.fill, edge=INK)
        inside = right - x > 0.2
        symbols(axes, look.symbol, [((x + right) / 2 if inside else right + 0.09, y)], 8, look.ink if inside else INK)

    def box(
        self, axes: Axes, start: datetime, end: datetime, y: float, tall: float, fill: str, edge: str = "none"
    ) -> tuple[float, float]:
        """A bar, at least so wide that it is seen; returns where it begins and ends."""
        x = self.scale.x(start)
        right = max(self.scale.x(end), x + 0.035)
        axes.add_patch(Rectangle((x, y - tall / 2), right - x, tall, facecolor=fill, edgecolor=edge, lw=0.5))
        return x, right

    def strip(self, axes: Axes, top: float) -> None:
        """How many slots were in use, as steps over the same time; dashes: how many there are."""
        bottom = top - STRIP
        ceiling = max(self.most, self.slots if self.slots is not None and self.slots <= 2 * self.most else 0, 1)
        up = (STRIP - 0.08) / ceiling
        xs = [self.scale.x(moment) for moment, _ in self.use]
        axes.fill_between(
            xs, bottom, [bottom + number * up for _, number in self.use], step="post", color="#cfe6f5", lw=0
        )
        axes.plot([self.left, self.scale.right], [bottom, bottom], color=SOFT, lw=0.8)
        write(axes, self.left - 0.1, (top + bottom) / 2, "slots in use", SMALL, SOFT, ha="right")
        write(axes, self.scale.right + 0.12, bottom + 0.07, self.slots_text, SMALL, SOFT)
        if self.slots is not None and self.slots <= ceiling:
            y = bottom + self.slots * up
            axes.plot([self.left, self.scale.right], [y, y], color=INK, lw=0.9, ls=(0, (4, 3)))

    @property
    def slots_text(self) -> str:
        return f"most: {self.most}" + (f" of {self.slots}" if self.slots is not None else "")

    @property
    def entries(self) -> list[tuple[Mark, str]]:
        """What the bars mean."""

        def line(tall: float, fill: str) -> Mark:
            return lambda axes, x, y: axes.add_patch(Rectangle((x - 0.1, y - tall / 2), 0.2, tall, facecolor=fill))

        entries = state_entries(bar.state for bar in self.bars)
        if any(bar.ready and bar.ready < (bar.queued or bar.start or bar.ready) for bar in self.bars):
            entries.append((line(0.03, SOFT), "waits for a slot"))
        if any(bar.queued and bar.start and bar.queued < bar.start for bar in self.bars):
            entries.append((line(0.08, STATES["queued"].fill), "queued: has a slot, waits for a worker"))
        return entries

    def words(self, title: str) -> str:
        start, end = (moment.astimezone(self.zone) for moment in (self.scale.start, self._end))
        until = "%H:%M:%S" if start.date() == end.date() else "%-d %b %Y %H:%M:%S"
        span = f"{local_text(start, '%-d %b %Y %H:%M:%S')} to {local_text(end, until)} {self.zone}"
        head = f"{title}: {span}, {lasted(end - start)}" if title else f"{span}, {lasted(end - start)}"
        rows = [self.line(bar) for task in self.tasks for bar in self.bars if bar.task == task]
        limit = f" of {self.slots}" if self.slots is not None else ""
        use = f"at most {self.most}{limit} slot{'s' * (self.most != 1 or self.slots is not None)} in use"
        return "\n".join([head, aligned(rows), use if self.most else "no task took any time on this clock"])

    @property
    def _end(self) -> datetime:
        return max(moment for bar in self.bars for moment in bar.moments)

    def line(self, bar: Attempt) -> tuple[str, ...]:
        """A try in words, with its bar in blocks."""
        blocks = [" "] * TERMINAL
        for stretch, block in ((bar.waited, "░"), ((bar.start, bar.end), "█")):
            if stretch is not None and stretch[0] and stretch[1]:
                first = min(self._column(stretch[0]), TERMINAL - 1)
                last = max(self._column(stretch[1]), first + (block == "█"))
                blocks[first:last] = block * (last - first)
        took = lasted(bar.end - bar.start) if bar.start and bar.end else ""
        waited = f"waited {lasted(bar.waited[1] - bar.waited[0])}" if bar.waited else ""
        return bar.task, str(bar.try_number or ""), "".join(blocks), took, waited, signed(bar.state)

    def _column(self, moment: datetime) -> int:
        return round((moment - self.scale.start) / (self.scale.end - self.scale.start) * TERMINAL)


def slots_in_use(bars: Iterable[Attempt]) -> list[tuple[datetime, int]]:
    """From when on how many slots were held: a try holds one from when it is queued until it ends."""
    changes: dict[datetime, int] = {}
    for bar in bars:
        since: Any = bar.queued or bar.start
        if bar.start and bar.end and since < bar.end:
            changes[since] = changes.get(since, 0) + 1
            changes[bar.end] = changes.get(bar.end, 0) - 1
    total, steps = 0, []
    for moment in sorted(changes):
        total += changes[moment]
        steps.append((moment, total))
    return steps
