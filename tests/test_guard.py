"""The guard: processes that end with the one that asked for them, whatever ends it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from etlkit.errors import EtlkitError
from etlkit.guard import Guard
from etlkit.servers import wait_until

FAMILY = "import subprocess, sys; p = subprocess.Popen(['sleep', '600'], start_new_session=True); p.wait()"
"""A process with a child that left its group."""

OWNER = f"""
import sys
from etlkit.guard import Guard
guard = Guard()
guard.start("family", [sys.executable, "-c", {FAMILY!r}])
guard.start("sleeper", ["sleep", "600"])
while len(guard.pids("family")) < 2:
    pass
print(guard._process.pid, guard.folder, *guard.pids("family"), *guard.pids("sleeper"), flush=True)
sys.stdin.read()
"""


def owner():
    """A process that has a guard, the guard's id, the folder, and the ids of what was started."""
    process = subprocess.Popen([sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    guard, folder, *others = process.stdout.readline().split()
    return process, int(guard), Path(folder), [psutil.Process(int(pid)) for pid in others]


def all_gone(processes):
    return wait_until(lambda: not any(map(is_at_work, processes)), 10)


def is_at_work(process):
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, None], ids=["kill -9", "TERM", "its last line"])
def test_everything_ends_with_the_owner(end):
    process, guard, folder, others = owner()
    watch = psutil.Process(guard)
    assert len(others) == 3 and folder.is_dir()
    with process:
        process.send_signal(end) if end else process.stdin.close()
    assert all_gone([*others, watch])
    assert not folder.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_a_killed_guard_takes_what_it_started_with_it():
    process, guard, folder, others = owner()
    os.kill(guard, signal.SIGKILL)
    family, grandchild, sleeper = others
    assert all_gone([family, sleeper])
    with process:
        process.stdin.close()  # its own end removes the folder
    assert not folder.exists()
    grandchild.kill()


def test_who_has_lost_its_guard_is_told():
    guard = Guard()
    guard._process.kill()
    with pytest.raises(EtlkitError, match="has ended, and they with it; start anew"):
        guard.start("sleeper", ["sleep", "600"])
    guard.close()
    assert not guard.folder.exists()


FORKED = """
import os, signal
from etlkit.guard import Guard
guard = Guard()
child = os.fork()
if not child:
    signal.pause()
guard.close()
print(guard.folder.exists())
os.kill(child, signal.SIGKILL)
"""


def test_a_forked_process_does_not_keep_the_guard():
    found = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=30, check=True)
    assert found.stdout == "False\n"


def test_signals_reach_all_that_a_process_started():
    with Guard() as guard:
        guard.start("family", [sys.executable, "-c", FAMILY])
        assert wait_until(lambda: len(guard.pids("family")) == 2, 10)
        family = [psutil.Process(pid) for pid in guard.pids("family")]
        guard.signal("family", signal.SIGSTOP)
        assert guard.states()["family"].stopped
        guard.signal("family", signal.SIGSTOP)  # twice is harmless
        assert wait_until(lambda: all(p.status() == psutil.STATUS_STOPPED for p in family), 10)
        guard.signal("family", signal.SIGCONT)
        assert wait_until(lambda: not any(p.status() == psutil.STATUS_STOPPED for p in family), 10)
        guard.signal("family", signal.SIGKILL)
        assert all_gone(family)
        assert guard.states()["family"].exit_code == -signal.SIGKILL
        assert guard.pids("family") == []
        guard.signal("family", signal.SIGKILL)  # it has ended: nobody else who has its id now is killed


def test_names_logs_and_exit_codes():
    with Guard() as guard:
        log = guard.folder / "log"
        assert guard.run(["sh", "-c", "echo $WORD; exit 3"], env={"WORD": "hello"}, log=log) == 3
        assert log.read_text() == "hello\n"
        assert log.stat().st_mode & 0o077 == 0
        first = guard.start("sleeper", ["sleep", "600"])
        with pytest.raises(EtlkitError, match="start sleeper: it runs already"):
            guard.start("sleeper", ["sleep", "600"])
        with pytest.raises(EtlkitError, match=r"start other: .*no-such-program"):
            guard.start("other", ["no-such-program"])
        with pytest.raises(EtlkitError, match="signal nobody"):
            guard.signal("nobody", signal.SIGKILL)
        guard.signal("sleeper", signal.SIGTERM, alone=True)
        assert wait_until(lambda: not guard.states()["sleeper"].running, 10)
        assert guard.restart("sleeper") != first
        assert guard.states()["sleeper"].running


def test_an_interrupted_question_does_not_shift_the_answers(monkeypatch):
    with Guard() as guard:
        pid = guard.start("sleeper", ["sleep", "600"])
        with monkeypatch.context() as patch:
            patch.setattr(guard._stream, "flush", lambda flush=guard._stream.flush: (flush(), 1 / 0))
            with pytest.raises(ZeroDivisionError):
                guard.pids("sleeper")
        assert guard.states()["sleeper"].pid == pid
