"""Arguments and options that many commands share."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from etlkit.cli.completion import dag_ids, run_ids, task_ids

if TYPE_CHECKING:
    from etlkit.dag import DAG

Command = Callable[..., Any]


class Instant(click.ParamType):
    """A date such as 2013-01-31 or 2013-01-31T06:00+09:00; `in_zone_of` says which instant one without a zone means."""

    name = "date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a date; write 2013-01-31 or 2013-01-31T06:00+09:00", param, ctx)


def in_zone_of(dag: DAG, date: Any) -> Any:
    """The instant that a date on the command line means for `dag`, in UTC; None stays None."""
    return date and (date if date.tzinfo else date.replace(tzinfo=dag.timezone)).astimezone(UTC)


def in_utc(date: datetime) -> datetime:
    """The instant that a date on the command line means where no DAG says its time zone.

    >>> in_utc(datetime(2013, 1, 31)).isoformat()
    '2013-01-31T00:00:00+00:00'
    """
    return date if date.tzinfo else date.replace(tzinfo=UTC)


class JsonObject(click.ParamType):
    """A JSON object such as {"airport": "JFK"}."""

    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        try:
            found = json.loads(value)
        except ValueError as error:
            self.fail(f"{value!r} is not JSON: {error}", param, ctx)
        return found if isinstance(found, dict) else self.fail(f"{value!r} is not a JSON object", param, ctx)


class Picture(click.ParamType):
    """A file that a picture can be written to."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = Path(value)
        if path.suffix not in (".png", ".svg", ".pdf"):
            self.fail(f"{value!r} names no kind of picture; let it end in .png, .svg or .pdf", param, ctx)
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            self.fail(f"{value!r} cannot be written", param, ctx)
        return path


INSTANT, JSON_OBJECT, PICTURE = Instant(), JsonObject(), Picture()

output_option = click.option(
    "-o", "--output", type=click.Choice(["table", "json", "yaml", "plain"]), default="table", help="how to print it"
)
source_option = click.option(
    "-S",
    "--subdir",
    "--file",
    "source",
    type=click.Path(path_type=Path),
    help="a DAG file, or a folder of them  [default: dags_folder of the settings]",
)
include_secrets_option = click.option("--include-secrets", is_flag=True, help="show secrets as they are, not as ***")
yes_option = click.option("-y", "--yes", is_flag=True, help="do not ask")
map_index_option = click.option("--map-index", default=-1, help="which instance of a mapped task")
conf_option = click.option("-c", "--conf", type=JSON_OBJECT, help="the run's conf, as a JSON object")
dag_argument = click.argument("dag_id", metavar="DAG", shell_complete=dag_ids)
task_argument = click.argument("task_id", metavar="TASK", shell_complete=task_ids)
run_argument = click.argument("run", metavar="RUN", shell_complete=run_ids)


def given(value: str, what: str) -> str:
    """A value of the command line; `-` is asked for without showing it, so that no list of processes does either."""
    if value != "-":
        return value
    if sys.stdin.isatty():
        return click.prompt(what, hide_input=True, err=True)
    return sys.stdin.read().rstrip("\n")
