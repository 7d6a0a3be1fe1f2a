"""Waiting for a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from glob import glob
from pathlib import Path
from typing import Any, ClassVar

from etlkit.sensors.base import BaseSensorOperator


class FileSensor(BaseSensorOperator):
    """Waits until a file matches `filepath`, which may be a pattern; a folder counts once there is a file in it.

    `recursive` lets `**` in the pattern stand for any number of folders.
    """

    template_fields: ClassVar[Sequence[str]] = ("filepath",)

    def __init__(self, *, filepath: str | Path, recursive: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filepath = filepath
        self.recursive = recursive

    def poke(self, context: Mapping[str, Any]) -> bool:
        for name in sorted(glob(str(self.filepath), recursive=self.recursive)):  # noqa: PTH207 (an absolute pattern)
            path = Path(name)
            if path.is_file() or any(inside.is_file() for inside in path.rglob("*")):
                self.log.info("found %s", path)
                return True
        return False
