"""PostgreSQL as connections name it, on a real server."""

import pytest

from etlkit.config import Config, conf
from etlkit.connections import Connection
from etlkit.errors import HookError
from etlkit.hooks import PostgresHook
from etlkit.masking import masker
from tests.servers import postgres


@pytest.fixture
def server():
    yield postgres()
    masker.forget()


def named(server, **parts):
    given = {"host": server.host, "port": server.port, "login": server.user, "password": server.password}
    return Connection("pg", **{"conn_type": "postgres", "schema": "postgres", **given, **parts})


def asked(hook, setting):
    return hook.get_first("SELECT current_setting(%s)", [setting])[0]


def test_by_the_id_of_a_connection_in_the_environment(server, tmp_path):
    conf.use(Config(home=tmp_path, environ={"AIRFLOW_CONN_REDSHIFT": named(server).get_uri()}))
    try:
        hook = PostgresHook(postgres_conn_id="redshift")
        assert hook.get_first("SELECT 1") == (1,)
        assert PostgresHook.get_hook("redshift").get_first("SELECT current_user") == (server.user,)
    finally:
        conf.use(None)


def test_the_database_is_the_schema_or_another_one(server):
    server.create_database("flights 날씨")
    assert PostgresHook(connection=named(server, schema="flights 날씨")).get_first("SELECT current_database()") == (
        "flights 날씨",
    )
    assert PostgresHook(connection=named(server), database="flights 날씨").get_first("SELECT current_database()") == (
        "flights 날씨",
    )


def test_extras_go_to_the_server(server):
    hook = PostgresHook(connection=named(server, extra={"application_name": "etl", "options": "-c work_mem=8MB"}))
    assert (asked(hook, "application_name"), asked(hook, "work_mem")) == ("etl", "8MB")


def test_named_values(server):
    hook = PostgresHook(connection=named(server))
    assert hook.get_first("SELECT %(a)s::int + %(b)s::int", {"a": 1, "b": 2}) == (3,)


def test_what_redshift_needs(server):
    """A real PostgreSQL stands in for Redshift, which speaks its protocol: only what is sent can be tested here."""
    hook = PostgresHook(connection=named(server, conn_type="redshift"))
    with hook.get_conn() as connection:
        assert connection.prepare_threshold is None
        assert connection.execute("SHOW client_encoding").fetchone() == ("UTF8",)
    with pytest.raises(HookError, match="5439"):
        PostgresHook(connection=named(server, conn_type="redshift", port=None)).get_conn()


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"password": "wrong/22"}, "password authentication failed"),
        ({"schema": "missing"}, 'database "missing" does not exist'),
        ({"port": 1}, "No such file or directory"),
        ({"host": "127.0.0.1", "port": 1}, "Connection refused"),
        ({"extra": {"sslmod": "require"}}, 'invalid connection option "sslmod"'),
    ],
)
def test_no_connection(server, parts, words):
    works, message = named(server, **parts).test_connection()
    assert not works
    assert message.startswith("connection 'pg': no connection: ")
    assert words in message
    assert "\n" not in message
    assert server.password not in message
    assert "wrong/22" not in message


def test_without_psycopg(server, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    with pytest.raises(HookError, match=r"pip install 'etlkit\[cluster\]'"):
        PostgresHook(connection=named(server)).get_conn()


def test_a_deferred_constraint_is_told_and_nothing_is_changed(server):
    hook = PostgresHook(connection=named(server, schema=server.create_database("deferred")))
    hook.run("CREATE TABLE t (x int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    with pytest.raises(HookError, match="its transaction failed, and nothing was changed"):
        hook.run("INSERT INTO t VALUES (1), (1)")
    assert hook.get_records("SELECT * FROM t") == []
