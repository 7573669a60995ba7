"""Misbehaviour as data: which requests go wrong, how, and how often."""

import random
from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import msgspec

__all__ = ["EndpointPath", "Fault", "Faults"]

EndpointPath = Literal["/import", "/track", "/engage", "/groups"]

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Positive = Annotated[int, msgspec.Meta(ge=1)]
StatusCode = Annotated[int, msgspec.Meta(ge=200, le=599)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=3600)]


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way to misbehave.

    :param action: ``status`` answers with ``status``; ``reset`` cuts the connection without an
        answer; ``stall`` says nothing for ``stall_s`` and then goes on as if nothing had happened.
    :param after: False: none of the request's records are taken (``stall``: not before it is over,
        and never when the client has left by then).  True: they are stored first, so a client
        that tries again makes duplicates.
    :param share: of the requests it applies to, the part that goes wrong.
    :param count: how many requests go wrong before the fault is over; None for no end.
    :param endpoints: those it applies to; empty for all.
    :param holding: it applies only to requests whose body, uncompressed, holds this text.
    :param status: for ``status``.
    :param retry_after_s: adds ``Retry-After`` to the answer of ``status``.
    :param body: sent as it is in place of the body that belongs to ``status``.
    :param stall_s: for ``stall``.
    """

    action: Literal["status", "reset", "stall"]
    after: bool = False
    share: Share = 1.0
    count: Positive | None = None
    endpoints: tuple[EndpointPath, ...] = ()
    holding: str | None = None
    status: StatusCode = 500
    retry_after_s: Annotated[int, msgspec.Meta(ge=0)] | None = None
    body: str | None = None
    stall_s: Seconds = 30.0


class Faults:
    """The faults in force, and the dice.

    :param rules: tried in order; the first that strikes is the only one for a request.
    :param rng: decides about shares; seeded, so that a run can be repeated.
    """

    def __init__(self, rules: Sequence[Fault], rng: random.Random) -> None:
        self._rules = list(rules)
        self._rng = rng

    def choose(self, endpoint: EndpointPath, text: Callable[[], bytes] = bytes) -> Fault | None:
        """Return what goes wrong with the next request to ``endpoint``, and count it as used.

        :param text: returns its body, uncompressed.
        """
        for position, rule in enumerate(self._rules):
            if rule.endpoints and endpoint not in rule.endpoints:
                continue
            if rule.holding is not None and rule.holding.encode() not in text():
                continue
            if self._rng.random() >= rule.share:
                continue
            if rule.count == 1:
                del self._rules[position]
            elif rule.count is not None:
                self._rules[position] = msgspec.structs.replace(rule, count=rule.count - 1)
            return rule
        return None

    def rules(self) -> tuple[Fault, ...]:
        """Return the faults in force; ``count`` is what is left of it."""
        return tuple(self._rules)

    def replace(self, rules: Sequence[Fault]) -> None:
        """Forget the faults in force and take these."""
        self._rules = list(rules)
