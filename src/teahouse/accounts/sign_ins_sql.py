"""Sign-ins in SQL: the users they belong to, their sessions and the ones those replace, many in one transaction."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import msgspec
from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from teahouse.accounts.model import Session, User, surplus
from teahouse.accounts.sessions_sql import end_sessions, live_sessions, session_row, sessions
from teahouse.accounts.users_sql import read_user, user_row, users, wechat_identities
from teahouse.engines.sql import Database
from teahouse.wechat import WechatIdentity


class SignIn(NamedTuple):
    """Somebody who has proved who they are, and the session they are to get.

    ``user`` is who they are known to be. With an ``identity`` it is the account to be made where WeChat's user has
    none yet; the session then goes to whoever has it.
    """

    user: User
    session: Session
    identity: WechatIdentity | None = None


class SignedIn(NamedTuple):
    """Whose session it became, and the ids of the sessions that ended because of it."""

    user: User
    session: Session
    ended: list[str]


class SignInsSql:
    """Opens sessions; a batch is one transaction. Raises ``DatabaseUnavailable``."""

    def __init__(self, database: Database, *, sessions_per_user: int) -> None:
        self._database = database
        self._most = sessions_per_user

    async def sign_in(self, sign_ins: Sequence[SignIn], now: int) -> list[SignedIn]:
        """One result for each, in order. A WeChat user seen for the first time gets an account, exactly one."""
        try:
            return await self._sign_in(sign_ins, now)
        except IntegrityError:
            # Another node made an account for the same WeChat user just now: the second look finds it.
            return await self._sign_in(sign_ins, now)

    async def _sign_in(self, sign_ins: Sequence[SignIn], now: int) -> list[SignedIn]:
        async with self._database.transaction() as connection:
            owners = await self._owners(connection, sign_ins, now)
            opened = [
                msgspec.structs.replace(sign_in.session, user_id=owner.id)
                for sign_in, owner in zip(sign_ins, owners, strict=True)
            ]
            await connection.execute(insert(sessions), [session_row(session) for session in opened])
            ended = await self._make_room(connection, {owner.id for owner in owners}, now)
        results = []
        for owner, session in zip(owners, opened, strict=True):
            # The first of a user's sign-ins tells of all that ended.
            results.append(SignedIn(owner, session, ended.pop(owner.id, [])))
        return results

    async def _owners(self, connection: AsyncConnection, sign_ins: Sequence[SignIn], now: int) -> list[User]:
        latest = {sign_in.identity.openid: sign_in for sign_in in sign_ins if sign_in.identity is not None}
        known = await _known(connection, list(latest))
        if known:
            await _renew(connection, [latest[openid] for openid in known], now)
        new = {openid: sign_in for openid, sign_in in latest.items() if openid not in known}
        if new:
            await _create(connection, list(new.values()), now)
            known.update({openid: sign_in.user for openid, sign_in in new.items()})
        return [known[sign_in.identity.openid] if sign_in.identity else sign_in.user for sign_in in sign_ins]

    async def _make_room(
        self, connection: AsyncConnection, user_ids: Collection[str], now: int
    ) -> dict[str, list[str]]:
        live = await live_sessions(connection, user_ids)
        ended = {
            user_id: [session.id for session in surplus(mine.values(), self._most)] for user_id, mine in live.items()
        }
        await end_sessions(connection, [session_id for ids in ended.values() for session_id in ids], now)
        return ended


async def _known(connection: AsyncConnection, openids: Sequence[str]) -> dict[str, User]:
    if not openids:
        return {}
    query = select(users, wechat_identities.c.openid).join(wechat_identities)
    rows = (await connection.execute(query.where(wechat_identities.c.openid.in_(openids)))).all()
    return {row.openid: read_user(row) for row in rows}


async def _renew(connection: AsyncConnection, sign_ins: Sequence[SignIn], now: int) -> None:
    # A session key is new with every login; the union id appears once the app is bound to an open-platform account.
    statement = (
        update(wechat_identities)
        .where(wechat_identities.c.openid == bindparam("known"))
        .values(session_key=bindparam("key"), unionid=bindparam("union"), updated_at=now)
    )
    rows = [
        {"known": identity.openid, "key": identity.session_key, "union": identity.unionid}
        for identity in (sign_in.identity for sign_in in sign_ins)
        if identity is not None
    ]
    await connection.execute(statement, rows)


async def _create(connection: AsyncConnection, sign_ins: Sequence[SignIn], now: int) -> None:
    await connection.execute(insert(users), [user_row(sign_in.user) for sign_in in sign_ins])
    rows = [
        {
            "openid": identity.openid,
            "user_id": user.id,
            "unionid": identity.unionid,
            "session_key": identity.session_key,
            "updated_at": now,
        }
        for user, identity in ((sign_in.user, sign_in.identity) for sign_in in sign_ins)
        if identity is not None
    ]
    await connection.execute(insert(wechat_identities), rows)
