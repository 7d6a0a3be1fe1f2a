"""The look at a metadata database, and the removal of what is old, on every kind."""

import json

import pytest

from etlkit import upkeep
from etlkit.backfill import create_backfill, pause_backfill, plan_backfill
from etlkit.cli.database import empty
from etlkit.logs import LogKey, LogStore
from etlkit.models import SCHEMA_VERSION
from etlkit.runtime import TaskRunner
from etlkit.scheduler_lock import scheduling
from etlkit.tables import record_decisions
from etlkit.upkeep import clean, health
from tests.engine import DAY, MINUTE, START, Do, World, at, make_dag

BEFORE = at(4)
"""Of the daily runs of five days, which end at midnight and a minute, three finish before it."""


def chatty(context):
    print("hello")
    if context["ti"].try_number == 1:
        raise OSError("down")
    return 1


def daily(dag_id="d"):
    tasks = [Do("a", chatty, retries=1, retry_delay=MINUTE)]
    return make_dag(dag_id, "a >> b", tasks=tasks, schedule="@daily", catchup=True)


@pytest.fixture
def world(url, tmp_path):
    """Two DAGs that ran for five days, with logs and decisions."""
    made = World(daily("d"), daily("e"), url=url)
    made.scheduler.runner.logs = LogStore(tmp_path / "logs")
    made.run_until(START + 5 * DAY + 2 * MINUTE)
    record_decisions(made.store, made.trace.events)
    yield made
    made.store.close()


@pytest.fixture
def logs(world):
    return world.scheduler.runner.logs


def rows(store):
    """Everything, by table."""
    tables = [*upkeep.OF_A_RUN, "backfill", "backfill_dag_run", "dag"]
    return {table: store.run_sql(f"SELECT COUNT(*) FROM {table}").fetchone()[0] for table in tables}


def days(world, dag_id="d"):
    return [run.logical_date.day for run in world.runs(dag_id)]


def test_old_runs_go_with_everything_of_theirs(world, logs):
    before = rows(world.store)
    removed = clean(world.store, BEFORE, logs=logs)
    assert (days(world, "d"), days(world, "e")) == ([3, 4, 5], [3, 4, 5])
    assert removed.pop("decision") == before["decision"] * 2 / 5
    assert removed == {
        "dag_run": 4, "task_instance": 8, "task_instance_history": 4, "xcom": 4, "logs": 8, "backfill": 0, "job": 0,
        "asset_event": 0, "dagrun_asset_event": 0,
    }  # fmt: skip
    after = rows(world.store)
    assert {table: before[table] - after[table] for table in removed.keys() & after.keys()} == {
        table: removed[table] for table in removed.keys() & after.keys()
    }
    assert logs.read(LogKey("d", world.runs("d")[0].run_id, "a", -1, 1)).startswith("hello\n")
    assert len(list(logs.folder.rglob("run_id=*"))) == 6
    assert clean(world.store, BEFORE, logs=logs).total() == 0


def test_a_dry_run_counts_the_same_and_deletes_nothing(world, logs):
    before = rows(world.store)
    counted = clean(world.store, BEFORE, logs=logs, dry_run=True)
    assert rows(world.store) == before
    assert len(list(logs.folder.rglob("attempt=*.log"))) == 20
    assert counted == clean(world.store, BEFORE, logs=logs)
    assert counted["dag_run"] == 4


def test_one_dag_can_be_meant(world):
    assert clean(world.store, BEFORE, dag_id="d")["dag_run"] == 2
    assert (days(world, "d"), days(world, "e")) == ([3, 4, 5], [1, 2, 3, 4, 5])
    assert clean(world.store, BEFORE, dag_id="nope").total() == 0


def test_the_newest_scheduled_run_stays_and_the_schedule_goes_on_from_it(world):
    clean(world.store, at(1, month=6))
    assert (days(world, "d"), days(world, "e")) == ([5], [5])
    world.run_until(START + 7 * DAY + 2 * MINUTE)
    assert days(world, "d") == [5, 6, 7]


def test_what_is_open_stays(world):
    first = world.runs("d")[0]
    world.clear(first, "b")
    world.pause("d")
    world.tick()
    assert clean(world.store, BEFORE, dag_id="d")["dag_run"] == 1
    assert days(world, "d") == [1, 3, 4, 5]


def test_the_runs_of_a_backfill_stay_until_it_is_complete(world):
    plan = plan_backfill(world.dags["d"], at(1), at(3), reprocess="completed", now=world.clock.now())
    number = create_backfill(world.store, world.dags["d"], plan, max_active_runs=1, now=world.clock.now())
    while not world.store.backfill_states(number).get("success"):
        world.scheduler.tick()
    pause_backfill(world.store, number)
    clean(world.store, at(1, month=6), dag_id="d")
    assert days(world, "d") == [1, 2, 3, 5]
    pause_backfill(world.store, number, paused=False)
    world.tick()
    removed = clean(world.store, at(1, month=6), dag_id="d")
    assert (removed["backfill"], removed["dag_run"]) == (1, 3)
    assert (days(world, "d"), rows(world.store)["backfill_dag_run"]) == ([5], 0)


def test_it_works_in_batches(world, monkeypatch):
    monkeypatch.setattr(upkeep, "BATCH", 3)
    begun, transaction = [], world.store.transaction
    monkeypatch.setattr(world.store, "transaction", lambda: begun.append(1) or transaction())
    assert clean(world.store, at(1, month=6))["dag_run"] == 8
    assert len(begun) == 2 + 4  # backfills and events of assets; three, three, two, and none


def test_a_scheduler_in_the_middle_of_its_work_is_not_disturbed(world):
    world.scheduler.settle()
    clean(world.store, at(1, month=6))
    world.run_until(START + 6 * DAY + 2 * MINUTE)
    assert [run.state for run in world.runs("d")] == ["success"] * 2


def test_health(world):
    found = health(world.store)
    assert found[:5] == (world.store.name, SCHEMA_VERSION, "ok", 2, 10)
    assert found.scheduler is None
    assert json.loads(json.dumps(found._asdict()))["runs"] == 10


def test_health_names_who_schedules(open_store, shared_url):
    store, other = open_store(shared_url), open_store(shared_url)
    with scheduling(other, "a test"):
        assert "(a test)" in health(store).scheduler


def test_an_emptied_database_is_as_a_new_one(world):
    empty(world.store)
    assert set(rows(world.store).values()) == {0}
    assert (world.store.pools(), health(world.store).version) == ({"default_pool": 128}, SCHEMA_VERSION)


def test_rows_that_refer_to_nothing_are_found(open_store, tmp_path):
    store = open_store(f"sqlite:///{tmp_path}/etl.db")
    store.run_sql("PRAGMA foreign_keys = OFF")
    store.create_task_instances(99, [{"task_id": "a", "map_index": -1, "max_tries": 0, "pool": "p", "pool_slots": 1}])
    assert health(store).integrity == "rows of task_instance refer to nothing"


def test_logs_in_memory_are_cleaned_too():
    world = World(daily()).run_until(START + 3 * DAY + 2 * MINUTE)
    runner: TaskRunner = world.scheduler.runner
    removed = clean(world.store, at(3), logs=runner.logs)
    assert (removed["dag_run"], removed["logs"]) == (1, 2)
