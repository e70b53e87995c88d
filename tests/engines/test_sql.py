"""The SQL engine: what was committed is there, what was not is not, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import threading

import pytest
from sqlalchemy import func, insert, select, text
from sqlalchemy.exc import IntegrityError

from teahouse.engines import sql_sqlite
from teahouse.engines.sql import Database
from teahouse.problems import DatabaseUnavailable
from tests.engines.cups import count, cups, pour


async def test_what_a_transaction_wrote_is_there_after_it(database):
    await pour(database, 1)
    assert await count(database) == 1


async def test_what_a_failed_transaction_wrote_is_gone(database):
    with pytest.raises(RuntimeError):
        await _spill(database)
    assert await count(database) == 0
    await pour(database, 1)
    assert await count(database) == 1


async def test_a_broken_rule_passes_as_an_integrity_error_and_the_writer_lives(database):
    await pour(database, 1)
    with pytest.raises(IntegrityError):
        await pour(database, 1)
    await pour(database, 2)
    assert await count(database) == 2


async def test_readers_see_a_snapshot_while_a_writer_is_at_work(database):
    await pour(database, 1)
    async with database.reading() as reader:
        before = (await reader.execute(select(func.count()).select_from(cups))).scalar_one()
        await pour(database, 2)
        async with database.transaction() as writer:
            await writer.execute(insert(cups), {"id": 3, "tea": "black"})
            # Written but not committed: neither an old nor a new reader sees it, and neither waits.
            assert (await reader.execute(select(func.count()).select_from(cups))).scalar_one() == before == 1
            assert await count(database) == 2
    assert await count(database) == 3


async def test_writers_wait_for_each_other_in_order(database):
    order = []

    async def write(number: int) -> None:
        async with database.transaction() as connection:
            order.append(number)
            await connection.execute(insert(cups), {"id": number, "tea": "green"})
            await asyncio.sleep(0)

    await asyncio.gather(*(write(number) for number in range(20)))
    assert order == list(range(20))
    assert await count(database) == 20


async def test_commits_are_durable_before_they_return(database):
    async with database.transaction() as connection:
        assert (await connection.execute(text("PRAGMA synchronous"))).scalar_one() == 2
        assert (await connection.execute(text("PRAGMA journal_mode"))).scalar_one() == "wal"
        assert (await connection.execute(text("PRAGMA foreign_keys"))).scalar_one() == 1


async def test_readers_cannot_write(database):
    with pytest.raises(DatabaseUnavailable):
        await _write_while_reading(database)
    assert await count(database) == 0


async def test_another_process_that_holds_the_database_is_waited_for_only_so_long(tmp_path, monkeypatch):
    monkeypatch.setattr(sql_sqlite, "_PRAGMAS", (*sql_sqlite._PRAGMAS, "PRAGMA busy_timeout = 100"))
    database = Database(f"sqlite:///{tmp_path}/tea.db")
    await database.connect()
    async with database.transaction() as connection:
        await connection.run_sync(cups.metadata.create_all)
    other = sqlite3.connect(tmp_path / "tea.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    began = asyncio.get_running_loop().time()
    with pytest.raises(DatabaseUnavailable):
        await pour(database, 1)
    assert asyncio.get_running_loop().time() - began < 3
    # Readers are not concerned, and the writer is back as soon as the other lets go.
    assert await count(database) == 0
    other.execute("ROLLBACK")
    other.close()
    await pour(database, 1)
    assert await count(database) == 1
    await database.aclose()


async def test_a_database_that_cannot_be_opened_is_unavailable(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/missing/tea.db")
    with pytest.raises(DatabaseUnavailable):
        await database.connect()
    await database.aclose()
    # The driver ends the thread of a connection that failed, but waits for nobody: the loop must not be gone first.
    deadline = asyncio.get_running_loop().time() + 10
    while any("_connection_worker_thread" in thread.name for thread in threading.enumerate()):
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.001)


async def test_a_file_that_is_no_database_is_unavailable(tmp_path):
    (tmp_path / "tea.db").write_bytes(b"this is a picture of a teapot, " * 100)
    database = Database(f"sqlite:///{tmp_path}/tea.db")
    with pytest.raises(DatabaseUnavailable):
        await database.connect()
    await database.aclose()


def test_another_kind_of_database_is_refused_with_its_name():
    with pytest.raises(ValueError, match="oracle"):
        Database("oracle://scott@tiger/tea")


@pytest.mark.parametrize("turns", range(40))
async def test_a_cancelled_transaction_leaves_no_half_done_work_and_no_lost_connection(database, turns):
    async def write_two() -> None:
        async with database.transaction() as connection:
            await connection.execute(insert(cups), {"id": 1, "tea": "green"})
            await connection.execute(insert(cups), {"id": 2, "tea": "black"})

    task = asyncio.create_task(write_two())
    for _ in range(turns):
        await asyncio.sleep(0.0002)
    task.cancel()
    await asyncio.wait([task])
    assert await count(database) in (0, 2)
    assert task.cancelled() or await count(database) == 2
    async with asyncio.timeout(5):
        for number in range(3, 8):
            await pour(database, number)
    assert await count(database) in (5, 7)
    assert database._sqlite._writer.pool.checkedout() == 0
    assert database._sqlite._readers.pool.checkedout() == 0


async def test_a_reader_cancelled_while_it_waits_gives_its_place_back(database):
    for _ in range(20):
        tasks = [asyncio.create_task(count(database)) for _ in range(10)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert results[1::2] == [0] * 5
    assert database._sqlite._readers.pool.checkedout() == 0


async def test_a_writer_cancelled_while_it_waits_for_its_turn_changes_nothing(database):
    async with database.transaction() as connection:
        waiting = asyncio.create_task(pour(database, 1))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        await connection.execute(insert(cups), {"id": 2, "tea": "green"})
    assert await count(database) == 1
    await pour(database, 3)


async def _spill(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute(insert(cups), {"id": 1, "tea": "green"})
        raise RuntimeError("spilt")


async def _write_while_reading(database: Database) -> None:
    async with database.reading() as connection:
        await connection.execute(insert(cups), {"id": 1, "tea": "green"})


async def test_a_new_file_and_its_log_are_for_their_owner_alone(tmp_path):
    database = Database(f"sqlite:///{tmp_path / 'private.db'}")
    await database.connect()
    await database.create_all()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    await database.aclose()

    assert set(modes) >= {"private.db", "private.db-wal"}
    assert set(modes.values()) == {0o600}
