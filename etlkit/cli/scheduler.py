"""`etlkit scheduler`: runs DAGs by their schedules, until it is stopped."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from etlkit.cli.options import source_option

if TYPE_CHECKING:
    from etlkit.cli.stopping import Stopping
    from etlkit.dag_processor import Changes, DagProcessor


@click.command()
@click.option("-n", "--num-runs", type=click.IntRange(min=1), help="stop after so many rounds  [default: never]")
@source_option
def scheduler(source: Path | None, num_runs: int | None) -> None:
    """Run the DAGs of the DAG folder by their schedules, and what is triggered, until Ctrl-C.

    Files that are new or changed are picked up; a DAG whose file does not load waits until it does. Killed at any
    moment, it goes on where it was when it is started again. A round is a look at the files and whatever can run then:
    with -n 1 it does what is due now.

    \b
    Example: etlkit scheduler
    """
    from etlkit.cli.database import open_store, paused_at_first
    from etlkit.cli.loading import load_dags
    from etlkit.cli.schedulers import make_scheduler
    from etlkit.cli.stopping import Stopping
    from etlkit.cli.story import Story
    from etlkit.dag_processor import DagProcessor
    from etlkit.scheduler import Scheduler
    from etlkit.scheduler_lock import scheduling
    from etlkit.tables import record_import_errors

    store = open_store()
    with scheduling(store, "etlkit scheduler"), Stopping() as stopping:
        folder = load_dags(source)
        click.echo(f"scheduling {folder.path} on {store.name}; stop with Ctrl-C", err=True)
        running = make_scheduler(Scheduler, store, [Story()])
        record_import_errors(store, folder.errors, running.clock.now())  # those of another folder go
        _schedule(DagProcessor(running, folder, paused_at_first), stopping, num_runs)
        click.echo("stopped; no task was cut off", err=True)


def _schedule(processor: DagProcessor, stopping: Stopping, rounds: int | None) -> None:
    """Look at files and tasks in turn, until somebody asks to stop or all rounds are over.

    With [dag_processor] refresh_interval as short as the idle time, what is triggered after a file was saved runs what
    was saved: each time it wakes up it looks at the files first.
    """
    from contextlib import redirect_stdout
    from datetime import timedelta
    from sys import stderr

    from etlkit.config import conf

    running, clock = processor.scheduler, processor.clock
    while not stopping.asked.is_set():
        with redirect_stdout(stderr):  # what DAG files print
            _tell(processor.look())
        if running.tick() or running.executor.in_flight:
            continue
        if rounds is not None and (rounds := rounds - 1) == 0:
            return
        idle = clock.now() + timedelta(seconds=conf.get("scheduler", "scheduler_idle_sleep_time"))
        moments = (idle, processor.next_look, running.next_event())
        clock.sleep_until(min(filter(None, moments)), stopping.asked)


def _tell(changes: Changes | None) -> None:
    if changes is None:
        return
    click.echo(changes, err=True)
    for path in changes.mended:
        click.echo(f"{path} loads again, or is gone", err=True)
    for error in changes.errors:
        click.echo(f"etlkit: {error}", err=True)
