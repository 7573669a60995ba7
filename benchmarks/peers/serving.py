"""What the peers in Python have in common: they say where they serve, and do it until SIGTERM."""

import asyncio
import signal

__all__ = ["until_told"]


async def until_told(port: int) -> None:
    """Print the address and wait."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    print(f"serving: http://127.0.0.1:{port}", flush=True)
    await stop.wait()
