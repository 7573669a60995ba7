"""Whether what arrived is what was sent."""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from gateway.sandbox.store import Kept
from tests.support.oracle import Expected, expected
from tests.support.oracle_events import Event
from tests.support.processes import TOKEN

__all__ = ["Oracle", "Verdict", "judge", "records_of"]

Oracle = Callable[[Event, str], list[Expected]]

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong; nothing when all is well.

    :param missing: records that had to arrive and did not.
    :param foreign: records that nobody sent in this form: invented, or damaged on the way.
    :param repeated: ids that Mixpanel would count more than once.
    :param twice: records that arrived more than once, whether or not Mixpanel would count them so.
    """

    missing: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)

    def assert_nothing_lost(self) -> None:
        """Fail unless all is well, except for repetitions that Mixpanel takes for one."""
        self._assert_empty("missing", "foreign", "repeated")

    def assert_exactly_once(self) -> None:
        """Fail unless all is well."""
        self._assert_empty("missing", "foreign", "repeated", "twice")

    def _assert_empty(self, *names: str) -> None:
        found = {name: getattr(self, name) for name in names}
        text = "\n".join(
            f"{len(items)} {name}, such as:\n  " + "\n  ".join(items[:_SHOWN])
            for name, items in found.items()
            if items
        )
        assert not text, text


def records_of(events: Iterable[Event], oracle: Oracle = expected) -> Counter[str]:
    """Return the records that events become, as text."""
    return Counter(
        _text(item.endpoint, item.record) for event in events for item in oracle(event, TOKEN)
    )


def judge(
    arrived: Iterable[Kept],
    *,
    acknowledged: Iterable[Event],
    sent: Iterable[Event],
    oracle: Oracle = expected,
) -> Verdict:
    """Compare what a sandbox kept with what clients sent.

    :param acknowledged: events that were answered 200: all of them had to arrive.
    :param sent: all events, those without an answer included: nothing else may have arrived.
    :param oracle: tells the records that an event becomes in a project.
    """
    counts: Counter[str] = Counter()
    ids: Counter[str] = Counter()
    for kept in arrived:
        record = json.loads(kept.record)
        counts[_text(kept.endpoint, record)] += 1
        if kept.endpoint == "/import" and not kept.duplicate:
            ids[record["properties"]["$insert_id"]] += 1
    due, known = records_of(acknowledged, oracle), records_of(sent, oracle)
    assert max(known.values(), default=1) == 1, "the test's events must become different records"
    return Verdict(
        missing=[text for text in due if text not in counts],
        foreign=[text for text in counts if text not in known],
        repeated=[key for key, count in ids.items() if count > 1],
        twice=[text for text, count in counts.items() if count > 1],
    )


def _text(endpoint: str, record: object) -> str:
    return f"{endpoint} {json.dumps(record, sort_keys=True, ensure_ascii=False)}"
