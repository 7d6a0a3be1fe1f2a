"""`etlkit tasks run`, `clear`, `render` and so on, and the commands about single runs: on a real database and files."""

import json
import sys

import pytest

from etlkit.scheduler_lock import SchedulerLock

PIPELINE = """
    from datetime import datetime, timedelta
    from pathlib import Path
    from zoneinfo import ZoneInfo
    from etlkit import DAG, task
    from etlkit.operators import BashOperator

    here = Path(__file__)
    SEOUL = ZoneInfo("Asia/Seoul")

    with DAG("p", schedule="@daily", start_date=datetime(2013, 1, 1, tzinfo=SEOUL), tags=["nyc"]) as dag:

        @task(retries=1, retry_delay=timedelta(hours=1))
        def extract(ds):
            print("reading", ds)
            while here.with_suffix(".hold").exists():
                here.with_suffix(".held").touch()
            if here.with_suffix(".broken").exists():
                raise OSError("source is out")
            return [26, 24]

        @task(depends_on_past=True)
        def load(rows):
            print(rows, "rows")

        @task
        def each(row):
            print("row", row)

        rows = extract()
        load(rows) >> BashOperator(task_id="say", bash_command="echo {{ ds }} {{ var.value.api_key }}", pool="loud")
        each.expand(row=rows)
"""

DAY = "2013-01-05"
RUN = "manual__2013-01-04T15:00:00+00:00"
"""Midnight of that day in Seoul."""


@pytest.fixture
def pipeline(etlkit):
    path = etlkit.dag_file("p.py", PIPELINE)
    etlkit.hold, etlkit.held, etlkit.broken = (path.with_suffix(suffix) for suffix in (".hold", ".held", ".broken"))
    etlkit("variables", "set", "api_key", "26115rows")
    return etlkit


def run(etlkit, task_id, *words, day=DAY, exit_code=0):
    """How one attempt ended."""
    task = etlkit.json("tasks", "run", "p", task_id, day, *words, exit_code=exit_code)
    return task["state"], task["try_number"]


def states(etlkit, day=DAY):
    return {
        (row["task_id"], row["map_index"]): row["state"] for row in etlkit.json("tasks", "states-for-dag-run", "p", day)
    }


# --- tasks run --------------------------------------------------------------------------------------------------------


def test_tasks_run_makes_one_attempt_and_remembers_it(pipeline):
    result = pipeline("tasks", "run", "p", "extract", DAY, "-o", "json")
    assert json.loads(result.stdout) == {
        "dag_id": "p",
        "run_id": RUN,
        "logical_date": "2013-01-04T15:00:00+00:00",
        "task_id": "extract",
        "map_index": -1,
        "state": "success",
        "try_number": 1,
        "error": None,
    }
    assert "extract try 1: reading 2013-01-04\n" in result.stderr
    assert "reading 2013-01-04\n" in pipeline("logs", "show", "p", "extract", DAY).stdout
    assert states(pipeline) == {
        ("extract", -1): "success",
        ("load", -1): "scheduled",
        ("say", -1): None,
        ("each", 0): "scheduled",
        ("each", 1): "scheduled",
    }, "what follows is decided, and nothing else runs"


def test_tasks_run_one_after_the_other_ends_the_run(pipeline):
    pipeline("pools", "set", "loud", 1)
    run(pipeline, "extract")
    run(pipeline, "load")
    assert pipeline("tasks", "run", "p", "each", DAY).stderr == (
        "etlkit: each is mapped; say which of its instances: --map-index 0 to 1\n"
    )
    for index in (0, 1):
        run(pipeline, "each", "--map-index", index)
    assert pipeline("dags", "state", "p", DAY).stdout == "running\n"
    assert run(pipeline, "say") == ("success", 1)
    assert pipeline("dags", "state", "p", DAY).stdout == "success\n"
    assert "row 24" in pipeline("logs", "show", "p", "each", DAY, "--map-index", 1).stdout


def test_tasks_run_obeys_what_the_task_waits_for_unless_told_otherwise(pipeline):
    line = pipeline.refused("tasks", "run", "p", "load", DAY)
    assert f"load did not run in {RUN}: all_success" in line
    assert "waits for extract" in line
    assert line.endswith("it runs all the same with --ignore-dependencies")
    assert pipeline.json("dags", "list-runs", "p") == [], "a run that was made for nothing is gone"
    assert run(pipeline, "load", "--ignore-dependencies") == ("success", 1)
    assert states(pipeline)["extract", -1] == "scheduled"


def test_tasks_run_obeys_the_run_before(pipeline):
    pipeline.broken.touch()
    assert run(pipeline, "extract", exit_code=1) == ("up_for_retry", 1)
    run(pipeline, "extract", day="2013-01-06", exit_code=1)
    pipeline.broken.unlink()
    run(pipeline, "extract", "-i", day="2013-01-06")
    line = pipeline.refused("tasks", "run", "p", "load", "2013-01-06")
    assert f"depends_on_past: it is not finished in {RUN}" in line
    assert run(pipeline, "load", "--ignore-depends-on-past", day="2013-01-06") == ("success", 1)


def test_tasks_run_waits_for_no_retry_delay_but_obeys_it(pipeline):
    pipeline.broken.touch()
    assert run(pipeline, "extract", exit_code=1) == ("up_for_retry", 1)
    line = pipeline.refused("tasks", "run", "p", "extract", DAY)
    assert "try 1 of 2 failed (OSError: source is out); the next begins at" in line
    assert run(pipeline, "extract", "-i", exit_code=1) == ("failed", 2)
    pipeline.broken.unlink()
    assert pipeline.refused("tasks", "run", "p", "extract", DAY).endswith("it runs all the same with --force")
    assert states(pipeline)["load", -1] == "upstream_failed"
    assert run(pipeline, "extract", "--force") == ("success", 3)
    assert "something before it failed; clear what failed" in pipeline.refused("tasks", "run", "p", "load", DAY)
    assert run(pipeline, "load", "-A") == ("success", 1)


def test_tasks_run_of_what_is_ready_needs_nothing_to_be_ignored(pipeline):
    run(pipeline, "extract")
    assert run(pipeline, "load", "-i") == ("success", 1)


def test_tasks_run_obeys_the_pool(pipeline):
    for task_id in ("extract", "load"):
        run(pipeline, task_id)
    line = pipeline.refused("tasks", "run", "p", "say", DAY)
    assert line.endswith("there is no pool 'loud'; create it, or name another in the task")


def test_tasks_run_of_a_mapped_task_before_it_is_known_what_it_is_mapped_over(pipeline):
    assert "waits for extract" in pipeline.refused("tasks", "run", "p", "each", DAY)
    assert "each is mapped over what is not there yet" in pipeline.refused("tasks", "run", "p", "each", DAY, "-i")
    run(pipeline, "extract")
    assert "has no instance 2 in" in pipeline.refused("tasks", "run", "p", "each", DAY, "--map-index", 2)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("extrakt", DAY), "DAG 'p' has no task 'extrakt'; did you mean 'extract'?"),
        (("extract", "2199-01-01"), "is in the future"),
        (("extract", "soon"), "DAG 'p' has no run of soon; see: etlkit dags list-runs p"),
    ],
)
def test_tasks_run_refuses_what_cannot_be_and_leaves_no_run(pipeline, words, line):
    assert line in pipeline.refused("tasks", "run", "p", *words)
    assert pipeline.json("dags", "list-runs", "p") == []


def test_tasks_run_leaves_the_tasks_to_a_scheduler_that_runs(pipeline):
    with SchedulerLock(pipeline.home / "etlkit.db", "a test"):
        assert "(a test); wait until it ends" in pipeline.refused("tasks", "run", "p", "extract", DAY)


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is POSIX")
def test_an_attempt_that_was_killed_is_made_again(pipeline):
    pipeline.hold.touch()
    process = pipeline.start("tasks", "run", "p", "extract", DAY)
    pipeline.wait_for(pipeline.held.exists)
    process.kill()
    process.communicate()
    pipeline.hold.unlink()
    assert pipeline("tasks", "state", "p", "extract", DAY).stdout == "running\n"
    assert run(pipeline, "extract") == ("success", 2)


# --- tasks test -------------------------------------------------------------------------------------------------------


def test_tasks_test_of_an_instance_of_a_mapped_task(etlkit):
    etlkit.dag_file(
        "a.py",
        """
        from etlkit import DAG, task

        with DAG("a"):
            @task
            def double(n):
                return 2 * n
            double.expand(n=[1, 2]) >> double.override(task_id="plain")(3)
        """,
    )
    assert etlkit.json("tasks", "test", "a", "double", DAY, "--map-index", 1)["return_value"] == 4
    assert etlkit.json("tasks", "test", "a", "double", DAY)["return_value"] == 2
    assert "has no instance 2: it has 0 to 1" in etlkit.refused("tasks", "test", "a", "double", DAY, "--map-index", 2)
    assert "it is not mapped" in etlkit.refused("tasks", "test", "a", "plain", DAY, "--map-index", 2)


def test_tasks_test_of_a_task_that_is_mapped_over_another_one_s_result(pipeline):
    line = pipeline.refused("tasks", "test", "p", "each", DAY)
    assert line == "task 'each' is mapped over what other tasks return; try the whole: dags test"


# --- clear ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def two_runs(pipeline):
    """Two runs in which `extract` and `load` have succeeded."""
    for day in (DAY, "2013-01-06"):
        for task_id in ("extract", "load"):
            run(pipeline, task_id, day=day)
    return pipeline


def test_clear_lists_and_asks_first(two_runs):
    result = two_runs("tasks", "clear", "p", "-t", "^ex")
    assert result.exit_code == 1, "nobody answered"
    assert [line.split()[1] for line in result.stdout.splitlines()] == ["task_id", "extract", "extract"]
    assert "Clear these 2 task instances?" in result.stderr
    assert states(two_runs)["extract", -1] == "success"


def test_clear_of_some_tasks_in_some_runs(two_runs):
    result = two_runs("tasks", "clear", "p", "-t", "^extr", "-d", "-s", "2013-01-06", "-e", "2013-01-06", "-y")
    assert result.exit_code == 0
    assert "cleared 5 task instances; they run when a scheduler does" in result.stderr
    assert "is paused: they wait until `etlkit dags unpause p`" in result.stderr
    assert states(two_runs)["load", -1] == "success"
    assert set(states(two_runs, "2013-01-06").values()) == {None}


def test_clear_of_what_failed(two_runs):
    assert two_runs("tasks", "clear", "p", "--only-failed").stderr == "nothing to clear\n"
    two_runs.broken.touch()
    for _ in range(2):
        run(two_runs, "extract", "-A", exit_code=1)
    cleared = two_runs.json("tasks", "clear", "p", "--only-failed", "--yes")
    assert {(row["task_id"], row["state"]) for row in cleared} >= {("extract", "failed")}
    assert {row["state"] for row in cleared} <= {"failed", "upstream_failed"}


def test_clear_refuses_an_expression_that_finds_nothing(two_runs):
    assert "'zzz' finds no task of DAG 'p'; it has extract, load" in two_runs.refused(
        "tasks", "clear", "p", "-t", "zzz"
    )
    assert "'[' is not a regular expression" in two_runs.refused("tasks", "clear", "p", "-t", "[")


def test_what_was_cleared_runs_when_a_scheduler_does(etlkit):
    etlkit.dag_file(
        "a.py",
        """
        from etlkit import DAG, task

        with DAG("a", is_paused_upon_creation=False):
            @task
            def say(ti):
                print("try", ti.try_number)
            say()
        """,
    )
    etlkit.json("tasks", "run", "a", "say", DAY)
    etlkit("tasks", "clear", "a", "-y")
    assert etlkit("dags", "state", "a", DAY).stdout == "queued\n"
    assert etlkit("scheduler", "--num-runs", 1).exit_code == 0
    assert etlkit("dags", "state", "a", DAY).stdout == "success\n"
    assert etlkit("logs", "show", "a", "say", DAY).stdout == "try 2\n"


# --- looking ----------------------------------------------------------------------------------------------------------


def test_state_of_a_task(two_runs):
    assert two_runs("tasks", "state", "p", "load", DAY).stdout == "success\n"
    assert two_runs("tasks", "state", "p", "each", DAY).stdout == "scheduled\nscheduled\n"
    assert two_runs.json("tasks", "state", "p", "each", DAY, "--map-index", 1) == [
        {"task_id": "each", "map_index": 1, "state": "scheduled"}
    ]
    assert "has no instance 2" in two_runs.refused("tasks", "state", "p", "each", DAY, "--map-index", 2)
    assert "did you mean 'load'?" in two_runs.refused("tasks", "state", "p", "lod", DAY)


def test_failed_deps_says_why(two_runs):
    kinds = [row["kind"] for row in two_runs.json("tasks", "failed-deps", "p", "say", DAY)]
    assert "no_pool" in kinds
    assert two_runs("tasks", "failed-deps", "p", "load", DAY).stdout.startswith(f"p.load in {RUN}:\n- it succeeded")


def test_render(two_runs):
    shown = two_runs("tasks", "render", "p", "say", DAY).stdout
    assert shown.startswith("# bash_command\necho 2013-01-04 ***\n")
    assert "# env" not in shown, "it is not set"
    other = two_runs.json("tasks", "render", "p", "say", "2013-02-01")
    assert other["bash_command"] == "echo 2013-01-31 ***", "no run is needed"
    assert two_runs.json("tasks", "render", "p", "each", DAY, "--map-index", 1)["op_kwargs"] == {"row": 24}
    assert len(two_runs.json("dags", "list-runs", "p")) == 2
    assert "each' is mapped; say which" in two_runs.refused("tasks", "render", "p", "each", DAY)
    assert "has no run 'soon'; give a run_id, or a date" in two_runs.refused("tasks", "render", "p", "say", "soon")


def test_render_of_a_template_that_cannot_be_rendered(etlkit):
    etlkit.dag_file(
        "a.py",
        """
        from etlkit import DAG
        from etlkit.operators import BashOperator

        with DAG("a"):
            BashOperator(task_id="say", bash_command="echo {{ dss }}")
        """,
    )
    line = etlkit.refused("tasks", "render", "a", "say", DAY)
    assert "bash_command cannot be rendered: 'dss' is undefined; did you mean 'ds'?" in line


# --- dags -------------------------------------------------------------------------------------------------------------


def test_a_date_without_a_zone_is_read_in_that_of_the_dag(two_runs):
    assert two_runs("dags", "state", "p", DAY).stdout == "running\n"
    (two_runs.dags / "p.py").unlink()
    assert two_runs("dags", "state", "p", RUN).stdout == "running\n"
    assert two_runs("dags", "state", "p", "2013-01-05T00:00+09:00").stdout == "running\n"
    assert "has no run of 2013-01-06" in two_runs.refused("dags", "state", "p", "2013-01-06")


def test_a_day_means_the_run_that_alone_falls_on_it(etlkit):
    etlkit.dag_file("a.py", "from etlkit import DAG\nd = DAG('a')\n")
    for moment in ("2013-01-05T06:00", "2013-01-06T06:00", "2013-01-06T18:00"):
        etlkit("dags", "trigger", "a", "-l", moment)
    assert etlkit("dags", "state", "a", "2013-01-05").stdout == "queued\n"
    assert "DAG 'a' has 2 runs of 2013-01-06" in etlkit.refused("dags", "state", "a", "2013-01-06")
    etlkit("dags", "trigger", "a", "-l", "2013-01-06", "-c", '{"password": "hunter22", "n": 1}')
    assert etlkit("dags", "state", "a", "2013-01-06").stdout == 'queued, {"password": "***", "n": 1}\n'


def test_details(pipeline):
    about = pipeline.json("dags", "details", "p")
    assert about["schedule"] == "0 0 * * *"
    assert about["timezone"] == "Asia/Seoul"
    assert (about["tags"], about["is_paused"], about["tasks"]) == (["nyc"], True, 4)
    assert "fileloc " in pipeline("dags", "details", "p").stdout


def test_report(pipeline):
    pipeline.dag_file("broken.py", "dag = 1 / 0\n")
    rows = {row["file"]: row for row in pipeline.json("dags", "report")}
    row = rows[str(pipeline.dags / "p.py")]
    assert (row["dags"], row["tasks"], row["dag_ids"]) == (1, 4, ["p"])
    assert 0 < row["seconds"] < 60
    assert rows[str(pipeline.dags / "broken.py")]["dags"] == 0


def test_delete_forgets_a_dag(two_runs):
    two_runs.dag_file("other.py", "from etlkit import DAG\nd = DAG('other')\n")
    two_runs("dags", "trigger", "other", "-l", DAY)
    assert two_runs("dags", "delete", "p").exit_code == 1, "nobody answered"
    assert two_runs("dags", "delete", "p", "-y").stdout == "DAG 'p' is forgotten, with 2 runs and 4 logs\n"
    assert two_runs.json("dags", "list-runs", "p") == []
    assert not list((two_runs.home / "logs").rglob("*.log"))
    assert len(two_runs.json("dags", "list-runs", "other")) == 1
    assert "no DAG is called 'p'" in two_runs.refused("dags", "delete", "p", "-y")
