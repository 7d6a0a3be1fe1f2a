"""A cluster of real processes: started, killed, paused, added to, and gone without a trace."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from etlkit import Cluster, Connection
from etlkit.errors import ConfigError, DagFileError, DagNotFound, EtlkitError, MetadataError
from etlkit.servers import wait_until
from tests.servers import postgres, redis

DAG_FILE = """
    import os
    import pendulum
    from etlkit import Connection, Variable, dag, task

    @dag(schedule=None, start_date=pendulum.datetime(2026, 1, 1, tz="UTC"), max_active_tasks=20)
    def numbers():
        @task
        def square(n):
            return n * n

        @task
        def total(squares):
            print(f"made by {os.getppid()}")
            return sum(squares)

        total(square.expand(n=[1, 2, 3, 4]))

    begin, end = pendulum.datetime(2026, 1, 1, tz="UTC"), pendulum.datetime(2026, 1, 5, tz="UTC")

    @dag(schedule="@daily", start_date=begin, end_date=end, catchup=False)
    def secrets():
        @task
        def read():
            print(Variable.get("password_of_it"), Connection.get("there").password)

        read()

    @dag(schedule=None, start_date=pendulum.datetime(2026, 1, 1, tz="UTC"))
    def patience():
        @task(queue="slow")
        def wait():
            import pathlib, time
            started = pathlib.Path(Variable.get("started"))
            first = not started.exists()
            started.touch()
            while first:
                time.sleep(0.01)

        wait()

    numbers(), secrets(), patience()
"""


@pytest.fixture(scope="module")
def cluster():
    postgres(), redis()  # skips, or fails in CI, where there are none
    with Cluster(workers=1, schedulers=1, slots=2) as made:
        made.add_dag_file(DAG_FILE)
        yield made


def test_ready_in_seconds(cluster):
    assert list(cluster.startup) == ["redis", "postgres", "tables", "processes"]
    assert sum(cluster.startup.values()) < 30  # a third of it here; CI's machine may be busy


def test_a_run_through_all_its_parts(cluster):
    run = cluster.trigger("numbers")
    assert cluster.wait(run) == {"success": 1}
    results = cluster.xcoms().query("run_id == @run.run_id")
    assert sorted(map(int, results.value)) == [1, 4, 9, 16, 30]
    workers = cluster.pids("worker-1")
    (made_by,) = cluster.sql("SELECT pid FROM task_instance WHERE task_id = 'total'").pid
    assert made_by in workers
    assert wait_until(lambda: cluster.queue_depth() == cluster.unacknowledged() == 0, 20)
    assert wait_until(lambda: cluster.inspect(0.5).ping() == {"celery@worker-1": {"ok": "pong"}}, 20)


def test_a_backfill_with_variables_and_connections(cluster):
    cluster.variables.set("password_of_it", "a secret value")
    cluster.connections.set(Connection(conn_id="there", conn_type="http", password="another secret"))
    plan = cluster.backfill("secrets", "2026-01-01", "2026-01-03")
    assert len(plan.items) == 3
    assert cluster.wait("secrets") == {"success": 3}
    logs = [file.read_text() for file in (cluster.home / "logs").rglob("*.log")]
    assert any("*** ***" in text for text in logs)
    assert not any("secret value" in text or "another secret" in text for text in logs)


def test_it_shows_itself_without_secrets(cluster):
    table = cluster.table()
    assert list(table.columns) == ["component", "name", "state"]
    assert table.values.tolist()[:4] == [
        ["metadata database", "postgres", "running"],
        ["broker", "redis", "running"],
        ["scheduler", "scheduler-1", "running"],
        ["worker", "worker-1", "running"],
    ]
    shown = [repr(cluster), cluster._repr_html_(), str(cluster.logs("worker-1")), str(cluster.logs("scheduler-1"))]
    shown += [str(cluster.environment()), repr(cluster.store), repr(cluster.postgres), repr(cluster.broker)]
    processes = [psutil.Process(pid) for name in table.name for pid in cluster.pids(name)]
    shown += [" ".join(p.cmdline()) + str(p.environ()) for p in processes]
    for secret in (cluster.postgres.password, cluster.broker.password):
        assert not any(secret in text for text in shown)


def test_what_is_in_it_is_closed_to_others(cluster):
    inside = [path for path in cluster.folder.iterdir() if path.is_dir()]
    assert {path.name for path in inside} == {"home", "logs", "postgres", "redis"}
    assert not any(path.stat().st_mode & 0o077 for path in inside)
    assert not any(psutil.Process(pid).net_connections("inet") for name in SERVERS for pid in cluster.pids(name))


SERVERS = ("postgres", "redis")


def test_a_shell_speaks_to_it(cluster):
    command = [sys.executable, "-m", "etlkit", "dags", "list"]
    found = subprocess.run(
        command, env={**os.environ, **cluster.environment()}, capture_output=True, text=True, check=True
    )
    assert "numbers" in found.stdout


def test_dag_files(cluster, tmp_path):
    with pytest.raises(DagFileError, match=r"draft.py:2: .*NameError"):
        cluster.add_dag_file("from etlkit import DAG\nno_such_name\n")
    with pytest.raises(DagFileError, match="no DAG"):
        cluster.add_dag_file("# dag\n\n")
    file = tmp_path / "copied.py"
    file.write_text("from etlkit import DAG\ncopied = DAG('copied')\n")
    assert cluster.add_dag_file(file) == cluster.dags_folder / "copied.py"
    assert cluster.dag("copied").dag_id == "copied"
    with pytest.raises(DagNotFound, match="did you mean 'numbers'"):
        cluster.trigger("number")
    (cluster.dags_folder / "broken.py").write_text("import dag_of_nobody\n")
    with pytest.raises(DagFileError, match="dag_of_nobody"):
        cluster.dag("of_nobody")
    (cluster.dags_folder / "broken.py").unlink()


def test_a_killed_worker_costs_one_try(cluster, tmp_path):
    """On a queue of its own, so that the worker which is killed is the one that has the task."""
    cluster.variables.set("started", str(tmp_path / "started"))
    run = cluster.trigger("patience")
    assert wait_until(lambda: cluster.queue_depth("slow") == 1, 20)
    name = cluster.add_worker(queues="slow")
    assert wait_until((tmp_path / "started").exists, 20)
    assert cluster.running(least=1).drop(columns="run_id").to_numpy().tolist() == [["patience", "wait", 1, name]]
    assert cluster.why("patience", "wait", run).kinds == ["running"]
    family = [psutil.Process(pid) for pid in cluster.pids(name)]
    cluster.kill(name)
    assert state_of(cluster, name) == "killed"
    assert wait_until(lambda: not any(map(alive, family)), 20)
    cluster.restart(name)
    assert state_of(cluster, name) == "running"
    assert cluster.wait(run) == {"success": 1}
    tries = cluster.task_instances(all_tries=True).query("dag_id == 'patience'")
    assert tries.state.tolist() == ["failed", "success"]
    cluster.stop(name)
    assert state_of(cluster, name) == "ended"


def test_a_paused_scheduler_is_replaced_by_another(cluster):
    name = cluster.add_scheduler()
    cluster.pause("scheduler-1")
    assert state_of(cluster, "scheduler-1") == "paused"
    assert cluster.wait(cluster.trigger("numbers")) == {"success": 1}
    cluster.resume("scheduler-1").kill(name)
    assert state_of(cluster, "scheduler-1") == "running"
    assert cluster.wait(cluster.trigger("numbers")) == {"success": 1}


@pytest.mark.parametrize("server", SERVERS)
def test_a_killed_server_comes_back_with_what_it_knew(cluster, server):
    runs = len(cluster.runs())
    cluster.kill(server).restart(server)
    assert len(cluster.runs()) == runs
    assert cluster.wait(cluster.trigger("numbers")) == {"success": 1}


def alive(process):
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def state_of(cluster, name):
    return next(c.state for c in cluster.components() if c.name == name)


def test_what_does_not_fit_is_one_clear_line(cluster):
    with pytest.raises(EtlkitError, match="no process is called 'worker1'; did you mean 'worker-1'"):
        cluster.kill("worker1")
    with pytest.raises(EtlkitError, match="restart worker-1: it runs already"):
        cluster.restart("worker-1")
    cluster.pause("scheduler-1")
    with pytest.raises(EtlkitError, match="after 0 seconds 1 runs have not ended"):
        cluster.wait(cluster.trigger("numbers"), timeout=0)
    cluster.resume("scheduler-1")
    with pytest.raises(EtlkitError, match="after 0 seconds fewer than 9 tasks are running"):
        cluster.running(least=9, timeout=0)
    with pytest.raises(MetadataError, match="nowhere"):
        cluster.sql("SELECT * FROM nowhere")
    cluster.wait()


def test_settings_that_do_not_exist_leave_nothing(monkeypatch):
    postgres(), redis()
    made = []
    monkeypatch.setattr("etlkit.cluster.Guard.close", lambda guard: made.append(guard))
    with pytest.raises(ConfigError, match="no option"):
        Cluster(settings={("core", "paralellism"): "1"})
    monkeypatch.undo()
    made[0].close()
    assert not made[0].folder.exists()


def test_what_is_missing_is_said_before_anything_starts(monkeypatch, tmp_path):
    with pytest.raises(EtlkitError, match=r"there is no folder .*nowhere; make it, or"):
        Cluster(dags=tmp_path / "nowhere")
    for package in ("celery", "psutil"):
        with monkeypatch.context() as patch:
            patch.setattr("etlkit.guard.find_spec", lambda name, missing=package: None if name == missing else name)
            with pytest.raises(EtlkitError, match=rf"needs {package}; run: pip install 'etlkit\[cluster\]'"):
                Cluster()


def test_a_process_that_does_not_start_says_why():
    postgres(), redis()
    with pytest.raises(EtlkitError, match=r"scheduler-1 ended while it was starting: .*there is no executor"):
        Cluster(workers=0, settings={("core", "executor"): "NoExecutor"})


OWNER = """
import sys
from etlkit import Cluster
cluster = Cluster(workers=1, schedulers=1)
pids = [pid for component in cluster.components() for pid in cluster.pids(component.name)]
print(cluster.folder, cluster._guard._process.pid, *pids, flush=True)
sys.stdin.read()
"""


def test_nothing_is_left_of_a_killed_kernel():
    postgres(), redis()
    with subprocess.Popen([sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as p:
        folder, *pids = p.stdout.readline().split()
        processes = [psutil.Process(int(pid)) for pid in pids]
        assert len(processes) > 8 and Path(folder).exists()
        p.kill()
    assert wait_until(lambda: not any(map(alive, processes)), 20)
    assert not Path(folder).exists()


def test_a_folder_of_ones_own_and_an_end(tmp_path):
    postgres(), redis()
    with Cluster(workers=0, schedulers=0, dags=tmp_path) as made:
        assert made.add_dag_file(DAG_FILE, "three.py") == tmp_path / "three.py"
        assert made.dag("secrets").fileloc == str(tmp_path / "three.py")
        assert made.wait() == {}
        made.kill("postgres")
    made.close()
    assert "closed" in repr(made) and "closed" in made._repr_html_()
    assert not made.folder.exists()
