"""What tests send: a repeatable mix of everything that the Segment specification has."""

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Literal
from uuid import UUID

__all__ = [
    "CHROME",
    "Event",
    "mixed_events",
    "native_events",
    "native_session_events",
    "session_events",
]

Event = dict[str, Any]
"""An event of the Segment specification; ``messageId`` and ``timestamp`` may be left to the SDK."""

CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/120.5.0.0 Safari/537.36"
)
"""A user agent; the browser is Chrome, and the version 120.5."""

_BASE = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)

_VALUES: tuple[Any, ...] = (
    "plain",
    "",
    "Grüße, 世界, здравствуй",
    "emoji 😀👩‍👩‍👧‍👦 and a flag 🇪🇺",
    'quotes " and \\ backslashes / slashes',
    "line\nbreak\ttab \u0001 control \u2028 separator",
    "x" * 2000,
    0,
    -17,
    9007199254740991,
    3.25,
    -0.000125,
    1e-7,
    True,
    False,
    None,
    [],
    {},
    ["a", 2, None, {"deep": [1, [2, [3]]]}],
    {"city": "Zürich", "geo": {"lat": 47.3769, "lon": 8.5417, "tags": ["a", "b"]}, "none": None},
)
"""Integral numbers have no fraction: JavaScript would not send one."""

_NAMES = (
    "plan",
    "Total Amount",
    "länge",
    "a.b",
    "🚀",
    'quo"te',
    "back\\slash",
    "name",
    "url",
    "$custom",
    "price",
    # An event's own properties win over those that come from its context ...
    "$os",
    "ip",
    "utm_source",
    # ... and these are never taken over.
    "time",
    "distinct_id",
    "$insert_id",
    "$user_id",
)

_CONTEXTS: tuple[Event, ...] = (
    {},
    {"ip": "203.0.113.7", "locale": "de-CH", "timezone": "Europe/Zurich"},
    {
        "ip": "2001:db8::7",
        "userAgent": CHROME,
        "page": {"url": "https://shop.example/?q=ä", "referrer": "https://example.org/"},
        "campaign": {"source": "news", "medium": "", "name": "Spring 🌷", "term": "t"},
        "groupId": "acme",
    },
    {
        "app": {"name": "Shop", "version": "2.3", "build": "77", "namespace": "com.shop"},
        "device": {
            "id": "never sent",
            "type": "ios",
            "name": "Ann's phone",
            "manufacturer": "Apple",
            "model": "iPhone15,2",
            "advertisingId": "ad-1",
            "adTrackingEnabled": True,
        },
        "os": {"name": "iOS", "version": "17.1"},
        "network": {"bluetooth": False, "carrier": "Telco", "cellular": True, "wifi": False},
        "screen": {"width": 390, "height": 844, "density": 3},
        "location": {"country": "CH", "region": "ZH"},
    },
)

_KINDS = (
    *("track",) * 9,
    *("order",) * 3,
    *("page",) * 2,
    *("screen",) * 2,
    *("identify",) * 2,
    "group",
    "alias",
)


def mixed_events(seed: int = 0) -> Iterator[Event]:
    """Return events without end that become different records, in a mix that ``seed`` decides."""
    rng = Random(seed)
    for i in itertools.count():
        yield _event(rng, _KINDS[i % len(_KINDS)], i, seed)


def session_events(view: Literal["page", "screen"], seed: int = 0) -> Iterator[Event]:
    """Return what one person does with an app, without end; the SDK knows who it is.

    Their number, ``n``, tells events apart.  Before the fifth nobody has signed in, and
    ``userId`` is there from then on: as SDKs add it, not to be handed to them.

    :param view: what the app calls what it shows.
    """
    rng = Random(seed)
    user: Event = {}
    for n in itertools.count(1):
        numbered = {"n": n, "plan": rng.choice(_VALUES)}
        if n == 5:
            user = {"userId": f"user-{seed}"}
            traits = {"email": "ann@example.com", "firstName": "Ann", "tags": ["a", "b"]}
            yield {"type": "identify", "traits": traits, "context": {}, **user}
        elif n == 6:
            traits = {"name": "Käse & Co 🧀"}
            group = {"type": "group", "groupId": f"group-{seed}", "traits": traits}
            yield {**group, "context": {}, **user}
        elif n % 5 == 1:
            name = rng.choice(("Home", "Über uns", "Cart 🛒"))
            yield {"type": view, "name": name, "properties": numbered, "context": {}, **user}
        elif n % 5 == 2:
            own = {**_order(rng, n), "n": n}
            own.pop("url", None)
            order = {"type": "track", "event": "Order Completed", "properties": own}
            yield {**order, "context": {}, **user}
        else:
            own = {**_properties(rng), **numbered}
            own.pop("url", None)  # Jitsu's SDK takes it for the page's
            yield {"type": "track", "event": "Tapped", "properties": own, "context": {}, **user}


def native_events(seed: int = 0) -> Iterator[Event]:
    """Return what Mixpanel's own SDKs know, without end: events, profiles and groups."""
    rng = Random(seed)
    for i in itertools.count():
        user: Event = {"userId": f"user-{seed}-{i}", "context": {}}
        match i % 4:
            case 0 | 1:
                event: Event = {"type": "track", "event": "Füße 🦶", "properties": _plain(rng)}
            case 2:
                event = {"type": "identify", "traits": {"$email": "ann@example.com", **_plain(rng)}}
            case _:
                event = {"type": "group", "groupId": f"group-{seed}-{i}", "traits": _plain(rng)}
        yield {**event, **user}


def native_session_events(seed: int = 0) -> Iterator[Event]:
    """Return the same, as one person does it with an app: see ``session_events``."""
    rng = Random(seed)
    for event in session_events("page", seed):
        if event["type"] in ("page", "track"):
            own = {**_plain(rng), "n": event["properties"]["n"]}
            event |= {"type": "track", "event": "Füße 🦶", "properties": own}
        yield event


def _plain(rng: Random) -> Event:
    return {f"{name} {n}": rng.choice(_VALUES) for n, name in enumerate(("plan", "länge", "🚀"))}


def _event(rng: Random, kind: str, i: int, seed: int) -> Event:
    event: Event = {"type": "track" if kind == "order" else kind}
    match kind:
        case "track":
            event |= {"event": rng.choice(("Signed Up", "Füße 🦶", 'Say "hi"', "Product Viewed"))}
            event["properties"] = _properties(rng)
        case "order":
            event |= {"event": "Order Completed", "properties": _order(rng, i)}
        case "page" | "screen":
            # The SDK for Node copies a page's category into its properties.
            event |= {"name": rng.choice(("Home", "Über uns", "Cart 🛒")), "category": "Shop"}
            event["properties"] = {**_properties(rng), "category": "Shop"}
        case "identify":
            event["traits"] = _user_traits(rng, i)
        case "group":
            event |= {"groupId": f"group-{seed}-{i}", "traits": _group_traits(rng)}
        case _:
            event |= {"previousId": f"before-{i}"}
    event |= _ids(rng, kind, f"{seed}-{i}")
    event["context"] = rng.choice(_CONTEXTS)
    if i % 2:
        event["messageId"] = _message_id(rng, f"{seed}-{i}")
    if i % 3:
        at = _BASE + timedelta(seconds=rng.randrange(86_400), milliseconds=rng.randrange(1000))
        event["timestamp"] = at.isoformat(timespec="milliseconds")
    return event


def _ids(rng: Random, kind: str, unique: str) -> Event:
    if kind == "alias":
        return {"userId": f"user-{unique}"}
    user, anonymous = {"userId": f"user-{unique}"}, {"anonymousId": f"anon-{unique}"}
    return rng.choice((user, anonymous, {**user, **anonymous}))


def _message_id(rng: Random, unique: str) -> str:
    as_uuid = str(UUID(int=rng.getrandbits(128), version=4))
    return rng.choice((f"own-{unique}", as_uuid, f"app-{as_uuid}", f"not valid: {unique} é"))


def _properties(rng: Random) -> Event:
    names = rng.sample(_NAMES, rng.randrange(7))
    return {name: rng.choice(_VALUES) for name in names}


def _order(rng: Random, i: int) -> Event:
    products = [
        {
            "product_id": f"p-{i}-{n}",
            "sku": rng.choice(("45790-32", "ä-1")),
            "name": rng.choice(("Monopoly", "Spiel ☃")),
            "price": rng.choice((19, 3.5, 0)),
            "quantity": rng.randrange(1, 5),
            "position": n + 1,
            "brand": None,
            "not sent": {"in": "products of their own"},
        }
        for n in range(rng.randrange(4))
    ]
    return {
        "order_id": f"order-{i}",
        "total": 27.5,
        "currency": "EUR",
        "coupon": "whole order",
        "name": "name of the order",
        "products": products,
        **_properties(rng),
    }


def _user_traits(rng: Random, i: int) -> Event:
    names: tuple[Event, ...] = (
        {"name": "Ann Lee"},
        {"firstName": "Ann", "lastName": "Lée"},
        {"firstName": "Ann"},
        {},
    )
    if rng.random() < 0.2:
        return {}
    return {
        **rng.choice(names),
        "number": i,
        "email": f"ann-{i}@example.com",
        "createdAt": "2020-01-02T03:04:05Z",
        "phone": None,
        "address": {"city": "Zürich"},
        "tags": ["a", "b"],
        "emoji": "😀",
    }


def _group_traits(rng: Random) -> Event:
    return {
        "name": rng.choice(("Acme", "Käse & Co 🧀")),
        "employees": 42,
        "createdAt": "2019-01-01",
        "plan": rng.choice((None, "pro", ["a"])),
    }
