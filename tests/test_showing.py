"""How objects show themselves: the same in a notebook and on a terminal, and never a secret."""

from html.parser import HTMLParser

import pytest

from etlkit.backfill import plan_backfill
from etlkit.dag import DAG, Label
from etlkit.errors import DagError
from etlkit.events import Trace
from etlkit.lab import Lab
from etlkit.masking import masker
from etlkit.operators import EmptyOperator
from etlkit.showing import as_html
from etlkit.sources import DailyWeather
from etlkit.warehouse import connect, merge
from tests.engine import START, at, make_dag

DAILY = {"schedule": "@daily", "catchup": True}


class Tags(HTMLParser):
    """The tags, attributes and texts of a piece of HTML."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.texts = set(), set(), []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attributes}

    def handle_data(self, data):
        self.texts += [data.strip()] if data.strip() else []


def a_merge():
    con = connect()
    con.execute("CREATE TABLE daily AS SELECT 'JFK' AS airport, 26.1 AS low, 1 AS version")
    return merge(con, "daily", [("JFK", 25.0, 2), ("LGA", 27.0, 1)], key="airport", order_by="version")


def a_run():
    with Lab(start=START) as lab:
        return lab.add(make_dag("날씨", "a >> b")).trigger(conf={"city": "서울"})


def an_answer():
    with Lab(start=START) as lab:
        return lab.add(make_dag("날씨", "a", **DAILY)).why()


OBJECTS = {
    "a DAG": (lambda: make_dag("날씨", "추출 >> 적재", **DAILY), ["날씨", "추출", "적재", "Do", "all_success"]),
    "a run": (a_run, ["날씨", "manual__2013-01-01T00:00:00+00:00", "success", '{"city": "서울"}']),
    "an answer": (an_answer, ["날씨", "is not over", "2013-01-02 00:00:00 UTC"]),
    "a plan": (
        lambda: plan_backfill(make_dag("날씨", "a", **DAILY), START, at(3), now=at(9)),
        ["날씨", "create", "2013-01-01 00:00:00 to 2013-01-03 00:00:00 (3 runs)", "3 to create"],
    ),
    "a report": (a_merge, ["daily", "staging", "replaced", "inserted", "after", "2"]),
}
"""What a cell may end with, and what it has to tell."""


@pytest.mark.parametrize("name", OBJECTS)
def test_a_notebook_shows_a_table_in_its_own_colours_without_scripts(name):
    make, told = OBJECTS[name]
    html = make()._repr_html_()
    page = Tags(html)
    assert page.tags <= {"table", "caption", "thead", "tbody", "tr", "th", "td", "br"}
    assert page.attributes <= {"style"}
    assert "color" not in html, "readable in dark and light"
    for words in told:
        assert words in "\n".join(page.texts)
    assert make()._repr_html_() == html, "the same each time"


@pytest.mark.parametrize("name", ["an answer", "a plan", "a report"])
def test_a_terminal_shows_what_print_prints(name):
    shown = OBJECTS[name][0]()
    assert repr(shown) == str(shown)
    assert str(shown).count("\n")


def test_names_are_escaped():
    assert "<script>" not in as_html("<script>", [("<script>",), ("<script>",)])


def test_secrets_are_hidden():
    masker.mask_secret("hunter22")
    with Lab(start=START) as lab:
        run = lab.add(make_dag("d", "a")).trigger(conf={"note": "hunter22", "password": "another1"})
        html = run._repr_html_() + as_html("hunter22", [("hunter22",)])
    assert "hunter22" not in html
    assert "another1" not in html


def test_a_long_dag_is_cut_short():
    with DAG("long") as dag:
        for number in range(130):
            EmptyOperator(task_id=f"t{number}")
    texts = Tags(dag._repr_html_()).texts
    assert "t99" in texts
    assert "t100" not in texts
    assert "and 30 more tasks" in texts


def test_a_circle_is_said_instead_of_layers():
    dag = make_dag("d", "a >> b")
    with pytest.raises(DagError):
        dag.task_dict["b"] >> dag.task_dict["a"]
        dag.topological_generations()
    assert "a" in dag._repr_html_()


def test_no_object_of_a_lesson_shows_where_it_is_in_memory():
    with Lab(start=START) as lab:
        lab.variables.set("airport", "JFK")
        objects = [
            lab,
            lab.variables,
            lab.connections,
            lab.store,
            lab.clock,
            Trace(),
            Label("x"),
            DailyWeather(),
            a_merge(),
        ]
        objects += [a_merge().sql, make_dag("d", "a"), a_run()]
        assert [repr(one) for one in objects if " at 0x" in repr(one)] == []
        assert repr(lab.variables) == "<Variables of memory: airport>"
        assert repr(lab.connections) == "<Connections of memory: none>"
