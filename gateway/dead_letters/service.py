"""What can be done with dead letters, for the admin port and for commands without a gateway."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import msgspec
from msgspec import Raw

from gateway.dead_letters.model import (
    MAX_LETTERS,
    Letter,
    LetterSummary,
    Made,
    Page,
    PurgeReport,
    PurgeRequest,
    Replayed,
    ReplayProblem,
    ReplayReport,
    ReplayRequest,
    letter_of,
)
from gateway.model import DeadLetterCount, Entry, Origin, StoredDeadLetter
from gateway.spool.dead_letters import DeadLetterStore, Filter, LetterLimits, Replacement

__all__ = ["DeadLetters"]

BATCH_BYTES = 1024 * 1024
"""Payloads that are read, and records that are made, for one transaction."""

_EDITED_BYTES = 32 * 1024 * 1024


class RemapResult(Protocol):
    """What an event becomes; see ``gateway.mapping.remap.Remapped``."""

    @property
    def entries(self) -> Sequence[Entry]:
        """One for each record; none when nothing is made of it."""
        ...

    @property
    def reason(self) -> str:
        """Why there are none, as a word."""
        ...

    @property
    def detail(self) -> str:
        """Why there are none, for a person."""
        ...


class Remapper(Protocol):
    """Maps an event again; see ``gateway.mapping.remap.Remap``."""

    def __call__(self, destination: str, text: bytes, origin: Origin) -> RemapResult:
        """Return what a destination would be sent."""
        ...


class DeadLetters:
    """The dead letters of one spool.

    :param destinations: names of those that are configured; nothing is replayed for others.
    """

    def __init__(
        self,
        store: DeadLetterStore,
        remap: Remapper,
        *,
        destinations: Collection[str],
    ) -> None:
        self._store = store
        self._remap = remap
        self._destinations = frozenset(destinations)

    @property
    def limits(self) -> LetterLimits:
        """The limits in force."""
        return self._store.limits

    def kept(self) -> Mapping[str, DeadLetterCount]:
        """Return what is kept, by destination."""
        return self._store.kept()

    async def summary(self, wanted: Filter) -> LetterSummary:
        """Return what there is, by cause."""
        up_to = await self._store.newest_id()
        return LetterSummary(groups=await self._store.groups(wanted), up_to=up_to)

    async def page(
        self, wanted: Filter, *, after: str = "", limit: int = 100, has_payload: bool = True
    ) -> Page:
        """Return some letters, oldest first; fewer than ``limit`` where they are large."""
        found = await self._store.page(
            wanted, after=after, limit=min(limit, MAX_LETTERS), max_bytes=BATCH_BYTES
        )
        letters = [letter_of(each, has_payload=has_payload) for each in found]
        return Page(letters=letters, next=letters[-1].id if letters else None)

    async def get(self, letter_id: str) -> Letter | None:
        """Return one letter, None when it is not there."""
        found = await self._store.page(Filter(ids=(letter_id,)))
        return letter_of(found[0]) if found else None

    async def replay(self, request: ReplayRequest) -> ReplayReport:
        """Send a batch again: events as they are mapped now, records as they are.

        :raises SpoolUnavailable: nothing changed; the caller may try again.
        """
        edits = {str(edit.id): bytes(edit.payload) for edit in request.edits}
        if edits:
            wanted = await self._snapshot(Filter(ids=tuple(edits)))
            found = await self._store.page(wanted, limit=MAX_LETTERS, max_bytes=_EDITED_BYTES)
        else:
            wanted = await self._snapshot(request.filter)
            found = await self._store.page(
                wanted, after=request.after, limit=request.limit, max_bytes=BATCH_BYTES
            )
        problems: list[ReplayProblem] = []
        made: list[Replacement] = []
        size, done = 0, ""
        for stored in found:
            if size > BATCH_BYTES and not edits:
                break  # records may be much larger than the event that they are made of
            done = stored.id
            entries = self._entries(stored, edits.get(stored.id))
            if isinstance(entries, ReplayProblem):
                problems.append(entries)
            else:
                size += sum(len(entry.lines) for entry in entries)
                made.append(Replacement(stored.id, entries))
        taken = frozenset(each.letter_id for each in made)
        if made and not request.dry_run:
            taken = await self._store.replay(made)
        gone = len(edits.keys() - {each.id for each in found})
        return ReplayReport(
            replayed=len(taken),
            records=sum(len(each.entries) for each in made if each.letter_id in taken),
            missing=gone + len(made) - len(taken),
            problems=problems,
            would=[_replayed(each) for each in made] if request.dry_run else (),
            next=done if found and not edits else None,
            up_to=wanted.up_to or "",
        )

    async def purge(self, request: PurgeRequest) -> PurgeReport:
        """Delete a batch for good.

        :raises SpoolUnavailable: nothing changed; the caller may try again.
        """
        wanted = await self._snapshot(request.filter)
        up_to = wanted.up_to or ""
        if request.dry_run:
            groups = await self._store.groups(wanted)
            count = sum(group.letters for group in groups)
            return PurgeReport(purged=count, would=groups, next=None, up_to=up_to)
        ids = await self._store.ids(wanted, after=request.after, limit=request.limit)
        purged = await self._store.purge(ids) if ids else 0
        return PurgeReport(purged=purged, next=ids[-1] if ids else None, up_to=up_to)

    async def _snapshot(self, wanted: Filter) -> Filter:
        """Return the filter without letters that are kept from now on.

        Without that, a record that is refused again at once would be replayed again and again.
        """
        if wanted.up_to is not None:
            return wanted
        return msgspec.structs.replace(wanted, up_to=await self._store.newest_id())

    def _entries(
        self, stored: StoredDeadLetter, edited: bytes | None
    ) -> Sequence[Entry] | ReplayProblem:
        """Return the records that a letter becomes, or why it stays as it is."""
        letter = stored.letter
        destination = letter.queue.destination

        def problem(reason: str, detail: str) -> ReplayProblem:
            return ReplayProblem(
                id=stored.id, destination=destination, reason=reason, detail=detail
            )

        if destination not in self._destinations:
            detail = f"no destination is called {destination}; configure it, then replay"
            return problem("no_destination", detail)
        payload = letter.payload if edited is None else edited
        if letter.kind == "record":
            record = _record(payload)
            if record is None:
                return problem("not_an_object", "a record has to be one JSON object")
            return [Entry(letter.queue, record + b"\n", 1)]
        origin = letter.origin or Origin(source="", received_ms=stored.created_ms)
        outcome = self._remap(destination, payload, origin)
        return outcome.entries or problem(outcome.reason, outcome.detail)


def _record(payload: bytes) -> bytes | None:
    """Return a record on one line, None when it is no JSON object."""
    try:
        if not isinstance(msgspec.json.decode(payload), dict):
            return None
        return msgspec.json.format(payload, indent=-1) if b"\n" in payload else payload
    except (msgspec.DecodeError, RecursionError):
        return None


def _replayed(made: Replacement) -> Replayed:
    queue = made.entries[0].queue
    records = [Made(entry.queue.endpoint, Raw(entry.lines[:-1])) for entry in made.entries]
    return Replayed(id=made.letter_id, destination=queue.destination, made=records)
