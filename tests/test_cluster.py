"""A cluster of real processes: started, killed, paused, added to, and gone without a trace."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from etlkit import Cluster, Connection
from etlkit.doctor import examine
from etlkit.errors import DagFileError, DagNotFound, EtlkitError, MetadataError
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
    assert {path.name for path in inside} == {"home", "logs", "tmp", "postgres", "redis"}
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


def test_the_doctor_knows_who_schedules_and_which_queue_nobody_takes(cluster):
    with cluster._settings_in_force():
        findings = list(examine(["database", "workers"]))
    said = {finding.check: finding for finding in findings}
    (pid,) = cluster.sql("SELECT pid FROM job WHERE state = 'running'").pid
    assert f"scheduled by process {pid} on" in said["scheduler"].found
    assert said["workers"].found == "none of the workers takes tasks of slow"
    assert said["workers"].advice == "etlkit worker --queues slow"


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
    (pid, *_) = cluster.pids("scheduler-1")
    with cluster._settings_in_force():
        assert wait_until(lambda: any(f"{pid} on" in said and "hangs" in said for _, _, said, _ in doctored()), 20)
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


def doctored():
    return list(examine(["database"]))


def state_of(cluster, name):
    return next(c.state for c in cluster.components() if c.name == name)


def test_what_does_not_fit_is_one_clear_line(cluster):
    with pytest.raises(EtlkitError, match="no process is called 'worker1'; did you mean 'worker-1'"):
        cluster.kill("worker1")
    with pytest.raises(EtlkitError, match="restart worker-1: it runs already"):
        cluster.restart("worker-1")
    cluster.pause("scheduler-1")
    with pytest.raises(EtlkitError, match=r"after 0 seconds 1 run has not ended; ask why\('numbers'\)"):
        cluster.wait(cluster.trigger("numbers"), timeout=0)
    cluster.trigger("numbers")
    with pytest.raises(EtlkitError, match="after 0 seconds 2 runs have not ended"):
        cluster.wait("numbers", timeout=0)
    with pytest.raises(EtlkitError, match="scheduler-1 is paused and cannot end by itself; resume"):
        cluster.stop("scheduler-1")
    cluster.resume("scheduler-1")
    with pytest.raises(EtlkitError, match="after 0 seconds fewer than 9 tasks are running"):
        cluster.running(least=9, timeout=0)
    with pytest.raises(MetadataError, match="nowhere"):
        cluster.sql("SELECT * FROM nowhere")
    cluster.wait()


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda cluster: cluster.kill(1), "no process is called 1"),
        (lambda cluster: cluster.pause(["worker-1"]), "no process is called .'worker-1'."),
        (lambda cluster: cluster.stop("redis"), r"stop is for schedulers and workers; kill\('redis'\)"),
        (lambda cluster: cluster.add_worker(0), "slots must be a whole number from 1 on, not 0"),
        (lambda cluster: cluster.add_worker(-1), "slots must be a whole number from 1 on, not -1"),
        (lambda cluster: cluster.add_worker(queues="big,small"), "'big,small' is no name of a queue"),
        (lambda cluster: cluster.add_worker(queues=["big", ""]), "'' is no name of a queue"),
        (lambda cluster: cluster.wait("number"), "no DAG is called 'number'; did you mean 'numbers'"),
        (lambda cluster: cluster.wait(1), "wait takes a run, the id of a DAG or nothing, not 1"),
        (lambda cluster: cluster.add_dag_file("nowhere.py"), "the DAG file nowhere.py cannot be read: FileNotFound"),
    ],
)
def test_what_cannot_be_asked_changes_nothing(cluster, ask, message):
    before = cluster.components()
    with pytest.raises(EtlkitError, match=message) as raised:
        ask(cluster)
    assert "\n" not in str(raised.value)
    assert cluster.components() == before


def test_without_a_broker_no_worker_is_half_started(cluster):
    cluster.kill("redis")
    names = list(cluster.table().name)
    for ask in (cluster.queue_depth, cluster.unacknowledged, cluster.inspect, cluster.add_worker):
        with pytest.raises(EtlkitError, match="the broker does not answer; look at table"):
            ask()
    with pytest.raises(EtlkitError, match=r"redis is not running: killed; restart\('redis'\)"):
        cluster.resume("redis")
    assert list(cluster.table().name) == names
    cluster.restart("redis")


def test_a_worker_that_does_not_become_ready_is_gone_again(cluster, monkeypatch):
    names = list(cluster.table().name)
    monkeypatch.setattr("etlkit.cluster.PATIENCE", 0.0)
    with pytest.raises(EtlkitError, match="not ready after 0 seconds"):
        cluster.add_worker()
    assert list(cluster.table().name) == names


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"workers": -1}, "workers must be a whole number from 0 on, not -1"),
        ({"schedulers": 1.5}, "schedulers must be a whole number from 0 on, not 1.5"),
        ({"slots": 0}, "slots must be a whole number from 1 on, not 0"),
        ({"settings": {("core", "paralellism"): "1"}}, r"settings: no option \[core\] paralellism; did you mean"),
        ({"settings": {("core", "parallelism"): 1}}, r"settings: \[core\] parallelism must be a text"),
        ({"settings": {("core", "parallelism"): "few"}}, "parallelism = 'few' is not a valid positive number"),
        ({"settings": {("core", "executor"): "NoExecutor"}}, "there is no executor 'NoExecutor'"),
        ({"settings": {("celery", "broker_url"): "redis://there"}}, "is what the cluster itself sets"),
        ({"settings": {"core": "1"}}, "'core' is no section and key"),
        ({"settings": ["core"]}, "settings must be texts by section and key"),
    ],
)
def test_arguments_that_mean_nothing_are_refused_before_anything_starts(monkeypatch, arguments, message):
    monkeypatch.setattr("etlkit.cluster.Guard", None)
    with pytest.raises(EtlkitError, match=message):
        Cluster(**arguments)


def test_what_is_missing_is_said_before_anything_starts(monkeypatch, tmp_path):
    with pytest.raises(EtlkitError, match=r"there is no folder .*nowhere; make it, or"):
        Cluster(dags=tmp_path / "nowhere")
    for package in ("celery", "psutil"):
        with monkeypatch.context() as patch:
            patch.setattr("etlkit.guard.find_spec", lambda name, missing=package: None if name == missing else name)
            with pytest.raises(EtlkitError, match=rf"needs {package}; run: pip install 'etlkit\[cluster\]'"):
                Cluster()


def test_a_process_that_does_not_start_says_why_and_leaves_nothing(monkeypatch):
    postgres(), redis()
    made = []

    def start(self):
        made.append(self)
        return self._start("scheduler", "scheduler", "--nonsense")

    monkeypatch.setattr(Cluster, "_start_scheduler", start)
    with pytest.raises(EtlkitError, match=r"scheduler-1 ended while it was starting: .*--nonsense") as raised:
        Cluster(workers=0)
    assert "\n" not in str(raised.value)
    assert not made[0].folder.exists()


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
    closed = (
        *(made.components, made.table, made.names, made.add_worker, made.add_scheduler, made.runs, made.wait),
        *(made.queue_depth, made.unacknowledged, made.inspect, made.environment, made.task_instances, made.xcoms),
        *(lambda: made.trigger("secrets"), lambda: made.add_dag_file(DAG_FILE), lambda: made.logs("redis")),
        *(lambda: made.kill("redis"), lambda: made.variables, lambda: made.why("secrets"), made.running),
        *(lambda: made.backfill("secrets", "2026-01-01", "2026-01-01"), lambda: made.sql("SELECT 1")),
    )
    for ask in closed:
        with pytest.raises(EtlkitError, match="the cluster is closed"):
            ask()
