"""What all pictures share: how a state looks, a sheet that is measured in inches, text that fits, and keys.

Letters that matplotlib's own font lacks, such as Hangul, come from a font of this computer. Where none has them, a
Hangul name is spelled in Latin letters and any other sign becomes a box; the text twin always has the name itself.

>>> shortened("extract_hourly_weather_of_airport", 1.2)
'extract_…f_airport'
"""

from __future__ import annotations

import io
import itertools
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.textpath import TextPath, text_to_path
from matplotlib.transforms import Affine2D

INK, SOFT, LINE, PALE = "#1f2933", "#5b6670", "#d5dbe0", "#f4f6f8"
BLUE, GREEN, ORANGE, RED, SKY, PINK, YELLOW = (
    *("#0072B2", "#009E73", "#E69F00", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442"),
)
"""Okabe and Ito's colours."""

WIDEST = 9.3
"""Inches across that a notebook shows without shrinking: about 900 pixels."""

MARGIN, TITLE = 0.15, 0.45
"""Inches around a sheet, and for the title above it."""

NORMAL, SMALL, TINY = 9.0, 7.5, 6.5
"""Sizes of letters, in points."""


class Style(NamedTuple):
    """How a state looks: the colour of its cell, the colour of what is written on it, and its symbol."""

    fill: str
    ink: str
    symbol: str


STATES: dict[str | None, Style] = {
    "success": Style(GREEN, "white", "✓"),
    "failed": Style(RED, "white", "✗"),
    "upstream_failed": Style(ORANGE, INK, "▲"),
    "skipped": Style("#E3A7C8", INK, "–"),
    "up_for_retry": Style(YELLOW, INK, "↻"),
    "up_for_reschedule": Style(YELLOW, INK, "○"),
    "running": Style(SKY, INK, "▶"),
    "queued": Style("#8E9AA4", INK, "●"),
    "scheduled": Style("#D9DFE4", INK, "◌"),
    "removed": Style("#D9DFE4", SOFT, "∅"),
    None: Style("white", SOFT, "·"),
}
"""One look for each state, in every picture and every text twin."""

TELLING = (
    *("failed", "upstream_failed", "up_for_retry", "up_for_reschedule", "running", "queued", "scheduled"),
    *(None, "skipped", "success", "removed"),
)
"""The states from what most needs a look to what least does."""


def most_telling(states: Iterable[str | None]) -> str | None:
    """Of several states, the one that most needs a look.

    >>> most_telling(["success", "failed", "running"])
    'failed'
    """
    return min(states, key=TELLING.index)


def signed(state: str | None) -> str:
    """A state's symbol and name.

    >>> signed("success"), signed(None)
    ('✓ success', '· no state yet')
    """
    return f"{STATES[state].symbol} {state or 'no state yet'}"


def those_seen(states: Iterable[str | None]) -> list[str | None]:
    """The states that occur, each once, in the order of `STATES`."""
    there = set(states)
    return [state for state in STATES if state in there]


def counted(number: int, noun: str) -> str:
    """
    >>> counted(1, "run"), counted(1000, "task")
    ('1 run', '1,000 tasks')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


# --- the sheet --------------------------------------------------------------------------------------------------------


class Picture(Figure):
    """A figure with its text twin; `size` is width and height in inches."""

    def __init__(self, size: tuple[float, float], words: str) -> None:
        whole = [(round(96 * inches) + 0.01) / 96 for inches in size]  # pixels
        super().__init__(figsize=(whole[0], whole[1]), facecolor="white", layout="constrained")
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


def sheet(width: float, height: float, words: str, title: str = "") -> tuple[Picture, Axes]:
    """A picture, and axes that fill it and are measured in inches from its lower left corner; the title is on top."""
    title = shortened(title, max(width, WIDEST) - 2 * MARGIN, 11, "bold")
    width = max(width, 3.0, text_width(title, 11, "bold") + 2 * MARGIN)
    picture = Picture((width, height), words)
    picture.set_layout_engine("none")
    axes = picture.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.axis("off")
    if title:
        write(axes, MARGIN, height - 0.12, title, 11, va="top", weight="bold")
    return picture, axes


def empty_sheet(title: str, message: str) -> Picture:
    """The picture of nothing: a line that says so."""
    picture, axes = sheet(4.5, 1.0, f"{title}: {message}" if title else message, title)
    write(axes, MARGIN, 0.4, message, NORMAL, color=SOFT)
    return picture


# --- text -------------------------------------------------------------------------------------------------------------

OWN = "DejaVu Sans"
"""The font that comes with matplotlib."""

OTHERS = (
    *("Noto Sans CJK KR", "Noto Sans KR", "NanumGothic", "Malgun Gothic", "Apple SD Gothic Neo", "Noto Sans CJK JP"),
    *("Noto Sans CJK SC", "Hiragino Sans", "Yu Gothic", "Microsoft YaHei", "PingFang SC", "Arial Unicode MS"),
)
"""Fonts that may be there for what it lacks: those of Linux, Windows and macOS."""


@cache
def fonts() -> tuple[str, ...]:
    """The families to write with: matplotlib's own, and what there is of `OTHERS`."""
    there = {font.name for font in font_manager.fontManager.ttflist}
    return (OWN, *(name for name in OTHERS if name in there))


@cache
def _letters() -> frozenset[int]:
    found = (font_manager.get_font(font_manager.findfont(family)).get_charmap() for family in fonts())
    return frozenset(itertools.chain.from_iterable(found))


@lru_cache(maxsize=4096)
def spelled(text: str) -> str:
    """A text in letters that the fonts have, on one line."""
    if text.isascii() and text.isprintable():
        return text
    known = _letters()
    return "".join(sign if ord(sign) in known and sign.isprintable() else _instead(sign) for sign in text)


def _instead(sign: str) -> str:
    """What is written for a sign that no font has.

    >>> _instead("날"), _instead("🎈"), _instead("\\n")
    ('nal', '□', ' ')
    """
    name = unicodedata.name(sign, "")
    if name.startswith("HANGUL SYLLABLE "):
        return name.rsplit(maxsplit=1)[1].lower()
    return "□" if name else " "


@lru_cache(maxsize=4096)
def text_width(text: str, size: float = NORMAL, weight: str = "normal") -> float:
    """Inches that a text takes, written in `size` points; a little more, as pixels round its letters."""
    font = FontProperties(family=list(fonts()), size=size, weight=weight)
    return float(text_to_path.get_text_width_height_descent(spelled(text), font, ismath=False)[0]) / 70


@lru_cache(maxsize=4096)
def shortened(text: str, inches: float, size: float = NORMAL, weight: str = "normal") -> str:
    """A text that is no wider than `inches`: what is too long loses letters before its middle, and gets an ellipsis."""
    text = spelled(text)
    if len(text) < 4 or text_width(text, size, weight) <= inches + 0.01:
        return text
    fewest, most = 2, len(text)
    while most - fewest > 1:
        kept = (fewest + most) // 2
        fits = text_width(_with_ellipsis(text, kept), size, weight) <= inches
        fewest, most = (kept, most) if fits else (fewest, kept)
    return _with_ellipsis(text, fewest)


def _with_ellipsis(text: str, kept: int) -> str:
    """The first and the last letters of a text, so many together."""
    return f"{text[: kept // 2]}…{text[len(text) - (kept - kept // 2) :]}"


def widest(texts: Iterable[str], size: float = NORMAL, at_most: float = 1.9) -> float:
    """Inches that the widest of some texts takes, if those wider than `at_most` are shortened."""
    return min(max((text_width(text, size) for text in texts), default=0.0), at_most)


def write(axes: Axes, x: float, y: float, text: str, size: float = NORMAL, color: str = INK, **how: Any) -> Any:
    """Put a text on a sheet, as it is: nothing in it is taken for a formula. By default it starts at (x, y)."""
    how = {"ha": "left", "va": "center", "parse_math": False, "family": list(fonts()), **how}
    return axes.text(x, y, spelled(text), size=size, color=color, **how)


# --- marks ------------------------------------------------------------------------------------------------------------


@cache
def _symbol_path(symbol: str) -> Path:
    """A symbol as a shape around the origin, one inch for a point size of 72."""
    path = TextPath((0, 0), symbol, size=1, prop=FontProperties(family=OWN))
    box = path.get_extents()
    return path.transformed(Affine2D().translate(-(box.x0 + box.x1) / 2, -(box.y0 + box.y1) / 2).scale(1 / 72))


def symbols(axes: Axes, symbol: str, places: Sequence[tuple[float, float]], size: float, color: str) -> None:
    """Draw one symbol at many places of a sheet, as one collection: thousands of texts would take seconds."""
    path = _symbol_path(symbol).transformed(Affine2D().scale(size))
    _shapes(axes, path, places, facecolors=color, linewidths=0, snap=False)


def squares(axes: Axes, places: Sequence[tuple[float, float]], side: float, state: str | None) -> None:
    """The cells of a state, `side` inches wide, around `places`; as one collection."""
    half = side / 2
    look = STATES[state]
    edge = LINE if look.fill == "white" else look.fill
    square = Path([(-half, -half), (half, -half), (half, half), (-half, half), (-half, -half)])
    _shapes(axes, square, places, facecolors=look.fill, edgecolors=edge, linewidths=0.6)


def _shapes(axes: Axes, path: Path, places: Sequence[tuple[float, float]], **how: Any) -> None:
    how = {"zorder": 3, **how}
    shapes = PathCollection([path], offsets=np.array(places), offset_transform=axes.transData, **how)
    shapes.set_transform(axes.figure.dpi_scale_trans)
    axes.add_collection(shapes, autolim=False)


def cells(
    axes: Axes, places: Mapping[str | None, Sequence[tuple[float, float]]], side: float, size: float = NORMAL
) -> None:
    """Cells with their states' colours and symbols: for each state, the middles of its cells."""
    for state, middles in places.items():
        squares(axes, middles, side, state)
        symbols(axes, STATES[state].symbol, middles, size, STATES[state].ink)


# --- keys -------------------------------------------------------------------------------------------------------------

Mark = Callable[[Axes, float, float], object]
"""Draws the sign of an entry, within a fifth of an inch around a point."""

KEY_ROW = 0.24
"""Inches from one line of a key to the next."""


class Key:
    """What the marks of a picture mean: entries side by side, on as many lines as they need in `width` inches."""

    def __init__(self, entries: Iterable[tuple[Mark, str]], width: float) -> None:
        self.lines: list[list[tuple[float, Mark, str]]] = []
        x = width
        for mark, text in entries:
            wide = 0.27 + text_width(text, SMALL) + 0.22
            if x + wide > width + 0.22:
                self.lines.append([])
                x = 0.0
            self.lines[-1].append((x, mark, text))
            x += wide

    @property
    def height(self) -> float:
        return KEY_ROW * len(self.lines)

    def draw(self, axes: Axes, left: float, top: float) -> None:
        """Put the key on a sheet; `top` is its upper edge."""
        for number, line in enumerate(self.lines):
            y = top - KEY_ROW * (number + 0.5)
            for x, mark, text in line:
                mark(axes, left + x + 0.1, y)
                write(axes, left + x + 0.27, y, text, SMALL, SOFT)


def state_mark(state: str | None) -> Mark:
    """The sign of a state in a key."""
    return lambda axes, x, y: cells(axes, {state: [(x, y)]}, 0.18, 8)


def state_entries(states: Iterable[str | None]) -> list[tuple[Mark, str]]:
    """The entries for the states that occur."""
    return [(state_mark(state), state or "no state yet") for state in those_seen(states)]
