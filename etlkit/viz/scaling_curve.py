"""The scaling curve: what more slots bring, as one larger node or as more nodes, and what is lost with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from etlkit.showing import aligned
from etlkit.viz.looks import (
    BLUE,
    GREEN,
    LINE,
    MARGIN,
    NORMAL,
    ORANGE,
    PINK,
    RED,
    SKY,
    SMALL,
    SOFT,
    TITLE,
    WIDEST,
    Key,
    Mark,
    Picture,
    counted,
    empty_sheet,
    sheet,
    write,
)


class Scaled(NamedTuple):
    """How long a cluster took, in `seconds`, how often its nodes failed, and how many attempts it `lost` with them."""

    nodes: int
    slots: int
    seconds: float
    failures: int = 0
    lost: int = 0

    @property
    def all_slots(self) -> int:
        return self.nodes * self.slots


HEADS = ("speed-up", "node failures", "attempts lost")

PANEL = 2.6
"""Inches that a panel takes from its name to the name of its axis."""


class Look(NamedTuple):
    """How a series looks."""

    color: str
    marker: str
    line: str


LOOKS = tuple(map(Look, (BLUE, RED, GREEN, ORANGE, PINK, SKY), "os^DvP", ("-", "--", "-.", "-", "--", "-.")))
"""The looks of the series, in order."""


def scaling(clusters: Iterable[Scaled], title: str = "") -> Picture:
    """Speed-up, failures of nodes and lost attempts, over the slots of all nodes.

    One node with more slots is scaling up; more nodes is scaling out, a line for each number of slots that nodes have.
    The speed-up is against the smallest of the clusters; where the line is dotted, it is as much as the slots are more.

    >>> print(scaling([Scaled(1, 1, 480), Scaled(1, 4, 120), Scaled(4, 1, 150, 2, 1)]))
    series                nodes  slots  speed-up  node failures  attempts lost
    one node, more slots      1      1       1.0              0              0
                              1      4       4.0              0              0
    more nodes of 1 slot      1      1       1.0              0              0
                              4      1       3.2              2              1
    """
    points = sorted(clusters, key=lambda one: (one.all_slots, one.nodes))
    if not points:
        return empty_sheet(title, "no clusters")
    lines, first = series(points), points[0]
    key = Key(((_mark(look), name) for name, look in zip(lines, cycle(LOOKS), strict=False)), WIDEST - 2 * MARGIN)
    height = TITLE + PANEL + key.height + 0.1
    picture, whole = sheet(WIDEST, height, _in_words(lines, first, title), title)
    panels = []
    for column, name in enumerate(HEADS):
        left = 0.5 + column * (WIDEST - 0.15) / len(HEADS)
        write(whole, left, height - TITLE - 0.08, name, NORMAL, weight="bold")
        write(whole, left, height - TITLE - PANEL + 0.2, "slots of all nodes", SMALL, SOFT)
        bottom = height - TITLE - PANEL + 0.5
        panels.append(picture.add_axes((left / WIDEST, bottom / height, 2.4 / WIDEST, (PANEL - 0.75) / height)))
    _draw(panels, lines, first)
    key.draw(whole, MARGIN, 0.1 + key.height)
    return picture


def _draw(panels: Sequence[Axes], lines: Mapping[str, Sequence[Scaled]], first: Scaled) -> None:
    slots = sorted({one.all_slots for of in lines.values() for one in of})
    panels[0].plot(slots, [each / first.all_slots for each in slots], color=SOFT, lw=1, ls=":")
    for of, look in zip(lines.values(), cycle(LOOKS), strict=False):
        columns = zip(*((first.seconds / one.seconds, one.failures, one.lost) for one in of), strict=True)
        for axes, values in zip(panels, columns, strict=True):
            axes.plot([one.all_slots for one in of], values, **_line(look))
    panels[0].set_yscale("log", base=2)
    for axes in panels:
        _dressed(axes)
    for axes in panels[1:]:
        axes.set_ylim(top=max(1.0, axes.get_ylim()[1]))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))


def _line(look: Look) -> dict[str, Any]:
    return {
        "color": look.color,
        "marker": look.marker,
        "ls": look.line,
        "lw": 1.6,
        "ms": 5.5,
        "mfc": "white",
        "mew": 1.5,
    }


def _mark(look: Look) -> Mark:
    return lambda axes, x, y: axes.plot([x - 0.12, x, x + 0.12], [y] * 3, markevery=[1], **_line(look))


def series(points: Sequence[Scaled]) -> dict[str, list[Scaled]]:
    """The lines of the picture; a single point is one only if it is on no other.

    >>> list(series([Scaled(1, 1, 8), Scaled(1, 2, 4), Scaled(3, 4, 1)]))
    ['one node, more slots', 'more nodes of 4 slots']
    """
    lines = {"one node, more slots": [one for one in points if one.nodes == 1]}
    for slots in sorted({one.slots for one in points}):
        lines[f"more nodes of {counted(slots, 'slot')}"] = [one for one in points if one.slots == slots]
    return {name: of for name, of in lines.items() if len(of) > 1 or (of and (of[0].nodes > 1 or len(points) == 1))}


def _dressed(axes: Axes) -> None:
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(LogLocator(base=2, numticks=6))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
        axis.set_minor_locator(NullLocator())
    axes.grid(color=LINE, lw=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(LINE)
    axes.tick_params(colors=SOFT, labelsize=SMALL)


def _in_words(lines: Mapping[str, Sequence[Scaled]], first: Scaled, title: str) -> str:
    rows: list[tuple[str, ...]] = [("series", "nodes", "slots", *HEADS)]
    for name, of in lines.items():
        for place, one in enumerate(of):
            faster = f"{first.seconds / one.seconds:,.1f}"
            counts = (f"{count:,}" for count in (one.failures, one.lost))
            rows.append((name if not place else "", f"{one.nodes:,}", f"{one.slots:,}", faster, *counts))
    return "\n".join([title] * bool(title) + [aligned(rows, right=range(1, 6))])
