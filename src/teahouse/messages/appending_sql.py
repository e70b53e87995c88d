"""Many senders' messages in one transaction: a few statements a batch, however many messages and conversations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from teahouse.messages.model import Draft, Message, people_of, same_value
from teahouse.messages.reading_sql import advance
from teahouse.messages.rows_sql import change, hold, insert_rows, insertion, over_rows, run
from teahouse.messages.tables_sql import (
    CONVERSATION_LENGTH,
    conversations,
    membership_row,
    memberships,
    message_columns,
    message_row,
    messages,
    read_message,
)
from teahouse.problems import IdempotencyMismatch, NotFound, Problem

_CONVERSATION = f"VARCHAR({CONVERSATION_LENGTH})"
_USER = "VARCHAR(32)"

# In one order on every node, so that two never wait for each other.
_lock = over_rows(
    [("id", _CONVERSATION)],
    "SELECT kept.id FROM {new} {join} conversations AS kept ON kept.id = new.id ORDER BY kept.id{lock}",
)
# For each draft: its conversation's last seq, whether its sender is inside and its receiver exists, and the message
# that the sender gave this id before.
_look = over_rows(
    [("conversation", _CONVERSATION), ("sender_id", _USER), ("client_id", "VARCHAR(64)"), ("receiver_id", _USER)],
    # Not joined: PostgreSQL, which cannot know how few rows are new, would rather read whole tables.
    "SELECT new.conversation, "  # noqa: S608  # constants only
    "(SELECT seq FROM conversations WHERE id = new.conversation), "
    "(SELECT user_id FROM memberships WHERE conversation = new.conversation AND user_id = new.sender_id), "
    "(SELECT id FROM users WHERE id = new.receiver_id), "
    f"{', '.join(f'said.{each.name}' for each in message_columns)} FROM {{new}} "
    "LEFT JOIN messages AS said ON said.sender_id = new.sender_id AND said.client_id = new.client_id",
)
_count = over_rows(
    [("id", _CONVERSATION), ("seq", "BIGINT")],
    "UPDATE conversations SET seq = new.seq FROM {new} WHERE conversations.id = new.id",
    mysql="UPDATE {new} {join} conversations AS kept ON kept.id = new.id SET kept.seq = new.seq",
    sqlite="UPDATE conversations SET seq = ?2 WHERE id = ?1",
)
_open = insertion(conversations)
_enter = insertion(memberships)
_write = insertion(messages)


def append_all(connection: Connection, drafts: Sequence[Draft], now: int) -> list[Message | Problem]:
    """See ``MessageStore.append``; ``IntegrityError`` where another node has just done the same."""
    batch = _Batch(connection, drafts, now)
    answers = [batch.take(draft) for draft in drafts]
    batch.write(connection)
    return answers


class _Batch:
    """What the database knew when the conversations had been locked, and what comes of the drafts."""

    def __init__(self, connection: Connection, drafts: Sequence[Draft], now: int) -> None:
        self._now = now
        self._last: dict[str, int] = {}
        self._inside: set[tuple[str, str]] = set()
        self._existing: set[str] = set()
        self._known: dict[tuple[str, str], Message] = {}
        hold(connection, _lock, [(each,) for each in sorted({draft.conversation for draft in drafts})])
        # Only now: what another node wrote into these conversations is there to be seen.
        self._look(connection, drafts)
        self._new: dict[str, Draft] = {}
        self._stored: list[Message] = []

    def _look(self, connection: Connection, drafts: Sequence[Draft]) -> None:
        asked = [(draft.conversation, draft.sender_id, draft.id, _receiver(draft)) for draft in drafts]
        for conversation, seq, sender_id, receiver_id, *known in run(connection, _look, asked):
            if seq is not None:
                self._last[conversation] = seq
            if sender_id is not None:
                self._inside.add((conversation, sender_id))
            if receiver_id is not None:
                self._existing.add(receiver_id)
            if known[0] is not None:
                message = read_message(known)
                self._known[message.sender_id, message.id] = message

    def take(self, draft: Draft) -> Message | Problem:
        """The draft's message, which is written with the others later; or why there is none."""
        key = draft.sender_id, draft.id
        known = self._known.get(key)
        if known is not None:
            return known if _is_of(known, draft) else IdempotencyMismatch("This id was used for another message.")
        refusal = self._refusal(draft)
        if refusal is not None:
            return refusal
        conversation = draft.conversation
        if conversation not in self._last:
            self._new[conversation] = draft
        seq = self._last[conversation] = self._last.get(conversation, 0) + 1
        message = Message(conversation, seq, draft.sender_id, draft.id, draft.kind, draft.content, self._now)
        self._known[key] = message
        self._stored.append(message)
        return message

    def write(self, connection: Connection) -> None:
        """Everything that was taken."""
        if not self._stored:
            return
        if self._new:
            self._open_conversations(connection)
        touched = {message.conversation: message.seq for message in self._stored}
        counted = sorted(touched.keys() - self._new.keys())
        if counted:
            change(connection, _count, [(conversation, touched[conversation]) for conversation in counted])
        insert_rows(connection, _write, [message_row(message) for message in self._stored])
        read = {(message.conversation, message.sender_id): message.seq for message in self._stored}
        change(connection, advance, [(*place, seq) for place, seq in sorted(read.items())])

    def _refusal(self, draft: Draft) -> NotFound | None:
        people = people_of(draft.conversation)
        if people is None:
            inside = (draft.conversation, draft.sender_id) in self._inside
            return None if inside else NotFound("to: there is no such room, or you are not in it.")
        return None if _receiver(draft) in self._existing else NotFound("to: there is no such user.")

    def _open_conversations(self, connection: Connection) -> None:
        new = sorted(self._new)
        insert_rows(connection, _open, [{"id": each, "seq": self._last[each]} for each in new])
        rows: list[dict[str, Any]] = [
            membership_row(each, person, "member", now=self._now, joined_seq=0)
            for each in new
            for person in people_of(each) or ()
        ]
        insert_rows(connection, _enter, rows)


def _receiver(draft: Draft) -> str:
    """Whom it is for; nobody's id where that is a room."""
    first, second = people_of(draft.conversation) or ("", "")
    return second if first == draft.sender_id else first


def _is_of(message: Message, draft: Draft) -> bool:
    if (message.conversation, message.kind) != (draft.conversation, draft.kind):
        return False
    return message.content == draft.content or same_value(message.content, draft.content)
