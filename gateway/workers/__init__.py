"""Several processes that share a port and a configuration."""

from gateway.workers.cores import usable_cores
from gateway.workers.supervisor import CannotStart, Supervisor, left_behind

__all__ = ["CannotStart", "Supervisor", "left_behind", "usable_cores"]
