"""`etlkit config …`: the settings in force, without what is secret in them."""

from __future__ import annotations

import re

import click

from etlkit.cli.options import output_option
from etlkit.cli.tables import show
from etlkit.config import OPTIONS, conf

KEYS = frozenset({"fernet_key"})
"""Options that are secret as a whole, besides those whose names say so."""

PASSWORD = re.compile(r"(://[^/:@\s]*:).*@", re.DOTALL)
"""The password in a URL, up to the last @: it may hold others."""

QUERY = re.compile(r"([?&]([^=&\s]+)=)[^&\s]+")
"""A name and value after the ? of a URL."""


@click.group()
def config() -> None:
    """List the settings, and get one: from etlkit.cfg, the environment, or their defaults.

    \b
    Example: etlkit config list --section core
    """


@config.command("list")
@click.option("--section", type=click.Choice(sorted({section for section, _ in OPTIONS})), help="only one section")
@click.option("-d", "--include-descriptions", is_flag=True, help="say what each is for")
@output_option
def list_options(section: str | None, include_descriptions: bool, output: str) -> None:
    """List all settings: their values, without secrets, and where each comes from.

    \b
    Example: etlkit config list --section core --include-descriptions
    """
    rows = []
    for (of_section, key), option in OPTIONS.items():
        if section in (None, of_section):
            text, source = conf.current.raw(of_section, key)
            meaning = {"description": option.meaning} if include_descriptions else {}
            rows.append({"section": of_section, "key": key, "value": shown(key, text), "source": source, **meaning})
    show(rows, output, spare=("source",))


@config.command("get-value")
@click.argument("section")
@click.argument("key")
def get_value(section: str, key: str) -> None:
    """Print the value of one setting, without secrets.

    \b
    Example: etlkit config get-value core dags_folder
    """
    conf.get(section, key)  # refuses a key that there is not, and a text that means nothing
    click.echo(shown(key, conf.current.raw(section, key)[0]))


def shown(key: str, text: str) -> str:
    """The text of a setting as it may be seen.

    >>> shown("fernet_key", "JbJ…="), shown("sql_alchemy_conn", "postgresql://etl:p@ss@db/etlkit")
    ('***', 'postgresql://etl:***@db/etlkit')
    >>> shown("sql_alchemy_conn", "postgresql://db/etlkit?user=etl&password=p@ss")
    'postgresql://db/etlkit?user=etl&password=***'
    """
    from etlkit.masking import STARS, masker

    if text and (key in KEYS or masker.should_hide_value_for_key(key)):
        return STARS
    without_password = PASSWORD.sub(rf"\1{STARS}@", text)
    return QUERY.sub(lambda m: m[1] + STARS if masker.should_hide_value_for_key(m[2]) else m[0], without_password)
