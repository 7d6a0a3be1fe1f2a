"""Attempts that are made in another process than the scheduler's: what a worker does with one.

What travels to it is a `Reference`: names and numbers, and the file that the DAG is in. The `Worker` reads the rest
from the metadata database, where the scheduler has committed it, and the DAG from the file. It takes the task instance,
so that nobody else runs it, makes the attempt, and writes down how it ended.

A reference is good for one attempt. If it comes twice, or late, after the task was cleared say, nothing happens: the
task instance is not queued any more for that try.
"""

from __future__ import annotations

import contextlib
import logging
import pickle
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from etlkit.clock import Clock, SimulatedClock, SystemClock
from etlkit.config import conf
from etlkit.dag import DAG, BaseOperator
from etlkit.dag_folder import DagFolder
from etlkit.database import PAUSES, Unreachable
from etlkit.errors import AirflowException, DagError, DagFileError, DagNotFound, EtlkitError, TaskNotFound
from etlkit.heartbeat import Heartbeat
from etlkit.logs import LogStore
from etlkit.runtime import Outcome, Result, TaskInstance, TaskRunner, Work
from etlkit.states import QUEUED
from etlkit.store import RunRow, Store, TaskRow

if TYPE_CHECKING:
    import duckdb

log = logging.getLogger("etlkit.worker")

T = TypeVar("T")

PICKLED = "pickle:"
"""How `Reference.where` begins for a DAG that lies in no file: the path of a pickled one follows."""


class Reference(NamedTuple):
    """An attempt to make, as it travels to another process: no code, no secrets."""

    task_pk: int
    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    try_number: int
    where: str
    """The DAG's file: below [core] dags_folder, wherever that lies on a machine, or by its absolute path."""
    now: datetime | None = None
    """What a simulated clock shows; None: the system's clock."""

    @classmethod
    def to(cls, work: Work, where: str, clock: Clock) -> Reference:
        """What to send of `work`."""
        now = clock.now() if isinstance(clock, SimulatedClock) else None
        return cls(work.task_pk, *work.log_key, where, now)

    def __str__(self) -> str:
        instance = f"[{self.map_index}]" if self.map_index >= 0 else ""
        return f"{self.dag_id}.{self.task_id}{instance} of {self.run_id}, try {self.try_number}"


def place_of(dag: DAG) -> str:
    """Where another process finds a DAG, for `Reference.where`; DagError if it lies in no file."""
    if dag.fileloc is None:
        raise DagError(f"DAG {dag.dag_id!r} lies in no file, so no other process can read it; write it into one")
    return _below(Path(dag.fileloc), conf.get("core", "dags_folder").absolute())


@lru_cache(maxsize=4096)
def _below(file: Path, folder: Path) -> str:
    return str(file.relative_to(folder) if file.is_relative_to(folder) else file)


class Worker:
    """Makes attempts, one at a time, in the main thread of a process that has nothing else to do.

    `warehouse` opens the DuckDB warehouse; it is closed when an attempt that asked for it ends, since only one process
    at a time can have it open. `known_places` says where DAGs are that lie in no file, by their ids.
    """

    def __init__(
        self,
        store: Store,
        logs: LogStore | None = None,
        warehouse: Callable[[], duckdb.DuckDBPyConnection] | None = None,
        known_places: Callable[[str], str | None] = lambda dag_id: None,
    ) -> None:
        self.store, self.clock = store, SystemClock()
        self.dags = DagFiles(conf.get("core", "dags_folder"), self.clock)
        self._known_places = known_places
        self._warehouse = _OnDemand(warehouse) if warehouse is not None else None
        self.runner = PatientRunner(store, self.clock, logs, self._warehouse)
        self.runner.find_dag = self.find_dag
        self.heartbeat = Heartbeat(
            lambda: Store(store.url.render_as_string(hide_password=False), tables=False),
            conf.get("scheduler", "task_instance_heartbeat_sec"),
        )

    def run(self, reference: Reference) -> Result | None:
        """Make the attempt that is meant; None if it is not wanted any more.

        The result comes without its `work`, since that does not travel; its state is None if the attempt lost its hold.
        """
        clock = self.runner.clock = SimulatedClock(reference.now) if reference.now else self.clock
        work = patiently(self.store, lambda: self._begin(reference))
        if work is None:
            log.info("%s is not wanted any more, or somebody else makes it", reference)
            self._look_at_maker(reference.task_pk)
            return None
        with contextlib.ExitStack() as stack:
            if self._warehouse is not None:
                stack.callback(self._warehouse.close)
            if not self.store.in_memory:
                stack.enter_context(self.heartbeat.of(work, clock))
            with self.runner.logs.open(work.log_key):  # what the file prints belongs to the attempt
                work.dag, work.task = self._read_dag(reference)
            result = self.runner.carry_out(work)
        log.info("%s: %s", reference, result.state or "was taken away")
        return result._replace(work=None)  # type: ignore[arg-type]

    def _begin(self, reference: Reference) -> Work | None:
        """Take the task instance, before anything of the DAG's own code runs that may end the process."""
        found = self.store.attempt(reference.task_pk)
        if found is None:
            return None
        run, task = found
        goes_on = task.rescheduled_since is not None
        if task.state != QUEUED or reference.try_number != task.try_number + (not goes_on):
            return None
        work = _work(run, task, reference.try_number)
        if reference.try_number == 1 or goes_on:
            return self.runner.begin(work)  # one statement, which is a transaction of its own
        with self.store.transaction():
            return self.runner.begin(work)

    def _look_at_maker(self, task_pk: int) -> None:
        """An order comes again when the process died that had it: if so, nobody needs to wait long for its heartbeat.

        Two containers may have one host name and each its own process ids, so this may be wrong: the executor lets a
        heartbeat that comes after all count.
        """
        from psutil import pid_exists

        maker = self.store.maker(task_pk)
        if maker is not None and maker[0] == self.runner.hostname and not pid_exists(maker[1]):
            log.warning("there is no process %s here, which made it", maker[1])
            self.store.report_dead(task_pk, maker)

    def _read_dag(self, reference: Reference) -> tuple[DAG, BaseOperator]:
        """The DAG and the task as the file has them now; if it has not, a task that fails and says why."""
        try:
            dag = self.dags.get(reference.where, reference.dag_id, reference.task_id)
            return dag, dag.task_dict[reference.task_id]
        except EtlkitError as error:
            dag = DAG(reference.dag_id)
            return dag, Unread(task_id=reference.task_id, dag=dag, error=error)

    def find_dag(self, dag_id: str) -> DAG:
        """Another DAG, for a task that starts it or waits for it; DagNotFound if no file here has it."""
        where = self._known_places(dag_id)
        if where is None:
            row = self.store.run_sql("SELECT fileloc FROM dag WHERE dag_id = :dag_id", {"dag_id": dag_id}).fetchone()
            where = row and row[0]
        if where is not None:
            with contextlib.suppress(DagFileError, DagNotFound):  # it was moved, or this machine has it elsewhere
                return self.dags.get(where, dag_id)
        return self.dags.search(dag_id)

    def close(self) -> None:
        """End the heartbeat and let go of the database."""
        self.heartbeat.stop()
        self.store.close()


class Unread(BaseOperator):
    """Stands for a task until its DAG is read, and where that fails: then it fails too, and is tried again."""

    def __init__(self, error: Exception | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.error = error

    def execute(self, context: Mapping[str, Any]) -> None:
        raise AirflowException(f"this worker cannot read the DAG: {self.error}") from self.error


@lru_cache(maxsize=1024)
def _unread(dag_id: str, task_id: str) -> tuple[DAG, Unread]:
    dag = DAG(dag_id)
    return dag, Unread(task_id=task_id, dag=dag)


def _work(run: RunRow, task: TaskRow, try_number: int) -> Work:
    dag, unread = _unread(run.dag_id, task.task_id)
    return Work(task.id, dag, run, unread, task.map_index, try_number, task.max_tries, task.rescheduled_since)


class DagFiles:
    """The DAGs of those files that a worker was asked for: read when they are first needed, and again when they change.

    It looks for changes every [dag_processor] refresh_interval seconds, and at once when a DAG or a task is missing.
    """

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.folder, self.clock = folder, clock
        self._files: dict[Path, DagFolder] = {}
        self._looked: dict[Path, datetime] = {}
        self._pickled: dict[str, DAG] = {}

    def get(self, where: str, dag_id: str, task_id: str | None = None) -> DAG:
        """The DAG that is `where` a Reference says; DagFileError, DagNotFound or TaskNotFound if it is not, with this
        task, there."""
        if where.startswith(PICKLED):
            return self._unpickled(where.removeprefix(PICKLED))
        path = self.folder / where
        found = self._refreshed(path)
        if not self._has(found, dag_id, task_id):
            found.refresh()
        if found.errors and dag_id not in found.dags:
            raise found.errors[0]
        dag = found.get(dag_id)
        if task_id is not None and task_id not in dag.task_dict:
            raise TaskNotFound(dag_id, task_id, list(dag.task_dict))
        return dag

    def search(self, dag_id: str) -> DAG:
        """A DAG of that id in any file of the folder; DagNotFound with the nearest name."""
        if not self.folder.is_dir():
            raise DagNotFound(dag_id)
        return self.get("", dag_id)

    def _refreshed(self, path: Path) -> DagFolder:
        now = self.clock.now()
        if path not in self._files:
            inside = path.is_relative_to(self.folder) and self.folder.is_dir()
            self._files[path] = DagFolder(path, self.folder if inside else None)
        elif now - self._looked[path] >= timedelta(seconds=conf.get("dag_processor", "refresh_interval")):
            self._files[path].refresh()
        else:
            return self._files[path]
        self._looked[path] = now
        return self._files[path]

    @staticmethod
    def _has(found: DagFolder, dag_id: str, task_id: str | None) -> bool:
        return dag_id in found.dags and (task_id is None or task_id in found.dags[dag_id].task_dict)

    def _unpickled(self, path: str) -> DAG:
        if path not in self._pickled:
            try:
                self._pickled[path] = pickle.loads(Path(path).read_bytes())
            except Exception as error:  # reading it runs code of its own, which may fail in any way
                raise DagFileError(path, f"the DAG in it cannot be read: {type(error).__name__}: {error}") from error
        return self._pickled[path]


class PatientRunner(TaskRunner):
    """Does not lose what an attempt has done because the database is away for a while: it waits for it."""

    def _finish(self, work: Work, ti: TaskInstance, outcome: Outcome, values: Mapping[str, str]) -> Result:
        if isinstance(outcome.error, Unreachable):
            raise outcome.error  # the task did nothing wrong: it is made again, as if this process had died

        def finish() -> Result:
            if (ended := self._ended(work, ti)) is not None:
                return ended
            ti.started_runs.clear()  # those of a try that was undone were never made
            return super(PatientRunner, self)._finish(work, ti, outcome, values)

        return patiently(self.store, finish)

    def _ended(self, work: Work, ti: TaskInstance) -> Result | None:
        """How the attempt has ended, if that was tried before and only the answer got lost: it was committed."""
        found = self.store.attempt(work.task_pk) if ti.end_date is not None else None
        if found is None or (found[1].try_number, found[1].end_date) != (work.try_number, ti.end_date):
            return None
        row = found[1]
        rest = row.not_before, row.rescheduled_since, row.skips or (), row.error, ti.started_runs
        return Result(work, ti.state, ti.start_date, ti.end_date, *rest)


def patiently(store: Store, ask: Callable[[], T]) -> T:
    """What `ask` answers, as soon as the database can be reached; Unreachable after half a minute."""
    for seconds in (0, *PAUSES):  # at once, as it may be the connection alone that is lost
        try:
            return ask()
        except Unreachable as error:
            log.warning("%s; this tries again %s", error, f"in {seconds} s" if seconds else "now")
        SystemClock().sleep(seconds)
        with contextlib.suppress(Unreachable):  # then the next try says so
            store.reconnect()
    return ask()


class _OnDemand:
    """A warehouse that is opened when somebody asks for it."""

    def __init__(self, open_it: Callable[[], duckdb.DuckDBPyConnection]) -> None:
        self._open = open_it
        self._connection: duckdb.DuckDBPyConnection | None = None

    def __call__(self) -> duckdb.DuckDBPyConnection:
        if self._connection is None:
            self._connection = self._open()
        return self._connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def open_warehouse(path: Path | None = None) -> duckdb.DuckDBPyConnection:
    """A connection to a DuckDB file; without a path that of [core] warehouse, whose folder is made on first use.

    It waits half a minute for its turn, as tasks of other workers may have the file open.
    """
    from etlkit.warehouse.files import PATIENCE, connect

    path = path or conf.get("core", "warehouse")
    if path.parent == conf.current.home:
        path.parent.mkdir(parents=True, exist_ok=True)
    connection = connect(path, patience=PATIENCE)
    connection.execute("SET TimeZone = 'UTC'")  # else instants would read differently on every machine
    return connection
