"""Several schedulers on one PostgreSQL: each DAG has one of them, and what a dead one leaves the others take."""

from collections import Counter
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etlkit.claims import MOST_BUSY, Pulse, SharedClaims
from etlkit.clock import SimulatedClock, SystemClock
from etlkit.config import settings as config
from etlkit.executors.sequential import SequentialExecutor
from etlkit.runs import trigger_run
from etlkit.scheduler import Scheduler
from etlkit.servers import wait_until
from etlkit.store import Store, instant
from tests.conformance.conftest import _emptied_postgres
from tests.engine import DAY, HOUR, SECOND, START, Do, HandExecutor, make_dag

DAGS = ("a", "b", "c", "d")
THRESHOLD = 10 * SECOND
"""[scheduler] scheduler_health_check_threshold, as it is by default."""


def hourly(dag_id, **kwargs):
    return make_dag(dag_id, "x >> y", schedule="@hourly", catchup=True, max_active_runs=2, **kwargs)


class Team:
    """Schedulers that share a database and a clock."""

    def __init__(self, url, make=hourly, *, executor=SequentialExecutor):
        self.url, self.make, self.executor = url, make, executor
        self.clock, self.members, self.store = SimulatedClock(START), [], Store(url)
        self.opened, self.fast_clocks = [self.store], []

    def join(self, dag_ids=DAGS, *, fast=0 * SECOND):
        """Another scheduler; its clock may be ahead of the others'."""
        store, clock = Store(self.url), self.clock
        if fast:
            clock = SimulatedClock(self.clock.now() + fast)
            self.fast_clocks.append(clock)
        scheduler = Scheduler(store, clock, self.executor(), claims=SharedClaims(store))
        for dag_id in dag_ids:
            scheduler.add_dag(self.make(dag_id))
        self.members.append(scheduler)
        self.opened.append(store)
        return scheduler

    def leave(self, scheduler):
        """As by kill -9: its connection is closed, and nothing said."""
        self.members.remove(scheduler)
        scheduler.store.close()

    def settle(self):
        """Let all go on until nothing changes any more at this instant."""
        while sum(member.tick() for member in self.members):
            pass

    def sleep(self, time):
        for clock in (self.clock, *self.fast_clocks):
            clock.sleep_until(clock.now() + time)

    def pass_time(self, time=2 * THRESHOLD):
        """Let all show that they are alive while time passes."""
        for _ in range(int(time / SECOND)):
            self.sleep(SECOND)
            self.settle()

    def owners(self):
        return [sorted(member.claims.mine) for member in self.members]

    def close(self):
        for store in self.opened:
            store.close()

    def tries(self, dag_ids=DAGS):
        """How many runs each DAG has, and how often each try number and state is there."""
        runs = Counter(run.dag_id for run in self.store.runs())
        tasks = [task for run in self.store.runs() for task in self.store.task_instances(run.id)]
        return [runs[dag_id] for dag_id in dag_ids], Counter((task.try_number, task.state) for task in tasks)


@pytest.fixture
def new_team():
    made = []

    def new_team(*args, **kwargs):
        made.append(Team(_emptied_postgres(), *args, **kwargs))
        return made[-1]

    yield new_team
    for team in made:
        team.close()


def test_schedulers_share_the_dags_and_make_each_run_once(new_team):
    team = new_team()
    team.join(), team.join()
    team.settle()
    assert sorted(team.owners()[0] + team.owners()[1]) == list(DAGS)
    team.pass_time(3 * SECOND)
    assert [len(dags) for dags in team.owners()] == [2, 2]
    team.sleep(6 * HOUR)
    team.settle()
    assert team.tries() == ([6] * 4, {(1, "success"): 48})


def test_what_a_dead_scheduler_had_goes_on_within_seconds(new_team):
    team = new_team(executor=HandExecutor)
    dead, heir = team.join(), team.join()
    team.pass_time(3 * SECOND)
    team.sleep(HOUR - 3 * SECOND)
    for member in team.members:
        member.tick(), member.tick()
    assert [dead.executor.tasks, heir.executor.tasks] == [["x", "x"]] * 2
    team.leave(dead)
    team.pass_time(2 * SECOND)
    assert sorted(heir.claims.mine) == list(DAGS)
    assert [run.state for run in team.store.runs()] == ["running"] * 4


def test_clocks_that_differ_bury_nobody(new_team):
    team = new_team()
    team.join(), team.join(fast=HOUR)
    team.pass_time(2 * THRESHOLD)
    assert [len(dags) for dags in team.owners()] == [2, 2]
    assert team.store.run_sql("SELECT state FROM job").fetchall() == [("running",)] * 2


def test_who_was_asleep_takes_nobody_else_for_dead(new_team):
    team = new_team()
    team.join(), team.join()
    team.pass_time(3 * SECOND)
    team.sleep(DAY)  # a computer on which all of them run was suspended
    team.settle()
    assert team.store.run_sql("SELECT state FROM job").fetchall() == [("running",)] * 2


def test_a_scheduler_that_slept_too_long_has_lost_its_dags_and_does_no_harm(new_team):
    team = new_team(executor=HandExecutor)
    sleeper = team.join(["a"])
    team.settle()
    other = team.join(["a"])
    team.settle()
    assert team.owners() == [["a"], []]
    team.members.remove(sleeper)
    team.pass_time()
    assert team.owners() == [["a"]]
    team.sleep(HOUR)
    sleeper.claims.is_due = lambda now: False  # it goes on in the middle of a pass
    sleeper.tick()
    assert team.store.runs() == []
    del sleeper.claims.is_due
    other.tick(), other.tick(), sleeper.tick()
    assert (other.executor.tasks, sleeper.executor.tasks) == (["x"], [])


def test_a_scheduler_that_slept_too_long_removes_no_task_that_its_old_file_has_not(new_team):
    team = new_team(executor=HandExecutor)
    sleeper = team.join(["a"])
    team.settle()
    heir = team.join(["a"])
    team.members.remove(sleeper)
    team.pass_time()
    trigger_run(team.store, heir.dags["a"].dag, now=team.clock.now())
    team.settle()
    sleeper.remove_dag("a")
    sleeper.add_dag(make_dag("a", "x"))
    sleeper.claims.is_due = lambda now: False  # it goes on in the middle of a look
    sleeper.tick()
    (run,) = team.store.runs()
    assert {task.task_id: task.state for task in team.store.task_instances(run.id)} == {"x": "queued", "y": None}


def test_one_that_joins_gets_a_share_of_what_rests(new_team):
    team = new_team()
    team.join()
    team.settle()
    team.join()
    team.pass_time(4 * SECOND)
    assert [len(dags) for dags in team.owners()] == [2, 2]


def test_what_is_busy_stays_unless_its_attempts_are_made_elsewhere(new_team):
    class Detached(HandExecutor):
        detached = True

        def adopt(self, work):
            self.submit(work)

    for executor, shares in ((HandExecutor, [4, 0]), (Detached, [2, 2])):
        team = new_team(executor=executor)
        team.join()
        team.sleep(HOUR)
        team.settle()
        team.join()
        team.pass_time(4 * SECOND)
        assert [len(dags) for dags in team.owners()] == shares
    heir = team.members[1]
    assert heir.executor.tasks == ["x", "x"]
    heir.executor.end()
    team.settle()
    assert heir.executor.tasks == ["y", "y"]


def test_dags_that_only_one_knows_are_its_own(new_team):
    team = new_team()
    team.join(["a", "b", "c"]), team.join(["d"])
    team.pass_time(4 * SECOND)
    for _ in range(4):
        team.pass_time(SECOND)
        assert team.owners() == [["a", "b", "c"], ["d"]]


def test_one_that_leaves_in_good_order_is_replaced_at_once(new_team):
    team = new_team()
    first = team.join()
    team.settle()
    first.claims.release(team.clock.now())
    team.leave(first)
    second = team.join()
    team.settle()
    assert sorted(second.claims.mine) == list(DAGS)
    jobs = team.store.run_sql("SELECT state FROM job ORDER BY id").fetchall()
    assert jobs == [("success",), ("running",)]


def test_one_that_winds_up_keeps_what_its_processes_are_at_and_nothing_else(new_team):
    class Slow(HandExecutor):
        seconds_left = 2 * THRESHOLD / SECOND

        def wait(self, seconds):
            if not self.held:
                return False
            team.pass_time(SECOND)
            self.seconds_left -= 1
            if not self.seconds_left:
                assert team.owners() == [["b"]]
                self.end()
            return True

    team = new_team(lambda dag_id: make_dag(dag_id, "x"), executor=Slow)
    leaving = team.join(["a", "b"])
    trigger_run(leaving.store, leaving.dags["a"].dag, now=START)
    team.settle()
    assert leaving.executor.tasks == ["x"]
    team.join(["a", "b"])
    team.members.remove(leaving)
    leaving.wind_up()
    team.pass_time(2 * SECOND)
    assert team.owners() == [["a", "b"]]
    assert team.tries(["a"]) == ([1], {(1, "success"): 1})


def test_a_pool_is_one_for_all(new_team):
    def in_pool(dag_id):
        return make_dag(dag_id, tasks=[Do(name, pool="narrow") for name in "xyz"])

    team = new_team(in_pool, executor=HandExecutor)
    with team.store.transaction():
        team.store.set_pool("narrow", 2)
    one, two = team.join(["a", "b"]), team.join(["a", "b"])
    team.pass_time(3 * SECOND)
    for member in team.members:
        (dag_id,) = member.claims.mine
        trigger_run(member.store, member.dags[dag_id].dag, now=team.clock.now())
    for ended in range(6):
        team.pass_time(2 * SECOND)
        assert len(one.executor.held) + len(two.executor.held) == min(2, 6 - ended)
        busy = one if one.executor.held else two
        busy.executor.end(busy.executor.tasks[0])
    team.settle()
    assert team.tries()[1] == {(1, "success"): 6}


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
def test_whatever_happens_to_schedulers_nothing_is_made_twice(new_team, data):
    team = new_team()
    asleep = []
    team.join(), team.join()
    for _ in range(data.draw(st.integers(5, 25))):
        match data.draw(st.sampled_from(["tick", "tick", "tick", "sleep", "hour", "kill", "join", "stop", "go on"])):
            case "tick" if team.members:
                data.draw(st.sampled_from(team.members)).tick()
            case "sleep":
                team.sleep(data.draw(st.sampled_from([SECOND, 3 * SECOND, 2 * THRESHOLD])))
            case "hour":
                team.sleep(HOUR)
            case "kill" if team.members:
                team.leave(data.draw(st.sampled_from(team.members)))
            case "join" if len(team.members) < 4:
                team.join()
            case "stop" if team.members:
                asleep.append(team.members.pop())
            case "go on" if asleep:
                team.members.append(asleep.pop())
    team.members += asleep
    team.join()
    team.pass_time()
    hours = int((team.clock.now() - START) / HOUR)
    runs, tasks = team.tries()
    assert runs == [hours] * 4
    assert tasks == ({(1, "success"): 8 * hours} if hours else {})


def test_the_day_is_the_same_with_one_and_with_three(new_team):
    alone, three = new_team(), None
    alone.join()
    alone.sleep(DAY)
    alone.settle()
    expected = alone.tries()
    three = new_team()
    three.join(), three.join(), three.join()
    three.sleep(DAY)
    three.settle()
    assert three.tries() == expected


def test_a_scheduler_that_is_busy_for_long_shows_that_it_is_alive(new_team):
    team, clock = new_team(), SystemClock()
    with config({"ETLKIT__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "0.01"}):
        claims = SharedClaims(team.store)
        claims.renew(clock.now(), (), ())
        with Pulse(claims, clock):
            assert wait_until(lambda: beat_of(team) > claims.renewed, 30)
        before = beat_of(team)
        claims.renewed = clock.now() - timedelta(seconds=2 * MOST_BUSY)  # it hangs
        with Pulse(claims, clock) as pulse:
            assert not wait_until(lambda: beat_of(team) > before, 0.2)
        assert not pulse._thread.is_alive()


def beat_of(team):
    """The heartbeat of the only scheduler."""
    return instant(team.store.run_sql("SELECT latest_heartbeat FROM job").fetchone()[0])
