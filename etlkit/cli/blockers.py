"""What keeps something from going on: `dags why` and `tasks failed-deps`."""

from __future__ import annotations

from pathlib import Path

import click

from etlkit.cli.database import existing_store, find_run
from etlkit.cli.loading import find_dag
from etlkit.cli.tables import show
from etlkit.clock import SystemClock
from etlkit.scheduler_lock import scheduled_by
from etlkit.why import why


def show_why(
    dag_id: str, task_id: str | None, run: str | None, map_index: int, source: Path | None, output: str
) -> None:
    """Print what keeps a DAG's next run, a run, or a task of it from going on."""
    dag, store = find_dag(dag_id, source), existing_store()
    answer = why(
        store,
        dag,
        task_id=task_id,
        run_id=find_run(store, dag_id, run, dag).run_id if run else None,
        map_index=map_index,
        now=SystemClock().now(),
        scheduler_running=scheduled_by(store) is not None,
    )
    if output == "table":
        click.echo(answer)
    else:
        show([blocker._asdict() for blocker in answer], output)
