"""The weather: temperatures by day."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.dates import ConciseDateFormatter

from etlkit.viz.looks import BLUE, GREEN, INK, LINE, ORANGE, PINK, RED, SKY, SOFT, Picture


class Day(NamedTuple):
    """One airport's temperatures on one day, °F, for `temperatures`."""

    airport: str
    date: date
    mean: float
    low: float
    high: float


AIRPORTS = (BLUE, GREEN, RED, PINK, SKY, ORANGE)


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
