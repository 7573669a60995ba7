"""What the headers of a request say of its sender, and of earlier attempts."""

import re
from collections.abc import Mapping

__all__ = ["is_retry", "sender_of"]

_PRODUCT = re.compile(r"[^/ ]{1,64}")


def is_retry(headers: Mapping[str, str]) -> bool:
    """Return whether a request says that it was sent before."""
    return headers.get("X-Retry-Count", "0") != "0" or headers.get("Rsa-Retry-Attempt", "0") != "0"


def sender_of(headers: Mapping[str, str]) -> str:
    """Return what the sender calls itself, without its version; "" where it does not say."""
    product = _PRODUCT.match(headers.get("User-Agent", ""))
    return product[0] if product else ""
