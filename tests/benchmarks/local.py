"""What tasks in processes of their own cost."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from functools import partial

from loky import ProcessPoolExecutor

from etlkit import DAG, LocalExecutor, SystemClock
from etlkit.operators import PythonOperator
from etlkit.runs import trigger_run
from etlkit.scheduler import Scheduler
from etlkit.store import Store

from .measure import Ratio, in_turn, wall_seconds

WORKERS = 2


def work() -> None:
    """Add up half a million squares: some 20 ms on one core."""
    sum(i * i for i in range(500_000))


def nothing() -> None:
    """Do nothing."""


def wait() -> None:
    """Let a tenth of a second pass, as somebody does who waits for an answer."""
    SystemClock().sleep(0.1)


@contextlib.contextmanager
def local(slots: int) -> Iterator[Callable[[Callable[[], None], int], float]]:
    """Seconds on the wall that so many tasks of a function take a LocalExecutor whose processes all run already."""
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(Store(f"sqlite:///{folder}/etl.db")) as store:
        scheduler = Scheduler(store, SystemClock(), LocalExecutor(slots), parallelism=slots)

        def measured(task: Callable[[], None], tasks: int) -> float:
            name = f"{task.__name__}_{tasks}"
            if name not in scheduler.dags:
                with DAG(name, max_active_tasks=tasks) as dag:
                    for i in range(tasks):
                        PythonOperator(task_id=f"t{i}", python_callable=task)
                scheduler.add_dag(dag)
            run = trigger_run(store, scheduler.entry(name).dag, now=scheduler.clock.now())
            seconds = wall_seconds(scheduler.settle)
            assert (found := store.run(name, run.run_id)) is not None and found.state == "success"
            return seconds

        for _ in range(3):
            measured(wait, 2 * slots)
        try:
            yield measured
        finally:
            scheduler.executor.stop()


@contextlib.contextmanager
def loky(workers: int) -> Iterator[Callable[[Callable[[], None], int], float]]:
    """The same for loky alone."""
    with ProcessPoolExecutor(workers) as pool:

        def all_of(task: Callable[[], None], tasks: int) -> None:
            for future in [pool.submit(task) for _ in range(tasks)]:
                future.result()

        def measured(task: Callable[[], None], tasks: int) -> float:
            return wall_seconds(partial(all_of, task, tasks))

        measured(wait, 2 * workers)
        yield measured


def against_loky(tasks: int = 200, rounds: int = 5) -> Ratio:
    """Tasks a second that keep a processor busy: the same function, and as many worker processes, on both sides."""
    with local(WORKERS) as ours, loky(WORKERS) as theirs:
        ratio, a, b = in_turn(partial(theirs, work, tasks), partial(ours, work, tasks), rounds)
        _, c, d = in_turn(partial(theirs, nothing, tasks), partial(ours, nothing, tasks), rounds)
    detail = f"{tasks / b:.0f} against {tasks / a:.0f} a second; no-ops {tasks / d:.0f} against {tasks / c:.0f}"
    what = f"tasks a second that add up half a million squares, {WORKERS} local processes against loky alone"
    return Ratio(what, ratio, 0.7, detail, at_least=True)


def sixteen_slots(tasks: int = 20, rounds: int = 3) -> Ratio:
    """How many times sooner 16 slots finish with tasks that wait for 100 ms than one slot with the same tasks."""
    with local(1) as one, local(16) as sixteen:
        ratio, a, b = in_turn(partial(one, wait, tasks), partial(sixteen, wait, 16 * tasks), rounds)
    detail = f"{tasks} tasks in {a:.2f} s with one, {16 * tasks} in {b:.2f} s with 16"
    return Ratio("tasks that wait for 100 ms, 16 slots sooner than one", 16 * ratio, 14, detail, at_least=True)


def main() -> None:
    for measure in (against_loky, sixteen_slots):
        print(measure(), flush=True)
