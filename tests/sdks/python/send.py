"""Send the events of a job (JSON on standard input) with Segment's SDK or RudderStack's.

Prints a JSON line for each event that the SDK gave up.
"""

import json
import sys
import time
from datetime import datetime
from typing import Any

import rudderstack.analytics as rudder_analytics
import segment.analytics as analytics

_NAMES = {
    "userId": "user_id",
    "anonymousId": "anonymous_id",
    "previousId": "previous_id",
    "groupId": "group_id",
    "messageId": "message_id",
}


def main() -> None:
    job = json.load(sys.stdin)
    write_key, gateway = job["writeKey"], job["gateway"]
    if sys.argv[1] == "segment":
        sdk = analytics
        analytics.write_key = write_key
        analytics.host = gateway
    else:
        sdk = rudder_analytics
        rudder_analytics.write_key = write_key
        rudder_analytics.dataPlaneUrl = gateway
    sdk.on_error = _report
    for name, value in job["options"].items():
        setattr(sdk, name, value)
    for event in job["events"]:
        call = getattr(sdk, event.pop("type"))
        call(**_arguments(event))
        time.sleep(job["pauseMs"] / 1000)
    sdk.shutdown()


def _arguments(event: dict[str, Any]) -> dict[str, Any]:
    arguments = {_NAMES.get(name, name): value for name, value in event.items()}
    if "timestamp" in arguments:
        arguments["timestamp"] = datetime.fromisoformat(arguments["timestamp"])
    return arguments


def _report(_: Exception, batch: list[dict[str, Any]]) -> None:
    for event in batch:
        print(json.dumps({"givenUp": event.get("userId") or event["anonymousId"]}), flush=True)


main()
