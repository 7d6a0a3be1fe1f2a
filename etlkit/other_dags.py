"""What a running task may ask of other DAGs and of assets, and how it starts a run of another DAG.

A run that a task starts is made in the transaction in which the attempt ends: so it is there exactly if the attempt
succeeded, or waits for it, and a scheduler in another process sees both at once.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from etlkit import xcom
from etlkit.asset_events import find_assets
from etlkit.assets import Asset
from etlkit.dag import DAG
from etlkit.errors import AirflowNotFoundException, DagNotFound
from etlkit.runs import check_run_id, check_run_params, clear_run, free_run_id, make_manual_run
from etlkit.states import DagRunType
from etlkit.store import RunRow

if TYPE_CHECKING:
    from etlkit.runtime import TaskRunner, Work


class OtherDags:
    """The part of a task instance that reaches beyond its own DAG."""

    _runner: TaskRunner
    _work: Work
    at_end: list[Callable[[datetime], None]]
    """What is written in the transaction in which the attempt ends, if it succeeds or waits; told the present."""
    started_runs: list[RunRow]
    """The runs of other DAGs that were made then."""

    def get_dag(self, dag_id: str) -> DAG:
        """Another DAG; DagNotFound, with the nearest name, if this process has none of that id."""
        if self._runner.find_dag is None:
            raise DagNotFound(dag_id)
        return self._runner.find_dag(dag_id)

    def get_asset(self, name: str) -> Asset:
        """The asset of a name; AirflowNotFoundException if the metadata database knows none, or several."""
        found = find_assets(self._runner.store, Asset.ref(name=name))
        if len(found) != 1:
            raise AirflowNotFoundException(f"{len(found) or 'no'} assets are called {name!r}; see: etlkit assets list")
        return found[0]

    def is_paused(self, dag_id: str) -> bool:
        """Whether another DAG is paused."""
        return self._runner.store.paused().get(dag_id, False)

    def get_dagrun_state(self, dag_id: str, run_id: str) -> str | None:
        """The state of a run; None if there is none of that id."""
        run = self._runner.store.run(dag_id, run_id)
        return run and run.state

    def states_at(self, dag_id: str, logical_date: datetime, task_ids: Sequence[str] | None) -> list[str | None]:
        """The state of the run of a logical date, or those of all instances of some tasks in it.

        What is not there, or not decided, is None.
        """
        run = self._runner.store.run_at(dag_id, logical_date)
        if run is None or task_ids is None:
            return [run and run.state]
        states = self._runner.store.states_of_tasks(run.id, task_ids)
        return list(itertools.chain.from_iterable(states.get(task_id, [None]) for task_id in task_ids))

    def existing_run(self, dag_id: str, run_id: str | None, logical_date: datetime | None) -> RunRow | None:
        """The run that is in the way of a new one with this id and date; None for one that is not told."""
        store = self._runner.store
        named = store.run(dag_id, run_id) if run_id else None
        return named or (store.run_at(dag_id, logical_date) if logical_date else None)

    def free_logical_date(self, dag_id: str) -> datetime:
        """The present, or a microsecond after the newest run of a DAG if that is of the same second."""
        now = self._runner.clock.now()
        newest = self._runner.store.newest_date(dag_id, now, now + timedelta(seconds=1))
        return newest + timedelta(microseconds=1) if newest else now

    def trigger_dag_run(
        self, dag_id: str, *, run_id: str | None, logical_date: datetime | None, conf: Mapping[str, Any] | None
    ) -> str:
        """Make a manual run of another DAG when this attempt ends; the run's id, which is pushed as `trigger_run_id`.

        DagNotFound, DagError or ParamValidationError if that cannot be.
        """
        dag, store, work = self.get_dag(dag_id), self._runner.store, self._work
        check_run_params(dag, conf)
        check_run_id(dag, run_id)
        dated = DagRunType.MANUAL.run_id(logical_date.astimezone(UTC).isoformat()) if logical_date else None
        name = run_id or dated or free_run_id(store, dag, self._runner.clock.now())

        def make(now: datetime) -> None:
            run = make_manual_run(store, dag, now=now, logical_date=logical_date, conf=conf, run_id=name)
            self.started_runs.append(run)
            store.announce()
            text = xcom.dumps(name)
            store.push_xcom(work.run.id, work.task.task_id, work.map_index, "trigger_run_id", text, now)

        self.at_end.append(make)
        return name

    def clear_dag_run(self, run: RunRow) -> None:
        """Run another DAG's run again, at once."""
        clear_run(self._runner.store, self.get_dag(run.dag_id), run, now=self._runner.clock.now())
