"""Simulated nodes: what happens to attempts on them, and that the scheduler makes the best of it."""

import os
import subprocess
import sys
from datetime import timedelta
from itertools import accumulate
from math import factorial
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etlkit import AirflowSkipException, Lab, Nodes, SimulatedExecutor, SystemClock
from etlkit.dag import DAG
from etlkit.errors import ConfigError
from etlkit.events import TaskEvent
from etlkit.executors.simulated import exponential, lognormal, seconds
from etlkit.operators import EmptyOperator
from etlkit.rules import TRIGGER_RULES
from etlkit.sensors.date_time import DateTimeSensor
from etlkit.states import FINISHED
from etlkit.store import LOST, instant
from etlkit.timetables import EventsTimetable
from tests.engine import START, Do, World, make_dag

SECOND = timedelta(seconds=1)


def world(dag, nodes=1, *, world_kwargs=None, **how):
    """One run of a DAG on simulated nodes, when nothing is left to do."""
    executor = SimulatedExecutor(nodes, **how)
    found = World(dag, executor=executor, **{"parallelism": 10**6, **(world_kwargs or {})})
    found.trigger(dag.dag_id)
    return until_idle(found)


def until_idle(world):
    scheduler = world.scheduler
    scheduler.settle()
    while not scheduler.is_idle and (moment := scheduler.next_event()) is not None:
        world.clock.sleep_until(moment)
        scheduler.settle()
    return world


def times(world):
    """When each task began and ended, in seconds from the start."""
    return {
        task_id: tuple((moment - START).total_seconds() for moment in (row.start_date, row.end_date))
        for task_id, row in world.tasks().items()
    }


def wide(count, **kwargs):
    """A DAG of so many tasks that wait for nobody."""
    with DAG("d", start_date=START, **{"max_active_tasks": 10**6, **kwargs}) as dag:
        for number in range(count):
            EmptyOperator(task_id=f"t{number}")
    return dag


def layered(*, width=6, layers=4, **kwargs):
    with DAG("d", start_date=START, max_active_tasks=10**6) as dag:
        above = []
        for layer in range(layers):
            row = [Do(f"l{layer}_{i}", **kwargs) for i in range(width)]
            for i, task in enumerate(row):
                task << [above[j] for j in {i, (i + 1) % width} if above]
            above = row
    return dag


# --- one attempt ------------------------------------------------------------------------------------------------------


def test_an_attempt_takes_its_service_time_on_a_node_and_each_slot_makes_one():
    found = world(wide(3), Nodes(2), service_time=60)
    assert times(found) == {"t0": (0, 60), "t1": (0, 60), "t2": (60, 120)}
    hosts = found.store.run_sql("SELECT task_id, hostname FROM task_instance ORDER BY id").fetchall()
    assert hosts == [("t0", "node-1"), ("t1", "node-2"), ("t2", "node-1")]
    assert found.only_run().state == "success"


def test_delays_come_before_and_after_and_startup_is_within():
    found = world(
        make_dag("d", "a >> b"),
        Nodes(1, startup=100),
        service_time=10,
        task_startup=5,
        queue_delay=3,
        network_delay=1,
        poll_interval=0,
    )
    # On its way until 4, the node is up at 100; the scheduler hears of the end one second after it.
    assert times(found) == {"a": (100, 115), "b": (120, 135)}
    assert found.only_run().end_date == START + 136 * SECOND


def test_the_scheduler_looks_at_whole_multiples_of_the_poll_interval():
    exact = times(world(make_dag("d", "a >> b >> c"), service_time=7, poll_interval=0))
    polled = times(world(make_dag("d", "a >> b >> c"), service_time=7, poll_interval=5))
    assert exact == {"a": (0, 7), "b": (7, 14), "c": (14, 21)}
    assert polled == {"a": (0, 7), "b": (10, 17), "c": (20, 27)}, "a task ends when it ends, whoever looks"


def test_a_task_really_runs_and_what_it_sleeps_adds_to_its_time():
    def sleep(context):
        context["clock"].sleep(30)
        return context["ti"].hostname, context["clock"].now()

    def read(context):
        return context["ti"].xcom_pull("sleep")

    found = world(make_dag("d", "sleep >> read", tasks=[Do("sleep", sleep), Do("read", read)]), service_time=60)
    assert times(found) == {"sleep": (0, 90), "read": (90, 150)}
    (xcom,) = found.store.pull_xcom(found.only_run().id, "read", "return_value")
    assert "node-1" in xcom[1]


def test_a_failure_is_retried_after_its_delay_and_ends_when_the_attempt_does():
    failing = Do("a", KeyError("no"), 1, retries=1, retry_delay=timedelta(seconds=100))
    found = world(make_dag("d", tasks=[failing]), service_time=60)
    assert found.states() == {"a": "success"}
    assert found.story("up_for_retry") == [(START + 60 * SECOND, "a")]
    assert times(found) == {"a": (160, 220)}


def test_execution_timeout_counts_in_simulated_time():
    slow = Do("slow", execution_timeout=timedelta(seconds=30), retries=1, retry_delay=timedelta(seconds=1))
    quick = Do("quick", execution_timeout=timedelta(seconds=60))
    found = world(make_dag("d", tasks=[slow, quick]), Nodes(1, slots=2), service_time=60)
    assert found.states() == {"slow": "failed", "quick": "success"}
    assert times(found) == {"slow": (31, 61), "quick": (0, 60)}
    assert "execution_timeout" in found.tasks()["slow"].error


def test_attempts_that_are_only_accounted_for_run_nothing():
    def never(context):
        raise AssertionError("called")

    dag = make_dag("d", tasks=[Do("a", never, on_success_callback=never, on_execute_callback=never)])
    assert world(dag, run_callables=False).states() == {"a": "success"}


def test_a_sensor_gives_its_slot_back_between_two_looks():
    sensor = DateTimeSensor(
        task_id="wait", target_time=START + 100 * SECOND, mode="reschedule", poke_interval=timedelta(seconds=50)
    )
    found = world(make_dag("d", tasks=[sensor, Do("other")]), service_time=10)
    assert found.states() == {"wait": "success", "other": "success"}
    assert times(found)["other"] == (10, 20)
    assert found.executor.usage.attempts == 4


def test_what_is_cleared_while_it_runs_is_made_again_and_counted_once():
    found = World(make_dag("d", "a >> b"), executor=SimulatedExecutor(2, service_time=60))
    run = found.trigger()
    found.run_until(START + 30 * SECOND)
    assert found.states() == {"a": "running", "b": None}
    found.clear(run, "a")
    until_idle(found)
    assert times(found) == {"a": (30, 90), "b": (90, 150)}
    assert found.tries() == {"a": 2, "b": 1}


def test_a_trigger_in_between_disturbs_nothing_that_runs():
    found = World(make_dag("d", "a"), executor=SimulatedExecutor(4, service_time=60))
    first = found.trigger(run_id="first", logical_date=None)
    found.run_until(START + 30 * SECOND)
    second = found.trigger(run_id="second", logical_date=None)
    until_idle(found)
    assert [found.row(run).end_date - START for run in (first, second)] == [60 * SECOND, 90 * SECOND]
    assert found.executor.usage.attempts == 2


def test_another_scheduler_has_what_the_nodes_of_the_first_did_made_again():
    found = World(make_dag("d", "a, b"), executor=SimulatedExecutor(1, service_time=60))
    run = found.trigger()
    found.run_until(START + 30 * SECOND)
    assert found.states() == {"a": "running", "b": "scheduled"}
    found.restart(SimulatedExecutor(2, service_time=60))
    until_idle(found)
    assert found.states(run) == {"a": "success", "b": "success"}
    assert found.tries(run) == {"a": 2, "b": 1}


def test_ctrl_c_in_a_task_ends_that_attempt_and_what_else_runs_is_made_again():
    dag = make_dag("d", tasks=[Do("b"), Do("a", KeyboardInterrupt(), 1, retries=1, retry_delay=SECOND)])
    found = World(dag, executor=SimulatedExecutor(Nodes(1, slots=2), service_time=60))
    found.trigger()
    with pytest.raises(KeyboardInterrupt):
        found.scheduler.settle()
    until_idle(found)
    assert found.states() == {"a": "success", "b": "success"}
    assert found.tries() == {"a": 2, "b": 2}
    assert found.executor.in_flight == found.executor.running == 0
    assert found.executor.free_slots() == 2


@pytest.mark.parametrize("when", range(0, 60, 7))
def test_ctrl_c_at_any_moment_loses_no_task_and_counts_none_twice(patient, when):
    found = World(
        layered(width=4, layers=3), executor=SimulatedExecutor(Nodes(3, mtbf=300, mttr=60), service_time=lognormal(60))
    )
    found.trigger()
    cursor, left = found.store.cursor, iter(range(10 + when))

    class Interrupted:
        """The database's cursor, until the moment has come."""

        def execute(self, *args):
            if next(left, None) is None:
                found.store.cursor = cursor
                raise KeyboardInterrupt
            return cursor.execute(*args)

        def __getattr__(self, name):
            return getattr(cursor, name)

    found.store.cursor = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        until_idle(found)
    until_idle(found)
    assert set(found.states().values()) == {"success"}
    assert found.only_run().state == "success"
    assert found.executor.in_flight == 0


def test_a_lab_says_where_its_tasks_run():
    with Lab(start="2013-01-01", executor=SimulatedExecutor(Nodes(1000, slots=1))) as lab:
        assert repr(lab).splitlines()[0] == "Lab at 2013-01-01 00:00:00 UTC; 1,000 simulated nodes of 1 slot"


# --- nodes that fail --------------------------------------------------------------------------------------------------

FLAKY = Nodes(3, slots=2, mtbf=600, mttr=120, notice=30)


def flaky(dag=None, seed=0, **how):
    """Many tasks on nodes that fail often; [core] lets a task be lost as often as it takes."""
    return world(dag or layered(width=20), FLAKY, service_time=lognormal(60), seed=seed, **how)


@pytest.fixture
def patient(monkeypatch):
    monkeypatch.setenv("ETLKIT__SCHEDULER__MAX_LOST_ATTEMPTS", "1000")


def test_what_was_lost_with_a_node_is_noticed_later_and_made_again(patient):
    found = flaky()
    usage = found.executor.usage
    assert usage.lost > 0
    assert usage.failures > 0
    lost = [event for event in found.trace.events if isinstance(event, TaskEvent) and LOST in event.reason]
    assert len(lost) == usage.lost
    assert usage.attempts == len(found.tasks()) + usage.lost
    assert sum(try_number - 1 for try_number in found.tries().values()) == usage.lost
    assert set(found.states().values()) == {"success"}
    kept = found.store.run_sql("SELECT COUNT(*) FROM task_instance_history WHERE error = :e", {"e": LOST}).fetchone()
    assert kept == (usage.lost,)
    assert 0 < usage.wasted < usage.busy


def test_no_slot_is_taken_twice(patient):
    nodes = Nodes(3, slots=2, mtbf=600, mttr=120)
    found = world(layered(width=20), nodes, service_time=lognormal(60), poll_interval=0)
    rows = found.store.run_sql(
        """SELECT hostname, start_date, end_date FROM task_instance UNION ALL
           SELECT hostname, start_date, end_date FROM task_instance_history"""
    ).fetchall()
    assert found.executor.usage.lost > 0
    for node in ("node-1", "node-2", "node-3"):
        edges = [(start, 1) for host, start, _ in rows if host == node]
        edges += [(end, -1) for host, _, end in rows if host == node]
        busy = list(accumulate(change for _, change in sorted(edges)))
        assert (min(busy), max(busy), busy[-1]) == (0, 2, 0)


def test_a_task_that_is_lost_too_often_has_failed():
    found = world(wide(1), Nodes(1, mtbf=10, mttr=1), service_time=1000)
    assert found.states() == {"t0": "failed"}
    assert found.executor.usage.lost == 4
    assert found.only_run().state == "failed"


def test_nodes_fail_while_nobody_needs_them_too():
    dag = make_dag("d", "a")
    found = World(dag, executor=SimulatedExecutor(Nodes(1, mtbf=3600, mttr=60), service_time=1))
    found.run_until(START + timedelta(days=3))
    found.trigger()
    until_idle(found)
    assert found.states() == {"a": "success"}
    assert found.executor.usage.failures > 20
    assert found.executor.next_event() is None


# --- the whole --------------------------------------------------------------------------------------------------------


def story(found):
    return [str(event) for event in found.trace.events], found.executor.usage


def test_the_same_seed_gives_the_same_story_and_another_seed_another(patient):
    assert story(flaky(seed=1)) == story(flaky(seed=1))
    assert story(flaky(seed=1)) != story(flaky(seed=2))


def test_the_story_does_not_depend_on_how_python_hashes(patient):
    code = """if True:
        import hashlib
        from tests.test_simulated import flaky, story
        print(hashlib.sha256(repr(story(flaky(seed=1))).encode()).hexdigest())
    """
    told = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1


def test_a_task_takes_as_long_on_any_nodes():
    def lasted(nodes):
        found = times(world(wide(50), nodes, service_time=exponential(60)))
        return {task_id: round(end - begin, 6) for task_id, (begin, end) in found.items()}

    assert lasted(Nodes(1)) == lasted(Nodes(5, slots=3))


@pytest.mark.parametrize("of", [exponential(60), lognormal(60, 0.5), lambda work, rng: rng.uniform(0, 120)])
def test_durations_have_the_mean_they_are_given(of):
    found = times(world(wide(2000), Nodes(2000), service_time=of, run_callables=False))
    assert sum(end - begin for begin, end in found.values()) / 2000 == pytest.approx(60, rel=0.06)


def test_ones_own_function_sees_the_attempt():
    found = world(wide(3), Nodes(3), service_time=lambda work, rng: 10 * int(work.task.task_id[1:]))
    assert times(found) == {"t0": (0, 0), "t1": (0, 10), "t2": (0, 20)}


def erlang_c(servers, load):
    """The probability that an arrival has to wait, in a queue M/M/c with so much load."""
    last = load**servers / factorial(servers) * servers / (servers - load)
    return last / (sum(load**k / factorial(k) for k in range(servers)) + last)


@pytest.mark.parametrize(("servers", "load"), [(1, 0.5), (3, 2.0), (8, 6.4)])
def test_the_queue_is_as_long_as_erlang_says(servers, load):
    """Runs are due at random and take random times: how long they wait, on average, has been known since 1917."""
    service, chance = 60.0, Random(servers)
    gaps = (seconds(chance.expovariate(load / service)) for _ in range(4000))
    due = list(accumulate(gaps, initial=START))
    timetable = EventsTimetable(due, restrict_to_events=True)
    with DAG("d", start_date=START, schedule=timetable, catchup=True, max_active_runs=10**6) as dag:
        EmptyOperator(task_id="a")
    executor = SimulatedExecutor(
        Nodes(servers), service_time=exponential(service), run_callables=False, poll_interval=0, seed=servers
    )
    found = until_idle(World(dag, executor=executor))
    rows = found.store.run_sql(
        "SELECT r.run_after, t.start_date FROM dag_run r JOIN task_instance t ON t.dag_run_id = r.id"
    ).fetchall()
    waited = [(instant(begin) - instant(run_after)).total_seconds() for run_after, begin in rows]
    assert len(waited) == len(due)
    expected = erlang_c(servers, load) * service / (servers - load)
    assert sum(waited) / len(waited) == pytest.approx(expected, rel=0.15)
    assert executor.usage.utilisation == pytest.approx(load / servers, rel=0.05)


@given(
    edges=st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=14),
    outcomes=st.lists(st.sampled_from(["ok", "fail", "skip", "retry"]), min_size=8, max_size=8),
    rules=st.lists(st.sampled_from(sorted(TRIGGER_RULES)), min_size=8, max_size=8),
    nodes=st.builds(Nodes, st.integers(1, 4), st.integers(1, 3), mtbf=st.sampled_from([None, 300.0]), mttr=st.just(60)),
    seed=st.integers(0, 1000),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_all_end_as_they_do_one_after_the_other(patient, edges, outcomes, rules, nodes, seed):
    """Conservation: every task ends, in the state that the graph, the rules and the tasks themselves say."""
    steps = {"ok": (1,), "fail": (KeyError("no"),), "skip": (AirflowSkipException(),), "retry": (KeyError("no"), 1)}

    def dag():
        with DAG("d", start_date=START, max_active_tasks=100) as made:
            tasks = [
                Do(f"t{i}", *steps[outcome], trigger_rule=rule, retries=1, retry_delay=timedelta(seconds=10))
                for i, (outcome, rule) in enumerate(zip(outcomes, rules, strict=True))
            ]
            for tail, head in edges:
                if tail < head:
                    tasks[tail] >> tasks[head]
        return made

    one_by_one = World(dag())
    one_by_one.trigger()
    until_idle(one_by_one)
    found = world(dag(), nodes, service_time=lognormal(30), seed=seed)
    assert found.states() == one_by_one.states()
    assert found.only_run().state == one_by_one.only_run().state
    assert FINISHED.issuperset(found.states().values())
    usage = found.executor.usage
    assert usage.attempts == sum(found.tries().values())
    assert 0 <= usage.wasted <= usage.busy <= usage.seconds * nodes.all_slots
    assert 0 <= usage.utilisation <= 1
    assert found.executor.in_flight == found.executor.running == found.executor.waiting == 0


# --- what cannot be ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Nodes(0), "count must be a whole number from 1 on, not 0"),
        (lambda: Nodes(2.5), "count must be a whole number from 1 on, not 2.5"),
        (lambda: Nodes(1, slots=True), "slots must be a whole number from 1 on, not True"),
        (lambda: Nodes(1, mtbf=0), "mtbf must be a number above 0 and at most 1e+09, not 0"),
        (lambda: Nodes(1, price="free"), "price must be a number from 0 to 1e+09, not 'free'"),
        (lambda: SimulatedExecutor(service_time=-1), "service_time must be a number from 0 .* not -1"),
        (lambda: SimulatedExecutor(poll_interval=float("nan")), "poll_interval must be a number .* not nan"),
        (lambda: SimulatedExecutor(seed="x"), "seed must be a whole number, not 'x'"),
        (lambda: exponential(0), "mean must be a number above 0"),
        (lambda: lognormal(60, -1), "spread must be a number from 0"),
        (lambda: world(wide(1), service_time=lambda work, rng: None), "service_time of t0 must be .* not None"),
        (lambda: Lab(clock=SystemClock(), executor=SimulatedExecutor()), "simulated nodes need a simulated clock"),
    ],
)
def test_what_means_nothing_is_refused(make, message):
    with pytest.raises(ConfigError, match=message.replace("+", r"\+")):
        make()
