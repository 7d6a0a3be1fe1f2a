"""Incoming webhooks as connections name them; a local server stands in for Slack and speaks its protocol."""

import json

import pytest

from etlkit.connections import Connection
from etlkit.errors import HookError
from etlkit.hooks import SlackWebhookHook
from etlkit.masking import masker

TOKEN = "T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX"


def hook(web, **parts):
    given = {"host": f"http://127.0.0.1:{web.port}/services", "password": TOKEN}
    return SlackWebhookHook(connection=Connection("slack", **{"conn_type": "slackwebhook", **given, **parts}))


def url(**parts):
    return SlackWebhookHook(connection=Connection("slack", "slackwebhook", **parts)).url


def test_where_to_post_to():
    full = f"https://hooks.slack.com/services/{TOKEN}"
    assert url(password=TOKEN) == url(password=full) == url(password=f"/{TOKEN}") == full
    assert url(password=TOKEN, host="https://hooks.slack-gov.com/services/") == (
        f"https://hooks.slack-gov.com/services/{TOKEN}"
    )
    assert url(password=TOKEN, host="example.org") == f"https://example.org/{TOKEN}"
    assert masker.mask(f"posts to {full}") == "posts to ***"
    with pytest.raises(HookError, match="it has no password, which must be the webhook's URL"):
        url(host=full)
    masker.forget()


def test_posting(web):
    web.answers[f"/services/{TOKEN}"] = (200, {}, b"ok")
    blocks = [{"type": "section", "text": {"type": "mrkdwn", "text": "*load* failed"}}]
    hook(web).send(text="load failed 날씨", blocks=blocks)
    (asked,) = web.asked
    assert (asked.method, asked.path) == ("POST", f"/services/{TOKEN}")
    assert json.loads(asked.body) == {"text": "load failed 날씨", "blocks": blocks}


@pytest.mark.parametrize(("status", "body"), [(400, "invalid_payload"), (404, "no_service"), (500, "rollup_error")])
def test_a_message_that_is_not_taken(web, status, body):
    web.answers[f"/services/{TOKEN}"] = (status, {}, body.encode())
    with pytest.raises(HookError, match=f"connection 'slack': Slack answered {status} {body}"):
        hook(web).send(text="x")


def test_no_answer(web):
    gone = hook(web, extra={"timeout": 1})
    web.stop()
    with pytest.raises(HookError, match=r"connection 'slack': Slack gave no answer: .*Connection refused") as error:
        gone.send(text="x")
    assert TOKEN not in str(error.value)


@pytest.mark.parametrize(
    ("status", "body", "exists"),
    [
        (400, "no_text", True),
        (403, "invalid_token", False),
        (404, "no_team", False),
        (410, "channel_is_archived", False),
    ],
)
def test_testing_it_posts_nothing(web, status, body, exists):
    web.answers[f"/services/{TOKEN}"] = (status, {}, body.encode())
    works, message = hook(web).connection.test_connection()
    assert works == exists
    assert message == "the webhook exists" if exists else f"connection 'slack': Slack answered {status} {body}"
    assert [json.loads(asked.body) for asked in web.asked] == [{"text": ""}]
