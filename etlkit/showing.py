"""How objects show themselves: rows as aligned text for a terminal, and as a small HTML table for a notebook.

>>> print(aligned([("task", "tries"), ("날씨", "1"), ("load", "12")], right={1}))
task  tries
날씨      1
load     12
"""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Collection, Iterable, Sequence


def width(text: str) -> int:
    """How many columns a text takes: a letter of Chinese, Japanese or Korean takes two."""
    letters = (letter for letter in text if not unicodedata.combining(letter))
    return sum(1 + (unicodedata.east_asian_width(letter) in "WF") for letter in letters)


def padded(text: str, columns: int, *, right: bool = False) -> str:
    """A text with as many blanks as fill `columns`, before it if it stands on the right."""
    blanks = " " * (columns - width(text))
    return blanks + text if right else text + blanks


def aligned(rows: Iterable[Sequence[str]], right: Collection[int] = ()) -> str:
    """Rows of equal length as lines with their columns below each other; the columns in `right` end alike."""
    lines = list(rows)
    widths = [max(map(width, column)) for column in zip(*lines, strict=True)]
    cells = ([padded(text, widths[i], right=i in right) for i, text in enumerate(line)] for line in lines)
    return "\n".join("  ".join(line).rstrip() for line in cells)


def as_html(caption: str, rows: Iterable[Sequence[str]], right: Collection[int] = ()) -> str:
    """A table for a notebook, its first row the header: plain HTML in the notebook's own colours, without secrets.

    >>> print(as_html("<b>", [("task", "tries"), ("load", "12")], right={1}))
    <table><caption style="text-align:left">&lt;b&gt;</caption>
    <thead><tr><th style="text-align:left">task</th><th style="text-align:right">tries</th></tr></thead>
    <tbody>
    <tr><td style="text-align:left">load</td><td style="text-align:right">12</td></tr>
    </tbody></table>
    """
    head, *body = rows
    return "\n".join(
        [
            f'<table><caption style="text-align:left">{_escaped(caption)}</caption>',
            f"<thead>{_row('th', head, right)}</thead>",
            *["<tbody>", *(_row("td", row, right) for row in body), "</tbody></table>"],
        ]
    )


def _row(tag: str, texts: Sequence[str], right: Collection[int]) -> str:
    sides = ("right" if i in right else "left" for i in range(len(texts)))
    named = zip(sides, map(_escaped, texts), strict=True)
    cells = (f'<{tag} style="text-align:{side}">{text}</{tag}>' for side, text in named)
    return f"<tr>{''.join(cells)}</tr>"


def _escaped(text: str) -> str:
    from etlkit.masking import masker  # what only aligns its lines need not load it

    return html.escape(masker.mask(text)).replace("\n", "<br>")
