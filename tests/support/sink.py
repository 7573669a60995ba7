"""Several Mixpanels in one process of their own, which remember everything that they took."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from gateway.sandbox import Fault, Sandbox
from tests.support.arrivals import Arrivals, Recorder, SequenceRecorder
from tests.support.children import Child, serve

__all__ = ["Sink"]

Memory = Literal["records", "numbers"]


class Sink(Child):
    """Sandboxes, one for each token.

    :param remember: ``records`` of ``Traffic``, or the ``numbers`` of ``Flood``'s events.
    """

    def __init__(self, tokens: Sequence[str], *, remember: Memory = "records") -> None:
        super().__init__(__name__, {"tokens": tokens, "remember": remember})

    @property
    def urls(self) -> list[str]:
        """The base URL of each."""
        urls: list[str] = self.ready
        return urls

    async def misbehave(self, number: int, *faults: Fault) -> None:
        """Replace the faults of one sandbox."""
        await self.ask({"do": "misbehave", "number": number, "faults": faults})

    async def arrivals(self, number: int, directory: Path) -> Arrivals:
        """Return what one sandbox has got so far.

        :param directory: for a file, since it may be much.
        """
        path = directory / f"arrivals-{number}"
        await self.ask({"do": "save", "number": number, "path": str(path)}, timeout=120)
        return msgspec.msgpack.decode(path.read_bytes(), type=Arrivals)


async def _start(options: dict[str, Any]) -> tuple[list[str], Any]:
    sandboxes = [Sandbox(token=token, seed=i) for i, token in enumerate(options["tokens"])]
    recorders = [
        Recorder(token) if options["remember"] == "records" else SequenceRecorder()
        for token in options["tokens"]
    ]
    for sandbox, recorder in zip(sandboxes, recorders, strict=True):
        sandbox.store = recorder
        await sandbox.start()

    async def answer(question: dict[str, Any]) -> None:
        number = question["number"]
        if question["do"] == "misbehave":
            sandboxes[number].faults.replace(msgspec.convert(question["faults"], list[Fault]))
        else:
            saved = msgspec.msgpack.encode(recorders[number].arrivals())
            Path(question["path"]).write_bytes(saved)  # noqa: ASYNC240 - at the end of a run

    return [sandbox.url for sandbox in sandboxes], answer


if __name__ == "__main__":
    serve(_start)
