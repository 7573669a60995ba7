"""What Mixpanel's SDKs send, in whichever way: the JSON of the records, and options beside it.

``Content-Type`` is no guide: beacons send forms as text/plain, and some send JSON as a form.
"""

import re
from binascii import Error as Base64Error
from binascii import a2b_base64, a2b_qp
from collections.abc import Iterable
from typing import NamedTuple

from gateway.errors import RequestError
from gateway.ingest.mixpanel.multipart import Field, fields_of, is_multipart

__all__ = ["Options", "Sent", "is_json", "options_of", "read"]

_MAX_FIELDS = 100
_MAX_STRAY = 1000
_MAX_OPTION = 200  # bytes
_MAX_URL = 2048

_STRAY_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_TO_QUOTED_PRINTABLE = bytes.maketrans(b"%+", b"= ")
_TO_STANDARD_BASE64 = bytes.maketrans(b" -_", b"++/")
_SPLIT = re.compile(rb"\xed[\xa0-\xaf][\x80-\xbf]\xed[\xb0-\xbf][\x80-\xbf]")
_OBJECT = b'{"'
_WHITE_SPACE = b"\t\n\r"
_BEFORE_JSON = b"\xef\xbb\xbf\xff\xfe\0 \t\r\n,"  # marks of encodings, and what may have strayed
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]")


class Options(dict[str, str]):
    """The fields of the query and of the form, but for ``data``."""

    def has(self, name: str) -> bool:
        """Whether an option is set to anything that means yes."""
        return self.get(name, "") not in ("", "0", "false")


class Sent(NamedTuple):
    """A request's content.

    :param data: JSON text.
    :param is_form: whether it came as ``data=``, in the body or in the query.
    :param error: why there is no such text; the options say how that is to be answered.
    """

    options: Options
    data: bytes
    is_form: bool
    error: RequestError | None = None


def options_of(query: str) -> Options:
    """Return the fields of a query, but for ``data``.

    :param query: percent-encoded.
    :raises RequestError: (400) it is not.
    """
    return _without_data(_fields(query.encode("utf-8", "surrogateescape")))


def read(query: str, body: bytes | None) -> Sent:
    """Return what a request holds.

    :param query: percent-encoded.
    :param body: inflated; None where the method has none, and everything stands in the query.
    :raises RequestError: (400) it is not percent-encoded.
    """
    fields = _fields(query.encode("utf-8", "surrogateescape"))
    texts = _data_in(fields)
    is_form = True
    if body is not None:
        if is_json(body):
            is_form = False
        else:
            in_body = fields_of(body) if is_multipart(body) else _fields(body)
            texts += _data_in(in_body)
            fields += in_body
            is_form = bool(texts) or _OBJECT not in body  # else it has lost its beginning
    options = _without_data(fields)
    if not (texts or is_form) and body is not None:
        return Sent(options, body, is_form=False)
    found = [] if is_form or body is None else [body]
    lost: list[bytes] = []
    error = None
    for each in dict.fromkeys(texts or [b""]):
        try:
            found.append(_json_of(each))
        except RequestError as reason:
            lost.append(each)
            error = reason
    if not found:
        return Sent(options, b"", is_form=is_form, error=error)
    # One after another they are read as what several lists in a body are.
    return Sent(options, b"\n".join(found + lost), is_form=is_form)


def is_json(text: bytes) -> bool:
    """Tell whether text can only be JSON, not a form."""
    return text[:64].lstrip(_BEFORE_JSON)[:1] in (b"{", b"[")


def _fields(text: bytes) -> list[Field]:
    """Read what is encoded as a form (URL Standard, application/x-www-form-urlencoded)."""
    fields = []
    for part in text.split(b"&", _MAX_FIELDS)[:_MAX_FIELDS]:
        name, _, value = part.partition(b"=")
        fields.append((_unquoted(name).decode("utf-8", "replace"), _unquoted(value)))
    return fields


def _data_in(fields: Iterable[Field]) -> list[bytes]:
    return [value for name, value in fields if name == "data" and value]


def _unquoted(text: bytes) -> bytes:
    """Undo percent-encoding; a percent sign that begins none stands for itself.

    Quoted-printable is the same with another sign, and the standard library reads it in C: six
    times as fast as ``urllib``, and without an object for each escape.
    """
    if b"%" not in text:
        return text.replace(b"+", b" ")
    text, strays = _STRAY_PERCENT.subn(b"%25", text, count=_MAX_STRAY)
    if strays == _MAX_STRAY:
        raise RequestError(400, "invalid_form", "the form is not percent-encoded")
    return a2b_qp(text.replace(b"=", b"%3D").translate(_TO_QUOTED_PRINTABLE))


def _without_data(fields: Iterable[Field]) -> Options:
    return Options(
        (name, _bounded(name, value).decode("utf-8", "replace"))
        for name, value in fields
        if name != "data"
    )


def _bounded(name: str, value: bytes) -> bytes:
    if name == "redirect":  # half a URL is another one
        return value if len(value) <= _MAX_URL else b""
    return value[:_MAX_OPTION]


def _json_of(data: bytes) -> bytes:
    """Return the JSON of ``data``.

    :raises RequestError: (400) there is nothing in it, or it is neither JSON nor base64 of it.
    """
    if not data:
        raise RequestError(
            400, "missing_data", "send records as JSON, or as data= in a form or in the query"
        )
    if is_json(data) or _OBJECT in data:  # which no base64 holds: it has lost its beginning
        return data
    # A plus sign that was not percent-encoded has become a space, and padding is often left out.
    text = data.strip().translate(_TO_STANDARD_BASE64, _WHITE_SPACE).rstrip(b"=")
    try:
        return _joined(a2b_base64(text + b"=" * (-len(text) % 4), strict_mode=True))
    except Base64Error:
        found = _from_damaged(text)
        if _OBJECT not in found:
            raise RequestError(
                400, "invalid_data", "data must be JSON or base64 of JSON, percent-encoded"
            ) from None
        return found


def _from_damaged(text: bytes) -> bytes:
    """Return what base64 stands for in which some characters are none."""
    text = _NOT_BASE64.sub(b"A", text)
    return a2b_base64(text[: len(text) // 4 * 4])


def _joined(text: bytes) -> bytes:
    """Make UTF-8 of CESU-8, in which the SDK for browsers writes emoji: as two characters each."""
    if not _SPLIT.search(text):
        return text
    try:
        halves = text.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return text
    return halves.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()
