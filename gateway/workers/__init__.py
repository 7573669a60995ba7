"""Several processes that share a port and a configuration."""

from gateway.workers.supervisor import CannotStart, Supervisor, left_behind, usual_workers

__all__ = ["CannotStart", "Supervisor", "left_behind", "usual_workers"]
