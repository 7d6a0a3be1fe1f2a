"""What programs print that tasks start, and what else goes past Python's own streams: into the log of the try.

While a try runs, descriptors 1 and 2 of the process are a pipe. One thread reads it line by line and gives each line to
the log, which hides secrets. Before the log is closed, a marker goes through the pipe: what came before it has arrived.
A program that outlives its task still writes into the pipe; its lines go to the log of the next try, or between tries
to stderr. The kit's own streams are on duplicates of the descriptors, so that neither comes into the other's way.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from collections.abc import Iterator
from threading import Condition, Lock, Thread
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from etlkit.logs import TryLog

STANDARD = (1, 2)
"""The descriptors that programs print to."""

owns_descriptors = False
"""Whether descriptors 1 and 2 are the kit's to turn: in the `etlkit` program, and in worker processes."""


def collect() -> None:
    """Let the tries of this process collect what programs print, if its descriptors are the kit's."""
    from etlkit import logs

    if owns_descriptors and logs.also_into is None and hasattr(os, "register_at_fork"):
        logs.also_into = ChildOutput().into


def own(number: int, stream: TextIO) -> TextIO:
    """A stream like `stream`, on a duplicate of descriptor `number`, which no program that is started inherits."""
    stream.flush()
    return open(os.dup(number), "w", encoding=stream.encoding, errors=stream.errors, buffering=1, closefd=False)


def own_all() -> None:
    """Make the descriptors of a worker process the kit's, and let its tries collect what they get."""
    global owns_descriptors
    from etlkit.masking import MaskedStream

    if sys.stdout is None or sys.stderr is None:  # closed by whoever started the program
        return
    sys.stdout, sys.stderr = MaskedStream(own(1, sys.stdout)), MaskedStream(own(2, sys.stderr))
    owns_descriptors = True
    collect()


class ChildOutput:
    """`with output.into(log):` what is printed past Python's streams goes to `log`; one for a process."""

    def __init__(self) -> None:
        self._log: TryLog | None = None
        self._process = os.getpid()
        self._marker = f"<etlkit {os.urandom(16).hex()}>".encode()  # short, so that a pipe takes it as one piece
        self._sent = self._seen = 0
        self._arrived, self._delivering = Condition(), Lock()
        self._source, self._sink = os.pipe()
        Thread(target=self._read, name="output of programs", daemon=True).start()
        atexit.register(self._settle)
        # The copy of a lock that the reader holds amid a delivery would never be released in a forked process.
        release = self._delivering.release
        os.register_at_fork(before=self._delivering.acquire, after_in_parent=release, after_in_child=release)

    @contextlib.contextmanager
    def into(self, log: TryLog) -> Iterator[None]:
        """Give `log` what is printed inside the block, all of it before the block ends."""
        outer, self._log = self._log, log
        before = [os.dup(number) for number in STANDARD]
        for number in STANDARD:
            os.dup2(self._sink, number)
        try:
            yield
        finally:
            try:
                self._settle()
            finally:
                for number, old in zip(STANDARD, before, strict=True):
                    os.dup2(old, number)
                    os.close(old)
                with self._delivering:
                    self._log = outer

    def _settle(self) -> None:
        """Wait until all that was printed so far has arrived."""
        if os.getpid() != self._process:
            return  # forked, and gone its own way: the reader is in the process before
        for stream in filter(None, (sys.__stdout__, sys.__stderr__)):
            stream.flush()
        self._sent += 1
        os.write(self._sink, self._marker)
        with self._arrived:
            self._arrived.wait_for(lambda: self._seen >= self._sent)

    def _read(self) -> None:
        held = b""
        while data := os.read(self._source, 1 << 16):
            *settled, held = (held + data).split(self._marker)
            for text in settled:
                self._deliver(text)
                with self._arrived:
                    self._seen += 1
                    self._arrived.notify_all()
            lines, end, held = held.rpartition(b"\n")
            self._deliver(lines + end)

    def _deliver(self, text: bytes) -> None:
        if not text:
            return
        said = text.decode(errors="backslashreplace")
        with self._delivering:
            try:
                (self._log or sys.stderr).write(said)
            except (OSError, ValueError) as error:  # such as a full disk: programs must be able to go on
                with contextlib.suppress(OSError, ValueError):  # then nobody reads stderr either
                    sys.stderr.write(f"etlkit: the log of a task cannot be written: {error}; it says:\n{said}")
