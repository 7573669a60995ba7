"""What is told of keys, in the documents and as JSON Schema, is what is read."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import VARIABLES, Config, load
from gateway.config.json_schema import json_schema
from gateway.config.kinds import keys_of
from gateway.config.reference import entries
from gateway.errors import ConfigError
from tests.support.paths import ROOT
from tests.unit.config.test_config import FULL, changed

ENTRIES = {each.path: each for each in entries()}
SCHEMA = json_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def is_valid(document: Any) -> bool:
    return bool(VALIDATOR.is_valid(document))


def test_every_key_has_its_place_in_the_page_and_says_what_it_means() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    assert len(ENTRIES) > 80
    for path, entry in ENTRIES.items():
        assert f"\n| `{path}` | " in page, path
        assert len(entry.text) > 5, path
        assert not entry.text.endswith("."), path
        assert "](" not in entry.plain_text


def test_every_variable_belongs_to_a_key() -> None:
    assert sorted(each.variable for each in ENTRIES.values() if each.variable) == sorted(
        VARIABLES.values()
    )


TOLD = [path for path, each in ENTRIES.items() if each.default.startswith("`")]


@pytest.mark.parametrize("path", TOLD)
def test_default_that_is_told_is_the_default(path: str, tmp_path: Path) -> None:
    told = ENTRIES[path].default.strip("`")
    value = json.loads(told) if re.fullmatch(r"true|false|[0-9]+", told) else told
    subscription = {"subscribe": 'type = "track"', "action": "trackEvent"}
    start = changed("destinations.0.subscriptions", [subscription])
    del start["destinations"][0]["name"]
    given = load_document(changed(path.replace("[]", ".0"), value, start), tmp_path)
    if path == "destinations[].settings.groupKey":  # "" stands for it
        given = load_document(changed("destinations.0.settings.groupKey", "", start), tmp_path)
    assert given == load_document(start, tmp_path)


def load_document(document: Any, folder: Path) -> Config:
    path = folder / "gateway.json"
    path.write_text(json.dumps(document))
    return load(path, {})


# JSON Schema


def test_schema_is_valid_itself() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_schema_is_what_the_command_prints() -> None:
    command = [sys.executable, "-m", "gateway", "config", "schema"]
    shown = subprocess.run(command, capture_output=True, check=True, text=True)
    assert json.loads(shown.stdout) == SCHEMA


def test_keys_are_printed_by_a_word_of_them() -> None:
    def keys(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "gateway", "config", "keys", *words]
        return subprocess.run(command, capture_output=True, check=False, text=True)

    shown = keys("gateway_port").stdout
    assert shown.splitlines()[0] == "server.port"
    assert all(part in shown for part in ("8080", "from 0 to 65535", "GATEWAY_PORT"))
    everything = keys().stdout.splitlines()
    assert [line for line in everything if not line.startswith(" ")] == list(ENTRIES)
    nothing = keys("nosuchthing")
    assert (nothing.returncode, "no key" in nothing.stderr) == (1, True)


def test_every_key_is_in_the_schema_with_its_meaning() -> None:
    for definition in (SCHEMA, *SCHEMA["$defs"].values()):
        assert definition["additionalProperties"] is False
        for name, key in definition["properties"].items():
            assert name == "backend" or len(key["description"]) > 5, name


def test_secrets_are_marked() -> None:
    marked = {
        f"{name}.{key}"
        for name, definition in SCHEMA["$defs"].items()
        for key, schema in definition["properties"].items()
        if schema.get("writeOnly")
    }
    assert marked >= {
        *("SourceConfig.write_key", "AdminConfig.token", "ServiceAccount.secret"),
        *("DestinationSettings.apiSecret", "DestinationSettings.projectToken"),
        *("MixpanelSdksConfig.api_key", "DeliveryConfig.proxy"),
    }
    assert "ServerConfig.port" not in marked


def test_examples_fit_the_schema() -> None:
    assert is_valid(tomllib.loads(FULL[".toml"]))
    assert is_valid(yaml.safe_load(FULL[".yaml"]))
    readme = (ROOT / "README.md").read_text("utf-8")
    whole = [text for text in re.findall(r"```toml\n(.*?)```", readme, re.S) if "[server]" in text]
    assert whole
    for text in whole:
        assert is_valid(tomllib.loads(text))


GOOD = [
    ("server.port", "${PORT:-1}"),
    ("server.workers", "${WORKERS}"),
    ("server.body_timeout_s", "1m"),
    ("server.body_timeout_s", 2.5),
    ("server.host", ["127.0.0.1", "::1"]),
    ("server.neutral_paths", "${NEUTRAL}"),
    ("server.trusted_proxies", "${PROXIES}"),
    ("server.max_import_bytes", None),
    ("spool.max_bytes", "10 GiB"),
    ("spool.backend", "sqlite"),
    ("spool.backend", "${BACKEND:-sqlite}"),
    ("destinations.0.settings.apiRegion", "EU 🇪🇺"),
    ("destinations.0.settings.strictMode", 1),
    ("destinations.0.profile", "segment"),
    ("sources.0.name", "${NAME}"),
]


@pytest.mark.parametrize(("path", "value"), GOOD)
def test_what_is_accepted_fits_the_schema(path: str, value: object) -> None:
    assert is_valid(changed(path, value))


BAD = [
    ("server.prot", 1),
    ("server.port", 65536),
    ("server.port", "8080"),
    ("server.port", 1.5),
    ("server.workers", -1),
    ("server.neutral_paths", "yes"),
    ("server.trusted_proxies", "10.0.0.0/8"),
    ("server.host", []),
    ("server.body_timeout_s", 0),
    ("server.body_timeout_s", "soon"),
    ("spool.backend", "kafka"),
    ("spool.max_bytes", 0),
    ("spool", []),
    ("sources", {}),
    ("sources.0.name", "a b"),
    ("sources.0.sample_rate", 2),
    ("sources.0.ip", "hide"),
    ("destinations.0.profile", "other"),
    ("destinations.0.settings.strictMode", 2),
    ("destinations.0.settings.serviceAccount", {"username": "u"}),
    ("destinations.0.settings", {}),
]


@pytest.mark.parametrize(("path", "value"), BAD)
def test_what_is_refused_for_itself_does_not_fit_the_schema(
    path: str, value: object, tmp_path: Path
) -> None:
    document = changed(path, value)
    with pytest.raises(ConfigError):
        load_document(document, tmp_path)
    assert not is_valid(document)


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "a", "1", "10 MiB", "5s", "EU", "http://h", "/p", "${A}", "${B:-1}"]),
    lambda inner: st.lists(inner, max_size=2),
    max_leaves=3,
)


@given(st.sampled_from(sorted(ENTRIES)), _VALUES)
def test_whatever_is_accepted_fits_the_schema(
    tmp_path_factory: pytest.TempPathFactory, path: str, value: Any
) -> None:
    if "subscriptions" in path or "serviceAccount" in path:
        return
    document = changed(path.replace("[]", ".0"), value)
    file = tmp_path_factory.getbasetemp() / "any.json"
    file.write_text(json.dumps(document))
    try:
        load(file, {"A": "1"})
    except ConfigError:
        return
    assert is_valid(document)


def test_keys_of_unions_are_those_of_their_tables() -> None:
    assert list(keys_of(Config))[:2] == ["sources", "destinations"]
    assert "backend" not in keys_of(keys_of(Config)["spool"].kind)
