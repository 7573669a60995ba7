"""The ceiling: aiohttp's low-level server under uvloop, which reads a body and answers.

``python -m benchmarks.peers.bare_aiohttp`` prints its address and serves until SIGTERM.
"""

import asyncio

import uvloop
from aiohttp import web

from benchmarks.peers.serving import until_told

_ACCEPTED = b'{"success":true}'


async def _handle(request: web.BaseRequest) -> web.Response:
    await request.read()
    return web.Response(body=_ACCEPTED, content_type="application/json")


async def _serve() -> None:
    handler = web.Server(_handle, access_log=None)
    server = await asyncio.get_running_loop().create_server(handler, "127.0.0.1", 0, backlog=1024)
    await until_told(server.sockets[0].getsockname()[1])
    await handler.shutdown(1.0)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve())
