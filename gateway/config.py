"""The configuration: one frozen value, read once from a file or from the environment."""

import enum
import ipaddress
import itertools
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import urlsplit

import msgspec
from msgspec import UNSET, Meta

from gateway.config_file import Leaf, Place, Reader, Unit, http_url, matching, read_document
from gateway.config_variables import named, read_variables, unread_variables
from gateway.errors import ConfigError

__all__ = [
    "TIMES",
    "VARIABLES",
    "Action",
    "AdminConfig",
    "Check",
    "Config",
    "DeliveryConfig",
    "DestinationConfig",
    "DestinationSettings",
    "IpPolicy",
    "MixpanelSdksConfig",
    "ProxyConfig",
    "ProxyHeader",
    "Region",
    "Secret",
    "ServerConfig",
    "ServiceAccount",
    "SharedDeliveryConfig",
    "SourceConfig",
    "SpoolConfig",
    "SubscriptionConfig",
    "load",
    "redacted",
    "warnings",
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


# What a field accepts.  Plain strings mark the kinds that ``_LEAVES`` below knows how to read.
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


Check: TypeAlias = Callable[[Config, Reader], None]
"""Reports mistakes of a configuration in which values that could not be read are UNSET."""


def load(
    path: Path | None,
    environ: Mapping[str, str] | None = None,
    *,
    fallback: Mapping[str, str] = MappingProxyType({}),
    checks: Sequence[Check] = (),
) -> Config:
    """Return the configuration of a file or, without one, of the environment alone.

    :param path: a TOML, YAML or JSON file; paths in it are relative to its folder.
    :param environ: the variables that ``${NAME}`` in the file's values, or without a file the
        names in ``VARIABLES``, refer to; the process's own by default.
    :param fallback: variables that count as set where the environment has none.
    :param checks: report what only other parts of the program can find wrong.
    :raises ConfigError: every mistake at once; none repeats a secret or the environment's text.
    """
    environ = {**fallback, **(os.environ if environ is None else environ)}
    reader = Reader(environ, _LEAVES, _UNITS)
    if path is None:
        document, names = read_variables(VARIABLES, environ, reader)
    else:
        document, names = read_document(path), {}
    config = _with_names(reader.read(Config, document))
    if path is not None:
        config = _anchored(config, path.absolute().parent, reader)
    own = (
        *(_check_names, _check_references, _check_default, _check_limits),
        *(_check_room, _check_listeners, _check_available),
    )
    for check in (*own, *checks):
        check(config, reader)
    if reader.problems:
        raise ConfigError(reader.lines(names))
    return config


_SETTINGS: Place = ("destinations", 0, "settings")

VARIABLES: Mapping[Place, str] = {
    **named("MIXPANEL", _SETTINGS, DestinationSettings),
    **named("MIXPANEL_SERVICE_ACCOUNT", (*_SETTINGS, "serviceAccount"), ServiceAccount),
    **named("MIXPANEL", ("destinations", 0), DestinationConfig, but=("name", "type")),
    ("sources", 0, "write_key"): "WRITE_KEY",
    **named("GATEWAY", ("server",), ServerConfig),
    **named("GATEWAY_ADMIN", ("admin",), AdminConfig),
    **named("GATEWAY_SPOOL", ("spool",), SpoolConfig),
}
"""What each environment variable stands for where there is no file."""


def _anchored(config: Config, folder: Path, reader: Reader) -> Config:
    """Return the configuration with the paths of its file made whole.

    A service is started from anywhere; what waits in the spool must be found again.
    """
    replace = msgspec.structs.replace
    given = config.spool.path
    if isinstance(given, str):
        path = folder / given
        if not path.exists() and path != Path(given).absolute() and any(Path(given).glob("*.db")):
            reader.report(
                ("spool", "path"),
                f"is relative to the folder of the file, where there is no {path}, but there is a "
                f"spool in {Path(given).absolute()}; accepted: move it, or give the whole path",
            )
        config = replace(config, spool=replace(config.spool, path=str(path)))
    files = {
        name: str(folder / value)
        for name in ("tls_cert", "tls_key", "browser_bundle")
        if isinstance(value := getattr(config.server, name), str)
    }
    return replace(config, server=replace(config.server, **files)) if files else config


def _with_names(config: Config) -> Config:
    """Give every destination without a name the next free default."""
    taken = {destination.name for destination in config.destinations}
    defaults = itertools.chain(["mixpanel"], (f"mixpanel-{n}" for n in itertools.count(2)))
    free = (name for name in defaults if name not in taken)
    destinations = tuple(
        item if item.name != "" else msgspec.structs.replace(item, name=next(free))
        for item in config.destinations
    )
    return msgspec.structs.replace(config, destinations=destinations)


# The checks below see a configuration in which unreadable values are UNSET: they concern only what
# depends on more than one value, so that these mistakes too are reported together with the others.


def _check_names(config: Config, reader: Reader) -> None:
    for key in ("sources", "destinations"):
        if not getattr(config, key):
            reader.report((key,), "empty; accepted: at least one")
    _check_distinct(reader, "sources", "name", [item.name for item in config.sources])
    _check_distinct(reader, "sources", "write_key", [item.write_key for item in config.sources])
    _check_distinct(reader, "destinations", "name", [item.name for item in config.destinations])


def _check_distinct(reader: Reader, key: str, field: str, values: Sequence[object]) -> None:
    for i, value in enumerate(values):
        if value is not UNSET and value in values[:i]:
            first = f"{key}[{values.index(value)}].{field}"
            reader.report((key, i, field), f"the same as {first}; accepted: a different one")


def _check_references(config: Config, reader: Reader) -> None:
    given = [destination.name for destination in config.destinations]
    names = _names_shown(reader, "destinations", given)
    if not names or UNSET in names:
        return  # what is meant may be the one that could not be read
    for i, source in enumerate(config.sources):
        for j, name in enumerate(source.destinations):
            place = ("sources", i, "destinations", j)
            if name in source.destinations[:j]:
                reader.report(place, "listed before; accepted: each destination once")
            elif name not in names:
                got, accepted = reader.got(place, name), ", ".join(names.values())
                reader.report(place, f"no destination has this name{got}; accepted: {accepted}")


def _check_default(config: Config, reader: Reader) -> None:
    name = config.server.default_source
    names = _names_shown(reader, "sources", [source.name for source in config.sources])
    if isinstance(name, str) and names and UNSET not in names and name not in names:
        place = ("server", "default_source")
        got, accepted = reader.got(place, name), ", ".join(names.values())
        reader.report(place, f"no source has this name{got}; accepted: {accepted}")


def _names_shown(reader: Reader, key: str, names: Sequence[str]) -> dict[object, str]:
    """Return what to call each name; the environment's text is never shown."""
    return {
        name: f"that of {key}[{i}]" if (key, i, "name") in reader.substituted else name
        for i, name in enumerate(names)
    }


def _check_limits(config: Config, reader: Reader) -> None:
    """Check the names of subscriptions and of the sources that they are limited to."""
    known = _names_shown(reader, "sources", [source.name for source in config.sources])
    for i, destination in enumerate(config.destinations):
        place = ("destinations", i, "subscriptions")
        seen: set[str] = set()
        for j, subscription in enumerate(destination.subscriptions):
            if subscription.name and subscription.name in seen:
                reader.report((*place, j, "name"), "used before; accepted: a different one")
            seen.add(subscription.name)
            for k, name in enumerate(subscription.sources):
                if name not in known and UNSET not in known:
                    at = (*place, j, "sources", k)
                    got, accepted = reader.got(at, name), ", ".join(known.values())
                    reader.report(at, f"no source has this name{got}; accepted: {accepted}")


def _check_room(config: Config, reader: Reader) -> None:
    """Check that half the room, which arriving bodies share, has some to spare for the largest."""
    room: object = config.server.max_bytes_in_flight
    for name in ("max_body_bytes", "max_import_bytes"):
        largest: object = getattr(config.server, name)
        if isinstance(largest, int) and isinstance(room, int) and room < 4 * largest:
            reader.report(
                ("server", "max_bytes_in_flight"),
                f"too small for server.{name}; accepted: at least {4 * largest}",
            )
    header: object = config.server.max_header_bytes
    head: object = config.server.max_head_bytes
    if isinstance(header, int) and isinstance(head, int) and head < header:
        reader.report(
            ("server", "max_head_bytes"),
            f"too small for server.max_header_bytes; accepted: at least {header}",
        )


def _check_listeners(config: Config, reader: Reader) -> None:
    server, admin = config.server, config.admin
    if server.port == admin.port != 0:
        reader.report(
            ("admin", "port"), "the same as server.port; accepted: another, or 0 for any free one"
        )
    for absent, given in (("tls_cert", "tls_key"), ("tls_key", "tls_cert")):
        if getattr(server, absent) is None and getattr(server, given) is not None:
            reader.report(
                ("server", absent), f"missing, but server.{given} is set; accepted: both or neither"
            )


def _check_available(config: Config, reader: Reader) -> None:
    if config.spool.backend == "kafka":
        reader.report(
            ("spool", "backend"), "kafka is not available in this version; accepted: sqlite"
        )


_NOT_BLANK = r"(?s).*\S.*"
_MAX_DEPTH, _MAX_PARTS = 16, 10_000  # of a mapping: YAML's aliases can make endless ones


def _secret(value: object) -> Secret:
    return Secret(matching(_NOT_BLANK, value))


def _hosts(value: object) -> str | tuple[str, ...]:
    found = matching(r"[^\s\[\]/,]+( *, *[^\s\[\]/,]+)*", value).replace(" ", "").split(",")
    return found[0] if len(found) == 1 else tuple(found)


def _network(value: object) -> str:
    return str(ipaddress.ip_network(matching(_NOT_BLANK, value)))


def _region(value: object) -> Region:
    code = matching(_NOT_BLANK, value).strip().upper()
    for region in Region:
        flag = "".join(chr(ord("\U0001f1e6") + ord(letter) - ord("A")) for letter in region.name)
        if code.removesuffix(flag).rstrip() == region.name:
            return region
    raise ValueError


def _strict_mode(value: object) -> str:
    return matching("[01]", str(int(value)) if isinstance(value, int) else value)


def _event_name(value: object) -> str:
    name = matching(_NOT_BLANK, value)
    if name in ("$identify", "$create_alias", "$merge"):
        raise ValueError
    return name


def _page_origin(value: object) -> str:
    """Return an origin as browsers write it: in small letters, without the scheme's own port."""
    text = matching(r"(?i)null|[a-z][a-z0-9+.-]*://(\*\.)?[^\s/?#@\\*]+", value).lower()
    scheme, _, host = text.partition("://")
    if host:
        usual = {"http": 80, "https": 443}.get(scheme)
        url = urlsplit(text.replace("*.", "any.", 1))
        if not url.hostname or not text.isascii() or not text.isprintable():
            raise ValueError  # browsers send the name of a host in ASCII (xn--)
        if url.port is not None and url.port == usual:
            text = text.rpartition(":")[0]
    return text


def _property_path(value: object) -> str:
    path = matching(_NOT_BLANK, value)
    if "" in path.split("."):
        raise ValueError
    return path


def _sources(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError
    parts: list[tuple[object, int]] = [(value, 0)]
    for count, (part, depth) in enumerate(parts):
        if depth > _MAX_DEPTH or count > _MAX_PARTS:
            raise ValueError
        match part:
            case dict() if all(isinstance(key, str) for key in part):
                parts.extend((inner, depth + 1) for inner in part.values())
            case list():
                parts.extend((inner, depth + 1) for inner in part)
            case str() | int() | None:
                pass
            case float() if math.isfinite(part):
                pass
            case _:
                raise ValueError
    msgspec.json.encode(value)  # what JSON cannot express could never be sent
    return value


_LEAVES: Mapping[Any, Leaf] = {
    Name: Leaf(
        "1 to 64 of the characters A-Z a-z 0-9 _ -", partial(matching, "[A-Za-z0-9_-]{1,64}")
    ),
    ProjectToken: Leaf("a string without white space", partial(matching, r"\S+"), hidden=True),
    Secret: Leaf("a string that is not blank", _secret, hidden=True),
    BaseUrl: Leaf("an http(s) URL without user, query and fragment", http_url, hidden=True),
    PublicHost: Leaf(
        "a host without /v1, as in events.example.com; with https://, port or path if need be",
        partial(
            matching,
            r"(?!.*/v1$)((?i:https?)://)?[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~-]+)*",
        ),
    ),
    Hosts: Leaf(
        "an address or a name without port and brackets, as in 0.0.0.0, or a list of them",
        _hosts,
        may_be_list=True,
    ),
    PathPrefix: Leaf("a path, as in /collect", partial(matching, r"(/[A-Za-z0-9._~-]+)*")),
    Network: Leaf("an address or a network, as in 10.0.0.0/8", _network),
    Region: Leaf("one of " + ", ".join(Region.__members__), _region),
    StrictMode: Leaf("one of 0, 1", _strict_mode),
    EventName: Leaf(
        "a name that is not blank, and none of $identify, $create_alias, $merge", _event_name
    ),
    EventPattern: Leaf(
        "the name of an event, in which * stands for any text", partial(matching, _NOT_BLANK)
    ),
    PageOrigin: Leaf("an origin, as in https://example.com or https://*.example.com", _page_origin),
    PropertyPath: Leaf(
        "the name of a property or a path, as in email or traits.address.street", _property_path
    ),
    Sources: Leaf(
        "a table with a source for each field: texts, numbers, true, false, lists and tables",
        _sources,
    ),
    Backend: Leaf("sqlite", partial(matching, "sqlite|kafka")),
}


_POWERS = "kmgt"

_SIZES = {
    **dict.fromkeys(("b", "byte", "bytes"), 1),
    **{f"{power}b": 1000 ** (i + 1) for i, power in enumerate(_POWERS)},
    **{
        f"{power}{end}": 1024 ** (i + 1)
        for i, power in enumerate(_POWERS)
        for end in ("", "i", "ib")
    },
}
"""In bytes.  A letter alone is by 1024, as for coreutils, systemd, nginx and Docker."""

_HOURS = {
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600),
    **dict.fromkeys(("d", "day", "days"), 86_400),
    **dict.fromkeys(("w", "week", "weeks"), 604_800),
}
TIMES = {
    **dict.fromkeys(("ms", "millisecond", "milliseconds"), 0.001),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60),
    **_HOURS,
}
"""In seconds."""

_UNITS = (
    Unit(
        re.compile(r"(^|_)bytes(_per_(s|minute))?$"),
        _SIZES,
        'a size, as in "10 MiB" (B; K, M, G, T or KiB, MiB, GiB, TiB by 1024; '
        "KB, MB, GB, TB by 1000)",
    ),
    Unit(
        re.compile(r"_s$|^keepalive_timeout$"),
        TIMES,
        'a time, as in "10s" or "1h30m" (ms, s, min, h, d, w)',
        is_composed=True,
    ),
    Unit(
        re.compile(r"_days$"),
        {name: seconds / 86_400 for name, seconds in _HOURS.items()},
        'a time, as in "30d" (h, d, w)',
        is_composed=True,
    ),
)
"""Units of the keys whose names say what they are in; after a rate such as _per_s it is no time."""


def warnings(config: Config, file: Path | None = None) -> list[str]:
    """Return what is allowed but unwise, one line each, starting with the key's path.

    :param file: what the configuration was read from.
    """
    found = [
        f"{name} is set, but not read: {file} does not name it as ${{{name}}}"
        for name in (unread_variables(file, VARIABLES, os.environ) if file else ())
    ]
    if not all(map(_is_loopback, config.server.hosts)) and config.server.tls_cert is None:
        found.append(
            "server.host: other machines can reach this port without TLS; "
            "set tls_cert and tls_key unless a proxy in front does it"
        )
    if any(ipaddress.ip_network(each).prefixlen == 0 for each in config.server.trusted_proxies):
        found.append(
            "server.trusted_proxies: everybody is believed, so that clients can choose their "
            "address; name the networks of your proxies"
        )
    if not _is_loopback(config.admin.host) and config.admin.token is None:
        found.append(
            "admin.host: DANGER: anyone who reaches this port can read events and counters; "
            "set admin.token or listen on 127.0.0.1"
        )
    for i, destination in enumerate(config.destinations):
        path, settings = f"destinations[{i}]", destination.settings
        if settings.apiSecret is not None and settings.serviceAccount is None:
            found.append(
                f"{path}.settings.apiSecret: Mixpanel retires project secrets on 2027-03-03; "
                "use serviceAccount, or leave it out to use projectToken"
            )
        url = urlsplit(destination.base_url or "")
        if url.scheme == "http" and not _is_loopback(url.hostname or ""):
            found.append(
                f"{path}.base_url: events and credentials leave this machine unencrypted; "
                "use https://"
            )
    return found


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def redacted(config: Config) -> dict[str, Any]:
    """Return the effective configuration as plain data that may be printed."""
    plain: dict[str, Any] = msgspec.to_builtins(config, enc_hook=lambda _: "***")
    for destination, shown in zip(config.destinations, plain["destinations"], strict=True):
        shown["settings"]["apiRegion"] = destination.settings.apiRegion.name
        shown["settings"]["projectToken"] = destination.settings.projectToken[:4] + "…"
    return plain
