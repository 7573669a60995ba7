"""The dead letters of several spools, as if one spool had all of them.

Each file counts its own, so the same id is in several.  Outside, an id says in which: that of
letter 17 of ``worker-3.db`` is 3000000000017, and those of ``worker-0.db`` are as in the file.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import msgspec

from gateway.model import DeadLetterCount, StoredDeadLetter
from gateway.spool.dead_letters import (
    IDS_PER_FILE,
    DeadLetterStore,
    Filter,
    Group,
    Replacement,
    in_file,
    outside,
    sum_of,
)

__all__ = ["SeveralDeadLetters"]


class SeveralDeadLetters:
    """A store of stores; each letter stays in its own, and is replayed there.

    Nobody else may add letters meanwhile: ``Filter.up_to`` bounds those of the last file only.

    :param stores: by the number of their file.
    """

    def __init__(self, stores: Mapping[int, DeadLetterStore]) -> None:
        self._stores = dict(sorted(stores.items()))

    async def page(
        self, wanted: Filter, *, after: int = 0, limit: int = 100, max_bytes: int = 1 << 20
    ) -> list[StoredDeadLetter]:
        """Return dead letters with ``id > after``, oldest first in each file, within both limits.

        :raises SpoolUnavailable: a file cannot be read now.
        """
        letters: list[StoredDeadLetter] = []
        size = 0
        for number, own in self._asked(wanted, after):
            start = in_file(after, number)
            while len(letters) < limit:
                found = await self._stores[number].page(
                    own, after=start, limit=limit - len(letters), max_bytes=max_bytes - size
                )
                if not found:
                    break
                size += sum(len(each.letter.payload) for each in found)
                if letters and size > max_bytes:
                    return letters
                start = found[-1].id
                letters += [replace(each, id=outside(number, each.id)) for each in found]
        return letters

    async def ids(self, wanted: Filter, *, after: int = 0, limit: int = 100) -> list[int]:
        """Return the ids of dead letters with ``id > after``, oldest first in each file.

        :raises SpoolUnavailable: a file cannot be read now.
        """
        ids: list[int] = []
        for number, own in self._asked(wanted, after):
            found = await self._stores[number].ids(
                own, after=in_file(after, number), limit=limit - len(ids)
            )
            ids += [outside(number, each) for each in found]
        return ids

    async def groups(self, wanted: Filter) -> list[Group]:
        """Return counts by destination, endpoint, kind and reason, the most frequent first.

        :raises SpoolUnavailable: a file cannot be read now.
        """
        groups: dict[tuple[str, ...], Group] = {}
        for number, own in self._asked(wanted):
            for group in await self._stores[number].groups(own):
                cause = (group.destination, group.endpoint, group.kind, group.reason)
                groups[cause] = sum_of(groups[cause], group) if cause in groups else group
        return sorted(groups.values(), key=lambda group: -group.letters)

    async def newest_id(self) -> int:
        """Return the highest id, 0 when there is no dead letter.

        :raises SpoolUnavailable: a file cannot be read now.
        """
        for number, store in reversed(self._stores.items()):
            if newest := await store.newest_id():
                return outside(number, newest)
        return 0

    async def replay(self, replacements: Sequence[Replacement]) -> frozenset[int]:
        """Put records in the place of dead letters, file by file; return whose was taken.

        :raises SpoolUnavailable: those of the files before are replayed; the caller may try again.
        """
        taken: set[int] = set()
        by_file: defaultdict[int, list[Replacement]] = defaultdict(list)
        for each in replacements:
            number, letter_id = divmod(each.letter_id, IDS_PER_FILE)
            by_file[number].append(replace(each, letter_id=letter_id))
        for number, own in by_file.items():
            if number in self._stores:
                found = await self._stores[number].replay(own)
                taken.update(outside(number, each) for each in found)
        return frozenset(taken)

    async def purge(self, ids: Collection[int]) -> int:
        """Delete dead letters for good, file by file; return how many of them were there.

        :raises SpoolUnavailable: those of the files before are gone; the caller may try again.
        """
        by_file: defaultdict[int, list[int]] = defaultdict(list)
        for each in ids:
            number, letter_id = divmod(each, IDS_PER_FILE)
            by_file[number].append(letter_id)
        return sum(
            [
                await self._stores[number].purge(own)
                for number, own in by_file.items()
                if number in self._stores
            ]
        )

    def kept(self) -> Mapping[str, DeadLetterCount]:
        """Return what is kept, by destination."""
        total: defaultdict[str, DeadLetterCount] = defaultdict(DeadLetterCount)
        for store in self._stores.values():
            for destination, kept in store.kept().items():
                total[destination] += kept
        return dict(total)

    def _asked(self, wanted: Filter, after: int = 0) -> list[tuple[int, Filter]]:
        """Return which files may have such letters, and the filter as each of them knows it."""
        ids = None if wanted.ids is None else [divmod(each, IDS_PER_FILE) for each in wanted.ids]
        up_to = wanted.up_to
        return [
            (
                number,
                msgspec.structs.replace(
                    wanted,
                    ids=None if ids is None else tuple(own for file, own in ids if file == number),
                    up_to=None if up_to is None else in_file(up_to, number),
                ),
            )
            for number in self._stores
            if after < outside(number + 1, 0)
        ]
