"""A whole transaction in the writer's thread: whole or not at all, in its turn, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from functools import partial

import pytest
from sqlalchemy import insert, text
from sqlalchemy.exc import IntegrityError

from teahouse.engines import sql_sqlite
from teahouse.engines.sql import Database
from teahouse.problems import DatabaseUnavailable
from tests.engines.cups import count, cups, pour, poured


class Held:
    """Work that pours a cup, and stays in its transaction until it is let go."""

    def __init__(self, number: int, error: Exception | None = None) -> None:
        self.number = number
        self.error = error
        self.under_way = threading.Event()
        self.let_go = threading.Event()

    def __call__(self, connection) -> int:
        poured(connection, self.number)
        self.under_way.set()
        assert self.let_go.wait(10)
        if self.error:
            raise self.error
        return self.number


async def begun(database: Database, work: Held) -> asyncio.Task[int]:
    task = asyncio.create_task(database.write(work))
    async with asyncio.timeout(10):
        while not work.under_way.is_set():
            await asyncio.sleep(0)
    return task


async def turns(number: int = 5) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


def assert_nothing_is_checked_out(database: Database) -> None:
    assert database._sqlite._writer.pool.checkedout() == 0
    assert database._sqlite._readers.pool.checkedout() == 0
    assert not database._sqlite._turn.locked()


async def test_what_was_written_is_there_and_the_works_result_is_handed_back(database):
    assert await database.write(partial(poured, number=7)) == 7
    assert await count(database) == 1
    assert_nothing_is_checked_out(database)


async def test_a_write_is_durable_like_a_transaction(database):
    def pragmas(connection):
        names = ("synchronous", "journal_mode", "foreign_keys")
        return [connection.execute(text(f"PRAGMA {name}")).scalar_one() for name in names]

    assert await database.write(pragmas) == [2, "wal", 1]


async def test_the_work_runs_in_one_thread_that_is_not_the_loops(database):
    threads = {await database.write(lambda _: threading.get_ident()) for _ in range(3)}
    assert len(threads) == 1
    assert threading.get_ident() not in threads


async def test_the_loop_goes_on_while_the_work_is_under_way(database):
    work = Held(1)
    task = await begun(database, work)
    # Nothing is committed yet, and readers do not wait.
    assert await count(database) == 0
    work.let_go.set()
    assert await task == 1
    assert await count(database) == 1


async def test_what_work_wrote_before_it_failed_is_gone(database):
    def spill(connection):
        poured(connection, 1)
        raise RuntimeError("spilt")

    with pytest.raises(RuntimeError, match="spilt"):
        await database.write(spill)
    assert await count(database) == 0
    await database.write(partial(poured, number=1))
    assert await count(database) == 1


async def test_a_broken_rule_passes_as_an_integrity_error_and_the_writer_lives(database):
    await database.write(partial(poured, number=1))
    with pytest.raises(IntegrityError):
        await database.write(partial(poured, number=1))
    await database.write(partial(poured, number=2))
    assert await count(database) == 2


@pytest.fixture
async def saucers(database):
    """A rule that is only looked at by the commit."""
    cup = "cup INTEGER REFERENCES cups (id) DEFERRABLE INITIALLY DEFERRED"
    await database.write(lambda connection: connection.execute(text(f"CREATE TABLE saucers ({cup})")))


@pytest.mark.usefixtures("saucers")
async def test_a_commit_that_fails_leaves_no_transaction_open(database):
    lonely = text("INSERT INTO saucers VALUES (99)")
    with pytest.raises(IntegrityError):
        await database.write(lambda connection: connection.execute(lonely))
    await database.write(partial(poured, number=1))
    with pytest.raises(IntegrityError):
        async with database.transaction() as connection:
            await connection.execute(lonely)
    await pour(database, 2)
    assert await count(database) == 2
    async with database.reading() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM saucers"))).scalar_one() == 0


async def test_writes_and_transactions_take_their_turns_in_the_order_they_came(database):
    order = []

    async def slowly(number: int) -> None:
        async with database.transaction() as connection:
            order.append(number)
            await connection.execute(insert(cups), {"id": number, "tea": "black"})
            await asyncio.sleep(0)

    async def whole(number: int) -> None:
        await database.write(lambda connection: order.append(poured(connection, number)))

    await asyncio.gather(*((slowly, whole)[number % 2](number) for number in range(20)))
    assert order == list(range(20))
    assert await count(database) == 20


async def test_a_caller_cancelled_while_it_waits_for_its_turn_changes_nothing(database):
    work = Held(1)
    first = await begun(database, work)
    waiting = asyncio.create_task(database.write(partial(poured, number=2)))
    await turns()
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    work.let_go.set()
    await first
    assert await count(database) == 1
    assert_nothing_is_checked_out(database)


@pytest.mark.parametrize("error", [None, RuntimeError("spilt")])
async def test_a_caller_cancelled_while_the_work_is_under_way_ends_when_the_work_has(database, error):
    work = Held(1, error)
    task = await begun(database, work)
    waiting = asyncio.create_task(pour(database, 2))
    for _ in range(3):
        task.cancel()
        await turns()
    # The turn is still its own: nobody writes in between.
    assert not task.done()
    assert database._sqlite._turn.locked()
    work.let_go.set()
    await asyncio.wait([task])
    assert task.cancelled()
    await waiting
    assert await count(database) == (2 if error is None else 1)
    assert_nothing_is_checked_out(database)


@pytest.mark.parametrize("after", range(20))
async def test_a_caller_cancelled_at_any_moment_leaves_no_half_done_work_and_no_lost_connection(database, after):
    def two(connection):
        poured(connection, 1)
        poured(connection, 2)

    task = asyncio.create_task(database.write(two))
    await turns(after)
    task.cancel()
    await asyncio.wait([task])
    assert await count(database) in (0, 2)
    assert task.cancelled() or await count(database) == 2
    for number in range(3, 6):
        await database.write(partial(poured, number=number))
    assert await count(database) in (3, 5)
    assert_nothing_is_checked_out(database)


async def test_a_turn_is_waited_for_only_so_long(database, monkeypatch):
    monkeypatch.setattr(sql_sqlite, "_WAIT_SECONDS", 0.05)
    async with database.transaction():
        with pytest.raises(DatabaseUnavailable):
            await database.write(partial(poured, number=1))
        with pytest.raises(DatabaseUnavailable):
            await pour(database, 1)
    await database.write(partial(poured, number=1))
    assert await count(database) == 1


async def test_another_process_that_holds_the_database_is_waited_for_only_so_long(database, tmp_path):
    await database.write(lambda connection: connection.execute(text("PRAGMA busy_timeout = 100")))
    other = sqlite3.connect(tmp_path / "tea.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    began = asyncio.get_running_loop().time()
    with pytest.raises(DatabaseUnavailable):
        await database.write(partial(poured, number=1))
    assert asyncio.get_running_loop().time() - began < 3
    assert await count(database) == 0
    other.execute("ROLLBACK")
    other.close()
    await database.write(partial(poured, number=1))
    assert await count(database) == 1


async def test_closing_waits_for_the_write_under_way_and_refuses_those_that_wait(database):
    work = Held(1)
    task = await begun(database, work)
    waiting = [asyncio.create_task(database.write(partial(poured, number=2))), asyncio.create_task(pour(database, 3))]
    await turns()
    closing = asyncio.create_task(database.aclose())
    # Time enough to close everything, if it did not wait.
    await asyncio.wait([closing], timeout=0.3)
    assert not closing.done()
    work.let_go.set()
    assert await task == 1
    refused = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(each) for each in refused] == [DatabaseUnavailable] * 2
    await closing
    await database.connect()
    assert await count(database) == 1


async def test_after_closing_a_write_is_refused_and_opens_nothing(database):
    await database.aclose()
    with pytest.raises(DatabaseUnavailable):
        await database.write(partial(poured, number=1))
    with pytest.raises(DatabaseUnavailable):
        await pour(database, 1)
    assert database._sqlite._writer.pool.checkedin() == 0


async def test_a_connection_that_was_lost_is_made_anew(database):
    def lose(connection):
        poured(connection, 1)
        connection.connection.driver_connection.close()

    with pytest.raises(Exception, match="closed database"):
        await database.write(lose)
    await database.write(partial(poured, number=2))
    assert await count(database) == 1
    assert_nothing_is_checked_out(database)
