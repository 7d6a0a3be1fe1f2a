"""The weather service of the lessons, asked over real HTTP."""

import gc
import json
import subprocess
import sys
import threading
from datetime import UTC, datetime
from http.client import IncompleteRead
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import pytest

from etlkit.clock import SimulatedClock, wall_seconds
from etlkit.errors import SourceError
from etlkit.sources import DailyWeather, HttpSource, Revision, WeatherApi

LATE = {"2013-01-08": "2013-01-10"}
CORRECTED = {"2013-01-15": [Revision("JFK", datetime(2013, 1, 15, 19, tzinfo=UTC), 41.0)]}


def get(api, query):
    with urlopen(f"{api.url}?{query}", timeout=10) as answer:
        return json.load(answer)


def refused(api, query):
    """The status, the error and the headers of an answer that is none."""
    with pytest.raises(HTTPError) as caught:
        get(api, query)
    with caught.value as error:
        return error.code, json.load(error)["error"], error.headers


@pytest.fixture
def serve():
    """Makes services, and closes them."""
    made = []

    def make(**faults):
        made.append(WeatherApi(**faults))
        return made[-1]

    yield make
    for api in made:
        api.close()


def test_it_answers_with_what_the_source_has(serve):
    answer = get(serve(), "date=2013-01-08")
    expected = DailyWeather().extract("2013-01-08")
    assert len(answer) == len(expected) == 72
    assert [(row["airport"], datetime.fromisoformat(row["observed_at"]), row["temp"]) for row in answer] == [
        reading[:3] for reading in expected
    ]
    assert set(answer[0]) == set(expected[0]._fields)


def test_the_engine_s_own_source_reads_it(serve):
    columns = {"airport": "VARCHAR", "observed_at": "TIMESTAMPTZ", "temp": "DOUBLE"}
    source = HttpSource(f"{serve().url}?date=2013-01-08", columns=columns, format="json")
    assert source.read().num_rows == 72


def test_one_airport_alone(serve):
    assert {row["airport"] for row in get(serve(), "date=2013-01-08&airport=LGA")} == {"LGA"}
    assert get(serve(), "date=2013-01-08&airport=SFO") == []


def test_an_outage_ends_after_so_many_requests_of_that_day(serve):
    api = serve(outages={"2013-01-08": 2})
    assert len(get(api, "date=2013-01-07")) == 72
    for _ in range(2):
        status, error, headers = refused(api, "date=2013-01-08")
        assert (status, error, headers["Retry-After"]) == (503, "no answer for 2013-01-08; try again", "1800")
    assert len(get(api, "date=2013-01-08")) == 72
    assert [each.rpartition(" ")[2] for each in api.requests] == ["200", "503", "503", "200"]


def test_a_truncated_body_is_announced_whole_and_breaks_off(serve):
    api = serve(truncated={"2013-01-08": 1})
    with pytest.raises(IncompleteRead) as caught:
        get(api, "date=2013-01-08")
    assert abs(len(caught.value.partial) - caught.value.expected) <= 1
    assert len(get(api, "date=2013-01-08")) == 72


def test_an_outage_comes_before_a_truncated_answer(serve):
    api = serve(outages={"2013-01-08": 1}, truncated={"2013-01-08": 1})
    assert refused(api, "date=2013-01-08")[0] == 503
    with pytest.raises(IncompleteRead):
        get(api, "date=2013-01-08")
    assert len(get(api, "date=2013-01-08")) == 72


def test_a_late_day_comes_with_another(serve):
    api = serve(late=LATE)
    assert get(api, "date=2013-01-08") == []
    rows = get(api, "date=2013-01-10")
    assert len(rows) == 144
    assert {row["updated_at"] for row in rows if row["observed_at"] < "2013-01-09T05"} == {"2013-01-11T04:59:00+00:00"}


def test_a_revision_comes_again_with_its_day(serve):
    rows = get(serve(revisions=CORRECTED), "date=2013-01-15&airport=JFK")
    temps = [row["temp"] for row in rows if row["observed_at"] == "2013-01-15T19:00:00+00:00"]
    assert temps == [39.02, 41.0]


def test_with_a_clock_nothing_is_published_before_its_time(serve):
    clock = SimulatedClock(datetime(2013, 1, 8, 12, 30, tzinfo=UTC))
    api = serve(clock=clock)
    assert len(get(api, "date=2013-01-08&airport=JFK")) == 7  # from 05:00, each 51 minutes later
    clock.jump(datetime(2013, 1, 9, 5, tzinfo=UTC))
    assert len(get(api, "date=2013-01-08&airport=JFK")) == 24
    assert get(api, "date=2013-01-09") == []


def test_what_was_published_since_an_instant(serve):
    api = serve(late=LATE, clock=SimulatedClock(datetime(2013, 1, 11, 5, tzinfo=UTC)))
    rows = get(api, "updated_since=2013-01-11T04:00:00%2B00:00")
    assert len(rows) == 3 + 72
    assert min(row["updated_at"] for row in rows) >= "2013-01-11T04:00:00+00:00"


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ("date=2012-01-01", 400, "no weather for 2012-01-01"),
        ("date=soon", 400, "soon"),
        ("day=2013-01-08", 400, "unknown parameter 'day'"),
        ("updated_since=2013-01-08T05:00:00", 400, "has no time zone"),
    ],
)
def test_a_question_that_means_nothing(serve, query, status, words):
    found = refused(serve(), query)
    assert found[0] == status
    assert words in found[1]


def test_another_path_is_not_there(serve):
    with pytest.raises(HTTPError) as caught:
        urlopen(serve().url.replace("/weather", "/snow"), timeout=10)
    with caught.value as error:
        assert error.code == 404


def test_a_slow_answer_makes_an_impatient_client_give_up(serve):
    api = serve(slow={"2013-01-08": 2})
    with pytest.raises(TimeoutError):
        urlopen(f"{api.url}?date=2013-01-08", timeout=0.1)
    assert len(get(api, "date=2013-01-07")) == 72


def test_closing_lets_go_of_slow_answers(serve):
    api = serve(slow={"2013-01-08": 2})
    began = wall_seconds()
    with pytest.raises(TimeoutError):
        urlopen(f"{api.url}?date=2013-01-08", timeout=0.05)
    api.close()
    assert wall_seconds() - began < 1.5


@pytest.mark.parametrize(
    ("faults", "words"),
    [
        ({"slow": {"2013-01-08": 60}}, "60 s is too slow; 2 at most"),
        ({"outages": {"2013-01-08": "often"}}, "not 'often'"),
        ({"truncated": {"2013-01-08": -1}}, "not -1"),
    ],
)
def test_a_fault_that_cannot_be(faults, words):
    with pytest.raises(SourceError, match=words):
        WeatherApi(**faults)


def test_closed_is_closed_and_twice_is_harmless():
    api = WeatherApi()
    api.close()
    api.close()
    assert repr(api) == "WeatherApi, closed, 0 requests so far"
    with pytest.raises(URLError):
        get(api, "date=2013-01-08")


def test_one_that_nobody_refers_to_any_more_ends():
    url, before = WeatherApi().url, threading.active_count()
    gc.collect()
    with pytest.raises(URLError):
        urlopen(url, timeout=10)
    assert threading.active_count() <= before


def test_a_process_ends_though_it_was_not_closed():
    code = "from etlkit.sources import WeatherApi\napi = WeatherApi(slow={'2013-01-08': 2})\nprint(api)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr, done.returncode) == ("WeatherApi, serving, 0 requests so far\n", "", 0)
