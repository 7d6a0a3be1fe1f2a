"""Celery by itself, as the benchmark runs it: a task that does nothing, with the delivery that etlkit asks for too."""

import os

from celery import Celery

BROKER = os.environ.get("PLAIN_BROKER", "redis://localhost:6379/0")

app = Celery("plain", broker=BROKER, backend=BROKER)
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
)


@app.task
def nothing() -> None:
    """Does nothing."""
