"""The tables of messages. Moments are Unix milliseconds; ``sql_schema`` sees to it that texts are compared exactly."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Index, String, Table, Text, UniqueConstraint, column, table
from sqlalchemy.dialects import mysql

from teahouse.engines.sql import metadata
from teahouse.messages.model import Membership, Message, Room, RoomRole

# Two users' ids, and what stands before each.
CONVERSATION_LENGTH = 70

# Whoever writes a message holds its conversation's row until the commit: messages become visible in the order of seq.
conversations = Table(
    "conversations",
    metadata,
    Column("id", String(CONVERSATION_LENGTH), primary_key=True),
    Column("seq", BigInteger, nullable=False, comment="of the last message"),
)

messages = Table(
    "messages",
    metadata,
    Column("conversation", String(CONVERSATION_LENGTH), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("sender_id", String(32), nullable=False),
    Column("client_id", String(64), nullable=False),
    Column("kind", String(16), nullable=False),
    # MySQL's TEXT ends at 64 KiB, which the longest content fills.
    Column(
        "content", Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb"), nullable=False, comment="a JSON text"
    ),
    Column("sent_at", BigInteger, nullable=False),
    UniqueConstraint("sender_id", "client_id"),
)

rooms = Table(
    "rooms",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("created_by", String(32), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Index(None, "created_by"),
)

memberships = Table(
    "memberships",
    metadata,
    Column("conversation", String(CONVERSATION_LENGTH), primary_key=True),
    Column("user_id", String(32), primary_key=True),
    Column("role", String(16), nullable=False),
    Column("joined_at", BigInteger, nullable=False),
    Column("joined_seq", BigInteger, nullable=False, comment="of the last message before they came"),
    Column("read_seq", BigInteger, nullable=False),
    Index(None, "user_id", "conversation"),
)

# Of accounts, which has the table: all that is asked here is whether somebody exists.
users = table("users", column("id"))

message_columns = (
    messages.c.conversation,
    messages.c.seq,
    messages.c.sender_id,
    messages.c.client_id,
    messages.c.kind,
    messages.c.content,
    messages.c.sent_at,
)


def message_row(message: Message) -> dict[str, Any]:
    """The message as the table's row."""
    return {
        "conversation": message.conversation,
        "seq": message.seq,
        "sender_id": message.sender_id,
        "client_id": message.id,
        "kind": message.kind,
        "content": message.content,
        "sent_at": message.timestamp,
    }


def read_message(row: Any) -> Message:
    """The message in a row of ``message_columns``."""
    return Message(*row)


def read_membership(row: Any) -> Membership:
    """The part in a conversation, in a row that has the tables' columns."""
    role: RoomRole = "owner" if row.role == "owner" else "member"
    return Membership(row.conversation, role, row.seq, row.read_seq, row.joined_seq)


def membership_row(conversation: str, user_id: str, role: str, *, now: int, joined_seq: int) -> dict[str, Any]:
    """Somebody who is in the conversation from ``now`` on, and knows what was said before."""
    return {
        "conversation": conversation,
        "user_id": user_id,
        "role": role,
        "joined_at": now,
        "joined_seq": joined_seq,
        "read_seq": joined_seq,
    }


def read_room(row: Any) -> Room:
    """The room in a row that has the table's columns."""
    return Room(row.id, row.name, row.created_by, row.created_at)


def conversation_of_room(room_id: str) -> str:
    """What the room's conversation is called."""
    return f"room:{room_id}"
