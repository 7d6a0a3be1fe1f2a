"""How a source refuses."""

from __future__ import annotations

from etlkit.errors import SourceError


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
