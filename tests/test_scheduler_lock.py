"""The right to schedule a SQLite database: one holder, named, and free again when the holder is gone."""

import os
import subprocess
import sys

import pytest

from etlkit.errors import MetadataError
from etlkit.scheduler_lock import SchedulerLock, who_schedules

HOLDER = """
import sys
from etlkit.scheduler_lock import SchedulerLock
with SchedulerLock(sys.argv[1], "a test"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def database(tmp_path):
    return tmp_path / "etl.db"


@pytest.fixture
def holder(database):
    """Another process that holds the right."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", HOLDER, database], **pipes) as process:
        assert process.stdout.readline().strip() == b"held"
        yield process
        process.kill()


def test_another_process_is_refused_and_told_who_has_it(database, holder):
    expected = f"{database} is scheduled by process {holder.pid} \\(a test\\); wait until it ends, or stop it"
    with pytest.raises(MetadataError, match=expected), SchedulerLock(database, "another"):
        pass
    assert who_schedules(database) == f"process {holder.pid} (a test)"


def test_a_killed_holder_leaves_it_free(database, holder):
    holder.kill()
    holder.wait()
    assert who_schedules(database) is None
    with SchedulerLock(database, "the next one"):
        assert who_schedules(database) == f"process {os.getpid()} (the next one)"


def test_it_is_given_back_also_after_an_error(database):
    with pytest.raises(ZeroDivisionError), SchedulerLock(database, "a mistake"):
        _ = 1 / 0
    assert who_schedules(database) is None
    with SchedulerLock(database, "again"):
        pass
    assert (database.parent / "etl.db.scheduler-lock").read_text() == ""


def test_asking_takes_nothing_and_makes_no_file(database):
    assert who_schedules(database) is None
    assert list(database.parent.iterdir()) == []


def test_no_folder_for_the_file(tmp_path):
    with pytest.raises(MetadataError, match=r"cannot be scheduled: .* cannot be written: No such file or directory"):
        SchedulerLock(tmp_path / "missing" / "etl.db", "a test").__enter__()


def test_a_full_disk(tiny_disk):
    (tiny_disk / "fill").write_bytes(b"\0" * 2**19)
    lock = SchedulerLock(tiny_disk / "etl.db", "a test")
    with pytest.raises(MetadataError, match="cannot be written: No space left on device"):
        lock.__enter__()
    (tiny_disk / "fill").unlink()
    with lock:
        assert who_schedules(tiny_disk / "etl.db") == f"process {os.getpid()} (a test)"
