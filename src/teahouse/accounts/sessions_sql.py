"""Sessions in SQL. Times are Unix milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    LargeBinary,
    String,
    Table,
    and_,
    bindparam,
    delete,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from teahouse.accounts.model import Session, User
from teahouse.accounts.refresh_tokens import RefreshToken
from teahouse.accounts.users_sql import read_user, users
from teahouse.engines.sql import Database, metadata
from teahouse.problems import Problem

sessions = Table(
    "sessions",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("user_id", String(32), ForeignKey(users.c.id), nullable=False),
    Column("method", String(16), nullable=False),
    Column("device", String(120), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("last_seen_at", BigInteger, nullable=False),
    Column("ends_at", BigInteger, nullable=False),
    Column("family_hash", String(64), nullable=False),
    Column("token_hash", String(64), nullable=False),
    Column("previous_hash", String(64)),
    Column("rotated_at", BigInteger),
    Column("sealed_successor", LargeBinary(128)),
    Column("ended_at", BigInteger),
    Index(None, "user_id", "ended_at"),
    Index(None, "last_seen_at"),
    Index(None, "ended_at"),
)

_CHUNK = 500
_CHANGING = ("last_seen_at", "token_hash", "previous_hash", "rotated_at", "sealed_successor", "ended_at")


class Exchange(NamedTuple):
    """What becomes of one presented refresh token: the session to be kept, if it changed, and the caller's answer."""

    session: Session | None
    answer: Exchanged | Problem


class Exchanged(NamedTuple):
    """A refresh token's successor, and whose it is."""

    user: User
    session: Session
    token: RefreshToken


Decide = Callable[[RefreshToken, Session | None, User | None], Exchange]


class Ending(NamedTuple):
    """Sessions of one user that are to end: one, or all where ``session_id`` is None."""

    user_id: str
    session_id: str | None


class SessionsSql:
    """Sessions; every method is one transaction, and raises ``DatabaseUnavailable``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def exchange(self, tokens: Sequence[RefreshToken], decide: Decide) -> list[Exchanged | Problem]:
        """Judges each token with ``decide``, in order, while its session is locked, and keeps what changed.

        Two tokens of one session are judged one after the other, the second with what the first has changed.
        """
        answers: list[Exchanged | Problem] = []
        async with self._database.transaction() as connection:
            known, owners = await _locked(connection, {token.session_id for token in tokens})
            changed: dict[str, Session] = {}
            for token in tokens:
                session = known.get(token.session_id)
                owner = owners.get(session.user_id) if session is not None else None
                kept, answer = decide(token, session, owner)
                if kept is not None:
                    known[kept.id] = changed[kept.id] = kept
                answers.append(answer)
            await _keep(connection, changed.values())
        return answers

    async def end(self, endings: Sequence[Ending], now: int) -> list[list[str]]:
        """Ends sessions; for each ending the ids of those that were still going on."""
        async with self._database.transaction() as connection:
            live = await live_sessions(connection, {ending.user_id for ending in endings})
            ended: list[list[str]] = []
            for ending in endings:
                mine = live.get(ending.user_id, {})
                going = list(mine) if ending.session_id is None else [ending.session_id]
                ended.append([session_id for session_id in going if mine.pop(session_id, None) is not None])
            await end_sessions(connection, [session_id for ids in ended for session_id in ids], now)
        return ended

    async def live(self, user_id: str, *, now: int, idle: int) -> list[Session]:
        """The user's sessions that go on, newest first."""
        query = (
            select(sessions)
            .where(
                sessions.c.user_id == user_id,
                sessions.c.ended_at.is_(None),
                sessions.c.ends_at > now,
                sessions.c.last_seen_at > now - idle,
            )
            .order_by(sessions.c.created_at.desc(), sessions.c.id.desc())
        )
        async with self._database.reading() as connection:
            return [_read(row) for row in (await connection.execute(query.limit(1000))).all()]

    async def ended_since(self, moment: int) -> dict[str, int]:
        """Sessions that ended after ``moment``, and when."""
        query = select(sessions.c.id, sessions.c.ended_at).where(sessions.c.ended_at > moment)
        async with self._database.reading() as connection:
            return {row.id: row.ended_at for row in (await connection.execute(query)).all()}

    async def touch(self, seen: Mapping[str, int]) -> None:
        """Notes when sessions were last used; never moves one back. A bounded number in each transaction."""
        statement = (
            update(sessions)
            .where(sessions.c.id == bindparam("session"), sessions.c.last_seen_at < bindparam("moment"))
            .values(last_seen_at=bindparam("moment"))
        )
        rows = [{"session": session_id, "moment": moment} for session_id, moment in sorted(seen.items())]
        for start in range(0, len(rows), _CHUNK):
            async with self._database.transaction() as connection:
                await connection.execute(statement, rows[start : start + _CHUNK])

    async def sweep(self, *, ended_before: int, unseen_since: int, over_since: int, most: int = _CHUNK) -> int:
        """Deletes up to ``most`` sessions that ended or ran out before these moments; returns how many."""
        gone = or_(
            sessions.c.ended_at < ended_before,
            and_(
                sessions.c.ended_at.is_(None),
                or_(sessions.c.last_seen_at < unseen_since, sessions.c.ends_at < over_since),
            ),
        )
        async with self._database.transaction() as connection:
            ids = (await connection.execute(select(sessions.c.id).where(gone).limit(most))).scalars().all()
            if ids:
                await connection.execute(delete(sessions).where(sessions.c.id.in_(ids)))
        return len(ids)


async def live_sessions(connection: AsyncConnection, user_ids: Collection[str]) -> dict[str, dict[str, Session]]:
    """Sessions nobody has ended, by user and id, locked until the transaction ends."""
    query = select(sessions).where(sessions.c.user_id.in_(user_ids), sessions.c.ended_at.is_(None))
    live: dict[str, dict[str, Session]] = {}
    for row in (await connection.execute(query.order_by(sessions.c.id).with_for_update())).all():
        live.setdefault(row.user_id, {})[row.id] = _read(row)
    return live


async def end_sessions(connection: AsyncConnection, session_ids: Sequence[str], now: int) -> None:
    """Ends these sessions now."""
    if session_ids:
        await connection.execute(update(sessions).where(sessions.c.id.in_(session_ids)).values(ended_at=now))


def session_row(session: Session) -> dict[str, Any]:
    """The session as the table's row."""
    return {name: getattr(session, name) for name in Session.__struct_fields__}


async def _locked(
    connection: AsyncConnection, session_ids: Collection[str]
) -> tuple[dict[str, Session], dict[str, User]]:
    # Locked in the order of their ids, so that two nodes never wait for each other. SQLite has one writer anyway.
    query = select(sessions).where(sessions.c.id.in_(session_ids)).order_by(sessions.c.id).with_for_update()
    found = [_read(row) for row in (await connection.execute(query)).all()]
    owners = select(users).where(users.c.id.in_({session.user_id for session in found}))
    rows = (await connection.execute(owners)).all()
    return {session.id: session for session in found}, {row.id: read_user(row) for row in rows}


async def _keep(connection: AsyncConnection, changed: Collection[Session]) -> None:
    if not changed:
        return
    values: dict[str, Any] = {name: bindparam(f"new_{name}") for name in _CHANGING}
    statement = update(sessions).where(sessions.c.id == bindparam("session")).values(values)
    rows = [
        {"session": session.id, **{f"new_{name}": getattr(session, name) for name in _CHANGING}} for session in changed
    ]
    await connection.execute(statement, rows)


def _read(row: Any) -> Session:
    return Session(**{name: getattr(row, name) for name in Session.__struct_fields__})
