"""Mixpanel's answers, as documented and otherwise."""

import json
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
        {"code": 200, "num_records_imported": 1, "status": "OK"},
        {"status": 1, "error": None},
        {},
        b"1",
        b"",
        b"OK",
        b'{"code": 200, "num_rec',
    ],
)
def test_import_200_is_delivered(body: object) -> None:
    assert read(200, body) == Delivered()


def test_import_200_with_a_page_of_markup_is_retried() -> None:
    assert isinstance(read(200, b"  <!doctype html><title>Log in</title>"), RetryLater)


def test_import_200_that_reports_an_error_is_no_success() -> None:
    assert read(200, {"status": 0, "error": "bad token"}) == Split("refused", "bad token")


@pytest.mark.parametrize("endpoint", COLLECTING)
@pytest.mark.parametrize(
    "body", [b"1", b" 1\n", {"status": 1, "error": None}, {"status": "OK"}, {"status": 1}]
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


@pytest.mark.parametrize("endpoint", COLLECTING)
@pytest.mark.parametrize(
    "body", [b"", b"<html>", b'{"status": 1, "err', b"2", b"null", b"[]", {}, {"status": 7}, b'"1"']
)
def test_200_that_is_not_understood_is_retried(endpoint: str, body: object) -> None:
    assert isinstance(read(200, body, endpoint=endpoint), RetryLater)


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
    assert read(400, failure({"index": 0}, item)) == Split("refused", "some data points failed")


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


def test_nothing_imported_is_believed_when_all_failed() -> None:
    assert isinstance(read(400, failure({"index": 0}, imported=0), records=1), Partial)


def test_413_splits_as_too_large() -> None:
    body = {"code": 413, "error": "request exceeds max limit of 2097152 bytes"}
    assert read(413, body) == Split("too_large", "request exceeds max limit of 2097152 bytes")
    assert read(413, b"<html>") == Split("too_large", "request too large (413)")


@pytest.mark.parametrize("status", [401, 403])
def test_refused_credentials_pause(status: int) -> None:
    outcome = read(status, {"error": "Invalid credentials"})
    assert outcome == Paused(f"credentials refused ({status}): Invalid credentials")


@pytest.mark.parametrize("status", [402, 404, 405, 407, 410, 411, 414, 415, 422, 431, 451])
def test_other_4xx_pause_with_the_settings_to_check(status: int) -> None:
    outcome = read(status, b"<html>", endpoint="engage")
    assert isinstance(outcome, Paused)
    assert f"{status} from /engage" in outcome.reason
    assert "base_url" in outcome.reason


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize(
    "status", [100, 201, 202, 204, 206, 301, 302, 304, 307, 308, 408, 425, 429, 500, 502, 503, 599]
)
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
            assert status == 400
            indexes = [record.index for record in failed]
            assert indexes == sorted(set(indexes))
            assert 0 < len(indexes) <= records
            assert all(0 <= index < records for index in indexes)
        case Split():
            assert status in (200, 400, 413)
        case RetryLater(after_s, _):
            assert after_s is None or after_s >= 0
        case Paused():
            assert 400 <= status < 500
