"""Taking members out of JSON objects whose values are only carried.

Each function rewrites the objects that it looks into, so that a key that stands twice, or with
escapes, hides nothing; what it does not look into stays as it came.
"""

from collections.abc import Callable, Collection, Sequence
from functools import lru_cache
from typing import NamedTuple

import msgspec
from msgspec import Raw

from gateway.config import IpPolicy
from gateway.policy.addresses import limited

__all__ = [
    "Removal",
    "is_named_like_address",
    "with_limited_addresses",
    "without",
    "without_identity",
]

MAX_DEPTH = 32
"""What lies deeper is not looked into but removed, where it has to be."""

_decode = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_list = msgspec.json.Decoder(list[Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode
_encode = msgspec.json.Encoder().encode


class Removal(NamedTuple):
    """Something that was taken out of an event.

    :param place: where it was, as in ``context.ip``; items of lists have no number.
    :param reason: why; one of a few words.
    """

    place: str
    reason: str


def without(
    text: bytes, paths: Sequence[str], place: str, removals: list[Removal], *, depth: int = 0
) -> bytes:
    """Return an object without the members that paths lead to.

    :param text: an object, or a list of them, in which paths go on in every item.
    :param paths: keys with dots between them.  Every way to read one counts, since keys may hold
        dots themselves: ``a.b`` is the member ``a.b`` and the member ``b`` of ``a``.
    :param place: what to call the object.
    """
    if depth > MAX_DEPTH:
        removals.append(Removal(place, "too_deep"))
        return b"null"

    def change(value: bytes, where: str, rest: Sequence[str]) -> bytes:
        return without(value, rest, where, removals, depth=depth + 1)

    if text[:1] == b"[":
        return _each(text, lambda item: change(item, place, paths))
    members = _decode(text)
    deeper: dict[str, list[str]] = {}
    for path in paths:
        if members.pop(path, None) is not None:
            removals.append(Removal(f"{place}.{path}", "denied"))
        for i, character in enumerate(path):
            if character == "." and path[:i] in members:
                deeper.setdefault(path[:i], []).append(path[i + 1 :])
    for key, rest in deeper.items():
        value = members.get(key)
        if value is not None and _is_container(value):
            members[key] = Raw(change(bytes(value), f"{place}.{key}", rest))
    return _encode(members)


def _each(text: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """Return a list whose objects and lists are changed."""
    return _encode([Raw(change(bytes(i))) if _is_container(i) else i for i in _decode_list(text)])


def _is_container(value: Raw | bytes) -> bool:
    return bytes(value)[:1] in (b"{", b"[")


_IGNORED = str.maketrans("", "", "$_- ")
_MAX_NAME = 64  # longer ones are data


@lru_cache(maxsize=4096)
def _bare_of(name: str) -> str:
    return name.translate(_IGNORED).lower()


def _bare(name: str) -> str:
    """Return what of a name is compared: firstName is first_name and $first_name."""
    return _bare_of(name) if len(name) <= _MAX_NAME else ""


_IDENTIFYING = frozenset(
    {
        "userid",
        "identifiedid",
        "distinctid",
        "externalid",
        "externalids",
        "email",
        "emailaddress",
        "phone",
        "phonenumber",
        "mobile",
        "mobilephone",
        "firstname",
        "lastname",
        "middlename",
        "fullname",
        "username",
        "address",
        "street",
        "birthday",
        "birthdate",
        "dateofbirth",
        "avatar",
    }
)
_IDENTIFYING_TRAITS = frozenset({"id", "name", "website"})


def without_identity(text: bytes, place: str, removals: list[Removal], *, is_traits: bool) -> bytes:
    """Return an object without the members that say who somebody is: its own and its traits'.

    :param is_traits: whether it describes a user or group, so that ``name`` is theirs.
    """
    members = _decode(text)
    for key, value in list(members.items()):
        name = _bare(key)
        if name in _IDENTIFYING or (is_traits and name in _IDENTIFYING_TRAITS):
            del members[key]
            removals.append(Removal(f"{place}.{key}", "identifying"))
        elif key == "traits" and bytes(value)[:1] == b"{":
            where = f"{place}.{key}"
            members[key] = Raw(without_identity(bytes(value), where, removals, is_traits=True))
    return _encode(members)


_ADDRESSES = frozenset(
    {
        "ip",
        "ipv4",
        "ipv6",
        "ipaddr",
        "ipaddress",
        "clientip",
        "userip",
        "requestip",
        "remoteip",
        "remoteaddr",
        "remoteaddress",
        "xforwardedfor",
        "xrealip",
    }
)
_PARTS_OF_ADDRESSES = (b"ip", b"addr", b"forwarded", b"\\u")
"""One of these is in every object that has such a member, in small letters or with escapes."""

_HARMLESS = (b"null", b"true", b"false", b"0", b"1", b'""')
"""Values that tell Mixpanel whether to locate a user, or nothing."""


def is_named_like_address(name: str) -> bool:
    """Return whether a member of this name is taken for an address."""
    return _bare(name) in _ADDRESSES


def with_limited_addresses(
    text: bytes,
    policy: IpPolicy,
    place: str,
    removals: list[Removal],
    places: Collection[str] = (),
) -> bytes:
    """Return an object whose members named like addresses hold no full one, at any depth.

    Under such a name, what cannot be read as one address is removed.

    :param place: what to call the object.
    :param places: other members that hold an address, as in ``properties.client``.
    """

    def change(text: bytes, place: str, depth: int) -> bytes:
        lowered = text.lower()
        if not any(part in lowered for part in _PARTS_OF_ADDRESSES) and not (
            places and any(other.startswith(place) for other in places)
        ):
            return text
        if depth > MAX_DEPTH:
            removals.append(Removal(place, "too_deep"))
            return b"null"
        if text[:1] == b"[":
            return _each(text, lambda item: change(item, place, depth + 1))
        members = _decode(text)
        for key, raw in list(members.items()):
            value = bytes(raw)
            if _bare(key) in _ADDRESSES or (places and f"{place}.{key}" in places):
                left = _limited_value(value, policy)
                if left == value:
                    continue
                reason = "ip_truncated" if left else "ip_dropped"
                removals.append(Removal(f"{place}.{key}", reason))
                if left:
                    members[key] = Raw(left)
                else:
                    del members[key]
            elif _is_container(value):
                members[key] = Raw(change(value, f"{place}.{key}", depth + 1))
        return _encode(members)

    return change(text, place, 0)


def _limited_value(value: bytes, policy: IpPolicy) -> bytes:
    """Return what is left of a value that should be an address; b"" for nothing."""
    if value in _HARMLESS:
        return value
    if value[:1] != b'"':
        return b""
    address = limited(_decode_text(value), policy)
    return b"" if address is None else _encode(address)
