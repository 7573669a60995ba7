"""What has to arrive: the tables of the specification once more, written plainly.

Nothing of the gateway is used here, so that a mistake there cannot hide itself.  It covers what
``oracle_events`` sends, and profile ``syft``.
"""

import re
from datetime import datetime
from hashlib import blake2b
from typing import Any, Literal, NamedTuple

from tests.support.oracle_events import CHROME, Event

__all__ = ["Expected", "expected", "insert_id", "time_ms"]


class Expected(NamedTuple):
    """A record and where it goes."""

    endpoint: Literal["/import", "/track", "/engage", "/groups"]
    record: dict[str, Any]


_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z")
_VALID_ID = re.compile(r"[A-Za-z0-9-]{1,36}")

_FROM_CONTEXT = {
    "$group_id": "groupId",
    "$app_name": "app.name",
    "$app_namespace": "app.namespace",
    "$app_build_number": "app.build",
    "$app_version_string": "app.version",
    "$os": "os.name",
    "$os_version": "os.version",
    "$device_type": "device.type",
    "$device": "device.name",
    "$device_name": "device.name",
    "$manufacturer": "device.manufacturer",
    "$model": "device.model",
    "$bluetooth_enabled": "network.bluetooth",
    "$carrier": "network.carrier",
    "$cellular_enabled": "network.cellular",
    "$wifi_enabled": "network.wifi",
    "mp_country_code": "location.country",
    "$locale": "locale",
    "$lib_version": "library.version",
    "$ios_ifa": "device.advertisingId",
    "advertising_id": "device.advertisingId",
    "$current_url": "page.url",
    "$referrer": "page.referrer",
    "$screen_width": "screen.density",
    "$screen_height": "screen.density",
    "$screen_density": "screen.density",
    "timezone": "timezone",
    "utm_source": "campaign.source",
    "utm_medium": "campaign.medium",
    "utm_campaign": "campaign.name",
    "utm_term": "campaign.term",
    "utm_content": "campaign.content",
}

_NEVER_OWN = {"time", "id", "$anon_id", "distinct_id", "$group_id", "$insert_id", "$user_id"}
_ORDER_ONLY = {
    *("affiliation", "subtotal", "total", "revenue", "shipping", "tax", "discount", "coupon"),
    *("currency", "order_number", "products"),
}
_OF_PRODUCT = (
    *("product_id", "sku", "category", "name", "brand", "variant", "price", "quantity", "coupon"),
    *("position", "url", "image_url"),
)
_OF_USER = {
    "email": "$email",
    "firstName": "$first_name",
    "lastName": "$last_name",
    "username": "$username",
    "phone": "$phone",
}
_CREATED = ("created", "createdAt", "created_at")


def expected(event: Event, token: str) -> list[Expected]:
    """Return the records that an event becomes.

    :param event: as it was sent, with the SDK's ``messageId``, ``timestamp`` and library.
    """
    match event["type"]:
        case "track" if event["event"] == "Order Completed":
            return [*_event(event["event"], event), *_products(event)]
        case "track":
            return _event(event["event"], event)
        case "page" | "screen":
            return _event(f"Viewed {event['name']}", event)
        case "identify":
            return _identify(event, token)
        case "group":
            return _group(event, token)
        case _:
            return []


def insert_id(message_id: str) -> str:
    """Return the id by which Mixpanel finds duplicates."""
    if _VALID_ID.fullmatch(message_id):
        return message_id
    uuid = _UUID.search(message_id)
    return uuid[0] if uuid else blake2b(message_id.encode(), digest_size=16).hexdigest()


def _product_insert_id(index: int, message_id: str) -> str:
    of_order = insert_id(message_id)
    if len(f"{index}{of_order}") <= 36:
        return f"{index}{of_order}"
    assert _UUID.fullmatch(of_order), "oracle_events sends no other long ids"
    return f"{of_order.replace('-', '')}-{index}"


def _event(name: str, event: Event) -> list[Expected]:
    own = {k: v for k, v in event["properties"].items() if k not in _NEVER_OWN}
    return [Expected("/import", {"event": name, "properties": {**_mapped(event), **own}})]


def _products(event: Event) -> list[Expected]:
    mapped = _mapped(event)
    own = {
        key: value
        for key, value in event["properties"].items()
        if key not in _NEVER_OWN | _ORDER_ONLY
    }
    records = []
    for index, product in enumerate(event["properties"]["products"]):
        properties = {
            **mapped,
            **own,
            **{key: product[key] for key in _OF_PRODUCT if product.get(key) is not None},
            "$insert_id": _product_insert_id(index, event["messageId"]),
            "time": mapped["time"] - 1 - index,
        }
        records.append(
            Expected("/import", {"event": "Product Purchased", "properties": properties})
        )
    return records


def _mapped(event: Event) -> dict[str, Any]:
    """Return what an event's record gets beside its own properties."""
    context = event["context"]
    user, anonymous = event.get("userId"), event.get("anonymousId")
    browser, version = ("Chrome", "120.5") if context.get("userAgent") == CHROME else (None, None)
    mapped = {
        "time": time_ms(event["timestamp"]),
        "ip": context.get("ip", 0),
        "id": user or anonymous,
        "distinct_id": user or anonymous,
        "$anon_id": anonymous,
        "$device_id": anonymous,
        "$identified_id": user,
        "$user_id": user,
        "$insert_id": insert_id(event["messageId"]),
        "$source": "syft",
        "mp_lib": f"Syft Actions: {context['library']['name']}",
        "event_original_name": event.get("event") or event.get("name"),
        "$browser": browser,
        "$browser_version": version,
        **{name: _at(context, path) for name, path in _FROM_CONTEXT.items()},
    }
    tracking = _at(context, "device.adTrackingEnabled")
    if tracking is not None:
        mapped["ad_tracking_enabled"] = str(tracking).lower()  # a string, by the table
    return {name: value for name, value in mapped.items() if value is not None}


def _at(context: dict[str, Any], path: str) -> Any:
    value: Any = context
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def time_ms(text: str) -> int:
    """Return a time of ISO 8601 in milliseconds since the epoch."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def _identify(event: Event, token: str) -> list[Expected]:
    user, anonymous = event.get("userId"), event.get("anonymousId")
    traits = event["traits"]
    records = []
    if user and anonymous:
        link = {"$identified_id": user, "$anon_id": anonymous, "token": token}
        records.append(Expected("/track", {"event": "$identify", "properties": link}))
    if traits:
        profile = {"$token": token, "$distinct_id": user or anonymous, "$set": _profile(traits)}
        if "ip" in event["context"]:
            profile["$ip"] = event["context"]["ip"]
        records.append(Expected("/engage", profile))
    return records


def _profile(traits: dict[str, Any]) -> dict[str, Any]:
    profile = {
        key: value for key, value in traits.items() if key not in {*_OF_USER, *_CREATED, "name"}
    }
    profile |= {_OF_USER[key]: traits[key] for key in _OF_USER if key in traits}
    for key in reversed(_CREATED):
        if traits.get(key) is not None:
            profile["$created"] = traits[key]
    if "name" in traits:
        profile["$name"] = traits["name"]
    elif "firstName" in traits and "lastName" in traits:
        profile["$name"] = f"{traits['firstName']} {traits['lastName']}"
    return profile


def _group(event: Event, token: str) -> list[Expected]:
    traits = dict(event["traits"])
    if "name" in traits:
        traits["$name"] = traits.pop("name")
    record = {
        "$token": token,
        "$group_key": "$group_id",
        "$group_id": event["groupId"],
        "$set": traits,
    }
    return [Expected("/groups", record)]
