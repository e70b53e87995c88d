"""What a driver's error means: not now, somebody else was in the way, or a rule that was broken.

Codes: MySQL https://mariadb.com/kb/en/mariadb-error-codes/, PostgreSQL
https://www.postgresql.org/docs/current/errcodes-appendix.html.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import (
    DatabaseError,
    DataError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    ProgrammingError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from teahouse.problems import DatabaseUnavailable

# Deadlock; lock wait time-out.
_MYSQL_CONTENTION = frozenset((1205, 1213))
# Serialization failure; deadlock; lock not available in time.
_POSTGRES_CONTENTION = frozenset(("40001", "40P01", "55P03"))
# A check constraint, in MariaDB and in MySQL: the driver takes both for operational.
_MYSQL_CHECK = frozenset((4025, 3819))
# A value that its column cannot hold; the driver names no class for all of these.
_POSTGRES_DATA = "22"
# Connection, authorization, unknown database, roll-back, resources, operator intervention, system, read-only.
_POSTGRES_NOT_NOW = ("08", "28", "3D", "40", "53", "55", "57", "58", "25006", "XX")


@contextmanager
def translated() -> Iterator[None]:
    """Turns the drivers' ways of saying "not now" into one problem, and a broken rule into ``IntegrityError``."""
    try:
        yield
    except PoolTimeout as error:
        raise DatabaseUnavailable from error
    except DBAPIError as error:
        if _mysql_code(error) in _MYSQL_CHECK:
            raise IntegrityError(error.statement, error.params, error.orig or error) from error
        if (_sqlstate(error) or "").startswith(_POSTGRES_DATA) and not isinstance(error, DataError):
            raise DataError(error.statement, error.params, error.orig or error) from error
        if not _not_now(error):
            raise
        raise DatabaseUnavailable from error


def is_contention(error: DBAPIError) -> bool:
    """True when the server undid the transaction for another one's sake: the same again may well succeed."""
    return _mysql_code(error) in _MYSQL_CONTENTION or _sqlstate(error) in _POSTGRES_CONTENTION


def _not_now(error: DBAPIError) -> bool:
    # SQLite reports a file that is damaged, or no database at all, as the bare base class.
    bare = type(error) in (DatabaseError, DBAPIError) and _sqlstate(error) is None
    # A program that uses what it has closed itself made a mistake, also where that looks like a lost connection.
    lost = error.connection_invalidated and not isinstance(error, ProgrammingError)
    outage = isinstance(error, OperationalError | InterfaceError) or lost or bare
    return outage or (_sqlstate(error) or "").startswith(_POSTGRES_NOT_NOW)


def _mysql_code(error: DBAPIError) -> int | None:
    arguments = getattr(error.orig, "args", ())
    return arguments[0] if arguments and isinstance(arguments[0], int) else None


def _sqlstate(error: DBAPIError) -> str | None:
    # asyncmy's errors have a state too, but MySQL's states mean other things.
    return None if _mysql_code(error) is not None else getattr(error.orig, "sqlstate", None)
