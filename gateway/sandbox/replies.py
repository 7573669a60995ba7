"""Mixpanel's answers, in the shapes of its OpenAPI file."""

import base64
import re
from collections.abc import Mapping, Sequence
from typing import TypedDict

import msgspec
from aiohttp import web

from gateway.sandbox.contract import MAX_BODY_BYTES
from gateway.sandbox.faults import Fault

__all__ = [
    "FailedRecordItem",
    "as_json",
    "bad_request",
    "fault",
    "imported",
    "invalid",
    "rate_limited",
    "received",
    "too_large",
    "unauthorized",
]

_PIXEL = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
_CALLBACK = re.compile(r"[A-Za-z_$][\w$.]{0,99}", re.ASCII)


class FailedRecordItem(TypedDict):
    """One item of ``failed_records``."""

    index: int
    insert_id: str
    field: str
    message: str


def as_json(
    body: object, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Answer with ``body`` as JSON."""
    return web.Response(
        body=msgspec.json.encode(body),
        status=status,
        content_type="application/json",
        headers=headers,
    )


def imported(records: int) -> web.Response:
    """Answer StrictReceived: everything was taken."""
    return as_json({"code": 200, "num_records_imported": records, "status": "OK"})


def invalid(records: int, failed: Sequence[FailedRecordItem]) -> web.Response:
    """Answer StrictInvalid: ``records`` were taken, the others were refused."""
    body = {
        "code": 400,
        "error": "some data points in the request failed validation",
        "status": "Bad Request",
        "num_records_imported": records,
        "failed_records": failed,
    }
    return as_json(body, status=400)


def bad_request(error: str) -> web.Response:
    """Answer that nothing was taken, because of the request as a whole."""
    return as_json({"code": 400, "error": error, "status": "Bad Request"}, status=400)


def unauthorized() -> web.Response:
    """Answer StrictUnauthorized."""
    body = {"code": 401, "error": "Invalid credentials", "status": "Unauthorized"}
    return as_json(body, status=401)


def too_large() -> web.Response:
    """Answer StrictTooLarge."""
    body = {
        "code": 413,
        "error": f"request exceeds max limit of {MAX_BODY_BYTES} bytes",
        "status": "Request Entity Too Large",
    }
    return as_json(body, status=413)


def rate_limited(retry_after_s: int | None = None) -> web.Response:
    """Answer RateLimitExceeded; Mixpanel documents no ``Retry-After``, so it is an extra."""
    body = {
        "code": 429,
        "error": "Project exceeded rate limits. Please retry the request with exponential backoff.",
        "status": "Too Many Requests",
    }
    return as_json(body, status=429, headers=_retry_after(retry_after_s))


def received(error: str | None, options: Mapping[str, str]) -> web.Response:
    """Answer Received in the form that the request asks for.

    :param error: None for success.
    :param options: query and form fields: ``verbose``, ``img``, ``callback``.
    """
    status = 1 if error is None else 0
    if options.get("img") == "1":
        return web.Response(body=_PIXEL, content_type="image/gif")
    # The SDKs of others send verbose=2; any number but 0 is taken for a yes.
    verbose = options.get("verbose", "0") not in ("", "0")
    text = msgspec.json.encode({"status": status, "error": error} if verbose else status).decode()
    callback = options.get("callback", "")
    if _CALLBACK.fullmatch(callback):
        return web.Response(text=f"{callback}({text});", content_type="text/javascript")
    return web.Response(text=text, content_type="application/json" if verbose else "text/plain")


def fault(rule: Fault) -> web.Response:
    """Answer as a fault wants: with its body, else the documented one, else a proxy's HTML."""
    headers = _retry_after(rule.retry_after_s)
    if rule.body is not None:
        return web.Response(text=rule.body, status=rule.status, headers=headers)
    match rule.status:
        case 200:
            answer = imported(0)
        case 400:
            answer = bad_request("some data points in the request failed validation")
        case 401:
            answer = unauthorized()
        case 413:
            answer = too_large()
        case 429:
            answer = rate_limited()
        case status:
            # Undocumented, and often not Mixpanel's own: a client must not rely on JSON here.
            answer = web.Response(
                text=f"<html><body><h1>{status}</h1></body></html>",
                status=status,
                content_type="text/html",
            )
    answer.headers.update(headers)
    return answer


def _retry_after(seconds: int | None) -> dict[str, str]:
    return {} if seconds is None else {"Retry-After": str(seconds)}
