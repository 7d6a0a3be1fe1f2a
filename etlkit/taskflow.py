"""TaskFlow: DAGs, groups and tasks written as functions.

Calling a function under `@task` while a DAG is written makes a task of it and gives its result before there is one, an
`XComArg`. Passing that to another task draws the edge between them.

>>> from etlkit.dag import DAG
>>> @dag(schedule=None)
... def weather():
...     @task
...     def extract(airport):
...         return [39.0, 41.0]
...
...     @task(retries=2)
...     def mean(temperatures):
...         return sum(temperatures) / len(temperatures)
...
...     for airport in ("EWR", "JFK"):
...         mean(extract(airport))
>>> sorted(weather().graph.edges)
[('extract', 'mean'), ('extract__1', 'mean__1')]

Names and meanings are those of `airflow.sdk`: `@dag`, `@task`, `@task.branch`, `@task.short_circuit`, `@task.sensor`,
`@task.bash`, `@task_group`, `@setup`, `@teardown`, `.override(...)`.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any, ClassVar

from etlkit.arguments import parameters_of
from etlkit.dag import (
    DAG,
    BaseOperator,
    Dependency,
    TaskGroup,
    XComArg,
    current_context,
    find_references,
    get_current_context,
    home_of,
)
from etlkit.errors import AirflowSkipException, DagError, nearest
from etlkit.mapping import GroupArgument, Product, Records, mapped_task, nested, refuse_positional
from etlkit.operators.bash import BashOperator
from etlkit.operators.python import (
    CONTEXT_KEYS,
    OWN_KEYS,
    BranchPythonOperator,
    PythonOperator,
    ShortCircuitOperator,
    call_in_context,
)
from etlkit.params import NOTSET
from etlkit.scopes import TEARDOWN_RULE, context_wrapper
from etlkit.sensors.python import PythonSensor
from etlkit.templates import rendered_value

__all__ = [
    "context_wrapper",
    "current_context",
    "dag",
    "get_current_context",
    "setup",
    "task",
    "task_group",
    "teardown",
]


EMPTY = inspect.Parameter.empty

Condition = Callable[[Mapping[str, Any]], bool | tuple[bool, str | None]]
"""What `@task.run_if` and `@task.skip_if` ask just before the task would run, giving it the context."""


class DecoratedBashOperator(BashOperator):
    """Calls a function, as a PythonOperator does, renders the bash command that it returns, and runs that."""

    template_fields: ClassVar[Sequence[str]] = ("op_args", "op_kwargs", "env", "cwd")
    template_ext: ClassVar[Sequence[str]] = ()

    def __init__(
        self,
        *,
        python_callable: Callable[..., str],
        op_args: Sequence[Any] = (),
        op_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(bash_command="", **kwargs)
        self.python_callable, self.op_args, self.op_kwargs = python_callable, op_args, op_kwargs or {}

    def execute(self, context: Mapping[str, Any]) -> Any:
        command = call_in_context(self.python_callable, self.op_args, self.op_kwargs, context)
        return self.run_command(rendered_value(self, "the command it returned", command, context), context)


class TaskFactory:
    """A function under `@task`: call it while a DAG is written, and it becomes a task.

    `function` is the function itself, for calling it as one: in a test, or inside another task.
    """

    mark: Callable[[XComArg], XComArg] | None = None
    """What makes each of its tasks a setup or teardown."""

    def __init__(
        self, function: Callable[..., Any], operator: type[BaseOperator], decorator: str, arguments: Mapping[str, Any]
    ) -> None:
        if not callable(function):
            raise DagError(f"{decorator} goes above a function, not above {function!r}")
        functools.update_wrapper(self, function)
        self.function, self.operator, self.decorator, self.arguments = function, operator, decorator, dict(arguments)
        self.signature = inspect.signature(function)
        self._check()
        self.arguments.setdefault("task_id", self.name)
        self.arguments.setdefault("doc_md", function.__doc__)
        if not issubclass(operator, PythonSensor):
            self.arguments.setdefault("multiple_outputs", returns_mapping(function))

    def __call__(self, *args: Any, **kwargs: Any) -> XComArg:
        self.bind(args, kwargs)
        made = self.operator(python_callable=self.function, op_args=args, op_kwargs=kwargs, **self._free_arguments())
        return self.marked(made.output)

    def marked(self, result: XComArg) -> XComArg:
        """The result of a task made of it, which is a setup or teardown if this stands under such a decorator."""
        return result if self.mark is None else self.mark(result)

    def _free_arguments(self) -> dict[str, Any]:
        """The task's arguments, with a task_id that nothing in the DAG has yet."""
        arguments = dict(self.arguments)
        dag, group = home_of(arguments.get("dag"), arguments.get("task_group"))
        if dag is not None:
            arguments["task_id"] = dag.free_id(arguments["task_id"], group)
        return arguments

    def partial(self, *positional: Any, **kwargs: Any) -> PartialTask:
        """Arguments that all instances of a mapped task share: `f.partial(year=2013).expand(month=range(1, 13))`."""
        refuse_positional("partial", positional)
        return PartialTask(self, kwargs)

    def expand(self, *positional: Any, **mapped: Any) -> XComArg:
        """A task that runs once for each combination of the items of these arguments; see `etlkit.mapping`."""
        return PartialTask(self, {}).expand(*positional, **mapped)

    def expand_kwargs(self, records: Any, *, strict: bool = True) -> XComArg:
        """A task that runs once for each dict of arguments in a list."""
        return PartialTask(self, {}).expand_kwargs(records, strict=strict)

    def override(self, **arguments: Any) -> TaskFactory:
        """The same function with other arguments for its task: `f.override(task_id="g", retries=2)(…)`."""
        other = TaskFactory(self.function, self.operator, self.decorator, {**self.arguments, **arguments})
        other.mark = self.mark
        return other

    @property
    def name(self) -> str:
        """The function's name."""
        return getattr(self.function, "__name__", type(self.function).__name__)

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """DagError unless the function can be called with these arguments and what the context fills in."""
        try:
            given = self.signature.bind_partial(*args, **kwargs).arguments
        except TypeError as error:
            raise DagError(f"{self.name}{self.signature}: {error}") from None
        for position, (name, parameter) in enumerate(self.signature.parameters.items()):
            filled = name in CONTEXT_KEYS
            if filled and position < len(args) and parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
                raise DagError(
                    f"{self.name}(): {name!r} comes from the context; leave it out, or pass it as {name}=..."
                )
            variadic = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
            if not (filled or variadic or name in given or name in OWN_KEYS) and parameter.default is parameter.empty:
                raise DagError(f"{self.name}{self.signature}: missing a required argument: {name!r}")

    def _check(self) -> None:
        if next(iter(self.signature.parameters), None) == "self":
            raise DagError(f"{self.decorator}: {self.name}() is a method; it can only be a function")
        for name, parameter in self.signature.parameters.items():
            if name in CONTEXT_KEYS and parameter.default not in (None, parameter.empty):
                raise DagError(f"{self.name}(): {name!r} comes from the context; its default can only be None")
        known = parameters_of(self.operator).all.keys() - {"python_callable", "op_args", "op_kwargs"}
        for argument in self.arguments.keys() - known:
            raise DagError(
                f"{self.decorator} of {self.name}() has no argument {argument!r}{nearest(argument, sorted(known))}"
            )

    def __repr__(self) -> str:
        return f"<{self.decorator} {self.name}{self.signature}>"


class PartialTask:
    """A function under `@task` with some of its arguments, waiting for `expand` or `expand_kwargs`."""

    def __init__(self, factory: TaskFactory, kwargs: Mapping[str, Any]) -> None:
        self.factory, self.kwargs = factory, kwargs
        self._check("partial", kwargs)

    def partial(self, *positional: Any, **kwargs: Any) -> PartialTask:
        """The same with more arguments."""
        refuse_positional("partial", positional)
        check_names(f"partial(): {self.factory.name}()", self.factory.signature, kwargs, self.kwargs)
        return PartialTask(self.factory, {**self.kwargs, **kwargs})

    def expand(self, *positional: Any, **mapped: Any) -> XComArg:
        """A task that runs once for each combination of the items of these arguments."""
        refuse_positional("expand", positional)
        self._check("expand", mapped)
        return self._mapped(Product(mapped))

    def expand_kwargs(self, records: Any, *, strict: bool = True) -> XComArg:
        """A task that runs once for each dict of arguments in a list.

        An argument of `partial` fails the instance whose dict has it too; with `strict=False` the dict's counts.
        """
        expansion = Records(records, strict)
        for record in records if expansion.literal_length is not None else ():
            self._check("expand_kwargs", record if isinstance(record, Mapping) else {})
        return self._mapped(expansion)

    def _check(self, what: str, names: Iterable[str]) -> None:
        check_names(f"{what}(): {self.factory.name}()", self.factory.signature, names)

    def _mapped(self, expansion: Product | Records) -> XComArg:
        shared = {"python_callable": self.factory.function, "op_kwargs": dict(self.kwargs)}
        arguments = {**self.factory._free_arguments(), **shared}
        made = mapped_task(self.factory.operator, arguments, expansion, into="op_kwargs")
        return self.factory.marked(made.output)

    def __repr__(self) -> str:
        return f"<partial {self.factory!r}, not expanded yet>"


def check_names(what: str, signature: inspect.Signature, names: Iterable[str], given: Container[str] = ()) -> None:
    """DagError unless the function has all arguments `names`, and none of them is `given` already."""
    parameters = signature.parameters
    for name in names:
        if name in given:
            raise DagError(f"{what}: {name!r} was passed to partial() already")
        if name not in parameters and not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            raise DagError(f"{what} has no argument {name!r}{nearest(name, list(parameters))}")


def returns_mapping(function: Callable[..., Any]) -> bool:
    """Whether a function is annotated to return a dict: its keys then become XComs of their own.

    >>> def extremes() -> dict[str, float]: ...
    >>> returns_mapping(extremes)
    True
    """
    written = getattr(function, "__annotations__", {}).get("return")
    try:
        hints = typing.get_type_hints(_Returning(written), getattr(function, "__globals__", {}))
    except (NameError, TypeError):  # a name that exists only for type checkers
        return False
    kind = typing.get_origin(hints["return"]) or hints["return"]
    return isinstance(kind, type) and issubclass(kind, Mapping)


class _Returning:
    def __init__(self, annotation: Any) -> None:
        self.__annotations__ = {"return": annotation}


class TaskDecorator:
    """A decorator that makes functions into tasks of one operator: `@task` or `@task(retries=2)`."""

    def __init__(self, name: str, operator: type[BaseOperator]) -> None:
        self.name, self.operator = name, operator

    def __call__(self, *functions: Any, **arguments: Any) -> Any:
        if len(functions) > 1 or not all(map(callable, functions)):
            raise DagError(f"{self.name} takes its arguments by name: {self.name}(task_id=...)")
        if functions:
            return TaskFactory(functions[0], self.operator, self.name, arguments)
        return lambda function: TaskFactory(function, self.operator, self.name, arguments)


class TaskDecorators(TaskDecorator):
    """`@task`, and under its dot the decorators for other kinds of tasks."""

    python = TaskDecorator("@task.python", PythonOperator)
    branch = TaskDecorator("@task.branch", BranchPythonOperator)
    short_circuit = TaskDecorator("@task.short_circuit", ShortCircuitOperator)
    sensor = TaskDecorator("@task.sensor", PythonSensor)
    bash = TaskDecorator("@task.bash", DecoratedBashOperator)

    @staticmethod
    def run_if(condition: Condition, skip_message: str | None = None) -> Callable[[TaskFactory], TaskFactory]:
        """Skips the task, just before it would run, unless `condition` of its context holds; goes above `@task`.

        `skip_message` goes to the log. The condition may return a pair instead: whether it holds, and the message.
        """
        return _conditional("@task.run_if", condition, skip_message, runs_when=True)

    @staticmethod
    def skip_if(condition: Condition, skip_message: str | None = None) -> Callable[[TaskFactory], TaskFactory]:
        """Skips the task, just before it would run, if `condition` of its context holds; goes above `@task`.

        >>> @task.skip_if(lambda context: context["params"]["dry"], "a dry run")
        ... @task
        ... def load(): ...
        """
        return _conditional("@task.skip_if", condition, skip_message, runs_when=False)


def _conditional(
    decorator: str, condition: Condition, skip_message: str | None, *, runs_when: bool
) -> Callable[[TaskFactory], TaskFactory]:
    if not callable(condition):
        raise DagError(f"{decorator} takes a function of the context, not {condition!r}")

    def decorate(factory: TaskFactory) -> TaskFactory:
        if not isinstance(factory, TaskFactory):
            raise DagError(f"{decorator} goes above @task, not above {factory!r}")
        earlier = factory.arguments.get("pre_execute")

        def pre_execute(context: Mapping[str, Any]) -> None:
            if earlier is not None:
                earlier(context)
            answer = condition(context)
            holds, message = answer if isinstance(answer, tuple) else (answer, None)
            if bool(holds) != runs_when:
                raise AirflowSkipException(message or skip_message or f"{decorator} says so")

        return factory.override(pre_execute=pre_execute)

    return decorate


task = TaskDecorators("@task", PythonOperator)
"""Makes a function a task: see `TaskFactory`."""


def dag(dag_id: str | Callable[..., Any] | None = None, **arguments: Any) -> Any:
    """Makes a function that writes a DAG: each call of it gives one.

    The DAG is called like the function unless `dag_id` says otherwise; `arguments` are those of `DAG`. The function's
    own arguments become params of the DAG: inside, they stand for what the run's conf says, else for what was passed.

    >>> @dag(schedule="@daily", tags=["demo"])
    ... def load(table="daily"):
    ...     task(lambda name: name, task_id="show")(table)
    >>> load("weather").params
    {'table': 'weather'}
    """
    if callable(dag_id):
        return dag()(dag_id)

    def decorate(function: Callable[..., Any]) -> Callable[..., DAG]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def write(*args: Any, **kwargs: Any) -> DAG:
            given = bound(function.__name__, signature, args, kwargs)
            with DAG(dag_id or function.__name__, **{"doc_md": function.__doc__, **arguments}) as written:
                function(**{name: written.param(name, value) for name, value in given.items()})
            return written

        return write

    return decorate


def bound(name: str, signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """A function's arguments by name, defaults filled in; DagError if it cannot be called so."""
    try:
        given = signature.bind(*args, **kwargs)
    except TypeError as error:
        raise DagError(f"{name}{signature}: {error}") from None
    given.apply_defaults()
    return given.arguments


class GroupFactory:
    """A function under `@task_group`: each call puts its tasks into a group of their own.

    `expand` and `expand_kwargs` make a mapped group: see `etlkit.mapping`. `given` is what `partial` was passed.
    """

    def __init__(
        self, function: Callable[..., Any], arguments: Mapping[str, Any], given: Mapping[str, Any] | None = None
    ) -> None:
        if not callable(function):
            raise DagError(f"@task_group goes above a function, not above {function!r}")
        functools.update_wrapper(self, function)
        self.function, self.given = function, dict(given or {})
        self.signature = inspect.signature(function)
        self.arguments = {"group_id": function.__name__, "tooltip": function.__doc__ or "", **arguments}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the function returns, or the group if it returns nothing: either can stand in an arrow."""
        return self._written(None, args, {**self.given, **kwargs})

    def partial(self, *positional: Any, **kwargs: Any) -> GroupFactory:
        """Arguments that all instances of a mapped group share."""
        refuse_positional("partial", positional)
        self._check("partial", kwargs)
        return GroupFactory(self.function, self.arguments, {**self.given, **kwargs})

    def expand(self, *positional: Any, **mapped: Any) -> Any:
        """A group of which there is one instance for each combination of the items of these arguments."""
        refuse_positional("expand", positional)
        self._check("expand", mapped)
        return self._mapped(Product(mapped), mapped)

    def expand_kwargs(self, records: Any) -> Any:
        """A group of which there is one instance for each dict of arguments in a list."""
        variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        if any(parameter.kind in variadic for parameter in self.signature.parameters.values()):
            raise DagError(f"expand_kwargs(): {self.function.__name__}() may have neither * nor **")
        expansion = Records(records)
        for record in records if expansion.literal_length is not None else ():
            self._check("expand_kwargs", record if isinstance(record, Mapping) else {})
        return self._mapped(expansion, [name for name in self.signature.parameters if name not in self.given])

    def _check(self, what: str, names: Iterable[str]) -> None:
        check_names(f"{what}(): {self.function.__name__}()", self.signature, names, self.given)

    def _mapped(self, expansion: Product | Records, names: Iterable[str]) -> Any:
        parameters = self.signature.parameters
        defaults = {name: parameters[name].default for name in names if name in parameters}
        arguments = {
            name: GroupArgument(expansion, name, NOTSET if defaults.get(name, EMPTY) is EMPTY else defaults[name])
            for name in names
        }
        return self._written(expansion, (), {**self.given, **arguments})

    def _written(self, expansion: Product | Records | None, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        bound(self.function.__name__, self.signature, args, kwargs)
        arguments = dict(self.arguments)
        dag, parent = home_of(arguments.get("dag"), arguments.get("parent_group"))
        if expansion is not None and parent is not None and parent.mapped_group is not None:
            raise nested(f"group {arguments['group_id']!r}", parent.mapped_group)
        if dag is not None:
            arguments["group_id"] = dag.free_id(arguments["group_id"], parent)
        with TaskGroup(**arguments) as group:
            group.expansion = expansion
            result = self.function(*args, **kwargs)
        for reference in find_references(vars(expansion)) if expansion is not None else ():
            if isinstance(reference, Dependency):
                group.set_upstream(reference)
        return group if result is None else result

    def override(self, **arguments: Any) -> GroupFactory:
        """The same function with other arguments for its group."""
        return GroupFactory(self.function, {**self.arguments, **arguments}, self.given)


def task_group(function: Callable[..., Any] | None = None, /, **arguments: Any) -> Any:
    """Makes a function whose tasks form a group: `@task_group` or `@task_group(group_id="load")`.

    >>> with DAG("d") as written:
    ...     @task_group
    ...     def airport(name):
    ...         task(lambda: name, task_id="load")()
    ...     _ = [airport(name) for name in ("EWR", "JFK")]
    >>> list(written.task_dict)
    ['airport.load', 'airport__1.load']
    """
    if function is not None:
        return GroupFactory(function, arguments)
    return lambda function: GroupFactory(function, arguments)


def setup(function: Any) -> TaskFactory:
    """Makes the tasks of a function setups: see `etlkit.scopes`. It goes above the function, or above its `@task`.

    >>> with DAG("d") as written:
    ...     @setup
    ...     def make(): ...
    ...     @teardown
    ...     def clear(): ...
    ...     @task
    ...     def work(): ...
    ...     with make() >> clear():
    ...         _ = work()
    >>> sorted(written.graph.edges)
    [('make', 'clear'), ('make', 'work'), ('work', 'clear')]
    """
    return _marking("@setup", function, XComArg.as_setup)


def teardown(function: Any = None, /, *, on_failure_fail_dagrun: bool = False) -> Any:
    """Makes the tasks of a function teardowns; a run fails with them only with `on_failure_fail_dagrun`."""
    mark = functools.partial(XComArg.as_teardown, on_failure_fail_dagrun=on_failure_fail_dagrun)
    decorate = functools.partial(_marking, "@teardown", mark=mark)
    return decorate if function is None else decorate(function)


def _marking(decorator: str, function: Any, mark: Callable[[XComArg], XComArg]) -> TaskFactory:
    if isinstance(function, GroupFactory):
        raise DagError(f"{decorator} goes above a task; a group cannot be one")
    factory = function if isinstance(function, TaskFactory) else TaskFactory(function, PythonOperator, decorator, {})
    if decorator == "@teardown" and factory.arguments.get("trigger_rule", TEARDOWN_RULE) != TEARDOWN_RULE:
        raise DagError(f"@teardown of {factory.name}(): its trigger rule is always {TEARDOWN_RULE}; leave it out")
    factory.mark = mark
    return factory
