"""A real primary and its replica: writers see what they wrote; a replica that dies or lags is left out for a while."""

from __future__ import annotations

import asyncio
import time

import pytest
from sqlalchemy import insert, text

from teahouse.engines.sql import ANYBODY, Database
from teahouse.problems import DatabaseUnavailable
from tests.databases import replication
from tests.engines.cups import cups
from tests.proxies import proxy_to

ANN, BOB = "ann", "bob"
PRIMARY, REPLICA = "1", "2"
SECONDS = 1.0


@pytest.fixture
async def pair(replication_session):
    yield replication_session
    # Whatever a test did to it, the next one finds it following.
    replication_session.replica.sql("START SLAVE")


@pytest.fixture
async def database(pair):
    name = pair.primary.new_database()
    database = Database(
        pair.primary.url(name), replicas=[pair.replica.url(name)], connections=4, timeout_seconds=SECONDS
    )
    await database.connect()
    await database.create_all()
    await database.write(cups.metadata.create_all)
    await until_replica_is(database, "healthy")
    yield database
    await database.aclose()


async def until(condition, what: str, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.02)


async def until_replica_is(database: Database, *states: str, seconds: float = 10.0) -> None:
    async def so() -> bool:
        return database.replica_states()[0].state in states

    await until(so, f"the replica is {states}: {database.replica_states()}", seconds)


async def asked(database: Database, caller: str | None) -> str:
    """The server that answers this caller."""
    async with database.reading(caller) as connection:
        return str((await connection.execute(text("SELECT @@server_id"))).scalar_one())


async def test_reads_go_to_the_replica_and_writes_to_the_primary(database):
    assert await asked(database, ANN) == await asked(database, ANYBODY) == REPLICA
    assert await asked(database, None) == PRIMARY
    assert await database.write(lambda connection: connection.scalar(text("SELECT @@server_id"))) == int(PRIMARY)
    async with database.transaction() as connection:
        assert (await connection.execute(text("SELECT @@server_id"))).scalar_one() == int(PRIMARY)


@pytest.mark.parametrize("way", ["write", "transaction", "failed", "gathered"])
async def test_who_has_just_written_reads_from_the_primary(database, way):
    def pour(connection):
        connection.execute(insert(cups), {"id": 1, "tea": "green"})
        if way == "failed":
            raise RuntimeError("spilt")

    if way == "transaction":
        async with database.transaction(ANN) as connection:
            await connection.run_sync(pour)
    elif way == "failed":
        with pytest.raises(RuntimeError):
            await database.write(pour, ANN)
    else:
        await database.write(pour, [ANN, "cat"] if way == "gathered" else ANN)
    assert await asked(database, ANN) == PRIMARY
    assert await asked(database, BOB) == REPLICA


async def test_who_wrote_a_while_ago_reads_from_the_replica_again(pair, database):
    short = Database(
        pair.primary.url(database.url.database),
        replicas=[pair.replica.url(database.url.database)],
        sticky_seconds=0.3,
    )
    await short.connect()
    await until_replica_is(short, "healthy")
    await short.write(lambda connection: connection.execute(text("SELECT 1")) and None, ANN)
    assert await asked(short, ANN) == PRIMARY

    async def again() -> bool:
        return await asked(short, ANN) == REPLICA

    await until(again, "sticky for ever")
    await short.aclose()


async def test_what_was_written_is_seen_by_its_writer_while_the_replica_lags(pair, database):
    pair.replica.sql("STOP SLAVE")
    async with database.transaction(ANN) as connection:
        await connection.execute(insert(cups), {"id": 1, "tea": "green"})
    async with database.reading(ANN) as connection:
        assert len((await connection.execute(cups.select())).all()) == 1


async def test_a_replica_that_stops_replicating_is_left_out_and_comes_back(pair, database):
    began = time.monotonic()
    pair.replica.sql("STOP SLAVE")
    await until_replica_is(database, "lagging")
    assert time.monotonic() - began < 4
    assert await asked(database, BOB) == PRIMARY
    state = database.replica_states()[0]
    assert state.host == f"127.0.0.1:{pair.replica.port}"
    assert state.lag_seconds > 1
    pair.replica.sql("START SLAVE")
    await until_replica_is(database, "healthy")
    assert await asked(database, BOB) == REPLICA
    assert database.replica_states()[0].lag_seconds < 1


async def test_a_node_that_starts_beside_a_replica_far_behind_does_not_ask_it(pair, database):
    pair.replica.sql("STOP SLAVE")
    await until_replica_is(database, "lagging")
    late = Database(pair.primary.url(database.url.database), replicas=[pair.replica.url(database.url.database)])
    await late.connect()
    await until_replica_is(late, "lagging")
    assert late.replica_states()[0].lag_seconds > 0.5
    for _ in range(50):
        assert await asked(late, BOB) == PRIMARY
        await asyncio.sleep(0.02)
    await late.aclose()


async def test_a_command_may_look_at_replicas_without_watching_them(pair, database):
    name = database.url.database
    passing = Database(pair.primary.url(name), replicas=[pair.replica.url(name), "mysql://u:secret@127.0.0.1:1/d"])
    assert [state.state for state in passing.replica_states()] == ["unknown", "unknown"]
    states = await passing.look_at_replicas()
    assert [(state.host, state.state) for state in states] == [
        (f"127.0.0.1:{pair.replica.port}", "healthy"),
        ("127.0.0.1:1", "unreachable"),
    ]
    assert "secret" not in str(states)
    await passing.aclose()


async def test_a_replica_without_the_table_is_not_asked(pair):
    name = pair.primary.new_database()
    database = Database(pair.primary.url(name), replicas=[pair.replica.url(name)])
    await database.connect()
    await until_replica_is(database, "unreachable", "lagging")
    assert await asked(database, BOB) == PRIMARY
    await database.create_all()
    await until_replica_is(database, "healthy")
    assert await asked(database, BOB) == REPLICA
    await database.aclose()


async def test_a_transaction_never_splits_even_for_one_who_has_not_written(database):
    async with database.transaction(BOB) as connection:
        await connection.execute(insert(cups), {"id": 1, "tea": "green"})
        assert len((await connection.execute(cups.select())).all()) == 1
        assert (await connection.execute(text("SELECT @@server_id"))).scalar_one() == int(PRIMARY)


async def test_a_read_that_fails_on_the_replica_is_answered_by_the_primary(pair, database):
    with proxy_to(pair.replica.port) as proxy:
        name = database.url.database
        cut_off = Database(
            pair.primary.url(name), replicas=[proxy.through(pair.replica.url(name))], connections=6, timeout_seconds=3.0
        )
        await cut_off.connect()
        await until_replica_is(cut_off, "healthy")
        assert await asyncio.gather(*(asked(cut_off, BOB) for _ in range(4))) == [REPLICA] * 4
        # Dead from one moment to the next, and then silent: nobody who asks has noticed yet.
        for fault in (proxy.refuse, proxy.swallow):
            await until_replica_is(cut_off, "healthy")
            fault()
            assert await asyncio.gather(*(asked(cut_off, BOB) for _ in range(4))) == [PRIMARY] * 4
            await until_replica_is(cut_off, "unreachable")
            proxy.accept()
        proxy.carry()
        await until_replica_is(cut_off, "healthy")
        assert await asked(cut_off, BOB) == REPLICA
        await cut_off.aclose()


async def test_when_every_connection_to_the_replica_is_in_use_the_primary_answers(database):
    async with database.reading(BOB) as first, database.reading(BOB) as second, database.reading(BOB) as third:
        for connection in (first, second, third):
            assert (await connection.execute(text("SELECT @@server_id"))).scalar_one() == int(REPLICA)

        async def keep() -> None:
            for connection in (first, second, third):
                await connection.execute(text("SELECT 1"))

        waiting = asyncio.create_task(asked(database, BOB))
        while not waiting.done():
            await keep()
            await asyncio.sleep(SECONDS / 10)
        assert await waiting == PRIMARY


async def test_a_killed_replica_is_left_out_and_a_killed_primary_is_told_in_time():
    with replication() as own:
        name = own.primary.new_database()
        database = Database(own.primary.url(name), replicas=[own.replica.url(name)], timeout_seconds=SECONDS)
        await database.connect()
        await database.create_all()
        await until_replica_is(database, "healthy")
        assert await asked(database, BOB) == REPLICA

        await asyncio.to_thread(own.replica.kill)
        for _ in range(20):
            assert await asked(database, BOB) == PRIMARY
        await until_replica_is(database, "unreachable")
        await asyncio.to_thread(own.replica.start)
        await until_replica_is(database, "healthy", seconds=20)
        assert await asked(database, BOB) == REPLICA

        await asyncio.to_thread(own.primary.kill)
        began = time.monotonic()
        with pytest.raises(DatabaseUnavailable):
            await database.write(lambda connection: connection.execute(text("SELECT 1")) and None, ANN)
        with pytest.raises(DatabaseUnavailable):
            await asked(database, ANN)
        assert time.monotonic() - began < 2 * SECONDS + 2
        # Nothing is written meanwhile, so that what the replica has is all there is.
        assert await asked(database, BOB) == REPLICA
        await asyncio.to_thread(own.primary.start)
        assert await asked(database, None) == PRIMARY
        await database.aclose()
