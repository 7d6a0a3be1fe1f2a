"""Values between tasks: what may travel, and how it is written down.

An XCom is JSON text in the metadata database. Numbers, strings, booleans, None, lists and dicts travel as they are
(dict keys become strings); tuples, sets and dates are marked so that they come back as what they were. Anything else is
refused, and so is what is too big: a table belongs in a file or the warehouse, and the XCom is its path.

>>> loads(dumps({"days": (1, 2), "seen": {3}}))
{'days': (1, 2), 'seen': {3}}
>>> dumps(float("nan"))
Traceback (most recent call last):
etlkit.errors.XComError: nan cannot be an XCom: JSON has no such number; pass None or a string
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Any

from etlkit.config import conf
from etlkit.errors import XComError

PLAIN = (str, int, bool, type(None))


def dumps(value: Any, limit: int | None = None) -> str:
    """`value` as JSON text; XComError if it cannot travel, or has more than `limit` bytes ([core] xcom_max_bytes)."""
    limit = conf.get("core", "xcom_max_bytes") if limit is None else limit
    try:
        text = json.dumps(_marked(value), allow_nan=False, ensure_ascii=False)
        size = len(text) if text.isascii() else len(text.encode())
    except RecursionError:
        raise XComError("this value cannot be an XCom: it contains itself, or is nested too deep") from None
    except ValueError as error:  # half a character, or a number of thousands of digits
        raise XComError(f"this value cannot be an XCom: {error}") from None
    if size > limit:
        raise XComError(
            f"an XCom of {size:,} bytes is more than the {limit:,} allowed; write it to a file or table and pass its "
            "path"
        )
    return text


def loads(text: str) -> Any:
    """The value that `dumps` wrote."""
    return json.loads(text, object_hook=_unmarked)


def _marked(value: Any) -> Any:
    kind = type(value)
    if kind in PLAIN:
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise XComError(f"{value} cannot be an XCom: JSON has no such number; pass None or a string")
        return float(value)
    if isinstance(value, dict):
        marked = {str(key): _marked(item) for key, item in value.items()}
        # A dict that looks like a mark is written so that it does not.
        return {"__dict__": list(marked.items())} if marked.keys() & MARKS.keys() else marked
    if isinstance(value, list):
        return [_marked(item) for item in value]
    for mark, (types, write, _) in MARKS.items():
        if isinstance(value, types):
            return {mark: write(value)}
    if isinstance(value, PLAIN):  # a subclass, such as an enum of strings
        return value
    if kind.__module__ == "numpy" and getattr(value, "ndim", None) == 0:  # one number out of an array or a DataFrame
        return _marked(value.item())
    raise XComError(
        f"a {kind.__module__}.{kind.__qualname__} cannot be an XCom: pass numbers, strings, lists and dicts, or write "
        "it to a file and pass its path"
    )


def _unmarked(item: dict[str, Any]) -> Any:
    if len(item) == 1:
        ((mark, written),) = item.items()
        if mark in MARKS:
            return MARKS[mark][2](written)
    return item


def _sorted(items: Iterable[Any]) -> list[Any]:
    return sorted((_marked(item) for item in items), key=repr)


MARKS: dict[str, tuple[Any, Any, Any]] = {
    "__tuple__": (tuple, lambda v: [_marked(item) for item in v], tuple),
    "__set__": (set, _sorted, set),
    "__frozenset__": (frozenset, _sorted, frozenset),
    "__datetime__": (datetime, datetime.isoformat, datetime.fromisoformat),
    "__date__": (date, date.isoformat, date.fromisoformat),
    "__timedelta__": (timedelta, timedelta.total_seconds, lambda seconds: timedelta(seconds=seconds)),
    "__dict__": ((), None, dict),
}
"""mark: (types, how it is written as JSON, how it is read back); a dict is written plainly where it can be."""
