"""CeleryExecutor and `etlkit worker`, with a real PostgreSQL, a real Redis and workers that are really killed.

Tests and tasks wait for each other through named pipes: opening one waits until the other side opens it too.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote
from urllib.request import urlopen

import psutil
import pytest

pytest.importorskip("celery", reason="Celery is not installed; run: pip install 'etlkit[cluster]'")

from etlkit.clock import SystemClock
from etlkit.config import settings
from etlkit.dag import DAG
from etlkit.dag_folder import DagFolder
from etlkit.database import Unreachable
from etlkit.errors import ConfigError, DagError
from etlkit.executors import from_settings
from etlkit.executors.celery import CeleryExecutor
from etlkit.executors.celery_app import make_app
from etlkit.guard import Guard
from etlkit.logs import LogStore
from etlkit.operators.empty import EmptyOperator
from etlkit.runs import clear_run, trigger_run
from etlkit.runtime import TaskRunner
from etlkit.scheduler import Scheduler
from etlkit.servers import forget_shared_memory, start_postgres, start_redis, wait_until
from etlkit.store import LOST, Store
from etlkit.time_limit import time_limit
from tests import servers
from tests.dag_files import Site

ETLKIT = Path(sys.executable).with_name("etlkit")

DAGS = """
    import os
    from pathlib import Path
    from etlkit import DAG, task

    HERE = Path(__file__).parent.parent

    def meet(ti):
        "Say who makes the attempt, and wait until the test lets go."
        (HERE / "arrived").open("w").write(f"{os.getpid()} {os.getppid()}")
        (HERE / "go on").open().read()
        (HERE / "attempts").open("a").write(f"{ti.try_number}\\n")

    @task
    def one():
        return 1

    @task
    def add_one(x):
        print("adding")
        return x + 1

    @task(queue="heavy")
    def lift():
        return os.getppid()

    with DAG("sums"):
        add_one(one())
    with DAG("meeting"):
        task(meet)()
    with DAG("gym"):
        lift()
"""

CHAIN = """
    from datetime import UTC, datetime
    from etlkit import DAG
    from etlkit.operators import EmptyOperator, TriggerDagRunOperator

    with DAG("first", schedule="@daily", start_date=datetime(2013, 1, 1, tzinfo=UTC)):
        TriggerDagRunOperator(task_id="start", trigger_dag_id="second", wait_for_completion=True, poke_interval=0.1)
    with DAG("second"):
        EmptyOperator(task_id="work")
"""


@pytest.fixture(autouse=True)
def no_test_hangs():
    with time_limit(60, lambda: TimeoutError("a test waits for something that does not happen")):
        yield


@pytest.fixture(scope="module")
def postgres():
    return servers.postgres()


@pytest.fixture
def guard():
    with Guard() as guard:
        yield guard


class CelerySite(Site):
    """The same and a broker; schedulers and workers that use them."""

    def __init__(self, home, database, broker, guard):
        super().__init__(home, database, DAGS)
        self.guard, self.database = guard, database
        for name in ("arrived", "go on"):
            os.mkfifo(home / name)
        self.values = {
            "ETLKIT_HOME": str(home),
            "ETLKIT__CORE__DAGS_FOLDER": str(home / "dags"),
            "ETLKIT__CORE__EXECUTOR": "CeleryExecutor",
            "ETLKIT__DATABASE__SQL_ALCHEMY_CONN": database,
            "ETLKIT__CELERY__BROKER_URL": broker,
            "ETLKIT__SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "0.2",
            "ETLKIT__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
            "ETLKIT__SCHEDULER__TASK_QUEUED_TIMEOUT": "30",
        }

    def worker(self, name="worker", *words, **values):
        env = {**os.environ, **self.values, **values}
        command = [str(ETLKIT), "worker", "--concurrency", "1", *words]
        return self.guard.start(name, command, env=env, log=self.home / f"{name}.log")

    def said(self, name="worker"):
        return (self.home / f"{name}.log").read_text()

    @contextmanager
    def scheduler(self, **values):
        with (
            settings({**self.values, **values}),
            closing(Store(self.values["ETLKIT__DATABASE__SQL_ALCHEMY_CONN"])) as store,
        ):
            logs = LogStore(self.home / "logs")
            scheduler = Scheduler(store, SystemClock(), from_settings(), runner=TaskRunner(store, SystemClock(), logs))
            for dag in DagFolder(self.home / "dags").dags.values():
                scheduler.add_dag(dag)
            try:
                yield scheduler
            finally:
                scheduler.executor.stop()

    def trigger(self, scheduler, dag_id):
        return trigger_run(scheduler.store, scheduler.entry(dag_id).dag, now=scheduler.clock.now())

    def arrival(self):
        """The process ids of the attempt that waits now, and of its worker."""
        return tuple(map(int, (self.home / "arrived").read_text().split()))

    def let_go(self):
        (self.home / "go on").write_text("")

    def attempts(self):
        file = self.home / "attempts"
        return file.read_text().split() if file.exists() else []


@pytest.fixture
def site(tmp_path, postgres, guard):
    database = postgres.url(postgres.create_database("celery"))
    redis = servers.redis()
    redis.client().flushall()
    site = CelerySite(tmp_path, database, redis.url, guard)
    yield site
    site.store.close()


def go_on_until(scheduler, happened):
    while not happened():
        scheduler.tick() or scheduler.executor.wait(1)


def state(scheduler, run):
    return scheduler.store.run(run.dag_id, run.run_id).state


def test_a_run_from_queued_to_success_in_another_process(site):
    site.worker()
    with site.scheduler() as scheduler:
        run = site.trigger(scheduler, "sums")
        scheduler.settle()
        assert state(scheduler, run) == "success"
        assert scheduler.store.pull_xcom(run.id, "add_one", "return_value") == [(-1, "2")]
        pids = {scheduler.store.run_sql("SELECT pid FROM task_instance").fetchone()[0]}
        assert pids <= set(site.guard.pids("worker")[1:])
        log = LogStore(site.home / "logs").folder.rglob("*.log")
        assert ["adding" in path.read_text() for path in log if "add_one" in str(path)] == [True]
    site.guard.signal("worker", signal.SIGTERM, alone=True)
    site.guard._ask("wait", name="worker")
    said = site.said()
    assert f"sums.add_one of {run.run_id}, try 1: success" in said
    assert servers.redis().password not in said and servers.PASSWORD not in said and "Traceback" not in said


def test_what_a_killed_worker_was_at_is_made_again_and_costs_one_try(site):
    site.worker()
    with site.scheduler(ETLKIT__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT="1") as scheduler:
        run = site.trigger(scheduler, "meeting")
        scheduler.tick()
        site.arrival()
        site.guard.signal("worker", signal.SIGKILL)
        site.worker("another")
        go_on_until(scheduler, lambda: scheduler.store.history(run.id))
        scheduler.executor._heartbeat_timeout = 30  # the next one may be slow
        scheduler.tick()
        site.arrival()
        site.let_go()
        scheduler.settle()
        assert state(scheduler, run) == "success"
        assert [(row[2], row[3], row[6]) for row in scheduler.store.history(run.id)] == [(1, "failed", LOST)]
    assert site.attempts() == ["2"]


def test_a_slot_that_is_killed_alone_is_noticed_without_waiting_for_its_heartbeat(site):
    site.worker()
    with site.scheduler() as scheduler:
        run = site.trigger(scheduler, "meeting")
        scheduler.tick()
        first, worker = site.arrival()
        os.kill(first, signal.SIGKILL)
        go_on_until(scheduler, lambda: scheduler.store.history(run.id))
        scheduler.tick()
        second, same_worker = site.arrival()
        site.let_go()
        scheduler.settle()
        assert state(scheduler, run) == "success"
        assert first != second and worker == same_worker
    assert site.attempts() == ["2"]


def test_an_attempt_whose_process_somebody_does_not_find_is_saved_by_its_next_heartbeat(site):
    site.worker(ETLKIT__SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC="1")
    with site.scheduler(ETLKIT__SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC="10") as scheduler:
        run = site.trigger(scheduler, "meeting")
        scheduler.tick()
        _, worker = site.arrival()
        # As a container sees it which has the same host name and process ids of its own.
        site.store.run_sql("UPDATE task_instance SET pid = 99999999")
        os.kill(worker, signal.SIGSTOP)  # so that the other one gets the message that comes again
        (watched,) = scheduler.executor._watched.values()
        scheduler.executor._send(watched.work)
        site.worker("another")
        go_on_until(scheduler, lambda: "there is no process 99999999 here, which made it" in site.said("another"))
        last = watched.beat
        go_on_until(scheduler, lambda: watched.beat != last)
        os.kill(worker, signal.SIGCONT)
        site.let_go()
        scheduler.settle()
        assert (state(scheduler, run), scheduler.store.history(run.id)) == ("success", [])
    assert site.attempts() == ["1"]


def test_a_message_that_comes_twice_makes_one_attempt(site):
    site.worker()
    with site.scheduler() as scheduler:
        run = site.trigger(scheduler, "meeting")
        scheduler.tick()
        (watched,) = scheduler.executor._watched.values()
        scheduler.executor._send(watched.work)
        scheduler.executor._send(watched.work)
        site.worker("another")
        site.arrival()
        site.let_go()
        scheduler.settle()
        assert state(scheduler, run) == "success"
    dropped = "is not wanted any more, or somebody else makes it"
    assert wait_until(lambda: (site.said() + site.said("another")).count(dropped) == 2, 20)
    assert site.attempts() == ["1"]


def test_an_attempt_that_was_cleared_is_interrupted_and_does_not_count(site):
    site.worker()
    site.worker("another")
    with site.scheduler() as scheduler:
        run = site.trigger(scheduler, "meeting")
        scheduler.tick()
        site.arrival()
        clear_run(scheduler.store, scheduler.entry("meeting").dag, run, now=scheduler.clock.now())
        scheduler.tick()
        site.arrival()  # at the other worker, or at the same if that was interrupted before
        said = "meet was interrupted: it was cleared, ended or taken over meanwhile"
        assert wait_until(lambda: any(said in log.read_text() for log in site.home.rglob("attempt=1.log")), 20)
        site.let_go()
        scheduler.settle()
        assert state(scheduler, run) == "success"
    assert site.attempts() == ["2"]


def test_a_worker_that_was_stopped_for_too_long_has_lost_its_attempt(site):
    site.worker()
    with site.scheduler(ETLKIT__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT="1") as scheduler:
        run = site.trigger(scheduler, "meeting")
        scheduler.tick()
        first = site.arrival()
        site.guard.signal("worker", signal.SIGSTOP)
        site.worker("another")
        go_on_until(scheduler, lambda: scheduler.store.history(run.id))
        scheduler.executor._heartbeat_timeout = 30  # the next one may be slow
        scheduler.tick()
        assert site.arrival() != first
        site.guard.signal("worker", signal.SIGCONT)
        assert wait_until(lambda: any("interrupted" in log.read_text() for log in site.home.rglob("attempt=1.log")), 20)
        site.let_go()
        scheduler.settle()
        assert state(scheduler, run) == "success"
    assert site.attempts() == ["2"]


def test_a_killed_worker_process_leaves_its_slots_to_finish_what_they_are_at(site):
    site.worker()
    with site.scheduler() as scheduler:
        run = site.trigger(scheduler, "meeting")
        scheduler.tick()
        slot, worker = site.arrival()
        os.kill(worker, signal.SIGKILL)
        site.let_go()
        scheduler.settle()
        assert (state(scheduler, run), scheduler.store.history(run.id)) == ("success", [])
    assert wait_until(lambda: not psutil.pid_exists(slot) or psutil.Process(slot).status() == "zombie", 20)


def test_an_attempt_and_its_worker_outlive_the_broker(site, guard):
    redis = start_redis(guard, name="broker")
    site.values["ETLKIT__CELERY__BROKER_URL"] = redis.url
    site.worker()
    with site.scheduler() as scheduler:
        run = site.trigger(scheduler, "meeting")
        scheduler.tick()
        site.arrival()
        guard.signal("broker", signal.SIGKILL)
        site.let_go()
        scheduler.settle()
        guard.restart("broker")
        sums = site.trigger(scheduler, "sums")
        scheduler.settle()
        assert (state(scheduler, run), state(scheduler, sums)) == ("success", "success")


def test_tasks_wait_for_a_broker_that_is_away(site, guard):
    redis = start_redis(guard, name="broker")
    site.values["ETLKIT__CELERY__BROKER_URL"] = redis.url
    site.worker()
    with site.scheduler() as scheduler:
        site.trigger(scheduler, "sums")
        scheduler.settle()
        guard.signal("broker", signal.SIGKILL)
        run = site.trigger(scheduler, "sums")
        scheduler.tick()
        assert scheduler.executor.in_flight == 1
        guard.restart("broker")
        scheduler.settle()
        assert state(scheduler, run) == "success"


def test_flower_shows_workers_and_tasks_and_no_password(site):
    pytest.importorskip("flower", reason="Flower is not installed; run: pip install flower")
    site.values["ETLKIT__CELERY__RESULT_BACKEND"] = f"{servers.redis().url}?virtual_host=1"
    site.worker()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    env = {**os.environ, **site.values, "FLOWER_UNAUTHENTICATED_API": "true"}
    command = [sys.executable, "-m", "celery", "-A", "etlkit.executors.celery_app", "flower", "--address=127.0.0.1"]
    site.guard.start("flower", [*command, f"--port={port}"], env=env, log=site.home / "flower.log")

    def told_of(path):
        with suppress(OSError), urlopen(f"http://127.0.0.1:{port}/api/{path}", timeout=10) as answer:
            return answer.read().decode()
        return "{}"

    with site.scheduler() as scheduler:

        def tasks():  # those that are made after Flower has asked the worker to tell of them
            site.trigger(scheduler, "sums")
            scheduler.settle()
            return [task for task in json.loads(told_of("tasks")).values() if task["state"] == "SUCCESS"]

        assert wait_until(lambda: json.loads(told_of("workers?refresh=1")), 30)
        assert wait_until(tasks, 30)
        first = tasks()[0]
    assert (first["name"], first["result"]) == ("etlkit.attempt", "'success'")
    said = told_of("workers?refresh=1") + told_of("tasks") + (site.home / "flower.log").read_text()
    assert "registered" in said
    for secret in (servers.redis().password, servers.PASSWORD):
        assert secret not in said and quote(secret, safe="") not in said


def test_no_password_is_among_the_settings_that_celery_shows(site):
    for option in ("BROKER_URL", "RESULT_BACKEND"):
        site.values[f"ETLKIT__CELERY__{option}"] = f"{servers.redis().url}?virtual_host=1"
    site.worker()
    with site.scheduler() as scheduler:
        run = site.trigger(scheduler, "sums")
        scheduler.settle()
        assert state(scheduler, run) == "success"
        app = make_app()
        told = json.dumps(app.control.inspect(timeout=10, limit=1).conf(with_defaults=True)) + app.bugreport()
    assert len(servers.redis().client(db=1).keys("celery-task-meta-*")) == 2
    assert "redis+socket" in told and "ResultsPassword" in told
    for secret in (servers.redis().password, quote(servers.redis().password, safe="")):
        assert secret not in told


def test_queues(site):
    heavy = site.worker("heavy", "--queues", "heavy,heavier")
    with site.scheduler() as scheduler:
        sums, gym = site.trigger(scheduler, "sums"), site.trigger(scheduler, "gym")
        go_on_until(scheduler, lambda: state(scheduler, gym) == "success")
        assert state(scheduler, sums) == "running"
        assert scheduler.store.pull_xcom(gym.id, "lift", "return_value") == [(-1, str(heavy))]
        site.worker()
        scheduler.settle()
        assert state(scheduler, sums) == "success"


def test_the_next_scheduler_looks_after_what_the_last_one_left(site):
    with site.scheduler() as scheduler:
        queued = site.trigger(scheduler, "sums")
        scheduler.tick()
        servers.redis().client().flushall()  # as if the broker had never got the message
    site.worker()
    with site.scheduler() as scheduler:
        running = site.trigger(scheduler, "meeting")
        scheduler.tick()
        site.arrival()
    with site.scheduler() as scheduler:
        scheduler.recover()
        scheduler.tick()
        site.let_go()
        scheduler.settle()
        assert (state(scheduler, queued), state(scheduler, running)) == ("success", "success")
        assert scheduler.store.history(running.id) == []


def test_an_attempt_outlives_a_database_that_is_away(site):
    site.worker()
    with site.scheduler() as scheduler:
        run = site.trigger(scheduler, "meeting")
        scheduler.tick()
        site.arrival()
        mine = [store.cursor.connection.info.backend_pid for store in (scheduler.store, site.store)]
        site.store.run_sql(
            """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE datname = current_database() AND NOT pid = ANY(:mine)""",
            {"mine": mine},
        )
        site.let_go()
        scheduler.settle()
        assert (state(scheduler, run), scheduler.store.history(run.id)) == ("success", [])
    assert site.attempts() == ["1"]


def test_an_attempt_outlives_a_database_server_that_is_killed(site, guard):
    server = start_postgres(guard, name="database")
    site.database = site.values["ETLKIT__DATABASE__SQL_ALCHEMY_CONN"] = server.url("postgres")
    with site.scheduler() as scheduler:
        site.worker()
        run = site.trigger(scheduler, "meeting")
        scheduler.tick()
        site.arrival()
        guard.signal("database", signal.SIGKILL)
        site.let_go()
        with pytest.raises(Unreachable):
            scheduler.settle()
    assert wait_until(lambda: "this tries again in 1 s" in site.said(), 20)
    forget_shared_memory(server.host)
    guard.restart("database")
    assert wait_until(lambda: "try 1: success" in site.said(), 20)
    with site.scheduler() as scheduler:
        scheduler.settle()
        assert (state(scheduler, run), scheduler.store.history(run.id)) == ("success", [])
    assert site.attempts() == ["1"]


def test_a_worker_that_cannot_reach_the_database_gives_messages_back(site, guard):
    server, queue = start_postgres(guard, name="database"), servers.redis().client()
    site.database = site.values["ETLKIT__DATABASE__SQL_ALCHEMY_CONN"] = server.url("postgres")
    with site.scheduler() as scheduler:
        run = site.trigger(scheduler, "gym")
        scheduler.tick()
        assert wait_until(lambda: queue.llen("heavy") == 1, 20)
    message = queue.rpop("heavy")
    site.worker("worker", "--queues", "heavy")
    assert wait_until(lambda: "ready" in site.said(), 20)
    guard.signal("database", signal.SIGKILL)
    queue.lpush("heavy", message)
    given_back = f"gym.lift of {run.run_id}, try 1 goes back to the broker: metadata database"
    assert wait_until(lambda: site.said().count(given_back) == 2, 20)
    forget_shared_memory(server.host)
    guard.restart("database")
    assert wait_until(lambda: "try 1: success" in site.said(), 20)  # there is no scheduler that sends messages again
    with site.scheduler() as scheduler:
        scheduler.settle()
        assert (state(scheduler, run), scheduler.store.history(run.id)) == ("success", [])
    assert "Traceback" not in site.said()


def refused(site, *words, **values):
    """What a worker says that does not start."""
    env = {**os.environ, **site.values, **values}
    done = subprocess.run([ETLKIT, "worker", *words], env=env, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2 and done.stdout == ""
    return done.stderr


def test_a_worker_does_not_start_without_a_database(site):
    said = refused(site, ETLKIT__DATABASE__SQL_ALCHEMY_CONN="postgresql://ada:s3cret@127.0.0.1:1/x")
    assert re.fullmatch(r"etlkit: metadata database \S+ cannot be reached; start the server, .*\n", said)
    assert "s3cret" not in said


def test_a_name_that_a_worker_has_is_refused_until_that_is_gone(site):
    site.worker("worker", "-H", "ada@here")
    assert wait_until(lambda: "ready" in site.said(), 20)
    said = refused(site, "-H", "ada@here")
    assert said == "etlkit: a worker called ada@here is running already; give this one another name: -H NAME@%h\n"
    site.guard.signal("worker", signal.SIGKILL)
    site.worker("another", "-H", "ada@here")
    assert wait_until(lambda: "ready" in site.said("another"), 20)


HANGING = """
    import os, signal, time
    from datetime import timedelta
    from etlkit import DAG, task

    while "LOADS_FOR_EVER" in os.environ:
        time.sleep(0.01)

    @task(execution_timeout=timedelta(seconds=0.2), retries=1, retry_delay=timedelta(0))
    def hang(ti):
        if ti.try_number == 1:
            print(os.getpid(), flush=True)
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # as compiled code that never returns
            time.sleep(60)

    with DAG("hanging"):
        hang()
"""


def test_a_task_that_hears_nothing_is_killed_with_its_process_and_has_failed(site):
    site.write(HANGING, "hanging.py")
    site.worker()
    with site.scheduler(ETLKIT__CORE__KILLED_TASK_CLEANUP_TIME="2") as scheduler:
        run = site.trigger(scheduler, "hanging")
        go_on_until(scheduler, lambda: state(scheduler, run) == "success")  # in the slot that is free again
        ((*_, try_number, ended, _, _, error),) = scheduler.store.history(run.id)
        assert (try_number, ended) == (1, "failed")
        assert error == "AirflowTaskTimeout: hang ran longer than its execution_timeout of 0:00:00.200000"
        (row,) = scheduler.store.task_instances(run.id)
        assert (row.try_number, row.lost_attempts) == (2, 0)
    (log,) = site.home.rglob("attempt=1.log")
    assert error in log.read_text().replace("ERROR etlkit.task: ", "AirflowTaskTimeout: ")
    slot = int(log.read_text().split()[0])
    assert wait_until(lambda: not psutil.pid_exists(slot), 20)


def test_a_dag_file_that_hangs_in_a_worker_fails_the_task(site):
    site.write(HANGING, "hanging.py")
    site.worker(LOADS_FOR_EVER="yes", ETLKIT__CORE__DAGBAG_IMPORT_TIMEOUT="0.3")
    with site.scheduler() as scheduler:
        run = site.trigger(scheduler, "hanging")
        go_on_until(scheduler, lambda: scheduler.store.history(run.id))
        ((*_, try_number, ended, _, _, error),) = scheduler.store.history(run.id)
    assert (try_number, ended) == (1, "failed")
    assert "dagbag_import_timeout" in error


def test_a_backfill_runs_what_its_tasks_start(site):
    site.write(CHAIN, "chain.py")
    site.worker()
    command = [ETLKIT, "dags", "backfill", "first", "-s", "2013-01-01", "-e", "2013-01-02"]
    env = {**os.environ, **site.values}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=50)
    assert (done.returncode, "(2 success)" in done.stderr) == (0, True), done.stderr
    assert [run.state for run in site.store.runs("second")] == ["success", "success"]


def test_a_message_that_got_lost_is_sent_again(site):
    queue = servers.redis().client()
    with site.scheduler(ETLKIT__SCHEDULER__TASK_QUEUED_TIMEOUT="1") as scheduler:
        run = site.trigger(scheduler, "sums")
        scheduler.tick()
        assert wait_until(lambda: queue.llen("default") == 1, 20)
        queue.flushall()
        site.worker()
        scheduler.settle()
        assert (state(scheduler, run), scheduler.store.history(run.id)) == ("success", [])


def test_a_dag_that_the_worker_does_not_have_fails_its_task_and_says_why(site, tmp_path_factory):
    site.worker(ETLKIT__CORE__DAGS_FOLDER=str(tmp_path_factory.mktemp("empty")))
    with site.scheduler() as scheduler:
        run = site.trigger(scheduler, "sums")
        go_on_until(scheduler, lambda: state(scheduler, run) == "failed")
        errors = scheduler.store.run_sql("SELECT error FROM task_instance WHERE state = 'failed'").fetchall()
    assert [re.sub(r": .*empty\d*", ": ", error) for (error,) in errors] == [
        "AirflowException: /all.py: there is no such file or folder; create it, or set [core] dags_folder"
    ]


def test_what_cannot_work_is_refused_in_one_line(site):
    with pytest.raises(ConfigError, match=r"SQLite is a file; set .* sql_alchemy_conn to postgresql://"):
        Scheduler(Store(), SystemClock(), CeleryExecutor())
    with site.scheduler() as scheduler, DAG("nowhere") as dag:
        EmptyOperator(task_id="a")
        with pytest.raises(DagError, match=r"'nowhere' lies in no file, .* write it into one"):
            scheduler.add_dag(dag)
    sqlite = f"sqlite:///{site.home}/etlkit.db"
    port = "port is not a number; write characters such as @ : / in a password as %40"
    for name, value, words in (
        ("ETLKIT__CELERY__BROKER_URL", "localhost", r"\[celery\] broker_url is not a URL; write redis://"),
        ("ETLKIT__CELERY__BROKER_URL", "redis://:pa:ss/word@localhost", rf"\[celery\] broker_url .*{port}"),
        ("ETLKIT__DATABASE__SQL_ALCHEMY_CONN", sqlite, "Celery workers need a metadata database that all of them"),
    ):
        said = refused(site, **{name: value})
        assert re.fullmatch(rf"etlkit: {words}.*\n", said) and "ss/word" not in said
