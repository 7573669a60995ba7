"""From events to the records of each destination."""

from gateway.mapping.check import check_subscriptions
from gateway.mapping.clocks import Clocks
from gateway.mapping.doubles import mapping_warnings
from gateway.mapping.mapper import Mapped, Mapper
from gateway.mapping.native import NativeMapper
from gateway.mapping.policies import policies_of
from gateway.mapping.prepare import prepare
from gateway.mapping.remap import Remap

__all__ = [
    "Clocks",
    "Mapped",
    "Mapper",
    "NativeMapper",
    "Remap",
    "check_subscriptions",
    "mapping_warnings",
    "policies_of",
    "prepare",
]
