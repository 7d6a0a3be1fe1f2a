"""Taking one way within some time, and another outside of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, time, timedelta
from typing import Any, ClassVar

from etlkit.arguments import check_date
from etlkit.errors import DagError
from etlkit.operators.branch import BaseBranchOperator
from etlkit.operators.weekday import local_time


class BranchDateTimeOperator(BaseBranchOperator):
    """Goes on with `follow_task_ids_if_true` from `target_lower` to `target_upper`, both included, else with the other.

    The bounds are aware datetimes, or times of day in the DAG's time zone; one of them may be None. As in Airflow, an
    upper time of day before the lower one is that of the next day: 22:00 to 06:00 does not hold at 01:00.

    What is compared is the present instant, or with `use_task_logical_date` the run's logical date.
    """

    ui_color: ClassVar[str] = "#e9ffdb"

    def __init__(
        self,
        *,
        follow_task_ids_if_true: str | Iterable[str],
        follow_task_ids_if_false: str | Iterable[str],
        target_lower: datetime | time | None,
        target_upper: datetime | time | None,
        use_task_logical_date: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.follow_task_ids_if_true = follow_task_ids_if_true
        self.follow_task_ids_if_false = follow_task_ids_if_false
        self.target_lower = self._bound("target_lower", target_lower)
        self.target_upper = self._bound("target_upper", target_upper)
        if target_lower is None and target_upper is None:
            raise DagError(f"task {self.task_id!r} needs a target_lower, a target_upper, or both")
        self.use_task_logical_date = use_task_logical_date

    def _bound(self, name: str, value: Any) -> datetime | time | None:
        return value if isinstance(value, time) else check_date(f"task {self.task_id!r}: {name}", value)

    def choose_branch(self, context: Mapping[str, Any]) -> str | Iterable[str]:
        now = local_time(context, use_task_logical_date=self.use_task_logical_date)
        lower, upper = on_the_day_of(now, self.target_lower), on_the_day_of(now, self.target_upper)
        if lower and upper and upper < lower and isinstance(self.target_upper, time):
            upper += timedelta(days=1)
        within = (lower is None or lower <= now) and (upper is None or now <= upper)
        return self.follow_task_ids_if_true if within else self.follow_task_ids_if_false


def on_the_day_of(moment: datetime, target: datetime | time | None) -> datetime | None:
    """`target` as an instant: a time of day is one of the day of `moment`, in its zone.

    >>> from datetime import UTC
    >>> on_the_day_of(datetime(2013, 1, 31, 12, tzinfo=UTC), time(6, 30))
    datetime.datetime(2013, 1, 31, 6, 30, tzinfo=datetime.timezone.utc)
    """
    if not isinstance(target, time):
        return target
    return datetime.combine(moment, target, target.tzinfo or moment.tzinfo)
