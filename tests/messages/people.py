"""Users and rooms for the tests of messages, and a hub without sockets."""

from __future__ import annotations

import json
from collections.abc import Collection

from sqlalchemy import insert

from teahouse.accounts import User
from teahouse.accounts.tables_sql import user_row, users
from teahouse.engines.sql import Database
from teahouse.messages.model import Draft, Room, conversation_of
from teahouse.messages.store import MessageStore

ANN, BOB, CAT, DAN = (letter * 32 for letter in "abcd")
NOBODY = "f" * 32
PEOPLE = (ANN, BOB, CAT, DAN)
NOW = 1_767_225_600_000


async def settle(database: Database, people: Collection[str] = PEOPLE) -> None:
    """These people have accounts."""
    rows = [user_row(User(id=each, nickname=each[0], role="user", created_at=NOW)) for each in people]
    async with database.transaction() as connection:
        await connection.execute(insert(users), rows)


def room_id(number: int) -> str:
    """The id of the room with that number; ids rise with it."""
    return f"{number:032x}"


async def opened(store: MessageStore, number: int = 1, *, owner: str = ANN, members: Collection[str] = (BOB,)) -> str:
    """A room; its conversation."""
    await store.add_room(Room(room_id(number), f"房间 {number}", owner, NOW), members)
    return f"room:{room_id(number)}"


def said(sender: str, id: str, to: str, content: str = '"hello"', kind: str = "text") -> Draft:
    """A draft; ``to`` is a conversation, or somebody."""
    conversation = to if ":" in to else conversation_of(sender, f"user:{to}")
    return Draft(sender, id, conversation, kind, content)


class QuietHub:
    """Remembers what was told to others."""

    def __init__(self):
        self.told = []

    async def start(self):
        pass

    async def aclose(self):
        pass

    def publish(self, message, origin=""):
        self.told.append(("message", message.conversation, message.seq, origin))

    def joined(self, user_id, conversation):
        self.told.append(("joined", user_id, conversation))

    def left(self, user_id, conversation):
        self.told.append(("left", user_id, conversation))

    def tell(self, user_id, frame):
        self.told.append(("told", user_id, json.loads(frame)))
