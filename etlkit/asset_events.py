"""What the metadata database knows of assets: their events, and which DAGs these concern.

An event of an asset is written in the transaction in which the task that made it succeeds, and with it the DAGs that
wait for the asset get into a queue. The scheduler takes a DAG out of the queue in the transaction in which it makes the
run. So no event is lost, and none starts two runs, whoever is killed when.

- A DAG that is paused while an event comes is not queued; its next run gets the event all the same (as in Airflow).
- A run gets all events of its DAG's assets since the run before. The first one gets those since the DAG was first seen,
  or, if the DAG catches up, all that there are.

>>> from etlkit.assets import Asset
>>> from etlkit.dag import DAG
>>> from datetime import UTC, datetime
>>> store, orders = Store("sqlite://"), Asset("orders")
>>> now = datetime(2013, 1, 1, tzinfo=UTC)
>>> with store.transaction():
...     store.register_dag("report", paused=False, fileloc=None, schedule="orders", now=now)
...     register_assets(store, DAG("report", schedule=orders))
...     record_events(store, [NewEvent(orders, '{"rows": 26}')], Source(), now)
>>> [(dag_id, sorted(key.name for key in waiting)) for dag_id, waiting in queued(store).items()]
[('report', ['orders'])]

Events are numbered in the order in which their transactions end: writers of events go one after the other.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from etlkit.assets import Asset, AssetKey, AssetRef, BaseAsset
from etlkit.dag import DAG
from etlkit.store import RunRow, Store, instant


class NewEvent(NamedTuple):
    """An event to write: of which asset, and its extra as JSON."""

    asset: Asset
    extra: str = "{}"


class Source(NamedTuple):
    """Which task instance made an asset; all None if a person said so."""

    dag_id: str | None = None
    task_id: str | None = None
    run_id: str | None = None
    map_index: int | None = None


class EventRow(NamedTuple):
    """One row of `asset_event`, with its asset; `timestamp` is an aware datetime in UTC."""

    id: int
    asset: Asset
    extra: dict[str, Any]
    timestamp: datetime
    source_dag_id: str | None
    source_task_id: str | None
    source_run_id: str | None
    source_map_index: int | None


# --- which DAGs wait for which assets ---------------------------------------------------------------------------------


def register_assets(store: Store, dag: DAG) -> None:
    """Note which assets a DAG waits for and makes, inside the caller's transaction."""
    condition = dag.timetable.asset_condition
    waits_for = set(condition.assets()) if condition is not None else set()
    if assets := assets_of(dag):
        store.alone("asset events")  # else one that comes meanwhile could be older than the DAG and not be queued
    numbers = {asset.key: asset_id(store, asset) for asset in assets}
    wanted = {numbers[asset.key] for asset in waits_for}
    rows = store.run_sql(
        "SELECT asset_id FROM dag_schedule_asset_reference WHERE dag_id = :dag_id", {"dag_id": dag.dag_id}
    )
    known = {row[0] for row in rows.fetchall()}
    for pk in known - wanted:
        values = {"dag_id": dag.dag_id, "asset_id": pk}
        store.run_sql("DELETE FROM asset_dag_run_queue WHERE target_dag_id = :dag_id AND asset_id = :asset_id", values)
        store.run_sql(
            "DELETE FROM dag_schedule_asset_reference WHERE dag_id = :dag_id AND asset_id = :asset_id", values
        )
    newest = 0 if dag.catchup or known == wanted else newest_event(store)
    for pk in wanted - known:
        store.run_sql(
            """INSERT INTO dag_schedule_asset_reference (dag_id, asset_id, last_event_id)
               VALUES (:dag_id, :asset_id, :newest)""",
            {"dag_id": dag.dag_id, "asset_id": pk, "newest": newest},
        )


def assets_of(dag: DAG) -> list[Asset]:
    """The assets that a DAG waits for, makes or reads, by name."""
    condition = dag.timetable.asset_condition
    named = [item for task in dag.tasks for item in (*task.outlets, *task.inlets) if isinstance(item, Asset)]
    found = {asset.key: asset for asset in (*named, *(condition.assets() if condition is not None else ()))}
    return [found[key] for key in sorted(found)]


def asset_id(store: Store, asset: Asset) -> int:
    """The number of an asset in the database, which gets to know it if need be.

    A mere mention of it, with neither a group nor an extra, takes away nothing of what another DAG said.
    """
    return store.run_sql(
        """INSERT INTO asset (name, uri, "group", extra) VALUES (:name, :uri, :group, :extra)
           ON CONFLICT (name, uri) DO UPDATE
           SET "group" = CASE WHEN :group = 'asset' THEN asset."group" ELSE :group END,
               extra = CASE WHEN :extra = '{}' THEN asset.extra ELSE :extra END
           RETURNING id""",
        {"name": asset.name, "uri": asset.uri, "group": asset.group, "extra": json.dumps(asset.extra)},
    ).fetchone()[0]


def find_assets(store: Store, wanted: AssetRef) -> list[Asset]:
    """The assets in the database that have the name, or the URI."""
    column, value = ("name", wanted.name) if wanted.name else ("uri", wanted.uri)
    sql = f'SELECT name, uri, "group", extra FROM asset WHERE {column} = :value ORDER BY id'
    rows = store.run_sql(sql, {"value": value}).fetchall()
    return [Asset(name, uri, group=group, extra=json.loads(extra)) for name, uri, group, extra in rows]


# --- events -----------------------------------------------------------------------------------------------------------


def record_events(store: Store, events: Iterable[NewEvent], source: Source, now: datetime) -> None:
    """Write events of assets down, and queue the DAGs that wait for them, inside the caller's transaction."""
    store.alone("asset events")
    for event in events:
        pk = asset_id(store, event.asset)
        store.run_sql(
            """INSERT INTO asset_event (asset_id, extra, source_dag_id, source_task_id, source_run_id, source_map_index,
                                        timestamp)
               VALUES (:pk, :extra, :dag_id, :task_id, :run_id, :map_index, :now)""",
            {"pk": pk, "extra": event.extra, "now": now, **source._asdict()},
        )
        store.run_sql(
            """INSERT INTO asset_dag_run_queue (asset_id, target_dag_id, created_at)
               SELECT r.asset_id, r.dag_id, :now
               FROM dag_schedule_asset_reference r JOIN dag ON dag.dag_id = r.dag_id
               WHERE r.asset_id = :pk AND NOT dag.is_paused
               ON CONFLICT (asset_id, target_dag_id) DO UPDATE SET created_at = :now""",
            {"pk": pk, "now": now},
        )


def newest_event(store: Store) -> int:
    """The number of the newest event; 0 if there is none."""
    return store.run_sql("SELECT COALESCE(MAX(id), 0) FROM asset_event").fetchone()[0]


def queued(store: Store, dag_id: str | None = None) -> dict[str, set[AssetKey]]:
    """For each DAG that is queued, or for one, the assets that have new events for it."""
    rows = store.run_sql(
        f"""SELECT q.target_dag_id, a.name, a.uri FROM asset_dag_run_queue q JOIN asset a ON a.id = q.asset_id
            {"WHERE q.target_dag_id = :dag_id" if dag_id else ""} ORDER BY q.target_dag_id""",
        {"dag_id": dag_id} if dag_id else None,
    ).fetchall()
    found: dict[str, set[AssetKey]] = {}
    for name, *key in rows:
        found.setdefault(name, set()).add(AssetKey(*key))
    return found


def take(store: Store, dag_id: str) -> datetime | None:
    """Take a DAG out of the queue, inside the transaction that makes its run; when its newest event came.

    None if somebody else took it. An event that comes at the same time either waits for this transaction and queues the
    DAG again, or is among those of `give_events`.
    """
    rows = store.run_sql(
        "DELETE FROM asset_dag_run_queue WHERE target_dag_id = :dag_id RETURNING created_at", {"dag_id": dag_id}
    ).fetchall()
    return max((instant(row[0]) for row in rows), default=None)  # type: ignore[type-var]


def give_events(store: Store, dag_id: str, run_pk: int) -> None:
    """Note which events a new run is about: all of the DAG's assets that came after those of the run before."""
    values = {"dag_id": dag_id, "newest": newest_event(store)}
    store.run_sql(
        """INSERT INTO dagrun_asset_event (dag_run_id, event_id)
           SELECT :run_pk, e.id
           FROM dag_schedule_asset_reference r JOIN asset_event e ON e.asset_id = r.asset_id
           WHERE r.dag_id = :dag_id AND e.id > r.last_event_id AND e.id <= :newest""",
        {**values, "run_pk": run_pk},
    )
    store.run_sql("UPDATE dag_schedule_asset_reference SET last_event_id = :newest WHERE dag_id = :dag_id", values)


EVENT = """SELECT e.id, a.name, a.uri, a."group", a.extra, e.extra, e.timestamp,
                  e.source_dag_id, e.source_task_id, e.source_run_id, e.source_map_index
           FROM asset_event e JOIN asset a ON a.id = e.asset_id"""


def events_of_run(store: Store, run: RunRow) -> list[EventRow]:
    """The events that a run is about, oldest first."""
    rows = store.run_sql(
        f"{EVENT} JOIN dagrun_asset_event d ON d.event_id = e.id WHERE d.dag_run_id = :run_pk ORDER BY e.id",
        {"run_pk": run.id},
    ).fetchall()
    return [_event_row(row) for row in rows]


def events_of_asset(
    store: Store,
    asset: Asset | AssetRef,
    *,
    after: datetime | None = None,
    before: datetime | None = None,
    ascending: bool = True,
    limit: int | None = None,
) -> list[EventRow]:
    """The events of an asset, oldest first unless `ascending` is False; those from `after` on and until `before`."""
    asked: dict[str, Any] = {"a.name = :name": asset.name, "a.uri = :uri": asset.uri}
    asked |= {"e.timestamp >= :after": after, "e.timestamp <= :before": before}
    values = {clause.rpartition(":")[2]: value for clause, value in asked.items() if value}
    rows = store.run_sql(
        f"""{EVENT} WHERE {" AND ".join(clause for clause, value in asked.items() if value)}
            ORDER BY e.id {"ASC" if ascending else "DESC"} {"" if limit is None else f"LIMIT {int(limit)}"}""",
        values,
    ).fetchall()
    return [_event_row(row) for row in rows]


def _event_row(row: Any) -> EventRow:
    pk, name, uri, group, about, extra, timestamp, *source = row
    asset = Asset(name, uri, group=group, extra=json.loads(about))
    moment = instant(timestamp)
    assert moment is not None
    return EventRow(pk, asset, json.loads(extra), moment, *source)


def missing_assets(store: Store, dag: DAG) -> BaseAsset | None:
    """What a DAG that is scheduled on assets still waits for; None if that is nothing."""
    condition = dag.timetable.asset_condition
    return None if condition is None else condition.missing(queued(store, dag.dag_id).get(dag.dag_id, set()))
