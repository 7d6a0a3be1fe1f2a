"""Requests as connections name them, to a real server."""

import json
import socket
from base64 import b64decode

import pytest

from etlkit.connections import Connection
from etlkit.errors import HookError
from etlkit.hooks import HttpHook
from etlkit.masking import masker

SECRET = "hunter/22"


def hook(web, method="GET", **parts):
    return HttpHook(method, connection=Connection("web", "http", host="127.0.0.1", port=web.port, **parts))


def refused(call, *arguments, **named):
    with pytest.raises(HookError) as error:
        call(*arguments, **named)
    message = str(error.value)
    assert message.startswith("connection 'web': ")
    assert "\n" not in message
    assert "hunter" not in message
    return message


def test_get(web):
    web.answers["/v1/daily"] = (200, {"Content-Type": "application/json"}, [{"airport": "JFK", "name": "뉴욕"}])
    response = hook(web).run("v1/daily", data={"airport": ["JFK", "LGA"], "q": "a b&c"})
    assert response.json() == [{"airport": "JFK", "name": "뉴욕"}]
    assert (response.status_code, response.reason) == (200, "OK")
    assert response.headers["Content-Type"] == "application/json"
    assert json.loads(response.text) == json.loads(response.content)
    assert [(asked.method, asked.path) for asked in web.asked] == [
        ("GET", "/v1/daily?airport=JFK&airport=LGA&q=a+b%26c")
    ]


def test_post_and_others(web):
    HttpHook(connection=hook(web).connection).run("/form", data={"a": 1})
    hook(web, "post").run("/text", data="plain é")
    hook(web, "PUT").run("/json", json={"a": [None, "é"]})
    hook(web, "DELETE").run("/x")
    form, text, document, delete = web.asked
    assert (form.method, form.body, form.headers["content-type"]) == (
        "POST",
        b"a=1",
        "application/x-www-form-urlencoded",
    )
    assert (text.method, text.body) == ("POST", "plain é".encode())
    assert (document.method, json.loads(document.body)) == ("PUT", {"a": [None, "é"]})
    assert document.headers["content-type"] == "application/json"
    assert (delete.method, delete.path, delete.body) == ("DELETE", "/x", b"")


def test_headers_and_login(web):
    connected = hook(web, login="anna", password=SECRET, extra={"X-Token": "token-of-the-lab", "timeout": 5})
    connected.run("/", headers={"X-Once": "1"})
    (asked,) = web.asked
    assert (asked.headers["x-token"], asked.headers["x-once"]) == ("token-of-the-lab", "1")
    kind, code = asked.headers["authorization"].split()
    assert (kind, b64decode(code).decode()) == ("Basic", f"anna:{SECRET}")
    assert "timeout" not in asked.headers
    assert masker.mask(f"Authorization: Basic {code}") == "Authorization: Basic ***"


@pytest.mark.parametrize(
    ("parts", "url"),
    [
        ({"host": "h"}, "http://h"),
        ({"host": "h", "port": 8080}, "http://h:8080"),
        ({"host": "https://h/"}, "https://h"),
        ({"host": "h", "schema": "https", "port": 8443}, "https://h:8443"),
        ({"host": "h", "conn_type": "https"}, "https://h"),
    ],
)
def test_where_the_service_is(parts, url):
    assert HttpHook(connection=Connection("web", **{"conn_type": "http", **parts})).base_url == url


def test_a_status_that_is_no_success(web):
    web.answers["/x"] = (404, {}, f"no such thing,\nand {SECRET} is no key".encode())
    message = refused(hook(web, password=SECRET).run, "x", data={"key": SECRET})
    assert message == (
        f"connection 'web': GET http://127.0.0.1:{web.port}/x answered 404 Not Found: no such thing, and *** is no key"
    )
    assert hook(web).run("x", extra_options={"check_response": False}).status_code == 404
    web.answers["/y"] = (500, {}, b"x" * 1000)
    assert len(refused(hook(web).run, "y")) < 400


def test_redirects(web, other_web):
    web.answers["/here"] = (302, {"Location": "/there"}, b"")
    web.answers["/away"] = (302, {"Location": f"http://127.0.0.1:{other_web.port}/there"}, b"")
    connected = hook(web, login="anna", password=SECRET, extra={"X-Token": "token-of-the-lab"})
    connected.run("here")
    connected.run("away")
    assert [asked.path for asked in web.asked] == ["/here", "/there", "/away"]
    assert all("authorization" in asked.headers and "x-token" in asked.headers for asked in web.asked)
    (elsewhere,) = other_web.asked
    assert elsewhere.path == "/there"
    assert not {"authorization", "x-token"} & elsewhere.headers.keys()


def test_no_answer():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        silent = HttpHook("GET", connection=Connection("web", "http", host="127.0.0.1", port=listener.getsockname()[1]))
        message = refused(silent.run, "x", extra_options={"timeout": 0.01})
        assert message.endswith("/x gave no answer: timed out")
    assert "Connection refused" in refused(silent.run, "x")
    astray = HttpHook(connection=Connection("web", "http", host="http://anna:hunter22@127.0.0.1:port"))
    assert "gave no answer: nonnumeric port" in refused(astray.run)


def test_testing_it(web):
    assert hook(web, password=SECRET).connection.test_connection() == (
        True,
        f"http://127.0.0.1:{web.port} answers 200 OK",
    )
    (asked,) = web.asked
    assert (asked.method, asked.path) == ("HEAD", "/")
    assert "authorization" in asked.headers
