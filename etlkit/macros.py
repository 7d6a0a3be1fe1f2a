"""What templates can call: `{{ macros.ds_add(ds, 7) }}`, and look up: `{{ var.value.airport }}`.

Names and answers are those of Airflow's `macros`: functions on dates written as text, and from Python itself
`datetime`, `timedelta`, `random`, and what `OPEN_NAMES` lists of `dateutil`, `json`, `time`, `uuid` and `yaml`.
"""

from __future__ import annotations

import json
import random
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from types import ModuleType
from typing import Any

from etlkit.clock import Clock
from etlkit.errors import AirflowNotFoundException
from etlkit.params import NOTSET


def ds_add(ds: str, days: int) -> str:
    """The date `days` after `ds`, or before it when negative; dates are written `YYYY-MM-DD`.

    >>> ds_add("2024-02-28", 2)
    '2024-03-01'
    >>> ds_add("2024-01-01", -1)
    '2023-12-31'
    """
    return _moved(str(ds), days) if days else str(ds)


def _moved(ds: str, days: int) -> str:
    return (_parsed(ds, "%Y-%m-%d") + timedelta(days=days)).strftime("%Y-%m-%d")


def _parsed(text: str, form: str) -> datetime:
    return datetime.strptime(text, form)  # noqa: DTZ007 (a date on the calendar, not an instant)


def ds_format(ds: str, input_format: str, output_format: str) -> str:
    """A date written another way; the forms are those of `strftime`.

    >>> ds_format("2013-01-31", "%Y-%m-%d", "%d.%m.%y")
    '31.01.13'
    """
    return _parsed(str(ds), input_format).strftime(output_format)


def ds_format_locale(ds: str, input_format: str, output_format: str, locale: Any = None) -> str:
    """A date in the words of a language; `output_format` is one of Babel's date patterns, `locale` such as "ko_KR".

    Without a locale, that of this computer's dates.

    >>> ds_format_locale("2024-07-12", "%Y-%m-%d", "d. MMMM yyyy (EEEE)", "de")
    '12. Juli 2024 (Freitag)'
    """
    from babel.dates import LC_TIME, format_datetime

    return format_datetime(_parsed(str(ds), input_format), format=output_format, locale=locale or LC_TIME or "en_US")


def datetime_diff_for_humans(dt: datetime, since: datetime | None = None, *, now: datetime | None = None) -> str:
    """How far two instants are apart, in rough words; without `since`, how far `dt` is from `now`.

    >>> from datetime import UTC
    >>> datetime_diff_for_humans(datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 8, tzinfo=UTC))
    '1 week before'
    >>> datetime_diff_for_humans(datetime(2024, 1, 1, tzinfo=UTC), now=datetime(2024, 1, 8, tzinfo=UTC))
    '1 week ago'
    """
    import pendulum

    other = since or now
    difference = pendulum.instance(dt).diff(pendulum.instance(other) if other else None)
    return pendulum.format_diff(difference, is_now=since is None)


class Macros:
    """`macros` in a template; `clock` is asked where a macro compares with the present."""

    ds_add = staticmethod(ds_add)
    ds_format = staticmethod(ds_format)
    ds_format_locale = staticmethod(ds_format_locale)
    datetime, timedelta = datetime, timedelta
    json, time, uuid = json, time, uuid
    random = staticmethod(random.random)

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def datetime_diff_for_humans(self, dt: Any, since: Any = None) -> str:
        """How far two instants are apart, in rough words; without `since`, how far from now."""
        return datetime_diff_for_humans(dt, since, now=self._clock.now())

    @property
    def dateutil(self) -> ModuleType:
        import dateutil

        return dateutil

    @property
    def yaml(self) -> ModuleType:
        import yaml

        return yaml

    def __repr__(self) -> str:
        return "<macros>"


class Lookup:
    """`var.value`, `var.json` and `conn` in a template: what is stored under a name is looked up when it is used.

    `get` answers `otherwise`, unless told a default, where `find` raises AirflowNotFoundException.

    >>> airports = Lookup({"home": "JFK"}.__getitem__)
    >>> airports.home
    'JFK'
    """

    def __init__(self, find: Callable[[str], Any], otherwise: Any = None) -> None:
        self._find, self._otherwise = find, otherwise

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._find(name)

    def get(self, name: str, default: Any = NOTSET) -> Any:
        """The same, or `default` if there is nothing of that name."""
        try:
            return self._find(name)
        except AirflowNotFoundException:
            return self._otherwise if default is NOTSET else default

    def __repr__(self) -> str:
        return "<looked up by name>"


OPEN_NAMES: Mapping[str, frozenset[str]] = {
    module: frozenset(names.split())
    for module, names in {
        "dateutil": "easter parser relativedelta rrule tz",
        "dateutil.easter": "EASTER_JULIAN EASTER_ORTHODOX EASTER_WESTERN easter",
        "dateutil.parser": "ParserError isoparse isoparser parse parser parserinfo",
        "dateutil.relativedelta": "MO TU WE TH FR SA SU relativedelta",
        "dateutil.rrule": "YEARLY MONTHLY WEEKLY DAILY HOURLY MINUTELY SECONDLY MO TU WE TH FR SA SU rrule rruleset",
        "dateutil.tz": "UTC gettz tzlocal tzoffset tzutc",
        "json": "JSONDecodeError dumps loads",
        "time": "asctime ctime gmtime localtime mktime monotonic perf_counter strftime strptime time time_ns",
        "uuid": "NAMESPACE_DNS NAMESPACE_OID NAMESPACE_URL NAMESPACE_X500 UUID uuid1 uuid3 uuid4 uuid5",
        "yaml": "dump safe_dump safe_load",
    }.items()
}
"""What a template may use of each module. Not more: `uuid.os` or `yaml.unsafe_load` would lead out of the sandbox."""
