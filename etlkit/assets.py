"""Assets: data that tasks make and DAGs wait for, named by a URI.

A task says what it makes with `outlets=[...]`. Each time it succeeds, each of its outlets has one event more. A DAG
whose `schedule` is made of assets runs when there is a new event of each (`a & b`, or a list) or of any (`a | b`).

>>> orders, prices, corrections = Asset("orders"), Asset("prices"), Asset("corrections")
>>> condition = (orders & prices) | corrections
>>> print(condition)
(orders & prices) | corrections
>>> condition.is_met({orders.key}), condition.is_met({orders.key, prices.key}), condition.is_met({corrections.key})
(False, True, True)
>>> print(condition.missing({orders.key}))
prices | corrections

Nothing here knows a database: `etlkit.asset_events` does. Names are those of Airflow 3 (`airflow.sdk`).
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Collection, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from etlkit.errors import DagError
from etlkit.timetables import DagRunInfo, DataInterval, NullTimetable, TimeRestriction, Timetable

__all__ = ["Asset", "AssetAll", "AssetAny", "AssetOrTimeSchedule", "Metadata"]


class AssetKey(NamedTuple):
    """What makes two assets the same one."""

    name: str
    uri: str


class BaseAsset:
    """What a DAG may be scheduled on: an asset, or several joined by `&` and `|`."""

    def __and__(self, other: Any) -> BaseAsset:
        return AssetAll(self, other) if isinstance(other, BaseAsset) else NotImplemented

    def __or__(self, other: Any) -> BaseAsset:
        return AssetAny(self, other) if isinstance(other, BaseAsset) else NotImplemented

    def assets(self) -> Iterator[Asset]:
        """Every asset in it."""
        raise NotImplementedError

    def is_met(self, updated: Container[AssetKey]) -> bool:
        """Whether new events of the assets in `updated` are enough for a run."""
        raise NotImplementedError

    def missing(self, updated: Container[AssetKey]) -> BaseAsset | None:
        """What is still waited for when those in `updated` have new events; None if nothing is."""
        return None if self.is_met(updated) else self


@dataclass(frozen=True, init=False, eq=False)
class Asset(BaseAsset):
    """A thing made of data, such as a table or a file: `Asset("orders", uri="s3://shop/orders")`.

    With a name or a URI alone, that is both. `extra` is what is known of it, as JSON; `group` sorts assets. A URI is
    put into one form, so that `FILE:///a/` and `file:///a` are one asset. DagError for a bad name or URI.

    >>> Asset(uri="S3://shop/orders/?b=2&a=1").uri
    's3://shop/orders?a=1&b=2'
    """

    name: str
    uri: str
    group: str = "asset"
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __init__(
        self,
        name: str | None = None,
        uri: str | None = None,
        *,
        group: str = "asset",
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        if name is None and uri is None:
            raise DagError('an Asset needs a name or a uri: Asset("orders")')
        name = check_name("Asset name", str(uri) if name is None else name)
        if name in ("self", "context"):
            raise DagError(f"an Asset cannot be called {name!r}: functions under @asset use that name")
        uri = normal_uri(check_name("Asset uri", name if uri is None else str(uri)))
        if not isinstance(extra, (Mapping, type(None))):
            raise DagError(f"the extra of Asset {name!r} must be a dict, not {extra!r}")
        try:
            json.dumps(dict(extra or {}), allow_nan=False)  # else only writing it down would fail, in the scheduler
        except (TypeError, ValueError) as error:
            raise DagError(f"the extra of Asset {name!r} must be JSON: {error}") from None
        values = {"name": name, "uri": uri, "group": group, "extra": dict(extra or {})}
        for attribute, value in values.items():
            object.__setattr__(self, attribute, value)

    @staticmethod
    def ref(*, name: str = "", uri: str = "") -> AssetRef:
        """An asset known by its name or URI alone; its DAG says the rest."""
        if bool(name) == bool(uri):
            raise DagError("Asset.ref needs a name or a uri, and not both")
        return AssetRef(name, uri)

    @property
    def key(self) -> AssetKey:
        """Its name and URI."""
        return AssetKey(self.name, self.uri)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Asset):
            return NotImplemented
        return (*self.key, self.group, self.extra) == (*other.key, other.group, other.extra)

    def __hash__(self) -> int:
        return hash(self.key)

    def assets(self) -> Iterator[Asset]:
        yield self

    def is_met(self, updated: Container[AssetKey]) -> bool:
        return self.key in updated

    def __fspath__(self) -> str:
        return self.uri

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class AssetRef:
    """An asset known by its name or its URI: an inlet, or a key to events."""

    name: str = ""
    uri: str = ""

    def means(self, asset: Asset) -> bool:
        """Whether it stands for `asset`."""
        return self.name == asset.name if self.name else self.uri == asset.uri


@dataclass(frozen=True, init=False, repr=False)
class AssetCondition(BaseAsset):
    """Several assets or conditions, joined."""

    objects: tuple[BaseAsset, ...]
    sign = ""

    def __init__(self, *objects: BaseAsset) -> None:
        for item in objects:
            if not isinstance(item, BaseAsset):
                raise DagError(f"{type(self).__name__} joins assets, not {item!r}")
        object.__setattr__(self, "objects", objects)

    def assets(self) -> Iterator[Asset]:
        for item in self.objects:
            yield from item.assets()

    def missing(self, updated: Container[AssetKey]) -> BaseAsset | None:
        if self.is_met(updated):
            return None
        left = [still for item in self.objects if (still := item.missing(updated)) is not None]
        return left[0] if len(left) == 1 else type(self)(*left)

    def __str__(self) -> str:
        texts = (f"({item})" if isinstance(item, AssetCondition) else str(item) for item in self.objects)
        return f" {self.sign} ".join(texts)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.objects))})"


class AssetAll(AssetCondition):
    """All of several: `a & b`."""

    sign = "&"

    def __and__(self, other: Any) -> BaseAsset:
        return AssetAll(*self.objects, other) if isinstance(other, BaseAsset) else NotImplemented

    def is_met(self, updated: Container[AssetKey]) -> bool:
        return all(item.is_met(updated) for item in self.objects)


class AssetAny(AssetCondition):
    """Any of several: `a | b`."""

    sign = "|"

    def __or__(self, other: Any) -> BaseAsset:
        return AssetAny(*self.objects, other) if isinstance(other, BaseAsset) else NotImplemented

    def is_met(self, updated: Container[AssetKey]) -> bool:
        return any(item.is_met(updated) for item in self.objects)


@dataclass(frozen=True)
class Metadata:
    """What a task knows of the event that it makes: `yield Metadata(orders, {"rows": 26})`."""

    asset: Asset
    extra: Mapping[str, Any] = field(default_factory=dict)


# --- schedules --------------------------------------------------------------------------------------------------------


class AssetTriggeredTimetable(NullTimetable):
    """`schedule=[a, b]`: no dates; a run when the assets have new events."""

    description = "when assets have new events"
    can_be_scheduled = True

    def __init__(self, assets: BaseAsset | Collection[BaseAsset]) -> None:
        self.asset_condition = as_condition(assets)

    @property
    def summary(self) -> str:
        return str(self.asset_condition)

    def _arguments(self) -> list[str]:
        return [repr(self.asset_condition)]


class AssetOrTimeSchedule(Timetable):
    """By time, as `timetable` says, and also when `assets` have new events.

    >>> from etlkit.timetables import CronDataIntervalTimetable
    >>> AssetOrTimeSchedule(timetable=CronDataIntervalTimetable("@daily", "UTC"), assets=[Asset("orders")]).summary
    'orders or 0 0 * * *'
    """

    def __init__(self, *, timetable: Timetable, assets: BaseAsset | Collection[BaseAsset]) -> None:
        if not isinstance(timetable, Timetable) or timetable.asset_condition is not None:
            raise DagError(f"AssetOrTimeSchedule needs a timetable of dates, such as a cron's, not {timetable!r}")
        self.timetable, self.asset_condition = timetable, as_condition(assets)
        self.description = f"when assets have new events, and {timetable.description}"
        for name in ("periodic", "active_runs_limit", "starts_at_once"):
            setattr(self, name, getattr(timetable, name))

    @property
    def summary(self) -> str:
        return f"{self.asset_condition} or {self.timetable.summary}"

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        return self.timetable.next_dagrun_info(
            last_automated_data_interval=last_automated_data_interval, restriction=restriction
        )

    def infer_manual_data_interval(self, *, run_after: datetime) -> DataInterval:
        return self.timetable.infer_manual_data_interval(run_after=run_after)

    def _arguments(self) -> list[str]:
        return [f"timetable={self.timetable!r}", f"assets={self.asset_condition!r}"]


def as_condition(assets: Any) -> BaseAsset:
    """One asset or condition, or a collection of them, of which all count; DagError for anything else."""
    if isinstance(assets, BaseAsset):
        return assets
    if isinstance(assets, Collection) and not isinstance(assets, str) and assets:
        return AssetAll(*assets)
    raise DagError(f"a schedule of assets is an Asset, or a list of them, not {assets!r}")


def schedule_of(schedule: Any) -> Any:
    """The timetable of a `schedule` that is made of assets; any other as it is.

    >>> schedule_of([Asset("a"), Asset("b")])
    AssetTriggeredTimetable(AssetAll(Asset(name='a', uri='a', group='asset', extra={}), Asset(name='b', uri='b', \
group='asset', extra={})))
    """
    is_of_assets = isinstance(schedule, (BaseAsset, list, tuple, set, frozenset))
    return AssetTriggeredTimetable(schedule) if is_of_assets else schedule


# --- checks -----------------------------------------------------------------------------------------------------------


def check_name(what: str, text: str) -> str:
    """`text` if it may be an asset's name or URI: not empty, and 1500 characters at most, as in Airflow."""
    if not isinstance(text, str) or not text.strip():
        raise DagError(f"{what} must be a text that is not empty, not {text!r}")
    if len(text) > 1500:
        raise DagError(f"{what} {text[:20]!r}… has {len(text)} characters; 1500 are allowed")
    return text


def normal_uri(uri: str) -> str:
    """A URI in its one form; a text that is none, such as a plain name, as it is. Source: Airflow's Asset.

    The scheme is small, slashes at the end and the part after `#` are dropped, the query is sorted. A password is
    dropped with a warning.
    """
    parts = urlsplit(uri)
    if not parts.scheme or parts.scheme.startswith("x-"):
        return uri
    if parts.scheme == "airflow":
        raise DagError(f"Asset uri {uri!r}: the scheme airflow is kept for Airflow itself; use another")
    host = parts.netloc
    if parts.password:
        host = host.rpartition("@")[2]
        warnings.warn(f"the Asset of {host} had a password in its URI, which was dropped", stacklevel=4)
    query = urlencode(sorted(parse_qsl(parts.query)))
    return urlunsplit((parts.scheme, host, parts.path.rstrip("/") or "/", query, ""))


def check_assets(what: str, value: Any) -> tuple[Any, ...]:
    """One asset, several or none, as a tuple; DagError for what is none."""
    items: Iterable[Any] = (value,) if isinstance(value, (Asset, AssetRef)) else value
    if isinstance(items, (str, Mapping)) or not isinstance(items, Iterable):
        raise DagError(f"{what} must be a list of Assets, not {value!r}")
    items = tuple(items)
    for item in items:
        if not isinstance(item, (Asset, AssetRef)):
            raise DagError(f"{what} must be a list of Assets, not of {item!r}")
    return items


def check_outlets(what: str, value: Any) -> tuple[Asset, ...]:
    """The same without references: what a task makes must be told whole."""
    for item in (outlets := check_assets(what, value)):
        if isinstance(item, AssetRef):
            raise DagError(f"{what}: {item!r} is no Asset; write Asset(name, uri)")
    return outlets
