"""What the plain-Python peer knows of single values: names of fields, ids, times, browsers."""

import re
from datetime import datetime
from functools import lru_cache
from hashlib import blake2b

__all__ = [
    "FROM_CONTEXT",
    "FROM_PARTS_OF_CONTEXT",
    "NEVER_OWN",
    "OF_GROUP",
    "OF_ORDER",
    "OF_PRODUCT",
    "OF_USER",
    "browser",
    "insert_id",
    "item_id",
    "milliseconds",
    "usable_id",
]

FROM_CONTEXT = {"groupId": "$group_id", "locale": "$locale", "timezone": "timezone"}
FROM_PARTS_OF_CONTEXT = {
    "app": {
        "name": "$app_name",
        "namespace": "$app_namespace",
        "build": "$app_build_number",
        "version": "$app_version_string",
        "platform": "app_platform",
    },
    "os": {"name": "$os", "version": "$os_version"},
    "device": {
        "type": "$device_type",
        "name": "$device_name",
        "manufacturer": "$manufacturer",
        "model": "$model",
        "idfa": "$ios_ifa",
        "advertisingId": "advertising_id",
        "adTrackingEnabled": "ad_tracking_enabled",
    },
    "network": {
        "bluetooth": "$bluetooth_enabled",
        "carrier": "$carrier",
        "cellular": "$cellular_enabled",
        "wifi": "$wifi_enabled",
    },
    "location": {"country": "mp_country_code"},
    "library": {"name": "mp_lib", "version": "$lib_version"},
    "page": {"url": "$current_url", "referrer": "$referrer"},
    "screen": {"width": "$screen_width", "height": "$screen_height", "density": "$screen_density"},
    "campaign": {
        "source": "utm_source",
        "medium": "utm_medium",
        "name": "utm_campaign",
        "term": "utm_term",
        "content": "utm_content",
    },
    "userAgentData": {
        "mobile": "$mobile",
        "platform": "$platform",
        "bitness": "$bitness",
        "platformVersion": "$platformVersion",
        "uaFullVersion": "$uaFullVersion",
        "wow64": "$wow64",
    },
}
OF_PRODUCT = (
    *("product_id", "sku", "category", "name", "brand", "variant", "price", "quantity", "coupon"),
    *("position", "url", "image_url"),
)
OF_ORDER = {
    *("affiliation", "subtotal", "total", "revenue", "shipping", "tax", "discount", "coupon"),
    *("currency", "order_number", "products"),
}
OF_GROUP = {"name", "created", "createdAt", "created_at"}
OF_USER = OF_GROUP | {"email", "firstName", "lastName", "username", "phone"}
NEVER_OWN = {"time", "id", "$anon_id", "distinct_id", "$group_id", "$insert_id", "$user_id"}

_NO_IDS = {
    *("00000000-0000-0000-0000-000000000000", "anon", "anonymous", "nil", "none", "null", "n/a"),
    *("na", "undefined", "unknown", "<nil>", "0", "-1", "true", "false", "[]", "{}"),
}
_UNIQUE_ID = re.compile(r"[A-Za-z0-9-]{1,36}")
_UUID_AT_END = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")
_BROWSERS = (
    ("Edg/", "Microsoft Edge", "Edg"),
    ("Chrome", "Chrome", "Chrome"),
    ("Safari", "Safari", "Version"),
    ("Android", "Android Mobile", "android"),
    ("Firefox", "Firefox", "Firefox"),
    ("Gecko", "Mozilla", "rv"),
)


def usable_id(value: str | None) -> str | None:
    """Return an id unless Mixpanel refuses it."""
    return value if value and value.strip().lower() not in _NO_IDS else None


def insert_id(message_id: str) -> str:
    """Return the id by which Mixpanel finds duplicates."""
    if _UNIQUE_ID.fullmatch(message_id) and message_id.lower() not in _NO_IDS:
        return message_id
    found = _UUID_AT_END.search(message_id)
    return found[0] if found else blake2b(message_id.encode(), digest_size=16).hexdigest()


def item_id(index: int, of_event: str) -> str:
    """Return the id of a product of an order."""
    whole = f"{index}{of_event}"
    return whole if len(whole) <= 36 else f"{of_event.replace('-', '')}-{index}"


def milliseconds(text: str) -> int:
    """Return a time as milliseconds since the epoch."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)


@lru_cache(4096)
def browser(user_agent: str) -> dict[str, str]:
    """Return the name and maybe the version of the browser that names itself so."""
    for text, name, product in _BROWSERS:
        if text in user_agent:
            if name == "Safari" and "iPhone" in user_agent:
                name = "Mobile Safari"
            found = re.search(product + r"[/: ](\d+(?:\.\d+)+)", user_agent)
            return {"$browser": name} | ({"$browser_version": found[1]} if found else {})
    return {"$browser": ""}
