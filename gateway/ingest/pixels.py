"""Events in the query of an image, as mails and pages without scripts send them."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec
from aiohttp import web
from msgspec import Raw

from gateway.errors import RequestError
from gateway.events.depth import check_depth
from gateway.http import replies
from gateway.ingest.context import RequestContext
from gateway.ingest.event_handler import EventHandler
from gateway.ingest.redirects import redirection
from gateway.ingest.router import Route

__all__ = ["route"]

_MAX_DEPTH = 16
"""Steps that one name may have."""

_NOT_OF_THE_EVENT = frozenset({"data", "writeKey", "writekey", "destination_url"})

_TO_STANDARD = str.maketrans("-_ ", "+/+")  # a "+" that was not escaped arrives as a space

_members = msgspec.json.Decoder(dict[str, Raw]).decode
_encode = msgspec.json.Encoder().encode


def route(family: str, handler: EventHandler, *, link: str = "", **defaults: str) -> Route:
    """Return the route of an image; it is one in any case, whatever becomes of the event.

    :param handler: what is done with the event.
    :param link: the parameter that has the page to lead on to instead, where it may; "" for none.
    :param defaults: see ``_payload``.
    """
    handler = replace(
        handler, payload=partial(_payload, defaults=defaults), answer=lambda: replies.pixel()
    )

    async def handle(context: RequestContext) -> replies.Answer:
        # Who asks only whether the image is there has seen nothing.
        answer = replies.pixel() if context.request.method == "HEAD" else await handler(context)
        return lead(context) or answer

    def refuse(context: RequestContext, error: RequestError) -> web.StreamResponse:
        return lead(context) or replies.pixel(error)

    def lead(context: RequestContext) -> web.Response | None:
        url = context.request.query.get(link, "")
        return redirection(url, context.services.config.server.redirect_origins)

    return Route(family=family, handle=handle, refuse=refuse)


async def _payload(context: RequestContext, defaults: Mapping[str, str]) -> bytes:
    """Return the event of a query as JSON.

    It is in ``data``, as base64 of either alphabet, or its members are parameters, with dots
    between the steps of a path, as in ``properties.plan=pro``; those win.

    :param defaults: members in place of those that are absent or empty.
    :raises RequestError: (400) it is not readable.
    """
    query = context.request.query
    event: dict[str, Any] = {}
    for name, text in query.items():
        if name not in _NOT_OF_THE_EVENT:
            _set(event, name.split("."), text)
    try:
        data = _decoded(query.get("data", ""))
        check_depth(data)
        given = _members(data or b"{}")
        event |= {k: v for k, v in defaults.items() if not event.get(k) and k not in given}
        return _merged(given, event) if event else data or b"{}"
    except (binascii.Error, ValueError, RecursionError):
        raise RequestError(400, "invalid_data", "data must be base64 of a JSON object") from None


def _decoded(data: str) -> bytes:
    text = data.translate(_TO_STANDARD).rstrip("=")
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


def _set(event: dict[str, Any], path: list[str], text: str) -> None:
    if len(path) > _MAX_DEPTH:
        raise RequestError(400, "nested_too_deep", f"a name may have {_MAX_DEPTH} parts")
    *parents, last = path
    for step in parents:
        inner = event.get(step)
        if not isinstance(inner, dict):
            inner = event[step] = {}
        event = inner
    event[last] = text


def _merged(members: dict[str, Raw], over: dict[str, Any]) -> bytes:
    """Return a JSON object with members set; what stays of it keeps every digit."""
    for key, value in over.items():
        if isinstance(value, dict):
            inner = bytes(members.get(key, b""))
            value = Raw(_merged(_members(inner) if inner[:1] == b"{" else {}, value))
        members[key] = value if isinstance(value, Raw) else Raw(_encode(value))
    return _encode(members)
