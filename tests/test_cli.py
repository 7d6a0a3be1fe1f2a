"""The command line: what each command prints and does, through the real command, scheduler and database."""

import contextlib
import inspect
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from datetime import UTC, datetime

import click
import pytest

from etlkit.cli import GROUPS, cli
from etlkit.clock import SystemClock
from etlkit.connections import Connection, Connections
from etlkit.scheduler_lock import SchedulerLock, who_schedules
from etlkit.store import Store
from etlkit.variables import Variables

WEATHER = """
    from datetime import datetime, timedelta, timezone
    from etlkit import DAG, task

    with DAG("weather", schedule="@daily", start_date=datetime(2013, 1, 1, tzinfo=timezone.utc), catchup=True) as dag:

        @task(retries=2, retry_delay=timedelta(hours=1))
        def extract(ds, ti):
            print("reading", ds)
            if ti.try_number == 1:
                raise OSError("source is out")
            return {"day": ds, "rows": 26}

        @task(owner="anna")
        def load(extracted, params):
            print(extracted["rows"], "rows", params)

        load(extract())
"""

SMALL = """
    import time
    from datetime import datetime, timezone
    from pathlib import Path
    from etlkit import DAG, task

    notes, broken, hold = (Path(__file__).with_suffix(suffix) for suffix in (".notes", ".broken", ".hold"))

    with DAG("small", schedule="@daily", start_date=datetime(2013, 1, 1, tzinfo=timezone.utc)) as dag:

        @task
        def note(ds):
            with notes.open("a") as file:
                print(ds, file=file)
            print("noted", ds)
            while hold.exists() and ds >= hold.read_text():
                time.sleep(0.01)
            if broken.exists():
                raise RuntimeError("broken")

        note()
"""
"""Notes its dates in a file; holds on from a date on, or fails, while another file is there."""


@pytest.fixture
def weather(etlkit):
    etlkit.dag_file("weather.py", WEATHER)
    return etlkit


@pytest.fixture
def small(etlkit):
    """The DAG `small`, with `notes()`: the dates for which its task began."""
    path = etlkit.dag_file("small.py", SMALL)
    etlkit.noted, etlkit.broken, etlkit.hold = (path.with_suffix(suffix) for suffix in (".notes", ".broken", ".hold"))
    etlkit.notes = lambda: etlkit.noted.read_text().split() if etlkit.noted.exists() else []
    return etlkit


def files(etlkit):
    """What is in the home folder."""
    return [path.name for path in etlkit.home.iterdir()]


def january(*days):
    return [f"2013-01-{day:02}" for day in days]


# --- the command itself -----------------------------------------------------------------------------------------------


def all_commands(command=cli, name="etlkit"):
    yield name, command
    if isinstance(command, click.Group):
        for child in command.list_commands(click.Context(command)):
            yield from all_commands(command.get_command(click.Context(command), child), f"{name} {child}")


COMMANDS = dict(all_commands())


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_each_command_has_a_sentence_and_an_example_that_parses(etlkit, name):
    assert etlkit(*name.split()[1:], "--help").exit_code == 0
    sentence, example = inspect.cleandoc(COMMANDS[name].help).split("\b\nExample: ")
    assert sentence.strip().endswith(".")
    words = shlex.split(re.search(r"etlkit [^)]*", example)[0])
    known = max((name for name in COMMANDS if words[: len(name.split())] == name.split()), key=len)
    assert known.startswith(name) or COMMANDS[known] is COMMANDS[name]
    with COMMANDS[known].make_context(known, words[len(known.split()) :]) as context:
        assert context.command is COMMANDS[known]


def test_every_group_is_found_by_its_name(etlkit):
    assert set(GROUPS) < {name.split()[1] for name in COMMANDS if " " in name}


def test_version_and_module(etlkit):
    from etlkit._version import __version__

    assert etlkit("version").stdout == etlkit("--version").stdout == f"{__version__}\n"
    assert etlkit.start("version").communicate()[0] == f"{__version__}\n"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--nonsense"], "No such option '--nonsense'; see: etlkit --help"),
        (["nonsense"], "No such command 'nonsense'; see: etlkit --help"),
        (["dags", "nonsense"], "No such command 'nonsense'; see: etlkit dags --help"),
        (["tasks", "test", "weather"], "Missing argument 'TASK'; see: etlkit tasks test --help"),
        (["dags", "test", "weather", "soon"], "'soon' is not a date; write 2013-01-31"),
        (["dags", "test", "weather", "2013-02-30"], "'2013-02-30' is not a date"),
        (["dags", "test", "weather", "-c", "{"], "'{' is not JSON"),
        (["dags", "test", "weather", "-c", "[1]"], "'[1]' is not a JSON object"),
        (["dags", "list", "--output", "xml"], "'xml' is not one of 'table', 'json', 'yaml', 'plain'"),
        (["dags", "next-execution", "weather", "-n", "0"], "0 is not in the range x>=1"),
    ],
)
def test_wrong_use_is_one_line(weather, words, line):
    assert line in weather.refused(*words)


def test_a_mistake_in_the_kit_keeps_its_traceback(etlkit, monkeypatch):
    monkeypatch.setattr("etlkit.cli.loading.find_dag", lambda *_: 1 / 0)
    assert isinstance(etlkit("dags", "show", "x").exception, ZeroDivisionError)


@pytest.mark.skipif(sys.platform == "win32", reason="pipes break differently there")
def test_a_broken_pipe_is_quiet(weather):
    reading, writing = os.pipe()
    os.close(reading)
    process = weather.start("dags", "list", "--output", "json", stdout=writing)
    os.close(writing)
    assert process.communicate()[1] == ""


def test_warnings_of_dag_files_are_one_line_each(etlkit):
    etlkit.dag_file("a.py", "from etlkit import DAG\nd = DAG('a', default_args={'schedule': '@daily'})\n")
    out, err = etlkit.start("dags", "list").communicate()
    assert "a.py:2: DAG 'a': 'schedule' in default_args is not applied" in err
    assert len(err.splitlines()) == 1
    assert "\na  " in out


# --- dags list, show, next-execution ----------------------------------------------------------------------------------


def test_dags_list(weather):
    weather.dag_file("b.py", "from etlkit import DAG\nd = DAG('b', is_paused_upon_creation=False)\n")
    assert weather.json("dags", "list") == [
        {
            "dag_id": "b",
            "schedule": "None",
            "is_paused": False,
            "owners": [],
            "fileloc": str(weather.dags / "b.py"),
        },
        {
            "dag_id": "weather",
            "schedule": "0 0 * * *",
            "is_paused": True,
            "owners": ["anna", "etlkit"],
            "fileloc": str(weather.dags / "weather.py"),
        },
    ]
    assert not (weather.home / "etlkit.db").exists(), "looking creates nothing"


def test_dags_list_as_text_and_yaml(weather):
    expected = [
        "dag_id   schedule   is_paused  owners        fileloc",
        f"weather  0 0 * * *  True       anna, etlkit  {weather.dags / 'weather.py'}",
    ]
    assert weather("dags", "list").stdout.splitlines() == expected, "no frame where there is no terminal"
    assert weather("dags", "list", "-o", "plain").stdout.splitlines() == expected
    assert weather("dags", "list", "-o", "yaml").stdout.splitlines()[:3] == [
        '- dag_id: "weather"',
        '  schedule: "0 0 * * *"',
        "  is_paused: true",
    ]


def test_a_table_on_a_terminal_fits_its_width(weather, monkeypatch):
    from etlkit.cli import tables

    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    rows = [{"dag_id": "weather", "state": "failed", "fileloc": "/a/very/long/path/" * 8}]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    coloured = tables.as_table(rows)
    assert "\x1b[31m" in coloured
    monkeypatch.setenv("NO_COLOR", "1")
    plain = tables.as_table(rows)
    assert "\x1b" not in plain
    assert "failed" in plain
    assert max(map(len, plain.splitlines())) <= 60


def test_columns_that_can_be_spared_are_left_out_of_a_narrow_terminal(monkeypatch, capsys):
    from etlkit.cli import tables

    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    rows = [{"dag_id": "weather", "run_id": "manual__2013-01-05", "state": "failed", "note": "날씨"}]
    for columns, head in ((80, "dag_id run_id state note"), (36, "run_id state note"), (30, "run_id state")):
        monkeypatch.setenv("COLUMNS", str(columns))
        tables.show(rows, "table", spare=("dag_id", "note"))
        out, err = capsys.readouterr()
        assert out.split("\n")[0].split() == head.split()
        assert ("there is no room for dag_id" in err) == (columns < 80)
    tables.show(rows, "plain", spare=("dag_id", "note"))
    assert capsys.readouterr().out.split("\n")[0].split() == list(rows[0]), "a script gets all"


def test_the_dag_folder_may_be_named_and_so_may_one_file(etlkit, tmp_path):
    for name in ("a", "b"):
        etlkit.dag_file(f"../other/{name}.py", f"from etlkit import DAG\nd = DAG({name!r})\n")
    other = tmp_path / "home" / "other"
    names = [row["dag_id"] for row in etlkit.json("dags", "list", "--subdir", other)]
    assert names == ["a", "b"]
    assert [row["dag_id"] for row in etlkit.json("dags", "list", "--file", other / "a.py")] == ["a"]
    assert [row["dag_id"] for row in etlkit.json("dags", "list", "-S", other / "b.py")] == ["b"]


def test_what_a_dag_file_prints_does_not_spoil_the_output(etlkit):
    etlkit.dag_file("a.py", "print('hello')\nfrom etlkit import DAG\nd = DAG('a')\n")
    result = etlkit("dags", "list", "-o", "json")
    assert (json.loads(result.stdout)[0]["dag_id"], result.stderr) == ("a", "hello\n")


def test_a_file_that_does_not_load_is_named_and_the_others_are_listed(weather):
    broken = weather.dag_file("broken.py", "from etlkit import DAG\n\nDAG(\n")
    result = weather("dags", "list", "-o", "json")
    assert result.exit_code == 0
    assert [row["dag_id"] for row in json.loads(result.stdout)] == ["weather"]
    assert result.stderr == f"etlkit: {broken}:3: SyntaxError: '(' was never closed\n"
    assert weather.json("dags", "list-import-errors", exit_code=1) == [
        {"filepath": str(broken), "line": 3, "error": "SyntaxError: '(' was never closed"}
    ]
    broken.unlink()
    assert weather.json("dags", "list-import-errors") == []


def test_dags_show(weather):
    weather.dag_file(
        "graph.py",
        """
        from etlkit import DAG, Label
        from etlkit.operators.empty import EmptyOperator as E

        with DAG("graph"):
            a, b, c = E(task_id="a"), E(task_id="b"), E(task_id="c", trigger_rule="all_done")
            a >> b >> c
            a >> Label("when late") >> c
        """,
    )
    assert weather("dags", "show", "graph").stdout.splitlines() == [
        "layer  task_id  operator       after             trigger_rule",
        "1      a        EmptyOperator                    all_success",
        "2      b        EmptyOperator  a                 all_success",
        "3      c        EmptyOperator  b, a (when late)  all_done",
    ]
    assert [(row["layer"], row["after"]) for row in weather.json("dags", "show", "weather")] == [
        (1, []),
        (2, ["extract"]),
    ]


def test_dags_show_draws_a_picture(weather):
    path = weather.home / "graph.png"
    assert weather("dags", "show", "weather", "--save", path).exit_code == 0
    assert path.read_bytes().startswith(b"\x89PNG")
    assert "names no kind of picture" in weather.refused("dags", "show", "weather", "--save", "graph.doc")
    assert "cannot be written" in weather.refused("dags", "show", "weather", "--save", "/no/such/folder/graph.png")


def test_dags_next_execution(weather):
    (first,) = weather.json("dags", "next-execution", "weather")
    assert first == {
        "logical_date": "2013-01-01T00:00:00+00:00",
        "data_interval_start": "2013-01-01T00:00:00+00:00",
        "data_interval_end": "2013-01-02T00:00:00+00:00",
        "run_after": "2013-01-02T00:00:00+00:00",
    }
    three = weather.json("dags", "next-execution", "weather", "-n", 3)
    assert [row["logical_date"][:10] for row in three] == january(1, 2, 3)
    assert not (weather.home / "etlkit.db").exists()


def test_dags_next_execution_passes_over_dates_that_have_a_run(small):
    path = small.dags / "small.py"
    path.write_text(path.read_text().replace('"small"', '"small", catchup=True'))
    assert small("dags", "backfill", "small", "-s", "2013-01-02").exit_code == 0
    coming = small.json("dags", "next-execution", "small", "-n", 3)
    assert [row["logical_date"][:10] for row in coming] == january(1, 3, 4)


def test_what_programs_print_that_a_task_starts_does_not_stand_amid_the_output(etlkit):
    etlkit.dag_file(
        "programs.py",
        """
        import subprocess
        from etlkit import DAG, task

        with DAG("programs"):

            @task
            def run():
                subprocess.run(["echo", "from the program"], check=True)

            run()
        """,
    )
    out, err = etlkit.start("dags", "test", "programs", "--output", "json").communicate(timeout=20)
    assert json.loads(out)["state"] == "success"
    assert "from the program" in err


def test_dags_next_execution_goes_on_after_the_last_scheduled_run(weather):
    weather("db", "init")
    store = Store(f"sqlite:///{weather.home / 'etlkit.db'}")
    day = [datetime(2013, 1, day, tzinfo=UTC) for day in (5, 6)]
    with store.transaction():
        store.create_run(
            "weather",
            "scheduled__x",
            run_type="scheduled",
            logical_date=day[0],
            data_interval=(day[0], day[1]),
            run_after=day[1],
            now=day[1],
        )
    store.close()
    assert weather.json("dags", "next-execution", "weather")[0]["logical_date"] == "2013-01-06T00:00:00+00:00"


def test_dags_next_execution_of_a_dag_without_a_schedule(etlkit):
    etlkit.dag_file("a.py", "from etlkit import DAG\nd = DAG('a')\n")
    assert etlkit.json("dags", "next-execution", "a") == []
    assert etlkit("dags", "next-execution", "a").stderr == "DAG 'a' has no next run: its schedule is None\n"


def test_tasks_list(weather):
    assert weather.json("tasks", "list", "weather") == [
        {"task_id": "extract", "operator": "PythonOperator", "trigger_rule": "all_success", "retries": 2},
        {"task_id": "load", "operator": "PythonOperator", "trigger_rule": "all_success", "retries": 0},
    ]


# --- trying out -------------------------------------------------------------------------------------------------------


def test_dags_test_runs_the_dag_once_and_leaves_nothing(weather):
    began = SystemClock().now()
    result = weather("dags", "test", "weather", "2013-01-05", "--file", weather.dags / "weather.py", "-o", "json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {
        "dag_id": "weather",
        "run_id": "manual__2013-01-05T00:00:00+00:00",
        "logical_date": "2013-01-05T00:00:00+00:00",
        "state": "success",
        "task_instances": [
            {"task_id": "extract", "map_index": -1, "state": "success", "try_number": 2},
            {"task_id": "load", "map_index": -1, "state": "success", "try_number": 1},
        ],
    }
    assert "extract try 1: reading 2013-01-05\n" in result.stderr
    assert "OSError: source is out" in result.stderr
    assert "load try 1: 26 rows {}\n" in result.stderr
    assert files(weather) == ["dags"]
    assert (SystemClock().now() - began).total_seconds() < 60, "an hour's retry delay is not waited for"


def test_dags_test_fails_with_the_run(etlkit):
    etlkit.dag_file(
        "a.py",
        """
        from etlkit import DAG, task

        with DAG("a"):
            @task
            def fails():
                raise ValueError("no")
            @task
            def never(): ...
            @task(trigger_rule="all_done")
            def always(): ...
            fails() >> [never(), always()]
        """,
    )
    run = etlkit.json("dags", "test", "a", "2013-01-05", exit_code=1)
    assert run["state"] == "failed"
    assert {task["task_id"]: (task["state"], task["try_number"]) for task in run["task_instances"]} == {
        "fails": ("failed", 1),
        "never": ("upstream_failed", 0),
        "always": ("success", 1),
    }
    table = etlkit("dags", "test", "a")
    assert table.exit_code == 1
    assert table.stdout.splitlines()[0].split() == ["task_id", "map_index", "state", "try_number"]


def test_dags_test_passes_conf_and_has_the_data_interval_of_a_manual_run(etlkit):
    etlkit.dag_file(
        "a.py",
        """
        from datetime import datetime, timezone
        from etlkit import DAG, task

        with DAG("a", schedule="@daily", start_date=datetime(2013, 1, 1, tzinfo=timezone.utc), catchup=True):
            @task
            def say(dag_run, params, data_interval_start, data_interval_end):
                print(dag_run.run_id[:6], params["airport"], data_interval_start.date(), data_interval_end.date())
            say()
        """,
    )
    result = etlkit("dags", "test", "a", "2013-01-05T06:00", "--conf", '{"airport": "JFK"}')
    assert "say try 1: manual JFK 2013-01-04 2013-01-05\n" in result.stderr


def test_dags_test_starts_its_clock_now_or_later(etlkit):
    etlkit.dag_file(
        "a.py",
        """
        from etlkit import DAG, task

        with DAG("a"):
            @task
            def look(clock):
                print("it is", clock.now().isoformat())
            look()
        """,
    )
    future = etlkit("dags", "test", "a", "2199-01-01").stderr
    assert "it is 2199-01-01T00:00:00+00:00" in future
    past = etlkit("dags", "test", "a", "1999-01-01").stderr
    assert f"it is {SystemClock().now():%Y-%m-%dT}" in past


def test_dags_test_makes_the_pools_that_tasks_name(etlkit):
    etlkit.dag_file(
        "a.py",
        """
        from etlkit import DAG
        from etlkit.operators.empty import EmptyOperator

        with DAG("a"):
            EmptyOperator(task_id="big", pool="warehouse", pool_slots=500)
        """,
    )
    assert etlkit("dags", "test", "a").exit_code == 0


def test_dags_test_gives_tasks_the_warehouse(etlkit):
    etlkit.dag_file(
        "a.py",
        """
        from etlkit import DAG, task

        with DAG("a"):
            @task
            def write(warehouse):
                warehouse.execute("CREATE OR REPLACE TABLE t AS SELECT 42 AS n")
            write()
        """,
    )
    assert etlkit("dags", "test", "a").exit_code == 0
    assert (etlkit.home / "warehouse.duckdb").exists()


def test_trials_find_the_variables_and_connections_of_the_real_database(etlkit):
    etlkit.dag_file(
        "a.py",
        """
        from etlkit import DAG, task
        from etlkit.connections import Connection
        from etlkit.variables import Variable

        with DAG("a"):
            @task
            def read():
                print("the password is", Connection.get("service").password)
                return [Variable.get("airport"), Connection.get("service").password]
            read()
        """,
    )
    etlkit("db", "init")
    store = Store(f"sqlite:///{etlkit.home / 'etlkit.db'}")
    Variables(store).set("airport", "JFK")
    Connections(store).set(Connection.from_uri("http://anna:26115rows@host", "service"))
    store.close()
    assert etlkit.json("tasks", "test", "a", "read", "2013-01-05")["return_value"] == ["JFK", "***"]
    assert "the password is ***" in etlkit("dags", "test", "a").stderr


def test_tasks_test_runs_one_task_with_its_retries(weather):
    result = weather("tasks", "test", "weather", "extract", "2013-01-05", "-o", "json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {
        "dag_id": "weather",
        "run_id": "manual__2013-01-05T00:00:00+00:00",
        "logical_date": "2013-01-05T00:00:00+00:00",
        "task_id": "extract",
        "map_index": -1,
        "state": "success",
        "try_number": 2,
        "error": None,
        "return_value": {"day": "2013-01-05", "rows": 26},
    }
    assert files(weather) == ["dags"]


def test_tasks_test_does_not_run_what_is_upstream(weather):
    result = weather("tasks", "test", "weather", "load", "2013-01-05")
    assert result.exit_code == 1
    assert "TypeError: 'NoneType' object is not subscriptable" in result.stderr
    assert "reading" not in result.stderr


def test_tasks_test_goes_on_with_a_sensor_that_gives_its_slot_back(etlkit):
    etlkit.dag_file(
        "a.py",
        """
        from datetime import timedelta
        from etlkit import DAG
        from etlkit.sensors.python import PythonSensor

        with DAG("a"):
            looks = []
            PythonSensor(
                task_id="wait", mode="reschedule", poke_interval=3600, timeout=86400,
                python_callable=lambda: looks.append(1) or len(looks) == 3,
            )
        """,
    )
    task = etlkit.json("tasks", "test", "a", "wait", "2013-01-05")
    assert (task["state"], task["try_number"]) == ("success", 1)


def test_tasks_test_refuses_the_future(weather):
    line = weather.refused("tasks", "test", "weather", "extract", "2199-01-01")
    assert line.startswith("2199-01-01 00:00:00 is in the future (it is 2")
    assert line.endswith("give an earlier one")


def test_tasks_test_of_a_date_outside_the_task_s_own(etlkit):
    etlkit.dag_file(
        "a.py",
        """
        from datetime import datetime, timezone
        from etlkit import DAG
        from etlkit.operators.empty import EmptyOperator

        with DAG("a"):
            EmptyOperator(task_id="late", start_date=datetime(2014, 1, 1, tzinfo=timezone.utc))
        """,
    )
    assert "task 'late' has no instance on 2013-01-05" in etlkit.refused("tasks", "test", "a", "late", "2013-01-05")


# --- backfill ---------------------------------------------------------------------------------------------------------

DATES = ("-s", "2013-01-01", "-e", "2013-01-05")


def test_backfill_says_first_what_it_means(small):
    result = small("dags", "backfill", "small", *DATES, "--dry-run")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "Backfill of 'small': logical dates 2013-01-01 00:00:00 to 2013-01-05 00:00:00, both included, oldest first",
        "  create  2013-01-01 00:00:00 to 2013-01-05 00:00:00 (5 runs)",
        "5 to create, 0 to run again, 0 left alone",
    ]
    assert files(small) == ["dags"], "a dry run creates nothing"
    planned = small.json("dags", "backfill", "small", *DATES, "-n")
    assert [(row["logical_date"][:10], row["action"]) for row in planned] == [
        (d, "create") for d in january(1, 2, 3, 4, 5)
    ]


def test_backfill_runs_each_date_once_and_again_does_nothing(small):
    first = small.json("dags", "backfill", "small", *DATES)
    assert [(row["logical_date"][:10], row["state"]) for row in first] == [
        (d, "success") for d in january(1, 2, 3, 4, 5)
    ]
    assert small.notes() == january(1, 2, 3, 4, 5)
    again = small("backfill", "create", "small", *DATES)
    assert again.exit_code == 0
    assert "nothing to do: all 5 runs are there already" in again.stdout
    assert small.notes() == january(1, 2, 3, 4, 5)
    log = small("logs", "show", "small", "note", "2013-01-03")
    assert (log.exit_code, log.stdout, log.stderr) == (0, "noted 2013-01-03\n", "")


def test_backfill_of_one_date_newest_first_and_all_again(small):
    small.json("dags", "backfill", "small", "-s", "2013-01-02")
    assert small.notes() == january(2)
    small.json("dags", "backfill", "small", *DATES, "--run-backwards", "--max-active-runs", 1)
    assert small.notes() == january(2, 5, 4, 3, 1)
    small.json("dags", "backfill", "small", *DATES, "--reprocess", "completed", "--max-active-runs", 1)
    assert small.notes()[5:] == january(1, 2, 3, 4, 5)


def test_a_backfill_with_failed_runs_exits_with_1_and_can_be_mended(small):
    small.broken.touch()
    runs = small.json("dags", "backfill", "small", *DATES, exit_code=1)
    assert {row["state"] for row in runs} == {"failed"}
    small.broken.unlink()
    assert small("dags", "backfill", "small", *DATES).exit_code == 0, "failed runs are there already"
    runs = small.json("dags", "backfill", "small", *DATES, "--reprocess", "failed")
    assert {row["state"] for row in runs} == {"success"}


def test_backfill_makes_no_run_that_it_did_not_name(etlkit):
    etlkit.dag_file("catchup.py", SMALL.replace('"small"', '"catchup", catchup=True, is_paused_upon_creation=False'))
    etlkit.json("dags", "backfill", "catchup", *DATES)
    assert len(etlkit.json("dags", "list-runs", "catchup")) == 5


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is POSIX")
def test_a_killed_backfill_is_gone_on_with(small):
    small.hold.write_text("2013-01-04")
    process = small.start("dags", "backfill", "small", *DATES, "--max-active-runs", "1")
    small.wait_for(lambda: len(small.notes()) == 4)
    database = small.home / "etlkit.db"
    assert who_schedules(database) == f"process {process.pid} (etlkit dags backfill small)"
    assert f"is scheduled by process {process.pid} (etlkit dags backfill small)" in small.refused(
        "dags", "backfill", "small", *DATES
    )
    process.kill()
    process.communicate()
    assert who_schedules(database) is None
    small.hold.unlink()
    result = small("dags", "backfill", "small", *DATES)
    assert result.exit_code == 0
    assert "going on with backfill 1: 3 of 5 runs finished (3 success), 1 running, 1 queued" in result.stderr
    assert small.notes() == january(1, 2, 3, 4, 4, 5), "the attempt that died is made again, nothing else"
    runs = small.json("dags", "list-runs", "small")
    assert [(run["logical_date"][:10], run["state"]) for run in runs] == [
        (d, "success") for d in january(1, 2, 3, 4, 5)
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT is POSIX")
def test_ctrl_c_lets_the_task_that_is_running_end(small):
    small.hold.write_text("2013-01-02")
    process = small.start("dags", "backfill", "small", *DATES, "--max-active-runs", "1")
    small.wait_for(lambda: len(small.notes()) == 2)
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline().startswith("stopping when the task that is running has ended")
    small.hold.unlink()
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err.endswith("stopped; repeat the command to go on\n")
    assert small.notes() == january(1, 2)
    assert "failed" not in [run["state"] for run in small.json("dags", "list-runs", "small")]
    assert small("dags", "backfill", "small", *DATES).exit_code == 0
    assert small.notes() == january(1, 2, 3, 4, 5)


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT is POSIX")
def test_runs_that_had_begun_when_their_backfill_was_cancelled_are_finished(small):
    small.hold.write_text("2013-01-01")
    process = small.start("dags", "backfill", "small", *DATES)
    small.wait_for(lambda: len(small.notes()) == 1)
    process.kill()
    process.communicate()
    small.hold.unlink()
    assert "5 runs that have begun go on" in small("backfill", "cancel", 1).stdout
    result = small("dags", "backfill", "small", *DATES)
    assert "going on with 5 runs that had begun when their backfill was cancelled" in result.stderr
    assert {run["state"] for run in small.json("dags", "list-runs", "small")} == {"success"}
    assert sorted(set(small.notes())) == january(1, 2, 3, 4, 5)


def test_backfills_are_listed_and_those_of_the_past_cannot_be_changed(small):
    small.json("dags", "backfill", "small", *DATES)
    (row,) = small.json("backfill", "list", "--dag-id", "small")
    assert (row["id"], row["state"], row["success"], row["queued"]) == (1, "complete", 5, 0)
    for command in ("pause", "unpause", "cancel"):
        assert "backfill 1 of DAG 'small' is complete" in small.refused("backfill", command, 1)
        assert "there is no backfill 7" in small.refused("backfill", command, 7)


def open_backfill(small):
    """A backfill that some other process would carry out."""
    from etlkit.backfill import create_backfill, plan_backfill
    from etlkit.dag_files import load_dag_file

    small("db", "init")
    store, now = Store(f"sqlite:///{small.home / 'etlkit.db'}"), SystemClock().now()
    (dag,) = load_dag_file(small.dags / "small.py")
    plan = plan_backfill(dag, datetime(2013, 1, 1, tzinfo=UTC), datetime(2013, 1, 5, tzinfo=UTC), now=now)
    create_backfill(store, dag, plan, now=now)
    store.close()


def test_an_open_backfill_can_be_paused_and_cancelled(small):
    open_backfill(small)
    assert small("backfill", "pause", 1).stdout == "backfill 1 is paused\n"
    assert small.json("backfill", "list")[0]["state"] == "paused"
    assert small("backfill", "unpause", 1).stdout == "backfill 1 goes on\n"
    assert small("backfill", "cancel", 1).stdout == "backfill 1 is cancelled; 5 queued runs failed\n", (
        "nothing had begun"
    )
    assert {run["state"] for run in small.json("dags", "list-runs", "small", "--state", "failed")} == {"failed"}


def test_a_paused_backfill_is_not_gone_on_with(small):
    open_backfill(small)
    small("backfill", "pause", 1)
    line = small.refused("dags", "backfill", "small", *DATES)
    assert line == "backfill 1 is paused; let it go on: etlkit backfill unpause 1"
    small("backfill", "unpause", 1)
    assert small("dags", "backfill", "small", *DATES).exit_code == 0
    assert small.notes() == january(1, 2, 3, 4, 5)


def test_a_backfill_that_is_paused_while_it_runs_waits(small):
    small.environ["ETLKIT__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME"] = "0.02"
    small.hold.write_text("2013-01-01")
    process = small.start("dags", "backfill", "small", *DATES, "--max-active-runs", "1")
    small.wait_for(lambda: small.notes() == january(1))
    assert small("backfill", "pause", 1).exit_code == 0
    small.hold.unlink()
    assert process.stderr.readline() == "waiting for: etlkit backfill unpause 1\n"
    assert small.notes() == january(1)
    small("backfill", "unpause", 1)
    assert process.communicate(timeout=20)[1] == "backfill 1 of small: 5 of 5 runs finished (5 success)\n"
    assert small.notes() == january(1, 2, 3, 4, 5)


@pytest.mark.skipif(sys.platform == "win32", reason="terminals are files on POSIX")
def test_a_terminal_sees_a_progress_bar(small):
    terminal, end = os.openpty()
    process = small.start("dags", "backfill", "small", *DATES, stderr=end)
    process.communicate(timeout=20)
    os.close(end)
    shown = b""
    with contextlib.suppress(OSError):  # the end of a terminal's input is an error on Linux
        while part := os.read(terminal, 4096):
            shown += part
    os.close(terminal)
    assert "5/5" in shown.decode()


def test_a_backfill_that_cannot_go_on_says_why(small, monkeypatch):
    monkeypatch.setenv("ETLKIT__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME", "0.01")
    (small.dags / "small.py").write_text((small.dags / "small.py").read_text().replace("@task", "@task(pool='narrow')"))
    result = small("dags", "backfill", "small", "-s", "2013-01-01")
    assert result.exit_code == 2
    assert "backfill 1 cannot go on: " in result.stderr
    assert "narrow" in result.stderr.splitlines()[-1]


# --- triggering, pausing, looking -------------------------------------------------------------------------------------


def test_trigger_queues_a_run_and_says_if_it_will_wait(weather):
    result = weather("dags", "trigger", "weather", "-e", "2013-01-05", "-r", "mine", "-c", '{"a": 1}', "-o", "json")
    assert json.loads(result.stdout) == [
        {
            "dag_id": "weather",
            "run_id": "mine",
            "state": "queued",
            "logical_date": "2013-01-05T00:00:00+00:00",
            "data_interval_start": "2013-01-04T00:00:00+00:00",
            "data_interval_end": "2013-01-05T00:00:00+00:00",
            "conf": {"a": 1},
        }
    ]
    assert "is paused: the run waits until `etlkit dags unpause weather`" in result.stderr
    assert "already has a run of 2013-01-05" in weather.refused("dags", "trigger", "weather", "-e", "2013-01-05")
    assert weather("dags", "unpause", "weather").exit_code == 0
    assert weather("dags", "trigger", "weather", "-l", "2013-01-06").stderr == ""
    assert [run["state"] for run in weather.json("dags", "list-runs", "weather")] == ["queued", "queued"]


def test_a_run_triggered_without_a_date_is_about_none_and_says_what_it_could_be_about(weather):
    result = weather("dags", "trigger", "weather", "-o", "json")
    (run,) = json.loads(result.stdout)
    assert [run[name] for name in ("logical_date", "data_interval_start", "data_interval_end")] == [None] * 3
    assert re.search(r"no logical date, so ds, ts .* with -l \S+ it would be about \S+ 00:00:00 to", result.stderr)


def test_pause_and_unpause(weather):
    assert weather.json("dags", "unpause", "weather") == [{"dag_id": "weather", "is_paused": False}]
    assert weather.json("dags", "list")[0]["is_paused"] is False
    (weather.dags / "weather.py").unlink()
    assert weather.json("dags", "pause", "weather") == [{"dag_id": "weather", "is_paused": True}]
    assert "no DAG is called 'other'" in weather.refused("dags", "pause", "other")


def test_states_of_a_run_and_the_logs_of_its_tries(weather):
    weather.dag_file("weather.py", WEATHER.replace("hours=1", "0"))
    weather.json("dags", "backfill", "weather", "-s", "2013-01-05")
    states = weather.json("tasks", "states-for-dag-run", "weather", "2013-01-05")
    assert [(task["task_id"], task["state"], task["try_number"]) for task in states] == [
        ("extract", "success", 2),
        ("load", "success", 1),
    ]
    by_id = weather.json("tasks", "states-for-dag-run", "weather", "backfill__2013-01-06T00:00:00+00:00")
    assert by_id == states
    assert weather("logs", "show", "weather", "extract", "2013-01-05").stdout.startswith("reading 2013-01-05\n")
    first = weather("logs", "show", "weather", "extract", "2013-01-05", "--try-number", 1)
    assert "OSError: source is out" in first.stdout
    assert "has had 2 tries" in weather.refused("logs", "show", "weather", "extract", "2013-01-05", "-t", 3)
    assert "no task 'extrac'; did you mean 'extract'" in weather.refused(
        "logs", "show", "weather", "extrac", "2013-01-05"
    )
    assert "has no run of 2013-01-06" in weather.refused("tasks", "states-for-dag-run", "weather", "2013-01-06")
    assert "has no run of never" in weather.refused("tasks", "states-for-dag-run", "weather", "never")


def test_old_logs_are_deleted(small):
    small.json("dags", "backfill", "small", "-s", "2013-01-01", "-e", "2013-01-02")
    files = sorted((small.home / "logs").rglob("*.log"))
    assert len(files) == 2
    os.utime(files[0], (0, 0))
    assert "say how old" in small.refused("logs", "clean")
    assert small("logs", "clean", "--before", "2013-01-01", "--dry-run").stdout.startswith("would delete 1 log files")
    assert files[0].exists()
    assert small("logs", "clean", "--older-than", 30).stdout == f"deleted 1 log files in {small.home / 'logs'}\n"
    assert [file for file in files if file.exists()] == [files[1]]


def test_why_not(weather):
    weather("dags", "trigger", "weather", "-e", "2013-01-05")
    answer = weather.json("dags", "why", "weather", "--run", "2013-01-05", "--task", "load")
    kinds = [blocker["kind"] for blocker in answer]
    assert kinds[0] == "scheduler"
    assert "paused" in kinds
    with SchedulerLock(weather.home / "etlkit.db", "a test"):
        kinds = [blocker["kind"] for blocker in weather.json("dags", "why", "weather")]
    assert "scheduler" not in kinds
    assert weather("dags", "why", "weather").stdout.startswith("weather:\n- ")


# --- the scheduler ----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT is POSIX")
def test_the_scheduler_runs_what_is_triggered_and_sees_new_files(small, monkeypatch):
    small.environ["ETLKIT__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME"] = "0.05"
    small.environ["ETLKIT__DAG_PROCESSOR__REFRESH_INTERVAL"] = "0.05"
    small("dags", "unpause", "small")
    process = small.start("scheduler")
    small.dag_file("late.py", SMALL.replace('"small"', '"late", is_paused_upon_creation=False'))
    small("dags", "trigger", "small", "-e", "2013-01-05")
    small("dags", "trigger", "late", "-e", "2013-01-06")

    def runs():
        return [*small.json("dags", "list-runs", "small"), *small.json("dags", "list-runs", "late")]

    small.wait_for(lambda: {run["state"] for run in runs()} == {"success"})
    assert [run["run_id"].split("__")[0] for run in runs()].count("scheduled") == 2, "yesterday's, of each DAG"
    small.dag_file("small.py", SMALL.replace("print(ds, file", "print('changed', file"))
    small("dags", "trigger", "small", "-e", "2013-01-07")
    small.wait_for(lambda: len(runs()) == 5 and {run["state"] for run in runs()} == {"success"})
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (0, "")
    assert err.splitlines()[0].startswith("scheduling ")
    assert "2013-01-05" in small.notes()
    assert small.notes()[-1] == "changed"


# --- the database -----------------------------------------------------------------------------------------------------


def test_db_commands(small):
    database = small.home / "etlkit.db"
    assert small("db", "path").stdout == f"{database}\n"
    assert "there is no metadata database" in small.refused("db", "check")
    assert small("db", "init").stdout == f"metadata database {database} is ready\n"
    assert small("db", "init").exit_code == 0
    small.json("dags", "backfill", "small", "-s", "2013-01-01")
    assert small("db", "check").stdout.startswith(f"metadata database {database} is in order: 1 DAGs, 1 runs, ")


def test_db_reset_asks_first(small):
    small.json("dags", "backfill", "small", "-s", "2013-01-01")
    assert small("db", "reset").exit_code == 1, "nobody answered"
    assert len(small.json("dags", "list-runs", "small")) == 1
    assert small("db", "reset", "--yes").exit_code == 0
    assert small.json("dags", "list-runs", "small") == []
    store = Store(f"sqlite:///{small.home / 'etlkit.db'}")
    assert store.pools() == {"default_pool": 128}
    store.close()


def test_the_name_of_a_database_hides_its_password(etlkit, monkeypatch):
    monkeypatch.setenv("ETLKIT__DATABASE__SQL_ALCHEMY_CONN", "postgresql://anna:secret@host/etl")
    assert etlkit("db", "path").stdout == "postgresql://anna:***@host/etl\n"


# --- quick to start ---------------------------------------------------------------------------------------------------

HEAVY = ("sqlalchemy", "pandas", "pyarrow", "matplotlib", "duckdb", "pendulum", "jinja2", "rich")


@pytest.mark.parametrize(
    "words",
    [
        *(["--help"], ["variables", "--help"], ["connections", "--help"], ["config", "list"], ["completion", "fish"]),
        *(["dags", "list"], ["dags", "report"], ["dags", "show", "small"], ["tasks", "list", "small"]),
    ],
)
def test_a_command_that_only_looks_loads_no_heavy_library(small, words):
    small("db", "init")
    code = (
        f"import sys; from etlkit.cli import cli; cli({words!r}, standalone_mode=False); "
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=small.environ, capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"
