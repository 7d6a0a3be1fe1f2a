"""`etlkit tasks clear`: first what it means, then, if that is meant, the deed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import click

from etlkit.cli.tables import show
from etlkit.clock import SystemClock
from etlkit.dag import DAG
from etlkit.runs import clear_run
from etlkit.store import RunRow, Store

Dates = tuple[datetime | None, datetime | None]


def clear_tasks(
    store: Store, dag: DAG, regex: str | None, dates: Dates, which: Mapping[str, bool], *, yes: bool, output: str
) -> None:
    """Clear tasks in the runs with logical dates between two, both included; unless `yes`, ask first."""
    task_ids = None if regex is None else _matching(dag, regex)
    runs = _runs_between(store, dag, *dates)
    options: dict[str, Any] = {"now": SystemClock().now(), "task_ids": task_ids, **which}
    rows = [
        {"run_id": run.run_id, "task_id": task.task_id, "map_index": task.map_index, "state": task.state}
        for run in runs
        for task in clear_run(store, dag, run, dry_run=True, **options)
    ]
    show(rows, output, empty="nothing to clear")
    if not rows:
        return
    if not yes:
        click.confirm(f"Clear these {len(rows)} task instances?", abort=True, err=True)
    count = sum(len(clear_run(store, dag, run, **options)) for run in runs)
    click.echo(f"cleared {count} task instances; they run when a scheduler does: etlkit scheduler", err=True)
    if store.paused().get(dag.dag_id):
        click.echo(f"DAG {dag.dag_id!r} is paused: they wait until `etlkit dags unpause {dag.dag_id}`", err=True)


def _matching(dag: DAG, regex: str) -> list[str]:
    """The tasks whose ids a regular expression finds."""
    try:
        found = [task_id for task_id in dag.task_dict if re.search(regex, task_id)]
    except re.error as error:
        raise click.UsageError(f"{regex!r} is not a regular expression: {error}") from None
    if not found:
        raise click.UsageError(f"{regex!r} finds no task of DAG {dag.dag_id!r}; it has {', '.join(dag.task_dict)}")
    return found


def _runs_between(store: Store, dag: DAG, start: datetime | None, end: datetime | None) -> list[RunRow]:
    runs = store.runs(dag.dag_id, dates=(start, None))
    return [run for run in runs if end is None or (run.logical_date is not None and run.logical_date <= end)]
