"""What Mixpanel's SDKs ask for goes to Mixpanel and back, and tells no more than it must."""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gateway.config import (
    DestinationConfig,
    DestinationSettings,
    MixpanelSdksConfig,
    ProxyConfig,
    Secret,
    ServiceAccount,
)
from gateway.sandbox import Sandbox
from tests.support.processes import wait_for
from tests.support.serving import Answer, Serving, message, serving

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

ORIGIN = "https://shop.example"


def basic(user: str, password: str = "") -> dict[str, str]:
    text = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {text}"}


TOKEN = basic("TOKEN")


class Other:
    """The other side: a server that notes what it is asked."""

    def __init__(self, answer: Handler | None = None) -> None:
        self.asked: list[web.Request] = []
        self.bodies: list[bytes] = []
        self._answer = answer
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        if self._answer is not None:
            return await self._answer(request)
        self.bodies.append(await request.read())
        headers = {
            "Set-Cookie": "spy=1",
            "Strict-Transport-Security": "max-age=1",
            "Access-Control-Allow-Origin": "https://mixpanel.com",
            "Clear-Site-Data": "*",
            "ETag": '"e"',
            "Vary": "Accept-Encoding",
            "Cache-Control": "max-age=7",
        }
        return web.json_response({"flags": {}}, headers=headers)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Other"]:
        app = web.Application(client_max_size=2**26)
        app.router.add_route("*", "/{path:.*}", self.handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, auto_decompress=False)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield self
        finally:
            await runner.cleanup()


@asynccontextmanager
async def between(
    tmp_path: Path, other_url: str, proxy: dict[str, Any] | None = None, **server: Any
) -> AsyncIterator[Serving]:
    """Run a gateway whose Mixpanel is somewhere else."""
    account = ServiceAccount(username="robot", secret=Secret("pass"), projectId="7")
    settings = DestinationSettings(projectToken="TOKEN", serviceAccount=account)
    destinations = (
        DestinationConfig(name="mp", base_url=other_url, settings=settings),
        DestinationConfig(
            name="shut",
            base_url=other_url,
            mixpanel_sdks=MixpanelSdksConfig(enabled=False),
            settings=DestinationSettings(projectToken="SHUT"),
        ),
    )
    config = ProxyConfig(**{"cdn_url": f"{other_url}/cdn", **(proxy or {})})
    async with serving(tmp_path, destinations=destinations, proxy=config, **server) as served:
        yield served


async def get(served: Serving, target: str, headers: dict[str, str] | None = None) -> Answer:
    return await served.exchange(
        message(
            target, headers=TOKEN if headers is None else headers, method="GET", has_length=False
        )
    )


@pytest.mark.parametrize(
    ("method", "target", "expected"),
    [
        ("GET", "/flags/?context=%7B%22a%22%3A1%7D&token=TOKEN", None),
        ("GET", "/flags?a=b", None),
        ("GET", "/flags/definitions?x=%2F", None),
        ("POST", "/flags/ab-1_c/first-time-events", None),
        ("GET", "/settings/?$lib_version=2&sdk_config=1", None),
        ("POST", "/record/?replay_id=1&format=gzip", None),
        ("GET", "/_mp/api/flags/?x=1", "/flags/?x=1"),
        ("GET", "/lookup-tables?project_id=7", None),
        ("PUT", "/lookup-tables/55b4fb2b-e8de-466c-930f-8b36640b9b5e?project_id=7", None),
        ("PUT", "/_mp/api/lookup-tables/1-2/", "/lookup-tables/1-2/"),
    ],
)
async def test_requests_reach_the_host_of_the_project(
    tmp_path: Path, method: str, target: str, expected: str | None
) -> None:
    async with Other().running() as other, between(tmp_path, f"{other.url}/base") as served:
        body = b"\x1f\x8b\x00raw" if method != "GET" else b""
        answer = await served.exchange(message(target, body, TOKEN, method=method))

    assert (answer.status, answer.json()) == (200, {"flags": {}})
    (asked,) = other.asked
    assert (asked.method, asked.raw_path) == (method, f"/base{expected or target}")
    assert other.bodies == [body]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/lib.js", "/cdn/libs/mixpanel-2-latest.js"),
        ("/lib.min.js", "/cdn/libs/mixpanel-2-latest.min.js"),
        ("/libs/mixpanel-recorder.min.js", "/cdn/libs/mixpanel-recorder.min.js"),
        ("/_mp/libs/mixpanel-targeting.min.js?x=1", "/cdn/libs/mixpanel-targeting.min.js"),
    ],
)
async def test_library_comes_from_where_it_is_published(
    tmp_path: Path, target: str, expected: str
) -> None:
    async with Other().running() as other, between(tmp_path, other.url) as served:
        answer = await get(served, target, TOKEN | {"Cookie": "a=b", "If-None-Match": '"e"'})

    assert answer.status == 200
    (asked,) = other.asked
    assert asked.raw_path == expected
    assert asked.headers["If-None-Match"] == '"e"'
    assert not {"Authorization", "Cookie", "X-Forwarded-For", "Origin"} & asked.headers.keys()


async def test_other_side_learns_what_it_needs_and_nothing_else(tmp_path: Path) -> None:
    sent = {
        **TOKEN,
        "Content-Type": "application/octet-stream",
        "Content-Encoding": "gzip",
        "User-Agent": "Mozilla/5.0",
        "traceparent": "00-1-2-01",
        "Origin": ORIGIN,
        "Cookie": "session=secret",
        "X-Forwarded-For": "203.0.113.9",
        "X-Forwarded-Host": "evil.example",
        "Forwarded": "for=6.6.6.6",
        "X-Real-IP": "6.6.6.6",
        "X-Internal-Auth": "secret",
        "Proxy-Authorization": "Basic secret",
        "Connection": "keep-alive, X-Hop",
        "X-Hop": "secret",
        "TE": "trailers",
    }
    async with (
        Other().running() as other,
        between(tmp_path, other.url, trusted_proxies=("127.0.0.1",)) as served,
    ):
        await served.post("/record/?a=b", b"\x1f\x8bxx", sent)

    (asked,) = other.asked
    kept = (
        "Authorization",
        "Content-Type",
        "Content-Encoding",
        "User-Agent",
        "traceparent",
        "Origin",
    )
    assert {name: asked.headers[name] for name in kept} == {name: sent[name] for name in kept}
    assert asked.headers["X-Forwarded-For"] == asked.headers["X-Real-IP"] == "203.0.113.9"
    assert asked.headers["Host"] == other.url.removeprefix("http://")
    assert asked.headers["Content-Length"] == "4"
    assert set(asked.headers) == {*kept, "X-Forwarded-For", "X-Real-IP", "Host", "Content-Length"}


async def test_client_learns_the_answer_and_nothing_is_set_in_the_name_of_the_gateway(
    tmp_path: Path,
) -> None:
    async with Other().running() as other, between(tmp_path, other.url) as served:
        answer = await get(served, "/flags/", TOKEN | {"Origin": ORIGIN})

    headers = {name: value for name, value in answer.headers.items() if name != "Date"}
    assert headers == {
        "Content-Type": "application/json; charset=utf-8",
        "Content-Length": "13",
        "ETag": '"e"',
        "Cache-Control": "max-age=7",
        "Server": "gateway",
        "Access-Control-Allow-Origin": ORIGIN,
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Expose-Headers": "Retry-After",
        "Vary": "Origin, Accept-Encoding",
    }


@pytest.mark.parametrize(
    ("target", "headers", "status"),
    [
        ("/flags/", {}, 401),
        ("/flags/?token=TOKEN", {}, 200),
        ("/flags/?token=WRONG", {}, 401),
        ("/flags/?token=TOKEN", basic("WRONG"), 401),
        ("/flags/?token=SHUT", {}, 401),
        ("/settings/", basic("SHUT"), 401),
        ("/flags/definitions?project_id=7", basic("robot", "pass"), 200),
        ("/flags/definitions?project_id=8", basic("robot", "pass"), 401),
        ("/flags/definitions?project_id=7", basic("robot", "wrong"), 401),
    ],
)
async def test_only_projects_of_destinations_are_asked_for(
    tmp_path: Path, target: str, headers: dict[str, str], status: int
) -> None:
    async with Other().running() as other, between(tmp_path, other.url) as served:
        answer = await get(served, target, headers)

    assert answer.status == status
    assert len(other.asked) == (status == 200)


@pytest.mark.parametrize(
    "target",
    [
        "/libs/../flags",
        "/libs/%2e%2e%2fflags.js",
        "/libs/..%2Fx.js",
        "/libs/.js",
        "/libs/a.css",
        "/libs/a.js%00.js",
        "/flags/%2e%2e/first-time-events",
        "/flags/a%2Fb/first-time-events",
        "/flags/definitions/x",
        "/fl%61gs/",
        "/record.js",
        "/settings/../engage",
        "//evil.example/flags",
        "/flags@evil.example/",
    ],
)
async def test_nothing_else_is_asked_for(tmp_path: Path, target: str) -> None:
    async with Other().running() as other, between(tmp_path, other.url) as served:
        for method in ("GET", "POST"):
            answer = await served.exchange(message(target, b"", TOKEN, method=method))
            assert answer.status in (404, 405)

    assert other.asked == []


async def test_answer_is_streamed_both_ways(tmp_path: Path) -> None:
    async def echo(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        async for part in request.content.iter_any():
            await response.write(part)
        return response

    async with (
        Other(echo).running() as other,
        between(tmp_path, other.url) as served,
        served.connection() as connection,
    ):
        headers = {**TOKEN, "Transfer-Encoding": "chunked"}
        await connection.send(message("/record", b"", headers, has_length=False))
        await connection.send(b"5\r\nhello\r\n")
        head = await connection.until(b"hello")
        assert head.startswith(b"HTTP/1.1 200 ")
        await connection.send(b"0\r\n\r\n")
        await connection.until(b"0\r\n\r\n")


@pytest.mark.parametrize("status", [204, 304, 401, 404, 429, 500])
async def test_status_of_the_answer_is_kept(tmp_path: Path, status: int) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers={"Retry-After": "7"})

    async with Other(answer).running() as other, between(tmp_path, other.url) as served:
        found = await get(served, "/settings/")

    assert (found.status, found.headers["Retry-After"]) == (status, "7")


async def test_head_is_passed_on_without_a_body(tmp_path: Path) -> None:
    async with (
        Other().running() as other,
        between(tmp_path, other.url) as served,
        served.connection() as connection,
    ):
        await connection.send(message("/lib.js", method="HEAD", has_length=False))
        assert (await connection.answer(has_body=False)).status == 200
        await connection.send(message("/health", method="GET"))
        assert (await connection.answer()).body == b"{}"

    assert [asked.method for asked in other.asked] == ["HEAD"]


class TestTrouble:
    """Whatever the other side does, the client is told to come back, and the gateway goes on."""

    async def refused(self, tmp_path: Path, answer: Handler | None, **proxy: Any) -> None:
        async with Other(answer).running() as other, between(tmp_path, other.url, proxy) as served:
            found = await get(served, "/settings/")
            assert (found.status, found.code) == (503, "upstream_unavailable")
            assert int(found.headers["Retry-After"]) > 0
            assert await served.still_works()

    async def test_nobody_is_there(self, tmp_path: Path) -> None:
        async with Other().running() as other:
            pass
        async with between(tmp_path, other.url) as served:
            found = await get(served, "/settings/")
            assert (found.status, found.code) == (503, "upstream_unavailable")

    async def test_it_does_not_answer(self, tmp_path: Path) -> None:
        async def stall(request: web.Request) -> web.StreamResponse:
            await asyncio.sleep(30)
            return web.Response()

        await self.refused(tmp_path, stall, timeout_s=0.2)

    @pytest.mark.parametrize("status", [301, 302, 307])
    async def test_it_redirects(self, tmp_path: Path, status: int) -> None:
        asked: list[str] = []

        async def away(request: web.Request) -> web.StreamResponse:
            asked.append(request.path)
            return web.Response(status=status, headers={"Location": "/flags/"})

        await self.refused(tmp_path, away)
        assert asked == ["/settings/"]

    async def test_its_answer_says_that_it_is_too_large(self, tmp_path: Path) -> None:
        async def large(request: web.Request) -> web.StreamResponse:
            return web.Response(body=b"x" * 5000)

        await self.refused(tmp_path, large, max_body_bytes=4096)

    async def test_it_cuts_the_connection(self, tmp_path: Path) -> None:
        async def cut(request: web.Request) -> web.StreamResponse:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()

        await self.refused(tmp_path, cut)

    @pytest.mark.parametrize("end", ["too large", "stalls", "cut"])
    async def test_an_answer_that_does_not_end_well_is_seen_not_to(
        self, tmp_path: Path, end: str
    ) -> None:
        async def begin(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write(b"x" * 1000)
            await asyncio.sleep(0.05)
            if end == "too large":
                await response.write(b"x" * 5000)
            elif end == "cut":
                assert request.transport is not None
                request.transport.abort()
            await asyncio.sleep(30)
            return response

        proxy = {"timeout_s": 0.5, "max_body_bytes": 4096}
        async with (
            Other(begin).running() as other,
            between(tmp_path, other.url, proxy) as served,
            served.connection() as connection,
        ):
            await connection.send(message("/settings/", headers=TOKEN, method="GET"))
            sent = await connection.rest()
            assert sent.startswith(b"HTTP/1.1 200 ")
            assert not sent.endswith(b"0\r\n\r\n")
            assert await served.still_works()

    async def test_there_are_too_many_at_once(self, tmp_path: Path) -> None:
        go_on = asyncio.Event()

        async def wait(request: web.Request) -> web.StreamResponse:
            await go_on.wait()
            return web.Response(body=b"done")

        async with (
            Other(wait).running() as other,
            between(tmp_path, other.url, {"requests": 2}) as served,
        ):
            first = [asyncio.create_task(get(served, "/settings/")) for _ in range(2)]
            await wait_for(lambda: len(other.asked) == 2)
            refused = await get(served, "/settings/")
            assert (refused.status, refused.code) == (503, "upstream_unavailable")
            assert await served.still_works()
            go_on.set()
            assert [(await each).body for each in first] == [b"done", b"done"]
            assert (await get(served, "/settings/")).body == b"done"


class TestBodies:
    async def test_large_one_passes_in_portions(self, tmp_path: Path) -> None:
        body = bytes(range(256)) * 16_384
        async with Other().running() as other, between(tmp_path, other.url) as served:
            answer = await served.post("/record/", body, TOKEN)

        assert answer.status == 200
        assert other.bodies == [body]

    async def test_client_that_waits_is_told_to_send_it(self, tmp_path: Path) -> None:
        table = b"id,name\n1,a\n"
        headers = {**TOKEN, "Expect": "100-continue", "Content-Length": str(len(table))}
        async with (
            Other().running() as other,
            between(tmp_path, other.url) as served,
            served.connection() as connection,
        ):
            head = message("/lookup-tables/1-2", b"", headers, method="PUT", has_length=False)
            await connection.send(head)
            assert (await connection.answer()).status == 100
            await connection.send(table)
            assert (await connection.answer()).status == 200

        assert other.bodies == [table]

    async def test_too_large_one_is_refused_before_it_is_sent(self, tmp_path: Path) -> None:
        async with (
            Other().running() as other,
            between(tmp_path, other.url, {"max_body_bytes": 4096}) as served,
        ):
            answer = await served.post("/record/", b"x" * 5000, TOKEN)
            assert (answer.status, answer.code) == (400, "body_too_large")
            chunked = {**TOKEN, "Transfer-Encoding": "chunked"}
            parts = b"1000\r\n" + b"x" * 4096 + b"\r\n1\r\nx\r\n0\r\n\r\n"
            request = message("/record/", b"", chunked, has_length=False) + parts
            answer = await served.exchange(request)
            assert (answer.status, answer.code) == (400, "body_too_large")

        assert other.bodies == []

    async def test_slow_one_is_cut_off(self, tmp_path: Path) -> None:
        async with (
            Other().running() as other,
            between(tmp_path, other.url, body_timeout_s=0.3) as served,
            served.connection() as connection,
        ):
            await connection.send(message("/record/", b"", TOKEN, has_length=False)[:-2])
            await connection.send(b"Content-Length: 10\r\n\r\nx")
            answer = await connection.answer()
            assert (answer.status, answer.code) == (503, "body_timeout")
            assert served.ingest.status()["bodies_arriving"] == 0

    async def test_client_that_leaves_takes_nothing_with_it(self, tmp_path: Path) -> None:
        async with Other().running() as other, between(tmp_path, other.url) as served:
            for _ in range(3):
                async with served.connection() as connection:
                    await connection.send(message("/record/", b"", TOKEN, has_length=False)[:-2])
                    await connection.send(b"Content-Length: 10\r\n\r\nx")
                    await asyncio.sleep(0.05)
            await wait_for(lambda: served.ingest.status()["bytes_in_flight"] == 0)
            assert (await get(served, "/settings/")).status == 200


async def test_switched_off_nothing_is_passed_on(tmp_path: Path) -> None:
    async with (
        Other().running() as other,
        between(tmp_path, other.url, {"enabled": False}) as served,
    ):
        for target in ("/flags/", "/settings/", "/lib.js"):
            answer = await get(served, target)
            assert (answer.status, answer.code) == (404, "not_found")
        assert (await served.post("/record/", b"x", TOKEN)).status == 404

    assert other.asked == []


async def test_sandbox_answers_what_sdks_ask_for(tmp_path: Path) -> None:
    sandbox = Sandbox(token="TOKEN")
    await sandbox.start()
    try:
        async with between(tmp_path, sandbox.url, {"cdn_url": sandbox.url}) as served:
            assert (await get(served, "/flags/?context=%7B%7D")).json()["flags"]
            assert (await get(served, "/flags/definitions")).json() == {"flags": []}
            assert "sdk_config" in (await get(served, "/settings/?sdk_config=1")).json()
            assert (await get(served, "/lib.min.js")).status == 200
            assert (await served.post("/record/", b"replay", TOKEN)).json()["bytes"] == 6
            assert (await get(served, "/lookup-tables")).json()["results"] == []
            table = message("/lookup-tables/1-2", b"id,name\n", TOKEN, method="PUT")
            assert (await served.exchange(table)).json()["status"] == "OK"
    finally:
        await sandbox.stop()
