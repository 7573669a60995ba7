import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from fastmap import Buffer, spec
from gateway.clock import SystemClock
from gateway.config import Config, DestinationConfig, load
from gateway.errors import ConfigError
from gateway.events import Event, decode
from gateway.mapping import Mapper, check_subscriptions, prepare
from gateway.mapping.directives import SourceReader
from gateway.mapping.fql import parse
from gateway.mapping.paths import ROOTS
from gateway.mapping.plans import UNKNOWN_TYPE, UNMATCHED, compile_plans
from gateway.model import ENDPOINTS
from gateway.pipeline import Pipeline
from gateway.spool.sqlite import SqliteSpool
from gateway.telemetry import Telemetry
from tests.support.paths import ROOT

RECEIVED_MS = 1_790_000_000_000
PAGE = {"type": "page", "name": "Home", "userId": "U-1", "messageId": "m-1"}


def configured(folder: Path, destination: str, **environ: str) -> Config:
    """Return the configuration with this said about its destination."""
    path = folder / "gateway.toml"
    path.write_text(
        f"""
        [[sources]]
        name = "web"
        write_key = "k-web"
        [[sources]]
        name = "ios"
        write_key = "k-ios"
        [[destinations]]
        name = "mp"
        settings = {{projectToken = "TOKEN"}}
        {destination}
        """,
        "utf-8",
    )
    return load(path, environ, checks=(check_subscriptions,))


def problems(folder: Path, destination: str, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        configured(folder, destination, **environ)
    return list(caught.value.problems)


def mapped(config: Config, event: dict[str, Any], source: str = "web") -> list[tuple[str, Any]]:
    mapper = Mapper(config.destinations, Telemetry())
    received = decode(json.dumps(event).encode())
    prepare(received, received_ms=RECEIVED_MS, default_type=None, client_ip=None, is_retry=False)
    result = mapper.map(["mp"], received.events, received_ms=RECEIVED_MS, source=source)
    assert not result.dead, result.dead
    return [
        (entry.queue.endpoint, json.loads(line))
        for entry in result.entries
        for line in entry.lines.splitlines()
    ]


def names(config: Config, event: dict[str, Any], source: str = "web") -> list[str]:
    return [record["event"] for _, record in mapped(config, event, source)]


def subscribed(mapping: str, head: str = "subscribe = \"type = 'page'\"") -> str:
    """Return a destination with one subscription and nothing else."""
    return f"""
        presets = false
        [[destinations.subscriptions]]
        action = "trackEvent"
        {head}
        [destinations.subscriptions.mapping]
        {mapping}
    """


# --- what a subscription makes -----------------------------------------------------------------

CUSTOM = subscribed(
    """
    event = { "@template" = "{{category}} / {{name}}" }
    user_id = { "@case" = { operator = "lower", value = "$.userId" } }
    insert_id = "$.properties.no_such_id"
    time = ["$.properties.at", "$.timestamp"]
    app_name = "Shop"
    language = ""
    screen_width = { "@path" = "$.properties.width" }
    device_type = { "@if" = { blank = "$.properties.tablet", then = "tablet", else = "phone" } }
    event_properties = { plan = "$.context.traits.plan", path = "$.properties.path", time = 5 }
    utm_properties = { utm_source = "$.properties.from" }
    """
)


def test_mapping_gives_fields_other_sources_and_keeps_those_it_does_not_name(
    tmp_path: Path,
) -> None:
    event = PAGE | {
        "category": "Docs",
        "properties": {"width": "800", "path": "/a", "from": "mail", "at": "2026-01-02"},
        "context": {"locale": "de", "os": {"name": "iOS"}, "traits": {"plan": {"id": 7}}},
    }
    [(endpoint, record)] = mapped(configured(tmp_path, CUSTOM), event)
    assert endpoint == "import"
    assert record["event"] == "Docs / Home"
    assert record["properties"] == {
        "time": 1767312000000,
        "ip": 0,
        "id": "U-1",
        "distinct_id": "U-1",
        "$identified_id": "u-1",
        "$user_id": "u-1",
        "$insert_id": "m-1",
        "$app_name": "Shop",
        "$os": "iOS",
        "$device_type": "phone",
        "$screen_width": 800,
        "event_original_name": "Home",
        "utm_source": "mail",
        "$source": "syft",
        "plan": {"id": 7},
        "path": "/a",
    }


def test_same_mapping_in_yaml_and_json_gives_the_same_subscriptions(tmp_path: Path) -> None:
    toml = configured(tmp_path, CUSTOM)
    one = toml.destinations[0].subscriptions[0]
    document = {
        "sources": [{"name": "web", "write_key": "k-web"}, {"name": "ios", "write_key": "k-ios"}],
        "destinations": [
            {
                "name": "mp",
                "settings": {"projectToken": "TOKEN"},
                "presets": False,
                "subscriptions": [
                    {"action": one.action, "subscribe": one.subscribe, "mapping": one.mapping}
                ],
            }
        ],
    }
    for ending, text in ((".json", json.dumps(document)), (".yaml", yaml.safe_dump(document))):
        path = tmp_path / f"other{ending}"
        path.write_text(text)
        assert load(path, {}, checks=(check_subscriptions,)) == toml


def test_products_are_read_by_their_own_shape(tmp_path: Path) -> None:
    name = '{ "@case" = { operator = "upper", value = { "@path" = "title" } } }'
    shape = f'brand = "Ours", price = "$.cost.amount", sku = {{ "@path" = "code" }}, name = {name}'
    config = configured(
        tmp_path,
        f"""
        [[destinations.subscriptions]]
        name = "Order Completed Calls"
        subscribe = 'event = "Order Completed"'
        action = "trackPurchase"
        [destinations.subscriptions.mapping.products]
        "@arrayPath" = ["$.properties.lines[0].items", {{ {shape} }}]
        """,
    )
    items = [{"code": 5, "title": "Lamp", "cost": {"amount": "9.5"}}, {"title": "x"}]
    event = {"type": "track", "event": "Order Completed", "messageId": "m", "userId": "u"}
    order, lamp, other = mapped(config, event | {"properties": {"lines": [{"items": items}]}})
    assert order[1]["event"] == "Order Completed"
    shown = ("sku", "name", "price", "brand", "quantity")
    assert [lamp[1]["properties"].get(key) for key in shown] == ["5", "LAMP", 9.5, "Ours", None]
    assert other[1]["properties"]["name"] == "X"


@pytest.mark.parametrize(
    ("source", "events"), [("false", 1), ("true", 3), ('"$.properties.each"', 2)]
)
def test_product_events_can_be_switched_off(tmp_path: Path, source: str, events: int) -> None:
    config = configured(
        tmp_path,
        f"""
        [[destinations.subscriptions]]
        name = "Order Completed Calls"
        subscribe = 'event = "Order Completed"'
        action = "trackPurchase"
        mapping = {{ generatePurchaseEventPerProduct = {source} }}
        """,
    )
    order = {"type": "track", "event": "Order Completed", "userId": "u"}
    made = [
        len(mapped(config, order | {"properties": {"products": [{}, {}], "each": each}}))
        for each in (True, False)
    ]
    assert made == ([3, 1] if events == 2 else [events, events])


def test_traits_can_be_put_together_and_get_mixpanels_names(tmp_path: Path) -> None:
    config = configured(
        tmp_path,
        """
        [[destinations.subscriptions]]
        name = "Identify Calls"
        subscribe = 'type = "identify"'
        action = "identifyUser"
        [destinations.subscriptions.mapping.traits]
        email = { "@case" = { operator = "lower", value = "$.traits.Email" } }
        firstName = "$.traits.first"
        lastName = "$.traits.last"
        plan = "$.context.plan"
        """,
    )
    event = {
        "type": "identify",
        "userId": "u",
        "traits": {"Email": "A@B.C", "first": "Ann", "last": "Lee", "secret": 1},
        "context": {"plan": "pro"},
    }
    [(_, record)] = mapped(config, event)
    assert record["$set"] == {
        "$email": "a@b.c",
        "$first_name": "Ann",
        "$last_name": "Lee",
        "$name": "Ann Lee",
        "plan": "pro",
    }


def test_group_key_may_be_a_constant_and_name_a_trait(tmp_path: Path) -> None:
    config = configured(
        tmp_path,
        """
        profile = "segment"
        [[destinations.subscriptions]]
        name = "Group Calls"
        subscribe = 'type = "group"'
        action = "groupIdentifyUser"
        mapping = { group_key = "company" }
        """,
    )
    traits = {"company": "c-9", "name": "C"}
    [(_, record)] = mapped(config, {"type": "group", "groupId": "g", "traits": traits})
    assert (record["$group_key"], record["$group_id"]) == ("company", "c-9")


# --- which subscriptions run -------------------------------------------------------------------

EXTRA = """
    [[destinations.subscriptions]]
    name = "extra"
    subscribe = 'type = "page" and match(name, "H*") or event = "Opened"'
    action = "trackEvent"
    mapping = { event = "Extra" }
"""


def test_all_subscriptions_that_match_are_run(tmp_path: Path) -> None:
    config = configured(tmp_path, EXTRA)
    assert names(config, PAGE) == ["Viewed Home", "Extra"]
    assert names(config, PAGE | {"name": "Docs"}) == ["Viewed Docs"]
    assert names(config, {"type": "track", "event": "Opened"}) == ["Opened", "Extra"]
    assert names(config, {"type": "other", "event": "Opened"}) == ["Extra"]
    assert names(config, {"type": "alias", "event": "Closed"}) == []


def test_without_presets_only_the_subscriptions_are_run(tmp_path: Path) -> None:
    config = configured(tmp_path, "presets = false\n" + EXTRA)
    assert names(config, PAGE) == ["Extra"]
    assert names(config, PAGE | {"name": "Docs"}) == []


def test_subscription_takes_the_place_of_the_preset_with_its_name(tmp_path: Path) -> None:
    replaced = EXTRA.replace('"extra"', '"Page Calls"')
    config = configured(tmp_path, replaced)
    assert names(config, PAGE) == ["Extra"]
    keeping = replaced.replace('mapping = { event = "Extra" }', "")
    assert names(configured(tmp_path, keeping), PAGE) == ["Viewed Home"]


def test_subscription_that_is_not_enabled_switches_its_preset_off(tmp_path: Path) -> None:
    config = configured(tmp_path, EXTRA.replace('"extra"', '"Page Calls"\nenabled = false'))
    assert names(config, PAGE) == []
    assert names(config, PAGE | {"type": "screen"}) == ["Viewed Home"]


def test_subscription_may_be_limited_to_sources(tmp_path: Path) -> None:
    config = configured(tmp_path, EXTRA.replace('"extra"', '"Page Calls"\nsources = ["ios"]'))
    assert names(config, PAGE, "ios") == ["Extra"]
    assert names(config, PAGE, "web") == ["Viewed Home"]


async def test_limit_to_sources_holds_for_requests(tmp_path: Path) -> None:
    config = configured(tmp_path, EXTRA.replace('"extra"', '"extra"\nsources = ["ios"]'))
    clock, telemetry = SystemClock(), Telemetry()
    spool = SqliteSpool(
        tmp_path / "spool", clock=clock, telemetry=telemetry, max_bytes=2**30, min_free_bytes=0
    )
    await spool.open()
    try:
        mapper = Mapper(config.destinations, telemetry)
        pipeline = Pipeline(config, mapper, spool, clock, telemetry)
        for source in config.sources:
            received = decode(json.dumps(PAGE).encode())
            await pipeline.accept(
                source, received, default_type=None, client_ip=None, is_retry=False
            )
        assert spool.ledger()["mp"].accepted == 1 + 2
    finally:
        await spool.close()


def test_types_that_nothing_can_match_have_no_plan(tmp_path: Path) -> None:
    plans = compile_plans(configured(tmp_path, "").destinations[0])
    assert sorted(plans.by_type) == ["group", "identify", "page", "screen", "track"]
    assert plans.other is None
    assert None not in plans.by_type.values()
    events = [Event(type="alias"), Event(), Event(type=5)]  # type: ignore[arg-type]
    buffers = [Buffer() for _ in ENDPOINTS]
    reasons = [UNMATCHED, UNKNOWN_TYPE, UNKNOWN_TYPE]
    assert plans.run(events, buffers, 0) == list(zip(events, reasons, strict=True))


# --- mistakes ----------------------------------------------------------------------------------

ACTIONS = {
    "trackEvent": "event",
    "trackPurchase": "event",
    "groupIdentifyUser": "group_id",
    "alias": "distinct_id",
    "incrementProperties": "increment",
}


@pytest.mark.parametrize(("action", "field"), ACTIONS.items())
def test_required_field_without_a_source_is_reported(
    tmp_path: Path, action: str, field: str
) -> None:
    text = subscribed(f'{field} = ""').replace("trackEvent", action)
    [line] = problems(tmp_path, text)
    assert line.startswith(
        f"destinations[0].subscriptions[0].mapping.{field}: missing; {action} needs {field}"
    )


def test_one_of_several_ids_is_enough(tmp_path: Path) -> None:
    text = subscribed('user_id = ""').replace("trackEvent", "identifyUser")
    configured(tmp_path, text)
    text = subscribed('user_id = ""\nanonymous_id = ""').replace("trackEvent", "identifyUser")
    assert problems(tmp_path, text) == [
        "destinations[0].subscriptions[0].mapping.user_id: missing; "
        "identifyUser needs user_id or anonymous_id"
    ]


MISTAKES = [
    ("evnt = 'x'", 'evnt: unknown field; did you mean "event"? accepted: distinct_id, '),
    ("products = ''", "products: unknown field; accepted: "),
    ("userAgentData = ''", "userAgentData: unknown field; "),
    ("event = '$.foo'", "event: expected a path that starts with one of type, event, name, categ"),
    ("event = '$.writeKey'", "event: expected a path that starts with one of type"),
    ("event = {'@if' = {then = 'x'}}", 'event.@if: expected "exists" or "blank"'),
    ("event = {'@arrayPath' = ['$.x']}", "event.@arrayPath: only the field products"),
    ("screen_width = 'wide'", "screen_width: expected a number (got 'wide')"),
    ("time = 2026-01-01", "time: expected"),
    ("event_properties = ['$.properties']", "event_properties: expected a path or a table"),
    ("event_properties = {a = {'@case' = 1}}", "event_properties.a.@case: expected a table with"),
    ("event_properties = {a = {b = '$.foo'}}", "event_properties.a.b: expected a path"),
    (
        "utm_properties = {source = '$.event'}",
        'utm_properties.source: unknown member; did you mean "utm_source"? accepted: utm_',
    ),
    (
        "library_name = {'@case' = {operator = 'lower', value = '$.event'}}",
        "library_name: expected",
    ),
    ("ip = ['$.context.ip', {'@path' = 5}]", "ip[1].@path: expected a path as text (got 5)"),
]


@pytest.mark.parametrize(("mapping", "expected"), MISTAKES)
def test_mistake_in_a_mapping_is_reported_with_its_path(
    tmp_path: Path, mapping: str, expected: str
) -> None:
    lines = problems(tmp_path, subscribed(mapping))
    if mapping.startswith("time"):  # a TOML date is no source at all
        assert lines[0].startswith("destinations[0].subscriptions[0].mapping: expected a table")
    else:
        assert len(lines) == 1
        assert lines[0].startswith(f"destinations[0].subscriptions[0].mapping.{expected}")


PRODUCTS = [
    ("'$.properties.products'", "products: expected {"),
    ("{'@arrayPath' = []}", "products: expected {"),
    ("{'@arrayPath' = ['items']}", "products.@arrayPath[0]: expected a path"),
    ("{'@arrayPath' = ['$.x']}", "products.@arrayPath[0]: expected a path that starts with"),
    ("{'@arrayPath' = ['$.traits', 5]}", "products.@arrayPath[1]: expected a table"),
    (
        "{'@arrayPath' = ['$.traits', {skus = 1}]}",
        'products.@arrayPath[1].skus: unknown field; did you mean "sku"?',
    ),
    (
        "{'@arrayPath' = ['$.traits', ['sku', 'colour']]}",
        "products.@arrayPath[1].colour: unknown field; accepted: product_id",
    ),
    (
        "{'@arrayPath' = ['$.traits', {price = 'free'}]}",
        "products.@arrayPath[1].price: expected a number",
    ),
]


@pytest.mark.parametrize(("products", "expected"), PRODUCTS)
def test_mistake_in_products_is_reported_with_its_path(
    tmp_path: Path, products: str, expected: str
) -> None:
    text = subscribed(f"products = {products}").replace("trackEvent", "trackPurchase")
    [line] = problems(tmp_path, text)
    assert line.startswith(f"destinations[0].subscriptions[0].mapping.{expected}")


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    text = """
        identity = "legacy"
        [[destinations.subscriptions]]
        subscribe = 'type = "page" an name = null'
        action = "trackEvent"
        sources = ["android"]
        mapping = { event = "$.a", app_name = "$.b", x = 1 }
        [[destinations.subscriptions]]
        name = "one"
        subscribe = 'match(event)'
        action = "track"
        mapping = { event = "$.a" }
        [[destinations.subscriptions]]
        name = "one"
        subscribe = ''
        action = "alias"
        enabled = "yes"
        mapping = 5
    """
    lines = problems(tmp_path, text)
    at = "destinations[0].subscriptions"
    starts = [
        "destinations[0].identity: expected one of original, simplified",
        f'{at}[0].subscribe: character 15: expected "and", "or" or the end (found \'an\')',
        f"{at}[0].sources[0]: no source has this name (got 'android'); accepted: web, ios",
        f"{at}[0].mapping.event: expected a path",
        f"{at}[0].mapping.app_name: expected a path",
        f"{at}[0].mapping.x: unknown field",
        f"{at}[1].subscribe: character 12: expected \",\" (found ')')",
        f"{at}[1].action: expected one of ",
        f"{at}[2].name: used before",
        f"{at}[2].subscribe: expected a nonempty string",
        f"{at}[2].enabled: expected true or false",
        f"{at}[2].mapping: expected a table with a source for each field",
    ]
    for start in starts:
        assert [line for line in lines if line.startswith(start)], (start, lines)
    assert len(lines) == len(starts)


def test_text_from_the_environment_is_never_shown(tmp_path: Path) -> None:
    text = subscribed("event = 'x'", head='subscribe = "${EXPRESSION}"')
    [line] = problems(tmp_path, text, EXPRESSION="canary = 5")
    assert line.endswith(
        "subscribe: character 1: expected a path that starts with one of " + ", ".join(ROOTS)
    )


def test_source_name_from_the_environment_is_never_shown(tmp_path: Path) -> None:
    configured(tmp_path, EXTRA.replace('"extra"', '"extra"\nsources = ["web"]'))
    path = tmp_path / "gateway.toml"
    text = path.read_text().replace('name = "web"', 'name = "${NAME}"')
    path.write_text(text.replace('["web"]', '["${OTHER}"]'))
    with pytest.raises(ConfigError) as caught:
        load(path, {"NAME": "canary-1", "OTHER": "canary-2"}, checks=(check_subscriptions,))
    [line] = caught.value.problems
    assert line.endswith("no source has this name; accepted: that of sources[0], ios")


@pytest.mark.parametrize("name", ["$identify", "$create_alias", "$merge", " "])
def test_linking_event_cannot_have_a_name_that_mixpanel_ignores(tmp_path: Path, name: str) -> None:
    [line] = problems(tmp_path, f'identify_event = "{name}"')
    assert line.startswith("destinations[0].identify_event: expected a name")


def test_simplified_identity_needs_an_anonymous_id_that_can_be_prefixed(tmp_path: Path) -> None:
    source = '{ "@case" = { operator = "lower", value = "$.anonymousId" } }'
    text = subscribed(f"anonymous_id = {source}")
    configured(tmp_path, text)
    assert problems(tmp_path, 'identity = "simplified"\n' + text) == [
        "destinations[0].subscriptions[0].mapping.anonymous_id: "
        "expected a path, a list of paths, @if or a constant"
    ]


def test_wrong_subscription_does_not_compile_even_without_a_check(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a path"):
        compile_plans(unchecked(tmp_path, subscribed("event = '$.foo'")))
    with pytest.raises(ValueError, match="character 1: "):
        compile_plans(unchecked(tmp_path, subscribed("", head="subscribe = '5'")))


def unchecked(folder: Path, destination: str) -> DestinationConfig:
    try:
        configured(folder, destination)
    except ConfigError:
        return load(folder / "gateway.toml", {}).destinations[0]
    raise AssertionError


# --- what no mapping can hold ------------------------------------------------------------------

DEEP = "x: " + "{a: " * 17 + "1" + "}" * 17


@pytest.mark.parametrize(
    "mapping",
    ["5: x", "event: .nan", "event: {1: x}", "event: &a [*a]", "event: 2026-01-01", DEEP, "[]"],
)
def test_mapping_that_is_no_plain_table_is_reported(tmp_path: Path, mapping: str) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(
        f"""
        sources: [{{name: web, write_key: k}}]
        destinations:
          - settings: {{projectToken: T}}
            subscriptions:
              - subscribe: type = "page"
                action: trackEvent
                mapping:
                  {mapping}
        """
    )
    with pytest.raises(ConfigError) as caught:
        load(path, {}, checks=(check_subscriptions,))
    [line] = caught.value.problems
    assert line.startswith("destinations[0].subscriptions[0].mapping: expected a table with")


# --- the documentation -------------------------------------------------------------------------

DOCUMENTS = (ROOT / "docs" / "mapping.md", ROOT / "README.md")
BLOCKS = [
    block
    for document in DOCUMENTS
    for block in re.findall(r"```toml\n(.*?)```", document.read_text("utf-8"), re.DOTALL)
    if "destinations.subscriptions" in block
]


@pytest.mark.parametrize("block", BLOCKS)
def test_examples_of_the_documentation_are_valid(tmp_path: Path, block: str) -> None:
    head = "[[sources]]\nname = 's'\nwrite_key = 'k'\n"
    if "[[destinations]]" not in block:
        head += "[[destinations]]\nsettings = { projectToken = 'T' }\n"
    path = tmp_path / "gateway.toml"
    path.write_text(head + block)
    config = load(path, {"MIXPANEL_PROJECT_TOKEN": "T"}, checks=(check_subscriptions,))
    compile_plans(config.destinations[0])


def cells(heading: str) -> list[str]:
    """Return what is written as code in the tables of a section of the documentation."""
    section = DOCUMENTS[0].read_text("utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    return [code for row in rows for code in re.findall(r"`([^`]+)`", row)]


def test_expressions_of_the_documentation_are_valid() -> None:
    expressions = [code for code in cells("Which events: expressions") if " " in code]
    assert len(expressions) >= 10
    for expression in expressions:
        parse(expression)


def test_directives_of_the_documentation_are_valid() -> None:
    sources = [
        tomllib.loads(f"source = {code}")["source"]
        for code in cells("Where a field comes from: sources")
        if code.startswith(("{ ", '"$', "["))
    ]
    used = {key for source in sources if isinstance(source, dict) for key in source}
    for source in sources:
        if isinstance(source, dict) and ("plan" in source or "@arrayPath" in source):
            continue
        if source != "$...":
            SourceReader().value(source, spec.Json(), "", ())
    assert {"@path", "@template", "@if", "@case", "@replace", "@arrayPath", "@literal"} <= used
