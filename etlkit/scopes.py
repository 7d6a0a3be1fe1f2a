"""Setups and teardowns: what is made before some tasks run, and cleared away after them, however they end.

A setup is a task that makes something (a cluster, a table for a test), a teardown the one that takes it away again.
Tasks between the two are *within* the setup: they run only if it succeeded. The teardown runs once they all have ended,
well or not, provided that its setup succeeded; whether it succeeds itself does not count for the run's state.

>>> from etlkit.dag import DAG, BaseOperator
>>> with DAG("d") as dag:
...     make, work, more, clear = (BaseOperator(task_id=t) for t in ("make", "work", "more", "clear"))
...     _ = make >> work >> more >> clear.as_teardown(setups=make)
>>> sorted(within(dag, "make"))
['more', 'work']

A `with` block draws the arrows itself: what is created in it stands between the setups and teardowns.

>>> with DAG("d") as dag:
...     with BaseOperator(task_id="make").as_setup() >> BaseOperator(task_id="clear").as_teardown():
...         _ = BaseOperator(task_id="work") >> BaseOperator(task_id="more")
>>> sorted(dag.graph.edges)
[('make', 'clear'), ('make', 'work'), ('more', 'clear'), ('work', 'more')]

Names and meanings are those of `airflow.sdk`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Self

import networkx as nx

from etlkit.errors import DagError

if TYPE_CHECKING:
    from etlkit.dag import DAG, BaseOperator

TEARDOWN_RULE = "all_done_setup_success"
"""The trigger rule of every teardown."""

_scopes: list[Scope] = []


class Markable:
    """A task, or its result: what can be marked as a setup or teardown, and stand in a `with` block as such."""

    if TYPE_CHECKING:

        @property
        def roots(self) -> list[BaseOperator]: ...

    def as_setup(self) -> Self:
        """Mark it as a setup; DagError if it is a teardown already."""
        for task in self.roots:
            if task.is_teardown:
                raise DagError(f"task {task.task_id!r} is a teardown already; it cannot be a setup too")
            task.is_setup = True
        return self

    def as_teardown(self, *, setups: Any = None, on_failure_fail_dagrun: bool | None = None) -> Self:
        """Mark it as the teardown of `setups` (one or several tasks, which become setups and are connected to it).

        Its trigger rule becomes `all_done_setup_success`. If it fails, the run does so only with
        `on_failure_fail_dagrun`. DagError if it is a setup already.
        """
        for task in self.roots:
            if task.is_setup:
                raise DagError(f"task {task.task_id!r} is a setup already; it cannot be a teardown too")
            task.is_teardown, task.trigger_rule = True, TEARDOWN_RULE
            if on_failure_fail_dagrun is not None:
                task.on_failure_fail_dagrun = on_failure_fail_dagrun
        for setup in () if setups is None else [setups] if isinstance(setups, Markable) else setups:
            if not isinstance(setup, Markable):
                raise DagError(f"as_teardown(setups=...) takes tasks, not {setup!r}")
            _connect(setup.as_setup().roots, self.roots)
        return self

    def __enter__(self) -> Scope:
        return enter(self.roots)

    def __exit__(self, exc_type: type | None, *exc_info: object) -> None:
        leave(draw=exc_type is None)


class ContextWrapper(list):
    """Several setups, or several teardowns, as one `with` block: `with context_wrapper([make, load]): ...`."""

    def __enter__(self) -> Scope:
        return enter([task for marked in self for task in marked.roots])

    def __exit__(self, exc_type: type | None, *exc_info: object) -> None:
        leave(draw=exc_type is None)


context_wrapper = ContextWrapper


class Scope:
    """What a `with` block of setups or teardowns holds: `add_task` puts a task into it that was created before."""

    def __init__(self, marked: Sequence[BaseOperator]) -> None:
        self.setups = [t for t in marked if t.is_setup] or nearest(marked, "upstream_list", lambda t: t.is_setup)
        self.teardowns = [t for t in marked if t.is_teardown] or nearest(
            marked, "downstream_list", lambda t: t.is_teardown
        )
        self.tasks: list[BaseOperator] = []

    def add_task(self, task: Any) -> None:
        """Put a task, or the one whose result this is, between the setups and the teardowns."""
        self.tasks += task.roots

    def draw(self, around: Scope | None) -> None:
        """Connect what has nothing before it to the setups, and what has nothing after it to the teardowns.

        If all of them are connected already, it is the first and the last. A block inside another: its setups come
        after the outer ones, its teardowns before them.
        """
        tasks = [task for task in self.tasks if not task.is_setup and not task.is_teardown]
        roots = [task for task in tasks if not task.upstream_list] or tasks[:1]
        leaves = [task for task in tasks if not task.downstream_list] or tasks[-1:]
        _connect(self.setups, roots)
        _connect(leaves, self.teardowns)
        if around is not None:
            _connect(around.setups, self.setups)
            _connect(self.teardowns, around.teardowns)


def _connect(tails: Iterable[BaseOperator], heads: Sequence[BaseOperator]) -> None:
    for tail in tails:
        tail.set_downstream([head for head in heads if head is not tail])


def nearest(
    tasks: Sequence[BaseOperator], neighbours: str, wanted: Callable[[BaseOperator], bool]
) -> list[BaseOperator]:
    """The first tasks that are `wanted` on the way up or down from `tasks`."""
    level, seen = dict.fromkeys(tasks), set(tasks)
    while level:
        level = dict.fromkeys(near for task in level for near in getattr(task, neighbours) if near not in seen)
        if found := [task for task in level if wanted(task)]:
            return found
        seen |= level.keys()
    return []


def enter(marked: Sequence[BaseOperator]) -> Scope:
    """Begin a block; DagError unless it is one of setups or one of teardowns."""
    for task in marked:
        if not task.is_setup and not task.is_teardown:
            raise DagError(f"with {task.task_id!r}: only setups and teardowns have a block; write .as_setup() first")
    if len({task.is_setup for task in marked}) != 1:
        raise DagError("a block is one of setups, or one of teardowns, not of both")
    _scopes.append(Scope(marked))
    return _scopes[-1]


def leave(*, draw: bool) -> None:
    """End the innermost block, and draw its arrows unless its code failed."""
    scope = _scopes.pop()
    if draw:
        scope.draw(_scopes[-1] if _scopes else None)


def note_new(task: BaseOperator) -> None:
    """A task was created: it belongs to the innermost block, if there is one."""
    if _scopes:
        _scopes[-1].add_task(task)


# --- in a finished graph ----------------------------------------------------------------------------------------------


def teardowns_of(dag: DAG, setup: str) -> list[str]:
    """The teardowns directly after a setup."""
    return [task_id for task_id in dag.graph.succ[setup] if dag.task_dict[task_id].is_teardown]


def within(dag: DAG, setup: str) -> set[str]:
    """The tasks that work within a setup: after it, and before one of its teardowns if it has any; no teardowns."""
    found: set[str] = nx.descendants(dag.graph, setup)
    if teardowns := teardowns_of(dag, setup):
        found &= set().union(*(nx.ancestors(dag.graph, teardown) for teardown in teardowns))
    return {task_id for task_id in found if not dag.task_dict[task_id].is_teardown}


def with_their_scopes(dag: DAG, task_ids: Iterable[str]) -> set[str]:
    """These tasks, the setups that they work within, and the teardowns of all setups among them.

    What is run again needs what was taken away after it ran.
    """
    wanted = set(task_ids)
    setups = [task.task_id for task in dag.tasks if task.is_setup]
    for setup in setups:
        if setup in wanted or not wanted.isdisjoint(within(dag, setup)):
            wanted |= {setup, *teardowns_of(dag, setup)}
    return wanted
