"""Whatever is wrong with what the kit is given, the answer is one line that says what, where and what to do.

Through the command line, where a person would meet it. Bad CSV files are in test_sources.py, bad columns and rows, and
the names of tables and columns, in warehouse/.
"""

import ctypes
import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

OPERATOR = "from etlkit.operators.empty import EmptyOperator as E"

# --- DAG files --------------------------------------------------------------------------------------------------------

DAG_FILES = {
    "a cycle": (
        f"{OPERATOR}\nwith DAG('d'):\n    a, b, c = (E(task_id=t) for t in 'abc')\n    a >> b >> c >> a",
        ":3: DAG 'd' has a cycle: a >> b >> c >> a; remove one of these edges",
    ),
    "a task that waits for itself": (
        f"{OPERATOR}\nwith DAG('d'):\n    a = E(task_id='a')\n    a >> a",
        ":5: DAG 'd' has a cycle: a >> a; remove one of these edges",
    ),
    "two tasks of one id": (
        f"{OPERATOR}\nwith DAG('d'):\n    E(task_id='load')\n    E(task_id='load')",
        ":5: DAG 'd' already has a task 'load'; give this one another task_id",
    ),
    "two DAGs of one id": ("a, b = DAG('d'), DAG('d')", ": two DAGs are called 'd'; rename one"),
    "an upstream that is no task": (
        f"{OPERATOR}\nwith DAG('d'):\n    E(task_id='load') << 'extract'",
        ":4: unknown upstream or downstream 'extract' (str)",
    ),
    "an upstream task by a name that there is not": (
        f"{OPERATOR}\nwith DAG('d') as d:\n    E(task_id='extract') >> d.get_task('lod')\n",
        ":4: DAG 'd' has no task 'lod'",
    ),
    "a cron that never fires": ("DAG('d', schedule='0 0 30 2 *')", ":2: cron '0 0 30 2 *' names no date"),
    "a cron that cannot be read": ("DAG('d', schedule='every day')", ":2: cron 'every day' cannot be read"),
    "an unknown preset": ("DAG('d', schedule='@dayly')", ":2: no schedule is called '@dayly'; did you mean '@daily'?"),
    "a naive start": (
        "from datetime import datetime\nDAG('d', start_date=datetime(2013, 1, 1))",
        ":3: DAG 'd': start_date datetime.datetime(2013, 1, 1, 0, 0) has no time zone; add tzinfo=timezone.utc",
    ),
    "a start that is no date": ("DAG('d', start_date='2013-01-01')", ":2: DAG 'd': start_date must be a datetime"),
    "an unknown time zone": (
        "from etlkit.timetables import CronDataIntervalTimetable as C\nDAG('d', schedule=C('@daily', 'Asia/Soul'))",
        ":3: no time zone is called 'Asia/Soul'; did you mean 'Asia/Seoul'?",
    ),
    "an unknown time zone, by pendulum": (
        "import pendulum\nDAG('d', start_date=pendulum.datetime(2013, 1, 1, tz='Asia/Soul'))",
        ":3: InvalidTimezone: ",
    ),
    "an end before the start": (
        "from datetime import datetime, timezone as z\n"
        "DAG('d', start_date=datetime(2013, 2, 1, tzinfo=z.utc), end_date=datetime(2013, 1, 1, tzinfo=z.utc))",
        ":3: DAG 'd': end_date 2013-01-01 00:00:00+00:00 is before start_date 2013-02-01 00:00:00+00:00",
    ),
    "a name with quotes and spaces": (
        "DAG('the \\'big\\' one; DROP TABLE dag')",
        ":2: dag_id \"the 'big' one; DROP TABLE dag\" may hold only letters, digits, '.', '-' and '_'; "
        "try 'the_big_one_DROP_TABLE_dag'",
    ),
    "a syntax error": ("with DAG('d')\n    pass", ":2: SyntaxError: expected ':'"),
    "an exception": ("{}['AIRPORT']", ":2: KeyError: 'AIRPORT'"),
    "no DAG": ("AIRPORTS = ['JFK']", ": there is no DAG in it; assign one to a variable, write `with DAG(...)`, or"),
}


@pytest.mark.parametrize(("text", "expected"), DAG_FILES.values(), ids=DAG_FILES)
def test_a_dag_file(etlkit, text, expected):
    path = etlkit.dag_file("bad.py", "from etlkit import DAG\n" + text + "\n")
    for words in (["dags", "list"], ["dags", "test", "d", "2013-01-05"], ["tasks", "list", "d"]):
        assert etlkit.refused(*words, "--file", path).startswith(f"{path}{expected}")


@pytest.mark.parametrize(("text", "expected"), DAG_FILES.values(), ids=DAG_FILES)
def test_a_dag_file_beside_good_ones(etlkit, text, expected):
    etlkit.dag_file("good.py", "from etlkit import DAG\nd = DAG('good')\n")
    path = etlkit.dag_file("bad.py", "from etlkit import DAG\n" + text + "\n")
    result = etlkit("dags", "list", "--output", "json")
    assert (result.exit_code, [dag["dag_id"] for dag in json.loads(result.stdout)]) == (0, ["good"])
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"etlkit: {path}{expected}")


def test_one_dag_id_in_two_files(etlkit):
    first, second = (etlkit.dag_file(name, "from etlkit import DAG\nd = DAG('d')\n") for name in ("a.py", "b.py"))
    result = etlkit("dags", "list")
    assert result.stderr == f"etlkit: {second}: two DAGs are called 'd' (in {first} and {second}); rename one\n"


def test_a_dag_file_or_folder_that_is_not_there(etlkit):
    missing = etlkit.dags / "missing.py"
    assert etlkit.refused("dags", "list", "--file", missing).startswith(f"{missing}: there is no such file or folder")
    etlkit.dags.rmdir()
    assert etlkit.refused("dags", "list").startswith(f"{etlkit.dags}: there is no such file or folder")


# --- names and dates --------------------------------------------------------------------------------------------------

SMALL = """
    from datetime import datetime, timezone
    from etlkit import DAG, task

    with DAG("small", schedule="@daily", start_date=datetime(2013, 1, 1, tzinfo=timezone.utc)):

        @task
        def load(ds, params):
            print(ds, params)

        load()
"""


@pytest.fixture
def small(etlkit):
    etlkit.dag_file("small.py", SMALL)
    return etlkit


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["dags", "test", "smal"], "no DAG is called 'smal'; did you mean 'small'?"),
        (["dags", "test", "other"], "no DAG is called 'other'; see: etlkit dags list"),
        (["tasks", "test", "small", "lod", "2013-01-05"], "DAG 'small' has no task 'lod'; did you mean 'load'?"),
        (["dags", "test", "small", "2013-13-01"], "'2013-13-01' is not a date; write 2013-01-31 or"),
        (
            ["dags", "backfill", "small", "-s", "2013-01-05", "-e", "2013-01-01"],
            "from_date 2013-01-05 00:00:00 is after to_date 2013-01-01 00:00:00; exchange them",
        ),
        (["dags", "backfill", "small", "-s", "2199-01-01"], "all dates from 2199-01-01 00:00:00 on are in the future"),
        (["dags", "backfill", "small", "-s", "2013-01-01T12:00", "-e", "2013-01-01T13:00"], "has no logical date in"),
    ],
)
def test_a_name_or_date_that_is_not_there(small, words, line):
    assert line in small.refused(*words)


@pytest.mark.parametrize("name", ["날씨_수집", "select", "None", "class", "a.b-c", "ÄÖ"])
def test_names_that_are_odd_but_legal_work_everywhere(etlkit, name):
    path = etlkit.dag_file(f"{name}.py", SMALL.replace('"small"', repr(name)).replace("load", "적재"))
    conf = {"도시": "O'Hare; DROP TABLE dag_run; --", '"': "'"}
    run = etlkit.json("dags", "test", name, "2013-01-05", "--conf", json.dumps(conf), "--file", path)
    assert run["task_instances"][0]["task_id"] == "적재"
    assert etlkit.json("dags", "backfill", name, "-s", "2013-01-05")[0]["state"] == "success"
    etlkit.json("dags", "trigger", name, "-e", "2013-01-06", "--run-id", "O'Hare; --", "--conf", json.dumps(conf))
    assert etlkit.json("tasks", "states-for-dag-run", name, "2013-01-05")[0]["state"] == "success"
    assert etlkit("logs", "show", name, "적재", "2013-01-05").stdout == "2013-01-05 {}\n"
    assert [run["run_id"] for run in etlkit.json("dags", "list-runs", name)][-1] == "O'Hare; --"
    assert etlkit("dags", "list").exit_code == 0


@pytest.mark.parametrize(
    ("variable", "value", "line"),
    [
        (
            "CORE__PARALLELISM",
            "many",
            "ETLKIT__CORE__PARALLELISM: [core] parallelism = 'many' is not a valid positive number",
        ),
        ("DATABASE__SQL_ALCHEMY_CONN", "nonsense", "[database] sql_alchemy_conn names no database that can be used"),
        ("DATABASE__SQL_ALCHEMY_CONN", "oracle9://a:secret@b/c", "[database] sql_alchemy_conn names no database"),
        ("DATABASE__SQL_ALCHEMY_CONN", "sqlite:////no/such/folder/x.db", "there is no folder /no/such/folder"),
    ],
)
def test_a_setting_that_means_nothing(small, monkeypatch, variable, value, line):
    monkeypatch.setenv(f"ETLKIT__{variable}", value)
    refusal = small.refused("dags", "backfill", "small", "-s", "2013-01-05")
    assert line in refusal
    assert "secret" not in refusal


def test_a_settings_file_with_an_unknown_option(small):
    (small.home / "etlkit.cfg").write_text("[core]\nparalelism = 4\n")
    assert "no option [core] paralelism; did you mean 'parallelism'?" in small.refused("dags", "list")


# --- the metadata database --------------------------------------------------------------------------------------------

LOOKING = (["dags", "list"], ["dags", "list-runs", "small"], ["db", "check"])
CHANGING = (["dags", "trigger", "small"], ["dags", "pause", "small"], ["dags", "backfill", "small", "-s", "2013-01-05"])


@pytest.fixture
def used(small):
    """A database that has been used before; `used.database` is its file."""
    small.database = small.home / "etlkit.db"
    small.json("dags", "backfill", "small", "-s", "2013-01-01")
    return small


@pytest.mark.parametrize("words", LOOKING + CHANGING)
@pytest.mark.parametrize("content", [b"these are my notes\n" * 100, b"SQLite format 3\0" + b"\xff" * 4096])
def test_a_database_file_that_is_none(small, words, content):
    path = small.home / "etlkit.db"
    path.write_bytes(content)
    assert (
        small.refused(*words) == f"metadata database {path} is not a database; name another file, or move this one away"
    )
    assert path.read_bytes() == content, "it may be somebody's only copy of something"


def test_a_database_that_is_a_folder(small):
    (small.home / "etlkit.db").mkdir()
    assert "cannot be opened" in small.refused("dags", "trigger", "small")


@pytest.mark.parametrize("words", [["db", "check"], ["dags", "list-runs", "small"], ["dags", "trigger", "small"]])
def test_a_database_that_is_damaged(used, words):
    with used.database.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096 * 60)
    assert " is damaged" in used.refused(*words)


@pytest.mark.parametrize("words", LOOKING[1:] + CHANGING)
def test_a_database_of_a_newer_version(used, words):
    with closing(sqlite3.connect(used.database)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    line = used.refused(*words)
    assert "its tables have version 9999, this etlkit knows up to " in line
    assert line.endswith("; update etlkit, or use another database")


@pytest.mark.parametrize("words", CHANGING)
def test_a_database_that_another_process_holds(used, monkeypatch, words):
    monkeypatch.setenv("ETLKIT__DATABASE__SQL_ALCHEMY_CONN", f"sqlite:///{used.database}?timeout=0.05")
    holding = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('BEGIN EXCLUSIVE'); print(); input()"
    command = [sys.executable, "-c", holding, used.database]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        line = used.refused(*words)
        assert line.startswith(f"metadata database {used.database} is held by another process")
        assert len(used.json("dags", "list-runs", "small")) == 1, "looking goes on"
        holder.communicate(b"\n")
    assert used(*words).exit_code == 0


def without_roots_powers():
    """Make this process, if it is root's, one to which the permissions of files apply."""
    if os.geteuid() == 0:
        for capability in (1, 2, 3):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER
            ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


@pytest.mark.skipif(sys.platform != "linux", reason="how to give up root's powers is known for Linux only")
@pytest.mark.parametrize("words", CHANGING)
@pytest.mark.parametrize("also_folder", [False, True], ids=["file", "folder"])
def test_a_database_that_is_read_only(used, words, also_folder):
    content = used.database.read_bytes()
    used.database.chmod(0o444)
    if also_folder:
        used.home.chmod(0o555)
    try:
        process = used.start(*words, preexec_fn=without_roots_powers)
        out, err = process.communicate()
    finally:
        used.home.chmod(0o755)
    assert (process.returncode, out) == (2, "")
    assert err.startswith(f"etlkit: metadata database {used.database} ")
    assert "writ" in err, "it says that it must be writable"
    assert len(err.splitlines()) == 1
    assert used.database.read_bytes() == content


# --- a full disk ------------------------------------------------------------------------------------------------------

LONG = ("dags", "backfill", "small", "-s", "2000-01-01", "-e", "2020-01-01", "--max-active-runs", "1")


def check_that_nothing_is_half_done(small):
    """After a failed backfill: the database is in order, and has the run it had before and nothing else."""
    assert small("db", "check").exit_code == 0
    assert [run["logical_date"][:10] for run in small.json("dags", "list-runs", "small")] == ["2013-01-01"]
    assert len(small.json("backfill", "list")) == 1


def test_a_disk_that_fills_up(used, tiny_disk, monkeypatch):
    path = tiny_disk / "etlkit.db"
    monkeypatch.setenv("ETLKIT__DATABASE__SQL_ALCHEMY_CONN", f"sqlite:///{path}")
    used.json("dags", "backfill", "small", "-s", "2013-01-01")
    result = used(*LONG)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"etlkit: metadata database {path} cannot grow: the disk is full; free some space")
    check_that_nothing_is_half_done(used)
    assert used("dags", "backfill", "small", "-s", "2013-01-02").exit_code == 0, "what fits goes on"


def test_a_disk_that_is_full_from_the_start(used, tiny_disk, monkeypatch):
    with (tiny_disk / "fill").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(b"\0" * 4096)
    monkeypatch.setenv("ETLKIT__DATABASE__SQL_ALCHEMY_CONN", f"sqlite:///{tiny_disk / 'etlkit.db'}")
    for words in CHANGING:
        assert "the disk is full" in used.refused(*words)
    (tiny_disk / "fill").unlink()
    assert used(*CHANGING[-1]).exit_code == 0


@pytest.mark.skipif(sys.platform == "win32", reason="file sizes are limited on POSIX only")
def test_a_file_that_may_not_grow(used):
    import resource

    def at_most_half_a_megabyte():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**19, 2**19))

    process = used.start(*LONG, preexec_fn=at_most_half_a_megabyte)
    _, err = process.communicate()
    assert process.returncode == 2
    assert err == f"etlkit: metadata database {used.database} cannot be read or written; check the disk\n"
    check_that_nothing_is_half_done(used)


# --- logs and folders that cannot be written --------------------------------------------------------------------------

ONCE = ("dags", "backfill", "small", "-s", "2013-01-01")


def test_logs_on_a_full_disk(small):
    log = small.home / "logs" / "dag_id=small" / "run_id=backfill__2013-01-02T00_00_00+00_00" / "task_id=load"
    log.mkdir(parents=True)
    (log / "attempt=1.log").symlink_to("/dev/full")
    result = small(*ONCE)
    assert result.exit_code == 2
    assert result.stderr == (
        "etlkit: No space left on device; "
        "make room, or set ETLKIT_HOME or [logging] base_log_folder to another disk; then repeat the command\n"
    )
    (log / "attempt=1.log").unlink()
    assert small(*ONCE).exit_code == 0, "it goes on where it stopped"
    assert [run["state"] for run in small.json("dags", "list-runs", "small")] == ["success"]


def test_a_log_folder_that_is_a_file(small):
    (small.home / "logs").write_text("a file")
    result = small(*ONCE)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"etlkit: Not a directory: {small.home / 'logs'}")


@pytest.mark.skipif(sys.platform != "linux", reason="how to give up root's powers is known for Linux only")
@pytest.mark.parametrize("words", [("db", "init"), ONCE])
def test_a_home_that_cannot_be_made(small, tmp_path, words):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    small.environ |= {"ETLKIT_HOME": str(locked / "home"), "ETLKIT__CORE__DAGS_FOLDER": str(small.dags)}
    process = small.start(*words, preexec_fn=without_roots_powers)
    out, err = process.communicate()
    assert (process.returncode, out) == (2, "")
    assert err == (
        f"etlkit: Permission denied: {locked / 'home'}; "
        "allow this user to write there, or set ETLKIT_HOME to a folder of your own\n"
    )
