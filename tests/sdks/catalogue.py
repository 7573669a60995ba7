"""The SDKs under test: how each is run, what it adds to events, and what it gives up by design."""

from collections.abc import Callable, Mapping
from itertools import islice
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from tests.sdks import programs
from tests.sdks.additions import (
    HERE,
    MIXPANEL,
    PAGE,
    RUDDER,
    WHERE,
    expected_in_browser,
    of_rudder,
    truncated,
    with_page,
    without_nulls,
)
from tests.sdks.programs import Program
from tests.support.oracle import expected
from tests.support.oracle_events import (
    Event,
    mixed_events,
    native_events,
    native_session_events,
    session_events,
)
from tests.support.oracle_judge import Oracle
from tests.support.oracle_native import expected_native

__all__ = ["SDKS", "Hardship", "Sdk"]

Hardship = Literal["outage", "crash"]

_NONE = MappingProxyType[str, Any]({})


class Sdk(NamedTuple):
    """An SDK.

    :param events: a number of them, as the SDK is told to send.
    :param context: what it adds to the context of each event; ``{page}`` is a page's URL.
    :param sends: an event as the SDK sends it, where that differs from what it was told.
    :param options: for requests of a few events each.
    :param gives_up: hardships in which it loses events by design, and tells so.
    :param may_give_up: the same where the hardship lasts too long for it, on a slow machine.
    :param poison: an event that the SDK sends and that never becomes a record.
    :param tells_poison: whether it sends such an event alone, and tells that it was refused.
    :param oracle: tells the records that an event becomes.
    :param is_session: whether it is made for one person, whose ids it keeps.
    :param signs_in_afterwards: whether it adds the user to an event when it sends it, so that who
        signs in meanwhile is the user of earlier events.
    :param keeps_group: whether it adds the last group that it was told of to what comes later.
    :param is_page: whether it runs in a page of a browser.
    :param tls: whether it sends to https only.
    """

    name: str
    program: Program
    context: Mapping[str, Any]
    events: Callable[[int], list[Event]]
    poison: Event
    options: Mapping[str, Any] = _NONE
    sends: Callable[[Event], Event] = lambda event: event
    gives_up: frozenset[Hardship] = frozenset()
    may_give_up: frozenset[Hardship] = frozenset()
    tells_poison: bool = False
    oracle: Oracle = expected
    is_session: bool = False
    signs_in_afterwards: bool = False
    keeps_group: bool = False
    is_page: bool = False
    tls: bool = False


def _mixed(number: int) -> list[Event]:
    return list(islice(mixed_events(), number))


def _screens(number: int) -> list[Event]:
    return list(islice(session_events("screen"), number))


def _pages(number: int) -> list[Event]:
    return list(islice(session_events("page"), number))


def _native(number: int) -> list[Event]:
    return list(islice(native_events(), number))


def _native_session(number: int) -> list[Event]:
    return list(islice(native_session_events(), number))


def _library(name: str, version: str) -> dict[str, Any]:
    return {"library": {"name": name, "version": version}}


_NAMELESS: Event = {"type": "track", "event": "", "userId": "poison", "properties": {}}
_BEFORE_TIME: Event = {**_NAMELESS, "event": "Before time", "properties": {"time": -5}}
_TOO_DEEP: Event = {
    **_NAMELESS,
    "event": "Too deep",
    "properties": {"a": {"b": {"c": {"d": {"e": {"f": 1}}}}}},
}


SDKS = (
    Sdk(
        "segment-analytics-python",
        programs.python("send", "segment"),
        _library("analytics-python", "2.4.0"),
        events=_mixed,
        poison=_NAMELESS,
    ),
    Sdk(
        "rudder-sdk-python",
        programs.python("send", "rudder"),
        _library("analytics-python", "2.1.9"),
        events=_mixed,
        poison=_NAMELESS,
    ),
    Sdk(
        "@segment/analytics-node",
        programs.node("analytics-node"),
        _library("@segment/analytics-node", "3.1.0"),
        events=_mixed,
        poison=_NAMELESS,
    ),
    Sdk(
        "@rudderstack/rudder-sdk-node",
        programs.node("rudder-node"),
        _library("analytics-node", "3.0.13"),
        events=_mixed,
        poison=_TOO_DEEP,
        options={"flushAt": 5, "retryCount": 10},  # three would be over within 1.5 s
    ),
    Sdk(
        "analytics-go",
        programs.go(),
        _library("analytics-go", "3.0.0"),
        events=_mixed,
        poison=_TOO_DEEP,
        options={"batchSize": 5},
    ),
    Sdk(
        "analytics-java",
        programs.java("SegmentJava", "java/SegmentJava.java"),
        _library("analytics-java", "3.5.4"),
        events=_mixed,
        poison=_TOO_DEEP,
        options={"flushQueueSize": 5},
        sends=without_nulls,
    ),
    Sdk(
        "analytics-kotlin",
        programs.java("SegmentKotlinKt", "kotlin/SegmentKotlin.kt"),
        {**_library("analytics-kotlin", "1.24.1"), **HERE},
        events=_screens,
        poison=_NAMELESS,
        is_session=True,
        signs_in_afterwards=True,
        tls=True,
    ),
    Sdk(
        "@segment/analytics-next",
        programs.browser("analytics-next"),
        {**_library("analytics.js", "npm:next-1.84.3"), **PAGE},
        events=_pages,
        poison=_TOO_DEEP,
        sends=lambda event: with_page(event, **WHERE),
        is_session=True,
        signs_in_afterwards=True,
        is_page=True,
    ),
    Sdk(
        "@jitsu/js",
        programs.node("jitsu"),
        _library("@jitsu/js", "1.11.0"),
        events=_pages,
        poison=_TOO_DEEP,
        sends=with_page,
        is_session=True,
        keeps_group=True,
        gives_up=frozenset({"outage", "crash"}),
    ),
    Sdk(
        "@jitsu/js (browser)",
        programs.browser("jitsu"),
        {**_library("@jitsu/js", "1.11.0"), **PAGE, "screen": {"density": 1}, "timezone": None},
        events=_pages,
        poison=_TOO_DEEP,
        sends=lambda event: with_page(event, **WHERE, hash="", width=1280, height=720),
        is_session=True,
        keeps_group=True,
        is_page=True,
        gives_up=frozenset({"outage", "crash"}),
    ),
    Sdk(
        "@rudderstack/analytics-js",
        programs.browser("rudder"),
        {**_library("RudderLabs JavaScript SDK", "3.34.1"), **PAGE, **RUDDER},
        events=_pages,
        poison=_TOO_DEEP,
        sends=of_rudder,
        is_session=True,
        is_page=True,
    ),
    Sdk(
        "mixpanel (npm)",
        programs.node("mixpanel"),
        {"event": {"ip": 0, "mp_lib": "node", "$lib_version": "0.24.0"}},
        events=_native,
        poison=_BEFORE_TIME,
        oracle=expected_native,
        tls=True,
        gives_up=frozenset({"outage", "crash"}),
        tells_poison=True,
    ),
    Sdk(
        "mixpanel (npm), batches",
        programs.node("mixpanel", "batches"),
        {"event": {"ip": 0}},
        events=_native,
        poison=_BEFORE_TIME,
        oracle=expected_native,
        tls=True,
        gives_up=frozenset({"outage", "crash"}),
    ),
    Sdk(
        "mixpanel (PyPI)",
        programs.python("mixpanel_send"),
        {"event": {"ip": 0, "mp_lib": "python", "$lib_version": "5.4.1"}},
        events=_native,
        poison=_BEFORE_TIME,
        oracle=expected_native,
        tls=True,
        may_give_up=frozenset({"outage", "crash"}),  # after 3.5 s
    ),
    Sdk(
        "mixpanel-java",
        programs.java("MixpanelJava", "java/MixpanelJava.java"),
        {"event": {"ip": 0, "mp_lib": "jdk"}},
        events=_native,
        poison=_BEFORE_TIME,
        oracle=expected_native,
        gives_up=frozenset({"outage", "crash"}),
    ),
    Sdk(
        "mixpanel-browser",
        programs.browser("mixpanel"),
        MIXPANEL,
        events=_native_session,
        poison=_BEFORE_TIME,
        options={"batch_flush_interval_ms": 500},
        sends=truncated,
        oracle=expected_in_browser,
        gives_up=frozenset({"crash"}),
        is_session=True,
        is_page=True,
    ),
)
