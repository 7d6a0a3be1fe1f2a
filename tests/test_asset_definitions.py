"""`@asset`: functions that make assets, each with its DAG."""

import pytest

from etlkit import Asset, Lab, asset, load_dag_file, task
from etlkit.errors import DagError
from tests.engine import at


def test_a_function_makes_the_asset_that_is_called_like_it():
    @asset(schedule=None, uri="file:///orders.csv", extra={"rows": 26}, tags=["shop"])
    def orders(self, context, outlet_events, factor=2):
        outlet_events[self].extra["day"] = context["ds"]
        return [self.uri, factor]

    assert isinstance(orders, Asset)
    assert orders == Asset("orders", "file:///orders.csv", extra={"rows": 26})
    assert (orders.dag.dag_id, orders.dag.catchup, orders.dag.tags, orders.dag.task_ids) == (
        *("orders", False, ["shop"]),
        ["orders"],
    )
    lab = Lab(start="2013-01-05").add(orders.dag)
    lab.trigger(logical_date="2013-01-03")
    assert lab.xcoms()["value"].tolist() == [["file:///orders.csv", 2]]
    assert lab.asset_events()["extra"].tolist() == [{"day": "2013-01-03"}]


def test_other_parameters_are_assets_of_that_name():
    @asset(schedule=None, uri="file:///orders.csv")
    def orders():
        return None

    @asset(schedule=[orders], name="monthly", dag_id="reports")
    def report(orders, context):
        (event,) = context["inlet_events"][Asset.ref(name="orders")]
        return [orders.uri, event.source_dag_id, len(context["triggering_asset_events"][orders])]

    lab = Lab(start="2013-01-05").add(orders.dag, report.dag)
    lab.trigger("orders")
    assert lab.xcoms()["value"].tolist() == [["file:///orders.csv", "orders", 1]]
    assert lab.assets()["name"].tolist() == ["monthly", "orders"]
    assert lab.runs()["dag_id"].tolist() == ["orders", "reports"]


def test_an_asset_that_nobody_makes_fails_the_task():
    @asset(schedule=None)
    def report(nowhere):
        return None

    lab = Lab(start="2013-01-05").add(report.dag)
    lab.trigger()
    assert "no assets are called 'nowhere'" in lab.task_instances()["error"][0]


def test_a_function_may_make_several():
    a, b = Asset("a"), Asset("b")

    @asset.multi(schedule=None, outlets=[a, b])
    def both(outlet_events):
        outlet_events[b].extra["n"] = 1

    @asset(schedule=both)
    def after():
        return None

    lab = Lab(start="2013-01-05").add(both.dag, after.dag)
    lab.trigger("both")
    assert lab.asset_events()[["asset", "extra"]].to_dict("split")["data"] == [
        ["a", {}],
        ["b", {"n": 1}],
        ["after", {}],
    ]


def test_a_task_may_be_the_function():
    @asset(schedule=None)
    @task(retries=2)
    def orders():
        return 26

    assert orders.dag.tasks[0].retries == 2
    lab = Lab(start="2013-01-05").add(orders.dag)
    lab.trigger()
    assert lab.asset_events()["asset"].tolist() == ["orders"]


def test_a_dag_file_needs_nothing_else(tmp_path):
    file = tmp_path / "shop.py"
    file.write_text("from etlkit import asset\n\n@asset(schedule=None)\ndef orders():\n    pass\n")
    assert [dag.dag_id for dag in load_dag_file(file)] == ["orders"]


def test_one_asset_may_be_defined_and_named_elsewhere():
    @asset(schedule=None)
    def orders():
        return None

    assert {orders: 1}[Asset("orders")] == 1
    assert (orders & Asset("prices")).is_met({Asset("orders").key, Asset("prices").key})


def define(decorator, function=lambda: None):
    function.__name__ = "orders"
    return lambda: decorator(function)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: asset(schedule=None, retries=2), "@asset has no argument 'retries'"),
        (lambda: asset.multi(schedule=None, outlets=[]), "needs outlets"),
        (lambda: asset.multi(schedule=None, outlets=["a"]), "must be a list of Assets"),
        (define(asset(schedule=None), lambda *args: None), r"not \*args"),
        (define(asset(schedule=None), lambda **kwargs: None), r"not \*\*kwargs"),
        (define(asset(schedule=None), task(outlets=[Asset("a")])(lambda: None)), "leave them out of @task"),
        (define(asset(schedule="@dayly")), "did you mean '@daily'"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises((DagError, ValueError), match=message):
        make()


def test_its_dag_does_not_catch_up():
    @asset(schedule="@daily")
    def orders():
        return None

    lab = Lab(start="2013-01-05").add(orders.dag).run_until("2013-01-07")
    assert lab.runs()["logical_date"].tolist() == [at(4), at(5), at(6)]
