"""The Gantt chart of a run."""

from datetime import UTC, datetime, timedelta

import pytest

from etlkit import viz
from etlkit.dag import BaseOperator
from etlkit.errors import EtlkitError
from etlkit.lab import Lab
from etlkit.viz import history
from etlkit.viz.run_gantt import slots_in_use
from tests.engine import HOUR, MINUTE, START, make_dag


class Takes(BaseOperator):
    """Takes so many minutes of the clock, and fails the first `fails` times."""

    def __init__(self, task_id, minutes, fails=0, **kwargs):
        self.minutes, self.fails = minutes, fails
        super().__init__(task_id=task_id, **kwargs)

    def execute(self, context):
        context["clock"].sleep(60 * self.minutes)
        if context["ti"].try_number <= self.fails:
            raise ValueError("no answer")


@pytest.fixture
def lab():
    tasks = [Takes("extract", 10, fails=1, retries=1, retry_delay=5 * MINUTE), Takes("mean", 20), Takes("max", 5)]
    dag = make_dag("weather", "extract >> mean, extract >> max", tasks=tasks, schedule="@daily", catchup=True)
    with Lab(start=START) as lab:
        yield lab.add(dag).run_until("2013-01-02 12:00")


def test_a_run_shows_who_ran_who_waited_and_who_was_tried_again(lab):
    lines = str(lab.gantt()).splitlines()
    head, *rows, slots = lines
    assert head.endswith("2 Jan 2013 00:00:00 to 00:50:00 UTC, 50 min")
    assert [row.split() for row in rows] == [
        ["extract", "1", "█" * 8, "10", "min", "↻", "up_for_retry"],
        ["extract", "2", "█" * 8, "10", "min", "✓", "success"],
        ["mean", "1", "█" * 16, "20", "min", "✓", "success"],
        ["max", "1", "░" * 16 + "█" * 4, "5", "min", "waited", "20", "min", "✓", "success"],
    ]
    assert slots == "at most 1 of 1 slots in use"


def test_without_decisions_the_tries_tell_what_they_know(lab):
    (run,) = lab.store.runs("weather")
    found = history.attempts(lab.store, run)
    assert {(one.ready, one.queued) for one in found} == {(None, None)}
    lab.decisions()
    told = history.attempts(lab.store, run)
    assert {(one.task, one.start, one.end) for one in found} == {(one.task, one.start, one.end) for one in told}


def test_a_rescheduled_sensor_has_a_bar_for_each_poke():
    changes = [("wait", -1, 1, state, START + i * MINUTE) for i, state in enumerate(
        ["scheduled", "queued", "running", "up_for_reschedule", "scheduled", "queued", "running", "success"]
    )]  # fmt: skip
    assert [(one.state, one.start, one.end) for one in history.attempts_of(changes)] == [
        ("up_for_reschedule", START + 2 * MINUTE, START + 3 * MINUTE),
        ("success", START + 6 * MINUTE, START + 7 * MINUTE),
    ]


def test_a_task_that_never_ran_has_a_sign_where_it_was_decided():
    changes = [("load", 2, 0, "upstream_failed", START)]
    (attempt,) = history.attempts_of(changes)
    assert attempt == viz.Attempt("load[2]", 0, "upstream_failed", end=START)
    assert "load[2]" in str(viz.gantt([attempt]))


def test_what_still_runs_ends_at_the_present():
    picture = viz.gantt([viz.Attempt("a", 1, "running", START, START, START)], now=START + HOUR)
    assert "1 h" in str(picture).splitlines()[0]


def test_slots_are_held_from_queued_to_the_end():
    minutes = [START + i * MINUTE for i in range(5)]
    one = viz.Attempt("a", 1, "success", minutes[0], minutes[0], minutes[1], minutes[3])
    other = viz.Attempt("b", 1, "success", minutes[0], minutes[2], minutes[2], minutes[4])
    steps = [(minutes[0], 1), (minutes[2], 2), (minutes[3], 1), (minutes[4], 0)]
    assert slots_in_use([one, other]) == steps


def test_too_many_tasks_are_refused():
    day = datetime(2013, 1, 1, tzinfo=UTC)
    with pytest.raises(EtlkitError, match="201 tasks are too many for one picture, which shows 200"):
        viz.gantt([viz.Attempt(f"t{i}", 1, "success", day, day, day, day + timedelta(1)) for i in range(201)])
