"""The outbox: order, tries and pauses, room, losses, and the end of the process."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
from http.client import RemoteDisconnected

import pytest

from etlkit import outbox
from etlkit.clock import SimulatedClock
from etlkit.masking import masker
from etlkit.outbox import PAUSES, Answer, Outbox, ask, flush, outbox_for
from etlkit.testing import SlackSink
from tests.engine import at

OK, GONE, BROKEN = Answer(200, "ok"), Answer(404, "no_service"), Answer(502, "bad gateway")
PATIENCE = 10.0


@pytest.fixture
def box():
    """An outbox whose pauses take no time, and show on its clock."""
    return Outbox("Slack", clock=SimulatedClock(at(1)))


def paused(box):
    """Seconds that it has waited."""
    return (box.clock.now() - at(1)).total_seconds()


class Letter:
    """Gives each of `answers` once, raising exceptions, and then the last one for ever."""

    def __init__(self, *answers):
        self.answers, self.tries = answers, 0

    def __call__(self):
        answer = self.answers[min(self.tries, len(self.answers) - 1)]
        self.tries += 1
        if isinstance(answer, Exception):
            raise answer
        return answer


class Held(threading.Event):
    """A letter that is held up until it is `set`."""

    def __call__(self):
        assert self.wait(PATIENCE)
        return OK


def test_letters_are_sent_in_order(box):
    sent = []
    for number in range(50):
        assert box.post(lambda number=number: sent.append(number) or OK)
    assert box.flush(PATIENCE) == 0
    assert (sent, box.delivered, box.lost, box.waiting) == (list(range(50)), 50, 0, 0)
    assert paused(box) == 0


def test_posting_does_not_wait(box):
    held = Held()
    box.post(held)
    box.post(Letter(OK))
    assert (box.waiting, box.delivered) == (2, 0)
    assert box.flush(0) == 2
    held.set()
    assert box.flush(PATIENCE) == 0
    assert box.delivered == 2


@pytest.mark.parametrize(
    ("answers", "tries", "seconds"),
    [
        ([OK], 1, 0),
        ([Answer(204)], 1, 0),
        ([BROKEN, OK], 2, 1),
        ([BROKEN, BROKEN, OK], 3, 3),
        ([Answer(429, "slow down", 30.0), OK], 2, 30),
        ([Answer(429, "slow down", 0.0), Answer(429), Answer(503, "", 7.0), OK], 4, 0 + 2 + 7),
        ([ConnectionRefusedError(), TimeoutError(), RemoteDisconnected(), OK], 4, 1 + 2 + 4),
    ],
)
def test_tries_until_it_is_taken(box, answers, tries, seconds):
    letter = Letter(*answers)
    box.post(letter)
    box.flush(PATIENCE)
    assert (letter.tries, paused(box), box.delivered, box.lost) == (tries, seconds, 1, 0)


@pytest.mark.parametrize(
    ("answer", "tries", "seconds", "reason"),
    [
        (GONE, 1, 0, "the answer was 404 no_service"),
        (Answer(400, "invalid\npayload"), 1, 0, "the answer was 400 invalid payload"),
        (Answer(302), 1, 0, "the answer was 302"),
        (BROKEN, 6, sum(PAUSES), "the answer was 502 bad gateway"),
        (Answer(429, "slow down", 60.0), 6, 5 * 60, "the answer was 429 slow down"),
        (ConnectionRefusedError(111, "no"), 6, sum(PAUSES), "no answer: ConnectionRefusedError: [Errno 111] no"),
        (ValueError("unknown url type"), 1, 0, "no answer: ValueError: unknown url type"),
    ],
)
def test_what_is_lost_is_logged_with_the_last_answer(box, answer, tries, seconds, reason, caplog):
    letter = Letter(answer)
    box.post(letter)
    box.flush(PATIENCE)
    assert (letter.tries, paused(box), box.delivered, box.lost) == (tries, seconds, 0, 1)
    (message,) = caplog.messages
    assert message.startswith("a message to Slack was lost, and further ones are only counted: ")
    assert message.endswith(reason)


def test_losses_are_logged_once_and_counted(box, caplog):
    for answer in (GONE, GONE, ValueError("odd"), OK, OK, GONE, GONE):
        box.post(Letter(answer))
    box.flush(PATIENCE)
    assert (box.delivered, box.lost) == (2, 5)
    assert [message.partition(":")[0] for message in caplog.messages] == [
        "a message to Slack was lost, and further ones are only counted",
        "Slack takes messages again; lost meanwhile",
        "a message to Slack was lost, and further ones are only counted",
    ]


def test_room_is_bounded(caplog):
    box, held = Outbox("Slack", room=3), Held()
    assert [box.post(letter) for letter in (held, Letter(OK), Letter(OK), Letter(OK), Letter(OK))] == [True] * 3 + [
        False
    ] * 2
    assert (box.waiting, box.lost) == (3, 2)
    assert len(caplog.messages) == 1
    assert "3 others wait already" in caplog.text
    held.set()
    box.flush(PATIENCE)
    assert (box.delivered, box.lost) == (3, 2)
    assert box.post(Letter(OK))
    box.flush(PATIENCE)
    assert box.delivered == 4


def test_a_thread_lives_only_while_letters_wait(box):
    def threads():
        return [thread for thread in threading.enumerate() if thread.name == "outbox for Slack"]

    for _ in range(3):
        held = Held()
        box.post(held)
        (thread,) = threads()
        assert thread.daemon
        held.set()
        thread.join(PATIENCE)
        assert not threads()
    assert box.delivered == 3


def test_a_thread_that_cannot_start_leaves_no_letter_behind(box, monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(threading.Thread, "start", refuse)
        box.post(Letter(OK))
    assert box.waiting == 0
    box.post(Letter(OK))
    assert (box.flush(PATIENCE), box.delivered) == (0, 1)


def test_many_threads_post_at_once(box):
    def post():
        for _ in range(20):
            box.post(Letter(OK))

    box.room = 1000
    threads = [threading.Thread(target=post) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    box.flush(PATIENCE)
    assert (box.delivered, box.lost) == (160, 0)


def test_reasons_are_masked(box, caplog):
    masker.mask_secret("T00/B00/hunter22")
    try:
        assert "hunter22" not in str(ask(Letter(OSError("cannot reach https://hooks/T00/B00/hunter22"))))
        box.post(Letter(Answer(404, "nothing at T00/B00/hunter22")))
        box.flush(PATIENCE)
        assert "nothing at ***" in caplog.text
    finally:
        masker.forget()


def test_each_address_has_its_own(monkeypatch):
    monkeypatch.setattr(outbox, "_outboxes", {})
    one, two, held = outbox_for("https://one", "one"), outbox_for("https://two", "two"), Held()
    assert outbox_for("https://one", "one") is one
    one.post(held)
    two.post(Letter(OK))
    assert two.flush(PATIENCE) == 0
    assert flush(0) == 1
    held.set()
    assert flush(PATIENCE) == 0


def test_closing_logs_what_the_log_does_not_say_yet(box, caplog):
    box.post(Letter(GONE))
    box.close(PATIENCE)
    assert len(caplog.messages) == 1
    box.post(Letter(GONE))
    box.close(PATIENCE)
    held = Held()
    box.post(held)
    box.close(0)
    assert caplog.messages[1:] == [
        "messages to Slack that were lost: 2, of them 0 at the end",
        "messages to Slack that were lost: 3, of them 1 at the end",
    ]
    assert caplog.records[-1].levelno == logging.WARNING
    held.set()
    box.flush(PATIENCE)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_process_sends_only_its_own(monkeypatch):
    held = Held()
    outbox_for("https://slack", "Slack").post(held)
    child = os.fork()
    if not child:
        os._exit(flush(0) + len(outbox._outboxes))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    held.set()
    assert flush(PATIENCE) == 0


# --- the end of the process -------------------------------------------------------------------------------------------

SCRIPT = """
import sys
from urllib.request import urlopen
from etlkit import outbox
from etlkit.outbox import Answer, outbox_for

url, outbox.LAST_WORDS = sys.argv[1], float(sys.argv[2])

def letter():
    with urlopen(url, b'{"text": "the last words"}') as answer:
        return Answer(answer.status)

outbox_for(url, "Slack").post(letter)
print("done")
"""


def run(url, last_words):
    command = [sys.executable, "-c", SCRIPT, url, str(last_words)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout == "done\n"
    return done.stderr


def test_a_short_script_still_sends():
    with SlackSink() as sink:
        assert run(sink.url, 30) == ""
        assert sink.texts == ["the last words"]


def test_a_script_does_not_wait_for_the_dead_and_says_so():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        error = run(f"http://127.0.0.1:{unused.getsockname()[1]}/", 0.1)
    assert error == "messages to Slack that were lost: 1, of them 1 at the end\n"
