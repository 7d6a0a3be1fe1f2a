"""`etlkit doctor`: looks at everything that etlkit stands on."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING

import click

from etlkit.cli.options import output_option

if TYPE_CHECKING:
    from etlkit.doctor import Finding

STYLES = {"ok": "green", "warning": "yellow", "error": "red"}


@click.command()
@output_option
def doctor(output: str) -> None:
    """Check Python, packages, settings, disk, database, key, DAG files and services, and say what to do.

    It changes nothing. The exit code is 1 if there is an error.

    \b
    Example: etlkit doctor
    """
    from etlkit.cli.tables import show
    from etlkit.doctor import examine

    found = []
    for finding in examine():
        found.append(finding)
        if output == "table":
            click.echo(_text(finding))  # as soon as it is known: some checks take a while
    counts = Counter(finding.status for finding in found)
    if output == "table":
        click.echo(f"\n{_count(counts['error'], 'error')}, {_count(counts['warning'], 'warning')}")
    else:
        show([finding._asdict() for finding in found], output)
    raise SystemExit(counts["error"] > 0)


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"


def _text(finding: Finding) -> str:
    """A finding in a few lines, no wider than the terminal; its advice is below it."""
    from etlkit.cli.tables import without_secrets

    status = click.style(f"{finding.status:8}", fg=STYLES[finding.status])
    check = click.style(f"{finding.check:14}", bold=True)
    advice = f"→ {finding.advice}" if finding.advice else ""
    texts = [line for text in (finding.found, advice) for line in _lines(without_secrets(text))]
    return status + check + ("\n" + " " * INDENT).join(texts)


INDENT = 8 + 14


def _lines(text: str) -> list[str]:
    if not sys.stdout.isatty():
        return [text] if text else []
    from shutil import get_terminal_size
    from textwrap import wrap

    # Paths and commands stay whole, to be copied: a terminal breaks them itself.
    room = max(get_terminal_size().columns - INDENT, 20)
    return wrap(text, room, break_long_words=False, break_on_hyphens=False)
