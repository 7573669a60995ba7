"""The gateway as the benchmarks call it."""

from collections.abc import Callable

from gateway.config import DestinationConfig, DestinationSettings
from gateway.events import decode
from gateway.mapping import Mapper, prepare
from gateway.telemetry import Telemetry

__all__ = ["new_gateway"]


def new_gateway(
    token: str, source_name: str, client_ip: str, received_ms: int
) -> Callable[[bytes], list[tuple[str, bytes]]]:
    """Return what the gateway does with a body between reading it and storing its records.

    The function returns newline-delimited records, each with the endpoint it goes to.
    """
    settings = DestinationSettings(projectToken=token, sourceName=source_name)
    destination = DestinationConfig(name="mixpanel", settings=settings, profile="segment")
    mapper = Mapper((destination,), Telemetry())
    names = (destination.name,)

    def run(body: bytes) -> list[tuple[str, bytes]]:
        received = decode(body)
        prepare(
            received,
            received_ms=received_ms,
            default_type=None,
            client_ip=client_ip,
            is_retry=False,
        )
        mapped = mapper.map(
            names, received.events, received_ms=received_ms, misfits=received.misfits
        )
        return [(entry.queue.endpoint, entry.lines) for entry in mapped.entries]

    return run
