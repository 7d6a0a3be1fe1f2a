"""Processes that end when the one that asked for them ends, however that happens.

A `Guard` is a small process in a session of its own. It starts what it is asked to start, so it is the parent of all
of it, and it holds one end of a socket. When the other end is closed, be it by `close()`, at exit, by a crash or by
kill -9, the guard kills everything that descends from it and removes its folder. Nothing of that depends on the process
that is gone.

If the guard itself is killed with -9, Linux kills what it had started (PR_SET_PDEATHSIG); what these had started in
turn ends when it notices, and the folder stays until `close()`. On other systems these processes go on.

>>> with Guard() as guard:
...     pid = guard.start("sleeper", ["sleep", "60"])
...     guard.states()["sleeper"].running
True
>>> guard.folder.exists()
False
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Self

from etlkit.errors import EtlkitError

LONGEST_FOLDER = 55
"""How long the path of the folder for temporary files may be: that of a socket below it has at most 103 letters."""

PATIENCE = 5.0
"""Wall seconds that a process has which is asked to end by a signal of its own."""


class ProcessState(NamedTuple):
    """A process: its id, its exit code once it has ended (a negative one is the signal that killed it), and whether it
    was sent SIGSTOP and not yet SIGCONT."""

    pid: int
    exit_code: int | None
    stopped: bool

    @property
    def running(self) -> bool:
        """Whether it has not ended; one that is stopped (SIGSTOP) has not."""
        return self.exit_code is None


class Guard:
    """Starts processes, sends them signals, and ends them all with itself; they share `folder`, which goes with them.

    `folder` is reachable for every user, so that a server may run as another one; what is in it should not be.
    EtlkitError on Windows, which has no process groups of this kind.
    """

    def __init__(self) -> None:
        if sys.platform == "win32":
            raise EtlkitError("private servers and clusters need Linux or macOS; on Windows use them in WSL")
        require("psutil")
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "etlkit.guard"],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
            )
        self._stream = self._socket.makefile("rwb")
        self._lock, self._asked = threading.Lock(), 0
        os.register_at_fork(after_in_child=self._let_go)  # else a forked process would keep the guard waiting
        atexit.register(self.close)
        self.folder = Path(self._ask("folder"))

    def start(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        log: str | Path | None = None,
        user: str | None = None,
        last_signal: int | None = None,
    ) -> int:
        """Start a process in a session of its own under a name that none now running has; returns its id.

        What it prints goes to the end of the file `log`. `env` is its whole environment (None: that of this process),
        `user` who it runs as. `last_signal` (None: SIGKILL) ends it together with the guard. EtlkitError if it cannot
        be started.
        """
        given: dict[str, Any] = {"argv": list(map(str, argv)), "env": dict(os.environ if env is None else env)}
        given |= {"cwd": str(cwd or self.folder), "log": str(log or os.devnull), "user": user}
        given |= {"last_signal": int(last_signal or signal.SIGKILL)}
        return self._ask("start", name=name, **given)

    def run(self, argv: Sequence[str], **given: Any) -> int:
        """Start a process as `start` does, wait for its end, and return its exit code."""
        name = f"{Path(argv[0]).name} in the foreground"
        self.start(name, argv, **given)
        return self._ask("wait", name=name)

    def restart(self, name: str) -> int:
        """Start a process again as it was started before, once it has ended; returns its new id."""
        return self._ask("restart", name=name)

    def signal(self, name: str, number: int, *, alone: bool = False) -> None:
        """Send a signal to a process and, unless it alone is meant, to all that it started; none if it has ended."""
        self._ask("signal", name=name, number=int(number), alone=alone)

    def pids(self, name: str) -> list[int]:
        """The ids of a process and of all that it started and that still run; none if it has ended."""
        return self._ask("pids", name=name)

    def states(self) -> dict[str, ProcessState]:
        """Every process that was started, by name."""
        return {name: ProcessState(*state) for name, state in self._ask("states").items()}

    @property
    def is_open(self) -> bool:
        """Whether it was not closed."""
        return self._socket.fileno() >= 0

    def close(self) -> None:
        """End all processes, wait for that, and remove the folder; closing twice is harmless."""
        atexit.unregister(self.close)
        if not self.is_open:
            return
        self._let_go()
        self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)  # it is gone, unless the guard had been killed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _let_go(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.close()
        self._socket.close()

    def _ask(self, request: str, **arguments: Any) -> Any:
        try:
            with self._lock:
                self._asked += 1
                self._stream.write(json.dumps([self._asked, request, arguments]).encode() + b"\n")
                self._stream.flush()
                answer = {"number": 0}
                while answer["number"] != self._asked:  # somebody may have been interrupted before reading an answer
                    answer = json.loads(self._stream.readline())
        except (OSError, ValueError):
            raise EtlkitError("the guard of these processes has ended, and they with it; start anew") from None
        if "error" in answer:
            raise EtlkitError(answer["error"])
        return answer["value"]


def require(*packages: str) -> None:
    """EtlkitError, saying what to do, if one of these packages is not installed."""
    for package in packages:
        if find_spec(package) is None:
            raise EtlkitError(f"this needs {package}; run: pip install 'etlkit[cluster]'")


# --- what runs in the guard's own process ---


class _Watch:
    """The guard's own side: answers requests until the socket ends, then ends all that it started."""

    def __init__(self) -> None:
        os.umask(0o077)
        room = tempfile.gettempdir()
        self.folder_path = tempfile.mkdtemp(prefix="etlkit-", dir=room if len(room) <= LONGEST_FOLDER else "/tmp")
        Path(self.folder_path).chmod(0o711)
        self.children: dict[str, subprocess.Popen] = {}
        self.requests: dict[str, dict[str, Any]] = {}
        self.stopped: dict[str, bool] = {}
        self._libc = ctypes.CDLL(None) if sys.platform == "linux" else None
        if self._libc is not None:
            self._libc.prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: who loses its parent becomes the guard's child

    def serve(self, connection: socket.socket) -> None:
        """Answer one request after the other."""
        with connection.makefile("rwb") as stream:
            for line in stream:
                number, request, arguments = json.loads(line)
                try:
                    answer = {"number": number, "value": getattr(self, request)(**arguments)}
                except Exception as error:  # whatever it is, whoever asked is told, and the others' processes go on
                    answer = {"number": number, "error": f"{request} {arguments.get('name', '')}: {error}"}
                stream.write(json.dumps(answer).encode() + b"\n")
                stream.flush()

    def folder(self) -> str:
        return self.folder_path

    def start(
        self, name: str, argv: list[str], env: dict[str, str], cwd: str, log: str, user: str | None, last_signal: int
    ) -> int:
        if name in self.children and self.children[name].poll() is None:
            raise ValueError("it runs already")
        with Path(log).open("ab") as output:
            self.children[name] = subprocess.Popen(
                argv,
                env=env,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=partial(self._end_with_parent, os.getpid(), last_signal),
                **_identity(user),
            )
        given = {"argv": argv, "env": env, "cwd": cwd, "log": log, "user": user, "last_signal": last_signal}
        self.requests[name], self.stopped[name] = given, False
        return self.children[name].pid

    def _end_with_parent(self, parent: int, number: int) -> None:
        if self._libc is not None:
            self._libc.prctl(1, number, 0, 0, 0)  # PR_SET_PDEATHSIG
            if os.getppid() != parent:
                os.kill(os.getpid(), number)

    def wait(self, name: str) -> int:
        return self.children[name].wait()

    def restart(self, name: str) -> int:
        return self.start(name, **self.requests[name])

    def pids(self, name: str) -> list[int]:
        child = self.children[name]
        return [] if child.poll() is not None else [child.pid, *(process.pid for process in _offspring(child.pid))]

    def signal(self, name: str, number: int, alone: bool = False) -> None:
        child = self.children[name]
        if child.poll() is not None:
            return
        if alone:
            child.send_signal(number)
            return
        if number in (signal.SIGSTOP, signal.SIGCONT):
            self.stopped[name] = number == signal.SIGSTOP
        others = _offspring(child.pid)
        with contextlib.suppress(ProcessLookupError, PermissionError):  # they end in this very moment
            os.killpg(child.pid, number)
        for process in others:
            if _group(process.pid) != child.pid:
                _send(process.pid, number)
        if number == signal.SIGKILL:
            child.wait()

    def states(self) -> dict[str, tuple[int, int | None, bool]]:
        import psutil

        known = {child.pid for child in self.children.values()}
        for process in psutil.Process().children():
            if process.pid not in known:  # an orphan of one of them
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(process.pid, os.WNOHANG)
        return {name: (child.pid, child.poll(), self.stopped[name]) for name, child in self.children.items()}

    def end(self) -> None:
        """End all that descends from this process, each child by the signal that it asked for, and go."""
        import psutil

        for name, child in self.children.items():
            last_signal = self.requests[name]["last_signal"]
            if child.poll() is None and last_signal != signal.SIGKILL:
                _send(child.pid, signal.SIGCONT)
                _send(child.pid, last_signal)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(PATIENCE)
            self.signal(name, signal.SIGKILL)
        while rest := psutil.Process().children(recursive=True):
            for process in rest:
                _send(process.pid, signal.SIGKILL)
            psutil.wait_procs(rest, timeout=PATIENCE)
        shutil.rmtree(self.folder_path, ignore_errors=True)


def _identity(user: str | None) -> dict[str, Any]:
    """What makes a process run as another user."""
    if user is None:
        return {}
    import pwd

    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _offspring(pid: int) -> list[Any]:
    import psutil

    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def main() -> None:
    """Guard until the socket that is standard input ends, or somebody asks this process to end."""
    watch = _Watch()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit())
    try:
        watch.serve(socket.socket(fileno=0))
    finally:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        watch.end()


if __name__ == "__main__":
    main()
