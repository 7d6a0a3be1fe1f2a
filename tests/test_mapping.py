"""Dynamic task mapping: what it expands to, how its instances run, and that a run ends as that of the unrolled DAG."""

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etlkit import xcom
from etlkit.dag import DAG
from etlkit.errors import AirflowFailException, AirflowSkipException, DagError
from etlkit.mapping import Product
from etlkit.operators.bash import BashOperator
from etlkit.operators.python import PythonOperator
from etlkit.rules import TRIGGER_RULES
from etlkit.store import Store
from etlkit.taskflow import task
from etlkit.why import why
from tests.engine import DAY, MINUTE, START, Do, HandExecutor, World


@task
def give(value):
    return value


@task
def echo(x):
    return x


@task
def show(x, y):
    return [x, y]


def dag_of(write, **kwargs):
    with DAG("d", start_date=START, **kwargs) as dag:
        write()
    return dag


def run_of(write, **kwargs):
    world = World(dag_of(write, **kwargs))
    world.trigger()
    return world.run_until(START + DAY)


def instances(world, task_id):
    """The task instances of a task, by map index."""
    rows = [row for row in world.store.task_instances(world.only_run().id) if row.task_id == task_id]
    return sorted(rows, key=lambda row: row.map_index)


def states(world, task_id):
    return {row.map_index: row.state for row in instances(world, task_id)}


def values(world, task_id):
    """What the instances of a task returned."""
    found = world.store.pull_xcom(world.only_run().id, task_id, "return_value")
    return [xcom.loads(text) for _, text in found]


# --- what there is one instance of ---

items = st.lists(st.integers(0, 9), max_size=3) | st.dictionaries(st.text("ab", max_size=2), st.integers(), max_size=3)


@given(st.dictionaries(st.sampled_from("xyz"), items, min_size=1))
def test_a_product_is_that_of_itertools(arguments):
    columns = [list(value.items()) if isinstance(value, dict) else value for value in arguments.values()]
    product = Product(arguments)
    assert product.literal_length == math.prod(map(len, columns))
    found = [product.values(i, {}) for i in range(product.literal_length)]
    assert found == [dict(zip(arguments, row, strict=True)) for row in itertools.product(*columns)]


@settings(max_examples=20, deadline=None)
@given(st.lists(items, min_size=2, max_size=2))
def test_results_are_mapped_over_like_literals(both):
    literal = run_of(lambda: show.expand(x=both[0], y=both[1]))
    result = run_of(lambda: show.expand(x=give(both[0]), y=give(both[1])))
    assert values(literal, "show") == values(result, "show")
    assert states(literal, "show") == states(result, "show")


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        (lambda: give([1, 2]).map(lambda x: x + 1), [2, 3]),
        (lambda: give([1, 2]).map(lambda x: x + 1).map(lambda x: -x), [-2, -3]),
        (lambda: give({"a": 1}).map(lambda pair: pair[1]), [1]),
        (lambda: give([1, 2, 3]).zip(give(["a", "b"])), [(1, "a"), (2, "b")]),
        (lambda: give([1, 2]).zip(["a"], fillvalue=0), [(1, "a"), (2, 0)]),
        (lambda: give([1]).concat(give([2, 3]), [4]), [1, 2, 3, 4]),
        (lambda: echo.override(task_id="first").expand(x=give([1, 2])), [1, 2]),
        (lambda: echo.override(task_id="first").expand(x=give([1, None, 2])).concat([5]), [1, 2, 5]),
    ],
)
def test_results_made_from_results(argument, expected):
    world = run_of(lambda: echo.expand(x=argument()))
    assert values(world, "echo") == expected
    as_one = run_of(lambda: echo(argument()))
    assert values(as_one, "echo") == [expected]


def test_partial_arguments_and_those_of_the_operator_are_shared():
    def write():
        echo.partial().expand(x=[1])
        show.override(task_id="s", retries=3, pool="default_pool").partial(y=give(7)).expand(x=[1, 2])

    world = run_of(write)
    assert values(world, "s") == [[1, 7], [2, 7]]
    assert [row.max_tries for row in instances(world, "s")] == [3, 3]


def test_operators_are_mapped_too():
    def write():
        PythonOperator.partial(task_id="p", python_callable=lambda x: x).expand(op_args=[[1], [2]])
        PythonOperator.partial(task_id="k", python_callable=lambda x: x).expand_kwargs(
            task(lambda: [{"op_args": ["{{ ds }}"]}, {"op_kwargs": {"x": 4}}], task_id="source")()
        )

    world = run_of(write)
    assert values(world, "p") == [1, 2]
    assert values(world, "k") == ["{{ ds }}", 4]  # what comes from a result is no template


def test_an_instance_cannot_change_the_item_of_another():
    @task
    def spoil(x, y):
        x.append(y)
        return x

    world = run_of(lambda: spoil.expand(x=give([[0]]), y=[1, 2]))
    assert values(world, "spoil") == [[0, 1], [0, 2]]


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda: echo.expand(), "at least one argument"),
        (lambda: echo.expand([1]), "by name"),
        (lambda: echo.expand(z=[1]), "has no argument 'z'"),
        (lambda: echo.expand(x="abc"), "takes a list, a dict or the result of a task, not 'abc'"),
        (lambda: echo.expand(x={1, 2}), "takes a list, a dict"),
        (lambda: echo.expand(x=give({"a": []})["a"]), "whole result of 'give'"),
        (lambda: echo.expand_kwargs({"x": 1}), "list of dicts, not a dict"),
        (lambda: echo.expand_kwargs([1]), "1 is none"),
        (lambda: echo.override(trigger_rule="always").expand(x=give([1])), "'always' cannot wait"),
        (lambda: give([1]).map(str), "no built-in class"),
        (lambda: give([1]).map(echo), "plain function"),
        (lambda: BashOperator.partial(task_id="b").expand(bash_comand=["x"]), "did you mean 'bash_command'"),
        (lambda: BashOperator.partial(task_id="b").expand(retries=[1, 2]), "'retries' is the same for all instances"),
        (lambda: BashOperator.partial(task_id="b", env={}).expand(env=[{}]), "passed to partial"),
        (lambda: BashOperator.partial(bash_command="x"), "needs the argument task_id"),
        (lambda: BashOperator.partial(task_id="b", bash_comand="x"), "did you mean 'bash_command'"),
    ],
)
def test_what_cannot_be_mapped_is_refused_when_it_is_written(write, message):
    with pytest.raises(DagError, match=message):
        dag_of(write)


# --- how the instances run ---


def test_nothing_to_map_over_is_one_skipped_instance():
    world = run_of(lambda: [echo.expand(x=[]) >> Do("after"), show.expand(x=give([]), y=[1])])
    assert states(world, "echo") == states(world, "show") == {-1: "skipped"}
    assert world.states()["after"] == "skipped"


@pytest.mark.parametrize("value", [None, "abc", 5])
def test_the_task_before_fails_if_its_result_cannot_be_mapped_over(value):
    world = run_of(lambda: echo.expand(x=give(value)))
    assert world.states() == {"give": "failed", "echo": "upstream_failed"}
    assert "must return a list or dict" in world.tasks()["give"].error


def test_instances_are_tried_again_one_by_one():
    @task(retries=2, retry_delay=MINUTE)
    def flaky(x, ti=None):
        if ti.try_number <= x:
            raise ValueError(x)
        return x

    world = run_of(lambda: give(flaky.expand(x=[0, 1, 2, 3])))
    assert [(row.state, row.try_number) for row in instances(world, "flaky")] == [
        ("success", 1),
        ("success", 2),
        ("success", 3),
        ("failed", 3),
    ]
    assert world.states()["give"] == "upstream_failed"


def test_what_comes_after_pulls_a_list_or_one_instance():
    @task
    def pull(ti=None):
        return [ti.xcom_pull("echo"), ti.xcom_pull("echo", map_indexes=1), ti.xcom_pull("echo", map_indexes=[2, 0])]

    world = run_of(lambda: echo.expand(x=[5, 6, 7]) >> pull())
    assert values(world, "pull") == [[[5, 6, 7], 6, [7, 5]]]


def test_few_at_once_in_one_run():
    executor = HandByIndex()
    limited = echo.override(max_active_tis_per_dagrun=2)
    world = World(dag_of(lambda: limited.expand(x=[1, 2, 3])), executor=executor)
    runs = [world.trigger(logical_date=START + day * DAY) for day in range(2)]
    world.tick()
    assert sorted(executor.indexes) == [0, 0, 1, 1]
    kinds = why(world.store, world.dags["d"], task_id="echo", run_id=runs[0].run_id, map_index=2, now=START).kinds
    assert kinds == ["max_active_tis_per_dagrun"]
    executor.end_all()
    world.tick()
    assert executor.indexes == [2, 2]


class HandByIndex(HandExecutor):
    """Holds each instance of a mapped task."""

    def submit(self, work):
        self.held[work.run.dag_id, work.run.run_id, work.task.task_id, work.map_index] = work

    @property
    def indexes(self):
        return [key[3] for key in self.held]

    def end_all(self):
        for key in list(self.held):
            self.ended.append(self.runner.run(self.held.pop(key)))


def test_logs_are_kept_for_each_instance():
    @task
    def say(x):
        print("I got", x)

    world = run_of(lambda: say.expand(x=["a", "b"]))
    logs, run = world.scheduler.runner.logs, world.only_run()
    from etlkit.logs import LogKey

    assert ["I got a" in logs.read(LogKey("d", run.run_id, "say", i, 1)) for i in (0, 1)] == [True, False]


def test_a_mapped_task_waits_for_the_past_as_one():
    @task(depends_on_past=True)
    def fails_on_the_second_day(x, ds):
        if (x, ds) == (1, "2013-01-02"):
            raise AirflowFailException

    world = World(dag_of(lambda: fails_on_the_second_day.expand(x=[1, 2]), schedule="@daily", catchup=True))
    world.run_until(START + 3 * DAY)
    found = [[row.state for row in world.store.task_instances(run.id)] for run in world.runs()]
    assert found == [["success", "success"], ["failed", "success"], [None, None]]


# --- runs that are interrupted, cleared, edited ---


def test_a_new_scheduler_goes_on_with_what_is_expanded():
    executor = HandByIndex(slots=2)
    world = World(dag_of(lambda: give.override(task_id="end")(echo.expand(x=give([1, 2, 3])))), executor=executor)
    world.trigger()
    world.tick()
    executor.end_all()  # the source
    world.tick()
    assert states(world, "echo") == {0: "queued", 1: "queued", 2: "scheduled"}
    world.restart()
    world.run_until(START + DAY)
    assert values(world, "end") == [[1, 2, 3]]


def test_an_expansion_is_undone_whole_if_its_transaction_is(monkeypatch):
    world = World(dag_of(lambda: echo.expand(x=give([1, 2, 3]))))
    world.trigger()
    create = Store.create_task_instances

    def dies(self, run_pk, rows):
        create(self, run_pk, rows)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Store, "create_task_instances", dies)
        with pytest.raises(KeyboardInterrupt):
            world.run_until(START + DAY)
    assert states(world, "echo") == {-1: None}
    world.restart()
    world.run_until(START + DAY)
    assert states(world, "echo") == {0: "success", 1: "success", 2: "success"}


@pytest.mark.parametrize(
    ("later", "expected"),
    [
        ([1], {0: "success", 1: "removed"}),
        ([1, 2, 3], {0: "success", 1: "success", 2: "success"}),
        ([], {0: "skipped", 1: "removed"}),
    ],
)
def test_cleared_with_its_source_it_has_as_many_instances_as_there_are_then(later, expected):
    lists = iter([[1, 2], later])
    world = run_of(lambda: echo.expand(x=task(lambda: next(lists), task_id="source")()) >> Do("after"))
    assert states(world, "echo") == {0: "success", 1: "success"}
    world.clear(world.only_run())
    world.run_until(START + 2 * DAY)
    assert states(world, "echo") == expected
    world.pause(paused=False)  # which makes the scheduler read everything anew
    world.clear(world.only_run(), "after")
    world.run_until(START + 3 * DAY)
    assert states(world, "echo") == expected
    assert world.only_run().state == "success"


def test_only_failed_instances_run_again():
    tries = itertools.count()

    @task
    def fails_once(x):
        if x == 2 and next(tries) == 0:
            raise AirflowFailException
        return x

    world = run_of(lambda: give(fails_once.expand(x=[1, 2, 3])))
    assert states(world, "fails_once") == {0: "success", 1: "failed", 2: "success"}
    world.clear(world.only_run(), only_failed=True)
    world.run_until(START + 2 * DAY)
    assert [row.try_number for row in instances(world, "fails_once")] == [1, 2, 1]
    assert values(world, "give") == [[1, 2, 3]]


def test_a_dag_that_is_edited_while_it_runs():
    executor = HandByIndex()
    world = World(dag_of(lambda: Do("before") >> echo.expand(x=[1, 2])), executor=executor)
    world.trigger()
    world.tick()
    world.replace(dag_of(lambda: Do("before") >> echo(1)))  # mapped no more
    world.tick()
    assert states(world, "echo") == {-1: None, 0: "removed", 1: "removed"}
    world.replace(dag_of(lambda: Do("before") >> echo.expand(x=[1, 2, 3])))
    world.tick()
    executor.end_all()
    world.tick()
    executor.end_all()
    world.tick()
    assert world.only_run().state == "success"


# --- the same as without mapping ---

ENDS = {"success": None, "failed": AirflowFailException("no"), "skipped": AirflowSkipException("no")}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(sorted(ENDS)), min_size=1, max_size=4), st.sampled_from(sorted(TRIGGER_RULES)))
def test_a_run_ends_as_that_of_the_unrolled_dag(ends, rule):
    @task
    def end(state):
        if ENDS[state] is not None:
            raise ENDS[state].with_traceback(None)

    def mapped():
        end.expand(state=ends) >> Do("after", trigger_rule=rule) >> Do("last")

    def unrolled():
        [Do(f"end{i}", ENDS[state]) for i, state in enumerate(ends)] >> Do("after", trigger_rule=rule) >> Do("last")

    worlds = run_of(mapped), run_of(unrolled)
    ours, theirs = (world.states() for world in worlds)
    assert list(states(worlds[0], "end").values()) == [theirs[f"end{i}"] for i in range(len(ends))]
    assert (ours["after"], ours["last"]) == (theirs["after"], theirs["last"])
    assert worlds[0].only_run().state == worlds[1].only_run().state


# --- sources ---


def test_a_task_is_mapped_over_what_there_is_if_instances_of_its_source_failed():
    @task
    def fails_on_two(x):
        if x == 2:
            raise AirflowFailException
        return x

    world = run_of(lambda: echo.override(trigger_rule="all_done").expand(x=fails_on_two.expand(x=[1, 2, 3])))
    assert values(world, "echo") == [1, 3] and states(world, "echo") == {0: "success", 1: "success"}


def test_a_source_without_an_instance_leaves_nothing_to_map_over():
    world = run_of(lambda: echo.expand(x=give.override(start_date=START + DAY)([1, 2])))
    assert world.states() == {"echo": "skipped"}


# --- names of instances, arguments given twice


@pytest.mark.parametrize(
    "write",
    [
        lambda: echo.override(map_index_template="{{ x }}-{{ ti.map_index }}").expand(x=["a", "b"]),
        lambda: PythonOperator.partial(
            task_id="echo", python_callable=echo.function, map_index_template="{{ x }}-{{ ti.map_index }}"
        ).expand(op_kwargs=[{"x": "a"}, {"x": "b"}]),
        lambda: task.bash(
            lambda x: f"echo {x}", task_id="echo", map_index_template="{{ x }}-{{ ti.map_index }}"
        ).expand(x=["a", "b"]),
        lambda: task.sensor(lambda x: True, task_id="echo", map_index_template="{{ x }}-{{ ti.map_index }}").expand(
            x=["a", "b"]
        ),
    ],
)
def test_the_arguments_of_a_function_name_its_instances(write):
    assert [row.rendered_map_index for row in instances(run_of(write), "echo")] == ["a-0", "b-1"]


def test_a_task_that_fails_is_named_all_the_same():
    @task(map_index_template="{{ x }} {{ y }}")
    def fail(x, y):
        raise ValueError

    (row,) = instances(run_of(lambda: fail.partial(y=1).expand(x=["a"])), "fail")
    assert (row.state, row.rendered_map_index) == ("failed", "a 1")


@pytest.mark.parametrize("call", [lambda f: f.expand(x=[1]), lambda f: f(1)])
def test_a_name_that_cannot_be_rendered_fails_the_task(call):
    world = run_of(lambda: call(echo.override(map_index_template="{{ nope }}")))
    (row,) = instances(world, "echo")
    assert (row.state, row.rendered_map_index) == ("failed", None)
    assert "'nope' is undefined" in row.error


@pytest.mark.parametrize("records", [[{"x": 1}, {"x": 2, "y": 3}], None], ids=["literal", "result"])
def test_an_item_may_not_have_what_partial_was_passed(records):
    def write(**strict):
        item_list = records or give([{"x": 1}, {"x": 2, "y": 3}])
        show.partial(y=1).expand_kwargs(item_list, **strict)

    world = run_of(write)
    assert states(world, "show") == {0: "success", 1: "failed"}
    assert "'y' was passed to partial() already" in instances(world, "show")[1].error
    assert values(run_of(lambda: write(strict=False)), "show") == [[1, 1], [2, 3]]


def test_an_operators_items_replace_arguments_where_that_is_asked_for():
    items = [{"bash_command": "echo $A"}, {"bash_command": "echo $A", "env": {"A": "2"}}]

    def write(**strict):
        BashOperator.partial(task_id="b", env={"A": "1"}, append_env=True).expand_kwargs(items, **strict)

    assert values(run_of(lambda: write(strict=False)), "b") == ["1", "2"]
    with pytest.raises(DagError, match="'env' was passed to partial"):
        dag_of(write)


def test_partial_takes_an_argument_once():
    with pytest.raises(DagError, match="'y' was passed to partial"):
        show.partial(y=1).partial(y=2)


def test_pulled_lists_are_flat():
    @task
    def pull(ti=None):
        return [
            ti.xcom_pull(["echo"], map_indexes=[0]),
            ti.xcom_pull(["give", "echo"]),
            ti.xcom_pull(["echo", "one"], map_indexes=[1, 0], default=9),
            ti.xcom_pull("one"),
            ti.xcom_pull("echo", map_indexes=None),
            ti.xcom_pull("give", map_indexes=None),
        ]

    def write():
        [echo.expand(x=[5, 6]), echo.override(task_id="one").expand(x=[7]), give(3)] >> pull()

    assert values(run_of(write), "pull") == [[[5], [3, 5, 6], [6, 5, 9, 7], 7, None, 3]]


def test_the_result_of_one_instance_is_passed_on_as_a_list():
    world = run_of(lambda: give(echo.expand(x=[7])))
    assert values(world, "give") == [[7]]


def test_the_context_holds_the_template_of_the_names():
    @task(map_index_template="{{ ds }}")
    def own(x, map_index_template=None):
        return map_index_template

    def write():
        own.expand(x=[1])
        BashOperator(task_id="none", bash_command="echo {{ map_index_template }}")

    world = run_of(write)
    assert values(world, "own") == ["{{ ds }}"]
    assert values(world, "none") == ["None"]
