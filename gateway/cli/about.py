"""What a person should see of a configuration before trusting it with data."""

import errno
from collections.abc import Iterator
from pathlib import Path

from gateway import __version__
from gateway.config import Config
from gateway.http.sockets import lacks_host, listen

__all__ = ["busy_ports", "destinations_and_spool", "url", "version"]


def version(workers: int) -> str:
    """Return what runs."""
    return f"mixpanel-gateway {__version__}, {workers} worker{'s' if workers > 1 else ''}"


def destinations_and_spool(config: Config, *, to_sandbox: bool = False) -> Iterator[str]:
    """Yield where data goes and where it waits: the wrong region or folder is seen at once.

    :param to_sandbox: leave out where it would go.
    """
    for destination in () if to_sandbox else config.destinations:
        settings = destination.settings
        region = f"region {settings.apiRegion.name}"
        place = "base_url" if destination.base_url else region
        yield (
            f"delivers to        {destination.name}: {destination.host} ({place}), token "
            f"{settings.projectToken[:4]}…, {destination.profile}, {destination.identity} identity"
        )
    yield f"spool              {Path(config.spool.path).absolute()}"


def url(scheme: str, host: str, port: int) -> str:
    """Return a URL without a path; addresses of IPv6 stand in brackets."""
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def busy_ports(config: Config) -> Iterator[str]:
    """Yield what keeps the gateway from listening where it is to listen."""
    for key, hosts, port in (
        ("server", config.server.hosts, config.server.port),
        ("admin", (config.admin.host,), config.admin.port),
    ):
        for host in hosts:
            try:
                sockets = listen(host, port)
            except OSError as error:
                if _is_busy(error):
                    remedy = "if it is this one, all is well"
                else:
                    remedy = f"choose another {key}.host" if lacks_host(error) else "choose another"
                yield f"{key}.port: {error.strerror}; {remedy}"
            else:
                for each in sockets:
                    each.close()


def _is_busy(error: OSError) -> bool:
    return error.errno == errno.EADDRINUSE
