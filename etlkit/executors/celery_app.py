"""The Celery application: how scheduler and workers reach the broker, and what a worker does with a message.

A message is a `Reference` to an attempt and nothing more. The metadata database alone says whether it is still wanted
and how it ended, so a message that comes twice, late or not at all does no harm. Celery's own results are not needed.

Other programs of Celery find it as `etlkit.executors.celery_app`, such as Flower:
`celery -A etlkit.executors.celery_app flower`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any

from celery import Celery
from celery.exceptions import Reject
from kombu.utils.url import maybe_sanitize_url, parse_url
from redis import CredentialProvider

from etlkit.clock import SystemClock
from etlkit.config import conf
from etlkit.database import Unreachable
from etlkit.errors import ConfigError, DagFileError
from etlkit.logs import LogStore
from etlkit.masking import mask_secret
from etlkit.store import Store
from etlkit.worker import PICKLED, Reference, Worker, open_warehouse

log = logging.getLogger("etlkit.worker")

ATTEMPT = "etlkit.attempt"
"""The name of the only task that Celery knows of."""

SOCKET_SECONDS = 10
"""How long the broker may take to answer."""

PAUSE_SECONDS = 2
"""How long a slot that cannot reach the database keeps a message before it gives it back, lest it spins."""


def settings() -> dict[str, Any]:
    """Celery's own settings, by its names; some follow from etlkit.cfg, and the rest are what makes it safe.

    A message is acknowledged when its attempt is over, and goes back if the process dies before; a worker takes no more
    messages than it has slots; a broker that is away is tried again for ever.
    """
    broker_url()  # ConfigError if it is none
    broker, results = without_password("broker_url"), without_password("result_backend")
    return {
        "broker_url": broker,
        "result_backend": results or None,
        "task_ignore_result": not results,
        "accept_content": ["json"],
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "worker_prefetch_multiplier": 1,
        "task_default_queue": conf.get("operators", "default_queue"),
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_transport_options": transport_options(broker),
        "worker_enable_prefetch_count_reduction": False,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
    }


def broker_url() -> str:
    """[celery] broker_url; from now on its password is hidden wherever it turns up. ConfigError if it is no URL."""
    url = conf.get("celery", "broker_url")
    if "://" not in url:
        raise ConfigError("[celery] broker_url is not a URL; write redis://:password@host:6379/0")
    learn_password(url)
    return url


def learn_password(urls: str) -> None:
    """Let the passwords in URLs, which `;` may separate, be hidden wherever they turn up."""
    for url in filter(None, urls.split(";")):
        try:
            mask_secret(parts_of(url)["password"])
        except ValueError:  # a port that is no number; its text may be part of the password
            raise ConfigError(
                "[celery] broker_url or result_backend: a port is not a number; write characters such as @ : / in a "
                "password as %40 %3A %2F"
            ) from None


def parts_of(url: str) -> dict[str, Any]:
    """The parts of a URL, without what is behind `?`.

    >>> parts_of("redis+socket://:secret@/run/redis.sock?virtual_host=1")["password"]
    'secret'
    """
    return parse_url(url.partition("?")[0])


def without_password(option: str) -> str:
    """A URL of [celery] as Celery is given it, whose password is hidden from now on wherever it turns up.

    That of a Unix socket is without it, since Celery would show it.
    """
    url = conf.get("celery", option)
    learn_password(url)
    if not url.startswith("redis+socket") or not parts_of(url)["password"]:
        return url
    address = f"redis+socket://{url.rpartition('@')[2]}"
    return f"{address}{'&' if '?' in address else '?'}credential_provider={__name__}.{PASSWORDS[option]}"


class BrokerPassword(CredentialProvider):
    """Tells the client of Redis user and password when it connects."""

    option = "broker_url"

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        parts = parts_of(conf.get("celery", self.option))
        return (parts["userid"], parts["password"]) if parts["userid"] else (parts["password"],)


class ResultsPassword(BrokerPassword):
    """The same for the Redis that Celery keeps results in."""

    option = "result_backend"


PASSWORDS = {kind.option: kind.__name__ for kind in (BrokerPassword, ResultsPassword)}
"""Who knows the password in a URL of [celery]."""


def shown_broker() -> str:
    """[celery] broker_url as it may be shown."""
    return ";".join(map(maybe_sanitize_url, conf.get("celery", "broker_url").split(";")))


def transport_options(broker: str) -> Mapping[str, Any]:
    """What is said to the client of the broker."""
    if not broker.startswith(("redis", "sentinel")):
        return {}
    return {
        "visibility_timeout": conf.get("celery_broker_transport_options", "visibility_timeout"),
        "socket_timeout": SOCKET_SECONDS,
        "socket_connect_timeout": SOCKET_SECONDS,
        "socket_keepalive": True,
    }


def make_app() -> Celery:
    """An application with the settings in force when it is first used."""
    made = Celery("etlkit", set_as_current=False)
    made.add_defaults(settings)
    made.task(name=ATTEMPT)(attempt)
    return made


def attempt(*message: Any) -> str | None:
    """What a worker does with a message: makes the attempt, if it is still wanted; the state that it ended in.

    Without the database it can do nothing: then the message goes back to the broker, behind the others, for any worker.
    """
    reference = received(message)
    try:
        result = this_worker().run(reference)
    except Unreachable as error:
        log.warning("%s goes back to the broker: %s", reference, error)
        SystemClock().sleep(PAUSE_SECONDS)
        raise Reject(str(error), requeue=True) from None
    return result and result.state


def message_of(reference: Reference) -> list[Any]:
    """A reference as JSON can hold it."""
    return [*reference[:-1], reference.now and reference.now.isoformat()]


def received(message: tuple[Any, ...]) -> Reference:
    """The reference in a message; DagFileError for a DAG that no file holds."""
    *rest, now = message
    reference = Reference._make([*rest, now and datetime.fromisoformat(now)])
    if reference.where.startswith(PICKLED):  # whoever can write to the broker must not run code of his own here
        raise DagFileError(reference.where, "a Celery worker reads DAGs from files alone")
    return reference


@cache
def this_worker() -> Worker:
    """The Worker of this process, made for its first attempt: after the fork, since no connection survives that."""
    store = Store(conf.get("database", "sql_alchemy_conn"))
    store.tells_ends = not store.is_sqlite
    return Worker(store, LogStore(conf.get("logging", "base_log_folder")), open_warehouse)


app = make_app()
"""What Celery's own programs look for."""
