"""What Celery's tasks cost when etlkit schedules them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from unittest.mock import patch

from etlkit.clock import SystemClock
from etlkit.config import Config, conf
from etlkit.dag_folder import DagFolder
from etlkit.executors import from_settings
from etlkit.guard import Guard
from etlkit.runs import trigger_run
from etlkit.scheduler import Scheduler
from etlkit.servers import start_postgres, start_redis
from etlkit.store import Store

from .measure import Ratio, in_turn, wall_seconds

TASKS = 1000
SLOTS = 2

NO_OPS = f"""
from etlkit import DAG
from etlkit.dag import BaseOperator

class NoOp(BaseOperator):
    def execute(self, context):
        return None

with DAG("nothing", max_active_tasks={TASKS}):
    for i in range({TASKS}):
        NoOp(task_id=f"t{{i}}")
"""


def executor(rounds: int = 5) -> Ratio:
    """No-ops that etlkit schedules through Celery against Celery's own, their results awaited: same broker, as many
    worker processes, same delivery (late acknowledgement, one message a slot)."""
    with contextlib.ExitStack() as stack:
        guard = stack.enter_context(Guard())
        postgres, redis = start_postgres(guard), start_redis(guard)
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (home / "dags").mkdir()
        (home / "dags" / "nothing.py").write_text(NO_OPS)
        settings = {
            "ETLKIT_HOME": str(home),
            "ETLKIT__CORE__EXECUTOR": "CeleryExecutor",
            "ETLKIT__CORE__PARALLELISM": str(TASKS),
            "ETLKIT__DATABASE__SQL_ALCHEMY_CONN": postgres.url(postgres.create_database("celery")),
            "ETLKIT__CELERY__BROKER_URL": redis.url,
            "PLAIN_BROKER": redis.url,
        }
        stack.enter_context(patch.dict(os.environ, settings))
        stack.callback(conf.use, conf.current)
        conf.use(Config())
        ours = stack.enter_context(_etlkit(home))
        theirs = stack.enter_context(_plain())
        ratio, a, b = in_turn(theirs, ours, rounds)
    detail = f"{TASKS / b:.0f} against {TASKS / a:.0f} tasks a second"
    return Ratio("no-ops a second, CeleryExecutor against plain Celery", ratio, 0.5, detail, at_least=True)


@contextlib.contextmanager
def _worker(*command: str) -> Iterator[None]:
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=said, stderr=said)
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


@contextlib.contextmanager
def _etlkit(home: Path):
    store = Store(conf.get("database", "sql_alchemy_conn"))
    with _worker(str(Path(sys.executable).parent / "etlkit"), "worker", "-c", str(SLOTS)), contextlib.closing(store):
        scheduler = Scheduler(store, SystemClock(), from_settings())
        dag = DagFolder(home / "dags").get("nothing")
        scheduler.add_dag(dag)

        def once() -> float:
            run = trigger_run(store, dag, now=scheduler.clock.now())
            seconds = wall_seconds(scheduler.settle)
            assert store.run(run.dag_id, run.run_id).state == "success"
            return seconds

        once()
        yield once
        scheduler.executor.stop()


@contextlib.contextmanager
def _plain():
    plain = import_module("tests.benchmarks.plain_celery")
    command = (sys.executable, "-m", "celery", "-A", plain.__name__, "worker", "-c", str(SLOTS), "-l", "WARNING")

    def all_of_them() -> None:
        for result in [plain.nothing.delay() for _ in range(TASKS)]:
            result.get()

    with _worker(*command, "--without-mingle", "--without-gossip"):
        all_of_them()
        yield lambda: wall_seconds(all_of_them)


def main() -> None:
    print(executor(), flush=True)


if __name__ == "__main__":
    sys.exit(main())
