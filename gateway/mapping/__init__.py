"""From events to the records of each destination."""

from gateway.mapping.actions import ENDPOINTS
from gateway.mapping.check import check_subscriptions
from gateway.mapping.mapper import Mapped, Mapper
from gateway.mapping.prepare import prepare

__all__ = ["ENDPOINTS", "Mapped", "Mapper", "check_subscriptions", "prepare"]
