"""`depends_on_past` and `wait_for_downstream`: what a task instance waits for in the run before its own.

Source: Airflow's `PrevDagrunDep`.
"""

from __future__ import annotations

from etlkit.dag import BaseOperator
from etlkit.states import SKIPPED, SUCCESS
from etlkit.store import RunRow, Store

GOOD = (SUCCESS, SKIPPED)


def past_blocks(store: Store, run: RunRow, task: BaseOperator) -> str:
    """Why the run before holds `task` back, in words; empty when it does not.

    The run before is the one with the next earlier logical date; manual runs do not count while the DAG catches up. The
    first run of a task waits for nothing.
    """
    if not task.depends_on_past or run.logical_date is None or task.dag is None:
        return ""
    if task.start_date is not None and run.logical_date <= task.start_date:
        return ""
    previous = store.previous_run(run, scheduled_only=task.dag.catchup)
    if previous is None:
        return ""
    states = {row.task_id: row.state for row in store.task_instances(previous.id)}
    if task.task_id not in states:
        return ""
    if states[task.task_id] not in GOOD:
        return f"depends_on_past: it is {states[task.task_id] or 'not decided'} in {previous.run_id}"
    if task.wait_for_downstream:
        for below in sorted(task.downstream_task_ids):
            if states.get(below, SUCCESS) not in GOOD:
                return f"wait_for_downstream: {below} is {states[below] or 'not decided'} in {previous.run_id}"
    return ""
