"""The grid: runs from left to right, tasks from top to bottom, in each cell a state."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes

from etlkit.errors import EtlkitError
from etlkit.showing import aligned
from etlkit.viz.looks import (
    MARGIN,
    NORMAL,
    SMALL,
    SOFT,
    STATES,
    TELLING,
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
    squares,
    state_entries,
    symbols,
    text_width,
    those_seen,
    widest,
    write,
)

MOST_RUNS = 120
BAND = 60
"""Runs beside each other; more go into another row of the picture."""

SIDE, ROOMY = 0.27, 0.2
"""Inches from one cell to the next, and how many leave room for the symbol beside the number of tries."""


DIGIT = 33
"""Points that a number of tries is high, for each inch of its cell: about as large as the symbol."""


class Cell(NamedTuple):
    """One task in one run, for `grid`."""

    run: str
    task_id: str
    state: str | None
    try_number: int


Places = dict[tuple[str, str], tuple[str | None, int]]
"""State and number of tries by run and task."""


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
    by_place: Places = {}
    for run, task, state, tries in cells:
        others, most = by_place.get((run, task), (state, tries))
        by_place[run, task] = (min(state, others, key=TELLING.index), max(tries, most))
    runs, tasks = (list(dict.fromkeys(names)) for names in ((r for r, _ in by_place), (t for _, t in by_place)))
    if not runs:
        return empty_sheet(title, "no runs yet")
    if len(runs) > MOST_RUNS:
        raise EtlkitError(
            f"{len(runs):,} runs are too many for one picture, which shows {MOST_RUNS}; choose some of them"
        )
    return _Grid(runs, tasks, by_place).drawn(title)


class _Grid:
    """The measures of one grid."""

    def __init__(self, runs: Sequence[str], tasks: Sequence[str], by_place: Places) -> None:
        self.runs, self.tasks, self.by_place = runs, tasks, by_place
        self.left = MARGIN + widest(tasks) + 0.12
        bands = math.ceil(len(runs) / BAND)
        per_band = math.ceil(len(runs) / bands)
        self.bands = [runs[i : i + per_band] for i in range(0, len(runs), per_band)]
        self.side = min(SIDE, (WIDEST - MARGIN - self.left) / per_band)
        self.row = max(self.side, 0.17)
        self.band_height = self.row * len(tasks) + 0.3

    @property
    def words(self) -> str:
        return _grid_in_words(self.runs, self.tasks, self.by_place)

    def drawn(self, title: str) -> Picture:
        width = max(self.left + self.side * len(self.bands[0]) + MARGIN, 4.5)
        key_left = MARGIN if self.left > 2 else self.left
        key = Key(self.entries, width - key_left - MARGIN)
        top = TITLE if title else MARGIN
        height = top + self.band_height * len(self.bands) + 0.1 + key.height + 0.1
        picture, axes = sheet(width, height, self.words, title)
        for number, runs in enumerate(self.bands):
            self.band(axes, runs, height - top - number * self.band_height - 0.22)
        key.draw(axes, key_left, 0.1 + key.height)
        return picture

    def band(self, axes: Axes, runs: Sequence[str], top: float) -> None:
        """Some of the runs; `top` is the upper edge of their cells."""
        self.heads(axes, runs, top + 0.06)
        places: dict[tuple[str | None, int], list[tuple[float, float]]] = defaultdict(list)
        for line, task in enumerate(self.tasks):
            y = top - self.row * (line + 0.5)
            size = min(NORMAL, self.row * 46)
            write(axes, self.left - 0.1, y, shortened(task, self.left - MARGIN - 0.12, size), size, ha="right")
            for column, run in enumerate(runs):
                if (run, task) in self.by_place:
                    places[self.by_place[run, task]].append((self.left + self.side * (column + 0.5), y))
        for (state, tries), middles in places.items():
            _draw(axes, state, tries, middles, self.side)

    def heads(self, axes: Axes, runs: Sequence[str], y: float) -> None:
        """The names of the runs, of as many as there is room for."""
        right = 0.0
        end = max(self.left + self.side * len(runs), 4.5 - MARGIN)
        for column, run in enumerate(runs):
            x, label = self.left + self.side * column, shortened(run, 2.5, SMALL)
            wide = text_width(label, SMALL)
            if x >= right and (x + wide <= end or not right):
                write(axes, x, y, label, SMALL, SOFT, va="bottom")
                right = x + wide + 0.15

    @property
    def entries(self) -> list[tuple[Mark, str]]:
        entries = state_entries(state for state, _ in self.by_place.values())
        again = [state for state, tries in self.by_place.values() if tries > 1]
        if again:
            shown = min(again, key=list(STATES).index)
            entries.append((lambda axes, x, y: _draw(axes, shown, 2, [(x, y)], min(self.side, 0.2)), "at the 2nd try"))
        return entries


def _draw(axes: Axes, state: str | None, tries: int, middles: Sequence[tuple[float, float]], side: float) -> None:
    """Cells of one look. Where there is no room for both, a number of tries takes the place of a success's symbol."""
    if tries < 2:
        cells(axes, {state: middles}, side - min(0.03, side / 6), side * 34)
        return
    ink, roomy = STATES[state].ink, side >= ROOMY
    squares(axes, middles, side - min(0.03, side / 6), state)
    if roomy or state != "success":
        shift = side / 5 if roomy else 0
        symbols(axes, STATES[state].symbol, [(x - shift, y) for x, y in middles], side * 34, ink)
    if roomy:
        size = side * DIGIT * 2 / (1 + len(str(tries)))
        symbols(axes, str(tries), [(x + side / 4.5, y - side / 9) for x, y in middles], size, ink)
    elif state == "success":
        symbols(axes, str(tries), middles, side * 46, ink)


def _grid_in_words(runs: Sequence[str], tasks: Sequence[str], by_place: Places) -> str:
    lines = []
    for task in tasks:
        found = (by_place.get((run, task)) for run in runs)
        marks = (f"{STATES[c[0]].symbol}{c[1] if c[1] > 1 else ' '}" if c else "  " for c in found)
        lines.append((task, "".join(marks)))
    legend = [signed(state) for state in those_seen(state for state, _ in by_place.values())]
    if any(tries > 1 for _, tries in by_place.values()):
        legend.append("2: at the 2nd try")
    head = f"{runs[0]} … {runs[-1]}" if len(runs) > 1 else runs[0]
    return "\n".join([head, aligned(lines), "  ".join(legend)])
