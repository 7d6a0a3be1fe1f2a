"""Notifiers: what they say and to whom, and that nothing about Slack ever matters to a task."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from inspect import signature
from types import SimpleNamespace

import pytest
from slack_sdk.http_retry.builtin_handlers import ServerErrorRetryHandler
from slack_sdk.http_retry.builtin_interval_calculators import FixedValueRetryIntervalCalculator
from slack_sdk.models.blocks import SectionBlock

from etlkit import outbox
from etlkit.config import Config, conf
from etlkit.connections import Connection, Connections
from etlkit.dag import DAG
from etlkit.errors import AirflowSkipException, EtlkitError
from etlkit.lab import Lab
from etlkit.masking import masker
from etlkit.notify import (
    BaseNotifier,
    SlackNotifier,
    SlackWebhookNotifier,
    fitted,
    log_url,
    send_slack_webhook_notification,
)
from etlkit.testing import SlackSink
from etlkit.variables import Variables
from tests.engine import Do, at, make_dag

SECRET = "T00/B00/hunter22"
TELL = SlackWebhookNotifier()
DAY = "logical date 2013-01-01 00:00:00 UTC"


@pytest.fixture(autouse=True)
def clean(monkeypatch, tmp_path):
    """No pauses, settings of its own, and a masker that forgets."""
    monkeypatch.setattr(outbox, "PAUSES", (0.0,) * 5)
    monkeypatch.setattr(outbox, "_outboxes", {})
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    conf.use(Config(tmp_path, {}))
    yield
    conf.use(None)
    masker.forget()


@pytest.fixture
def lab():
    with Lab(start="2013-01-01") as lab:
        yield lab


def run(lab, *tasks, dag_id="weather", **kwargs):
    """The states of the tasks of one daily run."""
    dag = make_dag(dag_id, tasks=tasks, schedule="@daily", catchup=True, end_date=at(1), **kwargs)
    lab.add(dag).run_until("2013-01-03")
    (row,) = lab.store.runs(dag_id)
    return [task.state for task in lab.store.task_instances(row.id)]


def crash(error="no <rows> & no columns", **kwargs):
    return Do("load", ValueError(error), on_failure_callback=TELL, **kwargs)


# --- what it says -----------------------------------------------------------------------------------------------------


def test_a_task_that_fails(lab):
    slack = lab.slack()
    assert run(lab, crash()) == ["failed"]
    assert slack.texts == [
        f":red_circle: *weather.load* failed\n{DAY}, try 1 of 1\n> ValueError: no &lt;rows&gt; &amp; no columns"
    ]
    assert "a message is on its way to Slack (slack_default)" in lab.log("load")


def test_each_state_has_its_words(lab):
    slack = lab.slack()
    steps = [ValueError("one"), ValueError("two"), None]
    tasks = [
        Do("retried", *steps, retries=2, on_retry_callback=TELL, on_success_callback=[TELL], retry_delay=60),
        Do("skipped", AirflowSkipException("no rows"), on_skipped_callback=TELL),
        Do("watched", on_execute_callback=TELL),
    ]
    run(lab, *tasks, on_success_callback=TELL)
    again = ":large_yellow_circle: *weather.retried* failed and will be tried again"
    assert sorted(slack.texts) == sorted(
        [
            f"{again}\n{DAY}, try 1 of 3\n> ValueError: one",
            f"{again}\n{DAY}, try 2 of 3\n> ValueError: two",
            f":large_green_circle: *weather.retried* succeeded\n{DAY}, try 3 of 3",
            f":white_circle: *weather.skipped* was skipped\n{DAY}, try 1 of 1",
            f":large_blue_circle: *weather.watched* is running\n{DAY}, try 1 of 1",
            f":large_green_circle: *weather* succeeded\n{DAY}",
        ]
    )


def test_a_run_that_fails_says_why(lab):
    slack = lab.slack()
    run(lab, Do("load", ValueError("no")), on_failure_callback=TELL)
    slow = Do("load", lambda context: context["clock"].sleep(3600), Do("never"))
    run(lab, slow, dag_id="slow", dagrun_timeout=1800, on_failure_callback=TELL)
    assert slack.texts == [
        f":red_circle: *weather* failed\n{DAY}\n> a task failed",
        f":red_circle: *slow* failed\n{DAY}\n> it ran longer than its dagrun_timeout",
    ]


def test_a_run_without_a_logical_date():
    run = SimpleNamespace(dag_id="weather", run_id="manual__1", logical_date=None, state="success")
    text = TELL.message({"dag_run": run, "ti": None})["text"]
    assert text == ":large_green_circle: *weather* succeeded\nrun manual__1"


def test_a_link_when_there_is_a_web_server(lab, tmp_path):
    conf.use(Config(tmp_path, {"ETLKIT__API__BASE_URL": "https://etl.example.org/kit/"}))
    slack = lab.slack()
    run(lab, crash(), on_failure_callback=TELL)
    page = "https://etl.example.org/kit/dags/weather/runs/scheduled__2013-01-02T00%3A00%3A00%2B00%3A00"
    assert [text.splitlines()[-1] for text in slack.texts] == [
        f"<{page}/tasks/load?try_number=1|log>",
        f"<{page}|run>",
    ]
    mapped = SimpleNamespace(dag_id="weather", task_id="load", map_index=2, try_number=3)
    run_ = SimpleNamespace(dag_id="weather", run_id="r/1")
    assert log_url(run_, mapped).endswith("/dags/weather/runs/r%2F1/tasks/load/mapped/2?try_number=3")


def test_a_message_of_ones_own_is_a_template(lab):
    slack = lab.slack()
    tell = SlackWebhookNotifier(
        text="{{ ti.task_id }} of {{ ds }}: {{ params.airport }}",
        blocks=[{"type": "header", "text": {"type": "plain_text", "text": "{{ dag.dag_id }}"}}],
        attachments=[{"text": "{{ run_id }}"}],
        unfurl_links=False,
    )
    run(lab, Do("load", on_success_callback=tell), params={"airport": "JFK"})
    assert slack.messages == [
        {
            "text": "load of 2013-01-01: JFK",
            "blocks": [{"type": "header", "text": {"type": "plain_text", "text": "weather"}}],
            "attachments": [{"text": "scheduled__2013-01-02T00:00:00+00:00"}],
            "unfurl_links": False,
        }
    ]
    assert tell.text == "{{ ti.task_id }} of {{ ds }}: {{ params.airport }}"


def test_a_template_with_a_mistake_costs_no_message(lab):
    slack = lab.slack()
    tell = SlackWebhookNotifier(text="{{ ti.task_idd }}", blocks=["{{ 1 / 0 }}"])
    run(lab, Do("load", on_success_callback=tell))
    assert slack.texts == [f":large_green_circle: *weather.load* succeeded\n{DAY}, try 1 of 1"]
    assert "cannot be rendered, so the usual one is sent: UndefinedError: " in lab.log("load")


def test_blocks_without_a_text_get_one_for_the_notification(lab):
    slack = lab.slack()
    run(lab, Do("load", on_success_callback=SlackWebhookNotifier(blocks=[SectionBlock(text="26 rows")])))
    (message,) = slack.messages
    assert message["blocks"] == [{"type": "section", "text": {"type": "mrkdwn", "text": "26 rows"}}]
    assert message["text"].startswith(":large_green_circle: *weather.load* succeeded")


def test_messages_are_masked(lab):
    slack = lab.slack()
    masker.mask_secret("hunter22")
    tell = SlackWebhookNotifier(
        text="{{ exception or params.word }}",
        blocks=[SectionBlock(text="hunter22")],
        attachments=[{"text": "hunter22"}],
    )
    other = Do("other", ValueError("hunter22 failed"), on_failure_callback=tell)
    run(lab, crash("password=hunter22"), other)
    assert slack.texts[1] == "*** failed"
    assert len(slack.messages) == 2
    assert "hunter22" not in json.dumps(slack.messages)
    assert json.dumps(slack.messages).count("***") == 4
    run(lab, Do("third", on_success_callback=tell), dag_id="other", params={"word": "well"})
    assert slack.texts[2] == "well"


def test_what_is_too_long_for_slack_is_cut(lab):
    slack = lab.slack()
    sections = [{"type": "section", "text": {"type": "mrkdwn", "text": "x" * 3001}}] * 60
    tell = SlackWebhookNotifier(text="y" * 50_000, blocks=sections)
    run(lab, crash("&" * 1_000_000), Do("other", on_success_callback=tell))
    first, second = slack.messages
    assert slack.answers == [200, 200]
    assert first["text"].endswith("> ValueError: " + "&amp;" * 987 + "…")
    assert second["text"] == "y" * 39_999 + "…"
    assert len(second["blocks"]) == 50
    assert second["blocks"][48]["text"]["text"] == "x" * 2_999 + "…"
    assert second["blocks"][49]["text"]["text"] == "… and 11 more blocks"


def test_a_secret_is_masked_before_it_could_be_cut_in_two(lab):
    masker.mask_secret("s" * 40)
    message = SlackWebhookNotifier(text="x" * 39_990 + "s" * 40 + "y" * 100).message({})
    assert message["text"] == "x" * 39_990 + "***" + "y" * 6 + "…"


@pytest.mark.parametrize(
    ("block", "longest"),
    [
        ({"type": "header", "text": {"type": "plain_text", "text": "@"}}, 150),
        ({"type": "section", "text": {"type": "mrkdwn", "text": "@"}}, 3000),
        ({"type": "section", "fields": [{"type": "mrkdwn", "text": "@"}]}, 2000),
        ({"type": "image", "image_url": "https://x", "alt_text": "@"}, 2000),
        ({"type": "actions", "elements": [{"type": "button", "text": {"type": "plain_text", "text": "@"}}]}, 75),
        ({"type": "context", "elements": [{"type": "mrkdwn", "text": "@"}]}, 3000),
    ],
)
def test_each_kind_of_block_has_its_limit(block, longest):
    def filled(text):
        return json.loads(json.dumps({"text": "t", "blocks": [block]}).replace("@", text))

    assert fitted(filled("x" * longest)) == filled("x" * longest)
    assert fitted(filled("x" * (longest + 1))) == filled("x" * (longest - 1) + "…")


# --- to whom ----------------------------------------------------------------------------------------------------------


def test_the_address_may_be_a_variable(lab):
    tell = SlackWebhookNotifier(webhook_url="{{ var.value.slack_webhook_url }}")
    with SlackSink() as sink:
        Variables(lab.store).set("slack_webhook_url", sink.url)
        run(lab, Do("load", on_success_callback=tell), on_success_callback=tell)
        assert [text.splitlines()[0] for text in sink.texts] == [
            ":large_green_circle: *weather.load* succeeded",
            ":large_green_circle: *weather* succeeded",
        ]
    assert sink.url not in lab.log("load")


def test_the_address_may_come_from_the_environment(lab, tmp_path):
    with SlackSink() as sink:
        conf.use(
            Config(tmp_path, {"ETLKIT_CONN_TEAM": json.dumps({"conn_type": "slackwebhook", "password": sink.url})})
        )
        run(lab, Do("load", on_success_callback=SlackNotifier(slack_conn_id="team", text="done")))
        assert sink.texts == ["done"]
        # A context without Connections of its own, as of another scheduler.
        SlackNotifier(slack_conn_id="team", text="again")({"dag": DAG("weather")})
        assert sink.texts == ["done", "again"]


def test_a_lab_does_not_take_the_place_of_the_real_slack(lab, tmp_path):
    conf.use(Config(tmp_path, {"AIRFLOW_CONN_SLACK_DEFAULT": "slackwebhook://:T00%2FB00%2FXXX@"}))
    with pytest.raises(EtlkitError, match="AIRFLOW_CONN_SLACK_DEFAULT comes before the Connections of a lab"):
        lab.slack()
    assert lab.slack("lesson").messages == []


def test_settings_of_the_connection_and_of_the_notifier(lab):
    with SlackSink() as sink, socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{unused.getsockname()[1]}"
        extra = {"timeout": 7, "proxy": dead}
        Connections(lab.store).set(Connection("slack_default", "slackwebhook", password=sink.url, extra=extra))
        tasks = [
            Do("proxied", on_success_callback=SlackWebhookNotifier(text="a", slack_webhook_conn_id="slack_default")),
            Do("direct", on_success_callback=SlackWebhookNotifier(text="b", proxy="", timeout=3)),
        ]
        assert run(lab, *tasks) == ["success", "success"]
        assert sink.texts == ["b"]


def test_a_proxy_of_the_environment_is_not_asked_for_hosts_that_need_none(lab, monkeypatch):
    slack = lab.slack()
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    run(lab, crash())
    assert len(slack.messages) == 1


def test_retry_handlers_of_slacks_client_are_used(lab):
    slack = lab.slack()
    slack.answer(500, times=2)
    at_once = FixedValueRetryIntervalCalculator(0)
    handlers = [ServerErrorRetryHandler(max_retry_count=2, interval_calculator=at_once)]
    run(lab, Do("load", on_success_callback=SlackWebhookNotifier(text="done", retry_handlers=handlers)))
    assert (slack.texts, slack.answers) == (["done"], [500, 500, 200])


def test_airflows_names():
    names = "slack_webhook_conn_id text blocks unfurl_links unfurl_media proxy timeout attachments retry_handlers"
    assert set(names.split()) <= set(signature(SlackWebhookNotifier).parameters)
    assert send_slack_webhook_notification is SlackWebhookNotifier
    assert repr(SlackWebhookNotifier(text="x")) == "SlackWebhookNotifier(slack_webhook_conn_id='slack_default')"
    assert repr(SlackNotifier(slack_conn_id="team")) == "SlackNotifier(slack_webhook_conn_id='team')"
    assert SECRET not in repr(SlackWebhookNotifier(webhook_url=SECRET))


# --- Slack does not matter --------------------------------------------------------------------------------------------


def test_a_slow_slack_delays_nothing(lab):
    slack = lab.slack()
    slack.answer("slow")
    states = run(lab, crash(), Do("after", trigger_rule="all_done"), on_failure_callback=TELL)
    assert states == ["failed", "success"]
    assert slack.wait_for_requests(1)
    assert slack.answers == ["slow"]  # the whole run is over, and the first message is still being sent
    slack.release()
    assert len(slack.messages) == 2


def test_a_slack_that_is_busy_or_broken_gets_the_message_later(lab):
    slack = lab.slack()
    slack.answer(429, retry_after=0)
    slack.answer(503, times=2)
    slack.answer("close")
    assert run(lab, crash(), Do("after", on_success_callback=SlackWebhookNotifier(text="after"))) == [
        "failed",
        "success",
    ]
    assert [text.splitlines()[0] for text in slack.texts] == [":red_circle: *weather.load* failed", "after"]
    assert slack.answers == [429, 503, 503, "close", 200, 200]


@pytest.mark.parametrize("behaviour", [404, 500, 429, "close"])
def test_a_slack_that_is_dead_is_logged_once(lab, behaviour, caplog):
    slack = lab.slack()
    slack.answer(behaviour, times=None, retry_after=0)
    tasks = [Do(name, ValueError("no"), on_failure_callback=TELL) for name in "abc"]
    assert run(lab, *tasks, on_failure_callback=TELL) == ["failed"] * 3
    assert slack.texts == []
    assert slack.answers == [behaviour] * (4 if behaviour == 404 else 24)
    lost = [record for record in caplog.records if record.name == "etlkit.outbox"]
    assert len(lost) == 1
    assert (
        lost[0]
        .getMessage()
        .startswith("a message to Slack (slack_default) was lost, and further ones are only counted")
    )
    assert slack.url not in caplog.text
    assert not [record for record in caplog.records if record.name.startswith("slack_sdk")]


@pytest.mark.parametrize(
    ("connection", "reason"),
    [
        (None, "no Connection is called 'slack_default'"),
        (Connection("slack_default", "slackwebhook"), "it has no password, which must be the webhook's URL"),
    ],
)
def test_a_connection_that_is_not_there(lab, connection, reason):
    if connection:
        Connections(lab.store).set(connection)
    assert run(lab, crash()) == ["failed"]
    assert "callback SlackWebhookNotifier(slack_webhook_conn_id='slack_default') failed" in lab.log("load")
    assert reason in lab.log("load")


def test_an_address_that_is_none(lab, caplog):
    tell = SlackWebhookNotifier(webhook_url="ftp://example.org/" + SECRET)
    assert run(lab, Do("load", on_success_callback=tell)) == ["success"]
    assert outbox.flush(10) == 0
    assert "was lost" in caplog.text
    assert "hunter22" not in caplog.text


def test_a_notifier_of_ones_own(lab):
    told = []

    class Tell(BaseNotifier):
        template_fields = ("words",)

        def __init__(self, words):
            self.words = words

        def notify(self, context):
            told.append((self.words, context["ti"].task_id))

    assert run(lab, Do("load", on_success_callback=[Tell("{{ ds }}"), Tell("plain"), BaseNotifier()])) == ["success"]
    assert told == [("2013-01-01", "load"), ("plain", "load")]
    assert "BaseNotifier does not say how it tells; write notify" in lab.log("load")


SCRIPT = """
import sys
from etlkit import DAG, Lab, task
from etlkit.notify import SlackWebhookNotifier

with DAG("weather", on_success_callback=SlackWebhookNotifier(webhook_url=sys.argv[1])) as dag:
    task(lambda: 26, task_id="load")()
Lab(start="2013-01-01").add(dag).trigger(logical_date="2013-01-01")
print("slack_sdk" in sys.modules)
"""


def test_the_message_of_a_short_script_still_leaves():
    with SlackSink() as sink:
        command = [sys.executable, "-c", SCRIPT, sink.url]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        assert (done.stderr, sink.texts) == ("", [f":large_green_circle: *weather* succeeded\n{DAY}"])
