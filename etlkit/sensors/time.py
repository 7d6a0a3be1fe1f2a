"""Waiting for a time of day."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, time
from typing import Any

from etlkit.errors import DagError
from etlkit.sensors.base import BaseSensorOperator


class TimeSensor(BaseSensorOperator):
    """Waits until the time of day `target_time`, in the DAG's time zone, of the day on which it began to wait."""

    def __init__(self, *, target_time: time, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(target_time, time):
            raise DagError(f"task {self.task_id!r}: target_time must be a time of day, not {target_time!r}")
        self.target_time = target_time

    def poke(self, context: Mapping[str, Any]) -> bool:
        zone = self.target_time.tzinfo or context["dag"].timezone
        began = context["ti"].first_start_date.astimezone(zone)
        return context["clock"].now() >= datetime.combine(began, self.target_time, zone)
