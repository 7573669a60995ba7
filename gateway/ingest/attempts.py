"""Whether a request says when it was sent, or repeats what an earlier attempt said."""

from collections.abc import Mapping

__all__ = ["repeats_sent_at"]

_STAMP_ONCE = (
    "analytics-go ",
    "analytics-ios/",
    "analytics-java/",
    "analytics-kotlin/",
    "analytics-node/",  # RudderStack's; Segment's is analytics-node-next
)
"""SDKs that stamp a batch when it is made, and send the same bytes until one attempt succeeds:
from a telephone that was offline, hours later, in its first attempt already."""


def repeats_sent_at(headers: Mapping[str, str]) -> bool:
    """Return whether ``sentAt`` may be older than the request, so that it tells no clock's error.

    Where that is so, times stay as the client wrote them.  A correction would move events to the
    time of their delivery, and differ between attempts, so that Mixpanel counts both.
    """
    return (
        headers.get("User-Agent", "").startswith(_STAMP_ONCE)
        or headers.get("X-Retry-Count", "0") != "0"
        or headers.get("Rsa-Retry-Attempt", "0") != "0"
    )
