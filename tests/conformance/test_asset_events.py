"""Events of assets on every kind of metadata database, and from several connections at once."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from etlkit import upkeep
from etlkit.asset_events import (
    NewEvent,
    Source,
    events_of_asset,
    events_of_run,
    give_events,
    queued,
    record_events,
    register_assets,
    take,
)
from etlkit.assets import Asset
from etlkit.dag import DAG
from etlkit.operators import TriggerDagRunOperator
from tests.engine import DAY, HOUR, START, Do, World, at, make_dag

ORDERS, PRICES = Asset("orders", extra={"owner": "ada"}), Asset("prices")


def add(store, dag):
    with store.transaction():
        store.register_dag(dag.dag_id, paused=False, fileloc=None, schedule="", now=START)
        register_assets(store, dag)


def record(store, asset, extra="{}", moment=START):
    with store.transaction():
        record_events(store, [NewEvent(asset, extra)], Source("d", "make", "r", 2), moment)


def new_run(store, dag_id, run_id):
    """What the scheduler does when the assets are there: the run, or None if somebody else made it."""
    moment = take(store, dag_id)
    if moment is None:
        return None
    about = {"run_type": "asset_triggered", "logical_date": None, "data_interval": None}
    run = store.create_run(dag_id, run_id, run_after=moment, now=moment, **about)
    give_events(store, dag_id, run.id)
    return run


def test_an_event_is_written_queued_taken_and_given(store):
    add(store, DAG("report", schedule=[ORDERS, PRICES]))
    record(store, ORDERS, '{"rows": 26}', at(1, 6))
    assert queued(store) == {"report": {ORDERS.key}}
    record(store, PRICES, moment=at(1, 7))
    with store.transaction():
        run = new_run(store, "report", "one")
        assert take(store, "report") is None
    assert (run.run_after, queued(store)) == (at(1, 7), {})
    first, second = events_of_run(store, run)
    assert first[1:] == (ORDERS, {"rows": 26}, at(1, 6), "d", "make", "r", 2)
    assert first.asset.extra == {"owner": "ada"}
    assert second.asset == PRICES


def test_events_of_an_asset_can_be_narrowed(store):
    for hour in range(4):
        record(store, ORDERS, moment=at(1, hour))
    record(store, PRICES)
    hours = lambda **bounds: [event.timestamp.hour for event in events_of_asset(store, ORDERS, **bounds)]  # noqa: E731
    assert hours() == [0, 1, 2, 3]
    assert hours(after=at(1, 1), before=at(1, 2)) == [1, 2]
    assert hours(ascending=False, limit=1) == [3]
    assert len(events_of_asset(store, Asset.ref(name="prices"))) == 1


def test_registering_again_changes_nothing_and_takes_the_newest_extra(store):
    for _ in range(2):
        add(store, DAG("report", schedule=ORDERS))
    record(store, ORDERS)
    add(store, DAG("report", schedule=Asset("orders", extra={"owner": "eve"})))
    assert queued(store) == {"report": {ORDERS.key}}
    assert events_of_asset(store, ORDERS)[0].asset.extra == {"owner": "eve"}


def test_an_event_that_comes_while_a_run_is_made_is_not_lost(open_store, shared_url):
    scheduler, worker = open_store(shared_url), open_store(shared_url)
    add(scheduler, DAG("report", schedule=ORDERS))
    record(worker, ORDERS, '{"n": 1}')
    with ThreadPoolExecutor(1) as pool:
        with scheduler.transaction():
            assert take(scheduler, "report") == START
            late = pool.submit(record, worker, ORDERS, '{"n": 2}')
            run = scheduler.create_run(
                "report",
                "one",
                run_type="asset_triggered",
                logical_date=None,
                data_interval=None,
                run_after=START,
                now=START,
            )
            give_events(scheduler, "report", run.id)
        late.result(timeout=30)
    with scheduler.transaction():
        other = new_run(scheduler, "report", "two")
    told = [[event.extra["n"] for event in events_of_run(scheduler, run)] for run in (run, other)]
    assert told in ([[1], [2]], [[1, 2], []])


def test_a_run_that_is_made_while_an_event_comes_leaves_it_or_takes_it(open_store, shared_url):
    scheduler, worker = open_store(shared_url), open_store(shared_url)
    add(scheduler, DAG("report", schedule=ORDERS))
    record(worker, ORDERS, '{"n": 1}')

    def make():
        with scheduler.transaction():
            return new_run(scheduler, "report", "one")

    with ThreadPoolExecutor(1) as pool:
        with worker.transaction():
            record_events(worker, [NewEvent(ORDERS, '{"n": 2}')], Source(), START)
            making = pool.submit(make)
        run = making.result(timeout=30)
    taken = [event.extra["n"] for event in events_of_run(scheduler, run)]
    waiting = bool(queued(scheduler))
    assert (taken, waiting) in (([1, 2], False), ([1], True))


def test_writers_of_events_go_one_after_the_other(open_store, shared_url):
    stores = [open_store(shared_url) for _ in range(4)]
    add(stores[0], DAG("report", schedule=ORDERS))

    def write(store):
        for _ in range(10):
            record(store, ORDERS)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, stores))
    assert len(events_of_asset(stores[0], ORDERS)) == 40
    with stores[0].transaction():
        run = new_run(stores[0], "report", "one")
    assert len(events_of_run(stores[0], run)) == 40


@pytest.fixture
def world(url):
    """A DAG that makes an asset, one that waits for it, and one that a task of that starts and waits for."""
    start = TriggerDagRunOperator(task_id="start", trigger_dag_id="audit", wait_for_completion=True)
    source = make_dag("source", tasks=[Do("make", outlets=[ORDERS])], schedule="@daily", catchup=True, end_date=at(3))
    report = make_dag("report", tasks=[start], schedule=ORDERS)
    made = World(source, report, make_dag("audit", "check"), url=url)
    yield made
    made.store.close()


def test_a_chain_of_dags_by_an_asset_and_a_task(world):
    world.run_until(at(6))
    assert [len(world.runs(dag_id)) for dag_id in ("source", "report", "audit")] == [3, 3, 3]
    assert {run.state for run in world.store.runs()} == {"success"}


def test_old_events_go_with_their_runs_but_those_that_are_waited_for_stay(world):
    world.run_until(at(6))
    world.pause("report")
    world.trigger("source", logical_date=at(6))
    world.run_until(at(6) + HOUR)
    dry = upkeep.clean(world.store, at(9), dry_run=True)
    assert upkeep.clean(world.store, at(9)) == dry
    assert dry["asset_event"] == dry["dagrun_asset_event"] == 3
    assert [event.timestamp for event in events_of_asset(world.store, ORDERS)] == [at(6)]
    world.pause("report", paused=False)
    world.trigger("source", logical_date=at(7))
    world.run_until(at(6) + DAY)
    (run,) = world.runs("report")
    assert len(events_of_run(world.store, run)) == 2


def test_a_dag_that_is_deleted_waits_for_nothing(world):
    record(world.store, ORDERS)
    assert queued(world.store) == {"report": {ORDERS.key}}
    upkeep.delete_dag(world.store, "report")
    assert queued(world.store) == {}
    record(world.store, ORDERS)
    assert queued(world.store) == {}
