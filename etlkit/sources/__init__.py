"""Extract: take rows from where they are, whole or not at all.

Three sources, one interface:

- `FileSource` reads CSV, JSON (a list, or one object a line) or Parquet, gzipped or not; a file, or a folder of them.
- `HttpSource` reads the same formats from a web address.
- `SqlSource` reads what a query answers, on DuckDB or any DB-API connection.

Each can be read in two ways. ``read()`` is the **full refresh**: every row, every time. ``modified_since(cursor)`` is
the **incremental update**: the rows whose modification time is at or after the cursor, and the cursor for next time.

>>> import tempfile
>>> from pathlib import Path
>>> file = Path(tempfile.mkdtemp()) / "readings.csv"
>>> _ = file.write_text("airport,temp,updated_at\\nEWR,39.0,2013-01-01T06:51:00Z\\nJFK,39.9,2013-01-01T06:51:00Z\\n")
>>> columns = {"airport": "VARCHAR", "temp": "DOUBLE", "updated_at": "TIMESTAMPTZ"}
>>> source = FileSource(file, columns=columns, modified="updated_at")
>>> source.read().num_rows
2
>>> rows, cursor = source.modified_since(None)          # the first time: everything
>>> rows.num_rows, cursor.isoformat()
(2, '2013-01-01T06:51:00+00:00')
>>> with file.open("a") as f:
...     _ = f.write("LGA,41.0,2013-01-01T06:51:00Z\\n")
>>> source.modified_since(cursor).rows.num_rows         # not just the new one: all that carry the cursor's own time
3

Why *at* or after: the third row came later but carries the time that the cursor already had, and ``>`` would have lost
it for ever. So the newest rows are read again each time, and the merge, which keeps one row per key, drops the copies.
A row that comes with a time *before* the cursor is not seen. If your source does that, hand in an earlier cursor, such
as ``cursor - timedelta(hours=1)``.

Rows are Arrow tables. DuckDB and the merge read them without a copy, ``.to_pandas()`` and ``.to_pylist()`` are one call
away, and unlike a DataFrame they keep their types when a value is missing: a whole number does not become 17.0.

Text says nothing of types, so you state them: `columns` maps names to SQL types, and a value that is not of its type is
an error. Columns that you do not name are left out. Whatever cannot be read whole raises one `SourceError` with the
file, line, column and value, and what to do, because a table without the rows after a broken one looks like any other.

`DailyWeather` is a source to learn with: New York's weather day by day, with outages and late revisions on demand.
`WeatherApi` is the same behind real HTTP, with slow, late and broken answers as well.
"""

from etlkit.sources.base import Batch, Source
from etlkit.sources.documents import FileSource, HttpSource
from etlkit.sources.sql import SqlSource
from etlkit.sources.weather import DailyWeather, Reading, Revision
from etlkit.sources.weather_api import WeatherApi

__all__ = [
    "Batch",
    "DailyWeather",
    "FileSource",
    "HttpSource",
    "Reading",
    "Revision",
    "Source",
    "SqlSource",
    "WeatherApi",
]
