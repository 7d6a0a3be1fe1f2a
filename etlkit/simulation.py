"""What if: the same work on clusters of different shapes, one simulation each, compared in a table and in curves.

>>> from etlkit import DAG
>>> from etlkit.executors.simulated import Nodes
>>> from etlkit.operators import EmptyOperator
>>> with DAG("weather", max_active_tasks=100) as weather:
...     for airport in ("JFK", "LGA", "EWR", "BOS"):
...         _ = EmptyOperator(task_id=f"extract_{airport}") >> EmptyOperator(task_id=f"load_{airport}")
>>> what_if(weather, [Nodes(1, slots=1), Nodes(1, slots=4), Nodes(4, slots=1)], service_time=60)
what if: weather, 1 run
nodes  slots  makespan  speed-up  busy  most waiting  attempts  node failures  lost  failed
    1      1   0:08:00       1.0  100%             3         8              0     0       0
    1      4   0:02:00       4.0  100%             0         8              0     0       0
    4      1   0:02:00       4.0  100%             0         8              0     0       0

Nothing is estimated: each row is the real scheduler's doing, over nodes that are simulated
(`etlkit.executors.simulated`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from inspect import signature
from typing import TYPE_CHECKING, Any, NamedTuple

from etlkit.config import check_whole
from etlkit.dag import DAG
from etlkit.errors import ConfigError, nearest
from etlkit.executors.simulated import Nodes, SimulatedExecutor, Usage
from etlkit.lab import Lab, When, instant
from etlkit.runs import trigger_run
from etlkit.showing import aligned, as_html
from etlkit.states import FAILED, UPSTREAM_FAILED

if TYPE_CHECKING:
    import pandas as pd

    from etlkit.viz import Picture


class Moment(NamedTuple):
    """The cluster at one moment, so many `seconds` after the start."""

    seconds: float
    waiting: int
    """Tasks that are ready, or queued, and have no slot of a node."""
    running: int
    """Attempts that nodes make."""


class Simulation(NamedTuple):
    """What one cluster made of the work."""

    nodes: Nodes
    usage: Usage
    states: Mapping[str | None, int]
    """How many task instances there were of each state at its end."""
    moments: Sequence[Moment]
    """How it went, at each moment at which something changed."""

    @property
    def makespan(self) -> timedelta:
        """From the start until the last run was over."""
        return timedelta(seconds=round(self.usage.seconds, 3))

    @property
    def tasks(self) -> int:
        """How many task instances there were."""
        return sum(self.states.values())

    @property
    def failed(self) -> int:
        """How many ended without success because of an error: their own, or one before."""
        return sum(self.states.get(state, 0) for state in (FAILED, UPSTREAM_FAILED))

    @property
    def most_waiting(self) -> int:
        """The deepest that the queue was."""
        return max((moment.waiting for moment in self.moments), default=0)


class WhatIf(Sequence[Simulation]):
    """The simulations of one piece of work, in order; print it, or see `table`, `queue_depth()` and `scaling()`.

    A slice is one too: `answer[:3].queue_depth()`.
    """

    def __init__(self, simulations: Iterable[Simulation], title: str) -> None:
        self.simulations, self.title = tuple(simulations), title

    def __len__(self) -> int:
        return len(self.simulations)

    def __getitem__(self, index: Any) -> Any:
        found = self.simulations[index]
        return WhatIf(found, self.title) if isinstance(index, slice) else found

    @property
    def table(self) -> pd.DataFrame:
        """One row a cluster. `speedup` is against the first; `lost` attempts are those of nodes that failed."""
        import pandas as pd

        first = self.simulations[0].usage.seconds
        return pd.DataFrame(
            {
                "nodes": one.nodes.count,
                "slots": one.nodes.slots,
                "makespan": pd.Timedelta(one.makespan),
                "speedup": first / one.usage.seconds if one.usage.seconds else 1.0,
                "utilisation": one.usage.utilisation,
                "most_waiting": one.most_waiting,
                "tasks": one.tasks,
                "attempts": one.usage.attempts,
                "node_failures": one.usage.failures,
                "lost": one.usage.lost,
                "failed": one.failed,
                "node_hours": one.usage.node_hours,
                "cost": one.usage.cost,
            }
            for one in self.simulations
        )

    def queue_depth(self) -> Picture:
        """A picture of how many tasks waited for a slot, over time."""
        from etlkit.viz import queue_depth

        depths: dict[str, list[tuple[float, int]]] = {}
        for one in self.simulations:
            name = f"{one.nodes.count:,} × {one.nodes.slots:,}"
            name += f" ({sum(other.startswith(name) for other in depths) + 1})" if name in depths else ""
            depths[name] = [(at.seconds, at.waiting) for at in one.moments]
        return queue_depth(depths, f"{self.title}: tasks that wait for a slot")

    def scaling(self) -> Picture:
        """A picture of what more slots bring, on one larger node and on more nodes, and what is lost with them."""
        from etlkit.viz import Scaled, scaling

        points = [
            Scaled(one.nodes.count, one.nodes.slots, one.usage.seconds, one.usage.failures, one.usage.lost)
            for one in self.simulations
        ]
        return scaling(points, self.title)

    def _rows(self) -> list[tuple[str, ...]]:
        priced = any(one.nodes.price for one in self.simulations)
        head = (
            "nodes",
            "slots",
            "makespan",
            "speed-up",
            "busy",
            "most waiting",
            "attempts",
            "node failures",
            "lost",
            "failed",
        )
        rows: list[tuple[str, ...]] = [(*head, "cost") if priced else head]
        for row in self.table.itertuples():
            counts = (row.most_waiting, row.attempts, row.node_failures, row.lost, row.failed)
            makespan = str(row.makespan.round("s").to_pytimedelta())
            shares = (makespan, f"{row.speedup:.1f}", f"{row.utilisation:.0%}")
            cells = (f"{row.nodes:,}", f"{row.slots:,}", *shares, *(f"{count:,}" for count in counts))
            rows.append((*cells, f"{row.cost:,.2f}") if priced else cells)
        return rows

    def __repr__(self) -> str:
        rows = self._rows()
        return f"what if: {self.title}\n{aligned(rows, right=range(len(rows[0])))}"

    def _repr_html_(self) -> str:
        rows = self._rows()
        return as_html(f"what if: {self.title}", rows, right=range(len(rows[0])))


Workload = int | Callable[[Lab], object]
"""How many runs of each DAG are triggered at the start; or what is asked of a Lab."""


def what_if(
    dags: DAG | Sequence[DAG],
    clusters: Nodes | int | Iterable[Nodes | int],
    work: Workload = 1,
    *,
    start: When = "2013-01-01",
    end: When | None = None,
    parallelism: int | None = None,
    run_callables: bool = False,
    **how: Any,
) -> WhatIf:
    """Let each of `clusters` do the same work, from `start` on the clock until no run is open, or until `end`.

    - `clusters`: Nodes, or how many of them, for each cluster to try.
    - `work`: a number of runs, or a function that asks a Lab for what is to be done:
      `lambda lab: lab.pause().backfill(None, "2013-01-01", "2013-12-31", max_active_runs=50)`.
    - A DAG that is not paused runs by its schedule too. If that never ends, ConfigError unless there is an `end`.
    - `parallelism`, and the size of the default pool, are the slots of the cluster unless you say otherwise. All other
      limits count, first of all the DAG's own `max_active_tasks` and `max_active_runs`: both are 16 by default.
    - `run_callables` and `how` are for SimulatedExecutor: service_time, task_startup, queue_delay, network_delay, seed,
      poll_interval. A DAG that branches, or maps tasks over results, needs `run_callables=True`: else no task decides
      or returns anything.
    """
    dags = [dags] if isinstance(dags, DAG | str) else list(dags)
    tried = [clusters] if isinstance(clusters, Nodes | int) else list(clusters)
    _check(dags, tried, work, parallelism, how)
    until = None if end is None else instant(end, "end")
    simulations = []
    for executor in [SimulatedExecutor(each, run_callables=run_callables, **how) for each in tried]:
        nodes = executor.nodes
        with Lab(start, executor=executor, parallelism=parallelism or nodes.all_slots) as lab:
            lab.set_pool("default_pool", nodes.all_slots).add(*dags)
            _ask_for(work, lab)
            if until is None:
                _check_that_it_ends(lab)
            moments = list(_moments(lab, executor, until))
            simulations.append(Simulation(nodes, executor.usage, _states(lab), moments))
    runs = f", {work:,} run{'s' * (work != 1)}" if isinstance(work, int) and work else ""
    return WhatIf(simulations, ", ".join(dag.dag_id for dag in dags) + runs)


ACCEPTED = tuple(signature(SimulatedExecutor).parameters)[1:]
"""What SimulatedExecutor is told besides its nodes."""


def _check(
    dags: Sequence[DAG],
    clusters: Sequence[Nodes | int],
    work: Workload,
    parallelism: int | None,
    how: Mapping[str, Any],
) -> None:
    """ConfigError for what cannot be simulated, before anything is."""
    if not dags or not all(isinstance(dag, DAG) for dag in dags):
        raise ConfigError(f"what_if needs a DAG or a list of DAGs, not {dags!r}")
    if not clusters:
        raise ConfigError("there is no cluster to try: what_if(dag, [Nodes(1, slots=4), Nodes(4)])")
    if not callable(work):
        check_whole("work", work, least=0)
    if parallelism is not None:
        check_whole("parallelism", parallelism, least=1)
    for name in how:
        if name not in ACCEPTED:
            raise ConfigError(f"what_if has no argument {name!r}{nearest(name, ACCEPTED)}")


def _ask_for(work: Workload, lab: Lab) -> None:
    if callable(work):
        work(lab)
        return
    for dag in lab.dags:
        for number in range(1, work + 1):
            trigger_run(lab.store, dag, now=lab.now, logical_date=None, run_id=f"what_if_{number}")


def _check_that_it_ends(lab: Lab) -> None:
    paused = lab.store.paused()
    for dag in lab.dags:
        if dag.timetable.can_be_scheduled and dag.end_date is None and not paused[dag.dag_id]:
            raise ConfigError(f"the schedule of {dag.dag_id!r} never ends: give what_if an end, or pause it in `work`")


def _moments(lab: Lab, executor: SimulatedExecutor, end: datetime | None) -> Iterator[Moment]:
    """Let time pass, from each moment at which something happens to the next."""
    scheduler, origin = lab.scheduler, lab.now
    scheduler.settle()
    while True:
        waiting = scheduler.waiting + executor.in_flight - executor.running
        yield Moment((lab.now - origin).total_seconds(), waiting, executor.running)
        at = scheduler.next_event()
        if at is None or (scheduler.is_idle if end is None else at > end):
            break
        lab.clock.sleep_until(at)
        scheduler.settle()
    if end is not None:
        scheduler.run_until(end)


def _states(lab: Lab) -> dict[str | None, int]:
    return dict(lab.store.run_sql("SELECT state, COUNT(*) FROM task_instance GROUP BY state").fetchall())
