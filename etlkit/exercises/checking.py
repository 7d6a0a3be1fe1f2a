"""Tries an answer in every timeline, and makes the smallest counterexample of the first one in which it is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations, zip_longest
from typing import Any, NamedTuple

from etlkit.dag import DAG
from etlkit.exercises.definition import Belief, Exercise, Step, Timeline, marked_up
from etlkit.exercises.stage import Failure, failures, passing_home, required_dag
from etlkit.masking import masker

NOTHING = "nothing: it ended before"
NO_MORE = "without these lines"
MISSING = "these lines are missing"
REARRANGED = "these lines, in another order or not as often"
LINES = 8
"""So many lines of what is seen are shown."""


class Raised(NamedTuple):
    """An answer that ended in an error."""

    error: str
    message: str

    def __str__(self) -> str:
        return f"raised {self.error}: {self.message}"


class Moment(NamedTuple):
    """A step, what is to be seen after it, and what was."""

    step: Step
    expected: Any
    seen: Any
    failed: tuple[str, ...] = ()
    """What went wrong in the answer's own tasks up to here, and not in the solution's. It is shown, not compared."""

    @property
    def right(self) -> bool:
        """Whether the answer showed what it should."""
        return bool(self.expected == self.seen)

    @property
    def shown(self) -> tuple[list[str], list[str]]:
        """What was expected and what was seen, in lines; if there are many, those that differ."""
        expected, seen = (str(value).splitlines() or ["nothing"] for value in (self.expected, self.seen))
        if not self.right and max(len(expected), len(seen)) > LINES:
            expected, seen = differing(expected, seen)
        return shortened(expected), shortened(seen)


@dataclass(frozen=True)
class Counterexample:
    """A timeline in which an answer goes wrong, up to the step at which it does."""

    timeline: Timeline
    moments: tuple[Moment, ...]

    def __str__(self) -> str:
        margin = " " * (max(len(moment.step.at) for moment in self.moments) + 4)
        lines = [self._title()]
        for moment in self.moments:
            lines.append(f"  {moment.step.at:<{len(margin) - 4}}  {moment.step.what}")
            expected, seen = moment.shown
            texts = [("as expected:", seen)] if moment.right else [("expected:", expected), ("yours:", seen)]
            for label, (first, *more) in texts:
                lines += [f"{margin}  {label:<12} {first}", *(f"{margin}  {'':<12} {line}" for line in more)]
            lines += [f"{margin}  {line}" for line in moment.failed]
        return "\n".join(lines)

    def _title(self) -> str:
        unseen = ", a timeline you had not seen" if self.timeline.hidden else ""
        return f"The smallest counterexample ({self.timeline.name}{unseen}):"

    def _repr_html_(self) -> str:
        rows = "\n".join(self._row(moment) for moment in self.moments)
        head = "<tr><th>when</th><th>what happens</th><th>expected</th><th>yours</th><th></th></tr>"
        caption = f"<caption>{marked_up(self._title())}</caption>"
        return f"<table>{caption}\n<thead>{head}</thead>\n<tbody>\n{rows}\n</tbody></table>"

    @staticmethod
    def _row(moment: Moment) -> str:
        expected, seen = moment.shown
        texts = (moment.step.at, moment.step.what, "\n".join(expected), "\n".join([*seen, *moment.failed]))
        cells = [marked_up(text).replace("\n", "<br>") for text in (*texts, "✓" if moment.right else "✗")]
        left = '<td style="text-align: left">'  # Jupyter would have them right-aligned
        return f"<tr>{''.join(f'{left}{cell}</td>' for cell in cells)}</tr>"


@dataclass(frozen=True)
class Verdict:
    """What a check found. `passed` says that no timeline showed anything wrong, and no more than that.

    Otherwise there is a `counterexample`, and the `belief` behind it if the answer behaves like one that is known; or a
    `problem`, when what was handed in is no answer at all.
    """

    exercise_id: str
    counterexample: Counterexample | None = None
    belief: Belief | None = None
    problem: str = ""

    @property
    def passed(self) -> bool:
        """Whether all checks passed."""
        return self.counterexample is None and not self.problem

    def _head(self) -> str:
        if self.passed:
            return f"{self.exercise_id}: all visible checks passed."
        return f"{self.exercise_id}: not yet. {self.problem}".rstrip()

    def _tail(self) -> list[str]:
        lines = [f"A belief that leads here: {self.belief}"] if self.belief else []
        return lines if self.passed else [*lines, f'A hint: ex.hint("{self.exercise_id}")']

    def __str__(self) -> str:
        middle = [str(self.counterexample)] if self.counterexample else []
        return masker.mask("\n".join([self._head(), *middle, *self._tail()]))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        middle = [self.counterexample._repr_html_()] if self.counterexample else []
        head, *tail = (f"<p>{marked_up(line)}</p>" for line in (self._head(), *self._tail()))
        return masker.mask("\n".join([head, *middle, *tail]))


def shortened(lines: list[str]) -> list[str]:
    """The first few lines."""
    return lines if len(lines) <= LINES else [*lines[: LINES - 1], f"and {len(lines) - LINES + 1} lines more"]


def differing(expected: list[str], seen: list[str]) -> tuple[list[str], list[str]]:
    """The lines that only one of the two has, and words where there are none."""
    alike = set(expected) & set(seen)
    missing, more = ([line for line in each if line not in alike] for each in (expected, seen))
    if not missing and not more:
        return expected, [REARRANGED]
    return missing or [NO_MORE], more or [MISSING]


@passing_home()
def check_answer(exercise: Exercise, answer: Any) -> Verdict:
    """Try an answer: the timelines that are seen before those that are hidden, and small ones before big ones.

    What it leaves in its ETLKIT_HOME is gone afterwards.
    """
    if problem := unfit(exercise, answer):
        return Verdict(exercise.id, problem=problem)
    for timeline in sorted(exercise.timelines, key=lambda each: (each.hidden, len(each.steps))):
        moments = difference(exercise, answer, timeline)
        if moments:
            smallest = shrunk(exercise, answer, Counterexample(timeline, moments))
            return Verdict(exercise.id, smallest, belief_behind(exercise, answer, timeline))
    return Verdict(exercise.id)


def unfit(exercise: Exercise, answer: Any) -> str:
    """Why something is no answer to an exercise, or nothing.

    An unfinished one, such as `...`, is none.
    """
    fits = {
        "DAG": isinstance(answer, DAG) or callable(answer),
        "function": callable(answer),
        "SQL": isinstance(answer, str),
        "value": answer is not None and answer is not ...,
    }
    wanted = {"DAG": "a DAG", "function": "a function", "SQL": "a query, as text", "value": "a value"}
    if fits[exercise.kind]:
        return ""
    name = type(answer).__name__
    given = "nothing yet" if answer is None or answer is ... else f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
    return f"It takes {wanted[exercise.kind]}; this is {given}."


def outcomes(exercise: Exercise, answer: Any, timeline: Timeline) -> Iterator[Any]:
    """What an answer shows after each step; an error in it is shown too, and is the last."""
    try:
        yield from exercise.play(maker(exercise, answer), timeline)
    except Exception as error:  # whatever a learner's code raises is what it shows
        yield Raised(type(error).__name__, (str(error).splitlines() or [""])[0])


def maker(exercise: Exercise, answer: Any) -> Any:
    """An answer as `play` takes it: for a DAG, a function that gives it, whether a DAG was handed in or its maker."""
    if exercise.kind != "DAG":
        return answer

    def make() -> DAG:
        return answer if isinstance(answer, DAG) else required_dag(answer())

    return make


@lru_cache(maxsize=1000)  # a check after the next try need not try the solution again
def solved(exercise: Exercise, timeline: Timeline) -> tuple[tuple[Any, ...], frozenset[str]]:
    """What the solution shows after each step, and the errors that its tasks are meant to meet.

    An error of the solution itself is one in the exercise, and is raised.
    """
    with failures() as failed:
        shown = tuple(exercise.play(maker(exercise, exercise.solution), timeline))
    return shown, frozenset(failure.reason for failure in failed)


def expected_outcomes(exercise: Exercise, timeline: Timeline) -> tuple[Any, ...]:
    """What the solution shows after each step."""
    return solved(exercise, timeline)[0]


@lru_cache(maxsize=1000)
def believed_outcomes(exercise: Exercise, belief: Belief, timeline: Timeline) -> tuple[Any, ...]:
    """What the answer of somebody who holds a belief shows after each step."""
    return tuple(outcomes(exercise, belief.answer, timeline))


def difference(exercise: Exercise, answer: Any, timeline: Timeline) -> tuple[Moment, ...]:
    """The steps up to the first at which an answer shows something wrong; none if it never does."""
    right, meant = solved(exercise, timeline)
    moments: list[Moment] = []
    with failures() as failed:
        pairs = zip_longest(right, outcomes(exercise, answer, timeline), fillvalue=NOTHING)
        for step, (expected, seen) in zip(timeline.steps, pairs, strict=False):
            if expected != seen:
                return (*moments, Moment(step, expected, seen, unmeant(failed, meant, str(seen))))
            moments.append(Moment(step, expected, seen))
    return ()


def unmeant(failed: list[Failure], meant: frozenset[str], seen: str) -> tuple[str, ...]:
    """What failed in an answer's tasks, each once, without what is meant to fail and what is seen anyway."""
    told = (each for each in failed if each.reason not in meant)
    return tuple(
        dict.fromkeys(str(each) for each in told if f"{each.task_id}: {each.reason.split(':')[0]}" not in seen)
    )


def shrunk(exercise: Exercise, answer: Any, found: Counterexample) -> Counterexample:
    """The smallest counterexample within one: some of its steps, in their order, few before many."""
    steps = found.timeline.steps[: len(found.moments)]
    for size in range(1, len(steps)):
        for some in combinations(steps, size):
            timeline = replace(found.timeline, steps=some)
            if moments := difference(exercise, answer, timeline):
                return Counterexample(timeline, moments)
    return found


def belief_behind(exercise: Exercise, answer: Any, timeline: Timeline) -> Belief | None:
    """The belief whose answer shows the same in a whole timeline; of several, the one that does so in most others.

    None whose answer goes wrong where this one is right: so it is not believed. The smallest counterexample would not
    do: one difference has many reasons.
    """
    seen = tuple(outcomes(exercise, answer, timeline))
    alike = [belief for belief in exercise.beliefs if believed_outcomes(exercise, belief, timeline) == seen]
    if not alike:
        return None
    others = [(each, tuple(outcomes(exercise, answer, each))) for each in exercise.timelines]
    right = [each for each, shown in others if shown == expected_outcomes(exercise, each)]

    def holds(belief: Belief) -> bool:
        return all(believed_outcomes(exercise, belief, each) == expected_outcomes(exercise, each) for each in right)

    def agreement(belief: Belief) -> int:
        return sum(believed_outcomes(exercise, belief, each) == shown for each, shown in others)

    return max(filter(holds, alike), key=agreement, default=None)
