"""Paths that both Segment's and Mixpanel's SDKs send to; what they send tells which of them it is.

/track    events by Segment's API without its version, or by Mixpanel's
/import   batches by Segment's, or older events by Mixpanel's
"""

import re
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import cast

import msgspec
from aiohttp import web

from gateway.errors import RequestError
from gateway.events import decode
from gateway.events.depth import check_depth
from gateway.events.encodings import is_blank
from gateway.http import replies
from gateway.ingest import segment
from gateway.ingest.context import RequestContext
from gateway.ingest.event_handler import EventHandler
from gateway.ingest.mixpanel.collect import Collect, Import, refuse, refuse_import
from gateway.ingest.mixpanel.sent import is_json
from gateway.ingest.router import Refuse, Route

__all__ = ["ROUTES"]

_NOTHING = msgspec.Raw(b"")


class _Envelope(msgspec.Struct, rename="camel"):
    """Members that Segment's events and batches have, and Mixpanel's records do not."""

    batch: msgspec.Raw = _NOTHING
    type: msgspec.Raw = _NOTHING
    user_id: msgspec.Raw = _NOTHING
    anonymous_id: msgspec.Raw = _NOTHING
    message_id: msgspec.Raw = _NOTHING
    write_key: msgspec.Raw = _NOTHING


_EMPTY = _Envelope()
_decode = msgspec.json.Decoder(_Envelope).decode
_decode_list = msgspec.json.Decoder(list[_Envelope]).decode

_FORM = re.compile(rb"[\w.$%-]{1,64}=")
_SEGMENTS = re.compile(rb'"(?:writeKey|messageId|anonymousId)"')
_MIXPANELS = re.compile(rb'"\$?token"')
"""What tells the families apart where nothing else can be read."""


@dataclass(frozen=True, slots=True)
class _Either:
    """The handler of a path that two families have."""

    segments: EventHandler
    mixpanels: Collect | Import
    refused: Refuse

    async def __call__(self, context: RequestContext) -> replies.Answer:
        is_import = isinstance(self.mixpanels, Import)
        body = await (context.import_body() if is_import else context.body())
        answer = self._choose(context, body)
        del body  # whoever answers lets go of it before it waits for the disk
        return await answer

    def refuse(self, context: RequestContext, error: RequestError) -> web.StreamResponse:
        if context.family == "segment" or _has_write_key(context):
            return replies.failed(error)
        return self.refused(context, error)

    def _choose(self, context: RequestContext, body: bytes) -> Awaitable[replies.Answer]:
        if is_blank(body):
            is_segments = "data" not in context.request.query and _has_write_key(context)
        else:
            is_segments = _may_be_json(body) and (_is_segments(body) or _has_write_key(context))
        if is_segments:
            context.family = "segment"
            return self.segments(context, body)
        return self.mixpanels(context, body)


def _may_be_json(body: bytes) -> bool:
    return is_json(body) or (b'{"' in body and not _FORM.match(body))


def _is_segments(body: bytes) -> bool:
    """Tell whether what is in a body is Segment's, as far as it can be read."""
    try:
        check_depth(body)
        if body.lstrip()[:1] == b"[":
            return any(each != _EMPTY for each in _decode_list(body))
        return _decode(body) != _EMPTY
    except (msgspec.DecodeError, RecursionError):
        return _holds_segments(body)


def _holds_segments(body: bytes) -> bool:
    try:
        received = decode(body)
    except RequestError:
        return _SEGMENTS.search(body) is not None and _MIXPANELS.search(body) is None
    return any(
        each.type or each.user_id or each.anonymous_id or each.message_id or each.write_key
        for each in (*received.events, received.shared)
    )


def _has_write_key(context: RequestContext) -> bool:
    """Tell whether a request has the key of a source, and not the credentials of a destination."""
    request, services = context.request, context.services
    if not services.sources.know(context.key()):
        return False
    authorization = request.headers.get("Authorization")
    return services.projects.of_credentials(authorization, request.query.get("project_id")) is None


def _route(place: str, mixpanels: Collect | Import, refused: Refuse) -> Route:
    either = _Either(cast(EventHandler, segment.ROUTES[place].handle), mixpanels, refused)
    return Route(family="mixpanel", handle=either, refuse=either.refuse)


ROUTES = {
    "POST /track": _route("POST /track", Collect("import"), refuse),
    "POST /import": _route("POST /import", Import(), refuse_import),
}
"""In place of those that Segment's family has at the same paths."""
