"""Predict, run, explain: a choice is locked before the experiment is made, and then set against what it showed."""

from __future__ import annotations

import html
from dataclasses import dataclass

from etlkit.exercises.definition import Prediction, marked_up
from etlkit.exercises.stage import passing_home
from etlkit.masking import masker


class Message(str):
    """Text for a notebook, which shows it as it reads, and in HTML with its line breaks."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return f"<pre>{marked_up(self)}</pre>"


def question(prediction: Prediction) -> Message:
    """The question, its choices, and how to choose."""
    choices = (f"  {letter}  {choice.text}" for letter, choice in prediction.choices.items())
    how = f'Choose before you go on: ex.predict("{prediction.id}", "{next(iter(prediction.choices))}")'
    return Message("\n".join([prediction.question, *choices, how]))


@dataclass(frozen=True)
class Reveal:
    """What an experiment showed, beside what was foreseen; `right` says whether they agree."""

    prediction: Prediction
    letter: str
    truth: str
    trace: str

    @property
    def right(self) -> bool:
        """Whether the choice was the one that the experiment shows."""
        return self.letter == self.truth

    def _parts(self) -> list[str]:
        mine, true = (self.prediction.choices[letter] for letter in (self.letter, self.truth))
        found = [f"It is {self.truth}: {true.text}"]
        if not self.right:
            found.append(f"Behind {self.letter} is a belief that many share: {mine.belief}")
        return [f"You said {self.letter}: {mine.text}", self.trace, *found, self.prediction.because]

    def __str__(self) -> str:
        said, trace, *found = self._parts()
        indented = "\n".join(f"  {line}".rstrip() for line in trace.splitlines())
        return masker.mask("\n".join([said, "What happened:", indented, *found]))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        said, trace, *found = self._parts()
        paragraphs = "\n".join(f"<p>{marked_up(line)}</p>" for line in found)
        return masker.mask(f"<p>{marked_up(said)}</p>\n<pre>{html.escape(trace)}</pre>\n{paragraphs}")


def reveal(prediction: Prediction, letter: str) -> Reveal:
    """Make the experiment, and set it against a choice."""
    with passing_home():
        seen = prediction.experiment()
    (truth,) = (each for each, choice in prediction.choices.items() if choice.value == seen.value)
    return Reveal(prediction, letter, truth, seen.trace)
