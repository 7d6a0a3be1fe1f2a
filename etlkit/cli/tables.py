"""How a command shows what it found: rows as a table, as aligned text, as JSON or as YAML.

A table is drawn on a terminal and fits its width; where the output goes to a file or another program, it is plain text.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from shutil import get_terminal_size
from typing import Any

import click

from etlkit.showing import aligned, width

Row = Mapping[str, Any]

STATE_STYLES = {
    "success": "green",
    "running": "bright_green",
    "failed": "red",
    "upstream_failed": "yellow",
    "skipped": "magenta",
    "up_for_retry": "yellow",
    "queued": "bright_black",
}
"""Colours of states on a terminal that has colours; the word stays beside them."""


def show(
    rows: Sequence[Row],
    output: str,
    *,
    empty: str = "nothing found",
    spare: Sequence[str] = (),
    secrets: bool = False,
) -> None:
    """Print rows that have the same columns, in one of `FORMATS`; `empty` stands for a table without rows.

    `spare` columns are left out, one by one, of a table that is too wide for the terminal. `secrets` are shown as they
    are only if somebody asked for them.
    """
    if not rows and output in ("table", "plain"):
        click.echo(empty, err=True)
        return
    shown = rows if secrets else without_secrets(rows)
    left_out = too_many(shown, spare, get_terminal_size().columns) if output == "table" and sys.stdout.isatty() else ()
    kept = [{name: value for name, value in row.items() if name not in left_out} for row in shown]
    write(FORMATS[output](kept), secrets=secrets)
    if left_out:
        click.echo(f"there is no room for {', '.join(left_out)}; -o plain shows all", err=True)


def show_record(record: Row, rows: Sequence[Row], output: str) -> None:
    """Print one thing: as JSON and YAML whole, as a table only its `rows`."""
    if output in ("json", "yaml"):
        write(FORMATS[output](without_secrets(record)))
    else:
        show(rows, output)


def show_fields(record: Row, output: str, *, secrets: bool = False) -> None:
    """Print one thing: as JSON and YAML an object, as a table a line for each field."""
    if output in ("json", "yaml"):
        write(FORMATS[output](record if secrets else without_secrets(record)), secrets=secrets)
    else:
        shown = record if secrets else without_secrets(record)
        show([{"field": name, "value": value} for name, value in shown.items()], output, secrets=secrets)


def show_texts(texts: Mapping[str, Any], output: str) -> None:
    """Print texts of several lines, each below its name unless it is None; as JSON and YAML an object."""
    if output in ("json", "yaml"):
        write(FORMATS[output](without_secrets(texts)))
        return
    for name, text in without_secrets(texts).items():
        if text is not None:
            click.echo(f"# {name}\n{text if isinstance(text, str) else cell(text)}\n")


def write(text: str, *, secrets: bool = False) -> None:
    """Print a text on stdout; `secrets` past the stream that hides them."""
    click.echo(text, nl=False, file=getattr(sys.stdout, "unmasked", sys.stdout) if secrets else sys.stdout)


def without_secrets(value: Any) -> Any:
    """A text, or rows before they are laid out, with stars for the secrets that this process has come across."""
    masking = sys.modules.get("etlkit.masking")  # a process that has come across none need not load it
    return masking.masker.masked(value) if masking else value


def as_json(value: Any) -> str:
    """
    >>> print(as_json([{"state": None, "tries": 2}]), end="")
    [
      {
        "state": null,
        "tries": 2
      }
    ]
    """
    return json.dumps(plain_values(value), indent=2, ensure_ascii=False) + "\n"


def as_yaml(value: Any) -> str:
    """
    >>> print(as_yaml({"dag_id": "weather", "tasks": [{"id": "load", "up": ["a"]}, {"id": "b", "up": []}]}), end="")
    dag_id: "weather"
    tasks:
      - id: "load"
        up:
          - "a"
      - id: "b"
        up: []
    """
    return "\n".join(_yaml_lines(plain_values(value))) + "\n"


YAML_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
"""Names that YAML would read as something other than text."""


def _yaml_lines(value: Any) -> list[str]:
    if isinstance(value, dict) and value:
        return [line for key, item in value.items() for line in _yaml_entry(key, item)]
    if isinstance(value, list) and value:
        return [("  " if place else "- ") + line for item in value for place, line in enumerate(_yaml_lines(item))]
    return [json.dumps(value, ensure_ascii=False)]  # what JSON writes for a single value, YAML reads


def _yaml_entry(key: str, item: Any) -> list[str]:
    name = key if key.isidentifier() and key.lower() not in YAML_WORDS else json.dumps(key, ensure_ascii=False)
    lines = _yaml_lines(item)
    nested = isinstance(item, (dict, list)) and item
    return [f"{name}:", *("  " + line for line in lines)] if nested else [f"{name}: {lines[0]}"]


def as_plain(rows: Sequence[Row]) -> str:
    """
    >>> print(as_plain([{"dag_id": "날씨", "tries": 1}, {"dag_id": "load", "tries": 12}]), end="")
    dag_id  tries
    날씨    1
    load    12
    """
    return f"{aligned(as_lines(rows))}\n" if rows else ""


def as_lines(rows: Sequence[Row]) -> list[list[str]]:
    """The texts of a table line by line, its head first."""
    return [list(rows[0]), *([cell(value) for value in row.values()] for row in rows)]


def too_many(rows: Sequence[Row], spare: Sequence[str], room: int) -> list[str]:
    """The `spare` columns that are to be left out, from the first on, so that a table has `room`.

    >>> too_many([{"dag_id": "weather", "run_id": "manual__1", "state": "success"}], ["dag_id", "state"], 20)
    ['dag_id']
    """
    columns = zip(*as_lines(rows), strict=True)
    widths = {column[0]: max(map(width, column)) for column in columns}
    left_out: list[str] = []
    for name in spare:
        if sum(widths.values()) + 2 * (len(widths) - 1) <= room:
            break
        del widths[name]
        left_out.append(name)
    return left_out


def as_table(rows: Sequence[Row]) -> str:
    """A drawn table as wide as the terminal at most; plain text where there is no terminal."""
    if not sys.stdout.isatty():
        return as_plain(rows)
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
    for name in rows[0]:
        table.add_column(name, overflow="fold")
    for row in rows:
        texts = [cell(value) for value in row.values()]
        table.add_row(*(Text(text, style=STATE_STYLES.get(text, ""), overflow="fold") for text in texts))
    console = Console(color_system=None if os.environ.get("NO_COLOR") else "auto")
    with console.capture() as drawn:
        console.print(table)
    return drawn.get()


FORMATS: dict[str, Callable[[Any], str]] = {"table": as_table, "json": as_json, "yaml": as_yaml, "plain": as_plain}


def plain_values(value: Any) -> Any:
    """`value` with everything that JSON does not have written as text."""
    if isinstance(value, Mapping):
        return {str(key): plain_values(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_values(item) for item in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return value.isoformat() if isinstance(value, datetime) else str(value)


def cell(value: Any) -> str:
    """A value as it stands in a table; instants in UTC, to the second, and midnight as its date alone."""
    if isinstance(value, (list, tuple)):
        return ", ".join(map(cell, value))
    if isinstance(value, Mapping):
        return json.dumps(plain_values(value), ensure_ascii=False)
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S").removesuffix(" 00:00:00")
    return "" if value is None else on_one_line(str(value))


def on_one_line(text: str) -> str:
    """A text with line breaks, and all else that is not printed but moves the cursor, spelled out.

    >>> on_one_line("SELECT 1\\nFROM t")
    'SELECT 1\\\\nFROM t'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
