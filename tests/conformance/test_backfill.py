"""What a backfill does with each logical date: the answers of Apache Airflow 3.3.2, recorded in cases/backfill.json.

Airflow has an exception class for each refusal; the kit has one class and says which it is in words (`REFUSALS`).
"""

import json
from contextlib import nullcontext
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from dateutil.relativedelta import relativedelta

from etlkit.backfill import create_backfill, plan_backfill
from etlkit.dag import DAG, BaseOperator
from etlkit.errors import BackfillError
from etlkit.params import Param
from etlkit.runs import insert_run
from etlkit.states import DagRunType
from etlkit.store import Store
from etlkit.timetables import (
    CronDataIntervalTimetable,
    CronTriggerTimetable,
    DagRunInfo,
    DeltaDataIntervalTimetable,
    timetable_for,
)

CASES = json.loads((Path(__file__).parent / "cases" / "backfill.json").read_text(encoding="utf-8"))["cases"]

REFUSALS = {
    "AlreadyRunningBackfill": "has a backfill that is not complete",
    "DagNonPeriodicScheduleException": "names no dates to go back to",
    "DagRunTypeNotAllowed": "allows only runs of type manual, scheduled",
    "InvalidBackfillConf": "param '.*' (cannot be|has no default)",
    "InvalidBackfillDate": "are in the future",
    "InvalidBackfillDateRange": "is after to_date",
    "InvalidBackfillDirection": "leave out reverse",
    "InvalidReprocessBehavior": "use reprocess='failed' or 'completed'",
    "NoBackfillRunsToCreate": "has no logical date in this range whose interval is over",
}


def instant(text):
    return text and datetime.fromisoformat(text)


def delta(spec):
    return relativedelta(**spec["rel"]) if "rel" in spec else timedelta(**spec)


def schedule_of(spec):
    """The schedule of a case as a DAG's author would write it, with Airflow's default settings."""
    match spec:
        case {"ct": cron, "tz": zone}:
            return CronTriggerTimetable(cron, timezone=zone, interval=delta(spec.get("interval") or {}))
        case {"cdi": cron, "tz": zone}:
            return CronDataIntervalTimetable(cron, zone)
        case {"ddi": length}:
            return DeltaDataIntervalTimetable(delta(length))
        case {"delta": length}:
            return timetable_for(delta(length), "UTC", create_cron_data_intervals=False)
    return timetable_for(spec, "UTC", create_cron_data_intervals=False)


def dag_of(case):
    spec = case["dag"]
    with DAG(
        "backfilled",
        schedule=schedule_of(case["schedule"]),
        start_date=instant(spec["start_date"]),
        end_date=instant(spec["end_date"]),
        catchup=spec["catchup"],
        params={name: Param(**param) for name, param in (spec["params"] or {}).items()},
        allowed_run_types=spec["allowed_run_types"],
        default_args={"depends_on_past": spec["depends_on_past"]},
    ) as dag:
        _ = BaseOperator("t1") >> BaseOperator("t2")
    return dag


def add_run(store, dag, spec, now):
    """A run that was there before the backfill, its tasks as it is."""
    date, kind, state = instant(spec["logical_date"]), DagRunType(spec["run_type"]), spec["state"]
    info = next(dag.timetable.iter_dagrun_infos_between(date, date), None)
    if info is None or kind is DagRunType.MANUAL:
        info = DagRunInfo(date, dag.timetable.infer_manual_data_interval(run_after=date))
    with store.transaction():
        run = insert_run(
            store,
            dag,
            kind,
            logical_date=date,
            data_interval=info.data_interval,
            run_after=info.run_after,
            now=now,
        )
        if state != "queued":
            store.set_run_state(run.id, "queued", "running", now)
        if state in ("success", "failed"):
            steps = (None, "scheduled", "queued", "running", state)
            store.set_task_states({task.id: steps for task in store.task_instances(run.id)}, now)
            store.set_run_state(run.id, "running", state, now)


def refused(error):
    return pytest.raises(BackfillError, match=REFUSALS[error]) if error else nullcontext()


def plan_of(case, dag, store):
    wanted = case["backfill"]
    return plan_backfill(
        dag,
        instant(wanted["from_date"]),
        instant(wanted["to_date"]),
        reprocess=wanted["reprocess_behavior"],
        reverse=wanted["reverse"],
        existing=store.runs(dag.dag_id),
        now=instant(case["now"]),
    )


def make(case, dag, store):
    wanted = case["backfill"]
    return create_backfill(
        store,
        dag,
        plan_of(case, dag, store),
        max_active_runs=wanted["max_active_runs"],
        conf=wanted["dag_run_conf"],
        now=instant(case["now"]),
    )


def recorded_plan(store):
    rows = store.run_sql(
        "SELECT sort_ordinal, logical_date, action, reason FROM backfill_dag_run ORDER BY sort_ordinal"
    )
    return [
        {"sort_ordinal": ordinal, "logical_date": instant(date).isoformat(), "action": action, "reason": reason}
        for ordinal, date, action, reason in rows
    ]


def all_runs(store):
    return [
        {
            "logical_date": run.logical_date.isoformat(),
            "run_type": run.run_type,
            "state": run.state,
            "conf": run.conf,
            "data_interval": [run.data_interval_start.isoformat(), run.data_interval_end.isoformat()],
            "run_after": run.run_after.isoformat(),
            "task_states": {task.task_id: task.state for task in store.task_instances(run.id)},
        }
        for run in sorted(store.runs("backfilled"), key=lambda run: run.logical_date)
    ]


@pytest.fixture
def store():
    store = Store("sqlite://")
    yield store
    store.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_agrees_with_airflow(case, store):
    dag = dag_of(case)
    for spec in case["existing_runs"]:
        add_run(store, dag, spec, instant(case["now"]))
    with refused(case.get("dry_run_error")):
        assert [date.isoformat() for date in plan_of(case, dag, store).dates] == case["dry_run"]
    before = all_runs(store)
    with refused(case.get("create_error")):
        make(case, dag, store)
    if case.get("create_error"):
        assert (all_runs(store), recorded_plan(store)) == (before, [])
        return
    if case["twice"]:
        with refused(case.get("second_create_error")):
            make(case, dag, store)
    assert recorded_plan(store) == case["plan"]
    assert all_runs(store) == case["runs_after"]


def test_every_kind_of_case_is_there():
    asked = {error for case in CASES for key, error in case.items() if key.endswith("_error")}
    assert asked <= REFUSALS.keys()
    assert {item["action"] for case in CASES for item in case.get("plan") or ()} == {"create", "rerun", "skip"}
