"""What operators do with dead letters: look at them, replay them, purge them."""

from gateway.dead_letters.merged import MergedDeadLetters
from gateway.dead_letters.model import (
    Edit,
    Letter,
    Page,
    PurgeReport,
    PurgeRequest,
    ReplayReport,
    ReplayRequest,
)
from gateway.dead_letters.service import DeadLetters

__all__ = [
    "DeadLetters",
    "Edit",
    "Letter",
    "MergedDeadLetters",
    "Page",
    "PurgeReport",
    "PurgeRequest",
    "ReplayReport",
    "ReplayRequest",
]
