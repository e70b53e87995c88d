"""Users in SQL, with what they log in by."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import and_, delete, insert, literal, or_, select, update
from sqlalchemy.exc import IntegrityError

from teahouse.accounts.model import User
from teahouse.accounts.names import username_key
from teahouse.accounts.session_store import SignIn
from teahouse.accounts.sign_ins_sql import owners_of
from teahouse.accounts.tables_sql import known_networks, passwords, read_user, user_row, users
from teahouse.accounts.user_store import Credentials
from teahouse.engines.sql import ANYBODY, Database
from teahouse.problems import Problem, SessionEnded, UsernameTaken

NETWORKS_PER_USER = 8
# SQLite takes expressions up to a depth of 1,000 (https://www.sqlite.org/limits.html).
_SWEEP_ROWS = 200


class UsersSql:
    """A ``UserStore``; every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, user: User, *, username: str, password_hash: str) -> None:
        """See ``UserStore``."""
        row = {
            "user_id": user.id,
            "username": username,
            "username_key": username_key(username),
            "hash": password_hash,
        }
        try:
            async with self._database.transaction() as connection:
                await connection.execute(insert(users), user_row(user))
                await connection.execute(insert(passwords), row)
        except IntegrityError:
            raise UsernameTaken from None

    async def credentials(self, key: str) -> Credentials | None:
        """See ``UserStore``."""
        query = select(users, passwords.c.hash).join(passwords).where(passwords.c.username_key == key)
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).first()
        return None if row is None else Credentials(read_user(row), row.hash)

    async def replace_hash(self, user_id: str, *, old: str, new: str) -> None:
        """See ``UserStore``."""
        statement = update(passwords).where(passwords.c.user_id == user_id, passwords.c.hash == old).values(hash=new)
        async with self._database.transaction() as connection:
            await connection.execute(statement)

    async def find(self, user_id: str) -> User | None:
        """See ``UserStore``."""
        async with self._database.reading() as connection:
            row = (await connection.execute(select(users).where(users.c.id == user_id))).first()
        return None if row is None else read_user(row)

    async def find_all(self, user_ids: Collection[str]) -> dict[str, User]:
        """See ``UserStore``."""
        if not user_ids:
            return {}
        async with self._database.reading() as connection:
            rows = (await connection.execute(select(users).where(users.c.id.in_(user_ids)))).all()
        return {row.id: read_user(row) for row in rows}

    async def load(self, user_ids: Sequence[str], *, fresh: bool) -> list[User | None]:
        """For a cache: each user in order, None where there is none; not ``fresh`` may be as a replica has it."""
        async with self._database.reading(None if fresh else ANYBODY) as connection:
            rows = (await connection.execute(select(users).where(users.c.id.in_(user_ids)))).all()
        found = {row.id: read_user(row) for row in rows}
        return [found.get(user_id) for user_id in user_ids]

    async def owners(self, sign_ins: Sequence[SignIn], *, now: int) -> list[User | Problem]:
        """See ``UserStore``."""
        found = iter(await self._owners_by_identity([one for one in sign_ins if one.identity is not None], now))
        known = await self.find_all({one.user.id for one in sign_ins if one.identity is None})
        return [next(found) if one.identity is not None else known.get(one.user.id) or _deleted() for one in sign_ins]

    async def _owners_by_identity(self, sign_ins: Sequence[SignIn], now: int) -> list[User | Problem]:
        if not sign_ins:
            return []
        try:
            async with self._database.transaction() as connection:
                return [*await owners_of(connection, sign_ins, now)]
        except IntegrityError:
            # Another node made an account for one of these WeChat users just now: one by one, it is found.
            return [await self._owner_alone(one, now) for one in sign_ins]

    async def _owner_alone(self, one: SignIn, now: int) -> User | Problem:
        for _ in range(2):
            try:
                async with self._database.transaction() as connection:
                    return (await owners_of(connection, [one], now))[0]
            except IntegrityError:
                continue
        return _deleted()

    async def exist(self) -> bool:
        """See ``UserStore``."""
        async with self._database.reading() as connection:
            return (await connection.execute(select(users.c.id).limit(1))).first() is not None

    async def change(self, user_id: str, *, nickname: str | None, avatar_url: str | None) -> User | None:
        """See ``UserStore``."""
        given = {"nickname": nickname, "avatar_url": avatar_url}
        values = {name: value for name, value in given.items() if value is not None}
        async with self._database.transaction() as connection:
            if values:
                await connection.execute(update(users).where(users.c.id == user_id).values(values))
            row = (await connection.execute(select(users).where(users.c.id == user_id))).first()
        return None if row is None else read_user(row)

    async def knows_network(self, key: str, network: str, *, since: int) -> bool:
        """See ``UserStore``."""
        query = (
            select(literal(1))
            .select_from(known_networks.join(passwords, passwords.c.user_id == known_networks.c.user_id))
            .where(
                passwords.c.username_key == key, known_networks.c.network == network, known_networks.c.seen_at > since
            )
        )
        async with self._database.reading() as connection:
            return (await connection.execute(query)).first() is not None

    async def remember_network(self, user_id: str, network: str, now: int) -> None:
        """The password was right from ``network``; the oldest beyond ``NETWORKS_PER_USER`` are forgotten."""
        mine = known_networks.c.user_id == user_id
        row = {"user_id": user_id, "network": network, "seen_at": now}
        newest_first = select(known_networks.c.network).where(mine).order_by(known_networks.c.seen_at.desc())
        try:
            async with self._database.transaction() as connection:
                await connection.execute(delete(known_networks).where(mine, known_networks.c.network == network))
                await connection.execute(insert(known_networks), row)
                surplus = (await connection.execute(newest_first.offset(NETWORKS_PER_USER).limit(100))).scalars().all()
                if surplus:
                    await connection.execute(delete(known_networks).where(mine, known_networks.c.network.in_(surplus)))
        except IntegrityError:
            # The same user logged in from the same place through another node just now, so it is remembered.
            return

    async def forget_networks(self, *, before: int) -> int:
        """See ``UserStore``."""
        query = select(known_networks.c.user_id, known_networks.c.network).where(known_networks.c.seen_at < before)
        async with self._database.transaction() as connection:
            old = (await connection.execute(query.limit(_SWEEP_ROWS))).all()
            if old:
                one = [
                    and_(known_networks.c.user_id == row.user_id, known_networks.c.network == row.network)
                    for row in old
                ]
                await connection.execute(delete(known_networks).where(or_(*one)))
        return len(old)


def _deleted() -> SessionEnded:
    return SessionEnded("This account has been deleted.")
