"""`etlkit pools …`: numbers of slots that tasks share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from etlkit.cli.completion import pool_names
from etlkit.cli.exchange import file_argument, format_option
from etlkit.cli.options import output_option
from etlkit.cli.tables import show
from etlkit.errors import ConfigError, nearest

if TYPE_CHECKING:
    from etlkit.store import PoolRow, Store

pool_argument = click.argument("name", metavar="POOL", shell_complete=pool_names)

DEFAULT = "default_pool"
"""The pool of every task that names none."""


@click.group()
def pools() -> None:
    """List, get, set, delete, import and export pools: how many tasks may do the same kind of work at once.

    \b
    Example: etlkit pools list
    """


@pools.command("list")
@output_option
def list_pools(output: str) -> None:
    """List the pools: how many slots each has, and how many of them tasks hold now.

    \b
    Example: etlkit pools list
    """
    from etlkit.cli.database import existing_store

    store = existing_store()
    show(_with_use(store, store.pool_rows()), output)


@pools.command()
@pool_argument
@output_option
def get(name: str, output: str) -> None:
    """Show one pool: how many slots it has, and how many of them tasks hold now.

    \b
    Example: etlkit pools get default_pool
    """
    from etlkit.cli.database import existing_store

    store = existing_store()
    show(_with_use(store, [_found(store, name)]), output)


def _with_use(store: Store, rows: list[PoolRow]) -> list[dict[str, Any]]:
    used: dict[str, int] = {}
    for holder in store.slot_holders():
        used[holder.pool] = used.get(holder.pool, 0) + holder.pool_slots
    return [
        {"pool": row.name, "slots": row.slots, "used": used.get(row.name, 0), "description": row.description}
        for row in rows
    ]


def _found(store: Store, name: str) -> PoolRow:
    rows = {row.name: row for row in store.pool_rows()}
    if name not in rows:
        raise ConfigError(f"there is no pool {name!r}{nearest(name, list(rows)) or '; see: etlkit pools list'}")
    return rows[name]


@pools.command("set")
@pool_argument
@click.argument("slots", type=click.IntRange(min=0))
@click.argument("description", default="")
def set_pool(name: str, slots: int, description: str) -> None:
    """Make a pool, or change its number of slots and what it is for.

    \b
    Example: etlkit pools set warehouse 1 "one writer at a time"
    """
    from etlkit.cli.database import open_store

    store = open_store()
    with store.transaction():
        store.set_pool(name, slots, description)
    click.echo(f"pool {name!r} has {slots} slots")


@pools.command()
@pool_argument
def delete(name: str) -> None:
    """Delete a pool; tasks that name it wait until it is there again. The default pool stays.

    \b
    Example: etlkit pools delete warehouse
    """
    from etlkit.cli.database import existing_store

    store = existing_store()
    if name == DEFAULT:
        raise ConfigError(
            f"{DEFAULT} cannot be deleted: tasks that name no pool are in it; etlkit pools set resizes it"
        )
    _found(store, name)
    with store.transaction():
        store.delete_pool(name)
    click.echo(f"pool {name!r} is deleted")


@pools.command("import")
@file_argument
@format_option("json", "yaml")
def import_pools(file: Path, form: str | None) -> None:
    """Make the pools of FILE, all or none, or change those that exist; - is stdin.

    The file is as `pools export` writes it, or Airflow: each pool an object with slots and description.

    \b
    Example: etlkit pools import pools.json
    """
    from etlkit.cli.database import open_store
    from etlkit.cli.exchange import imported, read_entries

    entries = read_entries(file, form)
    pools = {name: _checked(name, entry) for name, entry in entries.items()}
    store = open_store()
    with store.transaction():
        for name, (slots, description) in pools.items():
            store.set_pool(name, slots, description)
    click.echo(imported(list(pools), pools, "pools"))


def _checked(name: str, entry: Any) -> tuple[int, str]:
    """The slots and the description of a pool in a file."""
    slots = entry.get("slots") if isinstance(entry, Mapping) else None
    if not isinstance(slots, int) or isinstance(slots, bool) or slots < 0:
        raise ConfigError(f'pool {name!r} needs a number of slots, 0 or more: {{"slots": 5}}; nothing was imported')
    return slots, str(entry.get("description") or "")


@pools.command("export")
@file_argument
@format_option("json", "yaml")
def export_pools(file: Path, form: str | None) -> None:
    """Write the pools into FILE; - prints them.

    \b
    Example: etlkit pools export pools.json
    """
    from etlkit.cli.database import existing_store
    from etlkit.cli.exchange import write_entries

    rows = existing_store().pool_rows()
    values = {row.name: {"slots": row.slots, "description": row.description} for row in rows}
    write_entries(file, values, form, "pools", secrets=False)
