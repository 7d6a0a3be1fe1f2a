"""`etlkit db …`: the metadata database."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click

from etlkit.cli.options import INSTANT, in_utc, output_option
from etlkit.errors import MetadataError


@click.group()
def db() -> None:
    """Create, check, migrate, back up, clean and empty the metadata database.

    \b
    Example: etlkit db check
    """


@db.command()
def path() -> None:
    """Print where the metadata database is.

    \b
    Example: sqlite3 "$(etlkit db path)"
    """
    from etlkit.cli.database import database_name

    click.echo(database_name())


@db.command()
def init() -> None:
    """Create the metadata database, or leave it as it is if it is there.

    \b
    Example: etlkit db init
    """
    from etlkit.cli.database import open_store

    click.echo(f"metadata database {open_store().name} is ready")


@db.command()
def migrate() -> None:
    """Bring the tables that an older etlkit made up to date, or create them; make a backup first.

    \b
    Example: etlkit db migrate
    """
    from etlkit.cli.database import database_name, migrated

    before, after = migrated()
    done = "is ready" if before is None else "was up to date" if before == after else f"was brought up from {before}"
    click.echo(f"metadata database {database_name()} {done}: its tables have version {after}")


@db.command()
@output_option
def check(output: str) -> None:
    """Check that the metadata database can be reached and is not damaged, and see who schedules it.

    \b
    Example: etlkit db check
    """
    from etlkit.cli.database import existing_store
    from etlkit.cli.tables import show
    from etlkit.upkeep import health

    found = health(existing_store())
    if found.integrity != "ok":
        raise MetadataError(
            f"metadata database {found.database} is damaged ({found.integrity}); restore a backup: etlkit db restore"
        )
    if output != "table":
        show([found._asdict()], output)
        return
    click.echo(
        f"metadata database {found.database} is in order: {found.dags} DAGs, {found.runs} runs, tables of version "
        f"{found.version}; {f'scheduled by {found.scheduler}' if found.scheduler else 'nobody schedules it now'}"
    )


@db.command()
@click.argument("file", type=click.Path(path_type=Path))
def backup(file: Path) -> None:
    """Copy the metadata database into a new FILE, while others go on using it.

    Keep the key of Variables and Connections too: they are in the copy as they are stored, encrypted.

    \b
    Example: etlkit db backup etlkit-2013-01-31.db
    """
    from etlkit.backups import backup as copy
    from etlkit.cli.database import database_name, database_url, must_be_there

    must_be_there()
    copy(database_url(), file)
    click.echo(f"metadata database {database_name()} is copied to {file}")


@db.command()
@click.argument("file", type=click.Path(path_type=Path))
def restore(file: Path) -> None:
    """Make the metadata database what it was when FILE was made by `db backup`; what it holds now is kept beside.

    \b
    Example: etlkit db restore etlkit-2013-01-31.db
    """
    from etlkit import models
    from etlkit.backups import restore as put_back
    from etlkit.cli.database import database_name, database_url
    from etlkit.clock import SystemClock

    version, kept = put_back(database_url(), file, now=SystemClock().now())
    before = f"; what it held before is in {kept}" if kept else ""
    old = f"; its tables have version {version}: etlkit db migrate" if version < models.SCHEMA_VERSION else ""
    click.echo(f"metadata database {database_name()} is what {file} held{before}{old}")


@db.command()
@click.option("--before", type=INSTANT, required=True, help="delete runs that finished before this date")
@click.option("--dag-id", default="", help="of this DAG only")
@click.option("--dry-run", is_flag=True, help="only say what would be deleted")
def clean(before: datetime, dag_id: str, dry_run: bool) -> None:
    """Delete finished runs that are old, with their task instances, XComs and logs.

    The newest scheduled run of each DAG stays: the schedule goes on from it. A date without a time zone means UTC.

    \b
    Example: etlkit db clean --before 2013-01-01 --dry-run
    """
    from etlkit.cli.database import existing_store
    from etlkit.config import conf
    from etlkit.logs import LogStore
    from etlkit.upkeep import clean as clean_up

    logs = LogStore(conf.get("logging", "base_log_folder"))
    removed = clean_up(existing_store(), in_utc(before), dag_id=dag_id, logs=logs, dry_run=dry_run)
    what = ", ".join(f"{removed[kind]} {name}" for kind, name in CLEANED.items())
    click.echo(f"{'would delete' if dry_run else 'deleted'} {what}")


CLEANED = {
    "dag_run": "runs",
    "task_instance": "task instances",
    "task_instance_history": "earlier tries",
    "xcom": "XComs",
    "decision": "decisions",
    "backfill": "backfills",
    "asset_event": "events of assets",
    "logs": "logs",
}


@db.command()
@click.option("-y", "--yes", is_flag=True, help="do not ask")
def reset(yes: bool) -> None:
    """Delete all that the metadata database remembers: DAGs, runs, states, XComs, pools.

    \b
    Example: etlkit db reset --yes
    """
    from etlkit.cli.database import empty, existing_store
    from etlkit.scheduler_lock import scheduling

    store = existing_store()
    if not yes:
        click.confirm(f"Delete everything in {store.name}?", abort=True, err=True)
    with scheduling(store, "etlkit db reset"):
        empty(store)
    click.echo(f"metadata database {store.name} is empty")
