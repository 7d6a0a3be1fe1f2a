"""Web services."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPMessage
from typing import IO, Any, ClassVar
from urllib.error import HTTPError
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, Request, build_opener

from etlkit.connections import Connection
from etlkit.hooks.base import BaseHook
from etlkit.masking import mask, mask_secret

TIMEOUT = 30.0
"""Seconds to wait for a connection, and for each further part of an answer."""


@dataclass(frozen=True)
class HttpResponse:
    """What a web service answered."""

    status_code: int
    reason: str
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False)

    @property
    def text(self) -> str:
        return self.content.decode("utf-8", errors="replace")

    def json(self) -> Any:
        return json.loads(self.content)


class HttpHook(BaseHook):
    """A hook of a web service: the Connection has its host, port and protocol (in the host or the schema, else http).

    Login and password are sent as basic authentication. `extra` holds headers to send each time; and `timeout`, in
    seconds. Neither leaves the host: a redirect to another one goes without them. Errors name no secret and no query.
    """

    conn_type: ClassVar[str] = "http"
    default_conn_name: ClassVar[str] = "http_default"

    def __init__(
        self, method: str = "POST", http_conn_id: str | None = None, *, connection: Connection | None = None
    ) -> None:
        super().__init__(http_conn_id, connection=connection)
        self.method = method.upper()

    @property
    def base_url(self) -> str:
        """Where the service is, such as https://example.org:8443."""
        connection = self.connection
        host = connection.host or ""
        if "://" not in host:
            protocol = "https" if connection.conn_type == "https" else connection.schema or "http"
            host = f"{protocol}://{host}"
        return f"{host.rstrip('/')}:{connection.port}" if connection.port else host.rstrip("/")

    def get_conn(self) -> OpenerDirector:
        """What opens requests; it keeps headers from hosts that they are not meant for."""
        return build_opener(SameHostHeaders())

    def run(
        self,
        endpoint: str | None = None,
        data: Mapping[str, Any] | str | bytes | None = None,
        headers: Mapping[str, str] | None = None,
        extra_options: Mapping[str, Any] | None = None,
        json: Any = None,
    ) -> HttpResponse:
        """Send one request; HookError unless the status is 2xx, or there is no answer in time.

        `data` is the query of a GET and the body of any other method, a dict as a form; `json` is sent as JSON.
        `extra_options` may hold `timeout`, and `check_response: False` to have any status back.
        """
        options = dict(extra_options or {})
        request = self._request(endpoint or "", data, json)
        extra = self.connection.extra_dejson
        timeout = float(options.get("timeout", extra.pop("timeout", TIMEOUT)))
        for name, value in {**self._authorization(), **extra, **(headers or {})}.items():
            request.add_unredirected_header(name, str(value))
        response = self._send(request, timeout)
        if options.get("check_response", True) and not 200 <= response.status_code < 300:
            answer = mask(response.text)[:200]
            raise self.refusal(f"{_shown(request)} answered {response.status_code} {response.reason}: {answer}")
        return response

    def test_connection(self) -> str:
        request = Request(self.base_url, method="HEAD")
        for name, value in self._authorization().items():
            request.add_unredirected_header(name, value)
        response = self._send(request, TIMEOUT)
        return f"{self.base_url} answers {response.status_code} {response.reason}"

    def _request(self, endpoint: str, data: Mapping[str, Any] | str | bytes | None, payload: Any) -> Request:
        url = f"{self.base_url}/{endpoint.lstrip('/')}" if endpoint else self.base_url
        text = urlencode(data, doseq=True) if isinstance(data, Mapping) else data
        if self.method in ("GET", "HEAD") and text:
            return Request(f"{url}?{text if isinstance(text, str) else text.decode()}", method=self.method)
        if payload is not None:
            text = json.dumps(payload)
        body = text.encode() if isinstance(text, str) else text
        request = Request(url, data=body, method=self.method)
        if payload is not None:
            request.add_header("Content-Type", "application/json")
        return request

    def _authorization(self) -> dict[str, str]:
        connection = self.connection
        if not connection.login and not connection.password:
            return {}
        code = b64encode(f"{connection.login or ''}:{connection.password or ''}".encode()).decode()
        mask_secret(code)
        return {"Authorization": f"Basic {code}"}

    def _send(self, request: Request, timeout: float) -> HttpResponse:
        try:
            with self.get_conn().open(request, timeout=timeout) as answer:
                return HttpResponse(answer.status, answer.reason, dict(answer.headers), answer.read())
        except HTTPError as error:
            with error:
                return HttpResponse(error.code, error.reason, dict(error.headers), error.read())
        except (OSError, HTTPException, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            raise self.refusal(f"{_shown(request)} gave no answer: {reason}") from error


class SameHostHeaders(HTTPRedirectHandler):
    """Sends headers along a redirect only if it stays on the host and port."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        new = super().redirect_request(req, fp, code, msg, headers, newurl)
        before, after = urlsplit(req.full_url), urlsplit(newurl)
        if new is not None and (before.scheme, before.netloc) == (after.scheme, after.netloc):
            for name, value in req.unredirected_hdrs.items():
                new.add_unredirected_header(name, value)
        return new


def _shown(request: Request) -> str:
    """A request as an error may show it: without the query, which may hold a key."""
    return f"{request.get_method()} {request.full_url.partition('?')[0]}"
