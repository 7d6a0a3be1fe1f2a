"""Schedulers killed with -9, each in a process of its own: nothing is lost, made twice or stuck.

`crashing.py` is what they run, and says what is checked of what they leave behind.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from etlkit.store import Store
from tests import crashing

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kill -9 and fork are POSIX's")

SCRIPT = Path(crashing.__file__)
STATEMENTS = 370
"""About how many statements a life executes that is not killed."""


def crash(*words):
    command = [sys.executable, SCRIPT, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=SCRIPT.parent.parent, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("scenario", "mode", "step"),
    [("scheduled", "every", 8), ("scheduled", "twice", 31), ("backfilled", "every", 29)],
)
def test_killed_at_any_statement_the_next_life_completes_everything(scenario, mode, step, tmp_path):
    killed = int(crash(scenario, tmp_path, mode, step))
    assert killed >= STATEMENTS // step - 2


def test_killed_at_any_statement_assets_and_tasks_start_each_run_once(tmp_path):
    command = [sys.executable, "-m", "tests.crashing_assets", tmp_path, "13"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=SCRIPT.parent.parent, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) >= 20


@pytest.mark.parametrize("lines", [[1, 4], [6, 2, 3]])
def test_killed_from_outside_while_it_loads_into_duckdb(lines, tmp_path):
    ends = []
    for life, line in enumerate([*lines, None]):
        command = [sys.executable, SCRIPT, "duckdb", tmp_path, "once", str(life)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=SCRIPT.parent.parent) as process:
            for _ in range(line or 99):
                if not process.stdout.readline():
                    break
            if line:
                process.kill()
        ends.append(process.returncode)
    # The last but one may have come to its end before it was killed.
    assert (ends[0], ends[-1], {*ends}) == (-signal.SIGKILL, 0, {-signal.SIGKILL, 0})
    crashing.check("duckdb", tmp_path)


def test_a_task_that_kills_its_process_every_time_fails_in_the_end(tmp_path):
    lives = 0
    while crash_once("deadly", tmp_path, lives) == -signal.SIGKILL:
        lives += 1
        assert lives < 9, "it loops"
    store = Store(f"sqlite:///{tmp_path}/etl.db")
    (run,) = store.runs()
    (task,) = store.task_instances(run.id)
    assert (lives, task.try_number, task.lost_attempts) == (4, 4, 3)
    assert (run.state, task.state) == ("failed", "failed")
    assert "process" in task.error
    assert [(number, state) for _, _, number, state, *_ in store.history(run.id)] == [(n, "failed") for n in (1, 2, 3)]
    store.close()


def crash_once(scenario, folder, life):
    command = [sys.executable, SCRIPT, scenario, folder, "once", str(life)]
    return subprocess.run(command, capture_output=True, cwd=SCRIPT.parent.parent, timeout=60).returncode
