"""DAG files: Python files in which DAGs are written.

A DAG file is run like a script, once, and the DAGs that its own top-level code made are collected: those that a
variable of the file holds, and those written in a `with DAG` block or by calling a `@dag` function, named or not. A DAG
imported from another file belongs to that one.

`load_dag_file(path)` reads one file and raises `DagFileError`, with the line, if anything is wrong with it. For a whole
folder, in which a broken file does not stop the others, see `dag_folder`.

>>> import tempfile
>>> file = Path(tempfile.mkdtemp(), "weather.py")
>>> _ = file.write_text("from etlkit import DAG\\nwith DAG('weather'): pass")
>>> load_dag_file(file)
[<DAG weather: 0 tasks, None>]
>>> _ = file.write_text("from etlkit import DAG\\nDAG('weather', schedul='@daily')")
>>> load_dag_file(file)    # doctest: +ELLIPSIS
Traceback (most recent call last):
etlkit.errors.DagFileError: ...weather.py:2: DAG('weather') has no argument 'schedul'; did you mean 'schedule'?
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
import zlib
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from etlkit.config import conf
from etlkit.dag import DAG, entered_dags
from etlkit.errors import AirflowTaskTimeout, DagFileError, DuplicateDagIdFound, EtlkitError
from etlkit.time_limit import time_limit

NO_DAG = "there is no DAG in it; assign one to a variable, write `with DAG(...)`, or call the function under `@dag`"


def load_dag_file(path: str | Path) -> list[DAG]:
    """The DAGs of one file, each with its `fileloc` set; DagFileError if it does not load or has none.

    The file's folder is importable from then on. The file is read anew each time, never from a cached byte code. It may
    take [core] dagbag_import_timeout seconds.
    """
    return run_dag_file(Path(path), read_dag_file(Path(path)))


def read_dag_file(path: Path) -> bytes:
    """What is in a file; DagFileError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DagFileError(str(path), f"cannot be read: {error.strerror or error}") from None


def run_dag_file(path: Path, source: bytes) -> list[DAG]:
    """Run what was read of a file as a module of its own, and collect its DAGs."""
    make_importable(path.parent)
    module = _new_module(path)
    try:
        with _loading_limit(), _staying_alive(), entered_dags() as entered:
            exec(compile(source, str(module.__file__), "exec", dont_inherit=True), vars(module))
        return _checked(_dags_of(module, entered), path)
    except (Exception, SystemExit, AirflowTaskTimeout) as error:
        sys.modules.pop(module.__name__, None)
        if isinstance(error, DagFileError) and error.path == str(path):
            raise
        file = str(module.__file__)
        raise DagFileError(str(path), _reason(error, file), _line(error, file), _stacktrace(error, file)) from error


def _loading_limit() -> contextlib.AbstractContextManager[None]:
    seconds = conf.get("core", "dagbag_import_timeout")
    reason = (
        f"takes longer than {seconds:g} seconds to load; move what takes long into a task, or raise [core] "
        "dagbag_import_timeout"
    )
    return time_limit(seconds, lambda: AirflowTaskTimeout(reason)) if seconds > 0 else contextlib.nullcontext()


@contextlib.contextmanager
def _staying_alive() -> Iterator[None]:
    """Inside the block `os._exit` is SystemExit: else one file would end, without a word, who loads all of them.

    What keeps hold of the function ends the process with it later, as does a process forked from this one.
    """
    end_process, loading_process = os._exit, os.getpid()
    loading = True

    def leave(status: int) -> NoReturn:
        if loading and os.getpid() == loading_process:
            raise SystemExit(f"os._exit({status}) while the file loads; move it into a task, or raise an exception")
        end_process(status)

    os._exit = leave
    try:
        yield
    finally:
        os._exit, loading = end_process, False


def _new_module(path: Path) -> ModuleType:
    spec = spec_from_file_location(module_name(path), path.absolute())
    if spec is None:
        raise DagFileError(str(path), "is not a Python file; its name must end in .py")
    module = module_from_spec(spec)
    # Data classes, pickle and type hints look a module up by its name.
    sys.modules[module.__name__] = module
    return module


def module_name(path: Path) -> str:
    """A name that no import statement finds by chance, the same whenever this file is loaded."""
    return f"etlkit_dag_file_{zlib.crc32(str(path.absolute()).encode()):08x}_{path.stem}"


def make_importable(folder: Path) -> None:
    """Let files of this folder be imported by their names."""
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
        str(dag.timetable.summary)  # a person's own may fail: here, and not when the scheduler asks for it
        dag.fileloc = str(path.absolute())
    return dags


def _reason(error: BaseException, file: str) -> str:
    """What went wrong, in one line; the kit's own messages say it without the name of their class."""
    from etlkit.masking import one_line  # loaded when it is needed: `dags list` shall be quick

    name, said = type(error).__name__, one_line(error)
    if isinstance(error, SyntaxError) and error.filename == file:  # else its text says which file is meant
        return f"{name}: {error.msg}"
    return said.removeprefix(f"{name}: ") if isinstance(error, (EtlkitError, AirflowTaskTimeout)) else said


def _line(error: BaseException, file: str) -> int | None:
    """The line of `file` at which it went wrong, however deep in other code the error was raised."""
    if isinstance(error, SyntaxError) and error.filename == file:
        return error.lineno
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return lines[-1] if lines else None


def _stacktrace(error: BaseException, file: str) -> str:
    """The error as Python prints it, without the kit's own frames before the file, and without secrets."""
    from etlkit.masking import masker, storable

    frame = error.__traceback__
    while frame is not None and frame.tb_frame.f_code.co_filename != file:
        frame = frame.tb_next
    return storable(masker.mask("".join(traceback.format_exception(type(error), error, frame))))
