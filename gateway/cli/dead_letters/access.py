"""How the commands reach dead letters: a running gateway's admin port, else the spools."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import aiohttp
import msgspec

from gateway.app import dead_letters_of, spool_of
from gateway.cli.common import fail, load_or_exit
from gateway.cli.dead_letters.over_http import Failed, OverHttp
from gateway.cli.dead_letters.several import SeveralOverHttp
from gateway.clock import SystemClock
from gateway.config import AdminConfig, Config, load
from gateway.dead_letters import DeadLetters
from gateway.errors import ConfigError, SpoolError, SpoolLocked
from gateway.spool.files import numbers_in
from gateway.spool.several_letters import SeveralDeadLetters
from gateway.telemetry import Telemetry

__all__ = ["Access", "Failed", "Where", "access"]

_TIMEOUT = aiohttp.ClientTimeout(total=120, sock_connect=5)
_FIRST_TIMEOUT = aiohttp.ClientTimeout(total=5)
_PLACEHOLDERS = {"MIXPANEL_PROJECT_TOKEN": "none", "WRITE_KEY": "none"}


class Where(msgspec.Struct, frozen=True):
    """What the command line says about where the dead letters are."""

    config: Path | None
    admin: str | None
    token: str | None


Access: TypeAlias = DeadLetters | OverHttp | SeveralOverHttp


@asynccontextmanager
async def access(where: Where) -> AsyncIterator[tuple[Access, str]]:
    """Give the dead letters, and a text that says where they are.

    :raises Failed: they cannot be reached, or something about them could not be done.
    """
    config, is_whole = _configuration(where)
    token = where.token or (config.admin.token.reveal() if config.admin.token else None)
    url = (where.admin or _address(config.admin)).rstrip("/")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    # A person may think longer about a question than a gateway keeps a connection open.
    connector = aiohttp.TCPConnector(force_close=True)
    try:
        async with aiohttp.ClientSession(
            connector=connector, timeout=_TIMEOUT, headers=headers
        ) as session:
            if await _answers(session, url):
                yield await _over_http(session, url), f"the gateway at {url}"
                return
    except (aiohttp.ClientError, TimeoutError) as error:
        text = str(error) or type(error).__name__
        raise Failed(
            f"the gateway at {url} stopped answering ({text}); what is done is done, and the same "
            "command again does the rest"
        ) from None
    if where.admin is not None:
        raise Failed(
            f"no gateway answers at {url}: check --admin, or leave it out and give --config"
        )
    if not is_whole:
        raise Failed(
            f"no gateway answers at {url}: name its admin port with --admin URL, or its "
            "configuration with --config FILE"
        )
    async with _directly(config, url) as (letters, text):
        yield letters, text


async def _over_http(session: aiohttp.ClientSession, url: str) -> Access:
    gateway = OverHttp(session, url)
    numbers = await gateway.workers()
    if not numbers:
        return gateway
    several = SeveralOverHttp(
        {number: OverHttp(session, f"{url}/workers/{name}") for name, number in numbers.items()}
    )
    await several.look()
    return several


@asynccontextmanager
async def _directly(config: Config, url: str) -> AsyncIterator[tuple[Access, str]]:
    """Open the spools, as a gateway that neither listens nor delivers."""
    clock, telemetry = SystemClock(), Telemetry()
    directory = Path(config.spool.path)
    spools = {
        number: spool_of(config, clock, telemetry, number=number) for number in _numbers(directory)
    }
    if not spools:
        raise Failed(
            f"no gateway answers at {url}, and there is no spool in {directory}: nothing was kept "
            "there; check spool.path"
        )
    async with AsyncExitStack() as opened:
        for spool in spools.values():
            try:
                await spool.open()
            except SpoolLocked:
                raise Failed(
                    f"a gateway has the spool {spool.path} open, but its admin port does not "
                    f"answer at {url}: give its address with --admin, or stop that gateway"
                ) from None
            except SpoolError as error:
                raise Failed(str(error)) from None
            opened.push_async_callback(spool.close)
        letters = SeveralDeadLetters({n: spool.letters for n, spool in spools.items()})
        paths = ", ".join(str(spool.path) for spool in spools.values())
        place = f"the spool {paths}; no gateway runs"
        try:
            yield dead_letters_of(config, letters, spool.letter_limits), place
        except SpoolError as error:
            raise Failed(str(error)) from None


def _numbers(directory: Path) -> list[int]:
    try:
        return numbers_in(directory)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise Failed(f"cannot read {directory}: {error.strerror}") from None


def _configuration(where: Where) -> tuple[Config, bool]:
    """Return the configuration, and whether it is one; else it only tells the usual address."""
    if where.config is not None:
        return load_or_exit(where.config), True
    try:
        return load(None), True
    except ConfigError:
        pass
    try:
        return load(None, fallback=_PLACEHOLDERS), False
    except ConfigError as error:
        raise fail("; ".join(error.problems), 2) from None


def _address(admin: AdminConfig) -> str:
    """Return where to reach an admin port that may listen on every address."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(admin.host, admin.host)  # noqa: S104
    return f"http://[{host}]:{admin.port}" if ":" in host else f"http://{host}:{admin.port}"


async def _answers(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(f"{url}/livez"):
            return True
    except aiohttp.InvalidURL:
        raise Failed(
            f"--admin: not an address: {url}; expected e.g. http://127.0.0.1:8081"
        ) from None
    except (aiohttp.ClientConnectorError, TimeoutError):
        return False
