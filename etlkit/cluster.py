"""A cluster from one cell: PostgreSQL, Redis, schedulers and Celery workers as processes of this computer.

They are the real things, as on many machines: each is a process of its own, and all they share is the metadata
database, the broker and the DAG folder. One can be killed, paused or added while the others go on.

    with Cluster(workers=3) as cluster:
        cluster.add_dag_file(text)
        run = cluster.trigger("weather")
        cluster.kill("worker-2")
        cluster.wait(run)

Everything lies in one private folder and is reached through sockets in it, with random passwords: no port, no root, no
Docker. It ends with `close()`, at the latest with this process, even if that is killed with -9: see `etlkit.guard`.
Times are shorter than a real installation's, so that one sees within seconds what takes minutes there: `LESSON`.
"""

from __future__ import annotations

import configparser
import contextlib
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from etlkit import tables
from etlkit.clock import SystemClock
from etlkit.config import OPTIONS, Config, check_whole, conf, no_option, parsed
from etlkit.dag_files import load_dag_file
from etlkit.dag_folder import DagFolder
from etlkit.database import Unreachable, explained
from etlkit.errors import ConfigError, EtlkitError, nearest
from etlkit.guard import Guard, require
from etlkit.lab import Text, When, instant
from etlkit.masking import mask_secret, masker, one_line
from etlkit.params import NOTSET
from etlkit.runs import trigger_run
from etlkit.runtime import DagRun
from etlkit.servers import Postgres, Redis, forget_shared_memory, start_postgres, start_redis, wait_until
from etlkit.showing import aligned, as_html
from etlkit.states import QUEUED, RUNNING
from etlkit.store import RunRow, Store
from etlkit.vault import give_key, new_key, private_file

if TYPE_CHECKING:
    import pandas as pd
    from celery import Celery
    from celery.app.control import Inspect
    from redis import Redis as RedisClient

    from etlkit.backfill import BackfillPlan
    from etlkit.connections import Connections
    from etlkit.dag import DAG
    from etlkit.variables import Variables
    from etlkit.why import Why

DATABASE = "etlkit"
"""The name of the metadata database."""

LESSON: Mapping[tuple[str, str], str] = {
    ("core", "executor"): "CeleryExecutor",
    ("core", "dags_are_paused_at_creation"): "False",
    ("dag_processor", "refresh_interval"): "0.5",
    ("scheduler", "scheduler_heartbeat_sec"): "0.5",
    ("scheduler", "scheduler_health_check_threshold"): "3",
    ("scheduler", "task_instance_heartbeat_sec"): "1",
    ("scheduler", "task_instance_heartbeat_timeout"): "4",
    ("scheduler", "task_queued_timeout"): "5",
}
"""The settings of a cluster that differ from the defaults: a dead worker or scheduler is noticed within seconds."""

LISTENING = "_kombu.binding.celery.pidbox"
"""Where Redis keeps which workers listen to Celery's remote control."""

SEPARATOR = "\x06\x16"
"""What Celery puts between the name of a queue and a priority, in the name of a list in Redis."""

ONE_PING = 0.5
"""Wall seconds that a worker which listens may take to answer."""

PATIENCE = 60.0
"""Wall seconds that a process may take until it works."""


class Component(NamedTuple):
    """One process of a cluster: what it is, its name, its id, what it does now and since when."""

    component: str
    name: str
    pid: int
    state: str
    since: datetime


class Cluster:
    """A metadata database, a broker, `schedulers` and `workers`, each with `slots` tasks at a time; ready when made.

    - `dags`: a folder of DAG files, which is used where it is; else a private one, to be filled by `add_dag_file`.
    - `settings`: more settings by section and key, such as `{("core", "parallelism"): "4"}`; they win over `LESSON`.

    `startup` says how many seconds each part took to start. EtlkitError, in one line and with nothing left behind, if
    an argument means nothing or something does not start; and from every method once the cluster is closed.
    """

    def __init__(
        self,
        workers: int = 3,
        schedulers: int = 1,
        *,
        slots: int = 1,
        dags: str | Path | None = None,
        settings: Mapping[tuple[str, str], str] | None = None,
    ) -> None:
        self._clock = SystemClock()
        self.startup: dict[str, float] = {}
        self._since: dict[str, tuple[str, datetime]] = {}
        self._kinds: dict[str, str] = {}
        for argument, value, least in (("workers", workers, 0), ("schedulers", schedulers, 0), ("slots", slots, 1)):
            check_whole(argument, value, least)
        _check_settings(settings or {})
        self._slots = slots
        require("celery")
        if dags is not None and not Path(dags).is_dir():
            raise EtlkitError(f"there is no folder {dags}; make it, or leave dags= out and use add_dag_file")
        self._guard = Guard()
        try:
            self._begin(dags, settings or {})
            names = [self._start_scheduler() for _ in range(schedulers)]
            names += [self._start_worker(slots, ()) for _ in range(workers)]
            with self._timed("processes"):
                self._wait_until_ready(names)
        except BaseException:
            self.close()
            raise

    def _begin(self, dags: str | Path | None, settings: Mapping[tuple[str, str], str]) -> None:
        self.folder = self._guard.folder
        self.home, self._log_folder, self._temporary = (self.folder / name for name in ("home", "logs", "tmp"))
        self.dags_folder = Path(dags).absolute() if dags is not None else self.home / "dags"
        for folder in (self.home, self._log_folder, self._temporary):
            folder.mkdir(mode=0o700)
        if dags is None:
            self.dags_folder.mkdir()
        with self._timed("redis"):
            self.broker: Redis = start_redis(self._guard)
        with self._timed("postgres"):
            self.postgres: Postgres = start_postgres(self._guard)
            self._url = self.postgres.url(self.postgres.create_database(DATABASE))
        self._kinds |= {"postgres": "metadata database", "redis": "broker"}
        with self._timed("tables"):
            key = new_key()
            mask_secret(key)
            self._write_settings({**LESSON, **settings}, key)
            give_key(self.store, key)

    def _write_settings(self, settings: Mapping[tuple[str, str], str], key: str) -> None:
        """Into etlkit.cfg, which the processes share: passwords are neither in an argv nor in an environment."""
        parser = configparser.ConfigParser(interpolation=None)
        places = {
            ("core", "dags_folder"): str(self.dags_folder),
            ("core", "fernet_key"): key,
            ("database", "sql_alchemy_conn"): self._url,
            ("celery", "broker_url"): self.broker.url,
        }
        for (section, name), text in {**settings, **places}.items():
            parser.read_dict({section: {name: text}})
        with private_file(self.home / "etlkit.cfg") as file:
            parser.write(file)
        self._config = Config(self.home, environ={})

    @contextlib.contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        begin = self._clock.now()
        yield
        self.startup[part] = round((self._clock.now() - begin).total_seconds(), 3)

    # --- processes ---

    def components(self) -> list[Component]:
        """Every process that was started: its state is `running`, `paused`, or how it ended."""
        self._check_open()
        states = self._guard.states()
        found = []
        for name, kind in self._kinds.items():
            process = states[name]
            alive = "paused" if process.stopped else "running"
            state = alive if process.running else _ending(process.exit_code)
            if self._since.get(name, ("",))[0] != state:
                self._since[name] = (state, self._clock.now())
            found.append(Component(kind, name, process.pid, *self._since[name]))
        return found

    def table(self) -> pd.DataFrame:
        """The processes as a table that is the same each time: component, name, state."""
        import pandas as pd

        return pd.DataFrame([(c.component, c.name, c.state) for c in self.components()], columns=COLUMNS)

    def pids(self, name: str) -> list[int]:
        """The ids of a process and of all that it started: a worker's first, then those that run its tasks."""
        return self._guard.pids(self._known(name))

    def names(self) -> dict[int, str]:
        """The name of each process, by its id and by those of all that it started and that live."""
        return {pid: name for name in self._kinds for pid in self.pids(name)}

    def kill(self, name: str) -> Cluster:
        """Kill a process and all that it started at once (SIGKILL), as if its machine had lost power."""
        return self._signal(name, signal.SIGKILL)

    def pause(self, name: str) -> Cluster:
        """Stop a process and all that it started (SIGSTOP), as if its machine hung: it does not notice."""
        return self._signal(self._alive(name), signal.SIGSTOP)

    def resume(self, name: str) -> Cluster:
        """Let a paused process go on (SIGCONT) where it was."""
        return self._signal(self._alive(name), signal.SIGCONT)

    def stop(self, name: str) -> Cluster:
        """Ask a scheduler or worker to end (SIGTERM): it finishes the tasks that it has begun; waits for that.

        EtlkitError for a server, which would wait until all others are gone, and for what is paused.
        """
        if self._known(name) in SERVERS:
            raise EtlkitError(f"stop is for schedulers and workers; kill({name!r}) ends it, and restart brings it back")
        if self._guard.states()[name].stopped:
            raise EtlkitError(f"{name} is paused and cannot end by itself; resume({name!r}) first, or kill it")
        self._guard.signal(name, signal.SIGTERM, alone=True)
        if not wait_until(lambda: not self._guard.states()[name].running, PATIENCE):
            raise EtlkitError(f"{name} has not ended after {PATIENCE:.0f} seconds; kill({name!r}) ends it at once")
        return self

    def restart(self, name: str, *, wait: bool = True) -> Cluster:
        """Start a process that has ended again, as it was started before; returns when it is ready, or at once."""
        self._guard.restart(self._known(name))
        if wait:
            self._wait_until_ready([name])
        return self

    def add_worker(self, slots: int | None = None, queues: Sequence[str] = ()) -> str:
        """Start one more worker, with `slots` tasks at a time, for these queues only; returns its name when ready.

        `queues` may be the name of one. EtlkitError, and no worker more, if it does not become ready.
        """
        slots = self._slots if slots is None else check_whole("slots", slots, 1)
        queues = _queue_names(queues)
        with self._broker_asked():
            self.redis.ping()
        return self._ready(self._start_worker(slots, queues))

    def add_scheduler(self) -> str:
        """Start one more scheduler; returns its name when it is ready."""
        return self._ready(self._start_scheduler())

    def logs(self, name: str, last: int | None = None) -> Text:
        """What a process has printed, or the `last` lines of it."""
        file = self.folder / name / "log" if self._known(name) in SERVERS else self._log_folder / name
        lines = masker.mask(file.read_text(encoding="utf-8", errors="replace")).splitlines()
        return Text("\n".join(lines[-last:] if last else lines))

    def _signal(self, name: str, number: int) -> Cluster:
        self._guard.signal(self._known(name), number)
        return self

    def _known(self, name: str) -> str:
        self._check_open()
        if not isinstance(name, str) or name not in self._kinds:
            raise EtlkitError(f"no process is called {name!r}{nearest(str(name), list(self._kinds))}")
        return name

    def _alive(self, name: str) -> str:
        state = self._guard.states()[self._known(name)]
        if not state.running:
            raise EtlkitError(f"{name} is not running: {_ending(state.exit_code)}; restart({name!r}) starts it again")
        return name

    def _check_open(self) -> None:
        if not self._guard.is_open:
            raise EtlkitError("the cluster is closed; make another: Cluster()")

    def _start_scheduler(self) -> str:
        return self._start("scheduler", "scheduler")

    def _start_worker(self, slots: int, queues: Sequence[str]) -> str:
        more = [f"--queues={','.join(queues)}"] if queues else []
        return self._start("worker", "worker", "--concurrency", str(slots), *more, "--celery-hostname", "{name}")

    def _start(self, kind: str, *command: str) -> str:
        """Start `etlkit COMMAND` under the next free name."""
        self._check_open()
        name = f"{kind}-{1 + sum(known == kind for known in self._kinds.values())}"
        argv = [sys.executable, "-P", "-m", "etlkit", *(part.replace("{name}", name) for part in command)]
        self._guard.start(name, argv, env=self._process_environment(), cwd=Path.cwd(), log=self._log_folder / name)
        self._kinds[name] = kind
        return name

    def _process_environment(self) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith("ETLKIT")}
        # Celery's processes leave empty folders behind where temporary files are.
        return {**own, **self.environment(), "PYTHONUNBUFFERED": "1", "TMPDIR": str(self._temporary)}

    # --- readiness ---

    def _ready(self, name: str) -> str:
        """Its name, when it is ready; if it does not become ready, it is gone again."""
        try:
            with self._broker_asked():
                self._wait_until_ready([name])
        except BaseException:
            self._guard.signal(name, signal.SIGKILL)
            del self._kinds[name]
            raise
        return name

    def _wait_until_ready(self, names: Sequence[str]) -> None:
        waiting = list(names)

        def all_ready() -> bool:
            states = self._guard.states()
            for name in waiting:
                if not states[name].running:
                    raise EtlkitError(f"{name} ended while it was starting: {self._last_words(name, 5)}")
            waiting[:] = [name for name in waiting if not ANSWERS[self._kinds[name]](self, name, states[name].pid)]
            return not waiting

        if not wait_until(all_ready, PATIENCE):
            said = "; ".join(f"{name}: {self._last_words(name, 3)}" for name in waiting)
            raise EtlkitError(f"not ready after {PATIENCE:.0f} seconds: {said}")

    def _last_words(self, name: str, lines: int) -> str:
        return " ".join(self.logs(name, last=lines).split())

    def _database_answers(self, name: str, pid: int) -> bool:
        try:
            self.store.reconnect()
        except Unreachable:
            return False
        return True

    def _broker_answers(self, name: str, pid: int) -> bool:
        import redis

        try:
            return bool(self.redis.ping())
        except redis.RedisError:
            return False

    def _scheduler_lives(self, name: str, pid: int) -> bool:
        found = self.store.run_sql("SELECT 1 FROM job WHERE pid = :pid AND state = 'running'", {"pid": pid})
        return found.fetchone() is not None

    def _worker_answers(self, name: str, pid: int) -> bool:
        from celery.utils.nodenames import default_nodename

        node = default_nodename(name)
        listening = self.redis.smembers(LISTENING)
        if not any(f"{node}." in str(member) for member in listening):  # then there is no need to wait for an answer
            return False
        return bool(self._celery.control.ping(destination=[node], limit=1, timeout=ONE_PING))

    # --- DAGs and runs ---

    def add_dag_file(self, source: str | Path, name: str | None = None) -> Path:
        """Put a DAG file into the DAG folder: a copy of the file `source`, or one with this text; returns its path.

        It is called `name`, or as the file is, or as the first DAG in it. A file that is there is replaced.
        EtlkitError if it cannot be read, DagFileError if it does not load; then the folder stays as it is.
        """
        self._check_open()
        text = source if isinstance(source, str) and "\n" in source else None
        content = _content_of(source) if text is None else dedent(text)
        draft = self.home / "draft.py"
        draft.write_text(content, encoding="utf-8")
        with self._settings_in_force():
            first, *_ = load_dag_file(draft)
        name = name or (f"{first.dag_id}.py" if text is not None else Path(source).name)
        unseen = self.dags_folder / f".{name}.new"  # beside its place, so that nobody sees half of it
        unseen.write_text(content, encoding="utf-8")
        return unseen.replace(self.dags_folder / name)

    def dag(self, dag_id: str) -> DAG:
        """A DAG as the DAG folder has it now; DagFileError or DagNotFound if it has not."""
        with self._settings_in_force():
            folder = DagFolder(self.dags_folder)
        if folder.errors and dag_id not in folder.dags:
            raise folder.errors[0]
        return folder.get(dag_id)

    def trigger(
        self,
        dag_id: str,
        *,
        logical_date: When | None = NOTSET,
        conf: Mapping[str, Any] | None = None,
        run_id: str | None = None,
    ) -> DagRun:
        """Queue a manual run for the schedulers, and return it at once: give it to `wait`.

        Unless a logical date is given it is the present; None makes a run that is about no date. A text without a time
        zone is read in the DAG's.
        """
        dag, now = self.dag(dag_id), self._clock.now()
        when: Any = logical_date
        if logical_date is not NOTSET and logical_date is not None:
            when = instant(logical_date, "logical_date", dag.timezone)
        return DagRun(trigger_run(self.store, dag, now=now, logical_date=when, conf=conf, run_id=run_id))

    def backfill(
        self,
        dag_id: str,
        start: When,
        end: When,
        *,
        reprocess: str | None = "none",
        reverse: bool = False,
        max_active_runs: int = 10,
        conf: Mapping[str, Any] | None = None,
    ) -> BackfillPlan:
        """Queue runs for the logical dates from `start` to `end`, both included, as `Lab.backfill` does; returns the
        plan at once: `wait(dag_id)` waits for the runs."""
        from etlkit.backfill import create_backfill, plan_backfill

        dag, now = self.dag(dag_id), self._clock.now()
        dates = instant(start, "start", dag.timezone), instant(end, "end", dag.timezone)
        existing = self.store.runs(dag_id)
        plan = plan_backfill(dag, *dates, reprocess=reprocess, reverse=reverse, existing=existing, now=now)
        create_backfill(self.store, dag, plan, max_active_runs=max_active_runs, conf=conf, now=now)
        return plan

    def wait(self, what: DagRun | str | None = None, timeout: float = 60.0) -> dict[str, int]:
        """Block until a run, all runs of a DAG, or all there are have ended; returns how many ended in which state.

        It is woken by what the schedulers and workers announce in the database. EtlkitError after `timeout` seconds;
        DagNotFound if there is no such DAG.
        """
        self._check_open()
        end = self._clock.now() + timedelta(seconds=timeout)
        self._check_meant(what)
        with self._news() as news:
            while dag_ids := self._open_runs(what):
                left = (end - self._clock.now()).total_seconds()
                if left <= 0:
                    runs = "1 run has" if len(dag_ids) == 1 else f"{len(dag_ids)} runs have"
                    advice = f"ask why({dag_ids[0]!r}) and look at table()"
                    raise EtlkitError(f"after {timeout:g} seconds {runs} not ended; {advice}")
                news(min(left, LOOK_AGAIN))
        return dict(Counter(run.state for run in self._runs_meant(what)))

    def _check_meant(self, what: object) -> None:
        if not isinstance(what, DagRun | str | None):
            raise EtlkitError(f"wait takes a run, the id of a DAG or nothing, not {what!r}")
        if isinstance(what, str) and not self.store.runs(what):
            self.dag(what)  # DagNotFound

    def _runs_meant(self, what: DagRun | str | None) -> list[RunRow]:
        if not isinstance(what, DagRun):
            return self.store.runs(what)
        meant: Any = what
        run = self.store.run(meant.dag_id, meant.run_id)
        return [run] if run is not None else []

    def _open_runs(self, what: DagRun | str | None) -> list[str]:
        """The DAG of each run that has not ended; a backfill that still makes runs counts as one."""
        backfills = [] if isinstance(what, DagRun) else self.store.open_backfills(what)
        runs = [run.dag_id for run in self._runs_meant(what) if run.state in (QUEUED, RUNNING)]
        return runs or [backfill.dag_id for backfill in backfills]

    @contextlib.contextmanager
    def _news(self) -> Iterator[Callable[[float], None]]:
        """A function that returns when something was announced in the database, or after so many wall seconds."""
        import psycopg

        def wait(seconds: float) -> None:
            for _ in connection.notifies(timeout=seconds, stop_after=1):
                pass

        try:
            with self.postgres.connect(DATABASE, autocommit=True) as connection:
                for channel in CHANNELS:
                    connection.execute(f"LISTEN {channel}")
                yield wait
        except psycopg.OperationalError as error:
            raise explained(error, self.store.name) from None

    # --- what they share ---

    @cached_property
    def store(self) -> Store:
        """The metadata database, over a connection of this process's own."""
        self._check_open()
        return Store(self._url)

    @cached_property
    def redis(self) -> RedisClient:
        """A client of the broker."""
        self._check_open()
        return self.broker.client(decode_responses=True)

    @cached_property
    def _celery(self) -> Celery:
        from celery import Celery

        self._check_open()
        return Celery("etlkit", broker=self.broker.url, set_as_current=False)

    def inspect(self, timeout: float = 1.0) -> Inspect:
        """Celery's questions to all workers, each of which takes `timeout` seconds: `cluster.inspect().active()`.

        EtlkitError if the broker does not answer.
        """
        with self._broker_asked():
            self.redis.ping()
        return self._celery.control.inspect(timeout=timeout)

    @property
    def variables(self) -> Variables:
        """The cluster's Variables."""
        from etlkit.variables import Variables

        return Variables(self.store)

    @property
    def connections(self) -> Connections:
        """The cluster's Connections."""
        from etlkit.connections import Connections

        return Connections(self.store)

    def sql(self, query: str) -> pd.DataFrame:
        """What the metadata database answers to a SELECT; `etlkit.models` describes its tables."""
        return tables.query(self.store, query)

    def runs(self) -> pd.DataFrame:
        """The runs, oldest first."""
        return tables.runs(self.store)

    def task_instances(self, all_tries: bool = False) -> pd.DataFrame:
        """The task instances, each with its latest try; with `all_tries`, a row for each attempt that was made."""
        return tables.tries(self.store) if all_tries else tables.task_instances(self.store)

    def xcoms(self) -> pd.DataFrame:
        """The values that tasks left for each other."""
        return tables.xcoms(self.store)

    def running(self, least: int = 0, timeout: float = 60.0) -> pd.DataFrame:
        """The attempts that workers make now: DAG, run, task, try, and the `worker`'s name.

        Blocks until there are at least so many; EtlkitError after `timeout` seconds.
        """
        found = self.sql(MADE_NOW)

        def are_enough() -> bool:
            nonlocal found
            found = self.sql(MADE_NOW)
            return len(found) >= least

        if not wait_until(are_enough, timeout):
            raise EtlkitError(f"after {timeout:g} seconds fewer than {least} tasks are running; look at table()")
        found["worker"] = found.pop("pid").map(self.names())
        return found

    def why(self, dag_id: str, task_id: str | None = None, run: DagRun | None = None) -> Why:
        """What keeps a DAG's next run, a run, or a task of a run from going on; print it."""
        from etlkit.why import why

        meant: Any = run
        run_id = None if run is None else meant.run_id
        return why(self.store, self.dag(dag_id), task_id=task_id, run_id=run_id, now=self._clock.now())

    def queue_depth(self, queue: str = "default") -> int:
        """How many messages wait in the broker for a worker of that queue."""
        with self._broker_asked():
            by_priority = self.redis.scan_iter(f"{queue}{SEPARATOR}*", _type="list")
            return sum(self.redis.llen(key) for key in (queue, *by_priority))

    def unacknowledged(self) -> int:
        """How many messages workers have and have not acknowledged: of the tasks that run now."""
        with self._broker_asked():
            return self.redis.hlen("unacked")

    @contextlib.contextmanager
    def _broker_asked(self) -> Iterator[None]:
        """A broker that is away is said in one line."""
        import redis

        try:
            yield
        except redis.RedisError as error:
            raise EtlkitError(f"the broker does not answer; look at table() ({one_line(error)})") from None

    def environment(self) -> dict[str, str]:
        """What to export in a shell, so that `etlkit ...` there works on this cluster; it holds no secret."""
        self._check_open()
        return {"ETLKIT_HOME": str(self.home)}

    @contextlib.contextmanager
    def _settings_in_force(self) -> Iterator[None]:
        self._check_open()
        before = conf.current
        conf.use(self._config)
        try:
            yield
        finally:
            conf.use(before)

    # --- the end ---

    def close(self) -> None:
        """End all processes at once and remove all that they left; closing twice is harmless."""
        with contextlib.ExitStack() as at_last:
            at_last.callback(self._guard.close)
            if "postgres" in self.__dict__:
                at_last.callback(self._forget_postgres)
            for part in ("store", "redis", "_celery"):
                if part in self.__dict__:
                    at_last.callback(self.__dict__.pop(part).close)

    def _forget_postgres(self) -> None:
        with contextlib.suppress(EtlkitError):  # the guard was killed, and the processes with it
            if not self._guard.pids("postgres"):
                forget_shared_memory(self.postgres.host)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{self._caption()}\n{aligned(self._summary())}"

    def _repr_html_(self) -> str:
        return as_html(self._caption(), self._summary())

    def _caption(self) -> str:
        return "a cluster, closed" if not self._guard.is_open else f"a cluster in {self.folder} (times in UTC)"

    def _summary(self) -> list[tuple[str, ...]]:
        head = tuple(field.replace("_", " ") for field in Component._fields)
        if not self._guard.is_open:
            return [head]
        return [head, *((*map(str, c[:4]), f"{c.since:%H:%M:%S}") for c in self.components())]


Answers = Callable[[Cluster, str, int], bool]

ANSWERS: Mapping[str, Answers] = {
    "metadata database": Cluster._database_answers,
    "broker": Cluster._broker_answers,
    "scheduler": Cluster._scheduler_lives,
    "worker": Cluster._worker_answers,
}
"""How each kind of process shows that it works."""

MADE_NOW = """
    SELECT dag_id, run_id, task_id, try_number, pid FROM task_instance JOIN dag_run ON dag_run.id = dag_run_id
    WHERE task_instance.state = 'running' ORDER BY task_instance.id
"""

SERVERS = ("postgres", "redis")
COLUMNS = ["component", "name", "state"]

CHANNELS = ("etlkit", "etlkit_ended")
"""On which PostgreSQL passes on what other processes have changed."""

LOOK_AGAIN = 0.25
"""Wall seconds after which `wait` looks without news: a scheduler does not announce that a run has ended."""


def _ending(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        return "killed" if exit_code == -signal.SIGKILL else f"ended by {signal.Signals(-exit_code).name}"
    return "ended" if exit_code == 0 else f"ended with exit code {exit_code}"


# --- what is asked for ---

OWN = {("core", "dags_folder"), ("core", "fernet_key"), ("database", "sql_alchemy_conn"), ("celery", "broker_url")}
"""Settings that a cluster makes itself."""


def _check_settings(settings: Mapping[tuple[str, str], str]) -> None:
    """ConfigError unless these are texts, by section and key, that mean something."""
    example = '{("core", "parallelism"): "4"}'
    if not isinstance(settings, Mapping):
        raise ConfigError(f"settings must be texts by section and key, such as {example}, not {settings!r}")
    for option, text in settings.items():
        if not (isinstance(option, tuple) and len(option) == 2 and all(isinstance(part, str) for part in option)):
            raise ConfigError(f"settings: {option!r} is no section and key; write them such as {example}")
        if option not in OPTIONS:
            raise ConfigError(f"settings: {no_option(*option)}")
        if option in OWN:
            raise ConfigError(f"settings: [{option[0]}] {option[1]} is what the cluster itself sets; leave it out")
        if not isinstance(text, str):
            raise ConfigError(f"settings: [{option[0]}] {option[1]} must be a text, such as in {example}, not {text!r}")
        parsed(*option, text, "settings")


def _queue_names(queues: Sequence[str]) -> list[str]:
    """The names of queues, of which one may be given as it is."""
    names = [queues] if isinstance(queues, str) else list(queues)
    for name in names:
        if not isinstance(name, str) or not name.strip() or "," in name:
            raise EtlkitError(f'{name!r} is no name of a queue; give several as a list: queues=["big", "small"]')
    return names


def _content_of(file: str | Path) -> str:
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise EtlkitError(f"the DAG file {file} cannot be read: {one_line(error)}") from None
