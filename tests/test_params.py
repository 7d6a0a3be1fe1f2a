"""Params: what they may be, who refuses them and when, and what tasks see of them."""

import copy
import json
import pickle
import subprocess
import sys

import pytest

from etlkit.dag import DAG, BaseOperator
from etlkit.errors import BackfillError, DagError, ParamValidationError
from etlkit.logs import LogKey
from etlkit.masking import masker
from etlkit.params import NOTSET, Param, ParamsDict, run_params
from etlkit.taskflow import dag as dag_decorator
from etlkit.taskflow import task
from tests.engine import START, Do, World, at, make_dag


def refused(param, *value):
    with pytest.raises(ParamValidationError) as caught:
        param.resolve(*value)
    return str(caught.value)


# --- one param --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "good", "bad"),
    [
        ({}, [None, 1, "a", [1, {"b": None}]], []),
        ({"type": "integer"}, [3, 3.0, -1], [True, "3", 2.5, None]),
        ({"type": "number"}, [3, 2.5], [True, "3", None]),
        ({"type": "boolean"}, [True], [1, "true"]),
        ({"type": "string"}, ["", "a"], [1, None, ["a"]]),
        ({"type": ["null", "string"]}, [None, "a"], [1]),
        ({"type": "array", "items": {"type": "integer"}}, [[], [1]], [["a"], "1"]),
        ({"type": "object", "required": ["a"]}, [{"a": 1}], [{}, []]),
        ({"type": "integer", "minimum": 1, "maximum": 3}, [1, 3], [0, 4]),
        ({"enum": ["JFK", 3, None]}, ["JFK", 3, None], ["SFO", "3"]),
        ({"type": "string", "minLength": 2, "pattern": "^J"}, ["JFK"], ["J", "LGA"]),
        ({"format": "date"}, ["2013-01-31", 5], ["2013-02-29", "31.1.2013", "2013-01-31T00:00:00"]),
        (
            {"format": "date-time"},
            ["2013-01-31T06:00:00+09:00", "2013-01-31T06:00:00Z"],
            ["2013-01-31", "2013-01-31T25:00"],
        ),
        ({"format": "time"}, ["06:30:00"], ["24:00:00", "6 o'clock"]),
        ({"format": "email"}, ["ada@example.org"], ["ada"]),
        ({"format": "ipv4"}, ["127.0.0.1"], ["127.0.0.256"]),
        ({"format": "uuid"}, ["12345678-1234-5678-1234-567812345678"], ["1234"]),
        ({"format": "regex"}, ["^a"], ["("]),
        ({"format": "multiline"}, ["Airflow's form draws it larger"], []),
        (
            {"type": "string", "title": "Airport", "section": "x", "values_display": {"JFK": "Kennedy"}},
            ["JFK"],
            [1],
        ),
    ],
    ids=str,
)
def test_rules(rules, good, bad):
    for value in good:
        assert Param(value, **rules).resolve() == value
        assert Param(schema=rules).resolve(value) == value
    for value in bad:
        assert refused(Param(value, **rules)).startswith(f"cannot be {value!r}: ")


@pytest.mark.parametrize(
    ("param", "value", "message"),
    [
        (Param(), NOTSET, "has no default, so it needs a value: give it in the run's conf"),
        (Param(type="integer"), "x", "cannot be 'x': 'x' is not of type 'integer'"),
        (Param(type="integer", minimum=1), 0, "cannot be 0: 0 is less than the minimum of 1"),
        (
            Param(type="object", properties={"days": {"type": "array", "items": {"minimum": 1}}}),
            {"days": [1, 0]},
            "cannot be {'days': [1, 0]}: 0 is less than the minimum of 1 (at $.days[1])",
        ),
        (Param(), {1, 2}, "cannot be {1, 2}: JSON cannot hold it (Object of type set is not JSON serializable)"),
        (Param(), float("nan"), "cannot be nan: JSON cannot hold it (Out of range float values are not JSON compliant"),
        (
            Param(1, type="integr"),
            "x",
            "has rules that are no JSON schema: 'integr' is not valid under any",
        ),
        (Param(1, type=3), "x", "has rules that are no JSON schema: 3 is not valid under any of the given schemas"),
        (Param(1, **{"$ref": "#/$defs/day"}), 1, "has rules that refer to what is not there: PointerToNowhere"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(param, value, message):
    found = refused(param, value)
    assert found.startswith(message)
    assert "\n" not in found


def test_a_long_value_is_shortened():
    assert len(refused(Param(type="integer"), "x" * 100_000)) < 500


def test_a_secret_is_not_shown():
    params = ParamsDict({"api_key": Param("abc", maxLength=8)})
    with pytest.raises(ParamValidationError, match="'api_key' has a value that its rules forbid") as caught:
        params["api_key"] = "hunter2hunter2"
    assert "hunter2" not in str(caught.value)
    assert (caught.value.name, caught.value.__cause__) == ("api_key", None)


def test_has_value_and_repr():
    assert [Param(value).has_value for value in (NOTSET, None, 0)] == [False, False, True]
    assert repr(Param(1, "how many", minimum=0)) == "Param(1, minimum=0)"
    assert repr(Param()) == "Param(NOTSET)"


# --- several ----------------------------------------------------------------------------------------------------------


def test_a_params_dict_is_a_mapping_of_values():
    params = ParamsDict({"a": 1, "b": Param("x", type="string")})
    assert (params["b"], list(params), len(params), "a" in params) == ("x", ["a", "b"], 2, True)
    assert dict(params) == params == {"a": 1, "b": "x"}
    assert params == ParamsDict({"a": 1, "b": "x"}) != ParamsDict({"a": 2})
    params["b"] = "y"
    assert params.get_param("b").schema == {"type": "string"}
    with pytest.raises(ParamValidationError, match="param 'b' cannot be 2: 2 is not of type 'string'"):
        params["b"] = 2
    del params["a"]
    params.update(c=Param())
    assert ("c" in params, "a" in params) == (True, False)
    assert params.dump() == {"b": "y", "c": None}
    assert repr(params) == "{'b': 'y', 'c': None}"
    with pytest.raises(ParamValidationError, match="param 'c' has no default"):
        params.validate()
    for copied in (copy.deepcopy(params), pickle.loads(pickle.dumps(params))):
        assert copied.get_param("c").value is NOTSET


def test_later_levels_and_conf_count_before_earlier_ones():
    dag_params = ParamsDict({"airport": "JFK", "days": Param(7, type="integer")})
    task_params = ParamsDict({"airport": Param("LGA", enum=["LGA", "EWR"])})
    assert run_params(dag_params, task_params) == {"airport": "LGA", "days": 7}
    assert run_params(dag_params, task_params, conf={"days": 3, "extra": [1]}) == {
        "airport": "LGA",
        "days": 3,
        "extra": [1],
    }
    with pytest.raises(ParamValidationError, match="param 'airport' cannot be 'JFK'") as caught:
        run_params(dag_params, task_params, conf={"airport": "JFK"})
    assert caught.value.name == "airport"
    assert dag_params == {"airport": "JFK", "days": 7}
    assert (run_params(), run_params({}, conf={"a": 1})) == ({}, {"a": 1})


# --- DAGs -------------------------------------------------------------------------------------------------------------


def test_a_dag_with_a_schedule_needs_valid_defaults():
    for param in (Param(), Param(type="integer"), Param(None, type="string"), Param(0, minimum=1)):
        with pytest.raises(DagError, match=r"DAG 'd': params: param 'n' .*; a schedule needs valid defaults"):
            DAG("d", schedule="@daily", start_date=START, params={"n": param})
        assert list(DAG("d", params={"n": param}).params) == ["n"]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"at": START}, "DAG 'd': params: param 'at' cannot be datetime.* JSON cannot hold it"),
        (["n"], r"DAG 'd': params must be a dict of names and defaults \(or Params\), not \['n'\]"),
    ],
)
def test_a_dag_refuses_what_cannot_be_params(params, message):
    with pytest.raises(DagError, match=message):
        DAG("d", params=params)
    with pytest.raises(DagError, match=message.replace("DAG 'd': params", "task 't': params")):
        BaseOperator("t", params=params)


def test_params_in_default_args_are_the_dags():
    with DAG("d", params={"a": 1, "b": 1}, default_args={"params": {"b": Param(2, type="integer")}}) as dag:
        made = BaseOperator("t")
    assert (dag.params, dag.default_args, made.params) == ({"a": 1, "b": 2}, {}, {})
    assert dag.params.get_param("b").schema == {"type": "integer"}


def test_a_dag_keeps_a_copy_of_the_dict_it_was_given():
    given = {"n": 1}
    dag = DAG("d", params=given)
    dag.params["n"] = 2
    assert given == {"n": 1}


def test_arguments_of_a_dag_function_are_params():
    @dag_decorator(schedule=None)
    def load(days, airport="JFK"):
        task(lambda n, a: [n, a], task_id="t")(days, airport)

    world = World(load(Param(7, type="integer", minimum=1)))
    world.trigger("load", conf={"days": 2})
    world.tick()
    assert world.store.pull_xcom(world.only_run("load").id, "t", "return_value") == [(-1, '[2, "JFK"]')]
    with pytest.raises(ParamValidationError, match="DAG 'load': param 'days' cannot be 0"):
        world.trigger("load", conf={"days": 0}, run_id="second")


# --- runs -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def world():
    steps = [Do("t", lambda context: context["params"], params={"place": "task"})]
    params = {"n": Param(3, type="integer", minimum=1), "must": Param(type="string"), "place": "dag"}
    return World(make_dag(tasks=steps, params=params))


def value(world, run):
    ((_, text),) = world.store.pull_xcom(run.id, "t", "return_value")
    return json.loads(text)


def test_a_task_sees_the_params_of_its_run_and_leaves_those_of_the_dag_alone(world):
    first = world.trigger(conf={"must": "a", "n": 5, "more": [1]})
    second = world.trigger(conf={"must": "b"}, logical_date=at(2))
    world.run_until(at(3))
    assert value(world, first) == {"n": 5, "must": "a", "place": "task", "more": [1]}
    assert value(world, second) == {"n": 3, "must": "b", "place": "task"}
    assert world.dags["d"].params.dump() == {"n": 3, "must": None, "place": "dag"}


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        (None, "DAG 'd': param 'must' has no default, so it needs a value"),
        ({"must": 1}, "DAG 'd': param 'must' cannot be 1: 1 is not of type 'string'"),
        ({"must": "a", "n": 0}, "DAG 'd': param 'n' cannot be 0"),
    ],
)
def test_a_trigger_with_invalid_params_makes_no_run(world, conf, message):
    with pytest.raises(ParamValidationError, match=message):
        world.trigger(conf=conf)
    assert world.runs() == []


def test_a_param_of_a_task_that_conf_makes_invalid_fails_the_task():
    step = Do("t", lambda context: context["params"], params={"n": Param(1, type="integer")})
    world = World(make_dag(tasks=[step]))
    world.trigger(conf={"n": "many"})
    world.tick()
    assert (
        world.tasks()["t"].error == "ParamValidationError: param 'n' cannot be 'many': 'many' is not of type 'integer'"
    )


def test_a_backfill_with_invalid_params_makes_no_run():
    from etlkit.backfill import create_backfill, plan_backfill

    world = World(make_dag(edges="t", schedule="@daily", params={"n": Param(1, type="integer")}), now=at(9))
    plan = plan_backfill(world.dags["d"], at(1), at(3), now=at(9))
    with pytest.raises(BackfillError, match="DAG 'd': param 'n' cannot be 'x'"):
        create_backfill(world.store, world.dags["d"], plan, conf={"n": "x"}, now=at(9))
    assert (world.runs(), world.store.backfills()) == ([], [])
    create_backfill(world.store, world.dags["d"], plan, conf={"n": 2}, now=at(9))
    assert [run.conf for run in world.runs()] == [{"n": 2}] * 3


def test_the_command_line_refuses_invalid_params_in_one_line(etlkit):
    etlkit.dag_file(
        "typed.py",
        """
        from etlkit.dag import DAG, BaseOperator
        from etlkit.params import Param
        with DAG("typed", params={"n": Param(type="integer")}):
            BaseOperator("t")
        """,
    )
    assert etlkit.refused("dags", "trigger", "typed").startswith("DAG 'typed': param 'n' has no default")
    assert etlkit.refused("dags", "trigger", "typed", "--conf", '{"n": "x"}') == (
        "DAG 'typed': param 'n' cannot be 'x': 'x' is not of type 'integer'"
    )
    assert etlkit.json("dags", "list-runs", "typed") == []


def test_params_with_no_rule_but_a_type_do_without_jsonschema():
    code = """
import sys
from datetime import UTC, datetime
from etlkit.dag import DAG
from etlkit.params import Param
DAG("d", schedule="@daily", start_date=datetime(2013, 1, 1, tzinfo=UTC),
    params={"a": 1, "b": [1], "c": Param("x", type="string", title="C"), "d": Param(None, type=["null", "array"])})
print("jsonschema" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


# --- secrets ----------------------------------------------------------------------------------------------------------


def test_what_is_secret_by_its_name_is_hidden_in_the_log():
    def work(context):
        print(context["dag_run"].conf)
        print(context["params"])
        print("to", context["params"]["where"]["token"], "and", context["params"]["pin_secret"])

    params = {"api_key": "default-key-1", "pin_secret": 26115000, "airport": "JFK"}
    world = World(make_dag(tasks=[Do("load", work)], params=params))
    run = world.trigger(conf={"where": {"token": "conf-token-2"}, "note": "plain"})
    masker.forget()  # as in a process that did not trigger the run
    world.run_until(at(1))
    said = world.scheduler.runner.logs.read(LogKey("d", run.run_id, "load", -1, 1))
    masker.forget()
    assert said.splitlines() == [
        "{'where': {'token': '***'}, 'note': 'plain'}",
        "{'api_key': '***', 'pin_secret': ***, 'airport': 'JFK', 'where': {'token': '***'}, 'note': 'plain'}",
        "to *** and ***",
    ]
