"""Whole runs end as Airflow 3.3.2's did: states, tries and XComs of the recorded DAG files.

The files are run as they are, statement by statement; what they import from Airflow is taken from here.
"""

import ast
import datetime
import importlib
import json
from functools import cache
from pathlib import Path

import pytest

from etlkit import xcom
from etlkit.dag import DAG
from etlkit.lab import Lab
from etlkit.runs import insert_run, trigger_run
from etlkit.states import DagRunType
from etlkit.store import RunRow

HERE = Path(__file__).parent
CASES = json.loads((HERE / "cases" / "dagruns.json").read_text(encoding="utf-8"))["cases"]
OURS = [importlib.import_module(f"etlkit.{name}") for name in ("operators", "sensors", "taskflow", "errors", "dag")]

SLOW = {"x_execution_timeout": "sleeps; time-outs are tested with the runtime"}
ON_PURPOSE = {
    ("x_custom_operator", "op"): "post_execute is given the result, as its signature says",
    ("x_custom_operator", "grp.op"): "post_execute is given the result, as its signature says",
    ("x_python", "current"): "the context has the run's conf",
    ("x_xcom_pull", "look"): "xcom_pull(default=...) gives the default, and not None",
    ("x_xcom_types", "push_big_int"): "a big whole number stays one, and does not become a float",
    ("x_xcom_types", "pull_big_int"): "a big whole number stays one, and does not become a float",
    ("x_xcom_types", "pull_datetime"): "an instant comes back in datetime.timezone.utc, not in pendulum's zone",
}
"""Tasks of which the values differ, and why."""


@cache
def dags_of(file: str) -> dict[str, DAG]:
    """The DAGs of a file that can be built, by id."""
    built: dict[str, DAG] = {}

    def recorded(*args, **kwargs):
        dag = DAG(*args, **kwargs | {"schedule": None})  # runs are made one by one
        return built.setdefault(dag.dag_id, dag)

    names: dict = {"__name__": file}
    imports = OurImports()
    for statement in ast.parse((HERE / "cases" / f"{file}.txt").read_text(encoding="utf-8")).body:
        code = compile(ast.fix_missing_locations(ast.Module([imports.visit(statement)], [])), file, "exec")
        names |= imports.names | {"DAG": recorded}
        exec(code, names)
        if "START" in names:
            names["START"] = names["START"].replace(tzinfo=datetime.UTC)
    return built


class OurImports(ast.NodeTransformer):
    """Takes the imports from Airflow out, wherever they stand, and finds the same names here."""

    def __init__(self) -> None:
        self.names: dict = {}

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.stmt:
        if not str(node.module).startswith("airflow"):
            return node
        wanted = [alias.name for alias in node.names]
        self.names |= {name: getattr(module, name) for name in wanted for module in OURS if hasattr(module, name)}
        return ast.Pass()


def made(lab: Lab, dag: DAG, given: dict) -> RunRow:
    """A new run as an input asks for it: by hand, or as the schedule makes them."""
    date = datetime.datetime.fromisoformat(given["logical_date"])
    if given["run_type"] == "manual":
        return trigger_run(lab.store, dag, now=lab.now, logical_date=date, conf=given["conf"])
    moments = {"logical_date": date, "data_interval": (date, date), "run_after": date, "now": lab.now}
    with lab.store.transaction():
        run = insert_run(lab.store, dag, DagRunType.SCHEDULED, conf=given["conf"], **moments)
    lab.store.touched()
    return run


def ran(case: dict) -> list[dict]:
    """What our runs of a case's inputs come to, one after the other in one history, in the form of the recorded."""
    answers = []
    lab = Lab(start=case["inputs"][0]["logical_date"])
    for given in case["inputs"]:
        dag = dags_of(case["file"])[given["dag_id"]]
        if not answers:
            lab.add(dag)
        run = made(lab, dag, given)
        lab.advance(days=1)
        run = lab.store.run(dag.dag_id, run.run_id)
        tasks = sorted(lab.store.task_instances(run.id), key=lambda task: task.task_id)
        query = "SELECT task_id, key, value FROM xcom WHERE dag_run_id = ? ORDER BY 1, 2"
        answers.append(
            {
                "state": run.state,
                "task_instances": [(task.task_id, task.state, task.try_number) for task in tasks],
                "xcoms": {(t, k): xcom.loads(v) for t, k, v in lab.store.cursor.execute(query, (run.id,)).fetchall()},
            }
        )
    return answers


def recorded(run: dict, ours: dict) -> dict:
    """Airflow's answer in the same form; values that cannot or should not be compared are taken as ours."""
    loose = {
        (x["task_id"], x["key"])
        for x in run["xcoms"]
        if x.get("volatile") or x.get("encoded") or (run["dag_id"], x["task_id"]) in ON_PURPOSE
    }
    return {
        "state": run["state"],
        "task_instances": [(t["task_id"], t["state"], t["try_number"]) for t in run["task_instances"]],
        "xcoms": {
            key: ours["xcoms"].get(key) if key in loose else x.get("value")
            for x in run["xcoms"]
            for key in [(x["task_id"], x["key"])]
        },
    }


def parameters():
    for case in CASES:
        marks = [pytest.mark.skip(reason=SLOW[case["dag_id"]])] if case["dag_id"] in SLOW else []
        yield pytest.param(case, id=case["id"], marks=marks)


@pytest.mark.parametrize("case", list(parameters()))
def test_runs_end_as_in_airflow(case: dict) -> None:
    for ours, theirs in zip(ran(case), case["runs"], strict=True):
        assert ours == recorded(theirs, ours)
