"""What every event gets before it is mapped: type, id, context, time and address."""

import json
import re
from functools import partial
from typing import Any

import pytest

from gateway.errors import RequestError
from gateway.events import MAX_SHARED_BYTES, Event, Received, decode, encode, plain_text
from gateway.mapping.clocks import MAX_SKEW_MS
from gateway.mapping.prepare import prepare

RECEIVED_MS = 1_790_000_000_000
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def prepared(
    document: object,
    *,
    default_type: str | None = None,
    client_ip: str | None = None,
    is_retry: bool = False,
) -> list[Event]:
    received = decode(json.dumps(document).encode())
    prepare(
        received,
        received_ms=RECEIVED_MS,
        default_type=default_type,
        client_ip=client_ip,
        is_retry=is_retry,
    )
    return received.events


def one(document: object, **options: Any) -> Event:
    (event,) = prepared(document, **options)
    return event


class TestType:
    def test_type_comes_from_the_route_where_the_event_names_none(self) -> None:
        assert one({}, default_type="page").type == "page"
        assert one({"type": None}, default_type="page").type == "page"
        assert one({"type": "track"}, default_type="page").type == "track"
        assert one({}).type is None

    def test_type_of_the_route_is_that_of_each_event_of_a_batch(self) -> None:
        events = prepared([{}, {"type": "track"}], default_type="page")
        assert [event.type for event in events] == ["page", "track"]


class TestMessageId:
    @pytest.mark.parametrize("given", ["m", " ", "0"])
    def test_id_is_kept(self, given: str) -> None:
        assert one({"messageId": given}).message_id == given

    @pytest.mark.parametrize("given", [5, 1.5, True, ["m"], [5]])
    def test_id_of_another_type_is_kept_where_it_has_a_text(self, given: object) -> None:
        assert plain_text(one({"messageId": given}).message_id)

    @pytest.mark.parametrize("given", ["", None, {}, [], ["a", "b"], [{}], [None]])
    def test_missing_id_is_made_up(self, given: object) -> None:
        assert UUID.fullmatch(one({"messageId": given}).message_id or "")

    def test_made_up_ids_differ_and_are_not_the_batchs(self) -> None:
        events = prepared({"messageId": "of the batch", "batch": [{}, {}]})
        assert len({event.message_id for event in events} | {"of the batch"}) == 3


class TestContext:
    def merged(self, batch: object, event: object) -> Any:
        prepared_event = one({"batch": [event], "context": batch})
        return json.loads(bytes(prepared_event.context) or b"null")

    def test_context_of_the_batch_belongs_to_each_event_and_the_events_own_wins(self) -> None:
        batch = {"library": {"name": "go", "version": "3"}, "ip": "1.1.1.1"}
        events = prepared({"context": batch, "batch": [{}, {"context": {"ip": "2.2.2.2"}}]})

        assert [json.loads(bytes(event.context)) for event in events] == [
            batch,
            {**batch, "ip": "2.2.2.2"},
        ]

    def test_merging_is_not_deep(self) -> None:
        event = {"context": {"library": {"name": "own"}}}
        assert self.merged({"library": {"version": "3"}}, event) == {"library": {"name": "own"}}

    @pytest.mark.parametrize("context", ["text", 5, [], None])
    def test_context_that_is_no_object_counts_as_none(self, context: object) -> None:
        assert self.merged(context, {"context": {"a": 1}}) == {"a": 1}
        assert self.merged({"a": 1}, {"context": context}) == {"a": 1}

    def test_integrations_of_the_batch_belong_to_each_event(self) -> None:
        event = one({"integrations": {"All": False}, "batch": [{"integrations": {"MP": True}}]})
        assert json.loads(bytes(event.integrations)) == {"All": False, "MP": True}

    @pytest.mark.parametrize(
        ("batchs", "own", "found"),
        [
            ('{"All":false}', None, {"All": False}),
            ('{"All":false}', {"MP": True}, {"All": False, "MP": True}),
            ({"All": False}, '{"MP":true}', {"All": False, "MP": True}),
            ({"All": True}, '{"All":false}', {"All": False}),
            (False, None, {"All": False}),
            (False, {"MP": True}, {"All": False, "MP": True}),
            ("no", {"Amplitude": True}, {"All": False, "Amplitude": True}),
            ({"MP": True}, False, {"MP": True, "All": False}),
            ({"MP": False}, 7, {"MP": False}),
            ({"MP": False}, "whatever", {"MP": False}),
            ("whatever", {"MP": True}, {"MP": True}),
            ("whatever", None, "whatever"),
            ([], None, []),
            ('{"All":false,"a":' + "[" * 9000, None, {"All": False}),
        ],
    )
    def test_integrations_in_other_shapes_belong_to_them_likewise(
        self, batchs: object, own: object, found: object
    ) -> None:
        each = {} if own is None else {"integrations": own}
        event = one({"integrations": batchs, "batch": [each]})
        assert json.loads(bytes(event.integrations)) == found

    def test_single_event_shares_nothing_with_itself(self) -> None:
        event = one({"context": {"a": 1}, "integrations": {"b": 1}})
        assert bytes(event.context) == b'{"a": 1}'

    @pytest.mark.parametrize("member", ["context", "integrations"])
    def test_shared_members_that_would_take_too_much_memory_are_refused(self, member: str) -> None:
        shared = {member: {"x": "y" * (MAX_SHARED_BYTES // 100)}}
        assert len(prepared({**shared, "batch": [{}] * 50})) == 50
        with pytest.raises(RequestError) as caught:
            prepared({**shared, "batch": [{}] * 101})
        assert (caught.value.status, caught.value.code) == (400, "batch_context_too_large")


class TestAddress:
    @pytest.mark.parametrize("address", ["1.2.3.4", None])
    def test_address_is_the_requests_whatever_the_client_sent(self, address: str | None) -> None:
        event = one({"(client address)": "6.6.6.6"}, client_ip=address)
        assert event.client_ip == address

    def test_skew_is_the_gateways_whatever_the_client_sent(self) -> None:
        assert one({"(clock skew)": 5}).skew_ms == 0
        long_ago = {"(clock skew)": 5, "sentAt": "2020-01-01T00:00:00Z", "timestamp": TIME}
        assert one(long_ago).skew_ms == 0


TIME = "2026-09-21T13:13:20Z"
SENT_AN_HOUR_AGO = RECEIVED_MS - 3_600_000


class TestSkew:
    @pytest.mark.parametrize(
        ("difference_ms", "skew_ms"),
        [
            (0, 0),
            (60_000, 0),
            (-60_000, 0),
            (60_001, 60_000),
            (89_999, 60_000),
            (90_001, 120_000),
            (-90_001, -120_000),
            (3_600_000, 3_600_000),
            (3_601_234, 3_600_000),
            (MAX_SKEW_MS, MAX_SKEW_MS),
            (-MAX_SKEW_MS, -MAX_SKEW_MS),
            (MAX_SKEW_MS + 1, 0),
        ],
    )
    def test_clock_is_corrected_by_minutes_where_the_way_does_not_explain_it(
        self, difference_ms: int, skew_ms: int
    ) -> None:
        event = one({"timestamp": TIME, "sentAt": RECEIVED_MS - difference_ms})
        assert event.skew_ms == skew_ms

    def test_events_that_were_sent_too_long_ago_are_told(self) -> None:
        stale, fresh = RECEIVED_MS - MAX_SKEW_MS - 1, RECEIVED_MS
        events = [{}, {"sentAt": fresh}, {"originalTimestamp": 1}, {"sentAt": "junk"}]
        both = {"originalTimestamp": 1, "timestamp": 1}  # nothing to correct
        received = decode(json.dumps({"batch": [*events, both], "sentAt": stale}).encode())
        told = partial(
            prepare, received, received_ms=RECEIVED_MS, default_type=None, client_ip=None
        )
        assert told(is_retry=False) == 2
        assert [event.skew_ms for event in received.events] == [0] * 5
        assert told(is_retry=True) == 0

    @pytest.mark.parametrize(
        "sent_at", [None, "", "{{ RSA_DEF_SENT_AT_TS }}", True, 0, [], {}, [SENT_AN_HOUR_AGO]]
    )
    def test_sent_at_that_is_no_time_corrects_nothing(self, sent_at: object) -> None:
        assert one({"timestamp": 1, "sentAt": sent_at}).skew_ms == 0

    def test_sent_at_of_the_event_comes_before_that_of_the_batch(self) -> None:
        events = prepared(
            {"batch": [{}, {"sentAt": RECEIVED_MS}, {"sentAt": "junk"}], "sentAt": SENT_AN_HOUR_AGO}
        )
        assert [event.skew_ms for event in events] == [3_600_000, 0, 0]

    def test_retry_of_whoever_is_not_known_says_nothing_about_the_clients_clock(self) -> None:
        batch = {"batch": [{}, {"sentAt": SENT_AN_HOUR_AGO}], "sentAt": SENT_AN_HOUR_AGO}
        assert [event.skew_ms for event in prepared(batch, is_retry=True)] == [0, 0]
        assert [event.skew_ms for event in prepared(batch)] == [3_600_000, 3_600_000]

    @pytest.mark.parametrize("timestamp", ["0001-01-01T00:00:00Z", "1970-01-01", 0, "2021"])
    def test_timestamp_that_cannot_be_gives_way_to_the_original_one(
        self, timestamp: object
    ) -> None:
        event = one({"originalTimestamp": TIME, "timestamp": timestamp, "sentAt": SENT_AN_HOUR_AGO})
        assert (event.timestamp, event.skew_ms) == (TIME, 3_600_000)

    def test_original_timestamp_alone_is_the_time_and_is_corrected(self) -> None:
        event = one({"originalTimestamp": "2021-08-17T15:21:15Z", "sentAt": SENT_AN_HOUR_AGO})
        assert (event.timestamp, event.skew_ms) == ("2021-08-17T15:21:15Z", 3_600_000)

    @pytest.mark.parametrize("timestamp", ["2021-08-17T15:21:15Z", 1629213675449, "1629213675"])
    def test_timestamp_beside_an_original_one_was_corrected_by_the_client(
        self, timestamp: object
    ) -> None:
        event = one({"originalTimestamp": 1, "timestamp": timestamp, "sentAt": SENT_AN_HOUR_AGO})
        assert (event.timestamp, event.skew_ms) == (timestamp, 0)

    @pytest.mark.parametrize("timestamp", ["junk", "", None, {}, True])
    def test_unreadable_timestamp_gives_way_to_the_original_one(self, timestamp: object) -> None:
        event = one(
            {
                "originalTimestamp": 1629213675449,
                "timestamp": timestamp,
                "sentAt": SENT_AN_HOUR_AGO,
            }
        )
        assert (event.timestamp, event.skew_ms) == (1629213675449, 3_600_000)

    def test_event_without_any_time_is_left_without(self) -> None:
        assert one({"sentAt": SENT_AN_HOUR_AGO}).timestamp is None


class TestTraits:
    @pytest.mark.parametrize(
        ("event", "traits"),
        [
            ({"type": "identify", "context": {"traits": {"plan": "pro"}}}, b'{"plan":"pro"}'),
            ({"type": "identify", "context": {"traits": {"a": 1}}, "traits": {}}, b'{"a":1}'),
            ({"type": "identify", "context": {"traits": {"a": 1}}, "traits": []}, b'{"a":1}'),
            ({"type": "identify", "context": {"traits": {"a": 1}}, "traits": ""}, b'{"a":1}'),
            ({"type": "identify", "context": {"traits": {"a": 1}}, "traits": None}, b'{"a":1}'),
            ({"type": "identify", "context": {"traits": {"a": 1}}, "traits": "x"}, b'{"a":1}'),
            ({"type": "identify", "context": {"traits": {"a": 1}}, "traits": {"b": 2}}, b'{"b":2}'),
            ({"type": "identify", "context": {"traits": "x"}, "traits": {}}, b"{}"),
            ({"type": "identify", "context": {"traits": [1]}}, b"[1]"),
            ({"type": "identify", "context": [1]}, b""),
            ({"type": "identify"}, b""),
            ({"type": "track", "context": {"traits": {"plan": "pro"}}}, b""),
        ],
    )
    def test_traits_of_identify_may_be_in_its_context(
        self, event: dict[str, Any], traits: bytes
    ) -> None:
        assert bytes(one(event).traits).replace(b" ", b"") == traits


def test_odd_events_are_prepared_like_the_others() -> None:
    received = decode(b'{"batch":[{"type":5,"userId":7},3],"context":{"a":1}}')
    assert isinstance(received, Received)
    prepare(received, received_ms=RECEIVED_MS, default_type="track", client_ip=None, is_retry=False)

    (event,) = received.events
    assert plain_text(event.type) == "5"
    assert bytes(event.context) == b'{"a":1}'
    assert event.message_id


def test_identify_without_traits_anywhere_stays_without_them() -> None:
    event = one({"type": "identify", "context": {"locale": "de"}})

    assert "traits" not in json.loads(encode(event))
