"""What a record is about: what may not overtake what."""

import msgspec

__all__ = ["keys_of", "subject_of"]

_NOTHING = msgspec.Raw(b"null")


class _Update(msgspec.Struct, gc=False):
    distinct_id: msgspec.Raw = msgspec.field(name="$distinct_id", default=_NOTHING)
    group_key: msgspec.Raw = msgspec.field(name="$group_key", default=_NOTHING)
    group_id: msgspec.Raw = msgspec.field(name="$group_id", default=_NOTHING)


class _Person(msgspec.Struct, gc=False):
    distinct_id: msgspec.Raw = _NOTHING


class _Event(msgspec.Struct, gc=False):
    properties: _Person


_decode_update = msgspec.json.Decoder(_Update).decode
_decode_event = msgspec.json.Decoder(_Event).decode
_decode = msgspec.json.Decoder().decode


def subject_of(record: bytes) -> tuple[str, ...] | bytes:
    """Return the profile that an update is for; the record itself where that cannot be told.

    Ids are compared as text: 7 and "7" may be the same profile.
    """
    try:
        update = _decode_update(record)
        ids = (update.distinct_id, update.group_key, update.group_id)
        return tuple([str(_decode(each)) for each in ids])
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return record


def keys_of(endpoint: str, lines: bytes) -> list[bytes]:
    """Return of each record what it is about, as bytes, the same in every process.

    :param lines: newline-delimited records for one endpoint.
    """
    key_of = _event_key if endpoint in ("import", "track") else _update_key
    return [key_of(line) for line in lines.split(b"\n")[:-1]]


def _update_key(record: bytes) -> bytes:
    subject = subject_of(record)
    return subject if isinstance(subject, bytes) else _key("\0".join(subject))


def _event_key(record: bytes) -> bytes:
    try:
        return _key(str(_decode(_decode_event(record).properties.distinct_id)))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return record


def _key(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
