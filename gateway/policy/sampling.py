"""Which users are part of a sample."""

import hashlib

__all__ = ["is_sampled"]

_RANGE = 2**64


def is_sampled(distinct_id: str, rate: float) -> bool:
    """Return whether a user belongs to a sample.

    It depends on the id alone: all of a user's events are in or out, in every source and gateway,
    and whoever is in stays in when the rate grows.

    :param rate: the share of users in it, above 0 and at most 1.
    """
    digest = hashlib.blake2b(distinct_id.encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest) < rate * _RANGE
