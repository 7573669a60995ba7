"""Subscriptions that make two events with one name and one id of one are pointed out."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.config import DestinationConfig, DestinationSettings, SubscriptionConfig
from gateway.mapping.doubles import doubles_in


def found(*subscriptions: dict[str, Any], presets: bool = True) -> list[str]:
    config = DestinationConfig(
        name="mp",
        settings=DestinationSettings(projectToken="T"),
        presets=presets,
        subscriptions=tuple(SubscriptionConfig(**each) for each in subscriptions),
    )
    return list(doubles_in(config))


def own(subscribe: str, **options: Any) -> dict[str, Any]:
    return {"action": "trackEvent", "subscribe": subscribe, **options}


@pytest.mark.parametrize(
    "subscription",
    [
        own('type = "track"'),
        own('type = "track" and event = "A"'),
        own('type = "track" and properties.total > 5'),
        own('type = "track" and contains(event, "A")'),
        own("userId != null"),
        own('event = "A" or event = "B"'),
        own('type = "track" and event = "A"', mapping={"event": "A"}),
        own('type = "track" and event = "A"', mapping={"event": {"@literal": "A"}}),
        own('type = "track" and event = "A"', mapping={"event": {"@path": "$.event"}}),
        own('type = "track" and event = "Order Completed"'),
        own('type = "track"', mapping={"event_properties": {"a": "$.properties.a"}}),
        own('type = "track"', sources=("one",)),
        own('type = "track" and event = "A"', action="trackPurchase"),
        own('type = "page"', mapping={"event": {"@template": "Viewed {{name}}"}}),
    ],
)
def test_subscription_that_repeats_a_presets_events_is_found(subscription: dict[str, Any]) -> None:
    messages = found(subscription)
    assert messages
    assert all("$insert_id" in message for message in messages)


@pytest.mark.parametrize(
    "subscription",
    [
        own('type = "track" and event = "A"', mapping={"event": "B"}),
        own(
            'type = "track" and event = "A"',
            mapping={"insert_id": {"@template": "x-{{messageId}}"}},
        ),
        own('type = "track" and event = "A"', enabled=False),
        own('type = "track" and event = "A"', action="incrementProperties"),
        own('type = "alias"', mapping={"event": "Alias"}),
        own('type = "track" and event != "Order Completed"', name="Track Calls"),
        own('type = "identify"', mapping={"event": "Signed Up"}),
    ],
)
def test_subscription_that_repeats_nothing_is_not(subscription: dict[str, Any]) -> None:
    assert found(subscription) == []


def test_presets_alone_repeat_nothing() -> None:
    assert found() == []


def test_two_of_ones_own_are_found_as_well() -> None:
    two = (own('type = "track"'), own('event = "A"', name="second"))
    assert len(found(*two, presets=False)) == 1
    apart = (own('event = "A"', sources=("one",)), own('event = "A"', sources=("two",)))
    assert found(*apart, presets=False) == []


APART = [
    ('contains(event, "A")', 'not contains(event, "A")'),
    ('contains(event, "AB")', '!contains(event, "A")'),
    ('event = "B"', 'contains(event, "A")'),
    ('contains(event, "A") and contains(event, "B")', 'event = "A" or event = "B"'),
    ('event = "Big"', 'match(event, "S*")'),
    ('match(event, "S*")', 'not match(event, "S*")'),
    ('match(event, "a\\\\*b")', 'event = "a*b!"'),
    ("properties.total >= 5", "properties.total < 5"),
    ("properties.total > 5", "not properties.total >= 5"),
    ("properties.total > 5 and properties.total <= 7", "properties.total > 7"),
    ("properties.test = true", "properties.test != true"),
    ("properties.test = true", "properties.test = 1"),
    ('properties.plan = "a"', 'properties.plan = "b"'),
    ('properties.plan = "a"', 'contains(properties.plan, "b")'),
    ("properties.plan = null", 'properties.plan = "b"'),
    ("properties.plan = null", "properties.plan > 1"),
    ('contains(properties.plan, "b")', 'not contains(properties.plan, "b")'),
    ("userId != null", "userId = null"),
    ("userId != null and properties.a = 1", '(userId = null and event = "A") or properties.a = 2'),
]

MEETING = [
    ('contains(event, "A")', 'contains(event, "B")'),
    ('contains(event, "A")', 'not contains(event, "AB")'),
    ('contains(event, "A")', 'event = "AB"'),
    ('match(event, "S*")', 'match(event, "*S")'),
    ('match(event, "a?")', 'event = "ab"'),
    ("properties.total >= 5", "properties.total <= 5"),
    ("properties.total >= 5", "not properties.total > 7"),
    ("not properties.total >= 5", "not properties.total < 5"),
    ("properties.test != true", "properties.test != false"),
    ('properties.plan = "a"', 'properties.other = "b"'),
    ('properties.plan = "5"', "properties.plan > 4"),
    ('contains(properties.plan, "ab")', 'not contains(properties.plan, "a")'),
    ("userId != null and properties.a = 1", "userId = null or properties.a = 1"),
    (
        " or ".join(f"properties.p{n} = {n}" for n in range(300)),
        " and ".join(f"properties.q{n} > {n}" for n in range(300)),
    ),
]


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("one", "other", "is_found"),
    [(*pair, False) for pair in APART] + [(*pair, True) for pair in MEETING],
)
def test_conditions_that_exclude_each_other_never_make_two(
    one: str, other: str, is_found: bool, turned: bool
) -> None:
    pair = [own(f'type = "track" and ({each})') for each in (one, other)]
    assert bool(found(*(pair[::-1] if turned else pair), presets=False)) == is_found


CONFIG = """
[[sources]]
name = "s"
write_key = "a-key-for-the-tests"
[[destinations]]
name = "mixpanel"
[destinations.settings]
projectToken = "T"
[[destinations.subscriptions]]
name = "Copies"
subscribe = 'type = "track" and event = "A"'
action = "trackEvent"
"""


def test_check_warns_and_map_says_it(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(CONFIG)
    checked = CliRunner().invoke(app, ["check", "--config", str(path)])
    assert checked.exit_code == 0
    assert (
        'warning: destinations[0]: "Track Calls" and "Copies" may make two events' in checked.output
    )

    events = tmp_path / "events.json"
    texts = []
    for name in ("A", "B"):
        events.write_text(json.dumps({"type": "track", "event": name, "userId": "u"}))
        options = ["map", "--config", str(path), "--explain", str(events)]
        texts.append(CliRunner().invoke(app, options).output)
    said = "two events have one name and one $insert_id"
    assert [said in text for text in texts] == [True, False]
