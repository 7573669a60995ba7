"""Errors of the library.

FastmapError(ValueError)
+-- SpecError        the mapping cannot be compiled
+-- MalformedInput   an input is not JSON, or its text is not UTF-8
"""

__all__ = ["FastmapError", "MalformedInput", "SpecError"]


class FastmapError(ValueError):
    """Root of the tree."""


class SpecError(FastmapError):
    """The mapping cannot be compiled; the message names the part that is wrong."""


class MalformedInput(FastmapError):
    """An input is not JSON, or its text cannot be written as UTF-8."""
