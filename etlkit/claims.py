"""Which DAGs a scheduler looks after, where several share a metadata database.

Each of them has a row in `job`, and renews its heartbeat there. A DAG is looked after by one scheduler at a time, the
one that `dag.scheduler_job_id` names, so all that is counted within a DAG (its next run, `max_active_runs`, what waits
for the past) is counted by one. Free DAGs are taken with `FOR UPDATE SKIP LOCKED`: two who come at the same moment take
different ones, and neither waits.

A scheduler is taken for dead, and the others take its DAGs,

- at once when its connection is gone, as after a kill -9: the server then lets go of a lock that it had;
- when its heartbeat has stood still for [scheduler] scheduler_health_check_threshold seconds, on the clock of whoever
  looks: what its own clock says does not matter.

In the second case it may only have been stopped for a while. So the transaction of each pass asks first whether the
scheduler still counts as alive, and holds that answer until it commits (`check`). One that does not has changed
nothing, and begins anew with a row of its own.

Airflow lets each scheduler look at all DAGs, and locks their runs for one pass.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection
from datetime import datetime, timedelta

from etlkit.clock import Clock
from etlkit.config import conf
from etlkit.database import Conflict
from etlkit.errors import MetadataError
from etlkit.store import Store, this_process

log = logging.getLogger("etlkit.scheduler")


class Claims:
    """What a scheduler that has a database to itself claims: every DAG, without asking."""

    shared = False
    """Whether there may be other schedulers."""

    def owns(self, dag_id: str) -> bool:
        """Whether the DAG is this scheduler's to look after."""
        return True

    def is_due(self, now: datetime) -> bool:
        """Whether it is time to renew the claims."""
        return False

    def renew(self, now: datetime, known: Collection[str], busy: Collection[str]) -> bool:
        """Show that this scheduler is alive; whether other DAGs are its own now than before.

        `known` are the ids of the DAGs that it could look after, `busy` those that it cannot give up now, whether it
        still knows them or not.
        """
        return False

    def check(self) -> None:
        """Conflict, inside the transaction of a pass, if this scheduler was taken for dead."""

    def slots_of_others(self, *, held: bool) -> dict[str, int]:
        """The slots of each pool that other schedulers' tasks have; `held` lets nobody take more meanwhile."""
        return {}

    def release(self, now: datetime) -> None:
        """Let the others have its DAGs at once."""


class SharedClaims(Claims):
    """A share of the DAGs on a PostgreSQL, for as long as the heartbeat goes on."""

    shared = True

    def __init__(self, store: Store) -> None:
        self.store = store
        self.job_id: int | None = None
        self.mine: set[str] = set()
        self.renewed: datetime | None = None
        """When it last showed that it is alive."""
        self._next_renewal: datetime | None = None
        self._beats: dict[int, tuple[datetime, datetime]] = {}
        """Of each other scheduler the heartbeat that was last seen, and since when it has stood there."""
        self._company: tuple[int, int] | None = None
        self._left_over: set[str] = set()
        self._unwanted: set[str] = set()

    def owns(self, dag_id: str) -> bool:
        return dag_id in self.mine

    def is_due(self, now: datetime) -> bool:
        return self._next_renewal is None or now >= self._next_renewal

    def renew(self, now: datetime, known: Collection[str], busy: Collection[str]) -> bool:
        self._next_renewal = now + timedelta(seconds=conf.get("scheduler", "scheduler_heartbeat_sec"))
        before, job_id = self.mine, self.job_id
        with self.store.transaction():
            self._show_life(now)
            self._bury_the_dead(now)
            mine, left_over = self._fair_share(known, busy)
        self.mine, self._left_over, self.renewed = mine, left_over, now
        return mine != before or job_id != self.job_id

    def beat(self, store: Store, now: datetime) -> bool:
        """Show over one connection or another that this scheduler is alive; False if it counts as dead."""
        sql = "UPDATE job SET latest_heartbeat = :now WHERE id = :id AND state = 'running'"
        return bool(store.run_sql(sql, {"now": now, "id": self.job_id}).rowcount)

    def _show_life(self, now: datetime) -> None:
        if not self.beat(self.store, now):
            hostname, pid = this_process()
            (self.job_id,) = self.store.run_sql(
                """INSERT INTO job (job_type, state, hostname, pid, start_date, latest_heartbeat)
                   VALUES ('SchedulerJob', 'running', :hostname, :pid, :now, :now) RETURNING id""",
                {"hostname": hostname, "pid": pid, "now": now},
            ).fetchone()
            self.store.run_sql("SELECT pg_advisory_lock(:jobs, :id)", {"jobs": JOBS, **self._me})

    def _bury_the_dead(self, now: datetime) -> None:
        """Mark the jobs of dead schedulers as failed; who is in the middle of a pass is alive, and passed over."""
        threshold = timedelta(seconds=conf.get("scheduler", "scheduler_health_check_threshold"))
        if self.renewed is None or now - self.renewed > threshold:
            self._beats = {}  # this one was asleep itself, perhaps with all others
        rows = self.store.run_sql(
            f"SELECT id, latest_heartbeat, {IS_CONNECTED} FROM job WHERE state = 'running' AND id <> :id",
            {"jobs": JOBS, **self._me},
        ).fetchall()
        before, self._beats = self._beats, {}
        for job_id, beat, is_connected in rows:
            known = before.get(job_id)
            since = known[1] if known is not None and known[0] == beat else now
            self._beats[job_id] = beat, since
            if not is_connected or now - since >= threshold:
                self._bury(job_id, beat, now)

    def _bury(self, job_id: int, beat: datetime, now: datetime) -> None:
        self.store.run_sql(
            """UPDATE job SET state = 'failed', end_date = :now WHERE id =
               (SELECT id FROM job WHERE id = :id AND state = 'running' AND latest_heartbeat = :beat
                FOR UPDATE SKIP LOCKED)""",
            {"now": now, "id": job_id, "beat": beat},
        )

    def _fair_share(self, known: Collection[str], busy: Collection[str]) -> tuple[set[str], set[str]]:
        """Take free DAGs, or give some up that rest, until this scheduler has its share; which it has, what is free.

        What nobody took since the last time, because only this scheduler knows it, is taken too, and kept until others
        come or go.
        """
        company = self.store.run_sql("SELECT COUNT(*), MAX(id) FROM job WHERE state = 'running'").fetchone()
        if company != self._company:
            self._company, self._unwanted = company, set()
        share = -(-len(known) // company[0])  # rounded up
        mine = self._claimed()
        shared = mine - self._unwanted
        surplus = sorted(shared - set(busy))[: max(0, len(shared) - share)]
        if given_up := sorted((mine - set(known) - set(busy)) | set(surplus)):
            self.store.run_sql(
                "UPDATE dag SET scheduler_job_id = NULL WHERE dag_id = ANY(:dag_ids)", {"dag_ids": given_up}
            )
        mine -= set(given_up)
        free = self._free(sorted(set(known) - mine - set(given_up)))
        wanted = [dag_id for dag_id in free if dag_id in self._left_over]
        room = max(0, share - len(mine - self._unwanted))
        wanted += [dag_id for dag_id in free if dag_id not in self._left_over][:room]
        taken = self._take(wanted)
        self._unwanted = (self._unwanted & mine) | (self._left_over & taken)
        return mine | taken, set(free) - taken

    def _claimed(self) -> set[str]:
        rows = self.store.run_sql("SELECT dag_id FROM dag WHERE scheduler_job_id = :id", {"id": self.job_id})
        return {dag_id for (dag_id,) in rows.fetchall()}

    def _free(self, dag_ids: list[str]) -> list[str]:
        rows = self.store.run_sql(
            f"SELECT dag_id FROM dag WHERE dag_id = ANY(:dag_ids) AND {IS_FREE} ORDER BY dag_id", {"dag_ids": dag_ids}
        )
        return [dag_id for (dag_id,) in rows.fetchall()]

    def _take(self, dag_ids: list[str]) -> set[str]:
        if not dag_ids:
            return set()
        rows = self.store.run_sql(
            f"""UPDATE dag SET scheduler_job_id = :id WHERE dag_id IN
                (SELECT dag_id FROM dag WHERE dag_id = ANY(:dag_ids) AND {IS_FREE} FOR NO KEY UPDATE SKIP LOCKED)
                RETURNING dag_id""",
            {"id": self.job_id, "dag_ids": dag_ids},
        )
        return {dag_id for (dag_id,) in rows.fetchall()}

    def check(self) -> None:
        alive = self.store.run_sql("SELECT 1 FROM job WHERE id = :id AND state = 'running' FOR SHARE", self._me)
        if alive.fetchone() is None:
            self._next_renewal = None
            raise Conflict("this scheduler was taken for dead, and others have its DAGs")

    def slots_of_others(self, *, held: bool) -> dict[str, int]:
        if held:
            self.store.run_sql("SELECT name FROM pool ORDER BY name FOR NO KEY UPDATE")
        rows = self.store.run_sql(
            """SELECT t.pool, SUM(t.pool_slots)
               FROM dag_run r JOIN task_instance t ON t.dag_run_id = r.id JOIN dag d ON d.dag_id = r.dag_id
               WHERE r.state IN ('queued', 'running') AND t.state IN ('queued', 'running')
                 AND d.scheduler_job_id IS DISTINCT FROM :id GROUP BY t.pool""",
            self._me,
        )
        return {pool: int(slots) for pool, slots in rows.fetchall()}

    def release(self, now: datetime) -> None:
        with self.store.transaction():
            self.store.run_sql("UPDATE dag SET scheduler_job_id = NULL WHERE scheduler_job_id = :id", self._me)
            self.store.run_sql(
                "UPDATE job SET state = 'success', end_date = :now WHERE id = :id AND state = 'running'",
                {**self._me, "now": now},
            )
        self.mine = set()

    @property
    def _me(self) -> dict[str, int | None]:
        return {"id": self.job_id}


JOBS = 20130102
"""The first number of the advisory lock that each scheduler holds while it is connected; the second is its job's id."""

IS_CONNECTED = """EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND classid = :jobs AND objid = job.id::oid
                          AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))"""
"""Whether the server still has the connection of a job."""

IS_FREE = """(scheduler_job_id IS NULL OR NOT EXISTS
              (SELECT 1 FROM job WHERE job.id = dag.scheduler_job_id AND job.state = 'running'))"""
"""Whether nobody who is alive looks after a DAG."""


MOST_BUSY = 300.0
"""Wall seconds for which a scheduler may be busy with one thing; after that it counts as one that hangs."""


class Pulse:
    """`with Pulse(claims, clock):` a thread shows that the scheduler is alive while it is busy with something long.

    A DAG file may take half a minute to load. The thread has a connection of its own, which it opens when the scheduler
    has first not shown itself in time.
    """

    def __init__(self, claims: SharedClaims, clock: Clock) -> None:
        self.claims, self.clock = claims, clock
        self._url = claims.store.url.render_as_string(hide_password=False)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def __enter__(self) -> Pulse:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        seconds = conf.get("scheduler", "scheduler_heartbeat_sec")
        store: Store | None = None
        while not self._ended.wait(seconds):
            now, renewed = self.clock.now(), self.claims.renewed
            if renewed is None or not timedelta(seconds=2 * seconds) < now - renewed < timedelta(seconds=MOST_BUSY):
                continue
            try:
                store = store or Store(self._url, tables=False)
                self.claims.beat(store, now)
            except MetadataError as error:
                log.warning("no heartbeat: %s", error)
                if store is not None:
                    store.close()
                store = None
        if store is not None:
            store.close()
