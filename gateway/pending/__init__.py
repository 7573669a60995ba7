"""What operators do with records that wait: look at them, set them aside, have them sent now."""

from gateway.pending.merged import MergedPending
from gateway.pending.model import (
    PendingSummary,
    RecordPage,
    RetryReport,
    RetryRequest,
    SetAsideReport,
    SetAsideRequest,
)
from gateway.pending.service import Pending

__all__ = [
    "MergedPending",
    "Pending",
    "PendingSummary",
    "RecordPage",
    "RetryReport",
    "RetryRequest",
    "SetAsideReport",
    "SetAsideRequest",
]
