"""A migration on a server that commits step by step: what died half-way goes on, and one node migrates at a time."""

from __future__ import annotations

import asyncio

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, event

from teahouse import app, migrations
from teahouse.engines import sql_locks
from teahouse.engines.sql import Database, metadata
from teahouse.problems import DatabaseUnavailable

# The code's tables are those that the whole of Teahouse declares.
assert app


class Died(Exception):
    """As if the power went."""


@pytest.fixture
async def database(new_server_url):
    database = Database(new_server_url)
    await database.connect()
    yield database
    await database.aclose()


async def differences(database: Database) -> list[object]:
    """Between what the code declares and what is there; comments and the collations of texts are not looked at."""

    def compare(connection):
        return compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata)

    async with database.reading() as connection:
        found = await connection.run_sync(compare)
    return [each for each in found if isinstance(each, tuple) and each[0] != "modify_comment"]


async def test_the_migrations_make_the_tables_that_the_code_declares_and_warn_of_nothing(database, caplog):
    await migrations.upgrade(database)
    assert [record.getMessage() for record in caplog.records if record.name.startswith(("asyncmy", "asyncpg"))] == []
    assert await differences(database) == []


async def test_a_migration_that_died_after_any_step_goes_on_where_it_ended(new_server_url):
    database, deaths, seen = Database(new_server_url), 0, 0

    def die(_connection, _cursor, statement, *_rest):
        nonlocal seen
        if statement.lstrip().startswith(("CREATE", "ALTER", "INSERT INTO alembic", "UPDATE alembic")):
            seen += 1
            # Each start gets one step further than the one before; a revision's number is kept by the step after it.
            if seen > 2:
                raise Died

    await database.connect()
    event.listen(Engine, "before_cursor_execute", die)
    try:
        while await migrations.current(database) != migrations.head() and deaths < 100:
            seen = 0
            try:
                await migrations.upgrade(database)
            except Died:
                deaths += 1
            if database.dialect == "postgresql":
                # There it is whole or not at all.
                assert await migrations.current(database) is None
                break
    finally:
        event.remove(Engine, "before_cursor_execute", die)
    assert deaths == 1 if database.dialect == "postgresql" else 5 < deaths < 100
    await migrations.upgrade(database)
    assert await migrations.current(database) == migrations.head()
    assert await differences(database) == []
    await database.aclose()


async def test_a_node_waits_while_another_one_migrates(new_server_url, database):
    other = Database(new_server_url)
    await other.connect()
    async with other.migrating() as connection:
        waiting = asyncio.create_task(migrations.upgrade(database))
        for _ in range(20):
            await connection.exec_driver_sql("SELECT 1")
            await asyncio.sleep(0.02)
        assert not waiting.done()
    assert await waiting
    await other.aclose()


async def test_a_node_that_waits_for_another_too_long_says_so(new_server_url, database, monkeypatch):
    monkeypatch.setattr(sql_locks, "_WAIT_SECONDS", 0.3)
    other = Database(new_server_url)
    await other.connect()
    async with other.migrating():
        with pytest.raises(DatabaseUnavailable, match="schema"):
            await migrations.upgrade(database)
    await other.aclose()


async def test_the_lock_of_a_migration_that_failed_is_free_again(new_server_url, database):
    async def fail() -> None:
        async with database.migrating():
            raise Died

    for _ in range(3):
        with pytest.raises(Died):
            await fail()
    assert await migrations.upgrade(database)


async def test_a_migration_may_take_longer_than_a_statement_may(new_server_url):
    database = Database(new_server_url, timeout_seconds=0.5)
    await database.connect()
    nap = "SELECT sleep(1.2)" if database.dialect == "mysql" else "SELECT pg_sleep(1.2)"
    async with database.migrating() as connection:
        await connection.exec_driver_sql(nap)
    await database.aclose()
