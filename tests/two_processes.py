"""A scheduler, and somebody who changes the same database all the time, for conformance/test_two_processes.py.

`python -m tests.two_processes scheduler URL` schedules until its stdin ends and nothing is left to do. `… writer URL`
triggers, pauses, clears and unpauses as fast as it can. Each prints what it saw as JSON.
"""

import json
import sys
import threading
from datetime import UTC, datetime

from etlkit.clock import SystemClock
from etlkit.dag import DAG, BaseOperator
from etlkit.executors.sequential import SequentialExecutor
from etlkit.runs import clear_run, trigger_run
from etlkit.scheduler import Scheduler
from etlkit.scheduler_lock import scheduling
from etlkit.store import Store

RUNS, ENOUGH, LIMIT = 50, 50, 5000
CLEARS = 5
"""How many runs there are, how many attempts and clears the writer waits for, and how often it writes at most."""

NOW = datetime(2013, 1, 1, tzinfo=UTC)


class Square(BaseOperator):
    """Leaves the square of the number in its run's conf."""

    def execute(self, context):
        return context["dag_run"].conf["number"] ** 2


def make_dag():
    with DAG("d", start_date=NOW) as dag:
        Square("a") >> Square("b")
    return dag


class Longest:
    """The longest that something took, in wall seconds."""

    def __init__(self):
        self.seconds, self._clock = 0.0, SystemClock()

    def of(self, action, *args, **kwargs):
        before = self._clock.now()
        try:
            return action(*args, **kwargs)
        finally:
            self.seconds = max(self.seconds, (self._clock.now() - before).total_seconds())


def schedule(store):
    """Ticks until stdin ends and no run is open."""
    told_to_end, longest = threading.Event(), Longest()
    threading.Thread(target=lambda: (sys.stdin.read(), told_to_end.set()), daemon=True).start()
    with scheduling(store, "a test"):
        scheduler = Scheduler(store, SystemClock(), SequentialExecutor())
        scheduler.add_dag(make_dag())
        print("ready", flush=True)
        while not told_to_end.is_set() or store.open_runs():
            longest.of(scheduler.tick)
    return {"longest": longest.seconds}


def write(store):
    """Never leaves the database alone, until the scheduler has made enough attempts all the same."""
    dag, longest, attempts, cleared = make_dag(), Longest(), 0, 0
    for number in range(LIMIT):
        if number < RUNS:
            about = {"run_id": f"r{number}", "logical_date": None, "conf": {"number": number}}
            longest.of(trigger_run, store, dag, now=NOW, **about)
        longest.of(set_paused, store, number % 10 == 0)
        for run in store.runs(states=["success"])[-1:]:
            cleared += len(longest.of(clear_run, store, dag, run, now=NOW, task_ids=["b"]))
        attempts = store.run_sql("SELECT SUM(try_number) FROM task_instance").fetchone()[0]
        if number > RUNS and attempts >= ENOUGH and cleared >= CLEARS:
            break
    longest.of(set_paused, store, False)
    return {"longest": longest.seconds, "attempts": attempts, "cleared": cleared}


def set_paused(store, paused):
    with store.transaction():
        store.set_paused("d", paused)


if __name__ == "__main__":
    role, url = sys.argv[1:]
    opened = Store(url)
    print(json.dumps({"scheduler": schedule, "writer": write}[role](opened)))
    opened.close()
