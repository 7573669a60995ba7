"""Answers as Mixpanel gives them, so that its SDKs neither lose nor resend anything.

What can never be accepted is answered 200 with 0: phones keep and resend whatever is answered
otherwise.
"""

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import msgspec
from aiohttp import web

from gateway.errors import RequestError
from gateway.events.mixpanel import FAULTS, RefusedRecord
from gateway.http import replies
from gateway.ingest.mixpanel.sent import Options

__all__ = [
    "failed_import",
    "gone",
    "imported",
    "partly_imported",
    "received",
    "too_large",
    "unauthorized",
    "unavailable",
]

_CALLBACK = re.compile(r"[A-Za-z_$][\w$.]{0,99}", re.ASCII)


def received(error: str | None, options: Options) -> web.Response:
    """Answer what was sent to /track, /engage or /groups, in the form that the SDK asks for.

    :param error: why nothing of it is taken; None when something is.
    :param options: ``img``, ``callback``, ``verbose``, in this order.
    """
    status = 1 if error is None else 0
    if options.has("img"):
        return replies.pixel()
    is_verbose = options.has("verbose")
    text = _encode({"status": status, "error": error} if is_verbose else status)
    callback = options.get("callback", "")
    if _CALLBACK.fullmatch(callback):
        response = _fresh(b"%b(%b);" % (callback.encode(), text), "text/javascript")
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response
    return _fresh(text, "application/json" if is_verbose else "text/plain")


def _fresh(body: bytes, content_type: str) -> web.Response:
    """Return an answer that holds for this request alone, which may have come with GET."""
    headers = {"Cache-Control": "no-store"}
    return web.Response(body=body, content_type=content_type, headers=headers)


def unavailable(error: RequestError) -> web.Response:
    """Answer that the same can be sent again later."""
    return replies.marked(_json(error.status, {"status": 0, "error": error.message}), error)


def too_large(error: RequestError) -> web.Response:
    """Answer that less of it should be sent at once."""
    return replies.marked(_json(413, {"status": 0, "error": error.message}), error)


def imported(records: int) -> web.Response:
    """Answer /import: all of it is taken."""
    return _json(200, {"code": 200, "num_records_imported": records, "status": "OK"})


def partly_imported(records: int, problems: Sequence[RefusedRecord]) -> web.Response:
    """Answer /import: so many are taken, the others are not."""
    failed = [
        {
            "index": problem.index,
            "insert_id": problem.insert_id,
            "field": FAULTS[problem.fault].field,
            "message": FAULTS[problem.fault].message,
        }
        for problem in problems
    ]
    body = {
        "code": 400,
        "error": "some data points in the request failed validation",
        "status": "Bad Request",
        "num_records_imported": records,
        "failed_records": failed,
    }
    return _json(400, body)


def failed_import(error: RequestError, *, max_bytes: int) -> web.Response:
    """Answer /import: nothing of it is taken.

    :param max_bytes: that a body may have.
    """
    status, message = error.status, error.message
    phrase = HTTPStatus(status).phrase
    if error.code == "body_too_large":
        status, message = 413, f"request exceeds max limit of {max_bytes} bytes"
        phrase = "Request Entity Too Large"  # as Mixpanel says, and Python said before 3.13
    body = {"code": status, "error": message, "status": phrase}
    return replies.marked(_json(status, body), error)


def unauthorized() -> RequestError:
    """Refuse credentials that belong to no destination."""
    return RequestError(401, "invalid_credentials", "Invalid credentials")


def gone() -> web.Response:
    """Answer /decide, which Mixpanel has retired."""
    return _json(410, {"error": "/decide has been retired; feature flags are at /flags"})


def _json(status: int, body: dict[str, Any]) -> web.Response:
    return web.Response(status=status, body=_encode(body), content_type="application/json")


_encode = msgspec.json.Encoder().encode
