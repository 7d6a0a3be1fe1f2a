"""What tasks can be told, and which values are refused."""

import inspect
from datetime import UTC, datetime, timedelta

import pytest

from etlkit.arguments import CHECKS, TASK_ARGUMENTS, TaskArguments, parameters_of
from etlkit.dag import DAG, BaseOperator, TaskGroup
from etlkit.errors import DagError
from etlkit.operators.bash import BashOperator
from etlkit.rules import TRIGGER_RULES
from etlkit.sensors import PythonSensor

NAIVE = datetime(2024, 1, 1)  # noqa: DTZ001 (what is refused)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("retries", -1, "must be a whole number of 0 or more, not -1"),
        ("retries", 1.5, "must be a whole number of 0 or more, not 1.5"),
        ("retries", "2", "must be a whole number of 0 or more, not '2'"),
        ("retries", True, "must be a whole number of 0 or more, not True"),
        ("retry_delay", -5, r"must be a timedelta \(or seconds\) of zero or more, not "),
        ("retry_delay", "5 minutes", r"must be a timedelta \(or seconds\) of zero or more, not '5 minutes'"),
        ("retry_delay", True, "must be a timedelta"),
        ("retry_delay", timedelta.max, "of 999999999 days, .* is longer than a hundred years; leave it out"),
        ("execution_timeout", 1e99, r"of 1e\+99 seconds is longer than a hundred years"),
        ("execution_timeout", float("nan"), "of nan seconds is longer than"),
        ("max_retry_delay", timedelta(seconds=-1), "must be a timedelta"),
        ("execution_timeout", "1h", "must be a timedelta"),
        ("retry_exponential_backoff", "x", "must be True, False or a number to multiply with, not 'x'"),
        ("retry_exponential_backoff", -2.0, "must be True, False or a number to multiply with"),
        ("trigger_rule", "sometimes", "cannot be 'sometimes'; known are all_success, all_failed"),
        ("trigger_rule", "one_sucess", r"cannot be 'one_sucess'; did you mean 'one_success'\?"),
        ("trigger_rule", "none_failed_or_skipped", "did you mean 'none_skipped'|did you mean 'none_failed"),
        ("trigger_rule", 5, "cannot be 5; known are"),
        ("weight_rule", "up", "cannot be 'up'; known are downstream, upstream, absolute"),
        ("pool_slots", 0, "must be a whole number of 1 or more, not 0"),
        ("priority_weight", "a", "must be a whole number, not 'a'"),
        ("max_active_tis_per_dag", 0, "must be a whole number of 1 or more"),
        ("depends_on_past", "yes", "must be True or False, not 'yes'"),
        ("wait_for_downstream", 1, "must be True or False, not 1"),
        ("do_xcom_push", "no", "must be True or False"),
        ("multiple_outputs", 0, "must be True or False"),
        ("start_date", NAIVE, "has no time zone"),
        ("end_date", "2024-01-01", "must be a datetime"),
        ("on_failure_callback", "notify", r"must be a function \(or a list of them\), not 'notify'"),
        ("on_success_callback", [print, 5], "must be a function"),
    ],
)
def test_values_that_cannot_be(name, value, message):
    with pytest.raises(DagError, match=rf"^task 'a': {name}.*({message})") as error:
        BaseOperator("a", **{name: value})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("retries", 3, 3),
        ("retry_delay", 90, timedelta(seconds=90)),
        ("retry_delay", 1.5, timedelta(seconds=1.5)),
        ("execution_timeout", timedelta(hours=1), timedelta(hours=1)),
        ("retry_exponential_backoff", True, True),
        ("retry_exponential_backoff", 1.5, 1.5),
        ("priority_weight", -2, -2),
        ("on_failure_callback", print, (print,)),
        ("on_retry_callback", [print, len], (print, len)),
        ("params", {"n": 1}, {"n": 1}),
        ("start_date", NAIVE.replace(tzinfo=UTC), NAIVE.replace(tzinfo=UTC)),
        ("pool", None, "default_pool"),
        ("retries", None, 0),
    ],
)
def test_values_in_their_one_form(name, value, kept):
    assert getattr(BaseOperator("a", **{name: value}), name) == kept


@pytest.mark.parametrize("rule", TRIGGER_RULES)
def test_every_trigger_rule_is_known(rule):
    assert BaseOperator("a", trigger_rule=rule).trigger_rule == rule


def test_waiting_for_downstream_is_depending_on_the_past():
    assert BaseOperator("a", wait_for_downstream=True).depends_on_past


def test_a_task_stores_only_what_it_was_told():
    assert set(vars(BaseOperator("a", retries=2))) == {"task_id", "task_group", "dag", "retries"}


def test_defaults_are_legal_and_checks_are_for_arguments():
    assert set(CHECKS) <= TASK_ARGUMENTS
    for name, check in CHECKS.items():
        default = getattr(TaskArguments, name)
        if default is not None:
            assert check(name, default) == default


def test_fail_fast_allows_one_rule():
    with DAG("d", fail_fast=True), pytest.raises(DagError, match="fail_fast: task 'b' may only use all_success"):
        BaseOperator("a")
        BaseOperator("b", trigger_rule="all_done")


@pytest.mark.parametrize("cls", [BaseOperator, BashOperator, PythonSensor, DAG, TaskGroup])
def test_a_class_shows_what_it_can_be_called_with(cls):
    signature = inspect.signature(cls)
    assert set(signature.parameters) == set(parameters_of(cls).all)
    assert not any(p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in signature.parameters.values())


def test_what_a_class_gives_by_itself_need_not_be_given():
    class Fixed(BashOperator):
        def __init__(self, **kwargs):
            super().__init__(bash_command="echo fixed", **kwargs)

    assert Fixed(task_id="a").bash_command == "echo fixed"
