"""The truth table of the trigger rules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from etlkit.errors import DagError, nearest
from etlkit.rules import TRIGGER_RULES, UpstreamCounts, Verdict, evaluate
from etlkit.showing import aligned
from etlkit.states import TaskInstanceState
from etlkit.viz.looks import (
    INK,
    LINE,
    MARGIN,
    ORANGE,
    SKY,
    SMALL,
    SOFT,
    STATES,
    TITLE,
    WIDEST,
    Key,
    Picture,
    Style,
    cells,
    sheet,
    state_entries,
    symbols,
    widest,
    write,
)

CASES: tuple[tuple[str, ...], ...] = (
    ("success", "success"),
    ("success", "failed"),
    ("success", "skipped"),
    ("failed", "failed"),
    ("failed", "skipped"),
    ("skipped", "skipped"),
    ("success", "running"),
    ("failed", "running"),
    ("skipped", "running"),
)
"""How two tasks before one may stand: all that tell the rules apart."""

VERDICTS = {
    Verdict.RUN: Style(SKY, INK, "▶"),
    Verdict.WAIT: Style("white", SOFT, "…"),
    Verdict.SKIP: STATES["skipped"],
    Verdict.UPSTREAM_FAILED: Style(ORANGE, INK, "▲"),
}
"""How an answer looks; its word stands in the cell too."""

ROW, HEAD = 0.29, 0.5


def trigger_rules(
    rules: Iterable[str] | None = None,
    upstream: Iterable[Sequence[str | None]] | None = None,
    title: str = "What a task does, by its trigger rule and the states of the tasks before it",
) -> Picture:
    """What each rule answers for each case: run, wait, skip, or upstream_failed; the rules themselves are asked.

    `rules` are names from `etlkit.rules.TRIGGER_RULES`, all of them if None. `upstream` are the cases: the states of
    the tasks before the one whose rule it is. DagError for a name that is no rule, or no state.

    >>> print(trigger_rules(["all_success", "all_done"], [("success", "failed"), ("failed", "running")], title=""))
    trigger rule  success+failed   failed+running
    all_success   upstream_failed  upstream_failed
    all_done      run              wait
    """
    names = [_known("trigger rule", str(rule), TRIGGER_RULES) for rule in (TRIGGER_RULES if rules is None else rules)]
    states = [*TaskInstanceState]
    cases = [
        tuple(None if state is None else _known("state", str(state), states) for state in case)
        for case in (CASES if upstream is None else upstream)
    ]
    answers = {rule: [evaluate(rule, UpstreamCounts.of(case)) for case in cases] for rule in names}
    words = _in_words(cases, answers, title)
    left = MARGIN + widest(["trigger rule", *answers], at_most=2.2) + 0.15
    column = min(0.85, max((WIDEST - left - MARGIN) / max(len(cases), 1), 0.66))
    key = Key(state_entries(state for case in cases for state in case), WIDEST - 2 * MARGIN)
    top = TITLE if title else MARGIN
    height = top + HEAD + ROW * len(answers) + 0.15 + key.height + 0.1
    picture, axes = sheet(left + column * len(cases) + MARGIN, height, words, title)
    _heads(axes, cases, left, column, height - top)
    for number, (rule, row) in enumerate(answers.items()):
        y = height - top - HEAD - ROW * (number + 0.5)
        write(axes, left - 0.12, y, rule, ha="right")
        for place, verdict in enumerate(row):
            _answer(axes, verdict, left + column * place, y, column)
    key.draw(axes, MARGIN, 0.1 + key.height)
    return picture


def _known(what: str, name: str, names: Iterable[str]) -> str:
    if name not in (known := [*map(str, names)]):
        raise DagError(f"there is no {what} {name!r}{nearest(name, known) or '; there are: ' + ', '.join(known)}")
    return name


def _heads(axes: Axes, cases: Sequence[Sequence[str | None]], left: float, column: float, top: float) -> None:
    """The states of each case, as cells above its column."""
    write(axes, left - 0.12, top - HEAD / 2 + 0.06, "before it:", SMALL, SOFT, ha="right")
    for place, case in enumerate(cases):
        side = min(0.22, (column - 0.1) / max(len(case), 1))
        first = left + column * (place + 0.5) - side * (len(case) - 1) / 2
        for number, state in enumerate(case):
            cells(axes, {state: [(first + side * number, top - HEAD / 2 + 0.06)]}, side - 0.03, 8)


def _answer(axes: Axes, verdict: Verdict, x: float, y: float, column: float) -> None:
    look = VERDICTS[verdict]
    width, height = column - 0.04, ROW - 0.04
    axes.add_patch(
        Rectangle((x + 0.02, y - height / 2), width, height, facecolor=look.fill, edgecolor=LINE, lw=0.6, zorder=2)
    )
    symbols(axes, look.symbol, [(x + 0.13, y)], 7, look.ink)
    lines = verdict.value.replace("_", "_ ").split() if verdict is Verdict.UPSTREAM_FAILED else [verdict.value]
    for number, line in enumerate(lines):
        above = 0.05 * (len(lines) - 1 - 2 * number)
        write(axes, x + 0.22, y + above, line, SMALL if len(lines) == 1 else 6, look.ink, zorder=4)


def _in_words(cases: Sequence[Sequence[str | None]], answers: dict[str, list[Verdict]], title: str) -> str:
    head = ("trigger rule", *("+".join(state or "no state yet" for state in case) for case in cases))
    table = aligned([head, *((rule, *row) for rule, row in answers.items())])
    return f"{title}\n{table}" if title else table
