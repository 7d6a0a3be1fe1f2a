"""What an exercise is made of, and a prediction.

An exercise is data: what is asked, situations to try an answer in, a right answer, and for each common belief the
answer of somebody who holds it. All answers, the learner's too, go through the same `play`; what it shows is compared.
So nothing is said of how an answer must be written, only of what it must do.
"""

from __future__ import annotations

import html
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

Tier = Literal["enough", "target", "stretch"]
Kind = Literal["DAG", "function", "SQL", "value"]


class Step(NamedTuple):
    """One thing that happens: the simulated time or the number of it, in words, and what `play` needs to do it."""

    at: str
    what: str
    given: Any = None


@dataclass(frozen=True, eq=False)
class Timeline:
    """A situation to try an answer in: its steps, in order, and what holds in all of them.

    Any of the steps may be left out when a smaller one is looked for, so each makes sense without the others.
    """

    name: str
    steps: tuple[Step, ...]
    given: Any = None
    hidden: bool = False


Play = Callable[[Any, Timeline], Iterator[Any]]
"""Tries an answer in a timeline, and yields what is to be seen after each step: a text, or what `str` makes one of.

An answer of the kind DAG arrives as a function of no arguments that gives the DAG.
"""


@dataclass(frozen=True, eq=False)
class Belief:
    """Something that many people believe, and what somebody who believes it would answer.

    The first sentence says the belief, what follows says what is so.

    It is recognised by behaviour: an answer that shows what this `answer` shows, where the right one shows another.
    """

    name: str
    sentence: str
    answer: Any

    def __str__(self) -> str:
        belief, end, truth = self.sentence.partition(". ")
        return f"“{belief}.” {truth}" if end else f"“{belief}”"


@dataclass(frozen=True, eq=False)
class Exercise:
    """Something to write: what is `asked`, how it is tried, and what people get wrong.

    - `id`: the notebook's number and a name, such as "03-first-run".
    - `kind`: what an answer is. A DAG may also be given as a function of no arguments that makes it.
    - `start` is what the learner finds, `solution` a right answer and `why` it is right.
    - `misconceptions`: which of the fifteen that the course is about.
    """

    id: str
    tier: Tier
    kind: Kind
    asked: str
    play: Play
    timelines: tuple[Timeline, ...]
    start: Any
    solution: Any
    why: str
    beliefs: tuple[Belief, ...]
    hints: tuple[str, ...]
    misconceptions: tuple[int, ...] = ()


class Seen(NamedTuple):
    """What an experiment showed: the value that choices are about, and the trace of how it came."""

    value: Any
    trace: str


class Choice(NamedTuple):
    """A possible answer to a prediction: what it says in words and as a value, and the belief it stands for."""

    text: str
    value: Any
    belief: str


@dataclass(frozen=True)
class Prediction:
    """Something to foresee: a question with `choices` by letter. Right is the one whose value the `experiment` shows.

    Each choice stands for a belief, the right one too; `because` explains what was seen.
    """

    id: str
    question: str
    choices: Mapping[str, Choice]
    experiment: Callable[[], Seen]
    because: str
    misconceptions: tuple[int, ...] = ()


def source(answer: Any) -> str:
    """An answer as a learner would write it: a function's source, or the text of a query.

    >>> source("SELECT 1")
    'SELECT 1'
    """
    if callable(answer):
        return textwrap.dedent(inspect.getsource(answer)).strip()
    return textwrap.dedent(answer).strip() if isinstance(answer, str) else repr(answer)


def marked_up(text: str) -> str:
    """A text as HTML, in which what stands between backticks is code.

    >>> marked_up("`a >> b` says: a < b")
    '<code>a &gt;&gt; b</code> says: a &lt; b'
    """
    return re.sub(r"`([^`\n]+)`", r"<code>\1</code>", html.escape(text))
