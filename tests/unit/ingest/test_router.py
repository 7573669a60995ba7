"""Every route in every spelling, and what the answers look like to SDKs and browsers."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.ingest.event_handler import EventHandler
from gateway.ingest.router import Route, Router
from tests.support.serving import EVENT, KEY, Serving, message, serving

AUTH = {"X-Write-Key": KEY}
ANY = b'{"name":"N","event":"E","userId":"u","groupId":"g","traits":{"a":1}}'


ROUTE = Route(family="segment", handle=EventHandler())


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Serving]:
    async with serving(tmp_path) as running:
        yield running


@pytest.mark.parametrize(
    "path", ["", "/v1/batches", "/v1/batch/b", "/v2/batch", "/v1/T", "v1/batch"]
)
def test_other_paths_have_no_route(path: str) -> None:
    routes = Router({"POST /v1/batch": ROUTE})
    assert routes.find("POST", path) is None
    assert routes.find("GET", "/v1/batch") is None


def test_names_in_braces_are_one_segment_each() -> None:
    routes = Router({"GET /p/{key}/x.{end}": ROUTE, "POST /p/k/x": ROUTE})

    found = routes.find("GET", "//p/a.b//x.js/")
    assert found is not None
    assert (found.route, found.params) == (ROUTE, {"key": "a.b", "end": "js"})
    for path in ("/p/x.js", "/p//x.js", "/p/a/b/x.js", "/p/a/x", "/p/a/xjs", "/p/a/x.js/y"):
        assert routes.find("GET", path) is None
    assert routes.methods("/p/k/x") == ["POST"]


def test_two_families_cannot_claim_one_place() -> None:
    with pytest.raises(ValueError, match="POST /x"):
        Router({"POST /x": ROUTE}, {"POST /x": ROUTE})


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("track", [("import", "E")]),
        ("t", [("import", "E")]),
        ("page", [("import", "Viewed N")]),
        ("p", [("import", "Viewed N")]),
        ("screen", [("import", "Viewed N")]),
        ("s", [("import", "Viewed N")]),
        ("identify", [("engage", "u")]),
        ("i", [("engage", "u")]),
        ("group", [("groups", "g")]),
        ("g", [("groups", "g")]),
        ("alias", []),
        ("a", []),
        ("batch", []),
    ],
)
async def test_type_comes_from_the_route(
    served: Serving, path: str, expected: list[tuple[str, str]]
) -> None:
    assert (await served.post(f"/v1/{path}", ANY)).status == 200

    found = [
        (endpoint, record.get("event") or record.get("$distinct_id") or record["$group_id"])
        for endpoint, record in await served.records()
    ]
    assert found == expected


async def test_events_are_on_disk_when_they_are_acknowledged(served: Serving) -> None:
    batch = b'{"batch":[%b,{"type":"identify","userId":"u","traits":{"a":1}},%b]}' % (EVENT, EVENT)
    assert (await served.post("/v1/batch", batch)).status == 200

    found = [endpoint for endpoint, _ in await served.records()]
    assert sorted(found) == ["engage", "import", "import"]
    assert served.spool.ledger()["mp"].accepted == 3


async def test_event_of_a_batch_that_is_rejected_is_kept_and_acknowledged(served: Serving) -> None:
    batch = b'{"batch":[%b,5,{"type":"track","messageId":"bad"}]}' % EVENT
    answer = await served.post("/v1/batch", batch)

    assert (answer.status, answer.body) == (200, b'{"success":true}')
    assert [letter.reason for letter in await served.letters()] == [
        "not_an_object",
        "missing_event_name",
    ]
    assert await served.names() == ["E"]


async def test_write_key_in_what_is_no_event_is_not_stored(served: Serving) -> None:
    event = b'"{\\"writeKey\\":\\"%b\\"}"' % KEY.encode()
    assert (await served.post("/v1/batch", b'{"batch":[%b]}' % event)).status == 200

    (letter,) = await served.letters()
    assert KEY.encode() not in letter.payload
    assert b"writeKey" in letter.payload


async def test_request_of_rejected_events_alone_is_kept_and_acknowledged(served: Serving) -> None:
    answer = await served.post("/v1/track", b'{"userId":"u"}')

    assert (answer.status, answer.body) == (200, b'{"success":true}')
    assert [letter.reason for letter in await served.letters()] == ["missing_event_name"]


@pytest.mark.parametrize("body", [b'{"batch":[]}', b"[]", b'{"type":"alias","userId":"u"}'])
async def test_request_that_nothing_is_made_of_is_acknowledged(
    served: Serving, body: bytes
) -> None:
    answer = await served.post("/v1/batch", body)

    assert (answer.status, answer.body) == (200, b'{"success":true}')
    assert await served.records() == []


class TestOtherRequests:
    @pytest.mark.parametrize("target", ["/nowhere", "/v1/projects/x", "/v1/batch/c", "/v1/%ff%00"])
    async def test_unknown_path_is_answered_404(self, served: Serving, target: str) -> None:
        answer = await served.post(target)

        assert (answer.status, answer.code) == (404, "not_found")
        assert b"on the port for SDKs" in answer.body

    @pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
    async def test_other_method_is_answered_405(self, served: Serving, method: str) -> None:
        answer = await served.exchange(message("/v1/batch", EVENT, AUTH, method=method))

        assert (answer.status, answer.code) == (405, "method_not_allowed")
        assert answer.headers["Allow"] == "OPTIONS, POST"
        assert await served.records() == []

    async def test_get_of_the_health_page_is_answered_200(self, served: Serving) -> None:
        answer = await served.exchange(message("/health", method="GET"))

        assert (answer.status, answer.body) == (200, b"{}")

    @pytest.mark.parametrize(
        ("target", "status"), [("/", 200), ("/health", 200), ("/v1/batch", 405), ("/nowhere", 404)]
    )
    async def test_head_is_answered_without_a_body(
        self, served: Serving, target: str, status: int
    ) -> None:
        async with served.connection() as connection:
            await connection.send(message(target, method="HEAD"))
            answer = await connection.answer(has_body=False)
            assert answer.status == status
            # Had there been a body, it would be read as the beginning of this answer.
            await connection.send(message("/v1/batch", EVENT, AUTH))
            assert (await connection.answer()).status == 200

    @pytest.mark.parametrize(
        "data",
        [
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS to a plain port\r\n\r\n",
            b"hello there\r\n\r\n",
            b"POST /v1/batch HTTP/9.9\r\n\r\n",
            b"POST /v1/batch HTTP/1.1\r\nno colon\r\n\r\n",
            b"POST /v1/batch HTTP/1.1\r\nContent-Length: abc\r\n\r\n",
            b"POST /v1/batch HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"POST /" + b"v" * 20_000 + b" HTTP/1.1\r\n\r\n",
            b"POST / HTTP/1.1\r\nAuthorization: Basic " + b"canary" * 5000 + b"\r\n\r\n",
            b"POST / HTTP/1.1\r\n" + b"".join(b"X-%d: 1\r\n" % i for i in range(500)) + b"\r\n",
        ],
    )
    async def test_what_is_no_proper_http_is_answered_400_and_the_connection_closed(
        self, served: Serving, data: bytes
    ) -> None:
        async with served.connection() as connection:
            await connection.send(data)
            answer = await connection.answer()
            assert (answer.status, answer.code) == (400, "bad_request")
            assert b"canary" not in answer.body
            assert answer.headers["Access-Control-Allow-Origin"] == "*"
            assert await connection.ended() == b""
        assert await served.still_works()

    async def test_pipelined_requests_are_answered_in_order(self, served: Serving) -> None:
        async with served.connection() as connection:
            requests = [
                message("/v1/batch", EVENT.replace(b'"E"', b'"%d"' % number), AUTH)
                for number in range(20)
            ]
            await connection.send(b"".join(requests))
            for _ in requests:
                assert (await connection.answer()).status == 200
        assert await served.names() == [str(number) for number in range(20)]


class TestCors:
    """Pages of any origin may send, and read every answer."""

    async def answers(self, served: Serving, origin: dict[str, str]) -> dict[int, dict[str, str]]:
        requests = [
            message("/v1/t", EVENT, AUTH | origin),
            message("/v1/t", b"{", AUTH | origin),
            message("/v1/t", EVENT, {"X-Write-Key": "wrong"} | origin),
            message("/nowhere", EVENT, AUTH | origin),
            message("/v1/t", EVENT, origin, method="PUT"),
            message("/v1/t", b"", origin, method="OPTIONS"),
        ]
        found = [await served.exchange(request) for request in requests]
        return {answer.status: dict(answer.headers.items()) for answer in found}

    async def test_answers_name_the_origin_that_asked(self, served: Serving) -> None:
        answers = await self.answers(served, {"Origin": "https://shop.example"})

        assert set(answers) == {200, 400, 401, 404, 405, 204}
        for headers in answers.values():
            assert headers["Access-Control-Allow-Origin"] == "https://shop.example"
            assert headers["Access-Control-Allow-Credentials"] == "true"
            assert headers["Access-Control-Expose-Headers"] == "Retry-After"
            assert headers["Vary"] == "Origin"

    async def test_answers_without_an_origin_are_for_anyone(self, served: Serving) -> None:
        for headers in (await self.answers(served, {})).values():
            assert headers["Access-Control-Allow-Origin"] == "*"
            assert "Access-Control-Allow-Credentials" not in headers

    async def test_refusal_for_want_of_room_can_be_read_too(self, tmp_path: Path) -> None:
        async with serving(tmp_path, min_free_bytes=2**60) as served:
            answer = await served.post(
                "/v1/t", EVENT, {"Origin": "https://shop.example", "X-Write-Key": KEY}
            )

        assert answer.status == 503
        assert answer.headers["Access-Control-Allow-Origin"] == "https://shop.example"
        assert answer.headers["Access-Control-Expose-Headers"] == "Retry-After"

    @pytest.mark.parametrize("target", ["/v1/t", "/v1/batch/", "/nowhere", "*"])
    async def test_preflight_is_answered_on_every_path_without_a_key(
        self, served: Serving, target: str
    ) -> None:
        asked = {"Origin": "null", "Access-Control-Request-Headers": "authorization, x-mine"}
        answer = await served.exchange(message(target, b"", asked, method="OPTIONS"))

        assert (answer.status, answer.body) == (204, b"")
        assert answer.headers["Access-Control-Allow-Headers"] == "authorization, x-mine"
        assert "POST" in answer.headers["Access-Control-Allow-Methods"]
        assert int(answer.headers["Access-Control-Max-Age"]) > 0

    async def test_preflight_that_asks_for_no_headers_is_told_those_of_the_sdks(
        self, served: Serving
    ) -> None:
        answer = await served.exchange(
            message("/v1/t", b"", {"Origin": "https://a.example"}, method="OPTIONS")
        )

        allowed = answer.headers["Access-Control-Allow-Headers"].split(", ")
        assert {"authorization", "content-type", "x-retry-count", "x-write-key"} <= set(allowed)


async def test_answers_do_not_tell_what_they_are_made_with(served: Serving) -> None:
    for data in (message("/v1/t", EVENT, AUTH), message("/nowhere"), b"garbage\r\n\r\n"):
        answer = await served.exchange(data)
        assert answer.headers["Server"] == "gateway"


async def test_requests_are_counted_by_family_and_status(served: Serving) -> None:
    await served.post()
    await served.post("/v1/t", b"{")
    await served.post("/nowhere")

    text = served.telemetry.render().decode()
    for family, status in (("segment", 200), ("segment", 400), ("other", 404)):
        assert f'gateway_http_requests_total{{family="{family}",status="{status}"}} 1.0' in text
    assert 'gateway_events_received_total{source="sdk"} 1.0' in text
