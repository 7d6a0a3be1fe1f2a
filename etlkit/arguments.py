"""What DAGs, groups and tasks can be told, and which values are refused.

`TaskArguments` lists the arguments of every task with their defaults; `CHECKS` says what each value must be. A check
takes what the value is for and the value, and gives it back in its one form, or raises a DagError that says what to
write instead.

>>> check_at_least("task 'load': retries", 1.5, 0)
Traceback (most recent call last):
etlkit.errors.DagError: task 'load': retries must be a whole number of 0 or more, not 1.5
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from etlkit.assets import Asset, AssetRef, check_assets, check_outlets
from etlkit.errors import DagError, ParamValidationError, nearest
from etlkit.params import ParamsDict
from etlkit.rules import TRIGGER_RULES

Callback = Callable[[Mapping[str, Any]], object]

_ID = re.compile(r"[\w.-]+")


def check_id(what: str, identifier: str, *, most: int = 250) -> str:
    """`identifier` if it may name a DAG, task or group: letters and digits of any script, dots, dashes, underscores.

    At most 250 characters, as in Airflow; DagError otherwise.

    >>> check_id("task_id", "load weather")
    Traceback (most recent call last):
    etlkit.errors.DagError: task_id 'load weather' may hold only letters, digits, '.', '-' and '_'; try 'load_weather'
    """
    if not isinstance(identifier, str) or not identifier:
        raise DagError(f"{what} must be a non-empty string, not {identifier!r}")
    if not _ID.fullmatch(identifier):
        legal = re.sub(r"[^\w.-]+", "_", identifier).strip("_")
        hint = f"; try {legal!r}" if legal else ""
        raise DagError(f"{what} {identifier!r} may hold only letters, digits, '.', '-' and '_'{hint}")
    if len(identifier) > most:
        raise DagError(f"{what} {identifier[:20]!r}… has {len(identifier)} characters; {most} are allowed")
    return identifier


def check_date(what: str, value: datetime | None) -> datetime | None:
    """`value` if it is None or a datetime with a time zone; DagError otherwise.

    A date without a zone means another instant on every machine, so the kit does not guess.
    """
    if value is None:
        return None
    if not isinstance(value, datetime):
        raise DagError(f"{what} must be a datetime, not {value!r}; write datetime(2013, 1, 1, tzinfo=timezone.utc)")
    if value.tzinfo is None or value.utcoffset() is None:
        raise DagError(f"{what} {value!r} has no time zone; add tzinfo=timezone.utc, or use pendulum.datetime(...)")
    return value


CENTURY = timedelta(days=36_525)


def check_seconds(what: str, value: timedelta | float | None) -> timedelta | None:
    """`value` as a timedelta that is not negative; a bare number means seconds. DagError otherwise.

    What is longer than a century is refused too: an instant so far off may not exist.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if not abs(value) <= CENTURY.total_seconds():
            raise DagError(f"{what} of {value!r} seconds is longer than a hundred years; leave it out for no limit")
        value = timedelta(seconds=value)
    if isinstance(value, timedelta) and value > CENTURY:
        raise DagError(f"{what} of {value} is longer than a hundred years; leave it out for no limit")
    if value is not None and (not isinstance(value, timedelta) or value < timedelta(0)):
        raise DagError(f"{what} must be a timedelta (or seconds) of zero or more, not {value!r}")
    return value


def check_at_least(what: str, value: int, least: int) -> int:
    """`value` if it is a whole number of `least` or more; DagError otherwise."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise DagError(f"{what} must be a whole number of {least} or more, not {value!r}")
    return value


def check_whole(what: str, value: int) -> int:
    """`value` if it is a whole number; DagError otherwise."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise DagError(f"{what} must be a whole number, not {value!r}")
    return value


def check_bool(what: str, value: bool) -> bool:
    """`value` if it is True or False; DagError otherwise."""
    if not isinstance(value, bool):
        raise DagError(f"{what} must be True or False, not {value!r}")
    return value


def check_backoff(what: str, value: bool | float) -> bool | float:
    """`value` if it is True, False or the number that the delay is multiplied by each time; DagError otherwise."""
    if not isinstance(value, (int, float)) or value < 0:
        raise DagError(f"{what} must be True, False or a number to multiply with, not {value!r}")
    return value


def check_known(what: str, value: str, known: Iterable[str]) -> str:
    """`value` if it is one of the names in `known`; DagError with the nearest one otherwise."""
    known = tuple(known)
    if value not in known:
        hint = nearest(str(value), known) or f"; known are {', '.join(known)}"
        raise DagError(f"{what} cannot be {value!r}{hint}")
    return str(value)


def check_queue(what: str, value: str) -> str:
    """`value` as the name of one queue; a comma would be read as several."""
    if not isinstance(value, str) or not value.strip() or "," in value:
        raise DagError(f"{what} must be the name of one queue, not {value!r}")
    return value


def check_params(what: str, value: Mapping[str, Any] | None) -> ParamsDict:
    """`value` as params by name; DagError unless it is a dict of names and what JSON can hold."""
    if not isinstance(value, (Mapping, type(None))):
        raise DagError(f"{what} must be a dict of names and defaults (or Params), not {value!r}")
    try:
        return ParamsDict(value)
    except ParamValidationError as error:
        raise DagError(f"{what}: {error}") from None


def check_order(what: str, start: datetime | None, end: datetime | None) -> None:
    """DagError if `end` comes before `start`."""
    if start and end and end < start:
        raise DagError(f"{what}: end_date {end} is before start_date {start}")


def as_callbacks(what: str, value: Callback | Sequence[Callback] | None) -> tuple[Callback, ...]:
    """One callback, several or none, as a tuple; DagError for what cannot be called."""
    callbacks = () if value is None else tuple(value) if isinstance(value, (list, tuple)) else (value,)
    for callback in callbacks:
        if not callable(callback):
            raise DagError(f"{what} must be a function (or a list of them), not {callback!r}")
    return callbacks


def as_folders(what: str, value: str | Path | Iterable[str | Path] | None) -> tuple[str, ...]:
    """One folder, several or none, as texts; DagError for what is none."""
    folders = [value] if isinstance(value, (str, Path)) else [*(value or ())]
    for folder in folders:
        if not isinstance(folder, (str, Path)):
            raise DagError(f"{what} must be the path of a folder (or a list of them), not {folder!r}")
    return tuple(str(folder) for folder in folders)


class TaskArguments:
    """What any task can be told, each with what holds when it is not.

    They are class attributes: a task stores only what it was told, which keeps a DAG of 100,000 tasks small. Times are
    timedeltas, or seconds. `CHECKS` says which values are refused.
    """

    owner: str = "etlkit"
    doc_md: str | None = None
    params: Mapping[str, Any] = MappingProxyType({})

    # When a try fails.
    retries: int = 0
    """How many more tries a failure gets."""
    retry_delay: timedelta = timedelta(minutes=5)
    retry_exponential_backoff: bool | float = False
    """True doubles `retry_delay` each time, a number multiplies it, up to `max_retry_delay`."""
    max_retry_delay: timedelta | None = None
    execution_timeout: timedelta | None = None

    # When it may start.
    trigger_rule: str = "all_success"
    """Which states of the tasks before it let it run: see `etlkit.rules`."""
    start_date: datetime | None = None
    end_date: datetime | None = None
    """Aware datetimes that bound the logical dates for which the task gets an instance."""
    depends_on_past: bool = False
    """Wait for this task's instance in the run before to have succeeded or been skipped."""
    wait_for_downstream: bool = False
    """The same, and for the tasks directly below that instance too."""

    # Who goes first when slots are few.
    pool: str = "default_pool"
    pool_slots: int = 1
    priority_weight: int = 1
    weight_rule: str = "downstream"
    queue: str = "default"
    """Which Celery workers may take it: those that were started with this name among their `--queues`."""
    max_active_tis_per_dag: int | None = None
    max_active_tis_per_dagrun: int | None = None
    """How many instances of a mapped task may be active at once in one run."""

    # Functions of the context, called when it starts or ends; `on_failure_callback` after the last try, not every one.
    on_execute_callback: tuple[Callback, ...] = ()
    on_success_callback: tuple[Callback, ...] = ()
    on_failure_callback: tuple[Callback, ...] = ()
    on_retry_callback: tuple[Callback, ...] = ()
    on_skipped_callback: tuple[Callback, ...] = ()

    # What becomes of its result.
    do_xcom_push: bool = True
    """Push what `execute` returns as the XCom `return_value`, unless it is None."""
    multiple_outputs: bool = False
    """The result is a dict; push each of its keys too."""

    map_index_template: str | None = None
    """A template for the name of each instance of a mapped task: `"{{ task.op_kwargs['airport'] }}"`."""

    outlets: tuple[Asset, ...] = ()
    """The assets that it makes: each has a new event when the task succeeds. One or a list; see `etlkit.assets`."""
    inlets: tuple[Asset | AssetRef, ...] = ()
    """The assets that it reads, whose events it finds in `inlet_events`."""

    render_template_as_native_obj: bool | None = None
    """Render templates to Python values, not to text; None is what the DAG says."""


WEIGHT_RULES = ("downstream", "upstream", "absolute")

CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "params": check_params,
    "retries": partial(check_at_least, least=0),
    "retry_delay": check_seconds,
    "retry_exponential_backoff": check_backoff,
    "max_retry_delay": check_seconds,
    "execution_timeout": check_seconds,
    "trigger_rule": partial(check_known, known=TRIGGER_RULES),
    "start_date": check_date,
    "end_date": check_date,
    "depends_on_past": check_bool,
    "wait_for_downstream": check_bool,
    "pool_slots": partial(check_at_least, least=1),
    "priority_weight": check_whole,
    "weight_rule": partial(check_known, known=WEIGHT_RULES),
    "queue": check_queue,
    "max_active_tis_per_dag": partial(check_at_least, least=1),
    "max_active_tis_per_dagrun": partial(check_at_least, least=1),
    "on_execute_callback": as_callbacks,
    "on_success_callback": as_callbacks,
    "on_failure_callback": as_callbacks,
    "on_retry_callback": as_callbacks,
    "on_skipped_callback": as_callbacks,
    "do_xcom_push": check_bool,
    "multiple_outputs": check_bool,
    "outlets": check_outlets,
    "inlets": check_assets,
    "render_template_as_native_obj": check_bool,
}
"""How the value of a task's argument is checked and put into its one form."""


TASK_ARGUMENTS = frozenset(TaskArguments.__annotations__)
"""The names of the arguments that every task takes."""


class Parameters(NamedTuple):
    """What a class can be called with: all its parameters, those its own `__init__` must have, those its bases lack."""

    all: dict[str, inspect.Parameter]
    required: frozenset[str]
    own: frozenset[str]


@cache
def parameters_of(cls: type) -> Parameters:
    """What `cls(...)` takes: the parameters of its `__init__`, and of its bases' while `**kwargs` hands the rest on.

    Those of `TaskArguments` come with the class that is built on it, `BaseOperator`; "own" are those of the others.
    """
    found: dict[str, inspect.Parameter] = {}
    required: frozenset[str] | None = None
    own: set[str] = set()
    for base, parameters in _constructors(cls):
        if required is None:  # What a base must have, the class may give it by itself.
            required = frozenset(p.name for p in parameters if p.default is p.empty)
        for parameter in parameters:
            # Behind **kwargs a parameter can only be given by its name.
            found.setdefault(parameter.name, parameter.replace(kind=parameter.KEYWORD_ONLY) if found else parameter)
        if TaskArguments in base.__bases__:
            for name in TaskArguments.__annotations__:
                default = getattr(TaskArguments, name)
                found.setdefault(name, inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default))
        else:
            own.update(parameter.name for parameter in parameters)
    return Parameters(found, required or frozenset(), frozenset(own))


def _constructors(cls: type) -> Iterator[tuple[type, list[inspect.Parameter]]]:
    for base in cls.__mro__:
        if "__init__" in vars(base) and base is not object:
            parameters = list(inspect.signature(vars(base)["__init__"]).parameters.values())[1:]
            yield base, [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
            if not any(p.kind is p.VAR_KEYWORD for p in parameters):
                return


NEW_NAMES = {
    "concurrency": "max_active_tasks",
    "schedule_interval": "schedule",
    "timetable": "schedule",
    "task_concurrency": "max_active_tis_per_dag",
}
"""Arguments of Airflow 1 and 2, and what Airflow 3 calls them."""


class CheckedArguments(type):
    """Makes a class refuse arguments that it does not have, with the nearest name, and show all it has in `help()`."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        known = parameters_of(cls)
        if not known.all.keys() >= kwargs.keys():
            wrong = min(kwargs.keys() - known.all.keys())
            hint = f"; it is called {NEW_NAMES[wrong]} now" if wrong in NEW_NAMES else nearest(wrong, sorted(known.all))
            raise DagError(f"{cls._said(args, kwargs)} has no argument {wrong!r}{hint}")
        if not args and not known.required <= kwargs.keys():
            missing = min(known.required - kwargs.keys())
            raise DagError(f"{cls._said(args, kwargs)} needs the argument {missing}=...")
        return super().__call__(*args, **kwargs)

    def _said(cls, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        ids = [kwargs[name] for name in ("task_id", "dag_id", "group_id") if name in kwargs]
        return f"{cls.__name__}({', '.join(map(repr, [*args[:1], *ids][:1]))})"

    @property
    def __signature__(cls) -> inspect.Signature:
        return inspect.Signature(list(parameters_of(cls).all.values()))
