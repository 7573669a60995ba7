"""Events that repeat what others said: each gives what it would give alone."""

import json
from collections.abc import Sequence
from types import SimpleNamespace

import pytest

import fastmap
from fastmap import MalformedInput, spec
from tests.support.plans import RECEIVED_MS, item, record, value

TEXT = spec.String()
LONG = "x" * 5000  # beyond what is kept to be compared

BODY = spec.Object(
    (
        spec.Fields(
            (
                ("a", value("context.a", TEXT)),
                ("n", value("context.n", spec.Number(), "n")),
                ("user", value("user", TEXT)),
                ("both", spec.First((value("context.b"), value("user")))),
                ("time", value("context.t", spec.Time())),
                ("last", value("context.z", TEXT)),
                ("constant", spec.Const("c")),
            )
        ),
        spec.Spread(spec.Path("properties"), frozenset({"omitted"})),
    )
)
INPUTS = ("context", "user", "properties")
MAPPING = spec.Mapping(
    INPUTS,
    (
        record(BODY),
        record(
            spec.Object(
                (
                    spec.Fields(
                        (
                            ("user", value("user", TEXT)),
                            ("id", value("user", spec.UniqueId())),
                            ("a", value("context.a", TEXT)),
                            ("at", value("context.t", spec.Time())),
                            ("p", item("p")),
                        )
                    ),
                )
            ),
            each=spec.Path("properties", ("items",)),
        ),
    ),
)


def event(context: object = b"{}", user: object = None, properties: object = b"{}") -> object:
    return SimpleNamespace(context=context, user=user, properties=properties)


def lines(plan: fastmap.Plan, given: object, received_ms: int = RECEIVED_MS) -> list[bytes]:
    out = fastmap.Buffer()
    plan.run(given, [out], received_ms)
    return out.take().splitlines()


def assert_each_as_alone(events: Sequence[object]) -> None:
    plan = fastmap.compile(MAPPING)
    for given in (*events, *events, *reversed(events)):
        assert lines(plan, given) == lines(fastmap.compile(MAPPING), given)


def test_inputs_that_stay_and_inputs_that_change_give_what_they_give_alone() -> None:
    contexts = (b'{"a":"1","n":5}', b'{"a":"2","z":"z"}', b"", b" ", b'{"a":"1","n":6}', None)
    users = ("u1", "u1", None, "", 5, b'"u1"', "ü", "a" * 3)
    assert_each_as_alone([event(context, user) for context in contexts for user in users])


def test_inputs_too_long_to_be_kept_give_what_they_give_alone() -> None:
    long, other = (f'{{"a":"{LONG}{end}","b":1}}'.encode() for end in "xy")
    events = [event(context, user) for context in (long, other) for user in (LONG, LONG + "y", "u")]
    assert_each_as_alone(events)


def test_text_and_json_of_the_same_bytes_are_told_apart() -> None:
    assert_each_as_alone([event(user=given) for given in ("5", b"5", 5, b'"5"', '"5"', None)])


def test_input_that_is_changed_in_place_is_read_again() -> None:
    plan = fastmap.compile(MAPPING)
    context = bytearray(b'{"a":"1"}')
    lines(plan, event(context))
    context[6:7] = b"2"

    assert json.loads(lines(plan, event(context))[0])["a"] == "2"


def test_property_that_takes_a_fields_place_takes_it_once() -> None:
    contexts = (b'{"a":"1","z":"z"}', b'{"a":"2"}')
    properties = (b"{}", b'{"a":0}', b"{}", b'{"last":0,"constant":1,"omitted":2}', b'{"k":1}')
    body = spec.Object((BODY.layers[0], spec.Spread(spec.Path("properties"))))
    over = spec.Object((spec.Spread(spec.Path("properties")), BODY.layers[0]))
    for wanted in (body, over):
        mapping = spec.Mapping(INPUTS, (record(wanted),))
        plan = fastmap.compile(mapping)
        for context in contexts:
            for given in properties:
                one = event(context, "u", given)
                assert lines(plan, one) == lines(fastmap.compile(mapping), one)


def test_value_that_cannot_be_converted_counts_each_time() -> None:
    plan = fastmap.compile(MAPPING)
    for _ in range(3):
        lines(plan, event(b'{"n":"none"}'))

    assert plan.dropped() == {"n": 3}


def test_time_of_receipt_is_that_of_each_event() -> None:
    plan = fastmap.compile(MAPPING)
    times = [
        json.loads(lines(plan, event(b'{"a":"1"}'), received_ms)[0])["time"]
        for received_ms in (1_700_000_000_000, 1_700_000_000_001)
    ]

    assert times == [1_700_000_000_000, 1_700_000_000_001]


def test_ids_and_times_of_items_stay_their_own() -> None:
    items = b'{"items":[{"p":1},{"p":2},{}]}'
    plan = fastmap.compile(MAPPING)
    for _ in range(2):
        _, *made = map(json.loads, lines(plan, event(b'{"a":"1"}', "user-1", items)))
        assert [each["id"] for each in made] == ["0user-1", "1user-1", "2user-1"]
        assert [RECEIVED_MS - each["at"] for each in made] == [1, 2, 3]


@pytest.mark.parametrize("context", [b'{"a":', b'{"a":1}}', b"{,}", f'{{"a":"{LONG}'.encode()])
def test_malformed_input_is_malformed_again(context: bytes) -> None:
    plan = fastmap.compile(MAPPING)
    good = event(b'{"a":"1"}', "u")
    expected = lines(plan, good)
    for _ in range(2):
        for _ in range(2):
            with pytest.raises(MalformedInput):
                lines(plan, event(context, "u"))
        assert lines(plan, good) == expected


def test_event_after_one_whose_items_are_malformed_sees_no_item() -> None:
    mapping = spec.Mapping(
        INPUTS,
        (
            record({"p": item("p")}),
            record({"p": item("p")}, each=spec.Path("properties", ("items",))),
        ),
    )
    plan = fastmap.compile(mapping)
    with pytest.raises(MalformedInput):
        lines(plan, event(properties=b'{"items":[{"p":1},{"p":2,}]}'))

    assert lines(plan, event()) == [b"{}"]


class TestKeys:
    """Keys are recognised by those before them; any order and number of them is read right."""

    def assert_copied(self, *objects: str) -> None:
        mapping = spec.Mapping(
            ("raw",),
            (
                record(spec.Object((spec.Spread(spec.Path("raw"), frozenset({"omitted"})),))),
                record({"a": value("raw.a"), "b": value("raw.b")}),
            ),
        )
        plan = fastmap.compile(mapping)
        for raw in objects * 2:
            given = SimpleNamespace(raw=raw.encode())
            copied, picked = map(json.loads, lines(plan, given))
            expected = json.loads(raw)
            assert picked == {key: expected[key] for key in ("a", "b") if key in expected}
            expected.pop("omitted", None)
            assert copied == expected

    def test_in_another_order_each_time(self) -> None:
        self.assert_copied(
            '{"a":1,"b":2,"c":3}', '{"c":1,"b":2,"a":3}', '{"b":1,"a":2}', "{}", '{"a":1}'
        )

    def test_that_begin_like_others(self) -> None:
        self.assert_copied('{"a":1,"ab":2}', '{"ab":1,"a":2}', '{"a":1,"abc":2}', '{"":0,"a":1}')

    def test_that_are_repeated(self) -> None:
        self.assert_copied(
            '{"a":1,"b":2}', '{"a":1,"b":2,"a":3,"b":4}', '{"a":1,"a":2,"a":3}', '{"a":1,"b":2}'
        )

    def test_that_are_escaped(self) -> None:
        self.assert_copied(
            '{"a":1,"b":2}', '{"\\u0061":1,"b":2}', '{"a":1,"\\u0061":2,"omitte\\u0064":3}'
        )

    @pytest.mark.parametrize("length", [15, 16, 30, 31, 32, 33, 200])
    def test_of_every_length(self, length: int) -> None:
        key = "k" * length
        self.assert_copied(
            f'{{"{key}":1,"a":2}}', f'{{"{key}l":1,"a":2}}', f'{{"{key[1:]}l":1,"{key}":2,"b":3}}'
        )

    def test_that_are_more_than_are_remembered(self) -> None:
        many = {f"key_{i}": i for i in range(2000)} | {"a": 1}
        self.assert_copied('{"a":0}', json.dumps(many), '{"a":1,"key_7":2,"b":3}')
        for i in range(0, 2000, 100):
            self.assert_copied(json.dumps(dict(list(many.items())[i:])), '{"b":1}')

    def test_that_differ_only_in_their_last_character(self) -> None:
        self.assert_copied(*(f'{{"prefix_of_key_{c}":1,"a":2}}' for c in "abcdefgh"))
