"""Sessions in SQL."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import and_, bindparam, delete, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from teahouse.accounts.model import Session, User
from teahouse.accounts.refresh_tokens import RefreshToken
from teahouse.accounts.session_store import Decide, Ending, Exchanged, SignedIn, SignIn
from teahouse.accounts.sign_ins_sql import end_sessions, live_sessions, sign_in
from teahouse.accounts.tables_sql import read_session, read_user, sessions, users
from teahouse.engines.sql import Database
from teahouse.problems import Problem, SessionEnded

_CHUNK = 500
_CHANGING = ("last_seen_at", "token_hash", "previous_hash", "rotated_at", "sealed_successor", "ended_at")


class SessionsSql:
    """A ``SessionStore``; every method is one transaction, ``touch`` a few."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def sign_in(self, sign_ins: Sequence[SignIn], *, now: int, most: int) -> list[SignedIn | Problem]:
        """See ``SessionStore``."""
        try:
            async with self._database.transaction() as connection:
                return [*await sign_in(connection, sign_ins, now=now, most=most)]
        except IntegrityError:
            # Another node made an account for one of these WeChat users just now, or deleted one of these users: one
            # by one, the first is found and the second keeps nobody else out.
            return [await self._sign_in_alone(one, now, most) for one in sign_ins]

    async def _sign_in_alone(self, one: SignIn, now: int, most: int) -> SignedIn | Problem:
        try:
            async with self._database.transaction() as connection:
                (signed_in,) = await sign_in(connection, [one], now=now, most=most)
        except IntegrityError:
            return SessionEnded("This account has been deleted.")
        return signed_in

    async def exchange(self, tokens: Sequence[RefreshToken], decide: Decide) -> list[Exchanged | Problem]:
        """See ``SessionStore``."""
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
        """See ``SessionStore``."""
        async with self._database.transaction() as connection:
            live = await live_sessions(connection, {ending.user_id for ending in endings})
            ended: list[list[str]] = []
            for ending in endings:
                mine = live.get(ending.user_id, {})
                going = list(mine) if ending.session_id is None else [ending.session_id]
                ended.append([session_id for session_id in going if mine.pop(session_id, None) is not None])
            await end_sessions(connection, [session_id for ids in ended for session_id in ids], now)
        return ended

    async def end_again(self, session_ids: Sequence[str], now: int) -> None:
        """See ``SessionStore``."""
        for start in range(0, len(session_ids), _CHUNK):
            some = sessions.c.id.in_(session_ids[start : start + _CHUNK])
            async with self._database.transaction() as connection:
                await connection.execute(
                    update(sessions).where(some, sessions.c.ended_at.is_(None)).values(ended_at=now)
                )

    async def live(self, user_id: str, *, now: int, idle: int) -> list[Session]:
        """See ``SessionStore``."""
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
            return [read_session(row) for row in (await connection.execute(query.limit(1000))).all()]

    async def ended_since(self, moment: int, now: int) -> dict[str, int]:  # noqa: ARG002
        """See ``SessionStore``."""
        query = select(sessions.c.id, sessions.c.ended_at).where(sessions.c.ended_at > moment)
        async with self._database.reading() as connection:
            return {row.id: row.ended_at for row in (await connection.execute(query)).all()}

    async def kept_since(self, now: int) -> int:
        """See ``SessionStore``. Ends are in the database with the sessions."""
        del now
        return 0

    async def touch(self, seen: Mapping[str, int]) -> None:
        """See ``SessionStore``."""
        statement = (
            update(sessions)
            .where(sessions.c.id == bindparam("session"), sessions.c.last_seen_at < bindparam("moment"))
            .values(last_seen_at=bindparam("moment"))
        )
        rows = [{"session": session_id, "moment": moment} for session_id, moment in sorted(seen.items())]
        for start in range(0, len(rows), _CHUNK):
            async with self._database.transaction() as connection:
                await connection.execute(statement, rows[start : start + _CHUNK])

    async def sweep(self, *, ended_before: int, unseen_since: int, over_since: int) -> int:
        """See ``SessionStore``."""
        gone = or_(
            sessions.c.ended_at < ended_before,
            and_(
                sessions.c.ended_at.is_(None),
                or_(sessions.c.last_seen_at < unseen_since, sessions.c.ends_at < over_since),
            ),
        )
        async with self._database.transaction() as connection:
            ids = (await connection.execute(select(sessions.c.id).where(gone).limit(_CHUNK))).scalars().all()
            if ids:
                await connection.execute(delete(sessions).where(sessions.c.id.in_(ids)))
        return len(ids)


async def _locked(
    connection: AsyncConnection, session_ids: Collection[str]
) -> tuple[dict[str, Session], dict[str, User]]:
    # Locked in the order of their ids, so that two nodes never wait for each other. SQLite has one writer anyway.
    query = select(sessions).where(sessions.c.id.in_(session_ids)).order_by(sessions.c.id).with_for_update()
    found = [read_session(row) for row in (await connection.execute(query)).all()]
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
