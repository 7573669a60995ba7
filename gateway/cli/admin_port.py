"""Asking a gateway that runs, over its admin port; alone or with several workers behind it."""

import asyncio
import io
from collections.abc import Mapping
from typing import Any, TypeVar

import aiohttp
import msgspec

from gateway.cli.common import Failed

__all__ = ["AdminPort", "query_of"]

_ATTEMPTS = 5

_T = TypeVar("_T")


class AdminPort:
    """One part of the admin port of a running gateway.

    :param path: what its pages are below.
    :param things: what they are about, for people.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str, *, path: str, things: str) -> None:
        self._session = session
        self._url = url
        self._path = path
        self._things = things

    async def get(self, path: str, kind: type[_T], query: Mapping[str, str]) -> _T:
        """Return what a page answers."""
        return await self._ask("GET", path, kind, query=query)

    async def post(self, path: str, kind: type[_T], body: msgspec.Struct) -> _T:
        """Have something done, and return the answer."""
        return await self._ask("POST", path, kind, body=body)

    async def _ask(
        self,
        method: str,
        path: str,
        kind: type[_T],
        *,
        query: Mapping[str, str] | None = None,
        body: msgspec.Struct | None = None,
    ) -> _T:
        """Return the answer; a gateway that cannot do it now is asked again a few times."""
        url = f"{self._url}{self._path}{path}"
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
                f"what answers at {self._url} is no gateway that knows of {self._things} "
                f"({status}); name another address with --admin"
            ) from None
        raise Failed(f"the gateway at {self._url} answered {status}: {message}")


def query_of(wanted: msgspec.Struct) -> dict[str, str]:
    """Return a filter as the query of a page."""
    given: dict[str, Any] = msgspec.structs.asdict(wanted)
    if given.get("ids") is not None:
        given["ids"] = ",".join(map(str, given["ids"]))
    return {name: str(value) for name, value in given.items() if value is not None}


def _stream(body: msgspec.Struct | None) -> io.BytesIO | None:
    return None if body is None else io.BytesIO(msgspec.json.encode(body))
