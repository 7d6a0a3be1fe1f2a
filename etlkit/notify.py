"""Notifiers: callbacks that tell people how a task or a DAG run ended.

A notifier is called like any callback, so it goes where callbacks go::

    DAG("weather", on_failure_callback=SlackWebhookNotifier())
    PythonOperator(task_id="load", on_retry_callback=SlackWebhookNotifier(text="{{ ti }} stumbled"), …)

Names and arguments are those of `airflow.providers.slack.notifications.slack_webhook`. Where Airflow's notifier sends
its message while the task waits, this one puts it into an outbox (`etlkit.outbox`): a slow or dead Slack costs the task
no time, and nothing that goes wrong changes a state.

The webhook's address is a secret, so it lives in a Connection or a Variable, not in the DAG file::

    export ETLKIT_CONN_SLACK_DEFAULT='slackwebhook://:T00%2FB00%2FXXX@'
    SlackWebhookNotifier(webhook_url="{{ var.value.slack_webhook_url }}")

A notifier of your own is a subclass of `BaseNotifier` with a `notify(self, context)`:

>>> class Shout(BaseNotifier):
...     template_fields = ("text",)
...     def __init__(self, text):
...         self.text = text
...     def notify(self, context):
...         print(self.text.upper())
>>> from etlkit.dag import DAG
>>> Shout("{{ dag.dag_id }} failed")({"dag": DAG("weather")})
WEATHER FAILED
"""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple
from urllib.parse import quote

from etlkit.config import conf
from etlkit.connections import Connection
from etlkit.events import clock_text
from etlkit.hooks.slack import SlackWebhookHook
from etlkit.masking import masker
from etlkit.outbox import Answer, outbox_for
from etlkit.templates import Renderer, environment_for, needs_rendering

if TYPE_CHECKING:
    from slack_sdk.http_retry import RetryHandler

    from etlkit.sandbox import TaskEnvironment

log = logging.getLogger("etlkit.task")

TEXT_LIMIT = 40_000
"""Characters of a message's text that Slack takes."""

LIMITS = {"blocks": 3_000, "fields": 2_000, "image": 2_000, "header": 150, "button": 75}
"""Characters of a text that Slack takes, by the type of block (or the part of the message) that it is in."""

MOST_BLOCKS = 50

ERROR_LENGTH = 1_000
"""Characters of an error in a message; the whole of it is in the log of the try."""

_silent = logging.Logger("etlkit.silent", logging.CRITICAL + 1)


class BaseNotifier:
    """A callback with template fields, which are rendered when it is called: write `notify(self, context)`."""

    template_fields: ClassVar[Sequence[str]] = ()

    def notify(self, context: Mapping[str, Any]) -> None:
        """Tell somebody."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it tells; write notify")

    def __call__(self, context: Mapping[str, Any]) -> None:
        self.rendered(context).notify(context)

    def rendered(self, context: Mapping[str, Any]) -> Any:
        """A copy with the template fields rendered; the DAGs that share the notifier keep it as it was written."""
        names = [name for name in self.template_fields if needs_rendering(getattr(self, name))]
        if not names:
            return self
        renderer, changed = Renderer(environment_in(context), context), copy.copy(self)
        for name in names:
            setattr(changed, name, renderer.render_field(self, name))
        return changed


def environment_in(context: Mapping[str, Any]) -> TaskEnvironment:
    """The environment in which a DAG's tasks are rendered, with `exception`, which only callbacks have."""
    environment: TaskEnvironment = environment_for(context["dag"], native=False).overlay()
    environment.globals = {**environment.globals, "exception": context.get("exception")}
    environment.compiled = environment.from_string
    return environment


class SlackWebhookNotifier(BaseNotifier):
    """Posts to a Slack channel through an incoming webhook.

    The address is in the Connection `slack_webhook_conn_id`, or is `webhook_url`, which is best a template that looks
    up a Variable. Without `text`, the message says what happened to what, when, in which try, why, and where to read on
    ([api] base_url). Secrets are masked, and what is too long for Slack is cut. `timeout` is in seconds; `proxy` and
    `timeout` come before those of the Connection.
    """

    template_fields: ClassVar[Sequence[str]] = (
        *("slack_webhook_conn_id", "webhook_url", "text", "attachments", "blocks", "proxy", "timeout"),
    )

    def __init__(
        self,
        *,
        slack_webhook_conn_id: str = SlackWebhookHook.default_conn_name,
        webhook_url: str | None = None,
        text: str | None = None,
        blocks: Sequence[Any] | None = None,
        unfurl_links: bool | None = None,
        unfurl_media: bool | None = None,
        proxy: str | None = None,
        timeout: int | None = None,
        attachments: Sequence[Any] | None = None,
        retry_handlers: Sequence[RetryHandler] | None = None,
    ) -> None:
        self.slack_webhook_conn_id, self.webhook_url = slack_webhook_conn_id, webhook_url
        self.text, self.blocks, self.attachments = text, blocks, attachments
        self.unfurl_links, self.unfurl_media = unfurl_links, unfurl_media
        self.proxy, self.timeout, self.retry_handlers = proxy, timeout, retry_handlers

    def __call__(self, context: Mapping[str, Any]) -> None:
        try:
            ready = self.rendered(context)
        except Exception as error:  # a message in other words is better than none
            log.error("a message to Slack cannot be rendered, so the usual one is sent: %s", one_line(error))
            usual = copy.copy(self)
            usual.text = usual.blocks = usual.attachments = None
            ready = usual.rendered(context)
        ready.notify(context)

    def notify(self, context: Mapping[str, Any]) -> None:
        """Put the message into the outbox."""
        hook = self._hook(context)
        letter = partial(send, hook, self.message(context), list(self.retry_handlers or ()))
        if outbox_for(hook.url, f"Slack ({hook.conn_id})").post(letter):
            log.info("a message is on its way to Slack (%s)", hook.conn_id)

    def message(self, context: Mapping[str, Any]) -> dict[str, Any]:
        """What is posted: masked, and cut to what Slack takes."""
        told = {
            "text": self.text or summary(context),
            "blocks": as_dicts(self.blocks),
            "attachments": as_dicts(self.attachments),
            "unfurl_links": self.unfurl_links,
            "unfurl_media": self.unfurl_media,
        }
        return fitted(masker.masked({name: value for name, value in told.items() if value is not None}))

    def _hook(self, context: Mapping[str, Any]) -> SlackWebhookHook:
        if self.webhook_url is not None:
            connection = Connection("webhook_url", SlackWebhookHook.conn_type, password=self.webhook_url)
        elif "conn" in context:  # the Connections of the database that the task runs from
            connection = getattr(context["conn"], self.slack_webhook_conn_id)
        else:
            connection = Connection.get(self.slack_webhook_conn_id)
        own = {"proxy": self.proxy, "timeout": self.timeout}
        extra = {**connection.extra_dejson, **{name: value for name, value in own.items() if value is not None}}
        return SlackWebhookHook(connection=replace(connection, extra=json.dumps(extra)))

    def __repr__(self) -> str:
        where = "webhook_url=…" if self.webhook_url else f"slack_webhook_conn_id={self.slack_webhook_conn_id!r}"
        return f"{type(self).__name__}({where})"


class SlackNotifier(SlackWebhookNotifier):
    """The same with the name of the Connection in `slack_conn_id`."""

    def __init__(self, *, slack_conn_id: str = SlackWebhookHook.default_conn_name, **arguments: Any) -> None:
        super().__init__(slack_webhook_conn_id=slack_conn_id, **arguments)


send_slack_webhook_notification = SlackWebhookNotifier
"""Airflow's other name for it."""


def send(hook: SlackWebhookHook, message: Mapping[str, Any], retry_handlers: Sequence[RetryHandler]) -> Answer:
    """Post one message; this runs in the outbox's thread, which also loads slack-sdk."""
    client = hook.get_conn()
    # The outbox tries again and logs. The client would log each try, and at level DEBUG the secret address.
    client.retry_handlers, client.logger = list(retry_handlers), _silent
    client.proxy = hook.connection.extra_dejson.get("proxy") or None  # Python itself heeds HTTP_PROXY, and NO_PROXY
    response = client.send_dict(dict(message))
    return Answer(response.status_code, response.body, seconds(response.headers.get("Retry-After")))


def seconds(text: str | None) -> float | None:
    """The seconds in a Retry-After header, if that is what it holds.

    >>> seconds("30"), seconds("Wed, 21 Oct 2015 07:28:00 GMT")
    (30.0, None)
    """
    return float(text) if text and text.strip().isdecimal() else None


# --- what it says -----------------------------------------------------------------------------------------------------


class Look(NamedTuple):
    """How a state is told."""

    sign: str
    words: str


LOOKS = {
    "running": Look(":large_blue_circle:", "is running"),
    "success": Look(":large_green_circle:", "succeeded"),
    "failed": Look(":red_circle:", "failed"),
    "up_for_retry": Look(":large_yellow_circle:", "failed and will be tried again"),
    "skipped": Look(":white_circle:", "was skipped"),
}

REASONS = {"task_failure": "a task failed", "timed_out": "it ran longer than its dagrun_timeout"}
"""Why a run failed, in words."""


def summary(context: Mapping[str, Any]) -> str:
    """What a callback's context is about, as a message in Slack's markup: of a task, or of a run as a whole."""
    run = context["dag_run"]
    ti = None if "reason" in context else context["ti"]  # a run as a whole ends for a reason
    name, state = (task_name(ti), ti.state) if ti else (run.dag_id, run.state)
    look = LOOKS.get(state, Look(":grey_question:", f"is {state}"))
    date = f"logical date {clock_text(run.logical_date)} UTC" if run.logical_date else f"run {run.run_id}"
    tries = f", try {ti.try_number} of {ti.max_tries + 1}" if ti else ""
    error, link = context.get("exception") or REASONS.get(context.get("reason", "")), log_url(run, ti)
    lines = [f"{look.sign} *{escaped(name)}* {look.words}", escaped(f"{date}{tries}")]
    if error:
        lines.append(f"> {escaped(cut(one_line(error), ERROR_LENGTH))}")
    if link:
        lines.append(f"<{link}|{'log' if ti else 'run'}>")
    return "\n".join(lines)


def task_name(ti: Any) -> str:
    """A task instance's DAG and task, and which one it is of a mapped task."""
    return f"{ti.dag_id}.{ti.task_id}" + (f"[{ti.map_index}]" if ti.map_index >= 0 else "")


def log_url(run: Any, ti: Any = None) -> str | None:
    """The web page of a run, or of a task instance's try; None where [api] base_url is not set."""
    base = conf.get("api", "base_url").rstrip("/")
    if not base:
        return None
    page = f"{base}/dags/{quote(run.dag_id)}/runs/{quote(run.run_id, safe='')}"
    if ti is None:
        return page
    mapped = f"/mapped/{ti.map_index}" if ti.map_index >= 0 else ""
    return f"{page}/tasks/{quote(ti.task_id)}{mapped}?try_number={ti.try_number}"


def one_line(error: object) -> str:
    """An error in one line without secrets: an exception with its type, a text as it is."""
    text = f"{type(error).__name__}: {error}" if isinstance(error, BaseException) else str(error)
    return " ".join(masker.mask(text).split())


def escaped(text: str) -> str:
    """Text as Slack's markup takes it.

    >>> escaped("tmin < 26 & tmax > 40")
    'tmin &lt; 26 &amp; tmax &gt; 40'
    """
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def as_dicts(parts: Sequence[Any] | None) -> list[Any] | None:
    """Blocks or attachments as plain values; slack-sdk has classes for them."""
    return None if parts is None else [part.to_dict() if hasattr(part, "to_dict") else part for part in parts]


# --- what Slack takes -------------------------------------------------------------------------------------------------


def cut(text: str, limit: int) -> str:
    """
    >>> cut("twenty-six degrees", 10)
    'twenty-si…'
    """
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def fitted(part: Any, limit: int = TEXT_LIMIT) -> Any:
    """A message, or a part of one, with texts and blocks cut to what Slack takes."""
    if isinstance(part, Mapping):
        limit = LIMITS.get(part.get("type", ""), limit)
        return {name: _fitted_value(name, value, limit) for name, value in part.items()}
    return [fitted(item, limit) for item in part] if isinstance(part, (list, tuple)) else part


def _fitted_value(name: str, value: Any, limit: int) -> Any:
    if isinstance(value, str):
        return cut(value, limit) if name in ("text", "alt_text") else value
    if name == "blocks" and len(value) > MOST_BLOCKS:
        rest = f"… and {len(value) - MOST_BLOCKS + 1} more blocks"
        value = [*value[: MOST_BLOCKS - 1], {"type": "section", "text": {"type": "plain_text", "text": rest}}]
    return fitted(value, LIMITS.get(name, limit))
