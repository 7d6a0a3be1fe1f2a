"""Every recorded answer of Airflow's `TriggerRuleDep`."""

import json
from pathlib import Path

import pytest

from etlkit.rules import TRIGGER_RULES, TriggerRule, UpstreamCounts, evaluate

CASES = json.loads((Path(__file__).parent / "cases" / "trigger_rules.json").read_text())["cases"]
RESULT = {"run": "runnable", "wait": "waiting", "skip": "skipped", "upstream_failed": "upstream_failed"}


def verdict(case):
    states = case["upstream_states"]
    match case["kind"]:
        case "plain":
            return evaluate(case["trigger_rule"], UpstreamCounts.of(states))
        case "indirect_setup":
            return evaluate(case["trigger_rule"], UpstreamCounts.of(states), setups=[case["setup_state"]])
        case _:
            setups = case.get("setup_states") or [case["setup_state"]]
            return evaluate(case["trigger_rule"], UpstreamCounts.of(states, setups))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_agrees_with_airflow(case):
    assert RESULT[verdict(case)] == case["result"]


def test_the_table_has_every_rule_of_airflow():
    assert set(TRIGGER_RULES) == {rule.value for rule in TriggerRule} == {c["trigger_rule"] for c in CASES}
