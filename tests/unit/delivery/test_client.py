"""The HTTP client against servers that are no Mixpanel at all."""

import asyncio
import gc
import gzip
import socket
import sys
import threading
from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from gateway import __version__
from gateway.config import (
    DeliveryConfig,
    DestinationConfig,
    DestinationSettings,
    Secret,
    ServiceAccount,
)
from gateway.delivery.batch import Body
from gateway.delivery.mixpanel import MixpanelEndpoint
from gateway.delivery.outcome import Delivered, Outcome, Paused, RetryLater, Split
from gateway.resolver import Resolver

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

LINES = b'{"n":1}\n'
BODY = Body(LINES, False, 1, len(LINES))


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    app = web.Application(client_max_size=2**24)
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def send(url: str, body: Body = BODY, endpoint: str = "import") -> Outcome:
    settings = DestinationSettings(projectToken="a1b2c3")
    async with MixpanelEndpoint(
        endpoint, DestinationConfig(name="main", settings=settings, base_url=url)
    ) as client:
        return await client.send(client.prepare(body))


async def test_a_request_says_who_sends_it_and_goes_below_the_base_url() -> None:
    seen: list[web.Request] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request)
        return web.Response(text="1")

    async with serving(answer) as url:
        assert await send(f"{url}/proxy/mixpanel/") == Delivered()
    (request,) = seen
    assert request.method == "POST"
    assert request.path == "/proxy/mixpanel/import"
    assert request.query == {"strict": "1"}
    assert request.headers["User-Agent"] == f"mixpanel-gateway/{__version__}"
    assert request.headers["Accept-Encoding"] == "identity"


async def test_a_redirect_is_not_followed() -> None:
    paths: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        paths.append(request.path)
        if request.path == "/elsewhere":
            return web.Response(text="1")
        return web.Response(status=307, headers={"location": "http://h.example/elsewhere"})

    async with serving(answer) as url:
        outcome = await send(url)
    assert isinstance(outcome, Paused)
    assert "status 307 from /import, which redirects to http://h.example" in outcome.reason
    assert paths == ["/import"]


SECRETS = (
    {"projectToken": "token-canary"},
    {"projectToken": "token-canary", "apiSecret": Secret("secret-canary")},
    {
        "projectToken": "token-canary",
        "serviceAccount": ServiceAccount(
            username="robot-canary", secret=Secret("secret-canary"), projectId="42"
        ),
    },
)

REPEATS = ("<html><title>{}</title>", '{{"error": "{}"}}', '{{"a": "{}"}}', "{}")


@pytest.mark.parametrize("settings", SECRETS)
@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 413])
@pytest.mark.parametrize(
    "form", ["<html><title>{}</title>", '{{"error": "{}"}}', '{{"a": "{}"}}', "{}"]
)
async def test_a_page_that_repeats_the_request_shows_no_secret(
    settings: dict[str, Any], status: int, form: str
) -> None:
    sent: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        basic = request.headers["Authorization"].removeprefix("Basic ")
        user, _, password = b64decode(basic).decode().partition(":")
        sent.extend((basic, user, password))
        said = f"no: {basic}, {user}, {password}, token-canary"
        return web.Response(status=status, text=form.format(said))

    async with serving(answer) as url:
        destination = DestinationConfig(
            name="main", settings=DestinationSettings(**settings), base_url=url
        )
        async with MixpanelEndpoint("import", destination) as client:
            outcome = repr(await client.send(client.prepare(BODY)))
    assert "no: ***" in outcome
    assert "canary" not in outcome
    assert not [each for each in sent if each and each in outcome]


async def test_an_answer_without_end_is_read_up_to_a_limit() -> None:
    written = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal written
        response = web.StreamResponse(status=400)
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65536)
                written += 65536
        except ConnectionError:
            pass
        return response

    async with serving(answer) as url:
        assert isinstance(await send(url), Split)
    assert written < 16 * 2**20


@pytest.mark.parametrize("status", [200, 400])
async def test_an_answer_that_is_cut_off_is_retried(status: int) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=status, headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b'{"status": 1, "error": null}')
        assert request.transport is not None
        request.transport.close()
        return response

    async with serving(answer) as url:
        assert await send(url, endpoint="engage") == RetryLater(None, "ClientPayloadError")


async def test_something_that_does_not_speak_http_is_retried() -> None:
    async def answer(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.write(b"SSH-2.0-OpenSSH_9.9\r\n")
        request.transport.close()
        return web.Response()

    async with serving(answer) as url:
        outcome = await send(url)
    assert isinstance(outcome, RetryLater)
    assert "SSH" not in outcome.reason


@asynccontextmanager
async def proxying() -> AsyncIterator[tuple[str, list[str]]]:
    """A proxy that answers itself, and the first lines of what it was asked."""
    asked: list[str] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        asked.append(head.partition("\r\n")[0])
        asked.extend(line for line in head.split("\r\n") if line.startswith("Proxy-Auth"))
        if head.startswith("CONNECT"):
            writer.write(b"HTTP/1.1 407 no\r\nContent-Length: 0\r\n\r\n")
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1")
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1")
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", asked


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "HTTPS_PROXY"])
async def test_the_proxy_of_the_environment_is_used(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    async with proxying() as (address, asked):
        monkeypatch.setenv(variable, f"http://user:canary@{address}")
        if variable == "HTTPS_PROXY":
            outcome = await send("https://mixpanel.example")
            assert outcome == RetryLater(
                None, "the proxy on the way refuses to connect (status 407)"
            )
            assert asked[0] == "CONNECT mixpanel.example:443 HTTP/1.1"
        else:
            assert await send("http://mixpanel.example") == Delivered()
            assert asked[0] == "POST http://mixpanel.example/import?strict=1 HTTP/1.1"
        assert asked[1].startswith("Proxy-Authorization: Basic ")


async def test_no_proxy_names_hosts_that_are_reached_directly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with proxying() as (address, asked):
        monkeypatch.setenv("HTTP_PROXY", f"http://{address}")
        for url in ("http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1"):
            assert isinstance(await send(url), RetryLater)
        monkeypatch.setenv("NO_PROXY", "other.example,.invalid")
        assert isinstance(await send("http://mixpanel.invalid"), RetryLater)
        assert asked == []


async def test_a_configured_proxy_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "*")
    async with proxying() as (address, asked):
        destination = DestinationConfig(
            name="main",
            settings=DestinationSettings(projectToken="a1b2c3"),
            base_url="http://mixpanel.example",
            delivery=DeliveryConfig(proxy=f"http://{address}"),
        )
        async with MixpanelEndpoint("import", destination) as client:
            assert await client.send(client.prepare(BODY)) == Delivered()
        assert len(asked) == 1


async def test_an_impossible_address_is_retried() -> None:
    outcome = await send("http://[not-an-address")
    assert isinstance(outcome, RetryLater)


@pytest.mark.parametrize("endpoint", ["import", "track", "engage", "groups"])
async def test_a_large_request_arrives_whole(endpoint: str) -> None:
    sizes: list[int] = []

    async def answer(request: web.Request) -> web.Response:
        sizes.append(len(await request.read()))
        return web.Response(text="1")

    line = b'"%s"\n' % (b"x" * 2_000_000)
    async with serving(answer) as url:
        body = Body(line, False, 1, len(line))
        assert await send(url, body, endpoint) == Delivered()
    as_array = endpoint != "import"
    assert sizes == [len(line) + as_array]


async def test_a_silent_name_server_holds_up_only_those_who_ask_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    silent, asked = threading.Event(), threading.Semaphore(0)

    def look_up(host: str, *args: object, **options: object) -> list[object]:
        asked.release()
        if host.startswith("silent"):
            silent.wait(30)
            raise socket.gaierror("no answer")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    waiting = [asyncio.create_task(Resolver().resolve(f"silent-{n}", 80)) for n in range(100)]
    try:
        async with asyncio.timeout(20):
            for _ in waiting:
                await asyncio.to_thread(asked.acquire)
            (found,) = await Resolver().resolve("good", 80)
            assert (found["hostname"], found["host"], found["port"]) == ("good", "127.0.0.1", 80)
    finally:
        silent.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(result, OSError) for result in results)


async def test_a_host_that_does_not_exist_is_retried() -> None:
    for url in ("http://does-not-exist.invalid", f"http://{'a' * 70}.invalid"):
        outcome = await send(url)
        assert isinstance(outcome, RetryLater)
        assert "ClientConnectorDNSError" in outcome.reason


async def test_a_host_is_found_by_its_name() -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="1")

    async with serving(answer) as url:
        assert await send(url.replace("127.0.0.1", "localhost")) == Delivered()


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["127.0.0.1"] * 2])
async def test_a_request_that_cannot_be_sent_is_freed_before_garbage_is_collected(
    addresses: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def look_up(host: str, port: int, *_: object, **options: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    data = gzip.compress(LINES)
    destination = DestinationConfig(
        name="main",
        settings=DestinationSettings(projectToken="a1b2c3"),
        base_url="http://dead.example:1",
    )
    async with MixpanelEndpoint("import", destination) as client:
        references = sys.getrefcount(data)
        gc.disable()
        try:
            outcome = await client.send(client.prepare(Body(data, True, 1, len(LINES))))
            await asyncio.sleep(0)  # the loop has the error that it is handing out
            assert sys.getrefcount(data) == references
        finally:
            gc.enable()
    assert isinstance(outcome, RetryLater)
    assert "ClientConnectorError" in outcome.reason
