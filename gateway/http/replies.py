"""Answers to clients; the only place that writes their status, headers and bodies.

Success is exactly 200 with a JSON object, errors are JSON objects with ``code`` and ``message``:
anything else makes some SDK lose or resend events.
"""

import base64
import json
from collections.abc import Collection, Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import TypeAlias

from aiohttp import web
from aiohttp.helpers import rfc822_formatted_time

from gateway.errors import RequestError

__all__ = [
    "ACCEPTED",
    "Answer",
    "Constant",
    "complete",
    "document",
    "empty",
    "failed",
    "marked",
    "method_not_allowed",
    "not_modified",
    "pixel",
    "preflight",
    "raw",
    "wire",
]

_JSON = "application/json"
_SERVER = "gateway"
_GIF = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
"""One transparent dot."""

_ALLOWED_HEADERS = (
    "authorization, content-type, content-encoding, accept, cache-control, x-retry-count, "
    "x-write-key, x-enable-debug, x-ip-policy, anonymousid, sentat, rsa-recovered, "
    "rsa-retry-attempt, rsa-since-last-attempt, rsa-since-first-attempt, rsa-retry-reason"
)


class Constant:
    """An answer of status 200 that is always the same, so that it is written once.

    :param body: a JSON object.
    """

    status = 200

    def __init__(self, body: bytes) -> None:
        self.body = body
        self._date = ""
        self._wire = b""  # for whoever is not on a page, until the date changes

    def response(self) -> web.Response:
        """Return it as aiohttp sends it."""
        return web.Response(body=self.body, content_type=_JSON)

    def wire(self, origin: str | None) -> bytes:
        """Return it as it is sent on a connection that goes on.

        :param origin: as for ``complete``.
        """
        if origin is not None:
            return wire(self.response(), origin)
        date = rfc822_formatted_time()
        if date != self._date:
            self._wire, self._date = wire(self.response(), None), date
        return self._wire


Answer: TypeAlias = web.StreamResponse | Constant

ACCEPTED = Constant(b'{"success":true}')
"""The answer that the events are on disk."""


def pixel(error: RequestError | None = None) -> web.Response:
    """Answer an ``<img>``.  It shows nothing in any case; the status tells what happened."""
    status = 200 if error is None else error.status
    response = web.Response(status=status, body=_GIF, content_type="image/gif")
    response.headers["Cache-Control"] = "no-store"
    return response if error is None else marked(response, error)


def document(body: bytes, *, cache: str, content_type: str = _JSON) -> web.Response:
    """Answer with what SDKs and browsers fetch and keep for a while.

    :param cache: the value of ``Cache-Control``.
    """
    response = web.Response(body=body, content_type=content_type)
    response.headers["Cache-Control"] = cache
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def not_modified(*, cache: str) -> web.Response:
    """Answer that what a browser has kept of a document is still right."""
    response = web.Response(status=304)
    response.headers["Cache-Control"] = cache
    return response


def empty(status: int = 200) -> web.Response:
    """Answer with an empty JSON object."""
    return web.Response(status=status, body=b"{}", content_type=_JSON)


def failed(error: RequestError) -> web.Response:
    """Answer with an error."""
    response = web.Response(
        status=error.status, body=_error_body(error.code, error.message), content_type=_JSON
    )
    return marked(response, error)


def marked(response: web.Response, error: RequestError) -> web.Response:
    """Return an answer that says when to come back, and whether on another connection."""
    if error.retry_after_s is not None:
        response.headers["Retry-After"] = str(error.retry_after_s)
    if error.close:
        response.force_close()
    return response


def method_not_allowed(methods: Collection[str]) -> web.Response:
    """Answer that a path is served, but not with this method."""
    allowed = ", ".join(sorted({*methods, "OPTIONS"} | ({"HEAD"} if "GET" in methods else set())))
    response = failed(RequestError(405, "method_not_allowed", f"accepted here: {allowed}"))
    response.headers["Allow"] = allowed
    return response


def raw(error: RequestError, origin: str | None = None) -> bytes:
    """Return an error as it is sent to a connection that is closed without a request.

    :param origin: as for ``complete``.
    """
    body = _error_body(error.code, error.message)
    headers = _readable_by(origin) | {
        "Content-Type": _JSON,
        "Content-Length": str(len(body)),
        "Connection": "close",
        "Server": _SERVER,
    }
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    status = f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}"
    lines = (status, *(f"{name}: {value}" for name, value in headers.items()), "", "")
    return "\r\n".join(lines).encode() + body


def wire(response: web.Response, origin: str | None) -> bytes:
    """Return an answer as it is sent on a connection of HTTP/1.1.

    :param response: that has all its headers but those that every answer has, and its body.
    :param origin: as for ``complete``.
    """
    complete(response, origin)
    body = response.body
    if not isinstance(body, bytes):
        raise TypeError("the body is not at hand")
    headers = response.headers
    headers["Content-Length"] = str(len(body))
    headers["Date"] = rfc822_formatted_time()
    if response.keep_alive is False:
        headers["Connection"] = "close"
    lines = [f"HTTP/1.1 {response.status} {response.reason}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if any("\r" in line or "\n" in line or "\0" in line for line in lines):
        raise ValueError("a header holds a line end")
    return "\r\n".join((*lines, "", "")).encode() + body


@lru_cache(maxsize=64)  # under attack thousands a second are the same
def _error_body(code: str, message: str) -> bytes:
    return json.dumps({"success": False, "code": code, "message": message}).encode()


def preflight(headers_of_request: Mapping[str, str]) -> web.Response:
    """Answer a browser that asks whether it may send; everybody may, and their key decides."""
    response = web.Response(status=204)
    headers = response.headers
    headers["Access-Control-Allow-Methods"] = "GET, POST, HEAD, OPTIONS"
    wanted = headers_of_request.get("Access-Control-Request-Headers", "")
    known = wanted if wanted and wanted.isascii() else _ALLOWED_HEADERS
    headers["Access-Control-Allow-Headers"] = known
    headers["Access-Control-Max-Age"] = "86400"
    return response


def complete(response: web.StreamResponse, origin: str | None) -> None:
    """Add what every answer has: pages of any origin may read it, errors included.

    :param origin: of the page that asked.
    """
    headers = response.headers
    headers["Server"] = _SERVER  # else aiohttp tells its version
    headers.add("Vary", "Origin")
    if origin is None:  # as of most requests
        headers["Access-Control-Allow-Origin"] = "*"
    else:
        headers.update(_readable_by(origin))


def _readable_by(origin: str | None) -> dict[str, str]:
    """Return what makes a browser show an answer to a page, with or without credentials."""
    if origin is None or not origin.isascii():  # which no browser sends
        return {"Access-Control-Allow-Origin": "*"}
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Expose-Headers": "Retry-After",
    }
