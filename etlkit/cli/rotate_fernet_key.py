"""`etlkit rotate-fernet-key`: Variables and Connections under a new key."""

from __future__ import annotations

import click


@click.command("rotate-fernet-key")
def rotate_fernet_key() -> None:
    """Encrypt all Variables and Connections anew, under another key.

    A key file gets a new key in front of the old ones, which stay since they open older backups. With [core] fernet_key
    set it to `new,old` first, and to `new` afterwards. If a value does not open with the keys there are, nothing
    changes.

    \b
    Example: etlkit rotate-fernet-key
    """
    from etlkit.cli.database import existing_store
    from etlkit.config import conf
    from etlkit.errors import VaultError
    from etlkit.vault import key_file, rotate

    text, source = conf.current.raw("core", "fernet_key")
    if text and len(text.split(",")) < 2:
        raise VaultError(
            f"{source} names one key, so there is none to change to; make one with `python -c 'from etlkit.vault "
            "import new_key; print(new_key())'`, set it to new,old, repeat this, then set it to new"
        )
    count = rotate(existing_store())
    click.echo(f"{count} values are encrypted under the first key of {source if text else key_file()}")
