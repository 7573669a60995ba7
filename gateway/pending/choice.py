"""Which records an operator means, as far as the records themselves say it."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from hashlib import blake2b
from typing import Any

import msgspec

from gateway.spool.pending import Match, PendingFilter

__all__ = ["Ids", "event_of", "is_by_record", "match_of", "record_id"]

_ID = re.compile(r"(\d[\w:]{0,79})(?:\.([0-9a-f]{12}))?", re.ASCII)
_SOURCE_NAMES = ("syft_source_name", "segment_source_name", "$source")
"""Where a record says its source, in its properties or what it sets in a profile."""

_OBJECTS = ("properties", "$set", "$set_once", "$add", "$union", "$append")


def record_id(chunk_id: str, line: bytes) -> str:
    """Return what a record is called: its place in the chunk changes, what it says does not."""
    return f"{chunk_id}.{_digest(line)}"


class Ids:
    """The records that a filter names one by one.

    :raises msgspec.ValidationError: (when made) a text is no id.
    """

    def __init__(self, texts: Collection[str] | None) -> None:
        self.digests: dict[str, Collection[str] | None] | None = None
        """Of what is meant by chunk, None for all of it; None where all are."""
        if texts is None:
            return
        whole: set[str] = set()
        parts: defaultdict[str, set[str]] = defaultdict(set)
        for text in texts:
            found = _ID.fullmatch(text)
            if found is None:
                raise msgspec.ValidationError(
                    f"not an id of a pending record: {text[:100]!r}; expected one as in the list, "
                    "e.g. 17.3f2a9c1b0d4e, or 17 for everything beside it"
                )
            if found[2] is None:
                whole.add(found[1])
            else:
                parts[found[1]].add(found[2])
        self.digests = {**parts, **dict.fromkeys(whole)}

    @property
    def are_whole_chunks(self) -> bool:
        """Whether no record of a chunk has to be told from another."""
        return not self.digests or not any(self.digests.values())


def is_by_record(wanted: PendingFilter, ids: Ids) -> bool:
    """Tell whether records have to be looked at to know which are meant."""
    members = (wanted.event, wanted.token, wanted.source)
    return any(each is not None for each in members) or not ids.are_whole_chunks


def match_of(wanted: PendingFilter, ids: Ids) -> Match:
    """Return what tells whether a record is meant."""
    chosen = ids.digests
    by_content = any(each is not None for each in (wanted.event, wanted.token, wanted.source))

    def match(chunk_id: str, line: bytes) -> bool:
        if chosen is not None:
            digests = chosen.get(chunk_id, ())
            if digests is not None and _digest(line) not in digests:
                return False
        return not by_content or _fits(wanted, _decoded(line))

    return match


def event_of(line: bytes) -> str | None:
    """Return the name of a record's event, None where it has none."""
    name = _decoded(line).get("event")
    return name if isinstance(name, str) else None


def _fits(wanted: PendingFilter, record: Mapping[str, Any]) -> bool:
    if wanted.event is not None and record.get("event") != wanted.event:
        return False
    objects = list(_objects(record))
    if wanted.token is not None:
        tokens = (record.get("$token"), *(each.get("token") for each in objects))
        if wanted.token not in tokens:
            return False
    return wanted.source is None or any(
        each.get(name) == wanted.source for each in objects for name in _SOURCE_NAMES
    )


def _objects(record: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for name in _OBJECTS:
        value = record.get(name)
        if isinstance(value, dict):
            yield value


def _decoded(line: bytes) -> Mapping[str, Any]:
    """Return a record, an empty one where it cannot be read."""
    try:
        record = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _digest(line: bytes) -> str:
    return blake2b(line, digest_size=6).hexdigest()
