"""Kinds of values: what a key accepts, how it is read, and sizes and times with a unit."""

import enum
import ipaddress
import math
import re
from functools import partial
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from gateway.config.kinds import Leaf, Unit, http_url, matching

__all__ = [
    "TIMES",
    "UNITS",
    "BaseUrl",
    "Count",
    "EventName",
    "EventPattern",
    "FieldSources",
    "Hosts",
    "IpPolicy",
    "Name",
    "Network",
    "NonEmpty",
    "PageOrigin",
    "PathPrefix",
    "Port",
    "Positive",
    "ProjectToken",
    "PropertyPath",
    "ProxyHeader",
    "PublicHost",
    "Region",
    "RegionCode",
    "Secret",
    "SecretText",
    "Share",
    "StrictMode",
]


class Secret:
    """A string that never shows itself; ``reveal()`` is the only way to read it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the secret itself, for the one place that sends or compares it."""
        return self._value

    def __repr__(self) -> str:
        return "Secret('***')"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


class Region(enum.Enum):
    """Where a Mixpanel project keeps its data; the value is the ingestion host."""

    US = "https://api.mixpanel.com"
    EU = "https://api-eu.mixpanel.com"
    IN = "https://api-in.mixpanel.com"


_NOT_BLANK = r"(?s).*\S.*"
_MAX_DEPTH, _MAX_PARTS = 16, 10_000  # of a mapping: YAML's aliases can make endless ones


def _secret(value: object) -> Secret:
    return Secret(matching(_NOT_BLANK, value))


def _hosts(value: object) -> str | tuple[str, ...]:
    found = matching(r"[^\s\[\]/,]+( *, *[^\s\[\]/,]+)*", value).replace(" ", "").split(",")
    return found[0] if len(found) == 1 else tuple(found)


def _network(value: object) -> str:
    return str(ipaddress.ip_network(matching(_NOT_BLANK, value)))


def _region(value: object) -> Region:
    code = matching(_NOT_BLANK, value).strip().upper()
    for region in Region:
        flag = "".join(chr(ord("\U0001f1e6") + ord(letter) - ord("A")) for letter in region.name)
        if code.removesuffix(flag).rstrip() == region.name:
            return region
    raise ValueError


def _strict_mode(value: object) -> str:
    return matching("[01]", str(int(value)) if isinstance(value, int) else value)


def _event_name(value: object) -> str:
    name = matching(_NOT_BLANK, value)
    if name in ("$identify", "$create_alias", "$merge"):
        raise ValueError
    return name


def _page_origin(value: object) -> str:
    """Return an origin as browsers write it: in small letters, without the scheme's own port."""
    text = matching(r"(?i)null|[a-z][a-z0-9+.-]*://(\*\.)?[^\s/?#@\\*]+", value).lower()
    scheme, _, host = text.partition("://")
    if host:
        usual = {"http": 80, "https": 443}.get(scheme)
        url = urlsplit(text.replace("*.", "any.", 1))
        if not url.hostname or not text.isascii() or not text.isprintable():
            raise ValueError  # browsers send the name of a host in ASCII (xn--)
        if url.port is not None and url.port == usual:
            text = text.rpartition(":")[0]
    return text


def _property_path(value: object) -> str:
    path = matching(_NOT_BLANK, value)
    if "" in path.split("."):
        raise ValueError
    return path


def _sources(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError
    parts: list[tuple[object, int]] = [(value, 0)]
    for count, (part, depth) in enumerate(parts):
        if depth > _MAX_DEPTH or count > _MAX_PARTS:
            raise ValueError
        match part:
            case dict() if all(isinstance(key, str) for key in part):
                parts.extend((inner, depth + 1) for inner in part.values())
            case list():
                parts.extend((inner, depth + 1) for inner in part)
            case str() | int() | None:
                pass
            case float() if math.isfinite(part):
                pass
            case _:
                raise ValueError
    msgspec.json.encode(value)  # what JSON cannot express could never be sent
    return value


NonEmpty = Annotated[str, Meta(min_length=1)]
Port = Annotated[int, Meta(ge=0, le=65535)]
Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[float, Meta(gt=0)]
Share = Annotated[float, Meta(gt=0, le=1)]
IpPolicy: TypeAlias = Literal["keep", "truncate", "drop"]
ProxyHeader: TypeAlias = Literal["X-Forwarded-For", "Forwarded", "X-Real-IP"]
StrictMode = Annotated[
    Literal["0", "1"],
    Leaf("one of 0, 1", _strict_mode, schema={"enum": ["0", "1", 0, 1, False, True]}),
]
Name = Annotated[
    str,
    Leaf(
        "1 to 64 of the characters A-Z a-z 0-9 _ -",
        partial(matching, "[A-Za-z0-9_-]{1,64}"),
        schema={"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"},
    ),
]
ProjectToken = Annotated[
    str, Leaf("a string without white space", partial(matching, r"\S+"), hidden=True)
]
SecretText = Annotated[Secret, Leaf("a string that is not blank", _secret, hidden=True)]
BaseUrl = Annotated[
    str, Leaf("an http(s) URL without user, query and fragment", http_url, hidden=True)
]
PublicHost = Annotated[
    str,
    Leaf(
        "a host without /v1, as in events.example.com; with https://, port or path if need be",
        partial(
            matching,
            r"(?!.*/v1$)((?i:https?)://)?[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~-]+)*",
        ),
    ),
]
Hosts = Annotated[
    str | tuple[str, ...],
    Leaf(
        "an address or a name without port and brackets, as in 0.0.0.0, or a list of them",
        _hosts,
        may_be_list=True,
    ),
]
PathPrefix = Annotated[
    str, Leaf("a path, as in /collect", partial(matching, r"(/[A-Za-z0-9._~-]+)*"))
]
Network = Annotated[str, Leaf("an address or a network, as in 10.0.0.0/8", _network)]
RegionCode = Annotated[
    Region,
    Leaf(
        "one of " + ", ".join(Region.__members__),
        _region,
        schema={"anyOf": [{"enum": list(Region.__members__)}, {"type": "string"}]},
    ),
]
EventName = Annotated[
    str,
    Leaf("a name that is not blank, and none of $identify, $create_alias, $merge", _event_name),
]
EventPattern = Annotated[
    str,
    Leaf("the name of an event, in which * stands for any text", partial(matching, _NOT_BLANK)),
]
PageOrigin = Annotated[
    str, Leaf("an origin, as in https://example.com or https://*.example.com", _page_origin)
]
PropertyPath = Annotated[
    str,
    Leaf("the name of a property or a path, as in email or traits.address.street", _property_path),
]
FieldSources = Annotated[
    dict[str, Any],
    Leaf(
        "a table with a source for each field: texts, numbers, true, false, lists and tables",
        _sources,
        schema={"type": "object"},
    ),
]


_POWERS = "kmgt"

_SIZES = {
    **dict.fromkeys(("b", "byte", "bytes"), 1),
    **{f"{power}b": 1000 ** (i + 1) for i, power in enumerate(_POWERS)},
    **{
        f"{power}{end}": 1024 ** (i + 1)
        for i, power in enumerate(_POWERS)
        for end in ("", "i", "ib")
    },
}
"""In bytes.  A letter alone is by 1024, as for coreutils, systemd, nginx and Docker."""

_HOURS = {
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600),
    **dict.fromkeys(("d", "day", "days"), 86_400),
    **dict.fromkeys(("w", "week", "weeks"), 604_800),
}
TIMES = {
    **dict.fromkeys(("ms", "millisecond", "milliseconds"), 0.001),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60),
    **_HOURS,
}
"""In seconds."""

UNITS = (
    Unit(
        re.compile(r"(^|_)bytes(_|$)"),
        _SIZES,
        'a size, as in "10 MiB" (B; K, M, G, T or KiB, MiB, GiB, TiB by 1024; '
        "KB, MB, GB, TB by 1000)",
        name="size",
        shown=("GiB", "MiB", "KiB", "B"),
    ),
    Unit(
        re.compile(r"_s$|^keepalive_timeout$"),
        TIMES,
        'a time, as in "10s" or "1h30m" (ms, s, min, h, d, w)',
        name="time",
        shown=("s",),
        is_composed=True,
    ),
    Unit(
        re.compile(r"_days$"),
        {name: seconds / 86_400 for name, seconds in _HOURS.items()},
        'a time, as in "30d" (h, d, w)',
        name="time",
        shown=("d",),
        is_composed=True,
    ),
)
"""Units of the keys whose names say what they are in; after a rate such as _per_s it is no time."""
