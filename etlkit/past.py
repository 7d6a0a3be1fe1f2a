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
    first run of a task waits for nothing, and so does the first of a backfill: somebody asked for it to begin there.
    """
    previous = _run_before(store, run, task)
    if previous is None:
        return ""
    below = sorted(task.downstream_task_ids) if task.wait_for_downstream else []
    states = store.states_of_tasks(previous.id, [task.task_id, *below])
    for task_id in [task.task_id, *below] if task.task_id in states else ():
        bad = [state or "not finished" for state in states.get(task_id, ()) if state not in GOOD]
        if bad and task_id == task.task_id:
            return f"depends_on_past: it is {bad[0]} in {previous.run_id}"
        if bad:
            return f"wait_for_downstream: {task_id} is {bad[0]} in {previous.run_id}"
    return ""


def _run_before(store: Store, run: RunRow, task: BaseOperator) -> RunRow | None:
    """The run that `task` has to mind, if there is one."""
    if not task.depends_on_past or run.logical_date is None or task.dag is None or store.begins_backfill(run):
        return None
    previous = store.previous_run(run, scheduled_only=task.dag.catchup)
    if previous is None or previous.logical_date is None or not task.dag.catchup:
        return previous
    starts = [start for start in (task.start_date, task.dag.start_date) if start is not None]
    return None if starts and previous.logical_date < max(starts) else previous
