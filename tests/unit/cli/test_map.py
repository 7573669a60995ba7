"""``gateway map`` as people and their CI call it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from gateway.cli import app
from tests.support.paths import TESTS

RECEIVED = "2021-08-17T15:21:20Z"
TRACK = b'{"type":"track","event":"E","userId":"u1","timestamp":"2021-08-17T15:21:15Z"}'
CONFIG = """
[[sources]]
name = "ios"
write_key = "key-of-ios"
destinations = ["main"]

[[sources]]
name = "web"
write_key = "key-of-web"

[[destinations]]
name = "main"
settings = { projectToken = "TOKEN-1" }

[[destinations]]
name = "second"
profile = "segment"
settings = { projectToken = "TOKEN-2" }

[[destinations.subscriptions]]
subscribe = 'type = "track" and event = "E"'
action = "incrementProperties"
mapping = { increment = "$.properties" }
"""


def gateway_map(*arguments: str, given: bytes = b"") -> Result:
    return CliRunner().invoke(app, ["map", "--received", RECEIVED, *arguments], input=given)


def lines(*arguments: str, given: bytes) -> list[Any]:
    result = gateway_map(*arguments, given=given)
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "gateway.toml"
    path.write_text(CONFIG)
    return str(path)


class TestInput:
    @pytest.mark.parametrize(
        ("given", "count"),
        [
            (TRACK, 1),
            (b"[" + TRACK + b",\n" + TRACK + b"]", 2),
            (b'{"batch": [' + TRACK + b", " + TRACK + b"]}", 2),
            (TRACK + b"\n\n" + TRACK + b"\n[" + TRACK + b"]\n", 3),
            (json.dumps(json.loads(TRACK), indent=2).encode(), 1),
            (b"[]", 0),
        ],
    )
    def test_events_come_in_every_shape(self, given: bytes, count: int) -> None:
        assert len(lines(given=given)) == count

    def test_file_is_read_as_standard_input_is(self, tmp_path: Path) -> None:
        path = tmp_path / "events.json"
        path.write_bytes(TRACK)

        assert lines(str(path), given=b"") == lines("-", given=TRACK) == lines(given=TRACK)

    def test_batch_shares_its_context_with_its_events(self) -> None:
        (line,) = lines(given=b'{"context":{"os":{"name":"iOS"}},"batch":[' + TRACK + b"]}")
        assert line["record"]["properties"]["$os"] == "iOS"

    @pytest.mark.parametrize(
        ("given", "where"),
        [
            (b"", "line 1"),
            (b"{", "line 1"),
            (b'{"a": 1,\n"b": x}', "line 2"),
            (TRACK + b"\n" + TRACK + b"\n{oops}\n" + TRACK, "line 3"),
            (TRACK + b"\n\n5", "line 3"),
        ],
    )
    def test_unreadable_input_exits_with_two_and_the_line(self, given: bytes, where: str) -> None:
        result = gateway_map(given=given)

        assert result.exit_code == 2
        assert where in result.stderr

    def test_missing_file_exits_with_two(self, tmp_path: Path) -> None:
        result = gateway_map(str(tmp_path / "none.json"))

        assert result.exit_code == 2
        assert "none.json" in result.stderr

    def test_time_of_receipt_that_is_none_exits_with_two(self) -> None:
        result = CliRunner().invoke(app, ["map", "--received", "soon"], input=TRACK)

        assert result.exit_code == 2
        assert "soon" in result.stderr


class TestRecords:
    def test_record_names_destination_and_endpoint(self) -> None:
        (line,) = lines(given=TRACK)

        assert (line["destination"], line["endpoint"]) == ("mixpanel", "import")
        assert line["record"]["event"] == "E"
        assert line["record"]["properties"]["time"] == 1629213675000

    def test_numbers_keep_their_digits(self) -> None:
        given = TRACK[:-1] + b',"properties":{"n":12345678901234567890.1000}}'
        assert '"n":12345678901234567890.1000' in gateway_map(given=given).stdout

    def test_output_is_the_same_each_time(self) -> None:
        without_time_and_id = b'[{"type":"page"},{"type":"screen"}]'

        first, second = (gateway_map(given=without_time_and_id).stdout for _ in range(2))

        assert first == second
        ids = [
            line["record"]["properties"]["$insert_id"]
            for line in map(json.loads, first.splitlines())
        ]
        assert ids == ["event-1", "event-2"]

    def test_message_ids_count_over_all_lines(self) -> None:
        given = b'[{"type":"page"},{"type":"page"}]\n{"type":"page","messageId":{}}'
        ids = [line["record"]["properties"]["$insert_id"] for line in lines(given=given)]
        assert ids == ["event-1", "event-2", "event-3"]

    def test_profile_chooses_the_mapping(self) -> None:
        (syft,) = lines(given=TRACK)
        (segment,) = lines("--profile", "segment", given=TRACK)

        assert syft["record"]["properties"]["$source"] == "syft"
        assert segment["record"]["properties"]["$source"] == "segment"

    def test_type_is_that_of_events_that_name_none(self) -> None:
        (line,) = lines("--type", "page", given=b'{"name":"Home"}')
        assert line["record"]["event"] == "Viewed Home"

    def test_events_without_records_say_why(self) -> None:
        rejected, skipped, misfit = lines(given=b'[{"type":"track"},{"type":"alias"},7]')

        assert rejected["rejected"] == "missing_event_name"
        assert "event name" in rejected["detail"]
        assert rejected["event"] == {"type": "track", "messageId": "event-1"}
        assert skipped == {
            "destination": "mixpanel",
            "skipped": "no_subscription",
            "event": {"type": "alias", "messageId": "event-2"},
        }
        assert (misfit["rejected"], misfit["event"]) == ("not_an_object", {"element": 7})

    @pytest.mark.parametrize(
        ("given", "code"),
        [(TRACK, 0), (b'{"type":"alias"}', 0), (b'{"type":"track"}', 1), (b"[7]", 1)],
    )
    def test_strict_exits_with_one_when_an_event_is_rejected(self, given: bytes, code: int) -> None:
        assert gateway_map("--strict", given=given).exit_code == code
        assert gateway_map("--strict", "--explain", given=given).exit_code == code
        assert gateway_map(given=given).exit_code == 0


class TestConfiguration:
    def test_all_destinations_are_shown_in_order(self, config: str) -> None:
        found = [line["destination"] for line in lines("-c", config, given=TRACK)]
        assert found == ["main", "second"]

    def test_source_decides_where_events_go(self, config: str) -> None:
        found = lines("-c", config, "--source", "ios", given=TRACK)
        assert [line["destination"] for line in found] == ["main"]

    def test_destination_can_be_chosen(self, config: str) -> None:
        given = TRACK[:-1] + b',"properties":{"n":1}}'
        found = lines("-c", config, "--destination", "second", given=given)
        assert [line["endpoint"] for line in found] == ["import", "engage"]
        assert found[1]["record"]["$add"] == {"n": 1}

    @pytest.mark.parametrize(
        "wrong",
        [("--source", "tv"), ("--destination", "third"), ("--source=ios", "--destination=second")],
    )
    def test_unknown_name_exits_with_two(self, config: str, wrong: tuple[str, ...]) -> None:
        result = gateway_map("-c", config, *wrong, given=TRACK)

        assert result.exit_code == 2
        assert "accepted: " in result.stderr

    def test_mistake_in_the_configuration_exits_with_two(self, tmp_path: Path) -> None:
        path = tmp_path / "gateway.toml"
        path.write_text("[server]\nport = 'x'\n")

        result = gateway_map("-c", str(path), given=TRACK)

        assert result.exit_code == 2
        assert "port" in result.stderr


class TestExplain:
    def explained(self, given: str, *arguments: str) -> list[str]:
        result = gateway_map("--explain", *arguments, given=given.encode())
        assert result.exit_code == 0, result.output
        return [" ".join(line.split()) for line in result.stdout.splitlines()]

    def test_each_property_names_field_path_and_conversion(self) -> None:
        found = self.explained(
            '{"type":"track","event":"E","userId":5,"timestamp":1629213675,'
            '"context":{"userAgent":"Chrome/9","library":{"name":"x"}},"properties":{"a b":1.50}}'
        )
        assert found[:3] == ["event 1: track E (event-1)", "mixpanel:", "-> import"]
        assert {
            'event = "E" from $.event; field event; as a text',
            'properties.a b = 1.50 from $.properties["a b"]; copied',
            'properties.$user_id = "5" from $.userId; field user_id; as a text',
            "properties.time = 1629213675000 from $.timestamp; field time; as a time",
            'properties.mp_lib = "Syft Actions: x" from $.context.library.name; '
            "field library_name; joined (@template)",
            "properties.ip = 0 from the default; field ip",
        } <= set(found)

    def test_what_is_not_sent_says_why(self) -> None:
        found = self.explained(
            '{"type":"track","event":"E","context":{"network":{"wifi":"maybe"},"os":{"name":"A"}},'
            '"timestamp":"junk","properties":{"$os":"B","id":7}}'
        )
        assert {
            'not sent: properties.$wifi_enabled: "maybe" from $.context.network.wifi: '
            "not a boolean",
            'not sent: properties.$os: "A" from $.context.os.name: overridden by $.properties.$os',
            "not sent: properties.id: 7 from $.properties.id: the mapping leaves this name out",
            'not sent: properties.time: "junk" from $.timestamp: not a time; the time of receipt '
            "stands in",
        } <= set(found)

    def test_what_is_no_object_is_named_where_it_was(self) -> None:
        found = self.explained('{"type":"track","event":"E","properties":"text"}')
        assert 'not sent: properties: "text" from $.properties: not an object' in found

    def test_products_are_explained_one_by_one(self) -> None:
        found = self.explained(
            '{"type":"track","event":"Order Completed","properties":{"products":'
            '[{"sku":5,"price":"x"},{"sku":6}]}}'
        )
        assert found.count("-> import") == 3
        assert 'properties.sku = "6" from item.sku; field products.sku; as a text' in found
        assert 'not sent: properties.price: "x" from item.price: not a number' in found

    def test_directives_are_named(self, tmp_path: Path) -> None:
        path = tmp_path / "gateway.json"
        mapping = {
            "event": {"@case": {"operator": "upper", "value": "$.event"}},
            "timezone": {"@if": {"exists": "$.userId", "then": "UTC", "else": "CET"}},
        }
        subscription = {"subscribe": 'type = "track"', "action": "trackEvent", "mapping": mapping}
        path.write_text(
            json.dumps(
                {
                    "sources": [{"name": "s", "write_key": "k"}],
                    "destinations": [
                        {
                            "settings": {"projectToken": "T"},
                            "presets": False,
                            "subscriptions": [subscription],
                        }
                    ],
                }
            )
        )
        found = self.explained('{"type":"track","event":"e"}', "-c", str(path))

        assert 'event = "E" from $.event; field event; @case; as a text' in found
        assert 'properties.timezone = "CET" from the default; @if' in found

    def test_events_without_records_say_why(self) -> None:
        found = self.explained('[{"type":"track"},{"type":"alias"},[]]')
        assert "mixpanel: skipped: no_subscription" in found
        assert [line for line in found if "rejected: missing_event_name: a track" in line]
        assert "element: []" in found

    @pytest.mark.parametrize("profile", ["syft", "segment"])
    def test_every_vector_is_explained_as_it_is_mapped(self, profile: str) -> None:
        vectors = TESTS / "vectors" / f"{profile}.json"
        given = [case["input"] for case in json.loads(vectors.read_bytes())]

        found = self.explained(json.dumps(given), "--profile", profile)

        assert sum(bool(re.match(r"event \d+:", line)) for line in found) == len(given)
        assert sum(line.startswith("-> ") for line in found) > len(given)

    @pytest.mark.parametrize(("depth", "is_explained"), [(299, True), (300, False), (898, False)])
    def test_depth_that_cannot_be_explained_is_said(self, depth: int, is_explained: bool) -> None:
        deep = "[" * depth + "]" * depth
        found = self.explained(f'{{"type":"track","event":"E","properties":{{"a":{deep}}}}}')
        assert (found[-1] != "nested too deeply to be explained") == is_explained


OPTIONS = """
[[sources]]
name = "strict"
write_key = "key-of-strict"
destinations = ["main"]
ip = "truncate"
denied_events = ["Debug *"]
denied_properties = ["email"]
anonymous_only = true
"""
PERSONAL = (
    b'{"type":"track","event":"E","userId":"u1","anonymousId":"a1","messageId":"m1",'
    b'"context":{"ip":"203.0.113.77"},"properties":{"\\u0065mail":"x@y.z","plan":"pro"}}'
)


class TestOptionsOfTheSource:
    @pytest.fixture
    def strict(self, config: str) -> list[str]:
        path = Path(config)
        path.write_text(path.read_text() + OPTIONS)
        return ["--config", config, "--source", "strict"]

    def test_records_are_those_that_the_gateway_makes(self, strict: list[str]) -> None:
        [line] = lines(*strict, given=PERSONAL)
        properties = line["record"]["properties"]
        assert properties["distinct_id"] == "a1"
        assert (properties["ip"], properties["plan"]) == ("203.0.113.0", "pro")
        assert "email" not in properties

        [line] = lines(*strict[:2], "--source", "ios", given=PERSONAL)
        assert line["record"]["properties"]["distinct_id"] == "u1"
        assert line["record"]["properties"]["email"] == "x@y.z"

    def test_event_that_is_kept_away_is_skipped(self, strict: list[str]) -> None:
        debug = PERSONAL.replace(b'"E"', b'"Debug it"')
        [line] = lines(*strict, given=debug)
        assert (line["destination"], line["skipped"]) == ("main", "event_denied")
        assert gateway_map(*strict, "--strict", given=debug).exit_code == 0

    def test_explanation_tells_what_was_taken_out(self, strict: list[str]) -> None:
        told = gateway_map(*strict, "--explain", given=PERSONAL).stdout
        for line in (
            "  taken out: userId: identifying",
            "  taken out: properties.email: denied",
            "  taken out: context.ip: ip_truncated",
        ):
            assert line in told.splitlines()
        assert "x@y.z" not in told
        assert "203.0.113.77" not in told

        debug = PERSONAL.replace(b'"E"', b'"Debug it"')
        told = gateway_map(*strict, "--explain", given=debug).stdout
        assert "  the source's options keep it away: event_denied" in told
        assert "->" not in told

    def test_rejected_events_are_shown_as_they_would_be_kept(self, strict: list[str]) -> None:
        [line] = lines(*strict, given=PERSONAL.replace(b'"event":"E",', b""))
        assert line["rejected"] == "missing_event_name"
        assert "u1" not in json.dumps(line)
        assert "x@y.z" not in json.dumps(line)
