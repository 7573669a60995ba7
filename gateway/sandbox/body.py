"""From the bytes of a request to its records, within limits.

Every encoding that Mixpanel documents or its SDKs use ends up as the same thing: one piece of JSON
a record, not looked into yet, so that a record that cannot be read costs nothing but itself.
"""

import base64
import io
import json
from typing import NoReturn, cast
from urllib.parse import parse_qsl

import msgspec
from aiohttp import StreamReader
from isal import igzip, isal_zlib

from gateway.events.depth import check_depth
from gateway.sandbox.contract import MAX_BODY_BYTES

__all__ = [
    "MAX_WIRE_BYTES",
    "TooLarge",
    "Unreadable",
    "inflate",
    "parse_array",
    "parse_data",
    "parse_fields",
    "parse_lines",
    "read_bounded",
    "split_lines",
]

MAX_WIRE_BYTES = 3 * MAX_BODY_BYTES
"""What is read from a connection: the largest permitted JSON in a form, all percent-encoded."""

MAX_FIELDS = 100

_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
_VALUE = msgspec.json.Decoder(msgspec.Raw)

# isal's stubs declare its exception as an instance.
_DAMAGED = (OSError, EOFError, cast("type[Exception]", isal_zlib.error))


class Unreadable(Exception):
    """The body is not what it should be; the message says in which way."""


class TooLarge(Exception):
    """The body exceeds the limit, on the wire or inflated."""


async def read_bounded(stream: StreamReader) -> bytes:
    """Read a body as it is on the wire.

    :raises TooLarge: there is more of it than any permitted body needs; the rest is unread.
    """
    chunks: list[bytes] = []
    size = 0
    async for chunk in stream.iter_any():
        size += len(chunk)
        if size > MAX_WIRE_BYTES:
            raise TooLarge
        chunks.append(chunk)
    return b"".join(chunks)


def inflate(body: bytes, encoding: str, limit: int = MAX_BODY_BYTES) -> bytes:
    """Undo a ``Content-Encoding``; several gzip members in a row are one body.

    :param limit: bytes of the result.
    :raises TooLarge: the result would exceed the limit; no more than that is ever inflated.
    :raises Unreadable: the encoding is unknown, or the data is damaged or cut short.
    """
    match encoding.strip().lower():
        case "" | "identity":
            result = body
        case "gzip":
            try:
                with igzip.GzipFile(fileobj=io.BytesIO(body)) as file:  # type: ignore[no-untyped-call]
                    result = file.read(limit + 1)
            except _DAMAGED as error:
                raise Unreadable(f"invalid gzip data: {error}") from error
        case other:
            raise Unreadable(f"unsupported Content-Encoding {other!r}: expected gzip or none")
    if len(result) > limit:
        raise TooLarge
    return result


def parse_array(body: bytes) -> list[bytes]:
    """Split a JSON array into its elements.

    :raises Unreadable: it is no array, or not JSON.
    """
    try:
        check_depth(body)
        return [bytes(record) for record in _ARRAY.decode(body)]
    except msgspec.ValidationError as error:
        raise Unreadable("body must be a JSON array") from error
    except (msgspec.DecodeError, RecursionError):
        elements = _lenient_loads(body)
        if not isinstance(elements, list):
            raise Unreadable("body must be a JSON array") from None
        return [json.dumps(element).encode() for element in elements]


def parse_lines(body: bytes) -> list[bytes]:
    """Split newline-delimited JSON into its lines; blank lines do not count.

    :raises Unreadable: a line is not JSON.
    """
    try:
        return [bytes(record) for record in _VALUE.decode_lines(body)]
    except (msgspec.DecodeError, RecursionError):
        lines = [line for line in body.split(b"\n") if line.strip()]
        return [json.dumps(_lenient_loads(line)).encode() for line in lines]


def split_lines(body: bytes) -> list[bytes]:
    """Split newline-delimited JSON into its lines without looking at them."""
    return [line for line in body.split(b"\n") if line]


def parse_fields(body: bytes) -> dict[str, str]:
    """Read the fields of a form; raw JSON is a form that has nothing but ``data``.

    ``Content-Type`` is no guide here: beacons send forms as text/plain.

    :raises Unreadable: it is neither.
    """
    if body.lstrip()[:1] in (b"[", b"{"):
        # Bytes that are no UTF-8 are the fault of one record, found when it is read.
        return {"data": body.decode(errors="surrogateescape")}
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS))
    except ValueError as error:
        raise Unreadable(f"body is neither JSON nor a form: {error}") from error


def parse_data(data: str) -> list[bytes]:
    """Split a ``data`` field into records: JSON or base64 of JSON, one record or an array.

    :raises TooLarge: the JSON exceeds the limit of a body.
    :raises Unreadable: it is none of these.
    """
    if not data:
        raise Unreadable("'data' is missing or empty")
    if data.lstrip()[:1] in ("[", "{"):
        text = data.encode(errors="surrogateescape")
    else:
        try:
            # A plus sign that was not percent-encoded has become a space.
            text = base64.b64decode(data.replace(" ", "+"), validate=True)
        except ValueError as error:
            raise Unreadable(f"'data' is neither JSON nor base64: {error}") from error
    if len(text) > MAX_BODY_BYTES:
        raise TooLarge
    return parse_array(b"[%b]" % text if text.lstrip()[:1] == b"{" else text)


def _lenient_loads(text: bytes) -> object:
    """Read JSON whose only fault is half of a surrogate pair: the fault of one record, not of all.

    msgspec refuses such text as a whole.  Written again, the record has the same fault.
    """
    try:
        check_depth(text)
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"malformed JSON: {error}") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
