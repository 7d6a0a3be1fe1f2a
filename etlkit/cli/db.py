"""`etlkit db …`: the metadata database."""

from __future__ import annotations

import click


@click.group()
def db() -> None:
    """Create, check and empty the metadata database.

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
def check() -> None:
    """Check that the metadata database can be read and is not damaged.

    \b
    Example: etlkit db check
    """
    from etlkit.cli.database import check_integrity, existing_store

    store = existing_store()
    check_integrity(store)
    click.echo(f"metadata database {store.name} is in order: {len(store.paused())} DAGs, {len(store.runs())} runs")


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
