"""Send the events of a job (JSON on standard input) with segment-analytics-python.

Prints each event's messageId and timestamp; exits with 1 when the SDK gave events up.
"""

import json
import sys
from datetime import datetime
from typing import Any

from segment.analytics.client import Client

_NAMES = {
    "type": None,
    "userId": "user_id",
    "anonymousId": "anonymous_id",
    "previousId": "previous_id",
    "groupId": "group_id",
    "messageId": "message_id",
}


def main() -> None:
    job = json.load(sys.stdin)
    given_up: list[Any] = []
    client = Client(
        job["writeKey"],
        host=job["url"],
        on_error=lambda error, batch: given_up.append((error, len(batch))),
        **job["options"],
    )
    for event in job["events"]:
        queued, message = getattr(client, event["type"])(**_arguments(event))
        assert queued, "the SDK's queue is full"
        print(json.dumps({name: message[name] for name in ("messageId", "timestamp")}))
    client.flush()
    client.join()
    if given_up:
        sys.exit(f"given up: {given_up}")


def _arguments(event: dict[str, Any]) -> dict[str, Any]:
    arguments = {_NAMES.get(name, name): value for name, value in event.items()}
    if "timestamp" in arguments:
        arguments["timestamp"] = datetime.fromisoformat(arguments["timestamp"])
    return {name: value for name, value in arguments.items() if name is not None}


main()
