"""Waiting for a while after the run's time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar

from etlkit.arguments import check_seconds
from etlkit.sensors.base import BaseSensorOperator


class TimeDeltaSensor(BaseSensorOperator):
    """Waits until `delta` after the end of the run's data interval, or after the run was due if it has none."""

    template_fields: ClassVar[Sequence[str]] = ()

    def __init__(self, *, delta: timedelta, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.delta = check_seconds(f"task {self.task_id!r}: delta", delta)

    def poke(self, context: Mapping[str, Any]) -> bool:
        run = context["dag_run"]
        return context["clock"].now() >= (run.data_interval_end or run.run_after) + self.delta
