"""The graph of a DAG: its tasks in layers, coloured by their states if there is a run.

Layers run from left to right where that fits a notebook's width, else from the top down. So places are worked out as
(along, across): along the way of the layers, and across it within one layer.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path

from etlkit.dag import DAG
from etlkit.errors import EtlkitError
from etlkit.showing import aligned
from etlkit.viz.looks import (
    BLUE,
    INK,
    MARGIN,
    NORMAL,
    SMALL,
    SOFT,
    STATES,
    TINY,
    TITLE,
    WIDEST,
    Picture,
    counted,
    empty_sheet,
    sheet,
    shortened,
    signed,
    text_width,
    widest,
    write,
)

MOST_TASKS = 300

BOX = 0.48
"""Inches that a box is high."""

GAPS = {"across the page": 0.7, "down the page": 0.42}
"""Inches from one layer to the next, for the arrows."""

LANE = 0.28
"""Inches for an edge that passes a layer."""

PLAIN = "#EAF4FB"
"""The colour of a box without a state."""

SWEEPS = 6
"""How often the layers are put in order anew; the order with the fewest crossings is taken."""

Point = tuple[float, float]
Node = Any
"""A task_id, or a lane (tail, head, layer): where an edge passes a layer that it jumps over."""


def graph(dag: DAG, states: Mapping[str, str | None] | None = None, title: str | None = None) -> Picture:
    """A DAG's tasks in layers: what is in one layer waits only for layers before it.

    `states` are the states of the tasks in a run, by task_id. EtlkitError for a DAG too big to read.

    >>> from etlkit.dag import BaseOperator
    >>> with DAG("weather") as dag:
    ...     _ = BaseOperator("extract") >> [BaseOperator("mean"), BaseOperator("extremes")]
    >>> print(graph(dag))
    weather: 3 tasks in 2 layers
    1  extract
    2  mean      after extract
    2  extremes  after extract
    >>> print(graph(dag, {"extract": "success", "mean": "running"}))
    weather: 3 tasks in 2 layers
    1  extract   ✓ success
    2  mean      ▶ running       after extract
    2  extremes  · no state yet  after extract
    """
    if len(dag.task_dict) > MOST_TASKS:
        raise EtlkitError(
            f"DAG {dag.dag_id!r} has {len(dag.task_dict):,} tasks and a picture shows {MOST_TASKS}; "
            "draw a part: viz.graph(dag.partial_subset([...]))"
        )
    title = dag.dag_id if title is None else title
    if not dag.task_dict:
        return empty_sheet(title, "no tasks yet")
    seconds = {task_id: _second_line(dag, task_id, states) for task_id in dag.task_dict}
    layers = dag.topological_generations()
    layout = _laid_out(dag, layers, seconds.values())
    picture, axes = sheet(*layout.size, _graph_in_words(dag, layers, states, title), title)
    _draw_edges(axes, dag, layers, layout)
    for task_id, second in seconds.items():
        look = STATES[states.get(task_id)] if states is not None else None
        _box(axes, layout, task_id, second, *((PLAIN, SOFT) if look is None else look[:2]))
    return picture


def _second_line(dag: DAG, task_id: str, states: Mapping[str, str | None] | None) -> str:
    return dag.task_dict[task_id].kind if states is None else signed(states.get(task_id))


# --- the layout -------------------------------------------------------------------------------------------------------


class Layout:
    """Where each node of a graph stands: `places` in inches on the sheet, and the sheet's size."""

    def __init__(self, columns: Sequence[Sequence[Node]], width: float, down: bool, label: float) -> None:
        self.columns, self.width, self.down = columns, width, down
        self.box_along, self.box_across = (BOX, width) if down else (width, BOX)
        self.gap = GAPS["down the page"] if down else max(GAPS["across the page"], label + 0.35)
        along = len(columns) * (self.box_along + self.gap) - self.gap
        self.across = max(sum(map(self._room, column)) for column in columns)
        across_page, down_page = (self.across, along) if down else (along, self.across)
        self.size = (across_page + 2 * MARGIN, down_page + TITLE + MARGIN)
        self.places = {
            node: self.on_page(i * (self.box_along + self.gap) + self.box_along / 2, across)
            for i, column in enumerate(columns)
            for node, across in self._spread(column)
        }

    def _room(self, node: Node) -> float:
        return self.box_across + (0.24 if self.down else 0.2) if isinstance(node, str) else LANE

    def _spread(self, column: Sequence[Node]) -> Iterable[tuple[Node, float]]:
        """The nodes of a layer beside each other, in the middle of the sheet."""
        edge = (self.across - sum(map(self._room, column))) / 2
        for node in column:
            yield node, edge + self._room(node) / 2
            edge += self._room(node)

    def on_page(self, along: float, across: float) -> Point:
        if self.down:
            return MARGIN + across, self.size[1] - TITLE - along
        return MARGIN + along, self.size[1] - TITLE - across

    def moved(self, place: Point, along: float) -> Point:
        """A place, so much further along."""
        return (place[0], place[1] - along) if self.down else (place[0] + along, place[1])

    def halfway(self, start: Point, end: Point) -> tuple[Point, Point]:
        """The two middles between places, beside the one and beside the other: where a curve between them bends."""
        x, y = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
        return ((start[0], y), (end[0], y)) if self.down else ((x, start[1]), (x, end[1]))


def _laid_out(dag: DAG, layers: Sequence[Sequence[str]], seconds: Iterable[str]) -> Layout:
    """The first of these that fits a notebook: across the page, down the page, the same with names shortened."""
    columns = _with_lanes(dag, layers)
    labels = [label for *_, label in dag.graph.edges(data="label") if label]
    needed = max(widest(dag.task_dict), widest(seconds, TINY)) + 0.24
    label = widest(labels, SMALL)
    widths = [max(min(needed, most), 0.75) for most in (needed, 1.4, 1.0, 0.75)]
    tries = [Layout(columns, width, down, label) for width in widths for down in (False, True)]
    return next((layout for layout in tries if layout.size[0] <= WIDEST), min(tries, key=lambda it: it.size[0]))


def _with_lanes(dag: DAG, layers: Sequence[Sequence[str]]) -> list[list[Node]]:
    """The layers with a lane for each edge that jumps over one, in an order in which few edges cross."""
    columns: list[list[Node]] = [list(layer) for layer in layers]
    depth = {task_id: i for i, layer in enumerate(layers) for task_id in layer}
    before: dict[Node, list[Node]] = {task_id: [] for task_id in depth}
    after: dict[Node, list[Node]] = {task_id: [] for task_id in depth}
    for tail, head in dag.graph.edges:
        path = _path(depth, tail, head)
        for here, there in itertools.pairwise(path):
            before.setdefault(there, []).append(here)
            after.setdefault(here, []).append(there)
        for lane in path[1:-1]:
            columns[lane[2]].append(lane)
    best, fewest = columns, _crossings(columns, after)
    for sweep in range(SWEEPS):
        if not fewest:
            break
        columns = _swept(columns, after, backwards=True) if sweep % 2 else _swept(columns, before)
        if (crossings := _crossings(columns, after)) < fewest:
            best, fewest = columns, crossings
    return best


def _path(depth: Mapping[str, int], tail: str, head: str) -> list[Node]:
    """An edge's ends, with its lanes between them."""
    return [tail, *((tail, head, i) for i in range(depth[tail] + 1, depth[head])), head]


def _swept(columns: Sequence[Sequence[Node]], near: Mapping[Node, Sequence[Node]], backwards: bool = False) -> list:
    """The layers, each node as near as may be to the middle of its neighbours in the layer that was done before."""
    place: dict[Node, float] = {}
    done = []
    for column in reversed(columns) if backwards else columns:
        middle = (len(column) - 1) / 2
        wish = {node: row - middle for row, node in enumerate(column)}
        wish.update((n, fmean(place[other] for other in near[n])) for n in column if near.get(n))
        ordered = sorted(column, key=wish.__getitem__)
        place.update((node, row - middle) for row, node in enumerate(ordered))
        done.append(ordered)
    return done[::-1] if backwards else done


def _crossings(columns: Sequence[Sequence[Node]], after: Mapping[Node, Sequence[Node]]) -> int:
    """How many pairs of edges cross."""
    count = 0
    for here, there in itertools.pairwise(columns):
        row = {node: i for i, node in enumerate(there)}
        ends = [sorted(row[node] for node in after.get(tail, ())) for tail in here]
        for i, upper in enumerate(ends):
            count += sum(a > b for lower in ends[i + 1 :] for a in upper for b in lower)
    return count


# --- drawing ----------------------------------------------------------------------------------------------------------


def _box(axes: Axes, layout: Layout, task_id: str, second: str, fill: str, ink: str) -> None:
    x, y = layout.places[task_id]
    width, edge = layout.width, BLUE if fill == PLAIN else "#8a949d"
    style = "round,pad=0,rounding_size=0.09"
    corner = (x - width / 2, y - BOX / 2)
    axes.add_patch(FancyBboxPatch(corner, width, BOX, boxstyle=style, facecolor=fill, edgecolor=edge, lw=1.1))
    top = ink if ink == "white" else INK
    write(axes, x, y + 0.08, shortened(task_id, width - 0.16), NORMAL, top, ha="center")
    write(axes, x, y - 0.11, shortened(second, width - 0.12, TINY), TINY, ink, ha="center")


def _draw_edges(axes: Axes, dag: DAG, layers: Sequence[Sequence[str]], layout: Layout) -> None:
    depth = {task_id: i for i, layer in enumerate(layers) for task_id in layer}
    x, y = layout.width / 2, BOX / 2
    boxes = [Rect(at[0] - x, at[1] - y, at[0] + x, at[1] + y) for n, at in layout.places.items() if isinstance(n, str)]
    labels = _Labels(axes, layout.size[0], boxes)
    for tail, head, label in dag.graph.edges(data="label"):
        curve = _curve(layout, [layout.places[node] for node in _path(depth, tail, head)])
        axes.add_patch(FancyArrowPatch(path=curve, arrowstyle="-|>", mutation_scale=10, color="#7d8790", lw=1.1))
        if label:
            labels.put(label, curve)


def _curve(layout: Layout, places: Sequence[Point]) -> Path:
    """An edge through the middles of its boxes and lanes: a curve across each gap, straight along each lane."""
    half = layout.box_along / 2
    points, codes = [layout.moved(places[0], half)], [Path.MOVETO]
    for place in places[1:]:
        end = layout.moved(place, -half)
        points += [*layout.halfway(points[-1], end), end, layout.moved(place, half)]
        codes += [Path.CURVE4] * 3 + [Path.LINETO]
    return Path(points[:-1], codes[:-1])  # it ends where the last box begins


class Rect(NamedTuple):
    """A stretch of a sheet, in inches."""

    left: float
    bottom: float
    right: float
    top: float

    def overlaps(self, other: Rect) -> bool:
        return (
            self.left < other.right and other.left < self.right and self.bottom < other.top and other.bottom < self.top
        )


class _Labels:
    """Puts names of edges on their first curve, where they hide no box and no other name.

    One for which there is no such place is left out; the text twin has them all.
    """

    def __init__(self, axes: Axes, width: float, taken: Iterable[Rect]) -> None:
        self.axes, self.width, self.taken = axes, width, list(taken)

    def put(self, label: str, curve: Path) -> None:
        label = shortened(label, 1.9, SMALL)
        half, tall = text_width(label, SMALL) / 2 + 0.02, 0.075
        start = [(float(x), float(y)) for x, y in np.asarray(curve.vertices)[:4]]
        for t in (0.5, 0.4, 0.6, 0.3, 0.7, 0.2, 0.8, 0.1, 0.9):
            x, y = _bezier(start, t)
            x = min(max(x, half), self.width - half)
            around = Rect(x - half, y - tall, x + half, y + tall)
            if not any(map(around.overlaps, self.taken)):
                self.taken.append(around)
                clear = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
                write(self.axes, x, y, label, SMALL, SOFT, ha="center", bbox=clear)
                return


def _bezier(points: Sequence[Point], t: float) -> Point:
    """The point of a cubic curve at `t`, from 0 to 1."""
    weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3)
    x, y = (sum(w * point[axis] for w, point in zip(weights, points, strict=True)) for axis in (0, 1))
    return x, y


def _graph_in_words(
    dag: DAG, layers: Sequence[Sequence[str]], states: Mapping[str, str | None] | None, title: str
) -> str:
    rows = []
    special = {task.task_id: task.kind for task in dag.tasks if task.kind != task.task_type}
    for depth, layer in enumerate(layers, 1):
        for task_id in layer:
            labels = dag.graph.pred[task_id]
            before = ", ".join(f"{up} ({edge['label']})" if edge.get("label") else up for up, edge in labels.items())
            state = [] if states is None else [signed(states.get(task_id))]
            kind = [special.get(task_id, "")] if special else []
            rows.append((str(depth), task_id, *state, *kind, f"after {before}" if before else ""))
    return f"{title}: {counted(len(dag.task_dict), 'task')} in {counted(len(layers), 'layer')}\n{aligned(rows)}"
