"""Schedulers that are killed with -9, for test_crash.py: every life is a process of its own on the same files.

`python tests/crashing.py SCENARIO FOLDER every [STEP]` kills one life at each STEP-th statement that SQLite executes,
from the first PRAGMA on, lets the next finish, and checks what both left behind. `twice` kills the second life too.
`python tests/crashing.py SCENARIO FOLDER once` is one life, which prints a line for each attempt.
"""

import contextlib
import os
import shutil
import signal
import sqlite3
import sys
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from etlkit.backfill import create_backfill, plan_backfill
from etlkit.clock import SimulatedClock
from etlkit.dag import DAG, BaseOperator
from etlkit.errors import DownstreamTasksSkipped
from etlkit.executors.sequential import SequentialExecutor
from etlkit.runs import trigger_run
from etlkit.scheduler import Scheduler
from etlkit.sensors.base import BaseSensorOperator
from etlkit.store import Store

DAYS = [datetime(2013, 1, day, tzinfo=UTC) for day in (1, 2, 3)]
NOW = DAYS[-1] + timedelta(days=1, hours=1)
OVER = {"start_date": DAYS[0] - timedelta(days=300), "end_date": DAYS[0] - timedelta(days=300), "catchup": False}
"""Dates of a DAG whose schedule is over, so that every run is a backfill's."""
AIRPORTS = ("EWR", "JFK", "LGA")
HOUR = timedelta(hours=1)


def killed_at(statement: int | None) -> None:
    """From now on every connection to SQLite counts what it executes, and the process dies at that number."""
    counted, connect = 0, sqlite3.dbapi2.connect

    def count(_sql: str) -> None:
        nonlocal counted
        counted += 1
        if counted == statement:
            os.kill(os.getpid(), signal.SIGKILL)

    def connect_and_count(*args, **kwargs):
        connection = connect(*args, **kwargs)
        connection.set_trace_callback(count)
        return connection

    sqlite3.dbapi2.connect = connect_and_count


# --- a pipeline with a bit of everything ------------------------------------------------------------------------------


class Extract(BaseOperator):
    """Fails in its first try, then returns one row for each airport."""

    def execute(self, context):
        print(context["ds"], self.task_id, file=sys.__stdout__, flush=True)
        if context["ti"].try_number == 1:
            raise ConnectionError("the source is down")
        return [[airport, context["ds"], len(airport) + context["logical_date"].day] for airport in AIRPORTS]


class Wait(BaseSensorOperator):
    """Waits for a minute, without a slot."""

    def poke(self, context):
        return context["clock"].now() - context["ti"].first_start_date >= timedelta(minutes=1)


class Choose(BaseOperator):
    """A branch that never rains."""

    def execute(self, context):
        raise DownstreamTasksSkipped(["rain"], {"followed": ["dry"]})


class Load(BaseOperator):
    """Merges the rows into a table with one row for each airport and date: doing it twice changes nothing."""

    def __init__(self, table: Path, **kwargs):
        self.table = table
        super().__init__(**kwargs)

    def execute(self, context):
        print(context["ds"], self.task_id, file=sys.__stdout__, flush=True)
        rows = context["ti"].xcom_pull(task_ids="extract")
        with contextlib.closing(sqlite3.dbapi2.connect(self.table)) as warehouse, warehouse:
            warehouse.execute("CREATE TABLE IF NOT EXISTS weather (airport, day, temp, PRIMARY KEY (airport, day))")
            sql = "INSERT INTO weather VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET temp = excluded.temp"
            warehouse.executemany(sql, rows)


class LoadDuckDB(Load):
    """The same with the kit's own merge."""

    def execute(self, context):
        import duckdb

        from etlkit.warehouse import merge

        print(context["ds"], self.task_id, file=sys.__stdout__, flush=True)
        rows = [tuple(row) for row in context["ti"].xcom_pull(task_ids="extract")]
        with duckdb.connect(str(self.table)) as warehouse:
            warehouse.execute("CREATE TABLE IF NOT EXISTS weather (airport VARCHAR, day VARCHAR, temp INTEGER)")
            merge(warehouse, "weather", rows, key=["airport", "day"], order_by="temp")


class Kill(BaseOperator):
    """Takes its process with it, every time."""

    def execute(self, context):
        print("killing", file=sys.__stdout__, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)


def pipeline(load: BaseOperator, **kwargs) -> DAG:
    kwargs = {"start_date": DAYS[0], "catchup": True, **kwargs}
    with DAG("weather", schedule="@daily", max_active_runs=2, **kwargs) as dag:
        extract = Extract("extract", retries=1, retry_delay=60)
        dag.add_task(load)
        wait, report = Wait(task_id="wait", mode="reschedule", poke_interval=30), BaseOperator("report")
        choose, rain, dry = Choose("choose"), BaseOperator("rain"), BaseOperator("dry")
        for task in (rain, dry, report):
            task.execute = lambda context: None
        report.trigger_rule = "none_failed"
        extract >> load >> report
        wait >> choose >> [rain, dry] >> report
    return dag


ENDS = {
    **dict.fromkeys(["extract", "load", "wait", "choose", "dry", "report"], "success"),
    "rain": "skipped",
}


def scheduled(folder: Path) -> DAG:
    return pipeline(Load(folder / "warehouse.db", task_id="load", depends_on_past=True))


def with_duckdb(folder: Path) -> DAG:
    return pipeline(LoadDuckDB(folder / "warehouse.duckdb", task_id="load"))


def backfilled(folder: Path) -> DAG:
    return pipeline(Load(folder / "warehouse.db", task_id="load"), **OVER)


def deadly(folder: Path) -> DAG:
    with DAG("weather", schedule=None, start_date=DAYS[0]) as dag:
        Kill("kill", retries=2, retry_delay=0)
    return dag


SCENARIOS = {"scheduled": scheduled, "duckdb": with_duckdb, "backfilled": backfilled, "deadly": deadly}

# --- lives ------------------------------------------------------------------------------------------------------------


def live(scenario: str, folder: Path, lives_before: int = 0) -> None:
    """One life of a scheduler: take over what the one before left, and run everything to its end."""
    dag, clock = SCENARIOS[scenario](folder), SimulatedClock(NOW + lives_before * HOUR)
    store = Store(f"sqlite:///{folder}/etl.db")
    scheduler = Scheduler(store, clock, SequentialExecutor())
    scheduler.add_dag(dag)
    scheduler.recover()
    if scenario == "backfilled" and not store.backfills():
        plan = plan_backfill(dag, DAYS[0], DAYS[-1], existing=store.runs(), now=clock.now())
        create_backfill(store, dag, plan, max_active_runs=2, now=clock.now())
    if scenario == "deadly" and not store.runs():
        trigger_run(store, dag, now=clock.now())
    scheduler.run_until(clock.now() + HOUR)
    store.close()


def check(scenario: str, folder: Path) -> None:
    """AssertionError unless everything is complete: no run lost, made twice or stuck, no row lost or doubled."""
    store = Store(f"sqlite:///{folder}/etl.db")
    runs = sorted(store.runs("weather"), key=lambda run: run.logical_date)
    assert [run.logical_date for run in runs] == DAYS, [run.run_id for run in runs]
    assert {run.state for run in runs} == {"success"}, [run.state for run in runs]
    for run in runs:
        tasks = {task.task_id: task for task in store.task_instances(run.id)}
        assert {task_id: task.state for task_id, task in tasks.items()} == ENDS, tasks
        tries: dict[str, list[int]] = {task_id: [] for task_id in tasks}
        for task_id, _, number, state, start, *_ in store.history(run.id):
            assert (state, start is not None) == ("failed", True)
            tries[task_id].append(number)
        for task_id, task in tasks.items():
            assert tries[task_id] == list(range(1, task.try_number)), (task_id, tries[task_id], task.try_number)
        assert tasks["rain"].try_number == 0
        assert tasks["extract"].try_number >= 2
        ((_, rows),) = store.pull_xcom(run.id, "extract", "return_value")
        assert rows.count(run.logical_date.strftime("%Y-%m-%d")) == len(AIRPORTS)
    assert store.slot_holders() == []
    assert [backfill.completed_at is not None for backfill in store.backfills()] == [True] * (scenario == "backfilled")
    assert store.run_sql("PRAGMA integrity_check").fetchone() == ("ok",)
    store.close()
    expected = [(airport, f"{day:%Y-%m-%d}", 3 + day.day) for airport in AIRPORTS for day in DAYS]
    assert sorted(rows_of(folder)) == sorted(expected)


def live_and_check(scenario: str, folder: Path, lives_before: int) -> None:
    live(scenario, folder, lives_before)
    check(scenario, folder)


def rows_of(folder: Path) -> list[tuple]:
    query = "SELECT airport, day, temp FROM weather"
    if (folder / "warehouse.duckdb").exists():
        import duckdb

        with duckdb.connect(str(folder / "warehouse.duckdb")) as warehouse:
            return warehouse.execute(query).fetchall()
    with contextlib.closing(sqlite3.connect(folder / "warehouse.db")) as warehouse:
        return warehouse.execute(query).fetchall()


def was_killed(work, *args, kill_at: int | None = None) -> bool:
    """Do `work` in a process of its own that dies at the given statement; whether it did."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(30)  # what hangs is ended
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, 1)
        status = 1
        with contextlib.suppress(BaseException):
            killed_at(kill_at)
            try:
                work(*args)
                status = 0
            except BaseException:
                import traceback

                traceback.print_exc()
        sys.stderr.flush()
        os._exit(status)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL, f"it hung, or died of signal {os.WTERMSIG(status)}"
        return True
    assert os.WEXITSTATUS(status) == 0, "it failed, see above"
    return False


def kill_everywhere(scenario: str, folder: Path, step: int, twice: bool) -> int:
    """Kill a life of a scenario at each step-th statement, until one ends by itself; how many were killed."""
    return kill_each(partial(live, scenario), partial(live_and_check, scenario), folder, step, twice)


def kill_each(live, live_and_check, folder: Path, step: int, twice: bool = False) -> int:
    """The same of any lives."""
    killed = 0
    for statement in range(1, 10**6, step):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        if not was_killed(live, folder, kill_at=statement):
            break
        killed += 1
        lives = 1
        if twice:
            lives += was_killed(live, folder, lives, kill_at=statement // 2 + 1)
        assert not was_killed(live_and_check, folder, lives), f"killed at {statement}"
    return killed


if __name__ == "__main__":
    name, where, mode, *how = sys.argv[1:]
    if mode == "once":
        live(name, Path(where), *map(int, how))
    else:
        print(kill_everywhere(name, Path(where) / "life", int(how[0]) if how else 1, mode == "twice"))
