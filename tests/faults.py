"""A cluster under fire: a backfill of the weather pipeline while processes are killed and paused, and what came of it.

    python -m tests.faults --kills 300 --seed 1

Two schedulers, three workers with two slots each, Redis and PostgreSQL, all real processes, load the weather into two
databases. Meanwhile a random but repeatable sequence of faults goes on: kill -9 of a worker with all its processes, of
its parent process or of one slot alone, of a scheduler, of the broker; and pauses (SIGSTOP) of workers and schedulers
that are longer than their heartbeats allow. When a backfill is through, it begins anew, until there were enough faults.

At the end every run must have succeeded, both warehouses must equal that of an undisturbed run, and nothing may have
counted twice. For that a trigger in PostgreSQL writes down every change of a task instance, whoever makes it.
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import itertools
import os
import random
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from etlkit import Connection, Lab
from etlkit.clock import SystemClock
from etlkit.cluster import Cluster
from etlkit.example_dags.weather_many_nodes import through_one_warehouse
from etlkit.store import LOST

DAGS = ("weather_one", "weather_two")
"""Two DAGs, so that two schedulers have something to do; each has a database, and a Connection, of its own name."""

DAG_FILE = f"""
from etlkit.example_dags.weather_many_nodes import through_one_warehouse

dags = [through_one_warehouse(name, name, pool="default_pool") for name in {DAGS}]
one, two = dags
"""

FIRST = date(2013, 1, 1)

SETTINGS = {
    ("scheduler", "max_lost_attempts"): "1000",  # an attempt may be unlucky more often here than in a year elsewhere
    ("celery_broker_transport_options", "visibility_timeout"): "20",
}

BREATH = 0.2, 1.8
"""Wall seconds between two faults."""

REPAIR = 0.0, 2.0
"""Wall seconds until what was killed is started again."""

PAUSE = 4.5, 7.0
"""Wall seconds that a pause lasts: heartbeats may be late by 4 seconds (workers) or 3 (schedulers)."""

AFTERWARDS = timedelta(minutes=5)
"""How long all may take to come to its end after the last fault; it should be seconds."""

AUDIT = """
CREATE TABLE audit (
    id BIGSERIAL PRIMARY KEY, at TIMESTAMPTZ DEFAULT clock_timestamp(),
    task_instance_id INTEGER, try_number INTEGER, old TEXT, new TEXT
);
CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO audit (task_instance_id, try_number, old, new) VALUES (NEW.id, NEW.try_number, OLD.state, NEW.state);
    RETURN NEW;
END $$;
CREATE TRIGGER audit AFTER UPDATE ON task_instance FOR EACH ROW
    WHEN (OLD.state IS DISTINCT FROM NEW.state OR OLD.try_number <> NEW.try_number) EXECUTE FUNCTION audit();
"""

CHECKS: Mapping[str, str] = {
    "runs that have not succeeded": """
        SELECT dag_id, run_id, state FROM dag_run WHERE state <> 'success'
    """,
    "tasks that have not succeeded": """
        SELECT id, task_id, state FROM task_instance WHERE state IS DISTINCT FROM 'success'
    """,
    "tries that began more than once": """
        SELECT task_instance_id, try_number, COUNT(*) FROM audit WHERE new = 'running' GROUP BY 1, 2 HAVING COUNT(*) > 1
    """,
    "tries that ended more than once, or never": """
        SELECT task_instance_id, try_number, COUNT(*) FILTER (WHERE old = 'running') FROM audit
        WHERE 'running' IN (old, new) GROUP BY 1, 2 HAVING COUNT(*) FILTER (WHERE old = 'running') <> 1
    """,
    "tasks that succeeded more or less often than they were asked to": """
        SELECT task_instance_id, COUNT(*) FILTER (WHERE new = 'success'), COUNT(*) FILTER (WHERE new IS NULL)
        FROM audit GROUP BY 1
        HAVING COUNT(*) FILTER (WHERE new = 'success') <> 1 + COUNT(*) FILTER (WHERE new IS NULL)
    """,
    "tries of a task that ran at the same time": """
        SELECT a.task_instance_id, a.try_number FROM audit a
        JOIN LATERAL (SELECT new FROM audit b WHERE b.task_instance_id = a.task_instance_id AND b.id < a.id
                      ORDER BY b.id DESC LIMIT 1) before ON before.new = 'running'
        WHERE a.new = 'running'
    """,
    "tries that have no row, or more than one": """
        SELECT task_instance_id, try_number, COUNT(*) FROM (
            SELECT DISTINCT task_instance_id, try_number, 0 AS one FROM audit WHERE new = 'running'
            UNION ALL SELECT task_instance_id, try_number, 1 FROM task_instance_history
            UNION ALL SELECT id, try_number, 1 FROM task_instance
        ) AS rows GROUP BY 1, 2 HAVING SUM(one) <> 1
    """,
}
"""What must find nothing in the metadata database."""


class Report(NamedTuple):
    """What a campaign did and found."""

    faults: Counter[str]
    ended: Counter[str]
    backfills: int
    attempts: int
    lost: int
    failed: Counter[str]
    refused: Counter[str]
    seconds: float
    findings: dict[str, list]

    def __str__(self) -> str:
        lines = [f"{self.faults.total()} faults in {self.seconds:.0f} s:"]
        lines += [f"  {count:4}  {kind}" for kind, count in sorted(self.faults.items())]
        lines += [f"  {count:4}  {what}, and was started again" for what, count in sorted(self.ended.items())]
        lines += [f"{self.backfills} backfills, {self.attempts} attempts, {self.lost} of them lost and made again"]
        lines += [f"  {count:4}  failed: {error}" for error, count in self.failed.most_common()]
        lines += [f"  {count:4}  refused: it {why}" for why, count in self.refused.most_common()]
        lines += [f"FOUND {what}: {rows[:5]} ({len(rows)})" for what, rows in self.findings.items()]
        return "\n".join([*lines, "nothing was lost or counted twice" if not self.findings else "THIS IS WRONG"])


class Campaign:
    """Faults on a cluster, one after the other; `rng` decides which, where and when."""

    def __init__(self, cluster: Cluster, rng: random.Random, days: int) -> None:
        self.cluster, self.rng, self.days = cluster, rng, days
        self.clock = SystemClock()
        self.faults: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.backfills = 0
        self._agenda: list[tuple[datetime, int, Callable[[], object]]] = []
        self._number = itertools.count()

    def run(self, kills: int) -> None:
        """As many faults as asked for; afterwards everything is repaired, and comes to its end if it can."""
        while self.faults.total() < kills:
            if not self._is_busy():
                self._backfill()
            self._tend()
            self._strike()
            self.clock.sleep(self.rng.uniform(*BREATH))
        last = self.clock.now() + AFTERWARDS
        while (self._agenda or self._is_busy()) and self.clock.now() < last:
            self._tend()
            self.clock.sleep(0.1)

    def _is_busy(self) -> bool:
        return bool(self.cluster.store.runs(states=["queued", "running"]))

    def _backfill(self) -> None:
        """Load all days into both databases; they are loaded again if they were."""
        self.backfills += 1
        for dag_id in DAGS:
            last = FIRST + timedelta(days=self.days - 1)
            self.cluster.backfill(dag_id, FIRST, last, reprocess="completed", max_active_runs=16)

    def _strike(self) -> None:
        kind = self.rng.choices(list(KINDS), [weight for weight, _, _ in KINDS.values()])[0]
        _, component, fault = KINDS[kind]
        targets = [c.name for c in self.cluster.components() if (c.component, c.state) == (component, "running")]
        if targets and fault(self, self.rng.choice(self._at_work(targets) or targets)):
            self.faults[kind] += 1

    def _at_work(self, names: list[str]) -> list[str]:
        """Those of them that make an attempt at this moment: there a fault does most."""
        rows = self.cluster.store.run_sql("SELECT pid FROM task_instance WHERE state = 'running'").fetchall()
        self._busy = {pid for (pid,) in rows}
        return [name for name in names if self._busy.intersection(self.cluster.pids(name))]

    # --- faults, and what is done about them later ---

    def kill(self, name: str) -> bool:
        self.cluster.kill(name)
        self._later(REPAIR, lambda: self._start(name))
        return True

    def kill_parent(self, name: str) -> bool:
        """Its slots go on without it, and notice."""
        pids = self.cluster.pids(name)
        if pids:
            os.kill(pids[0], signal.SIGKILL)
            self._later(REPAIR, lambda: self._start(name))
        return bool(pids)

    def kill_slot(self, name: str) -> bool:
        """The worker itself starts another one."""
        pid = self._slot(name)
        return pid is not None and _send(pid, signal.SIGKILL)

    def pause_slot(self, name: str) -> bool:
        """The worker goes on, and so does its connection to the broker."""
        pid = self._slot(name)
        if pid is None or not _send(pid, signal.SIGSTOP):
            return False
        self._later(PAUSE, lambda: _send(pid, signal.SIGCONT))
        return True

    def _slot(self, name: str) -> int | None:
        """One of the processes that make attempts, if possible one that does so now."""
        pids = self.cluster.pids(name)[1:]
        return self.rng.choice([pid for pid in pids if pid in self._busy] or pids) if pids else None

    def kill_database(self, name: str) -> bool:
        """Metadata and warehouse together; this process needs it too, so it is back before the next fault."""
        self.cluster.kill(name)
        self.clock.sleep(self.rng.uniform(*REPAIR))
        self.cluster.restart(name)
        return True

    def pause(self, name: str) -> bool:
        self.cluster.pause(name)
        self._later(PAUSE, lambda: self.cluster.resume(name))
        return True

    def _later(self, between: tuple[float, float], action: Callable[[], object]) -> None:
        moment = self.clock.now() + timedelta(seconds=self.rng.uniform(*between))
        heapq.heappush(self._agenda, (moment, next(self._number), action))

    def _tend(self) -> None:
        """Repair what is due, and start what has ended by itself, as the system's service manager does.

        So ends a scheduler that finds no database when it starts, and Celery's worker if its slots die while it starts.
        """
        while self._agenda and self._agenda[0][0] <= self.clock.now():
            heapq.heappop(self._agenda)[2]()
        for component in self.cluster.components():
            if component.state.startswith("ended"):
                self.ended[f"{component.component} {component.state}"] += 1
                self._start(component.name)

    def _start(self, name: str) -> None:
        if not self.cluster.pids(name):
            self.cluster.restart(name, wait=False)


def _send(pid: int, number: int) -> bool:
    """Send a signal; whether there was anybody to get it."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False


KINDS: Mapping[str, tuple[float, str, Callable[[Campaign, str], bool]]] = {
    "worker killed": (2, "worker", Campaign.kill),
    "worker's parent killed": (1, "worker", Campaign.kill_parent),
    "worker's slot killed": (2, "worker", Campaign.kill_slot),
    "scheduler killed": (2, "scheduler", Campaign.kill),
    "broker killed": (1, "broker", Campaign.kill),
    "database killed": (0.5, "metadata database", Campaign.kill_database),
    "worker paused": (1, "worker", Campaign.pause),
    "worker's slot paused": (1, "worker", Campaign.pause_slot),
    "scheduler paused": (1, "scheduler", Campaign.pause),
}
"""How often each kind of fault comes compared with the others, what it befalls, and how it is done."""


@contextlib.contextmanager
def prepared_cluster() -> Iterator[Cluster]:
    """A cluster with the weather's DAGs, their databases, and the trigger that writes everything down."""
    with Cluster(workers=3, schedulers=2, slots=2, settings=SETTINGS) as cluster:
        for dag_id in DAGS:
            cluster.connections.set(connection_to(cluster, dag_id))
        with cluster.postgres.connect("etlkit") as connection:
            connection.execute(AUDIT)
        cluster.add_dag_file(DAG_FILE, "weather.py")
        yield cluster


def connection_to(cluster: Cluster, name: str) -> Connection:
    """The Connection to a new database of that name."""
    url = cluster.postgres.url(cluster.postgres.create_database(name))
    return Connection.from_uri(url, name)


def contents(cluster: Cluster, database: str) -> dict[str, list]:
    """What the warehouse holds."""
    with cluster.postgres.connect(database) as connection:
        return {
            table: connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()
            for table in ("readings", "daily_weather")
        }


def undisturbed(cluster: Cluster, days: int) -> tuple[dict[str, list], Counter]:
    """The warehouse and the XComs that a run without faults leaves: one task at a time in this process."""
    with Lab(start="2014-01-02") as lab:
        lab.connections.set(connection_to(cluster, "undisturbed"))
        lab.add(through_one_warehouse("undisturbed", "undisturbed", pool="default_pool"))
        lab.backfill("undisturbed", FIRST, FIRST + timedelta(days=days - 1), max_active_runs=16)
        return contents(cluster, "undisturbed"), xcoms_of(lab.xcoms())


def xcoms_of(frame: Any) -> Counter:
    """What tasks left, without the DAG's name."""
    names = ["logical_date", "task_id", "key", "value"]
    rows = frame[names].itertuples(index=False)
    return Counter((str(moment), task, key, str(value)) for moment, task, key, value in rows)


def campaign(kills: int, seed: int, days: int) -> Report:
    """Faults on a cluster that loads `days` days again and again, and what is wrong afterwards."""
    with prepared_cluster() as cluster:
        run = Campaign(cluster, random.Random(seed), days)
        begin = run.clock.now()
        run.run(kills)
        seconds = (run.clock.now() - begin).total_seconds()
        return report(run, seconds, undisturbed(cluster, days))


def report(run: Campaign, seconds: float, expected: tuple[dict[str, list], Counter]) -> Report:
    """What a campaign did and found."""
    tries = run.cluster.task_instances(all_tries=True)
    lost = tries.error.fillna("").str.startswith(LOST)
    errors = tries[(tries.state != "success") & ~lost].error.fillna("").str[:120]
    said = "".join(run.cluster.logs(c.name) for c in run.cluster.components() if c.component == "worker")
    return Report(
        faults=run.faults,
        ended=run.ended,
        backfills=run.backfills,
        attempts=len(tries),
        lost=int(lost.sum()),
        failed=Counter(errors),
        refused=Counter({why: said.count(why) for why in REFUSALS}),
        seconds=seconds,
        findings=findings(run.cluster, run.days, expected),
    )


REFUSALS = ("was taken away", "is not wanted any more")
"""What workers say of an attempt that came back after it had been made again, and of a message that came twice."""


def findings(cluster: Cluster, days: int, expected: tuple[dict[str, list], Counter]) -> dict[str, list]:
    """All that is not as it should be; `expected` is what a run without faults leaves."""
    found = {what: cluster.store.run_sql(sql).fetchall() for what, sql in CHECKS.items()}
    tables, xcoms = expected
    all_xcoms, runs = cluster.xcoms(), cluster.runs()
    for dag_id in DAGS:
        mine = contents(cluster, dag_id)
        for table, rows in tables.items():
            found[f"rows in {table} of {dag_id} that differ"] = [*((Counter(rows) - Counter(mine[table])).elements())]
            found[f"rows too many in {table} of {dag_id}"] = [*((Counter(mine[table]) - Counter(rows)).elements())]
        theirs = xcoms_of(all_xcoms[all_xcoms.dag_id == dag_id])
        found[f"XComs of {dag_id} that differ"] = [*((xcoms - theirs) + (theirs - xcoms)).elements()]
        dates = set(runs[runs.dag_id == dag_id].logical_date)
        found[f"days of {dag_id} without a run"] = [] if len(dates) == days else [len(dates)]
    return {what: rows for what, rows in found.items() if rows}


def main() -> None:
    """A campaign from the command line; the exit code is 1 if anything was found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--days", type=int, default=60)
    given = parser.parse_args()
    report = campaign(given.kills, given.seed, given.days)
    print(f"seed {given.seed}: {report}")
    raise SystemExit(bool(report.findings))


if __name__ == "__main__":
    main()
