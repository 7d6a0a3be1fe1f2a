"""What templates render to in a task that runs: the answers of Apache Airflow 3.3.2, recorded in cases/templates.json.

`about` in that file describes the runs and their DAGs. Each is run here by the scheduler on a database in memory; its
task `render` then renders all templates of that run. What differs on purpose:

===================================  ==================================================
Airflow                              here
===================================  ==================================================
AirflowRuntimeError                  AirflowNotFoundException, for a Variable, too
messages name Airflow's own classes  messages name the kit's
===================================  ==================================================
"""

import json
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import pytest

from etlkit.connections import Connection, Connections
from etlkit.dag import DAG, BaseOperator
from etlkit.params import Param
from etlkit.runs import insert_run
from etlkit.states import DagRunType
from etlkit.timetables import CronDataIntervalTimetable, CronTriggerTimetable
from etlkit.variables import Variables
from tests.engine import World

FILE = json.loads(Path(__file__).with_name("cases").joinpath("templates.json").read_text(encoding="utf-8"))
ABOUT, CASES = FILE["about"], FILE["cases"]

SCHEDULES = {
    "scheduled-cdi": CronDataIntervalTimetable("0 0 * * *", "UTC"),
    "manual": CronTriggerTimetable("@daily", timezone="UTC"),
    "manual-nodate": CronTriggerTimetable("@daily", timezone="UTC"),
    "scheduled-ny": CronTriggerTimetable("0 0 * * *", timezone="America/New_York", interval=timedelta(days=1)),
    "native": CronDataIntervalTimetable("0 0 * * *", "UTC"),
}
DAG_IDS = {
    "scheduled-cdi": "cdi",
    "manual": "daily",
    "manual-nodate": "nodate",
    "scheduled-ny": "ny",
    "native": "native",
}

ERRORS = {"AirflowRuntimeError": "AirflowNotFoundException"}


def instant(text):
    return text and datetime.fromisoformat(text)


class Push(BaseOperator):
    def execute(self, context):
        context["ti"].xcom_push("other", "o")
        return {"k": "v", "lst": [1, "b"]}


class Push2(BaseOperator):
    def execute(self, context):
        return 2


class Render(BaseOperator):
    """Renders the templates of all cases of a run, and keeps what came out."""

    def __init__(self, templates, **kwargs):
        super().__init__(**kwargs)
        self.templates, self.answers = templates, {}

    def execute(self, context):
        for name, template in self.templates.items():
            try:
                self.answers[name] = self.render_template(template, context, context["dag"].get_template_env())
            except Exception as error:
                self.answers[name] = error


def dag_of(run, templates):
    with DAG(
        f"tmpl_{DAG_IDS[run]}",
        schedule=SCHEDULES[run],
        start_date=datetime(2024, 1, 1, tzinfo=UTC),
        end_date=datetime(2024, 1, 1, tzinfo=UTC),  # there are no other runs than the recorded ones
        params={"x": "px", "n": Param(3, type="integer"), "lst": [1, 2]},
        tags=["b", "a"],
        default_args={"owner": "me", "retries": 2},
        user_defined_macros={"my_macro": lambda s: f"<{s}>", "MY_CONST": 7},
        user_defined_filters={"my_filter": lambda s: s[::-1]},
        render_template_as_native_obj=run == "native",
    ) as dag:
        render = Render(templates, task_id="render", params={"x": "task x"})
        [Push(task_id="push"), Push2(task_id="push2")] >> render
    return dag


def add_scheduled_run(store, dag, start, end, conf=None):
    """A run as the schedule makes it."""
    with store.transaction():
        return insert_run(
            store,
            dag,
            DagRunType.SCHEDULED,
            logical_date=start,
            data_interval=(start, end),
            run_after=end,
            now=end,
            conf=conf,
        )


def add_earlier_runs(store, dag, earlier):
    for start, end, state in earlier:
        run = add_scheduled_run(store, dag, instant(start), instant(end))
        with store.transaction():
            store.set_run_state(run.id, "queued", "running", instant(end) + timedelta(minutes=1))
            store.set_run_state(run.id, "running", state, instant(end) + timedelta(minutes=2))


def add_secrets(store):
    for name, value in ABOUT["variables"].items():
        Variables(store).set(name, value)
    for conn_id, parts in ABOUT["connections"].items():
        Connections(store).set(Connection.from_dict(parts, conn_id))


@cache
def answers_of(run, case_templates):
    """What each template of a run rendered to, or the exception it raised, by the case's id."""
    about, dag = ABOUT["runs"][run], dag_of(run, dict(json.loads(case_templates)))
    world = World(dag, now=instant(about["run_after"]))
    add_secrets(world.store)
    add_earlier_runs(world.store, dag, about["earlier"])
    date, start, end = (instant(about[name]) for name in ("logical_date", "data_interval_start", "data_interval_end"))
    if about["run_type"] == "manual":
        made = world.trigger(dag.dag_id, logical_date=date, conf=about["conf"], run_id=about["run_id"])
    else:
        made = add_scheduled_run(world.store, dag, start, end, about["conf"])
    world.store.touched()
    world.tick()
    row = world.row(made)
    assert (row.run_id, row.state) == (about["run_id"], "success")
    assert (row.logical_date, row.data_interval_start, row.data_interval_end) == (date, start, end)
    return dag.task_dict["render"].answers


def answer(case):
    templates = json.dumps([(c["id"], c["template"]) for c in CASES if c["run"] == case["run"]])
    return answers_of(case["run"], templates)[case["id"]]


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory):
    """The key of the Variables and Connections goes to a folder of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ETLKIT_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_agrees_with_airflow(case):
    found = answer(case)
    if "error" in case:
        assert type(found).__name__ == ERRORS.get(case["error"], case["error"])
    else:
        assert (found, type(found).__name__) == (case["value"], case["type"])
