"""The benchmarks find out what is broken, and leave nothing behind."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks import machine, trial
from benchmarks.arena import Arena, Setting
from benchmarks.load.fleet import Load
from benchmarks.processes import Broken, Program, python, until
from benchmarks.sink import ACCEPTED
from benchmarks.subjects.base import new_sink
from tests.support.paths import ROOT

# The sink


def post(url: str, body: bytes, **headers: str) -> bytes:
    request = urllib.request.Request(url, body, headers)
    with urllib.request.urlopen(request) as response:
        answered: bytes = response.read()
        return answered


def test_sink_counts_records_in_every_form(tmp_path: Path) -> None:
    lines = b'{"event":"a"}\n{"event":"b"}\n'
    with ExitStack() as stack:
        sink = new_sink(stack, tmp_path)
        assert json.loads(post(f"{sink.url}/import", lines))["status"] == "OK"
        compressed = gzip.compress(lines)
        post(f"{sink.url}/import?strict=1", compressed, **{"Content-Encoding": "gzip"})
        post(f"{sink.url}/engage", b'[{"a":1},{"a":2},{"a":3}]')
        post(f"{sink.url}/track", b"data=%7B%22event%22%3A%22a%22%7D")
        assert post(f"{sink.url}/v1/batch", b"anything") == ACCEPTED
        stats = sink.stats()
        assert (stats.requests, stats.records) == (5, 8)
        large = b'{"event":"%b"}\n' % (b"x" * 200_000)
        post(f"{sink.url}/import", large * 8)
        assert sink.stats().records == 16
        post(f"{sink.url}/import", b"!", **{"Content-Encoding": "gzip"})
        with pytest.raises(Broken, match="1 requests without records"):
            sink.stats()


def test_file_systems_are_told_apart() -> None:
    assert machine.filesystem(Path("/proc/self/fd")) == "proc"
    assert machine.filesystem(Path("/")) not in ("", "proc")


# Processes


def test_program_that_ends_is_told_with_what_it_printed(tmp_path: Path) -> None:
    command = (sys.executable, "-c", "print('out of luck'); raise SystemExit(3)")
    with (
        Program("it", command, log=tmp_path / "log") as program,
        pytest.raises(Broken, match=r"(?s)it ended with exit code 3:.*out of luck"),
    ):
        program.wait_for("never")


def test_usage_is_that_of_the_whole_tree(tmp_path: Path) -> None:
    burn = "import time\nwhile time.process_time() < 0.4: pass\n"
    script = (
        "import subprocess, sys, time\n"
        f"subprocess.run([sys.executable, '-c', {burn!r}])\n"
        f"child = subprocess.Popen([sys.executable, '-c', {burn + 'time.sleep(90)'!r}])\n"
        "held = [open('/dev/null') for _ in range(50)]\n"
        "print('now', flush=True); child.wait()"
    )
    with Program("it", (sys.executable, "-c", script), log=tmp_path / "log") as program:
        program.wait_for("now")
        # One child has ended and the other one runs; each has used 0.4 s.
        usage = until(lambda: found if (found := program.usage()).cpu_s >= 0.75 else None, 30)
        assert usage is not None
        assert usage.cpu_s < 3
        assert usage.resident_bytes > 10 * 2**20
        assert usage.descriptors >= 53
        assert len(program.usages()) == 2


def test_gateway_that_dies_under_load_fails_the_benchmark(tmp_path: Path) -> None:
    with Arena(Setting(events=100, processes=1, connections=4, spool=tmp_path)) as arena:
        fleet = arena.fleet(arena.traffic(20))
        with arena.gateway() as gateway:

            def kill() -> None:
                os.kill(gateway.program.pid, signal.SIGKILL)

            with pytest.raises(Broken, match="the gateway ended with exit code -9"):
                trial.run(gateway, fleet, Load(seconds=5), watch=kill)
    assert list(tmp_path.iterdir()) == []


def test_sink_that_got_something_else_fails_the_benchmark(tmp_path: Path) -> None:
    with Arena(Setting(events=100, processes=1, connections=4, spool=tmp_path)) as arena:
        fleet = arena.fleet(arena.traffic(20))
        with arena.gateway() as gateway:
            config = json.loads((gateway.directory / "gateway.json").read_text())
            sink = config["destinations"][0]["base_url"]
            others = iter([b'{"event":"another"}\n'])

            def interfere() -> None:
                for other in others:
                    post(f"{sink}/import", other)

            with pytest.raises(Broken, match="records are in the sink"):
                trial.run(gateway, fleet, Load(seconds=0.3), watch=interfere)


def descendants(pid: int) -> list[int]:
    texts = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    children = [int(child) for child in " ".join(texts).split()]
    return children + [each for child in children for each in descendants(child)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_benchmark_leaves_nothing_behind(
    tmp_path: Path, number: signal.Signals
) -> None:
    command = python(
        "benchmarks", "gateway", "--events=200", "--batch=20", "--no-peers", "--seconds=60",
        f"--spool={tmp_path}",
    )  # fmt: skip
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        started: list[int] = []
        deadline = time.monotonic() + 30
        while len(started) < 4:  # sink, gateway, and two processes of the load
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
            started = descendants(process.pid)
        time.sleep(1.5)  # the load has begun
        process.send_signal(number)
        assert process.wait(25) != 0  # it would take 30 s by itself
    assert [pid for pid in started if Path(f"/proc/{pid}").exists()] == []
    assert list(tmp_path.iterdir()) == []
