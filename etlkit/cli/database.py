"""The metadata database, as commands open it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from etlkit.config import conf
from etlkit.errors import EtlkitError, MetadataError

if TYPE_CHECKING:
    from etlkit.dag import DAG
    from etlkit.migrations import Versions
    from etlkit.store import RunRow, Store
    from etlkit.timetables import DataInterval


def database_url() -> str:
    """[database] sql_alchemy_conn."""
    return conf.get("database", "sql_alchemy_conn")


def sqlite_file() -> Path | None:
    """The file of a SQLite database; None for any other."""
    scheme, _, path = database_url().partition(":///")
    return Path(path.partition("?")[0]) if scheme.startswith("sqlite") and path else None


def database_name() -> str:
    """Where the database is: a file, or a URL without its password."""
    file = sqlite_file()
    if file is not None:
        return str(file)
    from etlkit.database import parse_url, shown

    return shown(parse_url(database_url()))


def open_store() -> Store:
    """The configured metadata database, closed when the command ends.

    Its tables, and the folder ETLKIT_HOME, are made on first use.
    """
    from etlkit.store import Store

    _make_home()
    store = Store(database_url())
    click.get_current_context().call_on_close(store.close)
    return store


def _make_home() -> None:
    file = sqlite_file()
    if file is not None and file.parent == conf.current.home:
        file.parent.mkdir(parents=True, exist_ok=True)


def migrated() -> Versions:
    """The versions of the tables before and after they were brought up to date, or created."""
    from etlkit.migrations import migrate

    _make_home()
    return migrate(database_url())


def is_there() -> bool:
    """Whether the database was made already: commands that only look do not make it."""
    file = sqlite_file()
    return file is None or file.exists()


def existing_store() -> Store:
    """The configured metadata database; MetadataError if it is a SQLite file that is not there yet."""
    must_be_there()
    return open_store()


def must_be_there() -> None:
    """MetadataError if the metadata database is a SQLite file that is not there yet."""
    if not is_there():
        raise MetadataError(f"there is no metadata database {sqlite_file()} yet; create it: etlkit db init")


def paused_flags() -> dict[str, bool]:
    """Whether each DAG that the database knows is paused.

    A SQLite file is read without SQLAlchemy, whose start would take longer than all the rest of `dags list`.
    """
    if not is_there():
        return {}
    try:
        file = sqlite_file()
        if file is not None:
            with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as connection:
                rows = connection.execute("SELECT dag_id, is_paused FROM dag").fetchall()
                return {dag_id: bool(is_paused) for dag_id, is_paused in rows}
    except sqlite3.Error:
        pass  # no tables yet, or something is wrong with the file: then the store says what
    return open_store().paused()


def paused_at_first(dag: DAG) -> bool:
    """Whether a DAG that was never seen before starts out paused."""
    own = dag.is_paused_upon_creation
    return conf.get("core", "dags_are_paused_at_creation") if own is None else own


def register(store: Store, dag: DAG, now: datetime) -> bool:
    """Note in the database that `dag` exists; whether it is paused."""
    with store.transaction():
        store.register_dag(
            dag.dag_id, paused=paused_at_first(dag), fileloc=dag.fileloc, schedule=dag.timetable.summary, now=now
        )
    return store.paused()[dag.dag_id]


def find_run(store: Store, dag_id: str, run: str) -> RunRow:
    """The run meant by its run_id, its logical date, or the day (in UTC) on which it alone falls."""
    runs = store.runs(dag_id)
    found = [row for row in runs if row.run_id == run] or _runs_at(runs, run)
    if len(found) != 1:
        count = f"{len(found)} runs" if found else "no run"
        raise EtlkitError(f"DAG {dag_id!r} has {count} of {run}; see: etlkit dags list-runs {dag_id}")
    return found[0]


def _runs_at(runs: list[RunRow], date: str) -> list[RunRow]:
    try:
        moment = datetime.fromisoformat(date)
    except ValueError:
        return []
    moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    dated = [(row.logical_date, row) for row in runs if row.logical_date]
    exact = [row for at, row in dated if at == moment]
    return exact or [row for at, row in dated if moment.time() == time() and at.date() == moment.date()]


def empty(store: Store) -> None:
    """Delete every row; what is left is as in a new database."""
    from etlkit import models

    with store.transaction():
        for table in reversed(models.metadata.sorted_tables):
            if table is not models.alembic_version:
                store.run_sql(f"DELETE FROM {table.name}")
        store.set_pool("default_pool", 128, "Default pool")


def last_interval(dag_id: str) -> DataInterval | None:
    """The data interval of the newest run that the schedule made; None if there is none, or no database yet."""
    if not is_there():
        return None
    last = open_store().last_scheduled_run(dag_id)
    return last.data_interval if last else None
