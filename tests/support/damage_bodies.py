"""Damaged bodies: what is whole in them is delivered, and nothing else.

``make damage``, or ``python -m tests.support.damage_bodies --count 100000``: healthy bodies of 20
events, with one random damage each, go the way of the gateway, and the figures are printed.
"""

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gateway.config import DestinationConfig, DestinationSettings
from gateway.errors import RequestError
from gateway.events import Received, decode
from gateway.mapping import Mapper, prepare
from gateway.mapping.clocks import Clocks
from gateway.telemetry import Telemetry

__all__ = ["DAMAGES", "Body", "Tally", "check", "make_body", "run"]

EVENTS = 20

MOST_SLOWER = 3
"""How many times as long as a healthy body a damaged one may take."""

_SLOW = 0.75 * MOST_SLOWER
RECEIVED_MS = 1_700_000_000_000

_DESTINATION = DestinationConfig(
    name="mixpanel", settings=DestinationSettings(projectToken="token", sourceName="source")
)
_MAPPER = Mapper([_DESTINATION], Telemetry())
_CLOCKS = Clocks()  # a source keeps them, and they are large

_TEXTS = (
    "plain",
    "",
    "Größe 😀",
    'say "hi"',
    "C:\\temp\\new",
    "a{b}[c],:",
    '},{"type":"track"',
    "line\n",
    "https://shop.example/a?b=1&c=[2]",
    '{"json":{"type":"track","messageId":"in a text"}}',
    "\u2028",
)


class Body(NamedTuple):
    """A healthy body.

    :param spans: where each event begins and ends.
    """

    text: bytes
    spans: list[tuple[int, int]]
    ids: list[str]


def make_body(rng: random.Random, name: str, count: int = EVENTS) -> Body:
    """Return a body as one of several SDKs writes it."""
    separators = rng.choice([(",", ":"), (",", ":"), (", ", ": ")])
    is_ascii = rng.random() < 0.5

    def text_of(document: object) -> bytes:
        return json.dumps(document, separators=separators, ensure_ascii=is_ascii).encode()

    context = _context(rng)
    events = [_event(rng, f"{name}-{number}", context) for number in range(count)]
    shared: dict[str, Any] = {"writeKey": "write-key", "sentAt": "2023-11-14T22:13:20.000Z"}
    if rng.random() < 0.3:
        shared["context"] = {"library": {"name": "analytics-go", "version": "3.0.0"}}
    members = [b'"%b"%b%b' % (each.encode(), separators[1].encode(), text_of(value))
               for each, value in shared.items()]  # fmt: skip
    before = rng.choice([0, 0, 1, len(members)])
    comma = separators[0].encode()
    text = b"{" + b"".join(member + comma for member in members[:before])
    text += b'"batch"' + separators[1].encode() + b"["
    spans = []
    for number, event in enumerate(events):
        if number:
            text += comma
        encoded = text_of(event)
        spans.append((len(text), len(text) + len(encoded)))
        text += encoded
    text += b"]" + b"".join(comma + member for member in members[before:]) + b"}"
    return Body(text, spans, [event["messageId"] for event in events])


def _event(rng: random.Random, name: str, context: object) -> dict[str, Any]:
    kind = rng.choice(["track"] * 5 + ["identify", "page", "screen", "group"])
    members: dict[str, Any] = {
        "type": kind,
        "messageId": f"message-{name}-{rng.randbytes(8).hex()}",
        "userId": rng.choice([None, "user-1", "user-2"]),
        "anonymousId": "0c1e7a6e-6f0d-4c8e-9a63-1f7e",
        "timestamp": "2023-11-14T22:13:19.123Z",
        "context": context,
        "integrations": {},
        "_metadata": {"bundled": ["Segment.io"], "unbundled": [], "bundledIds": []},
    }
    match kind:
        case "track":
            members["event"] = rng.choice(["Order Completed", "Signed Up", rng.choice(_TEXTS)])
            members["properties"] = _properties(rng)
        case "identify":
            members["traits"] = {"email": "a@b.example", "plan": rng.choice(_TEXTS), "age": 33}
        case "group":
            members["groupId"] = "group-1"
            members["traits"] = {"name": rng.choice(_TEXTS)}
        case _:
            members["name"] = "Home"
            members["properties"] = _properties(rng)
    names = list(members)
    if rng.random() < 0.5:
        rng.shuffle(names)
    return {each: members[each] for each in names}


def _properties(rng: random.Random) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "price": rng.choice([9.99, 0.5, 100, -3, 1e21]),
        "text": rng.choice(_TEXTS),
        "flag": rng.random() < 0.5,
        "nothing": None,
    }
    if rng.random() < 0.4:
        properties["products"] = [
            {"type": "page", "product_id": str(number), "name": rng.choice(_TEXTS), "userId": "u"}
            for number in range(rng.randrange(4))
        ]
    if rng.random() < 0.2:
        properties["nested"] = {"batch": [{"a": [1, [2, {"b": {}}]]}], "tags": ["a", "b"]}
    return properties


def _context(rng: random.Random) -> dict[str, Any]:
    return {
        "library": {"name": "analytics.js", "version": "npm:next-1.84.1"},
        "page": {"path": "/a", "referrer": "", "search": "?a=1", "title": rng.choice(_TEXTS),
                 "url": "https://shop.example/a?a=1"},
        "userAgent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/120 Safari/537.36",
        "locale": "de-DE",
        "timezone": "Europe/Berlin",
    }  # fmt: skip


class Damaged(NamedTuple):
    """A body and what happened to it.

    :param first: the first byte of the healthy body that is not there any more, or has another
        before it.
    :param last: the place past the last of those.
    :param added: whole events of another body that lie in what was put there.
    """

    text: bytes
    first: int
    last: int
    added: list[str]


def _cut(body: Body, other: Body, rng: random.Random) -> Damaged:
    place = rng.randrange(1, len(body.text))
    if rng.random() < 0.5:
        return Damaged(body.text[:place], place, len(body.text), [])
    return Damaged(body.text[place:], 0, place, [])


def _flip(body: Body, other: Body, rng: random.Random) -> Damaged:
    place = rng.randrange(len(body.text))
    byte = body.text[place] ^ (1 << rng.randrange(8))
    return Damaged(body.text[:place] + bytes([byte]) + body.text[place + 1 :], place, place + 1, [])


def _insert(body: Body, other: Body, rng: random.Random) -> Damaged:
    place = rng.randrange(1, len(body.text))
    if rng.random() < 0.5:
        added = rng.randbytes(rng.randint(1, 8))
    else:
        added = bytes(rng.choice(b'"{}[],:\\ \n\0ntf019.-') for _ in range(rng.randint(1, 4)))
    return Damaged(body.text[:place] + added + body.text[place:], place, place, [])


def _delete(body: Body, other: Body, rng: random.Random) -> Damaged:
    first = rng.randrange(len(body.text) - 1)
    most = rng.choice([1, 8, 64, 2000])
    last = min(len(body.text), first + rng.randint(1, most))
    return Damaged(body.text[:first] + body.text[last:], first, last, [])


def _splice(body: Body, other: Body, rng: random.Random) -> Damaged:
    place = rng.randrange(1, len(body.text))
    begin = rng.randrange(len(other.text) - 1)
    end = min(len(other.text), begin + rng.randint(1, rng.choice([20, 400, 4000])))
    last = min(len(body.text), place + rng.choice([0, 0, end - begin]))
    text = body.text[:place] + other.text[begin:end] + body.text[last:]
    added = [name for name, (a, b) in zip(other.ids, other.spans, strict=True)
             if begin <= a and b <= end]  # fmt: skip
    return Damaged(text, place, last, added)


DAMAGES = {"cut": _cut, "flip": _flip, "insert": _insert, "delete": _delete, "splice": _splice}


@dataclass
class Tally:
    """What became of many damaged bodies."""

    bodies: int = 0
    whole: int = 0
    intact: int = 0
    delivered: int = 0
    refused: int = 0
    nulls: int = 0
    letters: int = 0
    invented: int = 0
    changed: int = 0
    added: int = 0
    added_delivered: int = 0
    healthy_s: float = 0.0
    damaged_s: float = 0.0
    slowest: float = 0.0
    losses: Counter[str] = field(default_factory=Counter)
    examples: list[tuple[str, str, bytes]] = field(default_factory=list)


def _map(body: bytes) -> None:
    """Do with a body all that is done with it before it is stored."""
    try:
        received = decode(body)
    except RequestError:
        return
    prepare(
        received,
        received_ms=RECEIVED_MS,
        default_type=None,
        client_ip=None,
        is_retry=False,
        clocks=_CLOCKS,
    )
    _MAPPER.map(["mixpanel"], received.events, received_ms=RECEIVED_MS, misfits=received.misfits)


def _time(body: bytes) -> float:
    """Return the CPU time that a body takes, in seconds."""
    began = time.thread_time()
    _map(body)
    return time.thread_time() - began


def _times(healthy: bytes, damaged: bytes, repeats: int) -> tuple[float, float]:
    """Return the least times of two bodies, taken in turns: a machine is not always as fast."""
    pairs = [(_time(healthy), _time(damaged)) for _ in range(repeats)]
    return min(one for one, _ in pairs), min(other for _, other in pairs)


def _by_event(body: bytes) -> dict[str, Counter[bytes]]:
    """Return the records of a body by the ids of its events, each event mapped by itself."""
    received = decode(body)
    prepare(received, received_ms=RECEIVED_MS, default_type=None, client_ip=None, is_retry=False)
    return _lines(received)


def _lines(received: Received) -> dict[str, Counter[bytes]]:
    lines: dict[str, Counter[bytes]] = {}
    for event in received.events:
        mapped = _MAPPER.map(["mixpanel"], [event], received_ms=RECEIVED_MS)
        found = [line for entry in mapped.entries for line in entry.lines.split(b"\n")[:-1]]
        lines.setdefault(str(event.message_id), Counter()).update(found)
    return lines


def check(tally: Tally, kind: str, body: Body, other: Body, damaged: Damaged) -> None:
    """Count what became of one damaged body."""
    healthy = _by_event(body.text)
    tally.bodies += 1
    intact = [
        name for name, (begin, end) in zip(body.ids, body.spans, strict=True)
        if end <= damaged.first or damaged.last <= begin
    ]  # fmt: skip
    tally.intact += len(intact)
    tally.added += len(damaged.added)
    try:
        received = decode(damaged.text)
    except RequestError:
        tally.refused += 1
        tally.whole += not intact
        if intact:
            _note(tally, kind, "refused", damaged.text)
        return
    tally.nulls += received.nulls
    tally.letters += len(received.misfits)
    prepare(received, received_ms=RECEIVED_MS, default_type=None, client_ip=None, is_retry=False)
    found = _lines(received)
    missing = [name for name in intact if name not in found]
    tally.delivered += len(intact) - len(missing)
    tally.whole += not missing
    if missing:
        _note(tally, kind, f"lost {len(missing)}", damaged.text)
    theirs = _by_event(other.text) if damaged.added else {}
    tally.added_delivered += sum(name in found for name in damaged.added)
    # What the damage went through may still be an event, if not the same.
    touched = len(body.ids) - len(intact) + 2 * bool(kind == "splice")
    for name, lines in found.items():
        if name in intact:
            if lines != healthy[name] and not _differs_by_shared(damaged, body):
                tally.changed += 1
                _note(tally, kind, "changed", damaged.text)
        elif name in damaged.added:
            del theirs[name]
        else:
            touched -= 1
    if touched < 0:
        tally.invented += 1
        _note(tally, kind, "invented", damaged.text)


def _differs_by_shared(damaged: Damaged, body: Body) -> bool:
    """Return whether the damage went through what lies beside the events, or cut it off."""
    return damaged.first < body.spans[0][0] or damaged.last > body.spans[-1][1]


def _note(tally: Tally, kind: str, what: str, text: bytes) -> None:
    tally.losses[f"{kind}: {what}"] += 1
    if len(tally.examples) < 200:
        tally.examples.append((kind, what, text))


def cases(count: int, seed: int) -> Iterator[tuple[str, Body, Body, Damaged]]:
    """Yield damaged bodies, of each kind as many."""
    rng = random.Random(seed)
    bodies = [make_body(rng, f"{number}") for number in range(200)]
    kinds = list(DAMAGES.items())
    for number in range(count):
        kind, damage = kinds[number % len(kinds)]
        body, other = rng.sample(bodies, 2)
        yield kind, body, other, damage(body, other, rng)


def run(count: int, seed: int, *, is_timed: bool = True) -> Tally:
    """Return what became of so many damaged bodies."""
    tally = Tally()
    for number, (kind, body, other, damaged) in enumerate(cases(count, seed)):
        check(tally, kind, body, other, damaged)
        if is_timed:
            _compare(tally, kind, body.text, damaged.text)
        if is_timed and sys.stderr.isatty() and number % 1000 == 0:
            print(f"\r{number:,} of {count:,}", end="", file=sys.stderr, flush=True)
    return tally


def _compare(tally: Tally, kind: str, body: bytes, damaged: bytes) -> None:
    """Take note of how long a damaged body takes beside the healthy one.

    One look is enough where it is not slow: what else the machine does only ever adds to it.
    """
    healthy_s, damaged_s = _times(body, damaged, 2)
    if damaged_s > _SLOW * healthy_s:
        healthy_s, damaged_s = _times(body, damaged, 25)
    tally.healthy_s += healthy_s
    tally.damaged_s += damaged_s
    ratio = damaged_s / healthy_s
    tally.slowest = max(tally.slowest, ratio)
    if ratio > MOST_SLOWER:
        _note(tally, kind, f"{ratio:.1f} times slower", damaged)


def main() -> int:
    """Print the figures; return 1 where they are not good enough."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", type=int, default=0, help="examples of what was lost")
    options = parser.parse_args()
    tally = run(options.count, options.seed)
    for kind, what, text in tally.examples[: options.show]:
        print(kind, what, text.decode(errors="replace"), sep="\t")
    print(
        f"bodies {tally.bodies}, with every intact event delivered {tally.whole} "
        f"({tally.whole / tally.bodies:.3%}), refused {tally.refused}\n"
        f"intact events {tally.intact}, delivered {tally.delivered} "
        f"({tally.delivered / tally.intact:.4%})\n"
        f"intact events of spliced bodies {tally.added}, delivered {tally.added_delivered}\n"
        f"bodies with events invented {tally.invented}; events changed {tally.changed}\n"
        f"dead letters {tally.letters}, numbers nulled {tally.nulls}\n"
        f"time to a healthy body's: {tally.damaged_s / tally.healthy_s:.2f} on average, "
        f"{tally.slowest:.2f} at most"
    )
    for what, times in tally.losses.most_common():
        print(f"  {what}: {times}")
    is_good = (
        tally.whole >= 0.99 * tally.bodies
        and not tally.invented
        and not tally.changed
        and tally.slowest <= MOST_SLOWER
    )
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
