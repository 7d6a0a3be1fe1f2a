"""What must not stop the scheduler: others that write, errors in the middle, one bad DAG among many."""

from datetime import UTC, datetime, timedelta

import pytest

from etlkit.clock import SimulatedClock
from etlkit.dag import DAG, BaseOperator
from etlkit.errors import MetadataError
from etlkit.executors.sequential import SequentialExecutor
from etlkit.runs import clear_run, trigger_run
from etlkit.scheduler import Scheduler
from etlkit.scheduler_lock import SchedulerLock
from etlkit.store import Store
from etlkit.timetables import DagRunInfo, Timetable

START = datetime(2013, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


class Note(BaseOperator):
    """Notes that it ran."""

    def __init__(self, ran, **kwargs):
        super().__init__(**kwargs)
        self.ran = ran

    def execute(self, context):
        self.ran.append(self.task_id)


def dag_of(ran, dag_id="d", n=1, **arguments):
    with DAG(dag_id, start_date=START, **arguments) as dag:
        for i in range(n):
            Note(ran, task_id=f"t{i}")
    return dag


def scheduler_of(store, *dags):
    scheduler = Scheduler(store, SimulatedClock(START), SequentialExecutor())
    for dag in dags:
        scheduler.add_dag(dag)
    return scheduler


def test_a_clear_that_commits_while_the_scheduler_waits_to_write_is_seen(tmp_path, monkeypatch):
    url, ran = f"sqlite:///{tmp_path / 'etl.db'}", []
    dag = dag_of(ran)
    scheduler, other = scheduler_of(Store(url), dag), Store(url)
    run = trigger_run(scheduler.store, dag, now=START, logical_date=START)
    while not ran:
        scheduler.tick()
    begin = scheduler.store.transaction().__class__.__enter__
    cleared = []

    def slow_to_get_the_lock(transaction):
        if transaction.store is scheduler.store and not cleared:
            cleared.append(clear_run(other, dag, other.run("d", run.run_id), now=START))
        return begin(transaction)

    monkeypatch.setattr(type(scheduler.store.transaction()), "__enter__", slow_to_get_the_lock)
    scheduler.settle()
    assert cleared[0] and ran == ["t0", "t0"]
    assert [task.state for task in other.task_instances(run.id)] == ["success"]
    scheduler.store.close(), other.close()


def test_an_error_while_everything_is_read_is_made_good_at_the_next_pass(monkeypatch):
    ran = []
    scheduler = scheduler_of(Store(), dag_of(ran, schedule="@daily", catchup=True))
    real = scheduler.store.open_runs

    def busy(_dag_ids):
        monkeypatch.setattr(scheduler.store, "open_runs", real)
        raise MetadataError("busy")

    monkeypatch.setattr(scheduler.store, "open_runs", busy)
    with pytest.raises(MetadataError):
        scheduler.run_until(START + DAY)
    scheduler.run_until(START + 3 * DAY)
    assert len(ran) == 3


def fail():
    raise ZeroDivisionError


NAIVE = datetime(2013, 1, 1)  # noqa: DTZ001 (what is refused)


@pytest.mark.parametrize("answer", [fail, lambda: "tomorrow", lambda: DagRunInfo.exact(NAIVE)])
def test_a_dag_whose_timetable_fails_leaves_the_others_alone(caplog, answer):
    class Broken(Timetable):
        def next_dagrun_info(self, *, last_automated_data_interval, restriction):
            return answer()

    ran = []
    bad, good = dag_of([], "bad", schedule=Broken()), dag_of(ran, "good", schedule="@daily", catchup=True)
    scheduler_of(Store(), bad, good).run_until(START + 2 * DAY)
    assert len(ran) == 2
    assert "DAG bad is not scheduled: its timetable failed" in caplog.text


def test_a_dag_that_allows_no_scheduled_runs_gets_none_and_leaves_the_others_alone():
    ran, never = [], []
    only_manual = dag_of(never, "manual", schedule="@daily", catchup=True, allowed_run_types=["manual"])
    scheduler = scheduler_of(Store(), only_manual, dag_of(ran, schedule="@daily", catchup=True))
    scheduler.run_until(START + 2 * DAY)
    assert (len(ran), never) == (2, [])


def test_an_interruption_between_queueing_and_running_runs_the_task_once():
    class Interrupt(SequentialExecutor):
        def poll(self):
            if not self.interrupted:
                self.interrupted = True
                raise KeyboardInterrupt
            return super().poll()

        interrupted = False

    ran = []
    dag = dag_of(ran)
    scheduler = Scheduler(Store(), SimulatedClock(START), Interrupt())
    scheduler.add_dag(dag)
    trigger_run(scheduler.store, dag, now=START, logical_date=START)
    with pytest.raises(KeyboardInterrupt):
        scheduler.settle()
    scheduler.settle()
    assert ran == ["t0"]


def test_links_to_a_database_lead_to_one_lock(tmp_path):
    (tmp_path / "etl.db").touch()
    (tmp_path / "link.db").symlink_to(tmp_path / "etl.db")
    with SchedulerLock(tmp_path / "etl.db", "one"), pytest.raises(MetadataError, match="is scheduled by"):
        SchedulerLock(tmp_path / "link.db", "two").__enter__()
