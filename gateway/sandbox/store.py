"""What the sandbox has taken: counts, the last records, and which events it has seen before."""

import itertools
from collections import deque
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, NamedTuple, get_args

import msgspec

from gateway.sandbox.contract import event_time_ms
from gateway.sandbox.faults import EndpointPath

__all__ = ["Counts", "Kept", "Store"]

ENDPOINTS: tuple[EndpointPath, ...] = get_args(EndpointPath)


class Counts(msgspec.Struct, kw_only=True):
    """What became of the requests and records of one endpoint.

    Every record of a request that was answered in earnest is in exactly one of ``unique``,
    ``duplicates``, ``rejected``, ``too_old``, ``wrong_token`` and ``ignored``.

    :param requests: all, whatever came of them.
    :param misbehaved: requests that met a fault.
    :param received: records taken: ``unique`` and ``duplicates``.
    :param unique: of /engage and /groups every record, since Mixpanel applies each.
    :param duplicates: events whose (event, time, distinct_id, $insert_id) was known.
    :param rejected: records that break a rule.
    :param too_old: events that /track dropped without a word.
    :param wrong_token: records for another project, dropped without a word.
    :param ignored: events dropped because of ``$ignore``.
    """

    requests: int = 0
    misbehaved: int = 0
    received: int = 0
    unique: int = 0
    duplicates: int = 0
    rejected: int = 0
    too_old: int = 0
    wrong_token: int = 0
    ignored: int = 0


class Kept(NamedTuple):
    """A record that was taken.

    :param event: the event's name; None for a profile update.
    :param record: the JSON as it arrived.
    """

    endpoint: EndpointPath
    received_ms: int
    duplicate: bool
    event: str | None
    record: bytes


class Store:
    """Counters of everything, and the last records.

    :param keep: how many records to keep, the newest.
    :param dedupe_keys: how many of the newest events are remembered at least half of; an event
        that comes again later than that counts as new.  A key costs about 100 bytes.
    """

    def __init__(self, *, keep: int, dedupe_keys: int) -> None:
        self._kept: deque[Kept] = deque(maxlen=keep)
        self._seen = _RecentKeys(dedupe_keys)
        self.counts: dict[EndpointPath, Counts] = {}
        self.clear()

    def clear(self) -> None:
        """Forget all records, counts and known events."""
        self._kept.clear()
        self._seen.clear()
        self.counts.clear()
        self.counts.update((endpoint, Counts()) for endpoint in ENDPOINTS)

    def add_event(
        self, endpoint: EndpointPath, event: Mapping[str, Any], record: bytes, now_ms: int
    ) -> None:
        """Take a valid event; /import and /track share one memory of what is a duplicate."""
        key = _dedupe_key(event)
        duplicate = key is not None and self._seen.has_or_adds(key)
        counts = self.counts[endpoint]
        counts.received += 1
        if duplicate:
            counts.duplicates += 1
        else:
            counts.unique += 1
        self._kept.append(Kept(endpoint, now_ms, duplicate, event["event"], record))

    def add_update(self, endpoint: EndpointPath, record: bytes, now_ms: int) -> None:
        """Take a valid profile update."""
        self.add_unseen(endpoint, 1)
        self._kept.append(Kept(endpoint, now_ms, False, None, record))

    def add_unseen(self, endpoint: EndpointPath, records: int) -> None:
        """Count records without looking at them or keeping them."""
        self.counts[endpoint].received += records
        self.counts[endpoint].unique += records

    def records(
        self,
        *,
        endpoint: str | None = None,
        event: str | None = None,
        since_ms: int = 0,
        limit: int | None = None,
    ) -> list[Kept]:
        """Return kept records that match, newest last.

        :param since_ms: time of receipt, inclusive.
        :param limit: the newest that many; None for all.
        """
        newest_first = (
            kept
            for kept in reversed(self._kept)
            if kept.received_ms >= since_ms
            and (endpoint is None or kept.endpoint == endpoint)
            and (event is None or kept.event == event)
        )
        return list(itertools.islice(newest_first, limit))[::-1]


def _dedupe_key(event: Mapping[str, Any]) -> bytes | None:
    """Digest what makes an event a duplicate; None when Mixpanel could not tell.

    /track accepts events without an id or a time; it then makes one up, different each time.
    """
    properties = event["properties"]
    insert_id = properties.get("$insert_id")
    time_ms = event_time_ms(properties.get("time"))
    if not isinstance(insert_id, str) or not insert_id or time_ms is None:
        return None
    distinct_id = properties.get("distinct_id")
    if isinstance(distinct_id, dict | list):  # no id at all, and /track does not mind
        distinct_id = None
    parts = (event["event"], time_ms, distinct_id, insert_id)
    return blake2b(repr(parts).encode(), digest_size=16).digest()


class _RecentKeys:
    """A set that forgets the oldest half when it is full: bounded, and cheap to add to."""

    def __init__(self, capacity: int) -> None:
        self._half = max(1, capacity // 2)
        self._new: set[bytes] = set()
        self._old: set[bytes] = set()

    def has_or_adds(self, key: bytes) -> bool:
        if key in self._new or key in self._old:
            return True
        if len(self._new) >= self._half:
            self._old, self._new = self._new, set()
        self._new.add(key)
        return False

    def clear(self) -> None:
        self._new.clear()
        self._old.clear()
