"""What several processes say, as one."""

from typing import Any

import pytest

from gateway.admin.sums import sum_metrics, sum_statuses
from gateway.telemetry import Telemetry


def endpoint(state: str, detail: str = "", **members: Any) -> dict[str, Any]:
    return {"state": state, "detail": detail, "pending": 1, "oldest_age_seconds": 1.0, **members}


@pytest.mark.parametrize(
    ("states", "worst"),
    [
        (["ok", "ok"], "ok"),
        (["ok", "retrying"], "retrying"),
        (["paused", "retrying", "ok"], "paused"),
    ],
)
def test_worst_state_is_shown_with_its_own_detail(states: list[str], worst: str) -> None:
    documents = [endpoint(state, f"why {state}") for state in states]
    total = sum_statuses([{"endpoints": {"import": each}} for each in documents])

    shown = total["endpoints"]["import"]
    assert (shown["state"], shown["detail"]) == (worst, f"why {worst}")
    assert shown["pending"] == len(states)


def test_counts_add_up_ages_do_not_and_absent_members_are_left_out() -> None:
    one = {
        "version": "1",
        "uptime_seconds": 5,
        "ledger": {"accepted": 3, "gap": 0},
        "e": endpoint("ok", oldest_age_seconds=2.5, next_attempt_in_s=None, last_success_ms=None),
        "spool": {"accepting": True, "detail": ""},
    }
    two = {
        "version": "1",
        "uptime_seconds": 7,
        "ledger": {"accepted": 4, "gap": 0},
        "e": endpoint("ok", oldest_age_seconds=0.5, next_attempt_in_s=3.0, last_success_ms=9),
        "spool": {"accepting": False, "detail": "disk full"},
        "more": {"x": 1},
    }
    assert sum_statuses([one, two]) == {
        "version": "1",
        "uptime_seconds": 7,
        "ledger": {"accepted": 7, "gap": 0},
        "e": {
            "state": "ok",
            "detail": "",
            "pending": 2,
            "oldest_age_seconds": 2.5,
            "next_attempt_in_s": 3.0,
            "last_success_ms": 9,
        },
        "spool": {"accepting": False, "detail": "disk full"},
        "more": {"x": 1},
    }


def test_metrics_of_one_process_stay_as_they_are() -> None:
    telemetry = Telemetry()
    telemetry.requests.labels("segment", "200").inc(3)
    telemetry.spool_commit_seconds.observe(0.01)
    text = telemetry.render()

    assert sum_metrics([text.decode()]) == text


def test_metrics_of_several_add_up_but_for_ages() -> None:
    texts = [
        "# TYPE gateway_requests_total counter\n"
        f'gateway_requests_total{{code="{code}"}} {count}\n'
        "# TYPE gateway_spool_oldest_record_age_seconds gauge\n"
        f"gateway_spool_oldest_record_age_seconds {age}\n"
        for code, count, age in (("200", 2, 7), ("200", 3, 5), ("503", 1, 0))
    ]
    lines = sum_metrics(texts).decode().splitlines()

    assert 'gateway_requests_total{code="200"} 5.0' in lines
    assert 'gateway_requests_total{code="503"} 1.0' in lines
    assert "gateway_spool_oldest_record_age_seconds 7.0" in lines
    past = sum_metrics(texts, cumulative=True).decode()
    assert 'gateway_requests_total{code="200"} 5.0' in past
    assert "age" not in past
