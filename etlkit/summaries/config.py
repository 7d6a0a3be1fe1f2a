"""What summaries are made from: a list of `Summary` in Python, or the same in YAML.

::

    - name: daily
      doc: The lowest temperature of each day.
      sql: |
        SELECT airport, date, min(temp) AS tmin FROM weather GROUP BY ALL
      key: [airport, date]
      input_checks:
        weather:
          - row_count: 1
          - not_null: [airport, time]
      output_checks:
        - every: tmin > -100

A check is the name of one of `etlkit.warehouse.checks` with its arguments: one value, a list, or a mapping by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import chain
from pathlib import Path
from typing import Any

from etlkit.errors import SummaryError, nearest
from etlkit.warehouse import checks
from etlkit.warehouse.checks import Check

CHECKS: dict[str, tuple[Callable[..., Check], type]] = {
    "row_count": (checks.row_count, int),
    "unique": (checks.unique, str),
    "not_null": (checks.not_null, str),
    "every": (checks.every, str),
    "no_rows": (checks.no_rows, str),
    "is_true": (checks.is_true, str),
}
"""The checks that YAML can name, and the type of their arguments."""


KINDS = {int: "whole numbers", str: "texts"}


@dataclass(frozen=True)
class Summary:
    """A summary table: its name ("daily" or "schema.daily", taken literally), and the query whose result it holds.

    - `key`: the columns that no two rows may share, and that are never NULL.
    - `input_checks`: by the name of a table that the query reads, the checks that must hold of it first.
    - `output_checks`: the checks that must hold of the new table before it takes the old one's place.
    - `doc`: becomes the table's comment.
    - `reads`: what the query reads without showing it, because it goes through a view or a macro.
    """

    name: str
    sql: str
    key: Sequence[str] = ()
    input_checks: Mapping[str, Sequence[Check]] = field(default_factory=dict)
    output_checks: Sequence[Check] = ()
    doc: str | None = None
    reads: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name, value in (("name", self.name), ("sql", self.sql)):
            if not isinstance(value, str) or not value.strip():
                raise SummaryError(f"a summary needs a {name} that is a text, not {value!r}")
        if not isinstance(self.doc, str | None):
            raise self.refused(f"doc is a text, not {self.doc!r}")
        for field_name, kind in (("key", "column"), ("reads", "table")):
            object.__setattr__(self, field_name, self._names(field_name, kind))
        for table in self.input_checks:
            if not isinstance(table, str):
                raise self.refused(f"input_checks are by the name of a table, not {table!r}")
        for check in (*chain.from_iterable(self.input_checks.values()), *self.output_checks):
            if not isinstance(check, Check):
                raise self.refused(f"{check!r} is not a check; see etlkit.warehouse.checks")

    def _names(self, field_name: str, kind: str) -> tuple[str, ...]:
        given = getattr(self, field_name)
        names = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, list | tuple) else (given,)
        if not all(isinstance(name, str) for name in names):
            raise self.refused(f"{field_name} is a {kind} or a list of them, not {given!r}")
        return names

    def refused(self, reason: str) -> SummaryError:
        """An error about this summary, in one line."""
        return SummaryError(f"summary {self.name!r}: {reason}", summary=self.name)


FIELDS = [each.name for each in fields(Summary)]

Config = str | Path | Iterable[Summary | Mapping[str, Any]]
"""Summaries as a list, or the path of a YAML file that holds one."""


def read_config(config: Config) -> list[Summary]:
    """The summaries that are meant; SummaryError, in one line, for what is none.

    >>> [summary] = read_config([{"name": "daily", "sql": "FROM weather", "output_checks": [{"row_count": [1, 10]}]}])
    >>> summary.output_checks[0].name
    'row_count(1, 10)'
    >>> read_config([{"name": "daily", "sql": "FROM weather", "output_check": []}])
    Traceback (most recent call last):
    etlkit.errors.SummaryError: summary 'daily': there is no field 'output_check'; did you mean 'output_checks'?
    """
    entries = _from_yaml(Path(config)) if isinstance(config, str | Path) else list(config)
    summaries = [entry if isinstance(entry, Summary) else _summary(entry) for entry in entries]
    seen: set[str] = set()
    for summary in summaries:
        if summary.name.lower() in seen:
            raise summary.refused("there are two of this name; rename one")
        seen.add(summary.name.lower())
    return summaries


def _from_yaml(path: Path) -> list[Any]:
    import yaml

    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SummaryError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        reason = " ".join(str(getattr(error, "problem", None) or error).split())
        raise SummaryError(f"{path}{f', line {mark.line + 1}' if mark else ''}: {reason}") from None
    if not isinstance(entries, list):
        raise SummaryError(f"{path} is not a list of summaries; begin each with: - name: ...")
    return entries


def _summary(entry: Any) -> Summary:
    if not isinstance(entry, Mapping):
        raise SummaryError(f"{entry!r} is not a summary; give a mapping with {', '.join(FIELDS)}")
    name = entry.get("name")
    for given in entry:
        if given not in FIELDS:
            raise SummaryError(f"summary {name!r}: there is no field {given!r}{nearest(str(given), FIELDS)}")
    if missing := [needed for needed in ("name", "sql") if needed not in entry]:
        raise SummaryError(f"summary {name!r}: it has no {missing[0]}")
    by_table = entry.get("input_checks") or {}
    if not isinstance(by_table, Mapping):
        raise SummaryError(f"summary {name!r}: input_checks are a mapping of table names to lists of checks")
    return Summary(
        **{
            **{field: value for field, value in entry.items() if value is not None},
            "input_checks": {table: _checks(some, str(name)) for table, some in by_table.items()},
            "output_checks": _checks(entry.get("output_checks") or [], str(name)),
        }
    )


def _checks(entries: Any, summary: str) -> list[Check]:
    if not isinstance(entries, list):
        raise SummaryError(f"summary {summary!r}: checks are a list, not {entries!r}")
    return [entry if isinstance(entry, Check) else _check(entry, summary) for entry in entries]


def _check(entry: Any, summary: str) -> Check:
    """The check that one entry such as `{"row_count": [1, 10]}` stands for."""
    if not isinstance(entry, Mapping) or len(entry) != 1:
        raise SummaryError(f"summary {summary!r}: {entry!r} is not a check; write one name and its arguments")
    [(name, arguments)] = entry.items()
    if name not in CHECKS:
        hint = nearest(str(name), list(CHECKS)) or f"; there are {', '.join(CHECKS)}"
        raise SummaryError(f"summary {summary!r}: there is no check {name!r}{hint}")
    check, kind = CHECKS[name]
    named = arguments if isinstance(arguments, Mapping) else {}
    values = [] if named else arguments if isinstance(arguments, list) else [arguments]
    if not all(type(value) is kind for value in (*values, *named.values())):
        raise SummaryError(f"summary {summary!r}: {name} does not take {arguments!r}; give it {KINDS[kind]}")
    try:
        return check(*values, **named)
    except TypeError as error:  # too many, too few, or one of another name
        raise SummaryError(f"summary {summary!r}: {name} does not take {arguments!r}: {error}") from None
