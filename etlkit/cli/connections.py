"""`etlkit connections …`: outside systems. Passwords and other secrets are `***` unless somebody asks for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from etlkit.cli.completion import connection_ids
from etlkit.cli.exchange import file_argument, format_option
from etlkit.cli.options import include_secrets_option, output_option
from etlkit.cli.tables import show, show_fields
from etlkit.masking import STARS

if TYPE_CHECKING:
    from etlkit.connections import Connection

conn_id_argument = click.argument("conn_id", metavar="CONN_ID", shell_complete=connection_ids)


@click.group()
def connections() -> None:
    """List, get, add, delete, test, import and export Connections: outside systems and how to reach them.

    \b
    Example: etlkit connections list
    """


@connections.command("list")
@output_option
def list_connections(output: str) -> None:
    """List the Connections of the database, without their passwords and extras.

    \b
    Example: etlkit connections list
    """
    from etlkit.cli.database import existing_store
    from etlkit.connections import Connections

    names = ("conn_id", "conn_type", "host", "port", "login", "schema", "description")
    stored = Connections(existing_store()).listed()
    rows = [{name: getattr(connection, name) for name in names} for connection in stored]
    show(rows, output, empty="no Connections", spare=("description", "port", "login"))


@connections.command()
@conn_id_argument
@include_secrets_option
@output_option
def get(conn_id: str, include_secrets: bool, output: str) -> None:
    """Show a Connection, of the environment or else of the database; what is secret in it is ***.

    \b
    Example: etlkit connections get warehouse
    """
    connection = _found(conn_id)
    fields = {"conn_id": conn_id, **connection.to_dict()}
    uri = connection.get_uri() if include_secrets else _with_stars(connection.without_secrets())
    show_fields({**fields, "uri": uri}, output, secrets=include_secrets)


def _with_stars(connection: Connection) -> str:
    """The URI of a Connection whose secrets are stars: the stars are not percent-encoded, so that people see them."""
    return connection.get_uri().replace(quote(STARS), STARS)


def _found(conn_id: str) -> Connection:
    from etlkit.cli.database import must_be_there
    from etlkit.connections import Connection
    from etlkit.variables import from_environment

    if from_environment("CONN", conn_id) is None:
        must_be_there()
    return Connection.get(conn_id)


@connections.command()
@conn_id_argument
@click.option("--conn-uri", help="all of it as type://login:password@host:port/schema?key=value")
@click.option("--conn-json", help="all of it as a JSON object")
@click.option("--conn-type", help="postgres, sqlite, duckdb, http, slackwebhook …")
@click.option("--conn-description", help="what it is for")
@click.option("--conn-host", help="a name or address; of SQLite and DuckDB the file")
@click.option("--conn-login", help="the user")
@click.option("--conn-password", help="the password; - asks for it, or reads it from stdin")
@click.option("--conn-schema", help="the database")
@click.option("--conn-port", type=int, help="the port")
@click.option("--conn-extra", help="what else the hook takes, as a JSON object")
def add(conn_id: str, conn_uri: str | None, conn_json: str | None, **fields: Any) -> None:
    """Store a new Connection, its password and extra encrypted.

    \b
    Example: etlkit connections add warehouse --conn-type postgres --conn-host db.example.org --conn-password -
    """
    from etlkit.cli.database import open_store
    from etlkit.connections import Connections
    from etlkit.errors import ConfigError

    connection = _described(conn_id, conn_uri, conn_json, fields)
    stored = Connections(open_store())
    if conn_id in stored.ids():
        raise ConfigError(f"there is a Connection {conn_id!r}; delete it first: etlkit connections delete {conn_id}")
    stored.set(connection)
    click.echo(f"Connection {conn_id!r} is added")


def _described(conn_id: str, uri: str | None, text: str | None, fields: Mapping[str, Any]) -> Connection:
    """The Connection that the options of `add` describe, in one of three ways."""
    from etlkit.cli.options import given
    from etlkit.connections import Connection

    parts = {name.removeprefix("conn_"): value for name, value in fields.items() if value is not None}
    if [uri is not None, text is not None, bool(parts)].count(True) != 1:
        raise click.UsageError("say how to reach it with --conn-uri, with --conn-json, or with --conn-type and so on")
    if uri is not None:
        return Connection.from_uri(given(uri, "URI"), conn_id)
    if text is not None:
        return Connection.from_json(given(text, "JSON"), conn_id)
    if "type" not in parts:
        raise click.UsageError("say what it is with --conn-type")
    if "password" in parts:
        parts["password"] = given(parts["password"], "password")
    return Connection.from_dict({"conn_type": parts.pop("type"), **parts}, conn_id)


@connections.command()
@conn_id_argument
def delete(conn_id: str) -> None:
    """Forget a Connection of the database.

    \b
    Example: etlkit connections delete warehouse
    """
    from etlkit.cli.database import existing_store
    from etlkit.connections import Connections

    Connections(existing_store()).delete(conn_id)
    click.echo(f"Connection {conn_id!r} is deleted")


@connections.command()
@conn_id_argument
def test(conn_id: str) -> None:
    """Reach what a Connection leads to, say how that went, and exit with 1 if it failed.

    \b
    Example: etlkit connections test warehouse
    """
    reached, message = _found(conn_id).test_connection()
    click.echo(f"Connection {conn_id!r}: {message}" if reached else f"etlkit: {message}", err=not reached)
    raise SystemExit(not reached)


@connections.command("import")
@file_argument
@click.option("--overwrite", is_flag=True, help="replace those that exist; else they stay as they are")
@format_option("json", "yaml", "env")
def import_connections(file: Path, overwrite: bool, form: str | None) -> None:
    """Store the Connections of FILE, all or none; - is stdin. Each is an object or a URI; lines are CONN_ID=URI.

    \b
    Example: etlkit connections import connections.yaml --overwrite
    """
    from etlkit.cli.database import open_store
    from etlkit.cli.exchange import imported, read_entries
    from etlkit.connections import Connections

    values = read_entries(file, form)
    names = Connections(open_store()).load(values, on_existing="overwrite" if overwrite else "skip")
    click.echo(imported(names, values, "Connections"))


@connections.command("export")
@file_argument
@format_option("json", "yaml", "env")
@click.option(
    "--serialization-format",
    type=click.Choice(["uri", "json"]),
    default="uri",
    show_default=True,
    help="what stands in a line of NAME=value",
)
@include_secrets_option
def export_connections(file: Path, form: str | None, serialization_format: str, include_secrets: bool) -> None:
    """Write the Connections of the database into FILE, which only you can read; - prints them. Secrets are ***.

    \b
    Example: etlkit connections export connections.env --include-secrets
    """
    from etlkit.cli.database import existing_store
    from etlkit.cli.exchange import form_of, write_entries
    from etlkit.connections import Connection, Connections

    values: dict[str, Any] = Connections(existing_store()).export(include_secrets=include_secrets)
    if form_of(file, form) == "env":
        as_line = LINES[serialization_format]
        values = {name: as_line(Connection.from_dict(parts, name)) for name, parts in values.items()}
    write_entries(file, values, form, "Connections", secrets=include_secrets)


LINES: Mapping[str, Callable[[Connection], str]] = {"uri": _with_stars, "json": lambda connection: connection.as_json()}
"""How a Connection is written on one line."""
