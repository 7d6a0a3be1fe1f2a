"""A folder of DAG files (Airflow's `DagBag`): what is in it now, read anew only where it has changed.

A broken file is one entry in `errors`, with its line, and the others still load. What is watched are the files'
times, sizes and inodes: of all Python files that `dag_discovery` finds, and of those modules in the folder that they
have imported, wherever in it these lie. When such a helper changes, all DAG files are run again; when anything changes,
those that are broken. Other files that a DAG file reads while it loads, such as YAML, are not watched: save the DAG
file, and it is run again.

>>> import tempfile
>>> folder = Path(tempfile.mkdtemp())
>>> _ = (folder / "good.py").write_text("from etlkit import DAG\\nwith DAG('good'): pass")
>>> _ = (folder / "broken.py").write_text("from etlkit import DAG\\nDAG('broken', schedul='@daily')")
>>> found = DagFolder(folder)
>>> found.dags
{'good': <DAG good: 0 tasks, None>}
>>> [(Path(error.path).name, error.line) for error in found.errors]
[('broken.py', 2)]
>>> (folder / "broken.py").unlink()
>>> found.refresh(), found.errors, found.refresh()
(True, [], False)
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import traceback
from importlib.util import cache_from_source
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, TextIO

from etlkit.clock import wall_seconds
from etlkit.config import conf
from etlkit.dag import DAG
from etlkit.dag_discovery import HIDDEN, Stamp, python_files, stamp_of
from etlkit.dag_files import NO_DAG, make_importable, module_name, read_dag_file, run_dag_file
from etlkit.errors import AirflowTaskTimeout, DagFileError, DagNotFound, DuplicateDagIdFound


class _File(NamedTuple):
    """What was found in one file, and its stamp before it was read."""

    stamp: Stamp
    dags: list[DAG] = []  # noqa: RUF012 (never changed)
    error: DagFileError | None = None
    seconds: float = 0.0

    @property
    def may_be_mended(self) -> bool:
        """Whether a change elsewhere may make it load; what took too long is not tried again for that."""
        return self.error is not None and not isinstance(self.error.__cause__, AirflowTaskTimeout)

    @property
    def culprits(self) -> set[str]:
        """The files in which its error was raised: a helper that does not load is not among the imported ones."""
        cause = self.error and self.error.__cause__
        if cause is None:
            return set()
        frames = {frame.filename for frame in traceback.extract_tb(cause.__traceback__)}
        return frames | ({str(cause.filename)} if isinstance(cause, SyntaxError) else set())


class FileReport(NamedTuple):
    """What was found in one file, and how many seconds that took."""

    path: str
    dag_ids: list[str]
    tasks: int
    seconds: float


class DagFolder:
    """The DAGs of a folder and the folders below it, or of one file.

    `dags` has each DAG by its id, `errors` one `DagFileError` for each file that does not load. If two files have a DAG
    of the same id, the first file (by path) has it, and the second is the broken one. A file without the word "dag" in
    it is not run ([core] dag_discovery_safe_mode); one that another file imports needs no DAG of its own, nor does an
    `__init__.py`.
    DagFileError if `path` does not exist; if it disappears later, that is one of the `errors`. `root` is the folder
    that helpers of one file are looked for in, if that is not the file's own.
    """

    def __init__(self, path: str | Path, root: Path | None = None) -> None:
        self.path = Path(path)
        self._root = root or (self.path if self.path.is_dir() else self.path.parent)
        self.dags: dict[str, DAG] = {}
        self.errors: list[DagFileError] = []
        self._files: dict[Path, _File] = {}
        self._helpers: dict[Path, Stamp | None] = {}
        self._unreadable: list[str] = []
        if not self.path.exists():
            raise python_files(self.path).errors[0]
        self._forget_helpers()  # an earlier DagFolder may have imported what has changed since
        self.refresh()

    def refresh(self) -> bool:
        """Read what is new or has changed since the last time, and forget what is gone; True if there was anything."""
        found = python_files(self.path)
        changed = {path for path in found.stamps.keys() | self._files if found.stamps.get(path) != self._stamp(path)}
        stale = self._stale_helpers(found.stamps)
        unreadable = [str(error) for error in found.errors]
        if not (changed or stale or unreadable != self._unreadable):
            return False
        self._unreadable = unreadable
        if stale:
            self._forget_helpers(stale)
            changed |= set(found.stamps)
        changed |= {path for path, file in self._files.items() if file.may_be_mended}
        self._read(sorted(changed), found.stamps)
        self._watch_helpers()
        self._watch_culprits()
        self._collect(found.errors)
        return True

    def get(self, dag_id: str) -> DAG:
        """The DAG called `dag_id`; DagNotFound, which also names a file that does not load."""
        if dag_id not in self.dags:
            error = DagNotFound(dag_id, list(self.dags))
            if self.errors:
                error.args = (f"{error} ({len(self.errors)} file(s) did not load: {self.errors[0]})",)
            raise error
        return self.dags[dag_id]

    def report(self) -> list[FileReport]:
        """What each file that was run has, and how long that took, by path."""
        return [
            FileReport(str(path), [dag.dag_id for dag in file.dags], sum(len(d.tasks) for d in file.dags), file.seconds)
            for path, file in sorted(self._files.items())
        ]

    # --- files ---

    def _stamp(self, path: Path) -> Stamp | None:
        return self._files[path].stamp if path in self._files else None

    def _read(self, paths: list[Path], stamps: dict[Path, Stamp]) -> None:
        importlib.invalidate_caches()  # helpers may be new
        make_importable(self._root)
        for path in paths:
            self._files.pop(path, None)
            sys.modules.pop(module_name(path), None)
            if path in stamps:
                began = wall_seconds()
                dags, error = self._load(path)
                self._files[path] = _File(stamps[path], dags, error, wall_seconds() - began)

    def _load(self, path: Path) -> tuple[list[DAG], DagFileError | None]:
        try:
            source = read_dag_file(path)
            safe_mode = conf.get("core", "dag_discovery_safe_mode") and path != self.path
            if safe_mode and b"dag" not in source.lower():
                return [], None
            printed = _Printed(sys.stdout, path)
            with contextlib.closing(printed), contextlib.redirect_stdout(printed):  # type: ignore[type-var]
                return run_dag_file(path, source), None
        except DagFileError as error:
            return [], error

    def _collect(self, errors: list[DagFileError]) -> None:
        """Put together what the files have, in the order of their paths."""
        self.dags, self.errors = {}, list(errors)
        for path, file in sorted(self._files.items()):
            taken = [dag for dag in file.dags if dag.dag_id in self.dags]
            if taken:
                files = [str(self.dags[taken[0].dag_id].fileloc), str(path)]
                self.errors.append(DagFileError(str(path), str(DuplicateDagIdFound(taken[0].dag_id, files))))
            elif file.error is None:
                self.dags.update({dag.dag_id: dag for dag in file.dags})
            elif file.error.reason != NO_DAG or not (path.name == "__init__.py" or self._is_imported(path)):
                self.errors.append(file.error)

    # --- helpers: modules of the folder that DAG files have imported by their names ---

    def _is_imported(self, path: Path) -> bool:
        file, own = str(path.absolute()), module_name(path)
        return any(_place(module) == file for name, module in [*sys.modules.items()] if name != own)

    def _stale_helpers(self, stamps: dict[Path, Stamp]) -> set[Path]:
        """Those that have changed since they were imported, or since they were first noticed."""
        self._watch_helpers()
        return {path for path, stamp in self._helpers.items() if (stamps.get(path) or stamp_of(path)) != stamp}

    def _watch_helpers(self) -> None:
        for path in set(self._imported().values()) - self._helpers.keys():
            self._helpers[path] = self._stamp(path) or stamp_of(path)

    def _watch_culprits(self) -> None:
        for own, file in self._files.items():
            for path in filter(None, map(self._inside, file.culprits)):
                if path != own:
                    self._helpers.setdefault(path, stamp_of(path))

    def _forget_helpers(self, stale: set[Path] | None = None) -> None:
        """Let all be imported anew; those that are `stale` not from byte code, whose own check counts whole seconds."""
        for name in self._imported():
            del sys.modules[name]
        self._helpers.clear()
        for path in stale or ():
            with contextlib.suppress(OSError):  # whose byte code is not ours to delete, it was not ours to write
                Path(cache_from_source(str(path))).unlink()

    def _imported(self) -> dict[str, Path]:
        """The helpers by their names; of a package without a file of its own, its folder."""
        names = [name for name in sys.modules.keys() - WERE_THERE if not name.startswith(NOT_HELPERS)]
        found = {name: self._inside(_place(sys.modules[name])) for name in names}
        return {name: path for name, path in found.items() if path}

    def _inside(self, file: str | None) -> Path | None:
        """A file's path, if it is in the folder and not in an environment of installed packages there, as `.venv`."""
        root = str(self._root.absolute())
        if not file or not file.startswith(root) or not Path(file).is_relative_to(root):
            return None
        path = Path(file).relative_to(root)
        hidden = any(part.startswith(HIDDEN) or part == "site-packages" for part in path.parts)
        return None if hidden else self._root / path


WERE_THERE = frozenset(sys.modules)
"""Modules that were imported before any DAG file could be."""

NOT_HELPERS = ("etlkit.", "etlkit_dag_file_", "__main__")
"""How the names of modules begin that are not helpers of DAG files, wherever they lie."""


def _place(module: ModuleType) -> str | None:
    """The file of a module; of a package without one, its folder."""
    known = getattr(module, "__dict__", {})  # not getattr: some modules do things when they are asked
    return known.get("__file__") or next((path for path in known.get("__path__", ()) if isinstance(path, str)), None)


class _Printed:
    """Where a DAG file prints to: the stream that was there, until what others print would be lost among its lines."""

    LINES = 20

    def __init__(self, stream: TextIO, path: Path) -> None:
        self._stream, self._path, self._lines = stream, path, 0

    def write(self, text: str) -> int:
        for line in text.splitlines(keepends=True):
            if self._lines < self.LINES:
                self._stream.write(line)
            self._lines += line.endswith("\n")
        return len(text)

    def close(self) -> None:
        """Say how much was left out. Whoever kept the stream for later may then print as much as he likes."""
        if self._lines > self.LINES:
            self._stream.write(f"{self._path}: {self._lines - self.LINES} more lines printed while it was loaded\n")
        self._lines = -sys.maxsize

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)
