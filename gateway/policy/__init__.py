"""What the options of a source take from its events before anything is stored: pure decisions."""

from gateway.policy.addresses import Address, address_of, first_address, limited, stricter
from gateway.policy.members import Removal
from gateway.policy.selection import is_origin_allowed
from gateway.policy.source import Applied, SourcePolicy, policy_of

__all__ = [
    "Address",
    "Applied",
    "Removal",
    "SourcePolicy",
    "address_of",
    "first_address",
    "is_origin_allowed",
    "limited",
    "policy_of",
    "stricter",
]
