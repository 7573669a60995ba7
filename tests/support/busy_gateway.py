"""The gateway with a worker that is busy in its first life, at the moment that ``BUSY`` names.

For ever at its ``start`` or at a ``request``, which keeps the event loop; for a while in ``open``
or ``commit``, which does not.
"""

import os
import time
from collections.abc import Awaitable, Sequence

from gateway.app import App
from gateway.cli import main
from gateway.model import DeadLetter, Entry
from gateway.spool.sqlite import SqliteSpool
from gateway.spool.sqlite.writer import Writer

LONG_S = 12.0


def _work_for_ever() -> None:
    while True:
        time.sleep(0)


def _append(
    self: SqliteSpool, entries: Sequence[Entry], dead: Sequence[DeadLetter] = ()
) -> Awaitable[None]:
    _work_for_ever()
    raise AssertionError


async def _start(self: App) -> None:
    _work_for_ever()


if __name__ == "__main__":
    match os.environ["BUSY"]:
        case "request":
            SqliteSpool.append = _append  # type: ignore[method-assign]
        case "start":
            App.start = _start  # type: ignore[method-assign]
        case "open" | "commit" as name:
            slow = getattr(Writer, name)

            def slowly(*arguments: object, **options: object) -> object:
                time.sleep(LONG_S)
                return slow(*arguments, **options)

            setattr(Writer, name, slowly)
        case unknown:
            raise SystemExit(f"BUSY is {unknown}")
    main()
