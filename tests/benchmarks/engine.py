"""What the engine costs per task."""

from __future__ import annotations

import gc
import json
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

from etlkit.backfill import create_backfill, plan_backfill
from etlkit.clock import SimulatedClock
from etlkit.dag import DAG, BaseOperator
from etlkit.executors.sequential import SequentialExecutor
from etlkit.runs import trigger_run
from etlkit.scheduler import Scheduler
from etlkit.store import Store

from .measure import Ratio, in_turn, wall_seconds

START = datetime(2013, 1, 1, tzinfo=UTC)
HAMILTON = Path(__file__).parents[2] / ".venv-bench"


class NoOp(BaseOperator):
    """Does nothing."""

    def execute(self, context):
        return None


def chain_of(n: int) -> DAG:
    """A DAG of `n` tasks, each after the one before."""
    with DAG("chain", start_date=START) as dag:
        before = NoOp(task_id="t0")
        for i in range(1, n):
            task = NoOp(task_id=f"t{i}")
            before >> task
            before = task
    return dag


def layers_of(n: int, width: int = 100) -> DAG:
    """A DAG of `n` tasks in layers of `width`, each after three of the layer before."""
    with DAG("layers", start_date=START) as dag:
        above: list[NoOp] = []
        for layer in range(n // width):
            tasks = [NoOp(task_id=f"l{layer}_{i}") for i in range(width)]
            if above:
                for i, task in enumerate(tasks):
                    task << [above[i], above[(i + 1) % width], above[(i + 7) % width]]
            above = tasks
    return dag


def triggered(dag: DAG, url: str = "sqlite://") -> Scheduler:
    """A scheduler that has one run of `dag` to do."""
    scheduler = Scheduler(Store(url), SimulatedClock(START), SequentialExecutor())
    scheduler.add_dag(dag)
    trigger_run(scheduler.store, dag, now=START)
    return scheduler


def finished(scheduler: Scheduler) -> Scheduler:
    """The scheduler, once it has nothing to do; every run must have succeeded."""
    scheduler.settle()
    assert {run.state for run in scheduler.store.runs()} == {"success"}
    return scheduler


def durable_task(n: int = 2000, rounds: int = 7) -> Ratio:
    """A no-op task against the two commits that it needs at least, both to a SQLite file with the same settings."""
    with tempfile.TemporaryDirectory() as folder:
        files = (Path(folder) / f"{i}.db" for i in range(10_000))

        def ours() -> float:
            scheduler = triggered(chain_of(n), f"sqlite:///{next(files)}")
            return wall_seconds(lambda: finished(scheduler)) / n

        def raw() -> float:
            con = sqlite3.connect(next(files), isolation_level=None)
            con.execute("PRAGMA journal_mode = WAL")
            con.execute("PRAGMA synchronous = NORMAL")
            con.execute("CREATE TABLE task_instance (id INTEGER PRIMARY KEY, state TEXT, moment TEXT)")
            con.executemany("INSERT INTO task_instance VALUES (?, 'queued', '')", [(i,) for i in range(n)])

            def both_commits() -> None:
                for i in range(n):
                    for state in ("running", "success"):
                        con.execute("BEGIN")
                        con.execute("UPDATE task_instance SET state = ?, moment = ? WHERE id = ?", (state, "2013", i))
                        con.execute("COMMIT")

            return wall_seconds(both_commits) / n

        ratio, a, b = in_turn(ours, raw, rounds)
    return Ratio("a no-op task, durable, against sqlite3's two commits", ratio, 3.0, micros(a, b))


def long_backfill(rounds: int = 3) -> Ratio:
    """Cost per task of a daily backfill of three tasks: ten years against one month."""

    def per_task(end: datetime) -> float:
        with DAG("daily", schedule="@daily", start_date=START) as dag:
            a, b, c = (NoOp(task_id=name) for name in "abc")
            a >> b >> c
        now = datetime(2024, 1, 1, tzinfo=UTC)
        scheduler = Scheduler(Store(), SimulatedClock(now), SequentialExecutor())
        scheduler.add_dag(dag, paused=True)

        def backfill() -> None:
            plan = plan_backfill(dag, START, end, existing=scheduler.store.runs("daily"), now=now)
            create_backfill(scheduler.store, dag, plan, max_active_runs=10, now=now)
            finished(scheduler)

        seconds = wall_seconds(backfill)
        return seconds / (3 * len(scheduler.store.runs("daily")))

    month = datetime(2013, 1, 30, tzinfo=UTC)
    years = datetime(2022, 12, 29, tzinfo=UTC)
    # One month is over in a moment, so its cost is that of the best of several.
    ratio, a, b = in_turn(lambda: per_task(years), lambda: min(per_task(month) for _ in range(5)), rounds)
    return Ratio("cost per task, a ten-year daily backfill against one month", ratio, 1.2, micros(a, b))


def big_dag(rounds: int = 3) -> Ratio:
    """Build, order, decide and run: per task, 100,000 tasks against 10,000."""

    def per_task(n: int) -> float:
        gc.collect()
        return wall_seconds(lambda: finished(triggered(layers_of(n)))) / n

    ratio, a, b = in_turn(lambda: per_task(100_000), lambda: per_task(10_000), rounds)
    return Ratio("cost per task, a DAG of 100,000 tasks against 10,000", ratio, 1.2, micros(a, b))


HAMILTON_CHAIN = """
import json, sys, time, types
from hamilton import driver
n, rounds = int(sys.argv[1]), int(sys.argv[2])
sys.setrecursionlimit(10 * n + 1000)
module = types.ModuleType("chain")
source = "def t0() -> int:\\n    return 0\\n"
source += "".join(f"def t{i}(t{i - 1}: int) -> int:\\n    return 0\\n" for i in range(1, n))
exec(source, module.__dict__)
for name, function in list(module.__dict__.items()):
    if callable(function):
        function.__module__ = "chain"
sys.modules["chain"] = module
seconds = []
for _ in range(rounds):
    begin = time.perf_counter()
    built = driver.Builder().with_modules(module).build()
    middle = time.perf_counter()
    built.execute([f"t{n - 1}"])
    seconds.append((middle - begin, time.perf_counter() - middle))
print(json.dumps(seconds))
"""


def hamilton(n: int = 400, rounds: int = 7) -> list[Ratio]:
    """A no-op chain in memory against Apache Hamilton's driver: the run alone, and with building the graph."""
    python = HAMILTON / "bin" / "python"
    if not python.exists():
        raise SystemExit(f"there is no {python}: `make bench` builds it")

    def theirs() -> tuple[float, float]:
        out = subprocess.run(
            [python, "-c", HAMILTON_CHAIN, str(n), "5"], check=True, capture_output=True, text=True
        ).stdout
        build, run = min(json.loads(out), key=sum)
        return build / n, run / n

    def ours() -> tuple[float, float]:
        measured = []
        for _ in range(5):
            begin = perf_counter()
            scheduler = triggered(chain_of(n))
            middle = perf_counter()
            finished(scheduler)
            measured.append((middle - begin, perf_counter() - middle))
        build, run = min(measured, key=sum)
        return build / n, run / n

    pairs = [(ours(), theirs()) for _ in range(rounds)]
    lines = []
    for what, cost in (("run", lambda c: c[1]), ("build and run", sum)):
        ratio, a, b = in_turn(*_replay(pairs, cost), rounds)
        lines.append(Ratio(f"a no-op chain in memory against Apache Hamilton: {what}", ratio, 5.0, micros(a, b)))
    return lines


def _replay(pairs: list, cost: Callable) -> tuple[Callable[[], float], Callable[[], float]]:
    ours, theirs = iter([cost(a) for a, _ in pairs]), iter([cost(b) for _, b in pairs])
    return (lambda: next(ours)), (lambda: next(theirs))


def micros(ours: float, theirs: float) -> str:
    """Two costs per task in microseconds."""
    return f"{ours * 1e6:.1f} µs against {theirs * 1e6:.1f} µs"


def main() -> None:
    for line in (durable_task(), long_backfill(), big_dag(), *hamilton()):
        print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
