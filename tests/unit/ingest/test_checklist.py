"""Every place that some SDK sends to or asks, in every spelling, and what it is answered."""

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import pytest

from gateway.ingest import jitsu, pages, rudderstack, segment, syft
from tests.support.serving import KEY, Serving, message, serving

AUTH = {"X-Write-Key": KEY}

SUCCESS = b'{"success":true}'
JITSU = b'{"success":true,"ok":true}'

# What an event becomes when its type comes from the place alone.
ANY = b'{"name":"N","event":"E","userId":"u","groupId":"g","traits":{"a":1}}'
BECOMES = {
    "track": [("import", "E")],
    "page": [("import", "Viewed N")],
    "screen": [("import", "Viewed N")],
    "identify": [("engage", "u")],
    "group": [("groups", "g")],
    "alias": [],
    "merge": [],
}
LETTERS = {"t": "track", "i": "identify", "p": "page", "s": "screen", "g": "group", "a": "alias"}
NAMES = {**{kind: kind for kind in LETTERS.values()}, **LETTERS}

TRACK = b'{"type":"track","event":"E","userId":"u"}'
BATCH = b'{"batch":[%b]}' % TRACK
UPLOAD = b'{"events":[%b]}' % TRACK
EVENT = [("import", "E")]


class Post(NamedTuple):
    """A place that events are posted to.

    :param becomes: endpoint and name of the records.
    :param answer: the body of the answer.
    """

    path: str
    body: bytes
    becomes: list[tuple[str, str]]
    answer: bytes = SUCCESS


def posts() -> list[Post]:
    found = [Post("/", BATCH, EVENT), Post("/v1", BATCH, EVENT)]
    for prefix in ("", "/v1"):
        for name in ("batch", "b", "import", "batch/b"):
            found += [Post(f"{prefix}/{name}", body, EVENT) for body in (BATCH, TRACK)]
        for name, kind in (*NAMES.items(), ("merge", "merge")):
            found.append(Post(f"{prefix}/{name}", ANY, BECOMES[kind]))
        found.append(Post(f"{prefix}/m", b'{"series":[]}', []))
    found.append(Post("/beacon/v1/batch", BATCH, EVENT))
    found.append(Post("/rsaMetrics", b'{"metrics":[]}', []))
    for name, kind in NAMES.items():
        found.append(Post(f"/api/s/{name}", ANY, BECOMES[kind], JITSU))
        found.append(Post(f"/api/s/s2s/{name}", ANY, BECOMES[kind], JITSU))
    for name in ("event", "e"):
        found.append(Post(f"/api/s/{name}", TRACK, EVENT, JITSU))
        found.append(Post(f"/api/s/s2s/{name}", TRACK, EVENT, JITSU))
    found.append(Post("/api/s/s2s/batch", BATCH, EVENT, JITSU))
    found.append(Post("/api/syft", UPLOAD, EVENT))
    found.append(Post(f"/api/syft/{KEY}", UPLOAD, EVENT))
    return found


PIXELS = {
    **{f"{prefix}/pixel/{kind}": kind for kind in LETTERS.values() for prefix in ("", "/v1")},
    "/pixel/v1/track": "track",
    "/pixel/v1/page": "page",
    **{f"/api/px/{name}": kind for name, kind in NAMES.items()},
}

SETTINGS = [
    *(f"{prefix}/projects/{KEY}/settings" for prefix in ("", "/v1")),
    *(f"{prefix}/projects/projects/{KEY}/settings" for prefix in ("", "/v1")),
    *("/projects", "/v1/projects", "/v1", "/"),
]

DOCUMENTS = ["/sourceConfig", "/health", "/healthz", "/ready", "/readyz", "/version"]


def spellings(path: str) -> list[str]:
    if path == "/":
        return ["/", "//", "/?a=b"]
    doubled = path.replace("/", "//")
    return [path, f"{path}/", f"/{path}", doubled, f"{path}//", f"{path}?a=b"]


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Serving]:
    async with serving(tmp_path) as running:
        yield running


async def found(served: Serving, since: int) -> list[tuple[str, str]]:
    return [
        (endpoint, record.get("event") or record.get("$distinct_id") or record["$group_id"])
        for endpoint, record in (await served.records())[since:]
    ]


@pytest.mark.parametrize("post", posts(), ids=lambda post: f"{post.path} {post.body[:9]!r}")
async def test_events_are_accepted_in_every_spelling(served: Serving, post: Post) -> None:
    becomes: list[tuple[str, str]] = []
    async with served.connection() as connection:
        for target in spellings(post.path):
            await connection.send(message(target, post.body, AUTH))
            answer = await connection.answer()
            assert (target, answer.status, answer.body) == (target, 200, post.answer)
            assert answer.headers["Content-Type"] == "application/json"
            becomes += post.becomes
    assert await found(served, 0) == becomes


@pytest.mark.parametrize(("path", "kind"), PIXELS.items())
async def test_images_carry_events_in_every_spelling(served: Serving, path: str, kind: str) -> None:
    data = quote(base64.b64encode(ANY).decode(), safe="")
    flat = "name=N&event=E&userId=u&groupId=g&traits.a=1"
    becomes: list[tuple[str, str]] = []
    async with served.connection() as connection:
        for target in spellings(path):
            for query in (f"data={data}", flat):
                place = f"{target.partition('?')[0]}?writeKey={KEY}&{query}"
                await connection.send(message(place, method="GET"))
                answer = await connection.answer()
                assert (place, answer.status) == (place, 200)
                assert answer.headers["Content-Type"] == "image/gif"
                assert answer.headers["Cache-Control"] == "no-store"
                assert answer.body.startswith(b"GIF89a")
                becomes += BECOMES[kind]
    assert await found(served, 0) == becomes


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_documents_are_served_in_every_spelling(served: Serving, method: str) -> None:
    async with served.connection() as connection:
        for path in (*SETTINGS, *DOCUMENTS):
            for target in spellings(path):
                await connection.send(message(target, method=method))
                answer = await connection.answer(has_body=method == "GET")
                assert (target, answer.status) == (target, 200)
                assert answer.headers["Content-Type"] == "application/json"
                if method == "GET":
                    assert isinstance(json.loads(answer.body), dict)
                    assert (path in SETTINGS) == ("integrations" in answer.json())
    assert await served.records() == []


async def test_robots_are_told_to_stay_away(served: Serving) -> None:
    answer = await served.exchange(message("/robots.txt", method="GET"))

    assert (answer.status, answer.body) == (200, b"User-agent: *\nDisallow: /\n")
    assert answer.headers["Content-Type"].startswith("text/plain")


async def test_every_place_takes_preflights_and_refuses_other_methods(served: Serving) -> None:
    async with served.connection() as connection:
        places = [(post.path, "POST") for post in posts()]
        places += [(path, "GET") for path in (*PIXELS, *SETTINGS, *DOCUMENTS)]
        for path, method in places:
            await connection.send(message(path, method="OPTIONS"))
            assert (path, (await connection.answer()).status) == (path, 204)
            await connection.send(message(path, method="DELETE"))
            answer = await connection.answer()
            assert (path, answer.status, answer.code) == (path, 405, "method_not_allowed")
            allowed = answer.headers["Allow"].split(", ")
            assert {method, "OPTIONS"} <= set(allowed)
            assert ("GET" in allowed) == ("HEAD" in allowed)


def test_nothing_else_is_served() -> None:
    """What is added needs a line in the tables above."""
    families = (pages, segment, rudderstack, jitsu, syft)
    served = {place.replace("{key}", KEY) for family in families for place in family.ROUTES}

    listed = {f"POST {post.path}" for post in posts()}
    listed |= {f"GET {path}" for path in (*PIXELS, *SETTINGS, *DOCUMENTS, "/robots.txt")}
    of_the_bundle = {
        f"GET /analytics.js/v1/{KEY}/analytics.min.js",
        "GET /analytics-next/bundles/{name}",
    }
    events = {"GET /api/px/event", "GET /api/px/e"}
    assert served == listed | of_the_bundle | events
