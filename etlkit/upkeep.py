"""What keeps a metadata database in good health: a look at it, and the removal of what is old.

>>> store = Store("sqlite://")
>>> health(store).integrity
'ok'
>>> from datetime import UTC
>>> clean(store, datetime(2013, 1, 1, tzinfo=UTC)).total()
0
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from etlkit import models
from etlkit.logs import LogStore
from etlkit.scheduler_lock import scheduled_by
from etlkit.store import RunRow, Store

BATCH = 200
"""How many runs are deleted in one transaction: between two of them others have their turn."""


class Health(NamedTuple):
    """What a metadata database says of itself; `integrity` is "ok" or what SQLite found damaged."""

    database: str
    version: str
    integrity: str
    dags: int
    runs: int
    scheduler: str | None
    """Which process schedules it now; None if none does."""


def health(store: Store) -> Health:
    """Ask a metadata database how it is; a SQLite file is read whole."""
    version, integrity, dags, runs = store.version() or "none", _integrity(store), 0, 0
    if integrity == "ok":
        dags, runs = (store.run_sql(f"SELECT COUNT(*) FROM {table}").fetchone()[0] for table in ("dag", "dag_run"))
    return Health(store.name, version, integrity, dags, runs, scheduled_by(store))


def _integrity(store: Store) -> str:
    if not store.is_sqlite:
        return "ok"  # the server checks its files by itself
    try:
        found = store.run_sql("PRAGMA integrity_check").fetchone()[0]
        lost = store.run_sql("PRAGMA foreign_key_check").fetchone()
    except sqlite3.DatabaseError as error:  # so damaged that the look itself fails
        if error.sqlite_errorname.startswith("SQLITE_CORRUPT"):
            return str(error)
        raise
    return f"rows of {lost[0]} refer to nothing" if found == "ok" and lost else found


# --- what is old ------------------------------------------------------------------------------------------------------

OLD_RUNS = """
SELECT id, dag_id, run_id FROM dag_run
WHERE id > :last AND state IN ('success', 'failed') AND end_date < :before AND (:dag_id = '' OR dag_id = :dag_id)
  AND NOT EXISTS (SELECT 1 FROM backfill WHERE backfill.id = dag_run.backfill_id AND completed_at IS NULL)
  AND id <> COALESCE((
      SELECT id FROM dag_run AS newest WHERE newest.dag_id = dag_run.dag_id AND logical_date IS NOT NULL
        AND (run_type = 'scheduled' OR substr(run_id, 1, 11) = 'scheduled__') ORDER BY logical_date DESC LIMIT 1), 0)
ORDER BY id LIMIT :batch
"""

OLD_BACKFILLS = """
completed_at < :before AND (:dag_id = '' OR dag_id = :dag_id)
AND NOT EXISTS (SELECT 1 FROM dag_run WHERE dag_run.backfill_id = backfill.id
                AND (state IN ('queued', 'running') OR end_date >= :before))
"""

OLD_EVENTS = """
timestamp < :before AND (:dag_id = '' OR source_dag_id = :dag_id)
AND id < (SELECT MAX(id) FROM asset_event)
AND NOT EXISTS (SELECT 1 FROM dag_schedule_asset_reference r
                WHERE r.asset_id = asset_event.asset_id AND r.last_event_id < asset_event.id)
AND NOT EXISTS (SELECT 1 FROM dagrun_asset_event d JOIN dag_run r ON r.id = d.dag_run_id
                WHERE d.event_id = asset_event.id AND (r.end_date IS NULL OR r.end_date >= :before))
"""
"""Events of assets that no DAG waits to run for, and no younger run is about. The newest stays: SQLite would give its
number to the next one."""

OF_A_RUN: Mapping[str, str] = {
    "xcom": "dag_run_id = :id",
    "task_instance_history": "task_instance_id IN (SELECT id FROM task_instance WHERE dag_run_id = :id)",
    "task_instance": "dag_run_id = :id",
    "decision": "dag_id = :dag_id AND run_id = :run_id",
    "dagrun_asset_event": "dag_run_id = :id",
    "dag_run": "id = :id",
}
"""Where the rows of one run are, in the order in which they can be deleted."""


def clean(
    store: Store, before: datetime, *, dag_id: str = "", logs: LogStore | None = None, dry_run: bool = False
) -> Counter[str]:
    """Delete the runs that finished before an instant, of one DAG or of all, with everything of theirs.

    Returns how many rows of each table, and logs, were deleted; or would be, in a `dry_run`. The newest scheduled run
    of each DAG stays, however old: the schedule goes on from it. So do the runs of a backfill that is not complete. It
    is done in batches, so that a scheduler has its turn meanwhile; what was interrupted can be repeated. Old events of
    assets go with the runs that they started; those that are waited for stay.
    """
    values = {"before": before, "dag_id": dag_id}
    with store.transaction():
        removed = Counter(backfill=_remove(store, "backfill", OLD_BACKFILLS, [values], dry_run))
    last = 0
    while runs := _clean_batch(store, {**values, "last": last, "batch": BATCH}, removed, dry_run):
        for run in runs if logs is not None else ():
            removed["logs"] += logs.delete_run(run["dag_id"], run["run_id"], dry_run=dry_run)  # type: ignore[union-attr]
        last = runs[-1]["id"]
    with store.transaction():
        removed["asset_event"] += _remove(store, "asset_event", OLD_EVENTS, [values], dry_run)
        if not dag_id:
            removed["job"] += _remove(store, "job", "end_date < :before", [values], dry_run)
    return removed


def _clean_batch(store: Store, values: Mapping[str, Any], removed: Counter[str], dry_run: bool) -> list[dict[str, Any]]:
    """Delete the next few old runs, as one transaction, and count; which ones they were."""
    with store.transaction():
        # While they are looked at, nobody may clear one of them: it would be old no more.
        sql = OLD_RUNS if store.exclusive else f"{OLD_RUNS} FOR UPDATE"
        runs = [{"id": pk, "dag_id": dag, "run_id": run} for pk, dag, run in store.run_sql(sql, values).fetchall()]
        for table, where in OF_A_RUN.items():
            removed[table] += _remove(store, table, where, runs, dry_run)
    return runs


def delete_run(store: Store, run: RunRow) -> None:
    """Delete one run with everything of its own, but for its logs."""
    with store.transaction():
        _remove_runs(store, [run])
        store.touched()


def delete_dag(store: Store, dag_id: str, *, logs: LogStore | None = None) -> Counter[str]:
    """Delete all that is remembered of a DAG; how many rows of each table, and logs, there were."""
    with store.transaction():
        runs = store.runs(dag_id)
        removed = _remove_runs(store, runs)
        for table in reversed(models.metadata.sorted_tables):
            if "dag_id" in table.c:
                removed[table.name] += _remove(store, table.name, "dag_id = :dag_id", [{"dag_id": dag_id}], False)
        store.run_sql("DELETE FROM asset_dag_run_queue WHERE target_dag_id = :dag_id", {"dag_id": dag_id})
        store.touched()
    for run in runs if logs is not None else ():
        removed["logs"] += logs.delete_run(dag_id, run.run_id)  # type: ignore[union-attr]
    return removed


def _remove_runs(store: Store, runs: Iterable[RunRow]) -> Counter[str]:
    keys = [{"id": run.id, "dag_id": run.dag_id, "run_id": run.run_id} for run in runs]
    return Counter({table: _remove(store, table, where, keys, False) for table, where in OF_A_RUN.items()})


def _remove(store: Store, table: str, where: str, rows: Sequence[Mapping[str, Any]], dry_run: bool) -> int:
    """Delete, or only count, the rows of a table that belong to `rows`."""
    if dry_run:
        return sum(store.run_sql(f"SELECT COUNT(*) FROM {table} WHERE {where}", row).fetchone()[0] for row in rows)
    return store.run_many(f"DELETE FROM {table} WHERE {where}", rows)
