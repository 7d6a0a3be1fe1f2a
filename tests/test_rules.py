"""Trigger rules as properties; Airflow's recorded answers are in conformance/test_trigger_rules.py."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etlkit.rules import TRIGGER_RULES, UpstreamCounts, Verdict, evaluate, explain
from etlkit.states import FINISHED

ENDS = sorted(FINISHED - {"removed"})
RULES = sorted(set(TRIGGER_RULES) - {"all_done_setup_success"})
STATES = st.lists(st.sampled_from(ENDS), min_size=1, max_size=6)

PLAINLY = {
    "all_success": lambda s: all(x == "success" for x in s),
    "all_failed": lambda s: all(x in ("failed", "upstream_failed") for x in s),
    "all_done": lambda s: True,
    "all_done_min_one_success": lambda s: "success" in s and "skipped" not in s,
    "all_skipped": lambda s: all(x == "skipped" for x in s),
    "one_success": lambda s: "success" in s,
    "one_failed": lambda s: "failed" in s or "upstream_failed" in s,
    "one_done": lambda s: "success" in s or "failed" in s,
    "none_failed": lambda s: "failed" not in s and "upstream_failed" not in s,
    "none_failed_min_one_success": lambda s: "success" in s and not {"failed", "upstream_failed"} & set(s),
    "none_skipped": lambda s: "skipped" not in s,
    "always": lambda s: True,
}
"""What each rule means, said of upstream tasks that have all ended."""


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=40)
@given(states=STATES)
def test_when_all_has_ended_a_rule_runs_the_task_exactly_if_it_holds(rule, states):
    verdict = evaluate(rule, UpstreamCounts.of(states))
    assert verdict is not Verdict.WAIT
    assert (verdict is Verdict.RUN) == PLAINLY[rule](states)


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=40)
@given(states=STATES, more=STATES)
def test_what_a_rule_decided_early_holds_whatever_comes(rule, states, more):
    early = evaluate(rule, UpstreamCounts.of([*states, *[None] * len(more)]))
    late = evaluate(rule, UpstreamCounts.of([*states, *more]))
    if early is Verdict.RUN:
        assert late is Verdict.RUN
    elif early is not Verdict.WAIT:
        assert late is not Verdict.RUN, "it may change how it does not run, as in Airflow, but never that"


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=40)
@given(states=STATES)
def test_the_order_of_upstream_tasks_does_not_matter(rule, states):
    assert evaluate(rule, UpstreamCounts.of(states)) is evaluate(rule, UpstreamCounts.of(reversed(states)))


@pytest.mark.parametrize("rule", sorted(TRIGGER_RULES))
def test_a_task_without_upstream_tasks_runs_under_every_rule(rule):
    assert evaluate(rule, UpstreamCounts()) is Verdict.RUN


@given(states=st.lists(st.sampled_from([None, "running", "queued", *ENDS]), max_size=6))
def test_counts_that_grow_are_those_that_are_counted_at_once(states):
    counts = UpstreamCounts(total=len(states))
    for state in states:
        if state in FINISHED:
            counts.add(state)
    assert counts == UpstreamCounts.of(states)
    assert counts.all_done == all(state in FINISHED for state in states)


@pytest.mark.parametrize(
    ("setup", "verdict"),
    [
        ("success", "run"),
        ("failed", "upstream_failed"),
        ("upstream_failed", "upstream_failed"),
        ("skipped", "skip"),
        (None, "wait"),
    ],
)
def test_a_task_waits_for_the_setup_it_works_within(setup, verdict):
    assert evaluate("all_done", UpstreamCounts.of(["success"]), [setup]) == verdict


def test_a_rule_in_words():
    counts = UpstreamCounts.of(["failed", "skipped", "upstream_failed", "running"])
    assert explain("one_done", counts) == "one_done: 3 of 4 done (1 failed, 1 skipped, 1 upstream_failed)"
    assert explain("always", UpstreamCounts.of([None])) == "always: 0 of 1 done"
