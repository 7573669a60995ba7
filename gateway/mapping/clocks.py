"""The clocks of clients: by how much one is wrong, and what its times are corrected by.

A request says by its client's clock when it was sent.  The difference to its receipt is the error
of that clock and the time that the request took; an SDK that writes ``sentAt`` only once adds all
the time that it waited.  Mixpanel drops a repeated event only when its time is the same, so that a
correction must not change from one attempt to the next.
"""

import re
from array import array
from collections.abc import Callable
from enum import Enum

import msgspec

from fastmap import parse_time
from gateway.events import Event, plain_text

__all__ = [
    "MAX_SKEW_MS",
    "Clocks",
    "Corrections",
    "is_possible",
    "sent_far_off",
]

_HOUR_MS = 60 * 60 * 1000  # how far ahead Mixpanel takes times
_DAY_MS = 24 * _HOUR_MS

MAX_SKEW_MS = _DAY_MS
"""A larger difference comes from a batch that waited on the device, not from its clock."""

_MAX_WAIT_MS = 30 * _DAY_MS
"""How old an event may be, by the clock that wrote its time, when that clock is wrong for sure."""

_ON_THE_WAY_MS = 60_000
"""What requests may take to arrive: SDKs give up after as long.  It says nothing of a clock."""

_STEP_MS = 60_000
"""Corrections are multiples of this, so that most stay the same where nothing is remembered."""

_NEAR_MS = 30_000
"""A difference below which no attempt of an event is likely to be corrected."""

_EARLIEST_MS = 365 * _DAY_MS  # that Mixpanel takes
_FIRST_SDK_MS = 1_293_840_000_000  # 2011: no SDK sent anything earlier
_READABLE = (str, int, float)


class _SentAt(Enum):
    """What an SDK says of the time when it sends a request."""

    ONCE = "once"  # when the batch is made; all attempts say the same, days later perhaps
    EACH = "each"  # in each attempt anew


_SENDERS = {
    **dict.fromkeys(
        (
            "analytics-csharp",  # Unity's too
            "analytics-go",
            "analytics-ios",  # as Swift's calls itself in User-Agent
            "analytics-java",
            "analytics-kotlin",
            "analytics-node",  # RudderStack's, and Segment's former one
            "analytics-swift",
            "analytics.net",
            "analytics.xamarin",
            "rudderanalytics.net",
        ),
        _SentAt.ONCE,
    ),
    **dict.fromkeys(
        (
            "@segment/analytics-node",
            "analytics-node-next",  # the same, in User-Agent
            "analytics-python",  # RudderStack's too
            "analytics-react-native",
            "analytics-ruby",
            "analytics.js",
            "com.rudderstack.android.sdk.core",
            "com.rudderstack.sdk.kotlin.android",
            "com.rudderstack.sdk.kotlin.core",
            "rudder-sdk-swift",
            "rudderlabs javascript sdk",
        ),
        _SentAt.EACH,
    ),
}
"""By what SDKs call themselves in ``context.library.name`` or before the version in User-Agent."""


def _sent_at_of(sender: str) -> _SentAt | None:
    return _SENDERS.get(sender.lower())


def is_possible(time_ms: int | None) -> bool:
    """Return whether there is a time, and one that Mixpanel does not refuse as too early."""
    return time_ms is not None and time_ms >= _EARLIEST_MS


def sent_far_off(sent_at: object, received_ms: int) -> int | None:
    """Return when a request was sent by its client's clock; None where that is about the receipt.

    None as well for what is no time.
    """
    if not isinstance(sent_at, _READABLE):
        return None
    sent_ms = parse_time(sent_at)
    if sent_ms is None or -_NEAR_MS <= received_ms - sent_ms <= _NEAR_MS:
        return None
    # A clock that starts at 1970 counts milliseconds or seconds: a small number may be either.
    return None if sent_ms < _EARLIEST_MS and _is_number(sent_at) else sent_ms


class Clocks:
    """What the events of one source are corrected by, each by the same amount in every attempt.

    The decisions of the last 32,768 places are remembered, in half a mebibyte: newer events take
    the places of older ones.
    """

    def __init__(self) -> None:
        self._places = 1 << 15
        self._events = self._corrections = array("q")

    def of_request(self, received_ms: int, *, sender: str, is_retry: bool) -> "Corrections":
        """Return what decides about the events of one request.

        :param sender: what sends it, by its headers; where it is not known, the library counts.
        :param is_retry: whether the request says that it was sent before.
        """
        return Corrections(self._once, received_ms, _sent_at_of(sender), is_retry=is_retry)

    def _once(self, event: Event, skew: int) -> int:
        """Return what was decided for an event before, or else what is decided now."""
        if not self._events:
            self._events = array("q", bytes(8 * self._places))
            self._corrections = array("q", bytes(8 * self._places))
        key = hash((plain_text(event.message_id), plain_text(event.timestamp)))
        place = key % self._places
        if self._events[place] != key:
            self._events[place] = key
            self._corrections[place] = skew
        return self._corrections[place]


class Corrections:
    """What the times of the events of one request are corrected by.

    :param once: returns what was decided for an event before, or else what is given.
    :param sent_at: what the sender's ``sentAt`` means, where the headers tell the sender.
    """

    __slots__ = ("_is_retry", "_once", "_received_ms", "_sent_at")

    def __init__(
        self,
        once: Callable[[Event, int], int],
        received_ms: int,
        sent_at: _SentAt | None,
        *,
        is_retry: bool,
    ) -> None:
        self._once = once
        self._received_ms = received_ms
        self._sent_at = sent_at
        self._is_retry = is_retry

    def of(self, event: Event, sent_ms: int) -> tuple[int | None, bool]:
        """Return what to add to an event's times, in milliseconds, and whether that is common.

        It is None where the request was sent too long ago for its client's clock to be known, and
        common where it is the same for all events of the request with the same context.

        :param sent_ms: when it was sent by its client's clock.
        """
        sent_at = self._sent_at or _sent_at_of(_library_of(event))
        is_stale = sent_at is _SentAt.ONCE or (self._is_retry and sent_at is None)
        skew = self._received_ms - sent_ms
        if abs(skew) > MAX_SKEW_MS:
            if _is_plausible(sent_ms, self._received_ms):
                return 0 if is_stale else None, True
            if not _is_by_a_wrong_clock(event, sent_ms, self._received_ms):
                return 0 if is_stale else None, False
        elif sent_at is _SentAt.ONCE:
            return 0, True
        elif is_stale or abs(skew) <= _ON_THE_WAY_MS:
            skew = 0
        else:
            skew = round(skew / _STEP_MS) * _STEP_MS
        return self._once(event, skew), False


def _is_plausible(sent_ms: int, received_ms: int) -> bool:
    """Return whether the time of an event that is not much older may be true."""
    return _FIRST_SDK_MS + _MAX_WAIT_MS <= sent_ms <= received_ms


def _is_by_a_wrong_clock(event: Event, sent_ms: int, received_ms: int) -> bool:
    """Return whether a clock that is wrong by more than a day wrote both times of an event.

    The event's time cannot be true then, and is not later than ``sentAt`` or much earlier.
    """
    text = plain_text(event.timestamp)
    time_ms = None if text is None else parse_time(text)
    if time_ms is None or not 0 <= sent_ms - time_ms <= _MAX_WAIT_MS:
        return False
    if time_ms < _EARLIEST_MS:
        return not _is_number(text)
    return time_ms < _FIRST_SDK_MS or time_ms > received_ms + _HOUR_MS


def _is_number(value: object) -> bool:
    return not isinstance(value, str) or value.strip().replace(".", "", 1).isdigit()


class _Library(msgspec.Struct):
    name: str = ""


class _Context(msgspec.Struct):
    library: _Library = msgspec.field(default_factory=_Library)


_decode_context = msgspec.json.Decoder(_Context).decode
_begins_with_library = re.compile(rb'\{"library":\{"name":"([^"\\]*)"').match


def _library_of(event: Event) -> str:
    """Return the name of the SDK that an event's context tells, "" where it tells none."""
    found = _begins_with_library(event.context)  # as most SDKs write it
    if found is not None:
        return found[1].decode()
    try:
        return _decode_context(event.context or b"{}").library.name
    except (msgspec.DecodeError, RecursionError):
        return ""
