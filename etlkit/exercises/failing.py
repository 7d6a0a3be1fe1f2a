"""Notebook 07: who is told of a failure, what a run's colour says, what skipping does, and what to try again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

from etlkit.dag import DAG, get_current_context
from etlkit.errors import AirflowFailException
from etlkit.exercises.definition import Belief, Choice, Exercise, Prediction, Seen, Step, Timeline
from etlkit.exercises.stage import Lab, listing, states
from etlkit.operators.empty import EmptyOperator
from etlkit.operators.python import BranchPythonOperator, PythonOperator
from etlkit.taskflow import task

Work = Callable[[], None]

# --- who is told ------------------------------------------------------------------------------------------------------


def told_each_time(work: Work, tell: Callable[[Any], None]) -> DAG:
    with DAG("told") as dag:
        PythonOperator(
            task_id="load", python_callable=work, retries=2, on_retry_callback=tell, on_failure_callback=tell
        )
    return dag


def told_each_time_start(work: Work, tell: Callable[[Any], None]) -> DAG:
    with DAG("told") as dag:
        PythonOperator(task_id="load", python_callable=work)
    return dag


def told_on_failure(work: Work, tell: Callable[[Any], None]) -> DAG:
    with DAG("told") as dag:
        PythonOperator(task_id="load", python_callable=work, retries=2, on_failure_callback=tell)
    return dag


def told_on_retry(work: Work, tell: Callable[[Any], None]) -> DAG:
    with DAG("told") as dag:
        PythonOperator(task_id="load", python_callable=work, retries=2, on_retry_callback=tell)
    return dag


def told_everything(work: Work, tell: Callable[[Any], None]) -> DAG:
    dag = told_each_time(work, tell)
    dag.get_task("load").on_success_callback = (tell,)
    return dag


def failing(times: int) -> Work:
    """Work that fails so many times, and then succeeds."""
    left = iter(range(times))

    def work() -> None:
        if next(left, None) is not None:
            raise ConnectionError("the source does not answer")

    return work


def play_callbacks(make: Callable[..., DAG], timeline: Timeline) -> Iterator[str]:
    """A run whose task fails so many times: the tries after which somebody was told, and how the run ended."""
    for step in timeline.steps:
        with Lab(start="2013-01-01") as lab:
            told: list[str] = []

            def tell(context: Any, lab: Lab = lab, told: list[str] = told) -> None:
                told.append(f"{lab.now:%H:%M}")

            dag = make(failing(step.given), tell)
            lab.add(dag)
            broken = watch_callbacks(dag)
            lab.trigger()
            lab.advance(hours=1)
            wrong = f"; a callback failed: {broken[0]}" if broken else ""
            yield f"told at {listing(told)}; the run: {lab.store.runs()[-1].state}{wrong}"


def watch_callbacks(dag: DAG) -> list[str]:
    """Where the errors of the callbacks of a DAG's tasks will be found; a run goes on without a word after one."""
    broken: list[str] = []

    def watched(callback: Callable[[Any], object]) -> Callable[[Any], object]:
        def call(context: Any) -> object:
            try:
                return callback(context)
            except Exception as error:
                broken.append(f"{type(error).__name__}: {error}")
                raise

        return call

    for each in dag.task_dict.values():
        for name in ("on_retry_callback", "on_failure_callback", "on_success_callback"):
            setattr(each, name, tuple(map(watched, getattr(each, name) or ())))
    return broken


CALLBACKS = Exercise(
    id="07-callbacks",
    tier="enough",
    kind="function",
    asked="Write a function `told_each_time(work, tell)` that makes a DAG with one task, which calls `work()` and has"
    " two retries.\nAfter every try that failed, and only then, `tell` is called with the context.",
    play=play_callbacks,
    timelines=(
        Timeline("it fails for good", (Step("run 1", "three tries fail", 3),)),
        Timeline(
            "it heals",
            (Step("run 1", "two tries fail, the third succeeds", 2), Step("run 2", "nothing fails", 0)),
            hidden=True,
        ),
    ),
    start=told_each_time_start,
    solution=told_each_time,
    why="on_retry_callback is called after a try that failed and is followed by another, on_failure_callback after"
    " the last.",
    beliefs=(
        Belief(
            "failure-is-every-try",
            "`on_failure_callback` fires on every try. It fires when the task has failed for good; a try that will be"
            " repeated is an up_for_retry.",
            told_on_failure,
        ),
        Belief(
            "retry-is-every-try",
            "`on_retry_callback` fires on every try that fails. Not on the last: nothing is tried again after it.",
            told_on_retry,
        ),
        Belief(
            "more-is-safer",
            "telling of successes too is on the safe side. Who is told of everything soon reads nothing.",
            told_everything,
        ),
    ),
    hints=(
        "Which states does the task go through if it fails twice and then succeeds?",
        "There is a callback for each of them: on_retry_callback, on_failure_callback, on_success_callback.",
    ),
    misconceptions=(14,),
)

# --- what green means -------------------------------------------------------------------------------------------------


def tidy_and_red(load: Work, tidy: Work) -> DAG:
    with DAG("tidy") as dag:
        loaded = PythonOperator(task_id="load", python_callable=load)
        tidied = PythonOperator(task_id="tidy", python_callable=tidy, trigger_rule="all_done")
        loaded >> [tidied, EmptyOperator(task_id="loaded")]
    return dag


def tidy_and_red_start(load: Work, tidy: Work) -> DAG:
    with DAG("tidy") as dag:
        PythonOperator(task_id="load", python_callable=load)
    return dag


def tidy_at_the_end(load: Work, tidy: Work) -> DAG:
    with DAG("tidy") as dag:
        loaded = PythonOperator(task_id="load", python_callable=load)
        loaded >> PythonOperator(task_id="tidy", python_callable=tidy, trigger_rule="all_done")
    return dag


def tidy_by_default(load: Work, tidy: Work) -> DAG:
    with DAG("tidy") as dag:
        loaded = PythonOperator(task_id="load", python_callable=load)
        loaded >> PythonOperator(task_id="tidy", python_callable=tidy)
    return dag


def tidy_on_failure(load: Work, tidy: Work) -> DAG:
    with DAG("tidy") as dag:
        loaded = PythonOperator(task_id="load", python_callable=load)
        tidied = PythonOperator(task_id="tidy", python_callable=tidy, trigger_rule="one_failed")
        loaded >> [tidied, EmptyOperator(task_id="loaded")]
    return dag


def play_tidying(make: Callable[..., DAG], timeline: Timeline) -> Iterator[str]:
    """A run whose load fails or not: what ran, in which order and how many tasks, and the state of the run."""
    for step in timeline.steps:
        done: list[str] = []

        tasks: set[str] = set()

        def load(done: list[str] = done, tasks: set[str] = tasks, fails: bool = step.given) -> None:
            done.append("load")
            tasks.add(get_current_context()["ti"].task_id)
            if fails:
                raise ConnectionError("the source does not answer")

        def tidy(done: list[str] = done, tasks: set[str] = tasks) -> None:
            done.append("tidy")
            tasks.add(get_current_context()["ti"].task_id)

        with Lab(start="2013-01-01") as lab:
            lab.add(make(load, tidy)).trigger()
            lab.advance(hours=1)
            yield f"ran: {listing(done)}; in tasks of their own: {len(tasks)}; the run: {lab.store.runs()[-1].state}"


GREEN = Exercise(
    id="07-green",
    tier="target",
    kind="function",
    asked="Write a function `tidy_and_red(load, tidy)` that makes a DAG. `load()` is called in a task; after it, in"
    " another,\n`tidy()`, whether the load succeeded or failed. The run must be failed if the load failed, and a"
    " success otherwise.",
    play=play_tidying,
    timelines=(
        Timeline(
            "with and without failure", (Step("run 1", "the load succeeds", False), Step("run 2", "it fails", True))
        ),
    ),
    start=tidy_and_red_start,
    solution=tidy_and_red,
    why="A run is what its leaves are. `tidy` alone at the end would hide the failure; a second leaf that needs the"
    " load's success shows it.",
    beliefs=(
        Belief(
            "green-is-all-green",
            "a green run means that all its tasks are. Only the leaves count: a last task with `all_done` that succeeds"
            " turns a failed run green.",
            tidy_at_the_end,
        ),
        Belief(
            "after-is-always",
            "a task that comes after another runs after it in any case. By default only if that one succeeded.",
            tidy_by_default,
        ),
        Belief(
            "rules-about-failure",
            "tidying up is for failures. It was to happen in any case: that is `all_done`.",
            tidy_on_failure,
        ),
    ),
    hints=(
        "Which trigger rule runs a task in any case?",
        "Which tasks have nothing after them? They decide what the run is.",
    ),
    misconceptions=(15,),
)

# --- what skipping does -----------------------------------------------------------------------------------------------


def branching(choose: Callable[[], list[str]], rain: Work, dry: Work, report: Work, rule: str) -> DAG:
    with DAG("branching") as dag:
        branch = BranchPythonOperator(task_id="choose", python_callable=choose)
        paths = [
            PythonOperator(task_id="rain", python_callable=rain),
            PythonOperator(task_id="dry", python_callable=dry),
        ]
        branch >> paths >> PythonOperator(task_id="report", python_callable=report, trigger_rule=rule)
    return dag


def play_branches(rule: str, timeline: Timeline) -> Iterator[str]:
    """A run that chooses one path or both, one of which may fail: what becomes of the report."""
    for step in timeline.steps:
        chosen, broken = step.given
        path = {name: failing(int(name == broken)) for name in ("rain", "dry")}
        with Lab(start="2013-01-01") as lab:
            lab.add(branching(choosing(chosen), path["rain"], path["dry"], lambda: None, rule)).trigger()
            yield f"report: {states(lab)['report']}"


def choosing(paths: list[str]) -> Callable[[], list[str]]:
    """A choice that has been made."""
    return lambda: paths


BOTH = ["rain", "dry"]
SKIPPED = Exercise(
    id="07-skipped",
    tier="target",
    kind="value",
    asked="A DAG chooses one of two paths or both, and each leads to a report: choose >> [rain, dry] >> report."
    "\nWhich trigger rule, as a text, must `report` have? It must run after what was chosen, and must not run if any of"
    "\nthat failed.",
    play=play_branches,
    timelines=(
        Timeline(
            "a path each",
            (Step("run 1", "`rain` is chosen", (["rain"], None)), Step("run 2", "`dry` is chosen", (["dry"], None))),
        ),
        Timeline("a failure", (Step("run 3", "`rain` is chosen and fails", (["rain"], "rain")),), hidden=True),
        Timeline("both paths", (Step("run 4", "both are chosen, `dry` fails", (BOTH, "dry")),), hidden=True),
    ),
    start="",
    solution="none_failed_min_one_success",
    why="The path that was not chosen is skipped. This rule wants no failure, and at least one success; skipped ones"
    " may be.",
    beliefs=(
        Belief(
            "skipped-is-ignored",
            "a task that is skipped is ignored. By default a task runs only if all before it succeeded, and skipped"
            " is not success: it is skipped too.",
            "all_success",
        ),
        Belief(
            "done-is-enough",
            "`all_done` waits for the paths, so it is right. It also runs after a failure, and reports on nothing.",
            "all_done",
        ),
        Belief(
            "one-is-enough",
            "`one_success` is for a fork, since one path succeeds. But a choice may"
            " be of two: then one may fail, and the report is made without it.",
            "one_success",
        ),
    ),
    hints=(
        "Print `lab.task_instances()`: which state has the path that was not chosen?",
        "Some rules have `none_failed` in them.",
    ),
    misconceptions=(15,),
)


# --- which failures are worth another try -----------------------------------------------------------------------------

Ask = Callable[[], None]


def patient_extract(ask: Ask) -> DAG:
    with DAG("patient") as dag:

        @task(retries=5, retry_delay=timedelta(minutes=5), retry_exponential_backoff=True)
        def extract() -> None:
            try:
                ask()
            except PermissionError as error:
                raise AirflowFailException(str(error)) from error

        extract()
    return dag


def asking(ask: Ask, **retrying: Any) -> DAG:
    with DAG("patient") as dag:
        PythonOperator(task_id="extract", python_callable=ask, **retrying)
    return dag


def unless_refused(ask: Ask) -> Ask:
    """The same, but a wrong key is final."""

    def extract() -> None:
        try:
            ask()
        except PermissionError as error:
            raise AirflowFailException(str(error)) from error

    return extract


def patient_extract_start(ask: Ask) -> DAG:
    return asking(lambda: None)


def patient_in_equal_steps(ask: Ask) -> DAG:
    return asking(unless_refused(ask), retries=5, retry_delay=timedelta(minutes=5))


def patient_by_hammering(ask: Ask) -> DAG:
    return asking(unless_refused(ask), retries=100, retry_delay=timedelta(minutes=1))


def patient_by_sleeping(ask: Ask) -> DAG:
    return asking(unless_refused(ask), retries=2, retry_delay=timedelta(hours=1))


def patient_with_everything(ask: Ask) -> DAG:
    return asking(ask, retries=5, retry_delay=timedelta(minutes=5), retry_exponential_backoff=True)


def patient_with_nothing(ask: Ask) -> DAG:
    def extract() -> None:
        try:
            ask()
        except Exception as error:
            raise AirflowFailException(str(error)) from error

    return asking(extract, retries=5, retry_delay=timedelta(minutes=5), retry_exponential_backoff=True)


def play_outages(make: Callable[[Ask], DAG], timeline: Timeline) -> Iterator[str]:
    """A run that meets an outage of so many minutes, or for None a wrong key; whether it got over it, and how."""
    for step in timeline.steps:
        calls: list[datetime] = []
        with Lab(start="2013-01-01") as lab:
            lab.add(make(answering(lab, step.given, calls))).trigger()
            lab.advance(minutes=10)
            soon = lab.store.runs()[-1].state == "success"
            lab.advance(hours=6)
            yield told_of_calls(step.given, len(calls), soon, lab.store.runs()[-1].state)


def answering(lab: Lab, minutes: int | None, calls: list[datetime]) -> Ask:
    """A service that is down for so long, or for None does not take the key."""
    up = lab.now + timedelta(minutes=minutes or 0)

    def ask() -> None:
        calls.append(lab.now)
        if minutes is None:
            raise PermissionError("401: the key is wrong")
        if lab.now < up:
            raise ConnectionError("the service does not answer")

    return ask


def told_of_calls(minutes: int | None, calls: int, soon: bool, state: str) -> str:
    """What is asked for, and no more: an answer may choose its own waits."""
    many = {0: "no call", 1: "one call"}.get(calls, "at most six calls" if calls <= 6 else "more than six calls")
    when = "" if minutes != 1 else ", within ten minutes" if soon else ", not within ten minutes"
    return f"the run: {state}{when}; {many}"


PATIENCE = Exercise(
    id="07-patience",
    tier="stretch",
    kind="function",
    asked="Write a function `patient_extract(ask)` that makes a DAG with one task, which calls `ask()`. That raises\n"
    "ConnectionError while the service is down, and PermissionError if the key is wrong. After an outage of an hour"
    " the run\nmust succeed, with at most six calls; after one of a minute, within ten minutes. A wrong key must fail"
    " the run at the\nfirst call.",
    play=play_outages,
    timelines=(
        Timeline(
            "two outages and a wrong key",
            (
                Step("run 1", "the service is down for a minute", 1),
                Step("run 2", "it is down for an hour", 60),
                Step("run 3", "the key is wrong", None),
            ),
        ),
        Timeline("another outage", (Step("run 4", "the service is down for half an hour", 30),), hidden=True),
    ),
    start=patient_extract_start,
    solution=patient_extract,
    why="Waits that double are short at first and reach far with few tries. What no try can heal is raised as"
    " AirflowFailException, and nobody waits for it.",
    beliefs=(
        Belief(
            "some-retries-do",
            "a few retries get over any outage. They reach as far as their waits add up to: five times five minutes"
            " are 25.",
            patient_in_equal_steps,
        ),
        Belief(
            "more-tries-are-better",
            "the more often I ask, the better. A service that is down gets up no sooner, and many limit how often one"
            " may ask.",
            patient_by_hammering,
        ),
        Belief(
            "wait-long-enough",
            "wait once, for as long as an outage may last. Then a failure of a minute costs an hour.",
            patient_by_sleeping,
        ),
        Belief(
            "failures-are-alike",
            "each failure is worth another try. A wrong key stays wrong, and the failure is told an hour late.",
            patient_with_everything,
        ),
        Belief(
            "catch-them-all",
            "AirflowFailException is for whatever goes wrong. It says that no try will help, so an outage of a minute"
            " fails the run.",
            patient_with_nothing,
        ),
    ),
    hints=(
        "How many minutes do waits of 5, 10, 20 and 40 minutes add up to?",
        "retry_exponential_backoff=True; and catch PermissionError inside the task.",
        "What may a task raise so that it is not tried again?",
    ),
)


def see_callbacks() -> Seen:
    with Lab(start="2013-01-01") as lab:
        calls: list[str] = []
        lab.add(told_on_failure(failing(2), lambda context: calls.append("called"))).trigger()
        lab.advance(hours=1)
        return Seen(len(calls), f"{lab.trace(task='load')}\non_failure_callback was called {len(calls)} times")


def see_green() -> Seen:
    with Lab(start="2013-01-01") as lab:
        lab.add(tidy_at_the_end(failing(1), lambda: None)).trigger()
        state = str(lab.store.runs()[-1].state)
        return Seen(state, "\n".join([*(f"{task}: {its}" for task, its in states(lab).items()), f"the run: {state}"]))


PREDICTIONS = [
    Prediction(
        "07-told",
        "A task has two retries and an `on_failure_callback`. It fails twice and then succeeds."
        " How often is the callback called?",
        {
            "a": Choice("twice", 2, "`on_failure_callback` fires on every try."),
            "b": Choice("never", 0, "a task that succeeds in the end has not failed, which is so."),
            "c": Choice("once", 1, "it fires at the first failure."),
        },
        see_callbacks,
        "The two tries that failed made it up_for_retry, which has a callback of its own.",
        (14,),
    ),
    Prediction(
        "07-colour",
        "load >> tidy, where `tidy` has the trigger rule `all_done`. The load fails, `tidy` succeeds. What is the run?",
        {
            "a": Choice("failed", "failed", "a run in which a task failed has failed."),
            "b": Choice("success", "success", "a run is what its leaves are, which is so."),
        },
        see_green,
        "`tidy` is the only leaf, and it succeeded. The run is green over a failed load.",
        (15,),
    ),
]
EXERCISES = [CALLBACKS, GREEN, SKIPPED, PATIENCE]
