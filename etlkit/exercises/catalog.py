"""Which exercises and predictions there are, found by id; they are loaded when one is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from importlib import import_module
from typing import TypeVar

from etlkit.errors import ExerciseError, nearest
from etlkit.exercises.definition import Exercise, Prediction

MODULES = {
    "01": "loading",
    "02": "graphs",
    "03": "scheduling",
    "04": "past",
    "05": "values",
    "06": "one_row",
    "07": "failing",
    "08": "configuring",
    "09": "one_node",
    "10": "many_nodes",
    "12": "capstone",
}
"""Where a notebook's exercises are."""

Wanted = TypeVar("Wanted", Exercise, Prediction)
USES = {
    Prediction: 'a prediction, to be made with ex.predict("{}", ...)',
    Exercise: 'an exercise, to be tried with ex.check("{}", ...)',
}
"""What each of the two is, for somebody who took it for the other."""


@cache
def of_notebook(notebook: str) -> tuple[Exercise | Prediction, ...]:
    """The predictions and exercises of a notebook, given by its number, in the order in which they come."""
    if notebook not in MODULES:
        raise ExerciseError(f"notebook {notebook!r} has no exercises; those that have some: {', '.join(MODULES)}")
    module = import_module(f"etlkit.exercises.{MODULES[notebook]}")
    return (*module.PREDICTIONS, *module.EXERCISES)


def everything() -> Iterator[Exercise | Prediction]:
    """All predictions and exercises of the course."""
    for notebook in MODULES:
        yield from of_notebook(notebook)


def exercises() -> list[Exercise]:
    """All exercises of the course."""
    return [each for each in everything() if isinstance(each, Exercise)]


def predictions() -> list[Prediction]:
    """All predictions of the course."""
    return [each for each in everything() if isinstance(each, Prediction)]


def find(wanted: type[Wanted], its_id: str) -> Wanted:
    """The exercise or the prediction of that id; ExerciseError, with the nearest id, if there is none."""
    for other in everything():
        if other.id == its_id and not isinstance(other, wanted):
            raise ExerciseError(f"{its_id} is {USES[type(other)].format(its_id)}")
    found = look_up(its_id, [each for each in everything() if isinstance(each, wanted)], wanted.__name__.lower())
    assert isinstance(found, wanted)
    return found


def find_either(its_id: str) -> Exercise | Prediction:
    """The exercise or prediction of that id; ExerciseError, with the nearest id, if there is none."""
    return look_up(its_id, list(everything()), "exercise or prediction")


def look_up(its_id: str, known: Sequence[Exercise | Prediction], kind: str) -> Exercise | Prediction:
    """The one of that id among those that are known."""
    for each in known:
        if each.id == its_id:
            return each
    ids = [each.id for each in known]
    raise ExerciseError(f"there is no {kind} {its_id!r}{nearest(str(its_id), ids) or '; see: ex.progress()'}")
