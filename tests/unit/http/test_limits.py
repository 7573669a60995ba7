"""What requests may take: memory together, time and connections each."""

import asyncio
import gc
import gzip
import json
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.events.depth import MAX_DEPTH
from gateway.http.descriptors import connections_allowed
from gateway.http.memory_budget import Budget, MemoryLease
from gateway.http.protocol import Connection as ServerConnection
from gateway.model import DeadLetter, Entry
from gateway.spool.dead_letters import Filter
from gateway.spool.sqlite import SqliteSpool
from tests.support.processes import wait_for
from tests.support.serving import EVENT, KEY, Answer, Connection, Serving, message, serving

AUTH = {"X-Write-Key": KEY}
BODY_BYTES = 100_000
ROOM = 4 * BODY_BYTES


@asynccontextmanager
async def behind_proxy(tmp_path: Path) -> AsyncIterator[tuple[Serving, Connection, MemoryLease]]:
    """Yield a proxy's connection to a server that has no room, and what it is taken by."""
    room = serving(
        tmp_path,
        max_body_bytes=BODY_BYTES,
        max_bytes_in_flight=ROOM,
        trusted_proxies=["127.0.0.0/8"],
    )
    async with room as served, served.connection() as connection:
        others = served.ingest._budget.lease()
        assert others.resize(ROOM - 1000)
        yield served, connection, others


class TestBudget:
    def test_what_does_not_fit_is_refused_and_changes_nothing(self) -> None:
        budget = Budget(100)
        first, second = budget.lease(), budget.lease()
        assert first.resize(60)
        assert not second.resize(41)
        assert budget.used == 60
        assert second.resize(40)
        assert not second.resize(41)
        assert (budget.used, budget.arriving) == (100, 0)

    def test_request_that_is_alone_fits(self) -> None:
        budget = Budget(100)
        with budget.lease() as lease:
            assert lease.resize(1000, arriving=True)
            assert lease.resize(2000)
            assert not budget.lease().resize(1)
        assert (budget.used, budget.arriving) == (0, 0)

    def test_what_is_arriving_takes_half_at_most(self) -> None:
        budget = Budget(100)
        slow, late, whole = budget.lease(), budget.lease(), budget.lease()
        assert slow.resize(50, arriving=True)
        assert not late.resize(1, arriving=True)
        assert whole.resize(50)
        whole.release()
        assert slow.resize(50)
        assert late.resize(50, arriving=True)

    @given(
        st.lists(
            st.tuples(st.integers(0, 4), st.integers(-1, 70), st.booleans()),
            max_size=40,
        )
    )
    def test_what_is_used_is_what_the_leases_hold(self, steps: list[tuple[int, int, bool]]) -> None:
        budget = Budget(100)
        leases = [budget.lease() for _ in range(5)]
        held: dict[MemoryLease, tuple[int, int]] = {}
        for index, size, arriving in steps:
            lease = leases[index]
            if size < 0:
                lease.release()
                held.pop(lease, None)
            elif lease.resize(size, arriving=arriving):
                held[lease] = (size, size if arriving else 0)
            assert budget.used == sum(size for size, _ in held.values())
            assert budget.arriving == sum(size for _, size in held.values())
            assert budget.used <= 100
        for lease in leases:
            lease.release()
            lease.release()
        assert (budget.used, budget.arriving) == (0, 0)


@pytest.mark.parametrize(
    ("files", "connections"), [(1024, 768), (256, 128), (20_000, 16_384), (-1, 16_384)]
)
def test_some_descriptors_are_kept_for_other_things(files: int, connections: int) -> None:
    assert connections_allowed(files) == connections


class HeldSpool(SqliteSpool):
    """A spool whose appends wait until they are let go."""

    def append(self, entries: Sequence[Entry], dead: Sequence[DeadLetter] = ()) -> Awaitable[None]:
        return self._later(entries, dead)

    async def _later(self, entries: Sequence[Entry], dead: Sequence[DeadLetter]) -> None:
        self.held += 1
        await self.let_go.wait()
        await super().append(entries, dead)

    held = 0
    let_go: asyncio.Event


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Serving]:
    async with serving(
        tmp_path,
        spool_type=HeldSpool,
        max_body_bytes=BODY_BYTES,
        max_bytes_in_flight=ROOM,
    ) as running:
        assert isinstance(running.spool, HeldSpool)
        running.spool.let_go = asyncio.Event()
        yield running


def sized(size: int) -> bytes:
    event = EVENT[:-1] + b',"properties":{"x":"%b"}}'
    return event % (b"y" * (size - len(event) + 2))


def used(served: Serving) -> int:
    return served.ingest.status()["bytes_in_flight"]


def assert_sent_away(answer: Answer, code: str = "overloaded") -> None:
    assert (answer.status, answer.code) == (503, code)
    assert 1 <= int(answer.headers["Retry-After"]) <= 60


def held(served: Serving) -> int:
    assert isinstance(served.spool, HeldSpool)
    return served.spool.held


def let_go(served: Serving) -> None:
    assert isinstance(served.spool, HeldSpool)
    served.spool.let_go.set()


class TestRoom:
    async def fill(self, served: Serving) -> list[asyncio.Task[Answer]]:
        """Send requests that wait for the disk until one more would not fit."""
        sent = [asyncio.create_task(served.post("/v1/t", sized(90_000))) for _ in range(4)]
        await wait_for(lambda: held(served) == 4)
        assert used(served) >= 4 * 90_000
        return sent

    async def test_request_behind_another_one_that_does_not_fit_is_refused_after_its_answer(
        self, served: Serving
    ) -> None:
        waiting = await self.fill(served)
        async with served.connection() as connection:
            await connection.send(message("/v1/t", EVENT, AUTH))
            await wait_for(lambda: held(served) == 5)
            await connection.send(message("/v1/t", sized(90_000), AUTH))
            await asyncio.sleep(0.1)
            let_go(served)
            assert (await connection.answer()).status == 200
            assert_sent_away(await connection.answer())
            await connection.ended()
        assert {(await each).status for each in waiting} == {200}
        assert used(served) == 0
        assert len(await served.names()) == 5

    async def test_connection_of_a_refused_request_goes_on_when_its_body_has_come(
        self, served: Serving
    ) -> None:
        waiting = await self.fill(served)
        refused = message("/v1/t", sized(90_000), AUTH)
        async with served.connection() as connection:
            await connection.send(refused[:10_000])
            answer = await connection.answer()
            assert_sent_away(answer)
            assert answer.headers["Connection"] is None
            let_go(served)
            assert {(await each).status for each in waiting} == {200}
            await connection.send(refused[10_000:])
            await connection.send(message("/v1/t", EVENT, AUTH))
            assert (await connection.answer()).status == 200
        assert used(served) == 0
        assert await served.names() == ["E"] * 5

    async def test_refused_body_is_not_kept_until_the_next_request(self, served: Serving) -> None:
        waiting = await self.fill(served)
        async with served.connection() as connection:
            await connection.send(message("/v1/t", sized(90_000), AUTH))
            assert_sent_away(await connection.answer())
            kept = [
                (each._content, each._queued.size) for each in connections() if each._rests_until
            ]
            assert kept == [(None, 0)]
            let_go(served)
            assert {(await each).status for each in waiting} == {200}

    @pytest.mark.parametrize("size", [1000, 90_000])
    async def test_client_that_tries_again_at_once_costs_nothing_for_a_while(
        self, served: Serving, size: int
    ) -> None:
        waiting = await self.fill(served)
        async with served.connection() as connection:
            others = served.ingest._budget.lease()
            assert others.resize(ROOM - used(served) - 1000)
            await connection.send(message("/v1/t", sized(size), AUTH))
            assert_sent_away(await connection.answer())
            await connection.send(message("/v1/t", sized(size), AUTH))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.8):
                    await connection.answer()
            others.release()
            let_go(served)
            assert {(await each).status for each in waiting} == {200}
            assert (await connection.answer()).status == 200

    @pytest.mark.parametrize("size", [1000, 90_000])
    async def test_others_behind_the_same_proxy_do_not_wait_for_whom_was_sent_away(
        self, tmp_path: Path, size: int
    ) -> None:
        async with behind_proxy(tmp_path) as (served, connection, others):
            refused = message("/v1/t", sized(size), AUTH)
            await connection.send(refused[: size // 2])
            if size > 1000:  # its head says that it has no room
                assert_sent_away(await connection.answer())
            await connection.send(refused[size // 2 :])
            if size == 1000:
                assert_sent_away(await connection.answer())
            others.release()
            await connection.send(message("/v1/t", EVENT, AUTH))
            async with asyncio.timeout(0.5):
                assert (await connection.answer()).status == 200
            assert used(served) == 0

    async def test_only_what_was_sent_away_is_read_and_forgotten(self, tmp_path: Path) -> None:
        async with behind_proxy(tmp_path) as (_, connection, others):
            await connection.send(message("/v1/t", EVENT, AUTH))
            assert_sent_away(await connection.answer())
            others.release()
            await connection.send(message("/v1/t", sized(90_000), {"X-Write-Key": "wrong"})[:1000])
            answer = await connection.answer()
            assert (answer.status, answer.headers["Connection"]) == (401, "close")
            async with asyncio.timeout(1):
                assert await connection.rest() == b""

    async def test_refused_body_that_does_not_come_ends_its_connection(
        self, tmp_path: Path
    ) -> None:
        room = serving(
            tmp_path, max_body_bytes=BODY_BYTES, max_bytes_in_flight=ROOM, body_timeout_s=0.5
        )
        async with room as served, served.connection() as connection:
            others = served.ingest._budget.lease()
            assert others.resize(ROOM - 10_000)
            await connection.send(message("/v1/t", sized(90_000), AUTH)[:10_000])
            assert_sent_away(await connection.answer())
            assert await connection.rest() == b""
            others.release()
            assert used(served) == 0

    async def test_request_that_does_not_fit_is_refused_before_its_body(
        self, served: Serving
    ) -> None:
        waiting = await self.fill(served)
        headers = AUTH | {"Content-Length": "90000", "Expect": "100-continue"}
        answer = await served.exchange(message("/v1/t", headers=headers, has_length=False))
        assert_sent_away(answer)
        small = asyncio.create_task(served.post("/v1/t"))
        await wait_for(lambda: held(served) == 5)
        let_go(served)
        assert {(await each).status for each in (*waiting, small)} == {200}
        assert used(served) == 0
        assert served.telemetry.registry.get_sample_value(
            "gateway_refusals_total", {"reason": "memory"}
        )
        assert len(await served.names()) == 5

    async def test_chunked_body_is_refused_when_it_has_grown_too_large(
        self, served: Serving
    ) -> None:
        waiting = await self.fill(served)
        headers = AUTH | {"Transfer-Encoding": "chunked"}
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (90_000, sized(90_000))
        data = message("/v1/t", body, headers, has_length=False)
        assert_sent_away(await served.exchange(data))
        let_go(served)
        await asyncio.gather(*waiting)
        assert used(served) == 0

    async def test_inflated_bytes_count(self, served: Serving) -> None:
        waiting = await self.fill(served)
        body = gzip.compress(sized(90_000))
        assert len(body) < 1000
        assert_sent_away(await served.post("/v1/t", body, AUTH | {"Content-Encoding": "gzip"}))
        let_go(served)
        await asyncio.gather(*waiting)

    async def test_largest_body_passes_in_every_encoding_when_nothing_else_is_there(
        self, served: Serving
    ) -> None:
        let_go(served)
        body = sized(BODY_BYTES)
        assert (await served.post("/v1/t", body)).status == 200
        zipped = gzip.compress(body)
        assert (
            await served.post("/v1/t", zipped, AUTH | {"Content-Encoding": "gzip"})
        ).status == 200
        chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body[:5000]) + b"%x\r\n%b\r\n0\r\n\r\n"
        data = chunks % (BODY_BYTES - 5000, body[5000:])
        headers = AUTH | {"Transfer-Encoding": "chunked"}
        sent = await served.exchange(message("/v1/t", data, headers, has_length=False))
        assert sent.status == 200

    async def test_clients_that_vanish_give_everything_back(self, served: Serving) -> None:
        headers = AUTH | {"Content-Length": "90000"}
        for body in (b"", b"x" * 50_000):
            async with served.connection() as connection:
                await connection.send(message("/v1/t", body, headers, has_length=False))
                await wait_for(lambda: used(served) >= 90_000)
            await wait_for(lambda: used(served) == 0)
        async with served.connection() as connection:
            await connection.send(message("/v1/t", sized(90_000), AUTH))
            await wait_for(lambda: used(served) >= 90_000)
        let_go(served)
        await wait_for(lambda: used(served) == 0)
        assert served.ingest.status()["bodies_arriving"] == 0

    async def test_slow_bodies_leave_room_for_whole_ones_and_go_when_room_is_needed(
        self, served: Serving
    ) -> None:
        let_go(served)
        headers = AUTH | {"Content-Length": "90000"}
        slow = message("/v1/t", headers=headers, has_length=False)
        async with served.connection() as one, served.connection() as two:
            await one.send(slow)
            await two.send(slow)
            await wait_for(lambda: served.ingest.status()["bodies_arriving"] == 2)
            assert (await served.post("/v1/t")).status == 200
            # Its body comes in several packets, and the slow ones have all that such bodies get.
            began = time.monotonic()
            while (answer := await served.exchange(slow + sized(90_000))).status == 503:
                assert_sent_away(answer)
                await asyncio.sleep(0.1)
            assert answer.status == 200
            assert time.monotonic() - began < 4
            assert_sent_away(await one.answer(), "body_timeout")


async def test_small_bodies_that_inflate_to_large_ones_leave_others_their_turns(
    tmp_path: Path,
) -> None:
    number, slice_bytes = 40, 128 * 1024
    body = EVENT + b" " * (8 * slice_bytes - len(EVENT))
    zipped = message("/v1/t", gzip.compress(body), AUTH | {"Content-Encoding": "gzip"})
    async with serving(tmp_path) as served:
        sent = asyncio.gather(*(served.exchange(zipped) for _ in range(number)))
        turns = most = 0
        while not sent.done():
            await asyncio.sleep(0)
            turns += 1
            most = max(most, used(served))
        assert {answer.status for answer in await sent} == {200}

    assert turns > number * 6  # one slice of one of them in each, after two at once
    assert number * 2 * slice_bytes < most < number * 4 * slice_bytes  # which count


@pytest.mark.parametrize(
    "body",
    [
        b'{"batch":[' + b"{}," * 300_000 + b"{}]}",
        b'{"batch":[' + b"1," * 1_100_000 + b"1]}",
    ],
)
async def test_body_of_very_many_values_is_refused_before_it_is_decoded(
    tmp_path: Path, body: bytes
) -> None:
    async with serving(tmp_path) as served:
        headers = AUTH | {"Content-Encoding": "gzip"}
        answer = await served.post("/v1/batch", gzip.compress(body), headers)
        assert (answer.status, answer.code) == (400, "too_many_values")


@pytest.mark.parametrize("depth", [1_000, 10_000, 1_000_000])
async def test_json_nested_too_deep_is_refused(tmp_path: Path, depth: int) -> None:
    async with serving(tmp_path) as served:
        for inner in (b"[" * depth + b"]" * depth, b'{"a":' * depth + b"1" + b"}" * depth):
            body = EVENT[:-1] + b',"properties":{"a":%b}}' % inner
            if len(body) < 4_000_000:
                answer = await served.post("/v1/t", body)
                assert (answer.status, answer.code) == (400, "nested_too_deep")
        assert await served.still_works()


async def test_event_nested_too_deep_costs_no_other(tmp_path: Path) -> None:
    """Around the limit, too: what is decoded has to go all the way."""
    batch = (
        b'{"batch":[%b,{"type":"track","userId":"u","extra":1},'
        b'{"type":"track","event":"E","userId":"u","messageId":"m"}],"context":{"k":1}}'
    )
    async with serving(tmp_path) as served:
        depths = (*range(MAX_DEPTH - 5, MAX_DEPTH + 5), 100_000)
        for depth in depths:
            nested = b'{"a":' * depth + b"1" + b"}" * depth
            event = b'{"type":"track","userId":"\\u0075","writeKey":"%b","properties":%b}'
            answer = await served.post(body=batch % (event % (KEY.encode(), nested)))
            assert (answer.status, answer.body) == (200, b'{"success":true}'), depth
        assert await served.names() == ["E"] * len(depths)
        letters = await served.spool.dead_letters.page(Filter(), limit=1000, max_bytes=1 << 40)
        deep = [each.letter for each in letters if each.letter.reason == "nested_too_deep"]
        assert len(letters) == 2 * len(depths)
        assert len(deep) == sum(depth + 1 > MAX_DEPTH for depth in depths)
        for letter in deep:
            kept = json.loads(letter.payload)["nested_too_deep"]
            assert kept.startswith('{"type":"track","userId":"')
            assert kept.endswith("}" * MAX_DEPTH)
            assert KEY not in kept


@pytest.mark.parametrize(
    ("sent", "is_answered"),
    [
        (b"", False),
        (b"POST /v1/t HTTP/1.1\r\nX", False),
        (message("/v1/t", EVENT, AUTH), True),
        (message("/v1/t", EVENT, AUTH)[:-1], True),
        (message("/v1/t", EVENT, AUTH)[:-1], False),
        (b"POST /v1/t HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n \r\n", True),
        (b"POST /v1/t HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n \r\n", True),
        (b"POST /v1/t HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", True),
        (b"nonsense\r\n\r\n", True),
    ],
)
async def test_nothing_of_a_connection_is_left_to_the_garbage_collector(
    tmp_path: Path, sent: bytes, is_answered: bool
) -> None:
    """Thousands of them may end at once, and a collection of all that is theirs takes long."""

    async with serving(tmp_path, body_timeout_s=0.5) as served:
        gc.collect()
        gc.disable()
        try:
            for _ in range(3):
                async with served.connection() as connection:
                    await connection.send(sent)
                    if is_answered:
                        await connection.answer()
                    await wait_for(connections)
            await wait_for(lambda: not connections())
        finally:
            gc.enable()


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_what_arrives_at_once_is_counted_before_any_request_is_looked_at(
    tmp_path: Path, is_chunked: bool
) -> None:
    """An event loop reads from all sockets that have something, and thousands may have."""
    body = json.dumps({**json.loads(EVENT), "properties": {"text": "x" * BODY_BYTES}}).encode()
    whole = message("/v1/t", body, AUTH)
    head, rest = b"", whole
    if is_chunked:
        chunked = {**AUTH, "Transfer-Encoding": "chunked"}
        head = message("/v1/t", b"1\r\n \r\n", chunked, has_length=False)
        rest = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    room = serving(tmp_path, max_body_bytes=2 * BODY_BYTES, max_bytes_in_flight=8 * BODY_BYTES)
    async with room as served, AsyncExitStack() as opened:
        clients = [await opened.enter_async_context(served.connection()) for _ in range(20)]
        for client in clients if head else ():
            await client.send(head)
        await wait_for(lambda: len(connections()) == 20)
        await asyncio.sleep(0.1)  # their requests begin

        before = used(served)
        for connection in connections():  # in one turn of the loop
            connection.data_received(rest)
        assert before + BODY_BYTES < used(served) <= 8 * BODY_BYTES
        answers = [await client.answer() for client in clients]

        assert {answer.status for answer in answers} == {200, 503}
        refused = [answer for answer in answers if answer.status == 503]
        assert all(answer.headers["Retry-After"] for answer in refused)
        assert len(refused) >= 12
        for client in clients:
            await client.close()
        await wait_for(lambda: not used(served))


def connections() -> list[ServerConnection]:
    return [each for each in gc.get_objects() if type(each) is ServerConnection]


ENDS_A_MS = 4
"""Of connections that take too long; the work of more would be seen by others."""


class TestTime:
    HEADER_S = 1.0

    @pytest.fixture
    async def served(self, tmp_path: Path) -> AsyncIterator[Serving]:
        async with serving(tmp_path, header_timeout_s=self.HEADER_S) as running:
            yield running

    async def ended_in_time(self, connection: Connection) -> bytes:
        began = time.monotonic()
        left = await connection.ended()
        assert self.HEADER_S / 2 < time.monotonic() - began < 4 * self.HEADER_S + 2
        return left

    async def test_headers_have_to_end_in_time(self, served: Serving) -> None:
        async with served.connection() as connection:
            await connection.send(b"POST /v1/t HTTP/1.1\r\nHost: a\r\n")
            left = await self.ended_in_time(connection)
        assert left.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: " in left
        assert json.loads(left.partition(b"\r\n\r\n")[2])["code"] == "header_timeout"

    async def test_bytes_that_keep_coming_do_not_help(self, served: Serving) -> None:
        async with served.connection() as connection:

            async def trickle() -> None:
                for byte in b"POST /v1/t HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 1000:
                    await connection.send(bytes((byte,)))
                    await asyncio.sleep(0.05)

            trickling = asyncio.create_task(trickle())
            assert (await self.ended_in_time(connection)).startswith(b"HTTP/1.1 503 ")
            trickling.cancel()
            await asyncio.gather(trickling, return_exceptions=True)

    async def test_connection_that_says_nothing_is_closed(self, served: Serving) -> None:
        async with served.connection() as connection:
            assert await self.ended_in_time(connection) == b""

    async def test_later_requests_have_the_same_time_from_their_first_byte(
        self, served: Serving
    ) -> None:
        async with served.connection() as connection:
            for _ in range(2):
                await connection.send(message("/v1/t", EVENT, AUTH))
                assert (await connection.answer()).status == 200
                await asyncio.sleep(2 * self.HEADER_S)  # idle, which is allowed
            await connection.send(b"POST")
            assert (await self.ended_in_time(connection)).startswith(b"HTTP/1.1 503 ")

    async def test_slow_ones_that_came_together_are_ended_with_pauses(self, tmp_path: Path) -> None:
        number = 400
        slow = message("/v1/t", headers=AUTH | {"Content-Length": "1000"}, has_length=False)

        async def ended(served: Serving) -> float:
            async with served.connection() as connection:
                await connection.send(slow)
                assert_sent_away(await connection.answer(), "body_timeout")
                return time.monotonic()

        async with serving(tmp_path, body_timeout_s=1.0) as served:
            times = await asyncio.gather(*(ended(served) for _ in range(number)))

        assert max(times) - min(times) > number / ENDS_A_MS * 0.0009

    async def test_slow_bodies_are_cut_off_one_after_the_other_as_they_began(
        self, tmp_path: Path
    ) -> None:
        number, gap_s, body_s = 20, 0.02, 2.0
        slow = message("/v1/t", headers=AUTH | {"Content-Length": "1000"}, has_length=False)

        async def late(served: Serving) -> float:
            async with served.connection() as connection:
                await connection.send(slow)
                began = time.monotonic()
                assert_sent_away(await connection.answer(), "body_timeout")
                return time.monotonic() - began - body_s

        async with serving(tmp_path, body_timeout_s=body_s) as served:
            tasks = []
            for _ in range(number):
                tasks.append(asyncio.create_task(late(served)))
                await asyncio.sleep(gap_s)
            lates = await asyncio.gather(*tasks)

        # Were all looked at only once in a sweep, the first ones would wait for the last.
        assert max(lates) - min(lates) < number * gap_s / 2

    async def test_body_of_a_byte_now_and_then_is_cut_off(self, served: Serving) -> None:
        headers = AUTH | {"Content-Length": "1000"}
        async with served.connection() as connection:
            await connection.send(message("/v1/t", headers=headers, has_length=False))

            async def trickle() -> None:
                while True:
                    await connection.send(b" ")
                    await asyncio.sleep(0.2)

            trickling = asyncio.create_task(trickle())
            began = time.monotonic()
            answer = await connection.answer()
            assert 4 < time.monotonic() - began < 12  # long before body_timeout_s
            trickling.cancel()
            await asyncio.gather(trickling, return_exceptions=True)
        assert_sent_away(answer, "body_timeout")


class TestRefused:
    async def test_client_that_was_sent_away_is_not_read_for_a_while(self, tmp_path: Path) -> None:
        async with (
            serving(tmp_path, min_free_bytes=2**60) as served,
            served.connection() as connection,
        ):
            began = time.monotonic()
            for _ in range(3):
                await connection.send(message("/v1/t", EVENT, AUTH))
                assert_sent_away(await connection.answer(), "unavailable")
            assert time.monotonic() - began > 1.5
            assert (await served.post("/v1/t")).status == 503

    async def test_body_that_goes_on_after_a_refusal_is_not_read(self, tmp_path: Path) -> None:
        async with serving(tmp_path) as served:
            headers = {"X-Write-Key": "wrong", "Content-Length": "10000000000"}
            sent = 0
            async with served.connection() as connection:
                await connection.send(message("/v1/t", headers=headers, has_length=False))
                answer = await connection.answer()
                try:
                    while sent < 200 * 2**20:
                        await connection.send(bytes(65536))
                        sent += 65536
                except ConnectionError:
                    pass
            assert answer.status == 401
            assert sent < 16 * 2**20, "the buffers of the system, and a little more"
            assert await served.still_works()

    async def test_client_that_sends_first_and_reads_then_sees_the_refusal(
        self, tmp_path: Path
    ) -> None:
        async with serving(tmp_path) as served:
            answer = await served.post("/v1/t", sized(900_000), {"X-Write-Key": "wrong"})
            assert (answer.status, answer.headers["Connection"]) == (401, "close")

    async def test_head_that_is_too_large_is_refused(self, tmp_path: Path) -> None:
        async with serving(tmp_path) as served:
            many = [(f"X-{i}", "a") for i in range(200)]
            long = [("X-Long", "a" * 33_000)]
            for headers in (many, long):
                answer = await served.exchange(message("/v1/t", EVENT, headers))
                assert (answer.status, answer.code) == (400, "bad_request")
            async with served.connection() as connection:
                await connection.send(b"POST /v1/t HTTP/1.1\r\nHost: a\r\n")
                for i in range(60):
                    await connection.send(b"X-%d: %b\r\n" % (i, b"a" * 1000))
                    await asyncio.sleep(0)
                assert (await connection.answer()).status == 400
            assert used(served) == 0

    async def test_connections_beyond_the_cap_are_told_and_closed(self, tmp_path: Path) -> None:
        async with serving(tmp_path, max_connections=2) as served:
            async with served.connection() as one, served.connection() as two:
                for connection in (one, two):
                    await connection.send(message("/v1/t", EVENT, AUTH))
                    assert (await connection.answer()).status == 200
                async with served.connection() as three:
                    await three.send(message("/v1/t", EVENT, AUTH))
                    assert_sent_away(await three.answer(), "too_many_connections")
                    assert await three.ended() == b""
                await one.send(message("/v1/t", EVENT, AUTH))
                assert (await one.answer()).status == 200
            await wait_for(lambda: served.ingest.status()["connections"] == 0)
            assert await served.still_works()


async def test_metrics_count_what_was_committed_only(tmp_path: Path) -> None:
    def counted(served: Serving) -> tuple[float, float]:
        value = served.telemetry.registry.get_sample_value
        rejected = {"destination": "mp", "reason": "missing_event_name"}
        return (
            value("gateway_events_received_total", {"source": "sdk"}) or 0,
            value("gateway_events_rejected_total", rejected) or 0,
        )

    body = b'{"batch":[{"type":"track"},%b]}' % EVENT
    async with serving(tmp_path, min_free_bytes=2**60) as served:
        assert (await served.post("/v1/batch", body)).status == 503
        assert counted(served) == (0, 0)
    async with serving(tmp_path) as served:
        assert (await served.post("/v1/batch", body)).status == 200
        assert counted(served) == (2, 1)
