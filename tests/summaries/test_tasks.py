"""Summary tables as tasks of a DAG."""

from __future__ import annotations

import json
import pickle
import re

import duckdb
import pytest

from etlkit.connections import Connection
from etlkit.dag import DAG, TaskGroup
from etlkit.errors import DuplicateTaskIdFound, SummaryError
from etlkit.lab import Lab
from etlkit.summaries import Summary, SummaryOperator, summary_tasks
from etlkit.warehouse import checks
from tests.engine import at

CONFIG = [
    Summary("coldest", "SELECT airport, min(tmin) AS tmin FROM daily GROUP BY airport", key="airport"),
    Summary("days", "SELECT count(*) AS n FROM daily"),
    Summary("daily", "SELECT airport, date, min(temp) AS tmin FROM weather GROUP BY ALL", doc="Minimum of the day."),
    Summary("top", "SELECT * FROM coldest, days"),
]


def make_elt(config=CONFIG, **arguments):
    with DAG("elt", schedule="@daily", start_date=at(1), catchup=True) as dag:
        summary_tasks(config, **arguments)
    return dag


@pytest.fixture
def lab():
    with Lab(start="2013-01-01") as lab:
        lab.warehouse.execute(
            "CREATE TABLE weather AS SELECT 'JFK' AS airport, DATE '2013-01-01' AS date, 26.5::DOUBLE AS temp"
        )
        yield lab


def states(lab):
    run = lab.store.runs("elt")[-1]
    return {task.task_id: task.state for task in lab.store.task_instances(run.id)}


def test_arrows_follow_from_the_queries():
    dag = make_elt(retries=2)
    assert set(dag.graph.edges) == {("daily", "coldest"), ("daily", "days"), ("coldest", "top"), ("days", "top")}
    task = dag.get_task("daily")
    assert (type(task), task.doc_md, task.retries) == (SummaryOperator, "Minimum of the day.", 2)


def test_tasks_build_the_tables_each_day(lab):
    lab.add(make_elt()).run_until("2013-01-02")
    assert set(states(lab).values()) == {"success"}
    assert lab.warehouse.sql("FROM top").fetchall() == [("JFK", 26.5, 1)]
    lab.warehouse.execute("INSERT INTO weather VALUES ('LGA', '2013-01-02', 20.0)")
    lab.run_until("2013-01-03")
    assert len(lab.warehouse.sql("FROM top").fetchall()) == 2
    found = lab.xcoms().query("task_id == 'daily'")["value"].tolist()
    assert [json.loads(value) if isinstance(value, str) else value for value in found] == [
        {"rows": 1, "before": None},
        {"rows": 2, "before": 1},
    ]
    assert "daily  2 rows (before: 1)\n-- begin\nBEGIN TRANSACTION;" in lab.log("daily")


def test_a_failing_check_fails_its_task_and_keeps_yesterdays_tables(lab):
    checked = Summary("daily", CONFIG[2].sql, output_checks=[checks.every("tmin > 0")])
    config = [CONFIG[0], CONFIG[1], checked, CONFIG[3], Summary("hours", "SELECT count(*) AS n FROM weather")]
    lab.add(make_elt(config)).run_until("2013-01-02")
    before = [lab.warehouse.sql(f"FROM {table}").fetchall() for table in ("daily", "coldest", "days", "top")]
    lab.warehouse.execute("INSERT INTO weather VALUES ('LGA', '2013-01-02', -20.0)")
    lab.run_until("2013-01-03")
    down = dict.fromkeys(("coldest", "days", "top"), "upstream_failed")
    assert states(lab) == {"daily": "failed", "hours": "success", **down}
    assert [lab.warehouse.sql(f"FROM {table}").fetchall() for table in ("daily", "coldest", "days", "top")] == before
    assert lab.warehouse.sql("FROM hours").fetchall() == [(2,)]
    assert "CheckFailed: check every(tmin > 0) does not hold in \"daily\": rows=1, airport='LGA'" in lab.log("daily")
    lab.warehouse.execute("UPDATE weather SET temp = 20.0 WHERE temp < 0")
    lab.clear()
    assert set(states(lab).values()) == {"success"}


def test_a_table_that_is_not_there_fails_its_task(lab):
    lab.add(make_elt([Summary("a", "FROM wether")])).run_until("2013-01-02")
    assert states(lab) == {"a": "failed"}
    assert "it reads 'wether', which is neither a table nor a summary; did you mean 'weather'?" in lab.log("a")


def test_a_configuration_that_makes_no_sense_is_an_error_of_the_dag_file():
    for config, message in (
        ([Summary("a", "FROM b"), Summary("b", "FROM a")], "summaries read each other in a circle"),
        ([{"name": "a"}], "summary 'a': it has no sql"),
        ("no.yaml", r"no\.yaml cannot be read"),
    ):
        with pytest.raises(SummaryError, match=message):
            make_elt(config)


def test_names_become_task_ids(lab):
    lab.warehouse.execute('CREATE SCHEMA "my mart"')
    names = ["my mart.per day", "도시", "a-b"]
    with DAG("elt") as dag, TaskGroup("tables"):
        tasks = summary_tasks([Summary(name, "SELECT 1 AS one") for name in names])
    assert list(tasks) == names
    assert [task.task_id for task in tasks.values()] == ["tables.my_mart.per_day", "tables.도시", "tables.a-b"]
    lab.add(dag).trigger()
    assert set(states(lab).values()) == {"success"}
    assert lab.warehouse.sql('FROM "my mart"."per day"').fetchall() == [(1,)]
    with pytest.raises(DuplicateTaskIdFound):
        make_elt([Summary("a b", "SELECT 1"), Summary("a_b", "SELECT 1")])


def test_a_connection_of_their_own(lab, tmp_path):
    file = tmp_path / "mart.duckdb"
    lab.connections.set(Connection("mart", "duckdb", host=str(file)))
    lab.add(make_elt([Summary("a", "SELECT 26 AS tmin"), Summary("b", "FROM a")], conn_id="mart")).trigger("elt")
    assert states(lab) == {"a": "success", "b": "success"}
    with duckdb.connect(file) as con:
        assert con.sql("FROM b").fetchall() == [(26,)]


def test_a_yaml_file_lies_beside_the_dag_file(etlkit):
    etlkit.dag_file("tables.yaml", "- name: b\n  sql: FROM a\n- {name: a, sql: SELECT 26 AS tmin}\n")
    etlkit.dag_file(
        "elt.py",
        """
        from etlkit import DAG
        from etlkit.summaries import summary_tasks

        with DAG("elt"):
            summary_tasks("tables.yaml")
        """,
    )
    assert [task["task_id"] for task in etlkit.json("tasks", "list", "elt")] == ["a", "b"]
    found = etlkit.json("dags", "test", "elt", "2013-01-01")
    assert found["state"] == "success"


def test_a_summary_travels_to_other_processes():
    summary = Summary("a", "FROM b", key="x")
    assert pickle.loads(pickle.dumps(summary)) == summary
    assert re.match(r"Summary\(name='a'", repr(summary))
