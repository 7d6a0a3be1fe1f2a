"""`etlkit variables`, `connections`, `pools`, `config`, `rotate-fernet-key` and `completion`, on a real database."""

import json
import os
import stat
import subprocess
import sys
from contextlib import closing

import pytest
import yaml

from etlkit.cli import exchange
from etlkit.config import conf
from etlkit.connections import Connection, Connections
from etlkit.store import Store
from etlkit.variables import Variables
from etlkit.vault import key_file, new_key, stored_tokens

URI = "postgres://etl:hunter%2F22@db.example.org:5432/flights?sslmode=require"


@pytest.fixture
def settings(etlkit):
    """A home with two Variables, one of them secret, and a Connection."""
    etlkit("variables", "set", "airports", '["JFK", "LGA"]', "--json", "--description", "where")
    etlkit("variables", "set", "api_key", "26115rows")
    etlkit("connections", "add", "warehouse", "--conn-uri", URI)
    return etlkit


def stored(etlkit, question):
    """What the database answers to a question."""
    with closing(Store(f"sqlite:///{etlkit.home / 'etlkit.db'}")) as store:
        return question(store)


def connection(etlkit, conn_id):
    return stored(etlkit, lambda store: Connections(store).get(conn_id))


def typed(etlkit, text, *words):
    """What a command does with `text` on its standard input."""
    command = [sys.executable, "-m", "etlkit", *words]
    return subprocess.run(command, input=text, env=etlkit.environ, capture_output=True, text=True)


# --- variables --------------------------------------------------------------------------------------------------------


def test_variables_are_listed_without_secrets(settings):
    assert settings.json("variables", "list") == [
        {"key": "airports", "value": ["JFK", "LGA"], "description": "where"},
        {"key": "api_key", "value": "***", "description": None},
    ]
    assert settings("variables", "list").stdout.splitlines() == [
        "key       value     description",
        "airports  JFK, LGA  where",
        "api_key   ***",
    ]


def test_variables_get(settings, monkeypatch):
    assert json.loads(settings("variables", "get", "airports", "--json").stdout) == ["JFK", "LGA"]
    hidden = settings("variables", "get", "api_key")
    assert hidden.stdout == "***\n"
    assert hidden.stderr == "what is secret in Variable 'api_key' is ***; --include-secrets shows it\n"
    assert settings("variables", "get", "api_key", "--include-secrets").stdout == "26115rows\n"
    assert settings("variables", "get", "nothing", "-d", "else").stdout == "else\n"
    assert "did you mean 'airports'?" in settings.refused("variables", "get", "airport")
    assert "is not JSON" in settings.refused("variables", "get", "api_key", "--json")
    monkeypatch.setenv("ETLKIT_VAR_AIRPORTS", "EWR")
    conf.use(None)
    assert settings("variables", "get", "airports").stdout == "EWR\n"


def test_a_secret_passes_the_masked_stream_of_a_process_only_if_it_is_asked_for(settings):
    shown = [settings.start("variables", "get", "api_key", *flags).communicate()[0] for flags in ((), FULL)]
    assert shown == ["***\n", "26115rows\n"]
    exports = [settings.start("variables", "export", "-", *flags).communicate()[0] for flags in ((), FULL)]
    assert [json.loads(text)["api_key"] for text in exports] == ["***", "26115rows"]


FULL = ("--include-secrets",)


def test_variables_get_of_the_environment_needs_no_database(etlkit, monkeypatch):
    assert "there is no metadata database" in etlkit.refused("variables", "get", "airport")
    monkeypatch.setenv("AIRFLOW_VAR_AIRPORT", "EWR")
    conf.use(None)
    assert etlkit("variables", "get", "airport").stdout == "EWR\n"
    assert not (etlkit.home / "etlkit.db").exists()


def test_variables_set_reads_secrets_from_standard_input(etlkit):
    done = typed(etlkit, "26115rows\n", "variables", "set", "api_key", "-")
    assert (done.stdout, done.stderr) == ("Variable 'api_key' is set\n", "")
    assert etlkit("variables", "get", "api_key", *FULL).stdout == "26115rows\n"


def test_variables_set_refuses_what_is_not_json_without_showing_it(etlkit):
    line = etlkit.refused("variables", "set", "airports", "[JFK", "--json")
    assert line == (
        "the value of 'airports' is not JSON: Expecting value at column 2; see: etlkit variables set --help"
    )


def test_variables_delete(settings):
    assert settings("variables", "delete", "api_key").stdout == "Variable 'api_key' is deleted\n"
    assert "no Variable is called 'api_key'" in settings.refused("variables", "delete", "api_key")


@pytest.mark.parametrize("name", ["settings.json", "settings.yaml"])
def test_variables_travel_through_a_file_that_only_its_owner_can_read(settings, name):
    file = settings.home / name
    file.write_text("what was there")
    file.chmod(0o644)
    done = settings("variables", "export", file, *FULL)
    assert done.stderr == f"exported 2 Variables to {file}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for key in ("airports", "api_key"):
        settings("variables", "delete", key)
    assert settings("variables", "import", file).stdout == "imported 2 Variables\n"
    assert settings("variables", "get", "api_key", *FULL).stdout == "26115rows\n"
    assert settings.json("variables", "list")[0] == {
        "key": "airports",
        "value": ["JFK", "LGA"],
        "description": "where",
    }


def test_an_export_has_stars_and_an_import_of_them_keeps_what_is_stored(settings):
    file = settings.home / "settings.json"
    done = settings("variables", "export", file)
    assert done.stderr.endswith("secrets are *** in it, unless you add --include-secrets\n")
    assert json.loads(file.read_text())["api_key"] == "***"
    assert settings("variables", "import", file).stdout == "imported 2 Variables\n"
    assert settings("variables", "get", "api_key", *FULL).stdout == "26115rows\n"
    settings("variables", "delete", "api_key")
    assert "was exported without secrets, and none is stored" in settings.refused("variables", "import", file)


def test_variables_import_of_what_exists(settings):
    file = settings.home / "settings.env"
    file.write_text("# morning\nairports=EWR\nhour=6\n")
    assert "'airports' exists already; nothing" in settings.refused("variables", "import", file, "-a", "fail")
    skipped = settings("variables", "import", file, "-a", "skip")
    assert skipped.stdout == "imported 1 Variables; 1 that exist were left as they are\n"
    assert settings("variables", "get", "hour").stdout == "6\n"
    settings("variables", "import", file)
    assert settings("variables", "get", "airports").stdout == "EWR\n"
    done = typed(settings, '{"hour": 7}', "variables", "import", "-")
    assert done.stdout == "imported 1 Variables\n"


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("a.json", '{"password": "hunter22",', "a.json is not JSON: Expecting property name"),
        ("a.json", '["hunter22"]', "a.json holds no object of names and values"),
        ("a.yaml", "a: 1\nb: [hunter22", "a.yaml is not YAML, at line 2"),
        ("a.env", "a=1\n\nhunter22", "a.env:3: a line is NAME=value"),
        ("a.json", b"\xff", "a.json is not text in UTF-8"),
        ("none.json", None, "none.json cannot be read: No such file or directory"),
    ],
)
@pytest.mark.parametrize("group", ["variables", "connections"])
def test_a_file_that_cannot_be_imported_is_one_line_without_what_is_in_it(etlkit, group, name, text, line):
    etlkit("db", "init")
    file = etlkit.home / name
    if text is not None:
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    said = etlkit.refused(group, "import", file)
    assert line in said
    assert "hunter22" not in said
    assert stored(etlkit, lambda store: Variables(store).keys()) == []


def test_an_export_that_cannot_be_written_leaves_nothing(settings):
    assert "is not a file" in settings.refused("variables", "export", settings.dags)
    assert "cannot be written: No such file" in settings.refused("variables", "export", settings.home / "no" / "a.json")
    assert not [path for path in settings.home.iterdir() if path.name.startswith(".")]


def test_what_yaml_takes_for_more_than_text_is_imported_as_text(etlkit):
    file = etlkit.home / "a.yaml"
    file.write_text("day: 2013-01-31\n1: one\n")
    assert etlkit("variables", "import", file).exit_code == 0
    assert [(row["key"], row["value"]) for row in etlkit.json("variables", "list")] == [
        ("1", "one"),
        ("day", "2013-01-31"),
    ]


def test_a_table_keeps_to_its_lines_whatever_is_in_a_value(etlkit):
    etlkit("variables", "set", "note", "one\ntwo\x1b[2J")
    assert etlkit("variables", "list").stdout.splitlines()[1] == r"note  one\ntwo\x1b[2J"


# --- connections ------------------------------------------------------------------------------------------------------


def test_connections_are_shown_without_secrets(settings):
    (row,) = settings.json("connections", "list")
    assert row == {
        "conn_id": "warehouse",
        "conn_type": "postgres",
        "host": "db.example.org",
        "port": 5432,
        "login": "etl",
        "schema": "flights",
        "description": None,
    }
    hidden = settings.json("connections", "get", "warehouse")
    assert (hidden["password"], hidden["extra"]) == ("***", {"sslmode": "require"})
    assert hidden["uri"] == "postgres://etl:***@db.example.org:5432/flights?sslmode=require"
    full = settings.json("connections", "get", "warehouse", *FULL)
    assert (full["password"], full["uri"]) == ("hunter/22", URI)
    table = settings("connections", "get", "warehouse").stdout
    assert "password   ***\n" in table
    assert "did you mean 'warehouse'?" in settings.refused("connections", "get", "warehose")


@pytest.mark.parametrize(
    "words",
    [
        ("--conn-uri", URI),
        (
            "--conn-json",
            '{"conn_type": "postgres", "host": "db.example.org", "login": "etl", "password": "hunter/22", '
            '"schema": "flights", "port": 5432, "extra": {"sslmode": "require"}}',
        ),
        (
            *("--conn-type", "postgres", "--conn-host", "db.example.org", "--conn-login", "etl", "--conn-port", "5432"),
            *("--conn-password", "hunter/22", "--conn-schema", "flights", "--conn-extra", '{"sslmode": "require"}'),
        ),
    ],
)
def test_a_connection_is_added_in_one_of_three_ways(etlkit, words):
    assert etlkit("connections", "add", "w", *words).stdout == "Connection 'w' is added\n"
    assert connection(etlkit, "w") == Connection.from_uri(URI, "w")
    assert "there is a Connection 'w'" in etlkit.refused("connections", "add", "w", *words)


def test_connections_add_reads_a_password_from_standard_input(etlkit):
    words = ("connections", "add", "w", "--conn-type", "postgres", "--conn-password", "-")
    assert typed(etlkit, "hunter/22\n", *words).returncode == 0
    assert connection(etlkit, "w").password == "hunter/22"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ((), "say how to reach it with --conn-uri, with --conn-json, or with --conn-type"),
        (("--conn-uri", URI, "--conn-type", "http"), "say how to reach it"),
        (("--conn-host", "h"), "say what it is with --conn-type"),
        (("--conn-uri", "hunter22"), "is not a URI such as"),
        (("--conn-json", "hunter22"), "it is not a JSON object of"),
        (("--conn-type", "http", "--conn-extra", "hunter22"), "its extra is not a JSON object"),
    ],
)
def test_a_connection_that_cannot_be_is_refused(etlkit, words, line):
    said = etlkit.refused("connections", "add", "w", *words)
    assert line in said
    assert "hunter22" not in said


def test_connections_test(etlkit, tmp_path):
    etlkit("connections", "add", "lite", "--conn-type", "sqlite", "--conn-host", tmp_path / "a.db")
    etlkit("connections", "add", "dead", "--conn-uri", "http://127.0.0.1:9")
    etlkit("connections", "add", "odd", "--conn-type", "gopher")
    assert etlkit("connections", "test", "lite").stdout == "Connection 'lite': the database answers\n"
    for name, reason in (("dead", "refused"), ("odd", "there is no hook for the type 'gopher'")):
        failed = etlkit("connections", "test", name)
        assert (failed.exit_code, failed.stdout) == (1, "")
        assert reason in failed.stderr


@pytest.mark.parametrize("form", [("json",), ("yaml",), ("env",), ("env", "--serialization-format", "json")])
@pytest.mark.parametrize("flags", [(), FULL])
def test_connections_travel_through_a_file(settings, form, flags):
    file = settings.home / "connections"
    done = settings("connections", "export", file, "--file-format", *form, *flags)
    assert ("unless you add --include-secrets" in done.stderr) == (not flags)
    assert ("hunter" in file.read_text()) == bool(flags)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    kept = settings("connections", "import", file, "--file-format", form[0])
    assert kept.stdout == "imported 0 Connections; 1 that exist were left as they are\n"
    settings("connections", "import", file, "--file-format", form[0], "--overwrite")
    assert connection(settings, "warehouse") == Connection.from_uri(URI, "warehouse")
    settings("connections", "delete", "warehouse")
    again = settings("connections", "import", file, "--file-format", form[0])
    assert again.exit_code == (0 if flags else 2), "stars stand for a secret that is stored, and none is any more"


# --- pools ------------------------------------------------------------------------------------------------------------


def test_pools(etlkit):
    etlkit("db", "init")
    assert etlkit("pools", "set", "narrow", 1, "one at a time").stdout == "pool 'narrow' has 1 slots\n"
    default = {"pool": "default_pool", "slots": 128, "used": 0, "description": "Default pool"}
    narrow = {"pool": "narrow", "slots": 1, "used": 0, "description": "one at a time"}
    assert etlkit.json("pools", "list") == [default, narrow]
    assert etlkit.json("pools", "get", "narrow") == [narrow]
    assert "there is no pool 'narow'; did you mean 'narrow'?" in etlkit.refused("pools", "get", "narow")
    assert etlkit("pools", "delete", "narrow").exit_code == 0
    assert "there is no pool 'narrow'" in etlkit.refused("pools", "delete", "narrow")
    assert "default_pool cannot be deleted" in etlkit.refused("pools", "delete", "default_pool")
    assert "-1 is not in the range" in etlkit.refused("pools", "set", "narrow", "--", "-1")
    assert etlkit.json("pools", "list") == [default]


@pytest.mark.parametrize("name", ["pools.json", "pools.yaml"])
def test_pools_travel_through_a_file(etlkit, name):
    etlkit("pools", "set", "narrow", 1, "one at a time")
    file = etlkit.home / name
    assert etlkit("pools", "export", file).stderr == f"exported 2 pools to {file}\n"
    etlkit("pools", "delete", "narrow")
    assert etlkit("pools", "import", file).stdout == "imported 2 pools\n"
    assert etlkit.json("pools", "get", "narrow")[0]["description"] == "one at a time"


@pytest.mark.parametrize("entry", [5, {}, {"slots": -1}, {"slots": "5"}, {"slots": True}])
def test_a_pool_that_cannot_be_is_not_imported_nor_are_the_others(etlkit, entry):
    file = etlkit.home / "pools.json"
    file.write_text(json.dumps({"good": {"slots": 1, "include_deferred": False}, "bad": entry}))
    assert "pool 'bad' needs a number of slots" in etlkit.refused("pools", "import", file)
    etlkit("db", "init")
    assert [row["pool"] for row in etlkit.json("pools", "list")] == ["default_pool"]


# --- config -----------------------------------------------------------------------------------------------------------


def test_config_shows_where_each_setting_comes_from_and_no_secret(etlkit, monkeypatch):
    monkeypatch.setenv("ETLKIT__CORE__FERNET_KEY", new_key())
    monkeypatch.setenv("ETLKIT__DATABASE__SQL_ALCHEMY_CONN", "postgresql://etl:hunter@22/@db/etlkit")
    (etlkit.home / "etlkit.cfg").write_text("[core]\nparallelism = 4\n")
    conf.use(None)
    rows = {row["key"]: row for row in etlkit.json("config", "list")}
    assert rows["parallelism"] == {
        "section": "core",
        "key": "parallelism",
        "value": "4",
        "source": str(etlkit.home / "etlkit.cfg"),
    }
    assert rows["executor"]["source"] == "default"
    assert rows["fernet_key"]["value"] == "***"
    assert rows["fernet_key"]["source"] == "environment variable ETLKIT__CORE__FERNET_KEY"
    assert etlkit("config", "get-value", "database", "sql_alchemy_conn").stdout == "postgresql://etl:***@db/etlkit\n"
    assert {row["section"] for row in etlkit.json("config", "list", "--section", "core", "-d")} == {"core"}


def test_config_get_value_refuses_what_there_is_not(etlkit, monkeypatch):
    assert etlkit("config", "get-value", "core", "parallelism").stdout == "32\n"
    assert etlkit.refused("config", "get-value", "core", "paralellism") == (
        "no option [core] paralellism; did you mean 'parallelism'?"
    )
    assert "did you mean 'core'?" in etlkit.refused("config", "get-value", "cor", "parallelism")
    monkeypatch.setenv("ETLKIT__CORE__PARALLELISM", "many")
    conf.use(None)
    assert "= 'many' is not a valid" in etlkit.refused("config", "get-value", "core", "parallelism")


# --- the key ----------------------------------------------------------------------------------------------------------


def test_rotate_fernet_key_with_a_key_file(settings):
    before, old = stored(settings, stored_tokens), key_file().read_text()
    done = settings("rotate-fernet-key")
    assert done.stdout == f"4 values are encrypted under the first key of {key_file()}\n"
    keys = key_file().read_text()
    assert (keys.endswith(old), len(keys.split())) == (True, 2), "the new key comes first, the old one stays"
    assert stat.S_IMODE(key_file().stat().st_mode) == 0o600
    assert not set(before) & set(stored(settings, stored_tokens))
    key_file().write_text(keys.split()[0])
    assert settings("variables", "get", "api_key", *FULL).stdout == "26115rows\n"


def test_rotate_fernet_key_with_configured_keys(etlkit, monkeypatch):
    old, new = new_key(), new_key()

    def use(keys):
        monkeypatch.setenv("ETLKIT__CORE__FERNET_KEY", keys)
        conf.use(None)

    use(old)
    etlkit("variables", "set", "api_key", "26115rows")
    assert "ETLKIT__CORE__FERNET_KEY names one key, so there is none to change to" in etlkit.refused(
        "rotate-fernet-key"
    )
    use(f"{new},{old}")
    assert etlkit("rotate-fernet-key").exit_code == 0
    use(new)
    assert etlkit("variables", "get", "api_key", *FULL).stdout == "26115rows\n"
    use(old)
    assert "does not open with the key of environment variable" in etlkit.refused("variables", "get", "api_key")


def test_a_lost_key_is_an_error_that_says_so(settings):
    key_file().unlink()
    for words in (("variables", "get", "airports"), ("connections", "get", "warehouse"), ("rotate-fernet-key",)):
        line = settings.refused(*words)
        assert "the key that opens Variables and Connections is lost" in line
        assert "put the file back from a backup" in line
    assert not key_file().exists()


@pytest.mark.parametrize("key", ["lost", "another one", "no key at all"])
def test_what_does_not_open_is_listed_and_can_be_deleted_and_set_anew(settings, key):
    key_file().unlink()
    if key != "lost":
        key_file().write_text(new_key() if key == "another one" else "hello")
    listed = settings("variables", "list", "--output", "json")
    assert json.loads(listed.stdout) == [
        {"key": "airports", "value": "cannot be opened", "description": "where"},
        {"key": "api_key", "value": "cannot be opened", "description": None},
    ]
    assert "etlkit variables get airports" in listed.stderr
    assert [row["host"] for row in settings.json("connections", "list")] == ["db.example.org"]
    settings.refused("variables", "export", "-")
    for words in (("variables", "delete", "airports"), ("variables", "delete", "api_key")):
        assert settings(*words).exit_code == 0
    assert settings("connections", "delete", "warehouse").exit_code == 0
    key_file().unlink(missing_ok=True)
    assert settings("variables", "set", "airports", "JFK").exit_code == 0
    assert settings("variables", "get", "airports").stdout == "JFK\n"


def test_one_damaged_value_does_not_hide_the_others(settings):
    damage = "UPDATE variable SET val = 'damaged' WHERE key = 'airports'"
    stored(settings, lambda store: store.run_sql(damage))
    values = {row["key"]: row["value"] for row in settings.json("variables", "list")}
    assert values == {"airports": "cannot be opened", "api_key": "***"}


# --- completion -------------------------------------------------------------------------------------------------------


def completed(etlkit, line):
    """What the shell is told to complete `line` with."""
    words = line.split(" ")
    environ = {"_ETLKIT_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    command = [sys.executable, "-m", "etlkit"]
    done = subprocess.run(command, env={**etlkit.environ, **environ}, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return [answer.partition(",")[2] for answer in done.stdout.splitlines() if answer]


def test_names_are_completed(settings):
    settings.dag_file("a.py", "print('noise')\nfrom etlkit import DAG, task\nwith DAG('abc'):\n  task(print)()\n")
    settings.dag_file("broken.py", "dag = 1 / 0")
    settings("dags", "trigger", "abc", "-l", "2013-01-05")
    assert completed(settings, "etlkit vari") == ["variables"]
    assert completed(settings, "etlkit tasks list a") == ["abc"]
    assert completed(settings, "etlkit tasks test abc ") == ["print"]
    assert completed(settings, "etlkit logs show abc print man") == ["manual__2013-01-05T00:00:00+00:00"]
    assert completed(settings, "etlkit variables get a") == ["airports", "api_key"]
    assert completed(settings, "etlkit connections get ") == ["warehouse"]
    assert completed(settings, "etlkit pools get ") == ["default_pool"]
    assert completed(settings, "etlkit tasks list x") == []


def test_what_is_wrong_does_not_disturb_a_completion(etlkit):
    (etlkit.home / "etlkit.db").write_text("no database at all")
    assert completed(etlkit, "etlkit variables get ") == []
    assert completed(etlkit, "etlkit tasks list ") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_what_the_shell_needs(etlkit, shell):
    script = etlkit("completion", shell).stdout
    assert f"_ETLKIT_COMPLETE={shell}_complete" in script
    assert "etlkit" in script.replace("_etlkit", "").replace("_ETLKIT", "")


def test_files_of_all_forms_are_known_by_their_names():
    forms = {suffix: exchange.form_of(exchange.Path(f"a{suffix}"), None) for suffix in (".yml", ".ENV", ".txt", "")}
    assert forms == {".yml": "yaml", ".ENV": "env", ".txt": "json", "": "json"}
    assert yaml.safe_load(exchange.WRITERS["yaml"]({"odd": "\x7f\u0085é"})) == {"odd": "\x7f\u0085é"}
    assert os.fspath(exchange.NO_FILE) == "-"
