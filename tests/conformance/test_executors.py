"""One suite for all executors: whatever makes the attempts, a DAG ends the same way and leaves the same behind.

Each executor is the real one, under the same scheduler on the same simulated clock. LocalExecutor is there twice: with
DAGs that its processes read from files, and with copies of DAGs that lie in no file. CeleryExecutor has a PostgreSQL, a
Redis and a worker.
"""

import contextlib
import itertools
import json
import shutil
import sys
from pathlib import Path
from textwrap import dedent

import cloudpickle
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from etlkit.clock import SimulatedClock
from etlkit.cluster import Cluster
from etlkit.config import Config, conf
from etlkit.dag_files import load_dag_file
from etlkit.executors import from_settings
from etlkit.executors.local import LocalExecutor
from etlkit.executors.sequential import SequentialExecutor
from etlkit.executors.simulated import Nodes, SimulatedExecutor
from etlkit.frontier import Frontier, TaskIndex
from etlkit.logs import LogKey, LogStore
from etlkit.rules import TriggerRule
from etlkit.runs import clear_run, trigger_run
from etlkit.runtime import TaskRunner
from etlkit.scheduler import Scheduler
from etlkit.servers import wait_until
from etlkit.store import LOST, Store
from tests import servers
from tests.conformance.steps import ERRORS, Step, dag_of_steps
from tests.engine import DAY, MINUTE, START

HERE = Path(__file__).parent
NUMBERS = itertools.count()


class Bench:
    """A scheduler with an executor, a database and a folder for DAG files, which runs one DAG after the other."""

    def __init__(self, executor, database, home, *, copies=False):
        self.executor, self.copies, self.dags = executor, copies, home / "dags"
        self.dags.mkdir(exist_ok=True)
        shutil.copy(HERE / "steps.py", self.dags)
        self.store, self.clock, self.logs = Store(database), SimulatedClock(START), LogStore(home / "logs")
        runner = TaskRunner(self.store, self.clock, self.logs)
        self.scheduler = Scheduler(self.store, self.clock, executor, runner=runner)

    def load(self, text):
        """The DAGs of a DAG file with this text, under names that no others have."""
        name = f"d{next(NUMBERS)}"
        file = self.dags / f"{name}.py"
        file.write_text(dedent(text).replace("DAG_ID", name))
        dags = load_dag_file(file)
        for dag in dags:
            if self.copies:
                dag.fileloc = None
                cloudpickle.register_pickle_by_value(sys.modules[dag.written_in])
            self.scheduler.add_dag(dag)
        return dags

    def run(self, text, **about):
        """Make a run of the first DAG of such a file, let a day pass, and say what became of the run."""
        dag = self.load(text)[0]
        return self.go_on(trigger_run(self.store, dag, now=self.clock.now(), logical_date=None, **about))

    def run_steps(self, these):
        return self.run(f"from steps import dag_of_steps\ndag = dag_of_steps('DAG_ID', {[*map(tuple, these)]})\n")

    def go_on(self, run):
        self.scheduler.run_until(self.clock.now() + DAY)
        assert (self.executor.in_flight, self.executor.poll(), self.executor.wait(0)) == (0, [], False)
        return Ended(self, run)

    def close(self):
        self.executor.stop()
        self.store.close()


class Ended:
    """A run as it stands. Its task instances go by their ids, with the map index if they have one."""

    def __init__(self, bench, run):
        self.bench, self.run = bench, run
        self.state = bench.store.run(run.dag_id, run.run_id).state
        rows = bench.store.task_instances(run.id)
        self.rows = {f"{row.task_id}[{row.map_index}]" if row.map_index >= 0 else row.task_id: row for row in rows}
        self.states = {name: row.state for name, row in self.rows.items()}
        self.tries = {name: row.try_number for name, row in self.rows.items()}
        self.whole = self.state, tuple(sorted((name, row.state, row.try_number) for name, row in self.rows.items()))

    def value(self, task_id):
        """What a task returned."""
        ((_, text),) = self.bench.store.pull_xcom(self.run.id, task_id, "return_value")
        return json.loads(text)

    def log(self, task_id, try_number=1):
        return self.bench.logs.read(LogKey(self.run.dag_id, self.run.run_id, task_id, -1, try_number))


# --- the executors ----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def sequential(home):
    yield Bench(SequentialExecutor(), "sqlite://", home)


@contextlib.contextmanager
def simulated(home):
    yield Bench(SimulatedExecutor(Nodes(2, slots=2), service_time=7, seed=1), "sqlite://", home)


@contextlib.contextmanager
def local(home):
    yield Bench(LocalExecutor(3), f"sqlite:///{home}/etl.db", home)


@contextlib.contextmanager
def local_with_copies(home):
    yield Bench(LocalExecutor(3), f"sqlite:///{home}/etl.db", home, copies=True)


@contextlib.contextmanager
def celery(home):
    servers.postgres(), servers.redis()  # skips, or fails in CI, where there are none
    with Cluster(workers=1, schedulers=0, slots=3) as cluster:
        conf.use(Config(cluster.home, environ={}))
        try:
            yield Bench(from_settings(), conf.get("database", "sql_alchemy_conn"), cluster.home)
        finally:
            conf.use(None)


KINDS = {each.__name__: each for each in (sequential, simulated, local, local_with_copies, celery)}


@pytest.fixture(scope="module", params=KINDS)
def bench(request, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch, KINDS[request.param](tmp_path_factory.mktemp("home")) as bench:
        patch.setattr(sys, "path", [*sys.path])
        yield bench
        bench.close()
        sys.modules.pop("steps", None)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """What all others are compared with."""
    with sequential(tmp_path_factory.mktemp("reference")) as bench:
        yield bench
        bench.close()


# --- what every executor does -----------------------------------------------------------------------------------------


def test_values_travel_and_mapped_tasks_expand_over_them(bench):
    ended = bench.run("""
        from etlkit import DAG, task
        with DAG("DAG_ID"):
            @task
            def extract():
                print("extracting")
                return [1, 2, 3]
            @task
            def double(x):
                return 2 * x
            @task
            def total(xs):
                return sum(xs)
            total(double.expand(x=extract()))
    """)
    assert ended.states == dict.fromkeys(["extract", "double[0]", "double[1]", "double[2]", "total"], "success")
    assert (ended.state, ended.value("total")) == ("success", 12)
    assert "extracting\n" in ended.log("extract")


def test_a_task_is_told_the_same(bench):
    ended = bench.run(
        """
        from etlkit import DAG, task
        with DAG("DAG_ID", params={"airport": "JFK"}):
            @task
            def told(ti, dag_run, params, clock, **context):
                return [ti.try_number, ti.map_index, dag_run.conf, params["airport"], dag_run.run_id, ti.state]
            told()
        """,
        run_id="r1",
        conf={"airport": "LGA"},
    )
    assert ended.value("told") == [1, -1, {"airport": "LGA"}, "LGA", "r1", "running"]


def test_a_failed_try_is_made_again_after_its_delay(bench):
    begin = bench.clock.now()
    ended = bench.run_steps([Step("load", ("fail", "fail", "ok"), retries=2)])
    assert (ended.state, ended.tries, ended.value("load")) == ("success", {"load": 3}, 3)
    assert ended.rows["load"].start_date >= begin + 2 * MINUTE
    assert [row[:4] for row in bench.store.history(ended.run.id)] == [
        ("load", -1, 1, "failed"),
        ("load", -1, 2, "failed"),
    ]
    assert "ValueError: fail in try 1" in ended.log("load", 1)


def test_the_ends_of_attempts(bench):
    ended = bench.run_steps(
        [
            Step("fails", ("fail",), retries=1),
            Step("gives_up", ("give up",), retries=1),
            Step("skips", ("skip",)),
            Step("after_failure", after=("fails",)),
            Step("after_skip", after=("skips",)),
            Step("cleans_up", after=("fails", "skips"), trigger_rule="all_done"),
        ]
    )
    assert ended.states == {
        "fails": "failed",
        "gives_up": "failed",
        "skips": "skipped",
        "after_failure": "upstream_failed",
        "after_skip": "skipped",
        "cleans_up": "success",
    }
    assert ended.tries == {"fails": 2, "gives_up": 1, "skips": 1, "after_failure": 0, "after_skip": 0, "cleans_up": 1}
    assert ended.state == "failed"
    assert ended.rows["fails"].error == "ValueError: fail in try 2"


def test_a_branch_skips_what_it_does_not_follow(bench):
    ended = bench.run("""
        from etlkit import DAG, task
        with DAG("DAG_ID"):
            @task.branch
            def choose():
                return "dry"
            @task
            def rain(): ...
            @task
            def dry(): ...
            choose() >> [rain(), dry()]
    """)
    assert ended.states == {"choose": "success", "rain": "skipped", "dry": "success"}


def test_a_sensor_that_gives_its_slot_back_goes_on_with_the_same_try(bench):
    ended = bench.run("""
        from datetime import timedelta
        from etlkit import DAG, task
        with DAG("DAG_ID"):
            @task.sensor(mode="reschedule", poke_interval=60)
            def wait(ti, clock):
                print("poked")
                return clock.now() - ti.first_start_date >= timedelta(minutes=5)
            wait()
    """)
    assert (ended.states, ended.tries) == ({"wait": "success"}, {"wait": 1})
    assert ended.log("wait").count("poked") >= 5


def test_a_teardown_runs_whatever_happens(bench):
    ended = bench.run("""
        from etlkit import DAG, setup, task, teardown
        with DAG("DAG_ID"):
            @setup
            def rent(): ...
            @task
            def use():
                raise ValueError("broken")
            @teardown
            def give_back(): ...
            made = rent()
            made >> use() >> give_back().as_teardown(setups=made)
    """)
    assert ended.states == {"rent": "success", "use": "failed", "give_back": "success"}
    assert ended.state == "failed"


def test_a_callback_is_called_once_for_each_end(bench):
    ended = bench.run("""
        from etlkit import DAG, task
        def retried(context):
            print("retried:", context["exception"])
        def failed(context):
            print("failed:", context["exception"])
        with DAG("DAG_ID"):
            @task(retries=1, retry_delay=60, on_retry_callback=retried, on_failure_callback=failed)
            def load(ti):
                raise ValueError(f"try {ti.try_number}")
            load()
    """)
    assert wait_until(lambda: "failed:" in ended.log("load", 2), 30)  # the end is in the database before it is told
    assert [ended.log("load", 1).count(word) for word in ("retried: try 1", "failed:")] == [1, 0]
    assert [ended.log("load", 2).count(word) for word in ("retried:", "failed: try 2")] == [0, 1]


def test_a_pool_of_one_slot_lets_one_in_at_a_time(bench, tmp_path):
    bench.store.set_pool("narrow", 1)
    ended = bench.run(
        """
        import os
        import time
        from etlkit import DAG, task
        with DAG("DAG_ID"):
            @task(pool="narrow")
            def enter(n, params):
                os.mkdir(params["room"])  # an error if somebody is there
                time.sleep(0.02)
                os.rmdir(params["room"])
            enter.expand(n=[1, 2, 3, 4])
        """,
        conf={"room": str(tmp_path / "room")},
    )
    assert ended.state == "success"


def test_a_task_starts_a_run_of_another_dag_and_waits_for_it(bench):
    ended = bench.run("""
        from etlkit import DAG, task
        from etlkit.operators import EmptyOperator, TriggerDagRunOperator
        with DAG("DAG_ID"):
            other = {"trigger_dag_id": "DAG_ID_other", "wait_for_completion": True, "deferrable": False}
            TriggerDagRunOperator(task_id="start", poke_interval=1, **other)
        with DAG("DAG_ID_other"):
            @task
            def work():
                return "done"
            work()
    """)
    (other,) = bench.store.runs(f"{ended.run.dag_id}_other")
    assert (ended.state, other.state) == ("success", "success")


def test_a_task_that_takes_too_long_is_ended(bench):
    ended = bench.run("""
        import time
        from datetime import timedelta
        from etlkit import DAG, task
        with DAG("DAG_ID"):
            @task(execution_timeout=timedelta(seconds=0.2))
            def hang():
                time.sleep(60)
            hang()
    """)
    assert ended.states == {"hang": "failed"}
    assert ended.rows["hang"].error.startswith("AirflowTaskTimeout: hang ran longer than its execution_timeout of 0:00")


def test_what_is_cleared_runs_again_as_the_next_try(bench):
    ended = bench.run_steps([Step("a"), Step("b", after=("a",))])
    dag = bench.scheduler.entry(ended.run.dag_id).dag
    row = bench.store.run(ended.run.dag_id, ended.run.run_id)
    clear_run(bench.store, dag, row, now=bench.clock.now(), task_ids=["b"])
    again = bench.go_on(row)
    assert (again.state, again.tries, again.value("b")) == ("success", {"a": 1, "b": 2}, 2)


@pytest.mark.parametrize("bench", ["local", "local_with_copies", "celery"], indirect=True)
def test_an_attempt_whose_process_dies_is_made_again_and_uses_up_no_retry(bench):
    ended = bench.run("""
        import os, signal
        from etlkit import DAG, task
        with DAG("DAG_ID"):
            @task
            def die(ti):
                if ti.try_number == 1:
                    os.kill(os.getpid(), signal.SIGKILL)
            die()
    """)
    assert (ended.state, ended.tries) == ("success", {"die": 2})
    ((*_, error),) = bench.store.history(ended.run.id)
    assert error == LOST


# --- any DAG ----------------------------------------------------------------------------------------------------------

TRIES = st.lists(st.sampled_from(["ok", *ERRORS]), min_size=1, max_size=3).map(tuple)
RULES = st.sampled_from([str(rule) for rule in TriggerRule])


@st.composite
def dags(draw):
    """Steps of a DAG: each after some of those before it, with what its tries do, a rule and retries."""
    names = [f"t{k}" for k in range(draw(st.integers(1, 6)))]
    before = [draw(st.sets(st.sampled_from(names[:k]))) if k else set() for k in range(len(names))]
    return [
        Step(name, draw(TRIES), tuple(sorted(after)), draw(RULES), draw(st.integers(0, 2)))
        for name, after in zip(names, before, strict=True)
    ]


def own_end(step):
    """How a task ends once it may run, and in which try."""
    for number in range(1, step.retries + 2):
        what = step.tries[min(number, len(step.tries)) - 1]
        if what != "fail":
            break
    return {"ok": "success", "skip": "skipped"}.get(what, "failed"), number


def possible_ends(steps):
    """All ways in which a run may end, each as the run's state and (state, tries) of each task.

    There may be several: of a task that was skipped and one that failed, the first to end decides what becomes of an
    `all_success` task after both. That is Airflow's rule. So every order is gone through, with tasks that end at once.
    """
    index = TaskIndex(dag_of_steps("d", steps))
    steps = {step.task_id: step for step in steps}
    own = [own_end(steps[task_id]) for task_id in index.ids]
    start = Frontier(index)
    todo, seen, ends = [(start, start.undecided(), frozenset())], set(), set()
    while todo:
        frontier, candidates, ran = todo.pop()
        for position in frontier.decide(candidates).runnable:
            frontier.states[position] = "running"
        running = [k for k, state in enumerate(frontier.states) if state == "running"]
        if not running:
            tries = [own[k][1] if k in ran else 0 for k in range(len(own))]
            by_task = sorted(zip(index.ids, frontier.states, tries, strict=True))
            ends.add((frontier.run_state(), tuple(by_task)))
        for ending in itertools.chain(*(itertools.combinations(running, n + 1) for n in range(len(running)))):
            after = Frontier(index, frontier.states)
            changed = [k for position in ending for k in after.finish(position, own[position][0])]
            if (node := (tuple(after.states), ran.union(ending))) not in seen:
                seen.add(node)
                todo.append((after, changed, node[1]))
    return ends


def test_the_order_may_matter():
    steps = [Step("fails", ("fail",)), Step("skips", ("skip",)), Step("last", after=("fails", "skips"))]
    first = (("fails", "failed", 1), ("last", "upstream_failed", 0), ("skips", "skipped", 1))
    second = (("fails", "failed", 1), ("last", "skipped", 0), ("skips", "skipped", 1))
    assert possible_ends(steps) == {("failed", first), ("success", second)}


EXAMPLES = {"CeleryExecutor": 15, "LocalExecutor": 40}
"""How many DAGs an executor is tried with; the others with 100."""


def test_any_dag_ends_as_with_the_sequential_executor(bench, reference):
    """The same way, that is, where the order in which tasks end makes no difference; else in one that is right, too."""

    @settings(max_examples=EXAMPLES.get(type(bench.executor).__name__, 100))
    @given(dags())
    def ends_alike(steps):
        ends = possible_ends(steps)
        found = [reference.run_steps(steps).whole, bench.run_steps(steps).whole]
        event(f"{len(ends)} possible ends")
        assert set(found) <= ends
        assert len(ends) > 1 or found[0] == found[1]

    ends_alike()
