"""`etlkit logs …`: what tasks printed and logged, one file a try."""

from __future__ import annotations

from datetime import datetime, timedelta

import click

from etlkit.cli.options import INSTANT, dag_argument, in_utc, run_argument, task_argument


@click.group()
def logs() -> None:
    """Show and delete the logs of tasks.

    \b
    Example: etlkit logs show weather extract 2013-01-05
    """


@logs.command()
@dag_argument
@task_argument
@run_argument
@click.option("-t", "--try-number", type=click.IntRange(min=1), help="which try  [default: the latest]")
@click.option("--map-index", default=-1, help="which instance of a mapped task")
def show(dag_id: str, task_id: str, run: str, try_number: int | None, map_index: int) -> None:
    """Show what one try of a task printed and logged; RUN is a run_id or a logical date.

    \b
    Example: etlkit logs show weather extract 2013-01-05 --try-number 1
    """
    from etlkit.cli.database import existing_store, find_run
    from etlkit.config import conf
    from etlkit.errors import EtlkitError, TaskNotFound
    from etlkit.logs import LogKey, LogStore

    store = existing_store()
    row = find_run(store, dag_id, run)
    tasks = store.task_instances(row.id)
    tries = {(task.task_id, task.map_index): task.try_number for task in tasks}
    if (task_id, map_index) not in tries:
        raise TaskNotFound(dag_id, task_id, [task.task_id for task in tasks])
    latest = tries[task_id, map_index]
    if not 0 < (try_number or latest) <= latest:
        raise EtlkitError(f"{task_id} has had {latest} tries in {row.run_id}; there is no log of try {try_number or 1}")
    key = LogKey(dag_id, row.run_id, task_id, map_index, try_number or latest)
    click.echo(LogStore(conf.get("logging", "base_log_folder")).read(key), nl=False)


@logs.command()
@click.option("--before", type=INSTANT, help="delete what was last written before this date")
@click.option("--older-than", "days", type=click.IntRange(min=0), help="the same, in days before now")
@click.option("--dry-run", is_flag=True, help="only say how many there are")
def clean(before: datetime | None, days: int | None, dry_run: bool) -> None:
    """Delete log files that are old; a date without a time zone means UTC.

    The tasks' states stay: see etlkit db clean, which deletes whole runs with their logs.

    \b
    Example: etlkit logs clean --older-than 30 --dry-run
    """
    from etlkit.clock import SystemClock
    from etlkit.config import conf
    from etlkit.logs import LogStore

    if (before is None) == (days is None):
        raise click.UsageError("say how old with --before DATE or with --older-than DAYS")
    if before is None:
        before = SystemClock().now() - timedelta(days=days or 0)
    folder = conf.get("logging", "base_log_folder")
    count = LogStore(folder).clean(in_utc(before), dry_run=dry_run)
    click.echo(f"{'would delete' if dry_run else 'deleted'} {count} log files in {folder}")
