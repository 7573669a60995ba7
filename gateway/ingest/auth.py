"""Which source a request belongs to.

Keys are looked up by a keyed digest and compared in constant time, so that answers tell nothing
about how close a guess was.  A key itself is never logged, echoed or used as a label.
"""

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Callable, Sequence

from aiohttp import web

from gateway.config import SourceConfig
from gateway.errors import RequestError
from gateway.events import Received, plain_text
from gateway.policy import is_origin_allowed

__all__ = ["Sources", "check_origin", "key_in_body", "key_in_request"]


_TO_STANDARD = str.maketrans("-_", "+/")


def key_in_request(request: web.BaseRequest, is_known: Callable[[str], bool]) -> str | None:
    """Return the write key of the headers or the query, None when there is none.

    The order is Basic authentication, ``X-Write-Key``, then ``writeKey`` in the query.

    :param is_known: tells whether a key is that of a source.
    """
    authorization = request.headers.get("Authorization")
    if authorization and not authorization.isspace():
        key = _key_in_basic(authorization, is_known)
        if key:
            return key
    header = request.headers.get("X-Write-Key")
    if header:
        return header.strip()
    if not request.query_string:
        return None
    query = request.query
    return query.get("writeKey") or query.get("writekey") or None


def key_in_body(received: Received) -> str | None:
    """Return the write key of the batch, else of its first event."""
    key = plain_text(received.shared.write_key)
    if not key and received.is_batch and received.events:
        key = plain_text(received.events[0].write_key)
    return key or None


def _key_in_basic(authorization: str, is_known: Callable[[str], bool]) -> str | None:
    """Return the key of Basic credentials, however they were made by hand."""
    scheme, *words = authorization.split()
    if scheme.lower() != "basic":
        return None
    encoded = "".join(words).translate(_TO_STANDARD).rstrip("=")
    try:
        decoded = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    key = decoded.strip("\r\n").removesuffix(":")  # a shell's echo ends with a line break
    # Some SDKs leave out the colon; the key of others holds one, as in "id:secret".  So what stands
    # behind one is a password, which means nothing, only where the whole is no key.
    if ":" in key and not is_known(key):
        return next(filter(is_known, (key.rpartition(":")[0], key.partition(":")[0])), key)
    return key


def check_origin(source: SourceConfig, origin: str | None) -> None:
    """Refuse the requests of pages that may not send for a source.

    The page can read the answer: a browser that hides it makes SDKs send again and again.

    :param origin: what the browser says of the page; None of what is none.
    :raises RequestError: (400) the page's origin is not listed.
    """
    if origin is not None and not is_origin_allowed(origin, source.allowed_origins):
        raise RequestError(
            400,
            "origin_not_allowed",
            "pages of this origin may not send; its source has a list, allowed_origins",
        )


class Sources:
    """The sources by their write keys.

    :param default: name of the one that events without any key belong to, where they may lack it.
    """

    def __init__(self, sources: Sequence[SourceConfig], default: str | None = None) -> None:
        self.default = next((source for source in sources if source.name == default), None)
        self._pepper = os.urandom(16)
        self._by_digest = {self._digest(source.write_key.reveal()): source for source in sources}

    def find(self, key: str | None) -> SourceConfig:
        """Return the source of a key.

        :raises RequestError: (401) there is no key, or no source has it.
        """
        if key is None:
            raise RequestError(
                401,
                "missing_write_key",
                "no write key; send it as the user of Basic authentication, as X-Write-Key, as "
                "?writeKey= or as writeKey in the body",
            )
        digest = self._digest(key)
        source = self._by_digest.get(digest)
        if source is None or not hmac.compare_digest(
            source.write_key.reveal().encode(), key.encode("utf-8", "replace")
        ):
            raise RequestError(
                401, "unknown_write_key", "the write key belongs to none of the sources"
            )
        return source

    def know(self, key: str | None) -> bool:
        """Tell whether a key is that of a source."""
        try:
            self.find(key)
        except RequestError:
            return False
        return True

    def _digest(self, key: str) -> bytes:
        text = key.encode("utf-8", "replace")
        return hashlib.blake2b(text, key=self._pepper, digest_size=16).digest()
