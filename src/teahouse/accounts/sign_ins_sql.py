"""Sign-ins in SQL: the users they belong to, their sessions and the ones those replace, within one transaction."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec
from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from teahouse.accounts.model import Session, User, surplus
from teahouse.accounts.session_store import SignedIn, SignIn
from teahouse.accounts.tables_sql import (
    read_session,
    read_user,
    session_row,
    sessions,
    user_row,
    users,
    wechat_identities,
)


async def sign_in(connection: AsyncConnection, sign_ins: Sequence[SignIn], *, now: int, most: int) -> list[SignedIn]:
    """See ``SessionStore``; raises ``IntegrityError`` where another node makes one of the accounts just now."""
    owners = await owners_of(connection, sign_ins, now)
    opened = [
        msgspec.structs.replace(one.session, user_id=owner.id) for one, owner in zip(sign_ins, owners, strict=True)
    ]
    await connection.execute(insert(sessions), [session_row(session) for session in opened])
    ended = await _make_room(connection, {owner.id for owner in owners}, now, most)
    # The first of a user's sign-ins tells of all that ended.
    return [SignedIn(owner, session, ended.pop(owner.id, [])) for owner, session in zip(owners, opened, strict=True)]


async def live_sessions(connection: AsyncConnection, user_ids: Collection[str]) -> dict[str, dict[str, Session]]:
    """Sessions nobody has ended, by user and id, locked until the transaction ends."""
    query = select(sessions).where(sessions.c.user_id.in_(user_ids), sessions.c.ended_at.is_(None))
    live: dict[str, dict[str, Session]] = {}
    for row in (await connection.execute(query.order_by(sessions.c.id).with_for_update())).all():
        live.setdefault(row.user_id, {})[row.id] = read_session(row)
    return live


async def end_sessions(connection: AsyncConnection, session_ids: Sequence[str], now: int) -> None:
    """Ends these sessions now."""
    if session_ids:
        await connection.execute(update(sessions).where(sessions.c.id.in_(session_ids)).values(ended_at=now))


async def owners_of(connection: AsyncConnection, sign_ins: Sequence[SignIn], now: int) -> list[User]:
    """Whose the sign-ins are, new accounts made; raises ``IntegrityError`` as ``sign_in`` does."""
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
    connection: AsyncConnection, user_ids: Collection[str], now: int, most: int
) -> dict[str, list[str]]:
    live = await live_sessions(connection, user_ids)
    ended = {user_id: [session.id for session in surplus(mine.values(), most)] for user_id, mine in live.items()}
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
