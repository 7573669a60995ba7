"""A plain HTTP client that knows exactly what was answered 200."""

import asyncio
from datetime import UTC, datetime
from itertools import islice
from typing import Any, NamedTuple, Self
from uuid import uuid4

import aiohttp

from tests.support.oracle_events import Event, mixed_events
from tests.support.processes import WRITE_KEY

__all__ = ["Answer", "Client"]

_LIBRARY = {"name": "plain", "version": "1"}
_HEADERS = {"Authorization": aiohttp.encode_basic_auth(WRITE_KEY, "")}
_TIMEOUT = aiohttp.ClientTimeout(total=30)
_PAUSE_S = 0.02

_NOT_TAKEN, _CUT_OFF = 0, -1  # in place of a status


class Answer(NamedTuple):
    """What became of one request, in seconds of the event loop's clock.

    :param status: 0 when the request was cut off or not taken.
    """

    sent: float
    seconds: float
    status: int
    retry_after: str | None


class Client:
    """Sends batches from several tasks at once, also while nobody listens.

    Every other request that was cut off is sent again, as SDKs do; what became of the rest nobody
    knows, so they may arrive or not.

    Use it as a context: it sends until the context ends.

    :param url: of the gateway.
    :param batch: events in one request.
    :ivar sent: all events that may have reached the gateway.
    :ivar acknowledged: those that were answered 200.
    :ivar answered: requests answered 200.
    :ivar cut_off: requests that ended without an answer after they could be sent.
    :ivar answers: what became of each request.
    """

    def __init__(self, url: str, *, tasks: int = 8, batch: int = 5, seed: int = 0) -> None:
        self.sent: list[Event] = []
        self.acknowledged: list[Event] = []
        self.answered = 0
        self.answers: list[Answer] = []
        self._waiting: dict[int, float] = {}
        self._url = f"{url}/v1/batch"
        self._events = mixed_events(seed)
        self._number_of_tasks = tasks
        self._batch = batch
        self.cut_off = 0
        self._stopping = False

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._send_all()) for _ in range(self._number_of_tasks)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopping = True
        try:
            await asyncio.gather(*self._tasks)
        finally:
            for task in self._tasks:
                task.cancel()

    def has_answers(self, number: int) -> bool:
        """Whether at least that many requests have been answered 200."""
        return self.answered >= number

    def waiting(self) -> list[float]:
        """Return when the requests were sent that have no answer yet."""
        return list(self._waiting.values())

    async def _send_all(self) -> None:
        events: list[Event] = []
        while not self._stopping:
            # From a connection that it has refused, the gateway does not read for a while.
            async with aiohttp.ClientSession(headers=_HEADERS, timeout=_TIMEOUT) as session:
                status = 200
                while not (status == 503 or self._stopping):
                    if not events:
                        events = [_complete(event) for event in islice(self._events, self._batch)]
                        self.sent.extend(events)
                    status = await self._send(session, events)
                    if status == 200:
                        self.acknowledged.extend(events)
                        self.answered += 1
                    if status == 200 or (status == _CUT_OFF and self.cut_off % 2 == 0):
                        events = []
                    elif status != _CUT_OFF:
                        await asyncio.sleep(_PAUSE_S)

    async def _send(self, session: aiohttp.ClientSession, events: list[Event]) -> int:
        """Send a batch once; return the status, or why there is none."""
        body: dict[str, Any] = {"batch": events, "sentAt": datetime.now(UTC).isoformat()}
        loop = asyncio.get_running_loop()
        sent, status, retry_after = loop.time(), 0, None
        self._waiting[id(events)] = sent
        try:
            async with session.post(self._url, json=body) as response:
                assert response.status in (200, 503), await response.text()
                status, retry_after = response.status, response.headers.get("Retry-After")
        except aiohttp.ClientConnectorError:
            return _NOT_TAKEN
        except aiohttp.ClientError:
            self.cut_off += 1
            return _CUT_OFF
        finally:
            del self._waiting[id(events)]
            self.answers.append(Answer(sent, loop.time() - sent, status, retry_after))
        return status


def _complete(event: Event) -> Event:
    """Add what an SDK would."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return {
        "messageId": str(uuid4()),
        "timestamp": now,
        **event,
        "context": {**event["context"], "library": _LIBRARY},
    }
