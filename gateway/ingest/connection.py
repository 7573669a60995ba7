"""One connection: what aiohttp's protocol does, within bounds of time and memory.

aiohttp has no deadline for headers, keeps reading ahead of the request it is handling, waits for
the rest of a malformed body, and reads on after a refusal.  The event loop reads from all sockets
that have something before any request is looked at.  This class mends these five.
"""

import asyncio
import logging
from typing import TYPE_CHECKING, Any, cast

from aiohttp import StreamReader, web
from aiohttp.http import HttpRequestParser, HttpVersion10, HttpVersion11, RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD

from gateway.errors import RequestError
from gateway.http import replies
from gateway.http.malformed import (
    BODY,
    OTHER,
    PROXY_PROTOCOL,
    Fault,
    fault_in,
    may_be_mended,
    mended,
    origin_in,
)
from gateway.http.memory_budget import Lease
from gateway.http.proxy_protocol import Preamble, ProxyProtocolError, may_begin
from gateway.http.proxy_protocol import read as read_preamble
from gateway.http.refusals import REST_S, no_room, slow_head
from gateway.ingest.short_way import ShortWay

if TYPE_CHECKING:
    from gateway.ingest.connections import Connections

__all__ = ["Connection"]

_log = logging.getLogger(__name__)

_HEAD_BYTES = 1024
_LINE_BYTES = 400
_TEXTS = 4
"""What an unfinished head and each line of it take besides their text, and how often that is there:
here, and in the parser as bytes, as text, and as what it was cut from."""

_USUAL_HEAD_BYTES = 4096
"""What is taken for granted of a head that is complete."""

_MAX_UNSENT_BYTES = 16 * 1024
"""Answers that a client has not read yet; beyond it no more requests of it are handled."""

_READ_S = 10.0
"""How long a client may leave answers unread."""

_LINGER_S = 2.0
_LINGER_BYTES = 256 * 1024
"""What is read and forgotten after a refusal, so that clients that send first see the answer."""

_POLL_S = 0.01


class Connection(ShortWay):
    """Created for each accepted connection.

    :param hub: has the limits and sweeps over all connections.
    """

    __slots__ = (
        "_body",
        "_came",
        "_deaf",
        "_discarded",
        "_fault_origin",
        "_head_fault",
        "_head_lease",
        "_head_since",
        "_head_taken",
        "_head_text",
        "_is_chunked",
        "_is_held",
        "_is_sent_away",
        "_lingering",
        "_preamble",
        "_rests_until",
        "_skips_since",
        "_unread_since",
        "head_taken",
    )

    def __init__(self, hub: "Connections", **options: Any) -> None:
        super().__init__(hub, **options)
        self._body: StreamReader = EMPTY_PAYLOAD  # of the last request
        self._is_chunked = False  # likewise
        self._came = hub.budget.lease()  # what no request has begun to read
        self._head_since = 0.0  # when an unfinished head began; 0 while there is none
        self._head_text = bytearray()  # of that one
        self._head_taken = 0  # by it
        self._is_held = False  # it is not given to the parser before its line has come
        self._head_fault: Fault | None = None  # of one that was refused
        self._fault_origin: str | None = None  # of the page that has sent it
        self.head_taken = 0  # what the heads that came last take beyond what is usual
        self._head_lease: Lease | None = None
        self._preamble: bytes | None = None  # of a proxy, as far as it has come; None behind it
        self._is_sent_away = False  # whoever sent the request under way
        self._rests_until = 0.0
        self._unread_since = 0.0
        self._skips_since = 0.0  # when a request was refused whose body is still coming
        self._deaf = False
        self._discarded = 0
        self._lingering: asyncio.Future[None] | None = None

    # What arrives

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the clock of the first request's headers."""
        cast(asyncio.Transport, transport).set_write_buffer_limits(high=_MAX_UNSENT_BYTES)
        self._head_since = self._loop.time()
        super().connection_made(transport)
        if self._hub.is_proxy is not None and self._hub.is_proxy(self.peer):
            self._preamble = b""

    def data_received(self, data: bytes) -> None:
        """Take what arrives; see ``asyncio.Protocol``."""
        if self._preamble is not None:
            data = self._take_preamble(self._preamble + data)
            if not data:
                return
        if self._is_at_rest and self._begin_again(data):
            if self._head_since:
                self._end_head()
        elif self._deaf:
            self._discard(len(data))
        else:
            body = self._body
            is_between = body.is_eof()
            has_room = self._skips_since > 0 or self._has_room_for(len(data), is_between=is_between)
            if has_room or self._is_at_rest:
                has_room = self._take(data, has_room=has_room, is_between=is_between)
            if not has_room:
                self._refuse(is_between=is_between)
            if not is_between:
                self._hub.arrivals.look(body)

    def _take_preamble(self, data: bytes) -> bytes:
        """Take what a trusted proxy says of its client by the PROXY protocol; return the rest."""
        try:
            preamble = read_preamble(data) if may_begin(data) else Preamble(0, None)
        except ProxyProtocolError:
            self._preamble = None
            self._hub.count_malformed(PROXY_PROTOCOL, self.peer)
            self._dismiss(_refusal(PROXY_PROTOCOL))
            return b""
        if preamble is None:
            self._preamble = data
            return b""
        self._preamble = None
        if preamble.address is not None:
            self.told_peer = (preamble.address, 0)
        return data[preamble.size :]

    def _take(self, data: bytes, *, has_room: bool, is_between: bool) -> bool:
        """Have it parsed, and begin with a request; return whether there is room for it.

        :param has_room: whether it is counted; where it is not, only a request that begins at once
            may take it, since that counts it or is refused.
        :param is_between: whether it does not belong to a body that had begun to arrive.
        """
        body = self._body
        left = len(self._messages)
        if self._is_held:
            self._feed_mended(data)
        else:
            self._feed(data)
            if is_between and not left and self._messages and not self._is_parsed:
                self._feed_mended(data)
        if self._skips_since:
            self._skip(body)
            has_room = not self._messages  # what comes behind that body is not counted
        if not self._messages:
            if has_room and is_between and (self._head_text or data.lstrip(b"\r\n")):
                self._take_part_of_head(data)
            return has_room
        self._take_requests(data)
        if not self._messages:
            return has_room
        if self._is_free and self._prompt is None and self._begin_promptly():
            return True
        if has_room or self._came.resize(len(data)):
            self._leave_to_task()
            return True
        while len(self._messages) > left:
            self._messages.pop()
        return False

    def _has_room_for(self, size: int, *, is_between: bool) -> bool:
        """Count what has arrived, before it is kept, until a request counts it as its own."""
        arrivals = self._hub.arrivals
        if is_between or self._body not in arrivals:
            return self._came.resize(self._came.size + size)
        return not self._is_chunked or arrivals.grow(self._body, size)  # else it is counted whole

    def _refuse(self, *, is_between: bool) -> None:
        """Take nothing more: there is no room for it."""
        self._hub.count_refusal("memory")
        self._deaf = True
        if is_between:
            self._turn_away()
        elif not self._hub.arrivals.cut(self._body, no_room()):
            self._body.set_exception(no_room())  # its request has not begun

    def _turn_away(self) -> None:
        """Say that there is no room, after the answer to the request before."""
        if self._is_answering and self.transport is not None:
            self._loop.call_later(_POLL_S, self._turn_away)
        else:
            self._dismiss(no_room())

    def begin_request(self) -> None:
        """Leave what has come to the request that reads it now."""
        self._is_sent_away = False
        if self._deaf or not self._messages:  # else it is also of those behind it
            self._came.release()

    @property
    def _is_parsed(self) -> bool:
        """Whether the last request that has come is one."""
        return isinstance(self._messages[-1][0], RawRequestMessage)

    def _feed_mended(self, data: bytes) -> None:
        """Have a head parsed again that was refused, if only its target was written wrongly.

        Where its line has not come as a whole it is held until it has.
        """
        size = len(self._head_text) + len(data)
        if size <= self._hub.limits.line_bytes and (
            b"\n" not in data if self._is_held else may_be_mended(bytes(self._head_text) + data)
        ):
            self._messages.clear()
            self._is_held = True
            return
        text = bytes(self._head_text) + data
        better = mended(text)
        if better is None and not self._is_held:
            return
        self._is_held = False
        self._messages.clear()
        self._parser = HttpRequestParser(  # the other one has had enough
            self,
            self._loop,
            self._read_bufsize,
            max_line_size=self.max_line_size,
            max_field_size=self.max_field_size,
            max_headers=self.max_headers,
            payload_exception=web.RequestPayloadError,
            auto_decompress=False,
            max_msg_queue_size=self._max_msg_queue_size,
        )
        self._feed(text if better is None else better)

    def _take_requests(self, data: bytes) -> None:
        messages = self._messages
        text = bytes(self._head_text) + data if self._head_text else data
        if self._head_since:
            self._end_head()
        message, body = messages[-1]
        if not isinstance(message, RawRequestMessage):
            self._take_malformed(text, message.exc)
            return
        if message.version is not HttpVersion11 and message.version != HttpVersion10:
            self._refuse_head(text)
            return
        self.head_taken = 0
        if len(text) > _USUAL_HEAD_BYTES and not self._has_usual_heads(text):
            return
        self._body = body
        self._is_chunked = message.chunked
        if len(messages) > 1 and not self._buffer_paused:
            # Requests that wait behind another one are not read any further.
            self._pause_reading_for_buffer()

    def _has_usual_heads(self, text: bytes) -> bool:
        """Measure the heads that have come; refuse one that is too large."""
        largest = max(map(_size_of, (message for message, _ in self._messages)))
        if largest > self._hub.limits.head_bytes:
            self._refuse_head(text)
            return False
        if largest > _USUAL_HEAD_BYTES:
            self.head_taken = _TEXTS * largest
        return True

    def _refuse_head(self, text: bytes) -> None:
        """Refuse what the parser takes for a request, and whatever else has come with it."""
        self._messages.clear()
        fault = fault_in(text, self._hub.limits)
        self._hub.count_malformed(fault, self.peer)
        self._dismiss(_refusal(fault), origin_in(text))

    def _take_malformed(self, text: bytes, error: BaseException) -> None:
        """Take what is no HTTP: nothing after it can be told from it."""
        messages = self._messages
        self._deaf = True
        if len(messages) == 1:
            self._came.release()
        error.__traceback__ = None  # which keeps the message: a circle
        fault = BODY
        if self._body.is_eof():
            self._head_fault = fault = fault_in(text, self._hub.limits)
            self._fault_origin = origin_in(text)
        else:
            # It is the body of a request that is being handled, which has the answer to give.
            messages.pop()
            self._body.set_exception(web.RequestPayloadError("malformed"))
        self._hub.count_malformed(fault, self.peer)

    def _take_part_of_head(self, data: bytes) -> None:
        if not self._head_since:
            self._head_since = self._loop.time()
        text = self._head_text
        text += data
        if len(text) > self._hub.limits.head_bytes:
            self._refuse_head(bytes(text))
            return
        if self._head_lease is None:
            self._head_lease = self._hub.budget.lease()
        self._head_taken += _TEXTS * len(data) + _LINE_BYTES * data.count(b"\n")
        if not self._head_lease.resize(_HEAD_BYTES + self._head_taken, arriving=True):
            self._hub.count_refusal("memory")
            self._dismiss(no_room(), origin_in(bytes(text)))

    def _end_head(self) -> None:
        self._head_since = 0.0
        if self._head_text:
            self._head_text = bytearray()
            self._head_taken = 0
        if self._head_lease is not None:
            self._head_lease.release()
            self._head_lease = None

    def connection_lost(self, exc: BaseException | None) -> None:
        """Give back what the connection held."""
        self._end_head()
        self._came.release()
        self._stop_lingering()
        body, self._body = self._body, EMPTY_PAYLOAD  # which knows nothing of this connection
        super().connection_lost(exc)
        self._hub.arrivals.look(body)

    @property
    def _is_at_rest(self) -> bool:
        """Whether nothing has come that is not answered, and nothing ends the connection."""
        return (
            self.is_idle
            and not (self._messages or self._paused or self._close or self._force_close)
            and self._body.is_eof()
        )

    # Sending away

    def may_skip(self, request: web.BaseRequest) -> bool:
        """Return whether the rest of a body is to be read and forgotten, and the connection kept.

        That of a client that was sent away; a new connection would cost more.
        """
        length = request.content_length
        return self._is_sent_away and self._prompt is not None and (length or 0) > 0

    def _skip(self, body: StreamReader) -> None:
        """Forget what has come of a body that nobody reads."""
        if body.exception() is None:
            body.read_nowait()
        if body.is_eof():
            self._skips_since = 0.0

    def _let_go(self, body: StreamReader) -> None:
        """Forget what was not read of a body: it would stay until the next request."""
        if not body.is_eof():
            self._skips_since = self._loop.time()
        self._skip(body)

    def send_away(self, *, rests: bool) -> None:
        """Take note that the request under way is refused for want of room.

        :param rests: whether to read nothing for about as long as the client was told to stay away,
            and at most a sweep longer: one that tries again at once costs nothing meanwhile.
        """
        self._is_sent_away = True
        if rests:
            self._rests_until = self._loop.time() + REST_S
            self._pause_transport_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Read on, and parse what is left, if that was stopped: each read of a body asks for it."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def _resume_transport_reading(self) -> None:
        """Read on, but not before a rest is over: forgetting a body makes room in its buffer."""
        if not self._rests_until:
            super()._resume_transport_reading()

    def _dismiss(self, error: RequestError, origin: str | None = None) -> None:
        """Answer what is no whole request, and close.

        :param origin: of the page that has sent it.
        """
        self._end_head()
        if not self._messages:
            self._came.release()
        self._deaf = True
        if self.transport is None:
            return
        if self._is_answering:
            self._close = True  # after the answer to the request before
            return
        self._hub.count_answer(error.status)
        self.transport.write(replies.raw(error, origin))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._loop.call_later(_LINGER_S, self.force_close)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send an answer; where the client may still be sending, let it see the answer."""
        sent = await super().finish_response(request, resp, start_time)
        if not resp.keep_alive:
            await self._see_off()
        return sent

    async def _see_off(self) -> None:
        transport = self.transport
        is_sending = self._deaf or not self._body.is_eof()
        if transport is None or self._is_half_closed or not is_sending:
            return
        self._deaf = True
        if transport.can_write_eof():
            transport.write_eof()
        self._rests_until = 0.0
        self._resume_transport_reading()
        self._lingering = self._loop.create_future()
        timer = self._loop.call_later(_LINGER_S, self._stop_lingering)
        try:
            await self._lingering
        finally:
            timer.cancel()
            self._lingering = None

    def _discard(self, size: int) -> None:
        self._discarded += size
        if self._discarded > _LINGER_BYTES:
            self._pause_transport_reading()  # what it has sent may still fit the system's buffers

    def _stop_lingering(self) -> None:
        if self._lingering is not None and not self._lingering.done():
            self._lingering.set_result(None)

    def eof_received(self) -> bool:  # type: ignore[override]  # as asyncio has it
        """Note that the client will not send more; return whether it still gets answers."""
        self._stop_lingering()
        transport, body = self.transport, self._body
        is_waiting = self._is_answering or len(self._messages) > 0
        if transport is None or not is_waiting or not transport.can_write_eof():
            return False
        self._is_half_closed = True
        if not body.is_eof():
            body.set_exception(web.RequestPayloadError("cut off"))
            self._hub.arrivals.look(body)
        return True

    # What the hub's sweep finds

    def pause_writing(self) -> None:
        """Note that the client does not read its answers."""
        super().pause_writing()
        self._unread_since = self._loop.time()

    def resume_writing(self) -> None:
        """Note that it does."""
        super().resume_writing()
        self._unread_since = 0.0

    def sweep(self, now: float, transport: asyncio.Transport) -> bool:
        """Go on after a rest; return whether something takes so long that it has to be ended.

        :param transport: of this connection, also while it is being closed.
        """
        if self._rests_until and now > self._rests_until:
            self._rests_until = 0.0
            if not (self._reading_paused or self._buffer_paused):
                self._resume_transport_reading()
        if transport.is_closing() and not self._unread_since:
            self._unread_since = now  # it closes when everything is sent
        return self._is_slow_head(now) or self._is_slow_reader(now) or self._is_slow_body(now)

    def _is_slow_head(self, now: float) -> bool:
        return self._head_since > 0 and now - self._head_since > self._hub.header_timeout_s

    def _is_slow_body(self, now: float) -> bool:
        """Whether a body that nobody reads takes too long; for others see ``Arrivals``."""
        return self._skips_since > 0 and now - self._skips_since > self._hub.body_timeout_s

    def _is_slow_reader(self, now: float) -> bool:
        return self._unread_since > 0 and now - self._unread_since > _READ_S

    def end_slow(self, transport: asyncio.Transport) -> None:
        """End what takes too long, if it still does."""
        now = self._loop.time()
        if self._is_slow_reader(now):
            self._hub.count_refusal("slow_reader")
            transport.abort()
        elif self._is_slow_body(now):
            self._hub.count_refusal("body_timeout")
            self.force_close()
        elif self._is_slow_head(now):
            self._hub.count_refusal("header_timeout")
            if self._head_text:
                self._dismiss(slow_head(), origin_in(bytes(self._head_text)))
            else:
                self.force_close()

    @property
    def is_idle(self) -> bool:
        """Whether no request is under way and none has begun to arrive."""
        return self._is_free and self._prompt is None and not (self._head_text or self._deaf)

    # What is no HTTP

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return the answer to a request that could not be parsed."""
        if status >= 500:
            return super().handle_error(request, status, exc, message)
        self._hub.count_answer(status)
        response = replies.failed(_refusal(self._head_fault or OTHER))
        replies.complete(response, self._fault_origin)
        return response


def _size_of(message: Any) -> int:
    """Return the bytes of a head that has been parsed."""
    if not isinstance(message, RawRequestMessage):
        return 0
    lines = message.raw_headers
    return len(message.path) + sum(len(name) + len(value) + 4 for name, value in lines)


def _refusal(fault: Fault) -> RequestError:
    return RequestError(400, "bad_request", f"the request is refused: {fault.message}", close=True)
