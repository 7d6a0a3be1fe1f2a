"""A scheduler and a busy writer on one database: nothing is lost, and neither keeps the other out."""

import json
import subprocess
import sys
from pathlib import Path

from tests.two_processes import CLEARS, ENOUGH, RUNS

FOLDER = Path(__file__).parents[2]
PATIENCE = 10
"""Wall seconds that no single operation may take: far below the 30 after which a writer gives up."""


def start(role, url):
    command = [sys.executable, "-m", "tests.two_processes", role, url]
    return subprocess.Popen(command, cwd=FOLDER, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def test_a_scheduler_and_a_busy_writer_do_not_harm_each_other(open_store, shared_url):
    with start("scheduler", shared_url) as scheduler:
        assert scheduler.stdout.readline() == "ready\n"
        writer = start("writer", shared_url)
        wrote = json.loads(writer.communicate()[0])
        scheduled = json.loads(scheduler.communicate()[0])
    assert (scheduler.returncode, writer.returncode) == (0, 0)
    assert max(wrote["longest"], scheduled["longest"]) < PATIENCE
    assert wrote["attempts"] >= ENOUGH, "the scheduler came to nothing while the other wrote"
    assert wrote["cleared"] >= CLEARS
    store = open_store(shared_url)
    runs = store.runs("d")
    assert [(run.run_id, run.state) for run in sorted(runs, key=lambda run: run.id)] == [
        (f"r{number}", "success") for number in range(RUNS)
    ]
    for run in runs:
        assert store.pull_xcom(run.id, "b", "return_value") == [(-1, str(run.conf["number"] ** 2))]
        assert {task.state for task in store.task_instances(run.id)} == {"success"}
        tries = [(task_id, number, state) for task_id, _, number, state, *_ in store.history(run.id)]
        (last,) = (task.try_number for task in store.task_instances(run.id) if task.task_id == "b")
        assert tries == [("b", number, "success") for number in range(1, last)]
    if store.is_sqlite:
        assert store.run_sql("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert store.run_sql("PRAGMA foreign_key_check").fetchall() == []
