"""Programs of the tests in processes of their own: a line of JSON in, a line of JSON out."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Self

import msgspec
import uvloop

__all__ = ["ROOT", "Child", "serve"]

ROOT = Path(__file__).parents[2]
_LIMIT = 2**20
_END_S = 10.0


class Child:
    """A program that answers each line that it is sent.

    Use it as a context: at its end the process is gone.

    :param module: that calls ``serve``.
    :param options: its first line; the answer to it is ``ready``.
    """

    def __init__(self, module: str, options: object) -> None:
        self._module = module
        self._options = options
        self._process: asyncio.subprocess.Process | None = None
        self.ready: Any = None

    async def __aenter__(self) -> Self:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", self._module), stdin=pipe, stdout=pipe, cwd=ROOT, limit=_LIMIT
        )
        try:
            self.ready = await self.ask(self._options)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        process = self._running()
        if process.returncode is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
        await process.wait()

    async def ask(self, question: object, timeout: float = 60.0) -> Any:
        """Send a line and return the answer."""
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(msgspec.json.encode(question) + b"\n")
        async with asyncio.timeout(timeout):
            line = await process.stdout.readline()
        assert line, f"{self._module} has ended; see its messages on standard error"
        return msgspec.json.decode(line)

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._running().send_signal(number)

    def _running(self) -> asyncio.subprocess.Process:
        assert self._process is not None, "use it as a context"
        return self._process


Answer = Callable[[Any], Awaitable[object]]


def serve(start: Callable[[Any], Awaitable[tuple[object, Answer]]]) -> None:
    """Be such a program, until its standard input ends.

    :param start: takes the options; returns the answer to them, and what answers all other lines.
    """

    async def run() -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(_LIMIT)
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        ready, answer = await start(msgspec.json.decode(await reader.readline()))
        _say(ready)
        while line := await reader.readline():
            _say(await answer(msgspec.json.decode(line)))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


def _say(answer: object) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
    sys.stdout.buffer.flush()
