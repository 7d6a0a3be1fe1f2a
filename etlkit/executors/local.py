"""Several tasks at once, each in a process of its own on this machine: Airflow's LocalExecutor.

Each slot is a loky executor with one worker process: were it one executor with many, the death of a worker would be the
death of all. A process is started when a slot is first needed, stays for the next attempts, and is replaced when it
dies; what it was at is lost, and the scheduler has it made again.

>>> import os
>>> from etlkit import DAG, Lab, task
>>> with DAG("weather") as weather:
...     @task
...     def extract():
...         return os.getpid()
...     _ = extract()
>>> with Lab(start="2013-01-01", executor=LocalExecutor(2)) as lab:
...     run = lab.add(weather).trigger()
...     lab.executor, int(lab.xcoms()["value"][0]) == os.getpid()
(<LocalExecutor: 0 of 2 slots busy, 1 process>, False)
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import signal
import tempfile
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property, partial
from multiprocessing import Pipe, current_process
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from etlkit.child_output import own_all
from etlkit.clock import wall_seconds
from etlkit.config import Config, check_whole, conf
from etlkit.dag import DAG
from etlkit.errors import ConfigError, DagError
from etlkit.executors.base import Executor
from etlkit.logs import LogStore
from etlkit.masking import masker, one_line
from etlkit.runtime import Result, TaskRunner, Work, result_of, time_out
from etlkit.states import QUEUED
from etlkit.store import Store
from etlkit.worker import PICKLED, Reference, Unread, Worker, open_warehouse, place_of

if TYPE_CHECKING:
    from concurrent.futures import Future

    from loky import ProcessPoolExecutor

log = logging.getLogger("etlkit.executors")

IN_VAIN = 5
"""How many attempts in a row may be lost before they begin; a task cannot do that, so something else is wrong."""


class LocalExecutor(Executor):
    """Makes up to `slots` attempts at once ([core] parallelism if None), each in a worker process.

    A DAG of a file is read there anew; one that lies in no file, such as a notebook's, is copied with cloudpickle. The
    processes have the environment variables, the settings and the working directory that this one has at the time.

    A process that dies costs one try of one task. One whose task does not end at its `execution_timeout`, because it is
    deep in compiled code, is killed [core] killed_task_cleanup_time seconds later: that task has failed. When this
    process ends, however it ends, its workers end too.

    ConfigError if `slots` is not a whole number from 1 on, or loky is not installed.
    """

    def __init__(self, slots: int | None = None) -> None:
        try:
            from etlkit.executors.travelling import Copies
        except ImportError:
            raise ConfigError("LocalExecutor needs loky; run: pip install 'etlkit[cluster]'") from None
        self.slots = conf.get("core", "parallelism") if slots is None else check_whole("slots", slots, least=1)
        self._copies = Copies(lambda: self.folder)
        self._idle: list[_Slot] = []
        self._busy: dict[tuple[int, int], _Slot] = {}  # a task that was cleared may still be at its earlier try
        self._waiting: deque[Work] = deque()
        self._results: list[Result] = []
        self._in_vain = 0
        self._ended: deque[_Slot] = deque()
        self._news = threading.Event()
        self._lifeline, self._held_open = Pipe(duplex=False)

    def __repr__(self) -> str:
        processes = sum(slot.has_process for slot in self._slots())
        plural = "process" if processes == 1 else "processes"
        return f"<LocalExecutor: {len(self._busy)} of {self.slots} slots busy, {processes} {plural}>"

    @property
    def summary(self) -> str:
        where = f"tasks run in up to {self.slots} other process{'es' if self.slots > 1 else ''}"
        return f"{where}; copied there: {', '.join(self._copies.dag_ids)}" if self._copies.dag_ids else where

    def _slots(self) -> list[_Slot]:
        return [*self._idle, *self._busy.values()]

    @cached_property
    def folder(self) -> Path:  # type: ignore[override]
        """A private folder, made when it is first asked for, and gone with this executor."""
        folder = Path(tempfile.mkdtemp(prefix="etlkit-local-"))
        self._remove_folder = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return folder

    # --- DAGs ---

    def accept(self, dag: DAG) -> None:
        if dag.fileloc is None:
            self._copies.add(dag)
            log.info("DAG %s lies in no file; its tasks go to other processes as a copy, by cloudpickle", dag.dag_id)

    def refresh(self) -> None:
        self._copies.forget()

    def _where(self, dag: DAG) -> str:
        return f"{PICKLED}{self._copies.of(dag)}" if dag.fileloc is None else place_of(dag)

    # --- attempts ---

    def start(self, runner: TaskRunner) -> None:
        if runner.store.in_memory:
            raise ConfigError(
                "the processes of LocalExecutor cannot share a database in memory; use a file: sqlite:///…"
            )
        self._runner = runner

    def free_slots(self) -> int:
        return self.slots - len(self._busy) - len(self._waiting)

    @property
    def in_flight(self) -> int:
        return len(self._busy) + len(self._waiting) + len(self._results)

    def dags_in_flight(self) -> set[str]:
        busy, ended = [slot.work for slot in self._busy.values()], [result.work for result in self._results]
        return {work.run.dag_id for work in (*busy, *ended, *self._waiting)}

    def submit(self, work: Work) -> None:
        if len(self._busy) == self.slots:  # an earlier scheduler queued more than there is room for now
            self._waiting.append(work)
            return
        try:
            reference = Reference.to(work, self._where(work.dag), self._runner.clock)
        except DagError as error:
            refused = Unread(task_id=work.task.task_id, dag=DAG(work.dag.dag_id), error=error)
            self._results.append(self._runner.run(replace(work, task=refused))._replace(work=work))
            return
        slot = self._busy[work.key] = self._idle.pop() if self._idle else _Slot(self._new_pool)
        slot.take(work, partial(_attempt, Surroundings.now(self._copies.places()), reference), self._note_end)

    def adopt(self, work: Work) -> None:
        known = [*self._waiting, *(result.work for result in self._results)]
        if work.key in self._busy or any(work.key == other.key for other in known):
            return
        if work.start is None:
            self.submit(work)
        else:  # whoever began it is gone, and its processes with it
            self._results.append(Result(work, None, lost=True))

    def poll(self) -> list[Result]:
        self._news.clear()
        for slot in [slot for slot in self._busy.values() if slot.is_overdue]:
            self._end_overdue(slot)
        results, self._results = self._results, []
        while self._ended:
            slot = self._ended.popleft()
            del self._busy[slot.work.key]
            self._idle.append(slot)
            results.append(self._result(slot))
        while self._waiting and len(self._busy) < self.slots:
            self.submit(self._waiting.popleft())
        return results

    def _end_overdue(self, slot: _Slot) -> None:
        """Kill a process whose task hears nothing; one that is so late because it has not even begun has time again."""
        row = self._runner.store.task_instance(slot.work.task_pk)
        if row.state == QUEUED and result_of(slot.work, row) is None:
            slot.set_deadline()
        else:
            slot.kill()

    def _result(self, slot: _Slot) -> Result:
        """What became of the attempt that a slot was at."""
        try:
            result = slot.future.result()
        except BaseException as error:  # its process died, or the worker could not go on
            if slot.is_overdue:
                return self._runner.end_for(slot.work, time_out(slot.work.task))
            self._note_loss(slot.work, how_it_died(error))
            return Result(slot.work, None, lost=True)
        self._in_vain = 0
        return Result(slot.work, None) if result is None else result._replace(work=slot.work)

    def _note_loss(self, work: Work, reason: str) -> None:
        """An attempt was lost. ConfigError if that happens to one after the other before they begin, for ever then."""
        log.warning("%s is lost: %s", " ".join(map(str, work.log_key)), reason)
        begun = self._runner.store.task_instance(work.task_pk).state != QUEUED
        self._in_vain = 0 if begun else self._in_vain + 1
        if self._in_vain >= IN_VAIN:
            self._in_vain = 0
            raise ConfigError(f"the processes of LocalExecutor cannot work: {reason}")

    def _note_end(self, slot: _Slot) -> None:
        """In a thread of loky's: an attempt has ended."""
        self._ended.append(slot)
        self._news.set()

    def wait(self, seconds: float) -> bool:
        if not self.in_flight:
            return False
        if not self._results:
            limits = [slot.seconds_left for slot in self._busy.values() if slot.deadline is not None]
            self._news.wait(max(min(seconds, *limits), 0) if limits else seconds)
        return True

    # --- processes ---

    def _new_pool(self) -> ProcessPoolExecutor:
        from loky import ProcessPoolExecutor

        runner = self._runner
        url = runner.store.url.render_as_string(hide_password=False)
        logs = runner.logs.folder or self.folder / "logs"
        return ProcessPoolExecutor(
            1, initializer=_enter, initargs=(self._lifeline, self.folder, url, logs, self.warehouse)
        )

    def stop(self, *, at_once: bool = False) -> None:
        """Let the attempts that run end, and then the processes; an interruption, or `at_once`, kills both."""
        slots = self._slots()
        try:
            for slot in slots:
                (slot.kill if at_once else slot.stop)()
        except BaseException:
            for slot in slots:
                slot.kill()
            raise
        finally:
            self._idle.clear()
            if "folder" in vars(self):
                self._remove_folder()


class _Slot:
    """A worker process, started when it is needed and anew after it died, and the attempt that it is at."""

    work: Work
    future: Future[Result | None]
    deadline: float | None = None
    """When, in wall seconds, the process is killed if the attempt has not ended."""

    def __init__(self, new_pool: Callable[[], ProcessPoolExecutor]) -> None:
        self._new_pool = new_pool
        self._pool: ProcessPoolExecutor | None = None

    @property
    def has_process(self) -> bool:
        return self._pool is not None

    @property
    def seconds_left(self) -> float:
        """Wall seconds until the deadline; for ever without one."""
        return float("inf") if self.deadline is None else self.deadline - wall_seconds()

    @property
    def is_overdue(self) -> bool:
        return self.seconds_left <= 0

    def take(self, work: Work, attempt: Callable[[], Result | None], ended: Callable[[_Slot], None]) -> None:
        """Make an attempt, and call `ended` in some thread when it has ended."""
        self.work = work
        self.set_deadline()
        with _sigint_waits():
            self.future = self._submit(attempt)
        self.future.add_done_callback(lambda _: ended(self))

    def set_deadline(self) -> None:
        """Count the time that its task may take from now on."""
        limit, grace = self.work.task.execution_timeout, conf.get("core", "killed_task_cleanup_time")
        self.deadline = None if limit is None else wall_seconds() + limit.total_seconds() + grace

    def _submit(self, attempt: Callable[[], Result | None]) -> Future[Result | None]:
        from loky import BrokenProcessPool

        if self._pool is not None:
            try:
                return self._pool.submit(attempt)
            except BrokenProcessPool:  # the process died while it had nothing to do, or in its last attempt
                pass
        self._pool = self._new_pool()
        return self._pool.submit(attempt)

    def kill(self) -> None:
        """End the process and all that it started, whatever they do."""
        self._end(kill_workers=True)

    def stop(self) -> None:
        """End the process once it has nothing more to do."""
        self._end()

    def _end(self, **how: bool) -> None:
        if self._pool is not None:
            self._pool.shutdown(**how)
            self._pool = None  # only now: who is interrupted here may still kill


def how_it_died(error: BaseException) -> str:
    """What is known of the end of a process, in one line.

    >>> how_it_died(RuntimeError("The exit codes of the workers are {SIGKILL(-9)} and so on"))
    'its process died: SIGKILL(-9)'
    """
    code = re.search(r"exit codes of the workers are \{(.*?)\}", str(error))
    return f"its process died: {code[1]}" if code else one_line(error)


@contextlib.contextmanager
def _sigint_waits() -> Iterator[None]:
    """Let Ctrl-C wait while the block lasts: a process that is started inside it must not die of it before it is ready.

    A signal that is blocked when a process starts is blocked in it too.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Surroundings(NamedTuple):
    """What an attempt finds around it: in a notebook each cell may change it, so it travels with every attempt."""

    environ: dict[str, str]
    folder: str
    home: Path
    settings: dict[str, str] | None
    """What stands for the environment variables where settings are read; None: they themselves."""
    places: dict[str, str]
    """Where DAGs are that lie in no file, by their ids."""
    secrets: frozenset[str]
    """What is hidden wherever it turns up."""

    @classmethod
    def now(cls, places: dict[str, str]) -> Surroundings:
        """Those of this process."""
        config = conf.current
        settings = None if config.environ is os.environ else dict(config.environ)
        return cls(dict(os.environ), str(Path.cwd()), config.home, settings, places, masker.secrets)

    def __repr__(self) -> str:
        return "<Surroundings>"  # environment variables hold passwords

    def enter(self) -> None:
        """Make them those of this process."""
        os.environ.clear()
        os.environ.update(self.environ)
        os.chdir(self.folder)
        conf.use(Config(self.home, self.settings))
        masker.mask_secret(self.secrets)


# --- in the worker process --------------------------------------------------------------------------------------------


class _Process:
    """What a worker process keeps between attempts."""

    def __init__(self, url: str, logs: Path, warehouse: Path | None) -> None:
        self.url, self.logs, self.warehouse = url, logs, warehouse
        self.surroundings: Surroundings | None = None
        self.worker: Worker | None = None

    def attempt(self, surroundings: Surroundings, reference: Reference) -> Result | None:
        """Make an attempt, in the surroundings that the scheduler's process had when it was submitted."""
        if surroundings != self.surroundings:
            surroundings.enter()
            self.surroundings = surroundings
        if self.worker is None:
            store, logs = Store(self.url, tables=False), LogStore(self.logs)
            self.worker = Worker(store, logs, partial(open_warehouse, self.warehouse), self._place_of)
        return self.worker.run(reference)

    def _place_of(self, dag_id: str) -> str | None:
        assert self.surroundings is not None
        return self.surroundings.places.get(dag_id)


_process: _Process


def _enter(lifeline: Connection, folder: Path, url: str, logs: Path, warehouse: Path | None) -> None:
    """The first thing that a worker process does."""
    global _process
    _process = _Process(url, logs, warehouse)
    own_all()
    threading.Thread(target=_end_with_parent, args=(lifeline, folder), name="lifeline", daemon=True).start()
    if hasattr(os, "setsid"):
        os.setsid()  # away from the terminal, so that Ctrl-C there reaches the scheduler alone
    if hasattr(signal, "pthread_sigmask"):
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)  # what came until now was not meant for this process
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        signal.signal(signal.SIGINT, handler)


def _attempt(surroundings: Surroundings, reference: Reference) -> Result | None:
    return _process.attempt(surroundings, reference)


def _end_with_parent(lifeline: Connection, folder: Path) -> None:
    """End this process, and what its task has started, when the other end of the lifeline is gone."""
    from loky.backend.utils import kill_process_tree

    with contextlib.suppress(EOFError, OSError):
        lifeline.recv()
    shutil.rmtree(folder, ignore_errors=True)
    kill_process_tree(current_process())
