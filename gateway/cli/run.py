"""``gateway run``: serve."""

import asyncio
import errno
import gc

import msgspec
import typer

from gateway.app import App
from gateway.cli.common import (
    ConfigFile,
    fail,
    load_or_exit,
    log_to_stderr,
    run_async,
    say,
    until_told,
)
from gateway.config import Config
from gateway.errors import SpoolError
from gateway.sandbox import Sandbox

__all__ = ["run"]

_SANDBOX_KEY = "dev"
_SANDBOX_VARIABLES = {"MIXPANEL_PROJECT_TOKEN": "sandbox", "WRITE_KEY": _SANDBOX_KEY}
"""What --sandbox assumes where neither a file nor the environment says it."""

_HINT = "choose others with server.port and admin.port, or GATEWAY_PORT and GATEWAY_ADMIN_PORT"

_ADDRESS_ERRORS = (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES)

_NOTHING: dict[str, str] = {}


def run(
    config: ConfigFile = None,
    sandbox: bool = typer.Option(
        False,
        "--sandbox",
        help="Deliver to a Mixpanel stand-in on this machine instead of Mixpanel, from a spool of "
        "its own. Needs no token.",
    ),
    sandbox_port: int = typer.Option(8082, help="The port of the stand-in."),
) -> None:
    """Run the gateway until SIGTERM or Ctrl-C, then finish what is under way and exit with 0."""
    loaded = load_or_exit(config, _SANDBOX_VARIABLES if sandbox else _NOTHING)
    log_to_stderr()
    try:
        run_async(_serve(loaded, sandbox_port if sandbox else None))
    except SpoolError as error:
        raise fail(str(error)) from None
    except OSError as error:
        hint = f"; {_HINT}" if error.errno in _ADDRESS_ERRORS else ""
        raise fail(f"cannot start: {error.strerror or error}{hint}") from None


async def _serve(config: Config, sandbox_port: int | None) -> None:
    sandbox = None
    if sandbox_port is not None:
        sandbox = Sandbox()
        await sandbox.start("127.0.0.1", sandbox_port)
        config = _towards(sandbox.url, config)
    try:
        app = App(config)
        await app.start()
        _collect_garbage_rarely()
        _greet(app, sandbox)
        await until_told()
        say("gateway: stopping: finishing requests and delivering what is pending")
        await _stop(app)
        left = sum(ledger.pending for ledger in app.spool.ledger().values())
        say(f"gateway: stopped; {left} records wait in {config.spool.path} for the next start")
    finally:
        if sandbox is not None:
            await sandbox.stop()


def _collect_garbage_rarely() -> None:
    """Keep the garbage collector from stopping everything for long.

    With 10,000 connections a full collection takes 0.1 s, and the default thresholds start one
    whenever some thousands of them come.  What is garbage is still found while it is young.  Where
    connections come as fast as others go, a collection waits until those that came are ahead by
    some objects, and has to look at all that came meanwhile: with a first threshold of 700 it took
    20 ms, with this one it takes 2.
    """
    gc.freeze()  # what has been loaded stays
    gc.set_threshold(200, 2, 10_000)


async def _stop(app: App) -> None:
    """Stop in order; when told again, stop at once."""
    stopping = asyncio.create_task(app.stop())
    told_again = asyncio.create_task(until_told())
    await asyncio.wait((stopping, told_again), return_when=asyncio.FIRST_COMPLETED)
    told_again.cancel()
    if stopping.done():
        await stopping
        return
    say("gateway: told again: stopping at once; what is in the spool stays there")
    stopping.cancel()
    await asyncio.wait((stopping,))
    await app.stop(deliver=False)


def _towards(url: str, config: Config) -> Config:
    """Return the configuration with every destination replaced by the sandbox.

    The spool is another one: records that are meant for Mixpanel must not end up in the sandbox.
    """
    replace = msgspec.structs.replace
    return replace(
        config,
        destinations=tuple(replace(each, base_url=url) for each in config.destinations),
        spool=replace(config.spool, path=f"{config.spool.path.rstrip('/')}-sandbox"),
    )


def _greet(app: App, sandbox: Sandbox | None) -> None:
    host, port = app.config.server.host, app.ingest.port
    scheme = "https" if app.config.server.tls_cert else "http"
    admin = f"http://{app.config.admin.host}:{app.admin.port}"
    say(f"gateway: SDKs send to       {scheme}://{host}:{port}")
    say(f"gateway: health and ledger  {admin}/statusz")
    if sandbox is None:
        return
    key = app.config.sources[0].write_key.reveal() if len(app.config.sources) == 1 else "KEY"
    key = key if key == _SANDBOX_KEY else "YOUR_WRITE_KEY"
    say(f"gateway: Mixpanel stand-in  {sandbox.url}  (nothing leaves this machine)")
    say("")
    say("Try it:")
    say(f"  curl -u {key}: {scheme}://{host}:{port}/v1/track \\")
    say('    -d \'{"event": "Signed Up", "userId": "u1", "properties": {"plan": "pro"}}\'')
    say(f"  curl {sandbox.url}/records")
