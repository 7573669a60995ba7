"""``gateway send``: one event to a running gateway, to see that it works."""

import json
import uuid
from typing import Any

import aiohttp
import typer

from gateway.cli.common import fail, say
from gateway.process import run_async

__all__ = ["send"]

_TIMEOUT = aiohttp.ClientTimeout(total=15)


def send(event: str, write_key: str, *, url: str, user_id: str, kind: str, properties: str) -> None:
    """Send a test event and show the gateway's answer; exits with 1 unless it was accepted."""
    try:
        given = json.loads(properties)
    except (ValueError, RecursionError) as error:
        raise fail(f"--properties: not JSON: {error}", code=2) from None
    if not isinstance(given, dict):
        raise fail("--properties: expected a JSON object", code=2)
    body: dict[str, Any] = {"type": kind, "userId": user_id, "messageId": str(uuid.uuid4())}
    if kind in ("identify", "group"):
        body |= {"traits": given, "groupId": event}
    else:
        body |= {"properties": given, "event": event, "name": event}
    try:
        status, answer = run_async(_post(f"{url.rstrip('/')}/v1/{kind}", write_key, body))
    except aiohttp.InvalidURL:
        text = f"--url: not an address: {url}; expected e.g. http://127.0.0.1:8080"
        raise fail(text, code=2) from None
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        reason = str(error) or type(error).__name__
        raise fail(
            f"no answer from {url}: {reason}; start the gateway, or name another with --url"
        ) from None
    typer.echo(answer)
    if status != 200:
        raise fail(f"the gateway answered {status}")
    say(f"gateway: accepted: {kind} {event!r} of {user_id!r}, message id {body['messageId']}")


async def _post(url: str, write_key: str, body: dict[str, Any]) -> tuple[int, str]:
    headers = {"Authorization": aiohttp.encode_basic_auth(write_key, "")}
    async with (
        aiohttp.ClientSession(timeout=_TIMEOUT) as session,
        session.post(url, json=body, headers=headers) as response,
    ):
        return response.status, await response.text()
