"""Wrong answers of the lessons that look right in the timelines that are seen."""

import re
from zoneinfo import ZoneInfo

import pytest

from etlkit import DAG, task
from etlkit import exercises as ex
from etlkit.exercises import failing, graphs, loading, many_nodes, one_node, one_row, stage
from etlkit.exercises.checking import expected_outcomes
from etlkit.operators.python import PythonOperator


def cursor_of_the_last_row(rows, cursor, now):
    new = [row for row in rows if cursor is None or row[1] >= cursor]
    return new, new[-1][1] if new else cursor


def grain_by_heart(airports, extract):
    return graphs.grain(["EWR", "JFK", "LGA"], extract)


def five_days_of_new_york():
    start, end = (stage.utc(day).replace(tzinfo=ZoneInfo("America/New_York")) for day in ("2013-01-01", "2013-01-05"))
    return stage.one_task(start_date=start, end_date=end, catchup=True)


def hand_over_by_a_variable(fetch, disk):
    got = []
    with DAG("hand_over") as dag:

        @task
        def extract():
            got[:] = fetch()

        @task
        def load(warehouse):
            warehouse.executemany("INSERT INTO readings VALUES (?, ?)", got)

        extract() >> load()
    return dag


def hand_over_nothing(fetch, disk):
    with DAG("hand_over") as dag:

        @task
        def extract(warehouse):
            warehouse.executemany("INSERT INTO readings VALUES (?, ?)", fetch())

        @task
        def load(): ...

        extract() >> load()
    return dag


def newest_by_airport(con, rows):
    for row in rows:
        con.execute("DELETE FROM readings WHERE airport = ? AND hour <> ?", row[:2])
        one_row.load_newest(con, [row])


def tidy_in_the_same_task(load, tidy):
    def both():
        try:
            load()
        finally:
            tidy()

    with DAG("tidy") as dag:
        PythonOperator(task_id="load", python_callable=both)
    return dag


def turns_by_heart(airports, extract, load):
    return one_node.turns(["EWR", "JFK", "LGA"], extract, load)


BEGUN_TOGETHER = "SELECT max(n) FROM (SELECT count(*) AS n FROM task_instance GROUP BY start_date)"


def note_before_the_transaction(con, day, flights, try_number):
    if con.execute("SELECT 1 FROM counted WHERE day = ?", [day]).fetchone() is None:
        con.execute("BEGIN")
        con.execute("UPDATE total SET flights = flights + ?", [flights])
        con.execute("COMMIT")
        con.execute("INSERT INTO counted VALUES (?)", [day])


def nodes_for_ten_minutes(tasks, minutes, deadline):
    return many_nodes.nodes(tasks, 10, deadline)


SUMMARY = loading.MEAN_TEMPERATURES
WRONG = {
    "cursor": ("01-cursor", cursor_of_the_last_row),
    "names": ("01-summary", re.sub(r"\bAS day\b", "AS d", SUMMARY)),
    "no temperature": ("01-summary", SUMMARY.replace("GROUP BY", "WHERE temp IS NOT NULL GROUP BY")),
    "grain": ("02-grain", grain_by_heart),
    "zone": ("03-first-run", five_days_of_new_york),
    "variable": ("05-hand-over", hand_over_by_a_variable),
    "nothing handed over": ("05-hand-over", hand_over_nothing),
    "hour": ("06-newest", one_row.NEWEST.replace("BY airport, hour", "BY airport")),
    "key": ("06-any-order", newest_by_airport),
    "turns": ("09-turns", turns_by_heart),
    "begun at once": ("09-peak", BEGUN_TOGETHER),
    "one task": ("07-green", tidy_in_the_same_task),
    "note": ("10-once", note_before_the_transaction),
    "ten minutes": ("10-nodes", nodes_for_ten_minutes),
    "one node": ("10-lost", f"{many_nodes.LOST_ON} HAVING hostname = 'node-1'"),
}


@pytest.mark.parametrize(("exercise_id", "answer"), WRONG.values(), ids=WRONG)
def test_a_wrong_answer_is_found_and_nobody_is_accused_of_a_belief(exercise_id, answer):
    verdict = ex.check(exercise_id, answer)
    assert verdict.counterexample
    assert verdict.belief is None


def test_the_error_of_a_callback_is_shown_and_no_belief_is_blamed_for_it():
    def told_wrongly(work, tell):
        dag = failing.told_each_time(work, tell)
        dag.get_task("load").on_retry_callback = (lambda: tell(),)
        return dag

    verdict = ex.check("07-callbacks", told_wrongly)
    assert verdict.belief is None
    assert "a callback failed: TypeError" in str(verdict)


def test_a_pool_that_does_not_exist_is_named():
    def turns_in_another_pool(airports, extract, load):
        dag = one_node.turns(airports, extract, load)
        for airport in airports:
            dag.get_task(f"load_{airport}").pool = "duck"
        return dag

    verdict = ex.check("09-turns", turns_in_another_pool)
    assert verdict.belief is None
    assert "waits for a pool that does not exist: duck" in str(verdict)


def test_a_note_that_says_whether_it_is_new_counts_a_day_once_too():
    def per_day(con, day, flights, try_number):
        con.execute("BEGIN")
        added = con.execute(
            "INSERT INTO counted SELECT ? WHERE NOT EXISTS (FROM counted WHERE day = ?) RETURNING 1", [day, day]
        )
        if added.fetchone():
            con.execute("UPDATE total SET flights = flights + ?", [flights])
        con.execute("COMMIT")

    assert ex.check("10-once", per_day).passed


def test_whatever_happens_a_day_that_is_made_again_counts_once():
    shown = {each for timeline in many_nodes.ONCE.timelines for each in expected_outcomes(many_nodes.ONCE, timeline)}
    assert shown == {"flights in total: 842"}
