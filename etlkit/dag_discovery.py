"""Which Python files of a folder may be DAG files.

Those in the folder and the folders below it, links followed, but for hidden ones and what an `.airflowignore` names: a
file of patterns as in `.gitignore`, which counts for its own folder and those below, and ends comments with `#`. Both
the name and the rules are Airflow's ([core] dag_ignore_file_syntax = glob).

>>> import tempfile
>>> folder = Path(tempfile.mkdtemp())
>>> for name in ("weather.py", "test_weather.py", "notes.txt", ".airflowignore"):
...     _ = (folder / name).write_text("test_*  # not for the scheduler")
>>> [path.name for path in python_files(folder).stamps]
['weather.py']
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, NamedTuple

from etlkit.errors import DagFileError

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

IGNORE_FILE = ".airflowignore"
HIDDEN = (".", "__pycache__")
"""How the names of files and folders begin that hold no DAGs."""


class Stamp(NamedTuple):
    """What changes when a file does: writing moves the times; an editor that saves by renaming makes a new inode."""

    modified_ns: int
    changed_ns: int
    size: int
    inode: int


class Found(NamedTuple):
    """The Python files, each with its stamp, and what of the folder cannot be read."""

    stamps: dict[Path, Stamp]
    errors: list[DagFileError]


def python_files(path: Path) -> Found:
    """The Python files of a folder, or one file; nothing of it is read but `.airflowignore`.

    What disappears while it is looked at was not there.
    """
    if not path.exists():
        reason = "there is no such file or folder; create it, or set [core] dags_folder"
        return Found({}, [DagFileError(str(path), reason)])
    if not path.is_dir():
        stamp = stamp_of(path)
        return Found({path: stamp} if stamp else {}, [])
    walk = _Walk()
    walk.enter(path)
    return Found(walk.stamps, walk.errors)


def stamp_of(path: Path | os.DirEntry[str]) -> Stamp | None:
    """The stamp of a file; None if it is none, or no longer there."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return Stamp(stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino) if S_ISREG(stat.st_mode) else None


class _Rules(NamedTuple):
    """The patterns of one `.airflowignore`, and where it lies: as a path below the DAG folder, ending in a slash."""

    patterns: GitIgnoreSpec
    below: str

    def say(self, path: str) -> bool | None:
        """Whether a path below the DAG folder is ignored; None if no pattern fits."""
        return self.patterns.check_file(path.removeprefix(self.below)).include


class _Walk:
    """One walk through a DAG folder."""

    def __init__(self) -> None:
        self.stamps: dict[Path, Stamp] = {}
        self.errors: list[DagFileError] = []
        self._seen: set[Path] = set()

    def enter(self, folder: Path, below: str = "", rules: Sequence[_Rules] = ()) -> None:
        """Look at what is in `folder`, which lies `below` the DAG folder; the `rules` of the nearest folder are first.

        A folder that was entered before is not again: a link leads back to it.
        """
        if (place := folder.resolve()) in self._seen:
            return
        self._seen.add(place)
        try:
            entries = list(os.scandir(folder))
            rules = [*_rules_in(folder, below), *rules]
        except DagFileError as error:
            self.errors.append(error)
        except FileNotFoundError:
            return
        except OSError as error:
            self.errors.append(DagFileError(str(error.filename or folder), f"cannot be read: {error.strerror}"))
            return
        for entry in entries:
            if not entry.name.startswith(HIDDEN):
                self._look_at(entry, folder / entry.name, below + entry.name, rules)

    def _look_at(self, entry: os.DirEntry[str], path: Path, below: str, rules: Sequence[_Rules]) -> None:
        if entry.is_dir():
            if not _ignored(f"{below}/", rules):
                self.enter(path, f"{below}/", rules)
        elif entry.name.endswith(".py") and not _ignored(below, rules) and (stamp := stamp_of(entry)):
            self.stamps[path] = stamp


def _rules_in(folder: Path, below: str) -> list[_Rules]:
    path = folder / IGNORE_FILE
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, IsADirectoryError):
        return []
    return [_Rules(_compiled(text, str(path)), below)]


@lru_cache
def _compiled(text: str, path: str) -> GitIgnoreSpec:
    """The patterns in the text of an `.airflowignore`; DagFileError for what is none."""
    from pathspec import GitIgnoreSpec

    lines = [re.sub(r"\s*#.*", "", line) for line in text.splitlines()]
    for number, line in enumerate(lines, start=1):
        try:
            GitIgnoreSpec.from_lines([line])
        except ValueError:
            raise DagFileError(
                path, f"{line!r} is not a pattern; correct it: none of this file counts", number
            ) from None
    return GitIgnoreSpec.from_lines(lines)


def _ignored(path: str, rules: Sequence[_Rules]) -> bool:
    return next((answer for rule in rules if (answer := rule.say(path)) is not None), False)
