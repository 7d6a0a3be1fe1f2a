"""`etlkit completion …`: what makes a shell complete commands, options, and the names of DAGs, tasks and so on.

Names come from the DAG folder and the metadata database. Where something is wrong with these there are simply no names:
whoever presses the tab key has not asked for an error.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

import click

Names = Callable[[click.Context, str], Iterable[str]]
Completer = Callable[[click.Context, click.Parameter, str], list[Any]]


def completes(names: Names) -> Completer:
    """A completer for Click: those of `names` that begin as what was typed, quietly."""

    @wraps(names)
    def complete(context: click.Context, _parameter: click.Parameter, typed: str) -> list[str]:
        found: list[str] = []
        silent = io.StringIO()
        with contextlib.suppress(Exception), contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent):
            found += [name for name in names(context, typed) if name.startswith(typed)]
        return found

    return complete


@completes
def dag_ids(context: click.Context, _typed: str) -> Iterable[str]:
    """The DAGs of the DAG folder, or of what `--file` names."""
    from etlkit.cli.loading import load_dags

    return sorted(load_dags(context.params.get("source")).dags)


@completes
def task_ids(context: click.Context, _typed: str) -> Iterable[str]:
    """The tasks of the DAG that was typed before."""
    from etlkit.cli.loading import find_dag

    return sorted(find_dag(context.params["dag_id"], context.params.get("source")).task_dict)


NEWEST = 20
"""How many runs are offered."""


@completes
def run_ids(context: click.Context, typed: str) -> Iterable[str]:
    """The newest runs of the DAG that was typed before."""
    values = {"dag_id": context.params["dag_id"], "typed": f"{typed}%", "newest": NEWEST}
    sql = "SELECT run_id FROM dag_run WHERE dag_id = :dag_id AND run_id LIKE :typed ORDER BY id DESC LIMIT :newest"
    return _rows(sql, values)


@completes
def variable_keys(_context: click.Context, _typed: str) -> Iterable[str]:
    """The Variables of the database."""
    return _rows("SELECT key FROM variable ORDER BY key", {})


@completes
def connection_ids(_context: click.Context, _typed: str) -> Iterable[str]:
    """The Connections of the database."""
    return _rows("SELECT conn_id FROM connection ORDER BY conn_id", {})


@completes
def pool_names(_context: click.Context, _typed: str) -> Iterable[str]:
    """The pools of the database."""
    return _rows("SELECT name FROM pool ORDER BY name", {})


def _rows(sql: str, values: dict[str, object]) -> list[str]:
    from etlkit.cli.database import look_up

    return [name for (name,) in look_up(sql, values)]


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes a shell complete etlkit's commands, and the names of DAGs, tasks, runs, Variables and so on.

    Put it into ~/.bashrc, ~/.zshrc, or ~/.config/fish/completions/etlkit.fish.

    \b
    Example: etlkit completion bash
    """
    from click.shell_completion import get_completion_class

    from etlkit.cli import cli

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(cli, {}, "etlkit", "_ETLKIT_COMPLETE").source())
