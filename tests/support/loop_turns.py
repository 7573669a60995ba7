"""How much work a request finds before it in the event loop of a gateway.

As a program, in place of the gateway, it is the gateway with a record of that: each turn of the
loop that takes a while is a line, ``END SECONDS``, in the file that ``LOOP_TURNS`` names.  What
counts is the time that the loop's thread has computed: however busy the machine is with other
things, it is the gateway's own.
"""

import asyncio
import os
import time
from collections.abc import Sequence
from pathlib import Path

__all__ = ["FILE", "read", "wait_of"]

FILE = "LOOP_TURNS"
_EVERY_S = 0.001
_SHORT_S = 0.0001
_WRITTEN_EVERY = 500


def read(path: Path, begin: float, end: float) -> list[float]:
    """Return the seconds of each turn that ended in that time of ``time.monotonic``."""
    lines = (line.split() for line in path.read_text().splitlines())
    return [float(line[1]) for line in lines if begin <= float(line[0]) <= end]


def wait_of(turns: Sequence[float], seconds: float, share: float) -> float:
    """Return what one of so many requests (``share``) waits for longer, when they come at random.

    :param turns: all long ones of ``seconds``.
    """
    least, most = 0.0, max(turns, default=0.0)
    for _ in range(30):
        middle = (least + most) / 2
        # Who comes while a turn has more than that to go waits longer.
        if sum(max(turn - middle, 0.0) for turn in turns) > share * seconds:
            least = middle
        else:
            most = middle
    return most


async def _watch(path: Path) -> None:
    lines: list[str] = []
    with path.open("w", buffering=1) as file:
        while True:
            for _ in range(_WRITTEN_EVERY):
                before = time.thread_time()
                await asyncio.sleep(_EVERY_S)
                computed = time.thread_time() - before
                if computed > _SHORT_S:
                    lines.append(f"{time.monotonic():.4f} {computed:.6f}\n")
            file.writelines(lines)
            lines.clear()


def _main() -> None:
    from gateway.app import App  # noqa: PLC0415  # who only reads does not need it
    from gateway.cli import main  # noqa: PLC0415

    start = App.start
    tasks = []

    async def watched(self: App) -> None:
        await start(self)
        tasks.append(asyncio.create_task(_watch(Path(os.environ[FILE]))))

    App.start = watched  # type: ignore[method-assign]
    main()


if __name__ == "__main__":
    _main()
