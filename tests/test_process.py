"""What every process of the gateway does around its work."""

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from gateway.process import collect_garbage_by_time


class Circle:
    def __init__(self) -> None:
        self.me = self


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()


async def test_garbage_is_found_in_time_however_little_there_is() -> None:
    collect_garbage_by_time()
    young, old = Circle(), Circle()
    await asyncio.sleep(0.12)
    left = [weakref.ref(young), weakref.ref(old)]
    del young
    gc.collect(0)
    del old
    await asyncio.sleep(0.5)
    assert [each() for each in left] == [None, None]


async def test_what_has_become_old_before_it_was_garbage_is_found_at_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.process._FULL_S", 1.0)
    collect_garbage_by_time()
    old = Circle()
    left = weakref.ref(old)
    await asyncio.sleep(0.9)
    del old
    assert left() is not None
    await asyncio.sleep(0.5)
    assert left() is None


async def test_nothing_is_looked_at_while_requests_come_and_go() -> None:
    collect_garbage_by_time()
    before = [each["collections"] for each in gc.get_stats()]
    kept = [[number] for number in range(10_000)]
    assert [each["collections"] for each in gc.get_stats()] == before
    assert len(kept) == 10_000
