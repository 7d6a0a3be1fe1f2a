"""Params: typed values that a run is given when it is triggered.

A DAG names its params with their defaults; a run's conf may say otherwise. A `Param` also says what the values may be,
as a JSON schema, and is checked before a run exists. A plain value is a Param with that default and no rules.

>>> params = ParamsDict({"airport": "JFK", "days": Param(7, type="integer", minimum=1)})
>>> run_params(params, conf={"days": 14})
{'airport': 'JFK', 'days': 14}
>>> run_params(params, conf={"days": 0})
Traceback (most recent call last):
etlkit.errors.ParamValidationError: param 'days' cannot be 0: 0 is less than the minimum of 1

Names and meanings are those of `airflow.sdk`. The rules are those of JSON Schema 2020-12, checked by jsonschema.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from datetime import datetime
from enum import Enum
from functools import cache, lru_cache
from typing import Any

from etlkit.errors import ParamValidationError
from etlkit.masking import masker, should_hide_value_for_key


class NotSet(Enum):
    """The type of `NOTSET`: an enumeration, so that a copy of it in another process is still the same."""

    NOTSET = "NOTSET"

    def __repr__(self) -> str:
        return self.value

    __str__ = __repr__


NOTSET: Any = NotSet.NOTSET
"""Stands for a value that was not given, where None is one."""

JSON_TYPES: Mapping[str, type] = {
    "array": list,
    "boolean": bool,
    "integer": int,
    "null": type(None),
    "number": float,
    "object": dict,
    "string": str,
}

NOTES = frozenset(
    {"$comment", "default", "deprecated", "description", "description_md", "examples", "readOnly", "section", "title"}
)
"""Keywords of a schema that refuse nothing."""


CANNOT_BE = "cannot be"
"""How a message begins that shows a value."""


class Param:
    """A param of a DAG or task: its default, what it means, and which values it may have.

    `schema` or the other arguments are keywords of JSON Schema: `type="integer"` (or a list of types), `minimum`,
    `maximum`, `enum`, `minLength`, `pattern`, `items`, … Of `format`, "date", "date-time", "time", "email", "ipv4",
    "ipv6", "regex" and "uuid" are checked. A Param without a default must be given when the run is triggered.

    >>> Param("2013-01-31", type="string", format="date").resolve("2013-02-30")
    Traceback (most recent call last):
    etlkit.errors.ParamValidationError: cannot be '2013-02-30': '2013-02-30' is not a 'date'
    """

    def __init__(
        self,
        default: Any = NOTSET,
        description: str | None = None,
        *,
        schema: Mapping[str, Any] | None = None,
        **rules: Any,
    ) -> None:
        self.value = default if default is NOTSET else checked_json(default)
        self.description = description
        self.schema: dict[str, Any] = checked_json(dict(rules if schema is None else schema))

    def resolve(self, value: Any = NOTSET) -> Any:
        """`value`, else the default; ParamValidationError if that is against the rules, or there is none."""
        value = self.value if value is NOTSET else checked_json(value)
        if value is NOTSET:
            raise ParamValidationError("has no default, so it needs a value: give it in the run's conf")
        rules = self.schema.keys() - NOTES
        # Loading jsonschema takes a while: a Param with no other rule than its type can do without.
        if rules and not (rules == {"type"} and self._is_of_type(value)):
            self._validate(value)
        return value

    @property
    def has_value(self) -> bool:
        """Whether it has a default other than None."""
        return self.value is not NOTSET and self.value is not None

    def _is_of_type(self, value: Any) -> bool:
        allowed = self.schema["type"]
        names = allowed if isinstance(allowed, (list, tuple)) else [allowed]
        return any(JSON_TYPES.get(str(name)) is type(value) for name in names)

    def _validate(self, value: Any) -> None:
        from jsonschema.exceptions import best_match
        from referencing.exceptions import Unresolvable

        try:
            error = best_match(validator_of(json.dumps(self.schema)).iter_errors(value))
        except Unresolvable as missing:
            raise ParamValidationError(f"has rules that refer to what is not there: {missing}") from None
        if error is not None:
            inside = f" (at {error.json_path})" if error.absolute_path else ""
            raise ParamValidationError(f"{CANNOT_BE} {_short(repr(value))}: {_short(error.message)}{inside}")

    def __repr__(self) -> str:
        rules = "".join(f", {name}={rule!r}" for name, rule in self.schema.items())
        return f"Param({self.value!r}{rules})"


SCALARS = (bool, int, str, type(None))
"""Types whose values are JSON as they are."""


def _short(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}…"


def checked_json(value: Any) -> Any:
    """`value` if JSON can hold it; ParamValidationError otherwise."""
    if type(value) not in SCALARS:
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ParamValidationError(f"{CANNOT_BE} {_short(repr(value))}: JSON cannot hold it ({error})") from None
    return value


@lru_cache(maxsize=512)  # by text: on the Param itself it would keep it from being pickled
def validator_of(schema: str) -> Any:
    """The jsonschema validator of a schema written as JSON; ParamValidationError if it is none."""
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import Draft202012Validator, validator_for

    rules = json.loads(schema)
    kind = validator_for(rules, default=Draft202012Validator)
    try:
        kind.check_schema(rules)
    except SchemaError as error:
        raise ParamValidationError(f"has rules that are no JSON schema: {_short(error.message)}") from None
    return kind(rules, format_checker=format_checker())


@cache
def format_checker() -> Any:
    """Checks `format`: what jsonschema does by itself, and "date-time", for which it would need another package."""
    from jsonschema import FormatChecker

    checker = FormatChecker(("date", "time", "email", "idn-email", "ipv4", "ipv6", "regex", "uuid"))
    checker.checks("date-time", raises=ValueError)(_is_date_time)
    return checker


def _is_date_time(value: object) -> bool:
    return not isinstance(value, str) or (len(value) > len("2013-01-31") and datetime.fromisoformat(value) is not None)


class ParamsDict(MutableMapping[str, Any]):
    """Params by name. Reading one gives its value, checked; setting one gives it a new default, checked.

    >>> params = ParamsDict({"airport": Param("JFK", enum=["EWR", "JFK", "LGA"])})
    >>> params["airport"], params.get_param("airport")
    ('JFK', Param('JFK', enum=['EWR', 'JFK', 'LGA']))
    >>> params["airport"] = "SFO"
    Traceback (most recent call last):
    etlkit.errors.ParamValidationError: param 'airport' cannot be 'SFO': 'SFO' is not one of ['EWR', 'JFK', 'LGA']
    """

    def __init__(self, params: Mapping[str, Any] | None = None) -> None:
        self._params: dict[str, Param] = {}
        self.update(params or {})

    def get_param(self, name: str) -> Param:
        """The Param itself."""
        return self._params[name]

    def validate(self) -> dict[str, Any]:
        """The values by name; ParamValidationError for the first that cannot be."""
        return {name: self[name] for name in self._params}

    def dump(self) -> dict[str, Any]:
        """The values by name, None where there is no valid one."""
        values = {}
        for name in self._params:
            try:
                values[name] = self[name]
            except ParamValidationError:
                values[name] = None
        return values

    def update(self, other: Any = (), /, **named: Any) -> None:
        """Set several; those of another ParamsDict bring their rules with them."""
        super().update(other._params if isinstance(other, ParamsDict) else other, **named)

    def __getitem__(self, name: str) -> Any:
        param = self._params[name]
        return self._checked(name, param.resolve)

    def __setitem__(self, name: str, value: Any) -> None:
        old = self._params.get(name)
        if isinstance(value, Param) or old is None:
            self._params[name] = self._checked(name, lambda: as_param(value))
        else:
            default = self._checked(name, lambda: old.resolve(value))
            self._params[name] = Param(default, old.description, schema=old.schema)

    def _checked(self, name: str, get: Callable[[], Any]) -> Any:
        try:
            return get()
        except ParamValidationError as error:
            hidden = should_hide_value_for_key(name) and str(error).startswith(CANNOT_BE)
            reason = "has a value that its rules forbid (not shown, by the name it is a secret)" if hidden else error
            raise ParamValidationError(f"param {name!r} {reason}", name) from None

    def __delitem__(self, name: str) -> None:
        del self._params[name]

    def __contains__(self, name: object) -> bool:
        return name in self._params

    def __iter__(self) -> Iterator[str]:
        return iter(self._params)

    def __len__(self) -> int:
        return len(self._params)

    def __eq__(self, other: object) -> bool:
        return self.dump() == (other.dump() if isinstance(other, ParamsDict) else other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(self.dump())


def as_param(value: Any) -> Param:
    """A Param as it is; a plain value as one with that default."""
    return value if isinstance(value, Param) else Param(value)


def run_params(*levels: Mapping[str, Any], conf: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The values of the params of a run: of several levels (DAG, task) the last counts, and `conf` before all.

    What only `conf` has is a param too. The masker learns what is secret in them by its name. ParamValidationError if
    one has no value, or one against its rules.
    """
    values = _combined(*levels, conf or {}).validate() if any(levels) else dict(conf or {})
    masker.learn(values)
    return values


def _combined(*levels: Mapping[str, Any]) -> ParamsDict:
    params = ParamsDict()
    for level in levels:
        params.update(level)
    return params
