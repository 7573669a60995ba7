"""What has become of each record of a batch so far, and what the spool is to be told about it.

No I/O here.  The sender asks what to send next, reports the outcome, and settles what this says.
Every record ends in exactly one of: delivered, a dead letter, or still in the spool.
"""

from collections.abc import Hashable, Sequence
from enum import IntEnum
from typing import NamedTuple

from gateway.delivery.batch import Batch, Piece
from gateway.delivery.outcome import Delivered, Partial, RefusalReason, Split
from gateway.model import DeadLetter, Entry
from gateway.spool.outlet import Settlement

__all__ = ["Halves", "Progress", "RequestTally", "halves"]


class _Fate(IntEnum):
    OPEN = 0  # not sent yet, or its request came to nothing
    DELIVERED = 1
    REFUSED = 2
    SETTLED = 3  # delivered or given up, and the spool knows
    GIVEN_UP = 4


class _Refusal(NamedTuple):
    reason: RefusalReason
    detail: str


class RequestTally(NamedTuple):
    """How many records one request has brought to their end."""

    accepted: int
    refused: int


class Halves(NamedTuple):
    """Two parts of a piece that was refused as a whole.

    :param are_apart: whether the second may be sent before it is known what became of the first.
    """

    first: Piece
    second: Piece
    are_apart: bool


def halves(piece: Piece, subjects: Sequence[Hashable] | None) -> Halves:
    """Cut a piece of at least two records in halves.

    :param subjects: what each record of the batch is about, where records about the same must keep
        their order: these stay together as long as there is anything else to part them from.
    """
    middle = len(piece) // 2
    if subjects is None:
        return Halves(piece[:middle], piece[middle:], True)
    found = list(dict.fromkeys(subjects[index] for index in piece))
    if len(found) == 1:
        return Halves(piece[:middle], piece[middle:], False)
    chosen = set(found[: len(found) // 2])
    return Halves(
        [index for index in piece if subjects[index] in chosen],
        [index for index in piece if subjects[index] not in chosen],
        True,
    )


class Progress:
    """The way of one batch.

    Refused records stay in the spool until all others have been sent, and for as long as it is not
    known whether they are bad records or a setting is wrong.

    :param max_records: records in one request.
    :param max_bytes: uncompressed bytes in one request.
    """

    def __init__(self, batch: Batch, *, max_records: int, max_bytes: int) -> None:
        self.batch = batch
        self._limits = (max_records, max_bytes)
        # A stack, next on top, so that the halves of a piece go out before what follows it.
        self._open = batch.cut(range(batch.records), max_records, max_bytes)[::-1]
        self._fates = bytearray(batch.records)
        self._refusals: dict[int, _Refusal] = {}
        self.blocked_s: float | None = None
        """When something on the way first refused some of it, if the caller noted that."""
        self.failures = 0
        """Requests with some of it that failed as in an outage."""
        self.failed_s = 0.0
        """When the last of them did, if there were any."""
        self.is_suspect = False
        """Whether its records are to be tried apart from others, as they may be to blame."""
        self.has_failed_alone = False
        """Whether a single record of it failed."""
        self.is_over = False
        """Whether the spool has nothing left of the batch."""

    @property
    def refused(self) -> int:
        """How many records of this round have been refused for good."""
        return len(self._refusals)

    @property
    def is_lost(self) -> bool:
        """Whether somebody else delivers its records now."""
        return self.batch.lease.is_lost

    @property
    def left(self) -> int:
        """How many records the spool still has of the batch."""
        return 0 if self.is_over else self.batch.records - self._fates.count(_Fate.SETTLED)

    @property
    def example(self) -> str:
        """What the service said about one of the refused records; "" where there is none."""
        return next((refusal.detail for refusal in self._refusals.values()), "")

    @property
    def untried(self) -> list[int]:
        """The records that are to be sent and have no verdict yet."""
        return [index for piece in reversed(self._open) for index in piece]

    @property
    def has_untried(self) -> bool:
        """Whether there are any of these."""
        return bool(self._open)

    @property
    def unsettled(self) -> list[int]:
        """All records that would be sent again after a crash, and perhaps be accepted."""
        return self._with_fate(_Fate.OPEN, _Fate.DELIVERED, _Fate.GIVEN_UP)

    def take(self, at_most: int | None = None) -> Piece | None:
        """Return what to send now; None when nothing is left to send.

        :param at_most: so many records, if not as many as a request may hold.
        """
        if not self._open:
            return None
        piece = self._open.pop()
        if at_most is not None and len(piece) > at_most:
            self._open.append(piece[at_most:])
            return piece[:at_most]
        return piece

    def start_of(self, piece: Piece, at_most: int | None = None) -> Piece:
        """Return as many of these records as a request may hold."""
        return self.batch.cut(piece, *self._limits)[0][:at_most]

    def put_back(self, *pieces: Piece) -> None:
        """Send these later, in their order among all others; nothing is known of them yet."""
        self._open += [piece for piece in pieces if piece]
        self._open.sort(key=lambda piece: piece[0], reverse=True)

    def prefer(self, piece: Piece) -> None:
        """Send these of the untried records next."""
        self.withhold(piece)
        self._open += self.batch.cut(piece, *self._limits)[::-1] if piece else ()

    def in_order(self) -> None:
        """Send the untried records in their order again, whatever was preferred."""
        self.withhold(())

    def prefer_halves(self, piece: Piece) -> None:
        """Send the halves of a piece that was refused as a whole next, the first one first."""
        first, second, _ = halves(piece, None)
        self._open += (second, first)

    def withhold(self, piece: Piece) -> None:
        """Do not send these until they are put back."""
        chosen = set(piece)
        rest = sorted(index for index in self.untried if index not in chosen)
        self._open = self.batch.cut(rest, *self._limits)[::-1] if rest else []

    def reconsider(self) -> Piece:
        """Take back the refusal of the oldest refused record, and return it; () without any."""
        if not self._refusals:
            return ()
        index = min(self._refusals)
        del self._refusals[index]
        self._fates[index] = _Fate.OPEN
        self._open.append((index,))
        return (index,)

    def fail(self, now: float) -> None:
        """Take note of a request that failed, perhaps because of what was in it."""
        self.failures += 1
        self.failed_s = now

    def give_up(self, index: int, detail: str) -> None:
        """Take note that a record never gets an answer: a dead letter as soon as it is settled.

        What comes after it may be sent only then, or a crash could change the order.
        """
        self._refuse(index, _Refusal("unanswered", detail))
        self._fates[index] = _Fate.GIVEN_UP

    def apply(self, piece: Piece, outcome: Delivered | Partial | Split) -> RequestTally:
        """Take note of what became of a piece that ``take`` returned.

        Of one that was refused as a whole, nothing is known of any record; see ``halves``.
        """
        match outcome:
            case Split(reason, detail) if len(piece) == 1:
                self._refuse(piece[0], _Refusal(reason, detail))
                return RequestTally(0, 1)
            case Split():
                return RequestTally(0, 0)
            case Partial(failed):
                self._mark(piece, _Fate.DELIVERED)
                for record in failed:
                    self._refuse(piece[record.index], _Refusal("refused", record.message))
                return RequestTally(len(piece) - len(failed), len(failed))
            case Delivered():
                self._mark(piece, _Fate.DELIVERED)
                return RequestTally(len(piece), 0)

    def conclude(self) -> Settlement:
        """Return the end of the batch: what was refused becomes dead letters.

        To be asked for when nothing is left to send.
        """
        dead = (self._letter(index, refusal) for index, refusal in self._refusals.items())
        return self._settlement(tuple(dead), None)

    def keep(self) -> Settlement | None:
        """Return what takes the delivered records out of the spool, and leaves it all others.

        Also those that were given up, which become dead letters.  None when that would change
        nothing.
        """
        given_up = self._given_up()
        if self._fates.count(_Fate.DELIVERED) == 0 and not given_up:
            return None
        dead = tuple(self._letter(index, self._refusals[index]) for index in given_up)
        rest = self._with_fate(_Fate.OPEN, _Fate.REFUSED)
        lines = b"".join([self.batch.lines[i] for i in rest])
        return self._settlement(dead, Entry(self.batch.queue, lines, len(rest)) if rest else None)

    def settled(self, settlement: Settlement) -> None:
        """Take note that the spool has applied ``settlement``."""
        for index in self._given_up():
            del self._refusals[index]
            self._fates[index] = _Fate.SETTLED
        self._fates = self._fates.replace(bytes([_Fate.DELIVERED]), bytes([_Fate.SETTLED]))
        self.is_over = settlement.remaining is None

    def restart(self) -> None:
        """Begin a new round with everything that is not delivered: refusals are forgotten."""
        self._refusals.clear()
        rest = self._with_fate(_Fate.OPEN, _Fate.REFUSED, _Fate.GIVEN_UP)
        self._mark(rest, _Fate.OPEN)
        self._open = self.batch.cut(rest, *self._limits)[::-1]

    def _mark(self, piece: Piece, fate: _Fate) -> None:
        if isinstance(piece, range):
            # All at once: one by one, 2000 take the event loop 0.1 ms.
            self._fates[piece.start : piece.stop] = bytes([fate]) * len(piece)
            return
        for index in piece:
            self._fates[index] = fate

    def _refuse(self, index: int, refusal: _Refusal) -> None:
        self._fates[index] = _Fate.REFUSED
        self._refusals[index] = refusal

    def _with_fate(self, *fates: _Fate) -> list[int]:
        return [index for index, fate in enumerate(self._fates) if fate in fates]

    def _given_up(self) -> list[int]:
        if self._fates.count(_Fate.GIVEN_UP) == 0:  # as nearly always
            return []
        return self._with_fate(_Fate.GIVEN_UP)

    def _letter(self, index: int, refusal: _Refusal) -> DeadLetter:
        return DeadLetter(
            queue=self.batch.queue,
            kind="record",
            reason=refusal.reason,
            detail=refusal.detail,
            payload=self.batch.lines[index][:-1],
        )

    def _settlement(self, dead: tuple[DeadLetter, ...], remaining: Entry | None) -> Settlement:
        return Settlement(
            delivered=self._fates.count(_Fate.DELIVERED),
            dead=dead,
            remaining=remaining,
        )
