"""What was said outlives the server: an orderly restart, and one that nobody announced."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from tests.journeys.people import Person, at, log_in
from tests.journeys.servers import running
from tests.journeys.sockets import history, new_room, next_text, said, socket_of, synced
from tests.messages.raw_websocket import CLOSE, RawSocket

_FAST = {"TEAHOUSE_MESSAGES__FRAMES_PER_SECOND": "100000", "TEAHOUSE_MESSAGES__FRAMES_BURST": "100000"}
_UNDER_WAY = 40


async def test_a_restart_closes_every_socket_and_everything_is_there_for_who_comes_back(tmp_path: Path):
    with running(tmp_path) as server:
        async with at(server) as client:
            mei, lin = await log_in(client), await log_in(client)
            room = await new_room(mei, lin)
            async with socket_of(server, mei) as at_mei, socket_of(server, lin) as at_lin:
                for number in range(1, 11):
                    await said(at_mei, room, f"m{number}", number)
                assert await next_text(at_lin) == (1, "m1", 1)
                # This one is under way when the server is told to stop.
                at_mei.say(type="text", id="m11", to=room, content=11)
                stopped = asyncio.create_task(asyncio.to_thread(server.stop))
                assert await asyncio.gather(at_mei.close_code(), at_lin.close_code()) == [1012, 1012]
                assert await stopped == 0, server.said
                acked = [each.json() for each in at_mei.seen if each.opcode != CLOSE]
    with running(tmp_path) as server:
        async with socket_of(server, lin) as back, socket_of(server, mei) as at_mei:
            missed = await synced(back, room, 1)
            assert missed[:9] == [(number, f"m{number}", number) for number in range(2, 11)]
            if acked[-1].get("id") == "m11":
                assert missed[9:] == [(11, "m11", 11)]
            assert await said(at_mei, room, "m11", 11) == 11


async def test_nothing_acknowledged_is_lost_where_the_power_went_in_the_middle_of_it(tmp_path: Path):
    with running(tmp_path, **_FAST) as server:
        async with at(server) as client:
            mei, lin = await log_in(client), await log_in(client)
            room = await new_room(mei, lin)
        async with socket_of(server, mei) as at_mei, socket_of(server, lin) as at_lin:
            talking = [asyncio.create_task(talks(each, name, room)) for each, name in ((at_mei, "m"), (at_lin, "l"))]
            while min(len(at_mei.seen), len(at_lin.seen)) < 600:
                assert not any(task.done() for task in talking)
                await asyncio.sleep(0.005)
            server.kill()
            mine, theirs = await asyncio.gather(*talking)
    assert min(len(mine), len(theirs)) > 100
    with running(tmp_path, **_FAST) as server:
        async with at(server) as client:
            stored = await history(Person(client, lin.tokens), room)
        assert [each["seq"] for each in stored] == list(range(1, len(stored) + 1))
        by_id = {each["id"]: each["seq"] for each in stored}
        assert len(by_id) == len(stored)
        for acked in (mine, theirs):
            assert acked.items() <= by_id.items()
        # Whatever was stored before it was acknowledged is stored once, and the sequence goes on.
        async with socket_of(server, mei) as at_mei, socket_of(server, lin) as at_lin:
            assert await synced(at_lin, room, len(stored) - 100) == last_of(stored, 100)
            last = max(each["content"] for each in stored if each["id"].startswith("m"))
            assert await said(at_mei, room, f"m{last}", last) == by_id[f"m{last}"]
            assert await said(at_mei, room, "new", "we are back") == len(stored) + 1


async def talks(socket: RawSocket, name: str, room: str) -> dict[str, int]:
    """Says one thing after the other, many under way, until the connection ends; by id, what was acknowledged as."""
    acked: dict[str, int] = {}
    number = 0
    try:
        while True:
            while number - len(acked) < _UNDER_WAY:
                socket.say(type="text", id=f"{name}{number}", to=room, content=number)
                number += 1
            frame = await socket.json()
            if frame["type"] == "ack":
                acked[frame["id"]] = frame["seq"]
    except (asyncio.IncompleteReadError, ConnectionError):
        return acked


def last_of(stored: Sequence[dict], count: int) -> list[tuple]:
    return [(each["seq"], each["id"], each["content"]) for each in stored[-count:]]
