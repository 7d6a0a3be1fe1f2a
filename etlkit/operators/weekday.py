"""Taking one way on some days of the week, and another on the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import IntEnum
from typing import Any, ClassVar

from etlkit.errors import DagError, nearest
from etlkit.operators.branch import BaseBranchOperator


class WeekDay(IntEnum):
    """The days of the week under their ISO numbers."""

    MONDAY = 1
    TUESDAY = 2
    WEDNESDAY = 3
    THURSDAY = 4
    FRIDAY = 5
    SATURDAY = 6
    SUNDAY = 7


def check_week_days(what: str, days: Any) -> frozenset[WeekDay]:
    """One day or several, by name or as WeekDay, as a set; DagError with the nearest name for what is none.

    >>> check_week_days("week_day", ["saturday", WeekDay.SUNDAY]) == {6, 7}
    True
    """
    several = days if isinstance(days, Iterable) and not isinstance(days, str) else (days,)
    found = frozenset(_week_day(what, day) for day in several)
    if not found:
        raise DagError(f"{what} is empty; name at least one day")
    return found


def _week_day(what: str, day: Any) -> WeekDay:
    name = day.upper() if isinstance(day, str) else day
    if isinstance(name, str) and name in WeekDay.__members__:
        return WeekDay[name]
    if isinstance(day, WeekDay):
        return day
    near = nearest(str(day).capitalize(), [member.name.capitalize() for member in WeekDay])
    raise DagError(f"{what}: {day!r} is no day of the week{near or '; write Monday, or WeekDay.MONDAY'}")


def local_time(context: Mapping[str, Any], *, use_task_logical_date: bool) -> datetime:
    """The run's logical date (without one, when it was due) or the present instant, in the DAG's time zone."""
    run = context["dag_run"]
    moment = (run.logical_date or run.run_after) if use_task_logical_date else context["clock"].now()
    return moment.astimezone(context["dag"].timezone)


class BranchDayOfWeekOperator(BaseBranchOperator):
    """Goes on with `follow_task_ids_if_true` on the days `week_day`, and else with `follow_task_ids_if_false`.

    `week_day` is one day or several, by full name or as WeekDay. The day is the present one in the DAG's time zone, or
    with `use_task_logical_date` that of the run: a backfill then takes the way it would have taken at the time.
    """

    ui_color: ClassVar[str] = "#e9ffdb"

    def __init__(
        self,
        *,
        follow_task_ids_if_true: str | Iterable[str],
        follow_task_ids_if_false: str | Iterable[str],
        week_day: str | WeekDay | Iterable[str | WeekDay],
        use_task_logical_date: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.follow_task_ids_if_true = follow_task_ids_if_true
        self.follow_task_ids_if_false = follow_task_ids_if_false
        self.week_days = check_week_days(f"task {self.task_id!r}: week_day", week_day)
        self.use_task_logical_date = use_task_logical_date

    def choose_branch(self, context: Mapping[str, Any]) -> str | Iterable[str]:
        today = local_time(context, use_task_logical_date=self.use_task_logical_date)
        return self.follow_task_ids_if_true if today.isoweekday() in self.week_days else self.follow_task_ids_if_false
