"""A gateway, the sandbox behind it, and an SDK in front."""

import os
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pytest

from gateway.sandbox import Sandbox
from tests.sdks.additions import PAGE_PATH
from tests.sdks.catalogue import Sdk
from tests.support.certificates import make_pair, trust_in
from tests.support.faultfs import Control, build, environment, real
from tests.support.gateways import ConfiguredGateway, Project, Source
from tests.support.oracle_events import Event
from tests.support.oracle_judge import Verdict, judge
from tests.support.oracle_sdk import Report, completed, send_with, signed_in
from tests.support.ports import lasting_port
from tests.support.processes import TOKEN

__all__ = ["Stage", "as_sent", "send", "stage_for", "verdict"]


class Stage(NamedTuple):
    """A gateway, the sandbox behind it, and the disk below."""

    gateway: ConfiguredGateway
    sandbox: Sandbox
    disk: Control
    write_key: str
    page: str
    trust: Mapping[str, str]
    began: datetime


@asynccontextmanager
async def stage_for(
    sdk: Sdk, directory: Path, *, has_faulty_disk: bool = False
) -> AsyncIterator[Stage]:
    """Start what an SDK needs; skip the test when the SDK itself is not there.

    :param has_faulty_disk: whether the gateway's disk follows the rules of ``Stage.disk``.
    """
    if reason := sdk.program.missing():
        pytest.skip(reason)
    sandbox = Sandbox(token=TOKEN, keep=100_000)
    await sandbox.start()
    write_key = f"{uuid4().hex}:secret"  # a new one, since SDKs keep events on disk by it
    page = f"http://127.0.0.1:{lasting_port()}{PAGE_PATH}" if sdk.is_page else ""
    server, trust = {}, {}
    if sdk.tls:
        pair = make_pair(directory, "gateway")
        server, trust = {"tls_cert": str(pair.cert), "tls_key": str(pair.key)}, trust_in(pair)
    try:
        with Control(directory / "control") as disk:
            gateway = ConfiguredGateway(
                directory,
                [Project("mixpanel", TOKEN, sandbox.url)],
                [Source(write_key, ("mixpanel",))],
                sections={"server": server},
                env=_watched(directory, disk) if has_faulty_disk else None,
            )
            async with gateway:
                yield Stage(gateway, sandbox, disk, write_key, page, trust, datetime.now(UTC))
    finally:
        await sandbox.stop()


def _watched(directory: Path, disk: Control) -> dict[str, str]:
    return environment(build(directory), prefix=real(directory) / "spool", control=disk.path)


async def send(
    stage: Stage,
    sdk: Sdk,
    events: Sequence[Event],
    *,
    pause_ms: int = 0,
    options: Mapping[str, Any] | None = None,
    leaves: bool = False,
) -> Report:
    """Send events with an SDK; return when it has none left.

    :param pause_ms: time between two events, and requests are small; 0: all at once.
    :param options: in place of those that the catalogue has.
    :param leaves: whether the page is left with the events in it.
    """
    return await send_with(
        sdk.program.command,
        events,
        gateway=stage.gateway.url,
        write_key=stage.write_key,
        options=options if options is not None else sdk.options if pause_ms else {},
        pause_ms=pause_ms,
        page=stage.page,
        leaves=leaves,
        env={**os.environ, **stage.trust},
    )


def as_sent(stage: Stage, sdk: Sdk, events: Sequence[Event]) -> list[Event]:
    """Return events as the SDK has sent them, as far as what arrived tells that."""
    arrived = stage.sandbox.store.records()
    sent = [_on_page(stage.page, sdk.sends(event)) for event in events]
    if sdk.keeps_group:
        sent = list(_in_group(sent))
    if sdk.is_session:
        sent = signed_in(sent, arrived, afterwards=sdk.signs_in_afterwards)
    return completed(sent, arrived, context=_on_page(stage.page, sdk.context), began=stage.began)


def _in_group(events: Iterable[Event]) -> Iterator[Event]:
    """Yield events with the group that the SDK has been told of before."""
    group = None
    for event in events:
        if event["type"] == "group":
            group = event["groupId"]
        elif group is not None:
            event = {**event, "context": {**event["context"], "groupId": group}}
        yield event


def verdict(
    stage: Stage, sdk: Sdk, sent: Sequence[Event], *, acknowledged: Sequence[Event] | None = None
) -> Verdict:
    """Compare what arrived with what an SDK has sent.

    :param acknowledged: what had to arrive; None for all.
    """
    return judge(
        stage.sandbox.store.records(),
        acknowledged=sent if acknowledged is None else acknowledged,
        sent=sent,
        oracle=sdk.oracle,
    )


def _on_page(page: str, value: Any) -> Any:
    """Fill in the URL of the page."""
    if isinstance(value, Mapping):
        return {key: _on_page(page, each) for key, each in value.items()}
    return page if value == "{page}" else value
