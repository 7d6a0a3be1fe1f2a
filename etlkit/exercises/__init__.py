"""Exercises that are checked by what an answer does, and predictions that are locked before the experiment is made.

::

    from etlkit import exercises as ex

    ex.ask("03-first-run")               # what is asked
    ex.check("03-first-run", my_dag)     # tried in timelines, seen and hidden; the smallest counterexample comes back
    ex.hint("03-first-run")              # one hint; the next call gives the next
    ex.solution("03-first-run")          # an answer, and why it is right

    ex.predict("03-when", "b")           # locks a choice
    ex.reveal("03-when")                 # makes the experiment and sets the choice against it

    ex.progress()                        # what is done; ex.progress("03") for one notebook
    ex.reset("03-first-run")             # forget one; ex.reset() forgets everything
    ex.start("03")                       # a notebook from the start: hints and choices are taken back

Progress is kept on this computer, in `ETLKIT_HOME`. What a check says is an object that shows itself in a notebook and
prints as text; `ex.check(...).passed` is its short form.
"""

from __future__ import annotations

from types import EllipsisType
from typing import Any

from etlkit.errors import ExerciseError
from etlkit.exercises import progress as _progress
from etlkit.exercises.catalog import everything, find, find_either, of_notebook
from etlkit.exercises.checking import Counterexample, Verdict, check_answer
from etlkit.exercises.definition import Belief, Choice, Exercise, Prediction, Seen, Step, Timeline, source
from etlkit.exercises.predicting import Message, Reveal, question
from etlkit.exercises.predicting import reveal as _reveal

__all__ = [
    "Belief",
    "Choice",
    "Counterexample",
    "Exercise",
    "Message",
    "Prediction",
    "Reveal",
    "Seen",
    "Step",
    "Timeline",
    "Verdict",
    "ask",
    "check",
    "hint",
    "predict",
    "progress",
    "reset",
    "reveal",
    "solution",
    "start",
]


def ask(its_id: str) -> Message:
    """What an exercise asks for, or a prediction's question with its choices."""
    each = find_either(its_id)
    return question(each) if isinstance(each, Prediction) else Message(f"{each.id} ({each.tier})\n{each.asked}")


def check(exercise_id: str, answer: Any) -> Verdict:
    """Try an answer in all timelines of an exercise; what comes back shows itself, and has `passed`.

    An error in the answer is a finding, not an error here. ExerciseError: there is no such exercise.
    """
    verdict = check_answer(find(Exercise, exercise_id), answer)
    _progress.tried(exercise_id, verdict.passed)
    return verdict


def hint(exercise_id: str) -> Message:
    """The next hint; when all have been given, the last one again."""
    hints = find(Exercise, exercise_id).hints
    count = min(_progress.record(exercise_id).hints + 1, len(hints))
    _progress.hinted(exercise_id, count)
    more = "" if count < len(hints) else f' That was the last; ex.solution("{exercise_id}") shows an answer.'
    return Message(f"Hint {count} of {len(hints)}: {hints[count - 1]}{more}")


def solution(exercise_id: str) -> Message:
    """An answer, and why it is right."""
    exercise = find(Exercise, exercise_id)
    return Message(f"{source(exercise.solution)}\n\n{exercise.why}")


def predict(prediction_id: str, letter: str | EllipsisType = ...) -> Message:
    """Lock a choice; without one, show the question. A choice that is locked stays, until `reset` or `start`."""
    prediction = find(Prediction, prediction_id)
    if letter is ...:
        return question(prediction)
    letter = str(letter).strip().lower()
    if letter not in prediction.choices:
        raise ExerciseError(f"{prediction_id} has the choices {', '.join(prediction.choices)}, and no {letter!r}")
    locked = _progress.chosen(prediction_id, letter)
    text = f"Locked, {locked}: {prediction.choices[locked].text}"
    if locked != letter:
        text += f'\nYou chose it before, so it stays; ex.reset("{prediction_id}") starts anew.'
    return Message(text)


def reveal(prediction_id: str) -> Reveal | Message:
    """Make the experiment and set the choice against it; before there is a choice, only a request to make one."""
    prediction = find(Prediction, prediction_id)
    choice = _progress.record(prediction_id).choice
    if choice is None or choice not in prediction.choices:
        letters = list(prediction.choices)
        return Message(f'First choose one of {", ".join(letters)}: ex.predict("{prediction_id}", "{letters[0]}")')
    return _reveal(prediction, choice)


def progress(notebook: str | None = None) -> Message:
    """What is done and what is not: of one notebook, or of the whole course."""
    kept = _progress.records()
    lines = []
    for each in everything() if notebook is None else of_notebook(notebook):
        record = kept.get(each.id, _progress.Record(each.id))
        if isinstance(each, Prediction):
            lines.append((each.id, "prediction", f"chose {record.choice}" if record.choice else "open"))
        else:
            state = "passed" if record.passed else "tried" if record.tries else "open"
            lines.append((each.id, each.tier, state))
    width = max(len(line[0]) for line in lines)
    done = sum(line[2] not in ("open", "tried") for line in lines)
    table = (f"{its_id:<{width}}  {tier:<10}  {state}" for its_id, tier, state in lines)
    return Message("\n".join([*table, f"{done} of {len(lines)} done"]))


def reset(its_id: str | None = None) -> Message:
    """Forget what was tried, hinted at and chosen: of one exercise or prediction, or of all. Says what it forgot."""
    if its_id is not None:
        find_either(its_id)  # refuses an id that does not exist
    kept = sorted(_progress.records()) if its_id is None else [its_id]
    _progress.forget(its_id)
    return Message(f"Forgot the tries, hints and choices of: {', '.join(kept) or 'nothing, for there was none'}")


def start(notebook: str) -> None:
    """Begin a notebook anew: its hints and choices are taken back, and what was passed stays passed."""
    of_notebook(notebook)
    _progress.begin(notebook)
