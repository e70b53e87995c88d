"""Many rows handed to the database as one JSON text, which it takes apart: one statement, always the same text.

A list of values in the statement would be another statement for each length of it, to be put together here and
prepared there. ``JSON_TABLE`` is in MySQL 8 and MariaDB 10.6, ``json_array_elements`` in PostgreSQL, ``json_each`` in
SQLite.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Insert, Table, TextClause, insert, text

from teahouse.engines.sql_sqlite import run_directly, run_for_each

# Name and SQL type of each value of a row: VARCHAR(length) or BIGINT.
Columns = Sequence[tuple[str, str]]
Statements = Mapping[str, TextClause]
Insertion = tuple[Insert, str]

_encode = msgspec.json.Encoder().encode


def over_rows(columns: Columns, statement: str, *, mysql: str | None = None, sqlite: str | None = None) -> Statements:
    """The statement of each dialect. In it ``{new}`` stands for the rows, which are called ``new``, and ``{join}`` for
    a join that goes through them in their order; ``{lock}`` at its end holds the rows of ``kept``.

    ``mysql`` is what MySQL says instead, ``sqlite`` what SQLite does for one row, whose values are ``?1``, ``?2``...
    """
    return {
        "sqlite": _filled(sqlite or statement, new=_in_sqlite(columns), join="CROSS JOIN", lock=""),
        "postgresql": _filled(statement, new=_in_postgresql(columns), join="JOIN", lock=" FOR UPDATE OF kept"),
        "mysql": _filled(mysql or statement, new=_in_mysql(columns), join="STRAIGHT_JOIN", lock=" FOR UPDATE"),
    }


def run(connection: Connection, statements: Statements, rows: Iterable[Sequence[Any]]) -> Sequence[Sequence[Any]]:
    """Carries out the dialect's statement over the rows; gives what it selects."""
    dialect = connection.dialect.name
    given = {"rows": _encode(list(rows)).decode()}
    if dialect == "sqlite":
        return run_directly(connection, statements[dialect].text, given)
    result = connection.execute(statements["mysql" if dialect == "mariadb" else dialect], given)
    return result.all() if result.returns_rows else ()


def change(connection: Connection, statements: Statements, rows: Sequence[Sequence[Any]]) -> None:
    """Carries out the dialect's statement, which has one for SQLite, over the rows."""
    if connection.dialect.name == "sqlite":
        # For each: to gather what is to be changed takes it longer, for one row and for hundreds.
        run_for_each(connection, statements["sqlite"].text, rows)
    else:
        run(connection, statements, rows)


def hold(connection: Connection, statements: Statements, rows: Sequence[Sequence[Any]]) -> None:
    """Locks what the statement selects until the transaction ends; on SQLite, who may write has locked everything."""
    if connection.dialect.name != "sqlite":
        run(connection, statements, rows)


def insertion(table: Table) -> Insertion:
    """What ``insert_rows`` needs for the table, whose rows have all of its columns."""
    names = [column.name for column in table.columns]
    return insert(table), f"INSERT INTO {table.name} ({', '.join(names)}) VALUES (:{', :'.join(names)})"  # noqa: S608  # constants only


def insert_rows(connection: Connection, insertion: Insertion, rows: Sequence[Mapping[str, Any]]) -> None:
    """Inserts the rows."""
    statement, on_sqlite = insertion
    if connection.dialect.name == "sqlite":
        run_for_each(connection, on_sqlite, rows)
    else:
        connection.execute(statement, rows)


def _filled(statement: str, *, new: str, join: str, lock: str) -> TextClause:
    return text(statement.format(new=new, join=join, lock=lock))


def _in_sqlite(columns: Columns) -> str:
    values = ", ".join(f"json_extract(value, '$[{place}]') AS {name}" for place, (name, _) in enumerate(columns))
    return f"(SELECT {values} FROM json_each(:rows)) AS new"  # noqa: S608  # constants only


def _in_postgresql(columns: Columns) -> str:
    values = ", ".join(f"CAST(each->>{place} AS {kind}) AS {name}" for place, (name, kind) in enumerate(columns))
    return f"(SELECT {values} FROM json_array_elements(CAST(:rows AS json)) AS each) AS new"  # noqa: S608  # constants only


def _in_mysql(columns: Columns) -> str:
    # Unsaid, a text's character set is the database's own, and no index of the tables would serve it.
    kinds = [f"{kind} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin" if "CHAR" in kind else kind for _, kind in columns]
    paths = ", ".join(
        f"{name} {kind} PATH '$[{place}]'" for place, ((name, _), kind) in enumerate(zip(columns, kinds, strict=True))
    )
    return f"JSON_TABLE(:rows, '$[*]' COLUMNS ({paths})) AS new"
