"""What each of several workers may take of what they have in common."""

from typing import TypeVar

from msgspec.structs import replace

from gateway.config import Config, DestinationConfig, MixpanelSdksConfig, SourceConfig

__all__ = ["share_of"]

_DEAD_LETTERS = 4096
"""The least room for dead letters; a smaller share could hold none."""

_Limited = TypeVar("_Limited", SourceConfig, MixpanelSdksConfig)


def share_of(config: Config, workers: int) -> Config:
    """Return the configuration of one of so many workers.

    The disk, the rates of sources, those that Mixpanel takes and its connections are divided.
    Bounds of memory are those of one process and stay as they are.
    """
    spool = config.spool
    return replace(
        config,
        spool=replace(
            spool,
            max_bytes=max(1, spool.max_bytes // workers),
            dead_letter_max_bytes=max(_DEAD_LETTERS, spool.dead_letter_max_bytes // workers),
        ),
        sources=tuple(_slower(each, workers) for each in config.sources),
        destinations=tuple(_share(each, workers) for each in config.destinations),
    )


def _share(destination: DestinationConfig, workers: int) -> DestinationConfig:
    delivery = destination.delivery
    return replace(
        destination,
        mixpanel_sdks=_slower(destination.mixpanel_sdks, workers),
        delivery=replace(
            delivery,
            records_per_second=delivery.records_per_second / workers,
            bytes_per_minute=delivery.bytes_per_minute / workers,
            connections=max(1, delivery.connections // workers),
        ),
    )


def _slower(limited: _Limited, workers: int) -> _Limited:
    events, requests = limited.max_events_per_second, limited.max_requests_per_second
    return replace(
        limited,
        max_events_per_second=None if events is None else events / workers,
        max_requests_per_second=None if requests is None else requests / workers,
    )
