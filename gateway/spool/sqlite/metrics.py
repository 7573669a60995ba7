"""What is counted of this backend alone."""

from typing import Annotated

from prometheus_client import Counter

from gateway.telemetry import Metric, Metrics

__all__ = ["SqliteMetrics"]


class SqliteMetrics(Metrics):
    """Damage to files, and what was done about it."""

    damaged_chunks: Annotated[
        Counter,
        Metric(
            "gateway_spool_damaged_chunks_total",
            "Chunks set aside because their checksum did not match.",
        ),
    ]
    damaged_letters: Annotated[
        Counter,
        Metric(
            "gateway_dead_letters_damaged_total",
            "Dead letters set aside because their checksum did not match.",
        ),
    ]
    salvages: Annotated[
        Counter,
        Metric(
            "gateway_spool_salvages_total",
            "Attempts to make a new file of what a damaged one holds.",
        ),
    ]
