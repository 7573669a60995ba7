"""When to try again: every number that decides about waiting, and nothing else.

Temporary trouble is retried soon and for ever.  What only a person can cure is *paused*: probed
slowly, with the records kept.  There are two such cases, and operators see both in ``/statusz`` as
the endpoint's state ``paused`` with the reason as its detail:

* the credentials were refused, or the address is not the service's;
* nothing at all has been accepted lately of what was sent (``gateway.delivery.suspicion``).

Either may be due to a few records, so probes carry others, and do not wait long while there are
any.
"""

from random import Random

__all__ = [
    "MAX_RETRY_AFTER_S",
    "PROBE_RECORDS",
    "backoff_s",
    "hastened_probe_s",
    "probe_s",
]

_BACKOFF_FIRST_S = 2.0  # Mixpanel's own advice: 2 s doubling to 60 s, and 1 to 5 s of jitter
_BACKOFF_MAX_S = 60.0
_JITTER_S = (1.0, 5.0)

_PROBE_FIRST_S = 60.0
_PROBE_MAX_S = 600.0

MAX_RETRY_AFTER_S = 3600.0
"""The longest ``Retry-After`` that is believed: a wrong one must not stop delivery for days."""

_HASTENED_FIRST_S = 1.0
_HASTENED_MAX_S = 60.0

PROBE_RECORDS = 50
"""Records in a request that finds out whether the service works, at first or again: enough to be
worth the trouble, and a small loss for both sides when it does not."""


def backoff_s(failures: int, after_s: float | None, rng: Random) -> float:
    """Return how long to wait after temporary trouble.

    :param failures: failures in a row, this one included; at least 1.
    :param after_s: what the service asked for; honoured up to ``MAX_RETRY_AFTER_S`` if larger.
    :param rng: source of the jitter.
    """
    wait = _doubled(_BACKOFF_FIRST_S, _BACKOFF_MAX_S, failures) + rng.uniform(*_JITTER_S)
    return max(wait, min(after_s or 0.0, MAX_RETRY_AFTER_S))


def probe_s(failures: int) -> float:
    """Return how long to wait before the next probe of something paused.

    :param failures: probes in a row that found it unchanged, the first discovery included.
    """
    return _doubled(_PROBE_FIRST_S, _PROBE_MAX_S, failures)


def hastened_probe_s(failures: int) -> float:
    """Return how long to wait before a probe of something paused that carries new records.

    :param failures: probes in a row that found it unchanged, the first discovery included.
    """
    return _doubled(_HASTENED_FIRST_S, _HASTENED_MAX_S, failures)


def _doubled(first: float, limit: float, times: int) -> float:
    # The exponent is capped because 2.0**1024 overflows, and an outage can be long.
    return min(first * 2.0 ** min(times - 1, 16), limit)
