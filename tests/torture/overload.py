"""More requests than the gateway can answer: what it gets done, what it refuses, what it takes."""

import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from tests.support.processes import GatewayProcess, wait_for
from tests.torture.traffic import traffic

__all__ = ["run"]

_NOWHERE = "http://127.0.0.1:9"  # the destination; nothing listens there
_MIB = 1024 * 1024


async def run(
    *,
    connections: int = 64,
    factor: int = 10,
    seconds: float = 10.0,
    rounds: int = 3,
    events: int = 1,
    padding: int = 100,
    max_bytes_in_flight: int = 64 * _MIB,
    least_share: float = 0.9,
) -> dict[str, Any]:
    """Compare the peak with ``factor`` times its connections, and with that times its rate.

    The clients send again at once, whatever they are told.

    :param connections: those of the peak.
    :param seconds: of each measurement.
    :param rounds: how often each is repeated, in turns; the medians are compared.
    :param events: in each request, with about ``padding`` bytes of properties each.
    :param least_share: of the peak that has to get done under overload.
    """
    load = {"events": events, "padding": padding, "seconds": seconds}
    many = connections * factor
    server = {"max_bytes_in_flight": max_bytes_in_flight, "max_body_bytes": _MIB}
    peaks: list[dict[str, Any]] = []
    closed: list[dict[str, Any]] = []
    opened: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as directory:
        async with GatewayProcess(Path(directory), _NOWHERE, server=server) as gateway:
            await traffic("Closed", gateway.url, connections=connections, **load)  # warm-up
            idle = gateway.running.memory()["VmRSS"]
            for _ in range(rounds):
                peaks.append(await traffic("Closed", gateway.url, connections=connections, **load))
                closed.append(await traffic("Closed", gateway.url, connections=many, **load))
                rate = factor * peaks[-1]["goodput"]
                opened.append(
                    await traffic("Open", gateway.url, connections=many, rate=rate, **load)
                )
            memory = gateway.running.memory()["VmHWM"]
            await wait_for(lambda: _gave_back(gateway))
            refusals = await gateway.metrics()
    peak = median(each["goodput"] for each in peaks)
    every = [*peaks, *closed, *opened]
    figures: dict[str, Any] = {
        "peak_per_s": peak,
        "closed_share": round(median(each["goodput"] for each in closed) / peak, 3),
        "open_share": round(median(each["goodput"] for each in opened) / peak, 3),
        "answered_200": sum(each["statuses"].get("200", 0) for each in every),
        "answered_503": sum(each["statuses"].get("503", 0) for each in every),
        "without_retry_after": sum(each["without_retry_after"] for each in every),
        "broken": sum(each["broken"] for each in every),
        "peak_p99_s": median(each["p99_s"] for each in peaks),
        "closed_p99_s": median(each["p99_s"] for each in closed),
        "open_p99_s": median(each["p99_s"] for each in opened),
        "grown_mib": round((memory - idle) / _MIB, 1),
        "memory_mib": round(memory / _MIB, 1),
        "refusals": {k: v for k, v in refusals.items() if "refusals_total" in k},
    }
    statuses = {status for each in every for status in each["statuses"]}
    assert statuses <= {"200", "503"}, figures
    assert figures["without_retry_after"] == 0, figures
    assert figures["broken"] == 0, figures
    assert figures["closed_share"] >= least_share, figures
    assert figures["open_share"] >= least_share, figures
    # The spool's queue has a bound of its own, as large as the default of requests.
    assert memory - idle <= max_bytes_in_flight + 64 * _MIB + many * 16 * 1024, figures
    return figures


async def _gave_back(gateway: GatewayProcess) -> bool:
    held: int = (await gateway.statusz())["ingest"]["bytes_in_flight"]
    return held == 0
