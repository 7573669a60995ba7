"""The runs are worth what their judge is: it finds every way in which a record can go wrong."""

import json
from collections.abc import Sequence
from itertools import islice

from tests.support.arrivals import Arrivals, Recorder
from tests.support.conservation import Conservation, Sent, conserve
from tests.support.flood import is_complete
from tests.support.oracle import expected
from tests.support.oracle_events import Event
from tests.support.traffic import Fate, Traffic, traffic_events

TOKEN = "token-of-a-project"
SEED = 3
EVENTS = list(islice(traffic_events(SEED), 40))


def sent(acknowledged: int = len(EVENTS)) -> Sent:
    """Return what was sent when only the first events were acknowledged."""
    traffic = Traffic("http://127.0.0.1:9", seed=SEED)
    fates = [Fate.ACKNOWLEDGED] * acknowledged + [Fate.SENT] * (len(EVENTS) - acknowledged)
    traffic.fates.extend(fates)
    return Sent.by(traffic)


def arrived(events: Sequence[Event], change: tuple[str, str] = ("", "")) -> Arrivals:
    """Return what a sandbox remembers of the events' records."""
    recorder = Recorder(TOKEN)
    for event in events:
        for endpoint, record in expected(event, TOKEN):
            line = json.dumps(record).replace(*change)
            if endpoint in ("/import", "/track"):
                recorder.add_event(endpoint, json.loads(line), line.encode(), 0)
            else:
                recorder.add_update(endpoint, line.encode(), 0)
    return recorder.arrivals()


def wrong(verdict: Conservation) -> dict[str, int]:
    names = ("missing", "invented", "corrupted", "duplicates", "repeated")
    return {name: getattr(verdict, name) for name in names if getattr(verdict, name)}


def test_everything_that_was_sent_is_right() -> None:
    verdict = conserve([sent()], arrived(EVENTS))
    assert verdict.due == verdict.arrived > len(EVENTS)
    assert wrong(verdict) == {}


def test_acknowledged_record_that_did_not_arrive_is_missing() -> None:
    verdict = conserve([sent()], arrived(EVENTS[1:]))
    assert wrong(verdict) == {"missing": len(expected(EVENTS[0], TOKEN))}
    assert verdict.examples[0] == (SEED, 0)


def test_record_that_was_not_acknowledged_may_arrive_or_not() -> None:
    assert wrong(conserve([sent(10)], arrived(EVENTS[:10]))) == {}
    assert wrong(conserve([sent(10)], arrived(EVENTS))) == {}


def test_record_that_nobody_sent_is_invented() -> None:
    foreign = next(islice(traffic_events(SEED + 1), 1))
    verdict = conserve([sent()], arrived([*EVENTS, foreign]))
    assert wrong(verdict) == {"invented": len(expected(foreign, TOKEN))}


def test_record_that_changed_on_the_way_is_corrupted_and_missing() -> None:
    verdict = conserve([sent()], arrived(EVENTS, ('"mp_lib": "Syft', '"mp_lib": "Soft')))
    assert verdict.corrupted == verdict.missing > 20


def test_record_that_is_delivered_twice_is_a_repetition_and_no_duplicate() -> None:
    verdict = conserve([sent()], arrived([*EVENTS, EVENTS[0]]))
    assert wrong(verdict) == {"repeated": len(expected(EVENTS[0], TOKEN))}


def test_event_that_mixpanel_counts_twice_is_a_duplicate() -> None:
    recorder = Recorder(TOKEN)
    endpoint, record = expected(EVENTS[0], TOKEN)[0]
    for time in (1, 2):  # another time is another event to Mixpanel
        record["properties"]["time"] = time
        recorder.add_event("/import", record, b"", 0)
    verdict = conserve([sent()], recorder.arrivals())
    assert endpoint == "/import"
    assert verdict.duplicates == 1


def test_numbers_are_complete_when_each_arrived_and_no_other() -> None:
    def numbers(*values: int) -> Arrivals:
        return Arrivals(records=[(value.to_bytes(16, "big"), b"", 1, 1) for value in values])

    assert is_complete(numbers(0, 1, 2), 3)
    assert not is_complete(numbers(0, 2), 3)
    assert not is_complete(numbers(0, 1, 2, 3), 3)
