"""The configuration's tables: each key with its type, its bounds and its default."""

import enum
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

__all__ = [
    "Action",
    "AdminConfig",
    "Backend",
    "BaseUrl",
    "Config",
    "DeliveryConfig",
    "DestinationConfig",
    "DestinationSettings",
    "EventName",
    "EventPattern",
    "Hosts",
    "IpPolicy",
    "MixpanelSdksConfig",
    "Name",
    "Network",
    "PageOrigin",
    "PathPrefix",
    "ProjectToken",
    "PropertyPath",
    "ProxyConfig",
    "ProxyHeader",
    "PublicHost",
    "Region",
    "Secret",
    "ServerConfig",
    "ServiceAccount",
    "SharedDeliveryConfig",
    "SourceConfig",
    "Sources",
    "SpoolConfig",
    "StrictMode",
    "SubscriptionConfig",
    "by_token",
]


class Secret:
    """A string that never shows itself; ``reveal()`` is the only way to read it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the secret itself, for the one place that sends or compares it."""
        return self._value

    def __repr__(self) -> str:
        return "Secret('***')"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


class Region(enum.Enum):
    """Where a Mixpanel project keeps its data; the value is the ingestion host."""

    US = "https://api.mixpanel.com"
    EU = "https://api-eu.mixpanel.com"
    IN = "https://api-in.mixpanel.com"


# What a field accepts.  Plain strings mark the kinds that ``values`` knows how to read.
NonEmpty = Annotated[str, Meta(min_length=1)]
Port = Annotated[int, Meta(ge=0, le=65535)]
Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[float, Meta(gt=0)]
Name = Annotated[str, "name"]
Network = Annotated[str, "network"]
Hosts = Annotated[str | tuple[str, ...], "hosts"]
BaseUrl = Annotated[str, "base url"]
PathPrefix = Annotated[str, "path prefix"]
PublicHost = Annotated[str, "public host"]
ProjectToken = Annotated[str, "project token"]
EventName = Annotated[str, "event name"]
EventPattern = Annotated[str, "event pattern"]
PageOrigin = Annotated[str, "page origin"]
PropertyPath = Annotated[str, "property path"]
Share = Annotated[float, Meta(gt=0, le=1)]
IpPolicy = Literal["keep", "truncate", "drop"]
ProxyHeader = Literal["X-Forwarded-For", "Forwarded", "X-Real-IP"]
Sources = Annotated[dict[str, Any], "sources of fields"]
StrictMode = Literal["0", "1"]
Backend = Literal["sqlite", "kafka"]
Action = Literal[
    "trackEvent",
    "trackPurchase",
    "identifyUser",
    "groupIdentifyUser",
    "alias",
    "incrementProperties",
]


_MIXPANELS_IMPORT = 10 * 1024 * 1024


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the configuration file."""


class ServerConfig(_Section, frozen=True, kw_only=True):
    """``[server]``: the port that SDKs talk to."""

    host: Hosts = "127.0.0.1"
    port: Port = 8080
    workers: Annotated[int, Meta(ge=0, le=256)] = 1  # 0: one for each core
    worker_timeout_s: Annotated[float, Meta(ge=1)] = 10.0  # one that is silent for longer hangs
    max_body_bytes: Annotated[int, Meta(ge=1024)] = 4 * 1024 * 1024  # also after inflating
    max_import_bytes: Annotated[int, Meta(ge=1024)] | None = None  # likewise, of Mixpanel's /import
    max_bytes_in_flight: Annotated[int, Meta(ge=4096)] = 64 * 1024 * 1024  # of all requests
    max_header_bytes: Annotated[int, Meta(ge=1024, le=1024**2)] = 32 * 1024  # or the first line
    max_head_bytes: Annotated[int, Meta(ge=4096, le=1024**2)] = 48 * 1024  # both together
    max_connections: Count = 0  # 0: as many as the system's limit of open files allows
    header_timeout_s: Positive = 10.0
    keepalive_timeout: Positive = 75.0  # seconds; SDKs flush up to 60 s apart
    body_timeout_s: Positive = 20.0
    min_body_bytes_per_s: Count = 240
    shutdown_timeout_s: Positive = 10.0
    trusted_proxies: tuple[Network, ...] = ()  # networks, as in "10.0.0.0/8"
    proxy_headers: tuple[ProxyHeader, ...] = ("X-Forwarded-For", "Forwarded", "X-Real-IP")
    path_prefix: PathPrefix = ""  # under which everything is served, too; as in "/collect"
    neutral_paths: bool = False  # whether paths have other names, which no ad blocker lists
    public_host: PublicHost | None = None  # by which SDKs reach it; None: what they call it
    default_source: Name | None = None  # of events whose SDK sends no key
    browser_bundle: NonEmpty | None = None  # folder with the scripts of analytics.js
    tls_cert: NonEmpty | None = None
    tls_key: NonEmpty | None = None
    redirect_origins: tuple[PageOrigin, ...] = ()  # where links through the gateway may lead

    @property
    def import_bytes(self) -> int:
        """The largest body of /import: as Mixpanel takes it, where the memory allows that."""
        if self.max_import_bytes is not None:
            return self.max_import_bytes
        return max(self.max_body_bytes, min(_MIXPANELS_IMPORT, self.max_bytes_in_flight // 4))

    @property
    def hosts(self) -> tuple[str, ...]:
        """What ``host`` names, be it one or several."""
        return (self.host,) if isinstance(self.host, str) else self.host


class AdminConfig(_Section, frozen=True, kw_only=True):
    """``[admin]``: the port that operators talk to."""

    host: NonEmpty = "127.0.0.1"
    port: Port = 8081
    token: Secret | None = None


class SpoolConfig(_Section, frozen=True, kw_only=True):
    """``[spool]``: where records wait until they are delivered."""

    backend: Backend = "sqlite"
    path: NonEmpty = "./spool"
    max_bytes: Annotated[int, Meta(ge=1)] = 10 * 1024**3
    min_free_bytes: Count = 256 * 1024**2
    dead_letter_max_bytes: Annotated[int, Meta(ge=1)] = 1024**3
    dead_letter_max_age_days: Positive = 90.0


class SourceConfig(_Section, frozen=True, kw_only=True):
    """One of ``[[sources]]``: who may send, where it goes, and what is taken of it."""

    name: Name
    write_key: Secret
    destinations: tuple[str, ...] = ()  # empty: every destination
    # The rest is applied before anything is stored; see gateway.policy.
    ip: IpPolicy = "keep"
    allowed_origins: tuple[PageOrigin, ...] = ()  # of pages; empty: every one
    allowed_events: tuple[EventPattern, ...] = ()  # names of track events; empty: every one
    denied_events: tuple[EventPattern, ...] = ()
    denied_properties: tuple[PropertyPath, ...] = ()
    sample_rate: Share = 1.0  # of users
    anonymous_only: bool = False
    max_events_per_second: Positive | None = None
    max_requests_per_second: Positive | None = None


class ServiceAccount(_Section, frozen=True, kw_only=True):
    """``serviceAccount``: Mixpanel's credentials for /import."""

    username: NonEmpty
    secret: Secret
    projectId: NonEmpty


class DestinationSettings(_Section, frozen=True, kw_only=True):
    """``[destinations.settings]``: the specification's own names."""

    projectToken: ProjectToken
    apiSecret: Secret | None = None
    apiRegion: Region = Region.US
    sourceName: str = ""
    strictMode: StrictMode = "1"
    serviceAccount: ServiceAccount | None = None
    groupKey: str = ""

    def credentials(self) -> tuple[str, str, str | None]:
        """Return user name, password and project id for /import.

        A service account comes first, then the project secret, then the project token.
        """
        if self.serviceAccount is not None:
            account = self.serviceAccount
            return account.username, account.secret.reveal(), account.projectId
        if self.apiSecret is not None:
            return self.apiSecret.reveal(), "", None
        return self.projectToken, "", None


class DeliveryConfig(_Section, frozen=True, kw_only=True):
    """``[destinations.delivery]``: how fast, and how many at once.

    The defaults are Mixpanel's documented limits for one project.
    """

    records_per_second: Positive = 30_000.0
    bytes_per_minute: Positive = 2 * 1024**3
    batch_records: Annotated[int, Meta(ge=1, le=2000)] = 2000
    batch_bytes: Annotated[int, Meta(ge=1024, le=10 * 1024**2)] = 2 * 1024 * 1024
    connections: Annotated[int, Meta(ge=1, le=100)] = 10  # at most, for each endpoint
    request_timeout_s: Positive = 60.0
    proxy: BaseUrl | None = None  # on the way there; None: what HTTPS_PROXY and NO_PROXY say


class SharedDeliveryConfig(_Section, frozen=True, kw_only=True):
    """``[delivery]``: what all destinations share."""

    max_memory_bytes: Annotated[int, Meta(ge=1024**2)] = 64 * 1024**2  # of batches under way


class SubscriptionConfig(_Section, frozen=True, kw_only=True):
    """One of ``[[destinations.subscriptions]]``: which events, and what is made of them."""

    name: str = ""  # that of a preset: instead of it
    subscribe: NonEmpty
    action: Action
    mapping: Sources = {}
    enabled: bool = True
    sources: tuple[str, ...] = ()  # empty: every source


class MixpanelSdksConfig(_Section, frozen=True, kw_only=True):
    """``[destinations.mixpanel_sdks]``: what Mixpanel's own SDKs send, by the project's token."""

    enabled: bool = True
    ip: IpPolicy = "keep"  # as for sources
    api_key: Secret | None = None  # that old programs send to /import
    max_events_per_second: Positive | None = None
    max_requests_per_second: Positive | None = None


class DestinationConfig(_Section, frozen=True, kw_only=True):
    """One of ``[[destinations]]``."""

    name: Name = ""  # left out: "mixpanel", "mixpanel-2" and so on
    settings: DestinationSettings
    type: Literal["mixpanel"] = "mixpanel"
    profile: Literal["syft", "segment"] = "syft"
    identity: Literal["original", "simplified"] = "original"
    identify_event: EventName = "Identify"  # what links ids where identity is simplified
    presets: bool = True  # whether the profile's own subscriptions apply
    subscriptions: tuple[SubscriptionConfig, ...] = ()
    base_url: BaseUrl | None = None  # instead of the region's host
    mixpanel_sdks: MixpanelSdksConfig = MixpanelSdksConfig()
    delivery: DeliveryConfig = DeliveryConfig()

    @property
    def host(self) -> str:
        """The URL that the paths of Mixpanel's API are added to."""
        return (self.base_url or self.settings.apiRegion.value).rstrip("/")


def by_token(destinations: Sequence[DestinationConfig]) -> dict[str, DestinationConfig]:
    """Return where records of Mixpanel's SDKs go, by the project token that they name.

    Of several destinations with one token it is the first that takes such records.
    """
    return {
        each.settings.projectToken: each
        for each in reversed(destinations)
        if each.mixpanel_sdks.enabled
    }


class ProxyConfig(_Section, frozen=True, kw_only=True):
    """``[proxy]``: what Mixpanel's own SDKs ask Mixpanel for, beside sending events."""

    enabled: bool = True
    requests: Annotated[int, Meta(ge=1, le=10_000)] = 64  # at once
    timeout_s: Positive = 30.0
    max_body_bytes: Annotated[int, Meta(ge=1024)] = 10 * 1024**2  # of a request and of an answer
    cdn_url: BaseUrl = "https://cdn.mxpnl.com"  # where the library for browsers is


class Config(_Section, frozen=True, kw_only=True):
    """The whole configuration."""

    sources: tuple[SourceConfig, ...]
    destinations: tuple[DestinationConfig, ...]
    server: ServerConfig = ServerConfig()
    admin: AdminConfig = AdminConfig()
    spool: SpoolConfig = SpoolConfig()
    delivery: SharedDeliveryConfig = SharedDeliveryConfig()
    proxy: ProxyConfig = ProxyConfig()
