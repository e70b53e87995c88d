from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.schema import CreateTable

from teahouse import migrations
from teahouse.accounts import tables_sql
from teahouse.engines.sql import Database, metadata
from teahouse.wechat.sandbox_codes_sql import sandbox_codes

TABLES = [
    tables_sql.users,
    tables_sql.passwords,
    tables_sql.wechat_identities,
    tables_sql.known_networks,
    tables_sql.sessions,
    sandbox_codes,
]


@pytest.mark.parametrize("dialect", [mysql.dialect(), postgresql.dialect()], ids=["mysql", "postgresql"])
@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_table_can_be_written_for_every_engine(table, dialect):
    assert str(CreateTable(table).compile(dialect=dialect))


async def test_the_migration_makes_the_tables_as_they_are_declared(tmp_path):
    def differences(connection: Connection) -> list[object]:
        def ours(thing, name, kind, *_rest) -> bool:
            return name in names if kind == "table" else True

        context = MigrationContext.configure(connection, opts={"compare_type": True, "include_object": ours})
        return compare_metadata(context, metadata)

    names = {table.name for table in TABLES}
    database = Database(f"sqlite:///{tmp_path / 'teahouse.db'}")
    await database.connect()
    await migrations.upgrade(database)
    async with database.reading() as connection:
        assert await connection.run_sync(differences) == []
    await database.aclose()


def test_openids_and_names_are_compared_byte_by_byte_on_mysql():
    for table in (tables_sql.wechat_identities, tables_sql.passwords):
        assert "COLLATE utf8mb4_bin" in str(CreateTable(table).compile(dialect=mysql.dialect()))
