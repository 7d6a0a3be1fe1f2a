"""`etlkit dags …`: DAGs, their runs, and when they run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from etlkit.cli import backfill
from etlkit.cli.options import (
    INSTANT,
    PICTURE,
    conf_option,
    dag_argument,
    in_zone_of,
    output_option,
    run_argument,
    source_option,
    yes_option,
)
from etlkit.cli.tables import show, show_fields, show_record

if TYPE_CHECKING:
    from etlkit.assets import BaseAsset
    from etlkit.dag import DAG


@click.group()
def dags() -> None:
    """List, show, test, backfill, trigger, pause and delete DAGs, and see their runs.

    \b
    Example: etlkit dags list
    """


dags.add_command(backfill.create, "backfill")


@dags.command("list")
@source_option
@output_option
def list_dags(source: Path | None, output: str) -> None:
    """List the DAGs of the DAG folder; files that do not load are named on stderr.

    \b
    Example: etlkit dags list --output json
    """
    from etlkit.cli.database import paused_at_first, paused_flags
    from etlkit.cli.loading import load_dags

    folder = load_dags(source)
    paused = paused_flags()
    rows = [
        {
            "dag_id": dag_id,
            "schedule": dag.timetable.summary,
            "is_paused": paused.get(dag_id, paused_at_first(dag)),
            "owners": sorted({task.owner for task in dag.tasks}),
            "fileloc": dag.fileloc,
        }
        for dag_id, dag in sorted(folder.dags.items())
    ]
    show(rows, output, empty=f"no DAGs in {folder.path}", spare=("owners",))
    for error in folder.errors:
        click.echo(f"etlkit: {error}", err=True)


@dags.command("list-import-errors")
@source_option
@output_option
def list_import_errors(source: Path | None, output: str) -> None:
    """List the DAG files that do not load; the exit code is 1 if there are any.

    \b
    Example: etlkit dags list-import-errors
    """
    from etlkit.cli.loading import load_dags

    errors = load_dags(source).errors
    show([{"filepath": e.path, "line": e.line, "error": e.reason} for e in errors], output, empty="all files load")
    raise SystemExit(bool(errors))


@dags.command()
@source_option
@output_option
def report(source: Path | None, output: str) -> None:
    """Say of each file what it has and how many seconds loading it takes, slowest first.

    \b
    Example: etlkit dags report
    """
    from etlkit.cli.loading import load_dags

    folder = load_dags(source)
    files = sorted(folder.report(), key=lambda file: -file.seconds)
    rows = [
        {"file": f.path, "seconds": round(f.seconds, 4), "dags": len(f.dag_ids), "tasks": f.tasks, "dag_ids": f.dag_ids}
        for f in files
    ]
    show(rows, output, empty=f"no files in {folder.path}", spare=("dag_ids",))


@dags.command("show")
@dag_argument
@click.option("--save", type=PICTURE, help="draw it into this file too (.png, .svg, .pdf)")
@source_option
@output_option
def show_dag(dag_id: str, save: Path | None, source: Path | None, output: str) -> None:
    """Show the graph of a DAG in layers: what is in one layer may run at the same time.

    \b
    Example: etlkit dags show weather --save weather.png
    """
    from etlkit.cli.loading import find_dag

    dag = find_dag(dag_id, source)
    if save is not None:
        from etlkit import viz

        viz.graph(dag).savefig(save)
    rows = [
        {"layer": number, **_task_row(dag, task_id)}
        for number, layer in enumerate(dag.topological_generations(), start=1)
        for task_id in layer
    ]
    show(rows, output, empty=f"DAG {dag_id!r} has no tasks")


def _task_row(dag: DAG, task_id: str) -> dict[str, Any]:
    task = dag.task_dict[task_id]
    labels = {up: dag.graph.edges[up, task_id].get("label") for up in dag.graph.pred[task_id]}
    after = [f"{up} ({label})" if label else up for up, label in labels.items()]
    return {"task_id": task_id, "operator": task.kind, "after": after, "trigger_rule": str(task.trigger_rule)}


@dags.command()
@dag_argument
@click.argument("logical_date", metavar="[DATE]", type=INSTANT, required=False)
@conf_option
@source_option
@output_option
def test(
    dag_id: str, logical_date: datetime | None, conf: Mapping[str, Any] | None, source: Path | None, output: str
) -> None:
    """Run a DAG once, for DATE or now, on a database in memory, and exit with 0 only if the run succeeds.

    It is a manual run: its data interval is the last one that was over at DATE. Nothing is remembered afterwards; what
    the tasks log goes to stderr. Time is simulated from now on (or from DATE if that is later), so retry delays and
    sensors that wait for a time take no time.

    \b
    Example: etlkit dags test weather 2013-01-05 --file weather.py
    """
    from etlkit.cli.loading import find_dag
    from etlkit.cli.trial import try_dag

    dag = find_dag(dag_id, source)
    run, tasks = try_dag(dag, in_zone_of(dag, logical_date), conf)
    rows = [{name: getattr(task, name) for name in ("task_id", "map_index", "state", "try_number")} for task in tasks]
    about_run = {name: getattr(run, name) for name in ("dag_id", "run_id", "logical_date", "state")}
    show_record({**about_run, "task_instances": rows}, rows, output)
    click.echo(f"{run.dag_id} {run.run_id}: {run.state}", err=True)
    raise SystemExit(run.state != "success")


@dags.command("next-execution")
@dag_argument
@click.option("-n", "--num-executions", type=click.IntRange(min=1), default=1, help="how many  [default: 1]")
@source_option
@output_option
def next_execution(dag_id: str, num_executions: int, source: Path | None, output: str) -> None:
    """Show the next runs of a DAG: the stretch of time each is about, and the instant from which it may start.

    \b
    Example: etlkit dags next-execution weather -n 3
    """
    from itertools import islice

    from etlkit.cli.database import store_to_look_at
    from etlkit.cli.loading import find_dag
    from etlkit.clock import SystemClock
    from etlkit.why import AboutDag

    dag, now = find_dag(dag_id, source), SystemClock().now()
    coming = AboutDag(store_to_look_at(), dag, now).coming_runs(dag.restriction(now))
    rows = [
        {
            "logical_date": info.logical_date,
            "data_interval_start": info.data_interval.start,
            "data_interval_end": info.data_interval.end,
            "run_after": info.run_after,
        }
        for info in islice(coming, num_executions)
    ]
    end = f" until {dag.end_date}" if dag.end_date else ""
    none = f"has no next run: its schedule is {dag.timetable.summary}{end}"
    missing = _missing_assets(dag)
    show(rows, output, empty=f"DAG {dag_id!r} {f'waits for assets: {missing}' if missing else none}")
    if rows and missing:
        click.echo(f"DAG {dag_id!r} also runs when these assets are there: {missing}", err=True)


def _missing_assets(dag: DAG) -> BaseAsset | None:
    """What a DAG that is scheduled on assets still waits for."""
    from etlkit.asset_events import missing_assets
    from etlkit.cli.database import is_there, open_store

    condition = dag.timetable.asset_condition
    return missing_assets(open_store(), dag) if condition is not None and is_there() else condition


@dags.command("why")
@dag_argument
@click.option("-t", "--task", "task_id", help="a task: what keeps it from running")
@click.option("-r", "--run", help="a run, by its run_id or logical date  [default: the next one]")
@source_option
@output_option
def why_not(dag_id: str, task_id: str | None, run: str | None, source: Path | None, output: str) -> None:
    """Say what keeps a DAG's next run, a run, or a task of it from going on.

    \b
    Example: etlkit dags why weather --task load --run 2013-01-05
    """
    from etlkit.cli.blockers import show_why

    show_why(dag_id, task_id, run, -1, source, output)


@dags.command("list-runs")
@dag_argument
@click.option("--state", type=click.Choice(["queued", "running", "success", "failed"]), help="only runs in this state")
@output_option
def list_runs(dag_id: str, state: str | None, output: str) -> None:
    """List the runs of a DAG in the metadata database, oldest first.

    \b
    Example: etlkit dags list-runs weather --state failed
    """
    from etlkit.cli.database import existing_store

    names = ("dag_id", "run_id", "state", "run_after", "logical_date", "start_date", "end_date")
    runs = existing_store().runs(dag_id, [state] if state else [])
    rows = [{name: getattr(run, name) for name in names} for run in runs]
    spare = ("dag_id", "run_after", "end_date", "start_date")
    show(rows, output, empty=f"no such runs of DAG {dag_id!r}", spare=spare)


@dags.command()
@dag_argument
@run_argument
def state(dag_id: str, run: str) -> None:
    """Print the state of a run, and the conf it was given if there is any; RUN is a run_id or a logical date.

    \b
    Example: etlkit dags state weather 2013-01-05
    """
    from etlkit.cli.database import existing_store, find_run
    from etlkit.cli.tables import plain_values, without_secrets

    row = find_run(existing_store(), dag_id, run)
    conf = f", {json.dumps(plain_values(without_secrets(row.conf)))}" if row.conf else ""
    click.echo(f"{row.state}{conf}")


@dags.command()
@dag_argument
@source_option
@output_option
def details(dag_id: str, source: Path | None, output: str) -> None:
    """Show what a DAG was written with.

    \b
    Example: etlkit dags details weather
    """
    from etlkit.cli.database import paused_at_first, paused_flags
    from etlkit.cli.loading import find_dag

    dag = find_dag(dag_id, source)
    about = {name: getattr(dag, name) for name in DETAILS}
    paused = paused_flags().get(dag_id, paused_at_first(dag))
    show_fields({**about, "schedule": dag.timetable.summary, "is_paused": paused, "tasks": len(dag.tasks)}, output)


DETAILS = (
    *("dag_id", "description", "fileloc", "start_date", "end_date", "timezone", "catchup"),
    *("max_active_runs", "max_active_tasks", "dagrun_timeout", "tags"),
)
"""The arguments of a DAG that are shown as they are."""


@dags.command()
@dag_argument
@yes_option
def delete(dag_id: str, yes: bool) -> None:
    """Delete all that is remembered of a DAG: its runs, their tasks, XComs and logs. Its file stays.

    \b
    Example: etlkit dags delete weather --yes
    """
    from etlkit.cli.database import existing_store
    from etlkit.config import conf
    from etlkit.errors import DagNotFound
    from etlkit.logs import LogStore
    from etlkit.scheduler_lock import scheduling
    from etlkit.upkeep import delete_dag

    store = existing_store()
    if dag_id not in (known := store.paused()):
        raise DagNotFound(dag_id, list(known))
    if not yes:
        click.confirm(f"Delete all that {store.name} remembers of {dag_id!r}?", abort=True, err=True)
    with scheduling(store, f"etlkit dags delete {dag_id}"):
        removed = delete_dag(store, dag_id, logs=LogStore(conf.get("logging", "base_log_folder")))
    click.echo(f"DAG {dag_id!r} is forgotten, with {removed['dag_run']} runs and {removed['logs']} logs")


@dags.command()
@dag_argument
@click.option("-l", "-e", "--logical-date", "--exec-date", type=INSTANT, help="the run's logical date  [default: none]")
@click.option("-r", "--run-id", help="the run's id  [default: manual__ and its date]")
@conf_option
@source_option
@output_option
def trigger(
    dag_id: str,
    logical_date: datetime | None,
    run_id: str | None,
    conf: Mapping[str, Any] | None,
    source: Path | None,
    output: str,
) -> None:
    """Queue a manual run of a DAG, for the scheduler to start.

    Without a logical date the run is about no date, as in Airflow: it has no `ds`, no `ts` and no data interval.

    \b
    Example: etlkit dags trigger weather --conf '{"airport": "JFK"}'
    """
    from etlkit.cli.database import open_store, register
    from etlkit.cli.loading import find_dag
    from etlkit.clock import SystemClock
    from etlkit.runs import trigger_run

    dag, store, now = find_dag(dag_id, source), open_store(), SystemClock().now()
    paused = register(store, dag, now)
    run = trigger_run(store, dag, now=now, logical_date=in_zone_of(dag, logical_date), conf=conf, run_id=run_id)
    names = ("dag_id", "run_id", "state", "logical_date", "data_interval_start", "data_interval_end", "conf")
    spare = ("dag_id", "data_interval_start", "data_interval_end", "conf")
    show([{name: getattr(run, name) for name in names}], output, spare=spare)
    if logical_date is None:
        click.echo(undated(dag, now), err=True)
    if paused:
        click.echo(f"DAG {dag_id!r} is paused: the run waits until `etlkit dags unpause {dag_id}`", err=True)


def undated(dag: DAG, now: datetime) -> str:
    """What it means that a run has no logical date, and what it would be about with the present one."""
    from etlkit.events import clock_text

    start, end = dag.timetable.infer_manual_data_interval(run_after=now)
    date = now.replace(microsecond=0, tzinfo=None).isoformat()
    return (
        "the run has no logical date, so ds, ts and the data interval are undefined in it; "
        f"with -l {date} it would be about {clock_text(start)} to {clock_text(end)}"
    )


@dags.command()
@dag_argument
@source_option
@output_option
def pause(dag_id: str, source: Path | None, output: str) -> None:
    """Pause a DAG: nothing new of it starts.

    \b
    Example: etlkit dags pause weather
    """
    _set_paused(dag_id, True, source, output)


@dags.command()
@dag_argument
@source_option
@output_option
def unpause(dag_id: str, source: Path | None, output: str) -> None:
    """Unpause a DAG: from now on the scheduler runs it.

    \b
    Example: etlkit dags unpause weather
    """
    _set_paused(dag_id, False, source, output)


def _set_paused(dag_id: str, paused: bool, source: Path | None, output: str) -> None:
    from etlkit.cli.database import open_store, register
    from etlkit.cli.loading import find_dag
    from etlkit.clock import SystemClock

    store = open_store()
    if dag_id not in store.paused():
        register(store, find_dag(dag_id, source), SystemClock().now())
    with store.transaction():
        store.set_paused(dag_id, paused)
    show([{"dag_id": dag_id, "is_paused": paused}], output)
