"""How a DAG that lies in no file reaches another process of this machine: as a copy, written with cloudpickle.

A DAG of a file travels by its name: the other process reads the file. One that was made in a notebook exists only
there, so its objects are copied, with the functions of the notebook and what these use. The copy is a picture of that
moment: what a task changes in a variable of the notebook stays in its own process.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import io
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import cloudpickle

from etlkit.dag import DAG, BaseOperator, TaskGroup
from etlkit.errors import DagError
from etlkit.worker import PICKLED


class Copies:
    """Copies of DAGs in the folder that `folder` gives, a file for each content: one that stays the same keeps its."""

    def __init__(self, folder: Callable[[], Path]) -> None:
        self.folder = folder
        self._dags: dict[str, DAG] = {}
        self._files: dict[str, Path] = {}

    @property
    def dag_ids(self) -> list[str]:
        """Which DAGs these are."""
        return list(self._dags)

    def add(self, dag: DAG) -> None:
        """Copy a DAG, in the place of an earlier one of its id; DagError, in one line, if it cannot travel."""
        self._files[dag.dag_id] = self._written(copied(dag))
        self._dags[dag.dag_id] = dag

    def of(self, dag: DAG) -> Path:
        """The file with the copy of a DAG; it is made anew if it was forgotten, with the same DagError."""
        if dag.dag_id not in self._files or self._dags[dag.dag_id] is not dag:
            self.add(dag)
        return self._files[dag.dag_id]

    def places(self) -> dict[str, str]:
        """Where the copies of all these DAGs are, by their ids; without those that cannot travel any more."""
        for dag in self._dags.values():
            with contextlib.suppress(DagError):  # told to whoever wants to run one
                self.of(dag)
        return {dag_id: f"{PICKLED}{path}" for dag_id, path in self._files.items()}

    def forget(self) -> None:
        """Copy every DAG anew when it is next asked for: what it uses may have changed."""
        self._files.clear()

    def _written(self, content: bytes) -> Path:
        path = self.folder() / f"{hashlib.sha256(content).hexdigest()[:32]}.pickle"
        if not path.exists():
            path.write_bytes(content)
        return path


def copied(dag: DAG) -> bytes:
    """The copy of `dag` as bytes; DagError, naming the task and what it holds, if something in it cannot be copied.

    >>> import pickle
    >>> pickle.loads(copied(DAG("weather")))
    <DAG weather: 0 tasks, None>
    """
    try:
        return cloudpickle.dumps(dag)
    except Exception as error:  # objects raise whatever they like when they are pickled
        culprit = next(culprits(dag), None)
        reason = f"{culprit or ' '.join(str(error).split())}"
    raise DagError(
        f"DAG {dag.dag_id!r} cannot travel to another process: {reason}; make it inside the task, or write the "
        "DAG to a file"
    )


class Culprit(NamedTuple):
    """Something that cannot be copied: who holds it, and under which name."""

    holder: str
    name: str
    value: Any

    def __str__(self) -> str:
        return f"{self.holder} holds {self.name!r}, and a {type(self.value).__name__} cannot be copied"


def culprits(dag: DAG) -> Iterator[Culprit]:
    """What cannot be copied in the tasks of a DAG and in the DAG itself."""
    for task in dag.tasks:
        yield from _in_parts(f"task {task.task_id!r}", task)
    yield from _in_parts("the DAG itself", dag)


def _in_parts(holder: str, whole: DAG | BaseOperator) -> Iterator[Culprit]:
    for name, value in vars(whole).items():
        if not _travels(value):
            yield from (Culprit(holder, *part) for part in _innermost(name, value, ()))


def _innermost(name: str, value: Any, outside: tuple[Any, ...]) -> Iterator[tuple[str, Any]]:
    """What in a container cannot be copied, and of a function which of the variables that it uses."""
    parts = [
        (part_name or name, part)
        for part_name, part in _parts(value)
        if not any(part is other for other in outside) and not _travels(part)
    ]
    for part_name, part in parts:
        yield from _innermost(part_name, part, (*outside, value))
    if not parts:
        yield name, value


def _parts(value: Any) -> list[tuple[str, Any]]:
    """What a thing holds, each with its name, if it has one."""
    function = inspect.unwrap(value) if callable(value) else None
    if isinstance(function, types.FunctionType):
        used = inspect.getclosurevars(function)
        return [*used.globals.items(), *used.nonlocals.items()]
    if isinstance(value, Mapping):
        return [("", part) for part in value.values()]
    return [("", part) for part in value] if isinstance(value, list | tuple | set) else []


class _OwnParts(cloudpickle.Pickler):
    """Copies a thing without the tasks and DAGs that it leads to: these are looked at by themselves."""

    def persistent_id(self, obj: Any) -> str | None:
        return "elsewhere" if isinstance(obj, DAG | BaseOperator | TaskGroup) else None


def _travels(value: Any) -> bool:
    try:
        _OwnParts(io.BytesIO()).dump(value)
    except Exception:  # as above
        return False
    return True
