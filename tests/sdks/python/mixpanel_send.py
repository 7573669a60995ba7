"""Send the events of a job (JSON on standard input) with mixpanel.

Prints a JSON line for each event that the SDK gave up.
"""

import json
import sys
import time
from typing import Any

from mixpanel import BufferedConsumer, Consumer, Mixpanel, MixpanelException


def main() -> None:
    job = json.load(sys.stdin)
    token, host = job["token"], job["host"]
    if job["pauseMs"]:
        mixpanel = Mixpanel(token, consumer=Consumer(api_host=host))
    else:
        mixpanel = Mixpanel(token, consumer=BufferedConsumer(api_host=host))
    for event in job["events"]:
        try:
            _send(mixpanel, event)
        except MixpanelException:
            print(json.dumps({"givenUp": event["userId"]}), flush=True)
        time.sleep(job["pauseMs"] / 1000)
    if not job["pauseMs"]:
        mixpanel._consumer.flush()


def _send(mixpanel: Mixpanel, event: dict[str, Any]) -> None:
    match event["type"]:
        case "track":
            mixpanel.track(event["userId"], event["event"], event["properties"])
        case "identify":
            mixpanel.people_set(event["userId"], event["traits"])
        case _:
            mixpanel.group_set("company", event["groupId"], event["traits"])


main()
