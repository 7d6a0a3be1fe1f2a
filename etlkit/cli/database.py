"""The metadata database, as commands open it."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing, suppress
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from etlkit.config import conf
from etlkit.errors import EtlkitError, MetadataError

if TYPE_CHECKING:
    from etlkit.dag import DAG
    from etlkit.migrations import Versions
    from etlkit.store import RunRow, Store, TaskRow


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


def store_to_look_at() -> Store:
    """The configured metadata database; an empty one that nobody keeps while there is none yet."""
    from etlkit.store import Store

    return open_store() if is_there() else Store("sqlite://")


def existing_store() -> Store:
    """The configured metadata database; MetadataError if it is a SQLite file that is not there yet."""
    must_be_there()
    return open_store()


def must_be_there() -> None:
    """MetadataError if the metadata database is a SQLite file that is not there yet."""
    if not is_there():
        raise MetadataError(f"there is no metadata database {sqlite_file()} yet; create it: etlkit db init")


def paused_flags() -> dict[str, bool]:
    """Whether each DAG that the database knows is paused."""
    return {dag_id: bool(is_paused) for dag_id, is_paused in look_up("SELECT dag_id, is_paused FROM dag")}


def look_up(sql: str, values: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
    """The rows that a SELECT finds; none if there is no database yet.

    A SQLite file is read without SQLAlchemy, whose start would take longer than all the rest of `dags list`.
    """
    if not is_there():
        return []
    try:
        file = sqlite_file()
        if file is not None:
            with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as connection:
                return connection.execute(sql, values or {}).fetchall()
    except sqlite3.Error:
        pass  # no tables yet, or something is wrong with the file: then the store says what
    return open_store().run_sql(sql, values).fetchall()


def paused_at_first(dag: DAG) -> bool:
    """Whether a DAG that was never seen before starts out paused."""
    own = dag.is_paused_upon_creation
    return conf.get("core", "dags_are_paused_at_creation") if own is None else own


def register(store: Store, dag: DAG, now: datetime) -> bool:
    """Note in the database that `dag` exists; whether it is paused."""
    from etlkit.asset_events import register_assets

    with store.transaction():
        store.register_dag(
            dag.dag_id, paused=paused_at_first(dag), fileloc=dag.fileloc, schedule=dag.timetable.summary, now=now
        )
        register_assets(store, dag)
    return store.paused()[dag.dag_id]


def find_run(store: Store, dag_id: str, run: str, dag: DAG | None = None) -> RunRow:
    """The run meant by its run_id, its logical date, or the day on which it alone falls.

    A date without a time zone is read in that of the DAG; who has loaded the DAG gives it.
    """
    found = runs_meant(store, dag_id, run, dag)
    if len(found) != 1:
        count = f"{len(found)} runs" if found else "no run"
        raise EtlkitError(f"DAG {dag_id!r} has {count} of {run}; see: etlkit dags list-runs {dag_id}")
    return found[0]


def runs_meant(store: Store, dag_id: str, run: str, dag: DAG | None = None) -> list[RunRow]:
    """The run of that run_id or logical date, or all of that day."""
    by_id = store.run(dag_id, run)
    return [by_id] if by_id is not None else _runs_at(store, dag_id, run, dag)


def _runs_at(store: Store, dag_id: str, text: str, dag: DAG | None) -> list[RunRow]:
    from etlkit.runs import runs_on

    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return []
    zone = moment.tzinfo or (dag.timezone if dag else zone_of(store, dag_id))
    return runs_on(store, dag_id, moment.replace(tzinfo=zone).astimezone(UTC), zone)


def task_rows(store: Store, run: RunRow, task_id: str, map_index: int) -> list[TaskRow]:
    """The instances of a task in a run, or the one meant; TaskNotFound or EtlkitError if there is none."""
    from etlkit.errors import TaskNotFound

    tasks = store.task_instances(run.id)
    rows = [task for task in tasks if task.task_id == task_id]
    if not rows:
        raise TaskNotFound(run.dag_id, task_id, [task.task_id for task in tasks])
    found = [task for task in rows if task.map_index == map_index or map_index < 0]
    if not found:
        raise EtlkitError(f"task {task_id!r} has no instance {map_index} in {run.run_id}")
    return found


def zone_of(store: Store, dag_id: str) -> tzinfo:
    """The time zone of a DAG, which only its file knows; UTC if that does not load any more."""
    from etlkit.cli.loading import load_dags

    row = store.run_sql("SELECT fileloc FROM dag WHERE dag_id = :dag_id", {"dag_id": dag_id}).fetchone()
    with suppress(EtlkitError):
        return load_dags(Path(row[0])).get(dag_id).timezone if row and row[0] else UTC
    return UTC


def empty(store: Store) -> None:
    """Delete every row; what is left is as in a new database."""
    from etlkit import models

    with store.transaction():
        for table in reversed(models.metadata.sorted_tables):
            if table is not models.alembic_version:
                store.run_sql(f"DELETE FROM {table.name}")
        store.set_pool("default_pool", 128, "Default pool")
