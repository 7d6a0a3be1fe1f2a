"""`etlkit demo`: what it prints is true, and what it leaves behind is there."""

import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from PIL import Image

from etlkit import demo
from etlkit.errors import EtlkitError


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """The demo's folder, relative to the working directory as a person would give it, and the lines that it printed."""
    here = tmp_path_factory.mktemp("demo")
    program = "from etlkit.cli import main; main()"
    environ = {**os.environ, "COLUMNS": "80", "PYTHONWARNINGS": "error"}
    ended = subprocess.run(
        [sys.executable, "-c", program, "demo"], cwd=here, env=environ, capture_output=True, text=True, encoding="utf-8"
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return here / "etlkit-demo", ended.stdout.splitlines()


def fact(lines, name):
    """The number and the remark that the demo printed beside a name."""
    (line,) = (line for line in lines if line.startswith(f"  {name} "))
    number, _, remark = line.removeprefix(f"  {name} ").strip().partition("  ")
    return number, remark.strip()


def test_it_tells_the_whole_story(told):
    _, lines = told
    facts = {
        "runs": ("31", "31 success"),
        "tries": ("94", "of 93 tasks"),
        "rows read": ("2,227", "hourly readings at three airports"),
        "duplicates removed": ("1", "JFK at 2013-01-15 14:00, revised to 41.0 °F"),
        "rows in the table": ("93", "one for each of 3 airports and 31 days"),
        "coldest day": ("10.94 °F", "2013-01-23 at EWR"),
        "warmest day": ("64.4 °F", "2013-01-30 at EWR"),
        "loaded again": ("7 days", "2013-01-14 to 2013-01-20, by a backfill"),
        "rows changed by it": ("0", "of 93"),
    }
    assert {name: fact(lines, name) for name in facts} == facts
    story = " ".join(" ".join(lines).split())
    assert "extract of 2013-01-08: SourceError: the weather service does not answer" in story
    assert "tried again 30 minutes later: success" in story
    assert "extract >> transform >> load" in story


def test_it_can_be_read_in_eighty_columns(told):
    _, lines = told
    commands = [line for line in lines if "etlkit dags" in line]
    assert [line for line in lines if len(line) > 80 and line not in commands] == []


def test_its_numbers_are_those_of_the_databases_it_leaves(told):
    folder, lines = told
    with duckdb.connect(str(folder / demo.WAREHOUSE), read_only=True) as warehouse:
        rows, keys = warehouse.execute("SELECT count(*), count(DISTINCT (airport, date)) FROM daily_weather").fetchone()
        readings = warehouse.execute("SELECT count(*) FROM readings").fetchone()[0]
    assert fact(lines, "rows in the table")[0] == str(rows) == str(keys)
    read, duplicates = (int(fact(lines, name)[0].replace(",", "")) for name in ("rows read", "duplicates removed"))
    assert readings == read - duplicates
    metadata = sqlite3.connect(folder / demo.METADATA)
    try:
        runs = metadata.execute("SELECT run_type, state, count(*) FROM dag_run GROUP BY 1, 2 ORDER BY 1").fetchall()
        decisions = metadata.execute("SELECT count(*) FROM decision WHERE new = 'success'").fetchone()[0]
    finally:
        metadata.close()
    assert runs == [("backfill", "success", 7), ("scheduled", "success", 24)]
    assert decisions == 31 * 4 + 7 * 4, "each run and its three tasks, and those of the week once more"


def test_it_leaves_a_chart_and_logs(told):
    folder, _ = told
    with Image.open(folder / demo.CHART) as chart:
        assert chart.width > 1000
        assert len(chart.convert("RGB").getcolors(maxcolors=1 << 24)) > 100, "something is drawn"
    logs = list((folder / demo.LOGS).rglob("*.log"))
    assert len(logs) == 94 + 7 * 3


def test_the_next_steps_are_commands_that_work(told):
    folder, lines = told
    commands = [line.strip() for line in lines if "etlkit dags" in line]
    assert len(commands) == 2
    for command in commands:
        program, *words = command.split()
        assert Path(program).name == "etlkit"
        ended = subprocess.run(
            [sys.executable, "-m", "etlkit", *words], cwd=folder.parent, capture_output=True, text=True
        )
        assert ended.returncode == 0, ended.stderr
        assert "transform" in ended.stdout


def test_it_makes_its_folder_anew_but_deletes_nothing_else(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "END", demo.START.add(days=9))
    monkeypatch.setattr(demo, "WEEK", (demo.START, demo.START.add(days=6)))
    folder = tmp_path / "out" / "demo"
    demo.main(folder)
    first = capsys.readouterr().out
    demo.main(folder)
    assert without_seconds(capsys.readouterr().out) == without_seconds(first)
    assert fact(first.splitlines(), "runs") == ("9", "9 success")
    (folder / "etlkit.db.backup").write_text("mine")
    with pytest.raises(EtlkitError, match=r"holds 'etlkit\.db\.backup', which no demo made; name a new folder"):
        demo.main(folder)
    assert (folder / demo.METADATA).exists()


def without_seconds(text):
    return re.sub(r"in \d+\.\d s", "in … s", text)


def test_a_demo_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(EtlkitError, match="is a file"):
        demo.main(tmp_path / "file")
