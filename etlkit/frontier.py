"""Which tasks of one run may go next: the pure decision at the heart of the scheduler.

`TaskIndex` is a DAG's graph as arrays, worked out once per DAG. `Frontier` holds the states of one run over it and
answers one question: given what has changed, which tasks are now runnable, and which have taken a final state without
running? No clock, no database: hand it states, read off decisions.

>>> from etlkit.dag import DAG, BaseOperator
>>> with DAG("d") as dag:
...     a, b, c = (BaseOperator(task_id=t) for t in "abc")
...     _ = a >> b >> c
>>> frontier = Frontier(TaskIndex(dag))
>>> frontier.decide(frontier.undecided())           # a may run; b and c wait for it
Decisions(runnable=[0], settled=[])
>>> frontier.decide(frontier.finish(0, "failed"))   # and their rule ends them when it fails
Decisions(runnable=[], settled=[(1, 'upstream_failed'), (2, 'upstream_failed')])

A mapped task keeps its one position for all decisions, since one rule decides about all of its instances. When it is
expanded, each instance gets a position of its own behind those of the tasks, and it is the instances that have states
and are counted by what comes after. In a mapped group each instance is decided by itself, too: it looks only at the
instances of the same map index of the other tasks in its group.

>>> frontier = Frontier(TaskIndex(dag))
>>> frontier.expand(0, [None, None])
[3, 4]
>>> _ = frontier.finish(3, "success")
>>> frontier.decide(frontier.finish(4, "success"))
Decisions(runnable=[1], settled=[])

The cost of a decision grows with the edges out of what changed, not with the size of the DAG.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import NamedTuple, Protocol, TypeVar

import networkx as nx

from etlkit.dag import DAG, BaseOperator, priority_weights
from etlkit.rules import (
    RUN,
    SKIP,
    TRIGGER_RULES,
    VERDICT_STATE,
    WAIT,
    UpstreamCounts,
    Verdict,
    all_done_min_one_success,
    always,
    evaluate,
    none_failed_min_one_success,
    one_done,
    one_failed,
    one_success,
)
from etlkit.scopes import teardowns_of, within
from etlkit.states import FAILED, FINISHED, REMOVED, SKIPPED, UPSTREAM_FAILED

DECIDED_BY_ONE = (one_success, one_failed, one_done, none_failed_min_one_success, all_done_min_one_success)
"""The rules for which one task may make up for others: a part of the tasks before says nothing yet."""


class Instance(Protocol):
    """What is needed to know of a task instance."""

    @property
    def task_id(self) -> str: ...
    @property
    def map_index(self) -> int: ...
    @property
    def state(self) -> str | None: ...


Row = TypeVar("Row", bound=Instance)


class Decisions(NamedTuple):
    """Positions of tasks that may run, and (position, state) of those that took a final state without running."""

    runnable: list[int]
    settled: list[tuple[int, str]]


class TaskIndex:
    """A DAG's tasks in topological order, each known by its position, and its edges as lists of positions."""

    def __init__(self, dag: DAG) -> None:
        dag.validate()
        self.dag = dag
        self.ids: list[str] = dag.topological_order()
        self.tasks: list[BaseOperator] = [dag.task_dict[task_id] for task_id in self.ids]
        self.position = {task_id: i for i, task_id in enumerate(self.ids)}
        where = self.position
        self.upstream = [tuple([where[t] for t in dag.graph.pred[task_id]]) for task_id in self.ids]
        self.downstream = [tuple([where[t] for t in dag.graph.succ[task_id]]) for task_id in self.ids]
        self.rules = [TRIGGER_RULES[task.trigger_rule] for task in self.tasks]
        weights = priority_weights(dag)
        self.weights = [weights[task_id] for task_id in self.ids]
        self.setups: dict[int, list[int]] = {}
        """For some tasks, the setups further up within which they work."""
        self.scopes: dict[int, list[int]] = {}
        """For some teardowns, the tasks further up that come after their setups."""
        self.watchers: dict[int, list[int]] = {}
        """For some tasks, those that mind their states without being directly after them."""
        self._note_setups()
        self.limited = [
            task.max_active_tis_per_dag is not None or task.max_active_tis_per_dagrun is not None for task in self.tasks
        ]
        """Whether each task has limits of its own."""
        self.sources = {
            i: [where[source.task_id] for source in task.expansion.sources if source.task_id in where]
            for i, task in enumerate(self.tasks)
            if task.expansion is not None
        }
        """For each mapped task, the tasks over whose results it is mapped."""
        self.groups = {i: group.group_id for i in self.sources if (group := self.tasks[i].mapped_group) is not None}
        """For each task in a mapped group, the id of that."""
        self._note_sources_of_groups()
        self.edges = self.downstream
        """`downstream` as it is in the DAG, and not in one run."""
        self.places: dict[int, tuple[int, int]] = {}
        """For each instance of a task in a mapped group, the position of the task and the map index."""
        self.instances: dict[int, list[int]] = {}
        """For each mapped task that is expanded, the positions of its instances; empty in the index of a DAG."""

    def __len__(self) -> int:
        return len(self.ids)

    def for_one_run(self) -> TaskIndex:
        """A copy in which mapped tasks can be expanded."""
        own = copy.copy(self)
        own.tasks, own.downstream = self.tasks.copy(), self.downstream.copy()
        own.weights, own.limited = self.weights.copy(), self.limited.copy()
        own.instances, own.places = {}, {}
        return own

    def add_instances(self, i: int, number: int) -> list[int]:
        """Give `number` more instances of the mapped task at position `i` positions of their own."""
        new = list(range(len(self.tasks), len(self.tasks) + number))
        self.tasks += [self.tasks[i]] * number
        self.downstream += [self.downstream[i]] * number
        self.weights += [self.weights[i]] * number
        self.limited += [self.limited[i]] * number
        instances = self.instances.setdefault(i, [])
        if i in self.groups:
            self.places.update((p, (i, map_index)) for map_index, p in enumerate(new, len(instances)))
        instances.extend(new)
        if i in self.groups:
            for p in (*new, *(p for above in self.upstream[i] for p in (above, *self.instances.get(above, ())))):
                self.downstream[p] = self._decided_by(p)
        return new

    def _decided_by(self, p: int) -> tuple[int, ...]:
        """What is to be decided when position `p` changes: tasks, and in mapped groups instances."""
        below = self.edges[self.home(p)]
        return tuple(k for i in below for k in (self.seen_from(p, i) if i in self.groups else (i,)))

    def home(self, p: int) -> int:
        """The position of the task whose instance is at `p`; of a task its own."""
        return p if p < len(self.ids) else self.position[self.tasks[p].task_id]

    def seen_from(self, p: int, i: int) -> Sequence[int]:
        """The positions of task `i` that matter to position `p`: all its instances, or in one mapped group just one.

        A task of that group that is not expanded itself minds no instance of the others.
        """
        instances = self.instances.get(i)
        if instances is None:
            return (i,)
        home, map_index = self.places.get(p, (p, -1))
        if i in self.groups and self.groups[i] == self.groups.get(home):
            return instances[map_index : map_index + 1] if map_index >= 0 else ()
        return instances

    def watching(self, p: int) -> list[int]:
        """The positions that mind the state of `p` without being directly after it."""
        found = []
        for i in self.watchers.get(self.home(p), ()):
            found += [i, *self.seen_from(p, i)] if i in self.groups else [i]
        return found

    def instances_of(self, i: int) -> Sequence[int]:
        """The positions at which the task at position `i` has states: its own, or its instances' if it is expanded."""
        return self.instances.get(i) or (i,)

    @cached_property
    def deciding(self) -> list[int]:
        """The positions whose states make the run's state: its leaves.

        A teardown's failure does not count unless it says so (`on_failure_fail_dagrun`): what only teardowns follow is
        a leaf, as in Airflow.
        """
        ignored = [task.is_teardown and not task.on_failure_fail_dagrun for task in self.tasks]
        leaves = [i for i, below in enumerate(self.edges) if not ignored[i] and all(ignored[k] for k in below)]
        return leaves or [i for i, below in enumerate(self.edges) if not below]

    def _note_sources_of_groups(self) -> None:
        """All tasks of a mapped group wait for what it is mapped over, and not only the first of them."""
        for i in self.groups:
            for source in self.sources[i]:
                self.watchers.setdefault(source, []).append(i)

    def _note_setups(self) -> None:
        """What minds a setup, or what works within it, from further away."""
        for setup in (i for i, task in enumerate(self.tasks) if task.is_setup):
            for task_id in within(self.dag, self.ids[setup]) - self.dag.graph.succ[self.ids[setup]].keys():
                self.setups.setdefault(self.position[task_id], []).append(setup)
            after = nx.descendants(self.dag.graph, self.ids[setup])
            for teardown in teardowns_of(self.dag, self.ids[setup]):
                between = after & nx.ancestors(self.dag.graph, teardown) - self.dag.graph.pred[teardown].keys()
                self.scopes.setdefault(self.position[teardown], []).extend(self.position[t] for t in between)
        for minded in (self.setups, self.scopes):
            for i, others in minded.items():
                for other in others:
                    self.watchers.setdefault(other, []).append(i)


class Frontier:
    """The states of one run's tasks, by position, and what may go next."""

    def __init__(self, index: TaskIndex, states: Sequence[str | None] | None = None) -> None:
        self.index = index
        self.states: list[str | None] = list(states) if states is not None else [None] * len(index)
        self._counts: list[UpstreamCounts | None] = [None] * len(index)

    @classmethod
    def of(cls, index: TaskIndex, rows: Sequence[Row]) -> tuple[Frontier, dict[int, Row]]:
        """The frontier of a run with these task instances, and at which position each of them is.

        A task without an instance, since it is outside its own start and end dates, holds nobody up.
        """
        placed = {index.position[row.task_id]: row for row in rows if row.map_index < 0}
        frontier = cls(index, [placed[i].state if i in placed else REMOVED for i in range(len(index))])
        expanded: dict[int, list[Row]] = {}
        for row in rows if index.sources else ():
            if row.map_index >= 0 and (i := index.position[row.task_id]) in index.sources:
                expanded.setdefault(i, []).append(row)
        for i, instances in expanded.items():
            instances.sort(key=lambda row: row.map_index)
            placed.pop(i, None)
            placed.update(zip(frontier.expand(i, [row.state for row in instances]), instances, strict=True))
        return frontier, placed

    def undecided(self) -> list[int]:
        """The positions without a state that a rule might decide now, in topological order.

        Under every rule but `always` a task waits until something upstream has finished, so the others are left out.
        """
        states, index = self.states, self.index
        return [
            i
            for i, above in enumerate(index.upstream)
            if states[i] is None
            and (
                not above
                or index.rules[i] is always
                or i in index.setups
                or i in index.groups
                or any(states[k] in FINISHED or k in index.instances for k in above)
            )
        ] + [p for p in index.places if states[p] is None]

    def expand(self, i: int, states: Sequence[str | None]) -> list[int]:
        """Give the mapped task at position `i` instances in `states` (more, if it has some): their positions."""
        if not self.index.instances:
            self.index = self.index.for_one_run()
        index = self.index
        new = index.add_instances(i, len(states))
        self.states += states
        self._counts += [None] * len(states)
        # In a mapped group the instances are decided one by one, once it is certain how many there are.
        certain = None not in states or (i in index.groups and not index.sources[i])
        self.states[i] = REMOVED if certain else None
        for below in index.edges[i]:
            for p in (below, *index.instances.get(below, ())):
                self._counts[p] = None
        return new

    def open_instances(self, i: int) -> list[int]:
        """The positions of the instances of task `i` that are not decided yet; they are from now on."""
        found = [p for p in self.index.instances_of(i) if self.states[p] is None]
        if i in self.index.instances:
            self.states[i] = REMOVED  # it has no state of its own; the next candidate is passed over at once
        return found

    def counts(self, i: int) -> UpstreamCounts:
        """The counts of the final states directly upstream of position `i`, kept up to date by `finish`."""
        counts = self._counts[i]
        if counts is None:
            counts = self._counts[i] = UpstreamCounts()
            for above in self.index.upstream[self.index.home(i)]:
                is_setup = self.index.tasks[above].is_setup
                for k in self.index.seen_from(i, above) if self.index.groups else self.index.instances_of(above):
                    counts.total += 1
                    counts.setups += is_setup
                    state = self.states[k]
                    if state in FINISHED:
                        counts.add(state, is_setup=is_setup)
        return counts

    def finish(self, i: int, state: str) -> Sequence[int]:
        """Note that position `i` reached the final `state`; the positions that may be decided because of it."""
        self.states[i] = state
        is_setup = self.index.tasks[i].is_setup
        for below in self.index.downstream[i]:
            counts = self._counts[below]
            if counts is not None:
                counts.add(state, is_setup=is_setup)
        if self.index.watchers:
            return [*self.index.downstream[i], *self.index.watching(i)]
        return self.index.downstream[i]

    def verdict(self, i: int) -> Verdict:
        """What the trigger rule of position `i` says now."""
        index = self.index
        if index.groups and (home := index.home(i)) in index.groups:
            return self._in_group(i, home)
        verdict = self._by_rule(i, i)
        return self._of_sources(i) if verdict is RUN and i in index.sources else verdict

    def _in_group(self, i: int, home: int) -> Verdict:
        """The same in a mapped group: of an instance, or of a task that is to be expanded into instances."""
        index = self.index
        if i != home:
            return self._by_rule(i, home) if self.states[home] is not None else WAIT
        begun = i in index.instances or (
            index.rules[i] in DECIDED_BY_ONE and any(not index.seen_from(i, k) for k in index.upstream[i])
        )
        verdict = RUN if begun else self._by_rule(i, i)
        return self._of_sources(i) if verdict is RUN else verdict

    def _by_rule(self, i: int, home: int) -> Verdict:
        """What the tasks before position `i` of the task at `home` say, its setups, and for a teardown its scope."""
        index, rule = self.index, self.index.rules[home]
        if home in index.setups:
            verdict = evaluate(rule.__name__, self.counts(i), self._seen_from(i, index.setups[home]))
        else:
            verdict = rule(counts) if index.upstream[home] and (counts := self.counts(i)).total else RUN
        if verdict is RUN and home in index.scopes and not FINISHED.issuperset(self._seen_from(i, index.scopes[home])):
            return WAIT
        return verdict

    def _seen_from(self, i: int, positions: Iterable[int]) -> list[str | None]:
        return [self.states[k] for other in positions for k in self.index.seen_from(i, other)]

    def states_of(self, positions: Iterable[int]) -> list[str | None]:
        """The states of tasks, of expanded ones those of all instances."""
        return [self.states[k] for i in positions for k in self.index.instances_of(i)]

    def _of_sources(self, i: int) -> Verdict:
        """Whether the results are there over which a task is mapped; whatever its rule, it needs all of them.

        Of a source that is mapped itself, what its instances returned will do, however many that are.
        Source: Airflow's `MappedTaskUpstreamDep`.
        """
        sources = self.index.sources[i]
        if not FINISHED.issuperset(self.states_of(sources)):
            return WAIT
        states = {self.states[k] for k in sources if k not in self.index.instances}
        if FAILED in states or UPSTREAM_FAILED in states:
            return Verdict.UPSTREAM_FAILED
        return SKIP if SKIPPED in states or REMOVED in states else RUN

    def decide(self, candidates: Iterable[int]) -> Decisions:
        """Apply the rules to `candidates` and to everything that follows from them.

        Runnable positions are returned and keep having no state: whether they start is not the rules' business alone. A
        mapped task is returned as one, by the position of its task.
        """
        runnable: dict[int, None] = {}
        settled: list[tuple[int, str]] = []
        queue = deque(candidates)
        while queue:
            i = queue.popleft()
            if self.states[i] is not None:
                continue
            verdict = self.verdict(i)
            if verdict is RUN:
                runnable[i] = None
            elif verdict is not WAIT:
                state = VERDICT_STATE[verdict]
                for k in self.open_instances(i):
                    settled.append((k, state))
                    queue.extend(self.finish(k, state))
        return Decisions(list(runnable), settled)

    def run_state(self) -> str | None:
        """The state of a run all of whose tasks are final: failed if a deciding task did not end well.

        None while something is open. A run without tasks succeeds.
        """
        if any(state not in FINISHED for state in self.states):
            return None
        bad = any(state in (FAILED, UPSTREAM_FAILED) for state in self.states_of(self.index.deciding))
        return "failed" if bad else "success"
