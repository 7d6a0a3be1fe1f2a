"""Making runs: by the schedule, by a person, by a backfill; and making them run again.

A run and its task instances are inserted in one transaction, so a run is never seen half made.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Any

import networkx as nx

from etlkit.arguments import check_date
from etlkit.dag import DAG, BaseOperator
from etlkit.errors import DagError, ParamValidationError
from etlkit.params import NOTSET, run_params
from etlkit.scopes import with_their_scopes
from etlkit.states import DagRunState, DagRunType
from etlkit.store import RunRow, Store, TaskRow


def insert_run(
    store: Store,
    dag: DAG,
    run_type: DagRunType,
    *,
    logical_date: datetime | None,
    data_interval: tuple[datetime, datetime] | None,
    run_after: datetime,
    now: datetime,
    conf: Mapping[str, Any] | None = None,
    run_id: str | None = None,
    backfill_id: int | None = None,
) -> RunRow | None:
    """Insert a queued run with its task instances, inside the caller's transaction; None if there is one of this date.

    A task whose own start_date or end_date leaves out the logical date gets no instance. DagError if the DAG's
    `allowed_run_types` leave out this type, or `conf` is not JSON.
    """
    check_conf(dag, conf)
    if dag.allowed_run_types is not None and str(run_type) not in dag.allowed_run_types:
        allowed = ", ".join(sorted(dag.allowed_run_types))
        raise DagError(f"DAG {dag.dag_id!r} allows only runs of type {allowed}, not {run_type}")
    run = store.create_run(
        dag.dag_id,
        run_id or run_type.run_id(run_after.isoformat()),
        run_type=run_type,
        logical_date=logical_date,
        data_interval=data_interval,
        run_after=run_after,
        now=now,
        conf=conf,
        backfill_id=backfill_id,
    )
    if run is not None:
        store.create_task_instances(run.id, task_rows(dag, run))
    return run


def check_conf(dag: DAG, conf: Mapping[str, Any] | None) -> None:
    """DagError unless `conf` is a dict that JSON can hold."""
    try:
        json.dumps(conf, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise DagError(f"the conf of a run of {dag.dag_id!r} must be JSON: {error}") from None
    if not isinstance(conf, (Mapping, type(None))):
        raise DagError(f"the conf of a run of {dag.dag_id!r} must be a dict, not {conf!r}")


def check_run_params(dag: DAG, conf: Mapping[str, Any] | None) -> None:
    """DagError unless `conf` is a JSON object; ParamValidationError unless all params of the DAG are valid with it."""
    check_conf(dag, conf)
    try:
        run_params(dag.params, conf=conf)
    except ParamValidationError as error:
        raise ParamValidationError(f"DAG {dag.dag_id!r}: {error}", error.name) from None


def task_rows(dag: DAG, run: RunRow) -> list[dict[str, Any]]:
    """What to insert for each task that has an instance in a run, in topological order.

    A backfill is asked for, so its runs have all tasks, as in Airflow: dates of tasks bound the schedule alone.
    """
    rows = []
    date = None if run.run_type == DagRunType.BACKFILL else run.logical_date
    for task_id in dag.topological_order():
        task = dag.task_dict[task_id]
        too_early = task.start_date and date and date < task.start_date
        too_late = task.end_date and date and date > task.end_date
        if not (too_early or too_late):
            length = task.expansion.literal_length if task.expansion is not None else None
            rows += instance_rows(task, range(length)) if length else instance_rows(task, NOT_EXPANDED)
    return rows


NOT_EXPANDED = (-1,)
"""The map indexes of a task that is not mapped, or of which it is not known yet how many instances it has."""


def instance_rows(task: BaseOperator, map_indexes: Iterable[int]) -> list[dict[str, Any]]:
    """What to insert for instances of a task."""
    return [
        {
            "task_id": task.task_id,
            "map_index": map_index,
            "max_tries": task.retries,
            "pool": task.pool,
            "pool_slots": task.pool_slots,
        }
        for map_index in map_indexes
    ]


def trigger_run(
    store: Store,
    dag: DAG,
    *,
    now: datetime,
    logical_date: datetime | None = NOTSET,
    conf: Mapping[str, Any] | None = None,
    run_id: str | None = None,
) -> RunRow:
    """Make a manual run, at once; DagError if there is already a run of this date or id.

    Unless a logical date is given, the run is labelled with `now`, as by Airflow's web page. Its data interval is what
    the timetable infers: under a daily data-interval schedule the last whole day, not today.

    None makes a run that is about no date, as Airflow's `dags trigger` and its API do when they are given none: it has
    no data interval either, and for its tasks `ds`, `ts` and all else that follows from a date is undefined.

    ParamValidationError, before there is a run, if a param of the DAG has no valid value with this `conf`.
    """
    check_run_params(dag, conf)
    check_run_id(dag, run_id)
    date = check_date("logical_date", now if logical_date is NOTSET else logical_date)
    with store.transaction():
        run = make_manual_run(store, dag, now=now, logical_date=date, conf=conf, run_id=run_id)
        store.touched()
    return run


def make_manual_run(
    store: Store,
    dag: DAG,
    *,
    now: datetime,
    logical_date: datetime | None,
    conf: Mapping[str, Any] | None,
    run_id: str | None,
) -> RunRow:
    """Make a manual run inside the caller's transaction, who has checked the params and the id."""
    store.alone(f"manual runs of {dag.dag_id}")
    moment = (logical_date or now).astimezone(UTC)
    run = insert_run(
        store,
        dag,
        DagRunType.MANUAL,
        logical_date=logical_date and moment,
        data_interval=dag.timetable.infer_manual_data_interval(run_after=moment) if logical_date else None,
        run_after=moment,
        now=now,
        conf=conf,
        run_id=run_id or (None if logical_date else free_run_id(store, dag, moment)),
    )
    if run is None:
        taken = " or ".join([f"of {moment.isoformat()}"] * bool(logical_date) + [f"called {run_id!r}"] * bool(run_id))
        raise DagError(f"DAG {dag.dag_id!r} already has a run {taken}; clear that one, or give another date or id")
    return run


def check_run_id(dag: DAG, run_id: str | None) -> None:
    """DagError if a manual run would be taken for one of another type by its id."""
    kind = (run_id or "").partition("__")[0]
    if run_id is not None and (not run_id or (kind in set(DagRunType) and kind != DagRunType.MANUAL)):
        reserved = f"it is kept for {kind} runs" if run_id else "it is empty"
        raise DagError(f"a manual run of DAG {dag.dag_id!r} cannot have the id {run_id!r}: {reserved}; choose another")


def free_run_id(store: Store, dag: DAG, moment: datetime, kind: DagRunType = DagRunType.MANUAL) -> str:
    """An id for a run without a logical date: its moment, and a number if there are several.

    Airflow puts a random word after the moment.
    """
    plain = kind.run_id(moment.isoformat())
    at_once = store.count_runs_at(dag.dag_id, moment) if store.run(dag.dag_id, plain) is not None else 0
    names = itertools.chain([plain][at_once:], (f"{plain}__{number}" for number in itertools.count(at_once + 1)))
    return next(name for name in names if store.run(dag.dag_id, name) is None)


def runs_on(store: Store, dag_id: str, moment: datetime, zone: tzinfo) -> list[RunRow]:
    """The run of a logical date; without one, and if it is midnight in `zone`, all runs of that day there."""
    exact = store.run_at(dag_id, moment)
    local = moment.astimezone(zone)
    if exact is not None or local.time() != time():
        return [exact] if exact is not None else []
    next_day = local + timedelta(days=1)  # the next midnight on the wall, however long the day is
    return store.runs(dag_id, dates=(moment, next_day.astimezone(UTC)))


def clear_run(
    store: Store,
    dag: DAG,
    run: RunRow,
    *,
    now: datetime,
    task_ids: Iterable[str] | None = None,
    only_failed: bool = False,
    downstream: bool = False,
    upstream: bool = False,
    dry_run: bool = False,
) -> list[TaskRow]:
    """Make tasks of a run undecided again, so that the scheduler runs them anew; returns what was cleared.

    All of its tasks, or those in `task_ids` (with everything `downstream` or `upstream` of them); `only_failed` leaves
    out those that did not fail. With a task go the setups that it works within, and with a setup its teardowns. A run
    that had finished is queued again. A `dry_run` only tells.
    """
    wanted = None if task_ids is None else _with_neighbours(dag, task_ids, downstream, upstream)
    with store.transaction():
        store.hold(run.id)
        state = _state_now(store, run)
        decided = [task for task in store.task_instances(run.id) if task.state is not None]
        tasks = [
            task
            for task in decided
            if (wanted is None or task.task_id in wanted)
            and (not only_failed or task.state in ("failed", "upstream_failed"))
        ]
        tasks += _scopes_around(dag, tasks, decided)
        if dry_run:
            return tasks
        retries = {task_id: task.retries for task_id, task in dag.task_dict.items()}
        store.clear([(task.id, retries.get(task.task_id, 0)) for task in tasks], now)
        if tasks and state in (DagRunState.SUCCESS, DagRunState.FAILED):
            store.set_run_state(run.id, state, DagRunState.QUEUED, now)
    return tasks


def _state_now(store: Store, run: RunRow) -> str:
    """The state of a run at this moment: it may have changed since its row was read."""
    row = store.run(run.dag_id, run.run_id)
    if row is None:
        raise DagError(f"DAG {run.dag_id!r} has no run {run.run_id!r} any more")
    return row.state


def _scopes_around(dag: DAG, tasks: list[TaskRow], among: list[TaskRow]) -> list[TaskRow]:
    """The setups and teardowns that have to run again with these tasks; in a mapped group those of the same index."""
    if not any(task.is_setup for task in dag.tasks):
        return []
    chosen: dict[tuple[str, int] | None, set[str]] = {None: set()}
    for task in tasks:
        chosen.setdefault(_place(dag, task), set()).add(task.task_id)
    also = {place: with_their_scopes(dag, task_ids) - task_ids for place, task_ids in chosen.items()}
    anywhere, taken = set().union(*also.values()), {task.id for task in tasks}
    return [
        task
        for task in among
        if task.id not in taken
        for place in [_place(dag, task)]
        if task.task_id in (anywhere if place is None else also[None] | also.get(place, set()))
    ]


def _place(dag: DAG, row: TaskRow) -> tuple[str, int] | None:
    """In a mapped group, which one and which instance of it."""
    task = dag.task_dict.get(row.task_id)
    group = task.mapped_group if task is not None else None
    return (group.group_id, row.map_index) if group is not None else None


def _with_neighbours(dag: DAG, task_ids: Iterable[str], downstream: bool, upstream: bool) -> set[str]:
    wanted = {dag.get_task(task_id).task_id for task_id in task_ids}
    for task_id in list(wanted):
        wanted |= nx.descendants(dag.graph, task_id) if downstream else set()
        wanted |= nx.ancestors(dag.graph, task_id) if upstream else set()
    return wanted
