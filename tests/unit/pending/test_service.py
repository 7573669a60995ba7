"""Setting pending records aside, on the real spool."""

import json
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from gateway.cli.pending.look import summary_of
from gateway.errors import SpoolUnavailable
from gateway.model import Entry, Queue
from gateway.pending import MergedPending, Pending, RetryRequest, SetAsideReport, SetAsideRequest
from gateway.pending.choice import Ids
from gateway.pending.service import Hands
from gateway.spool.dead_letters import LetterLimits, Replacement
from gateway.spool.pending import PendingFilter
from tests.support.leases import Listener
from tests.support.letters import (
    IMPORT,
    ManualClock,
    assert_proven,
    records_of,
    spool_in,
    sql,
    stored,
)
from tests.support.letters import Hands as Spool

ENGAGE = Queue("mixpanel", "engage")
OTHER = Queue("other", "import")
EVERYTHING = PendingFilter()


def record(number: int, event: str = "Seen", token: str = "t1", **properties: Any) -> bytes:
    return json.dumps(
        {"event": event, "properties": {"token": token, "n": number, **properties}}
    ).encode()


def update(number: int, token: str = "t1", **members: Any) -> bytes:
    named = {f"${name}": value for name, value in members.items()}
    return json.dumps({"$token": token, "$distinct_id": f"u{number}", **named}).encode()


async def append(spool: Spool, *records: bytes, queue: Queue = IMPORT) -> None:
    lines = b"".join(each + b"\n" for each in records)
    await spool.append([Entry(queue, lines, len(records))])


def of(spool: Spool) -> Pending:
    return Pending(spool.pending, spool.clock)


async def set_aside(
    pending: Pending | MergedPending, wanted: PendingFilter = EVERYTHING, **request: Any
) -> list[SetAsideReport]:
    """Set everything aside that is meant, batch by batch."""
    reports = []
    after: str | None = ""
    while after is not None:
        reports.append(
            await pending.set_aside(SetAsideRequest(filter=wanted, after=after, **request))
        )
        after = reports[-1].next
        wanted = msgspec.structs.replace(wanted, up_to=reports[-1].up_to)
    return reports


async def waiting(spool: Spool, *queues: Queue) -> list[Any]:
    return [json.loads(each) for each in await records_of(spool, queues or (IMPORT,))]


async def letters(spool: Spool) -> list[Any]:
    return [json.loads(each.letter.payload) for each in await stored(spool)]


async def test_what_is_set_aside_is_a_dead_letter_that_says_so(tmp_path: Path) -> None:
    async with spool_in(tmp_path) as spool:
        await append(spool, record(1), record(2))
        spool.clock.ms += 5000
        (report, end) = await set_aside(of(spool))
        assert (report.set_aside, report.left, report.problem) == (2, 0, "")
        assert end.next is None
        assert report.bytes == len(record(1)) + len(record(2)) + 2
        assert await waiting(spool) == []
        first, second = await stored(spool)
        assert first.letter.queue == second.letter.queue == IMPORT
        assert (first.letter.kind, first.letter.reason) == ("record", "set_aside")
        assert "accepted 2023-11-14T22:13:20.000Z" in first.letter.detail
        assert (first.letter.payload, second.letter.payload) == (record(1), record(2))
        ledger = spool.ledger()["mixpanel"]
        assert (ledger.accepted, ledger.dead_lettered, ledger.pending) == (2, 2, 0)
        await assert_proven(spool)


async def test_rest_of_a_chunk_stays_in_its_order_and_keeps_its_age(tmp_path: Path) -> None:
    async with spool_in(tmp_path) as spool:
        await append(spool, *(record(n, "Bad" if n % 3 else "Good") for n in range(9)))
        before = spool.queues()[IMPORT].oldest_ms
        spool.clock.ms += 60_000
        await append(spool, record(9, "Good"), record(10, "Bad"))
        await set_aside(of(spool), PendingFilter(event="Bad"))
        assert [each["properties"]["n"] for each in await waiting(spool)] == [0, 3, 6, 9]
        assert spool.queues()[IMPORT].oldest_ms == before
        assert spool.queues()[IMPORT].chunks == 2
        await assert_proven(spool)


FILTERS = [
    (EVERYTHING, {0, 1, 2, 3, 4, 5, 6, 7}),
    (PendingFilter(destination="mixpanel"), {0, 1, 2, 3, 4, 5, 6}),
    (PendingFilter(destination="other"), {7}),
    (PendingFilter(destination="gone"), set()),
    (PendingFilter(endpoint="engage"), {4, 5, 6}),
    (PendingFilter(destination="other", endpoint="engage"), set()),
    (PendingFilter(event="Bad"), {1, 7}),
    (PendingFilter(event="Bad \N{GRINNING FACE}"), {2}),
    (PendingFilter(token="t2"), {3, 5}),
    (PendingFilter(token="t2", event="Seen"), {3}),
    (PendingFilter(source="shop"), {3, 6}),
    (PendingFilter(since_ms=1_700_000_060_000), {4, 5, 6, 7}),
    (PendingFilter(until_ms=1_700_000_060_000), {0, 1, 2, 3}),
    (PendingFilter(since_ms=1_700_000_060_000, until_ms=1_700_000_060_000), set()),
    (PendingFilter(up_to="1"), {0, 1, 2, 3}),
    (PendingFilter(ids=("1",)), {0, 1, 2, 3}),
    (PendingFilter(ids=("1",), event="Bad"), {1}),
    (PendingFilter(ids=("99", "2")), {4, 5, 6}),
    (PendingFilter(ids=("1.000000000000",)), set()),
]


@pytest.mark.parametrize(("wanted", "expected"), FILTERS)
async def test_filter_means_the_same_to_every_command(
    tmp_path: Path, wanted: PendingFilter, expected: set[int]
) -> None:
    everything = {
        0: record(0),
        1: record(1, "Bad"),
        2: record(2, "Bad \N{GRINNING FACE}"),
        3: record(3, token="t2", syft_source_name="shop"),
        4: update(4, add={"n": 4}),
        5: update(5, token="t2", set={"n": 5}),
        6: update(6, set={"segment_source_name": "shop"}),
        7: record(7, "Bad", "t1"),
    }
    async with spool_in(tmp_path) as spool:
        await append(spool, *(everything[n] for n in range(4)))
        spool.clock.ms += 60_000
        await append(spool, *(everything[n] for n in range(4, 7)), queue=ENGAGE)
        await append(spool, everything[7], queue=OTHER)
        pending = of(spool)
        texts = [everything[n] for n in sorted(expected)]

        summary = await pending.summary(wanted)
        assert sum(group.records for group in summary.groups) == len(expected)
        assert sum(group.bytes for group in summary.groups) == sum(len(each) + 1 for each in texts)
        page = await pending.page(wanted)
        shown = [bytes(each.payload) for each in page.records]
        assert [json.loads(each) for each in shown] == [json.loads(each) for each in texts]
        would = await set_aside(pending, wanted, dry_run=True)
        assert sum(report.set_aside for report in would) == len(expected)
        assert await letters(spool) == []
        done = await set_aside(pending, wanted)
        assert sum(report.set_aside for report in done) == len(expected)
        assert sorted(map(json.dumps, await letters(spool))) == sorted(
            json.dumps(json.loads(each)) for each in texts
        )
        await assert_proven(spool)


async def test_id_means_the_same_record_after_others_of_its_chunk_have_gone(tmp_path: Path) -> None:
    async with spool_in(tmp_path) as spool:
        await append(spool, *(record(n) for n in range(5)))
        pending = of(spool)
        ids = [each.id for each in (await pending.page(EVERYTHING)).records]
        assert len(set(ids)) == 5
        await set_aside(pending, PendingFilter(ids=(ids[0], ids[2])))
        # Again, as after a crash, it finds nothing more; and the others are still called the same.
        again = await set_aside(pending, PendingFilter(ids=(ids[0], ids[2])))
        assert sum(report.set_aside for report in again) == 0
        assert [each.id for each in (await pending.page(EVERYTHING)).records] == [
            *(ids[1], ids[3], ids[4])
        ]
        await set_aside(pending, PendingFilter(ids=(ids[4],)))
        assert [each["properties"]["n"] for each in await waiting(spool)] == [1, 3]


@pytest.mark.parametrize("text", ["", "x", "1.", "1.g", "-1", "1.0123456789abc", "1,2", "9" * 81])
def test_what_is_no_id_is_said(text: str) -> None:
    with pytest.raises(msgspec.ValidationError, match="not an id of a pending record"):
        Ids([text])


async def test_what_is_no_id_of_this_storage_is_said(tmp_path: Path) -> None:
    async with spool_in(tmp_path) as spool:
        for wanted in (PendingFilter(ids=("9" * 19,)), PendingFilter(up_to="x")):
            with pytest.raises(msgspec.ValidationError, match="not an id"):
                await of(spool).page(wanted)
        with pytest.raises(msgspec.ValidationError, match="after"):
            await of(spool).page(EVERYTHING, after="-1")


async def test_limit_takes_the_oldest(tmp_path: Path) -> None:
    async with spool_in(tmp_path) as spool:
        await append(spool, record(0), record(1))
        await append(spool, record(2), record(3))
        report = await of(spool).set_aside(SetAsideRequest(limit=3))
        assert report.set_aside == 3
        assert [each["properties"]["n"] for each in await waiting(spool)] == [3]
        await assert_proven(spool)


async def test_records_that_cannot_be_read_are_meant_by_no_name_and_can_be_set_aside(
    tmp_path: Path,
) -> None:
    async with spool_in(tmp_path) as spool:
        odd = [b"[1]", b'"text"', b'{"event":5,"properties":[]}', b"\xff", b"[" * 5000, b"{}"]
        await append(spool, *odd)
        pending = of(spool)
        for wanted in (
            PendingFilter(event="5"),
            PendingFilter(token="t"),
            PendingFilter(source=""),
        ):
            assert (await pending.summary(wanted)).groups == []
        assert len((await pending.page(EVERYTHING)).records) == 6
        (report, _) = await set_aside(pending)
        assert report.set_aside == 6
        assert [each.letter.payload for each in await stored(spool)] == odd
        await assert_proven(spool)


async def test_large_backlog_is_set_aside_in_bounded_batches(tmp_path: Path) -> None:
    async with spool_in(tmp_path) as spool:
        for start in range(0, 9000, 1500):
            names = ("Good", "Bad")
            await append(spool, *(record(n, names[n % 2]) for n in range(start, start + 1500)))
        for n in range(9000, 9300):
            await append(spool, record(n, "Bad" if n % 2 else "Good"), queue=ENGAGE)
        reports = await set_aside(of(spool), PendingFilter(event="Bad"))
        assert sum(report.set_aside for report in reports) == 4650
        assert max(report.set_aside for report in reports) <= 2000
        left = await waiting(spool, IMPORT, ENGAGE)
        assert {each["event"] for each in left} == {"Good"}
        assert [each["properties"]["n"] for each in left] == list(range(0, 9300, 2))
        await assert_proven(spool)


async def test_what_comes_meanwhile_is_not_met(tmp_path: Path) -> None:
    async with spool_in(tmp_path) as spool:
        await append(spool, record(0))
        pending = of(spool)
        up_to = (await pending.summary(EVERYTHING)).up_to
        await append(spool, record(1))
        await set_aside(pending, PendingFilter(up_to=up_to))
        assert [each["properties"]["n"] for each in await waiting(spool)] == [1]


async def test_dead_letters_that_would_be_dropped_for_it_stop_it(tmp_path: Path) -> None:
    """What is set aside must not push older dead letters out, or itself."""
    size = len(record(10)) + 100 + 256
    async with spool_in(tmp_path, limits=LetterLimits(max_bytes=15 * size)) as spool:
        for n in range(10, 40):
            await append(spool, record(n))
        reports = await set_aside(of(spool), limit=5)
        assert "spool.dead_letter_max_bytes" in reports[-1].problem
        done = sum(report.set_aside for report in reports)
        assert 5 <= done < 30
        assert len(await letters(spool)) == done
        assert len(await waiting(spool)) == 30 - done
        assert spool.ledger()["mixpanel"].dropped == 0
        await assert_proven(spool)


async def test_spool_without_room_sets_nothing_aside(tmp_path: Path) -> None:
    async with spool_in(tmp_path, max_bytes=64 * 1024) as spool:
        large = (record(n, text=str(Random(n).randbytes(20_000))) for n in range(3))
        await append(spool, record(4, "Small"), *large)
        with pytest.raises(SpoolUnavailable, match="full"):
            await append(spool, record(3))
        before = len(await waiting(spool))
        with pytest.raises(SpoolUnavailable, match="full"):
            await set_aside(of(spool), limit=1, wanted=PendingFilter(event="Small"))
        assert len(await waiting(spool)) == before
        await assert_proven(spool)


async def test_chunk_in_a_request_is_left(tmp_path: Path) -> None:
    recalled: list[Queue] = []
    async with spool_in(tmp_path) as spool:
        for queue in (IMPORT, ENGAGE):
            spool.outlet(queue).attach(Listener(queue, recalled=recalled.append))
        await append(spool, record(0), record(1))
        await append(spool, record(2))
        await append(spool, update(3), queue=ENGAGE)
        lease = await spool.outlet(IMPORT).take(2, 1)
        assert lease is not None
        assert [chunk.id for chunk in lease.chunks] == [1]
        (report, _) = await set_aside(of(spool))
        assert (report.set_aside, report.left) == (2, 2)
        assert list(dict.fromkeys(recalled)) == [ENGAGE, IMPORT]
        assert [each["properties"]["n"] for each in await waiting(spool)] == [0, 1]
        await assert_proven(spool)


async def test_delivery_is_not_disturbed_for_what_is_not_there(tmp_path: Path) -> None:
    def recalled(queue: Queue) -> None:
        raise AssertionError("nothing is to be done")

    async with spool_in(tmp_path) as spool:
        spool.outlet(IMPORT).attach(Listener(IMPORT, recalled=recalled))
        await append(spool, record(0))
        await set_aside(of(spool), PendingFilter(event="Other"))
        assert len(await waiting(spool)) == 1


async def test_state_of_the_endpoints_is_shown(tmp_path: Path) -> None:
    paused = {"state": "paused", "detail": "credentials refused", "next_attempt_in_s": 61.5}
    hurried: list[Queue] = []
    async with spool_in(tmp_path) as spool:
        await append(spool, record(0))
        await append(spool, record(1), queue=OTHER)
        hands = Hands(
            state="not_configured",
            status=lambda: {"mixpanel": {"import": paused}},
            hurry=hurried.append,
        )
        pending = Pending(spool.pending, spool.clock, hands)
        spool.clock.ms += 1500
        groups = (await pending.summary(EVERYTHING)).groups
        states = {group.destination: (group.state, group.detail) for group in groups}
        assert states == {
            "mixpanel": ("paused", "credentials refused"),
            "other": ("not_configured", ""),
        }
        assert {group.oldest_age_s for group in groups} == {1.5}
        assert (await pending.retry(RetryRequest(endpoint="engage"))).retried == []
        (retried,) = (await pending.retry(RetryRequest())).retried
        assert (retried.destination, retried.state, retried.records) == ("mixpanel", "paused", 1)
        assert hurried == [IMPORT]


async def test_clock_that_was_set_back_shows_no_negative_age(tmp_path: Path) -> None:
    async with spool_in(tmp_path) as spool:
        await append(spool, record(0))
        spool.clock.ms -= 3_600_000
        (group,) = (await of(spool).summary(EVERYTHING)).groups
        assert group.oldest_age_s == 0


async def test_damaged_chunk_is_counted_and_the_others_are_set_aside(tmp_path: Path) -> None:
    async with spool_in(tmp_path) as spool:
        await append(spool, record(0))
        await append(spool, record(1))
        sql(tmp_path, "UPDATE chunks SET payload = zeroblob(20) WHERE id = 1")
        await set_aside(of(spool))
        assert [each["properties"]["n"] for each in await letters(spool)] == [1]
        assert spool.ledger()["mixpanel"].lost == 1
        assert await waiting(spool) == []


async def test_records_of_several_files_are_told_apart(tmp_path: Path) -> None:
    async with (
        spool_in(tmp_path, name="worker-0") as first,
        spool_in(tmp_path, name="worker-2") as second,
    ):
        for n in range(3):
            await append(first, record(n))
            await append(second, record(10 + n))
        members = [Pending(spool.pending, ManualClock()) for spool in (first, second)]
        pending = MergedPending(members, is_delivered=False)
        (group,) = (await summary_of(pending, EVERYTHING)).groups
        assert group.records == 6
        ids: list[str] = []
        after: str | None = ""
        while after is not None:
            page = await pending.page(EVERYTHING, after=after)
            ids += [each.id for each in page.records]
            after = page.next
        assert [text.partition(".")[0] for text in ids] == [
            *("1", "2", "3", "2000000000001", "2000000000002", "2000000000003")
        ]
        await set_aside(pending, PendingFilter(ids=(ids[1], ids[4])))
        assert [each["properties"]["n"] for each in await letters(first)] == [1]
        assert [each["properties"]["n"] for each in await letters(second)] == [11]
        for spool in (first, second):
            assert len(await waiting(spool)) == 2
            assert spool.ledger()["mixpanel"].gap == 0


async def test_random_commands_keep_the_ledger_exact(tmp_path: Path) -> None:
    """Whatever is set aside and replayed in whatever order, each record is in one place."""
    rng = Random(7)
    async with spool_in(tmp_path) as spool:
        pending = of(spool)
        count = 0
        for _ in range(60):
            match rng.randrange(4):
                case 0 | 1:
                    more = rng.randint(1, 6)
                    names = [rng.choice("abc") for _ in range(more)]
                    queue = rng.choice((IMPORT, ENGAGE))
                    await append(
                        spool, *(record(count + i, n) for i, n in enumerate(names)), queue=queue
                    )
                    count += more
                case 2:
                    wanted = PendingFilter(event=rng.choice([*"abc", None]))
                    await pending.set_aside(
                        SetAsideRequest(filter=wanted, limit=rng.choice([1, 2, 2000]))
                    )
                case _:
                    some = [each for each in await stored(spool) if rng.random() < 0.5]
                    await spool.dead_letters.replay(
                        [
                            Replacement(
                                each.id,
                                [Entry(each.letter.queue, each.letter.payload + b"\n", 1)],
                            )
                            for each in some
                        ]
                    )
            await assert_proven(spool)
            everywhere = await waiting(spool, IMPORT, ENGAGE) + await letters(spool)
            numbers = Counter(each["properties"]["n"] for each in everywhere)
            assert numbers == Counter(range(count))
