"""`etlkit scheduler` as a process: what it says, what changes under it, how it stops and starts again."""

import os
import signal
import sys

import pytest

from etlkit.scheduler_lock import who_schedules
from tests.dag_files import change
from tests.servers import postgres

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")

DAG = """
    import time
    from datetime import datetime, timezone
    from pathlib import Path
    from etlkit import DAG, task

    here = Path(__file__).parent.parent

    with DAG("{dag_id}", schedule="@daily", start_date=datetime(2013, 1, 1, tzinfo=timezone.utc)) as dag:

        @task
        def work(run_id, ti):
            with (here / "attempts").open("a") as file:
                print("{word}", run_id.split("__")[0], file=file)
            while (here / "hold").exists():
                time.sleep(0.01)

        work()
"""


class Machine:
    """A home folder with a scheduler that writes what it says into a file."""

    def __init__(self, etlkit):
        self.etlkit, self.home = etlkit, etlkit.home
        self.said, self.hold = etlkit.home / "said", etlkit.home / "hold"
        etlkit.environ |= {
            "ETLKIT__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.05",
            "ETLKIT__DAG_PROCESSOR__REFRESH_INTERVAL": "0.05",
            "ETLKIT__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        }

    def start(self, *words):
        with self.said.open("w") as file:
            return self.etlkit.start("scheduler", *words, stderr=file)

    def lines(self):
        return self.said.read_text().splitlines()

    def wait_for(self, text):
        """Return when a line that has `text` was said."""
        self.etlkit.wait_for(lambda: text in self.said.read_text())

    def attempts(self):
        file = self.home / "attempts"
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def machine(etlkit):
    return Machine(etlkit)


def stop(process, number=signal.SIGTERM):
    process.send_signal(number)
    assert process.wait(timeout=30) == 0


def test_it_does_what_is_due_in_one_round_and_says_what(machine):
    machine.etlkit.dag_file("small.py", DAG.format(dag_id="small", word="one"))
    process = machine.start("--num-runs", 1)
    assert process.communicate(timeout=60)[0] == ""
    assert process.returncode == 0
    lines = [line.partition(" small")[2] or line for line in machine.lines()]
    run = lines[2].removesuffix(": running").strip()
    assert lines == [
        f"scheduling {machine.etlkit.dags} on {machine.home / 'etlkit.db'}; stop with Ctrl-C",
        "DAGs: 1 new",
        f" {run}: running",
        f".work {run}: running",
        f".work {run}: success",
        f" {run}: success",
        "stopped; no task was cut off",
    ]
    assert machine.attempts() == ["one scheduled"]


def test_it_survives_what_happens_to_the_files(machine):
    etlkit = machine.etlkit
    process = machine.start()
    machine.wait_for("DAGs: none new")
    small = etlkit.dag_file("small.py", DAG.format(dag_id="small", word="one"))
    machine.wait_for("small scheduled__")
    change(small, "from etlkit import DAG\n\nDAG(\n")
    machine.wait_for(f"etlkit: {small}:3: SyntaxError: '(' was never closed")
    assert [error["line"] for error in etlkit.json("dags", "list-import-errors", exit_code=1)] == [3]
    change(small, DAG.format(dag_id="small", word="two") + "\n")
    machine.wait_for(f"{small} loads again")
    etlkit("dags", "trigger", "small", "-e", "2013-01-05")
    machine.wait_for("small manual__2013-01-05T00:00:00+00:00: success")
    assert machine.attempts()[-1] == "two manual"
    etlkit.dags.rename(machine.home / "away")
    machine.wait_for("there is no such file or folder")
    (machine.home / "away").rename(etlkit.dags)
    machine.wait_for(f"{etlkit.dags} loads again")
    small.unlink()
    machine.wait_for("DAGs: 1 gone\n")
    stop(process)
    assert machine.lines()[-1] == "stopped; no task was cut off"
    assert len(etlkit.json("dags", "list-runs", "small")) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_attempt_that_runs_come_to_its_end(machine, number):
    machine.hold.touch()
    machine.etlkit.dag_file("small.py", DAG.format(dag_id="small", word="one"))
    process = machine.start()
    machine.etlkit.wait_for(machine.attempts)
    process.send_signal(number)
    machine.wait_for("stopping when the task that is running has ended")
    machine.hold.unlink()
    assert process.wait(timeout=30) == 0
    assert who_schedules(machine.home / "etlkit.db") is None
    assert machine.lines()[-1] == "stopped; no task was cut off"
    (row,) = machine.etlkit.json("dags", "list-runs", "small")
    machine.start("-n", "1").wait(timeout=60)
    assert machine.attempts() == ["one scheduled"], "nothing was done twice"
    assert machine.etlkit.json("dags", "list-runs", "small")[0]["state"] == "success"
    assert row["run_id"].startswith("scheduled__")


def test_killed_it_goes_on_where_it_was(machine):
    machine.hold.touch()
    machine.etlkit.dag_file("small.py", DAG.format(dag_id="small", word="one"))
    process = machine.start()
    machine.etlkit.wait_for(machine.attempts)
    process.kill()
    process.communicate()
    machine.etlkit.started.remove(process)
    machine.hold.unlink()
    assert machine.start("-n", 1).wait(timeout=60) == 0
    assert machine.attempts() == ["one scheduled"] * 2, "the attempt was lost, and made again"
    (run,) = machine.etlkit.json("dags", "list-runs", "small")
    assert run["state"] == "success"


def test_only_one_schedules(machine):
    machine.etlkit.dag_file("small.py", DAG.format(dag_id="small", word="one"))
    process = machine.start()
    machine.wait_for("small scheduled__")
    assert "is scheduled by process" in machine.etlkit.refused("scheduler")
    stop(process)


def test_a_backfill_is_left_to_the_scheduler_that_is_running(machine):
    machine.etlkit.dag_file("small.py", DAG.format(dag_id="small", word="one"))
    process = machine.start()
    machine.wait_for("small scheduled__")
    dates = ("small", "-s", "2013-01-01", "-e", "2013-01-03")
    done = machine.etlkit("dags", "backfill", *dates)
    assert (done.exit_code, machine.attempts().count("one backfill")) == (0, 3)
    assert "backfill 1 is queued for the scheduler that is running" in done.stderr
    assert "backfill 1: 3 of 3 runs finished (3 success)" in done.stderr
    assert machine.etlkit("dags", "backfill", *dates).exit_code == 0
    assert len(machine.etlkit.json("backfill", "list")) == 1, "everything is there"
    machine.hold.touch()
    left = machine.etlkit.start("dags", "backfill", "small", "-s", "2013-01-04", "-e", "2013-01-05")
    machine.etlkit.wait_for(lambda: machine.attempts().count("one backfill") == 4)
    left.send_signal(signal.SIGTERM)
    assert left.wait(timeout=30) == 130
    machine.hold.unlink()
    again = machine.etlkit("dags", "backfill", "small", "-s", "2013-01-04", "-e", "2013-01-05")
    assert again.exit_code == 0
    assert len(machine.etlkit.json("backfill", "list")) == 2, "repeated, it waits for what it queued before"
    left.communicate()
    machine.etlkit.started.remove(left)
    stop(process)


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no terminals here")
def test_on_a_terminal_states_have_colours(machine):
    machine.etlkit.dag_file("small.py", DAG.format(dag_id="small", word="one"))
    master, slave = os.openpty()
    process = machine.etlkit.start("scheduler", "-n", "1", stderr=slave)
    assert process.wait(timeout=60) == 0
    os.close(slave)
    said = os.read(master, 65536).decode()
    os.close(master)
    assert ": \x1b[32msuccess\x1b[0m" in said


# --- a server that goes away ------------------------------------------------------------------------------------------


@pytest.fixture
def remote(machine):
    """The machine with its metadata on a PostgreSQL; `remote.cut()` ends the connections to it."""
    server = postgres()
    database = server.create_database("away")
    machine.etlkit.environ["ETLKIT__DATABASE__SQL_ALCHEMY_CONN"] = server.url(database)

    def sql(text):
        with server.connect(autocommit=True) as connection:
            return connection.execute(text).fetchall() if text.startswith("SELECT") else connection.execute(text)

    machine.sql = sql
    machine.cut = lambda: sql("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = 'away'")
    yield machine
    sql("ALTER DATABASE away ALLOW_CONNECTIONS true")


def test_it_goes_on_when_its_connection_was_lost_and_repeats_what_was_under_way(remote):
    remote.hold.touch()
    remote.etlkit.dag_file("small.py", DAG.format(dag_id="small", word="one"))
    process = remote.start()
    remote.etlkit.wait_for(remote.attempts)
    remote.cut()
    remote.hold.unlink()
    remote.etlkit.wait_for(lambda: len(remote.attempts()) >= 2)
    remote.etlkit.wait_for(lambda: "small.work" in remote.said.read_text() and ": success" in remote.said.read_text())
    stop(process)
    lines = remote.lines()
    (lost,) = [line for line in lines if "lost its connection" in line]
    assert lost.startswith("etlkit: metadata database postgresql://")
    assert lost.endswith("; the scheduler does so by itself")
    assert sum(line.startswith("scheduling ") for line in lines) == 2
    assert "Traceback" not in remote.said.read_text()


def test_it_stops_while_its_server_is_away(remote):
    remote.etlkit.dag_file("small.py", "from etlkit import DAG\nwith DAG('small', schedule=None): pass")
    process = remote.start()
    remote.wait_for("DAGs: 1 new")
    remote.sql("ALTER DATABASE away ALLOW_CONNECTIONS false")
    remote.cut()
    remote.wait_for("lost its connection")
    stop(process)
    assert remote.lines()[-1] == "stopped; no task was cut off"
