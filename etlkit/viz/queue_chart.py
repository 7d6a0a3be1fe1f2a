"""The queue: how many tasks wait for a slot while time passes, a panel for each cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from etlkit.errors import EtlkitError
from etlkit.showing import aligned
from etlkit.viz.looks import (
    BLUE,
    INK,
    LINE,
    NORMAL,
    SKY,
    SMALL,
    SOFT,
    TITLE,
    WIDEST,
    Picture,
    counted,
    empty_sheet,
    sheet,
    shortened,
    write,
)
from etlkit.viz.timescale import lasted

MOST_CLUSTERS = 12

LEFT, PANEL, BELOW = 0.75, 0.95, 0.35
"""Inches to the left of the panels, from one to the next, and below the last."""

Depths = Sequence[tuple[float, int]]
"""(seconds since the start, how many waited from then on), in order."""

UNITS = {1: (1, 2, 5, 10, 15, 30), 60: (1, 2, 5, 10, 15, 30), 3600: (1, 2, 3, 6, 12), 86400: (1, 2, 5, 10, 20, 50)}
"""How many of each unit of time, in seconds, may lie between two ticks."""


class Summary(NamedTuple):
    """A queue in numbers; its average is over time."""

    most: int
    at: float
    average: float
    end: float


def queue_depth(depths: Mapping[str, Depths], title: str = "") -> Picture:
    """How many tasks waited over time on each of some clusters, all on the same scales; `depths` are by their names.

    >>> print(queue_depth({"1 × 1": [(0, 3), (60, 2), (120, 1), (180, 0), (240, 0)], "4 × 1": [(0, 0), (60, 0)]}))
    cluster  at most  after  on average  over after
    1 × 1          3    0 s         1.5       4 min
    4 × 1          0    0 s         0.0       1 min
    """
    if not any(depths.values()):
        return empty_sheet(title, "nothing happened")
    if len(depths) > MOST_CLUSTERS:
        raise EtlkitError(f"{len(depths)} clusters are too many for one picture, which shows {MOST_CLUSTERS}")
    found = {name: summary(points) for name, points in depths.items()}
    end = max(one.end for one in found.values()) or 1.0
    most = max(one.most for one in found.values()) or 1
    height = TITLE + PANEL * len(depths) + BELOW
    picture, whole = sheet(WIDEST, height, _in_words(found, title), title)
    for number, (name, points) in enumerate(depths.items()):
        top = height - TITLE - PANEL * number
        over = lasted(timedelta(seconds=round(found[name].end)))
        told = f"{counted(found[name].most, 'task')} at most, over after {over}"
        write(whole, LEFT, top - 0.1, f"{shortened(name, 4.0)}: {told}", NORMAL)
        _panel(picture.add_axes(_place(top, height)), points, end, most)
    picture.axes[-1].tick_params(labelbottom=True)
    write(whole, LEFT, 0.12, "since the start", SMALL, SOFT)
    return picture


def _place(top: float, height: float) -> tuple[float, float, float, float]:
    """Where a panel is, in parts of the sheet."""
    return LEFT / WIDEST, (top - PANEL + 0.18) / height, (WIDEST - LEFT - 0.35) / WIDEST, (PANEL - 0.4) / height


def ticks_until(end: float) -> list[float]:
    """The seconds that get a label, at most nine of them.

    >>> ticks_until(3900)
    [0, 600, 1200, 1800, 2400, 3000, 3600]
    """
    steps = (number * unit for unit, numbers in UNITS.items() for number in numbers)
    step = next((step for step in steps if end / step <= 8), end / 8)
    return [step * i for i in range(int(end / step) + 1)]


def summary(points: Depths) -> Summary:
    """The most that waited and when that was first so, the average, and when it was over."""
    at, most = max(points, key=lambda point: (point[1], -point[0]))
    end = points[-1][0]
    area = sum(waiting * (later - moment) for (moment, waiting), (later, _) in pairwise(points))
    return Summary(most, at, area / end if end else 0.0, end)


def _panel(axes: Axes, points: Depths, end: float, most: int) -> None:
    """One queue; all panels reach to the same `end`, in seconds, and as high as `most`."""
    moments, waiting = zip(*thinned(points), strict=True)
    axes.fill_between(moments, waiting, step="post", color=SKY, alpha=0.5, lw=0)
    axes.step(moments, waiting, where="post", color=BLUE, lw=1.2)
    axes.plot([points[-1][0]], [0], marker="|", ms=10, mew=2, color=INK, clip_on=False)
    axes.set(xlim=(-0.005 * end, 1.01 * end), ylim=(0, 1.05 * most))
    ticks = ticks_until(end)
    axes.set_xticks(ticks, [lasted(timedelta(seconds=tick)) for tick in ticks])
    axes.yaxis.set_major_locator(MaxNLocator(nbins=3, integer=True))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(LINE)
    axes.tick_params(colors=SOFT, labelsize=SMALL, labelbottom=False)


def thinned(points: Depths, most: int = 1200) -> Depths:
    """No more points than there are pixels: of those that fall together, the one at which most waited."""
    if len(points) <= most:
        return points
    width = points[-1][0] / most or 1.0
    columns: dict[int, tuple[float, int]] = {}
    for moment, waiting in points:
        column = int(moment / width)
        if column not in columns or waiting > columns[column][1]:
            columns[column] = (moment, waiting)
    return [*columns.values(), points[-1]]


def _in_words(found: Mapping[str, Summary], title: str) -> str:
    rows = [("cluster", "at most", "after", "on average", "over after")]
    for name, (most, at, average, end) in found.items():
        when, over = (lasted(timedelta(seconds=round(moment))) for moment in (at, end))
        rows.append((name, f"{most:,}", when, f"{average:,.1f}", over))
    return "\n".join([title] * bool(title) + [aligned(rows, right=range(1, 5))])
