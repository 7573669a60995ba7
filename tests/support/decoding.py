"""Reading a body as it is and folded: both have to say the same."""

from collections.abc import Callable
from unittest import mock

from gateway.errors import RequestError
from gateway.events import Received, decode

__all__ = ["check_folding", "shares_contexts"]

_UNFOLDED = mock.patch("gateway.events.decoding.fold", return_value=None)


def check_folding(body: bytes, decode: Callable[[bytes], Received] = decode) -> Received | None:
    """Return what a body holds, after a check that it does not depend on folding; or None."""
    folded = _outcome(body, decode)
    with _UNFOLDED:
        plain = _outcome(body, decode)
    assert folded == plain
    return folded if isinstance(folded, Received) else None


def shares_contexts(received: Received) -> bool:
    """Whether some event's context was left out of what was decoded."""
    contexts = [event.context for event in received.events if event.context]
    return len({id(context) for context in contexts}) < len(contexts)


def _outcome(body: bytes, decode: Callable[[bytes], Received]) -> Received | tuple[int, str, str]:
    try:
        return decode(body)
    except RequestError as error:
        return error.status, error.code, error.message
