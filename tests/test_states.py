"""The tables of states: whole, and such that everything can end and only a clear leads away from an end."""

import pytest

from etlkit import states
from etlkit.errors import StateError
from etlkit.states import (
    ACTIVE,
    FINISHED,
    RUN_TRANSITIONS,
    TASK_TRANSITIONS,
    DagRunState,
    DagRunType,
    TaskInstanceState,
    check_path,
    check_transition,
    sources_of,
)

ALL = [None, *TaskInstanceState]


def test_the_names_are_airflows():
    assert {*TaskInstanceState} == {
        *("scheduled", "queued", "running", "success", "failed", "skipped", "upstream_failed"),
        *("up_for_retry", "up_for_reschedule", "removed"),
    }
    assert [*DagRunState] == ["queued", "running", "success", "failed"]
    assert [*DagRunType] == ["scheduled", "manual", "backfill", "asset_triggered"]


def test_every_state_has_its_line_in_the_table():
    assert set(TASK_TRANSITIONS) == set(ALL)
    assert set(RUN_TRANSITIONS) == {*DagRunState}


def test_a_final_state_is_left_by_a_clear_alone():
    assert {state: TASK_TRANSITIONS[state] for state in FINISHED} == dict.fromkeys(FINISHED, frozenset({None}))
    assert [state for state in DagRunState if RUN_TRANSITIONS[state] == {"queued"}] == ["success", "failed"]


@pytest.mark.parametrize("state", [state for state in ALL if state not in FINISHED])
def test_from_every_open_state_there_is_a_way_to_every_end(state):
    reached, fresh = set(), TASK_TRANSITIONS[state]
    while fresh:
        reached |= fresh
        # What was cleared begins anew: that is no way from here.
        fresh = {new for old in fresh - {None} for new in TASK_TRANSITIONS[old]} - reached
    assert FINISHED - {TaskInstanceState.UPSTREAM_FAILED} <= reached


def test_upstream_failed_is_what_never_began():
    assert sources_of(TaskInstanceState.UPSTREAM_FAILED) == (None,)


def test_only_what_was_queued_runs_and_only_what_ran_succeeds():
    assert sources_of(TaskInstanceState.RUNNING) == (TaskInstanceState.QUEUED,)
    assert sources_of(TaskInstanceState.SUCCESS) == (TaskInstanceState.RUNNING,)
    assert sources_of(TaskInstanceState.QUEUED) == (TaskInstanceState.SCHEDULED,)


@pytest.mark.parametrize("state", ALL)
def test_nothing_changes_into_what_it_is(state):
    with pytest.raises(StateError):
        check_transition("a", state, state)


def test_a_state_change_that_is_refused_names_both_ends():
    with pytest.raises(StateError, match="task instance load cannot go from 'no state' to 'running'") as caught:
        check_transition("load", None, "running")
    assert (caught.value.old, caught.value.new) == (None, "running")


def test_a_path_is_refused_at_its_first_wrong_step_every_time():
    check_path("a", (None, "scheduled", "queued", "running", "success", None))
    for _ in range(2):
        with pytest.raises(StateError, match="'queued' to 'success'"):
            check_path("a", (None, "scheduled", "queued", "success"))


def test_the_plain_names_are_those_of_the_states():
    assert [getattr(states, state.name) for state in TaskInstanceState] == [*TaskInstanceState]
    assert all(type(getattr(states, state.name)) is str for state in TaskInstanceState)
    assert {*ACTIVE} == {"queued", "running"}


def test_a_run_id_is_the_type_and_the_moment():
    assert DagRunType.MANUAL.run_id("2013-01-01T00:00:00+00:00") == "manual__2013-01-01T00:00:00+00:00"
