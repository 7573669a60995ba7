"""What a sender needs of a service, whichever service that is."""

from typing import Protocol

from gateway.delivery.batch import Body
from gateway.delivery.outcome import Outcome

__all__ = ["Endpoint"]


class Endpoint(Protocol):
    """One endpoint of one destination, with its own connections."""

    @property
    def name(self) -> str:
        """The endpoint's name, as in ``Queue.endpoint``."""
        ...

    @property
    def is_ordered(self) -> bool:
        """Whether records must arrive in the order in which they were accepted."""
        ...

    async def send(self, body: Body) -> Outcome:
        """Send one request and return what became of it; failures are outcomes too."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...
