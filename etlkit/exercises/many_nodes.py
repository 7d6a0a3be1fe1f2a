"""Notebook 10: what is done again when a node dies, how many nodes it takes, and which of them is ill."""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from etlkit.dag import DAG
from etlkit.dag_files import load_dag_file
from etlkit.errors import AirflowException
from etlkit.executors.base import Executor
from etlkit.executors.simulated import Nodes, SimulatedExecutor
from etlkit.exercises.definition import Belief, Choice, Exercise, Prediction, Seen, Step, Timeline
from etlkit.exercises.stage import Fragile, Killed, Lab, connected, listing
from etlkit.operators.empty import EmptyOperator
from etlkit.operators.python import PythonOperator
from etlkit.runtime import Result, TaskRunner, Work
from etlkit.simulation import what_if
from etlkit.store import LOST
from etlkit.worker import Reference, Worker, place_of

# --- counted once -----------------------------------------------------------------------------------------------------

TABLES = ("CREATE TABLE total (flights INTEGER)", "CREATE TABLE counted (day DATE)")
DAY, FLIGHTS = "2013-01-01", 842


def count(con: Any, day: str, flights: int, try_number: int) -> None:
    con.execute("BEGIN")
    if con.execute("SELECT 1 FROM counted WHERE day = ?", [day]).fetchone() is None:
        con.execute("INSERT INTO counted VALUES (?)", [day])
        con.execute("UPDATE total SET flights = flights + ?", [flights])
    con.execute("COMMIT")


def count_start(con: Any, day: str, flights: int, try_number: int) -> None:
    con.execute("SELECT flights FROM total")


def count_each_time(con: Any, day: str, flights: int, try_number: int) -> None:
    con.execute("UPDATE total SET flights = flights + ?", [flights])


def count_at_first_try(con: Any, day: str, flights: int, try_number: int) -> None:
    if try_number == 1:
        con.execute("UPDATE total SET flights = flights + ?", [flights])


def count_without_transaction(con: Any, day: str, flights: int, try_number: int) -> None:
    if con.execute("SELECT 1 FROM counted WHERE day = ?", [day]).fetchone() is None:
        con.execute("INSERT INTO counted VALUES (?)", [day])
        con.execute("UPDATE total SET flights = flights + ?", [flights])


class Trouble(NamedTuple):
    """What happens to the first attempt, just before its nth statement; or after the last one, if it has not as many.

    Killed, it is made again. Paused, it is taken for dead and made again, and then it goes on.
    """

    paused: bool
    before: int


AFTER_ALL = 0
"""No statement has this number."""


def play_count(answer: Callable[..., object], timeline: Timeline) -> Iterator[str]:
    """The total after a task of two attempts, of which the first is in trouble."""
    for step in timeline.steps:
        with connected(*TABLES) as con:
            con.execute("INSERT INTO total VALUES (0)")
            if step.given is None:
                attempt(con, answer, 1)
            else:
                in_trouble(con, answer, *step.given)
            yield f"flights in total: {con.execute('SELECT flights FROM total').fetchone()[0]}"


def attempt(con: Any, answer: Callable[..., object], try_number: int, **trouble: Any) -> None:
    """One attempt, over a connection of its own; what it has not committed is undone."""
    with contextlib.closing(con.cursor()) as own:
        answer(Fragile(own, **{"before": AFTER_ALL, **trouble}), DAY, FLIGHTS, try_number)


def in_trouble(con: Any, answer: Callable[..., object], paused: bool, before: int) -> None:
    """The first attempt is killed or paused; it is made again, after it or meanwhile, until that succeeds."""
    succeeded = []

    def make_again() -> None:
        with losing_to_another():
            attempt(con, answer, 2)
            succeeded.append(2)

    happens = {"happens": make_again} if paused else {}
    with losing_to_another(), contextlib.suppress(Killed):
        attempt(con, answer, 1, before=before, **happens)
    if not succeeded:
        attempt(con, answer, 3 if paused else 2)


def losing_to_another() -> contextlib.suppress:
    """Two transactions change the same row: the database lets the first one commit, and the other attempt fails."""
    import duckdb

    return contextlib.suppress(duckdb.TransactionException)


def killed(*places: int) -> tuple[Step, ...]:
    """The worker is killed before these statements."""
    return tuple(Step(f"statement {n}", "the worker is killed just before it", Trouble(False, n)) for n in places)


def paused(*places: int) -> tuple[Step, ...]:
    """The worker is paused before these statements."""
    what = "the worker is paused just before it; another one does all; then the first goes on"
    return tuple(Step(f"statement {n}", what, Trouble(True, n)) for n in places)


SAYS_NOTHING = Step("the end", "the worker is killed after the last statement", Trouble(False, AFTER_ALL))
ONCE = Exercise(
    id="10-once",
    tier="enough",
    kind="function",
    asked="Write a function `count(con, day, flights, try_number)`. It is what a task does: it adds the number of a"
    " day's\nflights to the one row of total(flights). There is also a table counted(day), empty, for your own use."
    "\nThe worker may be killed or paused at any moment, and then the attempt is made again: the function is called"
    "\nanother time, with the next try number. Each day must count once. Use `con.execute`, as on DuckDB.",
    play=play_count,
    timelines=(
        Timeline("nothing happens", (Step("run 1", "the worker lives", None),)),
        Timeline("killed", (*killed(1), SAYS_NOTHING)),
        Timeline("killed anywhere", killed(2, 3, 4, 5), hidden=True),
        Timeline("paused anywhere", paused(1, 2, 3, 4, 5), hidden=True),
    ),
    start=count_start,
    solution=count,
    why="That the day is counted is written in the transaction that counts it, so one is never without the other. Of"
    " two that do it\nat the same time, the database lets one commit.",
    beliefs=(
        Belief(
            "exactly-once",
            "a task is done once. It succeeds once; what it did before its worker died is done, too.",
            count_each_time,
        ),
        Belief(
            "the-first-did-it",
            "if this is the second try, the first has done it. It may have died before.",
            count_at_first_try,
        ),
        Belief(
            "looked-first",
            "it is enough to look first. Between the look and the last write, anything can happen, unless all of it is"
            " one transaction.",
            count_without_transaction,
        ),
    ),
    hints=(
        "How can the second attempt find out whether the first has counted the day? Not by its number.",
        "Write down in `counted` which days are in the total, and look there first.",
        "What if it ends between the two writes? Put them, and the look, between `BEGIN` and `COMMIT`.",
    ),
    misconceptions=(9,),
)

# --- how many nodes ---------------------------------------------------------------------------------------------------


class Load(NamedTuple):
    """So many tasks that need nothing of each other, each so many minutes long, and a deadline in minutes."""

    tasks: int
    minutes: int
    deadline: int


def fan(tasks: int) -> DAG:
    """Tasks that need nothing of each other, and a report that needs all of them."""
    with DAG("night", max_active_tasks=tasks) as dag:
        [EmptyOperator(task_id=f"load_{n:04}") for n in range(tasks)] >> EmptyOperator(task_id="report")
    return dag


def minutes_on(nodes: Nodes, tasks: int, minutes: int) -> int:
    """How long these tasks and the report take, all of the same length."""
    (found,) = what_if(fan(tasks), [nodes], service_time=60.0 * minutes)
    return found.makespan // timedelta(minutes=1)


def nodes(tasks: int, minutes: int, deadline: int) -> int:
    rounds = deadline // minutes - 1
    return -(-tasks // rounds)


def nodes_start(tasks: int, minutes: int, deadline: int) -> int:
    return 0


def nodes_evenly(tasks: int, minutes: int, deadline: int) -> int:
    return -(-(tasks + 1) * minutes // deadline)


def nodes_without_report(tasks: int, minutes: int, deadline: int) -> int:
    return -(-tasks // (deadline // minutes))


def nodes_for_each(tasks: int, minutes: int, deadline: int) -> int:
    return tasks


MOST_NODES = 1000


def play_nodes(answer: Callable[[int, int, int], int], timeline: Timeline) -> Iterator[str]:
    """How long the tasks take on as many nodes as the answer says."""
    for step in timeline.steps:
        load: Load = step.given
        number = answer(*load)
        if type(number) is not int or not 1 <= number <= MOST_NODES:
            raise ValueError(f"the function must return a number of nodes, from 1 to {MOST_NODES}, not {number!r}")
        took = minutes_on(Nodes(number), load.tasks, load.minutes)
        verdict = "in time" if took <= load.deadline else "too late"
        yield f"nodes: {number}; done after {took} minutes, {verdict}"


def load(number: int, *given: int) -> Step:
    """A load and its deadline."""
    it = Load(*given)
    what = f"{it.tasks} tasks of {it.minutes} minutes and the report; {it.deadline} minutes"
    return Step(f"night {number}", what, it)


ENOUGH_NODES = Exercise(
    id="10-nodes",
    tier="target",
    kind="function",
    asked="Write a function `nodes(tasks, minutes, deadline)`. In a night, so many tasks need nothing of each other,"
    " and a report\nneeds all of them. Each takes `minutes` minutes, the report too. The function returns how few nodes"
    " with one slot will do\nfor the report to be ready after `deadline` minutes. (Nodes do not fail here, and nothing"
    " else takes any time.)",
    play=play_nodes,
    timelines=(
        Timeline("two nights", (load(1, 12, 10, 40), load(2, 10, 10, 55))),
        Timeline("other nights", (load(3, 100, 5, 60), load(4, 7, 30, 60), load(5, 9, 20, 190)), hidden=True),
    ),
    start=nodes_start,
    solution=nodes,
    why="Tasks are not cut in pieces: a node does one after the other, in rounds of `minutes`, and the last round"
    " belongs to the\nreport. What fits into the rounds before it tells how many nodes each of them needs.",
    beliefs=(
        Belief(
            "work-divides",
            "so many minutes of work, divided by the deadline, make so many nodes. A task is not divided, and the"
            " report waits for the last one.",
            nodes_evenly,
        ),
        Belief(
            "the-report-is-free",
            "the report is one task more and needs no time of its own. It cannot begin before all others are done.",
            nodes_without_report,
        ),
        Belief(
            "a-node-each",
            "the more nodes, the better. Most of them would do one task and then nothing.",
            nodes_for_each,
        ),
    ),
    hints=(
        "How many tasks can one node do, one after the other, before the report must begin?",
        "Whole rounds: `deadline // minutes`, and one of them is the report's.",
    ),
    misconceptions=(13,),
)

# --- which node is ill ------------------------------------------------------------------------------------------------

LOST_ON = f"""
    SELECT hostname, count(*) AS lost
    FROM (SELECT hostname, error FROM task_instance UNION ALL SELECT hostname, error FROM task_instance_history)
    WHERE error = '{LOST}'
    GROUP BY hostname
"""
LOST_ON_START = "SELECT hostname, count(*) AS lost FROM task_instance GROUP BY hostname"
FAILED_ON = "SELECT hostname, count(*) AS lost FROM task_instance_history GROUP BY hostname"
MADE_AGAIN_ON = f"SELECT hostname, count(*) AS lost FROM task_instance_history WHERE error = '{LOST}' GROUP BY hostname"
ENDED_ON = "SELECT hostname, sum(lost_attempts) AS lost FROM task_instance WHERE lost_attempts > 0 GROUP BY hostname"


class Night(NamedTuple):
    """Nodes that fail at moments of a `seed`, every `mtbf` seconds or so; `errors`: how many tasks meet an error of
    their own at first."""

    nodes: int
    seed: int
    errors: int
    mtbf: int = 3600


def night(errors: int) -> DAG:
    """Eight tasks, some of which meet an error at their first try."""
    names = [f"extract_{number}" for number in range(8)]

    def extract(ti: Any) -> None:
        if ti.try_number == 1 and ti.task_id in names[:errors]:
            raise AirflowException("the source does not answer")

    with DAG("night") as dag:
        for name in names:
            PythonOperator(task_id=name, python_callable=extract, retries=1, retry_delay=timedelta(minutes=1))
    return dag


def after(night_: Night) -> Lab:
    """A lab in which these tasks have run, ten minutes each."""
    kind = Nodes(night_.nodes, mtbf=night_.mtbf, mttr=600, notice=30)
    lab = Lab(start="2013-01-01", executor=SimulatedExecutor(kind, service_time=600, seed=night_.seed))
    lab.add(night(night_.errors)).trigger()
    lab.advance(hours=6)
    return lab


def play_lost_on(query: str, timeline: Timeline) -> Iterator[str]:
    """What the query answers after a night."""
    for step in timeline.steps:
        with after(step.given) as lab:
            answer = lab.sql(query)
        if not {"hostname", "lost"} <= set(answer):
            raise ValueError(f"the query must give the columns hostname and lost, not {listing(answer.columns)}")
        rows = sorted(zip(answer["hostname"], answer["lost"], strict=True))
        yield "\n".join(f"{hostname}  {lost:.0f}" for hostname, lost in rows) or "no rows"


def nights(*given: Night) -> tuple[Step, ...]:
    """Nights, one after the other."""
    said = "{} nodes fail now and then; {} tasks meet an error of their own"
    return tuple(Step(f"night {n}", said.format(each.nodes, each.errors), each) for n, each in enumerate(given, 1))


ILL = Exercise(
    id="10-lost",
    tier="stretch",
    kind="SQL",
    asked="Some node is ill. Write a query on the metadata database that gives `hostname` and `lost`: how many attempts"
    " were lost\nwith each node, for nodes that lost any. `task_instance` has the latest try of each task, and"
    " `task_instance_history` the\ntries before it, each with its state, hostname and error.",
    play=play_lost_on,
    timelines=(
        Timeline("two nodes", nights(Night(2, 3, 0), Night(2, 3, 2))),
        Timeline("more nodes", nights(Night(4, 2, 2), Night(3, 2, 0), Night(4, 3, 0)), hidden=True),
        Timeline("nodes that fail all the time", nights(Night(2, 8, 2, mtbf=900)), hidden=True),
    ),
    start=LOST_ON_START,
    solution=LOST_ON,
    why="An attempt that was lost is made again, so it is a try in the history. There its error says that its process"
    " died, and its\nhostname where. A task that is lost for the fourth time has failed: that is its latest try.",
    beliefs=(
        Belief(
            "every-failed-try",
            "a try that failed is the node's fault. Most have an error of their own, which any node would have met.",
            FAILED_ON,
        ),
        Belief(
            "where-it-ended",
            "the task's row says where its attempts were lost. It has the hostname of the latest try, which is the node"
            " that made it again.",
            ENDED_ON,
        ),
        Belief(
            "always-made-again",
            "whatever is lost is made again. At its fourth loss a task has failed, and that is its latest try.",
            MADE_AGAIN_ON,
        ),
    ),
    hints=(
        "The row of a task instance is that of its latest try. Where are the ones before?",
        "`SELECT DISTINCT error FROM task_instance_history` shows how tries ended that are not the latest.",
    ),
)

# --- predictions ------------------------------------------------------------------------------------------------------


TRIES = """
    SELECT try_number, state, hostname, error FROM task_instance_history
    UNION ALL SELECT try_number, state, hostname, coalesce(error, '') FROM task_instance ORDER BY try_number
"""


def see_killed() -> Seen:
    """What becomes of a task without retries whose node fails."""
    with DAG("weather") as dag:
        EmptyOperator(task_id="extract", retries=0)
    failing = Nodes(2, mtbf=3600, mttr=600, notice=30)
    with Lab(start="2013-01-01", executor=SimulatedExecutor(failing, service_time=600, seed=11)) as lab:
        lab.add(dag).trigger()
        lab.advance(hours=2)
        tries = lab.sql(TRIES).itertuples()
    *lost, last = (f"try {row.try_number} on {row.hostname}: {row.state} {row.error}".rstrip() for row in tries)
    return Seen("again" if lost and "success" in last else "failed", "\n".join([*lost, last]))


class Twice(Executor):
    """Delivers each message to a worker twice."""

    def __init__(self) -> None:
        self._orders: list[Work] = []

    def start(self, runner: TaskRunner) -> None:
        self._clock, self._worker = runner.clock, Worker(runner.store, runner.logs)

    def free_slots(self) -> int:
        return 1 - len(self._orders)

    def submit(self, work: Work) -> None:
        self._orders.append(work)

    def poll(self) -> list[Result]:
        found = []
        while self._orders:
            work = self._orders.pop()
            message = Reference.to(work, place_of(work.dag), self._clock)
            answers = [self._worker.run(message) for _ in range(2)]
            found += [answer._replace(work=work) for answer in answers if answer is not None]
        return found

    @property
    def in_flight(self) -> int:
        return len(self._orders)

    def stop(self, *, at_once: bool = False) -> None:
        self._worker.heartbeat.stop()


WRITES_A_LINE = """
from etlkit import DAG
from etlkit.operators import PythonOperator

def write_a_line():
    with open({file!r}, "a") as file:
        file.write("done\\n")

with DAG("writes"):
    PythonOperator(task_id="write", python_callable=write_a_line)
"""


def see_twice() -> Seen:
    """How often a task is made whose message comes twice."""
    with TemporaryDirectory() as folder:
        lines, file = Path(folder, "lines"), Path(folder, "writes.py")
        file.write_text(textwrap.dedent(WRITES_A_LINE.format(file=str(lines))), encoding="utf-8")
        with Lab(start="2013-01-01", executor=Twice()) as lab:
            lab.add(*load_dag_file(file)).trigger()
            tries = lab.task_instances(all_tries=True)["state"]
        made = lines.read_text(encoding="utf-8").count("done")
        return Seen(made, f"tries: {listing(tries)}; lines written: {made}")


def see_thousand() -> Seen:
    """How long 200 tasks and a report take on ten nodes and on a thousand."""
    took = {count: minutes_on(Nodes(count), 200, 5) for count in (10, 1000)}
    return Seen(took[1000], "\n".join(f"{count:>5,} nodes  {minutes:>3} minutes" for count, minutes in took.items()))


DAYS = 5


def see_failures() -> Seen:
    """How often one of a thousand nodes fails in a day, if each fails once in fifty days."""
    with DAG("hourly", schedule="@hourly") as dag:
        EmptyOperator(task_id="look")
    often = Nodes(1000, mtbf=50 * 86400.0, mttr=600)
    [found] = what_if(dag, [often], lambda lab: None, end=f"2013-01-{1 + DAYS:02}")
    failures = found.usage.failures
    return Seen(round(failures / DAYS, -1), f"{failures} failures in {DAYS} days")


PREDICTIONS = [
    Prediction(
        "10-twice",
        "A message in the queue says that a task is to be made. By mistake the broker delivers it twice. How often is"
        " the task made?",
        {
            "a": Choice(
                "once: a broker delivers each message exactly once", "never twice", "messages come exactly once."
            ),
            "b": Choice("twice", 2, "whoever gets a message does what it says."),
            "c": Choice("once: the second finds that the task is not queued", 1, "a message is a hint, which is so."),
        },
        see_twice,
        "A broker that never loses a message must now and then deliver one twice. So a worker asks the metadata"
        " database first, and there only one can take the task.",
    ),
    Prediction(
        "10-killed",
        "A task has `retries=0`. In the middle of its work, somebody kills the worker. What becomes of the task?",
        {
            "a": Choice("it is lost: nobody knows of it any more", None, "a killed worker loses the task."),
            "b": Choice("it has failed, as it may not be tried again", "failed", "to be killed is to fail."),
            "c": Choice("another worker makes it again", "again", "a lost attempt is made again, which is so."),
        },
        see_killed,
        "The task is a row in the metadata database, and no worker takes that along. It did nothing wrong, so what was"
        " lost does not count as a retry.",
        (9,),
    ),
    Prediction(
        "10-thousand",
        "200 tasks of five minutes need nothing of each other, and a report of five minutes needs all of them. On ten"
        " nodes, that is\ndone after 105 minutes. After how many on a thousand?",
        {
            "a": Choice("1", 1, "a hundred times the nodes are a hundred times as fast."),
            "b": Choice("5", 5, "with enough nodes, everything runs at once."),
            "c": Choice("10", 10, "no run is shorter than its longest path, which is so."),
        },
        see_thousand,
        "200 nodes would do as well. The others have nothing to do, and are paid for.",
        (13,),
    ),
    Prediction(
        "10-failures",
        "A node fails once in 50 days, on average. You have a thousand. How often does one of them fail?",
        {
            "a": Choice("about once in 50 days", 0, "more servers are safer."),
            "b": Choice("about once a day", 1, "more servers fail more often, but that is rare."),
            "c": Choice("about 20 times a day", 20, "a thousand fail a thousand times as often, which is so."),
        },
        see_failures,
        "What is rare on one node is daily on many. So a cluster must be built such that a failure is nothing special.",
    ),
]
EXERCISES = [ONCE, ENOUGH_NODES, ILL]
