"""The configuration's tables: each key with its type, its bounds, its default and its meaning.

Whatever else tells of keys comes from here: the tables in the documents (``reference``), the JSON
Schema (``json_schema``), and the names of environment variables (``variables``).
"""

from collections.abc import Sequence
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from gateway.config.kinds import Doc
from gateway.config.values import (
    BaseUrl,
    Count,
    EventName,
    EventPattern,
    FieldSources,
    Hosts,
    IpPolicy,
    Name,
    Network,
    NonEmpty,
    PageOrigin,
    PathPrefix,
    Port,
    Positive,
    ProjectToken,
    PropertyPath,
    ProxyHeader,
    PublicHost,
    Region,
    RegionCode,
    SecretText,
    Share,
    StrictMode,
)

__all__ = [
    "Action",
    "AdminConfig",
    "Config",
    "DeliveryConfig",
    "DestinationConfig",
    "DestinationSettings",
    "MixpanelSdksConfig",
    "ProxyConfig",
    "ServerConfig",
    "ServiceAccount",
    "SharedDeliveryConfig",
    "SourceConfig",
    "SpoolConfig",
    "SqliteSpoolConfig",
    "SubscriptionConfig",
    "by_token",
]

Action: TypeAlias = Literal[
    "trackEvent",
    "trackPurchase",
    "identifyUser",
    "groupIdentifyUser",
    "alias",
    "incrementProperties",
]

_MIXPANELS_IMPORT = 10 * 1024 * 1024

_NO_LIMIT = "no limit"


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the configuration file."""


class ServerConfig(_Section, frozen=True, kw_only=True):
    """``[server]``: the port that SDKs talk to."""

    host: Annotated[
        Hosts,
        Doc(
            'where SDKs connect; may be a list, as in `["127.0.0.1", "::1"]`. `::` stands for '
            "every address, those of IPv4 included"
        ),
    ] = "127.0.0.1"
    port: Annotated[Port, Doc("the port that they connect to; `0` takes a free one")] = 8080
    workers: Annotated[
        int,
        Meta(ge=0, le=256),
        Doc(
            "processes that share the port; `0` starts one for each whole core that the system "
            "and the container's CPU quota allow ([more](operations.md#more-than-one-process))"
        ),
    ] = 1
    worker_timeout_s: Annotated[
        float,
        Meta(ge=1),
        Doc(
            "a worker that does not answer for so long hangs: it is ended and replaced "
            "([more](operations.md#processes))"
        ),
    ] = 10.0
    max_body_bytes: Annotated[int, Meta(ge=1024), Doc("largest body, also after inflating")] = (
        4 * 1024 * 1024
    )
    max_import_bytes: Annotated[
        Annotated[int, Meta(ge=1024)] | None,
        Doc(
            "the same for Mixpanel's `/import`; a quarter of `server.max_bytes_in_flight` where "
            "that is less. It may take longer to arrive than others in proportion",
            default="10 MiB",
        ),
    ] = None
    max_bytes_in_flight: Annotated[
        int,
        Meta(ge=4096),
        Doc(
            "what all requests together may hold until they are on disk; beyond it they get 503 "
            "before their body is read"
        ),
    ] = 64 * 1024 * 1024
    max_header_bytes: Annotated[
        int,
        Meta(ge=1024, le=1024**2),
        Doc(
            "longest header of a request, or its first line; pages of a large site have long "
            "`Cookie`s"
        ),
    ] = 32 * 1024
    max_head_bytes: Annotated[
        int,
        Meta(ge=4096, le=1024**2),
        Doc(
            "all headers and the first line together; what they take counts in "
            "`server.max_bytes_in_flight`"
        ),
    ] = 48 * 1024
    max_connections: Annotated[
        Count,
        Doc(
            "connections beyond it get 503; `0` allows as many as the limit of open files, which "
            "is raised as far as the system allows, and 16,384 at most"
        ),
    ] = 0
    header_timeout_s: Annotated[
        Positive, Doc("time from the first byte of a request to the end of its headers")
    ] = 10.0
    keepalive_timeout: Annotated[
        Positive,
        Doc(
            "how long a connection may wait for its next request, SDKs flush up to 60 s apart; "
            "more than that of a proxy in front ([more](operations.md#behind-a-proxy))"
        ),
    ] = 75.0
    body_timeout_s: Annotated[Positive, Doc("time until the last byte of a body")] = 20.0
    min_body_bytes_per_s: Annotated[
        Count, Doc("what has to arrive of a body on average after 5 s; `0` switches it off")
    ] = 240
    shutdown_timeout_s: Annotated[
        Positive, Doc("time for requests, and again for delivery, after SIGTERM")
    ] = 10.0
    trusted_proxies: Annotated[
        tuple[Network, ...],
        Doc(
            "networks of proxies that are believed when they tell the client's address, in headers "
            "or by the PROXY protocol ([more](operations.md#behind-a-proxy))"
        ),
    ] = ()
    proxy_headers: Annotated[
        tuple[ProxyHeader, ...],
        Doc(
            "what they tell it with, in this order; leave out what your proxy passes on from "
            "clients",
            default="all three",
        ),
    ] = ("X-Forwarded-For", "Forwarded", "X-Real-IP")
    path_prefix: Annotated[
        PathPrefix,
        Doc(
            "a path, as in `/collect`, under which everything is served, too; SDKs are told to "
            "send there ([more](sdks.md#under-a-path-of-a-page))"
        ),
    ] = ""
    neutral_paths: Annotated[
        bool,
        Doc(
            "`true`: paths that ad blockers list have other names, too "
            "([more](sdks.md#neutral-names))"
        ),
    ] = False
    public_host: Annotated[
        PublicHost | None,
        Doc(
            "the host that SDKs are told to send to, as in `events.example.com` or "
            "`https://events.example.com`; without it, the `Host` that they ask, or the "
            "`X-Forwarded-Host` of a trusted proxy. Without a scheme, pages are told the one that "
            "was used ([more](sdks.md#http-or-https)). What follows is `server.path_prefix`, "
            "unless this has a path of its own",
            default="what SDKs call it",
        ),
    ] = None
    default_source: Annotated[
        Name | None,
        Doc(
            "the source of events without any key, where the SDK knows none (Syft, Jitsu); with "
            "it, everybody who reaches the port may send"
        ),
    ] = None
    browser_bundle: Annotated[
        NonEmpty | None,
        Doc(
            "folder `dist/umd` of the npm package `@segment/analytics-next`, for pages with "
            "Segment's snippet (`/analytics.js/v1/KEY/analytics.min.js`); read at the start"
        ),
    ] = None
    tls_cert: Annotated[
        NonEmpty | None,
        Doc(
            "PEM file of a certificate, with those that lead to its authority, for "
            "[https](operations.md#https), which phones and pages on https insist on"
        ),
    ] = None
    tls_key: Annotated[NonEmpty | None, Doc("PEM file of its key")] = None
    redirect_origins: Annotated[
        tuple[PageOrigin, ...],
        Doc(
            "where links through the gateway (`/track?...&redirect=URL`) may lead, as in "
            "`https://*.example.com` ([more](mixpanel-sdks.md#links))"
        ),
    ] = ()

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

    host: Annotated[NonEmpty, Doc("where operators connect")] = "127.0.0.1"
    port: Annotated[Port, Doc("the port that they connect to; `0` takes a free one")] = 8081
    token: Annotated[
        SecretText | None,
        Doc("what operators have to send as `Authorization: Bearer`; without it, anyone may ask"),
    ] = None


class SqliteSpoolConfig(_Section, frozen=True, kw_only=True, tag_field="backend", tag="sqlite"):
    """``[spool]``: where records wait until they are delivered."""

    path: Annotated[NonEmpty, Doc("folder of the durable buffer; give it a disk of its own")] = (
        "./spool"
    )
    max_bytes: Annotated[
        int,
        Meta(ge=1),
        Doc(
            "what the spool may take, its log included where that is above 16 MiB; beyond it, new "
            "events get 503 and delivery goes on"
        ),
    ] = 10 * 1024**3
    min_free_bytes: Annotated[
        Count, Doc("what the disk has to have left; with less, new events get 503, too")
    ] = 256 * 1024**2
    dead_letter_max_bytes: Annotated[
        int,
        Meta(ge=1),
        Doc(
            "beyond it, the oldest dead letters are dropped and counted; at most a quarter of "
            "`spool.max_bytes`"
        ),
    ] = 1024**3
    dead_letter_max_age_days: Annotated[
        Positive, Doc("older dead letters are dropped and counted, too")
    ] = 90.0


SpoolConfig: TypeAlias = SqliteSpoolConfig
"""Any spool; each has a table of its own, and the key ``backend`` says which it is."""


class SourceConfig(_Section, frozen=True, kw_only=True):
    """One of ``[[sources]]``: who may send, where it goes, and what is taken of it."""

    name: Annotated[Name, Doc("what the source is called in counters and commands")]
    write_key: Annotated[SecretText, Doc("the key that its SDKs send")]
    destinations: Annotated[
        tuple[str, ...], Doc("names of the destinations its events go to", default="all")
    ] = ()
    # The rest is applied before anything is stored; see gateway.policy.
    ip: Annotated[
        IpPolicy,
        Doc(
            "what is stored of users' [addresses](sources.md#addresses): `keep`, `truncate` (/24, "
            "/48) or `drop`"
        ),
    ] = "keep"
    allowed_origins: Annotated[
        tuple[PageOrigin, ...],
        Doc(
            "[pages](sources.md#pages) that may send, as in `https://*.example.com`", default="all"
        ),
    ] = ()
    allowed_events: Annotated[
        tuple[EventPattern, ...],
        Doc(
            "[names of track events](sources.md#events) that are taken, with `*` for any text",
            default="all",
        ),
    ] = ()
    denied_events: Annotated[
        tuple[EventPattern, ...], Doc("names of track events that are not, likewise")
    ] = ()
    denied_properties: Annotated[
        tuple[PropertyPath, ...],
        Doc(
            "names or paths of [members](sources.md#properties) that are taken out of properties, "
            "traits and context"
        ),
    ] = ()
    sample_rate: Annotated[
        Share, Doc("the share of [users](sources.md#users) whose events are taken")
    ] = 1.0
    anonymous_only: Annotated[
        bool,
        Doc(
            "`true`: user ids and traits that identify are taken out; [who somebody "
            "is](sources.md#anonymous-only) is forgotten"
        ),
    ] = False
    max_events_per_second: Annotated[
        Positive | None,
        Doc("what is beyond it is to be [sent later](sources.md#rates)", default=_NO_LIMIT),
    ] = None
    max_requests_per_second: Annotated[
        Positive | None, Doc("the same for requests", default=_NO_LIMIT)
    ] = None


class ServiceAccount(_Section, frozen=True, kw_only=True):
    """``serviceAccount``: Mixpanel's credentials for /import."""

    username: Annotated[NonEmpty, Doc("of Mixpanel's service account")]
    secret: Annotated[SecretText, Doc("its secret")]
    projectId: Annotated[NonEmpty, Doc("the project that it is for, in quotes")]


class DestinationSettings(_Section, frozen=True, kw_only=True):
    """``[destinations.settings]``: the specification's own names."""

    projectToken: Annotated[ProjectToken, Doc("the project's token")]
    apiSecret: Annotated[
        SecretText | None, Doc("the project's secret; Mixpanel retires it on 2027-03-03")
    ] = None
    apiRegion: Annotated[
        RegionCode, Doc("where the project is; data sent to the wrong region is lost")
    ] = Region.US
    sourceName: Annotated[str, Doc("sent with every event")] = ""
    strictMode: Annotated[
        StrictMode,
        Doc("`1`: Mixpanel validates every record and the gateway keeps what it refuses"),
    ] = "1"
    serviceAccount: Annotated[
        ServiceAccount | None,
        Doc(
            "credentials, `{username, secret, projectId}`, for `/import`; else `apiSecret`, else "
            "the token is used"
        ),
    ] = None
    groupKey: Annotated[str, Doc("the group key of group calls", default="`$group_id`")] = ""

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

    records_per_second: Annotated[
        Positive, Doc("records; shared by destinations with the same token and host")
    ] = 30_000.0
    bytes_per_minute: Annotated[Positive, Doc("bytes, likewise")] = 2 * 1024**3
    batch_records: Annotated[int, Meta(ge=1, le=2000), Doc("most records of a request")] = 2000
    batch_bytes: Annotated[
        int, Meta(ge=1024, le=10 * 1024**2), Doc("largest body of a request, before gzip")
    ] = 2 * 1024 * 1024
    connections: Annotated[
        int,
        Meta(ge=1, le=100),
        Doc("the most requests at once to each endpoint; adapts to what Mixpanel takes"),
    ] = 10
    request_timeout_s: Annotated[Positive, Doc("time for one request")] = 60.0
    proxy: Annotated[
        BaseUrl | None,
        Doc(
            "an HTTP proxy on the way to Mixpanel, as in `http://proxy.example:3128`; without it, "
            "`HTTPS_PROXY` (`HTTP_PROXY` for an http `base_url`) and `NO_PROXY` of the environment "
            "count, which may hold a user and a password",
            default="the environment",
        ),
    ] = None


class SharedDeliveryConfig(_Section, frozen=True, kw_only=True):
    """``[delivery]``: what all destinations share."""

    max_memory_bytes: Annotated[
        int,
        Meta(ge=1024**2),
        Doc(
            "what the batches of all destinations may take in memory together; each endpoint may "
            "hold one in any case"
        ),
    ] = 64 * 1024**2


class SubscriptionConfig(_Section, frozen=True, kw_only=True):
    """One of ``[[destinations.subscriptions]]``: which events, and what is made of them."""

    name: Annotated[str, Doc("that of a preset: this one applies instead of it")] = ""
    subscribe: Annotated[
        NonEmpty, Doc("which events ([expressions](mapping.md#which-events-expressions))")
    ]
    action: Annotated[Action, Doc("what they become ([actions](mapping.md#actions))")]
    mapping: Annotated[
        FieldSources,
        Doc(
            "where the action's fields come from, if from elsewhere "
            "([sources](mapping.md#where-a-field-comes-from-sources))",
            default="none",
        ),
    ] = {}
    enabled: Annotated[bool, Doc("`false`: as if it were not there; a preset of its name, too")] = (
        True
    )
    sources: Annotated[
        tuple[str, ...], Doc("names of the sources whose events it takes", default="all")
    ] = ()


class MixpanelSdksConfig(_Section, frozen=True, kw_only=True):
    """``[destinations.mixpanel_sdks]``: what Mixpanel's own SDKs send, by the project's token."""

    enabled: Annotated[
        bool,
        Doc(
            "`false`: nothing is taken by this destination's token. A token is public: whoever has "
            "it can send to Mixpanel directly, too"
        ),
    ] = True
    ip: Annotated[
        IpPolicy, Doc("`truncate` or `drop` users' addresses before anything is stored")
    ] = "keep"
    api_key: Annotated[
        SecretText | None,
        Doc("the project's former API key, for programs that send it to `/import`"),
    ] = None
    max_events_per_second: Annotated[
        Positive | None,
        Doc("[rates](sources.md#rates) of what comes with this token", default=_NO_LIMIT),
    ] = None
    max_requests_per_second: Annotated[
        Positive | None, Doc("the same for requests", default=_NO_LIMIT)
    ] = None


class DestinationConfig(_Section, frozen=True, kw_only=True):
    """One of ``[[destinations]]``: where records go, and what is made of events for it."""

    name: Annotated[
        Name,
        Doc(
            "what it is called in counters and commands; a second one without is `mixpanel-2`",
            default="`mixpanel`",
        ),
    ] = ""
    settings: Annotated[DestinationSettings, Doc("the project")]
    type: Annotated[Literal["mixpanel"], Doc("what it is")] = "mixpanel"
    profile: Annotated[
        Literal["syft", "segment"],
        Doc(
            "`syft` follows the Syft destination's tables to the letter, `segment` equals "
            'Segment\'s "Mixpanel (Actions)"'
        ),
    ] = "syft"
    identity: Annotated[
        Literal["original", "simplified"],
        Doc(
            "`simplified` for projects with Mixpanel's Simplified ID Merge "
            "([more](mapping.md#identity))"
        ),
    ] = "original"
    identify_event: Annotated[
        EventName,
        Doc("name of the event that links a user's ids where identity is simplified"),
    ] = "Identify"
    presets: Annotated[bool, Doc("`false`: only the subscriptions below apply")] = True
    subscriptions: Annotated[
        tuple[SubscriptionConfig, ...],
        Doc("which events become what ([more](mapping.md))"),
    ] = ()
    base_url: Annotated[
        BaseUrl | None, Doc("another host in place of Mixpanel's", default="by region")
    ] = None
    mixpanel_sdks: Annotated[MixpanelSdksConfig, Doc("what Mixpanel's own SDKs may send")] = (
        MixpanelSdksConfig()
    )
    delivery: Annotated[DeliveryConfig, Doc("how fast")] = DeliveryConfig()

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

    enabled: Annotated[bool, Doc("`false`: nothing is passed on")] = True
    requests: Annotated[
        int, Meta(ge=1, le=10_000), Doc("how many may be under way at once; more get 503")
    ] = 64
    timeout_s: Annotated[Positive, Doc("time for one of them")] = 30.0
    max_body_bytes: Annotated[int, Meta(ge=1024), Doc("the largest body, either way")] = (
        10 * 1024**2
    )
    cdn_url: Annotated[BaseUrl, Doc("where the library for browsers comes from")] = (
        "https://cdn.mxpnl.com"
    )


class Config(_Section, frozen=True, kw_only=True):
    """The whole configuration."""

    sources: Annotated[tuple[SourceConfig, ...], Doc("who may send")]
    destinations: Annotated[tuple[DestinationConfig, ...], Doc("where records go")]
    server: Annotated[ServerConfig, Doc("the port that SDKs talk to")] = ServerConfig()
    admin: Annotated[AdminConfig, Doc("the port that operators talk to")] = AdminConfig()
    spool: Annotated[SpoolConfig, Doc("where records wait")] = SqliteSpoolConfig()
    delivery: Annotated[SharedDeliveryConfig, Doc("what all destinations share")] = (
        SharedDeliveryConfig()
    )
    proxy: Annotated[ProxyConfig, Doc("what Mixpanel's SDKs ask for")] = ProxyConfig()
