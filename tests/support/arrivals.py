"""What arrived at Mixpanel, in few bytes a record."""

import json
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec

from gateway.sandbox.faults import EndpointPath
from gateway.sandbox.store import Store

__all__ = ["Arrivals", "Name", "Recorder", "Seen", "SequenceRecorder", "name_of"]


class Name(NamedTuple):
    """A record: which one it is, and what it says."""

    identity: bytes
    content: bytes


class Seen(msgspec.Struct, array_like=True):
    """How often a record arrived, and how often Mixpanel counts it as an event.

    What is no event is repeated without harm: each record sets the same values again.
    """

    times: int = 0
    counted: int = 0


class Arrivals(msgspec.Struct, array_like=True):
    """All records that arrived at one sandbox."""

    records: list[tuple[bytes, bytes, int, int]] = []  # identity, content, times, counted
    rejected: int = 0
    misbehaved: int = 0


_IDENTITY = {
    "/import": lambda record: record["properties"]["$insert_id"],
    "/track": lambda record: record["properties"]["$identified_id"],
    "/engage": lambda record: record["$distinct_id"],
    "/groups": lambda record: record["$group_id"],
}


def name_of(endpoint: str, record: Mapping[str, Any], token: str) -> Name:
    """Return a record's name, which is the same for every project.

    :param token: of the project that it is for.
    """
    identity = f"{endpoint} {_IDENTITY[endpoint](record)}"
    if endpoint == "/track":
        assert record["properties"]["token"] == token, "a record for another project"
        record = {**record, "properties": {**record["properties"], "token": ""}}
    elif endpoint != "/import":
        assert record["$token"] == token, "a record for another project"
        record = {**record, "$token": ""}
    text = json.dumps(record, sort_keys=True, ensure_ascii=False)
    return Name(_digest(identity), _digest(text))


def _digest(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=16).digest()


class Recorder(Store):
    """A sandbox's memory of everything: the names of the records instead of the last ones.

    :param token: of the project.
    """

    def __init__(self, token: str, *, dedupe_keys: int = 5_000_000) -> None:
        super().__init__(keep=0, dedupe_keys=dedupe_keys)
        self._token = token
        self._recorded: dict[Name, Seen] = {}

    def add_event(
        self, endpoint: EndpointPath, event: Mapping[str, Any], record: bytes, now_ms: int
    ) -> None:
        """Take a valid event."""
        known = self.counts[endpoint].duplicates
        super().add_event(endpoint, event, record, now_ms)
        is_new = self.counts[endpoint].duplicates == known
        self._note(endpoint, event, counts=is_new and endpoint == "/import")

    def add_update(self, endpoint: EndpointPath, record: bytes, now_ms: int) -> None:
        """Take a valid profile update."""
        super().add_update(endpoint, record, now_ms)
        self._note(endpoint, json.loads(record), counts=False)

    def arrivals(self) -> Arrivals:
        """Return everything that arrived so far."""
        return Arrivals(
            records=[(*name, seen.times, seen.counted) for name, seen in self._recorded.items()],
            rejected=sum(each.rejected + each.wrong_token for each in self.counts.values()),
            misbehaved=sum(each.misbehaved for each in self.counts.values()),
        )

    def _note(self, endpoint: EndpointPath, record: Mapping[str, Any], *, counts: bool) -> None:
        seen = self._recorded.setdefault(name_of(endpoint, record, self._token), Seen())
        seen.times += 1
        seen.counted += counts


class SequenceRecorder(Store):
    """A sandbox's memory of numbered events and updates: how often each number arrived.

    For millions of them: a byte each.
    """

    def __init__(self) -> None:
        super().__init__(keep=0, dedupe_keys=1)
        self._times = bytearray()

    def add_event(
        self, endpoint: EndpointPath, event: Mapping[str, Any], record: bytes, now_ms: int
    ) -> None:
        """Take a valid event."""
        self._note(event["properties"]["seq"])
        self.add_unseen(endpoint, 1)

    def add_update(self, endpoint: EndpointPath, record: bytes, now_ms: int) -> None:
        """Take a valid profile update."""
        self._note(json.loads(record)["$set"]["seq"])
        self.add_unseen(endpoint, 1)

    def _note(self, number: int) -> None:
        if number >= len(self._times):
            self._times.extend(bytes(number + 1 - len(self._times) + 100_000))
        self._times[number] = min(255, self._times[number] + 1)

    def arrivals(self) -> Arrivals:
        """Return the numbers that arrived so far, as the identities of records."""
        return Arrivals(
            records=[
                (number.to_bytes(16, "big"), b"", times, 1)
                for number, times in enumerate(self._times)
                if times
            ],
            rejected=sum(each.rejected + each.wrong_token for each in self.counts.values()),
        )
