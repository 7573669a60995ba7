"""JSON pages for people."""

import json

import aiohttp
import pytest
from aiohttp import web

from gateway.admin.listener import AdminListener
from gateway.config import AdminConfig, Secret
from gateway.sandbox import Sandbox

_BROWSER = "text/html,application/xhtml+xml,*/*;q=0.8"


@pytest.mark.parametrize(
    ("query", "accept", "is_readable"),
    [
        ("", "*/*", False),
        ("", "application/json", False),
        ("?pretty", "*/*", True),
        ("?pretty=true", "*/*", True),
        ("?limit=1&pretty", "*/*", True),
        ("", _BROWSER, True),
    ],
)
async def test_pages_of_the_sandbox_are_readable_on_request(
    query: str, accept: str, is_readable: bool
) -> None:
    sandbox = Sandbox()
    await sandbox.start()
    try:
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"{sandbox.url}/records{query}", headers={"Accept": accept}) as answer,
        ):
            text = await answer.text()
    finally:
        await sandbox.stop()
    assert json.loads(text)["records"] == []
    assert (text.count("\n") > 5) == is_readable


@pytest.mark.parametrize("path", ["/page", "/nowhere", "/post-only"])
async def test_every_answer_of_the_admin_port_is_readable_on_request(path: str) -> None:
    async def page(_: web.Request) -> web.Response:
        return web.json_response({"a": {"b": [1, 2]}})

    routes = [web.get("/page", page), web.post("/post-only", page)]
    config = AdminConfig(port=0, token=Secret("secret"))
    listener = AdminListener(config, routes, served="/page", max_body_bytes=1024)
    await listener.start()
    try:
        async with aiohttp.ClientSession() as http:
            url = f"http://127.0.0.1:{listener.port}{path}"
            for headers in ({}, {"Authorization": "Bearer secret"}):
                async with http.get(url, headers=headers) as plain:
                    line = await plain.text()
                async with http.get(f"{url}?pretty", headers=headers) as readable:
                    assert readable.status == plain.status
                    assert int(readable.headers["Content-Length"]) == len(await readable.read())
                    text = await readable.text()
                assert "\n" not in line
                assert text.startswith("{\n  ")
                assert json.loads(text) == json.loads(line)
    finally:
        await listener.stop()
