"""Replaying and purging dead letters: real spool, real mapping, no network."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.config import (
    Config,
    DestinationConfig,
    DestinationSettings,
    Secret,
    SourceConfig,
    SubscriptionConfig,
)
from gateway.dead_letters import DeadLetters, Edit, PurgeRequest, ReplayRequest, service
from gateway.events import decode
from gateway.mapping import Mapper, Remap
from gateway.model import DeadLetter, Ledger, Queue
from gateway.pipeline import Pipeline
from gateway.spool.dead_letters import Filter
from tests.support.letters import (
    EVERYTHING,
    IMPORT,
    Hands,
    assert_proven,
    record_letter,
    records_of,
    spool_in,
    sql,
    stored,
)

QUEUES = [Queue("mixpanel", endpoint) for endpoint in ("import", "engage", "groups")]
SOURCE = SourceConfig(name="sdk", write_key=Secret("key-of-the-test-source"))


def destination(*subscriptions: SubscriptionConfig, **options: Any) -> DestinationConfig:
    return DestinationConfig(
        name="mixpanel",
        settings=DestinationSettings(projectToken="TOKEN"),
        subscriptions=subscriptions,
        **options,
    )


RIGHT = destination()
WRONG = destination(
    SubscriptionConfig(
        subscribe='type = "track"',
        action="trackEvent",
        mapping={"event": "$.properties.no_such_member"},
    ),
    presets=False,
)
ONE_TO_MANY = destination(
    SubscriptionConfig(subscribe='type = "track"', action="trackEvent", mapping={"event": "A"}),
    SubscriptionConfig(subscribe='type = "track"', action="trackEvent", mapping={"event": "B"}),
    presets=False,
)


def letters_of(spool: Hands, config: DestinationConfig = RIGHT) -> DeadLetters:
    return DeadLetters(spool.dead_letters, Remap([config]), destinations=[config.name])


async def accept(
    spool: Hands, body: object, config: DestinationConfig, *, client_ip: str | None = "192.0.2.7"
) -> None:
    """Take a request as the gateway does."""
    configuration = Config(sources=(SOURCE,), destinations=(config,))
    mapper = Mapper(configuration.destinations, spool.telemetry)
    pipeline = Pipeline(configuration, mapper, spool, spool.clock, spool.telemetry)
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    await pipeline.accept(
        SOURCE, decode(text), default_type="track", client_ip=client_ip, is_retry=False
    )


async def replay_all(
    letters: DeadLetters, wanted: Filter = EVERYTHING, **options: Any
) -> list[msgspec.Struct]:
    """Replay batch after batch; return the problems."""
    problems: list[Any] = []
    request = ReplayRequest(filter=wanted, **options)
    while True:
        report = await letters.replay(request)
        problems += report.problems
        if report.next is None:
            return problems
        request = msgspec.structs.replace(
            request,
            after=report.next,
            filter=msgspec.structs.replace(wanted, up_to=report.up_to),
        )


@pytest.fixture
async def spool(tmp_path: Path) -> AsyncIterator[Hands]:
    async with spool_in(tmp_path / "spool") as opened:
        yield opened


TIMES = {"sentAt": "2023-11-14T22:10:00Z", "timestamp": "2023-11-14T22:09:59.5Z"}
EVENTS: Sequence[Mapping[str, Any]] = [
    {"event": "A", "userId": "u", "messageId": "m1", "properties": {"n": 1.10, "s": "é\n"}},
    {"event": "B", "anonymousId": "a", "messageId": "m2", **TIMES, "odd": {"x": [1, {}]}},
    {"event": "C", "userId": 5, "messageId": {"odd": 1}, "context": {"ip": "198.51.100.4"}},
    {"event": "D", "originalTimestamp": "2023-11-14T21:00:00Z", "timestamp": "no time"},
    {
        "event": "Order Completed",
        "userId": "u",
        "messageId": "9" * 80,
        "properties": {"products": [{"sku": "1", "price": 2}, {"sku": "2"}], "revenue": 12},
    },
]


@pytest.mark.parametrize("has_moved_on", [False, True])
async def test_replay_under_a_mended_mapping_makes_what_would_have_arrived_at_first(
    tmp_path: Path, has_moved_on: bool
) -> None:
    batch = {"batch": EVENTS, "context": {"app": {"name": "x"}}, "sentAt": "2023-11-14T22:13:00Z"}
    body = json.dumps(batch).encode()
    async with spool_in(tmp_path / "other") as other:
        await accept(other, body, RIGHT)
        expected = await records_of(other, QUEUES)
    async with spool_in(tmp_path / "spool") as spool:
        await accept(spool, body, WRONG)
        assert await records_of(spool, QUEUES) == []
        assert spool.ledger()["mixpanel"].dead_lettered == len(EVENTS)
        if has_moved_on:
            spool.clock.ms += 3 * 86_400_000
        assert await replay_all(letters_of(spool)) == []
        records = await records_of(spool, QUEUES)
        ids = ("$insert_id",)  # of those without a message id they are random
        assert [without(record, ids) for record in records] == [
            without(record, ids) for record in expected
        ]
        assert len(records) == len(EVENTS) + 2
        assert spool.ledger()["mixpanel"] == Ledger(
            accepted=len(records), pending=len(records), replayed=len(EVENTS)
        )
        await assert_proven(spool)
        assert await replay_all(letters_of(spool)) == []
        assert await records_of(spool, QUEUES) == records


def without(record: bytes, members: Sequence[str]) -> Any:
    value = json.loads(record)
    given = value.get("properties", {})
    for member in members:
        if not str(given.get(member, "")).startswith(("m1", "m2")):
            given.pop(member, None)
    return value


async def test_event_that_became_nothing_again_stays_as_it_is_and_is_told(spool: Hands) -> None:
    await accept(spool, {"userId": "u", "messageId": "m"}, RIGHT)
    await accept(spool, {"batch": [5, {"type": "identify", "messageId": "n"}]}, RIGHT)
    before = await stored(spool)
    problems = await replay_all(letters_of(spool))
    assert [(each.id, each.reason) for each in problems] == [  # type: ignore[attr-defined]
        ("1", "missing_event_name"),
        ("2", "not_an_object"),
        ("3", "missing_id"),
    ]
    (nothing,) = (await letters_of(spool, ONE_TO_MANY).replay(of_ids("3"))).problems
    assert (nothing.reason, nothing.detail) == (
        "no_subscription",
        "the current mapping makes nothing of it",
    )
    assert await stored(spool) == before
    assert spool.ledger()["mixpanel"] == Ledger(accepted=3, dead_lettered=3)
    await assert_proven(spool)


def of_ids(*ids: str, **options: Any) -> ReplayRequest:
    return ReplayRequest(filter=Filter(ids=ids), **options)


async def test_event_that_becomes_several_records_counts_them_as_accepted(spool: Hands) -> None:
    await accept(spool, {"event": "X", "userId": "u"}, WRONG)
    report = await letters_of(spool, ONE_TO_MANY).replay(of_ids("1"))
    assert (report.replayed, report.records) == (1, 2)
    assert spool.ledger()["mixpanel"] == Ledger(accepted=2, pending=2, replayed=1)


async def test_dry_run_says_what_would_become_and_changes_nothing(spool: Hands) -> None:
    await accept(spool, {"batch": [*EVENTS, {"event": "E", "messageId": "m9"}]}, WRONG)
    await spool.append([], [record_letter("r")])
    before, ledger = await stored(spool), spool.ledger()
    would = await letters_of(spool).replay(ReplayRequest(dry_run=True))
    assert (await stored(spool), spool.ledger()) == (before, ledger)
    assert would.next == before[-1].id
    did = await letters_of(spool).replay(ReplayRequest())
    assert (would.replayed, would.records) == (did.replayed, did.records)
    told = {(made.endpoint, bytes(made.record)) for each in would.would for made in each.made}
    made = {(queue.endpoint, line) for queue in QUEUES for line in await records_of(spool, [queue])}
    assert told == made


async def test_record_is_sent_again_as_it_is_or_as_edited(spool: Hands) -> None:
    await spool.append([], [record_letter("a"), record_letter("b"), record_letter("c")])
    letters = letters_of(spool)
    edits = (
        Edit(id=2, payload=msgspec.Raw(b'{\n "n": "edited" }')),
        Edit(id=3, payload=msgspec.Raw(b"[1]")),
        Edit(id=99, payload=msgspec.Raw(b"{}")),
    )
    report = await letters.replay(ReplayRequest(edits=edits))
    assert (report.replayed, report.missing, report.next) == (1, 1, None)
    assert [(each.id, each.reason) for each in report.problems] == [("3", "not_an_object")]
    assert await replay_all(letters) == []
    assert await records_of(spool) == [b'{"n":"edited"}', b'{"n":"a"}', b'{"n":"c"}']
    await assert_proven(spool)


@pytest.mark.parametrize(
    ("edited", "expected"),
    [
        (b'{"type":"track","event":"Mended","userId":"u"}', ["Mended"]),
        (b'{"type":"track","event":"A"}', ["A"]),
        (b'{"element":{"type":"track","event":"A"}}', "not_an_object"),
        (b'{"type":"track"}', "missing_event_name"),
        (b'"text"', "malformed"),
        (b"[" * 2000 + b"]" * 2000, "malformed"),
    ],
)
async def test_event_is_mapped_as_edited(spool: Hands, edited: bytes, expected: object) -> None:
    await accept(spool, {"batch": [7]}, RIGHT)
    report = await letters_of(spool).replay(
        ReplayRequest(edits=(Edit(id=1, payload=msgspec.Raw(edited)),))
    )
    names = [json.loads(record)["event"] for record in await records_of(spool)]
    assert (names or report.problems[0].reason) == expected


async def test_damaged_letter_is_never_sent(spool: Hands, tmp_path: Path) -> None:
    await spool.append([], [record_letter("a"), record_letter("b")])
    sql(tmp_path / "spool", "UPDATE dead_letters SET payload = X'7B7D' WHERE id = 1")
    report = await letters_of(spool).replay(ReplayRequest())
    assert (report.replayed, report.problems) == (1, [])
    assert await records_of(spool) == [b'{"n":"b"}']
    assert spool.ledger()["mixpanel"].lost == 1


async def test_nothing_is_replayed_for_a_destination_that_is_not_configured(spool: Hands) -> None:
    await spool.append([], [record_letter(queue=Queue("gone", "import"))])
    (problem,) = (await letters_of(spool).replay(ReplayRequest())).problems
    assert problem.reason == "no_destination"
    assert "gone" in problem.detail
    assert len(await stored(spool)) == 1


async def test_batch_is_bounded_by_letters_and_by_what_they_become(
    spool: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(9):
        await spool.append([], [record_letter(str(n) * 100)])
    letters = letters_of(spool)
    first = await letters.replay(ReplayRequest(limit=2))
    assert (first.replayed, first.next) == (2, "2")
    monkeypatch.setattr(service, "BATCH_BYTES", 250)
    second = await letters.replay(ReplayRequest(after="2", filter=Filter(up_to=first.up_to)))
    assert (second.replayed, second.next) == (2, "4")
    assert await replay_all(letters) == []
    assert len(await records_of(spool)) == 9


async def test_batch_ends_when_what_letters_become_is_too_large(
    spool: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = [{"event": "X", "userId": "u", "properties": {"text": "x" * 500}}] * 5
    await accept(spool, {"batch": events}, WRONG)
    size = sum(len(each.letter.payload) for each in await stored(spool))
    monkeypatch.setattr(service, "BATCH_BYTES", size)
    letters = letters_of(spool, ONE_TO_MANY)
    first = await letters.replay(ReplayRequest())
    assert 1 < first.replayed < len(events)
    assert first.next == str(first.replayed)
    assert await replay_all(letters) == []
    assert len(await records_of(spool)) == 2 * len(events)


async def test_records_refused_again_are_not_replayed_twice_by_one_command(spool: Hands) -> None:
    await spool.append([], [record_letter(n) for n in range(3)])
    letters = letters_of(spool)
    first = await letters.replay(ReplayRequest(limit=2))
    await spool.append([], [record_letter("refused again")])
    wanted = Filter(up_to=first.up_to)
    second = await letters.replay(ReplayRequest(filter=wanted, after=first.next or ""))
    assert (second.replayed, second.next) == (1, "3")
    third = await letters.replay(ReplayRequest(filter=wanted, after="3"))
    assert (third.replayed, third.next) == (0, None)
    assert len(await stored(spool)) == 1


async def test_two_replays_at_the_same_time_send_each_letter_once(spool: Hands) -> None:
    await spool.append([], [record_letter(n) for n in range(100)])
    letters = letters_of(spool)
    reports = await asyncio.gather(*(letters.replay(ReplayRequest()) for _ in range(3)))
    assert sum(report.replayed for report in reports) == 100
    records = await records_of(spool)
    assert len(records) == len(set(records)) == 100
    await assert_proven(spool)


async def test_purge_tells_first_and_deletes_batch_by_batch(spool: Hands) -> None:
    await spool.append([], [record_letter(n) for n in range(5)])
    await spool.append([], [record_letter(reason="other")])
    letters = letters_of(spool)
    wanted = Filter(reason="refused")
    would = await letters.purge(PurgeRequest(filter=wanted, dry_run=True))
    assert (would.purged, would.next, [group.letters for group in would.would]) == (5, None, [5])
    assert len(await stored(spool)) == 6
    first = await letters.purge(PurgeRequest(filter=wanted, limit=3))
    assert (first.purged, first.next) == (3, "3")
    second = await letters.purge(PurgeRequest(filter=wanted, after="3"))
    assert (second.purged, second.next) == (2, "5")
    assert [each.letter.reason for each in await stored(spool)] == ["other"]
    assert spool.ledger()["mixpanel"].purged == 5
    await assert_proven(spool)


async def test_letter_shows_text_that_is_no_json_as_text(spool: Hands) -> None:
    letter = DeadLetter(
        queue=IMPORT, kind="record", reason="r", detail="", payload=b'{"half": "\xff'
    )
    await spool.append([], [letter])
    shown = await letters_of(spool).get("1")
    assert shown is not None
    assert json.loads(msgspec.json.encode(shown))["payload"] == '{"half": "�'
    assert await letters_of(spool).get("2") is None


async def test_flood_of_rejected_events_counts_in_what_may_wait(tmp_path: Path) -> None:
    """Their bytes are those of any request: beyond the bound they are refused with a retry."""
    body = {"batch": [{"odd": "x" * 1000}] * 500}
    async with spool_in(tmp_path, max_waiting_bytes=1_000_000) as spool:
        results = await asyncio.gather(
            *(accept(spool, body, RIGHT) for _ in range(10)), return_exceptions=True
        )
        refused = [result for result in results if result is not None]
        assert 8 <= len(refused) <= 9
        assert len(await stored(spool)) == (10 - len(refused)) * 500
        await assert_proven(spool)
