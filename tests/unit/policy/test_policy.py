"""What the options of a source take, and take out: the decisions alone."""

import json
import math
import re
from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import IpPolicy, Secret, SourceConfig
from gateway.events import Event, Received, decode, encode
from gateway.events.depth import MAX_DEPTH as DEEPEST
from gateway.policy import SourcePolicy, address_of, is_origin_allowed, policy_of, stricter
from gateway.policy.addresses import limited
from gateway.policy.members import MAX_DEPTH, Removal, with_limited_addresses, without
from gateway.policy.selection import Names, is_sampled


def source(**options: Any) -> SourceConfig:
    return SourceConfig(name="web", write_key=Secret("k"), **options)


def policy(**options: Any) -> SourcePolicy:
    found = policy_of(source(**options))
    assert found is not None
    return found


def event(**members: Any) -> Event:
    [found] = decode(json.dumps({"type": "track", "event": "E", **members}).encode()).events
    return found


def stripped(options: dict[str, Any], **members: Any) -> tuple[dict[str, Any], list[Removal]]:
    """Return an event as it is kept, as plain data, and what was taken out."""
    removals: list[Removal] = []
    kept = event(**members)
    policy(**options).strip(kept, removals)
    found = json.loads(encode(kept))
    return {k: v for k, v in found.items() if k not in ("type", "event")}, removals


def test_without_options_there_is_nothing_to_do() -> None:
    assert policy_of(source()) is None
    assert policy_of(source(allowed_origins=("https://a",), destinations=("mp",))) is None
    assert policy_of(source(), "keep") is None
    assert policy_of(source(), "truncate") is not None


ADDRESSES = {
    "ip": "203.0.113.77",
    "$ip": "203.0.113.77",
    "ipAddress": "203.0.113.77",
    "ip_address": "203.0.113.77:1",
    "X-Forwarded-For": "203.0.113.77, 10.0.0.1",
    "deep": [{"er": {"client_ip": "2001:db8:1:2::3"}}],
    "zip": "203.0.113.77",
    "ship": {"description": '"ip": "203.0.113.77"'},
    "versions": ["1.2.3.4"],
}
UNTOUCHED = {
    "zip": "203.0.113.77",
    "ship": {"description": '"ip": "203.0.113.77"'},
    "versions": ["1.2.3.4"],
}


class TestAddresses:
    @pytest.mark.parametrize(
        ("text", "truncated"),
        [
            ("203.0.113.77", "203.0.113.0"),
            ("203.0.113.77:80", "203.0.113.0"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1::"),
            ("[2001:db8:1:2::3]:80", "2001:db8:1::"),
            ("::ffff:203.0.113.77", "203.0.113.0"),
            ("2002:cb00:714d:1::", "2002:cb00:7100::"),  # 6to4 of 203.0.113.77
            ("64:ff9b::203.0.113.77", "64:ff9b::"),
            ("::203.0.113.77", "::"),
            ("unknown", None),
            ("", None),
            ("1.2.3.4, 5.6.7.8", None),
            ("1" * 1000, None),
        ],
    )
    def test_policies_limit_an_address(self, text: str, truncated: str | None) -> None:
        assert limited(text, "keep") == text
        assert limited(text, "truncate") == truncated
        assert limited(text, "drop") is None

    @given(st.ip_addresses())
    def test_truncated_addresses_have_no_more_than_their_network(self, address: Any) -> None:
        left = limited(str(address), "truncate")
        whole = address_of(str(address))
        assert left is not None
        assert whole is not None
        bits = 40 if getattr(whole, "sixtofour", None) else {4: 24, 6: 48}[whole.version]
        network = ip_network((whole, bits), strict=False)
        assert ip_address(left) in network
        assert {limited(str(each), "truncate") for each in (network[0], network[-1])} == {left}

    @pytest.mark.parametrize("one", ["keep", "truncate", "drop"])
    def test_stricter_policy_of_two_counts(self, one: IpPolicy) -> None:
        assert stricter(one, "keep") == stricter("keep", one) == one
        assert stricter(one, "drop") == stricter("drop", one) == "drop"

    def test_request_can_only_make_it_stricter(self) -> None:
        for configured, asked, left in (
            ("keep", "truncate", "1.2.3.0"),
            ("truncate", "keep", "1.2.3.0"),
            ("truncate", "drop", None),
            ("drop", "keep", None),
            ("drop", "truncate", None),
        ):
            found = policy_of(source(ip=configured), asked)  # type: ignore[arg-type]
            assert found is not None
            assert found.address("1.2.3.4") == left

    @pytest.mark.parametrize("member", ["context", "properties", "traits", "integrations"])
    def test_addresses_anywhere_in_an_event_are_truncated(self, member: str) -> None:
        kept, removals = stripped({"ip": "truncate"}, **{member: ADDRESSES})

        assert kept[member] == {
            "ip": "203.0.113.0",
            "$ip": "203.0.113.0",
            "ipAddress": "203.0.113.0",
            "ip_address": "203.0.113.0",
            "deep": [{"er": {"client_ip": "2001:db8:1::"}}],
            **UNTOUCHED,
        }
        assert set(removals) == {
            *((f"{member}.{k}", "ip_truncated") for k in ("ip", "$ip", "ipAddress", "ip_address")),
            (f"{member}.X-Forwarded-For", "ip_dropped"),
            (f"{member}.deep.er.client_ip", "ip_truncated"),
        }

    @pytest.mark.parametrize("member", ["context", "properties", "traits", "integrations"])
    def test_addresses_anywhere_in_an_event_are_dropped(self, member: str) -> None:
        kept, removals = stripped({"ip": "drop"}, **{member: ADDRESSES})

        assert kept[member] == {"deep": [{"er": {}}], **UNTOUCHED}
        assert {reason for _, reason in removals} == {"ip_dropped"}

    @pytest.mark.parametrize(
        ("value", "left"),
        [
            *((value, value) for value in (None, True, False, 0, 1, "")),
            *((value, ...) for value in (3405803853, 1.5, "junk", ["1.2.3.4"], {"a": "1.2.3.4"})),
        ],
    )
    def test_what_is_no_address_under_its_name_is_removed_unless_it_is_a_switch(
        self, value: object, left: object
    ) -> None:
        for ip in ("truncate", "drop"):
            kept, _ = stripped({"ip": ip}, properties={"ip": value})
            assert kept["properties"].get("ip", ...) == left

    def test_keys_are_compared_after_unescaping_and_once_each(self) -> None:
        text = (
            rb'{"\u0069p":"1.2.3.4","i\u0070":"1.2.3.5","a":{"i\u0070":"1.2.3.6"},"ip":"1.2.3.7"}'
        )
        removals: list[Removal] = []
        left = with_limited_addresses(text, "truncate", "context", removals)
        assert json.loads(left) == {"ip": "1.2.3.0", "a": {"ip": "1.2.3.0"}}

    def test_places_that_the_mapping_reads_count_as_well(self) -> None:
        places = frozenset({"properties.a.addr", "context.ip", "client_ip"})
        found = policy_of(source(ip="truncate"), addresses=places)
        assert found is not None
        value = b'{"a":[{"addr":"1.2.3.4"}],"addr":"1.2.3.4","b":{"addr":"1.2.3.4"}}'
        left = json.loads(found.stripped(value, "properties", []))
        assert left["a"] == [{"addr": "1.2.3.0"}]
        assert left["addr"] == left["b"]["addr"] == "1.2.3.4"

    def test_values_that_are_carried_stay_as_they_came(self) -> None:
        value = b'{"a":1.50,"b":123456789012345678901234567890,"c":"\\u0041","d":{ "e" : 1e2 }}'
        left = with_limited_addresses(value[:-1] + b',"ip":"1.2.3.4"}', "drop", "p", [])
        assert left == value

    def test_what_lies_too_deep_is_removed(self) -> None:
        for depth, is_kept in ((MAX_DEPTH, True), (MAX_DEPTH + 1, False), (900, False)):
            value = b'{"a":' * depth + b'{"ip":"203.0.113.77"}' + b"}" * depth
            removals: list[Removal] = []
            left = with_limited_addresses(value, "truncate", "p", removals)
            assert b"203.0.113.77" not in left
            assert (b'"ip":"203.0.113.0"' in left) == is_kept
            reasons = {reason for _, reason in removals}
            assert reasons == ({"ip_truncated"} if is_kept else {"too_deep"})

    def test_nesting_that_is_just_not_too_deep_costs_the_member_only(self) -> None:
        lists = DEEPEST - 3
        nested = b"[" * lists + b'{"ip":"203.0.113.77"}' + b"]" * lists
        body = b'{"type":"track","event":"E","properties":{"a":%b},"traits":{"b":1}}' % nested

        def apply(received: Received, frames: int) -> bytes:
            if frames:
                return apply(received, frames - 1)
            [kept] = policy(ip="truncate").apply(received).events
            return encode(kept)

        for frames in (0, 20, 40):
            left = apply(decode(body), frames)
            assert b"203.0.113.77" not in left
            assert b'"traits":{"b":1}' in left


MEMBERS = {
    "email": "secret",
    "plan": "pro",
    "address": {"street": "secret", "city": "Rome"},
    "items": [{"price": "secret", "sku": 1}, [{"price": "secret"}], 5],
    "a.b": "secret",
    "a": {"b": "secret", "c": 1},
}


class TestDeniedProperties:
    @pytest.mark.parametrize("member", ["properties", "traits", "context"])
    def test_names_and_paths_are_removed_everywhere(self, member: str) -> None:
        denied = ("email", "address.street", "items.price", "a.b", "none.such", "plan.x")
        kept, removals = stripped({"denied_properties": denied}, **{member: MEMBERS})

        assert kept[member] == {
            "plan": "pro",
            "address": {"city": "Rome"},
            "items": [{"sku": 1}, [{}], 5],
            "a": {"c": 1},
        }
        assert {place for place, _ in removals} == {
            f"{member}.{path}" for path in ("email", "address.street", "items.price", "a.b")
        }
        assert {reason for _, reason in removals} == {"denied"}

    @pytest.mark.parametrize("member", ["properties", "traits", "context"])
    def test_path_may_say_where_it_starts(self, member: str) -> None:
        members = {name: {"x": 1, "y": 2} for name in ("properties", "traits", "context")}
        kept, _ = stripped({"denied_properties": (f"{member}.x",)}, **members)
        assert {name for name in members if "x" not in kept[name]} == {member}
        assert all(kept[name]["y"] == 2 for name in members)

    def test_traits_of_the_context_are_traits(self) -> None:
        context = {"traits": {"email": "secret", "plan": "pro"}, "email": 1}
        for denied in ("email", "traits.email", "context.traits.email"):
            kept, _ = stripped({"denied_properties": (denied,)}, context=context)
            assert kept["context"]["traits"] == {"plan": "pro"}

    def test_whole_objects_can_be_named(self) -> None:
        kept, _ = stripped({"denied_properties": ("address",)}, properties=MEMBERS)
        assert "address" not in kept["properties"]

    @pytest.mark.parametrize(
        "text",
        [
            rb'{"\u0065mail":"secret"}',
            rb'{"email":"secret","\u0065mail":"secret","email":"secret"}',
            rb'{ "em\u0061il" : {"email":"secret"} }',
        ],
    )
    def test_keys_are_compared_after_unescaping_and_once_each(self, text: bytes) -> None:
        assert without(text, ["email"], "p", []) == b"{}"

    def test_repeated_objects_on_the_way_hide_nothing(self) -> None:
        text = b'{"a":{"email":"secret"},"\\u0061":{"x":1}}'
        assert b"secret" not in without(text, ["a.email"], "p", [])

    def test_what_lies_too_deep_is_removed(self) -> None:
        nested = b"[" * 500 + b'{"b":"secret"}' + b"]" * 500
        removals: list[Removal] = []
        left = without(b'{"a":%b,"b":1}' % nested, ["a.b"], "p", removals)
        assert b"secret" not in left
        assert b'"b":1' in left
        assert removals == [("p.a", "too_deep")]


_KEYS = st.sampled_from(["a", "b", "c", "a.b", "ip", "email"])
_JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=3) | st.just("203.0.113.77"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=15,
)
_OBJECTS = st.dictionaries(_KEYS, _JSON, max_size=4)
_PATHS = st.lists(st.lists(_KEYS, min_size=1, max_size=3).map(".".join), max_size=3)


def reference(value: Any, paths: Sequence[str]) -> Any:
    """Return plain data without what paths lead to, one path after the other."""
    if isinstance(value, list):
        return [reference(item, paths) for item in value]
    if not isinstance(value, dict):
        return value
    left = {key: item for key, item in value.items() if key not in paths}
    return {
        key: reference(item, [p[len(key) + 1 :] for p in paths if p.startswith(f"{key}.")])
        for key, item in left.items()
    }


@given(_OBJECTS, _PATHS)
def test_what_is_denied_is_gone_and_nothing_else(value: Any, paths: list[str]) -> None:
    left = without(json.dumps(value).encode(), paths, "p", [])
    assert json.loads(left) == reference(value, paths)


@given(_OBJECTS)
def test_no_address_stays_under_its_name_and_nothing_else_changes(value: Any) -> None:
    text = json.dumps(value).encode()
    left = with_limited_addresses(text, "truncate", "p", [])
    assert b'"ip":"203.0.113.77"' not in left.replace(b": ", b":")

    def without_ip(part: Any) -> Any:
        if isinstance(part, list):
            return [without_ip(item) for item in part]
        if isinstance(part, dict):
            return {key: without_ip(item) for key, item in part.items() if key != "ip"}
        return part

    assert without_ip(json.loads(left)) == without_ip(value)


class TestNames:
    @pytest.mark.parametrize(
        ("names", "matching", "others"),
        [
            (["Order Completed"], ["Order Completed"], ["order completed", "Order", ""]),
            (["Order *"], ["Order ", "Order X", "Order * X"], ["Order", "An Order X"]),
            (["*"], ["", "x", "\n"], []),
            (["*ed"], ["ed", "Viewed", "eded"], ["edit", "d"]),
            (["a*a"], ["aa", "aba"], ["a"]),
            (["a*b*c"], ["abc", "axbxc", "abbc"], ["ac", "acb", "abcd", "bc"]),
            (["a**b"], ["ab", "axb"], ["a", "b"]),
            (["ab*ba"], ["abba", "abxba"], ["aba"]),
            (["(.+)", "[a]"], ["(.+)", "[a]"], ["x", "a"]),
            (["x", "y*"], ["x", "y", "yz"], ["xx", ""]),
            ([], [], ["x"]),
        ],
    )
    def test_names_match(self, names: list[str], matching: list[str], others: list[str]) -> None:
        found = Names(names)
        assert bool(found) == bool(names)
        assert [name for name in matching if name not in found] == []
        assert [name for name in others if name in found] == []

    @given(st.text("ab*", min_size=1, max_size=6), st.text("ab", max_size=8))
    def test_star_is_any_text(self, pattern: str, name: str) -> None:
        expression = "".join(".*" if c == "*" else re.escape(c) for c in pattern)
        assert (name in Names([pattern])) == bool(re.fullmatch(expression, name, re.DOTALL))

    @pytest.mark.timeout(5)
    def test_hostile_names_take_no_time(self) -> None:
        name = "ab" * 1_000_000
        assert name not in Names(["*a*a*a*a*a*a*a*c"])

    @pytest.mark.parametrize(
        ("options", "name", "reason"),
        [
            ({"allowed_events": ("A*",)}, "Ab", None),
            ({"allowed_events": ("A*",)}, "Ba", "event_not_allowed"),
            ({"denied_events": ("A*",)}, "Ab", "event_denied"),
            ({"denied_events": ("A*",)}, "Ba", None),
            ({"allowed_events": ("A*",), "denied_events": ("Ab",)}, "Ab", "event_denied"),
            ({"allowed_events": ("5",)}, 5, None),
            ({"denied_events": ("5",)}, 5, "event_denied"),
            # The mapping says what is wrong with these.
            ({"allowed_events": ("A",)}, "", None),
            ({"allowed_events": ("A",)}, None, None),
        ],
    )
    def test_lists_are_for_the_names_of_track_events(
        self, options: dict[str, Any], name: object, reason: str | None
    ) -> None:
        found = policy(**options)
        assert found.reason_against(event(event=name)) == reason
        for kind in ("page", "screen", "identify", "group", "alias"):
            assert found.reason_against(event(event=name, type=kind)) is None


class TestSampling:
    @given(st.text(max_size=40), st.floats(0.001, 1), st.floats(0.001, 1))
    def test_whoever_is_in_stays_in_when_the_rate_grows(
        self, user: str, one: float, other: float
    ) -> None:
        low, high = sorted((one, other))
        assert is_sampled(user, high) or not is_sampled(user, low)
        assert is_sampled(user, 1.0)

    @pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.9])
    def test_share_of_users_is_the_rate(self, rate: float) -> None:
        count = sum(is_sampled(f"user-{i}", rate) for i in range(10_000))
        deviation = math.sqrt(10_000 * rate * (1 - rate))
        assert abs(count - 10_000 * rate) < 4 * deviation

    def test_ids_are_hashed_alike_by_every_version(self) -> None:
        """Another hash would exchange everybody's samples."""
        sampled = [i for i in range(40) if is_sampled(f"user-{i}", 0.25)]
        assert sampled == [0, 6, 7, 8, 10, 15, 16, 19, 25, 27]

    def test_all_events_of_a_user_are_in_or_out(self) -> None:
        found = policy(sample_rate=0.5)
        for i in range(50):
            user = f"u{i}"
            events = [
                event(userId=user, messageId="1"),
                event(userId=user, anonymousId=f"other-{i}"),
                event(type="identify", userId=user, traits={"a": 1}),
                event(type="group", userId=user, groupId="g"),
                event(type="alias", userId=user, previousId=f"before-{i}"),
                event(type="page", anonymousId=user),
            ]
            reasons = {found.reason_against(each) for each in events}
            assert reasons == {None if is_sampled(user, 0.5) else "sampled_out"}

    def test_numeric_ids_are_ids(self) -> None:
        found = policy(sample_rate=0.5)
        for i in range(30):
            assert found.reason_against(event(userId=i)) == found.reason_against(
                event(userId=str(i))
            )

    def test_events_of_nobody_are_sampled_by_their_own_id(self) -> None:
        found = policy(sample_rate=0.5)
        reasons = [found.reason_against(event(messageId=str(i))) for i in range(200)]
        assert 60 < reasons.count(None) < 140
        assert reasons == [found.reason_against(event(messageId=str(i))) for i in range(200)]


ANONYMOUS = {"anonymous_only": True}
IDENTIFYING_TRAITS = {
    "email": "x",
    "$email": "x",
    "E-Mail": "x",
    "firstName": "x",
    "first_name": "x",
    "$last_name": "x",
    "name": "x",
    "username": "x",
    "phone": "x",
    "address": {"street": "x"},
    "id": "x",
    "plan": "pro",
    "company": {"name": "C"},
}
OTHER_TRAITS = {"plan": "pro", "company": {"name": "C"}}


class TestAnonymousOnly:
    def test_user_is_forgotten_and_the_device_stays(self) -> None:
        kept, removals = stripped(
            ANONYMOUS, userId="u", anonymousId="a", previousId="p", groupId="g"
        )
        assert kept == {"anonymousId": "a", "groupId": "g"}
        assert ("userId", "identifying") in removals

    def test_device_that_has_the_users_id_is_forgotten(self) -> None:
        assert stripped(ANONYMOUS, userId=5, anonymousId="5")[0] == {}

    def test_traits_that_identify_are_removed(self) -> None:
        for kind in ("identify", "group"):
            kept, _ = stripped(ANONYMOUS, type=kind, anonymousId="a", traits=IDENTIFYING_TRAITS)
            assert kept["traits"] == OTHER_TRAITS
        kept, _ = stripped(
            ANONYMOUS, context={"traits": IDENTIFYING_TRAITS, "userId": "x", "app": {"name": "A"}}
        )
        assert kept["context"] == {"traits": OTHER_TRAITS, "app": {"name": "A"}}

    def test_properties_lose_ids_and_personal_data_but_keep_names_of_things(self) -> None:
        kept, _ = stripped(
            ANONYMOUS,
            properties={
                **dict.fromkeys(["user_id", "$user_id", "distinct_id", "$identified_id"], "x"),
                **dict.fromkeys(["email", "phone", "first_name", "externalId"], "x"),
                "name": "Home",
                "id": 7,
                "url": "/",
            },
        )
        assert kept["properties"] == {"name": "Home", "id": 7, "url": "/"}

    @pytest.mark.parametrize(
        ("members", "reason"),
        [
            ({"userId": "u"}, None),
            ({"type": "page", "userId": "u"}, None),
            ({"type": "identify", "userId": "u", "anonymousId": "a"}, None),
            ({"type": "identify", "userId": "u"}, "anonymous_only"),
            ({"type": "identify", "userId": "u", "anonymousId": "u"}, "anonymous_only"),
            ({"type": "alias", "userId": "u", "previousId": "a"}, "anonymous_only"),
            ({"type": "group", "userId": "u", "groupId": "g"}, None),
        ],
    )
    def test_events_that_only_say_who_somebody_is_are_not_taken(
        self, members: dict[str, Any], reason: str | None
    ) -> None:
        assert policy(**ANONYMOUS).reason_against(event(**members)) == reason


STRICT = {"ip": "drop", "denied_properties": ("email",), "anonymous_only": True}


class TestApply:
    def apply(self, body: object, **options: Any) -> tuple[Received, Any]:
        received = decode(json.dumps(body).encode())
        return received, policy(**options).apply(received)

    def test_reasons_and_removals_are_told(self) -> None:
        names = ["A", "B", "A"]
        body = {"batch": [{"type": "track", "event": name} for name in names]}
        received, applied = self.apply(body, denied_events=("A",))
        assert [each.event for each in applied.events] == ["B"]
        assert applied.filtered == ["event_denied", "event_denied"]
        assert applied.removals == []
        assert received.body, "nothing was taken out: it is kept as it came"

    def test_what_came_is_forgotten_when_something_may_not_be_kept(self) -> None:
        for name, value in STRICT.items():
            received, _ = self.apply({"type": "track", "event": "E"}, **{name: value})
            assert received.body == b""

    @pytest.mark.parametrize(
        "odd",
        [
            {"event": {"email": "secret", "ip": "secret"}},
            {"userId": {"email": "secret"}},
            {"timestamp": {"ip": "secret"}},
            {"messageId": [{"ip": "secret"}]},
            {"properties": [{"email": "secret"}]},
            {"properties": "secret"},
            {"traits": [["secret"]]},
            {"context": "secret"},
            {"request_ip": "secret"},
            {"email": "secret"},
        ],
    )
    def test_odd_members_hide_nothing(self, odd: dict[str, Any]) -> None:
        received, applied = self.apply({"batch": [odd, "secret", ["secret"]]}, **STRICT)
        assert b"secret" not in encode(applied.events[0])
        assert received.misfits == [b'"***"', b'"***"']

    def test_null_and_absent_members_stay_what_they_are(self) -> None:
        kept, _ = stripped(STRICT, properties=None)
        assert kept == {}


class TestOrigins:
    @pytest.mark.parametrize(
        ("allowed", "origin", "is_allowed"),
        [
            ((), "https://evil.test", True),
            (("https://a.test",), "https://a.test", True),
            (("https://a.test",), "http://a.test", False),
            (("https://a.test",), "https://a.test:8443", False),
            (("https://a.test",), "https://b.a.test", False),
            (("https://a.test",), "https://a.test.evil.test", False),
            (("https://a.test",), "null", False),
            (("https://a.test",), "", False),
            (("null",), "null", True),
            (("https://*.a.test",), "https://b.a.test", True),
            (("https://*.a.test",), "https://c.b.a.test", True),
            (("https://*.a.test",), "https://a.test", False),
            (("https://*.a.test",), "https://.a.test", False),
            (("https://*.a.test",), "https://evila.test", False),
            (("https://*.a.test",), "http://b.a.test", False),
            (("https://*.a.test",), "https://b.a.test:1", False),
            (("https://*.a.test:1",), "https://b.a.test:1", True),
            (("https://*.a.test",), "https://evil.test/.a.test", False),
            (("https://*.a.test",), "https://evil.test#.a.test", False),
            (("https://*.a.test",), "https://evil.test:80.a.test", False),
            (("https://*.a.test",), "https://u@.a.test", False),
            (("https://*.a.test",), "b.a.test", False),
            (("capacitor://localhost",), "capacitor://localhost", True),
            (("https://a.test", "https://*.b.test"), "https://x.b.test", True),
        ],
    )
    def test_origin_is_allowed_when_it_is_listed(
        self, allowed: tuple[str, ...], origin: str, is_allowed: bool
    ) -> None:
        assert is_origin_allowed(origin, allowed) == is_allowed
