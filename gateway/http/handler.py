"""What a connection and whoever answers its requests know of each other."""

from collections.abc import Callable
from typing import Protocol

from gateway.http import replies
from gateway.http.request import AnyRequest, Head, Request

__all__ = ["Client", "Done", "Handler"]

Done = Callable[[replies.Answer], None]
"""Takes an answer."""


class Client(Protocol):
    """A connection, for whoever answers its requests.

    :ivar head_taken: bytes of memory that the head of the request under way takes beyond what is
        usual.
    """

    head_taken: int

    @property
    def peer(self) -> str:
        """The address of the client; "" where it cannot be told."""

    def send_away(self, *, rests: bool) -> None:
        """Take note that the request under way is refused for want of room.

        :param rests: whether to read nothing for a while.
        """


class Handler(Protocol):
    """Answers requests."""

    def at_once(self, request: Request, body: bytes, client: Client, done: Done) -> bool:
        """Begin to answer a request, where that needs no task; return whether it does not.

        It may note what it has understood of the head.

        :param body: as it has come.
        :param done: takes the answer, now or later.
        """

    def again(self, head: Head, body: bytes, client: Client, done: Done) -> None:
        """Do the same for a head of which it has noted something."""

    async def respond(self, request: AnyRequest, client: Client) -> replies.Answer:
        """Return the answer to a request, whatever happens."""
