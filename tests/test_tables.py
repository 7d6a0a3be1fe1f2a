"""The metadata database as tables for people."""

import pytest

from etlkit import tables
from etlkit.assets import Asset
from etlkit.errors import AirflowRescheduleException, MetadataError
from etlkit.lab import Lab
from etlkit.store import Store
from tests.engine import HOUR, Do, at, make_dag


@pytest.fixture
def store():
    return Store("sqlite://")


def lab_of(*tasks, edges=""):
    """A lab that has run these tasks once, by hand."""
    lab = Lab(start="2013-01-01").add(make_dag("d", edges, tasks=tasks))
    lab.trigger()
    return lab


@pytest.mark.parametrize(
    "table",
    [tables.runs, tables.task_instances, tables.tries, tables.xcoms, tables.decisions],
    ids=lambda t: t.__name__,
)
def test_every_table_has_its_columns_when_it_is_empty(store, table):
    frame = table(store)
    assert frame.empty
    assert "run_id" in frame.columns


def test_instants_are_utc_and_missing_ones_are_missing():
    lab = lab_of(Do("a", ValueError), edges="a >> b")
    tasks = tables.task_instances(lab.store)
    assert str(tasks["start_date"].dt.tz) == "UTC"
    assert tasks["start_date"].isna().tolist() == [False, True]
    assert tables.runs(lab.store)["logical_date"].tolist() == [at(1)]


def test_no_state_and_no_error_are_none():
    lab = lab_of(Do("a", ValueError("no"), retries=1), edges="a >> b")
    tasks = tables.task_instances(lab.store)
    assert tasks["state"].tolist() == ["up_for_retry", None]
    assert tasks["error"].tolist() == ["ValueError: no", None]


def test_a_try_counts_once_while_its_retry_waits():
    lab = lab_of(Do("a", ValueError, ValueError, None, retries=2, retry_delay=HOUR))
    assert tables.tries(lab.store)["state"].tolist() == ["failed"]
    lab.advance(hours=1)
    assert tables.tries(lab.store)["try_number"].tolist() == [1, 2]
    lab.advance(hours=1)
    assert tables.tries(lab.store)["state"].tolist() == ["failed", "failed", "success"]


def test_tries_before_a_clear_are_kept_and_what_was_cleared_is_not_a_try():
    lab = lab_of(Do("a"))
    lab.pause()
    lab.clear()
    assert tables.task_instances(lab.store)["state"].tolist() == [None]
    assert tables.tries(lab.store)[["try_number", "state"]].values.tolist() == [[1, "success"]]
    lab.unpause()
    assert tables.tries(lab.store)[["try_number", "state"]].values.tolist() == [[1, "success"], [2, "success"]]


def test_a_task_that_gives_its_slot_back_has_made_one_try():
    lab = lab_of(Do("a", AirflowRescheduleException(at(1, 1))))
    assert tables.tries(lab.store)[["try_number", "state"]].values.tolist() == [[1, "up_for_reschedule"]]


def test_a_task_that_never_began_made_no_try():
    lab = lab_of(Do("a", ValueError), edges="a >> b")
    assert tables.task_instances(lab.store)["task_id"].tolist() == ["a", "b"]
    assert tables.tries(lab.store)["task_id"].tolist() == ["a"]


def test_xcoms_are_the_values_themselves_in_the_order_of_the_dag():
    values = ["text", 2.5, {"rows": [1, (2, at(1))]}, [None]]
    tasks = [Do(f"t{i}", value) for i, value in enumerate(values)]
    lab = lab_of(*tasks, edges="t3 >> t2, t2 >> t1, t1 >> t0")
    assert tables.xcoms(lab.store)["value"].tolist() == values[::-1]


def test_decisions_of_runs_have_no_task():
    lab = lab_of(Do("a"))
    tables.record_decisions(lab.store, lab.events)
    told = tables.decisions(lab.store)
    assert told[["task_id", "old", "new"]].values.tolist() == [
        [None, "queued", "running"],
        ["a", None, "scheduled"],
        ["a", "scheduled", "queued"],
        ["a", "queued", "running"],
        ["a", "running", "success"],
        [None, "running", "success"],
    ]
    assert set(told["at"]) == {at(1)}


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM pool",
        "UPDATE pool SET slots = 0",
        "INSERT INTO pool (name, slots) VALUES ('x', 1)",
        "DROP TABLE pool",
        "CREATE TABLE mine (x)",
        "BEGIN",
        "INSERT INTO pool (name, slots) VALUES ('x', 1) RETURNING name",
    ],
)
def test_a_query_changes_nothing(store, statement):
    with pytest.raises(MetadataError, match="only a SELECT may be asked here") as error:
        tables.query(store, statement)
    assert "\n" not in str(error.value)
    assert store.pools() == {"default_pool": 128}
    with store.transaction():
        store.set_pool("still_writable", 1)


def test_a_wrong_query_is_one_line(store):
    with pytest.raises(MetadataError, match="no such table: runs"):
        tables.query(store, "SELECT * FROM runs")
    with pytest.raises(MetadataError, match="one statement at a time"):
        tables.query(store, "SELECT 1; DELETE FROM pool")
    assert tables.query(store, "SELECT ':x %s ?' AS text")["text"].tolist() == [":x %s ?"]


def test_assets_and_their_events():
    orders, prices = Asset("orders", "file:///orders.csv"), Asset("prices")
    told = lambda context: context["outlet_events"][orders].extra.update(rows=26, password="hunter22")  # noqa: E731
    lab = lab_of(Do("a", told, outlets=[orders]), Do("b", outlets=[prices, orders]))
    found = tables.assets(lab.store)
    assert found[["name", "events"]].to_dict("split")["data"] == [["orders", 2], ["prices", 1]]
    assert found["last_event"].tolist() == [at(1), at(1)]
    events = tables.asset_events(lab.store)
    assert events[["asset", "source_task_id"]].to_dict("split")["data"] == [
        ["orders", "a"],
        ["prices", "b"],
        ["orders", "b"],
    ]
    assert events["extra"].tolist() == [{"rows": 26, "password": "***"}, {}, {}]
    assert lab.assets().equals(found)
    assert lab.asset_events().equals(events)


def test_an_asset_without_events_has_no_last_one(store):
    assert tables.asset_events(store).empty
    lab = Lab(start="2013-01-01").add(make_dag("d", schedule=Asset("orders")))
    assert tables.assets(lab.store)["last_event"].isna().tolist() == [True]
