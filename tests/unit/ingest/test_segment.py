"""What Segment's SDKs ask for, images, and what is filled in for devices."""

import base64
import gzip
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.processes import gateway
from tests.support.serving import EVENT, KEY, Answer, Serving, message, serving

AUTH = {"X-Write-Key": KEY}
CHROME = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/120.5.0.0 Safari/537.36"
)

HTTP_CONFIG = {
    "rateLimitConfig": {"enabled": True, "maxRetryCount": 100, "maxRetryInterval": 300},
    "backoffConfig": {
        "enabled": True,
        "maxRetryCount": 100,
        "baseBackoffInterval": 0.5,
        "maxBackoffInterval": 300,
        "maxTotalBackoffDuration": 43200,
        "jitterPercent": 10,
        "default4xxBehavior": "drop",
        "default5xxBehavior": "retry",
        "statusCodeOverrides": {
            "408": "retry",
            "410": "retry",
            "429": "retry",
            "460": "retry",
            "501": "drop",
            "505": "drop",
            "511": "drop",
        },
    },
}


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Serving]:
    async with serving(tmp_path) as running:
        yield running


def get(target: str, headers: dict[str, str] | None = None, host: str = "gateway.test") -> bytes:
    request = message(target, headers=headers or {}, method="GET", has_length=False)
    return request.replace(b"Host: gateway.test\r\n", f"Host: {host}\r\n".encode())


class TestSettings:
    def segment(self, answer: Answer) -> dict[str, Any]:
        assert answer.status == 200
        document = answer.json()
        assert document.keys() == {"integrations", "metrics"}
        assert document["integrations"].keys() == {"Segment.io"}
        segment: dict[str, Any] = document["integrations"]["Segment.io"]
        return segment

    async def test_document_is_what_every_sdk_can_read(self, served: Serving) -> None:
        answer = await served.exchange(get(f"/v1/projects/{KEY}/settings"))

        assert answer.json() == {
            "integrations": {
                "Segment.io": {
                    "apiKey": KEY,
                    "apiHost": "gateway.test/v1",
                    "protocol": "http",
                    "httpConfig": HTTP_CONFIG,
                }
            },
            "metrics": {"sampleRate": 0},
        }
        # Kotlin and Swift read these as integers: 100.0 would be none.
        assert b'"maxRetryCount":100,' in answer.body
        assert b'"sampleRate":0}' in answer.body
        assert b"null" not in answer.body

    @pytest.mark.parametrize(
        ("path", "headers", "key"),
        [
            ("/v1/projects/unknown-key/settings", {}, "unknown-key"),
            ("/v1/projects/id%3Asecret/settings", {}, "id:secret"),
            ("/v1/projects/a%22%3Cb/settings", {}, 'a"<b'),
            ("/projects", AUTH, KEY),
            (f"/v1/projects?writeKey={KEY}", {}, KEY),
            ("/v1/projects", {}, ""),
            ("/", {}, ""),
        ],
    )
    async def test_settings_are_served_for_every_key_and_for_none(
        self, served: Serving, path: str, headers: dict[str, str], key: str
    ) -> None:
        assert self.segment(await served.exchange(get(path, headers)))["apiKey"] == key

    async def test_pages_of_other_origins_may_read_and_keep_it(self, served: Serving) -> None:
        answer = await served.exchange(
            get(f"/v1/projects/{KEY}/settings", {"Origin": "https://shop.example"})
        )

        assert answer.headers["Access-Control-Allow-Origin"] == "https://shop.example"
        assert answer.headers["Vary"] == "Origin"
        assert answer.headers["Cache-Control"] == "private, max-age=300"

    @pytest.mark.parametrize(
        ("host", "api_host"),
        [
            ("events.example.com", "events.example.com/v1"),
            ("events.example.com:8443", "events.example.com:8443/v1"),
            ("[2001:db8::1]:8080", "[2001:db8::1]:8080/v1"),
        ],
    )
    async def test_host_is_the_one_that_was_asked(
        self, served: Serving, host: str, api_host: str
    ) -> None:
        segment = self.segment(await served.exchange(get("/v1/projects/k/settings", host=host)))
        assert segment["apiHost"] == api_host
        assert segment["protocol"] == "http"

    @pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1", "[::1]:8080"])
    async def test_pages_on_https_are_told_http_for_this_machine_only(
        self, served: Serving, host: str
    ) -> None:
        answer = await served.exchange(
            get("/v1/projects/k/settings", {"Origin": "https://app.example"}, host)
        )
        assert self.segment(answer)["protocol"] == "http"

    @pytest.mark.parametrize(
        ("headers", "scheme"),
        [
            ({}, "http"),
            ({"Origin": "http://shop.example"}, "http"),
            ({"Origin": "https://shop.example"}, "https"),
            ({"Origin": "HTTPS://shop.example"}, "https"),
            ({"Origin": "null"}, "http"),
            ({"Referer": "https://shop.example/cart"}, "https"),
            ({"Origin": "http://shop.example", "Referer": "https://shop.example"}, "http"),
            ({"Origin": "http://shop.example", "X-Forwarded-Proto": "https"}, "http"),
            ({"Origin": "http://shop.example", "X-ARR-SSL": "2048"}, "http"),
            ({"Forwarded": "proto=https", "CF-Visitor": '{"scheme":"https"}'}, "http"),
        ],
    )
    async def test_scheme_is_the_one_that_was_used_and_that_a_page_may_use(
        self, served: Serving, headers: dict[str, str], scheme: str
    ) -> None:
        answer = await served.exchange(get("/v1/projects/k/settings", headers))
        assert self.segment(answer)["protocol"] == scheme
        assert answer.headers["Cache-Control"].startswith("private,")

    @pytest.mark.parametrize(
        ("name", "text", "scheme"),
        [
            ("X-Forwarded-Proto", "https", "https"),
            ("X-Forwarded-Proto", " HTTPS , http", "https"),
            ("X-Forwarded-Proto", "http, https", "http"),
            ("X-Forwarded-Proto", "http", "http"),
            ("X-Forwarded-Proto", "", "http"),
            ("X-Forwarded-Proto", "\udcff", "http"),
            ("Forwarded", "for=192.0.2.1;proto=https;host=a", "https"),
            ("Forwarded", 'for=192.0.2.1;Proto="HTTPS", proto=http', "https"),
            ("Forwarded", "proto=http, proto=https", "http"),
            ("X-Forwarded-Scheme", "https", "https"),
            ("X-Scheme", "https", "https"),
            ("X-Forwarded-Ssl", "on", "https"),
            ("X-Forwarded-Ssl", "off", "http"),
            ("Front-End-Https", "On", "https"),
            ("CloudFront-Forwarded-Proto", "https", "https"),
            ("X-Forwarded-Protocol", "https", "https"),
            ("X-Forwarded-Protocol", "SSL", "https"),
            ("X-Forwarded-Protocol", "http", "http"),
            ("X-Url-Scheme", "https", "https"),
            ("X-Url-Scheme", "http", "http"),
            ("X-ARR-SSL", "2048|256|C=US, O=CA|CN=a.example", "https"),
            ("X-ARR-SSL", " ", "http"),
            ("CF-Visitor", '{"scheme": "https"}', "https"),
            ("CF-Visitor", '{"scheme":"http"}', "http"),
        ],
    )
    async def test_scheme_is_what_a_trusted_proxy_says(
        self, tmp_path: Path, name: str, text: str, scheme: str
    ) -> None:
        async with serving(tmp_path, trusted_proxies=("127.0.0.0/8",)) as served:
            answer = await served.exchange(
                get("/v1/projects/k/settings", {name: text, "Origin": "http://shop.example"})
            )
        assert self.segment(answer)["protocol"] == scheme

    @pytest.mark.parametrize("scheme", ["http", "https"])
    async def test_configured_scheme_counts_before_all_others(
        self, tmp_path: Path, scheme: str
    ) -> None:
        other = "https" if scheme == "http" else "http"
        headers = {"X-Forwarded-Proto": other, "Origin": f"{other}://shop.example"}
        public_host = f"{scheme}://events.example.com/a"
        async with serving(
            tmp_path, public_host=public_host, trusted_proxies=("127.0.0.0/8",)
        ) as served:
            answer = await served.exchange(get("/v1/projects/k/settings", headers, "evil.example"))
        segment = self.segment(answer)
        assert (segment["protocol"], segment["apiHost"]) == (scheme, "events.example.com/a/v1")
        assert answer.headers["Cache-Control"] == "public, max-age=300"

    @pytest.mark.parametrize(
        "host", ["", "a b", "a/b", "evil.example/@", "user@host", "a,b", "host:port", "x" * 300]
    )
    async def test_host_that_is_none_is_answered_400(self, served: Serving, host: str) -> None:
        answer = await served.exchange(get("/v1/projects/k/settings", host=host))
        assert (answer.status, answer.code) == (400, "invalid_host")

    async def test_health_needs_no_host(self, served: Serving) -> None:
        answer = await served.exchange(b"GET / HTTP/1.0\r\n\r\n")
        assert (answer.status, answer.body) == (200, b"{}")

    async def test_host_of_a_proxy_counts_only_where_it_is_trusted(self, tmp_path: Path) -> None:
        request = get("/v1/projects/k/settings", {"X-Forwarded-Host": "events.example.com, b"})
        async with serving(tmp_path / "a") as served:
            answer = await served.exchange(request)
            assert self.segment(answer)["apiHost"] == "gateway.test/v1"
        async with serving(tmp_path / "b", trusted_proxies=("127.0.0.0/8",)) as served:
            answer = await served.exchange(request)
            assert self.segment(answer)["apiHost"] == "events.example.com/v1"
            # A cache in between must not give it to others.
            assert answer.headers["Cache-Control"].startswith("private,")

    async def test_configured_host_counts_before_all_others(self, tmp_path: Path) -> None:
        async with serving(
            tmp_path, public_host="events.example.com/a", trusted_proxies=("127.0.0.0/8",)
        ) as served:
            answer = await served.exchange(
                get("/v1/projects/k/settings", {"X-Forwarded-Host": "evil.example"}, "evil.example")
            )
            assert self.segment(answer)["apiHost"] == "events.example.com/a/v1"
            assert answer.headers["Cache-Control"] == "private, max-age=300"  # it has a scheme
            # Nor does it need one.
            assert (await served.exchange(b"GET /v1/projects HTTP/1.0\r\n\r\n")).status == 200


class TestDiscarded:
    async def test_metrics_of_sdks_are_taken_from_anybody_and_forgotten(
        self, served: Serving
    ) -> None:
        body = b'{"series":[{"type":"Counter","metric":"m","value":1,"tags":{}}]}'
        async with served.connection() as connection:
            for data, headers in (
                (body, {"Content-Type": "text/plain"}),
                (gzip.compress(body), {"Content-Encoding": "gzip"}),
                (b"no JSON", {}),
                (b"", {}),
            ):
                await connection.send(message("/v1/m", data, headers))
                answer = await connection.answer()
                assert (answer.status, answer.body) == (200, b'{"success":true}')
        assert await served.records() == []
        assert await served.letters() == []

    async def test_their_size_is_limited(self, tmp_path: Path) -> None:
        async with serving(tmp_path, max_body_bytes=4096) as served:
            answer = await served.post("/v1/m", b"x" * 5000, {})
            assert (answer.status, answer.code) == (400, "body_too_large")


class TestImages:
    def query(self, event: object, key: str = KEY) -> str:
        text = event if isinstance(event, bytes) else json.dumps(event).encode()
        return f"/v1/pixel/track?writeKey={key}&data={base64.urlsafe_b64encode(text).decode()}"

    async def properties(self, served: Serving, target: str, **headers: str) -> dict[str, Any]:
        answer = await served.exchange(get(target, headers))
        assert (answer.status, answer.headers["Content-Type"]) == (200, "image/gif")
        found: dict[str, Any] = (await served.records())[-1][1]["properties"]
        return found

    async def test_data_may_be_base64_of_any_alphabet(self, served: Serving) -> None:
        event = {"event": "E", "userId": "u", "properties": {"p": "ÿ>?>?~~~ÿþ"}}
        text = json.dumps(event, ensure_ascii=False).encode()
        standard, safe = base64.b64encode(text).decode(), base64.urlsafe_b64encode(text).decode()
        assert {"+", "/"} <= set(standard)
        for data in (quote(standard, safe=""), standard, safe, safe.rstrip("=")):
            found = await self.properties(served, f"/v1/pixel/track?writeKey={KEY}&data={data}")
            assert found["p"] == "ÿ>?>?~~~ÿþ"

    async def test_key_may_be_in_the_data(self, served: Serving) -> None:
        data = base64.b64encode(b'{"event":"E","userId":"u","writeKey":"%b"}' % KEY.encode())
        await self.properties(served, f"/v1/pixel/track?data={quote(data.decode())}")

    async def test_names_with_dots_are_paths_and_win_over_the_data(self, served: Serving) -> None:
        target = self.query(
            b'{"event":"E","userId":"u","properties":{"a":1.50,"b":12345678901234567890,"c":{"d":1}}}'
        )
        found = await self.properties(
            served, f"{target}&properties.c.e=2&properties.f=x%20y&userId=other"
        )
        assert (found["a"], found["b"]) == (1.5, 12345678901234567890)
        assert (found["c"], found["f"]) == ({"d": 1, "e": "2"}, "x y")
        assert found["distinct_id"] == "other"

    async def test_viewers_address_and_browser_are_filled_in(self, served: Serving) -> None:
        found = await self.properties(
            served, self.query({"event": "E", "userId": "u"}), **{"User-Agent": CHROME}
        )
        assert (found["ip"], found["$browser"]) == ("127.0.0.1", "Chrome")

    async def test_question_whether_it_is_there_is_no_view(self, served: Serving) -> None:
        target = self.query({"event": "E", "userId": "u"})
        async with served.connection() as connection:
            await connection.send(message(target, method="HEAD"))
            answer = await connection.answer(has_body=False)
        assert (answer.status, answer.headers["Content-Type"]) == (200, "image/gif")
        assert await served.records() == []

    @pytest.mark.parametrize(
        ("query", "status"),
        [
            ("", 401),
            ("writeKey=wrong&event=E", 401),
            (f"writeKey={KEY}&data=%%%", 400),
            (f"writeKey={KEY}&data=e", 400),
            (f"writeKey={KEY}&data={base64.b64encode(b'[1]').decode()}", 400),
            (f"writeKey={KEY}&data={base64.b64encode(b'{').decode()}", 400),
            (f"writeKey={KEY}&data={base64.b64encode(b'[' * 2000).decode()}&event=E", 400),
            (f"writeKey={KEY}&batch=x", 400),
            (f"writeKey={KEY}&properties.{'a.' * 20}b=1", 400),
        ],
    )
    async def test_refusals_are_images_with_the_truth_in_the_status(
        self, served: Serving, query: str, status: int
    ) -> None:
        answer = await served.exchange(get(f"/v1/pixel/track?{query}"))

        assert (answer.status, answer.headers["Content-Type"]) == (status, "image/gif")
        assert answer.body.startswith(b"GIF89a")
        assert await served.records() == []

    async def test_full_disk_is_no_success(self, tmp_path: Path) -> None:
        async with serving(tmp_path, min_free_bytes=2**60) as served:
            answer = await served.exchange(get(self.query({"event": "E", "userId": "u"})))
            assert (answer.status, answer.headers["Content-Type"]) == (503, "image/gif")
            assert answer.headers["Retry-After"].isdecimal()

    async def test_bytes_that_are_no_text_do_no_harm(self, served: Serving) -> None:
        found = await self.properties(
            served, f"/v1/pixel/track?writeKey={KEY}&event=E&userId=u&properties.p=%ff%fe"
        )
        assert "p" in found


class TestDevices:
    """Whose address and browser an event gets."""

    async def stored(
        self,
        served: Serving,
        target: str,
        user_agent: str,
        event: bytes = EVENT,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> dict[str, Any]:
        answer = await served.post(target, event, {**AUTH, "User-Agent": user_agent, **headers})
        assert answer.status == 200
        found: dict[str, Any] = (await served.records())[-1][1]["properties"]
        return found

    @pytest.mark.parametrize(
        ("target", "headers"),
        [
            ("/v1/t", {}),
            ("/v1/b", {}),
            ("/beacon/v1/batch", {}),
            ("/api/s/track", {}),
            ("/api/syft", {}),
            ("/v1/track", {"Origin": "https://shop.example"}),
        ],
    )
    async def test_browser_is_filled_in_for_pages(
        self, served: Serving, target: str, headers: dict[str, str]
    ) -> None:
        found = await self.stored(served, target, CHROME, headers=headers)
        assert (found["$browser"], found["$browser_version"]) == ("Chrome", "120.5")

    async def test_browser_that_the_event_names_stays(self, served: Serving) -> None:
        firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0"
        event = EVENT[:-1] + b',"context":{"userAgent":"%b","locale":"de"}}' % firefox.encode()
        found = await self.stored(served, "/v1/t", CHROME, event)
        assert (found["$browser"], found["$locale"]) == ("Firefox", "de")

    async def test_rest_of_the_context_stays(self, served: Serving) -> None:
        event = EVENT[:-1] + b',"context":{"locale":"de","app":{"version":"1"}}}'
        found = await self.stored(served, "/v1/t", CHROME, event)
        assert (found["$browser"], found["$locale"]) == ("Chrome", "de")
        assert found["$app_version_string"] == "1"

    @pytest.mark.parametrize("target", ["/v1/track", "/v1/batch", "/api/s/s2s/track"])
    async def test_nothing_is_filled_in_for_servers(self, served: Serving, target: str) -> None:
        found = await self.stored(served, target, CHROME)
        assert "$browser" not in found
        assert found["ip"] == 0

    @pytest.mark.parametrize(
        "user_agent",
        [
            "analytics-kotlin/1.24.1",
            "analytics-ios/1.9.4",
            "analytics-node-next/latest",
            "okhttp/4.12.0",
            "Shop/12 CFNetwork/1494.0.7 Darwin/23.4.0",
            "Mozilla/5.0 Chrome/120.0 " + "x" * 600,
            "",
        ],
    )
    async def test_what_an_sdk_calls_itself_is_no_browser(
        self, served: Serving, user_agent: str
    ) -> None:
        event = EVENT[:-1] + b',"context":{"locale":"de"}}'
        found = await self.stored(served, "/v1/b", user_agent, event)
        assert "$browser" not in found
        assert found["ip"] == "127.0.0.1"

    @pytest.mark.parametrize(
        ("user_agent", "event"),
        [
            ("analytics-android/4.11.3", EVENT),
            ("analytics-ios/4.1.8", EVENT),
            ("okhttp/4.12.0", EVENT[:-1] + b',"channel":"mobile"}'),
        ],
    )
    async def test_phones_are_known_where_servers_send_too(
        self, served: Serving, user_agent: str, event: bytes
    ) -> None:
        found = await self.stored(served, "/v1/batch", user_agent, event)
        assert found["ip"] == "127.0.0.1"

    async def test_address_that_the_event_names_stays(self, served: Serving) -> None:
        event = EVENT[:-1] + b',"context":{"ip":"203.0.113.7"}}'
        for target in ("/v1/t", "/v1/track", "/api/s/s2s/track", "/api/syft"):
            assert (await self.stored(served, target, CHROME, event))["ip"] == "203.0.113.7"

    async def test_browser_is_kept_with_what_could_not_be_mapped(self, served: Serving) -> None:
        answer = await served.post("/v1/t", b'{"userId":"u"}', {**AUTH, "User-Agent": CHROME})
        assert answer.status == 200
        (letter,) = await served.letters()
        assert json.loads(letter.payload)["context"] == {"userAgent": CHROME}


class TestBundle:
    CHUNK = "ajs-destination.bundle.40628baed746e9904edc.js"

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        folder = tmp_path / "umd"
        folder.mkdir()
        (folder / "standalone.js").write_text("/* entry */" * 100)
        (folder / self.CHUNK).write_text("/* chunk */")
        (folder / f"{self.CHUNK}.map").write_text("{}")
        (folder / "notes.txt").write_text("secret")
        (tmp_path / "outside.js").write_text("secret")
        (folder / "inner").mkdir()
        (folder / "inner" / "deep.js").write_text("secret")
        return folder

    @pytest.fixture
    async def scripts(self, tmp_path: Path, folder: Path) -> AsyncIterator[Serving]:
        async with serving(tmp_path, browser_bundle=str(folder)) as running:
            yield running

    async def test_snippet_gets_the_entry_whatever_its_key(self, scripts: Serving) -> None:
        for key in (KEY, "unknown"):
            answer = await scripts.exchange(get(f"/analytics.js/v1/{key}/analytics.min.js"))
            assert (answer.status, answer.body) == (200, b"/* entry */" * 100)
            assert answer.headers["Content-Type"] == "text/javascript"
            assert answer.headers["Cache-Control"] == "public, max-age=300"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Access-Control-Allow-Origin"] == "*"

    async def test_chunks_are_kept_for_ever(self, scripts: Serving) -> None:
        for name, kind, body in (
            (self.CHUNK, "text/javascript", b"/* chunk */"),
            (f"{self.CHUNK}.map", "application/json", b"{}"),
        ):
            answer = await scripts.exchange(get(f"/analytics-next/bundles/{name}"))
            assert (answer.status, answer.body) == (200, body)
            assert answer.headers["Content-Type"] == kind
            assert answer.headers["Cache-Control"].endswith("max-age=31536000, immutable")

    async def test_what_is_there_already_is_not_sent_again(self, scripts: Serving) -> None:
        target = f"/analytics.js/v1/{KEY}/analytics.min.js"
        async with scripts.connection() as connection:
            await connection.send(get(target))
            tag = (await connection.answer()).headers["ETag"]
            await connection.send(get(target, {"If-None-Match": f'W/"x", {tag}'}))
            answer = await connection.answer(has_body=False)
            assert (answer.status, answer.headers["ETag"]) == (304, tag)
            await connection.send(get(target, {"If-None-Match": '"other"'}))
            assert (await connection.answer()).status == 200

    async def test_browsers_that_can_get_it_compressed(self, scripts: Serving) -> None:
        answer = await scripts.exchange(
            get(f"/analytics.js/v1/{KEY}/analytics.min.js", {"Accept-Encoding": "gzip, br"})
        )
        assert answer.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(answer.body) == b"/* entry */" * 100
        assert "Accept-Encoding" in ", ".join(answer.headers.get_all("Vary", []))

    @pytest.mark.parametrize(
        "name",
        [
            *("..%2Foutside.js", "..%2f..%2fetc%2fpasswd", "%2Fetc%2Fpasswd", "..\\outside.js"),
            *("notes.txt", "inner", "inner%2Fdeep.js", ".", "..", "%00", "standalone.js%00.map"),
        ],
    )
    async def test_nothing_else_is_served(self, scripts: Serving, name: str) -> None:
        for target in (f"/analytics-next/bundles/{name}", f"/analytics.js/v1/{KEY}/{name}"):
            answer = await scripts.exchange(get(target))
            assert (answer.status, answer.code) == (404, "not_found")
            assert b"secret" not in answer.body

    async def test_file_that_changes_is_served_as_it_was(
        self, scripts: Serving, folder: Path
    ) -> None:
        (folder / "standalone.js").unlink()
        (folder / "standalone.js").symlink_to("/etc/passwd")
        answer = await scripts.exchange(get(f"/analytics.js/v1/{KEY}/analytics.min.js"))
        assert answer.body == b"/* entry */" * 100

    async def test_without_a_folder_there_is_none(self, served: Serving) -> None:
        answer = await served.exchange(get(f"/analytics.js/v1/{KEY}/analytics.min.js"))
        assert (answer.status, answer.code) == (404, "not_found")

    @pytest.mark.parametrize(
        ("folder_has", "problem"),
        [
            (None, "cannot be read: No such file or directory"),
            ("index.js", "has no standalone.js"),
        ],
    )
    async def test_another_folder_is_told_before_and_when_it_starts(
        self, tmp_path: Path, folder_has: str | None, problem: str
    ) -> None:
        folder = tmp_path / "elsewhere"
        if folder_has is not None:
            folder.mkdir()
            (folder / folder_has).touch()
        with pytest.raises(OSError, match=f"server.browser_bundle: {problem}; accepted: "):
            async with serving(tmp_path, browser_bundle=str(folder)):
                pass

        config = tmp_path / "gateway.toml"
        config.write_text(
            f'server = {{browser_bundle = "{folder}"}}\n'
            'sources = [{name = "a", write_key = "k"}]\n'
            'destinations = [{settings = {projectToken = "t"}}]\n'
        )
        for command in ("check", "run"):
            done = await gateway(command, "--config", str(config))
            assert done.code == 2
            assert f"server.browser_bundle: {problem}; accepted: " in done.stderr
