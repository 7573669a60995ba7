"""How long is waited."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.delivery.retry import (
    MAX_RETRY_AFTER_S,
    backoff_s,
    hastened_probe_s,
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


def test_probes_with_new_records_wait_1_to_60_seconds() -> None:
    assert [hastened_probe_s(n) for n in (1, 2, 3, 6, 7, 10**9)] == [1, 2, 4, 32, 60, 60]
