"""Notebook 08: when a setting is read, which one counts, and where a secret must not be left."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from etlkit.config import settings
from etlkit.connections import Connection
from etlkit.dag import DAG
from etlkit.exercises.definition import Belief, Choice, Exercise, Prediction, Seen, Step, Timeline
from etlkit.exercises.stage import Lab, errors, listing
from etlkit.operators.python import PythonOperator
from etlkit.taskflow import task
from etlkit.variables import Variable

# --- when a setting is read -------------------------------------------------------------------------------------------


def read_late(read: Callable[[str], None]) -> DAG:
    with DAG("late") as dag:

        @task
        def extract() -> None:
            read(Variable.get("airport"))

        extract()
    return dag


def read_late_start(read: Callable[[str], None]) -> DAG:
    with DAG("late") as dag:

        @task
        def extract() -> None: ...

        extract()
    return dag


def read_in_the_file(read: Callable[[str], None]) -> DAG:
    airport = Variable.get("airport", default="EWR")
    with DAG("late") as dag:

        @task
        def extract() -> None:
            read(airport)

        extract()
    return dag


def read_as_written(read: Callable[[str], None]) -> DAG:
    with DAG("late") as dag:
        PythonOperator(task_id="extract", python_callable=lambda: read("EWR"))
    return dag


def play_changing(make: Callable[..., DAG], timeline: Timeline) -> Iterator[str]:
    """A run after each change of the Variable; the file is read once, at the start. What the runs read."""
    with tempfile.TemporaryDirectory() as folder:
        database = f"sqlite:///{Path(folder) / 'etlkit.db'}"
        with (
            settings({"ETLKIT__DATABASE__SQL_ALCHEMY_CONN": database}),
            Lab(start="2013-01-01", database=database) as lab,
        ):
            got: list[str] = []
            lab.variables.set("airport", "EWR")
            lab.add(make(got.append))
            for step in timeline.steps:
                lab.variables.set("airport", step.given)
                lab.advance(minutes=1).trigger()
                yield f"read: {listing(got)}"


LATE = Exercise(
    id="08-late",
    tier="enough",
    kind="function",
    asked="Write a function `read_late(read)` that makes a DAG with one task. It calls `read(airport)` with the value"
    " that the\nVariable `airport` has when the task runs.",
    play=play_changing,
    timelines=(
        Timeline("it stays", (Step("run 1", "the Variable is EWR, as when the file was read", "EWR"),)),
        Timeline(
            "it changes",
            (
                Step("run 1", "somebody has set it to JFK", "JFK"),
                Step("run 2", "somebody has set it to LGA", "LGA"),
            ),
        ),
    ),
    start=read_late_start,
    solution=read_late,
    why="What a task should know when it runs, it asks when it runs. It also saves a query each time the file is read.",
    beliefs=(
        Belief(
            "read-where-written",
            "Variable.get at the top of the file gives each run the value of the moment. It gives the value of when the"
            " file was read, and asks the database every time that happens.",
            read_in_the_file,
        ),
    ),
    hints=("When does the top level of a DAG file run, and when does a task?", "Call Variable.get inside the task."),
    misconceptions=(11,),
)

# --- where a secret is left -------------------------------------------------------------------------------------------

PASSWORD = "correct-horse-battery-staple"


def log_in_and_send(log_in: Callable[[str], str], send: Callable[[str, str], None]) -> DAG:
    with DAG("secrets") as dag:

        @task
        def extract() -> str:
            return log_in(Connection.get("service").password or "")

        @task
        def load(rows: str) -> None:
            send(rows, Connection.get("service").password or "")

        load(extract())
    return dag


def log_in_and_send_start(log_in: Callable[[str], str], send: Callable[[str, str], None]) -> DAG:
    with DAG("secrets") as dag:

        @task
        def extract() -> None: ...

        extract()
    return dag


def log_in_and_hand_over(log_in: Callable[[str], str], send: Callable[[str, str], None]) -> DAG:
    with DAG("secrets") as dag:

        @task
        def extract() -> dict[str, str]:
            password = Connection.get("service").password or ""
            return {"rows": log_in(password), "password": password}

        @task
        def load(found: dict[str, str]) -> None:
            send(found["rows"], found["password"])

        load(extract())
    return dag


def log_in_and_print_it_disguised(log_in: Callable[[str], str], send: Callable[[str, str], None]) -> DAG:
    dag = log_in_and_send(log_in, send)
    with dag:
        PythonOperator(
            task_id="debug", python_callable=lambda: print(" ".join(Connection.get("service").password or ""))
        )
    return dag


def play_leaks(make: Callable[..., DAG], timeline: Timeline) -> Iterator[str]:
    """A run with a password; whether the service was used, and where the password can be read afterwards."""
    for step in timeline.steps:
        with Lab(start="2013-01-01") as lab:
            lab.connections.set(Connection("service", "http", host="example.org", login="reader", password=PASSWORD))
            sent: list[str] = []

            def log_in(password: str, rows: str = step.given) -> str:
                return rows if password == PASSWORD else "refused"

            def send(rows: str, password: str, sent: list[str] = sent) -> None:
                sent.append(rows if password == PASSWORD else "refused")

            lab.add(make(log_in, send)).trigger()
            seen = f"sent: {listing(sent)}; the password can be read in: {listing(leaks(lab))}"
            yield "\n".join([seen, *errors(lab).splitlines()])


def leaks(lab: Lab) -> list[str]:
    """Where the password is found, blanks aside: in the XComs, or in the tasks' logs."""
    xcoms = "".join(value for (value,) in lab.store.run_sql("SELECT value FROM xcom").fetchall())
    logs = "".join(str(lab.log(ti.task_id)) for ti in lab.store.task_instances(lab.store.runs()[-1].id))
    places = {"XComs": xcoms, "logs": logs}
    return [name for name, text in places.items() if PASSWORD in text.replace(" ", "")]


NO_LEAK = Exercise(
    id="08-no-leak",
    tier="target",
    kind="function",
    asked="Write a function `log_in_and_send(log_in, send)` that makes a DAG with two tasks. The first calls"
    " `log_in(password)`,\nwhich gives rows; the second `send(rows, password)`. The password is that of the"
    " Connection `service`. It must be\nfound in no XCom and no log.",
    play=play_leaks,
    timelines=(
        Timeline("a run", (Step("run 1", "26 rows", "26 rows"),)),
        Timeline("another", (Step("run 2", "no row", "nothing"),), hidden=True),
    ),
    start=log_in_and_send_start,
    solution=log_in_and_send,
    why="Each task asks for the secret where it needs it, and hands on only data. Connections are encrypted; XComs"
    " are not.",
    beliefs=(
        Belief(
            "xcom-is-private",
            "what one task returns only the next one sees. An XCom is a row in the metadata database, in plain text,"
            " for all who may read it.",
            log_in_and_hand_over,
        ),
        Belief(
            "masking-hides-all",
            "whatever I print is masked. The masker knows the secret as it is spelled; one that was taken apart it"
            " does not know.",
            log_in_and_print_it_disguised,
        ),
    ),
    hints=(
        "`lab.xcoms()` shows what tasks left for each other.",
        "Can the second task ask for the Connection itself?",
    ),
)

# --- which setting counts ---------------------------------------------------------------------------------------------


def which(environment: str | None, database: str | None, default: str) -> str:
    if environment is not None:
        return environment
    return default if database is None else database


def which_start(environment: str | None, database: str | None, default: str) -> str:
    return ""


def which_database_first(environment: str | None, database: str | None, default: str) -> str:
    return which(database, environment, default)


def which_is_not_empty(environment: str | None, database: str | None, default: str) -> str:
    return environment or database or default


def play_which(which: Callable[[str | None, str | None, str], str], timeline: Timeline) -> Iterator[str]:
    """What a Variable is said to be."""
    for step in timeline.steps:
        yield f"the Variable is {which(*step.given)!r}"


WHICH = Exercise(
    id="08-which",
    tier="stretch",
    kind="function",
    asked="Write a function `which(environment, database, default)`: what Variable.get(key, default) gives, when the"
    " environment\nvariable ETLKIT_VAR_... and the metadata database hold these values. None stands for: not there.",
    play=play_which,
    timelines=(
        Timeline(
            "one place or two",
            (
                Step("1", "in the database alone", (None, "JFK", "EWR")),
                Step("2", "in the environment alone", ("LGA", None, "EWR")),
                Step("3", "in both", ("LGA", "JFK", "EWR")),
            ),
        ),
        Timeline(
            "empty and nowhere",
            (Step("1", "nowhere", (None, None, "EWR")), Step("2", "empty in the environment", ("", "JFK", "EWR"))),
            hidden=True,
        ),
    ),
    start=which_start,
    solution=which,
    why="The environment comes first, so one machine can differ without a change for all; then the database, then the"
    " default. An empty text is a value.",
    beliefs=(
        Belief(
            "database-first",
            "what was set by hand in the database comes first. The environment does, and hides it.",
            which_database_first,
        ),
        Belief(
            "empty-is-missing", "an empty value is a missing one. It is a value, and it counts.", which_is_not_empty
        ),
    ),
    hints=("Try it: `lab.variables.set(...)`, and the environment of your process.",),
)


def see_masking() -> Seen:
    with Lab(start="2013-01-01") as lab:
        lab.connections.set(Connection("service", "http", password=PASSWORD))
        with DAG("masked") as dag:

            @task
            def extract() -> str:
                password = Connection.get("service").password or ""
                print(f"the password is {password}")
                return password

            extract()
        lab.add(dag).trigger()
        found = leaks(lab)
        return Seen(tuple(found), f"{str(lab.log('extract')).rstrip()}\nthe password can be read in: {listing(found)}")


PREDICTIONS = [
    Prediction(
        "08-leak",
        "A task prints a Connection's password, and returns it. Where can it be read afterwards?",
        {
            "a": Choice("in the log and in the XCom", ("XComs", "logs"), "what is printed is printed."),
            "b": Choice("in the XCom alone", ("XComs",), "logs are masked and XComs are not, which is so."),
            "c": Choice("nowhere", (), "secrets are masked everywhere."),
        },
        see_masking,
        "The masker cleans what is written for people. An XCom is data for the next task, which needs it whole.",
    ),
]
EXERCISES = [LATE, NO_LEAK, WHICH]
