"""`etlkit scheduler`: runs DAGs by their schedules, until it is stopped."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from etlkit.cli.options import source_option

if TYPE_CHECKING:
    from etlkit.cli.stopping import Stopping
    from etlkit.dag_folder import DagFolder
    from etlkit.scheduler import Scheduler


@click.command()
@source_option
def scheduler(source: Path | None) -> None:
    """Run the DAGs of the DAG folder by their schedules, and what is triggered, until Ctrl-C.

    Files that are new or changed are picked up; a DAG whose file does not load waits until it does. Killed at any
    moment, it goes on where it was when it is started again.

    \b
    Example: etlkit scheduler
    """
    from etlkit.cli.database import open_store
    from etlkit.cli.loading import load_dags
    from etlkit.cli.schedulers import make_scheduler
    from etlkit.cli.stopping import Stopping
    from etlkit.scheduler import Scheduler
    from etlkit.scheduler_lock import scheduling

    folder, store = load_dags(source), open_store()
    with scheduling(store, "etlkit scheduler"), Stopping() as stopping:
        running = make_scheduler(Scheduler, store)
        click.echo(f"scheduling {folder.path} on {store.name}; stop with Ctrl-C", err=True)
        _schedule(running, folder, stopping)


def _schedule(running: Scheduler, folder: DagFolder, stopping: Stopping) -> None:
    """Look at files and tasks in turn until somebody asks to stop."""
    from datetime import timedelta

    from etlkit.config import conf

    pause = timedelta(seconds=conf.get("scheduler", "scheduler_idle_sleep_time"))
    clock, looked = running.clock, None
    while not stopping.asked.is_set():
        if looked is None or clock.now() - looked >= pause:
            if folder.refresh() or looked is None:
                _take_over(running, folder)
            looked = clock.now()
        if not running.tick() and not running.executor.in_flight:
            moment = running.next_event()
            clock.sleep_until(min(moment or looked + pause, looked + pause), stopping.asked)


def _take_over(running: Scheduler, folder: DagFolder) -> None:
    """Look after the DAGs that the files hold now."""
    from etlkit.cli.database import paused_at_first

    for error in folder.errors:
        click.echo(f"etlkit: {error}", err=True)
    for dag_id, entry in list(running.dags.items()):
        if folder.dags.get(dag_id) is not entry.dag:
            running.remove_dag(dag_id)
    for dag_id, dag in folder.dags.items():
        if dag_id not in running.dags:
            running.add_dag(dag, paused=paused_at_first(dag))
