"""Requests that take the short way: without a task, and answered in bytes.

aiohttp has a task for each connection and one for each request, and an answer takes several steps
to become bytes.  The usual request needs none of it; whatever is unusual takes aiohttp's way.
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, cast

from aiohttp import StreamReader, web
from aiohttp.http import RawRequestMessage, StreamWriter

from gateway.ingest.eager import Steps
from gateway.ingest.heads import Head, Heads, Known, body_behind, head_of

if TYPE_CHECKING:
    from gateway.ingest.connections import Connections

__all__ = ["ShortWay"]

_log = logging.getLogger(__name__)


class ShortWay(web.RequestHandler):
    """A connection that handles the usual requests itself, at most one at a time.

    aiohttp's task waits for a request from some turns after the connection has come, or its last
    answer was sent.  Under load most clients send before that: they need not wait for it either.

    :param hub: answers them.
    """

    __slots__ = (
        "_head",
        "_hub",
        "_is_free",
        "_is_half_closed",
        "_known",
        "_prompt",
        "_prompt_end",
        "told_peer",
    )

    def __init__(self, hub: "Connections", **options: Any) -> None:
        super().__init__(hub, **options)
        self._hub = hub
        self._known = Heads()
        self._head: Head | None = None  # of the one request that has come, and is handled here
        self._prompt: Steps | None = None  # of the request under way
        self._prompt_end: asyncio.Future[None] | None = None  # for the one behind it
        self._is_half_closed = False  # the client waits for answers, and sends no more
        self.told_peer: tuple[Any, ...] | None = None  # address and port, as sockets have them
        self._is_free = True  # aiohttp has answered all requests that were left to it

    @property
    def _is_answering(self) -> bool:
        """Whether a request is under way, on either way."""
        return self._prompt is not None or not self._is_free

    @property
    def peer(self) -> str:
        """The address of the client; "" where it cannot be told."""
        return str(self.told_peer[0]) if self.told_peer else ""

    @property
    def peername(self) -> tuple[Any, ...] | None:
        """The same with its port, as aiohttp's requests want it."""
        return self.told_peer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take note of the other end, unless somebody has told of another one behind it."""
        if self.told_peer is None:
            self.told_peer = transport.get_extra_info("peername")
        super().connection_made(transport)

    def _feed(self, data: bytes) -> None:
        """Have aiohttp parse what has come.

        Its task is not told of any request before somebody calls ``_leave_to_task``.
        """
        waiter, self._waiter = self._waiter, None
        super().data_received(data)
        self._waiter = waiter

    def _leave_to_task(self) -> None:
        """Leave the requests that have come to aiohttp, after the one under way."""
        self._is_free = False
        if self._prompt is None:
            self._head = None  # aiohttp may have more to do for it than is done here
        waiter = self._waiter
        if self._prompt is None and waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def _handle_request(self, *args: Any, **options: Any) -> tuple[web.StreamResponse, bool]:
        """Do what aiohttp does with a request that was left to it."""
        if self._prompt is not None:  # it has begun before the task came to wait
            self._prompt_end = self._loop.create_future()
            await self._prompt_end
        return await super()._handle_request(*args, **options)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send an answer."""
        sent = await super().finish_response(request, resp, start_time)
        self._is_free = bool(resp.keep_alive) and not self._messages
        if self._is_half_closed and not self._messages:
            self._close = True
        return sent

    def remember(self, known: Known) -> None:
        """Know the head of the request that is handled now again, on other connections too."""
        if self._head is not None:
            self._known.remember(self._head, known)
            if self._hub.common is not None:
                self._hub.common.remember(self._head, known)

    def _begin_again(self, data: bytes) -> bool:
        """Handle what has come if it is a request whose head is known; return whether it was.

        :param data: all that has come since the last request.  What completes something that came
            before is no request, even if it looks like one.
        """
        found = self._known.find(data)
        if found is None:
            self._head = head_of(data)
            found = self._adopt(data)
        if found is None or self._hub.draining:
            return False
        self._request_count += 1
        self._begin(self._answer_again(*found))
        return True

    def _adopt(self, data: bytes) -> tuple[Known, bytes] | None:
        """Return what other connections know of a request, and its body; know it here as well."""
        common = self._hub.common
        if self._head is None or common is None:
            return None
        found = common.find(self._head, self.peer)
        if found is None:
            return None
        head, known = found
        self._known.remember(head, known)
        return known, body_behind(head, data)

    def _begin_promptly(self) -> bool:
        """Handle the request that has come, if it is one of the usual; return whether it was."""
        message, body = self._messages[0]
        if (
            not isinstance(message, RawRequestMessage)
            or len(self._messages) > 1
            or self._paused  # the client does not read its answers: aiohttp waits for it
            or not self._hub.is_prompt(message)
        ):
            return False
        self._messages.popleft()
        self._parser.message_consumed()  # type: ignore[union-attr]  # the connection is open
        writer = cast(StreamWriter, None)  # made where it is needed
        task = cast("asyncio.Task[None]", self._task_handler)
        request = web.BaseRequest(message, body, self, writer, task, self._loop)
        self._current_request = request
        self._begin(self._answer_promptly(request))
        return True

    def _begin(self, answering: Coroutine[Any, Any, None]) -> None:
        self._request_in_progress = True
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        self._prompt = Steps(answering)
        self._prompt.go_on()

    async def _answer_again(self, known: Known, body: bytes) -> None:
        try:
            answering = self._hub.respond_again(self, known, body)
            del body
            answer, goes_on = await answering
            if self.transport is not None:
                self.transport.write(answer)
        except Exception:
            goes_on = False
            _log.exception("an answer failed; its connection is closed")
        self._end(goes_on=goes_on)

    async def _answer_promptly(self, request: web.BaseRequest) -> None:
        """Do what aiohttp does with a request, and end the connection where it has to end."""
        try:
            answer, goes_on = await self._hub.respond(request)
            self._current_request = None
            if isinstance(answer, bytes):
                if self.transport is not None:
                    self.transport.write(answer)
                if goes_on:
                    self._let_go(request.content)
                else:
                    await self._see_off()
            else:
                request._payload_writer = StreamWriter(self, self._loop)
                await self.finish_response(request, answer, None)
                goes_on = bool(answer.keep_alive) and request.content.is_eof()
        except Exception:
            goes_on = False
            _log.exception("an answer failed; its connection is closed")
        self._current_request = None
        self._end(goes_on=goes_on)

    def _let_go(self, body: StreamReader) -> None:
        """Do what is to be done with a body after the answer."""
        raise NotImplementedError

    async def _see_off(self) -> None:
        """Let the client see an answer that was the last one, before the connection is closed."""
        raise NotImplementedError

    def _end(self, *, goes_on: bool) -> None:
        self._prompt, self._request_in_progress = None, False
        self._head = None  # it says nothing of what comes next
        if self._prompt_end is not None and not self._prompt_end.done():
            self._prompt_end.set_result(None)
        if self._handler_waiter is not None:
            self._handler_waiter.set_result(None)
        if not goes_on or self._close or (self._is_half_closed and not self._messages):
            self.force_close()
            return
        self._keepalive = True
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._messages:
            self._leave_to_task()

    async def shutdown(self, timeout: float | None = 15.0) -> None:
        """Wait for the request under way for so many seconds, then close."""
        await super().shutdown(timeout)
        if self._prompt is not None:
            self._prompt.close()
