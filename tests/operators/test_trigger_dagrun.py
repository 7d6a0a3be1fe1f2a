"""TriggerDagRunOperator: runs of other DAGs, made as the task ends, and waited for without a slot."""

from datetime import datetime, timedelta

import pytest

from etlkit.errors import DagError
from etlkit.operators import TriggerDagRunOperator
from etlkit.params import Param
from etlkit.states import RUNNING
from tests.engine import DAY, HOUR, MINUTE, Do, HandExecutor, World, at, make_dag


def make_world(*, target=None, executor=None, **kwargs):
    """A DAG `d` with the one task `go`, and the DAG `target` that it starts."""
    go = TriggerDagRunOperator(task_id="go", trigger_dag_id=kwargs.pop("trigger_dag_id", "target"), **kwargs)
    return World(make_dag(tasks=[go]), target or make_dag("target", tasks=[Do("work")]), now=at(5), executor=executor)


def run(world, moment=None):
    """Trigger the DAG and let everything happen until `moment`; the task, and the runs that it started."""
    world.trigger()
    world.run_until(moment or world.clock.now() + DAY)
    return world.tasks(world.runs()[-1])["go"], world.runs("target")


def test_it_starts_a_run_of_another_dag():
    task, (started,) = run(world := make_world(conf={"day": "{{ ds }}", "n": 3}))
    assert (task.state, started.state, started.run_type) == ("success", "success", "manual")
    assert (started.logical_date, started.conf) == (at(5), {"day": "2013-01-05", "n": 3})
    assert started.run_id == f"manual__{at(5).isoformat()}"
    assert world.store.pull_xcom(world.only_run().id, "go", "trigger_run_id") == [(-1, f'"{started.run_id}"')]


def test_the_run_may_be_told_its_id_and_date():
    _, (started,) = run(make_world(trigger_run_id="for_{{ ds }}", logical_date="{{ logical_date.subtract(days=1) }}"))
    assert (started.run_id, started.logical_date) == ("for_2013-01-05", at(4))
    _, (started,) = run(make_world(logical_date=at(3)))
    assert started.logical_date == at(3)
    _, (started,) = run(make_world(logical_date=None))
    assert (started.logical_date, started.data_interval) == (None, None)


def test_conf_may_be_json():
    assert run(make_world(conf='{"day": "{{ ds }}"}'))[1][0].conf == {"day": "2013-01-05"}


def test_several_at_one_instant_start_as_many_runs():
    with make_dag() as dag:
        TriggerDagRunOperator.partial(task_id="go", trigger_dag_id="target").expand(conf=[{"n": n} for n in range(3)])
    world = World(dag, make_dag("target", tasks=[Do("work")]), now=at(5))
    world.trigger()
    world.run_until(at(6))
    assert [(run.conf["n"], run.logical_date - at(5)) for run in world.runs("target")] == [
        (n, timedelta(microseconds=n)) for n in range(3)
    ]
    assert {run.state for run in world.runs("target")} == {"success"}


def test_of_runs_that_were_not_made_after_all_nobody_is_told():
    def two_of_one_id(context):
        for _ in range(2):
            context["ti"].trigger_dag_run("target", run_id="one", logical_date=None, conf=None)

    world = World(make_dag(tasks=[Do("go", two_of_one_id)]), make_dag("target"), now=at(5))
    task, started = run(world)
    assert (task.state, started) == ("failed", [])
    assert "already has a run called 'one'" in task.error
    assert "target" not in {event.dag_id for event in world.trace.events}


def test_a_run_that_is_started_makes_the_scheduler_read_nothing_anew(monkeypatch):
    world = make_world()
    world.trigger()
    read, open_runs = [], world.store.open_runs
    monkeypatch.setattr(world.store, "open_runs", lambda dag_ids: read.append(1) or open_runs(dag_ids))
    world.run_until(at(5))
    assert (len(read), [run.state for run in world.runs("target")]) == (1, ["success"])  # once, for the trigger by hand
    queued = [event for event in world.trace.events if event.dag_id == "target" and event.new == "queued"]
    assert [event.reason for event in queued if not hasattr(event, "task_id")] == ["go started it"]


def test_it_waits_without_a_slot_and_looks_again():
    step = lambda context: context["clock"].sleep(150)  # noqa: E731
    world = make_world(target=make_dag("target", tasks=[Do("work", step)]), wait_for_completion=True, poke_interval=60)
    task, (started,) = run(world)
    assert (task.state, task.try_number) == ("success", 1)
    assert task.end_date - started.end_date <= MINUTE
    assert started.end_date - at(5) == timedelta(seconds=150)


def test_while_it_waits_nothing_of_it_is_active():
    executor = HandExecutor()
    world = make_world(executor=executor, wait_for_completion=True)
    world.trigger()
    world.tick()
    executor.end("go")
    world.tick()
    assert (world.states()["go"], executor.tasks) == ("up_for_reschedule", ["work"])
    assert [holder.task_id for holder in world.store.slot_holders()] == ["work"]
    for _ in range(3):
        world.clock.sleep(60)
        world.tick()
        executor.end("go")
        world.tick()
    assert len(world.runs("target")) == 1
    executor.end("work")
    world.tick()
    world.clock.sleep(60)
    world.tick()
    executor.end("go")
    assert world.tick().states()["go"] == "success"


def test_it_fails_with_the_run_it_waits_for_and_a_retry_starts_another():
    target = make_dag("target", tasks=[Do("work", lambda context: 1 / (context["logical_date"].minute > 0))])
    world = make_world(target=target, wait_for_completion=True, retries=1, retry_delay=60)
    task, runs = run(world)
    assert (task.state, task.try_number) == ("success", 2)
    assert [run.state for run in runs] == ["failed", "success"]
    assert "is failed" in world.store.history(world.only_run().id)[0][-1]


def test_which_states_are_good_may_be_told():
    target = make_dag("target", tasks=[Do("work", ValueError("no data"))])
    task, _ = run(make_world(target=target, wait_for_completion=True, allowed_states=["failed"], failed_states=[]))
    assert task.state == "success"


def test_it_fails_if_there_is_such_a_run():
    world = make_world(logical_date=at(1))
    run(world)
    task, runs = run(world)
    assert (task.state, len(runs)) == ("failed", 1)
    assert "already has the run manual__2013-01-01" in task.error


def test_or_skips_or_runs_that_one_again():
    world = make_world(logical_date=at(1), skip_when_already_exists=True)
    run(world)
    assert run(world)[0].state == "skipped"
    world = make_world(trigger_run_id="it", reset_dag_run=True, wait_for_completion=True)
    run(world)
    task, (only,) = run(world)
    assert (task.state, only.state) == ("success", "success")
    assert world.tries(only) == {"work": 2}


def test_a_run_that_somebody_else_makes_meanwhile_fails_the_task():
    executor = HandExecutor()
    world = make_world(executor=executor, logical_date=at(1))
    world.trigger()
    world.tick()
    (work,) = executor.held.values()
    with world.store.transaction():
        begun = executor.runner.begin(work)
    trigger, begun.task.execute = (
        begun.task.execute,
        lambda context: (trigger(context), world.trigger("target", logical_date=at(1)))[0],
    )
    assert executor.runner.carry_out(begun).state == "failed"
    assert "already has a run of 2013-01-01" in world.tasks(world.only_run())["go"].error
    assert len(world.runs("target")) == 1


def test_a_task_that_fails_after_all_starts_nothing():
    world = make_world()
    world.dags["d"].task_dict["go"].post_execute = lambda context, result=None: 1 / 0
    task, runs = run(world)
    assert (task.state, runs) == ("failed", [])


def test_a_paused_dag_has_its_run_later_and_the_log_says_so(caplog):
    world = make_world()
    world.pause("target")
    task, (started,) = run(world)
    assert (task.state, started.state) == ("success", "queued")
    assert "DAG target is paused: its run starts when it is unpaused" in caplog.text
    world.pause("target", paused=False)
    assert world.run_until(at(7)).runs("target")[0].state == "success"


def test_or_fails_the_task():
    world = make_world(fail_when_dag_is_paused=True)
    world.pause("target")
    task, runs = run(world)
    assert (task.state, runs) == ("failed", [])
    assert "is paused" in task.error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"trigger_dag_id": "targt"}, "no DAG is called 'targt'; did you mean 'target'?"),
        ({"logical_date": "soon"}, "logical_date 'soon' is no date"),
        ({"logical_date": "2013-01-01"}, "has no time zone"),
        ({"conf": "{"}, "conf '{' is not JSON"),
        ({"conf": {"airport": 5}}, "airport"),
        ({"trigger_run_id": "scheduled__x"}, "kept for scheduled runs"),
    ],
)
def test_what_cannot_be_started_fails_the_task_and_starts_nothing(arguments, message):
    target = make_dag("target", tasks=[Do("work")], params={"airport": Param("JFK", type="string")})
    task, runs = run(make_world(target=target, **arguments))
    assert (task.state, runs) == ("failed", [])
    assert message in task.error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"deferrable": True}, "deferrable=True cannot be"),
        ({"logical_date": datetime(2013, 1, 1)}, "has no time zone"),  # noqa: DTZ001
        ({"poke_interval": -1}, "poke_interval"),
        ({"allowed_states": ["done"]}, "allowed_states cannot be 'done'"),
    ],
)
def test_what_cannot_be_is_refused(arguments, message):
    with pytest.raises(DagError, match=message):
        TriggerDagRunOperator(task_id="go", trigger_dag_id="target", **arguments)


def test_a_run_that_is_deleted_while_it_is_waited_for_fails_the_task():
    world = make_world(target=make_dag("target", tasks=[Do("work")]), wait_for_completion=True)
    world.pause("target")
    world.trigger()
    world.run_until(at(5))
    world.store.run_sql("DELETE FROM dag_run WHERE dag_id = 'target'")
    world.run_until(at(5) + HOUR)
    assert "is not there any more" in world.tasks()["go"].error


def test_without_a_scheduler_no_other_dag_is_known():
    executor = HandExecutor()
    world = make_world(executor=executor)
    executor.runner.find_dag = None
    world.trigger()
    world.tick()
    executor.end()
    assert "no DAG is called 'target'" in world.tick().tasks()["go"].error


def test_a_killed_scheduler_starts_the_run_once():
    """The run is written with the end of the attempt: neither is there, or both are."""
    executor = HandExecutor()
    world = make_world(executor=executor)
    world.trigger()
    world.tick()
    (work,) = executor.held.values()
    with world.store.transaction():
        begun = executor.runner.begin(work)
    begun.task.pre_execute = lambda context: context["ti"].at_end.append(lambda now: (_ for _ in ()).throw(SystemError))
    with pytest.raises(SystemError):
        executor.runner.carry_out(begun)  # as if it was killed within the transaction
    del begun.task.pre_execute
    assert (world.states()["go"], world.runs("target")) == (RUNNING, [])
    assert [task.task_id for task in world.restart()] == ["go"]
    world.run_until(at(6))
    assert (world.states()["go"], len(world.runs("target"))) == ("success", 1)
