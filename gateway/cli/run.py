"""``gateway run``: serve."""

import asyncio
import errno
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from gateway.cli.about import destinations_and_spool, url, version
from gateway.cli.common import fail, say
from gateway.cli.configuration import TO_RUN, load_or_exit
from gateway.config import Config, load
from gateway.errors import ConfigError, SpoolError
from gateway.http.sockets import lacks_host, unusable
from gateway.http.tls import CertificateError
from gateway.output import detach_output, finish_output
from gateway.process import (
    collect_garbage_by_time,
    log_to_stderr,
    run_async,
)
from gateway.sandbox import Sandbox
from gateway.signals import Signals
from gateway.workers import CannotStart, Child, Supervisor, fork_children, usable_cores

__all__ = ["serve"]

_log = logging.getLogger(__name__)

_SANDBOX_KEY = "dev"
_SANDBOX_PROJECT = "sandbox"
_SANDBOX_VARIABLES = {"MIXPANEL_PROJECT_TOKEN": _SANDBOX_PROJECT, "WRITE_KEY": _SANDBOX_KEY}
"""What --sandbox assumes where neither a file nor the environment says it."""

_PORTS_OF_FILE = "choose another"
_PORTS_OF_VARIABLES = "choose another with GATEWAY_PORT or GATEWAY_ADMIN_PORT"

_HOSTS_OF_FILE = "choose another server.host or admin.host"
_HOSTS_OF_VARIABLES = "choose another with GATEWAY_HOST or GATEWAY_ADMIN_HOST"

_PORT_ERRORS = (errno.EADDRINUSE, errno.EACCES)

_FIXED: Mapping[str, Callable[[Config], Any]] = {
    "server.host": lambda config: config.server.host,
    "server.port": lambda config: config.server.port,
    "server.workers": lambda config: config.server.workers,
    "admin": lambda config: config.admin,
    "spool.path": lambda config: config.spool.path,
}
"""What belongs to all workers together, and so outlives each of them."""

_NOTHING: dict[str, str] = {}


def serve(path: Path | None, sandbox_port: int | None) -> None:
    """Run the gateway until it is told to stop.

    :param path: of the configuration.
    :param sandbox_port: of a stand-in to deliver to in place of Mixpanel; None for Mixpanel.
    """
    detach_output()
    fallback = _NOTHING if sandbox_port is None else _SANDBOX_VARIABLES
    loaded = load_or_exit(path, fallback, checks=TO_RUN)
    finish_output()  # which leaves no thread behind
    workers = loaded.server.workers or usable_cores()
    children = fork_children(workers)
    log_to_stderr()

    def read() -> Config:
        return load(path, fallback=fallback, checks=TO_RUN)

    try:
        run_async(_serve(loaded, read, workers, children, sandbox_port))
    except (SpoolError, CannotStart, CertificateError) as error:
        raise fail(str(error)) from None
    except OSError as error:
        hint = ""
        if lacks_host(error):
            hint = f"; {_HOSTS_OF_FILE if path else _HOSTS_OF_VARIABLES}"
        elif error.errno in _PORT_ERRORS:
            hint = f"; {_PORTS_OF_FILE if path else _PORTS_OF_VARIABLES}"
        raise fail(f"cannot start: {error.strerror or error}{hint}") from None


async def _serve(
    config: Config,
    read: Callable[[], Config],
    workers: int,
    children: Sequence[Child],
    sandbox_port: int | None,
) -> None:
    told = Signals(reloads=True)
    sandbox = None
    if sandbox_port is not None:
        sandbox = Sandbox()
        try:
            await sandbox.start("127.0.0.1", sandbox_port)
        except OSError as error:
            raise CannotStart(
                f"cannot start: the stand-in: {unusable('127.0.0.1', sandbox_port, error)}; choose "
                "another with --sandbox-port"
            ) from None
        config = _towards(sandbox, config)
    try:
        supervisor = Supervisor(config, workers, children=children)
        try:
            has_started = await told.has_started(supervisor.start())
        except OSError as error:
            raise _shared(error, config, sandbox_port) or error from None
        if not has_started:
            say("gateway: stopped before it had started")
            return
        collect_garbage_by_time()
        _greet(config, supervisor.port, supervisor.admin.port, workers, sandbox)
        reloading = asyncio.create_task(
            _reload_when_told(told, lambda: _towards(sandbox, read()), supervisor)
        )
        await told.until_stop()
        reloading.cancel()
        say("gateway: stopping: finishing requests and delivering what is pending")
        await told.stop_in_order(supervisor.stop(), lambda: _at_once(supervisor.stop_now()))
        left = (
            "what is pending waits"
            if supervisor.left is None
            else (f"{supervisor.left} records wait")
        )
        say(f"gateway: stopped; {left} in {config.spool.path} for the next start")
    finally:
        if sandbox is not None:
            await sandbox.stop()


def _shared(error: OSError, config: Config, sandbox_port: int | None) -> CannotStart | None:
    """Return what to say where the stand-in is the one that has taken a port."""
    for name, port in (("server", config.server.port), ("admin", config.admin.port)):
        if port == sandbox_port and (error.strerror or "").startswith(f"{name}.port: "):
            return CannotStart(
                f"cannot start: {name}.port and --sandbox-port are both {port}: choose another for "
                "one of them"
            )
    return None


async def _at_once(stop: Awaitable[None]) -> None:
    say("gateway: told again: stopping at once; what is in the spool stays there")
    await stop


async def _reload_when_told(
    told: Signals, read: Callable[[], Config], supervisor: Supervisor
) -> None:
    while True:
        await told.reload.wait()
        told.reload.clear()
        try:
            await _reload(read, supervisor)
        except (ConfigError, CannotStart, OSError) as error:
            problems = error.problems if isinstance(error, ConfigError) else [str(error)]
            supervisor.refuse_reload()
            _log.error("not reloaded; nothing has changed: %s", "; ".join(problems))


async def _reload(read: Callable[[], Config], supervisor: Supervisor) -> None:
    config = read()
    fixed = [name for name, of in _FIXED.items() if of(config) != of(supervisor.config)]
    if fixed:
        raise ConfigError([f"{', '.join(fixed)} can only change with a restart"])
    _log.info("replacing the workers one by one")
    await supervisor.reload(config)
    _log.info("all workers run with the new configuration")


def _towards(sandbox: Sandbox | None, config: Config) -> Config:
    """Return the configuration with every destination replaced by the sandbox, if there is one.

    The spool is another one: records that are meant for Mixpanel must not end up in the sandbox.
    """
    if sandbox is None:
        return config
    replace = msgspec.structs.replace
    return replace(
        config,
        destinations=tuple(replace(each, base_url=sandbox.url) for each in config.destinations),
        spool=replace(config.spool, path=f"{config.spool.path.rstrip('/')}-sandbox"),
    )


def _greet(
    config: Config, port: int, admin_port: int, workers: int, sandbox: Sandbox | None
) -> None:
    scheme = "https" if config.server.tls_cert else "http"
    first, *others = (url(scheme, host, port) for host in config.server.hosts)
    admin = url("http", config.admin.host, admin_port)
    say(f"gateway: {version(workers)}")
    say(f"gateway: SDKs send to       {first}")
    for other in others:
        say(f"gateway:                    {other}")
    say(f"gateway: health and ledger  {admin}/statusz")
    for line in destinations_and_spool(config, to_sandbox=sandbox is not None):
        say(f"gateway: {line}")
    if sandbox is None:
        return
    key = config.sources[0].write_key.reveal() if len(config.sources) == 1 else "KEY"
    key = key if key == _SANDBOX_KEY else "YOUR_WRITE_KEY"
    say(f"gateway: Mixpanel stand-in  {sandbox.url}  (nothing leaves this machine)")
    if config.destinations[0].settings.projectToken == _SANDBOX_PROJECT:
        say(f"gateway: its project token  {_SANDBOX_PROJECT}  (for Mixpanel's own SDKs)")
    say("")
    say("Try it:")
    say(f"  curl -u {key}: {first}/v1/track \\")
    say('    -d \'{"event": "Signed Up", "userId": "u1", "properties": {"plan": "pro"}}\'')
    say(f"  curl '{sandbox.url}/records?pretty'")
