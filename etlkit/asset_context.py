"""What a running task sees of assets: the events that it makes, reads, and was started by.

>>> orders = Asset("orders")
>>> outlet_events = OutletEvents()
>>> outlet_events[orders].extra["rows"] = 26
>>> new_events([orders], outlet_events)[0].extra
'{"rows": 26}'
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from etlkit import asset_events
from etlkit.asset_events import EventRow, NewEvent
from etlkit.assets import Asset, AssetKey, AssetRef
from etlkit.errors import DagError, XComError
from etlkit.store import RunRow, Store


@dataclass
class OutletEvent:
    """The event that an asset will have when the task succeeds; `extra` is what it says, as JSON can hold it."""

    extra: dict[str, Any] = field(default_factory=dict)


class OutletEvents(Mapping[Asset, OutletEvent]):
    """The events that a task makes, by asset: `outlet_events[orders].extra["rows"] = 26`."""

    def __init__(self) -> None:
        self._events: dict[AssetKey, tuple[Asset, OutletEvent]] = {}

    def __getitem__(self, asset: Asset) -> OutletEvent:
        if not isinstance(asset, Asset):
            raise DagError(f"outlet_events are found by their Asset, not by {asset!r}")
        return self._events.setdefault(asset.key, (asset, OutletEvent()))[1]

    def __iter__(self) -> Iterator[Asset]:
        return (asset for asset, _ in self._events.values())

    def __len__(self) -> int:
        return len(self._events)


def new_events(outlets: Iterable[Asset], told: OutletEvents) -> list[NewEvent]:
    """The events of a task that succeeded, one for each outlet; XComError if an extra is not JSON.

    What it said about an asset that is none of its outlets is dropped, as in Airflow.
    """
    by_key = {asset.key: asset for asset in outlets}
    return [new_event(asset, told[asset].extra) for asset in by_key.values()]


def new_event(asset: Asset, extra: Mapping[str, Any]) -> NewEvent:
    """An event of an asset; XComError if its extra is not a dict that JSON can hold."""
    if not isinstance(extra, Mapping):
        raise XComError(f"the extra of an event of Asset {asset.name!r} must be a dict, not {extra!r}")
    try:
        return NewEvent(asset, json.dumps(dict(extra), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise XComError(f"the extra of an event of Asset {asset.name!r} must be JSON: {error}") from None


@dataclass(frozen=True)
class AssetEvent:
    """One time that an asset was made: when, by which task instance, and what that said about it."""

    asset: Asset
    extra: Mapping[str, Any]
    timestamp: datetime
    source_dag_id: str | None
    source_task_id: str | None
    source_run_id: str | None
    source_map_index: int | None
    _find_run: Callable[[str, str], Any] = field(repr=False, compare=False)

    @property
    def uri(self) -> str:
        """The asset's."""
        return self.asset.uri

    @property
    def source_dag_run(self) -> Any:
        """The run whose task made it; None if a person did, or if it is not there any more."""
        if self.source_dag_id is None or self.source_run_id is None:
            return None
        return self._find_run(self.source_dag_id, self.source_run_id)


class AssetReader:
    """Reads events from a metadata database; `as_run` makes of a run's row what tasks see."""

    def __init__(self, store: Store, as_run: Callable[[RunRow], Any]) -> None:
        self.store, self.as_run = store, as_run

    def as_events(self, rows: Iterable[EventRow]) -> list[AssetEvent]:
        """Rows as tasks see them."""
        return [AssetEvent(*row[1:], _find_run=self._find_run) for row in rows]

    def _find_run(self, dag_id: str, run_id: str) -> Any:
        row = self.store.run(dag_id, run_id)
        return row and self.as_run(row)

    def triggering_events(self, run: RunRow) -> EventsByAsset:
        """The events that a run was started by."""
        events: dict[Asset, list[AssetEvent]] = {}
        for event in self.as_events(asset_events.events_of_run(self.store, run)):
            events.setdefault(event.asset, []).append(event)
        return EventsByAsset(events)


class EventsByAsset(Mapping[Asset, Sequence[AssetEvent]]):
    """Events, oldest first, by their Asset or an `Asset.ref`."""

    def __init__(self, events: Mapping[Asset, Sequence[AssetEvent]]) -> None:
        self._events = {asset.key: (asset, found) for asset, found in events.items()}

    def __getitem__(self, wanted: Asset | AssetRef) -> Sequence[AssetEvent]:
        if isinstance(wanted, AssetRef):
            wanted = next((asset for asset in self if wanted.means(asset)), wanted)
        if not isinstance(wanted, Asset) or wanted.key not in self._events:
            raise KeyError(wanted)
        return self._events[wanted.key][1]

    def __iter__(self) -> Iterator[Asset]:
        return (asset for asset, _ in self._events.values())

    def __len__(self) -> int:
        return len(self._events)


class InletEvents(Mapping[Any, "EventsOfAsset"]):
    """The events of a task's inlets, by their Asset, an `Asset.ref`, or the number of the inlet."""

    def __init__(self, reader: AssetReader, inlets: Sequence[Asset | AssetRef]) -> None:
        self._reader, self._inlets = reader, inlets

    def __getitem__(self, wanted: Asset | AssetRef | int) -> EventsOfAsset:
        inlet = self._inlets[wanted] if isinstance(wanted, int) else wanted
        if not isinstance(inlet, (Asset, AssetRef)) or inlet not in self._inlets:
            raise KeyError(f"{inlet!r} is none of the task's inlets: {', '.join(map(str, self._inlets)) or 'none'}")
        return EventsOfAsset(self._reader, inlet)

    def __iter__(self) -> Iterator[Asset | AssetRef]:
        return iter(self._inlets)

    def __len__(self) -> int:
        return len(self._inlets)


class EventsOfAsset(Sequence[AssetEvent]):
    """All events of an asset, oldest first, read when they are first looked at.

    `after`, `before`, `ascending` and `limit` narrow them: `inlet_events[orders].ascending(False).limit(1)`.
    """

    def __init__(self, reader: AssetReader, asset: Asset | AssetRef, **bounds: Any) -> None:
        self._reader, self._asset, self._bounds = reader, asset, bounds

    def after(self, moment: datetime | str) -> EventsOfAsset:
        """Those from an instant on."""
        return self._with(after=_instant(moment))

    def before(self, moment: datetime | str) -> EventsOfAsset:
        """Those until an instant."""
        return self._with(before=_instant(moment))

    def ascending(self, ascending: bool = True) -> EventsOfAsset:
        """Oldest first, or newest first."""
        return self._with(ascending=ascending)

    def limit(self, limit: int) -> EventsOfAsset:
        """The first few."""
        return self._with(limit=limit)

    def _with(self, **bounds: Any) -> EventsOfAsset:
        return EventsOfAsset(self._reader, self._asset, **{**self._bounds, **bounds})

    @cached_property
    def _events(self) -> list[AssetEvent]:
        rows = asset_events.events_of_asset(self._reader.store, self._asset, **self._bounds)
        return self._reader.as_events(rows)

    def __getitem__(self, place: Any) -> Any:
        return self._events[place]

    def __len__(self) -> int:
        return len(self._events)


def _instant(moment: datetime | str) -> datetime:
    found = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    if found.tzinfo is None:
        raise DagError(f"{moment!r} has no time zone; write it like 2013-01-31T06:00:00+00:00")
    return found
