"""What every source can do, and how it refuses."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from etlkit.errors import SourceError, nearest

if TYPE_CHECKING:
    import pyarrow as pa


class Batch(NamedTuple):
    """What an incremental update gives: the rows, and the cursor for next time, which is the newest time so far."""

    rows: pa.Table
    cursor: Any


class Source:
    """A place to take rows from. A source of one's own defines `read`, and has `modified_since` from here."""

    modified: str | None = None  # the column that says when a row was last changed

    def read(self) -> pa.Table:
        """Every row: the full refresh."""
        raise NotImplementedError

    def modified_since(self, cursor: Any = None) -> Batch:
        """The rows changed at or after `cursor`, all when it is None, and the next cursor: the incremental update.

        A cursor is a value of the column `modified`, or its ISO text. Keep the next one only when the rows are safely
        loaded: a cursor that runs ahead of its rows loses them.
        """
        if self.modified is None:
            raise refusal(self, "no column says when a row was changed", "name it: modified='updated_at'")
        return newer(self._candidates(cursor), self.modified, cursor, self)

    def _candidates(self, cursor: Any) -> pa.Table:
        """At least the rows at or after `cursor`; a source that can ask for fewer than all does so here."""
        return self.read()


def newer(rows: pa.Table, modified: str, cursor: Any, source: object) -> Batch:
    """The rows at or after `cursor`, and the greatest modification time there is now."""
    import pyarrow.compute as pc

    if modified not in rows.column_names:
        raise refusal(source, f"no column {modified!r}{nearest(modified, rows.column_names)}", "correct modified=")
    times = rows[modified]
    if times.null_count:
        what = f"{times.null_count} rows have no modification time"
        raise refusal(source, what, "give them one, or read everything with read()", column=modified)
    if cursor is None:
        return Batch(rows, _python(pc.max(times)))
    since = _scalar(cursor, times.type, source)
    rows = rows.filter(pc.greater_equal(times, since))
    return Batch(rows, _python(pc.max(rows[modified])) or _python(since))


def _scalar(cursor: Any, column_type: pa.DataType, source: object) -> pa.Scalar:
    """The cursor as a value of the column's type; text is parsed as the column's own text would be."""
    import pyarrow as pa

    zoned = getattr(column_type, "tz", None) is not None
    if isinstance(cursor, datetime) and pa.types.is_timestamp(column_type) and (cursor.tzinfo is not None) != zoned:
        cursor = cursor.isoformat()  # Arrow would take a naive datetime for UTC; as text it is refused
    try:
        return pa.scalar(cursor).cast(column_type) if isinstance(cursor, str) else pa.scalar(cursor, column_type)
    except (pa.ArrowException, TypeError) as error:
        todo = "hand in the cursor that the last update gave, or None for everything"
        raise refusal(source, f"the cursor {cursor!r} cannot be compared with {column_type} ({error})", todo) from error


def _python(value: pa.Scalar) -> Any:
    found = value.as_py()
    return found.astimezone(UTC) if isinstance(found, datetime) and found.tzinfo else found


def refusal(
    source: object,
    what: str,
    todo: str,
    *,
    at: tuple[str, int] | None = None,
    column: str | None = None,
    value: object = None,
) -> SourceError:
    """The one-line error: what is wrong, where, and what to do. `at` is a place such as ``("line", 17)``."""
    place = f"{source}" + (f", {at[0]} {at[1]}" if at else "") + (f", column {column!r}" if column else "")
    message = " ".join(f"{place}: {what}; {todo}".split())
    return SourceError(message, source=str(source), line=at[1] if at else None, column=column, value=value)
