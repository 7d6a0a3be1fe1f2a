"""The log of a try: what goes in, where it lies, and how old ones are cleaned up."""

import contextvars
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from etlkit.clock import SimulatedClock
from etlkit.errors import EtlkitError
from etlkit.events import Listener, Listeners
from etlkit.logs import LogKey, LogStore, TryLogHandler, install_handler
from etlkit.masking import masker
from etlkit.runtime import TaskRunner
from etlkit.store import Store
from tests.engine import HOUR, MINUTE, Do, World, at, make_dag

KEY = LogKey("weather", "r1", "load", -1, 1)


@pytest.fixture(params=["memory", "folder"])
def logs(request, tmp_path):
    install_handler()
    return LogStore(tmp_path / "logs" if request.param == "folder" else None)


@pytest.fixture
def nobody_else(monkeypatch):
    """Leaves us alone with the root logger, as outside of pytest; to be called in the test itself."""
    install_handler()
    ours = [handler for handler in logging.root.handlers if isinstance(handler, TryLogHandler)]
    return lambda: monkeypatch.setattr(logging.root, "handlers", ours)


def test_prints_and_log_records_of_the_block_go_to_the_log_in_order(logs, capsys):
    print("before")
    with logs.open(KEY):
        print("one")
        logging.getLogger("etlkit.task").info("two")
        logging.getLogger("lib").error("three %s", 3)
        sys.stdout.write("four")
        sys.stdout.flush()
    print("after")
    assert logs.read(KEY) == "one\nINFO etlkit.task: two\nERROR lib: three 3\nfour"
    assert capsys.readouterr().out == "before\nafter\n"


def test_a_try_that_says_nothing_leaves_nothing(logs):
    with logs.open(KEY):
        pass
    assert logs.read(KEY) == ""
    assert logs.folder is None or not logs.folder.exists()


def test_a_try_that_goes_on_adds_to_its_log(logs):
    for text in ("first poke", "second poke"):
        with logs.open(KEY):
            print(text)
    assert logs.read(KEY) == "first poke\nsecond poke\n"


def test_each_try_and_map_index_has_its_own(logs):
    keys = [KEY, KEY._replace(try_number=2), KEY._replace(map_index=0), KEY._replace(run_id="r2")]
    for number, key in enumerate(keys):
        with logs.open(key):
            print(number)
    assert [logs.read(key) for key in keys] == ["0\n", "1\n", "2\n", "3\n"]


def test_what_fails_inside_gives_stdout_back(logs):
    stdout = sys.stdout
    with pytest.raises(ValueError), logs.open(KEY):
        raise ValueError
    assert sys.stdout is stdout


def test_a_log_inside_a_log_gets_its_own_lines_only(logs):
    other = KEY._replace(task_id="inner")
    with logs.open(KEY):
        print("outer")
        with logs.open(other):
            print("inner")
        print("outer again")
    assert (logs.read(KEY), logs.read(other)) == ("outer\nouter again\n", "inner\n")


def test_characters_that_no_file_can_hold_are_written_as_escapes(logs):
    with logs.open(KEY):
        print("한글 ✓ \udcff")
    assert logs.read(KEY).startswith("한글 ✓ ")


def test_a_line_can_be_read_while_the_try_runs(logs):
    with logs.open(KEY):
        print("so far")
        assert logs.read(KEY) == "so far\n"


@pytest.fixture
def secret():
    value = "hunter22secret"
    masker.mask_secret(value)
    yield value
    masker.forget()


def test_a_secret_that_is_written_in_parts_is_hidden(logs, secret):
    with logs.open(KEY):
        for part in ("user anna, pw ", secret[:6], secret[6:], " and ", secret[:3]):
            sys.stdout.write(part)
            sys.stdout.flush()
        sys.stdout.write(f"{secret[3:]}\nnext line: {secret[:6]}")
        sys.stdout.write(f"{secret[6:]}\n")
        print(*secret, sep="", end="")
    assert logs.read(KEY) == "user anna, pw *** and ***\nnext line: ***\n***"


def test_a_secret_of_several_short_lines_is_hidden_when_it_is_printed(logs):
    masker.mask_secret("ab\ncd\nef")
    with logs.open(KEY):
        print("ab\ncd\nef")
    masker.forget()
    assert logs.read(KEY) == "***\n"


def test_whole_lines_wait_for_one_more_write_at_most(logs):
    with logs.open(KEY):
        sys.stdout.write("one\ntwo\nthr")
        sys.stdout.write("ee")
        assert logs.read(KEY) == "one\ntwo\n"
        sys.stdout.write("\nfour")
        print("!")
        assert logs.read(KEY) == "one\ntwo\nthree\nfour!\n"


def test_what_has_no_end_is_written_when_the_task_fails_or_ends_the_process(logs):
    with pytest.raises(SystemExit), logs.open(KEY):
        sys.stdout.write("how far it came")
        raise SystemExit
    assert logs.read(KEY) == "how far it came"


def test_threads_of_a_task_lose_nothing(logs):
    def say(number):
        for _ in range(200):
            sys.stdout.write(f"<{number}>")
            print()

    with logs.open(KEY):
        threads = [threading.Thread(target=say, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    said = logs.read(KEY)
    assert [said.count(f"<{number}>") for number in range(4)] == [200] * 4
    assert said.count("\n") == 800


def test_what_is_logged_when_the_try_is_over_harms_nothing(tmp_path):
    logs = LogStore(tmp_path)
    with logs.open(KEY):
        print("in time")
        inside = contextvars.copy_context()
    inside.run(logging.getLogger("lib").warning, "by a thread that lived on")
    assert logs.read(KEY) == "in time\n"


def test_the_files_lie_as_airflows_do():
    key = LogKey("d", "scheduled__2013-01-02T00:00:00+00:00", "group.load", 3, 2)
    assert key.path().parts == (
        "dag_id=d",
        "run_id=scheduled__2013-01-02T00_00_00+00_00",
        "task_id=group.load",
        "map_index=3",
        "attempt=2.log",
    )
    assert "map_index" not in str(KEY.path())


@pytest.mark.parametrize("run_id", ["../../etc", "a/b", "..", 'a"b|c?*<>', "C:\\x"])
def test_no_name_leads_out_of_the_folder(run_id, tmp_path):
    logs = LogStore(tmp_path / "logs")
    key = KEY._replace(run_id=run_id)
    with logs.open(key):
        print("here")
    (file,) = (tmp_path / "logs").rglob("*.log")
    assert len(file.relative_to(tmp_path / "logs").parts) == 4
    assert logs.read(key) == "here\n"


def test_logs_of_an_age_are_cleaned_up_with_their_folders(tmp_path):
    logs = LogStore(tmp_path / "logs")
    old, new = KEY._replace(run_id="old"), KEY._replace(run_id="new")
    for key, moment in ((old, at(1)), (new, at(9))):
        with logs.open(key):
            print("x")
        os.utime(logs.folder / key.path(), (moment.timestamp(), moment.timestamp()))
    (logs.folder / "notes.txt").write_text("mine")
    assert logs.clean(at(1)) == 0
    assert logs.clean(at(5), dry_run=True) == 1
    assert logs.read(old) == "x\n"
    assert logs.clean(at(5)) == 1
    assert (logs.read(old), logs.read(new)) == ("", "x\n")
    assert [path.name for path in (logs.folder / "dag_id=weather").iterdir()] == ["run_id=new"]
    assert (logs.folder / "notes.txt").exists()


def test_a_folder_that_a_clean_up_takes_away_is_made_again(tmp_path, monkeypatch):
    logs, mkdir, taken = LogStore(tmp_path / "logs"), Path.mkdir, []

    def made_and_taken_away(folder, *args, **kwargs):
        mkdir(folder, *args, **kwargs)
        if folder.name == "task_id=load" and not taken:
            taken.append(folder)
            folder.rmdir()

    monkeypatch.setattr(Path, "mkdir", made_and_taken_away)
    with logs.open(KEY):
        print("still here")
    assert (logs.read(KEY), len(taken)) == ("still here\n", 1)


def test_logs_in_memory_are_not_for_cleaning():
    with pytest.raises(EtlkitError, match="kept in memory"):
        LogStore().clean(at(1))


def test_every_try_of_a_run_has_its_file(tmp_path):
    store, clock = Store(), SimulatedClock(at(1))
    runner = TaskRunner(store, clock, LogStore(tmp_path))

    def work(context):
        print("try", context["ti"].try_number)
        if context["ti"].try_number < 3:
            raise ValueError("no")

    world = World(make_dag(tasks=[Do("a", work, retries=2, retry_delay=MINUTE)]))
    world.scheduler.runner.logs = runner.logs
    world.trigger()
    world.run_until(at(1) + HOUR)
    files = sorted(tmp_path.rglob("*.log"))
    assert [file.name for file in files] == ["attempt=1.log", "attempt=2.log", "attempt=3.log"]
    assert files[0].read_text().startswith("try 1\nERROR etlkit.task: Traceback")
    assert files[2].read_text() == "try 3\n"
    store.close()


def test_outside_of_tries_warnings_are_seen_as_if_we_were_not_there(nobody_else, capsys):
    nobody_else()
    logging.getLogger("lib").warning("look here")
    logging.getLogger("lib").info("not so important")
    assert capsys.readouterr().err == "look here\n"


def test_a_listener_that_crashes_is_seen_although_nobody_set_up_logging(nobody_else, capsys):
    nobody_else()

    class Broken(Listener):
        def on_tick(self, at):
            raise RuntimeError("broken listener")

    Listeners([Broken()]).on_tick(at(1))
    assert "RuntimeError: broken listener" in capsys.readouterr().err


def test_the_handler_is_installed_once():
    for _ in range(3):
        install_handler()
    assert sum(isinstance(handler, TryLogHandler) for handler in logging.root.handlers) == 1


def test_where_nobody_set_up_logging_a_task_may_use_any_logger_as_in_airflow():
    script = """
import logging
from etlkit.logs import LogKey, LogStore, install_handler
install_handler()
logs, key = LogStore(), LogKey("d", "r", "t", -1, 1)
with logs.open(key):
    logging.getLogger("my.module").info("from my module")
    logging.getLogger("my.module").debug("too fine")
logging.getLogger("my.module").info("outside")
print(logs.read(key), end="")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("INFO my.module: from my module\n", "")
