"""How long a batch that is not full waits for more."""

import asyncio

import pytest

from gateway.delivery import linger
from gateway.delivery.linger import Linger


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linger, "LINGER_S", 0.05)


async def test_it_ends_once_after_the_first_record_that_came() -> None:
    ends: list[float] = []
    loop = asyncio.get_running_loop()
    wait = Linger(lambda: ends.append(loop.time()))
    began = loop.time()
    for _ in range(4):  # further ones do not make it longer
        wait.begin()
        assert wait.is_on
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    assert not wait.is_on
    wait.begin()  # has waited long enough, and is not taken yet
    assert not wait.is_on
    await asyncio.sleep(0.1)
    assert len(ends) == 1
    assert 0.045 <= ends[0] - began < 0.09


async def test_it_begins_anew_for_what_comes_after_a_batch_was_taken() -> None:
    ends: list[None] = []
    wait = Linger(lambda: ends.append(None))
    wait.begin()
    wait.reset()
    await asyncio.sleep(0.1)
    assert not ends
    wait.begin()
    assert wait.is_on
    await asyncio.sleep(0.1)
    assert len(ends) == 1


async def test_once_forbidden_nothing_waits() -> None:
    ends: list[None] = []
    wait = Linger(lambda: ends.append(None))
    wait.begin()
    wait.forbid()
    wait.begin()
    assert not wait.is_on
    await asyncio.sleep(0.1)
    assert not ends
