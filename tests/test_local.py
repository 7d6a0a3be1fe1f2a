"""Several tasks at once, in processes of their own: what they share, and what becomes of those that die."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cloudpickle
import duckdb
import pytest

from etlkit import DAG, Lab, LocalExecutor, SystemClock
from etlkit.clock import wall_seconds
from etlkit.config import conf, settings
from etlkit.errors import ConfigError, DagError, EtlkitError
from etlkit.events import Listener
from etlkit.masking import mask_secret, masker
from etlkit.operators import PythonOperator, TriggerDagRunOperator
from etlkit.runs import clear_run, trigger_run
from etlkit.scheduler import Scheduler
from etlkit.store import LOST, Store
from etlkit.time_limit import time_limit
from etlkit.upkeep import delete_dag

START = datetime(2013, 1, 1, tzinfo=UTC)
HERE = sys.modules[__name__]


@pytest.fixture(autouse=True)
def like_a_notebook():
    """The functions of this module travel as those of a notebook do: no other process can import them."""
    cloudpickle.register_pickle_by_value(HERE)
    yield
    cloudpickle.unregister_pickle_by_value(HERE)


@pytest.fixture
def new_lab():
    with Lab(start=START, executor=LocalExecutor(3)) as lab:
        yield lab


@pytest.fixture(scope="module")
def shared_lab():
    with Lab(start=START, executor=LocalExecutor(3)) as lab:
        yield lab


@pytest.fixture
def lab(shared_lab):
    """A lab without DAGs, whose processes have been used before, as far as they still live."""
    yield shared_lab
    for dag in shared_lab.dags:
        shared_lab.scheduler.remove_dag(dag.dag_id)
        delete_dag(shared_lab.store, dag.dag_id, logs=shared_lab.scheduler.runner.logs)


def dag_of(function, dag_id="d", task_ids=None, **arguments):
    """A DAG whose tasks call a function; there is one, called like it, unless their ids are given."""
    with DAG(dag_id, start_date=START) as dag:
        for task_id in task_ids or [function.__name__]:
            PythonOperator(task_id=task_id, python_callable=function, **arguments)
    return dag


def tasks(lab, run):
    """The rows of a run's task instances, by task id."""
    return {task.task_id: task for task in lab.store.task_instances(lab.store.run(run.dag_id, run.run_id).id)}


def values(lab):
    """What the tasks returned, by task id; of several runs the last."""
    frame = lab.xcoms()
    return dict(zip(frame["task_id"], frame["value"], strict=True))


def wait_for(condition):
    """Return when it holds; an error after half a minute."""
    end = wall_seconds() + 30
    while not condition():
        assert wall_seconds() < end, "waited in vain"
        SystemClock().sleep(0.01)


def is_running(pid):
    """Whether there is such a process, and it is no zombie."""
    with contextlib.suppress(ProcessLookupError, FileNotFoundError):
        os.kill(pid, 0)
        status = Path(f"/proc/{pid}/stat")
        return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"
    return False


# --- at once ----------------------------------------------------------------------------------------------------------


def test_tasks_run_at_once_each_in_a_process_of_its_own(lab, tmp_path):
    def meet(ti):
        (tmp_path / ti.task_id).touch()
        wait_for(lambda: len(list(tmp_path.iterdir())) == 3)  # none ends before all have begun
        print(ti.task_id, "met the others")
        return os.getpid()

    assert lab.add(dag_of(meet, task_ids="abc")).trigger().state == "success"
    assert len({os.getpid(), *values(lab).values()}) == 4
    assert "b met the others" in lab.log("b")
    assert repr(lab.executor) == "<LocalExecutor: 0 of 3 slots busy, 3 processes>"


def test_a_process_stays_for_the_next_attempts(lab):
    lab.add(dag_of(os.getpid)).trigger()
    first = values(lab)
    lab.advance(days=1).trigger()
    assert values(lab) == first


class Ticks(Listener):
    """Counts the passes of a scheduler, and leaves a file after the first."""

    def __init__(self, file):
        self.count, self.file = 0, file

    def on_tick(self, now):
        self.count += 1
        self.file.touch()


def test_the_scheduler_sleeps_while_tasks_run(tmp_path):
    ticks = Ticks(tmp_path / "go")

    def last_a_while():
        wait_for(ticks_file.exists)
        SystemClock().sleep(0.3)

    ticks_file = ticks.file
    with Lab(start=START, executor=LocalExecutor(1), listeners=[ticks]) as lab:
        assert lab.add(dag_of(last_a_while)).trigger().state == "success"
    assert ticks.count < 10


def test_a_task_sees_the_simulated_time(lab):
    def what_time(clock):
        return clock.now().isoformat()

    lab.add(dag_of(what_time)).run_until("2013-03-10 01:00").trigger()
    assert values(lab) == {"what_time": "2013-03-10T01:00:00+00:00"}
    assert {*lab.task_instances()["end_date"]} == {lab.now}


def test_the_gantt_chart_shows_how_many_slots_were_in_use(tmp_path):
    def meet(ti):
        (tmp_path / ti.task_id).touch()
        wait_for((tmp_path / "b").exists)

    with Lab(clock=SystemClock(), executor=LocalExecutor(2)) as lab:
        lab.add(dag_of(meet, task_ids="ab")).trigger()
        assert "at most 2 of 2 slots in use" in str(lab.gantt())


# --- what the processes share with this one ---------------------------------------------------------------------------


def test_settings_environment_and_folder_are_those_of_the_moment(lab, tmp_path, monkeypatch):
    def look():
        return [conf.get("core", "parallelism"), str(conf.current.home), os.environ.get("AIRPORT"), str(Path.cwd())]

    lab.add(dag_of(look)).trigger()
    first = values(lab)["look"]
    monkeypatch.setenv("AIRPORT", "JFK")
    monkeypatch.setenv("ETLKIT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    conf.use(None)
    with settings({"ETLKIT__CORE__PARALLELISM": "7"}):
        lab.advance(days=1).trigger()
    assert values(lab)["look"] == [7, str(tmp_path / "home"), "JFK", str(tmp_path)] != first
    conf.use(None)


def test_what_programs_print_is_in_the_log_without_secrets(lab, capfd):
    def load():
        mask_secret("hunter22secret")
        print("-".join(["known22", "before"]))
        subprocess.run("echo loading; echo hunter22secret >&2; sleep 0.1; echo done", shell=True, check=True)

    mask_secret("known22-before")
    lab.add(dag_of(load)).trigger()
    assert lab.log("load").splitlines() == ["***", "loading", "***", "done"]
    assert capfd.readouterr() == ("", "")
    assert not any(b"known22-before" in copy.read_bytes() for copy in lab.executor.folder.glob("*.pickle"))
    masker.forget()


def test_database_logs_and_warehouse_are_files_of_a_private_folder():
    def load(warehouse):
        warehouse.execute("CREATE OR REPLACE TABLE airport AS SELECT 'JFK' AS code")
        print("loaded")

    with Lab(start=START, executor=LocalExecutor(1)) as lab:
        folder = lab.executor.folder
        assert folder.stat().st_mode & 0o777 == 0o700
        assert lab.store.name == f"{folder}/etl.db"
        lab.add(dag_of(load)).trigger()
        assert lab.warehouse.sql("FROM airport").fetchall() == [("JFK",)]
        lab.advance(days=1).trigger()  # the lab has let go of the warehouse again
        assert {*lab.runs()["state"]} == {"success"}
        assert "loaded" in lab.log("load")
    assert not folder.exists()


def test_they_are_where_somebody_says_they_are(tmp_path):
    def write_down(warehouse):
        print("writing")
        warehouse.execute("CREATE TABLE note AS SELECT 1")

    with Lab(
        start=START,
        executor=LocalExecutor(1),
        database=f"sqlite:///{tmp_path}/here.db",
        logs=tmp_path / "logs",
        warehouse=tmp_path / "w.duckdb",
    ) as lab:
        lab.add(dag_of(write_down)).trigger()
    assert {path.name for path in tmp_path.iterdir()} >= {"here.db", "logs", "w.duckdb"}
    with duckdb.connect(tmp_path / "w.duckdb") as warehouse:
        assert warehouse.sql("FROM note").fetchall() == [(1,)]


def test_what_is_in_memory_cannot_be_shared():
    with pytest.raises(EtlkitError, match="cannot use a DuckDB connection: give the path of a file"):
        Lab(start=START, executor=LocalExecutor(1), warehouse=duckdb.connect())
    store = Store("sqlite://")
    with pytest.raises(ConfigError, match="cannot share a database in memory; use a file"):
        Scheduler(store, SystemClock(), LocalExecutor(1))
    store.close()


def test_it_needs_a_slot():
    for slots in (0, 2.5, "a"):
        with pytest.raises(ConfigError, match=f"slots must be a whole number from 1 on, not {slots!r}"):
            LocalExecutor(slots)


def test_what_is_cleared_while_it_runs_is_made_again_beside_its_earlier_try(tmp_path):
    def wait_until_the_test_says(ti, clock):
        (tmp_path / f"begun {ti.try_number}").touch()
        while not (tmp_path / "end").exists():
            clock.sleep(0.01)

    def begun(number):
        executor.wait(0.1), scheduler.tick()
        return (tmp_path / f"begun {number}").exists()

    dag, executor = dag_of(wait_until_the_test_says), LocalExecutor(2)
    with contextlib.closing(Store(f"sqlite:///{tmp_path}/etl.db")) as store, contextlib.ExitStack() as last:
        last.callback(executor.stop)
        last.callback((tmp_path / "end").touch)
        scheduler = Scheduler(store, SystemClock(), executor)
        scheduler.add_dag(dag)
        run = trigger_run(store, dag, now=scheduler.clock.now())
        wait_for(lambda: begun(1))
        clear_run(store, dag, store.run("d", run.run_id), now=scheduler.clock.now())
        wait_for(lambda: begun(2))
        assert (executor.in_flight, executor.free_slots()) == (2, 0)
        (tmp_path / "end").touch()
        scheduler.settle()
        (row,) = store.task_instances(run.id)
        assert (executor.in_flight, row.state, row.try_number) == (0, "success", 2)


# --- DAGs of a notebook -----------------------------------------------------------------------------------------------

AIRPORTS = ["JFK"]


def test_a_dag_of_a_notebook_travels_as_a_copy_and_the_lab_says_so(new_lab, caplog, monkeypatch):
    def airports():
        AIRPORTS.append("in its own process")
        return AIRPORTS

    caplog.set_level("INFO", logger="etlkit.executors")
    new_lab.add(dag_of(airports)).trigger()
    assert values(new_lab)["airports"] == ["JFK", "in its own process"]
    assert AIRPORTS == ["JFK"]
    assert "DAG d lies in no file; its tasks go to other processes as a copy, by cloudpickle" in caplog.messages
    assert "tasks run in up to 3 other processes; copied there: d\n" in repr(new_lab)


def test_each_call_of_the_lab_copies_what_the_notebook_holds_then(lab, monkeypatch):
    def airports():
        return AIRPORTS

    lab.add(dag_of(airports)).trigger()
    monkeypatch.setattr(HERE, "AIRPORTS", ["LGA"])
    lab.advance(days=1).trigger()
    assert values(lab)["airports"] == ["LGA"]


LOCK = threading.Lock()


def test_what_cannot_travel_is_told_when_the_dag_is_added(new_lab):
    def extract():
        return LOCK.locked()

    with pytest.raises(DagError) as caught:
        new_lab.add(dag_of(extract))
    assert str(caught.value) == (
        "DAG 'd' cannot travel to another process: task 'extract' holds 'LOCK', and a lock cannot be copied; make it "
        "inside the task, or write the DAG to a file"
    )
    assert new_lab.dags == []
    in_a_list = DAG("d", start_date=START)
    in_a_list.add_task(PythonOperator(task_id="load", python_callable=print, op_args=[1, {"x": LOCK}]))
    with pytest.raises(DagError, match="task 'load' holds 'op_args', and a lock cannot be copied"):
        new_lab.add(in_a_list)
    with pytest.raises(DagError, match="the DAG itself holds 'LOCK', and a lock"):
        new_lab.add(DAG("d", on_failure_callback=lambda context: LOCK))


def test_a_task_that_cannot_travel_any_more_fails_and_says_why(lab, monkeypatch):
    def airports():
        return AIRPORTS

    lab.add(dag_of(airports))
    monkeypatch.setattr(HERE, "AIRPORTS", LOCK)
    run = lab.trigger()
    assert run.state == "failed"
    assert "task 'airports' holds 'AIRPORTS', and a lock cannot be copied" in tasks(lab, run)["airports"].error


def test_a_task_starts_another_dag_of_the_notebook(lab):
    with DAG("first") as first:
        TriggerDagRunOperator(task_id="start", trigger_dag_id="second", wait_for_completion=True, poke_interval=1)
    lab.add(first, dag_of(os.getpid, dag_id="second")).trigger("first")
    lab.advance(minutes=1)
    assert {*lab.runs()["state"]} == {"success"}
    assert len(lab.runs()) == 2


# --- DAGs of files ----------------------------------------------------------------------------------------------------


def test_a_dag_of_a_file_is_read_there_and_again_when_it_changes(new_lab, tmp_path, own_imports):
    file = tmp_path / "weather.py"
    text = "from etlkit import DAG\nfrom helper import answer\nfrom etlkit.operators import PythonOperator\n"
    text += "with DAG('weather'):\n    PythonOperator(task_id='{}', python_callable=answer)\n"
    (tmp_path / "helper.py").write_text("def answer():\n    return __file__\n")
    file.write_text(text.format("one"))
    new_lab.load(tmp_path).trigger("weather")
    assert values(new_lab) == {"one": str(tmp_path / "helper.py")}
    file.write_text(text.format("another"))
    new_lab.load(tmp_path).advance(days=1).trigger("weather")
    assert values(new_lab)["another"] == str(tmp_path / "helper.py")
    assert "copied there" not in repr(new_lab)


# --- processes that die -----------------------------------------------------------------------------------------------


def die_by_kill():
    os.kill(os.getpid(), signal.SIGKILL)


def die_by_exit():
    os._exit(0)


def die_by_segfault():
    os.kill(os.getpid(), signal.SIGSEGV)


@pytest.mark.parametrize("die", [die_by_kill, die_by_exit, die_by_segfault])
def test_a_process_that_dies_costs_one_try_of_one_task(lab, die, tmp_path, caplog):
    def suffer(ti):
        if ti.try_number == 1:
            wait_for((tmp_path / "other").exists)
            die()

    def live_through_it():
        (tmp_path / "other").touch()
        wait_for((tmp_path / "third").exists)

    def come_later():
        (tmp_path / "third").touch()

    with DAG("d") as dag:
        suffer, _, third = (
            PythonOperator(task_id=f.__name__, python_callable=f) for f in (suffer, live_through_it, come_later)
        )
        suffer >> third
    run = lab.add(dag).trigger()
    found = tasks(lab, run)
    assert run.state == "success"
    assert {name: (row.try_number, row.lost_attempts, row.max_tries) for name, row in found.items()} == {
        "suffer": (2, 1, 1),  # one more try than planned: no retry is used up
        "live_through_it": (1, 0, 0),
        "come_later": (1, 0, 0),
    }
    assert re.search(r"d manual\S+ suffer -1 1 is lost: its process died: (SIGKILL|EXIT|SIGSEGV)", caplog.text)


def test_a_task_that_kills_its_process_every_time_has_failed(lab):
    def tell(context):
        print("told by", os.getpid())

    dag = dag_of(die_by_kill, on_failure_callback=tell, retries=5)
    with settings({"ETLKIT__SCHEDULER__MAX_LOST_ATTEMPTS": "1"}):
        run = lab.add(dag).trigger()
    (row,) = tasks(lab, run).values()
    assert (run.state, row.state, row.try_number, row.error) == ("failed", "failed", 2, LOST)
    assert f"told by {os.getpid()}" in lab.log("die_by_kill")  # the task's own process is gone


def test_a_process_that_dies_while_it_has_nothing_to_do_costs_nothing(lab):
    lab.add(dag_of(os.getpid)).trigger()
    pid = values(lab)["getpid"]
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not is_running(pid))
    run = lab.advance(days=1).trigger()
    assert (run.state, tasks(lab, run)["getpid"].try_number) == ("success", 1)
    assert values(lab)["getpid"] != pid


def test_a_task_that_runs_out_of_memory_fails_and_its_process_goes_on(lab):
    if sys.platform != "linux":
        pytest.skip("only Linux bounds the memory of a process")

    def hoard():
        import resource

        print(os.getpid(), flush=True)
        before = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, before[1]))
        try:
            return len(bytearray(8 << 30))
        finally:
            resource.setrlimit(resource.RLIMIT_AS, before)

    run = lab.add(dag_of(hoard, retries=1, retry_delay=timedelta(0))).trigger()
    row = tasks(lab, run)["hoard"]
    assert (row.state, row.error, row.try_number, row.lost_attempts) == ("failed", "MemoryError", 2, 0)
    assert [is_running(int(lab.log("hoard", try_number=number).split()[0])) for number in (1, 2)] == [True, True]


def test_a_task_beyond_its_time_limit_is_ended(lab):
    def pids(ti):
        print(os.getpid())
        SystemClock().sleep(60)

    run = lab.add(dag_of(pids, execution_timeout=timedelta(seconds=0.2))).trigger()
    assert tasks(lab, run)["pids"].error.startswith("AirflowTaskTimeout: pids ran longer than its execution_timeout")
    assert is_running(int(lab.log("pids").split()[0]))


def test_a_task_that_hears_nothing_is_killed_with_its_process_and_has_failed(lab):
    def hang(ti):
        if ti.try_number == 1:
            print(os.getpid(), flush=True)
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})  # as compiled code that never returns
            SystemClock().sleep(60)
        return "done"

    dag = dag_of(hang, execution_timeout=timedelta(seconds=0.2), retries=1, retry_delay=timedelta(0))
    lab.add(dag_of(os.getpid, dag_id="first")).trigger()  # now there is a process
    with settings({"ETLKIT__CORE__KILLED_TASK_CLEANUP_TIME": "2"}):
        run = lab.add(dag).trigger("d")
    row = tasks(lab, run)["hang"]
    assert (row.state, row.try_number, row.lost_attempts, values(lab)["hang"]) == ("success", 2, 0, "done")
    log = lab.log("hang", dag="d", try_number=1)
    assert "hang ran longer than its execution_timeout of 0:00:00.200000" in log
    assert not is_running(int(log.split()[0]))


def test_a_task_that_is_cleared_while_it_runs_is_made_again_beside_its_earlier_attempt(lab, tmp_path):
    def load(ti):
        first = tmp_path / "first"
        if ti.try_number == 1:
            first.write_text(str(os.getpid()))
            SystemClock().sleep(60)
        os.kill(pid := int(first.read_text()), signal.SIGKILL)
        wait_for(lambda: not is_running(pid))
        return ti.try_number

    dag = lab.add(dag_of(load)).dags[0]
    run = trigger_run(lab.store, dag, now=lab.now)
    lab.scheduler.tick()
    wait_for(lambda: (tmp_path / "first").exists() and (tmp_path / "first").stat().st_size)
    clear_run(lab.store, dag, lab.store.run("d", run.run_id), now=lab.now)
    lab.run_until()
    row = tasks(lab, run)["load"]
    assert (row.state, row.try_number, row.lost_attempts, values(lab)) == ("success", 2, 0, {"load": 2})
    assert lab.executor.in_flight == 0


def test_processes_that_cannot_even_begin_are_an_error(tmp_path):
    (tmp_path / "there").mkdir()
    with Lab(start=START, executor=LocalExecutor(1), database=f"sqlite:///{tmp_path}/there/etl.db") as lab:
        trigger_run(lab.store, lab.add(dag_of(os.getpid)).dags[0], now=lab.now)
        (tmp_path / "there").rename(tmp_path / "elsewhere")
        with pytest.raises(ConfigError, match="the processes of LocalExecutor cannot work: MetadataError"):
            lab.scheduler.settle()


# --- on the command line ----------------------------------------------------------------------------------------------

SLOW = """
    import time
    from datetime import UTC, datetime
    from pathlib import Path
    from etlkit import DAG, task

    with DAG("weather", schedule="@daily", start_date=datetime(2013, 1, 1, tzinfo=UTC)):
        @task
        def load(dag_run):
            print("loading", dag_run.logical_date)
            Path(__file__).with_name("began").touch()
            while not Path(__file__).with_name("go").exists():
                time.sleep(0.01)

        load()
"""


def test_a_backfill_on_the_command_line(etlkit, monkeypatch):
    monkeypatch.setenv("ETLKIT__CORE__EXECUTOR", "LocalExecutor")
    etlkit.dag_file("weather.py", SLOW)
    (etlkit.dags / "go").touch()
    result = etlkit("dags", "backfill", "weather", "--from-date", "2013-01-01", "--to-date", "2013-01-03")
    assert result.exit_code == 0, result.output
    logs = sorted((etlkit.home / "logs").rglob("attempt=1.log"))
    assert [log.read_text().splitlines()[0] for log in logs] == [
        f"loading 2013-01-0{day} 00:00:00+00:00" for day in (1, 2, 3)
    ]


def test_ctrl_c_lets_the_scheduler_finish_what_runs(etlkit):
    etlkit.environ["ETLKIT__CORE__EXECUTOR"] = "LocalExecutor"
    etlkit.dag_file("weather.py", SLOW)
    etlkit("dags", "trigger", "weather", "--run-id", "r")
    assert etlkit("dags", "unpause", "weather").exit_code == 0
    scheduler = etlkit.start("scheduler", start_new_session=True)
    etlkit.wait_for((etlkit.dags / "began").exists)
    os.killpg(scheduler.pid, signal.SIGINT)
    assert scheduler.stderr.readline()
    (etlkit.dags / "go").touch()
    _, err = scheduler.communicate(timeout=60)
    assert (scheduler.returncode, "Traceback" in err) == (0, False), err
    assert err.endswith("stopped; no task was cut off\n")
    assert etlkit.json("tasks", "states-for-dag-run", "weather", "r")[0]["state"] == "success"


# --- the end ----------------------------------------------------------------------------------------------------------


def test_stop_lets_what_runs_end_and_leaves_nothing_behind(tmp_path):
    def last():
        (tmp_path / "pid").write_text(str(os.getpid()))
        SystemClock().sleep(0.3)

    lab = Lab(start=START, executor=LocalExecutor(2), database=f"sqlite:///{tmp_path}/etl.db")
    trigger_run(lab.store, lab.add(dag_of(last)).dags[0], now=lab.now)
    lab.scheduler.tick()
    wait_for((tmp_path / "pid").exists)
    lab.close()
    store = Store(f"sqlite:///{tmp_path}/etl.db")
    assert [task.state for task in store.task_instances(store.runs()[0].id)] == ["success"]
    store.close()
    assert not is_running(int((tmp_path / "pid").read_text()))
    assert not lab.executor.folder.exists()
    lab.executor.stop()  # once more changes nothing


def test_who_does_not_wait_for_what_runs_kills_it(new_lab, tmp_path):
    def hang():
        (tmp_path / "pid").write_text(str(os.getpid()))
        SystemClock().sleep(60)

    trigger_run(new_lab.store, new_lab.add(dag_of(hang)).dags[0], now=new_lab.now)
    new_lab.scheduler.tick()
    wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").stat().st_size)
    with pytest.raises(KeyboardInterrupt), time_limit(0.2, KeyboardInterrupt):  # as by Ctrl-C
        new_lab.executor.stop()
    wait_for(lambda: not is_running(int((tmp_path / "pid").read_text())))
    assert not new_lab.executor.folder.exists()


PARENT = """
import os, signal, subprocess, sys, time

# Tests may run where Ctrl-C is ignored or held back, as in the background of a shell.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})

from pathlib import Path
from etlkit import DAG, Lab, LocalExecutor
from etlkit.operators import PythonOperator

def work():
    child = subprocess.Popen(["sleep", "60"])
    (FOLDER / f"pids.{os.getpid()}").write_text(f"{os.getpid()} {child.pid}")
    while not (FOLDER / "go").exists():
        time.sleep(0.01)
    child.kill(), child.wait()

FOLDER = Path(sys.argv[1])
with DAG("d") as dag:
    PythonOperator(task_id="a", python_callable=work)
    PythonOperator(task_id="b", python_callable=work)

with Lab(start="2013-01-01", executor=LocalExecutor(2)) as lab:
    print(lab.executor.folder, flush=True)
    lab.add(dag)
    try:
        lab.trigger()
    except KeyboardInterrupt:
        if (FOLDER / "leave").exists():
            raise
        print("interrupted", flush=True)
        (FOLDER / "go").touch()
    lab.run_until()
    print(lab.task_instances()[["state", "try_number"]].values.tolist())
"""


@pytest.fixture
def parent(tmp_path):
    """A process with a lab in it, whose two tasks run; it, the folder of its executor, and the processes it started."""
    command = [sys.executable, "-c", PARENT, str(tmp_path)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "start_new_session": True}
    with subprocess.Popen(command, text=True, **pipes) as process:
        folder = Path(process.stdout.readline().strip())
        wait_for(lambda: [file.stat().st_size > 3 for file in tmp_path.glob("pids.*")] == [True, True])
        yield process, folder, [int(pid) for file in tmp_path.glob("pids.*") for pid in file.read_text().split()]
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_when_the_parent_is_killed_nothing_stays(parent):
    process, folder, pids = parent
    assert len(pids) == 4 and all(map(is_running, pids)) and folder.exists()
    process.kill()
    wait_for(lambda: not any(map(is_running, pids)))
    wait_for(lambda: not folder.exists())


def test_ctrl_c_interrupts_the_notebook_and_not_the_tasks(parent):
    process, _folder, pids = parent
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to all that were started from it
    out, err = process.communicate(timeout=60)
    assert (out, err) == ("interrupted\n[['success', 1], ['success', 1]]\n", "")
    assert not any(map(is_running, pids))


def test_ctrl_c_that_leaves_the_block_waits_for_no_task(parent, tmp_path):
    process, folder, pids = parent
    (tmp_path / "leave").touch()
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert err.endswith("KeyboardInterrupt\n") and "loky" not in err
    wait_for(lambda: not any(map(is_running, pids)))
    assert not folder.exists()
