"""`etlkit tasks …`: the tasks of a DAG, one at a time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from etlkit.cli.options import (
    INSTANT,
    conf_option,
    dag_argument,
    in_zone_of,
    output_option,
    run_argument,
    source_option,
    task_argument,
)
from etlkit.cli.tables import show, show_record


@click.group()
def tasks() -> None:
    """List and test tasks, and see what became of them.

    \b
    Example: etlkit tasks list weather
    """


@tasks.command("list")
@dag_argument
@source_option
@output_option
def list_tasks(dag_id: str, source: Path | None, output: str) -> None:
    """List the tasks of a DAG, each after those it waits for.

    \b
    Example: etlkit tasks list weather
    """
    from etlkit.cli.loading import find_dag

    dag = find_dag(dag_id, source)
    rows = [
        {
            "task_id": task_id,
            "operator": type(dag.task_dict[task_id]).__name__,
            "trigger_rule": str(dag.task_dict[task_id].trigger_rule),
            "retries": dag.task_dict[task_id].retries,
        }
        for task_id in dag.topological_order()
    ]
    show(rows, output, empty=f"DAG {dag_id!r} has no tasks")


@tasks.command()
@dag_argument
@task_argument
@click.argument("logical_date", metavar="DATE", type=INSTANT)
@conf_option
@source_option
@output_option
def test(
    dag_id: str,
    task_id: str,
    logical_date: datetime,
    conf: Mapping[str, Any] | None,
    source: Path | None,
    output: str,
) -> None:
    """Run one task for DATE by itself, without what is upstream of it, and exit with 1 if it fails.

    Nothing is remembered afterwards; what the task logs goes to stderr. Its retries are made, without waiting.

    \b
    Example: etlkit tasks test weather extract 2013-01-05
    """
    from etlkit.cli.loading import find_dag
    from etlkit.cli.trial import try_task

    dag = find_dag(dag_id, source)
    run, task, value = try_task(dag, task_id, in_zone_of(dag, logical_date), conf)
    row = {name: getattr(task, name) for name in ("task_id", "map_index", "state", "try_number", "error")}
    record = {"dag_id": dag_id, "run_id": run.run_id, "logical_date": run.logical_date, **row, "return_value": value}
    show_record(record, [row], output)
    raise SystemExit(task.state not in ("success", "skipped"))


@tasks.command("states-for-dag-run")
@dag_argument
@run_argument
@output_option
def states_for_dag_run(dag_id: str, run: str, output: str) -> None:
    """Show the tasks of one run and their states; RUN is a run_id or a logical date.

    \b
    Example: etlkit tasks states-for-dag-run weather 2013-01-05
    """
    from etlkit.cli.database import existing_store, find_run

    store = existing_store()
    row = find_run(store, dag_id, run)
    names = ("task_id", "map_index", "state", "try_number", "start_date", "end_date", "error")
    rows = [{name: getattr(task, name) for name in names} for task in store.task_instances(row.id)]
    show(rows, output, empty=f"run {row.run_id} has no tasks")
