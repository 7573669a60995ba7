"""Everything is served under a prefix as well, and under names that no ad blocker lists."""

import json
from base64 import b64encode
from pathlib import Path
from urllib.parse import urlencode

import pytest
from aiohttp import web

from gateway.config import DestinationConfig, DestinationSettings, ProxyConfig
from gateway.ingest.router import Route, Router, aliases
from gateway.ingest.server import ROUTES
from tests.support.serving import EVENT, KEY, Serving, message, serving

PLACES = sorted({place for family in ROUTES for place in family})
PREFIX = "/collect/v-1"
TOKEN = {"Authorization": f"Basic {b64encode(b'TOKEN:').decode()}"}
RECORD = {"event": "Sent", "properties": {"token": "TOKEN", "time": 1_789_999_999}}


def filled(path: str) -> str:
    """Return a path with something for each of its names."""
    return path.replace("{key}", "k").replace("{id}", "1").replace("{name}", "a.js")


def get(target: str, headers: dict[str, str] | None = None) -> bytes:
    return message(target, headers=headers or {}, method="GET", has_length=False)


@pytest.mark.parametrize("place", PLACES)
def test_every_route_is_found_under_the_prefix_as_well(place: str) -> None:
    method, path = place.split(" ")
    plain, prefixed = Router(*ROUTES), Router(*ROUTES, prefix=PREFIX)
    expected = plain.find(method, filled(path))
    assert expected is not None
    for spelling in (path, path.rstrip("/") + "/", path.replace("/", "//")):
        assert prefixed.find(method, filled(spelling)) == expected
        assert prefixed.find(method, PREFIX + filled(spelling)) == expected
        assert prefixed.find(method, f"/other{filled(spelling)}") is None
        assert plain.find(method, PREFIX + filled(spelling)) is None
    assert prefixed.usual(method).keys() >= {PREFIX + each for each in plain.usual(method)} - {
        f"{PREFIX}//"
    }


@pytest.mark.parametrize(("name", "path"), aliases().items())
def test_neutral_names_stand_for_paths_and_what_is_below(name: str, path: str) -> None:
    plain = Router(*ROUTES)
    neutral = Router(*ROUTES, prefix=PREFIX, names=aliases())
    below = [place for place in PLACES if f"{place.partition(' ')[2]}/".startswith(f"{path}/")]
    assert below
    for place in below:
        method, full = place.split(" ")
        renamed = filled(name + full.removeprefix(path))
        assert plain.find(method, renamed) is None
        for spelling in (renamed, f"{renamed}/", PREFIX + renamed):
            assert neutral.find(method, spelling) == plain.find(method, filled(full))


@pytest.mark.parametrize("prefix", ["/track", "/v1", "/d"])
def test_prefix_takes_no_path_away(prefix: str) -> None:
    plain = Router(*ROUTES, names=aliases())
    prefixed = Router(*ROUTES, prefix=prefix, names=aliases())
    for place in PLACES:
        method, path = place.split(" ")
        assert prefixed.find(method, filled(path)) == plain.find(method, filled(path))


def test_name_stands_for_whole_segments_only() -> None:
    route = Route(family="segment", handle=lambda call: NotImplemented)
    routes = Router({"POST /track": route, "POST /tracks": route}, names={"/e": "/track"})
    assert routes.find("POST", "/e") is not None
    assert routes.find("POST", "/es") is None


@pytest.mark.parametrize("is_neutral", [False, True], ids=["usual", "neutral"])
@pytest.mark.parametrize("prefix", ["", PREFIX])
async def test_settings_documents_say_where_events_go_and_they_arrive_there(
    tmp_path: Path, prefix: str, is_neutral: bool
) -> None:
    async with serving(tmp_path, path_prefix=prefix, neutral_paths=is_neutral) as served:
        host = ""
        for asked in ("/v1/projects/k/settings", f"{prefix}/v1/projects/k/settings"):
            answer = await served.exchange(get(asked))
            host = answer.json()["integrations"]["Segment.io"]["apiHost"]
            assert host == f"gateway.test{prefix}{'/d/v' if is_neutral else '/v1'}"
        path = host.removeprefix("gateway.test")
        for end in ("b", "t", "batch", "t/"):
            assert (await served.post(f"{path}/{end}")).status == 200
        assert len(await served.names()) == 4


@pytest.mark.parametrize(
    ("public_host", "expected"),
    [
        (None, "gateway.test/collect"),
        ("events.example.com", "events.example.com/collect"),
        ("events.example.com:8443", "events.example.com:8443/collect"),
        ("events.example.com/other", "events.example.com/other"),
    ],
)
async def test_prefix_follows_a_configured_host_that_has_no_path(
    tmp_path: Path, public_host: str | None, expected: str
) -> None:
    async with serving(tmp_path, path_prefix="/collect", public_host=public_host) as served:
        answer = await served.exchange(get("/collect/v1/projects/k/settings"))
    assert answer.json()["integrations"]["Segment.io"]["apiHost"] == f"{expected}/v1"


async def test_pages_on_this_machine_use_http_under_a_prefix_too(tmp_path: Path) -> None:
    async with serving(tmp_path, path_prefix="/c", public_host="localhost:8080") as served:
        answer = await served.exchange(get("/c/v1/projects/k/settings"))
    assert answer.json()["integrations"]["Segment.io"]["protocol"] == "http"


@pytest.mark.parametrize("start", [PREFIX, f"{PREFIX}/_mp/api", "/_mp/api", ""])
async def test_records_of_mixpanels_sdks_arrive(tmp_path: Path, start: str) -> None:
    body = urlencode({"data": json.dumps(RECORD)}).encode()
    async with serving(tmp_path, path_prefix=PREFIX) as served:
        assert (await served.post(f"{start}/track/?ip=0", body, {})).body == b"1"
        image = await served.exchange(get(f"{start}/track?img=1&{body.decode()}"))
        assert image.headers["Content-Type"] == "image/gif"
        imported = await served.post(f"{start}/import", json.dumps(RECORD).encode(), TOKEN)
        assert imported.json()["num_records_imported"] == 1
        assert await served.names() == ["Sent"] * 3


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/collect/v-1/flags/?a=b", "/flags/?a=b"),
        ("/collect/v-1/_mp/api/settings", "/settings"),
        ("/d/f/ab-1/first-time-events/", "/flags/ab-1/first-time-events/"),
        ("/d/s/?a=b", "/settings/?a=b"),
        ("/collect/v-1/d/r/?x=1", "/record/?x=1"),
        ("/collect/v-1/lib.min.js", "/libs/mixpanel-2-latest.min.js"),
        ("/d/m.js", "/libs/mixpanel-2-latest.min.js"),
        ("/collect/v-1/d/l/mixpanel-recorder.min.js", "/libs/mixpanel-recorder.min.js"),
        ("/collect/v-1/lookup-tables", "/lookup-tables"),
    ],
)
async def test_mixpanel_is_asked_for_its_own_paths(
    tmp_path: Path, target: str, expected: str
) -> None:
    asked: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        asked.append(request.raw_path)
        return web.json_response({})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        settings = DestinationSettings(projectToken="TOKEN")
        destination = DestinationConfig(name="mp", base_url=url, settings=settings)
        async with serving(
            tmp_path,
            destinations=(destination,),
            proxy=ProxyConfig(cdn_url=url),
            path_prefix=PREFIX,
            neutral_paths=True,
        ) as served:
            is_post = "/d/f/" in target or "/d/r/" in target
            request = message(target, headers=TOKEN, method="POST" if is_post else "GET")
            assert (await served.exchange(request)).status == 200
    finally:
        await runner.cleanup()
    assert asked == [expected]


@pytest.mark.parametrize("target", ["/collect", "/collect/", "/collect/health", "/collect/v1/m"])
async def test_prefix_itself_is_the_root(tmp_path: Path, target: str) -> None:
    async with serving(tmp_path, path_prefix="/collect") as served:
        assert (await served.exchange(get(target))).status in (200, 405)
        assert (await served.post(target, EVENT)).status in (200, 405)
        assert (await unknown(served, "/collected/health")) == 404
        assert (await unknown(served, "/d/v/t")) == 404


async def unknown(served: Serving, target: str) -> int:
    return (await served.post(target, EVENT, {"X-Write-Key": KEY})).status
