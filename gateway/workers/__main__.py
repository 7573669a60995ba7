"""The process of a worker: ``python -m gateway.workers``, started by the supervisor.

It reads its ``Job`` from standard input, writes ``ready`` or the reason why it cannot start to
standard output, and stops in order on SIGTERM, or when standard input ends: then the supervisor is
gone.
"""

import asyncio
import os
import pickle
import sys

from gateway.app import App
from gateway.errors import SpoolError
from gateway.ingest.tls import CertificateError
from gateway.output import detach_output
from gateway.process import (
    collect_garbage_by_time,
    log_to_stderr,
    run_async,
    stop_when_told_twice,
    until_told,
)
from gateway.spool.files import spool_name
from gateway.workers.job import READY, Job


async def _work(job: Job) -> None:
    app = App(job.config, place=job.place())
    try:
        await app.start()
    except (SpoolError, CertificateError, OSError) as error:
        _report(str(error))
        return
    collect_garbage_by_time()
    _report(READY)
    told = asyncio.create_task(until_told())
    orphaned = asyncio.create_task(_until_orphaned())
    await asyncio.wait((told, orphaned), return_when=asyncio.FIRST_COMPLETED)
    for task in (told, orphaned):
        task.cancel()
    await stop_when_told_twice(app.stop, lambda: app.stop(deliver=False))


def _report(text: str) -> None:
    os.write(sys.stdout.fileno(), text.replace("\n", " ").encode() + b"\n")


async def _until_orphaned() -> None:
    """Wait for the end of standard input."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer)
    await reader.read()


def _read_exactly(size: int) -> bytes:
    """Return the next bytes of standard input, unbuffered: what follows belongs to the loop."""
    text = b""
    while len(text) < size:
        part = os.read(sys.stdin.fileno(), size - len(text))
        if not part:
            raise SystemExit(1)  # the supervisor has gone
        text += part
    return text


def main() -> None:
    """Do the job that stands in standard input."""
    detach_output()
    size = int.from_bytes(_read_exactly(8), "big")
    job: Job = pickle.loads(_read_exactly(size))  # noqa: S301 - from who started this process
    log_to_stderr(spool_name(job.number))
    run_async(_work(job))


if __name__ == "__main__":
    main()
