"""Waiting for a task, a group of tasks, or a run of another DAG."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar

from etlkit.arguments import check_date, check_known
from etlkit.errors import AirflowException, AirflowSkipException, DagError
from etlkit.operators.python import signature_of
from etlkit.operators.trigger_dagrun import refuse_deferrable
from etlkit.sensors.base import BaseSensorOperator
from etlkit.states import DagRunState, TaskInstanceState


class ExternalTaskSensor(BaseSensorOperator):
    """Waits until the DAG `external_dag_id` has done the same logical date: all of it, some tasks, or a group.

    - `external_task_id` or `external_task_ids` name tasks, `external_task_group_id` a group; none of them, the run.
    - `execution_delta` looks at the logical date so much earlier. `execution_date_fn` is given the sensor's own logical
      date (and what else of the context it names) and returns the date to look at, or a list of them.
    - It is done when all are in `allowed_states` (success). One in `failed_states` fails it (`soft_fail`: skips it),
      one in `skipped_states` skips it; in any other state, or not there, it goes on waiting until its `timeout`.
    - `check_existence` fails it at once if there is no such DAG, task or group; else that is waited for too.

    Of a mapped task all instances count. The two DAGs must have the same dates: with other schedules or start times,
    nothing is ever found at the sensor's own date, which is what `execution_delta` is for. Names are Airflow's.

    >>> ExternalTaskSensor(task_id="wait", external_dag_id="weather", external_task_id="load").external_task_ids
    ['load']
    """

    template_fields: ClassVar[Sequence[str]] = ("external_dag_id", "external_task_ids", "external_task_group_id")
    ui_color: ClassVar[str] = "#4db7db"

    def __init__(
        self,
        *,
        external_dag_id: str,
        external_task_id: str | None = None,
        external_task_ids: Collection[str] | None = None,
        external_task_group_id: str | None = None,
        allowed_states: Iterable[str] | None = None,
        skipped_states: Iterable[str] | None = None,
        failed_states: Iterable[str] | None = None,
        execution_delta: timedelta | None = None,
        execution_date_fn: Callable[..., Any] | None = None,
        check_existence: bool = False,
        deferrable: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        what = f"task {self.task_id!r}"
        refuse_deferrable(what, deferrable)
        _at_most_one(
            what,
            external_task_id=external_task_id,
            external_task_ids=external_task_ids,
            external_task_group_id=external_task_group_id,
        )
        _at_most_one(what, execution_delta=execution_delta, execution_date_fn=execution_date_fn)
        self.external_dag_id, self.external_task_group_id = external_dag_id, external_task_group_id
        self.external_task_ids = [external_task_id] if external_task_id else external_task_ids or None
        if not isinstance(execution_delta, (timedelta, type(None))):
            raise DagError(f"{what}: execution_delta must be a timedelta, not {execution_delta!r}")
        self.execution_delta = execution_delta or timedelta(0)
        self.execution_date_fn, self.check_existence = execution_date_fn, check_existence
        of_tasks = self.external_task_ids is not None or external_task_group_id is not None
        self.allowed_states = list(allowed_states or ["success"])
        self.skipped_states, self.failed_states = list(skipped_states or ()), list(failed_states or ())
        self._check_states(what, TaskInstanceState if of_tasks else DagRunState)

    def _check_states(self, what: str, known: Any) -> None:
        states = [*self.allowed_states, *self.skipped_states, *self.failed_states]
        for state in states:
            check_known(f"{what}: a state of what it waits for", state, map(str, known))
        if len(set(states)) < len(states):
            raise DagError(f"{what}: a state may be in one of allowed_states, skipped_states and failed_states only")

    def poke(self, context: Mapping[str, Any]) -> bool:
        ti, dates = context["ti"], self._dates(context)
        task_ids = self._task_ids(ti)
        shown = ", ".join(date.isoformat() for date in dates)
        self.log.info("looks at %s of %s", ", ".join(task_ids or ["the run"]), f"{self.external_dag_id} at {shown}")
        states = [state for date in dates for state in ti.states_at(self.external_dag_id, date, task_ids)]
        for bad in (state for state in states if state in self.failed_states):
            text = f"what it waits for in DAG {self.external_dag_id!r} is {bad}"
            raise AirflowSkipException(f"soft_fail: {text}") if self.soft_fail else AirflowException(text)
        for skipping in (state for state in states if state in self.skipped_states):
            raise AirflowSkipException(f"what it waits for in DAG {self.external_dag_id!r} is {skipping}")
        return all(state in self.allowed_states for state in states)

    def _task_ids(self, ti: Any) -> list[str] | None:
        """The tasks to look at; None for the run. DagNotFound, TaskNotFound or DagError for what is not there."""
        if self.check_existence or self.external_task_group_id is not None:
            dag = ti.get_dag(self.external_dag_id)
            if (group_id := self.external_task_group_id) is not None:
                if group_id not in dag.task_groups:
                    raise DagError(f"DAG {dag.dag_id!r} has no task group {group_id!r}")
                return [task.task_id for task in dag.task_groups[group_id].tasks]
            for task_id in self.external_task_ids or ():
                dag.get_task(task_id)
        return None if self.external_task_ids is None else list(self.external_task_ids)

    def _dates(self, context: Mapping[str, Any]) -> list[datetime]:
        run = context["dag_run"]
        date = run.logical_date or run.run_after
        if self.execution_date_fn is None:
            return [date - self.execution_delta]
        wanted = signature_of(self.execution_date_fn).names[1:]
        found = self.execution_date_fn(date, **{name: context[name] for name in wanted if name in context})
        dates = found if isinstance(found, (list, tuple)) else [found]
        return [check_date(f"task {self.task_id!r}: execution_date_fn gave a date that", date) for date in dates]  # type: ignore[misc]


def _at_most_one(what: str, **told: Any) -> None:
    """DagError if more than one of these arguments was given."""
    names = [name for name, value in told.items() if value]
    if len(names) > 1:
        raise DagError(f"{what}: give only one of {' and '.join(names)}")
