"""Syft's SDKs.  They send no key: the path tells the source, or the configuration does.

Two shapes are theirs: an upload of ``{"events": [...], "userAgentData", "sentAt"}``, and the HTTP
plugin's list of ``{"eventName", "userId", "installationId", ...}``, the rest being properties.
"""

from dataclasses import replace
from typing import Any

import msgspec
from msgspec import Raw

from gateway.events import MAX_EVENTS, Received, decode, with_one_batch
from gateway.ingest.context import RequestContext
from gateway.ingest.event_handler import EventHandler
from gateway.ingest.router import Route

__all__ = ["ROUTES", "decode_upload"]

_FAMILY = "syft"

_NOTHING = Raw(b"")


class _Upload(msgspec.Struct, rename="camel", omit_defaults=True):
    """An upload's own members."""

    events: Raw = _NOTHING
    version: Raw = _NOTHING
    user_agent_data: Raw = _NOTHING
    sent_at: Raw = _NOTHING
    write_key: Raw = _NOTHING
    batch: Raw = _NOTHING  # where all events are once they have been looked for


class _Batch(msgspec.Struct, rename="camel", omit_defaults=True):
    """The same as a batch."""

    batch: Raw
    context: dict[str, Any]
    sent_at: Raw = _NOTHING
    write_key: Raw = _NOTHING


_read_upload = msgspec.json.Decoder(_Upload).decode
_members = msgspec.json.Decoder(dict[str, Raw]).decode
_items = msgspec.json.Decoder(list[Raw]).decode
_encode = msgspec.json.Encoder().encode


def decode_upload(body: bytes) -> Received:
    """Return the events of an upload in either shape; other bodies are read as everywhere.

    :raises RequestError: (400) the body is not JSON of such a shape.
    """
    return decode(body, _reshape)


def _reshape(body: bytes) -> bytes:
    return _as_list(body) if body.lstrip()[:1] == b"[" else _as_batch(body)


def _as_batch(body: bytes) -> bytes:
    upload = _read_upload(body)
    if not upload.events:
        return body
    if upload.batch or len(_encode(upload)) != len(body):  # or other members, or one twice
        upload = _read_upload(with_one_batch(body))
        upload.events = upload.batch or upload.events
    # What Syft's own handler adds to the context of every event.
    library: dict[str, Any] = {"name": "syft"}
    if upload.version:
        library["version"] = upload.version
    context: dict[str, Any] = {"library": library}
    if upload.user_agent_data:
        context["userAgent"] = upload.user_agent_data
    return _encode(_Batch(upload.events, context, upload.sent_at, upload.write_key))


def _as_list(body: bytes) -> bytes:
    items = _items(body)
    return body if len(items) > MAX_EVENTS else _encode([_as_event(item) for item in items])


def _as_event(item: Raw) -> Any:
    try:
        members = _members(item)
    except msgspec.ValidationError:
        return item
    name = members.pop("eventName", None)
    if name is None:
        return item
    return {
        "type": "track",
        "event": name,
        "userId": members.pop("userId", None),
        "anonymousId": members.pop("installationId", None),
        "properties": members,
    }


def _key_in_path(context: RequestContext) -> str | None:
    return context.params["key"]


_UPLOAD = EventHandler(from_device=True, may_lack_key=True, decode=decode_upload)

ROUTES = {
    "POST /api/syft": Route(family=_FAMILY, handle=_UPLOAD),
    "POST /api/syft/{key}": Route(family=_FAMILY, handle=replace(_UPLOAD, key=_key_in_path)),
}
