"""Tasks that call a Python function.

A function is given what it names: `call_function` looks at its parameters and fills in those that are called like
something in the task's context, unless they were passed. `**kwargs` gets the whole context.

>>> def greet(name, ds):
...     return f"{name} on {ds}"
>>> call_function(greet, ["Ada"], {}, {"ds": "2013-01-01", "run_id": "scheduled__2013-01-02"})
'Ada on 2013-01-01'
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

import networkx as nx

from etlkit.assets import Metadata
from etlkit.dag import DAG, BaseOperator
from etlkit.errors import AirflowException, DagError, DownstreamTasksSkipped, nearest
from etlkit.operators.branch import RECORD_KEY, can_skip, follow

CONTEXT_KEYS = frozenset(
    {
        "dag",
        "dag_run",
        "data_interval_end",
        "data_interval_start",
        "ds",
        "ds_nodash",
        "exception",
        "expanded_ti_count",
        "inlet_events",
        "inlets",
        "logical_date",
        "macros",
        "map_index_template",
        "outlet_events",
        "outlets",
        "params",
        "prev_data_interval_end_success",
        "prev_data_interval_start_success",
        "prev_end_date_success",
        "prev_start_date_success",
        "reason",
        "run_id",
        "task",
        "task_instance",
        "task_instance_key_str",
        "task_reschedule_count",
        "templates_dict",
        "test_mode",
        "ti",
        "triggering_asset_events",
        "try_number",
        "ts",
        "ts_nodash",
        "ts_nodash_with_tz",
        "var",
    }
)
"""Names that Airflow fills in; a function's parameter of such a name needs no value."""

OWN_KEYS = frozenset({"clock", "conf", "warehouse"})
"""Names that only this kit fills in, and only where a function has no value of its own for them."""

OPENED_ON_USE = frozenset({"warehouse"})
"""Names that `**kwargs` does not get: a task that does not ask for the warehouse must not open it."""


class Signature(NamedTuple):
    """What a function takes, as far as it matters for filling it in."""

    names: tuple[str, ...]
    by_position: tuple[str, ...]
    """Those that can be given by position."""
    required: frozenset[str]
    """Those without a default."""
    takes_all: bool
    """Whether it has `**kwargs`."""
    run: Callable[[Callable[..., Any], Collection[Any], Mapping[str, Any], Mapping[str, Any]], Any]
    """How it is called: at once, as a coroutine, or as a generator that is run to its end."""


def signature_of(function: Callable[..., Any]) -> Signature:
    """The signature of `function`, worked out once: that costs more than many a task."""
    return _cached_signature(function) if isinstance(function, Hashable) else _signature(function)


def _signature(function: Callable[..., Any]) -> Signature:
    parameters = inspect.signature(function).parameters.values()
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    # A default of its own keeps a parameter from being filled with something that only this kit calls so.
    filled = [p for p in named if p.name not in OWN_KEYS or p.default in (p.empty, None)]
    is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)
    return Signature(
        names=tuple(p.name for p in filled),
        by_position=tuple(p.name for p in named if p.kind is not p.KEYWORD_ONLY),
        required=frozenset(p.name for p in named if p.default is p.empty),
        takes_all=any(p.kind is p.VAR_KEYWORD for p in parameters),
        run=_run_coroutine if is_async else _run_generator if inspect.isgeneratorfunction(function) else _run,
    )


_cached_signature = lru_cache(maxsize=4096)(_signature)


def call_function(
    function: Callable[..., Any], args: Collection[Any], kwargs: Mapping[str, Any], context: Mapping[str, Any]
) -> Any:
    """Call `function` with `args` and `kwargs`, and with what it names of `context`, as Airflow's PythonOperator does.

    What it does not name is left out, unless it has `**kwargs`: then it gets everything. A generator is run to its end
    and a coroutine awaited; the result is what they return. AirflowException if something that comes from the context
    was passed by position.
    """
    signature = signature_of(function)
    taken = signature.by_position[: len(args)]
    for name in taken:
        if name in kwargs or name in CONTEXT_KEYS:
            raise AirflowException(
                f"{_name(function)}() gets {name!r} by position, and by name too; pass it by name only"
            )
    wanted = [name for name in signature.names if name not in taken]
    if signature.takes_all:
        wanted += [name for name in context if name not in OPENED_ON_USE and name not in wanted and name not in taken]
    keywords = {name: kwargs[name] for name in (kwargs if signature.takes_all else wanted) if name in kwargs}
    for name in wanted:
        # One that must be there is asked for even so: the context can say why it is not.
        if name not in keywords and (name in context or (name in CONTEXT_KEYS and name in signature.required)):
            try:
                keywords[name] = context[name]
            except KeyError:
                if name in signature.required:
                    raise
    return signature.run(function, args, keywords, context)


def call_in_context(
    function: Callable[..., Any], args: Collection[Any], kwargs: Mapping[str, Any], context: Mapping[str, Any]
) -> Any:
    """Like `call_function`; `kwargs` become part of the context, for callbacks and a `map_index_template`."""
    for name, value in kwargs.items():
        context[name] = value  # type: ignore[index]
    return call_function(function, args, kwargs, context)


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", repr(function))


def _run(
    function: Callable[..., Any], args: Collection[Any], keywords: Mapping[str, Any], context: Mapping[str, Any]
) -> Any:
    return function(*args, **keywords)


def _run_generator(
    function: Callable[..., Any], args: Collection[Any], keywords: Mapping[str, Any], context: Mapping[str, Any]
) -> Any:
    """Run it to its end; the Metadata that it yields goes to the events of its outlets."""
    steps = function(*args, **keywords)
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            return end.value
        if isinstance(step, Metadata):
            context["outlet_events"][step.asset].extra.update(step.extra)


def _run_coroutine(
    function: Callable[..., Any], args: Collection[Any], keywords: Mapping[str, Any], context: Mapping[str, Any]
) -> Any:
    import asyncio
    from concurrent.futures import ThreadPoolExecutor
    from contextvars import copy_context

    async def await_it() -> Any:
        return await function(*args, **keywords)

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(await_it())
    # A notebook has a loop running in this thread already, and a thread can have only one.
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(copy_context().run, asyncio.run, await_it()).result()


class PythonOperator(BaseOperator):
    """Calls `python_callable` with `op_args`, `op_kwargs` and what it names of the context; its result is the task's.

    `templates_dict` is rendered and passed as the parameter of that name. `templates_exts` are endings of file names
    that are rendered as templates too.

    >>> task = PythonOperator(task_id="add", python_callable=lambda x, y: x + y, op_args=[1], op_kwargs={"y": 2})
    >>> task.execute({})
    3
    """

    template_fields: ClassVar[Sequence[str]] = ("templates_dict", "op_args", "op_kwargs")
    ui_color: ClassVar[str] = "#ffefeb"

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        templates_dict: Mapping[str, Any] | None = None,
        templates_exts: Sequence[str] | None = None,
        show_return_value_in_logs: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_callable(self, python_callable, op_kwargs)
        self.python_callable = python_callable
        self.op_args = op_args or ()
        self.op_kwargs = op_kwargs or {}
        self.templates_dict = templates_dict
        if templates_exts:
            self.template_ext = templates_exts  # type: ignore[misc]
        self.show_return_value_in_logs = show_return_value_in_logs

    def execute(self, context: Mapping[str, Any]) -> Any:
        value = call_in_context(self.python_callable, self.op_args, self.keywords, context)
        if value is not None:
            self.log.info("returned %s", repr(value) if self.show_return_value_in_logs else "a value (not shown)")
        return value

    @property
    def keywords(self) -> dict[str, Any]:
        """What is passed by name, before the context fills in the rest."""
        return {"templates_dict": self.templates_dict, **self.op_kwargs}


def check_callable(task: BaseOperator, function: Any, op_kwargs: Any) -> None:
    """DagError if `function` cannot be called; a warning for each of `op_kwargs` that it does not take."""
    if not callable(function):
        raise DagError(f"task {task.task_id!r}: python_callable must be a function, not {function!r}")
    if isinstance(op_kwargs, Mapping) and op_kwargs:
        signature = signature_of(function)
        for name in () if signature.takes_all else op_kwargs.keys() - {*signature.names, *signature.by_position}:
            near = nearest(name, signature.names)
            warnings.warn(f"task {task.task_id!r}: {_name(function)}() does not take {name!r}{near}", stacklevel=5)


class BranchPythonOperator(PythonOperator):
    """Calls a function that returns the id of the task or group to go on with, several of them, or None for none.

    What is directly after this task and was not named is skipped.
    """

    ui_color: ClassVar[str] = "#ffefeb"

    def execute(self, context: Mapping[str, Any]) -> Any:
        return follow(self, context, super().execute(context))


class ShortCircuitOperator(PythonOperator):
    """Calls a function, and skips what is after this task if it returns something false.

    All that follows is skipped, teardowns apart, whatever the trigger rules say; with
    `ignore_downstream_trigger_rules=False` only what is directly after, and the trigger rules decide the rest.
    """

    ui_color: ClassVar[str] = "#ffefeb"

    def __init__(self, *, ignore_downstream_trigger_rules: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ignore_downstream_trigger_rules = ignore_downstream_trigger_rules

    def execute(self, context: Mapping[str, Any]) -> Any:
        value = super().execute(context)
        skipped = [] if value else self._after(context["dag"])
        if skipped:
            self.log.info("%r is false; skips %s", value, ", ".join(skipped))
            record = {"skipped": skipped}
            if can_skip(self, context["dag"]):
                raise DownstreamTasksSkipped(skipped, record)
            context["ti"].xcom_push(key=RECORD_KEY, value=record)
        return value

    def _after(self, dag: DAG) -> list[str]:
        everything = nx.descendants(dag.graph, self.task_id) if self.ignore_downstream_trigger_rules else ()
        after = everything or dag.graph.succ[self.task_id]
        return [task_id for task_id, task in dag.task_dict.items() if task_id in after and not task.is_teardown]
