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

from gateway.config import SourceConfig
from gateway.errors import RequestError
from gateway.events import Received, plain_text
from gateway.http.header_text import readable
from gateway.http.request import AnyRequest
from gateway.notices import Notices, masked, shown
from gateway.policy import is_origin_allowed

__all__ = ["Sources", "key_in_body", "key_in_request"]


_MAX_NAMES = 10

_TO_STANDARD = str.maketrans("-_", "+/")


def key_in_request(request: AnyRequest, is_known: Callable[[str], bool]) -> str | None:
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
        return readable(header).strip()
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
        credentials = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
        decoded = _text_of(credentials)
    except (binascii.Error, ValueError):
        return None
    key = decoded.strip().removesuffix(":").rstrip()  # a shell's echo ends with a line break
    # Some SDKs leave out the colon; the key of others holds one, as in "id:secret".  So what stands
    # behind one is a password, which means nothing, only where the whole is no key.
    if ":" in key and not is_known(key):
        users = (key.rpartition(":")[0].rstrip(), key.partition(":")[0].rstrip())
        return next(filter(is_known, users), key)
    return key


def _text_of(credentials: bytes) -> str:
    """Return credentials as text; the user alone where the password is in another encoding.

    :raises UnicodeDecodeError: the user is, too.
    """
    try:
        return credentials.decode()
    except UnicodeDecodeError:
        user, colon, _ = credentials.partition(b":")
        if not colon:
            raise
        return user.decode()


class Sources:
    """The sources by their write keys.

    :param default: name of the one that events without any key belong to, where they may lack it.
    :param notices: tell operators of keys that no source has.
    """

    def __init__(
        self, sources: Sequence[SourceConfig], default: str | None = None, *, notices: Notices
    ) -> None:
        self.default = next((source for source in sources if source.name == default), None)
        self._notices = notices
        self._names = ", ".join(source.name for source in sources[:_MAX_NAMES])
        self._pepper = os.urandom(16)
        self._by_digest = {self._digest(source.write_key.reveal()): source for source in sources}

    def find(self, key: str | None) -> SourceConfig:
        """Return the source of a key.

        :raises RequestError: (401) there is no key, or no source has it.
        """
        if key is None:
            self._notices.say(
                "missing_write_key",
                None,
                "a request was answered 401: it has no write key; see docs/sdks.md, Plain HTTP",
            )
            raise RequestError(
                401,
                "missing_write_key",
                "no write key; send it as the user of Basic authentication, as X-Write-Key, as "
                "?writeKey= or as writeKey in the body",
            )
        source = self._look_up(key)
        if source is None:
            told = masked(key)
            self._notices.say(
                "unknown_write_key",
                told,
                "a request was answered 401: no source has its write key %s (%d characters); "
                "compare it with those of the sources (%s)",
                told,
                len(key),
                self._names,
            )
            raise RequestError(401, "unknown_write_key", "no source has this write key")
        return source

    def check_origin(self, source: SourceConfig, origin: str | None) -> None:
        """Refuse the requests of pages that may not send for a source.

        The page can read the answer: a browser that hides it makes SDKs send again and again.

        :param origin: what the browser says of the page; None of what is none.
        :raises RequestError: (400) the page's origin is not listed.
        """
        if origin is None or is_origin_allowed(origin, source.allowed_origins):
            return
        told = shown(readable(origin))
        self._notices.say(
            "origin_not_allowed",
            (source.name, told),
            "a page was answered 400: its origin %s is not in allowed_origins of the source %s",
            told or "(empty)",
            source.name,
        )
        raise RequestError(
            400,
            "origin_not_allowed",
            "pages of this origin may not send; its source has a list, allowed_origins",
        )

    def know(self, key: str | None) -> bool:
        """Tell whether a key is that of a source."""
        return key is not None and self._look_up(key) is not None

    def _look_up(self, key: str) -> SourceConfig | None:
        source = self._by_digest.get(self._digest(key))
        if source is None or not hmac.compare_digest(
            source.write_key.reveal().encode(), key.encode("utf-8", "replace")
        ):
            return None
        return source

    def _digest(self, key: str) -> bytes:
        text = key.encode("utf-8", "replace")
        return hashlib.blake2b(text, key=self._pepper, digest_size=16).digest()
