"""What all sensors share: poking, waiting, giving up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar

from etlkit.arguments import check_known, check_seconds
from etlkit.dag import BaseOperator
from etlkit.errors import (
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    DagError,
)

MODES = ("poke", "reschedule")


@dataclass(frozen=True)
class PokeReturnValue:
    """What `poke` may return instead of true or false: whether it is so, and the task's result if it is."""

    is_done: bool
    xcom_value: Any = None

    def __bool__(self) -> bool:
        return self.is_done


class BaseSensorOperator(BaseOperator):
    """Calls `poke(context)` until it returns something true; write that method.

    - `mode`: "poke" keeps its slot and sleeps between two pokes, "reschedule" gives the slot back until the next one.
    - `poke_interval`: seconds (or a timedelta) between two pokes. With `exponential_backoff` a wait is as long as all
      the time since the first poke and one interval more, so it doubles, up to `max_wait`.
    - `timeout`: seconds after the first poke at which it gives up. In reschedule mode the waiting between pokes counts.
      It is not retried; with `soft_fail` the task is skipped and not failed.

    >>> from etlkit.clock import SimulatedClock
    >>> from datetime import UTC, datetime
    >>> class Until(BaseSensorOperator):
    ...     def poke(self, context):
    ...         return context["clock"].now().hour >= 6
    >>> clock = SimulatedClock(datetime(2013, 1, 1, tzinfo=UTC))
    >>> Until(task_id="until_six", poke_interval=3600).execute({"clock": clock})
    >>> clock
    SimulatedClock(2013-01-01T06:00:00+00:00)
    """

    ui_color: ClassVar[str] = "#e6f1f2"

    def __init__(
        self,
        *,
        poke_interval: timedelta | float = 60,
        timeout: timedelta | float = timedelta(days=7),
        soft_fail: bool = False,
        mode: str = "poke",
        exponential_backoff: bool = False,
        max_wait: timedelta | float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.poke_interval = self._seconds("poke_interval", poke_interval)
        self.timeout = self._seconds("timeout", timeout)
        self.max_wait = self._seconds("max_wait", self.timeout if max_wait is None else max_wait)
        if not self.poke_interval:
            raise DagError(f"task {self.task_id!r}: poke_interval must be more than 0 seconds")
        self.mode = check_known(f"task {self.task_id!r}: mode", mode, MODES)
        self.soft_fail = soft_fail
        self.exponential_backoff = exponential_backoff

    def _seconds(self, name: str, value: Any) -> float:
        checked = check_seconds(f"task {self.task_id!r}: {name}", value)
        if checked is None:
            raise DagError(f"task {self.task_id!r}: {name} must be a number of seconds or a timedelta, not None")
        return checked.total_seconds()

    @property
    def reschedule(self) -> bool:
        """Whether it gives its slot back between two pokes."""
        return self.mode == "reschedule"

    def poke(self, context: Mapping[str, Any]) -> Any:
        """Whether it is so now: true, false, or a PokeReturnValue. Override it."""
        raise NotImplementedError(f"{type(self).__name__} does not say what to wait for: write its poke(self, context)")

    def execute(self, context: Mapping[str, Any]) -> Any:
        clock = context["clock"]
        started = context["ti"].first_start_date if self.reschedule else clock.now()
        while not (answer := self._poke(context)):
            wait = self._next_wait(clock.now() - started)
            if self.reschedule:
                raise AirflowRescheduleException(clock.now() + wait)
            clock.sleep(wait.total_seconds())
        return answer.xcom_value if isinstance(answer, PokeReturnValue) else None

    def _poke(self, context: Mapping[str, Any]) -> Any:
        try:
            return self.poke(context)
        except (AirflowSensorTimeout, AirflowTaskTimeout, AirflowFailException) as error:
            if self.soft_fail:
                raise AirflowSkipException(f"soft_fail: {error}") from error
            raise

    def _next_wait(self, elapsed: timedelta) -> timedelta:
        """How long until the next poke, when the first was `elapsed` ago; raises if it has waited long enough."""
        waited = elapsed.total_seconds()
        # On a clock that stands still while the task works, the time-out is reached exactly: hence not ">".
        if waited >= self.timeout:
            message = f"{self.task_id} waited {waited:g} s; its timeout is {self.timeout:g} s"
            raise AirflowSkipException(message) if self.soft_fail else AirflowSensorTimeout(message)
        if not self.exponential_backoff:
            return timedelta(seconds=self.poke_interval)
        return timedelta(seconds=min(waited + self.poke_interval, self.max_wait, self.timeout - waited))
