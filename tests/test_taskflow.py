"""DAGs written as functions."""

import functools
from datetime import UTC, datetime
from typing import Any, TypedDict

import pytest

from etlkit.dag import DAG, TaskGroup, XComArg
from etlkit.errors import DagError
from etlkit.operators.empty import EmptyOperator
from etlkit.operators.python import PythonOperator
from etlkit.sensors import PokeReturnValue
from etlkit.taskflow import dag, get_current_context, returns_mapping, task, task_group
from tests.one_run import OneRun

START = datetime(2013, 1, 1, tzinfo=UTC)


def edges(written):
    return sorted(f"{tail} {head}" for tail, head in written.graph.edges)


@task
def one():
    """Gives one."""
    return 1


@task
def add(x, y=10):
    return x + y


# --- tasks


def test_a_function_becomes_a_task_and_its_result_an_argument():
    with DAG("d") as written:
        result = add(one(), y=add(1))
    assert isinstance(result, XComArg)
    assert isinstance(result.operator, PythonOperator)
    assert edges(written) == ["add add__1", "one add__1"]
    assert result.operator.doc_md is None
    assert written.get_task("one").doc_md == "Gives one."
    done = OneRun(written)
    assert (done.value("one"), done.value("add"), done.value("add__1")) == (1, 11, 12)


def test_results_deep_in_arguments():
    @task
    def total(*args, **kwargs):
        return [args, kwargs["z"]]

    with DAG("d") as written:
        total([one(), {"k": one()}], z=(one(), 5))
    assert edges(written) == ["one total", "one__1 total", "one__2 total"]
    assert OneRun(written).value("total") == [([1, {"k": 1}],), (1, 5)]


def test_the_function_itself_is_still_there():
    assert add.function(1, 2) == 3
    assert add.__wrapped__(1, 2) == 3
    assert one.__doc__ == "Gives one."
    assert repr(add) == "<@task add(x, y=10)>"


def test_ids_that_are_taken_get_a_number():
    with DAG("d") as written:
        EmptyOperator(task_id="one")
        one()
        one.override(task_id="one__7")()
        one()
        one.override(task_id="other")()
        with TaskGroup("g"):
            one()
            one()
    assert list(written.task_dict) == ["one", "one__1", "one__7", "one__8", "other", "g.one", "g.one__1"]


def test_arguments_of_the_task():
    @task(task_id="named", retries=4, pool="small")
    def f():
        """What it does."""

    with DAG("d", default_args={"retries": 1, "owner": "ada"}) as written:
        f()
        f.override(task_id="other", retries=2)()
        one()
    told = {t.task_id: (t.retries, t.pool, t.owner, t.doc_md) for t in written.tasks}
    assert told == {
        "named": (4, "small", "ada", "What it does."),
        "other": (2, "small", "ada", "What it does."),
        "one": (1, "default_pool", "ada", "Gives one."),
    }


def test_a_task_outside_a_dag_joins_one_by_an_arrow():
    result = one()
    with DAG("d") as written:
        result >> EmptyOperator(task_id="a")
    assert edges(written) == ["one a"]


def test_what_the_context_fills_in_needs_no_value():
    @task
    def f(ds, x, ti=None, clock=None, **kwargs):
        return [ds, x, ti.task_id, clock is get_current_context()["clock"], kwargs["run_id"]]

    with DAG("d") as written:
        f(x=1)
        f.override(task_id="given")(x=1, ds="mine")
    done = OneRun(written)
    assert done.value("f") == ["2013-01-02", 1, "f", True, done.run.run_id]
    assert done.value("given")[0] == "mine"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: add(), r"add\(x, y=10\): missing a required argument: 'x'"),
        (lambda: add(1, 2, 3), r"add\(x, y=10\): too many positional arguments"),
        (lambda: add(1, z=3), r"add\(x, y=10\): got an unexpected keyword argument 'z'"),
        (lambda: add(1, x=3), r"add\(x, y=10\): multiple values for argument 'x'"),
        (lambda: task(lambda ds, x: 0, task_id="f")(1), "'ds' comes from the context; leave it out, or pass it as ds="),
        (lambda: task(lambda ds="x": 0, task_id="f"), "'ds' comes from the context; its default can only be None"),
        (lambda: task(lambda: 0)(), "task_id '<lambda>' may hold only letters"),
        (lambda: task("name"), r"@task takes its arguments by name: @task\(task_id=\.\.\.\)"),
        (lambda: task(5), "@task takes its arguments by name"),
        (lambda: task.branch(add.function, add.function), "@task.branch takes its arguments by name"),
        (lambda: task(task_id="f")(5), "@task goes above a function, not above 5"),
        (
            lambda: task(retires=1)(add.function),
            r"@task of add\(\) has no argument 'retires'; did you mean 'retries'\?",
        ),
        (lambda: add.override(taskid="x"), r"@task of add\(\) has no argument 'taskid'; did you mean 'task_id'\?"),
        (lambda: task(lambda self: 0, task_id="f"), "is a method; it can only be a function"),
        (lambda: one() >> add, "not a task or group; call it first"),
        (lambda: list(one()), "the result of 'one' has no value yet: it cannot be looped over here"),
        (lambda: task_group(5), "@task_group goes above a function, not above 5"),
        (lambda: task_group(lambda x: x, group_id="g")(), r"missing a required argument: 'x'"),
        (lambda: task_group(lambda: 0, group="g")(), "TaskGroup.* has no argument 'group'; did you mean 'group_id'"),
        (lambda: dag(lambda x: x)(), r"<lambda>\(x\): missing a required argument: 'x'"),
        (lambda: dag("d", scheduel=None)(lambda: 0)(), r"DAG\('d'\) has no argument 'scheduel'"),
    ],
)
def test_what_cannot_be_written(call, message):
    with DAG("d"), pytest.raises(DagError, match=message):
        call()


def test_what_only_this_kit_fills_in_may_be_ones_own():
    @task
    def f(conf="mine", warehouse="own.db"):
        return [conf, warehouse]

    with DAG("d") as written:
        f("given")
        f()
    done = OneRun(written)
    assert (done.value("f"), done.value("f__1")) == (["given", "own.db"], ["mine", "own.db"])


# --- several outputs


class Point(TypedDict):
    x: int


def annotated(kind):
    def f():
        return {"x": 1}

    f.__annotations__["return"] = kind
    return f


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (dict, True),
        (dict[str, int], True),
        ("dict[str, int]", True),
        (Point, True),
        ("Point", True),
        (list, False),
        (None, False),
        (Any, False),
        (dict | None, False),
        ("Unknown", False),
        ("not python", False),
    ],
)
def test_an_annotation_says_whether_keys_become_values(kind, expected):
    assert returns_mapping(annotated(kind)) is expected


def test_a_function_without_annotation():
    assert not returns_mapping(one.function)
    assert not returns_mapping(functools.partial(one.function))


def test_several_outputs():
    @task
    def extremes() -> dict[str, float]:
        return {"low": 1.5, "high": 2.5}

    @task(multiple_outputs=False)
    def whole() -> dict:
        return {"low": 1.5}

    @task(multiple_outputs=True)
    def plain():
        return {"a": None}

    with DAG("d") as written:
        found = extremes()
        add.override(task_id="sum")(found["low"], found["high"])
        whole()
        add.override(task_id="missing")(whole()["low"], 1)
        add.override(task_id="none", retries=0)(plain()["a"], 1)
        task(lambda x: [x], task_id="other")(found["high_too"])
    done = OneRun(written)
    assert done.pushed("extremes") == {"return_value": {"low": 1.5, "high": 2.5}, "low": 1.5, "high": 2.5}
    assert done.value("sum") == 4.0
    assert done.pushed("whole") == {"return_value": {"low": 1.5}}
    assert "task 'whole__1' pushed nothing under 'low'; set multiple_outputs=True" in done.error("missing")
    assert "NoneType" in done.error("none")
    assert done.value("other") == [None]


# --- other kinds of tasks


def test_branch_short_circuit_sensor_and_bash():
    pokes = []

    @task.branch
    def choose(x):
        return "small" if x < 5 else "big"

    @task.short_circuit(ignore_downstream_trigger_rules=False)
    def check(x):
        return x > 5

    @task.sensor(poke_interval=5, timeout=60, mode="reschedule")
    def wait(x) -> PokeReturnValue:
        pokes.append(x)
        return PokeReturnValue(len(pokes) == 3, "there")

    @task.bash(env={"NAME": "Ada"})
    def greet(word, ds):
        return f"echo {word}, $NAME on {ds}"

    @task.bash
    def empty():
        return " "

    @task.python
    def show(x):
        return x

    with DAG("d") as written:
        choose(one()) >> [EmptyOperator(task_id="small"), EmptyOperator(task_id="big")]
        check(one()) >> EmptyOperator(task_id="a") >> EmptyOperator(task_id="b", trigger_rule="all_done")
        show(wait(one()))
        greet("Hello")
        empty()
    done = OneRun(written)
    skipped = {task_id for task_id, state in done.states.items() if state == "skipped"}
    assert skipped == {"big", "a"}
    assert done.pushed("choose") == {"skipmixin_key": {"followed": ["small"]}}
    assert done.states["b"] == "success"
    assert pokes == [1, 1, 1]
    assert done.value("show") == "there"
    assert done.value("greet") == "Hello, Ada on 2013-01-02"
    assert "the bash command must be a string with something in it, not ' '" in done.error("empty")


# --- groups


def test_a_group_function_gives_what_it_returns_or_the_group():
    @task_group
    def returning(x):
        """Adds twice."""
        return add(add(x, 1), 2)

    @task_group(group_id="plain", prefix_group_id=False)
    def silent():
        EmptyOperator(task_id="x") >> EmptyOperator(task_id="y")

    with DAG("d") as written:
        start = EmptyOperator(task_id="start")
        add(returning(one()), 5)
        returning(1)
        start >> silent() >> EmptyOperator(task_id="end")
        silent.override(group_id="again", prefix_group_id=True)()
    assert edges(written) == [
        "again.x again.y",
        "one returning.add",
        "returning.add returning.add__1",
        "returning.add__1 add",
        "returning__1.add returning__1.add__1",
        "start x",
        "x y",
        "y end",
    ]
    assert list(written.task_groups) == ["returning", "returning__1", "plain", "again"]
    assert written.task_groups["returning"].tooltip == "Adds twice."


# --- DAGs


def test_a_dag_function():
    @dag(schedule="@daily", start_date=START, tags=["x"])
    def weather(airport="EWR", days=1):
        """Loads the weather."""

        @task
        def show(name, n):
            return [name, n]

        show(airport, days)

    written = weather(days=2)
    assert (written.dag_id, written.doc_md, written.tags) == ("weather", "Loads the weather.", ["x"])
    assert written.params == {"airport": "EWR", "days": 2}
    assert weather.__doc__ == "Loads the weather."
    assert weather("JFK") is not weather("JFK")


def test_the_runs_conf_goes_before_what_was_passed():
    @dag
    def d(airport, days=1):
        task(lambda name, n: [name, n], task_id="show")(airport, [days])

    assert OneRun(d("JFK")).value("show") == ["JFK", [1]]
    assert OneRun(d("JFK"), conf={"days": 7}).value("show") == ["JFK", [7]]


def test_a_dag_function_with_a_name_of_its_own():
    @dag("적재", doc_md="written")
    def f():
        """Not this."""

    assert (f().dag_id, f().doc_md) == ("적재", "written")
    assert dag(dag_id="x")(lambda: None)().dag_id == "x"


# --- conditions and hooks ---


def test_run_if_and_skip_if_ask_just_before_the_task_runs():
    with DAG("d", start_date=START, params={"go": False}) as written:

        @task.run_if(lambda context: context["params"]["go"], "not told to go")
        @task
        def when_told(): ...

        @task.skip_if(lambda context: (not context["params"]["go"], f"skips on {context['ds']}"))
        @task.bash
        def unless_told_not_to():
            return "echo never"

        @task.run_if(lambda context: context["ti"].map_index == 1)
        @task.skip_if(lambda context: False)
        @task
        def second(x):
            return x

        when_told() >> EmptyOperator(task_id="after")
        unless_told_not_to()
        second.expand(x=[1, 2])
    run = OneRun(written)
    assert run.states | {"second": None} == {
        "when_told": "skipped",
        "after": "skipped",
        "unless_told_not_to": "skipped",
        "second": None,
    }
    assert "not told to go" in run.log("when_told") and "skips on 2013-01-02" in run.log("unless_told_not_to")
    instances = run.lab.store.task_instances(run._row.id)
    assert [row.state for row in instances if row.task_id == "second"] == ["skipped", "success"]


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda: task.run_if(True), r"@task.run_if takes a function of the context, not True"),
        (lambda: task.skip_if(bool)(print), "@task.skip_if goes above @task"),
    ],
)
def test_conditions_that_cannot_be(write, message):
    with pytest.raises(DagError, match=message):
        write()


def test_hooks_are_called_around_the_task_before_its_own_methods():
    told = []

    class Op(EmptyOperator):
        def pre_execute(self, context):
            told.append("own pre")

        def execute(self, context):
            told.append("execute")
            return 1

        def post_execute(self, context, result=None):
            told.append("own post")

    with DAG("d", start_date=START) as written:
        Op(task_id="a", pre_execute=lambda c: told.append("pre"), post_execute=lambda c, result: told.append(result))
    assert OneRun(written).state == "success"
    assert told == ["pre", "own pre", "execute", 1, "own post"]
