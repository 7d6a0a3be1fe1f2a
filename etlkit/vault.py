"""The vault: what is secret is encrypted before it reaches the metadata database.

Values are encrypted with Fernet (AES-128-CBC and HMAC-SHA256) under a key that lies outside the database: in
`[core] fernet_key` or else in the file `fernet.key` of ETLKIT_HOME, which is made, readable by its owner alone, when
the first value is stored. `[core] fernet_key` may name several keys, by commas: the first encrypts, all decrypt, as in
Airflow. A database in memory has a key in memory.

Without the right key nothing is read, and nothing is stored under another one: VaultError says what is wrong. Keep a
copy of the key beside every backup of the database, and not in the same place.

>>> vault = Vault([new_key()], source="an example")
>>> token = vault.encrypt("hunter22")
>>> token[:5], vault.decrypt(token, "Variable 'x'")
('gAAAA', 'hunter22')
>>> Vault([new_key()], source="another place").decrypt(token, "Variable 'x'")
Traceback (most recent call last):
etlkit.errors.VaultError: Variable 'x' does not open with the key of another place: it is damaged, or was encrypted \
with another key; put that key back, after the present one if it is needed too; or delete the value and set it anew
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO
from uuid import uuid4
from weakref import WeakKeyDictionary

from etlkit.config import conf
from etlkit.errors import VaultError
from etlkit.masking import mask_secret

if TYPE_CHECKING:
    from etlkit.store import Store


class Vault:
    """Encrypts with the first of `keys` and decrypts what any of them has encrypted; `source` says where they are."""

    def __init__(self, keys: Sequence[str], source: str) -> None:
        from cryptography.fernet import Fernet, MultiFernet

        self.keys, self.source = [key.strip() for key in keys if key.strip()], source
        try:
            self._fernet = MultiFernet([Fernet(key) for key in self.keys])
        except ValueError:
            raise VaultError(
                f"{source} does not hold a Fernet key, which is 44 letters and digits that end in '='; put the right "
                "one back, or if nothing was encrypted yet take it away, and a key file is made"
            ) from None
        mask_secret(self.keys)

    def encrypt(self, text: str) -> str:
        """The token to store; the same text gives another one each time."""
        return self._fernet.encrypt(text.encode()).decode()

    def decrypt(self, token: str, what: str) -> str:
        """The text behind a token; VaultError, naming `what`, if no key fits."""
        from cryptography.fernet import InvalidToken

        try:
            return self._fernet.decrypt(token.encode()).decode()
        except InvalidToken:
            raise VaultError(
                f"{what} does not open with the key of {self.source}: it is damaged, or was encrypted with another "
                "key; put that key back, after the present one if it is needed too; or delete the value and set it anew"
            ) from None


def new_key() -> str:
    """A fresh key from the operating system's random numbers."""
    from cryptography.fernet import Fernet

    return Fernet.generate_key().decode()


# --- which key ---

_keys_of_stores: WeakKeyDictionary[Store, list[str]] = WeakKeyDictionary()


def give_key(store: Store, key: str) -> None:
    """Have this process open what `store` holds with a key of its own, whatever the settings say."""
    _keys_of_stores[store] = [key]


def key_file() -> Path:
    """Where the key is when `[core] fernet_key` names none."""
    return conf.current.home / "fernet.key"


def vault_of(store: Store) -> Vault:
    """The vault of a metadata database. Its key is made when there is none and the database holds nothing encrypted.

    VaultError if the key is lost, is no key, or does not fit what the database holds.
    """
    keys, source = _keys(store)
    vault = Vault(keys, source)
    for what, token in stored_tokens(store, limit=1):
        vault.decrypt(token, what)
    return vault


CLOSED = "cannot be opened"
"""What a list shows in place of a value whose key is not there."""


def texts_to_list(store: Store, tokens: Sequence[str]) -> list[str | None]:
    """The texts behind tokens, for a list of what there is: None for each that no key at hand opens."""

    def opened(token: str) -> str | None:
        with contextlib.suppress(VaultError):  # whoever asks for this one value is told why
            return vault.decrypt(token, "a value")
        return None

    try:
        vault = Vault(*_keys(store))
    except VaultError:
        return [None] * len(tokens)
    return list(map(opened, tokens))


def _keys(store: Store) -> tuple[list[str], str]:
    """The keys in force, and where they are."""
    if store.in_memory:
        _keys_of_stores.setdefault(store, [new_key()])
    if store in _keys_of_stores:
        return _keys_of_stores[store], "this process"
    configured, source = conf.current.raw("core", "fernet_key")
    if configured:
        return configured.split(","), source
    path = key_file()
    try:
        return _keys_in(path, store), str(path)
    except OSError as error:
        raise VaultError(f"the key file {path} cannot be used: {error.strerror}; make it yours to read") from None


def _keys_in(path: Path, store: Store) -> list[str]:
    """The keys in the key file, which is made if there is none and nothing was encrypted yet."""
    if path.exists():
        return _read(path)
    if stored_tokens(store, limit=1):
        raise VaultError(
            f"the key that opens Variables and Connections is lost: there is no {path}, but {store.name} holds values "
            "encrypted with it; put the file back from a backup, or delete these values and set them again"
        )
    return _create(path)


def _read(path: Path) -> list[str]:
    return path.read_text(encoding="ascii", errors="replace").split()


def _create(path: Path) -> list[str]:
    """Make the key file; whoever comes second finds the first one's key, and nobody ever sees half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{uuid4().hex}")
    with private_file(draft) as file:
        file.write(new_key() + "\n")
    with contextlib.suppress(FileExistsError):
        os.link(draft, path)  # unlike a rename, this never takes another file's place
    draft.unlink()
    return _read(path)


@contextlib.contextmanager
def private_file(path: Path) -> Iterator[TextIO]:
    """A new file to write, for its owner's eyes only, on the disk when the block ends; FileExistsError if it exists."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


# --- what is encrypted ---

SECRET_COLUMNS = (
    ("Variable", "variable", "key", "val"),
    ("the password of connection", "connection", "conn_id", "password"),
    ("the extra of connection", "connection", "conn_id", "extra"),
)
"""What is encrypted: (what it is called, table, column that names a row, column)."""


def stored_tokens(store: Store, limit: int = -1) -> list[tuple[str, str]]:
    """The encrypted values in the database, each with what it is called; the first `limit` of them, or all."""
    selects = (
        f"SELECT '{what}', {name}, {column} FROM {table} WHERE {column} IS NOT NULL"
        for what, table, name, column in SECRET_COLUMNS
    )
    rows = store.run_sql(" UNION ALL ".join(selects) + (f" LIMIT {limit}" if limit >= 0 else "")).fetchall()
    return [(f"{what} {name!r}", token) for what, name, token in rows]


def rotate(store: Store) -> int:
    """Encrypt every value anew, in one transaction, under a new key; returns how many there were.

    In a key file the new key is put before the old ones, which stay: they open the backups made before. Keys named by
    `[core] fernet_key` are yours to change: set it to `new,old`, rotate, then set it to `new`. VaultError if a value
    cannot be decrypted; then all stay as they were.
    """
    with store.transaction():
        old = vault_of(store)
        texts = {token: old.decrypt(token, what) for what, token in stored_tokens(store)}
        if store in _keys_of_stores:
            _keys_of_stores[store].insert(0, new_key())
        elif not conf.get("core", "fernet_key"):
            _add_key(key_file())
        new = Vault(*_keys(store))
        for _, table, _, column in SECRET_COLUMNS:
            rows = [{"old": token, "new": new.encrypt(text)} for token, text in texts.items()]
            store.run_many(f"UPDATE {table} SET {column} = :new WHERE {column} = :old", rows)
    return len(texts)


def _add_key(path: Path) -> None:
    """Put a new key above the others in the key file, which is replaced whole; its draft keeps others from doing so."""
    draft = path.with_name(f"{path.name}.new")
    try:
        with private_file(draft) as file:
            file.writelines(f"{key}\n" for key in (new_key(), *_read(path)))
    except FileExistsError:
        raise VaultError(
            f"another process is changing {path}, or died while it did; if none is, delete {draft}"
        ) from None
    draft.replace(path)
