"""Records as Mixpanel's own SDKs send them.

They are what Mixpanel takes already, so they stay the text that they are; typed is only what tells
whose they are, and whether they can be told from one another.
"""

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import groupby
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from fastmap import Group, MalformedInput, parts, without_lone_surrogates
from gateway.errors import RequestError
from gateway.events.depth import check_depth, read_json
from gateway.events.encodings import as_utf8, is_blank
from gateway.events.recovery import MAX_EVENTS, RECORDS, check_count, save

__all__ = [
    "FAULTS",
    "EndpointName",
    "NativeRecord",
    "NativeRecords",
    "RecordFault",
    "RefusedRecord",
    "RequestVerdict",
    "decode",
    "insert_id_of",
    "own_id_at",
    "wrapped",
]

EndpointName: TypeAlias = Literal["import", "engage", "groups"]
"""Where records go: events to /import, updates of profiles to the two others."""

_NOTHING = msgspec.Raw(b"")
_TOKEN = re.compile(rb'"\$?token"\s*:\s*"([^"\\]{1,200})"')
_DIGEST_BYTES = 16
_KEPT_BYTES = 64 * 1024  # of a part of a body that is no JSON
_SENT_AGAIN_MS = 600_000
"""Who sends the same bytes again within this time sends the same events again."""


class RecordFault(NamedTuple):
    """Why a record is not taken.

    :param field: the member that is to blame, "" for the whole.
    """

    field: str
    message: str


FAULTS = {
    "malformed": RecordFault("", "the record is not valid JSON"),
    "nested_too_deep": RecordFault("", "the record is nested too deeply"),
    "not_an_object": RecordFault("", "a record must be a JSON object"),
    "too_large": RecordFault("", "a record must be smaller than 1 MB"),
    "too_many_members": RecordFault(
        "properties", "an event has at most 254 properties, and so has each object in it"
    ),
    "too_deep": RecordFault(
        "properties", "objects in the properties are at most three levels deep"
    ),
    "invalid_distinct_id": RecordFault(
        "properties.distinct_id", "the distinct_id is a word for nobody"
    ),
    "invalid_operation": RecordFault(
        "", "$add needs numbers, $union lists, $unset a list of names, and other operations objects"
    ),
    "missing_token": RecordFault("token", "the record names no project token"),
    "unknown_token": RecordFault("token", "the token is that of none of the destinations"),
    "missing_event_name": RecordFault("event", "an event needs a non-empty name"),
    "missing_properties": RecordFault("properties", "the properties of an event must be an object"),
    "invalid_time": RecordFault(
        "properties.time", "the time must be epoch seconds or milliseconds"
    ),
    "missing_distinct_id": RecordFault(
        "$distinct_id", "an update of a profile needs a $distinct_id"
    ),
    "missing_group": RecordFault(
        "$group_id", "an update of a group needs a $group_key and a $group_id"
    ),
}
"""By the words that name them."""


class NativeRecord(msgspec.Struct, gc=False):
    """One element of a request.

    :param text: its JSON.
    :param token: of the project it is for; None where it names none.
    :param own_id: tells an event from all others where it has no id that does; see ``own_id_at``.
    :param client_ip: the user's address, where Mixpanel is to locate it; set by the gateway.
    :param fault: one of ``FAULTS``, where it can already be told.
    """

    text: msgspec.Raw
    token: str | None = None
    own_id: str | None = None
    client_ip: str | None = None
    fault: str = ""


class NativeRecords(list[NativeRecord]):
    """The records of a request.

    :ivar nulls: how many numbers in them that are none, as NaN, became null.
    """

    nulls = 0


@dataclass(frozen=True, slots=True)
class RefusedRecord:
    """A record that is not taken.

    :param index: in the request.
    :param insert_id: the id that it came with, "" where it has none.
    """

    index: int
    fault: str
    insert_id: str = ""


class RequestVerdict(NamedTuple):
    """What became of the records of a request."""

    taken: int
    problems: Sequence[RefusedRecord]


class _Properties(msgspec.Struct, gc=False):
    token: str | None = None
    insert_id: str | None = msgspec.field(name="$insert_id", default=None)
    time: msgspec.Raw = _NOTHING


class _Metadata(msgspec.Struct, gc=False):
    event_id: str | None = msgspec.field(name="$mp_event_id", default=None)


class _Event(msgspec.Struct, gc=False):
    properties: _Properties | None = None
    metadata: _Metadata | None = msgspec.field(name="$mp_metadata", default=None)


class _Update(msgspec.Struct, gc=False):
    token: str | None = msgspec.field(name="$token", default=None)


_Head: TypeAlias = _Event | _Update

_decode_raw = msgspec.json.Decoder(msgspec.Raw).decode
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_event = msgspec.json.Decoder(_Event).decode
_decode_events = msgspec.json.Decoder(list[_Event]).decode
_decode_update = msgspec.json.Decoder(_Update).decode
_decode_updates = msgspec.json.Decoder(list[_Update]).decode
_decode_text = msgspec.json.Decoder(str).decode


def decode(body: bytes, endpoint: EndpointName, *, is_lines: bool = False) -> NativeRecords:
    """Return the records of a body: one object, a list of them, or one in each line.

    Text that is not UTF-8, and halves of surrogate pairs, are replaced by U+FFFD, as in events, and
    what is whole of a body that is no JSON is found as there.

    :raises RequestError: (400) there is no record in it; where it is lines, only the lines that
        are none are at fault.
    """
    body = as_utf8(body)
    try:
        return _decode_tolerantly(body, endpoint, is_lines=is_lines)
    except (msgspec.DecodeError, MalformedInput) as error:
        fault = "is empty; send JSON" if is_blank(body) else f"is not valid JSON: {error}"
        raise RequestError(400, "invalid_json", f"the data {fault}") from None
    except RecursionError:
        raise RequestError(400, "nested_too_deep", "the JSON is nested too deeply") from None


def _decode_tolerantly(body: bytes, endpoint: EndpointName, *, is_lines: bool) -> NativeRecords:
    try:
        return _decode_sound(body, endpoint, is_lines=is_lines)
    except (msgspec.DecodeError, MalformedInput):
        mended = without_lone_surrogates(body)
        if mended is not body:
            return _decode_tolerantly(mended, endpoint, is_lines=is_lines)
        saved = save(body, RECORDS)
        if saved is None:
            raise
    check_count(sum(len(group.items) for group in saved.groups))
    records = NativeRecords(_of_groups(saved.groups, endpoint))
    records.nulls = saved.nulls
    _name_projects(records)
    _tell_apart(records, body)
    return records


def _decode_sound(body: bytes, endpoint: EndpointName, *, is_lines: bool) -> NativeRecords:
    try:
        return _decode(body, endpoint, is_lines=is_lines)
    except RecursionError:
        if body.lstrip()[:1] != b"[":
            raise
        return _decode_one_by_one(parts(without_lone_surrogates(body)), endpoint)


def _of_groups(groups: Sequence[Group], endpoint: EndpointName) -> list[NativeRecord]:
    """Return the records of a damaged body; those of what is lost are at fault."""
    return [
        _alone(text, is_event=endpoint == "import")
        if is_whole
        else NativeRecord(msgspec.Raw(text), fault="malformed")
        for group in groups
        for text, is_whole in group.items
    ]


_NAMELESS = frozenset({"malformed", "nested_too_deep", "not_an_object"})


def _name_projects(records: Sequence[NativeRecord]) -> None:
    """Find out whose the records are that are none, so that they are kept for somebody."""
    if not any(record.fault in _NAMELESS for record in records):
        return
    tokens = {record.token for record in records if record.token}
    common = tokens.pop() if len(tokens) == 1 else None
    for record in records:
        if record.fault in _NAMELESS:
            found = _TOKEN.search(bytes(record.text))
            record.token = found[1].decode() if found else common


def insert_id_of(record: NativeRecord) -> str:
    """Return the ``$insert_id`` that a record came with, "" where it has none."""
    try:
        return _text(_members(_decode_members(record.text), "properties"), "$insert_id") or ""
    except (msgspec.DecodeError, RecursionError):
        return ""


def wrapped(record: NativeRecord) -> bytes:
    """Return a JSON object that holds what is none."""
    if record.fault == "not_an_object":
        return b'{"element":%b}' % record.text
    text = bytes(record.text)
    if record.fault == "malformed":
        text = text[:_KEPT_BYTES]
    return msgspec.json.encode({"text": text.decode("utf-8", "replace")})


def _decode(body: bytes, endpoint: EndpointName, *, is_lines: bool) -> NativeRecords:
    is_event = endpoint == "import"
    if is_lines:
        return _decode_lines(body, endpoint)
    check_depth(body)
    if body.lstrip()[:1] == b"[":
        texts = _decode_list(body)
        check_count(len(texts))
        heads: Sequence[_Head]
        try:
            heads = _decode_events(body) if is_event else _decode_updates(body)
            records = NativeRecords(map(_record, texts, heads))
        except msgspec.ValidationError:
            records = NativeRecords(_loosely(text, is_event=is_event) for text in texts)
            _name_projects(records)
    else:
        records = NativeRecords([_loosely(_decode_raw(body), is_event=is_event)])
    _tell_apart(records, body)
    return records


def _decode_one_by_one(texts: Sequence[bytes], endpoint: EndpointName) -> NativeRecords:
    """Decode records of which not even the syntax has been checked."""
    check_count(len(texts))
    records = NativeRecords(_alone(text, is_event=endpoint == "import") for text in texts)
    _name_projects(records)
    _tell_apart(records, b"\n".join(texts))
    return records


def _decode_lines(body: bytes, endpoint: EndpointName) -> NativeRecords:
    """Decode a record a line; what is on lines that are no JSON may still be found.

    A record that holds a raw newline is on two of them.
    """
    lines = [line for line in body.split(b"\n", MAX_EVENTS + 1) if line.strip()]
    check_count(len(lines))
    records = NativeRecords()
    for is_damaged, several in groupby(
        zip(lines, (_alone(line, is_event=endpoint == "import") for line in lines), strict=True),
        key=lambda pair: pair[1].fault == "malformed",
    ):
        pairs = list(several)
        saved = save(b"\n".join(line for line, _ in pairs), RECORDS) if is_damaged else None
        if saved is None:
            records += [record for _, record in pairs]
        else:
            records += _of_groups(saved.groups, endpoint)
            records.nulls += saved.nulls
    check_count(len(records))
    _name_projects(records)
    _tell_apart(records, body)
    return records


def _alone(text: bytes, *, is_event: bool) -> NativeRecord:
    try:
        return _loosely(read_json(text), is_event=is_event)
    except msgspec.DecodeError:
        return NativeRecord(msgspec.Raw(text), fault="malformed")
    except RecursionError:
        return NativeRecord(msgspec.Raw(text), fault="nested_too_deep")


def _loosely(text: msgspec.Raw, *, is_event: bool) -> NativeRecord:
    """Return a record of which no member has to be of the right type."""
    try:
        head: _Head = _decode_event(text) if is_event else _decode_update(text)
        return _record(text, head)
    except msgspec.ValidationError:
        pass
    try:
        members = _decode_members(text)
    except msgspec.ValidationError:
        return NativeRecord(text, fault="not_an_object")
    if not is_event:
        return _record(text, _Update(_text(members, "$token")))
    properties = _members(members, "properties")
    own = _Properties(
        token=_text(properties, "token"),
        insert_id=_text(properties, "$insert_id"),
        time=properties.get("time", _NOTHING),
    )
    event_id = _text(_members(members, "$mp_metadata"), "$mp_event_id")
    return _record(text, _Event(own, _Metadata(event_id)))


def _members(members: dict[str, msgspec.Raw], name: str) -> dict[str, msgspec.Raw]:
    try:
        return _decode_members(members.get(name, b"{}"))
    except msgspec.ValidationError:
        return {}


def _text(members: dict[str, msgspec.Raw], name: str) -> str | None:
    try:
        return _decode_text(members.get(name, b"null"))
    except msgspec.ValidationError:
        return None


def _record(text: msgspec.Raw, head: _Head) -> NativeRecord:
    if isinstance(head, _Update):
        return NativeRecord(text, head.token)
    properties = head.properties
    if properties is None:
        return NativeRecord(text)
    metadata = head.metadata
    if _is_id(properties.insert_id) or (metadata is not None and _is_id(metadata.event_id)):
        return NativeRecord(text, properties.token)
    return NativeRecord(text, properties.token, _own_id(text, properties.time))


def _is_id(text: str | None) -> bool:
    """Tell whether it is certainly not one of the words that Mixpanel takes for no id."""
    return text is not None and len(text.strip()) > 9 and text.strip().strip("0-") != ""


def _own_id(text: msgspec.Raw, time: msgspec.Raw) -> str:
    """Return an id for an event without one: the same when the same bytes are sent again.

    Without a time, the same bytes may well be another event, and Mixpanel would take both for one.
    """
    if bytes(time) in (b"", b"null"):
        return uuid.uuid4().hex
    return blake2b(text, digest_size=_DIGEST_BYTES).hexdigest()


def _tell_apart(records: Sequence[NativeRecord], body: bytes) -> None:
    """Give events an id that no equal one has, be it in the same request or in another one.

    Only a request with the very same bytes gives the same ids: it is the same one, sent again.
    """
    seen: dict[str, int] = {}
    request = b""
    for record in records:
        own_id = record.own_id
        if own_id is None:
            continue
        request = request or blake2b(body, digest_size=_DIGEST_BYTES).digest()
        count = seen[own_id] = seen.get(own_id, 0) + 1
        record.own_id = _digest(f"{own_id}-{count}", request)


def own_id_at(own_id: str, received_ms: int) -> str:
    """Return the id of an event without one for when it was received.

    The same bytes are the same request sent again only within minutes; later they are others.
    """
    return _digest(f"{own_id}-{received_ms // _SENT_AGAIN_MS}")


def _digest(text: str, key: bytes = b"") -> str:
    return blake2b(text.encode(), digest_size=_DIGEST_BYTES, key=key).hexdigest()
