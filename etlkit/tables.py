"""The metadata database as tables to read: what a person asks of it, where `store` has what the scheduler asks.

Each function answers with a DataFrame whose instants are UTC; `query` takes a SELECT of your own.

>>> from etlkit.store import Store
>>> query(Store("sqlite://"), "SELECT name, slots FROM pool").to_dict("records")
[{'name': 'default_pool', 'slots': 128}]
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etlkit import xcom
from etlkit.database import explained
from etlkit.errors import DagFileError, MetadataError
from etlkit.events import RunEvent, TaskEvent
from etlkit.masking import masker, storable
from etlkit.store import RunRow, Store

if TYPE_CHECKING:
    import pandas as pd

RUNS = """
SELECT dag_id, run_id, run_type, state, logical_date, data_interval_start, data_interval_end, run_after, start_date,
       end_date
FROM dag_run ORDER BY run_after, id
"""

TASK_INSTANCES = """
SELECT r.dag_id, r.run_id, r.logical_date, t.task_id, t.map_index, t.try_number, t.state, t.start_date, t.end_date,
       t.error
FROM task_instance t JOIN dag_run r ON r.id = t.dag_run_id
ORDER BY r.run_after, r.id, t.id
"""

# A try that is kept as history is still the latest one while its retry has not begun: it counts once.
TRIES = """
SELECT r.dag_id, r.run_id, r.logical_date, t.task_id, t.map_index, a.try_number, a.state, a.start_date, a.end_date,
       a.error
FROM (
    SELECT task_instance_id AS id, try_number, state, start_date, end_date, error FROM task_instance_history
    UNION ALL
    SELECT id, try_number, state, start_date, end_date, error FROM task_instance
    WHERE try_number > 0 AND NOT EXISTS (
        SELECT 1 FROM task_instance_history h
        WHERE h.task_instance_id = task_instance.id AND h.try_number = task_instance.try_number
    )
) a
JOIN task_instance t ON t.id = a.id
JOIN dag_run r ON r.id = t.dag_run_id
WHERE :run = 0 OR t.dag_run_id = :run
ORDER BY r.run_after, r.id, t.id, a.try_number
"""

XCOMS = """
SELECT r.dag_id, r.run_id, r.logical_date, t.task_id, t.map_index, x.key, x.value
FROM xcom x
JOIN dag_run r ON r.id = x.dag_run_id
JOIN task_instance t ON t.dag_run_id = r.id AND t.task_id = x.task_id AND t.map_index = x.map_index
ORDER BY r.run_after, r.id, t.id, x.key
"""

ASSETS = """
SELECT a.name, a.uri, a."group", COUNT(e.id) AS events, MAX(e.timestamp) AS last_event
FROM asset a LEFT JOIN asset_event e ON e.asset_id = a.id
GROUP BY a.id, a.name, a.uri, a."group" ORDER BY a.name, a.uri
"""

ASSET_EVENTS = """
SELECT e.timestamp, a.name AS asset, a.uri, e.extra, e.source_dag_id, e.source_task_id, e.source_run_id,
       e.source_map_index
FROM asset_event e JOIN asset a ON a.id = e.asset_id ORDER BY e.id
"""

DECISIONS = "SELECT at, dag_id, run_id, task_id, map_index, try_number, old, new, reason FROM decision ORDER BY id"

IMPORT_ERRORS = "SELECT filename, line, message, stacktrace, timestamp FROM import_error ORDER BY filename"

INSTANTS = frozenset(
    {
        *("timestamp", "at", "logical_date", "data_interval_start", "data_interval_end", "run_after"),
        *("start_date", "end_date", "last_event"),
    }
)


def runs(store: Store) -> pd.DataFrame:
    """The runs, oldest `run_after` first."""
    return _frame(store, RUNS)


def task_instances(store: Store) -> pd.DataFrame:
    """The task instances, by run and in the order of their DAG, each with its latest try."""
    return _frame(store, TASK_INSTANCES)


def tries(store: Store, run: RunRow | None = None) -> pd.DataFrame:
    """The attempts that were made, of one run or of all, each with how it ended.

    Task instances that never began have none.
    """
    return _frame(store, TRIES, {"run": run.id if run else 0})


def xcoms(store: Store) -> pd.DataFrame:
    """The values that tasks left for each other, as Python values, without secrets."""
    import pandas as pd

    frame = _frame(store, XCOMS)
    values = [masker.masked(xcom.loads(text), key) for key, text in zip(frame["key"], frame["value"], strict=True)]
    return frame.assign(value=pd.Series(values, dtype=object))


def assets(store: Store) -> pd.DataFrame:
    """The assets, by name, each with how many events it had and when the last one was."""
    return _frame(store, ASSETS)


def asset_events(store: Store) -> pd.DataFrame:
    """The events of all assets, oldest first: what each said, without secrets, and which task instance made it."""
    import pandas as pd

    frame = _frame(store, ASSET_EVENTS)
    return frame.assign(extra=pd.Series([masker.masked(json.loads(text)) for text in frame["extra"]], dtype=object))


def decisions(store: Store) -> pd.DataFrame:
    """The changes of runs and task instances that were recorded, in order, each with its reason."""
    return _frame(store, DECISIONS)


def record_decisions(store: Store, events: Sequence[TaskEvent | RunEvent]) -> None:
    """Write events down in the table `decision`, in one transaction; a run's own have no task_id."""
    rows = [{"task_id": None, "map_index": None, "try_number": None, **event._asdict()} for event in events]
    with store.transaction():
        store.run_many(
            """INSERT INTO decision (at, dag_id, run_id, task_id, map_index, try_number, old, new, reason)
               VALUES (:at, :dag_id, :run_id, :task_id, :map_index, :try_number, :old, :new, :reason)""",
            rows,
        )


def import_errors(store: Store) -> pd.DataFrame:
    """The DAG files that do not load, each with the line and what is wrong there, and since when it has been so."""
    return _frame(store, IMPORT_ERRORS)


def record_import_errors(
    store: Store, errors: Sequence[DagFileError], now: datetime, within: Path | None = None
) -> None:
    """Make `errors` the ones that the table `import_error` has, in one transaction; those that stay keep their time.

    With `within`, a file or folder, those of other files stay as they are.
    """
    rows = {
        str(Path(error.path).absolute()): {
            "filename": str(Path(error.path).absolute()),
            "line": error.line,
            "message": storable(masker.mask(error.reason)),
            "stacktrace": error.stacktrace,
            "timestamp": now,
        }
        for error in errors
    }
    with store.transaction():
        known = {filename for (filename,) in store.run_sql("SELECT filename FROM import_error").fetchall()}
        gone = [name for name in known - rows.keys() if not within or Path(name).is_relative_to(within.absolute())]
        store.run_many("DELETE FROM import_error WHERE filename = :filename", [{"filename": name} for name in gone])
        store.run_many(
            """INSERT INTO import_error (filename, line, message, stacktrace, timestamp)
               VALUES (:filename, :line, :message, :stacktrace, :timestamp)
               ON CONFLICT (filename) DO UPDATE
               SET line = excluded.line, message = excluded.message, stacktrace = excluded.stacktrace,
                   timestamp = excluded.timestamp
               WHERE import_error.message <> excluded.message OR import_error.stacktrace <> excluded.stacktrace""",
            list(rows.values()),
        )


def query(store: Store, sql: str) -> pd.DataFrame:
    """What the database answers to one SELECT, its values as they are stored; MetadataError if it is anything else.

    >>> query(Store("sqlite://"), "DELETE FROM pool")
    Traceback (most recent call last):
    etlkit.errors.MetadataError: only a SELECT may be asked here, and nothing was changed: DELETE FROM pool
    """
    import pandas as pd

    cursor = store.cursor.connection.cursor()
    refused = MetadataError(f"only a SELECT may be asked here, and nothing was changed: {sql}")
    one_statement = {} if store.is_sqlite else {"prepare": True}  # PostgreSQL prepares no two at once
    assert store.dialect.dbapi is not None
    try:
        with _read_only(store, cursor):
            cursor.execute(sql, **one_statement)
            if cursor.description is None:
                raise refused
            return pd.DataFrame(cursor.fetchall(), columns=[column[0] for column in cursor.description])
    except store.dialect.dbapi.Error as error:
        written = WRITTEN & {getattr(error, "sqlite_errorname", ""), getattr(error, "sqlstate", "")}
        raise (refused if written else explained(error, store.name)) from None


WRITTEN = {"SQLITE_READONLY", "25006"}
"""The error of a statement that writes where nothing may be written, in SQLite and in PostgreSQL."""


@contextlib.contextmanager
def _read_only(store: Store, cursor: Any) -> Iterator[None]:
    cursor.execute("PRAGMA query_only = ON" if store.is_sqlite else "BEGIN READ ONLY")
    try:
        yield
    finally:
        cursor.connection.rollback()
        if store.is_sqlite:
            cursor.execute("PRAGMA query_only = OFF")


def _frame(store: Store, sql: str, values: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """The rows of a query; a text that is missing stays None, an instant that is missing is NaT."""
    import pandas as pd

    cursor = store.run_sql(sql, values)
    names = [column[0] for column in cursor.description]
    frame = pd.DataFrame(cursor.fetchall(), columns=names, dtype=object)
    for name in names:
        if name in INSTANTS:
            frame[name] = pd.to_datetime(frame[name], utc=True, format="ISO8601")
        elif not frame[name].isna().any():
            frame[name] = frame[name].infer_objects()
    return frame
