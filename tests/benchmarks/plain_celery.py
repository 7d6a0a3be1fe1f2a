"""Celery by itself, as the benchmark runs it: a task that does nothing, with the delivery that etlkit asks for too."""

import os

from celery import Celery

app = Celery("plain", broker=os.environ["PLAIN_BROKER"], backend=os.environ["PLAIN_BROKER"])
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
)


@app.task
def nothing() -> None:
    """Does nothing."""
