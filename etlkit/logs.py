"""The log of a try: what a task printed and logged, one file for each attempt.

With a folder, a try's log is `<folder>/dag_id=…/run_id=…/task_id=…/attempt=1.log` (Airflow's layout); without one it is
kept in memory. A try that says nothing leaves no file.

>>> logs = LogStore()
>>> with logs.open(LogKey("weather", "r1", "load", -1, 1)) as log:
...     print("26 rows", file=log)
>>> logs.read(LogKey("weather", "r1", "load", -1, 1))
'26 rows\\n'
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
import shutil
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from datetime import datetime
from pathlib import Path
from threading import RLock
from typing import NamedTuple, TextIO

from etlkit.errors import EtlkitError
from etlkit.masking import masker

also_into: Callable[[TryLog], AbstractContextManager[None]] | None = None
"""What else collects for a log while its try runs: the `etlkit` program sets it, for what other programs print."""

_current: ContextVar[TryLog | None] = ContextVar("etlkit_try_log", default=None)


class LogKey(NamedTuple):
    """Which try of which task instance."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    try_number: int

    def path(self) -> Path:
        """Where its file lies, below the log folder; characters that file systems refuse become `_`."""
        parts = [f"dag_id={self.dag_id}", f"run_id={self.run_id}", f"task_id={self.task_id}"]
        if self.map_index >= 0:
            parts.append(f"map_index={self.map_index}")
        return Path(*(re.sub(r'[\\/:*?"<>|]', "_", part) for part in parts), f"attempt={self.try_number}.log")


class LogStore:
    """Where the logs of all tries are: a folder, or memory when `folder` is None."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._memory: dict[LogKey, io.StringIO] = {}

    def open(self, key: LogKey) -> TryLog:
        """A log to write to, as a context manager: prints and log records inside the block go to it."""
        return TryLog(self, key)

    def stream(self, key: LogKey) -> TextIO:
        """The text stream behind a log, made when something is first written."""
        if self.folder is None:
            return self._memory.setdefault(key, io.StringIO())
        path = self.folder / key.path()
        for _ in range(3):  # a clean-up may take the empty folder away again
            path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                return _opened(path)
        return _opened(path)

    def read(self, key: LogKey) -> str:
        """What the try wrote; nothing if it wrote nothing."""
        if self.folder is None:
            return self._memory[key].getvalue() if key in self._memory else ""
        path = self.folder / key.path()
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def clean(self, before: datetime, *, dry_run: bool = False) -> int:
        """Delete the logs of tries last written before an instant, and the folders left empty; how many there were.

        A `dry_run` only counts them. Other processes may write meanwhile.
        """
        if self.folder is None:
            raise EtlkitError("these logs are kept in memory and go with the process; there is nothing to clean")
        old = [path for path in self.folder.rglob("attempt=*.log") if path.stat().st_mtime < before.timestamp()]
        for path in old if not dry_run else ():
            path.unlink(missing_ok=True)
            for folder in path.parents[: len(path.relative_to(self.folder).parts) - 1]:
                with contextlib.suppress(OSError):  # it holds something, or is gone already
                    folder.rmdir()
        return len(old)

    def delete_run(self, dag_id: str, run_id: str, *, dry_run: bool = False) -> int:
        """Delete the logs of all tries of a run; how many there were. A `dry_run` only counts them."""
        if self.folder is None:
            keys = [key for key in self._memory if (key.dag_id, key.run_id) == (dag_id, run_id)]
            for key in keys if not dry_run else ():
                del self._memory[key]
            return len(keys)
        folder = self.folder / LogKey(dag_id, run_id, "", -1, 0).path().parents[1]
        count = sum(1 for _ in folder.rglob("attempt=*.log"))
        if count and not dry_run:
            shutil.rmtree(folder)
        return count


def _opened(path: Path) -> TextIO:
    return path.open("a", encoding="utf-8", errors="backslashreplace", buffering=1)


class TryLog:
    """The log of one try while it runs; collects `print` and `logging` of whatever runs inside its `with` block."""

    def __init__(self, store: LogStore, key: LogKey) -> None:
        self._store, self._key = store, key
        self._stream: TextIO | None = None
        self._held: list[str] = []  # of its parts only the last can hold the end of a line
        self._lock = RLock()

    def write(self, text: str) -> int:
        """Write whole lines; what has no end yet is held, as a secret may come in two parts.

        A text of several lines is held until the next write: `print` writes the end of its last line by itself.
        """
        with self._lock:
            if text.endswith("\n"):
                self._put("".join([*self._held, text]))
                self._held.clear()
            else:
                if self._held and "\n" in self._held[-1]:
                    whole, _, rest = "".join(self._held).rpartition("\n")
                    self._put(f"{whole}\n")
                    self._held[:] = [rest]
                self._held.append(text)
        return len(text)

    def _put(self, text: str) -> None:
        if self._stream is None:
            self._stream = self._store.stream(self._key)
        self._stream.write(masker.mask(text))

    def flush(self) -> None:
        """Nothing to do: whole lines are written as they come, and others when the try ends."""

    def isatty(self) -> bool:
        return False

    def __enter__(self) -> TryLog:
        self._token = _current.set(self)
        self._stdout, sys.stdout = sys.stdout, self
        self._collecting = also_into and also_into(self)
        if self._collecting:
            self._collecting.__enter__()
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._collecting:
            self._collecting.__exit__(None, None, None)
        sys.stdout = self._stdout
        _current.reset(self._token)
        with self._lock:
            if self._held:
                self._put("".join(self._held))
                self._held.clear()
        if self._stream is not None and self._store.folder is not None:
            self._stream.close()


class TryLogHandler(logging.Handler):
    """Sends log records to the log of the try that is running; outside of tries it is as if it were not there."""

    def emit(self, record: logging.LogRecord) -> None:
        log, otherwise = _current.get(), logging.lastResort
        if log is None and otherwise is not None and logging.root.handlers == [self]:
            # Python prints warnings by itself only while the root logger has no handler at all.
            if record.levelno >= otherwise.level:
                otherwise.handle(record)
        elif log is not None:
            with contextlib.suppress(ValueError):  # the log is closed: a thread outlived its try
                log.write(self.format(record) + "\n")


def install_handler() -> None:
    """Make log records reach the logs of tries; called once by whoever runs tasks, harmless when called again.

    No handler shows secrets from then on, not those either that others have made.
    """
    root = logging.getLogger()
    if not any(isinstance(handler, TryLogHandler) for handler in root.handlers):
        handler = TryLogHandler()
        handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        if not root.handlers and root.level == logging.WARNING:
            root.setLevel(logging.INFO)  # nobody else listens, so what a task's own logger says may reach its log
        root.addHandler(handler)
        logging.getLogger("etlkit.task").setLevel(logging.INFO)
    for other in filter(None, (*root.handlers, logging.lastResort)):
        other.addFilter(masker)
