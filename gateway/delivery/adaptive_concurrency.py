"""How many requests to an endpoint may be under way at once: found out by trying, as TCP does.

No I/O and no clock here: the caller says what the time is.
"""

from typing import Literal, NamedTuple

__all__ = ["START", "Concurrency", "Result", "Ticket"]

START = 4
"""Requests at once before anything is known; latency under so few counts as undisturbed."""

_SLOWER = 1.5  # times the usual latency: no further growth
_MUCH_SLOWER = 2.0  # the same: fewer requests
_NOISE_S = 0.05  # whatever is faster is as good as usual
_MEMORY = 0.2  # share of the newest request in the usual latency

_CEILING_S = 300.0
"""How long a limit that was answered with a 429 is not tried again.

Each 429 stops the endpoint for some seconds.  A limit that climbed back to it at once would spend
most of its time waiting.
"""

Result = Literal["ok", "throttled", "failed", "unknown"]
"""What a request says about the load: ``unknown`` is nothing, as when it was cut off."""


class Ticket(NamedTuple):
    """A request under way."""

    window: int
    started: float
    in_flight: int
    size_class: int


class Concurrency:
    """A limit by additive increase and multiplicative decrease, with a fast start.

    A *window* is as many successes as the limit, all of them begun since the limit last changed: a
    request says nothing about a limit that it was not sent under, so ten that fail together are
    one decrease.  After a window the limit doubles, and once anything spoke against that, grows by
    one; but only if more was wanted.  A 429, another failure or a timeout halves it at once, a
    window with twice the usual latency takes a tenth off.

    The usual latency is what requests of about the same size take with at most ``START`` under way.
    More load never changes it, so that a queue that builds up is not taken for the usual.  When the
    service has become slower for good, the limit falls to ``START``, learns that, and grows again.

    :param most: the largest limit; at least 1.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.limit = min(START, most)
        self._in_flight = 0
        self._fast = True
        self._usual: dict[int, float] = {}  # seconds by size class; at most 64 of them
        self._ceiling = most
        self._ceiling_until = 0.0
        self._window = 0
        self._successes = 0
        self._slowness = 0.0
        self._wanted = False

    def want(self) -> None:
        """Take note that somebody would send more if the limit were higher."""
        self._wanted = True

    def begin(self, now: float, size: int) -> Ticket:
        """Take note of a new request.

        :param now: seconds on a clock that never goes back.
        :param size: of its records, in bytes.
        """
        self._in_flight += 1
        return Ticket(self._window, now, self._in_flight, size.bit_length())

    def end(self, ticket: Ticket, now: float, result: Result) -> None:
        """Take note of the end of a request that ``begin`` returned the ticket of."""
        most_in_flight = max(ticket.in_flight, self._in_flight)
        self._in_flight -= 1
        if ticket.window != self._window or result == "unknown":
            return
        if result == "ok":
            self._learn(ticket, now - ticket.started, most_in_flight)
            if self._successes >= max(self.limit, START):
                self._conclude(now)
        elif most_in_flight > 1:  # alone, it would have failed under any limit
            if result == "throttled":
                self._ceiling = max(1, self.limit - 1)
                self._ceiling_until = now + _CEILING_S
            self._fast = False
            self._change(self.limit // 2)

    def _learn(self, ticket: Ticket, took: float, in_flight: int) -> None:
        usual = self._usual.setdefault(ticket.size_class, took)
        if in_flight <= START:
            usual += _MEMORY * (took - usual)
            self._usual[ticket.size_class] = usual
        self._slowness += took / max(usual, _NOISE_S)
        self._successes += 1

    def _conclude(self, now: float) -> None:
        slowness = self._slowness / self._successes
        limit = self.limit
        if slowness > _SLOWER:
            self._fast = False
            if slowness > _MUCH_SLOWER:
                limit = min(limit - 1, limit * 9 // 10)
        elif self._wanted:
            ceiling = self._ceiling if now < self._ceiling_until else self._most
            limit = max(limit, min(limit * 2 if self._fast else limit + 1, ceiling))
        self._change(limit)

    def _change(self, limit: int) -> None:
        self.limit = min(max(limit, 1), self._most)
        self._window += 1
        self._successes = 0
        self._slowness = 0.0
        self._wanted = False
