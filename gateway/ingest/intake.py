"""Taking events: what all families do alike, with what each does in its own way left open."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from gateway.events import Received, decode
from gateway.ingest import replies
from gateway.ingest.auth import check_origin, key_in_body, key_in_request
from gateway.ingest.call import Call

__all__ = ["Intake"]


def _key_in_request(call: Call) -> str | None:
    return key_in_request(call.request)


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """The handler of a route that events are sent to.

    :param type: the type of events that name none.
    :param from_device: whether the events come from the user's own device, so that the address of
        the connection is the user's.
    :param key: finds the write key in what surrounds the payload.
    :param has_key_in_body: whether a ``writeKey`` of the payload counts where there is no other.
    :param payload: returns the JSON that holds the events.
    :param decode: turns it into events.
    :param answer: says that they are on disk.
    """

    type: str | None = None
    from_device: bool = False
    key: Callable[[Call], str | None] = _key_in_request
    has_key_in_body: bool = True
    payload: Callable[[Call], Awaitable[bytes]] = Call.body
    decode: Callable[[bytes], Received] = decode
    answer: Callable[[], web.StreamResponse] = replies.accepted

    async def __call__(self, call: Call, payload: bytes | None = None) -> web.StreamResponse:
        """Answer when the events of a request are on disk.

        :param payload: where it has been read already.
        :raises RequestError: (400) it can never be accepted; (401) the key is missing or unknown;
            (503) it is too slow, or there is no room for it.
        :raises SpoolUnavailable: nothing was kept.
        """
        services, headers = call.services, call.request.headers
        key = self.key(call)
        source = services.sources.find(key) if key is not None else None
        if source is not None:
            check_origin(source, call.request)
        if payload is None:
            payload = await self.payload(call)
        received = self.decode(payload)
        if source is None:
            source = services.sources.find(key_in_body(received) if self.has_key_in_body else None)
            check_origin(source, call.request)
        if received.shared.sent_at is None:
            received.shared.sent_at = headers.get("SentAt")  # RudderStack's
        is_from_device = self.from_device or "Origin" in headers
        stored = services.accept(
            source,
            received,
            default_type=self.type,
            client_ip=call.client_ip() if is_from_device else None,
            is_retry=headers.get("X-Retry-Count", "0") != "0"
            or headers.get("Rsa-Retry-Attempt", "0") != "0",
            hold=call.lease.resize,
        )
        # What waits for the disk is the records; nothing else of the request is kept.
        del payload, received
        await stored
        return self.answer()
