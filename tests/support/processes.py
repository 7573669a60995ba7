"""Real processes: the gateway, its commands, and the programs that drive SDKs."""

import asyncio
import inspect
import json
import os
import re
import resource
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Self, TypeVar, overload

import aiohttp

from tests.support.ports import lasting_port

__all__ = [
    "TOKEN",
    "WRITE_KEY",
    "Finished",
    "GatewayProcess",
    "Running",
    "gateway",
    "run",
    "wait_for",
]

WRITE_KEY = "key-of-the-test"
TOKEN = "token-of-the-test"

START_S = 30.0
STOP_S = 30.0
_POLL_S = 0.01
_SHOWN = 8000  # characters of what all processes have printed

T = TypeVar("T")


@overload
async def wait_for(predicate: Callable[[], Awaitable[T | None]], timeout: float = ...) -> T: ...
@overload
async def wait_for(predicate: Callable[[], T | None], timeout: float = ...) -> T: ...
async def wait_for(predicate: Callable[[], Any], timeout: float = 20.0) -> Any:
    """Return the first true value of ``predicate``; fail when there is none in time."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    while True:
        found = predicate()
        value = await found if inspect.isawaitable(found) else found
        if value:
            return value
        assert loop.time() < deadline, f"not within {timeout:g} s: {predicate}"
        await asyncio.sleep(_POLL_S)


class Finished(NamedTuple):
    """How a command ended."""

    code: int
    stdout: str
    stderr: str


async def run(
    *command: str,
    stdin: str = "",
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 60.0,
) -> Finished:
    """Run a command to its end."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, stdin=pipe, stdout=pipe, stderr=pipe, cwd=cwd, env=env
    )
    try:
        async with asyncio.timeout(timeout):
            out, err = await process.communicate(stdin.encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Finished(process.returncode, out.decode(), err.decode())


async def gateway(
    *arguments: str, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> Finished:
    """Run a command of the gateway to its end."""
    return await run(*_gateway(arguments), cwd=cwd, env=_clean(env), timeout=STOP_S)


def _gateway(arguments: tuple[str, ...]) -> tuple[str, ...]:
    return sys.executable, "-m", "gateway", *arguments


def _clean(extra: Mapping[str, str] | None) -> dict[str, str]:
    """Return an environment that configures nothing but what the test says."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    return {"PATH": os.defpath, **kept, **(extra or {})}


class Running:
    """A command of the gateway that runs until it is told to stop.

    Use it as a context: at its end the process is gone, and after a failure its output is shown.

    :param log: file that takes what the process prints.
    :param program: another one than the gateway, which takes the same arguments.
    """

    def __init__(
        self,
        *arguments: str,
        log: Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        program: Path | None = None,
    ) -> None:
        command = (sys.executable, str(program), *arguments) if program else _gateway(arguments)
        self._command = command
        self._arguments = arguments
        self._log = log
        self._cwd = cwd
        self._env = _clean(env)
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        await self.end(signal.SIGKILL)
        if kind is not None:
            print(f"--- gateway {' '.join(self._arguments)}\n{self.output()}")

    async def start(self) -> None:
        """Start it; does not wait for anything."""
        with self._log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._cwd,
                env=self._env,
            )

    def output(self) -> str:
        """Return what it has printed."""
        return self._log.read_text(errors="replace")

    async def ended(self) -> int:
        """Wait until it ends by itself; return the exit code."""
        async with asyncio.timeout(STOP_S):
            return await self._alive().wait()

    async def printed(self, pattern: str) -> re.Match[str]:
        """Return the match of a pattern as soon as it has been printed."""

        def find() -> re.Match[str] | None:
            found = re.search(pattern, self.output())
            assert found or self._alive().returncode is None, f"it ended:\n{self.output()}"
            return found

        return await wait_for(find, START_S)

    def workers(self) -> list[int]:
        """Return the processes of its workers."""
        pid = self._alive().pid
        return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))

    def memory(self) -> dict[str, int]:
        """Return its resident memory now and at most, ``VmRSS`` and ``VmHWM``, in bytes.

        It is that of all its processes; what they share counts in each.
        """
        sums = dict.fromkeys(("VmRSS", "VmHWM"), 0)
        for pid in (self._alive().pid, *self.workers()):
            status = Path(f"/proc/{pid}/status").read_text()
            for name, kilobytes in re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB", status, re.MULTILINE):
                sums[name] += int(kilobytes) * 1024
        return sums

    def limit_files(self, number: int) -> None:
        """Let its workers open no more files than that from now on."""
        for pid in self.workers():
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (number, number))

    @property
    def pid(self) -> int:
        return self._alive().pid

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        process = self._alive()
        if process.returncode is None:
            process.send_signal(number)

    async def end(self, number: signal.Signals) -> int:
        """Send a signal, unless it has ended; return the exit code."""
        self.send_signal(number)
        async with asyncio.timeout(STOP_S):
            return await self._alive().wait()

    def _alive(self) -> asyncio.subprocess.Process:
        assert self._process is not None, "not started"
        return self._process


class GatewayProcess:
    """``gateway run --config FILE`` with one destination, which may be killed and started again.

    Each start takes the same ports, so that clients can go on.

    :param directory: for the configuration, the spool and what the processes print.
    :param base_url: of the destination.
    :param batch_records: small values make many requests to the destination.
    :param server: members of ``[server]``, all of them numbers.
    :param program: another one than the gateway, which takes the same arguments.
    :param env: variables for the process.
    """

    def __init__(
        self,
        directory: Path,
        base_url: str,
        *,
        batch_records: int = 2000,
        shutdown_timeout_s: float = 10.0,
        server: Mapping[str, float] = MappingProxyType({}),
        program: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = directory
        self._server = server
        self._process_env = env
        self.url = ""
        self.admin_url = ""
        self._base_url = base_url
        self._batch_records = batch_records
        self._shutdown_timeout_s = shutdown_timeout_s
        self._program = program
        self.ports = (lasting_port(), lasting_port())
        self._starts = 0
        self._running: Running | None = None

    async def __aenter__(self) -> Self:
        try:
            await self.restart()
        except BaseException as error:
            await self.__aexit__(type(error))
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._running is not None:
            await self.end(signal.SIGKILL)
        if kind is not None:
            print(f"--- gateway run\n{self.output()[-_SHOWN:]}")

    async def restart(self) -> None:
        """Start it, again if it has ended; returns when it serves."""
        running = await self.launch()
        self.url = (await running.printed(r"SDKs send to +(https?://\S+)"))[1]
        self.admin_url = (await running.printed(r"(http://\S+)/statusz"))[1]

    async def launch(self) -> Running:
        """Start it, and do not wait until it serves."""
        assert self._running is None, "end it first"
        self._starts += 1
        self._running = Running(
            *("run", "--config", str(self.config())),
            log=self.directory / f"gateway-{self._starts}.log",
            cwd=self.directory,
            program=self._program,
            env=self._process_env,
        )
        await self._running.start()
        return self._running

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, whatever it does to it."""
        assert self._running is not None, "it does not run"
        self._running.send_signal(number)

    def send_signal_to_all(self, number: signal.Signals) -> None:
        """Send a signal to it and to its workers."""
        for pid in (self.running.pid, *self.running.workers()):
            os.kill(pid, number)

    def peak_memory(self) -> int:
        """Return the most bytes that its processes have had resident so far."""
        return self.running.memory()["VmHWM"]

    async def terminate(self) -> int:
        """Ask it to stop with SIGTERM; return the exit code."""
        return await self.end(signal.SIGTERM)

    @property
    def running(self) -> Running:
        """The process itself."""
        assert self._running is not None, "it does not run"
        return self._running

    async def kill(self) -> None:
        """End it with SIGKILL."""
        assert await self.end(signal.SIGKILL) == -signal.SIGKILL, "it had ended before"

    async def end(self, number: signal.Signals) -> int:
        """End it with a signal, unless it has ended; return the exit code."""
        assert self._running is not None, "it does not run"
        try:
            return await self._running.end(number)
        except TimeoutError:
            await self._running.end(signal.SIGKILL)
            raise
        finally:
            self._running = None

    def output(self) -> str:
        """Return what all its processes have printed."""
        paths = (self.directory / f"gateway-{start + 1}.log" for start in range(self._starts))
        logs = [path for path in paths if path.exists()]
        return "".join(log.read_text(errors="replace") for log in logs)

    async def statusz(self) -> dict[str, Any]:
        """Return what the admin port tells about it."""
        status: dict[str, Any] = json.loads(await self._admin("/statusz"))
        return status

    async def ledger(self) -> dict[str, int]:
        """Return the ledger of all destinations."""
        ledger: dict[str, int] = (await self.statusz())["ledger"]
        return ledger

    async def metrics(self) -> dict[str, float]:
        """Return the metrics by name and labels."""
        lines = (await self._admin("/metrics")).splitlines()
        samples = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in samples}

    async def _admin(self, path: str) -> str:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self.admin_url}{path}", raise_for_status=True) as response,
        ):
            return await response.text()

    async def has_accepted(self, records: int) -> bool:
        """Whether at least that many records have been accepted."""
        return (await self.ledger())["accepted"] >= records

    async def drained(self, timeout: float = 30.0) -> dict[str, int]:
        """Return the ledger as soon as nothing is pending."""

        async def settled() -> dict[str, int] | None:
            ledger = await self.ledger()
            return ledger if ledger["pending"] == 0 else None

        return await wait_for(settled, timeout)

    def config(self) -> Path:
        """Write the configuration; return its path."""
        path = self.directory / "gateway.toml"
        path.write_text(
            _CONFIG.format(
                port=self.ports[0],
                admin_port=self.ports[1],
                spool=self.directory / "spool",
                shutdown_timeout_s=self._shutdown_timeout_s,
                server="\n".join(f"{key} = {value}" for key, value in self._server.items()),
                base_url=self._base_url,
                batch_records=self._batch_records,
                write_key=WRITE_KEY,
                token=TOKEN,
            )
        )
        return path


_CONFIG = """\
[server]
port = {port}
shutdown_timeout_s = {shutdown_timeout_s}
{server}

[admin]
port = {admin_port}

[spool]
path = "{spool}"

[[sources]]
name = "sdk"
write_key = "{write_key}"

[[destinations]]
name = "mixpanel"
base_url = "{base_url}"
[destinations.delivery]
batch_records = {batch_records}
[destinations.settings]
projectToken = "{token}"
"""
