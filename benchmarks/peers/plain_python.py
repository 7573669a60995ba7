"""The same mapping the way a gateway in plain Python does it: parse to dicts, pick, dump.

It makes the records of profile ``segment`` from events as SDKs write them.  What the gateway does
about values of other types, unreadable times, invalid addresses and ``integrations`` is left out,
which makes this one faster.
"""

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import orjson

from benchmarks.peers.plain_values import (
    FROM_CONTEXT,
    FROM_PARTS_OF_CONTEXT,
    NEVER_OWN,
    OF_GROUP,
    OF_ORDER,
    OF_PRODUCT,
    OF_USER,
    browser,
    insert_id,
    item_id,
    milliseconds,
    usable_id,
)

__all__ = ["Json", "PlainPython"]

Json = dict[str, Any]
Record = tuple[str, Json]

_DAY_MS = 86_400_000


def _line(record: Json) -> bytes:
    return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)


class PlainPython:
    """The mapping of bodies; takes and gives what ``benchmarks.adapter.new_gateway`` does.

    :param loads: reads JSON.
    :param line: writes a record and the end of its line.
    """

    def __init__(
        self,
        token: str,
        source_name: str,
        client_ip: str,
        received_ms: int,
        *,
        loads: Callable[[bytes], Any] = orjson.loads,
        line: Callable[[Json], bytes] = _line,
    ) -> None:
        self._loads = loads
        self._line = line
        self._token = token
        self._source_name = source_name
        self._client_ip = client_ip
        self._received_ms = received_ms

    def __call__(self, body: bytes) -> list[tuple[str, bytes]]:
        """Return newline-delimited records, each with the endpoint it goes to."""
        payload = self._loads(body)
        batch = payload.get("batch")
        shared = payload.get("context") if batch is not None else None
        skew = self._skew(payload.get("sentAt"))
        lines: dict[str, list[bytes]] = {}
        for event in [payload] if batch is None else batch:
            context = event.get("context") or {}
            if shared:
                context = {**shared, **context}
            own_skew = self._skew(event["sentAt"]) if event.get("sentAt") else skew
            for endpoint, record in self._map(event, context, own_skew):
                lines.setdefault(endpoint, []).append(self._line(record))
        return [(endpoint, b"".join(found)) for endpoint, found in lines.items()]

    def _map(self, event: Json, context: Json, skew: int) -> Iterator[Record]:
        kind = event.get("type")
        if kind == "track" and event.get("event"):
            yield from self._track(event["event"], event, context, skew)
        elif kind in ("page", "screen"):
            yield from self._track(f"Viewed {event.get('name') or ''}", event, context, skew)
        elif kind == "identify":
            yield from self._identify(event, context)
        elif kind == "group" and event.get("groupId") and event.get("traits") is not None:
            yield self._group(event["groupId"], event["traits"])

    def _track(self, name: str, event: Json, context: Json, skew: int) -> Iterator[Record]:
        mapped = self._mapped(event, context, skew)
        own = {k: v for k, v in (event.get("properties") or {}).items() if k not in NEVER_OWN}
        yield "import", {"event": name, "properties": {**mapped, **own}}
        if name == "Order Completed" and event["type"] == "track":
            common = {**mapped, **{k: v for k, v in own.items() if k not in OF_ORDER}}
            for index, product in enumerate(own.get("products") or ()):
                properties = {
                    **common,
                    "$insert_id": item_id(index, mapped["$insert_id"]),
                    "time": mapped["time"] - 1 - index,
                    **{k: product[k] for k in OF_PRODUCT if product.get(k) is not None},
                }
                yield "import", {"event": "Product Purchased", "properties": properties}

    def _mapped(self, event: Json, context: Json, skew: int) -> Json:
        user, anonymous = usable_id(event.get("userId")), usable_id(event.get("anonymousId"))
        mapped = {
            "time": self._time(event.get("timestamp"), skew),
            "ip": context.get("ip") or self._client_ip or 0,
            "distinct_id": user or anonymous or "",
            "$insert_id": insert_id(event.get("messageId") or str(uuid.uuid4())),
            "$source": "segment",
            "segment_source_name": self._source_name,
        }
        ids = {
            "id": user or anonymous,
            "$anon_id": anonymous,
            "$device_id": anonymous,
            "$identified_id": user,
            "$user_id": user,
            "event_original_name": event.get("event") or event.get("name"),
        }
        mapped |= {name: value for name, value in ids.items() if value}
        _pick(context, FROM_CONTEXT, mapped)
        for part, names in FROM_PARTS_OF_CONTEXT.items():
            if found := context.get(part):
                _pick(found, names, mapped)
        _finish(mapped)
        if user_agent := context.get("userAgent"):
            mapped |= browser(user_agent)
        return mapped

    def _identify(self, event: Json, context: Json) -> Iterator[Record]:
        user, anonymous = usable_id(event.get("userId")), usable_id(event.get("anonymousId"))
        token = self._token
        if user and anonymous:
            link = {"$identified_id": user, "$anon_id": anonymous, "token": token}
            link["segment_source_name"] = self._source_name
            yield "track", {"event": "$identify", "properties": link}
        traits = event.get("traits")
        if traits and (user or anonymous):
            first, last = traits.get("firstName"), traits.get("lastName")
            special = {
                "$created": _created(traits),
                "$email": traits.get("email"),
                "$first_name": first,
                "$last_name": last,
                "$name": traits.get("name") or (f"{first} {last}" if first and last else None),
                "$username": traits.get("username"),
                "$phone": traits.get("phone"),
            }
            record: Json = {"$token": token, "$distinct_id": user or anonymous}
            record["$ip"] = context.get("ip") or self._client_ip
            record["$set"] = _profile(traits, OF_USER, special)
            yield "engage", record

    def _group(self, group_id: str, traits: Json) -> Record:
        special = {"$name": traits.get("name"), "$created": _created(traits)}
        return "groups", {
            "$token": self._token,
            "$group_key": "$group_id",
            "$group_id": traits.get("$group_id") or group_id,
            "$set": _profile(traits, OF_GROUP, special),
        }

    def _skew(self, sent_at: str | None) -> int:
        difference = self._received_ms - milliseconds(sent_at) if sent_at else 0
        return 0 if abs(difference) > _DAY_MS else round(difference / 10_000) * 10_000

    def _time(self, timestamp: str | None, skew: int) -> int:
        latest = self._received_ms + 3_600_000
        time_ms = milliseconds(timestamp) + skew if timestamp else latest + 1
        return self._received_ms if time_ms > latest else time_ms


def _pick(found: Json, names: dict[str, str], into: Json) -> None:
    for key, name in names.items():
        value = found.get(key)
        if value is not None and value != "":
            into[name] = value


def _finish(mapped: Json) -> None:
    """Write what does not stand in the context as it is sent."""
    if "mp_lib" in mapped:
        mapped["mp_lib"] = f"Segment Actions: {mapped['mp_lib']}"
    if "$device_name" in mapped:
        mapped["$device"] = mapped["$device_name"]
    if "advertising_id" in mapped:
        mapped["$ios_ifa"] = mapped["advertising_id"]
    if "ad_tracking_enabled" in mapped:
        mapped["ad_tracking_enabled"] = str(mapped["ad_tracking_enabled"]).lower()


def _profile(traits: Json, omit: set[str], special: Json) -> Json:
    profile = {key: value for key, value in traits.items() if key not in omit}
    profile |= {key: value for key, value in special.items() if value is not None}
    return profile


def _created(traits: Json) -> Any:
    return traits.get("created") or traits.get("createdAt") or traits.get("created_at")
