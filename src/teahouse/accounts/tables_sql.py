"""The tables of accounts, and how users and sessions look in them. Times are Unix milliseconds."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, ForeignKey, Index, LargeBinary, String, Table
from sqlalchemy.dialects import mysql

from teahouse.accounts.model import Role, Session, User
from teahouse.engines.sql import metadata


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


def user_row(user: User) -> dict[str, Any]:
    """The user as the table's row."""
    return {
        "id": user.id,
        "nickname": user.nickname,
        "avatar_url": user.avatar_url,
        "role": user.role,
        "created_at": user.created_at,
    }


def read_user(row: Any) -> User:
    """The user in a row that has the table's columns."""
    role: Role = "admin" if row.role == "admin" else "user"
    return User(id=row.id, nickname=row.nickname, avatar_url=row.avatar_url, role=role, created_at=row.created_at)


def session_row(session: Session) -> dict[str, Any]:
    """The session as the table's row."""
    return {name: getattr(session, name) for name in Session.__struct_fields__}


def read_session(row: Any) -> Session:
    """The session in a row that has the table's columns."""
    return Session(**{name: getattr(row, name) for name in Session.__struct_fields__})
