"""A table for the engine's tests, and what they do with it."""

from __future__ import annotations

from sqlalchemy import Column, Connection, Integer, MetaData, String, Table, func, insert, select

from teahouse.engines.sql import Database

cups = Table("cups", MetaData(), Column("id", Integer, primary_key=True), Column("tea", String(20), nullable=False))


async def count(database: Database) -> int:
    async with database.reading() as connection:
        return (await connection.execute(select(func.count()).select_from(cups))).scalar_one()


async def pour(database: Database, number: int) -> None:
    async with database.transaction() as connection:
        await connection.execute(insert(cups), {"id": number, "tea": "green"})


def poured(connection: Connection, number: int) -> int:
    """Work for ``Database.write``."""
    connection.execute(insert(cups), {"id": number, "tea": "green"})
    return number
