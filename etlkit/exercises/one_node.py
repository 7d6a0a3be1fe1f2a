"""Notebook 09: what the metadata database knows, who takes turns, and how many slots are in use."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from etlkit.dag import DAG, BaseOperator, chain, get_current_context
from etlkit.executors.simulated import Nodes, SimulatedExecutor
from etlkit.exercises.definition import Belief, Choice, Exercise, Prediction, Seen, Step, Timeline
from etlkit.exercises.stage import Lab, listing
from etlkit.operators.python import PythonOperator

Minutes = Mapping[str, int]
"""How long the tasks take, by their ids."""


class Work(BaseOperator):
    """A task that takes so many minutes."""

    def __init__(self, minutes: int, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.minutes = minutes

    def execute(self, context: Any) -> None:
        context["clock"].sleep(60 * self.minutes)


def fork(minutes: Minutes, **arguments: Any) -> DAG:
    """A first task, and then all others, which need nothing of each other."""
    with DAG("fork") as dag:
        first, *others = (Work(each, task_id=name, **arguments) for name, each in minutes.items())
        first >> others
    return dag


def line(minutes: Minutes) -> DAG:
    """Each task after the one before."""
    with DAG("line") as dag:
        chain(*(Work(each, task_id=name) for name, each in minutes.items()))
    return dag


def beside(minutes: Minutes) -> DAG:
    """A fork, and a task beside it that needs nothing of it: the first."""
    with DAG("beside") as dag:
        _, first, *others = (Work(each, task_id=name) for name, each in minutes.items())
        first >> others
    return dag


def ran_on(slots: int, dag: DAG) -> Lab:
    """A lab in which a DAG ran once, on a worker with so many slots."""
    lab = Lab(start="2013-01-01", executor=SimulatedExecutor(Nodes(1, slots), service_time=0, poll_interval=0))
    lab.store.set_pool("duckdb", 1, "one process at a time has the file")
    lab.add(dag).trigger()
    lab.advance(hours=4)
    return lab


# --- who had to wait for a slot ---------------------------------------------------------------------------------------

WAITED = """
    SELECT scheduled.task_id
    FROM decision AS scheduled
    JOIN decision AS queued USING (run_id, task_id)
    WHERE scheduled.new = 'scheduled' AND queued.new = 'queued' AND scheduled.at < queued.at
"""
WAITED_START = "SELECT task_id FROM decision WHERE new = 'scheduled'"
WAITED_IN_QUEUE = "SELECT task_id FROM task_instance WHERE queued_at < start_date"
WAITED_SINCE_THE_RUN_BEGAN = """
    SELECT task_id FROM task_instance JOIN dag_run ON dag_run.id = dag_run_id
    WHERE dag_run.start_date < task_instance.start_date
"""
AIRPORTS = {"start": 5, "EWR": 10, "JFK": 10, "LGA": 20}
STEPS_OF_TWO = {"flights": 10, "weather": 15, "join": 5, "report": 5}


def play_waited(query: str, timeline: Timeline) -> Iterator[str]:
    """The tasks that the query names after a run on so many slots."""
    for step in timeline.steps:
        dag, minutes, slots = step.given
        with ran_on(slots, dag(minutes)) as lab:
            answer = lab.sql(query)
            if "task_id" not in answer:
                raise ValueError(f"the query must give a column task_id, not {listing(answer.columns)}")
            yield listing(sorted(answer["task_id"]))


def on_slots(dag: Callable[[Minutes], DAG], minutes: Minutes, *numbers: int) -> tuple[Step, ...]:
    """A run on each of these numbers of slots."""
    return tuple(
        Step(f"run {place}", f"on {slots} slot{'s' * (slots > 1)}", (dag, minutes, slots))
        for place, slots in enumerate(numbers, 1)
    )


HAD_TO_WAIT = Exercise(
    id="09-waited",
    tier="enough",
    kind="SQL",
    asked="Write a query on the metadata database that gives the task_id of each task that was ready and had to"
    " wait for a\nslot. The table `decision` has every change of a task instance: run_id, task_id, the `old` and the"
    " `new` state, and\nwhen it was, `at`.",
    play=play_waited,
    timelines=(
        Timeline("one task, then three at once", on_slots(fork, AIRPORTS, 4, 2, 1)),
        Timeline("a line of four tasks", on_slots(line, STEPS_OF_TWO, 1, 2), hidden=True),
    ),
    start=WAITED_START,
    solution=WAITED,
    why="A task that is ready is `scheduled`; when it becomes `queued`, it has a slot. If there is one at once, both"
    " happen at\nthe same instant.",
    beliefs=(
        Belief(
            "queued-is-waiting",
            "a task that waits for a slot is queued. It is queued when it has got one; the time in the queue is what"
            " a worker takes to begin.",
            WAITED_IN_QUEUE,
        ),
        Belief(
            "waiting-since-the-run-began",
            "a task waits for a slot from the start of its run. Most of that time it waits for the tasks before it,"
            " and more slots would not help.",
            WAITED_SINCE_THE_RUN_BEGAN,
        ),
    ),
    hints=(
        "A task becomes `scheduled` and then `queued`, each a row of `decision`. Which of the two is about the slot?",
        "Join `decision` to itself: one row with `new = 'scheduled'`, and the same task's with `new = 'queued'`.",
    ),
    misconceptions=(13,),
)

# --- taking turns -----------------------------------------------------------------------------------------------------

Act = Callable[[str], None]
Span = tuple[datetime, datetime]


def turns(airports: list[str], extract: Act, load: Act) -> DAG:
    with DAG("turns") as dag:
        for airport in airports:
            extracted = PythonOperator(task_id=f"extract_{airport}", python_callable=extract, op_args=[airport])
            loaded = PythonOperator(task_id=f"load_{airport}", python_callable=load, op_args=[airport], pool="duckdb")
            extracted >> loaded
    return dag


def turns_start(airports: list[str], extract: Act, load: Act) -> DAG:
    with DAG("turns") as dag:
        for airport in airports:
            PythonOperator(task_id=f"extract_{airport}", python_callable=extract, op_args=[airport])
    return dag


def no_turns(airports: list[str], extract: Act, load: Act) -> DAG:
    dag = turns(airports, extract, load)
    for task in dag.tasks:
        task.pool = "default_pool"
    return dag


def turns_for_all(airports: list[str], extract: Act, load: Act) -> DAG:
    dag = turns(airports, extract, load)
    for task in dag.tasks:
        task.pool = "duckdb"
    return dag


def turns_by_arrows(airports: list[str], extract: Act, load: Act) -> DAG:
    dag = no_turns(airports, extract, load)
    chain(*(dag.get_task(f"load_{airport}") for airport in airports))
    return dag


def play_turns(make: Callable[..., DAG], timeline: Timeline) -> Iterator[str]:
    """Run it on four slots: what was loaded, when all was, and how many had the file open at once."""
    for step in timeline.steps:
        airports, slow, failing = step.given
        loads: dict[str, Span] = {}

        def extract(airport: str, slow: str = slow, failing: str = failing) -> None:
            worked(30 if airport == slow else 10)
            if airport == failing:
                raise ConnectionError(f"{airport} does not answer")

        def load(airport: str, loads: dict[str, Span] = loads) -> None:
            loads[airport] = worked(5)

        dag = make(list(airports), extract, load)
        with ran_on(4, dag) as lab:
            missing = {task.pool for task in dag.tasks} - set(lab.store.pools())
            end = max((end for _, end in loads.values()), default=lab.now)
            done = f"loaded: {listing(sorted(loads))}" + (f"; the last at {end:%H:%M}" if loads else "")
            waits = f"\nwaits for a pool that does not exist: {listing(sorted(missing))}" if missing else ""
            yield f"{done}\nhad the file open at once: {most_at_once(loads.values())}{waits}"


def worked(minutes: int) -> Span:
    """Let the task that calls this take so many minutes; when they began and ended."""
    clock = get_current_context()["clock"]
    began = clock.now()
    clock.sleep(60 * minutes)
    return began, clock.now()


def most_at_once(spans: Collection[Span]) -> int:
    """How many overlapped at the same moment, at most."""
    return max((sum(began <= moment < end for began, end in spans) for moment, _ in spans), default=0)


THREE = ("EWR", "JFK", "LGA")
TURNS = Exercise(
    id="09-turns",
    tier="target",
    kind="function",
    asked="Write a function `turns(airports, extract, load)` that makes a DAG. For each airport, a task calls"
    " `extract(airport)`,\nand another one, after it, `load(airport)`. All loads open the same DuckDB file, so only one"
    " at a time may run. There is\na pool `duckdb` with one slot. Nothing else waits without need.",
    play=play_turns,
    timelines=(
        Timeline(
            "three airports on four slots",
            (
                Step("run 1", "each extract takes 10 minutes, each load 5", (THREE, "", "")),
                Step("run 2", "EWR takes 30 minutes to extract", (THREE, "EWR", "")),
                Step("run 3", "EWR does not answer", (THREE, "", "EWR")),
            ),
        ),
        Timeline("two others", (Step("run 4", "the airports are BOS and PHL", (("BOS", "PHL"), "", "")),), hidden=True),
    ),
    start=turns_start,
    solution=turns,
    why="A pool limits how many of the tasks in it run at once, in whichever run and DAG they are, and says nothing of"
    " their order.\nOnly those that open the file belong in it.",
    beliefs=(
        Belief(
            "the-file-sorts-it-out",
            "DuckDB lets its writers take turns. It refuses the second process at once, and its task fails.",
            no_turns,
        ),
        Belief(
            "one-slot-for-all",
            "the whole pipeline must take turns. Only tasks that open the file must; the others may run at once.",
            turns_for_all,
        ),
        Belief(
            "arrows-are-turns",
            "an arrow makes tasks take turns. It also makes the second wait for the success of the first, though it"
            " needs nothing of it.",
            turns_by_arrows,
        ),
    ),
    hints=(
        "Which of the tasks open the file?",
        "Every operator takes `pool=`. A task in a pool with one slot waits until no other task of the pool runs.",
    ),
    misconceptions=(13,),
)

# --- how many at once -------------------------------------------------------------------------------------------------

PEAK = """
    SELECT max(at_once)
    FROM (
        SELECT count(*) AS at_once
        FROM task_instance AS begun JOIN task_instance AS other
        ON other.start_date <= begun.start_date AND begun.start_date < other.end_date
        GROUP BY begun.id
    )
"""
PEAK_START = "SELECT count(*) FROM task_instance WHERE state = 'running'"
PEAK_ALL = "SELECT count(*) FROM task_instance"
PEAK_TOUCHING = PEAK.replace("begun.start_date < other.end_date", "begun.start_date <= other.end_date")
PEAK_PAIRS = PEAK.replace("other.start_date <= begun.start_date", "other.start_date < begun.end_date")


def play_peak(query: str, timeline: Timeline) -> Iterator[str]:
    """What the query answers after a run on so many slots."""
    for step in timeline.steps:
        dag, minutes, slots = step.given
        with ran_on(slots, dag(minutes)) as lab:
            answer = lab.sql(query)
            if answer.shape != (1, 1):
                raise ValueError("the query must give one number; it gives {} rows of {} columns".format(*answer.shape))
            yield str(answer.iat[0, 0])


SHORT_AND_LONG = {"start": 5, "long": 30, "first": 10, "second": 10, "third": 10}
LONG_AND_FORK = {"long": 30, "start": 10, "first": 10, "second": 10}
AT_ONCE = Exercise(
    id="09-peak",
    tier="stretch",
    kind="SQL",
    asked="Write a query on `task_instance` that gives one number: how many task instances were running at the same"
    " time, at most.\nEach row has a `start_date` and an `end_date`. A slot is free from the instant at which its task"
    " ends.",
    play=play_peak,
    timelines=(
        Timeline("one task, then three at once", on_slots(fork, AIRPORTS, 1, 2, 4)),
        Timeline("a long one and short ones", on_slots(fork, SHORT_AND_LONG, 2, 3), hidden=True),
        Timeline("a fork beside a long one", on_slots(beside, LONG_AND_FORK, 4), hidden=True),
        Timeline("a line", on_slots(line, STEPS_OF_TWO, 4), hidden=True),
    ),
    start=PEAK_START,
    solution=PEAK,
    why="The number changes only when a task begins or ends, and it is largest when one begins. So it is enough to look"
    " at those\nmoments, and to count who was running then.",
    beliefs=(
        Belief(
            "a-slot-each",
            "every task has a slot of its own. A slot is used again and again; how many there are in use is a question"
            " of time.",
            PEAK_ALL,
        ),
        Belief(
            "touching-is-together",
            "a task that begins when another ends runs beside it. It runs in its slot.",
            PEAK_TOUCHING,
        ),
        Belief(
            "overlapping-is-together",
            "all that overlap with a task run at once. Two that come one after the other may both overlap with a long"
            " one.",
            PEAK_PAIRS,
        ),
    ),
    hints=(
        "When can the number of running tasks become larger? Only when one begins.",
        "For each task that begins, count the tasks that have begun and not ended then, itself included.",
    ),
)

# --- predictions ------------------------------------------------------------------------------------------------------

FOUR = {"start": 0, "EWR": 10, "JFK": 10, "LGA": 10, "PHL": 10}


def minutes_taken(slots: int, **arguments: Any) -> Seen:
    """How long the fork of four takes on so many slots, and when each task ran."""
    with ran_on(slots, fork(FOUR, **arguments)) as lab:
        _, *four = lab.store.task_instances(lab.store.runs()[-1].id)
        text = "\n".join(f"{row.task_id}  {row.start_date:%H:%M} to {row.end_date:%H:%M}" for row in four)
        took = max(row.end_date for row in four if row.end_date) - min(row.start_date for row in four if row.start_date)
        return Seen(took // timedelta(minutes=1), text)


HOLDER = """
import sys, duckdb
con = duckdb.connect(sys.argv[1])
con.execute("CREATE TABLE daily AS SELECT 'EWR' AS airport")
print("open", flush=True)
sys.stdin.readline()
"""


def see_second_process() -> Seen:
    """One process has a file open, to write, and this one wants to read it."""
    from etlkit.errors import WarehouseError
    from etlkit.warehouse import connect

    with TemporaryDirectory() as folder:
        file = str(Path(folder, "warehouse.duckdb"))
        command = [sys.executable, "-c", HOLDER, file]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout is not None
            holder.stdout.readline()
            try:
                with connect(file, read_only=True) as con:
                    seen = Seen("reads", str(con.sql("FROM daily").fetchall()))
            except WarehouseError as error:
                seen = Seen("refused", str(error).replace(folder + "/", "").replace(f" (PID {holder.pid})", ""))
            holder.communicate("\n")
    return seen


PREDICTIONS = [
    Prediction(
        "09-fork",
        "Four tasks of ten minutes need nothing of each other. The worker has one slot. After how many minutes is the"
        " last one done?",
        {
            "a": Choice("10", 10, "a fork runs in parallel."),
            "b": Choice("40", 40, "a fork may run in parallel, as far as there are slots, which is so."),
        },
        lambda: minutes_taken(1),
        "Arrows say what may run together. Slots say what can.",
        (13,),
    ),
    Prediction(
        "09-one-file",
        "Now each of the four opens one DuckDB file, so they are in a pool with one slot. The worker has four slots. "
        "How many minutes?",
        {
            "a": Choice("10", 10, "more workers are faster."),
            "b": Choice("20", 20, "more workers are faster, though not by as much."),
            "c": Choice("40", 40, "what takes turns takes as long on any number of slots, which is so."),
        },
        lambda: minutes_taken(4, pool="duckdb"),
        "The narrowest place decides, and here it is the file. Three of the slots are of no use.",
        (13,),
    ),
    Prediction(
        "09-second-process",
        "A process has a DuckDB file open and may write to it. Another process opens the file, only to read. What"
        " happens?",
        {
            "a": Choice("it reads what was committed", "reads", "a reader never disturbs a writer."),
            "b": Choice("it waits for the other one", "waits", "databases let their users take turns."),
            "c": Choice("it gets an error at once", "refused", "a DuckDB file belongs to one process, which is so."),
        },
        see_second_process,
        "DuckDB keeps parts of the file in memory, so nobody else may rely on what is on the disk.",
        (13,),
    ),
]
EXERCISES = [HAD_TO_WAIT, TURNS, AT_ONCE]
