"""Real SDKs: programs that get events, call an SDK with them, and tell which ones it gave up."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, NamedTuple

from gateway.sandbox.store import Kept
from tests.support.oracle_events import CHROME, Event
from tests.support.processes import TOKEN, WRITE_KEY, run

__all__ = ["REFERRER", "Report", "completed", "key_of", "send_with", "signed_in"]

REFERRER = "https://search.example/"
"""Where the user of a page comes from."""

_INSERT_ID = re.compile(r"[A-Za-z0-9-]{8,36}")
_TOLD = ('{"givenUp"', '{"request"', '{"console"', '{"arrivedBefore"')
_NONE = MappingProxyType[str, Any]({})


def key_of(event: Event) -> str:
    """Return what tells an event from all others of its run, in a record as well."""
    number = event.get("properties", {}).get("n")
    return str(number or event.get("userId") or event.get("anonymousId"))


class Report(NamedTuple):
    """What an SDK's program tells.

    :param given_up: the keys of the events that the SDK gave up.
    :param requests: what a page has asked for: ``request`` (the URL), ``method`` and ``type``.
    :param complaints: errors and warnings on a page's console.
    :param arrived_before: how many events had arrived when a page was left.
    """

    given_up: list[str]
    requests: list[dict[str, str]]
    complaints: list[str]
    arrived_before: int


async def send_with(
    command: Sequence[str],
    events: Sequence[Event],
    *,
    gateway: str,
    write_key: str = WRITE_KEY,
    options: Mapping[str, Any] = _NONE,
    pause_ms: int = 0,
    page: str = "",
    leaves: bool = False,
    env: Mapping[str, str] | None = None,
    timeout: float = 100.0,
) -> Report:
    """Send events with an SDK; return when it has none left.

    :param command: the program; it reads a job, and prints a line for each event that is given up.
    :param page: URL of the page that the SDK is to run in, if it runs in one.
    :param leaves: whether the page is left as soon as the SDK has the events.
    :param gateway: base URL.
    :param options: for the SDK.
    :param pause_ms: time between two events.
    :raises AssertionError: the program failed.
    """
    job = {
        "gateway": gateway,
        "host": gateway.partition("://")[2],
        "writeKey": write_key,
        "token": TOKEN,
        "options": dict(options),
        "pauseMs": pause_ms,
        "page": page,
        "leaves": leaves,
        "referrer": REFERRER,
        "userAgent": CHROME,
        "events": events,
    }
    done = await run(*command, stdin=json.dumps(job), env=env, timeout=timeout)
    assert done.code == 0, done.stderr
    # SDKs print as well.
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith(_TOLD)]
    return Report(
        [line["givenUp"] for line in lines if "givenUp" in line],
        [line for line in lines if "request" in line],
        [f"{line['console']}: {line['text']}" for line in lines if "console" in line],
        next((line["arrivedBefore"] for line in lines if "arrivedBefore" in line), 0),
    )


def completed(
    events: Iterable[Event],
    arrived: Sequence[Kept],
    *,
    context: Mapping[str, Any],
    began: datetime,
) -> list[Event]:
    """Return events with what was left to the SDK: ids, times and context.

    Ids and times are taken from what arrived, when they are such as an SDK makes, so that all the
    rest is what has to arrive.

    :param context: what the SDK adds to each event's.
    :param began: when the SDK started; no earlier time can be its own.
    """
    made, updates = _made_by_sdk(arrived), _made_updates(arrived)
    return [
        {
            **_stamps(
                event,
                made.get("$identify" if event["type"] == "identify" else key_of(event), {}),
                updates.get(str(event.get("groupId") or event.get("userId")), {}),
                began,
            ),
            **event,
            "context": {**context, **event["context"]},
        }
        for event in events
    ]


def signed_in(events: Iterable[Event], arrived: Iterable[Kept], *, afterwards: bool) -> list[Event]:
    """Return the events of a session with the ids that its SDK gave them.

    :param afterwards: whether who has signed in meanwhile may be the user of earlier events.
    """
    events, made = list(events), _made_by_sdk(arrived)
    (anonymous,) = {each["$device_id"] for each in made.values()}
    user = next((event["userId"] for event in events if "userId" in event), None)
    return [
        {
            **event,
            "anonymousId": anonymous,
            **(
                {"userId": user}
                if afterwards and made.get(key_of(event), {}).get("$user_id") == user
                else {}
            ),
        }
        for event in events
    ]


def _made_by_sdk(arrived: Iterable[Kept]) -> dict[str, dict[str, Any]]:
    """Return the properties of each event's own record, by the event's key.

    The record of a sign-in is that of Mixpanel's own SDKs; others have none that tells an id.
    """
    made = {}
    for kept in arrived:
        if kept.endpoint == "/import" and kept.event != "Product Purchased":
            properties = json.loads(kept.record)["properties"]
            key = properties.get("n", properties["distinct_id"])
            made["$identify" if kept.event == "$identify" else str(key)] = properties
    return made


def _made_updates(arrived: Iterable[Kept]) -> dict[str, dict[str, Any]]:
    """Return the updates of profiles and groups by their ids."""
    updates = {}
    for kept in arrived:
        if kept.endpoint in ("/engage", "/groups"):
            update = json.loads(kept.record)
            updates[update.get("$group_id") or update["$distinct_id"]] = update
    return updates


def _stamps(
    event: Event, made: Mapping[str, Any], update: Mapping[str, Any], began: datetime
) -> Event:
    """Return the id and the times of an event's records, if it has them."""
    stamps: Event = {"messageId": "missing", "timestamp": began.isoformat()}
    if "$time" in update:  # seconds or milliseconds
        at = update["$time"] / (1000 if update["$time"] > 1e11 else 1)
        assert began.timestamp() - 1 <= at <= datetime.now(UTC).timestamp(), update
        stamps["updateTime"] = update["$time"]
    if not made:
        return stamps
    if "messageId" not in event:
        assert _INSERT_ID.fullmatch(made["$insert_id"]), made
        stamps["messageId"] = made["$insert_id"]
    if "timestamp" not in event:
        at = made["time"] / 1000
        assert began.timestamp() - 1 <= at <= datetime.now(UTC).timestamp(), made
        stamps["timestamp"] = datetime.fromtimestamp(at, UTC).isoformat()
    return stamps
