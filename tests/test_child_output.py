"""What programs print that tasks start: it is in the log of the try, without secrets, and nowhere else."""

import json
import os
import re
import signal

import pytest

HEAD = """
import os, subprocess, sys
from datetime import UTC, datetime
from etlkit import DAG
from etlkit.operators.python import PythonOperator
from etlkit.masking import mask_secret

PW = "hunter22secret"

def say():
    mask_secret(PW)
"""
TAIL = """
with DAG("loud", start_date=datetime(2013, 1, 1, tzinfo=UTC), schedule=None):
    PythonOperator(task_id="say", python_callable=say)
"""


@pytest.fixture
def run(etlkit):
    """Run a task with this body in the `etlkit` program; its log, and what the program put on stdout and stderr."""

    def trial(body, exit_code=0):
        lines = "".join(f"    {line}\n" for line in body.strip().splitlines())
        etlkit.dag_file("loud.py", HEAD + lines + TAIL)
        etlkit("dags", "trigger", "loud", "--run-id", "r")
        process = etlkit.start("tasks", "run", "loud", "say", "r", "--output", "json")
        out, err = process.communicate(timeout=60)
        assert process.returncode == exit_code, err
        log = etlkit.home / "logs" / "dag_id=loud" / "run_id=r" / "task_id=say" / "attempt=1.log"
        return log.read_text(), out, err

    return trial


def test_it_is_in_the_log_and_shown_as_what_the_task_says_in_order_and_without_secrets(run):
    log, out, err = run(
        """
print("one")
subprocess.run(["echo", "two", PW], check=True)
subprocess.run(f"printf {PW[:5]}; printf {PW[5:]}; echo; echo four >&2", shell=True, check=True)
os.write(1, b"fi"); os.write(1, b"ve")
"""
    )
    assert sorted(log.splitlines()) == ["***", "five", "four", "one", "two ***"]
    assert [line for line in log.splitlines() if line != "one"] == ["two ***", "***", "four", "five"]
    assert json.loads(out)
    assert "hunter22" not in out + err
    assert err.count("say try 1: two ***\n") == 1


def test_more_than_a_pipe_holds_arrives_whole(run):
    log, _, _ = run('subprocess.run([sys.executable, "-c", "for n in range(100_000): print(n)"], check=True)')
    assert log.splitlines() == [str(n) for n in range(100_000)]


def test_a_program_that_outlives_its_task_keeps_nobody_waiting(run):
    log, _, _ = run(
        """
late = subprocess.Popen(["sh", "-c", "echo begun; exec sleep 600"], stdin=subprocess.DEVNULL)
print("process", late.pid)
"""
    )
    os.kill(int(re.search(r"process (\d+)", log)[1]), signal.SIGKILL)


def test_a_fork_speaks_into_the_same_log_and_may_end_as_it_likes(run):
    log, _, _ = run(
        """
import multiprocessing
noise = subprocess.Popen(["sh", "-c", "yes | head -n 20000"])
fork = multiprocessing.get_context("fork")
for n in range(20):
    child = fork.Process(target=os.write, args=(1, f"child {n}\\n".encode()))
    child.start()
    child.join()
    assert child.exitcode == 0
noise.wait()
"""
    )
    assert re.findall(r"child \d+", log) == [f"child {n}" for n in range(20)]
    assert log.count("y\n") == 20_000


def test_what_fails_has_its_last_words_in_the_log(run):
    log, _, _ = run('os.write(2, b"last words\\n")\nraise ValueError("no")', exit_code=1)
    assert {"last words", "ValueError: no"} <= set(log.splitlines())
