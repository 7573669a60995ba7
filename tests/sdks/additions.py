"""What SDKs add to events, and what they make of values: facts about each, as data."""

from typing import Any

from tests.support.oracle import Expected
from tests.support.oracle_events import CHROME, Event
from tests.support.oracle_native import expected_native
from tests.support.oracle_sdk import REFERRER

__all__ = [
    "HERE",
    "MIXPANEL",
    "PAGE",
    "PAGE_PATH",
    "RUDDER",
    "WHERE",
    "expected_in_browser",
    "of_rudder",
    "truncated",
    "with_page",
    "without_nulls",
]

HERE = {"ip": "127.0.0.1"}
"""What the gateway knows of a user who is at the other end of a connection."""

PAGE_PATH = "/shop?utm_source=news&utm_campaign=Spring"
"""What follows the host in the URL of a page."""

PAGE: dict[str, Any] = {
    "page": {"url": "{page}", "referrer": REFERRER},
    "userAgent": CHROME,
    "locale": "de-CH",
    "timezone": "Asia/Tokyo",
    "campaign": {"source": "news", "name": "Spring"},
    **HERE,
}
"""What all SDKs for browsers tell of a page."""


WHERE = {
    "path": "/shop",
    "referrer": REFERRER,
    "search": PAGE_PATH.removeprefix("/shop"),
    "title": "Shop",
    "url": "{page}",
}


RUDDER = {
    "app": {
        "name": "RudderLabs JavaScript SDK",
        "version": "3.34.1",
        "namespace": "com.rudderlabs.javascript",
    },
    "screen": {"density": 1},
    "timezone": "GMT+0900",
}


def with_page(event: Event, **more: Any) -> Event:
    """Return a page event with what SDKs for browsers add to its properties."""
    if event["type"] != "page":
        return event
    return {**event, "properties": {**more, "name": event["name"], **event["properties"]}}


def of_rudder(event: Event) -> Event:
    domain = "search.example"
    sent: Event = without_nulls(
        with_page(
            event,
            **WHERE,
            referring_domain=domain,
            initial_referrer=REFERRER,
            initial_referring_domain=domain,
            tab_url="{page}",
        )
    )
    return sent


_BROWSER = {"$os": "Windows", "$browser": "Chrome", "$browser_version": 120.5}
_FROM_WHERE = {"$initial_referrer": REFERRER, "$initial_referring_domain": "search.example"}

MIXPANEL = {
    "event": {
        **_BROWSER,
        **_FROM_WHERE,
        "ip": "127.0.0.1",
        "$referrer": REFERRER,
        "$referring_domain": "search.example",
        "$current_url": "{page}",
        "$screen_width": 1280,
        "$screen_height": 720,
        "mp_lib": "web",
        "$lib_version": "2.83.0",
        "mp_sent_by_lib_version": "2.83.0",
        "utm_source": "news",
        "utm_campaign": "Spring",
    },
    "update": {"$ip": "127.0.0.1"},
    "set": _BROWSER,
}
"""What Mixpanel's SDK for browsers adds to events, to updates, and to what a profile's sets."""

_CAMPAIGN = (
    *("source", "medium", "campaign", "content", "term", "id", "source_platform"),
    *("campaign_id", "creative_format", "marketing_tactic"),
)


def expected_in_browser(event: Event, token: str) -> list[Expected]:
    """Add what comes with the first sign-in: the event that says so, and where the user is from."""
    records = expected_native(event, token)
    if event["type"] != "identify":
        return records
    device = event["anonymousId"]
    link = {**event, "type": "track", "event": "$identify"}
    link["properties"] = {"$anon_distinct_id": f"$device:{device}"}
    first = {"utm_source": "news", "utm_campaign": "Spring"}
    once = {f"initial_utm_{name}": first.get(f"utm_{name}") for name in _CAMPAIGN}
    update = {name: value for name, value in records[0].record.items() if name != "$set"}
    update["$set_once"] = {**once, **_FROM_WHERE}
    return [*records, *expected_native(link, token), Expected("/engage", update)]


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nulls(each) for key, each in value.items() if each is not None}
    return [without_nulls(each) for each in value] if isinstance(value, list) else value


def truncated(value: Any) -> Any:
    """Return what Mixpanel's SDK for browsers leaves of a value."""
    if isinstance(value, dict):
        return {key: truncated(each) for key, each in value.items()}
    if isinstance(value, list):
        return [truncated(each) for each in value]
    return value[:255] if isinstance(value, str) else value
