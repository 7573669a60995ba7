"""How much each source may send, and each project by Mixpanel's own SDKs."""

import math
from collections.abc import Callable, Mapping
from functools import partial

from gateway.clock import Clock
from gateway.config import Config, MixpanelSdksConfig, SourceConfig
from gateway.http.refusals import too_fast
from gateway.notices import Notices
from gateway.telemetry import Telemetry

__all__ = ["Rate", "Rates", "busy_status"]

_BUSY = {"segment": 429, "rudder": 429, "jitsu": 503, "syft": 503, "mixpanel": 503}
"""The status with which the SDKs of a family send again later, by what they do with it.

Those of Segment heed ``Retry-After`` best, or only, with 429, and RudderStack's own server answers
429, too.  Of Mixpanel's, the one for Android heeds it with 5xx only.
"""


def busy_status(family: str, headers: Mapping[str, str]) -> int:
    """Return the status that makes an SDK send again later.

    :param headers: of its request.
    """
    if family == "segment" and "Origin" in headers and "Authorization" not in headers:
        return 503  # SDKs for browsers before 1.84: 5xx is what they certainly try again after
    return _BUSY[family]


class _Bucket:
    """A token bucket that holds what one second brings, one token at least.

    What is taken may be more than it holds: it is paid off before anything else is let in, so that
    a request of any size passes and the rate holds all the same.
    """

    __slots__ = ("_filled_at", "_most", "_per_second", "_tokens")

    def __init__(self, per_second: float, now: float) -> None:
        self._per_second = per_second
        self._most = max(1.0, per_second)
        self._tokens = self._most
        self._filled_at = now

    def wait_s(self, now: float) -> float:
        """Return how long to wait until something may be taken; 0: nothing."""
        earned = (now - self._filled_at) * self._per_second
        self._tokens = min(self._most, self._tokens + earned)
        self._filled_at = now
        return max(0.0, (1.0 - self._tokens) / self._per_second)

    def take(self, amount: int) -> None:
        self._tokens -= amount


class Rate:
    """What one source or project may send.

    :param count: notes a refusal by what was too much, ``events`` or ``requests``.
    """

    __slots__ = ("_buckets", "_clock", "_count")

    def __init__(
        self,
        config: SourceConfig | MixpanelSdksConfig,
        clock: Clock,
        count: Callable[[str], None],
    ) -> None:
        given = {"events": config.max_events_per_second, "requests": config.max_requests_per_second}
        now = clock.monotonic()
        self._buckets = {
            what: _Bucket(rate, now) for what, rate in given.items() if rate is not None
        }
        self._clock = clock
        self._count = count

    def admit(self, status: int) -> None:
        """Let a request in, whose events are not known yet.

        :param status: see ``busy_status``.
        :raises RequestError: (that status) there were too many before it.
        """
        now = self._clock.monotonic()
        waits = {what: bucket.wait_s(now) for what, bucket in self._buckets.items()}
        what = max(waits, key=waits.__getitem__)
        if waits[what] > 0:
            self._count(what)
            raise too_fast(status, math.ceil(waits[what]), what)
        self._take("requests", 1)

    def charge(self, events: int) -> None:
        """Count the events of a request that was let in."""
        self._take("events", events)

    def _take(self, what: str, amount: int) -> None:
        bucket = self._buckets.get(what)
        if bucket is not None:
            bucket.take(amount)


class Rates:
    """The limits of all sources and projects that have any.

    :param notices: tell operators who sends too much.
    :ivar of_source: by the names of sources.
    :ivar of_project: by the names of destinations.
    """

    def __init__(
        self, config: Config, clock: Clock, telemetry: Telemetry, notices: Notices
    ) -> None:
        counter = telemetry.rate_limited

        def count(source: str, destination: str, what: str) -> None:
            counter.labels(source, destination, what).inc()
            who = f"source {source}" if source else f"destination {destination}: mixpanel_sdks"
            notices.say(
                "rate_limited",
                (who, what),
                "%s: more came than max_%s_per_second allows; the rest is to be sent again later",
                who,
                what,
            )

        self.of_source: Mapping[str, Rate] = {
            each.name: Rate(each, clock, partial(count, each.name, ""))
            for each in config.sources
            if _is_limited(each)
        }
        self.of_project: Mapping[str, Rate] = {
            each.name: Rate(each.mixpanel_sdks, clock, partial(count, "", each.name))
            for each in config.destinations
            if _is_limited(each.mixpanel_sdks)
        }


def _is_limited(config: SourceConfig | MixpanelSdksConfig) -> bool:
    return config.max_events_per_second is not None or config.max_requests_per_second is not None
