"""The gateway as it must not be: it answers before the commit.

What it has answered and not yet committed is lost when it is killed.
"""

import asyncio
from collections.abc import Awaitable, Sequence

from gateway.cli import main
from gateway.model import DeadLetter, Entry
from gateway.spool.sqlite import SqliteSpool

_append = SqliteSpool.append
_COMMIT_AFTER_S = 0.05


def _append_later(
    self: SqliteSpool, entries: Sequence[Entry], dead: Sequence[DeadLetter] = ()
) -> Awaitable[None]:
    loop = asyncio.get_running_loop()
    loop.call_later(_COMMIT_AFTER_S, _append, self, entries, dead)
    done: asyncio.Future[None] = loop.create_future()
    done.set_result(None)
    return done


if __name__ == "__main__":
    SqliteSpool.append = _append_later  # type: ignore[method-assign]
    main()
