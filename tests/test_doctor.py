"""The doctor: each thing that can be wrong is found, with what to do about it, and nothing is changed by looking."""

import importlib.metadata
import json
import os
import socket
import sqlite3
import sys
from pathlib import Path

import pytest

from etlkit import doctor
from etlkit.config import Config, conf
from etlkit.doctor import CHECKS, Finding, drive_kind, examine
from etlkit.masking import masker
from etlkit.scheduler_lock import SchedulerLock
from etlkit.store import Store
from etlkit.variables import Variables
from tests.dag_files import one_dag, write
from tests.servers import PASSWORD, postgres, redis

POSIX = pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")


@pytest.fixture
def home(tmp_path, own_imports):
    """An empty ETLKIT_HOME that is in force."""
    home = tmp_path / "home"
    home.mkdir()
    use(home)
    yield home
    conf.use(None)
    masker.forget()


def use(home, **environ):
    """Put the settings of `home` in force, with these variables of the environment."""
    conf.use(Config(home, {name.upper(): str(value) for name, value in environ.items()}))


def found(check):
    """What one check says: (status, found, advice) of each finding."""
    return [finding[1:] for finding in examine([check])]


def database(home):
    return Store(f"sqlite:///{home}/etlkit.db")


def test_all_is_well_in_an_empty_home_and_looking_makes_nothing(home):
    (home / "dags").mkdir()
    findings = list(examine())
    assert {finding.status for finding in findings} == {"ok"}, findings
    assert {finding.check.split()[0] for finding in findings} >= {name.split()[0] for name in CHECKS} - {
        *("drives", "services", "workers", "extras")
    }
    assert [path.name for path in home.iterdir()] == ["dags"]


# --- Python and packages ----------------------------------------------------------------------------------------------


def test_an_old_python(monkeypatch):
    monkeypatch.setattr(doctor.platform, "python_version", lambda: "3.9.1")
    assert found("python") == [("error", "Python 3.9.1 is too old: etlkit needs >=3.11", "install a newer Python")]


def test_packages_that_are_missing_or_old(monkeypatch):
    versions = {"duckdb": "1.4.0", "networkx": None}

    def version(name):
        here = versions.get(name, importlib.metadata.version(name))
        if here is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return here

    monkeypatch.setattr(doctor, "version", version)
    assert sorted(found("packages")) == [
        ("error", "duckdb 1.4.0 does not fit: etlkit needs >=2.0", "pip install 'duckdb>=2.0'"),
        ("error", "networkx is not installed", "pip install 'networkx>=3.4'"),
    ]


def test_extras_that_are_missing_or_old(monkeypatch):
    monkeypatch.setattr(doctor, "_fault", lambda requirement: doctor.MISSING if requirement.name == "flask" else "")
    web = found("extras")[-1]
    assert web == ("ok", "flask is not installed (for the web server)", "pip install 'etlkit[web]'")
    monkeypatch.setattr(doctor, "_fault", lambda requirement: "1.0 is too old" if requirement.name == "flask" else "")
    assert [status for status, *_ in found("extras")] == ["ok", "ok", "warning"]


def test_a_python_without_time_zones(monkeypatch):
    import zoneinfo

    monkeypatch.setitem(sys.modules, "tzdata", None)
    zoneinfo.reset_tzpath(to=[])
    zoneinfo.ZoneInfo.clear_cache()
    try:
        assert found("time zones") == [("error", "the rules of time zones are not installed", "pip install tzdata")]
    finally:
        zoneinfo.reset_tzpath()


# --- settings ---------------------------------------------------------------------------------------------------------


def test_settings_that_mean_nothing(home):
    use(home, etlkit__core__parallelism="many", etlkit_conn_x="http://")
    assert found("settings")[:-1] == [
        (
            "error",
            "environment variable ETLKIT__CORE__PARALLELISM: "
            "[core] parallelism = 'many' is not a valid positive number",
            "it is: how many task instances may run at once, over all DAGs",
        ),
    ]


def test_a_file_that_cannot_be_read_keeps_the_other_checks_from_being_made(home, monkeypatch):
    (home / "etlkit.cfg").write_text("[core]\nparalellism = 4\n")
    conf.use(None)
    monkeypatch.setenv("ETLKIT_HOME", str(home))
    findings = list(examine(["settings", "disk", "database"]))
    said = f"{home / 'etlkit.cfg'}: no option [core] paralellism; did you mean 'parallelism'?"
    assert findings == [
        Finding("settings", "error", said),
        Finding("others", "warning", "were not made, since they need the settings", "correct these first"),
    ]


@POSIX
def test_a_key_in_a_file_that_others_may_read(home):
    file = home / "etlkit.cfg"
    file.write_text("[core]\nfernet_key = 0123456789012345678901234567890123456789012=\n")
    file.chmod(0o644)
    use(home)
    assert [(status, advice) for status, _, advice in found("settings")] == [
        ("warning", f"chmod 600 {file}"),
        ("ok", ""),
    ]


# --- where things lie -------------------------------------------------------------------------------------------------


def test_a_disk_that_is_nearly_full(tiny_disk):
    use(tiny_disk / "home")
    try:
        ((status, said, advice),) = found("disk")
    finally:
        conf.use(None)
    assert (status, advice) == ("error", "delete what is old: etlkit logs clean, etlkit db clean")
    assert said.startswith(f"0.0 GiB free in {tiny_disk} for ETLKIT_HOME, logs, the warehouse, the metadata")


def test_folders_on_different_places_are_named_each(home, tmp_path):
    (tmp_path / "logs").mkdir()
    use(home, etlkit__logging__base_log_folder=tmp_path / "logs")
    assert [said.partition(" free in ")[2] for _, said, _ in found("disk")] == [
        f"{home} for ETLKIT_HOME, the warehouse, the metadata database",
        f"{tmp_path / 'logs'} for logs",
    ]


def test_a_folder_that_may_not_be_written(home, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    ((status, said, _),) = found("disk")
    assert (status, "cannot be written to" in said) == ("error", True)


def test_a_network_drive(home, tmp_path, monkeypatch):
    mounts = tmp_path / "mounts"
    shared = str(home).replace(" ", "\\040")
    mounts.write_text(f"/dev/sda / ext4 rw 0 0\nserver:/x {shared} nfs4 rw 0 0\ntmpfs {home}2 tmpfs rw 0 0\n")
    assert drive_kind(home / "etlkit.db", mounts) == "nfs4"
    assert drive_kind(tmp_path / "x", mounts) == "ext4"
    assert drive_kind(home, tmp_path / "no such file") == ""
    monkeypatch.setattr(doctor, "drive_kind", lambda path: drive_kind(path, mounts))
    assert [(status, said.split(" is on ")[0]) for status, said, _ in found("drives")] == [
        ("warning", f"the metadata database {home / 'etlkit.db'}"),
        ("warning", f"the warehouse {home / 'warehouse.duckdb'}"),
    ]


# --- the metadata database --------------------------------------------------------------------------------------------


def test_a_database_in_order_and_who_schedules_it(home):
    database(home).close()
    assert found("database") == [
        ("ok", f"{home / 'etlkit.db'}: 0 DAGs, 0 runs, not damaged", ""),
        ("ok", "nobody schedules now", "to run what is due: etlkit scheduler"),
    ]
    with SchedulerLock(home / "etlkit.db", "a test"):
        assert found("database")[1][1] == f"scheduled by process {os.getpid()} (a test)"


@pytest.mark.parametrize(
    ("number", "status", "advice"),
    [("0000", "error", "etlkit db backup FILE; etlkit db migrate"), ("9999", "error", "pip install --upgrade etlkit")],
)
def test_tables_of_another_version(home, number, status, advice):
    store = database(home)
    store.run_sql("UPDATE alembic_version SET version_num = :number", {"number": number})
    store.close()
    ((found_status, said, found_advice),) = found("database")
    assert (found_status, found_advice) == (status, advice)
    assert f"has tables of version {number}" in said


def test_a_database_without_tables(home):
    sqlite3.connect(home / "etlkit.db").close()
    assert found("database") == [("warning", f"{home / 'etlkit.db'} has no tables yet", "etlkit db init")]


@pytest.mark.parametrize("content", [b"this is no database" * 99, None])
def test_a_damaged_database(home, content):
    file = home / "etlkit.db"
    if content is None:
        database(home).close()
        data = bytearray(file.read_bytes())
        data[8 * 4096 : 9 * 4096] = b"\xff" * 4096
        content = bytes(data)
    file.write_bytes(content)
    ((status, said, _),) = found("database")
    assert (status, str(file) in said) == ("error", True)


def test_a_server(home):
    server = postgres()
    url = server.url(server.create_database("doctor"))
    use(home, etlkit__database__sql_alchemy_conn=url)
    assert found("database")[0][::2] == ("warning", "etlkit db init")
    Store(url).close()
    findings = [*examine(["disk", "drives", "database", "key", "programs"])]
    assert {finding.status for finding in findings} <= {"ok", "warning"}
    assert PASSWORD not in str(findings)
    use(home, etlkit__database__sql_alchemy_conn=f"postgresql://anna:{'hunter22'}@localhost:1/etl")
    ((status, said, _),) = found("database")
    assert (status, "cannot be reached" in said, "hunter22" in said) == ("error", True, False)


# --- the key ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def secrets(home):
    """A home whose database holds two secrets."""
    store = database(home)
    Variables(store).set("a", "value a")
    Variables(store).set("b", "value b")
    store.close()
    return home


def test_a_key_that_opens_everything(secrets):
    assert found("key") == [("ok", f"the key in {secrets / 'fernet.key'} opens all 2 secrets that are stored", "")]


@POSIX
def test_a_key_that_others_may_read(secrets):
    (secrets / "fernet.key").chmod(0o640)
    assert found("key")[0][0::2] == ("warning", f"chmod 600 {secrets / 'fernet.key'}")


def test_a_key_that_is_lost_is_not_made_anew(secrets):
    (secrets / "fernet.key").unlink()
    ((status, said, _),) = found("key")
    assert (status, "is lost" in said) == ("error", True)
    assert not (secrets / "fernet.key").exists()


def test_values_that_another_key_has_encrypted_are_named(secrets):
    store = database(secrets)
    store.run_sql("UPDATE variable SET val = 'gAAAAnonsense' WHERE key = 'b'")
    store.close()
    ((status, said, _),) = found("key")
    assert (status, said.startswith("Variable 'b' does not open with the key of")) == ("error", True)


def test_a_key_file_without_a_key(secrets):
    (secrets / "fernet.key").write_text("hello\n")
    ((status, said, _),) = found("key")
    assert (status, "does not hold a Fernet key" in said) == ("error", True)


# --- DAG files, services, programs ------------------------------------------------------------------------------------


def test_dag_files_that_do_not_load(home, capsys):
    write(home / "dags" / "a.py", "print('hello')\n" + one_dag("a"))
    broken = write(home / "dags" / "b.py", one_dag("b") + "1 / 0\n")
    first, second = found("DAG files")
    assert first[:2] == ("error", f"{broken}:4: ZeroDivisionError: division by zero")
    assert second[1].startswith(f"1 DAGs in {home / 'dags'}, loaded in ")
    assert capsys.readouterr().out == ""


def test_a_dag_folder_that_is_not_there(home):
    assert found("DAG files") == [("warning", f"there is no DAG folder {home / 'dags'}", f"mkdir -p {home / 'dags'}")]


def test_services_that_answer_and_that_do_not(home):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        use(home, etlkit__api__base_url=f"http://127.0.0.1:{port}/")
        assert found("services") == [("ok", f"[api] base_url: 127.0.0.1:{port} answers", "")]
    assert found("services")[0][:2] == ("warning", f"nobody answers at 127.0.0.1:{port}, which [api] base_url names")
    use(home, etlkit__api__base_url="http://localhost:80a")
    assert found("services")[0][0] == "error"


def test_celery_needs_a_shared_database_a_broker_and_workers(home):
    assert found("workers") == []
    celery = {"etlkit__core__executor": "CeleryExecutor"}
    use(home, **celery)
    ((status, said, _),) = found("workers")
    assert (status, "SQLite is a file" in said) == ("error", True)
    celery["etlkit__database__sql_alchemy_conn"] = "postgresql://localhost/etl"
    for broker, said in (
        ("redis://:secret@localhost:1/0", "Connection refused"),
        ("smoke://there", "No such transport"),
    ):
        use(home, **celery, etlkit__celery__broker_url=broker)
        ((status, said_here, advice),) = found("workers")
        assert (status, advice) == ("error", "start the service, or correct [celery] broker_url")
        assert said in said_here and "secret" not in said_here
    heavy = 'from etlkit.operators import EmptyOperator\nEmptyOperator(task_id="load", dag=dag, queue="heavy")\n'
    write(home / "dags" / "night.py", f'from etlkit import DAG\ndag = DAG("night")\n{heavy}')
    use(home, **celery, etlkit__celery__broker_url=redis().url)
    assert found("workers") == [
        ("warning", "no worker answers: nobody takes tasks of default, heavy", "etlkit worker --queues default,heavy")
    ]


def test_programs_that_are_missing(home, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert {status for status, *_ in found("programs")} == {"ok"}
    use(home, etlkit__database__sql_alchemy_conn="postgresql://localhost/etl")
    assert found("programs")[0][:2] == (
        "warning",
        "pg_dump is not on the PATH: it is needed for etlkit db backup of a PostgreSQL",
    )


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_exits_with_1_if_there_is_an_error(etlkit):
    result = etlkit("doctor")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines()[-1] == "no errors, no warnings"
    broken = etlkit.dag_file("b.py", "DAG = 1 / 0\n")
    lines = etlkit("doctor").stdout.splitlines()
    place = lines.index(f"error   DAG files     {broken}:1: ZeroDivisionError: division by zero")
    assert lines[place + 1] == " " * 22 + "→ correct the file; the others run meanwhile"
    assert lines[-1] == "1 error, no warnings"
    findings = etlkit.json("doctor", exit_code=1)
    assert [finding["check"] for finding in findings if finding["status"] == "error"] == ["DAG files"]
    assert list(findings[0]) == ["check", "status", "found", "advice"]


def test_the_command_shows_no_secret(etlkit):
    etlkit.dag_file("b.py", "from etlkit import Variable\nraise ValueError(Variable.get('api_token'))  # DAG\n")
    etlkit("variables", "set", "api_token", "hunter22secret")
    out, err = etlkit.start("doctor", "-o", "json").communicate()
    assert "hunter22secret" not in out + err
    assert [finding["status"] for finding in json.loads(out)].count("error") == 1


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no terminals here")
def test_on_a_terminal_lines_are_no_wider_than_it(etlkit):
    import fcntl
    import struct
    import termios

    etlkit.dag_file("b.py", one_dag("b"))
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = etlkit.start("doctor", stdout=slave)
    assert process.communicate(timeout=60)[1] == ""
    os.close(slave)
    said = b""
    try:
        while part := os.read(master, 65536):
            said += part
    except OSError:
        pass  # how Linux says that nobody has the other end any more
    os.close(master)
    text = said.decode()
    assert "\x1b[32mok" in text
    for code in ("\x1b[32m", "\x1b[33m", "\x1b[1m", "\x1b[0m"):
        text = text.replace(code, "")
    wide = [line for line in text.splitlines() if len(line) > 80]
    assert all(any(str(Path(word)).startswith("/") for word in line.split()) for line in wide), wide
