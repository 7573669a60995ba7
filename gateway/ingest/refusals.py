"""What clients are told that are refused for want of room or time; all of them may come back."""

from itertools import cycle

from gateway.errors import RequestError

__all__ = ["REST_S", "no_room", "slow_body", "slow_head", "too_many_connections"]

REST_S = 2
"""How long clients that there is no room for are told to stay away, at least."""

_SECONDS = cycle(range(REST_S, REST_S + 5))
"""Different ones, so that those sent away together do not come back together."""


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


def _refusal(code: str, message: str, *, close: bool = False) -> RequestError:
    return RequestError(503, code, message, retry_after_s=next(_SECONDS), close=close)
