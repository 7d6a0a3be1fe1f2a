"""The pure decision: whatever the DAG, the rules and the order in which tasks end, it is what the rules say."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etlkit.dag import DAG
from etlkit.errors import AirflowSkipException
from etlkit.events import TaskEvent
from etlkit.frontier import Frontier, TaskIndex
from etlkit.rules import TRIGGER_RULES, VERDICT_STATE, UpstreamCounts, Verdict, evaluate
from etlkit.states import FINISHED
from etlkit.timetables import CronDataIntervalTimetable
from tests.engine import DAY, HOUR, Do, World, at, make_dag, run_once

OUTCOMES = {"success": None, "failed": ValueError("no"), "skipped": AirflowSkipException("no")}


@st.composite
def dags(draw, most=8):
    """A DAG of a few tasks in which each has a rule and, in `outcomes`, the way it ends if it runs."""
    size = draw(st.integers(1, most))
    rules = draw(st.lists(st.sampled_from(sorted(TRIGGER_RULES)), min_size=size, max_size=size))
    outcomes = draw(st.lists(st.sampled_from(sorted(OUTCOMES)), min_size=size, max_size=size))
    with DAG("d", start_date=at(1)) as dag:
        tasks = [Do(f"t{n}", OUTCOMES[outcomes[n]], trigger_rule=rules[n]) for n in range(size)]
        for below in range(1, size):
            for above in draw(st.sets(st.integers(0, below - 1), max_size=3)):
                tasks[above] >> tasks[below]
    return dag, {f"t{n}": outcome for n, outcome in enumerate(outcomes)}


def naive(index, states):
    """What the rules say of every task without a state, asked again and again until nothing more follows."""
    states, runnable, changed = list(states), set(), True
    while changed:
        changed, runnable = False, set()
        for i, above in enumerate(index.upstream):
            if states[i] is None:
                verdict = evaluate(index.tasks[i].trigger_rule, UpstreamCounts.of([states[k] for k in above]))
                if verdict is Verdict.RUN:
                    runnable.add(i)
                elif verdict is not Verdict.WAIT:
                    states[i], changed = VERDICT_STATE[verdict], True
    return states, runnable


@given(dags(), st.data())
def test_step_by_step_it_decides_what_looking_at_everything_would(given_dag, data):
    dag, outcomes = given_dag
    index = TaskIndex(dag)
    frontier = Frontier(index)
    decisions = frontier.decide(frontier.undecided())
    running = set(decisions.runnable)
    while True:
        states, runnable = naive(index, frontier.states)
        assert frontier.states == states
        assert running == runnable
        anew = Frontier(index, states)
        assert set(anew.decide(anew.undecided()).runnable) == runnable, "after a restart"
        assert [anew.counts(i) for i in range(len(index))] == [frontier.counts(i) for i in range(len(index))]
        if not running:
            break
        done = data.draw(st.sampled_from(sorted(running)))
        decisions = frontier.decide(frontier.finish(done, outcomes[index.ids[done]]))
        running = (running - {done}) | set(decisions.runnable)
    assert all(state in FINISHED for state in frontier.states), "no rule waits for ever"
    assert frontier.run_state() in ("success", "failed")


@given(dags(most=6))
@settings(max_examples=60)
def test_the_scheduler_ends_in_the_states_that_follow_from_how_tasks_ended(given_dag):
    dag, outcomes = given_dag
    world = run_once(dag)
    index = TaskIndex(dag)
    states, _ = naive(index, [None] * len(index))
    ended = [e for e in world.trace.events if isinstance(e, TaskEvent) and e.old == "running"]
    for event in ended:
        i = index.position[event.task_id]
        assert (states[i], event.new) == (None, outcomes[event.task_id])
        states[i] = event.new
        states, _ = naive(index, states)
    assert world.states() == dict(zip(index.ids, states, strict=True))
    leaves = [index.position[task.task_id] for task in dag.leaves]
    failed = any(states[i] in ("failed", "upstream_failed") for i in leaves)
    assert world.only_run().state == ("failed" if failed else "success")


def frontier_of(edges, rules=(), states=None):
    dag = make_dag(edges=edges, tasks=[Do(name, trigger_rule=rule) for name, rule in dict(rules).items()])
    index = TaskIndex(dag)
    return Frontier(index, states and [states.get(name) for name in index.ids])


def test_a_settled_task_settles_what_follows_from_it():
    frontier = frontier_of("a >> b >> c >> d, c >> e", {"e": "all_done"})
    decisions = frontier.decide(frontier.finish(0, "skipped"))
    named = [(frontier.index.ids[i], state) for i, state in decisions.settled]
    assert named == [("b", "skipped"), ("c", "skipped"), ("d", "skipped")]
    assert [frontier.index.ids[i] for i in decisions.runnable] == ["e"]


@pytest.mark.parametrize("unfinished", ["scheduled", "queued", "running", "up_for_retry", "up_for_reschedule", None])
def test_what_has_not_ended_counts_as_open(unfinished):
    frontier = frontier_of("a >> c, b >> c", states={"a": "success", "b": unfinished})
    assert frontier.decide([2]).runnable == []
    assert frontier.run_state() is None


def test_a_task_that_was_removed_holds_nobody_up():
    frontier = frontier_of("a >> c, b >> c", states={"a": "success", "b": "removed"})
    assert frontier.decide(frontier.undecided()).runnable == [2]


def test_what_cannot_be_decided_yet_is_not_even_looked_at():
    frontier = frontier_of("a >> b >> c >> d, x >> y", {"y": "always"})
    assert [frontier.index.ids[i] for i in frontier.undecided()] == ["a", "x", "y"]


def test_a_dag_without_tasks_has_nothing_to_decide_and_succeeds():
    frontier = Frontier(TaskIndex(make_dag()))
    assert (frontier.decide(frontier.undecided()), frontier.run_state()) == (([], []), "success")


def with_setup_and_teardown(**teardown):
    """setup >> work >> check >> teardown, and setup >> teardown; `after` follows check."""
    dag = make_dag(edges="setup >> work >> check >> teardown, setup >> teardown, check >> after")
    dag.get_task("setup").is_setup = True
    task = dag.get_task("teardown")
    task.is_teardown, task.trigger_rule = True, "all_done_setup_success"
    for name, value in teardown.items():
        setattr(task, name, value)
    return TaskIndex(dag)


@pytest.mark.parametrize(
    ("failed", "fails_run", "state"),
    [
        ("teardown", False, "success"),
        ("teardown", True, "failed"),
        ("after", False, "failed"),
        ("check", False, "success"),
    ],
)
def test_a_teardown_counts_for_the_run_only_if_it_says_so(failed, fails_run, state):
    index = with_setup_and_teardown(on_failure_fail_dagrun=fails_run)
    states = ["failed" if task_id == failed else "success" for task_id in index.ids]
    assert Frontier(index, states).run_state() == state


def test_what_only_teardowns_follow_is_a_leaf():
    dag = make_dag(edges="a >> clean")
    dag.get_task("clean").is_teardown = True
    assert TaskIndex(dag).deciding == [0]
    only = make_dag(edges="clean")
    only.get_task("clean").is_teardown = True
    assert TaskIndex(only).deciding == [0]


@pytest.mark.parametrize(("setup", "settled"), [("failed", "upstream_failed"), ("skipped", "skipped")])
def test_what_a_setup_was_for_does_not_run_without_it(setup, settled):
    frontier = Frontier(with_setup_and_teardown())
    frontier.decide(frontier.undecided())
    decisions = frontier.decide(frontier.finish(frontier.index.position["setup"], setup))
    assert {frontier.index.ids[i] for i, _ in decisions.settled} == {"work", "check", "after", "teardown"}
    assert {state for _, state in decisions.settled} == {settled}


@given(dags(most=6), st.lists(st.integers(0, 7), max_size=6), st.data())
@settings(max_examples=60)
def test_dropping_the_scheduler_after_any_pass_changes_nothing(given_dag, cuts, data):
    dag, _ = given_dag
    for task in dag.tasks:
        task.retries, task.retry_delay = data.draw(st.integers(0, 1)), data.draw(st.sampled_from([0 * DAY, HOUR]))
        task.depends_on_past = data.draw(st.booleans())
        task.max_active_tis_per_dag = data.draw(st.sampled_from([None, 1]))
    dag.timetable, dag.catchup, dag.max_active_runs = CronDataIntervalTimetable("@daily", "UTC"), True, 2
    undisturbed, disturbed = World(dag, now=at(4)), World(dag, now=at(4))
    undisturbed.run_until(at(4, 12))
    for cut in cuts:
        for _ in range(cut):
            disturbed.scheduler.tick()
        assert disturbed.restart() == []
    disturbed.run_until(at(4, 12))
    for world in (undisturbed, disturbed):
        assert len(world.runs()) <= 3
        assert len(set(world.dates())) == len(world.dates())
    assert [(run.run_id, run.state, run.start_date, run.end_date) for run in undisturbed.runs()] == [
        (run.run_id, run.state, run.start_date, run.end_date) for run in disturbed.runs()
    ]
    for one, other in zip(undisturbed.runs(), disturbed.runs(), strict=True):
        assert (undisturbed.states(one), undisturbed.tries(one)) == (disturbed.states(other), disturbed.tries(other))
