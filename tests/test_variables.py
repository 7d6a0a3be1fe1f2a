"""Variables: where they are looked for, what they hold, and what is never shown of them."""

import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

import etlkit
from etlkit.config import Config, conf
from etlkit.errors import AirflowNotFoundException, ConfigError
from etlkit.lab import Lab
from etlkit.masking import masker
from etlkit.store import Store
from etlkit.taskflow import dag, task
from etlkit.variables import Variable, Variables


@pytest.fixture(autouse=True)
def environ(tmp_path):
    environ = {}
    conf.use(Config(home=tmp_path / "home", environ=environ))
    yield environ
    conf.use(None)
    masker.forget()


@pytest.fixture
def variables():
    return Variables(Store("sqlite://"))


def run(lab, pipeline):
    lab.add(pipeline)
    lab.trigger(pipeline)


def refusal(kind, action, *arguments, **named):
    with pytest.raises(kind) as refused:
        action(*arguments, **named)
    assert "\n" not in str(refused.value)
    return str(refused.value)


# --- get, set, delete ---


def test_a_value_is_text(variables):
    for value, text in [("JFK", "JFK"), (26115, "26115"), (None, "None"), ("", ""), ("날씨\n", "날씨\n")]:
        variables.set("x", value)
        assert variables.get("x", default="another") == text


@pytest.mark.parametrize("value", [{"a": [1, None, "ü"]}, [], 1.5, True, None, "text", '"quoted"'])
def test_json(variables, value):
    variables.set("x", value, serialize_json=True)
    assert variables.get("x", deserialize_json=True) == value


def test_what_is_not_json_is_told_without_the_value(variables):
    variables.set("config", "{'user': 'anna'}")
    message = refusal(ConfigError, variables.get, "config", deserialize_json=True)
    assert message.startswith("Variable 'config' is not JSON at line 1, column 2")
    assert "anna" not in message


def test_a_default_stands_for_a_variable_that_does_not_exist(variables):
    assert variables.get("x", default=None) is None
    assert variables.get("x", 5) == 5
    assert variables.get("x", default={"a": 1}, deserialize_json=True) == {"a": 1}
    variables.set("airport", "JFK")
    message = refusal(AirflowNotFoundException, variables.get, "airpotr")
    assert message == ("no Variable is called 'airpotr' in the environment or in memory; did you mean 'airport'?")


def test_a_later_value_takes_the_place_of_an_earlier_one(variables):
    variables.set("x", "1", description="first")
    variables.set("x", "2")
    assert (variables.get("x"), variables.description("x")) == ("2", None)


def test_delete(variables):
    variables.set("x", "1")
    variables.delete("x")
    assert variables.get("x", default=None) is None
    assert "no Variable is called 'x'" in refusal(AirflowNotFoundException, variables.delete, "x")


def test_keys(variables):
    for key in ("b_2", "a", "b_1", "B", "키"):
        variables.set(key, "x")
    assert variables.keys() == ["B", "a", "b_1", "b_2", "키"]
    assert variables.keys("b_") == ["b_1", "b_2"]


@pytest.mark.parametrize("key", ["", "  ", None, 5])
def test_a_variable_needs_a_name(variables, key):
    assert "needs a name" in refusal(ConfigError, variables.set, key, "x")


@pytest.mark.parametrize("key", ["it's", 'a "b"', "x; DROP TABLE variable", "select", "%s", ":key", "😀"])
def test_any_other_name_will_do(variables, key):
    variables.set(key, "1", description=key)
    assert (variables.get(key), variables.description(key), variables.keys()) == ("1", key, [key])


# --- the environment ---


def test_the_environment_comes_first(variables, environ):
    variables.set("airport", "JFK")
    environ["AIRFLOW_VAR_AIRPORT"] = "LGA"
    assert variables.get("airport") == "LGA"
    environ["ETLKIT_VAR_AIRPORT"] = '["EWR"]'
    assert variables.get("airport", deserialize_json=True) == ["EWR"]
    environ["ETLKIT_VAR_AIRPORT"] = ""
    assert variables.get("airport") == ""


def test_setting_what_the_environment_hides_is_a_warning(variables, environ, caplog):
    environ["ETLKIT_VAR_AIRPORT"] = "LGA"
    with caplog.at_level(logging.WARNING):
        variables.set("airport", "JFK")
    assert "ETLKIT_VAR_AIRPORT" in caplog.text
    assert variables.get("airport") == "LGA"


# --- which database ---


def test_elsewhere_it_is_the_configured_database(tmp_path):
    assert Variable.get("x", default=None) is None
    Variable.set("x", [1], serialize_json=True, description="one")
    assert Variable.get("x", deserialize_json=True) == [1]
    assert Variable.keys() == Variable.keys("x") == ["x"]
    assert Variables(Store(f"sqlite:///{tmp_path}/home/etlkit.db")).get("x") == "[\n  1\n]"
    Variable.delete("x")
    assert Variable.keys("y") == Variable.keys() == []


def test_a_variable_of_the_environment_needs_no_database(tmp_path, environ):
    environ["ETLKIT_VAR_AIRPORT"] = "LGA"
    assert Variable.get("airport") == "LGA"
    assert not (tmp_path / "home").exists()


def test_the_name_is_that_of_the_sdk():
    assert etlkit.Variable is Variable


def test_inside_a_task_it_is_the_database_of_the_task(tmp_path):
    @task
    def use():
        assert Variable.get("airport") == "JFK"
        Variable.set("seen", "yes")
        Variable.delete("airport")
        return Variable.keys()

    @dag(schedule=None)
    def weather():
        use()

    with Lab(start="2013-01-01") as lab:
        variables = lab.variables
        variables.set("airport", "JFK")
        run(lab, weather())
        assert [row.state for row in lab.store.runs()] == ["success"]
        assert variables.keys() == ["seen"]
        assert lab.xcoms()["value"].tolist() == [["seen"]]
    assert not (tmp_path / "home").exists()


# --- secrets ---


def test_a_value_with_a_sensitive_name_is_hidden_once_it_was_read_or_set(variables, environ):
    variables.set("weather_api_key", "26115rows")
    assert masker.mask("26115rows") == "***"
    masker.forget()
    assert masker.mask("26115rows") == "26115rows"
    variables.get("weather_api_key")
    assert masker.mask("26115rows") == "***"
    environ["ETLKIT_VAR_DB_PASSWORD"] = "hunter22"
    variables.get("db_password")
    variables.get("no_such_token", default="default1")
    assert masker.mask("hunter22 default1") == "*** ***"


def test_sensitive_keys_inside_a_json_value(variables):
    variables.set(
        "config", {"user": "annabel", "password": "hunter22", "pins": {"pin_token": 123456}}, serialize_json=True
    )
    variables.set("secret_config", {"user": "isabella", "hosts": ["omega"]}, serialize_json=True)
    assert masker.mask("annabel hunter22 123456 isabella omega") == "annabel *** *** *** ***"


def test_names_can_be_added_by_configuration(tmp_path):
    conf.use(Config(home=tmp_path, environ={"ETLKIT__CORE__SENSITIVE_VAR_CONN_NAMES": "Riddle, sphinx"}))
    names = set(masker.names)
    try:
        with Lab(start="2013-01-01") as lab:
            lab.variables.set("the-riddle", "four legs")
            assert masker.mask("four legs") == "***"
    finally:
        masker.names = names


# --- export and import ---


def test_export_and_import(variables):
    variables.set("airports", ["JFK", "LGA"], serialize_json=True)
    variables.set("wind", "5", description="m/s")
    variables.set("wrapped", {"value": 1}, serialize_json=True)
    variables.set("odd json", '{"a":1}')
    variables.set("api_key", "26115rows")
    exported = json.loads(json.dumps(variables.export(include_secrets=True)))
    assert exported == {
        "airports": ["JFK", "LGA"],
        "api_key": "26115rows",
        "odd json": '{"a":1}',
        "wind": {"value": 5, "description": "m/s"},
        "wrapped": {"value": {"value": 1}, "description": None},
    }
    other = Variables(Store("sqlite://"))
    assert other.load(exported) == list(exported)
    assert other.export(include_secrets=True) == exported
    for key in exported:
        assert (other.get(key), other.description(key)) == (variables.get(key), variables.description(key))


@given(st.dictionaries(st.text(min_size=1).filter(str.strip), st.text()))
def test_what_is_exported_with_secrets_comes_back_as_it_was(values):
    one, other = Variables(Store("sqlite://")), Variables(Store("sqlite://"))
    for key, value in values.items():
        one.set(key, value)
    other.load(json.loads(json.dumps(one.export(include_secrets=True))))
    assert other.keys() == sorted(values)
    assert {key: other.get(key) for key in values} == values
    masker.forget()


def test_secrets_are_not_exported_unless_asked_for(variables):
    variables.set("api_key", "26115rows")
    variables.set("config", {"user": "anna", "password": "hunter22", "pin_token": 123456}, serialize_json=True)
    variables.set("note", "the key is 26115rows")
    masker.forget()
    exported = variables.export()
    assert exported == {
        "api_key": "***",
        "config": {"user": "anna", "password": "***", "pin_token": "***"},
        "note": "the key is ***",
    }
    exported["config"]["user"] = "eva"
    variables.load(exported)
    assert variables.get("api_key") == "26115rows"
    assert variables.get("config", deserialize_json=True) == {
        "user": "eva",
        "password": "hunter22",
        "pin_token": 123456,
    }
    assert variables.get("note") == "the key is 26115rows"


def test_importing_hidden_secrets_where_none_are_stored_imports_nothing(variables):
    for values in ({"airport": "JFK", "api_key": "***"}, {"airport": "JFK", "config": {"value": {"password": "***"}}}):
        message = refusal(ConfigError, variables.load, values)
        assert "exported without secrets" in message
        assert variables.keys() == []


def test_importing_what_exists(variables):
    variables.set("a", "old")
    assert "Variable 'a' exists already" in refusal(
        ConfigError, variables.load, {"b": "1", "a": "2"}, on_existing="fail"
    )
    assert variables.keys() == ["a"]
    assert variables.load({"b": "1", "a": "2"}, on_existing="skip") == ["b"]
    assert (variables.get("a"), variables.get("b")) == ("old", "1")
    assert variables.load({"b": "2", "a": "2"}) == ["b", "a"]
    assert (variables.get("a"), variables.get("b")) == ("2", "2")
    assert variables.load({"c": "1"}, on_existing="fail") == ["c"]
    assert "overwrite, skip or fail" in refusal(ConfigError, variables.load, {}, on_existing="perhaps")
