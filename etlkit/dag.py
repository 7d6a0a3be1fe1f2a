"""DAGs and operators: what is to be done, and in which order.

A `DAG` is a named `networkx.DiGraph` whose nodes are tasks; a task is an instance of an operator. The two define each
other, so they live together here. Nothing in this module runs anything or knows a database.

>>> from datetime import datetime, timezone
>>> with DAG("weather", start_date=datetime(2013, 1, 1, tzinfo=timezone.utc), schedule="@daily") as dag:
...     extract, mean, extremes, load = (BaseOperator(task_id=t) for t in ("extract", "mean", "extremes", "load"))
...     _ = extract >> [mean, extremes] >> load
>>> dag.topological_generations()
[['extract'], ['mean', 'extremes'], ['load']]
>>> dag.graph                                                                           # doctest: +ELLIPSIS
<networkx.classes.digraph.DiGraph object at ...>

Names and arguments are those of Airflow 3 (`airflow.sdk`).
"""

from __future__ import annotations

import contextlib
import copy
import logging
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import networkx as nx

from etlkit.arguments import (
    CHECKS,
    TASK_ARGUMENTS,
    Callback,
    CheckedArguments,
    TaskArguments,
    as_callbacks,
    as_folders,
    check_at_least,
    check_date,
    check_id,
    check_order,
    check_params,
    check_seconds,
    parameters_of,
)
from etlkit.assets import schedule_of
from etlkit.config import conf
from etlkit.errors import (
    AirflowException,
    CycleError,
    DagError,
    DuplicateTaskIdFound,
    ParamValidationError,
    TaskNotFound,
    XComError,
)
from etlkit.params import NOTSET, ParamsDict
from etlkit.scopes import TEARDOWN_RULE, Markable, note_new
from etlkit.showing import as_html
from etlkit.templates import Renderer, environment_for, environment_of
from etlkit.timetables import TimeRestriction, Timetable, timetable_for

if TYPE_CHECKING:
    from datetime import tzinfo

    from etlkit.mapping import DerivedResult, Expansion, OperatorPartial

_dag_stack: list[DAG] = []
_group_stack: list[TaskGroup] = []
_collectors: list[list[DAG]] = []

DAG_ONLY_ARGUMENTS = frozenset(
    {
        "catchup",
        "dagrun_timeout",
        "description",
        "fail_fast",
        "is_paused_upon_creation",
        "max_active_runs",
        "max_active_tasks",
        "schedule",
        "tags",
    }
)
"""Arguments of a DAG that learners put into `default_args`, where they have no effect."""


# --- edges ------------------------------------------------------------------------------------------------------------


class Dependency:
    """Whatever can stand at the end of an arrow: a task, a group, the result of a task, a label.

    `roots` are the tasks that an arrow into it reaches, `leaves` those that an arrow out of it leaves from.
    """

    @property
    def roots(self) -> list[BaseOperator]:
        raise NotImplementedError

    @property
    def leaves(self) -> list[BaseOperator]:
        raise NotImplementedError

    def set_downstream(self, other: Any, edge_modifier: EdgeModifier | None = None) -> None:
        """Make `other` (one or a list) wait for this."""
        for end in as_ends(other):
            if isinstance(end, EdgeModifier):
                end.set_upstream(self.leaves)
                continue
            tails, heads = self._tails(), end.roots
            if isinstance(self, TaskGroup):
                self.downstream_ids.update(ids_of(end))
            if isinstance(end, TaskGroup):
                end.upstream_ids.update(ids_of(self), (task.task_id for task in tails))
            draw(tails, heads, edge_modifier)

    def set_upstream(self, other: Any, edge_modifier: EdgeModifier | None = None) -> None:
        """Make this wait for `other` (one or a list)."""
        for end in as_ends(other):
            if isinstance(end, EdgeModifier):
                end.set_downstream(self.roots)
                continue
            tails, heads = end.leaves, self.roots
            if isinstance(self, TaskGroup):
                self.upstream_ids.update(ids_of(end))
            if isinstance(end, TaskGroup):
                end.downstream_ids.update(ids_of(self), (task.task_id for task in heads))
            draw(tails, heads, edge_modifier)

    def _tails(self) -> list[BaseOperator]:
        return self.leaves

    def __rshift__(self, other: Any) -> Any:
        self.set_downstream(other)
        return other

    def __lshift__(self, other: Any) -> Any:
        self.set_upstream(other)
        return other

    def __rrshift__(self, other: Any) -> Any:
        self.set_upstream(other)
        return self

    def __rlshift__(self, other: Any) -> Any:
        self.set_downstream(other)
        return self


class EdgeModifier(Dependency):
    """A label between two ends: `a >> Label("if ready") >> b`. It draws its edges as soon as it has both.

    As in Airflow, a label between a task in a group and something outside the group takes the side written first as its
    whole group: `group_task >> Label("x") >> after` leaves from all leaves of the group.
    """

    def __init__(self, label: str) -> None:
        self.label = label
        self._before: list[Dependency] = []
        self._after: list[Dependency] = []

    def __repr__(self) -> str:
        return f"Label({self.label!r})"

    def set_upstream(self, other: Any, edge_modifier: EdgeModifier | None = None) -> None:
        self._before += self._labelled(other)
        self._widen()
        for end in self._after:
            end.set_upstream(other, self)

    def set_downstream(self, other: Any, edge_modifier: EdgeModifier | None = None) -> None:
        self._after += self._labelled(other)
        self._widen()
        for end in self._before:
            end.set_downstream(other, self)

    def _labelled(self, other: Any) -> list[Dependency]:
        ends = list(as_ends(other))
        if any(isinstance(end, EdgeModifier) for end in ends):
            raise DagError(f"label {self.label!r} stands next to another label; a label goes between two tasks")
        return ends

    def _widen(self) -> None:
        groups = {_group_around(end) for end in (*self._before, *self._after)}
        if self._before and self._after and len(groups) > 1:
            self._before, self._after = (
                list(dict.fromkeys(map(_widened, side))) for side in (self._before, self._after)
            )


def _group_around(end: Any) -> TaskGroup | None:
    return (end.leaves[0] if isinstance(end, Reference) else end).task_group  # type: ignore[attr-defined]


def _widened(end: Any) -> Any:
    return end if isinstance(end, Reference) else end.task_group or end


def Label(label: str) -> EdgeModifier:
    """A text on an edge."""
    return EdgeModifier(label)


def as_ends(ends: Any) -> Sequence[Dependency]:
    """One end of an arrow, or a list of them, as a sequence; DagError for what cannot be one."""
    sequence = ends if isinstance(ends, (list, tuple)) else (ends,)
    for end in sequence:
        if not isinstance(end, Dependency):
            hint = "; call it first" if callable(end) else "; write the task itself" if isinstance(end, str) else ""
            raise DagError(f"unknown upstream or downstream {end!r} ({type(end).__name__}): not a task or group{hint}")
    return sequence


def ids_of(end: Dependency) -> list[str]:
    """The id of a group, or those of the tasks at an end."""
    return [end.group_id] if isinstance(end, TaskGroup) else [task.task_id for task in end.roots]


def draw(tails: Iterable[BaseOperator], heads: Sequence[BaseOperator], label: EdgeModifier | None) -> None:
    """An edge from every task of `tails` to every one of `heads`; DagError unless all are of one DAG.

    A task that is in no DAG yet joins that of the other.
    """
    for tail in tails:
        for head in heads:
            dag = tail.dag or head.dag
            if dag is None:
                raise DagError(
                    f"{tail.task_id!r} >> {head.task_id!r}: neither is in a DAG; write them inside `with DAG`"
                )
            if tail.dag is not head.dag:
                if tail.dag and head.dag:
                    raise DagError(
                        f"{tail.task_id!r} is in DAG {tail.dag.dag_id!r} and {head.task_id!r} in {head.dag.dag_id!r}; "
                        "an edge stays inside one DAG (use TriggerDagRunOperator between DAGs)"
                    )
                dag.add_task(head if tail.dag else tail)
            dag.add_edge(tail, head, label.label if label else None)


def chain(*ends: Any) -> None:
    """Connect each argument to the next; two neighbouring lists of equal length pair up.

    >>> with DAG("d") as dag:
    ...     a, b, c, d, e, f = (BaseOperator(task_id=t) for t in "abcdef")
    ...     chain(a, [b, c], [d, e], f)
    >>> sorted(dag.graph.edges)
    [('a', 'b'), ('a', 'c'), ('b', 'd'), ('c', 'e'), ('d', 'f'), ('e', 'f')]
    """
    for before, after in pairwise(ends):
        if not isinstance(before, (list, tuple)):
            as_ends(before)[0].set_downstream(after)
        elif not isinstance(after, (list, tuple)):
            as_ends(after)[0].set_upstream(before)
        elif len(before) == len(after):
            for tail, head in zip(as_ends(before), after, strict=True):
                tail.set_downstream(head)
        else:
            raise DagError(f"chain: neighbouring lists must be of one length, not {len(before)} and {len(after)}")


def chain_linear(*ends: Any) -> None:
    """Connect each argument to the next; of two neighbouring lists, every one to every one.

    >>> with DAG("d") as dag:
    ...     a, b, c, d = (BaseOperator(task_id=t) for t in "abcd")
    ...     chain_linear([a, b], [c, d])
    >>> sorted(dag.graph.edges)
    [('a', 'c'), ('a', 'd'), ('b', 'c'), ('b', 'd')]
    """
    if not any(ends[:-1]):
        raise DagError(f"chain_linear has nothing to connect: {len(ends)} ends; unpack a list with *")
    if any(isinstance(end, EdgeModifier) for end in ends):
        raise DagError("chain_linear takes no labels; use chain, or a >> Label(...) >> b")
    for before, after in pairwise(ends):
        cross_downstream(as_ends(before), as_ends(after))


def cross_downstream(from_tasks: Sequence[Any], to_tasks: Any) -> None:
    """Connect every one of the list `from_tasks` to every one of `to_tasks`."""
    if not isinstance(from_tasks, (list, tuple)):
        raise DagError(f"cross_downstream takes a list of tasks first, not {from_tasks!r}")
    for tail in as_ends(from_tasks):
        tail.set_downstream(to_tasks)


# --- references: values that are known only when a task runs ----------------------------------------------------------


class Reference:
    """Stands for a value that is known only when a task runs; the runtime puts `resolve(context)` in its place."""

    def resolve(self, context: Mapping[str, Any]) -> Any:
        """The value itself, inside a running task."""
        raise NotImplementedError


class XComArg(Reference, Markable, Dependency):
    """The result of a task, before there is one: a reference that another task takes as an argument.

    Passing it draws the edge; at run time it is replaced by the value that `operator` pushed under `key`. A task that
    returned nothing gives None, and so does a key that a task with `multiple_outputs` did not push; of another task
    that is an XComError.
    """

    def __init__(self, operator: BaseOperator, key: str = "return_value") -> None:
        self.operator, self.key = operator, key

    @property
    def roots(self) -> list[BaseOperator]:
        return [self.operator]

    leaves = roots

    def __getitem__(self, key: str) -> XComArg:
        return XComArg(self.operator, key)

    def map(self, function: Callable[[Any], Any]) -> DerivedResult:
        """What `function` makes of each item of the result, to map over: `f.expand(x=days().map(next_day))`."""
        return _derived().MappedResult(self, function)

    def zip(self, *others: Any, fillvalue: Any = NOTSET) -> DerivedResult:
        """Tuples of the first items, the second items, …; as many as the shortest has, with `fillvalue` the longest."""
        return _derived().ZippedResult(self, *others, fillvalue=fillvalue)

    def concat(self, *others: Any) -> DerivedResult:
        """The items of the result, and after them those of the others."""
        return _derived().ConcatenatedResult(self, *others)

    def __iter__(self) -> Iterator[Any]:
        raise DagError(f"the result of {self.operator.task_id!r} has no value yet: it cannot be looped over here")

    def __bool__(self) -> bool:
        return True

    def __str__(self) -> str:
        """The Jinja expression for the same value, so that it can stand inside a template."""
        key = "" if self.key == "return_value" else f", key='{self.key}'"
        return f"{{{{ task_instance.xcom_pull(task_ids='{self.operator.task_id}'{key}) }}}}"

    def __repr__(self) -> str:
        return f"XComArg({self.operator.task_id!r}, key={self.key!r})"

    def resolve(self, context: Mapping[str, Any]) -> Any:
        """The value itself, inside a running task; of a mapped task a list of what its instances pushed.

        Inside a mapped group it is what the instance of the same map index pushed.
        """
        ti, task = context["ti"], self.operator
        if task.mapped_group is not None and task.shares_instances_with(ti.task):
            value = ti.xcom_pull(task.task_id, key=self.key, default=self, map_indexes=ti.map_index)
        elif task.expansion is not None:
            values = ti.xcom_pull([task.task_id], key=self.key, default=self)
            return [] if values == [self] else values
        else:
            value = ti.xcom_pull(task.task_id, key=self.key, default=self)
        if value is not self:
            return value
        if self.key != "return_value" and not task.multiple_outputs:
            raise XComError(f"task {task.task_id!r} pushed nothing under {self.key!r}; set multiple_outputs=True")
        return None


def _derived() -> Any:
    # Mapping is built on operators and results; they only name what it makes of them.
    from etlkit import mapping

    return mapping


class DagParam(Reference):
    """A param of the run: what an argument of a function under `@dag` is while the DAG is written."""

    def __init__(self, dag: DAG, name: str) -> None:
        self.dag, self.name = dag, name

    def resolve(self, context: Mapping[str, Any]) -> Any:
        """The value itself, inside a running task: from the run's conf, else the DAG's default."""
        return context["params"][self.name]

    def __repr__(self) -> str:
        return f"DagParam({self.name!r})"


def find_references(value: Any) -> Iterator[Reference]:
    """Every reference inside `value`, however deep in lists, tuples, sets and dicts.

    >>> list(find_references({"a": [1, 2]}))
    []
    """
    if isinstance(value, Reference):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from find_references(item)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            yield from find_references(item)


# --- operators --------------------------------------------------------------------------------------------------------


def task_settings() -> dict[str, Any]:
    """The task arguments for which the settings say something else than the class, for tasks that do not say."""
    told = {
        "retries": conf.get("core", "default_task_retries"),
        "retry_delay": timedelta(seconds=conf.get("core", "default_task_retry_delay")),
        "queue": conf.get("operators", "default_queue"),
    }
    return {name: value for name, value in told.items() if value != getattr(TaskArguments, name)}


class OperatorMeta(CheckedArguments):
    """Fills in `default_args`, and draws the edges of task results passed as arguments."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if own := parameters_of(cls).own:
            dag, group = home_of(kwargs.get("dag"), kwargs.get("task_group"))
            if defaults := inherited_defaults(dag, group, kwargs.get("default_args")):
                kwargs = {name: defaults[name] for name in own & defaults.keys()} | kwargs
        task = super().__call__(*args, **kwargs)
        for field in task.template_fields:
            for reference in find_references(getattr(task, field, None)):
                if isinstance(reference, Dependency):
                    task.set_upstream(reference)
        return task


def home_of(dag: DAG | None, group: TaskGroup | None) -> tuple[DAG | None, TaskGroup | None]:
    """Where a new task belongs: what it was told, else the `with` blocks around it."""
    if group is not None and dag not in (None, group.dag):
        raise DagError(f"task group {group.group_id!r} is in DAG {group.dag.dag_id!r}, not in {dag.dag_id!r}")
    group = group or current_group(dag)
    return dag or (group.dag if group else current_dag()), group


def inherited_defaults(
    dag: DAG | None, group: TaskGroup | None, default_args: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The `default_args` in force for a task: its own go before its group's, those before its DAG's."""
    return {**(dag.default_args if dag else {}), **(group.default_args if group else {}), **(default_args or {})}


class BaseOperator(TaskArguments, Markable, Dependency, metaclass=OperatorMeta):
    """One task of a DAG; subclass it and write `execute(self, context)` to make an operator of your own.

    The arguments that every operator takes are listed in `TaskArguments`; names and meanings are Airflow's. What
    `execute` returns is pushed as the XCom `return_value`. Strings in the attributes that `template_fields` names are
    rendered before it is called, task results there are replaced by their values, and files whose names end in one of
    `template_ext` by their rendered text.

    >>> class Greet(BaseOperator):
    ...     template_fields = ("name",)
    ...     def __init__(self, name, **kwargs):
    ...         super().__init__(**kwargs)
    ...         self.name = name
    ...     def execute(self, context):
    ...         return f"Hello, {self.name}!"
    >>> Greet(task_id="greet", name="Ada", retries=2).execute({})
    'Hello, Ada!'
    >>> Greet(task_id="greet", name="Ada", retires=2)
    Traceback (most recent call last):
    etlkit.errors.DagError: Greet('greet') has no argument 'retires'; did you mean 'retries'?
    """

    template_fields: ClassVar[Sequence[str]] = ()
    template_ext: ClassVar[Sequence[str]] = ()
    ui_color: ClassVar[str] = "#fff"

    is_setup: bool = False
    is_teardown: bool = False
    on_failure_fail_dagrun: bool = False

    expansion: Expansion | None = None
    """What a mapped task, or the mapped group around it, is mapped over: see `etlkit.mapping`."""
    pre_execute_hook: Callback | None = None
    post_execute_hook: Callable[[Mapping[str, Any], Any], object] | None = None
    """What was passed as `pre_execute` and `post_execute`: called before the methods of these names."""
    mapped_over: bool = False
    """Whether another task is mapped over its result, which then must be a list or dict."""

    def __init__(
        self,
        task_id: str,
        *,
        dag: DAG | None = None,
        task_group: TaskGroup | None = None,
        default_args: Mapping[str, Any] | None = None,
        pre_execute: Callback | None = None,
        post_execute: Callable[[Mapping[str, Any], Any], object] | None = None,
        **arguments: Any,
    ) -> None:
        dag, group = home_of(dag, task_group)
        self.task_id = check_id("task_id", group.child_id(check_id("task_id", task_id)) if group else task_id)
        self.task_group = group
        self.dag: DAG | None = None
        defaults = inherited_defaults(dag, group, default_args)
        settings = dag.task_settings if dag else task_settings()
        told = {**settings, **{name: defaults[name] for name in defaults if name in TASK_ARGUMENTS}, **arguments}
        for name, value in told.items():
            self._tell(name, value)
        if self.wait_for_downstream:
            self.depends_on_past = True
        if pre_execute is not None:
            self.pre_execute_hook = pre_execute
        if post_execute is not None:
            self.post_execute_hook = post_execute
        check_order(f"task {task_id!r}", self.start_date, self.end_date)
        if group is not None and (mapped := group.mapped_group) is not None:
            self.expansion = mapped.expansion
        if dag is not None:
            dag.add_task(self)
            note_new(self)

    def _tell(self, name: str, value: Any) -> None:
        if name not in TASK_ARGUMENTS:
            raise DagError(f"task {self.task_id!r}: no operator has an argument {name!r}")
        if value is not None:
            check = CHECKS.get(name)
            setattr(self, name, check(f"task {self.task_id!r}: {name}", value) if check else value)

    @classmethod
    def partial(cls, **arguments: Any) -> OperatorPartial:
        """The arguments that all instances of a mapped task share: `Op.partial(task_id="t").expand(day=[1, 2, 3])`."""
        return _derived().OperatorPartial(cls, arguments)

    def execute(self, context: Mapping[str, Any]) -> Any:
        """Do the work; the result is pushed as XCom `return_value`. Override it."""
        raise NotImplementedError(f"{type(self).__name__} does not say what to do: write its execute(self, context)")

    def unmapped(self, map_index: int, context: Mapping[str, Any]) -> BaseOperator:
        """The task as one instance of it is executed: of a mapped task, the operator with that instance's arguments."""
        return self

    def pre_execute(self, context: Mapping[str, Any]) -> None:
        """Called just before `execute`."""

    def post_execute(self, context: Mapping[str, Any], result: Any = None) -> None:
        """Called just after `execute` returned `result`."""

    def render_template(self, content: Any, context: Mapping[str, Any], jinja_env: Any = None) -> Any:
        """`content` with the templates in it rendered, for an operator that does so itself."""
        return Renderer(jinja_env or environment_of(self), context, self.template_ext).render(content)

    def on_kill(self) -> None:
        """Called when the task is stopped from outside (a time-out): end what was started, such as a subprocess."""

    @property
    def log(self) -> logging.Logger:
        """Where the task writes; what goes here lands in the log file of the try."""
        return logging.getLogger("etlkit.task")

    @property
    def task_type(self) -> str:
        """The operator's class name."""
        return type(self).__name__

    @property
    def kind(self) -> str:
        """Its operator, and what else a list or a picture should say of it.

        >>> BaseOperator("clear").as_teardown().kind
        'BaseOperator (teardown)'
        """
        kinds = {"setup": self.is_setup, "teardown": self.is_teardown, "mapped": self.expansion is not None}
        said = ", ".join(kind for kind, holds in kinds.items() if holds)
        return f"{self.task_type} ({said})" if said else self.task_type

    @property
    def dag_id(self) -> str | None:
        """The id of its DAG."""
        return self.dag.dag_id if self.dag else None

    @property
    def output(self) -> XComArg:
        """The task's result, to pass to another task."""
        return XComArg(self)

    @property
    def mapped_group(self) -> TaskGroup | None:
        """The mapped group that it is in, if any."""
        return self.task_group.mapped_group if self.task_group else None

    def shares_instances_with(self, other: BaseOperator) -> bool:
        """Whether both are in one mapped group: what has a map index there minds only the same one here."""
        return self.mapped_group is not None and self.mapped_group is other.mapped_group

    @property
    def roots(self) -> list[BaseOperator]:
        return [self]

    leaves = roots

    @property
    def upstream_task_ids(self) -> set[str]:
        """The ids of the tasks directly before this one."""
        return set(self._graph().pred[self.task_id])

    @property
    def downstream_task_ids(self) -> set[str]:
        """The ids of the tasks directly after this one."""
        return set(self._graph().succ[self.task_id])

    @property
    def upstream_list(self) -> list[BaseOperator]:
        """The tasks directly before this one."""
        return [self._graph().nodes[task_id]["task"] for task_id in self._graph().pred[self.task_id]]

    @property
    def downstream_list(self) -> list[BaseOperator]:
        """The tasks directly after this one."""
        return [self._graph().nodes[task_id]["task"] for task_id in self._graph().succ[self.task_id]]

    def _graph(self) -> nx.DiGraph:
        if self.dag is None:
            raise DagError(f"task {self.task_id!r} is in no DAG yet")
        return self.dag.graph

    def next_retry_delay(self, try_number: int) -> timedelta:
        """How long to wait after the failure of try `try_number` (1 for the first).

        >>> task = BaseOperator("t", retry_delay=60, retry_exponential_backoff=True, max_retry_delay=180)
        >>> [int(task.next_retry_delay(n).total_seconds()) for n in (1, 2, 3)]
        [60, 120, 180]
        """
        delay = self.retry_delay or timedelta(0)
        if self.retry_exponential_backoff:
            base = 2.0 if self.retry_exponential_backoff is True else float(self.retry_exponential_backoff)
            # A day is more than any back-off needs, and keeps the power from overflowing.
            ceiling = self.max_retry_delay or timedelta(days=1)
            seconds = min(delay.total_seconds() * base ** min(try_number - 1, 64), ceiling.total_seconds())
            delay = timedelta(seconds=seconds)
        return min(delay, self.max_retry_delay) if self.max_retry_delay else delay

    def __repr__(self) -> str:
        return f"<{self.task_type} {self.task_id}>"


# --- groups -----------------------------------------------------------------------------------------------------------


class TaskGroup(Dependency, metaclass=CheckedArguments):
    """Tasks drawn and connected as one: `group >> task` leaves from its last tasks, `task >> group` reaches its first.

    Ids of what it holds begin with the group's id and a dot unless `prefix_group_id` is False. Where the id is taken,
    `add_suffix_on_collision` makes it `load__1`. `upstream_ids` and `downstream_ids` hold what was connected to the
    group as a whole: a picture can draw that as one arrow.
    """

    expansion: Expansion | None = None
    """What a mapped group is mapped over: see `etlkit.mapping`."""

    def __init__(
        self,
        group_id: str,
        *,
        prefix_group_id: bool = True,
        default_args: Mapping[str, Any] | None = None,
        tooltip: str = "",
        dag: DAG | None = None,
        parent_group: TaskGroup | None = None,
        add_suffix_on_collision: bool = False,
    ) -> None:
        check_id("group_id", group_id, most=200)
        if "." in group_id:
            raise DagError(f"group_id {group_id!r} may hold no dot: dots part a group's id from those of its tasks")
        home, self.parent_group = home_of(dag, parent_group)
        if home is None:
            raise DagError(f"task group {group_id!r} is in no DAG; create it inside `with DAG`")
        self.dag = home
        if add_suffix_on_collision:
            group_id = home.free_id(group_id, self.parent_group)
        self.group_id = self.parent_group.child_id(group_id) if self.parent_group else group_id
        self.prefix_group_id = prefix_group_id
        self.default_args: dict[str, Any] = dict(self.parent_group.default_args if self.parent_group else {})
        self.default_args.update(default_args or {})
        self.tooltip = tooltip
        self.children: dict[str, BaseOperator | TaskGroup] = {}
        self.upstream_ids: set[str] = set()
        self.downstream_ids: set[str] = set()
        self.dag.add_group(self)

    def child_id(self, name: str) -> str:
        """The full id of a task or group called `name` inside this group."""
        return f"{self.group_id}.{name}" if self.prefix_group_id else name

    @property
    def task_group(self) -> TaskGroup | None:
        """The group around this one, as for a task."""
        return self.parent_group

    @property
    def mapped_group(self) -> TaskGroup | None:
        """This group if it is mapped, else the mapped one around it, if any."""
        if self.expansion is not None or self.parent_group is None:
            return self if self.expansion is not None else None
        return self.parent_group.mapped_group

    @property
    def tasks(self) -> list[BaseOperator]:
        """Every task in the group and in the groups inside it."""
        found: list[BaseOperator] = []
        for child in self.children.values():
            found += child.tasks if isinstance(child, TaskGroup) else [child]
        return found

    @property
    def roots(self) -> list[BaseOperator]:
        inside = {task.task_id: task for task in self.tasks}
        return [task for task_id, task in inside.items() if inside.keys().isdisjoint(self.dag.graph.pred[task_id])]

    @property
    def leaves(self) -> list[BaseOperator]:
        """The tasks with nothing but teardowns after them in the group: what follows it waits for no teardown."""
        inside = {task.task_id: task for task in self.tasks}
        after = {task_id: self.dag.graph.succ[task_id].keys() & inside.keys() for task_id in inside}
        return [
            task
            for task_id, task in inside.items()
            if not task.is_teardown and all(inside[t].is_teardown for t in after[task_id])
            if not (task.is_setup and after[task_id])
        ]

    def _tails(self) -> list[BaseOperator]:
        # An arrow out of an empty group leaves from what is before the group.
        tasks = self.dag.task_dict
        return self.leaves or [tasks[i] for i in sorted(self.upstream_ids) if i in tasks]

    def __enter__(self) -> TaskGroup:
        _group_stack.append(self)
        return self

    def __exit__(self, *exc_info: object) -> None:
        _group_stack.pop()

    def __repr__(self) -> str:
        return f"<TaskGroup {self.group_id}>"


# --- DAGs -------------------------------------------------------------------------------------------------------------


MOST_SHOWN = 100
"""How many tasks of a DAG a notebook lists."""


class DAG(metaclass=CheckedArguments):
    """A pipeline: tasks, their order, and when it runs.

    `schedule` is None, a cron string, a preset such as "@daily", a timedelta, a `Timetable`, or the `Asset`s whose new
    events start a run. `start_date` and
    `end_date` are aware datetimes and bound the logical dates; a cron is read in `start_date`'s time zone. `catchup`
    says whether intervals that passed before the DAG was switched on are run. `max_active_runs` bounds how many of its
    runs are active at once and `max_active_tasks` how many tasks of one run; a run longer than `dagrun_timeout` fails.
    `default_args` are arguments for its tasks; a DAG's own argument put there is not applied, and a warning says so.
    `fail_fast` ends all other tasks at the first failed one; as ever the leaves make the state of the run.

    `params` are values that a run's conf may change: see `etlkit.params`. The templates of its tasks find files beside
    the DAG file and in the folders of `template_searchpath`, and have `user_defined_macros` and `user_defined_filters`;
    with `render_template_as_native_obj` they give Python values: see `etlkit.templates`. `template_undefined` is the
    Jinja class that stands for undefined names, `jinja_environment_kwargs` are further options of Jinja.
    """

    def __init__(
        self,
        dag_id: str,
        *,
        description: str | None = None,
        schedule: Any = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
        catchup: bool | None = None,
        default_args: Mapping[str, Any] | None = None,
        max_active_runs: int | None = None,
        max_active_tasks: int | None = None,
        dagrun_timeout: timedelta | float | None = None,
        params: Mapping[str, Any] | None = None,
        tags: Iterable[str] = (),
        doc_md: str | None = None,
        on_success_callback: Callback | Sequence[Callback] | None = None,
        on_failure_callback: Callback | Sequence[Callback] | None = None,
        is_paused_upon_creation: bool | None = None,
        allowed_run_types: Iterable[str] | None = None,
        fail_fast: bool = False,
        template_searchpath: str | Path | Iterable[str | Path] | None = None,
        template_undefined: type | None = None,
        user_defined_macros: Mapping[str, Any] | None = None,
        user_defined_filters: Mapping[str, Callable[..., Any]] | None = None,
        jinja_environment_kwargs: Mapping[str, Any] | None = None,
        render_template_as_native_obj: bool = False,
    ) -> None:
        self.dag_id = check_id("dag_id", dag_id)
        self.description = description
        self.default_args = self._default_args(default_args)
        start_date = start_date or self.default_args.get("start_date")
        end_date = end_date or self.default_args.get("end_date")
        self.start_date = check_date(f"DAG {dag_id!r}: start_date", start_date)
        self.end_date = check_date(f"DAG {dag_id!r}: end_date", end_date)
        check_order(f"DAG {dag_id!r}", self.start_date, self.end_date)
        self.timetable = self._timetable(schedule)
        self.catchup = conf.get("scheduler", "catchup_by_default") if catchup is None else bool(catchup)
        if max_active_runs is None:
            limit = conf.get("core", "max_active_runs_per_dag")
            max_active_runs = min(limit, self.timetable.active_runs_limit or limit)
        self.max_active_runs = check_at_least(f"DAG {dag_id!r}: max_active_runs", max_active_runs, 1)
        if max_active_tasks is None:
            max_active_tasks = conf.get("core", "max_active_tasks_per_dag")
        self.max_active_tasks = check_at_least(f"DAG {dag_id!r}: max_active_tasks", max_active_tasks, 1)
        self.dagrun_timeout = check_seconds(f"DAG {dag_id!r}: dagrun_timeout", dagrun_timeout)
        self.params = self._params(params)
        self.tags = sorted(set(tags))
        self.doc_md = doc_md
        self.on_success_callback = as_callbacks("on_success_callback", on_success_callback)
        self.on_failure_callback = as_callbacks("on_failure_callback", on_failure_callback)
        self.is_paused_upon_creation = is_paused_upon_creation
        self.allowed_run_types = None if allowed_run_types is None else frozenset(map(str, allowed_run_types))
        self.fail_fast = fail_fast
        self.template_searchpath = as_folders(f"DAG {dag_id!r}: template_searchpath", template_searchpath)
        self.template_undefined = template_undefined
        self.user_defined_macros = user_defined_macros
        self.user_defined_filters = user_defined_filters
        self.jinja_environment_kwargs = jinja_environment_kwargs
        self.render_template_as_native_obj = render_template_as_native_obj
        self.fileloc: str | None = None
        self.written_in = running_module()
        self.graph = nx.DiGraph(name=dag_id)
        self.task_dict: dict[str, BaseOperator] = {}
        self.task_groups: dict[str, TaskGroup] = {}
        self.task_settings = task_settings()
        self._suffixes: dict[str, int] = {}
        self._order: list[str] | None = None

    def _default_args(self, default_args: Mapping[str, Any] | None) -> dict[str, Any]:
        if not isinstance(default_args, (Mapping, type(None))):
            raise DagError(f"DAG {self.dag_id!r}: default_args must be a dict, not {default_args!r}")
        for name in sorted(DAG_ONLY_ARGUMENTS & (default_args or {}).keys()):
            warnings.warn(
                f"DAG {self.dag_id!r}: {name!r} in default_args is not applied: default_args go to tasks; "
                f"write DAG({self.dag_id!r}, {name}=...)",
                stacklevel=4,
            )
        return dict(default_args or {})

    def _params(self, params: Mapping[str, Any] | None) -> ParamsDict:
        """Its params and those in `default_args`; DagError if one that a schedule needs has no valid value."""
        what = f"DAG {self.dag_id!r}: params"
        merged = check_params(what, params)
        merged.update(check_params(what, self.default_args.pop("params", None)))
        if self.timetable.can_be_scheduled:
            try:
                merged.validate()
            except ParamValidationError as error:
                raise DagError(f"{what}: {error}; a schedule needs valid defaults (or schedule=None)") from None
        return merged

    def _timetable(self, schedule: Any) -> Timetable:
        return timetable_for(
            schedule_of(schedule),
            self.timezone,
            create_cron_data_intervals=conf.get("scheduler", "create_cron_data_intervals"),
            create_delta_data_intervals=conf.get("scheduler", "create_delta_data_intervals"),
        )

    @property
    def timezone(self) -> tzinfo:
        """The zone in which a cron is read: that of `start_date`, else UTC."""
        return (self.start_date.tzinfo if self.start_date else None) or UTC

    # building

    def add_task(self, task: BaseOperator) -> None:
        """Put `task` into the DAG; DuplicateTaskIdFound if its id is taken."""
        if task.dag is not None and task.dag is not self:
            raise DagError(
                f"task {task.task_id!r} is in DAG {task.dag.dag_id!r} already; create another for {self.dag_id!r}"
            )
        if task.trigger_rule == "always" and task.expansion is not None and task.expansion.sources:
            raise DagError(f"task {task.task_id!r}: trigger rule 'always' cannot wait for the result it is mapped over")
        if self.task_dict.get(task.task_id, task) is not task or task.task_id in self.task_groups:
            raise DuplicateTaskIdFound(self.dag_id, task.task_id)
        if self.fail_fast and task.trigger_rule not in ("all_success", TEARDOWN_RULE):
            raise DagError(f"DAG {self.dag_id!r} is fail_fast: task {task.task_id!r} may only use all_success")
        task.dag = self
        self.task_dict[task.task_id] = task
        if task.task_group is not None:
            task.task_group.children[task.task_id] = task
        self.graph.add_node(task.task_id, task=task)
        self._order = None
        self._note_suffix(task.task_id)

    def add_group(self, group: TaskGroup) -> None:
        """Put `group` into the DAG; DuplicateTaskIdFound if its id is taken."""
        if group.group_id in self.task_groups or group.group_id in self.task_dict:
            raise DuplicateTaskIdFound(self.dag_id, group.group_id)
        self.task_groups[group.group_id] = group
        if group.parent_group is not None:
            group.parent_group.children[group.group_id] = group
        self._note_suffix(group.group_id)

    def add_edge(self, tail: BaseOperator, head: BaseOperator, label: str | None = None) -> None:
        """Make `head` wait for `tail`, both of this DAG; CycleError if they are one task."""
        if tail is head:
            raise CycleError(self.dag_id, [tail.task_id, tail.task_id])
        self.graph.add_edge(tail.task_id, head.task_id)
        self._order = None
        if label:
            self.graph.edges[tail.task_id, head.task_id]["label"] = label

    def free_id(self, name: str, group: TaskGroup | None) -> str:
        """`name`, or `name__1`, `name__2`, … if a task or group inside `group` is called that already.

        >>> with DAG("d") as dag:
        ...     first, second = (BaseOperator(dag.free_id("load", None)) for _ in range(2))
        >>> list(dag.task_dict)
        ['load', 'load__1']
        """
        full = group.child_id(name) if group else name
        if full not in self.task_dict and full not in self.task_groups:
            return name
        core = re.sub(r"__\d+$", "", full)
        return f"{re.sub(r'__[0-9]+$', '', name)}__{self._suffixes.get(core, 0) + 1}"

    def _note_suffix(self, identifier: str) -> None:
        # Kept as ids come in: looking through all of them for each `f__1`, `f__2`, … would be quadratic.
        core, mark, number = identifier.rpartition("__")
        if mark and number.isdecimal():
            self._suffixes[core] = max(self._suffixes.get(core, 0), int(number))

    def param(self, name: str, default: Any = None) -> DagParam:
        """A reference to the run's param `name`, to pass to a task; `default` becomes the DAG's param of that name."""
        self.params[name] = default
        return DagParam(self, name)

    def __enter__(self) -> DAG:
        _dag_stack.append(self)
        return self

    def __exit__(self, exc_type: type | None, *exc_info: object) -> None:
        _dag_stack.pop()
        if exc_type is None:
            self.validate()
            for entered in _collectors:
                entered.append(self)

    # looking

    @property
    def tasks(self) -> list[BaseOperator]:
        """The tasks in the order they were written."""
        return list(self.task_dict.values())

    @property
    def roots(self) -> list[BaseOperator]:
        """The tasks with nothing before them."""
        return [task for task in self.tasks if not self.graph.pred[task.task_id]]

    @property
    def leaves(self) -> list[BaseOperator]:
        """The tasks with nothing after them: the run's state is read off these."""
        return [task for task in self.tasks if not self.graph.succ[task.task_id]]

    def get_task(self, task_id: str) -> BaseOperator:
        """The task called `task_id`; TaskNotFound, with the nearest name, if there is none."""
        if task_id not in self.task_dict:
            raise TaskNotFound(self.dag_id, task_id, list(self.task_dict))
        return self.task_dict[task_id]

    def topological_order(self) -> list[str]:
        """The task ids, each after everything it waits for; CycleError if that cannot be.

        The generations one after the other, each in the order in which its tasks were written: always the same.
        """
        if self._order is None:
            self._order = [task_id for generation in self._generations() for task_id in generation]
        return self._order.copy()

    def topological_generations(self) -> list[list[str]]:
        """The task ids in layers: everything in a layer may run at the same time once the layers before are done.

        A task is not held up by its layer, only by its own upstream tasks: the layers show the frontier.
        CycleError if tasks wait for each other.
        """
        return list(self._generations())

    def _generations(self) -> Iterator[list[str]]:
        written = {task_id: i for i, task_id in enumerate(self.task_dict)}
        try:
            for generation in nx.topological_generations(self.graph):
                yield sorted(generation, key=written.__getitem__)
        except nx.NetworkXUnfeasible:
            edges = nx.find_cycle(self.graph)
            raise CycleError(self.dag_id, [edges[0][0], *(head for _, head in edges)]) from None

    def validate(self) -> None:
        """CycleError if tasks wait for each other; DagError if what follows a setup would run without it.

        As in Airflow, what stands directly after a setup is a teardown or has the trigger rule `all_success`.
        """
        self.topological_order()
        for task in self.task_dict.values():
            for below in task.downstream_list if task.is_setup else ():
                if not below.is_teardown and below.trigger_rule != "all_success":
                    raise DagError(
                        f"DAG {self.dag_id!r}: {below.task_id!r} follows the setup {task.task_id!r}, so its trigger "
                        f"rule can only be all_success, not {below.trigger_rule}"
                    )

    @property
    def task_ids(self) -> list[str]:
        """The ids of the tasks in the order they were written."""
        return list(self.task_dict)

    def has_task(self, task_id: str) -> bool:
        """Whether there is a task of that id."""
        return task_id in self.task_dict

    @property
    def owner(self) -> str:
        """The owners of its tasks, with commas between them."""
        return ", ".join(sorted({task.owner for task in self.tasks}))

    @property
    def folder(self) -> str:
        """Where the DAG was written, and the files of its templates are: the current folder if it was in a notebook."""
        file = self.fileloc or getattr(sys.modules.get(self.written_in or ""), "__file__", None)
        return str(Path(file).absolute().parent if file else Path.cwd())

    def get_template_env(self, *, force_sandboxed: bool = False) -> Any:
        """The Jinja environment of its templates; `force_sandboxed` is one that renders to text."""
        return environment_for(self, self.render_template_as_native_obj and not force_sandboxed)

    def restriction(self, now: datetime) -> TimeRestriction:
        """The bounds within which the timetable may place runs, as seen at `now`."""
        earliest = self.start_date.astimezone(UTC) if self.start_date else None
        latest = self.end_date.astimezone(UTC) if self.end_date else None
        return TimeRestriction(earliest, latest, self.catchup, now)

    def partial_subset(self, task_ids: Iterable[str]) -> DAG:
        """A copy of this DAG with only the tasks in `task_ids` and the edges between them."""
        keep = {self.get_task(task_id).task_id for task_id in task_ids}
        part = copy.copy(self)
        part.task_dict = {task_id: task for task_id, task in self.task_dict.items() if task_id in keep}
        part.graph = self.graph.subgraph(keep).copy()
        part._order = None
        return part

    def __repr__(self) -> str:
        return f"<DAG {self.dag_id}: {len(self.task_dict)} tasks, {self.timetable.summary}>"

    def _repr_html_(self) -> str:
        """What a notebook shows: the tasks by layer, `MOST_SHOWN` of them, and what each waits for."""
        catchup = "catch-up on" if self.catchup else "catch-up off"
        caption = f"DAG {self.dag_id}: schedule {self.timetable.summary}, time zone {self.timezone}, {catchup}"
        try:
            layers = self.topological_generations()
        except CycleError as error:
            return as_html(caption, [("not a DAG yet",), (str(error),)])
        numbered = [(str(i), self.task_dict[task_id]) for i, layer in enumerate(layers, 1) for task_id in layer]
        rows = [
            (number, task.task_id, task.kind, ", ".join(self.graph.pred[task.task_id]), str(task.trigger_rule))
            for number, task in numbered
        ]
        more = [("…", f"and {len(rows) - MOST_SHOWN:,} more tasks", "", "", "")] if len(rows) > MOST_SHOWN else []
        head = ("layer", "task", "operator", "after", "trigger rule")
        return as_html(caption, [head, *rows[:MOST_SHOWN], *more])


def current_dag() -> DAG | None:
    """The DAG of the innermost `with DAG` block, if any."""
    return _dag_stack[-1] if _dag_stack else None


@contextlib.contextmanager
def entered_dags() -> Iterator[list[DAG]]:
    """A list that fills with the DAGs whose `with` block ends inside this one: a DAG file need not name its DAG.

    >>> with entered_dags() as found:
    ...     with DAG("nameless"):
    ...         _ = BaseOperator(task_id="a")
    >>> found
    [<DAG nameless: 1 tasks, None>]
    """
    entered: list[DAG] = []
    _collectors.append(entered)
    try:
        yield entered
    finally:
        _collectors.pop()


def running_module() -> str | None:
    """The name of the module whose top-level code is running: what it makes is its own, whoever helps it."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_name != "<module>":
        frame = frame.f_back  # type: ignore[assignment]
    return frame and frame.f_globals.get("__name__")


def current_group(dag: DAG | None = None) -> TaskGroup | None:
    """The innermost `with TaskGroup` block of `dag`, or of the DAG that is being written."""
    group = _group_stack[-1] if _group_stack else None
    dag = dag or current_dag()
    return group if group and dag in (None, group.dag) else None


# --- the task that is running -----------------------------------------------------------------------------------------

current_context: ContextVar[Mapping[str, Any] | None] = ContextVar("etlkit_context", default=None)
"""The context of the task that is running, set by the runtime."""


def get_current_context() -> Mapping[str, Any]:
    """The context of the task that is running, for code deep inside it; AirflowException when no task is."""
    context = current_context.get()
    if context is None:
        raise AirflowException("there is no context: get_current_context() works only inside a task that is running")
    return context


# --- priority ---------------------------------------------------------------------------------------------------------


def priority_weights(dag: DAG) -> dict[str, int]:
    """Each task's total weight: its own `priority_weight`, and that of all tasks its `weight_rule` looks at.

    `downstream` (the default) adds every task after it, so that what most waits for goes first; `upstream` adds every
    task before it; `absolute` adds none. A task that can be reached in several ways counts once.

    >>> with DAG("d") as dag:
    ...     a, b, c = (BaseOperator(task_id=t) for t in "abc")
    ...     _ = a >> b >> c
    >>> priority_weights(dag)
    {'a': 3, 'b': 2, 'c': 1}
    """
    order = dag.topological_order()
    after = _reachable_weight(dag, order[::-1], dag.graph.succ, dag.graph.pred, "downstream")
    before = _reachable_weight(dag, order, dag.graph.pred, dag.graph.succ, "upstream")
    return {
        task_id: task.priority_weight + after.get(task_id, 0) + before.get(task_id, 0)
        for task_id, task in dag.task_dict.items()
    }


def _masks(weights: list[int]) -> dict[int, int]:
    """For each weight, which tasks have it, one bit each; -1 (every bit) when all have the same.

    >>> _masks([1, 5, 1]), _masks([2, 2])
    ({1: 5, 5: 2}, {2: -1})
    """
    if len(set(weights)) == 1:
        return {weights[0]: -1}
    masks = {weight: bytearray(len(weights) // 8 + 1) for weight in weights}
    for bit, weight in enumerate(weights):
        masks[weight][bit // 8] |= 1 << bit % 8
    return {weight: int.from_bytes(mask, "little") for weight, mask in masks.items()}


def _reachable_weight(dag: DAG, order: list[str], nearer: Mapping, farther: Mapping, rule: str) -> dict[str, int]:
    """The weight that can be reached from each task with this rule, walking so that neighbours come first.

    A set of tasks is an integer with one bit for each: joining two sets of 100,000 tasks is then one machine-speed `|`.
    A set is dropped once everything that needs it has it, so memory follows the frontier and not the whole graph.
    """
    if not any(task.weight_rule == rule for task in dag.task_dict.values()):
        return {}
    tasks = [dag.task_dict[task_id] for task_id in order]
    masks = _masks([task.priority_weight for task in tasks])
    reached: dict[str, int] = {}
    waiting = {task_id: len(farther[task_id]) for task_id in order}
    totals: dict[str, int] = {}
    for bit, (task_id, task) in enumerate(zip(order, tasks, strict=True)):
        bits = 0
        for neighbour in nearer[task_id]:
            bits = bits | reached[neighbour] if bits else reached[neighbour]
            waiting[neighbour] -= 1
            if not waiting[neighbour]:
                del reached[neighbour]
        if task.weight_rule == rule:
            totals[task_id] = sum(
                weight * (bits if mask == -1 else bits & mask).bit_count() for weight, mask in masks.items()
            )
        if waiting[task_id]:
            reached[task_id] = bits | (1 << bit)
    return totals
