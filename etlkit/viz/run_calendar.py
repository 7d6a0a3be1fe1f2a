"""The calendar: months with a cell for each day, showing what became of its runs."""

from __future__ import annotations

import calendar as months
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date

from matplotlib.axes import Axes

from etlkit.errors import EtlkitError
from etlkit.viz.looks import (
    INK,
    MARGIN,
    NORMAL,
    SMALL,
    SOFT,
    STATES,
    TITLE,
    WIDEST,
    Key,
    Picture,
    counted,
    empty_sheet,
    most_telling,
    sheet,
    signed,
    squares,
    state_entries,
    symbols,
    those_seen,
    write,
)

MOST_MONTHS = 24

SIDE, BETWEEN, HEAD, BELOW = 0.295, 0.24, 0.5, 0.15
"""Inches that a day takes, between two months, and above and below the days of one."""

BESIDE = 4
"""Months beside each other."""

WEEKDAYS = ["Mo", "Tu", "We", "Th", "Fr", "Sa", "Su"]

Month = tuple[int, int]


def calendar(days: Iterable[tuple[date, str | None]], title: str = "") -> Picture:
    """The days of some months, each with the state of its run; `days` are (date, state).

    Of several runs on a day, the first state of `TELLING` is shown. Weeks begin on Monday.

    >>> print(calendar([(date(2013, 1, day), "success" if day > 1 else "failed") for day in (1, 2, 2, 3)], "weather"))
    weather: 4 runs on 3 days
    January 2013
    Mo  Tu  We  Th  Fr  Sa  Su
         1✗  2✓  3✓  4   5   6
     7   8   9  10  11  12  13
    14  15  16  17  18  19  20
    21  22  23  24  25  26  27
    28  29  30  31
    ✗ failed on 1 day  ✓ success on 2 days
    """
    states: dict[date, list[str | None]] = defaultdict(list)
    for day, state in days:
        states[day].append(state)
    if not states:
        return empty_sheet(title, "no runs yet")
    shown = {day: most_telling(found) for day, found in states.items()}
    blocks = _months(min(shown), max(shown))
    if len(blocks) > MOST_MONTHS:
        raise EtlkitError(f"{len(blocks)} months are too many for one picture, which shows {MOST_MONTHS}; choose some")
    runs = counted(sum(map(len, states.values())), "run")
    return _drawn(blocks, shown, title, _in_words(blocks, shown, f"{runs} on {counted(len(shown), 'day')}", title))


def _months(first: date, last: date) -> list[Month]:
    numbers = range(first.year * 12 + first.month - 1, last.year * 12 + last.month)
    return [(number // 12, number % 12 + 1) for number in numbers]


def _weeks(month: Month) -> list[list[date | None]]:
    """The weeks of a month, Monday first; None for the days of its neighbours."""
    return [
        [date(*month, day) if day else None for day in week] for week in months.Calendar().monthdayscalendar(*month)
    ]


def _drawn(blocks: Sequence[Month], shown: Mapping[date, str | None], title: str, words: str) -> Picture:
    beside = min(len(blocks), BESIDE)
    lines = [blocks[i : i + beside] for i in range(0, len(blocks), beside)]
    heights = [HEAD + BELOW + SIDE * max(len(_weeks(month)) for month in line) for line in lines]
    width = max(2 * MARGIN + beside * (7 * SIDE + BETWEEN) - BETWEEN, 4.5)
    key = Key(state_entries(shown.values()), min(width, WIDEST) - 2 * MARGIN)
    top = TITLE if title else MARGIN
    height = top + sum(heights) + key.height + 0.1
    picture, axes = sheet(width, height, words, title)
    y = height - top
    for line, tall in zip(lines, heights, strict=True):
        for number, month in enumerate(line):
            _month(axes, month, MARGIN + number * (7 * SIDE + BETWEEN), y, shown)
        y -= tall
    key.draw(axes, MARGIN, 0.1 + key.height)
    return picture


def _month(axes: Axes, month: Month, left: float, top: float, shown: Mapping[date, str | None]) -> None:
    """One month; `top` is the upper edge of its name."""
    write(axes, left, top - 0.12, f"{months.month_name[month[1]]} {month[0]}", NORMAL, INK, weight="bold")
    for column, name in enumerate(WEEKDAYS):
        write(axes, left + SIDE * (column + 0.5), top - 0.36, name, SMALL, SOFT, ha="center")
    for row, week in enumerate(_weeks(month)):
        for column, day in enumerate(week):
            if day is not None:
                _day(axes, day, left + SIDE * (column + 0.5), top - HEAD - SIDE * (row + 0.5), shown)


def _day(axes: Axes, day: date, x: float, y: float, shown: Mapping[date, str | None]) -> None:
    """A day: its number, and its state if it has a run."""
    if day not in shown:
        symbols(axes, str(day.day), [(x, y)], SMALL, "#9aa5ad")
        return
    state = shown[day]
    squares(axes, [(x, y)], SIDE - 0.03, state)
    symbols(axes, str(day.day), [(x - SIDE * 0.2, y + SIDE * 0.24)], 6, STATES[state].ink)
    symbols(axes, STATES[state].symbol, [(x + SIDE * 0.13, y - SIDE * 0.14)], 8.5, STATES[state].ink)


def _in_words(blocks: Sequence[Month], shown: Mapping[date, str | None], count: str, title: str) -> str:
    def of_day(day: date | None) -> str:
        return f"{day.day:>2}{STATES[shown[day]].symbol if day in shown else ' '} " if day else "    "

    lines = [f"{title}: {count}" if title else count]
    for month in blocks:
        lines += [f"{months.month_name[month[1]]} {month[0]}", "  ".join(WEEKDAYS)]
        for week in _weeks(month):
            lines.append("".join(map(of_day, week)).rstrip())
    of_state = {state: sum(found == state for found in shown.values()) for state in those_seen(shown.values())}
    telling = sorted(of_state, key=lambda state: (state == "success", list(STATES).index(state)))
    lines.append("  ".join(f"{signed(state)} on {counted(of_state[state], 'day')}" for state in telling))
    return "\n".join(lines)
