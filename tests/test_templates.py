"""Templates in tasks that run: what is rendered, with what, from which files, and what is said when it cannot be.

What single templates give is in conformance/test_templates.py, what they may not do in test_sandbox.py.
"""

import subprocess
import sys
from collections import namedtuple
from datetime import timedelta
from pathlib import Path

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etlkit.dag import DAG, BaseOperator
from etlkit.errors import AirflowSkipException, DagError, TemplateError
from etlkit.operators.bash import BashOperator
from etlkit.operators.python import PythonOperator
from etlkit.operators.sql import SQLExecuteQueryOperator
from etlkit.params import Param
from etlkit.sandbox import make_environment
from etlkit.taskflow import task
from etlkit.templates import is_plain, literal, needs_rendering, rendered
from etlkit.variables import Variables
from tests.engine import World, at, make_dag
from tests.one_run import OneRun


class Show(BaseOperator):
    """Keeps what its field became."""

    template_fields = ("field",)
    template_ext = (".sql", ".sh")

    def __init__(self, field, task_id="t", **kwargs):
        super().__init__(task_id=task_id, **kwargs)
        self.field = field
        self.seen = []

    def execute(self, context):
        self.seen.append(self.field)


class Thing:
    """An object with templates of its own."""

    template_fields = ("path", "next")

    def __init__(self, path, next=None):
        self.path, self.next = path, next


Pair = namedtuple("Pair", "a b")


def shown(field, *, conf=None, settings=None, **dag):
    """What a field becomes in a run of 2 January 2013; the error's line if the task fails."""
    dag = {"params": {"n": 3}, "dag_id": "d", **dag}
    with DAG(**dag):
        made = Show(field, **(settings or {}))
    run = OneRun(made.dag, conf=conf)
    return made.seen[0] if made.seen else run.error("t")


def error_of(field, **dag):
    text = shown(field, **dag)
    assert isinstance(text, str)
    assert text.startswith("TemplateError: task 't': field cannot be rendered: ")
    return text.removeprefix("TemplateError: task 't': field cannot be rendered: ")


# --- what is rendered -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("{{ ds }}", "2013-01-02"),
        ("plain {text}", "plain {text}"),
        (["{{ ds }}", 1, None], ["2013-01-02", 1, None]),
        (("{{ ds }}",), ("2013-01-02",)),
        (Pair("{{ ds }}", 2), Pair("2013-01-02", 2)),
        ({"{{ ds }}": {"day": ["{{ ds }}"]}}, {"{{ ds }}": {"day": ["2013-01-02"]}}),
        ({"{{ params.n }}", "a"}, {"3", "a"}),
        (frozenset({"{{ params.n }}"}), frozenset({"3"})),
        (Path("/data/{{ ds }}"), Path("/data/{{ ds }}")),
        (b"{{ ds }}", b"{{ ds }}"),
        (timedelta(1), timedelta(1)),
        (None, None),
        ("", ""),
        (literal("echo {{ ds }}"), "echo {{ ds }}"),
        ([literal({"a": "{{ ds }}"}), "{{ ds }}"], [{"a": "{{ ds }}"}, "2013-01-02"]),
        (lambda context, jinja_env: context["ds"] + jinja_env.from_string("!").render(), "2013-01-02!"),
        ("line\n", "line"),
        ("line\n\n", "line\n"),
        ("a\r\nb\rc", "a\nb\nc"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_everything_in_a_field_is_rendered(field, expected):
    found = shown(field)
    assert (found, type(found)) == (expected, type(expected))


def test_objects_are_rendered_as_copies():
    thing = Thing("/data/{{ ds }}")
    found = shown({"to": thing})["to"]
    assert (found.path, thing.path) == ("/data/2013-01-02", "/data/{{ ds }}")


def test_objects_in_a_circle_are_rendered_once():
    thing = Thing("{{ ds }}")
    thing.next = Thing("{{ params.n }}", thing)
    found = shown([thing])[0]
    assert (found.path, found.next.path, found.next.next is found) == ("2013-01-02", "3", True)


def test_the_dag_stays_as_it_was_written():
    with DAG("d", schedule="@daily", start_date=at(1), catchup=True) as dag:
        show = Show(["{{ ds }}"])
    World(dag).run_until(at(4))
    assert show.seen == [["2013-01-01"], ["2013-01-02"], ["2013-01-03"]]
    assert show.field == ["{{ ds }}"]


def test_results_of_tasks_in_templates():
    with DAG("d"):
        pushed = task(lambda: {"k": [1]}, task_id="push")()
        show = Show(f"got {pushed} and {{{{ ti.xcom_pull(task_ids='push')['k'][0] }}}}")
        both = Show({"value": pushed, "text": "{{ ds }}"}, task_id="both")
        pushed.operator >> show
    OneRun(show.dag)
    assert show.seen == ["got {'k': [1]} and 1"]
    assert both.seen == [{"value": {"k": [1]}, "text": "2013-01-02"}]


def test_what_came_out_is_not_rendered_again():
    assert shown("{{ params.text }}", params={"text": "{{ ds }}"}) == "{{ ds }}"
    with DAG("d"):
        show = Show(task(lambda: "{{ ds }}", task_id="push")())
    OneRun(show.dag)
    assert show.seen == ["{{ ds }}"]


def test_operators_render_their_fields():
    with DAG("d", params={"n": Param(3, type="integer")}) as dag:
        BashOperator(
            task_id="bash", bash_command="echo {{ ds }} $N", env={"N": "{{ params.n }}", "PATH": "/usr/bin:/bin"}
        )
        PythonOperator(
            task_id="python",
            python_callable=lambda *a, **k: [*a, k["b"]],
            op_args=["{{ ds }}"],
            op_kwargs={"b": "{{ run_id }}"},
        )
        SQLExecuteQueryOperator(task_id="sql", sql="SELECT $d, '{{ ds_nodash }}'", parameters={"d": "{{ ds }}"})

        @task.bash
        def told():
            return "echo {{ ds }} {{ params.n }}"

        told()
    run = OneRun(dag)
    assert run.value("bash") == "2013-01-02 3"
    assert run.value("python") == ["2013-01-02", run.run.run_id]
    assert run.value("sql") == [("2013-01-02", "20130102")]
    assert run.value("told") == "2013-01-02 3"


def test_a_command_that_task_bash_returns_says_so_when_it_cannot_be_rendered():
    with DAG("d") as dag:
        task.bash(lambda: "echo {{ nope }}", task_id="t")()
    assert OneRun(dag).error("t") == (
        "TemplateError: task 't': the command it returned cannot be rendered: 'nope' is undefined [echo {{ nope }}]"
    )


# --- what is left alone -----------------------------------------------------------------------------------------------


def test_a_task_with_nothing_to_render_is_not_copied():
    for field in ("plain", {"a": ["b", 1, None, {2.5}]}, (), object(), [Thing], None):
        show = Show(field)
        assert rendered(show, {}) is show
    assert rendered(Show("{{ ds }}"), {"ds": "a"}).field == "a"


def test_jinja_is_not_loaded_until_something_is_rendered():
    code = """
import sys
from etlkit.lab import Lab
from etlkit.dag import DAG
from etlkit.operators.python import PythonOperator
with DAG("d") as dag:
    PythonOperator(task_id="t", python_callable=print, op_args=["plain", {"a": [1]}])
run = Lab(start="2013-01-01").add(dag).trigger()
print(run.state, "jinja2" in sys.modules)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "success False\n"


@given(st.text(alphabet="ab{}%#\n\r .", max_size=12))
def test_plain_text_is_what_jinja_would_leave_as_it_is(text):
    if is_plain(text):
        assert jinja2.Environment(autoescape=False).from_string(text).render() == text


def test_needs_rendering_knows_extensions_and_native_tasks():
    assert not needs_rendering(["daily.sql"])
    assert needs_rendering(["daily.sql"], (".sql",))
    assert needs_rendering("5", text_stays=False)
    assert not needs_rendering("", text_stays=False)


def test_names_that_are_not_used_are_not_worked_out():
    class Costly(dict):
        def __missing__(self, name):
            raise AssertionError(f"{name} was worked out")

        def __iter__(self):
            raise AssertionError("all were worked out")

    context = Costly(ds="2013-01-02")
    text = "{% for i in [1, 2] %}{% include 'a.sql' %}{% endfor %}"
    environment = make_environment(options={"loader": jinja2.DictLoader({"a.sql": "{{ ds }} {{ i }};"})})
    assert Show("x").render_template(text, context, environment) == "2013-01-02 1;2013-01-02 2;"


# --- with what --------------------------------------------------------------------------------------------------------


def test_macros_and_filters_of_the_dag():
    settings = {
        "user_defined_macros": {"double": lambda n: 2 * n, "ds": "not this one", "AIRPORT": "JFK"},
        "user_defined_filters": {"shout": lambda text: text.upper() + "!"},
    }
    assert shown("{{ double(params.n) }} {{ AIRPORT | shout }} {{ ds }}", **settings) == "6 JFK! 2013-01-02"


def test_options_of_jinja():
    assert shown(
        "<< ds >> {{ ds }}", jinja_environment_kwargs={"variable_start_string": "<<", "variable_end_string": ">>"}
    ) == ("2013-01-02 {{ ds }}")
    assert shown("a\n", jinja_environment_kwargs={"keep_trailing_newline": True}) == "a\n"
    assert shown("[{{ nope }}]", template_undefined=jinja2.Undefined) == "[]"
    assert shown("{{ ds }}", jinja_environment_kwargs={"colour": "red"}).startswith(
        "DagError: DAG 'd': Jinja refuses its jinja_environment_kwargs: "
    )


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("{{ params.n }}", 3),
        ("{{ params.n }}.5", 3.5),
        ("[{{ params.n }}, 'a']", [3, "a"]),
        ("{{ [ds] }}", ["2013-01-02"]),
        ("{{ ds }}", "2013-01-02"),
        ("{{ none }}", None),
        ("5", 5),
        ("{{ prev_start_date_success }}", None),
        ({"a": "{{ params.n }}"}, {"a": 3}),
    ],
)
def test_native_rendering_gives_values(field, expected):
    assert shown(field, render_template_as_native_obj=True) == expected
    assert shown(field, settings={"render_template_as_native_obj": True}) == expected


def test_a_task_can_be_rendered_to_text_in_a_native_dag():
    field, settings = "{{ params.n }}", {"render_template_as_native_obj": False}
    assert shown(field, settings=settings, render_template_as_native_obj=True) == "3"
    with DAG("d", render_template_as_native_obj=True) as dag:
        pass
    assert dag.get_template_env(force_sandboxed=True).from_string("{{ 5 }}").render() == "5"


def test_an_undefined_value_is_an_error_in_native_rendering_too():
    assert error_of("{{ nope }}", render_template_as_native_obj=True) == "'nope' is undefined [{{ nope }}]"


def test_variables_and_connections_are_those_of_the_labs_database(etlkit):
    world = World(
        make_dag(tasks=[Show("{{ var.value.airport }} {{ var.json.limits.n }} {{ var.value.get('no', 'x') }}")])
    )
    Variables(world.store).set("airport", "JFK")
    Variables(world.store).set("limits", {"n": 5}, serialize_json=True)
    world.trigger()
    world.tick()
    assert world.dags["d"].task_dict["t"].seen == ["JFK 5 x"]


def test_a_variable_that_is_not_there(etlkit):
    assert error_of("{{ var.value.airprt }}").startswith("AirflowNotFoundException: no Variable is called 'airprt'")
    assert error_of("{{ conn.nope.host }}").startswith("AirflowNotFoundException: no Connection is called 'nope'")


def test_diff_for_humans_goes_by_the_clock_of_the_run():
    assert shown("{{ macros.datetime_diff_for_humans(logical_date.subtract(days=2)) }}") == "2 days ago"


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """A function that writes a file of templates; `folder.at` is where."""

    def write(name, text, newline="\n"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8", newline=newline)
        return name

    write.at = tmp_path
    return write


def test_a_field_that_ends_like_a_file_is_read_from_the_search_path(folder):
    name = folder("daily.sql", "SELECT '{{ ds }}' -- {{ params.n }}\n")
    folder("parts/where.sql", "WHERE n = {{ i }}")
    folder("all.sql", "{% for i in [1, 2] %}{% include 'parts/where.sql' %}; {% endfor %}")
    assert shown(name, template_searchpath=folder.at) == "SELECT '2013-01-02' -- 3"
    assert shown([{"a": name}], template_searchpath=[str(folder.at)]) == [{"a": "SELECT '2013-01-02' -- 3"}]
    assert shown("all.sql", template_searchpath=str(folder.at)) == "WHERE n = 1; WHERE n = 2; "
    assert shown("parts/where.sql ", template_searchpath=str(folder.at)) == "parts/where.sql "


def test_files_beside_the_dag_file_come_first(folder):
    folder("here/daily.sql", "here")
    folder("there/daily.sql", "there")
    with DAG("d", template_searchpath=[folder.at / "there"]) as dag:
        show = Show("daily.sql")
    dag.fileloc = str(folder.at / "here" / "dags.py")
    OneRun(dag)
    assert (dag.folder, show.seen) == (str(folder.at / "here"), ["here"])


def test_a_changed_file_is_read_again(folder):
    folder("a.sql", "one")
    with DAG("d", template_searchpath=folder.at) as dag:
        show = Show("a.sql")
    run = OneRun(dag)
    folder("a.sql", "number two")
    run.lab.trigger(logical_date="2013-01-03")
    assert show.seen == ["one", "number two"]


def test_a_bash_script_and_a_query_from_files(folder):
    folder("count.sh", "for i in {{ params.lst | join(' ') }}; do echo $i; done\n")
    folder("q.sql", "SELECT {{ params.lst | sum }};\n")
    with DAG("d", template_searchpath=folder.at, params={"lst": [1, 2]}) as dag:
        BashOperator(task_id="bash", bash_command="count.sh")
        SQLExecuteQueryOperator(task_id="sql", sql="q.sql")
    run = OneRun(dag)
    assert (run.value("bash"), run.value("sql")) == ("2", [(3,)])


def test_a_missing_file_is_one_clear_error(folder):
    error = error_of("no.sql", template_searchpath=folder.at)
    assert error.startswith("there is no file 'no.sql' in ")
    assert f" or {folder.at}; put it there, or name its folder in DAG(template_searchpath=...); " in error
    assert error.endswith("if it is no file to render, end it with a space [no.sql]")
    folder("a.sql", "{% include 'part.sql' %}")
    error = error_of("a.sql", template_searchpath=folder.at)
    assert error.startswith("there is no file 'part.sql' in ")
    assert error.endswith(f"DAG(template_searchpath=...) [{folder.at / 'a.sql'}, line 1]")


def test_an_error_in_a_file_says_the_line(folder):
    folder("bad.sql", "SELECT 1,\n       {{ dss }}\n")
    folder("outer.sql", "\n\n{% include 'bad.sql' %}")
    where = f"[{folder.at / 'bad.sql'}, line 2]"
    assert error_of("bad.sql", template_searchpath=folder.at) == f"'dss' is undefined; did you mean 'ds'? {where}"
    assert error_of("outer.sql", template_searchpath=folder.at).endswith(where)


def test_a_file_that_is_not_text(folder):
    (folder.at / "latin.sql").write_bytes(b"SELECT '\xe9'")
    error = shown("latin.sql", template_searchpath=folder.at)
    assert error.startswith("TemplateError: task 't': field cannot be rendered: UnicodeDecodeError: ")
    assert error.endswith("[latin.sql]")


def test_what_is_no_folder_is_refused():
    with pytest.raises(DagError, match=r"DAG 'd': template_searchpath must be the path of a folder .*, not 5"):
        DAG("d", template_searchpath=[5])


# --- what goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "error"),
    [
        ("a {{ nope }}", "'nope' is undefined [a {{ nope }}]"),
        ("{{ logical_dat }}", "'logical_dat' is undefined; did you mean 'logical_date'? [{{ logical_dat }}]"),
        ("{{ doubel(1) }}", "'doubel' is undefined; did you mean 'double'? [{{ doubel(1) }}]"),
        ("{{ params.nn }}", "'dict object' has no attribute 'nn'; did you mean 'n'? [{{ params.nn }}]"),
        (
            "{{ dag_run.logical_dates }}",
            "'etlkit.runtime.DagRun object' has no attribute 'logical_dates'; did you mean 'logical_date'? "
            "[{{ dag_run.logical_dates }}]",
        ),
        (
            "{{ execution_date }}",
            "'execution_date' is undefined; Airflow 3 has no such name: write {{ logical_date }} "
            "[{{ execution_date }}]",
        ),
        (
            "{{ next_ds }}",
            "'next_ds' is undefined; Airflow 3 has no such name: write {{ data_interval_end | ds }} [{{ next_ds }}]",
        ),
        ("one\ntwo {{ nope }}\nthree", "'nope' is undefined [two {{ nope }}]"),
        ("{{ ds", "unexpected end of template, expected 'end of print statement'. [{{ ds]"),
        ("x\n{% if %}", "Expected an expression, got 'end of statement block' [{% if %}]"),
        ("{{ ds | shuot }}", "No filter named 'shuot'. [{{ ds | shuot }}]"),
        ("{{ 1 / 0 }}", "ZeroDivisionError: division by zero [{{ 1 / 0 }}]"),
        ("{{ double('a', 'b') }}", "TypeError: "),
        ("{{ ds.__class__ }}", "access to attribute '__class__' of 'str' object is unsafe. [{{ ds.__class__ }}]"),
        (["fine", {"a": "{{ nope }}"}], "'nope' is undefined [{{ nope }}]"),
        ("{{ prev_data_interval_end_success | ds }}", "AttributeError: no run before this one has succeeded"),
        ("x" * 500 + "{{ nope }}", "'nope' is undefined [" + "x" * 80 + "…]"),
    ],
)
def test_an_error_names_the_field_the_template_and_the_name(field, error):
    assert error_of(field, user_defined_macros={"double": lambda n: 2 * n}).startswith(error)


def test_the_error_carries_its_data():
    with pytest.raises(TemplateError) as caught:
        rendered(Show("a\n{{ dss }}"), {"ds": "2013-01-02"})
    error = caught.value
    assert (error.field, error.template, error.line, error.name) == ("field", "a\n{{ dss }}", 2, "dss")
    assert isinstance(error.__cause__, jinja2.UndefinedError)


def test_a_run_without_a_logical_date_says_why_there_is_no_date():
    with DAG("d") as dag:
        show, plain = (
            Show("{{ ds }}"),
            Show("{{ dag_run.run_after | ds }} {{ ds | default('no date') }}", task_id="plain"),
        )
    run = OneRun(dag, logical_date=None)
    assert run.error("t").endswith(
        "'ds' is undefined; this run was triggered without a logical date, so nothing that follows from one is known "
        "[{{ ds }}]"
    )
    assert (show.seen, plain.seen) == ([], ["2013-01-02 no date"])


def test_a_task_that_cannot_be_rendered_is_tried_again():
    macros = {"flaky": iter([ZeroDivisionError, None]).__next__}

    def call():
        error = macros["flaky"]()
        if error:
            raise error("not yet")
        return "now"

    with DAG("d", user_defined_macros={"call": call}) as dag:
        show = Show("{{ call() }}", retries=1)
    run = OneRun(dag)
    assert (run.state, show.seen, run.tasks["t"].try_number) == ("success", ["now"], 2)


def test_a_macro_can_skip_the_task():
    def skip():
        raise AirflowSkipException("nothing new")

    with DAG("d", user_defined_macros={"skip": skip}) as dag:
        Show("{{ skip() }}")
    assert OneRun(dag).states == {"t": "skipped"}


def test_a_template_field_that_is_not_there():
    class Wrong(Show):
        template_fields = ("feild",)

    with DAG("d") as dag:
        Wrong("{{ ds }}")
    assert OneRun(dag).error("t") == (
        "DagError: <Wrong t>: template_fields names 'feild', but it has no such attribute; did you mean 'field'?"
    )


def test_an_error_outside_of_templates_stays_what_it_is():
    def function(context, jinja_env):
        raise LookupError("no such day")

    assert shown(function) == "LookupError: no such day"


def test_files_in_the_templates_of_a_python_operator(folder):
    folder("a.sql", "SELECT '{{ ds }}'")
    with DAG("d", template_searchpath=folder.at) as dag:
        PythonOperator(
            task_id="t",
            python_callable=lambda templates_dict: templates_dict,
            templates_dict={"query": "a.sql", "day": "{{ ds }}"},
            templates_exts=[".sql"],
        )
    assert OneRun(dag).value("t") == {"query": "SELECT '2013-01-02'", "day": "2013-01-02"}
