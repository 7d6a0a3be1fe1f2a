"""Every recorded answer of Airflow's secrets masker."""

import json
from pathlib import Path

import pytest

from etlkit.masking import MAX_DEPTH, MIN_LENGTH, SENSITIVE_NAMES, Masker

RECORDED = json.loads((Path(__file__).parent / "cases" / "masking.json").read_text(encoding="utf-8"))


def decoded(value):
    """A value of the file as Python: tuples, sets and odd keys are written as marked dicts."""
    if isinstance(value, list):
        return [decoded(item) for item in value]
    match value:
        case {"__tuple__": items}:
            return tuple(map(decoded, items))
        case {"__set__": items}:
            return set(map(decoded, items))
        case {"__items__": pairs}:
            return {decoded(key): decoded(item) for key, item in pairs}
        case dict():
            return {key: decoded(item) for key, item in value.items()}
    return value


def answer(masker, case):
    match case["op"]:
        case "should_hide":
            return masker.should_hide_value_for_key(decoded(case["name"]))
        case "redact":
            return masker.redact(decoded(case["value"]), case["name"], **case["kwargs"])
        case "mask_then_redact":
            for secret, name in case["mask_secret"]:
                masker.mask_secret(decoded(secret), name)
            return masker.redact(decoded(case["value"]))
        case "merge":
            return masker.merge(decoded(case["new"]), decoded(case["old"]))
    raise AssertionError(case["op"])


@pytest.mark.parametrize("case", RECORDED["cases"], ids=lambda case: case["id"])
def test_agrees_with_airflow(case):
    found, expected = answer(Masker(), case), decoded(case["result"])
    assert found == expected
    assert type(found) is type(expected)


def test_the_settings_are_those_of_airflow():
    about = RECORDED["about"]
    assert sorted(SENSITIVE_NAMES) == about["default_sensitive_fields"]
    assert (
        about["effective"]["min_length_to_mask"],
        about["effective"]["max_recursion_depth"],
    ) == (MIN_LENGTH, MAX_DEPTH)
