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

The cost of a decision grows with the edges out of what changed, not with the size of the DAG.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import NamedTuple

import networkx as nx

from etlkit.dag import DAG, BaseOperator, priority_weights
from etlkit.rules import RUN, TRIGGER_RULES, VERDICT_STATE, WAIT, UpstreamCounts, Verdict, always, evaluate
from etlkit.states import FINISHED


class Decisions(NamedTuple):
    """Positions that may run, and (position, state) of those that took a final state without running."""

    runnable: list[int]
    settled: list[tuple[int, str]]


class TaskIndex:
    """A DAG's tasks in topological order, each known by its position, and its edges as lists of positions."""

    def __init__(self, dag: DAG) -> None:
        self.dag = dag
        self.ids: list[str] = dag.topological_order()
        self.tasks: list[BaseOperator] = [dag.task_dict[task_id] for task_id in self.ids]
        self.position = {task_id: i for i, task_id in enumerate(self.ids)}
        where = self.position
        self.upstream = [tuple([where[t] for t in dag.graph.pred[task_id]]) for task_id in self.ids]
        self.downstream = [tuple([where[t] for t in dag.graph.succ[task_id]]) for task_id in self.ids]
        self.rules = [TRIGGER_RULES[task.trigger_rule] for task in self.tasks]
        self.setups = self._setups()

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def weights(self) -> list[int]:
        """Each task's total priority weight; worked out when slots are first contended for."""
        weights = priority_weights(self.dag)
        return [weights[task_id] for task_id in self.ids]

    @cached_property
    def deciding(self) -> list[int]:
        """The positions whose states make the run's state: its leaves.

        A teardown's failure does not count unless it says so (`on_failure_fail_dagrun`): what only teardowns follow is
        a leaf, as in Airflow.
        """
        ignored = [task.is_teardown and not task.on_failure_fail_dagrun for task in self.tasks]
        leaves = [i for i, below in enumerate(self.downstream) if not ignored[i] and all(ignored[k] for k in below)]
        return leaves or [i for i, below in enumerate(self.downstream) if not below]

    def _setups(self) -> dict[int, list[int]]:
        """For each task, the setups it works within: before it, and torn down after it (or never)."""
        found: dict[int, list[int]] = {}
        graph = self.dag.graph
        for setup in (i for i, task in enumerate(self.tasks) if task.is_setup):
            teardowns = [t for t in graph.succ[self.ids[setup]] if self.dag.task_dict[t].is_teardown]
            after = nx.descendants(graph, self.ids[setup])
            if teardowns:
                after &= set().union(*(nx.ancestors(graph, t) for t in teardowns))
            for task_id in after - set(teardowns):
                found.setdefault(self.position[task_id], []).append(setup)
        return found


class Frontier:
    """The states of one run's tasks, by position, and what may go next."""

    def __init__(self, index: TaskIndex, states: Sequence[str | None] | None = None) -> None:
        self.index = index
        self.states: list[str | None] = list(states) if states is not None else [None] * len(index)
        self._counts: list[UpstreamCounts | None] = [None] * len(index)

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
                not above or index.rules[i] is always or i in index.setups or any(states[k] in FINISHED for k in above)
            )
        ]

    def counts(self, i: int) -> UpstreamCounts:
        """The counts of the final states directly upstream of position `i`, kept up to date by `finish`."""
        counts = self._counts[i]
        if counts is None:
            counts = self._counts[i] = UpstreamCounts()
            for above in self.index.upstream[i]:
                is_setup = self.index.tasks[above].is_setup
                counts.total += 1
                counts.setups += is_setup
                state = self.states[above]
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
        if is_setup:
            return [*self.index.downstream[i], *(k for k, setups in self.index.setups.items() if i in setups)]
        return self.index.downstream[i]

    def verdict(self, i: int) -> Verdict:
        """What the trigger rule of position `i` says now."""
        rule = self.index.rules[i]
        if i in self.index.setups:
            return evaluate(rule.__name__, self.counts(i), [self.states[s] for s in self.index.setups[i]])
        return rule(self.counts(i)) if self.index.upstream[i] else RUN

    def decide(self, candidates: Iterable[int]) -> Decisions:
        """Apply the rules to `candidates` and to everything that follows from them.

        Runnable positions are returned and keep having no state: whether they start is not the rules' business alone.
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
                settled.append((i, state))
                queue.extend(self.finish(i, state))
        return Decisions(list(runnable), settled)

    def run_state(self) -> str | None:
        """The state of a run all of whose tasks are final: failed if a deciding task did not end well.

        None while something is open. A run without tasks succeeds.
        """
        if any(state not in FINISHED for state in self.states):
            return None
        bad = any(self.states[i] in ("failed", "upstream_failed") for i in self.index.deciding)
        return "failed" if bad else "success"
