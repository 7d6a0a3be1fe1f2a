"""`etlkit variables …`: settings for tasks. Values under sensitive names are `***` unless somebody asks for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from etlkit.cli.completion import variable_keys
from etlkit.cli.exchange import file_argument, format_option
from etlkit.cli.options import given, include_secrets_option, output_option
from etlkit.cli.tables import as_json, show, write

key_argument = click.argument("key", shell_complete=variable_keys)


@click.group()
def variables() -> None:
    """List, get, set, delete, import and export Variables: settings for tasks, encrypted in the metadata database.

    \b
    Example: etlkit variables list
    """


@variables.command("list")
@output_option
def list_variables(output: str) -> None:
    """List the Variables of the database with their values; what is secret in them is ***.

    Where the key that opens the values is lost or wrong, they are listed all the same, by their names.

    \b
    Example: etlkit variables list
    """
    from etlkit.cli.database import existing_store
    from etlkit.variables import Variables
    from etlkit.vault import CLOSED

    entries = Variables(existing_store()).listed()
    rows = [{"key": key, "value": entry.value, "description": entry.description} for key, entry in entries.items()]
    show(rows, output, empty="no Variables")
    closed = next((key for key, entry in entries.items() if entry.value == CLOSED), None)
    if closed is not None:
        click.echo(f"a value that {CLOSED} says why when it is asked for: etlkit variables get {closed}", err=True)


@variables.command()
@key_argument
@click.option("-j", "--json", "as_json_value", is_flag=True, help="its value is JSON: print it so")
@click.option("-d", "--default", help="what to print if there is none")
@include_secrets_option
def get(key: str, as_json_value: bool, default: str | None, include_secrets: bool) -> None:
    """Print the value of a Variable, of the environment or else of the database; what is secret in it is ***.

    \b
    Example: etlkit variables get airports --json --default '[]'
    """
    from etlkit.cli.database import must_be_there
    from etlkit.masking import STARS, masker
    from etlkit.variables import NOTSET, Variable, from_environment

    if from_environment("VAR", key) is None and default is None:
        must_be_there()
    value = Variable.get(key, NOTSET if default is None else default, deserialize_json=as_json_value)
    shown = value if include_secrets else masker.masked(value, key)
    write(shown + "\n" if isinstance(shown, str) else as_json(shown), secrets=include_secrets)
    if shown != value:
        click.echo(f"what is secret in Variable {key!r} is {STARS}; --include-secrets shows it", err=True)


@variables.command("set")
@key_argument
@click.argument("value")
@click.option("-j", "--json", "is_json", is_flag=True, help="VALUE is JSON")
@click.option("--description", help="what it is for")
def set_variable(key: str, value: str, is_json: bool, description: str | None) -> None:
    """Store a Variable, encrypted; one of that name is replaced. With - as VALUE it is asked for, or read from stdin.

    \b
    Example: etlkit variables set airports '["JFK", "LGA"]' --json --description "where we measure"
    """
    from etlkit.cli.database import open_store
    from etlkit.variables import Variables

    text = given(value, key)
    Variables(open_store()).set(key, _parsed(key, text) if is_json else text, description, serialize_json=is_json)
    click.echo(f"Variable {key!r} is set")


def _parsed(key: str, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise click.UsageError(f"the value of {key!r} is not JSON: {error.msg} at column {error.colno}") from None


@variables.command()
@key_argument
def delete(key: str) -> None:
    """Forget a Variable of the database.

    \b
    Example: etlkit variables delete airports
    """
    from etlkit.cli.database import existing_store
    from etlkit.variables import Variables

    Variables(existing_store()).delete(key)
    click.echo(f"Variable {key!r} is deleted")


@variables.command("import")
@file_argument
@click.option(
    "-a",
    "--action-on-existing-key",
    "on_existing",
    type=click.Choice(["overwrite", "fail", "skip"]),
    default="overwrite",
    show_default=True,
    help="what to do with those that exist",
)
@format_option("json", "yaml", "env")
def import_variables(file: Path, on_existing: str, form: str | None) -> None:
    """Store the Variables of FILE, all or none; - is stdin. Where a secret is ***, the stored one stays.

    \b
    Example: etlkit variables import settings.json --action-on-existing-key skip
    """
    from etlkit.cli.database import open_store
    from etlkit.cli.exchange import imported, read_entries
    from etlkit.variables import Variables

    values = read_entries(file, form)
    names = Variables(open_store()).load(values, on_existing=on_existing)
    click.echo(imported(names, values, "Variables"))


@variables.command("export")
@file_argument
@format_option("json", "yaml")
@include_secrets_option
def export_variables(file: Path, form: str | None, include_secrets: bool) -> None:
    """Write the Variables of the database into FILE, which only you can read; - prints them. Secrets are ***.

    \b
    Example: etlkit variables export settings.json
    """
    from etlkit.cli.database import existing_store
    from etlkit.cli.exchange import write_entries
    from etlkit.variables import Variables

    values = Variables(existing_store()).export(include_secrets=include_secrets)
    write_entries(file, values, form, "Variables", secrets=include_secrets)
