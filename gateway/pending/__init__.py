"""What operators do with records that wait: look at them, set them aside, have them sent now."""

from gateway.pending.merged import MergedPending
from gateway.pending.model import (
    RecordPage,
    RetryReport,
    RetryRequest,
    SetAsideReport,
    SetAsideRequest,
    Summary,
)
from gateway.pending.service import Pending

__all__ = [
    "MergedPending",
    "Pending",
    "RecordPage",
    "RetryReport",
    "RetryRequest",
    "SetAsideReport",
    "SetAsideRequest",
    "Summary",
]
