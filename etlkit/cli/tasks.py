"""`etlkit tasks …`: the tasks of a DAG, one at a time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from etlkit.cli.options import (
    INSTANT,
    conf_option,
    dag_argument,
    in_zone_of,
    map_index_option,
    output_option,
    run_argument,
    source_option,
    task_argument,
    yes_option,
)
from etlkit.cli.tables import show, show_record


@click.group()
def tasks() -> None:
    """List, test, run and clear tasks, and see what became of them.

    \b
    Example: etlkit tasks list weather
    """


@tasks.command("list")
@dag_argument
@source_option
@output_option
def list_tasks(dag_id: str, source: Path | None, output: str) -> None:
    """List the tasks of a DAG, each after those it waits for.

    \b
    Example: etlkit tasks list weather
    """
    from etlkit.cli.loading import find_dag

    dag = find_dag(dag_id, source)
    rows = [
        {
            "task_id": task_id,
            "operator": dag.task_dict[task_id].kind,
            "trigger_rule": str(dag.task_dict[task_id].trigger_rule),
            "retries": dag.task_dict[task_id].retries,
        }
        for task_id in dag.topological_order()
    ]
    show(rows, output, empty=f"DAG {dag_id!r} has no tasks")


@tasks.command()
@dag_argument
@task_argument
@click.argument("logical_date", metavar="DATE", type=INSTANT)
@map_index_option
@conf_option
@source_option
@output_option
def test(
    dag_id: str,
    task_id: str,
    logical_date: datetime,
    map_index: int,
    conf: Mapping[str, Any] | None,
    source: Path | None,
    output: str,
) -> None:
    """Run one task for DATE by itself, without what is upstream of it, and exit with 1 if it fails.

    Nothing is remembered afterwards; what the task logs goes to stderr. Its retries are made, without waiting.

    \b
    Example: etlkit tasks test weather extract 2013-01-05
    """
    from etlkit.cli.loading import find_dag
    from etlkit.cli.trial import try_task

    dag = find_dag(dag_id, source)
    run, task, value = try_task(dag, task_id, in_zone_of(dag, logical_date), conf, map_index)
    row = {name: getattr(task, name) for name in ATTEMPT}
    record = {"dag_id": dag_id, "run_id": run.run_id, "logical_date": run.logical_date, **row, "return_value": value}
    show_record(record, [row], output)
    raise SystemExit(task.state not in ("success", "skipped"))


ATTEMPT = ("task_id", "map_index", "state", "try_number", "error")
"""What is shown of an attempt."""


@tasks.command()
@dag_argument
@task_argument
@run_argument
@map_index_option
@click.option("-I", "--ignore-depends-on-past", is_flag=True, help="whatever became of it in the run before")
@click.option("-i", "--ignore-dependencies", is_flag=True, help="whatever it waits for")
@click.option("-A", "--ignore-all-dependencies", is_flag=True, help="whatever it waits for, finished or not: -i and -f")
@click.option("-f", "--force", is_flag=True, help="run it again if it is finished")
@source_option
@output_option
def run(
    dag_id: str,
    task_id: str,
    run: str,
    map_index: int,
    ignore_depends_on_past: bool,
    ignore_dependencies: bool,
    ignore_all_dependencies: bool,
    force: bool,
    source: Path | None,
    output: str,
) -> None:
    """Make one attempt of a task and remember it, and exit with 1 if it fails; RUN is a run_id or a logical date.

    Is there no run of that date, a manual one is made. The task runs only if it may go now: what is before it is done,
    and so on. What follows from it is decided too, but no other task runs. A pause of the DAG does not count. It is
    logged as usual, and shown on stderr. While a scheduler runs it is refused.

    \b
    Example: etlkit tasks run weather extract 2013-01-05
    """
    from etlkit.cli.attempts import PAST, WAITING, run_task
    from etlkit.cli.database import open_store
    from etlkit.cli.loading import find_dag

    dag = find_dag(dag_id, source)
    ignored = WAITING if ignore_dependencies or ignore_all_dependencies else PAST if ignore_depends_on_past else ()
    again = force or ignore_all_dependencies
    row, task = run_task(open_store(), dag, task_id, run, map_index, ignored=ignored, force=again)
    shown = {name: getattr(task, name) for name in ATTEMPT}
    show_record({"dag_id": dag_id, "run_id": row.run_id, "logical_date": row.logical_date, **shown}, [shown], output)
    raise SystemExit(task.state in ("failed", "up_for_retry"))


@tasks.command()
@dag_argument
@click.option("-t", "--task-regex", help="only tasks whose ids this regular expression finds  [default: all]")
@click.option("-s", "--start-date", type=INSTANT, help="only runs from this logical date on")
@click.option("-e", "--end-date", type=INSTANT, help="only runs up to this logical date, included")
@click.option("-u", "--upstream", is_flag=True, help="what is before these tasks, too")
@click.option("-d", "--downstream", is_flag=True, help="what is after these tasks, too")
@click.option("-f", "--only-failed", is_flag=True, help="only what failed, or did not run because something failed")
@yes_option
@source_option
@output_option
def clear(
    dag_id: str,
    task_regex: str | None,
    start_date: datetime | None,
    end_date: datetime | None,
    upstream: bool,
    downstream: bool,
    only_failed: bool,
    yes: bool,
    source: Path | None,
    output: str,
) -> None:
    """Make tasks of runs undecided again, so that the scheduler runs them anew; first they are listed.

    \b
    Example: etlkit tasks clear weather --task-regex '^load' --start-date 2013-01-05 --only-failed
    """
    from etlkit.cli.clearing import clear_tasks
    from etlkit.cli.database import existing_store
    from etlkit.cli.loading import find_dag

    dag, store = find_dag(dag_id, source), existing_store()
    which = {"only_failed": only_failed, "upstream": upstream, "downstream": downstream}
    dates = in_zone_of(dag, start_date), in_zone_of(dag, end_date)
    clear_tasks(store, dag, task_regex, dates, which, yes=yes, output=output)


@tasks.command()
@dag_argument
@task_argument
@run_argument
@map_index_option
@output_option
def state(dag_id: str, task_id: str, run: str, map_index: int, output: str) -> None:
    """Print the state of a task in a run, a line for each instance if it is mapped; RUN is a run_id or a logical date.

    \b
    Example: etlkit tasks state weather extract 2013-01-05
    """
    from etlkit.cli.database import existing_store, find_run, task_rows

    store = existing_store()
    rows = task_rows(store, find_run(store, dag_id, run), task_id, map_index)
    if output == "table":
        click.echo("\n".join(str(row.state) for row in rows))
    else:
        show([{name: getattr(row, name) for name in ("task_id", "map_index", "state")} for row in rows], output)


@tasks.command("failed-deps")
@dag_argument
@task_argument
@run_argument
@map_index_option
@source_option
@output_option
def failed_deps(dag_id: str, task_id: str, run: str, map_index: int, source: Path | None, output: str) -> None:
    """Say what keeps a task of a run from running; RUN is a run_id or a logical date.

    \b
    Example: etlkit tasks failed-deps weather load 2013-01-05
    """
    from etlkit.cli.blockers import show_why

    show_why(dag_id, task_id, run, map_index, source, output)


@tasks.command()
@dag_argument
@task_argument
@run_argument
@map_index_option
@source_option
@output_option
def render(dag_id: str, task_id: str, run: str, map_index: int, source: Path | None, output: str) -> None:
    """Show the template fields of a task as it would run; RUN is a run_id, or a logical date that needs no run.

    What is secret in them is ***.

    \b
    Example: etlkit tasks render weather load 2013-01-05
    """
    from etlkit.cli.loading import find_dag
    from etlkit.cli.tables import show_texts
    from etlkit.cli.trial import render_task

    show_texts(render_task(find_dag(dag_id, source), task_id, run, map_index), output)


@tasks.command("states-for-dag-run")
@dag_argument
@run_argument
@output_option
def states_for_dag_run(dag_id: str, run: str, output: str) -> None:
    """Show the tasks of one run and their states; RUN is a run_id or a logical date.

    \b
    Example: etlkit tasks states-for-dag-run weather 2013-01-05
    """
    from etlkit.cli.database import existing_store, find_run

    store = existing_store()
    row = find_run(store, dag_id, run)
    names = ("task_id", "map_index", "state", "try_number", "start_date", "end_date", "error")
    rows = [{name: getattr(task, name) for name in names} for task in store.task_instances(row.id)]
    show(rows, output, empty=f"run {row.run_id} has no tasks", spare=("end_date", "start_date"))
