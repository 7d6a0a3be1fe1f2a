"""The command line: `etlkit dags list`, `etlkit tasks test …`; names and positions are those of Airflow's own.

Wrong use, and everything the kit refuses, is one line on stderr and exit code 2. A run that failed is exit code 1. An
exception that is not the kit's own is a mistake in the kit, and keeps its traceback.

Modules here import what they need inside each command, so that a command starts as fast as it can.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from etlkit._version import __version__
from etlkit.errors import EtlkitError

GROUPS = (
    *("dags", "tasks", "backfill", "scheduler", "worker", "doctor", "logs"),
    *("assets", "variables", "connections", "pools", "config", "rotate-fernet-key", "db", "completion"),
)
"""Commands and groups of them: each is in a module of its name, which is imported when it is asked for."""


class RefusedError(click.ClickException):
    """One of the kit's own errors, as the command line shows it."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        from etlkit.cli.tables import without_secrets

        click.echo(f"etlkit: {' '.join(without_secrets(self.message).split())}", file=file, err=file is None)


@contextmanager
def refusals() -> Iterator[None]:
    """Turn the kit's own errors, and wrong use of a command, into one line."""
    try:
        yield
    except EtlkitError as error:
        raise RefusedError(str(error)) from error
    except click.exceptions.NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        see = f"; see: {error.ctx.command_path} --help" if error.ctx else ""
        raise RefusedError(error.format_message().rstrip(".") + see) from error
    except BrokenPipeError:
        raise  # whoever read the output has gone, which is no error
    except OSError as error:
        raise RefusedError(_system_trouble(error)) from error
    except Exception as error:
        if (trouble := _database_trouble(error)) is None:
            raise
        raise trouble from error


def _system_trouble(error: OSError) -> str:
    """What the operating system refused, and what to do about it."""
    what = f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")
    return f"{what}; {SYSTEM_ADVICE.get(error.errno or 0, 'look at what is wrong there and repeat the command')}"


SYSTEM_ADVICE = {
    errno.ENOSPC: "make room, or set ETLKIT_HOME or [logging] base_log_folder to another disk; then repeat the command",
    errno.EACCES: "allow this user to write there, or set ETLKIT_HOME to a folder of your own",
    errno.EROFS: "it cannot be written; set ETLKIT_HOME to a folder of your own",
}


def _database_trouble(error: Exception) -> RefusedError | None:
    """What is wrong with the database's file, if the error is about that: damage may show only while rows are read."""
    name = getattr(error, "sqlite_errorname", None)
    if name is None:
        return None
    from etlkit.cli.database import database_name
    from etlkit.database import SQLITE_ADVICE, explained

    known = name.startswith(tuple(SQLITE_ADVICE))
    return RefusedError(str(explained(error, database_name()))) if known else None


class RootGroup(click.Group):
    """The `etlkit` command: finds groups when they are asked for, and turns errors into one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*GROUPS, *self.commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in GROUPS:
            name = cmd_name.replace("-", "_")
            return getattr(import_module(f"etlkit.cli.{name}"), name)
        return super().get_command(ctx, cmd_name)

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with refusals():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        with refusals():
            return super().invoke(ctx)


@click.group(cls=RootGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(version)s")
def cli() -> None:
    """Learn and run data pipelines: Airflow's ideas on a laptop.

    \b
    Example: etlkit demo
    """


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=Path("etlkit-demo"))
def demo(folder: Path) -> None:
    """Run a real pipeline end to end: New York's weather of January 2013, into FOLDER (./etlkit-demo).

    \b
    Example: etlkit demo
    """
    from etlkit.demo import main

    main(folder)


@cli.command()
def version() -> None:
    """Print the version.

    \b
    Example: etlkit version
    """
    click.echo(__version__)


def main() -> None:
    """The `etlkit` program: warnings are one line each, and nothing that it prints shows a secret.

    Standard output is the kit's alone: what programs print that tasks start would stand amid the JSON that a script
    reads. It goes to the log of the try, or else to stderr, as what tasks say does.
    """
    import warnings

    from etlkit import child_output
    from etlkit.masking import MaskedStream, masker

    child_output.owns_descriptors = sys.stderr is not None  # None: it was closed by whoever started the program
    stdout = child_output.own(1, sys.stdout)
    stderr = child_output.own(2, sys.stderr) if child_output.owns_descriptors else sys.stderr
    sys.stdout, sys.stderr = MaskedStream(stdout), MaskedStream(stderr)
    os.dup2(2, 1)
    sys.excepthook = masker.excepthook
    warnings.formatwarning = lambda message, category, filename, lineno, line=None: (
        f"etlkit: warning: {filename}:{lineno}: {message}\n"
    )
    cli(prog_name="etlkit")
