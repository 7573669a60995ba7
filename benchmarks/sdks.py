"""The senders of the corpus: users, their devices, and the context each SDK sends with an event."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

__all__ = ["SDKS", "Sdk", "User", "new_user", "new_uuid"]

_PEOPLE = (
    ("Ana", "Silva", "pt-BR", "America/Sao_Paulo"),
    ("Zoë", "Müller", "de-DE", "Europe/Berlin"),
    ("Łukasz", "Wójcik", "pl-PL", "Europe/Warsaw"),
    ("さくら", "田中", "ja-JP", "Asia/Tokyo"),
    ("Priya", "Sharma", "en-IN", "Asia/Kolkata"),
    ("James", "O'Connor", "en-GB", "Europe/London"),
    ("Maria", "García", "es-MX", "America/Mexico_City"),
    ("Emma", "Johnson", "en-US", "America/New_York"),
    ("Noah", "Williams", "en-US", "America/Los_Angeles"),
    ("Chloé", "Lefèvre", "fr-FR", "Europe/Paris"),
)
_ANDROIDS = (
    ("Google", "Pixel 8", "shiba", "14", 2.625, 1080, 2400),
    ("samsung", "SM-S918B", "dm3q", "14", 3.5, 1440, 3088),
    ("samsung", "SM-A546B", "a54x", "13", 2.8125, 1080, 2340),
    ("Xiaomi", "2201117TG", "spes", "12", 2.75, 1080, 2400),
    ("OnePlus", "CPH2449", "OP594DL1", "13", 3.5, 1440, 3216),
)
_IPHONES = (
    ("iPhone15,2", "17.5.1", 393, 852),
    ("iPhone16,1", "18.1", 393, 852),
    ("iPhone14,7", "16.7.8", 390, 844),
    ("iPhone12,1", "17.4", 414, 896),
)
_BROWSERS = (
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/131.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/131.0.0.0 Safari/537.36 Edg/131.0.0.0",
    "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0",
)
_VERSIONS = (("8.41.0", "84100"), ("8.40.2", "84002"), ("8.38.1", "83801"))
_PAGES = (
    ("/", "Willkommen · Nordwind"),
    ("/products/wool-blanket-grey", "Wool blanket, grey | Nordwind"),
    ("/collections/sale", "Sale | Nordwind"),
    ("/cart", "Your cart | Nordwind"),
)


@dataclass(frozen=True, slots=True)
class User:
    """A user with one device, as far as it shows in events.

    :param context: what the SDK on the device sends with every event.
    """

    sdk: "Sdk"
    user_id: str | None
    anonymous_id: str
    first_name: str
    last_name: str
    context: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sdk:
    """One library.

    :param share: of the users.
    :param context: returns the context of a device; gets the user's locale and time zone.
    :param message_id: returns an event's id; gets its time in milliseconds.
    :param views: the type of event that says what was looked at.
    :param envelope: members that it adds to each event.
    :param slashes: how it writes a slash in JSON.
    :param path: where it posts batches.
    :param gzips: whether it compresses them unless it is told otherwise.
    """

    name: str
    share: float
    context: Callable[[Random, str, str], dict[str, Any]]
    message_id: Callable[[Random, int], str]
    views: str
    envelope: dict[str, Any]
    slashes: str = "/"
    path: str = "/v1/b"
    gzips: bool = False


def new_uuid(rng: Random) -> str:
    """Return a random UUID of version 4."""
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def new_user(rng: Random) -> User:
    """Return a user; seven in ten have signed in."""
    sdk = rng.choices(SDKS, [sdk.share for sdk in SDKS])[0]
    first_name, last_name, locale, timezone = rng.choice(_PEOPLE)
    known = rng.random() < 0.7 or sdk.name == "analytics-python"
    return User(
        sdk=sdk,
        user_id=f"usr_{rng.randrange(10**9):09}" if known else None,
        anonymous_id=new_uuid(rng),
        first_name=first_name,
        last_name=last_name,
        context=sdk.context(rng, locale, timezone),
    )


def _app(rng: Random) -> dict[str, str]:
    version, build = rng.choice(_VERSIONS)
    return {
        "name": "Nordwind",
        "version": version,
        "namespace": "com.nordwind.shop",
        "build": build,
    }


def _android_device(rng: Random) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    manufacturer, model, name, version, density, width, height = rng.choice(_ANDROIDS)
    device = {
        "id": f"{rng.getrandbits(64):016x}",
        "manufacturer": manufacturer,
        "model": model,
        "name": name,
        "type": "android",
    }
    screen = {"density": density, "height": height, "width": width}
    return device, {"name": "Android", "version": version}, screen


def _network(rng: Random) -> dict[str, bool]:
    wifi = rng.random() < 0.7
    return {"wifi": wifi, "bluetooth": rng.random() < 0.1, "cellular": not wifi}


def _kotlin(rng: Random, locale: str, timezone: str) -> dict[str, Any]:
    device, system, screen = _android_device(rng)
    if rng.random() < 0.5:
        device |= {"adTrackingEnabled": True, "advertisingId": new_uuid(rng)}
    return {
        "library": {"name": "analytics-kotlin", "version": "1.19.1"},
        "instanceId": new_uuid(rng),
        "app": _app(rng),
        "device": device,
        "os": system,
        "screen": screen,
        "network": _network(rng),
        "locale": locale,
        "userAgent": f"Dalvik/2.1.0 (Linux; U; Android {system['version']}; {device['model']} "
        "Build/AP1A.240505.005)",
        "timezone": timezone,
    }


def _swift(rng: Random, locale: str, timezone: str) -> dict[str, Any]:
    model, version, width, height = rng.choice(_IPHONES)
    return {
        "library": {"name": "analytics-swift", "version": "1.6.2"},
        "instanceId": new_uuid(rng).upper(),
        "app": _app(rng),
        "device": {
            "manufacturer": "Apple",
            "type": "ios",
            "model": model,
            "name": "iPhone",
            "id": new_uuid(rng).upper(),
        },
        "os": {"name": "iOS", "version": version},
        "screen": {"width": width, "height": height},
        "userAgent": f"Mozilla/5.0 (iPhone; CPU iPhone OS {version.replace('.', '_')} like Mac OS "
        "X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
        "locale": locale,
        "timezone": timezone,
        "network": _network(rng),
    }


def _react_native(rng: Random, locale: str, timezone: str) -> dict[str, Any]:
    device, system, screen = _android_device(rng)
    network = _network(rng)
    return {
        "app": _app(rng),
        "device": device,
        "library": {"name": "@segment/analytics-react-native", "version": "2.20.3"},
        "locale": locale,
        "network": {"cellular": network["cellular"], "wifi": network["wifi"]},
        "os": system,
        "screen": screen,
        "timezone": timezone,
        "traits": {"plan": "free", "theme": "dark"},
        "instanceId": new_uuid(rng),
    }


def _browser(rng: Random, locale: str, timezone: str) -> dict[str, Any]:
    path, title = rng.choice(_PAGES)
    context: dict[str, Any] = {
        "page": {
            "path": path,
            "referrer": rng.choice(("", "https://www.google.com/")),
            "search": "",
            "title": title,
            "url": f"https://shop.nordwind.example{path}",
        },
        "userAgent": rng.choice(_BROWSERS),
        "locale": locale,
        "library": {"name": "analytics.js", "version": "npm:next-1.81.0"},
        "timezone": timezone,
    }
    if "Chrome/" in context["userAgent"]:
        context["userAgentData"] = {
            "brands": [{"brand": "Chromium", "version": "131"}],
            "mobile": "Mobile" in context["userAgent"],
            "platform": "Android" if "Android" in context["userAgent"] else "Windows",
        }
    if rng.random() < 0.3:
        context["campaign"] = {"source": "newsletter", "medium": "email", "name": "herbst-2026"}
    return context


def _server(rng: Random, locale: str, timezone: str) -> dict[str, Any]:
    return {
        "library": {"name": "analytics-python", "version": "2.3.4"},
        "ip": f"198.51.100.{rng.randrange(1, 255)}",
        "locale": locale,
        "timezone": timezone,
    }


def _uuid_id(rng: Random, time_ms: int) -> str:
    return new_uuid(rng)


def _browser_id(rng: Random, time_ms: int) -> str:
    return f"ajs-next-{time_ms}-{new_uuid(rng)}"


_MOBILE: dict[str, Any] = {
    "integrations": {},
    "_metadata": {"bundled": [], "unbundled": [], "bundledIds": []},
}
_WEB: dict[str, Any] = {"integrations": {"Segment.io": True}}

SDKS = (
    Sdk("analytics-kotlin", 0.36, _kotlin, _uuid_id, "screen", _MOBILE, gzips=True),
    # Foundation's JSONEncoder escapes slashes.
    Sdk("analytics-swift", 0.34, _swift, _uuid_id, "screen", _MOBILE, slashes="\\/"),
    Sdk("@segment/analytics-react-native", 0.15, _react_native, _uuid_id, "screen", _MOBILE),
    Sdk("analytics.js", 0.1, _browser, _browser_id, "page", _WEB),
    Sdk(
        *("analytics-python", 0.05, _server, _uuid_id, "page", {"integrations": {}}),
        path="/v1/batch",
    ),
)
"""The libraries of a product that is mostly used on phones."""
