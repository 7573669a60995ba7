"""What each of several workers may take of what they have in common."""

from msgspec.structs import replace

from gateway.config import Config, DestinationConfig

__all__ = ["share_of"]

_DEAD_LETTERS = 4096
"""The least room for dead letters; a smaller share could hold none."""


def share_of(config: Config, workers: int) -> Config:
    """Return the configuration of one of so many workers.

    The disk, the rates that Mixpanel takes and its connections are divided.  Bounds of memory are
    those of one process and stay as they are.
    """
    spool = config.spool
    return replace(
        config,
        spool=replace(
            spool,
            max_bytes=max(1, spool.max_bytes // workers),
            dead_letter_max_bytes=max(_DEAD_LETTERS, spool.dead_letter_max_bytes // workers),
        ),
        destinations=tuple(_share(each, workers) for each in config.destinations),
    )


def _share(destination: DestinationConfig, workers: int) -> DestinationConfig:
    delivery = destination.delivery
    return replace(
        destination,
        delivery=replace(
            delivery,
            records_per_second=delivery.records_per_second / workers,
            bytes_per_minute=delivery.bytes_per_minute / workers,
            connections=max(1, delivery.connections // workers),
        ),
    )
