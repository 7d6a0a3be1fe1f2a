"""Pictures of DAGs, runs and results, each with a text twin.

Every function returns a `Picture`: a matplotlib `Figure` that a notebook shows and `savefig` writes to a file. Its
`words` (what `print` shows) says the same in words, for those who do not see the picture and for tests. Colours are
Okabe and Ito's, which colour-blind eyes tell apart, and a colour is never the only sign.

Nothing here touches pyplot, so a picture is shown once, where it is asked for, and is gone when nobody holds it.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.dates import ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from matplotlib.path import Path

from etlkit.dag import DAG
from etlkit.errors import EtlkitError

INK, SOFT, LINE = "#1f2933", "#6b7680", "#d5dbe0"
MOST_TASKS = 300
MOST_RUNS = 120


class Style(NamedTuple):
    """How a state looks: the colour of its cell, the colour of what is written on it, and its symbol."""

    fill: str
    ink: str
    symbol: str


STATES: dict[str | None, Style] = {
    "success": Style("#009E73", "white", "✓"),
    "failed": Style("#D55E00", "white", "✗"),
    "upstream_failed": Style("#E69F00", INK, "▲"),
    "skipped": Style("#F3D3E4", INK, "–"),
    "up_for_retry": Style("#F0E442", INK, "↻"),
    "up_for_reschedule": Style("#F0E442", INK, "○"),
    "running": Style("#56B4E9", INK, "▶"),
    "queued": Style("#B8C0C8", INK, "●"),
    "scheduled": Style("#E4E8EB", INK, "◌"),
    "removed": Style("#E4E8EB", SOFT, "∅"),
    None: Style("white", SOFT, "·"),
}
"""One look for each state, in every picture and every text twin."""

TELLING = (
    "failed",
    "upstream_failed",
    "up_for_retry",
    "up_for_reschedule",
    "running",
    "queued",
    "scheduled",
    None,
    "skipped",
    "success",
    "removed",
)
"""The states from what most needs a look to what least does."""


class Picture(Figure):
    """A figure with its text twin; `size` is width and height in inches."""

    def __init__(self, size: tuple[float, float], words: str) -> None:
        super().__init__(figsize=size, facecolor="white", layout="constrained")
        self.words = words

    def __str__(self) -> str:
        return self.words

    __repr__ = __str__

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """What a notebook shows: twice as many pixels as its size asks for, so that it is sharp."""
        png = io.BytesIO()
        self.savefig(png, format="png", dpi=192, metadata={"Software": None})
        width, height = (int(96 * inches) for inches in self.get_size_inches())
        return png.getvalue(), {"width": width, "height": height}


# --- a DAG ------------------------------------------------------------------------------------------------------------

GAP, ROW, BOX = 0.75, 0.75, 0.48
"""Inches between two layers, from one row to the next, and the height of a box."""

Point = tuple[float, float]
Lane = tuple[str, str, int]
"""Where an edge (tail, head) passes a layer that it jumps over."""


def graph(dag: DAG) -> Picture:
    """A DAG's tasks in layers from left to right: what is in one layer waits only for layers before it.

    >>> from etlkit.dag import BaseOperator
    >>> with DAG("weather") as dag:
    ...     _ = BaseOperator("extract") >> [BaseOperator("mean"), BaseOperator("extremes")]
    >>> print(graph(dag))
    weather: 3 tasks in 2 layers
    1  extract
    2  mean      after extract
    2  extremes  after extract
    """
    if len(dag.task_dict) > MOST_TASKS:
        raise EtlkitError(
            f"DAG {dag.dag_id!r} has {len(dag.task_dict):,} tasks and a picture shows {MOST_TASKS}; "
            "draw a part: viz.graph(dag.partial_subset([...]))"
        )
    layers = dag.topological_generations()
    columns = _with_lanes(dag, layers)
    width = 0.5 + 0.085 * max(map(len, dag.task_dict), default=0)
    size = (max(len(columns) * (width + GAP) - GAP + 0.3, 3.0), ROW * max(map(len, columns), default=0) + 0.4)
    picture = Picture(size, _graph_in_words(dag, layers))
    axes = _canvas(picture)
    places = {
        node: (0.15 + width / 2 + i * (width + GAP), (size[1] - 0.3) / 2 + ROW * ((len(column) - 1) / 2 - row))
        for i, column in enumerate(columns)
        for row, node in enumerate(column)
    }
    depth = {task_id: i for i, layer in enumerate(layers) for task_id in layer}
    for tail, head, label in dag.graph.edges(data="label"):
        lanes = [(tail, head, i) for i in range(depth[tail] + 1, depth[head])]
        _arrow(axes, [places[node] for node in (tail, *lanes, head)], width, label)
    for task_id, task in dag.task_dict.items():
        _box(axes, task_id, task.task_type, places[task_id], width)
    axes.text(0.15, size[1] - 0.12, dag.dag_id, ha="left", va="top", weight="bold", color=INK, size=11)
    return picture


def _with_lanes(dag: DAG, layers: Sequence[Sequence[str]]) -> list[list[str | Lane]]:
    """The layers with a free lane for each edge that jumps over one, ordered so that neighbours lie side by side."""
    depth = {task_id: i for i, layer in enumerate(layers) for task_id in layer}
    columns: list[list[str | Lane]] = [list(layer) for layer in layers]
    before: dict[str | Lane, list[str | Lane]] = {task_id: [] for task_id in depth}
    for tail, head in dag.graph.edges:
        path: list[Any] = [tail, *((tail, head, i) for i in range(depth[tail] + 1, depth[head])), head]
        for here, there in itertools.pairwise(path):
            before.setdefault(there, []).append(here)
        for i, lane in enumerate(path[1:-1], depth[tail] + 1):
            columns[i].append(lane)
    place: dict[str | Lane, float] = {}
    for column in columns:
        column.sort(key=lambda node: sum(place[n] for n in before[node]) / len(before[node]) if before[node] else 0.0)
        place.update((node, row - (len(column) - 1) / 2) for row, node in enumerate(column))
    return columns


def _canvas(picture: Picture) -> Axes:
    """Axes that fill the picture and are measured in inches."""
    picture.set_layout_engine("none")
    axes = picture.add_axes((0, 0, 1, 1))
    width, height = picture.get_size_inches()
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.axis("off")
    return axes


def _box(axes: Axes, task_id: str, kind: str, place: Point, width: float) -> None:
    x, y = place
    corner = (x - width / 2, y - BOX / 2)
    style = "round,pad=0,rounding_size=0.09"
    axes.add_patch(FancyBboxPatch(corner, width, BOX, boxstyle=style, facecolor="#EAF4FB", edgecolor="#0072B2", lw=1.2))
    axes.text(x, y + 0.08, task_id, ha="center", va="center", color=INK, size=9.5)
    axes.text(x, y - 0.11, kind, ha="center", va="center", color=SOFT, size=6.5)


def _arrow(axes: Axes, places: Sequence[Point], width: float, label: str | None) -> None:
    """An edge through the middles of its boxes and lanes: a curve across each gap, straight along each lane."""
    points, codes = [(places[0][0] + width / 2, places[0][1])], [Path.MOVETO]
    for x, y in places[1:]:
        start, end = points[-1], (x - width / 2, y)
        middle = (start[0] + end[0]) / 2
        points += [(middle, start[1]), (middle, y), end, (x + width / 2, y)]
        codes += [Path.CURVE4] * 3 + [Path.LINETO]
    edge = Path(points[:-1], codes[:-1])  # it ends where the last box begins
    axes.add_patch(FancyArrowPatch(path=edge, arrowstyle="-|>", mutation_scale=11, color=SOFT, lw=1.2))
    if label:
        x, y = points[1][0], (points[0][1] + points[3][1]) / 2
        clear = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        axes.text(x, y, label, ha="center", va="center", color=SOFT, size=7, bbox=clear)


def _graph_in_words(dag: DAG, layers: Sequence[Sequence[str]]) -> str:
    count, width = len(dag.task_dict), max(map(len, dag.task_dict), default=0)
    lines = [f"{dag.dag_id}: {count} task{'s' * (count != 1)} in {len(layers)} layer{'s' * (len(layers) != 1)}"]
    for depth, layer in enumerate(layers, 1):
        for task_id in layer:
            before = ", ".join(dag.graph.pred[task_id])
            lines.append(f"{depth}  {task_id:<{width}}  {f'after {before}' if before else ''}".rstrip())
    return "\n".join(lines)


# --- runs -------------------------------------------------------------------------------------------------------------


class Cell(NamedTuple):
    """One task in one run, for `grid`."""

    run: str
    task_id: str
    state: str | None
    try_number: int


def grid(cells: Iterable[Sequence[Any]], title: str = "") -> Picture:
    """Runs from left to right, tasks from top to bottom, and in each cell the state; a small number counts the tries.

    `cells` are (run's label, task_id, state, try number), in the order in which runs and tasks should stand. Of a
    mapped task, which has several in a run, the first state of `TELLING` is shown.

    >>> print(grid([("2013-01-01", "extract", "success", 2), ("2013-01-01", "load", "failed", 1)]))
    2013-01-01
    extract  ✓2
    load     ✗
    ✓ success  ✗ failed  2: at the 2nd try
    """
    by_place: dict[tuple[str, str], tuple[str | None, int]] = {}
    for run, task, state, tries in cells:
        others, most = by_place.get((run, task), (state, tries))
        by_place[run, task] = (min(state, others, key=TELLING.index), max(tries, most))
    runs, tasks = (list(dict.fromkeys(names)) for names in ((r for r, _ in by_place), (t for _, t in by_place)))
    if len(runs) > MOST_RUNS:
        raise EtlkitError(
            f"{len(runs):,} runs are too many for one picture, which shows {MOST_RUNS}; choose some of them"
        )
    left, side = 0.35 + 0.085 * max(map(len, tasks), default=0), 0.27
    size = (max(left + side * len(runs) + 0.2, 4.5), side * len(tasks) + 1.05)
    picture = Picture(size, _grid_in_words(runs, tasks, by_place))
    axes = _canvas(picture)
    top = size[1] - 0.55
    axes.text(0.15, size[1] - 0.12, title, ha="left", va="top", weight="bold", color=INK, size=11)
    for column, run in enumerate(runs):
        if column % 7 == 0:
            axes.text(left + side * column, top + 0.06, run, ha="left", va="bottom", color=SOFT, size=7.5)
    for line, task in enumerate(tasks):
        y = top - side * (line + 1)
        axes.text(left - 0.12, y + side / 2, task, ha="right", va="center", color=INK, size=9.5)
        for column, run in enumerate(runs):
            if (run, task) in by_place:
                _cell(axes, left + side * column, y, side, *by_place[run, task])
    _legend(axes, left, top - side * len(tasks) - 0.25, by_place.values())
    return picture


def _cell(axes: Axes, x: float, y: float, side: float, state: str | None, tries: int) -> None:
    look = STATES[state]
    edge = LINE if look.fill == "white" else look.fill
    axes.add_patch(Rectangle((x + 0.015, y + 0.015), side - 0.03, side - 0.03, facecolor=look.fill, edgecolor=edge))
    shift = 0.04 if tries > 1 else 0
    axes.text(x + side / 2 - shift, y + side / 2, look.symbol, ha="center", va="center", color=look.ink, size=9)
    if tries > 1:
        corner = (x + side - 0.035, y + 0.035)
        axes.text(*corner, str(tries), ha="right", va="bottom", color=look.ink, size=6.5, weight="bold")


def _legend(axes: Axes, x: float, y: float, seen: Iterable[tuple[str | None, int]]) -> None:
    states, tries = zip(*seen, strict=True) if seen else ((), ())
    entries = [(state, 1, state or "no state yet") for state in _seen(states)]
    if max(tries, default=1) > 1:
        entries.append((_seen(states)[0], 2, "at the 2nd try"))
    for state, number, name in entries:
        _cell(axes, x, y - 0.13, 0.2, state, number)
        axes.text(x + 0.27, y - 0.03, name, ha="left", va="center", color=SOFT, size=8)
        x += 0.55 + 0.075 * len(name)


def _seen(states: Iterable[str | None]) -> list[str | None]:
    """The states that occur, in the order of `STATES`."""
    there = set(states)
    return [state for state in STATES if state in there]


def _grid_in_words(runs: Sequence[str], tasks: Sequence[str], by_place: dict[tuple[str, str], tuple[Any, int]]) -> str:
    width = max(map(len, tasks), default=0)
    lines = [f"{runs[0]} … {runs[-1]}" if len(runs) > 1 else "".join(runs)]
    for task in tasks:
        cells = (by_place.get((run, task)) for run in runs)
        marks = (f"{STATES[c[0]].symbol}{c[1] if c[1] > 1 else ' '}" if c else "  " for c in cells)
        lines.append(f"{task:<{width}}  {''.join(marks)}".rstrip())
    legend = [f"{STATES[state].symbol} {state or 'no state yet'}" for state in _seen(s for s, _ in by_place.values())]
    if any(tries > 1 for _, tries in by_place.values()):
        legend.append("2: at the 2nd try")
    return "\n".join([*lines, "  ".join(legend)])


# --- the weather ------------------------------------------------------------------------------------------------------


class Day(NamedTuple):
    """One airport's temperatures on one day, °F, for `temperatures`."""

    airport: str
    date: date
    mean: float
    low: float
    high: float


AIRPORTS = ("#0072B2", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#E69F00")


def temperatures(days: Iterable[Sequence[Any]], title: str = "Temperature by day") -> Picture:
    """Each airport's daily mean as a line within the band from the day's minimum to its maximum.

    `days` are (airport, date, mean, minimum, maximum), °F. The coldest and the warmest reading are marked.

    >>> print(temperatures([("JFK", date(2013, 1, 1), 37.0, 26.1, 39.9), ("JFK", date(2013, 1, 2), 28.0, 21.9, 34.0)]))
    airport  days   mean  coldest             warmest
    JFK         2   32.5  21.9 on 2013-01-02  39.9 on 2013-01-01
    """
    by_airport: dict[str, list[Day]] = {}
    for day in sorted(map(Day._make, days), key=lambda day: (day.airport, day.date)):
        by_airport.setdefault(day.airport, []).append(day)
    picture = Picture((8.5, 0.9 + 1.45 * max(len(by_airport), 1)), _temperatures_in_words(by_airport))
    picture.suptitle(title, x=0.012, ha="left", weight="bold", color=INK, size=12)
    key = "°F.  Line: the day's mean.  Band: from its minimum to its maximum.  Dashes: freezing, 32 °F."
    picture.supxlabel(key, x=0.012, ha="left", color=SOFT, size=8)
    panels = picture.subplots(max(len(by_airport), 1), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for i, (axes, (airport, those)) in enumerate(zip(panels, by_airport.items(), strict=False)):
        _band(axes, airport, those, AIRPORTS[i % len(AIRPORTS)])
    offsets = ["", "%Y", "%B %Y", "%d %B %Y", "%d %B %Y", "%d %B %Y"]
    ticks = ConciseDateFormatter(panels[-1].xaxis.get_major_locator(), offset_formats=offsets)
    panels[-1].xaxis.set_major_formatter(ticks)
    panels[-1].xaxis.get_offset_text().set(color=SOFT, size=8)
    return picture


def _band(axes: Axes, airport: str, days: Sequence[Day], color: str) -> None:
    dates: Any = [day.date for day in days]
    axes.fill_between(dates, [d.low for d in days], [d.high for d in days], color=color, alpha=0.18, lw=0)
    axes.plot(dates, [day.mean for day in days], color=color, lw=1.8, marker="o", ms=2.5)
    axes.axhline(32, color=SOFT, lw=0.7, ls=(0, (4, 4)))
    coldest, warmest = _extremes(days)
    for day, value, sign, below in ((coldest, coldest.low, "▼", True), (warmest, warmest.high, "▲", False)):
        at: Any = day.date
        offset = (0, -4 if below else 4)
        axes.annotate(
            f"{sign} {value:.0f}", (at, value), offset, textcoords="offset points", ha="center",
            va="top" if below else "bottom", size=8, color=INK,
        )  # fmt: skip
    axes.set_title(airport, loc="left", size=10, color=color, weight="bold", pad=3)
    axes.margins(x=0.02, y=0.22)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(LINE)
    axes.tick_params(colors=SOFT, labelsize=8)


def _extremes(days: Sequence[Day]) -> tuple[Day, Day]:
    """The day with the coldest reading and the day with the warmest; the earlier one of two."""
    return min(days, key=lambda day: day.low), max(days, key=lambda day: day.high)


def _temperatures_in_words(by_airport: dict[str, list[Day]]) -> str:
    lines = ["airport  days   mean  coldest             warmest"]
    for airport, days in by_airport.items():
        coldest, warmest = _extremes(days)
        mean = sum(day.mean for day in days) / len(days)
        lines.append(
            f"{airport:<7}  {len(days):>4}  {mean:>5.1f}  {coldest.low:>4.1f} on {coldest.date}"
            f"  {warmest.high:>4.1f} on {warmest.date}"
        )
    return "\n".join(lines)
