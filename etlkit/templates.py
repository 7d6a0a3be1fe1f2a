"""Templates: the `{{ … }}` in a task's fields, put in place just before the task runs.

What an operator's `template_fields` name is rendered: every string in it, however deep in lists, tuples, sets and the
values of dicts, and in the template fields of objects inside. A string that ends in one of its `template_ext` names a
file, whose text is rendered; it is looked for beside the DAG file and in the DAG's `template_searchpath`. Results of
tasks are replaced by their values, and a function in a field by what it returns for `context=` and `jinja_env=`.

A task in which there is nothing to render is left alone, and Jinja2 is not even loaded.

Names, macros, filters and answers are those of Airflow 3. What differs on purpose:

==================================================  ==================================================================
Airflow                                             here
==================================================  ==================================================================
private attributes (`{{ ti._x }}`) can be read      they cannot: the engine's own lead to the database and to files
`macros.json`, `macros.uuid`, … are whole modules   what `etlkit.macros.OPEN_NAMES` lists of them: `macros.uuid.os`
                                                    would lead out of the sandbox
operators' methods and `conn.x.get_hook()` can be   they cannot: a template runs nothing
called
native rendering is not sandboxed, and gives an     it is, and an undefined name is an error there, too
undefined name as an object
renders objects in place                            renders copies: the DAG stays as it was written
==================================================  ==================================================================
"""

from __future__ import annotations

import contextlib
import copy
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from etlkit.errors import (
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSkipException,
    AirflowTaskTimeout,
    DagError,
    TemplateError,
    nearest,
)
from etlkit.params import NOTSET

if TYPE_CHECKING:
    from etlkit.dag import DAG, BaseOperator
    from etlkit.sandbox import TaskEnvironment

MARKS = ("{{", "{%", "{#")
"""What begins something in a template."""

LEAVES = frozenset({type(None), bool, int, float, complex, bytes, date, datetime, timedelta})
"""Types of which no value holds a template."""

HOLDERS = frozenset({list, tuple, dict, set, frozenset})
"""Types of which an empty value holds none."""

STEERING = (AirflowSkipException, AirflowFailException, AirflowRescheduleException, AirflowTaskTimeout)
"""What a macro may raise to decide how the task ends."""

DATED = frozenset(
    {
        "data_interval_end",
        "data_interval_start",
        "ds",
        "ds_nodash",
        "logical_date",
        "prev_data_interval_end_success",
        "prev_data_interval_start_success",
        "ts",
        "ts_nodash",
        "ts_nodash_with_tz",
    }
)
"""Names that a run without a logical date does not have."""

GONE = {
    "execution_date": "logical_date",
    "next_ds": "data_interval_end | ds",
    "next_ds_nodash": "data_interval_end | ds_nodash",
    "next_execution_date": "data_interval_end",
    "prev_ds": "macros.ds_add(ds, -1)",
    "prev_ds_nodash": "macros.ds_add(ds, -1) | replace('-', '')",
    "prev_execution_date": "logical_date.subtract(days=1)",
    "prev_execution_date_success": "prev_data_interval_start_success",
    "tomorrow_ds": "macros.ds_add(ds, 1)",
    "tomorrow_ds_nodash": "macros.ds_add(ds, 1) | replace('-', '')",
    "yesterday_ds": "macros.ds_add(ds, -1)",
    "yesterday_ds_nodash": "macros.ds_add(ds, -1) | replace('-', '')",
}
"""Names that Airflow 2 had, and what to write now; for a daily schedule, where it depends on that."""


def is_plain(text: str, extensions: tuple[str, ...] = ()) -> bool:
    """Whether rendering would give `text` as it is.

    Jinja drops a newline at the very end and writes every other one as a line feed, so those count.

    >>> is_plain("SELECT 1"), is_plain("{a}"), is_plain("{{ ds }}"), is_plain("daily.sql", (".sql",))
    (True, True, False, False)
    """
    if "{" in text and any(mark in text for mark in MARKS):
        return False
    return "\r" not in text and not text.endswith(("\n", *extensions))


def needs_rendering(value: Any, extensions: tuple[str, ...] = (), text_stays: bool = True) -> bool:
    """Whether there is anything to render in `value`; `text_stays` says that plain text is left as it is."""
    if type(value) in LEAVES or (type(value) in HOLDERS and not value):
        return False
    if isinstance(value, str):
        return value != "" and not (text_stays and is_plain(value, extensions))
    if isinstance(value, (list, tuple, set, frozenset)):
        return any(needs_rendering(item, extensions, text_stays) for item in value)
    if isinstance(value, Mapping):
        return any(needs_rendering(item, extensions, text_stays) for item in value.values())
    return resolver(value) is not None or template_fields_of(value) != ()


def resolver(value: Any) -> Callable[[Mapping[str, Any]], Any] | None:
    """What gives the value that `value` stands for, in a context; None if it stands for itself."""
    resolve = None if isinstance(value, (os.PathLike, type)) else getattr(value, "resolve", None)
    return resolve if callable(resolve) else None


def template_fields_of(value: Any) -> Sequence[str]:
    """The attributes in which an object wants its templates rendered."""
    return () if isinstance(value, type) else getattr(value, "template_fields", ())


@dataclass(frozen=True)
class LiteralValue:
    """A value that is not rendered, whatever is in it."""

    value: Any

    def resolve(self, context: Mapping[str, Any]) -> Any:
        """The value as it is."""
        return self.value


def literal(value: Any) -> LiteralValue:
    """`value` as it is in a template field: `bash_command=literal("echo {{ not a template }}")`."""
    return LiteralValue(value)


# --- rendering --------------------------------------------------------------------------------------------------------


class Renderer:
    """Renders values in one environment and context.

    >>> from etlkit.sandbox import make_environment
    >>> renderer = Renderer(make_environment(), {"ds": "2013-01-31"})
    >>> renderer.render({"day": "{{ ds }}", "months": ["{{ ds[:7] }}", 12]})
    {'day': '2013-01-31', 'months': ['2013-01', 12]}
    """

    def __init__(self, environment: Any, context: Mapping[str, Any], extensions: Sequence[str] = ()) -> None:
        self.environment, self.context, self.extensions = environment, context, tuple(extensions)
        self.text = ""
        """The template that is being rendered; empty in between, and so when it was not a template that failed."""
        self._copies: dict[int, Any] = {}

    def render(self, value: Any) -> Any:
        """`value` with all templates in it rendered."""
        if isinstance(value, str):
            return self._render_text(value)
        if resolve := resolver(value):
            return resolve(self.context)
        if isinstance(value, (list, tuple, set, frozenset)):
            return self._render_items(value)
        if isinstance(value, Mapping):
            return {key: self.render(item) for key, item in value.items()}
        return self._render_object(value) if template_fields_of(value) else value

    def render_field(self, owner: Any, name: str) -> Any:
        """What an attribute of an operator, or of an object in one, becomes."""
        value = attribute(owner, name)
        return value(context=self.context, jinja_env=self.environment) if callable(value) else self.render(value)

    def _render_text(self, text: str) -> Any:
        from etlkit.sandbox import render

        if getattr(self.environment, "text_stays", False) and is_plain(text, self.extensions):
            return text
        self.text = text
        if text.endswith(self.extensions):
            template = self.environment.get_template(text)
        else:
            template = getattr(self.environment, "compiled", self.environment.from_string)(text)
        value, self.text = render(template, self.context), ""
        return value

    def _render_items(self, value: Any) -> Any:
        items = [self.render(item) for item in value]
        if isinstance(value, tuple):
            return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
        return items if isinstance(value, list) else type(value)(items)

    def _render_object(self, value: Any) -> Any:
        # Objects may refer to each other in a circle: each is copied once.
        if id(value) not in self._copies:
            self._copies[id(value)] = changed = copy.copy(value)
            for name in template_fields_of(value):
                setattr(changed, name, self.render_field(value, name))
        return self._copies[id(value)]


def attribute(owner: Any, name: str) -> Any:
    """The value of a template field; DagError if there is no such attribute."""
    try:
        return getattr(owner, name)
    except AttributeError:
        raise DagError(
            f"{owner!r}: template_fields names {name!r}, but it has no such attribute{nearest(name, list(vars(owner)))}"
        ) from None


def rendered(task: BaseOperator, context: Mapping[str, Any]) -> BaseOperator:
    """A copy of `task` with its template fields rendered; the task itself when there is nothing to render.

    TemplateError, which names the field and the template, if one cannot be rendered.
    """
    if not task.template_fields:
        return task
    extensions, text_stays = tuple(task.template_ext), leaves_text(task)
    names = [name for name in task.template_fields if _wants(attribute(task, name), extensions, text_stays)]
    if not names:
        return task
    renderer, changed = Renderer(environment_of(task), context, extensions), copy.copy(task)
    for name in names:
        with explaining(task, name, renderer):
            setattr(changed, name, renderer.render_field(task, name))
    return changed


def rendered_value(task: BaseOperator, what: str, value: Any, context: Mapping[str, Any]) -> Any:
    """`value` rendered as if it stood in a field of the task; `what` names it if that fails with a TemplateError."""
    renderer = Renderer(environment_of(task), context, task.template_ext)
    with explaining(task, what, renderer):
        return renderer.render(value)


def _wants(value: Any, extensions: tuple[str, ...], text_stays: bool) -> bool:
    return needs_rendering(value, extensions, text_stays) or callable(value)


# --- environments -----------------------------------------------------------------------------------------------------

_environments: WeakKeyDictionary[DAG, dict[bool, TaskEnvironment]] = WeakKeyDictionary()


def is_native(task: BaseOperator) -> bool:
    """Whether what is rendered becomes a Python value: what the task says, else its DAG."""
    told = task.render_template_as_native_obj
    return (task.dag is not None and task.dag.render_template_as_native_obj) if told is None else told


def leaves_text(task: BaseOperator) -> bool:
    """Whether text without template marks is left as it is: not if it may become a value, or marks may be others."""
    return not is_native(task) and not (task.dag is not None and task.dag.jinja_environment_kwargs)


def environment_of(task: BaseOperator) -> TaskEnvironment:
    """The Jinja environment in which a task is rendered."""
    if task.dag is not None:
        return environment_for(task.dag, is_native(task))
    from etlkit.sandbox import make_environment

    return make_environment(native=is_native(task))


def environment_for(dag: DAG, native: bool) -> TaskEnvironment:
    """The Jinja environment of a DAG, made when it is first needed; DagError if Jinja refuses the DAG's options."""
    from etlkit.sandbox import make_environment

    made = _environments.setdefault(dag, {})
    if native not in made:
        try:
            made[native] = make_environment(
                native=native,
                folders=[dag.folder, *dag.template_searchpath],
                undefined=dag.template_undefined,
                macros=dag.user_defined_macros,
                filters=dag.user_defined_filters,
                options=dag.jinja_environment_kwargs,
            )
        except TypeError as error:
            raise DagError(f"DAG {dag.dag_id!r}: Jinja refuses its jinja_environment_kwargs: {error}") from None
    return made[native]


# --- what went wrong --------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def explaining(task: BaseOperator, field: str, renderer: Renderer) -> Iterator[None]:
    """An error that a template raises inside the block becomes a TemplateError."""
    try:
        yield
    except STEERING:
        raise
    except Exception as error:
        if not renderer.text:
            raise
        raise explained(error, task, field, renderer) from error


def place_of(error: Exception) -> tuple[str, int] | None:
    """The template's file name and the line at which an error was raised, if it was in a template."""
    place, step = None, error.__traceback__
    while step is not None:
        if "__jinja_exception__" in step.tb_frame.f_globals:
            place = step.tb_frame.f_code.co_filename, step.tb_lineno
        step = step.tb_next
    return place


def explained(error: Exception, task: BaseOperator, field: str, renderer: Renderer) -> TemplateError:
    """An error in a template as one line: the task, the field, what is wrong, and where."""
    import jinja2

    file, line = place_of(error) or (None, None)
    text = renderer.text
    if isinstance(error, jinja2.TemplateNotFound):
        reason = missing_file(error, renderer)
    elif isinstance(error, jinja2.TemplateError):
        reason = " ".join((error.message or "").split()) + hint(error, renderer)
    else:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
    where = f"{file}, line {line}" if file and not file.startswith("<") else excerpt(text, line)
    return TemplateError(
        f"task {task.task_id!r}: {field} cannot be rendered: {reason} [{where}]",
        field=field,
        template=text,
        line=line,
        name=getattr(error, "name", None),
    )


def excerpt(text: str, line: int | None) -> str:
    """One line of a template, shortened.

    >>> excerpt("SELECT *\\nFROM {{ tabel }}", 2)
    'FROM {{ tabel }}'
    """
    lines = text.splitlines() or [""]
    shown = lines[min(line or 1, len(lines)) - 1].strip()
    return shown if len(shown) <= 80 else f"{shown[:80]}…"


def missing_file(error: Any, renderer: Renderer) -> str:
    """What to do about a template's file that is not there."""
    loader = renderer.environment.loader
    folders = " or ".join(map(str, getattr(loader, "searchpath", ()))) or "any folder"
    advice = "put it there, or name its folder in DAG(template_searchpath=...)"
    if error.name == renderer.text:
        advice += "; if it is no file to render, end it with a space"
    return f"there is no file {error.name!r} in {folders}; {advice}"


def hint(error: Any, renderer: Renderer) -> str:
    """What was probably meant by a name that is undefined."""
    from etlkit.sandbox import Names, UndefinedError, missing

    if not isinstance(error, UndefinedError) or not isinstance(error.name, str):
        return ""
    if error.obj is not missing:
        known = error.obj if isinstance(error.obj, Mapping) else [a for a in dir(error.obj) if not a.startswith("_")]
        return nearest(error.name, [name for name in known if isinstance(name, str)])
    if error.name in DATED and getattr(renderer.context.get("dag_run"), "logical_date", NOTSET) is None:
        return "; this run was triggered without a logical date, so nothing that follows from one is known"
    if error.name in GONE:
        return f"; Airflow 3 has no such name: write {{{{ {GONE[error.name]} }}}}"
    return nearest(error.name, [*Names(renderer.context), *renderer.environment.globals])
