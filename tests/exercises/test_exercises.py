"""The functions that a notebook calls, and the progress that they keep."""

from datetime import timedelta

import pytest

from etlkit import DAG, Lab, task
from etlkit import exercises as ex
from etlkit.errors import ExerciseError
from etlkit.exercises import capstone, catalog, configuring, graphs, loading, scheduling
from etlkit.exercises.stage import one_task, short, utc
from etlkit.operators.python import PythonOperator


def test_hints_come_one_at_a_time_and_the_last_one_stays():
    hints = scheduling.FIRST_RUN.hints
    given = [str(ex.hint("03-first-run")) for _ in range(len(hints) + 1)]
    assert [text.split(": ")[0] for text in given] == ["Hint 1 of 3", "Hint 2 of 3", "Hint 3 of 3", "Hint 3 of 3"]
    assert [hint in text for hint, text in zip(hints, given, strict=False)] == [True, True, True]
    assert 'ex.solution("03-first-run")' in given[-1]


def test_a_solution_is_shown_with_its_why():
    text = str(ex.solution("03-first-run"))
    assert text.startswith("def five_days() -> DAG:")
    assert text.endswith(scheduling.FIRST_RUN.why)


def test_what_is_asked():
    assert ex.ask("03-first-run").startswith("03-first-run (enough)\nWrite a function")
    assert ex.ask("03-when").splitlines()[1] == "  a  1, 2 and 3 January"


def test_a_prediction_is_locked():
    assert ex.predict("03-when", "A") == "Locked, a: 1, 2 and 3 January"
    assert ex.predict("03-when", "b").startswith("Locked, a: 1, 2 and 3 January\nYou chose it before")
    shown = ex.reveal("03-when")
    assert (shown.letter, shown.truth, shown.right) == ("a", "b", False)
    assert "a run happens on the date it is about" in str(shown)
    ex.reset("03-when")
    assert ex.predict("03-when", "b") == "Locked, b: 1 and 2 January"
    assert ex.reveal("03-when").right


def test_nothing_is_revealed_before_a_choice():
    assert ex.predict("03-when", ...) == ex.predict("03-when") == ex.ask("03-when")
    assert str(ex.reveal("03-when")) == 'First choose one of a, b, c: ex.predict("03-when", "a")'


def test_a_reveal_shows_itself_in_a_notebook():
    ex.predict("03-when", "c")
    page = ex.reveal("03-when")._repr_html_()
    assert page.startswith("<p>You said c: 2 and 3 January</p>\n<pre>2013-01-01 00:00 to")
    assert repr(ex.reveal("03-when")) == str(ex.reveal("03-when"))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ex.check("03-first-rum", None), "there is no exercise '03-first-rum'; did you mean '03-first-run'?"),
        (lambda: ex.hint("nothing"), "there is no exercise 'nothing'; see: ex.progress()"),
        (lambda: ex.reveal("03-wen"), "did you mean '03-when'?"),
        (lambda: ex.predict("03-when", "d"), "03-when has the choices a, b, c, and no 'd'"),
        (lambda: ex.check("03-when", None), '03-when is a prediction, to be made with ex.predict("03-when", ...)'),
        (lambda: ex.predict("03-first-run"), '03-first-run is an exercise, to be tried with ex.check("03-first-run"'),
        (lambda: ex.ask("77-x"), "there is no exercise or prediction '77-x'"),
        (lambda: ex.reset("03-first-rum"), "03-first-rum"),
        (lambda: ex.progress("77"), "notebook '77' has no exercises"),
        (lambda: ex.start("77"), "notebook '77' has no exercises"),
    ],
)
def test_what_does_not_exist_is_refused_in_one_line(call, words):
    with pytest.raises(ExerciseError) as caught:
        call()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def state_of(its_id):
    (line,) = [line for line in ex.progress(its_id[:2]).splitlines() if line.startswith(f"{its_id} ")]
    return line.split(maxsplit=2)[2]


def test_progress_is_kept_and_can_be_reset():
    assert state_of("03-catch-up") == "open"
    assert not ex.check("03-catch-up", lambda catchup, hours: 0).passed
    assert state_of("03-catch-up") == "tried"
    assert ex.check("03-catch-up", scheduling.runs_at_once).passed
    assert not ex.check("03-catch-up", lambda catchup, hours: 0).passed
    assert state_of("03-catch-up") == "passed"  # once passed is passed
    ex.predict("03-when", "a")
    assert state_of("03-when") == "chose a"
    *lines, total = ex.progress("03").splitlines()
    assert total == f"2 of {len(lines)} done"
    ex.reset("03-catch-up")
    assert (state_of("03-catch-up"), state_of("03-when")) == ("open", "chose a")
    assert ex.reset() == "Forgot the tries, hints and choices of: 03-when"
    assert ex.reset() == "Forgot the tries, hints and choices of: nothing, for there was none"
    assert state_of("03-when") == "open"
    assert len(ex.progress().splitlines()) > 30


def test_a_notebook_from_the_start_forgets_hints_and_choices_but_not_what_was_passed():
    ex.check("03-catch-up", scheduling.runs_at_once)
    ex.hint("03-catch-up")
    ex.predict("03-when", "a")
    ex.predict("04-now", "a")
    ex.start("03")
    assert ex.hint("03-catch-up").startswith("Hint 1")
    assert (state_of("03-when"), state_of("03-catch-up"), state_of("04-now")) == ("open", "passed", "chose a")


def test_progress_lies_in_the_home_folder_and_nowhere_else(home, tmp_path, monkeypatch):
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    ex.hint("03-first-run")
    assert [path.name for path in home.iterdir()] == ["progress.db"]
    assert list(work.iterdir()) == []


def test_a_file_that_is_no_progress_is_left_alone(home):
    home.mkdir()
    file = home / "progress.db"
    file.write_text("my notes, which are precious" * 100)
    with pytest.raises(
        ExerciseError, match=r"progress cannot be kept in .*progress\.db .*; move it away, or set ETLKIT"
    ):
        ex.hint("03-first-run")
    assert file.read_text().startswith("my notes")


# --- rules that exercises state, against the engine -------------------------------------------------------------------


@pytest.mark.parametrize("catchup", [True, False])
@pytest.mark.parametrize("hours", [0, 1, 23, 24, 25, 48, 84])
def test_the_rule_of_catch_up_is_the_engine_s(catchup, hours):
    with Lab(start=scheduling.FIRST + timedelta(hours=hours)) as lab:
        lab.add(one_task(start_date=scheduling.FIRST, catchup=catchup)).run_until()
        assert len(lab.store.runs()) == scheduling.runs_at_once(catchup, hours)


@pytest.mark.parametrize("at", ["2013-01-05 00:00", "2013-01-05 00:01", "2013-01-05 09:30", "2013-01-05 23:59"])
def test_the_rule_of_runs_by_hand_is_the_engine_s(at):
    with Lab(start=at) as lab:
        lab.add(one_task(start_date=scheduling.FIRST)).trigger()
        (run,) = [run for run in lab.store.runs() if run.run_type == "manual"]
        assert (run.data_interval_start, run.data_interval_end) == scheduling.covers(utc(at))


@pytest.mark.parametrize("database", [None, "JFK", ""])
@pytest.mark.parametrize("environment", [None, "LGA", ""])
def test_the_rule_of_which_setting_counts_is_the_engine_s(environment, database, monkeypatch):
    from etlkit.exercises.configuring import which

    with Lab(start="2013-01-01") as lab:
        if environment is not None:
            monkeypatch.setenv("ETLKIT_VAR_AIRPORT", environment)
        if database is not None:
            lab.variables.set("airport", database)
        assert lab.variables.get("airport", "EWR") == which(environment, database, "EWR")


# --- answers that are written differently -----------------------------------------------------------------------------


def belief(exercise_id, answer):
    found = ex.check(exercise_id, answer).belief
    return found and found.name


def test_an_upsert_is_as_good_as_delete_and_insert_as_long_as_no_row_is_left_over():
    def load(con, day, rows):
        con.execute("BEGIN")
        con.execute("DELETE FROM daily WHERE day = CAST(? AS DATE)", [day])
        for airport, temp in rows:
            con.execute("INSERT INTO daily VALUES (?, ?, ?)", [day, airport, temp])
        con.execute("COMMIT")

    assert ex.check("01-load-twice", load).passed


def test_a_belief_is_known_however_it_is_written():
    def load(con, day, rows):
        for row in rows:
            con.execute(f"INSERT INTO daily SELECT DATE '{day}', ?, ?", list(row))

    assert belief("01-load-twice", load) == "once-is-once"
    other = loading.MEAN_TEMPERATURES.replace("timezone('America/New_York', observed_at)::DATE", "observed_at::DATE")
    assert belief("01-summary", f"WITH t AS ({other}) SELECT * FROM t;") == "day-is-utc"


def test_now_by_the_computer_s_clock_is_known_too():
    from etlkit.clock import SystemClock

    assert belief("04-which-day", lambda context: short(SystemClock().now())[:10]) == "now-is-fine"


def test_another_right_answer_passes():
    def make():
        with DAG("mine", schedule="0 0 * * *", start_date=utc("2012-12-31 12:00"), catchup=True) as dag:
            dag.end_date = utc("2013-01-05 23:00")
        return dag

    assert ex.check("03-first-run", make()).passed
    grouped = """SELECT airport, hour, arg_max(temp, (updated_at, arrival)) AS temp FROM readings GROUP BY ALL"""
    assert ex.check("06-newest", grouped).passed
    assert ex.check("04-which-day", lambda context: context["ds"]).passed


WAITED_BY_LAG = """
    SELECT task_id FROM (
        SELECT task_id, new, at, lag(at) OVER (PARTITION BY run_id, task_id ORDER BY id) AS before FROM decision
    ) WHERE new = 'queued' AND before < at
"""


def turns_by_functions(airports, extract, load):
    with DAG("turns") as dag:
        extracted = task(extract)
        for airport in airports:
            task(load, pool="duckdb", trigger_rule="one_success")(airport) << extracted(airport)
    return dag


def test_another_right_answer_about_slots_passes():
    assert ex.check("09-waited", WAITED_BY_LAG).passed
    assert ex.check("09-turns", turns_by_functions).passed


@pytest.mark.parametrize(
    ("exercise_id", "query", "words"),
    [
        ("09-waited", "SELECT 1 AS one", "the query must give a column task_id, not one"),
        ("09-peak", "SELECT state, pid FROM task_instance", "one number; it gives 4 rows of 2 columns"),
        ("09-peak", "SELECT count(*) FROM task_instances", "no such table: task_instances"),
        ("09-peak", "DELETE FROM task_instance", "only a SELECT may be asked"),
    ],
)
def test_what_a_query_must_give_is_told(exercise_id, query, words):
    assert words in str(ex.check(exercise_id, query))


# --- answers with an error in them ------------------------------------------------------------------------------------


def test_an_error_in_a_pipeline_s_task_is_told():
    def pipeline(api_url):
        dag = capstone.pipeline(api_url)
        dag.get_task("load_weather").python_callable = lambda: days_weather(api_url)  # noqa: F821 (the error)
        return dag

    line = "a task of yours failed: load_weather: NameError: name 'days_weather' is not defined"
    assert line in str(ex.check("12-pipeline", pipeline))


def by_name(exercise):
    return exercise.id


MAKE_DAGS = [
    each for each in catalog.exercises() if getattr(each.solution, "__annotations__", {}).get("return") == "DAG"
]


@pytest.mark.parametrize("exercise", MAKE_DAGS, ids=by_name)
def test_a_forgotten_return_is_told_so(exercise):
    assert "raised TypeError: the function must return a DAG, not None" in str(ex.check(exercise.id, lambda *_: None))


def test_most_exercises_of_dags_are_met_above():
    assert len(MAKE_DAGS) > 10


@pytest.mark.parametrize(("day", "shown"), [(None, "None"), ("x", "'x'"), ({}, "{}")])
def test_what_is_no_day_is_not_called_today(day, shown):
    verdict = ex.check("04-which-day", lambda context: day)
    assert f"yours:       loaded: {shown}, {shown}, {shown}" in str(verdict)
    assert verdict.belief is None


def test_what_did_not_run_is_told_if_there_is_any():
    def line(weather, flights, join, report, archive):
        weather >> flights >> join >> report >> archive

    assert "did not run" not in str(ex.check("02-arrows", lambda *tasks: None))
    shown = tuple(graphs.play_arrows(line, graphs.ARROWS.timelines[0]))
    assert shown == (
        "in waves: weather | flights | join | report | archive",
        "in waves: weather | flights | join | report | archive\ndid not run: join, report, archive",
    )


def test_the_leak_and_the_error_have_a_line_each():
    def log_in_and_send(log_in, send):
        with DAG("secrets") as dag:
            PythonOperator(task_id="one", python_callable=lambda: passwort)  # noqa: F821 (the error)
        return dag

    assert "can be read in: none\n" in str(ex.check("08-no-leak", log_in_and_send))


def test_a_check_leaves_nothing_but_progress_in_the_home_folder(home):
    ex.check("08-late", configuring.LATE.solution)
    ex.check("08-late", configuring.LATE.beliefs[0].answer)
    ex.predict("08-leak", "a")
    ex.reveal("08-leak")
    assert [path.name for path in home.iterdir()] == ["progress.db"]
