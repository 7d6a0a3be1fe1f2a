"""Authoring code gives the graph that Airflow 3.3.2 recorded for it: edges, groups, labels, refusals; and small DAGs
end as there.

What differs on purpose:

==========================================  ==========================================================================
Airflow                                     here
==========================================  ==========================================================================
takes a `start_date` without a zone         refuses it; the prelude gets one with a zone
keeps a label to a group on a join node     keeps it on the edges alone, join nodes being a matter of drawing
raises ValueError, TypeError, …             raises DagError
measures a literal `range` by its text      maps over its numbers
==========================================  ==========================================================================
"""

import json
from pathlib import Path

import pytest

from etlkit import xcom
from etlkit.dag import DAG, BaseOperator, TaskGroup, _dag_stack
from etlkit.errors import CycleError, DagError
from etlkit.lab import Lab
from etlkit.mapping import MappedOperator

FILE = json.loads(Path(__file__).with_name("cases").joinpath("chains.json").read_text(encoding="utf-8"))
CASES = [c for c in FILE["cases"] if c["op"] == "structure"]

PRELUDE = """
import datetime
from etlkit.dag import DAG, Label, TaskGroup, chain, chain_linear, cross_downstream
from etlkit.operators.bash import BashOperator
from etlkit.operators.empty import EmptyOperator
from etlkit.taskflow import dag as dag_decorator
from etlkit.taskflow import setup, task, task_group, teardown

def E(task_id, **kw):
    return EmptyOperator(task_id=task_id, **kw)

dag = DAG("d", schedule=None, start_date=datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC))
"""


class DagContext:
    """Airflow's internal stack of `with DAG` blocks, which one case takes a DAG off."""

    pop = _dag_stack.pop
    push = _dag_stack.append


def build(case: dict) -> DAG:
    """The DAG that a case writes, as its protocol says."""
    names: dict = {"DagContext": DagContext}
    exec(PRELUDE, names)
    code = case["code"].replace("from airflow.sdk.definitions._internal.contextmanager import DagContext\n", "")
    try:
        with names["dag"]:
            for task_id in case["tasks_before"]:
                names[task_id] = names["E"](task_id)
            exec(code, names)
    except CycleError:
        assert case["error"]["at"] == "check_cycle"
    return names["dag"]


def described(dag: DAG) -> dict:
    """A DAG in the form of the recorded answers."""
    return {
        "dag_id": dag.dag_id,
        "tasks": {task.task_id: described_task(task) for task in dag.tasks},
        "groups": {group.group_id: described_group(group) for group in dag.task_groups.values()},
        "labels": {f"{a} -> {b}": label for a, b, label in dag.graph.edges(data="label") if label},
        "roots": sorted(task.task_id for task in dag.roots),
        "leaves": sorted(task.task_id for task in dag.leaves),
    }


def described_task(task: BaseOperator) -> dict:
    return {
        "downstream": sorted(task.downstream_task_ids),
        "trigger_rule": task.trigger_rule,
        "group": task.task_group.group_id if task.task_group else None,
        **({"retries": task.retries} if task.retries else {}),
        **({"mapped": True} if isinstance(task, MappedOperator) else {}),
        **({"is_setup": True} if task.is_setup else {}),
        **({"is_teardown": True, "on_failure_fail_dagrun": task.on_failure_fail_dagrun} if task.is_teardown else {}),
    }


def described_group(group: TaskGroup) -> dict:
    groups = group.dag.task_groups.keys()
    return {
        "parent": group.parent_group.group_id if group.parent_group else None,
        "children": sorted(group.children),
        "upstream_group_ids": sorted(group.upstream_ids & groups),
        "downstream_group_ids": sorted(group.downstream_ids & groups),
        "upstream_task_ids": sorted(group.upstream_ids - groups),
        "downstream_task_ids": sorted(group.downstream_ids - groups),
        "prefix_group_id": group.prefix_group_id,
        "mapped": group.expansion is not None,
    }


def test_there_are_cases() -> None:
    assert len(CASES) > 40


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_structure(case: dict) -> None:
    if case.get("error", {}).get("at") == "build":
        with pytest.raises(DagError):
            build(case)
        return
    expected = case["expect"]
    labels = {edge: label for edge, label in expected["labels"].items() if "_join_id" not in edge}
    assert described(build(case)) == {**expected, "labels": labels}


# --- whole runs -------------------------------------------------------------------------------------------------------

RUN_PRELUDE = """
import datetime
from etlkit.dag import DAG, chain
from etlkit.errors import AirflowException, AirflowFailException, AirflowSkipException
from etlkit.operators.bash import BashOperator
from etlkit.operators.empty import EmptyOperator
from etlkit.operators.python import BranchPythonOperator, PythonOperator, ShortCircuitOperator
from etlkit.taskflow import task, task_group

with DAG("m", schedule=None, start_date=datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)) as dag:
"""
RUNS = [
    pytest.param(case, id=case["id"]) for case in FILE["cases"] if case["op"] == "run" and case["id"] != "mapping/range"
]


def written(case: dict) -> DAG:
    """The DAG of a run case, as its protocol says."""
    names: dict = {}
    code = case["code"].replace("airflow.sdk", "etlkit.taskflow")
    exec(RUN_PRELUDE + "".join(f"    {line}\n" for line in code.splitlines()), names)
    return names["dag"]


def ended(dag: DAG) -> dict:
    """What a run of a DAG came to, in the form of the recorded answers."""
    lab = Lab(start="2024-03-05")
    lab.add(dag)
    lab.trigger(dag)
    lab.advance(days=1)
    (run,) = lab.store.runs(dag.dag_id)
    tasks = sorted(lab.store.task_instances(run.id), key=lambda task: (task.task_id, task.map_index))
    query = "SELECT task_id, map_index, key, value FROM xcom ORDER BY 1, 2, 3"
    names = ("task_id", "map_index", "state", "try_number", "rendered_map_index")
    return {
        "state": run.state,
        "task_instances": [{name: getattr(task, name) for name in names} for task in tasks],
        "xcoms": {(t, i, k): decoded(xcom.loads(v)) for t, i, k, v in lab.store.cursor.execute(query).fetchall()},
    }


def decoded(value):
    """A recorded value with Airflow's mark for a tuple made into one."""
    if isinstance(value, dict):
        if "skipped" in value:  # in the order of a set
            return {"skipped": sorted(value["skipped"])}
        if value.get("__classname__") == "builtins.tuple":
            return tuple(map(decoded, value["__data__"]))
        return {key: decoded(item) for key, item in value.items()}
    return value


@pytest.mark.parametrize("case", RUNS)
def test_run(case: dict) -> None:
    if "error" in case:
        with pytest.raises(DagError):
            written(case)
        return
    expected = case["expect"]
    assert ended(written(case)) == {
        "state": expected["state"],
        "task_instances": [{"rendered_map_index": None, **task} for task in expected["task_instances"]],
        "xcoms": {(x["task_id"], x["map_index"], x["key"]): decoded(x["value"]) for x in expected["xcoms"]},
    }


def test_a_range_is_mapped_over_by_its_numbers() -> None:
    (case,) = (case for case in FILE["cases"] if case["id"] == "mapping/range")
    assert list(ended(written(case))["xcoms"].values()) == [{"x": 2}, {"x": 3}, {"x": 4}]
