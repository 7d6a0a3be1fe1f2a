"""A small world for the tests of the engine: a scheduler, its database and clock, and tasks that do as told."""

import weakref
from collections import deque
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from etlkit.clock import SimulatedClock
from etlkit.dag import DAG, BaseOperator
from etlkit.events import TaskEvent, Trace
from etlkit.executors.base import Executor
from etlkit.executors.sequential import SequentialExecutor
from etlkit.runs import clear_run, trigger_run
from etlkit.runtime import Result
from etlkit.scheduler import Scheduler
from etlkit.sensors.base import BaseSensorOperator
from etlkit.store import Store

SECOND, MINUTE, HOUR, DAY = (timedelta(**{unit: 1}) for unit in ("seconds", "minutes", "hours", "days"))


def at(day, hour=0, minute=0, second=0, *, month=1, year=2013):
    """An instant in UTC; by default in January 2013."""
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC)


START = at(1)


class Do(BaseOperator):
    """Does `steps[n - 1]` in its n-th try, and the last of them in every later one.

    An exception is raised, a function is called with the context, anything else is returned.
    """

    def __init__(self, task_id, *steps, **kwargs):
        self.steps = steps or (None,)
        super().__init__(task_id=task_id, **kwargs)

    def execute(self, context):
        step = self.steps[min(context["ti"].try_number, len(self.steps)) - 1]
        if isinstance(step, BaseException):
            raise step.with_traceback(None)  # else one that is raised again drags along where it was raised before
        if isinstance(step, type) and issubclass(step, BaseException):
            raise step
        return step(context) if callable(step) else step


class Poke(BaseSensorOperator):
    """A sensor that asks a function of the present instant, and notes when it was asked."""

    def __init__(self, task_id, question, **kwargs):
        self.question, self.pokes = question, []
        super().__init__(task_id=task_id, **kwargs)

    def poke(self, context):
        now = context["clock"].now()
        self.pokes.append(now)
        return self.question(now)


def make_dag(dag_id="d", edges="", *, tasks=(), start_date=START, **kwargs):
    """A DAG of `tasks`, with `edges` such as "a >> b, a >> c"; a task that is only named there does nothing."""
    with DAG(dag_id, start_date=start_date, **kwargs) as dag:
        for task in tasks:
            dag.add_task(task)
        for edge in filter(None, (edge.strip() for edge in edges.split(","))):
            ends = [name.strip() for name in edge.split(">>")]
            for name in ends:
                if name not in dag.task_dict:
                    Do(name)
            for tail, head in pairwise(ends):
                dag.task_dict[tail] >> dag.task_dict[head]
    return dag


class HandExecutor(Executor):
    """As many slots as told; an attempt ends when the test says so, which makes it a worker that can be watched."""

    def __init__(self, slots=100):
        self.slots, self.held, self.ended = slots, {}, deque()

    def start(self, runner):
        self.runner = runner

    def free_slots(self):
        return self.slots - len(self.held)

    def submit(self, work):
        self.held[work.run.dag_id, work.run.run_id, work.task.task_id] = work

    def poll(self):
        results, self.ended = list(self.ended), deque()
        return results

    @property
    def in_flight(self):
        return len(self.held)

    def dags_in_flight(self):
        return set() if self.detached else {dag_id for dag_id, *_ in self.held}

    @property
    def tasks(self):
        """The ids of the tasks that it was given and has not ended."""
        return [task_id for _, _, task_id in self.held]

    def end(self, *task_ids):
        """Make the attempts that are held of these tasks."""
        for key in [key for key in self.held if not task_ids or key[2] in task_ids]:
            self.ended.append(self.runner.run(self.held.pop(key)))

    def lose(self, *task_ids, begun=True):
        """The processes of attempts of these tasks die, having begun them or not."""
        for key in [key for key in self.held if not task_ids or key[2] in task_ids]:
            work = self.held.pop(key)
            if begun:
                with self.runner.store.transaction():
                    self.runner.begin(work)
            self.ended.append(Result(work, None, lost=True))


class World:
    """A scheduler with all that it needs; it can be dropped and started anew on the same database."""

    def __init__(self, *dags, now=START, url="sqlite://", executor=None, paused=False, listeners=(), **kwargs):
        self.store, self.clock, self.kwargs = Store(url), SimulatedClock(now), kwargs
        weakref.finalize(self, self.store.close)
        self.dags = {}
        self.listeners, self.trace = list(listeners), Trace()
        self._start(executor)
        for dag in dags:
            self.add(dag, paused=paused)

    def _start(self, executor=None):
        self.executor = executor or SequentialExecutor()
        self.scheduler = Scheduler(
            self.store, self.clock, self.executor, listeners=[self.trace, *self.listeners], **self.kwargs
        )

    def add(self, dag, *, paused=False):
        self.dags[dag.dag_id] = dag
        self.scheduler.add_dag(dag, paused=paused)

    def restart(self, executor=None):
        """A new scheduler that knows nothing but the database, as after a crash; what it found lost."""
        self._start(executor)
        for dag in self.dags.values():
            self.scheduler.add_dag(dag)
        return self.scheduler.recover()

    def replace(self, dag):
        """Put a new version of a DAG in the place of the old one."""
        self.scheduler.remove_dag(dag.dag_id)
        self.add(dag)

    def run_until(self, moment):
        self.scheduler.run_until(moment)
        return self

    def tick(self):
        """Let passes happen until one changes nothing: what an executor holds goes on being held."""
        for _ in range(1000):
            if not self.scheduler.tick():
                return self
        raise AssertionError("it does not come to rest")

    def trigger(self, dag_id="d", **kwargs):
        kwargs.setdefault("now", self.clock.now())
        return trigger_run(self.store, self.dags[dag_id], **kwargs)

    def pause(self, dag_id="d", paused=True):
        with self.store.transaction():
            self.store.set_paused(dag_id, paused)

    def clear(self, run, *task_ids, **kwargs):
        dag = self.dags[run.dag_id]
        return clear_run(self.store, dag, self.row(run), now=self.clock.now(), task_ids=task_ids or None, **kwargs)

    # what became of it

    def runs(self, dag_id="d"):
        return self.store.runs(dag_id)

    def row(self, run):
        return self.store.run(run.dag_id, run.run_id)

    def only_run(self, dag_id="d"):
        (run,) = self.store.runs(dag_id)
        return run

    def tasks(self, run=None):
        """The task instances of a run (of the only one, if not told), by task id."""
        return {task.task_id: task for task in self.store.task_instances((run or self.only_run()).id)}

    def states(self, run=None):
        return {task_id: task.state for task_id, task in self.tasks(run).items()}

    def tries(self, run=None):
        return {task_id: task.try_number for task_id, task in self.tasks(run).items()}

    def dates(self, dag_id="d"):
        """The logical dates of the runs, in the order in which they were created."""
        return [run.logical_date for run in sorted(self.store.runs(dag_id), key=lambda run: run.id)]

    def story(self, state, *task_ids):
        """(moment, task id) of each time a task instance took `state`, in order."""
        return [
            (event.at, event.task_id)
            for event in self.trace.events
            if isinstance(event, TaskEvent) and event.new == state and (not task_ids or event.task_id in task_ids)
        ]

    def order(self, state="running"):
        """The ids of tasks in the order in which they took `state`."""
        return [task_id for _, task_id in self.story(state)]


def run_once(dag, **kwargs):
    """Trigger `dag` in a new world and let everything happen for a year; the world."""
    world = World(dag, **kwargs)
    world.trigger(dag.dag_id)
    return world.run_until(world.clock.now() + 365 * DAY)
