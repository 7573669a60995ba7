"""Jitsu's SDK: one event in a request, its key in a header of its own, and privacy by a header.

The key that its events name is masked, as in ``id:***``: it never counts.
"""

from dataclasses import replace

import msgspec
from msgspec import Raw

from gateway.config import IpPolicy
from gateway.events import Received, decode, kind_of
from gateway.http import replies
from gateway.ingest import pixels
from gateway.ingest.context import RequestContext
from gateway.ingest.event_handler import EventHandler
from gateway.ingest.router import Route
from gateway.ingest.segment import TYPES

__all__ = ["ROUTES"]

_FAMILY = "jitsu"

_POLICIES: dict[str, IpPolicy] = {"remove": "drop", "stripLastOctet": "truncate"}
"""What is kept of the user's address, by ``X-IP-Policy``."""

_members = msgspec.json.Decoder(dict[str, Raw]).decode
_encode = msgspec.json.Encoder().encode


def _key(context: RequestContext) -> str | None:
    scheme, _, token = context.request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return context.key()


def _ip(context: RequestContext) -> IpPolicy:
    return _POLICIES.get(context.request.headers.get("X-IP-Policy", ""), "keep")


class _Properties(msgspec.Struct):
    name: str | None = None


_properties = msgspec.json.Decoder(_Properties).decode


def _decode(body: bytes) -> Received:
    """Return the events; the SDK has the name of a page in its properties only."""
    received = decode(body)
    for event in received.events:
        if event.name is None and event.properties and kind_of(event) == "page":
            try:
                event.name = _properties(event.properties).name
            except msgspec.ValidationError:
                continue
    return received


def _decode_from_device(body: bytes) -> Received:
    """Return the events without the addresses that they name: a page does not know its own."""
    received = _decode(body)
    for event in (*received.events, received.shared):
        try:
            members = _members(event.context or b"{}")
        except msgspec.ValidationError:
            continue
        if members.pop("ip", None) is not None:
            event.context = Raw(_encode(members))
    return received


_ACCEPTED = replies.Constant(b'{"success":true,"ok":true}')

_FROM_SERVER = EventHandler(
    from_device=False,
    key=_key,
    has_key_in_body=False,
    may_lack_key=True,
    decode=_decode,
    ip=_ip,
    answer=lambda: _ACCEPTED,
)
_FROM_DEVICE = replace(_FROM_SERVER, from_device=True, decode=_decode_from_device)


def _routes() -> dict[str, Route]:
    routes = {"POST /api/s/s2s/batch": Route(family=_FAMILY, handle=_FROM_SERVER)}
    names = {name: kind for kind in TYPES for name in (kind, kind[0])}
    for name, kind in {**names, "event": None, "e": None}.items():
        server, device = replace(_FROM_SERVER, type=kind), replace(_FROM_DEVICE, type=kind)
        routes[f"POST /api/s/s2s/{name}"] = Route(family=_FAMILY, handle=server)
        routes[f"POST /api/s/{name}"] = Route(family=_FAMILY, handle=device)
        routes[f"GET /api/px/{name}"] = pixels.route(_FAMILY, device, link="destination_url")
    return routes


ROUTES = _routes()
