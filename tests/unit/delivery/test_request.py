"""The requests that Mixpanel gets."""

import base64
import gzip
import json

import msgspec
import pytest

from gateway.config import DestinationSettings, Secret, ServiceAccount
from gateway.delivery.batch import Body
from gateway.delivery.mixpanel.request import build, is_quick

LINES = b'{"n":1}\n{"n":2}\n'
PLAIN = Body(LINES, False, 2, len(LINES))
STORED = Body(gzip.compress(LINES, mtime=0), True, 2, len(LINES))
TOKEN = DestinationSettings(projectToken="a1b2c3")


def test_import_sends_the_stored_bytes_unchanged() -> None:
    request = build("import", TOKEN, STORED)
    assert request.body is STORED.data
    assert request.path == "/import"
    assert request.headers["Content-Type"] == "application/x-ndjson"
    assert request.headers["Content-Encoding"] == "gzip"


@pytest.mark.parametrize(
    ("endpoint", "takes_stored"), [("import", True), ("engage", False), ("track", False)]
)
def test_what_is_quickly_built_needs_no_thread(endpoint: str, takes_stored: bool) -> None:
    large = b"{}\n" * 10_000
    body = Body(gzip.compress(large), True, 10_000, len(large))
    assert is_quick(endpoint, body) is takes_stored  # a thread inflates it for the others
    assert is_quick(endpoint, PLAIN)
    assert not is_quick(endpoint, Body(large, False, 10_000, len(large)))


def test_import_compresses_what_is_not_compressed() -> None:
    assert gzip.decompress(build("import", TOKEN, PLAIN).body) == LINES


@pytest.mark.parametrize(
    ("settings", "login", "query"),
    [
        (TOKEN, "a1b2c3:", {"strict": "1"}),
        (
            DestinationSettings(projectToken="a1b2c3", apiSecret=Secret("s3"), strictMode="0"),
            "s3:",
            {"strict": "0"},
        ),
        (
            DestinationSettings(
                projectToken="a1b2c3",
                apiSecret=Secret("s3"),
                serviceAccount=ServiceAccount(
                    username="robot", secret=Secret("pä:ss"), projectId="42"
                ),
            ),
            "robot:pä:ss",
            {"strict": "1", "project_id": "42"},
        ),
    ],
)
def test_import_carries_the_credentials_and_the_mode(
    settings: DestinationSettings, login: str, query: dict[str, str]
) -> None:
    request = build("import", settings, PLAIN)
    scheme, _, value = request.headers["Authorization"].partition(" ")
    assert scheme == "Basic"
    assert base64.b64decode(value).decode() == login
    assert request.query == query


@pytest.mark.parametrize("body", [PLAIN, STORED])
@pytest.mark.parametrize("endpoint", ["engage", "groups"])
def test_profile_updates_are_a_plain_json_array(endpoint: str, body: Body) -> None:
    request = build(endpoint, TOKEN, body)
    assert request.path == f"/{endpoint}"
    assert request.query == {"ip": "0", "verbose": "1"}
    assert request.headers == {"Content-Type": "application/json"}
    assert json.loads(request.body) == [{"n": 1}, {"n": 2}]


def test_track_is_a_compressed_json_array_without_credentials() -> None:
    request = build("track", TOKEN, PLAIN)
    assert request.path == "/track"
    assert request.query == {"ip": "0", "verbose": "1"}
    assert request.headers == {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    assert msgspec.json.decode(gzip.decompress(request.body)) == [{"n": 1}, {"n": 2}]


def test_repr_shows_neither_credentials_nor_records() -> None:
    settings = DestinationSettings(projectToken="a1b2c3", apiSecret=Secret("s3cret"))
    shown = repr(build("import", settings, PLAIN))
    assert "Basic" not in shown
    assert "s3cret" not in shown
    assert "body" not in shown
