"""Several processes that share a port and a configuration."""

from gateway.workers.child import Child, fork_children
from gateway.workers.cores import usable_cores
from gateway.workers.supervisor import CannotStart, Supervisor

__all__ = ["CannotStart", "Child", "Supervisor", "fork_children", "usable_cores"]
