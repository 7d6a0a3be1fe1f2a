"""`etlkit assets`, and what `etlkit dags` says of DAGs that wait for assets."""

import json
from contextlib import closing

import pytest

from etlkit.asset_events import NewEvent, Source, record_events
from etlkit.assets import Asset
from etlkit.dag_files import load_dag_file
from etlkit.runs import trigger_run
from etlkit.store import Store
from tests.engine import at

SHOP = """
    from etlkit import DAG, Asset, AssetOrTimeSchedule
    from etlkit.operators import EmptyOperator
    from etlkit.timetables import CronDataIntervalTimetable

    orders, prices = Asset("orders", "file:///orders.csv", extra={"rows": 26}), Asset("prices")

    for name in ("load", "load_again"):
        with DAG(name, schedule=None):
            EmptyOperator(task_id="make", outlets=[prices] if name == "load_again" else [orders, prices])
    with DAG("report", schedule=[orders, prices]):
        EmptyOperator(task_id="write")
    with DAG("both", schedule=AssetOrTimeSchedule(timetable=CronDataIntervalTimetable("@daily", "UTC"), assets=orders)):
        EmptyOperator(task_id="write")
"""


@pytest.fixture
def shop(etlkit):
    """A home with DAGs that make two assets and wait for them."""
    etlkit.dag_file("shop.py", SHOP)
    return etlkit


def test_assets_are_listed_with_who_makes_and_who_waits(shop):
    assert shop.json("assets", "list") == [
        {
            "name": "orders",
            "uri": "file:///orders.csv",
            "group": "asset",
            "made_by": ["load.make"],
            "waited_for_by": ["report", "both"],
        },
        {
            "name": "prices",
            "uri": "prices",
            "group": "asset",
            "made_by": ["load.make", "load_again.make"],
            "waited_for_by": ["report"],
        },
    ]


def test_without_assets_there_is_nothing_to_list(etlkit):
    etlkit.dag_file("empty.py", "from etlkit import DAG\ndag = DAG('empty', schedule=None)\n")
    assert "no assets in the DAGs of" in etlkit("assets", "list").stderr


def test_materialize_queues_a_run_of_the_dag_that_makes_it(shop):
    (run,) = shop.json("assets", "materialize", "--name", "orders")
    assert (run["dag_id"], run["state"]) == ("load", "queued")
    shop("dags", "unpause", "load"), shop("dags", "unpause", "report")
    shop("scheduler", "-n", "1")
    found = shop.json("assets", "details", "--uri", "file:///orders.csv")
    assert (found["extra"], [event["source_run_id"] for event in found["events"]]) == ({"rows": 26}, [run["run_id"]])
    assert [run["state"] for run in shop.json("dags", "list-runs", "report")] == ["success"]
    shown = shop("assets", "details", "--name", "orders").stdout
    assert " by load" in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["materialize"], "say which asset: --name or --uri"),
        (["materialize", "--name", "prices"], "several do: load, load_again; trigger one of them"),
        (["details", "--name", "order"], "there are no assets called 'order'; did you mean 'orders'?"),
        (["details", "--uri", "file:///order.csv"], "did you mean 'file:///orders.csv'?"),
    ],
)
def test_what_cannot_be_is_one_line(shop, words, message):
    assert message in shop.refused("assets", *words)


def test_the_next_execution_of_a_dag_that_waits_for_assets(shop):
    assert shop("dags", "next-execution", "report").stderr == "DAG 'report' waits for assets: orders & prices\n"
    done = shop("dags", "next-execution", "both", "-o", "json")
    assert len(json.loads(done.stdout)) == 1
    assert "also runs when these assets are there: orders" in done.stderr
    shop("dags", "unpause", "report")
    with closing(Store(f"sqlite:///{shop.home / 'etlkit.db'}")) as store, store.transaction():
        record_events(store, [NewEvent(Asset("prices"))], Source(), at(1))
    assert shop("dags", "next-execution", "report").stderr == "DAG 'report' waits for assets: orders\n"
    assert "it waits for new events of orders; prices came" in shop("dags", "why", "report").stdout


CHAIN = """
    from datetime import datetime, timezone
    from etlkit import DAG, Asset
    from etlkit.operators import EmptyOperator, TriggerDagRunOperator

    with DAG("first", schedule="@daily", start_date=datetime(2013, 1, 1, tzinfo=timezone.utc)):
        TriggerDagRunOperator(
            task_id="start", trigger_dag_id="second", wait_for_completion=True, poke_interval=0.1
        )
    with DAG("second", schedule=None, is_paused_upon_creation=False):
        EmptyOperator(task_id="work", outlets=[Asset("done")])
    with DAG("third", schedule=Asset("done"), is_paused_upon_creation=False):
        EmptyOperator(task_id="report")
"""

EMPTY = """
    with DAG("empty", schedule="@daily", start_date=datetime(2013, 1, 1, tzinfo=timezone.utc)):
        EmptyOperator(task_id="nothing")
"""


def test_a_backfill_runs_what_its_tasks_start_and_leaves_what_assets_start_to_the_scheduler(etlkit):
    etlkit.dag_file("chain.py", CHAIN)
    etlkit("dags", "unpause", "third")
    etlkit.json("dags", "backfill", "first", "-s", "2013-01-01", "-e", "2013-01-02")
    runs = etlkit.json("dags", "list-runs", "second")
    assert [run["state"] for run in runs] == ["success", "success"]
    assert etlkit.json("dags", "list-runs", "third") == []
    etlkit("scheduler", "-n", "1")
    assert [run["state"] for run in etlkit.json("dags", "list-runs", "third")] == ["success"]


def test_what_a_backfill_starts_runs_and_its_dag_stays_paused(etlkit):
    etlkit.dag_file("chain.py", CHAIN.replace("schedule=None, is_paused_upon_creation=False", 'schedule="@daily"'))
    for day in ("2013-01-01", "2013-01-02"):  # the first time the DAG is not known yet
        etlkit.json("dags", "backfill", "first", "-s", day, "-e", day)
        assert {run["state"] for run in etlkit.json("dags", "list-runs", "second")} == {"success"}
        assert {dag["dag_id"]: dag["is_paused"] for dag in etlkit.json("dags", "list")}["second"]


def test_a_backfill_leaves_alone_what_tasks_of_other_dags_started(etlkit):
    file = etlkit.dag_file("chain.py", CHAIN)
    first, second, _ = load_dag_file(file)
    with closing(Store(f"sqlite:///{etlkit.home / 'etlkit.db'}")) as store:
        run, started = (trigger_run(store, dag, now=at(1)) for dag in (first, second))
        store.push_xcom(run.id, "start", -1, "trigger_run_id", f'"{started.run_id}"', at(1))
        etlkit.dag_file("other.py", CHAIN.split("    with DAG")[0] + EMPTY)
        etlkit.json("dags", "backfill", "empty", "-s", "2013-01-01", "-e", "2013-01-01")
        assert [row.state for row in (*store.runs("empty"), *store.runs("second"))] == ["success", "queued"]


def test_a_backfill_says_if_there_is_no_such_dag_to_start(etlkit):
    etlkit.dag_file("chain.py", CHAIN.replace('trigger_dag_id="second"', 'trigger_dag_id="secnd"'))
    result = etlkit("dags", "backfill", "first", "-s", "2013-01-01")
    assert result.exit_code == 1
    (run,) = etlkit.json("dags", "list-runs", "first")
    (task,) = etlkit.json("tasks", "states-for-dag-run", "first", run["run_id"])
    assert "no DAG is called 'secnd'; did you mean 'second'?" in task["error"]
