"""Requests as SDKs send them that cannot be run here, and what has to become of them.

Each file of ``tests/recordings`` is one SDK.  ``{host}`` and ``{length}`` in a head are filled in;
everything else goes over the wire as it stands, with CRLF at the end of the head's lines.
"""

import gzip
import json
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from tests.support.serving import Answer

__all__ = ["HOST", "RECORDINGS", "Recording", "Request", "Stored", "recordings"]

RECORDINGS = Path(__file__).parent.parent / "recordings"

HOST = "events.example.com"

Success = Literal["status below 300", "status 200", "JSON without an error", "readable by the page"]
Document = Literal["settings", "source config", "preflight"]


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One request.

    :param answer: what it asks for; None where it sends events.
    :param chunk_bytes: 0 where the body comes in one piece with its length.
    """

    head: str
    body: str = ""
    answer: Document | None = None
    encoding: Literal["", "gzip"] = ""
    chunk_bytes: int = 0

    def wire(self) -> bytes:
        """Return what is sent."""
        body = self.body.encode()
        if self.encoding:
            body = gzip.compress(body, mtime=0)
        head = self.head.replace("{host}", HOST).replace("{length}", str(len(body)))
        lines = head.strip().split("\n")
        return "\r\n".join([*lines, "", ""]).encode() + self._framed(body)

    def _framed(self, body: bytes) -> bytes:
        if not self.chunk_bytes:
            return body
        starts = range(0, len(body), self.chunk_bytes)
        chunks = [body[start : start + self.chunk_bytes] for start in starts]
        return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in [*chunks, b""])

    def check(self, answer: Answer, success: Success) -> None:
        """Fail unless the SDK counts the answer as a success and can read what it needs of it."""
        if self.answer is not None:
            _DOCUMENTS[self.answer](answer, self.head)
        else:
            assert _SUCCESSES[success](answer), (answer.status, answer.body)


class Stored(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A record that Mixpanel has to store.

    :param varies: properties that have to be there, with any value.
    """

    endpoint: str
    record: str
    varies: tuple[str, ...] = ()


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    sdk: str
    success: Success
    requests: tuple[Request, ...]
    stored: tuple[Stored, ...]


@dataclass(frozen=True, slots=True)
class Recording:
    """What one SDK sends, in order, on one connection."""

    name: str
    success: Success
    requests: tuple[Request, ...]
    stored: tuple[Stored, ...]


def recordings() -> list[Recording]:
    """Return all recordings."""
    found = []
    for path in sorted(RECORDINGS.glob("*.toml")):
        file = msgspec.convert(tomllib.loads(path.read_text("utf-8")), _File)
        found.append(Recording(path.stem, file.success, file.requests, file.stored))
    return found


def _below_300(answer: Answer) -> bool:
    return 200 <= answer.status < 300


def _exactly_200(answer: Answer) -> bool:
    return answer.status == 200


def _json_without_error(answer: Answer) -> bool:
    body = json.loads(answer.body)
    return answer.status < 300 and isinstance(body, dict) and body.get("error") is None


def _readable(answer: Answer) -> bool:
    headers = answer.headers
    return answer.status == 200 and headers["Access-Control-Allow-Origin"] == "https://shop.example"


_SUCCESSES: dict[Success, Callable[[Answer], bool]] = {
    "status below 300": _below_300,
    "status 200": _exactly_200,
    "JSON without an error": _json_without_error,
    "readable by the page": _readable,
}


def _settings(answer: Answer, _: str) -> None:
    assert answer.status == 200
    document: dict[str, Any] = json.loads(answer.body)
    # Kotlin gives the whole document up for a member that is no object.
    assert all(isinstance(value, dict) for value in document.values())
    segment = document["integrations"]["Segment.io"]  # or Swift discards every event
    assert isinstance(segment["apiKey"], str)
    assert segment["apiHost"] == f"{HOST}/v1"
    assert document["metrics"] == {"sampleRate": 0}
    assert segment["httpConfig"]["rateLimitConfig"]["enabled"] is True


def _source_config(answer: Answer, _: str) -> None:
    assert answer.status == 200
    source = json.loads(answer.body)["source"]
    texts = ("id", "name", "writeKey", "workspaceId", "updatedAt")
    assert all(isinstance(source[name], str) for name in texts)
    assert source["enabled"] is True
    assert source["destinations"] == []
    for kind in ("errors", "metrics"):
        assert source["config"]["statsCollection"][kind]["enabled"] is False


def _preflight(answer: Answer, head: str) -> None:
    assert 200 <= answer.status < 300
    asked = dict(line.split(": ", 1) for line in head.strip().split("\n")[1:])
    headers = answer.headers
    assert headers["Access-Control-Allow-Origin"] == asked["Origin"]
    assert asked["Access-Control-Request-Method"] in headers["Access-Control-Allow-Methods"]
    assert asked["Access-Control-Request-Headers"] in headers["Access-Control-Allow-Headers"]


_DOCUMENTS: dict[Document, Callable[[Answer, str], None]] = {
    "settings": _settings,
    "source config": _source_config,
    "preflight": _preflight,
}
