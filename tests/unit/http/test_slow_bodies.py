"""When the reader of a body that is still arriving is woken."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol

from gateway.errors import RequestError
from gateway.http.memory_budget import Budget
from gateway.http.slow_bodies import Arrival, Arrivals

_PIECE = bytes(256)


@asynccontextmanager
async def _arriving() -> AsyncIterator[tuple[Arrivals, StreamReader, Arrival]]:
    loop = asyncio.get_running_loop()
    body = StreamReader(BaseProtocol(loop), 2**16, loop=loop)
    arrivals = Arrivals(timeout_s=60, min_bytes_per_s=1)
    with Budget(2**20).lease() as lease:
        yield arrivals, body, arrivals.begin(body, lease)


async def _is_woken(reader: "asyncio.Task[None]") -> bool:
    for _ in range(3):
        await asyncio.sleep(0)
    return reader.done()


async def test_a_piece_wakes_the_reader_and_single_bytes_do_not() -> None:
    async with _arriving() as (arrivals, body, arrival):
        reader = asyncio.create_task(arrival.piece_after(0))
        for byte in _PIECE[1:]:
            body.feed_data(bytes([byte]))
            arrivals.look(body)
        assert not await _is_woken(reader)
        body.feed_data(b" ")
        arrivals.look(body)
        assert await _is_woken(reader)
        assert body.read_nowait() == _PIECE[1:] + b" "
        again = asyncio.create_task(arrival.piece_after(len(_PIECE)))
        arrivals.look(body)
        assert not await _is_woken(again)
        body.feed_data(_PIECE)
        arrivals.look(body)
        assert await _is_woken(again)


async def test_the_end_wakes_it_whatever_came() -> None:
    async with _arriving() as (arrivals, body, arrival):
        reader = asyncio.create_task(arrival.piece_after(0))
        body.feed_data(b"{}")
        arrivals.look(body)
        assert not await _is_woken(reader)
        body.feed_eof()
        arrivals.look(body)
        assert await _is_woken(reader)


async def test_being_cut_off_wakes_it() -> None:
    async with _arriving() as (arrivals, body, arrival):
        reader = asyncio.create_task(arrival.piece_after(0))
        assert not await _is_woken(reader)
        assert arrivals.cut(body)
        assert await _is_woken(reader)
        with pytest.raises(RequestError):
            body.read_nowait()
        arrivals.look(body)  # nobody is there any more


@pytest.mark.parametrize("how", ["piece", "end", "failure"])
async def test_nobody_waits_for_what_is_there(how: str) -> None:
    async with _arriving() as (_, body, arrival):
        if how == "piece":
            body.feed_data(_PIECE)
        elif how == "end":
            body.feed_eof()
        else:
            body.set_exception(ConnectionResetError())
        await asyncio.wait_for(arrival.piece_after(0), 1)


async def test_a_reader_that_has_gone_is_not_woken() -> None:
    async with _arriving() as (arrivals, body, arrival):
        reader = asyncio.create_task(arrival.piece_after(0))
        await asyncio.sleep(0)
        reader.cancel()
        assert await asyncio.wait((reader,), timeout=1)
        body.feed_eof()
        arrivals.look(body)
