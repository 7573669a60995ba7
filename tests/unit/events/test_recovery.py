"""Bodies that are no JSON: what is whole in them is found, and nothing is made up."""

import json
import time
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmap import Shapes, recover
from gateway.errors import RequestError
from gateway.events import Received, decode, fault_of, plain_text, share
from gateway.events.recovery import EVENTS, MAX_EVENTS, save
from tests.support.damage_bodies import DAMAGES, run

NESTED = '{"type":"track","messageId":"nested","userId":"u","event":"Nested","properties":{}}'
PRODUCTS = f'[{{"id":1}},{NESTED},{{"id":2}}]'


def event(name: str, **members: Any) -> bytes:
    return json.dumps({"type": "track", "messageId": name, "event": "E", **members}).encode()


A = event("a", properties={"n": 1})
B = event("b", properties={"products": [{"id": 1, "name": "},{"}, {"id": 2}]})
C = event("c", context={"library": {"name": "l"}})


def ids(received: Received) -> list[str | None]:
    return [plain_text(each.message_id) for each in received.events]


def shared(received: Received) -> dict[str, object]:
    raw = {"context": received.shared.context, "integrations": received.shared.integrations}
    members: dict[str, object] = {name: json.loads(bytes(raw[name])) for name in raw if raw[name]}
    return members | {"sentAt": received.shared.sent_at, "writeKey": received.shared.write_key}


class TestBracesTooMany:
    """Behind an object, one may be the end of another that the object was cut out of."""

    @pytest.mark.parametrize(
        "body",
        [
            A + b"}",
            A + b"}}",
            b"[" + A + b"}]",
            b'{"batch":[' + A + b"}]}",
            b'{"batch":[' + A + b"}",
        ],
    )
    def test_event_that_may_not_be_whole_is_kept_as_lost(self, body: bytes) -> None:
        received = decode(body)
        assert ids(received) == []
        assert [fault_of(misfit) for misfit in received.misfits] == ["malformed"]
        assert A in received.misfits[0]

    def test_others_are_delivered(self) -> None:
        received = decode(b'{"batch":[' + A + b"}," + B + b"]}")
        assert ids(received) == ["b"]
        assert len(received.misfits) == 1

    @pytest.mark.parametrize(
        "body",
        [
            b'{"a":1}}',
            b'{"batch": K{"contNext":{"library":{"name":"k"}},"type":"page","anonymousId":"a",'
            b'"messageId":"m","timestamp":"2021.1"}},"type":"page","messageId":"m","name":5}]}',
        ],
    )
    def test_where_no_event_is_lost_the_body_is_refused(self, body: bytes) -> None:
        with pytest.raises(RequestError):
            decode(body)


class TestTokens:
    @pytest.mark.parametrize(
        ("written", "read"),
        [
            ("NaN", None),
            ("Infinity", None),
            ("-Infinity", None),
            ("+Infinity", None),
            ("nan", None),
            ("-inf", None),
            ("INF", None),
            ("undefined", None),
            ("None", None),
            ("NULL", None),
            ("True", True),
            ("FALSE", False),
            ("007", 7),
            ("-007", -7),
            ("00", 0),
            ("00.5", 0.5),
            (".5", 0.5),
            ("-.5", -0.5),
            ("5.", 5),
            ("+5", 5),
            ("+.5e3", 500),
            ("[NaN,1,Infinity]", [None, 1, None]),
            ('{"a":NaN}', {"a": None}),
            (r'"\x41"', "A"),
            (r'"\xe9\xE9"', "éé"),
            (r'"it\'s"', "it's"),
            (r'"\v\0"', "\v\0"),
            (r'"C:\Temp\q"', r"C:\Temp\q"),
            (r'"\u12"', r"\u12"),
            (r'"\x4"', r"\x4"),
            ('"a\nb\tc\r"', "a\nb\tc\r"),
            ('"\x00\x01\x1f"', "\x00\x01\x1f"),
            ("\x001\x00\x00", 1),
        ],
    )
    def test_token_whose_meaning_is_plain_is_mended(self, written: str, read: object) -> None:
        text = f'{{"batch":[{{"type":"track","messageId":"a","properties":{{"p":{written}}}}}]}}'
        single = f'{{"messageId":"a","properties":{{"k":"v","p":{written}}}}}'
        for received in (decode(text.encode()), decode(single.encode())):
            (found,) = received.events
            assert json.loads(bytes(found.properties))["p"] == read
            assert received.is_damaged
            assert received.misfits == []

    @pytest.mark.parametrize(
        ("written", "count"), [("NaN", 1), ("[NaN,-inf]", 2), ("None", 0), ("007", 0), ("nul", 0)]
    )
    def test_numbers_that_are_none_are_counted(self, written: str, count: int) -> None:
        lost = b'{"type":"track","messageId":"x","properties":{"p":[NaN,%b}' % written.encode()
        text = b'{"messageId":"a","type":"track","properties":{"p":%b}}' % written.encode()
        received = decode(b"[%b,%b,%b]" % (A, text, lost))

        assert received.nulls == count

    @pytest.mark.parametrize(
        "written",
        ["nul", "tru", "1.2.3", "1e", "0x1f", "1_000", "--1", "+", ".", "-", "'a'", "a b", "{a:1}",
         "[1 2]", '{"a" 1}', '{"a":1,}', "[1,]", "[,1]", '"a" "b"', "01234567" * 9, "1,,2"],
    )  # fmt: skip
    def test_what_is_not_plain_costs_its_event(self, written: str) -> None:
        text = f'{{"type":"track","messageId":"x","properties":{{"p":{written}}}}}'.encode()
        received = decode(b'{"batch":[%b,%b,%b],"sentAt":"s"}' % (A, text, B))

        assert ids(received) == ["a", "b"]
        assert received.misfits == [text]
        assert received.shared.sent_at == "s"
        with pytest.raises(RequestError):
            decode(text)

    def test_mended_members_steer_as_others_do(self) -> None:
        (found,) = decode(
            rb'{"type":"track","messageId":"\x61","userId":"o\'hara","timestamp":+5}'
        ).events

        assert (found.message_id, found.user_id, found.timestamp) == ("a", "o'hara", 5)


BETWEEN = [
    b"[,%(a)b,%(b)b]",
    b"%(a)b%(b)b",
    b"%(a)b\n%(b)b\n",
    b"[%(a)b%(b)b]",
    b"[%(a)b,,%(b)b]",
    b"[%(a)b,%(b)b,]",
    b"[%(a)b;%(b)b]",
    b"[%(a)b,x,%(b)b]",
    b"[x,%(a)b,%(b)b]",
    b"[%(a)b,%(b)b]x",
    b"[%(a)b,%(b)b",
    b"[%(a)b,%(b)b\0\0\0",
    b"[\0%(a)b\0,\0\0%(b)b\0]\0",
    b'{"batch":[%(a)b,%(b)b]}\0\0\0',
    b'\0\0{"batch":[%(a)b,%(b)b]}',
    b'{"batch":[%(a)b,%(b)b]},',
    b'{"batch":[%(a)b,%(b)b]}}',
    b'{"batch":[%(a)b]}{"batch":[%(b)b]}',
    b'{"batch":[%(a)b]}\n{"batch":[%(b)b]}\n',
    b"[%(a)b][%(b)b]",
    b'{"batch":%(a)b,%(b)b]}',
    b'{"batch"[%(a)b,%(b)b]}',
    b'{"batch:[%(a)b,%(b)b]}',
    b"{batch:[%(a)b,%(b)b]}",
    b'batch":[%(a)b,%(b)b]}',
    b'ch":[%(a)b,%(b)b]}',
    b'":[%(a)b,%(b)b]}',
    b":[%(a)b,%(b)b]}",
    b"%(a)b,%(b)b]}",
    b'"properties":{}},%(a)b,%(b)b]}',
    b'"n":[{"id":1}]},%(a)b,%(b)b]}',
    b'{"messages":[%(a)b,%(b)b],}',
]


class TestBetween:
    @pytest.mark.parametrize("text", BETWEEN)
    def test_damage_between_the_events_costs_none(self, text: bytes) -> None:
        received = decode(text % {b"a": A, b"b": B})
        found = ids(received)

        # Only where the list has lost its bracket the first is no element.
        assert found == (["b"] if b'"batch":%(a)b' in text else ["a", "b"])
        assert bytes(received.events[-1].properties) == bytes(decode(B).events[0].properties)

    @pytest.mark.parametrize(
        ("text", "found", "lost"),
        [
            (b"[x,%(a)b]", ["a"], [b"x"]),
            (b"[%(a)b,%(b)b", ["a", "b"], []),
            (b'{"batch":[%(a)b,{"type":"tra', ["a"], [b'{"type":"tra']),
            (b'ck","a":{"b":1}},%(a)b]}', ["a"], [b'ck","a":{"b":1}}']),
            (b"[,,\0 ,%(a)b,]", ["a"], []),
            (b'[%(a)b,{"a":tru},%(b)b]', ["a", "b"], [b'{"a":tru}']),
            (b'[5,%(a)b,"t",tru,%(b)b]', ["a", "b"], [b"5", b'"t"', b"tru"]),
        ],
    )
    def test_what_is_lost_is_kept_as_it_came(
        self, text: bytes, found: list[str], lost: list[bytes]
    ) -> None:
        received = decode(text % {b"a": A, b"b": B})

        assert ids(received) == found
        assert sorted(received.misfits) == sorted(lost)
        assert all(fault_of(each) in ("malformed", "not_an_object") for each in received.misfits)

    @pytest.mark.parametrize("second", [b'{"batch":[%b],"integrations":{"All":false}}', b"%b"])
    def test_what_one_envelope_shares_is_not_the_others(self, second: bytes) -> None:
        first = b'{"context":{"app":1},"sentAt":"s","batch":[%b],"writeKey":"k"}' % A
        received = decode(first + second % B)

        one, other = received.events
        assert (bytes(one.context), one.sent_at) == (b'{"app":1}', "s")
        assert bytes(one.integrations) == b""
        assert (bytes(other.context), other.sent_at) == (b"", None)
        assert bytes(other.integrations) == (b'{"All":false}' if b"All" in second else b"")
        assert received.shared.write_key == "k"
        assert received.shared.context == msgspec.Raw(b"")


DAMAGED = [
    b'{"type":"track","messageId":"x","properties":{"p":tru}}',
    b'{"type":"track","messageId":"x","event":"lost quote}',
    b'{"type":"track","messageId":"x","event":lost quote"}',
    b'{"type":"track","messageId":"x","event:"lost quote"}',
    b'{"type":"track,"messageId":"x","event":"lost quote"}',
    b'{"type":"track","messageId":"x","event":"one" too many"}',
    b'{"type":"track","messageId":"x","event":"escaped\\"}',
    b'{"type":"track","messageId":"x","properties":{"p":1}',
    b'{"type":"track","messageId":"x","properties":{"p":[1,2}}',
    b'{"type":"track","messageId":"x","properties":{"p":[[1,2]}}',
    b'{"type":"track","messageId":"x","properties":{"p":1}}}',
    b'{"type":"track","properties":{"p":1}},"messageId":"x"}',
    b'{"type":"track","messageId":"x","properties":{"p":{1}}',
    b'{"type":"track","messageId":"x","properties":"p":1}}',
    b'"type":"track","messageId":"x","properties":{"p":1}}',
    b'{"type":"track","messageId":"x","properties"',
    b'{"type":"track","messageId":"x",',
    b"{",
    b'{"',
    b"}",
    b'"',
    b"\\",
    b"[",
    b'[{"id":1},{"id":2',
]


class TestElements:
    @pytest.mark.parametrize("place", [0, 1, 2])
    @pytest.mark.parametrize(
        "envelope", [b'{"sentAt":"s","batch":[%b]}', b'{"batch":[%b],"sentAt":"s"}', b"[%b]"]
    )
    @pytest.mark.parametrize("damaged", DAMAGED)
    def test_damaged_element_costs_no_other(
        self, damaged: bytes, envelope: bytes, place: int
    ) -> None:
        whole = [A, B, C]
        elements = [*whole[:place], damaged, *whole[place:]]
        received = decode(envelope % b",".join(elements))

        # One before it may have lost its end, for all that anybody can tell.
        found = ids(received)
        may_be_lost = {"abc"[place - 1]} if place and damaged[:1] in (b"}", b'"') else set()
        assert {"a", "b", "c"} - set(found) <= may_be_lost
        assert len(found) == len(set(found))
        assert set(found) <= {"a", "b", "c"}
        properties = {bytes(decode(one).events[0].properties) for one in whole}
        assert {bytes(each.properties) for each in received.events} <= properties

    @pytest.mark.parametrize(
        "damaged",
        [
            f'{{"type":"track","messageId":"x","properties":{{"p":tru,"products":{PRODUCTS}}}}}',
            f'{{"type":"track","messageId":"x","properties":{{"products":{PRODUCTS},"p":tru}}}}',
            f'{{"type":"track","messageId":"x","properties":{{"products":[tru,{NESTED},{{}}]}}}}',
            f'{{"type":"track","messageId":"x","event":lost","properties":{NESTED}}}',
            f'{{"type":"track","messageId":"x","event":lost","context":{{"a":{NESTED}}}}}',
            f'{{"type":"track","messageId":"x","event":lost","p":[{NESTED},{NESTED}]}}',
            f'{{"type":"track","messageId":"x","a":{{"p":[{NESTED},{NESTED}]}}',
            '{"type":"track","messageId":"x","p":{"batch":[{"a":1},{"b":2}]},"q":tru}',
            '{"type":"track","messageId":"x","batch":[{"a":1}],"integrations":{},"q":tru}',
            '{"type":"track","messageId":"x","a":tru,"traits":{"type":"page","name":"n","id":"i"}}',
        ],
    )
    def test_what_lies_in_a_damaged_event_is_none(self, damaged: str) -> None:
        received = decode(b'{"batch":[%b,%b,%b],"sentAt":"s"}' % (A, damaged.encode(), B))

        assert ids(received) == ["a", "b"]
        assert shared(received) == {"sentAt": "s", "writeKey": None}
        with pytest.raises(RequestError):
            decode(damaged.encode())

    @pytest.mark.parametrize(
        "text",
        [
            b'[%b,%b]}},%b,%b,%b],"sentAt":"s"}',
            b'{"batch":[%b,{"type":"track","messageId":"x","t":"2},%b]}},%b,%b],"sentAt":"s"}',
        ],
    )
    def test_what_looks_like_an_event_and_has_no_id_among_those_that_have_one(
        self, text: bytes
    ) -> None:
        product = b'{"type":"page","name":"n","userId":"u"}'
        texts = [product, product, A, B, C] if text[:1] == b"[" else [A, product, B, C]
        received = decode(text % tuple(texts))

        assert ids(received) == ["a", "b", "c"]
        assert any(product in lost for lost in received.misfits)

    def test_events_without_an_id_are_taken_where_no_event_is_damaged(self) -> None:
        one = b'{"type":"track","event":"E","properties":{"n":NaN}}'

        assert ids(decode(b'{"batch":[%b,,%b,%b]}' % (A, one, B))) == ["a", None, "b"]

    def test_event_cut_off_gives_none_of_what_lies_in_it(self) -> None:
        text = b'{"batch":[%b,{"type":"track","messageId":"x","p":{"h":[%b,%b],"q":[1' % (
            A,
            NESTED.encode(),
            NESTED.encode(),
        )
        assert ids(decode(text)) == ["a"]

    def test_events_that_an_open_one_swallows_are_found(self) -> None:
        text = b'{"batch":[%b,{"type":"track","p":{"items":[{"id":1},{"id":2},%b,%b],"sentAt":"s"}'

        assert ids(decode(text % (A, B, C))) == ["a", "b", "c"]

    def test_texts_that_hold_events_are_texts(self) -> None:
        inner = json.dumps({"json": NESTED, "more": [A.decode(), B.decode()] * 3})
        one = event("1", properties={"text": inner})
        text = b'{"batch":[%b,{"type":"track","x":bad"},%b],"sentAt":"s"}' % (one, one)

        assert ids(decode(text)) == ["1", "1"]

    def test_members_that_stand_twice_are_of_two_events(self) -> None:
        two = b'{"type":"track","messageId":"a","event":"E","type":"track","messageId":"b"}'

        assert ids(decode(b"[%b,%b,]" % (two, C))) == ["c"]


ALL = {"context": {"c": 1}, "integrations": {"All": False}, "sentAt": "s", "writeKey": "k"}
MEMBERS = [f'"{name}":{json.dumps(value, separators=(",", ":"))}' for name, value in ALL.items()]


class TestEnvelope:
    @pytest.mark.parametrize(
        "damage",
        [
            '"odd":tru',
            '"odd":{"a":tru,"b":{}}',
            '"odd:1',
            '"odd":"',
            "odd",
            '"odd":[1,{"integrations":{"All":true}},tru]',
            "",
            ":",
        ],
    )
    @pytest.mark.parametrize("place", range(5))
    @pytest.mark.parametrize("before", [0, 2, 4])
    def test_members_are_found_around_damage(self, damage: str, place: int, before: int) -> None:
        members = [*MEMBERS[:place], damage, *MEMBERS[place:]]
        members.insert(before if before < place else before + 1, f'"batch":[{A.decode()}]')
        received = decode(f"{{{','.join(members)}}}".encode())

        assert ids(received) == ["a"]
        found = shared(received)
        if '"' not in damage[4:] and not damage.startswith('"odd:'):
            assert found == ALL
        assert {name: found[name] for name in found if found[name]}.items() <= ALL.items()

    @pytest.mark.parametrize("name", ["context", "integrations"])
    def test_members_of_an_event_are_not_the_envelopes(self, name: str) -> None:
        damaged = f'{{"type":"track","messageId":"x","q":tru,"{name}":{{"a":1}},"sentAt":"x"}}'
        for text in (f'{{"batch":[{A.decode()},{damaged}]}}', f'{{"batch":[{damaged},{A.decode()}'):
            assert shared(decode(text.encode())) == {"sentAt": None, "writeKey": None}

    @pytest.mark.parametrize(
        "text",
        [
            b'{"batch":[%b],"integrations":{"All":fal',
            b'{"integrations":{"All":fals},"batch":[%b]}',
            b'{"batch":[%b],"integrations":{All:false},"sentAt":"s"}',
        ],
    )
    def test_events_whose_integrations_are_lost_are_not_sent(self, text: bytes) -> None:
        received = decode(text % A)

        assert (received.events, received.misfits) == ([], [A])
        assert received.is_batch

    @pytest.mark.parametrize("second", ["batch", "events", "Messages", "BATCH"])
    @pytest.mark.parametrize(
        ("text", "lost"),
        [
            (b'{"batch":[%(a)b],"%(name)b":[%(b)b],"integrations":{"All":false},"x":tru}', []),
            (b'{"integrations":{"All":false},"batch":[%(a)b],"%(name)b":[%(b)b', []),
            (b'{"x":tru,"batch":[%(a)b],"%(name)b":[%(b)b],"integrations":{"All":false}}', []),
            (b'{"batch":[%(a)b],"x":tru,"%(name)b":[%(b)b],"integrations":{"All":false}}', []),
            (b'{"batch":[%(a)b,7u],"%(name)b":[%(b)b],"integrations":{"All":false}}', [b"7u"]),
            (b'{"integrations":{"All":false},"batch":[%(a)b],"%(name)b":[%(b)b,7u', [b"7u"]),
        ],
    )
    def test_second_list_beside_damage_is_not_lost(
        self, second: str, text: bytes, lost: list[bytes]
    ) -> None:
        received = decode(text % {b"a": A, b"b": B, b"name": second.encode()})

        assert (ids(received), received.misfits) == (["a", "b"], lost)
        # They say what no event of this body may be sent to.
        share(received)
        assert [bytes(each.integrations) for each in received.events] == [b'{"All":false}'] * 2

    def test_what_is_lost_holds_no_write_key(self) -> None:
        lost = b'{"type":"track","write_key":"s3","writeKey" : "s3cret-key","a":tru'
        received = decode(b'{"writeKey":"s3cret-key","batch":[%b,%b]' % (A, lost))

        assert b"s3" not in b"".join(received.misfits)
        assert received.shared.write_key == "s3cret-key"

    @pytest.mark.parametrize("name", ["messages", "events", "Batch", "BATCH", "Messages", "data"])
    @pytest.mark.parametrize("rest", [b"", b',"sentAt":"s","writeKey":"k"', b',"batch":null'])
    def test_list_of_events_may_have_another_name(self, name: str, rest: bytes) -> None:
        received = decode(b'{"%b":[%b,%b]%b}' % (name.encode(), A, B, rest))

        assert ids(received) == ["a", "b"]
        assert received.shared.write_key == ("k" if b"writeKey" in rest else None)

    @pytest.mark.parametrize(
        "text",
        [
            b"{}",
            b'{"batch":null}',
            b'{"data":[{"id":1}]}',
            b'{"a":{"b":[%b]}}',
            b'{"sentAt":"s","context":{}}',
            b'{"Batch":null}',
            b'{"data":[1,2]}',
            b'{"data":[]}',
        ],
    )
    def test_body_without_any_event_is_nothing(self, text: bytes) -> None:
        assert decode(text.replace(b"%b", A)).is_nothing

    @pytest.mark.parametrize("text", [b'{"batch":[]}', b"[]", b'{"type":"x"}', b'{"userId":"u"}',
                                      b'{"event":"E","messages":[{"type":"track"}]}'])  # fmt: skip
    def test_batch_or_event_is_something(self, text: bytes) -> None:
        assert not decode(text).is_nothing


class TestEncodings:
    @pytest.mark.parametrize(
        "encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"]
    )
    @pytest.mark.parametrize("text", ['{"batch":[{"event":"Größe 😀"}]}', '[{"event":"Größe 😀"}]'])
    def test_wide_text_is_read(self, encoding: str, text: str) -> None:
        assert decode(text.encode(encoding)).events[0].event == "Größe 😀"

    @pytest.mark.parametrize(
        "text", [b"\0", b"\0\0\0\0", b"\xff\xfe", b"\xfe\xff\0", b"{\0", b"\0["]
    )
    def test_short_ones_are_refused(self, text: bytes) -> None:
        with pytest.raises(RequestError):
            decode(text)


PATTERNS = [
    b"{",
    b"[",
    b'"',
    b"\\",
    b"},{",
    b'{"',
    b'"{',
    b'{"a":',
    b'[{"a":',
    b'{"batch":[',
    b'{"batch":[{',
    b'],"a":1,',
    b'"batch":[{"type":"track","messageId":"1"',
    b'{"type":"track","messageId":"1","a":',
    b'{"type":"track","messageId":"1"},',
    b'{"type":"track","messageId":"1",tru},',
    b'","',
    b'{"a":"{","b":"}",',
    b"\0",
    b'"\x01',
    b"\\x41",
    b'"\\',
    b"NaN,",
    b"007,",
    b"1" * 70 + b",",
    b'"context":{"a":',
    b'"integrations":',
    b"]}",
    b'[{"type":"track","messageId":"1","properties":{"b":[',
    b'{"sentAt":"x",',
    b'],"batch":[{"a":1}',
    b'],"a":[1],"batch":[{"a":',
    b'],"batch":[{"type":"track","messageId":"1"}',
    b'"a":[1],',
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_time_is_linear_whatever_the_body_holds(pattern: bytes) -> None:
    def time_of(size: int) -> float:
        text = b'{"batch":[%b,' % A + pattern * (size // len(pattern))
        began = time.perf_counter()
        recover(text, EVENTS, MAX_EVENTS)
        return time.perf_counter() - began

    size = 4 * 1024 * 1024
    assert min(time_of(size) for _ in range(3)) < 5  # a quadratic one takes minutes


@pytest.mark.parametrize("pattern", PATTERNS)
def test_decoding_such_a_body_is_bounded(pattern: bytes) -> None:
    text = b'{"batch":[%b,' % A + pattern * (512 * 1024 // len(pattern))
    began = time.perf_counter()
    try:
        decode(text)
    except RequestError:
        pass
    assert time.perf_counter() - began < 5


def test_elements_of_a_damaged_body_are_counted() -> None:
    with pytest.raises(RequestError) as caught:
        decode(b"[%b,]" % b",".join([A] * (MAX_EVENTS + 1)))
    assert caught.value.code == "too_many_events"


SHAPES = Shapes(lists=[b"l"], members=[b"m"], objects=[[b"a", b"b"]], kind=b"a", kinds=[b"x"])
SNIPPETS: Sequence[bytes] = [b'{"a":"x","b":1}', b'"l":[', b'"m":', *PATTERNS]


@settings(deadline=None, max_examples=600)
@given(st.lists(st.sampled_from(SNIPPETS) | st.binary(max_size=3), max_size=12).map(b"".join))
def test_whatever_is_whole_is_json(text: bytes) -> None:
    text = text.decode(errors="replace").encode()
    groups, _, _ = recover(text, SHAPES, 1000)
    for group in groups:
        for item, is_whole in group.items:
            if is_whole:
                msgspec.json.decode(item, type=msgspec.Raw)
            else:
                assert item in text
        for member in group.members.values():
            msgspec.json.decode(member, type=msgspec.Raw)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.sampled_from(SNIPPETS) | st.binary(max_size=3), max_size=12).map(b"".join))
def test_whatever_is_saved_can_be_decoded(text: bytes) -> None:
    text = text.decode(errors="replace").encode()
    if save(text, EVENTS) is not None:
        try:
            received = decode(text)
        except RequestError:
            return
        assert received.events or not received.is_damaged or received.misfits


def test_shapes_need_few_names() -> None:
    with pytest.raises(ValueError, match="too many"):
        Shapes(lists=[], members=[b"%d" % number for number in range(100)], objects=[])


@pytest.mark.parametrize("seed", range(2))
def test_random_damage_costs_hardly_any_intact_event(seed: int) -> None:
    tally = run(100 * len(DAMAGES), seed=100 + seed, is_timed=False)

    assert tally.whole >= 0.99 * tally.bodies
    assert tally.delivered >= 0.995 * tally.intact
    assert (tally.invented, tally.changed) == (0, 0)
    assert tally.letters > 100
