"""The doctor: looks at everything that etlkit stands on, changes nothing, and says what to do about what it finds.

Each check is a generator of `Finding`s in the table `CHECKS`. Those that need the settings come after the settings were
looked at, and are left out if these mean nothing.

>>> [finding.check for finding in examine(["python", "time zones"])]
['python', 'time zones']
>>> next(examine(["time zones"])).status
'ok'
"""

from __future__ import annotations

import contextlib
import io
import os
import platform
import shutil
import socket
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from etlkit.clock import wall_seconds
from etlkit.config import OPTIONS, Config, conf
from etlkit.errors import ConfigError, EtlkitError, VaultError
from etlkit.masking import one_line

if TYPE_CHECKING:
    from packaging.requirements import Requirement

    from etlkit.dag_folder import DagFolder
    from etlkit.store import Store

OK, WARNING, ERROR = "ok", "warning", "error"


class Finding(NamedTuple):
    """What a check has found; `status` is "ok", "warning" or "error", `advice` what to do, if anything."""

    check: str
    status: str
    found: str
    advice: str = ""


def examine(checks: Iterable[str] | None = None) -> Iterator[Finding]:
    """Make checks, by their names in `CHECKS` or all; what each found, in order. What a check cannot do is an error."""
    for name in checks or CHECKS:
        failed = False
        for finding in _made(name):
            failed |= finding.status == ERROR
            yield finding
        if failed and name == "settings":
            yield Finding("others", WARNING, "were not made, since they need the settings", "correct these first")
            return


def _made(name: str) -> Iterator[Finding]:
    try:
        yield from CHECKS[name]()
    except EtlkitError as error:
        yield Finding(name, ERROR, str(error))


# --- Python and packages ----------------------------------------------------------------------------------------------


def check_python() -> Iterator[Finding]:
    """Is Python new enough?"""
    from packaging.specifiers import SpecifierSet

    needed, here = metadata("etlkit")["Requires-Python"], platform.python_version()
    if SpecifierSet(needed).contains(here, prereleases=True):
        yield Finding("python", OK, f"Python {here}, {sys.executable}")
    else:
        yield Finding("python", ERROR, f"Python {here} is too old: etlkit needs {needed}", "install a newer Python")


def check_packages() -> Iterator[Finding]:
    """Is every package that etlkit needs there, and new enough?"""
    needed = _requirements("")
    faulty = [(requirement, fault) for requirement in needed if (fault := _fault(requirement))]
    for requirement, fault in faulty:
        yield Finding("packages", ERROR, f"{requirement.name} {fault}", f"pip install '{_plain(requirement)}'")
    if not faulty:
        yield Finding("packages", OK, f"etlkit {version('etlkit')} and all {len(needed)} packages that it needs")


EXTRAS = {
    "lab": "notebooks",
    "cluster": "PostgreSQL, and workers on several machines",
    "web": "the web server",
}
"""Optional parts of the kit, and what each is for."""


def check_extras() -> Iterator[Finding]:
    """Which optional parts are installed?"""
    for extra, purpose in EXTRAS.items():
        faults = {each.name: fault for each in _requirements(extra) if (fault := _fault(each))}
        old = any(fault != MISSING for fault in faults.values())
        said = "installed" if not faults else "; ".join(f"{name} {fault}" for name, fault in faults.items())
        advice = f"pip install 'etlkit[{extra}]'" if faults else ""
        yield Finding(f"extra {extra}", WARNING if old else OK, f"{said} (for {purpose})", advice)


MISSING = "is not installed"


def _requirements(extra: str) -> list[Requirement]:
    """What etlkit itself needs, or what one of its extras adds."""
    from packaging.requirements import Requirement

    def wanted(requirement: Requirement, extra: str) -> bool:
        return requirement.marker is None or requirement.marker.evaluate({"extra": extra})

    everything = [requirement for line in requires("etlkit") or () if (requirement := Requirement(line))]
    return [each for each in everything if wanted(each, extra) and not (extra and wanted(each, ""))]


def _fault(requirement: Requirement) -> str:
    """What is wrong with an installed package; nothing if it is as it must be."""
    try:
        here = version(requirement.name)
    except PackageNotFoundError:
        return MISSING
    fits = requirement.specifier.contains(here, prereleases=True)
    return "" if fits else f"{here} does not fit: etlkit needs {requirement.specifier}"


def _plain(requirement: Requirement) -> str:
    return f"{requirement.name}{requirement.specifier}"


def check_time_zones() -> Iterator[Finding]:
    """Does Python know the rules of time zones?"""
    from zoneinfo import available_timezones

    if known := available_timezones():
        yield Finding("time zones", OK, f"{len(known)} are known")
    else:
        yield Finding("time zones", ERROR, "the rules of time zones are not installed", "pip install tzdata")


# --- settings ---------------------------------------------------------------------------------------------------------


def check_settings() -> Iterator[Finding]:
    """Does every setting, of the file and the environment, exist and mean something?"""
    file = conf.current.file  # ConfigError if it, or the environment, names what does not exist
    wrong = list(_wrong_values(conf.current))
    yield from wrong
    if file.is_file() and conf.current.raw("core", "fernet_key")[1] == str(file):
        yield from _open_to_others("settings", file, "holds the key of Variables and Connections")
    if not wrong:
        where = f"in {file}" if file.is_file() else f"as they come; there is no {file}"
        yield Finding("settings", OK, where)


def _wrong_values(config: Config) -> Iterator[Finding]:
    for section, key in OPTIONS:
        try:
            config.get(section, key)
        except ConfigError as error:
            yield Finding("settings", ERROR, str(error), f"it is: {OPTIONS[section, key].meaning}")


def _open_to_others(check: str, file: Path, what: str) -> Iterator[Finding]:
    if os.name == "posix" and (mode := stat.S_IMODE(file.stat().st_mode)) & 0o077:
        yield Finding(check, WARNING, f"{file} {what}, and others may read it (mode {mode:04o})", f"chmod 600 {file}")


# --- where things lie -------------------------------------------------------------------------------------------------

GIB = 2**30
LITTLE, TOO_LITTLE = 1 * GIB, GIB // 10
"""Bytes of free space below which there is a warning, and an error."""

NETWORK_DRIVES = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "9p", "afs", "ceph", "glusterfs", "fuse.glusterfs"}
)


def places() -> dict[str, Path]:
    """The folders that etlkit writes to, each with what it is."""
    found = {
        "ETLKIT_HOME": conf.current.home,
        "logs": conf.get("logging", "base_log_folder"),
        "the warehouse": conf.get("core", "warehouse").parent,
    }
    file = _database_file()
    return {**found, "the metadata database": file.parent} if file else found


def check_disk() -> Iterator[Finding]:
    """Is there room for what is written, and may it be written?"""
    there: dict[Path, list[str]] = {}
    for name, folder in places().items():
        there.setdefault(_nearest(folder), []).append(name)
    for folder, names in there.items():
        free, holds = shutil.disk_usage(folder).free, f"for {', '.join(names)}"
        said = f"{free / GIB:.1f} GiB free in {folder} {holds}"
        if not os.access(folder, os.W_OK):
            yield Finding("disk", ERROR, f"{folder} {holds} cannot be written to", "let it be yours, or name another")
        elif free < LITTLE:
            advice = "delete what is old: etlkit logs clean, etlkit db clean"
            yield Finding("disk", ERROR if free < TOO_LITTLE else WARNING, said, advice)
        else:
            yield Finding("disk", OK, said)


def _nearest(folder: Path) -> Path:
    """The folder itself if it is there, or the one in which it would be made."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())


def check_network_drives() -> Iterator[Finding]:
    """Are database files on a drive of this machine? Elsewhere their locks cannot be relied on."""
    files = {"metadata database": _database_file(), "warehouse": conf.get("core", "warehouse")}
    for name, file in files.items():
        kind = drive_kind(file) if file else ""
        if kind in NETWORK_DRIVES:
            said = f"the {name} {file} is on a network drive ({kind}), where two processes can damage it"
            yield Finding("drives", WARNING, said, "use a drive of this machine, or PostgreSQL")


def drive_kind(path: Path, mounts: str | Path = "/proc/mounts") -> str:
    """The kind of file system that a path is on, as Linux calls it; nothing if that is not known."""
    try:
        lines = [line.split() for line in Path(mounts).read_text().splitlines()]
    except OSError:
        return ""
    place = _nearest(path).resolve()
    fitting = [(mount, kind) for _, mount, kind, *_ in lines if place.is_relative_to(mount.replace("\\040", " "))]
    return max(fitting, key=lambda entry: len(entry[0]), default=("", ""))[1]


# --- the metadata database and its key --------------------------------------------------------------------------------


def _database_file() -> Path | None:
    """The file of a SQLite database; None for any other."""
    from etlkit.database import parse_url

    url = parse_url(conf.get("database", "sql_alchemy_conn"))
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


@contextlib.contextmanager
def _database() -> Iterator[Store | None]:
    """The metadata database as it is; None if it is a file that is not there yet."""
    from etlkit.store import Store

    file = _database_file()
    if file is not None and not file.exists():
        yield None
        return
    with contextlib.closing(Store(conf.get("database", "sql_alchemy_conn"), tables=False)) as store:
        yield store


def check_database() -> Iterator[Finding]:
    """Can the metadata database be reached, is it whole, and are its tables those of this etlkit?"""
    from etlkit.models import SCHEMA_VERSION
    from etlkit.upkeep import health

    with _database() as store:
        if store is None:
            yield Finding("database", OK, f"{_database_file()} is not there yet; it is made when it is first needed")
        elif (tables := store.version()) is None:
            yield Finding("database", WARNING, f"{store.name} has no tables yet", "etlkit db init")
        elif tables != SCHEMA_VERSION:
            older = tables < SCHEMA_VERSION
            advice = "etlkit db backup FILE; etlkit db migrate" if older else "pip install --upgrade etlkit"
            said = f"{store.name} has tables of version {tables}, and this etlkit needs {SCHEMA_VERSION}"
            yield Finding("database", ERROR, said, advice)
        elif (found := health(store)).integrity != "ok":
            said = f"{found.database} is damaged: {found.integrity}"
            yield Finding("database", ERROR, said, "restore a backup: etlkit db restore FILE")
        else:
            yield Finding("database", OK, f"{found.database}: {found.dags} DAGs, {found.runs} runs, not damaged")
            who = f"scheduled by {found.scheduler}" if found.scheduler else "nobody schedules now"
            yield Finding("scheduler", OK, who, "" if found.scheduler else "to run what is due: etlkit scheduler")
            for process in _hanging_schedulers(store, found.scheduler or ""):
                yield Finding("scheduler", WARNING, f"{process} hangs, and others have its DAGs", "kill it")


HANGING = "SELECT pid, hostname FROM job GROUP BY pid, hostname HAVING min(state) = 'failed' AND max(state) = 'failed'"


def _hanging_schedulers(store: Store, connected: str) -> Iterator[str]:
    """Who is still connected, though its heartbeat has stopped."""
    for pid, host in store.run_sql(HANGING).fetchall():
        process = f"process {pid} on {host}"
        if f"{process} (" in connected:
            yield process


def check_key() -> Iterator[Finding]:
    """Is the key of Variables and Connections there, for its owner alone, and does it open what is stored?"""
    from etlkit.vault import key_file, stored_tokens, vault_of

    configured, source = conf.current.raw("core", "fernet_key")
    if not configured and key_file().exists():
        source = str(key_file())
        yield from _open_to_others("key", key_file(), "opens Variables and Connections")
    with _database() as store:
        tokens = stored_tokens(store) if store is not None and store.version() else []
        if not (configured or key_file().exists() or tokens):
            yield Finding("key", OK, f"{key_file()} is made when the first secret is stored")
            return
        if store is None or not tokens:
            yield Finding("key", OK, f"is in {source}; nothing is encrypted yet")
            return
        vault = vault_of(store)  # VaultError if it is lost, or no key
        closed = 0
        for what, token in tokens:
            try:
                vault.decrypt(token, what)
            except VaultError as error:
                closed += 1
                yield Finding("key", ERROR, str(error))
        if not closed:
            yield Finding("key", OK, f"the key in {source} opens all {len(tokens)} secrets that are stored")


# --- DAG files, services, programs ------------------------------------------------------------------------------------


def check_dag_files() -> Iterator[Finding]:
    """Does every DAG file load?"""
    path = conf.get("core", "dags_folder")
    if not path.exists():
        yield Finding("DAG files", WARNING, f"there is no DAG folder {path}", f"mkdir -p {path}")
        return
    begin = wall_seconds()
    folder = _read(path)
    for error in folder.errors:
        yield Finding("DAG files", ERROR, str(error), "correct the file; the others run meanwhile")
    seconds = wall_seconds() - begin
    yield Finding("DAG files", OK, f"{len(folder.dags)} DAGs in {path}, loaded in {seconds:.1f} seconds")


def _read(path: Path) -> DagFolder:
    from etlkit.dag_folder import DagFolder

    with contextlib.redirect_stdout(io.StringIO()):
        return DagFolder(path)


PORTS = {"http": 80, "https": 443, "redis": 6379, "rediss": 6379, "amqp": 5672}
"""Ports of services whose address does not name one."""


def check_services() -> Iterator[Finding]:
    """Does somebody answer at each address that the settings name? The metadata database has a check of its own.

    A broker counts only where Celery runs the tasks.
    """
    queues = _is_for_workers()
    for section, key in OPTIONS:
        if section == "database" or (section == "celery" and not queues):
            continue
        name, text = f"[{section}] {key}", conf.current.raw(section, key)[0]
        try:
            url = urlsplit(text)
            host, port = url.hostname, url.port or PORTS.get(url.scheme)
        except ValueError as error:
            yield Finding("services", ERROR, f"{name} is no address: {error}", "correct the setting")
            continue
        if host and port:
            yield _answer(name, host, port)


def _answer(name: str, host: str, port: int) -> Finding:
    try:
        socket.create_connection((host, port), timeout=2).close()
    except (OSError, UnicodeError):
        said = f"nobody answers at {host}:{port}, which {name} names"
        return Finding("services", WARNING, said, "start the service, or correct the setting")
    return Finding("services", OK, f"{name}: {host}:{port} answers")


def _is_for_workers() -> bool:
    return bool(conf.get("core", "executor") == "CeleryExecutor")


def check_workers() -> Iterator[Finding]:
    """Where Celery's workers run the tasks: do they share a database, and does somebody take the tasks of each queue?

    Each worker is given one second to answer.
    """
    if not _is_for_workers():
        return
    from etlkit.database import parse_url
    from etlkit.executors.celery import CeleryExecutor, check_shared

    check_shared(parse_url(conf.get("database", "sql_alchemy_conn")))
    CeleryExecutor()  # ConfigError if Celery is not installed, or its broker is none
    from kombu.exceptions import OperationalError

    try:
        taken = _queues_of_workers()
    except (OperationalError, LookupError) as error:  # nobody is there, or nobody knows this kind of broker
        advice = "start the service, or correct [celery] broker_url"
        yield Finding("workers", ERROR, f"the broker cannot be asked: {one_line(error)}", advice)
        return
    needed = {task.queue for dag in _read(conf.get("core", "dags_folder")).dags.values() for task in dag.tasks}
    left = sorted({conf.get("operators", "default_queue"), *needed}.difference(*taken.values()))
    if left:
        who = "none of the workers" if taken else "no worker answers: nobody"
        said = f"{who} takes tasks of {', '.join(left)}"
        yield Finding("workers", WARNING, said, f"etlkit worker --queues {','.join(left)}")
    else:
        yield Finding("workers", OK, f"{', '.join(sorted(taken))} take the tasks of all queues")


def _queues_of_workers() -> dict[str, set[str]]:
    """The queues of each worker that answers; kombu's OperationalError if the broker does not."""
    from etlkit.executors.celery_app import make_app

    with make_app() as app:
        with app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0)
        answers = app.control.inspect(timeout=1).active_queues() or {}
    return {worker: {queue["name"] for queue in queues} for worker, queues in answers.items()}


def check_programs() -> Iterator[Finding]:
    """Which programs of others that etlkit can use are on this machine?"""
    from etlkit.servers import find_postgres, find_redis

    on_server = _database_file() is None
    found = {
        "pg_dump": (shutil.which("pg_dump"), "etlkit db backup of a PostgreSQL"),
        "postgres": (find_postgres(), "a Cluster on this machine"),
        "redis-server": (find_redis(), "a Cluster on this machine"),
    }
    for program, (path, purpose) in found.items():
        if path is None and program == "pg_dump" and on_server:
            said = f"{program} is not on the PATH: it is needed for {purpose}"
            yield Finding("programs", WARNING, said, "install PostgreSQL's client programs")
        else:
            yield Finding("programs", OK, str(path or f"there is no {program}; only needed for {purpose}"))


CHECKS: Mapping[str, Callable[[], Iterator[Finding]]] = {
    "python": check_python,
    "packages": check_packages,
    "extras": check_extras,
    "time zones": check_time_zones,
    "settings": check_settings,
    "disk": check_disk,
    "drives": check_network_drives,
    "database": check_database,
    "key": check_key,
    "DAG files": check_dag_files,
    "services": check_services,
    "workers": check_workers,
    "programs": check_programs,
}
"""All checks, in the order in which they are made."""
