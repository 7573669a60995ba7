"""The checks of the fuzzer on damaged copies of real events; the fuzzer itself is ``make fuzz``."""

import json
import random

import pytest

from gateway.events import decode
from gateway.ingest.syft import decode_upload
from tests.fuzz.checks import check_body, check_inputs, check_records
from tests.support.decoding import shares_contexts
from tests.support.paths import TESTS

VECTORS = TESTS / "vectors"
CASES = json.loads((VECTORS / "syft.json").read_bytes())
EVENTS = [json.dumps(case["input"]).encode() for case in CASES]
CONTEXT = {"library": {"name": "analytics-kotlin", "version": "1.19.1"}}
BATCHES = [
    json.dumps({"batch": [{"context": CONTEXT, **case["input"]}] * 3}).encode() for case in CASES
]
RECORDS = [
    b'[{"event":"E","properties":{"token":"T","time":1699999999.25,"distinct_id":"$device:u",'
    b'"$insert_id":"0123456789abcdef","n":1.50,"l":[1,{"a":"\\u00e9"}]}}]',
    b'{"event":"E","properties":{"token":"T","time":"1699999999","ip":null},'
    b'"$mp_metadata":{"$mp_event_id":"0123456789abcdef"}}',
    b'[{"$token":"T","$distinct_id":"u","$add":{"n":1}},{"$token":"T","$group_key":"k",'
    b'"$group_id":"i","$union":{"l":["a"]}}]',
]
SNIPPETS = [b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"\n", b"\x00", b"\xff", b"\\ud800",
            b"\\u0022", b"null", b"-", b"1e9", b'{"a":1}', b'"id":']  # fmt: skip


def damaged(event: bytes, rng: random.Random) -> bytes:
    body = bytearray(event)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(body) + 1)
        match rng.randrange(4):
            case 0:
                body[place:place] = rng.choice(SNIPPETS)
            case 1:
                del body[place : place + rng.randint(1, 8)]
            case 2:
                body[place : place + 1] = rng.randbytes(1)
            case _:
                other = rng.choice(EVENTS)
                start = rng.randrange(len(other))
                body[place:place] = other[start : start + rng.randint(1, 40)]
    return bytes(body)


@pytest.mark.parametrize("seed", range(8))
def test_damaged_events_give_good_records_or_a_clear_rejection(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(500):
        body = damaged(rng.choice(rng.choice((EVENTS, BATCHES))), rng)
        check_inputs(body)
        check_body(body)


@pytest.mark.parametrize("seed", range(8))
def test_damaged_records_are_good_or_clearly_rejected(seed: int) -> None:
    rng = random.Random(seed)
    assert sum(check_records(damaged(rng.choice(RECORDS), rng)) for _ in range(500)) > 40


@pytest.mark.parametrize("seed", range(4))
def test_damaged_uploads_of_syft_do_so_too(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(500):
        event = rng.choice(EVENTS)
        upload = rng.choice((b'{"events":[%b],"version":"1","userAgentData":"M"}', b"[%b]")) % event
        check_body(damaged(upload.replace(b'"event"', b'"eventName"'), rng), decode_upload)


def test_undamaged_events_give_records() -> None:
    assert sum(check_body(event) for event in EVENTS) > 2 * len(EVENTS)


def test_batches_that_repeat_a_context_are_checked_as_such() -> None:
    received = [decode(batch) for batch in BATCHES]

    assert sum(map(shares_contexts, received)) > len(BATCHES) / 2
    for batch, event in zip(BATCHES, EVENTS, strict=True):
        assert check_body(batch) == 3 * check_body(event)
