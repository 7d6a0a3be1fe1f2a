"""The local sink: it speaks the protocol of Slack's incoming webhooks, and falls ill when told to."""

from __future__ import annotations

import json
from http.client import RemoteDisconnected
from threading import Thread
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import urlopen

import pytest
from slack_sdk.webhook import WebhookClient

from etlkit.connections import Connection
from etlkit.errors import HookError
from etlkit.hooks import SlackWebhookHook
from etlkit.testing import SlackSink


def section(text):
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


@pytest.fixture
def sink():
    with SlackSink() as sink:
        yield sink


def post(url, body):
    """The status and text of the answer to a body, and the headers."""
    try:
        with urlopen(url, body.encode() if isinstance(body, str) else body) as answer:
            return answer.status, answer.read().decode(), answer.headers
    except HTTPError as error:
        with error:
            return error.code, error.read().decode(), error.headers


def test_it_takes_what_slacks_own_client_sends(sink):
    blocks = [{"type": "section", "text": {"type": "mrkdwn", "text": "*26* 서울"}}]
    response = WebhookClient(sink.url).send(text="26 rows < 27", blocks=blocks)
    assert (response.status_code, response.body) == (200, "ok")
    assert sink.messages == [{"text": "26 rows < 27", "blocks": blocks}]
    assert sink.answers == [200]


def test_the_hook_reaches_it(sink):
    hook = SlackWebhookHook(connection=Connection("slack", "slackwebhook", password=sink.url))
    assert hook.test_connection() == "the webhook exists"
    hook.send(text="hello")
    assert sink.texts == ["hello"]
    wrong = Connection("slack", "slackwebhook", password=f"{sink.url}Y")
    with pytest.raises(HookError, match="404 no_team"):
        SlackWebhookHook(connection=wrong).send(text="hello")


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ("payload=" + quote('{"text": "a form & more"}'), (200, "ok")),
        ('{"attachments": [{"text": "old"}]}', (200, "ok")),
        ("no json", (400, "invalid_payload")),
        ("payload=", (400, "invalid_payload")),
        ("[1]", (400, "invalid_payload")),
        (b"\xff", (400, "invalid_payload")),
        ("{}", (400, "no_text")),
        ('{"text": "", "blocks": []}', (400, "no_text")),
        (json.dumps({"blocks": [section("x" * 3000)] * 50}), (200, "ok")),
        (json.dumps({"blocks": [section("x" * 3001)]}), (400, "invalid_blocks")),
        (json.dumps({"blocks": [section("")]}), (400, "invalid_blocks")),
        (json.dumps({"blocks": [section("x")] * 51}), (400, "invalid_blocks")),
        ('{"blocks": [{"type": "divider"}, {"type": "section", "fields": []}]}', (200, "ok")),
        ('{"blocks": [{"type": "section", "text": "x"}]}', (400, "invalid_blocks")),
        ('{"blocks": ["x"]}', (400, "invalid_blocks")),
        ('{"blocks": "x"}', (400, "invalid_blocks")),
    ],
)
def test_it_answers_as_slack_does(sink, body, answer):
    assert post(sink.url, body)[:2] == answer
    assert len(sink.messages) == (answer[0] == 200)


def test_it_falls_ill_as_told(sink):
    sink.answer(429, retry_after=3)
    sink.answer(500, times=2)
    sink.answer("close")
    status, _, headers = post(sink.url, '{"text": "a"}')
    assert (status, headers["Retry-After"]) == (429, "3")
    assert [post(sink.url, '{"text": "a"}')[0] for _ in range(2)] == [500, 500]
    with pytest.raises(RemoteDisconnected):
        post(sink.url, '{"text": "a"}')
    assert post(sink.url, '{"text": "b"}')[0] == 200
    sink.answer(410, times=None)
    assert [post(sink.url, '{"text": "a"}')[0] for _ in range(3)] == [410] * 3
    assert sink.answers == [429, 500, 500, "close", 200, 410, 410, 410]
    assert sink.texts == ["b"]


def test_a_slow_answer_comes_when_it_is_released(sink):
    sink.answer("slow")
    results = []
    thread = Thread(target=lambda: results.append(post(sink.url, '{"text": "late"}')[0]))
    thread.start()
    assert sink.wait_for_requests(1)
    assert (results, sink.texts) == ([], [])
    sink.release()
    thread.join(10)
    assert (results, sink.texts) == ([200], ["late"])


def test_two_sinks_do_not_mix(sink):
    with SlackSink() as other:
        assert other.url != sink.url
        post(other.url, '{"text": "to the other"}')
        assert (sink.texts, other.texts) == ([], ["to the other"])
        assert repr(other) == "SlackSink with 1 message\nto the other"
    assert repr(sink) == "SlackSink with 0 messages"
    with pytest.raises(OSError, match="refused"):
        post(other.url, '{"text": "too late"}')
