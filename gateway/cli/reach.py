"""How commands reach what a gateway keeps: a running one's admin port, else the spools."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import aiohttp
import msgspec

from gateway.cli.admin_port import AdminPort
from gateway.cli.common import Failed, fail
from gateway.cli.configuration import load_or_exit
from gateway.cli.options import Where
from gateway.clock import SystemClock
from gateway.config import AdminConfig, Config, load
from gateway.errors import ConfigError, SpoolError, SpoolLocked
from gateway.spool.backends import numbers_left, spool_of
from gateway.spool.base import Spool
from gateway.telemetry import Telemetry
from gateway.workers import usable_cores
from gateway.workers.shares import share_of

__all__ = ["Way", "reach"]

_TIMEOUT = aiohttp.ClientTimeout(total=120, sock_connect=5)
_PLACEHOLDERS = {"MIXPANEL_PROJECT_TOKEN": "none", "WRITE_KEY": "none"}

_T = TypeVar("_T")


class _Status(msgspec.Struct):
    """What ``/statusz`` says, as far as it is of concern here."""

    destinations: dict[str, msgspec.Raw]


@dataclass(frozen=True, slots=True, kw_only=True)
class Way(Generic[_T]):
    """What a command works on, for each way to reach it.

    :param path: of the admin port's pages about it.
    :param things: what it is, for people.
    :param alone: of a gateway with one process.
    :param together: of one with several, by the numbers of their spools.
    :param directly: of spools that nobody else has open, by their numbers.
    """

    path: str
    things: str
    alone: Callable[[AdminPort], _T]
    together: Callable[[Mapping[int, AdminPort]], Awaitable[_T]]
    directly: Callable[[Config, Mapping[int, Spool]], _T]


@asynccontextmanager
async def reach(
    where: Where, way: Way[_T], *, destination: str | None = None
) -> AsyncIterator[tuple[_T, str]]:
    """Give what a command works on, and a text that says where that is.

    :param destination: that the command is about, None for all.
    :raises Failed: it cannot be reached, something about it could not be done, or there is no such
        destination and never was.
    """
    config, is_whole = _configuration(where)
    token = where.token or (config.admin.token.reveal() if config.admin.token else None)
    url = _with_scheme(where.admin or _address(config.admin)).rstrip("/")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    # A person may think longer about a question than a gateway keeps a connection open.
    connector = aiohttp.TCPConnector(force_close=True)
    try:
        async with aiohttp.ClientSession(
            connector=connector, timeout=_TIMEOUT, headers=headers
        ) as session:
            if await _answers(session, url):
                if destination is not None:
                    _check_destination(destination, await _destinations(session, url))
                yield await _over_http(session, url, way), f"the gateway at {url}"
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
    async with _directly(config, url, way, destination) as (found, text):
        yield found, text


async def _over_http(session: aiohttp.ClientSession, url: str, way: Way[_T]) -> _T:
    def port(url: str) -> AdminPort:
        return AdminPort(session, url, path=way.path, things=way.things)

    async with session.get(f"{url}/workers") as response:
        if response.status != 200:
            return way.alone(port(url))
        numbers = msgspec.json.decode(await response.read(), type=dict[str, int])
    return await way.together(
        {number: port(f"{url}/workers/{name}") for name, number in numbers.items()}
    )


@asynccontextmanager
async def _directly(
    config: Config, url: str, way: Way[_T], destination: str | None
) -> AsyncIterator[tuple[_T, str]]:
    """Open the spools, as a gateway that neither listens nor delivers."""
    clock, telemetry = SystemClock(), Telemetry()
    share = share_of(config, config.server.workers or usable_cores())
    spools = {
        number: spool_of(share, clock, telemetry, number=number) for number in _numbers(config)
    }
    if not spools:
        raise Failed(
            f"no gateway answers at {url}, and there is no spool in {config.spool.path}: nothing "
            "was kept there; check spool.path"
        )
    async with AsyncExitStack() as opened:
        for spool in spools.values():
            try:
                await spool.open()
            except SpoolLocked:
                raise Failed(
                    f"a gateway has the spool {spool.place} open, but its admin port does not "
                    f"answer at {url}: give its address with --admin, or stop that gateway"
                ) from None
            except SpoolError as error:
                raise Failed(str(error)) from None
            opened.push_async_callback(spool.close)
        if destination is not None:
            known = {each.name for each in config.destinations}
            _check_destination(
                destination, known.union(*(each.ledger() for each in spools.values()))
            )
        paths = ", ".join(spool.place for spool in spools.values())
        try:
            yield way.directly(config, spools), f"the spool {paths}; no gateway runs"
        except SpoolError as error:
            raise Failed(str(error)) from None


def _numbers(config: Config) -> list[int]:
    try:
        return numbers_left(config)
    except SpoolError as error:
        raise Failed(str(error)) from None


def _configuration(where: Where) -> tuple[Config, bool]:
    """Return the configuration, and whether it is one; else it only tells the usual address."""
    if where.config is not None:
        return load_or_exit(where.config, warn=False), True
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


def _with_scheme(address: str) -> str:
    """Return an address of which the scheme may be left out."""
    return address if "://" in address else f"http://{address}"


async def _destinations(session: aiohttp.ClientSession, url: str) -> Collection[str]:
    """Return the destinations that a gateway has or had; none where it does not tell."""
    async with session.get(f"{url}/statusz") as response:
        answer = await response.read()
    try:
        return msgspec.json.decode(answer, type=_Status).destinations
    except msgspec.DecodeError:
        return ()  # as without the token: the command itself says why


def _check_destination(name: str, known: Collection[str]) -> None:
    """Raise Failed where nothing can be found only because a name is wrong."""
    if known and name not in known:
        raise Failed(
            f"--destination: none is called {name!r}; there are: {', '.join(sorted(known))}"
        )


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
