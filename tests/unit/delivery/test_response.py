"""Mixpanel's answers, as documented and otherwise."""

import json
import time
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.delivery.mixpanel.response import interpret
from gateway.delivery.outcome import (
    Delivered,
    FailedRecord,
    Outcome,
    Partial,
    Paused,
    RetryLater,
    Split,
)
from gateway.events.depth import MAX_DEPTH

REMEDY = "check projectToken, serviceAccount or apiSecret, and apiRegion"
ENDPOINTS = ("import", "track", "engage", "groups")
COLLECTING = ("track", "engage", "groups")


def read(
    status: int,
    body: object = b"",
    *,
    endpoint: str = "import",
    records: int = 3,
    headers: Mapping[str, str] | None = None,
) -> Outcome:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return interpret(endpoint, status, headers or {}, data, records)


@pytest.mark.parametrize(
    "body",
    [
        {"code": 200, "num_records_imported": 3, "status": "OK"},
        {"num_records_imported": 3},
        {"code": 200, "status": "OK"},
        {"status": 1, "error": None},
        b"1",
    ],
)
def test_import_200_is_delivered(body: object) -> None:
    assert read(200, body) == Delivered()


FOREIGN: tuple[object, ...] = (
    b"",
    b" \r\n",
    b"OK",
    b"  <!doctype html><title>Log in</title>",
    b"<html>",
    b"2",
    b"null",
    b"true",
    b"[]",
    b'"1"',
    b"\xff\xfe",
    {},
    {"ok": True},
    {"status": 7},
    {"status": True},
    {"status": "success"},
    {"message": "thank you"},
    {"code": 200},
    {"num_records_imported": True},
    {"num_records_imported": 4},
    {"num_records_imported": -1},
    {"num_records_imported": "three"},
    {"num_good_events": None},
)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("body", FOREIGN)
def test_200_that_is_not_mixpanels_is_a_wrong_address(endpoint: str, body: object) -> None:
    outcome = read(200, body, endpoint=endpoint)
    assert isinstance(outcome, Paused)
    assert not outcome.holds_others
    assert f"status 200 from /{endpoint} with" in outcome.reason
    assert "base_url" in outcome.reason


@pytest.mark.parametrize("body", [{"status": "OK"}, {"status": "ok"}])
def test_what_any_service_may_answer_is_not_enough_for_import(body: object) -> None:
    assert isinstance(read(200, body), Paused)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize(
    "body",
    [
        b'{"code": 200, "num_rec',
        b'{"status": 1, "err',
        b"{",
        b'{"status":1,"x":%b%b}' % (b"[" * MAX_DEPTH, b"]" * MAX_DEPTH),  # as good as that
    ],
)
def test_200_that_is_cut_off_is_retried(endpoint: str, body: bytes) -> None:
    assert isinstance(read(200, body, endpoint=endpoint), RetryLater)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("status", [201, 202, 203, 204, 206, 226, 299])
@pytest.mark.parametrize("body", [b"", b"1", {"code": 200, "status": "OK"}])
def test_no_other_2xx_is_mixpanels(endpoint: str, status: int, body: object) -> None:
    outcome = read(status, body, endpoint=endpoint)
    assert isinstance(outcome, Paused)
    assert f"status {status} from /{endpoint}" in outcome.reason


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
@pytest.mark.parametrize(
    ("location", "told"),
    [
        (
            "https://api-eu.mixpanel.com/import?strict=1",
            "redirects to https://api-eu.mixpanel.com;",
        ),
        ("http://user:canary@h.example:8080/canary?canary#canary", "to http://h.example:8080;"),
        ("//cdn.example/canary", "redirects to http://cdn.example;"),
        ("https://[2001:db8::1]/", "redirects to https://[2001:db8::1];"),
        ("/canary/elsewhere", "redirects;"),
        ("https://[canary", "redirects;"),
        ("https://h:canary/", "redirects;"),
        ("https://a\x1bb/", "redirects;"),
        ("", "redirects;"),
    ],
)
def test_a_redirect_is_a_wrong_address(
    endpoint: str, status: int, location: str, told: str
) -> None:
    outcome = read(status, b"moved", endpoint=endpoint, headers={"Location": location})
    assert isinstance(outcome, Paused)
    assert not outcome.holds_others
    assert told in outcome.reason
    assert "canary" not in outcome.reason


@pytest.mark.parametrize("endpoint", COLLECTING)
@pytest.mark.parametrize(
    ("answer", "records", "expected"),
    [
        ({"code": 200, "num_good_events": 3, "status": "OK"}, 3, Delivered()),
        ({"num_good_events": 3, "status": 1, "error": None}, 3, Delivered()),
        (
            {"code": 200, "num_good_events": 1, "status": "OK"},
            3,
            Split("refused", "1 of 3 records were good"),
        ),
        (
            {"num_good_events": 0, "status": 1, "error": ""},
            1,
            Split("refused", "0 of 1 records were good"),
        ),
        (
            {"num_good_events": 1, "status": 0, "error": "$add: not a number"},
            2,
            Split("refused", "$add: not a number"),
        ),
    ],
)
def test_the_number_of_good_records_counts(
    endpoint: str, answer: object, records: int, expected: Outcome
) -> None:
    assert read(200, answer, endpoint=endpoint, records=records) == expected


COUNTS = (("num_records_imported", "imported"), ("num_good_events", "good"))


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize(("member", "word"), COUNTS)
@pytest.mark.parametrize("rest", [{"code": 200, "status": "OK"}, {"status": 1}, {}])
@pytest.mark.parametrize(
    ("value", "count"),
    [(0, 0), (1, 1), (2.0, 2), ("2", 2), (" 0 ", 0), ("1.0", 1), (3, 3), (3.0, 3), ("3", 3)],
)
def test_a_count_is_read_however_it_is_written(
    endpoint: str, member: str, word: str, rest: dict[str, object], value: object, count: int
) -> None:
    refused = Split("refused", f"{count} of 3 records were {word}")
    expected = Delivered() if count == 3 else refused
    assert read(200, {**rest, member: value}, endpoint=endpoint) == expected


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize(("member", "_"), COUNTS)
@pytest.mark.parametrize(
    "value",
    [-1, 4, True, False, None, 1.5, 1e300, "", "-1", "4", "true", "1 2", "9" * 5000, "\u0663", [1]],
)
def test_what_cannot_be_a_count_says_nothing(
    endpoint: str, member: str, _: str, value: object
) -> None:
    assert read(200, {"code": 200, "status": "OK", member: value}, endpoint=endpoint) == Delivered()
    assert isinstance(read(200, {member: value}, endpoint=endpoint), Paused)


def test_the_lesser_of_two_counts_is_believed() -> None:
    both = {"code": 200, "status": "OK", "num_records_imported": 3, "num_good_events": "2"}
    assert read(200, both) == Split("refused", "2 of 3 records were good")


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_200_that_names_failed_records_is_honoured(endpoint: str) -> None:
    body = failure({"index": 1, "message": "bad"}, imported=2) | {"code": 200, "status": "OK"}
    assert read(200, body, endpoint=endpoint) == Partial((FailedRecord(1, "bad"),))
    texts = {"code": 200, "status": "OK", "failed_records": ["one is bad"]}
    assert read(200, texts, endpoint=endpoint) == Split("refused", "one is bad")
    assert read(200, {**texts, "failed_records": []}, endpoint=endpoint) == Delivered()


def test_import_200_that_reports_an_error_is_no_success() -> None:
    assert read(200, {"status": 0, "error": "bad token"}) == Split("refused", "bad token")


@pytest.mark.parametrize("endpoint", COLLECTING)
@pytest.mark.parametrize(
    "body",
    [b"1", b" 1\n", {"status": 1, "error": None}, {"status": "OK"}, {"status": 1}],
)
def test_status_1_is_delivered(endpoint: str, body: object) -> None:
    assert read(200, body, endpoint=endpoint) == Delivered()


@pytest.mark.parametrize("endpoint", COLLECTING)
@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"0", "answered 0"),
        ({"status": 0}, "status 0 without a reason"),
        ({"status": 0, "error": "no $token"}, "no $token"),
        ({"status": 1, "error": "some data points failed"}, "some data points failed"),
        ({"error": "no $token"}, "no $token"),
        ({"error": {"code": 7}}, "{'code': 7}"),
        ({"status": "error"}, "status 0 without a reason"),
    ],
)
def test_status_0_or_an_error_with_200_is_refused(endpoint: str, body: object, detail: str) -> None:
    assert read(200, body, endpoint=endpoint) == Split("refused", detail)


def failure(*items: object, imported: int | None = None) -> dict[str, object]:
    answer = {"code": 400, "error": "some data points failed", "failed_records": list(items)}
    return answer if imported is None else answer | {"num_records_imported": imported}


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_failed_records_are_taken_by_index(endpoint: str) -> None:
    body = failure(
        {"index": 2, "$insert_id": "a", "field": "properties.time", "message": "too old"},
        {"index": 0, "insert_id": "a", "field": "$insert_id", "message": "is invalid"},
        imported=1,
    )
    assert read(400, body, endpoint=endpoint) == Partial(
        (
            FailedRecord(0, "$insert_id: is invalid ($insert_id a)"),
            FailedRecord(2, "properties.time: too old ($insert_id a)"),
        )
    )


def test_a_record_that_failed_twice_is_one_failure_with_both_messages() -> None:
    body = failure({"index": 1, "message": "bad time"}, {"index": 1, "message": "bad id"})
    assert read(400, body) == Partial((FailedRecord(1, "bad time; bad id"),))


@pytest.mark.parametrize(
    "item",
    [
        {"index": 3},
        {"index": -1},
        {"index": "1"},
        {"index": True},
        {"index": 1.0},
        {"index": None},
        {"message": "no index", "$insert_id": "a"},
        7,
        None,
    ],
)
def test_failed_records_that_cannot_be_placed_split_the_batch(item: object) -> None:
    outcome = read(400, failure({"index": 0}, item))
    assert isinstance(outcome, Split)
    assert outcome.detail.startswith("some data points failed: ")


@pytest.mark.parametrize(
    ("items", "told"),
    [
        (["$identify is not supported"], "some data points failed: $identify is not supported"),
        (["a", "a", "b"], "some data points failed: a; b"),
        ([{"message": "no index"}, "text"], "some data points failed: no index; text"),
        ([{"index": 9, "error": "odd"}], "some data points failed: odd"),
        ("just a text", "some data points failed: just a text"),
        ({"0": "an object"}, "some data points failed: {'0': 'an object'}"),
        (["x" * 10_000], "some data points failed: " + "x" * 475),
        (["y"] * 100_000, "some data points failed: y"),
    ],
)
def test_texts_of_failed_records_are_the_detail(items: object, told: str) -> None:
    answer = {"code": 400, "error": "some data points failed", "failed_records": items}
    assert read(400, answer, records=1) == Split("refused", told)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"\xff\xfe",
        b'{"failed_records": [{"index": 0}',
        b"[" * 5000,
        [],
        7,
        {},
        {"failed_records": None},
        {"failed_records": []},
        {"failed_records": {"index": 0}},
        failure({"index": 0}, imported=0),
    ],
)
@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_400_without_usable_failed_records_splits_the_batch(endpoint: str, body: object) -> None:
    outcome = read(400, body, endpoint=endpoint)
    assert isinstance(outcome, Split)
    assert outcome.reason == "refused"


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("imported", [0, 1, 1.0, "1"])
def test_a_record_that_neither_failed_nor_was_imported_splits_the_batch(
    status: int, imported: object
) -> None:
    body = failure({"index": 0, "message": "bad"}) | {"num_records_imported": imported}
    assert isinstance(read(status, body), Split)
    assert isinstance(read(status, body | {"num_records_imported": 2}), Partial)
    assert isinstance(read(status, body | {"num_records_imported": -1}), Partial)


def test_nothing_imported_is_believed_when_all_failed() -> None:
    assert isinstance(read(400, failure({"index": 0}, imported=0), records=1), Partial)


def test_413_splits_as_too_large() -> None:
    body = {"code": 413, "error": "request exceeds max limit of 2097152 bytes"}
    assert read(413, body) == Split("too_large", "request exceeds max limit of 2097152 bytes")
    page = b"<html><title>413 Request Entity Too Large</title><center>nginx</center>"
    told = 'with a page ("413 Request Entity Too Large") that is not Mixpanel\'s'
    assert read(413, page) == Split("too_large", f"request too large (413), {told}")


@pytest.mark.parametrize("status", [401, 403])
def test_refused_credentials_pause(status: int) -> None:
    outcome = read(status, {"error": "Invalid credentials"})
    assert outcome == Paused(f"credentials refused ({status}): Invalid credentials; {REMEDY}")


def test_401_without_a_word_is_about_credentials() -> None:
    assert read(401) == Paused(f"credentials refused (401): no reason given; {REMEDY}")


@pytest.mark.parametrize("body", [b"<html>Log in to the network", {"message": "Unauthorized"}])
def test_401_of_somebody_else_is_a_wrong_address(body: object) -> None:
    outcome = read(401, body)
    assert isinstance(outcome, Paused)
    assert not outcome.holds_others
    assert "credentials refused" not in outcome.reason


@pytest.mark.parametrize("status", [403, 406, 418, 422, 451])
@pytest.mark.parametrize(
    "body", [b"<html><h1>Request blocked</h1>", b"", {"message": "Forbidden"}, b"error code: 1020"]
)
def test_a_block_page_is_the_fault_of_what_was_sent_or_of_the_way(
    status: int, body: object
) -> None:
    outcome = read(status, body, endpoint="engage")
    assert isinstance(outcome, Split)
    assert outcome.is_foreign
    assert f"status {status} from /engage" in outcome.detail
    assert "credentials" not in outcome.detail


@pytest.mark.parametrize(
    ("body", "is_foreign"),
    [
        ({"error": "bad gzip"}, False),
        ({"code": 400, "status": "Bad Request"}, False),
        (b'{"failed_records": [{"ind', False),
        (b"<html>400 Bad Request", True),
        (b"", True),
        ({"message": "no"}, True),
    ],
)
def test_a_400_of_somebody_else_is_told_from_mixpanels(body: object, is_foreign: bool) -> None:
    outcome = read(400, body)
    assert isinstance(outcome, Split)
    assert outcome.is_foreign is is_foreign


FOREIGN_WORDS = (
    (b"<html><head><TITLE lang=en>\n 400 Bad\n Request </TITLE>", 'a page ("400 Bad Request")'),
    (b"\xef\xbb\xbf <!doctype html><title>A &amp; B</title>", 'a page ("A & B")'),
    (
        b"<!-- <p>x --><style>p {}</style><script>if (a < b) {}</script><h1>No</h1><p>why</p>",
        'a page ("No why")',
    ),
    (b"<title></title><p>Blocked\x1b[31m\r\nby squid<br", 'a page ("Blocked [31m by squid")'),
    (b"<html><title>never closed", 'a page ("never closed")'),
    (b"<html>" + b"<!--" * 9000, "a page"),
    (b"upstream refused\r\n\tit", 'an answer ("upstream refused it")'),
    (b"x" * 100_000, 'an answer ("' + "x" * 199 + '…")'),
    ("€".encode() * 100_000, 'an answer ("' + "€" * 199 + '…")'),
    (b'{"message": "no",\n "id": 7}', 'JSON ("{"message": "no", "id": 7}")'),
    (b'["too much"]', 'JSON ("["too much"]")'),
    (b"\x1f\x8b\x08\xff\xfe\xfd", "an answer"),
    (b"", "an empty answer"),
)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize(("body", "told"), FOREIGN_WORDS)
def test_what_is_not_mixpanels_is_quoted(endpoint: str, body: bytes, told: str) -> None:
    words = f"with {told} that is not Mixpanel's"
    assert read(400, body, endpoint=endpoint) == Split(
        "refused", f"refused without a reason, {words}", is_foreign=True
    )
    for status in (200, 401 if body else 402, 403, 404):
        outcome = read(status, body, endpoint=endpoint)
        assert isinstance(outcome, Split | Paused)
        assert words in (outcome.detail if isinstance(outcome, Split) else outcome.reason)


def test_mixpanels_own_answer_is_quoted_where_it_gives_no_reason() -> None:
    outcome = read(400, {"code": 400, "status": "Bad Request"})
    words = 'JSON ("{"code": 400, "status": "Bad Request"}")'
    assert outcome == Split("refused", f"refused without a reason, with {words}")


@pytest.mark.parametrize(
    "part", [b"<title", b"<title>", b"<", b"<!--", b"<script>", b"</script", b"&"]
)
def test_a_page_without_end_is_quoted_in_no_time(part: bytes) -> None:
    started = time.process_time()
    read(400, b"<html>" + part * 200_000)
    assert time.process_time() - started < 0.05


def test_nothing_of_an_answer_moves_the_cursor_of_a_terminal() -> None:
    assert read(200, {"error": "a\x1b[2J\nb"}) == Split("refused", "a [2J b")


@pytest.mark.parametrize("status", [402, 404, 405, 407, 410, 411, 414, 415, 421, 431])
def test_other_4xx_pause_with_the_settings_to_check(status: int) -> None:
    outcome = read(status, b"<html>", endpoint="engage")
    assert isinstance(outcome, Paused)
    assert not outcome.holds_others
    assert str(status) in outcome.reason
    assert "base_url" in outcome.reason


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("status", [100, 408, 425, 429, 500, 502, 503, 599])
def test_everything_else_is_retried(endpoint: str, status: int) -> None:
    expected = RetryLater(None, f"status {status}", throttled=status == 429)
    assert read(status, b"1", endpoint=endpoint) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("30", 30.0),
        (" 30 ", 30.0),
        ("0", 0.0),
        ("9" * 400, 999_999_999.0),
        ("Wed, 21 Oct 2015 07:28:30 GMT", 30.0),
        ("Wed, 21 Oct 2015 07:27:00 GMT", 0.0),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("²", None),
        ("", None),
    ],
)
def test_retry_after_is_read_in_both_forms(value: str, expected: float | None) -> None:
    headers = {"Retry-After": value, "Date": "Wed, 21 Oct 2015 07:28:00 GMT"}
    assert read(503, headers=headers) == RetryLater(expected, "status 503")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
answers = st.fixed_dictionaries(
    {},
    optional={
        "status": json_values,
        "error": json_values,
        "num_records_imported": st.integers() | json_values,
        "failed_records": st.lists(
            st.fixed_dictionaries(
                {"index": st.integers(-2, 6)},
                optional={"message": json_values, "field": json_values, "insert_id": json_values},
            ),
            max_size=8,
        )
        | json_values,
    },
)
bodies = st.binary() | (answers | json_values).map(lambda value: json.dumps(value).encode())


@given(
    endpoint=st.sampled_from(ENDPOINTS),
    status=st.sampled_from((200, 400, 413, 429)) | st.integers(100, 999),
    body=bodies,
    records=st.integers(1, 5),
    retry_after=st.text(),
    date=st.text() | st.just("Wed, 21 Oct 2015 07:28:00 GMT"),
)
def test_any_answer_is_read_safely(
    endpoint: str, status: int, body: bytes, records: int, retry_after: str, date: str
) -> None:
    headers = {"Retry-After": retry_after, "Date": date}
    match interpret(endpoint, status, headers, body, records):
        case Delivered():
            assert status == 200
        case Partial(failed):
            assert status in (200, 400)
            indexes = [record.index for record in failed]
            assert indexes == sorted(set(indexes))
            assert 0 < len(indexes) <= records
            assert all(0 <= index < records for index in indexes)
        case Split():
            assert status in (200, 400, 403, 406, 413, 418, 422, 451)
        case RetryLater(after_s, _):
            assert after_s is None or after_s >= 0
        case Paused():
            assert 200 <= status < 500
