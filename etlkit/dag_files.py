"""DAG files: Python files in which DAGs are written, and folders of them.

A DAG file is run like a script, once, and the DAGs that its own top-level code made are collected: those that a
variable of the file holds, and those written in a `with DAG` block or by calling a `@dag` function, named or not. A DAG
imported from another file belongs to that one.

`load_dag_file(path)` reads one file and raises `DagFileError`, with the line, if anything is wrong with it. `DagFolder`
reads a folder (Airflow's `DagBag`): there a broken file is one entry in `errors`, and the others still load.

>>> import tempfile
>>> folder = Path(tempfile.mkdtemp())
>>> _ = (folder / "good.py").write_text("from etlkit import DAG\\nwith DAG('good'): pass")
>>> _ = (folder / "broken.py").write_text("from etlkit import DAG\\nDAG('broken', schedul='@daily')")
>>> found = DagFolder(folder)
>>> found.dags
{'good': <DAG good: 0 tasks, None>}
>>> [(Path(error.path).name, error.line) for error in found.errors]
[('broken.py', 2)]
"""

from __future__ import annotations

import contextlib
import sys
import traceback
import zlib
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from stat import S_ISREG
from types import ModuleType
from typing import NamedTuple

from etlkit.dag import DAG, entered_dags
from etlkit.errors import DagFileError, DagNotFound, DuplicateDagIdFound, EtlkitError

NO_DAG = "there is no DAG in it; assign one to a variable, write `with DAG(...)`, or call the function under `@dag`"


def load_dag_file(path: str | Path) -> list[DAG]:
    """The DAGs of one file, each with its `fileloc` set; DagFileError if it does not load or has none.

    The file's folder is importable from then on. The file is read anew each time, never from a cached byte code.
    """
    return _run(Path(path), _read(Path(path)))


class _File(NamedTuple):
    """What was found in one file, and the (modification time, size) that it had."""

    stamp: tuple[int, int]
    dags: list[DAG] = []  # noqa: RUF012 (never changed)
    error: DagFileError | None = None


class DagFolder:
    """The DAGs of all `*.py` files in a folder and the folders below it, or of one file; hidden files are left out.

    `dags` has each DAG by its id, `errors` one `DagFileError` for each file that does not load. If two files have a DAG
    of the same id, the second file (by path) is the broken one. A file without the word "dag" in it is not run, and one
    that another file imports needs no DAG of its own. DagFileError if `path` does not exist.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.dags: dict[str, DAG] = {}
        self.errors: list[DagFileError] = []
        self._files: dict[Path, _File] = {}
        self.refresh()

    def refresh(self) -> bool:
        """Read what is new or has changed since the last time, and forget what is gone; True if there was anything.

        A change in a module that DAG files import makes all files be read anew.
        """
        stamps = dict(self._stamps())
        changed = {path for path in stamps.keys() | self._files if stamps.get(path) != self._stamp(path)}
        if not changed:
            return False
        if changed & self._imported():
            self._forget_imported()
            changed = set(stamps)
        for path in sorted(changed):
            self._files.pop(path, None)
            if path in stamps:
                self._files[path] = _File(stamps[path], *self._load(path))
        self._collect()
        return True

    def get(self, dag_id: str) -> DAG:
        """The DAG called `dag_id`; DagNotFound, which also names a file that does not load."""
        if dag_id not in self.dags:
            error = DagNotFound(dag_id, list(self.dags))
            if self.errors:
                error.args = (f"{error} ({len(self.errors)} file(s) did not load: {self.errors[0]})",)
            raise error
        return self.dags[dag_id]

    def _stamps(self) -> Iterator[tuple[Path, tuple[int, int]]]:
        if not self.path.exists():
            raise DagFileError(str(self.path), "there is no such file or folder; create it, or set [core] dags_folder")
        for path in self.path.rglob("*.py") if self.path.is_dir() else [self.path]:
            hidden = any(part.startswith((".", "__pycache__")) for part in path.relative_to(self.path).parts)
            if not hidden:
                with contextlib.suppress(FileNotFoundError):  # an editor that saves by renaming took it away just now
                    stat = path.stat()
                    if S_ISREG(stat.st_mode):
                        yield path, (stat.st_mtime_ns, stat.st_size)

    def _stamp(self, path: Path) -> tuple[int, int] | None:
        return self._files[path].stamp if path in self._files else None

    def _load(self, path: Path) -> tuple[list[DAG], DagFileError | None]:
        if self.path.is_dir():
            _make_importable(self.path)
        try:
            source = _read(path)
            wanted = b"dag" in source.lower() or path == self.path
            return (_run(path, source) if wanted else []), None
        except DagFileError as error:
            return [], error

    def _collect(self) -> None:
        """Put together what the files have, in the order of their paths."""
        self.dags, self.errors = {}, []
        imported = self._imported()
        for path, file in sorted(self._files.items()):
            taken = [dag for dag in file.dags if dag.dag_id in self.dags]
            if taken:
                files = [str(self.dags[taken[0].dag_id].fileloc), str(path)]
                self.errors.append(DagFileError(str(path), str(DuplicateDagIdFound(taken[0].dag_id, files))))
            elif file.error is None:
                self.dags.update({dag.dag_id: dag for dag in file.dags})
            elif file.error.reason != NO_DAG or path not in imported:
                self.errors.append(file.error)

    def _imported(self) -> set[Path]:
        """The files of this folder that were imported by their names, as helpers of others."""
        return set(self._imported_modules().values())

    def _imported_modules(self) -> dict[str, Path]:
        ours = {str(path.absolute()): path for path in self._files}
        found = {name: ours.get(getattr(module, "__file__", None) or "") for name, module in sys.modules.items()}
        return {name: path for name, path in found.items() if path and name != _module_name(path)}

    def _forget_imported(self) -> None:
        for name in self._imported_modules():
            del sys.modules[name]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DagFileError(str(path), f"cannot be read: {error.strerror or error}") from None


def _run(path: Path, source: bytes) -> list[DAG]:
    """Run a file as a module of its own and collect its DAGs."""
    _make_importable(path.parent)
    module = _new_module(path)
    try:
        with entered_dags() as entered:
            exec(compile(source, str(module.__file__), "exec", dont_inherit=True), vars(module))
        return _checked(_dags_of(module, entered), path)
    except (Exception, SystemExit) as error:
        del sys.modules[module.__name__]
        if isinstance(error, DagFileError) and error.path == str(path):
            raise
        raise DagFileError(str(path), _reason(error), _line(error, str(module.__file__))) from error


def _new_module(path: Path) -> ModuleType:
    spec = spec_from_file_location(_module_name(path), path.absolute())
    if spec is None:
        raise DagFileError(str(path), "is not a Python file; its name must end in .py")
    module = module_from_spec(spec)
    # Data classes, pickle and type hints look a module up by its name.
    sys.modules[module.__name__] = module
    return module


def _module_name(path: Path) -> str:
    """A name that no import statement finds by chance, the same whenever this file is loaded."""
    return f"etlkit_dag_file_{zlib.crc32(str(path.absolute()).encode()):08x}_{path.stem}"


def _make_importable(folder: Path) -> None:
    # At the end, so that no file in it hides a module of Python's own.
    if (name := str(folder.absolute())) not in sys.path:
        sys.path.append(name)


def _dags_of(module: ModuleType, entered: list[DAG]) -> list[DAG]:
    held = [value for value in vars(module).values() if isinstance(value, DAG)]
    return [dag for dag in dict.fromkeys([*entered, *held]) if dag.written_in == module.__name__]


def _checked(dags: list[DAG], path: Path) -> list[DAG]:
    if not dags:
        raise DagFileError(str(path), NO_DAG)
    known: set[str] = set()
    for dag in dags:
        if dag.dag_id in known:
            raise DuplicateDagIdFound(dag.dag_id)
        known.add(dag.dag_id)
        dag.topological_order()
        dag.timetable.validate()
        dag.fileloc = str(path.absolute())
    return dags


def _reason(error: BaseException) -> str:
    """What went wrong, in one line; the kit's own messages say it without the name of their class."""
    message = " ".join(str(error.msg if isinstance(error, SyntaxError) else error).split())
    name = type(error).__name__
    return message if isinstance(error, EtlkitError) else f"{name}: {message}" if message else name


def _line(error: BaseException, file: str) -> int | None:
    """The line of `file` at which it went wrong, however deep in other code the error was raised."""
    if isinstance(error, SyntaxError) and error.filename == file:
        return error.lineno
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return lines[-1] if lines else None
