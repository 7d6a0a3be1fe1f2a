"""Authoring code gives the graph that Airflow 3.3.2 recorded for it: edges, groups, labels, refusals.

Set aside: mapping, setup and teardown (not built yet) and `op: run` (whole runs). What differs on purpose:

==========================================  ==========================================================================
Airflow                                     here
==========================================  ==========================================================================
takes a `start_date` without a zone         refuses it; the prelude gets one with a zone
keeps a label to a group on a join node     keeps it on the edges alone, join nodes being a matter of drawing
raises ValueError, TypeError, …             raises DagError
==========================================  ==========================================================================
"""

import json
from pathlib import Path

import pytest

from etlkit.dag import DAG, BaseOperator, TaskGroup, _dag_stack
from etlkit.errors import CycleError, DagError

FILE = json.loads(Path(__file__).with_name("cases").joinpath("chains.json").read_text(encoding="utf-8"))
LATER = ("mapped-", "setup-", "teardown-")
CASES = [c for c in FILE["cases"] if c["op"] == "structure" and not c["id"].split("/")[1].startswith(LATER)]

PRELUDE = """
import datetime
from etlkit.dag import DAG, Label, TaskGroup, chain, chain_linear, cross_downstream
from etlkit.operators.bash import BashOperator
from etlkit.operators.empty import EmptyOperator
from etlkit.taskflow import dag as dag_decorator
from etlkit.taskflow import task, task_group

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
        "mapped": False,
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
