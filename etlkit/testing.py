"""Stand-ins for outside systems, for lessons and tests: real servers on this computer that speak the real protocol.

>>> from urllib.request import Request, urlopen
>>> with SlackSink() as sink:
...     with urlopen(Request(sink.url, b'{"text": "26 rows loaded"}')) as answer:
...         print(answer.status, answer.read().decode())
200 ok
>>> sink.texts
['26 rows loaded']
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, NamedTuple
from urllib.parse import parse_qsl

from etlkit.outbox import outbox_for

SECRET_PATH = "/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX"

PATIENCE = 10.0
"""Seconds to wait for messages that are still on their way."""

MOST_BLOCKS, LONGEST_SECTION = 50, 3_000

Behaviour = int | Literal["close", "slow"]
"""How a request is answered: an HTTP status; "close" hangs up; "slow" waits for `release()`, and then takes it."""


class Planned(NamedTuple):
    """A behaviour for coming requests."""

    behaviour: Behaviour
    retry_after: int | None = None


class SlackSink:
    """An incoming webhook at `url`, on this computer, which keeps what it is sent.

    It answers as Slack does: "ok", or 400 for what is no message. `answer` makes it ill for a while::

        sink.answer(429, retry_after=1)    # the next request is told to come again in a second
        sink.answer(500, times=3)          # then the server is broken for three requests
        sink.answer("close", times=None)   # and after that it hangs up on everybody
    """

    def __init__(self) -> None:
        self.answers: list[Behaviour] = []
        """How each request so far was answered."""
        self._received: list[dict[str, Any]] = []
        self._planned: deque[Planned] = deque()
        self._always = Planned(200)
        self._released = threading.Event()
        self._arrived = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"sink": self}))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        """The webhook's address."""
        return f"http://127.0.0.1:{self._server.server_port}{SECRET_PATH}"

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The messages that were taken, in order; those that this process has on the way are waited for."""
        outbox_for(self.url, "the sink").flush(PATIENCE)
        return list(self._received)

    @property
    def texts(self) -> list[str]:
        """The text of each message."""
        return [message.get("text", "") for message in self.messages]

    def answer(self, behaviour: Behaviour, *, times: int | None = 1, retry_after: int | None = None) -> None:
        """Answer the next `times` requests like this, or with None all after those that are planned already."""
        planned = Planned(behaviour, retry_after)
        if times is None:
            self._always = planned
        else:
            self._planned.extend([planned] * times)

    def release(self) -> None:
        """Let go of the requests that wait because they were answered "slow"."""
        self._released.set()

    def wait_for_requests(self, count: int) -> bool:
        """Return when that many requests have come in all; False if they do not come."""
        with self._arrived:
            return self._arrived.wait_for(lambda: len(self.answers) >= count, PATIENCE)

    def close(self) -> None:
        """Wait for messages that are on their way, and shut the server down."""
        self.release()
        outbox_for(self.url, "the sink").flush(PATIENCE)
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> SlackSink:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        count = len(self.messages)
        return "\n".join([f"SlackSink with {count} message{'' if count == 1 else 's'}", *self.texts])

    def _next(self) -> Planned:
        with self._arrived:
            planned = self._planned.popleft() if self._planned else self._always
            self.answers.append(planned.behaviour)
            self._arrived.notify_all()
            return planned


class _Handler(BaseHTTPRequestHandler):
    sink: SlackSink

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        planned = self.sink._next()
        if planned.behaviour == "close":
            return  # the connection ends without an answer
        if planned.behaviour == "slow":
            self.sink._released.wait()
        elif planned.behaviour != 200:
            self._answer(int(planned.behaviour), "rollup_error", planned.retry_after)
            return
        status, reason = (404, "no_team") if self.path != SECRET_PATH else self._take(body)
        self._answer(status, reason)

    def _take(self, body: bytes) -> tuple[int, str]:
        try:
            text = body.decode()
            message = json.loads(dict(parse_qsl(text)).get("payload", "") if text.startswith("payload=") else text)
        except ValueError:
            return 400, "invalid_payload"
        reason = refusal(message)
        if reason:
            return 400, reason
        self.sink._received.append(message)
        return 200, "ok"

    def _answer(self, status: int, text: str, retry_after: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        if retry_after is not None:
            self.send_header("Retry-After", str(retry_after))
        with contextlib.suppress(ConnectionError):  # whoever asked may have lost patience
            self.end_headers()
            self.wfile.write(text.encode())

    def log_message(self, *args: object) -> None:
        """Requests are kept, not printed."""


def refusal(message: Any) -> str | None:
    """What Slack would say to a message that it does not take.

    >>> refusal({"text": ""})
    'no_text'
    """
    if not isinstance(message, dict):
        return "invalid_payload"
    blocks = message.get("blocks") or []
    if not (message.get("text") or blocks or message.get("attachments")):
        return "no_text"
    if not isinstance(blocks, list) or len(blocks) > MOST_BLOCKS or not all(map(is_block, blocks)):
        return "invalid_blocks"
    return None


def is_block(block: Any) -> bool:
    """Whether it has a type, and if it is a section with a text, that has a fitting length."""
    if not isinstance(block, dict) or not isinstance(block.get("type"), str):
        return False
    text = block.get("text")
    if block["type"] != "section" or text is None:
        return True
    return isinstance(text, dict) and isinstance(text.get("text"), str) and 0 < len(text["text"]) <= LONGEST_SECTION
