"""A gateway the way one writes it in plain Python: aiohttp, json, dicts and zlib.

``python -m benchmarks.peers.plain_gateway SINK SETTINGS`` prints its address and serves until
SIGTERM.  An event is acknowledged when its records are in memory, so a crash loses them; there are
no limits on slow clients, no ledger, no dead letters, no retries.  All that makes it faster.
"""

import asyncio
import base64
import json
import sys
import zlib
from collections import deque

import aiohttp
import msgspec
import uvloop
from aiohttp import web

from benchmarks.measure import Settings
from benchmarks.peers.plain_python import Json, PlainPython
from benchmarks.peers.serving import until_told

_BATCH_RECORDS = 2000
_BATCH_BYTES = 2 * 1024 * 1024
_WAITING_RECORDS = 50_000
_GZIP = 31
_ACCEPTED = b'{"success":true}'


def _line(record: Json) -> bytes:
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


class _Queue:
    """Records on their way to one endpoint."""

    def __init__(self, endpoint: str, sink: str, token: str) -> None:
        self._endpoint = endpoint
        self._url = f"{sink}/{endpoint}"
        key = base64.b64encode(f"{token}:".encode()).decode()
        self._headers = {"Content-Type": "application/json", "Authorization": f"Basic {key}"}
        if endpoint in ("import", "track"):
            self._headers["Content-Encoding"] = "gzip"
        self._lines: deque[bytes] = deque()
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    async def put(self, lines: bytes) -> None:
        """Add newline-delimited records when there is room."""
        await self._room.wait()
        self._lines.extend(lines.splitlines())
        self._news.set()
        if len(self._lines) > _WAITING_RECORDS:
            self._room.clear()

    async def send_all(self, session: aiohttp.ClientSession) -> None:
        """Send batches as long as the process lives."""
        while True:
            await self._news.wait()
            body = b"[" + b",".join(self._take()) + b"]"
            if "Content-Encoding" in self._headers:
                body = await asyncio.to_thread(zlib.compress, body, wbits=_GZIP)
            async with session.post(self._url, data=body, headers=self._headers) as response:
                response.raise_for_status()
                await response.read()

    def _take(self) -> list[bytes]:
        batch: list[bytes] = []
        size = 0
        while self._lines and len(batch) < _BATCH_RECORDS:
            size += len(self._lines[0]) + 1
            if batch and size >= _BATCH_BYTES:
                break
            batch.append(self._lines.popleft())
        if not self._lines:
            self._news.clear()
        if len(self._lines) < _WAITING_RECORDS:
            self._room.set()
        return batch


async def _serve(sink: str, settings: Settings) -> None:
    mapping = PlainPython(*msgspec.structs.astuple(settings), loads=json.loads, line=_line)
    queues = {
        name: _Queue(name, sink, settings.token) for name in ("import", "track", "engage", "groups")
    }

    async def handle(request: web.Request) -> web.Response:
        body = await request.read()  # inflated by aiohttp, with zlib
        try:
            mapped = mapping(body)
        except (ValueError, TypeError, AttributeError) as error:
            return web.json_response({"message": str(error)}, status=400)
        for endpoint, lines in mapped:
            await queues[endpoint].put(lines)
        return web.Response(body=_ACCEPTED, content_type="application/json")

    app = web.Application(client_max_size=4 * 1024 * 1024)
    app.router.add_post("/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession() as session:
        senders = [asyncio.create_task(queue.send_all(session)) for queue in queues.values()]
        await until_told(runner.addresses[0][1])
        for sender in senders:
            sender.cancel()
    await runner.cleanup()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as main:
        main.run(_serve(sys.argv[1], msgspec.json.decode(sys.argv[2], type=Settings)))
