"""How an answer is tried, how a counterexample is made small, and how it is shown."""

import pytest

from etlkit.config import conf
from etlkit.dag import DAG
from etlkit.exercises.checking import check_answer
from etlkit.exercises.definition import Belief, Exercise, Step, Timeline
from etlkit.exercises.stage import Lab
from etlkit.masking import masker
from etlkit.operators.python import PythonOperator


def play(answer, timeline):
    """A counter that goes on from step to step; what it shows is what the answer makes of it."""
    total = 0
    for step in timeline.steps:
        total += step.given
        yield answer(total)


def steps(*amounts):
    return tuple(Step(f"{n}", f"plus {amount}", amount) for n, amount in enumerate(amounts, 1))


def right(total):
    return f"{total}"


def exercise(*timelines, beliefs=(), kind="function", play=play, solution=right):
    return Exercise(
        id="99-count",
        tier="enough",
        kind=kind,
        asked="Write a function.",
        play=play,
        timelines=timelines,
        start=None,
        solution=solution,
        why="So it is.",
        beliefs=beliefs,
        hints=("Think.",),
    )


SMALL, BIG = Timeline("small", steps(1)), Timeline("big", steps(1, 2, 4, 8, 16))


def test_what_is_right_passes_and_claims_no_more_than_that():
    verdict = check_answer(exercise(SMALL, BIG), right)
    assert verdict.passed
    assert str(verdict) == repr(verdict) == "99-count: all visible checks passed."
    assert verdict.counterexample is verdict.belief is None


def test_the_smallest_counterexample_has_the_fewest_steps_and_ends_where_it_goes_wrong():
    verdict = check_answer(exercise(BIG), lambda total: "wrong" if total >= 12 else f"{total}")
    moments = verdict.counterexample.moments
    assert [moment.step.given for moment in moments] == [4, 8]  # 8 alone is right, and no other pair of the first four
    assert [moment.right for moment in moments] == [True, False]


def test_steps_after_the_first_difference_are_never_shown():
    verdict = check_answer(exercise(BIG), lambda total: "wrong")
    assert [moment.step.given for moment in verdict.counterexample.moments] == [1]


def test_a_timeline_that_is_seen_comes_before_a_smaller_hidden_one():
    hidden = Timeline("hidden", steps(1), hidden=True)
    wrong = check_answer(exercise(hidden, BIG), lambda total: "wrong")
    assert wrong.counterexample.timeline.name == "big"
    assert "had not seen" not in str(wrong)
    only = check_answer(exercise(BIG, hidden, Timeline("x", steps(32), hidden=True)), lambda t: f"{t}" * (1 + t // 32))
    assert "(x, a timeline you had not seen)" in str(only)


def test_it_is_shown_as_a_timeline():
    verdict = check_answer(exercise(BIG), lambda total: "wrong" if total >= 12 else f"{total}")
    assert str(verdict) == "\n".join(
        [
            "99-count: not yet.",
            "The smallest counterexample (big):",
            "  3  plus 4",
            "       as expected: 4",
            "  4  plus 8",
            "       expected:    12",
            "       yours:       wrong",
            'A hint: ex.hint("99-count")',
        ]
    )


def test_html_escapes_what_a_learner_made():
    page = check_answer(exercise(SMALL), lambda total: "<script>alert(1)</script>")._repr_html_()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert page.count("<tr>") == 2


def test_of_many_lines_those_that_differ_are_shown():
    expected = [f"row {n}" for n in range(30)]
    found = exercise(SMALL, solution=lambda total: "\n".join(expected))
    verdict = check_answer(found, lambda total: "\n".join([*expected[:20], "row x", *expected[21:]]))
    assert verdict.counterexample.moments[0].shown == (["row 20"], ["row x"])
    fewer = check_answer(found, lambda total: "\n".join(expected[:2]))
    assert fewer.counterexample.moments[0].shown == (
        [*(f"row {n}" for n in range(2, 9)), "and 21 lines more"],
        ["these lines are missing"],
    )
    more = check_answer(found, lambda total: "\n".join([*expected, "row x"]))
    assert more.counterexample.moments[0].shown == (["without these lines"], ["row x"])
    other = check_answer(found, lambda total: "\n".join(reversed(expected)))
    assert other.counterexample.moments[0].shown[1] == ["these lines, in another order or not as often"]


def test_an_error_is_a_finding():
    verdict = check_answer(exercise(SMALL), lambda total: total / 0)
    assert "yours:       raised ZeroDivisionError: division by zero" in str(verdict)


def test_an_answer_that_ends_too_early_or_gives_nothing():
    def stops(answer, timeline):
        return iter([answer(1)][: answer(0)])

    found = exercise(SMALL, play=stops, solution=lambda total: 1)
    assert "nothing: it ended before" in str(check_answer(found, lambda total: 0))


def test_an_error_of_the_solution_is_not_the_learner_s():
    def broken(total):
        raise RuntimeError("the exercise is broken")

    with pytest.raises(RuntimeError, match="the exercise is broken"):
        check_answer(exercise(SMALL, solution=broken), broken)


@pytest.mark.parametrize(
    ("kind", "answer", "words"),
    [
        ("function", "SELECT 1", "It takes a function; this is a str."),
        ("function", None, "It takes a function; this is nothing yet."),
        ("SQL", right, "It takes a query, as text; this is a function."),
        ("DAG", 3, "It takes a DAG; this is an int."),
        ("value", ..., "It takes a value; this is nothing yet."),
    ],
)
def test_what_is_no_answer_is_not_tried(kind, answer, words):
    verdict = check_answer(exercise(SMALL, kind=kind), answer)
    assert not verdict.passed
    assert str(verdict).splitlines()[0] == f"99-count: not yet. {words}"


def test_a_dag_may_be_handed_in_or_made():
    def dag_id(make, timeline):
        yield from (make().dag_id for _ in timeline.steps)

    found = exercise(SMALL, kind="DAG", play=dag_id, solution=lambda: DAG("mine"))
    assert check_answer(found, DAG("mine")).passed
    assert check_answer(found, lambda: DAG("mine")).passed
    assert not check_answer(found, DAG("other")).passed
    assert "raised TypeError: the function must return a DAG, not None" in str(check_answer(found, lambda: None))


DOUBLE = Belief("double", "twice is the same. It is twice as much.", lambda total: f"{2 * total}")
SQUARE = Belief("square", "the square is the same.", lambda total: f"{total * total}")


def test_a_belief_is_recognised_by_what_an_answer_does_in_the_whole_timeline():
    found = exercise(Timeline("two", steps(2, 1)), beliefs=(DOUBLE, SQUARE))
    verdict = check_answer(found, lambda total: str(total + total))
    assert verdict.belief is DOUBLE
    assert "A belief that leads here: “twice is the same.” It is twice as much." in str(verdict)
    assert check_answer(found, lambda total: str(total**2)).belief is SQUARE
    assert check_answer(found, lambda total: "4").belief is None  # both say 4 at first, and neither at last


def test_of_two_beliefs_that_fit_the_one_that_fits_more_timelines():
    found = exercise(Timeline("one", steps(2)), Timeline("other", steps(3)), beliefs=(DOUBLE, SQUARE))
    assert check_answer(found, lambda total: str(total**2)).belief is SQUARE


def test_a_belief_whose_answer_goes_wrong_where_this_one_is_right_is_not_believed():
    careless = Belief("careless", "all is ten at most. It may be more.", lambda total: str(min(total, 10)))
    found = exercise(Timeline("two", steps(20)), Timeline("other", steps(30), hidden=True), beliefs=(careless,))
    assert check_answer(found, lambda total: str(min(total, 10))).belief is careless
    assert check_answer(found, lambda total: "10" if total == 20 else str(total)).belief is None


def test_the_end_of_a_home_is_the_end_of_what_an_answer_left_there(home):
    homes = []

    def leaves_a_file(total):
        homes.append(conf.current.home)
        (homes[-1] / "left").write_text("something")
        return f"{total}"

    assert check_answer(exercise(SMALL), leaves_a_file).passed
    assert homes[0] != home == conf.current.home
    assert not homes[0].exists()
    assert not home.exists()


# --- what goes wrong in tasks -----------------------------------------------------------------------------------------


def count_in_a_lab(make, timeline):
    for _ in timeline.steps:
        done = []

        def source(done=done):
            done.append("asked")
            raise ConnectionError("the source does not answer")

        with Lab(start="2013-01-01") as lab:
            lab.add(make(source)).trigger()
            lab.advance(hours=1)
            yield f"asked {len(done)} times"


def asking(function, task_id="ask", retries=1):
    with DAG("asking") as dag:
        PythonOperator(task_id=task_id, python_callable=function, retries=retries)
    return dag


IN_A_LAB = exercise(SMALL, play=count_in_a_lab, solution=asking)


def test_an_error_in_a_task_is_shown_beside_what_is_seen():
    verdict = check_answer(IN_A_LAB, lambda source: asking(lambda: sourc()))  # noqa: F821 (the error)
    line = "a task of yours failed: ask: NameError: name 'sourc' is not defined"
    assert [text.strip() for text in str(verdict).splitlines()][3:6] == [
        "expected:    asked 2 times",
        "yours:       asked 0 times",
        line,
    ]
    assert str(verdict).count(line) == 1, "each error once, however many tries met it"
    assert "<br>a task of yours failed: ask: NameError" in verdict._repr_html_()


def test_what_is_meant_to_fail_is_not_told():
    verdict = check_answer(IN_A_LAB, lambda source: asking(source, "other", retries=0))
    assert "asked 1 times" in str(verdict)
    assert "a task of yours" not in str(verdict)


@pytest.mark.parametrize("made", [None, "my_dag", 3])
def test_a_function_that_gives_no_dag_is_told_so(made):
    verdict = check_answer(IN_A_LAB, lambda source: made)
    assert f"raised TypeError: the function must return a DAG, not {made!r}" in str(verdict)


def test_code_is_marked_up_and_cells_are_aligned_to_the_left():
    page = check_answer(exercise(Timeline("x", (Step("1", "`run` fails", 1),))), lambda total: "wrong")._repr_html_()
    assert '<td style="text-align: left"><code>run</code> fails</td>' in page


def test_secrets_are_masked():
    masker.mask_secret("s3cr3t-of-a-learner")
    verdict = check_answer(exercise(SMALL), lambda total: "s3cr3t-of-a-learner")
    assert "s3cr3t" not in str(verdict) + verdict._repr_html_()
