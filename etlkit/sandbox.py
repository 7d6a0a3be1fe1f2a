"""The Jinja environment in which templates are rendered: sandboxed, strict and lazy.

- *Sandboxed*: a template is text, and text may come from elsewhere. It can read what its task is told and call
  Airflow's macros; it cannot reach Python's internals (`__class__`), private attributes, files or processes.
- *Strict*: a name that does not exist is an error, not an empty string.
- *Lazy*: a value of the context is worked out when a template uses it: some of them cost a query.

>>> render(make_environment().compiled("{{ ds | replace('-', '/') }}"), {"ds": "2013-01-31"})
'2013/01/31'
>>> render(make_environment().compiled("{{ ds.__class__ }}"), {"ds": "2013-01-31"})
Traceback (most recent call last):
jinja2.exceptions.SecurityError: access to attribute '__class__' of 'str' object is unsafe.

Jinja2 loads with this module, so this module is loaded only when something is rendered.
"""

from __future__ import annotations

import io
import logging
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, time
from functools import lru_cache, partial
from types import ModuleType
from typing import Any

import jinja2
from jinja2.nativetypes import NativeEnvironment
from jinja2.runtime import Context, missing
from jinja2.sandbox import SandboxedEnvironment, is_internal_attribute

from etlkit.dag import BaseOperator
from etlkit.macros import OPEN_NAMES, Lookup

NOT_IN_TEMPLATES = frozenset({"clock", "conf", "exception", "warehouse"})
"""Names in a context that Airflow does not have there. The warehouse could read and write files, so it stays out."""

CLOSED_TYPES = (io.IOBase, logging.Logger, logging.Handler, jinja2.Environment, jinja2.BaseLoader)
CLOSED_MODULES = frozenset({"etlkit.logs", "etlkit.store", "etlkit.vault"})
"""Types, and modules of types, whose objects a template may neither get nor look into: files and databases are near."""

CLOSED_NAMES = frozenset({"get_hook", "test_connection"})
"""Methods of Connections that reach what they connect to."""


def _written(form: str) -> Callable[[date | time | None], str | None]:
    return lambda value: None if value is None else value.strftime(form)


FILTERS: Mapping[str, Callable[[Any], str | None]] = {
    "ds": _written("%Y-%m-%d"),
    "ds_nodash": _written("%Y%m%d"),
    "ts": lambda value: None if value is None else value.isoformat(),
    "ts_nodash": _written("%Y%m%dT%H%M%S"),
    "ts_nodash_with_tz": lambda value: None if value is None else value.isoformat().replace("-", "").replace(":", ""),
}
"""Airflow's filters: `{{ data_interval_end | ds }}`."""


class NoRun:
    """What `prev_…_success` is in a template when no run before has succeeded: prints as None, but is no date.

    A filter on None gives None; on this it is an error, so that no "None" gets into a query for want of a date.
    """

    def __bool__(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"no run before this one has succeeded, so there is no {name} of its dates")

    def __repr__(self) -> str:
        return "None"


NO_RUN = NoRun()


class Names(Mapping[str, Any]):
    """The names of a task's context that templates have."""

    def __init__(self, context: Mapping[str, Any]) -> None:
        self.context = context

    def __getitem__(self, name: str) -> Any:
        if name in NOT_IN_TEMPLATES:
            raise KeyError(name)
        value = self.context[name]
        return NO_RUN if value is None and name.startswith("prev_") else value

    def __iter__(self) -> Iterator[str]:
        return (name for name in self.context if name not in NOT_IN_TEMPLATES)

    def __len__(self) -> int:
        return sum(1 for _ in self)


class LazyContext(Context):
    """Jinja's own looks at all values at once, to copy them; this one at none that is not asked for."""

    def resolve_or_missing(self, key: str) -> Any:
        try:
            return self.vars[key] if key in self.vars else self.parent[key]
        except KeyError:
            return missing

    def get_all(self) -> Any:
        return ChainMap(self.vars, self.parent) if self.vars else self.parent

    def derived(self, locals: dict[str, Any] | None = None) -> LazyContext:
        context = lazy_context(self.environment, self.name, {}, self.get_all(), locals)
        context.eval_ctx = self.eval_ctx
        context.blocks.update((name, list(blocks)) for name, blocks in self.blocks.items())
        return context


def lazy_context(
    environment: Any, name: str | None, blocks: Any, names: Mapping[str, Any], local: Mapping[str, Any] | None
) -> LazyContext:
    """A context that looks in `local` first, then in `names`."""
    found = {key: value for key, value in (local or {}).items() if value is not missing}
    return LazyContext(environment, ChainMap(found, names), name, blocks)  # type: ignore[arg-type]


class LazyTemplate(jinja2.Template):
    """A template whose contexts are lazy, also those of what it includes and imports."""

    def new_context(self, vars: Any = None, shared: bool = False, locals: Mapping[str, Any] | None = None) -> Context:
        given = {} if vars is None else vars
        names = given if shared else ChainMap(given, self.globals)
        return lazy_context(self.environment, self.name, self.blocks, names, locals)


class UndefinedError(jinja2.UndefinedError):
    """A name that does not exist; if it was an attribute, of `obj`, which else is `missing`."""

    def __init__(self, message: str, name: str | None, obj: Any) -> None:
        super().__init__(message)
        self.name, self.obj = name, obj


class StrictUndefined(jinja2.StrictUndefined):
    """Stands for what does not exist; using it raises an error that knows what was asked for."""

    __slots__ = ()

    def __init__(
        self, hint: str | None = None, obj: Any = missing, name: str | None = None, exc: Any = jinja2.UndefinedError
    ) -> None:
        if exc is jinja2.UndefinedError:
            exc = partial(UndefinedError, name=name, obj=obj)
        super().__init__(hint, obj, name, exc)


class TaskEnvironment(SandboxedEnvironment):
    """Renders to text."""

    template_class = LazyTemplate
    context_class = LazyContext

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.filters.update(FILTERS)
        self.text_stays = False
        """Whether text without any template marks can be left as it is."""
        # Every run of a task renders the same text: compiling it costs many times what rendering does.
        self.compiled: Callable[[str], jinja2.Template] = lru_cache(maxsize=512)(self.from_string)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, Lookup):  # a Variable or Connection may be called _x
            return not attr.startswith("__")
        if isinstance(obj, ModuleType) and obj.__name__ in OPEN_NAMES:
            return attr in OPEN_NAMES[obj.__name__]
        if attr.startswith("_") or is_internal_attribute(obj, attr) or attr in CLOSED_NAMES:
            return False
        if isinstance(value, ModuleType):
            return _is_open_module(obj, value)
        runs_something = isinstance(obj, BaseOperator) and callable(value)
        return not (runs_something or is_closed(type(obj)) or is_closed(type(value)))


class NativeTaskEnvironment(TaskEnvironment, NativeEnvironment):
    """Renders to Python values: what comes out is a number, list, … if it reads like one."""

    template_class = LazyTemplate


def _is_open_module(obj: Any, module: ModuleType) -> bool:
    """Whether templates are meant to have a module, or it is part of one that they have been given."""
    part_of_it = isinstance(obj, ModuleType) and module.__name__.startswith(f"{obj.__name__}.")
    return part_of_it or module.__name__ in OPEN_NAMES


def is_closed(kind: type) -> bool:
    """Whether templates may not touch objects of a type."""
    return kind.__module__ in CLOSED_MODULES or issubclass(kind, CLOSED_TYPES)


def make_environment(
    *,
    native: bool = False,
    folders: Sequence[str] = (),
    undefined: Any = None,
    macros: Mapping[str, Any] | None = None,
    filters: Mapping[str, Callable[..., Any]] | None = None,
    options: Mapping[str, Any] | None = None,
) -> TaskEnvironment:
    """An environment that finds files in `folders` and has the macros and filters of a DAG; `options` are Jinja's."""
    defaults = {
        "undefined": undefined or StrictUndefined,
        "extensions": ["jinja2.ext.do"],
        "loader": jinja2.FileSystemLoader(list(folders)),
    }
    environment = (NativeTaskEnvironment if native else TaskEnvironment)(**{**defaults, **(options or {})})
    environment.text_stays = not native and not options
    environment.globals.update(macros or {})
    environment.filters.update(filters or {})
    return environment


def render(template: jinja2.Template, context: Mapping[str, Any]) -> Any:
    """What a template gives in a context; an exception in it has the template's lines in its traceback."""
    environment = template.environment
    try:
        value = environment.concat(template.root_render_func(template.new_context(Names(context))))  # type: ignore[arg-type]
        if isinstance(value, jinja2.StrictUndefined):
            str(value)  # raises; where values are wanted and not text, Jinja itself lets an undefined one out
    except Exception:
        environment.handle_exception()
    return None if value is NO_RUN else value
