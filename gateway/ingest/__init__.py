"""What SDKs talk to: routes, limits, authentication and answers."""

from gateway.ingest.server import IngestServer

__all__ = ["IngestServer"]
