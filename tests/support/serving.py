"""A listening ingest server with the real pipeline and spool behind it, and a client for it.

The client sends exactly the bytes it is told to: a proper HTTP library would mend what these tests
are about.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import Any

from gateway.clock import SystemClock
from gateway.config import (
    Config,
    DestinationConfig,
    DestinationSettings,
    ProxyConfig,
    Secret,
    ServerConfig,
    SourceConfig,
)
from gateway.ingest import IngestServer
from gateway.mapping import Mapper
from gateway.model import DeadLetter
from gateway.pipeline import Pipeline
from gateway.spool.chunks import decode
from gateway.spool.dead_letters import Filter
from gateway.spool.sqlite import SqliteSpool
from gateway.telemetry import Telemetry

__all__ = ["KEY", "Answer", "Connection", "Serving", "message", "serving"]

KEY = "canary-write-key"
EVENT = b'{"type":"track","event":"E","userId":"u","messageId":"m"}'
ANSWER_S = 15

has_fast_path = True
"""Whether servers answer usual requests without aiohttp; see ``tests/conftest.py``."""

DESTINATION = DestinationConfig(name="mp", settings=DestinationSettings(projectToken="TOKEN"))
PROXY = ProxyConfig()


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said."""

    status: int
    headers: Message
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of an error, which has to have the shape that SDKs read."""
        error = self.json()
        assert self.headers["Content-Type"] == "application/json"
        assert error["success"] is False
        assert isinstance(error["message"], str)
        assert error["message"]
        code: str = error["code"]
        return code


class Connection:
    """One connection to the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def answer(self, *, has_body: bool = True) -> Answer:
        """Read one answer, interim ones included."""
        async with asyncio.timeout(ANSWER_S):
            head = await self._reader.readuntil(b"\r\n\r\n")
            status_line, _, rest = head.partition(b"\r\n")
            headers = BytesHeaderParser().parsebytes(rest)
            status = int(status_line.split()[1])
            length = int(headers.get("Content-Length", 0)) if has_body and status >= 200 else 0
            return Answer(status, headers, await self._reader.readexactly(length))

    async def ended(self) -> bytes:
        """Read up to the end of the connection."""
        async with asyncio.timeout(ANSWER_S):
            return await self._reader.read()

    async def until(self, text: bytes) -> bytes:
        """Read up to and including a text."""
        async with asyncio.timeout(ANSWER_S):
            return await self._reader.readuntil(text)

    async def rest(self) -> bytes:
        """Read up to the end of the connection, also where that is not an orderly one."""
        parts = []
        async with asyncio.timeout(ANSWER_S):
            try:
                while part := await self._reader.read(65_536):
                    parts.append(part)
            except ConnectionError:
                pass
        return b"".join(parts)

    async def close(self) -> None:
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except ConnectionError:
            pass  # the server was faster


def message(
    target: str,
    body: bytes = b"",
    headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
    *,
    method: str = "POST",
    has_length: bool = True,
) -> bytes:
    """Return a request; ``Content-Length`` is added unless it is sent in another way."""
    pairs = [
        ("Host", "gateway.test"),
        *(headers.items() if isinstance(headers, Mapping) else headers),
    ]
    if has_length:
        pairs.append(("Content-Length", str(len(body))))
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in pairs), "", ""]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + body


class Serving:
    """A running server and what became of the events it took."""

    def __init__(self, ingest: IngestServer, spool: SqliteSpool, telemetry: Telemetry) -> None:
        self.ingest = ingest
        self.spool = spool
        self.telemetry = telemetry

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        connection = Connection(*await asyncio.open_connection("127.0.0.1", self.ingest.port))
        try:
            yield connection
        finally:
            await connection.close()

    async def exchange(self, data: bytes, *, has_body: bool = True) -> Answer:
        """Send one request on a connection of its own."""
        async with self.connection() as connection:
            await connection.send(data)
            return await connection.answer(has_body=has_body)

    async def post(
        self,
        target: str = "/v1/batch",
        body: bytes = EVENT,
        headers: Mapping[str, str] | Sequence[tuple[str, str]] = (("X-Write-Key", KEY),),
    ) -> Answer:
        return await self.exchange(message(target, body, headers))

    async def still_works(self) -> bool:
        """Tell whether a good request on a new connection is accepted."""
        answer = await self.post()
        return (answer.status, answer.body) == (200, b'{"success":true}')

    async def records(self) -> list[tuple[str, Any]]:
        """Return what is on disk, by endpoint, in the order of acceptance."""
        return [
            (queue.endpoint, json.loads(line))
            for queue in self.spool.queues()
            for chunk in await self.spool.read(queue)
            for line in decode(chunk.encoding, chunk.payload).split(b"\n")[:-1]
        ]

    async def names(self) -> list[str]:
        """Return the names of the events on disk."""
        return [
            record["event"] for endpoint, record in await self.records() if endpoint == "import"
        ]

    async def letters(self) -> list[DeadLetter]:
        return [stored.letter for stored in await self.spool.dead_letters.page(Filter())]


@asynccontextmanager
async def serving(
    directory: Path,
    *,
    sources: Sequence[SourceConfig] = (),
    destinations: Sequence[DestinationConfig] = (DESTINATION,),
    proxy: ProxyConfig = PROXY,
    spool_type: type[SqliteSpool] = SqliteSpool,
    min_free_bytes: int = 0,
    **server: Any,
) -> AsyncIterator[Serving]:
    """Run a server.

    :param sources: one with the key ``KEY`` unless given.
    :param spool_type: the real one, or one that fails in a way of its own.
    :param min_free_bytes: of the spool; more than the disk has makes it refuse everything.
    :param server: members of ``[server]``.
    """
    config = Config(
        sources=tuple(sources) or (SourceConfig(name="sdk", write_key=Secret(KEY)),),
        destinations=tuple(destinations),
        proxy=proxy,
        server=ServerConfig(**{"port": 0, "shutdown_timeout_s": 0.2, **server}),
    )
    clock, telemetry = SystemClock(), Telemetry()
    spool = spool_type(
        directory / "spool",
        clock=clock,
        telemetry=telemetry,
        max_bytes=2**30,
        min_free_bytes=min_free_bytes,
    )
    await spool.open()
    try:
        mapper = Mapper(config.destinations, telemetry)
        pipeline = Pipeline(config, mapper, spool, clock, telemetry)
        ingest = IngestServer(
            config,
            pipeline.accept,
            pipeline.accept_records,
            telemetry=telemetry,
            has_fast_path=has_fast_path,
        )
        await ingest.start()
        try:
            yield Serving(ingest, spool, telemetry)
        finally:
            await ingest.stop()
    finally:
        await spool.close()
