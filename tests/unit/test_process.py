"""What every process of the gateway does around its work."""

import asyncio
import ctypes
import gc
import resource
import weakref
from collections.abc import Iterator
from pathlib import Path

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
    young = Circle()
    left = weakref.ref(young)
    del young
    await asyncio.sleep(0.3)
    assert left() is None


@pytest.mark.parametrize(("much_s", "expected"), [(3600.0, range(4, 7)), (0.0, range(8, 13))])
async def test_what_a_look_leaves_is_old_and_where_there_is_much_the_next_comes_sooner(
    monkeypatch: pytest.MonkeyPatch, much_s: float, expected: range
) -> None:
    generations: list[int] = []

    def seen(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            generations.append(info["generation"])

    monkeypatch.setattr("gateway.process._MUCH_S", much_s)
    gc.callbacks.append(seen)
    try:
        collect_garbage_by_time()
        await asyncio.sleep(0.55)
    finally:
        gc.callbacks.remove(seen)
    assert set(generations) == {1}
    assert len(generations) in expected


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


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="only glibc gives memory back when asked"
)
async def test_free_memory_between_what_is_kept_is_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.process._GIVE_BACK_S", 0.2)
    blocks = [b"x" * 50_000 for _ in range(4000)]  # from the heap, one behind the other
    kept = blocks[::2]
    del blocks
    before = resident_bytes()
    collect_garbage_by_time()
    await asyncio.sleep(0.5)
    assert before - resident_bytes() > 60_000_000
    assert len(kept) == 2000


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


async def test_nothing_is_looked_at_while_requests_come_and_go() -> None:
    collect_garbage_by_time()
    before = [each["collections"] for each in gc.get_stats()]
    kept = [[number] for number in range(10_000)]
    assert [each["collections"] for each in gc.get_stats()] == before
    assert len(kept) == 10_000
