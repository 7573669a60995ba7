"""Unique ids: always 1 to 36 of [A-Za-z0-9-], the same for the same event, different for others."""

import hashlib
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmap import spec
from tests.support.plans import convert, record, records, run, value

UUID = "3b3f2c1e-9a0e-4c60-9a7e-7f5f6a1f0b1e"
ZERO = "00000000-0000-0000-0000-000000000000"
FORBIDDEN = ("null", "0", "-1", "unknown", ZERO)
ID = spec.UniqueId(none_of=FORBIDDEN)
VALID = re.compile(r"[A-Za-z0-9-]{1,36}")


def digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def id_of(text: str) -> str:
    _, written = run(record({"v": value("id", ID)}), id=text)
    return written.decode().removeprefix('{"v":"').removesuffix('"}\n')


def item_ids(text: str, count: int) -> list[str]:
    items = f"[{','.join(['{}'] * count)}]".encode()
    expand = record({"v": value("id", ID)}, each=spec.Path("raw"))
    return [one["v"] for one in records(expand, id=text, raw=items)]


@pytest.mark.parametrize("text", ["m", "m1", "a-b", "-", "X" * 36, UUID, UUID.upper(), "nulls"])
def test_valid_id_is_kept(text: str) -> None:
    assert id_of(text) == text


@pytest.mark.parametrize(
    "prefix", ["ajs-next-1629213675449-", "node-next-1629213675449-", "é", " "]
)
def test_uuid_at_the_end_is_the_id(prefix: str) -> None:
    assert id_of(prefix + UUID) == UUID
    assert id_of(prefix + UUID.upper()) == UUID.upper()


@pytest.mark.parametrize(
    "text",
    [
        "a b",
        "é",
        "under_score",
        "x" * 37,
        f"{UUID}x",
        f"x{UUID[:-1]}g",
        f"x{UUID.replace('-', '0')}",
        "null",
        "NULL",
        "0",
        "-1",
        ZERO,
        f"ajs-{ZERO}",
        " ",
        "\x00",
        "😀" * 1000,
    ],
)
def test_any_other_id_is_its_digest(text: str) -> None:
    assert id_of(text) == digest(text)


def test_escaped_spelling_gives_the_same_id() -> None:
    assert convert(ID, '"\\u006d1"') == '"m1"'
    assert convert(ID, '"a\\u0020b"') == f'"{digest("a b")}"'
    assert convert(ID, f'"ajs_{UUID[:-1]}\\u0065"') == f'"{UUID}"'


@pytest.mark.parametrize(
    ("token", "expected"), [("5", "5"), ("1.5", digest("1.5")), ("true", "true"), ('["m"]', "m")]
)
def test_id_that_is_no_string_is_read_as_its_text(token: str, expected: str) -> None:
    assert convert(ID, token) == f'"{expected}"'


@pytest.mark.parametrize("token", ["null", '""', "[]", "{}", "[1,2]"])
def test_value_without_text_gives_no_id(token: str) -> None:
    assert convert(ID, token) is None


def test_items_prefix_their_index_where_that_is_valid() -> None:
    assert item_ids("m1", 12) == [f"{index}m1" for index in range(12)]
    assert item_ids("x" * 34, 11)[-1] == "10" + "x" * 34
    assert item_ids("-1", 1) == [f"0{digest('-1')}"]


def test_items_of_a_uuid_append_their_index_to_its_digits() -> None:
    ids = item_ids(UUID, 1000)

    plain = UUID.replace("-", "")
    assert ids == [f"{plain}-{index}" for index in range(1000)]
    assert item_ids(f"ajs-next-1629213675449-{UUID}", 1) == [f"{plain}-0"]


def test_items_of_a_long_id_are_digests() -> None:
    long = "x" * 35
    assert item_ids(long, 11) == [
        *(f"{index}{long}" for index in range(10)),
        digest(f"10{long}"),
    ]


@settings(deadline=None)
@given(st.text(alphabet=st.characters(codec="utf-8"), min_size=1))
def test_every_id_is_valid_and_so_are_those_of_its_items(text: str) -> None:
    made = [id_of(text), *item_ids(text, 3)]

    for one in made:
        assert VALID.fullmatch(one)
        assert one.lower() not in FORBIDDEN
    assert len(set(made)) == len(made)
