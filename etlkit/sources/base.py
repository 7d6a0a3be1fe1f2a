"""What every source can do."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from etlkit.sources.columns import UNFIT, array, check_names
from etlkit.sources.refusal import refusal

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

    check_names(rows.column_names, [modified], source)
    times = rows[modified]
    if times.null_count:
        what = f"{times.null_count} rows have no modification time"
        raise refusal(source, what, "give them one, or read everything with read()", column=modified)
    if cursor is None:
        return Batch(rows, _python(pc.max(times)))
    try:
        since = array([cursor], times.type, from_text=isinstance(cursor, str))[0]
    except UNFIT as error:
        what = f"the cursor {cursor!r} cannot be compared with {times.type}"
        raise refusal(source, what, "hand in what the last update gave, or None for everything") from error
    rows = rows.filter(pc.greater_equal(times, since))
    return Batch(rows, _python(pc.max(rows[modified]) if rows.num_rows else since))


def _python(value: pa.Scalar) -> Any:
    found = value.as_py()
    return found.astimezone(UTC) if isinstance(found, datetime) and found.tzinfo else found
