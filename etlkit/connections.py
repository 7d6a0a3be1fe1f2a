"""Connections: outside systems and how to reach them, by name.

A Connection is looked for, in this order, in the environment (`ETLKIT_CONN_<ID>`, or Airflow's `AIRFLOW_CONN_<ID>`, as
a URI or as JSON) and in the metadata database, where passwords and extras are encrypted. `Connections(store)` are those
of one database, such as a Lab's; `Connection.get("warehouse")` looks where the running task does, or into the
configured database. A Connection never prints what is secret in it, and makes it known to the masker.

>>> Connection.from_uri("postgres://anna:hunter%2F22@db.example.org:5439/flights?sslmode=require", "warehouse")
Connection(conn_id='warehouse', conn_type='postgres', host='db.example.org', login='anna', password='***', \
schema='flights', port=5439, extra={'sslmode': 'require'})

>>> from etlkit.store import Store
>>> connections = Connections(Store("sqlite://"))
>>> connections.set(Connection("web", "http", host="example.org", password="hunter/22"))
>>> connections.get("web").get_uri()
'http://:hunter%2F22@example.org'
>>> connections.export()
{'web': {'conn_type': 'http', 'host': 'example.org', 'password': '***'}}
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from importlib import import_module
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from etlkit.config import conf
from etlkit.errors import AirflowNotFoundException, ConfigError, EtlkitError, VaultError, nearest
from etlkit.masking import STARS, masker
from etlkit.store import Store
from etlkit.variables import (
    Variables,
    check_clashes,
    from_environment,
    learn_variable,
    store_in_use,
    use_configured_names,
)
from etlkit.vault import vault_of

log = logging.getLogger("etlkit.connections")

HOOKS = {
    "duckdb": "etlkit.hooks.duckdb.DuckDBHook",
    "http": "etlkit.hooks.web.HttpHook",
    "https": "etlkit.hooks.web.HttpHook",
    "postgres": "etlkit.hooks.postgres.PostgresHook",
    "redshift": "etlkit.hooks.postgres.PostgresHook",
    "slackwebhook": "etlkit.hooks.slack.SlackWebhookHook",
    "sqlite": "etlkit.hooks.sqlite.SqliteHook",
}
"""The hook class for each type of Connection; add your own as `HOOKS["ftp"] = "my.module.FtpHook"`."""

WHOLE_EXTRA = "__extra__"
"""The one key of a URI's query that holds the whole extra as JSON, when that is not flat text."""

HOST_WITH_LOGIN = re.compile(r"([\w+.\-]+://)?([^/:@]*):(.*)@([^@]*)", re.DOTALL)
URL_PASSWORD = re.compile(r"://[^\s/:@]*:([^\s/@]+)@")
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*")
CONN_ID = re.compile(r"[\w#!()\-.:/\\]{1,250}")


@dataclass(repr=False)
class Connection:
    """How to reach an outside system; names as in `airflow.sdk.Connection`.

    `extra` is a dict, or its JSON text; it is kept as text. ConfigError if a part is not what it should be.
    """

    conn_id: str
    conn_type: str = ""
    description: str | None = None
    host: str | None = None
    login: str | None = None
    password: str | None = None
    schema: str | None = None
    port: int | None = None
    extra: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.conn_id, str) or not CONN_ID.fullmatch(self.conn_id):
            raise ConfigError(f"{self.conn_id!r} cannot be a conn_id: use letters, digits and any of _#!()-.:/\\")
        self.conn_type = normal_type(self.conn_type or "")
        self.port = _port(self.conn_id, self.port)
        if self.extra is not None and not isinstance(self.extra, str):
            self.extra = json.dumps(self.extra)
        self._take_login_out_of_host()
        masker.mask_secret(self.password)
        masker.learn(self.extra_dejson)

    def _take_login_out_of_host(self) -> None:
        """The host is stored and shown as it is, so a password that was written there moves to its own field."""
        if found := HOST_WITH_LOGIN.fullmatch(self.host or ""):
            protocol, login, password, host = found.groups()
            self.host = (protocol or "") + host
            self.login, self.password = self.login or unquote(login), self.password or unquote(password)
            masker.mask_secret(unquote(password))

    @property
    def extra_dejson(self) -> dict[str, Any]:
        """The extra as a dict; ConfigError if it is not the JSON of one."""
        try:
            extra = json.loads(self.extra or "{}")
        except ValueError:
            extra = None
        if not isinstance(extra, dict):
            raise ConfigError(f'connection {self.conn_id!r}: its extra is not a JSON object, such as {{"timeout": 10}}')
        return extra

    # --- as a URI ---

    @classmethod
    def from_uri(cls, uri: str, conn_id: str) -> Connection:
        """The Connection that a URI describes: `type://login:password@host:port/schema?key=value`, percent-encoded.

        A host that needs a protocol of its own has it: `http://https://example.org`. ConfigError if it is no such URI.
        """
        if "://" in conn_id:  # which may hold a password, so it is not shown
            raise ConfigError("Connection.from_uri(uri, conn_id): a URI was given in the place of the conn_id")
        *schemes, rest = uri.strip().split("://")
        if len(schemes) not in (1, 2) or not all(map(SCHEME.fullmatch, schemes)) or "#" in rest:
            raise _not_a_uri(conn_id)
        try:
            parts = urlsplit(f"//{rest}")
            port = parts.port
        except ValueError:  # its text may hold the password
            raise _not_a_uri(conn_id) from None
        host = _host(parts.netloc, parts.hostname)
        return cls(
            conn_id,
            schemes[0],
            host="://".join([*schemes[1:], host]) if host else None,
            login=unquote(parts.username) if parts.username else parts.username,
            password=unquote(parts.password) if parts.password else parts.password,
            schema=unquote(parts.path[1:]),
            port=port,
            extra=_extra_of(parts.query),
        )

    def get_uri(self) -> str:
        """The Connection as a URI, with its secrets."""
        protocol, separator, host = (self.host or "").rpartition("://")
        if protocol == self.conn_type:
            protocol, separator, host = "", "", self.host or ""
        login = quote(self.login, safe="") if self.login is not None else ""
        password = f":{quote(self.password, safe='')}" if self.password is not None else ""
        authority = f"{login}{password}@" if login or password else ""
        place = quote(host, safe="")
        if self.port:
            place += f":{self.port}" if place or authority else f"@:{self.port}"
        path = f"/{quote(self.schema, safe='')}" if self.schema else ""
        query = f"{'' if path else '/'}?{self._query()}" if self.extra else ""
        scheme = f"{self.conn_type.lower().replace('_', '-')}://" if self.conn_type else "//"
        return f"{scheme}{protocol}{separator}{authority}{place}{path}{query}"

    def _query(self) -> str:
        extra = self.extra_dejson
        flat = urlencode(extra)
        reads_back = flat and dict(parse_qsl(flat, keep_blank_values=True)) == extra
        return flat if reads_back else urlencode({WHOLE_EXTRA: self.extra})

    # --- as JSON ---

    @classmethod
    def from_json(cls, text: str, conn_id: str) -> Connection:
        """The Connection that a JSON object describes; its keys are this class's fields, `extra` text or an object."""
        try:
            parts = json.loads(text)
        except ValueError:
            parts = None
        if not isinstance(parts, dict):
            raise ConfigError(f"connection {conn_id!r}: it is not a JSON object of {', '.join(FIELDS)}")
        return cls.from_dict(parts, conn_id)

    @classmethod
    def from_dict(cls, parts: Mapping[str, Any], conn_id: str) -> Connection:
        """The same from a dict, as `to_dict` gives it."""
        for name in parts:
            if name not in FIELDS:
                raise ConfigError(f"connection {conn_id!r}: there is no field {name!r}{nearest(name, FIELDS)}")
        values = {name: value for name, value in parts.items() if value not in ("", None, {})}
        return cls(**{**values, "conn_id": conn_id})

    def to_dict(self) -> dict[str, Any]:
        """The fields that are set, without the conn_id but with the secrets; `extra` as a dict."""
        values = {name: getattr(self, name) for name in FIELDS if name != "conn_id"}
        values["extra"] = self.extra_dejson
        return {name: value for name, value in values.items() if value not in ("", None, {})}

    def as_json(self) -> str:
        """The Connection as JSON, with its secrets."""
        return json.dumps(self.to_dict())

    def without_secrets(self) -> Connection:
        """The Connection as it may be shown: what is secret in it is `***`."""
        return self.from_dict(masker.masked(self.to_dict()), self.conn_id)

    # --- use ---

    @classmethod
    def get(cls, conn_id: str) -> Connection:
        """A Connection by its name; AirflowNotFoundException if there is none. See `Connections.get`."""
        found = from_environment("CONN", conn_id)
        if found:  # no database is needed
            return parsed(conn_id, found[1], found[0])
        with store_in_use() as store:
            return Connections(store).get(conn_id)

    def get_hook(self, *, hook_params: Mapping[str, Any] | None = None) -> Any:
        """The hook for this type of Connection."""
        if self.conn_type not in HOOKS:
            raise ConfigError(
                f"connection {self.conn_id!r}: there is no hook for the type {self.conn_type!r}"
                f"{nearest(self.conn_type, list(HOOKS)) or '; there are ' + ', '.join(HOOKS)}"
            )
        module, _, name = HOOKS[self.conn_type].rpartition(".")
        return getattr(import_module(module), name)(connection=self, **(hook_params or {}))

    def test_connection(self) -> tuple[bool, str]:
        """Whether the system can be reached with this Connection, and in words how that went."""
        try:
            return True, self.get_hook().test_connection()
        except EtlkitError as error:
            return False, masker.mask(str(error))

    def __repr__(self) -> str:
        shown = masker.masked({"conn_id": self.conn_id, **self.to_dict()})
        return f"Connection({', '.join(f'{name}={value!r}' for name, value in shown.items())})"


FIELDS = [field.name for field in fields(Connection)]


def normal_type(conn_type: str) -> str:
    """
    >>> normal_type("postgresql"), normal_type("google-cloud-platform")
    ('postgres', 'google_cloud_platform')
    """
    return "postgres" if conn_type == "postgresql" else conn_type.replace("-", "_")


def parsed(conn_id: str, text: str, source: str) -> Connection:
    """A Connection from the text of an environment variable or file: JSON if it begins with a brace, else a URI."""
    try:
        return (Connection.from_json if text.lstrip().startswith("{") else Connection.from_uri)(text, conn_id)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None


def _not_a_uri(conn_id: str) -> ConfigError:
    return ConfigError(
        f"connection {conn_id!r}: it is not a URI such as type://login:password@host:1234/schema?key=value; "
        "percent-encode what is not a letter or digit in a part of it (urllib.parse.quote), or write JSON"
    )


def _host(netloc: str, hostname: str | None) -> str:
    """The host of a URI: in lower case, unless it is a path."""
    host = unquote(hostname or "")
    return unquote(netloc.rpartition("@")[2].partition(":")[0]) if "/" in host else host


def _port(conn_id: str, port: Any) -> int | None:
    try:
        return int(port) if port not in (None, "") else None
    except (TypeError, ValueError):
        raise ConfigError(f"connection {conn_id!r}: its port is not a number") from None


def _extra_of(query: str) -> str | None:
    values = dict(parse_qsl(query, keep_blank_values=True))
    return values.get(WHOLE_EXTRA) or (json.dumps(values) if values else None)


class Connections:
    """The Connections of one metadata database, and those of the environment, which come first."""

    def __init__(self, store: Store) -> None:
        self.store = store
        use_configured_names()

    def __repr__(self) -> str:
        return f"<Connections of {self.store.name}: {', '.join(self.ids()) or 'none'}>"

    def get(self, conn_id: str) -> Connection:
        """A Connection by its name; AirflowNotFoundException if there is none."""
        found = from_environment("CONN", conn_id)
        if found:
            return parsed(conn_id, found[1], found[0])
        stored = self._stored(conn_id)
        if stored is None:
            raise self._not_found(conn_id)
        return stored

    def set(self, connection: Connection) -> None:
        """Store a Connection, its password and extra encrypted; one of that name is replaced."""
        with self.store.transaction():
            self._put(connection)

    def delete(self, conn_id: str) -> None:
        """Forget a Connection; AirflowNotFoundException if the database has none of that name."""
        with self.store.transaction():
            if not self.store.run_sql("DELETE FROM connection WHERE conn_id = :id", {"id": conn_id}).rowcount:
                raise self._not_found(conn_id)

    def ids(self) -> list[str]:
        """The names of the Connections in the database, sorted."""
        rows = self.store.run_sql("SELECT conn_id FROM connection ORDER BY conn_id").fetchall()
        return [conn_id for (conn_id,) in rows]

    def all(self) -> list[Connection]:
        """The Connections in the database, by name."""
        return [stored for conn_id in self.ids() if (stored := self._stored(conn_id))]

    def listed(self) -> Iterator[Connection]:
        """The same for a list of them: without password and extra where these do not open, as the key is lost."""
        for conn_id in self.ids():
            try:
                stored = self._stored(conn_id)
            except VaultError:
                stored = self._stored(conn_id, [name for name in FIELDS if name not in SECRET_FIELDS])
            if stored:
                yield stored

    def export(self, *, include_secrets: bool = False) -> dict[str, dict[str, Any]]:
        """All Connections of the database as one dict to be written as JSON: {conn_id: fields}.

        Secrets are `***` unless they are asked for.
        """
        exported = {connection.conn_id: connection.to_dict() for connection in self.all()}
        return exported if include_secrets else {conn_id: masker.masked(parts) for conn_id, parts in exported.items()}

    def load(self, values: Mapping[str, Any], *, on_existing: str = "overwrite") -> list[str]:
        """Store Connections from what `export` gave, or URIs by conn_id; returns the names of those that were stored.

        Where a secret is `***`, the one that is stored stays. ConfigError, before anything is stored, if there is none;
        or with `on_existing="fail"` if one of the Connections exists. `"skip"` leaves those that exist as they are.
        """
        existing = check_clashes("Connection", self.ids(), values, on_existing)
        with self.store.transaction():
            entries = [self._imported(conn_id, entry) for conn_id, entry in values.items() if conn_id not in existing]
            for connection in entries:
                self._put(connection)
        return [connection.conn_id for connection in entries]

    def _imported(self, conn_id: str, entry: Any) -> Connection:
        if isinstance(entry, str):
            entry = parsed(conn_id, entry, "the imported file").to_dict()
        if not isinstance(entry, Mapping):
            raise ConfigError(f"connection {conn_id!r}: it is neither a URI nor an object of {', '.join(FIELDS)}")
        stored = self._stored(conn_id)
        parts = masker.unmasked(dict(entry), stored.to_dict() if stored else {})
        if json.dumps(STARS) in json.dumps(parts):
            raise ConfigError(
                f"connection {conn_id!r} has a secret that is {STARS} in this file, which was exported without "
                "secrets, and none is stored; write it there; nothing was imported"
            )
        return Connection.from_dict(parts, conn_id)

    def _stored(self, conn_id: str, names: Sequence[str] = FIELDS) -> Connection | None:
        row = self.store.run_sql(f"SELECT {', '.join(names)} FROM connection WHERE conn_id = :id", {"id": conn_id})
        found = row.fetchone()
        if found is None:
            return None
        values = dict(zip(names, found, strict=True))
        for name in SECRET_FIELDS & {name for name, value in values.items() if value is not None}:
            values[name] = vault_of(self.store).decrypt(values[name], f"the {name} of connection {conn_id!r}")
        return Connection(**values)

    def _put(self, connection: Connection) -> None:
        values = {name: getattr(connection, name) for name in FIELDS}
        for name in SECRET_FIELDS:
            values[name] = values[name] and vault_of(self.store).encrypt(values[name])
        self.store.run_sql(
            f"""INSERT INTO connection ({", ".join(FIELDS)}) VALUES ({", ".join(f":{name}" for name in FIELDS)})
                ON CONFLICT (conn_id) DO UPDATE SET {", ".join(f"{name} = :{name}" for name in FIELDS)}""",
            values,
        )

    def _not_found(self, conn_id: str) -> AirflowNotFoundException:
        return AirflowNotFoundException(
            f"no Connection is called {conn_id!r} in the environment or in {self.store.name}"
            f"{nearest(conn_id, self.ids())}"
        )


SECRET_FIELDS = frozenset({"password", "extra"})
"""What is encrypted in the database."""


# --- what the masker should know from the start ---

ENVIRONMENT_NAME = re.compile(r"(?:ETLKIT|AIRFLOW)_(VAR|CONN)_(.+)")


def learn_secrets(store: Store) -> None:
    """Tell the masker the secrets of the environment, the configuration and the database, before any task runs.

    A task may come across them without asking for them: `env` in a Bash task prints them all. A value that cannot be
    read is a warning here, and an error for whoever asks for it.
    """
    use_configured_names()
    masker.mask_secret(conf.get("core", "fernet_key").split(","))
    environ = conf.current.environ
    for text in (*environ.values(), conf.get("database", "sql_alchemy_conn")):
        masker.mask_secret(list(map(unquote, URL_PASSWORD.findall(text))))
    for name, text in environ.items():
        if named := ENVIRONMENT_NAME.fullmatch(name):
            _learn_quietly(name, partial(LEARN[named[1]], named[2], text))
    _learn_quietly(store.name, Variables(store).export)
    _learn_quietly(store.name, Connections(store).all)


LEARN: Mapping[str, Callable[[str, str], object]] = {
    "VAR": learn_variable,
    "CONN": lambda conn_id, text: parsed(conn_id, text, "the environment"),
}
"""How the masker gets to know what an environment variable holds, by its kind."""


def _learn_quietly(source: str, learn: Callable[[], object]) -> None:
    try:
        learn()
    except (ConfigError, VaultError) as error:
        log.warning("secrets of %s cannot be read: %s", source, error)
