"""Taking events: what all families do alike, with what each does in its own way left open."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple

from gateway.config import IpPolicy, SourceConfig
from gateway.errors import RequestError
from gateway.events import Received, decode
from gateway.http.header_text import readable
from gateway.http.replies import ACCEPTED, Answer
from gateway.ingest.attempts import is_retry, sender_of
from gateway.ingest.auth import key_in_body
from gateway.ingest.context import RequestContext, Services
from gateway.ingest.rates import Rate, busy_status

__all__ = ["EventHandler", "RequestMetadata"]

_DEVICES = ("analytics-ios/", "analytics-android/")
"""What Segment's former mobile SDKs call themselves; they send where servers do."""

_MAX_USER_AGENT = 512  # longer ones are made up


def _keep(context: RequestContext) -> IpPolicy:
    return "keep"


def _is_from_device(received: Received) -> bool:
    """Return whether events that servers send as well say that they are a mobile device's."""
    return bool(received.events) and received.events[0].channel == "mobile"  # RudderStack's do


def _browser(user_agent: str) -> str | None:
    """Return what a browser calls itself; SDKs and HTTP libraries tell nothing of the user."""
    is_browser = user_agent.startswith("Mozilla/") and len(user_agent) <= _MAX_USER_AGENT
    return readable(user_agent) if is_browser else None


class RequestMetadata(NamedTuple):
    """What a request says around its payload; the same headers and path say the same again.

    :param source: None where the payload has to name it.
    :param rate: what the source may send; None where it may send everything.
    :param busy: the status that makes the SDK send again later.
    :param origin: of the page that sends it.
    :param sent_at: where no payload says so.
    :param from_device: see ``EventHandler``; None where the payload decides.
    :param browser: what it calls itself.
    :param sender: what the SDK or HTTP library calls itself, without its version.
    :param ip: see ``EventHandler``.
    """

    source: SourceConfig | None
    rate: Rate | None
    busy: int
    origin: str | None
    sent_at: str | None
    from_device: bool | None
    browser: str | None
    is_retry: bool
    sender: str
    ip: IpPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class EventHandler:
    """The handler of a route that events are sent to.

    :param type: the type of events that name none.
    :param from_device: whether the events come from the user's own device, so that the address of
        the connection and the browser are the user's; None where servers send as well.
    :param key: finds the write key in what surrounds the payload.
    :param has_key_in_body: whether a ``writeKey`` of the payload counts where there is no other.
    :param may_lack_key: whether events without any key belong to the source that the
        configuration names for them.
    :param payload: returns the JSON that holds the events.
    :param decode: turns it into events.
    :param ip: returns what the client itself wants to be kept of the user's address.
    :param answer: says that they are on disk.
    """

    type: str | None = None
    from_device: bool | None = None
    key: Callable[[RequestContext], str | None] = RequestContext.key
    has_key_in_body: bool = True
    may_lack_key: bool = False
    payload: Callable[[RequestContext], Awaitable[bytes]] = RequestContext.body
    decode: Callable[[bytes], Received] = decode
    ip: Callable[[RequestContext], IpPolicy] = _keep
    answer: Callable[[], Answer] = lambda: ACCEPTED

    @property
    def is_plain(self) -> bool:
        """Whether the payload is the body itself, however it may be compressed."""
        return self.payload is RequestContext.body

    async def __call__(self, context: RequestContext, payload: bytes | None = None) -> Answer:
        """Answer when the events of a request are on disk.

        :param payload: where it has been read already.
        :raises RequestError: (400) it can never be accepted; (401) the key is missing or unknown;
            (503) it is too slow, or there is no room for it; (429, 503) its source sends too much.
        :raises SpoolUnavailable: nothing was kept.
        """
        told = self.read(context)
        self.admit(told)
        if payload is None:
            payload = await self.payload(context)
        services, lease = context.services, context.lease
        stored = self.store(
            told, payload, services, client_ip=context.client_ip(), hold=lease.resize
        )
        del payload
        await stored
        return self.answer()

    def admit(self, told: RequestMetadata) -> None:
        """Let a request in whose source is known already.

        :raises RequestError: (429, 503) the source sends too much.
        """
        if told.rate is not None:
            told.rate.admit(told.busy)

    def read(self, context: RequestContext) -> RequestMetadata:
        """Return what a request says around its payload.

        :raises RequestError: (401) its key is unknown; (400) its page may not send.
        """
        headers = context.request.headers
        origin, agent = headers.get("Origin"), headers.get("User-Agent", "")
        key = self.key(context)
        source = context.services.sources.find(key) if key is not None else None
        if source is not None:
            context.services.sources.check_origin(source, origin)
        is_device = origin is not None or agent.startswith(_DEVICES)
        return RequestMetadata(
            source=source,
            rate=context.services.rates.of_source.get(source.name) if source is not None else None,
            busy=busy_status(context.family, headers),
            origin=origin,
            sent_at=headers.get("SentAt"),  # RudderStack's
            from_device=self.from_device if self.from_device is not None else is_device or None,
            browser=_browser(agent),
            is_retry=is_retry(headers),
            sender=sender_of(headers),
            ip=self.ip(context),
        )

    def store(
        self,
        told: RequestMetadata,
        payload: bytes,
        services: Services,
        *,
        client_ip: str | None,
        hold: Callable[[int], bool],
    ) -> Awaitable[None]:
        """Begin to make the events of a payload durable; the result arrives when they are on disk.

        :param client_ip: the address that the request comes from.
        :param hold: as for ``Accept``.
        :raises RequestError, SpoolUnavailable: (also from the awaitable) as for the handler.
        """
        received = self.decode(payload)
        source, rate = told.source, told.rate
        if source is None:
            key = key_in_body(received) if self.has_key_in_body else None
            if key is None and received.is_damaged and not self.may_lack_key:
                # Where it may have been lost, phones would send this again for ever.
                raise RequestError(
                    400, "invalid_json", "the body is not valid JSON, and no write key is in it"
                )
            source = services.sources.default if key is None and self.may_lack_key else None
            source = source or services.sources.find(key)
            services.sources.check_origin(source, told.origin)
            rate = services.rates.of_source.get(source.name)
            if rate is not None:
                rate.admit(told.busy)
        if self.type is None and received.is_nothing:
            raise RequestError(
                400,
                "no_events",
                'there are no events in the body; send an event, {"batch": [...]}, or a list',
            )
        if rate is not None:
            rate.charge(len(received.events) + len(received.misfits))
        if received.shared.sent_at is None:
            received.shared.sent_at = told.sent_at
        from_device = told.from_device
        if from_device is None:
            from_device = _is_from_device(received)
        return services.accept(
            source,
            received,
            default_type=self.type,
            client_ip=client_ip if from_device else None,
            user_agent=told.browser if from_device else None,
            is_retry=told.is_retry,
            sender=told.sender,
            hold=hold,
            ip=told.ip,
        )
