"""A batch: the records of one or more chunks that travel together, and how to cut them up.

No I/O here.  Nothing is decompressed or split into lines before that is needed: the usual batch is
one full chunk, which goes out as the bytes it was stored as.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from isal import isal_zlib

from gateway.spool.outlet import Lease

__all__ = ["Batch", "Body", "Piece"]

_GZIP = 31  # window bits of zlib that mean "with a gzip header"
_OBJECT_BYTES = 64  # what a record costs as an object in a list, besides its text

Piece = Sequence[int]
"""Some records of a batch, by index, ascending; a ``range`` wherever they lie side by side."""


@dataclass(frozen=True, slots=True)
class Body:
    """Newline-delimited records, the way they are at hand.

    :param data: the records, each with its newline; compressed if ``gzipped``.
    :param size: of the records uncompressed, in bytes.
    """

    data: bytes
    gzipped: bool
    records: int
    size: int

    def plain(self) -> bytes:
        """Return the records uncompressed.

        :raises ValueError: they are not ``size`` bytes of gzip.
        """
        if not self.gzipped:
            return self.data
        inflate = isal_zlib.decompressobj(wbits=_GZIP)
        try:
            data = inflate.decompress(self.data, self.size + 1)
        except isal_zlib.error as error:  # type: ignore[misc]  # its stub calls it an instance
            raise ValueError(f"records are not valid gzip: {error}") from None
        if len(data) != self.size or not inflate.eof:
            raise ValueError(f"records do not inflate to the {self.size} bytes they should")
        return data


class Batch:
    """What is taken from the spool at once.

    :ivar position: orders the batches of a lane, and all of them somehow.
    """

    def __init__(self, lease: Lease) -> None:
        chunks = lease.chunks
        self.lease = lease
        self.position = lease.position
        self._bodies = [
            Body(c.payload, c.encoding == "gzip", c.records, c.raw_bytes) for c in chunks
        ]
        self.queue = chunks[0].queue
        self.chunk_ids = tuple([chunk.id for chunk in chunks])
        self.created_ms = min([chunk.created_ms for chunk in chunks])
        self.records = sum([chunk.records for chunk in chunks])
        self._size = sum([chunk.raw_bytes for chunk in chunks])
        self.stored_bytes = sum([len(chunk.payload) for chunk in chunks])

    def is_before(self, other: "Batch") -> bool:
        """Whether the order counts between both, and this one comes first."""
        return self.lease.lane == other.lease.lane and self.position < other.position

    @cached_property
    def lines(self) -> list[bytes]:
        """The records one by one, each with its newline.

        :raises ValueError: a chunk does not hold the records it should.
        """
        # Body by body, so that not everything is there three times.
        lines = [line + b"\n" for body in self._bodies for line in _split(body.plain())]
        if len(lines) != self.records:
            raise ValueError(f"{self.queue}: {len(lines)} records instead of {self.records}")
        return lines

    def stored(self, piece: Piece) -> Body | None:
        """Return the records of ``piece`` where just these were stored together."""
        is_chunk = len(piece) == self.records and len(self._bodies) == 1
        return self._bodies[0] if is_chunk else None

    def body(self, piece: Piece) -> Body:
        """Return the records of ``piece``, as they are stored if that is possible."""
        if (stored := self.stored(piece)) is not None:
            return stored
        if len(piece) == self.records:
            data = b"".join(body.plain() for body in self._bodies)
        else:
            data = b"".join([self.lines[i] for i in piece])
        return Body(data, False, len(piece), len(data))

    def memory_bytes(self, *, sent_plain: bool) -> int:
        """Return what it takes at most: as stored, line by line, and as one request.

        Not in it are the copies that making one of these from another takes for a moment.

        :param sent_plain: whether requests are uncompressed.
        """
        lines = self._size + _OBJECT_BYTES * self.records
        return self.stored_bytes + lines + (self._size if sent_plain else self.stored_bytes)

    def compact(self) -> None:
        """Forget all but what is stored; the rest is made again when it is needed."""
        self.__dict__.pop("lines", None)

    def cut(self, piece: Piece, max_records: int, max_bytes: int) -> list[Piece]:
        """Cut ``piece`` into as few requests as the limits allow, in order.

        A record that exceeds ``max_bytes`` alone makes a piece of its own: whether it is too large
        is for the service to say.
        """
        # One byte more than the lines: as a JSON array, records need brackets and commas.
        if self.records <= max_records and self._size + 1 <= max_bytes:
            return [piece]
        pieces: list[Piece] = []
        start, size = 0, 1
        for end, index in enumerate(piece):
            size += len(self.lines[index])
            if end > start and (end - start == max_records or size > max_bytes):
                pieces.append(piece[start:end])
                start, size = end, 1 + len(self.lines[index])
        return [*pieces, piece[start:]]


def _split(data: bytes) -> list[bytes]:
    # Not splitlines(), which also splits at a carriage return.
    return data.split(b"\n")[:-1]
