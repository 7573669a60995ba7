"""One request while it is answered, and what its route may work with."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.config import Config, IpPolicy, SourceConfig
from gateway.events import Received
from gateway.events.mixpanel import EndpointName, NativeRecord, RequestVerdict
from gateway.http.body import Bodies
from gateway.http.client_address import ClientAddress
from gateway.http.memory_budget import MemoryLease
from gateway.http.request import AnyRequest
from gateway.ingest.auth import Sources, key_in_request
from gateway.ingest.browser_bundle import BrowserBundle
from gateway.ingest.projects import Projects
from gateway.ingest.rates import Rates
from gateway.ingest.reverse_proxy import ReverseProxy
from gateway.notices import Notices
from gateway.telemetry import Telemetry

__all__ = ["Accept", "AcceptRecords", "RequestContext", "Services"]


class Accept(Protocol):
    """Makes events durable; see ``gateway.pipeline.Pipeline.accept``."""

    def __call__(
        self,
        source: SourceConfig,
        received: Received,
        *,
        default_type: str | None,
        client_ip: str | None,
        user_agent: str | None,
        is_retry: bool,
        sender: str,
        hold: Callable[[int], bool],
        ip: IpPolicy,
    ) -> Awaitable[None]:
        """Begin; the result arrives when the events are on disk.

        :param hold: asks for the room that the records take in place of the body.
        :param ip: what the client itself wants to be kept of the user's address.
        """
        ...


class AcceptRecords(Protocol):
    """Makes records durable; see ``gateway.pipeline.Pipeline.accept_records``."""

    async def __call__(
        self,
        endpoint: EndpointName,
        records: Sequence[NativeRecord],
        *,
        client_ip: str | None,
        destination: str | None,
        hold: Callable[[int], bool],
    ) -> RequestVerdict:
        """Return when the records are on disk, and which of them are not taken."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What the routes of all families share."""

    config: Config
    sources: Sources
    address: ClientAddress
    bodies: Bodies
    imports: Bodies
    bundle: BrowserBundle
    accept: Accept
    accept_records: AcceptRecords
    is_healthy: Callable[[], Awaitable[bool]]
    projects: Projects
    rates: Rates
    reverse_proxy: ReverseProxy
    telemetry: Telemetry
    notices: Notices


class RequestContext:
    """One request.

    :param family: whose SDK sent it, as far as that is known.
    :param params: what stands in the path where the route's pattern has names in braces.
    :param lease: holds what the request takes of the memory for all of them.
    """

    __slots__ = ("family", "lease", "params", "request", "services")

    def __init__(
        self,
        request: AnyRequest,
        family: str,
        params: Mapping[str, str],
        services: Services,
        lease: MemoryLease,
    ) -> None:
        self.request = request
        self.family = family
        self.params = params
        self.services = services
        self.lease = lease

    def key(self) -> str | None:
        """Return the write key of the headers or the query, None when there is none."""
        return key_in_request(self.request, self.services.sources.know)

    async def body(self) -> bytes:
        """Read the body, inflated where the client compressed it.  Only once.

        :raises RequestError: (400) too large, cut off or not readable; (503) too slow, or no room.
        """
        return await self.services.bodies.read(self.request, self.lease)

    async def import_body(self) -> bytes:
        """Read the body of a request to /import, which may be larger; as ``body``."""
        return await self.services.imports.read(self.request, self.lease)

    def client_ip(self) -> str | None:
        """Return the address that the request came from, past the proxies that are trusted."""
        return self.services.address.of(self.request)
