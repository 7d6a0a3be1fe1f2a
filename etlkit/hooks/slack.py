"""Slack's incoming webhooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from etlkit.connections import Connection
from etlkit.hooks.base import BaseHook
from etlkit.masking import mask_secret

if TYPE_CHECKING:
    from slack_sdk.webhook import WebhookClient, WebhookResponse

SERVICES = "https://hooks.slack.com/services"
TIMEOUT = 10
"""Seconds to wait for Slack."""


class SlackWebhookHook(BaseHook):
    """A hook that posts to a channel through an incoming webhook, whose whole URL is a secret.

    The Connection's password is that URL, or what follows `https://hooks.slack.com/services/` in it; another address
    before it is the host. `extra` may hold `timeout` (seconds) and `proxy`.
    """

    conn_type: ClassVar[str] = "slackwebhook"
    default_conn_name: ClassVar[str] = "slack_default"

    def __init__(self, slack_webhook_conn_id: str | None = None, *, connection: Connection | None = None) -> None:
        super().__init__(slack_webhook_conn_id, connection=connection)

    @property
    def url(self) -> str:
        """Where to post to; HookError if the Connection has no password."""
        connection = self.connection
        password = connection.password or ""
        if not password:
            raise self.refusal("it has no password, which must be the webhook's URL")
        if "://" not in password:
            host = (connection.host or SERVICES).rstrip("/")
            password = f"{host if '://' in host else f'https://{host}'}/{password.lstrip('/')}"
        mask_secret(password)
        return password

    def get_conn(self) -> WebhookClient:
        from slack_sdk.webhook import WebhookClient

        extra = self.connection.extra_dejson
        timeout = int(extra.get("timeout", TIMEOUT))
        return WebhookClient(self.url, timeout=timeout, proxy=extra.get("proxy"), retry_handlers=[])

    def send(self, *, text: str | None = None, blocks: list[dict[str, Any]] | None = None, **arguments: Any) -> None:
        """Post a message; HookError if Slack does not take it."""
        response = self._post(text=text, blocks=blocks, **arguments)
        if response.status_code != 200:
            raise self.refusal(f"Slack answered {response.status_code} {response.body}")

    def test_connection(self) -> str:
        """Whether the webhook exists: Slack refuses a message without text, but of an unknown one it says so."""
        response = self._post(text="")
        if response.status_code in (200, 400) and "token" not in response.body:
            return "the webhook exists"
        raise self.refusal(f"Slack answered {response.status_code} {response.body}")

    def _post(self, **message: Any) -> WebhookResponse:
        from slack_sdk.errors import SlackClientError

        try:
            return self.get_conn().send(**message)
        except (OSError, SlackClientError) as error:
            raise self.refusal(f"Slack gave no answer: {getattr(error, 'reason', None) or error}") from error
