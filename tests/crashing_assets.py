"""Schedulers that are killed while assets and tasks start DAGs, for test_crash.py; `crashing.py` says how.

`python -m tests.crashing_assets FOLDER [STEP]` kills a life at each STEP-th statement.
"""

import sys
from collections import Counter
from pathlib import Path

from etlkit.assets import Asset
from etlkit.clock import SimulatedClock
from etlkit.dag import DAG, BaseOperator
from etlkit.executors.sequential import SequentialExecutor
from etlkit.operators import TriggerDagRunOperator
from etlkit.scheduler import Scheduler
from etlkit.store import Store
from tests.crashing import DAYS, HOUR, NOW, kill_each

ORDERS, PRICES = Asset("orders"), Asset("prices")
OLDER = DAYS[:2]


class Make(BaseOperator):
    """Makes its outlets, and tells of which day they are."""

    def execute(self, context):
        for asset in self.outlets:
            context["outlet_events"][asset].extra["day"] = context["ds"]


class Count(BaseOperator):
    """How many events its run is about."""

    def execute(self, context):
        return sum(map(len, context["triggering_asset_events"].values()))


def dags() -> list[DAG]:
    with DAG("source", schedule="@daily", start_date=OLDER[0], end_date=OLDER[-1], catchup=True) as source:
        start = TriggerDagRunOperator(
            task_id="start", trigger_dag_id="audit", trigger_run_id="of_{{ ds }}", wait_for_completion=True
        )
        Make("orders", outlets=[ORDERS]) >> Make("prices", outlets=[PRICES]) >> start
    with DAG("report", schedule=ORDERS | PRICES, max_active_runs=1) as report:
        Count("count")
    with DAG("audit", schedule=None) as audit:
        Count("count")
    return [source, report, audit]


def live(folder: Path, lives_before: int = 0) -> None:
    """One life of a scheduler: take over what the one before left, and run everything to its end."""
    clock = SimulatedClock(NOW + lives_before * HOUR)
    store = Store(f"sqlite:///{folder}/etl.db")
    scheduler = Scheduler(store, clock, SequentialExecutor())
    for dag in dags():
        scheduler.add_dag(dag)
    scheduler.recover()
    scheduler.run_until(clock.now() + HOUR)
    store.close()


def check(folder: Path) -> None:
    """AssertionError unless each asset has one event a day, each in one run, and each day was audited once."""
    store = Store(f"sqlite:///{folder}/etl.db")
    assert {run.state for run in store.runs()} == {"success"}, store.runs()
    assert [run.logical_date for run in store.runs("source")] == OLDER
    days = sorted(f"{day:%Y-%m-%d}" for day in OLDER)
    assert sorted(run.run_id for run in store.runs("audit")) == [f"of_{day}" for day in days]
    events = store.run_sql(
        """SELECT a.name, e.extra, COUNT(d.dag_run_id) FROM asset_event e JOIN asset a ON a.id = e.asset_id
           LEFT JOIN dagrun_asset_event d ON d.event_id = e.id
           GROUP BY e.id, a.name, e.extra ORDER BY a.name, e.extra"""
    ).fetchall()
    assert events == [(name, f'{{"day": "{day}"}}', 1) for name in ("orders", "prices") for day in days], events
    counts = [int(store.pull_xcom(run.id, "count", "return_value")[0][1]) for run in store.runs("report")]
    assert sum(counts) == len(events), counts
    assert store.run_sql("SELECT COUNT(*) FROM asset_dag_run_queue").fetchone() == (0,)
    tries = Counter(task.task_id for run in store.runs("source") for task in store.task_instances(run.id))
    assert set(tries.values()) == {len(OLDER)}
    store.close()


def live_and_check(folder: Path, lives_before: int) -> None:
    live(folder, lives_before)
    check(folder)


if __name__ == "__main__":
    print(kill_each(live, live_and_check, Path(sys.argv[1]) / "life", int(sys.argv[2]) if sys.argv[2:] else 1))
