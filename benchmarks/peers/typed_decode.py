"""The least that reading an event can cost: msgspec decoding all of it to typed structs."""

from collections.abc import Callable
from typing import Any

import msgspec

__all__ = ["Body", "new_typed_decode"]


class _Typed(msgspec.Struct, rename="camel"):
    """JSON members in camelCase; those that are not named here are skipped."""


class Library(_Typed):
    """``context.library``."""

    name: str | None = None
    version: str | None = None


class App(_Typed):
    """``context.app``."""

    name: str | None = None
    version: str | None = None
    namespace: str | None = None
    build: str | None = None
    platform: str | None = None


class Device(_Typed):
    """``context.device``."""

    id: str | None = None
    type: str | None = None
    name: str | None = None
    manufacturer: str | None = None
    model: str | None = None
    advertising_id: str | None = None
    ad_tracking_enabled: bool | None = None
    idfa: str | None = None


class Os(_Typed):
    """``context.os``."""

    name: str | None = None
    version: str | None = None


class Network(_Typed):
    """``context.network``."""

    wifi: bool | None = None
    bluetooth: bool | None = None
    cellular: bool | None = None
    carrier: str | None = None


class Screen(_Typed):
    """``context.screen``."""

    width: int | float | None = None
    height: int | float | None = None
    density: int | float | None = None


class Page(_Typed):
    """``context.page``."""

    path: str | None = None
    referrer: str | None = None
    search: str | None = None
    title: str | None = None
    url: str | None = None


class Campaign(_Typed):
    """``context.campaign``."""

    name: str | None = None
    source: str | None = None
    medium: str | None = None
    term: str | None = None
    content: str | None = None


class Brand(_Typed):
    """One of ``context.userAgentData.brands``."""

    brand: str | None = None
    version: str | None = None


class UserAgentData(_Typed):
    """``context.userAgentData``."""

    brands: list[Brand] = []
    mobile: bool | None = None
    platform: str | None = None
    bitness: str | None = None
    platform_version: str | None = None
    ua_full_version: str | None = None
    wow64: bool | None = None


class Location(_Typed):
    """``context.location``."""

    country: str | None = None
    region: str | None = None


class Context(_Typed):
    """``context``."""

    library: Library | None = None
    app: App | None = None
    device: Device | None = None
    os: Os | None = None
    network: Network | None = None
    screen: Screen | None = None
    page: Page | None = None
    campaign: Campaign | None = None
    user_agent_data: UserAgentData | None = None
    location: Location | None = None
    traits: dict[str, Any] | None = None
    ip: str | None = None
    locale: str | None = None
    timezone: str | None = None
    user_agent: str | None = None
    group_id: str | None = None
    instance_id: str | None = None


class Metadata(msgspec.Struct, rename="camel"):
    """``_metadata``."""

    bundled: list[str] = []
    unbundled: list[str] = []
    bundled_ids: list[str] = []


class Event(_Typed):
    """One event."""

    type: str | None = None
    event: str | None = None
    name: str | None = None
    user_id: str | None = None
    anonymous_id: str | None = None
    group_id: str | None = None
    previous_id: str | None = None
    message_id: str | None = None
    timestamp: str | None = None
    sent_at: str | None = None
    context: Context | None = None
    properties: dict[str, Any] | None = None
    traits: dict[str, Any] | None = None
    integrations: dict[str, Any] | None = None
    metadata: Metadata | None = msgspec.field(name="_metadata", default=None)


class Body(_Typed):
    """A batch."""

    batch: list[Event]
    sent_at: str | None = None
    write_key: str | None = None


def new_typed_decode() -> Callable[[bytes], Body]:
    """Return the decoding of bodies."""
    return msgspec.json.Decoder(Body).decode
