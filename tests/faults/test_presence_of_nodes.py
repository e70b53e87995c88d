"""Who watches at one node while the other is stopped, and killed."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

from tests.databases import DatabaseServer
from tests.faults.nodes import Shop, client_of, shop_of
from tests.journeys.people import Person, log_in
from tests.journeys.sockets import new_room, socket_of
from tests.messages.raw_websocket import RawSocket
from tests.redis_servers import redis_server

_AT_ONCE_SECONDS = 5.0
_AFTER_A_CRASH_SECONDS = 20.0


async def test_who_was_on_a_node_that_stops_or_dies_is_told_as_gone(tmp_path: Path, mariadb_session: DatabaseServer):
    with redis_server(tmp_path / "redis") as redis, shop_of(tmp_path, redis, mariadb_session) as shop:
        async with client_of(shop.nodes[0]) as client:
            mei, lin = await log_in(client), await log_in(client)
            room = await new_room(mei, lin)
            async with socket_of(shop.nodes[0].server, mei) as watcher:
                watcher.say(type="presence", to=room)
                await leaves_with_its_node(shop, watcher, lin)
                shop.nodes[1].start()
                async with socket_of(shop.nodes[1].server, lin):
                    assert await next_told(watcher, _AT_ONCE_SECONDS) == (lin.id, True)
                    shop.nodes[1].kill()
                    assert await next_told(watcher, _AFTER_A_CRASH_SECONDS) == (lin.id, False)
                shop.nodes[1].start()


async def leaves_with_its_node(shop: Shop, watcher: RawSocket, person: Person) -> None:
    node = shop.nodes[1]
    async with socket_of(node.server, person) as leaving:
        assert await next_told(watcher, _AT_ONCE_SECONDS) == (person.id, True)
        stopped = asyncio.create_task(asyncio.to_thread(node.stop))
        assert await leaving.close_code() == 1012
        leaving.drop()
        await stopped
    assert await next_told(watcher, _AT_ONCE_SECONDS) == (person.id, False)


async def next_told(watcher: RawSocket, seconds: float) -> tuple[str, bool]:
    frame = None
    async with asyncio.timeout(seconds):
        while frame is None:
            # A socket itself waits for less than a crash takes to be noticed.
            with suppress(TimeoutError):
                frame = await watcher.json()
    assert frame["type"] == "presence", frame
    return frame["userId"], frame["online"]
