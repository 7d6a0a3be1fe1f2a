"""Every exercise and prediction of the course, tried as learners will: unsolved, solved, and with each belief."""

import json
import re
from pathlib import Path

import pytest

from etlkit import exercises as ex
from etlkit.exercises import catalog
from etlkit.exercises.checking import expected_outcomes
from etlkit.exercises.definition import source
from etlkit.exercises.predicting import reveal

EXERCISES, PREDICTIONS = catalog.exercises(), catalog.predictions()
FUNCTIONS = [exercise for exercise in EXERCISES if exercise.kind in ("function", "DAG")]
NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
BELIEFS = [(exercise, belief) for exercise in EXERCISES for belief in exercise.beliefs]


def by_id(value):
    return getattr(value, "id", None) or getattr(value, "name", None)


@pytest.fixture(params=EXERCISES, ids=by_id)
def exercise(request):
    return request.param


@pytest.fixture(params=PREDICTIONS, ids=by_id)
def prediction(request):
    return request.param


def test_no_two_have_one_id_and_each_is_of_its_notebook():
    ids = [each.id for each in catalog.everything()]
    assert len(ids) == len(set(ids))
    for notebook in catalog.MODULES:
        for each in catalog.of_notebook(notebook):
            assert re.fullmatch(rf"{notebook}(-[a-z0-9]+)+", each.id)


def test_the_solution_passes(exercise):
    verdict = ex.check(exercise.id, exercise.solution)
    assert verdict.passed, verdict
    assert str(verdict) == f"{exercise.id}: all visible checks passed."


def test_the_solution_shows_something_at_every_step(exercise):
    for timeline in exercise.timelines:
        seen = expected_outcomes(exercise, timeline)
        assert len(seen) == len(timeline.steps)
        assert all(str(each).strip() for each in seen)


def test_unsolved_fails_without_a_guess_at_a_belief(exercise):
    verdict = ex.check(exercise.id, exercise.start)
    assert not verdict.passed
    assert verdict.belief is None
    assert ex.check(exercise.id, ...).passed is False


@pytest.mark.parametrize(("exercise", "belief"), BELIEFS, ids=by_id)
def test_each_belief_fails_with_its_own_message(exercise, belief):
    verdict = ex.check(exercise.id, belief.answer)
    assert not verdict.passed
    assert verdict.belief is belief
    assert str(belief) in str(verdict)
    assert verdict.counterexample.moments[-1].right is False


def test_every_text_is_there(exercise):
    assert exercise.beliefs
    texts = [exercise.asked, exercise.why, source(exercise.solution), *exercise.hints]
    texts += [text for belief in exercise.beliefs for text in (belief.name, belief.sentence)]
    assert all(text.strip() for text in texts)
    for belief in exercise.beliefs:
        assert ". " in belief.sentence, "the belief, and then what is so"
    assert exercise.hints
    for given, text in enumerate(exercise.hints, 1):
        assert str(ex.hint(exercise.id)).startswith(f"Hint {given} of {len(exercise.hints)}: {text}")


@pytest.fixture(scope="module")
def code_cells():
    paths = sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))
    cells = [cell for path in paths for cell in json.loads(path.read_text("utf-8"))["cells"]]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


@pytest.mark.parametrize("exercise", FUNCTIONS, ids=by_id)
def test_a_function_is_asked_for_by_the_name_that_the_start_and_the_notebook_give_it(exercise, code_cells):
    name = re.search(r"`(\w+)\(", exercise.asked).group(1)
    assert exercise.start.__name__ == f"{name}_start"
    assert exercise.solution.__name__ == name
    checked = re.findall(rf'ex\.check\("{exercise.id}", (\w+)\)', "\n".join(code_cells))
    assert checked == [name]
    assert any(re.search(rf"^def {name}\(", cell, re.MULTILINE) for cell in code_cells)


def test_every_exercise_has_timelines_that_are_seen(exercise):
    assert not exercise.timelines[0].hidden
    assert all(timeline.steps for timeline in exercise.timelines)


def test_exactly_one_choice_is_what_happens_and_each_stands_for_a_belief(prediction):
    letters = list(prediction.choices)
    shown = [reveal(prediction, letter) for letter in letters]
    assert [each.right for each in shown].count(True) == 1
    for letter, each in zip(letters, shown, strict=True):
        choice = prediction.choices[letter]
        assert each.trace.strip()
        assert (choice.belief in str(each)) is not each.right
        assert prediction.because in str(each)
    assert len({str(each.trace) for each in shown}) == 1


def test_the_course_meets_the_misconceptions():
    for known in (EXERCISES, PREDICTIONS):
        assert {number for each in known for number in each.misconceptions} >= MET


MET = set(range(1, 16))
