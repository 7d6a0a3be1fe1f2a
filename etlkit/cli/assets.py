"""`etlkit assets …`: the data that tasks make and DAGs wait for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from etlkit.cli.options import output_option, source_option
from etlkit.cli.tables import cell, show, show_record
from etlkit.errors import EtlkitError, nearest

if TYPE_CHECKING:
    from etlkit.assets import Asset
    from etlkit.dag import DAG, BaseOperator

name_option = click.option("--name", help="the asset's name")
uri_option = click.option("--uri", help="the asset's URI")


@click.group()
def assets() -> None:
    """List, show and make assets: data that tasks make and DAGs wait for.

    \b
    Example: etlkit assets list
    """


@assets.command("list")
@source_option
@output_option
def list_assets(source: Path | None, output: str) -> None:
    """List the assets that the DAGs of the DAG folder make, read or wait for.

    \b
    Example: etlkit assets list
    """
    from etlkit.cli.loading import load_dags

    folder = load_dags(source)
    rows = [_row(asset, folder.dags) for asset in _assets_of(folder.dags)]
    show(rows, output, empty=f"no assets in the DAGs of {folder.path}")


@assets.command()
@name_option
@uri_option
@click.option("-n", "--events", default=5, type=click.IntRange(min=0), help="how many of its events  [default: 5]")
@source_option
@output_option
def details(name: str | None, uri: str | None, events: int, source: Path | None, output: str) -> None:
    """Show one asset: who makes it, who waits for it, and its newest events.

    \b
    Example: etlkit assets details --name orders
    """
    from etlkit.asset_events import events_of_asset
    from etlkit.cli.database import is_there, open_store
    from etlkit.cli.loading import load_dags

    dags = load_dags(source).dags
    asset = _find(dags, name, uri)
    found = events_of_asset(open_store(), asset, ascending=False, limit=events) if is_there() else []
    columns = ("timestamp", "source_dag_id", "source_run_id", "extra")
    newest = [{column: getattr(event, column) for column in columns} for event in found]
    record = {**_row(asset, dags), "extra": dict(asset.extra), "events": newest}
    texts = [f"{cell(event.timestamp)} by {event.source_dag_id or 'a person'}" for event in found]
    rows = [{"property": key, "value": value} for key, value in {**record, "events": texts}.items()]
    show_record(record, rows, output)


@assets.command()
@name_option
@uri_option
@source_option
@output_option
def materialize(name: str | None, uri: str | None, source: Path | None, output: str) -> None:
    """Make an asset: queue a run of the DAG that has it as an outlet, for the scheduler to start.

    \b
    Example: etlkit assets materialize --name orders
    """
    from etlkit.cli.database import open_store, register
    from etlkit.cli.loading import load_dags
    from etlkit.clock import SystemClock
    from etlkit.runs import trigger_run

    dags = load_dags(source).dags
    asset = _find(dags, name, uri)
    makers = _dag_ids(dags, asset)
    if len(makers) != 1:
        who = f"several do: {', '.join(makers)}; trigger one of them" if makers else "no task has it as an outlet"
        raise EtlkitError(f"asset {asset.name!r} cannot be made by one DAG: {who}")
    dag, store, now = dags[makers[0]], open_store(), SystemClock().now()
    paused = register(store, dag, now)
    run = trigger_run(store, dag, now=now)
    show([{column: getattr(run, column) for column in ("dag_id", "run_id", "state", "logical_date")}], output)
    if paused:
        click.echo(f"DAG {dag.dag_id!r} is paused: the run waits until `etlkit dags unpause {dag.dag_id}`", err=True)


def _assets_of(dags: dict[str, DAG]) -> list[Asset]:
    """Every asset of some DAGs, by name; of several that are one, the first."""
    from etlkit.asset_events import assets_of

    found = {asset.key: asset for dag in dags.values() for asset in assets_of(dag)}
    return [found[key] for key in sorted(found)]


def _find(dags: dict[str, DAG], name: str | None, uri: str | None) -> Asset:
    """The one asset meant; EtlkitError, with the nearest name, if there is none, or more than one."""
    if not (name or uri):
        raise EtlkitError("say which asset: --name or --uri")
    known = _assets_of(dags)
    found = [asset for asset in known if name in (None, asset.name) and uri in (None, asset.uri)]
    if len(found) != 1:
        texts = [asset.name if name else asset.uri for asset in known]
        hint = nearest(name or uri or "", texts) or "; see: etlkit assets list"
        which = " and ".join(text for text in (name, uri) if text)
        raise EtlkitError(f"there are {len(found) or 'no'} assets called {which!r}{hint}")
    return found[0]


def _dag_ids(dags: dict[str, DAG], asset: Asset) -> list[str]:
    return [dag_id for dag_id, dag in dags.items() if any(_makes(task, asset) for task in dag.tasks)]


def _makes(task: BaseOperator, asset: Asset) -> bool:
    return any(outlet.key == asset.key for outlet in task.outlets)


def _row(asset: Asset, dags: dict[str, DAG]) -> dict[str, Any]:
    conditions = {dag_id: dag.timetable.asset_condition for dag_id, dag in dags.items()}
    return {
        "name": asset.name,
        "uri": asset.uri,
        "group": asset.group,
        "made_by": [
            f"{dag.dag_id}.{task.task_id}" for dag in dags.values() for task in dag.tasks if _makes(task, asset)
        ],
        "waited_for_by": [
            dag_id for dag_id, on in conditions.items() if on and asset.key in {item.key for item in on.assets()}
        ],
    }
