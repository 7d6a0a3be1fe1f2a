"""Carrying out backfills on the computer's own clock, until they are complete or somebody stops them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial

import click

from etlkit.backfill import backfill_progress
from etlkit.cli.database import paused_at_first
from etlkit.cli.schedulers import OnDemandScheduler, make_scheduler
from etlkit.cli.stopping import Stopping
from etlkit.config import conf
from etlkit.dag import DAG
from etlkit.errors import BackfillError
from etlkit.events import Listener, RunEvent
from etlkit.scheduler import LONGEST_WAIT
from etlkit.states import RUNNING
from etlkit.store import RunRow, Store
from etlkit.why import why


class Backfilling:
    """A scheduler for the backfills of one DAG; the caller holds the right to schedule on the database.

    Leaving the block lets what runs come to its end.
    """

    def __init__(self, store: Store, dag: DAG, stopping: Stopping) -> None:
        self.store, self.dag, self.stopping = store, dag, stopping
        self.progress = ProgressBar(store)
        self.any_failed = False
        self.scheduler = make_scheduler(OnDemandScheduler, store, [self.progress])
        self.clock = self.scheduler.clock
        self.scheduler.add_dag(dag, paused=paused_at_first(dag))

    def __enter__(self) -> Backfilling:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        try:
            if kind is None or kind is SystemExit:
                self.scheduler.wind_up()
        finally:
            self.scheduler.executor.stop(at_once=kind is KeyboardInterrupt)

    def go_on(self) -> None:
        """Finish what an earlier process left: a backfill, or the runs that one had begun when it was cancelled."""
        for row in self.store.open_backfills(self.dag.dag_id):
            if row.is_paused:
                raise BackfillError(f"backfill {row.id} is paused; let it go on: etlkit backfill unpause {row.id}")
            click.echo(f"going on with backfill {row.id}: {backfill_progress(self.store, row.id)}", err=True)
            self.finish(row.id)
        if begun := self._left_running():
            click.echo(f"going on with {len(begun)} runs that had begun when their backfill was cancelled", err=True)
            self._work_while(self._left_running)
            self._leave_if_stopped(self._left_running())

    def _left_running(self) -> list[RunRow]:
        running = self.store.runs(self.dag.dag_id, [RUNNING])
        return [run for run in running if run.backfill_id is not None and not self._is_open(run.backfill_id)]

    def finish(self, backfill_id: int) -> None:
        """Run a backfill to its end and say how it ended; SystemExit 130 if it is stopped before."""
        with self.progress.of(backfill_id):
            self._work_while(partial(self._is_open, backfill_id), backfill_id)
        progress = backfill_progress(self.store, backfill_id)
        self.any_failed = self.any_failed or bool(progress.failed)
        click.echo(f"backfill {backfill_id} of {self.dag.dag_id}: {progress}", err=True)
        self._leave_if_stopped(self._is_open(backfill_id))

    def _work_while(self, anything_open: Callable[[], object], backfill_id: int | None = None) -> None:
        idle = 0
        while anything_open() and not self.stopping.asked.is_set():
            busy = self.scheduler.tick() or self.scheduler.executor.wait(LONGEST_WAIT)
            idle = 0 if busy else idle + 1
            if idle:
                self._wait(backfill_id, idle)

    def _leave_if_stopped(self, open_: object) -> None:
        if open_:
            click.echo("stopped; repeat the command to go on", err=True)
            raise SystemExit(130)

    def _is_open(self, backfill_id: int) -> bool:
        row = self.store.backfill(backfill_id)
        return row is not None and row.completed_at is None

    def _wait(self, backfill_id: int | None, idle: int) -> None:
        """Wait for the next retry; a little at a time, since other processes may change the database."""
        row = self.store.backfill(backfill_id) if backfill_id is not None else None
        moment = self.scheduler.next_event()
        if row is not None and row.is_paused:
            if idle == 1:
                click.echo(f"waiting for: etlkit backfill unpause {backfill_id}", err=True)
        elif moment is None and idle > 2:
            what = "a cancelled backfill" if backfill_id is None else f"backfill {backfill_id}"
            raise BackfillError(f"{what} cannot go on: {self._blocked()}")
        look_again = self.clock.now() + timedelta(seconds=conf.get("scheduler", "scheduler_idle_sleep_time"))
        self.clock.sleep_until(min(moment or look_again, look_again), self.stopping.asked)

    def _blocked(self) -> str:
        """What keeps the first run that is not finished from going on, in one line."""
        first = self.store.runs(self.dag.dag_id, ["running", "queued"])[0]
        return "; ".join(map(str, why(self.store, self.dag, run_id=first.run_id, now=self.clock.now())))


class ProgressBar(Listener):
    """Shows on a terminal how many runs of a backfill are finished; elsewhere nothing."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._one_more: Callable[[], None] | None = None

    @contextmanager
    def of(self, backfill_id: int) -> Iterator[None]:
        """Show the bar while the block lasts."""
        if not sys.stderr.isatty():
            yield
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

        columns = (BarColumn(), MofNCompleteColumn(), "runs", TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True)) as bar:
            progress = backfill_progress(self.store, backfill_id)
            task = bar.add_task("", total=progress.total, completed=progress.done)
            self._one_more = lambda: bar.advance(task)
            yield
            # Runs that are not of this backfill were counted too.
            bar.update(task, completed=backfill_progress(self.store, backfill_id).done)
        self._one_more = None

    def on_run(self, event: RunEvent) -> None:
        if self._one_more is not None and event.new in ("success", "failed"):
            self._one_more()
