"""`etlkit worker`: a Celery worker, which makes the attempts that the scheduler leaves in the broker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import logging

    from celery import Celery

ALL_QUEUES = "take only tasks of these queues, by commas  [default: that of [operators] default_queue]"
SLOTS = "how many tasks at once  [default: [celery] worker_concurrency]"
NAME = "its name, which no other worker may have; %h is the machine  [default: etlkit-PID@%h]"


LISTENING = "celery.pidbox"
"""Where the broker notes which workers hear Celery's remote control."""

ONE_PING = 1.0
"""Wall seconds that a worker may take to answer."""


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
    node = _node(celery_hostname or f"etlkit-{getpid()}@%h")
    _check_name(app, node)
    click.echo(f"{slots} slots for tasks of {names}, on {database_name()}; stop with Ctrl-C", err=True)
    raise SystemExit(_run(app, names, slots, node))


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
    """Refuse a database that cannot be shared or reached: each message would come here and go back again."""
    from etlkit.cli.database import database_url
    from etlkit.database import parse_url
    from etlkit.executors.celery import check_shared
    from etlkit.store import Store

    check_shared(parse_url(database_url()))
    Store(database_url()).close()  # no connection may be open when the processes of the slots are forked


def _node(name: str) -> str:
    """A worker's full name, as others of Celery see it."""
    from celery.utils.nodenames import default_nodename, host_format

    return host_format(default_nodename(name))


def _check_name(app: Celery, node: str) -> None:
    """Refuse a name that another worker has.

    Only a worker that the broker has noted is asked, since one that does not answer takes ONE_PING; a broker that is
    away is for Celery to wait for, and one other than Redis is asked by Celery itself.
    """
    from contextlib import suppress

    from etlkit.errors import EtlkitError

    with app.connection_for_read() as connection, suppress(*connection.connection_errors):
        channel: Any = connection.channel()
        noted = channel.get_table(LISTENING) if hasattr(channel, "get_table") else []
        if any(queue.startswith(f"{node}.") for *_, queue in noted) and app.control.ping(
            [node], timeout=ONE_PING, limit=1, connection=connection
        ):
            raise EtlkitError(f"a worker called {node} is running already; give this one another name: -H NAME@%h")


def _run(app: Celery, queues: str, slots: int, node: str) -> int:
    """Work until somebody asks to stop; the exit code."""
    from warnings import filterwarnings

    from celery.signals import setup_logging, worker_process_init

    from etlkit.child_output import collect

    def in_each_slot(**_: object) -> None:
        collect()

    def log_to_stderr(**_: object) -> None:
        _log_to_stderr()

    filterwarnings("ignore", "You're running the worker with superuser privileges")  # which is dangerous with pickle
    setup_logging.connect(log_to_stderr)
    worker_process_init.connect(in_each_slot)
    running = app.Worker(
        hostname=node,
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

QUIET = {"celery.worker.strategy": "WARNING", "celery.app.trace": "ERROR"}
"""Loggers that say of each message what the worker itself says better, and from which level on they are heard."""


def _log_to_stderr() -> None:
    import logging

    from etlkit.masking import masker

    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    handler.addFilter(_is_told)
    handler.addFilter(masker)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for name, level in QUIET.items():
        logging.getLogger(name).setLevel(level)


def _is_told(record: logging.LogRecord) -> bool:
    return f"{record.name}.".startswith(tuple(f"{name}." for name in TOLD))
