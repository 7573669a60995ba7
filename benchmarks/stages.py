"""What the parts of an event's way cost, from figures with and without them; no I/O."""

from collections.abc import Mapping
from typing import Any

__all__ = ["STAGES", "stages"]

STAGES = ("decode", "map", "HTTP and disk", "delivery")
"""In the order of the way."""


def stages(report: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Return CPU microseconds an event by traffic and stage.

    Decoding and mapping are measured alone, on the same kind of events; what remains of the cost
    when nothing is delivered is HTTP and disk, and what is added by delivering is delivery.

    :param report: figures of ``map``, ``ingest`` and ``gateway``, as they are written.
    """
    mapping = report["map"]
    cases = mapping["cases"]
    decode_share = cases["decode"]["median_us"] / cases["gateway"]["median_us"]
    fit = mapping["lines"]["batch size"]["fit_us"]
    found = {}
    for title, section in report["gateway"]["traffic"].items():
        ingest = report["ingest"]["traffic"].get(title)
        if ingest is None:
            continue
        size = section["batch"]
        mapped = (
            cases["gateway"]["median_us"] if size is None else fit["slope"] + fit["fixed"] / size
        )
        stored = ingest["subjects"]["gateway"]["us_per_event"]
        whole = section["subjects"]["gateway"]["us_per_event"]
        parts = (
            decode_share * mapped,
            (1 - decode_share) * mapped,
            stored - mapped,
            whole - stored,
        )
        found[title] = {name: max(0.0, us) for name, us in zip(STAGES, parts, strict=True)}
    return found
