"""What was tried, passed, hinted at and foreseen: a small SQLite file in `ETLKIT_HOME`, never in the working directory.

Kept apart from the metadata database, so that a lesson that deletes or breaks that one loses nobody's progress.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from etlkit.config import conf
from etlkit.errors import ExerciseError

FILE = "progress.db"
TABLE = """
    CREATE TABLE IF NOT EXISTS progress (
        id TEXT PRIMARY KEY,
        tries INTEGER NOT NULL DEFAULT 0,
        passed INTEGER NOT NULL DEFAULT 0,
        hints INTEGER NOT NULL DEFAULT 0,
        choice TEXT
    )
"""


class Record(NamedTuple):
    """How far somebody is: tries of an exercise, whether one passed, hints taken; the choice of a prediction."""

    id: str
    tries: int = 0
    passed: bool = False
    hints: int = 0
    choice: str | None = None


def file() -> Path:
    """Where progress is kept."""
    return conf.current.home / FILE


def records() -> dict[str, Record]:
    """All that is kept, by id."""
    with _progress() as db:
        rows = db.execute("SELECT id, tries, passed, hints, choice FROM progress ORDER BY id").fetchall()
    return {row[0]: Record(row[0], row[1], bool(row[2]), *row[3:]) for row in rows}


def record(exercise_id: str) -> Record:
    """What is kept of one exercise or prediction."""
    return records().get(exercise_id, Record(exercise_id))


def tried(exercise_id: str, passed: bool) -> None:
    """Count a try; once passed is passed."""
    _update(exercise_id, "tries = tries + 1, passed = max(passed, ?)", int(passed))


def hinted(exercise_id: str, hints: int) -> None:
    """Remember that the first `hints` hints were given."""
    _update(exercise_id, "hints = ?", hints)


def chosen(exercise_id: str, letter: str) -> str:
    """Lock a choice; returns the one that is locked, which is an earlier one if there was one."""
    _update(exercise_id, "choice = coalesce(choice, ?)", letter)
    return record(exercise_id).choice or letter


def begin(notebook: str) -> None:
    """Take the hints and choices of a notebook's exercises back; what was passed stays passed."""
    with _progress() as db:
        db.execute("UPDATE progress SET hints = 0, choice = NULL WHERE id GLOB ?", (f"{notebook}-*",))


def forget(exercise_id: str | None = None) -> None:
    """Forget one exercise, or with None everything."""
    with _progress() as db:
        db.execute("DELETE FROM progress WHERE id = coalesce(?, id)", (exercise_id,))


def _update(exercise_id: str, change: str, value: object) -> None:
    with _progress() as db:
        db.execute("INSERT OR IGNORE INTO progress (id) VALUES (?)", (exercise_id,))
        db.execute(f"UPDATE progress SET {change} WHERE id = ?", (value, exercise_id))


@contextlib.contextmanager
def _progress() -> Iterator[sqlite3.Connection]:
    """The file, in one transaction; ExerciseError if it cannot be used."""
    try:
        file().parent.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(sqlite3.connect(file(), timeout=10)) as db, db:
            db.execute(TABLE)
            yield db
    except (OSError, sqlite3.Error) as error:
        raise ExerciseError(
            f"progress cannot be kept in {file()} ({error}); move it away, or set ETLKIT_HOME"
        ) from None
