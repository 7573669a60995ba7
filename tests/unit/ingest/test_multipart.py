"""Forms in several parts: what is read of them, and that hostile ones cost no time."""

import time

import pytest

from gateway.ingest.mixpanel.multipart import fields_of, is_multipart

HEAD = b'Content-Disposition: form-data; name="data"\r\n\r\n'


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"--b\r\n" + HEAD + b"x\r\n--b--\r\n", {"data": b"x"}),
        (b"\r\n--b  \r\n" + HEAD + b"x\r\n--b--", {"data": b"x"}),
        (b"--b\r\n" + HEAD + b"\r\n--b--", {"data": b""}),
        (b"--b\r\n" + HEAD + b"x\r\n--bc\r\ny\r\n--b--", {"data": b"x\r\n--bc\r\ny"}),
        (b"--b\r\n" + HEAD + b"cut off", {"data": b"cut off"}),
        (b"--b\r\n" + HEAD + b"1\r\n--b\r\n" + HEAD + b"2\r\n--b--", {"data": b"2"}),
        (b"--b\r\nX: y\r\n\r\nx\r\n--b\r\n" + HEAD + b"2\r\n--b--", {"data": b"2"}),
        (b"--b\r\nno head\r\n--b--", {}),
        (b"--b\r\n\r\nno name\r\n--b--", {}),
        (b"--b\r\n--b\r\n--b--", {}),
        (b"--b\r\n", {}),
    ],
)
def test_parts_are_found_by_their_names(body: bytes, expected: dict[str, bytes]) -> None:
    assert is_multipart(body)
    assert dict(fields_of(body)) == expected


@pytest.mark.parametrize(
    "body", [b"", b"--", b"--b", b"data=--b\r\n", b"{}", b"-b\r\n", b"--" + b"b" * 300 + b"\r\n"]
)
def test_what_begins_in_another_way_is_another_form(body: bytes) -> None:
    assert not is_multipart(body)
    assert fields_of(body) == []


@pytest.mark.parametrize(
    "unit",
    [b"\n", b"\r\n", b"\r\n--b", b"\r\n--b\r\n", b"\r\n--b \t", b";", b'name="', b"\r\n--b--\r\n"],
)
def test_time_grows_with_the_size_alone(unit: bytes) -> None:
    for start in (b"--b\r\n", b"--b\r\n" + HEAD, b"--b\r\nContent-Disposition: form-data"):
        body = start + unit * (4_000_000 // len(unit))
        began = time.perf_counter()
        fields_of(body)
        assert time.perf_counter() - began < 2
