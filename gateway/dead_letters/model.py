"""Requests and answers about dead letters: the JSON of the admin API, of exports, and of --json."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Raw

from gateway.model import StoredDeadLetter
from gateway.spool.dead_letters import Filter, Id, LetterGroup, Number

__all__ = [
    "MAX_LETTERS",
    "Edit",
    "Letter",
    "LetterSummary",
    "Made",
    "Page",
    "PurgeReport",
    "PurgeRequest",
    "ReplayProblem",
    "ReplayReport",
    "ReplayRequest",
    "Replayed",
    "as_json",
    "iso",
    "letter_of",
]

MAX_LETTERS = 250
"""Dead letters in one request: what one transaction replays while others wait for the disk."""

_NOTHING = Raw(b"")
_EVERYTHING = Filter()

Limit = Annotated[int, Meta(ge=1, le=MAX_LETTERS)]


class Letter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A dead letter for people and programs outside.

    :param created: when it was kept, ISO 8601.
    :param source: of an event: name of the source that sent it.
    :param received: of an event: when that was.
    :param skew_ms: of an event: what its times are corrected by.
    :param payload: JSON as it is, text that is no JSON as a string; absent where not asked for.
    """

    id: str
    destination: str
    endpoint: str
    kind: Literal["event", "record"]
    reason: str
    detail: str
    created: str
    source: str | None = None
    received: str | None = None
    skew_ms: int = 0
    client_ip: str | None = None
    payload: Raw = _NOTHING


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Some dead letters; ``next`` is what to ask for those after them with, null at the end."""

    letters: Sequence[Letter]
    next: str | None


class LetterSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Counts by destination, endpoint, kind and reason; ``up_to`` is the newest letter there is."""

    groups: Sequence[LetterGroup]
    up_to: str


class Edit(msgspec.Struct, frozen=True, kw_only=True):
    """What to send in place of a letter's payload; other members of an export are not read.

    :param id: a number in exports of earlier versions.
    """

    id: Id | Number
    payload: Raw


class ReplayRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which letters to replay, or only to say what that would do.

    One request handles one batch; the next one goes on ``after`` what the answer says, with the
    ``up_to`` of its filter from there as well, so that what is refused again is not met twice.

    :param edits: these letters, as edited, instead of those of the filter.
    """

    filter: Filter = _EVERYTHING
    after: Id = ""
    limit: Limit = MAX_LETTERS
    edits: Annotated[tuple[Edit, ...], Meta(max_length=MAX_LETTERS)] = ()
    dry_run: bool = False


class Made(msgspec.Struct, frozen=True):
    """A record that a letter becomes."""

    endpoint: str
    record: Raw


class ReplayProblem(msgspec.Struct, frozen=True, kw_only=True):
    """Why a letter stays as it is."""

    id: str
    destination: str
    reason: str
    detail: str


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """A letter and what it became, or would become."""

    id: str
    destination: str
    made: Sequence[Made]


class ReplayReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one batch.

    :param replayed: letters that are pending records now, or would be.
    :param records: how many records that are.
    :param missing: letters that are not there any more: somebody else replayed or purged them.
    :param problems: letters that stay as they are.
    :param would: of a dry run: what each letter would become.
    :param next: what to go on after; null at the end.
    """

    replayed: int
    records: int
    missing: int
    problems: Sequence[ReplayProblem]
    would: Sequence[Replayed] = ()
    next: str | None
    up_to: str


class PurgeRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which letters to delete, batch by batch as in a ``ReplayRequest``."""

    filter: Filter
    after: Id = ""
    limit: Limit = MAX_LETTERS
    dry_run: bool = False


class PurgeReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was deleted; a dry run tells all that would be, in one answer."""

    purged: int
    would: Sequence[LetterGroup] = ()
    next: str | None
    up_to: str


def letter_of(stored: StoredDeadLetter, *, has_payload: bool = True) -> Letter:
    """Return a dead letter as it is shown outside."""
    letter, origin = stored.letter, stored.letter.origin
    return Letter(
        id=stored.id,
        destination=letter.queue.destination,
        endpoint=letter.queue.endpoint,
        kind=letter.kind,
        reason=letter.reason,
        detail=letter.detail,
        created=iso(stored.created_ms),
        source=origin.source if origin else None,
        received=iso(origin.received_ms) if origin else None,
        skew_ms=origin.skew_ms if origin else 0,
        client_ip=origin.client_ip if origin else None,
        payload=as_json(letter.payload) if has_payload else _NOTHING,
    )


def as_json(payload: bytes) -> Raw:
    """Return JSON on one line; text that is no JSON as a string."""
    try:
        payload.decode()
        return Raw(msgspec.json.format(payload, indent=-1))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Raw(msgspec.json.encode(payload.decode("utf-8", "replace")))


def iso(ms: int) -> str:
    """Return a time as people write it; the number itself where no calendar has it."""
    try:
        moment = datetime.fromtimestamp(ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return str(ms)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
