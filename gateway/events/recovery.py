"""Saving what is whole in bodies that are no JSON: what the events and records in them look like.

Only shapes that nothing else has are looked for, since what lies inside of a damaged event must
never be taken for one: a product, a list of songs (``"type": "track"``), a former event.
"""

import re
from collections.abc import Iterable
from itertools import product
from typing import NamedTuple

from fastmap import Group, Shapes, recover
from gateway.errors import RequestError
from gateway.events.event import TYPES

__all__ = [
    "EVENTS",
    "LISTS",
    "MAX_EVENTS",
    "RECORDS",
    "Saved",
    "check_count",
    "save",
    "text_of",
]

MAX_EVENTS = 10_000
"""Events in one request; SDKs send at most 2,500.  Bounds the work that one body can cause."""

LISTS = frozenset({"batch", "events", "messages"})
"""What the list of the events of a request may be called, in any case."""

_SPELLINGS = (str.lower, str.capitalize, str.upper)
_SHARED = ("context", "integrations", "sentAt", "writeKey", "userAgentData", "version")
_MEMBERS = ("event", "properties", "traits", "context", "timestamp", "originalTimestamp", "groupId",
            "previousId")  # fmt: skip

_WHOSE = ("$distinct_id", "$group_id")
_OPERATIONS = ("$set", "$set_once", "$add", "$append", "$union", "$remove", "$unset", "$delete")

_MESSAGE_ID = b'"messageId"'
_WRITE_KEY = re.compile(rb'("write_?key"\s*:\s*")[^"]*', re.IGNORECASE)


def _names(names: Iterable[str]) -> list[bytes]:
    return [name.encode() for name in names]


EVENTS = Shapes(
    lists=_names(spell(name) for name in sorted(LISTS) for spell in _SPELLINGS),
    members=_names(_SHARED),
    objects=[
        _names(("type", "messageId")),
        *(_names(("type", *each)) for each in product(("userId", "anonymousId"), _MEMBERS)),
        _names(("eventName", "userId", "installationId")),  # Syft's
    ],
    kind=b"type",
    kinds=_names(sorted(TYPES)),
    beside=_names(("context", "timestamp", "originalTimestamp")),
)
"""What is sent with a write key."""

RECORDS = Shapes(
    lists=(),
    members=(),
    objects=[
        _names(("event", "properties")),
        *(_names(("$token", *each)) for each in product(_WHOSE, _OPERATIONS)),
    ],
)
"""What is sent with a token."""


class Saved(NamedTuple):
    """What a damaged body holds.

    :param groups: what belongs together; at least one element is whole, unless some are withheld.
    :param nulls: how many numbers that are none became null.
    :param is_withheld: whether whole ones count as lost, since nobody knows where they may go.
    """

    groups: list[Group]
    nulls: int
    is_withheld: bool


def save(body: bytes, shapes: Shapes) -> Saved | None:
    """Return what is whole in a body; None where nothing is.

    What is lost holds no write keys.

    :raises RequestError: (400) it holds too many elements.
    """
    groups, nulls, has_doubtful = recover(body, shapes, MAX_EVENTS + 1)
    check_count(sum(1 + len(group.items) for group in groups) - 1)
    whole = [text for group in groups for text, is_whole in group.items if is_whole]
    has_lost = has_doubtful and any(group.items for group in groups)
    has_whole = any(text[:1] == b"{" for text in whole)
    if not has_whole and not has_lost:
        return None
    is_withheld = not has_whole or any(map(_must_withhold, groups))
    if len(groups) > 1 or len(groups[0].items) > len(whole):
        groups = [_without_secrets(group) for group in _without_strays(groups, whole)]
    elif is_withheld:
        groups = [_without_secrets(group) for group in groups]
    return Saved(groups, nulls, is_withheld)


def check_count(count: int) -> None:
    """Refuse more events than a request may hold.

    :raises RequestError: (400) these are more.
    """
    if count > MAX_EVENTS:
        raise RequestError(
            400,
            "too_many_events",
            f"a request may hold {MAX_EVENTS} events, and this one has more; send smaller batches",
        )


def text_of(group: Group, *, as_list: bool) -> bytes:
    """Return the whole objects of a group as JSON, with what lies beside them.

    :param as_list: whether elements without a name stay a list; as a batch they are read sooner.
    """
    texts = [text for text, is_whole in group.items if is_whole and text[:1] == b"{"]
    joined = b"[%b]" % b",".join(texts)
    if group.name is None and not group.members:
        if len(group.items) == 1 and texts:
            return texts[0]
        if as_list:
            return joined
    name = group.name or b"batch"
    members = b"".join(b',"%b":%b' % member for member in group.members.items())
    return b'{"%b":%b%b}' % (name, joined, members)


def _must_withhold(group: Group) -> bool:
    """Return whether the integrations of all events are lost, not of one that strayed there.

    They say which destinations the events must not go to.
    """
    return b"integrations" not in group.members and any(
        b'"integrations"' in gap and _MESSAGE_ID not in gap and b'"type"' not in gap
        for gap in group.gaps
    )


def _without_strays(groups: list[Group], whole: list[bytes]) -> list[Group]:
    """Return groups in which events without an id are lost where most have one.

    One SDK wrote them all.  What has none lay inside of an event that is damaged, and looks like
    one itself: a product with a type and a user.
    """
    found = [text for text in whole if _MESSAGE_ID not in text]
    if not found or 2 * len(found) >= len(whole):
        return groups
    strays = frozenset(found)
    return [
        group._replace(
            items=[(text, is_whole and text not in strays) for text, is_whole in group.items]
        )
        for group in groups
    ]


def _without_secrets(group: Group) -> Group:
    """Return a group without write keys in what is lost."""
    is_withheld = _must_withhold(group)
    items = [
        item if item[1] and not is_withheld else (_without_write_keys(item[0]), False)
        for item in group.items
    ]
    return Group(group.name, group.members, items, group.gaps)


def _without_write_keys(text: bytes) -> bytes:
    if b'key"' not in text.lower():  # far quicker than the pattern, which few need
        return text
    return _WRITE_KEY.sub(rb"\1***", text)
