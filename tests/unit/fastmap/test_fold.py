"""Folding: what was left out comes back, or the text is said not to be of that kind."""

import json
from collections.abc import Iterator
from time import process_time

import msgspec
import pytest

from fastmap import fold

A = b'{"a":"a value that is long enough"}'
B = b'{"b":"another value of that kind"}'


class Each(msgspec.Struct):
    value: msgspec.Raw = msgspec.Raw(b"")


def texts(*values: bytes) -> bytes:
    return b"[%b]" % b",".join(b'{"value":%b}' % value for value in values)


def folded(text: bytes) -> bytes:
    found = fold(text, b"value")
    return text if found is None else found.text


def unfolded(text: bytes) -> list[bytes] | None:
    """Return the values that come back, None when it is said that they do not."""
    found = fold(text, b"value")
    assert found is not None
    objects = msgspec.json.decode(found.text, type=list[Each])
    if not found.unfold(objects, "value"):
        return None
    return [bytes(one.value) for one in objects]


def test_value_like_the_one_before_is_left_out_and_comes_back() -> None:
    text = texts(A, A, B, B, B, A)

    assert folded(text) == texts(A, b"{}", B, b"{}", b"{}", A)
    assert unfolded(text) == [A, A, B, B, B, A]


def test_values_that_are_alike_become_one_object() -> None:
    found = fold(texts(A, A), b"value")
    assert found is not None
    first, second = msgspec.json.decode(found.text, type=list[Each])

    assert found.unfold([first, second], "value")
    assert first.value is second.value


def test_white_space_around_values_stays() -> None:
    text = b'[ {"value": %b },\n{"value" :%b}, {"value":\r\n\t%b}, {"value":%b\n}]' % ((A,) * 4)

    assert folded(text) == (
        b'[ {"value": %b },\n{"value" :%b}, {"value":\r\n\t{}}, {"value":{}\n}]' % (A, A)
    )
    assert unfolded(b'[{"value": %b },{"value":  %b}]' % (A, A)) == [A, A]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b'"value":',
        b'"value": ',
        b'"value":{',
        texts(A),
        texts(A, B),
        texts(A, B, A, B),
        texts(b"{}", b"{}"),
        texts(b'"%b"' % (b"x" * 99), b'"%b"' % (b"x" * 99)),
        texts(b"[%b]" % A, b"[%b]" % A),
        b'{"other":%b,"value":%b}' % (A, A),
        b'{"xvalue":%b,"value":%b}' % (A, A),
        texts(A[:-2], A[:-2]),
        texts(b'{"x":%b' % A, b'{"x":%b' % A)[:-3],
    ],
)
def test_text_that_repeats_no_such_object_is_left_alone(text: bytes) -> None:
    assert fold(text, b"value") is None


def test_object_without_a_value_may_come_between() -> None:
    text = b'[{},{"value":%b},{},{"value":null},{"value":%b},{"other":%b},{"value":%b}]'

    assert unfolded(text % ((A,) * 4)) == [b"", A, b"", b"null", A, b"", A]


@pytest.mark.parametrize(
    "text",
    [
        b'[{"value":%b},{"other":{"value":%b}}]',  # left out where nobody looks
        b'[{"other":{"value":%b}},{"value":%b}]',  # like one that nobody has
        b'[{"value":%b},{"value":%b,"value":5}]',  # the last of repeated ones counts
        b'[{"value":%b},{"value":%b,"value":{}}]',
        b'[{"value":%b,"value":5},{"value":%b}]',
        b'[{"value":%b,"\\u0076alue":5},{"value":%b}]',
        b'[{"value":%b},{"\\"value":%b}]',
    ],
)
def test_values_that_are_not_those_of_the_objects_are_noticed(text: bytes) -> None:
    assert unfolded(text % (A, A)) is None


@pytest.mark.parametrize(
    "values",
    [
        [b'{"value":%b,"x":1}' % A, b'{"value":%b,"x":1}' % A],
        [b'{"x":[{"value":%b}],"value":%b}' % (A, A), b'{"x":[{"value":%b}],"value":%b}' % (A, A)],
        [A, A, b'{"x":"\\"value\\":%b"}' % A.replace(b'"', b'\\"')],
    ],
)
def test_keys_inside_of_values_are_a_part_of_them(values: list[bytes]) -> None:
    assert unfolded(texts(*values)) == values


def test_first_value_may_be_like_one_that_is_given() -> None:
    text = b'{"value":%b,"batch":[{"value":%b},{"value":%b}]}' % (A, A, A)

    class Batch(Each):
        batch: list[Each] = []

    found = fold(text, b"value")
    assert found is not None
    decoded = msgspec.json.decode(found.text, type=Batch)

    assert not found.unfold(decoded.batch, "value")
    assert found.unfold(decoded.batch, "value", decoded.value)
    assert [bytes(one.value) for one in decoded.batch] == [A, A]


def test_attributes_need_no_slots() -> None:
    class Plain:
        def __init__(self, value: object) -> None:
            self.value = value

    found = fold(texts(A, A), b"value")
    assert found is not None
    objects: list[object] = [
        Plain(one.value) for one in msgspec.json.decode(found.text, type=list[Each])
    ]

    assert found.unfold(objects, "value")
    assert [one.value for one in objects if isinstance(one, Plain)] == [msgspec.Raw(A)] * 2


def test_object_without_the_attribute_is_an_error() -> None:
    found = fold(texts(A, A), b"value")
    assert found is not None

    with pytest.raises(AttributeError):
        found.unfold([object()], "value")
    with pytest.raises(TypeError):
        found.unfold([Each(value=5)], "value")  # type: ignore[arg-type]


def hostile(size: int) -> Iterator[bytes]:
    """Yield texts of about this size that make a careless search start again and again."""
    yield b'"value":{' * (size // 9)
    yield b'"value":{"a":' * (size // 13)
    yield b'"value":' * (size // 8)
    yield b'"value":' + b" " * size
    yield b'"value": ' * (size // 9)
    yield b'"value"' * (size // 7)
    yield b'"' * size
    long = json.dumps({"a": "x" * (size // 64)}).encode()
    yield texts(*(long[:-2] + b'%d"}' % number for number in range(64)))
    yield texts(long, *([A, B] * (size // 100)))
    yield texts(b"{" + b'"value":{"a":' * (size // 26) + b"1" + b"}" * (size // 26) + b"}", A, A)
    yield texts(*(b'{"a":"%032d"}' % number for number in range(size // 50)))
    yield texts(*([A] * (size // 50)))


def test_time_is_bounded_whatever_the_text_holds() -> None:
    # Ten times what is needed, a fraction of what a search from each place would take.
    for text in hostile(4 << 20):
        start = process_time()
        fold(text, b"value")
        assert process_time() - start < 0.5, text[:40]
