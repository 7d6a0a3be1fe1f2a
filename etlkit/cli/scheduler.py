"""`etlkit scheduler`: runs DAGs by their schedules, until it is stopped."""

from __future__ import annotations

from contextlib import closing, nullcontext, redirect_stdout, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from etlkit.cli.options import source_option

if TYPE_CHECKING:
    from etlkit.cli.stopping import Stopping
    from etlkit.dag_processor import Changes, DagProcessor
    from etlkit.store import Store


@click.command()
@click.option("-n", "--num-runs", type=click.IntRange(min=1), help="stop after so many rounds  [default: never]")
@source_option
def scheduler(source: Path | None, num_runs: int | None) -> None:
    """Run the DAGs of the DAG folder by their schedules, and what is triggered, until Ctrl-C.

    Files that are new or changed are picked up; a DAG whose file does not load waits until it does. Killed at any
    moment, it goes on where it was when it is started again; so it does by itself when a PostgreSQL that was away is
    back. A round is a look at the files and whatever can run then: with -n 1 it does what is due now.

    Where [core] executor is LocalExecutor or CeleryExecutor, several schedulers may be started on one PostgreSQL, on
    one machine or on many: they share the DAGs, and those of one that is gone are taken over.

    \b
    Example: etlkit scheduler
    """
    from etlkit.cli.database import open_store
    from etlkit.cli.stopping import Stopping
    from etlkit.database import Unreachable

    store: Store | None = open_store()
    with Stopping() as stopping:
        while store is not None:
            try:
                _run(store, source, stopping, num_runs)
                break
            except Unreachable as error:
                click.echo(f"etlkit: {error}; the scheduler does so by itself", err=True)
            store = _reconnected(stopping)
        click.echo("stopped; no task was cut off", err=True)


def _reconnected(stopping: Stopping) -> Store | None:
    """The database over a new connection, once its server is back; None if somebody asks to stop before."""
    from itertools import chain, repeat

    from etlkit.cli.database import open_store
    from etlkit.clock import SystemClock
    from etlkit.database import PAUSES, Unreachable

    clock = SystemClock()
    for seconds in chain(PAUSES, repeat(PAUSES[-1])):
        clock.sleep_until(clock.now() + timedelta(seconds=seconds), stopping.asked)
        if stopping.asked.is_set():
            break
        with suppress(Unreachable):  # it was said that it is away
            return open_store()
    return None


def _run(store: Store, source: Path | None, stopping: Stopping, rounds: int | None) -> None:
    """Schedule on a database, and first make again what was lost with the process, or the connection, before."""
    from etlkit.claims import Claims, Pulse, SharedClaims
    from etlkit.cli.database import paused_at_first
    from etlkit.cli.loading import load_dags
    from etlkit.cli.schedulers import make_scheduler
    from etlkit.cli.story import Story
    from etlkit.dag_processor import DagProcessor
    from etlkit.executors import from_settings
    from etlkit.scheduler import Scheduler
    from etlkit.scheduler_lock import scheduling
    from etlkit.tables import record_import_errors

    executor = from_settings()
    shares = not (store.is_sqlite or executor.in_process)
    with closing(store), scheduling(store, "etlkit scheduler", shared=shares):
        folder = load_dags(source)
        claims = SharedClaims(store) if shares else Claims()
        running = make_scheduler(Scheduler, store, [Story()], executor=executor, claims=claims)
        others = ", together with others that are started there" if shares else ""
        click.echo(f"scheduling {folder.path} on {store.name}{others}; stop with Ctrl-C", err=True)
        record_import_errors(store, folder.errors, running.clock.now())  # those of another folder go
        try:
            with Pulse(claims, running.clock) if isinstance(claims, SharedClaims) else nullcontext():
                _schedule(DagProcessor(running, folder, paused_at_first), stopping, rounds)
                running.wind_up()
        except KeyboardInterrupt:  # the second one; what ends because the database is away may still write its end
            executor.stop(at_once=True)
            raise
        finally:
            executor.stop()


def _schedule(processor: DagProcessor, stopping: Stopping, rounds: int | None) -> None:
    """Look at files and tasks in turn, until somebody asks to stop or all rounds are over.

    With [dag_processor] refresh_interval as short as the idle time, what is triggered after a file was saved runs what
    was saved: each time it wakes up it looks at the files first.
    """
    from sys import stderr

    from etlkit.config import conf

    running, clock = processor.scheduler, processor.clock
    while not stopping.asked.is_set():
        with redirect_stdout(stderr):  # what DAG files print
            _tell(processor.look())
        if running.tick():
            continue
        if rounds is not None and not running.executor.in_flight and (rounds := rounds - 1) == 0:
            return
        idle = clock.now() + timedelta(seconds=conf.get("scheduler", "scheduler_idle_sleep_time"))
        moments = (idle, processor.next_look, running.next_event())
        running.rest_until(min(filter(None, moments)), stopping.asked)


def _tell(changes: Changes | None) -> None:
    if changes is None:
        return
    click.echo(changes, err=True)
    for path in changes.mended:
        click.echo(f"{path} loads again, or is gone", err=True)
    for error in changes.errors:
        click.echo(f"etlkit: {error}", err=True)
