"""Waiting for an instant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from etlkit.arguments import check_date
from etlkit.errors import DagError
from etlkit.sensors.base import BaseSensorOperator


class DateTimeSensor(BaseSensorOperator):
    """Waits until `target_time`: an aware datetime, or its ISO form, which may be a template.

    >>> DateTimeSensor(task_id="wait", target_time="{{ data_interval_end.add(hours=6) }}").target_time
    '{{ data_interval_end.add(hours=6) }}'
    """

    template_fields: ClassVar[Sequence[str]] = ("target_time",)

    def __init__(self, *, target_time: str | datetime, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.target_time = target_time
        if not isinstance(target_time, str):
            self._instant()

    def poke(self, context: Mapping[str, Any]) -> bool:
        return context["clock"].now() >= self._instant()

    def _instant(self) -> datetime:
        target = self.target_time
        what = f"task {self.task_id!r}: target_time"
        try:
            instant = check_date(what, datetime.fromisoformat(target) if isinstance(target, str) else target)
        except ValueError:
            raise DagError(f"{what} {target!r} is not an instant; write it like 2013-01-31T06:00:00+00:00") from None
        if instant is None:
            raise DagError(f"{what} is None; give it an aware datetime")
        return instant
