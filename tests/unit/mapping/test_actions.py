import json
from collections.abc import Sequence
from typing import Any

import pytest

from gateway.config import DestinationConfig, DestinationSettings, SubscriptionConfig
from gateway.events import decode
from gateway.mapping import Mapper, prepare
from gateway.mapping.integrations import keeper
from gateway.sandbox.contract import validate_event, validate_tracked
from gateway.telemetry import Telemetry

RECEIVED_MS = 1_790_000_000_000
SENT = "2026-09-21T12:00:00.000Z"
SENT_MS = 1_789_992_000_000
BOTH = {"userId": "u-1", "anonymousId": "a-1"}

Records = list[tuple[str, dict[str, Any]]]


def destination(*subscriptions: SubscriptionConfig, **options: Any) -> DestinationConfig:
    settings = DestinationSettings(projectToken="TOKEN", **options.pop("settings", {}))
    return DestinationConfig(name="mp", settings=settings, subscriptions=subscriptions, **options)


def subscription(action: Any, subscribe: str, **options: Any) -> SubscriptionConfig:
    return SubscriptionConfig(action=action, subscribe=subscribe, **options)


class Outcome:
    """What a destination makes of some events."""

    def __init__(
        self, config: DestinationConfig, *events: dict[str, Any], source: str = ""
    ) -> None:
        telemetry = Telemetry()
        mapper = Mapper([config], telemetry)
        received = decode(json.dumps({"batch": events}).encode())
        prepare(
            received, received_ms=RECEIVED_MS, default_type=None, client_ip=None, is_retry=False
        )
        mapped = mapper.map(["mp"], received.events, received_ms=RECEIVED_MS, source=source)
        self.records: Records = [
            (entry.queue.endpoint, json.loads(line))
            for entry in mapped.entries
            for line in entry.lines.splitlines()
        ]
        self.rejected = [letter.reason for letter in mapped.dead]
        self.details = [letter.detail for letter in mapped.dead]
        self.dropped = {field: count for (_, field), count in mapper.dropped_fields().items()}
        self.skipped = {
            sample.labels["reason"]: int(sample.value)
            for metric in telemetry.events_skipped.collect()
            for sample in metric.samples
            if sample.name.endswith("_total")
        }

    @property
    def only(self) -> tuple[str, dict[str, Any]]:
        [record] = self.records
        return record


def event(**members: Any) -> dict[str, Any]:
    return {"type": "track", "messageId": "m-1", "timestamp": SENT, **members}


# --- alias -------------------------------------------------------------------------------------

ALIAS = subscription("alias", 'type = "alias"')


def alias(**members: Any) -> dict[str, Any]:
    return event(type="alias", **members)


def test_alias_without_a_subscription_makes_nothing_and_is_counted() -> None:
    outcome = Outcome(destination(), alias(previousId="a-1", userId="u-1"))
    assert (outcome.records, outcome.rejected) == ([], [])
    assert outcome.skipped == {"no_subscription": 1}


def test_alias_becomes_create_alias_with_token_and_source_name() -> None:
    config = destination(ALIAS, settings={"sourceName": "ios"})
    endpoint, record = Outcome(config, alias(previousId="a-1", userId="u-1")).only
    assert endpoint == "track"
    assert record == {
        "event": "$create_alias",
        "properties": {
            "distinct_id": "a-1",
            "alias": "u-1",
            "token": "TOKEN",
            "syft_source_name": "ios",
        },
    }
    assert validate_tracked(record) is None


def test_alias_falls_back_to_the_anonymous_id() -> None:
    _, record = Outcome(destination(ALIAS), alias(previousId="p", anonymousId="a")).only
    assert record["properties"]["alias"] == "a"


@pytest.mark.parametrize(
    ("ids", "reason"),
    [
        ({"userId": "u-1"}, "missing_previous_id"),
        ({"previousId": "null", "userId": "u-1"}, "missing_previous_id"),
        ({"previousId": "a-1"}, "missing_id"),
    ],
)
def test_alias_without_an_id_is_a_dead_letter(ids: dict[str, str], reason: str) -> None:
    outcome = Outcome(destination(ALIAS), alias(**ids))
    assert (outcome.records, outcome.rejected) == ([], [reason])
    assert outcome.details[0]


# --- incrementProperties -----------------------------------------------------------------------

INCREMENT = subscription("incrementProperties", 'type = "track" and event = "Won"')


def won(increment: Any, **members: Any) -> dict[str, Any]:
    return event(event="Won", properties={"increment": increment}, **(BOTH | members))


def increments(outcome: Outcome) -> Records:
    return [(endpoint, record) for endpoint, record in outcome.records if endpoint == "engage"]


def test_increments_are_added_to_the_profile_beside_the_event() -> None:
    outcome = Outcome(destination(INCREMENT), won({"coins": 5}, context={"ip": "1.2.3.4"}))
    assert [endpoint for endpoint, _ in outcome.records] == ["import", "engage"]
    [(_, record)] = increments(outcome)
    assert record == {
        "$token": "TOKEN",
        "$distinct_id": "u-1",
        "$ip": "1.2.3.4",
        "$add": {"coins": 5},
    }


def test_numeric_texts_are_converted_and_other_values_dropped_and_counted() -> None:
    outcome = Outcome(destination(INCREMENT), won({"a": "1.50", "b": -2, "c": "x", "d": {}}))
    [(_, record)] = increments(outcome)
    assert record["$add"] == {"a": 1.5, "b": -2}
    assert outcome.dropped == {"increment": 2}


def test_increment_for_an_anonymous_user_goes_to_the_anonymous_profile() -> None:
    [(_, record)] = increments(Outcome(destination(INCREMENT), won({"a": 1}, userId=None)))
    assert record["$distinct_id"] == "a-1"


def test_at_most_twenty_properties_are_incremented() -> None:
    twenty = {f"p{i}": i for i in range(20)}
    assert increments(Outcome(destination(INCREMENT), won(twenty)))[0][1]["$add"] == twenty
    outcome = Outcome(destination(INCREMENT), won({**twenty, "one more": 1}))
    assert (outcome.records, outcome.rejected) == ([], ["too_many_increments"])
    assert "20" in outcome.details[0]


@pytest.mark.parametrize("increment", [{}, None, 5, "x", [1]])
def test_without_increments_only_the_event_is_sent(increment: Any) -> None:
    outcome = Outcome(destination(INCREMENT), won(increment))
    assert [endpoint for endpoint, _ in outcome.records] == ["import"]


def test_increments_may_be_put_together_in_the_mapping() -> None:
    mapping = {"increment": {"wins": 1, "coins": "$.properties.prize", "gone": "$.properties.no"}}
    config = destination(
        subscription("incrementProperties", 'event = "Won"', mapping=mapping), presets=False
    )
    _, record = Outcome(config, event(event="Won", properties={"prize": "30"}, **BOTH)).only
    assert record["$add"] == {"wins": 1, "coins": 30}


# --- simplified identity -----------------------------------------------------------------------


def simplified(*subscriptions: SubscriptionConfig, **options: Any) -> DestinationConfig:
    return destination(*subscriptions, identity="simplified", **options)


@pytest.mark.parametrize(
    ("ids", "distinct_id"),
    [
        (BOTH, "u-1"),
        ({"userId": "u-1"}, "u-1"),
        ({"anonymousId": "a-1"}, "$device:a-1"),
        ({"userId": "undefined", "anonymousId": "a-1"}, "$device:a-1"),
        ({"anonymousId": "null"}, ""),
        ({}, ""),
    ],
)
def test_simplified_events_are_about_the_user_or_the_device(
    ids: dict[str, str], distinct_id: str
) -> None:
    _, record = Outcome(simplified(), event(event="Opened", **ids)).only
    properties = record["properties"]
    assert properties["distinct_id"] == distinct_id
    assert properties.get("id", "") == distinct_id
    assert ("id" in properties) == (distinct_id != "")
    assert properties.get("$device_id") == (
        ids.get("anonymousId") if ids.get("anonymousId") != "null" else None
    )


def test_simplified_product_events_are_about_the_device_too() -> None:
    order = event(
        event="Order Completed", anonymousId="a-1", properties={"products": [{"sku": "1"}]}
    )
    records = Outcome(simplified(), order).records
    assert [r["properties"]["distinct_id"] for _, r in records] == ["$device:a-1"] * 2


def test_simplified_identify_links_both_ids_with_one_ordinary_event() -> None:
    identify = event(type="identify", traits={"email": "e@x.org"}, context={"ip": "::1"}, **BOTH)
    outcome = Outcome(simplified(settings={"sourceName": "web"}), identify)
    (endpoint, link), (other, profile) = outcome.records
    assert (endpoint, other) == ("import", "engage")
    assert link == {
        "event": "Identify",
        "properties": {
            "time": SENT_MS,
            "ip": "::1",
            "distinct_id": "u-1",
            "$device_id": "a-1",
            "$user_id": "u-1",
            "$insert_id": "m-1",
            "$source": "syft",
            "syft_source_name": "web",
        },
    }
    assert validate_event(link, RECEIVED_MS) is None
    assert profile["$distinct_id"] == "u-1"


def test_name_of_the_linking_event_is_configurable() -> None:
    config = simplified(identify_event="Logged In", profile="segment")
    _, record = Outcome(config, event(type="identify", **BOTH)).only
    assert record["event"] == "Logged In"
    assert record["properties"]["$source"] == "segment"


@pytest.mark.parametrize(
    ("ids", "distinct_id"), [({"userId": "u"}, "u"), ({"anonymousId": "a"}, "$device:a")]
)
def test_simplified_identify_with_one_id_only_updates_the_profile(
    ids: dict[str, str], distinct_id: str
) -> None:
    endpoint, record = Outcome(simplified(), event(type="identify", traits={"age": 5}, **ids)).only
    assert (endpoint, record["$distinct_id"]) == ("engage", distinct_id)


def test_simplified_increments_go_to_the_device_profile() -> None:
    outcome = Outcome(simplified(INCREMENT), won({"a": 1}, userId=None))
    assert increments(outcome)[0][1]["$distinct_id"] == "$device:a-1"


def test_simplified_alias_makes_nothing_and_says_why() -> None:
    outcome = Outcome(simplified(ALIAS), alias(previousId="a-1", userId="u-1"))
    assert (outcome.records, outcome.rejected) == ([], [])
    assert outcome.skipped == {"simplified_identity": 1}


def test_simplified_alias_stands_in_nobodys_way() -> None:
    everything = subscription("trackEvent", 'event != "x"', mapping={"event": "Any"})
    outcome = Outcome(simplified(ALIAS, everything, presets=False), alias(userId="u-1"))
    assert outcome.only[1]["event"] == "Any"
    only_some = subscription("alias", 'type = "alias" and userId = "u-2"')
    outcome = Outcome(simplified(only_some), alias(userId="u-1"), alias(userId="u-2"))
    assert outcome.skipped == {"no_subscription": 1, "simplified_identity": 1}


def test_original_identity_still_sends_identify() -> None:
    endpoint, record = Outcome(destination(), event(type="identify", **BOTH)).only
    assert (endpoint, record["event"]) == ("track", "$identify")


# --- integrations ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("integrations", "is_sent"),
    [
        (None, True),
        ({}, True),
        ({"All": True}, True),
        ({"All": False}, False),
        ({"Mixpanel": False}, False),
        ({"Mixpanel (Actions)": False}, False),
        ({"actions-mixpanel": False}, False),
        ({"MP": False}, False),
        ({"mp": False}, False),
        ({"Amplitude": False}, True),
        ({"All": False, "Amplitude": True}, False),
        ({"All": False, "Mixpanel": True}, True),
        ({"All": False, "Mixpanel": {}}, True),
        ({"All": False, "MP": {"option": 1}}, True),
        ({"All": False, "mp": True}, True),
        ({"All": False, "Mixpanel": "yes"}, False),
        ({"Mixpanel": False, "mp": True}, True),
        ({"all": False}, False),
        ({"ALL": False, "Mixpanel": True}, True),
        ({" All ": False}, False),
        ({"all": False, "All": True}, False),
        ({"All": "false"}, False),
        ({"All": " False\n"}, False),
        ({"All": "no"}, False),
        ({"All": 0}, False),
        ({"All": 0.0}, False),
        ({"All": None}, False),
        ({"All": ""}, False),
        ({"All": "true"}, True),
        ({"All": "yes"}, True),
        ({"All": 1}, True),
        ({"All": []}, True),
        ({"All": {}}, True),
        ({"All": "whatever"}, False),
        ({"mixpanel": False}, False),
        ({"MIXPANEL": "false"}, False),
        ({"mixpanel_actions": 0}, False),
        ({"Actions Mixpanel": None}, False),
        ({"Mixpanel (Legacy)": False}, False),
        ({"all": "false", "mixpanel": "True"}, True),
        ({"all": "false", "mixpanel": 1}, True),
        ({"all": False, "mixpanel": []}, False),
        ({"all": False, "mixpanels": True}, False),
        ({"mixpanel": []}, True),
        ({"Allowed": False}, True),
        ([], True),
        ("none", True),
        ("", True),
        (False, False),
        ("false", False),
        (0, False),
        (True, True),
        ({"All": {"a": [[[]]]}}, True),
        ('{"All": false}', False),
        (' {"Mixpanel": false}\n', False),
        ('{"All": false, "Mixpanel": true}', True),
        ('{"Amplitude": false}', True),
        ('{"All": false', False),
        ("{Mixpanel=false}", False),
        ("{'Mixpanel': False}", False),
        ("{Mixpanel=true}", True),
        ("{}", True),
        ("no", False),
        (" OFF ", False),
        ("disabled", False),
        ("whatever", True),
        (0.0, False),
        ("0", False),
        (["Mixpanel"], True),
        ({"Mixpanel": {"enabled": False}}, False),
        ({"Mixpanel": {"Enabled": "false", "option": 1}}, False),
        ({"Mixpanel": {"enable": 0}}, False),
        ({"Mixpanel": {"is_enabled": "no"}}, False),
        ({"Mixpanel": {"disabled": True}}, False),
        ({"Mixpanel": {"disabled": "true"}}, False),
        ({"Mixpanel": {"enabled": "perhaps"}}, False),
        ({"Mixpanel": {"enabled": True}}, True),
        ({"Mixpanel": {"enabled": None}}, True),
        ({"Mixpanel": {"disabled": False}}, True),
        ({"Mixpanel": {"options": {"enabled": False}}}, True),
        ({"All": {"enabled": False}}, False),
        ({"All": {"enabled": False}, "Mixpanel": {}}, True),
        ({"All": False, "Mixpanel": {"enabled": False}}, False),
        ({"All": False, "Mixpanel": {"enabled": True}}, True),
        ({"Amplitude": {"enabled": False}}, True),
        ('{"Mixpanel": {"enabled": false}}', False),
        ({"Mixpanel": '{"enabled": false}'}, False),
    ],
)
def test_integrations_decide_whether_an_event_is_sent(integrations: Any, *, is_sent: bool) -> None:
    outcome = Outcome(destination(), event(event="Opened", integrations=integrations))
    assert len(outcome.records) == is_sent
    assert outcome.rejected == []
    assert outcome.skipped == ({} if is_sent else {"integrations": 1})


@pytest.mark.parametrize(
    "given",
    [{"all": False}, {"mixpanel": "false"}, '{"All": false}', {"mixpanel": {"enabled": False}}],
)
@pytest.mark.parametrize("kind", ["track", "identify", "page", "group"])
def test_integrations_in_the_context_keep_an_event_away(given: Any, kind: str) -> None:
    members = {"event": "E", "groupId": "g", "traits": {"a": 1}, **BOTH}
    sent = event(type=kind, context={"integrations": given}, integrations={"All": True}, **members)
    assert Outcome(destination(), sent).skipped == {"integrations": 1}


def test_name_of_the_destination_is_compared_without_case_and_punctuation() -> None:
    says = keeper(["Mixpanel EU"])
    for given in ('{"mixpanel_eu": false}', '{"MIXPANEL-EU": "0"}', '{"MixpanelEU": null}'):
        assert says(given) == ("kept",)
    assert says('{"all": false, "mixpanel eu": {}}') == (None,)


def test_integrations_too_deep_to_be_read_keep_an_event_away() -> None:
    deep = '{"All":' + "[" * 100_000 + "]" * 100_000 + "}"
    for text in (deep, json.dumps(deep), f"[{deep}]"):
        assert keeper(["mp"])(text) == ("kept",)


@pytest.mark.parametrize(
    ("given", "count"),
    [
        (None, 0), ({}, 0), ({"All": True}, 0), ([], 0), ("", 0),
        ("whatever", 1), (["Mixpanel"], 1), (5, 1), (True, 1), ('{"All": true}', 1),
    ],
)  # fmt: skip
def test_integrations_that_are_no_object_are_counted(given: Any, count: int) -> None:
    outcome = Outcome(destination(), event(event="E", integrations=given))
    assert len(outcome.records) == 1
    assert outcome.dropped.get("integrations", 0) == count


def test_event_that_is_kept_away_is_not_rejected() -> None:
    outcome = Outcome(destination(), event(integrations={"All": False}))
    assert (outcome.rejected, outcome.skipped) == ([], {"integrations": 1})


# --- the reasons that remain -------------------------------------------------------------------


def test_event_of_which_nothing_is_made_is_counted_as_empty() -> None:
    outcome = Outcome(destination(), event(type="identify", userId="u-1"))
    assert (outcome.records, outcome.skipped) == ([], {"empty": 1})


@pytest.mark.parametrize("kind", ["Track", " TRACK\n", ["track"]])
def test_type_is_known_however_it_is_written(kind: Any) -> None:
    outcome = Outcome(destination(), event(type=kind, event="Opened"))
    assert reasons(outcome.records) == ["Opened"]
    assert (outcome.rejected, outcome.skipped) == ([], {})


@pytest.mark.parametrize("kind", ["unknown", 5, None, {}])
def test_event_of_no_known_type_is_rejected(kind: Any) -> None:
    outcome = Outcome(destination(), event(type=kind, event="Opened"))
    assert (outcome.records, outcome.rejected) == ([], ["unknown_type"])


def test_known_type_that_no_subscription_names_is_counted() -> None:
    outcome = Outcome(destination(), event(type="alias", userId="u", previousId="p"))
    assert (outcome.records, outcome.rejected) == ([], [])
    assert outcome.skipped == {"no_subscription": 1}


def reasons(records: Sequence[tuple[str, dict[str, Any]]]) -> list[str]:
    return [record["event"] for _, record in records]


def test_one_subscription_that_rejects_rejects_the_event() -> None:
    config = destination(subscription("alias", 'type = "track"'))
    outcome = Outcome(config, event(event="Opened"), event(event="Opened", previousId="p", **BOTH))
    assert reasons(outcome.records) == ["Opened", "$create_alias"]
    assert outcome.rejected == ["missing_previous_id"]
