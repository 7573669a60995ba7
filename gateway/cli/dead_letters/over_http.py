"""The dead letters of a gateway that runs, over its admin port."""

import asyncio
import io
from collections.abc import Mapping
from typing import Any, TypeVar

import aiohttp
import msgspec

from gateway.dead_letters.model import (
    Letter,
    Page,
    PurgeReport,
    PurgeRequest,
    ReplayReport,
    ReplayRequest,
    Summary,
)
from gateway.spool.dead_letters import Filter

__all__ = ["Failed", "OverHttp"]

_ATTEMPTS = 5

_T = TypeVar("_T")


class Failed(Exception):
    """What was asked for could not be done; the text says why and what to do."""


class OverHttp:
    """The dead letters of a running gateway, as ``gateway.dead_letters.DeadLetters``."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def workers(self) -> Mapping[str, int]:
        """Return the numbers of the workers by their names; none where there is one process."""
        async with self._session.get(f"{self._url}/workers") as response:
            if response.status != 200:
                return {}
            return msgspec.json.decode(await response.read(), type=dict[str, int])

    async def summary(self, wanted: Filter) -> Summary:
        """Return what there is, by cause."""
        return await self._get("/summary", Summary, _query(wanted))

    async def page(
        self, wanted: Filter, *, after: int = 0, limit: int = 100, has_payload: bool = True
    ) -> Page:
        """Return some letters, oldest first."""
        own = {"after": str(after), "limit": str(limit), "payload": str(has_payload).lower()}
        return await self._get("", Page, _query(wanted) | own)

    async def get(self, letter_id: int) -> Letter | None:
        """Return one letter, None when it is not there."""
        page = await self.page(Filter(ids=(letter_id,)))
        return page.letters[0] if page.letters else None

    async def replay(self, request: ReplayRequest) -> ReplayReport:
        """Send a batch again."""
        return await self._ask("POST", "/replay", ReplayReport, body=request)

    async def purge(self, request: PurgeRequest) -> PurgeReport:
        """Delete a batch for good."""
        return await self._ask("POST", "/purge", PurgeReport, body=request)

    async def _get(self, path: str, kind: type[_T], query: dict[str, str]) -> _T:
        return await self._ask("GET", path, kind, query=query)

    async def _ask(
        self,
        method: str,
        path: str,
        kind: type[_T],
        *,
        query: dict[str, str] | None = None,
        body: msgspec.Struct | None = None,
    ) -> _T:
        """Return the answer; a gateway that cannot do it now is asked again a few times."""
        url = f"{self._url}/dead-letters{path}"
        headers = {"Content-Type": "application/json"} if body is not None else {}
        left = _ATTEMPTS
        while True:
            left -= 1
            async with self._session.request(
                method, url, params=query, data=_stream(body), headers=headers
            ) as response:
                answer, status = await response.read(), response.status
                pause = response.headers.get("Retry-After", "")
            if status != 503 or not left:
                break
            await asyncio.sleep(min(30, int(pause) if pause.isdecimal() else 1))
        if status == 401:
            raise Failed(
                f"the gateway at {self._url} wants the admin token: give --token, set "
                "GATEWAY_ADMIN_TOKEN, or name its configuration with --config"
            )
        try:
            if status == 200:
                return msgspec.json.decode(answer, type=kind)
            message = msgspec.json.decode(answer)["message"]
        except (msgspec.DecodeError, KeyError, TypeError):
            raise Failed(
                f"what answers at {self._url} is no gateway that knows of dead letters ({status}); "
                "name another address with --admin"
            ) from None
        raise Failed(f"the gateway at {self._url} answered {status}: {message}")


def _stream(body: msgspec.Struct | None) -> io.BytesIO | None:
    return None if body is None else io.BytesIO(msgspec.json.encode(body))


def _query(wanted: Filter) -> dict[str, str]:
    given: dict[str, Any] = msgspec.structs.asdict(wanted)
    if wanted.ids is not None:
        given["ids"] = ",".join(map(str, wanted.ids))
    return {name: str(value) for name, value in given.items() if value is not None}
