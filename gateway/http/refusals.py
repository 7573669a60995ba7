"""What clients are told that are refused for want of room or time; all of them may come back."""

from itertools import cycle

from gateway.errors import RequestError

__all__ = ["REST_S", "no_room", "slow_body", "slow_head", "too_fast", "too_many_connections"]

REST_S = 2
"""How long clients that there is no room for are told to stay away, at least."""

_SECONDS = cycle(range(REST_S, REST_S + 5))
"""Different ones, so that those sent away together do not come back together."""

_MOST_S = 300
"""The longest that SDKs wait; several take more for nonsense."""


def no_room() -> RequestError:
    """Refuse a request that does not fit beside the others."""
    return _refusal("overloaded", "the gateway is busy; send the events again later")


def too_many_connections() -> RequestError:
    """Refuse a connection beyond the cap."""
    return _refusal(
        "too_many_connections", "the gateway has too many connections; try again later", close=True
    )


def slow_head() -> RequestError:
    """Refuse a request whose headers do not end."""
    return _refusal("header_timeout", "the headers arrive too slowly; try again", close=True)


def slow_body() -> RequestError:
    """Refuse a request whose body takes too long, or the room that others need."""
    return _refusal("body_timeout", "the body arrives too slowly; try again", close=True)


def too_fast(status: int, wait_s: int, what: str) -> RequestError:
    """Refuse a request of somebody who sends more than is allowed.

    :param status: that makes its SDK send again later.
    :param wait_s: until there is room again.
    :param what: was too much.
    """
    wait_s = min(wait_s + next(_SECONDS) - REST_S, _MOST_S)
    message = f"more {what} a second than its source may send; send them again later"
    return RequestError(status, "rate_limited", message, retry_after_s=max(1, wait_s))


def _refusal(code: str, message: str, *, close: bool = False) -> RequestError:
    return RequestError(503, code, message, retry_after_s=next(_SECONDS), close=close)
