"""One attempt, through the real scheduler: what a task sees, how it ends, its callbacks, its log and its XComs."""

import logging
import os
import subprocess
import sys
import threading
import time

import pytest

from etlkit.clock import SystemClock, wall_seconds
from etlkit.config import Config, conf
from etlkit.dag import BaseOperator, get_current_context
from etlkit.errors import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    AirflowTaskTimeout,
    DownstreamTasksSkipped,
)
from etlkit.operators import PythonOperator
from etlkit.runtime import Context, TaskInstance
from tests.engine import DAY, HOUR, MINUTE, SECOND, Do, World, at, make_dag, run_once


def returned(world, task_id="a", key="return_value", run=None):
    """The XCom of a task, as JSON text; None if there is none."""
    found = world.store.pull_xcom((run or world.only_run()).id, task_id, key)
    return found[0][1] if found else None


def log_of(world, task_id="a", try_number=1):
    run = world.only_run()
    return world.scheduler.runner.logs.read((run.dag_id, run.run_id, task_id, -1, try_number))


def run_task(*steps, **kwargs):
    """A world in which a DAG of the one task `a` was run."""
    return run_once(make_dag(tasks=[Do("a", *steps, **kwargs)]))


# --- how it ends ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "retries", "state", "tries", "error"),
    [
        (5, 1, "success", 1, None),
        (AirflowSkipException("nothing new"), 1, "skipped", 1, None),
        (AirflowFailException("wrong key"), 1, "failed", 1, "AirflowFailException: wrong key"),
        (AirflowException("no"), 1, "failed", 2, "AirflowException: no"),
        (ValueError("two\nlines"), 0, "failed", 1, "ValueError: two lines"),
        (ValueError(), 0, "failed", 1, "ValueError"),
        (SystemExit(1), 1, "failed", 2, "SystemExit: 1"),
        (DownstreamTasksSkipped([], {"followed": []}), 1, "success", 1, None),
    ],
)
def test_how_an_attempt_ends_is_read_off_what_execute_does(step, retries, state, tries, error):
    task = run_task(step, retries=retries, retry_delay=0).tasks()["a"]
    assert (task.state, task.try_number, task.error) == (state, tries, error)


@pytest.mark.parametrize("hook", ["pre_execute", "post_execute"])
def test_what_the_hooks_raise_ends_the_attempt_too(hook):
    class Hooked(Do):
        pass

    def broken(self, *args):
        raise ValueError(hook)

    setattr(Hooked, hook, broken)
    task = run_once(make_dag(tasks=[Hooked("a")])).tasks()["a"]
    assert (task.state, task.error) == ("failed", f"ValueError: {hook}")


def test_hooks_are_called_around_execute_with_the_result():
    calls = []

    class Hooked(BaseOperator):
        def pre_execute(self, context):
            calls.append("pre")

        def execute(self, context):
            calls.append("execute")
            return 5

        def post_execute(self, context, result=None):
            calls.append(("post", result))

    run_once(make_dag(tasks=[Hooked("a")]))
    assert calls == ["pre", "execute", ("post", 5)]


def test_an_operator_that_says_nothing_fails_with_what_to_write():
    class Empty(BaseOperator):
        pass

    error = run_once(make_dag(tasks=[Empty("a")])).tasks()["a"].error
    assert error == "NotImplementedError: Empty does not say what to do: write its execute(self, context)"


def test_a_try_has_the_moments_of_the_clock():
    task = run_task(lambda context: context["clock"].sleep(90)).tasks()["a"]
    assert (task.queued_at, task.start_date, task.end_date) == (at(1), at(1), at(1, 0, 1, 30))


# --- execution_timeout ------------------------------------------------------------------------------------------------


def stubborn(_context):
    while True:
        try:
            time.sleep(30)  # noqa: TID251 (a task that hangs)
        except Exception:
            continue


@pytest.mark.parametrize("hang", [lambda _context: time.sleep(30), stubborn], ids=["sleeping", "catching"])  # noqa: TID251
def test_a_task_that_hangs_is_ended(hang):
    began = wall_seconds()
    world = run_once(make_dag(edges="a >> b, c", tasks=[Do("a", hang, execution_timeout=0.05)]))
    assert wall_seconds() - began < 5
    assert world.states() == {"a": "failed", "b": "upstream_failed", "c": "success"}
    assert world.tasks()["a"].error == "AirflowTaskTimeout: a ran longer than its execution_timeout of 0:00:00.050000"


def test_a_task_that_hung_is_tried_again():
    hang = Do("a", lambda _context: time.sleep(30), 5, execution_timeout=0.05, retries=1)  # noqa: TID251
    world = run_once(make_dag(tasks=[hang]))
    assert (world.states(), world.tries()) == ({"a": "success"}, {"a": 2})


def test_a_task_that_swallows_its_time_out_and_ends_has_failed_all_the_same():
    def swallow(_context):
        try:
            time.sleep(30)  # noqa: TID251
        except BaseException:
            return 5

    world = run_task(swallow, execution_timeout=0.05)
    assert (world.states(), returned(world)) == ({"a": "failed"}, None)


def test_on_kill_is_called_when_the_time_is_over():
    killed = []

    class Hangs(Do):
        def on_kill(self):
            killed.append(self.task_id)

    run_once(make_dag(tasks=[Hangs("a", lambda _context: time.sleep(30), execution_timeout=0.05)]))  # noqa: TID251
    assert killed == ["a"]


def test_on_a_simulated_clock_the_time_counts_that_the_task_slept():
    late, on_time = (
        Do(name, lambda context: context["clock"].sleep(3600), execution_timeout=limit)
        for name, limit in (("late", 59 * MINUTE), ("on_time", HOUR))
    )
    world = run_once(make_dag(tasks=[late, on_time]))
    assert world.states() == {"late": "failed", "on_time": "success"}


def test_the_limit_of_one_task_does_not_reach_the_next():
    world = World(
        make_dag(
            edges="a >> b",
            tasks=[Do("a", execution_timeout=0.05), Do("b", lambda _context: threading.Event().wait(0.1))],
        )
    )
    world.trigger()
    assert world.run_until(at(2)).states() == {"a": "success", "b": "success"}


def test_a_time_out_is_no_exception_that_a_task_would_catch_by_accident():
    assert not issubclass(AirflowTaskTimeout, Exception)


# --- what a task sees -------------------------------------------------------------------------------------------------


def test_the_context_of_a_scheduled_run():
    seen = {}

    def look(context):
        names = ("ds", "ds_nodash", "ts", "ts_nodash", "ts_nodash_with_tz", "run_id", "conf", "params")
        seen.update({name: context[name] for name in names})
        seen.update({name: str(context[name]) for name in ("logical_date", "data_interval_start", "data_interval_end")})
        seen["dag"], seen["task"], seen["ti"] = context["dag"].dag_id, context["task"].task_id, context["ti"].task_id
        seen["now"] = context["clock"].now()

    dag = make_dag(tasks=[Do("a", look, params={"n": 2})], schedule="@daily", catchup=True, params={"n": 1, "m": 0})
    World(dag).run_until(at(2))
    assert seen == {
        "ds": "2013-01-01",
        "ds_nodash": "20130101",
        "ts": "2013-01-01T00:00:00+00:00",
        "ts_nodash": "20130101T000000",
        "ts_nodash_with_tz": "20130101T000000+0000",
        "run_id": "scheduled__2013-01-02T00:00:00+00:00",
        "conf": {},
        "params": {"n": 2, "m": 0},
        "logical_date": "2013-01-01 00:00:00+00:00",
        "data_interval_start": "2013-01-01 00:00:00+00:00",
        "data_interval_end": "2013-01-02 00:00:00+00:00",
        "dag": "d",
        "task": "a",
        "ti": "a",
        "now": at(2),
    }


def test_every_name_of_the_context_can_be_asked_for():
    seen = []

    def look(context):
        seen.extend(name for name in context if name != "warehouse")
        assert all(name in context for name in seen)
        assert len(context) == len(list(context))
        for name in seen:
            _ = context[name]
        with pytest.raises(KeyError, match="'nope' is not in the context of a task"):
            _ = context["nope"]
        with pytest.raises(KeyError, match="no warehouse"):
            _ = context["warehouse"]

    assert run_task(look).states() == {"a": "success"}
    assert {"ti", "ds", "params", "prev_start_date_success"} <= set(seen)


def test_the_context_is_found_deep_inside_a_task_and_nowhere_else():
    found = []
    run_task(lambda context: found.append(get_current_context() is context))
    assert found == [True]
    with pytest.raises(AirflowException, match="only inside a task"):
        get_current_context()


def test_conf_overrides_params():
    seen = []
    dag = make_dag(tasks=[Do("a", lambda context: seen.append(context["params"]["n"]))], params={"n": 1})
    world = World(dag)
    world.trigger(conf={"n": 7})
    world.run_until(at(2))
    assert seen == [7]


def test_the_run_before_that_succeeded_is_known():
    seen = []

    def look(context):
        seen.append((str(context["prev_data_interval_start_success"]), str(context["prev_start_date_success"])))
        if context["logical_date"].day == 2:
            raise ValueError

    World(make_dag(tasks=[Do("a", look)], schedule="@daily", catchup=True, max_active_runs=1), now=at(4)).run_until(
        at(4)
    )
    first = ("2013-01-01 00:00:00+00:00", "2013-01-04 00:00:00+00:00")
    assert seen == [("None", "None"), first, first]


def test_a_task_may_change_its_own_copy_of_nothing():
    """What a task does to its attributes while it runs is seen by its next try in the same process: as in Airflow."""
    seen = []

    def look(context):
        seen.append((context["ti"].try_number, context["ti"].max_tries, context["ti"].state))
        if len(seen) < 3:
            raise ValueError

    run_task(look, retries=2, retry_delay=0)
    assert seen == [(1, 2, "running"), (2, 2, "running"), (3, 2, "running")]


# --- XComs ------------------------------------------------------------------------------------------------------------


def test_a_result_is_pushed_unless_it_is_none_or_not_wanted():
    world = run_once(
        make_dag(tasks=[Do("a", [1, {"b": None}]), Do("none", None), Do("unwanted", 5, do_xcom_push=False)])
    )
    assert returned(world) == '[1, {"b": null}]'
    assert (returned(world, "none"), returned(world, "unwanted")) == (None, None)


def test_multiple_outputs_push_each_key_too():
    world = run_task({"x": 1, "y": None}, multiple_outputs=True)
    assert [returned(world, key=key) for key in ("x", "y", "return_value")] == ["1", "null", '{"x": 1, "y": null}']


@pytest.mark.parametrize(
    ("value", "words"), [([1], "must return a dict, not list"), ({1: 2}, "keys must be strings, not 1")]
)
def test_multiple_outputs_of_something_else_fail_and_push_nothing(value, words):
    world = run_task(value, multiple_outputs=True)
    assert words in world.tasks()["a"].error
    assert returned(world) is None


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (object(), "object cannot be an XCom"),
        ("x" * 60_000, "60,002 bytes is more than the 49,344 allowed"),
        (float("nan"), "nan cannot be an XCom"),
        ("\ud83d", "surrogates"),
    ],
)
def test_a_result_that_cannot_travel_fails_the_task_and_the_scheduler_goes_on(value, words):
    world = run_once(make_dag(edges="a >> b, c", tasks=[Do("a", value)]))
    assert world.states() == {"a": "failed", "b": "upstream_failed", "c": "success"}
    assert words in world.tasks()["a"].error
    assert words in log_of(world)


def test_a_result_whose_own_methods_fail_fails_the_task():
    class Odd(dict):
        def items(self):
            raise OSError("odd")

    assert run_task(Odd(a=1)).tasks()["a"].error == "OSError: odd"


def test_a_try_that_fails_keeps_what_it_pushed_and_the_next_begins_clean():
    seen = []

    def push(context):
        ti = context["ti"]
        seen.append(ti.xcom_pull(key="mine"))
        ti.xcom_push("mine", ti.try_number)
        if ti.try_number == 1:
            raise ValueError

    world = World(make_dag(tasks=[Do("a", push, retries=1, retry_delay=HOUR)]))
    world.trigger()
    world.run_until(at(1, 0, 30))
    assert returned(world, key="mine") == "1"
    world.run_until(at(1, 2))
    assert (returned(world, key="mine"), seen) == ("2", [None, None])


def test_what_is_pulled_by_task_key_and_default():
    seen = {}

    def look(context):
        pull = context["ti"].xcom_pull
        seen.update(
            one=pull("a"),
            several=pull(["a", "b"]),
            key=pull("b", key="k"),
            missing=pull("nope"),
            default=pull("nope", default=9),
            list_default=pull(["a", "nope"], default=9),
            own=pull(),
            by_index=pull("a", map_indexes=-1),
            other_index=pull("a", map_indexes=0),
            indexes=pull("a", map_indexes=[-1, 3], default=0),
            no_run=pull("a", run_id="nope"),
            no_dag=pull("a", dag_id="nope"),
        )

    tasks = [
        Do("a", "A"),
        Do("b", lambda context: [context["ti"].xcom_push("k", n) for n in (1, 2)] and {"x": 1}),
        Do("look", look),
    ]
    run_once(make_dag(edges="a >> look, b >> look", tasks=tasks))
    assert seen == {
        "one": "A",
        "several": ["A", {"x": 1}],
        "key": 2,
        "missing": None,
        "default": 9,
        "list_default": ["A", 9],
        "own": None,
        "by_index": "A",
        "other_index": None,
        "indexes": ["A", 0],
        "no_run": None,
        "no_dag": None,
    }


def previous_runs(dates, run_type="scheduled"):
    """What `look` sees in runs of `dates`, made in this order: the recorded DAG x_previous_runs of Airflow."""
    seen = []

    def look(context):
        pull = context["ti"].xcom_pull
        only_prior = pull("look", include_prior_dates=True) is not None
        prev = str(context["prev_data_interval_start_success"])
        seen.append((pull("value"), pull("value", include_prior_dates=True), only_prior, prev[:10]))
        return "seen"

    tasks = [Do("value", lambda context: context["logical_date"].day), Do("look", look)]
    world = World(make_dag(edges="value >> look", tasks=tasks, schedule=DAY))
    for day in dates:
        world.trigger(logical_date=at(day, month=3, year=2024))
        world.run_until(world.clock.now() + SECOND)
    return seen


def test_include_prior_dates_gives_all_values_of_earlier_runs_as_airflow_recorded():
    assert [row[:3] for row in previous_runs([1, 2, 3])] == [
        (1, 1, False),
        (2, [1, 2], True),
        (3, [1, 2, 3], True),
    ]
    assert [row[:3] for row in previous_runs([3, 1])] == [(3, 3, False), (1, 1, False)]


def test_include_prior_dates_reaches_tasks_in_a_list_and_other_runs():
    seen = []

    def look(context):
        pull = context["ti"].xcom_pull
        first = context["dag_run"].run_id.replace("03T", "02T")
        seen.append((pull(["value"], include_prior_dates=True), pull("value", run_id=first, include_prior_dates=True)))

    tasks = [Do("value", lambda context: context["logical_date"].day), Do("look", look)]
    dag = make_dag(edges="value >> look", tasks=tasks, schedule="@daily", catchup=True)
    World(dag).run_until(at(3))
    assert seen[1] == ([1, 2], 1)


def test_xcoms_are_pulled_from_another_dag_by_its_run():
    seen = []
    one = make_dag("one", tasks=[Do("a", 5)])
    two = make_dag("two", tasks=[Do("b", lambda context: seen.append(context["ti"].xcom_pull("a", dag_id="one")))])
    world = World(one, two)
    for dag_id in ("one", "two"):
        world.trigger(dag_id, run_id="same")
        world.run_until(at(2))
    assert seen == [5]


# --- callbacks --------------------------------------------------------------------------------------------------------


def with_callbacks(calls):
    def note(name):
        return lambda context: calls.append(
            (name, context["ti"].try_number, context["ti"].state, repr(context["exception"]))
        )

    names = ("execute", "success", "failure", "retry", "skipped")
    return {f"on_{name}_callback": note(name) for name in names}


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([5], [("execute", 1, "running", "None"), ("success", 1, "success", "None")]),
        (
            [ValueError("one"), 5],
            [
                ("execute", 1, "running", "None"),
                ("retry", 1, "up_for_retry", "ValueError('one')"),
                ("execute", 2, "running", "None"),
                ("success", 2, "success", "None"),
            ],
        ),
        (
            [ValueError("one"), KeyError("two")],
            [
                ("execute", 1, "running", "None"),
                ("retry", 1, "up_for_retry", "ValueError('one')"),
                ("execute", 2, "running", "None"),
                ("failure", 2, "failed", "KeyError('two')"),
            ],
        ),
        ([AirflowSkipException("no")], [("execute", 1, "running", "None"), ("skipped", 1, "skipped", "None")]),
        (
            [AirflowFailException("no")],
            [("execute", 1, "running", "None"), ("failure", 1, "failed", "AirflowFailException('no')")],
        ),
        (
            [object()],
            [
                ("execute", 1, "running", "None"),
                ("retry", 1, "up_for_retry", None),
                ("execute", 2, "running", "None"),
                ("failure", 2, "failed", None),
            ],
        ),
    ],
)
def test_which_callbacks_are_called_when_and_how_often(steps, expected):
    calls = []
    run_task(*steps, retries=1, retry_delay=0, **with_callbacks(calls))
    assert [call[:3] for call in calls] == [call[:3] for call in expected]
    for call, other in zip(calls, expected, strict=True):
        assert call[3] == other[3] if other[3] else call[3].startswith("XComError")


def test_callbacks_are_called_in_order_and_see_what_was_committed():
    seen = []

    def look(context):
        (row,) = world.store.task_instances(world.only_run().id)
        seen.append((row.state, context["ti"].duration, context["ti"].xcom_pull("a"), context["ti"].log_text))

    def work(context):
        print("26 rows")
        context["clock"].sleep(5)
        return 26

    world = World(make_dag(tasks=[Do("a", work, on_success_callback=[look, look])]))
    world.trigger()
    world.run_until(at(2))
    assert seen == [("success", 5.0, 26, "26 rows\n")] * 2


def test_no_callback_is_called_for_what_never_ran():
    calls = []
    tasks = [Do("bad", ValueError), Do("a", **with_callbacks(calls))]
    assert run_once(make_dag(edges="bad >> a", tasks=tasks)).states()["a"] == "upstream_failed"
    assert calls == []


# --- logs -------------------------------------------------------------------------------------------------------------


def test_each_try_has_a_log_of_what_it_printed_and_logged(capsys):
    def work(context):
        print("printed by", context["ti"].try_number)
        context["task"].log.info("by its own logger")
        logging.getLogger("somebody.else").warning("by another")
        if context["ti"].try_number == 1:
            raise ValueError("no")

    world = run_task(work, retries=1, retry_delay=0)
    first, second = log_of(world), log_of(world, try_number=2)
    assert second == "printed by 2\nINFO etlkit.task: by its own logger\nWARNING somebody.else: by another\n"
    assert first.startswith(second.replace("by 2", "by 1"))
    assert first.rstrip().endswith("ValueError: no")
    assert "etlkit/runtime.py" not in first
    assert capsys.readouterr().out == ""


def test_a_task_that_was_taken_away_says_so_in_its_log():
    def clear_itself(context):
        world.clear(world.only_run())

    world = World(make_dag(tasks=[Do("a", clear_itself, 5)]))
    world.trigger()
    world.run_until(at(2))
    assert (world.states(), world.tries()) == ({"a": "success"}, {"a": 2})
    assert "what it did is not counted" in log_of(world)
    assert returned(world) == "5"


# --- the real clock ---------------------------------------------------------------------------------------------------


def test_the_same_dag_runs_on_the_computers_own_clock():
    conf.use(Config(environ={}))
    dag = make_dag(edges="a >> b", tasks=[Do("a", ValueError, 5, retries=1, retry_delay=0.01)])
    world = World(dag)
    world.clock = world.scheduler.clock = world.scheduler.runner.clock = SystemClock()
    world.trigger()
    world.run_until(world.clock.now() + 0.2 * SECOND)
    conf.use(None)
    assert (world.states(), world.tries()) == ({"a": "success", "b": "success"}, {"a": 2, "b": 1})


def test_reprs_name_the_attempt():
    seen = []
    run_task(lambda context: seen.append((repr(context), repr(context["ti"]), repr(context["dag_run"]))))
    ((context, ti, run),) = seen
    assert ti == "<TaskInstance d.a manual__2013-01-01T00:00:00+00:00 try 1 running>"
    assert (context, run) == (f"<Context of {ti}>", "<DagRun d manual__2013-01-01T00:00:00+00:00>")
    assert Context and TaskInstance


def test_the_traceback_in_a_log_begins_in_the_code_of_the_task():
    def crash():
        raise ValueError("no")

    lines = log_of(run_once(make_dag(tasks=[PythonOperator(task_id="a", python_callable=crash)])), "a").splitlines()
    assert lines[0].endswith("Traceback (most recent call last):")
    assert lines[1].endswith("in crash")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows does not fork")
def test_a_forked_process_has_tokens_of_its_own():
    script = "import os; from etlkit import runtime; os.fork() and os.wait(); print(next(runtime._tokens))"
    command = [sys.executable, "-c", script]
    tokens = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert len(tokens) == len(set(tokens)) == 2
