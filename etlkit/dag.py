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

import copy
import inspect
import logging
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

import networkx as nx

from etlkit.config import conf
from etlkit.errors import CycleError, DagError, DuplicateTaskIdFound, TaskNotFound, nearest
from etlkit.rules import TRIGGER_RULES
from etlkit.timetables import Timetable, TimeRestriction, timetable_for

if TYPE_CHECKING:
    from datetime import tzinfo

Callback = Callable[[Mapping[str, Any]], object]

current_context: ContextVar[Mapping[str, Any] | None] = ContextVar("etlkit_context", default=None)
"""The context of the task that is running, set by the runtime."""

_dag_stack: list[DAG] = []
_group_stack: list[TaskGroup] = []

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


def check_id(what: str, identifier: str) -> str:
    """`identifier` if it may name a DAG, task or group: letters and digits of any script, dots, dashes, underscores.

    At most 250 characters, as in Airflow; DagError otherwise.

    >>> check_id("task_id", "load weather")
    Traceback (most recent call last):
    etlkit.errors.DagError: task_id 'load weather' may hold only letters, digits, '.', '-' and '_'; try 'load_weather'
    """
    if not isinstance(identifier, str) or not identifier:
        raise DagError(f"{what} must be a non-empty string, not {identifier!r}")
    if not re.fullmatch(r"[\w.-]+", identifier):
        legal = re.sub(r"[^\w.-]+", "_", identifier).strip("_")
        hint = f"; try {legal!r}" if legal else ""
        raise DagError(f"{what} {identifier!r} may hold only letters, digits, '.', '-' and '_'{hint}")
    if len(identifier) > 250:
        raise DagError(f"{what} {identifier[:20]!r}… has {len(identifier)} characters; 250 are allowed")
    return identifier


def check_date(what: str, value: datetime | None) -> datetime | None:
    """`value` if it is None or a datetime with a time zone; DagError otherwise.

    A date without a zone means another instant on every machine, so the kit does not guess.
    """
    if value is None:
        return None
    if not isinstance(value, datetime):
        raise DagError(f"{what} must be a datetime, not {value!r}; write datetime(2013, 1, 1, tzinfo=timezone.utc)")
    if value.tzinfo is None or value.utcoffset() is None:
        raise DagError(f"{what} {value!r} has no time zone; add tzinfo=timezone.utc, or use pendulum.datetime(...)")
    return value


def check_seconds(what: str, value: timedelta | float | None) -> timedelta | None:
    """`value` as a timedelta that is not negative; a bare number means seconds. DagError otherwise."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = timedelta(seconds=value)
    if value is not None and (not isinstance(value, timedelta) or value < timedelta(0)):
        raise DagError(f"{what} must be a timedelta (or seconds) of zero or more, not {value!r}")
    return value


def check_at_least(what: str, value: int, least: int) -> int:
    """`value` if it is a whole number of `least` or more; DagError otherwise."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise DagError(f"{what} must be a whole number of {least} or more, not {value!r}")
    return value


def as_callbacks(what: str, value: Callback | Sequence[Callback] | None) -> tuple[Callback, ...]:
    """One callback, several or none, as a tuple; DagError for what cannot be called."""
    callbacks = () if value is None else tuple(value) if isinstance(value, (list, tuple)) else (value,)
    for callback in callbacks:
        if not callable(callback):
            raise DagError(f"{what} must be a function (or a list of them), not {callback!r}")
    return callbacks


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
        connect([self], as_list(other), edge_modifier)

    def set_upstream(self, other: Any, edge_modifier: EdgeModifier | None = None) -> None:
        """Make this wait for `other` (one or a list)."""
        connect(as_list(other), [self], edge_modifier)

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
    """A label between two ends: `a >> Label("if ready") >> b`."""

    def __init__(self, label: str) -> None:
        self.label = label
        self._before: list[Any] = []
        self._after: list[Any] = []

    def set_upstream(self, other: Any, edge_modifier: EdgeModifier | None = None) -> None:
        self._before += as_list(other)
        self._join()

    def set_downstream(self, other: Any, edge_modifier: EdgeModifier | None = None) -> None:
        self._after += as_list(other)
        self._join()

    def _join(self) -> None:
        if self._before and self._after:
            connect(self._before, self._after, self)


def Label(label: str) -> EdgeModifier:  # noqa: N802 (Airflow's name)
    """A text on an edge."""
    return EdgeModifier(label)


def as_list(ends: Any) -> list[Any]:
    """One end of an arrow, or several, as a flat list."""
    if isinstance(ends, (list, tuple, set, frozenset)):
        return [end for item in ends for end in as_list(item)]
    return [ends]


def connect(upstream: Iterable[Any], downstream: Iterable[Any], label: EdgeModifier | None = None) -> None:
    """Draw every edge from `upstream` to `downstream`; each is a task, a group, a result or a label."""
    upstream, downstream = list(upstream), list(downstream)
    for end in (*upstream, *downstream):
        if not isinstance(end, Dependency):
            raise DagError(f"an edge needs tasks or groups at both ends, not {end!r} ({type(end).__name__})")
    for end in upstream:
        if isinstance(end, EdgeModifier):
            end.set_downstream(downstream)
    for end in downstream:
        if isinstance(end, EdgeModifier):
            end.set_upstream(upstream)
    tails = [task for end in upstream if not isinstance(end, EdgeModifier) for task in end.leaves]
    heads = [task for end in downstream if not isinstance(end, EdgeModifier) for task in end.roots]
    for tail in tails:
        for head in heads:
            _add_edge(tail, head, label.label if label else None)


def _add_edge(tail: BaseOperator, head: BaseOperator, label: str | None) -> None:
    dag = tail.dag or head.dag
    if dag is None:
        raise DagError(f"{tail.task_id!r} >> {head.task_id!r}: neither task is in a DAG; create them inside `with DAG`")
    for task in (tail, head):
        if task.dag is None:
            dag.add_task(task)
    if tail.dag is not head.dag:
        raise DagError(
            f"{tail.task_id!r} is in DAG {tail.dag.dag_id!r} and {head.task_id!r} in {head.dag.dag_id!r}; "
            "an edge stays inside one DAG (use TriggerDagRunOperator between DAGs)"
        )
    if tail is head:
        raise CycleError(dag.dag_id, [tail.task_id, tail.task_id])
    dag.graph.add_edge(tail.task_id, head.task_id)
    dag.forget_order()
    if label:
        dag.graph.edges[tail.task_id, head.task_id]["label"] = label


def chain(*ends: Any) -> None:
    """Connect each argument to the next; two neighbouring lists of equal length pair up.

    >>> with DAG("d") as dag:
    ...     a, b, c, d, e, f = (BaseOperator(task_id=t) for t in "abcdef")
    ...     chain(a, [b, c], [d, e], f)
    >>> sorted(dag.graph.edges)
    [('a', 'b'), ('a', 'c'), ('b', 'd'), ('c', 'e'), ('d', 'f'), ('e', 'f')]
    """
    for before, after in zip(ends, ends[1:], strict=False):
        if not (isinstance(before, (list, tuple)) and isinstance(after, (list, tuple))):
            connect(as_list(before), as_list(after))
        elif len(before) == len(after):
            for tail, head in zip(before, after, strict=True):
                connect([tail], [head])
        else:
            raise DagError(f"chain: neighbouring lists must be of one length, not {len(before)} and {len(after)}")


def cross_downstream(from_tasks: Sequence[Any], to_tasks: Any) -> None:
    """Connect every one of `from_tasks` to every one of `to_tasks`."""
    connect(as_list(from_tasks), as_list(to_tasks))


class XComArg(Dependency):
    """The result of a task, before there is one: a reference that another task takes as an argument.

    Passing it draws the edge; at run time it is replaced by the value that `operator` pushed under `key`.
    """

    def __init__(self, operator: BaseOperator, key: str = "return_value") -> None:
        self.operator, self.key = operator, key

    @property
    def roots(self) -> list[BaseOperator]:
        return [self.operator]

    leaves = roots

    def __getitem__(self, key: str) -> XComArg:
        return XComArg(self.operator, key)

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
        """The value itself, inside a running task."""
        return context["ti"].xcom_pull(task_ids=self.operator.task_id, key=self.key)


def find_xcom_args(value: Any) -> Iterator[XComArg]:
    """Every task result inside `value`, however deep in lists, tuples, sets and dicts.

    >>> list(find_xcom_args({"a": [1, 2]}))
    []
    """
    if isinstance(value, XComArg):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from find_xcom_args(item)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            yield from find_xcom_args(item)


# --- operators --------------------------------------------------------------------------------------------------------


@cache
def _accepted_arguments(cls: type) -> frozenset[str]:
    """The names that `cls(...)` takes: those of its __init__, and of its bases' while each passes **kwargs on."""
    names: set[str] = set()
    for base in cls.__mro__:
        if "__init__" not in vars(base) or base is object:
            continue
        parameters = inspect.signature(base.__init__).parameters.values()
        names.update(p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return frozenset(names - {"self"})


class _OperatorMeta(type):
    """Fills in `default_args`, refuses unknown arguments, and draws the edges of task results passed as arguments."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        accepted = _accepted_arguments(cls)
        unknown = kwargs.keys() - accepted
        if unknown:
            name = min(unknown)
            task = kwargs.get("task_id", cls.__name__)
            raise DagError(f"task {task!r}: {cls.__name__} has no argument {name!r}{nearest(name, sorted(accepted))}")
        dag = kwargs.get("dag") or current_dag()
        group = kwargs.get("task_group") or (_group_stack[-1] if _group_stack else None)
        for defaults in (kwargs.get("default_args"), group and group.default_args, dag and dag.default_args):
            if defaults:
                for name, value in defaults.items():
                    if name in accepted:
                        kwargs.setdefault(name, value)
        task = super().__call__(*args, **kwargs)
        for field in cls.template_fields:  # type: ignore[attr-defined]
            for argument in find_xcom_args(getattr(task, field, None)):
                task.set_upstream(argument)
        return task


class BaseOperator(Dependency, metaclass=_OperatorMeta):
    """One task of a DAG; subclass it and write `execute(self, context)` to make an operator of your own.

    Arguments are Airflow's. Times: `retry_delay`, `max_retry_delay` and `execution_timeout` are timedeltas or seconds;
    `start_date` and `end_date` are aware datetimes and bound the logical dates for which the task gets an instance.

    - `retries`: how many more tries a failure gets; `retry_exponential_backoff` doubles `retry_delay` each time, up to
      `max_retry_delay`.
    - `trigger_rule`: see `etlkit.rules`.
    - `depends_on_past`: wait for this task's instance in the run before to have succeeded or been skipped;
      `wait_for_downstream` waits for the tasks directly below that one too.
    - `pool`, `pool_slots`, `priority_weight`, `weight_rule`: who goes first when slots are few.
    - `on_execute_callback`, `on_success_callback`, `on_failure_callback`, `on_retry_callback`, `on_skipped_callback`:
      functions of the task's context, or lists of them. `on_failure_callback` is called when the last try failed, not
      on every try.
    - What `execute` returns is pushed as the XCom `return_value` unless it is None or `do_xcom_push` is False.
    """

    template_fields: ClassVar[Sequence[str]] = ()
    template_ext: ClassVar[Sequence[str]] = ()
    ui_color: ClassVar[str] = "#fff"

    def __init__(
        self,
        task_id: str,
        *,
        owner: str = "etlkit",
        retries: int | None = None,
        retry_delay: timedelta | float | None = None,
        retry_exponential_backoff: bool | float = False,
        max_retry_delay: timedelta | float | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
        depends_on_past: bool = False,
        wait_for_downstream: bool = False,
        trigger_rule: str = "all_success",
        pool: str = "default_pool",
        pool_slots: int = 1,
        priority_weight: int = 1,
        weight_rule: str = "downstream",
        queue: str = "default",
        execution_timeout: timedelta | float | None = None,
        max_active_tis_per_dag: int | None = None,
        on_execute_callback: Callback | Sequence[Callback] | None = None,
        on_success_callback: Callback | Sequence[Callback] | None = None,
        on_failure_callback: Callback | Sequence[Callback] | None = None,
        on_retry_callback: Callback | Sequence[Callback] | None = None,
        on_skipped_callback: Callback | Sequence[Callback] | None = None,
        do_xcom_push: bool = True,
        multiple_outputs: bool = False,
        params: Mapping[str, Any] | None = None,
        doc_md: str | None = None,
        dag: DAG | None = None,
        task_group: TaskGroup | None = None,
        default_args: Mapping[str, Any] | None = None,
    ) -> None:
        check_id("task_id", task_id)
        group = task_group or (_group_stack[-1] if _group_stack else None)
        self.task_id = group.child_id(task_id) if group else task_id
        self.task_group = group
        self.owner = owner
        self.retries = check_at_least(
            f"task {task_id!r}: retries", conf.get("core", "default_task_retries") if retries is None else retries, 0
        )
        if retry_delay is None:
            retry_delay = conf.get("core", "default_task_retry_delay")
        self.retry_delay = check_seconds(f"task {task_id!r}: retry_delay", retry_delay)
        self.retry_exponential_backoff = retry_exponential_backoff
        self.max_retry_delay = check_seconds(f"task {task_id!r}: max_retry_delay", max_retry_delay)
        self.start_date = check_date(f"task {task_id!r}: start_date", start_date)
        self.end_date = check_date(f"task {task_id!r}: end_date", end_date)
        self.depends_on_past = depends_on_past or wait_for_downstream
        self.wait_for_downstream = wait_for_downstream
        if trigger_rule not in TRIGGER_RULES:
            near = nearest(str(trigger_rule), list(TRIGGER_RULES))
            raise DagError(f"task {task_id!r}: no trigger rule {trigger_rule!r}{near}; see etlkit.rules.TRIGGER_RULES")
        self.trigger_rule = str(trigger_rule)
        self.pool = pool
        self.pool_slots = check_at_least(f"task {task_id!r}: pool_slots", pool_slots, 1)
        self.priority_weight = priority_weight
        if weight_rule not in WEIGHT_RULES:
            raise DagError(f"task {task_id!r}: weight_rule must be one of {', '.join(WEIGHT_RULES)}")
        self.weight_rule = weight_rule
        self.queue = queue
        self.execution_timeout = check_seconds(f"task {task_id!r}: execution_timeout", execution_timeout)
        self.max_active_tis_per_dag = max_active_tis_per_dag
        self.on_execute_callback = as_callbacks("on_execute_callback", on_execute_callback)
        self.on_success_callback = as_callbacks("on_success_callback", on_success_callback)
        self.on_failure_callback = as_callbacks("on_failure_callback", on_failure_callback)
        self.on_retry_callback = as_callbacks("on_retry_callback", on_retry_callback)
        self.on_skipped_callback = as_callbacks("on_skipped_callback", on_skipped_callback)
        self.do_xcom_push = do_xcom_push
        self.multiple_outputs = multiple_outputs
        self.params = dict(params or {})
        self.doc_md = doc_md
        self.is_setup = False
        self.is_teardown = False
        self.on_failure_fail_dagrun = False
        self.dag: DAG | None = None
        dag = dag or (group.dag if group else None) or current_dag()
        if dag is not None:
            dag.add_task(self)

    def execute(self, context: Mapping[str, Any]) -> Any:
        """Do the work; the result is pushed as XCom `return_value`. Override it."""
        raise NotImplementedError(f"{type(self).__name__} does not say what to do: write its execute(self, context)")

    def pre_execute(self, context: Mapping[str, Any]) -> None:
        """Called just before `execute`."""

    def post_execute(self, context: Mapping[str, Any], result: Any = None) -> None:
        """Called just after `execute` returned `result`."""

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
    def output(self) -> XComArg:
        """The task's result, to pass to another task."""
        return XComArg(self)

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


class TaskGroup(Dependency):
    """Tasks drawn and connected as one: `group >> task` leaves from its last tasks, `task >> group` reaches its first.

    Ids of what it holds begin with the group's id and a dot unless `prefix_group_id` is False.
    """

    def __init__(
        self,
        group_id: str,
        *,
        prefix_group_id: bool = True,
        default_args: Mapping[str, Any] | None = None,
        tooltip: str = "",
        dag: DAG | None = None,
        parent_group: TaskGroup | None = None,
    ) -> None:
        check_id("group_id", group_id)
        self.parent_group = parent_group or (_group_stack[-1] if _group_stack else None)
        self.dag = dag or (self.parent_group.dag if self.parent_group else None) or current_dag()
        if self.dag is None:
            raise DagError(f"task group {group_id!r} is in no DAG; create it inside `with DAG`")
        self.group_id = self.parent_group.child_id(group_id) if self.parent_group else group_id
        self.prefix_group_id = prefix_group_id
        inherited = self.parent_group.default_args if self.parent_group else {}
        self.default_args = {**inherited, **(default_args or {})}
        self.tooltip = tooltip
        self.dag.add_group(self)

    def child_id(self, name: str) -> str:
        """The full id of a task or group called `name` inside this group."""
        return f"{self.group_id}.{name}" if self.prefix_group_id else name

    @property
    def tasks(self) -> list[BaseOperator]:
        """Every task in the group and in the groups inside it, in the order they were written."""
        return [task for task in self.dag.tasks if self in _groups_of(task)]

    @property
    def roots(self) -> list[BaseOperator]:
        inside = {task.task_id for task in self.tasks}
        return [task for task in self.tasks if not inside & task.upstream_task_ids]

    @property
    def leaves(self) -> list[BaseOperator]:
        inside = {task.task_id for task in self.tasks}
        return [task for task in self.tasks if not inside & task.downstream_task_ids]

    def __enter__(self) -> TaskGroup:
        _group_stack.append(self)
        return self

    def __exit__(self, *exc_info: object) -> None:
        _group_stack.pop()

    def __repr__(self) -> str:
        return f"<TaskGroup {self.group_id}>"


def _groups_of(task: BaseOperator) -> Iterator[TaskGroup]:
    group = task.task_group
    while group is not None:
        yield group
        group = group.parent_group


# --- DAGs -------------------------------------------------------------------------------------------------------------


class DAG(Dependency):
    """A pipeline: tasks, their order, and when it runs.

    `schedule` is None, a cron string, a preset such as "@daily", a timedelta or a `Timetable`. `start_date` and
    `end_date` are aware datetimes and bound the logical dates; a cron is read in `start_date`'s time zone. `catchup`
    says whether intervals that passed before the DAG was switched on are run. `max_active_runs` bounds how many of its
    runs are active at once and `max_active_tasks` how many tasks of one run; a run longer than `dagrun_timeout` fails.
    `default_args` are arguments for its tasks; a DAG's own argument put there is not applied, and a warning says so.
    `fail_fast` fails the whole run at the first failed task.
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
    ) -> None:
        self.dag_id = check_id("dag_id", dag_id)
        self.description = description
        self.default_args = dict(default_args or {})
        for name in sorted(DAG_ONLY_ARGUMENTS & self.default_args.keys()):
            warnings.warn(
                f"DAG {dag_id!r}: {name!r} in default_args is not applied: default_args go to tasks; "
                f"write DAG({dag_id!r}, {name}=...)",
                stacklevel=2,
            )
        start_date = start_date or self.default_args.get("start_date")
        end_date = end_date or self.default_args.get("end_date")
        self.start_date = check_date(f"DAG {dag_id!r}: start_date", start_date)
        self.end_date = check_date(f"DAG {dag_id!r}: end_date", end_date)
        if self.start_date and self.end_date and self.end_date < self.start_date:
            raise DagError(f"DAG {dag_id!r}: end_date {self.end_date} is before start_date {self.start_date}")
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
        self.params = dict(params or {})
        self.tags = sorted(set(tags))
        self.doc_md = doc_md
        self.on_success_callback = as_callbacks("on_success_callback", on_success_callback)
        self.on_failure_callback = as_callbacks("on_failure_callback", on_failure_callback)
        self.is_paused_upon_creation = is_paused_upon_creation
        self.allowed_run_types = None if allowed_run_types is None else frozenset(map(str, allowed_run_types))
        self.fail_fast = fail_fast
        self.fileloc: str | None = None
        self.graph = nx.DiGraph(name=dag_id)
        self.task_dict: dict[str, BaseOperator] = {}
        self.task_groups: dict[str, TaskGroup] = {}
        self._order: list[str] | None = None

    def _timetable(self, schedule: Any) -> Timetable:
        timetable = timetable_for(
            schedule,
            self.timezone,
            create_cron_data_intervals=conf.get("scheduler", "create_cron_data_intervals"),
            create_delta_data_intervals=conf.get("scheduler", "create_delta_data_intervals"),
        )
        return timetable

    @property
    def timezone(self) -> tzinfo:
        """The zone in which a cron is read: that of `start_date`, else UTC."""
        return (self.start_date.tzinfo if self.start_date else None) or UTC

    # building

    def add_task(self, task: BaseOperator) -> None:
        """Put `task` into the DAG; DuplicateTaskIdFound if its id is taken."""
        if self.task_dict.get(task.task_id, task) is not task or task.task_id in self.task_groups:
            raise DuplicateTaskIdFound(self.dag_id, task.task_id)
        if self.fail_fast and task.trigger_rule != "all_success":
            raise DagError(f"DAG {self.dag_id!r} is fail_fast: task {task.task_id!r} may only use all_success")
        task.dag = self
        self.task_dict[task.task_id] = task
        self.graph.add_node(task.task_id, task=task)
        self.forget_order()

    def add_group(self, group: TaskGroup) -> None:
        """Put `group` into the DAG; DuplicateTaskIdFound if its id is taken."""
        if group.group_id in self.task_groups or group.group_id in self.task_dict:
            raise DuplicateTaskIdFound(self.dag_id, group.group_id)
        self.task_groups[group.group_id] = group

    def __enter__(self) -> DAG:
        _dag_stack.append(self)
        return self

    def __exit__(self, exc_type: type | None, *exc_info: object) -> None:
        _dag_stack.pop()
        if exc_type is None:
            self.topological_order()

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

    def forget_order(self) -> None:
        """Called when a task or an edge was added: what was worked out from the graph no longer holds."""
        self._order = None

    def topological_order(self) -> list[str]:
        """The task ids, each after everything it waits for; CycleError if that cannot be.

        Ties keep the order in which tasks were written, so the answer is always the same.
        """
        if self._order is None:
            try:
                self._order = list(nx.topological_sort(self.graph))
            except nx.NetworkXUnfeasible:
                edges = nx.find_cycle(self.graph)
                raise CycleError(self.dag_id, [edges[0][0], *(head for _, head in edges)]) from None
        return self._order

    def topological_generations(self) -> list[list[str]]:
        """The task ids in layers: everything in a layer may run at the same time once the layers before are done.

        A task is not held up by its layer, only by its own upstream tasks: the layers show the frontier.
        """
        self.topological_order()
        return [list(layer) for layer in nx.topological_generations(self.graph)]

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


def current_dag() -> DAG | None:
    """The DAG of the innermost `with DAG` block, if any."""
    return _dag_stack[-1] if _dag_stack else None


# --- priority ---------------------------------------------------------------------------------------------------------

WEIGHT_RULES = ("downstream", "upstream", "absolute")


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


def _reachable_weight(dag: DAG, order: list[str], nearer: Mapping, farther: Mapping, rule: str) -> dict[str, int]:
    """The weight that can be reached from each task with this rule, walking so that neighbours come first.

    A set of tasks is an integer with one bit for each: joining two sets of 100,000 tasks is then one machine-speed `|`.
    A set is dropped once everything that needs it has it, so memory follows the frontier and not the whole graph.
    """
    if not any(task.weight_rule == rule for task in dag.task_dict.values()):
        return {}
    masks: dict[int, int] = {}
    reached: dict[str, int] = {}
    waiting = {task_id: len(farther[task_id]) for task_id in order}
    totals: dict[str, int] = {}
    for bit, task_id in enumerate(order):
        bits = 0
        for neighbour in nearer[task_id]:
            bits |= reached[neighbour]
            waiting[neighbour] -= 1
            if not waiting[neighbour]:
                del reached[neighbour]
        task = dag.task_dict[task_id]
        if task.weight_rule == rule:
            totals[task_id] = sum(weight * (bits & mask).bit_count() for weight, mask in masks.items())
        masks[task.priority_weight] = masks.get(task.priority_weight, 0) | (1 << bit)
        if waiting[task_id]:
            reached[task_id] = bits | (1 << bit)
    return totals
