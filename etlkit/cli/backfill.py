"""`etlkit backfill …`: running a DAG for dates that have passed. `etlkit dags backfill` is `etlkit backfill create`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from etlkit.cli.options import INSTANT, conf_option, dag_argument, in_zone_of, output_option, source_option
from etlkit.cli.tables import show

if TYPE_CHECKING:
    from etlkit.backfill import BackfillPlan
    from etlkit.dag import DAG
    from etlkit.store import RunRow, Store

backfill_argument = click.argument("backfill_id", metavar="BACKFILL", type=int)


@click.group()
def backfill() -> None:
    """Make, list, pause and cancel backfills.

    \b
    Example: etlkit backfill list
    """


@backfill.command()
@dag_argument
@click.option("-s", "--start-date", "--from-date", type=INSTANT, required=True, help="the first logical date")
@click.option("-e", "--end-date", "--to-date", type=INSTANT, help="the last one, included  [default: the first]")
@click.option("-n", "--dry-run", is_flag=True, help="only print which runs it means")
@click.option(
    "--reprocess",
    "--reprocess-behavior",
    type=click.Choice(["none", "failed", "completed"]),
    default="none",
    show_default=True,
    help="which runs that are there already run again",
)
@click.option("--run-backwards", is_flag=True, help="newest first")
@click.option("--max-active-runs", type=click.IntRange(min=1), default=10, show_default=True, help="at most at once")
@conf_option
@source_option
@output_option
def create(
    dag_id: str,
    start_date: datetime,
    end_date: datetime | None,
    dry_run: bool,
    reprocess: str,
    run_backwards: bool,
    max_active_runs: int,
    conf: Mapping[str, Any] | None,
    source: Path | None,
    output: str,
) -> None:
    """Run a DAG for each of its logical dates from START to END, both included, dates being read in its time zone.

    It first prints which runs it means. It may be interrupted at any moment, even killed: repeated, it goes on where it
    stopped, and once everything is there it does nothing. The exit code is 0 only if no run failed.

    While an etlkit scheduler is running, the runs are queued for that, and this command waits for them.

    \b
    Example: etlkit dags backfill weather -s 2013-01-01 -e 2013-01-31 --dry-run
    """
    from etlkit.backfill import plan_backfill
    from etlkit.cli.loading import find_dag
    from etlkit.clock import SystemClock

    dag = find_dag(dag_id, source)
    dates = in_zone_of(dag, start_date), in_zone_of(dag, end_date or start_date)
    plan = partial(plan_backfill, dag, *dates, reprocess=reprocess, reverse=run_backwards, now=SystemClock().now())
    if dry_run:
        _show_plan(plan(existing=_runs_so_far(dag_id)), output)
    else:
        _carry_out(dag, plan, max_active_runs, conf, output)


def _show_plan(plan: BackfillPlan, output: str) -> None:
    items = [{"logical_date": i.logical_date, "action": i.action, "reason": i.reason} for i in plan.items]
    if output == "table":
        click.echo(plan)
    else:
        show(items, output, empty=plan.summary)


def _runs_so_far(dag_id: str) -> list[RunRow]:
    from etlkit.cli.database import is_there, open_store

    return open_store().runs(dag_id) if is_there() else []


def _carry_out(
    dag: DAG, plan: Callable[..., BackfillPlan], max_active_runs: int, conf: Mapping[str, Any] | None, output: str
) -> None:
    from etlkit.backfill import create_backfill
    from etlkit.cli.backfilling import Backfilling
    from etlkit.cli.database import open_store
    from etlkit.cli.stopping import Stopping
    from etlkit.scheduler_lock import scheduling

    store = open_store()
    if _is_looked_after(store, dag.dag_id):
        _leave_to_scheduler(store, dag, plan, max_active_runs, conf, output)
        return
    with (
        scheduling(store, f"etlkit dags backfill {dag.dag_id}"),
        Stopping() as stopping,
        Backfilling(store, dag, stopping) as backfilling,
    ):
        backfilling.go_on()
        planned = plan(existing=store.runs(dag.dag_id))
        if planned.items:
            click.echo(planned, err=output != "table")
        if not planned.items or not planned.nothing_to_do:
            now = backfilling.clock.now()
            backfill_id = create_backfill(store, dag, planned, max_active_runs=max_active_runs, conf=conf, now=now)
            backfilling.finish(backfill_id)
    _show_runs(store, dag, planned, output)
    raise SystemExit(backfilling.any_failed)


def _is_looked_after(store: Store, dag_id: str) -> bool:
    """Whether an `etlkit scheduler` is running that knows the DAG: then the backfill's runs are its own."""
    from etlkit.scheduler_lock import scheduled_by

    return "(etlkit scheduler)" in (scheduled_by(store) or "") and dag_id in store.paused()


def _leave_to_scheduler(
    store: Store,
    dag: DAG,
    plan: Callable[..., BackfillPlan],
    max_active_runs: int,
    conf: Mapping[str, Any] | None,
    output: str,
) -> None:
    """Queue the runs for the scheduler that is running, and wait until it has done them, or somebody asks to stop."""
    from etlkit.backfill import create_backfill
    from etlkit.clock import SystemClock

    failed = [_wait_for(store, row.id) for row in store.open_backfills(dag.dag_id)]  # what an earlier one has queued
    planned = plan(existing=store.runs(dag.dag_id))
    if planned.items:
        click.echo(planned, err=output != "table")
    if not planned.items or not planned.nothing_to_do:
        now = SystemClock().now()
        backfill_id = create_backfill(store, dag, planned, max_active_runs=max_active_runs, conf=conf, now=now)
        failed.append(_wait_for(store, backfill_id))
    _show_runs(store, dag, planned, output)
    raise SystemExit(any(failed))


def _wait_for(store: Store, backfill_id: int) -> int:
    """Wait until a scheduler has done a backfill; how many runs failed. SystemExit 130 if somebody asks to stop."""
    from etlkit.backfill import backfill_progress
    from etlkit.cli.stopping import Stopping
    from etlkit.clock import SystemClock

    clock = SystemClock()
    click.echo(f"backfill {backfill_id} is queued for the scheduler that is running; Ctrl-C leaves it there", err=True)
    with Stopping("leaving it to the scheduler") as stopping:
        while (row := store.backfill(backfill_id)) is not None and row.completed_at is None:
            if stopping.asked.is_set():
                raise SystemExit(130)
            clock.sleep_until(clock.now() + LOOK_AGAIN, stopping.asked)
    progress = backfill_progress(store, backfill_id)
    click.echo(f"backfill {backfill_id}: {progress}", err=True)
    return progress.failed


LOOK_AGAIN = timedelta(seconds=0.5)
"""Between two looks whether a backfill is complete."""


def _show_runs(store: Store, dag: DAG, planned: BackfillPlan, output: str) -> None:
    if output != "table":
        runs = [store.run_at(dag.dag_id, item.logical_date) for item in planned.items]
        show([{"run_id": r.run_id, "logical_date": r.logical_date, "state": r.state} for r in runs if r], output)


@backfill.command("list")
@click.option("-d", "--dag-id", help="only those of one DAG")
@output_option
def list_backfills(dag_id: str | None, output: str) -> None:
    """List the backfills, with how far each is.

    \b
    Example: etlkit backfill list --dag-id weather
    """
    from etlkit.backfill import backfill_progress
    from etlkit.cli.database import existing_store

    store = existing_store()
    rows = [
        {
            "id": row.id,
            "dag_id": row.dag_id,
            "from_date": row.from_date,
            "to_date": row.to_date,
            "reprocess": row.reprocess_behavior,
            "state": "complete" if row.completed_at else "paused" if row.is_paused else "open",
            **backfill_progress(store, row.id)._asdict(),
        }
        for row in store.backfills(dag_id)
    ]
    show(rows, output, empty="no backfills", spare=("reprocess", "queued", "running"))


@backfill.command()
@backfill_argument
def pause(backfill_id: int) -> None:
    """Start no more runs of a backfill; what runs goes on.

    \b
    Example: etlkit backfill pause 3
    """
    from etlkit.backfill import pause_backfill
    from etlkit.cli.database import existing_store

    pause_backfill(existing_store(), backfill_id)
    click.echo(f"backfill {backfill_id} is paused")


@backfill.command()
@backfill_argument
def unpause(backfill_id: int) -> None:
    """Let a paused backfill go on.

    \b
    Example: etlkit backfill unpause 3
    """
    from etlkit.backfill import pause_backfill
    from etlkit.cli.database import existing_store

    pause_backfill(existing_store(), backfill_id, paused=False)
    click.echo(f"backfill {backfill_id} goes on")


@backfill.command()
@backfill_argument
def cancel(backfill_id: int) -> None:
    """Give a backfill up: its queued runs fail without having run, and the runs that have begun go on.

    \b
    Example: etlkit backfill cancel 3
    """
    from etlkit.backfill import cancel_backfill
    from etlkit.cli.database import existing_store
    from etlkit.clock import SystemClock

    store = existing_store()
    failed = cancel_backfill(store, backfill_id, now=SystemClock().now())
    begun = store.runs(states=["running"], backfill_id=backfill_id)
    text = (
        f"; {len(begun)} runs that have begun go on with the next `etlkit dags backfill` or scheduler" if begun else ""
    )
    click.echo(f"backfill {backfill_id} is cancelled; {len(failed)} queued runs failed{text}")
