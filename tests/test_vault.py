"""Secrets at rest: encrypted always, under a key that is made once, can be rotated, and is missed when it is gone."""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from textwrap import dedent
from urllib.parse import quote

import pytest

from etlkit import vault
from etlkit.config import Config, conf
from etlkit.connections import Connection, Connections
from etlkit.errors import VaultError
from etlkit.masking import masker
from etlkit.store import Store
from etlkit.variables import Variables
from etlkit.vault import Vault, key_file, new_key, rotate, vault_of
from tests.servers import postgres

SECRET = "hunter22 é"


@pytest.fixture(autouse=True)
def home(tmp_path):
    conf.use(Config(home=tmp_path / "home", environ={}))
    yield tmp_path / "home"
    conf.use(None)
    masker.forget()


@pytest.fixture
def store(tmp_path):
    store = Store(f"sqlite:///{tmp_path}/etl.db")
    yield store
    store.close()


def fill(store):
    Variables(store).set("api_key", SECRET)
    Variables(store).set("airport", "JFK")
    Connections(store).set(
        Connection("db", "postgres", host="h", login="u", password=SECRET, extra={"pin_token": SECRET})
    )
    Connections(store).set(Connection("plain", "http", host="h"))


def read(store):
    connection = Connections(store).get("db")
    return Variables(store).get("api_key"), Variables(store).get("airport"), connection.password, connection.extra


FILLED = (SECRET, "JFK", SECRET, Connection("x", extra={"pin_token": SECRET}).extra)


def use_key(home, *keys):
    conf.use(Config(home=home, environ={"ETLKIT__CORE__FERNET_KEY": ",".join(keys)}))


def refusal(action, *arguments):
    with pytest.raises(VaultError) as refused:
        action(*arguments)
    message = str(refused.value)
    assert "\n" not in message
    assert SECRET not in message
    return message


# --- at rest ---


def test_nothing_secret_is_in_the_file(store, tmp_path):
    fill(store)
    assert read(store) == FILLED
    written = b"".join(path.read_bytes() for path in tmp_path.glob("etl.db*"))
    assert b"airport" in written
    for text in (SECRET.encode(), b"hunter22", b"JFK", b"pin_token"):
        assert text not in written


def test_in_postgresql():
    server = postgres()
    place = f"{server.user}:{quote(server.password, safe='')}@/{server.create_database('vault')}?host={server.host}"
    store = Store(f"postgresql+psycopg://{place}")
    fill(store)
    assert read(store) == FILLED
    assert rotate(store) == 4
    assert read(store) == FILLED
    assert Variables(store).export()["api_key"] == Connections(store).export()["db"]["password"] == "***"
    Variables(store).delete("api_key")
    assert Variables(store).get("api_key", default=None) is None
    store.close()


def test_the_same_text_is_stored_differently_each_time(store):
    fill(store)
    tokens = [token for _, token in vault.stored_tokens(store)]
    assert len(set(tokens)) == len(tokens) == 4
    assert all(token.startswith("gAAAA") for token in tokens)


def test_a_database_in_memory_has_its_own_key_and_leaves_no_file(home):
    one, other = Store("sqlite://"), Store("sqlite://")
    fill(one)
    assert read(one) == FILLED
    assert vault_of(one).keys != vault_of(other).keys
    assert vault_of(one).keys == vault_of(one).keys
    assert not home.exists()


# --- the key file ---


def test_the_key_is_made_when_the_first_value_is_stored_for_its_owner_alone(store, home):
    assert Variables(store).get("api_key", default=None) is None
    assert not key_file().exists()
    fill(store)
    assert key_file() == home / "fernet.key"
    assert stat.S_IMODE(key_file().stat().st_mode) == 0o600
    assert [path.name for path in home.iterdir()] == ["fernet.key"]
    assert len(key_file().read_text().strip()) == 44


def test_a_key_file_is_never_overwritten(store, home):
    fill(store)
    before = key_file().read_bytes()
    Variables(store).set("another", "x")
    assert vault._create(key_file()) == [before.decode().strip()]
    assert key_file().read_bytes() == before


def test_processes_that_start_at_once_agree_on_one_key(home):
    home.mkdir()
    program = f"from pathlib import Path; from etlkit.vault import _create; print(_create(Path({str(key_file())!r})))"
    processes = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) for _ in range(6)]
    keys = {process.communicate()[0] for process in processes}
    assert len(keys) == 1
    assert [path.name for path in home.iterdir()] == ["fernet.key"]


def test_the_key_is_a_secret_too(store):
    fill(store)
    (key,) = vault_of(store).keys
    assert masker.mask(f"the key is {key}") == "the key is ***"


def test_a_process_killed_while_it_makes_the_key_leaves_none(home, tmp_path):
    program = dedent(f"""
        import os
        from etlkit import vault
        from pathlib import Path
        os.link = lambda *paths: os.kill(os.getpid(), 9)
        vault._create(Path({str(key_file())!r}))
    """)
    assert subprocess.run([sys.executable, "-c", program]).returncode == -9
    assert not key_file().exists()
    with Store(f"sqlite:///{tmp_path}/etl.db").transaction() as store:
        assert vault_of(store).keys == [key_file().read_text().strip()]


# --- a lost or wrong key ---


def test_a_lost_key_is_missed_and_no_other_is_made(store):
    fill(store)
    key = key_file().read_bytes()
    key_file().unlink()
    for action in (lambda: read(store), lambda: Variables(store).set("x", "y"), lambda: rotate(store)):
        message = refusal(action)
        assert str(key_file()) in message
        assert "put the file back" in message
        assert not key_file().exists()
    assert Variables(store).keys("x") == []
    key_file().write_bytes(key)
    assert read(store) == FILLED


def test_without_a_key_values_can_be_deleted_and_then_set_anew(store):
    fill(store)
    key_file().unlink()
    for key in ("api_key", "airport"):
        Variables(store).delete(key)
    for conn_id in Connections(store).ids():
        Connections(store).delete(conn_id)
    fill(store)
    assert read(store) == FILLED


def test_a_wrong_key_reads_nothing_and_stores_nothing(store, home):
    fill(store)
    use_key(home, new_key())
    before = vault.stored_tokens(store)
    for action in (lambda: read(store), lambda: Variables(store).set("x", "y"), lambda: rotate(store)):
        message = refusal(action)
        assert "does not open with the key of" in message
        assert "ETLKIT__CORE__FERNET_KEY" in message
    assert vault.stored_tokens(store) == before


def test_a_damaged_value_is_named(store):
    fill(store)
    with store.transaction():
        store.run_sql("UPDATE connection SET password = 'gAAAAABmangled' WHERE conn_id = 'db'")
    assert "the password of connection 'db'" in refusal(Connections(store).get, "db")
    assert Variables(store).get("api_key") == SECRET


@pytest.mark.parametrize("text", ["", "not a key", "x" * 44, "é" * 44])
def test_what_is_no_key_is_refused(store, text):
    fill(store)
    key_file().write_text(text, encoding="utf-8")
    assert f"{key_file()} does not hold a Fernet key" in refusal(Variables(store).get, "api_key")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can take another user's place")
def test_a_key_file_that_may_not_be_read():
    folder = Path(tempfile.mkdtemp())  # not below tmp_path, into which only its owner can look
    (folder / "fernet.key").touch(0o600)
    program = dedent(f"""
        import os
        from pathlib import Path
        from etlkit.vault import _keys
        from etlkit.config import Config, conf
        conf.use(Config(home=Path({str(folder)!r}), environ={{}}))
        class FileStore:
            in_memory = False
        os.chmod({str(folder)!r}, 0o755)
        os.setuid(65534)
        _keys(FileStore())
    """)
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    shutil.rmtree(folder)
    assert f"VaultError: the key file {folder}/fernet.key cannot be used: Permission denied" in result.stderr


# --- keys by configuration, rotation ---


def test_the_first_of_several_configured_keys_encrypts_and_all_decrypt(store, home):
    old, new = new_key(), new_key()
    use_key(home, old)
    fill(store)
    use_key(home, new, old)
    assert read(store) == FILLED
    Variables(store).set("later", "x")
    assert not key_file().exists()
    use_key(home, new)
    refusal(read, store)
    use_key(home, new, old)
    assert rotate(store) == 5
    use_key(home, new)
    assert read(store) == FILLED
    assert Variables(store).get("later") == "x"


def test_rotating_a_key_file(store):
    fill(store)
    (old,) = vault_of(store).keys
    before = dict(vault.stored_tokens(store))
    assert rotate(store) == 4
    after = dict(vault.stored_tokens(store))
    assert before.keys() == after.keys()
    assert not set(before.values()) & set(after.values())
    assert read(store) == FILLED
    new, kept = vault_of(store).keys
    assert kept == old
    assert stat.S_IMODE(key_file().stat().st_mode) == 0o600
    for token in after.values():
        Vault([new], "the new key").decrypt(token, "a value")
        refusal(Vault([old], "the old key").decrypt, token, "a value")
    assert [path.name for path in key_file().parent.iterdir()] == ["fernet.key"]


def test_rotating_in_memory():
    store = Store("sqlite://")
    fill(store)
    assert rotate(store) == 4
    assert read(store) == FILLED


def test_a_value_that_does_not_open_stops_the_rotation(store):
    fill(store)
    with store.transaction():
        store.run_sql("UPDATE connection SET extra = 'gAAAAABmangled' WHERE conn_id = 'db'")
    before, keys = vault.stored_tokens(store), key_file().read_bytes()
    assert "the extra of connection 'db'" in refusal(rotate, store)
    assert (vault.stored_tokens(store), key_file().read_bytes()) == (before, keys)


def test_two_rotations_at_once_do_not_lose_a_key(store):
    fill(store)
    key_file().with_name("fernet.key.new").touch()
    assert "another process is changing" in refusal(rotate, store)
    key_file().with_name("fernet.key.new").unlink()
    assert rotate(store) == 4


@pytest.mark.parametrize("moment", ["before the file", "after the file", "in the transaction"])
def test_a_process_killed_while_it_rotates_loses_nothing(store, tmp_path, home, moment):
    fill(store)
    program = dedent(f"""
        import os
        from pathlib import Path
        from etlkit import vault
        from etlkit.config import Config, conf
        from etlkit.store import Store
        conf.use(Config(home=Path({str(home)!r}), environ={{}}))
        def die(*arguments):
            os.kill(os.getpid(), 9)
        moment = {moment!r}
        if moment == "before the file":
            Path.replace = die
        elif moment == "after the file":
            real = vault._add_key
            vault._add_key = lambda path: (real(path), die())
        else:
            real_many, seen = Store.run_many, []
            def run_many(self, sql, rows):
                seen.append(sql)
                real_many(self, sql, rows)
                if len(seen) == 2:
                    die()
            Store.run_many = run_many
        vault.rotate(Store({str(store.url)!r}))
    """)
    result = subprocess.run([sys.executable, "-c", program], capture_output=True)
    assert result.returncode == -9, result.stderr
    assert read(store) == FILLED
    if moment == "before the file":  # its unfinished draft tells of it
        assert "died while it did" in refusal(rotate, store)
        key_file().with_name("fernet.key.new").unlink()
    assert rotate(store) == 4
    assert read(store) == FILLED
