"""Settings: `etlkit.cfg`, overridden by `ETLKIT__SECTION__KEY` in the environment.

Sections and keys are those of `airflow.cfg` where it has them. `OPTIONS` is the whole list, with each option's default
and meaning; a key that is not in it is refused with the nearest name. The file lies in `ETLKIT_HOME` (`~/etlkit` unless
set).

>>> conf = Config(environ={"ETLKIT__CORE__PARALLELISM": "4"})
>>> conf.get("core", "parallelism")
4
>>> conf.get("core", "paralellism")
Traceback (most recent call last):
etlkit.errors.ConfigError: no option [core] paralellism; did you mean 'parallelism'?
"""

from __future__ import annotations

import configparser
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from etlkit.errors import ConfigError, nearest


def boolean(text: str) -> bool:
    """The truth of `true`, `yes`, `on`, `1` or their opposites; ValueError for anything else."""
    return configparser.ConfigParser.BOOLEAN_STATES[text.strip().lower()]


def positive_number(text: str) -> int:
    """A whole number from 1 on."""
    if int(text) < 1:
        raise ConfigError(f"{text} is less than 1")
    return int(text)


def positive_seconds(text: str) -> float:
    """A number of seconds greater than 0."""
    if not 0 < float(text) < math.inf:
        raise ConfigError(f"{text} is not more than 0")
    return float(text)


def check_whole(name: str, value: Any, least: int | None = None) -> int:
    """`value`, an argument called `name`, if it is a whole number, and not below `least`; ConfigError if it is not.

    >>> check_whole("slots", 2.5, least=1)
    Traceback (most recent call last):
    etlkit.errors.ConfigError: slots must be a whole number from 1 on, not 2.5
    """
    if type(value) is not int or (least is not None and value < least):
        raise ConfigError(f"{name} must be a whole number{'' if least is None else f' from {least} on'}, not {value!r}")
    return value


EXECUTORS = ("SequentialExecutor", "LocalExecutor", "CeleryExecutor")


def executor(text: str) -> str:
    """The name of an executor."""
    if text not in EXECUTORS:
        raise ConfigError(f"there is no executor {text!r}{nearest(text, EXECUTORS)}; there is {', '.join(EXECUTORS)}")
    return text


class Option(NamedTuple):
    """One setting: its default as text (with `{home}` for ETLKIT_HOME), how text becomes a value, and its meaning."""

    default: str
    parse: Callable[[str], Any]
    meaning: str


OPTIONS: Mapping[tuple[str, str], Option] = {
    ("core", "dags_folder"): Option("{home}/dags", Path, "where DAG files are looked for"),
    ("core", "dag_discovery_safe_mode"): Option("True", boolean, "whether files without the word `dag` are left alone"),
    ("core", "dagbag_import_timeout"): Option("30.0", float, "seconds that a DAG file may take to load; 0: no limit"),
    ("core", "warehouse"): Option("{home}/warehouse.duckdb", Path, "the DuckDB file that tasks find in their context"),
    ("core", "executor"): Option("SequentialExecutor", executor, "what runs the tasks"),
    ("core", "parallelism"): Option("32", positive_number, "how many task instances may run at once, over all DAGs"),
    ("core", "max_active_tasks_per_dag"): Option(
        "16", positive_number, "the same for one run of a DAG that does not say"
    ),
    ("core", "max_active_runs_per_dag"): Option(
        "16", positive_number, "how many runs of one DAG may be active at once"
    ),
    ("core", "killed_task_cleanup_time"): Option(
        "60", float, "seconds from a task's execution_timeout until its process is killed, if it still runs"
    ),
    ("core", "default_task_retries"): Option("0", int, "retries of a task that does not say"),
    ("core", "default_task_retry_delay"): Option("300", float, "seconds between a failure and the next try"),
    ("core", "max_map_length"): Option(
        "1024", positive_number, "how many items a result may have that tasks are mapped over"
    ),
    ("core", "dags_are_paused_at_creation"): Option("True", boolean, "whether a DAG starts out paused"),
    ("core", "fernet_key"): Option(
        "", str, "the key that encrypts Variables and Connections, or `new,old`; empty: ETLKIT_HOME/fernet.key"
    ),
    ("core", "sensitive_var_conn_names"): Option("", str, "more parts of names whose values are hidden, by commas"),
    ("core", "xcom_max_bytes"): Option("49344", positive_number, "the largest XCom value, in bytes of JSON"),
    ("api", "base_url"): Option("", str, "where people reach the web server; links in messages begin with it"),
    ("celery", "broker_url"): Option(
        "redis://localhost:6379/0", str, "where the scheduler leaves tasks for Celery workers: a Redis, or a RabbitMQ"
    ),
    ("celery", "result_backend"): Option(
        "", str, "where Celery keeps results for others to read; etlkit needs none, the metadata database has them"
    ),
    ("celery", "worker_concurrency"): Option("16", positive_number, "how many tasks one Celery worker runs at once"),
    ("celery_broker_transport_options", "visibility_timeout"): Option(
        "86400", positive_number, "seconds after which Redis hands out again what a worker took and never confirmed"
    ),
    ("dag_processor", "refresh_interval"): Option("1.0", float, "seconds between two looks at the DAG folder"),
    ("database", "sql_alchemy_conn"): Option("sqlite:///{home}/etlkit.db", str, "the metadata database"),
    ("logging", "base_log_folder"): Option("{home}/logs", Path, "where each try writes its log file"),
    ("operators", "default_queue"): Option(
        "default", str, "the queue of a task that does not say, and of a Celery worker that is not told which"
    ),
    ("scheduler", "catchup_by_default"): Option("False", boolean, "catchup of a DAG that does not say"),
    ("scheduler", "create_cron_data_intervals"): Option(
        "True", boolean, "a bare cron string makes data intervals (False: Airflow 3's default)"
    ),
    ("scheduler", "create_delta_data_intervals"): Option(
        "True", boolean, "a bare timedelta makes data intervals (False: Airflow 3's default)"
    ),
    ("scheduler", "scheduler_idle_sleep_time"): Option("1.0", float, "seconds between two looks when nothing is due"),
    ("scheduler", "scheduler_heartbeat_sec"): Option(
        "1.0", float, "seconds between two signs of life of a scheduler that shares its database"
    ),
    ("scheduler", "scheduler_health_check_threshold"): Option(
        "10.0", float, "seconds without a sign of life until others take over the DAGs of a scheduler"
    ),
    ("scheduler", "max_lost_attempts"): Option(
        "3", int, "how often a try that died with its process is made again without using up a retry"
    ),
    ("scheduler", "task_instance_heartbeat_sec"): Option(
        "5.0", positive_seconds, "seconds between two signs of life of a task that runs in another process"
    ),
    ("scheduler", "task_instance_heartbeat_timeout"): Option(
        "30.0", positive_seconds, "seconds without a sign of life after which such a task is taken for lost"
    ),
    ("scheduler", "task_queued_timeout"): Option(
        "60.0", positive_seconds, "seconds that a task may wait for a Celery worker before its message is sent again"
    ),
}


class Config:
    """The settings in force, from the file, the environment and the defaults; read once, when first asked.

    `home` is the folder that holds `etlkit.cfg`; `environ` stands for `os.environ`.
    """

    def __init__(self, home: Path | None = None, environ: Mapping[str, str] | None = None) -> None:
        self.environ = os.environ if environ is None else environ
        self.home = Path(home or self.environ.get("ETLKIT_HOME") or Path.home() / "etlkit").expanduser()
        self.file = self.home / "etlkit.cfg"
        self._from_file = self._read_file()
        self._check_environ()

    def get(self, section: str, key: str) -> Any:
        """The value of one option, parsed; ConfigError if there is no such option or its text means nothing."""
        return parsed(section, key, *self.raw(section, key))

    def raw(self, section: str, key: str) -> tuple[str, str]:
        """The text of one option and where it comes from."""
        if (section, key) not in OPTIONS:
            raise ConfigError(no_option(section, key))
        variable = f"ETLKIT__{section.upper()}__{key.upper()}"
        if variable in self.environ:
            return self.environ[variable], f"environment variable {variable}"
        if (section, key) in self._from_file:
            return self._from_file[section, key], str(self.file)
        return OPTIONS[section, key].default.format(home=self.home), "default"

    def _check_environ(self) -> None:
        for variable in self.environ:
            prefix, _, rest = variable.partition("__")
            section, _, key = rest.lower().partition("__")
            if prefix == "ETLKIT" and (section, key) not in OPTIONS:
                raise ConfigError(f"environment variable {variable}: {no_option(section, key)}")

    def _read_file(self) -> dict[tuple[str, str], str]:
        parser = configparser.ConfigParser(interpolation=None)
        try:
            if self.file.is_file():
                parser.read_string(self.file.read_text(encoding="utf-8"), source=str(self.file))
        except (configparser.Error, UnicodeDecodeError) as error:
            raise ConfigError(f"{self.file} cannot be read: {' '.join(str(error).split())}") from None
        found = {(section, key): value for section in parser.sections() for key, value in parser[section].items()}
        for section, key in found:
            if (section, key) not in OPTIONS:
                raise ConfigError(f"{self.file}: {no_option(section, key)}")
        return found


def parsed(section: str, key: str, text: str, source: str) -> Any:
    """What the text of an option means; ConfigError, naming where it comes from, if nothing."""
    option = OPTIONS[section, key]
    try:
        return option.parse(text)
    except ConfigError as error:
        raise ConfigError(f"{source}: [{section}] {key}: {error}") from None
    except (ValueError, KeyError):
        raise ConfigError(
            f"{source}: [{section}] {key} = {text!r} is not a valid {option.parse.__name__.replace('_', ' ')}"
        ) from None


def no_option(section: str, key: str) -> str:
    """That an option does not exist, and the section or key that was probably meant."""
    keys = [known for known_section, known in OPTIONS if known_section == section]
    near = nearest(key, keys) if keys else nearest(section, sorted({known for known, _ in OPTIONS}))
    return f"no option [{section}] {key}{near}"


class _CurrentConfig:
    """The process's one `Config`, read when first asked for, so that importing etlkit reads no file."""

    def __init__(self) -> None:
        self._config: Config | None = None

    def get(self, section: str, key: str) -> Any:
        """The value of one option in force now."""
        return self.current.get(section, key)

    @property
    def current(self) -> Config:
        """The `Config` in force."""
        if self._config is None:
            self._config = Config()
        return self._config

    def __reduce__(self) -> str:
        return "conf"  # in a copy of a function: the one of the process that it comes to

    def use(self, config: Config | None) -> None:
        """Put another `Config` in force; None reads the file again when next asked."""
        self._config = config


conf = _CurrentConfig()
"""The settings in force: `conf.get("core", "parallelism")`."""


@contextmanager
def settings(values: Mapping[str, str]) -> Iterator[None]:
    """Other settings while a `with` block lasts, by the names that they have in the environment.

    >>> with settings({"ETLKIT__SCHEDULER__CATCHUP_BY_DEFAULT": "True"}):
    ...     conf.get("scheduler", "catchup_by_default")
    True
    """
    before = conf.current
    conf.use(Config(before.home, {**before.environ, **values}))
    try:
        yield
    finally:
        conf.use(before)
