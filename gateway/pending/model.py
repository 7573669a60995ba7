"""Requests and answers about pending records: the JSON of the admin API, and of --json."""

from collections.abc import Iterable, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta, Raw

from gateway.spool.dead_letters import Id
from gateway.spool.pending import PendingFilter

__all__ = [
    "MAX_RECORDS",
    "PendingGroup",
    "PendingRecord",
    "PendingSummary",
    "RecordPage",
    "Retried",
    "RetryReport",
    "RetryRequest",
    "SetAsideReport",
    "SetAsideRequest",
    "merged",
]

MAX_RECORDS = 2000
"""Records in one request: what one transaction sets aside while others wait for the disk."""

_NOTHING = Raw(b"")
_EVERYTHING = PendingFilter()

Limit = Annotated[int, Meta(ge=1, le=MAX_RECORDS)]


class PendingRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A pending record for people and programs outside.

    :param id: its chunk, and what tells it from the others there; equal ones have the same.
    :param accepted: when the oldest record of its chunk was accepted, ISO 8601.
    :param event: the event's name, where it has one.
    :param payload: what is sent; absent where not asked for.
    """

    id: str
    destination: str
    endpoint: str
    accepted: str
    event: str | None = None
    payload: Raw = _NOTHING


class RecordPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some records; ``next`` is what to ask for those after them with, null at the end.

    A page may be empty and not the last: as much was looked at as one request may.
    """

    records: Sequence[PendingRecord]
    next: str | None


class PendingGroup(msgspec.Struct, frozen=True, kw_only=True):
    """What waits for one endpoint of a destination.

    :param bytes: of the records, uncompressed.
    :param oldest_age_s: how long the oldest has waited, in seconds.
    :param state: ``ok``, ``retrying`` or ``paused``; ``not_configured`` where nobody delivers to
        that destination, ``stopped`` where no gateway runs.
    :param detail: why, for a person.
    :param next_attempt_in_s: seconds; null when nothing is waited for.
    """

    destination: str
    endpoint: str
    records: int
    bytes: int
    oldest_ms: int
    newest_ms: int
    oldest_age_s: float
    state: str
    detail: str = ""
    next_attempt_in_s: float | None = None


class PendingSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What waits, by destination and endpoint.

    :param up_to: the newest chunk that there is.
    :param next: what to ask for the rest with; null at the end.
    """

    groups: Sequence[PendingGroup]
    up_to: str
    next: str | None = None


class SetAsideRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which records are to become dead letters, or only to say which those are.

    One request handles one batch; the next one goes on ``after`` what the answer says, with the
    ``up_to`` of its filter from there as well, so that what comes meanwhile is not met.

    :param limit: records at most.
    """

    filter: PendingFilter = _EVERYTHING
    after: Id = ""
    limit: Limit = MAX_RECORDS
    dry_run: bool = False


class SetAsideReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one batch.

    :param set_aside: records that are dead letters now, or would be.
    :param bytes: of these records.
    :param left: records that stay: they are in requests now, or were delivered meanwhile.
    :param would: of a dry run: what these records are.
    :param problem: why nothing more can be set aside, "" otherwise.
    :param next: what to go on after; null at the end.
    """

    set_aside: int
    bytes: int
    left: int = 0
    would: Sequence[PendingGroup] = ()
    problem: str = ""
    next: str | None
    up_to: str


class RetryRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which endpoints are to make their next attempt now; all where nothing is said."""

    destination: str | None = None
    endpoint: str | None = None


class Retried(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint that makes its next attempt now, and what it waited for."""

    destination: str
    endpoint: str
    records: int
    state: str
    detail: str


class RetryReport(msgspec.Struct, frozen=True, kw_only=True):
    """The endpoints that waited; those that do not wait need not be told."""

    retried: Sequence[Retried]


def merged(groups: Iterable[PendingGroup]) -> list[PendingGroup]:
    """Return groups of the same endpoint as one, most records first; the worst state counts."""
    found: dict[tuple[str, str], PendingGroup] = {}
    for group in groups:
        place = (group.destination, group.endpoint)
        found[place] = _sum(found[place], group) if place in found else group
    return sorted(found.values(), key=lambda group: -group.records)


_STATES = ("ok", "stopped", "not_configured", "retrying", "paused")
"""From good to bad."""


def _sum(one: PendingGroup, other: PendingGroup) -> PendingGroup:
    worst = max(one, other, key=lambda group: _STATES.index(group.state))
    waits = [each.next_attempt_in_s for each in (one, other) if each.next_attempt_in_s is not None]
    return msgspec.structs.replace(
        worst,
        records=one.records + other.records,
        bytes=one.bytes + other.bytes,
        oldest_ms=min(one.oldest_ms, other.oldest_ms),
        newest_ms=max(one.newest_ms, other.newest_ms),
        oldest_age_s=max(one.oldest_age_s, other.oldest_age_s),
        next_attempt_in_s=min(waits, default=None),
    )
