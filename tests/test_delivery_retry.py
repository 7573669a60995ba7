"""How long is waited, and when refusals mean a wrong setting."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.delivery.retry import (
    MAX_RETRY_AFTER_S,
    MIN_REFUSED,
    backoff_s,
    is_wrong_setting,
    probe_s,
)


@pytest.mark.parametrize(
    ("failures", "base"), [(1, 2), (2, 4), (3, 8), (4, 16), (5, 32), (6, 60), (7, 60), (10**9, 60)]
)
def test_backoff_doubles_from_2_to_60_seconds_with_jitter(failures: int, base: float) -> None:
    waits = [backoff_s(failures, None, Random(seed)) for seed in range(200)]
    assert all(base + 1 <= wait <= base + 5 for wait in waits)
    assert max(waits) - min(waits) > 3


@given(
    failures=st.integers(1, 10_000),
    after_s=st.none() | st.floats(min_value=0, allow_nan=False),
    seed=st.integers(),
)
def test_retry_after_is_honoured_if_larger_and_capped(
    failures: int, after_s: float | None, seed: int
) -> None:
    wait = backoff_s(failures, after_s, Random(seed))
    assert wait >= backoff_s(failures, None, Random(seed))
    assert wait >= min(after_s or 0, MAX_RETRY_AFTER_S)
    assert wait <= MAX_RETRY_AFTER_S


def test_probes_slow_down_from_60_to_600_seconds() -> None:
    assert [probe_s(n) for n in (1, 2, 3, 4, 5, 99, 10**9)] == [60, 120, 240, 480, 600, 600, 600]


@pytest.mark.parametrize(
    ("refused", "records", "expected"),
    [
        (1, 1, False),
        (MIN_REFUSED - 1, MIN_REFUSED - 1, False),
        (MIN_REFUSED, MIN_REFUSED, True),
        (10, 20, False),
        (11, 20, True),
        (1000, 2000, False),
        (1001, 2000, True),
        (0, 2000, False),
    ],
)
def test_a_majority_of_at_least_ten_is_a_wrong_setting(
    refused: int, records: int, expected: bool
) -> None:
    assert is_wrong_setting(refused, records) is expected
