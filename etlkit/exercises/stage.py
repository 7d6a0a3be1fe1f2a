"""What plays share: a lab to try a DAG in, and words for what is to be seen in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from etlkit import lab as _lab
from etlkit.config import Config, conf
from etlkit.dag import DAG
from etlkit.events import Listener, TaskEvent
from etlkit.exercises.definition import Timeline
from etlkit.operators.empty import EmptyOperator
from etlkit.store import RunRow


class Failure(NamedTuple):
    """A try of a task that failed, and its error."""

    task_id: str
    reason: str

    def __str__(self) -> str:
        return f"a task of yours failed: {self.task_id}: {self.reason}"


PORT = re.compile(r"(\b127\.0\.0\.1):\d+")
"""Where a service of a play is reached; the port is another each time, and says nothing."""

_failures: ContextVar[list[Failure] | None] = ContextVar("failures", default=None)


@contextmanager
def failures() -> Iterator[list[Failure]]:
    """The tries that fail in the labs of plays while the block lasts, in a list that grows."""
    found: list[Failure] = []
    token = _failures.set(found)
    try:
        yield found
    finally:
        _failures.reset(token)


class _Failures(Listener):
    """Writes down which tries fail, for whom `failures` asks."""

    def on_task(self, event: TaskEvent) -> None:
        found = _failures.get()
        if found is not None and event.new in ("failed", "up_for_retry") and event.reason:
            found.append(Failure(event.task_id, PORT.sub(r"\1", event.reason.splitlines()[0])))


class Lab(_lab.Lab):
    """A lab for plays: `failures` hears what fails in it, and it refuses what a learner's function gives and is no DAG.

    >>> with Lab(start="2013-01-01") as lab:
    ...     lab.add(None)
    Traceback (most recent call last):
    TypeError: the function must return a DAG, not None
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, listeners=[_Failures()], **kwargs)

    def add(self, *dags: DAG, paused: bool | None = None) -> Lab:
        """As every lab does."""
        super().add(*map(required_dag, dags), paused=paused)
        return self


def required_dag(made: Any) -> DAG:
    """What a learner's function gave; TypeError if it is no DAG."""
    if not isinstance(made, DAG):
        raise TypeError(f"the function must return a DAG, not {made!r}")
    return made


@contextmanager
def passing_home() -> Iterator[None]:
    """An ETLKIT_HOME for as long as the block lasts, so that an answer leaves nothing in the learner's own."""
    before = conf.current
    with TemporaryDirectory(prefix="etlkit-", ignore_cleanup_errors=True) as folder:
        conf.use(Config(Path(folder), {**before.environ, "ETLKIT_HOME": folder}))
        try:
            yield
        finally:
            conf.use(before)


def utc(text: str) -> datetime:
    """An instant in UTC, from its text.

    >>> utc("2013-01-02 06:00").isoformat()
    '2013-01-02T06:00:00+00:00'
    """
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def short(instant: datetime | None, zone: tzinfo = UTC) -> str:
    """An instant to the minute.

    >>> short(utc("2013-01-02 06:00"))
    '2013-01-02 06:00'
    """
    return instant.astimezone(zone).strftime("%Y-%m-%d %H:%M") if instant else "none"


def one_task(**arguments: Any) -> DAG:
    """A DAG of one task that does nothing, daily unless its arguments say otherwise."""
    with DAG("one_task", **{"schedule": "@daily", **arguments}) as dag:
        EmptyOperator(task_id="load")
    return dag


def listing(values: Iterable[Any]) -> str:
    """Values on one line.

    >>> listing(["2013-01-01", "2013-01-02"]), listing([])
    ('2013-01-01, 2013-01-02', 'none')
    """
    return ", ".join(map(str, values)) or "none"


def days_run(lab: Lab) -> str:
    """The dates that the lab's successful runs are about, each as often as there is a run of it."""
    return listing(sorted(short(run.logical_date)[:10] for run in lab.store.runs() if run.state == "success"))


def intervals_run(lab: Lab, zone: tzinfo = UTC) -> str:
    """What each run is about, when it started, and how it ended, a line each."""
    return "\n".join(_interval(run, zone) for run in lab.store.runs()) or "no run"


def _interval(run: RunRow, zone: tzinfo) -> str:
    start, end, began = (short(each, zone) for each in (run.data_interval_start, run.data_interval_end, run.start_date))
    state = "" if run.state == "success" else f": {run.state}"
    return f"{start} to {end[5:]}, run at {began[5:]}{state}"


def states(lab: Lab) -> dict[str, str]:
    """The tasks of the latest run and their states."""
    return {ti.task_id: str(ti.state) for ti in lab.store.task_instances(lab.store.runs()[-1].id)}


@contextmanager
def connected(*tables: str) -> Iterator[Any]:
    """A DuckDB connection to an empty warehouse with these tables."""
    from etlkit.warehouse import connect

    with connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        for table in tables:
            con.execute(table)
        yield con


class Killed(BaseException):
    """The process ends here: no `except Exception` stops it."""


def is_killed() -> None:
    """The process ends."""
    raise Killed


class Fragile:
    """A connection to whose process something `happens` just before its nth statement."""

    def __init__(self, con: Any, before: int, happens: Callable[[], object] = is_killed) -> None:
        self._con, self._left, self._happens = con, before, happens

    def execute(self, *arguments: Any) -> Any:
        """Run a statement."""
        return self._run(self._con.execute, *arguments)

    def executemany(self, *arguments: Any) -> Any:
        """The same for each of many rows."""
        return self._run(self._con.executemany, *arguments)

    def sql(self, *arguments: Any) -> Any:
        """Run a statement."""
        return self._run(self._con.execute, *arguments)

    def _run(self, run: Callable[..., Any], *arguments: Any) -> Any:
        self._left -= 1
        if self._left == 0:
            self._happens()
        return run(*arguments)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._con, name)
        return (lambda *arguments: self._run(method, *arguments)) if callable(method) else method


def table_text(con: Any, query: str) -> str:
    """A query's rows, a line each."""
    rows = con.execute(query).fetchall()
    return "\n".join("  ".join("NULL" if value is None else str(value) for value in row) for row in rows) or "no rows"


def errors(lab: Lab) -> str:
    """What the tasks failed with for good, a line each."""
    return "\n".join(
        f"{event.task_id}: {event.reason}"
        for event in lab.events
        if isinstance(event, TaskEvent) and event.new == "failed"
    )


def watching(look: Callable[[Lab], Any]) -> Callable[[Callable[[], DAG], Timeline], Iterator[Any]]:
    """A play that lets a DAG run from the first instant on, and looks after each step.

    The timeline's `given` is when the DAG is switched on, each step's `given` how long the clock then runs.
    """

    def play(make: Callable[[], DAG], timeline: Timeline) -> Iterator[Any]:
        with Lab(start=timeline.given) as lab:
            lab.add(make(), paused=False)
            for step in timeline.steps:
                lab.run_until(step.given)
                yield look(lab)

    return play
