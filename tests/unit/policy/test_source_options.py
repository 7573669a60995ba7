"""The options of a source over HTTP: what clients are told, what is stored, what is counted."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.config import (
    DestinationConfig,
    DestinationSettings,
    IpPolicy,
    Secret,
    SourceConfig,
    SubscriptionConfig,
)
from gateway.events import decode, encode
from gateway.mapping import Remap
from gateway.mapping.policies import address_places
from gateway.model import Origin
from gateway.policy import policy_of
from tests.support.serving import KEY, Answer, Serving, message, serving

AUTH = {"X-Write-Key": KEY}
PAGE = "https://shop.example.com"

IPV4, IPV6 = "203.0.113.77", "2001:db8:1:2::77"
"""Addresses that must not be stored; the first is also the client's."""


def source(**options: Any) -> SourceConfig:
    return SourceConfig(name="web", write_key=Secret(KEY), **options)


async def send(
    served: Serving, body: object, headers: Mapping[str, str] | None = None, to: str = "/v1/b"
) -> Answer:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await served.post(to, text, {**AUTH, "X-Forwarded-For": IPV4, **(headers or {})})


async def stored(served: Serving) -> str:
    """Return everything that is on disk."""
    letters = [(each.payload.decode(), str(each.origin)) for each in await served.letters()]
    raw = b"".join(file.read_bytes() for file in served.spool.path.parent.iterdir())
    assert raw
    return json.dumps([await served.records(), letters]) + raw.decode("latin-1")


def counted(served: Serving, name: str) -> dict[str, float]:
    """Return a counter of the source by reason."""
    found = (sample for family in served.telemetry.registry.collect() for sample in family.samples)
    return {each.labels["reason"]: each.value for each in found if each.name == f"gateway_{name}"}


class TestOrigins:
    ALLOWED = ("https://example.com", "https://*.example.com")

    @pytest.mark.parametrize(
        ("origin", "status"),
        [
            (None, 200),
            ("https://example.com", 200),
            ("https://shop.example.com", 200),
            ("https://evil.test", 400),
            ("http://example.com", 400),
            ("null", 400),
        ],
    )
    @pytest.mark.parametrize("key_in", ["header", "query", "body"])
    async def test_pages_that_are_not_listed_are_refused(
        self, tmp_path: Path, origin: str | None, status: int, key_in: str
    ) -> None:
        body: dict[str, str] = {"event": "E", "userId": "u"}
        headers = {} if origin is None else {"Origin": origin}
        target = "/v1/t"
        if key_in == "header":
            headers |= AUTH
        elif key_in == "query":
            target += f"?writeKey={KEY}"
        else:
            body["writeKey"] = KEY
        async with serving(tmp_path, sources=[source(allowed_origins=self.ALLOWED)]) as served:
            answer = await served.post(target, json.dumps(body).encode(), headers)

            assert answer.status == status
            assert len(await served.records()) == (status == 200)
            # The page can read the answer, also of an error: SDKs send again what they cannot read.
            assert answer.headers["Access-Control-Allow-Origin"] == origin or origin is None
            if status == 400:
                assert answer.code == "origin_not_allowed"
                assert "Retry-After" not in answer.headers

    async def test_preflight_is_answered_to_all_so_that_the_refusal_can_be_read(
        self, tmp_path: Path
    ) -> None:
        async with serving(tmp_path, sources=[source(allowed_origins=self.ALLOWED)]) as served:
            headers = {"Origin": "https://evil.test", "Access-Control-Request-Method": "POST"}
            answer = await served.exchange(message("/v1/t", b"", headers, method="OPTIONS"))
            assert answer.status == 204
            assert answer.headers["Access-Control-Allow-Origin"] == "https://evil.test"

    async def test_without_a_list_every_page_may_send(self, tmp_path: Path) -> None:
        async with serving(tmp_path, sources=[source()]) as served:
            assert (await send(served, {"event": "E"}, {"Origin": "null"})).status == 200


class TestAddresses:
    BATCH: Mapping[str, Any] = {
        "context": {"ip": IPV4, "device": {"ip_address": IPV6}},
        "batch": [
            {"type": "track", "event": "A", "userId": "u"},
            {"type": "track", "event": "B", "userId": "u", "context": {"ip": f"[{IPV6}]:1"}},
            {"type": "track", "event": "C", "userId": "u", "properties": {"ip": IPV4, "$ip": IPV6}},
            {"type": "page", "name": "D", "properties": {"list": [{"clientIp": IPV4}]}},
            {"type": "identify", "userId": "u", "traits": {"ip": IPV4, "deep": {"ip": IPV6}}},
            {"type": "identify", "userId": "v", "traits": {"a": 1}},
            {"type": "group", "userId": "u", "groupId": "g", "traits": {"$ip": IPV6, "a": 1}},
            # These are kept as dead letters.
            {"type": "track", "properties": {"ip": IPV4}, "request_ip": IPV4},
            {"type": "track", "integrations": {"x": {"ip": IPV6}}, "event": {"ip": IPV4}},
            {"type": "group", "context": [{"ip": IPV4}], "traits": [IPV4]},
            [IPV4, {"ip": IPV6}],
            IPV6,
        ],
    }

    @pytest.mark.parametrize("ip", ["truncate", "drop"])
    async def test_no_full_address_is_stored(self, tmp_path: Path, ip: IpPolicy) -> None:
        async with serving(
            tmp_path, sources=[source(ip=ip)], trusted_proxies=("127.0.0.0/8",)
        ) as served:
            assert (await send(served, self.BATCH)).status == 200

            everything = await stored(served)
            assert IPV4 not in everything
            assert IPV6 not in everything
            assert ("203.0.113.0" in everything) == (ip == "truncate")
            assert ("2001:db8:1::" in everything) == (ip == "truncate")
            letters = await served.letters()
            assert len(letters) == 5
            assert {each.origin.client_ip for each in letters if each.origin} == {
                "203.0.113.0" if ip == "truncate" else None
            }
            events = {
                record["event"]: record["properties"]["ip"]
                for endpoint, record in await served.records()
                if endpoint == "import"
            }
            assert events == (
                {**dict.fromkeys(("A", "C", "Viewed D"), "203.0.113.0"), "B": "2001:db8:1::"}
                if ip == "truncate"
                else dict.fromkeys(("A", "B", "C", "Viewed D"), 0)
            )
            reasons = counted(served, "values_removed_total")
            assert set(reasons) <= {"ip_truncated", "ip_dropped"}
            assert sum(reasons.values()) >= 20

    async def test_kept_addresses_are_stored(self, tmp_path: Path) -> None:
        async with serving(
            tmp_path, sources=[source()], trusted_proxies=("127.0.0.0/8",)
        ) as served:
            assert (await send(served, self.BATCH)).status == 200
            everything = await stored(served)
            assert IPV4 in everything
            assert IPV6 in everything
            assert counted(served, "values_removed_total") == {}

    @pytest.mark.parametrize(
        ("configured", "asked", "left"),
        [
            ("keep", "remove", 0),
            ("keep", "stripLastOctet", "203.0.113.0"),
            ("truncate", "keep", "203.0.113.0"),
            ("truncate", "remove", 0),
            ("drop", "stripLastOctet", 0),
            ("keep", "keep", IPV4),
        ],
    )
    async def test_request_can_only_make_it_stricter(
        self, tmp_path: Path, configured: IpPolicy, asked: str, left: object
    ) -> None:
        async with serving(
            tmp_path, sources=[source(ip=configured)], trusted_proxies=("127.0.0.0/8",)
        ) as served:
            event = {"event": "E", "userId": "u", "properties": {"user": {"ip": IPV4}}}
            headers = {"X-IP-Policy": asked}
            assert (await send(served, event, headers, "/api/s/track")).status == 200
            assert (await send(served, {"userId": "u"}, headers, "/api/s/track")).status == 200

            [(_, record)] = await served.records()
            assert record["properties"]["ip"] == left
            [letter] = await served.letters()
            assert letter.origin is not None
            assert letter.origin.client_ip == (left or None)
            assert (IPV4 in await stored(served)) == (left == IPV4)

    async def test_places_that_a_mapping_of_ones_own_reads_count(self, tmp_path: Path) -> None:
        subscription = SubscriptionConfig(
            name="Track Calls",
            subscribe='type = "track"',
            action="trackEvent",
            mapping={"ip": {"@template": "{{properties.visitor.host}}"}},
        )
        destination = DestinationConfig(
            name="mp",
            settings=DestinationSettings(projectToken="T"),
            subscriptions=(subscription,),
        )
        assert "properties.visitor.host" in address_places([destination])
        body = {"event": "E", "userId": "u", "properties": {"visitor": {"host": IPV4, "x": IPV4}}}
        async with serving(
            tmp_path, sources=[source(ip="truncate")], destinations=[destination]
        ) as served:
            assert (await send(served, body, to="/v1/track")).status == 200
            [(_, record)] = await served.records()
            assert record["properties"]["ip"] == "203.0.113.0"
            assert record["properties"]["visitor"] == {"host": "203.0.113.0", "x": IPV4}


class TestEvents:
    async def test_what_is_filtered_is_answered_200_and_counted(self, tmp_path: Path) -> None:
        options = {"allowed_events": ("Order *", "Debug"), "denied_events": ("*Debug*",)}
        names = ["Order Completed", "Order Debug", "Debug", "Click", "Click"]
        batch = [{"type": "track", "event": name, "userId": "u"} for name in names]
        async with serving(tmp_path, sources=[source(**options)]) as served:
            assert (await send(served, {"batch": batch})).status == 200
            assert (await send(served, {"batch": batch[1:]})).status == 200
            assert (await send(served, {"type": "track", "userId": "u"})).status == 200

            assert await served.names() == ["Order Completed"]
            assert [each.reason for each in await served.letters()] == ["missing_event_name"]
            assert counted(served, "events_filtered_total") == {
                "event_denied": 4,
                "event_not_allowed": 4,
            }
            received = served.telemetry.registry.get_sample_value(
                "gateway_events_received_total", {"source": "web"}
            )
            assert received == 10

    async def test_rejected_events_are_kept_as_they_came_where_nothing_is_taken_out(
        self, tmp_path: Path
    ) -> None:
        async with serving(tmp_path, sources=[source(denied_events=("X",))]) as served:
            events = [{"type": "track", "event": "X"}, {"type": "track", "own": "member"}]
            assert (await send(served, {"batch": events})).status == 200
            [letter] = await served.letters()
            assert json.loads(letter.payload)["own"] == "member"

    async def test_users_are_wholly_in_or_out(self, tmp_path: Path) -> None:
        batch = [
            {"type": kind, "event": "E", "userId": f"u{i}", "traits": {"a": 1}, "groupId": f"u{i}"}
            for i in range(100)
            for kind in ("track", "identify", "group")
        ]
        async with serving(tmp_path, sources=[source(sample_rate=0.5)]) as served:
            assert (await send(served, {"batch": batch})).status == 200
            users: dict[str, set[str]] = {"import": set(), "engage": set(), "groups": set()}
            for endpoint, record in await served.records():
                who = record.get("$distinct_id") or record.get("$group_id")
                users[endpoint].add(who or record["properties"]["distinct_id"])
            assert users["import"] == users["engage"] == users["groups"]
            assert 30 < len(users["import"]) < 70
            filtered = counted(served, "events_filtered_total")
            assert filtered == {"sampled_out": 3 * (100 - len(users["import"]))}

    async def test_ids_that_stand_for_nobody_are_none(self, tmp_path: Path) -> None:
        batch = [
            {"type": "track", "event": "E", "userId": odd, "anonymousId": f"a{i}"}
            for i in range(50)
            for odd in (" NULL", "undefined", "")
        ]
        async with serving(tmp_path, sources=[source(sample_rate=0.5)]) as served:
            assert (await send(served, {"batch": batch})).status == 200
            devices = [each["properties"]["distinct_id"] for _, each in await served.records()]
            assert 10 < len(set(devices)) < 40
            assert len(devices) == 3 * len(set(devices))


class TestProperties:
    async def test_what_is_denied_is_nowhere(self, tmp_path: Path) -> None:
        denied = ("email", "card.number", "context.device.id")
        card = {"number": "secret", "type": "visa"}
        batch = [
            {"type": "track", "event": "E", "userId": "u", "properties": {"email": "secret"}},
            {"type": "track", "event": "E", "userId": "u", "properties": {"card": card}},
            {"type": "identify", "userId": "u", "traits": {"email": "secret", "plan": "pro"}},
            {"type": "track", "properties": {"card": [card]}, "email": "secret"},
            ["secret"],
        ]
        context = {"traits": {"email": "secret"}, "device": {"id": "secret", "type": "ios"}}
        text = json.dumps({"batch": batch, "context": context})
        text = text.replace('"email"', '"\\u0065mail"', 2)
        async with serving(tmp_path, sources=[source(denied_properties=denied)]) as served:
            assert (await send(served, text.encode())).status == 200
            everything = await stored(served)
            assert "secret" not in everything
            for kept in ("visa", "pro", "ios", "missing_event_name", "not_an_object"):
                assert kept in everything + str(await served.letters())
            assert counted(served, "values_removed_total")["denied"] >= 10


class TestAnonymousOnly:
    async def test_no_user_is_stored(self, tmp_path: Path) -> None:
        person = {"email": "secret", "name": "secret", "plan": "pro"}
        both = {"userId": "secret", "anonymousId": "device"}
        batch = [
            {"type": "track", "event": "E", **both, "context": {"traits": person}},
            {"type": "track", "event": "E", "userId": "secret"},
            {"type": "identify", **both, "traits": person},
            {"type": "identify", "userId": "secret", "traits": person},
            {"type": "alias", "userId": "secret", "previousId": "secret"},
            {"type": "track", **both, "email": "secret"},
        ]
        async with serving(tmp_path, sources=[source(anonymous_only=True)]) as served:
            assert (await send(served, {"batch": batch})).status == 200
            assert "secret" not in await stored(served)
            records = await served.records()
            assert [endpoint for endpoint, _ in records] == ["import", "import", "engage"]
            assert [each["properties"]["distinct_id"] for _, each in records[:2]] == ["device", ""]
            assert records[2][1]["$set"] == {"plan": "pro"}
            assert counted(served, "events_filtered_total") == {"anonymous_only": 2}
            assert len(await served.letters()) == 1


class TestReplay:
    """Dead letters from before an option was set."""

    DESTINATION = DestinationConfig(name="mp", settings=DestinationSettings(projectToken="T"))
    ORIGIN = Origin(source="web", received_ms=1_700_000_000_000, client_ip=IPV4)

    def remap(self, options: dict[str, Any], event: dict[str, Any]) -> Any:
        remap = Remap([self.DESTINATION], {("web", "keep"): policy_of(source(**options))})
        text = encode(decode(json.dumps(event).encode()).events[0])
        return remap("mp", text, self.ORIGIN)

    def test_options_of_now_count(self) -> None:
        event = {"type": "track", "event": "E", "userId": "u", "properties": {"email": "secret"}}
        for options, gone in (
            ({"ip": "truncate"}, IPV4),
            ({"denied_properties": ("email",)}, "secret"),
            ({"anonymous_only": True}, '"u"'),
        ):
            assert gone in str(self.remap({}, event).entries)
            made = self.remap(options, event)
            assert made.entries
            assert gone not in str(made.entries)

    def test_what_the_options_of_now_keep_away_stays_a_dead_letter(self) -> None:
        made = self.remap({"denied_events": ("E",)}, {"type": "track", "event": "E"})
        assert (made.entries, made.reason) == ((), "event_denied")
        assert made.detail == "the options of its source keep it away"
