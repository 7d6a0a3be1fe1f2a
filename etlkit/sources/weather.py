"""A source to learn with: New York's weather of 2013, day by day, with faults on demand."""

from __future__ import annotations

import csv
import gzip
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from etlkit import datasets
from etlkit.errors import SourceError

NEW_YORK = ZoneInfo("America/New_York")
PUBLISHED_AFTER = timedelta(minutes=51)  # the stations report at 51 minutes past the hour


class Reading(NamedTuple):
    """One hour's weather at one airport, a plain tuple; its key is (`airport`, `observed_at`).

    Instants are UTC. `temp` and `dewp` are °F, `humid` %, winds miles per hour, `wind_dir` degrees, `precip` inches,
    `pressure` millibars, `visib` miles. None is a missing value.
    """

    airport: str
    observed_at: datetime
    temp: float | None
    dewp: float | None
    humid: float | None
    wind_dir: float | None
    wind_speed: float | None
    wind_gust: float | None
    precip: float | None
    pressure: float | None
    visib: float | None
    updated_at: datetime


class Revision(NamedTuple):
    """A corrected temperature (°F) of an hour that has already been reported; `observed_at` is UTC."""

    airport: str
    observed_at: datetime
    temp: float


class DailyWeather:
    """Gives the raw hourly readings of one New York day for EWR, JFK and LGA, from the packaged file.

    A day is midnight to midnight in New York: 23 hours when the clocks go forward, 25 when they go back. A reading is
    published (`updated_at`) 51 minutes after its hour began.

    Two faults can be had, both the same on every run:

    - `outages`: on the first n extracts of that day the service does not answer, and a SourceError is raised. The count
      belongs to this object.
    - `revisions`: readings that arrive once more with that day's extract, with another temperature and a later
      `updated_at`: one minute before the day ends. The hour may be of that day, which makes a duplicate in one extract,
      or of an earlier one, which makes late data.

    >>> source = DailyWeather(outages={"2013-01-08": 1})
    >>> source.extract("2013-01-08")
    Traceback (most recent call last):
    etlkit.errors.SourceError: the weather service does not answer for 2013-01-08; try again
    >>> readings = source.extract("2013-01-08")
    >>> len(readings)
    72
    >>> readings[0].airport, readings[0].observed_at.isoformat(), readings[0].temp
    ('EWR', '2013-01-08T05:00:00+00:00', 32.0)
    """

    def __init__(
        self,
        outages: Mapping[date | str, int] | None = None,
        revisions: Mapping[date | str, Sequence[Revision]] | None = None,
    ) -> None:
        self._failures_left = {new_york_day(day): n for day, n in (outages or {}).items()}
        self._revisions = {new_york_day(day): list(these) for day, these in (revisions or {}).items()}

    def __repr__(self) -> str:
        late = sum(map(len, self._revisions.values()))
        outages = sum(self._failures_left.values())
        return f"<DailyWeather of 2013: {outages} outages to come, {late} revisions>"

    def extract(self, day: date | datetime | str) -> list[Reading]:
        """The day's readings, by airport and hour, and then the revisions that arrived on it.

        `day` is a date, its ISO text (a run's ``ds``), or an aware datetime, which stands for the New York day it falls
        on (a run's ``data_interval_start``). SourceError: an outage, or a day that the file does not cover.
        """
        day = new_york_day(day)
        if self._failures_left.get(day, 0) > 0:
            self._failures_left[day] -= 1
            raise SourceError(f"the weather service does not answer for {day}; try again", source="weather")
        return _readings(day) + [_revised(revision, day) for revision in self._revisions.get(day, ())]

    def days(self) -> list[date]:
        """Every day that there is, in order."""
        return sorted(_records())


def new_york_day(day: date | datetime | str) -> date:
    """The New York day meant.

    >>> new_york_day(datetime(2013, 1, 8, 4, 59, tzinfo=UTC))
    datetime.date(2013, 1, 7)
    """
    if isinstance(day, str):
        day = date.fromisoformat(day)
    if not isinstance(day, datetime):
        return day
    if day.tzinfo is None:
        raise SourceError(f"{day} has no time zone, so its day is not known; give a date, or add tzinfo=timezone.utc")
    return day.astimezone(NEW_YORK).date()


def _readings(day: date) -> list[Reading]:
    days = _records()
    if day not in days:
        raise SourceError(f"no weather for {day}; there is some from {min(days)} to {max(days)}", source="weather")
    return [_reading(record) for record in days[day]]


@cache
def _records() -> dict[date, list[list[str]]]:
    """The file's records by New York day; their values are parsed when their day is asked for."""
    days = defaultdict(list)
    with gzip.open(datasets.path("weather"), "rt", encoding="utf-8", newline="") as file:
        next(lines := csv.reader(file))  # the header
        for record in lines:
            _, year, month, day = record[:4]
            days[year, month, day].append(record)
    return {date(int(year), int(month), int(day)): records for (year, month, day), records in days.items()}


def _reading(record: list[str]) -> Reading:
    airport, _, _, _, _, *values, time_hour = record
    observed_at = datetime.fromisoformat(time_hour).replace(tzinfo=UTC)
    numbers = [float(value) if value else None for value in values]
    return Reading._make([airport, observed_at, *numbers, observed_at + PUBLISHED_AFTER])


def _revised(revision: Revision, arrival: date) -> Reading:
    key = revision.airport, revision.observed_at
    for original in _readings(new_york_day(revision.observed_at)):
        if (original.airport, original.observed_at) == key:
            return published_on(arrival, original._replace(temp=revision.temp))
    raise SourceError(f"no reading of {key[0]} at {key[1]} to revise; its hour must be a whole one, in UTC")


def published_on(day: date, reading: Reading) -> Reading:
    """A reading that is published with another day's: one minute before that day ends in New York."""
    end = datetime.combine(day + timedelta(days=1), time(), NEW_YORK).astimezone(UTC)
    return reading._replace(updated_at=end - timedelta(minutes=1))
