"""Whether what arrived at several projects is what several clients sent."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice

from tests.support.arrivals import Arrivals, Name, name_of
from tests.support.oracle import expected
from tests.support.oracle_events import Event
from tests.support.processes import TOKEN
from tests.support.traffic import Fate, Traffic, traffic_events

__all__ = ["Conservation", "Sent", "conserve"]

_SHOWN = 3


@dataclass(slots=True)
class Sent:
    """The records of some clients by what is known of them.

    :param contents: of each record, by its identity.
    :param due: the identities of those that were acknowledged, with the event.
    """

    contents: dict[bytes, bytes] = field(default_factory=dict)
    due: dict[bytes, tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def by(cls, traffic: Traffic) -> "Sent":
        """Return the records of one client's events."""
        sent = cls()
        events = islice(traffic_events(traffic.seed), len(traffic.fates))
        for number, (event, fate) in enumerate(zip(events, traffic.fates, strict=True)):
            for name in _names(event):
                assert name.identity not in sent.contents, "the records must be different ones"
                sent.contents[name.identity] = name.content
                if fate == Fate.ACKNOWLEDGED:
                    sent.due[name.identity] = (traffic.seed, number)
        return sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Conservation:
    """What became of the records, in records.

    :param missing: acknowledged, and not arrived.
    :param invented: arrived, and never sent.
    :param corrupted: arrived in another form than they were sent in.
    :param duplicates: events that Mixpanel counts more than once.
    :param repeated: records that arrived more than once, whether or not Mixpanel counts them so.
    :param examples: seed and number of events that are missing.
    """

    arrived: int = 0
    due: int = 0
    missing: int = 0
    invented: int = 0
    corrupted: int = 0
    duplicates: int = 0
    repeated: int = 0
    rejected: int = 0
    examples: tuple[tuple[int, int], ...] = ()

    def __add__(self, other: "Conservation") -> "Conservation":
        return Conservation(
            **{
                name: getattr(self, name) + getattr(other, name)
                for name in Conservation.__dataclass_fields__
            }
        )

    def assert_holds(self) -> None:
        """Fail unless every acknowledged record arrived as it was sent, and counts once."""
        wrong = {
            name: getattr(self, name)
            for name in ("missing", "invented", "corrupted", "duplicates", "rejected")
            if getattr(self, name)
        }
        assert not wrong, f"{wrong} of {self.due} records; (seed, event): {self.examples[:_SHOWN]}"


def conserve(sent: Sequence[Sent], arrivals: Arrivals) -> Conservation:
    """Compare what one project got with what its clients sent."""
    arrived: set[bytes] = set()
    counts: Counter[bytes] = Counter()
    invented = corrupted = repeated = 0
    for identity, content, times, counted in arrivals.records:
        known = next((s.contents[identity] for s in sent if identity in s.contents), None)
        invented += known is None
        corrupted += known is not None and known != content
        # A corrupted record is not the one that is due.
        if known == content:
            arrived.add(identity)
        counts[identity] += counted
        repeated += times - 1
    missing = [event for each in sent for key, event in each.due.items() if key not in arrived]
    return Conservation(
        arrived=len(arrived),
        due=sum(len(each.due) for each in sent),
        missing=len(missing),
        invented=invented,
        corrupted=corrupted,
        duplicates=sum(count > 1 for count in counts.values()),
        repeated=repeated,
        rejected=arrivals.rejected,
        examples=tuple(missing[:_SHOWN]),
    )


def _names(event: Event) -> Iterable[Name]:
    return (name_of(item.endpoint, item.record, TOKEN) for item in expected(event, TOKEN))
