"""The state machine: which state may follow which, drawn from the tables of `etlkit.states`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path

from etlkit.errors import EtlkitError
from etlkit.showing import aligned
from etlkit.states import RUN_TRANSITIONS, TASK_TRANSITIONS
from etlkit.viz.looks import INK, MARGIN, NORMAL, SMALL, SOFT, STATES, TINY, TITLE, Picture, sheet, signed, write

Transitions = Mapping[Any, frozenset]
Point = tuple[float, float]

COLUMN, ROW, WIDTH, BOX = 1.9, 0.8, 1.4, 0.5
"""Inches from one column and row of boxes to the next, and the size of a box."""

SIDES: dict[str, Point] = {"left": (-1, 0), "right": (1, 0), "top": (0, 1), "bottom": (0, -1)}
"""Where an arrow leaves or enters a box."""


class Arrow(NamedTuple):
    """A step that is drawn as an arrow: the usual life of a task or a run."""

    tail: str | None
    head: str
    leaves: str = "right"
    enters: str = "left"


class Chart(NamedTuple):
    """Where the states of a table stand (column, row from the bottom), and which of its steps are arrows."""

    transitions: Transitions
    places: dict[str | None, Point]
    arrows: tuple[Arrow, ...]


CHARTS = {
    "task": Chart(
        TASK_TRANSITIONS,
        {
            None: (0, 3), "scheduled": (1, 3), "queued": (2, 3), "running": (3, 3),
            "up_for_retry": (2, 4.3), "up_for_reschedule": (2, 1.9),
            "success": (4, 4.3), "failed": (4, 3.2), "skipped": (4, 2.1), "upstream_failed": (4, 1), "removed": (4, 0),
        },
        (
            Arrow(None, "scheduled"),
            Arrow("scheduled", "queued"),
            Arrow("queued", "running"),
            Arrow("running", "success"),
            Arrow("running", "failed"),
            Arrow("running", "skipped"),
            Arrow("running", "up_for_retry", "top", "right"),
            Arrow("up_for_retry", "scheduled", "left", "top"),
            Arrow("running", "up_for_reschedule", "bottom", "right"),
            Arrow("up_for_reschedule", "scheduled", "left", "bottom"),
            Arrow(None, "upstream_failed", "bottom"),
        ),
    ),
    "run": Chart(
        RUN_TRANSITIONS,
        {"queued": (0, 0.5), "running": (1, 0.5), "success": (2, 1), "failed": (2, 0)},
        (Arrow("queued", "running"), Arrow("running", "success"), Arrow("running", "failed")),
    ),
}  # fmt: skip
"""What is drawn of each table. The other steps stand as symbols in their box, so none is left out."""


def state_machine(of: str = "task") -> Picture:
    """The states of a task instance or of a run ("task", "run"), and which may follow which.

    An arrow is what happens by itself. What else may follow stands below the state's name as a symbol: somebody marks
    or clears it, a limit ends it, its task is gone, or its worker.

    >>> print(state_machine("run"))
    The states of a run, and which may follow
    ● queued   → ✗ failed, ▶ running
    ▶ running  → ✓ success, ✗ failed, ● queued
    ✓ success  → ● queued
    ✗ failed   → ● queued
    """
    if of not in CHARTS:
        raise EtlkitError(f"there is a state machine of {' and of '.join(map(repr, CHARTS))}, not of {of!r}")
    chart = CHARTS[of]
    title = "The states of a " + {"task": "task instance", "run": "run"}[of] + ", and which may follow"
    across, up = (max(place[axis] for place in chart.places.values()) for axis in (0, 1))
    note = "or …: also possible, when somebody marks or clears it, a limit ends it, or its task or worker is gone"
    height = TITLE + up * ROW + BOX + 0.55
    picture, axes = sheet(across * COLUMN + WIDTH + 2 * MARGIN, height, _in_words(chart, title), title)
    places = {
        state: (MARGIN + WIDTH / 2 + column * COLUMN, 0.5 + BOX / 2 + row * ROW)
        for state, (column, row) in chart.places.items()
    }
    for arrow in chart.arrows:
        _arrow(axes, places[arrow.tail], places[arrow.head], arrow)
    for state, place in places.items():
        _box(axes, state, place, others(chart, state))
    _note(axes, note, picture.get_size_inches()[0] - 2 * MARGIN)
    return picture


def others(chart: Chart, state: str | None) -> list[str | None]:
    """What may follow a state besides what its arrows lead to, in the order of `STATES`."""
    drawn = {arrow.head for arrow in chart.arrows if arrow.tail == state}
    return [other for other in STATES if other in chart.transitions[state] and other not in drawn]


def _note(axes: Axes, note: str, width: float) -> None:
    """The meaning of the symbols, in one line or two."""
    lines = [note] if width > 6 else note.split(", ", 1)
    for number, line in enumerate(lines):
        write(axes, MARGIN, 0.28 - 0.16 * number, line, SMALL, SOFT)


def _box(axes: Axes, state: str | None, place: Point, also: list[str | None]) -> None:
    x, y = place
    look = STATES[state]
    style = "round,pad=0,rounding_size=0.09"
    corner = (x - WIDTH / 2, y - BOX / 2)
    axes.add_patch(
        FancyBboxPatch(corner, WIDTH, BOX, boxstyle=style, facecolor=look.fill, edgecolor="#8a949d", lw=1, zorder=2)
    )
    ink = look.ink if look.ink == "white" else INK
    write(axes, x, y + (0.09 if also else 0), signed(state), NORMAL, ink, ha="center", zorder=4)
    if also:
        line = "or " + "  ".join(STATES[other].symbol for other in also)
        write(axes, x, y - 0.12, line, TINY + 0.5, ink, ha="center", zorder=4)


def _arrow(axes: Axes, tail: Point, head: Point, arrow: Arrow) -> None:
    """A curve that leaves and enters at right angles."""
    start, end = _port(tail, arrow.leaves), _port(head, arrow.enters)
    bend = 0.5 if arrow.leaves in ("left", "right") and arrow.enters in ("left", "right") else 0.75
    reach = [bend * abs(b - a) for a, b in zip(start, end, strict=True)]
    curve = [start, _away(start, arrow.leaves, reach), _away(end, arrow.enters, reach), end]
    path = Path(curve, [Path.MOVETO, *[Path.CURVE4] * 3])
    axes.add_patch(FancyArrowPatch(path=path, arrowstyle="-|>", mutation_scale=11, color="#7d8790", lw=1.2))


def _port(place: Point, side: str) -> Point:
    x, y = SIDES[side]
    return place[0] + x * WIDTH / 2, place[1] + y * BOX / 2


def _away(point: Point, side: str, reach: list[float]) -> Point:
    x, y = SIDES[side]
    return point[0] + x * reach[0], point[1] + y * reach[1]


def _in_words(chart: Chart, title: str) -> str:
    follow = {
        state: [signed(other) for other in sorted(allowed, key=list(STATES).index)]
        for state, allowed in chart.transitions.items()
    }
    return "\n".join([title, aligned([(signed(state), "→ " + ", ".join(names)) for state, names in follow.items()])])
