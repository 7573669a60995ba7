"""Reading bodies: whatever shape they have, as many events as possible come out of them."""

import json
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import RequestError
from gateway.events import (
    MAX_EVENTS,
    Event,
    Received,
    decode,
    encode,
    fault_of,
    merge_objects,
    plain_text,
    share,
)
from gateway.events.depth import MAX_DEPTH
from tests.support.decoding import check_folding, shares_contexts

EVENT = {
    "type": "track",
    "event": "Signed Up",
    "name": "n",
    "userId": "u",
    "anonymousId": "a",
    "groupId": "g",
    "previousId": "p",
    "messageId": "m",
    "timestamp": "2021-08-17T15:21:15.449Z",
    "originalTimestamp": 1629213675449,
    "sentAt": 1629213675.5,
    "writeKey": "key",
    "group_key": "company",
    "context": {"ip": "1.2.3.4"},
    "properties": {"price": 1.10},
    "traits": {"email": "e"},
    "integrations": {"All": True},
}


def body(document: object) -> bytes:
    return json.dumps(document).encode()


def ids(received: Received) -> list[str | None]:
    return [event.message_id for event in received.events]


def refusal(text: bytes) -> tuple[int, str]:
    with pytest.raises(RequestError) as caught:
        decode(text)
    assert caught.value.message
    return caught.value.status, caught.value.code


class TestShapes:
    def test_one_event_is_itself_what_is_shared(self) -> None:
        received = decode(body(EVENT))

        (event,) = received.events
        assert event is received.shared
        assert (received.is_batch, received.misfits) == (False, [])
        assert (event.type, event.event, event.user_id) == ("track", "Signed Up", "u")
        assert (event.original_timestamp, event.sent_at) == (1629213675449, 1629213675.5)
        assert (event.group_key, event.write_key) == ("company", "key")
        assert bytes(event.properties) == b'{"price": 1.1}'

    @pytest.mark.parametrize("extra", [{}, {"batch": None}])
    def test_event_without_a_batch_is_one_event(self, extra: dict[str, Any]) -> None:
        received = decode(body({"messageId": "m", **extra}))

        assert (ids(received), received.is_batch) == (["m"], False)

    @pytest.mark.parametrize("own", [None, "?", {}])
    def test_integrations_that_say_nothing_leave_those_that_are_shared(self, own: object) -> None:
        for shared in ({}, {"A": False}):
            received = decode(body({"batch": [{"integrations": own}], "integrations": shared}))
            share(received)
            assert json.loads(encode(received.events[0]))["integrations"] == shared

    def test_batch_holds_events_and_what_they_share(self) -> None:
        received = decode(
            body(
                {
                    "batch": [{"messageId": "1"}, {"messageId": "2"}],
                    "context": {"library": {"name": "l"}},
                    "sentAt": "2021-08-17T15:21:15Z",
                    "messageId": "of the batch",
                    "writeKey": "key",
                    "sequence": 7,
                }
            )
        )

        assert (ids(received), received.is_batch) == (["1", "2"], True)
        assert json.loads(bytes(received.shared.context)) == {"library": {"name": "l"}}
        assert received.shared.sent_at == "2021-08-17T15:21:15Z"
        assert received.shared.write_key == "key"

    def test_list_is_a_batch_that_shares_nothing(self) -> None:
        received = decode(b' \n[{"messageId":"1"},{"messageId":"2"}]')

        assert (ids(received), received.is_batch) == (["1", "2"], True)
        assert received.shared == Event()

    @pytest.mark.parametrize("text", [b'{"batch":[]}', b"[]", b"[ ]"])
    def test_empty_batch_holds_no_events(self, text: bytes) -> None:
        received = decode(text)

        assert (received.events, received.is_batch, received.misfits) == ([], True, [])

    def test_unknown_and_null_members_are_left_alone(self) -> None:
        (event,) = decode(b'{"_metadata":{"x":[1]},"somethingElse":"web","userId":null}').events

        assert encode(event) == b"{}"

    def test_white_space_around_the_body_is_allowed(self) -> None:
        assert ids(decode(b' \r\n\t{"messageId":"m"}\n ')) == ["m"]

    def test_last_of_repeated_members_wins(self) -> None:
        assert ids(decode(b'{"messageId":"1","messageId":"2"}')) == ["2"]


SHARED = json.dumps({"library": {"name": "l", "version": "long enough to be folded"}})


def numbered(*numbers: int, context: str = "") -> str:
    """Return events as the elements of a list."""
    more = f',"context":{context}' if context else ""
    return ",".join(
        f'{{"type":"track","event":"E","userId":"u","messageId":"{n}"{more},"properties":{{"a":[]}}}}'
        for n in numbers
    )


class TestSeveralLists:
    """JSON's readers see the last of members with one name; no event may be lost by that."""

    @pytest.mark.parametrize("context", ["", SHARED])
    @pytest.mark.parametrize("around", ["", ',"sentAt":"s"', f',"context":{SHARED}'])
    @pytest.mark.parametrize(
        "text",
        [
            '{"batch":[%s],"batch":[%s]}',
            '{"batch":[%s] , "batch" : [ %s ]}',
            '{"batch":[%s],"events":[%s]}',
            '{"events":[%s],"batch":[%s]}',
            '{"events":[%s],"events":[%s]}',
            '{"messages":[%s],"Batch":[%s]}',
            '{"batch":[%s],"items":[%s]}',
            '{"items":[%s],"others":[%s]}',
            '{"batch":[%s],"b\\u0061tch":[%s]}',
            '{"batch":[%s],"x":"\\"","batch":[%s]}',
            '{"batch":[%s],"batch":[],"EVENTS":[%s],"batch":null}',
            '{"batch":null,"events":[%s],"batch":[%s]}',
        ],
    )
    def test_all_are_taken(self, text: str, around: str, context: str) -> None:
        text %= (numbered(1, 2, context=context), numbered(3, 4, context=context))
        for body in (text[:-1] + around + "}", "{" + (around + ",").lstrip(",") + text[1:]):
            received = check_folding(body.encode())

            assert received is not None
            assert (ids(received), received.misfits) == (["1", "2", "3", "4"], [])
            assert received.is_batch
            assert len(json.loads(received.body)["batch"]) == 4
            if "sentAt" in around:
                assert received.shared.sent_at == "s"

    @pytest.mark.parametrize(
        ("text", "found", "misfits"),
        [
            ('{"batch":[%(1)s],"batch":null}', ["1"], []),
            ('{"batch":[%(1)s],"batch":[]}', ["1"], []),
            ('{"batch":[],"batch":[%(1)s]}', ["1"], []),
            ('{"batch":[%(1)s],"batch":5}', ["1"], [b"5"]),
            ('{"batch":5,"batch":[%(1)s,6]}', ["1"], [b"6", b"5"]),
            ('{"batch":[%(1)s],"batch":%(2)s}', ["1", "2"], []),
            ('{"batch":{"userId":5},"events":[%(1)s]}', ["1", None], []),
            ('{"batch":[{"messageId":"1","userId":5}],"batch":[%(2)s]}', ["1", "2"], []),
            ('{"batch":[%(2)s],"batch":[7,{"messageId":"1","userId":5}]}', ["2", "1"], [b"7"]),
            # Written twice, as by a class with a field and a getter.
            ('{"batch":[%(1)s],"batch":[%(1)s]}', ["1"], []),
            ('{"batch":[%(1)s],"events":[%(1)s]}', ["1"], []),
            # Not lists of events.
            ('{"batch":[%(1)s],"plugins":[{"name":"n"}],"n":[1]}', ["1"], []),
            ('{"batch":[%(1)s],"events":7,"messages":["a"]}', ["1"], []),
        ],
    )
    def test_odd_ones(self, text: str, found: list[str | None], misfits: list[bytes]) -> None:
        received = decode((text % {"1": numbered(1), "2": numbered(2)}).encode())

        assert (ids(received), received.misfits) == (found, misfits)

    @pytest.mark.parametrize("batch", ["", numbered(1), '{"messageId":"1","userId":5}'])
    @pytest.mark.parametrize("is_last", [False, True])
    def test_event_around_a_batch_is_one(self, batch: str, is_last: bool) -> None:
        own = numbered(2)[1:-1]
        members = [f'"batch":[{batch}]', own, '"sentAt":"s","writeKey":"k"']
        received = decode(f"{{{','.join(members if is_last else members[::-1])}}}".encode())

        assert ids(received) == (["1", "2"] if batch else ["2"])
        assert (received.events[-1].type, received.events[-1].event) == ("track", "E")
        assert (received.shared.sent_at, received.shared.write_key) == ("s", "k")

    @pytest.mark.parametrize("more", ['"type":"batch"', '"type":"track"', '"messageId":"m"',
                                      '"type":"track","userId":"u"', '"event":"E"'])  # fmt: skip
    def test_what_a_batch_says_of_itself_is_no_event(self, more: str) -> None:
        assert ids(decode(f'{{"batch":[{numbered(1)}],{more}}}'.encode())) == ["1"]

    def test_event_that_is_nested_too_deep_costs_none_of_another_list(self) -> None:
        deep = '{"type":"track","properties":' + "[" * 2000 + "]" * 2000 + "}"
        received = decode(f'{{"batch":[{deep},{numbered(1)}],"events":[{numbered(2)}]}}'.encode())

        assert (ids(received), len(received.misfits)) == (["1", "2"], 1)

    def test_count_is_that_of_all_lists(self) -> None:
        half = ",".join(["{}"] * (MAX_EVENTS // 2))
        text = '{"batch":[%s],"batch":[%s]}'
        assert len(decode((text % (half + " ", half)).encode()).events) == MAX_EVENTS
        assert refusal((text % (half, half + ",{}")).encode()) == (400, "too_many_events")

    @pytest.mark.parametrize(
        "pattern", ['"batch":[1],', '"events":[{}],', '"a":[{}],', '"b":1,', '"batch":5,']
    )
    def test_time_is_bounded_whatever_the_body_holds(self, pattern: str) -> None:
        each = [pattern.replace("1", str(n)) for n in range(180_000)]
        text = f'{{{"".join(each)}"batch":[{{}}]}}'.encode()
        began = time.process_time()
        try:
            decode(text)
        except RequestError:
            pass
        assert time.process_time() - began < 5


class TestOddEvents:
    ODD = (
        '{"userId":5,"messageId":["m"],"event":{"a":1},"timestamp":true,"writeKey":7,'
        '"context":"none","properties":[1],"previousId":1.5}'
    )

    def test_odd_members_are_kept_as_their_text(self) -> None:
        received = decode(f'{{"batch":[{self.ODD}]}}'.encode())

        (event,) = received.events
        raw: Any = (event.user_id, event.message_id, event.event, event.timestamp, event.write_key)
        assert [bytes(one) for one in raw] == [b"5", b'["m"]', b'{"a":1}', b"true", b"7"]
        assert bytes(event.context) == b'"none"'
        assert bytes(event.properties) == b"[1]"
        assert [plain_text(one) for one in raw] == ["5", "m", None, "true", "7"]
        assert received.misfits == []

    @pytest.mark.parametrize("place", [0, 1, 2])
    def test_one_odd_event_costs_no_other(self, place: int) -> None:
        batch = [json.dumps({**EVENT, "messageId": str(number)}) for number in range(2)]
        batch.insert(place, self.ODD)
        received = decode(f'{{"batch":[{",".join(batch)}],"sentAt":"now"}}'.encode())

        odd = received.events.pop(place)
        assert plain_text(odd.message_id) == "m"
        assert ids(received) == ["0", "1"]
        assert received.shared.sent_at == "now"
        whole = decode(body([{**EVENT, "messageId": "0"}])).events[0]
        assert received.events[0] == whole

    def test_single_odd_event_is_still_an_event(self) -> None:
        received = decode(self.ODD.encode())

        assert plain_text(received.events[0].user_id) == "5"
        assert (received.is_batch, received.events[0]) == (False, received.shared)

    def test_odd_members_of_the_batch_cost_no_event(self) -> None:
        received = decode(b'{"batch":[{"messageId":"1"}],"userId":5,"context":7,"sentAt":{}}')

        assert ids(received) == ["1"]
        assert bytes(received.shared.context) == b"7"

    def test_elements_that_are_no_objects_are_misfits(self) -> None:
        received = decode(b'{"batch":[1,{"messageId":"1"},"two",null,[{"messageId":"x"}],true]}')

        assert ids(received) == ["1"]
        assert received.misfits == [b"1", b'"two"', b"null", b'[{"messageId":"x"}]', b"true"]

    def test_number_too_large_for_a_float_costs_no_event(self) -> None:
        received = decode(b'[{"messageId":"1","timestamp":1e999},{"messageId":"2"}]')

        assert ids(received) == ["1", "2"]

    def test_what_clients_send_under_the_gateways_own_names_does_no_harm(self) -> None:
        text = b'{"messageId":"m","(client address)":"6.6.6.6","(clock skew)":"x"}'

        assert ids(decode(text)) == ["m"]


class TestRefusals:
    @pytest.mark.parametrize(
        "text",
        [
            b"",
            b" ",
            b"{",
            b'{"a":1',
            b"{'a':1}",
            b"undefined",
            b"a=1&b=2",
            b"<xml/>",
            b"[1,]",
            b'{"a":01}',
            b'{"a":"\x00"}',
            b'{"a":"\n"}',
            b'{"a":"\\x"}',
            b"{} {}",
            b"\x1f\x8b\x08",
            b'{"properties":{"a":tru}}',
            b'{"batch":[{]}',
            b"\xef\xbb\xbf",
        ],
    )
    def test_body_that_is_no_json_is_refused(self, text: bytes) -> None:
        assert refusal(text) == (400, "invalid_json")

    @pytest.mark.parametrize("text", [b'"text"', b"5", b"null", b"true", b"1e999"])
    def test_body_that_is_no_object_or_list_is_refused(self, text: bytes) -> None:
        assert refusal(text) == (400, "invalid_body")

    @pytest.mark.parametrize("batch", [{}, "x", 5, True, {"0": {}}])
    def test_batch_that_is_no_list_is_refused(self, batch: object) -> None:
        assert refusal(body({"batch": batch})) == (400, "invalid_batch")

    @pytest.mark.parametrize(
        "opening", [b"[", b'{"a":', b'{"properties":[', b'{"x":"\\ud800","a":[']
    )
    @pytest.mark.parametrize("depth", [2000, 200_000])
    def test_body_that_is_nested_too_deeply_is_refused(self, opening: bytes, depth: int) -> None:
        # Cut off or not: how deep it goes is known first.
        assert refusal(opening * depth)[0] == 400
        assert refusal(b'{"x":"\\ud800","y":' + b"[" * depth + b"]" * depth + b"}") == (
            400,
            "nested_too_deep",
        )

    @pytest.mark.parametrize("opening", [b"[", b'{"p":'])
    @pytest.mark.parametrize(
        "text",
        [
            b"%b",
            b"[%b]",
            b'{"batch":[%b]}',
            b'{"batch":[{"userId":5},%b]}',
            b'{"batch":[%b],"events":[{"messageId":"m","type":"track"}]}',
            b'{"batch":[{"context":{"locale":"de","timezone":"Europe/Vienna"}},%b,'
            b'{"context":{"locale":"de","timezone":"Europe/Vienna"}}]}',
        ],
    )
    def test_depth_that_an_event_may_have_is_its_own(self, text: bytes, opening: bytes) -> None:
        def sent(depth: int) -> bytes:
            closing = b"]" if opening == b"[" else b"}"
            inner = b"[]".join((opening * (depth - 2), closing * (depth - 2)))
            return text % (b'{"messageId":"deep","more":%b}' % inner)

        assert "deep" in ids(decode(sent(MAX_DEPTH)))
        if text == b"%b":
            assert refusal(sent(MAX_DEPTH + 1)) == (400, "nested_too_deep")
        else:
            received = decode(sent(MAX_DEPTH + 1))
            assert "deep" not in ids(received)
            assert list(map(fault_of, received.misfits)) == ["nested_too_deep"]

    @pytest.mark.parametrize(
        ("text", "fault"),
        [
            (b"{" * 5000, "malformed"),
            (b"[nul" + b"[" * 5000, "malformed"),
            (b"[" * MAX_DEPTH + b"}", "malformed"),
            (b"[" * MAX_DEPTH, "malformed"),
            (b"[" * (MAX_DEPTH + 1) + b"}", "nested_too_deep"),
            (b"[" * (MAX_DEPTH + 1), "nested_too_deep"),
            (b"[" * 5000 + b"}", "nested_too_deep"),
            (b"[" * 5000, "nested_too_deep"),
            (b"[" * 200_000, "nested_too_deep"),
        ],
    )
    def test_fault_is_what_a_reader_comes_to_first(self, text: bytes, fault: str) -> None:
        assert fault_of(text) == fault

    @pytest.mark.parametrize("is_shared", [False, True])
    def test_context_that_repeats_may_be_as_deep_as_any(self, is_shared: bool) -> None:
        def sent(depth: int) -> bytes:
            context = b'{"p":%b%b}' % (b"[" * (depth - 2), b"]" * (depth - 2))
            events = b",".join([b'{"messageId":"m","context":%b}' % context] * 3)
            shared = b',"context":%b' % context if is_shared else b""
            return b'{"batch":[%b]%b}' % (events, shared)

        assert len(decode(sent(MAX_DEPTH)).events) == 3
        assert len(decode(sent(MAX_DEPTH + 1)).misfits) == 3

    @pytest.mark.parametrize("batch", [b"[%b]", b'{"batch":[%b],"context":{"k":1}}'])
    @pytest.mark.parametrize(
        "inner",
        [
            b"[" * 1000 + b"]" * 1000,
            b"[" * 100_000 + b"]" * 100_000,
            b'{"a":' * 100_000 + b'"}]"' + b"}" * 100_000,
            b"[" * 2000 + b"}" * 2000,  # no JSON, which nobody can tell without going there
        ],
    )
    def test_event_that_is_nested_too_deeply_costs_no_other(
        self, batch: bytes, inner: bytes
    ) -> None:
        deep = b'{"messageId":"deep","properties":{"p":%b}}' % inner
        others = b'{"messageId":"a"},%b,{"messageId":5,"x":"\\ud83d"} , 7 ,%b, {"messageId":"c"}'
        received = decode(batch % (others % (deep, b"[%b]" % inner)))
        assert ids(received) == ["a", msgspec.Raw(b"5"), "c"]
        assert received.misfits == [deep, b"7", b"[%b]" % inner]
        assert received.is_batch
        assert bytes(received.shared.context) == (b'{"k":1}' if b"context" in batch else b"")
        assert [event["messageId"] for event in json.loads(received.body)] == ["a", 5, "c"]

    @pytest.mark.parametrize(
        "text",
        [
            b'{"batch":[%b]',
            b'{"batch":[%b},"a":1}',
            b'{"batch":[%b 1]}',
            b'{"batch":[%b,]}',
            b'{"batch":[%b,,1]}',
            b'{"batch":[%b],"a"}',
            b'{"batch":[%b],"a":}',
            b'{"batch":[%b]}}',
            b'{"batch":[%b],1:2}',
            b'{"batch":[%b,{"a":nul}]}',
            b'{"batch":[%b],"context":nul}',
            b"[%b]]",
            b"[%b",
        ],
    )
    def test_what_is_no_json_around_an_event_that_is_nested_too_deeply(self, text: bytes) -> None:
        deep = b'{"p":' + b"[" * 2000 + b"]" * 2000 + b"}"
        code = "nested_too_deep" if text[:1] == b"[" else "invalid_json"  # nothing else is in it
        assert refusal(text % deep) == (400, code)

    @pytest.mark.parametrize("text", [b'{"batch":[{}],"context":%b}', b'{"batch":%b}', b"%b"])
    def test_what_is_nested_too_deeply_beside_the_events(self, text: bytes) -> None:
        status, code = refusal(text % (b'{"p":' * 2000 + b"1" + b"}" * 2000))
        assert (status, code) in {(400, "nested_too_deep"), (400, "invalid_batch")}

    def test_batch_of_too_many_deep_events_is_refused(self) -> None:
        deep = b"[" * 2000 + b"]" * 2000
        assert refusal(b"[%b%b]" % (deep, b",1" * MAX_EVENTS)) == (400, "too_many_events")

    def test_body_with_too_many_events_is_refused(self) -> None:
        def of(count: int) -> bytes:
            return b",".join([b"{}"] * count)

        assert len(decode(b'{"batch":[%b]}' % of(MAX_EVENTS)).events) == MAX_EVENTS
        assert len(decode(b"[%b]" % of(MAX_EVENTS)).events) == MAX_EVENTS
        for text in (b'{"batch":[%b]}', b"[%b]", b'{"batch":[1,%b]}'):
            assert refusal(text % of(MAX_EVENTS + 1)) == (400, "too_many_events")

    def test_refusal_repeats_nothing_of_the_body(self) -> None:
        with pytest.raises(RequestError) as caught:
            decode(b'{"writeKey":"canary" canary}')

        assert "canary" not in caught.value.message


class TestText:
    @pytest.mark.parametrize(
        ("written", "read"),
        [
            (b"\\ud83d", "\ufffd"),
            (b"\\uD83D", "\ufffd"),
            (b"\\ude00", "\ufffd"),
            (b"cut \\ud83d here", "cut \ufffd here"),
            (b"\\ud83d\\ud83d\\ude00", "\ufffd😀"),
            (b"\\ude00\\ud83d", "\ufffd\ufffd"),
            (b"\\ud83d\\u0041", "\ufffdA"),
            (b"\\ud83d\\ude00\\ud800", "😀\ufffd"),
            (b"\\\\ud83d\\ud800", "\\ud83d\ufffd"),
            (b'\\"\\ud800\\n', '"\ufffd\n'),
            (b"\xf0\x9f\x98\x80 \\ud800", "😀 \ufffd"),
        ],
    )
    def test_halves_of_surrogate_pairs_are_replaced(self, written: bytes, read: str) -> None:
        (event,) = decode(b'{"event":"%b","properties":{"%b":["%b"]}}' % ((written,) * 3)).events

        assert event.event == read
        assert json.loads(bytes(event.properties)) == {read: [read]}

    def test_escapes_of_a_body_that_is_mended_stay_as_they_are(self) -> None:
        text = rb'{"event":"\ud800","properties":{"a":"\u00e9\\\/\ud83d\ude00\\ud800"}}'

        assert bytes(decode(text).events[0].properties) == (
            rb'{"a":"\u00e9\\\/\ud83d\ude00\\ud800"}'
        )

    def test_mending_a_long_body_is_quick(self) -> None:
        text = b'{"event":"\\ud800","properties":{"a":"' + b"\\n" * 500_000 + b'"}}'

        assert decode(text).events[0].event == "\ufffd"

    @pytest.mark.parametrize("junk", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80"])
    def test_bytes_that_are_no_utf8_are_replaced(self, junk: bytes) -> None:
        (event,) = decode(b'{"event":"a%bb","properties":{"k":"%b"}}' % (junk, junk)).events

        assert event.event is not None
        assert set(event.event) == {"a", "b", "\ufffd"}
        assert "\ufffd" in bytes(event.properties).decode()

    def test_byte_order_mark_is_ignored(self) -> None:
        assert ids(decode(b'\xef\xbb\xbf{"messageId":"m"}')) == ["m"]
        assert ids(decode(b'\xef\xbb\xbf[{"messageId":"m"}]')) == ["m"]

    @settings(deadline=None)
    @given(st.binary() | st.text().map(lambda text: json.dumps({"event": text}).encode()))
    def test_any_bytes_are_events_or_a_refusal(self, text: bytes) -> None:
        try:
            received = decode(text)
        except RequestError:
            return
        for event in received.events:
            encode(event).decode()  # can be written as UTF-8


CONTEXTS = [
    json.dumps({"library": {"name": name, "version": "1.19.1"}, "ip": "192.0.2.1"})
    for name in ("analytics-kotlin", "analytics-swift")
]
CONTEXT = st.sampled_from(CONTEXTS)
KEY = st.sampled_from(
    ['"context"'] * 4 + ['"properties"', '"con\\u0074ext"', '"\\"context"', '"x"']
)
COLON = st.sampled_from([":", ":", ": ", " :", ":\n "])
VALUE = st.recursive(
    CONTEXT | CONTEXT | st.sampled_from(["{}", "null", "5", '""', json.dumps(CONTEXTS[0])]),
    lambda inner: st.builds("{{{}{}{}}}".format, KEY, COLON, inner) | inner.map("[{}]".format),
    max_leaves=3,
)
MEMBER = st.builds("{}{}{}".format, KEY, COLON, VALUE)
OBJECT = st.lists(MEMBER, max_size=3).map(lambda members: "{" + ",".join(members) + "}")
BODY = st.builds(
    '{{{}"batch":[{}]{}}}'.format,
    st.just("") | MEMBER.map("{},".format),
    st.lists(OBJECT | CONTEXT.map('{{"context":{}}}'.format), max_size=6).map(", ".join),
    st.just("") | MEMBER.map(",{}".format),
).map(str.encode)


class TestFolding:
    """Contexts that are repeated are decoded once; nobody can see that."""

    @pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
    def test_events_share_a_context_that_is_the_same(self, separators: tuple[str, str]) -> None:
        context = json.loads(CONTEXTS[0])
        batch = [{**EVENT, "context": context, "messageId": str(number)} for number in range(3)]
        text = json.dumps({"batch": batch}, separators=separators).encode()
        received = check_folding(text)

        assert received is not None
        assert shares_contexts(received)
        assert ids(received) == ["0", "1", "2"]
        assert [json.loads(bytes(event.context)) for event in received.events] == [context] * 3
        assert received.body == text

    def test_events_share_a_context_with_their_batch(self) -> None:
        text = '{"context":%s,"batch":[{"context":%s},{"context":%s}]}' % ((CONTEXTS[0],) * 3)
        received = check_folding(text.encode())

        assert received is not None
        assert shares_contexts(received)

    @settings(deadline=None, max_examples=500)
    @given(BODY)
    def test_any_body_is_what_it_is_unfolded(self, text: bytes) -> None:
        check_folding(text)

    @settings(deadline=None, max_examples=300)
    @given(BODY, st.data())
    def test_any_damaged_body_is_what_it_is_unfolded(
        self, text: bytes, data: st.DataObject
    ) -> None:
        place = data.draw(st.integers(0, len(text)))
        until = data.draw(st.integers(place, min(len(text), place + 3)))
        inserted = data.draw(st.sampled_from([b"", b'"', b"{", b"}", b",", b"\\", b"5", b"\xff"]))

        check_folding(text[:place] + inserted + text[until:])

    def test_refusal_tells_the_place_in_the_body(self) -> None:
        text = f'{{"context":{CONTEXTS[0]},"properties":{{"context":{CONTEXTS[0]}}},x]}}'

        with pytest.raises(RequestError, match=f"byte {text.index('x]')}"):
            decode(text.encode())


class TestEncode:
    def test_event_is_written_as_it_came_but_for_its_key(self) -> None:
        (event,) = decode(body(EVENT)).events
        event.client_ip, event.skew_ms = "1.2.3.4", 10_000

        assert json.loads(encode(event)) == {
            key: value for key, value in EVENT.items() if key != "writeKey"
        }

    def test_odd_members_are_written_as_they_came(self) -> None:
        (event,) = decode(b'[{"userId":5,"event":{"a":1.10},"writeKey":["canary"]}]').events

        assert encode(event) == b'{"event":{"a":1.10},"userId":5}'

    def test_event_that_is_its_own_batch_is_written_without_one(self) -> None:
        assert encode(decode(b'{"messageId":"m","batch":null}').events[0]) == b'{"messageId":"m"}'


class TestMergeObjects:
    @pytest.mark.parametrize(
        ("base", "over", "merged"),
        [
            (b'{"a":1,"b":1}', b'{"b":2,"c":{"d":1.10}}', {"a": 1, "b": 2, "c": {"d": 1.1}}),
            (b'{"a":{"x":1}}', b'{"a":{"y":2}}', {"a": {"y": 2}}),
            (b'{"a":1}', b"", {"a": 1}),
            (b"", b'{"a":1}', {"a": 1}),
            (b'{"a":1}', b"null", {"a": 1}),
            (b'{"a":1}', b'"text"', {"a": 1}),
            (b"[1]", b'{"a":1}', {"a": 1}),
            (b'{"a":1,"a":2}', b'{"\\u0061":3}', {"a": 3}),
            (b"{}", b"{}", {}),
        ],
    )
    def test_members_of_the_event_win(
        self, base: bytes, over: bytes, merged: dict[str, Any]
    ) -> None:
        assert json.loads(bytes(merge_objects(base, msgspec.Raw(over)))) == merged

    @pytest.mark.parametrize("over", [b"", b"5", b'"text"'])
    def test_without_any_object_the_event_keeps_its_own(self, over: bytes) -> None:
        assert bytes(merge_objects(b"7", msgspec.Raw(over))) == over

    def test_values_keep_their_text(self) -> None:
        merged = merge_objects(b'{"a": 1e400}', msgspec.Raw(b'{"b": [ 1.10 ]}'))

        assert bytes(merged) == b'{"a":1e400,"b":[ 1.10 ]}'


def test_event_shows_no_more_than_its_id() -> None:
    (event,) = decode(b'{"messageId":"m","writeKey":"canary","userId":"canary"}').events

    assert "'m'" in repr(event)
    assert "canary" not in repr(event)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None),
        ("", ""),
        ("x", "x"),
        (5, "5"),
        (1.5, "1.5"),
        (True, "true"),
        (msgspec.Raw(b'"x\\u0041"'), "xA"),
        (msgspec.Raw(b"5"), "5"),
        (msgspec.Raw(b"true"), "true"),
        (msgspec.Raw(b"false"), "false"),
        (msgspec.Raw(b"null"), None),
        (msgspec.Raw(b'["x"]'), "x"),
        (msgspec.Raw(b"[5]"), "5"),
        (msgspec.Raw(b"[null]"), None),
        (msgspec.Raw(b"[true]"), "true"),
        (msgspec.Raw(b'["a","b"]'), None),
        (msgspec.Raw(b'[["x"]]'), None),
        (msgspec.Raw(b"{}"), None),
        (msgspec.Raw(b""), None),
        (msgspec.Raw(b"1e999"), None),
        (msgspec.Raw(b"[" * 5000 + b"]" * 5000), None),
        (object(), None),
    ],
)
def test_plain_text_of_a_member(value: object, text: str | None) -> None:
    assert plain_text(value) == text
