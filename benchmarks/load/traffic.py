"""The requests of a load, ready to be sent: HTTP, from the corpus."""

import base64
import gzip
import re
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

import msgspec

from benchmarks import corpus
from benchmarks.measure import Settings
from benchmarks.peers.plain_python import PlainPython
from benchmarks.sdks import SDKS, Sdk

__all__ = ["Gzip", "Prepared", "Traffic", "load", "prepare", "save"]

_LIBRARY = re.compile(rb'"library":\{"name":"([^"]+)"')
_SDKS = {sdk.name.encode(): sdk for sdk in SDKS}


class Gzip(StrEnum):
    """Which bodies are compressed."""

    SDK = "sdk"  # those of SDKs that do that by default; of batches of a fixed size none
    ALL = "all"
    NONE = "none"


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent.

    :param batch: events in a request, each request with its key as the user of Basic
        authentication; None for batches, paths and keys as SDKs send them by default.
    :param events: different ones, before the first comes again.
    """

    batch: int | None = None
    gzip: Gzip = Gzip.SDK
    events: int = 20_000
    seed: int = corpus.SEED

    @property
    def title(self) -> str:
        """What it is, for people."""
        match self.batch:
            case None:
                return "as SDKs send"
            case 1:
                return "single events"
            case size:
                return f"batches of {size}"


class Prepared(msgspec.Struct, frozen=True, array_like=True):
    """A request.

    :param data: the bytes to send.
    :param events: in it.
    :param records: that these become.
    """

    data: bytes
    events: int
    records: int


def prepare(traffic: Traffic) -> list[Prepared]:
    """Return the requests, the same ones for the same traffic."""
    settings = Settings(received_ms=corpus.RECEIVED_MS)
    records = PlainPython(*msgspec.structs.astuple(settings))
    always, by_sdk = traffic.gzip is Gzip.ALL, traffic.gzip is Gzip.SDK
    prepared = []
    for path, key, gzips, body in _bodies(traffic):
        made = sum(lines.count(b"\n") for _, lines in records(body))
        data = _request(path, key, body, is_gzipped=always or (by_sdk and gzips))
        prepared.append(Prepared(data, _events_in(body), made))
    return prepared


def save(requests: list[Prepared], path: Path) -> None:
    """Write requests to a file."""
    path.write_bytes(msgspec.msgpack.encode(requests))


def load(path: Path) -> list[Prepared]:
    """Read requests from such a file."""
    return msgspec.msgpack.decode(path.read_bytes(), type=list[Prepared])


def _bodies(traffic: Traffic) -> Iterator[tuple[str, str | None, bool, bytes]]:
    """Yield path, key for the headers, whether the SDK compresses it, and body."""
    bodies = corpus.traffic(traffic.events, seed=traffic.seed)
    if traffic.batch is None:
        for body in bodies:
            sdk = _sdk_of(body)
            yield sdk.path, None, sdk.gzips, body
    elif traffic.batch == 1:
        for kind, body in corpus.singles(bodies):
            yield f"/v1/{kind}", corpus.WRITE_KEY, False, body
    else:
        for body in corpus.batched(bodies, traffic.batch):
            yield "/v1/batch", corpus.WRITE_KEY, False, body


def _events_in(body: bytes) -> int:
    decoded = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    return len(msgspec.json.decode(decoded.get("batch", b"[0]"), type=list[msgspec.Raw]))


def _sdk_of(body: bytes) -> Sdk:
    found = _LIBRARY.search(body)
    assert found is not None  # noqa: S101 - every event of the corpus names its library
    return _SDKS[found[1]]


def _request(path: str, key: str | None, body: bytes, *, is_gzipped: bool) -> bytes:
    headers = ["Host: gateway.test", "Content-Type: application/json"]
    if key is not None:
        headers.append(f"Authorization: Basic {base64.b64encode(f'{key}:'.encode()).decode()}")
    if is_gzipped:
        headers.append("Content-Encoding: gzip")
        body = gzip.compress(body, 6, mtime=0)
    headers.append(f"Content-Length: {len(body)}")
    return "\r\n".join([f"POST {path} HTTP/1.1", *headers, "", ""]).encode() + body
