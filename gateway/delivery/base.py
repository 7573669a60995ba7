"""What a sender needs of a service, whichever service that is."""

from collections.abc import Hashable
from typing import Protocol, TypeVar

from gateway.delivery.batch import Body
from gateway.delivery.outcome import Outcome

__all__ = ["Endpoint"]

T = TypeVar("T")


class Endpoint(Protocol[T]):
    """One endpoint of one destination, with its own connections.

    ``T`` is a request, ready to be sent; only the endpoint looks into it.
    """

    @property
    def name(self) -> str:
        """The endpoint's name, as in ``Queue.endpoint``."""
        ...

    @property
    def is_ordered(self) -> bool:
        """Whether records must arrive in the order in which they were accepted."""
        ...

    @property
    def names_refused(self) -> bool:
        """Whether an answer says which records of a request were refused, and takes the others."""
        ...

    @property
    def sends_plain(self) -> bool:
        """Whether requests are uncompressed, and take as much memory as the records."""
        ...

    def is_quick(self, body: Body) -> bool:
        """Whether ``prepare`` takes less time than it would to have a thread do it."""
        ...

    def prepare(self, body: Body) -> T:
        """Build a request; belongs into a thread, unless it is quick.

        :raises ValueError: the stored bytes are damaged.
        """
        ...

    def subject_of(self, record: bytes) -> Hashable:
        """Return what a record is about, where records about the same must keep their order.

        Never raises.  Of a record that cannot be read, it is the record itself.
        """
        ...

    async def send(self, request: T) -> Outcome:
        """Send a request and return what became of it; failures are outcomes too."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...
