"""What a record is about: what may not overtake what."""

from collections.abc import Hashable

import msgspec

__all__ = ["subject_of"]

_NOTHING = msgspec.Raw(b"null")


class _Update(msgspec.Struct, gc=False):
    distinct_id: msgspec.Raw = msgspec.field(name="$distinct_id", default=_NOTHING)
    group_key: msgspec.Raw = msgspec.field(name="$group_key", default=_NOTHING)
    group_id: msgspec.Raw = msgspec.field(name="$group_id", default=_NOTHING)


_decode_update = msgspec.json.Decoder(_Update).decode
_decode = msgspec.json.Decoder().decode


def subject_of(record: bytes) -> Hashable:
    """Return the profile that an update is for; the record itself where that cannot be told.

    Ids are compared as text: 7 and "7" may be the same profile.
    """
    try:
        update = _decode_update(record)
        ids = (update.distinct_id, update.group_key, update.group_id)
        return tuple([str(_decode(each)) for each in ids])
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return record
