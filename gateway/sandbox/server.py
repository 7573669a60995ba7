"""The sandbox as a server: routes, and the way of a request through limits, faults and intake."""

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import Sequence
from functools import partial

from aiohttp import web

from gateway.clock import Clock, SystemClock
from gateway.readable import readable_json
from gateway.sandbox import replies
from gateway.sandbox.auth import Credentials
from gateway.sandbox.body import (
    MAX_WIRE_BYTES,
    TooLarge,
    Unreadable,
    inflate,
    parse_array,
    parse_data,
    parse_fields,
    parse_lines,
    read_bounded,
    split_lines,
)
from gateway.sandbox.contract import MAX_RECORDS
from gateway.sandbox.extras import Extras
from gateway.sandbox.faults import EndpointPath, Fault, Faults
from gateway.sandbox.inspection import Inspection
from gateway.sandbox.intake import Rules, take_imported, take_tracked, take_updates
from gateway.sandbox.ratelimit import RateLimit
from gateway.sandbox.store import ENDPOINTS, Store

__all__ = ["Sandbox"]

DEFAULT_KEEP = 10_000
DEFAULT_DEDUPE_KEYS = 5_000_000

_STOP_GRACE_S = 1.0
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Sandbox:
    """A Mixpanel stand-in on a port of this machine.

    It refuses what Mixpanel's documentation says is refused, answers as documented, and keeps what
    it takes in memory.  Every argument has the default of a friendly Mixpanel.

    :param token: project token; None accepts any.
    :param api_secret: legacy project secret that /import accepts.
    :param service_account: user name and secret that /import accepts.
    :param clock: what the time is.
    :param keep: how many of the newest records to keep; each is smaller than 1 MB.
    :param dedupe_keys: how many events to remember for finding duplicates, at about 100 bytes each.
    :param max_records_per_second: beyond it requests get 429; None for no limit.
    :param retry_after_s: ``Retry-After`` of those answers; None, as documented, for no such header.
    :param faults: how to misbehave from the start; see ``PUT /faults``.
    :param seed: of the dice that the faults' shares are decided with.
    :param atomic: of a request to /track, /engage or /groups take all records or, where one is bad,
        none: the documentation can be read in both ways.
    :param refuse: records that hold this text are refused, as for rules that nobody knows of.
    :param validate: False is the sink mode for load tests: records are counted and neither looked
        at nor kept; sizes, credentials, faults and the rate limit still hold.
    """

    def __init__(
        self,
        *,
        token: str | None = None,
        api_secret: str | None = None,
        service_account: tuple[str, str] | None = None,
        clock: Clock | None = None,
        keep: int = DEFAULT_KEEP,
        dedupe_keys: int = DEFAULT_DEDUPE_KEYS,
        max_records_per_second: float | None = None,
        retry_after_s: int | None = None,
        faults: Sequence[Fault] = (),
        seed: int = 0,
        validate: bool = True,
        atomic: bool = False,
        refuse: str | None = None,
    ) -> None:
        self.store = Store(keep=keep, dedupe_keys=dedupe_keys)
        # S311: repeatable misbehaviour is the point.
        self.faults = Faults(faults, random.Random(seed))  # noqa: S311
        self._clock = clock or SystemClock()
        self._credentials = Credentials(
            token=token, api_secret=api_secret, service_account=service_account
        )
        self._limit = RateLimit(max_records_per_second, self._clock)
        self._retry_after_s = retry_after_s
        self._validate = validate
        refused = None if refuse is None else refuse.encode()
        self._rules = Rules(token=token, atomic=atomic, refused=refused)
        self._stopping = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._address: tuple[str, int] | None = None

    @property
    def port(self) -> int:
        """The port it listens on, once started."""
        return self._bound()[1]

    @property
    def url(self) -> str:
        """Its base URL, without a slash at the end, once started."""
        host, port = self._bound()
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; returns when connections are accepted.

        :param port: 0 for any that is free.
        :raises OSError: the address cannot be used.
        """
        self._stopping.clear()
        self._runner = web.AppRunner(
            self._app(),
            access_log=None,
            auto_decompress=False,  # inflating is part of the contract: see ``body``
            handler_cancellation=True,  # a client that leaves during a stall sends nothing
            shutdown_timeout=_STOP_GRACE_S,
        )
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError:
            await self.stop()
            raise
        self._address = self._runner.addresses[0][:2]

    async def stop(self) -> None:
        """Close all connections, stalled ones included, and the port.  Idempotent."""
        self._stopping.set()
        runner, self._runner, self._address = self._runner, None, None
        if runner is not None:
            await runner.cleanup()

    def _bound(self) -> tuple[str, int]:
        if self._address is None:
            raise RuntimeError("the sandbox is not running: call start() first")
        return self._address

    def _app(self) -> web.Application:
        app = web.Application(middlewares=[readable_json])
        for endpoint in ENDPOINTS:
            methods = ("POST",) if endpoint == "/import" else ("POST", "GET")
            for method in methods:
                for path in (endpoint, f"{endpoint}/"):
                    app.router.add_route(method, path, partial(self._serve, endpoint))
        app.add_routes(Extras(self._credentials).routes())
        app.add_routes(Inspection(self.store, self.faults).routes())
        return app

    # The way of a request

    async def _serve(self, endpoint: EndpointPath, request: web.Request) -> web.Response:
        counts = self.store.counts[endpoint]
        counts.requests += 1
        try:
            body = await read_bounded(request.content)
        except TooLarge:
            return replies.too_large()
        fault = self.faults.choose(endpoint, lambda: _readable(request, body))
        if fault is None:
            return self._answer(endpoint, request, body)
        counts.misbehaved += 1
        answer = self._answer(endpoint, request, body) if fault.after else None
        if fault.action == "status":
            return replies.fault(fault)
        if fault.action == "stall" and await self._stall(fault.stall_s):
            return self._answer(endpoint, request, body) if answer is None else answer
        _reset(request)
        return web.Response(status=500)  # goes nowhere: the connection is gone

    def _answer(self, endpoint: EndpointPath, request: web.Request, body: bytes) -> web.Response:
        try:
            if endpoint == "/import":
                return self._import(request, body)
            return self._collect(endpoint, request, body)
        except TooLarge:
            return replies.too_large()

    def _import(self, request: web.Request, body: bytes) -> web.Response:
        if not self._credentials.admit(request.headers.get("Authorization"), request.query):
            return replies.unauthorized()
        options = dict(request.query)
        # Mixpanel's own Python SDK still sends what /import took before it took JSON.
        is_form = request.content_type == "application/x-www-form-urlencoded"
        try:
            text = inflate(body, request.headers.get("Content-Encoding", ""))
            if is_form:
                options |= parse_fields(text)
                records = parse_data(options.get("data", ""))
            elif request.content_type == "application/x-ndjson":
                records = parse_lines(text) if self._validate else split_lines(text)
            else:
                records = parse_array(text)
            _check_number(records)
        except Unreadable as error:
            return replies.bad_request(str(error))
        if not self._limit.take(len(records)):
            return replies.rate_limited(self._retry_after_s)
        if not self._validate:
            self.store.add_unseen("/import", len(records))
            return replies.imported(len(records))
        failed = take_imported(self.store, records, self._clock.now_ms(), self._rules)
        taken = len(records) - len(failed)
        if failed and options.get("strict") == "1":
            return replies.invalid(taken, failed)
        if is_form:
            return replies.received(None if taken else failed[0]["message"], options)
        return replies.imported(taken)

    def _collect(self, endpoint: EndpointPath, request: web.Request, body: bytes) -> web.Response:
        options = dict(request.query)
        try:
            if request.method == "POST":
                options |= parse_fields(_collected_text(endpoint, request, body))
            records = parse_data(options.get("data", ""))
            _check_number(records)
        except Unreadable as error:
            return replies.received(str(error), options)
        if not self._limit.take(len(records)):
            return replies.rate_limited(self._retry_after_s)
        if not self._validate:
            self.store.add_unseen(endpoint, len(records))
            return replies.received(None, options)
        now_ms = self._clock.now_ms()
        if endpoint == "/track":
            problems = take_tracked(self.store, records, now_ms, self._rules)
        else:
            problems = take_updates(self.store, endpoint, records, now_ms, self._rules)
        # The OpenAPI file says 1 when one or more records are valid; another page, when all are.
        is_refused = len(problems) == len(records) or (problems and self._rules.atomic)
        return replies.received(problems[0] if is_refused else None, options)

    async def _stall(self, seconds: float) -> bool:
        """Wait; return whether the time passed without the sandbox being stopped."""
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return True
        return False


def _check_number(records: Sequence[bytes]) -> None:
    if not records:
        raise Unreadable("request has no records")
    if len(records) > MAX_RECORDS:
        raise Unreadable(f"request has more than {MAX_RECORDS} records")


def _collected_text(endpoint: EndpointPath, request: web.Request, body: bytes) -> bytes:
    encoding = request.headers.get("Content-Encoding", "")
    if encoding and endpoint != "/track":
        # Documented as not supported; a body that cannot be read is answered like invalid data.
        raise Unreadable(f"Content-Encoding {encoding!r} is not supported on {endpoint}")
    return inflate(body, encoding, MAX_WIRE_BYTES)


def _readable(request: web.Request, body: bytes) -> bytes:
    """Return a body uncompressed, or as it is where that cannot be done."""
    try:
        return inflate(body, request.headers.get("Content-Encoding", ""), MAX_WIRE_BYTES)
    except (TooLarge, Unreadable):
        return body


def _reset(request: web.Request) -> None:
    """Cut the connection so that the client sees a reset, not an orderly end."""
    transport = request.transport
    if transport is None:
        return
    connection = transport.get_extra_info("socket")
    with contextlib.suppress(OSError):  # the client was faster
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()
