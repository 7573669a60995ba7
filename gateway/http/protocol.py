"""The protocol of each connection: what every request has to pass, whoever answers it.

Bytes are split into requests here, one at a time; nothing is read ahead of the one under way.  The
usual ones are answered here, the others by aiohttp, through a ``Handover``.  Deadlines, memory and
the end of a connection are the same for both.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Protocol, cast

from aiohttp import StreamReader, web

from gateway.errors import RequestError
from gateway.http import replies
from gateway.http.framing import Chunks, Length, MalformedChunks
from gateway.http.handler import Handler
from gateway.http.handover import Handover
from gateway.http.heads import KnownHeads
from gateway.http.incoming import Incoming
from gateway.http.malformed import (
    BODY,
    OTHER,
    PROXY_PROTOCOL,
    HeadLimits,
    MalformedReason,
    fault_in,
    mended,
    origin_in,
)
from gateway.http.memory_budget import Budget
from gateway.http.proxy_protocol import Preamble, ProxyProtocolError, may_begin
from gateway.http.proxy_protocol import read as read_preamble
from gateway.http.refusals import REST_S, no_room, slow_head
from gateway.http.request import Head, Request, read_head
from gateway.http.slow_bodies import Arrivals
from gateway.http.unfinished import Queued, UnfinishedHead

__all__ = ["Connection", "Hub"]

_log = logging.getLogger(__name__)

_END = b"\r\n\r\n"
_LINE_ENDS = b"\r\n"

_USUAL_HEAD_BYTES = 4096
"""What is taken for granted of a head that is complete."""

_HEAD_TEXTS = 4
"""How often a larger one is there: as bytes, as text, and as what it was cut from."""

_MAX_UNSENT_BYTES = 16 * 1024
"""Answers that a client has not read yet; beyond it no more requests of it are handled."""

_READ_S = 10.0
"""How long a client may leave answers unread."""

_LINGER_S = 2.0
_LINGER_BYTES = 256 * 1024
"""What is read and forgotten after a refusal, so that clients that send first see the answer."""


class Hub(Protocol):
    """What all connections of a server share.

    :ivar heads: those that are known again.
    :ivar is_proxy: tells which addresses may say by the PROXY protocol whose connection it is; None
        where none may.
    :ivar paths: those whose POSTs are answered without aiohttp where they are usual.
    :ivar draining: whether each answer is the last one of its connection.
    """

    loop: asyncio.AbstractEventLoop
    handler: Handler
    limits: HeadLimits
    budget: Budget
    heads: KnownHeads
    arrivals: Arrivals
    is_proxy: Callable[[str], bool] | None
    paths: frozenset[str]
    draining: bool
    header_timeout_s: float
    keepalive_timeout_s: float
    body_timeout_s: float

    def aiohttp(self) -> asyncio.Protocol:
        """Return a protocol of aiohttp's."""

    def add(self, connection: "Connection", transport: asyncio.Transport) -> None:
        """Know a connection from now on."""

    def remove(self, connection: "Connection") -> None:
        """Forget it."""

    def count_refusal(self, reason: str) -> None:
        """Count a connection or request that was refused for want of time or room."""

    def count_answer(self, status: int) -> None:
        """Count an answer to what belongs to no route."""

    def count_malformed(self, fault: MalformedReason, peer: str) -> None:
        """Count a request that was refused because it is no HTTP, and tell operators of it."""


class Connection(asyncio.Protocol):
    """Created for each accepted connection.

    :param hub: has the limits and sweeps over all connections.
    :ivar told_peer: address and port of the client, as sockets have them.
    :ivar head_taken: what the head of the request under way takes beyond what is usual.
    """

    __slots__ = (
        *("_arriving", "_came", "_content", "_cut_error", "_deaf", "_discarded", "_goes_on_soon"),
        *("_handover", "_head", "_head_since", "_hub", "_idle_since", "_is_busy", "_is_cut"),
        *("_is_half_closed", "_is_held", "_is_reading", "_is_sent_away", "_last_word"),
        *("_linger_timer", "_preamble", "_queued", "_rests_until", "_skips_since", "_spoils"),
        *("_task", "_unfinished", "_unread_since", "head_taken", "told_peer", "transport"),
    )

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.transport: asyncio.Transport | None = None
        self.told_peer: tuple[Any, ...] | None = None
        self._preamble: bytes | None = None  # of a proxy, as far as it has come; None behind it

        self._unfinished: UnfinishedHead | None = None
        self._head_since = 0.0  # when that began; 0 while there is none
        self.head_taken = 0

        self._is_busy = False  # a request is under way
        self._head: Head | None = None  # of it, where it is answered here
        self._task: asyncio.Task[None] | None = None  # likewise, if it needs one
        self._handover: Handover | None = None  # where aiohttp answers it, or has answered before
        self._spoils = False  # aiohttp's protocol is of no use behind this request
        self._is_sent_away = False  # whoever sent it

        self._arriving: Length | Chunks | None = None  # a body that has not come as a whole
        self._content: Incoming | StreamReader | None = None  # of the request under way
        self._is_cut = False  # what comes of it is forgotten
        self._cut_error: BaseException | None = None  # for the content, before it is known
        self._came = hub.budget.lease()  # what no request has begun to read
        self._queued = Queued()  # what has come behind the request under way
        self._goes_on_soon = False

        self._is_reading = True
        self._is_held = False  # by aiohttp, whose buffer is full
        self._rests_until = 0.0
        self._idle_since = 0.0
        self._unread_since = 0.0
        self._skips_since = 0.0  # when a request was refused whose body is still coming
        self._is_half_closed = False  # the client waits for answers, and sends no more
        self._deaf = False
        self._discarded = 0
        self._last_word: bytes | None = None  # what is sent behind the answer under way
        self._linger_timer: asyncio.TimerHandle | None = None

    @property
    def peer(self) -> str:
        """The address of the client; "" where it cannot be told."""
        return str(self.told_peer[0]) if self.told_peer else ""

    @property
    def is_idle(self) -> bool:
        """Whether no request is under way and none has begun to arrive."""
        return not (self._is_busy or self._unfinished or self._queued.size or self._deaf)

    @property
    def _owes_answer(self) -> bool:
        """Whether a request is under way, or something has come behind it."""
        return self._is_busy or self._queued.size > 0

    # What arrives

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the clock of the first request's headers."""
        self.transport = transport = cast(asyncio.Transport, transport)
        transport.set_write_buffer_limits(high=_MAX_UNSENT_BYTES)
        if self.told_peer is None:
            self.told_peer = transport.get_extra_info("peername")
        self._head_since = self._hub.loop.time()
        self._hub.add(self, transport)
        if self._hub.is_proxy is not None and self._hub.is_proxy(self.peer):
            self._preamble = b""

    def data_received(self, data: bytes) -> None:
        """Take what arrives; see ``asyncio.Protocol``."""
        if self._preamble is not None:
            data = self._take_preamble(self._preamble + data)
        if self._deaf:
            self._discard(len(data))
            return
        if self._queued.size:
            self._queue(data)
        else:
            self._receive(data)

    def _receive(self, data: bytes) -> None:
        """Take what nothing is waiting before."""
        if self._arriving is not None:
            data = self._take_body(self._arriving, data)
        if not data:
            return
        if self._is_busy or self._unread_since:
            self._queue(data, is_first=True)
        elif self._unfinished is not None:
            self._continue_head(self._unfinished, data)
        else:
            self._take(data)

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

    def _take(self, data: bytes) -> None:
        """Take what comes when no request is under way and none has begun to arrive."""
        known = self._hub.heads.find(data)
        if known is not None and known[0].noted_by is self._hub.handler:
            self._begin_again(*known)
            return
        if data[0] in _LINE_ENDS:
            data = data.lstrip(_LINE_ENDS)
            if not data:
                return
        if data.find(_END) < 0:
            self._begin_head(data)
        else:
            self._begin(data)

    def _begin_head(self, data: bytes) -> None:
        self._idle_since = 0.0
        if not self._head_since:
            self._head_since = self._hub.loop.time()
        self._unfinished = UnfinishedHead(self._hub.budget, self._hub.limits)
        self._continue_head(self._unfinished, data)

    def _continue_head(self, head: UnfinishedHead, data: bytes) -> None:
        """Take a part of a head that does not come as a whole."""
        state = head.add(data)
        if state == "unfinished":
            return
        text = bytes(head.text)
        if state == "whole":
            self._begin(text)
        elif state == "faulty":
            self._refuse_head(text)
        else:
            self._hub.count_refusal("memory")
            self._dismiss(no_room(), origin_in(text))

    def _end_head(self) -> None:
        self._head_since = 0.0
        if self._unfinished is not None:
            self._unfinished.release()
            self._unfinished = None

    def _refuse_head(self, text: bytes, fault: MalformedReason | None = None) -> None:
        """Refuse what is no request, and whatever else has come with it."""
        fault = fault or fault_in(text, self._hub.limits)
        self._hub.count_malformed(fault, self.peer)
        self._dismiss(_refusal(fault), origin_in(text))

    # The request under way

    def _begin_again(self, head: Head, body: bytes) -> None:
        """Begin with a request whose head was understood before."""
        self._head_since = self._idle_since = 0.0
        self._is_sent_away = False
        self._is_busy = True
        self.head_taken = 0
        self._head = head
        self._hub.handler.again(head, body, self, self._finish)

    def _begin(self, data: bytes) -> None:
        """Begin with a request whose head has come as a whole."""
        hub = self._hub
        head = read_head(data, hub.limits)
        if head is None:
            better = mended(data)
            head = None if better is None else read_head(better, hub.limits)
            if head is None:
                self._refuse_head(data)
                return
            data = cast(bytes, better)
        self._end_head()
        self._idle_since = 0.0
        self._is_sent_away = False
        self._is_busy = True
        self._is_cut = False
        self._cut_error = None
        self.head_taken = _HEAD_TEXTS * head.size if head.size > _USUAL_HEAD_BYTES else 0
        body = Chunks() if head.is_chunked else Length(head.length)
        try:
            end = head.size + body.end_in(data[head.size :])
        except MalformedChunks:
            self._is_busy = False
            self._refuse_head(data, BODY)
            return
        if not body.is_complete:
            self._arriving = body
        elif end < len(data):
            self._queue(data[end:], is_first=True)
            data = data[:end]
        if head.is_usual and head.path in hub.paths:
            self._begin_usual(head, data)
        else:
            self._hand_over(head, data)

    def _begin_usual(self, head: Head, data: bytes) -> None:
        """Begin with a request that is answered here."""
        body = data[head.size :]
        content = Incoming()
        self._head = head
        request = Request(head, content, self.peer or None)
        if self._arriving is None:
            if self._hub.handler.at_once(request, body, self, self._finish):
                if head.note is not None:
                    self._hub.heads.remember(head, data)
                return
            content.feed_eof()
        if self._came.resize(self._came.size + len(data)):
            content.feed_data(body)
        else:
            content.set_exception(no_room())
            self._is_cut = True
        self._content = content
        self._task = self._hub.loop.create_task(self._respond(request))

    async def _respond(self, request: Request) -> None:
        self._note_begun(request.content)
        try:
            answer = await self._hub.handler.respond(request, self)
        except Exception:
            _log.exception("an answer failed; its connection is closed")
            self._task = None
            self.fail()
            return
        self._task = None
        self._finish(answer)

    def _finish(self, answer: replies.Answer) -> None:
        """Send the answer to the request that is answered here."""
        try:
            self._send(answer)
        except Exception:
            _log.exception("an answer failed; its connection is closed")
            self.fail()

    def _send(self, answer: replies.Answer) -> None:
        head, self._head = self._head, None
        if self.transport is None or head is None:
            return
        origin = head.origin
        if type(answer) is replies.Constant and not self.is_last:
            self.transport.write(answer.wire(origin))
            self._end(goes_on=True)
            return
        response = self.response(answer)
        self.transport.write(replies.wire(response, origin))
        self._end(goes_on=response.keep_alive is not False)

    def _hand_over(self, head: Head, data: bytes) -> None:
        """Begin with a request that aiohttp answers."""
        self._spoils = "Upgrade" in head.headers
        if not self._came.resize(self._came.size + len(data)):
            self._cut(no_room())
            self._spoils = True
            data = data[: head.size]
        self._head_since = self._hub.loop.time()  # it goes on until a handler has the request
        if self._handover is None or self._handover.is_closing():
            self._handover = Handover(self, self._hub.aiohttp)
        self._handover.begin(data)

    def begin_request(self, request: web.BaseRequest) -> None:
        """Leave what has come to the request that reads it now."""
        self._head_since = 0.0
        if self._handover is not None:
            self._handover.note_handler()
        self._note_begun(request.content)

    def _note_begun(self, content: Incoming | StreamReader) -> None:
        self._content = content
        self._came.resize(self._queued.size)
        if self._cut_error is not None:
            content.set_exception(self._cut_error)
            self._cut_error = None

    def end_request(self, *, goes_on: bool) -> None:
        """Go on when aiohttp has written an answer.

        :param goes_on: whether that says that the connection does.
        """
        if self._handover is not None:
            self._handover.note_end()
        self._end(goes_on=goes_on)

    def fail(self) -> None:
        """End the connection because an answer has failed."""
        self._close()

    def abort(self) -> None:
        """End the connection at once: what was sent of an answer cannot be taken back."""
        transport, self.transport = self.transport, None
        if transport is not None:
            transport.abort()

    def refused_by_aiohttp(self) -> None:
        """Answer a request that aiohttp does not take for one."""
        self._is_busy = False
        self._hub.count_malformed(OTHER, self.peer)
        self._dismiss(_refusal(OTHER))

    @property
    def is_last(self) -> bool:
        """Whether the connection ends with the answer to the request under way."""
        if self._hub.draining or self._arriving is None:
            return self._hub.draining
        # The rest of the body is read and forgotten if its client was sent away: a new connection
        # would cost more.
        return self._deaf or self._arriving.is_chunked or not self._is_sent_away

    def response(self, answer: replies.Answer) -> web.Response:
        """Return an answer that ends the connection where it has to end."""
        response = answer.response() if isinstance(answer, replies.Constant) else answer
        if self.is_last:
            response.force_close()
        return cast(web.Response, response)

    def send_away(self, *, rests: bool) -> None:
        """Take note that the request under way is refused for want of room.

        :param rests: whether to read nothing for about as long as the client was told to stay away,
            and at most a sweep longer: one that tries again at once costs nothing meanwhile.
        """
        self._is_sent_away = True
        if rests:
            self._rests_until = self._hub.loop.time() + REST_S
            self._update_reading()

    def _end(self, *, goes_on: bool) -> None:
        """Go on behind an answer."""
        self._is_busy = False
        if self._content is not None:
            self._content = None
            self._came.resize(self._queued.size)  # what has come of its body was not read
        is_skipping = self._arriving is not None
        if self._handover is not None and (self._spoils or is_skipping or not goes_on):
            self._part()
        if self.transport is None:
            return
        now = self._hub.loop.time()
        if self._last_word is not None and goes_on:
            self._say_last_word()
        elif not goes_on or (self._is_half_closed and not self._queued.size):
            self._see_off()
        elif self._queued.size:
            self._goes_on_soon = True
            self._hub.loop.call_soon(self._go_on)
        elif is_skipping:
            self._skips_since = now
        else:
            self._idle_since = now

    def _part(self) -> None:
        """Part with aiohttp's protocol; the next request that needs one has another."""
        handover, self._handover = self._handover, None
        if handover is not None:
            handover.close()
            self._is_held = False
            self._update_reading()

    # The body

    def _take_body(self, body: Length | Chunks, data: bytes) -> bytes:
        """Take what belongs to the body; return the rest."""
        try:
            end = body.end_in(data)
        except MalformedChunks:
            self._take_malformed_body()
            return b""
        if body.is_complete:
            self._arriving = None
        data, rest = (data, b"") if end == len(data) else (data[:end], data[end:])
        if self._is_busy:
            if not (self._is_cut or self._has_room_for(len(data), is_chunked=body.is_chunked)):
                self._cut(no_room())
            self._pass_on(data)
        elif body.is_complete:  # it was forgotten
            self._skips_since = 0.0
            self._idle_since = self._hub.loop.time()
        return rest

    def _pass_on(self, data: bytes) -> None:
        """Hand a part of the body to whoever answers."""
        content = self._content
        if self._is_cut:
            self._spoils = True
        elif self._head is None:
            if self._handover is not None:
                self._handover.feed(data)
        elif isinstance(content, Incoming):
            content.feed_data(data)
            if self._arriving is None:
                content.feed_eof()
        if content is not None:
            self._hub.arrivals.look(content)

    def _has_room_for(self, size: int, *, is_chunked: bool) -> bool:
        """Count what has come of a body, before it is kept, until its request counts it."""
        content, arrivals = self._content, self._hub.arrivals
        if content is None or content not in arrivals:
            return self._came.resize(self._came.size + size)
        return not is_chunked or arrivals.grow(content, size)  # else it is counted whole

    def _take_malformed_body(self) -> None:
        self._deaf = True
        if self._is_busy:
            self._hub.count_malformed(BODY, self.peer)
            self._cut(web.RequestPayloadError("malformed"))
        else:  # it was being forgotten
            self._see_off()

    def _cut(self, error: RequestError | web.RequestPayloadError) -> None:
        """Keep nothing more of a body, and have the request under way fail when it reads it."""
        self._is_cut = True
        if self._content is None:
            self._cut_error = error
        elif not (isinstance(error, RequestError) and self._hub.arrivals.cut(self._content, error)):
            self._content.set_exception(error)
            self._hub.arrivals.look(self._content)

    def _queue(self, data: bytes, *, is_first: bool = False) -> None:
        """Keep what came behind the request under way, and read no further.

        :param is_first: whether it comes before what is kept already.
        """
        if not self._came.resize(self._came.size + len(data)):
            self._hub.count_refusal("memory")
            self._dismiss(no_room())
            return
        if is_first:
            self._queued.push_back(data)
        else:
            self._queued.append(data)
        self._update_reading()

    def _go_on(self) -> None:
        """Take what came behind the last request, up to the end of the next one."""
        self._goes_on_soon = False
        while self._queued.size and not (self._deaf or self._goes_on_soon or self._unread_since):
            if self._is_busy and self._arriving is None:
                break
            piece = self._queued.pop()
            self._came.resize(self._came.size - len(piece))
            self._receive(piece)
        self._update_reading()
        if self._is_half_closed and not self._owes_answer:
            self._close()

    def _forget_queued(self) -> None:
        self._queued.clear()
        self._came.release()

    # Reading

    def hold_reading(self, *, is_held: bool) -> None:
        """Read no further while a body's buffer is full."""
        self._is_held = is_held
        self._update_reading()

    def _update_reading(self) -> None:
        """Read, unless there is a reason not to."""
        is_reading = not (
            (self._is_held and not self._deaf)
            or (self._queued.size and not self._deaf)
            or self._rests_until
            or self._discarded > _LINGER_BYTES  # the rest may still fit the system's buffers
        )
        if is_reading != self._is_reading and self.transport is not None:
            self._is_reading = is_reading
            if is_reading:
                self.transport.resume_reading()
            else:
                self.transport.pause_reading()

    def _discard(self, size: int) -> None:
        self._discarded += size
        self._update_reading()

    def eof_received(self) -> bool:
        """Note that the client will not send more; return whether it still gets answers."""
        transport = self.transport
        if transport is None or not self._owes_answer or not transport.can_write_eof():
            return False
        self._is_half_closed = True
        if self._arriving is not None:
            self._cut(web.RequestPayloadError("cut off"))
        return True

    # The end

    def _dismiss(self, error: RequestError, origin: str | None = None) -> None:
        """Answer what is no whole request, and close.

        :param origin: of the page that has sent it.
        """
        self._end_head()
        self._deaf = True
        self._forget_queued()
        self._last_word = replies.raw(error, origin)
        self._hub.count_answer(error.status)
        if not self._is_busy:
            self._say_last_word()

    def _say_last_word(self) -> None:
        if self.transport is None or self._last_word is None:
            return
        self._deaf = True
        self.transport.write(self._last_word)
        self._see_off()

    def _see_off(self) -> None:
        """Let the client see the last answer, before the connection is closed."""
        transport = self.transport
        if transport is None:
            return
        is_sending = self._deaf or self._arriving is not None
        self._deaf = True
        self._forget_queued()
        self._part()
        if self._is_half_closed or not is_sending:
            self._close()
            return
        if transport.can_write_eof():
            transport.write_eof()
        self._rests_until = 0.0
        self._update_reading()
        self._linger_timer = self._hub.loop.call_later(_LINGER_S, self._close)

    def _close(self) -> None:
        transport, self.transport = self.transport, None
        if transport is not None:
            transport.close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Give back what the connection held."""
        self._hub.remove(self)
        self.transport = None
        self._end_head()
        self._forget_queued()
        if self._linger_timer is not None:
            self._linger_timer.cancel()
            self._linger_timer = None
        content, self._content = self._content, None
        handover, self._handover = self._handover, None
        if content is not None and not content.is_eof():
            content.set_exception(ConnectionResetError("the client has gone"))
            self._hub.arrivals.look(content)
        if handover is not None:
            handover.end(exc)

    def close(self) -> None:
        """Close at once, and give up the request under way."""
        task = self._task
        if task is not None:
            task.cancel()
        self._close()

    # What the hub's sweep finds

    def pause_writing(self) -> None:
        """Note that the client does not read its answers."""
        self._unread_since = self._hub.loop.time()
        if self._handover is not None:
            self._handover.pause_writing()

    def resume_writing(self) -> None:
        """Note that it does."""
        self._unread_since = 0.0
        if self._handover is not None:
            self._handover.resume_writing()
        if not self._is_busy:
            self._go_on()

    def sweep(self, now: float, transport: asyncio.Transport) -> bool:
        """Go on after a rest; return whether something takes so long that it has to be ended.

        :param transport: of this connection, also while it is being closed.
        """
        if self._rests_until and now > self._rests_until:
            self._rests_until = 0.0
            self._update_reading()
        if transport.is_closing() and not self._unread_since:
            self._unread_since = now  # it closes when everything is sent
        return (
            self._is_slow_head(now)
            or self._is_slow_reader(now)
            or self._is_slow_body(now)
            or self._is_unused(now)
        )

    def _is_slow_head(self, now: float) -> bool:
        return self._head_since > 0 and now - self._head_since > self._hub.header_timeout_s

    def _is_slow_body(self, now: float) -> bool:
        """Whether a body that nobody reads takes too long; for others see ``Arrivals``."""
        return self._skips_since > 0 and now - self._skips_since > self._hub.body_timeout_s

    def _is_slow_reader(self, now: float) -> bool:
        return self._unread_since > 0 and now - self._unread_since > _READ_S

    def _is_unused(self, now: float) -> bool:
        return self._idle_since > 0 and now - self._idle_since > self._hub.keepalive_timeout_s

    def end_slow(self, transport: asyncio.Transport) -> None:
        """End what takes too long, if it still does."""
        now = self._hub.loop.time()
        if self._is_slow_reader(now):
            self._hub.count_refusal("slow_reader")
            self.transport = None
            transport.abort()
        elif self._is_slow_body(now):
            self._hub.count_refusal("body_timeout")
            self._close()
        elif self._is_slow_head(now):
            self._hub.count_refusal("header_timeout")
            if self._unfinished is not None:
                self._dismiss(slow_head(), origin_in(bytes(self._unfinished.text)))
            else:
                self._close()
        elif self._is_unused(now):
            self._close()


def _refusal(fault: MalformedReason) -> RequestError:
    return RequestError(400, "bad_request", f"the request is refused: {fault.message}", close=True)
