"""Dead letters over HTTP: who is answered, what, and what is refused."""

import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.admin import AdminServer
from gateway.clock import SystemClock
from gateway.config import AdminConfig, DestinationConfig, DestinationSettings, Secret
from gateway.dead_letters import DeadLetters
from gateway.events.depth import MAX_DEPTH
from gateway.mapping import Remap
from gateway.pending import Pending
from tests.support.letters import Hands, record_letter, spool_in, stored

TOKEN = "token of the admin"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
JSON = {"Content-Type": "application/json"}
RIGHT = DestinationConfig(name="mixpanel", settings=DestinationSettings(projectToken="T"))

PAGES = [
    ("GET", "/dead-letters/summary"),
    ("GET", "/dead-letters"),
    ("GET", "/dead-letters/1"),
    ("POST", "/dead-letters/replay"),
    ("POST", "/dead-letters/purge"),
]


class Port:
    """A listening admin server and a client for it."""

    def __init__(self, spool: Hands, session: aiohttp.ClientSession, port: int) -> None:
        self.spool = spool
        self._session = session
        self._url = f"http://127.0.0.1:{port}"

    async def ask(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        if isinstance(body, bytes):
            data: io.BytesIO | None = io.BytesIO(body)
        else:
            data = None if body is None else io.BytesIO(json.dumps(body).encode())
        async with self._session.request(
            method, f"{self._url}{path}", data=data, headers={**JSON, **(headers or {})}
        ) as response:
            self.headers = response.headers
            return response.status, json.loads(await response.read())


@asynccontextmanager
async def listening(
    directory: Path, token: str | None = None, **options: Any
) -> AsyncIterator[Port]:
    async with (
        spool_in(directory / "spool", **options) as spool,
        aiohttp.ClientSession() as session,
    ):
        server = AdminServer(
            AdminConfig(port=0, token=Secret(token) if token else None),
            spool=spool,
            dead_letters=DeadLetters(spool.dead_letters, Remap([RIGHT]), destinations=["mixpanel"]),
            pending=Pending(spool.pending, SystemClock()),
            delivery_status=dict,
            ingest_status=dict,
            clock=SystemClock(),
            telemetry=spool.telemetry,
        )
        await server.start()
        try:
            yield Port(spool, session, server.port)
        finally:
            await server.stop()


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[Port]:
    async with listening(tmp_path) as port:
        yield port


@pytest.mark.parametrize(("method", "path"), PAGES)
async def test_every_page_wants_the_token(tmp_path: Path, method: str, path: str) -> None:
    async with listening(tmp_path, TOKEN) as port:
        await port.spool.append([], [record_letter()])
        for wrong in ({}, {"Authorization": "Bearer no"}, {"Authorization": "Bearer \udcff"}):
            status, answer = await port.ask(method, path, {}, wrong)
            assert (status, list(answer)) == (401, ["message"])
        status, _ = await port.ask(method, path, {"filter": {}}, BEARER)
        assert status == 200
        assert port.headers["Cache-Control"] == "no-store"


FOREIGN = {
    "another site's page": {"Origin": "https://evil.example", **JSON},
    "a form": {"Content-Type": "text/plain", "Origin": "null"},
    "a form without an origin": {"Content-Type": "application/x-www-form-urlencoded"},
    "another site, says the browser": {"Sec-Fetch-Site": "cross-site"},
    "another port of this machine": {"Sec-Fetch-Site": "same-site"},
    "a name that was made to lead here": {"Host": "evil.example:8081"},
}


@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN)
@pytest.mark.parametrize("path", ["/dead-letters/replay", "/dead-letters/purge"])
async def test_page_of_another_site_changes_nothing_even_without_a_token(
    port: Port, headers: dict[str, str], path: str
) -> None:
    await port.spool.append([], [record_letter()])
    status, answer = await port.ask("POST", path, {"filter": {}}, headers)
    assert status in (403, 415)
    assert answer["message"]
    assert len(await stored(port.spool)) == 1


@pytest.mark.parametrize("path", ["/dead-letters", "/dead-letters/1", "/dead-letters/summary"])
async def test_name_that_was_made_to_lead_here_reads_nothing(port: Port, path: str) -> None:
    status, _ = await port.ask("GET", path, headers={"Host": "evil.example"})
    assert status == 403


@pytest.mark.parametrize("host", ["127.0.0.1:8081", "[::1]:8081", "localhost", "10.0.0.7"])
async def test_address_is_believed_without_a_token(port: Port, host: str) -> None:
    assert (await port.ask("GET", "/dead-letters", headers={"Host": host}))[0] == 200


async def test_any_name_is_believed_with_the_token(tmp_path: Path) -> None:
    async with listening(tmp_path, TOKEN) as port:
        headers = {"Host": "gateway.internal", **BEARER}
        assert (await port.ask("GET", "/dead-letters", headers=headers))[0] == 200


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/dead-letters/purge"), ("POST", "/dead-letters")]
)
async def test_other_methods_do_nothing(port: Port, method: str, path: str) -> None:
    status, _ = await port.ask(method, path, {})
    assert status == 405


async def test_list_goes_page_by_page_and_shows_no_more_than_asked_for(port: Port) -> None:
    await port.spool.append([], [record_letter(n) for n in range(5)])
    status, page = await port.ask("GET", "/dead-letters?limit=2&reason=refused&ids=1,2&ids=4")
    assert (status, [each["id"] for each in page["letters"]], page["next"]) == (
        200,
        ["1", "2"],
        "2",
    )
    assert page["letters"][0]["payload"] == {"n": "0"}
    _, page = await port.ask("GET", "/dead-letters?after=2&ids=1,2,4&payload=false")
    assert [each["id"] for each in page["letters"]] == ["4"]
    assert "payload" not in page["letters"][0]
    _, page = await port.ask("GET", "/dead-letters?after=5")
    assert page == {"letters": [], "next": None}
    _, letter = await port.ask("GET", "/dead-letters/3")
    assert letter["payload"] == {"n": "2"}
    status, answer = await port.ask("GET", "/dead-letters/6")
    assert (status, "no dead letter 6, or no longer" in answer["message"]) == (404, True)


async def test_page_is_bounded_whatever_is_asked_for(port: Port) -> None:
    await port.spool.append([], [record_letter("x" * 100_000) for _ in range(20)])
    _, page = await port.ask("GET", "/dead-letters?limit=1000000")
    assert len(page["letters"]) == 10
    await port.spool.append([], [record_letter(n) for n in range(400)])
    _, page = await port.ask("GET", "/dead-letters?limit=1000000&after=20")
    assert len(page["letters"]) == 250


BAD = [
    ("GET", "/dead-letters?colour=red", None),
    ("GET", "/dead-letters?limit=no", None),
    ("GET", "/dead-letters?limit=0", None),
    ("GET", "/dead-letters?after=-1", None),
    ("GET", f"/dead-letters?after={2**63}", None),
    ("GET", f"/dead-letters?since_ms={2**70}", None),
    ("GET", "/dead-letters?kind=other", None),
    ("GET", "/dead-letters?ids=1,x", None),
    ("GET", "/dead-letters?reason=%ff%fe", None),
    ("GET", "/dead-letters/summary?up_to=-5", None),
    ("POST", "/dead-letters/purge", {}),
    ("POST", "/dead-letters/purge", {"filter": {"reson": "typo"}}),
    ("POST", "/dead-letters/purge", {"filter": {}, "limit": 100_000}),
    ("POST", "/dead-letters/replay", {"edits": [{"id": 1}]}),
    ("POST", "/dead-letters/replay", {"edits": [{"id": n, "payload": {}} for n in range(251)]}),
    ("POST", "/dead-letters/replay", {"after": 2**63}),
    ("POST", "/dead-letters/replay", {"filter": {"ids": [2**63]}}),
    ("POST", "/dead-letters/replay", b"not JSON"),
    ("POST", "/dead-letters/replay", b""),
    ("POST", "/dead-letters/replay", b'{"filter":' + b"[" * 100_000),
    (
        *("POST", "/dead-letters/replay"),
        b'{"edits":[{"id":1,"payload":%b%b}]}' % (b"[" * MAX_DEPTH, b"]" * MAX_DEPTH),
    ),
]


@pytest.mark.parametrize(("method", "path", "body"), BAD)
async def test_what_cannot_be_read_is_answered_400_and_does_nothing(
    port: Port, method: str, path: str, body: object
) -> None:
    await port.spool.append([], [record_letter()])
    status, answer = await port.ask(method, path, body)
    # Text that is no UTF-8 is no reason that any letter has.
    assert status == (200 if "%ff" in path else 400), answer
    assert len(await stored(port.spool)) == 1


@pytest.mark.parametrize(
    "page",
    [
        "/dead-letters?",
        "/dead-letters?limit=1&reason=x&",
        "/dead-letters/summary?",
        "/dead-letters/1?",
        "/pending?",
        "/pending?endpoint=import&after=1&",
        "/pending/summary?",
    ],
)
async def test_every_page_is_readable_on_request(port: Port, page: str) -> None:
    await port.spool.append([], [record_letter()])
    status, plain = await port.ask("GET", page)
    assert (status, port.headers["Content-Length"]) == (200, str(len(compact(plain))))
    for query in ("pretty", "pretty=", "pretty=1", "pretty=false&pretty"):
        assert await port.ask("GET", page + query) == (200, plain)
        assert int(port.headers["Content-Length"]) > len(compact(plain))


def compact(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


async def test_body_beyond_the_bound_is_answered_413(port: Port) -> None:
    status, _ = await port.ask("POST", "/dead-letters/replay", b" " * (16 * 1024 * 1024 + 1))
    assert status == 413


async def test_replay_and_purge_tell_what_they_did(port: Port) -> None:
    await port.spool.append([], [record_letter(n) for n in range(3)])
    edit = {"id": 1, "payload": {"n": "mended"}, "reason": "as exported"}
    _, report = await port.ask("POST", "/dead-letters/replay", {"edits": [edit]})
    assert (report["replayed"], report["records"], report["problems"]) == (1, 1, [])
    _, report = await port.ask("POST", "/dead-letters/replay", {"filter": {"ids": ["2"]}})
    assert (report["replayed"], report["next"]) == (1, "2")
    _, report = await port.ask("POST", "/dead-letters/purge", {"filter": {}, "dry_run": True})
    assert (report["purged"], report["would"][0]["letters"]) == (1, 1)
    _, report = await port.ask("POST", "/dead-letters/purge", {"filter": {}})
    assert report["purged"] == 1
    _, status = await port.ask("GET", "/statusz")
    expected = {
        "kept": 0,
        "bytes": 0,
        "replayed": 2,
        "purged": 1,
        "dropped": 0,
        "lost": 0,
        "gap": 0,
    }
    assert status["destinations"]["mixpanel"]["dead_letters"] == expected
    assert status["dead_letters"] == {**expected, "max_bytes": 1024**3, "max_age_days": 90.0}
    assert status["ledger"]["gap"] == 0
    metrics = port.spool.telemetry
    metrics.watch(
        ledger=port.spool.ledger,
        queues=port.spool.queues,
        kept=port.spool.dead_letters.kept,
        usage=port.spool.usage,
        dropped_fields=dict,
        lost_lines=lambda: 0,
        now_ms=lambda: 0,
    )
    text = metrics.render().decode()
    assert 'gateway_dead_letters{destination="mixpanel",state="replayed"} 2.0' in text
    assert 'gateway_dead_letters_gap{destination="mixpanel"} 0.0' in text


async def test_replay_that_finds_no_room_is_answered_503_with_a_time(tmp_path: Path) -> None:
    async with spool_in(tmp_path / "spool") as spool:
        await spool.append([], [record_letter()])
    async with listening(tmp_path, min_free_bytes=1 << 60) as port:
        status, answer = await port.ask("POST", "/dead-letters/replay", {})
        assert (status, port.headers["Retry-After"]) == (503, "30")
        assert "nearly full" in answer["message"]
        assert len(await stored(port.spool)) == 1
