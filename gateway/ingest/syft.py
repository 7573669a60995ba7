"""Syft's SDKs.  They send no key: the path tells the source, or the configuration does.

Two shapes are theirs: an upload of ``{"events": [...], "userAgentData", "sentAt"}``, and the HTTP
plugin's list of ``{"eventName", "userId", "installationId", ...}``, the rest being properties.
"""

from dataclasses import replace
from typing import Any

import msgspec
from msgspec import Raw

from gateway.events import Received, decode
from gateway.ingest.call import Call
from gateway.ingest.intake import Intake
from gateway.ingest.routes import Route

__all__ = ["ROUTES", "decode_upload"]

_FAMILY = "syft"

_OF_BATCH = ("sentAt", "writeKey")

_TRACK = Raw(b'"track"')

_members = msgspec.json.Decoder(dict[str, Raw]).decode
_items = msgspec.json.Decoder(list[Raw]).decode
_encode = msgspec.json.Encoder().encode


def decode_upload(body: bytes) -> Received:
    """Return the events of an upload in either shape; other bodies are read as everywhere.

    :raises RequestError: (400) the body is not JSON of such a shape.
    """
    try:
        body = _as_list(body) if body.lstrip()[:1] == b"[" else _as_batch(body)
    except (msgspec.DecodeError, RecursionError):
        pass  # which is told there
    return decode(body)


def _as_batch(body: bytes) -> bytes:
    members = _members(body)
    if "events" not in members:
        return body
    # What Syft's own handler adds to the context of every event.
    context: dict[str, Any] = {"library": {"name": "syft"}}
    if "version" in members:
        context["library"]["version"] = members["version"]
    if "userAgentData" in members:
        context["userAgent"] = members["userAgentData"]
    batch = {"batch": members["events"], "context": context}
    return _encode(batch | {key: members[key] for key in _OF_BATCH if key in members})


def _as_list(body: bytes) -> bytes:
    return _encode([_as_event(item) for item in _items(body)])


def _as_event(item: Raw) -> Any:
    try:
        members = _members(item)
    except msgspec.ValidationError:
        return item
    name = members.pop("eventName", None)
    if name is None:
        return item
    return {
        "type": _TRACK,
        "event": name,
        "userId": members.pop("userId", None),
        "anonymousId": members.pop("installationId", None),
        "properties": members,
    }


def _key_in_path(call: Call) -> str | None:
    return call.params["key"]


_UPLOAD = Intake(from_device=True, may_lack_key=True, decode=decode_upload)

ROUTES = {
    "POST /api/syft": Route(family=_FAMILY, handle=_UPLOAD),
    "POST /api/syft/{key}": Route(family=_FAMILY, handle=replace(_UPLOAD, key=_key_in_path)),
}
