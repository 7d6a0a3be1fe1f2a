"""`@asset`: a function that makes an asset, with a DAG of its own.

>>> @asset(schedule="@daily", uri="file:///orders.csv")
... def orders(self):
...     return self.uri
>>> @asset(schedule=orders)
... def report(orders):
...     return f"report on {orders.uri}"
>>> report.dag
<DAG report: 1 tasks, orders>
>>> report.dag.tasks[0].inlets, [outlet.name for outlet in report.dag.tasks[0].outlets]
((AssetRef(name='orders', uri=''),), ['report'])

What the decorator gives is the asset, and `.dag` its DAG, to hand to a Lab; in a DAG file it is found by itself. The
function is called with what its parameters name: `self` is the asset, `context` the task's context, `outlet_events`
what is said of the event. Any other name is the asset of that name, and one of the task's inlets; one with a default
keeps it.

Source: Airflow's `airflow.sdk.asset`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any

from etlkit.assets import Asset, AssetAll, check_outlets
from etlkit.dag import DAG
from etlkit.errors import DagError
from etlkit.operators.python import PythonOperator, call_function
from etlkit.taskflow import TaskFactory

DAG_ARGUMENTS = (
    *("dag_id", "description", "is_paused_upon_creation", "params", "tags"),
    *("on_success_callback", "on_failure_callback"),
)
"""What can be told of the DAG, besides its schedule."""

GIVEN = frozenset({"self", "context", "outlet_events"})
"""Parameters that name no asset."""


class AssetOperator(PythonOperator):
    """Calls the function under `@asset`; `definition` is the asset that it makes."""

    def __init__(self, *, definition: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.definition = definition

    def execute(self, context: Mapping[str, Any]) -> Any:
        names = asset_parameters(self.python_callable)
        values = {"self": self.definition, "context": context, "outlet_events": context["outlet_events"]}
        wanted = {name: values[name] if name in GIVEN else context["ti"].get_asset(name) for name in names}
        return call_function(self.python_callable, (), wanted, context)


def asset_parameters(function: Callable[..., Any]) -> list[str]:
    """The names of a function's parameters that have no default; DagError for one with `*args` or `**kwargs`."""
    parameters = inspect.signature(function).parameters.values()
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise DagError(f"@asset: {function.__name__}() may only have parameters with names, not {parameter}")
    return [parameter.name for parameter in parameters if parameter.default is parameter.empty]


class AssetDefinition(Asset):
    """An asset with the DAG that makes it."""

    dag: DAG


class MultiAssetDefinition(AssetAll):
    """Several assets with the DAG that makes them all."""

    name: str
    dag: DAG


def write_dag(definition: Any, function: Any, outlets: Collection[Asset], arguments: Mapping[str, Any]) -> None:
    """Give an asset, or several, the DAG of one task that makes them."""
    with DAG(**{"dag_id": definition.name, **arguments, "catchup": False}) as dag:
        if isinstance(function, TaskFactory):
            if "outlets" in function.arguments:
                raise DagError(f"@asset: {function.name}() has its outlets from @asset; leave them out of @task")
            function.override(outlets=list(outlets))()
        else:
            inlets = [Asset.ref(name=name) for name in asset_parameters(function) if name not in GIVEN]
            AssetOperator(
                task_id=function.__name__,
                python_callable=function,
                definition=definition,
                outlets=list(outlets),
                inlets=inlets,
            )
    object.__setattr__(definition, "dag", dag)


def asset(
    *,
    schedule: Any,
    name: str | None = None,
    uri: str | None = None,
    group: str = "asset",
    extra: Mapping[str, Any] | None = None,
    **arguments: Any,
) -> Callable[[Any], AssetDefinition]:
    """Makes a function the maker of an asset that is called like it; `arguments` are those of the DAG.

    The function may also be one under `@task`. DagError for an argument that there is not.
    """
    _check_arguments("@asset", arguments)

    def define(function: Any) -> AssetDefinition:
        definition = AssetDefinition(name or function.__name__, uri, group=group, extra=extra)
        write_dag(definition, function, [definition], {"schedule": schedule, **arguments})
        return definition

    return define


def multi(*, schedule: Any, outlets: Collection[Asset], **arguments: Any) -> Callable[[Any], MultiAssetDefinition]:
    """`@asset.multi`: the same for a function that makes several assets, which are its `outlets`."""
    _check_arguments("@asset.multi", arguments)
    assets = check_outlets("@asset.multi: outlets", outlets)
    if not assets:
        raise DagError("@asset.multi needs outlets: the assets that its function makes")

    def define(function: Any) -> MultiAssetDefinition:
        definition = MultiAssetDefinition(*assets)
        object.__setattr__(definition, "name", function.__name__)
        write_dag(definition, function, assets, {"schedule": schedule, **arguments})
        return definition

    return define


asset.multi = multi  # type: ignore[attr-defined]


def _check_arguments(decorator: str, arguments: Mapping[str, Any]) -> None:
    for name in arguments:
        if name not in DAG_ARGUMENTS:
            raise DagError(f"{decorator} has no argument {name!r}; its DAG's are {', '.join(DAG_ARGUMENTS)}")
