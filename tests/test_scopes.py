"""Setups and teardowns: how they are written, when they run, what is cleared with them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networkx import ancestors, descendants

from etlkit.dag import DAG, TaskGroup, chain
from etlkit.errors import AirflowFailException, AirflowSkipException, DagError
from etlkit.operators.empty import EmptyOperator
from etlkit.operators.python import ShortCircuitOperator
from etlkit.scopes import TEARDOWN_RULE, context_wrapper
from etlkit.taskflow import setup, task, task_group, teardown
from etlkit.why import why
from tests.engine import HOUR, START, Do, World

BROKEN = AirflowFailException("broken")


def E(task_id, **arguments):
    return EmptyOperator(task_id=task_id, **arguments)


def edges(dag):
    return sorted(f"{tail} {head}" for tail, head in dag.graph.edges)


@pytest.fixture
def dag():
    with DAG("d", start_date=START) as written:
        yield written


# --- writing them ---


def test_a_block_inside_a_block(dag):
    with E("s1").as_setup() >> E("t1").as_teardown():
        E("before") >> E("w1")
        with E("s2").as_setup() >> E("t2").as_teardown():
            E("w2")
        E("w3")
    assert edges(dag) == sorted(
        ["s1 t1", "s1 before", "before w1", "w1 t1", "s1 w3", "w3 t1", "s1 s2", "s2 t2", "s2 w2", "w2 t2", "t2 t1"]
    )


def test_a_block_of_setups_finds_their_teardown_and_the_other_way_round(dag):
    chain(E("s").as_setup(), E("w"), E("t").as_teardown())
    with dag.get_task("s"):
        E("a") >> E("b")
    with dag.get_task("t"):
        E("c")
    assert edges(dag) == sorted(["s w", "w t", "s a", "a b", "b t", "s c", "c t"])


def test_a_block_of_several(dag):
    with context_wrapper([E("s1").as_setup(), E("s2").as_setup()]) as scope:
        scope.add_task(E("w"))
    assert edges(dag) == ["s1 w", "s2 w"]


def test_what_is_connected_already_hangs_by_its_first_and_last_task(dag):
    first, last = E("first"), E("last")
    with E("s").as_setup() >> E("t").as_teardown():
        first >> E("a") >> E("b") >> last
    assert edges(dag) == sorted(["s t", "first a", "a b", "b last", "s a", "b t"])


def test_a_block_whose_code_fails_draws_nothing(dag):
    s = E("s").as_setup()
    with pytest.raises(ZeroDivisionError), s:
        E("w")
        raise ZeroDivisionError
    E("free")
    assert edges(dag) == []


def test_what_follows_a_group_waits_for_no_teardown_of_it(dag):
    with TaskGroup("g") as group:
        chain(E("s").as_setup(), E("w"), E("t").as_teardown(setups=dag.get_task("g.s")))
    group >> E("after")
    assert [leaf.task_id for leaf in group.leaves] == ["g.w"]
    assert "g.w after" in edges(dag) and "g.t after" not in edges(dag)


def test_decorated_functions(dag):
    @setup
    @task(retries=2)
    def make(): ...

    @teardown(on_failure_fail_dagrun=True)
    def clear(x): ...

    made = make.override(task_id="made")()
    clear.expand(x=[1, 2])
    assert (dag.get_task("made").is_setup, dag.get_task("made").retries) == (True, 2)
    cleared = dag.get_task("clear")
    assert (cleared.is_teardown, cleared.trigger_rule, cleared.on_failure_fail_dagrun) == (True, TEARDOWN_RULE, True)
    assert made.operator is dag.get_task("made")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda: E("x").as_setup().as_teardown(), "'x' is a setup already"),
        (lambda: E("x").as_teardown().as_setup(), "'x' is a teardown already"),
        (lambda: E("x").as_teardown(setups=["s"]), "takes tasks, not 's'"),
        (lambda: E("x").__enter__(), "only setups and teardowns have a block"),
        (lambda: context_wrapper([E("x").as_setup(), E("y").as_teardown()]).__enter__(), "not of both"),
        (lambda: setup(task_group(lambda: None, group_id="g")), "a group cannot be one"),
        (lambda: teardown(task(print, trigger_rule="all_done")), "its trigger rule is always all_done_setup_success"),
    ],
)
def test_what_cannot_be_written(dag, write, message):
    with pytest.raises(DagError, match=message):
        write()


def test_what_follows_a_setup_cannot_run_without_it():
    with pytest.raises(DagError, match=r"'w' follows the setup 's'.*only be all_success, not all_done"), DAG("d"):
        E("s").as_setup() >> E("w", trigger_rule="all_done")


def test_teardowns_are_allowed_where_one_failure_ends_all():
    with DAG("d", fail_fast=True, start_date=START) as fast:
        s, w, t = Do("s"), Do("w", BROKEN), Do("t")
        s.as_setup() >> w >> t.as_teardown(setups=s)
    world = World(fast)
    run = world.trigger()
    world.scheduler.settle()
    assert world.states(run) == {"s": "success", "w": "failed", "t": "success"}


# --- running them ---


def ran(dag):
    world = World(dag)
    run = world.trigger()
    world.scheduler.settle()
    return world, run


def test_a_teardown_runs_after_a_failure_and_does_not_hide_it(dag):
    s, w, t = Do("s"), Do("w", BROKEN), Do("t", BROKEN)
    s.as_setup() >> w >> t.as_teardown(setups=s)
    world, run = ran(dag)
    assert world.states(run) == {"s": "success", "w": "failed", "t": "failed"}
    assert world.only_run().state == "failed"


@pytest.mark.parametrize(("counts", "state"), [(None, "success"), (True, "failed")])
def test_a_failed_teardown_counts_only_if_it_says_so(dag, counts, state):
    s, w, t = Do("s"), Do("w"), Do("t", BROKEN)
    s.as_setup() >> w >> t.as_teardown(setups=s, on_failure_fail_dagrun=counts)
    world, _ = ran(dag)
    assert world.only_run().state == state


def test_a_teardown_waits_for_all_that_works_within_its_setup(dag):
    order = []
    s, t = Do("s").as_setup(), Do("t", lambda c: order.append("t"))
    slow = Do("slow", ValueError("once"), lambda c: order.append("slow"), retries=1)
    s >> [Do("quick", BROKEN), slow] >> Do("join") >> t.as_teardown(setups=s)
    world, run = ran(dag)
    assert world.states(run) == {
        "s": "success",
        "quick": "failed",
        "slow": "up_for_retry",
        "join": "upstream_failed",
    } | {"t": None}
    world.run_until(START + HOUR)
    assert order == ["slow", "t"]


def test_a_short_circuit_goes_past_the_work_and_not_past_the_teardown(dag):
    s, t = Do("s").as_setup(), Do("t")
    check = ShortCircuitOperator(task_id="check", python_callable=lambda: False)
    s >> check >> Do("w") >> t.as_teardown(setups=s)
    world, run = ran(dag)
    assert world.states(run) == {"s": "success", "check": "success", "w": "skipped", "t": "success"}


def test_a_teardown_without_its_setup_has_nothing_to_do():
    with DAG("d", start_date=START) as dag:
        s = Do("s", start_date=START.replace(year=2020)).as_setup()
        s >> Do("w") >> Do("t").as_teardown(setups=s)
    world = World(dag)
    run = world.trigger(logical_date=START)
    world.scheduler.settle()
    assert world.states(run) == {"w": "success", "t": "skipped"}


ENDS = {"success": None, "failed": BROKEN, "skipped": AirflowSkipException("skip")}


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_whatever_happens_a_teardown_runs_if_and_only_if_a_setup_of_it_succeeded(data):
    ends = st.sampled_from(sorted(ENDS))
    order = []

    def does(task_id):
        step = ENDS[data.draw(ends, label=task_id)]
        return Do(task_id, (lambda c: order.append(task_id)) if step is None else step)

    with DAG("d", start_date=START) as dag:
        setups = [does(f"s{i}").as_setup() for i in range(data.draw(st.integers(1, 3)))]
        works = [does(f"w{i}") for i in range(data.draw(st.integers(1, 5)))]
        clear = does("t").as_teardown(setups=data.draw(st.lists(st.sampled_from(setups), min_size=1, unique=True)))
        for i, work in enumerate(works):
            for earlier in data.draw(st.lists(st.sampled_from([*setups, *works[:i]]), unique=True)):
                earlier >> work
            if data.draw(st.booleans()):
                work >> clear
    world, run = ran(dag)
    states = world.states(run)
    own = [s.task_id for s in clear.upstream_list if s.is_setup]
    assert None not in states.values()
    assert world.tries(run)["t"] == any(states[name] == "success" for name in own)
    if "t" in order:  # it ran, and after all the others
        assert between(dag, own).isdisjoint(order[order.index("t") :])
    for name in own:
        if states[name] != "success":
            assert between(dag, [name]).isdisjoint(order)


def between(dag, setups):
    return ancestors(dag.graph, "t") & set().union(*(descendants(dag.graph, setup) for setup in setups))


# --- again ---


@pytest.mark.parametrize(
    ("how", "cleared"),
    [
        ({"task_ids": ["w"]}, "s t w"),
        ({"task_ids": ["s"]}, "s t"),
        ({"task_ids": ["t"]}, "t"),
        ({"task_ids": ["before"]}, "before"),
        ({"task_ids": ["before"], "downstream": True}, "before s t w x"),
        ({"task_ids": ["x"], "upstream": True}, "before s t w x"),
        ({"only_failed": True}, "s t w x"),
    ],
)
def test_with_a_task_its_setups_and_teardowns_are_cleared(dag, how, cleared):
    s, w, t = Do("s"), Do("w", BROKEN), Do("t")
    Do("before") >> s.as_setup() >> w >> [t.as_teardown(setups=s), Do("x")]
    world, run = ran(dag)
    assert " ".join(sorted({row.task_id for row in world.clear(run, *how.pop("task_ids", ()), **how)})) == cleared


def test_why_a_teardown_waits_for_more_than_what_is_directly_before_it(dag):
    s, t = Do("s").as_setup(), Do("t")
    s >> [Do("quick", BROKEN), Do("slow", ValueError("once"), retries=1)] >> Do("join") >> t.as_teardown(setups=s)
    world, run = ran(dag)
    answer = why(world.store, dag, task_id="t", run_id=run.run_id, now=world.clock.now())
    assert str(answer).endswith("waits for slow (up_for_retry)")
    world.run_until(START + HOUR)
    assert world.states(run)["t"] == "success"
