"""Running only what is newest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from etlkit.operators.branch import BaseBranchOperator
from etlkit.timetables import DataInterval, TimeRestriction


class LatestOnlyOperator(BaseBranchOperator):
    """Skips the tasks directly after it unless its run is the newest: in a catch-up of a year they run once.

    A run is the newest while the present lies between the start of its data interval and the end of the next one. A
    run that was triggered by hand, and the last run of a schedule, always count as newest.
    """

    ui_color: ClassVar[str] = "#e9ffdb"

    def choose_branch(self, context: Mapping[str, Any]) -> list[str]:
        return list(context["dag"].graph.succ[self.task_id]) if self._is_latest(context) else []

    def _is_latest(self, context: Mapping[str, Any]) -> bool:
        run, now = context["dag_run"], context["clock"].now()
        if run.run_type == "manual":
            return True
        moment = run.logical_date or run.run_after
        interval = DataInterval(run.data_interval_start or moment, run.data_interval_end or moment)
        following = context["dag"].timetable.next_dagrun_info(
            last_automated_data_interval=interval,
            restriction=TimeRestriction(earliest=interval.end, latest=None, catchup=True, now=now),
        )
        if following is None:
            return True
        self.log.info("newest if %s <= %s < %s", interval.start, now, following.data_interval.end)
        # Airflow has < and <=. A real clock never shows an end exactly; a simulated one does, and the run then begins.
        return interval.start <= now < following.data_interval.end
