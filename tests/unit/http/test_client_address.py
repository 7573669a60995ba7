"""Whose address counts as the client's."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from gateway.config import ProxyHeader, ServerConfig
from gateway.http.client_address import ClientAddress
from gateway.policy import address_of
from tests.support.serving import EVENT, KEY, Serving, serving

PRIVATE = ("10.0.0.0/8", "fd00::/8")
PROXY = "10.0.0.1"
FOR: ProxyHeader = "X-Forwarded-For"
RFC: ProxyHeader = "Forwarded"
REAL: ProxyHeader = "X-Real-IP"


def found(
    peer: str,
    *headers: tuple[str, str],
    proxies: Sequence[str] = PRIVATE,
    believed: Sequence[ProxyHeader] = ServerConfig().proxy_headers,
) -> str | None:
    request = make_mocked_request("POST", "/v1/t", headers=CIMultiDict(headers))
    return ClientAddress(proxies, believed).of(request.clone(remote=peer))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("1.2.3.4", "1.2.3.4"),
        (" 1.2.3.4\t", "1.2.3.4"),
        ("1.2.3.4:80", "1.2.3.4"),
        ("1.2.3.4:_port", "1.2.3.4"),
        ("2001:DB8::0:1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("[2001:db8::1]:_x", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("::ffff:1.2.3.4", "1.2.3.4"),
        ("[::FFFF:102:304]:5", "1.2.3.4"),
        ("::1.2.3.4", "::102:304"),
        *((text, None) for text in ("", "unknown", "_hidden", "1.2.3", "1.2.3.4.5", "01.2.3.4")),
        *((text, None) for text in ("256.1.1.1", "1.2.3.4/8", "[1.2.3.4", "::1]", "1:2", "x:80")),
        *(
            (text, None)
            for text in ("1.2.3.4:80:90", "[::1]x", "\u0661.2.3.4", "1" * 100, "::" * 99)
        ),
    ],
)
def test_address_is_read_without_port_brackets_and_zone(text: str, address: str | None) -> None:
    read = address_of(text)
    assert (None if read is None else str(read)) == address


class TestProxies:
    @pytest.mark.parametrize("header", [FOR, REAL])
    def test_only_a_trusted_proxy_is_believed(self, header: str) -> None:
        assert found("5.5.5.5", (header, "1.1.1.1")) == "5.5.5.5"
        assert found(PROXY, (header, "1.1.1.1"), proxies=()) == PROXY
        assert found(PROXY, (header, "1.1.1.1")) == "1.1.1.1"
        assert found("::ffff:10.0.0.1", (header, "1.1.1.1")) == "1.1.1.1"
        assert found("fd00::7", (header, "1.1.1.1")) == "1.1.1.1"

    def test_without_a_header_it_is_the_other_end_of_the_connection(self) -> None:
        assert found(PROXY) == PROXY
        assert found(PROXY, (FOR, ""), (REAL, " ")) == PROXY
        assert found("::ffff:5.5.5.5", proxies=()) == "5.5.5.5"
        assert found("", (FOR, "1.1.1.1")) is None

    @pytest.mark.parametrize(
        ("lines", "expected"),
        [
            (["6.6.6.6, 1.1.1.1"], "1.1.1.1"),
            (["6.6.6.6 ,1.1.1.1, 10.9.9.9"], "1.1.1.1"),
            (["6.6.6.6, 1.1.1.1:8080,10.9.9.9:1"], "1.1.1.1"),
            (["6.6.6.6, [2a00::5]:80, fd00::1"], "2a00::5"),
            (["6.6.6.6, ::ffff:1.1.1.1, ::ffff:10.9.9.9"], "1.1.1.1"),
            (["10.1.1.1, 10.9.9.9"], "10.1.1.1"),
            # HAProxy adds a line of its own to the one the client made up.
            (["6.6.6.6", "1.1.1.1"], "1.1.1.1"),
            (["6.6.6.6", "1.1.1.1, 10.9.9.9"], "1.1.1.1"),
            # What is written before something that nobody can read may be made up.
            (["unknown"], None),
            (["1.1.1.1,"], None),
            (["1.1.1.1, unknown"], None),
            (["1.1.1.1, _hidden, 10.9.9.9"], None),
            (["1.1.1.1, 10.9.9.999"], None),
        ],
    )
    def test_nearest_address_that_no_proxy_has_is_the_clients(
        self, lines: list[str], expected: str | None
    ) -> None:
        assert found(PROXY, *((FOR, line) for line in lines)) == expected

    @pytest.mark.parametrize(
        ("lines", "expected"),
        [
            (["for=1.1.1.1"], "1.1.1.1"),
            (["For=1.1.1.1;proto=https;by=10.0.0.1"], "1.1.1.1"),
            (["proto=https; for=1.1.1.1"], "1.1.1.1"),
            (['for="1.1.1.1:8080"'], "1.1.1.1"),
            (['for="[2a00::5]"'], "2a00::5"),
            (['for="[2a00::5]:4711";proto=http'], "2a00::5"),
            (['for="[2a00::\\5]:_gazonk"'], "2a00::5"),
            (["for=6.6.6.6, for=1.1.1.1"], "1.1.1.1"),
            (["for=6.6.6.6, for=1.1.1.1, for=10.9.9.9"], "1.1.1.1"),
            (["for=6.6.6.6", 'for="1.1.1.1"'], "1.1.1.1"),
            (["for=unknown"], None),
            (["for=_hidden"], None),
            (["for=6.6.6.6, for=unknown, for=10.9.9.9"], None),
            (["for=6.6.6.6, proto=https"], None),
            (["for=6.6.6.6, for=2a00::5"], None),  # IPv6 has to be quoted
            # A client's open quote must not hide what the proxy adds.
            (['for="6.6.6.6, for=1.1.1.1'], "1.1.1.1"),
            (['for="6.6.6.6, for="[2a00::5]"'], None),
            (["for=6.6.6.6 for=1.1.1.1"], "6.6.6.6"),
            (["junk"], None),
        ],
    )
    def test_forwarded_is_read_as_rfc_7239_has_it(
        self, lines: list[str], expected: str | None
    ) -> None:
        assert found(PROXY, *((RFC, line) for line in lines)) == expected

    def test_headers_count_in_the_order_of_the_configuration(self) -> None:
        headers = ((REAL, "3.3.3.3"), (RFC, "for=2.2.2.2"), (FOR, "1.1.1.1"))
        assert found(PROXY, *headers) == "1.1.1.1"
        assert found(PROXY, *headers[:2]) == "2.2.2.2"
        assert found(PROXY, *headers, believed=[REAL, FOR]) == "3.3.3.3"
        assert found(PROXY, *headers[1:], believed=[REAL]) == PROXY
        assert found(PROXY, (FOR, "unknown"), headers[0]) == "3.3.3.3"
        assert found(PROXY, (REAL, "6.6.6.6"), (REAL, "1.1.1.1")) == "1.1.1.1"

    def test_when_everybody_is_trusted_the_farthest_counts(self) -> None:
        assert found(PROXY, (FOR, "1.1.1.1, 2.2.2.2"), proxies=["0.0.0.0/0"]) == "1.1.1.1"

    @given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60))
    def test_whatever_a_client_writes_the_proxys_word_counts(self, made_up: str) -> None:
        assert found(PROXY, (FOR, f"{made_up}, 1.1.1.1")) == "1.1.1.1"
        assert found(PROXY, (RFC, made_up), (RFC, "for=1.1.1.1")) == "1.1.1.1"
        assert found("5.5.5.5", (FOR, made_up), (RFC, made_up), (REAL, made_up)) == "5.5.5.5"

    @given(
        st.sampled_from([FOR, RFC, REAL]),
        st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60),
    )
    def test_what_is_found_is_an_address(self, header: str, text: str) -> None:
        address = found(PROXY, (header, text))
        assert address is None or str(address_of(address)) == address


class TestRequests:
    async def ip(self, served: Serving, target: str, *headers: tuple[str, str]) -> object:
        assert (await served.post(target, EVENT, [("X-Write-Key", KEY), *headers])).status == 200
        return (await served.records())[-1][1]["properties"]["ip"]

    async def test_address_is_filled_in_for_devices_and_pages_only(self, tmp_path: Path) -> None:
        async with serving(tmp_path) as served:
            assert await self.ip(served, "/v1/t") == "127.0.0.1"
            assert await self.ip(served, "/v1/b") == "127.0.0.1"
            assert await self.ip(served, "/v1/track", ("Origin", "https://a")) == "127.0.0.1"
            assert await self.ip(served, "/v1/track") == 0
            assert await self.ip(served, "/v1/batch") == 0

    async def test_forwarded_address_counts_only_from_trusted_proxies(self, tmp_path: Path) -> None:
        forwarded = (FOR, "6.6.6.6, 1.1.1.1:99")
        async with serving(tmp_path / "a") as served:
            assert await self.ip(served, "/v1/t", forwarded) == "127.0.0.1"
        async with serving(tmp_path / "b", trusted_proxies=("127.0.0.0/8",)) as served:
            assert await self.ip(served, "/v1/t", forwarded) == "1.1.1.1"
            assert await self.ip(served, "/v1/t", (RFC, 'for="[2a00::5]:1"')) == "2a00::5"
            assert await self.ip(served, "/v1/t", (REAL, "2.2.2.2")) == "2.2.2.2"
            assert await self.ip(served, "/v1/t", (FOR, "unknown")) == 0
            assert await self.ip(served, "/v1/track", forwarded) == 0
        async with serving(
            tmp_path / "c", trusted_proxies=("127.0.0.0/8",), proxy_headers=(REAL,)
        ) as served:
            assert await self.ip(served, "/v1/t", forwarded) == "127.0.0.1"
            assert await self.ip(served, "/v1/t", forwarded, (REAL, "2.2.2.2")) == "2.2.2.2"
