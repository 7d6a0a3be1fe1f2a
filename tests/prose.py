"""Finds numbers in a notebook's prose that no output shows any more.

A number in a markdown cell must be found in the code or the outputs of its section (from one `##` to the next), or in
those of a whole notebook for a cell without code in its section. Digits count, and words from "two" on. A number that
the prose brings along itself is declared where it stands, unseen by the reader: `<!-- given: 24, 7 -->`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from nbformat import NotebookNode

WORDS = ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen"]
WORDS += ["fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"]
NUMBER = re.compile(r"\d+(?:[,_]\d{3})+(?!\d)|\d+(?:\.\d+)?", re.ASCII)
WORD = re.compile(rf"\b(?:{'|'.join(WORDS)})\b", re.IGNORECASE)
GIVEN = re.compile(r"<!--\s*given:(.*?)-->", re.DOTALL)
NOT_PROSE = re.compile(r"<!--.*?-->|```.*?```|^#+ [^\n]*$|^\d+\. |\]\([^)]*\)|<[^>]+>", re.DOTALL | re.MULTILINE)
"""What is in a markdown cell but says nothing about outputs: comments, code blocks, headings, list numbers, links."""


def drifting(notebook: NotebookNode) -> list[str]:
    """Each number in the prose that its section's code and outputs do not show."""
    everywhere = shown(cell for cell in notebook.cells if cell.cell_type == "code")
    found = []
    for section in sections(notebook):
        here = shown(cell for cell in section if cell.cell_type == "code") or everywhere
        for cell in section:
            if cell.cell_type == "markdown":
                known = here | {value for given in GIVEN.findall(cell.source) for value in values(given)}
                found += [f"cell {cell.id}: {text}" for text in told(cell.source) if not is_in(value_of(text), known)]
    return found


def sections(notebook: NotebookNode) -> Iterator[list[NotebookNode]]:
    """The cells from one second-level heading to the next."""
    section: list[NotebookNode] = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and cell.source.startswith("## ") and section:
            yield section
            section = []
        section.append(cell)
    yield section


def told(prose: str) -> list[str]:
    """The numbers that a markdown cell tells, in digits or in words."""
    text = NOT_PROSE.sub(" ", prose)
    return NUMBER.findall(text) + WORD.findall(text)


def shown(cells: Iterator[NotebookNode]) -> set[float]:
    """The numbers in the sources and outputs of code cells, also those that are told in words there."""
    texts = []
    for cell in cells:
        texts += [cell.source, *(json.dumps(_readable(output)) for output in cell.outputs)]
    return {value for text in texts for value in values(text)}


def _readable(output: NotebookNode) -> object:
    data = output.get("data", {})
    return {kind: text for kind, text in data.items() if not kind.startswith("image/")} or output.get("text", "")


def values(text: str) -> set[float]:
    """Every number in a text, however it is written there."""
    spelled = re.sub(r"(?<=\d)[_,](?=\d{3}(?!\d))", "", text)
    parts = re.findall(r"\d+(?:\.\d+)?", spelled) + re.findall(r"\d+", spelled)
    return {float(part) for part in parts} | {value_of(word) for word in WORD.findall(text)}


def value_of(text: str) -> float:
    """What a number in digits or in a word is worth."""
    return float(WORDS.index(text.lower()) + 2) if text.lower() in WORDS else float(re.sub("[,_]", "", text))


def is_in(value: float, known: set[float]) -> bool:
    """Whether a number is among those known, as it is or rounded to as many digits as the prose gives.

    A whole number below ten counts something, so it is not taken for a rounded one.
    """
    digits = len(str(value).partition(".")[2].rstrip("0"))
    return value in known or ((digits > 0 or value >= 10) and any(round(other, digits) == value for other in known))
