"""Files of Variables, Connections and pools: JSON, YAML, or lines of NAME=value; `-` is the terminal.

A file that is written can be read by its owner alone, and takes the place of an older one only once it is whole. What
is wrong with a file is told without a word of what is in it, since that may be secret.

>>> entries("airport: JFK\\nhours: [6, 18]\\n", "yaml", "settings.yaml")
{'airport': 'JFK', 'hours': [6, 18]}
>>> entries("# morning\\nairport=JFK\\n", "env", "settings.env")
{'airport': 'JFK'}
>>> entries("[1]", "json", "settings.json")
Traceback (most recent call last):
etlkit.errors.ConfigError: settings.json holds no object of names and values
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import click

from etlkit.cli.tables import as_json, plain_values, write
from etlkit.errors import ConfigError
from etlkit.masking import STARS

NO_FILE = Path("-")
SUFFIXES = {".json": "json", ".yaml": "yaml", ".yml": "yaml", ".env": "env"}

file_argument = click.argument("file", type=click.Path(path_type=Path))


def format_option(*formats: str) -> Callable[..., Any]:
    """`--file-format`, which of `formats` a file is in."""
    described = "how it is written  [default: as its name ends, or json]"
    return click.option("--file-format", "--format", "form", type=click.Choice(formats), help=described)


def form_of(file: Path, form: str | None) -> str:
    """What a file is written in: what was said, or what its name says."""
    return form or SUFFIXES.get(file.suffix.lower(), "json")


def read_entries(file: Path, form: str | None = None) -> dict[str, Any]:
    """What a file holds, by name; ConfigError if it cannot be read or is not what it should be."""
    try:
        text = sys.stdin.read() if file == NO_FILE else file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{file} is not text in UTF-8") from None
    return entries(text, form_of(file, form), str(file))


def entries(text: str, form: str, name: str) -> dict[str, Any]:
    """What a text holds, by name; ConfigError, naming it, if it is not what it should be."""
    found = READERS[form](text, name)
    if not isinstance(found, dict):
        raise ConfigError(f"{name} holds no object of names and values")
    return plain_values(found)


def _from_json(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{name} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None


def _from_yaml(text: str, name: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise ConfigError(f"{name} is not YAML{f', at line {mark.line + 1}' if mark else ''}") from None


def _from_env(text: str, name: str) -> dict[str, str]:
    found = {}
    for number, line in enumerate(text.splitlines(), start=1):
        key, equals, value = line.partition("=")
        if not equals and line.strip() and not line.lstrip().startswith("#"):
            raise ConfigError(f"{name}:{number}: a line is NAME=value")
        if equals and not line.lstrip().startswith("#"):
            found[key.strip()] = value.strip()
    return found


READERS: Mapping[str, Callable[[str, str], Any]] = {"json": _from_json, "yaml": _from_yaml, "env": _from_env}


def _as_yaml(values: Mapping[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(plain_values(values), allow_unicode=True, sort_keys=False)


def _as_env(values: Mapping[str, str]) -> str:
    return "".join(f"{name}={value}\n" for name, value in values.items())


WRITERS: Mapping[str, Callable[[Any], str]] = {"json": as_json, "yaml": _as_yaml, "env": _as_env}


def write_entries(file: Path, values: Mapping[str, Any], form: str | None, what: str, *, secrets: bool) -> None:
    """Write `values` into a file, or print them, and say so; `secrets` says that they are in there as they are."""
    text = WRITERS[form_of(file, form)](values)
    if file == NO_FILE:
        write(text, secrets=secrets)
    else:
        write_private(file.resolve(), text)
    hidden = "" if secrets or STARS not in text else "; secrets are *** in it, unless you add --include-secrets"
    click.echo(f"exported {len(values)} {what} to {'stdout' if file == NO_FILE else file}{hidden}", err=True)


def write_private(file: Path, text: str) -> None:
    """Put a file that only its owner can read in the place of `file`; ConfigError if that is not possible."""
    from etlkit.vault import private_file

    if file.exists() and not file.is_file():
        raise ConfigError(f"{file} is not a file; name another one, or - to print")
    draft = file.with_name(f".{file.name}.{uuid4().hex}")
    try:
        with private_file(draft) as stream:
            stream.write(text)
        draft.replace(file)
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror}") from None
    finally:
        draft.unlink(missing_ok=True)


def imported(names: list[str], of: Mapping[str, Any], what: str) -> str:
    """What an import did, in words."""
    left = len(of) - len(names)
    return f"imported {len(names)} {what}" + (f"; {left} that exist were left as they are" if left else "")
