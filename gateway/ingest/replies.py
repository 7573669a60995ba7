"""Answers to clients; the only place that writes their status, headers and bodies.

Success is exactly 200 with a JSON object, errors are JSON objects with ``code`` and ``message``:
anything else makes some SDK lose or resend events.
"""

import json

from aiohttp import web

from gateway.errors import RequestError

__all__ = ["accepted", "complete", "empty", "failed", "preflight"]

_JSON = "application/json"
_ACCEPTED = b'{"success":true}'

_ALLOWED_HEADERS = (
    "authorization, content-type, content-encoding, accept, cache-control, x-retry-count, "
    "x-write-key, x-enable-debug, x-ip-policy, anonymousid, sentat, rsa-recovered, "
    "rsa-retry-attempt, rsa-since-last-attempt, rsa-since-first-attempt, rsa-retry-reason"
)


def accepted() -> web.Response:
    """Answer that the events are on disk."""
    return web.Response(body=_ACCEPTED, content_type=_JSON)


def empty(status: int = 200) -> web.Response:
    """Answer with an empty JSON object."""
    return web.Response(status=status, body=b"{}", content_type=_JSON)


def failed(error: RequestError) -> web.Response:
    """Answer with an error."""
    body = {"success": False, "code": error.code, "message": error.message}
    response = web.Response(status=error.status, body=json.dumps(body).encode(), content_type=_JSON)
    if error.retry_after_s is not None:
        response.headers["Retry-After"] = str(error.retry_after_s)
    if error.close:
        response.force_close()
    return response


def preflight(request: web.BaseRequest) -> web.Response:
    """Answer a browser that asks whether it may send; everybody may, and their key decides."""
    response = web.Response(status=204)
    headers = response.headers
    headers["Access-Control-Allow-Methods"] = "GET, POST, HEAD, OPTIONS"
    wanted = request.headers.get("Access-Control-Request-Headers")
    headers["Access-Control-Allow-Headers"] = wanted or _ALLOWED_HEADERS
    headers["Access-Control-Max-Age"] = "86400"
    return response


def complete(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Add what every answer has: pages of any origin may read it, errors included."""
    headers = response.headers
    headers["Server"] = "gateway"  # else aiohttp tells its version
    origin = request.headers.get("Origin")
    if origin is None:
        headers["Access-Control-Allow-Origin"] = "*"
        return
    headers["Access-Control-Allow-Origin"] = origin
    headers["Access-Control-Allow-Credentials"] = "true"
    headers["Access-Control-Expose-Headers"] = "Retry-After"
    headers["Vary"] = "Origin"
