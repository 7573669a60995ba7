"""Links through the gateway lead where the configuration allows it, and nowhere else."""

import json
from pathlib import Path
from urllib.parse import urlencode

import pytest

from gateway.ingest.redirects import redirection
from tests.support.serving import KEY, message, serving

ALLOWED = (
    "https://shop.example",
    "https://*.example.org",
    "http://localhost:8000",
    "https://[::1]",
)


@pytest.mark.parametrize(
    "url",
    [
        "https://shop.example",
        "https://shop.example/a/b?c=d&e=%0d%0a#f",
        "https://SHOP.example:443/",
        "HTTPS://shop.example/",
        "https://a.b.example.org/",
        "http://localhost:8000/x",
        "https://[::1]/",
    ],
)
def test_listed_origins_are_followed(url: str) -> None:
    answer = redirection(url, ALLOWED)
    assert answer is not None
    assert (answer.status, answer.headers["Location"]) == (302, url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/",
        "//shop.example",
        "shop.example",
        "https:shop.example",
        "https:/shop.example",
        "https:///shop.example",
        "https://evil.example",
        "http://shop.example",
        "https://shop.example:8443",
        "https://shop.example:x",
        "https://shop.example.evil.example",
        "https://evil.example/https://shop.example",
        "https://evil.example?https://shop.example",
        "https://evil.example#https://shop.example",
        "https://evil.example\\@shop.example",
        "https://evil.example\\.example.org",
        "https://shop.example@evil.example",
        "https://shop.example:443@evil.example",
        "https://user@shop.example",
        "https://evil.example\t.example.org",
        "https://shop.example\r\nSet-Cookie: a=b",
        " https://shop.example",
        "https://shop.example ",
        "https://shop.example/\u00e9",
        "https://shop.example\uff0f.evil.example",
        "https://example.org",
        "https://evil.example/.example.org",
        "javascript:alert(1)//shop.example",
        "data:text/html,x",
        "null",
        "https://[::1",
    ],
)
def test_others_are_not(url: str) -> None:
    assert redirection(url, ALLOWED) is None


def test_without_a_list_nothing_is_followed() -> None:
    assert redirection("https://shop.example/", ()) is None


@pytest.mark.parametrize("token", ["TOKEN", "WRONG"])
@pytest.mark.parametrize("path", ["/track", "/_mp/api/track/"])
@pytest.mark.parametrize("allowed", [(), ("https://shop.example",)])
async def test_link_of_a_mail_is_counted_and_followed(
    tmp_path: Path, path: str, allowed: tuple[str, ...], token: str
) -> None:
    event = {"event": "Clicked", "properties": {"token": token, "time": 1_789_999_999}}
    url = "https://shop.example/offer?" + "x" * 500
    query = urlencode({"data": json.dumps(event), "redirect": url})
    async with serving(tmp_path, redirect_origins=allowed) as served:
        answer = await served.exchange(message(f"{path}?{query}", method="GET", has_length=False))
        names = await served.names()

    assert names == (["Clicked"] if token == "TOKEN" else [])
    if allowed:
        assert (answer.status, answer.headers["Location"]) == (302, url)
        assert answer.headers["Cache-Control"] == "no-store"
    else:
        assert (answer.status, answer.body) == (200, b"1" if names else b"0")
        assert "Location" not in answer.headers


async def test_url_is_followed_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    event = {"event": "Clicked", "properties": {"token": "TOKEN"}}
    url = "https://shop.example/"
    async with serving(tmp_path, redirect_origins=("https://shop.example",)) as served:
        for size, status in ((2048, 302), (2049, 200)):
            query = urlencode({"data": json.dumps(event), "redirect": url.ljust(size, "x")})
            request = message(f"/track?{query}", method="GET", has_length=False)
            answer = await served.exchange(request)
            assert answer.status == status
            assert len(answer.headers.get("Location", "")) in (0, size)


async def test_who_follows_a_link_arrives_also_when_nothing_can_be_stored(tmp_path: Path) -> None:
    event = {"event": "Clicked", "properties": {"token": "TOKEN"}}
    query = urlencode({"data": json.dumps(event), "redirect": "https://shop.example/"})
    allowed = ("https://shop.example",)
    async with serving(tmp_path, redirect_origins=allowed, min_free_bytes=2**60) as served:
        request = message(f"/track?{query}", method="GET", has_length=False)
        answer = await served.exchange(request)

    assert (answer.status, answer.headers["Location"]) == (302, "https://shop.example/")


@pytest.mark.parametrize("key", [KEY, "wrong"])
@pytest.mark.parametrize("host", ["shop.example", "evil.example"])
async def test_jitsus_links_are_followed_likewise(tmp_path: Path, host: str, key: str) -> None:
    url = f"https://{host}/offer"
    query = urlencode({"event": "Clicked", "userId": "u", "writeKey": key, "destination_url": url})
    async with serving(tmp_path, redirect_origins=("https://shop.example",)) as served:
        request = message(f"/api/px/track?{query}", method="GET", has_length=False)
        answer = await served.exchange(request)
        assert await served.names() == (["Clicked"] if key == KEY else [])

    if host == "shop.example":
        assert (answer.status, answer.headers["Location"]) == (302, url)
    else:
        assert answer.status == (200 if key == KEY else 401)
        assert answer.headers["Content-Type"] == "image/gif"
