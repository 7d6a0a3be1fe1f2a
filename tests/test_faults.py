"""A short campaign of faults; the long one is `python -m tests.faults`."""

import random

import pytest

from tests.faults import DAGS, KINDS, Campaign, contents, findings, prepared_cluster, report, undisturbed
from tests.servers import postgres, redis

DAYS = 15


@pytest.fixture(scope="module")
def campaign():
    postgres(), redis()  # skips, or fails in CI, where there are none
    with prepared_cluster() as cluster:
        run = Campaign(cluster, random.Random(7), DAYS)
        run.run(10)
        yield run


@pytest.fixture(scope="module")
def expected(campaign):
    return undisturbed(campaign.cluster, DAYS)


def test_nothing_is_lost_or_counted_twice(campaign, expected):
    found = report(campaign, 0, expected)
    assert found.findings == {}, found
    assert found.faults.total() == 10 and set(found.faults) <= set(KINDS)
    assert found.attempts >= 4 * DAYS * len(DAGS)
    assert str(found).endswith("nothing was lost or counted twice")
    assert len(expected[0]["daily_weather"]) == 3 * DAYS


A_TASK = "(SELECT MIN(id) FROM task_instance)"

WRONG = {
    "a run that failed": ("UPDATE dag_run SET state = 'failed' WHERE id = 1", {"runs that have not succeeded"}),
    "a run that is not there": ("DELETE FROM dag_run WHERE id = 1", {"days of weather_one without a run"}),
    "a task that failed": (
        f"UPDATE task_instance SET state = 'failed' WHERE id = {A_TASK}",
        {"tasks that have not succeeded"},
    ),
    "a try that is made again": (
        f"UPDATE task_instance SET state = 'running' WHERE id = {A_TASK};"
        f"UPDATE task_instance SET state = 'success' WHERE id = {A_TASK}",
        {
            "tries that began more than once",
            "tries that ended more than once, or never",
            "tasks that succeeded more or less often than they were asked to",
        },
    ),
    "two tries at the same time": (
        f"UPDATE task_instance SET state = 'running', try_number = 98 WHERE id = {A_TASK};"
        f"UPDATE task_instance SET state = 'running', try_number = 99 WHERE id = {A_TASK}",
        {"tries of a task that ran at the same time", "tries that have no row, or more than one"},
    ),
    "a result that is not there": ("DELETE FROM xcom", {"XComs of weather_one that differ"}),
}  # fmt: skip


@pytest.mark.parametrize(("sql", "expected_findings"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_found(campaign, expected, sql, expected_findings):
    """Else the campaign would prove nothing."""
    store = campaign.cluster.store
    with pytest.raises(ZeroDivisionError), store.transaction():
        for statement in sql.split(";"):
            store.run_sql(statement)
        assert set(findings(campaign.cluster, DAYS, expected)) >= expected_findings
        raise ZeroDivisionError  # so that it is undone


def test_a_warehouse_that_differs_is_found(campaign, expected):
    cluster, dag_id = campaign.cluster, DAGS[0]
    with cluster.postgres.connect(dag_id) as connection:
        connection.execute("ALTER TABLE daily_weather RENAME TO kept")
        connection.execute("CREATE TABLE daily_weather AS SELECT * FROM kept")
        connection.execute("UPDATE daily_weather SET mean = mean + 0.1 WHERE airport = 'JFK' AND date = '2013-01-01'")
    found = findings(cluster, DAYS, expected)
    assert {what: len(rows) for what, rows in found.items()} == {
        f"rows in daily_weather of {dag_id} that differ": 1,
        f"rows too many in daily_weather of {dag_id}": 1,
    }
    assert len(contents(cluster, dag_id)["daily_weather"]) == 3 * DAYS
