"""A process of the load: ``python -m benchmarks.load TASK``.

It says ``ready`` when it is connected, and begins when its standard input says so.
"""

import gc
import sys
from pathlib import Path

import msgspec

from benchmarks.load.client import Client, Task
from benchmarks.load.traffic import load


def main() -> None:
    """Do the task."""
    task = msgspec.json.decode(sys.argv[-1], type=Task)
    client = Client(task, load(Path(task.requests)))
    try:
        client.connect()
    except OSError as error:
        sys.exit(f"cannot connect to {task.host}:{task.port}: {error}")
    gc.freeze()
    gc.disable()  # nothing here is in a cycle
    print("ready", flush=True)
    if not sys.stdin.readline():
        return
    result = client.run()
    client.close()
    Path(task.result).write_bytes(msgspec.json.encode(result))


if __name__ == "__main__":
    main()
