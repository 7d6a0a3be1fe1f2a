"""The weather service itself: `DailyWeather` behind real HTTP on this computer, with what goes wrong on a network."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit
from weakref import finalize

from etlkit.clock import Clock, SystemClock
from etlkit.errors import SourceError
from etlkit.sources.weather import DailyWeather, Reading, Revision, new_york_day, published_on

LONGEST_DELAY = 2.0
"""Seconds: a slow answer is slow enough to notice, and never stops a lesson."""

PATH = "/weather"
Day = date | str


class Answer(NamedTuple):
    """A status, the value that becomes JSON, and further headers."""

    status: int
    value: Any
    headers: tuple[tuple[str, str], ...] = ()


class WeatherApi:
    """New York's weather of 2013, served on this computer: ``GET {url}?date=2013-01-08`` answers with JSON.

    The answer is a list of objects with the fields of `Reading`, instants as ISO text in UTC. ``&airport=JFK`` leaves
    out the others. Without a date it is everything that has been published; ``?updated_since=2013-01-08T05:00:00Z``
    asks for what was published at or after an instant. With a `clock`, what it shows is the end of both: nothing is
    published before its time.

    Faults, the same on every run. The first two count requests of a day, and belong to this object:

    - `outages`: the first n requests of a day are answered with 503, and ``Retry-After: 1800``.
    - `truncated`: the first n complete answers of a day break off in the middle.
    - `slow`: seconds (at most 2) that each answer about a day takes.
    - `late`: days whose readings come with another day's answer, and whose own is an empty list.
    - `revisions`: as in `DailyWeather`, readings that come again with that day's answer, corrected.

    `requests` lists what was asked, and the status of the answer. The server ends with `close()`, at the end of a
    `with`, when nothing refers to it any more, or with the process.

    >>> from urllib.request import urlopen
    >>> with WeatherApi() as api, urlopen(f"{api.url}?date=2013-01-08&airport=JFK") as answer:
    ...     readings = json.load(answer)
    ...     print(len(readings), readings[0]["observed_at"], readings[0]["temp"])
    ...     print(*api.requests)
    24 2013-01-08T05:00:00+00:00 32.0
    GET /weather?date=2013-01-08&airport=JFK: 200
    """

    def __init__(
        self,
        *,
        outages: Mapping[Day, int] | None = None,
        revisions: Mapping[Day, Sequence[Revision]] | None = None,
        late: Mapping[Day, Day] | None = None,
        truncated: Mapping[Day, int] | None = None,
        slow: Mapping[Day, float] | None = None,
        clock: Clock | None = None,
    ) -> None:
        service = _Service(
            source=DailyWeather(revisions=revisions),
            late={new_york_day(day): new_york_day(arrival) for day, arrival in (late or {}).items()},
            outages=_by_day(outages),
            truncated=_by_day(truncated),
            slow=_by_day(slow),
            clock=clock,
        )
        self._service = service
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"service": service}))
        server.daemon_threads = True
        self.url = f"http://127.0.0.1:{server.server_port}{PATH}"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        self._end = finalize(self, _shut_down, server, service.closing)

    @property
    def requests(self) -> list[str]:
        """What was asked so far, in order, and the status of each answer."""
        return list(self._service.requests)

    def close(self) -> None:
        """End the server; closing twice is harmless."""
        self._end()

    def __enter__(self) -> WeatherApi:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "serving" if self._end.alive else "closed"
        count = len(self._service.requests)
        return f"WeatherApi, {state}, {count} request{'' if count == 1 else 's'} so far"


def _shut_down(server: ThreadingHTTPServer, closing: threading.Event) -> None:
    closing.set()  # whoever waits for a slow answer waits no longer
    server.shutdown()
    server.server_close()


def _by_day(amounts: Mapping[Day, Any] | None) -> dict[date, Any]:
    """Amounts by New York day; SourceError for one that is none."""
    found = {new_york_day(day): amount for day, amount in (amounts or {}).items()}
    for day, amount in found.items():
        if not isinstance(amount, int | float) or amount < 0:
            raise SourceError(f"a fault on {day} needs a number of requests or seconds, not {amount!r}")
    return found


class _Service:
    """What the service knows and decides; the handler below only speaks HTTP."""

    def __init__(
        self,
        *,
        source: DailyWeather,
        late: dict[date, date],
        outages: dict[date, int],
        truncated: dict[date, int],
        slow: dict[date, float],
        clock: Clock | None,
    ) -> None:
        for day, seconds in slow.items():
            if seconds > LONGEST_DELAY:
                raise SourceError(
                    f"an answer about {day} that takes {seconds:g} s is too slow; {LONGEST_DELAY:g} at most"
                )
        self.source, self.late, self.clock = source, late, clock
        self.outages, self.truncated, self.slow = outages, truncated, slow
        self.closing = threading.Event()
        self.requests: list[str] = []
        self._lock = threading.Lock()

    def answer(self, path: str, query: dict[str, str]) -> Answer:
        """What is answered to a request, if nothing happens to it on the way."""
        if path != PATH:
            return Answer(404, {"error": f"there is only {PATH}"})
        if unknown := query.keys() - {"date", "airport", "updated_since"}:
            return Answer(400, {"error": f"unknown parameter {min(unknown)!r}"})
        try:
            day = new_york_day(query["date"]) if "date" in query else None
            since = _instant(query.get("updated_since"))
            if day and self.happens(self.outages, day):
                return Answer(503, {"error": f"no answer for {day}; try again"}, (("Retry-After", "1800"),))
            readings = self.readings(day, since)
        except (SourceError, ValueError) as error:
            return Answer(400, {"error": str(error)})
        wanted = query.get("airport")
        return Answer(200, [_plain(each) for each in readings if wanted in (None, each.airport)])

    def happens(self, counts: dict[date, int], day: date) -> bool:
        """Whether a fault that is counted happens to this request; then one less is left."""
        with self._lock:
            left = counts.get(day, 0)
            counts[day] = left - 1
            return left > 0

    def wait(self, day: date | None) -> None:
        """Take the time that an answer about that day takes."""
        clock = SystemClock()
        if day and day in self.slow:
            clock.sleep_until(clock.now() + timedelta(seconds=self.slow[day]), wake=self.closing)

    def readings(self, day: date | None, since: datetime | None) -> list[Reading]:
        """The readings that come with a day's answer, or with any, as far as they are published and new enough."""
        now = self.clock.now() if self.clock else None
        days = self.source.days() if day is None else [day]
        return [
            reading
            for each in days
            for reading in self._of(each)
            if (now is None or reading.updated_at <= now) and (since is None or reading.updated_at >= since)
        ]

    def _of(self, day: date) -> list[Reading]:
        own = [] if day in self.late else self.source.extract(day)
        arriving = [each for each, arrival in self.late.items() if arrival == day]
        return own + [published_on(day, reading) for each in arriving for reading in self.source.extract(each)]


def _instant(text: str | None) -> datetime | None:
    found = datetime.fromisoformat(text) if text else None
    if found and found.tzinfo is None:
        raise SourceError(f"updated_since={text} has no time zone; write {text}Z")
    return found


def _plain(reading: Reading) -> dict[str, Any]:
    """A reading as JSON can hold it."""
    values = reading._asdict()
    return values | {name: values[name].astimezone(UTC).isoformat() for name in ("observed_at", "updated_at")}


class _Handler(BaseHTTPRequestHandler):
    service: _Service

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        query = dict(parse_qsl(address.query, keep_blank_values=True))
        answer = self.service.answer(address.path, query)
        day = new_york_day(query["date"]) if answer.status in (200, 503) and "date" in query else None
        self.service.requests.append(f"GET {self.path}: {answer.status}")
        self.service.wait(day)
        broken = answer.status == 200 and day is not None and self.service.happens(self.service.truncated, day)
        self._send(answer, broken)

    def _send(self, answer: Answer, broken: bool) -> None:
        body = json.dumps(answer.value).encode()
        with contextlib.suppress(ConnectionError):  # whoever asked may have lost patience
            self.send_response(answer.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            for name, value in answer.headers:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if broken else body)

    def log_message(self, *args: object) -> None:
        """Requests are kept, not printed."""
