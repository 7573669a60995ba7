"""What has to arrive from Mixpanel's own SDKs: what they are told and what they add, untouched."""

from typing import Any

from tests.support.oracle import Expected, time_ms
from tests.support.oracle_events import Event

__all__ = ["GROUP_KEY", "expected_native"]

GROUP_KEY = "company"


def expected_native(event: Event, token: str) -> list[Expected]:
    """Return the records that an event becomes.

    :param event: its context holds what the SDK adds: ``event`` to an event's properties,
        ``update`` to updates,
        ``set`` to what a profile's update sets.
    """
    adds = event["context"]
    match event["type"]:
        case "track":
            properties = {
                **adds.get("event", {}),
                **_user(event),
                **event["properties"],
                "token": token,
                "time": time_ms(event["timestamp"]),
                "$insert_id": event["messageId"],
            }
            return [Expected("/import", {"event": event["event"], "properties": properties})]
        case "identify":
            profile = {"$distinct_id": event["userId"]}
            if "anonymousId" in event:
                profile |= {"$device_id": event["anonymousId"], "$user_id": event["userId"]}
            update = _update(event, token, {**adds.get("set", {}), **event["traits"]})
            return [Expected("/engage", {**update, **profile})]
        case _:
            group = {"$group_key": GROUP_KEY, "$group_id": event["groupId"]}
            return [Expected("/groups", {**_update(event, token, event["traits"]), **group})]


def _user(event: Event) -> dict[str, Any]:
    """Return who it was: in a session the SDK says that of the device as well."""
    if "anonymousId" not in event:
        return {"distinct_id": event["userId"]}
    device = {"$device_id": event["anonymousId"]}
    if "userId" not in event:
        return {"distinct_id": f"$device:{event['anonymousId']}", **device}
    return {"distinct_id": event["userId"], "$user_id": event["userId"], **device}


def _update(event: Event, token: str, traits: dict[str, Any]) -> dict[str, Any]:
    time = {"$time": event["updateTime"]} if "updateTime" in event else {}
    return {"$token": token, **time, **event["context"].get("update", {}), "$set": traits}
