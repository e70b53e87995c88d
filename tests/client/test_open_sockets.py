"""Sockets that are open, and their goodbye: answered, unanswered, and never connected."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import perf_counter

import pytest

from teahouse.client import Address, OpenSockets, Refused, Socket, read_address, request
from tests.load.gateways import FakeTeahouse

LONG = 30.0


class Heard(Socket):
    """Takes the first text for its welcome; ``over`` gets the close code."""

    __slots__ = ("_over",)

    def __init__(self, address: Address, token: str, over: Callable[[Heard, int], None]) -> None:
        super().__init__(request(address, token))
        self._over = over

    def received(self, payload: bytes) -> None:
        self.let_in()

    def ended(self, code: int) -> None:
        self._over(self, code)


class Guests:
    """Their sockets, and how each one ended."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.open = OpenSockets()
        self.codes: list[int] = []

    async def come(self, name: str) -> None:
        await self.open.connect(Heard(self.address, name, self._over), self.address, None, patience=LONG)

    def _over(self, socket: Heard, code: int) -> None:
        self.codes.append(code)
        self.open.ended(socket)


@asynccontextmanager
async def serving(fault: str = "") -> AsyncIterator[tuple[FakeTeahouse, Guests]]:
    fake = FakeTeahouse(fault)
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        await fake.socket(reader, writer)
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield fake, Guests(read_address(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"))
    await asyncio.gather(*serving)


async def test_everybody_says_goodbye_and_is_answered():
    async with serving() as (fake, guests):
        await asyncio.gather(*(guests.come(name) for name in ("mei", "lin", "wu")))
        assert guests.open
        assert not guests.open.leaving
        await guests.open.leave(within=LONG)
        assert (guests.codes, len(fake.goodbyes)) == ([1000] * 3, 3)
        assert guests.open.leaving
        assert not guests.open


async def test_who_is_not_answered_in_time_is_cut_off():
    async with serving("says no goodbye") as (_, guests):
        await asyncio.gather(guests.come("mei"), guests.come("lin"))
        began = perf_counter()
        await guests.open.leave(within=0.05)
        assert perf_counter() - began < LONG / 2
        assert guests.codes == [1006] * 2
        assert not guests.open


async def test_who_was_refused_need_not_say_goodbye():
    async with serving("refuses") as (_, guests):
        with pytest.raises(Refused):
            await guests.come("mei")
        assert not guests.open
        await guests.open.leave(within=LONG)


async def test_a_goodbye_that_is_cancelled_cuts_everybody_off():
    async with serving("says no goodbye") as (_, guests):
        await guests.come("mei")
        leaving = asyncio.create_task(guests.open.leave(within=LONG))
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        assert (guests.codes, bool(guests.open)) == ([1006], False)
