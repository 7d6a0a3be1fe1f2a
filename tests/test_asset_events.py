"""Events of assets: what is written when a task succeeds, and which runs that starts."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etlkit.asset_events import NewEvent as New
from etlkit.asset_events import (
    Source,
    events_of_asset,
    events_of_run,
    find_assets,
    missing_assets,
    queued,
    record_events,
)
from etlkit.assets import Asset, AssetAll, AssetAny, AssetOrTimeSchedule, Metadata
from etlkit.backfill import create_backfill, plan_backfill
from etlkit.errors import AirflowSkipException
from etlkit.operators import PythonOperator
from etlkit.timetables import CronDataIntervalTimetable
from tests.engine import HOUR, Do, HandExecutor, World, at, make_dag

A, B, C = ASSETS = [Asset(name) for name in "abc"]


def producer(dag_id="producer", *steps, outlets=A, **kwargs):
    return make_dag(dag_id, tasks=[Do("make", *steps, outlets=outlets)], **kwargs)


def consumer(schedule, *tasks, dag_id="consumer", **kwargs):
    return make_dag(dag_id, tasks=tasks or [Do("use")], schedule=schedule, **kwargs)


def makers(*assets):
    """A DAG for each asset, called after it, that makes it."""
    return [producer(asset.name, outlets=asset) for asset in assets]


def make(world, *dag_ids):
    """Run DAGs, one after the other, an hour apart."""
    for dag_id in dag_ids:
        world.run_until(world.clock.now() + HOUR).trigger(dag_id)
        world.run_until(world.clock.now())


def events(world, run):
    return [(event.asset.name, event.source_run_id) for event in events_of_run(world.store, run)]


# --- one asset ---


def test_a_task_that_succeeds_starts_the_dag_that_waits_for_its_outlet():
    world = World(producer(), consumer(A))
    world.run_until(at(5))
    source = world.trigger("producer")
    world.run_until(at(5))
    run = world.only_run("consumer")
    assert (run.run_type, run.state) == ("asset_triggered", "success")
    assert run.run_id == f"asset_triggered__{at(5).isoformat()}"
    assert (run.logical_date, run.data_interval, run.run_after) == (None, None, at(5))
    (event,) = events_of_run(world.store, run)
    assert event[1:] == (A, {}, at(5), "producer", "make", source.run_id, -1)
    assert queued(world.store) == {}
    assert world.run_until(at(9)).only_run("consumer") == run


@pytest.mark.parametrize("step", [ValueError("no data"), AirflowSkipException("nothing new")])
def test_a_task_that_does_not_succeed_makes_no_event(step):
    world = World(producer("producer", step), consumer(A))
    world.trigger("producer")
    assert world.run_until(at(5)).runs("consumer") == []
    assert events_of_asset(world.store, A) == []


def test_only_the_try_that_succeeds_makes_an_event():
    dag = make_dag("producer", tasks=[Do("make", ValueError("no data"), None, outlets=[A], retries=1, retry_delay=60)])
    world = World(dag, consumer(A))
    world.trigger("producer")
    world.run_until(at(5))
    assert len(events_of_asset(world.store, A)) == len(world.runs("consumer")) == 1


def test_each_instance_of_a_mapped_task_makes_an_event():
    with make_dag("producer") as dag:
        PythonOperator.partial(task_id="make", python_callable=lambda n: n, outlets=[A]).expand(op_args=[[1], [2], [3]])
    world = World(dag, consumer(A, max_active_runs=1))
    world.trigger("producer")
    world.run_until(at(5))
    assert [event.source_map_index for event in events_of_asset(world.store, A)] == [0, 1, 2]
    told = [event.source_map_index for run in world.runs("consumer") for event in events_of_run(world.store, run)]
    assert told == [0, 1, 2]


def test_a_task_that_is_cleared_and_succeeds_again_makes_another_event():
    world = World(producer(), consumer(A))
    run = world.trigger("producer")
    world.run_until(at(5)).clear(run)
    world.run_until(at(6))
    assert len(world.runs("consumer")) == 2


def test_a_consumer_that_is_cleared_keeps_its_events():
    seen = []
    use = Do("use", lambda context: seen.append(len(context["triggering_asset_events"][A])))
    world = World(producer(), consumer(A, use))
    world.trigger("producer")
    world.run_until(at(5)).clear(world.only_run("consumer"))
    world.run_until(at(6))
    assert (seen, len(world.runs("consumer"))) == ([1, 1], 1)


def test_the_runs_of_a_backfill_make_events():
    dag = producer(schedule="@daily", end_date=at(1), catchup=False)
    world = World(dag, consumer(A, max_active_runs=1), now=at(5))
    plan = plan_backfill(dag, at(2), at(3), now=at(5))
    create_backfill(world.store, dag, plan, now=at(5))
    world.run_until(at(6))
    made = [event.source_run_id.partition("__")[0] for event in events_of_asset(world.store, A)]
    assert made.count("backfill") == 2


def test_a_chain_of_dags_runs_to_its_end_at_one_instant():
    middle = consumer(A, Do("next", outlets=[B]), dag_id="middle")
    world = World(consumer(B), middle, producer())
    world.trigger("producer")
    world.run_until(world.clock.now())
    assert [len(world.runs(dag_id)) for dag_id in ("middle", "consumer")] == [1, 1]


# --- several assets ---


def test_a_list_waits_for_all_and_takes_what_came_meanwhile():
    world = World(*makers(A, B), consumer([A, B]))
    make(world, "a", "a")
    assert world.runs("consumer") == []
    assert str(missing_assets(world.store, world.dags["consumer"])) == "b"
    make(world, "b")
    assert [name for name, _ in events(world, world.only_run("consumer"))] == ["a", "a", "b"]
    make(world, "b")
    assert len(world.runs("consumer")) == 1
    make(world, "a")
    assert [name for name, _ in events(world, world.runs("consumer")[1])] == ["b", "a"]


def test_any_of_several_is_enough():
    world = World(*makers(A, B), consumer(A | B))
    make(world, "a", "b")
    assert [events(world, run)[0][0] for run in world.runs("consumer")] == ["a", "b"]


schedules = st.recursive(
    st.sampled_from(ASSETS),
    lambda inner: st.lists(inner, min_size=1).flatmap(
        lambda items: st.sampled_from([AssetAll(*items), AssetAny(*items)])
    ),
    max_leaves=5,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(schedule=schedules, order=st.lists(st.sampled_from("abc"), max_size=8))
def test_every_event_is_consumed_once_by_the_run_that_it_completes(schedule, order):
    world = World(*makers(*ASSETS), consumer(schedule))
    wanted = {asset.name for asset in schedule.assets()}
    expected, waiting = [], []
    for name in order:
        make(world, name)
        waiting += [name] if name in wanted else []
        if name in wanted and schedule.is_met({Asset(n).key for n in waiting}):
            expected.append(waiting)
            waiting = []
    assert [[name for name, _ in events(world, run)] for run in world.runs("consumer")] == expected
    assert {key.name for keys in queued(world.store).values() for key in keys} == {*waiting}


def test_several_dags_may_wait_for_one_asset():
    world = World(producer(), *(consumer(A, dag_id=f"consumer{n}") for n in range(3)))
    make(world, "producer")
    assert [len(world.runs(f"consumer{n}")) for n in range(3)] == [1, 1, 1]


def test_by_time_and_by_assets():
    daily = CronDataIntervalTimetable("@daily", "UTC")
    world = World(producer(), consumer(AssetOrTimeSchedule(timetable=daily, assets=A), catchup=True))
    world.run_until(at(2, 12)).trigger("producer")
    world.run_until(at(3, 12))
    kinds = [(run.run_type, run.logical_date) for run in world.runs("consumer")]
    assert kinds == [("scheduled", at(1)), ("asset_triggered", None), ("scheduled", at(2))]


# --- who is queued ---


def test_a_paused_dag_is_not_queued_but_its_next_run_gets_the_events():
    world = World(producer(), consumer(A))
    world.pause("consumer")
    make(world, "producer")
    world.pause("consumer", paused=False)
    assert world.run_until(at(2)).runs("consumer") == []
    make(world, "producer")
    assert len(events(world, world.only_run("consumer"))) == 2


def test_a_dag_that_is_paused_after_it_was_queued_waits():
    world = World(*makers(A, B), consumer([A, B]))
    make(world, "a")
    world.pause("consumer")
    with world.store.transaction():
        record_events(world.store, [New(B)], Source(), at(3))
    assert world.run_until(at(4)).runs("consumer") == []
    world.pause("consumer", paused=False)
    make(world, "b")
    assert len(events(world, world.only_run("consumer"))) == 3


def test_events_wait_while_as_many_runs_are_active_as_may_be():
    executor = HandExecutor()
    world = World(*makers(A), consumer(A, max_active_runs=1), executor=executor)
    for number in range(4):
        world.trigger("a", logical_date=at(number + 1))
        world.tick()
        executor.end("make")
        world.tick()
    assert len(world.runs("consumer")) == 1
    executor.end("use")
    world.tick()
    assert [len(events(world, run)) for run in world.runs("consumer")] == [1, 3]


@pytest.mark.parametrize(("catchup", "expected"), [(False, 1), (True, 2)])
def test_events_from_before_a_dag_was_seen_count_if_it_catches_up(catchup, expected):
    world = World(producer())
    make(world, "producer")
    world.add(consumer(A, catchup=catchup))
    assert world.run_until(world.clock.now()).runs("consumer") == []
    world.trigger("producer", logical_date=at(4))  # at the same instant
    world.run_until(world.clock.now())
    assert len(events(world, world.only_run("consumer"))) == expected


def test_a_dag_that_waits_for_other_assets_now_forgets_what_it_was_queued_for():
    world = World(*makers(A, B, C), consumer([A, B]))
    make(world, "a")
    world.replace(consumer([B, C]))
    assert queued(world.store) == {}
    make(world, "b", "c")
    assert [name for name, _ in events(world, world.only_run("consumer"))] == ["b", "c"]


def test_a_dag_that_does_not_allow_such_runs_has_none():
    world = World(producer(), consumer(A, allowed_run_types=["manual"]))
    make(world, "producer")
    assert world.runs("consumer") == []


def test_an_event_that_somebody_else_writes_is_seen():
    world = World(consumer(A))
    world.run_until(at(2))
    with world.store.transaction():
        record_events(world.store, [New(A, '{"rows": 3}')], Source(), at(2))
        world.store.touched()
    (event,) = events_of_run(world.store, world.run_until(at(2)).only_run("consumer"))
    assert (event.extra, event.source_dag_id) == ({"rows": 3}, None)


def test_two_runs_at_one_instant_have_names_of_their_own():
    world = World(producer(), consumer(A))
    for day in (1, 2, 3):
        world.trigger("producer", logical_date=at(day))
        world.run_until(at(3))
    plain = f"asset_triggered__{at(3).isoformat()}"
    assert [run.run_id for run in world.runs("consumer")][1:] == [plain, f"{plain}__2"]


# --- what tasks see ---


def test_a_task_says_what_it_knows_of_its_event():
    def by_context(context):
        context["outlet_events"][A].extra["rows"] = 26

    def by_yield(outlet_events):
        yield Metadata(B, {"rows": 27})
        return "done"

    two = PythonOperator(task_id="two", python_callable=by_yield, outlets=[B])
    dag = make_dag("producer", tasks=[Do("one", by_context, outlets=[A]), two])
    world = World(dag)
    world.trigger("producer")
    world.run_until(at(2))
    assert [events_of_asset(world.store, asset)[0].extra for asset in (A, B)] == [{"rows": 26}, {"rows": 27}]
    assert world.store.pull_xcom(world.only_run("producer").id, "two", "return_value") == [(-1, '"done"')]


def test_an_extra_that_is_not_json_fails_the_task_and_makes_no_event():
    def step(context):
        context["outlet_events"][A].extra["rows"] = object()

    world = World(producer("producer", step), consumer(A))
    world.trigger("producer")
    world.run_until(at(2))
    (task,) = world.tasks(world.only_run("producer")).values()
    assert task.state == "failed"
    assert "the extra of an event of Asset 'a' must be JSON" in task.error
    assert (events_of_asset(world.store, A), world.runs("consumer")) == ([], [])


def test_what_is_said_of_an_asset_that_is_no_outlet_is_dropped():
    def step(context):
        context["outlet_events"][B].extra["rows"] = 1

    world = World(producer("producer", step), consumer(B))
    make(world, "producer")
    assert (len(events_of_asset(world.store, A)), events_of_asset(world.store, B)) == (1, [])


def test_a_run_sees_the_events_that_started_it():
    seen = []

    def use(context):
        found = context["triggering_asset_events"]
        (event,) = found[A]
        seen.append((found[Asset.ref(name="a")] == [event], event.source_dag_run.logical_date, event.uri, list(found)))

    world = World(producer(), consumer(A, Do("use", use)))
    world.run_until(at(3)).trigger("producer")
    world.run_until(at(3))
    assert seen == [(True, at(3), "a", [A])]


def test_templates_see_them_too():
    seen = []
    text = "{{ (triggering_asset_events.values() | first | first).source_dag_run.run_id }}"
    show = PythonOperator(task_id="show", python_callable=seen.append, op_args=[text])
    world = World(producer(), consumer(A, show))
    run = world.trigger("producer")
    world.run_until(at(3))
    assert seen == [run.run_id]


def test_a_run_that_was_not_started_by_events_has_none():
    seen = []
    world = World(consumer(A, Do("use", lambda context: seen.append(len(context["triggering_asset_events"])))))
    world.trigger("consumer")
    world.run_until(at(2))
    assert seen == [0]


def test_a_task_reads_the_events_of_its_inlets():
    seen = []

    def look(context):
        found = context["inlet_events"]
        newest = found[0].ascending(False).limit(1)
        numbers = [event.extra["n"] for event in found[A]]
        seen.append((numbers, newest[0].extra["n"], len(found[A].after(at(2))), len(found[A].before(at(2)))))
        with pytest.raises(KeyError, match="none of the task's inlets"):
            found[B]

    numbers = iter(range(3))
    step = lambda context: context["outlet_events"][A].extra.update(n=next(numbers))  # noqa: E731
    world = World(producer("producer", step), make_dag("reader", tasks=[Do("look", look, inlets=[A])]))
    for day in (1, 2, 3):
        world.run_until(at(day)).trigger("producer")
    world.run_until(at(4)).trigger("reader")
    world.run_until(at(4))
    assert world.states(world.only_run("reader")) == {"look": "success"}
    assert seen == [([0, 1, 2], 2, 2, 2)]


# --- who is killed when ---


def test_after_a_restart_queued_events_are_found():
    world = World(*makers(A, B), consumer([A, B]))
    make(world, "a")
    world.restart()
    make(world, "b")
    assert len(events(world, world.only_run("consumer"))) == 2


def test_a_worker_that_lost_its_task_makes_no_event():
    executor = HandExecutor()
    world = World(producer(), consumer(A), executor=executor)
    run = world.trigger("producer")
    world.tick()
    (work,) = executor.held.values()
    with world.store.transaction():
        begun = executor.runner.begin(work)
    world.clear(run)
    assert executor.runner.carry_out(begun).state is None
    assert events_of_asset(world.store, A) == []


def test_a_mere_mention_of_an_asset_takes_nothing_away_of_what_is_known():
    said = Asset("prices", group="market", extra={"currency": "EUR"})
    world = World(producer(outlets=said), consumer([Asset("prices")]))
    assert find_assets(world.store, Asset.ref(name="prices")) == [said]
