"""The notebook's handle: everything it promises, on real DAGs."""

import html.parser
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta

import duckdb
import pytest

from etlkit import DAG, Asset, AssetOrTimeSchedule, Lab, SystemClock, dag, task
from etlkit.errors import (
    AirflowSkipException,
    BackfillError,
    DagError,
    EtlkitError,
    MetadataError,
    TaskNotFound,
    TimetableError,
)
from etlkit.executors.sequential import SequentialExecutor
from etlkit.lab import Text, instant
from etlkit.operators import EmptyOperator
from etlkit.scheduler_lock import SchedulerLock
from etlkit.timetables import CronDataIntervalTimetable
from tests.engine import DAY, HOUR, Do, at, make_dag


def daily(**kwargs):
    """A DAG `weather` of two tasks, run daily from 1 January 2013, with catch-up."""
    settings = {"schedule": "@daily", "catchup": True, **kwargs}
    return make_dag("weather", "extract >> load", **settings)


@pytest.fixture
def lab():
    return Lab(start="2013-01-01")


# --- dates ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        "2013-01-02",
        "2013-01-02 00:00",
        "2013-01-02T00:00:00+00:00",
        "2013-01-02T09:00+09:00",
        date(2013, 1, 2),
        datetime(2013, 1, 2, tzinfo=UTC),
        datetime.fromisoformat("2013-01-02T09:00+09:00"),
    ],
)
def test_a_date_is_the_instant_that_it_says(given):
    assert instant(given) == at(2)
    assert Lab(start=given).now == at(2)


NAIVE = datetime(2013, 1, 2)  # noqa: DTZ001 (that is what is refused)


@pytest.mark.parametrize("bad", [NAIVE, "yesterday", "2013-13-01", 20130102, None])
def test_a_date_that_means_nothing_is_one_line(lab, bad):
    with pytest.raises(TimetableError) as error:
        instant(bad)
    assert "\n" not in str(error.value)


def test_a_naive_date_is_refused_by_every_method_that_takes_one(lab):
    lab.add(daily()).run_until("2013-01-03")
    for wrong in (
        lambda: Lab(start=NAIVE),
        lambda: lab.run_until(NAIVE),
        lambda: lab.trigger(logical_date=NAIVE),
        lambda: lab.backfill(None, NAIVE, "2013-01-03"),
        lambda: lab.clear(run=NAIVE),
    ):
        with pytest.raises(TimetableError, match="has no time zone"):
            wrong()


def test_a_lab_needs_a_start_or_a_clock():
    for arguments in ({}, {"start": "2013-01-01", "clock": SystemClock()}):
        with pytest.raises(EtlkitError, match="needs a start or a clock"):
            Lab(**arguments)


# --- time -------------------------------------------------------------------------------------------------------------


def test_time_passes_and_runs_happen(lab):
    lab.add(daily())
    assert lab.runs().empty, "adding a DAG runs nothing"
    lab.run_until("2013-01-02")
    assert lab.runs()["logical_date"].tolist() == [at(1)]
    lab.advance(days=1)
    assert lab.now == at(3)
    lab.advance(timedelta(hours=36))
    assert lab.now == at(4, 12)
    assert lab.runs()["state"].tolist() == ["success"] * 3


def test_the_simulated_clock_does_not_go_back(lab):
    lab.run_until("2013-01-05")
    with pytest.raises(TimetableError, match="cannot go back to 2013-01-04 00:00:00"):
        lab.run_until("2013-01-04")
    with pytest.raises(TimetableError, match="cannot go back"):
        lab.advance(days=-1)


def test_run_until_without_a_date_does_what_is_due_now(lab):
    lab.run_until("2013-01-03").add(daily()).run_until()
    assert lab.now == at(3)
    assert len(lab.runs()) == 2


def test_the_same_dag_runs_on_the_computers_clock_from_a_script(tmp_path):
    before = SystemClock().now()
    dag = daily(catchup=False)
    with Lab(clock=SystemClock(), database=f"sqlite:///{tmp_path}/etl.db") as lab:
        runs = lab.add(dag).run_until().runs()
    with Lab(clock=SystemClock(), database=f"sqlite:///{tmp_path}/etl.db") as lab:
        again = lab.add(dag).run_until().runs()
    after = SystemClock().now()
    assert runs["state"].tolist() == ["success"]
    assert before - 2 * DAY < runs["logical_date"][0] < after - DAY, "the newest whole day"
    if before.date() == after.date():
        assert again.equals(runs), "a second lab on the same file finds nothing to do"


def test_a_lab_in_memory_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    lab = Lab(start="2013-01-01").add(make_dag("d", tasks=[Do("t", lambda context: print("hello"))], schedule="@daily"))
    lab.advance(days=2)
    assert lab.log("t") == "hello\n"
    assert lab.warehouse.execute("SELECT 1").fetchone() == (1,)
    assert lab.decisions().size
    assert list(tmp_path.iterdir()) == []


# --- DAGs -------------------------------------------------------------------------------------------------------------


def test_a_dag_is_added_unpaused_unless_somebody_says_so(lab):
    lab.add(daily(), make_dag("asleep", "t", schedule="@daily", is_paused_upon_creation=True))
    lab.add(make_dag("held", "t", schedule="@daily"), paused=True)
    assert lab.store.paused() == {"weather": False, "asleep": True, "held": True}


def test_a_dag_that_is_added_again_takes_the_place_of_the_first(lab):
    lab.add(daily()).advance(days=1)
    other = make_dag("weather", "fetch", schedule="@daily", catchup=True)
    lab.add(other).advance(days=1)
    assert lab.dags == [other]
    assert lab.task_instances()["task_id"].tolist() == ["extract", "load", "fetch"]


def test_pause_holds_and_unpause_lets_go(lab):
    lab.add(daily()).advance(days=1)
    lab.pause().advance(days=2)
    assert len(lab.runs()) == 1
    assert "paused" in repr(lab)
    lab.unpause()
    assert len(lab.runs()) == 3


def test_a_dag_may_be_left_out_when_there_is_one(lab):
    with pytest.raises(EtlkitError, match=r"none, so add one: lab\.add\(dag\)"):
        lab.why()
    lab.add(daily())
    assert lab.why("weather") == lab.why(lab.dags[0]) == lab.why()
    lab.add(make_dag("flights", "t"))
    with pytest.raises(EtlkitError, match="say which DAG: this lab has weather, flights"):
        lab.why()


def test_a_dag_or_task_that_is_not_there_is_named_with_the_nearest(lab):
    lab.add(daily())
    with pytest.raises(EtlkitError, match="no DAG 'wether'; did you mean 'weather'"):
        lab.pause("wether")
    with pytest.raises(EtlkitError, match=r"no DAG 'zzz'; add it: lab\.add\(dag\)"):
        lab.trigger(make_dag("zzz", "t"))
    lab.advance(days=1)
    with pytest.raises(TaskNotFound, match="did you mean 'load'"):
        lab.log("laod")


# --- asking for runs --------------------------------------------------------------------------------------------------


def test_trigger_makes_a_manual_run_at_once(lab):
    seen = []
    lab.add(make_dag("d", tasks=[Do("t", lambda context: seen.append(context["conf"]))]))
    run = lab.trigger(conf={"airport": "JFK"})
    assert (run.run_type, run.state, run.logical_date) == ("manual", "success", at(1))
    assert seen == [{"airport": "JFK"}]
    dated = lab.trigger("d", logical_date="2012-12-24", run_id="eve")
    assert (dated.run_id, dated.logical_date, dated.state) == ("eve", at(24, month=12, year=2012), "success")
    with pytest.raises(DagError, match="already has a run"):
        lab.trigger(logical_date="2012-12-24")


def test_backfill_runs_the_range_with_both_ends(lab):
    lab.run_until("2013-01-10").add(daily(start_date=at(20)))
    planned = lab.backfill("weather", "2013-01-02", "2013-01-04", dry_run=True)
    assert lab.runs().empty
    plan = lab.backfill("weather", "2013-01-02", "2013-01-04", reverse=True)
    assert planned.dates == plan.dates[::-1] == [at(2), at(3), at(4)]
    backfilled = lab.runs()
    assert dict(zip(backfilled["logical_date"], backfilled["state"], strict=True)) == dict.fromkeys(
        plan.dates, "success"
    )
    assert [e.run_id[-25:-15] for e in lab.events if e.new == "running" and not hasattr(e, "task_id")] == [
        "2013-01-05",
        "2013-01-04",
        "2013-01-03",
    ]
    with pytest.raises(BackfillError, match="in the future"):
        lab.backfill("weather", "2014-01-01", "2014-01-02")


def test_clear_runs_again_what_it_is_told(lab):
    lab.add(make_dag("d", "a >> b >> c", schedule="@daily", catchup=True)).run_until("2013-01-03")
    assert lab.clear(run="2013-01-01", tasks="b") == 1
    assert lab.clear(run="2013-01-01", tasks=["b"], downstream=True) == 2
    assert lab.clear(run="2013-01-01", only_failed=True) == 0
    assert lab.clear() == 3, "the latest run, all of it"
    tries = lab.task_instances().set_index(["logical_date", "task_id"])["try_number"].to_dict()
    assert tries == {
        (at(1), "a"): 1,
        (at(1), "b"): 3,
        (at(1), "c"): 2,
        (at(2), "a"): 2,
        (at(2), "b"): 2,
        (at(2), "c"): 2,
    }
    assert lab.runs()["state"].tolist() == ["success", "success"]


def test_a_run_is_found_by_its_id_its_date_its_day_or_itself(lab):
    lab.add(make_dag("d", tasks=[Do("t", lambda context: print(context["ts"]))], schedule="@hourly", catchup=True))
    lab.run_until("2013-01-01 03:00")
    run_id = lab.runs()["run_id"][1]
    for which in (run_id, "2013-01-01 01:00", at(1, 1), lab.store.run("d", run_id)):
        assert lab.log("t", which) == "2013-01-01T01:00:00+00:00\n"
    assert lab.log("t", "2013-01-01") == "2013-01-01T00:00:00+00:00\n", "its own logical date goes before the day"
    assert lab.log("t") == "2013-01-01T02:00:00+00:00\n", "the latest"
    with pytest.raises(EtlkitError, match="no run of 2013-01-02; choose by run_id, such as scheduled__2013-01-01T03"):
        lab.log("t", "2013-01-02")


def test_a_day_with_several_runs_does_not_choose_one(lab):
    lab.add(make_dag("d", "t", schedule="30 * * * *", catchup=True)).run_until("2013-01-01 03:00")
    with pytest.raises(EtlkitError, match="2 runs of 2013-01-01; choose by run_id, such as"):
        lab.clear(run="2013-01-01")


def test_a_question_about_a_run_before_there_is_one_says_so(lab):
    lab.add(daily())
    with pytest.raises(EtlkitError, match="'weather' has no runs yet; it is 2013-01-01 00:00:00"):
        lab.log("load")


def test_pools_bound_what_runs(lab):
    lab.add(make_dag("d", tasks=[Do("t", pool="narrow")]))
    lab.trigger()
    assert lab.why(task="t").kinds == ["no_pool"]
    lab.set_pool("narrow", 1)
    assert lab.task_instances()["state"].tolist() == ["success"]


def test_why_asks_about_dags_runs_and_tasks(lab):
    lab.add(
        make_dag("weather", tasks=[Do("t", ValueError("no"), None, retries=1, retry_delay=HOUR)], schedule="@daily")
    )
    assert lab.why().kinds == ["interval"]
    assert lab.why().until == at(2)
    lab.advance(days=1)
    assert lab.why(task="t").kinds == lab.why(task=lab.dags[0].get_task("t"), run="2013-01-01").kinds == ["retry"]
    assert lab.why(task="t").until == at(2, 1)
    lab.advance(hours=1)
    assert lab.why(run="2013-01-01").kinds == ["success"]


def test_parallelism_and_executor_are_handed_on():
    executor = SequentialExecutor()
    lab = Lab(start="2013-01-01", parallelism=3, executor=executor)
    assert (lab.scheduler.parallelism, lab.scheduler.executor) == (3, executor)


# --- the warehouse ----------------------------------------------------------------------------------------------------


@dag(schedule="@daily", start_date=at(1), catchup=True)
def warehouse_dag():
    @task
    def write(ds, warehouse):
        warehouse.execute("CREATE TABLE IF NOT EXISTS days (day DATE)")
        warehouse.execute("INSERT INTO days VALUES (?)", [ds])

    write()


DAYS = "SELECT CAST(day AS VARCHAR) FROM days ORDER BY day"


def test_tasks_write_to_the_labs_warehouse(lab):
    lab.add(warehouse_dag()).run_until("2013-01-03")
    assert lab.warehouse.execute(DAYS).fetchall() == [("2013-01-01",), ("2013-01-02",)]


def test_a_warehouse_file_stays_and_is_let_go_of(tmp_path):
    file = tmp_path / "warehouse.duckdb"
    with Lab(start="2013-01-01", warehouse=file) as lab:
        lab.add(warehouse_dag()).run_until("2013-01-02")
    with duckdb.connect(str(file)) as again:
        assert again.execute(DAYS).fetchall() == [("2013-01-01",)]


def test_a_connection_of_ones_own_is_used_and_left_open():
    con = duckdb.connect()
    with Lab(start="2013-01-01", warehouse=con) as lab:
        lab.add(warehouse_dag()).run_until("2013-01-02")
    assert con.execute(DAYS).fetchall() == [("2013-01-01",)]


def test_instants_read_the_same_on_every_machine(lab):
    assert lab.warehouse.execute("SELECT current_setting('TimeZone')").fetchone() == ("UTC",)


# --- what happened ----------------------------------------------------------------------------------------------------


@pytest.fixture
def eventful():
    """Two days of a DAG whose first task fails once on the first day, and whose last skips."""
    lab = Lab(start="2013-01-01")
    extract = Do("extract", lambda context: fail_on(context, "2013-01-01"), {"rows": 3}, retries=1, retry_delay=HOUR)
    lab.add(make_dag("weather", "extract >> load", tasks=[extract, Do("load", skip)], schedule="@daily", catchup=True))
    return lab.run_until("2013-01-03 12:00")


def fail_on(context, ds):
    print(f"reading {context['ds']}")
    if context["ds"] == ds:
        raise ValueError("no answer")
    return {"rows": 2}


def skip(context):
    raise AirflowSkipException("nothing new")


def test_the_trace_tells_the_story_and_can_be_narrowed(eventful):
    whole = eventful.trace()
    assert str(whole) == "\n".join(map(str, eventful.events))
    assert eventful.trace(task="extract", run="2013-01-01").splitlines() == [
        "2013-01-02 00:00:00 weather.extract: scheduled",
        "2013-01-02 00:00:00 weather.extract: queued",
        "2013-01-02 00:00:00 weather.extract: running",
        "2013-01-02 00:00:00 weather.extract: up_for_retry (ValueError: no answer)",
        "2013-01-02 01:00:00 weather.extract: scheduled (its delay is over)",
        "2013-01-02 01:00:00 weather.extract: queued",
        "2013-01-02 01:00:00 weather.extract: running",
        "2013-01-02 01:00:00 weather.extract: success",
    ]
    parts = [eventful.trace(run=day).splitlines() for day in ("2013-01-01", "2013-01-02")]
    assert parts[0] + parts[1] == whole.splitlines()
    assert eventful.trace("weather") == whole
    assert repr(whole) == str(whole), "a notebook shows it as it reads"


def test_the_trace_of_one_dag_leaves_out_the_others(lab):
    lab.add(daily(), make_dag("flights", "t", schedule="@daily")).advance(days=1)
    assert {line.split()[2].partition(".")[0] for line in lab.trace("flights").splitlines()} == {"flights"}
    assert "flights" not in lab.trace("weather")


def test_logs_are_kept_by_try(eventful):
    assert "ValueError: no answer" in eventful.log("extract", "2013-01-01", try_number=1)
    assert "ValueError" not in eventful.log("extract", "2013-01-01")
    assert eventful.log("extract", "2013-01-02").startswith("reading 2013-01-02\n")
    assert isinstance(eventful.log("load"), Text)
    with pytest.raises(EtlkitError, match="has had 2 tries; there is no log of try 3"):
        eventful.log("extract", "2013-01-01", try_number=3)


def test_a_task_that_never_began_has_no_log(lab):
    lab.add(make_dag("d", tasks=[Do("a", ValueError)], edges="a >> b"))
    lab.trigger()
    with pytest.raises(EtlkitError, match=r"b in manual__.* has had 0 tries"):
        lab.log("b")


def test_logs_go_to_a_folder_if_there_is_one(tmp_path):
    lab = Lab(start="2013-01-01", logs=tmp_path / "logs")
    lab.add(make_dag("d", tasks=[Do("t", lambda context: print("hello"))]))
    run = lab.trigger()
    assert lab.log("t", run) == "hello\n"
    assert [file.read_text() for file in (tmp_path / "logs").rglob("*.log")] == ["hello\n"]


def test_tables_of_what_happened(eventful):
    assert eventful.runs()["state"].tolist() == ["success", "success"]
    latest = eventful.task_instances()
    assert latest["task_id"].tolist() == ["extract", "load"] * 2
    assert latest["try_number"].tolist() == [2, 1, 1, 1]
    tries = eventful.task_instances(all_tries=True)
    assert tries["state"].tolist() == ["failed", "success", "skipped", "success", "skipped"]
    assert eventful.xcoms()["value"].tolist() == [{"rows": 3}, {"rows": 2}]
    assert eventful.decisions()["new"].tolist() == [event.new for event in eventful.events]


def test_sql_asks_the_real_tables(eventful):
    counts = eventful.sql("SELECT task_id, state, count(*) AS n FROM task_instance GROUP BY 1, 2 ORDER BY 1")
    assert counts.values.tolist() == [["extract", "success", 2], ["load", "skipped", 2]]
    told = eventful.sql("SELECT count(*) AS n FROM decision")["n"][0]
    assert told == len(eventful.events)
    with pytest.raises(MetadataError, match="only a SELECT"):
        eventful.sql("DELETE FROM task_instance")


def test_decisions_are_written_once_and_at_the_end(tmp_path):
    with Lab(start="2013-01-01", database=f"sqlite:///{tmp_path}/etl.db") as lab:
        lab.add(daily()).advance(days=1)
        written = len(lab.decisions())
        assert len(lab.decisions()) == written == len(lab.events)
        lab.advance(days=1)
        total = len(lab.events)
    with Lab(start="2013-01-03", database=f"sqlite:///{tmp_path}/etl.db") as lab:
        assert len(lab.decisions()) == total > written


def test_everything_is_the_same_each_time():
    def month():
        lab = Lab(start="2013-01-01").add(daily()).run_until("2013-02-01")
        return [
            repr(lab),
            lab._repr_html_(),
            lab.trace(),
            *(f.to_csv() for f in (lab.runs(), lab.task_instances(), lab.decisions())),
        ]

    assert month() == month()


def test_the_grid_names_runs_by_day_or_by_time(eventful, lab):
    assert str(eventful.grid()).splitlines() == [
        "2013-01-01 … 2013-01-02",
        "extract  ✓2✓",
        "load     – –",
        "✓ success  – skipped  2: at the 2nd try",
    ]
    assert str(eventful.grid(last=1)).splitlines()[0] == "2013-01-02"
    lab.add(make_dag("d", "t", schedule="@hourly", catchup=True)).advance(hours=2)
    assert str(lab.grid()).splitlines()[0] == "2013-01-01 00:00 … 2013-01-01 01:00"


# --- how it looks -----------------------------------------------------------------------------------------------------


def test_a_lab_shows_its_dags_as_a_table(lab):
    assert repr(lab) == "Lab at 2013-01-01 00:00:00 UTC\nDAG  schedule  runs  next run"
    lab.add(daily(), make_dag("by_hand", tasks=[Do("t", ValueError)])).run_until("2013-01-03")
    lab.trigger("by_hand")
    assert repr(lab).splitlines() == [
        "Lab at 2013-01-03 00:00:00 UTC",
        "DAG      schedule   runs  success  failed  next run",
        "weather  0 0 * * *     2        2       0  2013-01-04 00:00:00",
        "by_hand  None          1        0       1  none",
    ]


class Tags(html.parser.HTMLParser):
    """Collects the tags and the text of a document."""

    def __init__(self, document):
        super().__init__()
        self.tags, self.text = set(), []
        self.feed(document)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)

    def handle_data(self, data):
        self.text += data.split()


class Sly(CronDataIntervalTimetable):
    """A timetable whose summary tries to be a script."""

    summary = "<script>alert('hi')</script>"


def test_the_html_says_the_same_and_runs_no_script(lab):
    lab.add(make_dag("날씨", "t", schedule=Sly("0 0 * * *", "UTC")))
    page = Tags(lab._repr_html_())
    assert page.tags == {"table", "caption", "thead", "tbody", "tr", "th", "td"}
    assert page.text == repr(lab).split()


# --- one scheduler at a time ------------------------------------------------------------------------------------------


def test_on_a_file_only_one_schedules_and_nothing_is_done_by_halves(tmp_path):
    file = tmp_path / "etl.db"
    with Lab(start="2013-01-01", database=f"sqlite:///{file}") as lab:
        lab.add(daily())
        with SchedulerLock(file, "another one"):
            for wrong in (lab.run_until, lab.trigger, lambda: lab.backfill(None, "2012-12-01", "2012-12-02")):
                with pytest.raises(MetadataError, match="another one"):
                    wrong()
            assert lab.runs().empty
        lab.run_until("2013-01-02")
        assert len(lab.runs()) == 1


KILLED = """
import os, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from etlkit import Lab
from tests.engine import Do, make_dag

def die(context):
    print("before the end", flush=True)
    os.kill(os.getpid(), 9)

dag = make_dag("d", "a >> b >> c", tasks=[Do("a"), Do("b", die), Do("c")], schedule="@daily")
Lab(start="2013-01-02", database="sqlite:///{database}").add(dag).run_until()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no kill -9")
def test_a_lab_goes_on_where_a_killed_one_stopped(tmp_path, request):
    program = KILLED.format(root=str(request.config.rootpath), database=tmp_path / "etl.db")
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.returncode == -9, ended.stderr
    with Lab(start="2013-01-02", database=f"sqlite:///{tmp_path}/etl.db") as lab:
        assert lab.task_instances()["state"].tolist() == ["success", "running", None]
        lab.add(make_dag("d", "a >> b >> c", schedule="@daily")).run_until()
        assert lab.task_instances()["state"].tolist() == ["success"] * 3
        assert lab.task_instances()["try_number"].tolist() == [1, 2, 1]
        assert lab.runs()["state"].tolist() == ["success"]


def test_a_dag_with_an_empty_operator_runs(lab):
    with DAG("d", schedule=None) as made:
        EmptyOperator(task_id="nothing")
    assert lab.add(made).trigger(made).state == "success"


# --- assets ---


def test_a_person_says_that_an_asset_is_there():
    orders, prices = Asset("orders"), Asset("prices")
    with DAG("report", schedule=[orders, prices]) as dag:
        EmptyOperator(task_id="write")
    lab = Lab(start="2013-01-01").add(dag)
    assert lab.next_run(dag) == "waits for orders & prices"
    lab.create_asset_event(orders, {"rows": 26})
    assert (lab.next_run(dag), len(lab.runs())) == ("waits for prices", 0)
    lab.create_asset_event(prices)
    assert lab.runs()["run_type"].tolist() == ["asset_triggered"]
    assert lab.asset_events()["extra"].tolist() == [{"rows": 26}, {}]
    with pytest.raises(EtlkitError, match="must be JSON"):
        lab.create_asset_event(orders, {"rows": object()})


def test_a_dag_by_assets_or_time_shows_both():
    timetable = CronDataIntervalTimetable("@daily", "UTC")
    dag = DAG("d", schedule=AssetOrTimeSchedule(timetable=timetable, assets=Asset("orders")), start_date=at(1))
    assert Lab(start="2013-01-01").add(dag).next_run(dag) == "2013-01-02 00:00:00, or waits for orders"
