"""The steps that revisions are made of.

MySQL commits each change of the schema by itself, so a migration that died half-way has left some of its steps done.
Each step looks first whether it has been done: the next start goes on where the last one ended.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql
from sqlalchemy.schema import SchemaItem

from teahouse.engines.sql_schema import mysql_keywords


def exact(length: int) -> sa.String:
    """Text that is compared byte by byte on MySQL too."""
    return sa.String(length).with_variant(
        mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb"
    )


def create_table(name: str, *parts: SchemaItem) -> None:
    """A table with these columns and constraints."""
    if not _look().has_table(name):
        op.create_table(name, *parts, **mysql_keywords())


def create_index(name: str, table: str, columns: list[str]) -> None:
    """An index of an existing table."""
    if name not in {index["name"] for index in _look().get_indexes(table)}:
        op.create_index(name, table, columns)


def add_column(table: str, column: sa.Column[object]) -> None:
    """One more column of an existing table."""
    if column.name not in {known["name"] for known in _look().get_columns(table)}:
        op.add_column(table, column)


def drop_column(table: str, name: str) -> None:
    """One column less."""
    if name in {known["name"] for known in _look().get_columns(table)}:
        op.drop_column(table, name)


def drop_table(name: str) -> None:
    """A table less."""
    if _look().has_table(name):
        op.drop_table(name)


def _look() -> sa.Inspector:
    # A new one each time: an inspector remembers what it saw.
    return sa.inspect(op.get_bind())
