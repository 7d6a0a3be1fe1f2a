"""Simulated nodes: the real scheduler, over a cluster that exists only in numbers.

Scheduler, metadata database, trigger rules, retries, pools and limits are the real ones. What is made up is what
happens to an attempt once it is queued: how long it waits for a node, how long it takes there, and whether the node
lives that long. So a thousand nodes fit on a laptop, an hour passes in a moment, and the same seed gives the same hour.

>>> from etlkit import DAG, Lab
>>> from etlkit.operators import EmptyOperator
>>> with DAG("weather") as weather:
...     for airport in ("JFK", "LGA", "EWR"):
...         _ = EmptyOperator(task_id=airport)
>>> two = SimulatedExecutor(Nodes(2), service_time=60)
>>> with Lab(start="2013-01-01", executor=two) as lab:
...     run = lab.add(weather).trigger()
...     print(lab.advance(minutes=2).sql("SELECT task_id, state, hostname FROM task_instance").to_string(index=False))
task_id   state hostname
    JFK success   node-1
    LGA success   node-2
    EWR success   node-1
>>> two.usage.utilisation
0.75

What happens to one attempt:

==================  =================================================================================================
it is submitted     and is on its way for `network_delay`, and for `queue_delay` on its way through the queue
it waits            `queued`, until a node that is up has a free slot; first come, first served
it runs             for `task_startup` and then `service_time`
its node fails      then the attempt is lost; that is noticed `notice` seconds later, and the scheduler makes it again
it ends             and the scheduler is told after another `network_delay`
==================  =================================================================================================

Source: Airflow's CeleryExecutor, which queues tasks without asking whether a worker is alive; a node is such a worker.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any, NamedTuple

from etlkit.clock import SimulatedClock
from etlkit.config import check_whole
from etlkit.errors import ConfigError
from etlkit.executors.base import Executor
from etlkit.runtime import NOTHING, Context, Executed, Outcome, Result, TaskInstance, TaskRunner, Work, time_out
from etlkit.states import FAILED, SUCCESS

# --- how long things take ---------------------------------------------------------------------------------------------

Duration = float | Callable[[Work, Random], float]
"""Seconds; or a Distribution; or your own function of an attempt, such as `work.task.task_id`, and a Random."""

DRAWS: dict[str, Callable[[Random, float, float], float]] = {
    "exponential": lambda rng, mean, spread: rng.expovariate(1 / mean),
    "lognormal": lambda rng, mean, spread: rng.lognormvariate(math.log(mean) - spread**2 / 2, spread),
}
"""How seconds are drawn, by the name of their distribution."""


class Distribution(NamedTuple):
    """Random seconds with a `mean`; `kind` is a name in `DRAWS`."""

    kind: str
    mean: float
    spread: float = 0.0

    def __call__(self, work: Work, rng: Random) -> float:
        return DRAWS[self.kind](rng, self.mean, self.spread)


def exponential(mean: float) -> Distribution:
    """Mostly shorter than the mean, now and then much longer: what queueing theory likes to count with."""
    return Distribution("exponential", checked("mean", mean, positive=True))


def lognormal(mean: float, spread: float = 0.5) -> Distribution:
    """Around the mean, with a long tail, as tasks are in life; `spread` is the standard deviation of the logarithm."""
    return Distribution("lognormal", checked("mean", mean, positive=True), checked("spread", spread))


MOST = 1e9
"""The largest number that is taken: of seconds, these are 31 years."""


def checked(name: str, value: Any, *, positive: bool = False) -> float:
    """`value`, if it is a number from 0 on (above 0 if it must be `positive`); ConfigError if it is not.

    >>> checked("mtbf", -1, positive=True)
    Traceback (most recent call last):
    etlkit.errors.ConfigError: mtbf must be a number above 0 and at most 1e+09, not -1
    """
    number = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MOST
    if not number or (positive and not value):
        allowed = f"above 0 and at most {MOST:g}" if positive else f"from 0 to {MOST:g}"
        raise ConfigError(f"{name} must be a number {allowed}, not {value!r}")
    return float(value)


def seconds(number: float) -> timedelta:
    """So many seconds."""
    return timedelta(seconds=number)


# --- nodes ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Nodes:
    """`count` nodes of one kind, with so many `slots` each: how many attempts a node makes at once.

    - `startup`: seconds until they take their first attempts.
    - `mtbf`: the mean time between failures of one node, in seconds; None: it never fails.
    - `mttr`: the mean time to repair it, in seconds. Both times are exponential.
    - `notice`: seconds until a failed node is missed, as when heartbeats do not come any more.
    - `price`: of one node for an hour, which is paid while it starts, idles or is repaired, too.
    """

    count: int = 1
    slots: int = 1
    startup: float = 0.0
    mtbf: float | None = None
    mttr: float = 300.0
    notice: float = 0.0
    price: float = 0.0

    def __post_init__(self) -> None:
        for name in ("count", "slots"):
            check_whole(name, getattr(self, name), least=1)
        for name in ("startup", "notice", "price"):
            checked(name, getattr(self, name))
        for name in ("mttr",) if self.mtbf is None else ("mtbf", "mttr"):
            checked(name, getattr(self, name), positive=True)

    @property
    def all_slots(self) -> int:
        """How many attempts they make at once, all of them together."""
        return self.count * self.slots


class Usage(NamedTuple):
    """What became of the nodes' time since the start; a slot-second is one slot for one second."""

    nodes: Nodes
    seconds: float
    """How long that is."""
    busy: float
    """Slot-seconds in which attempts were made, lost ones too."""
    wasted: float
    """Slot-seconds of attempts that were lost."""
    attempts: int
    """Attempts that began."""
    lost: int
    """Attempts that were lost with their nodes."""
    failures: int
    """How often a node failed."""

    @property
    def utilisation(self) -> float:
        """The share of all slots' time that was busy, from 0 to 1."""
        return self.busy / (self.nodes.all_slots * self.seconds) if self.seconds else 0.0

    @property
    def node_hours(self) -> float:
        """Hours of nodes that are to be paid for."""
        return self.nodes.count * self.seconds / 3600

    @property
    def cost(self) -> float:
        """What they cost, in the currency of `price`."""
        return self.node_hours * self.nodes.price


class Node:
    """One node, and the attempts that it makes; what is from before its last failure has an older `epoch`."""

    __slots__ = ("attempts", "epoch", "is_up", "name", "rng")

    def __init__(self, name: str, rng: Random) -> None:
        self.name, self.rng, self.epoch, self.is_up = name, rng, 0, False
        self.attempts: dict[Attempt, None] = {}


class Attempt:
    """One attempt on its way, and the seconds that its parts take; `node` makes it, from `begin` to its end."""

    __slots__ = ("back", "begin", "executed", "node", "service", "startup", "work")

    def __init__(self, work: Work, startup: float, service: float, back: float) -> None:
        self.work, self.startup, self.service, self.back = work, startup, service, back
        self.node: Node | None = None
        self.begin: datetime
        self.executed: Executed | None = None


class Accounting(TaskRunner):
    """Makes attempts without running their tasks: each succeeds, no callback is called, and nothing is logged."""

    def execute(self, work: Work) -> Executed:
        ti, outcome = TaskInstance(self, work), WELL
        if work.task.outlets:
            outcome = self._announce(work, ti, outcome)
        return Executed(Context(ti), outcome, {})

    def conclude(self, executed: Executed) -> Result:
        return self._conclude(executed)

    def _call_back(self, *_: object) -> None:
        pass


WELL = Outcome(SUCCESS)


# --- the executor -----------------------------------------------------------------------------------------------------


class SimulatedExecutor(Executor):
    """Makes attempts on simulated `nodes` (`Nodes`, or how many there are); needs a SimulatedClock.

    - `service_time`, `task_startup`, `queue_delay`, `network_delay`: each a Duration, in simulated seconds.
    - `run_callables`: whether tasks really run. They do so the moment their attempt begins, on a clock of their own: if
      they sleep on it, the attempt takes so much longer. Their result counts when the attempt ends, and is lost with
      its node; what they have written elsewhere stays. Without, attempts are only accounted for: each succeeds, and
      leaves no value.
    - `seed`: the same seed, nodes and DAGs give the same events. How long a task takes follows from the seed and its
      name alone, so it takes as long on other nodes, and as long again when it was lost.
    - `poll_interval`: a real scheduler looks every so often at what has ended, and so does this one, at whole multiples
      of so many simulated seconds from its start. That costs a task half an interval on average. It also makes the
      simulation fast, as what falls into one interval is handled together. 0 is exact.

    It takes as many attempts as the nodes have slots, up or not; [core] parallelism, pools and a DAG's own limits hold
    as ever. `execution_timeout` counts in simulated time. A task instance's `hostname` is the name of its node.
    """

    def __init__(
        self,
        nodes: Nodes | int = 1,
        *,
        service_time: Duration = 60.0,
        task_startup: Duration = 0.0,
        queue_delay: Duration = 0.0,
        network_delay: Duration = 0.0,
        run_callables: bool = True,
        seed: int = 0,
        poll_interval: float = 1.0,
    ) -> None:
        self.nodes = nodes if isinstance(nodes, Nodes) else Nodes(nodes)
        self.run_callables, self.seed = run_callables, check_whole("seed", seed)
        self.poll_interval = seconds(checked("poll_interval", poll_interval))
        parts: list[tuple[str, Duration]] = [
            ("network_delay", network_delay),
            ("queue_delay", queue_delay),
            ("task_startup", task_startup),
            ("service_time", service_time),
            ("network_delay", network_delay),
        ]
        self._parts = [(name, of if callable(of) else checked(name, of)) for name, of in parts]
        self._random = any(callable(of) for _, of in parts)

    def start(self, runner: TaskRunner) -> None:
        if not isinstance(runner.clock, SimulatedClock):
            raise ConfigError("simulated nodes need a simulated clock: Lab(start='2013-01-01', executor=...)")
        self.clock, self.origin = runner.clock, runner.clock.now()
        kind = TaskRunner if self.run_callables else Accounting
        self._runner = kind(runner.store, runner.clock, runner.logs, runner.warehouse)
        self._runner.find_dag = runner.find_dag
        self._rng, self._order = Random(), itertools.count()
        self._events: list[tuple[datetime, int, Callable[[datetime, Any], None], Any]] = []
        self._queue: deque[Attempt] = deque()
        self._free: deque[tuple[Node, int]] = deque()
        self._running: dict[Attempt, None] = {}
        self._results: list[Result] = []
        self._in_flight: dict[tuple[int, int], Work] = {}
        self._begun = self._lost = self._failures = 0
        self._busy = self._wasted = timedelta()
        width, ready = len(str(self.nodes.count)), self.origin + seconds(self.nodes.startup)
        names = [f"node-{number:0{width}}" for number in range(1, self.nodes.count + 1)]
        self._nodes = [Node(name, Random(f"{self.seed} {name}")) for name in names]
        for node in self._nodes:
            self._at(ready, self._comes_up, node)

    # --- what the scheduler asks ---

    def free_slots(self) -> int:
        return self.nodes.all_slots - len(self._in_flight)

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    def submit(self, work: Work) -> None:
        if self._random:
            self._rng.seed(f"{self.seed} {work.run.dag_id} {work.run.run_id} {work.task.task_id} {work.map_index}")
        there, queue, startup, service, back = [self._drawn(name, part, work) for name, part in self._parts]
        self._in_flight[work.key] = work
        arrives = self.clock.now() + seconds(there + queue)
        self._at(arrives, self._arrives, Attempt(work, startup, service, back))

    def poll(self) -> list[Result]:
        now = self.clock.now()
        try:
            while self._events and self._events[0][0] <= now:
                moment, _, happens, subject = heapq.heappop(self._events)
                happens(moment, subject)
        except BaseException:  # such as Ctrl-C, in a task or in between: nobody knows what is half done
            self._abandon()
            raise
        results, self._results = self._results, []
        for result in results:
            self._in_flight.pop(result.work.key, None)
        return results

    def _abandon(self) -> None:
        """Call lost whatever is under way; what had ended all the same, the scheduler finds in the database."""
        self._events = [event for event in self._events if isinstance(event[3], Node)]
        heapq.heapify(self._events)
        self._queue.clear()
        self._running.clear()
        self._free.clear()
        for node in self._nodes:
            node.attempts.clear()
            self._free.extend([(node, node.epoch)] * (self.nodes.slots if node.is_up else 0))
        self._results = [Result(work, None, lost=True) for work in self._in_flight.values()]

    def adopt(self, work: Work) -> None:
        if work.key in self._in_flight:
            return
        if work.start is None:
            self.submit(work)
        else:  # the nodes of an earlier scheduler went with it
            self._in_flight[work.key] = work
            self._at(self.clock.now(), self._is_told, Result(work, None, lost=True))

    def wait(self, seconds: float) -> bool:
        return False  # while the clock stands still, nothing ends

    def next_event(self) -> datetime | None:
        """When something happens next, as the scheduler will see it; None while nothing is in flight."""
        if not (self._in_flight and self._events):
            return None
        moment = self._events[0][0]
        if self.poll_interval:
            moment = self.origin - (self.origin - moment) // self.poll_interval * self.poll_interval
        return moment

    # --- what is to be seen ---

    @property
    def summary(self) -> str:
        nodes, slots = self.nodes.count, self.nodes.slots
        return f"{nodes:,} simulated node{'s' * (nodes > 1)} of {slots:,} slot{'s' * (slots > 1)}"

    @property
    def waiting(self) -> int:
        """How many attempts wait in the queue for a free slot of a node that is up."""
        return len(self._queue)

    @property
    def running(self) -> int:
        """How many attempts nodes make now."""
        return len(self._running)

    @property
    def usage(self) -> Usage:
        """What became of the nodes' time so far."""
        now = self.clock.now()
        busy = sum((now - attempt.begin for attempt in self._running), self._busy)
        lasted, used, wasted = (each.total_seconds() for each in (now - self.origin, busy, self._wasted))
        return Usage(self.nodes, lasted, used, wasted, self._begun, self._lost, self._failures)

    # --- what happens, each at its moment ---

    def _at(self, moment: datetime, happens: Callable[[datetime, Any], None], subject: Any) -> None:
        heapq.heappush(self._events, (moment, next(self._order), happens, subject))

    def _drawn(self, name: str, part: Duration, work: Work) -> float:
        return checked(f"{name} of {work.task.task_id}", part(work, self._rng)) if callable(part) else part

    def _comes_up(self, moment: datetime, node: Node) -> None:
        node.is_up = True
        self._free.extend([(node, node.epoch)] * self.nodes.slots)
        if self.nodes.mtbf is not None:
            self._at(moment + seconds(node.rng.expovariate(1 / self.nodes.mtbf)), self._fails, node)
        self._serve(moment)

    def _fails(self, moment: datetime, node: Node) -> None:
        node.epoch, node.is_up = node.epoch + 1, False
        self._failures += 1
        self._lost += len(node.attempts)
        for attempt in node.attempts:
            self._stop(attempt, moment)
            self._wasted += moment - attempt.begin
            self._at(moment + seconds(self.nodes.notice), self._is_told, Result(attempt.work, None, lost=True))
        node.attempts.clear()
        self._at(moment + seconds(node.rng.expovariate(1 / self.nodes.mttr)), self._comes_up, node)

    def _arrives(self, moment: datetime, attempt: Attempt) -> None:
        self._queue.append(attempt)
        self._serve(moment)

    def _serve(self, moment: datetime) -> None:
        """Let the attempts begin that come first, as long as there are free slots."""
        while self._queue and self._free:
            node, epoch = self._free.popleft()
            if epoch == node.epoch:
                self._begin(moment, self._queue.popleft(), node)

    def _begin(self, moment: datetime, attempt: Attempt, node: Node) -> None:
        attempt.node, attempt.begin = node, moment
        node.attempts[attempt] = self._running[attempt] = None
        self._begun += 1
        runner, runner.hostname = self._runner, node.name
        clock = runner.clock = SimulatedClock(moment)
        with NOTHING if attempt.work.try_number == 1 else runner.store.transaction():
            held = runner.begin(attempt.work)
        self._at(self._execute(attempt, clock) if held is not None else moment, self._ends, attempt)

    def _execute(self, attempt: Attempt, clock: SimulatedClock) -> datetime:
        """Let its task run; when the attempt will end."""
        limit = attempt.work.task.execution_timeout
        if attempt.startup:
            clock.sleep(attempt.startup)
        begin = clock.now()
        attempt.executed = self._runner.execute(attempt.work)
        end = clock.now() + seconds(attempt.service)
        if limit is None or end - begin <= limit:
            return end
        outcome = Outcome(FAILED, error=time_out(attempt.work.task))
        attempt.executed = attempt.executed._replace(outcome=outcome, values={})
        return begin + limit

    def _leave(self, attempt: Attempt, moment: datetime) -> None:
        """Its node is free for another."""
        node = attempt.node
        assert node is not None
        self._stop(attempt, moment)
        del node.attempts[attempt]
        self._free.append((node, node.epoch))

    def _stop(self, attempt: Attempt, moment: datetime) -> None:
        """It does not run any more."""
        del self._running[attempt]
        self._busy += moment - attempt.begin
        attempt.node = None

    def _ends(self, moment: datetime, attempt: Attempt) -> None:
        if attempt.node is None:
            return  # it was lost before
        self._leave(attempt, moment)
        result = Result(attempt.work, None)
        if attempt.executed is not None:
            self._runner.clock = SimulatedClock(moment)
            result = self._runner.conclude(attempt.executed)
        if attempt.back:
            self._at(moment + seconds(attempt.back), self._is_told, result)
        else:
            self._results.append(result)
        self._serve(moment)

    def _is_told(self, moment: datetime, result: Result) -> None:
        self._results.append(result)
