"""What it costs to have much to do: many tasks in line, and a million of them on a thousand simulated nodes."""

from __future__ import annotations

import gc
from time import perf_counter, process_time

from etlkit import Nodes, SimulatedExecutor
from etlkit.clock import SimulatedClock
from etlkit.executors.simulated import lognormal
from etlkit.runs import trigger_run
from etlkit.scheduler import Scheduler
from etlkit.store import Store

from .engine import START, layers_of, micros
from .measure import Ratio, in_turn


def simulated(tasks: int, runs: int, nodes: Nodes) -> Scheduler:
    """A scheduler that has so many runs of a DAG of so many tasks to do, on simulated nodes."""
    dag = layers_of(tasks)
    dag.max_active_tasks = dag.max_active_runs = tasks * runs
    executor = SimulatedExecutor(nodes, service_time=lognormal(60), run_callables=False)
    scheduler = Scheduler(Store(), SimulatedClock(START), executor, parallelism=nodes.all_slots)
    with scheduler.store.transaction():
        scheduler.store.set_pool("default_pool", nodes.all_slots)
    scheduler.add_dag(dag)
    for number in range(runs):
        trigger_run(scheduler.store, dag, now=START, logical_date=None, run_id=f"run_{number}")
    return scheduler


def done(scheduler: Scheduler) -> int:
    """Let time pass until nothing is left to do; how many task instances succeeded."""
    scheduler.settle()
    while not scheduler.is_idle and (moment := scheduler.next_event()) is not None:
        scheduler.clock.sleep_until(moment)
        scheduler.settle()
    (counts,) = scheduler.store.run_sql("SELECT state, COUNT(*) FROM task_instance GROUP BY state").fetchall()
    assert counts[0] == "success"
    return counts[1]


def tasks_in_line(rounds: int = 3) -> Ratio:
    """Scheduler and simulation, per task: 100,000 tasks that are ready at once, for 100 slots, against 1,000."""

    def per_task(runs: int) -> float:
        scheduler = simulated(100, runs, Nodes(100))  # a layer of a hundred, so all of its tasks are ready at once
        gc.collect()
        begin = process_time()
        tasks = done(scheduler)
        return (process_time() - begin) / tasks

    # A thousand tasks are done in a moment, so their cost is that of the best of several.
    ratio, a, b = in_turn(lambda: per_task(1000), lambda: min(per_task(10) for _ in range(10)), rounds)
    return Ratio("cost per task, 100,000 tasks in line against 1,000", ratio, 1.3, micros(a, b))


def a_million() -> Ratio:
    """A million task runs on a thousand nodes that fail, each once a day; the target is two minutes."""
    nodes = Nodes(1000, mtbf=86_400.0, notice=60.0)
    begin, cpu = perf_counter(), process_time()
    scheduler = simulated(1000, 1000, nodes)
    assert done(scheduler) == 1_000_000
    minutes, cpu = (perf_counter() - begin) / 60, process_time() - cpu
    usage = scheduler.executor.usage
    detail = f"{cpu:.0f} s of one core; {usage.failures} failures, {usage.lost} attempts lost and made again"
    return Ratio("minutes for a million task runs on a thousand simulated nodes", minutes, 2.0, detail)


def main() -> None:
    for line in (tasks_in_line, a_million):
        print(line(), flush=True)


if __name__ == "__main__":
    main()
