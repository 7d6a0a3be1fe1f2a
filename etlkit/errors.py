"""Everything etlkit raises on purpose, as one tree.

::

    EtlkitError                      one root: `except EtlkitError` catches all of the kit's own errors
    ├── DagError                     a DAG that cannot be right, found while it is written
    │   ├── CycleError               .cycle: the task ids, first one repeated at the end
    │   ├── DuplicateTaskIdFound     .task_id, .dag_id
    │   ├── DuplicateDagIdFound      .dag_id, .files
    │   └── TaskNotFound             .task_id, .dag_id
    ├── DagFileError                 .path, .line: a DAG file that does not load
    ├── DagNotFound                  .dag_id
    ├── ConfigError                  a setting that does not exist or means nothing
    ├── TimetableError               a schedule, date or time zone that means nothing
    ├── BackfillError                a range, direction or DAG that cannot be backfilled
    ├── StateError                   .old, .new: a state change that the table of transitions forbids
    ├── MetadataError                the metadata database: not one, read-only, held, too new, full
    ├── VaultError                   the key that opens Variables and Connections: lost, wrong, or not a key
    ├── HookError                    .conn_id: an outside system that cannot be reached, or that refuses
    ├── ExerciseError                an exercise or choice that does not exist, or progress that cannot be kept
    ├── XComError                    a value that cannot travel between tasks
    ├── SourceError                  .source, .line, .column, .value: data that cannot be read whole
    ├── WarehouseError               the warehouse refused
    │   ├── SchemaMismatch           columns missing, extra or of another type; nothing was written
    │   ├── MergeError               .step, .sql, .counts: a merge that failed and was rolled back
    │   ├── SummaryError             .summary, .step, .sql: a summary table that cannot be, or was not built
    │   └── CheckFailed              .check, .found: a data check that kept the old table
    └── AirflowException             what a task raises, by Airflow's names
        ├── AirflowSkipException     the task instance becomes `skipped`
        ├── AirflowFailException     it fails now, without retries
        ├── AirflowRescheduleException   .reschedule_date: a sensor that gives back its slot until then
        ├── AirflowSensorTimeout     a sensor waited long enough; never retried
        ├── AirflowNotFoundException a Variable or Connection that does not exist
        ├── ParamValidationError     .name: a param without a value, or with one against its rules
        ├── TemplateError            .field, .template, .line, .name: a template that cannot be rendered
        └── DownstreamTasksSkipped   .tasks: it succeeded, and decided that these do not run

    AirflowTaskTimeout               execution_timeout passed; outside the tree, so that no `except Exception` stops it
    AirflowTaskTerminated            the attempt lost its task instance while it ran; outside the tree as well

Each error carries its data as attributes and says the next step in its message. The command line prints the message
as one line and exits with code 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime


class EtlkitError(Exception):
    """The root of everything the kit raises on purpose."""


class DagError(EtlkitError):
    """A DAG that cannot be right: a bad id, argument or edge."""


class CycleError(DagError):
    """Tasks that wait for each other; `cycle` names them in order, the first repeated at the end."""

    def __init__(self, dag_id: str, cycle: Sequence[str]) -> None:
        self.dag_id, self.cycle = dag_id, list(cycle)
        super().__init__(f"DAG {dag_id!r} has a cycle: {' >> '.join(self.cycle)}; remove one of these edges")


class DuplicateTaskIdFound(DagError):
    """Two tasks of one DAG with the same id."""

    def __init__(self, dag_id: str, task_id: str) -> None:
        self.dag_id, self.task_id = dag_id, task_id
        super().__init__(f"DAG {dag_id!r} already has a task {task_id!r}; give this one another task_id")


class DuplicateDagIdFound(DagError):
    """Two DAGs with the same id; `files` names where each was found."""

    def __init__(self, dag_id: str, files: Sequence[str] = ()) -> None:
        self.dag_id, self.files = dag_id, list(files)
        where = f" (in {' and '.join(self.files)})" if self.files else ""
        super().__init__(f"two DAGs are called {dag_id!r}{where}; rename one")


class TaskNotFound(DagError):
    """A task id that the DAG does not have."""

    def __init__(self, dag_id: str, task_id: str, known: Sequence[str] = ()) -> None:
        self.dag_id, self.task_id = dag_id, task_id
        super().__init__(f"DAG {dag_id!r} has no task {task_id!r}{nearest(task_id, known)}")


class DagFileError(EtlkitError):
    """A DAG file that does not load; `line` is None when the file as a whole is at fault.

    `stacktrace` is how Python tells it, beginning in the file itself; empty if the kit's own look found it.
    """

    def __init__(self, path: str, reason: str, line: int | None = None, stacktrace: str = "") -> None:
        self.path, self.reason, self.line, self.stacktrace = path, reason, line, stacktrace
        super().__init__(f"{path}{f':{line}' if line else ''}: {reason}")


class DagNotFound(EtlkitError):
    """A dag id that no DAG file and no database row has."""

    def __init__(self, dag_id: str, known: Sequence[str] = ()) -> None:
        self.dag_id = dag_id
        super().__init__(f"no DAG is called {dag_id!r}{nearest(dag_id, known) or '; see: etlkit dags list'}")


class ConfigError(EtlkitError):
    """A setting that does not exist, or whose text means nothing."""


class TimetableError(EtlkitError, ValueError):
    """A schedule, date or time zone that means nothing: a cron that never fires, a date without a zone."""


class BackfillError(EtlkitError):
    """A backfill that cannot be made: its range, its direction, or the DAG."""


class StateError(EtlkitError):
    """A state change that the table of transitions forbids."""

    def __init__(self, what: str, old: str | None, new: str | None) -> None:
        self.old, self.new = old, new
        super().__init__(f"{what} cannot go from {str(old or 'no state')!r} to {str(new or 'no state')!r}")


class MetadataError(EtlkitError):
    """The metadata database cannot be used: not a database, read-only, held by another process, too new, full."""


class VaultError(EtlkitError):
    """The key that opens Variables and Connections is lost or wrong; nothing is read or written without it."""


class HookError(EtlkitError):
    """An outside system cannot be reached, or refuses what was asked of it."""

    def __init__(self, conn_id: str, reason: str) -> None:
        self.conn_id, self.reason = conn_id, reason
        super().__init__(f"connection {conn_id!r}: {reason}")


class ExerciseError(EtlkitError):
    """An exercise, prediction or choice that does not exist, or progress that cannot be kept."""


class XComError(EtlkitError):
    """A value that cannot travel between tasks: not JSON, or too big."""


class SourceError(EtlkitError):
    """Data that cannot be read whole: missing, empty, truncated, or with a value of the wrong type.

    `source` says what was read; `line` (from 1), `column` and `value` say where it went wrong, as far as is known.
    """

    def __init__(
        self,
        message: str,
        *,
        source: str | None = None,
        line: int | None = None,
        column: str | None = None,
        value: object = None,
    ) -> None:
        self.source, self.line, self.column, self.value = source, line, column, value
        super().__init__(message)


class WarehouseError(EtlkitError):
    """The warehouse refused; what it held before is unchanged."""


class SchemaMismatch(WarehouseError):
    """New rows whose columns do not fit the table; refused before anything was written."""


class MergeError(WarehouseError):
    """A merge that failed at `step` and was rolled back; `sql` is the statement, `counts` what was known by then."""

    def __init__(self, message: str, *, step: str, sql: str, counts: Mapping[str, int] | None = None) -> None:
        self.step, self.sql, self.counts = step, sql, dict(counts or {})
        super().__init__(message)


class SummaryError(WarehouseError):
    """Summary tables that cannot be built as they are described, or one whose building failed and was rolled back.

    `summary` is the table's name; `step` and `sql` say where building it failed.
    """

    def __init__(
        self, message: str, *, summary: str | None = None, step: str | None = None, sql: str | None = None
    ) -> None:
        self.summary, self.step, self.sql = summary, step, sql
        super().__init__(message)


class CheckFailed(WarehouseError):
    """A data check that did not hold; the old table was kept."""

    def __init__(self, message: str, *, check: str, found: object = None) -> None:
        self.check, self.found = check, found
        super().__init__(message)


class AirflowException(EtlkitError):
    """What a task raises to fail; any other exception fails it too."""


class AirflowSkipException(AirflowException):
    """The task instance becomes `skipped`, and its trigger-rule neighbours see that."""


class AirflowFailException(AirflowException):
    """The task instance fails now: what is wrong will not get better by trying again."""


class AirflowRescheduleException(AirflowException):
    """A sensor in `reschedule` mode gives back its slot until `reschedule_date`."""

    def __init__(self, reschedule_date: datetime) -> None:
        self.reschedule_date = reschedule_date
        super().__init__(f"asks to be run again at {reschedule_date.isoformat()}")


class AirflowSensorTimeout(AirflowException):
    """A sensor waited for its `timeout`; it is not retried."""


class AirflowTaskTimeout(BaseException):
    """A task ran longer than its `execution_timeout`.

    As in Airflow no `Exception`: a task that catches those and goes on is ended all the same.
    """


class AirflowTaskTerminated(BaseException):
    """A task that lost its hold while it ran (it was cleared, say) was interrupted; as in Airflow no `Exception`."""


class AirflowNotFoundException(AirflowException):
    """A Variable or Connection that neither the environment nor the metadata database has."""


class ParamValidationError(AirflowException):
    """A param of a run that has no value, or one that its rules forbid; `name` is the param's."""

    def __init__(self, message: str, name: str | None = None) -> None:
        self.name = name
        super().__init__(message)


class TemplateError(AirflowException):
    """A template that cannot be rendered.

    `field` is the task's attribute, `template` its text or the name of its file, `line` where in it (from 1), and
    `name` the name that was undefined, as far as they are known. What went wrong is the error's `__cause__`.
    """

    def __init__(
        self, message: str, *, field: str, template: str, line: int | None = None, name: str | None = None
    ) -> None:
        self.field, self.template, self.line, self.name = field, template, line, name
        super().__init__(message)


class DownstreamTasksSkipped(AirflowException):
    """A branch or short circuit decided: the task itself succeeds, the tasks with ids `tasks` are skipped.

    `record` is what Airflow keeps of the decision as the XCom `skipmixin_key`.
    """

    def __init__(self, tasks: Sequence[str], record: Mapping[str, Sequence[str]]) -> None:
        self.tasks, self.record = list(tasks), dict(record)
        super().__init__(f"skips {', '.join(self.tasks)}")


def nearest(name: str, known: Sequence[str]) -> str:
    """The end of a sentence that names what was probably meant, or nothing.

    >>> nearest("lod", ["load", "extract"])
    "; did you mean 'load'?"
    """
    from difflib import get_close_matches

    near = get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
