"""What is kept of an event that nothing could be made of."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.events import MEMBERS, Event, Received, decode, decode_event
from gateway.events.originals import Originals, without_key
from gateway.mapping import prepare

KEY = "canary-write-key-of-a-source"
NOW_MS = 1_700_000_000_000

NAMES = """
type event userId messageId timestamp originalTimestamp sentAt context integrations properties
traits name group_key writeKey odd
"""
names = st.sampled_from([*NAMES.split(), "(clock skew)"])
values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.sampled_from(["", "x", "2023-11-14T22:00:00Z", 'é\\"\n', "\u2028", KEY, f"a {KEY} b"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)
events = st.dictionaries(names, values, max_size=8)


def received_from(document: object, *, escaped: bool = True) -> Received:
    received = decode(json.dumps(document, ensure_ascii=escaped).encode())
    prepare(
        received, received_ms=NOW_MS, default_type="track", client_ip="192.0.2.1", is_retry=False
    )
    return received


def plain(event: Event) -> dict[str, object]:
    """Return the event's own members; raw ones as what their text means."""
    noted = ("write_key", "client_ip", "skew_ms")
    own = {name: getattr(event, name) for _, name, _ in MEMBERS if name not in noted}
    return {
        name: json.loads(bytes(value) or b"null") if isinstance(value, msgspec.Raw) else value
        for name, value in own.items()
    }


def scrubbed(value: object) -> object:
    return json.loads(json.dumps(value).replace(KEY, "***"))


@given(st.lists(events, min_size=1, max_size=3), events, st.booleans(), st.booleans())
@settings(max_examples=400, deadline=None)
def test_what_is_kept_reads_as_the_event_that_was_prepared(
    batch: list[dict[str, Any]], shared: dict[str, Any], is_single: bool, escaped: bool
) -> None:
    document = batch[0] if is_single else {**shared, "batch": batch}
    received = received_from(document, escaped=escaped)
    sent = batch[:1] if is_single else batch
    expected = [scrubbed(plain(event)) for event in received.events]
    original = Originals(received, KEY)
    for event, whole, came in zip(received.events, expected, sent, strict=True):
        text = original(event)
        assert scrubbed(plain(decode_event(text))) == whole
        assert KEY.encode() not in text
        kept = json.loads(text)
        assert "writeKey" not in kept
        if "odd" in came:
            assert kept["odd"] == scrubbed(came["odd"])


def test_event_is_kept_as_it_came_to_the_last_digit() -> None:
    body = b'{"messageId":"m","type":"track", "odd":{"n":1.10e2,"s":"\\u00e9\\/"},"userId":7.0}'
    received = decode(body)
    assert Originals(received, KEY)(received.events[0]) == body


def test_batch_shares_its_context_with_what_is_kept() -> None:
    received = received_from(
        {
            "batch": [{"messageId": "m", "context": {"a": 1}, "odd": 5}],
            "context": {"a": 2, "b": 3},
            "integrations": {"All": False},
            "writeKey": KEY,
        }
    )
    assert json.loads(Originals(received, KEY)(received.events[0])) == {
        "messageId": "m",
        "type": "track",
        "context": {"a": 1, "b": 3},
        "integrations": {"All": False},
        "odd": 5,
    }


def test_events_keep_their_texts_among_elements_that_are_none() -> None:
    received = received_from({"batch": [5, {"odd": 1}, None, {"odd": 2, "userId": {}}, "x"]})
    original = Originals(received, KEY)
    assert [json.loads(original(event))["odd"] for event in received.events] == [1, 2]


def test_event_of_a_body_that_says_it_otherwise_is_kept_as_it_is_read() -> None:
    event = Event(type="track", user_id="u", write_key=KEY, client_ip="192.0.2.1", skew_ms=5)
    received = Received([event], Event(), is_batch=True, misfits=[], body=b'{"data": 1}')
    assert Originals(received, KEY)(event) == b'{"type":"track","userId":"u"}'


KEYED = [
    (b'{"a":"%b"}', b'{"a":"***"}'),
    (b'{"%b":1}', b'{"***":1}'),
    (b'{"url":"https://x.test/?writeKey=%b&b=1"}', b'{"url":"https://x.test/?writeKey=***&b=1"}'),
    (b'{"json":"{\\"writeKey\\":\\"%b\\"}"}', b'{"json": "{\\"writeKey\\":\\"***\\"}"}'),
    (b'{"a":"\\\\","b":"%b"}', b'{"a":"\\\\","b":"***"}'),
    (b'{"a":"\\"","b":["%b","\\n"]}', b'{"a":"\\"","b":["***","\\n"]}'),
]


@pytest.mark.parametrize(("text", "expected"), KEYED)
@pytest.mark.parametrize("key", [KEY, "dev", "schlüssel/1", 'a"b\\'])
def test_key_is_removed_wherever_it_stands(text: bytes, expected: bytes, key: str) -> None:
    inner = json.dumps(key, ensure_ascii=False)[1:-1]
    if b'\\"%b' in text:
        inner = json.dumps(inner, ensure_ascii=False)[1:-1]
        if inner != key:
            return  # an encoding within an encoding is not the key any more
    assert json.loads(without_key(text % inner.encode(), key)) == json.loads(expected)


@pytest.mark.parametrize("key", [KEY, "dev"])
def test_key_is_removed_when_it_is_escaped(key: str) -> None:
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in key)
    text = f'{{"a":"{escaped}","b":"\\u{ord(key[0]):04x}{key[1:]}"}}'
    assert json.loads(without_key(text.encode(), key)) == {"a": "***", "b": "***"}


@pytest.mark.parametrize("carried", ["1e999", "[" * 5000 + "]" * 5000])
def test_escaped_key_is_removed_beside_what_is_only_carried(carried: str) -> None:
    text = f'{{"n":{carried},"a":"\\u{ord(KEY[0]):04x}{KEY[1:]}"}}'.encode()
    assert without_key(text, KEY) == f'{{"n":{carried},"a":"***"}}'.encode()


def test_short_key_leaves_words_alone_that_hold_it_by_chance() -> None:
    text = b'{"device":"dev-kit","my_dev":1,"dev":"dev"}'
    assert without_key(text, "dev") == b'{"device":"dev-kit","my_dev":1,"***":"***"}'


def test_long_key_goes_from_within_words() -> None:
    assert KEY.encode() not in without_key(b'{"a":"x%by"}' % KEY.encode(), KEY)


def test_split_comes_only_when_a_text_is_asked_for() -> None:
    received = received_from({"batch": [{"odd": 1}]})
    received.body = b"not JSON: reading it would fail"
    Originals(received, KEY)
