"""Databases on servers that die, fall silent or refuse: told in bounded time, never a hang."""

from __future__ import annotations

import asyncio
import time
from functools import partial

import pytest
from sqlalchemy import insert, text, update

from teahouse.engines.sql import Database
from teahouse.engines.sql_server import address
from teahouse.problems import DatabaseUnavailable
from tests.databases import MariaDb, Postgres, running
from tests.engines.cups import count, cups, pour, poured
from tests.proxies import proxy_to

SECONDS = 1.0
# What a busy machine may add.
SLACK = 2.0


@pytest.fixture
async def database(server_url):
    database = Database(server_url, connections=4, timeout_seconds=SECONDS)
    await database.connect()
    await database.write(cups.metadata.create_all)
    yield database
    await database.aclose()


@pytest.fixture(params=[MariaDb, Postgres], ids=["mariadb", "postgres"])
def own_server(request):
    """A server to kill."""
    with running(request.param, durable=True) as server:
        yield server


async def told_in_time(work) -> None:
    began = time.monotonic()
    with pytest.raises(DatabaseUnavailable):
        await work
    assert time.monotonic() - began < SECONDS + SLACK


def nobody_is_out(database: Database) -> bool:
    return (database._network._writers.busy, database._network._readers.busy) == (0, 0)


async def until(condition, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def works(database: Database) -> bool:
    try:
        await database.ping()
        await database.write(lambda connection: connection.execute(text("SELECT 1")) and None)
    except DatabaseUnavailable:
        return False
    return True


async def test_a_server_that_swallows_everything_is_given_up_in_time(server, server_url):
    with proxy_to(server.port) as proxy:
        database = Database(proxy.through(server_url), connections=4, timeout_seconds=SECONDS)
        await database.connect()
        await database.write(cups.metadata.create_all)
        proxy.swallow()
        await told_in_time(database.write(partial(poured, number=1)))
        await told_in_time(pour(database, 2))
        await told_in_time(count(database))
        # More than there are connections for: all wait, and all are told.
        answers = await asyncio.gather(*(count(database) for _ in range(20)), return_exceptions=True)
        assert {type(answer) for answer in answers} == {DatabaseUnavailable}
        proxy.carry()
        # It is left alone for a moment, so that who stood in line did not wait for the silence as well.
        await until(partial(works, database))
        assert await count(database) == 0
        await database.aclose()


async def test_a_server_that_falls_silent_in_a_transaction_is_given_up_in_time(server, server_url):
    with proxy_to(server.port) as proxy:
        database = Database(proxy.through(server_url), connections=4, timeout_seconds=SECONDS)
        await database.connect()
        await database.write(cups.metadata.create_all)

        async def silenced() -> None:
            async with database.transaction() as connection:
                await connection.execute(insert(cups), {"id": 1, "tea": "green"})
                proxy.swallow("down")

        await told_in_time(silenced())
        proxy.cut()
        proxy.carry()
        assert await works(database)
        assert nobody_is_out(database)
        await database.aclose()


async def test_a_port_that_accepts_and_says_nothing_is_given_up_in_time(server, server_url):
    with proxy_to(server.port) as proxy:
        proxy.swallow("down")
        database = Database(proxy.through(server_url), timeout_seconds=SECONDS)
        await told_in_time(database.connect())
        await told_in_time(count(database))
        await database.aclose()


@pytest.mark.parametrize("scheme", ["mysql", "mariadb", "postgresql", "postgres"])
async def test_a_server_that_is_not_there_is_unavailable(scheme):
    database = Database(f"{scheme}://u:p@127.0.0.1:1/d", timeout_seconds=SECONDS)
    await told_in_time(database.connect())
    await database.aclose()


async def test_a_wrong_password_and_an_unknown_database_are_told(server):
    for url in (server.url("nowhere"), server.url("x").replace(":leaf@", ":wrong@")):
        database = Database(url, timeout_seconds=SECONDS)
        await told_in_time(database.connect())
        await database.aclose()


async def test_a_server_that_was_restarted_is_used_again_without_an_error(own_server):
    database = Database(own_server.url(own_server.new_database()), connections=6, timeout_seconds=SECONDS)
    await database.connect()
    await database.write(cups.metadata.create_all)
    await asyncio.gather(*(pour(database, number) for number in range(6)), *(count(database) for _ in range(6)))
    await asyncio.to_thread(own_server.kill)
    await told_in_time(pour(database, 7))
    await told_in_time(count(database))
    await asyncio.to_thread(own_server.start)
    # Not one of the connections that died with the server comes to light.
    assert await asyncio.gather(*(count(database) for _ in range(6))) == [6] * 6
    await asyncio.gather(*(pour(database, number) for number in range(10, 16)))
    assert await count(database) == 12
    await database.aclose()


async def test_connections_the_server_ended_while_idle_do_not_come_to_light(server, database):
    await asyncio.gather(*(count(database) for _ in range(4)), *(pour(database, number) for number in range(4)))
    if server.scheme == "mysql":
        own = f"SELECT id FROM information_schema.processlist WHERE db = '{database.url.database}'"
        for number in server.sql(own).split():
            server.sql(f"KILL {number}")
    else:
        server.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database.url.database}'")
    await asyncio.gather(*(count(database) for _ in range(4)), *(pour(database, number) for number in range(4, 8)))
    assert await count(database) == 8


async def test_work_that_lost_its_connection_before_the_commit_is_done_once(server, server_url):
    with proxy_to(server.port) as proxy:
        database = Database(proxy.through(server_url), connections=4, timeout_seconds=SECONDS)
        await database.connect()
        await database.write(cups.metadata.create_all)
        attempts = []

        def cut_once(connection):
            poured(connection, 1)
            if not attempts:
                proxy.cut()
            attempts.append(1)
            poured(connection, 2)

        await database.write(cut_once)
        # In the first attempt the second cup found the connection cut.
        assert len(attempts) == 2
        assert await count(database) == 2
        await database.aclose()


async def test_writers_in_each_others_way_all_come_through(server_url):
    database = Database(server_url, connections=6)
    await database.connect()
    await database.write(cups.metadata.create_all)
    for number in (1, 2):
        await pour(database, number)
    attempts = []

    def cross(first, second, connection):
        """Two that lock the same two cups the other way round."""
        attempts.append(first)
        for number in (first, second):
            connection.execute(update(cups).where(cups.c.id == number).values(tea=f"by {first}"))
            # Long enough for the other one to lock its first cup too.
            connection.execute(text(f"SELECT {'sleep' if database.dialect == 'mysql' else 'pg_sleep'}(0.1)"))
        return first

    assert await asyncio.gather(database.write(partial(cross, 1, 2)), database.write(partial(cross, 2, 1))) == [1, 2]
    assert len(attempts) > 2
    await database.aclose()


async def test_a_lock_that_somebody_keeps_is_waited_for_only_so_long(server_url):
    database = Database(server_url, timeout_seconds=3.0)
    await database.connect()
    await database.write(cups.metadata.create_all)
    await pour(database, 1)
    change = update(cups).where(cups.c.id == 1).values(tea="black")
    let_go = asyncio.Event()

    async def keep() -> None:
        async with database.transaction() as connection:
            while not let_go.is_set():
                await connection.execute(change)
                await asyncio.sleep(0.1)

    keeper = asyncio.create_task(keep())
    await asyncio.sleep(0)
    began = time.monotonic()
    with pytest.raises(DatabaseUnavailable):
        await database.write(lambda connection: connection.execute(change) and None)
    assert 1 < time.monotonic() - began < 6 + SLACK
    let_go.set()
    await keeper
    await database.write(lambda connection: connection.execute(change) and None)
    await database.aclose()


async def test_a_block_that_says_nothing_for_too_long_is_ended(database):
    async def say_nothing() -> None:
        async with database.transaction() as connection:
            await connection.execute(insert(cups), {"id": 1, "tea": "green"})
            await asyncio.Event().wait()

    await told_in_time(say_nothing())
    assert await count(database) == 0
    assert nobody_is_out(database)


async def test_a_block_with_many_statements_may_last_longer_than_one_of_them(database):
    until_then = time.monotonic() + 2 * SECONDS
    async with database.transaction() as connection:
        number = 0
        while time.monotonic() < until_then:
            await connection.execute(insert(cups), {"id": number, "tea": "green"})
            await asyncio.sleep(SECONDS / 4)
            number += 1
    assert await count(database) == number > 4


async def test_no_more_connections_are_opened_than_were_allowed(server, database):
    async def held() -> None:
        async with database.reading() as connection:
            await connection.execute(text("SELECT 1"))
            await asyncio.sleep(0)

    await asyncio.gather(*(held() for _ in range(50)), *(pour(database, number) for number in range(50)))
    name = database.url.database
    own = "information_schema.processlist WHERE db" if server.scheme == "mysql" else "pg_stat_activity WHERE datname"
    assert int(server.sql(f"SELECT count(*) FROM {own} = '{name}'")) <= 4


async def test_a_server_with_no_room_for_one_more_is_unavailable(database, server_url):
    crowd = [Database(server_url, connections=60, timeout_seconds=SECONDS) for _ in range(6)]
    gate = asyncio.Event()

    async def crowded(one: Database) -> None:
        async with one.reading() as connection:
            await connection.execute(text("SELECT 1"))
            await gate.wait()

    tasks = [asyncio.create_task(crowded(one)) for one in crowd for _ in range(30)]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    gate.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(answer) for answer in answers} == {DatabaseUnavailable, type(None)}
    for one in crowd:
        await one.aclose()
    assert await works(database)


def test_an_address_shows_no_password():
    url = Database("mysql://u:secret@db.example/tea").url
    assert address(url) == "db.example:3306"
    assert "secret" not in str(url)
    assert address(Database("postgres://u:secret@db.example/tea").url) == "db.example:5432"
