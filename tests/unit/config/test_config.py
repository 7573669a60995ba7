import copy
import json
import re
import tempfile
from collections.abc import Mapping
from contextlib import chdir
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gateway import config as configuration
from gateway.config import (
    VARIABLES,
    Config,
    DestinationConfig,
    DestinationSettings,
    Region,
    Secret,
    ServerConfig,
    ServiceAccount,
    SourceConfig,
    SpoolConfig,
    SqliteSpoolConfig,
    load,
    redacted,
    warnings,
)
from gateway.config.variables import unread_variables
from gateway.errors import ConfigError
from gateway.events.depth import MAX_DEPTH
from tests.support.paths import ROOT

MINIMAL: dict[str, Any] = {
    "sources": [{"name": "web", "write_key": "key-of-web"}],
    "destinations": [{"name": "mp", "settings": {"projectToken": "token0123"}}],
}
CANARY = "canary-4711"
REGION_FLAGS = ["US 🇺🇸", "EU 🇪🇺", "IN 🇮🇳"]


def changed(path: str, value: Any, start: Any = MINIMAL) -> Any:
    """MINIMAL with one value set; ``path`` as in ``destinations.0.settings.apiRegion``."""
    document = copy.deepcopy(start)
    *parents, last = path.split(".")
    table = document
    for step in parents:
        table = table[int(step)] if isinstance(table, list) else table.setdefault(step, {})
    table[int(last) if isinstance(table, list) else last] = value
    return document


def load_text(text: str | bytes, ending: str, environ: Mapping[str, str] | None = None) -> Config:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"gateway{ending}"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load(path, environ or {})


def load_json(document: Any, **environ: str) -> Config:
    return load_text(json.dumps(document), ".json", environ)


def problems_of(document: Any, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_json(document, **environ)
    return list(caught.value.problems)


# --- formats ---------------------------------------------------------------------------------

FULL = {
    ".toml": """
        [server]
        port = 9000
        trusted_proxies = ["10.0.0.0/8"]
        [spool]
        path = "/var/spool/gateway"
        [[sources]]
        name = "web"
        write_key = "k"
        destinations = ["main"]
        [[destinations]]
        name = "main"
        [destinations.settings]
        projectToken = "t"
        apiRegion = "EU 🇪🇺"
        serviceAccount = { username = "u", secret = "s", projectId = "1" }
        [destinations.delivery]
        records_per_second = 100
    """,
    ".yaml": """
server: {port: 9000, trusted_proxies: [10.0.0.0/8]}
spool:
  path: /var/spool/gateway
sources:
  - {name: web, write_key: k, destinations: [main]}
destinations:
  - name: main
    settings:
      projectToken: t
      apiRegion: EU 🇪🇺
      serviceAccount: {username: u, secret: s, projectId: "1"}
    delivery:
      records_per_second: 100
    """,
    ".json": """{
        "server": {"port": 9000, "trusted_proxies": ["10.0.0.0/8"]},
        "spool": {"path": "/var/spool/gateway"},
        "sources": [{"name": "web", "write_key": "k", "destinations": ["main"]}],
        "destinations": [{"name": "main",
            "settings": {"projectToken": "t", "apiRegion": "EU 🇪🇺",
                "serviceAccount": {"username": "u", "secret": "s", "projectId": "1"}},
            "delivery": {"records_per_second": 100}}]
    }""",
}


@pytest.mark.parametrize("ending", [".toml", ".yaml", ".json"])
def test_same_settings_in_each_format_give_the_same_configuration(ending: str) -> None:
    config = load_text(FULL[ending], ending)
    assert config == load_text(FULL[".toml"], ".toml")
    assert config.server.port == 9000
    assert config.server.trusted_proxies == ("10.0.0.0/8",)
    assert config.spool.path == "/var/spool/gateway"
    assert config.sources[0].write_key == Secret("k")
    assert config.sources[0].destinations == ("main",)
    settings = config.destinations[0].settings
    assert settings.apiRegion is Region.EU
    assert settings.serviceAccount == ServiceAccount(
        username="u", secret=Secret("s"), projectId="1"
    )
    assert config.destinations[0].delivery.records_per_second == 100.0


def test_ending_in_capitals_and_byte_order_mark_are_accepted() -> None:
    text = b"\xef\xbb\xbf" + json.dumps(MINIMAL).encode()
    text = text.replace(b"{", b'{"spool": {"path": "/s"}, ', 1)
    document = changed("spool.path", "/s")
    assert load_text(text, ".JSON") == load_text(text, ".yml") == load_json(document)


def test_only_what_is_required_gives_the_defaults() -> None:
    config = load_json(MINIMAL)
    assert (config.server.host, config.server.port, config.server.workers) == ("127.0.0.1", 8080, 1)
    assert (config.admin.port, config.admin.token) == (8081, None)
    assert (type(config.spool), Path(config.spool.path).name) == (SqliteSpoolConfig, "spool")
    destination = config.destinations[0]
    assert (destination.type, destination.profile, destination.base_url) == (
        "mixpanel",
        "syft",
        None,
    )
    assert destination.settings.apiRegion is Region.US
    assert destination.settings.strictMode == "1"


SEVERAL_MISTAKES = {
    ".toml": """
        extra = 1
        [server]
        prot = 1
        port = "x"
        [[sources]]
        name = "web"
        [[destinations]]
        settings = { projectToken = "t", apiRegion = "Mars" }
    """,
    ".yaml": """
extra: 1
server: {prot: 1, port: x}
sources: [{name: web}]
destinations:
  - settings: {projectToken: t, apiRegion: Mars}
    """,
    ".json": """{"extra": 1, "server": {"prot": 1, "port": "x"}, "sources": [{"name": "web"}],
        "destinations": [{"settings": {"projectToken": "t", "apiRegion": "Mars"}}]}""",
}


@pytest.mark.parametrize(
    ("value", "hosts"),
    [
        ("::", ("::",)),
        (["::1", "127.0.0.1"], ("::1", "127.0.0.1")),
        (["${HOST}", "b"], ("a.example", "b")),
        ("${HOSTS}", ("::1", "127.0.0.1")),
    ],
)
def test_server_listens_on_one_host_or_several(value: object, hosts: tuple[str, ...]) -> None:
    document = changed("server.host", value)
    config = load_json(document, HOST="a.example", HOSTS="::1, 127.0.0.1")
    assert config.server.hosts == hosts


@pytest.mark.parametrize("ending", [".toml", ".yaml", ".json"])
def test_several_mistakes_are_all_reported_at_once(ending: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(SEVERAL_MISTAKES[ending], ending)
    assert list(caught.value.problems) == [
        "extra: unknown key; accepted: sources, destinations, server, admin, spool, delivery, "
        "proxy",
        "sources[0].write_key: missing; accepted: a string that is not blank",
        "destinations[0].settings.apiRegion: expected one of US, EU, IN (got 'Mars')",
        'server.prot: unknown key; did you mean "port"? accepted: '
        + ", ".join(ServerConfig.__struct_fields__),
        "server.port: expected an integer from 0 to 65535 (got 'x')",
    ]


def test_mistakes_between_values_are_reported_with_wrong_types() -> None:
    document = {
        "server": {"tls_key": "k.pem", "port": "x"},
        "sources": [
            {"name": "a", "write_key": "k", "destinations": ["nowhere"]},
            {"name": "a", "write_key": "k"},
            5,
            5,
        ],
        "destinations": [{"name": "mp", "settings": 5}],
    }
    assert [line.split(":")[0] for line in problems_of(document)] == [
        "sources[2]",
        "sources[3]",
        "destinations[0].settings",
        "server.port",
        "sources[1].name",
        "sources[1].write_key",
        "sources[0].destinations[0]",
        "server.tls_cert",
    ]


# --- files that cannot be read ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("ending", "text", "expected"),
    [
        (".toml", "a = 1\nb = \n", "line 2, column 5"),
        (".json", '{"a": {"b": 1,\n  "é": x}}', "line 2, column 8: JSON is malformed"),
        (".json", '{"a":\n', "line 2, column 1: Input data was truncated"),
        (".json", '{"a": 1e999}', "Number out of range"),
        (".yaml", "a: 1\nb: c: d", "line 2, column 5: mapping values are not allowed here"),
        (".yaml", "a: 1\nb: 2026-02-31", "line 2, column 4: not a valid timestamp"),
        (".yaml", "a: 1\nb: \0", "line 2, column 4: special characters are not allowed"),
        (".yml", "a: {b: 1,\n  c: 2, b: 3}", "line 2, column 9: repeated key"),
        (".yml", "a: 1\n---\nb: 2", "line 2, column 1: expected a single document"),
        (".toml", b"a = 1\nb = '\xff'", "line 2, column 6: not text; accepted: UTF-8"),
        (".json", "[1]", "expected a table at the top (got a list)"),
        (".yaml", "", "expected a table at the top (got nothing)"),
        (".json", "[" * 100_000, "nested too deeply"),
        (".json", "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "nested too deeply"),
        (".yaml", "[" * 5_000, "nested too deeply"),
        (".toml", "a = " + "[" * 5_000, "nested too deeply"),
        (".ini", "", "unknown file ending; accepted: .toml, .yaml, .yml, .json"),
    ],
)
def test_unusable_file_is_named_with_the_position(
    ending: str, text: str | bytes, expected: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(text, ending)
    [problem] = caught.value.problems
    assert f"gateway{ending}: " in problem
    assert expected in problem


def test_file_that_is_absent_or_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    for name, reason in (("absent.toml", "No such file"), ("folder.yaml", "Is a directory")):
        with pytest.raises(ConfigError, match=f"{name}: cannot be read: {reason}"):
            load(tmp_path / name, {})


def test_yaml_merge_key_may_be_overridden() -> None:
    text = """
destinations:
  - &first {name: one, profile: segment, settings: {projectToken: t}}
  - {<<: *first, name: two}
sources: [{name: web, write_key: k}]
"""
    config = load_text(text, ".yaml")
    assert [(d.name, d.profile) for d in config.destinations] == [
        ("one", "segment"),
        ("two", "segment"),
    ]


def test_yaml_that_contains_itself_is_an_ordinary_mistake() -> None:
    with pytest.raises(ConfigError, match=r"sources\[0\]: expected a table \(got a list\)"):
        load_text("sources: &a [*a]\ndestinations: *a", ".yaml")


# --- values ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("server", 5, "server: expected a table (got a number); accepted: host, port, "),
        ("server.host", "", "server.host: expected an address or a name without port and brackets"),
        ("server.host", "[::]", "or a list of them (got '[::]')"),
        ("server.host", "http://a", "or a list of them (got 'http://a')"),
        ("server.host", [], "or a list of them (got a list)"),
        ("server.host", ["::", 5], "server.host[1]: expected an address or a name"),
        ("server.keepalive_timeout", 0, "expected a number above 0 (got 0)"),
        ("server.port", 65536, "server.port: expected an integer from 0 to 65535 (got 65536)"),
        ("server.port", -1, "server.port: expected an integer from 0 to 65535 (got -1)"),
        ("server.port", 80.0, "server.port: expected an integer from 0 to 65535 (got 80.0)"),
        ("server.port", "80", "server.port: expected an integer from 0 to 65535 (got '80')"),
        ("server.port", True, "server.port: expected an integer from 0 to 65535 (got true)"),
        ("server.port", None, "server.port: expected an integer from 0 to 65535 (got nothing)"),
        ("server.port", 10**30, "an integer from 0 to 65535 (got a very large number)"),
        ("server.workers", -1, "server.workers: expected an integer from 0 to 256 (got -1)"),
        ("server.workers", 257, "server.workers: expected an integer from 0 to 256 (got 257)"),
        ("server.max_body_bytes", 1023, "expected an integer of at least 1024 (got 1023)"),
        ("server.max_header_bytes", 1000, "expected an integer from 1024 to 1048576 (got 1000)"),
        ("server.max_head_bytes", 20_000, "too small for server.max_header_bytes; accepted: at"),
        ("server.body_timeout_s", 0, "expected a number above 0 (got 0)"),
        (
            "server.body_timeout_s",
            "5 parsecs",
            'expected a number above 0 or a time, as in "10s" or "1h30m" (ms, s, min, h, d, w) '
            "(got '5 parsecs')",
        ),
        ("server.body_timeout_s", "0 s", "expected a number above 0 or a time"),
        ("server.body_timeout_s", "10 MiB", "expected a number above 0 or a time"),
        ("server.min_body_bytes_per_s", "10s", "an integer of at least 0 or a size"),
        ("server.max_body_bytes", "1023 B", 'at least 1024 or a size, as in "10 MiB"'),
        (
            "server.max_body_bytes",
            "1 PB",
            'a size, as in "10 MiB" (B; K, M, G, T or KiB, MiB, GiB, TiB by 1024; '
            "KB, MB, GB, TB by 1000) (got '1 PB')",
        ),
        ("server.max_body_bytes", "1G512M", "expected an integer"),
        ("server.max_body_bytes", "MiB", "expected an integer"),
        ("server.max_body_bytes", "1" * 100_000 + "!", "expected an integer"),
        *(
            ("server.body_timeout_s", text, "expected a number above 0 or a time")
            for text in ("1h30", "30m1h", "1h1h", "1h,30m", "1 2", "1.5.5s", "-1s", "1d" * 9000)
        ),
        ("spool.dead_letter_max_age_days", "5m", 'a time, as in "30d" (h, d, w)'),
        ("server.max_body_bytes", "1024.5", "expected an integer"),
        ("server.max_body_bytes", "-5 MiB", "expected an integer"),
        ("server.max_body_bytes", "9" * 400 + " GiB", "expected an integer"),
        ("server.port", "80 B", "expected an integer from 0 to 65535 (got '80 B')"),
        (
            "server.shutdown_timeout_s",
            [],
            'expected a number above 0 or a time, as in "10s" or "1h30m" (ms, s, min, h, d, w) '
            "(got a list)",
        ),
        ("server.trusted_proxies", "10.0.0.0/8", "expected a list of strings (got a string)"),
        ("server.trusted_proxies", ["::1", "x"], "server.trusted_proxies[1]: expected an address"),
        ("server.trusted_proxies", ["10.0.0.1/8"], "as in 10.0.0.0/8 (got '10.0.0.1/8')"),
        ("server.trusted_proxies", [1], "server.trusted_proxies[0]: expected an address"),
        *(
            ("server.public_host", host, "expected a host without /v1, as in events.")
            for host in (
                "ftp://a.example",
                "https://",
                "https://a.example/",
                "https://a/v1",
                "a/v1",
            )
        ),
        *(
            ("server.public_host", host, "expected a host without /v1, as in events.")
            for host in ("a.example/", "https:a", "//a", "u@a", "a?b", "", "a b", "a\nb", 5)
        ),
        ("server.default_source", "no name!", "expected 1 to 64 of the characters"),
        ("server.default_source", "other", "no source has this name (got 'other'); accepted: web"),
        ("server.browser_bundle", "", "expected a nonempty string in quotes"),
        ("server.proxy_headers", ["Via"], "expected one of Forwarded, X-Forwarded-For, X-"),
        (
            "sources.0.ip",
            "hide",
            "sources[0].ip: expected one of drop, keep, truncate",
        ),
        ("sources.0.sample_rate", 0, "expected a number above 0, at most 1 (got 0)"),
        ("sources.0.sample_rate", 1.5, "expected a number above 0, at most 1 (got 1.5)"),
        ("sources.0.sample_rate", "0.5", "expected a number above 0, at most 1 (got '0.5')"),
        (
            "sources.0.anonymous_only",
            1,
            "sources[0].anonymous_only: expected true or false",
        ),
        ("sources.0.allowed_events", "E", "expected a list of strings (got a string)"),
        ("sources.0.denied_events", [" "], "expected the name of an event, in which * stands for"),
        ("sources.0.denied_properties", [""], "expected the name of a property or a path, as in "),
        ("sources.0.denied_properties", ["a..b"], "sources[0].denied_properties[0]: expected the "),
        (
            "sources.0.denied_properties",
            ["a."],
            "sources[0].denied_properties[0]: expected the name",
        ),
        *(
            ("sources.0.allowed_origins", [origin], "sources[0].allowed_origins[0]: expected an or")
            for origin in (
                *("", "*", "example.com", "https://", "https://a.test/", "https://a.test/x"),
                *("https://*", "https://a.*.test", "https://*a.test", "*://a.test", "https://u@a"),
                *("https://a.test:99999", "https://a.test:x", "https://bücher.test", "https://a b"),
            )
        ),
        ("server.tls_cert", "c", "server.tls_key: missing, but server.tls_cert is set; accepted: "),
        ("server.tls_key", "k", "server.tls_cert: missing, but server.tls_key is set; accepted: "),
        ("admin.port", 8080, "admin.port: the same as server.port; accepted: another, or 0"),
        ("admin.token", "  ", "admin.token: expected a string that is not blank"),
        ("spool.backend", "kafka", "spool.backend: expected sqlite (got 'kafka')"),
        ("spool.backend", "${MISSING}", "spool.backend: environment variable MISSING is not set"),
        ("spool.backnd", "sqlite", 'spool.backnd: unknown key; did you mean "backend"?'),
        ("spool.backend", "mongo", "spool.backend: expected sqlite (got 'mongo')"),
        ("spool.path", "", "spool.path: expected a nonempty string in quotes (got '')"),
        ("spool.max_bytes", 0, "spool.max_bytes: expected an integer of at least 1 (got 0)"),
        ("spool.min_free_bytes", -1, "expected an integer of at least 0 (got -1)"),
        ("spool.dead_letter_max_bytes", 0, "expected an integer of at least 1 (got 0)"),
        ("spool.dead_letter_max_age_days", 0, "spool.dead_letter_max_age_days: expected"),
        ("sources", [], "sources: empty; accepted: at least one"),
        ("sources", {}, "sources: expected a list of tables (got a table)"),
        ("destinations", [], "destinations: empty; accepted: at least one"),
        ("sources.0", "web", "sources[0]: expected a table (got a string); accepted: name, "),
        ("sources.0.name", "", "sources[0].name: expected 1 to 64 of the characters A-Z a-z"),
        ("sources.0.name", "a" * 65, "sources[0].name: expected 1 to 64 of the characters"),
        ("sources.0.name", "a" * 99, f"(got '{'a' * 57}...')"),
        ("sources.0.name", "a b", "sources[0].name: expected 1 to 64 of the characters A-Z a-z"),
        ("sources.0.name", "web\n", "sources[0].name: expected 1 to 64 of the characters A-Z"),
        ("sources.0.name", "wéb", "sources[0].name: expected 1 to 64 of the characters A-Z"),
        ("sources.0.write_key", "", "sources[0].write_key: expected a string that is not blank"),
        ("sources.0.write_key", 5, "sources[0].write_key: expected a string that is not blank"),
        ("sources.0.destinations", ["x"], "no destination has this name (got 'x'); accepted: mp"),
        ("sources.0.destinations", ["mp", "mp"], "sources[0].destinations[1]: listed before"),
        ("destinations.0.name", "", "destinations[0].name: expected 1 to 64 of the characters"),
        ("destinations.0.type", "x", "destinations[0].type: expected mixpanel (got 'x')"),
        ("destinations.0.profile", "x", "expected one of segment, syft (got 'x')"),
        ("delivery.max_memory_bytes", 1024**2 - 1, "expected an integer of at least 1048576"),
        ("destinations.0.delivery.batch_records", 0, "expected an integer from 1 to 2000 (got 0)"),
        ("destinations.0.delivery.batch_records", 2001, "expected an integer from 1 to 2000"),
        ("destinations.0.delivery.batch_bytes", 1023, "an integer from 1024 to 10485760"),
        ("destinations.0.delivery.batch_bytes", 10485761, "an integer from 1024 to 10485760"),
        ("destinations.0.delivery.connections", 0, "expected an integer from 1 to 100 (got 0)"),
        ("destinations.0.delivery.connections", 101, "expected an integer from 1 to 100"),
        ("destinations.0.delivery.records_per_second", 0, "expected a number above 0 (got 0)"),
        ("destinations.0.delivery.bytes_per_minute", -1, "expected a number above 0 (got -1)"),
        ("destinations.0.delivery.request_timeout_s", 0, "expected a number above 0 (got 0)"),
        ("destinations.0.settings.projectToken", "", "expected a string without white space"),
        ("destinations.0.settings.projectToken", "a b", "expected a string without white space"),
        ("destinations.0.settings.apiRegion", "", "expected one of US, EU, IN (got '')"),
        ("destinations.0.settings.apiRegion", "US 🇪🇺", "expected one of US, EU, IN (got 'US 🇪🇺')"),
        ("destinations.0.settings.apiRegion", 1, "expected one of US, EU, IN (got 1)"),
        ("destinations.0.settings.sourceName", 5, "expected a string in quotes (got 5)"),
        ("destinations.0.settings.strictMode", 2, "expected one of 0, 1 (got 2)"),
        ("destinations.0.settings.strictMode", "yes", "expected one of 0, 1 (got 'yes')"),
        ("destinations.0.settings.strictMode", 1.0, "expected one of 0, 1 (got 1.0)"),
        (
            "destinations.0.settings.serviceAccount",
            {"username": "u"},
            "serviceAccount.secret: miss",
        ),
        ("destinations.0.settings.api_secret", "x", 'unknown key; did you mean "apiSecret"?'),
        (
            "destinations.0.settings.my key",
            1,
            "destinations[0].settings.'my key': unknown key; acc",
        ),
    ],
)
def test_bad_value_is_reported_with_its_path_and_what_is_accepted(
    path: str, value: Any, expected: str
) -> None:
    problems = problems_of(changed(path, value))
    assert any(expected in problem for problem in problems), problems


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:8080",
        "ftp://h",
        "http://",
        "https://h?x=1",
        "https://h/?",
        "https://h#f",
        "https://h:99999",
        "https://h:0",
        "https://h:x",
        "https://[::1",
        "https://user:pass@h",
        "https://h/a b",
        "https://h/\x07",
        "https://h\n",
        5,
    ],
)
def test_bad_base_url_is_reported_without_showing_it(url: Any) -> None:
    assert problems_of(changed("destinations.0.base_url", url)) == [
        "destinations[0].base_url: expected an http(s) URL without user, query and fragment"
    ]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8090", "http://127.0.0.1:8090"),
        ("https://proxy.example/mixpanel/", "https://proxy.example/mixpanel"),
        ("HTTPS://[::1]:1", "HTTPS://[::1]:1"),
    ],
)
def test_good_base_url_is_kept_without_final_slash(url: str, expected: str) -> None:
    assert load_json(changed("destinations.0.base_url", url)).destinations[0].base_url == expected


@pytest.mark.parametrize("flagged", REGION_FLAGS)
def test_region_in_any_case_with_or_without_flag_is_accepted(flagged: str) -> None:
    code, flag = flagged.split()
    forms = [flagged, code, code.lower(), code.title(), f"  {code.lower()}   {flag} ", code + flag]
    for form in forms:
        config = load_json(changed("destinations.0.settings.apiRegion", form))
        assert config.destinations[0].settings.apiRegion is Region[code]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "0"), (1, "1"), (False, "0"), (True, "1"), ("0", "0"), ("1", "1")],
)
def test_strict_mode_in_any_form_is_accepted(value: Any, expected: str) -> None:
    config = load_json(changed("destinations.0.settings.strictMode", value))
    assert config.destinations[0].settings.strictMode == expected


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("server.port", 0),
        ("server.port", 65535),
        ("server.max_body_bytes", 1024),
        ("server.trusted_proxies", ["192.168.1.7", "fd00::/8"]),
        ("server.public_host", "events.example.com"),
        ("server.public_host", "10.0.0.5:8080/analytics/v1x"),
        ("server.public_host", "http://10.0.0.5:8080/analytics/v1x"),
        ("server.public_host", "HTTPS://events.example.com"),
        ("server.default_source", "web"),
        ("server.tls_cert", None),
        ("server.proxy_headers", ["X-Real-IP"]),
        ("sources.0.ip", "drop"),
        ("sources.0.sample_rate", 1),
        ("sources.0.sample_rate", 0.001),
        ("sources.0.allowed_events", ["Order *", "*", "a.b"]),
        ("sources.0.denied_properties", ["email", "traits.address.street", "$ip", "a b.c"]),
        ("spool.min_free_bytes", 0),
        ("sources.0.name", "A-z_0" + "9" * 59),
        ("destinations.0.settings.apiSecret", None),
        ("delivery.max_memory_bytes", 1024**2),
        ("destinations.0.delivery.batch_records", 2000),
        ("destinations.0.delivery.batch_bytes", 10 * 1024**2),
        ("destinations.0.delivery.connections", 100),
        ("destinations.0.delivery.request_timeout_s", 0.5),
    ],
)
def test_value_at_the_limit_is_accepted(path: str, value: Any) -> None:
    load_json(changed(path, value))


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("https://Shop.Example.COM", "https://shop.example.com"),
        ("https://a.test:443", "https://a.test"),
        ("http://a.test:80", "http://a.test"),
        ("https://a.test:80", "https://a.test:80"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("https://*.a.test", "https://*.a.test"),
        ("https://*.a.test:443", "https://*.a.test"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("chrome-extension://abcdef", "chrome-extension://abcdef"),
        ("null", "null"),
    ],
)
def test_origins_are_read_as_browsers_write_them(given: str, read: str) -> None:
    config = load_json(changed("sources.0.allowed_origins", [given]))
    assert config.sources[0].allowed_origins == (read,)


def test_both_ports_zero_and_both_tls_files_are_accepted() -> None:
    document = changed("server", {"port": 0, "tls_cert": "/c", "tls_key": "/k"})
    config = load_json(changed("admin.port", 0, document))
    assert (config.server.port, config.admin.port, config.server.tls_key) == (0, 0, "/k")


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_toml_number_that_is_not_finite_is_reported(value: str) -> None:
    text = FULL[".toml"].replace("= 100", f"= {value}")
    with pytest.raises(ConfigError, match=rf"records_per_second: .*\(got {value}\)"):
        load_text(text, ".toml")


def test_toml_integer_too_large_to_print_is_reported() -> None:
    text = FULL[".toml"].replace("9000", "0x" + "f" * 5000)
    with pytest.raises(ConfigError, match=r"server.port: .* \(got a very large number\)"):
        load_text(text, ".toml")


def test_half_a_surrogate_pair_is_reported() -> None:
    text = 'sources: [{name: web, write_key: "\\ud800"}]\ndestinations: []'
    with pytest.raises(ConfigError, match=r"sources\[0\]\.write_key: expected a string"):
        load_text(text, ".yaml")


# --- names and references --------------------------------------------------------------------


def test_names_and_keys_used_twice_are_reported_without_the_key() -> None:
    document = changed("sources", MINIMAL["sources"] * 2)
    document["destinations"] *= 2
    assert problems_of(document) == [
        "sources[1].name: the same as sources[0].name; accepted: a different one",
        "sources[1].write_key: the same as sources[0].write_key; accepted: a different one",
        "destinations[1].name: the same as destinations[0].name; accepted: a different one",
    ]


def test_destinations_array_of_the_specification_is_accepted_and_named() -> None:
    syft = {
        "type": "mixpanel",
        "settings": {"projectToken": "xxxx", "apiSecret": "xxxx", "strictMode": 1},
    }
    named = {**syft, "name": "mixpanel-2"}
    document = changed("destinations", [syft, named, syft, {**syft, "name": "other"}])
    names = [d.name for d in load_json(document).destinations]
    assert names == ["mixpanel", "mixpanel-2", "mixpanel-3", "other"]
    document["sources"][0]["destinations"] = ["mixpanel-3"]
    assert load_json(document).sources[0].destinations == ("mixpanel-3",)


def test_unreadable_destination_name_hides_no_other_mistake_and_makes_no_false_one() -> None:
    document = changed("destinations.0.name", "my mp")
    document["sources"][0]["destinations"] = ["my-mp", 5]
    assert [line.split(":")[0] for line in problems_of(document)] == [
        "sources[0].destinations[1]",
        "destinations[0].name",
    ]


# --- variables -------------------------------------------------------------------------------


def test_variables_in_values_are_filled_in() -> None:
    document = changed("spool.path", "${BASE}/spool-${N:-1}${NONE:-}")
    document["sources"][0]["write_key"] = "${KEY}"
    config = load_json(document, BASE="/data", KEY="${BASE}")
    assert config.spool.path == "/data/spool-1"
    assert config.sources[0].write_key.reveal() == "${BASE}"  # not filled in a second time


def test_default_replaces_an_unset_and_an_empty_variable() -> None:
    document = changed("spool.path", "${P:-/here}")
    assert load_json(document).spool.path == "/here"
    assert load_json(document, P="").spool.path == "/here"
    assert load_json(document, P="/there").spool.path == "/there"


def test_escaped_variable_stays_as_text() -> None:
    document = changed("spool.path", "/$${HOME}/$x/$$/${A}$")
    assert load_json(document, A="a").spool.path == "/${HOME}/$x/$$/a$"


def test_variable_in_a_key_stays_as_text() -> None:
    [problem] = problems_of(changed("server.${A}", 1), A="port")
    assert problem.startswith("server.'${A}': unknown key")


def test_filled_in_text_stands_for_a_number_where_one_is_wanted() -> None:
    document = changed("server.port", "${PORT:-9090}")
    document = changed("server.body_timeout_s", "${S}", document)
    document = changed("destinations.0.settings.strictMode", "${STRICT}", document)
    document = changed("destinations.0.settings.sourceName", "${NAME}", document)
    config = load_json(document, S="1.5", STRICT="0", NAME="007")
    assert (config.server.port, config.server.body_timeout_s) == (9090, 1.5)
    assert config.destinations[0].settings.strictMode == "0"
    assert config.destinations[0].settings.sourceName == "007"


@pytest.mark.parametrize("text", ["eighty", "70000", "", "8e9", "true", "nan", CANARY])
def test_filled_in_text_that_is_wrong_is_never_shown(text: str) -> None:
    document = changed("server.port", "${A}")
    document = changed("server.shutdown_timeout_s", "x${A}", document)
    document = changed("destinations.0.profile", "${A}", document)
    document = changed("destinations.0.settings.apiRegion", "${A}", document)
    assert problems_of(document, A=text) == [
        "destinations[0].settings.apiRegion: expected one of US, EU, IN",
        "destinations[0].profile: expected one of segment, syft",
        "server.port: expected an integer from 0 to 65535",
        "server.shutdown_timeout_s: expected a number above 0 or a time, "
        'as in "10s" or "1h30m" (ms, s, min, h, d, w)',
    ]


def test_reference_from_the_environment_is_never_shown() -> None:
    document = changed("destinations.0.name", "${NAME}")
    document["destinations"].append({"settings": {"projectToken": "t"}})
    document["sources"][0]["destinations"] = ["${OTHER}", "x"]
    assert problems_of(document, NAME="secret-name", OTHER="other-name") == [
        "sources[0].destinations[0]: no destination has this name; "
        "accepted: that of destinations[0], mixpanel",
        "sources[0].destinations[1]: no destination has this name (got 'x'); "
        "accepted: that of destinations[0], mixpanel",
    ]


def test_missing_variables_are_each_reported_with_their_path() -> None:
    document = changed("spool.path", "${A}/${B}/${A}")
    document["sources"][0]["write_key"] = "${KEY}"
    assert problems_of(document) == [
        "sources[0].write_key: environment variable KEY is not set; "
        "accepted: set it, or give a default as in ${KEY:-value}",
        "spool.path: environment variable A is not set; "
        "accepted: set it, or give a default as in ${A:-value}; "
        "environment variable B is not set; "
        "accepted: set it, or give a default as in ${B:-value}",
    ]


@pytest.mark.parametrize("text", ["${", "${}", "${A", "${1A}", "${A-b}", "x${A B}"])
def test_malformed_variable_is_reported(text: str) -> None:
    [problem] = problems_of(changed("spool.path", text), A="a")
    assert problem.startswith('spool.path: "${" without a name and "}"; accepted: ${NAME}, ')


# --- the environment alone -------------------------------------------------------------------

ENVIRON = {"MIXPANEL_PROJECT_TOKEN": "token0123", "WRITE_KEY": "key-of-web"}


def test_two_variables_are_enough_to_run() -> None:
    config = load(None, {**ENVIRON, "PATH": "/bin", "GATEWAY_SPOOL_PATH": "/s"})
    document = changed("sources.0.name", "default", changed("spool.path", "/s"))
    assert config == load_json(changed("destinations.0.name", "mixpanel", document))


def test_every_variable_is_read() -> None:
    more = {
        "MIXPANEL_API_SECRET": "s",
        "MIXPANEL_REGION": "eu",
        "GATEWAY_HOST": "0.0.0.0",
        "GATEWAY_PORT": "80",
        "GATEWAY_ADMIN_HOST": "::1",
        "GATEWAY_ADMIN_PORT": "81",
        "GATEWAY_ADMIN_TOKEN": "t",
        "GATEWAY_SPOOL_PATH": "/data",
    }
    config = load(None, ENVIRON | more)
    settings = config.destinations[0].settings
    assert (settings.apiSecret, settings.apiRegion) == (Secret("s"), Region.EU)
    assert (config.server.host, config.server.port) == ("0.0.0.0", 80)
    assert (config.admin.host, config.admin.port) == ("::1", 81)
    assert (config.admin.token, config.spool.path) == (Secret("t"), "/data")
    assert load(None, ENVIRON | dict.fromkeys(more, "")) == load(None, ENVIRON)


def test_required_variables_that_are_missing_are_all_reported_with_the_way_out() -> None:
    for environ in ({}, dict.fromkeys(ENVIRON, "")):
        with pytest.raises(ConfigError) as caught:
            load(None, environ)
        assert list(caught.value.problems) == [
            f"{name}: not set; accepted: set it, or write a configuration file (--config FILE)"
            for name in ("MIXPANEL_PROJECT_TOKEN", "WRITE_KEY")
        ]


def test_bad_variables_are_reported_by_name_without_their_text() -> None:
    environ = {
        "MIXPANEL_PROJECT_TOKEN": f"{CANARY} x",
        "MIXPANEL_REGION": CANARY,
        "GATEWAY_PORT": CANARY,
        "GATEWAY_ADMIN_PORT": "8080 ",
    }
    with pytest.raises(ConfigError) as caught:
        load(None, environ)
    assert list(caught.value.problems) == [
        "WRITE_KEY: not set; accepted: set it, or write a configuration file (--config FILE)",
        "MIXPANEL_PROJECT_TOKEN: expected a string without white space",
        "MIXPANEL_REGION: expected one of US, EU, IN",
        "GATEWAY_PORT: expected an integer from 0 to 65535",
        "GATEWAY_ADMIN_PORT: expected an integer from 0 to 65535",
    ]
    with pytest.raises(ConfigError, match=r"GATEWAY_ADMIN_PORT: the same as server\.port"):
        load(None, ENVIRON | {"GATEWAY_PORT": "8081"})


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("MIXPANEL_TOKEN", "MIXPANEL_PROJECT_TOKEN"),
        ("MIXPANEL_APIREGION", "MIXPANEL_API_REGION"),
        ("GATEWAY_WORKER", "GATEWAY_WORKERS"),
        ("GATEWAY_WRITE_KEY", "WRITE_KEY?"),
        ("mixpanel_api_region", "MIXPANEL_API_REGION?"),
        ("Gateway_Port", "GATEWAY_PORT?"),
        ("Mixpanel_Region", "MIXPANEL_REGION?"),
        ("GATEWAY_SPOOL", ""),
        ("GATEWAY_X", ""),
    ],
)
def test_unknown_variable_is_a_mistake_and_is_answered_with_what_may_be_meant(
    name: str, meant: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, ENVIRON | {name: CANARY})
    [problem] = caught.value.problems
    assert problem.startswith(f"{name}: unknown variable; did you mean {meant}")
    assert CANARY not in problem


@pytest.mark.parametrize(
    ("name", "meant"),
    [("WRITEKEY", "WRITE_KEY"), ("WriteKey", "WRITE_KEY"), ("GATEWAYPORT", "GATEWAY_PORT")],
)
def test_variable_with_the_letters_of_ours_is_taken_for_it_unless_that_is_set(
    name: str, meant: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, {"MIXPANEL_PROJECT_TOKEN": "t", name: CANARY}, fallback={"WRITE_KEY": "k"})
    [problem] = caught.value.problems
    assert problem.startswith(f"{name}: unknown variable; did you mean {meant}")
    assert CANARY not in problem
    load(None, ENVIRON | {"GATEWAY_PORT": "1", name: "that of another program"})


@pytest.mark.parametrize("name", ["_", "__", "-", "HOME", "PORT", "TOKEN"])
def test_variable_of_a_shell_or_another_program_is_nothing_to_us(name: str) -> None:
    assert load(None, ENVIRON | {name: "/usr/bin/env"}) == load(None, ENVIRON)


def test_region_has_two_names_that_must_agree() -> None:
    for name in ("MIXPANEL_REGION", "MIXPANEL_API_REGION"):
        config = load(None, ENVIRON | {name: "EU"})
        assert config.destinations[0].settings.apiRegion is Region.EU
    both = ENVIRON | {"MIXPANEL_REGION": "EU", "MIXPANEL_API_REGION": "IN"}
    with pytest.raises(ConfigError, match="MIXPANEL_REGION: differs from MIXPANEL_API_REGION"):
        load(None, both)
    agreed = load(None, both | {"MIXPANEL_API_REGION": "EU"})
    assert agreed.destinations[0].settings.apiRegion is Region.EU


def test_what_kubernetes_tells_of_a_service_called_gateway_is_no_configuration() -> None:
    links = {
        "GATEWAY_SERVICE_HOST": "10.0.0.7",
        "GATEWAY_SERVICE_PORT": "80",
        "GATEWAY_SERVICE_PORT_HTTP": "80",
        "GATEWAY_PORT": "tcp://10.0.0.7:80",
        "GATEWAY_PORT_80_TCP": "tcp://10.0.0.7:80",
        "GATEWAY_PORT_80_TCP_PROTO": "tcp",
        "GATEWAY_PORT_80_TCP_ADDR": "10.0.0.7",
        "MIXPANEL_GATEWAY_PORT": "tcp://10.0.0.7:80",
    }
    assert load(None, ENVIRON | links) == load(None, ENVIRON)


def test_lists_sizes_and_accounts_come_from_variables_too() -> None:
    more = {
        "GATEWAY_TRUSTED_PROXIES": "10.0.0.0/8, 192.0.2.1",
        "GATEWAY_SPOOL_MAX_BYTES": "2 GiB",
        "GATEWAY_BODY_TIMEOUT_S": "1m",
        "MIXPANEL_IDENTITY": "simplified",
        "MIXPANEL_SERVICE_ACCOUNT_USERNAME": "u",
        "MIXPANEL_SERVICE_ACCOUNT_SECRET": "s",
        "MIXPANEL_SERVICE_ACCOUNT_PROJECT_ID": "1",
    }
    config = load(None, ENVIRON | more)
    assert config.server.trusted_proxies == ("10.0.0.0/8", "192.0.2.1/32")
    assert (config.spool.max_bytes, config.server.body_timeout_s) == (2 * 1024**3, 60)
    assert config.destinations[0].identity == "simplified"
    assert config.destinations[0].settings.credentials() == ("u", "s", "1")
    with pytest.raises(ConfigError) as caught:
        load(None, ENVIRON | {"GATEWAY_TRUSTED_PROXIES": f"10.0.0.0/8,{CANARY}"})
    [problem] = caught.value.problems
    assert "GATEWAY_TRUSTED_PROXIES" in problem or "trusted_proxies[1]" in problem
    assert CANARY not in problem


def test_every_variable_is_documented() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    assert "`GATEWAY_ADMIN_` and the key" in text
    for name in VARIABLES.values():
        prefix = re.match("GATEWAY_ADMIN_|GATEWAY_SPOOL_|GATEWAY_|MIXPANEL_|WRITE_KEY", name)
        assert prefix, name
        assert f"`{prefix[0]}" in text


def test_variables_that_a_file_leaves_unread_are_known(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text('[admin]\ntoken = "${GATEWAY_ADMIN_TOKEN}"\nport = "${PORT:-1}"')
    environ = {
        "GATEWAY_ADMIN_TOKEN": "t",
        "GATEWAY_PORT": "9",
        "MIXPANEL_REGION": "EU",
        "MIXPANEL_NO_SUCH": "1",
        "GATEWAY_HOST": "",
        "GATEWAY_SERVICE_HOST": "10.0.0.7",
        "PORT": "1",
        "WRITE_KEY": "k",
    }
    found = unread_variables(path, VARIABLES, environ)
    assert found == ["GATEWAY_PORT", "MIXPANEL_NO_SUCH", "MIXPANEL_REGION"]


# --- units and paths -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "text", "value"),
    [
        ("spool.max_bytes", "10 GiB", 10 * 1024**3),
        ("spool.max_bytes", "10gib", 10 * 1024**3),
        ("server.max_bytes_in_flight", "128 MiB", 128 * 1024**2),
        ("spool.max_bytes", "1.5 MiB", 1_572_864),
        ("spool.max_bytes", "2 GB", 2_000_000_000),
        ("spool.max_bytes", "10G", 10 * 1024**3),
        ("spool.max_bytes", "10 Gi", 10 * 1024**3),
        ("spool.max_bytes", "10 GB", 10 * 1000**3),
        ("spool.max_bytes", "10gb", 10 * 1000**3),
        ("spool.max_bytes", "512m", 512 * 1024**2),
        ("spool.max_bytes", "1.5T", 1.5 * 1024**4),
        ("spool.max_bytes", "4096 bytes", 4096),
        ("spool.max_bytes", "999999999999999999", 999_999_999_999_999_999),
        ("spool.max_bytes", "4096", 4096),
        ("server.max_body_bytes", " 2048 B ", 2048),
        ("server.min_body_bytes_per_s", "1 KiB", 1024),
        ("server.header_timeout_s", "10s", 10),
        ("server.header_timeout_s", "250 ms", 0.25),
        ("server.header_timeout_s", "2 min", 120),
        ("server.header_timeout_s", "1.5h", 5400),
        ("server.header_timeout_s", "2 minutes", 120),
        ("server.header_timeout_s", "1 Day", 86_400),
        ("server.header_timeout_s", "1h30m", 5400),
        ("server.header_timeout_s", "1 hour 30 min", 5400),
        ("server.header_timeout_s", "1m 0.5s", 60.5),
        ("server.header_timeout_s", "90 seconds", 90),
        ("server.header_timeout_s", "500 milliseconds", 0.5),
        ("server.keepalive_timeout", "10 mins", 600),
        ("spool.dead_letter_max_age_days", "2 weeks", 14),
        ("spool.dead_letter_max_age_days", "1d12h", 1.5),
        ("spool.dead_letter_max_age_days", "12h", 0.5),
        ("spool.dead_letter_max_age_days", "30 days", 30),
        ("destinations.0.delivery.bytes_per_minute", "1 GiB", 1024**3),
        ("delivery.max_memory_bytes", "128MiB", 128 * 1024**2),
    ],
)
def test_sizes_and_times_may_be_written_with_their_units(
    path: str, text: str, value: float
) -> None:
    assert _at(load_json(changed(path, text)), path) == value


def _at(config: Any, path: str) -> Any:
    for step in path.split("."):
        config = config[int(step)] if step.isdigit() else getattr(config, step)
    return config


@pytest.mark.parametrize("key", ["spool.path", "server.tls_key", "server.browser_bundle"])
def test_paths_are_relative_to_the_folder_of_the_file(tmp_path: Path, key: str) -> None:
    document = changed("server", {"tls_cert": "c", "tls_key": "k"})
    (tmp_path / "etc").mkdir()
    path = tmp_path / "etc" / "gateway.json"
    for written, expected in (
        ("data/x", tmp_path / "etc" / "data" / "x"),
        ("/data/x", Path("/data/x")),
    ):
        path.write_text(json.dumps(changed(key, written, document)))
        with chdir(tmp_path):
            assert _at(load(path.relative_to(tmp_path), {}), key) == str(expected)


def test_a_spool_where_the_gateway_is_started_is_not_left_behind(tmp_path: Path) -> None:
    """Paths used to be relative to the folder in which the gateway was started."""
    (tmp_path / "etc").mkdir()
    path = tmp_path / "etc" / "gateway.json"
    path.write_text(json.dumps(changed("spool.path", "./spool")))
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "worker-0.db").touch()
    with chdir(tmp_path), pytest.raises(ConfigError) as caught:
        load(path, {})
    [problem] = caught.value.problems
    assert str(tmp_path / "spool") in problem
    assert str(tmp_path / "etc" / "spool") in problem
    (tmp_path / "etc" / "spool").mkdir()
    with chdir(tmp_path):
        assert load(path, {}).spool.path == str(tmp_path / "etc" / "spool")


# --- secrets ---------------------------------------------------------------------------------

WITH_SECRETS: dict[str, Any] = {
    "admin": {"token": f"{CANARY}-1"},
    "sources": [{"name": "web", "write_key": f"{CANARY}-2"}],
    "destinations": [
        {
            "settings": {
                "projectToken": "token0123",
                "apiSecret": f"{CANARY}-3",
                "serviceAccount": {"username": "u", "secret": f"{CANARY}-4", "projectId": "1"},
            }
        }
    ],
}


def test_secrets_are_never_shown_by_a_configuration() -> None:
    config = load_json(WITH_SECRETS)
    assert config.admin.token is not None
    assert config.admin.token.reveal() == f"{CANARY}-1"
    for shown in (repr(config), str(config), f"{config}", str(redacted(config))):
        assert CANARY not in shown
        assert "***" in shown
    assert CANARY not in "".join(warnings(config))


@pytest.mark.parametrize(
    "mistake",
    [
        changed("server.port", "x", WITH_SECRETS),
        changed("sources", WITH_SECRETS["sources"] * 2, WITH_SECRETS),
        changed("admin.token", [CANARY], WITH_SECRETS),
        changed("sources.0.write_key", {"x": CANARY}, WITH_SECRETS),
        changed("sources.0.write_key", 4711, WITH_SECRETS),
        changed("destinations.0.settings.apiSecret", [CANARY], WITH_SECRETS),
        changed("destinations.0.settings.apiSecrt", CANARY, WITH_SECRETS),
        changed("destinations.0.settings.serviceAccount", CANARY, WITH_SECRETS),
        changed("destinations.0.settings.serviceAccount.secret", [CANARY], WITH_SECRETS),
        changed("destinations.0.settings.projectToken", f"{CANARY} x", WITH_SECRETS),
        changed("destinations.0.base_url", f"https://{CANARY}@h", WITH_SECRETS),
        changed("admin", CANARY, WITH_SECRETS),
    ],
)
def test_secrets_are_never_shown_by_an_error(mistake: Any) -> None:
    assert not [line for line in problems_of(mistake) if "4711" in line]


@pytest.mark.parametrize(
    ("ending", "text"),
    [
        (".yaml", f"sources: [{{write_key: *{CANARY}}}]"),
        (".yaml", f"sources: [{{write_key: !{CANARY} x}}]"),
        (".yaml", f"sources: [{{write_key: !{CANARY}!b x}}]"),
        (".yaml", f"sources: [{{write_key: !!int {CANARY}}}]"),
        (".yaml", f"sources: [{{write_key: &{CANARY} a}}, &{CANARY} b]"),
        (".toml", f"write_key = {CANARY}"),
        (".toml", f"write_key = '{CANARY}"),
        (".json", f'{{"write_key": {CANARY}}}'),
    ],
)
def test_secrets_are_never_shown_when_the_file_cannot_be_parsed(ending: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(text, ending)
    assert CANARY not in str(caught.value)
    assert caught.value.__context__ is None  # nor by the error behind it


def test_redacted_configuration_can_be_printed_in_any_format() -> None:
    document = changed("destinations.0.settings.apiRegion", "eu", WITH_SECRETS)
    plain = redacted(load_json(document))
    assert json.loads(json.dumps(plain))["server"]["port"] == 8080
    assert plain["admin"]["token"] == plain["sources"][0]["write_key"] == "***"
    settings = plain["destinations"][0]["settings"]
    assert (settings["projectToken"], settings["apiRegion"]) == ("toke…", "EU")
    assert settings["apiSecret"] == settings["serviceAccount"]["secret"] == "***"
    assert redacted(load_json(MINIMAL))["admin"]["token"] is None


def test_credentials_prefer_the_service_account_then_the_secret_then_the_token() -> None:
    account = ServiceAccount(username="u", secret=Secret("s"), projectId="9")
    token_only = DestinationSettings(projectToken="t")
    with_secret = DestinationSettings(projectToken="t", apiSecret=Secret("a"))
    with_both = DestinationSettings(projectToken="t", apiSecret=Secret("a"), serviceAccount=account)
    assert token_only.credentials() == ("t", "", None)
    assert with_secret.credentials() == ("a", "", None)
    assert with_both.credentials() == ("u", "s", "9")


# --- warnings --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("destinations.0.settings.apiSecret", "s", "settings.apiSecret: Mixpanel retires project "),
        ("server.host", "0.0.0.0", "server.host: other machines "),
        ("server.trusted_proxies", ["10.0.0.0/8", "::/0"], "server.trusted_proxies: everybody "),
        ("admin.host", "::", "admin.host: DANGER: "),
        ("destinations.0.base_url", "http://mixpanel.test", "destinations[0].base_url: events "),
        ("destinations.0.base_url", "HTTP://10.0.0.1", "destinations[0].base_url: events "),
    ],
)
def test_unwise_setting_is_warned_of(path: str, value: Any, expected: str) -> None:
    [warning] = warnings(load_json(changed(path, value)))
    assert expected in warning


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("server", {"host": "0.0.0.0", "tls_cert": "/c", "tls_key": "/k"}),
        ("server.host", "localhost"),
        ("server.trusted_proxies", ["10.0.0.0/8", "::1"]),
        ("admin", {"host": "0.0.0.0", "token": "t"}),
        ("admin.host", "::1"),
        ("destinations.0.base_url", "http://127.0.0.1:1"),
        ("destinations.0.base_url", "http://[::1]:1"),
        ("destinations.0.base_url", "https://mixpanel.test"),
        ("destinations.0.settings", WITH_SECRETS["destinations"][0]["settings"]),
    ],
)
def test_sound_setting_is_not_warned_of(path: str, value: Any) -> None:
    assert warnings(load_json(changed(path, value))) == []


def test_project_secret_warning_names_the_date_and_the_ways_out() -> None:
    [warning] = warnings(load_json(changed("destinations.0.settings.apiSecret", "s")))
    for part in ("2027-03-03", "serviceAccount", "projectToken"):
        assert part in warning


# --- anything at all -------------------------------------------------------------------------

_STRUCTS = (Config, ServerConfig, SpoolConfig, SourceConfig, DestinationConfig, DestinationSettings)
_KEYS = st.sampled_from([name for kind in _STRUCTS for name in kind.__struct_fields__])
_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec="utf-8"))
    | st.sampled_from(["${A}", "${B:-1}", "$${", "${", "EU", "mp", "http://h"])
)
_DOCUMENTS = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(_KEYS | st.text(st.characters(codec="utf-8")), inner, max_size=6)
    ),
    max_leaves=20,
)


def load_or_fail_well(text: str | bytes, ending: str) -> None:
    problems: tuple[str, ...] = ("none: ",)
    try:
        load_text(text, ending, {"A": "1"})
    except ConfigError as error:
        problems = error.problems
    assert problems
    for problem in problems:
        assert len(problem.splitlines()) == 1
        assert ": " in problem


@given(_DOCUMENTS, st.sampled_from(["", "server", "spool", "sources.0", "destinations.0.settings"]))
def test_any_document_is_accepted_or_refused_properly(document: Any, place: str) -> None:
    whole = changed(place, document) if place else document
    load_or_fail_well(json.dumps(whole), ".json")
    load_or_fail_well(yaml.safe_dump(whole, allow_unicode=True), ".yaml")


@given(
    st.binary() | st.text(st.characters(codec="utf-8")).map(str.encode),
    st.sampled_from([".json", ".yaml", ".toml"]),
)
def test_any_bytes_are_accepted_or_refused_properly(text: bytes, ending: str) -> None:
    load_or_fail_well(text, ending)


@given(
    st.sampled_from(
        ["int", "float", "bool", "timestamp", "binary", "null", "set", "omap", "pairs"]
    ),
    st.text("0123456789_:.+-xobTZ=, aé", max_size=12),
)
def test_any_yaml_tag_is_accepted_or_refused_properly(tag: str, text: str) -> None:
    load_or_fail_well(f"server: !!{tag} '{text}'\nspool: {{path: !!{tag} '{text}'}}", ".yaml")
    load_or_fail_well(f"!!{tag} '{text}' : 1", ".yaml")


def test_every_key_is_documented() -> None:
    docs = ROOT / "docs"
    pages = ("configuration.md", "sources.md", "mixpanel-sdks.md")
    text = "".join((docs / page).read_text("utf-8") for page in pages)

    def missing(section: type[msgspec.Struct]) -> list[str]:
        names = [field.encode_name for field in msgspec.structs.fields(section)]
        return [name for name in names if not re.search(rf"\b{name}\b", text)]

    sections = [each for each in vars(configuration).values() if isinstance(each, type)]
    structs = [each for each in sections if issubclass(each, msgspec.Struct)]
    assert len(structs) > 10
    assert {struct.__name__: missing(struct) for struct in structs if missing(struct)} == {}


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        ({}, 10 * 2**20),
        ({"max_bytes_in_flight": 16 * 2**20}, 4 * 2**20),
        ({"max_bytes_in_flight": 24 * 2**20}, 6 * 2**20),
        ({"max_body_bytes": 12 * 2**20}, 12 * 2**20),
        ({"max_import_bytes": 2048}, 2048),
        ({"max_import_bytes": 16 * 2**20}, 16 * 2**20),
        ({"max_import_bytes": 17 * 2**20}, None),
    ],
)
def test_imports_may_be_as_large_as_the_memory_allows(
    server: dict[str, int], expected: int | None
) -> None:
    document = {
        "server": server,
        "sources": [{"name": "s", "write_key": "k"}],
        "destinations": [{"name": "mp", "settings": {"projectToken": "t"}}],
    }
    if expected is None:
        (problem,) = problems_of(document)
        assert problem.startswith("server.max_bytes_in_flight: too small for server.max_import")
    else:
        assert load_text(json.dumps(document), ".json").server.import_bytes == expected
