"""New York's flights and weather of 2013, which come with the kit.

=============  =======  ==========================================================================
``weather``     26,115  one row per airport (``origin``: EWR, JFK, LGA) and hour (``time_hour``)
``flights``    336,776  one row per flight that left one of the three
``planes``       3,322  one row per aircraft (``tailnum``)
``airports``     1,458  one row per airport (``faa``)
``airlines``        16  one row per carrier (``carrier``)
=============  =======  ==========================================================================

The files are found through the package, so the working directory does not matter:

>>> weather().groupby("origin").size().to_dict()
{'EWR': 8703, 'JFK': 8706, 'LGA': 8706}

SQL reads them where they are:

>>> import duckdb
>>> duckdb.execute("SELECT max(temp) FROM read_csv(?)", [str(path("weather"))]).fetchone()
(100.04,)

``time_hour`` is UTC; ``year``, ``month``, ``day`` and ``hour`` are the same hour on a New York wall clock. Columns,
units, gaps, known flaws, origin and licence (CC0) are in ``data/README.md``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from etlkit.errors import SourceError, nearest

if TYPE_CHECKING:
    import pandas as pd

FILES = {
    "weather": "weather.csv.gz",
    "flights": "flights.parquet",
    "planes": "planes.csv.gz",
    "airports": "airports.csv.gz",
    "airlines": "airlines.csv.gz",
}


def path(name: str) -> Path:
    """The file that holds a data set.

    >>> path("weather").name
    'weather.csv.gz'
    >>> path("wether")
    Traceback (most recent call last):
    etlkit.errors.SourceError: no data set is called 'wether'; did you mean 'weather'?
    """
    if name not in FILES:
        known = list(FILES)
        raise SourceError(f"no data set is called {name!r}{nearest(name, known) or f'; there are: {known}'}")
    file = _folder() / FILES[name]
    if not file.exists():
        raise SourceError(f"{file} is missing; install etlkit again")
    return file


def load(name: str) -> pd.DataFrame:
    """A data set as a DataFrame, rows in the order of the file, ``time_hour`` as an instant in UTC.

    >>> load("airlines").carrier.head(3).to_list()
    ['9E', 'AA', 'AS']
    """
    import pandas as pd

    file = path(name)
    if file.suffix == ".parquet":
        return pd.read_parquet(file)
    # Only an empty field is a missing value: NA, nan and None may be codes or names.
    table = pd.read_csv(file, keep_default_na=False, na_values=[""])
    if "time_hour" in table:
        table["time_hour"] = pd.to_datetime(table["time_hour"], format="ISO8601", utc=True)
    return table


def weather() -> pd.DataFrame:
    """Hourly weather at the three airports: 26,115 rows, temperatures in °F."""
    return load("weather")


def flights() -> pd.DataFrame:
    """Every flight that left the three airports: 336,776 rows, delays in minutes."""
    return load("flights")


def planes() -> pd.DataFrame:
    """The aircraft: 3,322 rows."""
    return load("planes")


def airports() -> pd.DataFrame:
    """The airports: 1,458 rows."""
    return load("airports")


def airlines() -> pd.DataFrame:
    """The carriers: 16 rows."""
    return load("airlines")


def _folder() -> Path:
    """``_data`` in the installed package, or ``data`` beside the package in a clone (an editable install)."""
    package = Path(__file__).parent
    installed = package / "_data"
    return installed if installed.is_dir() else package.parent / "data"
