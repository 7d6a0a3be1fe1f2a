"""`Lab`: a whole pipeline system in one object, for notebooks and scripts.

A lab has everything that runs pipelines: a clock, the metadata database, the scheduler, an executor and a warehouse. In
a notebook the clock is simulated and everything is in memory, so a month of scheduling takes milliseconds, gives the
same answer each time and leaves no file behind.

>>> from datetime import UTC, datetime
>>> from etlkit.dag import DAG, BaseOperator
>>> class Count(BaseOperator):
...     def execute(self, context):
...         return 26
>>> with DAG("weather", schedule="@daily", start_date=datetime(2013, 1, 1, tzinfo=UTC), catchup=True) as weather:
...     _ = Count("extract") >> Count("load")
>>> lab = Lab(start="2013-01-01")
>>> lab.add(weather).run_until("2013-01-03 12:00")
Lab at 2013-01-03 12:00:00 UTC
DAG      schedule   runs  success  next run
weather  0 0 * * *     2        2  2013-01-04 00:00:00

The same DAG object runs on the computer's own clock, remembered in a file:
`Lab(clock=SystemClock(), database="sqlite:///etl.db").add(weather).run_until()` runs what is due now.

Dates are aware datetimes, or texts such as "2013-01-31" or "2013-01-31 06:00". A text means UTC where it is about the
clock (`start`, `run_until`), and the DAG's time zone where it is about the dates of a DAG (`trigger`, `backfill`).
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from etlkit import tables
from etlkit.asset_context import new_event
from etlkit.asset_events import Source, record_events
from etlkit.clock import Clock, SimulatedClock
from etlkit.dag import DAG, BaseOperator
from etlkit.errors import EtlkitError, TimetableError, nearest
from etlkit.events import Listener, RunEvent, TaskEvent, Trace, clock_text
from etlkit.executors.base import Executor
from etlkit.executors.sequential import SequentialExecutor
from etlkit.logs import LogKey, LogStore
from etlkit.params import NOTSET
from etlkit.runs import clear_run, runs_on, trigger_run
from etlkit.runtime import DagRun, TaskRunner
from etlkit.scheduler import Scheduler
from etlkit.scheduler_lock import scheduling
from etlkit.showing import aligned, as_html
from etlkit.store import RunRow, Store
from etlkit.timetables import as_utc

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

    from etlkit.assets import Asset
    from etlkit.backfill import BackfillPlan
    from etlkit.connections import Connections
    from etlkit.dag_processor import DagProcessor
    from etlkit.testing import SlackSink
    from etlkit.variables import Variables
    from etlkit.viz import Picture
    from etlkit.why import Why

When = datetime | date | str
"""An aware datetime, a date, or the text of one; in which time zone a text or date is read, its place says."""


class Text(str):
    """Text that a notebook shows as it reads, without quotes and escapes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def instant(value: When, what: str = "date", zone: tzinfo = UTC) -> datetime:
    """The instant meant, in UTC; a text or date without a time zone is read in `zone`.

    TimetableError, in one line, for a datetime without a zone or a text that is no date.

    >>> instant("2013-01-31 06:00").isoformat()
    '2013-01-31T06:00:00+00:00'
    >>> instant(datetime(2013, 1, 31))
    Traceback (most recent call last):
    etlkit.errors.TimetableError: date 2013-01-31 00:00:00 has no time zone; give it one, for example tzinfo=UTC
    """
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise TimetableError(f"{what} {value!r} is not a date; write '2013-01-31' or '2013-01-31 06:00'") from None
        value = value if value.tzinfo else value.replace(tzinfo=zone)
    elif isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time(), zone)
    return as_utc(value, what)


def _in_files(
    executor: Executor, database: str, logs: str | Path | None, warehouse: Any
) -> tuple[str, str | Path | None, Any]:
    """Database, logs and warehouse as the processes of an executor can share them: files of its folder, not memory."""
    folder = executor.folder
    if folder is None:
        return database, logs, warehouse
    if not isinstance(warehouse, str | Path | None):
        raise EtlkitError("other processes cannot use a DuckDB connection: give the path of a file, or no warehouse")
    named = warehouse is not None and str(warehouse) != ":memory:"
    executor.warehouse = Path(warehouse or "").absolute() if named else folder / "warehouse.duckdb"
    return (
        f"sqlite:///{folder / 'etl.db'}" if database == "sqlite://" else database,
        folder / "logs" if logs is None else logs,
        executor.warehouse,
    )


class Lab:
    """A clock, a metadata database, a scheduler with its executor, and a warehouse, ready to run DAGs.

    - `start`: what the simulated clock shows at first. Or `clock`: one of your own, such as `SystemClock()`.
    - `database`: where runs are remembered: "sqlite://" is memory, "sqlite:///etl.db" a file.
    - `warehouse`: a path for DuckDB's file, a DuckDB connection, or None for one in memory.
    - `logs`: a folder for the tasks' logs, or None to keep them in memory.
    - `executor`: what runs the tasks: one after the other if None, or several at once: `LocalExecutor(4)`.
    - `parallelism`: how many task instances may be active at once ([core] parallelism if None).

    On a database file, one process at a time schedules; attempts of one that was killed are made again. For tasks in
    processes of their own nothing can be in memory: database, logs and warehouse are then files of a private folder,
    which goes when the lab is closed, or where you say. The lab lets go of the warehouse while tasks run, as only one
    process at a time can have it open.
    """

    def __init__(
        self,
        start: When | None = None,
        *,
        clock: Clock | None = None,
        database: str = "sqlite://",
        warehouse: str | Path | duckdb.DuckDBPyConnection | None = None,
        logs: str | Path | None = None,
        executor: Executor | None = None,
        parallelism: int | None = None,
        listeners: Iterable[Listener] = (),
    ) -> None:
        if (clock is None) == (start is None):
            raise EtlkitError("a Lab needs a start or a clock: Lab(start='2013-01-01'), or Lab(clock=SystemClock())")
        self.clock = clock or SimulatedClock(instant(start, "start"))  # type: ignore[arg-type]
        self.executor = executor or SequentialExecutor()
        database, logs, warehouse = _in_files(self.executor, database, logs, warehouse)
        self.store = Store(database)
        self.logs = LogStore(Path(logs) if logs is not None else None)
        self._warehouse_path = warehouse if isinstance(warehouse, str | Path) else ":memory:"
        self._warehouse = None if isinstance(warehouse, str | Path) else warehouse
        self._opened_warehouse = self._warehouse is None
        self._sinks: list[SlackSink] = []
        self._processors: dict[Path, DagProcessor] = {}
        self._trace = Trace()
        self._recorded = 0
        self._closed = False
        self.scheduler = Scheduler(
            self.store,
            self.clock,
            self.executor,
            runner=TaskRunner(self.store, self.clock, self.logs, lambda: self.warehouse),
            listeners=[self._trace, *listeners],
            parallelism=parallelism,
        )

    def close(self) -> None:
        """Write down the decisions and let go of the databases; closing twice is harmless."""
        if self._closed:
            return
        self._closed = True
        try:
            self._record_decisions()
        finally:
            with contextlib.ExitStack() as last:  # what fails keeps nothing else open
                last.callback(self._close_warehouse)
                last.callback(self.store.close)
                for sink in self._sinks:
                    last.callback(sink.close)
                self.executor.stop()

    def _close_warehouse(self) -> None:
        if self._warehouse is not None and self._opened_warehouse:
            self._warehouse.close()
            self._warehouse = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        if kind is KeyboardInterrupt:  # whoever interrupts does not want to wait for tasks in other processes
            self.executor.stop(at_once=True)
        self.close()

    @property
    def now(self) -> datetime:
        """What the clock shows, in UTC."""
        return self.clock.now()

    @property
    def warehouse(self) -> duckdb.DuckDBPyConnection:
        """The warehouse, opened when it is first asked for; tasks have it as `context["warehouse"]`."""
        if self._warehouse is None:
            from etlkit.warehouse import connect

            self._warehouse = connect(self._warehouse_path)
            self._warehouse.execute("SET TimeZone = 'UTC'")  # else instants would read differently on every machine
        return self._warehouse

    # --- DAGs ---

    def add(self, *dags: DAG, paused: bool | None = None) -> Lab:
        """Look after DAGs from now on; one that has the id of an earlier one takes its place. Nothing runs yet.

        They are not paused, unless you or their `is_paused_upon_creation` say so.
        """
        for dag in dags:
            if dag.dag_id in self.scheduler.dags:
                self.scheduler.remove_dag(dag.dag_id)
            self.scheduler.add_dag(dag, paused=bool(dag.is_paused_upon_creation if paused is None else paused))
        return self

    def load(self, path: str | Path, *, paused: bool | None = None) -> Lab:
        """Look after the DAGs of a DAG file, or of a folder of them; called again, it reads what has changed since.

        A file that does not load is a warning, which names the line, and a row of `import_errors`; the others load.
        """
        from etlkit.dag_folder import DagFolder
        from etlkit.dag_processor import DagProcessor

        key = Path(path).absolute()
        if key not in self._processors:
            own = (lambda dag: bool(dag.is_paused_upon_creation)) if paused is None else lambda _: bool(paused)
            self._processors[key] = DagProcessor(self.scheduler, DagFolder(path), own)
        changes = self._processors[key].refresh()
        for error in changes.errors if changes else ():
            warnings.warn(str(error), stacklevel=2)
        return self

    @property
    def dags(self) -> list[DAG]:
        """The DAGs that were added."""
        return [entry.dag for entry in self.scheduler.dags.values()]

    def pause(self, dag: DAG | str | None = None) -> Lab:
        """Start nothing more of a DAG; what its schedule misses waits until it is unpaused."""
        with self.store.transaction():
            self.store.set_paused(self._dag(dag).dag_id, True)
        return self

    def unpause(self, dag: DAG | str | None = None) -> Lab:
        """Go on with a DAG: what was missed runs now, as far as its `catchup` says."""
        with self._at_once(), self.store.transaction():
            self.store.set_paused(self._dag(dag).dag_id, False)
        return self

    def set_pool(self, name: str, slots: int) -> Lab:
        """Make a pool, or change its number of slots."""
        with self._at_once(), self.store.transaction():
            self.store.set_pool(name, slots)
        return self

    @property
    def variables(self) -> Variables:
        """The lab's own Variables, which its tasks find by `Variable.get`.

        >>> lab = Lab(start="2013-01-01")
        >>> lab.variables.set("airports", ["JFK", "LGA"], serialize_json=True)
        >>> lab.variables.get("airports", deserialize_json=True)
        ['JFK', 'LGA']
        """
        from etlkit.variables import Variables

        return Variables(self.store)

    @property
    def connections(self) -> Connections:
        """The lab's own Connections, which its tasks and their hooks find by conn_id."""
        from etlkit.connections import Connections

        return Connections(self.store)

    def slack(self, conn_id: str = "slack_default") -> SlackSink:
        """A stand-in for Slack on this computer: it gets what notifiers send to the Connection `conn_id`.

        >>> from etlkit.notify import SlackWebhookNotifier
        >>> from etlkit.operators import EmptyOperator
        >>> with DAG("weather", on_success_callback=SlackWebhookNotifier()) as weather:
        ...     _ = EmptyOperator(task_id="load")
        >>> with Lab(start="2013-01-02") as lab:
        ...     slack = lab.slack()
        ...     _ = lab.add(weather).trigger(logical_date="2013-01-01")
        ...     print(slack)
        SlackSink with 1 message
        :large_green_circle: *weather* succeeded
        logical date 2013-01-01 00:00:00 UTC
        """
        from etlkit.connections import Connection
        from etlkit.testing import SlackSink
        from etlkit.variables import from_environment

        if found := from_environment("CONN", conn_id):
            raise EtlkitError(f"{found[0]} comes before the Connections of a lab; unset it, or give another conn_id")
        sink = SlackSink()
        self._sinks.append(sink)
        self.connections.set(Connection(conn_id, "slackwebhook", password=sink.url))
        return sink

    # --- time ---

    def run_until(self, end: When | None = None) -> Lab:
        """Let everything happen that happens up to `end`; without one, what is due at this instant.

        A simulated clock then shows `end`; the computer's clock is waited for. TimetableError if `end` has passed.
        """
        moment = self.now if end is None else instant(end, "end")
        if moment < self.now and isinstance(self.clock, SimulatedClock):
            raise TimetableError(f"the clock shows {clock_text(self.now)} and cannot go back to {clock_text(moment)}")
        with self._alone():
            self.scheduler.run_until(moment)
        return self

    def advance(self, by: timedelta | None = None, **amount: float) -> Lab:
        """Let time pass: `advance(days=1)`, `advance(hours=6, minutes=30)` or `advance(timedelta(days=1))`."""
        return self.run_until(self.now + (timedelta(**amount) if by is None else by))

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Be the only one who schedules on this database; what a killed process left half done is made again."""
        with scheduling(self.store, "a Lab"):
            if not self.store.in_memory and not self.executor.in_flight:
                self.scheduler.recover()
            if self.executor.folder is not None:
                self._close_warehouse()
            self.executor.refresh()
            yield

    @contextlib.contextmanager
    def _at_once(self) -> Iterator[None]:
        """What the block asks for happens at its end, with all that follows from it at this instant."""
        with self._alone():
            yield
            self.scheduler.settle()

    # --- what a person asks for ---

    def trigger(
        self,
        dag: DAG | str | None = None,
        *,
        conf: Mapping[str, Any] | None = None,
        logical_date: When | None = NOTSET,
        run_id: str | None = None,
    ) -> DagRun:
        """Make a manual run and let it happen; returns the run as it is then.

        Unless a logical date is given it is the present; None makes a run that is about no date, so that `ds` and the
        data interval are undefined in it. A text without a time zone is read in the DAG's.
        """
        found = self._dag(dag)
        when: Any = self.now if logical_date is NOTSET else logical_date
        if when is not None:
            when = instant(when, "logical_date", found.timezone)
        with self._at_once():
            run = trigger_run(self.store, found, now=self.now, logical_date=when, conf=conf, run_id=run_id)
        return DagRun(self._run(found, run))

    def create_asset_event(self, asset: Asset, extra: Mapping[str, Any] | None = None) -> Lab:
        """Say that an asset is there, as if a task had made it; the DAGs that wait for it run.

        >>> from etlkit import Asset
        >>> from etlkit.operators import EmptyOperator
        >>> orders = Asset("orders")
        >>> with DAG("report", schedule=orders) as report:
        ...     _ = EmptyOperator(task_id="write")
        >>> Lab(start="2013-01-01").add(report).create_asset_event(orders, {"rows": 26})
        Lab at 2013-01-01 00:00:00 UTC
        DAG     schedule  runs  success  next run
        report  orders       1        1  waits for orders
        """
        events = [new_event(asset, extra or {})]
        with self._at_once(), self.store.transaction():
            record_events(self.store, events, Source(), self.now)
            self.store.touched()
        return self

    def backfill(
        self,
        dag: DAG | str | None,
        start: When,
        end: When,
        *,
        reprocess: str | None = "none",
        reverse: bool = False,
        dry_run: bool = False,
        max_active_runs: int = 10,
        conf: Mapping[str, Any] | None = None,
    ) -> BackfillPlan:
        """Run a DAG for the logical dates from `start` to `end`, both included; returns the plan: print it.

        `reprocess` says which runs that are there already run again: "none", "failed" or "completed"; `reverse` takes
        the newest first; `dry_run` only plans. A text without a time zone is read in the DAG's.
        """
        from etlkit.backfill import create_backfill, plan_backfill

        dag = self._dag(dag)
        existing = self.store.runs(dag.dag_id)
        dates = instant(start, "start", dag.timezone), instant(end, "end", dag.timezone)
        plan = plan_backfill(dag, *dates, reprocess=reprocess, reverse=reverse, existing=existing, now=self.now)
        if not dry_run:
            with self._at_once():
                create_backfill(self.store, dag, plan, max_active_runs=max_active_runs, conf=conf, now=self.now)
        return plan

    def clear(
        self,
        dag: DAG | str | None = None,
        *,
        run: Any = None,
        tasks: Iterable[str | BaseOperator] | str | BaseOperator | None = None,
        only_failed: bool = False,
        downstream: bool = False,
        upstream: bool = False,
    ) -> int:
        """Run tasks of a run again, all of them or those in `tasks`; returns how many were cleared.

        `run` is a run_id, a logical date or the day of one; without it, the latest. `downstream` and `upstream` clear
        what comes after or before too; `only_failed` leaves out what did not fail.
        """
        dag = self._dag(dag)
        names = [tasks] if isinstance(tasks, str | BaseOperator) else tasks
        task_ids = None if names is None else [self._task_id(dag, name) for name in names]
        with self._at_once():
            cleared = clear_run(
                self.store,
                dag,
                self._run(dag, run),
                now=self.now,
                task_ids=task_ids,
                only_failed=only_failed,
                downstream=downstream,
                upstream=upstream,
            )
        return len(cleared)

    def why(
        self, dag: DAG | str | None = None, task: str | BaseOperator | None = None, run: Any = None, map_index: int = -1
    ) -> Why:
        """What keeps a DAG's next run, a run, or a task of a run from starting; print it."""
        from etlkit.why import why

        dag = self._dag(dag)
        return why(
            self.store,
            dag,
            task_id=None if task is None else self._task_id(dag, task),
            run_id=None if run is None else self._run(dag, run).run_id,
            map_index=map_index,
            now=self.now,
            parallelism=self.scheduler.parallelism,
        )

    # --- what happened ---

    @property
    def events(self) -> list[TaskEvent | RunEvent]:
        """Every change of a run or a task instance since the lab began, in order."""
        return self._trace.events

    def trace(self, dag: DAG | str | None = None, *, run: Any = None, task: str | BaseOperator | None = None) -> Text:
        """What happened, as a story: a line for each change and its reason; of one DAG, one run or one task, or all."""
        of_dag = None if dag is None and run is None and task is None else self._dag(dag)
        run_id = None if of_dag is None or run is None else self._run(of_dag, run).run_id
        task_id = None if of_dag is None or task is None else self._task_id(of_dag, task)
        return Text(
            "\n".join(
                str(event)
                for event in self.events
                if (of_dag is None or event.dag_id == of_dag.dag_id)
                and (run_id is None or event.run_id == run_id)
                and (task_id is None or getattr(event, "task_id", None) == task_id)
            )
        )

    def log(
        self,
        task: str | BaseOperator,
        run: Any = None,
        *,
        dag: DAG | str | None = None,
        try_number: int | None = None,
        map_index: int = -1,
    ) -> Text:
        """What one try of a task printed and logged: the latest try of the latest run unless you say otherwise."""
        of_dag = self._dag(dag)
        task_id, row = self._task_id(of_dag, task), self._run(of_dag, run)
        tries = {(ti.task_id, ti.map_index): ti.try_number for ti in self.store.task_instances(row.id)}
        latest = tries.get((task_id, map_index), 0)
        if not 0 < (try_number or latest) <= latest:
            raise EtlkitError(
                f"{task_id} in {row.run_id} has had {latest} tries; there is no log of try {try_number or 1}"
            )
        return Text(self.logs.read(LogKey(row.dag_id, row.run_id, task_id, map_index, try_number or latest)))

    def runs(self) -> pd.DataFrame:
        """The runs, oldest first."""
        return tables.runs(self.store)

    def task_instances(self, all_tries: bool = False) -> pd.DataFrame:
        """The task instances, each with its latest try; with `all_tries`, a row for each attempt that was made."""
        return tables.tries(self.store) if all_tries else tables.task_instances(self.store)

    def xcoms(self) -> pd.DataFrame:
        """The values that tasks left for each other."""
        return tables.xcoms(self.store)

    def assets(self) -> pd.DataFrame:
        """The assets that the DAGs make or wait for, and how many events each had."""
        return tables.assets(self.store)

    def asset_events(self) -> pd.DataFrame:
        """The events of assets, oldest first: what each said, and which task instance made it."""
        return tables.asset_events(self.store)

    def decisions(self) -> pd.DataFrame:
        """Every change of a run or a task instance, with its reason: the table `decision`."""
        self._record_decisions()
        return tables.decisions(self.store)

    def import_errors(self) -> pd.DataFrame:
        """The DAG files that do not load, one row each: where, what is wrong, and the whole stack trace."""
        return tables.import_errors(self.store)

    def sql(self, query: str) -> pd.DataFrame:
        """What the metadata database answers to a SELECT; `etlkit.models` describes its tables."""
        self._record_decisions()
        return tables.query(self.store, query)

    # --- pictures ---

    def graph(self, dag: DAG | str | None = None, run: Any = None) -> Picture:
        """A picture of a DAG's tasks in layers, with their states in a run: the latest unless you say otherwise."""
        from etlkit.viz.history import graph_of_run

        of_dag = self._dag(dag)
        return graph_of_run(self.store, of_dag, self._run_to_draw(of_dag, run))

    def grid(self, dag: DAG | str | None = None, last: int = 60) -> Picture:
        """A picture of a DAG's `last` runs and their tasks' states."""
        from etlkit.viz.history import grid_of_runs

        of_dag = self._dag(dag)
        return grid_of_runs(self.store, of_dag, self.store.runs(of_dag.dag_id, last=last))

    def gantt(self, dag: DAG | str | None = None, run: Any = None) -> Picture:
        """A picture of who waited and who ran in a run, and of the slots that took: the latest run by default."""
        from etlkit.viz.history import gantt_of_run

        self._record_decisions()
        of_dag = self._dag(dag)
        slots = min(self.scheduler.parallelism, self.executor.free_slots() + self.executor.in_flight)
        return gantt_of_run(self.store, of_dag, self._run_to_draw(of_dag, run), now=self.now, slots=slots)

    def timeline(self, dag: DAG | str | None = None, last: int = 14, coming: int = 1) -> Picture:
        """A picture of the data intervals of a DAG's `last` runs, of when these happened, and of the next ones."""
        from etlkit.viz.history import timeline_of_runs

        of_dag = self._dag(dag)
        runs = self.store.runs(of_dag.dag_id, last=last) if last else []
        return timeline_of_runs(self.store, of_dag, runs, now=self.now, coming=coming)

    def calendar(self, dag: DAG | str | None = None) -> Picture:
        """A picture of the days of a DAG's runs, each with what became of it."""
        from etlkit.viz.history import calendar_of_runs

        of_dag = self._dag(dag)
        return calendar_of_runs(of_dag, self.store.runs(of_dag.dag_id))

    def _run_to_draw(self, dag: DAG, which: Any) -> RunRow | None:
        """The run meant; None if none was named and there is none yet."""
        return self._run(dag, which) if which is not None or self.store.runs(dag.dag_id, last=1) else None

    def _record_decisions(self) -> None:
        new = self.events[self._recorded :]
        if new:
            tables.record_decisions(self.store, new)
            self._recorded += len(new)

    # --- names ---

    def _dag(self, dag: DAG | str | None) -> DAG:
        """The DAG meant; None is the only one there is."""
        known = list(self.scheduler.dags)
        if dag is None:
            if len(known) != 1:
                raise EtlkitError(f"say which DAG: this lab has {', '.join(known) or 'none, so add one: lab.add(dag)'}")
            return self.dags[0]
        dag_id = dag.dag_id if isinstance(dag, DAG) else dag
        if dag_id not in known:
            raise EtlkitError(f"this lab has no DAG {dag_id!r}{nearest(dag_id, known) or '; add it: lab.add(dag)'}")
        return self.scheduler.dags[dag_id].dag

    def _task_id(self, dag: DAG, task: str | BaseOperator) -> str:
        return dag.get_task(task.task_id if isinstance(task, BaseOperator) else task).task_id

    def _run(self, dag: DAG, which: Any) -> RunRow:
        """The run meant: `trigger`'s answer, a run_id, a logical date, a day in the DAG's zone; the latest if None."""
        (newest,) = self.store.runs(dag.dag_id, last=1) or (None,)
        if newest is None:
            raise EtlkitError(f"DAG {dag.dag_id!r} has no runs yet; it is {clock_text(self.now)}: lab.why() says more")
        if which is None:
            return newest
        name = getattr(which, "run_id", which)
        by_id = self.store.run(dag.dag_id, name) if isinstance(name, str) else None
        found = [by_id] if by_id else runs_on(self.store, dag.dag_id, instant(name, "run", dag.timezone), dag.timezone)
        if len(found) != 1:
            there = ", ".join(run.run_id for run in found or (newest,))
            count = f"{len(found)} runs" if found else "no run"
            raise EtlkitError(f"DAG {dag.dag_id!r} has {count} of {name}; choose by run_id, such as {there}")
        return found[0]

    # --- how it looks ---

    def _summary(self) -> list[tuple[str, ...]]:
        """A header, and a row for each DAG: its runs by state and when the next one starts."""
        found = self.store.run_sql("SELECT dag_id, state, COUNT(*) FROM dag_run GROUP BY dag_id, state").fetchall()
        counts = {(dag_id, state): number for dag_id, state, number in found}
        states = [state for state in ("success", "failed", "running", "queued") if any(s == state for _, s in counts)]
        paused = self.store.paused()
        rows = [("DAG", "schedule", "runs", *states, "next run")]
        for dag in self.dags:
            of_state = [counts.get((dag.dag_id, state), 0) for state in states]
            coming = "paused" if paused[dag.dag_id] else self.next_run(dag)
            zone = "" if dag.timezone is UTC or str(dag.timezone) == "UTC" else f" {dag.timezone}"
            rows.append((dag.dag_id, dag.timetable.summary + zone, *map(str, (sum(of_state), *of_state)), coming))
        return rows

    def next_run(self, dag: DAG) -> str:
        """When the next scheduled run of a DAG starts, in UTC, or which assets it waits for, or "none"."""
        from etlkit.why import AboutDag

        about = AboutDag(self.store, dag, self.now, self.scheduler.parallelism)
        info, missing = about.next_run, about.missing_assets
        parts = [clock_text(info.run_after)] if info else []
        return ", or ".join([*parts, f"waits for {missing}"] if missing else parts) or "none"

    def __repr__(self) -> str:
        rows = self._summary()
        return f"{self._caption}\n{aligned(rows, right=range(2, len(rows[0]) - 1))}"

    def _repr_html_(self) -> str:
        rows = self._summary()
        return as_html(self._caption, rows, right=range(2, len(rows[0]) - 1))

    @property
    def _caption(self) -> str:
        about = self.executor.summary
        return f"Lab at {clock_text(self.now)} UTC" + (f"; {about}" if about else "")
