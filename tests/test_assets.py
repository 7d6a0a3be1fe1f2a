"""Assets: their names, conditions, and the schedules made of them."""

import os
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etlkit.assets import Asset, AssetAll, AssetAny, AssetOrTimeSchedule, AssetTriggeredTimetable
from etlkit.dag import DAG, BaseOperator
from etlkit.errors import DagError
from etlkit.timetables import CronDataIntervalTimetable, DataInterval
from tests.engine import START, at

A, B, C, D = ASSETS = [Asset(name) for name in "abcd"]
DAILY = CronDataIntervalTimetable("@daily", "UTC")

conditions = st.recursive(
    st.sampled_from(ASSETS),
    lambda inner: st.lists(inner, min_size=1, max_size=3).flatmap(
        lambda items: st.sampled_from([AssetAll(*items), AssetAny(*items)])
    ),
    max_leaves=8,
)


def truth(condition, updated):
    """What Python's own `and` and `or` say of a condition."""
    if isinstance(condition, Asset):
        return condition in updated
    join = " and " if isinstance(condition, AssetAll) else " or "
    return eval(join.join(str(truth(item, updated)) for item in condition.objects))


@given(condition=conditions, updated=st.sets(st.sampled_from(ASSETS)))
def test_a_condition_is_met_as_and_and_or_say(condition, updated):
    keys = {asset.key for asset in updated}
    assert condition.is_met(keys) == truth(condition, updated)
    left = condition.missing(keys)
    assert (left is None) == condition.is_met(keys)
    if left is not None:
        waited_for = {asset.key for asset in left.assets()}
        assert waited_for.isdisjoint(keys)
        assert condition.is_met(keys | waited_for)


@given(condition=conditions, updated=st.sets(st.sampled_from(ASSETS)), more=st.sampled_from(ASSETS))
def test_one_event_more_never_takes_a_run_away(condition, updated, more):
    keys = {asset.key for asset in updated}
    assert condition.is_met(keys | {more.key}) >= condition.is_met(keys)


def test_conditions_are_written_with_signs():
    assert AssetAll(A, B, C) == (A & B & C)
    assert AssetAny(A, B, C) == (A | B | C)
    assert str((A & B) | C) == "(a & b) | c"
    assert [asset.name for asset in ((A & B) | C).assets()] == ["a", "b", "c"]
    with pytest.raises(TypeError):
        A & "b"
    with pytest.raises(DagError, match="AssetAll joins assets, not 'b'"):
        AssetAll(A, "b")


def test_a_name_or_a_uri_alone_is_both():
    assert (Asset("orders").uri, Asset(uri="s3://shop/orders").name) == ("orders", "s3://shop/orders")
    assert Asset("orders") == Asset("orders", "orders")
    assert len({Asset("orders", extra={"a": 1}), Asset("orders", extra={"a": 1})}) == 1
    assert os.fspath(Asset("orders", "file:///orders.csv")) == "file:///orders.csv"


@pytest.mark.parametrize(
    ("uri", "normal"),
    [
        ("S3://shop/orders/", "s3://shop/orders"),
        ("s3://shop", "s3://shop/"),
        ("file:///a/b#part", "file:///a/b"),
        ("http://x/y?b=2&a=1", "http://x/y?a=1&b=2"),
        ("x-own://Any/#thing/", "x-own://Any/#thing/"),
        ("plain name", "plain name"),
    ],
)
def test_a_uri_has_one_form(uri, normal):
    assert Asset(uri=uri).uri == normal


def test_a_password_in_a_uri_is_dropped():
    with pytest.warns(UserWarning, match="the Asset of db had a password") as warned:
        asset = Asset("orders", "postgres://ada:hunter22@db/orders")
    assert asset.uri == "postgres://db/orders"
    assert "hunter22" not in str(warned[0].message)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Asset(), "needs a name or a uri"),
        (lambda: Asset("  "), "must be a text that is not empty"),
        (lambda: Asset("self"), "cannot be called 'self'"),
        (lambda: Asset("x" * 1501), "has 1501 characters"),
        (lambda: Asset("a", "airflow://a"), "kept for Airflow"),
        (lambda: Asset("a", extra=[1]), "must be a dict"),
        (lambda: Asset("a", extra={"since": START}), "the extra of Asset 'a' must be JSON: .*datetime"),
        (lambda: Asset("a", extra={"rows": float("nan")}), "the extra of Asset 'a' must be JSON"),
        (lambda: Asset.ref(), "needs a name or a uri"),
        (lambda: Asset.ref(name="a", uri="b"), "not both"),
        (lambda: DAG("d", schedule=[]), r"a list of them, not \[\]"),
        (lambda: DAG("d", schedule=[A, "b"]), "AssetAll joins assets, not 'b'"),
        (lambda: AssetOrTimeSchedule(timetable="@daily", assets=A), "needs a timetable of dates"),
        (lambda: AssetOrTimeSchedule(timetable=AssetTriggeredTimetable(A), assets=A), "needs a timetable of dates"),
        (lambda: BaseOperator("t", outlets=["orders"]), "task 't': outlets must be a list of Assets, not of 'orders'"),
        (lambda: BaseOperator("t", outlets="orders"), "task 't': outlets must be a list of Assets"),
        (lambda: BaseOperator("t", outlets=[Asset.ref(name="a")]), "is no Asset"),
        (lambda: BaseOperator("t", inlets=5), "task 't': inlets must be a list of Assets"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(DagError, match=message):
        make()


def test_outlets_may_be_one_or_several():
    assert BaseOperator("t", outlets=A).outlets == (A,)
    assert BaseOperator("t", outlets=[A, B], inlets=[Asset.ref(name="c")]).outlets == (A, B)
    assert BaseOperator("t").outlets == ()


def test_a_schedule_of_assets_has_no_dates():
    dag = DAG("d", schedule=[A, B], start_date=START)
    assert dag.timetable == AssetTriggeredTimetable(A & B)
    assert (dag.timetable.summary, dag.timetable.periodic) == ("a & b", False)
    info = dag.timetable.next_dagrun_info(last_automated_data_interval=None, restriction=dag.restriction(at(5)))
    assert info is None
    assert dag.timetable.infer_manual_data_interval(run_after=at(5)) == DataInterval(at(5), at(5))
    assert DAG("d", schedule=A).timetable.asset_condition == A


def test_an_asset_or_time_schedule_has_the_dates_of_its_timetable():
    both = AssetOrTimeSchedule(timetable=DAILY, assets=A | B)
    dag = DAG("d", schedule=both, start_date=START, catchup=True)
    assert dag.timetable.summary == "a | b or 0 0 * * *"
    for timetable in (both, DAILY):
        info = timetable.next_dagrun_info(last_automated_data_interval=None, restriction=dag.restriction(at(5)))
        assert info.data_interval == DataInterval(at(1), at(2))
    assert both.infer_manual_data_interval(run_after=at(5)).end - at(5) == timedelta(0)
