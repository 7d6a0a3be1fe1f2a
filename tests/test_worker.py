"""The Worker in this process, on a real database: what it takes, reads, writes down and lets go of."""

import os
import pickle
import re
import signal
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import duckdb
import pytest

from etlkit.clock import SimulatedClock, SystemClock
from etlkit.config import settings
from etlkit.dag import DAG
from etlkit.dag_files import load_dag_file
from etlkit.database import Unreachable
from etlkit.errors import DagError, DagNotFound
from etlkit.logs import LogStore
from etlkit.operators.empty import EmptyOperator
from etlkit.runs import clear_run, trigger_run
from etlkit.store import Store
from etlkit.worker import PICKLED, Reference, Worker, open_warehouse, place_of
from tests import servers
from tests.dag_files import Site

DAGS = """
    from etlkit import DAG, task

    @task
    def one():
        print("it runs")
        return 1

    @task
    def count(warehouse):
        return warehouse.sql("SELECT 1").fetchall()[0][0]

    @task
    def show_time(clock):
        return clock.now().isoformat()

    with DAG("small"):
        one()
    with DAG("counted"):
        count()
    with DAG("timed"):
        show_time()
"""


class WorkerSite(Site):
    """The same, and a worker on both."""

    def __init__(self, home, database):
        super().__init__(home, database, DAGS)
        self.clock = SystemClock()
        self.worker = Worker(Store(database), LogStore(home / "logs"), open_warehouse)

    def dag(self, dag_id):
        return next(dag for dag in load_dag_file(self.home / "dags" / "all.py") if dag.dag_id == dag_id)

    def queue(self, dag, where=None, now=None):
        """A reference to the first attempt of the only task of a new run, queued as the scheduler would."""
        with self.store.transaction():
            self.store.register_dag(dag.dag_id, paused=False, fileloc=dag.fileloc, schedule="", now=self.clock.now())
        run = trigger_run(self.store, dag, now=self.clock.now())
        (task,) = self.store.task_instances(run.id)
        with self.store.transaction():
            self.store.set_run_state(run.id, "queued", "running", self.clock.now())
            self.store.set_task_states({task.id: (None, "scheduled", "queued")}, self.clock.now())
        return Reference(task.id, dag.dag_id, run.run_id, task.task_id, -1, 1, where or place_of(dag), now)

    def row(self, reference):
        return self.store.task_instance(reference.task_pk)


@contextmanager
def made(home, database):
    values = {
        "ETLKIT_HOME": str(home),
        "ETLKIT__CORE__DAGS_FOLDER": str(home / "dags"),
        "ETLKIT__CORE__WAREHOUSE": str(home / "warehouse.duckdb"),
        "ETLKIT__DAG_PROCESSOR__REFRESH_INTERVAL": "3600",
        "ETLKIT__SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "0.01",
    }
    before = signal.getsignal(signal.SIGUSR2)
    with settings(values):
        site = WorkerSite(home, database)
        yield site
        site.worker.close()
        site.store.close()
    signal.signal(signal.SIGUSR2, before)


@pytest.fixture
def site(tmp_path):
    with made(tmp_path, f"sqlite:///{tmp_path}/etlkit.db") as site:
        yield site


@pytest.fixture
def postgres_site(tmp_path):
    server = servers.postgres()
    with made(tmp_path, server.url(server.create_database("worker"))) as site:
        yield site


def test_a_reference_is_good_for_one_attempt(site):
    reference = site.queue(site.dag("small"))
    assert pickle.loads(pickle.dumps(reference)) == reference
    result = site.worker.run(reference)
    assert (result.work, result.state, result.error) == (None, "success", None)
    assert (site.row(reference).state, site.row(reference).try_number) == ("success", 1)
    assert [log.read_text() for log in site.home.rglob("attempt=1.log")] == ["it runs\nINFO etlkit.task: returned 1\n"]
    assert site.worker.run(reference) is None


@pytest.mark.parametrize("change", [{"try_number": 2}, {"try_number": 0}, {"task_pk": 99}])
def test_one_that_is_not_wanted_is_dropped(site, change):
    reference = site.queue(site.dag("small"))
    assert site.worker.run(reference._replace(**change)) is None
    assert site.row(reference).state == "queued"


def test_what_was_cleared_meanwhile_is_dropped(site):
    dag = site.dag("small")
    reference = site.queue(dag)
    clear_run(site.store, dag, site.store.run("small", reference.run_id), now=site.clock.now())
    assert site.worker.run(reference) is None
    assert site.row(reference).state is None


def test_where_a_dag_is(site, tmp_path_factory):
    assert place_of(site.dag("small")) == "all.py"
    file = tmp_path_factory.mktemp("elsewhere") / "other.py"
    file.write_text("from etlkit import DAG\nwith DAG('other'): pass")
    assert place_of(load_dag_file(file)[0]) == str(file)
    with pytest.raises(DagError, match=r"'cell' lies in no file, .*; write it into one"):
        place_of(DAG("cell"))


def test_a_simulated_clock_travels_with_the_reference(site):
    now = SimulatedClock(site.clock.now().replace(year=2013)).now()
    reference = site.queue(site.dag("timed"), now=now)
    assert site.worker.run(reference).end == now
    run = site.store.run("timed", reference.run_id)
    assert site.store.pull_xcom(run.id, "show_time", "return_value") == [(-1, f'"{now.isoformat()}"')]


# --- DAG files ---


def test_a_file_is_looked_at_again_when_the_task_is_not_there(site):
    site.worker.run(site.queue(site.dag("small")))
    site.write("from etlkit import DAG, task\nwith DAG('small'):\n    task(lambda: 2, task_id='two')()\n")
    reference = site.queue(site.dag("small"))
    assert (reference.task_id, site.worker.run(reference).state) == ("two", "success")


def test_a_file_is_looked_at_again_after_the_refresh_interval(site):
    first = site.queue(site.dag("small"))
    site.worker.run(first)
    site.write(DAGS.replace("return 1", "raise ValueError('changed')"))
    with settings({"ETLKIT__DAG_PROCESSOR__REFRESH_INTERVAL": "0"}):
        assert site.worker.run(site.queue(site.dag("small"))).error == "ValueError: changed"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, r".*all\.py.*no such file"),
        ("from etlkit import DAG\n1 / 0\n", r"all\.py:2: ZeroDivisionError"),
        ("from etlkit import DAG\nwith DAG('another'): pass\n", "no DAG is called 'small'"),
        ("from etlkit import DAG\nwith DAG('small'): pass\n", "DAG 'small' has no task 'one'"),
        ("import os\ndag = os._exit(3)\n", r"os\._exit\(3\) while the file loads"),
    ],
)
def test_what_cannot_be_read_fails_its_task_and_says_why(site, text, reason):
    reference = site.queue(site.dag("small"))
    if text is None:
        (site.home / "dags" / "all.py").unlink()
    else:
        site.write(text)
    result = site.worker.run(reference)
    assert result.state == "failed" and re.search(reason, result.error)
    assert re.search(reason, next(site.home.rglob("attempt=1.log")).read_text())


def test_a_task_whose_file_cannot_be_read_is_tried_again_if_it_has_retries(site):
    site.write(DAGS.replace("@task\n    def one", "@task(retries=1)\n    def one"))
    reference = site.queue(site.dag("small"))
    site.write("1 / 0")
    assert site.worker.run(reference).state == "up_for_retry"


def test_a_pickled_dag(site):
    with DAG("pickled") as dag:
        EmptyOperator(task_id="a")
    file = site.home / "dag.pickle"
    file.write_bytes(pickle.dumps(dag))
    assert site.worker.run(site.queue(dag, where=f"{PICKLED}{file}")).state == "success"
    file.with_name("broken").write_bytes(b"nothing of the kind")
    result = site.worker.run(site.queue(dag, where=f"{PICKLED}{file.with_name('broken')}"))
    assert result.state == "failed" and "broken: the DAG in it cannot be read" in result.error


def test_other_dags_are_found_where_they_are_on_this_machine(site):
    dag = site.dag("small")
    site.queue(dag)
    assert site.worker.find_dag("small").dag_id == "small"
    site.store.run_sql("UPDATE dag SET fileloc = '/where/the/scheduler/has/it.py'")
    assert site.worker.find_dag("small").dag_id == "small"
    with pytest.raises(DagNotFound, match="smal"):
        site.worker.find_dag("smal")


def test_the_warehouse_is_open_only_while_a_task_needs_it(site):
    assert site.worker.run(site.queue(site.dag("small"))).state == "success"
    assert not (site.home / "warehouse.duckdb").exists()
    assert site.worker.run(site.queue(site.dag("counted"))).state == "success"
    with closing(duckdb.connect(site.home / "warehouse.duckdb", config={"access_mode": "read_only"})):
        pass  # with other settings than the worker's, which DuckDB refuses as long as that has it open


# --- heartbeat ---

LONG = """
    from signal import raise_signal
    from etlkit import DAG, task
    from etlkit.heartbeat import INTERRUPT
    from etlkit.servers import wait_until

    @task(on_success_callback=lambda context: wait_until(lambda: False, 0.1))
    def long(ti):
        def beat():
            row = ti.store.run_sql("SELECT id, last_heartbeat_at FROM task_instance").fetchone()
            beats.add(row)
            return len(beats) > 2

        beats = set()
        assert wait_until(beat, 10)

    @task
    def cleared(ti, clock):
        with ti.store.transaction():
            ti.store.clear([(ti._work.task_pk, 0)], clock.now())
        assert wait_until(lambda: False, 20)

    @task
    def tidy(ti, clock):
        try:
            cleared.function(ti, clock)
        finally:
            wait_until(lambda: False, 0.3)
            print("cleaned up")

    with DAG("long"):
        long()
    with DAG("tidying"):
        tidy()
    @task
    def next_one():
        raise_signal(INTERRUPT)

    with DAG("clearing"):
        cleared()
    with DAG("following"):
        next_one()
"""


def test_a_long_attempt_shows_that_it_is_alive_and_its_callbacks_are_left_alone(site):
    site.write(LONG)
    reference = site.queue(site.dag("long"))
    assert (site.worker.run(reference).state, site.row(reference).state) == ("success", "success")
    assert [log for log in site.home.rglob("attempt=1.log") if "interrupted" in log.read_text()] == []


def test_an_attempt_that_lost_its_hold_is_interrupted(site):
    site.write(LONG)
    reference = site.queue(site.dag("clearing"))
    assert (site.worker.run(reference).state, site.row(reference).state) == (None, None)
    assert "AirflowTaskTerminated: cleared was interrupted" in next(site.home.rglob("attempt=1.log")).read_text()


def test_who_cleans_up_after_an_interruption_is_not_interrupted_again(site):
    site.write(LONG)
    assert site.worker.run(site.queue(site.dag("tidying"))).state is None
    assert "cleaned up" in next(site.home.rglob("attempt=1.log")).read_text()


def test_an_interruption_that_comes_late_is_not_for_the_next_attempt(site):
    site.write(LONG)
    assert site.worker.run(site.queue(site.dag("following"))).state == "success"


# --- a database that is away ---

CUT_OFF = """
    from contextlib import suppress
    from etlkit import DAG, task
    from etlkit.database import Unreachable

    def cut_off(ti):
        ti.store.run_sql("SELECT pg_terminate_backend(pg_backend_pid())")

    @task
    def caught(ti):
        with suppress(Unreachable):
            cut_off(ti)
        return "done"

    with DAG("caught"):
        caught()
    with DAG("told"):
        task(print, task_id="told", on_success_callback=lambda context: print("it is told"))()
    with DAG("surprised"):
        task(cut_off)()
"""


def test_what_an_attempt_did_is_not_lost_with_its_connection(postgres_site):
    site = postgres_site
    site.write(CUT_OFF)
    reference = site.queue(site.dag("caught"))
    assert (site.worker.run(reference).state, site.row(reference).state) == ("success", "success")
    run = site.store.run("caught", reference.run_id)
    assert site.store.pull_xcom(run.id, "caught", "return_value") == [(-1, '"done"')]


def test_a_task_that_needed_the_database_while_it_was_away_has_not_failed(postgres_site):
    site = postgres_site
    site.write(CUT_OFF)
    reference = site.queue(site.dag("surprised"))
    with pytest.raises(Unreachable):
        site.worker.run(reference)
    assert site.row(reference).state == "running"  # until its heartbeat is missed: then it is made again
    assert site.worker.run(site.queue(site.dag("caught"))).state == "success"


def test_an_end_whose_answer_got_lost_counts(postgres_site, monkeypatch):
    site = postgres_site
    site.write(CUT_OFF)
    reference, store = site.queue(site.dag("told")), site.worker.store
    finish, tries = store.finish_attempt, []

    def finish_and_lose_the_answer(*args, **values):
        tries.append(finish(*args, **values))
        store.run_sql("SELECT pg_terminate_backend(pg_backend_pid())")

    monkeypatch.setattr(store, "finish_attempt", finish_and_lose_the_answer)
    assert (site.worker.run(reference).state, site.row(reference).state, tries) == ("success", "success", [True])
    (log,) = site.home.rglob("attempt=1.log")
    assert "it is told" in log.read_text() and "not counted" not in log.read_text()


def test_ends_are_told_to_who_wants_to_hear_of_them(postgres_site):
    site = postgres_site
    site.worker.store.tells_ends = True
    site.store.hear_of_ends()
    reference = site.queue(site.dag("small"))
    site.worker.run(reference)
    site.store.wait_for_news(10)
    assert site.store.ended == {reference.task_pk}


def test_who_has_a_thousand_files_open_can_wait_for_news(postgres_site):
    resource = pytest.importorskip("resource", reason="only where a process may have so many files open")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as stack:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(2048, limits[1]), limits[1]))
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        while stack.enter_context(Path(os.devnull).open()).fileno() < 1024:
            pass
        store = stack.enter_context(closing(Store(postgres_site.store.url.render_as_string(hide_password=False))))
        assert store.cursor.connection.fileno() > 1023
        store.wait_for_news(0)
        postgres_site.store.touched()
        store.wait_for_news(10)
        assert store.changed_elsewhere()
