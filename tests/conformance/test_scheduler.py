"""The scheduler's core on every metadata database; all of it, in memory, is in test_scheduler.py."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from etlkit.backfill import create_backfill, plan_backfill
from etlkit.errors import AirflowSkipException
from etlkit.logs import LogKey
from etlkit.rules import TriggerRule
from etlkit.runtime import Result, result_of
from etlkit.store import LOST, Store
from tests.engine import DAY, HOUR, MINUTE, START, Do, HandExecutor, Poke, World, at, make_dag

NONE_FAILED = TriggerRule.NONE_FAILED
FOLDER = Path(__file__).parents[2]


def a_bit_of_everything():
    """Retries, a sensor that reschedules, a branch, a skip, XComs and the past."""
    tasks = [
        Do("extract", OSError("down"), lambda context: context["ds"], retries=2, retry_delay=5 * MINUTE),
        Poke("wait", lambda now: now.minute >= 30, mode="reschedule", poke_interval=10 * 60),
        Do("skip", AirflowSkipException("nothing new")),
        Do(
            "load", lambda context: context["ti"].xcom_pull("extract"), depends_on_past=True, trigger_rule="none_failed"
        ),
    ]
    edges = "extract >> wait >> load, extract >> skip >> load"
    return make_dag("d", edges, tasks=tasks, schedule="@daily", catchup=True, max_active_runs=3)


@pytest.fixture
def world(url):
    """A scheduler on each kind of database."""
    made = World(a_bit_of_everything(), url=url)
    yield made
    made.store.close()


def told(world):
    """All that happened, without the numbers of rows."""
    return [str(event) for event in world.trace.events]


def test_a_month_is_the_same_everywhere(world):
    in_memory = World(a_bit_of_everything())
    for each in (world, in_memory):
        each.run_until(START + 30 * DAY + 2 * HOUR)
    assert [run.state for run in world.runs()] == ["success"] * 30
    assert told(world) == told(in_memory)
    assert [task[2:] for run in world.runs() for task in world.store.task_instances(run.id)] == [
        task[2:] for run in in_memory.runs() for task in in_memory.store.task_instances(run.id)
    ]


def test_a_scheduler_started_anew_every_six_hours_does_the_same(world):
    in_memory = World(a_bit_of_everything()).run_until(START + 5 * DAY)
    for hours in range(0, 5 * 24 + 1, 6):
        world.restart()
        world.run_until(START + hours * HOUR)
    assert [(run.run_id, run.state, run.end_date) for run in world.runs()] == [
        (run.run_id, run.state, run.end_date) for run in in_memory.runs()
    ]
    assert [world.tries(run) for run in world.runs()] == [in_memory.tries(run) for run in in_memory.runs()]


def test_a_backfill_a_pause_and_a_clear(world):
    dag = world.dags["d"]
    world.pause()
    world.run_until(at(5))
    plan = plan_backfill(dag, at(1), at(2), reprocess="completed", now=world.clock.now())
    create_backfill(world.store, dag, plan, now=world.clock.now())
    world.run_until(at(6))
    assert [(run.run_type, run.state) for run in world.runs()] == [("backfill", "success")] * 2
    world.clear(world.runs()[0], "load")
    world.pause(paused=False)
    world.run_until(at(7, 2))
    assert [run.state for run in world.runs()] == ["success"] * 6
    assert [world.tries(run)["load"] for run in world.runs()] == [2, 1, 1, 1, 1, 1]


def test_an_error_that_no_database_can_spell_ends_its_task_alone(url):
    world = World(make_dag(tasks=[Do("odd", OSError("a\0b \udc80 c")), Do("plain")]), url=url)
    world.trigger()
    world.run_until(START + DAY)
    assert {task_id: (task.state, task.error) for task_id, task in world.tasks().items()} == {
        "odd": ("failed", r"OSError: a\0b \udc80 c"),
        "plain": ("success", None),
    }
    world.store.close()


# --- killed -----------------------------------------------------------------------------------------------------------


def live(url, statement):
    """One life of a scheduler: three days, killed when the database is to execute its n-th statement."""
    store_execute, counted = Store._execute, 0

    def execute(self, sql, values):
        nonlocal counted
        counted += 1
        if counted == statement:
            os.kill(os.getpid(), signal.SIGKILL)
        return store_execute(self, sql, values)

    Store._execute = execute
    world = World(a_bit_of_everything(), url=url)
    world.scheduler.recover()
    world.run_until(START + 3 * DAY + 2 * HOUR)
    print(counted)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no signal that ends a process at once")
def test_killed_at_any_moment_it_goes_on_where_it_was(shared_url, open_store):
    command = [sys.executable, "-m", "tests.conformance.test_scheduler", shared_url]
    for statement in (5, 15, 25, 35, 45):
        killed = subprocess.run([*command, str(statement)], cwd=FOLDER, capture_output=True, text=True)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    alive = subprocess.run([*command, "0"], cwd=FOLDER, capture_output=True, text=True)
    assert alive.returncode == 0, alive.stderr
    store = open_store(shared_url)
    runs = store.runs("d")
    assert [(run.logical_date, run.state) for run in runs] == [(at(day), "success") for day in (1, 2, 3)]
    for run in runs:
        tasks = {task.task_id: task for task in store.task_instances(run.id)}
        assert {task_id: task.state for task_id, task in tasks.items()} == {
            "extract": "success", "wait": "success", "skip": "skipped", "load": "success",
        }  # fmt: skip
        assert store.pull_xcom(run.id, "load", "return_value") == [(-1, f'"{run.logical_date:%Y-%m-%d}"')]
        numbers = [(task_id, number) for task_id, _, number, *_ in store.history(run.id)]
        assert len(numbers) == len(set(numbers))
        assert all(task.try_number <= task.lost_attempts + 2 for task in tasks.values())
    assert store.run_sql("SELECT SUM(lost_attempts) FROM task_instance").fetchone()[0] > 0


# --- attempts in other processes --------------------------------------------------------------------------------------


@pytest.fixture
def hands(url):
    """A scheduler on each kind of database, whose attempts a test ends, or loses."""
    tasks = [Do("a", 1, retries=1), Do("b", 2)]
    world = World(make_dag("d", "a >> b", tasks=tasks), url=url, executor=HandExecutor())
    world.trigger()
    yield world.tick()
    world.store.close()


@pytest.mark.parametrize("begun", [True, False])
def test_an_attempt_whose_process_died_is_made_again_and_uses_up_no_retry(hands, begun):
    hands.executor.lose("a", begun=begun)
    hands.tick()
    assert hands.executor.tasks == ["a"]
    hands.executor.end("a")
    hands.tick().executor.end("b")
    hands.tick()
    assert hands.states() == {"a": "success", "b": "success"}
    assert (hands.tasks()["a"].try_number, hands.tasks()["a"].max_tries) == ((2, 2) if begun else (1, 1))
    assert [try_[2:4] for try_ in hands.store.history(hands.only_run().id)] == [(1, "failed")] * begun
    first = LogKey("d", hands.only_run().run_id, "a", -1, 1)
    assert (LOST in hands.executor.runner.logs.read(first)) == begun


def test_an_attempt_that_is_lost_too_often_has_failed(hands):
    for _ in range(4):
        hands.executor.lose("a")
        hands.tick()
    assert hands.states() == {"a": "failed", "b": "upstream_failed"}
    assert (hands.only_run().state, hands.tasks()["a"].try_number) == ("failed", 4)


def test_a_process_that_died_after_its_attempt_had_ended_loses_nothing(hands):
    (work,) = hands.executor.held.values()
    hands.executor.runner.run(work)
    hands.executor.lose("a", begun=False)
    hands.tick()
    assert (hands.states(), hands.executor.tasks) == ({"a": "success", "b": "queued"}, ["b"])


def test_an_attempt_that_was_cleared_meanwhile_is_not_lost(hands):
    (work,) = hands.executor.held.values()
    with hands.store.transaction():
        hands.executor.runner.begin(work)
    hands.clear(hands.only_run(), "a")
    hands.executor.held.clear()
    hands.executor.ended.append(Result(work, None, lost=True))
    hands.tick()
    assert (hands.executor.tasks, hands.tasks()["a"].lost_attempts) == (["a"], 0)


def test_what_an_earlier_scheduler_queued_is_handed_to_the_executor(hands):
    class Adopting(HandExecutor):
        detached = True

        def adopt(self, work):
            self.submit(work)

    (work,) = hands.executor.held.values()
    with hands.store.transaction():
        hands.executor.runner.begin(work)
    assert hands.restart(Adopting()) == []
    hands.tick()
    (adopted,) = hands.executor.held.values()
    assert (adopted.try_number, adopted.start) == (1, work.start)
    hands.executor.runner.carry_out(work)  # it ends where it runs
    hands.executor.ended.append(result_of(adopted, hands.tasks()["a"]))
    hands.executor.held.clear()
    hands.tick()
    assert (hands.states(), hands.executor.tasks) == ({"a": "success", "b": "queued"}, ["b"])


def test_what_was_found_running_and_then_fails_goes_on_with_the_next_try(hands):
    (work,) = hands.executor.held.values()
    work.task.steps = (ValueError, 1)
    with hands.store.transaction():
        hands.executor.runner.begin(work)
        hands.store.touched()
    hands.tick()
    hands.executor.held.clear()
    hands.executor.ended.append(hands.executor.runner.carry_out(work))
    hands.tick()
    hands.clock.sleep(work.task.retry_delay.total_seconds())
    hands.tick()
    assert [again.try_number for again in hands.executor.held.values()] == [2]
    assert [again.start for again in hands.executor.held.values()] == [None]


if __name__ == "__main__":
    live(sys.argv[1], int(sys.argv[2]))
