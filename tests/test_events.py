"""What listeners are told, and that they can do no harm."""

import pytest

from etlkit.events import Listener, Listeners, RunEvent, TaskEvent, Trace, clock_text
from tests.engine import at

TASK = TaskEvent(at(2), "weather", "r1", "load", -1, 2, "queued", "running")
RUN = RunEvent(at(2), "weather", "r1", "running", "success")


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (TASK, "2013-01-02 00:00:00 weather.load: running"),
        (
            TASK._replace(map_index=3, reason="its delay is over"),
            "2013-01-02 00:00:00 weather.load[3]: running (its delay is over)",
        ),
        (TASK._replace(new=None), "2013-01-02 00:00:00 weather.load: no state"),
        (RUN, "2013-01-02 00:00:00 weather r1: success"),
        (RUN._replace(new="failed", reason="timed_out"), "2013-01-02 00:00:00 weather r1: failed (timed_out)"),
    ],
)
def test_events_are_lines_of_a_story(event, text):
    assert str(event) == text


def test_instants_are_written_as_finely_as_they_are():
    moment = at(2).replace(microsecond=120000)
    assert (clock_text(at(2)), clock_text(moment)) == ("2013-01-02 00:00:00", "2013-01-02 00:00:00.12")


def test_events_are_frozen():
    with pytest.raises(AttributeError):
        TASK.new = "failed"


def test_a_trace_keeps_everything_in_order():
    trace = Trace()
    trace.on_run(RUN)
    trace.on_task(TASK)
    trace.on_tick(at(2))
    assert trace.events == [RUN, TASK]
    assert str(trace) == f"{RUN}\n{TASK}"


def test_a_listener_hears_what_it_overrides_and_ignores_the_rest():
    class Ticks(Listener):
        heard = 0

        def on_tick(self, at):
            self.heard += 1

    ticks = Ticks()
    hub = Listeners([ticks])
    hub.on_task(TASK)
    hub.on_run(RUN)
    hub.on_tick(at(2))
    assert ticks.heard == 1


def test_one_that_crashes_is_logged_by_name_and_the_next_is_told(caplog):
    class Broken(Listener):
        def on_task(self, event):
            raise RuntimeError("broken")

        def __repr__(self):
            return "<Broken>"

    trace = Trace()
    hub = Listeners([Broken()])
    assert not Listeners()
    hub.add(trace)
    hub.on_task(TASK)
    assert trace.events == [TASK]
    assert "listener <Broken> failed" in caplog.text
    assert "RuntimeError: broken" in caplog.text


def test_one_that_is_told_to_stop_stops():
    class Interrupted(Listener):
        def on_tick(self, at):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Listeners([Interrupted()]).on_tick(at(2))
