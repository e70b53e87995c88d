"""``Database`` on every engine: what was committed is there, what was not is not, and text is kept as it was."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from sqlalchemy import Column, LargeBinary, MetaData, String, Table, Text, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from teahouse import migrations
from teahouse.engines.sql import ANYBODY, Database, metadata
from teahouse.engines.sql_schema import mysql_keywords
from teahouse.problems import DatabaseUnavailable
from tests.engines.cups import count, cups, pour, poured

words = Table(
    "words",
    MetaData(),
    Column("word", String(64), primary_key=True),
    Column("text", Text, nullable=False),
    Column("raw", LargeBinary(128)),
    **mysql_keywords(),
)
# Cases, accents, widths, 4 bytes a character, joined characters, quotes, a backslash, what MySQL folds into one.
WORDS = (
    *("ab", "AB", "aB", "á", "a\u0301", "ａb", "𠮷野家", "吉野家", "\U0001f469\u200d\U0001f469\u200d\U0001f467", "🍵"),
    *("'\"\\;--", "%s %(x)s :y", "ß", "ss", "ı", "\u200b"),
)


async def test_what_was_written_is_there_afterwards(database):
    await pour(database, 1)
    assert await database.write(partial(poured, number=2)) == 2
    assert await count(database) == 2


@pytest.mark.parametrize("way", ["write", "transaction"])
async def test_what_a_failed_transaction_wrote_is_gone(database, way):
    def spill(connection):
        poured(connection, 1)
        raise RuntimeError("spilt")

    async def as_transaction():
        async with database.transaction() as connection:
            await connection.run_sync(spill)

    with pytest.raises(RuntimeError, match="spilt"):
        await (database.write(spill) if way == "write" else as_transaction())
    assert await count(database) == 0
    await pour(database, 1)
    assert await count(database) == 1


@pytest.mark.parametrize("way", ["write", "transaction"])
async def test_a_broken_rule_passes_as_an_integrity_error(database, way):
    await pour(database, 1)
    with pytest.raises(IntegrityError):
        await (database.write(partial(poured, number=1)) if way == "write" else pour(database, 1))
    await pour(database, 2)
    assert await count(database) == 2


async def test_a_broken_check_is_an_integrity_error_too(shop):
    await shop.sale()
    with pytest.raises(IntegrityError):
        await shop.sql("UPDATE sales SET reserved = -1, remaining = remaining + 1")


async def test_readers_see_one_moment_while_others_write(database):
    await pour(database, 1)
    query = select(func.count()).select_from(cups)
    async with database.reading() as reader:
        before = (await reader.execute(query)).scalar_one()
        await pour(database, 2)
        async with database.transaction() as writer:
            await writer.execute(insert(cups), {"id": 3, "tea": "black"})
            assert (await reader.execute(query)).scalar_one() == before == 1
            assert await count(database) == 2
    assert await count(database) == 3


async def test_readers_cannot_write_anything(database):
    with pytest.raises(DatabaseUnavailable):
        async with database.reading() as connection:
            await connection.execute(insert(cups), {"id": 1, "tea": "green"})
    assert await count(database) == 0
    async with database.reading(ANYBODY) as connection:
        assert (await connection.execute(select(cups))).all() == []


async def test_many_writers_at_once_lose_nothing(database):
    await asyncio.gather(*(database.write(partial(poured, number=number)) for number in range(40)))
    await asyncio.gather(*(pour(database, number) for number in range(40, 80)))
    assert await count(database) == 80


async def test_an_update_counts_the_rows_it_found_and_not_those_it_changed(database):
    await pour(database, 1)
    async with database.transaction() as connection:
        same = update(cups).where(cups.c.id == 1).values(tea="green")
        assert (await connection.execute(same)).rowcount == 1


async def test_text_is_kept_byte_by_byte_and_told_apart_by_its_bytes(database):
    await database.write(words.metadata.create_all)
    rows = [{"word": word, "text": word * 3, "raw": word.encode()} for word in WORDS]
    await database.write(lambda connection: connection.execute(insert(words), rows) and None)
    async with database.reading() as connection:
        found = {row.word: (row.text, row.raw) for row in await connection.execute(select(words))}
        for word in WORDS:
            one = (await connection.execute(select(words.c.word).where(words.c.word == word))).scalars().all()
            assert one == [word]
    assert found == {word: (word * 3, word.encode()) for word in WORDS}


async def test_text_that_is_too_long_is_refused_and_not_cut(database):
    if database.dialect == "sqlite":
        pytest.skip("SQLite keeps text of any length")
    with pytest.raises(Exception, match="(?i)too long"):
        async with database.transaction() as connection:
            await connection.execute(insert(cups), {"id": 1, "tea": "t" * 21})
    assert await count(database) == 0


@pytest.mark.parametrize("turns", range(0, 40, 3))
async def test_a_cancelled_transaction_is_whole_or_not_at_all_and_loses_no_connection(database, turns):
    async def write_two() -> None:
        async with database.transaction() as connection:
            await connection.execute(insert(cups), {"id": 1, "tea": "green"})
            await connection.execute(insert(cups), {"id": 2, "tea": "black"})

    task = asyncio.create_task(write_two())
    for _ in range(turns):
        await asyncio.sleep(0.0002)
    task.cancel()
    await asyncio.wait([task])
    # A server may take a moment to notice that nobody is there any more.
    assert await count(database) in (0, 2)
    async with asyncio.timeout(10):
        await asyncio.gather(*(pour(database, number) for number in range(3, 30)))
        await asyncio.gather(*(count(database) for _ in range(30)))
    assert await count(database) in (27, 29)


async def test_after_closing_a_write_is_refused(database):
    await database.aclose()
    with pytest.raises(DatabaseUnavailable):
        await database.write(partial(poured, number=1))
    with pytest.raises(DatabaseUnavailable):
        await pour(database, 1)


async def test_migrations_make_every_table_that_is_declared(new_database_url):
    database = Database(new_database_url)
    await database.connect()
    assert await migrations.current(database) is None
    assert await migrations.upgrade(database)
    assert await migrations.current(database) == migrations.head()
    assert not await migrations.upgrade(database)
    async with database.reading() as connection:
        for table in metadata.sorted_tables:
            assert (await connection.execute(select(table).limit(1))).all() == []
    await database.aclose()


async def test_nodes_that_start_at_once_migrate_once(new_database_url):
    nodes = [Database(new_database_url) for _ in range(2 if new_database_url.startswith("sqlite") else 4)]
    for node in nodes:
        await node.connect()
    await asyncio.gather(*(migrations.upgrade(node) for node in nodes))
    assert [await migrations.current(node) for node in nodes] == [migrations.head()] * len(nodes)
    for node in nodes:
        await node.aclose()
