"""What became of one request, as a value.

The answer of a service is read once, by a pure function, into one of these five; everything after
it (settling, waiting, splitting) acts on the value and never looks at a status or a body again.
"""

from dataclasses import dataclass
from typing import Literal

__all__ = [
    "Delivered",
    "FailedRecord",
    "Outcome",
    "Partial",
    "Paused",
    "RefusalReason",
    "RetryLater",
    "Split",
    "is_failure",
]

RefusalReason = Literal["refused", "too_large", "unanswered"]
"""Why a single record cannot be delivered; the ``reason`` of its dead letter."""


@dataclass(frozen=True, slots=True)
class FailedRecord:
    """One record the service refused.

    :param index: its place in the request, counted from 0.
    :param message: the service's own words.
    """

    index: int
    message: str


@dataclass(frozen=True, slots=True)
class Delivered:
    """Every record was taken."""


@dataclass(frozen=True, slots=True)
class Partial:
    """The ``failed`` records were refused for good; all others were taken."""

    failed: tuple[FailedRecord, ...]


@dataclass(frozen=True, slots=True)
class Split:
    """The request was refused as a whole, and it is not said which record is to blame.

    Halves of it are tried; a record that is refused alone is the bad one.

    :param reason: the reason of the dead letter if the request held a single record.
    :param detail: the service's own words, or what its answer looked like.
    :param is_foreign: whether something else than the service refused it, a firewall or a proxy:
        what was accepted before that says little about what it lets pass now.
    """

    reason: RefusalReason
    detail: str
    is_foreign: bool = False


@dataclass(frozen=True, slots=True)
class RetryLater:
    """Temporary trouble; the same records are sent again.

    :param after_s: how long the service asked to be left alone, if it did.
    :param throttled: whether it said that it gets too much.
    """

    after_s: float | None
    reason: str
    throttled: bool = False


@dataclass(frozen=True, slots=True)
class Paused:
    """A wrong setting, which only a person can cure: nothing is dropped, and nothing hurries.

    :param holds_others: whether it is one that the destination's other endpoints share.
    """

    reason: str
    holds_others: bool = True


Outcome = Delivered | Partial | Split | RetryLater | Paused


def is_failure(outcome: Outcome | None) -> bool:
    """Whether a request failed as in an outage or by a wrong setting.

    What was in it may also be the cause: a firewall may answer as if the address were wrong.
    """
    return isinstance(outcome, Paused) or (
        isinstance(outcome, RetryLater) and not outcome.throttled
    )
