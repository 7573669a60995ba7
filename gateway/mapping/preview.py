"""What a destination would be sent for single events, and how that came about.

The records are those of the compiled plans; the account of them is the reference's, which reads
the same specification by other means.  Where the two differ, neither is to be trusted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

import fastmap
from fastmap import reference
from fastmap.limits import TOO_LARGE
from fastmap.reference import Result
from gateway.config import DestinationConfig
from gateway.events import MEMBERS, Event
from gateway.events.depth import check_depth
from gateway.mapping.plans import (
    EMPTY,
    MALFORMED,
    SKIPPED,
    UNKNOWN_TYPE,
    UNMATCHED,
    choices,
    compile_plans,
)
from gateway.model import ENDPOINTS

__all__ = ["Disagreement", "Preview", "PreviewResult"]


_MAX_DEPTH = 300
"""Levels of a member that is explained: the reference goes down them on the interpreter's stack."""


class Disagreement(Exception):
    """The compiled plan and the reference make different things of an event: a bug of ours."""


@dataclass(frozen=True, slots=True)
class PreviewResult:
    """What is made of one event.

    :param records: endpoint and JSON of each, in the order of the endpoints.
    :param reason: why there are none; None when there are some.
    :param is_rejected: whether the event is at fault, so that it is kept as a dead letter.
    """

    records: Sequence[tuple[str, bytes]] = ()
    reason: str | None = None
    is_rejected: bool = False


class Preview:
    """Maps single events for one destination.

    :param source: name of the source they come from; "" for none in particular.
    """

    def __init__(self, destination: DestinationConfig, source: str = "") -> None:
        self.name = destination.name
        self._plans = compile_plans(destination, source)
        self._choices = choices(destination, source)
        self._buffers = [fastmap.Buffer() for _ in ENDPOINTS]

    def map(self, event: Event, received_ms: int) -> PreviewResult:
        """Return what is made of an event."""
        left = self._plans.run([event], self._buffers, received_ms)
        if left:
            ((_, reason),) = left
            return PreviewResult(reason=reason, is_rejected=reason not in SKIPPED)
        records = [
            (endpoint, line)
            for endpoint, buffer in zip(ENDPOINTS, self._buffers, strict=True)
            for line in buffer.take().split(b"\n")[:-1]
        ]
        return PreviewResult(records)

    def explain(self, event: Event, received_ms: int) -> Result | None:
        """Return how the outcome came about; None where no subscription is for such events.

        :raises Disagreement: the account tells of something else than was made.
        :raises RecursionError: the event is nested too deep to be explained.
        """
        for _, name, _ in MEMBERS:
            value = getattr(event, name)
            if isinstance(value, msgspec.Raw):
                check_depth(value, _MAX_DEPTH)
        kind = event.type if event.type in self._choices else None
        choice = self._choices[kind]
        outcome = self.map(event, received_ms)
        if choice is None or outcome.reason in (MALFORMED, TOO_LARGE):
            return None
        result = reference.run(choice, event, received_ms, event.skew_ms)
        by_endpoint = sorted(result.records, key=lambda record: record[0])
        expected = [(ENDPOINTS[output], record) for output, record in by_endpoint]
        made = [(endpoint, reference.decode(line)) for endpoint, line in outcome.records]
        reason = {EMPTY: None, UNKNOWN_TYPE: UNMATCHED}.get(outcome.reason or "", outcome.reason)
        if made != expected or reason != result.reason:
            raise Disagreement(
                f"the records and their explanation differ for {self.name}: please report this "
                f"event and the mapping"
            )
        return result
