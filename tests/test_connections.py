"""Connections: where they are looked for, how they are written down, and what is never shown of them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import etlkit
from etlkit.config import Config, conf
from etlkit.connections import HOOKS, Connection, Connections, learn_secrets
from etlkit.errors import AirflowNotFoundException, ConfigError
from etlkit.hooks import BaseHook, SqliteHook
from etlkit.lab import Lab
from etlkit.masking import masker
from etlkit.store import Store
from etlkit.taskflow import dag, task
from etlkit.variables import Variables

SECRET = "hunter/22 é"
URI = "postgres://anna:hunter%2F22%20%C3%A9@db.example.org:5439/flights?sslmode=require"


@pytest.fixture(autouse=True)
def environ(tmp_path):
    environ = {}
    conf.use(Config(home=tmp_path / "home", environ=environ))
    yield environ
    conf.use(None)
    masker.forget()


@pytest.fixture
def connections():
    return Connections(Store("sqlite://"))


def run(lab, pipeline):
    lab.add(pipeline)
    lab.trigger(pipeline)


def refusal(kind, action, *arguments, **named):
    with pytest.raises(kind) as refused:
        action(*arguments, **named)
    message = str(refused.value)
    assert "\n" not in message
    assert "hunter" not in message
    return message


# --- one Connection ---


@given(
    host=st.none() | st.from_regex(r"[a-z0-9.]{1,20}", fullmatch=True),
    login=st.none() | st.text(min_size=1),
    password=st.none() | st.text(min_size=1),
    schema=st.none() | st.text(min_size=1),
    port=st.none() | st.integers(1, 65535),
    extra=st.none()
    | st.dictionaries(st.text(), st.text() | st.integers() | st.lists(st.none() | st.booleans()), min_size=1),
)
def test_a_uri_and_json_give_back_what_they_were_made_of(**parts):
    made = Connection("x", "my_type", **parts)
    for text, read in ((made.get_uri(), Connection.from_uri), (made.as_json(), Connection.from_json)):
        again = read(text, "x")
        for name in parts:
            assert (getattr(again, name) or None) == (getattr(made, name) or None), (name, text)
    masker.forget()


def test_extra_is_a_dict_or_its_text():
    for extra in ({"a": 1}, '{"a": 1}'):
        connection = Connection("x", extra=extra)
        assert (connection.extra, connection.extra_dejson) == ('{"a": 1}', {"a": 1})
    assert Connection("x").extra_dejson == {}


@pytest.mark.parametrize("extra", ["nonsense", "[1]", "5", "hunter22"])
def test_an_extra_that_is_no_object_is_refused(extra):
    assert "its extra is not a JSON object" in refusal(ConfigError, Connection, "x", extra=extra)


@pytest.mark.parametrize("conn_id", ["", "a b", "a'b", None, "x" * 251, "<script>"])
def test_ids_that_are_refused(conn_id):
    assert "cannot be a conn_id" in refusal(ConfigError, Connection, conn_id)


@pytest.mark.parametrize("conn_id", ["warehouse", "Warehouse-1.b", "창고", "a/b:c(d)#!"])
def test_ids_that_are_not(conn_id, connections):
    connections.set(Connection(conn_id, "http"))
    assert connections.get(conn_id).conn_id == conn_id


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "postgres",
        "postgres:/anna:hunter22@h",
        "postgres://anna:hunter#22@h",
        "postgres://anna:hunter22@h:port",
        "postgres://anna:hunter22@h:99999",
        "postgres://anna:hunter22@[h",
        "1postgres://anna:hunter22@h",
        "a://anna:hunter22@b://c",
    ],
)
def test_uris_that_are_refused_without_being_shown(uri):
    message = refusal(ConfigError, Connection.from_uri, uri, "x")
    assert "it is not a URI such as type://login:password@host:1234/schema?key=value" in message


def test_json_that_is_refused():
    assert "no field 'pasword'; did you mean 'password'?" in refusal(
        ConfigError, Connection.from_json, '{"pasword": "hunter22"}', "x"
    )
    assert "its port is not a number" in refusal(ConfigError, Connection.from_json, '{"port": "hunter22"}', "x")
    assert "not a JSON object" in refusal(ConfigError, Connection.from_json, '{"password": hunter22}', "x")


def test_nothing_secret_is_in_its_repr():
    connection = Connection(
        "x", "http", host="h", login="anna", password=SECRET, extra={"api_token": 12345, "region": "eu"}
    )
    shown = (
        "Connection(conn_id='x', conn_type='http', host='h', login='anna', password='***', "
        "extra={'api_token': '***', 'region': 'eu'})"
    )
    assert repr(connection) == str(connection) == f"{connection}" == shown


@pytest.mark.parametrize("host", ["https://anna:hunter%2F22@h:8443/x", "https://anna:hunter/22@h:8443/x"])
def test_a_password_that_was_written_into_the_host_moves_to_its_own_field(host):
    connection = Connection("x", "http", host=host)
    assert (connection.host, connection.login, connection.password) == ("https://h:8443/x", "anna", "hunter/22")
    given = Connection("x", "http", host="anna:secret22@h", login="eva", password="hunter/22")
    assert (given.host, given.login, given.password) == ("h", "eva", "hunter/22")
    assert masker.mask("secret22 hunter/22") == "*** ***"


def test_its_secrets_are_known_to_the_masker():
    Connection.from_uri("http://anna:hunter%2F22@h?api_key=26115rows&region=europe", "x")
    assert masker.mask("hunter/22 26115rows europe") == "*** *** europe"


def test_the_name_is_that_of_the_sdk():
    assert etlkit.Connection is Connection


# --- the environment ---


@pytest.mark.parametrize("name", ["ETLKIT_CONN_WAREHOUSE", "AIRFLOW_CONN_WAREHOUSE"])
@pytest.mark.parametrize("text", [URI, Connection.from_uri(URI, "x").as_json(), f"\n {URI}\n"])
def test_the_environment_comes_first(connections, environ, name, text):
    connections.set(Connection("warehouse", "http"))
    environ[name] = text
    for connection in (connections.get("warehouse"), Connection.get("warehouse"), BaseHook.get_connection("warehouse")):
        assert connection == Connection.from_uri(URI, "warehouse")
        assert (connection.password, connection.port, connection.extra_dejson) == (SECRET, 5439, {"sslmode": "require"})


@pytest.mark.parametrize("text", ["hunter22", '{"password": "hunter22"'])
def test_nonsense_in_the_environment_is_named_and_not_shown(connections, environ, text):
    environ["ETLKIT_CONN_X"] = text
    assert refusal(ConfigError, connections.get, "x").startswith("ETLKIT_CONN_X: connection 'x': it is not a ")


# --- the database ---


def test_set_get_delete(connections):
    whole = Connection("x", "http", "of the lab", "h", "anna", SECRET, "https", 8443, {"a": [1]})
    connections.set(Connection("x", "ftp", password="earlier"))
    connections.set(whole)
    connections.set(Connection("bare"))
    assert connections.get("x") == whole
    assert connections.all() == [Connection("bare"), whole]
    assert connections.ids() == ["bare", "x"]
    connections.delete("x")
    assert connections.ids() == ["bare"]
    assert "no Connection is called 'x'" in refusal(AirflowNotFoundException, connections.delete, "x")


def test_one_that_does_not_exist(connections):
    connections.set(Connection("warehouse", "http"))
    message = refusal(AirflowNotFoundException, connections.get, "warehuose")
    assert message == ("no Connection is called 'warehuose' in the environment or in memory; did you mean 'warehouse'?")


def test_elsewhere_it_is_the_configured_database_and_in_a_task_that_of_the_task(tmp_path):
    (tmp_path / "home").mkdir()
    configured = Store(f"sqlite:///{tmp_path}/home/etlkit.db")
    Connections(configured).set(Connection("x", "http", host="configured"))

    @task
    def use():
        return Connection.get("x").host

    @dag(schedule=None)
    def weather():
        use()

    with Lab(start="2013-01-01") as lab:
        lab.connections.set(Connection("x", "http", host="of the lab"))
        run(lab, weather())
        assert lab.xcoms()["value"].tolist() == ["of the lab"]
    assert Connection.get("x").host == "configured"


def test_names_and_values_are_only_values(connections):
    odd = "'; DROP TABLE connection; --"
    connections.set(Connection("x", "a", odd, odd, odd, odd, odd, 1, {odd: odd}))
    assert connections.get("x") == Connection("x", "a", odd, odd, odd, odd, odd, 1, {odd: odd})


# --- export and import ---


def test_export_and_import(connections):
    connections.set(Connection.from_uri(URI, "warehouse"))
    connections.set(Connection("web", "http", host="h"))
    exported = json.loads(json.dumps(connections.export(include_secrets=True)))
    assert exported["warehouse"] == {
        "conn_type": "postgres",
        "host": "db.example.org",
        "login": "anna",
        "password": SECRET,
        "schema": "flights",
        "port": 5439,
        "extra": {"sslmode": "require"},
    }
    other = Connections(Store("sqlite://"))
    assert other.load(exported) == ["warehouse", "web"]
    assert other.all() == connections.all()
    other.load({"warehouse": URI.replace("5439", "5432")})
    assert other.get("warehouse").port == 5432


def test_secrets_are_not_exported_unless_asked_for(connections):
    connections.set(
        Connection("x", "http", host="h", password=SECRET, extra={"token": SECRET, "note": f"not {SECRET}"})
    )
    exported = connections.export()
    assert exported == {
        "x": {"conn_type": "http", "host": "h", "password": "***", "extra": {"token": "***", "note": "not ***"}}
    }
    exported["x"]["host"] = "elsewhere"
    connections.load(exported)
    assert connections.get("x") == Connection(
        "x", "http", host="elsewhere", password=SECRET, extra={"token": SECRET, "note": f"not {SECRET}"}
    )


def test_importing_hidden_secrets_where_none_are_stored_imports_nothing(connections):
    message = refusal(ConfigError, connections.load, {"a": "http://h", "b": {"conn_type": "http", "password": "***"}})
    assert message.startswith("connection 'b' has a secret that is ***")
    assert connections.ids() == []


def test_importing_what_exists_or_is_none(connections):
    connections.set(Connection("a", "http"))
    assert "Connection 'a' exists already" in refusal(
        ConfigError, connections.load, {"a": "ftp://h"}, on_existing="fail"
    )
    assert connections.load({"a": "ftp://h", "b": "ftp://h"}, on_existing="skip") == ["b"]
    assert (connections.get("a").conn_type, connections.get("b").conn_type) == ("http", "ftp")
    assert "neither a URI nor an object" in refusal(ConfigError, connections.load, {"c": 5})


# --- hooks ---


def test_its_hook(tmp_path):
    connection = Connection("x", "sqlite", host=str(tmp_path / "x.db"))
    assert isinstance(connection.get_hook(), SqliteHook)
    assert connection.test_connection() == (True, "the database answers")


def test_a_test_that_fails_says_so_in_words():
    works, message = Connection("x", "sqlite", host=f"/no/{SECRET}/x.db", password=SECRET).test_connection()
    assert not works
    assert message.startswith("connection 'x': /no/***/x.db cannot be opened")


def test_a_type_without_a_hook():
    assert "no hook for the type 'postgers'; did you mean 'postgres'?" in refusal(
        ConfigError, Connection("x", "postgers").get_hook
    )
    works, message = Connection("x", "ftp").test_connection()
    assert (works, "there are duckdb, http" in message) == (False, True)


def test_a_hook_of_ones_own(environ, monkeypatch):
    class Ftp(BaseHook):
        conn_type = "ftp"

        def get_conn(self):
            return self.connection.host

    monkeypatch.setitem(HOOKS, "ftp", f"{__name__}.Ftp")
    monkeypatch.setitem(globals(), "Ftp", Ftp)
    monkeypatch.setitem(__import__("sys").modules, __name__, type(pytest)(__name__))
    monkeypatch.setattr(__import__("sys").modules[__name__], "Ftp", Ftp, raising=False)
    environ["ETLKIT_CONN_X"] = "ftp://files.example.org"
    assert BaseHook.get_hook("x").get_conn() == "files.example.org"
    with pytest.raises(NotImplementedError, match="Ftp cannot be tested"):
        BaseHook.get_hook("x").test_connection()


# --- what the masker knows before any task runs ---


def test_the_secrets_of_the_environment_and_the_database_are_known_from_the_start(environ, connections, caplog):
    environ["ETLKIT_VAR_API_KEY"] = "from-the-env-1"
    environ["AIRFLOW_VAR_CONFIG"] = '{"password": "from-the-env-2"}'
    environ["ETLKIT_CONN_X"] = "http://anna:from-the-env-3@h?token=from-the-env-4"
    environ["DATABASE_URL"] = "mysql://anna:from%2Dthe-env-5@h/db"
    environ["ETLKIT_CONN_BROKEN"] = "nonsense"
    environ["ETLKIT_VAR_AIRPORT"] = "visible-1"
    Variables(connections.store).set("secret_x", "from-the-db-1")
    connections.set(Connection("db", "x", password="from-the-db-2", extra={"token": "from-the-db-3", "a": "visible-2"}))
    masker.forget()
    learn_secrets(connections.store)
    secrets = [f"from-the-env-{i}" for i in range(1, 6)] + [f"from-the-db-{i}" for i in range(1, 4)]
    for secret in secrets:
        assert masker.mask(secret) == "***", secret
    assert masker.mask("visible-1 visible-2") == "visible-1 visible-2"
    assert "secrets of ETLKIT_CONN_BROKEN cannot be read" in caplog.text


def test_a_lost_key_is_a_warning_there(tmp_path, caplog):
    store = Store(f"sqlite:///{tmp_path}/etl.db")
    Variables(store).set("api_key", "26115rows")
    (tmp_path / "home" / "fernet.key").unlink()
    learn_secrets(store)
    assert "the key that opens Variables and Connections is lost" in caplog.text


def test_a_uri_in_the_place_of_the_name_is_not_shown():
    with pytest.raises(ConfigError, match="in the place of the conn_id") as caught:
        Connection.from_uri("weather", "postgresql://etl:geheim@db/weather")
    assert "geheim" not in str(caught.value)
