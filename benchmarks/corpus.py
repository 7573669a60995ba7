"""A seeded corpus of mobile traffic: the bodies that SDKs would post.

The shares are those of a shop with an app: three in four events are tracks, two in a hundred are
orders, and the context that comes with every event is most of its bytes.  An event is 1.2 kB on
average.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from random import Random
from typing import Any

import msgspec

from benchmarks.sdks import User, new_user, new_uuid

__all__ = [
    "BATCH_SIZES",
    "RECEIVED_MS",
    "SEED",
    "WRITE_KEY",
    "batched",
    "singles",
    "sized",
    "traffic",
]

SEED = 20_260_601
RECEIVED_MS = 1_780_315_200_000
"""When the corpus counts as received: 2026-06-01, noon."""

WRITE_KEY = "benchmark-write-key"
"""The key in each body."""

BATCH_SIZES = {1: 30, 20: 40, 50: 20, 100: 10}
"""Events in a body, and how many bodies in a hundred hold so many."""

_USERS = 3_000
_DEVICE_DELAY_MS = 2 * 60 * 60 * 1000  # mobile SDKs keep events until there is a network
_TRACKED = 0.75
_ORDERS = 0.02

_PRODUCTS = (
    ("Wool blanket, grey", "Nordwind", "Home", 79.9),
    ("Crème brûlée set · 6 pièces", "Atelier Lumière", "Kitchen", 45.5),
    ("抹茶セット", "京都茶舗", "Kitchen", 38),
    ("Trail running shoes", "Lauf & Berg", "Sport", 129.95),
    ('Desk lamp "Ørsted"', "Nordlys", "Home", 64.0),
    ("Canvas backpack 24 l", "Nordwind", "Travel", 89),
)
_SCREENS = ("Home", "Product", "Search", "Cart", "Checkout", "Profil & Einstellungen", "Wishlist")


def traffic(events: int, *, seed: int = SEED) -> list[bytes]:
    """Return bodies of batches with that many events in all, the same ones for the same seed."""
    rng = Random(seed)
    users = [new_user(rng) for _ in range(_USERS)]
    bodies = []
    while events:
        size = min(events, rng.choices(list(BATCH_SIZES), list(BATCH_SIZES.values()))[0])
        bodies.append(_body(rng, rng.choice(users), size))
        events -= size
    return bodies


def batched(bodies: list[bytes], size: int) -> list[bytes]:
    """Return the events of these bodies in batches of another size; the rest is left out."""
    items = _events_of(bodies)
    whole = range(0, len(items) - size + 1, size)
    return [_envelope(items[at : at + size], 300) for at in whole]


def singles(bodies: list[bytes]) -> list[tuple[str, bytes]]:
    """Return the events of these bodies, each as a body of its own, with its type."""
    decode = msgspec.json.Decoder(_Typed).decode
    return [(decode(event).type, event) for event in _events_of(bodies)]


def sized(events: int, event_bytes: int, *, seed: int = SEED) -> list[bytes]:
    """Return batches of 50 tracks of about that many bytes each; what varies are properties."""
    rng = Random(seed)
    encoded = [_track_of_size(rng, event_bytes) for _ in range(events)]
    return [_envelope(encoded[at : at + 50], 300) for at in range(0, events, 50)]


class _Typed(msgspec.Struct):
    type: str


def _events_of(bodies: list[bytes]) -> list[bytes]:
    decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
    return [
        bytes(event)
        for body in bodies
        for event in msgspec.json.decode(decode(body)["batch"], type=list[msgspec.Raw])
    ]


def _body(rng: Random, user: User, size: int) -> bytes:
    start = RECEIVED_MS - rng.randrange(60_000, _DEVICE_DELAY_MS)
    times = sorted(rng.randrange(start, RECEIVED_MS - 2_000) for _ in range(size))
    events = [_encode(_event(rng, user, time_ms), user.sdk.slashes) for time_ms in times]
    return _envelope(events, rng.randrange(60, 1_500))


def _envelope(events: list[bytes], latency_ms: int) -> bytes:
    sent_at = _iso(RECEIVED_MS - latency_ms).encode()
    return b'{"batch":[%b],"sentAt":"%b","writeKey":"%b"}' % (
        b",".join(events),
        sent_at,
        WRITE_KEY.encode(),
    )


def _encode(event: dict[str, Any], slashes: str) -> bytes:
    text = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    return (text if slashes == "/" else text.replace("/", slashes)).encode()


def _iso(time_ms: int) -> str:
    moment = datetime.fromtimestamp(time_ms / 1000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time_ms % 1000:03}Z"


def _event(rng: Random, user: User, time_ms: int) -> dict[str, Any]:
    kind, body = _kind(rng, user)
    event: dict[str, Any] = {
        **body,
        "type": kind,
        "anonymousId": user.anonymous_id,
        "messageId": user.sdk.message_id(rng, time_ms),
        "timestamp": _iso(time_ms),
        "context": user.context,
        **user.sdk.envelope,
    }
    if user.user_id is not None:
        event.setdefault("userId", user.user_id)
    return event


def _kind(rng: Random, user: User) -> tuple[str, dict[str, Any]]:
    """Return an event's type and what only this type has."""
    dice = rng.random()
    if dice < _ORDERS:
        return "track", {"event": "Order Completed", "properties": _order(rng) | _session(rng)}
    if dice < _TRACKED:
        name, properties = _tracked(rng)
        return "track", {"event": name, "properties": properties | _session(rng)}
    if dice < 0.90:
        name = rng.choice(_SCREENS)
        properties = {"section": name.lower(), "depth": rng.randrange(1, 6), "tab": None}
        return user.sdk.views, {"name": name, "properties": properties | _session(rng)}
    if dice < 0.96:
        user_id = user.user_id or f"usr_{rng.randrange(10**9):09}"
        return "identify", {"userId": user_id, "traits": _traits(rng, user)}
    if dice < 0.985:
        traits = {"name": "Nordwind Ω GmbH", "plan": "business", "employees": rng.randrange(2, 900)}
        return "group", {"groupId": f"org_{rng.randrange(500)}", "traits": traits}
    return "alias", {"previousId": user.anonymous_id}


def _session(rng: Random) -> dict[str, Any]:
    """Return what the app adds to all its events."""
    return {
        "session_id": rng.randrange(10**12, 10**13),
        "session_number": rng.randrange(1, 400),
        "store": rng.choice(("de", "pl", "fr", "jp")),
        "signed_in": rng.random() < 0.7,
        "feature_flags": ["new_checkout", "search_v2", f"recommendations_{rng.randrange(4)}"],
        "previous_screen": rng.choice(_SCREENS),
    }


def _traits(rng: Random, user: User) -> dict[str, Any]:
    return {
        "firstName": user.first_name,
        "lastName": user.last_name,
        "email": f"user{rng.randrange(10**6)}@mail.example",
        "createdAt": _iso(RECEIVED_MS - rng.randrange(10**11)),
        "plan": rng.choice(("free", "plus")),
        "orders": rng.randrange(40),
        "newsletter": rng.random() < 0.4,
    }


def _product(rng: Random, position: int) -> dict[str, Any]:
    name, brand, category, price = rng.choice(_PRODUCTS)
    number = rng.randrange(100_000)
    return {
        "product_id": f"prd_{number}",
        "sku": f"NW-{number:05}",
        "name": name,
        "brand": brand,
        "category": category,
        "price": price,
        "quantity": rng.randrange(1, 4),
        "position": position,
        "url": f"https://shop.nordwind.example/products/{number}",
        "image_url": f"https://cdn.nordwind.example/p/{number}/large.webp",
    }


def _order(rng: Random) -> dict[str, Any]:
    products = [_product(rng, position) for position in range(1, rng.randrange(2, 7))]
    subtotal = round(sum(product["price"] * product["quantity"] for product in products), 2)
    return {
        "order_id": f"ord_{rng.randrange(10**8):08}",
        "checkout_id": new_uuid(rng),
        "affiliation": "App",
        "subtotal": subtotal,
        "shipping": 4.9,
        "tax": round(subtotal * 0.19, 2),
        "discount": 0,
        "total": round(subtotal + 4.9, 2),
        "revenue": subtotal,
        "currency": "EUR",
        "coupon": "HERBST10",
        "products": products,
    }


def _tracked(rng: Random) -> tuple[str, dict[str, Any]]:
    match rng.randrange(6):
        case 0 | 1:
            return "Product Viewed", _product(rng, rng.randrange(1, 30))
        case 2:
            return "Product Added", {**_product(rng, 1), "cart_id": new_uuid(rng)}
        case 3:
            return "Application Opened", {
                "from_background": rng.random() < 0.6,
                "referring_application": "com.android.launcher",
                "version": "8.41.0",
                "build": "84100",
            }
        case 4:
            return "Products Searched", {
                "query": rng.choice(("decke", "lampe für schreibtisch", "抹茶", "running shoes")),
                "results": rng.randrange(200),
                "filters": [{"type": "category", "value": "Home"}, {"type": "size", "value": "M"}],
                "sorts": [{"type": "price", "value": "asc"}],
                "took_ms": round(rng.uniform(20, 900), 3),
            }
        case _:
            return "Button Tapped", {
                "id": f"btn_{rng.randrange(40)}",
                "label": rng.choice(("In den Warenkorb", "Weiter →", "Buy now", "お気に入り")),
                "screen": rng.choice(_SCREENS),
                "x": rng.randrange(1080),
                "y": rng.randrange(2400),
                "experiment": {"key": "checkout_v3", "variant": rng.choice("ABC")},
            }


_MOST_PROPERTIES = 200
"""Of a large event: Mixpanel takes 255, and the profiles add their own."""


def _track_of_size(rng: Random, event_bytes: int) -> bytes:
    properties: dict[str, Any] = {}
    event = {
        "type": "track",
        "event": "Sized",
        "anonymousId": new_uuid(rng),
        "messageId": new_uuid(rng),
        "timestamp": _iso(RECEIVED_MS - 60_000),
        "context": {"library": {"name": "analytics-kotlin", "version": "1.19.1"}},
        "properties": properties,
    }
    length = len(_encode(event, "/"))
    for key, value in _attributes(rng):
        length += len(_encode({key: value}, "/")) - 1
        if length > event_bytes:
            break
        properties[key] = value
        if len(properties) == _MOST_PROPERTIES:
            properties["text"] = "x" * (event_bytes - length)
            break
    return _encode(event, "/")


def _attributes(rng: Random) -> Iterator[tuple[str, Any]]:
    """Yield members of an object without end: strings, numbers, booleans and small objects."""
    number = 0
    while True:
        number += 1
        yield f"label_{number}", rng.choice(_PRODUCTS)[0]
        yield f"count_{number}", rng.randrange(10**6)
        yield f"flag_{number}", rng.random() < 0.5
        yield f"item_{number}", {"id": rng.randrange(10**6), "score": round(rng.random(), 4)}
