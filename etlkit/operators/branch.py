"""Taking one way and skipping the others.

A branch names what is to go on. Skipped is every task *directly* after it that was not named and that nothing named
leads to; what comes later is left to its trigger rules. The decision is kept as the XCom `skipmixin_key`, as in
Airflow, so that a task cleared later is skipped again.

>>> from etlkit.dag import DAG, BaseOperator
>>> with DAG("d") as dag:
...     choose, a, b, join = (BaseOperator(task_id=t) for t in ("choose", "a", "b", "join"))
...     _ = choose >> [a, b] >> join
...     _ = choose >> join
>>> following(dag, "choose", ["a"])
['a', 'join']
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import networkx as nx

from etlkit.dag import DAG, BaseOperator
from etlkit.errors import AirflowException, DownstreamTasksSkipped, nearest

RECORD_KEY = "skipmixin_key"
"""The key under which a decision is kept among a task's XComs."""


class BaseBranchOperator(BaseOperator):
    """A branch of one's own: write `choose_branch`."""

    ui_color: ClassVar[str] = "#eee8d5"

    def choose_branch(self, context: Mapping[str, Any]) -> str | Iterable[str] | None:
        """The id of the task or group to go on with, several of them, or None for none. Override it."""
        raise NotImplementedError(
            f"{type(self).__name__} does not say where to go: write its choose_branch(self, context)"
        )

    def execute(self, context: Mapping[str, Any]) -> Any:
        return follow(self, context, self.choose_branch(context))


def follow(task: BaseOperator, context: Mapping[str, Any], choice: Any) -> Any:
    """Go on with `choice` alone: raise DownstreamTasksSkipped if that skips something, else give `choice` back.

    AirflowException if `choice` is not made of ids of this DAG's tasks and groups.
    """
    dag = context["dag"]
    if choice is not None and not isinstance(choice, str) and isinstance(choice, Iterable):
        choice = list(choice) if not isinstance(choice, (list, tuple, set, frozenset)) else choice
    after = list(dag.graph.succ[task.task_id])
    followed = following(dag, task.task_id, chosen_tasks(dag, task.task_id, choice))
    skipped = [task_id for task_id in after if task_id not in followed]
    task.log.info("goes on with %s; skips %s", ", ".join(followed) or "nothing", ", ".join(skipped) or "nothing")
    record = {"followed": followed}
    if skipped and can_skip(task, dag):
        raise DownstreamTasksSkipped(skipped, record)
    if after:
        context["ti"].xcom_push(key=RECORD_KEY, value=record)
    return choice


def can_skip(task: BaseOperator, dag: DAG) -> bool:
    """Whether what the task decides holds for the tasks after it: as in Airflow, not if it is one instance of many."""
    if dag.task_dict[task.task_id].expansion is None:
        return True
    task.log.warning("nothing is skipped: the instances of a mapped task may decide differently")
    return False


def chosen_tasks(dag: DAG, task_id: str, choice: str | Iterable[str] | None) -> list[str]:
    """The task ids that a branch named; a group stands for its first tasks."""
    names = (
        [] if choice is None else [choice] if isinstance(choice, str) or not isinstance(choice, Iterable) else choice
    )
    chosen: list[str] = []
    for name in names:
        if not isinstance(name, str):
            raise AirflowException(f"{task_id!r} must choose task ids, not {name!r} ({type(name).__name__})")
        if name in dag.task_groups:
            chosen += [task.task_id for task in dag.task_groups[name].roots]
        elif name in dag.task_dict:
            chosen.append(name)
        else:
            near = nearest(name, [*dag.task_dict, *dag.task_groups])
            raise AirflowException(
                f"{task_id!r} chose {name!r}, but DAG {dag.dag_id!r} has no task or group of that name{near}"
            )
    return chosen


def following(dag: DAG, task_id: str, chosen: Iterable[str]) -> list[str]:
    """What is directly after `task_id` and was chosen, or comes after something chosen."""
    kept = set(chosen)
    for name in list(kept):
        kept |= nx.descendants(dag.graph, name)
    return [after for after in dag.graph.succ[task_id] if after in kept]
