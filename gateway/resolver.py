"""Looking up host names without anybody else having to wait."""

import asyncio
import socket
import threading
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

__all__ = ["Resolver"]


class Resolver(AbstractResolver):
    """Asks the system, in a thread of its own for each lookup.

    asyncio looks up names in threads that all of the process share, and there are only a few: the
    lookups of one destination whose name server is silent would hold up those of all others, and
    the end of the process.  A connector looks up one name once at a time, so there are at most as
    many threads as endpoints.
    """

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a host.

        :raises OSError: there are none.
        """
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[Any]] = loop.create_future()

        def report(result: list[Any] | OSError) -> None:
            if found.done():
                return  # nobody waits any more
            if isinstance(result, OSError):
                found.set_exception(result)
            else:
                found.set_result(result)

        def look_up() -> None:
            result: list[Any] | OSError
            try:
                result = socket.getaddrinfo(
                    host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
                )
            except OSError as error:
                result = error
            except ValueError as error:  # a name that cannot be one, as with an empty label
                result = OSError(str(error))
            try:
                loop.call_soon_threadsafe(report, result)
            except RuntimeError:
                pass  # the loop has been closed meanwhile

        threading.Thread(target=look_up, name=f"resolve {host}", daemon=True).start()
        return [
            ResolveResult(
                hostname=host,
                host=address[0],
                port=address[1],
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, protocol, _, address in await found
        ]

    async def close(self) -> None:
        """Nothing is kept."""
