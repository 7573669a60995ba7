"""One process of the load: connections, kept alive, over epoll; closed or open loop.

An answer that has the length of those before, the right status and the right body is taken as it
is; every other one is parsed.  Nothing is ever sent a second time.
"""

import select
import socket
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from http import HTTPStatus

import msgspec

from benchmarks.load.histogram import Histogram
from benchmarks.load.schedule import arrivals
from benchmarks.load.traffic import Prepared

__all__ = ["Client", "Result", "Task"]

_OK = b"HTTP/1.1 200 "
_RECEIVE_BYTES = 65_536
_SEND_BUFFER = 1 << 20  # a whole request fits
_TICK_S = 0.1
_CONNECT_S = 10.0
_SHOWN = 300  # bytes of a wrong answer
_NEVER = float("inf")


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What a process of the load is asked to do.

    :param requests: a file of prepared requests.
    :param first: the one to begin with.
    :param result: the file to write a ``Result`` to.
    :param connections: at most so many requests are under way.
    :param per_connection: after so many answers a connection is closed, and another one takes its
        place; 0 for never.
    :param rate: requests a second, of an open loop; None for a closed one, which sends as soon as
        there is an answer.
    :param max_requests: after these it ends, however much time is left.
    :param body: of an answer to a request that was taken.
    :param grace_s: time for the last answers.
    """

    host: str
    port: int
    requests: str
    first: int
    result: str
    connections: int
    seconds: float
    rate: float | None
    max_requests: int
    seed: int
    body: bytes
    grace_s: float = 30.0
    per_connection: int = 0


class Result(msgspec.Struct, kw_only=True):
    """What a process of the load saw.

    :param began, ended: on the system's monotonic clock, in seconds: start, and last answer.
    :param requests: answered with 200 and the right body.
    :param events: of these.
    :param records: that their events become.
    :param bytes: of these, as sent.
    :param statuses: of all answers.
    :param wrong: the start of an answer other than 200 or 503, or with another body.
    :param without_retry_after: answers of 503 that do not say when to come again.
    :param unanswered: requests that were sent, or begun, on connections that then ended.
    :param under_way: requests that had no answer yet when the time was over.
    :param unsent: requests that were due and had no connection until the end.
    :param cpu_seconds: of this process.
    :param latencies: of the answers that were taken; see ``Histogram``.
    """

    began: float = 0.0
    ended: float = 0.0
    requests: int = 0
    events: int = 0
    records: int = 0
    bytes: int = 0
    statuses: dict[int, int] = {}
    wrong: str = ""
    without_retry_after: int = 0
    unanswered: int = 0
    under_way: int = 0
    unsent: int = 0
    cpu_seconds: float = 0.0
    latencies: dict[int, int] = {}


class _Connection:
    """A socket and the request that is under way on it.

    :param requests: that it is for; 0 for any number.
    """

    __slots__ = ("answer", "due", "left", "prepared", "recv", "rest", "send", "socket")

    def __init__(self, address: tuple[str, int], requests: int) -> None:
        self.socket = socket.create_connection(address, timeout=_CONNECT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        self.socket.setblocking(False)
        self.send = self.socket.send
        self.recv = self.socket.recv
        self.left = requests or -1  # never 0 again
        self.prepared: Prepared | None = None  # under way
        self.due = 0.0
        self.rest = memoryview(b"")  # of the request, still to be sent
        self.answer = b""  # as far as it has come


class Client:
    """Sends prepared requests, over and over, and times their answers.

    :param requests: at least one.
    :raises OSError: (``connect``) nobody listens there.
    """

    def __init__(self, task: Task, requests: Sequence[Prepared]) -> None:
        self._task = task
        self._requests = requests
        self._next = task.first % len(requests)
        self._epoll = select.epoll()
        self._connections: dict[int, _Connection] = {}
        self._idle: list[_Connection] = []
        self._latencies = Histogram()
        self._statuses: Counter[int] = Counter()
        self._result = Result()
        self._length = -1  # of the answers so far

    def connect(self) -> None:
        """Open all connections."""
        for _ in range(self._task.connections):
            self._add(self._connect())

    def run(self) -> Result:
        """Send until the time or the requests are used up, and wait for the last answers."""
        cpu = time.process_time()
        began = now = time.monotonic()
        end = began + self._task.seconds
        schedule = self._schedule(began, end)
        due = next(schedule, _NEVER)
        while self._connections and now < end + self._task.grace_s:
            while self._idle and due <= now:
                self._start(self._idle.pop(), now if self._task.rate is None else due)
                due = next(schedule, _NEVER)
            if due == _NEVER and len(self._idle) == len(self._connections):
                break
            ready = self._wait(due - now if self._idle else _TICK_S)
            now = time.monotonic()
            self._handle(ready, now)
            if now >= end and self._task.rate is None:
                due = _NEVER
        result = self._result
        result.began, result.ended = began, now
        result.unsent = (
            0 if due == _NEVER or self._task.rate is None else 1 + sum(1 for _ in schedule)
        )
        result.under_way = sum(each.prepared is not None for each in self._connections.values())
        result.statuses = dict(self._statuses)
        result.latencies = self._latencies.counts
        result.cpu_seconds = time.process_time() - cpu
        return result

    def close(self) -> None:
        """Close all connections."""
        for connection in list(self._connections.values()):
            self._close(connection)
        self._epoll.close()

    def _schedule(self, began: float, end: float) -> Iterator[float]:
        task = self._task
        if task.rate is None:
            times: Iterator[float] = iter(lambda: began, None)  # always due
        else:
            times = (began + due for due in arrivals(task.rate, task.seconds, task.seed))
        for _, due in zip(range(task.max_requests), times, strict=False):
            yield due

    def _wait(self, seconds: float) -> list[tuple[int, int]]:
        if seconds >= _TICK_S:
            return self._epoll.poll(_TICK_S)
        # epoll counts in milliseconds, which is too coarse for when a request is due.
        select.select((self._epoll,), (), (), max(0.0, seconds))
        return self._epoll.poll(0)

    def _handle(self, ready: Sequence[tuple[int, int]], now: float) -> None:
        """Read the answers that are there."""
        connections, body, length = self._connections, self._task.body, self._length
        result, idle, record = self._result, self._idle, self._latencies.record
        for number, mask in ready:
            connection = connections[number]
            if mask & select.EPOLLOUT:
                self._push(connection)
                if not mask & ~select.EPOLLOUT:
                    continue
            try:
                data = connection.recv(_RECEIVE_BYTES)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            prepared = connection.prepared
            if (
                len(data) == length
                and prepared is not None
                and not connection.answer
                and not connection.rest
                and data.startswith(_OK)
                and data.endswith(body)
            ):
                result.requests += 1
                result.events += prepared.events
                result.records += prepared.records
                result.bytes += len(prepared.data)
                self._statuses[200] += 1
                record(now - connection.due)
                connection.prepared = None
                if connection.left:
                    idle.append(connection)
                else:
                    self._renew(connection)
            else:
                self._read(connection, data, now)
                length = self._length

    def _read(self, connection: _Connection, data: bytes, now: float) -> None:
        """Take what is not known to be a whole answer of the usual kind."""
        if not data or connection.prepared is None:
            self._result.wrong = self._result.wrong or _shown(data)
            self._end(connection)
            return
        connection.answer += data
        head, separator, body = connection.answer.partition(b"\r\n\r\n")
        if not separator:
            return
        headers = _headers(head)
        if len(body) < int(headers.get(b"content-length", b"0")):
            return
        status = int(head[9:12])
        if status == HTTPStatus.SERVICE_UNAVAILABLE and b"retry-after" not in headers:
            self._result.without_retry_after += 1
        self._take(connection, status, body, now)
        is_last = not connection.left or headers.get(b"connection", b"").lower() == b"close"
        if connection.rest or is_last:
            self._renew(connection)
        else:
            self._idle.append(connection)

    def _take(self, connection: _Connection, status: int, body: bytes, now: float) -> None:
        """Count an answer."""
        prepared, result = connection.prepared, self._result
        assert prepared is not None  # noqa: S101
        self._statuses[status] += 1
        if status == HTTPStatus.OK and body == self._task.body:
            result.requests += 1
            result.events += prepared.events
            result.records += prepared.records
            result.bytes += len(prepared.data)
            self._latencies.record(now - connection.due)
            self._length = len(connection.answer)
        elif status != HTTPStatus.SERVICE_UNAVAILABLE and not result.wrong:
            result.wrong = _shown(connection.answer)
        connection.prepared = None
        connection.answer = b""

    def _start(self, connection: _Connection, due: float) -> None:
        prepared = self._requests[self._next]
        self._next = (self._next + 1) % len(self._requests)
        connection.prepared = prepared
        connection.left -= 1
        connection.due = due
        try:
            sent = connection.send(prepared.data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._end(connection)
            return
        if sent < len(prepared.data):
            connection.rest = memoryview(prepared.data)[sent:]
            self._epoll.modify(connection.socket, select.EPOLLIN | select.EPOLLOUT)

    def _push(self, connection: _Connection) -> None:
        """Send more of a request."""
        try:
            connection.rest = connection.rest[connection.send(connection.rest) :]
        except BlockingIOError:
            return
        except OSError:
            connection.rest = memoryview(b"")  # reading tells what happened
        if not connection.rest:
            self._epoll.modify(connection.socket, select.EPOLLIN)

    def _end(self, connection: _Connection) -> None:
        """Note that the other side has closed; idle connections may be, and are opened again."""
        self._close(connection)
        if connection.prepared is not None:
            self._result.unanswered += 1
            return
        self._idle.remove(connection)
        self._open()

    def _renew(self, connection: _Connection) -> None:
        self._close(connection)
        self._open()

    def _connect(self) -> _Connection:
        task = self._task
        return _Connection((task.host, task.port), task.per_connection)

    def _open(self) -> None:
        try:
            connection = self._connect()
        except OSError:
            self._result.unanswered += 1  # the load is not what it should be any more
            return
        self._add(connection)

    def _add(self, connection: _Connection) -> None:
        self._connections[connection.socket.fileno()] = connection
        self._epoll.register(connection.socket, select.EPOLLIN)
        self._idle.append(connection)

    def _close(self, connection: _Connection) -> None:
        del self._connections[connection.socket.fileno()]
        connection.socket.close()


def _headers(head: bytes) -> dict[bytes, bytes]:
    lines = (line.partition(b":") for line in head.split(b"\r\n")[1:])
    return {name.strip().lower(): value.strip() for name, _, value in lines}


def _shown(answer: bytes) -> str:
    return answer[:_SHOWN].decode(errors="replace")
