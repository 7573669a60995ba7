"""One port for the operators of several processes, each of which has its own admin socket."""

import asyncio
import json
import logging
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from gateway.admin.listener import AdminListener, problem
from gateway.admin.operator_pages import MAX_BODY_BYTES
from gateway.admin.sums import sum_metrics, sum_statuses
from gateway.config import AdminConfig
from gateway.telemetry import FleetTelemetry

__all__ = ["FleetAdmin", "Member"]

_log = logging.getLogger(__name__)

_TIMEOUT = aiohttp.ClientTimeout(total=3)
_LONG_TIMEOUT = aiohttp.ClientTimeout(total=120)  # a batch of dead letters
_PASSED_ON = ("Authorization", "Host", "Origin", "Content-Type", "Sec-Fetch-Site")
_PASSED_BACK = ("Content-Type", "Cache-Control", "Retry-After", "X-Content-Type-Options")


@dataclass(slots=True)
class Member:
    """A process as its operators see it.

    :param number: of its spool.
    :param admin_path: of its admin socket.
    :param life: how often it was started; counters begin again in each.
    :param state: what it is doing, as a word.
    :param is_silent: whether it runs and does not answer.
    """

    name: str
    number: int
    admin_path: Path
    serves: bool = True
    pid: int | None = None
    life: int = 0
    state: str = "starting"
    is_silent: bool = False


class FleetAdmin:
    """Health and state of all processes over HTTP, as those of one.

    :param members: as they are now.
    """

    def __init__(
        self,
        config: AdminConfig,
        members: Callable[[], Sequence[Member]],
        telemetry: FleetTelemetry,
    ) -> None:
        self._members = members
        self._telemetry = telemetry
        telemetry.silent.set_function(lambda: sum(each.is_silent for each in members()))
        self._draining = False
        token = config.token
        self._headers = {"Authorization": f"Bearer {token.reveal()}"} if token else {}
        self._documents: dict[str, Mapping[str, Any]] = {}  # what each said last
        self._past = ""  # metrics of processes that have ended
        self._seen: dict[str, tuple[int, str]] = {}  # life and metrics of each, when last asked
        pages = [
            web.get("/livez", self._livez),
            web.get("/readyz", self._readyz),
            web.get("/statusz", self._statusz),
            web.get("/metrics", self._metrics),
            web.get("/workers", self._workers),
            web.route("*", r"/workers/{name}/{path:.*}", self._pass_on),
            web.route("*", r"/{path:(dead-letters|pending)(/.*)?}", self._pass_on_to_only),
        ]
        self._listener = AdminListener(
            config,
            pages,
            served="/livez /readyz /statusz /metrics /dead-letters /pending /workers; of each of "
            "several workers /workers/NAME/statusz /metrics /dead-letters /pending",
            max_body_bytes=MAX_BODY_BYTES,
        )

    async def start(self, listeners: Sequence[socket.socket]) -> None:
        """Serve those who connect to these sockets."""
        await self._listener.start(listeners=listeners)

    async def stop(self) -> None:
        """Stop listening."""
        await self._listener.stop()

    def drain(self) -> None:
        """Answer from now on that no more requests should come here."""
        self._draining = True

    async def look_at(self, member: Member) -> None:
        """Know what a process says, for the time when it cannot be asked."""
        answer = await _ask(member, "statusz", self._headers)
        if answer is not None:
            self._documents[member.name] = json.loads(answer[1])

    def remember(self, member: Member, metrics: str) -> None:
        """Take the metrics of a process that has ended, in its last life."""
        self._note(member, member.life, metrics)

    def _note(self, member: Member, life: int, metrics: str | None) -> None:
        """Take the metrics of a process; None when it does not tell them."""
        before = self._seen.get(member.name)
        if before is not None and before[0] != life:
            # Counters of a process that has ended go on counting, or their sum would fall.
            self._past = sum_metrics((self._past, before[1]), cumulative=True).decode()
            del self._seen[member.name]
        if metrics is not None:
            self._seen[member.name] = life, metrics

    @property
    def port(self) -> int:
        """The port in use, also where the configuration says 0."""
        return self._listener.port

    async def _livez(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def _readyz(self, _: web.Request) -> web.Response:
        """Ready when any process is: those of others that connect are taken over, or wait.

        Not so where a process runs and does not answer: who connects to it waits in vain.

        The answer says how many of them are, and what is wrong with the others.
        """
        if self._draining:
            return web.json_response({"status": "draining"}, status=503)
        serving = [member for member in self._members() if member.serves]
        silent = [member.name for member in serving if member.is_silent]
        if silent:
            detail = f"{', '.join(silent)} hangs, and is replaced if it goes on"
            return web.json_response({"status": "not ready", "detail": detail}, status=503)
        if all(member.state == "reloading" for member in serving):
            return web.json_response({"status": "ready", "workers": 0})  # in a moment
        answers = await asyncio.gather(*(_ask(member, "readyz") for member in serving))
        problems = {
            member.name: problem
            for member, answer in zip(serving, answers, strict=True)
            if (problem := _problem(answer))
        }
        ready = len(serving) - len(problems)
        document = {
            "status": "ready" if ready else "not ready",
            "workers": ready,
            "of": len(serving),
            "detail": "; ".join(f"{name}: {problem}" for name, problem in problems.items()),
        }
        return web.json_response(document, status=200 if ready else 503)

    async def _statusz(self, _: web.Request) -> web.Response:
        members = self._members()
        answers = await asyncio.gather(
            *(_ask(member, "statusz", self._headers) for member in members)
        )
        for member, answer in zip(members, answers, strict=True):
            if answer is not None:
                self._documents[member.name] = json.loads(answer[1])
        # What a process had when it last answered is still on its disk.
        known = [self._documents[each.name] for each in members if each.name in self._documents]
        if not known:
            return problem(503, "no worker answers; the log says why")
        workers = {each.name: _worker(each, self._documents.get(each.name)) for each in members}
        return web.json_response({**sum_statuses(known), "workers": workers})

    async def _metrics(self, _: web.Request) -> web.Response:
        members = self._members()
        lives = [member.life for member in members]
        answers = await asyncio.gather(
            *(_ask(member, "metrics", self._headers) for member in members)
        )
        for member, life, answer in zip(members, lives, answers, strict=True):
            self._note(member, life, None if answer is None else answer[1].decode())
        now = [self._seen[each.name][1] for each in members if each.name in self._seen]
        return web.Response(
            body=sum_metrics((self._telemetry.render(), self._past, *now)),
            headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
        )

    async def _workers(self, _: web.Request) -> web.Response:
        return web.json_response({member.name: member.number for member in self._members()})

    async def _pass_on(self, request: web.Request) -> web.Response:
        """Ask the process that the path names."""
        name = request.match_info["name"]
        member = next((each for each in self._members() if each.name == name), None)
        if member is None:
            names = ", ".join(each.name for each in self._members())
            return problem(404, f"there is no worker {name[:100]}; there are {names}")
        return await self._ask_on(member, request)

    async def _pass_on_to_only(self, request: web.Request) -> web.Response:
        """Ask the process, where there is one: nobody has to know what it is called."""
        members = self._members()
        if len(members) == 1:
            return await self._ask_on(members[0], request)
        names = ", ".join(f"/workers/{each.name}" for each in members)
        return problem(404, f"each worker has its own: they are below {names}")

    async def _ask_on(self, member: Member, request: web.Request) -> web.Response:
        path = f"{request.match_info['path']}?{request.query_string}".rstrip("?")
        headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        try:
            async with (
                aiohttp.ClientSession(
                    connector=aiohttp.UnixConnector(str(member.admin_path)), timeout=_LONG_TIMEOUT
                ) as session,
                session.request(
                    request.method,
                    f"http://worker/{path}",
                    headers=headers,
                    data=await request.read(),
                ) as answer,
            ):
                return web.Response(
                    status=answer.status,
                    body=await answer.read(),
                    headers={
                        name: answer.headers[name]
                        for name in _PASSED_BACK
                        if name in answer.headers
                    },
                )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return problem(503, f"{member.name} does not answer: {error}")


def _problem(answer: tuple[int, bytes] | None) -> str:
    """Return why a process is not ready, "" when it is."""
    if answer is None:
        return "it does not answer"
    status, body = answer
    if status == 200:
        return ""
    document = json.loads(body)
    return str(document.get("detail") or document["status"])


def _worker(member: Member, document: Mapping[str, Any] | None) -> dict[str, Any]:
    worker: dict[str, Any] = {
        "state": "silent" if member.is_silent else member.state,
        "serves": member.serves,
        "pid": member.pid,
        "starts": member.life,
    }
    if document is not None:
        worker |= {key: document[key] for key in ("uptime_seconds", "ledger", "ingest", "spool")}
    return worker


async def _ask(
    member: Member, page: str, headers: Mapping[str, str] | None = None
) -> tuple[int, bytes] | None:
    """Return status and body, None when the process does not answer."""
    if member.is_silent:
        return None
    connector = aiohttp.UnixConnector(str(member.admin_path))
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT) as session,
            session.get(f"http://worker/{page}", headers=headers) as answer,
        ):
            return answer.status, await answer.read()
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        _log.debug("%s does not answer: %s", member.name, error)
        return None
