"""Waiting for a day of the week."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from etlkit.operators.weekday import WeekDay, check_week_days, local_time
from etlkit.sensors.base import BaseSensorOperator


class DayOfWeekSensor(BaseSensorOperator):
    """Waits until it is one of the days `week_day`, by full name or as WeekDay, in the DAG's time zone.

    With `use_task_logical_date` the day is that of the run, which never changes: on another day it waits in vain.
    """

    def __init__(
        self,
        *,
        week_day: str | WeekDay | Iterable[str | WeekDay],
        use_task_logical_date: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.week_days = check_week_days(f"task {self.task_id!r}: week_day", week_day)
        self.use_task_logical_date = use_task_logical_date

    def poke(self, context: Mapping[str, Any]) -> bool:
        return local_time(context, use_task_logical_date=self.use_task_logical_date).isoweekday() in self.week_days
