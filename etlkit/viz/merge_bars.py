"""What a merge did with its rows: the table before, what was new, and the table after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from etlkit.showing import aligned
from etlkit.viz.looks import (
    GREEN,
    INK,
    MARGIN,
    NORMAL,
    ORANGE,
    SKY,
    SMALL,
    SOFT,
    TITLE,
    WIDEST,
    Key,
    Mark,
    Picture,
    empty_sheet,
    sheet,
    shortened,
    write,
)

if TYPE_CHECKING:
    from etlkit.warehouse.merging import MergeReport


class Look(NamedTuple):
    """How one kind of row looks: colour, hatch, and what it is called."""

    fill: str
    hatch: str
    name: str


LOOKS = {
    "kept": Look("#D5DBE0", "", "kept: the table's own rows"),
    "replaced": Look(ORANGE, "//", "replaced: the newer row takes the older one's place"),
    "inserted": Look(GREEN, "", "inserted: a key that the table did not have"),
    "unchanged": Look(SKY, "..", "unchanged: the table has the newest row already"),
    "duplicates": Look("white", "xx", "duplicates: more new rows of one key"),
    "removed": Look("white", "--", "removed: more rows of one key in the table itself"),
}
"""The kinds of rows, in the order in which they stand in a bar."""

BAR, ROW = 0.24, 0.5


def merge_counts(*reports: MergeReport, title: str = "") -> Picture:
    """Three bars for each merge, all to one scale: the rows before, the new rows, and the rows after.

    A part with rows is never too thin to be seen; its number stands below the bar.

    >>> from etlkit.warehouse import connect, merge
    >>> con = connect()
    >>> _ = con.execute("CREATE TABLE daily AS SELECT 'JFK' AS airport, 26.1 AS low, 1 AS version")
    >>> new = [("JFK", 25.0, 2), ("LGA", 27.0, 1), ("LGA", 27.5, 2)]
    >>> print(merge_counts(merge(con, "daily", new, key="airport", order_by="version")))
    "daily": staging, delete-insert
    before  1  replaced 1
    new     3  replaced 1, inserted 1, duplicates 1
    after   2  replaced 1, inserted 1
    """
    if not reports:
        return empty_sheet(title, "no merges")
    merges = [(f"{report.table}: {report.strategy}, {report.swap}", parts(report)) for report in reports]
    most = max(1, *(sum(bar.values()) for _, bars in merges for bar in bars.values()))
    key = Key(_entries(merges), WIDEST - 2 * MARGIN)
    top = TITLE if title else MARGIN
    tall = 0.32 + ROW * 3 + 0.2
    height = top + tall * len(merges) + key.height + 0.15
    picture, axes = sheet(WIDEST, height, "\n".join([title] * bool(title) + [_in_words(*m) for m in merges]), title)
    for number, (name, bars) in enumerate(merges):
        y = height - top - tall * number
        write(axes, MARGIN, y - 0.12, shortened(name, WIDEST - 2 * MARGIN, NORMAL, "bold"), NORMAL, weight="bold")
        for row, (label, bar) in enumerate(bars.items()):
            _bar(axes, label, bar, most, y - 0.32 - ROW * (row + 0.5))
    key.draw(axes, MARGIN, 0.1 + key.height)
    return picture


def parts(report: MergeReport) -> dict[str, dict[str, int]]:
    """The bars of a merge, each with the number of rows of each kind that has any."""
    kept = report.before - report.replaced - report.removed
    bars = {
        "before": {"kept": kept, "replaced": report.replaced, "removed": report.removed},
        "new": {
            "replaced": report.replaced,
            "inserted": report.inserted,
            "unchanged": report.unchanged,
            "duplicates": report.duplicates,
        },
        "after": {"kept": kept, "replaced": report.replaced, "inserted": report.inserted},
    }
    return {name: {kind: rows for kind, rows in bar.items() if rows} for name, bar in bars.items()}


def _bar(axes: Axes, label: str, bar: dict[str, int], most: int, y: float) -> None:
    """One bar, its total before it; each part says its number where there is room."""
    left, total = MARGIN + 1.55, sum(bar.values())
    write(axes, MARGIN + 0.1, y, label, NORMAL)
    write(axes, left - 0.12, y, f"{total:,}", NORMAL, ha="right")
    for kind, width in zip(bar, _widths(list(bar.values()), most, WIDEST - MARGIN - left), strict=True):
        _part(axes, LOOKS[kind], left, y, width)
        left += width
    if not bar:
        axes.plot([left, left], [y - BAR / 2, y + BAR / 2], color=SOFT, lw=1)
    write(axes, MARGIN + 1.55, y - BAR / 2 - 0.1, _counts(bar), SMALL, SOFT)


def _counts(bar: dict[str, int]) -> str:
    return ", ".join(f"{kind} {number:,}" for kind, number in bar.items()) or "no rows"


def _widths(rows: Sequence[int], most: int, room: float) -> list[float]:
    """Inches for the parts of a bar; the thinnest take theirs from the widest, so that a bar never grows too long."""
    least = 0.09
    widths = [max(number / most * room, least) for number in rows]
    excess = sum(widths) - max(sum(rows) / most * room, least * len(rows))
    if excess > 0:
        widest = widths.index(max(widths))
        widths[widest] = max(widths[widest] - excess, least)
    return widths


def _part(axes: Axes, look: Look, x: float, y: float, width: float, tall: float = BAR) -> None:
    axes.add_patch(
        Rectangle(
            (x, y - tall / 2), width, tall, facecolor=look.fill, edgecolor=INK, hatch=look.hatch, lw=0.6, zorder=2
        )
    )


def _entries(merges: Sequence[tuple[str, dict[str, dict[str, int]]]]) -> list[tuple[Mark, str]]:
    """What the parts that occur mean."""
    seen = {kind for _, bars in merges for bar in bars.values() for kind in bar}

    def mark(look: Look) -> Mark:
        return lambda axes, x, y: _part(axes, look, x - 0.1, y, 0.2, 0.16)

    return [(mark(look), look.name) for kind, look in LOOKS.items() if kind in seen]


def _in_words(name: str, bars: dict[str, dict[str, int]]) -> str:
    rows = [(label, f"{sum(bar.values()):,}", _counts(bar)) for label, bar in bars.items()]
    return f"{name}\n{aligned(rows, right={1})}"
