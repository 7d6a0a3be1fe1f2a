"""`etlkit worker`: a Celery worker, which makes the attempts that the scheduler leaves in the broker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    import logging

    from celery import Celery

ALL_QUEUES = "take only tasks of these queues, by commas  [default: that of [operators] default_queue]"
SLOTS = "how many tasks at once  [default: [celery] worker_concurrency]"
NAME = "its name, which no other worker may have; %h is the machine  [default: etlkit-PID@%h]"


@click.command()
@click.option("-q", "--queues", metavar="NAMES", help=ALL_QUEUES)
@click.option("-c", "--concurrency", type=click.IntRange(min=1), help=SLOTS)
@click.option("-H", "--celery-hostname", metavar="NAME", help=NAME)
def worker(queues: str | None, concurrency: int | None, celery_hostname: str | None) -> None:
    """Make the attempts that a scheduler with CeleryExecutor leaves in the broker, until Ctrl-C.

    It needs the scheduler's [database] sql_alchemy_conn, [celery] broker_url and fernet.key, and the same DAG files in
    its own [core] dags_folder; the machine may be another one. Ctrl-C (or SIGTERM) lets the tasks that are running come
    to their end. Killed at any moment, what it was at is made again elsewhere. Flower shows all workers; start it with
    celery -A etlkit.executors.celery_app flower.

    \b
    Example: etlkit worker --queues default,heavy --concurrency 4
    """
    from os import getpid

    from etlkit.cli.database import database_name
    from etlkit.config import conf

    slots = concurrency or conf.get("celery", "worker_concurrency")
    names = queues or conf.get("operators", "default_queue")
    app = _application()
    _check_database()
    click.echo(f"{slots} slots for tasks of {names}, on {database_name()}; stop with Ctrl-C", err=True)
    raise SystemExit(_run(app, names, slots, celery_hostname or f"etlkit-{getpid()}@%h"))


def _application() -> Celery:
    """Celery's application; ConfigError if Celery is not installed or the broker is not named rightly."""
    from etlkit.errors import ConfigError

    try:
        from etlkit.executors.celery_app import broker_url, make_app
    except ImportError:
        raise ConfigError("a Celery worker needs celery; run: pip install 'etlkit[cluster]'") from None
    broker_url()
    return make_app()


def _check_database() -> None:
    """Refuse a database that cannot be shared or used; one that is only away now may be back for the first task."""
    from etlkit.cli.database import database_url
    from etlkit.database import Unreachable, parse_url
    from etlkit.executors.celery import check_shared
    from etlkit.store import Store

    check_shared(parse_url(database_url()))
    try:
        Store(database_url()).close()  # no connection may be open when the processes of the slots are forked
    except Unreachable as error:
        click.echo(f"etlkit: {error}; the worker waits for it", err=True)


def _run(app: Celery, queues: str, slots: int, name: str) -> int:
    """Work until somebody asks to stop; the exit code."""
    from warnings import filterwarnings

    from celery.signals import setup_logging, worker_process_init
    from celery.utils.nodenames import default_nodename, host_format

    from etlkit.child_output import collect

    def in_each_slot(**_: object) -> None:
        collect()

    def log_to_stderr(**_: object) -> None:
        _log_to_stderr()

    filterwarnings("ignore", "You're running the worker with superuser privileges")  # which is dangerous with pickle
    setup_logging.connect(log_to_stderr)
    worker_process_init.connect(in_each_slot)
    running = app.Worker(
        hostname=host_format(default_nodename(name)),
        queues=queues,
        concurrency=slots,
        pool_cls="prefork",
        optimization="fair",
        quiet=True,
        without_mingle=True,
        without_gossip=True,
    )
    running.start()
    return running.exitcode or 0


TOLD = ("celery", "kombu", "etlkit.worker")
"""The loggers, with those below them, that a worker writes to stderr; what tasks log is in the logs of their tries."""

QUIET = ("celery.worker.strategy", "celery.app.trace")
"""Loggers that say of each message what the worker itself says better."""


def _log_to_stderr() -> None:
    import logging

    from etlkit.masking import masker

    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    handler.addFilter(_is_told)
    handler.addFilter(masker)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def _is_told(record: logging.LogRecord) -> bool:
    return f"{record.name}.".startswith(tuple(f"{name}." for name in TOLD))
