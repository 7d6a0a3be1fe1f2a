"""The metadata database: what the scheduler remembers.

`Store`'s methods are the scheduler's questions and decisions, each with its SQL beside it. Nothing here commits on its
own: a caller opens `with store.transaction():`, and what is inside happens whole or not at all. Every change of a task
instance's state names the state it expects to find, so two writers can never both believe that they made it.

SQLite is the default (write-ahead log, so readers never wait for the writer; `synchronous = NORMAL`, so a killed
process loses nothing and a power cut at most the last moments). `sqlite://` alone is a database in memory. Several
processes or machines share a PostgreSQL: `postgresql://etl:password@db.example.org/etlkit`.

>>> store = Store("sqlite://")
>>> with store.transaction():
...     store.set_pool("two_at_a_time", 2)
>>> store.pools()
{'default_pool': 128, 'two_at_a_time': 2}
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import selectors
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from etlkit.database import Conflict, create_tables, explained, make_engine, parse_url, shown, tables_version
from etlkit.errors import MetadataError, StateError
from etlkit.states import (
    FAILED,
    FINISHED,
    QUEUED,
    RUN_TRANSITIONS,
    RUNNING,
    UP_FOR_RETRY,
    DagRunState,
    check_path,
    check_transition,
)
from etlkit.timetables import DataInterval

ENDED = "etlkit_ended"
"""The channel of PostgreSQL on which workers say which task instances' attempts have ended."""

LOST = "its process died, or was killed"
"""The error of an attempt that never said how it ended."""


class RunRow(NamedTuple):
    """One row of `dag_run`; instants are aware datetimes in UTC."""

    id: int
    dag_id: str
    run_id: str
    run_type: str
    state: str
    logical_date: datetime | None
    data_interval_start: datetime | None
    data_interval_end: datetime | None
    run_after: datetime
    queued_at: datetime | None
    start_date: datetime | None
    end_date: datetime | None
    conf: dict[str, Any]
    backfill_id: int | None

    @property
    def data_interval(self) -> DataInterval | None:
        """The stretch of time whose data the run loads; None for a run without one."""
        if self.data_interval_start is None or self.data_interval_end is None:
            return None
        return DataInterval(self.data_interval_start, self.data_interval_end)


class TaskRow(NamedTuple):
    """One row of `task_instance`, as the scheduler needs it."""

    id: int
    dag_run_id: int
    task_id: str
    map_index: int
    state: str | None
    try_number: int
    max_tries: int
    pool: str
    pool_slots: int
    queued_at: datetime | None
    rescheduled_since: datetime | None
    start_date: datetime | None
    end_date: datetime | None
    not_before: datetime | None
    lost_attempts: int
    skips: list[str] | None
    error: str | None
    rendered_map_index: str | None = None


class BackfillRow(NamedTuple):
    """One row of `backfill`; `completed_at` is None while it has runs to do."""

    id: int
    dag_id: str
    from_date: datetime
    to_date: datetime
    reprocess_behavior: str
    max_active_runs: int
    is_paused: bool
    created_at: datetime
    completed_at: datetime | None


class PoolRow(NamedTuple):
    """One row of `pool`."""

    name: str
    slots: int
    description: str


class SlotHolder(NamedTuple):
    """A task instance that is queued or running, and so holds slots of its pool."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    pool: str
    pool_slots: int


def _set_state_sql(queued: bool, finished: bool, from_none: bool) -> str:
    moment = ", queued_at = :now" if queued else ", end_date = :now" if finished else ""
    old = "state IS NULL" if from_none else "state = :old"
    return f"UPDATE task_instance SET state = :new{moment} WHERE id = :id AND {old}"


def _start_attempt_sql(from_queued: bool, from_none: bool) -> str:
    queued = "" if from_queued else ", queued_at = :now"
    old = "state IS NULL" if from_none else "state = :old"
    return f"""UPDATE task_instance
               SET state = 'running', try_number = :try_number, token = :token, start_date = :now, end_date = NULL,
                   last_heartbeat_at = :now, not_before = NULL, error = NULL, hostname = :hostname, pid = :pid{queued}
               WHERE id = :id AND {old} AND try_number = :try_before"""


START_ATTEMPT = {kind: _start_attempt_sql(*kind) for kind in itertools.product((True, False), repeat=2)}
"""The UPDATE for the start of an attempt (by a task that is queued, that has no state)."""

SET_STATE = {kind: _set_state_sql(*kind) for kind in itertools.product((True, False), repeat=3)}
"""The UPDATE for a change (to queued, to a final state, from no state)."""

FINISH_ATTEMPT = """
    UPDATE task_instance
    SET state = :state, end_date = :now, not_before = :not_before, rescheduled_since = :rescheduled_since,
        skips = :skips, error = :error, token = NULL
    WHERE id = :id AND state = 'running' AND try_number = :try_number AND token = :token"""

FINISH_AND_TELL = f"WITH ended AS ({FINISH_ATTEMPT} RETURNING id) SELECT pg_notify('{ENDED}', id::text) FROM ended"
"""The same, and PostgreSQL passes it on when it is committed."""

RUN_FILTERS = {
    "dag_id": "dag_id = :dag_id",
    "backfill_id": "backfill_id = :backfill_id",
    "since": "logical_date >= :since",
    "before": "logical_date < :before",
}
"""What `Store.runs` may ask for."""

OF_DAGS = "AND r.dag_id = ANY(:dag_ids)"

FINAL = ", ".join(f"'{state}'" for state in sorted(FINISHED))
RUN_COLUMNS = ", ".join(RunRow._fields)
TASK_COLUMNS = ", ".join(TaskRow._fields)
ATTEMPT = f"""SELECT {", ".join(f"r.{name}" for name in RunRow._fields)},
                    {", ".join(f"t.{name}" for name in TaskRow._fields)}
             FROM task_instance t JOIN dag_run r ON r.id = t.dag_run_id WHERE t.id = :id"""
RUN_INSTANTS = [
    i for i, name in enumerate(RunRow._fields) if name.endswith(("_date", "_at", "_start", "_end", "_after"))
]
TASK_INSTANTS = slice(TaskRow._fields.index("queued_at"), TaskRow._fields.index("not_before") + 1)


class Store:
    """One connection to the metadata database at `url`; use one Store per thread.

    Creates the tables when there are none. MetadataError, in one line, if the file is not a database, read-only, held
    by another process, from another version of etlkit, or on a full disk; or if the server cannot be reached, does not
    know the user or the database, or goes away. Without `tables` they are left as they are, whatever they are.
    """

    def __init__(self, url: str = "sqlite://", *, tables: bool = True) -> None:
        self.url = parse_url(url)
        self.engine = make_engine(self.url)
        self.dialect = self.engine.dialect
        self.is_sqlite = self.dialect.name == "sqlite"
        self.in_memory = self.is_sqlite and not self.url.database
        self.exclusive = self.is_sqlite
        """Whether a transaction keeps all others from writing; else they may, and statements notice (Conflict)."""
        self._statements: dict[str, str] = {}
        self._transaction = _Transaction(self)
        self._generation = 0
        self._last_moment: datetime | None = None
        self._last_text = ""
        self._seen: tuple[int, int] = (0, 0)
        self._announced = 0
        self._channels = {"etlkit"}
        self.ended: set[int] = set()
        """The task instances whose attempts have ended in workers, as far as this was told: see `hear_of_ends`."""
        self.tells_ends = False
        """Whether the end of an attempt is told to whoever hears of ends: a worker on PostgreSQL does."""
        self._data_version, self._revision = -1, 0
        assert self.dialect.dbapi is not None
        self._errors = (self.dialect.dbapi.Error, sa.exc.DBAPIError)
        self._connect(tables)

    def _connect(self, tables: bool) -> None:
        try:
            with contextlib.ExitStack() as undo:  # nothing stays open when it cannot be used
                undo.callback(self.engine.dispose)
                self._connection = undo.enter_context(self.engine.connect())
                self.cursor = self._connection.connection.cursor()
                if tables:
                    create_tables(self._connection)
                undo.pop_all()
        except self._errors as error:
            raise explained(error, self.name) from error

    @property
    def name(self) -> str:
        """The database as it may be shown: without a password."""
        return shown(self.url)

    def __repr__(self) -> str:
        return f"<Store {self.name}>"

    def version(self) -> str | None:
        """Which version the tables have; None if there are none."""
        return tables_version(self._connection)

    def close(self) -> None:
        """Give the connection back; closing twice is harmless."""
        if self._connection.closed:
            return
        self.cursor.close()
        if not self.is_sqlite and self.cursor.connection.closed:
            self._connection.invalidate()  # lost: there is nothing to give back
        self._connection.close()
        self.engine.dispose()

    def reconnect(self) -> None:
        """Reach the server anew after `Unreachable`, which is raised again if it is still away.

        What was not committed is undone. It hears again of changes only from now on: `changed_elsewhere` says yes once.
        """
        self.close()
        self._announced = 0
        self._generation += 1
        self._connect(tables=False)

    def transaction(self) -> _Transaction:
        """`with store.transaction():` commits at the end of the block, or undoes all of it when an error leaves it."""
        return self._transaction

    def run_sql(self, sql: str, values: Mapping[str, Any] | None = None) -> Any:
        """Execute one statement written with `:names`; instants in `values` are converted. Returns the cursor."""
        try:
            return self.cursor.execute(self._compiled(sql), self._converted(values) if values else {})
        except self._errors as error:
            raise explained(error, self.name) from error

    def run_many(self, sql: str, rows: Sequence[Mapping[str, Any]]) -> int:
        """Execute one statement for each of `rows`; how many rows it touched."""
        if not rows:
            return 0
        if len(rows) == 1:
            return self.run_sql(sql, rows[0]).rowcount
        try:
            self.cursor.executemany(self._compiled(sql), [self._converted(row) for row in rows])
            return self.cursor.rowcount
        except self._errors as error:
            raise explained(error, self.name) from error

    def _compiled(self, sql: str) -> str:
        compiled = self._statements.get(sql)
        if compiled is None:
            compiled = self._statements[sql] = str(sa.text(sql).compile(dialect=self.dialect))
        return compiled

    def _converted(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        if not self.is_sqlite:
            return values
        return {name: self._at(value) if isinstance(value, datetime) else value for name, value in values.items()}

    def _at(self, moment: datetime | None) -> Any:
        """An instant as the database takes it."""
        if moment is None or not self.is_sqlite:
            return moment
        # Most statements of a pass carry the same instant, so the last one is remembered.
        if moment is not self._last_moment:
            self._last_moment, self._last_text = moment, moment.astimezone(UTC).isoformat(" ")
        return self._last_text

    def _execute(self, sql: str, values: Mapping[str, Any]) -> Any:
        """`run_sql` for the statements that every attempt needs: the caller has converted the values."""
        try:
            return self.cursor.execute(self._statements.get(sql) or self._compiled(sql), values)
        except self._errors as error:
            raise explained(error, self.name) from error

    # --- changes made by others ---

    def touched(self) -> None:
        """Say that somebody but the scheduler and its workers changed the database through this Store (a clear, say).

        Said inside the transaction of the change: others hear of it when that is committed.
        """
        self._generation += 1
        self.announce()

    def announce(self) -> None:
        """Say it to other processes alone: this one's scheduler knows of the change."""
        if not self.is_sqlite:
            self.run_sql("NOTIFY etlkit")
        elif not self.in_memory:
            self.run_sql(f"PRAGMA user_version = {self._user_version() + 1}")

    def changed_elsewhere(self) -> bool:
        """Whether anybody has said `touched` since this was last asked, in this process or in another.

        What the attempts of workers write is not meant: how they end comes from the executor.
        """
        seen, self._seen = self._seen, (self._generation, self._announcements())
        return seen != self._seen

    def _announcements(self) -> int:
        """A number that moves when another process announces a change.

        PostgreSQL passes the word on. In SQLite it is a counter in the file, looked at when some other connection has
        committed something (`PRAGMA data_version`).
        """
        if self.in_memory:
            return 0
        if not self.is_sqlite:
            return self._notices()
        data_version = self.cursor.execute("PRAGMA data_version").fetchone()[0]
        if data_version != self._data_version:
            self._data_version, self._revision = data_version, self._user_version()
        return self._revision

    def _user_version(self) -> int:
        return self.run_sql("PRAGMA user_version").fetchone()[0]

    def alone(self, purpose: str) -> None:
        """Wait until nobody else is in a transaction with the same purpose, and keep others out until this one ends.

        SQLite has one writer at a time anyway.
        """
        if not self.is_sqlite:
            self.run_sql("SELECT pg_advisory_xact_lock(hashtext(:purpose))", {"purpose": f"etlkit {purpose}"})

    def _notices(self) -> int:
        """How often other connections to a PostgreSQL have announced a change; 1 when it is first asked."""
        if self._transaction.open:
            pass  # the server says nothing before it ends
        elif self._announced:
            self.run_sql("SELECT 1")  # what the server has to say comes before the end of its answer
        else:
            for channel in sorted(self._channels):
                self.run_sql(f"LISTEN {channel}")
            self.cursor.connection.add_notify_handler(self._hear)
            self._announced = 1
        return self._announced

    def _hear(self, notice: Any) -> None:
        if notice.channel == ENDED:
            self.ended.add(int(notice.payload))
        else:
            self._announced += notice.pid != self.cursor.connection.info.backend_pid

    def hear_of_ends(self) -> None:
        """From now on collect in `ended` the ids of task instances whose attempts workers end; PostgreSQL alone says.

        Some may be missed, such as those that end while the connection is lost: look at the rows too, now and then.
        """
        self._notices()
        self._channels.add(ENDED)
        self.run_sql(f"LISTEN {ENDED}")

    def wait_for_news(self, seconds: float) -> None:
        """Block until another process announces a change, or an end that this hears of; at most so many wall seconds.

        PostgreSQL alone can wake one up; with SQLite this returns at once.
        """
        if self.is_sqlite:
            return
        if not self._announced:
            self._notices()
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(self.cursor.connection, selectors.EVENT_READ)
                selector.select(max(seconds, 0.0))
        except self._errors as error:  # it is closed
            raise explained(error, self.name) from error
        self._notices()

    # --- DAGs and pools ---

    def register_dag(self, dag_id: str, *, paused: bool, fileloc: str | None, schedule: str, now: datetime) -> None:
        """Note that a DAG exists; `paused` holds only for one that was never seen before.

        That it was seen again is no news to others.
        """
        known = self.run_sql("SELECT fileloc, schedule FROM dag WHERE dag_id = :dag_id", {"dag_id": dag_id}).fetchone()
        self.run_sql(
            """INSERT INTO dag (dag_id, is_paused, fileloc, schedule, last_seen)
               VALUES (:dag_id, :paused, :fileloc, :schedule, :now)
               ON CONFLICT (dag_id) DO UPDATE
               SET fileloc = :fileloc, schedule = :schedule, last_seen = :now""",
            {"dag_id": dag_id, "paused": paused, "fileloc": fileloc, "schedule": schedule, "now": now},
        )
        if known is None or tuple(known) != (fileloc, schedule):
            self.touched()

    def set_paused(self, dag_id: str, paused: bool) -> bool:
        """Pause or unpause; False if the DAG was never seen."""
        self.touched()
        return bool(
            self.run_sql(
                "UPDATE dag SET is_paused = :paused WHERE dag_id = :dag_id", {"dag_id": dag_id, "paused": paused}
            ).rowcount
        )

    def paused(self) -> dict[str, bool]:
        """Whether each known DAG is paused."""
        rows = self.run_sql("SELECT dag_id, is_paused FROM dag").fetchall()
        return {dag_id: bool(is_paused) for dag_id, is_paused in rows}

    def pools(self) -> dict[str, int]:
        """The number of slots of each pool."""
        return dict(self.run_sql("SELECT name, slots FROM pool ORDER BY name").fetchall())

    def pool_rows(self) -> list[PoolRow]:
        """The pools, by name, with their descriptions."""
        rows = self.run_sql("SELECT name, slots, COALESCE(description, '') FROM pool ORDER BY name").fetchall()
        return [PoolRow(*row) for row in rows]

    def delete_pool(self, name: str) -> None:
        """Delete a pool; tasks that name it wait until there is one of that name again."""
        self.run_sql("DELETE FROM pool WHERE name = :name", {"name": name})
        self.touched()

    def set_pool(self, name: str, slots: int, description: str = "") -> None:
        """Create a pool or change its number of slots."""
        self.run_sql(
            """INSERT INTO pool (name, slots, description) VALUES (:name, :slots, :description)
               ON CONFLICT (name) DO UPDATE SET slots = :slots, description = :description""",
            {"name": name, "slots": slots, "description": description},
        )
        self.touched()

    # --- runs ---

    def create_run(
        self,
        dag_id: str,
        run_id: str,
        *,
        run_type: str,
        logical_date: datetime | None,
        data_interval: tuple[datetime, datetime] | None,
        run_after: datetime,
        now: datetime,
        conf: Mapping[str, Any] | None = None,
        backfill_id: int | None = None,
    ) -> RunRow | None:
        """Insert a queued run; None if this DAG already has one with this run_id or logical date."""
        start, end = data_interval or (None, None)
        row = self.run_sql(
            f"""INSERT INTO dag_run (dag_id, run_id, run_type, state, logical_date, data_interval_start,
                                     data_interval_end, run_after, queued_at, conf, backfill_id)
                VALUES (:dag_id, :run_id, :run_type, 'queued', :logical_date, :start, :end, :run_after, :now, :conf,
                        :backfill_id)
                ON CONFLICT DO NOTHING
                RETURNING {RUN_COLUMNS}""",
            {
                "dag_id": dag_id,
                "run_id": run_id,
                "run_type": str(run_type),
                "logical_date": logical_date,
                "start": start,
                "end": end,
                "run_after": run_after,
                "now": now,
                "conf": json.dumps(conf or {}),
                "backfill_id": backfill_id,
            },
        ).fetchone()
        return _run_row(row) if row else None

    def count_runs_at(self, dag_id: str, run_after: datetime) -> int:
        """How many runs of a DAG may start from this very instant on."""
        sql = "SELECT COUNT(*) FROM dag_run WHERE dag_id = :dag_id AND run_after = :run_after"
        return self.run_sql(sql, {"dag_id": dag_id, "run_after": run_after}).fetchone()[0]

    def runs(
        self,
        dag_id: str | None = None,
        states: Iterable[str] = (),
        backfill_id: int | None = None,
        *,
        dates: tuple[datetime | None, datetime | None] = (None, None),
        last: int | None = None,
    ) -> list[RunRow]:
        """Runs, oldest `run_after` first; of one DAG, of one backfill, in some states, or all.

        `dates` are the first logical date and the one before which they end; `last` keeps the newest few.
        """
        names = ", ".join(f"'{DagRunState(state)}'" for state in states)
        values = {"dag_id": dag_id, "backfill_id": backfill_id, "since": dates[0], "before": dates[1]}
        used = {name: value for name, value in values.items() if value is not None}
        conditions = [RUN_FILTERS[name] for name in used] + [f"state IN ({names})"] * bool(names)
        order, most = ("DESC", f"LIMIT {int(last)}") if last is not None else ("ASC", "")
        sql = f"""SELECT {RUN_COLUMNS} FROM dag_run WHERE {" AND ".join(conditions) or "1 = 1"}
                  ORDER BY run_after {order}, id {order} {most}"""
        rows = self.run_sql(sql, used).fetchall()
        return [_run_row(row) for row in (rows if last is None else reversed(rows))]

    def run(self, dag_id: str, run_id: str) -> RunRow | None:
        """One run by its id."""
        row = self.run_sql(
            f"SELECT {RUN_COLUMNS} FROM dag_run WHERE dag_id = :dag_id AND run_id = :run_id",
            {"dag_id": dag_id, "run_id": run_id},
        ).fetchone()
        return _run_row(row) if row else None

    def run_at(self, dag_id: str, logical_date: datetime) -> RunRow | None:
        """The run of a logical date."""
        row = self.run_sql(
            f"SELECT {RUN_COLUMNS} FROM dag_run WHERE dag_id = :dag_id AND logical_date = :logical_date",
            {"dag_id": dag_id, "logical_date": logical_date},
        ).fetchone()
        return _run_row(row) if row else None

    def newest_date(self, dag_id: str, first: datetime, last: datetime) -> datetime | None:
        """The newest logical date of a DAG's runs from `first` to `last`; None if there is no run of one."""
        row = self.run_sql(
            """SELECT MAX(logical_date) FROM dag_run
               WHERE dag_id = :dag_id AND logical_date >= :first AND logical_date <= :last""",
            {"dag_id": dag_id, "first": first, "last": last},
        ).fetchone()
        return instant(row[0])

    def last_scheduled_run(self, dag_id: str) -> RunRow | None:
        """The newest run that the schedule itself created: where the timetable goes on from.

        One that a backfill has taken over since is known by its run_id.
        """
        row = self.run_sql(
            f"""SELECT {RUN_COLUMNS} FROM dag_run
                WHERE dag_id = :dag_id AND logical_date IS NOT NULL
                  AND (run_type = 'scheduled' OR substr(run_id, 1, 11) = 'scheduled__')
                ORDER BY logical_date DESC LIMIT 1""",
            {"dag_id": dag_id},
        ).fetchone()
        return _run_row(row) if row else None

    def previous_run(self, run: RunRow, *, scheduled_only: bool) -> RunRow | None:
        """The run of the same DAG with the next earlier logical date; `scheduled_only` leaves manual ones out."""
        row = self.run_sql(
            f"""SELECT {RUN_COLUMNS} FROM dag_run
                WHERE dag_id = :dag_id AND logical_date < :logical_date {"AND run_type <> 'manual'" * scheduled_only}
                ORDER BY logical_date DESC LIMIT 1""",
            {"dag_id": run.dag_id, "logical_date": run.logical_date},
        ).fetchone()
        return _run_row(row) if row else None

    def begins_backfill(self, run: RunRow) -> bool:
        """Whether a run is the first, in order, of the backfill that it belongs to."""
        if run.backfill_id is None:
            return False
        row = self.run_sql(
            "SELECT sort_ordinal FROM backfill_dag_run WHERE backfill_id = :backfill_id AND dag_run_id = :id",
            {"backfill_id": run.backfill_id, "id": run.id},
        ).fetchone()
        return row is not None and row[0] == 1

    def set_run_state(self, run_pk: int, old: str, new: str, now: datetime) -> None:
        """Start, finish or queue again a run; Conflict if it is not in state `old` any more."""
        if new not in RUN_TRANSITIONS[DagRunState(old)]:
            raise StateError(f"run {run_pk}", old, new)
        moment = {"running": "start_date = :now, end_date = NULL", "queued": "queued_at = :now, end_date = NULL"}
        changed = self.run_sql(
            f"UPDATE dag_run SET state = :new, {moment.get(new, 'end_date = :now')} WHERE id = :id AND state = :old",
            {"id": run_pk, "old": str(old), "new": str(new), "now": now},
        ).rowcount
        if not changed:
            raise Conflict(f"run {run_pk} is not {old} any more")

    def hold(self, run_pk: int) -> None:
        """Let nobody else change a run and its task instances until this transaction ends.

        SQLite has one writer at a time anyway; PostgreSQL locks the rows.
        """
        if not self.is_sqlite:
            for rows in ("task_instance WHERE dag_run_id = :id ORDER BY id", "dag_run WHERE id = :id"):
                self.run_sql(f"SELECT id FROM {rows} FOR NO KEY UPDATE", {"id": run_pk})

    def is_over(self, run_pk: int) -> bool:
        """Whether all task instances of a run are final, and stay so until this transaction ends."""
        if not self.is_sqlite:
            self.run_sql("SELECT id FROM dag_run WHERE id = :id FOR NO KEY UPDATE", {"id": run_pk})
        open_task = self.run_sql(
            f"SELECT 1 FROM task_instance WHERE dag_run_id = :id AND COALESCE(state, '') NOT IN ({FINAL}) LIMIT 1",
            {"id": run_pk},
        ).fetchone()
        return open_task is None

    def open_runs(self, dag_ids: Sequence[str] | None = None) -> list[RunRow]:
        """Runs that are queued or running, in the order in which they may start; on PostgreSQL of these DAGs alone."""
        rows = self.run_sql(
            f"""SELECT {", ".join(f"r.{name}" for name in RunRow._fields)} FROM dag_run r
                LEFT JOIN backfill_dag_run b ON b.dag_run_id = r.id AND b.backfill_id = r.backfill_id
                WHERE r.state IN ('queued', 'running') {OF_DAGS if dag_ids is not None else ""}
                ORDER BY COALESCE(b.sort_ordinal, 0), r.run_after, r.id""",
            {"dag_ids": dag_ids} if dag_ids is not None else None,
        ).fetchall()
        return [_run_row(row) for row in rows]

    # --- backfills ---

    def create_backfill(
        self, dag_id: str, from_date: datetime, to_date: datetime, reprocess: str, max_active_runs: int, now: datetime
    ) -> int:
        """Insert a backfill; its id."""
        return self.run_sql(
            """INSERT INTO backfill
                      (dag_id, from_date, to_date, reprocess_behavior, max_active_runs, is_paused, created_at)
               VALUES (:dag_id, :from_date, :to_date, :reprocess, :max_active_runs, :is_paused, :now) RETURNING id""",
            {
                "dag_id": dag_id,
                "from_date": from_date,
                "to_date": to_date,
                "reprocess": reprocess,
                "max_active_runs": max_active_runs,
                "is_paused": False,
                "now": now,
            },
        ).fetchone()[0]

    def add_to_backfill(self, backfill_id: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert what a backfill does with each date: dicts with the columns named below."""
        self.run_many(
            f"""INSERT INTO backfill_dag_run (backfill_id, dag_run_id, logical_date, action, reason, sort_ordinal)
                VALUES ({int(backfill_id)}, :dag_run_id, :logical_date, :action, :reason, :sort_ordinal)""",
            rows,
        )

    def adopt_run(self, run_pk: int, backfill_id: int, conf: Mapping[str, Any] | None) -> None:
        """Let an existing run count as this backfill's."""
        self.run_sql(
            """UPDATE dag_run SET backfill_id = :backfill_id, run_type = 'backfill', conf = COALESCE(:conf, conf)
               WHERE id = :id""",
            {"backfill_id": backfill_id, "id": run_pk, "conf": None if conf is None else json.dumps(conf)},
        )

    def backfill(self, backfill_id: int) -> BackfillRow | None:
        """One backfill."""
        return next(iter(self._backfills("id = :id", {"id": backfill_id})), None)

    def backfills(self, dag_id: str | None = None) -> list[BackfillRow]:
        """All backfills, oldest first; of one DAG, or all."""
        return self._backfills("dag_id = :dag_id", {"dag_id": dag_id}) if dag_id else self._backfills("1 = 1", {})

    def open_backfills(self, dag_id: str | None = None) -> list[BackfillRow]:
        """Backfills that are not complete; of one DAG, or all."""
        same_dag = "AND dag_id = :dag_id" if dag_id else ""
        return self._backfills(f"completed_at IS NULL {same_dag}", {"dag_id": dag_id} if dag_id else {})

    def _backfills(self, where: str, values: Mapping[str, Any]) -> list[BackfillRow]:
        rows = self.run_sql(
            f"SELECT {', '.join(BackfillRow._fields)} FROM backfill WHERE {where} ORDER BY id", values
        ).fetchall()
        return [_backfill_row(row) for row in rows]

    def backfill_states(self, backfill_id: int) -> dict[str, int]:
        """How many of the runs that a backfill made or took over are in each state."""
        rows = self.run_sql(
            """SELECT r.state, COUNT(*) FROM backfill_dag_run b JOIN dag_run r ON r.id = b.dag_run_id
               WHERE b.backfill_id = :id GROUP BY r.state""",
            {"id": backfill_id},
        ).fetchall()
        return dict(rows)

    def set_backfill_paused(self, backfill_id: int, paused: bool) -> None:
        """Pause or go on: what runs goes on, nothing new starts."""
        self.run_sql("UPDATE backfill SET is_paused = :paused WHERE id = :id", {"paused": paused, "id": backfill_id})
        self.touched()

    def complete_backfill(self, backfill_id: int, now: datetime) -> None:
        """All of its runs are finished, or it is given up; nothing changes if it was complete before."""
        self.run_sql(
            "UPDATE backfill SET completed_at = :now WHERE id = :id AND completed_at IS NULL",
            {"now": now, "id": backfill_id},
        )

    # --- task instances ---

    def create_task_instances(self, run_pk: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert task instances of a run, without a state: dicts of these columns; map_index -1 if it is not mapped."""
        self.run_many(
            f"""INSERT INTO task_instance (dag_run_id, task_id, map_index, max_tries, pool, pool_slots)
                VALUES ({int(run_pk)}, :task_id, :map_index, :max_tries, :pool, :pool_slots)""",
            rows,
        )

    def expand_task_instance(self, run_pk: int, task_id: str, rows: Sequence[Mapping[str, Any]]) -> list[TaskRow]:
        """Give a mapped task further instances: dicts as above. The one without a map index, if there is one, becomes
        the first. All instances it has then, by map index."""
        task = {"run_pk": run_pk, "task_id": task_id}
        if rows[0]["map_index"] == 0:
            changed = self.run_sql(
                """UPDATE task_instance SET map_index = 0
                   WHERE dag_run_id = :run_pk AND task_id = :task_id AND map_index = -1""",
                task,
            )
            rows = rows[changed.rowcount :]
        self.create_task_instances(run_pk, rows)
        found = self.run_sql(
            f"""SELECT {TASK_COLUMNS} FROM task_instance
                WHERE dag_run_id = :run_pk AND task_id = :task_id AND map_index >= 0 ORDER BY map_index""",
            task,
        ).fetchall()
        return [_task_row(row) for row in found]

    def name_task_instance(self, task_pk: int, rendered_map_index: str) -> None:
        """Note the name that a `map_index_template` gives an instance."""
        self.run_sql(
            "UPDATE task_instance SET rendered_map_index = :name WHERE id = :id",
            {"id": task_pk, "name": rendered_map_index},
        )

    def task_instances(self, run_pk: int) -> list[TaskRow]:
        """The task instances of a run, in the order they were created."""
        rows = self.run_sql(
            f"SELECT {TASK_COLUMNS} FROM task_instance WHERE dag_run_id = :run_pk ORDER BY id", {"run_pk": run_pk}
        ).fetchall()
        return [_task_row(row) for row in rows]

    def running_task_instances(self, dag_ids: Sequence[str] | None = None) -> dict[int, list[TaskRow]]:
        """The task instances of all running runs, by the run's id, each in the order they were created; on PostgreSQL
        of these DAGs alone."""
        rows = self.run_sql(
            f"""SELECT {TASK_COLUMNS} FROM task_instance
                WHERE dag_run_id IN (SELECT id FROM dag_run r
                                     WHERE state = 'running' {OF_DAGS if dag_ids is not None else ""}) ORDER BY id""",
            {"dag_ids": dag_ids} if dag_ids is not None else None,
        ).fetchall()
        of_run: dict[int, list[TaskRow]] = {}
        for task in map(_task_row, rows):
            of_run.setdefault(task.dag_run_id, []).append(task)
        return of_run

    def states_of_tasks(self, run_pk: int, task_ids: Sequence[str]) -> dict[str, list[str | None]]:
        """The states of all instances of some tasks of a run, by task id; a task without one is left out."""
        names = {f"task_{n}": task_id for n, task_id in enumerate(task_ids)}
        wanted = ", ".join(f":{name}" for name in names)
        rows = self.run_sql(
            f"SELECT task_id, state FROM task_instance WHERE dag_run_id = :run_pk AND task_id IN ({wanted})",
            {"run_pk": run_pk, **names},
        ).fetchall()
        states: dict[str, list[str | None]] = {}
        for task_id, state in rows:
            states.setdefault(task_id, []).append(state)
        return states

    def task_instance(self, task_pk: int, *, held: bool = False) -> TaskRow:
        """One task instance; `held` lets nobody else change it until this transaction ends."""
        lock = "FOR NO KEY UPDATE" if held and not self.is_sqlite else ""
        sql = f"SELECT {TASK_COLUMNS} FROM task_instance WHERE id = :id {lock}"
        return _task_row(self.run_sql(sql, {"id": task_pk}).fetchone())

    def token(self, task_pk: int) -> str:
        """What proves that the attempt which holds a task instance holds it; empty if none does."""
        row = self.run_sql("SELECT token FROM task_instance WHERE id = :id", {"id": task_pk}).fetchone()
        return row[0] or ""

    def maker(self, task_pk: int) -> tuple[str, int] | None:
        """Host and process id of the attempt that is running; None if none is."""
        sql = "SELECT hostname, pid FROM task_instance WHERE id = :id AND state = 'running'"
        return self.run_sql(sql, {"id": task_pk}).fetchone()

    def report_dead(self, task_pk: int, maker: tuple[str, int]) -> None:
        """Somebody saw that the process of a running attempt is gone: it has no sign of life any more."""
        changed = self.run_sql(
            """UPDATE task_instance SET last_heartbeat_at = NULL
               WHERE id = :id AND state = 'running' AND hostname = :hostname AND pid = :pid""",
            {"id": task_pk, "hostname": maker[0], "pid": maker[1]},
        ).rowcount
        if changed and self.tells_ends:
            self.run_sql("SELECT pg_notify(:channel, :id)", {"channel": ENDED, "id": str(task_pk)})

    def watched_instances(self, task_pks: Sequence[int]) -> dict[int, tuple[TaskRow, datetime | None]]:
        """Some task instances by their ids, each with the last sign of life of its attempt; PostgreSQL alone."""
        rows = self.run_sql(
            f"SELECT {TASK_COLUMNS}, last_heartbeat_at FROM task_instance WHERE id = ANY(:ids)", {"ids": task_pks}
        ).fetchall()
        return {row[0]: (_task_row(row[:-1]), instant(row[-1])) for row in rows}

    def attempt(self, task_pk: int) -> tuple[RunRow, TaskRow] | None:
        """A task instance and the run that it belongs to; None if it is not there any more."""
        row = self.run_sql(ATTEMPT, {"id": task_pk}).fetchone()
        width = len(RunRow._fields)
        return (_run_row(row[:width]), _task_row(row[width:])) if row else None

    def set_task_states(self, paths: Mapping[int, tuple[str | None, ...]], now: datetime) -> None:
        """The scheduler's decisions: for each task instance the states it goes through, from the one it has.

        Only the last state of a path is written, but every step must be allowed. Conflict if a task instance is not in
        the first state of its path any more: the caller's transaction must then not commit.
        """
        kinds: dict[tuple[str | None, ...], list[dict[str, Any]]] = {}
        at = self._at(now)
        for pk, path in paths.items():
            if path not in kinds:
                check_path(pk, path)
                kinds[path] = []
            kinds[path].append({"id": pk, "old": path[0], "new": path[-1], "now": at})
        for path, rows in kinds.items():
            old, new = path[0], path[-1]
            sql = SET_STATE[new == QUEUED, new in FINISHED, old is None]
            changed = self._execute(sql, rows[0]).rowcount if len(rows) == 1 else self.run_many(sql, rows)
            if changed != len(rows):
                raise Conflict(f"{len(rows) - changed} task instances are not {old or 'without state'} any more")

    def start_attempt(
        self,
        task_pk: int,
        try_number: int,
        token: str,
        now: datetime,
        hostname: str,
        pid: int,
        path: tuple[str | None, ...] = (QUEUED,),
        *,
        goes_on: bool = False,
    ) -> bool:
        """A worker takes a queued task instance; False if somebody else has it or it is not wanted any more.

        So it is when this try was made before: an order that comes twice is obeyed once. `goes_on` says that a sensor
        goes on with the try that it had begun.

        A scheduler that begins attempts itself gives the `path` of states that it has just decided on, up to queued:
        they are written with the start, in one UPDATE.
        """
        check_path(task_pk, (*path, RUNNING))
        values = {
            "id": task_pk,
            "try_number": try_number,
            "token": token,
            "now": self._at(now),
            "hostname": hostname,
            "pid": pid,
            "old": path[0],
            "try_before": try_number if goes_on else try_number - 1,
        }
        return bool(self._execute(START_ATTEMPT[len(path) == 1, path[0] is None], values).rowcount)

    def beat(self, task_pk: int, token: str, now: datetime) -> bool:
        """An attempt in another process shows that it is alive; False if it holds its task instance no more."""
        return bool(
            self.run_sql(
                """UPDATE task_instance SET last_heartbeat_at = :now
                   WHERE id = :id AND state = 'running' AND token = :token""",
                {"id": task_pk, "token": token, "now": now},
            ).rowcount
        )

    def finish_attempt(
        self,
        task_pk: int,
        *,
        try_number: int,
        token: str,
        state: str,
        now: datetime,
        not_before: datetime | None = None,
        rescheduled_since: datetime | None = None,
        skips: Sequence[str] = (),
        error: str | None = None,
    ) -> bool:
        """A worker ends the attempt that it still holds; False, and nothing changes, if it holds it no more."""
        check_transition(task_pk, RUNNING, state)
        values = {
            "id": task_pk,
            "try_number": try_number,
            "token": token,
            "state": state,
            "now": self._at(now),
            "not_before": self._at(not_before),
            "rescheduled_since": self._at(rescheduled_since),
            "skips": json.dumps(list(skips)) if skips else None,
            "error": error,
        }
        changed = self._execute(FINISH_AND_TELL if self.tells_ends else FINISH_ATTEMPT, values).rowcount
        if changed and state == UP_FOR_RETRY:
            self._archive("id = :id", {"id": task_pk}, FAILED)
        return bool(changed)

    def _archive(self, where: str, values: Mapping[str, Any], state: str | None = None) -> None:
        """Keep the latest try of some task instances as history, before it is overwritten; one that is kept stays."""
        kept_state = f"'{state}'" if state else "state"
        self.run_sql(
            f"""INSERT INTO task_instance_history
                       (task_instance_id, try_number, state, start_date, end_date, hostname, pid, error)
                SELECT id, try_number, {kept_state}, start_date, end_date, hostname, pid, error
                FROM task_instance t WHERE try_number > 0 AND {where} AND NOT EXISTS
                     (SELECT 1 FROM task_instance_history h
                      WHERE h.task_instance_id = t.id AND h.try_number = t.try_number)""",
            values,
        )

    def history(self, run_pk: int) -> list[tuple[str, int, int, str, datetime, datetime, str | None]]:
        """Earlier tries of a run's tasks: (task_id, map_index, try_number, state, start, end, error)."""
        rows = self.run_sql(
            """SELECT ti.task_id, ti.map_index, h.try_number, h.state, h.start_date, h.end_date, h.error
               FROM task_instance_history h JOIN task_instance ti ON ti.id = h.task_instance_id
               WHERE ti.dag_run_id = :run_pk ORDER BY h.id""",
            {"run_pk": run_pk},
        ).fetchall()
        return [(*row[:4], instant(row[4]), instant(row[5]), row[6]) for row in rows]

    def slot_holders(self) -> list[SlotHolder]:
        """Every task instance that is queued or running, longest waiting first."""
        rows = self.run_sql(
            """SELECT r.dag_id, r.run_id, t.task_id, t.map_index, t.pool, t.pool_slots
               FROM dag_run r JOIN task_instance t ON t.dag_run_id = r.id
               WHERE r.state IN ('queued', 'running') AND t.state IN ('queued', 'running') ORDER BY t.queued_at, t.id"""
        ).fetchall()
        return [SlotHolder(*row) for row in rows]

    def lost_attempts(self) -> list[TaskRow]:
        """Task instances that were queued or running: after a crash, those whose process is gone."""
        rows = self.run_sql(
            f"""SELECT {TASK_COLUMNS} FROM task_instance
                WHERE dag_run_id IN (SELECT id FROM dag_run WHERE state IN ('queued', 'running'))
                  AND state IN ('queued', 'running') ORDER BY id"""
        ).fetchall()
        return [_task_row(row) for row in rows]

    def fail_lost_attempt(self, task: TaskRow, now: datetime) -> None:
        """End a task instance whose process died: it has failed."""
        self.run_sql(
            f"""UPDATE task_instance SET state = '{FAILED}', token = NULL, end_date = :now, error = :error
                WHERE id = :id AND state = 'running'""",
            {"id": task.id, "now": now, "error": LOST},
        )

    def repeat_lost_attempt(self, task: TaskRow, now: datetime) -> None:
        """Make a task instance whose process died ready again; one more try than planned, so no retry is used up.

        A sensor that had given its slot back before goes on with the same try: what it waits for has not changed.
        """
        if task.state == RUNNING and task.rescheduled_since is None:
            self.run_sql(
                "UPDATE task_instance SET end_date = :now, error = :error WHERE id = :id",
                {"id": task.id, "now": now, "error": LOST},
            )
            self._archive("id = :id", {"id": task.id}, FAILED)
        self.run_sql(
            """UPDATE task_instance
               SET state = 'scheduled', token = NULL, end_date = NULL, error = NULL,
                   lost_attempts = lost_attempts + CASE state WHEN 'running' THEN 1 ELSE 0 END,
                   max_tries = max_tries + CASE WHEN state = 'running' AND rescheduled_since IS NULL THEN 1 ELSE 0 END
               WHERE id = :id AND state IN ('queued', 'running')""",
            {"id": task.id},
        )

    def clear(self, tasks: Sequence[tuple[int, int]], now: datetime) -> int:
        """Make task instances (id, retries) undecided again, keeping their tries as history; how many there were.

        Each gets its retries anew on top of the tries it had, and loses its XComs. A running attempt loses its
        hold: what it still reports will change nothing.
        """
        for pk, _ in tasks:
            self._archive("id = :id AND state IS NOT NULL", {"id": pk})
            self.run_sql(
                """DELETE FROM xcom WHERE EXISTS
                   (SELECT 1 FROM task_instance ti WHERE ti.id = :id AND ti.dag_run_id = xcom.dag_run_id
                    AND ti.task_id = xcom.task_id AND ti.map_index = xcom.map_index)""",
                {"id": pk},
            )
        self.touched()
        return self.run_many(
            """UPDATE task_instance
               SET state = NULL, token = NULL, skips = NULL, error = NULL, not_before = NULL, rescheduled_since = NULL,
                   start_date = NULL, end_date = NULL, queued_at = NULL, max_tries = try_number + :retries,
                   rendered_map_index = NULL,
                   lost_attempts = 0
               WHERE id = :id""",
            [{"id": pk, "retries": retries} for pk, retries in tasks],
        )

    # --- XComs ---

    def push_xcom(self, run_pk: int, task_id: str, map_index: int, key: str, value_json: str, now: datetime) -> None:
        """Store a value, replacing one of the same key."""
        self.run_sql(
            """INSERT INTO xcom (dag_run_id, task_id, map_index, key, value, timestamp)
               VALUES (:run_pk, :task_id, :map_index, :key, :value, :now)
               ON CONFLICT (dag_run_id, task_id, map_index, key) DO UPDATE SET value = :value, timestamp = :now""",
            {
                "run_pk": run_pk,
                "task_id": task_id,
                "map_index": map_index,
                "key": key,
                "value": value_json,
                "now": now,
            },
        )

    def pull_xcom(self, run_pk: int, task_id: str, key: str) -> list[tuple[int, str]]:
        """(map index, JSON) of the values one task pushed under a key, by map index."""
        return self.run_sql(
            """SELECT map_index, value FROM xcom WHERE dag_run_id = :run_pk AND task_id = :task_id AND key = :key
               ORDER BY map_index""",
            {"run_pk": run_pk, "task_id": task_id, "key": key},
        ).fetchall()

    def pull_xcom_until(self, run: RunRow, task_id: str, key: str) -> list[tuple[int, str]]:
        """The same of this run and all of its DAG with earlier logical dates, those of the oldest run first."""
        return self.run_sql(
            """SELECT x.map_index, x.value FROM dag_run r JOIN xcom x ON x.dag_run_id = r.id
               WHERE r.dag_id = :dag_id AND x.task_id = :task_id AND x.key = :key
                 AND COALESCE(r.logical_date, r.run_after) <= :moment
               ORDER BY COALESCE(r.logical_date, r.run_after), x.map_index""",
            {"dag_id": run.dag_id, "task_id": task_id, "key": key, "moment": run.logical_date or run.run_after},
        ).fetchall()

    def delete_xcoms(self, run_pk: int, task_id: str, map_index: int) -> None:
        """Forget what a task instance pushed: a retry starts clean."""
        self.run_sql(
            "DELETE FROM xcom WHERE dag_run_id = :run_pk AND task_id = :task_id AND map_index = :map_index",
            {"run_pk": run_pk, "task_id": task_id, "map_index": map_index},
        )


class _Transaction:
    """One transaction of a Store, reused; entering it twice is a mistake in the caller."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.open = False
        self._begin = "BEGIN IMMEDIATE" if store.is_sqlite else "BEGIN"

    def __enter__(self) -> Store:
        if self.open:
            raise RuntimeError("a transaction is already open on this Store; only the outermost caller commits")
        self.open = True
        try:
            self.store._execute(self._begin, NOTHING)
        except BaseException:  # Ctrl-C too: a transaction that nobody knows of would never end
            self.open = False
            self._rollback()
            raise
        return self.store

    def __exit__(self, exc_type: type | None, *exc_info: object) -> None:
        self.open = False
        if exc_type is not None:
            self._rollback()
            return
        try:
            self.store._execute("COMMIT", NOTHING)
        except BaseException:
            self._rollback()
            raise
        # PostgreSQL undoes a transaction in which a statement failed, even if somebody caught that error and commits.
        if not self.store.is_sqlite and self.store.cursor.statusmessage == "ROLLBACK":
            raise MetadataError(f"metadata database {self.store.name}: a statement failed, so nothing was written")

    def _rollback(self) -> None:
        """Undo what is left to undo: a full disk makes SQLite roll back by itself, a lost connection PostgreSQL."""
        connection = self.store.cursor.connection
        if self.store.is_sqlite or not connection.closed:
            connection.rollback()


NOTHING: dict[str, Any] = {}


def instant(value: Any) -> datetime | None:
    """A database's instant as an aware datetime in UTC."""
    if value is None:
        return None
    return (datetime.fromisoformat(value) if isinstance(value, str) else value).astimezone(UTC)


def _run_row(row: Sequence[Any]) -> RunRow:
    values = list(row)
    for i in RUN_INSTANTS:
        values[i] = instant(values[i])
    run = RunRow(*values)
    return run._replace(conf=json.loads(values[RunRow._fields.index("conf")]))


def _backfill_row(row: Sequence[Any]) -> BackfillRow:
    backfill = BackfillRow._make(row)
    instants = {
        name: instant(getattr(backfill, name)) for name in ("from_date", "to_date", "created_at", "completed_at")
    }
    return backfill._replace(is_paused=bool(backfill.is_paused), **instants)  # type: ignore[arg-type]


def _task_row(row: Sequence[Any]) -> TaskRow:
    task = TaskRow._make(row)
    if any(row[TASK_INSTANTS]):
        values = list(row)
        values[TASK_INSTANTS] = [instant(value) for value in row[TASK_INSTANTS]]
        task = TaskRow._make(values)
    return task._replace(skips=json.loads(task.skips)) if task.skips else task  # type: ignore[arg-type]


def this_process() -> tuple[str, int]:
    """The host's name and this process's number, as noted with each attempt."""
    return os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", ""), os.getpid()
