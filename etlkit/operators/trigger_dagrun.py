"""Starting a run of another DAG."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar

from etlkit.arguments import check_date, check_known, check_seconds
from etlkit.dag import BaseOperator
from etlkit.errors import AirflowException, AirflowRescheduleException, AirflowSkipException, DagError
from etlkit.params import NOTSET
from etlkit.states import DagRunState

XCOM_RUN_ID = "trigger_run_id"


class TriggerDagRunOperator(BaseOperator):
    """Starts a run of the DAG `trigger_dag_id`, with `conf`, and waits for its end if `wait_for_completion` says so.

    - `logical_date`: an aware datetime or its ISO form; the present unless given (the first free microsecond, since a
      simulated clock stands still), None for a run about no date.
    - `trigger_run_id`: the run's id, else `manual__` and its date. It is pushed as the XCom `trigger_run_id`.
    - If there is a run of this id or date, the task fails; with `reset_dag_run` that run is cleared and so runs again,
      with `skip_when_already_exists` the task is skipped.
    - Waiting holds no slot: the task looks every `poke_interval` seconds (or a timedelta). It succeeds when the run is
      in one of `allowed_states` (success), fails when it is in one of `failed_states` (failed), and a retry starts
      another run.
    - A run of a paused DAG waits until it is unpaused; with `fail_when_dag_is_paused` the task fails instead.

    The run is there exactly if the task succeeded or waits for it, whoever is killed when. All but the last two may be
    templates. `deferrable` is Airflow's other way to wait without a slot, and refused: there is no need for it here.

    >>> TriggerDagRunOperator(task_id="go", trigger_dag_id="report", conf={"day": "{{ ds }}"}).conf
    {'day': '{{ ds }}'}
    """

    template_fields: ClassVar[Sequence[str]] = (
        "trigger_dag_id",
        "trigger_run_id",
        "logical_date",
        "conf",
        "wait_for_completion",
        "skip_when_already_exists",
    )
    ui_color: ClassVar[str] = "#ffefeb"

    def __init__(
        self,
        *,
        trigger_dag_id: str,
        trigger_run_id: str | None = None,
        conf: Mapping[str, Any] | str | None = None,
        logical_date: datetime | str | None = NOTSET,
        reset_dag_run: bool = False,
        wait_for_completion: bool = False,
        poke_interval: timedelta | float = 60,
        allowed_states: Iterable[str] | None = None,
        failed_states: Iterable[str] | None = None,
        skip_when_already_exists: bool = False,
        fail_when_dag_is_paused: bool = False,
        deferrable: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        what = f"task {self.task_id!r}"
        refuse_deferrable(what, deferrable)
        self.trigger_dag_id, self.trigger_run_id, self.conf = trigger_dag_id, trigger_run_id, conf
        self.logical_date = logical_date if isinstance(logical_date, str) else _date(what, logical_date)
        self.reset_dag_run, self.skip_when_already_exists = reset_dag_run, skip_when_already_exists
        self.wait_for_completion, self.fail_when_dag_is_paused = wait_for_completion, fail_when_dag_is_paused
        self.poke_interval = check_seconds(f"{what}: poke_interval", poke_interval) or timedelta(0)
        self.allowed_states = _states(what, "allowed_states", allowed_states or ["success"])
        self.failed_states = _states(what, "failed_states", ["failed"] if failed_states is None else failed_states)

    def execute(self, context: Mapping[str, Any]) -> None:
        ti, clock = context["ti"], context["clock"]
        run_id = ti.xcom_pull(key=XCOM_RUN_ID, map_indexes=ti.map_index)  # it started one before, and waits
        if run_id is None:
            self._trigger(ti)
            waits = self.wait_for_completion
        else:
            waits = not self._is_over(ti, run_id)
        if waits:
            raise AirflowRescheduleException(clock.now() + self.poke_interval)

    def _trigger(self, ti: Any) -> None:
        dag_id, date = self.trigger_dag_id, _date(f"task {self.task_id!r}", self.logical_date)
        self._look_if_paused(ti)
        name = self.trigger_run_id or None
        existing = ti.existing_run(dag_id, name, None if date is NOTSET else date)
        if existing is None:
            date = ti.free_logical_date(dag_id) if date is NOTSET else date
            run_id = ti.trigger_dag_run(dag_id, run_id=name, logical_date=date, conf=self._conf())
            self.log.info("starts run %s of DAG %s", run_id, dag_id)
        elif self.reset_dag_run:
            self.log.info("clears run %s of DAG %s", existing.run_id, dag_id)
            ti.clear_dag_run(existing)
            ti.xcom_push(XCOM_RUN_ID, existing.run_id)
        elif self.skip_when_already_exists:
            raise AirflowSkipException(f"DAG {dag_id!r} already has the run {existing.run_id}")
        else:
            raise AirflowException(
                f"DAG {dag_id!r} already has the run {existing.run_id}; set reset_dag_run or skip_when_already_exists"
            )

    def _look_if_paused(self, ti: Any) -> None:
        ti.get_dag(self.trigger_dag_id)
        if not ti.is_paused(self.trigger_dag_id):
            return
        if self.fail_when_dag_is_paused:
            raise AirflowException(f"DAG {self.trigger_dag_id!r} is paused; unpause it")
        self.log.warning("DAG %s is paused: its run starts when it is unpaused", self.trigger_dag_id)

    def _conf(self) -> Any:
        try:
            return json.loads(self.conf) if isinstance(self.conf, str) else self.conf
        except ValueError as error:
            raise AirflowException(f"conf {self.conf!r} is not JSON: {error}") from None

    def _is_over(self, ti: Any, run_id: str) -> bool:
        """Whether the run that it waits for ended well; AirflowException if it did not."""
        state = ti.get_dagrun_state(self.trigger_dag_id, run_id)
        if state is None or state in self.failed_states:
            raise AirflowException(f"run {run_id} of DAG {self.trigger_dag_id!r} is {state or 'not there any more'}")
        return state in self.allowed_states


def refuse_deferrable(what: str, deferrable: bool) -> None:
    """DagError if a task wants to wait in Airflow's triggerer, which is not here."""
    if deferrable:
        raise DagError(f"{what}: there is no triggerer, so deferrable=True cannot be; a rescheduled task holds no slot")


def _date(what: str, date: Any) -> Any:
    """An aware datetime, None or NOTSET; a text is read as ISO."""
    if date is NOTSET:
        return date
    try:
        return check_date(f"{what}: logical_date", datetime.fromisoformat(date) if isinstance(date, str) else date)
    except ValueError:
        raise DagError(f"{what}: logical_date {date!r} is no date; write it like 2013-01-31T06:00:00+00:00") from None


def _states(what: str, name: str, states: Iterable[str]) -> list[str]:
    return [check_known(f"{what}: {name}", state, map(str, DagRunState)) for state in states]
