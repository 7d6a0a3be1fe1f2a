"""Variables: settings for tasks, by name, that live outside the code.

`Variable.get("airport")` looks, in this order, into the environment (`ETLKIT_VAR_AIRPORT`, or Airflow's
`AIRFLOW_VAR_AIRPORT`) and into the metadata database, where values are encrypted. Inside a task that is the database
which the task runs from; elsewhere it is the configured one. `Variables(store)` are those of one database, such as a
Lab's.

The value of a Variable with a sensitive name (see `etlkit.masking`) is hidden in every log, page and error once it was
read, and so are values under sensitive keys inside a JSON value.

>>> from etlkit.store import Store
>>> variables = Variables(Store("sqlite://"))
>>> variables.set("airports", ["JFK", "LGA"], serialize_json=True)
>>> variables.get("airports", deserialize_json=True)
['JFK', 'LGA']
>>> variables.get("airlines", default=None)
>>> variables.set("weather_api_key", "26115rows")
>>> variables.export()
{'airports': ['JFK', 'LGA'], 'weather_api_key': '***'}
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from etlkit.config import conf
from etlkit.dag import current_context
from etlkit.errors import AirflowNotFoundException, ConfigError, nearest
from etlkit.masking import STARS, masker
from etlkit.store import Store
from etlkit.vault import CLOSED, texts_to_list, vault_of

log = logging.getLogger("etlkit.variables")

NOTSET: Any = object()
"""Stands for an argument that was not given, where None is a value."""

ENVIRONMENT = ("ETLKIT_{kind}_{name}", "AIRFLOW_{kind}_{name}")
"""Environment variables that come before the metadata database; `kind` is VAR or CONN, the name in upper case."""


class Entry(NamedTuple):
    """The value of a Variable, and what was noted about it."""

    value: Any
    description: str | None


class Variables:
    """The Variables of one metadata database, and those of the environment, which come first."""

    def __init__(self, store: Store) -> None:
        self.store = store
        use_configured_names()

    def __repr__(self) -> str:
        return f"<Variables of {self.store.name}: {', '.join(self.keys()) or 'none'}>"

    def get(self, key: str, default: Any = NOTSET, deserialize_json: bool = False) -> Any:
        """The value of a Variable: text, or with `deserialize_json` what the text means as JSON.

        Without `default`, AirflowNotFoundException if there is no such Variable; ConfigError if the text is not JSON.
        """
        found = from_environment("VAR", key)
        text = found[1] if found else self._stored(key)
        if text is None:
            if default is NOTSET:
                raise AirflowNotFoundException(
                    f"no Variable is called {key!r} in the environment or in {self.store.name}"
                    f"{nearest(key, self.keys())}"
                )
            masker.mask_secret(default, key)
            return default
        return value_of(key, text, deserialize_json)

    def set(self, key: str, value: Any, description: str | None = None, serialize_json: bool = False) -> None:
        """Store a Variable, encrypted: `str(value)`, or its JSON; one of that name is replaced."""
        with self.store.transaction():
            self._put(key, value, description, serialize_json)

    def _put(self, key: str, value: Any, description: str | None, serialize_json: bool) -> None:
        if not isinstance(key, str) or not key.strip():
            raise ConfigError(f"a Variable needs a name, not {key!r}")
        text = _json(value) if serialize_json else str(value)
        learn_variable(key, text)
        self._warn_if_shadowed(key)
        self.store.run_sql(
            """INSERT INTO variable (key, val, description) VALUES (:key, :val, :description)
               ON CONFLICT (key) DO UPDATE SET val = :val, description = :description""",
            {"key": key, "val": vault_of(self.store).encrypt(text), "description": description},
        )

    def delete(self, key: str) -> None:
        """Forget a Variable; AirflowNotFoundException if the database has none of that name."""
        with self.store.transaction():
            if not self.store.run_sql("DELETE FROM variable WHERE key = :key", {"key": key}).rowcount:
                raise AirflowNotFoundException(
                    f"no Variable is called {key!r} in {self.store.name}{nearest(key, self.keys())}"
                )
        self._warn_if_shadowed(key)

    def keys(self, prefix: str = "") -> list[str]:
        """The names of the Variables in the database, sorted; those that begin with `prefix`."""
        rows = self.store.run_sql("SELECT key FROM variable ORDER BY key").fetchall()
        return [key for (key,) in rows if key.startswith(prefix)]

    def description(self, key: str) -> str | None:
        """What was noted when the Variable was set."""
        row = self.store.run_sql("SELECT description FROM variable WHERE key = :key", {"key": key}).fetchone()
        return row[0] if row else None

    def all(self, *, include_secrets: bool = False) -> dict[str, Entry]:
        """The Variables of the database by name, what `serialize_json` wrote as what it means.

        Secrets are `***` unless they are asked for.
        """
        vault = vault_of(self.store)
        return {
            key: _entry(key, vault.decrypt(token, f"Variable {key!r}"), description, include_secrets)
            for key, token, description in self._rows()
        }

    def listed(self) -> dict[str, Entry]:
        """The same without secrets, and with `CLOSED` for each value that does not open: its key is lost or wrong."""
        rows = self._rows()
        texts = texts_to_list(self.store, [token for _, token, _ in rows])
        return {
            key: Entry(CLOSED, description) if text is None else _entry(key, text, description)
            for (key, _, description), text in zip(rows, texts, strict=True)
        }

    def _rows(self) -> Sequence[tuple[str, str, str | None]]:
        return self.store.run_sql("SELECT key, val, description FROM variable ORDER BY key").fetchall()

    # --- export and import ---

    def export(self, *, include_secrets: bool = False) -> dict[str, Any]:
        """All Variables of the database as one dict to be written as JSON: {name: value}, as Airflow exports them.

        A value that `serialize_json` wrote is given as what it means. One with a description is given as
        {"value": value, "description": text}. Secrets are `***` unless they are asked for.
        """
        exported: dict[str, Any] = {}
        for key, entry in self.all(include_secrets=include_secrets).items():
            wrapped = entry.description is not None or (isinstance(entry.value, dict) and "value" in entry.value)
            exported[key] = entry._asdict() if wrapped else entry.value
        return exported

    def load(self, values: Mapping[str, Any], *, on_existing: str = "overwrite") -> list[str]:
        """Set Variables from what `export` gave; returns the names of those that were set.

        Where a secret is `***`, the one that is stored stays. ConfigError, before anything is set, if there is none; or
        with `on_existing="fail"` if one of the Variables exists. `"skip"` leaves those that exist as they are.
        """
        existing = check_clashes("Variable", self.keys(), values, on_existing)
        with self.store.transaction():
            entries = {key: self._imported(key, value) for key, value in values.items() if key not in existing}
            for key, (value, description) in entries.items():
                self._put(key, value, description, serialize_json=not isinstance(value, str))
        return list(entries)

    def _imported(self, key: str, entry: Any) -> tuple[Any, str | None]:
        value, description = entry, None
        if isinstance(entry, dict) and "value" in entry and entry.keys() <= {"value", "description"}:
            value, description = entry["value"], entry.get("description")
        stored = self._stored(key)
        if stored is not None:
            learn_variable(key, stored)
            value = masker.unmasked(value, _meaning(stored), key)
        if json.dumps(STARS) in json.dumps(value):
            raise ConfigError(
                f"Variable {key!r} is {STARS} in this file, which was exported without secrets, and none is stored; "
                "write its value there; nothing was imported"
            )
        return value, description

    # --- where values are ---

    def _stored(self, key: str) -> str | None:
        row = self.store.run_sql("SELECT val FROM variable WHERE key = :key", {"key": key}).fetchone()
        return vault_of(self.store).decrypt(row[0], f"Variable {key!r}") if row else None

    def _warn_if_shadowed(self, key: str) -> None:
        found = from_environment("VAR", key)
        if found:
            log.warning("Variable %r is read from the environment variable %s, whatever is stored", key, found[0])


def _entry(key: str, text: str, description: str | None, include_secrets: bool = False) -> Entry:
    learn_variable(key, text)
    value = _meaning(text)
    return Entry(value if include_secrets else masker.masked(value, key), description)


def learn_variable(key: str, text: str) -> None:
    """Tell the masker what is secret in the value of a Variable: all of it, or what sensitive keys in its JSON hold."""
    masker.mask_secret(text, key)
    with contextlib.suppress(ValueError):
        masker.learn(json.loads(text), key)


def value_of(key: str, text: str, deserialize_json: bool) -> Any:
    """What the text of a Variable stands for, its secrets made known; ConfigError if it ought to be JSON and is not."""
    learn_variable(key, text)
    try:
        return json.loads(text) if deserialize_json else text
    except ValueError as error:
        where = f" at line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise ConfigError(
            f"Variable {key!r} is not JSON{where}; get it without deserialize_json, or set it with serialize_json=True"
        ) from None


def _meaning(text: str) -> Any:
    """What `serialize_json` made the text from, or the text itself."""
    with contextlib.suppress(ValueError):
        value = json.loads(text)
        if not isinstance(value, str) and _json(value) == text:
            return value
    return text


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def use_configured_names() -> None:
    """Let the masker take names that contain a part in `[core] sensitive_var_conn_names` for sensitive, too."""
    parts = conf.get("core", "sensitive_var_conn_names").split(",")
    masker.names |= {part.strip().lower() for part in parts} - {""}


def check_clashes(kind: str, stored: Sequence[str], imported: Iterable[str], on_existing: str) -> set[str]:
    """Which names an import leaves out, as they exist; ConfigError if `on_existing` is "fail" and there are any."""
    clashes = sorted(set(stored) & set(imported))
    match on_existing:
        case "overwrite":
            return set()
        case "skip":
            return set(clashes)
        case "fail" if clashes:
            raise ConfigError(f"{kind} {clashes[0]!r} exists already; nothing was imported")
        case "fail":
            return set()
    raise ConfigError(f"on_existing is overwrite, skip or fail, not {on_existing!r}")


# --- which environment, which database ---


def from_environment(kind: str, name: str) -> tuple[str, str] | None:
    """The environment variable that holds a Variable or Connection, and its text; None if there is none."""
    for pattern in ENVIRONMENT:
        variable = pattern.format(kind=kind, name=name.upper())
        if variable in conf.current.environ:
            return variable, conf.current.environ[variable]
    return None


@contextlib.contextmanager
def store_in_use() -> Iterator[Store]:
    """The metadata database that code means which names none: that of the running task, or else the configured one."""
    context = current_context.get()
    if context is not None:
        yield context["ti"].store if "ti" in context else context["store"]  # the latter in callbacks of a whole run
        return
    url = conf.get("database", "sql_alchemy_conn")
    if url.startswith(f"sqlite:///{conf.current.home}"):
        conf.current.home.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(Store(url)) as store:
        yield store


class Variable:
    """Variables as `airflow.sdk.Variable` has them: those of the running task's database, or of the configured one."""

    @staticmethod
    def get(key: str, default: Any = NOTSET, deserialize_json: bool = False) -> Any:
        """The value of a Variable; see `Variables.get`."""
        found = from_environment("VAR", key)
        if found:  # no database is needed
            return value_of(key, found[1], deserialize_json)
        with store_in_use() as store:
            return Variables(store).get(key, default, deserialize_json)

    @staticmethod
    def set(key: str, value: Any, description: str | None = None, serialize_json: bool = False) -> None:
        """Store a Variable; see `Variables.set`."""
        with store_in_use() as store:
            Variables(store).set(key, value, description, serialize_json)

    @staticmethod
    def delete(key: str) -> None:
        """Forget a Variable; see `Variables.delete`."""
        with store_in_use() as store:
            Variables(store).delete(key)

    @staticmethod
    def keys(prefix: str | None = None) -> list[str]:
        """The names of the stored Variables, those that begin with `prefix`."""
        with store_in_use() as store:
            return Variables(store).keys(prefix or "")
