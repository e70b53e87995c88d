"""Users in SQL, with what they log in by. Times are Unix milliseconds."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Row,
    String,
    Table,
    and_,
    delete,
    insert,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import IntegrityError

from teahouse.accounts.model import Role, User
from teahouse.accounts.names import username_key
from teahouse.engines.sql import Database, metadata
from teahouse.problems import UsernameTaken


def exact(length: int) -> String:
    """Text that is compared byte by byte: MySQL's default collation takes ``ab`` and ``AB`` for one openid."""
    return String(length).with_variant(
        mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb"
    )


users = Table(
    "users",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("nickname", String(64), nullable=False),
    Column("avatar_url", String(1024), nullable=False),
    Column("role", String(16), nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

passwords = Table(
    "passwords",
    metadata,
    Column("user_id", String(32), ForeignKey(users.c.id), primary_key=True),
    Column("username", String(64), nullable=False),
    Column("username_key", exact(255), nullable=False, unique=True),
    Column("hash", String(255), nullable=False),
)

wechat_identities = Table(
    "wechat_identities",
    metadata,
    Column("openid", exact(128), primary_key=True),
    Column("user_id", String(32), ForeignKey(users.c.id), nullable=False, index=True),
    Column("unionid", exact(128), index=True),
    Column("session_key", String(128), nullable=False),
    Column("updated_at", BigInteger, nullable=False),
)

# Where a password was right before: from there its owner gets in while strangers have used up the name's failures.
known_networks = Table(
    "known_networks",
    metadata,
    Column("user_id", String(32), ForeignKey(users.c.id), primary_key=True),
    Column("network", String(64), primary_key=True),
    Column("seen_at", BigInteger, nullable=False),
    Index(None, "seen_at"),
)

NETWORKS_PER_USER = 8


class Credentials(NamedTuple):
    """A user and the hash of the password they log in with."""

    user: User
    hash: str


class UsersSql:
    """Users and passwords; every method is one transaction, and raises ``DatabaseUnavailable``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, user: User, *, username: str, password_hash: str) -> None:
        """A new user with a username; raises ``UsernameTaken``."""
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

    async def taken(self, username: str) -> bool:
        """True when somebody has the name."""
        return await self.credentials(username_key(username)) is not None

    async def credentials(self, key: str) -> Credentials | None:
        """Who logs in under the username whose key this is."""
        query = select(users, passwords.c.hash).join(passwords).where(passwords.c.username_key == key)
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).first()
        return None if row is None else Credentials(read_user(row), row.hash)

    async def replace_hash(self, user_id: str, *, old: str, new: str) -> None:
        """The same password hashed anew; nothing happens where the password has changed meanwhile."""
        statement = update(passwords).where(passwords.c.user_id == user_id, passwords.c.hash == old).values(hash=new)
        async with self._database.transaction() as connection:
            await connection.execute(statement)

    async def find(self, user_id: str) -> User | None:
        """The user with this id."""
        async with self._database.reading() as connection:
            row = (await connection.execute(select(users).where(users.c.id == user_id))).first()
        return None if row is None else read_user(row)

    async def change(self, user_id: str, *, nickname: str | None, avatar_url: str | None) -> User | None:
        """Sets what is not None; returns the user as it is then, None where there is none."""
        given = {"nickname": nickname, "avatar_url": avatar_url}
        values = {name: value for name, value in given.items() if value is not None}
        async with self._database.transaction() as connection:
            if values:
                await connection.execute(update(users).where(users.c.id == user_id).values(values))
            row = (await connection.execute(select(users).where(users.c.id == user_id))).first()
        return None if row is None else read_user(row)

    async def knows_network(self, key: str, network: str, *, since: int) -> bool:
        """True when the username's owner logged in from ``network`` after ``since``."""
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

    async def forget_networks(self, *, before: int, most: int) -> int:
        """Drops up to ``most`` networks last seen ``before``; returns how many."""
        query = select(known_networks.c.user_id, known_networks.c.network).where(known_networks.c.seen_at < before)
        async with self._database.transaction() as connection:
            old = (await connection.execute(query.limit(most))).all()
            if old:
                one = [
                    and_(known_networks.c.user_id == row.user_id, known_networks.c.network == row.network)
                    for row in old
                ]
                await connection.execute(delete(known_networks).where(or_(*one)))
        return len(old)


def user_row(user: User) -> dict[str, object]:
    """The user as the table's row."""
    return {
        "id": user.id,
        "nickname": user.nickname,
        "avatar_url": user.avatar_url,
        "role": user.role,
        "created_at": user.created_at,
    }


def read_user(row: Row[tuple[object, ...]]) -> User:
    """The user in a row that has the table's columns."""
    role: Role = "admin" if row.role == "admin" else "user"
    return User(id=row.id, nickname=row.nickname, avatar_url=row.avatar_url, role=role, created_at=row.created_at)
