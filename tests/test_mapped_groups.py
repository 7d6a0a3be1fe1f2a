"""Mapped groups: each instance of a group runs by itself, and a run ends as that of the unrolled DAG."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etlkit.config import Config, conf
from etlkit.dag import TaskGroup
from etlkit.errors import AirflowFailException, AirflowSkipException, DagError
from etlkit.operators.bash import BashOperator
from etlkit.operators.empty import EmptyOperator
from etlkit.rules import TRIGGER_RULES
from etlkit.taskflow import task, task_group
from etlkit.why import why
from tests.engine import DAY, HOUR, START, Do, HandExecutor, World
from tests.test_mapping import dag_of, echo, give, instances, run_of, show, states, values


@task
def double(x):
    return x * 2


# --- what an instance sees ---


def grouped(n):
    return double.override(task_id="second")(echo.override(task_id="first")(n))


@pytest.mark.parametrize("items", [[1, 2, 3], {"a": 1}, []])
@pytest.mark.parametrize("dynamic", [False, True])
def test_each_task_sees_the_results_of_its_own_map_index(items, dynamic):
    world = run_of(
        lambda: give(task_group(grouped).expand(n=give.override(task_id="list")(items) if dynamic else items))
    )
    columns = list(items.items()) if isinstance(items, dict) else items
    assert values(world, "grouped.first") == columns
    assert values(world, "grouped.second") == [x * 2 for x in columns]
    assert values(world, "give") == ([[x * 2 for x in columns]] if items else [])
    assert states(world, "grouped.second") == (dict.fromkeys(range(len(items)), "success") or {-1: "skipped"})


def test_products_partial_arguments_and_records():
    @task_group
    def g(x, y=7):
        show(x, [y])

    def write():
        g.override(group_id="product").expand(x=[1, 2], y=["ab"])
        g.override(group_id="product2").expand(x=[1, 2], y=give(["a", "b"]))
        g.override(group_id="shared").partial(y=5).expand(x=[1, 2])
        g.override(group_id="records").expand_kwargs([{"x": 1}, {"x": 2, "y": 3}])
        g.override(group_id="results").partial(y=0).expand_kwargs(give([{"x": 1}, {"x": 2}]))

    world = run_of(write)
    assert values(world, "product.show") == [[1, ["ab"]], [2, ["ab"]]]
    assert values(world, "product2.show") == [[1, ["a"]], [1, ["b"]], [2, ["a"]], [2, ["b"]]]
    assert values(world, "shared.show") == [[1, [5]], [2, [5]]]
    assert values(world, "records.show") == [[1, [7]], [2, [3]]]
    assert values(world, "results.show") == [[1, [0]], [2, [0]]]


def test_results_from_outside_are_whole_and_made_results_work_inside():
    @task_group
    def g(n, other):
        mine = give.override(task_id="mine")([n, 10])
        show.override(task_id="both")(mine.map(lambda x: -x), other)

    def write():
        first = g.override(group_id="a").partial(other=give([9])).expand(n=[1, 2])
        assert isinstance(first, TaskGroup)
        g.override(group_id="b").partial(other=echo.expand(x=[5, 6])).expand(n=give.override(task_id="list")([3]))

    world = run_of(write)
    assert values(world, "a.both") == [[[-1, -10], [9]], [[-2, -10], [9]]]
    assert values(world, "b.both") == [[[-3, -10], [5, 6]]]


def test_arguments_reach_the_templates_of_any_operator_and_name_the_instances():
    @task_group
    def g(word):
        with TaskGroup("inner"):
            BashOperator(task_id="say", bash_command=word, map_index_template="{{ task.bash_command }}")

    world = run_of(lambda: g.expand(word=task(lambda: ["echo one", "echo {{ ds }}"], task_id="words")()))
    assert values(world, "g.inner.say") == ["one", "{{ ds }}"]  # what a task returned is no template
    assert [row.rendered_map_index for row in instances(world, "g.inner.say")] == ["echo one", "echo {{ ds }}"]


def test_a_task_can_be_mapped_over_what_a_mapped_group_returned():
    world = run_of(lambda: double.override(task_id="again").expand(x=task_group(grouped).expand(n=give([1, 2]))))
    assert values(world, "again") == [4, 8]


def test_an_item_without_an_argument_fails_its_own_instance():
    @task_group
    def g(x):
        echo(x)

    world = run_of(lambda: g.expand_kwargs(give([{"x": 1}, {}])))
    assert states(world, "g.echo") == {0: "success", 1: "failed"}
    assert "the mapped group needs 'x', and item 1 has none" in instances(world, "g.echo")[1].error


# --- what is refused ---


@task_group
def one(n):
    echo(n)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda: one.expand(), "at least one argument"),
        (lambda: one.expand([1]), "takes its arguments by name"),
        (lambda: one.expand(m=[1]), r"expand\(\): one\(\) has no argument 'm'"),
        (lambda: one.expand(n=1), r"expand\(n=...\) takes a list, a dict or the result"),
        (lambda: one.partial(n=1).expand(n=[1]), "'n' was passed to partial"),
        (lambda: one.partial(m=1), r"partial\(\): one\(\) has no argument 'm'"),
        (lambda: one.expand_kwargs([{"m": 1}]), r"expand_kwargs\(\): one\(\) has no argument 'm'"),
        (lambda: task_group(lambda **k: None, group_id="g").expand_kwargs([{}]), r"neither \* nor \*\*"),
        (
            lambda: task_group(lambda n: echo.expand(x=[1]), group_id="g").expand(n=[1]),
            "'echo' is mapped inside .* 'g'",
        ),
        (lambda: task_group(lambda n: echo.expand(x=n), group_id="g").expand(n=[1]), "over its argument 'n'"),
        (lambda: task_group(lambda n: one.expand(n=[1]), group_id="g").expand(n=[1]), "'one' is mapped inside .* 'g'"),
        (lambda: task_group(lambda n: [echo(x) for x in n], group_id="g").expand(n=[1]), "cannot be looped over"),
        (lambda: task_group(lambda n: echo(n["a"]), group_id="g").expand(n=[1]), "look at its 'a' inside a task"),
        (
            lambda: task_group(lambda n: Do("a", trigger_rule="always"), group_id="g").expand(n=give([1])),
            "'g.a': trigger rule 'always' cannot wait",
        ),
    ],
)
def test_what_cannot_be_written(write, message):
    with pytest.raises(DagError, match=message):
        dag_of(write)


def test_a_result_to_map_over_can_be_too_long():
    conf.use(Config(environ={"ETLKIT__CORE__MAX_MAP_LENGTH": "3"}))
    try:
        world = run_of(lambda: [one.expand(n=give([1, 2, 3, 4])), echo.expand(x=[1, 2, 3, 4])])
    finally:
        conf.use(None)
    assert world.states()["give"] == "failed" and states(world, "one.echo") == {-1: "upstream_failed"}
    assert "returned 4 items; [core] max_map_length is 3" in world.tasks()["give"].error
    assert set(states(world, "echo").values()) == {"success"}  # what stands in the DAG file is not limited


# --- how the instances run ---


def test_an_instance_waits_for_its_own_index_alone():
    @task_group
    def g(n):
        Do("a") >> Do("b")

    executor = HandExecutor()
    world = World(dag_of(lambda: g.expand(n=[1, 2]) >> Do("after")), executor=executor)
    world.trigger()
    world.tick()
    assert states(world, "g.a") == {0: "queued", 1: "queued"}
    work = world.scheduler.executor.held.popitem()[1]
    executor.ended.append(executor.runner.run(work))
    world.tick()
    world.tick()
    done = work.map_index
    assert states(world, "g.b") == {done: "queued", 1 - done: None}
    answer = why(world.store, world.dags["d"], task_id="g.b", map_index=1 - done, now=world.clock.now())
    assert str(answer).endswith(f"waits for g.a[{1 - done}] (queued)")
    after = why(world.store, world.dags["d"], task_id="after", now=world.clock.now())
    assert f"g.b[{done}]" in str(after)


def test_cleared_with_its_source_a_group_has_as_many_instances_as_there_are_then():
    lists = iter([[1, 2], [1, 2, 3], [1], []])
    world = run_of(lambda: task_group(grouped).expand(n=task(lambda: next(lists), task_id="list")()) >> Do("after"))
    for day, expected in enumerate(
        [
            {0: "success", 1: "success"},
            {0: "success", 1: "success", 2: "success"},
            {0: "success", 1: "removed", 2: "removed"},
            {0: "skipped", 1: "removed", 2: "removed"},
        ],
        start=2,
    ):
        assert states(world, "grouped.first") == states(world, "grouped.second") == expected
        world.clear(world.only_run())
        if day < 5:
            world.run_until(START + day * DAY)


def test_only_what_failed_runs_again_and_what_waited_for_it():
    broken = {1}

    @task_group
    def g(n):
        echo(task(lambda n: 1 / (n not in broken), task_id="div")(n))

    world = run_of(lambda: g.expand(n=give([0, 1, 2])))
    assert states(world, "g.div") == {0: "success", 1: "failed", 2: "success"}
    broken.clear()
    world.clear(world.only_run(), only_failed=True)
    world.run_until(START + 2 * DAY)
    assert [row.try_number for row in instances(world, "g.div")] == [1, 2, 1]
    assert values(world, "g.echo") == [1.0, 1.0, 1.0]


def test_a_branch_outside_skips_the_whole_group():
    choose = task.branch(lambda: "other", task_id="choose")

    def write():
        choose() >> [
            one.expand(n=[1, 2]),
            one.override(group_id="late").expand(n=give([1])),
            EmptyOperator(task_id="other"),
        ]

    world = run_of(write)
    assert states(world, "one.echo") == {0: "skipped", 1: "skipped"}
    assert states(world, "late.echo") == {-1: "skipped"}


# --- the same as without mapping ---

ENDS = {"x": None, "f": AirflowFailException("no"), "s": AirflowSkipException("no"), "r": ValueError("again")}
RULES = sorted(TRIGGER_RULES.keys() - {"always", "all_done_setup_success"})


class End(Do):
    """Ends as `ends` says for the map index; an `r` fails once."""

    def __init__(self, task_id, ends, **kwargs):
        super().__init__(task_id, **kwargs)
        self.ends, self.retries, self.retry_delay = ends, 1, HOUR

    def execute(self, context):
        step = ENDS[self.ends[max(context["ti"].map_index, 0)]]
        if step is not None and not (isinstance(step, ValueError) and context["ti"].try_number > 1):
            raise step.with_traceback(None)


@st.composite
def plans(draw):
    """A group as (length, tasks with rule, ends and edges, setup and teardown or not), and what is before and after."""
    length = draw(st.integers(1, 3))
    ends = st.text("xxfsr", min_size=length, max_size=length)
    size = draw(st.integers(1, 4))
    scoped = size > 2 and draw(st.booleans())
    tasks = []
    for i in range(size):
        marked = scoped and i in (0, size - 1)
        rule = "all_success" if marked or (scoped and i == 1) else draw(st.sampled_from(RULES))
        edges = draw(st.sets(st.integers(0, i - 1))) if i else set()
        edges = edges - {0} if scoped and i > 1 else {0} if scoped and i == 1 else edges
        outside = draw(st.booleans()) and not marked
        tasks.append((rule, draw(ends), edges | ({size - 2} if scoped and i == size - 1 else set()), outside))
    return length, tasks, scoped, draw(st.sampled_from("xxf")), draw(st.sampled_from(RULES))


def written(plan, before, after, index=None):
    """The tasks of one group: mapped, or (`index`) the one of an unrolled group."""
    _, tasks, scoped, _, _ = plan
    made = []
    for i, (rule, ends, edges, outside) in enumerate(tasks):
        made.append(End(f"t{i}", ends if index is None else ends[index] * 3, trigger_rule=rule))
        for earlier in edges:
            made[earlier] >> made[i]
        if outside:
            before >> made[i]
    if scoped:
        made[-1].as_teardown(setups=made[0])
    made[-1 - scoped] >> after


@settings(max_examples=100, deadline=None)
@given(plans(), st.booleans())
def test_a_run_ends_as_that_of_the_unrolled_dag(plan, dynamic):
    length, tasks, _, end, rule = plan

    def mapped():
        before, after = End("before", end), Do("after", trigger_rule=rule)
        items = give(list(range(length))) if dynamic else list(range(length))
        task_group(lambda n: written(plan, before, after), group_id="g").expand(n=items)

    def unrolled():
        before, after = End("before", end), Do("after", trigger_rule=rule)
        for index in range(length):
            with TaskGroup(f"g{index}") as group:
                written(plan, before, after, index)
            if dynamic:
                give.override(task_id=f"give{index}")([]) >> group

    worlds = run_of(mapped), run_of(unrolled)
    theirs = worlds[1].states()
    for i in range(len(tasks)):
        found = states(worlds[0], f"g.t{i}")
        expected = {index: theirs[f"g{index}.t{i}"] for index in range(length)}
        assert found == expected or (found.keys() == {-1} and set(expected.values()) == set(found.values()))
    assert worlds[0].only_run().state == worlds[1].only_run().state
    assert worlds[0].states()["after"] == theirs["after"]


@settings(max_examples=40, deadline=None)
@given(plans(), st.booleans())
def test_a_scheduler_that_forgets_everything_after_each_pass_comes_to_the_same(plan, dynamic):
    def mapped():
        before, after = End("before", plan[3]), Do("after", trigger_rule=plan[4])
        items = give(list(range(plan[0]))) if dynamic else list(range(plan[0]))
        task_group(lambda n: written(plan, before, after), group_id="g").expand(n=items)

    undisturbed, disturbed = run_of(mapped), World(dag_of(mapped))
    disturbed.trigger()
    for _ in range(30):
        disturbed.scheduler.tick()
        disturbed.restart()
    disturbed.run_until(START + DAY)
    ours, theirs = (
        {(row.task_id, row.map_index): (row.state, row.try_number) for row in world.store.task_instances(1)}
        for world in (disturbed, undisturbed)
    )
    assert ours == theirs
    assert disturbed.only_run().state == undisturbed.only_run().state


def test_with_an_instance_its_own_setup_and_teardown_run_again():
    broken = {1}

    @task_group
    def g(n):
        with EmptyOperator(task_id="make").as_setup() >> EmptyOperator(task_id="clear").as_teardown():
            task(lambda n: 1 / (n not in broken), task_id="work")(n)

    world = run_of(lambda: g.expand(n=[0, 1, 2]))
    cleared = world.clear(world.only_run(), only_failed=True)
    assert {(row.task_id, row.map_index) for row in cleared} == {("g.make", 1), ("g.work", 1), ("g.clear", 1)}
    broken.clear()
    world.run_until(START + 2 * DAY)
    assert states(world, "g.work") == {0: "success", 1: "success", 2: "success"}
    assert [row.try_number for row in instances(world, "g.clear")] == [1, 2, 1]
