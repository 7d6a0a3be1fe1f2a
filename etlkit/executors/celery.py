"""Attempts made by Celery workers, on this machine or on others: Airflow's CeleryExecutor.

A message in the broker says which attempt to make, and the metadata database says the rest: whether it is still wanted,
who makes it, how it ended. So the broker may lose messages or deliver them twice, and a worker may die at any moment:

============================  ======================================================================================
a message comes twice         the second finds nothing to take
a message is lost             what stays queued for [scheduler] task_queued_timeout seconds is sent again, and again
                              after twice as long
a worker dies                 its heartbeat stops: after [scheduler] task_instance_heartbeat_timeout seconds the attempt
                              is lost, and the scheduler has it made again
a slot of it dies             Celery sends the message again; who gets it sees that the process is gone, and unless a
                              heartbeat comes after all the attempt is lost two heartbeats later
a worker only seems dead      it has lost its hold: its attempt is interrupted, and what it says later changes nothing
a task hears nothing          [core] killed_task_cleanup_time seconds after its execution_timeout it has failed, and
                              Celery kills its process
the database is away          a worker waits for it for half a minute, and then gives the message back to the broker;
                              one that is started meanwhile refuses to
the broker is away            what was to be sent waits here; what is queued in the database is never forgotten
the scheduler dies            attempts go on, and the next scheduler looks after them
============================  ======================================================================================

How an attempt ended is read from the database: at once, when the worker says so there (PostgreSQL's NOTIFY), and every
second, in case that was missed.
"""

from __future__ import annotations

import logging
import sys
import threading
from dataclasses import dataclass
from datetime import datetime
from queue import SimpleQueue
from typing import TYPE_CHECKING, NamedTuple

from etlkit.clock import wall_seconds
from etlkit.config import conf
from etlkit.dag import DAG, BaseOperator
from etlkit.errors import ConfigError
from etlkit.executors.base import Executor
from etlkit.masking import one_line
from etlkit.runtime import Result, TaskRunner, Work, result_of, time_out
from etlkit.states import QUEUED, RUNNING
from etlkit.store import TaskRow
from etlkit.worker import Reference, place_of

if TYPE_CHECKING:
    import sqlalchemy as sa
    from celery import Celery

log = logging.getLogger("etlkit.executors")

LOOK = 1.0
"""Wall seconds between two looks at the rows of all attempts that are under way."""


@dataclass(slots=True)
class Watched:
    """An attempt that is queued or running somewhere; moments are wall seconds."""

    work: Work
    since: float
    """When its message was sent, or when it last gave a sign of life."""
    patience: float
    """How many seconds its message may take."""
    beat: datetime | None = None
    """Its last sign of life, by the clock of the worker; only whether it moves counts."""
    doubted: float | None = None
    """When somebody's word was first seen that its process is gone, unless it gave a sign of life since."""


class CeleryExecutor(Executor):
    """Leaves attempts to the workers that `etlkit worker` starts, by way of the broker of [celery] broker_url.

    It takes any number of attempts: what finds no free worker waits in the broker. ConfigError if the metadata database
    is not one that several machines can share, or Celery is not installed.
    """

    detached = True

    def __init__(self) -> None:
        try:
            from etlkit.executors.celery_app import broker_url, make_app
        except ImportError:
            raise ConfigError("CeleryExecutor needs celery; run: pip install 'etlkit[cluster]'") from None
        broker_url()  # ConfigError now, and not when the first task is sent
        self._app = make_app()
        self._watched: dict[int, Watched] = {}
        self._next_look = 0.0
        self._heartbeat_timeout = conf.get("scheduler", "task_instance_heartbeat_timeout")
        last_beat = 2 * conf.get("scheduler", "task_instance_heartbeat_sec")
        self._last_beat_timeout = min(last_beat, self._heartbeat_timeout)
        self._patience = conf.get("scheduler", "task_queued_timeout")

    def start(self, runner: TaskRunner) -> None:
        check_shared(runner.store.url)
        self._runner, self._store, self._clock = runner, runner.store, runner.clock
        self._store.hear_of_ends()
        self._sender = Sender(self._app)

    def accept(self, dag: DAG) -> None:
        place_of(dag)

    def free_slots(self) -> int:
        return sys.maxsize

    def submit(self, work: Work) -> None:
        self._watched[work.task_pk] = Watched(work, wall_seconds(), self._patience)
        self._send(work)

    def _send(self, work: Work) -> None:
        reference, limit = Reference.to(work, place_of(work.dag), self._clock), seconds_for(work.task)
        # Celery is a little later than this executor, which says why the attempt has failed.
        self._sender.put(Order(work.task.queue, reference, limit and limit + 2 * LOOK))

    def adopt(self, work: Work) -> None:
        known = self._watched.get(work.task_pk)
        if known is not None and known.work.try_number == work.try_number:
            known.work = work
        elif work.start is None:
            self.submit(work)
        else:
            self._watched[work.task_pk] = Watched(work, wall_seconds(), self._patience)

    def poll(self) -> list[Result]:
        now, ended = wall_seconds(), self._store.ended
        if now >= self._next_look:
            self._next_look = now + LOOK
            wanted = list(self._watched)
        else:
            wanted = [pk for pk in ended if pk in self._watched] if ended else []
        ended.clear()
        rows = self._store.watched_instances(wanted) if wanted else {}
        found = [self._look_at(pk, rows.get(pk), now) for pk in wanted]
        return [result for result in found if result is not None]

    def _look_at(self, pk: int, found: tuple[TaskRow, datetime | None] | None, now: float) -> Result | None:
        """What has become of one attempt; None if it goes on."""
        watched = self._watched[pk]
        result = Result(watched.work, None) if found is None else result_of(watched.work, found[0])
        if result is None and found is not None:
            lost = self._is_lost(watched, *found, now)
            if is_overdue(watched, found[0], now):
                result = self._runner.end_for(watched.work, time_out(watched.work.task))
            elif lost:
                result = Result(watched.work, None, lost=True)
        if result is not None:
            del self._watched[pk]
        return result

    def _is_lost(self, watched: Watched, row: TaskRow, beat: datetime | None, now: float) -> bool:
        """Whether an attempt shows no sign of life any more; one that is still queued is sent again after a while."""
        if row.state == QUEUED and now - watched.since > watched.patience:
            log.info("task %s is still queued; its message is sent again", watched.work.log_key)
            watched.since, watched.patience = now, 2 * watched.patience
            self._send(watched.work)
        if row.state != RUNNING:
            return False
        if beat is None:  # somebody did not find its process: one more beat proves him wrong
            watched.doubted = watched.doubted or now
            return now - watched.doubted > self._last_beat_timeout
        watched.doubted = None
        if beat != watched.beat:
            watched.beat, watched.since = beat, now
        return now - watched.since > self._heartbeat_timeout

    def wait(self, seconds: float) -> bool:
        if not self._watched:
            return False
        if not self._store.ended:
            self._store.wait_for_news(min(seconds, self._next_look - wall_seconds()))
        return True

    @property
    def in_flight(self) -> int:
        return len(self._watched)

    def stop(self, *, at_once: bool = False) -> None:
        self._sender.stop()


def seconds_for(task: BaseOperator) -> float | None:
    """How many seconds an attempt may last, whatever it does, until it has failed; None: any number."""
    limit = task.execution_timeout
    return None if limit is None else limit.total_seconds() + conf.get("core", "killed_task_cleanup_time")


def is_overdue(watched: Watched, row: TaskRow, now: float) -> bool:
    """Whether an attempt has lasted longer than it may.

    How long it lasted until its last sign of life is told by its worker's clock, and how long ago that is by this
    machine's: so the two need not agree.
    """
    limit = seconds_for(watched.work.task)
    if limit is None or row.state != RUNNING or row.start_date is None or watched.beat is None:
        return False
    return (watched.beat - row.start_date).total_seconds() + now - watched.since > limit


def check_shared(url: sa.URL) -> None:
    """ConfigError for a metadata database that only one machine can use."""
    if url.get_backend_name() == "sqlite":
        raise ConfigError(
            "Celery workers need a metadata database that all of them can reach, and SQLite is a file; set [database] "
            "sql_alchemy_conn to postgresql://user:password@host/database"
        )


class Order(NamedTuple):
    """A message to send."""

    queue: str
    reference: Reference
    time_limit: float | None = None
    """After how many seconds Celery kills the process that is at it."""


RETRY_SECONDS = 1.0
"""Between two tries to reach a broker that is away."""

LAST_WORDS_SECONDS = 5.0
"""How long the end of the scheduler may be held up by what is still to be sent; the next scheduler sends the rest."""


class Sender:
    """Sends messages in a thread of its own, in order, so that a broker that is away or slow holds up nobody."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._orders: SimpleQueue[Order | None] = SimpleQueue()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="messages to the broker", daemon=True)
        self._thread.start()

    def put(self, order: Order) -> None:
        """Send a reference to whoever takes messages of its queue, as soon as the broker can be reached."""
        self._orders.put(order)

    def stop(self) -> None:
        """End the thread once everything is sent, but do not wait for a broker that is away."""
        self._orders.put(None)
        self._thread.join(LAST_WORDS_SECONDS)
        self._stopped.set()

    def _run(self) -> None:
        while (order := self._orders.get()) is not None and not self._stopped.is_set():
            self._send(order)
        self._app.close()

    def _send(self, order: Order) -> None:
        from etlkit.executors.celery_app import ATTEMPT, message_of, shown_broker

        away = False
        while not self._stopped.is_set():
            try:
                self._app.send_task(
                    ATTEMPT,
                    message_of(order.reference),
                    queue=order.queue,
                    time_limit=order.time_limit,
                    retry=False,
                )
                if away:
                    log.warning("the broker %s is back", shown_broker())
                return
            except Exception as error:  # whatever a client of a broker raises; nothing is lost by trying again
                if not away:
                    log.warning(
                        "the broker %s cannot be reached; tasks wait for it: %s", shown_broker(), one_line(error)
                    )
                away = True
            self._stopped.wait(RETRY_SECONDS)
