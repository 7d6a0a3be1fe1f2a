"""Sensors: waiting on a simulated clock, in both modes."""

from datetime import UTC, datetime, timedelta

import pytest

from etlkit.clock import SimulatedClock
from etlkit.dag import DAG
from etlkit.errors import (
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSensorTimeout,
    AirflowSkipException,
    DagError,
)
from etlkit.events import TaskEvent
from etlkit.lab import Lab
from etlkit.operators.empty import EmptyOperator
from etlkit.sensors import (
    BaseSensorOperator,
    BashSensor,
    DateTimeSensor,
    FileSensor,
    PokeReturnValue,
    PythonSensor,
    TimeDeltaSensor,
)
from tests.one_run import OneRun

START = datetime(2013, 1, 2, tzinfo=UTC)


class After(BaseSensorOperator):
    """True from its n-th poke on; writes down when it poked."""

    def __init__(self, n, answer=True, **kwargs):
        super().__init__(**kwargs)
        self.n, self.answer, self.pokes = n, answer, []

    def poke(self, context):
        self.pokes.append(context["clock"].now())
        return self.answer if len(self.pokes) >= self.n else False


class Fails(BaseSensorOperator):
    def __init__(self, error, **kwargs):
        super().__init__(**kwargs)
        self.error = error

    def poke(self, context):
        raise self.error


def waited(sensor):
    """Seconds from the first poke to each one."""
    return [(moment - sensor.pokes[0]).total_seconds() for moment in sensor.pokes]


def run(sensor_class, *args, **kwargs):
    with DAG("d") as dag:
        sensor = sensor_class(*args, task_id="wait", **kwargs)
        sensor >> EmptyOperator(task_id="after")
    return OneRun(dag), sensor


@pytest.mark.parametrize("mode", ["poke", "reschedule"])
class TestBothModes:
    def test_it_pokes_until_it_is_so(self, mode):
        done, sensor = run(After, 4, mode=mode, poke_interval=60)
        assert waited(sensor) == [0, 60, 120, 180]
        assert done.states == {"wait": "success", "after": "success"}
        assert done.pushed("wait") == {}
        assert done.tasks["wait"].try_number == 1

    def test_its_result(self, mode):
        done, _ = run(After, 2, PokeReturnValue(True, {"rows": 3}), mode=mode)
        assert done.value("wait") == {"rows": 3}

    def test_a_return_value_that_is_not_done_means_to_wait(self, mode):
        done, sensor = run(After, 1, PokeReturnValue(False, "early"), mode=mode, timeout=120)
        assert waited(sensor) == [0, 60, 120]
        assert done.pushed("wait") == {}

    def test_a_time_out_fails_without_a_retry(self, mode):
        done, sensor = run(After, 99, mode=mode, poke_interval=60, timeout=150, retries=3)
        assert waited(sensor) == [0, 60, 120, 180]
        assert done.states == {"wait": "failed", "after": "upstream_failed"}
        assert done.tasks["wait"].try_number == 1
        assert done.error("wait") == "AirflowSensorTimeout: wait waited 180 s; its timeout is 150 s"

    def test_a_time_out_of_zero_pokes_once(self, mode):
        done, sensor = run(After, 99, mode=mode, timeout=0)
        assert waited(sensor) == [0]
        assert done.states["wait"] == "failed"

    def test_a_soft_failure_skips(self, mode):
        done, _ = run(After, 99, mode=mode, timeout=120, soft_fail=True)
        assert done.states == {"wait": "skipped", "after": "skipped"}
        done, _ = run(Fails, AirflowFailException("no more"), mode=mode, soft_fail=True)
        assert done.states == {"wait": "skipped", "after": "skipped"}

    def test_other_errors_fail_it_even_softly_and_are_retried(self, mode):
        done, _ = run(Fails, ValueError("broken"), mode=mode, soft_fail=True, retries=1)
        assert done.states["wait"] == "failed"
        assert done.tasks["wait"].try_number == 2
        assert done.error("wait") == "ValueError: broken"

    def test_exponential_backoff_doubles(self, mode):
        _, sensor = run(After, 6, mode=mode, poke_interval=10, exponential_backoff=True)
        assert waited(sensor) == [0, 10, 30, 70, 150, 310]

    def test_exponential_backoff_up_to_a_maximum_and_no_later_than_the_time_out(self, mode):
        _, sensor = run(
            After,
            99,
            mode=mode,
            poke_interval=10,
            exponential_backoff=True,
            max_wait=timedelta(seconds=50),
            timeout=200,
        )
        assert waited(sensor) == [0, 10, 30, 70, 120, 170, 200]


def test_a_sensor_that_reschedules_gives_its_slot_back():
    with DAG("d", max_active_tasks=1) as dag:
        wait = After(3, task_id="wait", mode="reschedule", poke_interval=3600, priority_weight=10)
        EmptyOperator(task_id="other")
    done = OneRun(dag)
    states = [(e.at.hour, e.task_id, e.new) for e in done.lab.events if isinstance(e, TaskEvent) and e.new]
    assert states.index((0, "other", "success")) < states.index((2, "wait", "success"))
    assert [state for _, task_id, state in states if task_id == "wait"].count("up_for_reschedule") == 2
    assert waited(wait) == [0, 3600, 7200]


def test_a_reschedule_names_the_next_poke():
    class Ti:
        first_start_date = START

    clock = SimulatedClock(START + timedelta(seconds=30))
    with pytest.raises(AirflowRescheduleException) as error:
        After(2, task_id="a", mode="reschedule", poke_interval=60).execute({"clock": clock, "ti": Ti})
    assert error.value.reschedule_date == START + timedelta(seconds=90)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "pok"}, "task 'a': mode cannot be 'pok'; did you mean 'poke'?"),
        ({"poke_interval": 0}, "task 'a': poke_interval must be more than 0 seconds"),
        ({"poke_interval": -1}, r"task 'a': poke_interval must be a timedelta \(or seconds\) of zero or more"),
        ({"poke_interval": None}, "task 'a': poke_interval must be a number of seconds or a timedelta, not None"),
        ({"timeout": "1h"}, r"task 'a': timeout must be a timedelta \(or seconds\)"),
        ({"max_wait": -1}, "task 'a': max_wait must be"),
        ({"poke_intervall": 1}, "has no argument 'poke_intervall'; did you mean 'poke_interval'?"),
    ],
)
def test_arguments_that_cannot_be(arguments, message):
    with pytest.raises(DagError, match=message):
        BaseSensorOperator(task_id="a", **arguments)


def test_a_sensor_that_does_not_say_what_for():
    with pytest.raises(NotImplementedError, match="BaseSensorOperator does not say what to wait for"):
        BaseSensorOperator(task_id="a").poke({})


# --- the kinds


def test_a_function():
    seen = []

    def ready(x, ds, ti):
        seen.append([x, ds, ti.task_id])
        return len(seen) == 3

    done, _ = run(PythonSensor, python_callable=ready, op_args=[1])
    assert seen == [[1, "2013-01-02", "wait"]] * 3
    assert done.pushed("wait") == {}
    done, _ = run(PythonSensor, python_callable=lambda: PokeReturnValue(True, 5))
    assert done.value("wait") == 5
    with pytest.raises(DagError, match="python_callable must be a function"):
        PythonSensor(task_id="a", python_callable=5)


@pytest.mark.parametrize("mode", ["poke", "reschedule"])
@pytest.mark.parametrize("target", [START + timedelta(hours=6), "2013-01-02T06:00:00+00:00", "2013-01-02T15:00+09:00"])
def test_an_instant(target, mode):
    done, _ = run(DateTimeSensor, target_time=target, mode=mode, poke_interval=3600)
    assert done.tasks["wait"].end_date == START + timedelta(hours=6)


@pytest.mark.parametrize("target", [datetime(2013, 1, 2), None, 5])  # noqa: DTZ001 (what is refused)
def test_an_instant_that_is_none(target):
    with pytest.raises(DagError, match="task 'a': target_time"):
        DateTimeSensor(task_id="a", target_time=target)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (
            "tomorrow",
            "DagError: task 'wait': target_time 'tomorrow' is not an instant; write it like 2013-01-31T06:00:00",
        ),
        ("2013-01-02T06:00", "has no time zone"),
    ],
)
def test_a_text_that_is_no_instant(target, message):
    done, _ = run(DateTimeSensor, target_time=target)
    assert message in done.error("wait")


def test_a_while_after_the_data_interval():
    with DAG("d", schedule="@daily", start_date=START - timedelta(days=3)) as dag:
        TimeDeltaSensor(task_id="wait", delta=timedelta(hours=2), mode="reschedule", poke_interval=600)
    lab = Lab(start="2013-01-02")
    lab.add(dag).advance(hours=3)
    (scheduled,) = lab.store.runs("d")
    (task,) = lab.store.task_instances(scheduled.id)
    assert (task.state, task.end_date) == ("success", START + timedelta(hours=2))


def test_a_file(tmp_path):
    with DAG("d") as dag:
        FileSensor(task_id="file", filepath=tmp_path / "there.csv")
        FileSensor(task_id="pattern", filepath=str(tmp_path / "*.csv"))
        FileSensor(task_id="folder", filepath=tmp_path)
        FileSensor(task_id="deep", filepath=str(tmp_path / "**" / "deep.csv"), recursive=True)
        FileSensor(task_id="none", filepath=tmp_path / "none", timeout=60, soft_fail=True)
        FileSensor(task_id="empty", filepath=tmp_path / "empty", timeout=60, soft_fail=True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "deep.csv").touch()
    (tmp_path / "there.csv").touch()
    states = OneRun(dag).states
    assert {task_id for task_id, state in states.items() if state == "skipped"} == {"none", "empty"}
    assert set(states.values()) == {"success", "skipped"}


def test_a_command(tmp_path):
    counting = f'echo x >> {tmp_path}/n; test "$(wc -l < {tmp_path}/n)" -eq 3'
    with DAG("d") as dag:
        BashSensor(task_id="third", bash_command=counting)
        BashSensor(task_id="env", bash_command='test "$A" = 1', env={"A": "1"})
        BashSensor(task_id="never", bash_command="exit 7", timeout=60, soft_fail=True)
        BashSensor(task_id="wrong", bash_command="exit 7", retry_exit_code=3, retries=2)
        BashSensor(task_id="later", bash_command="exit 3", retry_exit_code=3, timeout=60, soft_fail=True)
    done = OneRun(dag)
    assert done.states == {
        "third": "success",
        "env": "success",
        "never": "skipped",
        "wrong": "failed",
        "later": "skipped",
    }
    assert done.error("wrong") == "AirflowFailException: the command ended with exit code 7; only 3 means to wait"
    assert done.tasks["wrong"].try_number == 1


def test_stopping_a_command():
    sensor = BashSensor(task_id="a", bash_command="true")
    sensor.on_kill()
    assert sensor.poke({}) is True
    sensor.on_kill()


def test_errors_that_skip_are_not_time_outs():
    with pytest.raises(AirflowSkipException):
        Fails(AirflowSkipException("enough"), task_id="a").execute({"clock": SimulatedClock(START)})
    with pytest.raises(AirflowSensorTimeout):
        Fails(AirflowSensorTimeout("own"), task_id="a").execute({"clock": SimulatedClock(START)})
