"""The process of a case in Python: ``python -m benchmarks.worker TASK``; see ``measure``."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import msgspec

from benchmarks.adapter import new_gateway
from benchmarks.measure import Settings, Task
from benchmarks.peers.plain_python import PlainPython
from benchmarks.peers.typed_decode import new_typed_decode
from gateway.events import decode

Mapping: TypeAlias = Callable[[bytes], Sequence[tuple[str, bytes]]]


def _mapping(name: str, settings: Settings) -> Mapping:
    arguments = msgspec.structs.astuple(settings)
    return PlainPython(*arguments) if name == "python" else new_gateway(*arguments)


def _records(mapping: Mapping, body: bytes) -> Iterator[bytes]:
    for endpoint, lines in mapping(body):
        for line in lines.splitlines():
            yield b'["%b",%b]' % (endpoint.encode(), line)


def _events(name: str, body: bytes) -> Iterator[bytes]:
    if name == "decode":
        for event in decode(body).events:
            yield msgspec.json.encode((event.type, event.message_id))
    else:
        for typed in new_typed_decode()(body).batch:
            yield msgspec.json.encode((typed.type, typed.message_id))


def _case(task: Task) -> tuple[Callable[[bytes], object], Callable[[bytes], Iterator[bytes]]]:
    """Return what is timed, and what gives its answers."""
    match task.case:
        case "gateway" | "python":
            mapping = _mapping(task.case, task.settings)
            return mapping, lambda body: _records(mapping, body)
        case "decode":
            return decode, lambda body: _events("decode", body)
        case "msgspec":
            return new_typed_decode(), lambda body: _events("msgspec", body)
        case unknown:
            raise ValueError(f"no case {unknown!r}")


def _cpu_seconds(run: Callable[[bytes], object], bodies: Sequence[bytes], passes: int) -> float:
    before = time.process_time()
    for _ in range(passes):
        for body in bodies:
            run(body)
    return time.process_time() - before


def main() -> None:
    """Do the task."""
    task = msgspec.json.decode(sys.argv[-1], type=Task)
    bodies = Path(task.corpus).read_bytes().split(b"\n")
    run, answers = _case(task)
    Path(task.answers).write_bytes(b"\n".join(line for body in bodies for line in answers(body)))
    print("ready", flush=True)
    if not sys.stdin.readline():
        return
    warm_up = _cpu_seconds(run, bodies, 1)
    passes = max(1, round(task.seconds / warm_up))
    _cpu_seconds(run, bodies, passes // 4)
    for _ in range(task.repetitions):
        spent = _cpu_seconds(run, bodies, passes)
        print(spent / (passes * task.events) * 1e6, flush=True)


if __name__ == "__main__":
    main()
