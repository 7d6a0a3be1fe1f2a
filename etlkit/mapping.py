"""Dynamic task mapping: a task that is written once and runs once for each item of a list.

The list stands in the DAG file, or is the result of another task and known only when that has run. Each instance has a
`map_index`: 0, 1, 2, …; what the instances return is a list for the tasks after them.

>>> from etlkit.dag import DAG
>>> from etlkit.taskflow import task
>>> with DAG("d") as dag:
...     @task
...     def airports(): return ["EWR", "JFK", "LGA"]
...     @task
...     def load(airport, year): return f"{airport} {year}"
...     rows = load.partial(year=2013).expand(airport=airports())
>>> dag.task_dict["load"]
<Mapped PythonOperator load over airport>

Several arguments give every combination of their items, in the order in which they are written, the last one changing
fastest. A dict is mapped over as its (key, value) pairs. No items at all give one instance, which is skipped.

A whole group can be mapped too: a function under `@task_group`, with the same three methods. Its arguments then stand
for what one instance of the group is given, and inside it each task sees the results of its own map index alone.

>>> from etlkit.taskflow import task_group
>>> with DAG("d") as dag:
...     @task
...     def fetch(airport): ...
...     @task
...     def store(rows): ...
...     @task_group
...     def one_airport(airport):
...         store(fetch(airport))
...     _ = one_airport.expand(airport=["EWR", "JFK", "LGA"])
>>> sorted(dag.graph.edges)
[('one_airport.fetch', 'one_airport.store')]

Names and meanings are those of `airflow.sdk`: `partial`, `expand`, `expand_kwargs`, and `map`, `zip` and `concat` of a
task's result.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from etlkit.arguments import TASK_ARGUMENTS, CheckedArguments, parameters_of
from etlkit.dag import (
    BaseOperator,
    Dependency,
    Reference,
    TaskGroup,
    XComArg,
    find_references,
    home_of,
    inherited_defaults,
)
from etlkit.errors import DagError, XComError, nearest
from etlkit.params import NOTSET
from etlkit.templates import LiteralValue, needs_rendering

HOOKS = {"pre_execute", "post_execute"}
NOT_MAPPABLE = TASK_ARGUMENTS | HOOKS | {"task_id", "dag", "task_group", "default_args"}
"""Arguments that are the same for all instances of a task: what the scheduler has to know before there are any."""

Pull = Callable[[XComArg], Sequence[Any]]
"""Gives the items of a task's result, in a run in which there is one."""


def is_mappable(value: Any) -> bool:
    """Whether `value` has items to map over: a list, tuple, range or dict, but no text.

    >>> is_mappable([1]), is_mappable({"a": 1}), is_mappable("abc"), is_mappable({1, 2}), is_mappable(None)
    (True, True, False, False, False)
    """
    return isinstance(value, (Sequence, Mapping)) and not isinstance(value, (str, bytes, bytearray))


def items_of(value: Any) -> Sequence[Any]:
    """The items of a mappable value; those of a dict are its (key, value) pairs. XComError if it has none."""
    if not is_mappable(value):
        raise XComError(f"cannot map over {value!r} ({type(value).__name__}): only over a list or dict")
    return list(value.items()) if isinstance(value, Mapping) else value


# --- results that are made from results -------------------------------------------------------------------------------


class LazyItems(Sequence):
    """Items that are worked out one at a time: each instance needs only its own."""

    def __init__(self, length: int, item: Callable[[int], Any]) -> None:
        self.length, self.item = length, item

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < self.length:
            raise IndexError(index)
        return self.item(index)

    def __iter__(self) -> Iterator[Any]:
        return map(self.item, range(self.length))


class DerivedResult(Reference, Dependency):
    """A list made from the results of tasks, before there are any: `result.map(f)`, `.zip(other)`, `.concat(other)`."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    @property
    def sources(self) -> list[BaseOperator]:
        """The tasks whose results it is made from."""
        return list(dict.fromkeys(task for part in self.parts for task in sources_of(part)))

    roots = leaves = sources

    def items(self, pull: Pull) -> Sequence[Any]:
        """The items, in a run in which the sources have their results."""
        raise NotImplementedError

    def resolve(self, context: Mapping[str, Any]) -> list[Any]:
        """The items as a list, inside a running task."""
        return copy.deepcopy(list(self.items(context["ti"].items)))

    def map(self, function: Callable[[Any], Any]) -> DerivedResult:
        """What `function` makes of each item."""
        return MappedResult(self, function)

    def zip(self, *others: Any, fillvalue: Any = NOTSET) -> DerivedResult:
        """Tuples of the first items, the second items, …; as many as the shortest has, with `fillvalue` the longest."""
        return ZippedResult(self, *others, fillvalue=fillvalue)

    def concat(self, *others: Any) -> DerivedResult:
        """The items, and after them those of the others."""
        return ConcatenatedResult(self, *others)


def sources_of(argument: Any) -> list[BaseOperator]:
    """The tasks that must have ended before it is known how many items `argument` has."""
    if isinstance(argument, XComArg):
        return [argument.operator]
    return argument.sources if isinstance(argument, DerivedResult) else []


def run_items(argument: Any, pull: Pull) -> Sequence[Any]:
    """The items of what is mapped over, in a run in which its sources have their results."""
    if isinstance(argument, XComArg):
        return pull(argument)
    return argument.items(pull) if isinstance(argument, DerivedResult) else items_of(argument)


class MappedResult(DerivedResult):
    """A function of each item, called in the instance that the item is for: if it raises, that instance fails."""

    def __init__(self, part: Any, function: Callable[[Any], Any]) -> None:
        if not callable(function) or isinstance(function, BaseOperator) or hasattr(function, "expand"):
            raise DagError(f"map() takes a plain function of one item, not {function!r}")
        if isinstance(function, type) and function.__module__ == "builtins":
            raise DagError(
                f"map() takes no built-in class, as in Airflow; write lambda item: {function.__name__}(item)"
            )
        super().__init__(checked(part, "map"))
        self.function = function

    def items(self, pull: Pull) -> Sequence[Any]:
        items = run_items(self.parts[0], pull)
        return LazyItems(len(items), lambda i: self.function(copy.deepcopy(items[i])))


class ZippedResult(DerivedResult):
    """Tuples of items that stand at the same place."""

    def __init__(self, *parts: Any, fillvalue: Any) -> None:
        super().__init__(*(checked(part, "zip") for part in parts))
        self.fillvalue = fillvalue

    def items(self, pull: Pull) -> Sequence[Any]:
        columns = [run_items(part, pull) for part in self.parts]
        length = (min if self.fillvalue is NOTSET else max)(map(len, columns))
        return LazyItems(length, lambda i: tuple(c[i] if i < len(c) else self.fillvalue for c in columns))


class ConcatenatedResult(DerivedResult):
    """Items one after the other."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*(checked(part, "concat") for part in parts))

    def items(self, pull: Pull) -> Sequence[Any]:
        parts = [run_items(part, pull) for part in self.parts]

        def item(index: int) -> Any:
            for part in parts:
                if index < len(part):
                    return part[index]
                index -= len(part)
            raise IndexError(index)

        return LazyItems(sum(len(part) for part in parts), item)


def checked(argument: Any, what: str) -> Any:
    """`argument` if it can be mapped over; DagError otherwise."""
    if isinstance(argument, GroupArgument):
        raise DagError(f"{what}: nothing can be mapped inside a mapped group over its argument {argument.name!r}")
    if isinstance(argument, XComArg):
        if argument.key != "return_value":
            raise DagError(f"{what} takes the whole result of {argument.operator.task_id!r}, not its {argument.key!r}")
        argument.operator.mapped_over = True
    elif not isinstance(argument, DerivedResult) and not is_mappable(argument):
        raise DagError(f"{what} takes a list, a dict or the result of a task, not {argument!r}")
    return argument


# --- what a task is mapped over ---------------------------------------------------------------------------------------


class Product:
    """`expand(x=…, y=…)`: every combination of the items of its arguments, the last one changing fastest.

    >>> product = Product({"x": [1, 2], "y": {"a": 3}})
    >>> product.literal_length, [product.values(i, {}) for i in range(2)]
    (2, [{'x': 1, 'y': ('a', 3)}, {'x': 2, 'y': ('a', 3)}])
    """

    strict = False
    """Only `expand_kwargs` is: a mapped argument of a function replaces what `partial` was passed, as in Airflow."""

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        if not arguments:
            raise DagError("expand() needs at least one argument to map over")
        self.arguments = {
            name: argument if isinstance(argument, Reference) else items_of(argument)
            for name, value in arguments.items()
            for argument in [checked(value, f"expand({name}=...)")]
        }

    @property
    def names(self) -> str:
        """What is mapped over, for people."""
        return ", ".join(self.arguments)

    @property
    def sources(self) -> list[BaseOperator]:
        """The tasks whose results say how many instances there are."""
        return [task for argument in self.arguments.values() for task in sources_of(argument)]

    @property
    def literal_length(self) -> int | None:
        """How many instances there are, if that stands in the DAG file."""
        if self.sources:
            return None
        return math.prod(len(items) for items in self.arguments.values() if not isinstance(items, Reference))

    def length(self, pull: Pull) -> int:
        """How many instances there are, in a run in which the sources have their results."""
        return math.prod(len(run_items(argument, pull)) for argument in self.arguments.values())

    def values(self, map_index: int, context: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of one instance."""
        values: dict[str, Any] = {}
        for name, argument in reversed(self.arguments.items()):
            items = argument if not isinstance(argument, Reference) else run_items(argument, context["ti"].items)
            map_index, place = divmod(map_index, len(items))
            values[name] = as_is(items[place]) if isinstance(argument, Reference) else items[place]
        return {name: values[name] for name in self.arguments}


class Records:
    """`expand_kwargs([{…}, {…}])`: one instance for each dict of arguments; the list or a dict may be a result."""

    names = "records"

    def __init__(self, records: Any, strict: bool = True) -> None:
        self.strict = strict
        """Whether no dict may have an argument that was passed to `partial`."""
        if isinstance(records, Mapping):
            raise DagError("expand_kwargs() takes a list of dicts, not a dict; write expand(...) for that")
        self.records = checked(records, "expand_kwargs()")
        for record in records if not isinstance(records, Reference) else ():
            if not isinstance(record, (Mapping, XComArg)):
                raise DagError(f"expand_kwargs() takes a list of dicts; {record!r} is none")

    @property
    def sources(self) -> list[BaseOperator]:
        """The tasks whose results say how many instances there are."""
        return sources_of(self.records)

    @property
    def literal_length(self) -> int | None:
        """How many instances there are, if that stands in the DAG file."""
        return None if isinstance(self.records, Reference) else len(self.records)

    def length(self, pull: Pull) -> int:
        """How many instances there are, in a run in which the sources have their results."""
        return len(run_items(self.records, pull))

    def values(self, map_index: int, context: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of one instance; XComError if its item is not a dict with names for keys."""
        record = run_items(self.records, context["ti"].items)[map_index] if self.sources else self.records[map_index]
        known_before = not self.sources and not isinstance(record, Reference)
        record = record.resolve(context) if isinstance(record, Reference) else record
        if not isinstance(record, Mapping) or not all(isinstance(name, str) for name in record):
            raise XComError(f"expand_kwargs() needs dicts of arguments, and item {map_index} is {record!r}")
        return {name: value if known_before else as_is(value) for name, value in record.items()}


Expansion = Product | Records


def as_is(value: Any) -> LiteralValue:
    """A value from a run: no templates are looked for in it, and one instance cannot change it for another."""
    return LiteralValue(copy.deepcopy(value))


class GroupArgument(Reference, Dependency):
    """An argument of a mapped group while the group is written: inside, what one instance of it is given.

    In a dict of `expand_kwargs` the argument may be missing if the group's function has a `default` for it.
    """

    def __init__(self, expansion: Expansion, name: str, default: Any = NOTSET) -> None:
        self.expansion, self.name, self.default = expansion, name, default

    @property
    def roots(self) -> list[BaseOperator]:
        return self.expansion.sources

    leaves = roots

    def resolve(self, context: Mapping[str, Any]) -> Any:
        """The value itself, inside a running task of the group."""
        map_index = context["ti"].map_index
        if map_index < 0:
            raise XComError(f"{self!r}: which instance of the group this is, is not known here")
        value = self.expansion.values(map_index, context).get(self.name, self.default)
        if value is NOTSET:
            raise XComError(f"the mapped group needs {self.name!r}, and item {map_index} has none")
        value = value.value if isinstance(value, LiteralValue) else value
        return value.resolve(context) if isinstance(value, Reference) else value

    def __iter__(self) -> Iterator[Any]:
        raise DagError(f"{self!r} has no value yet: it cannot be looped over while the group is written")

    def __getitem__(self, key: Any) -> Any:
        raise DagError(f"{self!r} has no value yet: look at its {key!r} inside a task")

    def __repr__(self) -> str:
        return f"GroupArgument({self.name!r})"


def nested(what: str, group: TaskGroup) -> DagError:
    """The error for something mapped inside a mapped group; Airflow cannot do that either."""
    return DagError(f"{what} is mapped inside the mapped group {group.group_id!r}: nothing can be mapped twice")


# --- the task ---------------------------------------------------------------------------------------------------------


class MappedOperator(BaseOperator):
    """A task of `operator_class` with the arguments `given`, and one instance for each set of those of `expansion`.

    `into` names the argument that collects the mapped ones: `op_kwargs` for a function under `@task`.
    """

    expansion: Expansion

    def __init__(
        self,
        *,
        operator_class: type[BaseOperator],
        given: Mapping[str, Any],
        expansion: Expansion,
        into: str | None = None,
        **arguments: Any,
    ) -> None:
        self.operator_class, self.given, self.expansion, self.into = operator_class, given, expansion, into
        super().__init__(**arguments)
        for reference in find_references([given, vars(expansion)]):
            if isinstance(reference, Dependency):
                self.set_upstream(reference)

    @property
    def task_type(self) -> str:
        return self.operator_class.__name__

    def unmapped(self, map_index: int, context: Mapping[str, Any]) -> BaseOperator:
        """The task of one instance, with its own arguments, as it is executed."""
        if map_index < 0:
            raise XComError(f"task {self.task_id!r} is mapped, and what it is mapped over is not known here")
        values = self.expansion.values(map_index, context)
        if self.into is None:
            return self._made({**self.given, **self._checked(values)})
        task = copy.copy(self._prototype)
        shared = self.given.get(self.into, {})
        if self.expansion.strict and (twice := sorted(shared.keys() & values.keys())):
            raise XComError(f"task {self.task_id!r}: {twice[0]!r} was passed to partial() already; see strict=False")
        setattr(task, self.into, {**shared, **values})
        return task

    @cached_property
    def _prototype(self) -> BaseOperator:
        """What all instances of a function are copies of; only the arguments that it is called with differ."""
        return self._made(self.given)

    def _made(self, arguments: Mapping[str, Any]) -> BaseOperator:
        # Neither defaults nor edges: the DAG is written already, and this is not a task of it.
        task: BaseOperator = CheckedArguments.__call__(self.operator_class, **arguments, task_id=self.task_id)
        for name in vars(self).keys() & (TASK_ARGUMENTS | {f"{hook}_hook" for hook in HOOKS}):
            setattr(task, name, getattr(self, name))
        task.dag, task.task_group = self.dag, self.task_group
        return task

    def _checked(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """An instance's arguments; where nothing would be rendered the value itself, for operators that check it."""
        check_mapped(self.operator_class, self.given if self.expansion.strict else {}, values)
        templated, extensions = self.operator_class.template_fields, tuple(self.operator_class.template_ext)
        return {
            name: value.value
            if isinstance(value, LiteralValue)
            and not (name in templated and needs_rendering(value.value, extensions, text_stays=False))
            else value
            for name, value in values.items()
        }

    def execute(self, context: Mapping[str, Any]) -> Any:
        """Do what the instance that is running has to do."""
        return self.unmapped(context["ti"].map_index, context).execute(context)

    def __repr__(self) -> str:
        return f"<Mapped {self.task_type} {self.task_id} over {self.expansion.names}>"


def check_mapped(operator_class: type[BaseOperator], given: Mapping[str, Any], mapped: Mapping[str, Any]) -> None:
    """DagError unless the operator has the arguments `mapped`, they may differ between instances, and are not given."""
    known = parameters_of(operator_class).all
    for name in mapped:
        if name in NOT_MAPPABLE:
            raise DagError(f"{operator_class.__name__}: {name!r} is the same for all instances; pass it to partial()")
        if name not in known:
            mappable = sorted(known.keys() - NOT_MAPPABLE)
            raise DagError(f"{operator_class.__name__} has no argument {name!r} to map{nearest(name, mappable)}")
        if name in given:
            raise DagError(f"{operator_class.__name__}: {name!r} was passed to partial() already")


class OperatorPartial:
    """An operator with some of its arguments, waiting for `expand` or `expand_kwargs`: what `partial` gives."""

    def __init__(self, operator_class: type[BaseOperator], arguments: Mapping[str, Any]) -> None:
        known = parameters_of(operator_class).all
        for name in arguments:
            if name not in known:
                raise DagError(f"{operator_class.__name__} has no argument {name!r}{nearest(name, sorted(known))}")
        if "task_id" not in arguments:
            raise DagError(f"{operator_class.__name__}.partial() needs the argument task_id=...")
        self.operator_class, self.arguments = operator_class, dict(arguments)

    def expand(self, *positional: Any, **mapped: Any) -> MappedOperator:
        """One instance for each combination of the items of these arguments."""
        refuse_positional("expand", positional)
        check_mapped(self.operator_class, self.arguments, mapped)
        return mapped_task(self.operator_class, self.arguments, Product(mapped))

    def expand_kwargs(self, records: Any, *, strict: bool = True) -> MappedOperator:
        """One instance for each dict of arguments in a list; with `strict=False` they replace those of `partial`."""
        expansion = Records(records, strict)
        given = self.arguments if strict else {}
        for record in records if expansion.literal_length is not None else ():
            check_mapped(self.operator_class, given, record if isinstance(record, Mapping) else {})
        return mapped_task(self.operator_class, self.arguments, expansion)

    def __repr__(self) -> str:
        return f"<{self.operator_class.__name__}.partial of {self.arguments['task_id']}, not expanded yet>"


def refuse_positional(what: str, positional: Sequence[Any]) -> None:
    """DagError if there are arguments without a name."""
    if positional:
        raise DagError(f"{what}() takes its arguments by name, not {positional[0]!r} alone: {what}(name=...)")


def mapped_task(
    operator_class: type[BaseOperator], arguments: Mapping[str, Any], expansion: Expansion, into: str | None = None
) -> MappedOperator:
    """A mapped task in the DAG that is being written; `arguments` are those that all of its instances share."""
    dag, group = home_of(arguments.get("dag"), arguments.get("task_group"))
    if group is not None and group.mapped_group is not None:
        raise nested(f"task {arguments['task_id']!r}", group.mapped_group)
    defaults = inherited_defaults(dag, group, arguments.get("default_args"))
    own = parameters_of(operator_class).own
    shared = {name: value for name, value in arguments.items() if name in NOT_MAPPABLE}
    given = {name: defaults[name] for name in own & defaults.keys()} | {
        name: value for name, value in arguments.items() if name not in shared or name in own - {"task_id"}
    }
    return MappedOperator(operator_class=operator_class, given=given, expansion=expansion, into=into, **shared)
