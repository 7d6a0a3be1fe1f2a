"""Bringing the tables that an older etlkit made up to date.

Each change to `models` is a revision in `versions/`, with an `upgrade()` that says it in Alembic's words; they build on
each other, and the last one's number is `models.SCHEMA_VERSION`. A new database is made from `models` at once and is
marked with that number; a test sees to it that both ways lead to the same tables.

There is no way back: make a backup first (`etlkit db backup`).

>>> migrate("sqlite://")
Versions(before=None, after='0002')
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

from etlkit import models
from etlkit.database import (
    changing_tables,
    check_version,
    create_tables,
    explained,
    make_engine,
    parse_url,
    shown,
    tables_version,
)
from etlkit.errors import MetadataError

FOLDER = Path(__file__).parent


class Versions(NamedTuple):
    """Which version the tables had, None if there were none, and which they have now."""

    before: str | None
    after: str


def migrate(url: str, *, folder: Path = FOLDER) -> Versions:
    """Make the tables of the database at `url` those that this etlkit needs, with all that they hold.

    It happens whole or not at all, and once: who comes at the same time waits, and finds it done. MetadataError if they
    are from a newer etlkit, or if a step fails.
    """
    engine = make_engine(parse_url(url))
    try:
        with engine.connect() as connection:
            return _migrate(connection, folder)
    except sa.exc.DBAPIError as error:
        raise explained(error, shown(engine.url)) from error
    finally:
        engine.dispose()


def _migrate(connection: sa.Connection, folder: Path) -> Versions:
    before = tables_version(connection)
    if before is None:
        create_tables(connection)
    elif before < models.SCHEMA_VERSION:
        _keep_references(connection, False)
        with changing_tables(connection):
            _upgrade(connection, folder)
        _keep_references(connection, True)
    else:
        check_version(before, connection)
    return Versions(before, models.SCHEMA_VERSION)


def _keep_references(connection: sa.Connection, keep: bool) -> None:
    """Whether SQLite deletes what refers to deleted rows: a table is changed by copying it and deleting the old one."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"PRAGMA foreign_keys = {'ON' if keep else 'OFF'}")


def _upgrade(connection: sa.Connection, folder: Path) -> None:
    """Take the steps that are missing, inside the caller's transaction."""
    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    before = tables_version(connection)  # asked again: somebody else may have been first
    revisions = ScriptDirectory(str(folder))
    if before not in {revision.revision for revision in revisions.walk_revisions()}:
        raise MetadataError(f"{shown(connection.engine.url)}: no etlkit made tables of version {before}")
    with Operations.context(MigrationContext.configure(connection)):
        for revision in reversed(list(revisions.iterate_revisions(models.SCHEMA_VERSION, before))):
            revision.module.upgrade()
    connection.execute(models.alembic_version.update().values(version_num=models.SCHEMA_VERSION))
    _check_references(connection)


def _check_references(connection: sa.Connection) -> None:
    """MetadataError if a step left rows in SQLite that refer to nothing."""
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all() if connection.dialect.name == "sqlite" else []
    if broken:
        raise MetadataError(
            f"{shown(connection.engine.url)}: rows of {broken[0][0]} refer to nothing; restore a backup"
        )
