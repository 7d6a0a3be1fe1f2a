"""Tasks that call Python functions, branches and short circuits."""

import asyncio
from datetime import UTC, datetime
from functools import partial

import pytest

from etlkit.dag import DAG, TaskGroup, get_current_context
from etlkit.errors import AirflowException, DagError
from etlkit.operators.empty import EmptyOperator
from etlkit.operators.python import BranchPythonOperator, PythonOperator, ShortCircuitOperator, call_function
from tests.one_run import OneRun

START = datetime(2013, 1, 1, tzinfo=UTC)


class Context(dict):
    """A context whose warehouse must not be opened, and whose run has no logical date."""

    def __getitem__(self, name):
        if name == "warehouse":
            raise AssertionError("opened the warehouse")
        if name == "logical_date":
            raise KeyError("no logical date")
        return super().__getitem__(name)


CONTEXT = Context(ds="2013-01-01", run_id="r", conf={"c": 1}, clock="clock", warehouse=None, logical_date=None)


async def coroutine(x):
    await asyncio.sleep(0)
    return x + 1


def generator(x):
    yield 1
    yield 2
    return x


class Callable:
    def __call__(self, ds, x=1):
        return [ds, x]

    def method(self, ds):
        return ds


class Unhashable(Callable):
    __hash__ = None


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "expected"),
    [
        (lambda: 1, [], {}, 1),
        (lambda ds: ds, [], {}, "2013-01-01"),
        (lambda ds=None: ds, [], {}, "2013-01-01"),
        (lambda ds: ds, [], {"ds": "mine"}, "mine"),
        (lambda x, ds, y=2: [x, ds, y], [1], {}, [1, "2013-01-01", 2]),
        (lambda x, *, run_id: [x, run_id], [1], {}, [1, "r"]),
        (lambda *args, run_id: [args, run_id], [1, 2], {}, [(1, 2), "r"]),
        (lambda x: x, [], {"x": 1, "not_wanted": 2}, 1),
        (
            lambda **kw: kw,
            [],
            {"x": 1},
            {"x": 1, "ds": "2013-01-01", "run_id": "r", "conf": {"c": 1}, "clock": "clock"},
        ),
        (lambda ds, **kw: [ds, "ds" in kw, kw["run_id"]], [], {}, ["2013-01-01", False, "r"]),
        (lambda logical_date=None: logical_date, [], {}, None),
        # Names that Airflow does not fill in: a file written for it must go on meaning what it did.
        (lambda conf="mine": conf, [], {}, "mine"),
        (lambda conf: conf, ["mine"], {}, "mine"),
        (lambda conf: conf, [], {}, {"c": 1}),
        (lambda conf=None: conf, [], {}, {"c": 1}),
        (coroutine, [1], {}, 2),
        (generator, ["end"], {}, "end"),
        (partial(coroutine, 5), [], {}, 6),
        (partial(lambda a, ds: [a, ds], "a"), [], {}, ["a", "2013-01-01"]),
        (Callable(), [], {}, ["2013-01-01", 1]),
        (Unhashable(), [], {"x": 2}, ["2013-01-01", 2]),
        (Callable().method, [], {}, "2013-01-01"),
    ],
)
def test_a_function_gets_what_it_names(function, args, kwargs, expected):
    assert call_function(function, args, kwargs, CONTEXT) == expected
    assert call_function(function, args, kwargs, CONTEXT) == expected


def test_what_cannot_be_called():
    def greet(ds):
        return ds

    with pytest.raises(AirflowException, match=r"greet\(\) gets 'ds' by position, and by name too"):
        call_function(greet, ["mine"], {}, CONTEXT)
    with pytest.raises(AirflowException, match=r"gets 'x' by position, and by name too"):
        call_function(lambda x: x, [1], {"x": 2}, CONTEXT)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'x'"):
        call_function(lambda x: x, [], {}, CONTEXT)
    with pytest.raises(KeyError, match="no logical date"):
        call_function(lambda logical_date: logical_date, [], {}, CONTEXT)


def test_a_coroutine_inside_a_running_loop_as_in_a_notebook():
    async def cell():
        return call_function(coroutine, [1], {}, {})

    assert asyncio.run(cell()) == 2


def test_the_error_inside_a_function_comes_out():
    async def bad():
        raise ZeroDivisionError

    for function in (bad, lambda: 1 / 0):
        with pytest.raises(ZeroDivisionError):
            PythonOperator(task_id="a", python_callable=function).execute({})


def test_arguments_of_the_operator():
    with pytest.raises(DagError, match="task 'a': python_callable must be a function, not 'print'"):
        PythonOperator(task_id="a", python_callable="print")
    with pytest.warns(UserWarning, match=r"task 'a': f\(\) does not take 'nmae'; did you mean 'name'\?"):

        def f(name="x"):
            return name

        PythonOperator(task_id="a", python_callable=f, op_kwargs={"nmae": 1})
    assert PythonOperator(task_id="a", python_callable=len, templates_exts=[".q"]).template_ext == [".q"]


def test_in_a_run():
    with DAG("d") as dag:
        one = PythonOperator(task_id="one", python_callable=lambda ds, ti: [ds, ti.task_id])
        PythonOperator(
            task_id="two", python_callable=lambda x, templates_dict: [x, templates_dict], op_args=[one.output]
        )
        PythonOperator(task_id="context", python_callable=lambda: get_current_context()["run_id"])
        PythonOperator(task_id="nothing", python_callable=lambda: None)
        PythonOperator(task_id="quiet", python_callable=lambda: "secret", show_return_value_in_logs=False)
        PythonOperator(
            task_id="templates", python_callable=lambda templates_dict: templates_dict, templates_dict={"q": one.output}
        )
    run = OneRun(dag)
    assert run.state == "success"
    assert run.value("one") == ["2013-01-02", "one"]
    assert run.value("two") == [["2013-01-02", "one"], None]
    assert run.value("context") == run.run.run_id
    assert run.pushed("nothing") == {}
    assert run.value("templates") == {"q": ["2013-01-02", "one"]}
    assert "returned ['2013-01-02', 'one']" in run.log("one")
    assert run.log("nothing") == ""
    assert "secret" not in run.log("quiet")


def test_the_warehouse_is_there_for_who_names_it():
    with DAG("d") as dag:
        PythonOperator(task_id="a", python_callable=lambda warehouse: warehouse.execute("SELECT 42").fetchone())
    assert OneRun(dag).value("a") == (42,)


# --- branches


def branch(choice, build, operator=BranchPythonOperator):
    with DAG("d") as dag:
        choose = operator(task_id="choose", python_callable=lambda: choice)
        build(choose)
    return OneRun(dag)


def three(choose):
    a, b, c, a2 = (EmptyOperator(task_id=t) for t in ("a", "b", "c", "a2"))
    choose >> [a, b, c] >> EmptyOperator(task_id="join", trigger_rule="none_failed_min_one_success")
    a >> a2


@pytest.mark.parametrize(
    ("choice", "succeed", "followed"),
    [
        ("a", "a a2 join", ["a"]),
        (["a", "b"], "a b a2 join", ["a", "b"]),
        (("a", "b"), "a b a2 join", ["a", "b"]),
        ({"b"}, "b join", ["b"]),
        ((name for name in ["b"]), "b join", ["b"]),
        (None, "", []),
        ([], "", []),
        ("a2", "", []),
    ],
)
def test_a_branch_skips_what_is_directly_after_it_and_not_chosen(choice, succeed, followed):
    run = branch(choice, three)
    assert {t for t, state in run.states.items() if state == "success"} == {"choose", *succeed.split()}
    assert set(run.states.values()) <= {"success", "skipped"}
    assert run.pushed("choose") == {"skipmixin_key": {"followed": followed}}
    assert run.state == "success"


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("nope", "'choose' chose 'nope', but DAG 'd' has no task or group of that name"),
        (["a", "joi"], "'choose' chose 'joi', but DAG 'd' has no task or group of that name; did you mean 'join'?"),
        (5, "'choose' must choose task ids, not 5 (int)"),
        (["a", 5], "'choose' must choose task ids, not 5 (int)"),
        (True, "'choose' must choose task ids, not True (bool)"),
    ],
)
def test_a_choice_that_cannot_be(choice, message):
    run = branch(choice, three)
    assert run.states["choose"] == "failed"
    assert message in run.error("choose")


def test_a_branch_that_takes_every_way_gives_its_choice():
    run = branch(["a", "b", "c"], three)
    assert run.pushed("choose") == {"return_value": ["a", "b", "c"], "skipmixin_key": {"followed": ["a", "b", "c"]}}


def test_a_branch_with_nothing_after_it_gives_its_choice():
    run = branch("choose", lambda choose: None)
    assert run.pushed("choose") == {"return_value": "choose"}


def test_what_comes_after_a_chosen_task_is_not_skipped():
    def build(choose):
        a, b, join = EmptyOperator(task_id="a"), EmptyOperator(task_id="b"), EmptyOperator(task_id="join")
        choose >> [a, b, join]
        a >> join

    run = branch("a", build)
    assert run.states == {"choose": "success", "a": "success", "b": "skipped", "join": "success"}
    assert run.pushed("choose") == {"skipmixin_key": {"followed": ["a", "join"]}}


def test_a_group_stands_for_its_first_tasks():
    def build(choose):
        for name in "gh":
            with TaskGroup(name) as group:
                EmptyOperator(task_id="x") >> EmptyOperator(task_id="y")
            choose >> group

    run = branch("g", build)
    assert run.states == {"choose": "success", "g.x": "success", "g.y": "success", "h.x": "skipped", "h.y": "skipped"}
    assert run.pushed("choose") == {"skipmixin_key": {"followed": ["g.x"]}}


# --- short circuits


def chain_of_rules(check):
    a, b, c, d, e = (
        EmptyOperator(task_id=t, trigger_rule=rule)
        for t, rule in zip("abcde", ["all_success", "all_success", "all_done", "all_done", "none_failed"], strict=True)
    )
    check >> a >> b >> c
    check >> d
    EmptyOperator(task_id="root") >> e
    check >> e


@pytest.mark.parametrize("value", [False, 0, None, [], ""])
def test_a_short_circuit_skips_all_that_follows(value):
    run = branch(value, chain_of_rules, ShortCircuitOperator)
    assert {t for t, state in run.states.items() if state == "skipped"} == set("abcde")
    assert run.pushed("choose") == {"skipmixin_key": {"skipped": ["a", "b", "c", "d", "e"]}}


@pytest.mark.parametrize("value", [True, "x", [0]])
def test_a_short_circuit_that_holds_gives_its_value(value):
    run = branch(value, chain_of_rules, ShortCircuitOperator)
    assert set(run.states.values()) == {"success"}
    assert run.pushed("choose") == {"return_value": value}


def test_a_short_circuit_that_leaves_the_rest_to_the_trigger_rules():
    run = branch(False, chain_of_rules, partial(ShortCircuitOperator, ignore_downstream_trigger_rules=False))
    assert {t for t, state in run.states.items() if state == "skipped"} == set("abde")
    assert run.pushed("choose") == {"skipmixin_key": {"skipped": ["a", "d", "e"]}}


def test_a_short_circuit_with_nothing_after_it_gives_its_value():
    run = branch(False, lambda check: None, ShortCircuitOperator)
    assert run.pushed("choose") == {"return_value": False}


def test_a_short_circuit_leaves_teardowns_alone():
    def build(check):
        work, teardown = EmptyOperator(task_id="work"), EmptyOperator(task_id="teardown", trigger_rule="all_done")
        teardown.is_teardown = True
        check >> work >> teardown

    run = branch(False, build, ShortCircuitOperator)
    assert run.states == {"choose": "success", "work": "skipped", "teardown": "success"}
    assert run.pushed("choose") == {"skipmixin_key": {"skipped": ["work"]}}
